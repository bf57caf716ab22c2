//! A short form of what `cargo run --release -p tests --bin several` does for half an hour: three servers on one PostgreSQL, killed
//! under load. It does not wait until migrations have ended. And two of them by the computer's own clock, of which one is killed while
//! it reads a list. Skips aloud without PostgreSQL, unless one is required.

use std::process::ExitCode;
use std::time::Duration;

use mdm_core::store::testing::TestPostgres;
use tests::chaos::SERVE;
use tests::chaos::several::{self, Options};

fn main() -> ExitCode {
    if std::env::var_os(SERVE).is_some() {
        return mdmd::cli::main();
    }
    // `cargo test NAME` runs this program too.
    let mut words = std::env::args().skip(1);
    let listed = words.any(|word| word == "--list");
    let named = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect::<Vec<_>>();
    if listed || named.iter().any(|name| !"several".contains(name.as_str())) {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(short()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn short() -> anyhow::Result<()> {
    let Some(postgres) = TestPostgres::find().await else {
        let required = std::env::var("MDMD_TEST_REQUIRE_POSTGRES").is_ok_and(|v| v == "1");
        anyhow::ensure!(!required, "there is no PostgreSQL, and one is required");
        return Ok(());
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
    Ok(())
}
