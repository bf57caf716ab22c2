//! Attempts that nothing but a person's word can end: the device is lost, stolen, broken, or Apple never shows what became of it.

use std::time::Duration;

use super::{ASK_ON, HOUR};
use crate::clock::Timestamp;
use crate::migration::{Move, MoveState, Outcome};

impl Move {
    /// What ends it, so that nobody has to give it up; `None` where nothing else does.
    #[must_use]
    pub fn ends_otherwise(&self, now: Timestamp) -> Option<&'static str> {
        match &self.state {
            MoveState::Planned
            | MoveState::Blocked { .. }
            | MoveState::Ready
            | MoveState::SubmitFailed {
                may_come: false, ..
            } => {
                Some("nothing of it is at Apple: take it out of its wave (`mdmd wave remove WAVE SERIAL`)")
            }
            MoveState::Submitting { .. }
            | MoveState::SubmitFailed { may_come: true, .. }
            | MoveState::Scheduled { .. }
            | MoveState::Offered { .. } => {
                Some("its migration can be called back: `mdmd migration cancel`")
            }
            MoveState::Overdue { since } => (now < *since + Duration::from_hours(24 * ASK_ON)).then_some(
                "it may still come: extend its deadline (`mdmd migration extend`), or call it back (`mdmd migration cancel`); it can be given up after 14 days, or an hour after its call-back was sent without an answer",
            ),
            MoveState::Cancelling { since } => (now < *since + HOUR).then_some(
                "it was called back less than an hour ago, and Apple is still read for that",
            ),
            MoveState::Started { .. } => {
                Some("it began a short while ago, and may enrol at any moment")
            }
            MoveState::Settling { .. } => {
                Some("it is with us, and ends by itself within a day, whatever Apple says")
            }
            MoveState::Moving { .. } | MoveState::Stalled { .. } => None,
            MoveState::Ended(_) => Some("it has ended"),
        }
    }

    /// As what it ends when it is given up: a device that had enrolled has failed, one that never came was abandoned.
    #[must_use]
    pub const fn given_up_as(&self) -> Outcome {
        match self.enrolled_as {
            Some(_) => Outcome::Failed,
            None => Outcome::Abandoned,
        }
    }
}
