//! A rehearsal on PostgreSQL ends as one on SQLite does. Skips aloud without a server, unless one is required.

use mdm_core::store::testing::TestPostgres;
use mdmd::rehearsal::{Faults, Rehearsal};
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
    rehearsal.database = Some(server.database().await);
    let on_postgres = play(rehearsal).await;
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
