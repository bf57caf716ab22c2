//! Large rehearsals, too long for every day: a thousand devices on each store, and twenty seeds of two hundred devices under
//! many faults. Ignored unless asked for; `docs/rehearsal.md` has the command.

use mdm_core::store::testing::TestPostgres;
use mdmd::rehearsal::{Faults, Rehearsal, Summary};
use tests::{agreed, play};

/// What a person wants to read of a long story.
fn tell(summary: &Summary) {
    let peak = summary.peak_mib.map_or_else(String::new, |mib| {
        format!(", at most {mib} MiB so far in this process")
    });
    eprintln!(
        "seed {}, {} devices, {} with exceptions, on {}: {:.0} s{peak}",
        summary.seed,
        summary.rows.len(),
        summary
            .rows
            .iter()
            .filter(|row| !row.exceptions.is_empty())
            .count(),
        summary.database,
        summary.wall.as_secs_f64(),
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a thousand devices, twice"]
async fn size() {
    let mut rehearsal = Rehearsal::new(1_000, 1);
    let on_sqlite = play(rehearsal.clone()).await;
    tell(&on_sqlite);
    agreed(&on_sqlite);
    let server = TestPostgres::find().await.expect("a PostgreSQL server");
    rehearsal.database = Some(server.database().await);
    let on_postgres = play(rehearsal).await;
    server.clean().await;
    tell(&on_postgres);
    agreed(&on_postgres);
    assert_eq!(tests::told(&on_sqlite), tests::told(&on_postgres));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "twenty rehearsals of two hundred devices"]
async fn seeds() {
    for seed in 1..=20 {
        let mut rehearsal = Rehearsal::new(200, seed);
        rehearsal.faults = Faults::Many;
        let summary = play(rehearsal).await;
        tell(&summary);
        agreed(&summary);
    }
}
