//! What is over is deleted: what our ACME server forgets, and the one way in which every table loses its old rows.

use sqlx::AssertSqlSafe;

use super::{PostgresStore, failed};
use crate::clock::Timestamp;
use crate::ids::OrganisationId;
use crate::store::StoreError;
use crate::store::row::{FORGOTTEN, Table};

/// Deletes the oldest rows of a table whose column `over` lies before a moment: `$1` the organisation, `$2` the moment, `$3` how many.
pub(super) fn oldest_of(table: Table, over: &str) -> String {
    let table = table.name();
    format!(
        "WITH k AS MATERIALIZED (SELECT id FROM {table} WHERE organisation = $1 AND {over} < $2 \
           ORDER BY {over}, id LIMIT $3 FOR UPDATE SKIP LOCKED) \
         DELETE FROM {table} AS t WHERE t.organisation = $1 AND t.id = ANY(ARRAY(SELECT id FROM k)) AND t.{over} < $2"
    )
}

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
            gone += self
                .delete_over(table, "expires", organisation, now, limit)
                .await?;
        }
        Ok(gone)
    }

    /// Deletes the oldest rows of a table whose column `over` lies before a moment.
    pub(super) async fn delete_over(
        &self,
        table: Table,
        over: &str,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(AssertSqlSafe(oldest_of(table, over)))
            .bind(organisation.0)
            .bind(before.as_millis())
            .bind(i64::from(limit))
            .execute(&self.reads)
            .await
            .map_err(failed)?;
        Ok(done.rows_affected())
    }

    /// Deletes rows that nothing names any more: `find` says which (`$1` the organisation, `$2` how many, `$3` from before
    /// when) and locks them, `delete` (`$1` the organisation, `$2` the ids) looks again under the lock. Who comes to name one
    /// writes or expects it in the same batch, and so waits until it finds it gone, or was quicker and is seen.
    pub(super) async fn delete_unnamed(
        &self,
        (find, delete): (&'static str, &'static str),
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut tx = self.reads.begin().await.map_err(failed)?;
        let ids: Vec<i64> = sqlx::query_scalar(find)
            .bind(organisation.0)
            .bind(i64::from(limit))
            .bind(before.as_millis())
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let done = sqlx::query(delete)
            .bind(organisation.0)
            .bind(ids)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(done.rows_affected())
    }
}
