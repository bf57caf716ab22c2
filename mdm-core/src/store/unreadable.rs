//! Rows that cannot be read. Which they are is noted by address, told in the log once, and asked for by whoever shows what is
//! wrong; lists for people have the others. Never holds anything of what stands in such a row. Contains no SQL.
//!
//! Who lists rows says by the kind of its statement what becomes of one that cannot be read. *One* and *many*: it is an error, for
//! what is decided on them (which requests are under way at Apple, licences, budgets, what is revoked, what a device is told) would be
//! decided wrongly without it. *Readable*: a walk or a round leaves it out, always. *Page* and *list*: an error for whoever decides, and
//! left out under [`with_the_rest`], for whoever looks.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::OrganisationId;

/// Rows that were left out.
type Rows = Mutex<BTreeSet<UnreadableRow>>;

tokio::task_local! {
    /// What was left out of the lists that this task reads.
    static LEFT_OUT: Arc<Rows>;
}

/// Where a row lies that cannot be read. A store notes what it met; one that was mended, or is gone, is not told any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an address, which a vendor's store tells too"
)]
pub struct UnreadableRow {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: i64,
}

impl fmt::Display for UnreadableRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, column) = (self.table, self.column);
        write!(f, "{table}.{column} {}/{}", self.organisation.0, self.id)
    }
}

fn lock(rows: &Rows) -> MutexGuard<'_, BTreeSet<UnreadableRow>> {
    // Each change is whole before anything can panic.
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For work that shows and decides nothing: its lists have the rows that can be read. Answers what the work did, and which rows were
/// left out. Who decides under it takes those into account (a wave of which one is left out is not closed), or decides for each row by
/// itself.
pub async fn with_the_rest<F: Future>(work: F) -> (F::Output, Vec<UnreadableRow>) {
    let left_out = Arc::new(Rows::default());
    let output = LEFT_OUT.scope(Arc::clone(&left_out), work).await;
    let rows = std::mem::take(&mut *lock(&left_out));
    (output, rows.into_iter().collect())
}

/// Whether those who look are to get the rows that can be read; then what is left out is told to them.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) fn is_for_who_looks() -> bool {
    LEFT_OUT.try_with(|_| ()).is_ok()
}

/// A row is left out of a list.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) fn leave_out(row: UnreadableRow) {
    // Nobody looks: it was told in the log.
    let _ = LEFT_OUT.try_with(|left_out| lock(left_out).insert(row));
}
