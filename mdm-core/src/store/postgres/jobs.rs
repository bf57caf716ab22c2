//! Jobs are claimed with a lease and never by deleting them; what another daemon is claiming is passed over.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;

use super::{PostgresStore, Text, failed, raw};
use crate::clock::Timestamp;
use crate::ids::{JobId, OrganisationId};
use crate::job::Job;
use crate::store::row::{OVER, decode_readable};
use crate::store::{JobStore, JobTimes, Lease, StoreError};

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
        let mut jobs: Vec<Job> = decode_readable(claimed.into_iter().map(raw).collect());
        jobs.sort_unstable_by_key(|job| (job.due, job.id, job.organisation));
        Ok(jobs)
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
        let mut gone = 0;
        for (table, over) in OVER {
            let table = table.name();
            let sql = format!(
                "WITH k AS MATERIALIZED (SELECT id FROM {table} WHERE organisation = $1 AND {over} < $2 \
                   ORDER BY {over}, id LIMIT $3 FOR UPDATE SKIP LOCKED) \
                 DELETE FROM {table} AS t USING k WHERE t.organisation = $1 AND t.id = k.id AND t.{over} < $2"
            );
            let done = sqlx::query(AssertSqlSafe(sql))
                .bind(organisation.0)
                .bind(before.as_millis())
                .bind(i64::from(limit))
                .execute(&self.reads)
                .await
                .map_err(failed)?;
            gone += done.rows_affected();
        }
        let sessions = self.prune_used(organisation, before, limit).await?;
        let lists = self.prune_lists(organisation, before, limit).await?;
        Ok(gone + sessions + lists + self.prune_contents(organisation, limit).await?)
    }

    async fn job_times(
        &self,
        organisation: OrganisationId,
        id: JobId,
    ) -> Result<Option<JobTimes>, StoreError> {
        let times: Option<(i64, i64)> = sqlx::query_as(
            "SELECT due, leased_until FROM jobs WHERE organisation = $1 AND id = $2",
        )
        .bind(organisation.0)
        .bind(id.0)
        .fetch_optional(&self.reads)
        .await
        .map_err(failed)?;
        Ok(times.map(|(due, leased_until)| JobTimes {
            due: Timestamp::from_millis(due),
            leased_until: Timestamp::from_millis(leased_until),
        }))
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

    /// Enrolment sessions that no identity was issued in that is still kept.
    async fn prune_used(
        &self,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut tx = self.reads.begin().await.map_err(failed)?;
        // Locked first, and looked at again under the lock: an identity is issued together with a change of its session.
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT s.id FROM sessions AS s WHERE s.organisation = $1 AND s.used_until < $2 \
               AND NOT EXISTS (SELECT 1 FROM certificates AS c WHERE c.organisation = $1 AND c.session = s.id) \
             ORDER BY s.used_until, s.id LIMIT $3 FOR UPDATE OF s SKIP LOCKED",
        )
        .bind(organisation.0)
        .bind(before.as_millis())
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .map_err(failed)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let done = sqlx::query(
            "DELETE FROM sessions AS s WHERE s.organisation = $1 AND s.id = ANY($2) \
               AND NOT EXISTS (SELECT 1 FROM certificates AS c WHERE c.organisation = $1 AND c.session = s.id)",
        )
        .bind(organisation.0)
        .bind(ids)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(done.rows_affected())
    }

    /// Contents that no declaration has any more and no list names. Whoever takes one into use expects it in the same batch.
    async fn prune_contents(
        &self,
        organisation: OrganisationId,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut tx = self.reads.begin().await.map_err(failed)?;
        // Locked first, and looked at again under the lock: who takes one into use expects it, and waits here or was quicker.
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT t.id FROM declaration_contents AS t WHERE t.organisation = $1 \
               AND NOT EXISTS (SELECT 1 FROM declarations AS d WHERE d.organisation = $1 AND d.content = t.id) \
               AND NOT EXISTS (SELECT 1 FROM declaration_manifests AS m, json_array_elements(m.doc->'items') AS named \
                 WHERE m.organisation = $1 AND (named->>'content')::bigint = t.id) \
             ORDER BY t.id LIMIT $2 FOR UPDATE OF t SKIP LOCKED",
        )
            .bind(organisation.0)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let done = sqlx::query(
            "DELETE FROM declaration_contents AS t WHERE t.organisation = $1 \
               AND NOT EXISTS (SELECT 1 FROM declarations AS d WHERE d.organisation = $1 AND d.content = t.id) \
               AND NOT EXISTS (SELECT 1 FROM declaration_manifests AS m, json_array_elements(m.doc->'items') AS named \
                 WHERE m.organisation = $1 AND (named->>'content')::bigint = t.id) AND t.id = ANY($2)",
        )
            .bind(organisation.0)
            .bind(ids)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(done.rows_affected())
    }

    /// Lists of declarations that no channel was told last, or before that.
    async fn prune_lists(
        &self,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut tx = self.reads.begin().await.map_err(failed)?;
        // Locked first, and looked at again under the lock: who tells a channel of one expects it, and waits here until it
        // finds it gone, or was quicker and is seen by the second statement.
        let ids: Vec<i64> = sqlx::query_scalar(
            "SELECT m.id FROM declaration_manifests AS m WHERE m.organisation = $1 AND m.created < $2 \
               AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = $1 AND c.manifest = m.id) \
               AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = $1 AND c.earlier = m.id) \
             ORDER BY m.created, m.id LIMIT $3 FOR UPDATE OF m SKIP LOCKED",
        )
        .bind(organisation.0)
        .bind(before.as_millis())
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .map_err(failed)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let done = sqlx::query(
            "DELETE FROM declaration_manifests AS m WHERE m.organisation = $1 AND m.id = ANY($2) \
               AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = $1 AND c.manifest = m.id) \
               AND NOT EXISTS (SELECT 1 FROM declared_channels AS c WHERE c.organisation = $1 AND c.earlier = m.id)",
        )
        .bind(organisation.0)
        .bind(ids)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(done.rows_affected())
    }
}
