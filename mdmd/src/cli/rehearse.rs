//! `mdmd rehearse`: the whole migration against a simulated world, in accelerated time. The verdict is the world's.

use std::path::PathBuf;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Done, Ended, Exit, Means as _};
use crate::rehearsal::{self, Faults, Identities, Rehearsal, Sabotage, Unfit, Verdict};

/// Plays a whole migration against simulated devices and gives the world's verdict.
#[derive(clap::Args, Debug)]
pub(crate) struct Rehearse {
    /// How many devices; 25 when left out, with `--waves` 5,000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: Option<u32>,
    /// Play a whole project of so many waves (pilot, early, main, rest), each sent when the gate of the one before it is signed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4))]
    waves: Option<u32>,
    /// Deadlines of that project, over all of its waves.
    #[arg(long, value_name = "N", requires = "waves", value_parser = clap::value_parser!(u32).range(1..=500))]
    buckets: Option<u32>,
    /// One seed tells one story.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What goes wrong in the world; nothing when left out, with `--waves` many things.
    #[arg(long, value_enum)]
    faults: Option<Faults>,
    /// How the devices get their identities.
    #[arg(long, value_enum, default_value_t = Identities::Scep)]
    identities: Identities,
    /// A PostgreSQL URL whose database is empty; a SQLite file in the data directory when left out.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Keep the data directory here; it must not hold an installation yet.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Switch one thing off in the server, to see the verdict fail.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
}

/// Runs it; 4 when the world disagrees with our records, 5 when something never ended.
pub(crate) async fn run(common: &Common, args: &Rehearse) -> Done {
    let (devices, faults) = match args.waves {
        Some(_) => (5_000, Faults::Many),
        None => (25, Faults::None),
    };
    let mut rehearsal = Rehearsal::new(args.devices.unwrap_or(devices), args.seed);
    rehearsal.faults = args.faults.unwrap_or(faults);
    rehearsal.waves = args.waves;
    rehearsal.buckets = args.buckets.unwrap_or(rehearsal.buckets);
    rehearsal.identities = args.identities;
    rehearsal.database.clone_from(&args.database);
    rehearsal.keep.clone_from(&args.keep);
    rehearsal.sabotage = args.sabotage;
    rehearsal.quiet = common.json;
    if let Some(waves) = args.waves
        && rehearsal.devices < waves
    {
        let why = anyhow!("--devices: must be {waves} or more, one for each wave");
        return Err(why).means(Exit::BadInput);
    }
    // What is broken off leaves nothing behind: its directory goes with the future that plays it.
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let summary = tokio::select! {
        biased;
        _ = terminated.recv() => return Err(anyhow!("broken off")).means(Exit::Failure),
        _ = interrupted.recv() => return Err(anyhow!("broken off")).means(Exit::Failure),
        played = rehearsal::run(&rehearsal) => played.map_err(ended)?,
    };
    if common.json {
        println!("{:#}", summary.json());
    } else {
        summary.print();
    }
    match summary.verdict() {
        Verdict::Agrees => Ok(()),
        Verdict::Disagrees => {
            Err(anyhow!("the world and our records disagree")).means(Exit::Disagrees)
        }
        Verdict::NeverEnded => Err(anyhow!("something never ended")).means(Exit::NeverEnded),
        Verdict::NotInjected => {
            Err(anyhow!("not every fault that should have occurred did")).means(Exit::Failure)
        }
    }
}

fn ended(why: anyhow::Error) -> Ended {
    let exit = match why.downcast_ref() {
        Some(Unfit::Given(_)) => Exit::BadInput,
        Some(Unfit::Place(_)) => Exit::Precondition,
        None => Exit::Failure,
    };
    Ended {
        exit,
        ..Ended::from(why)
    }
}
