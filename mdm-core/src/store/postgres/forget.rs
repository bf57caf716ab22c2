//! What is over is deleted: what our ACME server forgets, and the one way in which every table loses its old rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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

/// So many rows are looked at in one piece whether anything names them: a tenth of a second's work.
const LOOKED_AT: i64 = 50_000;
/// So many pieces of which none goes make a run: what lies behind the many that are in use is found whoever starts often.
const PIECES: u32 = 20;

/// Rows of a table that go once nothing names them any more. Who comes to name one writes or expects it in the same batch, and so waits
/// until it finds it gone, or was quicker and is seen. `OFFSET 0` keeps the server from comparing two tables as a whole: each row is
/// looked up by itself.
pub(super) struct Unnamed {
    /// Where a piece ends, if that is not the end of all: `$1` the organisation, `$2` from before when, `$3` and `$4` where the last one
    /// ended, `$5` behind how many.
    pub(super) end: &'static str,
    /// Which they are, locked: `$1` the organisation, `$2` how many, `$3` from before when, behind `$4` and `$5`, up to `$6` and `$7`.
    pub(super) find: &'static str,
    /// Looks again under the lock: `$1` the organisation, `$2` the ids.
    pub(super) delete: &'static str,
}

/// How far runs have come that look at some rows each. In memory: after a start they begin anew.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    /// How many rows a piece has.
    rows: i64,
    /// How many pieces a run looks at.
    pieces: u32,
    places: Arc<Mutex<HashMap<Place, (i64, i64)>>>,
}

/// Of which statement, and in which organisation.
type Place = (&'static str, OrganisationId);

impl Default for Looked {
    fn default() -> Self {
        Self {
            rows: LOOKED_AT,
            pieces: PIECES,
            places: Arc::default(),
        }
    }
}

impl Looked {
    fn place(&self, of: Place) -> (i64, i64) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(&of).copied().unwrap_or((i64::MIN, i64::MIN))
    }

    /// The next piece begins there, or at the beginning.
    fn go_on(&self, of: Place, end: Option<(i64, i64)>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match end {
            Some(end) => places.insert(of, end),
            None => places.remove(&of),
        };
    }
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

    /// Deletes rows that nothing names any more, of the first piece that has any: however many there are, nobody waits long behind it.
    /// What it leaves the next run finds, or one that comes round again.
    pub(super) async fn delete_unnamed(
        &self,
        unnamed: &Unnamed,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        for _ in 0..self.looked.pieces {
            let piece = self.delete_of_piece(unnamed, organisation, before, limit);
            let (gone, ended) = piece.await?;
            if gone > 0 || ended {
                return Ok(gone);
            }
        }
        Ok(0)
    }

    /// The same of one piece, in a transaction of its own. Answers also whether it was the last one.
    async fn delete_of_piece(
        &self,
        unnamed: &Unnamed,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<(u64, bool), StoreError> {
        let place = (unnamed.find, organisation);
        let (at, id) = self.looked.place(place);
        let end: Option<(i64, i64)> = sqlx::query_as(unnamed.end)
            .bind(organisation.0)
            .bind(before.as_millis())
            .bind(at)
            .bind(id)
            .bind(self.looked.rows - 1)
            .fetch_optional(&self.reads)
            .await
            .map_err(failed)?;
        let (until, last) = end.unwrap_or((i64::MAX, i64::MAX));
        let mut tx = self.reads.begin().await.map_err(failed)?;
        let ids: Vec<i64> = sqlx::query_scalar(unnamed.find)
            .bind(organisation.0)
            .bind(i64::from(limit))
            .bind(before.as_millis())
            .bind(at)
            .bind(id)
            .bind(until)
            .bind(last)
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?;
        // With as many as were asked for there may be more of them here.
        if ids.len() < limit as usize {
            self.looked.go_on(place, end);
        }
        if ids.is_empty() {
            return Ok((0, end.is_none()));
        }
        let done = sqlx::query(unnamed.delete)
            .bind(organisation.0)
            .bind(ids)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok((done.rows_affected(), end.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::postgres::PostgresOptions;
    use crate::store::testing::TestPostgres;
    use crate::store::{JobStore as _, Store as _};

    #[tokio::test]
    async fn what_nothing_names_is_looked_for_a_piece_at_a_time_and_found_in_the_end() {
        let Some(server) = TestPostgres::find().await else {
            return;
        };
        let url = server.database().await;
        let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
        let mut store = store.unwrap();
        (store.looked.rows, store.looked.pieces) = (2, 2);
        for sql in [
            "INSERT INTO declaration_manifests (organisation, id, version, token, created, doc) \
             SELECT 1, g, 1, 'T' || g, g, '{\"items\": []}' FROM generate_series(1, 7) AS g",
            "INSERT INTO declared_channels (organisation, id, version, manifest, doc) \
             SELECT 1, g, 1, g, '{}' FROM generate_series(1, 5) AS g",
        ] {
            sqlx::query(sql).execute(&store.reads).await.unwrap();
        }
        let prune = async |store: &PostgresStore| {
            let gone = store.prune(OrganisationId(1), Timestamp::from_millis(100), 10);
            gone.await.unwrap()
        };
        // Six and seven are nobody's; twice two are looked at each time.
        let mut gone = Vec::new();
        for _ in 0..3 {
            gone.push(prune(&store).await);
        }
        assert_eq!(gone, [0, 1, 1]);
        // And from the beginning again.
        let sql = "DELETE FROM declared_channels WHERE organisation = 1 AND id = 1";
        sqlx::query(sql).execute(&store.reads).await.unwrap();
        assert_eq!(prune(&store).await, 1);
        // Who starts often begins there each time, and finds the last one all the same.
        let sql = "DELETE FROM declared_channels WHERE organisation = 1 AND id = 5";
        sqlx::query(sql).execute(&store.reads).await.unwrap();
        store.looked = Looked::default();
        store.looked.rows = 2;
        assert_eq!(prune(&store).await, 1);
        let left =
            sqlx::query_scalar("SELECT array_agg(id ORDER BY id) FROM declaration_manifests");
        let left: Vec<i64> = left.fetch_one(&store.reads).await.unwrap();
        assert_eq!(left, [2, 3, 4]);
        store.close().await.unwrap();
        server.clean().await;
    }
}
