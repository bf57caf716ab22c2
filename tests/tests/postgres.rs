//! A rehearsal on PostgreSQL ends as one on SQLite does. Skips aloud without a server, unless one is required.

use mdm_core::store::testing::TestPostgres;
use mdmd::rehearsal::Rehearsal;
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
    let mut rehearsal = Rehearsal::new(4, 21);
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
    assert_eq!(told(&on_sqlite), told(&on_postgres));
}
