//! A short form of what `cargo run --release -p tests --bin chaos` does hundreds of times: the server is killed under load, and
//! its power is cut; whatever was acknowledged is there. With a disk that lies the harness has to report loss.

use std::process::ExitCode;
use std::time::Duration;

use mdm_core::store::testing::TestPostgres;
use tests::chaos::{self, Options, Report};

fn main() -> ExitCode {
    if std::env::var_os(chaos::SERVE).is_some() {
        return mdmd::cli::main();
    }
    // `cargo test NAME` runs this program too.
    let mut words = std::env::args().skip(1);
    let listed = words.any(|word| word == "--list");
    let named = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect::<Vec<_>>();
    if listed || named.iter().any(|name| !"chaos".contains(name.as_str())) {
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

fn whole(report: &Report) -> anyhow::Result<()> {
    for what in report.lost.iter().chain(&report.wrong) {
        println!("{what}");
    }
    let nothing = report.lost.is_empty() && report.wrong.is_empty();
    anyhow::ensure!(nothing, "something that was acknowledged is not as it was");
    anyhow::ensure!(report.acknowledged > 20, "hardly anything happened");
    Ok(())
}

async fn all() -> anyhow::Result<()> {
    whole(&told("killed, SQLite", &options(12, false, false)).await?)?;
    if cfg!(target_os = "linux") {
        let cut = told("the power cut, SQLite", &options(12, true, false)).await?;
        whole(&cut)?;
        anyhow::ensure!(cut.thrown_away > 0, "a power cut that throws nothing away");
        let lied = told("the power cut, a disk that lies", &options(12, true, true)).await?;
        anyhow::ensure!(!lied.lost.is_empty(), "a loss was not seen");
    }
    let Some(server) = TestPostgres::find().await else {
        return Ok(());
    };
    let killed = Options {
        database: server.database().await,
        longest: Duration::from_millis(1500),
        ..options(8, false, false)
    };
    let report = told("killed, PostgreSQL", &killed).await;
    server.clean().await;
    whole(&report?)
}
