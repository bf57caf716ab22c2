//! Every file of the ACME fuzzers' corpora, played again: what once was found stays mended. The targets are the fuzzers' own.
//! `WRITE_CORPUS=1` writes the first seeds anew.

#[path = "../../fuzz/src/acme.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzzers, a crate of their own"
)]
mod targets;

use std::path::Path;

fn replay(name: &str, target: fn(&[u8]), seeds: Vec<(&str, Vec<u8>)>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let directory = directory.join(name);
    if std::env::var_os("WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&directory).expect("a directory");
        for (seed, bytes) in seeds {
            std::fs::write(directory.join(seed), bytes).expect("written");
        }
    }
    let mut played = 0;
    for file in std::fs::read_dir(&directory).expect("a corpus") {
        let path = file.expect("a file").path();
        // Says which file it was, should it panic.
        println!("{}", path.display());
        target(&std::fs::read(&path).expect("readable"));
        played += 1;
    }
    assert!(played > 3, "{name}: {played} files");
}

fn with(choice: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [&[choice][..], bytes.as_ref()].concat()
}

#[test]
fn messages() {
    let order = r#"{"identifiers":[{"type":"permanent-identifier","value":"secret-x"}]}"#;
    let whole = targets::signed(targets::header().as_bytes(), order.as_bytes());
    let seeds = vec![
        ("message", with(0, &whole)),
        ("header", with(1, targets::header())),
        ("order", with(2, order)),
        ("challenge", with(2, r#"{"attObj":"oA"}"#)),
        ("csr", with(2, r#"{"csr":"MAA"}"#)),
        ("revoke", with(2, r#"{"certificate":"MAA","reason":4}"#)),
        ("nothing", with(2, "")),
    ];
    replay("jws", targets::jws, seeds);
}

#[test]
fn statements() {
    let seeds = vec![
        ("one", targets::object(&[b"\x30\x00"])),
        ("two", targets::object(&[b"\x30\x00", b"x"])),
        ("empty", vec![0xa0]),
        (
            "other_format",
            b"\xa2\x63fmt\x66packed\x67attStmt\xa0".to_vec(),
        ),
        ("deep", [&b"\xa1\x61a"[..], &[0x81; 200]].concat()),
    ];
    replay("cbor", targets::cbor, seeds);
}

#[test]
fn attestations() {
    let good: &[u8] = b"\x00\x05C02XY\x01\x04UDID\x02\x0426.1\x03\x05fresh\x05\x010\x06\x04full";
    let seeds = vec![
        ("good", with(1, good)),
        ("stale", with(1, b"\x00\x05C02XY\x03\x05stale")),
        ("nothing_said", with(1, b"")),
        ("unknown_facts", with(1, b"\x07\x02ab\x03\x05fresh")),
        ("no_certificate", with(0, b"\x30\x03\x02\x01\x01")),
    ];
    replay("attestation", targets::attestation, seeds);
}
