//! The device's side: one enrolment from Authenticate to release and proof. It alone owns the release; the watchdog
//! commits the same one. Pure and total.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Attention, Event, Exception, LastChance, PinnedRunbook, SetUpPhase, StepId, StepState,
    Transition, Verdict, runner,
};
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::enrollment::Enrollment;
use crate::ids::{DeviceId, EnrollmentId, MoveId, OrganisationId, RunbookId, Serial, SetUpId};

/// The steps of a set-up and where each stands.
pub type Steps = BTreeMap<StepId, StepState>;

/// One enrolment's way through the hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The version of its system, once it has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
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
    /// When its first `TokenUpdate` was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<Timestamp>,
    /// What decided that its hold ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub let_out: Option<LetOut>,
    /// When the device was known to be out of the hold.
    pub released: Option<Timestamp>,
    /// What became of telling people and programs that the hold is over; `None` until it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_told: Option<ReleaseTold>,
    /// When the device last spoke on its channel.
    #[serde(default)]
    pub heard: Option<Timestamp>,
    /// A user channel of it has enrolled.
    #[serde(default)]
    pub user_seen: bool,
    /// It is another one's than the service that the Mac left had told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user_is_other: bool,
    /// The service that the Mac left managed a local user of it, whose channel is part of the proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user_expected: bool,
    /// The deadlines that Apple showed when it came by a migration without an attempt, or by what may be one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deadlines: Vec<Timestamp>,
    /// When its bootstrap token came into our vault for the first time, unless the Mac has taken it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_stored: Option<Timestamp>,
    /// Apple was asked for its lock and has not been seen to hold it: that is part of the proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lock_unread: bool,
    /// It was read since, and was not there: without a reading nobody knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lock_off: bool,
    /// It was silent until its ceiling: what only the hold can save goes before the release when it speaks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_chance: Option<LastChance>,
    /// The tags that the device had when it enrolled, and the groups of its owner (`group:NAME`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Whether people have something declared to it, as it stood when the device last said who it is; `None` where nobody has looked,
    /// as in set-ups that an older version began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<bool>,
    /// Whether the Mac has Apple silicon, once it has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apple_silicon: Option<bool>,
    /// Where its steps stood when it ended: what was proved, by what.
    #[serde(default, skip_serializing_if = "Steps::is_empty")]
    pub proofs: Steps,
}

/// What decided that a hold ends, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "what and when")]
pub struct LetOut {
    /// What.
    pub by: LetOutBy,
    /// When.
    pub at: Timestamp,
}

/// What decides that a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LetOutBy {
    /// Every required step was proved.
    Evidence,
    /// A required step was given up, and its policy lets the device go.
    Policy,
    /// The ceiling of the hold.
    Ceiling,
    /// A person.
    Person,
    /// The device left by itself, or somebody else ended its hold.
    Device,
}

/// What became of telling people and programs that a hold is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReleaseTold {
    /// It is on its way.
    Asked,
    /// It was sent.
    Sent,
    /// It could not be sent.
    Failed {
        /// Why.
        why: String,
    },
}

impl LetOutBy {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Policy => "policy",
            Self::Ceiling => "ceiling",
            Self::Person => "person",
            Self::Device => "device",
        }
    }
}

impl SetUp {
    /// A set-up at `Authenticate`: it waits for the first `TokenUpdate`.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "a row's facts, each with its own type"
    )]
    pub fn begin(
        organisation: OrganisationId,
        id: SetUpId,
        enrollment: &Enrollment,
        platform: Platform,
        move_id: Option<MoveId>,
        runbook: RunbookId,
        verdict: Verdict,
        now: Timestamp,
    ) -> Self {
        let mut set_up = Self {
            organisation,
            id,
            version: 0,
            enrollment: enrollment.id,
            device: enrollment.device,
            serial: enrollment.serial.clone(),
            platform,
            os_version: None,
            move_id,
            runbook,
            verdict,
            state: SetUpState::Enrolling { since: now },
            wake_at: None,
            ceiling_at: None,
            attention: None,
            exceptions: Vec::new(),
            began: now,
            hold_began: None,
            enrolled: None,
            let_out: None,
            released: None,
            release_told: None,
            heard: Some(now),
            user_seen: false,
            user_is_other: false,
            user_expected: false,
            deadlines: Vec::new(),
            token_stored: None,
            lock_unread: false,
            lock_off: false,
            last_chance: None,
            tags: BTreeSet::new(),
            declared: Some(false),
            apple_silicon: None,
            proofs: Steps::new(),
        };
        set_up.wake_at = runner::wake(&set_up, None, now);
        set_up
    }

    /// Where it is, as far as its Move cares.
    #[must_use]
    pub fn phase(&self) -> SetUpPhase {
        match &self.state {
            SetUpState::Enrolling { .. } => SetUpPhase::Enrolling,
            SetUpState::NoHold { .. } => SetUpPhase::NoHold,
            SetUpState::Holding { .. } => SetUpPhase::Holding,
            SetUpState::Releasing { .. } => SetUpPhase::Releasing,
            SetUpState::Proving { .. } => SetUpPhase::Proving,
            SetUpState::Stalled { .. } => SetUpPhase::Stalled,
            SetUpState::Ended(end) => SetUpPhase::Ended {
                end: *end,
                exceptions: self.exceptions.clone(),
            },
        }
    }

    /// Its steps and where each stands; `None` before enrolment and after the end.
    #[must_use]
    pub fn steps(&self) -> Option<&Steps> {
        self.state.steps()
    }

    /// Its steps where they stand, or after its end where they stood then.
    #[must_use]
    pub fn steps_or_proofs(&self) -> &Steps {
        self.state.steps().unwrap_or(&self.proofs)
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, SetUpState::Ended(_))
    }

    /// Something that its proof waited for has come: it looks now, however long it wanted to wait.
    pub(crate) fn look_now(&mut self, now: Timestamp) {
        let verify = self
            .state
            .steps_mut()
            .and_then(|s| s.get_mut(&StepId::Verify));
        if let Some(verify) = verify.filter(|verify| verify.is_running()) {
            verify.look_at = Some(now);
            self.wake_at = Some(now);
        }
    }

    /// Since when its device is in a hold, being released included; `None` outside of one.
    #[must_use]
    pub fn held_since(&self) -> Option<Timestamp> {
        held_since(&self.state).map(|since| self.hold_began.unwrap_or(since))
    }
}

/// Since when it is in a hold or being released; a silent one is where it was.
fn held_since(state: &SetUpState) -> Option<Timestamp> {
    match state {
        SetUpState::Holding { since, .. } | SetUpState::Releasing { since, .. } => Some(*since),
        SetUpState::Stalled { from, .. } => held_since(from),
        SetUpState::Enrolling { .. }
        | SetUpState::NoHold { .. }
        | SetUpState::Proving { .. }
        | SetUpState::Ended(_) => None,
    }
}

/// Where a set-up stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
        /// The device itself said that it does not wait; before that it is asked, and guarded like a hold.
        #[serde(default)]
        proved: bool,
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

impl SetUpState {
    /// The steps of a state that has them; of a silent one, those of where it was.
    #[must_use]
    pub fn steps(&self) -> Option<&Steps> {
        match self {
            Self::NoHold { steps, .. }
            | Self::Holding { steps, .. }
            | Self::Releasing { steps, .. }
            | Self::Proving { steps, .. } => Some(steps),
            Self::Stalled { from, .. } => from.steps(),
            Self::Enrolling { .. } | Self::Ended(_) => None,
        }
    }

    pub(super) fn steps_mut(&mut self) -> Option<&mut Steps> {
        match self {
            Self::NoHold { steps, .. }
            | Self::Holding { steps, .. }
            | Self::Releasing { steps, .. }
            | Self::Proving { steps, .. } => Some(steps),
            Self::Stalled { from, .. } => from.steps_mut(),
            Self::Enrolling { .. } | Self::Ended(_) => None,
        }
    }
}

/// Advances a set-up. Total: every state has an answer to every event; what comes out of turn is noise and leaves it as it was.
#[must_use]
pub fn advance_set_up(
    set_up: &SetUp,
    plan: &PinnedRunbook,
    event: &Event,
    now: Timestamp,
) -> Transition<SetUp> {
    runner::advance(set_up, Some(plan), event, now)
}

/// Advances a set-up whose runbook cannot be read: no step starts, a person is asked for, and the hold ends at its
/// ceiling like any other. Once the runbook can be read again, [`advance_set_up`] goes on with it.
#[must_use]
pub fn advance_unreadable(set_up: &SetUp, event: &Event, now: Timestamp) -> Transition<SetUp> {
    runner::advance(set_up, None, event, now)
}

/// The release, shared by runner, watchdog and operator: needs no runbook. Doing it twice makes no second command.
/// Outside of a hold it is noise.
#[must_use]
pub fn release(set_up: &SetUp, now: Timestamp) -> Transition<SetUp> {
    let mut next = set_up.clone();
    let mut effects = Vec::new();
    runner::begin_release(&mut next, LetOutBy::Ceiling, now, &mut effects);
    if !effects.is_empty() {
        if set_up.ceiling_at.is_some_and(|at| at <= now) {
            runner::last_chance::owe(&mut next, now);
        }
        next.wake_at = runner::wake(&next, None, now);
    }
    Transition { next, effects }
}
