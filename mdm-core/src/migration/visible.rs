//! The states that people see: a pure function of the two machines.

use serde::{Deserialize, Serialize};

use super::{Move, MoveState, Outcome, SetUp, SetUpEnd, SetUpState};

/// What people see of a device's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names of the state table, explained there")]
pub enum VisibleState {
    Planned,
    Blocked,
    Ready,
    Submitting,
    SubmitFailed,
    Scheduled,
    Offered,
    Overdue,
    Cancelling,
    Started,
    Enrolling,
    NoHold,
    Holding,
    Releasing,
    Settling,
    Stalled,
    Migrated,
    MigratedWithExceptions,
    Cancelled,
    Withdrawn,
    Failed,
    Abandoned,
    /// An enrolment without an attempt ended, everything required proved.
    Configured,
    /// The same, with exceptions.
    ConfiguredWithExceptions,
    /// The enrolment ended before its proof: checked out.
    CheckedOut,
    /// The enrolment ended before its proof: a later one took its place.
    Superseded,
}

/// The state that people see of an attempt with its set-up, of an attempt alone, or of an enrolment without an attempt.
/// `None` only when neither is given.
#[must_use]
pub fn visible_state(attempt: Option<&Move>, set_up: Option<&SetUp>) -> Option<VisibleState> {
    let Some(attempt) = attempt else {
        return set_up.map(of_set_up);
    };
    Some(match &attempt.state {
        MoveState::Planned => VisibleState::Planned,
        MoveState::Blocked { .. } => VisibleState::Blocked,
        MoveState::Ready => VisibleState::Ready,
        MoveState::Submitting { .. } => VisibleState::Submitting,
        MoveState::SubmitFailed { .. } => VisibleState::SubmitFailed,
        MoveState::Scheduled { .. } => VisibleState::Scheduled,
        MoveState::Offered { .. } => VisibleState::Offered,
        MoveState::Overdue { .. } => VisibleState::Overdue,
        MoveState::Cancelling { .. } => VisibleState::Cancelling,
        MoveState::Started { .. } => VisibleState::Started,
        MoveState::Stalled { .. } => VisibleState::Stalled,
        MoveState::Settling { .. } => VisibleState::Settling,
        MoveState::Moving { .. } => match set_up.map(|s| &s.state) {
            Some(SetUpState::Enrolling { .. }) => VisibleState::Enrolling,
            Some(SetUpState::NoHold { .. }) => VisibleState::NoHold,
            Some(SetUpState::Holding { .. }) => VisibleState::Holding,
            Some(SetUpState::Releasing { .. }) => VisibleState::Releasing,
            Some(SetUpState::Stalled { .. }) => VisibleState::Stalled,
            Some(SetUpState::Proving { .. } | SetUpState::Ended(_)) => VisibleState::Settling,
            None => VisibleState::Started,
        },
        MoveState::Ended(outcome) => match outcome {
            Outcome::Migrated => VisibleState::Migrated,
            Outcome::MigratedWithExceptions => VisibleState::MigratedWithExceptions,
            Outcome::Cancelled => VisibleState::Cancelled,
            Outcome::Withdrawn => VisibleState::Withdrawn,
            Outcome::Failed => VisibleState::Failed,
            Outcome::Abandoned => VisibleState::Abandoned,
        },
    })
}

fn of_set_up(set_up: &SetUp) -> VisibleState {
    match &set_up.state {
        SetUpState::Enrolling { .. } => VisibleState::Enrolling,
        SetUpState::NoHold { .. } => VisibleState::NoHold,
        SetUpState::Holding { .. } => VisibleState::Holding,
        SetUpState::Releasing { .. } => VisibleState::Releasing,
        SetUpState::Proving { .. } => VisibleState::Settling,
        SetUpState::Stalled { .. } => VisibleState::Stalled,
        SetUpState::Ended(SetUpEnd::Proved) => VisibleState::Configured,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions) => VisibleState::ConfiguredWithExceptions,
        SetUpState::Ended(SetUpEnd::CheckedOut) => VisibleState::CheckedOut,
        SetUpState::Ended(SetUpEnd::Superseded) => VisibleState::Superseded,
    }
}
