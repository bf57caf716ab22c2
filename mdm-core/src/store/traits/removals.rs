//! Organisations that were taken away, and the rows that they leave.

use async_trait::async_trait;

use crate::ids::OrganisationId;
use crate::removal::Removal;
use crate::store::StoreError;

/// Organisations that were taken away, and the rows that they leave. Who changes a [`Removal`] proves by its version that nobody else
/// has meanwhile.
#[async_trait]
pub trait RemovalStore: Send + Sync {
    /// By the organisation's id.
    async fn removal(&self, id: OrganisationId) -> Result<Option<Removal>, StoreError>;
    /// In the order of ids, after `after`; those that are over, too. One that cannot be read is left out, and reported in the log.
    async fn removals(&self, after: OrganisationId, limit: u32)
    -> Result<Vec<Removal>, StoreError>;
    /// Takes the organisation's row away and puts this one, in one commit: from then on nobody finds it. [`StoreError::Conflict`] when
    /// the organisation has another version than the one that is kept, or no other organisation would be left, whoever takes another
    /// one away at the same time.
    async fn begin_removal(&self, removal: &Removal) -> Result<(), StoreError>;
    /// The reverse, while its row is kept: nothing of it has gone. [`StoreError::Conflict`] when this row has another version.
    async fn undo_removal(&self, removal: &Removal) -> Result<(), StoreError>;
    /// Writes the row anew. Answers it as it is then; [`StoreError::Conflict`] when it has another version.
    async fn keep_removal(&self, removal: &Removal) -> Result<Removal, StoreError>;
    /// Deletes the next rows of the organisation, of one table and at most so many, and writes down how many and how far it is in the
    /// same commit; secrets before most others. Every table is gone through, whoever made it. Answers the row as it is then:
    /// [`Removal::place`] is `None` when all tables were gone through, and [`Removal::empty`] says whether there was nothing.
    /// [`StoreError::Conflict`] when the row has another version; nothing was deleted then. Refuses one whose row is kept.
    async fn erase(&self, removal: &Removal, limit: u32) -> Result<Removal, StoreError>;
}
