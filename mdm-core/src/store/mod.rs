//! Reading by narrow traits, writing by one method. Knows no service; only the back ends contain SQL.
//!
//! **Acknowledged means on disk.** `commit` answers after the transaction that holds the batch is durable: SQLite in WAL
//! mode with `synchronous=FULL`, PostgreSQL with `fsync`, `synchronous_commit` and `full_page_writes` on.
//!
//! A row that cannot be read is [`StoreError::Corrupt`] with its address, for whoever asked for it. Where rows of all
//! organisations are read (what is due, past its ceiling, claimed), or one of them is gone through page by page, it is logged and
//! left out instead, so that one bad row stops nobody else; it may then still make [`JobStore::next_due`] lie in the past. Whoever
//! shows rows to people reads them under [`with_the_rest`]; which were met is answered by [`Store::unreadable`].

mod archive;
mod batch;
mod channel;
pub mod contract;
mod delegate;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod erasing;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod group_commit;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod kept;
#[cfg(feature = "postgres")]
#[cfg_attr(
    feature = "sqlite",
    expect(
        clippy::duplicate_mod,
        reason = "what both databases are asked in the same words is written once, in `alike`, and is a part of both"
    )
)]
mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod refill;
pub(crate) mod riding;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod row;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod statements;
#[cfg(feature = "testing")]
pub mod testing;
mod traits;
mod unreadable;

pub use archive::{Archive, ArchivedRow};
pub use batch::{Batch, Claim, Expect, Lease, Noun, Write};
pub use channel::{ChannelAsk, ChannelView, Depth};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use traits::{
    AcmeStore, AppleStore, AuditStore, CommandStore, CommandsWaiting, CommitFigures,
    DeclarationStore, DeviceStore, EnrollmentStore, History, HistoryStore, HookStore, JobStore,
    JobTimes, LibraryStore, MoveStore, OrganisationStore, OriginalStore, PersonStore, RemovalStore,
    RepeatStore, Replication, SecretStore, ServerCertificateStore, SetUpStore, Store, WaveStore,
};
pub use unreadable::{UnreadableRow, with_the_rest};

/// Why the store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A version was stale, or a unique value is taken: load and decide again.
    #[error("conflict: what the decision rested on has changed")]
    Conflict,
    /// The batch was held back for more than a minute after it was handed over, and its lines of the record came too late: nothing
    /// was written, load and decide again.
    #[error("this was decided more than a minute ago and is not written any more: decide again")]
    Late,
    /// The database cannot be reached, is full or is shutting down; later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row cannot be read.
    #[error("corrupt row in {table}.{column}, key {key}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The primary key as text.
        key: String,
    },
    /// The database refuses its set-up or a statement of ours.
    #[error("database: {0}")]
    Database(String),
}
