//! `cargo run --release -p tests --bin bench`: measures a running server with simulated devices, and prints what it does
//! per second beside what the machine and the field's pattern do on the same database. Only talks to this machine.
//!
//! Everything that devices say is rendered and signed before it is measured, so that the load takes little of the
//! processor; how little is part of the result.

mod built;
mod crowd;
mod fleet;
mod ground;
mod machine;
mod options;
mod other;
mod process;
mod report;
mod statements;
mod stories;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser as _;
use mdm_core::clock::{Clock as _, SystemClock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::fleet::devices::{self, Authority, Device, Writer};
use tests::fleet::house::{House, Seed};

use ground::Ground;
use machine::Machine;
use options::Options;
use other::Place;
use report::Run;
use stories::{Queue, Stage};

/// Devices that take part while statements are counted.
const COUNTED: usize = 640;

fn main() -> anyhow::Result<ExitCode> {
    let mut options = Options::parse();
    built::build(&mut options)?;
    more_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let Some(devices) = options.fleet {
        let flat = runtime.block_on(fleet::measure(&options, devices))?;
        return Ok(ExitCode::from(if flat { 0 } else { 4 }));
    }
    let runs = runtime.block_on(all(&options))?;
    if options.json {
        let all: Vec<_> = runs.iter().map(Run::json).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// A thousand connections are more files than some systems allow at first. The server inherits it.
fn more_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    // Where it is refused, connections fail by name.
    let _ = setrlimit(Resource::Nofile, all);
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
    // Some enrol while statements are counted.
    let apart = match options.no_statements {
        true => 0,
        false => COUNTED.min(count),
    };
    let invited = devices::make(&authority, options.key, first, count + apart, now)?;
    let seed = Seed {
        authority: &authority,
        enrolled: &enrolled,
        invited: &invited,
        present: 0,
    };
    let checks = if options.no_machine {
        0.0
    } else {
        machine::checks(options.key)?
    };
    if !options.no_statements {
        statements::listen()?;
    }
    let mut runs = Vec::new();
    for name in options.databases() {
        let ground = Ground::find(name).await?;
        let mut run = ours(options, &ground, &seed).await?;
        run.machine.checks = checks;
        if options.present > 0 {
            let invited = &invited[..count];
            run.crowds = crowd::measure(options, &ground, &authority, invited).await?;
            run.bytes_per_device = crowd::per_device(&run.crowds);
        }
        ground.clean().await;
        if !options.json {
            print!("{}", run.text(options));
        }
        runs.push(run);
    }
    Ok(runs)
}

/// Our server on one database.
async fn ours(options: &Options, ground: &Ground, seed: &Seed<'_>) -> anyhow::Result<Run> {
    let mut run = Run::new(ground.name());
    if let (Ground::Private(_), false) = (ground, options.no_machine) {
        run.machine = machine::postgres(&ground.database().await).await?;
    }
    let database = ground.database().await;
    let mut house = House::lay(options.start(), &database, seed).await?;
    if options.present == 0 {
        let bytes = ground.bytes(&house, &database).await?;
        run.bytes_per_device = per_device(options, ground, seed, bytes).await?;
    }
    if let (Ground::Sqlite, false) = (ground, options.no_machine) {
        run.machine = machine::sqlite(&house.folder().join("trial.sqlite")).await?;
    }
    let begun = Instant::now();
    house.start().await?;
    run.started = Some((begun.elapsed(), seed.rows()));
    let beside = house.beside().await?;
    let (enrolled, all) = (seed.enrolled, seed.invited);
    let (invited, apart) = all.split_at(options.devices);
    Stage {
        options,
        address: house.address.clone(),
        writer: house.writer(options.mode),
        enrolled,
        invited,
        server: house.pid(),
        database: ground.process(),
        queue: Queue::House(&house, &beside),
    }
    .play(&mut run)?;
    if !options.no_statements {
        let app = house.in_this_process().await?;
        let briefly = options.briefly();
        Stage {
            options: &briefly,
            address: house.address.clone(),
            writer: house.writer(options.mode),
            enrolled: &enrolled[..enrolled.len().min(COUNTED)],
            invited: apart,
            server: None,
            database: None,
            queue: Queue::House(&house, &beside),
        }
        .count(&mut run)?;
        beside.store().close().await?;
        app.shutdown().await?;
    } else {
        beside.store().close().await?;
        house.close().await?;
    }
    Ok(run)
}

/// What an enrolled device takes on the disk before it has said anything: what an installation without any takes less.
async fn per_device(
    options: &Options,
    ground: &Ground,
    seed: &Seed<'_>,
    bytes: u64,
) -> anyhow::Result<u64> {
    let others = Seed {
        enrolled: &[],
        ..*seed
    };
    let enrolled = u64::try_from(seed.enrolled.len())?.max(1);
    if !ground.has_room() {
        // Of one that cannot be laid twice: its share by the number of rows.
        let (own, all) = (seed.rows() - others.rows(), seed.rows().max(1));
        return Ok(bytes * u64::try_from(own)? / u64::try_from(all)? / enrolled);
    }
    let database = ground.database().await;
    let house = Box::pin(House::lay(options.start(), &database, &others)).await?;
    let without = ground.bytes(&house, &database).await?;
    Ok(bytes.saturating_sub(without) / enrolled)
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
            check_in_path: options
                .check_in_path
                .clone()
                .unwrap_or_else(|| place.path.clone()),
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
