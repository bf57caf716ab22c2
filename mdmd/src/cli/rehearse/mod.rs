//! `mdmd rehearse`: the whole migration against a simulated world, in accelerated time, with real HTTP, TLS, signatures,
//! certificates and a real database. The verdict is the world's.

mod drive;
mod house;
mod judge;
mod plan;
mod progress;
mod report;
mod sabotage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use fixtures::faults::{FaultKind, FaultLevel, FaultPlan};
use fixtures::world::{Fleet, World, WorldConfig};
use mdm_core::clock::Timestamp;
use mdm_core::ids::Serial;

use super::{Common, Done, Exit, Means as _};
use progress::Progress;
pub(crate) use sabotage::Sabotage;

/// Simulated time begins here: 2026-12-01T08:00:00Z.
const START_MS: i64 = 1_796_112_000_000;

/// What goes wrong in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Faults {
    /// Nothing.
    None,
    /// Each device meets one fault with probability 0.3.
    Some,
    /// Each device meets at least two.
    Many,
}

/// Plays a whole migration against simulated devices and gives the world's verdict.
#[derive(clap::Args, Debug)]
pub(crate) struct Rehearse {
    /// How many devices.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) devices: u32,
    /// One seed tells one story.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What goes wrong.
    #[arg(long, value_enum, default_value_t = Faults::None)]
    pub(crate) faults: Faults,
    /// A PostgreSQL URL; a temporary SQLite file when left out.
    #[arg(long, value_name = "URL", env = "MDMD_REHEARSE_DATABASE")]
    pub(crate) database: Option<String>,
    /// Keep the data directory here.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Switch one thing off in the server, to see the verdict fail.
    #[arg(long, value_enum)]
    pub(crate) sabotage: Option<Sabotage>,
}

/// Runs it; 4 when the world disagrees with our records, 5 when something never ended.
pub(crate) async fn run(common: &Common, args: &Rehearse) -> Done {
    let json = common.json;
    let began = Instant::now();
    let mut progress = Progress::new(usize::try_from(args.devices)?, json);
    let temporary = tempfile::tempdir().context("a temporary directory")?;
    let directory = match &args.keep {
        Some(directory) => {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("directory {}", directory.display()))?;
            directory.clone()
        }
        None => temporary.path().to_owned(),
    };
    let level = match args.faults {
        Faults::None => FaultLevel::None,
        Faults::Some => FaultLevel::Some,
        Faults::Many => FaultLevel::Many,
    };
    progress.say(&format!(
        "The simulated world: Apple's services, {} devices and the MDM that they leave.",
        args.devices
    ));
    let mut config = WorldConfig::new(
        args.seed,
        START_MS,
        Fleet::Count(usize::try_from(args.devices)?),
    );
    config.faults = FaultPlan::new(level, args.seed);
    let world = World::start(config).await?;
    let house = house::build(&world, &directory, args.database.as_deref(), args.sabotage).await?;
    let mdm = house.app.mdm.clone();
    let database = mdm.store().name();
    progress.say(&format!(
        "The server: its own listeners with TLS on loopback, {database}."
    ));
    drive::settle(&world, &mdm).await?;

    let start = Timestamp::from_millis(world.clock().now_ms());
    let members = plan::members(&world, start);
    plan::expect_kept(&world);
    let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
    house.org.pull(&serials).await?;
    let runbooks = plan::runbooks(&world, args.sabotage);
    let wave = house
        .org
        .plan_wave("rehearsal", house.destination, &runbooks, &members)
        .await?;
    let what_if = house.org.what_if(wave).await?;
    progress.say(&format!(
        "The wave: {} members, {} blocked.",
        members.len(),
        what_if.blockers.len()
    ));
    house.org.submit(wave, &what_if.digest, "rehearsal").await?;
    drive::drive(&world, &mdm, &house.org, wave, &mut progress).await?;
    progress.finish();

    let rows = judge::judge(&world, &house.org).await?;
    let counts = world.fault_log().counts_by_kind();
    let planned = world.planned_faults().counts_by_kind();
    let missing = planned
        .keys()
        .filter(|k| !counts.contains_key(k))
        .map(|k: &FaultKind| k.name())
        .collect();
    let summary = report::Summary {
        seed: args.seed,
        faults: format!("{:?}", args.faults).to_lowercase(),
        rows,
        injected: counts
            .iter()
            .map(|(k, n)| (k.name(), *n))
            .collect::<BTreeMap<_, _>>(),
        missing_faults: missing,
        simulated_minutes: (world.clock().now_ms() - START_MS) / 60_000,
        wall: began.elapsed(),
        database,
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&summary.json())?);
    } else {
        summary.print();
    }
    house.app.shutdown().await?;
    world.stop().await;
    match summary.verdict() {
        report::Verdict::Agrees => Ok(()),
        report::Verdict::Disagrees => {
            Err(anyhow!("the world and our records disagree")).means(Exit::Disagrees)
        }
        report::Verdict::NeverEnded => {
            Err(anyhow!("something never ended")).means(Exit::NeverEnded)
        }
        report::Verdict::NotInjected => {
            Err(anyhow!("not every fault that should have occurred did")).means(Exit::Failure)
        }
    }
}
