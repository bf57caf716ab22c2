//! A short form of what `cargo run --release -p tests --bin several` does for half an hour: three servers on one PostgreSQL, killed
//! under load, and of what it does with an older program; it does not wait until migrations have ended. And two of them by the
//! computer's own clock, of which one is killed while it reads a list. Skips aloud without PostgreSQL, unless one is required.

use std::process::ExitCode;
use std::time::Duration;

use mdm_core::store::testing::TestPostgres;
use tests::chaos::several::{self, Options, taken_over};

fn main() -> ExitCode {
    tests::program("several", short())
}

async fn short() -> anyhow::Result<()> {
    let Some(postgres) = TestPostgres::find().await else {
        return tests::without_postgres();
    };
    let done = on(&postgres).await;
    postgres.clean().await;
    done
}

async fn on(postgres: &TestPostgres) -> anyhow::Result<()> {
    let options = Options {
        servers: 3,
        every: Duration::from_secs(6),
        time: Duration::from_secs(20),
        devices: 40,
        connections: 4,
        rest: Duration::from_millis(50),
        migrating: 12,
        wave: 3,
        pace: 240,
        to_the_end: false,
        older: None,
        server: None,
        logs: std::env::var_os("MDMD_TEST_LOGS").map(Into::into),
        seed: 7,
    };
    let outcome = several::run(&options, postgres).await?;
    for what in outcome.found() {
        println!("{what}");
    }
    println!("{}", outcome.told());
    anyhow::ensure!(
        outcome.found().next().is_none(),
        "somebody could tell that servers were killed"
    );
    anyhow::ensure!(
        outcome.fleet.kills > 1 && outcome.fleet.acknowledged > 0 && outcome.submitted.0 > 0,
        "hardly anything happened"
    );
    replaced(options, postgres).await?;
    let nobody = taken_over::run(None, postgres).await?;
    println!("the list of who was killed was read by nobody for {nobody:?}");
    Ok(())
}

/// All three begin on tables that another program has made, and are replaced under load. There is no older one here: that nothing was
/// upgraded is found, and nothing else.
async fn replaced(options: Options, postgres: &TestPostgres) -> anyhow::Result<()> {
    let options = Options {
        every: Duration::from_secs(8),
        older: Some(std::env::current_exe()?),
        ..options
    };
    let outcome = several::run(&options, postgres).await?;
    println!("replaced: {}", outcome.told());
    let found: Vec<&String> = outcome.found().collect();
    anyhow::ensure!(
        outcome.replaced == options.servers && outcome.fleet.acknowledged > 0,
        "{} servers were replaced",
        outcome.replaced
    );
    anyhow::ensure!(
        matches!(*found, [only] if only.contains("nothing was upgraded")),
        "{found:?}"
    );
    Ok(())
}
