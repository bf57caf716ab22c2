//! When devices spoke last: many of them in one statement, and of two moments the later one stays, unless it is
//! more than a day ahead: that was a clock that has been set right since.

use super::{PostgresStore, failed};
use crate::ids::OrganisationId;
use crate::store::StoreError;

/// `$1` the organisation; devices, moments and documents as lists. In the order of ids, so that nobody waits in a circle.
pub(super) const KEEP: &str = "INSERT INTO last_heard AS t (organisation, id, version, heard, doc) \
     SELECT $1::bigint, u.id, 1, u.heard, u.doc::json FROM UNNEST($2::bigint[], $3::bigint[], $4::text[]) AS u (id, heard, doc) ORDER BY u.id \
     ON CONFLICT (organisation, id) DO UPDATE SET version = t.version + 1, heard = excluded.heard, doc = excluded.doc \
     WHERE t.heard < excluded.heard OR t.heard > excluded.heard + 86400000";

impl PostgresStore {
    /// Writes moments down, each device once.
    pub(super) async fn write_heard(
        &self,
        organisation: OrganisationId,
        rows: Vec<(i64, i64, String)>,
    ) -> Result<(), StoreError> {
        let (mut ids, mut moments, mut docs) = (Vec::new(), Vec::new(), Vec::new());
        for (id, at, doc) in rows {
            ids.push(id);
            moments.push(at);
            docs.push(doc);
        }
        sqlx::query(KEEP)
            .bind(organisation.0)
            .bind(ids)
            .bind(moments)
            .bind(docs)
            .execute(&self.reads)
            .await
            .map_err(failed)?;
        Ok(())
    }
}
