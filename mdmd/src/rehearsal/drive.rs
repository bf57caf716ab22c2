//! Accelerated time: whatever is due now is done, by the world and by the server in turn, until neither has anything left;
//! then the clock jumps to the next thing. Nothing sleeps, so one seed tells one story.

use std::collections::BTreeMap;

use fixtures::faults::FaultKind;
use fixtures::world::World;
use mdm_core::clock::Timestamp;
use mdm_core::ids::WaveId;
use mdm_core::migration::{Attention, Move, MoveState, Outcome, VisibleState, visible_state};
use mdm_core::service::{GivenUp, Mdm, Org};

use super::progress::Progress;
use super::project::Course;

/// After so long the rehearsal ends, whatever has not ended by then.
const HORIZON_MS: i64 = 45 * 86_400_000;

/// A device that is awake and still held after so long is stuck: the ceiling of every hold is hours before, and a release
/// is asked for again every half hour.
const STUCK_MS: i64 = 12 * 3_600_000;

/// After so long in which everybody left was kept back before the migration nothing more is waited for: the server looks once a day.
const STILL_MS: i64 = 2 * 86_400_000;

/// How often the states are counted, in simulated time; in a project, whose people do not look every hour, more seldom.
const LOOK_MS: i64 = 3_600_000;
const PROJECT_LOOK_MS: i64 = 3 * LOOK_MS;

/// While no device is in a hold, or on its way into one, the server's own work is done together, at most so late.
const CALM_MS: i64 = 1_800_000;

/// Things done in one round of the worker.
const ROUND: u32 = 500;

/// Says that enough was played.
pub(super) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Plays to the end.
pub(super) const NEVER: Stop<'static> = &|| false;

/// Runs until every attempt and every set-up has ended, until what has not is stuck in its hold, until the horizon is
/// reached, or until `stop` says so.
pub(super) async fn drive(
    world: &World,
    mdm: &Mdm,
    org: &Org,
    waves: &[WaveId],
    mut course: Option<&mut Course>,
    progress: &mut Progress,
    stop: Stop<'_>,
) -> anyhow::Result<()> {
    let start = world.clock().now_ms();
    let mut next_look = start;
    let (mut held, mut still) = (BTreeMap::new(), None);
    let (horizon, every) = match course {
        Some(_) => (HORIZON_MS * 4, PROJECT_LOOK_MS),
        None => (HORIZON_MS, LOOK_MS),
    };
    loop {
        let mut server = settle(world, mdm, stop).await?;
        if stop() {
            return Ok(());
        }
        let now = world.clock().now_ms();
        if now >= next_look {
            next_look = now + every;
            let mut attempts = members(org, waves).await?;
            let mut acted = answer_what_is_asked(world, org, &attempts).await?;
            if let Some(course) = &mut course {
                acted |= course.go_on(world, org).await?;
            }
            if acted {
                server = settle(world, mdm, stop).await?;
                attempts = members(org, waves).await?;
            }
            note_held(world, &mut held, now).await;
            let (states, over) = look(org, &attempts, &|serial| {
                held.get(serial)
                    .is_some_and(|since| now - since >= STUCK_MS)
            })
            .await?;
            progress.show(now - start, &states);
            let under_way = course.as_ref().is_none_or(|course| course.is_under_way());
            // Who is kept back before the migration stays so: nobody but the operator of a project does anything about it.
            let open = attempts.iter().filter(|attempt| !attempt.is_ended());
            let kept_back = states.get(&VisibleState::Blocked).copied();
            let nothing_moves = course.is_none() && kept_back == Some(open.count());
            still = nothing_moves.then(|| still.unwrap_or(now));
            let given_up = still.is_some_and(|since| now - since >= STILL_MS);
            if (over || given_up) && under_way {
                return Ok(());
            }
        }
        let server = server.map(Timestamp::as_millis);
        let due = [world.next_due(), server];
        anyhow::ensure!(
            due.into_iter().flatten().all(|due| due > now),
            "something is due and is not done: simulated time stands still"
        );
        // A project's own months only: elsewhere each thing is done at its moment.
        let calm = match course.is_some() && !world.is_pressing() {
            true => CALM_MS,
            false => 0,
        };
        let server = server.map(|due| due.max(now + calm));
        let Some(next) = [world.next_due(), server].into_iter().flatten().min() else {
            return Ok(());
        };
        if next - start > horizon {
            return Ok(());
        }
        world.clock().advance_to(next);
    }
}

/// Does everything that is due at this moment, and answers when the server has something to do next.
pub(super) async fn settle(
    world: &World,
    mdm: &Mdm,
    stop: Stop<'_>,
) -> anyhow::Result<Option<Timestamp>> {
    // A bound, so that two sides which keep each other busy without time passing are found.
    for _ in 0..10_000 {
        let mut done = world.run_due().await;
        let next = loop {
            // One question; a round that has nothing to do asks many.
            let next = mdm.next_due().await?;
            if next.is_none_or(|due| due > mdm.now()) {
                break next;
            }
            let worked = mdm.work(ROUND).await? + mdm.watch(ROUND).await?;
            // A store that is down leaves due what is due.
            if worked == 0 || stop() {
                break next;
            }
            done += worked;
        };
        done += world.deliver_pushes();
        if done == 0 || stop() {
            return Ok(next);
        }
    }
    anyhow::bail!("server and world keep each other busy without time passing")
}

/// The person of a rehearsal. Of a device that left and was silent for days a person is asked; this one knows which are lost
/// for good and gives them up, so that the attempt ends with an exception. Its set-up stays and guards the hold, should it come back.
async fn answer_what_is_asked(world: &World, org: &Org, attempts: &[Move]) -> anyhow::Result<bool> {
    let mut acted = false;
    for attempt in attempts {
        let silent = attempt.attention == Some(Attention::SilentForDays);
        let lost = world
            .planned_faults()
            .find(attempt.serial.as_str(), FaultKind::NeverBack)
            .is_some();
        if silent && lost && !attempt.is_ended() {
            let asked = org.give_up(&attempt.serial, "it never comes back").await?;
            anyhow::ensure!(
                matches!(asked, GivenUp::Done(_)),
                "giving up {} takes another person",
                attempt.serial
            );
            acted = true;
        }
    }
    Ok(acted)
}

/// Since when each device that is held is held and awake without a break. One that is off is waited for.
async fn note_held(world: &World, held: &mut BTreeMap<String, i64>, now: i64) {
    let awake = world.held_and_awake().await;
    held.retain(|serial, _| awake.contains(serial));
    for serial in awake {
        held.entry(serial).or_insert(now);
    }
}

/// The members of these waves.
async fn members(org: &Org, waves: &[WaveId]) -> anyhow::Result<Vec<Move>> {
    let mut all = Vec::new();
    for wave in waves {
        all.extend(org.members(*wave).await?);
    }
    Ok(all)
}

/// How many devices are in which state, and whether it is over: everything has ended, or what has not is stuck.
async fn look(
    org: &Org,
    attempts: &[Move],
    stuck: &(dyn Fn(&str) -> bool + Sync),
) -> anyhow::Result<(BTreeMap<VisibleState, usize>, bool)> {
    let mut states = BTreeMap::new();
    for attempt in attempts {
        let set_up = match &attempt.state {
            MoveState::Moving { set_up, .. } => org.set_up(*set_up).await?,
            _ => None,
        };
        if let Some(state) = visible_state(Some(attempt), set_up.as_ref()) {
            *states.entry(state).or_default() += 1;
        }
    }
    let waits = |attempt: &&Move| !stuck(attempt.serial.as_str());
    if !attempts.iter().filter(waits).all(Move::is_ended) {
        return Ok((states, false));
    }
    for attempt in attempts.iter().filter(waits) {
        if attempt.state == MoveState::Ended(Outcome::Failed) {
            continue;
        }
        // An attempt may end before the proof of its set-up does.
        let report = org.device_report(&attempt.serial).await?;
        if report.set_up.is_some_and(|s| !s.is_ended()) {
            return Ok((states, false));
        }
    }
    Ok((states, true))
}
