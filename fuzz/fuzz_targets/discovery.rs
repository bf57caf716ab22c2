//! The fuzzer's side of `src/discovery.rs`, with the reader of queries that `mdmd` has.
#![no_main]

#[path = "../src/discovery.rs"]
mod discovery;
#[path = "../../mdmd/src/http/query.rs"]
#[allow(dead_code, reason = "the file is the server's")]
mod query;

libfuzzer_sys::fuzz_target!(|data: &[u8]| discovery::discovery(data));
