//! Reads requests that may come twice.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ids::OrganisationId;
use crate::repeat::Repeat;
use crate::store::StoreError;

/// Reads requests that may come twice.
#[async_trait]
pub trait RepeatStore: Send + Sync {
    /// By the hash of its key.
    async fn repeat(
        &self,
        organisation: OrganisationId,
        key: &str,
    ) -> Result<Option<Repeat>, StoreError>;
    /// Deletes those that need not be remembered at this moment, at most `limit`; answers how many.
    async fn prune_repeats(
        &self,
        organisation: OrganisationId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
}
