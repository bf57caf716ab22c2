//! A short form of what `cargo run --release -p tests --bin chaos` does hundreds of times: the server is killed under load, and
//! its power is cut, with and without an Apple that it asks for something; whatever was acknowledged is there. With a disk that
//! lies the harness has to report loss. Beside that a clock that jumps.
//!
//! PostgreSQL's part skips aloud without a server, unless one is required.

use std::process::ExitCode;
use std::time::Duration;

use mdm_core::store::testing::TestPostgres;
use tests::chaos::several::alone::{self, Migrating};
use tests::chaos::{self, Options, Report, jumps};

fn main() -> ExitCode {
    tests::program("chaos", all())
}

fn options(kills: usize, power: bool, lies: bool) -> Options {
    Options {
        kills,
        database: "sqlite".to_owned(),
        power,
        lies,
        devices: 100,
        connections: 8,
        longest: Duration::from_millis(400),
        seed: 7,
        server: None,
    }
}

async fn told(name: &str, options: &Options) -> anyhow::Result<Report> {
    let report = chaos::run(options).await?;
    println!("{name}: {}", report.told());
    Ok(report)
}

/// Kills, or power cuts, with a simulated Apple; it does not wait until migrations have ended.
async fn with_world(name: &str, options: &Options) -> anyhow::Result<()> {
    let migrating = Migrating {
        devices: 6,
        wave: 3,
        pace: 60,
        to_the_end: false,
        logs: std::env::var_os("MDMD_TEST_LOGS").map(Into::into),
    };
    let options = Options {
        kills: 8,
        longest: Duration::from_millis(1500),
        ..options.clone()
    };
    let agreement = alone::run(&options, &migrating).await?;
    println!("{name}: {}", agreement.told());
    for what in agreement.found() {
        println!("{what}");
    }
    anyhow::ensure!(
        agreement.found().next().is_none(),
        "the world does not agree with what was acknowledged"
    );
    anyhow::ensure!(
        agreement.waves > 0
            && agreement.met > 0
            && agreement.acts.migrations > 0
            && agreement.fleet.acknowledged > 20,
        "hardly anything happened"
    );
    Ok(())
}

async fn all() -> anyhow::Result<()> {
    told("killed, SQLite", &options(12, false, false))
        .await?
        .whole()?;
    if cfg!(target_os = "linux") {
        let cut = told("the power cut, SQLite", &options(12, true, false)).await?;
        cut.whole()?;
        anyhow::ensure!(cut.thrown_away > 0, "a power cut that throws nothing away");
        let lied = told("the power cut, a disk that lies", &options(12, true, true)).await?;
        anyhow::ensure!(!lied.lost.is_empty(), "a loss was not seen");
        with_world(
            "the power cut before an Apple, SQLite",
            &options(8, true, false),
        )
        .await?;
        let jumped = jumps::run(&options(0, false, false)).await?;
        println!("the clock jumps, SQLite: {}", jumped.told());
        jumped.whole()?;
    }
    let Some(server) = TestPostgres::find().await else {
        return tests::without_postgres();
    };
    let done = on_postgres(&server).await;
    server.clean().await;
    done
}

async fn on_postgres(server: &TestPostgres) -> anyhow::Result<()> {
    let killed = Options {
        database: server.database().await,
        longest: Duration::from_millis(1500),
        ..options(8, false, false)
    };
    told("killed, PostgreSQL", &killed).await?.whole()?;
    if cfg!(target_os = "linux") {
        let before_apple = Options {
            database: server.database().await,
            ..options(8, false, false)
        };
        with_world("killed before an Apple, PostgreSQL", &before_apple).await?;
        let jumping = Options {
            database: server.database().await,
            ..options(0, false, false)
        };
        let jumped = jumps::run(&jumping).await?;
        println!("the clock jumps, PostgreSQL: {}", jumped.told());
        jumped.whole()?;
    }
    Ok(())
}
