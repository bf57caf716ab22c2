//! The fuzzer's side of `src/requests.rs`: one server for all inputs.
#![no_main]

use std::cell::OnceCell;

#[path = "../src/requests.rs"]
mod requests;

use requests::Server;

thread_local! {
    static SERVER: OnceCell<Server> = const { OnceCell::new() };
}

libfuzzer_sys::fuzz_target!(
    |data: &[u8]| SERVER.with(|server| server.get_or_init(Server::start).ask(data))
);
