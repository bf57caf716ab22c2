//! `mdmd world`, run as anybody would run it, and asked by a client that knows nothing but HTTP and TLS.
#![cfg(feature = "world")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use abm_client::{ServerToken, TokenKeyPair};
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;
use serde_json::Value;

/// A running world, ended with its handle.
struct World {
    child: Child,
    told: Value,
    ca: Vec<u8>,
}

impl World {
    fn start(out: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .args(["world", "--out"])
            .arg(out)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert!(lines.any(|l| l.is_ok_and(|l| l == "ready")));
        let told = std::fs::read(out.join("world.json")).expect("addresses");
        Self {
            child,
            told: serde_json::from_slice(&told).expect("JSON"),
            ca: std::fs::read(out.join("ca.pem")).expect("a certificate"),
        }
    }

    /// `curl --cacert ca.pem URL -H …`: status and body; status 0 if it hung up.
    fn get(&self, url: &str, headers: &[&str]) -> (u16, String) {
        let (authority, path) = url
            .strip_prefix("https://")
            .and_then(|rest| rest.find('/').map(|at| rest.split_at(at)))
            .expect("a URL");
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        let ca = X509::from_pem(&self.ca).unwrap();
        builder.cert_store_mut().add_cert(ca).unwrap();
        let host = authority.split(':').next().unwrap();
        let tcp = std::net::TcpStream::connect(authority).unwrap();
        let mut tls = builder.build().connect(host, tcp).unwrap();
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        tls.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = tls.read_to_end(&mut answer); // some end without a close
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or(("", ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        (status.unwrap_or(0), body.to_owned())
    }

    fn at(&self, service: &str, path: &str) -> String {
        let address = self.told["addresses"][service].as_str().unwrap();
        format!("{address}{path}")
    }

    /// Asks it to end, and waits; its exit status.
    fn end(mut self) -> i32 {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.expect("kill").success());
        self.child.wait().expect("ended").code().unwrap_or(-1)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that failed in the middle must leave no process; one that has ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_answers_strangers_with_the_credentials_that_it_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("apple");
    let flags = ["--devices", "1000000", "--licences", "361309726=7"];
    let world = World::start(&out, &flags);
    let read = |name: &str| std::fs::read(out.join(name)).unwrap();

    let pair = TokenKeyPair::from_pem(&read("server-token.pem"), &read("server-token.key"));
    let pairs = [pair.unwrap()];
    ServerToken::open(&read("destination.p7m"), &pairs).unwrap();
    ServerToken::open(&read("original.p7m"), &pairs).unwrap();

    let (status, body) = world.get(&world.at("assignment", "/account"), &[]);
    assert_eq!(status, 401, "{body}");
    let (status, _) = world.get(
        &world.at("organisation", "/v1/orgDevices"),
        &["Accept: */*"],
    );
    assert_eq!(status, 401);
    let token = String::from_utf8(read("content-token.vpp")).unwrap();
    let bearer = format!("Authorization: Bearer {token}");
    let (status, body) = world.get(&world.at("apps", "/assets"), &[&bearer]);
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["assets"][0]["totalCount"], 7);

    // A million devices weigh nothing.
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.child.id())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(kib < 100 * 1_024, "{kib} KiB");

    let mode = std::fs::metadata(out.join("api.key"))
        .unwrap()
        .permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    assert_eq!(world.end(), 0);
    // What is there is not overwritten.
    let again = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .args(["world", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(3), "{again:?}");
}

#[test]
fn its_knobs_turn() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("apple");
    let flags = [
        "--trouble-every",
        "2",
        "--trouble",
        "503,drop",
        "--devices",
        "0",
    ];
    let world = World::start(&out, &flags);
    let url = world.at("apps", "/service/config");
    let seen: Vec<u16> = (0..4).map(|_| world.get(&url, &[]).0).collect();
    assert_eq!(seen, [200, 503, 200, 0]);
    assert_eq!(world.end(), 0);

    let wrong = Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .args(["world", "--trouble", "503", "--out"])
        .arg(directory.path().join("other"))
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2), "trouble without a measure");
}
