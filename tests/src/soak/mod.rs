//! A fleet through days of simulated time, with faults, before a real server that goes by a clock it is told: devices come by
//! themselves and when they are pushed, answer, do not answer, come twice, hang up, stay away for a day; clients queue commands,
//! devices enrol. What the server takes of memory, disk and rows, and how long it takes to answer, is noted day by day, and
//! nothing of it may grow with the days alone.

mod figures;
mod life;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use fixtures::apple::{Habits, Trouble};
use fixtures::clock::{DAY, HOUR, MINUTE};
use fixtures::world::{Fleet, World, WorldConfig};
use mdm_core::clock::{Clock as _, SystemClock};

use crate::chaos::SERVE;
use crate::fleet::apple::furnish;
use crate::fleet::clock::ToldClock;
use crate::fleet::devices::{self, Authority, KeyKind};
use crate::fleet::house::{House, Seed, Start};
use figures::Watch;
pub use figures::{Day, Verdict, judge};
use life::Life;

/// For how many days settled commands are kept.
const KEPT_DAYS: i64 = 2;
/// Leases, in seconds of the told clock, which goes faster than the computer's.
const LEASE: u32 = 300;
/// Each of so many requests to Apple meets trouble.
const TROUBLE: u64 = 50;
/// The clock moves by this, in ms.
const STEP: i64 = 5 * MINUTE;
/// The least time that a step takes outside, so that the server's own work keeps up.
const LEAST: Duration = Duration::from_millis(20);
/// How long the server may take, outside, for the work that is due at the end of an hour.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many devices, for how long.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate fill it in"
)]
pub struct Options {
    /// Devices that are enrolled at the beginning; a twentieth as many enrol by and by.
    pub devices: usize,
    /// Simulated days.
    pub days: usize,
    /// `sqlite`, or a PostgreSQL URL.
    pub database: String,
    /// Devices that speak at the same time.
    pub connections: usize,
    /// The server's program; `None` for this one, with [`SERVE`] in its environment.
    pub server: Option<PathBuf>,
    /// Which random numbers.
    pub seed: u64,
}

/// Lives through the days; answers what was noted of each.
///
/// # Errors
/// When the harness cannot go on, or the server ends, answers what it should not, or does not keep up.
pub async fn run(options: &Options, mut tell: impl FnMut(&Day)) -> anyhow::Result<Vec<Day>> {
    ensure!(
        options.devices > 0 && options.connections > 0,
        "nobody lives"
    );
    let now = SystemClock.now();
    let mut config = WorldConfig::new(options.seed, now.as_millis(), Fleet::Count(0));
    config.habits = Habits {
        ledger: 1_000,
        trouble: Some(Trouble::every(TROUBLE)),
        ..Habits::default()
    };
    let world = World::start(config).await?;
    let papers = tempfile::tempdir()?;
    let clock = ToldClock::build(papers.path(), now.as_millis())?;
    let authority = Authority::create(now)?;
    let count = options.devices;
    let enrolled = devices::make(&authority, KeyKind::P256, 1, count, now)?;
    let first = i64::try_from(count)? + 1;
    let invited = devices::make(&authority, KeyKind::P256, first, count.div_ceil(20), now)?;
    let seed = Seed {
        authority: &authority,
        enrolled: &enrolled,
        invited: &invited,
        present: 0,
    };
    let mut start = Start {
        program: options.server.clone(),
        ..Start::default()
    };
    if start.program.is_none() {
        start.program = Some(std::env::current_exe()?);
        start.environment.push((SERVE.to_owned(), "1".to_owned()));
    }
    let mut house = House::lay(start, &options.database, &seed).await?;
    house.environment(clock.environment());
    furnish(
        &world,
        &house,
        &options.database,
        Some(KEPT_DAYS),
        Some(LEASE),
    )
    .await?;
    clock.tell(world.clock().advance_to(SystemClock.now().as_millis()))?;
    house.start().await?;

    let mut life = Life::new(&house, &world, enrolled, invited, options);
    let mut watch = Watch::open(&house, &options.database).await?;
    let mut days = Vec::new();
    for nth in 1..=options.days {
        for _ in 0..DAY / HOUR {
            for _ in 0..HOUR / STEP {
                let begun = tokio::time::Instant::now();
                life.step().await?;
                tokio::time::sleep_until(begun + LEAST).await;
                clock.tell(world.clock().advance_to(world.clock().now_ms() + STEP))?;
            }
            life.queue_commands().await?;
            watch
                .wait_for_work(world.clock().now_ms(), PATIENCE)
                .await?;
            watch.look(&house)?;
        }
        let day = watch.day(nth, life.take_latencies()).await?;
        tell(&day);
        days.push(day);
    }
    watch.close().await?;
    house.close().await?;
    world.stop().await;
    Ok(days)
}
