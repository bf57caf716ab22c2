//! Jobs are claimed with a lease and never by deleting them.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite};

use super::{SqliteStore, failed};
use crate::clock::Timestamp;
use crate::ids::{JobId, OrganisationId};
use crate::job::{Job, JobKind};
use crate::store::row::{OVER, Raw, Table};
use crate::store::{Claim, JobStore, JobTimes, Lease, StoreError};

/// The oldest of each table of [`OVER`].
const OLDEST: [&str; 11] = [
    "SELECT id FROM commands WHERE organisation = ?1 AND settled < ?2 ORDER BY settled, id LIMIT ?3",
    "SELECT id FROM enrollments WHERE organisation = ?1 AND superseded < ?2 ORDER BY superseded, id LIMIT ?3",
    "SELECT id FROM sessions WHERE organisation = ?1 AND unused_until < ?2 ORDER BY unused_until, id LIMIT ?3",
    "SELECT id FROM declared_channels WHERE organisation = ?1 AND ended < ?2 ORDER BY ended, id LIMIT ?3",
    "SELECT id FROM declarations WHERE organisation = ?1 AND removed < ?2 ORDER BY removed, id LIMIT ?3",
    "SELECT id FROM declaration_sets WHERE organisation = ?1 AND removed < ?2 ORDER BY removed, id LIMIT ?3",
    "SELECT id FROM declaration_assignments WHERE organisation = ?1 AND ended < ?2 ORDER BY ended, id LIMIT ?3",
    "SELECT id FROM channel_statuses WHERE organisation = ?1 AND ended < ?2 ORDER BY ended, id LIMIT ?3",
    "SELECT id FROM certificates WHERE organisation = ?1 AND over < ?2 ORDER BY over, id LIMIT ?3",
    "SELECT id FROM hook_messages WHERE organisation = ?1 AND over < ?2 ORDER BY over, id LIMIT ?3",
    "SELECT id FROM hand_offs WHERE organisation = ?1 AND over < ?2 ORDER BY over, id LIMIT ?3",
];

/// What goes once nothing names it any more: how it is found, and how it is deleted, which looks again: something may have
/// come to name it meanwhile.
const UNNAMED: [(&str, &str); 2] = [USED, LISTS];

/// Sessions in which an identity was issued that is gone.
const USED: (&str, &str) = (
    "SELECT s.id FROM sessions AS s WHERE s.organisation = ?1 AND s.used_until < ?3 \
       AND NOT EXISTS (SELECT 1 FROM certificates AS c WHERE c.organisation = ?1 AND c.session = s.id) \
       ORDER BY s.used_until, s.id LIMIT ?2",
    "DELETE FROM sessions AS s WHERE s.organisation = ?1 AND s.used_until < ?3 AND s.id IN (SELECT value FROM json_each(?2)) \
       AND NOT EXISTS (SELECT 1 FROM certificates AS c WHERE c.organisation = ?1 AND c.session = s.id)",
);

/// Lists of declarations that no channel was told last, or before that.
const LISTS: (&str, &str) = (
    "SELECT m.id FROM declaration_manifests AS m WHERE m.organisation = ?1 AND m.created < ?3 \
       AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = ?1 AND c.manifest = m.id) \
       AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = ?1 AND c.earlier = m.id) \
       ORDER BY m.created, m.id LIMIT ?2",
    "DELETE FROM declaration_manifests AS m WHERE m.organisation = ?1 AND m.created < ?3 AND m.id IN (SELECT value FROM json_each(?2)) \
       AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = ?1 AND c.manifest = m.id) \
       AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = ?1 AND c.earlier = m.id)",
);

/// What became of the devices of a hand-off whose job is gone, of whatever age. No index finds it: all that there is of an organisation is
/// gone through.
const PARTS: (&str, &str) = (
    "SELECT p.id FROM hand_off_parts AS p WHERE p.organisation = ?1 AND ?3 IS NOT NULL \
       AND NOT EXISTS (SELECT 1 FROM hand_offs AS h WHERE h.organisation = ?1 AND h.id = p.job) \
       ORDER BY p.job, p.id LIMIT ?2",
    "DELETE FROM hand_off_parts AS p WHERE p.organisation = ?1 AND ?3 IS NOT NULL AND p.id IN (SELECT value FROM json_each(?2)) \
       AND NOT EXISTS (SELECT 1 FROM hand_offs AS h WHERE h.organisation = ?1 AND h.id = p.job)",
);

/// Contents that no declaration has any more and no list names, of whatever age. Whoever takes one into use expects it in the
/// same batch.
const CONTENTS: (&str, &str) = (
    "SELECT t.id FROM declaration_contents AS t WHERE t.organisation = ?1 AND ?3 IS NOT NULL \
       AND NOT EXISTS (SELECT 1 FROM declarations AS d WHERE d.organisation = ?1 AND d.content = t.id) \
       AND t.id NOT IN (SELECT CAST(json_extract(named.value, '$.content') AS INTEGER) FROM declaration_manifests AS m, json_each(m.doc, '$.items') AS named WHERE m.organisation = ?1) \
       ORDER BY t.id LIMIT ?2",
    "DELETE FROM declaration_contents AS t WHERE t.organisation = ?1 AND ?3 IS NOT NULL AND t.id IN (SELECT value FROM json_each(?2)) \
       AND NOT EXISTS (SELECT 1 FROM declarations AS d WHERE d.organisation = ?1 AND d.content = t.id) \
       AND t.id NOT IN (SELECT CAST(json_extract(named.value, '$.content') AS INTEGER) FROM declaration_manifests AS m, json_each(m.doc, '$.items') AS named WHERE m.organisation = ?1) \
     RETURNING file",
);

/// Behind the list of claims, which is the outer loop: each looks for its job by key.
pub(super) const RENEW: &str = ") UPDATE jobs SET ready_at = max(due, (SELECT u FROM k WHERE o = organisation AND i = id AND l = leased_until)) \
     WHERE (organisation, id, leased_until) IN (SELECT o, i, l FROM k) RETURNING organisation, id, leased_until";

/// `?1` now, `?2` and `?3` the latest moments of jobs and of patient ones, `?4` the words of these, `?5` how many, `?6` now as it stands in
/// a document, `?7` the end of a lease, `?8` whether leased ones are meant, too. What cannot be read as JSON is left as it is, but not left waiting.
const DUE_AT_ONCE: &str = "UPDATE jobs SET \
       doc = CASE WHEN due > ?2 AND json_valid(doc) THEN json_set(doc, '$.due', json(?6)) ELSE doc END, \
       due = CASE WHEN due > ?2 THEN ?1 ELSE due END, \
       ready_at = max(CASE WHEN due > ?2 THEN ?1 ELSE due END, CASE WHEN leased_until <> 0 THEN ?7 ELSE ?1 END) \
     WHERE (organisation, id) IN (SELECT j.organisation, j.id FROM jobs AS j WHERE j.ready_at > ?2 AND (?8 OR j.leased_until = 0) \
       AND (j.ready_at > ?3 OR NOT EXISTS (SELECT 1 FROM json_each(?4) AS p WHERE instr(j.doc, p.value) > 0)) \
       ORDER BY j.ready_at LIMIT ?5)";

#[async_trait]
impl JobStore for SqliteStore {
    async fn claim_jobs(
        &self,
        now: Timestamp,
        Lease(lease): Lease,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let now = now.as_millis();
        // Nothing to do is the usual answer, and needs no write.
        let ready: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE ready_at <= ?1 LIMIT ?2 + 0)",
        )
        .bind(now)
        .bind(i64::from(limit) + 1)
        .fetch_one(&self.reads)
        .await
        .map_err(failed)?;
        if ready == 0 {
            return Ok(Vec::new());
        }
        let mut tx = self
            .writes
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        let chosen: Vec<(i64, i64)> = if ready <= i64::from(limit) {
            sqlx::query_as(
                "SELECT organisation, id FROM jobs WHERE ready_at <= ?1 ORDER BY ready_at LIMIT ?2 + 0",
            )
            .bind(now)
            .bind(limit)
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?
        } else {
            // More than can be taken: everybody's first, then everybody's second, … by walking from organisation to
            // organisation in the index.
            let organisations: Vec<i64> = sqlx::query_scalar(
                "WITH RECURSIVE o (organisation) AS ( \
                   SELECT min(organisation) FROM jobs \
                   UNION ALL \
                   SELECT (SELECT min(j.organisation) FROM jobs AS j WHERE j.organisation > o.organisation) \
                   FROM o WHERE o.organisation IS NOT NULL) \
                 SELECT organisation FROM o WHERE organisation IS NOT NULL AND EXISTS \
                   (SELECT 1 FROM jobs AS j WHERE j.organisation = o.organisation AND j.due <= ?1 AND j.ready_at <= ?1)",
            )
            .bind(now)
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?;
            let each = if organisations.len() < limit as usize {
                limit
            } else {
                1
            };
            let mut heads: Vec<(usize, i64, i64, i64)> = Vec::new();
            for organisation in organisations {
                let head: Vec<(i64, i64)> = sqlx::query_as(
                    "SELECT due, id FROM jobs WHERE organisation = ?1 AND due <= ?2 AND ready_at <= ?2 \
                     ORDER BY due, id LIMIT ?3 + 0",
                )
                .bind(organisation)
                .bind(now)
                .bind(each)
                .fetch_all(&mut *tx)
                .await
                .map_err(failed)?;
                let ranked = head.into_iter().enumerate();
                heads.extend(ranked.map(|(rank, (due, id))| (rank, due, id, organisation)));
            }
            heads.sort_unstable();
            heads.truncate(limit as usize);
            heads.into_iter().map(|(_, _, id, o)| (o, id)).collect()
        };
        let mut claimed: Vec<Raw> = Vec::new();
        // Far below the limit of values in a statement.
        for keys in chosen.chunks(10_000) {
            let mut query = QueryBuilder::<Sqlite>::new("WITH k (o, i) AS (");
            query.push_values(keys, |mut row, (organisation, id)| {
                row.push_bind(*organisation).push_bind(*id);
            });
            query
                .push(") UPDATE jobs SET leased_until = ")
                .push_bind(lease.as_millis())
                .push(", ready_at = max(due, ")
                .push_bind(lease.as_millis())
                .push(") WHERE (organisation, id) IN (SELECT o, i FROM k) AND ready_at <= ")
                .push_bind(now)
                .push(" RETURNING organisation, id, version, doc");
            let rows: Vec<Raw> = query
                .build_query_as()
                .persistent(false)
                .fetch_all(&mut *tx)
                .await
                .map_err(failed)?;
            claimed.extend(rows);
        }
        tx.commit().await.map_err(failed)?;
        let mut jobs: Vec<Job> = self.met.readable(claimed);
        jobs.sort_unstable_by_key(|job| (job.due, job.id, job.organisation));
        Ok(jobs)
    }

    async fn renew_leases(&self, claims: &[(Claim, Timestamp)]) -> Result<Vec<Claim>, StoreError> {
        let mut kept: Vec<(i64, i64, i64)> = Vec::new();
        // Far below the limit of values in a statement.
        for claims in claims.chunks(5_000) {
            let mut query = QueryBuilder::<Sqlite>::new("WITH k (o, i, l, u) AS (");
            query.push_values(claims, |mut row, (claim, until)| {
                row.push_bind(claim.organisation.0)
                    .push_bind(claim.id.0)
                    .push_bind(claim.lease.0.as_millis())
                    .push_bind(until.as_millis());
            });
            query.push(RENEW);
            let rows: Vec<(i64, i64, i64)> = query
                .build_query_as()
                .persistent(false)
                .fetch_all(&self.writes)
                .await
                .map_err(failed)?;
            kept.extend(rows);
        }
        Ok(kept.into_iter().map(Claim::of).collect())
    }

    async fn due_at_once(
        &self,
        now: Timestamp,
        Lease(lease): Lease,
        limit: u32,
        sure: bool,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(DUE_AT_ONCE)
            .bind(now.as_millis())
            .bind((now + JobKind::LONGEST_WAIT).as_millis())
            .bind(JobKind::latest_of_patient(now, sure))
            .bind(serde_json::json!(JobKind::PATIENT).to_string())
            .bind(i64::from(limit))
            .bind(serde_json::json!(now).to_string())
            .bind(lease.as_millis())
            .bind(sure)
            .execute(&self.writes)
            .await
            .map_err(failed)?;
        Ok(done.rows_affected())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = sqlx::query_scalar(
            "SELECT min(at) FROM ( \
               SELECT min(ready_at) AS at FROM jobs \
               UNION ALL SELECT min(wake_at) FROM set_ups WHERE wake_at IS NOT NULL \
               UNION ALL SELECT min(ceiling_at) FROM set_ups WHERE ceiling_at IS NOT NULL \
               UNION ALL SELECT min(wake_at) FROM moves WHERE wake_at IS NOT NULL)",
        )
        .fetch_one(&self.reads)
        .await
        .map_err(failed)?;
        Ok(next.map(Timestamp::from_millis))
    }

    async fn prune(
        &self,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let (mut gone, mut jobs) = (0, 0);
        for ((table, over), which) in OVER.into_iter().zip(OLDEST) {
            let rows = self.delete_over(table, over, which, organisation, before, limit);
            let rows = rows.await?;
            gone += rows;
            if table == Table::HandOffs {
                jobs = rows;
            }
        }
        for unnamed in UNNAMED {
            gone += self
                .delete_unnamed(unnamed, organisation, before, limit)
                .await?;
        }
        gone += self.prune_contents(organisation, before, limit).await?;
        // Not each time that rows of another kind have gone.
        if jobs > 0 || gone == 0 {
            gone += self
                .delete_unnamed(PARTS, organisation, before, limit)
                .await?;
        }
        Ok(gone)
    }

    async fn job_times(
        &self,
        organisation: OrganisationId,
        id: JobId,
    ) -> Result<Option<JobTimes>, StoreError> {
        let times: Option<(i64, i64, i64)> = sqlx::query_as(
            "SELECT due, leased_until, ready_at FROM jobs WHERE organisation = ?1 AND id = ?2",
        )
        .bind(organisation.0)
        .bind(id.0)
        .fetch_optional(&self.reads)
        .await
        .map_err(failed)?;
        Ok(times.map(|(due, leased_until, ready_at)| JobTimes::of(due, leased_until, ready_at)))
    }

    async fn jobs_waiting(&self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs")
            .fetch_one(&self.reads)
            .await
            .map_err(failed)?;
        Ok(count.unsigned_abs())
    }
}

impl SqliteStore {
    /// Contents that no declaration has any more and no list names, and the files that went with the last of them. Whoever
    /// takes one into use expects it in the same batch, and keeps the file only of a declaration that is put with it.
    async fn prune_contents(
        &self,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let ids: Vec<i64> = sqlx::query_scalar(CONTENTS.0)
            .bind(organisation.0)
            .bind(limit)
            .bind(before.as_millis())
            .fetch_all(&self.reads)
            .await
            .map_err(failed)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let mut tx = self
            .writes
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        // Again in the write: one may have come into use meanwhile.
        let gone: Vec<Option<i64>> = sqlx::query_scalar(CONTENTS.1)
            .bind(organisation.0)
            .bind(serde_json::json!(ids).to_string())
            .bind(before.as_millis())
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?;
        let files: Vec<i64> = gone.iter().copied().flatten().collect();
        if !files.is_empty() {
            sqlx::query(
                "DELETE FROM secrets AS s WHERE s.organisation = ?1 AND s.id IN (SELECT value FROM json_each(?2)) \
                   AND NOT EXISTS (SELECT 1 FROM declaration_contents AS t WHERE t.organisation = ?1 AND t.file = s.id)",
            )
            .bind(organisation.0)
            .bind(serde_json::json!(files).to_string())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        Ok(gone.len() as u64)
    }
}
