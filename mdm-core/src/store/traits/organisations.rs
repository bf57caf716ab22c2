//! Reads organisations.

use async_trait::async_trait;

use crate::ids::{OrganisationCode, OrganisationId};
use crate::organisation::Organisation;
use crate::store::StoreError;

/// Reads organisations.
#[async_trait]
pub trait OrganisationStore: Send + Sync {
    /// By id.
    async fn organisation(&self, id: OrganisationId) -> Result<Option<Organisation>, StoreError>;
    /// By the code in a device's path.
    async fn organisation_by_code(
        &self,
        code: &OrganisationCode,
    ) -> Result<Option<Organisation>, StoreError>;
    /// In the order of ids, after `after`. One that cannot be read is left out, and reported in the log.
    async fn organisations(
        &self,
        after: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Organisation>, StoreError>;
}
