//! Counts the statements that go to a database, as the library that sends them tells of them; `BEGIN` and `COMMIT` are not told of.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::sync::atomic::{AtomicUsize, Ordering};

static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

/// Counts what goes to the database, once it listens to the whole program.
pub(crate) struct Counter;

impl tracing::Subscriber for Counter {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target() == "sqlx::query" {
            STATEMENTS.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// How many there were.
pub(crate) fn so_far() -> usize {
    STATEMENTS.load(Ordering::SeqCst)
}

/// How many there were since the last call.
pub(crate) fn since_then() -> usize {
    STATEMENTS.swap(0, Ordering::SeqCst)
}
