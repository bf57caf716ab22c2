//! What the tests of this crate share: certificates of any kind, and the tools that nobody here
//! wrote. A missing tool is said aloud.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::X509;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectKeyIdentifier};

use crate::ca::{name, start};

/// 2026-11-20T08:00:00Z.
pub(crate) const NOW: i64 = 1_795_161_600;

/// One of four keys, made once per process.
pub(crate) fn key(n: usize) -> &'static PKey<Private> {
    static KEYS: [OnceLock<PKey<Private>>; 4] = [const { OnceLock::new() }; 4];
    KEYS[n].get_or_init(|| PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap())
}

/// What a test certificate is.
pub(crate) struct Made<'a> {
    pub(crate) name: &'a str,
    pub(crate) serial: u64,
    pub(crate) issuer: Option<(&'a str, &'a PKey<Private>)>,
    pub(crate) client: bool,
    pub(crate) ca: bool,
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Default for Made<'_> {
    fn default() -> Self {
        Self {
            name: "test",
            serial: 7,
            issuer: None,
            client: true,
            ca: false,
            from: NOW - 86_400,
            until: NOW + 86_400 * 365,
        }
    }
}

pub(crate) fn certificate(key: &PKey<Private>, made: &Made<'_>) -> X509 {
    let (issuer, signer) = made.issuer.unwrap_or((made.name, key));
    let (subject, issuer) = (name(made.name).unwrap(), name(issuer).unwrap());
    let mut b = start(&subject, &issuer, made.serial, made.from, made.until).unwrap();
    b.set_pubkey(key).unwrap();
    let mut constraints = BasicConstraints::new();
    if made.ca {
        constraints.ca();
    }
    b.append_extension(constraints.critical().build().unwrap())
        .unwrap();
    if made.client {
        b.append_extension(ExtendedKeyUsage::new().client_auth().build().unwrap())
            .unwrap();
    }
    let id = SubjectKeyIdentifier::new()
        .build(&b.x509v3_context(None, None))
        .unwrap();
    b.append_extension(id).unwrap();
    b.sign(signer, MessageDigest::sha256()).unwrap();
    b.build()
}

/// Files for the tools, removed with the value.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn put_key(&self, name: &str, key: &PKey<Private>) -> String {
        self.put(name, &key.private_key_to_pem_pkcs8().unwrap())
    }

    pub(crate) fn put_certificate(&self, name: &str, x509: &X509) -> String {
        self.put(name, &x509.to_pem().unwrap())
    }
}

/// Runs a tool; `None`, said aloud, if it is not here. A failure of the tool is an error.
pub(crate) fn tool(program: &str, args: &[&str], input: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let spawned = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("SKIPPED: {program} is not here");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // The tool may end before it has read everything.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    Some(if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    })
}
