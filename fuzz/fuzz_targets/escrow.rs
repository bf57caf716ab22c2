//! The fuzzer's side of `mdm::escrow`.
#![no_main]

#[path = "../src/mdm.rs"]
#[allow(dead_code)]
mod mdm;

libfuzzer_sys::fuzz_target!(|data: &[u8]| mdm::escrow(data));
