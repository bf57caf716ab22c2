//! Every file of the fuzzers' corpora, played again: what once was found stays mended. The targets are the fuzzers' own.

#[path = "../../fuzz/src/lib.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzzers, which are a crate of their own"
)]
mod targets;

use std::path::Path;

fn replay(name: &str, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let mut played = 0;
    for file in std::fs::read_dir(&directory).expect("a corpus") {
        let path = file.expect("a file").path();
        let data = std::fs::read(&path).expect("readable");
        // Says which file it was, should it panic.
        println!("{}", path.display());
        target(&data);
        played += 1;
    }
    assert!(played > 3, "{name}: {played} files");
}

#[test]
fn token_files() {
    replay("token_file", targets::token_file);
}

#[test]
fn insides_of_tokens() {
    replay("token_inside", targets::token_inside);
}

#[test]
fn answers() {
    replay("answers", targets::answers);
}

#[test]
fn sign_in() {
    replay("oauth", targets::oauth);
}

#[test]
fn result_files() {
    replay("csv", targets::csv);
}
