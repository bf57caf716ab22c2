//! The contract of `mdm_core::store::contract` on each of our back ends, and what only one of them promises.

use std::sync::Arc;

use mdm_core::audit::AuditEntry;
use mdm_core::clock::Timestamp;
use mdm_core::ids::{AuditId, OrganisationId};
use mdm_core::store::testing::{FailingStore, Moment, TestPostgres};
use mdm_core::store::{
    AuditStore, Batch, PostgresOptions, PostgresStore, SqliteStore, Store, StoreError, contract,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_in_memory_keeps_the_contract() {
    let found = contract::check(async || SqliteStore::in_memory().await.unwrap()).await;
    assert_eq!(found, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    let found = contract::check(async || {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = folder.path().join(format!("{nth}.sqlite"));
        SqliteStore::open(path).await.unwrap()
    })
    .await;
    assert_eq!(found, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_contract() {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let found = contract::check(async || {
        let url = server.database().await;
        let options = PostgresOptions::default();
        PostgresStore::connect(&url, options).await.unwrap()
    })
    .await;
    assert_eq!(found, Ok(()));
    a_server_that_may_lose_commits_is_refused(&server).await;
    two_daemons_share_a_database(&server).await;
    two_groups_share_a_database_by_schemas(&server).await;
    server.clean().await;
}

async fn a_server_that_may_lose_commits_is_refused(server: &TestPostgres) {
    let url = server.database().await;
    let name = url.rsplit('/').next().unwrap();
    let name = name.split('?').next().unwrap();
    server
        .administer(format!(
            "ALTER DATABASE {name} SET synchronous_commit = off"
        ))
        .await;
    let mut options = PostgresOptions::default();
    let refused = PostgresStore::connect(&url, options).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Database(why) if why.contains("synchronous_commit")),
        "{refused}"
    );
    options.accept_lost_commits = true;
    let accepted = PostgresStore::connect(&url, options).await.unwrap();
    accepted.close().await.unwrap();
}

/// Installations in schemas of their own, as a server has them that distributes schemas: neither sees the other's rows.
async fn two_groups_share_a_database_by_schemas(server: &TestPostgres) {
    let url = server.database().await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut groups = Vec::new();
    for group in ["one", "two"] {
        let make = AssertSqlSafe(format!("CREATE SCHEMA {group}"));
        database.execute(make).await.unwrap();
        let sign = if url.contains('?') { '&' } else { '?' };
        let its = format!("{url}{sign}options[search_path]={group}");
        assert!(!PostgresStore::is_in_use(&its).await.unwrap());
        let store = PostgresStore::connect(&its, PostgresOptions::default()).await;
        groups.push((its, store.unwrap()));
    }
    let write = || {
        let mut batch = Batch::new();
        batch.put(line(1));
        batch
    };
    for (_, store) in &groups {
        store.commit(write()).await.unwrap();
        let again = store.commit(write()).await;
        assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    }
    for (its, store) in groups {
        store.close().await.unwrap();
        let store = PostgresStore::look(&its, PostgresOptions::default()).await;
        let store = store.unwrap();
        let lines = store.audit(OrganisationId(1), AuditId(0), 9).await.unwrap();
        assert_eq!(lines.len(), 1);
        store.close().await.unwrap();
    }
    let stray: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert_eq!(stray, 0, "something lies outside of both");
    database.close().await.unwrap();
}

/// Groups of two daemons meet over the same rows: nothing is lost, nobody waits in a circle.
async fn two_daemons_share_a_database(server: &TestPostgres) {
    let url = server.database().await;
    let options = PostgresOptions::default();
    let (one, two) = tokio::join!(
        PostgresStore::connect(&url, options),
        PostgresStore::connect(&url, options)
    );
    let daemons = [one.unwrap(), two.unwrap()];
    let mut tasks = tokio::task::JoinSet::new();
    for nth in 0..40_i64 {
        let store = daemons[usize::try_from(nth % 2).unwrap()].clone();
        tasks.spawn(async move {
            let mut won = 0;
            for round in 0..5_i64 {
                // Everybody wants the same new lines, in an order of their own.
                let mut batch = Batch::new();
                for k in 0..4_i64 {
                    let id = 1 + round * 4 + (k + nth) % 4;
                    batch.put(line(id));
                }
                match store.commit(batch).await {
                    Ok(()) => won += 1,
                    Err(StoreError::Conflict) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            won
        });
    }
    let won: i32 = tasks.join_all().await.into_iter().sum();
    assert_eq!(won, 5, "each of five sets of lines has one author");
    for store in daemons {
        store.close().await.unwrap();
    }
}

fn line(id: i64) -> AuditEntry {
    let now = Timestamp::from_millis(id);
    let detail = serde_json::Value::Null;
    AuditEntry::new(
        OrganisationId(1),
        AuditId(id),
        now,
        "worker",
        "did",
        None,
        detail,
    )
}

#[tokio::test]
async fn a_shared_store_and_one_that_never_fails_keep_the_contract() {
    let found = contract::check(async || {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
        FailingStore::new(store, 0, Moment::Before)
    })
    .await;
    assert_eq!(found, Ok(()));
}

#[tokio::test]
async fn a_failing_store_fails_at_its_commit_and_stays_down() {
    for (moment, kept) in [(Moment::Before, 1), (Moment::After, 2)] {
        let inner = SqliteStore::in_memory().await.unwrap();
        let store = FailingStore::new(inner.clone(), 2, moment);
        for id in 1..=4 {
            let mut batch = Batch::new();
            batch.put(line(id));
            assert_eq!(store.commit(batch).await.is_ok(), id < 2);
        }
        assert!(store.has_failed());
        let lines = inner.audit(OrganisationId(1), AuditId(0), 9).await.unwrap();
        assert_eq!(lines.len(), kept);
    }
}
