//! A disk under a real server and under load: full, read-only and slow, on SQLite; and backups that are made meanwhile, of both
//! databases. Whatever was acknowledged is there, and nobody hears anything but success or 503 with the time of another try.
//!
//! PostgreSQL's part skips aloud without a server, unless one is required.

use std::process::ExitCode;
use std::time::Duration;

use mdm_core::store::testing::TestPostgres;
use tests::chaos::{Options, SERVE, backed_up, full};

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
    if listed || named.iter().any(|name| !"disk".contains(name.as_str())) {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(all()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(database: &str) -> Options {
    Options {
        kills: 0,
        database: database.to_owned(),
        power: false,
        lies: false,
        devices: 100,
        connections: 8,
        longest: Duration::from_millis(400),
        seed: 7,
        server: None,
    }
}

async fn all() -> anyhow::Result<()> {
    if cfg!(target_os = "linux") {
        let ill = full::run(&options("sqlite")).await?;
        println!("the disk full, read-only and slow, SQLite: {}", ill.told());
        ill.whole()?;
    }
    let made = backed_up::run(&options("sqlite")).await?;
    println!("backups under load, SQLite: {}", made.told());
    made.whole()?;
    let Some(server) = TestPostgres::find().await else {
        let required = std::env::var("MDMD_TEST_REQUIRE_POSTGRES").is_ok_and(|v| v == "1");
        anyhow::ensure!(!required, "there is no PostgreSQL, and one is required");
        return Ok(());
    };
    let made = backed_up::run(&options(&server.database().await)).await;
    server.clean().await;
    let made = made?;
    println!("backups under load, PostgreSQL: {}", made.told());
    made.whole()
}
