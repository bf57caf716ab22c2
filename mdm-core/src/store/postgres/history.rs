//! Which history of the cluster this is, and its replicas.

use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::{PostgresStore, failed};
use crate::clock::Timestamp;
use crate::store::{History, HistoryStore, Replication, StoreError};

/// The cluster, and the timeline to which it writes now: that of the last checkpoint is the old one for a while after a promotion.
const HISTORY: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' \
       || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), \
     (SELECT history FROM schema_floor)";

/// A role that may not see the others sees that they are there, and not what they are.
const REPLICAS: &str = "SELECT count(*), count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), \
       nullif(current_setting('synchronous_standby_names'), ''), current_setting('synchronous_commit'), \
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
     FROM pg_stat_replication";

#[async_trait]
impl HistoryStore for PostgresStore {
    fn connections_made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    async fn history(&self) -> Result<Option<History>, StoreError> {
        // Over the connections for devices' messages: people's questions keep nobody from beginning what is due, and whoever
        // waits for this keeps nobody from writing.
        let found: Result<(String, Option<String>), sqlx::Error> =
            sqlx::query_as(HISTORY).fetch_one(&self.channels).await;
        match found {
            Ok((here, noted)) => Ok(Some(History { here, noted })),
            Err(error) => hidden(error),
        }
    }

    async fn note_history(&self, history: &History) -> Result<(), StoreError> {
        sqlx::query("UPDATE schema_floor SET history = $1 WHERE history IS NOT DISTINCT FROM $2")
            .bind(&history.here)
            .bind(&history.noted)
            .execute(&self.channels)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn replication(&self) -> Result<Option<Replication>, StoreError> {
        let found: Result<(i64, i64, Option<String>, String, i64), sqlx::Error> =
            sqlx::query_as(REPLICAS).fetch_one(&self.reads).await;
        let (replicas, synchronous, names, commit, clock) = match found {
            Ok(found) => found,
            Err(error) => return hidden(error),
        };
        let waits = names.map(|_| commit);
        Ok(Some(Replication {
            replicas: replicas.unsigned_abs(),
            synchronous: synchronous.unsigned_abs(),
            waits: waits.filter(|commit| !matches!(commit.as_str(), "off" | "local")),
            clock: Timestamp::from_millis(clock),
        }))
    }
}

/// What a service does not have, or does not show to everybody, is not known.
fn hidden<T>(error: sqlx::Error) -> Result<Option<T>, StoreError> {
    match error {
        sqlx::Error::Database(error)
            if matches!(
                error.code().as_deref(),
                Some("42501" | "42883" | "42P01" | "0A000")
            ) =>
        {
            tracing::warn!(%error, "the database does not tell what it is, or who follows it");
            Ok(None)
        }
        error => Err(failed(error)),
    }
}
