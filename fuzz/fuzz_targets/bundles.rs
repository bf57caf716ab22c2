//! The fuzzer's side of `brought::bundles`.
#![no_main]

#[path = "../src/brought.rs"]
#[allow(dead_code)]
mod brought;

libfuzzer_sys::fuzz_target!(|data: &[u8]| brought::bundles(data));
