//! `cargo run --release -p tests --bin several`: several servers on one PostgreSQL under load, one of them killed every minute, and
//! with `--older` all replaced by this version in the middle. Says what was lost, done twice or stuck, and ends with 4 when
//! something was. Only talks to this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use mdm_core::store::testing::TestPostgres;
use tests::chaos::several::{self, Outcome, taken_over};

/// Kills one of several servers on one PostgreSQL again and again, under load, and looks whether anybody can tell.
#[derive(Parser, Debug)]
#[command(name = "several")]
struct Options {
    /// How many servers.
    #[arg(long, default_value_t = 3)]
    servers: usize,
    /// Seconds between two kills.
    #[arg(long, default_value_t = 60)]
    every: u64,
    /// How long.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Devices that are enrolled at the beginning, and as many that enrol.
    #[arg(long, default_value_t = 1000)]
    devices: usize,
    /// Devices that speak at the same time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Rest of a device between two turns, in milliseconds.
    #[arg(long, default_value_t = 20)]
    rest: u64,
    /// Devices of the simulated world, which migrate.
    #[arg(long, default_value_t = 240)]
    migrating: usize,
    /// Devices of a wave.
    #[arg(long, default_value_t = 4)]
    wave: usize,
    /// Simulated seconds for each second.
    #[arg(long, default_value_t = 120)]
    pace: i64,
    /// A program of an older version: all servers begin as it, and are replaced one after the other in the middle.
    #[arg(long, value_name = "PROGRAM")]
    older: Option<PathBuf>,
    /// Keep the servers' logs in this folder when something was found.
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
    /// Which random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only: one of two servers is killed while it reads a long list, and it is looked when the other one goes on
    #[arg(long)]
    taken_over: bool,
}

fn main() -> ExitCode {
    tests::by_hand(async {
        let options = Options::parse();
        if options.taken_over {
            return Ok(match read_on().await {
                Ok(nobody) => {
                    println!("the list of who was killed was read by nobody for {nobody:?}");
                    true
                }
                Err(error) => {
                    eprintln!("{error:#}");
                    false
                }
            });
        }
        let outcome = all(options).await?;
        for what in outcome.found().take(40) {
            println!("{what}");
        }
        println!("{}", outcome.told());
        Ok(outcome.found().next().is_none())
    })
}

async fn read_on() -> anyhow::Result<Duration> {
    let postgres = TestPostgres::find().await.context("no PostgreSQL here")?;
    let nobody = taken_over::run(None, &postgres).await;
    postgres.clean().await;
    nobody
}

async fn all(options: Options) -> anyhow::Result<Outcome> {
    let postgres = TestPostgres::find().await.context("no PostgreSQL here")?;
    let outcome = several::run(
        &several::Options {
            servers: options.servers,
            every: Duration::from_secs(options.every),
            time: Duration::from_secs(options.minutes * 60),
            devices: options.devices,
            connections: options.connections,
            rest: Duration::from_millis(options.rest),
            migrating: options.migrating,
            wave: options.wave,
            pace: options.pace,
            to_the_end: true,
            older: options.older,
            server: None,
            logs: options.logs,
            seed: options.seed,
        },
        &postgres,
    )
    .await;
    postgres.clean().await;
    outcome
}
