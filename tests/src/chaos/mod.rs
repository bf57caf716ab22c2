//! Kills the real server (-9) under load again and again, or cuts its power, and looks afterwards for everything that a device
//! or a client was told is done. What was under way may be there or not; what was answered must be there, once.
//!
//! With a simulated Apple and workers that speak to it: [`several::alone`]. A disk that is full, read-only or slow: [`full`]; a clock that
//! jumps: [`jumps`]. Backups that are made meanwhile: [`backed_up`].
//!
//! The program `chaos` does it hundreds of times; a short form of it is a test. That it can find something is shown by a disk
//! that lies: with [`Options::lies`] the harness has to report loss.

pub mod backed_up;
pub mod failover;
pub mod full;
pub mod jumps;
mod ledger;
mod load;
mod power;
mod rng;
pub mod several;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};

use crate::fleet::devices::{self, Authority, Device, KeyKind};
use crate::fleet::house::{House, Seed, Start};
use ledger::Ledger;
use load::Load;
use power::Power;
pub(crate) use rng::Rng;

/// Set for a process that is the server of a run: its program is the one that drives the run.
pub const SERVE: &str = "CHAOS_SERVE";

/// What is done, how often, to whom.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Options {
    /// How often the server is killed.
    pub kills: usize,
    /// `sqlite`, or a PostgreSQL URL.
    pub database: String,
    /// Whether what was not synced is lost as well, as when the power fails. SQLite only.
    pub power: bool,
    /// Whether the disk says that it has synced what it has not.
    pub lies: bool,
    /// Devices that are enrolled at the beginning, and as many that will enrol.
    pub devices: usize,
    /// Devices that speak at the same time.
    pub connections: usize,
    /// The longest time between two kills.
    pub longest: Duration,
    /// Which random numbers.
    pub seed: u64,
    /// The server's program; `None` for this one, with [`SERVE`] in its environment.
    pub server: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How often the server was killed.
    pub kills: usize,
    /// How often it was killed before it had answered anything.
    pub at_start: usize,
    /// Answers that said that something is done.
    pub acknowledged: usize,
    /// Requests without an answer.
    pub unanswered: usize,
    /// Requests that were answered 503 with the time of another try.
    pub put_off: usize,
    /// Writes that the power cuts threw away.
    pub thrown_away: usize,
    /// Facts that were looked up after a kill.
    pub looked_up: usize,
    /// What was acknowledged and is not there.
    pub lost: Vec<String>,
    /// What happened though nobody asked for it, or again after it was settled.
    pub wrong: Vec<String>,
}

impl Report {
    /// In one sentence.
    #[must_use]
    pub fn told(&self) -> String {
        format!(
            "{} kills ({} of them while it started), {} acknowledgements, {} requests without an answer, {} put off, \
             {} writes thrown away, {} facts looked up: {} lost, {} wrong",
            self.kills,
            self.at_start,
            self.acknowledged,
            self.unanswered,
            self.put_off,
            self.thrown_away,
            self.looked_up,
            self.lost.len(),
            self.wrong.len()
        )
    }

    /// Whether everything was as it should be, and something happened. What was not is printed.
    ///
    /// # Errors
    /// When it was not.
    pub fn whole(&self) -> anyhow::Result<()> {
        for what in self.lost.iter().chain(&self.wrong) {
            println!("{what}");
        }
        let nothing = self.lost.is_empty() && self.wrong.is_empty();
        ensure!(nothing, "something that was acknowledged is not as it was");
        ensure!(self.acknowledged > 20, "hardly anything happened");
        Ok(())
    }
}

/// One start in so many is ended before the server answers.
const AT_START: u64 = 8;

/// Devices that are rows from the beginning, and as many that have a certificate and will enrol.
struct Fleet {
    authority: Authority,
    enrolled: Vec<Device>,
    invited: Vec<Device>,
}

impl Fleet {
    fn make(count: usize, now: Timestamp) -> anyhow::Result<Self> {
        let authority = Authority::create(now)?;
        let enrolled = devices::make(&authority, KeyKind::P256, 1, count, now)?;
        let first = i64::try_from(count)? + 1;
        let invited = devices::make(&authority, KeyKind::P256, first, count, now)?;
        Ok(Self {
            authority,
            enrolled,
            invited,
        })
    }

    fn seed(&self) -> Seed<'_> {
        Seed {
            authority: &self.authority,
            enrolled: &self.enrolled,
            invited: &self.invited,
            present: 0,
        }
    }
}

/// The program that is tried, and what its environment says: the one that was named, or this one.
fn served(named: Option<&Path>) -> std::io::Result<(PathBuf, Vec<(String, String)>)> {
    Ok(match named {
        Some(program) => (program.to_owned(), Vec::new()),
        None => (
            std::env::current_exe()?,
            vec![(SERVE.to_owned(), "1".to_owned())],
        ),
    })
}

fn start(named: Option<&Path>) -> std::io::Result<Start> {
    let (program, environment) = served(named)?;
    Ok(Start {
        program: Some(program),
        environment,
        ..Start::default()
    })
}

/// Does it.
///
/// # Errors
/// When the harness itself cannot go on: no compiler for the power cut, a server that does not start. Losses are in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let fleet = Fleet::make(options.devices, SystemClock.now())?;
    let papers = tempfile::tempdir()?;
    let power = match options.power {
        true => Some(Power::build(papers.path(), options.lies)?),
        false => None,
    };
    ensure!(
        power.is_none() || options.database == "sqlite",
        "a power cut is for the embedded database only"
    );
    let start = start(options.server.as_deref())?;
    let mut house = House::lay(start, &options.database, &fleet.seed()).await?;
    if let Some(power) = &power {
        house.environment(power.environment(house.folder()));
    }
    let mut rng = Rng::new(options.seed);
    let ledger = Ledger::new(fleet.enrolled, fleet.invited);
    let load = Load::new(&house, &ledger, options.connections);
    let mut report = Report::default();
    for nth in 1..=options.kills {
        if rng.below(AT_START) == 0 {
            house.begin()?;
            tokio::time::sleep(Duration::from_millis(rng.below(250))).await;
            report.at_start += 1;
        } else {
            house
                .start()
                .await
                .with_context(|| format!("start {nth}"))?;
            ledger.look_up(&house, false, &mut report).await?;
            let longest = u64::try_from(options.longest.as_millis())?.max(1);
            let time = Duration::from_millis(rng.below(longest));
            load.drive(&mut rng, time, || house.kill()).await?;
        }
        // After a load it is dead already.
        let _ = house.kill();
        report.kills += 1;
        if let Some(power) = &power {
            report.thrown_away += power.cut(house.folder(), &mut rng)?;
        }
        if !report.lost.is_empty() || !report.wrong.is_empty() {
            // What comes after a loss says nothing more.
            break;
        }
    }
    if report.lost.is_empty() && report.wrong.is_empty() {
        house.start().await?;
        ledger.look_up(&house, true, &mut report).await?;
        house.close().await?;
    }
    ledger.count(&mut report);
    Ok(report)
}
