//! A full fetch of a large device list, measured: `mdmd`'s own reading of the list, over HTTP and TLS from a simulated
//! Apple in a process of its own, into SQLite or PostgreSQL. It is killed in the middle and goes on; then the same rows go
//! through `commit` without HTTP, for comparison. Loopback only; it ends only the processes that it started.
//!
//! `cargo build --release -p mdmd && cargo run --release -p tests --bin fetch_bench -- --devices 1000000`

mod apple;
#[path = "../bench/process.rs"]
#[allow(
    dead_code,
    reason = "the other benchmark's measures; this one needs two"
)]
mod process;
mod roles;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use mdm_core::store::testing::TestPostgres;
use serde_json::{Value, json};

use self::apple::SimulatedApple;
use self::roles::{Role, Seat};

/// The most memory that the reading process may take, in MiB.
const MOST_MIB: u64 = 150;
/// The least part of the rate without HTTP.
const LEAST_RATIO: f64 = 0.7;

/// Measures a full fetch.
#[derive(Parser, Debug)]
struct Args {
    /// How many devices.
    #[arg(long, default_value_t = 100_000)]
    devices: u32,
    /// `sqlite`, `postgres` (a private server), or the URL of a server on which databases can be made.
    #[arg(long, default_value = "sqlite")]
    database: String,
    /// The server binary; the one beside this when left out.
    #[arg(long, value_name = "FILE")]
    mdmd: Option<PathBuf>,
    /// Where databases are laid; a temporary directory when left out.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Do not kill it in the middle.
    #[arg(long)]
    undisturbed: bool,
    /// What this process is; only the benchmark itself says so.
    #[arg(long, hide = true, value_enum)]
    role: Option<Role>,
    /// Where a role finds what it needs.
    #[arg(long, hide = true)]
    seat: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(4),
        Err(error) => {
            eprintln!("fetch_bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let (Some(role), Some(seat)) = (args.role, &args.seat) {
        runtime.block_on(roles::play(role, seat))?;
        return Ok(true);
    }
    if args.database.contains("://") && std::env::var_os("MDMD_TEST_POSTGRES").is_none() {
        // Databases are made by the store's own test support, which finds its server by this name.
        let status = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env("MDMD_TEST_POSTGRES", &args.database)
            .status()?;
        return Ok(status.success());
    }
    runtime.block_on(measure(&args))
}

/// What the reading process tells of its pages.
#[derive(Debug, Default)]
struct Read {
    /// Cursors asked for, in order.
    cursors: Vec<String>,
    /// Seconds from the first question to the last page taken.
    seconds: f64,
    peak_mib: u64,
    /// Processor seconds of the reading process meanwhile.
    processor: f64,
}

async fn measure(args: &Args) -> anyhow::Result<bool> {
    let temporary = tempfile::tempdir()?;
    // Files name each other, and each role reads them from where it stands.
    let directory = std::path::absolute(args.directory.as_deref().unwrap_or(temporary.path()))?;
    let beside = std::env::current_exe()?.with_file_name("mdmd");
    let mdmd = args.mdmd.clone().unwrap_or(beside);
    ensure!(
        mdmd.exists(),
        "{}: is not there; build it first",
        mdmd.display()
    );
    let postgres = match args.database.as_str() {
        "sqlite" => None,
        _ => Some(TestPostgres::find().await.context("no PostgreSQL server")?),
    };
    let apple = SimulatedApple::start(&mdmd, &directory.join("apple"), args.devices)?;
    let mut seats = Vec::new();
    for name in ["fetched", "compared"] {
        let database = match &postgres {
            Some(server) => Some(server.database().await),
            None => None,
        };
        let seat = Seat::lay(&directory.join(name), &apple, database, args.devices).await?;
        seats.push(seat);
    }
    let outcome = figures(args, &apple, &seats[0], &seats[1]);
    if let Some(server) = &postgres {
        server.clean().await;
    }
    let figures = outcome?;
    println!("{figures:#}");
    Ok(figures["holds"] == true)
}

fn figures(
    args: &Args,
    apple: &SimulatedApple,
    fetched: &Path,
    compared: &Path,
) -> anyhow::Result<Value> {
    let pages = (u64::from(args.devices)).div_ceil(1_000);
    let mut read = Read::default();
    let mut killed_at = None;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let before = apple.processor();
    if !args.undisturbed {
        let half = usize::try_from(pages / 2)?;
        ensure!(half > 0, "too few devices to be killed in the middle");
        reading(fetched, Some(half), &mut read)?;
        killed_at = Some(read.cursors.len());
    }
    reading(fetched, None, &mut read)?;
    let made = apple.processor().saturating_sub(before);
    let checked = role(Role::Check, fetched, None)?;
    let comparison = role(Role::Compare, compared, Some(fetched))?;

    let distinct: std::collections::BTreeSet<&String> = read.cursors.iter().collect();
    let asked_twice = read.cursors.len() - distinct.len();
    let devices = f64::from(args.devices);
    let fetch_rate = devices / read.seconds;
    let commit_seconds = comparison["seconds"].as_f64().context("no seconds")?;
    let commit_rate = devices / commit_seconds;
    let ratio = fetch_rate / commit_rate;
    let whole = checked["devices"] == args.devices && checked["taken_twice"] == 0;
    // What was not kept yet when it was killed is asked for again, and then taken for the first time: the page that was being
    // kept, and the one after it that was under way.
    let once = asked_twice <= if killed_at.is_some() { 2 } else { 0 };
    let small = read.peak_mib < MOST_MIB;
    Ok(json!({
        "database": if args.database == "sqlite" { "sqlite" } else { "postgres" },
        "devices": args.devices,
        "killed_at_page": killed_at,
        "pages_asked": read.cursors.len(),
        "pages_asked_twice": asked_twice,
        "stored": checked,
        "devices_a_second": fetch_rate.round(),
        "devices_a_second_without_http": commit_rate.round(),
        "ratio": (ratio * 1_000.0).round() / 1_000.0,
        "peak_mib": read.peak_mib,
        "seconds": round(read.seconds),
        // What shares the processors while it is read; without HTTP nobody makes pages.
        "processor_seconds": {
            "reading": round(read.processor),
            "simulated_apple": round(made.as_secs_f64()),
            "without_http": comparison["processor"],
        },
        "load_before": load.split_whitespace().next(),
        "holds": whole && once && small && ratio >= LEAST_RATIO,
    }))
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

fn start(role: Role, seat: &Path, with: Option<&Path>) -> anyhow::Result<Child> {
    let name = role.to_possible_value().context("a role has a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--role", name.get_name(), "--seat"])
        .arg(seat)
        .stdout(Stdio::piped());
    if let Some(other) = with {
        command.env("FETCH_BENCH_OTHER", other);
    }
    Ok(command.spawn()?)
}

/// Lets a process read the list, until it is done or has taken so many pages.
fn reading(seat: &Path, until: Option<usize>, read: &mut Read) -> anyhow::Result<()> {
    let mut child = start(Role::Fetch, seat, None)?;
    let lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    let (mut taken, mut seconds) = (0, 0.0);
    for line in lines {
        let line: Value = serde_json::from_str(&line?)?;
        match line["said"].as_str() {
            Some("asked") => {
                let cursor = line["cursor"].as_str().unwrap_or("").to_owned();
                read.cursors.push(cursor);
                // One is asked for while the one before is being kept.
                taken += 1;
                seconds = line["seconds"].as_f64().unwrap_or(seconds);
                read.peak_mib = read.peak_mib.max(line["peak_mib"].as_u64().unwrap_or(0));
                if until.is_some_and(|most| taken > most) {
                    child.kill()?;
                    break;
                }
            }
            _ => {
                seconds = line["seconds"].as_f64().context("no seconds")?;
                read.processor += line["processor"].as_f64().unwrap_or(0.0);
                read.peak_mib = read.peak_mib.max(line["peak_mib"].as_u64().unwrap_or(0));
            }
        }
    }
    read.seconds += seconds;
    let status = child.wait()?;
    ensure!(
        until.is_some() || status.success(),
        "the reading process ended with {status}"
    );
    Ok(())
}

/// Lets a process play a role and tell its result.
fn role(role: Role, seat: &Path, with: Option<&Path>) -> anyhow::Result<Value> {
    let output = start(role, seat, with)?.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{role:?} ended with {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
