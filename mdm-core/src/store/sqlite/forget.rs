//! What is over is deleted: what our ACME server forgets, and the one way in which every table loses its old rows.

use sqlx::{QueryBuilder, Sqlite};

use super::{SqliteStore, failed};
use crate::clock::Timestamp;
use crate::ids::OrganisationId;
use crate::store::StoreError;
use crate::store::row::{FORGOTTEN, Table};

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
            gone += self
                .delete_over(table, "expires", which, organisation, now, limit)
                .await?;
        }
        Ok(gone)
    }

    /// Deletes rows of a table whose column `over` lies before a moment: those that `which` finds by organisation, moment and
    /// number.
    pub(super) async fn delete_over(
        &self,
        table: Table,
        over: &str,
        which: &'static str,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        // Looked for first: nothing to do is the usual answer, and needs no write.
        let ids: Vec<i64> = sqlx::query_scalar(which)
            .bind(organisation.0)
            .bind(before.as_millis())
            .bind(limit)
            .fetch_all(&self.reads)
            .await
            .map_err(failed)?;
        let mut gone = 0;
        for ids in ids.chunks(10_000) {
            let mut query = QueryBuilder::<Sqlite>::new(format!(
                "DELETE FROM {} WHERE organisation = ",
                table.name()
            ));
            query.push_bind(organisation.0);
            // It may have come to life, or been moved back, meanwhile.
            query.push(format!(" AND {over} < "));
            query.push_bind(before.as_millis()).push(" AND id IN (");
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
        Ok(gone)
    }

    /// Deletes rows that nothing names any more: `find` says which (`?1` the organisation, `?2` how many, `?3` from before
    /// when), `delete` looks again as it writes (`?1` the organisation, `?2` the ids as JSON, `?3` as before).
    pub(super) async fn delete_unnamed(
        &self,
        (find, delete): (&'static str, &'static str),
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let ids: Vec<i64> = sqlx::query_scalar(find)
            .bind(organisation.0)
            .bind(limit)
            .bind(before.as_millis())
            .fetch_all(&self.reads)
            .await
            .map_err(failed)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let done = sqlx::query(delete)
            .bind(organisation.0)
            .bind(serde_json::json!(ids).to_string())
            .bind(before.as_millis())
            .execute(&self.writes)
            .await
            .map_err(failed)?;
        Ok(done.rows_affected())
    }
}
