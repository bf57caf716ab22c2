//! The fuzzer's side of `src/originals.rs`.
#![no_main]

#[path = "../src/originals.rs"]
mod originals;

libfuzzer_sys::fuzz_target!(|data: &[u8]| originals::originals(data));
