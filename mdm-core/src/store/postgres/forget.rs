//! What is over is deleted: what our ACME server forgets, and the one way in which every table loses its old rows.

use std::collections::{HashMap, HashSet};
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

/// Contents of declarations: what names one stands within lists, and in no index. So those that no declaration has are suspects, lists are
/// gone through a piece at a time for whoever they name, and what is left at their end goes, so many at a time.
pub(super) struct Contents {
    /// Where a piece ends: `$1` the organisation, `$2` behind which, `$3` behind how many.
    pub(super) end: &'static str,
    /// Those that no declaration has: `$1` the organisation, behind `$2`, up to `$3`, `$4` how many.
    pub(super) find: &'static str,
    /// Where a piece of lists ends: `$1` the organisation, `$2` and `$3` where the last one ended, `$4` behind how many.
    pub(super) end_of_lists: &'static str,
    /// Which ones lists name: `$1` the organisation, behind `$2` and `$3`, up to `$4` and `$5`, `$6` how many lists.
    pub(super) named: &'static str,
    /// Locks them: `$1` the organisation, `$2` the ids.
    pub(super) lock: &'static str,
    /// Looks again under the lock, at all lists, for some may have come: `$1` the organisation, `$2` the ids. Answers their files.
    pub(super) delete: &'static str,
    /// Files that went with the last of them: `$1` the organisation, `$2` the ids.
    pub(super) files: &'static str,
}

/// Contents that no declaration has, and that no list up to a place names.
#[derive(Clone, Debug)]
struct Suspects {
    ids: Vec<i64>,
    at: (i64, i64),
    /// No content stands behind them.
    are_last: bool,
}

/// A list names a hundred contents, or some hundreds: so many fewer of them are looked at in one piece.
const WITHIN_A_LIST: i64 = 100;

/// How far runs have come that look at some rows each. In memory: after a start they begin anew.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    /// How many rows a piece has.
    rows: i64,
    /// How many pieces a run looks at.
    pieces: u32,
    places: Arc<Mutex<HashMap<Place, (i64, i64)>>>,
    suspects: Arc<Mutex<HashMap<OrganisationId, Suspects>>>,
}

/// Of which statement, and in which organisation.
type Place = (&'static str, OrganisationId);

impl Default for Looked {
    fn default() -> Self {
        Self {
            rows: LOOKED_AT,
            pieces: PIECES,
            places: Arc::default(),
            suspects: Arc::default(),
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

    /// Those of an organisation, which are nobody's suspects from then on.
    fn take_suspects(&self, organisation: OrganisationId) -> Option<Suspects> {
        let all = self.suspects.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.remove(&organisation)
    }

    fn keep_suspects(&self, organisation: OrganisationId, suspects: Suspects) {
        let all = self.suspects.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.insert(organisation, suspects);
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

impl PostgresStore {
    /// Deletes contents that nothing names any more, so many at most, and their files. Looks at so many pieces: of contents for some that
    /// no declaration has, of lists for who names these. What it leaves the next run finds.
    pub(super) async fn delete_contents(
        &self,
        contents: &Contents,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let begun = self.looked.place((contents.find, organisation));
        // Who begins in the middle comes round to what stands before.
        let mut rounds = if begun.0 == i64::MIN { 1 } else { 2 };
        for _ in 0..self.looked.pieces {
            let mut suspects = match self.looked.take_suspects(organisation) {
                Some(suspects) => suspects,
                None => self.suspect(contents, organisation).await?,
            };
            let end = match suspects.ids.is_empty() {
                true => None,
                false => self.acquit(contents, organisation, &mut suspects).await?,
            };
            if suspects.ids.is_empty() {
                rounds -= i32::from(suspects.are_last);
                if rounds == 0 {
                    return Ok(0);
                }
            } else if let Some(end) = end {
                suspects.at = end;
                self.looked.keep_suspects(organisation, suspects);
            } else {
                let count = suspects.ids.len().min(limit as usize);
                let rest = suspects.ids.split_off(count);
                let ids = std::mem::replace(&mut suspects.ids, rest);
                let are_all = suspects.ids.is_empty();
                if !are_all {
                    // They have come through all lists; the next run looks at the last piece alone, and at what has come behind it.
                    self.looked.keep_suspects(organisation, suspects);
                }
                let gone = self.delete_unlisted(contents, organisation, ids).await?;
                if gone > 0 || are_all {
                    return Ok(gone);
                }
            }
        }
        Ok(0)
    }

    /// The next piece of contents: those in it that no declaration has. All of them, however few may go at a time: to go through the lists
    /// takes days where there are many.
    async fn suspect(
        &self,
        contents: &Contents,
        organisation: OrganisationId,
    ) -> Result<Suspects, StoreError> {
        let place = (contents.find, organisation);
        let (after, _) = self.looked.place(place);
        let end: Option<i64> = sqlx::query_scalar(contents.end)
            .bind(organisation.0)
            .bind(after)
            .bind(self.looked.rows - 1)
            .fetch_optional(&self.reads)
            .await
            .map_err(failed)?;
        let ids: Vec<i64> = sqlx::query_scalar(contents.find)
            .bind(organisation.0)
            .bind(after)
            .bind(end.unwrap_or(i64::MAX))
            .bind(self.looked.rows)
            .fetch_all(&self.reads)
            .await
            .map_err(failed)?;
        self.looked.go_on(place, end.map(|id| (id, 0)));
        Ok(Suspects {
            ids,
            at: (i64::MIN, i64::MIN),
            are_last: end.is_none(),
        })
    }

    /// Takes out of the suspects whom the next piece of lists names. Answers where that ended, if it was not the last one.
    async fn acquit(
        &self,
        contents: &Contents,
        organisation: OrganisationId,
        suspects: &mut Suspects,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        let lists = (self.looked.rows / WITHIN_A_LIST).max(1);
        let (at, id) = suspects.at;
        let end: Option<(i64, i64)> = sqlx::query_as(contents.end_of_lists)
            .bind(organisation.0)
            .bind(at)
            .bind(id)
            .bind(lists - 1)
            .fetch_optional(&self.reads)
            .await
            .map_err(failed)?;
        let (until, last) = end.unwrap_or((i64::MAX, i64::MAX));
        let named: Vec<i64> = sqlx::query_scalar(contents.named)
            .bind(organisation.0)
            .bind(at)
            .bind(id)
            .bind(until)
            .bind(last)
            .bind(lists)
            .fetch_all(&self.reads)
            .await
            .map_err(failed)?;
        let named: HashSet<i64> = named.into_iter().collect();
        suspects.ids.retain(|id| !named.contains(id));
        Ok(end)
    }

    /// Deletes contents that no list named when it was looked at. Whoever takes one into use expects it in the same batch, and keeps the
    /// file only of a declaration that is put with it: under the lock it waits here, or was quicker and is seen.
    async fn delete_unlisted(
        &self,
        contents: &Contents,
        organisation: OrganisationId,
        ids: Vec<i64>,
    ) -> Result<u64, StoreError> {
        let mut tx = self.reads.begin().await.map_err(failed)?;
        let ids: Vec<i64> = sqlx::query_scalar(contents.lock)
            .bind(organisation.0)
            .bind(ids)
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?;
        let gone: Vec<Option<i64>> = sqlx::query_scalar(contents.delete)
            .bind(organisation.0)
            .bind(ids)
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?;
        let files: Vec<i64> = gone.iter().copied().flatten().collect();
        if !files.is_empty() {
            sqlx::query(contents.files)
                .bind(organisation.0)
                .bind(files)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        Ok(gone.len() as u64)
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

    #[tokio::test]
    async fn contents_are_looked_for_in_lists_a_piece_at_a_time_and_go_in_the_end() {
        let Some(server) = TestPostgres::find().await else {
            return;
        };
        let url = server.database().await;
        let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
        let mut store = store.unwrap();
        (store.looked.rows, store.looked.pieces) = (2, 3);
        // A declaration has the first one, lists name the second and the fourth.
        for sql in [
            "INSERT INTO declarations (organisation, id, version, identifier, doc, content) VALUES (1, 1, 1, 'a', '{}', 1)",
            "INSERT INTO declaration_contents (organisation, id, version, token, doc) \
             SELECT 1, g, 1, 'T' || g, '{}' FROM generate_series(1, 5) AS g",
            "INSERT INTO declaration_manifests (organisation, id, version, token, created, doc) VALUES \
             (1, 1, 1, 'L1', 1001, '{\"items\": [{\"content\": \"4\"}]}'), \
             (1, 2, 1, 'L2', 1002, '{\"items\": []}'), \
             (1, 3, 1, 'L3', 1003, '{\"items\": [{\"content\": \"2\"}, {\"content\": \"4\"}]}')",
        ] {
            sqlx::query(sql).execute(&store.reads).await.unwrap();
        }
        let prune = async || {
            let gone = store.prune(OrganisationId(1), Timestamp::from_millis(100), 10);
            gone.await.unwrap()
        };
        let left = async || {
            let all = "SELECT array_agg(id ORDER BY id) FROM declaration_contents";
            let left: Vec<i64> = sqlx::query_scalar(all)
                .fetch_one(&store.reads)
                .await
                .unwrap();
            left
        };
        // Two contents or one list to a piece, three pieces each time.
        let mut gone = Vec::new();
        for _ in 0..5 {
            gone.push(prune().await);
        }
        assert_eq!(gone, [0, 0, 1, 0, 1]);
        assert_eq!(left().await, [1, 2, 4]);
        for _ in 0..5 {
            assert_eq!(prune().await, 0);
        }
        // What no list names any more goes when it is come to again.
        let sql = "DELETE FROM declaration_manifests WHERE organisation = 1 AND id = 3";
        sqlx::query(sql).execute(&store.reads).await.unwrap();
        let mut gone = 0;
        for _ in 0..5 {
            gone += prune().await;
        }
        assert_eq!(gone, 1);
        assert_eq!(left().await, [1, 4]);
        store.close().await.unwrap();
        server.clean().await;
    }

    #[tokio::test]
    async fn lists_are_gone_through_once_for_all_contents_that_go_a_few_at_a_time() {
        let Some(server) = TestPostgres::find().await else {
            return;
        };
        let url = server.database().await;
        let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
        let mut store = store.unwrap();
        (store.looked.rows, store.looked.pieces) = (10, 2);
        // Of six contents three lists name the second.
        let list = "INSERT INTO declaration_manifests (organisation, id, version, token, created, doc) VALUES ";
        for sql in [
            "INSERT INTO declaration_contents (organisation, id, version, token, doc) \
             SELECT 1, g, 1, 'T' || g, '{}' FROM generate_series(1, 6) AS g"
                .to_owned(),
            format!(
                "{list} (1, 1, 1, 'L1', 1001, '{{\"items\": [{{\"content\": \"2\"}}]}}'), \
                 (1, 2, 1, 'L2', 1002, '{{\"items\": []}}'), (1, 3, 1, 'L3', 1003, '{{\"items\": []}}')"
            ),
        ] {
            let done = sqlx::query(AssertSqlSafe(sql)).execute(&store.reads).await;
            done.unwrap();
        }
        let prune = async || {
            let gone = store.prune(OrganisationId(1), Timestamp::from_millis(100), 1);
            gone.await.unwrap()
        };
        // Two lists, then the third and one content; then one each time, and no list but the last is looked at for it.
        let mut gone = Vec::new();
        for _ in 0..4 {
            gone.push(prune().await);
        }
        assert_eq!(gone, [0, 1, 1, 1]);
        // One that somebody takes into use meanwhile stays, and keeps nothing else.
        let taken =
            format!("{list} (1, 4, 1, 'L4', 1004, '{{\"items\": [{{\"content\": \"5\"}}]}}')");
        let done = sqlx::query(AssertSqlSafe(taken))
            .execute(&store.reads)
            .await;
        done.unwrap();
        assert_eq!((prune().await, prune().await), (1, 0));
        let left = sqlx::query_scalar("SELECT array_agg(id ORDER BY id) FROM declaration_contents");
        let left: Vec<i64> = left.fetch_one(&store.reads).await.unwrap();
        assert_eq!(left, [2, 5]);
        store.close().await.unwrap();
        server.clean().await;
    }
}
