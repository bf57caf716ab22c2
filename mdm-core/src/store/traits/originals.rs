//! Reads what the original service knew of devices, and the jobs by which it hands that over.

use async_trait::async_trait;

use crate::hand_off::{HandOff, HandOffPart};
use crate::ids::{DeviceId, HandOffId, HandOffPartId, OrganisationId};
use crate::original::OriginalFacts;
use crate::store::StoreError;

/// Reads what the original service knew of devices, and the jobs by which it hands that over.
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
    /// A job for a hand-off.
    async fn hand_off(
        &self,
        organisation: OrganisationId,
        id: HandOffId,
    ) -> Result<Option<HandOff>, StoreError>;
    /// In the order of ids, after `after`.
    async fn hand_offs(
        &self,
        organisation: OrganisationId,
        after: HandOffId,
        limit: u32,
    ) -> Result<Vec<HandOff>, StoreError>;
    /// What became of the devices of a job, in the order of ids, after `after`.
    async fn hand_off_parts(
        &self,
        organisation: OrganisationId,
        job: HandOffId,
        after: HandOffPartId,
        limit: u32,
    ) -> Result<Vec<HandOffPart>, StoreError>;
}
