//! A fleet of simulated devices before a real server: identities and messages rendered beforehand, a load that drives them, and
//! the server as a process of its own on an installation whose rows were written by the library.

pub(crate) mod apple;
pub mod client;
pub mod clock;
pub mod devices;
pub mod house;
