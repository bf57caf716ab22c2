//! The document of the API before tools that nobody here wrote: a validator reads it, and schemathesis asks the running server
//! whatever the document allows and does not allow. Skipped aloud where the tools cannot be had; with
//! `MDMD_TEST_REQUIRE_SCHEMATHESIS=1` that is a failure.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

#[test]
fn no_request_finds_a_failure_or_an_answer_outside_the_document() {
    let Some(tools) = tools() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let made = mdmd(&data, &["init", "--organisation", "Open School"]);
    let token = made["administrator_token"].as_str().unwrap().to_owned();
    let port = free_port();
    let server = serve(&data, port);
    let examples = std::env::var("MDMD_TEST_EXAMPLES").unwrap_or_else(|_| "12".to_owned());
    let ran = Command::new(tools.join("schemathesis"))
        .arg("run")
        .arg(format!("https://127.0.0.1:{port}/api/v1/openapi.json"))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--tls-verify", "false", "--no-color"])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "20"])
        .args(["--max-examples", &examples, "--continue-on-failure"])
        .args([
            "--max-time",
            "240",
            "--request-timeout",
            "30",
            "--no-shrink",
        ])
        .args([
            "--suppress-health-check",
            "all",
            // Two would be threads of one interpreter: they gain nothing, and trip over each other in its generator now and then.
            "--workers",
            "1",
            "--warnings",
            "off",
        ])
        // The stream has no end that a client could wait for; tests/events.rs reads it.
        .args(["--exclude-path", "/api/v1/events"])
        // It would end the session that asks.
        .args(["--exclude-path", "/api/v1/api-tokens/{id}/revoke"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,\
             response_headers_conformance,response_schema_conformance",
        ])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
    assert!(!log.contains(&token), "the token is in the log");
    if !ran.status.success() {
        let at = said.find("= FAILURES").unwrap_or_default();
        panic!("{}\n{}", &said[at..], String::from_utf8_lossy(&ran.stderr));
    }
    drop(server);
}
