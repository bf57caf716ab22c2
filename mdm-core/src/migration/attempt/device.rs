//! The device begins, enrols, goes silent, comes again: what its profile request and its set-up tell the attempt. Writes no
//! set-up.

use std::time::Duration;

use super::{DAY, ENROL, HOUR, LAST_READING, Run, SETTLE};
use crate::ids::SetUpId;
use crate::migration::{Attention, Effect, MoveState, Notice, SetUpEnd, SetUpPhase};

impl Run {
    pub(super) fn started(&mut self) {
        self.clear();
        self.effects.push(Effect::Notify(Notice::Started));
        self.enter(MoveState::Started { since: self.now }, ENROL);
    }

    pub(super) fn profile_fetched(&mut self) {
        match &self.m.state {
            MoveState::Submitting { .. }
            | MoveState::SubmitFailed { .. }
            | MoveState::Scheduled { .. }
            | MoveState::Offered { .. }
            | MoveState::Overdue { .. }
            | MoveState::Cancelling { .. } => self.started(),
            MoveState::Stalled { set_up: None, .. } => {
                self.clear();
                self.enter(MoveState::Started { since: self.now }, ENROL);
            }
            // Known already; a new enrolment of a moving device shows as a new set-up.
            _ => {}
        }
    }

    /// An enrolment may come in any state: whatever we believed of Apple's side, the device is here.
    pub(super) fn set_up_changed(&mut self, set_up: SetUpId, phase: &SetUpPhase) {
        let current = self.m.set_up();
        if current.is_some_and(|c| set_up < c) {
            // An older enrolment's last word.
            return;
        }
        let is_new = current != Some(set_up);
        if self.m.enrolled_as.is_none_or(|newest| newest < set_up) {
            self.m.enrolled_as = Some(set_up);
        }
        match phase {
            SetUpPhase::Ended { end, exceptions } => match end {
                SetUpEnd::Proved | SetUpEnd::ProvedWithExceptions => {
                    if matches!(self.m.state, MoveState::Settling { .. }) && !is_new {
                        return;
                    }
                    self.begin_if_not(set_up, is_new);
                    self.m.exceptions.extend(exceptions.iter().cloned());
                    self.clear();
                    if self.m.apple_done {
                        self.migrated();
                        return;
                    }
                    self.effects.push(Effect::ReadDevice);
                    self.settle(set_up);
                }
                // It left us before the proof. It may come again, or Apple says what became of it; nobody guesses.
                SetUpEnd::CheckedOut
                    if matches!(
                        self.m.state,
                        MoveState::Moving { .. } | MoveState::Stalled { .. }
                    ) =>
                {
                    if is_new || self.m.attention == Some(Attention::EnrolmentStalled) {
                        return;
                    }
                    self.m.attention = Some(Attention::EnrolmentStalled);
                    self.effects.push(Effect::ReadDevice);
                    self.stall(Some(set_up));
                }
                // A newer enrolment has taken its place, and tells of itself; or out of turn.
                SetUpEnd::CheckedOut | SetUpEnd::Superseded => {}
            },
            SetUpPhase::Stalled => {
                self.begin_if_not(set_up, is_new);
                if matches!(self.m.state, MoveState::Moving { .. }) {
                    self.stall(Some(set_up));
                }
            }
            SetUpPhase::Enrolling
            | SetUpPhase::NoHold
            | SetUpPhase::Holding
            | SetUpPhase::Releasing
            | SetUpPhase::Proving => {
                self.begin_if_not(set_up, is_new);
                if matches!(self.m.state, MoveState::Stalled { .. }) {
                    self.clear();
                    self.moving(set_up);
                }
                match phase {
                    SetUpPhase::Proving => self.proving(),
                    // Held again after all, or not out yet.
                    _ => self.unproved(),
                }
            }
        }
    }

    pub(super) fn begin_if_not(&mut self, set_up: SetUpId, is_new: bool) {
        if !is_new {
            return;
        }
        let begun = matches!(
            self.m.state,
            MoveState::Started { .. }
                | MoveState::Moving { .. }
                | MoveState::Stalled { .. }
                | MoveState::Settling { .. }
        );
        if !begun {
            self.effects.push(Effect::Notify(Notice::Started));
        }
        // What an earlier enrolment left undone, this one does again.
        self.m.exceptions.clear();
        self.unproved();
        self.clear();
        self.moving(set_up);
    }

    pub(super) fn moving(&mut self, set_up: SetUpId) {
        let since = self.now;
        self.enter(MoveState::Moving { set_up, since }, DAY);
    }

    /// What it has is being proved. An hour before the day is over Apple is asked, so that a proof that takes all of it waits for nothing.
    fn proving(&mut self) {
        if !matches!(self.m.state, MoveState::Moving { .. }) {
            return;
        }
        let since = *self.m.proving.get_or_insert(self.now);
        let ask = since + (SETTLE - HOUR);
        self.m.wake_at = Some(ask.max(self.now + HOUR));
    }

    fn unproved(&mut self) {
        self.m.proving = None;
        self.m.apple_done = false;
    }

    /// What is left of the day that began with the proof; at its end one more reading, for this one was just asked.
    fn settle(&mut self, set_up: SetUpId) {
        let since = self.now;
        let began = self.m.proving.unwrap_or(since);
        let late = since + LAST_READING >= began + SETTLE;
        let first = match late {
            true => LAST_READING,
            false => Duration::from_mins(1),
        };
        self.enter(MoveState::Settling { since, set_up }, first);
    }

    pub(super) fn stall(&mut self, set_up: Option<SetUpId>) {
        let since = self.now;
        self.enter(MoveState::Stalled { since, set_up }, HOUR);
    }
}
