//! The document of the API before tools that nobody here wrote: a validator reads it, and schemathesis asks the running server
//! whatever the document allows and does not allow: an empty installation, and one in which a migration was rehearsed. Skipped
//! aloud where the tools cannot be had; with `MDMD_TEST_REQUIRE_SCHEMATHESIS=1` that is a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What the tools are, in versions that were tried.
const TOOLS: [&str; 2] = ["schemathesis==4.32.5", "openapi-spec-validator>=0.7,<0.9"];

/// A directory with the tools, made once for all tests of this machine. `MDMD_TEST_PYTHON` names one that is there already.
fn tools() -> Option<PathBuf> {
    if let Some(there) = std::env::var_os("MDMD_TEST_PYTHON") {
        return Some(PathBuf::from(there));
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi-tools");
    // The tests of this file run at once, perhaps in several processes: whoever comes first makes the directory, the others wait.
    let lock = std::fs::File::create(place.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let ready = place.join("ready");
    if !ready.exists() {
        // A registry may have a bad minute.
        let made = (0..3).any(|_| match make(&place) {
            Ok(()) => true,
            Err(why) => {
                eprintln!("the tools of the API's document: {why}");
                false
            }
        });
        if !made {
            let required = std::env::var_os("MDMD_TEST_REQUIRE_SCHEMATHESIS").is_some();
            assert!(
                !required,
                "schemathesis cannot be installed, and is required"
            );
            eprintln!("SKIPPED: python3 -m venv, or schemathesis for it, cannot be had");
            return None;
        }
        std::fs::write(&ready, "").unwrap();
    }
    Some(place.join("bin"))
}

/// An environment of Python with the tools, from nothing.
fn make(place: &Path) -> Result<(), String> {
    let run = |command: &mut Command| match command.output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    };
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(place))?;
    run(Command::new(place.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(TOOLS))
}

fn mdmd(data: &Path, arguments: &[&str]) -> serde_json::Value {
    let done = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("--data")
        .arg(data)
        .arg("--json")
        .args(arguments)
        .env_remove("MDMD_TOKEN")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&done.stdout).unwrap()
}

/// A running server; ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nobody else gets this port between now and the server's start, as good as always.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn serve(data: &Path, port: u16) -> Server {
    let listener = format!("listener=[{{ address = \"127.0.0.1:{port}\", duty = \"admin\" }}]");
    // Nobody of Apple's is asked: these addresses lead nowhere.
    let nowhere = "https://127.0.0.1:9";
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    command.args(["serve", "--set", &listener]);
    for key in [
        "assignment_url",
        "organisation_url",
        "token_url",
        "lock_url",
        "apps_url",
    ] {
        command.arg("--set").arg(format!("apple.{key}={nowhere}"));
    }
    let log = std::fs::File::create(data.with_extension("log")).unwrap();
    let child = command
        .arg("--data")
        .arg(data)
        .stderr(log)
        .stdout(Stdio::null());
    let mut server = Server(child.spawn().unwrap());
    let begun = Instant::now();
    while std::os::unix::net::UnixStream::connect(data.join("mdmd.sock")).is_err() {
        let log = || std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
        assert_eq!(
            server.0.try_wait().unwrap(),
            None,
            "the server ended: {}",
            log()
        );
        assert!(begun.elapsed() < Duration::from_secs(60), "no server");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

#[test]
fn a_validator_reads_the_document() {
    let Some(tools) = tools() else { return };
    let directory = tempfile::tempdir().unwrap();
    let document = mdmd(directory.path(), &["api", "openapi"]);
    let file = directory.path().join("openapi.json");
    let check = |document: &serde_json::Value| {
        std::fs::write(&file, document.to_string()).unwrap();
        let read = Command::new(tools.join("openapi-spec-validator"));
        let mut read = read;
        let read = read.arg(&file).output().unwrap();
        (
            read.status.success(),
            String::from_utf8_lossy(&read.stdout).into_owned(),
        )
    };
    let (valid, said) = check(&document);
    assert!(valid, "{said}");
    // It would have found something.
    let mut broken = document;
    broken["paths"]["/api/v1/waves"]["get"]["responses"] = serde_json::json!(7);
    assert!(!check(&broken).0);
}

/// What schemathesis made of the operations: how often each was asked, and how often it answered 2xx.
struct Asked {
    operations: BTreeMap<String, (u32, u32)>,
    /// The same of the run that has an end by the clock, without the one before it that asks each of them once.
    timed: BTreeMap<String, (u32, u32)>,
    /// It was still asking when its time was over: what it had left to ask, nobody knows.
    cut: bool,
}

impl Asked {
    /// Operations that answered 2xx.
    fn good(&self) -> usize {
        let good = |of: &&(u32, u32)| of.1 > 0;
        self.operations.values().filter(good).count()
    }

    /// Says how far it came, and fails where that is not far enough: each operation was asked, and so many answered well.
    fn must(&self, floor: usize) {
        let all: u32 = self.operations.values().map(|(asked, _)| asked).sum();
        let never: Vec<&str> = self
            .operations
            .iter()
            .filter(|(_, (asked, _))| *asked == 0)
            .map(|(name, _)| name.as_str())
            .collect();
        let end = if self.cut {
            "the time ended it"
        } else {
            "it came to its end"
        };
        let (good, of) = (self.good(), self.operations.len());
        eprintln!("{all} requests, {good} of {of} operations answered 2xx; {end}");
        assert!(never.is_empty(), "{end}; never asked: {never:?}");
        if self.cut {
            // How far it comes in its time says something of the machine; that it came nowhere says that nothing was proved. Of those that
            // it came to, some stand at the wrong end: half of what all of them owe is owed by them.
            let reached = self.timed.values().filter(|(asked, _)| *asked > 0);
            let reached = reached.count();
            let good = self.timed.values().filter(|(_, good)| *good > 0).count();
            let owed = (floor * reached / of / 2).max(1);
            eprintln!("{reached} operations were reached, {good} of them answered well, of {owed}");
            assert!(
                reached * LEAST_REACHED >= of,
                "{end}; only {reached} of {of} operations were reached"
            );
            assert!(
                good >= owed,
                "{end}; of {reached} operations that were reached {good} answered 2xx, and {owed} can"
            );
            return;
        }
        let bare: Vec<&str> = self
            .operations
            .iter()
            .filter(|(_, (_, good))| *good == 0)
            .map(|(name, _)| name.as_str())
            .collect();
        assert!(
            good >= floor,
            "{end}; {good} of {of} operations answered 2xx, and {floor} can: none of {bare:?}"
        );
    }
}

/// The stream has no end that a client could wait for, and tests/events.rs reads it; the other would end the session that asks.
const LEFT_OUT: [&str; 2] = ["/api/v1/events", "/api/v1/api-tokens/{id}/revoke"];
/// And what asks Apple at once, who has gone with the rehearsal: that answers 503, as it should, and as nothing else may.
#[cfg(feature = "world")]
const APPLE_GONE: [&str; 3] = [LEFT_OUT[0], LEFT_OUT[1], "/api/v1/business/services"];

/// Has schemathesis ask the server at this port all that this document allows, and with `wrong` what it does not; fails with what it found.
fn ask(
    tools: &Path,
    directory: &Path,
    document: &Value,
    port: u16,
    token: &str,
    wrong: bool,
    left_out: &[&str],
) -> Asked {
    let examples = std::env::var("MDMD_TEST_EXAMPLES").unwrap_or_else(|_| "12".to_owned());
    let file = directory.join("asked.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let run = |phases: &str, examples: &str, time: Option<Duration>| {
        let har = directory.join("asked.har");
        let mut command = Command::new(tools.join("schemathesis"));
        command
            .arg("run")
            .arg(&file)
            .args(["--url", &format!("https://127.0.0.1:{port}")])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["--tls-verify", "false", "--no-color"])
            .args(["--phases", phases, "--seed", "20"])
            .args(["--mode", if wrong { "all" } else { "positive" }])
            .args(["--max-examples", examples, "--continue-on-failure"])
            .args(["--request-timeout", "30", "--no-shrink"])
            // Two workers would be threads of one interpreter: they gain nothing, and trip over each other in its generator now and then.
            .args(["--suppress-health-check", "all", "--workers", "1"])
            .args(["--warnings", "off", "--report", "har", "--report-har-path"])
            .arg(&har)
            .args([
                "--checks",
                "not_a_server_error,status_code_conformance,content_type_conformance,\
                 response_headers_conformance,response_schema_conformance",
            ]);
        if let Some(time) = time {
            command.args(["--max-time", &time.as_secs().to_string()]);
        }
        for path in left_out {
            command.args(["--exclude-path", path]);
        }
        let ran = command.current_dir(directory).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        if !ran.status.success() {
            let at = said.find("= FAILURES").unwrap_or_default();
            panic!("{}\n{}", &said[at..], String::from_utf8_lossy(&ran.stderr));
        }
        let har = serde_json::from_slice(&std::fs::read(har).unwrap()).unwrap();
        counted(document, &har, left_out)
    };
    // Every operation once, however long it takes: none of them is proved by what the others answer.
    let mut operations = run("fuzzing", "1", None);
    let began = Instant::now();
    let timed = run("examples,coverage,fuzzing", &examples, Some(PATIENCE));
    let cut = began.elapsed() >= PATIENCE;
    for (name, (asked, good)) in &timed {
        let count = operations.entry(name.clone()).or_default();
        count.0 += asked;
        count.1 += good;
    }
    Asked {
        operations,
        timed,
        cut,
    }
}

/// A run that was cut off has come to one of so many operations at the least.
const LEAST_REACHED: usize = 10;
/// How long schemathesis may ask.
const PATIENCE: Duration = Duration::from_secs(240);

/// Each operation of the document with how often it was asked and answered 2xx, by the record of the exchange.
fn counted(document: &Value, har: &Value, left_out: &[&str]) -> BTreeMap<String, (u32, u32)> {
    let mut all = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let there = methods.get(method.to_lowercase()).is_some();
            if there && !left_out.contains(&path.as_str()) {
                all.insert(format!("{method} {path}"), (0, 0));
            }
        }
    }
    for entry in har["log"]["entries"].as_array().unwrap() {
        let request = &entry["request"];
        let url = request["url"].as_str().unwrap();
        let path = url.split(['?', '#']).next().unwrap();
        let path = path.splitn(4, '/').nth(3).unwrap_or_default();
        let asked = format!("{} /{path}", request["method"].as_str().unwrap());
        // Where two fit, the one that names more of it.
        let names = all.keys().filter(|name| fits(name, &asked));
        let Some(name) = names.min_by_key(|name| name.matches('{').count()).cloned() else {
            continue;
        };
        let status = entry["response"]["status"].as_u64().unwrap_or_default();
        let count: &mut (u32, u32) = all.entry(name).or_default();
        count.0 += 1;
        count.1 += u32::from((200..300).contains(&status));
    }
    all
}

/// Whether a request is of this operation.
fn fits(operation: &str, asked: &str) -> bool {
    let (mut parts, mut own) = (operation.split('/'), asked.split('/'));
    loop {
        match (parts.next(), own.next()) {
            (None, None) => return true,
            (Some(part), Some(own)) if part == own || part.starts_with('{') && !own.is_empty() => {}
            _ => return false,
        }
    }
}

#[test]
fn no_request_finds_a_failure_or_an_answer_outside_the_document() {
    let Some(tools) = tools() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let made = mdmd(&data, &["init", "--organisation", "Open School"]);
    let token = made["administrator_token"].as_str().unwrap().to_owned();
    let document = mdmd(&data, &["api", "openapi"]);
    let port = free_port();
    let server = serve(&data, port);
    let asked = ask(
        &tools,
        directory.path(),
        &document,
        port,
        &token,
        true,
        &LEFT_OUT,
    );
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
    assert!(!log.contains(&token), "the token is in the log");
    asked.must(EMPTY);
    drop(server);
}

/// So many operations answer 2xx in an installation with nothing in it, and so many where a rehearsed migration is.
const EMPTY: usize = 75;
#[cfg(feature = "world")]
const REHEARSED: usize = 110;

/// What is there to be asked about.
#[cfg(feature = "world")]
struct Known {
    serials: Value,
    waves: Value,
    projects: Value,
}

#[cfg(feature = "world")]
impl Known {
    /// Everything of this kind that a list of the command line has.
    fn all(data: &Path, of: &str, part: &str, member: &str) -> Value {
        let list = mdmd(data, &[of, "list"]);
        let rows = list[part].as_array().unwrap().iter();
        let all: Vec<Value> = rows.map(|row| row[member].clone()).collect();
        assert!(!all.is_empty(), "no {part}");
        one_of(all.into())
    }

    fn of(data: &Path) -> Self {
        Self {
            serials: Self::all(data, "device", "devices", "serial"),
            waves: Self::all(data, "wave", "waves", "id"),
            projects: Self::all(data, "project", "projects", "id"),
        }
    }

    /// The document with these in the place of what anything could stand for; its answers stay what they are.
    fn put_into(&self, document: &mut Value) {
        for (path, methods) in document["paths"].as_object_mut().unwrap() {
            let part = path.split('/').nth(3).unwrap_or_default().to_owned();
            for operation in methods.as_object_mut().unwrap().values_mut() {
                if let Some(parameters) = operation
                    .get_mut("parameters")
                    .and_then(Value::as_array_mut)
                {
                    // There is one organisation: any word here names none. A key that was used before, and a version, refuse what is asked.
                    parameters.retain(|p| p["in"] != "header" && p["name"] != "organisation");
                    for parameter in parameters {
                        let (place, name) = (parameter["in"].as_str(), parameter["name"].as_str());
                        let known = match (place, part.as_str(), name) {
                            (Some("path"), _, Some("serial")) => &self.serials,
                            (Some("path"), "waves", Some("id"))
                            | (Some("query"), _, Some("wave")) => &self.waves,
                            (Some("path"), "projects", Some("id")) => &self.projects,
                            (Some("path"), "webhooks", Some("name")) => &one_of(json!(DESKS)),
                            _ => continue,
                        };
                        parameter["schema"] = known.clone();
                    }
                }
                if let Some(body) = operation.get_mut("requestBody") {
                    self.put_into_body(body);
                }
            }
        }
    }

    fn put_into_body(&self, schema: &mut Value) {
        match schema {
            Value::Array(all) => all.iter_mut().for_each(|one| self.put_into_body(one)),
            Value::Object(all) => all.values_mut().for_each(|one| self.put_into_body(one)),
            _ => return,
        }
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            return;
        };
        for (name, property) in properties {
            match name.as_str() {
                "serial" => *property = self.serials.clone(),
                "serials" | "channels" => property["items"] = self.serials.clone(),
                "wave" => *property = self.waves.clone(),
                "project" => *property = self.projects.clone(),
                _ => {}
            }
        }
    }
}

/// The receivers of webhooks that are there.
#[cfg(feature = "world")]
const DESKS: [&str; 3] = ["desk", "bell", "gong"];

#[cfg(feature = "world")]
fn one_of(all: Value) -> Value {
    json!({ "type": "string", "enum": all })
}

/// Devices that have moved, waves that have gone, their project, reports and commands: what an empty installation has no answer about.
#[cfg(feature = "world")]
#[test]
fn no_answer_about_what_is_there_is_outside_the_document() {
    let Some(tools) = tools() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let rehearsed = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .args(["rehearse", "--devices", "4", "--waves", "2", "--json"])
        .arg("--faults")
        .arg("none")
        .arg("--keep")
        .arg(&data)
        .env_remove("MDMD_TOKEN")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&rehearsed.stderr).into_owned();
    assert!(rehearsed.status.success(), "{said}");
    let port = free_port();
    let server = serve(&data, port);
    let made = mdmd(&data, &["api-token", "new", "asker", "--role", "admin"]);
    let token = made["token"].as_str().unwrap().to_owned();
    // The waves of the rehearsal are over: one in which something can still be planned.
    mdmd(&data, &["project", "new", "more"]);
    mdmd(&data, &["wave", "new", "next", "--project", "more"]);
    for name in DESKS {
        let secret = directory.path().join(name);
        let out = secret.to_str().unwrap();
        let url = "https://desk.example/in";
        mdmd(&data, &["webhook", "new", name, url, "--out", out]);
    }
    let mut document = mdmd(&data, &["api", "openapi"]);
    Known::of(&data).put_into(&mut document);
    let asked = ask(
        &tools,
        directory.path(),
        &document,
        port,
        &token,
        false,
        &APPLE_GONE,
    );
    asked.must(REHEARSED);
    drop(server);
}

#[test]
fn requests_are_counted_for_their_operations() {
    let document = json!({ "paths": {
        "/api/v1/waves": { "get": {}, "post": {} },
        "/api/v1/waves/{id}": { "get": {} },
        "/api/v1/waves/plan": { "get": {} },
        "/api/v1/events": { "get": {} },
    } });
    let entry = |method: &str, path: &str, status: u16| {
        let url = format!("https://127.0.0.1:1/api/v1/{path}");
        json!({ "request": { "method": method, "url": url }, "response": { "status": status } })
    };
    let har = json!({ "log": { "entries": [
        entry("GET", "waves?after=1", 200),
        entry("GET", "waves", 400),
        entry("GET", "waves/7", 404),
        entry("GET", "waves/plan", 200),
        entry("GET", "waves/7/8", 200),
        entry("DELETE", "waves", 200),
    ] } });
    let counted = counted(&document, &har, &LEFT_OUT);
    let expected = [
        ("GET /api/v1/waves", (2, 1)),
        ("GET /api/v1/waves/plan", (1, 1)),
        ("GET /api/v1/waves/{id}", (1, 0)),
        ("POST /api/v1/waves", (0, 0)),
    ];
    assert_eq!(
        counted,
        expected
            .map(|(name, count)| (name.to_owned(), count))
            .into()
    );
}
