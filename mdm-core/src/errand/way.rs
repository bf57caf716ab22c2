//! The way of a request from the decision to the proof: what comes next, and what each answer of Apple makes of it.

use std::time::Duration;

use super::{Errand, ErrandMember, ErrandState, LAG, LONGEST_WAIT, MOST_DEVICES, Sending};
use crate::clock::Timestamp;
use crate::organisation::Der;

/// How long after it was decided, or last joined, devices may join an errand.
const JOINING: Duration = Duration::from_secs(60);
/// The shortest time between the end of Apple's work and a reading that counts against it.
const SETTLE: Duration = Duration::from_secs(30);
/// By then most effects have shown: a second reading, and a third after as long again.
const SETTLED: Duration = Duration::from_secs(180);
/// A result file that could not be had by then is no longer waited for.
const NO_FILE: Duration = Duration::from_secs(1800);
/// Before a sending no reading counts that is older.
const STALE: Duration = Duration::from_secs(3600);
/// A request that Apple works on is looked at this often at most.
const LOOK: [u64; 5] = [15, 30, 60, 120, 300];
/// Between writing down that a request is asked and asking passes no longer than this: the commit, and the requests of this
/// organisation that have their turn before it.
pub(crate) const FENCE: Duration = Duration::from_secs(30);
/// For so long a request is asked, with the token that it may need and a second try where that is refused; then it is given up,
/// and what came of it is unknown. As long as the client waits for one answer.
pub(crate) const ASKING: Duration = Duration::from_secs(60);
/// By so much the clocks of processes may differ, and more.
const APART: Duration = Duration::from_secs(10);
/// A request of which nobody has noted what came of it is under way no longer than so, whether whoever asked has died or only cannot
/// write it down. Not less: that the job's lease is another's proves no death, for a job that was put anew is claimed beside a run
/// that goes on.
const UNDER_WAY: Duration =
    Duration::from_secs(FENCE.as_secs() + ASKING.as_secs() + APART.as_secs());
/// Apple's work that has not ended by then is no longer waited for: the devices themselves tell.
const GIVEN_UP: Duration = Duration::from_secs(4 * 3600);

/// What comes next for an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the steps, each done by the service"
)]
pub enum Next {
    /// Read the devices not older than this, then go on.
    Read {
        /// Nothing older counts.
        not_before: Timestamp,
    },
    /// Look at the activity or event.
    Look,
    /// Come again then.
    Wait {
        /// When.
        until: Timestamp,
    },
    /// It is over.
    Nothing,
}

/// Which readings count for what happened at `at`: those since the last of a few moments, so that an effect that comes late is
/// seen without reading the devices each minute. What is to be sent again, or called missing, when the effect can be late no
/// more is judged by a reading from then on: one from within that time says nothing of an effect that came after it.
fn since_last_moment(at: Timestamp, now: Timestamp) -> Timestamp {
    let moments = [LAG, 2 * SETTLED, SETTLED];
    let last = moments.into_iter().find(|after| now >= at + *after);
    at + last.unwrap_or(SETTLE)
}

impl Errand {
    /// Until when a request for it may be under way: it was written down that it is asked, and not what came of that. `None`
    /// when that is known, or was so long ago that whoever asked is gone.
    #[must_use]
    pub fn under_way_until(&self, now: Timestamp) -> Option<Timestamp> {
        let ErrandState::Asked { at } = &self.state else {
            return None;
        };
        let open = self.sendings.last().is_some_and(|s| s.outcome.is_none());
        let until = *at + UNDER_WAY;
        (open && now < until).then_some(until)
    }

    /// What comes next at `now`. An errand is never sent but after a reading that is younger than everything that was
    /// sent before, so that `Read` comes before every sending.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Next {
        if self.is_ended() {
            return Next::Nothing;
        }
        if !self.is_due(now) {
            return Next::Wait { until: self.due };
        }
        match &self.state {
            ErrandState::Waiting => Next::Read {
                not_before: self
                    .sendings
                    .last()
                    .map_or(self.created, |s| s.at.max(self.created))
                    .max(now - STALE),
            },
            ErrandState::Asked { at } if now < *at + SETTLE => Next::Wait {
                until: *at + SETTLE,
            },
            ErrandState::Asked { at } => Next::Read {
                not_before: since_last_moment(*at, now),
            },
            ErrandState::Posted { .. } => Next::Look,
            ErrandState::Proving { since } if now < *since + SETTLE => Next::Wait {
                until: *since + SETTLE,
            },
            ErrandState::Proving { since } => Next::Read {
                not_before: since_last_moment(*since, now),
            },
            ErrandState::Done | ErrandState::Refused { .. } => Next::Nothing,
        }
    }

    /// It is about to be sent for `devices` of its devices: written before the request leaves.
    pub fn asked(&mut self, devices: usize, now: Timestamp) {
        self.state = ErrandState::Asked { at: now };
        self.sendings.push(Sending {
            at: now,
            devices,
            activity: None,
            outcome: None,
        });
    }

    /// Apple took it.
    pub fn posted(&mut self, activity: &str, now: Timestamp) {
        if let Some(sending) = self.sendings.last_mut() {
            sending.activity = Some(activity.to_owned());
        }
        self.state = ErrandState::Posted {
            at: now,
            activity: activity.to_owned(),
            looks: 0,
        };
        self.tries = 0;
        self.needs_person = None;
        self.due = now + Duration::from_secs(LOOK[0]);
    }

    /// Apple certainly did nothing, and may take it later: it was not a sending.
    pub fn put_off(&mut self, why: &str, wait: Duration, now: Timestamp) {
        self.sendings.pop();
        self.status = Some(why.to_owned());
        self.state = ErrandState::Waiting;
        self.tries += 1;
        self.due = now + wait.min(LONGEST_WAIT);
    }

    /// Still not as wanted, and Apple may need more time.
    pub fn wait(&mut self, wait: Duration, now: Timestamp) {
        self.tries += 1;
        self.due = now + wait.min(LONGEST_WAIT);
    }

    /// Nobody knows whether Apple took it.
    pub fn unknown(&mut self, why: &str, now: Timestamp) {
        if let Some(sending) = self.sendings.last_mut() {
            sending.outcome = Some(why.to_owned());
        }
        self.tries += 1;
        self.due = now + SETTLE;
    }

    /// It was taken from a backup: nobody knows what was sent since that was made, so it counts as sent just now, and a
    /// reading younger than this moment comes before anything else.
    pub fn restored(&mut self, now: Timestamp) {
        match &mut self.state {
            ErrandState::Waiting | ErrandState::Asked { .. } => {
                self.asked(0, now);
                self.unknown(
                    "the database was put back, or a replica took over: what was sent since is unknown",
                    now,
                );
            }
            ErrandState::Proving { since } => *since = now,
            ErrandState::Posted { .. } | ErrandState::Done | ErrandState::Refused { .. } => {}
        }
    }

    /// Apple's work never came to an end: after a reading it may be sent again.
    pub fn given_up(&mut self, status: &str, now: Timestamp) {
        self.status = Some(status.to_owned());
        self.state = ErrandState::Waiting;
        // What was read while Apple was at work says nothing of its end.
        self.created = self.created.max(now);
        self.due = now;
    }

    /// Apple still works on it.
    pub fn looked(&mut self, status: &str, now: Timestamp) {
        self.status = Some(status.to_owned());
        let ErrandState::Posted { at, looks, .. } = &mut self.state else {
            return;
        };
        *looks += 1;
        let wait = LOOK[usize::try_from(*looks)
            .unwrap_or(usize::MAX)
            .min(LOOK.len() - 1)];
        if now >= *at + GIVEN_UP {
            self.state = ErrandState::Proving { since: now };
        }
        self.due = now + Duration::from_secs(wait);
    }

    /// It could not be asked how Apple's work goes: as if Apple still worked on it, so that this too has an end.
    pub fn unseen(&mut self, why: &str, now: Timestamp) {
        self.tries += 1;
        self.looked(why, now);
    }

    /// Apple has finished with it, and its result file cannot be had: it is waited for a while, then done without.
    pub fn finished_unread(&mut self, status: &str, why: &str, now: Timestamp) {
        let ErrandState::Posted { at, .. } = self.state else {
            return;
        };
        let status = format!("{status}; the result file cannot be had: {why}");
        if now >= at + NO_FILE {
            self.finished(&status, None, now);
        } else {
            self.looked(&status, now);
        }
    }

    /// Whether devices may still join it: not for long after it was decided, as each that joins has all of them read anew.
    #[must_use]
    pub fn is_open_to(&self, now: Timestamp) -> bool {
        self.state == ErrandState::Waiting
            && self.sendings.is_empty()
            && now < self.created + JOINING
    }

    /// Devices join it before it is sent, as far as there is room; those that are in it already, or joined, leave `members`.
    pub fn join(&mut self, members: &mut Vec<ErrandMember>, now: Timestamp) {
        members.retain(|m| !self.members.iter().any(|there| there.device == m.device));
        let room = MOST_DEVICES
            .saturating_sub(self.members.len())
            .min(members.len());
        if room > 0 {
            self.members.extend(members.drain(..room));
            self.created = self.created.max(now);
        }
    }

    /// Apple has finished with it: what it says of single devices is kept, and the devices are read.
    pub fn finished(&mut self, status: &str, result: Option<Vec<u8>>, now: Timestamp) {
        self.status = Some(status.to_owned());
        if let Some(result) = result {
            self.result = Some(Der(result));
        }
        self.state = ErrandState::Proving { since: now };
        self.tries = 0;
        self.due = now + SETTLE;
    }

    /// The time from which on a device that disagrees is no longer explained by Apple's lag; `None` unless it was sent.
    #[must_use]
    pub fn no_lag_after(&self) -> Option<Timestamp> {
        match &self.state {
            ErrandState::Asked { at } | ErrandState::Posted { at, .. } => Some(*at + LAG),
            ErrandState::Proving { since } => Some(*since + LAG),
            ErrandState::Waiting | ErrandState::Done | ErrandState::Refused { .. } => None,
        }
    }

    /// Every device was read.
    pub fn done(&mut self, now: Timestamp) {
        self.state = ErrandState::Done;
        self.ended = Some(now);
        self.needs_person = None;
    }

    /// Apple refused it, or nobody wants it any more.
    pub fn refused(&mut self, why: &str, now: Timestamp) {
        if let Some(sending) = self.sendings.last_mut()
            && sending.activity.is_none()
        {
            sending.outcome = Some(why.to_owned());
        }
        self.state = ErrandState::Refused {
            why: why.to_owned(),
        };
        self.ended = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errand::ErrandKind;
    use crate::ids::{DeviceId, ErrandId, MoveId, OrganisationId, Serial};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn errand(kind: ErrandKind) -> Errand {
        let member = |n: i64| ErrandMember {
            device: DeviceId(n),
            serial: Serial::parse(&format!("SERIAL{n}")).unwrap(),
            attempt: Some(MoveId(n)),
        };
        Errand::new(
            OrganisationId(1),
            ErrandId(1),
            kind,
            vec![member(1), member(2)],
            "a person",
            at(100),
        )
    }

    #[test]
    fn nothing_is_sent_but_after_a_reading_that_is_younger_than_the_last_sending() {
        let mut it = errand(ErrandKind::Cancel);
        assert_eq!(
            it.next(at(100)),
            Next::Read {
                not_before: at(100)
            }
        );
        it.asked(2, at(110));
        assert_eq!(it.next(at(110)), Next::Wait { until: at(140) });
        let end = at(110) + UNDER_WAY;
        assert_eq!(it.under_way_until(at(110)), Some(end));
        assert_eq!(it.under_way_until(end), None);
        it.unknown("the connection broke", at(111));
        assert_eq!(it.under_way_until(at(111)), None);
        assert_eq!(it.next(at(120)), Next::Wait { until: at(141) });
        assert_eq!(
            it.next(at(141)),
            Next::Read {
                not_before: at(140)
            }
        );
        // An effect that came late is seen before anything is sent again or called missing.
        let late = at(110) + LAG;
        assert_eq!(it.next(late), Next::Read { not_before: late });
        it.put_off("429", Duration::from_secs(60), at(200));
        // Apple refused it, so nothing was sent.
        assert_eq!(
            it.next(at(260)),
            Next::Read {
                not_before: at(100)
            }
        );
        assert_eq!(
            it.next(at(9000)),
            Next::Read {
                not_before: at(5400)
            }
        );
    }

    #[test]
    fn what_was_put_off_by_a_clock_that_was_days_ahead_is_due() {
        let mut it = errand(ErrandKind::Cancel);
        it.due = at(100 + 3_600);
        assert_eq!(it.next(at(100)), Next::Wait { until: it.due });
        it.due = at(100 + 3 * 86_400);
        assert!(matches!(it.next(at(100)), Next::Read { .. }));
    }

    #[test]
    fn what_was_given_up_is_read_again_before_it_is_sent_again() {
        let mut it = errand(ErrandKind::Cancel);
        it.asked(2, at(110));
        it.posted("EVENT", at(110));
        it.given_up("PENDING", at(800));
        let read = Next::Read {
            not_before: at(800),
        };
        assert_eq!(it.next(at(800)), read);
    }

    #[test]
    fn what_apple_took_is_looked_at_less_and_less_often_and_not_for_ever() {
        let mut it = errand(ErrandKind::Cancel);
        it.asked(2, at(0));
        it.posted("ACTIVITY", at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        while matches!(it.state, ErrandState::Posted { .. }) {
            let Next::Wait { until } = it.next(now) else {
                panic!("{:?}", it.next(now));
            };
            waits.push(until.since(now).as_secs());
            now = until;
            assert_eq!(it.next(now), Next::Look);
            it.looked("IN_PROGRESS", now);
        }
        assert_eq!(waits[..5], [15, 30, 60, 120, 300]);
        assert!(now.since(at(0)) < Duration::from_secs(5 * 3600));
        assert!(matches!(it.next(now + LAG), Next::Read { .. }));
    }

    #[test]
    fn an_ended_one_asks_for_nothing() {
        let mut it = errand(ErrandKind::Cancel);
        it.refused("no such service", at(5));
        assert_eq!(it.next(at(1_000_000)), Next::Nothing);
        assert_eq!(it.ended, Some(at(5)));
    }

    #[test]
    fn who_joins_is_read_after_joining() {
        let mut it = errand(ErrandKind::Cancel);
        let third = ErrandMember {
            device: DeviceId(3),
            serial: Serial::parse("SERIAL3").unwrap(),
            attempt: Some(MoveId(3)),
        };
        let mut joining = vec![it.members[0].clone(), third];
        it.join(&mut joining, at(170));
        assert_eq!((joining.len(), it.members.len()), (0, 3));
        // A reading from before says nothing about why it joined.
        let read = Next::Read {
            not_before: at(170),
        };
        assert_eq!(it.next(at(200)), read);
        // One that is in it already changes nothing.
        it.join(&mut vec![it.members[0].clone()], at(300));
        assert_eq!((it.next(at(310)), it.members.len()), (read, 3));
    }

    #[test]
    fn a_result_file_that_cannot_be_had_is_done_without() {
        let mut it = errand(ErrandKind::Cancel);
        it.asked(2, at(110));
        it.posted("A1", at(111));
        it.finished_unread("COMPLETED", "410", at(130));
        assert!(matches!(it.state, ErrandState::Posted { looks: 1, .. }));
        it.finished_unread("COMPLETED", "410", at(111) + NO_FILE);
        assert!(matches!(it.state, ErrandState::Proving { .. }));
        assert!(it.status.unwrap().contains("410"));
    }
}
