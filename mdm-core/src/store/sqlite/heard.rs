//! When devices spoke last: many of them in one statement, and of two moments the later one stays, unless it is
//! more than a day ahead: that was a clock that has been set right since.

use super::{SqliteStore, failed};
use crate::ids::OrganisationId;
use crate::store::StoreError;

/// `?1` the organisation; `?2` device, moment and document of each, as JSON. `WHERE true` tells the parser where the reading ends.
pub(super) const KEEP: &str = "INSERT INTO last_heard (organisation, id, version, heard, doc) \
     SELECT ?1, json_extract(value, '$[0]'), 1, json_extract(value, '$[1]'), json_extract(value, '$[2]') \
     FROM json_each(?2) WHERE true \
     ON CONFLICT (organisation, id) DO UPDATE SET version = last_heard.version + 1, heard = excluded.heard, doc = excluded.doc \
     WHERE last_heard.heard < excluded.heard OR last_heard.heard > excluded.heard + 86400000";

impl SqliteStore {
    /// Writes moments down, each device once.
    pub(super) async fn write_heard(
        &self,
        organisation: OrganisationId,
        rows: Vec<(i64, i64, String)>,
    ) -> Result<(), StoreError> {
        sqlx::query(KEEP)
            .bind(organisation.0)
            .bind(serde_json::json!(rows).to_string())
            .execute(&self.writes)
            .await
            .map_err(failed)?;
        Ok(())
    }
}
