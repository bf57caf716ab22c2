//! `cargo run --release -p tests --bin bench`: measures a running server with simulated devices, and prints what it does
//! per second beside what the machine and the field's pattern do on the same database. Only talks to this machine.
//!
//! Everything that devices say is rendered and signed before it is measured, so that the load takes little of the
//! processor; how little is part of the result.

mod hot;
mod machine;
mod options;
mod other;
mod process;
mod report;
mod stories;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::service::Mdm;
use mdm_core::store::testing::TestPostgres;
use tests::fleet::devices::{self, Authority, Device, Writer};
use tests::fleet::house::{House, Seed};

use machine::Machine;
use options::Options;
use other::Place;
use report::Run;
use stories::{Queue, Stage};

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if options.hot {
        return runtime.block_on(hot::all());
    }
    let runs = runtime.block_on(all(&options))?;
    if options.json {
        let all: Vec<_> = runs.iter().map(Run::json).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(())
}

async fn all(options: &Options) -> anyhow::Result<Vec<Run>> {
    if let Some(target) = &options.target {
        return Ok(vec![elsewhere(options, target).await?]);
    }
    let now = SystemClock.now();
    let authority = Authority::create(now)?;
    // The numbers become keys of rows: they ascend, and lie below those that the server hands out.
    let count = options.devices;
    let enrolled = devices::make(&authority, options.key, 1, count, now)?;
    let first = i64::try_from(count)? + 1;
    let invited = devices::make(&authority, options.key, first, count, now)?;
    let seed = Seed {
        authority: &authority,
        enrolled: &enrolled,
        invited: &invited,
    };
    let checks = if options.no_machine {
        0.0
    } else {
        machine::checks(options.key)?
    };
    let names: Vec<&str> = match options.database.as_str() {
        "both" => vec!["postgres", "sqlite"],
        one => vec![one],
    };
    let mut runs = Vec::new();
    for name in names {
        let mut run = if name == "sqlite" {
            embedded(options, &seed).await?
        } else {
            with_server(options, name, &seed).await?
        };
        run.machine.checks = checks;
        if !options.json {
            print!("{}", run.text(options));
        }
        runs.push(run);
    }
    Ok(runs)
}

async fn embedded(options: &Options, seed: &Seed<'_>) -> anyhow::Result<Run> {
    let house = House::open(options.start(), "sqlite", seed).await?;
    let mut run = Run::new("sqlite");
    run.bytes_per_device = per_device(house.bytes(), seed);
    if !options.no_machine {
        run.machine = machine::sqlite(&house.folder().join("trial.sqlite")).await?;
    }
    let beside = house.beside().await?;
    stories(options, &mut run, (&house, &beside), seed, None)?;
    beside.store().close().await?;
    house.close().await?;
    Ok(run)
}

async fn with_server(options: &Options, name: &str, seed: &Seed<'_>) -> anyhow::Result<Run> {
    let private = if name == "postgres" {
        Some(TestPostgres::find().await.context("no PostgreSQL here")?)
    } else {
        None
    };
    let (url, trial) = match &private {
        Some(server) => (server.database().await, Some(server.database().await)),
        None => (name.to_owned(), None),
    };
    let mut run = Run::new("postgres");
    if let (Some(trial), false) = (trial, options.no_machine) {
        run.machine = machine::postgres(&trial).await?;
    }
    let house = House::open(options.start(), &url, seed).await?;
    run.bytes_per_device = per_device(size(&url).await?, seed);
    let database = private
        .as_ref()
        .and_then(|_| process::child_named("postgres"));
    let beside = house.beside().await?;
    stories(options, &mut run, (&house, &beside), seed, database)?;
    beside.store().close().await?;
    house.close().await?;
    if let Some(server) = private {
        server.clean().await;
    }
    Ok(run)
}

/// Bytes of a PostgreSQL database.
async fn size(url: &str) -> anyhow::Result<u64> {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(url).await?;
    let size: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(u64::try_from(size)?)
}

fn per_device(bytes: u64, seed: &Seed<'_>) -> u64 {
    bytes / u64::try_from(seed.enrolled.len() + seed.invited.len()).map_or(1, |n| n.max(1))
}

fn stories(
    options: &Options,
    run: &mut Run,
    (house, beside): (&House, &Mdm),
    seed: &Seed<'_>,
    database: Option<u32>,
) -> anyhow::Result<()> {
    let stage = Stage {
        options,
        address: house.address.clone(),
        writer: Writer {
            host: "localhost".to_owned(),
            check_in_path: house.check_in_path.clone(),
            command_path: house.command_path.clone(),
            mode: options.mode,
        },
        enrolled: seed.enrolled,
        invited: seed.invited,
        server: house.pid(),
        database,
        queue: Queue::House(house, beside),
    };
    stage.play(run)
}

/// Another server. Its devices enrol by the protocol first.
async fn elsewhere(options: &Options, target: &str) -> anyhow::Result<Run> {
    let place = Place::parse(target)?;
    let folder = options
        .authority
        .as_deref()
        .context("--target needs --authority")?;
    let authority = kept_authority(folder)?;
    let now = SystemClock.now();
    // Another number on each run: a server may keep what an earlier one enrolled.
    let first = now.as_secs() * 1_000_000;
    let devices: Vec<Device> = devices::make(&authority, options.key, first, options.devices, now)?;
    let mut run = Run::new(target);
    if !options.no_machine {
        run.machine = Machine {
            checks: machine::checks(options.key)?,
            ..Machine::default()
        };
    }
    let queue = match &options.enqueue_url {
        Some(url) => Queue::Other(Place::parse(url)?),
        None => Queue::None,
    };
    let stage = Stage {
        options,
        writer: Writer {
            host: place.address.host.clone(),
            check_in_path: place.path.clone(),
            command_path: place.path.clone(),
            mode: options.mode,
        },
        address: place.address,
        enrolled: &devices,
        invited: &devices,
        server: options.pid,
        database: None,
        queue,
    };
    stage.play(&mut run)?;
    if !options.json {
        print!("{}", run.text(options));
    }
    Ok(run)
}

/// The authority in a folder, made when there is none.
fn kept_authority(folder: &Path) -> anyhow::Result<Authority> {
    let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    if certificate.is_file() {
        return Authority::load(&std::fs::read(&certificate)?, &std::fs::read(&key)?);
    }
    std::fs::create_dir_all(folder)?;
    let made = Authority::create(SystemClock.now())?;
    std::fs::write(&certificate, &made.pem)?;
    std::fs::write(&key, &made.key_pem)?;
    anyhow::bail!(
        "{} is new: let the server trust it, then start again",
        certificate.display()
    );
}

/// A moment in which a profiler can be attached.
fn pause(options: &Options, story: &str, server: Option<u32>) {
    if options.pause > 0 {
        let pid = server.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
        eprintln!(
            "{story} begins in {} s; the server is process {pid}",
            options.pause
        );
        std::thread::sleep(Duration::from_secs(options.pause));
    }
}
