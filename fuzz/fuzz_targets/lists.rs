//! The fuzzer's side of `src/lists.rs`, with the parser that `mdmd` has.
#![no_main]

#[path = "../../mdmd/src/csv.rs"]
#[allow(dead_code, reason = "the file is the server's")]
mod csv;
#[path = "../src/lists.rs"]
mod lists;

libfuzzer_sys::fuzz_target!(|data: &[u8]| lists::lists(data));
