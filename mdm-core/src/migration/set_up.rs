//! The device's side: one enrolment from Authenticate to release and proof. It alone owns the release; the watchdog
//! commits the same one. Pure and total.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Attention, Event, Exception, PinnedRunbook, StepId, StepState, Transition, Verdict};
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::ids::{DeviceId, EnrollmentId, MoveId, OrganisationId, RunbookId, Serial, SetUpId};

/// The steps of a set-up and where each stands.
pub type Steps = BTreeMap<StepId, StepState>;

/// One enrolment's way through the hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SetUp {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: SetUpId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The enrolment; also the generation.
    pub enrollment: EnrollmentId,
    /// The device, once its serial number is known.
    pub device: Option<DeviceId>,
    /// Its serial number.
    pub serial: Option<Serial>,
    /// Its platform; decides which steps make sense.
    pub platform: Platform,
    /// The attempt that it belongs to, if any.
    pub move_id: Option<MoveId>,
    /// The pinned runbook.
    pub runbook: RunbookId,
    /// Taken for what, and why.
    pub verdict: Verdict,
    /// Where it stands.
    pub state: SetUpState,
    /// When it wants to be woken; `None` only once ended.
    pub wake_at: Option<Timestamp>,
    /// When the watchdog releases it whatever the runbook says; set while it holds and not yet releasing.
    pub ceiling_at: Option<Timestamp>,
    /// Why a person is needed.
    pub attention: Option<Attention>,
    /// What did not come true.
    pub exceptions: Vec<Exception>,
    /// When Authenticate came.
    pub began: Timestamp,
    /// When the hold began.
    pub hold_began: Option<Timestamp>,
    /// When the device was known to be out of the hold.
    pub released: Option<Timestamp>,
}

/// Where a set-up stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "the machine's states, each decided on"
)]
pub enum SetUpState {
    /// Authenticated; the first TokenUpdate has not come.
    Enrolling {
        /// Since Authenticate.
        since: Timestamp,
    },
    /// Enrolled and not (yet known to be) waiting; a first question asks the device itself.
    NoHold {
        /// Since enrolment.
        since: Timestamp,
        /// The steps.
        steps: Steps,
    },
    /// In the hold; the runbook runs.
    Holding {
        /// Since the hold began.
        since: Timestamp,
        /// The steps.
        steps: Steps,
    },
    /// `DeviceConfigured` is queued.
    Releasing {
        /// Since the release was decided.
        since: Timestamp,
        /// How many different commands were made for it.
        tries: u32,
        /// The steps.
        steps: Steps,
    },
    /// Out of the hold; proofs are collected.
    Proving {
        /// Since it was out.
        since: Timestamp,
        /// The steps.
        steps: Steps,
    },
    /// Silent where it should speak; goes on where it was when it speaks again.
    Stalled {
        /// Since the time-out.
        since: Timestamp,
        /// Where it was.
        from: Box<Self>,
    },
    /// Over.
    Ended(SetUpEnd),
}

/// How a set-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "four ends, each decided on")]
pub enum SetUpEnd {
    /// Everything required is proved.
    Proved,
    /// It is out of the hold, and something required is not proved.
    ProvedWithExceptions,
    /// The device checked out.
    CheckedOut,
    /// A later enrolment took its place.
    Superseded,
}

/// Advances a set-up. Total: every state has an answer to every event; what comes out of turn is noise and leaves it as it was.
#[must_use]
pub fn advance_set_up(
    set_up: &SetUp,
    plan: &PinnedRunbook,
    event: &Event,
    now: Timestamp,
) -> Transition<SetUp> {
    let _ = (plan, event, now);
    Transition {
        next: set_up.clone(),
        effects: Vec::new(),
    }
}

/// The release, shared by runner and watchdog: needs no runbook. Doing it twice makes no second command.
#[must_use]
pub fn release(set_up: &SetUp, now: Timestamp) -> Transition<SetUp> {
    let _ = now;
    Transition {
        next: set_up.clone(),
        effects: Vec::new(),
    }
}
