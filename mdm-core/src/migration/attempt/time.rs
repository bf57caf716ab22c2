//! What the time brings to an attempt: readings with growing spacing, alarms, reminders, the last word. A wake that is due
//! is always moved forward, and an alarm never stops a timer.

use std::time::Duration;

use super::{
    APPLE, ASK_ON, ASK_PERSON, CONFIRM, DAY, GRACE, HOUR, LAST_READING, REMIND_ON, Run, SETTLE,
    UNSENT, spacing,
};
use crate::clock::Timestamp;
use crate::migration::{Attention, Effect, MoveState, Notice, Outcome, Owner};

impl Run {
    pub(super) fn woke(&mut self) {
        let now = self.now;
        let Some(due) = self.m.wake_at.filter(|at| now >= *at) else {
            // Somebody else's wake.
            return;
        };
        match &self.m.state {
            MoveState::Planned | MoveState::Ready => self.m.wake_at = Some(now + DAY),
            MoveState::Blocked { .. } | MoveState::SubmitFailed { .. } => {
                // What blocks may be gone, and what failed may have come true late.
                self.effects.push(Effect::ReadDevice);
                self.m.wake_at = Some(now + DAY);
            }
            // Its request waits for its turn: writes to Apple are few, and the errand looks after it.
            MoveState::Submitting {
                since,
                activity: None,
            } if now < *since + UNSENT => self.m.wake_at = Some(now + HOUR),
            MoveState::Submitting { since, .. } => self.woke_submitting(*since, due),
            MoveState::Scheduled { .. } => self.woke_scheduled(),
            MoveState::Offered { .. } => {
                if now >= self.m.deadline + GRACE {
                    self.overdue();
                } else {
                    self.m.wake_at = Some(self.past_deadline());
                }
            }
            MoveState::Overdue { since } => self.woke_overdue(*since, due),
            MoveState::Cancelling { since } => {
                let elapsed = now.since(*since);
                if elapsed >= HOUR {
                    self.m.attention = Some(Attention::CancelUnproved);
                    // Asking again is harmless: it is read before anything is sent.
                    self.effects.push(Effect::Cancel);
                }
                self.effects.push(Effect::ReadDevice);
                let next = spacing(elapsed, Duration::from_mins(5), Duration::from_hours(6));
                // The hour itself is not slept through.
                let alarm = (*since + HOUR).max(now + Duration::from_mins(1));
                self.m.wake_at = Some(if elapsed < HOUR {
                    (now + next).min(alarm)
                } else {
                    now + next
                });
            }
            MoveState::Started { .. } => {
                self.m.attention = Some(Attention::EnrolmentStalled);
                self.effects.push(Effect::ReadDevice);
                self.stall(None);
            }
            MoveState::Moving { since, .. } => {
                self.silent_for(*since);
                self.effects.push(Effect::ReadDevice);
                self.m.wake_at = Some(now + DAY);
            }
            MoveState::Stalled { since, .. } => {
                let elapsed = now.since(*since);
                self.silent_for(*since);
                self.effects.push(Effect::ReadDevice);
                self.m.wake_at = Some(now + spacing(elapsed, HOUR, Duration::from_hours(6)));
            }
            MoveState::Settling { since, .. } => self.woke_settling(*since),
            MoveState::Ended(_) => {}
        }
    }

    pub(super) fn silent_for(&mut self, since: Timestamp) {
        if self.now >= since + ASK_PERSON {
            self.m.attention = Some(Attention::SilentForDays);
        }
    }

    pub(super) fn woke_submitting(&mut self, since: Timestamp, due: Timestamp) {
        let now = self.now;
        if now < since + CONFIRM {
            self.effects.push(Effect::ReadDevice);
            let next = now
                + spacing(
                    now.since(since) * 2,
                    Duration::from_mins(2),
                    Duration::from_mins(10),
                );
            self.m.wake_at = Some(next.min(since + CONFIRM));
        } else if due <= since + CONFIRM {
            // The unknown outcome is read once more before it is called a failure.
            self.effects.push(Effect::ReadDevice);
            self.m.wake_at = Some(now + LAST_READING);
        } else {
            // That it is late does not say that it never comes: whoever sent the request does.
            self.submit_failed("Apple does not show what was asked for".to_owned(), true);
        }
    }

    /// The next timer of a scheduled attempt.
    pub(super) fn scheduled_wake(&self) -> Timestamp {
        let MoveState::Scheduled { since, visible } = &self.m.state else {
            return self.now + DAY;
        };
        let alarm = match visible {
            None => *since + HOUR,
            Some(seen) => (*seen).max(self.m.available_from) + HOUR,
        };
        let later = self.now + Duration::from_hours(6);
        [alarm, self.past_deadline(), later]
            .into_iter()
            .filter(|at| *at > self.now)
            .min()
            .unwrap_or(later)
    }

    pub(super) fn woke_scheduled(&mut self) {
        let now = self.now;
        if now >= self.m.deadline + GRACE {
            self.overdue();
            return;
        }
        if let MoveState::Scheduled { since, visible } = &self.m.state {
            match visible {
                None if now >= *since + HOUR => {
                    self.m.attention = Some(Attention::NotVisible);
                    self.effects.push(Effect::ReadDevice);
                }
                Some(seen) if now >= (*seen).max(self.m.available_from) + HOUR => {
                    self.m.attention = Some(Attention::ProfileNotInForce);
                    self.effects.push(Effect::Offer {
                        from: self.m.available_from,
                    });
                }
                // In time.
                _ => {}
            }
        }
        self.m.wake_at = Some(self.scheduled_wake());
    }

    pub(super) fn overdue(&mut self) {
        self.m.attention = Some(Attention::OverdueWithoutSignIn);
        self.effects.push(Effect::ReadDevice);
        self.enter(MoveState::Overdue { since: self.now }, DAY);
    }

    pub(super) fn woke_overdue(&mut self, since: Timestamp, due: Timestamp) {
        let days = |at: Timestamp| at.since(since).as_secs() / DAY.as_secs();
        let (from, to) = (days(due), days(self.now));
        if REMIND_ON.iter().any(|day| (from..=to).contains(day)) {
            self.effects.push(Effect::Notify(Notice::Overdue));
        }
        if to >= ASK_ON {
            self.m.attention = Some(Attention::SilentForDays);
        }
        self.effects.push(Effect::ReadDevice);
        self.m.wake_at = Some(since + DAY * u32::try_from(to + 1).unwrap_or(u32::MAX));
    }

    pub(super) fn woke_settling(&mut self, since: Timestamp) {
        let end = self.m.proving.unwrap_or(since) + SETTLE;
        if self.now >= end {
            self.note(
                APPLE,
                "Apple has not said within 24 hours that the migration succeeded",
                Owner::Apple,
            );
            self.m.attention = Some(Attention::ProofIncomplete);
            self.end(Outcome::MigratedWithExceptions);
            return;
        }
        self.effects.push(Effect::ReadDevice);
        // Soon after the proof, however long that took: its day is counted from the beginning, and these readings are not.
        let elapsed = self.now.since(since);
        let next = self.now + spacing(elapsed, Duration::from_mins(1), HOUR);
        self.m.wake_at = Some(next.min(end));
    }

    /// When a deadline counts as missed; never in the past, so that a wake goes forward.
    pub(super) fn past_deadline(&self) -> Timestamp {
        (self.m.deadline + GRACE).max(self.now + Duration::from_mins(1))
    }
}
