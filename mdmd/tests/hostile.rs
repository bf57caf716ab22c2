//! What the running server gives away of its memory, and what the worst bodies that people may send cost it. What devices send is
//! measured reader by reader (`cargo test -p mdm-core --test hostile`); here it is the process as it is installed, from outside.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const MEBI: usize = 1 << 20;
/// What the API takes unless it is set otherwise.
const API_LIMIT: usize = 8 * MEBI;
/// Of the processor, for a debug build.
const SLOWEST: Duration = Duration::from_secs(20);

/// An installation whose server runs.
struct Server {
    child: Child,
    data: PathBuf,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let program = env!("CARGO_BIN_EXE_mdmd");
        let made = Command::new(program)
            .args(["init", "--organisation", "Hostile", "--data"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let listeners = r#"listener=[{ address = "127.0.0.1:0", duty = "enrol" }]"#;
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut child = Command::new(program)
            .args(["serve", "--set", listeners, "--data"])
            .arg(&data)
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while UnixStream::connect(data.join("mdmd.sock")).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "the server ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "no server");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            data,
            _folder: folder,
        }
    }

    fn about(&self, what: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join(what)
    }

    /// Sends a body to a route of the API as the administrator of this machine; status and answer.
    fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let mut stream = UnixStream::connect(self.data.join("mdmd.sock")).unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // It may have heard enough before everything was said.
        if stream.write_all(body).is_err() {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.get(9..12).and_then(|digits| digits.parse().ok());
        (status.unwrap_or(0), answer)
    }

    /// A line of its status, in bytes.
    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(self.about("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibi = line.and_then(|line| line.split_whitespace().next());
        kibi.unwrap().parse::<usize>().unwrap() * 1024
    }

    /// What it has had of the processor.
    fn used(&self) -> Duration {
        let stat = std::fs::read_to_string(self.about("stat")).unwrap();
        // The name may hold blanks; it ends with the last parenthesis.
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let ticks = rest.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|n| n.parse::<u64>().unwrap()).sum();
        // A hundred ticks a second, on every Linux.
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_running_server_leaves_no_core_and_keeps_its_memory_to_itself() {
    let server = Server::start();
    let limits = std::fs::read_to_string(server.about("limits")).unwrap();
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .unwrap();
    let figures: Vec<&str> = core.split_whitespace().take(2).collect();
    assert_eq!(figures, ["0", "0"], "{core}");
    // What is not dumpable belongs to root in the eyes of everybody else, and is closed to the user whose process it is.
    let environment = server.about("environ");
    let ours = std::fs::metadata("/proc/self/environ").unwrap().uid();
    if ours == 0 {
        eprintln!("SKIPPED: root may read every process");
        return;
    }
    assert_eq!(std::fs::metadata(&environment).unwrap().uid(), 0);
    assert!(std::fs::File::open(&environment).is_err());
}

/// A text of about so many bytes, one piece over and over.
fn many(piece: &str, size: usize) -> String {
    piece.repeat(size / piece.len())
}

#[test]
fn bodies_of_the_api_cost_bounded_time_and_memory() {
    let server = Server::start();
    let before = server.memory("VmRSS:");
    // A package goes to the disk as it comes.
    let mut package = b"xar!".to_vec();
    package.resize(96 * MEBI, 7);
    let path = "/api/v1/library/packages/upload?name=tool&bundle_identifier=com.example.tool";
    let (status, answer) = server.post(path, &package);
    assert!((200..300).contains(&status), "{answer}");
    let grown = server.memory("VmHWM:").saturating_sub(before);
    println!("a package of 96 MiB: {} MiB", grown / MEBI);
    assert!(grown < 48 * MEBI, "{} MiB for a package", grown / MEBI);
    drop(package);

    let room = API_LIMIT - 4096;
    let around = |start: &str, piece: &str, end: &str| {
        let mut body = String::with_capacity(API_LIMIT);
        write!(body, "{start}{}{end}", many(piece, room)).unwrap();
        body.into_bytes()
    };
    let bundle = vec![0x30; 32 * MEBI];
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        (
            "nested arrays",
            "/api/v1/checks",
            around("{\"serials\":", "[", ""),
        ),
        (
            "nested objects",
            "/api/v1/checks",
            around("", "{\"serials\":", ""),
        ),
        (
            "keys that nobody knows",
            "/api/v1/checks",
            around("{", "\"k\":1,", "\"k\":1}"),
        ),
        (
            "a number",
            "/api/v1/checks",
            around("{\"deadline\":", "9", "}"),
        ),
        ("white space", "/api/v1/checks", around("", " ", "")),
        (
            "escapes",
            "/api/v1/tags",
            around("{\"tag\":\"", "\\u0041", "\"}"),
        ),
        ("a text", "/api/v1/tags", around("{\"tag\":\"", "a", "\"}")),
        (
            "a runbook that is a long list",
            "/api/v1/runbooks",
            around(
                "{\"name\":\"x\",\"platform\":\"ios\",\"runbook\":[",
                "0,",
                "0]}",
            ),
        ),
        (
            "one byte too many",
            "/api/v1/tags",
            vec![b' '; API_LIMIT + 1],
        ),
        (
            "a bundle for no job",
            "/api/v1/hand-off/jobs/7/bundle",
            bundle,
        ),
    ];
    for (name, path, body) in cases {
        let begun = server.used();
        let (status, answer) = server.post(path, &body);
        let took = server.used().saturating_sub(begun);
        let grown = server.memory("VmHWM:").saturating_sub(before);
        let first: String = answer.chars().take(2_000).collect();
        println!(
            "{name}: {status}, {took:?}, {} MiB at most until now",
            grown / MEBI
        );
        assert!((400..500).contains(&status), "{name}: {status} {first}");
        // A refusal names what is wrong and repeats nothing.
        assert!(answer.len() < 4_096, "{name}: {} bytes", answer.len());
        assert!(took < SLOWEST, "{name}: {took:?}");
        assert!(grown < 320 * MEBI, "{name}: {} MiB", grown / MEBI);
    }
    // And it is there as before.
    let (status, answer) = server.post("/api/v1/tags", br#"{"tag":"lab","serials":[]}"#);
    assert_eq!(status, 200, "{answer}");
}
