//! Every file of the corpus of imported lists, played again: what a fuzzer once found stays mended. The law is the fuzzer's own.

use mdmd::csv;

#[path = "../../fuzz/src/lists.rs"]
#[allow(
    unreachable_pub,
    reason = "public for the fuzzer, which is a crate of its own"
)]
mod lists;

use std::path::Path;

#[test]
fn imported_lists() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/lists");
    let mut played = 0;
    for file in std::fs::read_dir(&directory).expect("a corpus") {
        let path = file.expect("a file").path();
        let data = std::fs::read(&path).expect("readable");
        // Says which file it was, should it panic.
        println!("{}", path.display());
        lists::lists(&data);
        played += 1;
    }
    assert!(played > 3, "{played} files");
}
