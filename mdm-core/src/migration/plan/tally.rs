//! How a wave stands, counted from its members; whether the next one may go, and whether this one is to be stopped.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::migration::{Move, MoveState, Outcome};
use crate::project::{Gate, StopRule};
use crate::wave::Resumed;

/// Where the members of a wave are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Tally {
    /// All of them, but those that were taken out.
    pub members: u32,
    /// Nothing of them is at Apple yet; those against which something stands among them.
    pub planned: u32,
    /// Of the planned ones, those against which something stands, or whose request failed.
    pub blocked: u32,
    /// Of the planned ones, those that go as they were accepted.
    pub ready: u32,
    /// Asked of Apple, not confirmed.
    pub submitting: u32,
    /// Confirmed, not offered.
    pub scheduled: u32,
    /// Offered, not begun.
    pub offered: u32,
    /// Not begun at their deadlines.
    pub overdue: u32,
    /// Begun: enrolling, in a hold, or released and not proved yet.
    pub moving: u32,
    /// Begun, and silent.
    pub stalled: u32,
    /// In a hold past the ceiling at which somebody is told.
    pub long_holds: u32,
    /// Everything is proved.
    pub migrated: u32,
    /// With us, and something is not as it should be.
    pub with_exceptions: u32,
    /// They failed.
    pub failed: u32,
    /// They never came.
    pub abandoned: u32,
    /// Called back, and proved to be back.
    pub cancelled: u32,
    /// Taken out before anything was asked.
    pub withdrawn: u32,
    /// How many end at which deadline, of those that have not ended.
    #[serde(skip)]
    pub deadlines: BTreeMap<Timestamp, u32>,
}

impl Tally {
    /// Adds a member.
    pub fn add(&mut self, attempt: &Move) {
        let place = match &attempt.state {
            MoveState::Planned => &mut self.planned,
            MoveState::Ready => {
                self.ready += 1;
                &mut self.planned
            }
            // Its request is at Apple as far as anybody knows.
            MoveState::Submitting { .. } | MoveState::SubmitFailed { may_come: true, .. } => {
                &mut self.submitting
            }
            MoveState::Blocked { .. } | MoveState::SubmitFailed { .. } => {
                self.blocked += 1;
                &mut self.planned
            }
            MoveState::Scheduled { .. } | MoveState::Cancelling { .. } => &mut self.scheduled,
            MoveState::Offered { .. } => &mut self.offered,
            MoveState::Overdue { .. } => &mut self.overdue,
            MoveState::Started { .. } | MoveState::Moving { .. } | MoveState::Settling { .. } => {
                &mut self.moving
            }
            MoveState::Stalled { .. } => &mut self.stalled,
            MoveState::Ended(outcome) => match outcome {
                Outcome::Migrated => &mut self.migrated,
                Outcome::MigratedWithExceptions => &mut self.with_exceptions,
                Outcome::Failed => &mut self.failed,
                Outcome::Abandoned => &mut self.abandoned,
                Outcome::Cancelled => &mut self.cancelled,
                Outcome::Withdrawn => &mut self.withdrawn,
            },
        };
        *place += 1;
        if attempt.ended.is_none() {
            *self.deadlines.entry(attempt.deadline).or_default() += 1;
        }
        let out = MoveState::Ended(Outcome::Withdrawn);
        let back = MoveState::Ended(Outcome::Cancelled);
        if attempt.state != out && attempt.state != back {
            self.members += 1;
        }
    }

    /// Those that have come to an end of whatever kind, but for those that were taken out or called back.
    #[must_use]
    pub const fn ended(&self) -> u32 {
        self.migrated + self.with_exceptions + self.failed + self.abandoned
    }

    /// Whether nobody is on the way any more, and nobody is left to be submitted.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.ended() == self.members
    }

    /// What keeps the next wave from being submitted, besides a signature.
    #[must_use]
    pub fn against(&self, gate: &Gate) -> Vec<String> {
        let mut found = Vec::new();
        let settled = self.migrated + self.with_exceptions;
        if self.members == 0 || share(settled, self.members) < u32::from(gate.settled_percent) {
            found.push(format!(
                "{settled} of {} devices have migrated; {} of a hundred are wanted",
                self.members, gate.settled_percent
            ));
        }
        let bad = self.failed + self.with_exceptions;
        // Any one is more than none of a hundred.
        if bad * 100 > u32::from(gate.most_failed_percent) * self.members {
            found.push(format!(
                "{bad} of {} devices failed or have exceptions; at most {} of a hundred may",
                self.members, gate.most_failed_percent
            ));
        }
        if self.long_holds > 0 {
            found.push(held_for_long(self.long_holds));
        }
        found
    }

    /// Why no more devices are to be offered their migration.
    #[must_use]
    pub fn stops(&self, rule: &StopRule, resumed: Option<&Resumed>) -> Option<String> {
        // What somebody knew who had the offers go on does not stop them again.
        let (known, over, long) = resumed.map_or((0, 0, 0), |r| (r.bad, r.ended, r.long_holds));
        let bad = (self.failed + self.with_exceptions).saturating_sub(known);
        let ended = self.ended().saturating_sub(over).max(1);
        let long_holds = self.long_holds.saturating_sub(long);
        if rule.failed > 0
            && bad >= rule.failed
            && share(bad, ended) >= u32::from(rule.failed_percent)
        {
            return Some(format!(
                "{bad} of {ended} devices that have ended failed or have exceptions"
            ));
        }
        if rule.long_holds > 0 && long_holds >= rule.long_holds {
            return Some(held_for_long(long_holds));
        }
        None
    }
}

fn held_for_long(count: u32) -> String {
    let are = agree(count, "is", "are");
    format!("{} {are} held for long", counted(count, "device"))
}

/// So many of a hundred, rounded down.
fn share(part: u32, of: u32) -> u32 {
    part.saturating_mul(100).checked_div(of).unwrap_or(0)
}

/// How many had come to an end at which moment, and how many will have, if the rest ends by its deadlines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Progress {
    /// By days: the moment at which the day is over, and how many had ended by then.
    pub ended: Vec<(Timestamp, u32)>,
    /// The same for those that have not: by their deadlines, which is the latest that they are expected.
    pub expected: Vec<(Timestamp, u32)>,
    /// How many are in neither: something stands against them, or their requests failed, and they go nowhere before that is mended.
    pub not_expected: u32,
}

const DAY_MILLIS: i64 = 86_400_000;

impl Progress {
    /// Of these members, at a moment.
    #[must_use]
    pub fn of<'a>(members: impl Iterator<Item = &'a Move>, now: Timestamp) -> Self {
        let mut count = ProgressCount::default();
        for attempt in members {
            count.add(attempt, now);
        }
        count.finish()
    }
}

/// [`Progress`] in the making, member by member.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgressCount {
    ended: BTreeMap<Timestamp, u32>,
    open: BTreeMap<Timestamp, u32>,
    stuck: u32,
}

impl ProgressCount {
    pub(crate) fn add(&mut self, attempt: &Move, now: Timestamp) {
        let end_of_day = |at: Timestamp| {
            let days = at.as_millis().div_euclid(DAY_MILLIS) + 1;
            Timestamp::from_millis(days * DAY_MILLIS)
        };
        let gone = matches!(
            attempt.state,
            MoveState::Ended(Outcome::Withdrawn | Outcome::Cancelled)
        );
        let stuck = matches!(
            attempt.state,
            MoveState::Blocked { .. } | MoveState::SubmitFailed { .. }
        );
        self.stuck += u32::from(stuck);
        let place = match attempt.ended {
            _ if gone || stuck => return,
            Some(at) => self.ended.entry(end_of_day(at)),
            None => self.open.entry(end_of_day(attempt.deadline.max(now))),
        };
        *place.or_default() += 1;
    }

    pub(crate) fn finish(self) -> Progress {
        let mut sum = 0;
        let mut running = |days: BTreeMap<Timestamp, u32>| -> Vec<(Timestamp, u32)> {
            days.into_iter()
                .map(|(at, count)| {
                    sum += count;
                    (at, sum)
                })
                .collect()
        };
        Progress {
            ended: running(self.ended),
            expected: running(self.open),
            not_expected: self.stuck,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, MoveId, OrganisationId, RunbookId, Serial, WaveId};

    const NOW: Timestamp = Timestamp::from_millis(1_796_112_000_000);

    fn member(n: i64, state: MoveState) -> Move {
        let mut attempt = Move::plan(
            OrganisationId(1),
            MoveId(n),
            WaveId(1),
            DeviceId(n),
            Serial::parse(&format!("S{n}")).unwrap(),
            RunbookId(1),
            NOW + std::time::Duration::from_hours(48),
            NOW,
            None,
            NOW,
        );
        if matches!(state, MoveState::Ended(_)) {
            attempt.ended = Some(NOW);
        }
        attempt.state = state;
        attempt
    }

    fn tally(outcomes: &[(Outcome, u32)], planned: u32) -> Tally {
        let mut tally = Tally::default();
        let mut n = 0;
        for (outcome, count) in outcomes {
            for _ in 0..*count {
                n += 1;
                tally.add(&member(n, MoveState::Ended(*outcome)));
            }
        }
        for _ in 0..planned {
            n += 1;
            tally.add(&member(n, MoveState::Planned));
        }
        tally
    }

    #[test]
    fn what_is_late_at_apple_counts_as_on_its_way_there() {
        let mut tally = Tally::default();
        for (n, may_come) in [(1, true), (2, false)] {
            let (since, why) = (NOW, "Apple does not show it".to_owned());
            let failed = MoveState::SubmitFailed {
                since,
                why,
                may_come,
            };
            tally.add(&member(n, failed));
        }
        let counts = (tally.submitting, tally.planned, tally.blocked);
        assert_eq!(counts, (1, 1, 1));
    }

    #[test]
    fn a_gate_opens_on_evidence_and_whoever_was_taken_out_counts_for_nothing() {
        let gate = Gate::default();
        let good = tally(&[(Outcome::Migrated, 45), (Outcome::Withdrawn, 30)], 5);
        assert_eq!(good.members, 50);
        assert!(good.against(&gate).is_empty());
        let few = tally(&[(Outcome::Migrated, 44)], 6);
        assert!(few.against(&gate)[0].contains("44 of 50"));
        let bad = tally(
            &[
                (Outcome::Migrated, 48),
                (Outcome::MigratedWithExceptions, 2),
            ],
            0,
        );
        assert!(bad.against(&gate)[0].contains("2 of 50"));
        let one = tally(&[(Outcome::Migrated, 49), (Outcome::Failed, 1)], 0);
        assert!(one.against(&gate).is_empty());
        assert!(one.is_over());
        assert!(
            !Tally::default().against(&gate).is_empty(),
            "nobody is no evidence"
        );
    }

    #[test]
    fn a_wave_stops_when_too_many_fail_and_not_for_one_alone() {
        let rule = StopRule::default();
        assert!(
            tally(&[(Outcome::Failed, 2)], 50)
                .stops(&rule, None)
                .is_none()
        );
        assert!(
            tally(&[(Outcome::Failed, 3), (Outcome::Migrated, 97)], 0)
                .stops(&rule, None)
                .is_none()
        );
        assert!(
            tally(&[(Outcome::Failed, 3), (Outcome::Migrated, 40)], 0)
                .stops(&rule, None)
                .is_some()
        );
        let mut held = tally(&[], 50);
        held.long_holds = 10;
        assert!(held.stops(&rule, None).is_some());
        // What somebody knew who had it go on does not stop it again; as many more do.
        let known = Resumed::new("Anna", Timestamp::from_millis(1), (3, 43, 10), None);
        held.failed = 3;
        held.migrated = 40;
        assert!(held.stops(&rule, Some(&known)).is_none());
        held.failed = 6;
        assert!(held.stops(&rule, Some(&known)).is_some());
    }

    #[test]
    fn who_has_ended_and_who_is_expected_add_up() {
        let all = [
            member(1, MoveState::Ended(Outcome::Migrated)),
            member(2, MoveState::Ended(Outcome::Cancelled)),
            member(3, MoveState::Planned),
            member(
                4,
                MoveState::Blocked {
                    blockers: vec!["os.minimum: too old".to_owned()],
                },
            ),
            member(
                5,
                MoveState::SubmitFailed {
                    since: NOW,
                    why: "refused".to_owned(),
                    may_come: false,
                },
            ),
        ];
        let progress = Progress::of(all.iter(), NOW);
        assert_eq!(progress.ended.iter().map(|p| p.1).collect::<Vec<_>>(), [1]);
        assert_eq!(
            progress.expected.iter().map(|p| p.1).collect::<Vec<_>>(),
            [2]
        );
        assert_eq!(progress.not_expected, 2, "they do not go as they are");
    }
}
