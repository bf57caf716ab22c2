//! The command as a person runs it: an installation from `init` to its end, and every exit status on the way.

use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Name};

fn mdmd(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdmd"))
        .arg("--data")
        .arg(data)
        .args(arguments)
        .env_remove("MDMD_TOKEN")
        .output()
        .unwrap()
}

/// Standard output of a command that must succeed.
fn done(data: &Path, arguments: &[&str]) -> String {
    let output = mdmd(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit status and diagnostics of a command that must not succeed.
fn fails(data: &Path, arguments: &[&str]) -> (i32, String) {
    let output = mdmd(data, arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), errors)
}

/// A running server that is told to end when the test ends.
struct Server(Option<Child>);

impl Server {
    fn start(data: &Path) -> Self {
        let listeners = r#"listener=[
            { address = "127.0.0.1:0", duty = "device" },
            { address = "127.0.0.1:0", duty = "enrol" },
            { address = "127.0.0.1:0", duty = "admin" },
        ]"#
        .replace('\n', " ");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .args(["serve", "--set", &listeners, "--data"])
            .arg(data)
            .stderr(std::fs::File::create(data.with_extension("log")).unwrap())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(data.join("mdmd.sock")).is_err() {
            assert_eq!(child.try_wait().unwrap(), None, "the server ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "no server");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(Some(child))
    }

    /// Asks it to end, as a service manager does.
    fn stop(mut self) -> Option<i32> {
        let mut child = self.0.take().unwrap();
        let asked = Command::new("kill").arg(child.id().to_string()).status();
        assert!(asked.unwrap().success());
        child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A push certificate as Apple would issue one, and its key, as PEM files.
fn push_files(directory: &Path, topic: &str) -> (String, String) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::USERID, topic).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(365).unwrap())
        .unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let write = |file: &str, content: Vec<u8>| {
        let path = directory.join(file);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (
        write("push.pem", builder.build().to_pem().unwrap()),
        write("push.key", key.private_key_to_pem_pkcs8().unwrap()),
    )
}

#[test]
fn an_installation_from_its_making_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");

    // Nothing there: a precondition, named with what helps.
    let (exit, said) = fails(&data, &["serve"]);
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("mdmd init"), "{said}");
    assert_eq!(fails(&data, &["hold", "release", "C02X"]).0, 3);

    let made = done(&data, &["init", "--organisation", "Test School", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let token = made["administrator_token"].as_str().unwrap().to_owned();
    assert!(token.len() >= 20);
    let mode = |name: &str| {
        let data = std::fs::metadata(data.join(name)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for secret in ["master.key", "tls/server.key", "tls/ca.key", "mdmd.sqlite"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    for file in ["mdmd.sqlite", "mdmd.toml"] {
        let content = std::fs::read(data.join(file)).unwrap();
        let found = content.windows(token.len()).any(|w| w == token.as_bytes());
        assert!(!found, "the token is in {file}");
    }

    // A second one overwrites nothing.
    let key = std::fs::read(data.join("master.key")).unwrap();
    let (exit, said) = fails(&data, &["init"]);
    assert_eq!(exit, 3);
    assert!(said.contains("never overwrites"), "{said}");
    assert_eq!(std::fs::read(data.join("master.key")).unwrap(), key);

    // A stopped data directory can be read, and not acted on.
    assert!(done(&data, &["organisation", "list"]).contains("Test School"));
    assert_eq!(fails(&data, &["organisation", "new", "Second"]).0, 3);
    assert_eq!(fails(&data, &["device", "show", "C02X"]).0, 3);
    assert_eq!(fails(&data, &["device", "show", "not a serial"]).0, 2);

    let server = Server::start(&data);
    assert_eq!(
        fails(&data, &["serve"]).0,
        3,
        "two servers on one directory"
    );
    assert!(done(&data, &["device", "list", "--json"]).contains("\"devices\": []"));
    assert!(done(&data, &["hold", "list"]).starts_with("SERIAL"));
    assert_eq!(fails(&data, &["hold", "release", "C02X"]).0, 3);

    let (certificate, key) = push_files(directory.path(), "com.apple.mgmt.External.one");
    let import = [
        "push",
        "import",
        "--certificate",
        &certificate,
        "--key",
        &key,
    ];
    assert!(done(&data, &import).contains("com.apple.mgmt.External.one"));
    assert!(done(&data, &["push", "status"]).contains("com.apple.mgmt.External.one"));
    // Another topic would orphan every device.
    let (certificate, key) = push_files(directory.path(), "com.apple.mgmt.External.two");
    let import = [
        "push",
        "import",
        "--certificate",
        &certificate,
        "--key",
        &key,
    ];
    let (exit, said) = fails(&data, &import);
    assert_eq!(exit, 3, "{said}");
    let wrong = ["push", "import", "--certificate", &key, "--key", &key];
    let (exit, said) = fails(&data, &wrong);
    assert_eq!(exit, 2);
    assert!(said.contains("certificate: must be"), "{said}");

    // With a second organisation, the one that is meant must be named.
    done(&data, &["organisation", "new", "Second"]);
    let (exit, said) = fails(&data, &["device", "list"]);
    assert_eq!(exit, 2);
    assert!(said.contains("name one by its code"), "{said}");
    let code = made["organisation"].as_str().unwrap();
    done(&data, &["device", "list", "--organisation", code]);

    assert_eq!(server.stop(), Some(0));
    assert!(!data.join("mdmd.sock").exists());
    // A log that goes to a file has no colours in it.
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(log.contains("serving") && log.contains("stopped"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_every_name() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("mdmd.toml"),
        "datbase = \"x\"\n[push]\nport = 0\n",
    )
    .unwrap();
    let (exit, said) = fails(directory.path(), &["config", "check"]);
    assert_eq!(exit, 2);
    assert!(said.contains("did you mean database?"), "{said}");
    assert!(said.contains("push.port: must be a whole number"), "{said}");
    let (exit, said) = fails(directory.path(), &["--set", "push", "config", "check"]);
    assert_eq!((exit, said.contains("KEY=VALUE")), (2, true), "{said}");
}

#[test]
fn the_version_names_the_openssl_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let said = done(directory.path(), &["--version"]);
    assert!(said.contains("OpenSSL 3."), "{said}");
}
