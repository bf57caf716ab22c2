//! Rows that could not be read, looked at once more.

use sqlx::AssertSqlSafe;

use super::{SqliteStore, failed};
use crate::store::row::Raw;
use crate::store::{StoreError, UnreadableRow};

impl SqliteStore {
    /// Those of them that still cannot be read.
    pub(super) async fn still_unreadable(&self) -> Result<Vec<UnreadableRow>, StoreError> {
        let mut still = Vec::new();
        for key in self.met.keys() {
            // Names of our own tables, each once for a row that nobody expects.
            let sql = format!(
                "SELECT organisation, id, version, doc FROM {} WHERE organisation = ?1 AND id = ?2",
                key.table.name()
            );
            let row: Option<Raw> = sqlx::query_as(AssertSqlSafe(sql))
                .bind(key.organisation)
                .bind(key.id)
                .fetch_optional(&self.reads)
                .await
                .map_err(failed)?;
            still.extend(self.met.look(key, row));
        }
        Ok(still)
    }
}
