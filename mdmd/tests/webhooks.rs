//! Webhooks from the command line to a receiver that nobody here wrote: Python's own HTTP server with the check of signatures
//! that the documentation prints. And the stream of events, from the socket of a running server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn mdmd(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("--data")
        .arg(data)
        .arg("--json")
        .args(arguments)
        .env_remove("MDMD_TOKEN")
        .output()
        .unwrap()
}

fn done(data: &Path, arguments: &[&str]) -> Value {
    let output = mdmd(data, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(data: &Path, set: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    command.args([
        "serve",
        "--set",
        "listener=[{ address = \"127.0.0.1:0\", duty = \"admin\" }]",
    ]);
    for one in set {
        command.args(["--set", one]);
    }
    let log = std::fs::File::create(data.with_extension("log")).unwrap();
    let mut running = Running(command.arg("--data").arg(data).stderr(log).spawn().unwrap());
    let begun = Instant::now();
    while UnixStream::connect(data.join("mdmd.sock")).is_err() {
        assert_eq!(running.0.try_wait().unwrap(), None, "the server ended");
        assert!(begun.elapsed() < Duration::from_secs(60), "no server");
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

/// The receiver: what the documentation prints, behind Python's own server. Says a line for each message.
const RECEIVER: &str = r#"
import http.server, json, sys
secret = open(sys.argv[1]).read().strip()
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        good = verified(secret, self.headers, body)
        tampered = verified(secret, self.headers, body + b" ")
        print(json.dumps({"good": good, "tampered": tampered, "type": json.loads(body)["type"]}), flush=True)
        self.send_response(200 if self.path == "/in" else 302)
        if self.path != "/in":
            self.send_header("location", "/in")
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[test]
fn a_receiver_in_python_checks_what_it_is_told() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: python3 is not here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    done(&data, &["init", "--organisation", "Hook School"]);
    let page = include_str!("../../docs/webhooks.md");
    let (_, printed) = page.split_once("```python\n").unwrap();
    let (printed, _) = printed.split_once("```").unwrap();
    let program = directory.path().join("receiver.py");
    std::fs::write(&program, format!("{printed}{RECEIVER}")).unwrap();
    let secret = directory.path().join("hook.secret");

    // Nothing behind our walls is reached unless somebody has allowed it.
    let server = serve(&data, &[]);
    let out = secret.to_str().unwrap();
    for (address, why) in [
        ("http://127.0.0.1:9/in", "not a public one"),
        ("https://10.0.0.1/", "not a public one"),
        ("https://[::1]:9/", "not a public one"),
        ("https://169.254.169.254/", "not a public one"),
        ("http://93.184.216.34/", "http is taken only"),
        ("http://example.com/x", "http is taken only"),
    ] {
        let refused = mdmd(&data, &["webhook", "new", "walls", address, "--out", out]);
        assert_eq!(refused.status.code(), Some(2), "{address}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(why), "{address}: {said}");
        assert!(said.contains("allowed_networks"), "{address}: {said}");
        assert!(!secret.exists(), "{address}");
    }
    // Where a name leads is found out when a message goes there.
    done(
        &data,
        &[
            "webhook",
            "new",
            "walls",
            "https://localhost:9/",
            "--out",
            out,
        ],
    );
    for address in ["https://[::1]:9/", "http://localhost:9/"] {
        let refused = mdmd(&data, &["webhook", "change", "walls", "--to", address]);
        assert_eq!(refused.status.code(), Some(2), "{address}");
    }
    for address in ["https://localhost:9/", "https://0x7f000001/"] {
        done(&data, &["webhook", "change", "walls", "--to", address]);
        let refused = mdmd(&data, &["webhook", "test", "walls"]);
        assert_eq!(refused.status.code(), Some(4), "{address}");
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert!(
            said.contains("not a public one") || said.contains("no address"),
            "{address}: {said}"
        );
    }
    assert_eq!(
        mdmd(&data, &["webhook", "change", "walls", "--to", "ftp://x/"])
            .status
            .code(),
        Some(2)
    );
    drop(server);

    let _server = serve(&data, &["webhooks.allowed_networks=[\"127.0.0.0/8\"]"]);
    let mut python = Command::new("python3");
    let python = python.arg(&program).arg(&secret).stdout(Stdio::piped());
    let mut receiver = Running(python.spawn().unwrap());
    let mut lines = BufReader::new(receiver.0.stdout.take().unwrap()).lines();
    let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
    let address = format!("http://127.0.0.1:{port}/in");
    done(&data, &["webhook", "change", "walls", "--to", &address]);
    done(&data, &["webhook", "test", "walls"]);
    let came: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        came,
        serde_json::json!({ "good": true, "tampered": false, "type": "test" })
    );
    // During a rotation the old secret is still good.
    let rotated = done(&data, &["webhook", "rotate", "walls"]);
    assert!(rotated["secret"].as_str().unwrap().starts_with("whsec_"));
    done(&data, &["webhook", "test", "walls"]);
    let came: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(came["good"], true);
    // A redirection is no answer.
    let elsewhere = format!("http://127.0.0.1:{port}/elsewhere");
    done(&data, &["webhook", "change", "walls", "--to", &elsewhere]);
    let refused = mdmd(&data, &["webhook", "test", "walls"]);
    assert!(String::from_utf8_lossy(&refused.stdout).contains("302"));
    let kept = std::fs::read_to_string(&secret).unwrap();
    let listed = done(&data, &["webhook", "list"]).to_string();
    assert!(
        listed.contains("walls") && !listed.contains(&kept),
        "{listed}"
    );
    for name in ["data.log", "data/mdmd.sqlite"] {
        let bytes = std::fs::read(directory.path().join(name)).unwrap();
        let found = bytes.windows(kept.len()).any(|w| w == kept.as_bytes());
        assert!(!found, "the secret is in {name}");
    }
    done(&data, &["webhook", "remove", "walls"]);
    assert_eq!(
        mdmd(&data, &["webhook", "test", "walls"]).status.code(),
        Some(3)
    );
}

/// A stream that is open.
struct Stream(BufReader<UnixStream>);

impl Stream {
    fn open(data: &Path, query: &str, last: Option<&str>) -> Self {
        let mut socket = UnixStream::connect(data.join("mdmd.sock")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let last = last
            .map(|id| format!("Last-Event-ID: {id}\r\n"))
            .unwrap_or_default();
        let head = format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        let mut stream = Self(BufReader::new(socket));
        let head = stream.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        // Connected: the first words are there before anything happens.
        stream.until("retry: 2000");
        stream
    }

    fn until(&mut self, mark: &str) -> String {
        let mut all = Vec::new();
        let mut byte = [0_u8];
        while !all.ends_with(mark.as_bytes()) {
            self.0.read_exact(&mut byte).unwrap();
            all.push(byte[0]);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The next event: its id, its name, its entry.
    fn next(&mut self) -> (String, String, Value) {
        self.until("id: ");
        let id = self.until("\n").trim().to_owned();
        self.until("event: ");
        let name = self.until("\n").trim().to_owned();
        self.until("data: ");
        let data = serde_json::from_str(self.until("\n").trim()).unwrap();
        (id, name, data)
    }
}

#[test]
fn the_stream_of_events_has_what_happens_and_goes_on_where_somebody_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    done(&data, &["init", "--organisation", "Event School"]);
    let _server = serve(&data, &[]);
    let mut stream = Stream::open(&data, "", None);
    for name in ["one", "two", "three"] {
        done(&data, &["api-token", "new", name, "--role", "viewer"]);
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let (id, name, entry) = stream.next();
        if name == "api-token.made" {
            assert_eq!(entry["id"].as_str().unwrap(), id);
            seen.push((id, entry["detail"]["name"].as_str().unwrap().to_owned()));
        }
    }
    let names: Vec<&str> = seen.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three"]);
    drop(stream);
    // Before everything: the record from its beginning.
    let first = i64::MIN.to_string();
    let mut stream = Stream::open(&data, "?what=api-token", Some(&first));
    while stream.next().0 != seen[0].0 {}
    drop(stream);
    // Whoever comes back misses nothing, and may see again what is very new.
    let mut stream = Stream::open(&data, "?what=api-token", Some(&seen[0].0));
    let mut missed: Vec<String> = Vec::new();
    while !missed.contains(&"three".to_owned()) {
        let (id, name, entry) = stream.next();
        assert_eq!(name, "api-token.made", "only what was asked for");
        assert_ne!(id, seen[0].0, "what was seen last does not come again");
        missed.push(entry["detail"]["name"].as_str().unwrap().to_owned());
    }
    assert!(missed.contains(&"two".to_owned()), "{missed:?}");
    // Another organisation sees nothing of it.
    done(&data, &["organisation", "new", "Second"]);
    let all = done(&data, &["organisation", "list"]);
    let code = all["organisations"][1]["code"].as_str().unwrap().to_owned();
    let mut theirs = Stream::open(&data, &format!("?organisation={code}&after=0"), None);
    done(
        &data,
        &[
            "api-token",
            "new",
            "mine",
            "--role",
            "viewer",
            "--organisation",
            &code,
        ],
    );
    loop {
        let (_, name, entry) = theirs.next();
        let told = entry.to_string();
        assert!(!told.contains("\"three\""), "{told}");
        if name == "api-token.made" && told.contains("mine") {
            break;
        }
    }
}

#[test]
fn the_stream_has_a_line_that_was_written_a_minute_after_its_id_was_drawn() {
    use mdm_core::audit::AuditEntry;
    use mdm_core::clock::{Clock as _, SystemClock};
    use mdm_core::ids::{AuditId, IdSource, OrganisationId};
    use mdm_core::store::{Batch, OrganisationStore as _, SqliteStore, Store as _};
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    done(&data, &["init", "--organisation", "Late School"]);
    let _server = serve(&data, &[]);
    let mut stream = Stream::open(&data, "?after=0", None);
    let made = |name: &str| {
        done(&data, &["api-token", "new", name, "--role", "viewer"]);
    };
    let named = |entry: &Value, name: &str| entry["detail"]["name"] == name;
    made("before");
    while !named(&stream.next().2, "before") {}
    // As another process of the installation does that stood still before it wrote.
    let minute_ago = SystemClock.now() - Duration::from_secs(60);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&data.join("mdmd.sqlite")).await.unwrap();
        let all = store.organisations(OrganisationId(0), 1).await.unwrap();
        let id = AuditId(IdSource::floor(minute_ago));
        let nothing = Value::Null;
        let mut batch = Batch::new();
        batch.put(AuditEntry::new(
            all[0].id,
            id,
            minute_ago,
            "Anna",
            "stood.still",
            None,
            nothing,
        ));
        store.commit(batch).await.unwrap();
        store.close().await.unwrap();
    });
    made("after");
    let mut told = 0;
    loop {
        let (_, name, entry) = stream.next();
        told += usize::from(name == "stood.still");
        if named(&entry, "after") {
            break;
        }
    }
    assert_eq!(told, 1, "a line that came late was not told of, or twice");
}
