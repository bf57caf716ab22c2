//! What the original service knew of devices.

use async_trait::async_trait;

use super::{ThisStore, ids, list, rows};
use crate::ids::{DeviceId, OrganisationId};
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
}
