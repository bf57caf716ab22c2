//! Everything that can happen to a [`super::Move`] or a [`super::SetUp`]: a closed list. Carries no secret and no plist.

use serde::{Deserialize, Serialize};

use super::{Exception, Notice, SetUpEnd, StepId};
use crate::app_state::AppState;
use crate::clock::Timestamp;
use crate::device::{OrgReading, Platform};
use crate::ids::{SecretId, SetUpId};
use crate::queue::ReportStatus;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(
    clippy::exhaustive_enums,
    reason = "closed on purpose: both machines answer every event"
)]
pub enum Event {
    // ---- Apple's side, for a Move ----
    /// The checks ran; an empty list clears.
    Checked {
        /// What blocks, in plain words.
        blockers: Vec<String>,
    },
    /// The what-if was accepted, and the digest still matches.
    Accepted,
    /// The wave was submitted: this member is in a request that is about to be posted.
    SubmitAsked {
        /// The deadline that the request names.
        deadline: Timestamp,
    },
    /// Apple accepted the request as an activity.
    ActivityPosted {
        /// The activity's id.
        activity: String,
    },
    /// Apple refused the request, or a row of the activity's result names this device as failed.
    SubmitRefused {
        /// Apple's word.
        why: String,
    },
    /// The organisation API was read again.
    OrgTold {
        /// What it says.
        reading: OrgReading,
        /// Our own server entry there.
        destination: String,
        /// The server entry that the device left, as recorded when it was planned.
        original: Option<String>,
    },
    /// The assignment service's record changed or was read.
    AssignmentTold {
        /// The device stands in our list.
        ours: bool,
        /// An ADE profile of ours that awaits configuration is in force.
        profile_in_force: bool,
        /// The deadline in the record.
        deadline: Option<Timestamp>,
    },
    /// A person moved the deadline.
    DeadlineMoved {
        /// The new one.
        deadline: Timestamp,
    },
    /// The deadline stays another than the one that was asked for: this is the one that Apple shows.
    DeadlineStays {
        /// It.
        deadline: Timestamp,
    },
    /// A person cancels the migration.
    CancelAsked,
    /// A person takes the member out of the wave.
    WithdrawAsked,
    /// A person gives it up: the device will not come, or not come back.
    GivenUp {
        /// Who, and why.
        why: String,
    },
    /// The device fetched its enrolment profile: its signed machine information proved the serial number.
    ProfileFetched,
    /// The set-up of the device's enrolment changed; comes in the same batch as that change.
    SetUpChanged {
        /// The set-up.
        set_up: SetUpId,
        /// Where it is now.
        phase: SetUpPhase,
    },

    // ---- the device's side, for a SetUp ----
    /// The first TokenUpdate of this enrolment was accepted.
    Enrolled {
        /// `AwaitingConfiguration` as the device sent it; `None` when the key was absent.
        awaiting: Option<bool>,
        /// Whether the ADE profile in force awaits configuration.
        profile_awaits: bool,
    },
    /// A user channel of this device enrolled.
    UserEnrolled,
    /// A status report of declarative management came.
    StatusReported {
        /// The first status item that the runbook waits for and that is not as it should be.
        unmet: Option<String>,
    },
    /// A status report said how declared apps are.
    AppsDeclared {
        /// Those of the runbook's table that it says anything of.
        readings: Vec<AppReading>,
    },
    /// The bootstrap token is in our vault.
    BootstrapTokenStored,
    /// The device asks for its next command, and that would be the end of its hold.
    BeforeRelease,
    /// The device asks for other commands, again and again, and does not answer this one.
    Unanswered {
        /// Whose command.
        step: StepId,
        /// Which of the step's commands.
        part: u16,
        /// Which try.
        attempt: u16,
    },
    /// The device said whether it waits, outside of a command's report.
    AwaitingTold {
        /// What it said.
        awaiting: bool,
    },
    /// A command of a step was answered.
    Reported {
        /// Whose command.
        step: StepId,
        /// Which of the step's commands.
        part: u16,
        /// Which try.
        attempt: u16,
        /// The status.
        status: ReportStatus,
        /// What it told.
        told: Told,
    },
    /// A lock request at Apple was answered.
    LockAnswered {
        /// The answer.
        answer: LockReading,
    },
    /// A notice went out.
    Told {
        /// Which.
        notice: Notice,
    },
    /// An effect failed for good; the worker will not try again by itself.
    EffectFailed {
        /// Which.
        effect: super::EffectKey,
        /// Why.
        why: String,
    },
    /// The device checked out, or its enrolment was removed.
    CheckedOut,
    /// A later enrolment of the same device completed.
    Superseded,

    // ---- both ----
    /// The wake-up came.
    Woke,
    /// A person acted.
    Operator(OperatorAct),
}

/// What a person may do to one device's set-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum OperatorAct {
    /// Release it now, whatever is missing.
    Release,
    /// Start a step again.
    RetryStep(StepId),
}

/// Where a set-up is, as far as its Move cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_enums, reason = "a Move answers each")]
pub enum SetUpPhase {
    /// Authenticated, not yet enrolled.
    Enrolling,
    /// Enrolled without a hold.
    NoHold,
    /// In the hold.
    Holding,
    /// Release is under way.
    Releasing,
    /// Out of the hold; proofs are collected.
    Proving,
    /// Went silent.
    Stalled,
    /// Ended, with its exceptions.
    Ended {
        /// How.
        end: SetUpEnd,
        /// What did not come true.
        exceptions: Vec<Exception>,
    },
}

/// What a command's report told, as far as a step cares. Built by the features; content that is secret stays in the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Told {
    /// Nothing beyond the status.
    Nothing,
    /// An error chain's first sentence.
    Failure {
        /// Domain and code, for people; never branched on.
        why: String,
    },
    /// Answers about the device itself.
    Identity {
        /// Serial number, if it gave one.
        serial: Option<String>,
        /// Whether it waits, if it said so.
        awaiting: Option<bool>,
        /// Platform by its product name.
        platform: Option<Platform>,
        /// Operating-system version.
        os_version: Option<String>,
    },
    /// Identifiers of installed configuration profiles.
    Profiles(Vec<String>),
    /// Bundle identifiers of installed apps.
    Installed(Vec<String>),
    /// State of each managed app.
    Managed(Vec<AppReading>),
    /// The answer to one app's installation.
    App(AppReading),
    /// Security state.
    Security {
        /// FileVault is on; `None` when the device did not say.
        filevault_on: Option<bool>,
        /// What became of the recovery key.
        key: KeyReading,
    },
    /// The password before recoveryOS.
    RecoveryLock {
        /// Whether the one that it was asked for is in force.
        verified: bool,
    },
}

/// One app and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a pair")]
pub struct AppReading {
    /// Bundle identifier.
    pub bundle_id: String,
    /// Its state.
    pub state: AppState,
}

/// What a security report says of the recovery key. The key itself is in the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(
    clippy::exhaustive_enums,
    reason = "the table of evaluation, row by row"
)]
pub enum KeyReading {
    /// Nothing was said.
    NotTold,
    /// A key exists, but none was escrowed to us (yet).
    NotEscrowed,
    /// It was escrowed to a certificate that is not ours.
    ForeignCertificate,
    /// It opens, but has not the form of a recovery key; the envelope is kept.
    BadForm,
    /// It opens and is sealed in the vault.
    Escrowed {
        /// Where.
        secret: SecretId,
        /// Differs from what we held before.
        changed: bool,
    },
}

/// Apple's answer to a lock request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_enums, reason = "what a step decides on")]
pub enum LockReading {
    /// Locked; our code is sealed.
    Locked,
    /// A lock exists already.
    AlreadyLocked {
        /// How far it can be ours.
        claim: LockClaim,
    },
    /// Apple will not lock this device.
    Refused {
        /// Apple's word.
        why: String,
    },
}

/// How far a lock that exists already can be ours. Apple does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "what a step decides on")]
pub enum LockClaim {
    /// Apple has confirmed an earlier request with the code that we hold.
    Ours,
    /// An earlier request with the same code went out, or was about to, and its answer never came: *asked, not yet read*.
    Asked,
    /// We have never asked with the code that we hold: somebody else was first.
    Foreign,
}
