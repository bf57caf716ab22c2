//! The fuzzer's side of [`abm_client_fuzz::csv`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| abm_client_fuzz::csv(data));
