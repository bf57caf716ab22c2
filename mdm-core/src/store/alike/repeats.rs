//! Requests that may come twice.

use async_trait::async_trait;

use super::{ThisStore, failed, rows};
use crate::clock::Timestamp;
use crate::ids::OrganisationId;
use crate::repeat::Repeat;
use crate::store::{RepeatStore, StoreError};

#[async_trait]
impl RepeatStore for ThisStore {
    async fn repeat(
        &self,
        organisation: OrganisationId,
        key: &str,
    ) -> Result<Option<Repeat>, StoreError> {
        rows!(
            self,
            one,
            "repeats WHERE organisation = $1 AND key = $2",
            organisation.0,
            key
        )
    }

    async fn prune_repeats(
        &self,
        organisation: OrganisationId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM repeats WHERE organisation = $1 AND id IN (SELECT id FROM repeats WHERE organisation = $1 AND over < $2 ORDER BY over LIMIT $3)",
        )
        .bind(organisation.0)
        .bind(now.as_millis())
        .bind(i64::from(limit))
        .execute(self.writing_pool())
        .await
        .map_err(failed)?;
        Ok(done.rows_affected())
    }
}
