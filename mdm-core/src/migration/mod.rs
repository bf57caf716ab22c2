//! The migration itself: two small machines, pure and total. Knows no store, no clock, no secret.
//!
//! [`Move`] is Apple's side of one member's attempt, from the plan to the proof. [`SetUp`] is the device's side, for every
//! enrolment, planned or not; it alone owns the release and its watchdog. Both are advanced by an [`Event`] and answer
//! with the next state and a list of [`Effect`]s.

mod attempt;
mod effect;
mod event;
mod inquiry;
mod r#move;
pub mod plan;
mod runbook;
mod runbook_check;
mod runbook_sent;
mod runner;
mod set_up;
pub(crate) mod steps;
mod verdict;
mod visible;
pub mod what_if;

pub(crate) use attempt::NOT_BEGUN;
pub use effect::{Ask, ESCROW_PROFILE, Effect, EffectKey, Notice};
pub use event::{
    AppReading, Event, KeyReading, LockClaim, LockReading, OperatorAct, SetUpPhase, Told,
};
pub use inquiry::{AuditedAct, Inquiry};
pub use r#move::{Before, Met, Move, MoveState, Outcome, advance_move};
pub use runbook::{
    AppAction, AppPlan, Pinned, PinnedRunbook, Policy, ProfilePlan, ProfileRole, StepId, StepPlan,
    Variant,
};
pub(crate) use runbook::{GROUP, known_by};
pub use runbook_sent::{SentRunbook, sent_runbooks};
pub(crate) use runner::HIGHEST_CEILING;
pub use runner::last_chance::LastChance;
pub use set_up::{
    LetOut, LetOutBy, ReleaseTold, SetUp, SetUpEnd, SetUpState, Steps, advance_set_up,
    advance_unreadable, release,
};
pub use steps::{StepState, StepStatus};
pub use verdict::{Verdict, VerdictFacts, VerdictKind, judge};
pub use visible::{VisibleState, visible_state};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The answer of a machine: what it becomes, and what is asked of the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two parts, and that is the idea")]
pub struct Transition<T> {
    /// The machine after the event; equal to the one before when the event was noise.
    pub next: T,
    /// What the outside is asked to do; each may be done twice without harm.
    pub effects: Vec<Effect>,
}

/// Why a person is needed. Stands beside a state, never instead of one, and stops no timer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Attention {
    /// A check blocks the attempt.
    Blocked,
    /// Apple refused or did not do what was submitted.
    SubmitFailed,
    /// Not visible in the assignment list in time.
    NotVisible,
    /// Our profile is not in force in time.
    ProfileNotInForce,
    /// The deadline has passed and nothing was seen: off, offline, or waiting for the managed user's sign-in.
    OverdueWithoutSignIn,
    /// The cancellation is not proved.
    CancelUnproved,
    /// The device began and went silent before it enrolled.
    EnrolmentStalled,
    /// Enrolled, but it does not wait for us: what the hold would have saved may be lost.
    NotAwaiting,
    /// The hold is past its soft ceiling.
    HoldLong,
    /// Released by time, not by evidence.
    ReleasedWithoutEvidence,
    /// The device does not confirm its release.
    ReleaseUnconfirmed,
    /// Apple says that the migration failed; it then locks the device so that only the organisation's administrator can lift it.
    /// Before its start it may have been cancelled elsewhere instead.
    AppleSaysFailed,
    /// The proof after release is incomplete.
    ProofIncomplete,
    /// The runbook cannot be read.
    RunbookUnreadable,
    /// Silent for days; end it or wait.
    SilentForDays,
}

/// A required thing that did not come true, and who owns the way forward.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Exception {
    /// The step, or the check after release.
    pub what: String,
    /// What was seen instead.
    pub why: String,
    /// Who can do something about it.
    pub owner: Owner,
    /// When it was decided.
    pub at: Timestamp,
}

impl Exception {
    /// An exception with its owner.
    #[must_use]
    pub fn new(
        what: impl Into<String>,
        why: impl Into<String>,
        owner: Owner,
        at: Timestamp,
    ) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
            owner,
            at,
        }
    }
}

/// To whom a fault belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Owner {
    /// The person at the device.
    User,
    /// The device.
    Device,
    /// The network between.
    Network,
    /// The MDM that the device leaves.
    Original,
    /// Apple's services.
    Apple,
    /// We.
    Destination,
    /// Licences.
    Licence,
    /// Whoever administers the organisation at Apple.
    OrganisationAdmin,
}
