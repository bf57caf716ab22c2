//! What our ACME server forgets.

use sqlx::{QueryBuilder, Sqlite};

use super::{SqliteStore, failed};
use crate::clock::Timestamp;
use crate::ids::OrganisationId;
use crate::store::StoreError;
use crate::store::row::FORGOTTEN;

/// The oldest that are over, in the order of [`FORGOTTEN`].
const OVER: [&str; 3] = [
    "SELECT id FROM acme_nonces WHERE organisation = ?1 AND expires < ?2 ORDER BY expires, id LIMIT ?3",
    "SELECT id FROM acme_orders WHERE organisation = ?1 AND expires < ?2 ORDER BY expires, id LIMIT ?3",
    "SELECT id FROM acme_accounts WHERE organisation = ?1 AND expires < ?2 ORDER BY expires, id LIMIT ?3",
];

impl SqliteStore {
    /// Deletes what is over, the oldest first, so many of each kind at most.
    pub(super) async fn forget_expired(
        &self,
        organisation: OrganisationId,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut gone = 0;
        for (table, which) in FORGOTTEN.into_iter().zip(OVER) {
            // Looked for first: nothing to do is the usual answer, and needs no write.
            let ids: Vec<i64> = sqlx::query_scalar(which)
                .bind(organisation.0)
                .bind(now.as_millis())
                .bind(limit)
                .fetch_all(&self.reads)
                .await
                .map_err(failed)?;
            for ids in ids.chunks(10_000) {
                let mut query = QueryBuilder::<Sqlite>::new(format!(
                    "DELETE FROM {} WHERE organisation = ",
                    table.name()
                ));
                query.push_bind(organisation.0);
                // It may have been moved back meanwhile.
                query.push(" AND expires < ");
                query.push_bind(now.as_millis()).push(" AND id IN (");
                let mut list = query.separated(", ");
                for id in ids {
                    list.push_bind(*id);
                }
                query.push(")");
                let done = query
                    .build()
                    .persistent(false)
                    .execute(&self.writes)
                    .await
                    .map_err(failed)?;
                gone += done.rows_affected();
            }
        }
        Ok(gone)
    }
}
