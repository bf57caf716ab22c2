//! Jobs are claimed with a lease and never by deleting them; what another daemon is claiming is passed over.

use async_trait::async_trait;

use super::forget::{Contents, Unnamed};
use super::{PostgresStore, Text, failed, raw};
use crate::clock::Timestamp;
use crate::ids::{JobId, OrganisationId};
use crate::job::{Job, JobKind};
use crate::store::row::{OVER, Table};
use crate::store::{Claim, JobStore, JobTimes, Lease, StoreError};

/// What goes once nothing names it any more.
const UNNAMED: [&Unnamed; 2] = [&USED, &LISTS];

/// Sessions in which an identity was issued that is gone: one is issued together with a change of its session.
const USED: Unnamed = Unnamed {
    end: "SELECT s.used_until, s.id FROM sessions AS s WHERE s.organisation = $1 AND s.used_until < $2 \
       AND (s.used_until, s.id) > ($3, $4) ORDER BY s.used_until, s.id LIMIT 1 OFFSET $5",
    find: "SELECT s.id FROM sessions AS s WHERE s.organisation = $1 AND s.used_until < $3 \
       AND (s.used_until, s.id) > ($4, $5) AND (s.used_until, s.id) <= ($6, $7) \
       AND NOT EXISTS (SELECT 1 FROM certificates AS c WHERE c.organisation = $1 AND c.session = s.id OFFSET 0) \
     ORDER BY s.used_until, s.id LIMIT $2 FOR UPDATE OF s SKIP LOCKED",
    delete: "DELETE FROM sessions AS s WHERE s.organisation = $1 AND s.id = ANY($2) \
       AND NOT EXISTS (SELECT 1 FROM certificates AS c WHERE c.organisation = $1 AND c.session = s.id OFFSET 0)",
};

/// Lists of declarations that no channel was told last, or before that. Who tells a channel of one expects it.
const LISTS: Unnamed = Unnamed {
    end: "SELECT m.created, m.id FROM declaration_manifests AS m WHERE m.organisation = $1 AND m.created < $2 \
       AND (m.created, m.id) > ($3, $4) ORDER BY m.created, m.id LIMIT 1 OFFSET $5",
    find: "SELECT m.id FROM declaration_manifests AS m WHERE m.organisation = $1 AND m.created < $3 \
       AND (m.created, m.id) > ($4, $5) AND (m.created, m.id) <= ($6, $7) \
       AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = $1 AND c.manifest = m.id OFFSET 0) \
       AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = $1 AND c.earlier = m.id OFFSET 0) \
     ORDER BY m.created, m.id LIMIT $2 FOR UPDATE OF m SKIP LOCKED",
    delete: "DELETE FROM declaration_manifests AS m WHERE m.organisation = $1 AND m.id = ANY($2) \
       AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = $1 AND c.manifest = m.id OFFSET 0) \
       AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = $1 AND c.earlier = m.id OFFSET 0)",
};

/// What became of the devices of a hand-off whose job is gone, of whatever age: who writes more of it writes its job, too. No index finds
/// it: all that there is of an organisation is gone through.
const PARTS: Unnamed = Unnamed {
    end: "SELECT p.job, p.id FROM hand_off_parts AS p WHERE p.organisation = $1 AND $2::bigint IS NOT NULL \
       AND (p.job, p.id) > ($3, $4) ORDER BY p.job, p.id LIMIT 1 OFFSET $5",
    find: "SELECT p.id FROM hand_off_parts AS p WHERE p.organisation = $1 AND $3::bigint IS NOT NULL \
       AND (p.job, p.id) > ($4, $5) AND (p.job, p.id) <= ($6, $7) \
       AND NOT EXISTS (SELECT 1 FROM hand_offs AS h WHERE h.organisation = $1 AND h.id = p.job OFFSET 0) \
     ORDER BY p.job, p.id LIMIT $2 FOR UPDATE OF p SKIP LOCKED",
    delete: "DELETE FROM hand_off_parts AS p WHERE p.organisation = $1 AND p.id = ANY($2) \
       AND NOT EXISTS (SELECT 1 FROM hand_offs AS h WHERE h.organisation = $1 AND h.id = p.job OFFSET 0)",
};

/// Contents that no declaration has any more and no list names, of whatever age. Who takes one into use expects it.
const CONTENTS: Contents = Contents {
    end: "SELECT t.id FROM declaration_contents AS t WHERE t.organisation = $1 AND t.id > $2 ORDER BY t.id LIMIT 1 OFFSET $3",
    find: "SELECT t.id FROM declaration_contents AS t WHERE t.organisation = $1 AND t.id > $2 AND t.id <= $3 \
       AND NOT EXISTS (SELECT 1 FROM declarations AS d WHERE d.organisation = $1 AND d.content = t.id OFFSET 0) \
     ORDER BY t.id LIMIT $4",
    end_of_lists: "SELECT m.created, m.id FROM declaration_manifests AS m WHERE m.organisation = $1 \
       AND (m.created, m.id) > ($2, $3) ORDER BY m.created, m.id LIMIT 1 OFFSET $4",
    named: "SELECT DISTINCT (named->>'content')::bigint FROM \
       (SELECT m.doc FROM declaration_manifests AS m WHERE m.organisation = $1 \
         AND (m.created, m.id) > ($2, $3) AND (m.created, m.id) <= ($4, $5) ORDER BY m.created, m.id LIMIT $6) AS m, \
       json_array_elements(m.doc->'items') AS named WHERE named->>'content' IS NOT NULL",
    lock: "SELECT t.id FROM declaration_contents AS t WHERE t.organisation = $1 AND t.id = ANY($2) \
     ORDER BY t.id FOR UPDATE OF t SKIP LOCKED",
    delete: "DELETE FROM declaration_contents AS t WHERE t.organisation = $1 \
       AND NOT EXISTS (SELECT 1 FROM declarations AS d WHERE d.organisation = $1 AND d.content = t.id) \
       AND NOT EXISTS (SELECT 1 FROM declaration_manifests AS m, json_array_elements(m.doc->'items') AS named \
         WHERE m.organisation = $1 AND (named->>'content')::bigint = t.id) AND t.id = ANY($2) \
     RETURNING t.file",
    files: "DELETE FROM secrets AS s WHERE s.organisation = $1 AND s.id = ANY($2) \
       AND NOT EXISTS (SELECT 1 FROM declaration_contents AS t WHERE t.organisation = $1 AND t.file = s.id)",
};

/// Keeps claimed jobs. Rows are locked in the order of their keys, as by everybody.
pub(super) const RENEW: &str = "WITH k AS (SELECT t.organisation, t.id, u.lease, u.until FROM jobs AS t \
     JOIN UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (organisation, id, lease, until) \
     ON t.organisation = u.organisation AND t.id = u.id AND t.leased_until = u.lease \
     ORDER BY t.organisation, t.id FOR UPDATE OF t) \
     UPDATE jobs AS t SET ready_at = greatest(t.due, k.until) FROM k \
     WHERE t.organisation = k.organisation AND t.id = k.id AND t.leased_until = k.lease \
     RETURNING t.organisation, t.id, t.leased_until";

/// `$1` now, `$2` and `$3` the latest moments of jobs and of patient ones, `$4` the words of these, `$5` how many, `$6` now as it stands in
/// a document, `$7` the end of a lease, `$8` whether leased ones are meant, too. What is no object, or cannot be changed as one, is left as it is, but
/// not left waiting.
const DUE_AT_ONCE: &str = "WITH k AS (SELECT j.organisation, j.id FROM jobs AS j WHERE j.ready_at > $2::bigint AND ($8::boolean OR j.leased_until = 0) \
       AND (j.ready_at > $3::bigint OR NOT EXISTS \
         (SELECT 1 FROM UNNEST($4::text[]) AS p (word) WHERE position(p.word IN j.doc::text) > 0)) \
       ORDER BY j.ready_at LIMIT $5::bigint FOR UPDATE OF j SKIP LOCKED) \
     UPDATE jobs AS t SET \
       doc = CASE WHEN t.due > $2::bigint AND json_typeof(t.doc) = 'object' \
           AND position('\\u0000' IN t.doc::text) = 0 \
         THEN jsonb_set(t.doc::jsonb, '{due}', $6::text::jsonb)::json ELSE t.doc END, \
       due = CASE WHEN t.due > $2::bigint THEN $1::bigint ELSE t.due END, \
       ready_at = greatest(CASE WHEN t.due > $2::bigint THEN $1::bigint ELSE t.due END, \
         CASE WHEN t.leased_until <> 0 THEN $7::bigint ELSE $1::bigint END) \
     FROM k WHERE t.organisation = k.organisation AND t.id = k.id";

#[async_trait]
impl JobStore for PostgresStore {
    async fn claim_jobs(
        &self,
        now: Timestamp,
        Lease(lease): Lease,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let (now, lease, limit) = (now.as_millis(), lease.as_millis(), i64::from(limit));
        // Nothing to do is the usual answer, and needs no write.
        let ready: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE ready_at <= $1 LIMIT $2) AS ready",
        )
        .bind(now)
        .bind(limit + 1)
        .fetch_one(&self.reads)
        .await
        .map_err(failed)?;
        if ready == 0 {
            return Ok(Vec::new());
        }
        let claimed: Vec<Text> = if ready <= limit {
            sqlx::query_as(
                "WITH k AS (SELECT organisation, id FROM jobs WHERE ready_at <= $1 \
                   ORDER BY ready_at LIMIT $2 FOR UPDATE SKIP LOCKED) \
                 UPDATE jobs AS t SET leased_until = $3, ready_at = greatest(t.due, $3) FROM k \
                 WHERE t.organisation = k.organisation AND t.id = k.id AND t.ready_at <= $1 \
                 RETURNING t.organisation, t.id, t.version, t.doc::text",
            )
            .bind(now)
            .bind(limit)
            .bind(lease)
            .fetch_all(&self.reads)
            .await
            .map_err(failed)?
        } else {
            self.claim_fairly(now, lease, limit).await?
        };
        let mut jobs: Vec<Job> = self.met.readable(claimed.into_iter().map(raw).collect());
        jobs.sort_unstable_by_key(|job| (job.due, job.id, job.organisation));
        Ok(jobs)
    }

    async fn renew_leases(&self, claims: &[(Claim, Timestamp)]) -> Result<Vec<Claim>, StoreError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let column = |of: fn(&(Claim, Timestamp)) -> i64| claims.iter().map(of).collect::<Vec<_>>();
        // Over the connection that writes: people's questions keep nobody's lease from being renewed.
        let kept: Vec<(i64, i64, i64)> = sqlx::query_as(RENEW)
            .bind(column(|(claim, _)| claim.organisation.0))
            .bind(column(|(claim, _)| claim.id.0))
            .bind(column(|(claim, _)| claim.lease.0.as_millis()))
            .bind(column(|(_, until)| until.as_millis()))
            .fetch_all(&self.writes)
            .await
            .map_err(failed)?;
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
            .bind(JobKind::PATIENT.to_vec())
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
            "SELECT least((SELECT min(ready_at) FROM jobs), \
               (SELECT min(wake_at) FROM set_ups WHERE wake_at IS NOT NULL), \
               (SELECT min(ceiling_at) FROM set_ups WHERE ceiling_at IS NOT NULL), \
               (SELECT min(wake_at) FROM moves WHERE wake_at IS NOT NULL))",
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
        for (table, over) in OVER {
            let rows = self.delete_over(table, over, organisation, before, limit);
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
        gone += self.delete_contents(&CONTENTS, organisation, limit).await?;
        // Not each time that rows of another kind have gone.
        if jobs > 0 || gone == 0 {
            gone += self
                .delete_unnamed(&PARTS, organisation, before, limit)
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
            "SELECT due, leased_until, ready_at FROM jobs WHERE organisation = $1 AND id = $2",
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

impl PostgresStore {
    /// More than can be taken: everybody's first, then everybody's second, … by walking from organisation to
    /// organisation in the index.
    async fn claim_fairly(
        &self,
        now: i64,
        lease: i64,
        limit: i64,
    ) -> Result<Vec<Text>, StoreError> {
        let organisations: Vec<i64> = sqlx::query_scalar(
            "WITH RECURSIVE o (organisation) AS ( \
               SELECT min(organisation) FROM jobs \
               UNION ALL \
               SELECT (SELECT min(j.organisation) FROM jobs AS j WHERE j.organisation > o.organisation) \
               FROM o WHERE o.organisation IS NOT NULL) \
             SELECT organisation FROM o WHERE organisation IS NOT NULL AND EXISTS \
               (SELECT 1 FROM jobs AS j WHERE j.organisation = o.organisation AND j.due <= $1 AND j.ready_at <= $1)",
        )
        .bind(now)
        .fetch_all(&self.reads)
        .await
        .map_err(failed)?;
        let many = i64::try_from(organisations.len()).unwrap_or(i64::MAX) >= limit;
        let each = if many { 1 } else { limit };
        sqlx::query_as(
            "WITH heads AS (SELECT h.organisation, h.id FROM UNNEST($1::bigint[]) AS o (organisation) \
               CROSS JOIN LATERAL (SELECT j.organisation, j.id, j.due, \
                 row_number() OVER (ORDER BY j.due, j.id) AS rank FROM jobs AS j \
                 WHERE j.organisation = o.organisation AND j.due <= $2 AND j.ready_at <= $2 \
                 ORDER BY j.due, j.id LIMIT $3) AS h \
               ORDER BY h.rank, h.due, h.id, h.organisation LIMIT $4), \
             k AS (SELECT t.organisation, t.id FROM jobs AS t JOIN heads AS h \
               ON t.organisation = h.organisation AND t.id = h.id \
               WHERE t.ready_at <= $2 FOR UPDATE OF t SKIP LOCKED) \
             UPDATE jobs AS t SET leased_until = $5, ready_at = greatest(t.due, $5) FROM k \
             WHERE t.organisation = k.organisation AND t.id = k.id AND t.ready_at <= $2 \
             RETURNING t.organisation, t.id, t.version, t.doc::text",
        )
        .bind(organisations)
        .bind(now)
        .bind(each)
        .bind(limit)
        .bind(lease)
        .fetch_all(&self.reads)
        .await
        .map_err(failed)
    }
}
