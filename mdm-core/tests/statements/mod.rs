//! Counts the statements that go to a database, as the library that sends them tells of them; `BEGIN` and `COMMIT` are not told of,
//! and what sets a connection up (`PRAGMA …`) is not counted: a pool opens another one whenever it finds none that is free.
#![allow(dead_code, reason = "each test file uses its part of it")]

use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};

/// What was sent, in the order in which it was told of.
static SENT: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn sent() -> MutexGuard<'static, Vec<String>> {
    SENT.lock().unwrap_or_else(PoisonError::into_inner)
}

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
        let mut words = Words::default();
        event.record(&mut words);
        if !words.first.starts_with("PRAGMA") {
            // A short one has no text but its first words.
            let all = if words.all.is_empty() {
                words.first
            } else {
                words.all
            };
            sent().push(all);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// The words of a statement.
#[derive(Default)]
struct Words {
    first: String,
    all: String,
}

impl Visit for Words {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, words: &str) {
        match field.name() {
            "summary" => words.clone_into(&mut self.first),
            "db.statement" => words.clone_into(&mut self.all),
            _ => {}
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
    sent().len()
}

/// How many there were since the last call, which are forgotten.
pub(crate) fn since_then() -> usize {
    std::mem::take(&mut *sent()).len()
}

/// How many of those after the first so many have these words.
pub(crate) fn with_words(after: usize, words: &str) -> usize {
    sent()[after..].iter().filter(|s| s.contains(words)).count()
}
