//! Every file of the corpora of imported lists, exports, discovery and whole requests, played again: what a fuzzer once found stays
//! mended. The laws are the fuzzers' own.

use mdmd::csv;

#[path = "../../fuzz/src/discovery.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzzer, which is a crate of its own"
)]
mod discovery;
#[path = "../../fuzz/src/lists.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzzer, which is a crate of its own"
)]
mod lists;
#[path = "../../fuzz/src/originals.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzzer, which is a crate of its own"
)]
mod originals;
#[path = "../src/http/query.rs"]
mod query;
#[path = "../../fuzz/src/requests.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzzer, which is a crate of its own"
)]
mod requests;

use std::path::Path;

fn play(corpus: &str, law: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut played = 0;
    for file in std::fs::read_dir(directory.join(corpus)).expect("a corpus") {
        let path = file.expect("a file").path();
        let data = std::fs::read(&path).expect("readable");
        // Says which file it was, should it panic.
        println!("{}", path.display());
        law(&data);
        played += 1;
    }
    assert!(played > 3, "{played} files");
}

#[test]
fn imported_lists() {
    play("lists", lists::lists);
}

#[test]
fn accounts_that_discovery_is_asked_for() {
    play("discovery", discovery::discovery);
}

#[test]
fn exports_of_another_service() {
    play("originals", originals::originals);
}

#[test]
fn whole_requests() {
    let server = requests::Server::start();
    play("requests", |data| server.ask(data));
}
