//! `cargo run --release -p tests --bin chaos`: kills the server under load again and again, or cuts its power, and says what
//! was lost. Ends with 4 when something was. Only talks to this machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::chaos;
use tests::chaos::several::alone::{self, Migrating};

/// Kills the server (-9) under load and looks for what it had acknowledged.
#[derive(Parser, Debug)]
#[command(name = "chaos")]
struct Options {
    /// How often.
    #[arg(long, default_value_t = 500)]
    kills: usize,
    /// `sqlite`, `postgres` (a private server), or a PostgreSQL URL.
    #[arg(long, default_value = "sqlite")]
    database: String,
    /// Cut the power: what was not synced is lost as well. For SQLite.
    #[arg(long)]
    power: bool,
    /// With `--power`, a disk that only says it has synced. The harness must report loss, and ends with 4.
    #[arg(long, requires = "power")]
    lies: bool,
    /// Devices that are enrolled at the beginning, and as many that enrol.
    #[arg(long, default_value_t = 1000)]
    devices: usize,
    /// Devices that speak at the same time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// The longest time between two kills, in milliseconds.
    #[arg(long, default_value_t = 800)]
    longest: u64,
    /// With workers, a simulated Apple, operators and devices that migrate; what Apple was asked for is looked at too.
    #[arg(long, conflicts_with = "lies")]
    world: bool,
    /// With `--world`: devices that migrate.
    #[arg(long, default_value_t = 240, requires = "world")]
    migrating: usize,
    /// With `--world`: devices of a wave.
    #[arg(long, default_value_t = 4, requires = "world")]
    wave: usize,
    /// With `--world`: simulated seconds for each second.
    #[arg(long, default_value_t = 30, requires = "world")]
    pace: i64,
    /// With `--world`: keep the server's log in this folder when something was found.
    #[arg(long, value_name = "FOLDER", requires = "world")]
    logs: Option<PathBuf>,
    /// Which random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What is printed: everything that was found, and one sentence.
struct Told {
    found: Vec<String>,
    sentence: String,
}

fn main() -> ExitCode {
    tests::by_hand(async {
        let told = all(&Options::parse()).await?;
        for what in told.found.iter().take(20) {
            println!("{what}");
        }
        println!("{}", told.sentence);
        Ok(told.found.is_empty())
    })
}

async fn all(options: &Options) -> anyhow::Result<Told> {
    let (private, database) = tests::database(&options.database).await?;
    let run = chaos::Options {
        kills: options.kills,
        database,
        power: options.power,
        lies: options.lies,
        devices: options.devices,
        connections: options.connections,
        longest: Duration::from_millis(options.longest),
        seed: options.seed,
        server: None,
    };
    let told = match options.world {
        true => with_world(options, &run).await,
        false => without_world(&run).await,
    };
    if let Some(server) = private {
        server.clean().await;
    }
    told
}

async fn without_world(run: &chaos::Options) -> anyhow::Result<Told> {
    let report = chaos::run(run).await?;
    let found = report.lost.iter().chain(&report.wrong);
    Ok(Told {
        found: found.cloned().collect(),
        sentence: report.told(),
    })
}

async fn with_world(options: &Options, run: &chaos::Options) -> anyhow::Result<Told> {
    let migrating = Migrating {
        devices: options.migrating,
        wave: options.wave,
        pace: options.pace,
        to_the_end: true,
        logs: options.logs.clone(),
    };
    let agreement = alone::run(run, &migrating).await?;
    Ok(Told {
        found: agreement.found().cloned().collect(),
        sentence: agreement.told(),
    })
}
