//! Moves: by device, by wave, and those whose wake has come in any organisation.

use async_trait::async_trait;

use super::{ThisStore, rows};
use crate::clock::Timestamp;
use crate::ids::{DeviceId, MoveId, OrganisationId, WaveId};
use crate::migration::Move;
use crate::store::{MoveStore, StoreError};

#[async_trait]
impl MoveStore for ThisStore {
    async fn attempt(
        &self,
        organisation: OrganisationId,
        id: MoveId,
    ) -> Result<Option<Move>, StoreError> {
        rows!(
            self,
            one,
            "moves WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0
        )
    }

    async fn open_attempt(
        &self,
        organisation: OrganisationId,
        device: DeviceId,
    ) -> Result<Option<Move>, StoreError> {
        rows!(
            self,
            one,
            "moves WHERE organisation = $1 AND open_device = $2",
            organisation.0,
            device.0
        )
    }

    async fn attempts(
        &self,
        organisation: OrganisationId,
        wave: WaveId,
        after: MoveId,
        limit: u32,
    ) -> Result<Vec<Move>, StoreError> {
        rows!(
            self,
            page limit,
            "moves WHERE organisation = $1 AND wave = $2 AND id > $3 ORDER BY id LIMIT $4",
            organisation.0,
            wave.0,
            after.0
        )
    }

    async fn all_attempts(
        &self,
        organisation: OrganisationId,
        after: MoveId,
        limit: u32,
    ) -> Result<Vec<Move>, StoreError> {
        rows!(
            self,
            readable limit,
            "moves WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    // Who counts them decides how many more may be in the gap.
    async fn attempts_in_gap(
        &self,
        organisation: OrganisationId,
        after: MoveId,
        limit: u32,
    ) -> Result<Vec<Move>, StoreError> {
        rows!(
            self,
            page limit,
            "moves WHERE organisation = $1 AND gap IS NOT NULL AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn due_attempts(&self, now: Timestamp, limit: u32) -> Result<Vec<Move>, StoreError> {
        rows!(
            self,
            readable limit,
            "moves WHERE wake_at <= $1 ORDER BY wake_at, id, organisation LIMIT $2",
            now.as_millis()
        )
    }
}
