//! A clock that jumps by days, forth and back, under a server that runs with its workers on, while devices and clients speak.
//! Whatever is acknowledged is there and happens once, who had a right to speak still has it, nobody panics, and in the end
//! nothing is left over that was due.

use std::time::Duration;

use anyhow::ensure;
use fixtures::clock::{DAY, HOUR};
use fixtures::world::{Fleet as Devices, World, WorldConfig};
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use tokio::time::Instant;

use super::ledger::Ledger;
use super::load::Load;
use super::rng::Rng;
use super::{Fleet, Options, Report, start};
use crate::fleet::apple::furnish;
use crate::fleet::clock::ToldClock;
use crate::fleet::devices::TOPIC;
use crate::fleet::house::House;

/// Each jump. Never to before the beginning: an authority of the future is nobody's mistake here.
const JUMPS: [i64; 7] = [3 * DAY, -2 * DAY, 10 * DAY, -HOUR, HOUR, -9 * DAY, 20 * DAY];
/// Between two moments of the told clock.
const STEP: Duration = Duration::from_millis(10);
/// How long the server may need for what is due in the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does it.
///
/// # Errors
/// When the harness cannot go on, the server ends or panics, or leaves undone what is due. What else is wrong is in the report.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let now = SystemClock.now();
    let config = WorldConfig::new(options.seed, now.as_millis(), Devices::Count(0));
    let world = World::start(config).await?;
    let papers = tempfile::tempdir()?;
    let clock = ToldClock::build(papers.path(), now.as_millis())?;
    let fleet = Fleet::make(options.devices, now)?;
    let start = start(options.server.as_deref())?;
    let mut house = House::lay(start, &options.database, &fleet.seed()).await?;
    house.environment(clock.environment());
    furnish(&world, &house, &options.database, None, None).await?;
    // Its devices come by themselves.
    world.apple().take_any_push(TOPIC);
    let mut at = SystemClock.now().as_millis();
    clock.tell(at)?;
    house.start().await?;
    let ledger = Ledger::new(fleet.enrolled, fleet.invited);
    let load = Load::new(&house, &ledger, options.connections);
    let mut rng = Rng::new(options.seed);
    let mut report = Report::default();
    for jump in JUMPS {
        let told = async {
            pass(&clock, &mut at, options.longest).await?;
            at += jump;
            pass(&clock, &mut at, options.longest).await
        };
        load.drive_until(&mut rng, told).await?;
        ledger.look_up(&house, false, &mut report).await?;
    }
    nothing_left(&house, &clock, &mut at).await?;
    ledger.look_up(&house, true, &mut report).await?;
    let log = std::fs::read_to_string(house.folder().join("log"))?;
    let panicked = log.lines().find(|line| line.contains("panicked"));
    ensure!(panicked.is_none(), "somebody panicked: {panicked:?}");
    house.close().await?;
    world.stop().await;
    Ok(report)
}

/// Time passes as it does outside.
async fn pass(clock: &ToldClock, at: &mut i64, time: Duration) -> anyhow::Result<()> {
    let (begun, from) = (Instant::now(), *at);
    while begun.elapsed() < time {
        tokio::time::sleep(STEP).await;
        *at = from + i64::try_from(begun.elapsed().as_millis())?;
        clock.tell(*at)?;
    }
    Ok(())
}

/// Waits until everything is done that is due.
async fn nothing_left(house: &House, clock: &ToldClock, at: &mut i64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mdm = house.beside().await?;
    let due = loop {
        pass(clock, at, Duration::from_secs(1)).await?;
        let next = mdm.store().next_due().await?;
        // What becomes due at this very moment is taken in the next one.
        let now = Timestamp::from_millis(*at) - Duration::from_secs(5);
        let due = next.filter(|next| *next < now);
        if due.is_none() || begun.elapsed() > PATIENCE {
            break due;
        }
    };
    mdm.store().close().await?;
    ensure!(
        due.is_none(),
        "something was due at {due:?}, and is not done"
    );
    Ok(())
}
