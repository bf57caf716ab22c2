//! Traces of a real server at a collector of this test's own: what it gets, what it never gets, and that nobody waits for it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// In headers, query and body of what is asked.
const SECRET: &str = "HIDDEN";

/// Takes spans, or only connections.
struct Collector {
    address: SocketAddr,
    /// Head and body of each request.
    taken: Arc<Mutex<Vec<(String, String)>>>,
}

impl Collector {
    fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&taken);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if answers {
                    let keep = Arc::clone(&keep);
                    std::thread::spawn(move || serve(stream, &keep));
                } else {
                    held.push(stream);
                }
            }
        });
        Self { address, taken }
    }

    fn spans(&self) -> Vec<Value> {
        let taken = self.taken.lock().unwrap();
        taken
            .iter()
            .flat_map(|(_, body)| {
                let told: Value = serde_json::from_str(body).unwrap();
                let spans = &told["resourceSpans"][0]["scopeSpans"][0]["spans"];
                spans.as_array().unwrap().clone()
            })
            .collect()
    }
}

fn serve(stream: TcpStream, keep: &Mutex<Vec<(String, String)>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        keep.lock().unwrap().push((head, body));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        reader.get_mut().write_all(answer).unwrap();
    }
}

/// A server of its own process, with a `plain` listener for the proxy 127.0.0.2.
struct Server {
    child: Child,
    plain: SocketAddr,
    enrol: SocketAddr,
    admin: SocketAddr,
    code: String,
    _directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mdmd(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdmd"));
    command.arg("--data").arg(data).stderr(Stdio::null());
    command
}

impl Server {
    fn start(collector: &Collector, settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let made = mdmd(&data).args(["--json", "init"]).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let code = made["organisation"].as_str().or(made["code"].as_str());
        let code = code.unwrap_or_else(|| panic!("{made}")).to_owned();
        let [plain, enrol, admin] = std::array::from_fn(|_| {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        });
        let listeners = [(plain, "plain"), (enrol, "enrol"), (admin, "admin")]
            .map(|(address, duty)| format!("{{ address = \"{address}\", duty = \"{duty}\" }}"))
            .join(", ");
        let mut command = mdmd(&data);
        command
            .arg("--set")
            .arg(format!("listener=[{listeners}]"))
            .args(["--set", "proxy.trusted=[\"127.0.0.2\"]"])
            .args(["--set", "metrics.open_on_admin=true"])
            .arg("--set")
            .arg(format!("traces.endpoint=http://{}/", collector.address));
        for setting in settings {
            command.args(["--set", setting]);
        }
        let child = command.arg("serve").spawn().unwrap();
        let server = Self {
            child,
            plain,
            enrol,
            admin,
            code,
            _directory: directory,
        };
        let begun = Instant::now();
        while TcpStream::connect(admin).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it starts");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// A check-in that is none, told by the proxy or, over TLS, by anybody; with a trace of its own.
    fn check_in(&self, by_proxy: bool) -> String {
        let body = format!("no property list: {SECRET}");
        let request = format!(
            "PUT /mdm/{}/{}?x={SECRET} HTTP/1.1\r\nHost: {SECRET}\r\nAuthorization: {SECRET}\r\n\
             traceparent: {PARENT}\r\ntracestate: {SECRET}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.code,
            if by_proxy { "checkin" } else { "enrol" },
            body.len()
        );
        let mut answer = Vec::new();
        if by_proxy {
            let mut stream = from_proxy(self.plain);
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_to_end(&mut answer).unwrap();
        } else {
            let mut stream = trusting(self.enrol);
            stream
                .write_all(request.replace("PUT", "POST").as_bytes())
                .unwrap();
            // The other end may close without a farewell.
            let _ = stream.read_to_end(&mut answer);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn figures(&self) -> String {
        let mut stream = trusting(self.admin);
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut page = Vec::new();
        let _ = stream.read_to_end(&mut page);
        String::from_utf8_lossy(&page).into_owned()
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

/// A connection from the address of the proxy.
fn from_proxy(to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let stream = runtime.unwrap().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

/// TLS with whoever is there.
fn trusting(to: SocketAddr) -> openssl::ssl::SslStream<TcpStream> {
    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let stream = TcpStream::connect(to).unwrap();
    connector.build().connect("localhost", stream).unwrap()
}

fn attribute(span: &Value, name: &str) -> Option<String> {
    let all = span["attributes"].as_array()?;
    let value = &all.iter().find(|a| a["key"] == name)?["value"];
    let text = value["stringValue"].as_str().or(value["intValue"].as_str());
    text.map(str::to_owned)
}

#[test]
fn a_collector_gets_requests_and_their_commits_in_the_proxys_trace_and_nothing_of_their_content() {
    let collector = Collector::start(true);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "Bearer of-the-collector\n").unwrap();
    let file = format!("traces.authorization_file={}", secret.path().display());
    let server = Server::start(&collector, &[&file, "traces.service=town"]);
    let code = server.code.clone();
    for by_proxy in [true, false] {
        let answer = server.check_in(by_proxy);
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // What waits is sent before it ends.
    server.stop();

    let spans = collector.spans();
    let of = |route: &str| {
        let found = spans
            .iter()
            .find(|s| attribute(s, "http.route").as_deref() == Some(route));
        found.unwrap_or_else(|| panic!("{route} is not among {spans:#?}"))
    };
    let asked = of("/mdm/{org}/checkin");
    assert_eq!(asked["traceId"], &PARENT[3..35]);
    assert_eq!(asked["parentSpanId"], &PARENT[36..52]);
    assert_eq!(
        (&asked["name"], &asked["kind"]),
        (&"request".into(), &2.into())
    );
    assert_eq!(
        attribute(asked, "http.request.method").as_deref(),
        Some("PUT")
    );
    assert_eq!(
        attribute(asked, "http.response.status_code").as_deref(),
        Some("400")
    );
    assert_eq!(attribute(asked, "mdmd.duty").as_deref(), Some("plain"));
    let commit = spans
        .iter()
        .find(|s| s["name"] == "commit" && s["parentSpanId"] == asked["spanId"])
        .unwrap_or_else(|| panic!("no commit of the request among {spans:#?}"));
    assert_eq!(commit["traceId"], asked["traceId"]);
    let time = |span: &Value, name: &str| -> u128 { span[name].as_str().unwrap().parse().unwrap() };
    let (begun, ended) = ("startTimeUnixNano", "endTimeUnixNano");
    assert!(time(asked, begun) <= time(commit, begun));
    assert!(time(commit, begun) <= time(commit, ended));
    assert!(time(commit, ended) <= time(asked, ended));
    // Whoever is no proxy begins no trace of ours.
    let other = of("/mdm/{org}/enrol");
    assert_ne!(other["traceId"], asked["traceId"]);
    assert!(other["parentSpanId"].is_null());

    for (head, body) in collector.taken.lock().unwrap().iter() {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
        assert!(
            head.to_ascii_lowercase()
                .contains("authorization: bearer of-the-collector")
        );
        for hidden in [SECRET, &code, "127.0.0.1", "127.0.0.2", "of-the-collector"] {
            assert!(!body.contains(hidden), "{hidden} is in {body}");
        }
        assert!(body.contains("\"town\""));
    }
}

#[test]
fn nobody_waits_for_a_collector_that_does_not_answer_and_what_is_lost_is_counted() {
    let collector = Collector::start(false);
    let server = Server::start(&collector, &["traces.queue=16"]);
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(server.check_in(true).starts_with("HTTP/1.1 4"));
    }
    // Ten times what it takes; the collector's own time-out is as long as all of it.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
    let page = server.figures();
    let dropped = "mdmd_spans_dropped_total{why=\"queue\"} ";
    let dropped = page.lines().find_map(|line| line.strip_prefix(dropped));
    let dropped: u64 = dropped.unwrap_or_else(|| panic!("{page}")).parse().unwrap();
    // A request and its commit each; what the sender has taken already are two batches at most.
    assert!(dropped >= 50, "{dropped}");
    let begun = Instant::now();
    server.stop();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}
