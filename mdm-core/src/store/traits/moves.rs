//! Reads moves.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ids::{DeviceId, MoveId, OrganisationId, WaveId};
use crate::migration::Move;
use crate::store::StoreError;

/// Reads moves.
#[async_trait]
pub trait MoveStore: Send + Sync {
    /// By id.
    async fn attempt(
        &self,
        organisation: OrganisationId,
        id: MoveId,
    ) -> Result<Option<Move>, StoreError>;
    /// The unfinished one of a device.
    async fn open_attempt(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Option<Move>, StoreError>;
    /// Members of a wave in the order of ids, after `after`.
    async fn attempts(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: MoveId,
        limit: u32,
    ) -> Result<Vec<Move>, StoreError>;
    /// Of an organisation, of whatever wave, in the order of ids, after `after`. One that cannot be read is left out, and
    /// reported in the log.
    async fn all_attempts(
        &self,
        organisation: OrganisationId,
        after: MoveId,
        limit: u32,
    ) -> Result<Vec<Move>, StoreError>;
    /// Those of all waves that have a place in the gap ([`Move::in_gap`]), in the order of ids, after `after`.
    async fn attempts_in_gap(
        &self,
        organisation: OrganisationId,
        after: MoveId,
        limit: u32,
    ) -> Result<Vec<Move>, StoreError>;
    /// Of all organisations: those whose wake has come, by (wake, id).
    async fn due_attempts(&self, now: Timestamp, limit: u32) -> Result<Vec<Move>, StoreError>;
}
