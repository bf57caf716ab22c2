//! A rehearsal: the whole migration against a simulated world, in accelerated time, with real HTTP, TLS, signatures,
//! certificates and a real database. The verdict is the world's, not our own records'.
//!
//! [`run`] plays one from start to verdict. Tests that want to meddle take it apart: [`Stage::set`], [`Stage::plan`],
//! [`Stage::play`], [`Stage::judge`].

mod account;
mod causes;
mod drive;
mod forecast;
mod house;
mod judge;
mod plan;
mod progress;
mod project;
mod report;
mod sabotage;
mod safe;
mod short;
mod stops;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use fixtures::faults::{FaultKind, FaultLevel, FaultPlan};
use fixtures::world::{Fleet, World, WorldConfig};
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::ids::{OrganisationId, Serial, ServerId, WaveId};
use mdm_core::migration::PinnedRunbook;
use mdm_core::organisation::IdentityProtocol;
use mdm_core::service::{Detail, Mdm, Org};
use mdm_core::wave::WaveState;

use crate::app::App;
pub use forecast::AppEnd;
pub use house::{House, HouseOptions, PortsWrap, StoreWrap, Unfit};
pub use judge::{Proof, Row};
pub use plan::Timetable;
use progress::Progress;
use project::Course;
pub use project::WaveEnd;
pub use report::{Summary, Verdict};
pub use sabotage::Sabotage;
pub use safe::KeptSecret;
pub use short::LicenceEnd;

/// Simulated time begins here: 2026-12-01T08:00:00Z.
pub const START_MS: i64 = 1_796_112_000_000;

/// With so many devices, every kind of fault that can be drawn occurs under [`Faults::Many`].
const EVERY_KIND: u32 = 200;

/// What goes wrong in the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[expect(
    clippy::exhaustive_enums,
    reason = "three levels, as the command line offers them"
)]
pub enum Faults {
    /// Nothing.
    #[default]
    None,
    /// Each device meets one fault with probability 0.3.
    Some,
    /// Each device meets at least two, and one in each full hundred never comes back from its hold.
    Many,
}

/// How the devices of a rehearsal get their identities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the protocols that an organisation can choose"
)]
pub enum Identities {
    /// By SCEP.
    #[default]
    Scep,
    /// By ACME, with attestations of a simulated root.
    Acme,
    /// By ACME, and none without an attestation.
    AcmeAttested,
}

impl Identities {
    /// The organisation's setting.
    #[must_use]
    pub const fn protocol(self) -> IdentityProtocol {
        match self {
            Self::Scep => IdentityProtocol::Scep,
            Self::Acme => IdentityProtocol::Acme,
            Self::AcmeAttested => IdentityProtocol::AcmeAttested,
        }
    }
}

/// What is to be rehearsed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rehearsal {
    /// How many devices.
    pub devices: u32,
    /// One seed tells one story.
    pub seed: u64,
    /// What goes wrong in the world.
    pub faults: Faults,
    /// A PostgreSQL URL; SQLite in the data directory when left out.
    pub database: Option<String>,
    /// Where the data directory is kept; a temporary one when left out.
    pub keep: Option<PathBuf>,
    /// What is switched off in the server.
    pub sabotage: Option<Sabotage>,
    /// How the devices get their identities.
    pub identities: Identities,
    /// Serial numbers that go silent in their hold for good (see `fixtures::world::serial_number`).
    pub never_back: Vec<String>,
    /// When devices are offered their migration and must have begun it.
    pub timetable: Timetable,
    /// A whole project of so many waves (at most four), one after the other; one wave without a project when left out.
    pub waves: Option<u32>,
    /// Deadlines of that project, over all of its waves.
    pub buckets: u32,
    /// Shows no progress.
    pub quiet: bool,
    /// Runbooks to try in place of those that a rehearsal makes itself. Every device is of one of their platforms, and its original
    /// manages the apps of the tables.
    pub own: BTreeMap<Platform, PinnedRunbook>,
    /// Keeps what happened to each device, step by step.
    pub timelines: bool,
}

impl Rehearsal {
    /// So many devices, nothing wrong.
    #[must_use]
    pub fn new(devices: u32, seed: u64) -> Self {
        Self {
            devices,
            seed,
            faults: Faults::None,
            database: None,
            keep: None,
            sabotage: None,
            identities: Identities::Scep,
            never_back: Vec::new(),
            timetable: Timetable::default(),
            waves: None,
            buckets: 4,
            quiet: false,
            own: BTreeMap::new(),
            timelines: false,
        }
    }

    /// The world that it plays in.
    ///
    /// # Errors
    /// When the world cannot be started.
    pub async fn world(&self) -> anyhow::Result<World> {
        let level = match self.faults {
            Faults::None => FaultLevel::None,
            Faults::Some => FaultLevel::Some,
            Faults::Many => FaultLevel::Many,
        };
        let count = usize::try_from(self.devices)?;
        let fleet = match plan::kinds(&self.own, count) {
            None => Fleet::Count(count),
            Some(kinds) => Fleet::Exactly(kinds),
        };
        let mut config = WorldConfig::new(self.seed, START_MS, fleet);
        // A runbook without apps is tried on devices without any.
        config.apps = match self.own.is_empty() {
            true => None,
            false => Some(plan::apps_of(&self.own)?),
        };
        config.faults = FaultPlan::new(level, self.seed);
        config.never_back.clone_from(&self.never_back);
        // Who holds which licence is read again and again: a large fleet's lists in small pages would be most of what is played.
        config.habits.licences.page = 10_000;
        Ok(World::start(config).await?)
    }
}

/// Plays a rehearsal from start to verdict.
///
/// # Errors
/// [`Unfit`] when it cannot be played where it was asked for; else our own failure: a port, a file, a database, an Apple that
/// is simulated wrongly.
pub async fn run(rehearsal: &Rehearsal) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let mut progress = Progress::new(usize::try_from(rehearsal.devices)?, rehearsal.quiet);
    let temporary = tempfile::tempdir().context("a temporary directory")?;
    let directory = rehearsal.keep.as_deref().unwrap_or(temporary.path());
    progress.say(&format!(
        "The simulated world: Apple's services, {} devices and the MDM that they leave.",
        rehearsal.devices
    ));
    let world = rehearsal.world().await?;
    let mut options = HouseOptions::default();
    options.database.clone_from(&rehearsal.database);
    options.sabotage = rehearsal.sabotage;
    options.identities = rehearsal.identities;
    let stage = Stage::set(world, directory, options).await?.with(rehearsal);
    let database = stage.mdm().store().name();
    progress.say(&format!(
        "The server: its own listeners with TLS on loopback, {database}."
    ));
    let mut course = match rehearsal.waves {
        Some(waves) => {
            let (sabotage, faults) = (rehearsal.sabotage, rehearsal.faults);
            Some(Course::plan(&stage, waves, rehearsal.buckets, sabotage, faults).await?)
        }
        None => None,
    };
    let (waves, forecast) = match &course {
        Some(course) => {
            progress.say(&format!(
                "The project: {} devices in {} waves, each sent when the gate of the one before it is signed.",
                rehearsal.devices,
                course.waves().len()
            ));
            (course.waves(), None)
        }
        None => {
            let (wave, blocked) = stage
                .plan_for(rehearsal.sabotage, &rehearsal.timetable)
                .await?;
            progress.say(&format!(
                "The wave: {} members, {blocked} blocked, submitted to Apple with their deadlines.",
                rehearsal.devices
            ));
            (vec![wave], Some(stage.forecast(wave).await?))
        }
    };
    drive::drive(
        &stage.world,
        stage.mdm(),
        &stage.org().await?,
        &waves,
        course.as_mut(),
        &mut progress,
        drive::NEVER,
    )
    .await?;
    progress.finish();
    let forecast = match &course {
        Some(course) => course.forecast.clone(),
        None => forecast.unwrap_or_default(),
    };
    let accepted = match &course {
        Some(course) => plan::accepted_loss(&course.forecast),
        None => plan::accepted(&stage.world, &stage.own),
    };
    let org = stage.org().await?;
    let mut rows = judge::judge(&stage.world, &org, &accepted).await?;
    if rehearsal.timelines {
        for row in &mut rows {
            let serial = Serial::parse(&row.serial)?;
            row.timeline = org.device_report(&serial).await?.timeline;
        }
    }
    let verdicts = stage.world.verdicts().await;
    let apps = forecast::hold_to(&mut rows, &verdicts, &forecast, &accepted);
    let (wave_ends, odd) = match &course {
        Some(course) => course.ends(&stage.world, &org, &verdicts, &rows).await?,
        None => (Vec::new(), Vec::new()),
    };
    if rehearsal.faults == Faults::Some {
        judge::hold_to_some(&mut rows);
    }
    let counts = stage.world.fault_log().counts_by_kind();
    let planned = stage.world.planned_faults().counts_by_kind();
    let mut due: BTreeSet<FaultKind> = planned.into_keys().collect();
    let every = rehearsal.faults == Faults::Many && rehearsal.devices >= EVERY_KIND;
    if every {
        due.extend(FaultKind::DRAWN);
        due.insert(FaultKind::NeverBack);
    }
    let mut missing_faults: Vec<&'static str> = due
        .iter()
        .filter(|k| !counts.contains_key(k))
        .map(|k| k.name())
        .collect();
    if let Some(course) = &course
        && every
        && rehearsal.sabotage.is_none()
    {
        missing_faults.extend(course.unmet());
    }
    let summary = Summary {
        seed: rehearsal.seed,
        faults: format!("{:?}", rehearsal.faults).to_lowercase(),
        rows,
        missing_faults,
        least_faults: match rehearsal.faults {
            Faults::Many => 2,
            Faults::None | Faults::Some => 0,
        },
        injected: counts
            .iter()
            .map(|(k, n)| (k.name(), *n))
            .collect::<BTreeMap<_, _>>(),
        apps,
        licences: course.as_ref().map(Course::licences).unwrap_or_default(),
        waves: wave_ends,
        disagreements: odd,
        simulated_minutes: (stage.world.clock().now_ms() - START_MS) / 60_000,
        wall: began.elapsed(),
        peak_mib: peak_mib(),
        database,
    };
    stage.strike().await?;
    Ok(summary)
}

/// The most memory that this process has had, in MiB: server, world and all. `None` where the system does not tell.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// A world and a house wired to it.
pub struct Stage {
    /// The simulated world.
    pub world: World,
    /// The server.
    pub house: House,
    /// Runbooks in place of those that a rehearsal makes itself.
    own: BTreeMap<Platform, PinnedRunbook>,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stage")
    }
}

impl Stage {
    /// Starts a server for the world, with its data directory at `directory`, and lets it read its device list.
    ///
    /// # Errors
    /// What cannot be started, by name.
    pub async fn set(
        world: World,
        directory: &Path,
        options: HouseOptions,
    ) -> anyhow::Result<Self> {
        let again = options.again.is_some();
        let house = House::build(&world, directory, options).await?;
        let stage = Self {
            world,
            house,
            own: BTreeMap::new(),
        };
        // A house that is built again goes on with what was under way when it is played on, and not before.
        if !again {
            stage.settle().await?;
        }
        Ok(stage)
    }

    /// The same with the runbooks of this rehearsal in place of those that a stage makes itself, if it has any.
    #[must_use]
    pub fn with(mut self, rehearsal: &Rehearsal) -> Self {
        self.own.clone_from(&rehearsal.own);
        self
    }

    /// The service.
    #[must_use]
    pub fn mdm(&self) -> &Mdm {
        &self.house.app.mdm
    }

    /// The server as it runs.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.house.app
    }

    /// The runbooks of a rehearsal, by platform.
    #[must_use]
    pub fn runbooks(&self) -> BTreeMap<Platform, PinnedRunbook> {
        plan::runbooks(&self.world, None)
    }

    /// Our server entry, to which devices go.
    #[must_use]
    pub const fn destination(&self) -> ServerId {
        self.house.destination
    }

    /// The organisation, as it is now.
    ///
    /// # Errors
    /// The store's.
    pub async fn org(&self) -> anyhow::Result<Org> {
        Ok(self
            .mdm()
            .organisation_by_id(self.house.organisation)
            .await?)
    }

    /// Plans the wave of all devices, accepts its what-if and submits it; answers the wave and how many members are blocked.
    ///
    /// # Errors
    /// The service's.
    pub async fn plan(&self, sabotage: Option<Sabotage>) -> anyhow::Result<(WaveId, usize)> {
        self.plan_for(sabotage, &Timetable::default()).await
    }

    /// As [`Stage::plan`], with other deadlines. Called again after a crash in the middle, it goes on where the plan stands.
    ///
    /// # Errors
    /// The service's.
    pub async fn plan_for(
        &self,
        sabotage: Option<Sabotage>,
        timetable: &Timetable,
    ) -> anyhow::Result<(WaveId, usize)> {
        self.plan_with(sabotage, timetable, false).await
    }

    /// As [`Stage::plan_for`], with runbooks that declare their apps.
    ///
    /// # Errors
    /// As [`Stage::plan`].
    pub async fn plan_declaring(&self, timetable: &Timetable) -> anyhow::Result<(WaveId, usize)> {
        self.plan_with(None, timetable, true).await
    }

    async fn plan_with(
        &self,
        sabotage: Option<Sabotage>,
        timetable: &Timetable,
        declaring: bool,
    ) -> anyhow::Result<(WaveId, usize)> {
        let org = self.org().await?;
        let planned = self
            .mdm()
            .store()
            .waves(self.house.organisation, WaveId(0), 1)
            .await?;
        let wave = match planned.into_iter().next() {
            Some(wave) => wave,
            None => {
                let now = Timestamp::from_millis(self.world.clock().now_ms());
                let members = plan::members(&self.world, now, timetable);
                plan::expect_apps(&self.world, &self.own, plan::Without::default());
                let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
                org.pull(&serials).await?;
                // A plan that forgets the apps is not submitted: it goes through only where nobody knows of them.
                let blind = sabotage == Some(Sabotage::SkipApps);
                plan::say_unknowns(&org, blind).await?;
                if timetable.is_short() {
                    // A story leaves people less time than an organisation does.
                    org.set_what_if(&BTreeMap::new(), Some(1)).await?;
                }
                for said in plan::original(&self.world, now, !blind)?.chunks(10_000) {
                    org.import_originals("the original", now, said.to_vec())
                        .await?;
                }
                let mut runbooks = match self.own.is_empty() {
                    true => plan::runbooks(&self.world, sabotage),
                    false => plan::stand_ins(&self.own),
                };
                if declaring {
                    for runbook in runbooks.values_mut() {
                        *runbook = runbook.clone().with_declared_apps();
                    }
                }
                let id = org
                    .plan_wave("rehearsal", self.house.destination, &runbooks, &members)
                    .await?;
                let planned = self.mdm().store().wave(self.house.organisation, id).await?;
                planned.context("the wave that was planned")?
            }
        };
        // As it is now: what an unknown counts as may have been changed.
        let org = self.org().await?;
        let what_if = org.what_if(wave.id).await?;
        if wave.state == WaveState::Draft {
            org.accept(wave.id, &what_if.digest, &[], "rehearsal")
                .await?;
            // A wave of which nobody goes is none that could be submitted.
            if what_if.blockers.len() < what_if.report.members.len() {
                org.submit(wave.id, &what_if.digest, "rehearsal").await?;
            }
            // Before, the what-if would find it: it tries the key.
            if sabotage == Some(Sabotage::WrongKey) {
                let organisation = self.house.organisation;
                sabotage::put_other_escrow_certificate(self.mdm(), organisation).await?;
            }
        }
        Ok((wave.id, what_if.blockers.len()))
    }

    /// The apps that each iPhone and iPad would lose with their data, as the what-if forecasts it from what the original exports.
    ///
    /// # Errors
    /// The service's.
    pub async fn forecast(
        &self,
        wave: WaveId,
    ) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
        let now = Timestamp::from_millis(self.world.clock().now_ms());
        let org = self.org().await?;
        for said in plan::original(&self.world, now, true)?.chunks(10_000) {
            org.import_originals("the original", now, said.to_vec())
                .await?;
        }
        let report = org.look_at_wave(wave, Detail::Counts).await?;
        let mut losing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for app in report.forecast.apps {
            for serial in app.lost.into_keys() {
                let apps = losing.entry(serial.to_string()).or_default();
                apps.insert(app.bundle_id.clone());
            }
        }
        Ok(losing)
    }

    /// Does everything that is due at this moment of simulated time.
    ///
    /// # Errors
    /// The service's, or that both sides keep each other busy without time passing.
    pub async fn settle(&self) -> anyhow::Result<()> {
        drive::settle(&self.world, self.mdm(), drive::NEVER).await?;
        Ok(())
    }

    /// Plays until every attempt of the wave and every set-up has ended, or the horizon is reached.
    ///
    /// # Errors
    /// As [`Stage::settle`].
    pub async fn play(&self, wave: WaveId) -> anyhow::Result<()> {
        self.play_until(wave, drive::NEVER).await
    }

    /// As [`Stage::play`], or until `stop` says so; asked whenever nothing is left to do at a moment of simulated time.
    /// Played again, it goes on.
    ///
    /// # Errors
    /// As [`Stage::settle`].
    pub async fn play_until(
        &self,
        wave: WaveId,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> anyhow::Result<()> {
        drive::drive(
            &self.world,
            self.mdm(),
            &self.org().await?,
            &[wave],
            None,
            &mut Progress::new(0, true),
            stop,
        )
        .await
    }

    /// Sets what the world says of each device against what our records say.
    ///
    /// # Errors
    /// The service's.
    pub async fn judge(&self) -> anyhow::Result<Vec<Row>> {
        let accepted = plan::accepted(&self.world, &self.own);
        judge::judge(&self.world, &self.org().await?, &accepted).await
    }

    /// Stops the server and leaves the world as it is; answers it, and what a house needs to be built again.
    ///
    /// # Errors
    /// When the database could not be closed in order.
    pub async fn tear_down(self) -> anyhow::Result<(World, Tenancy)> {
        let tenancy = self.house.tenancy();
        self.house.app.shutdown().await?;
        Ok((self.world, tenancy))
    }

    /// Stops server and world in order.
    ///
    /// # Errors
    /// When the database could not be closed in order.
    pub async fn strike(self) -> anyhow::Result<()> {
        self.house.app.shutdown().await?;
        self.world.stop().await;
        Ok(())
    }
}

/// Which organisation, server entry and ports a house has, for a restart on the same database.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Tenancy {
    /// The organisation.
    pub organisation: OrganisationId,
    /// The destination's server entry.
    pub destination: ServerId,
    /// Where devices check in.
    pub device: Option<SocketAddr>,
    /// Where devices enrol.
    pub enrol: Option<SocketAddr>,
}
