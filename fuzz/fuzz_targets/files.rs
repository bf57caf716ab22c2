//! The fuzzer's side of `brought::files`.
#![no_main]

#[path = "../src/brought.rs"]
#[allow(dead_code)]
mod brought;

libfuzzer_sys::fuzz_target!(|data: &[u8]| brought::files(data));
