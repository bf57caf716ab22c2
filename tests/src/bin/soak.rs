//! `cargo run --release -p tests --bin soak`: a simulated week of a fleet before a real server, with faults; says day by day what
//! the server takes, and ends with 4 when something grows with the days. Only talks to this machine.

use std::process::ExitCode;

use clap::Parser;
use tests::soak::{self, Verdict};

/// Lives through a simulated week with a fleet, and looks at what grows.
#[derive(Parser, Debug)]
#[command(name = "soak")]
struct Options {
    /// Devices that are enrolled at the beginning; a twentieth as many enrol by and by.
    #[arg(long, default_value_t = 20_000)]
    devices: usize,
    /// Simulated days.
    #[arg(long, default_value_t = 7)]
    days: usize,
    /// `sqlite`, `postgres` (a private server), or a PostgreSQL URL.
    #[arg(long, default_value = "sqlite")]
    database: String,
    /// Devices that speak at the same time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Which random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    tests::by_hand(async {
        let verdict = all(&Options::parse()).await?;
        for what in &verdict.wrong {
            println!("{what}");
        }
        if let Some(slope) = verdict.slope {
            println!("memory: {slope:+.2} MB a day after day two");
        }
        if !verdict.unjudged.is_empty() {
            println!(
                "not judged, for want of days: {}",
                verdict.unjudged.join("; ")
            );
        }
        println!("{} wrong", verdict.wrong.len());
        Ok(verdict.wrong.is_empty())
    })
}

async fn all(options: &Options) -> anyhow::Result<Verdict> {
    let (private, database) = tests::database(&options.database).await?;
    let days = soak::run(
        &soak::Options {
            devices: options.devices,
            days: options.days,
            database,
            connections: options.connections,
            server: None,
            seed: options.seed,
        },
        |day| println!("{}", day.told()),
    )
    .await;
    if let Some(server) = private {
        server.clean().await;
    }
    Ok(soak::judge(&days?))
}
