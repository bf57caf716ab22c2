//! The fuzzer's side of `acme::attestation`.
#![no_main]

#[path = "../src/acme.rs"]
#[allow(dead_code)]
mod acme;

libfuzzer_sys::fuzz_target!(|data: &[u8]| acme::attestation(data));
