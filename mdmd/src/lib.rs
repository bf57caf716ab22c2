//! The shell around `mdm_core`: listeners, TLS, routes, push, command line. Decides nothing about devices.
//!
//! Reading order: `config`, `app` (the assembly drawing), `listen` and `tls`, `http`.

// First: its macros hold for every module below.
#[macro_use]
mod out;
mod packages;

mod acme;
pub mod app;
mod apple;
mod backup;
pub mod cli;
pub mod config;
pub mod csv;
pub mod hand_over;
mod hooks;
mod http;
pub mod install;
mod key_wrap;
mod listen;
mod manifests;
mod memory;
mod metrics;
pub mod originals;
mod people;
mod pki;
mod probe;
mod push;
#[cfg(feature = "world")]
pub mod rehearsal;
mod reports;
pub mod telemetry;
#[cfg(test)]
mod testing;
mod tls;
mod turned_away;
mod walls;
mod workers;
