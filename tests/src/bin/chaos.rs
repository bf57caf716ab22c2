//! `cargo run --release -p tests --bin chaos`: kills the server under load again and again, or cuts its power, and says what
//! was lost. Ends with 4 when something was. Only talks to this machine.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use mdm_core::store::testing::TestPostgres;
use tests::chaos::{self, Report};

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
    /// Which random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    if std::env::var_os(chaos::SERVE).is_some() {
        return mdmd::cli::main();
    }
    match all(&Options::parse()) {
        Ok(report) => {
            for what in report.lost.iter().chain(&report.wrong).take(20) {
                println!("{what}");
            }
            println!("{}", report.told());
            let whole = report.lost.is_empty() && report.wrong.is_empty();
            ExitCode::from(if whole { 0 } else { 4 })
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(1)
        }
    }
}

fn all(options: &Options) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let private = match options.database.as_str() {
            "postgres" => Some(TestPostgres::find().await.context("no PostgreSQL here")?),
            _ => None,
        };
        let database = match &private {
            Some(server) => server.database().await,
            None => options.database.clone(),
        };
        let report = chaos::run(&chaos::Options {
            kills: options.kills,
            database,
            power: options.power,
            lies: options.lies,
            devices: options.devices,
            connections: options.connections,
            longest: Duration::from_millis(options.longest),
            seed: options.seed,
            server: None,
        })
        .await;
        if let Some(server) = private {
            server.clean().await;
        }
        report
    })
}
