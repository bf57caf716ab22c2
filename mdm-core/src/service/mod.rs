//! The façade: load, decide, commit; and the worker that talks afterwards. Knows no listeners and no TLS.

pub mod ports;

pub use ports::Ports;
