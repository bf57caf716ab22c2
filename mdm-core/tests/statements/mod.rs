//! Counts the statements that go to a database, as the library that sends them tells of them; `BEGIN` and `COMMIT` are not told of,
//! and what sets a connection up (`PRAGMA …`) is not counted: a pool opens another one whenever it finds none that is free.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tracing::field::{Field, Visit};

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
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut look = Look { sets_up: false };
        event.record(&mut look);
        if !look.sets_up {
            STATEMENTS.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Looks at the first words of a statement.
struct Look {
    sets_up: bool,
}

impl Visit for Look {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, words: &str) {
        if field.name() == "summary" {
            self.sets_up = words.starts_with("PRAGMA");
        }
    }
}

/// Waits until all that went out has been told of: whoever reads a single row of SQLite has it before its statement is told of, and on
/// a machine that has other work that may take longer than once around.
pub(crate) async fn all_told() {
    let (mut seen, mut quiet) = (so_far(), 0);
    while quiet < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = so_far();
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
}

/// How many there were.
pub(crate) fn so_far() -> usize {
    STATEMENTS.load(Ordering::SeqCst)
}

/// How many there were since the last call.
pub(crate) fn since_then() -> usize {
    STATEMENTS.swap(0, Ordering::SeqCst)
}
