//! What our ACME server forgets.

use sqlx::AssertSqlSafe;

use super::{PostgresStore, failed};
use crate::clock::Timestamp;
use crate::ids::OrganisationId;
use crate::store::StoreError;
use crate::store::row::FORGOTTEN;

impl PostgresStore {
    /// Deletes what is over, the oldest first, so many of each kind at most; rows that somebody holds just now are left.
    pub(super) async fn forget_expired(
        &self,
        organisation: OrganisationId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut gone = 0;
        for table in FORGOTTEN {
            let table = table.name();
            let sql = format!(
                "WITH k AS MATERIALIZED (SELECT id FROM {table} WHERE organisation = $1 AND expires < $2 \
                   ORDER BY expires, id LIMIT $3 FOR UPDATE SKIP LOCKED) \
                 DELETE FROM {table} AS t USING k WHERE t.organisation = $1 AND t.id = k.id AND t.expires < $2"
            );
            let done = sqlx::query(AssertSqlSafe(sql))
                .bind(organisation.0)
                .bind(now.as_millis())
                .bind(i64::from(limit))
                .execute(&self.reads)
                .await
                .map_err(failed)?;
            gone += done.rows_affected();
        }
        Ok(gone)
    }
}
