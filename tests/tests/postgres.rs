//! A rehearsal on PostgreSQL ends as one on SQLite does. Skips aloud without a server, unless one is required.

use mdm_core::ids::OrganisationId;
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{
    Batch, OrganisationStore as _, PostgresOptions, PostgresStore, Store as _, StoreError,
};
use mdmd::rehearsal::{Faults, Rehearsal, Unfit};
use tests::{SOON, agreed, play, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_on_postgresql_ends_as_on_sqlite() {
    let Some(server) = TestPostgres::find().await else {
        let required = std::env::var("MDMD_TEST_REQUIRE_POSTGRES").is_ok_and(|v| v == "1");
        assert!(
            !required,
            "MDMD_TEST_REQUIRE_POSTGRES is set and there is none"
        );
        return;
    };
    let mut rehearsal = Rehearsal::new(6, 21);
    rehearsal.faults = Faults::Many;
    rehearsal.timetable = SOON;
    let on_sqlite = play(rehearsal.clone()).await;
    let url = server.database().await;
    rehearsal.database = Some(url.clone());
    assert!(!PostgresStore::is_in_use(&url).await.unwrap());
    // Who only looks makes no tables.
    let empty = PostgresStore::look(&url, PostgresOptions::default()).await;
    assert!(matches!(empty, Err(StoreError::Database(_))), "{empty:?}");
    let on_postgres = play(rehearsal.clone()).await;
    // What is in use is another's, whatever it is: the second rehearsal leaves it alone.
    let refused = mdmd::rehearsal::run(&rehearsal).await.unwrap_err();
    let refused = refused.downcast_ref::<Unfit>();
    assert!(matches!(refused, Some(Unfit::Place(_))), "{refused:?}");
    assert!(PostgresStore::is_in_use(&url).await.unwrap());
    let look = PostgresStore::look(&url, PostgresOptions::default());
    let look = look.await.unwrap();
    let there = look.organisations(OrganisationId(0), 2).await.unwrap();
    assert_eq!(there.len(), 1);
    let mut batch = Batch::new();
    batch.put(there[0].clone());
    assert!(
        look.commit(batch).await.is_err(),
        "somebody who looks wrote"
    );
    look.close().await.unwrap();
    server.clean().await;
    agreed(&on_sqlite);
    agreed(&on_postgres);
    assert_eq!(
        (on_sqlite.database, on_postgres.database),
        ("sqlite", "postgres")
    );
    // As it is printed, byte for byte.
    let printed = |summary| format!("{:#}", told(summary));
    assert_eq!(printed(&on_sqlite), printed(&on_postgres));
}
