//! How a Move moves: Apple's words, the plan's people and the set-up's phases, each with its time-out. Never believes that
//! a request had its effect before it has been read back, and never writes a set-up.

mod device;
mod given_up;
mod time;

use std::time::Duration;

use super::{
    Attention, Effect, EffectKey, Event, Exception, Move, MoveState, Notice, Outcome, Owner,
    Transition,
};
use crate::clock::Timestamp;
use crate::device::{MigrationStatus, OrgReading};

/// Where only people act, it is looked at once a day.
pub(super) const LOOK_DAILY: Duration = Duration::from_hours(24);
const DAY: Duration = LOOK_DAILY;
/// What was submitted should be readable within this.
const CONFIRM: Duration = Duration::from_mins(30);
/// A request that has not left by then is a failure.
const UNSENT: Duration = Duration::from_hours(48);
/// The last reading before something counts as failed gets this long.
const LAST_READING: Duration = Duration::from_mins(5);
/// Visible, in force, cancelled: each within this.
const HOUR: Duration = Duration::from_hours(1);
/// Past the deadline by this, and nothing seen.
const GRACE: Duration = Duration::from_hours(2);
/// A device that began should enrol within this.
const ENROL: Duration = Duration::from_hours(2);
/// A silent device becomes a question for a person after this.
const ASK_PERSON: Duration = Duration::from_hours(7 * 24);
/// Overdue: reminders on these days, and a question on the last.
const REMIND_ON: [u64; 3] = [1, 3, 7];
const ASK_ON: u64 = 14;
/// A device is proved, and Apple says SUCCESS, within this after its release.
const SETTLE: Duration = Duration::from_hours(24);

/// What the exception about Apple's missing word is called.
const APPLE: &str = "apple";

/// What the exception is called about a migration that Apple calls failed and that nobody saw begin.
pub(crate) const NOT_BEGUN: &str = "apple: not begun";

struct Run {
    m: Move,
    now: Timestamp,
    effects: Vec<Effect>,
}

pub(super) fn advance(attempt: &Move, event: &Event, now: Timestamp) -> Transition<Move> {
    let mut run = Run {
        m: attempt.clone(),
        now,
        effects: Vec::new(),
    };
    if !attempt.is_ended() {
        run.take(event);
    }
    Transition {
        next: run.m,
        effects: run.effects,
    }
}

/// Grows with the time that has passed, within bounds: soon at first, seldom later.
fn spacing(elapsed: Duration, shortest: Duration, longest: Duration) -> Duration {
    (elapsed / 2).clamp(shortest, longest)
}

fn same_moment(a: Timestamp, b: Timestamp) -> bool {
    a.as_secs() == b.as_secs()
}

impl Run {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Checked { blockers } => self.checked(blockers),
            Event::Accepted => self.accepted(),
            Event::SubmitAsked { deadline } => self.submit_asked(*deadline),
            Event::ActivityPosted { activity } => self.activity_posted(activity),
            Event::SubmitRefused { why } => {
                // Also the last word on one that was not confirmed in time: nothing of it comes any more.
                if matches!(
                    self.m.state,
                    MoveState::Submitting { .. } | MoveState::SubmitFailed { may_come: true, .. }
                ) {
                    self.submit_failed(why.clone(), false);
                }
            }
            Event::OrgTold {
                reading,
                destination,
                original,
            } => self.org_told(reading, destination, original.as_deref()),
            Event::AssignmentTold {
                ours,
                profile_in_force,
                ..
            } => self.assignment_told(*ours, *profile_in_force),
            Event::DeadlineMoved { deadline } => self.deadline_moved(*deadline),
            Event::DeadlineStays { deadline } => self.deadline_stays(*deadline),
            Event::CancelAsked | Event::WithdrawAsked => self.cancel_asked(),
            Event::GivenUp { why } => self.given_up(why),
            Event::ProfileFetched => self.profile_fetched(),
            Event::SetUpChanged { set_up, phase } => self.set_up_changed(*set_up, phase),
            Event::EffectFailed { effect, why } => self.effect_failed(effect, why),
            Event::Woke => self.woke(),
            // The device's side is the set-up's.
            Event::Enrolled { .. }
            | Event::UserEnrolled
            | Event::StatusReported { .. }
            | Event::AppsDeclared { .. }
            | Event::BeforeRelease
            | Event::Unanswered { .. }
            | Event::BootstrapTokenStored
            | Event::AwaitingTold { .. }
            | Event::Reported { .. }
            | Event::LockAnswered { .. }
            | Event::Told { .. }
            | Event::CheckedOut
            | Event::Superseded
            | Event::Operator(_) => {}
        }
    }

    fn enter(&mut self, state: MoveState, wake_in: Duration) {
        self.m.state = state;
        self.m.wake_at = Some(self.now + wake_in);
    }

    fn clear(&mut self) {
        self.m.attention = None;
    }

    fn end(&mut self, outcome: Outcome) {
        let expected = self.is_expected();
        self.m.state = MoveState::Ended(outcome);
        self.m.wake_at = None;
        self.m.ended = Some(self.now);
        match outcome {
            Outcome::Migrated => {
                self.clear();
                self.effects.push(Effect::Notify(Notice::Migrated));
            }
            Outcome::MigratedWithExceptions | Outcome::Failed => {
                self.effects.push(Effect::Notify(Notice::Exception));
            }
            // Somebody decided on these, and knows. Who was told that it comes does not.
            Outcome::Cancelled | Outcome::Withdrawn | Outcome::Abandoned => {
                self.clear();
                if expected {
                    self.effects.push(Effect::Notify(Notice::CalledOff));
                }
            }
        }
    }

    /// Whether programs were told that its device comes: it was offered its migration, is late, or has begun.
    fn is_expected(&self) -> bool {
        self.m.offered.is_some()
            || match self.m.state {
                MoveState::Overdue { .. }
                | MoveState::Started { .. }
                | MoveState::Moving { .. }
                | MoveState::Stalled { .. } => true,
                MoveState::Cancelling { .. } => self.now >= self.m.deadline + GRACE,
                _ => false,
            }
    }

    fn note(&mut self, what: &str, why: &str, owner: Owner) {
        if !self.m.exceptions.iter().any(|e| e.what == what) {
            self.m
                .exceptions
                .push(Exception::new(what, why, owner, self.now));
        }
    }

    fn checked(&mut self, blockers: &[String]) {
        match (&self.m.state, blockers.is_empty()) {
            (MoveState::Planned | MoveState::Ready | MoveState::Blocked { .. }, false) => {
                self.m.attention = Some(Attention::Blocked);
                let blockers = blockers.to_vec();
                self.enter(MoveState::Blocked { blockers }, DAY);
            }
            // Cleared, or not as it was accepted: what was found has changed, so it is to be accepted anew.
            (MoveState::Blocked { .. } | MoveState::Ready, true) => {
                self.clear();
                self.enter(MoveState::Planned, DAY);
            }
            // As before, or submitted already: out of turn.
            _ => {}
        }
    }

    fn accepted(&mut self) {
        // A blocked one is accepted by waiving what blocks it.
        if matches!(self.m.state, MoveState::Planned | MoveState::Blocked { .. }) {
            self.clear();
            self.enter(MoveState::Ready, DAY);
        }
    }

    fn submit_asked(&mut self, deadline: Timestamp) {
        if !matches!(
            self.m.state,
            MoveState::Ready | MoveState::SubmitFailed { .. }
        ) {
            return;
        }
        self.clear();
        self.m.deadline = deadline;
        self.enter(
            MoveState::Submitting {
                since: self.now,
                activity: None,
            },
            HOUR,
        );
    }

    fn activity_posted(&mut self, posted: &str) {
        match &mut self.m.state {
            // From here on the time counts in which its effect must show.
            MoveState::Submitting { activity, since } => {
                *activity = Some(posted.to_owned());
                *since = self.now;
                self.m.wake_at = Some(self.now + CONFIRM);
            }
            // What a person had to settle first was settled, and the request went out after all.
            MoveState::SubmitFailed { .. } => {
                self.clear();
                self.enter(
                    MoveState::Submitting {
                        since: self.now,
                        activity: Some(posted.to_owned()),
                    },
                    CONFIRM,
                );
            }
            // Confirmed, or withdrawn, before this came back: noise.
            _ => {}
        }
    }

    fn submit_failed(&mut self, why: String, may_come: bool) {
        self.m.attention = Some(Attention::SubmitFailed);
        self.enter(
            MoveState::SubmitFailed {
                since: self.now,
                why,
                may_come,
            },
            DAY,
        );
    }

    fn scheduled(&mut self) {
        self.clear();
        self.effects.push(Effect::Offer {
            from: self.m.available_from,
        });
        self.enter(
            MoveState::Scheduled {
                since: self.now,
                visible: None,
            },
            HOUR,
        );
    }

    fn org_told(&mut self, reading: &OrgReading, destination: &str, original: Option<&str>) {
        let ours = reading.assigned_server.as_deref() == Some(destination);
        let is = |of: Option<Timestamp>| {
            let deadline = reading.deadline;
            deadline.is_none_or(|d| of.is_some_and(|of| same_moment(d, of)))
        };
        // What was confirmed once stays the same migration, whoever has moved its deadline since.
        let about_this = is(Some(self.m.deadline))
            || is(self.m.shown_deadline)
            || ours && self.m.shown_deadline.is_some();
        let original = self
            .m
            .original_server
            .as_deref()
            .or(original)
            .map(str::to_owned);
        let back = match (reading.assigned_server.as_deref(), original.as_deref()) {
            (Some(assigned), Some(original)) => assigned == original,
            // Nobody recorded where it came from: anywhere but with us is back.
            (Some(assigned), None) => assigned != destination,
            (None, _) => false,
        };
        let status = reading.status.as_ref();
        let requested = status == Some(&MigrationStatus::Requested);
        let started = status == Some(&MigrationStatus::Started);
        let failed = status == Some(&MigrationStatus::Failed);
        if self.m.shown_deadline.is_some() && ours && (requested || started) {
            self.m.shown_deadline = reading.deadline.or(self.m.shown_deadline);
        }
        match &self.m.state {
            MoveState::Submitting { .. } | MoveState::SubmitFailed { .. } => {
                // Only the deadline that we asked for proves that it was our request.
                let deadline = reading
                    .deadline
                    .filter(|d| same_moment(*d, self.m.deadline));
                let confirmed = ours && deadline.is_some();
                if confirmed && (requested || started) {
                    self.m.shown_deadline = deadline;
                }
                if confirmed && requested {
                    self.scheduled();
                } else if confirmed && started {
                    self.started();
                }
            }
            MoveState::Scheduled { since, .. }
            | MoveState::Offered { since }
            | MoveState::Overdue { since } => {
                let settled = self.now >= *since + HOUR;
                if started && about_this {
                    self.started();
                } else if failed && about_this && back || status.is_none() && back && settled {
                    // It had not begun and stands at the original again: somebody cancelled it elsewhere.
                    self.end(Outcome::Cancelled);
                } else if failed && about_this {
                    self.failed_before_start();
                }
            }
            MoveState::Cancelling { .. } => {
                if started {
                    // It was faster: during a hold nothing is undone.
                    self.started();
                } else if back && !requested {
                    self.end(Outcome::Cancelled);
                }
            }
            MoveState::Started { .. }
            | MoveState::Moving { .. }
            | MoveState::Stalled { .. }
            | MoveState::Settling { .. } => {
                if failed && about_this {
                    self.apple_says_failed();
                } else if status == Some(&MigrationStatus::Success) && about_this {
                    self.apple_says_done();
                }
            }
            // Nothing is submitted yet: another's migration, which the checks see.
            MoveState::Planned | MoveState::Blocked { .. } | MoveState::Ready => {}
            MoveState::Ended(_) => {}
        }
    }

    fn apple_says_done(&mut self) {
        if matches!(self.m.state, MoveState::Settling { .. }) {
            self.migrated();
        } else if self.m.proving.is_some() {
            self.m.apple_done = true;
        }
    }

    /// The device is proved, and Apple has said so too.
    fn migrated(&mut self) {
        self.end(match self.m.exceptions.is_empty() {
            true => Outcome::Migrated,
            false => Outcome::MigratedWithExceptions,
        });
    }

    fn apple_says_failed(&mut self) {
        self.m.attention = Some(Attention::AppleSaysFailed);
        self.note(
            APPLE,
            "Apple says that the migration failed: earlier locks are gone, and the device carries one that only an \
             administrator of the organisation can lift",
            Owner::OrganisationAdmin,
        );
        self.effects.push(Effect::AskWho);
        self.end(Outcome::Failed);
    }

    /// Apple uses one word for what failed and for what was cancelled, and does not always assign back what was cancelled.
    fn failed_before_start(&mut self) {
        self.m.attention = Some(Attention::AppleSaysFailed);
        self.note(
            NOT_BEGUN,
            "Apple says FAILED, as it does of a migration that failed and of one that somebody cancelled elsewhere: nobody saw it \
             begin, and it is still assigned to us",
            Owner::OrganisationAdmin,
        );
        self.effects.push(Effect::AskWho);
        self.end(Outcome::Failed);
    }

    fn assignment_told(&mut self, ours: bool, in_force: bool) {
        match &mut self.m.state {
            MoveState::Scheduled { visible, .. } => {
                if !ours {
                    // Somebody took it out of our list again: Apple's other service says where it is now.
                    if visible.take().is_some() {
                        self.effects.push(Effect::ReadDevice);
                        self.m.wake_at = Some(self.scheduled_wake());
                    }
                    return;
                }
                let first = visible.is_none();
                visible.get_or_insert(self.now);
                if in_force {
                    self.offered();
                } else if first {
                    if self.m.attention == Some(Attention::NotVisible) {
                        self.clear();
                    }
                    self.m.wake_at = Some(self.scheduled_wake());
                }
            }
            MoveState::Offered { .. } | MoveState::Overdue { .. } => {
                // Prompting stops when the profile is taken away: it is assigned again, and a person should know.
                let missing = !(ours && in_force);
                let told = self.m.attention == Some(Attention::ProfileNotInForce);
                if missing && !told && self.m.attention.is_none() {
                    if !ours {
                        self.effects.push(Effect::ReadDevice);
                    }
                    self.m.attention = Some(Attention::ProfileNotInForce);
                    self.effects.push(Effect::Offer {
                        from: self.m.available_from,
                    });
                } else if !missing && told {
                    self.clear();
                }
            }
            // Seen before the confirmation, or too late to matter.
            _ => {}
        }
    }

    fn offered(&mut self) {
        self.clear();
        self.effects.push(Effect::Notify(Notice::Offered));
        self.m.offered.get_or_insert(self.now);
        self.m.state = MoveState::Offered { since: self.now };
        self.m.wake_at = Some(self.past_deadline());
    }

    fn deadline_moved(&mut self, deadline: Timestamp) {
        if same_moment(deadline, self.m.deadline) {
            return;
        }
        match &self.m.state {
            MoveState::Planned
            | MoveState::Blocked { .. }
            | MoveState::Ready
            | MoveState::SubmitFailed {
                may_come: false, ..
            } => self.m.deadline = deadline,
            MoveState::Scheduled { .. } | MoveState::Offered { .. } | MoveState::Overdue { .. } => {
                self.effects.push(Effect::MoveDeadline { deadline });
                // Only force makes one earlier.
                self.m.forced = deadline < self.m.deadline;
                self.count_to(deadline);
            }
            // A request is on its way, or the device is.
            _ => {}
        }
    }

    /// Apple counts to another deadline than was asked for: so do we.
    fn deadline_stays(&mut self, deadline: Timestamp) {
        if matches!(
            self.m.state,
            MoveState::Scheduled { .. } | MoveState::Offered { .. } | MoveState::Overdue { .. }
        ) && !same_moment(deadline, self.m.deadline)
        {
            // A force that did not come about excuses nothing.
            self.m.forced &= deadline <= self.m.deadline;
            self.count_to(deadline);
        }
    }

    fn count_to(&mut self, deadline: Timestamp) {
        self.m.deadline = deadline;
        if matches!(self.m.state, MoveState::Overdue { .. }) && deadline > self.now {
            // The device has time again.
            self.clear();
            let since = self.now;
            self.m.state = match self.m.offered {
                Some(_) => MoveState::Offered { since },
                // Its user was never asked.
                None => MoveState::Scheduled {
                    since,
                    visible: None,
                },
            };
        }
        self.m.wake_at = Some(match self.m.state {
            MoveState::Scheduled { .. } => self.scheduled_wake(),
            _ => self.past_deadline(),
        });
    }

    fn cancel_asked(&mut self) {
        match &self.m.state {
            MoveState::Planned
            | MoveState::Blocked { .. }
            | MoveState::Ready
            | MoveState::SubmitFailed {
                may_come: false, ..
            } => self.end(Outcome::Withdrawn),
            MoveState::Submitting { .. }
            // Apple may still do what it took: only a cancellation that is proved says that it does not come.
            | MoveState::SubmitFailed { may_come: true, .. }
            | MoveState::Scheduled { .. }
            | MoveState::Offered { .. }
            | MoveState::Overdue { .. } => {
                self.clear();
                self.effects.push(Effect::Cancel);
                self.enter(
                    MoveState::Cancelling { since: self.now },
                    Duration::from_mins(5),
                );
            }
            // Asked already; or the device has begun, and there is no way back.
            _ => {}
        }
    }

    fn effect_failed(&mut self, effect: &EffectKey, why: &str) {
        match (effect, &self.m.state) {
            (EffectKey::Cancel, MoveState::Cancelling { .. }) => {
                self.m.attention = Some(Attention::CancelUnproved);
            }
            (
                EffectKey::MoveDeadline,
                MoveState::Scheduled { .. } | MoveState::Offered { .. } | MoveState::Overdue { .. },
            ) => {
                self.m.attention = Some(Attention::SubmitFailed);
                self.note(
                    "deadline",
                    &format!("Apple did not move the deadline: {why}"),
                    Owner::Apple,
                );
            }
            // A reading comes again with the next wake, a notice is nobody's condition, the rest is the set-up's.
            _ => {}
        }
    }

    /// The word of a person who knows more than we do. What ends it otherwise goes first.
    fn given_up(&mut self, why: &str) {
        if self.m.ends_otherwise(self.now).is_some() {
            return;
        }
        self.note("operator", why, Owner::Device);
        // The question is answered.
        self.clear();
        let outcome = self.m.given_up_as();
        self.end(outcome);
        if outcome == Outcome::Failed {
            // That it failed is told as every failure is; that nobody waits any more is told of this one alone.
            self.effects.push(Effect::Notify(Notice::CalledOff));
        }
    }
}
