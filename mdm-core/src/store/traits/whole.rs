//! Everything that the service needs of a database: every read, and the one way to write.

use async_trait::async_trait;

use crate::store::{
    AcmeStore, AppleStore, AuditStore, Batch, ChannelAsk, ChannelView, CommandStore,
    DeclarationStore, DeviceStore, EnrollmentStore, HistoryStore, HookStore, JobStore,
    LibraryStore, MoveStore, OrganisationStore, OriginalStore, PersonStore, RemovalStore,
    RepeatStore, SecretStore, ServerCertificateStore, SetUpStore, StoreError, UnreadableRow,
    WaveStore, channel,
};

/// What became of batches since a store was opened, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "figures that a vendor's store makes too"
)]
pub struct CommitFigures {
    /// Batches that were applied.
    pub done: u64,
    /// Batches that rested on what had changed meanwhile.
    pub conflicts: u64,
    /// Batches that the database did not take.
    pub failed: u64,
    /// How long all of them together waited for their answer.
    pub waited: std::time::Duration,
}

/// Everything that the service needs of a database.
#[async_trait]
pub trait Store:
    OrganisationStore
    + DeviceStore
    + EnrollmentStore
    + CommandStore
    + SetUpStore
    + MoveStore
    + WaveStore
    + SecretStore
    + AuditStore
    + AppleStore
    + LibraryStore
    + OriginalStore
    + PersonStore
    + DeclarationStore
    + ServerCertificateStore
    + AcmeStore
    + RepeatStore
    + RemovalStore
    + HookStore
    + HistoryStore
    + JobStore
    + 'static
{
    /// Applies every write or none, and answers once that is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a version is stale or a unique value is taken, [`StoreError::Late`] when
    /// [it came too late](Batch::is_late); nothing was written then.
    async fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// What a message of a channel is decided on, in as few statements as the database allows.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when one of the rows cannot be read; what stands for every read.
    async fn channel(&self, ask: ChannelAsk) -> Result<ChannelView, StoreError> {
        channel::one_by_one(self, ask).await
    }

    /// Accepts no further batch, answers those that it accepted, and closes the database. Closing twice does no harm.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database could not be left tidy; what was acknowledged is durable all the same.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What became of batches since the store was opened; `None` of a store that does not count.
    fn commit_figures(&self) -> Option<CommitFigures> {
        None
    }

    /// Rows that this store met, in this process, and that still cannot be read: at most 1000.
    async fn unreadable(&self) -> Result<Vec<UnreadableRow>, StoreError> {
        Ok(Vec::new())
    }

    /// A word for people: `sqlite`, `postgres`, …
    fn name(&self) -> &'static str;
}
