//! One server alone, on either database, killed (-9) again and again, or its power cut, before a simulated Apple: operators plan,
//! accept and submit waves, give more time and call devices back all through it, its workers do what follows, and the devices of
//! that world migrate. After each start and at the end what Apple was asked for is held against what was acknowledged: every
//! submission arrives, and nobody is named to Apple twice for what was wanted once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fixtures::clock::HOUR;
use fixtures::world::{Fleet, World, WorldConfig};
use futures_util::future::{Either, join_all, select};
use mdm_core::clock::{Clock as _, SystemClock};

use super::super::ledger::Ledger;
use super::super::load::Load;
use super::super::power::Power;
use super::super::rng::Rng;
use super::super::{AT_START, Fleet as Enrolled, Options, Report, served};
use super::api::{Api, Tally};
use super::operators::{self, Wanted};
use super::street::{LONG, Plan, Street};
pub use super::verdict::Acts;
use super::{OPERATORS, Time, live, people, read_list, shares, tokens, verdict};
use crate::fleet::clock::ToldClock;

/// The world beside the fleet.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Migrating {
    /// Its devices, which migrate in waves.
    pub devices: usize,
    /// Devices of a wave.
    pub wave: usize,
    /// Simulated milliseconds for each millisecond. The lease of a job is five minutes of them: a server that needs longer for one
    /// would be taken for dead.
    pub pace: i64,
    /// Whether migrations are waited for until they have ended, and devices looked for where they were to go. It takes hours of
    /// simulated time.
    pub to_the_end: bool,
    /// Where the server's log is kept when something was found.
    pub logs: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Agreement {
    /// Of the fleet's devices and clients.
    pub fleet: Report,
    /// Kills while an operator was at a wave.
    pub met: usize,
    /// Waves that were submitted.
    pub waves: usize,
    /// Devices that were submitted, and of these devices whose return was asked for.
    pub submitted: (usize, usize),
    /// What Apple was asked for.
    pub acts: Acts,
    /// Requests of operators without an answer, and such that were put off.
    pub operators: (usize, usize),
    /// Requests of operators that were done, and whose answers were lost.
    pub lost_answers: usize,
    /// Simulated hours.
    pub hours: i64,
    /// Where the world disagrees.
    pub wrong: Vec<String>,
}

impl Agreement {
    /// In one sentence.
    #[must_use]
    pub fn told(&self) -> String {
        format!(
            "{}; {} of the kills met operators at a wave; {} waves with {} devices submitted, {} of them called back, in {} simulated hours, {} requests of operators \
             without an answer, {} put off, {} answers lost; Apple {}: {} wrong",
            self.fleet.told(),
            self.met,
            self.waves,
            self.submitted.0,
            self.submitted.1,
            self.hours,
            self.operators.0,
            self.operators.1,
            self.lost_answers,
            self.acts.told(),
            self.wrong.len()
        )
    }

    /// Everything that was found.
    pub fn found(&self) -> impl Iterator<Item = &String> {
        let fleet = self.fleet.lost.iter().chain(&self.fleet.wrong);
        self.wrong.iter().chain(fleet)
    }
}

/// Does it.
///
/// # Errors
/// When the harness itself cannot go on: no compiler, a server that does not start. What is wrong is in what comes of it.
pub async fn run(options: &Options, migrating: &Migrating) -> anyhow::Result<Agreement> {
    ensure!(
        migrating.wave > 0 && migrating.pace > 0,
        "nothing would happen"
    );
    ensure!(
        !options.lies,
        "a disk that lies is found out without a world"
    );
    ensure!(
        !options.power || options.database == "sqlite",
        "a power cut is for the embedded database only"
    );
    let now = SystemClock.now();
    let devices = Fleet::Count(migrating.devices);
    let world = World::start(WorldConfig::new(options.seed, now.as_millis(), devices)).await?;
    let papers = tempfile::tempdir()?;
    let clock = Arc::new(ToldClock::build(papers.path(), now.as_millis())?);
    let power = match options.power {
        true => Some(Power::build(papers.path(), options.lies)?),
        false => None,
    };
    let fleet = Enrolled::make(options.devices, now)?;
    let (program, environment) = served(options.server.as_deref())?;
    let plan = Plan {
        servers: 1,
        program,
        environment,
        older: None,
        database: &options.database,
        lease: Some(LONG),
    };
    let mut street = Box::pin(Street::lay(plan, &world, Some(&clock), &fleet.seed())).await?;
    if let Some(power) = &power {
        let more = power.environment(street.house.folder());
        street.environment(more);
    }
    // What was laid out is not of the future.
    let begun = world.clock().advance_to(SystemClock.now().as_millis());
    clock.tell(begun)?;
    let time = Time {
        clock,
        pace: migrating.pace,
        jobs: None,
    };
    let stopped = Arc::new(AtomicBool::new(false));
    let life = tokio::spawn(live(world.clone(), time, Arc::clone(&stopped)));
    let ledger = Ledger::new(fleet.enrolled, fleet.invited);
    let tally = Tally::default();
    let stage = Stage {
        options,
        migrating,
        world: &world,
        ledger: &ledger,
        power: power.as_ref(),
        tally: &tally,
    };
    let agreement = Box::pin(stage.play(street, &stopped)).await;
    stopped.store(true, Ordering::SeqCst);
    life.await.context("the world")??;
    world.stop().await;
    let mut agreement = agreement?;
    agreement.hours = (world.clock().now_ms() - begun) / HOUR;
    Ok(agreement)
}

/// Everything around the server.
struct Stage<'a> {
    options: &'a Options,
    migrating: &'a Migrating,
    world: &'a World,
    ledger: &'a Ledger,
    power: Option<&'a Power>,
    tally: &'a Tally,
}

impl Stage<'_> {
    async fn play(&self, mut street: Street, stopped: &AtomicBool) -> anyhow::Result<Agreement> {
        let (options, world, tally) = (self.options, self.world, self.tally);
        let mut told = Agreement::default();
        let wanted = Wanted::default();
        street.start(0).await?;
        let balanced = street.house.admin.clone();
        let mut admin = Api::new(balanced.clone(), street.token.clone(), tally);
        read_list(&mut admin).await?;
        let mut rng = Rng::new(options.seed);
        let tokens = tokens(&mut admin).await?;
        let shares = shares(world, self.migrating.wave);
        let mut people = people(&tokens, &balanced, (tally, &wanted), world, &mut rng);
        for person in &mut people {
            person.runbooks = operators::locking()?;
        }
        let over = AtomicBool::new(false);
        let lives = async {
            let lived = self.lives(&mut street, &mut rng, &mut told.fleet).await;
            over.store(true, Ordering::SeqCst);
            lived
        };
        // Spread over all the kills: the last ones meet operators as the first ones do.
        let (died, kills) = (&self.tally.killed, options.kills);
        let operating = people.iter_mut().zip(&shares).map(|(person, share)| {
            let due = move |nth: usize| died.load(Ordering::Relaxed) * share.len() >= nth * kills;
            person.run(share, due, &over)
        });
        let operating = Box::pin(join_all(operating));
        let (lived, operated) = match select(Box::pin(lives), operating).await {
            Either::Left((Ok(true), operating)) => (Ok(true), operating.await),
            // What operators still wait for after a loss says nothing more.
            Either::Left((lived, _)) => (lived, Vec::new()),
            Either::Right((operated, lives)) => (lives.await, operated),
        };
        let whole = lived.context("the lives of the server")?;
        for (name, failed) in OPERATORS.into_iter().zip(operated) {
            if let Err(error) = failed {
                tally.wrong(format!("{name}: {error:#}"));
            }
        }
        drop(people);

        let to_the_end = whole && self.migrating.to_the_end;
        if to_the_end {
            let stuck = verdict::ended(&mut admin, world, &wanted).await?;
            told.wrong.extend(stuck);
        }
        if whole {
            told.wrong.extend(verdict::kept(&mut admin, &wanted).await?);
        }
        // From here on time stands still.
        stopped.store(true, Ordering::SeqCst);
        let apple = world.apple().ledger();
        if whole {
            told.wrong.extend(verdict::acts(&apple, &wanted.times()));
        }
        let (acts, harm) = verdict::figures(&apple);
        told.acts = acts;
        told.wrong.extend(harm);
        if to_the_end {
            told.wrong.extend(verdict::places(world, &wanted).await);
        }
        told.wrong.extend(street.fallen()?);
        if to_the_end {
            let (app, org) = street.inside(world).await?;
            let locks = verdict::locks(world, &org, &apple).await;
            app.shutdown().await?;
            told.wrong.extend(locks?);
        }
        told.wrong.extend(tally.take_wrong());
        told.operators = (
            tally.unanswered.load(Ordering::Relaxed),
            tally.put_off.load(Ordering::Relaxed),
        );
        told.met = tally.met.load(Ordering::Relaxed);
        told.lost_answers = tally.lost_answers.load(Ordering::Relaxed);
        told.waves = operators::whole(&wanted.waves).len();
        let submitted = wanted.submitted().len();
        told.submitted = (submitted, submitted - wanted.going().len());
        if let Some(folder) = &self.migrating.logs
            && told.found().next().is_some()
        {
            street.keep_logs(folder)?;
        }
        street.close().await?;
        Ok(told)
    }

    /// The lives of the server, with a fleet that speaks in each; the last one goes on. Whether nothing was lost.
    async fn lives(
        &self,
        street: &mut Street,
        rng: &mut Rng,
        report: &mut Report,
    ) -> anyhow::Result<bool> {
        let load = Load::new(&street.house, self.ledger, self.options.connections);
        let longest = u64::try_from(self.options.longest.as_millis())?.max(1);
        while report.kills < self.options.kills {
            let time = Duration::from_millis(rng.below(longest));
            load.drive(rng, time, || self.kill(street)).await?;
            self.cut(street, rng, report)?;
            while rng.below(AT_START) == 0 {
                street.begin(0)?;
                tokio::time::sleep(Duration::from_millis(rng.below(250))).await;
                self.kill(street)?;
                report.at_start += 1;
                self.cut(street, rng, report)?;
            }
            let nth = report.kills + 1;
            street
                .start(0)
                .await
                .with_context(|| format!("start {nth}"))?;
            self.ledger.look_up(&street.house, false, report).await?;
            let twice = verdict::repeated(&self.world.apple().ledger());
            report.wrong.extend(twice);
            if !report.lost.is_empty() || !report.wrong.is_empty() {
                return Ok(false);
            }
        }
        self.ledger.look_up(&street.house, true, report).await?;
        Ok(report.lost.is_empty() && report.wrong.is_empty())
    }

    fn kill(&self, street: &mut Street) -> anyhow::Result<()> {
        for why in street.fallen()? {
            self.tally.wrong(why);
        }
        self.tally.kills();
        street.kill(0)?;
        street.house.note_kill();
        Ok(())
    }

    /// It is dead; what the disk did not have may be gone.
    fn cut(&self, street: &Street, rng: &mut Rng, report: &mut Report) -> anyhow::Result<()> {
        report.kills += 1;
        if let Some(power) = self.power {
            report.thrown_away += power.cut(street.house.folder(), rng)?;
        }
        Ok(())
    }
}
