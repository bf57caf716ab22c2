//! Statements per request: the server runs in this process for a moment, not to be timed, and what it asks its database is counted
//! where the database's client tells of it. `BEGIN` and `COMMIT` are not among them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context as _;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// The client's name for what it tells of statements.
const TOLD: &str = "sqlx::query";

static COUNTS: AtomicBool = AtomicBool::new(false);
static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

struct Counter;

impl Subscriber for Counter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked each time: nobody counts while something is timed.
        match metadata.target() == TOLD {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TOLD && COUNTS.load(Ordering::Relaxed)
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() == TOLD {
            STATEMENTS.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Makes ready to count; nothing is counted yet.
pub(crate) fn listen() -> anyhow::Result<()> {
    tracing::subscriber::set_global_default(Counter).context("somebody else listens")
}

/// How many statements went to the database in this process while something was done.
pub(crate) fn during<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, usize)> {
    let before = STATEMENTS.load(Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let done = work();
    COUNTS.store(false, Ordering::Relaxed);
    Ok((done?, STATEMENTS.load(Ordering::Relaxed) - before))
}
