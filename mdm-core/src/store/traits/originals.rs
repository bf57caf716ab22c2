//! Reads what the original service knew of devices.

use async_trait::async_trait;

use crate::ids::{DeviceId, OrganisationId};
use crate::original::OriginalFacts;
use crate::store::StoreError;

/// Reads what the original service knew of devices.
#[async_trait]
pub trait OriginalStore: Send + Sync {
    /// Of one device.
    async fn original(
        &self,
        organisation: OrganisationId,
        id: DeviceId,
    ) -> Result<Option<OriginalFacts>, StoreError>;
    /// Of these devices, as far as there is anything, in the order of ids. A row that cannot be read is left out, and reported
    /// in the log.
    async fn originals_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeviceId],
    ) -> Result<Vec<OriginalFacts>, StoreError>;
    /// In the order of ids, after `after`. A row that cannot be read is left out, and reported in the log.
    async fn originals(
        &self,
        organisation: OrganisationId,
        after: DeviceId,
        limit: u32,
    ) -> Result<Vec<OriginalFacts>, StoreError>;
}
