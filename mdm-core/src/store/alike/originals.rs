//! What the original service knew of devices, and the jobs by which it hands that over.

use async_trait::async_trait;

use super::{ThisStore, ids, list, rows};
use crate::hand_off::{HandOff, HandOffPart};
use crate::ids::{DeviceId, HandOffId, HandOffPartId, OrganisationId};
use crate::original::OriginalFacts;
use crate::store::{OriginalStore, StoreError};

#[async_trait]
impl OriginalStore for ThisStore {
    async fn original(
        &self,
        organisation: OrganisationId,
        id: DeviceId,
    ) -> Result<Option<OriginalFacts>, StoreError> {
        rows!(
            self,
            one,
            "originals WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }

    async fn originals_of(
        &self,
        organisation: OrganisationId,
        ids: &[DeviceId],
    ) -> Result<Vec<OriginalFacts>, StoreError> {
        let ids = list(ids.iter().map(|id| id.0));
        rows!(
            self,
            all_readable,
            concat!(
                "originals WHERE organisation = $1 AND id ",
                ids!(2),
                " ORDER BY id"
            ),
            organisation.0,
            ids
        )
    }

    async fn originals(
        &self,
        organisation: OrganisationId,
        after: DeviceId,
        limit: u32,
    ) -> Result<Vec<OriginalFacts>, StoreError> {
        rows!(
            self,
            readable limit,
            "originals WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn hand_off(
        &self,
        organisation: OrganisationId,
        id: HandOffId,
    ) -> Result<Option<HandOff>, StoreError> {
        rows!(
            self,
            one,
            "hand_offs WHERE organisation = $1 AND id = $2",
            organisation.0,
            id.0,
        )
    }

    async fn hand_offs(
        &self,
        organisation: OrganisationId,
        after: HandOffId,
        limit: u32,
    ) -> Result<Vec<HandOff>, StoreError> {
        rows!(
            self,
            page limit,
            "hand_offs WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            organisation.0,
            after.0
        )
    }

    async fn hand_off_parts(
        &self,
        organisation: OrganisationId,
        job: HandOffId,
        after: HandOffPartId,
        limit: u32,
    ) -> Result<Vec<HandOffPart>, StoreError> {
        rows!(
            self,
            page limit,
            "hand_off_parts WHERE organisation = $1 AND job = $2 AND id > $3 ORDER BY id LIMIT $4",
            organisation.0,
            job.0,
            after.0
        )
    }
}
