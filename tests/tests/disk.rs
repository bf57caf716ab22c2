//! A disk under a real server and under load: full, read-only and slow, on SQLite; and backups that are made meanwhile, of both
//! databases. Whatever was acknowledged is there, and nobody hears anything but success or 503 with the time of another try.
//!
//! PostgreSQL's part skips aloud without a server, unless one is required.

use std::process::ExitCode;
use std::time::Duration;

use mdm_core::store::testing::TestPostgres;
use tests::chaos::{Options, backed_up, full};

fn main() -> ExitCode {
    tests::program("disk", all())
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
        return tests::without_postgres();
    };
    let made = backed_up::run(&options(&server.database().await)).await;
    server.clean().await;
    let made = made?;
    println!("backups under load, PostgreSQL: {}", made.told());
    made.whole()
}
