//! Where the client asks for the time. It never asks the operating system by itself, except through [`SystemClock`].

use std::sync::Arc;

/// The present moment, in milliseconds since 1970-01-01T00:00:00Z.
///
/// OAuth timestamps, assertions, lifetimes and budgets all come from here, so that a test or a rehearsal may
/// move time as it likes. Time-outs of sockets are real time and do not ask this clock.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

impl<F: Fn() -> i64 + Send + Sync> Clock for F {
    fn now_ms(&self) -> i64 {
        self()
    }
}

/// The clock of the operating system, for programs that have no clock of their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this crate that asks the operating system for the time"
    )]
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock as the clients share it.
pub(crate) type SharedClock = Arc<dyn Clock>;
