//! Several real servers on one PostgreSQL, under load, one of them killed (-9) again and again, and all of them replaced by a newer
//! program one after the other. Devices and clients speak through load balancers as they would; operators plan, accept and
//! submit waves at a simulated Apple, give more time and call devices back; the devices of that world enrol, are held and
//! released. Nobody may see an error but 503 with the time of another try; whatever was acknowledged is there; nobody is named
//! to Apple more often than somebody wanted it; nothing is stuck; and the servers tell the same of it.

pub mod alone;
mod api;
mod balancer;
mod older;
mod operators;
mod street;
pub mod taken_over;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fixtures::clock::{HOUR, MINUTE};
use fixtures::world::{Fleet, World, WorldConfig};
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::store::testing::TestPostgres;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::Instant;

use super::ledger::Ledger;
use super::load::Load;
use super::rng::Rng;
use super::{Fleet as Enrolled, Report, served};
use crate::fleet::client::Address;
use crate::fleet::clock::ToldClock;
use api::{Api, Tally};
use operators::{Operator, Wanted};
use street::{Plan, Street};
use verdict::Acts;

/// What is done, for how long, to whom.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Options {
    /// How many servers.
    pub servers: usize,
    /// Between two kills.
    pub every: Duration,
    /// How long devices, clients and operators go on.
    pub time: Duration,
    /// Devices of the fleet that are enrolled at the beginning, and as many that will enrol.
    pub devices: usize,
    /// Devices of the fleet that speak at the same time.
    pub connections: usize,
    /// After each turn of such a device.
    pub rest: Duration,
    /// Devices of the simulated world, which migrate in waves.
    pub migrating: usize,
    /// Devices of a wave.
    pub wave: usize,
    /// Simulated milliseconds for each millisecond.
    pub pace: i64,
    /// Whether migrations are waited for until they have ended, and devices looked for where they were to go. It takes hours of
    /// simulated time.
    pub to_the_end: bool,
    /// An older program that all servers begin as; in the middle they are replaced one after the other.
    pub older: Option<PathBuf>,
    /// The program that is tried; `None` for this one, with [`SERVE`](crate::chaos::SERVE) in its environment.
    pub server: Option<PathBuf>,
    /// Where the servers' logs are kept when something was found.
    pub logs: Option<PathBuf>,
    /// Which random numbers.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// Of the fleet's devices and clients.
    pub fleet: Report,
    /// Kills while an operator was at a wave.
    pub met: usize,
    /// Servers that were replaced by the newer program.
    pub replaced: usize,
    /// The newest script of the tables at the beginning and at the end.
    pub scripts: (i64, i64),
    /// Requests of operators without an answer, and such that were put off.
    pub operators: (usize, usize),
    /// Requests of operators that were done, and whose answers were lost.
    pub lost_answers: usize,
    /// Waves that were submitted.
    pub waves: usize,
    /// Devices that were submitted, and of these devices whose return was asked for.
    pub submitted: (usize, usize),
    /// What Apple was asked for.
    pub acts: Acts,
    /// Requests that Apple put off because its budget was spent.
    pub throttled: usize,
    /// Simulated hours from the first wave to the end of everything.
    pub hours: i64,
    /// Whatever is not as it should be.
    pub wrong: Vec<String>,
}

impl Outcome {
    /// In one sentence.
    #[must_use]
    pub fn told(&self) -> String {
        format!(
            "{}; {} of the kills met operators at a wave; {} servers replaced (tables of script {} became {}), {} waves with {} devices submitted, {} of them called back, \
             in {} simulated hours, {} requests of operators without an answer, {} put off, {} answers lost; Apple {}, {} times \
             its budget was spent: {} wrong",
            self.fleet.told(),
            self.met,
            self.replaced,
            self.scripts.0,
            self.scripts.1,
            self.waves,
            self.submitted.0,
            self.submitted.1,
            self.hours,
            self.operators.0,
            self.operators.1,
            self.lost_answers,
            self.acts.told(),
            self.throttled,
            self.wrong.len()
        )
    }

    /// Everything that was found.
    pub fn found(&self) -> impl Iterator<Item = &String> {
        let fleet = self.fleet.lost.iter().chain(&self.fleet.wrong);
        self.wrong.iter().chain(fleet)
    }
}

/// People who plan waves.
const OPERATORS: [&str; 2] = ["Anna", "Bo"];
/// Between two moments of the world.
const STEP: Duration = Duration::from_millis(5);
/// A step counts as no more than this, however late it comes.
const LONGEST_STEP: Duration = Duration::from_millis(25);
/// Simulated milliseconds in one, while a job is held for long: what has this left of its lease of five minutes.
const SLOW: i64 = 30;
const LEASE_LEFT: i64 = 4 * MINUTE;
/// The longest time between the kill of a server and its next start.
const DOWN_MS: u64 = 1_500;

/// Does it, on a PostgreSQL of its own.
///
/// # Errors
/// When the harness itself cannot go on: no compiler for the clock, a server that does not start. What is wrong is in the outcome.
pub async fn run(options: &Options, postgres: &TestPostgres) -> anyhow::Result<Outcome> {
    ensure!(options.servers > 1, "several servers are two at least");
    ensure!(options.wave > 0 && options.pace > 0, "nothing would happen");
    let now = SystemClock.now();
    let fleet = Fleet::Count(options.migrating);
    let world = World::start(WorldConfig::new(options.seed, now.as_millis(), fleet)).await?;
    let papers = tempfile::tempdir()?;
    let clock = Arc::new(ToldClock::build(papers.path(), now.as_millis())?);
    let people = Enrolled::make(options.devices, now)?;
    let database = postgres.database().await;
    let tables = match &options.older {
        Some(_) => postgres.database().await,
        None => database.clone(),
    };
    let (program, environment) = served(options.server.as_deref())?;
    let plan = Plan {
        servers: options.servers,
        program,
        environment,
        older: options.older.as_deref().map(|old| (old, &*tables)),
        database: &database,
        lease: Some(street::LONG),
    };
    let street = Box::pin(Street::lay(plan, &world, Some(&clock), &people.seed())).await?;
    // What was laid out is not of the future.
    let begun = world.clock().advance_to(SystemClock.now().as_millis());
    clock.tell(begun)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let time = Time {
        clock,
        pace: options.pace,
        jobs: Some(
            PgPoolOptions::new()
                .max_connections(1)
                .connect(&tables)
                .await?,
        ),
    };
    let life = tokio::spawn(live(world.clone(), time, Arc::clone(&stopped)));
    let ledger = Ledger::new(people.enrolled, people.invited);
    let outcome = Box::pin(drive(options, street, &world, &ledger, &tables, &stopped)).await;
    stopped.store(true, Ordering::SeqCst);
    life.await.context("the world")??;
    world.stop().await;
    let mut outcome = outcome?;
    outcome.hours = (world.clock().now_ms() - begun) / HOUR;
    Ok(outcome)
}

/// How time passes.
struct Time {
    clock: Arc<ToldClock>,
    pace: i64,
    /// The tables, to see what the servers are at. Without them it passes evenly.
    jobs: Option<PgPool>,
}

impl Time {
    /// So many simulated milliseconds pass in one. Time goes slower while a job is held for long: otherwise its lease, which is a
    /// matter of minutes, would end under a server that is merely slow here.
    async fn pace(&self, now: i64) -> anyhow::Result<i64> {
        let Some(jobs) = &self.jobs else {
            return Ok(self.pace);
        };
        let held: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM jobs WHERE leased_until > 0 AND ready_at > $1 AND ready_at < $2)",
        )
        .bind(now)
        .bind(now + LEASE_LEFT)
        .fetch_one(jobs)
        .await?;
        Ok(if held { self.pace.min(SLOW) } else { self.pace })
    }
}

/// Lets the world live, and time pass for it and for the servers.
async fn live(world: World, time: Time, stopped: Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut last = Instant::now();
    while !stopped.load(Ordering::SeqCst) {
        world.run_due().await;
        world.deliver_pushes();
        tokio::time::sleep(STEP).await;
        let pace = time.pace(world.clock().now_ms()).await?;
        // Devices that speak for long hold the time up: on a slow machine it goes slower for everybody.
        let step = last.elapsed().min(LONGEST_STEP);
        last = Instant::now();
        let now = world.clock().now_ms() + i64::try_from(step.as_millis())? * pace;
        time.clock.tell(world.clock().advance_to(now))?;
    }
    if let Some(jobs) = time.jobs {
        jobs.close().await;
    }
    Ok(())
}

async fn drive(
    options: &Options,
    mut street: Street,
    world: &World,
    ledger: &Ledger,
    tables: &str,
    stopped: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for nth in 0..street.len() {
        street.start(nth).await?;
    }
    outcome.scripts.0 = older::newest_script(tables).await?;
    let (tally, wanted) = (Tally::default(), Wanted::default());
    let balanced = street.house.admin.clone();
    let mut admin = Api::new(balanced.clone(), street.token.clone(), &tally);
    read_list(&mut admin).await?;
    let mut rng = Rng::new(options.seed);
    let tokens = tokens(&mut admin).await?;
    let shares = shares(world, options.wave);
    let mut people = people(&tokens, &balanced, (&tally, &wanted), world, &mut rng);
    let runbooks = match options.older {
        Some(_) => older::known(&mut admin, operators::locking()?).await?,
        None => operators::locking()?,
    };
    for person in &mut people {
        person.runbooks.clone_from(&runbooks);
    }
    let load = Load::new(&street.house, ledger, options.connections).resting(options.rest);
    let over = AtomicBool::new(false);
    let mut moments = Rng::new(rng.next());
    let mischief = async {
        let servers = (&mut street, world);
        let done = mischief(options, servers, &mut moments, &tally, &mut outcome).await;
        over.store(true, Ordering::SeqCst);
        done
    };
    let spans = shares.iter().map(|share| {
        let count = u32::try_from(share.len()).unwrap_or(u32::MAX).max(1);
        options.time / count
    });
    let spans: Vec<Duration> = spans.collect();
    let begun = Instant::now();
    let operating =
        people
            .iter_mut()
            .zip(shares.iter().zip(spans))
            .map(|(person, (share, every))| {
                let nth_at = move |nth: usize| every * u32::try_from(nth).unwrap_or(u32::MAX);
                let due = move |nth: usize| begun.elapsed() >= nth_at(nth);
                person.run(share, due, &over)
            });
    let operating = futures_util::future::join_all(operating);
    let (driven, operated) =
        tokio::join!(Box::pin(load.drive_until(&mut rng, mischief)), operating);
    driven.context("the load")?;
    for failed in operated.into_iter().filter_map(Result::err) {
        tally.wrong(format!("{failed:#}"));
    }
    drop(people);

    if options.to_the_end {
        let stuck = verdict::ended(&mut admin, world, &wanted).await?;
        outcome.wrong.extend(stuck);
    }
    outcome
        .wrong
        .extend(verdict::kept(&mut admin, &wanted).await?);
    // From here on time stands still.
    stopped.store(true, Ordering::SeqCst);
    let apple = world.apple().ledger();
    outcome.wrong.extend(verdict::acts(&apple, &wanted.times()));
    let (acts, harm) = verdict::figures(&apple);
    outcome.acts = acts;
    outcome.wrong.extend(harm);
    outcome.throttled = verdict::throttled(&apple);
    if options.to_the_end {
        outcome.wrong.extend(verdict::places(world, &wanted).await);
    }
    let mut each: Vec<Api<'_>> = (0..street.len())
        .map(|nth| Api::new(street.admin(nth), street.token.clone(), &tally))
        .collect();
    outcome
        .wrong
        .extend(verdict::same(&mut each, &wanted).await?);
    ledger
        .look_up(&street.house, true, &mut outcome.fleet)
        .await?;
    outcome.scripts.1 = older::newest_script(tables).await?;
    if options.older.is_some() {
        let replaced = (outcome.replaced, street.len());
        outcome
            .wrong
            .extend(older::not_tried(outcome.scripts, replaced));
    }
    outcome.wrong.extend(street.fallen()?);
    if options.to_the_end {
        let (app, org) = street.inside(world).await?;
        let locks = verdict::locks(world, &org, &apple).await;
        app.shutdown().await?;
        outcome.wrong.extend(locks?);
        if !runbooks.is_null() && !wanted.going().is_empty() && acts.locks == 0 {
            let nobody = "devices were to be locked, and none was";
            outcome.wrong.push(nobody.to_owned());
        }
    }
    outcome.wrong.extend(tally.take_wrong());
    outcome.operators = (
        tally.unanswered.load(Ordering::Relaxed),
        tally.put_off.load(Ordering::Relaxed),
    );
    outcome.met = tally.met.load(Ordering::Relaxed);
    outcome.lost_answers = tally.lost_answers.load(Ordering::Relaxed);
    outcome.waves = operators::whole(&wanted.waves).len();
    let submitted = wanted.submitted().len();
    outcome.submitted = (submitted, submitted - wanted.going().len());
    if let Some(folder) = &options.logs
        && outcome.found().next().is_some()
    {
        street.keep_logs(folder)?;
    }
    street.close().await?;
    Ok(outcome)
}

/// A token for each of the people.
async fn tokens(admin: &mut Api<'_>) -> anyhow::Result<Vec<String>> {
    let mut tokens = Vec::new();
    for name in OPERATORS {
        let body = json!({ "name": name, "role": "approver" });
        let made = admin.done("/api/v1/api-tokens", &body).await?;
        let made = made.context("a token whose answer was lost")?;
        tokens.push(operators::text(&made["token"]));
    }
    Ok(tokens)
}

/// The waves of each of them: every device of the world is in one.
fn shares(world: &World, wave: usize) -> Vec<Vec<Vec<String>>> {
    let serials: Vec<String> = world.identities().map(|i| i.serial.clone()).collect();
    let waves: Vec<Vec<String>> = serials.chunks(wave).map(<[_]>::to_vec).collect();
    let shares =
        (0..OPERATORS.len()).map(|nth| waves.iter().skip(nth).step_by(OPERATORS.len()).cloned());
    shares.map(Iterator::collect).collect()
}

fn people<'a>(
    tokens: &[String],
    balanced: &Address,
    (tally, wanted): (&'a Tally, &'a Wanted),
    world: &World,
    rng: &mut Rng,
) -> Vec<Operator<'a>> {
    let api = |nth: usize| Api::new(balanced.clone(), tokens[nth].clone(), tally);
    let named = OPERATORS.into_iter().enumerate();
    named
        .map(|(nth, name)| Operator {
            name,
            api: api(nth),
            other: api((nth + 1) % OPERATORS.len()),
            tally,
            wanted,
            clock: world.clock().clone(),
            rng: Rng::new(rng.next()),
            runbooks: Value::Null,
        })
        .collect()
}

/// Has the servers read which devices the organisation has.
async fn read_list(admin: &mut Api<'_>) -> anyhow::Result<()> {
    let asked = admin.done("/api/v1/inventory/pull", &json!({})).await?;
    let asked = asked.context("a reading whose answer was lost")?;
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let shown = admin.get("/api/v1/inventory").await?;
        let moment = |value: &Value| value.as_str().map(str::to_owned);
        if moment(&shown["complete"]) >= moment(&asked["wanted"]) && shown["complete"].is_string() {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "the device list is not read: {shown}, {asked}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What happens to the servers.
#[derive(Clone, Copy, Debug)]
enum Mischief {
    Kill,
    Replace(usize),
}

/// Kills servers and replaces them, each in its time; answers when the time is over, or something was done twice, with all of
/// them running.
async fn mischief(
    options: &Options,
    (street, world): (&mut Street, &World),
    rng: &mut Rng,
    tally: &Tally,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut all = Vec::new();
    let mut at = options.every;
    while at < options.time {
        all.push((at, Mischief::Kill));
        at += options.every;
    }
    if options.older.is_some() {
        // In the middle, with time between them in which old and new work side by side.
        for nth in 0..street.len() {
            let parts = u32::try_from(nth)? + 4;
            all.push((options.time * parts / 10, Mischief::Replace(nth)));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    for (at, what) in all {
        tokio::time::sleep_until(begun + at).await;
        for why in street.fallen()? {
            tally.wrong(why);
        }
        match what {
            Mischief::Kill => {
                let nth = rng.place(street.len());
                tally.kills();
                street.kill(nth)?;
                outcome.fleet.kills += 1;
                tokio::time::sleep(Duration::from_millis(rng.below(DOWN_MS))).await;
                street.start(nth).await?;
            }
            Mischief::Replace(nth) => {
                street.replace(nth).await?;
                outcome.replaced += 1;
            }
        }
        let twice = verdict::repeated(&world.apple().ledger());
        if !twice.is_empty() {
            // Whoever looks for the cause has it near the end of the logs.
            twice.into_iter().for_each(|what| tally.wrong(what));
            return Ok(());
        }
    }
    tokio::time::sleep_until(begun + options.time).await;
    Ok(())
}
