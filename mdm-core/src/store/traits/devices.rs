//! Reads devices, and notes when they spoke last.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::device::{Device, LastHeard};
use crate::ids::{DeviceId, OrganisationId, Serial, ServerId};
use crate::store::StoreError;

/// Reads devices.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// By id.
    async fn device(
        &self,
        organisation: OrganisationId,
        id: DeviceId,
    ) -> Result<Option<Device>, StoreError>;
    /// By serial number.
    async fn device_by_serial(
        &self,
        organisation: OrganisationId,
        serial: &Serial,
    ) -> Result<Option<Device>, StoreError>;
    /// By serial numbers, those that exist, in the order of serial numbers.
    async fn devices_by_serial(
        &self,
        organisation: OrganisationId,
        serials: &[Serial],
    ) -> Result<Vec<Device>, StoreError>;
    /// In the order of ids, after `after`. One that cannot be read is left out, and reported in the log.
    async fn devices(
        &self,
        organisation: OrganisationId,
        after: DeviceId,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError>;
    /// Devices whose assignment-service record stands in `server`'s list, is not gone, and was last seen before `before`:
    /// those that a full list did not show.
    async fn devices_unseen_since(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError>;
    /// Devices in `server`'s list whose wanted ADE profile is not in force and may be assigned at `now`, in the order of ids.
    async fn devices_to_assign(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError>;
    /// The earliest moment after `now` at which such a device may be assigned.
    async fn next_assignment(
        &self,
        organisation: OrganisationId,
        server: ServerId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError>;
    /// Notes when devices spoke last, all of them in one statement. Of two moments the later one stays, whoever writes first, unless
    /// what is kept is more than a day ahead of what is written: that was a clock that has been set right since. No
    /// decision rests on these rows, so nothing conflicts with them.
    async fn keep_heard(
        &self,
        organisation: OrganisationId,
        heard: &[(DeviceId, Timestamp)],
    ) -> Result<(), StoreError>;
    /// When these devices spoke last, those of which it is known, in the order of ids.
    async fn last_heard(
        &self,
        organisation: OrganisationId,
        ids: &[DeviceId],
    ) -> Result<Vec<LastHeard>, StoreError>;
}
