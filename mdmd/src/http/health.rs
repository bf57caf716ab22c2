//! `/healthz`: the process answers. `/readyz`: it should get traffic. Neither says anything about devices.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::Response;

use super::At;
use super::error;

/// Why this process should get no traffic.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The end has begun.
    pub(crate) stopping: AtomicBool,
    /// The last attempt to read the database failed.
    pub(crate) database_lost: AtomicBool,
}

impl Health {
    fn problem(&self) -> Option<&'static str> {
        let set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if set(&self.stopping) {
            Some("stopping")
        } else if set(&self.database_lost) {
            Some("the database does not answer")
        } else {
            None
        }
    }
}

pub(super) async fn alive() -> &'static str {
    "alive\n"
}

pub(super) async fn ready(State(front): At) -> Response {
    error::readiness(front.health.problem())
}
