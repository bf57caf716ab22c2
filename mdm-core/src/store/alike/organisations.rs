//! Organisations: the only rows that are found without naming one.

use async_trait::async_trait;

use super::{ThisStore, rows};
use crate::ids::{OrganisationCode, OrganisationId};
use crate::organisation::Organisation;
use crate::store::{OrganisationStore, StoreError};

#[async_trait]
impl OrganisationStore for ThisStore {
    async fn organisation(&self, id: OrganisationId) -> Result<Option<Organisation>, StoreError> {
        rows!(
            self,
            one,
            "organisations WHERE organisation = $1 AND id = $1",
            id.0
        )
    }

    async fn organisation_by_code(
        &self,
        code: &OrganisationCode,
    ) -> Result<Option<Organisation>, StoreError> {
        rows!(self, one, "organisations WHERE code = $1", code.as_str())
    }

    async fn organisations(
        &self,
        after: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Organisation>, StoreError> {
        rows!(
            self,
            readable limit,
            "organisations WHERE organisation > $1 ORDER BY organisation LIMIT $2",
            after.0
        )
    }
}
