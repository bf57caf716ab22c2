//! Holds when the clock is set back. A ceiling is a moment of the clock: when that goes back by two days in the middle of a
//! hold, the ceiling is two days further away, and the device would wait for it. So each process measures by itself what is left
//! of the holds that are on then. Lives in memory. Releases nothing; that is the watchdog's. Jobs that were put off by the clock of
//! a leap, to days ahead, are done at once when it is over; who has just begun makes sure first that the wrong clock is not its own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Mdm;
use crate::clock::Timestamp;
use crate::ids::{OrganisationId, SetUpId};
use crate::migration::{HIGHEST_CEILING, SetUp};
use crate::store::{Lease, StoreError};

/// By so much a clock may be set right without anybody's asking.
const LEEWAY: Duration = Duration::from_mins(1);

/// For so long a clock has to run evenly after a start, before anything is done for what it says about others' jobs: it may be put
/// right in a minute.
const CALM: Duration = Duration::from_mins(2);

/// Jobs that are made due with one statement.
const TOGETHER: u32 = 10_000;

/// Why the holds that are on have to be looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// This process has not looked yet.
    Start,
    /// The clock was set back after a round, of which this was the moment by the clock and by the process's own measure.
    Round(Timestamp, Instant),
}

/// Whether jobs are looked for that wait for longer than any may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waits {
    /// This process has not looked yet.
    #[default]
    Start,
    /// It saw the clock go back.
    SetBack,
    /// There are none.
    Ended,
}

/// What one process knows of the clock and of the ceilings that it measures by itself.
#[derive(Debug, Default)]
pub(super) struct SetBack(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    last: Option<(Timestamp, Instant)>,
    measured: HashMap<(OrganisationId, SetUpId), Measured>,
    /// Since when the clock runs as the process's own measure does.
    even: Option<(Timestamp, Instant)>,
    waits: Waits,
    /// Jobs could not be looked for: not before this is it tried again.
    again: Option<Instant>,
}

/// One such hold.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Its ceiling by the clock.
    ceiling: Timestamp,
    /// Its end by the process's own measure.
    end: Instant,
    /// Where the clock was behind already when the process began: it may be put right yet.
    behind: Option<Behind>,
}

/// How it was when the process began, with a clock that was behind.
#[derive(Clone, Copy, Debug)]
struct Behind {
    now: Timestamp,
    at: Instant,
    /// The whole time of the hold.
    whole: Duration,
}

impl Measured {
    /// The clock was behind when the process began, and has gone ahead since to where the ceiling is near: it says when.
    fn is_put_right(&self, now: Timestamp, at: Instant) -> bool {
        self.behind.is_some_and(|then| {
            now.since(then.now) > at.saturating_duration_since(then.at) + LEEWAY
                && self.ceiling.since(now) <= then.whole
        })
    }
}

impl SetBack {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the holds that are on have to be looked through now.
    pub(super) fn look(&self, now: Timestamp) -> Option<Since> {
        match self.inside().last {
            None => Some(Since::Start),
            Some((then, at)) if then.since(now) > LEEWAY => Some(Since::Round(then, at)),
            Some(_) => None,
        }
    }

    /// Measures what is left of these holds from now on.
    pub(super) fn measure(&self, holds: &[SetUp], since: Since, now: Timestamp, at: Instant) {
        let mut inside = self.inside();
        if matches!(since, Since::Round(..)) {
            (inside.waits, inside.again) = (Waits::SetBack, None);
        }
        for hold in holds {
            let Some(ceiling) = hold.ceiling_at else {
                continue;
            };
            let (left, from) = match since {
                // It begins later than now, or ends later than any hold may: this clock is behind. It may be put right in a minute, and
                // others may have the right one, so that nobody is let out for it; as long as its whole time from now on nobody waits
                // for it either.
                Since::Start if is_of_another_clock(hold, ceiling, now) => {
                    (whole(hold, ceiling), at)
                }
                Since::Start => continue,
                // Its ceiling is of the new clock.
                Since::Round(_, then_at) if began_within(hold, now, at, then_at) => continue,
                Since::Round(then, then_at) => (ceiling.since(then), then_at),
            };
            let Some(end) = from.checked_add(left) else {
                continue;
            };
            let key = (hold.organisation, hold.id);
            let known = inside.measured.get(&key);
            // Set back a second time: the first measure is still right.
            if known.is_none_or(|known| known.ceiling != ceiling) {
                let whole = left;
                let behind = matches!(since, Since::Start).then_some(Behind { now, at, whole });
                let measured = Measured {
                    ceiling,
                    end,
                    behind,
                };
                inside.measured.insert(key, measured);
            }
        }
    }

    /// A round was begun at this moment, and the holds were looked through where that was needed.
    pub(super) fn went(&self, now: Timestamp, at: Instant) {
        let mut inside = self.inside();
        let runs = |(then, since): &(Timestamp, Instant)| {
            let (passed, told) = (at.saturating_duration_since(*since), now.since(*then));
            told <= passed + LEEWAY && passed <= told + LEEWAY && then.since(now) <= LEEWAY
        };
        inside.even = inside.even.filter(runs).or(Some((now, at)));
        inside.last = Some((now, at));
    }

    /// Whether jobs have to be looked for now that wait for too long.
    fn waits(&self, at: Instant) -> Option<Waits> {
        let inside = self.inside();
        if inside.again.is_some_and(|again| at < again) {
            return None;
        }
        let even = inside.even.map_or(Duration::ZERO, |(_, since)| {
            at.saturating_duration_since(since)
        });
        match inside.waits {
            Waits::Ended => None,
            Waits::Start if even < CALM => None,
            waits => Some(waits),
        }
    }

    /// They were looked for at this moment, or could not be.
    fn looked_for(&self, found: &Result<bool, StoreError>, at: Instant) {
        let mut inside = self.inside();
        inside.again = match found {
            Ok(_) => None,
            Err(_) => at.checked_add(LEEWAY),
        };
        if matches!(found, Ok(true)) {
            inside.waits = Waits::Ended;
        }
    }

    /// The holds whose time is up, each with the ceiling that it had.
    pub(super) fn over(
        &self,
        now: Timestamp,
        at: Instant,
    ) -> Vec<(OrganisationId, SetUpId, Timestamp)> {
        let mut inside = self.inside();
        inside.measured.retain(|_, one| !one.is_put_right(now, at));
        let over = inside.measured.iter().filter(|(_, one)| one.end <= at);
        over.map(|((organisation, id), one)| (*organisation, *id, one.ceiling))
            .collect()
    }

    /// It is no longer on, or is another one.
    pub(super) fn forget(&self, organisation: OrganisationId, id: SetUpId) {
        self.inside().measured.remove(&(organisation, id));
    }
}

impl Mdm {
    /// No job waits for longer than its kind may, whatever the clock was when it was put off. Done too early, it finds that its time
    /// has not come, or does what may be done twice. Where that cannot be done, it is tried again later.
    pub(super) async fn end_long_waits(&self, now: Timestamp) {
        let (measure, at) = (&self.inner.set_back, Instant::now());
        let Some(waits) = measure.waits(at) else {
            return;
        };
        let ended = self.some_are_due(now, waits).await;
        if let Err(error) = &ended {
            tracing::error!(%error, "jobs that may wait for longer than any does cannot be looked for");
        }
        measure.looked_for(&ended, at);
    }

    /// Some of them, at once. Answers whether those were the last.
    async fn some_are_due(&self, now: Timestamp, waits: Waits) -> Result<bool, StoreError> {
        let store = &self.inner.store;
        // Where this clock is merely behind, nothing is waiting for too long by the database's, and nobody's lease has ended.
        let database = store.replication().await?.map(|copies| copies.clock);
        let now = database.map_or(now, |clock| clock.max(now));
        // Who has just begun and has no other clock to compare with knows less.
        let sure = database.is_some() || waits == Waits::SetBack;
        // Whoever is at one renews its lease to the usual end before that.
        let lease = Lease(now + self.inner.leases.length());
        let some = store.due_at_once(now, lease, TOGETHER, sure).await?;
        if some > 0 {
            tracing::warn!(%now, jobs = some, "jobs would have waited for longer than any does, as after a clock that was set back: they are due now");
        }
        Ok(some < u64::from(TOGETHER))
    }
}

/// Whether a hold has begun by a clock that was ahead of this one.
fn is_of_another_clock(hold: &SetUp, ceiling: Timestamp, now: Timestamp) -> bool {
    let began_later = hold.held_since().is_some_and(|since| since > now + LEEWAY);
    began_later || ceiling.since(now) > HIGHEST_CEILING
}

/// The whole time of a hold, as long as one may be at the most.
fn whole(hold: &SetUp, ceiling: Timestamp) -> Duration {
    hold.held_since()
        .map_or(HIGHEST_CEILING, |since| ceiling.since(since))
        .min(HIGHEST_CEILING)
}

/// Whether a hold began, by the clock of now, since the last round. An older one that falls in there by chance has its ceiling within
/// one hold from now by the clock as well: it waits for no days.
fn began_within(hold: &SetUp, now: Timestamp, at: Instant, last: Instant) -> bool {
    let ago = at.saturating_duration_since(last) + LEEWAY;
    hold.held_since()
        .is_some_and(|since| since <= now && now.since(since) <= ago)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn who_begins_looks_for_jobs_once_its_clock_has_run_evenly() {
        let (measure, begun) = (SetBack::default(), Instant::now());
        let now = Timestamp::from_millis(1_000_000_000);
        let went = |clock: Timestamp, passed: u32| {
            let at = begun + MINUTE * passed;
            measure.went(clock, at);
            measure.waits(at)
        };
        assert_eq!(measure.waits(begun), None);
        assert_eq!(went(now, 0), None);
        assert_eq!(went(now + MINUTE, 1), None);
        // It is put right: by what it says from now on.
        let right = now + Duration::from_hours(72);
        assert_eq!(went(right, 2), None);
        assert_eq!(went(right + MINUTE, 3), None);
        assert_eq!(went(right + MINUTE * 2, 4), Some(Waits::Start));
        let at = begun + MINUTE * 4;
        let failed = Err(StoreError::Unavailable("away".to_owned()));
        measure.looked_for(&failed, at);
        assert_eq!(measure.waits(at), None, "not at once again");
        assert_eq!(measure.waits(at + MINUTE), Some(Waits::Start));
        measure.looked_for(&Ok(false), at);
        assert_eq!(measure.waits(at), Some(Waits::Start), "there are more");
        measure.looked_for(&Ok(true), at);
        assert_eq!(measure.waits(at + MINUTE * 9), None);
        // Seen to go back: at once.
        let since = Since::Round(right + MINUTE * 2, at);
        measure.measure(&[], since, now, at + MINUTE);
        assert_eq!(measure.waits(at + MINUTE), Some(Waits::SetBack));
    }

    #[test]
    fn a_clock_that_goes_back_at_once_after_the_start_does_not_run_evenly() {
        let (measure, begun) = (SetBack::default(), Instant::now());
        let now = Timestamp::from_millis(1_000_000_000);
        measure.went(now, begun);
        measure.went(now - Duration::from_hours(72), begun + MINUTE / 2);
        assert_eq!(measure.waits(begun + MINUTE * 2), None);
        assert_eq!(measure.waits(begun + MINUTE * 3), Some(Waits::Start));
    }
}
