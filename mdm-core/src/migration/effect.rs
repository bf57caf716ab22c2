//! Everything that the machines may ask of the outside: a closed list. Each may be done twice without harm.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::StepId;
use crate::clock::Timestamp;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(
    clippy::exhaustive_enums,
    reason = "closed on purpose: the service does every one"
)]
pub enum Effect {
    /// Queue a command for the device channel and wake it. UUID from set-up, step, part and attempt.
    Command {
        /// Whose command.
        step: StepId,
        /// Which of the step's commands.
        part: u16,
        /// Which try; a new one is a new command.
        attempt: u16,
        /// What to say.
        ask: Ask,
    },
    /// Wake the device again; everything it should do is queued already.
    Push,
    /// Take this step's commands out of the queue, as far as they are not final.
    DropCommands {
        /// Whose commands.
        step: StepId,
    },
    /// Make (once) and seal a bypass code, then ask Apple for the lock with its hash.
    Lock,
    /// Read the device at the organisation API, when the read budget allows.
    ReadDevice,
    /// Ask Apple's audit events, once, who did what with the device since its migration was asked for.
    AskWho,
    /// Ask Apple to cancel the migration and, if needed, to assign the device back to the original.
    Cancel,
    /// Move the deadline at Apple.
    MoveDeadline {
        /// The new one.
        deadline: Timestamp,
    },
    /// Make the ADE profile be in force, not before this moment.
    Offer {
        /// *Available from*.
        from: Timestamp,
    },
    /// Give the device tags.
    Tag {
        /// Which.
        tags: BTreeSet<String>,
    },
    /// Tell people or programs.
    Notify(Notice),
}

/// Names an effect without its content, so that a failure can be told to the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(
    clippy::exhaustive_enums,
    reason = "one for each effect that can fail for good"
)]
pub enum EffectKey {
    /// The lock request.
    Lock,
    /// The reading.
    ReadDevice,
    /// The cancellation.
    Cancel,
    /// The moved deadline.
    MoveDeadline,
    /// A notice.
    Notify(Notice),
    /// A command that could not be built (a missing certificate, an unreadable secret).
    Command(StepId),
}

/// What a command says, in our words; the features make the plist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_enums, reason = "closed: the features build each")]
pub enum Ask {
    /// Who are you, do you wait? (`DeviceInformation`)
    Identify,
    /// Do you still wait? (`DeviceInformation`)
    Awaiting,
    /// Install a configuration profile of the runbook. (`InstallProfile`)
    InstallProfile {
        /// `PayloadIdentifier` as in the runbook's profile table.
        identifier: String,
    },
    /// Install the escrow profile. (`InstallProfile`)
    InstallEscrow,
    /// Which profiles are there? (`ProfileList`)
    Profiles,
    /// Which of these apps are there? The device may list others too, and spell these otherwise. (`InstalledApplicationList`)
    InstalledApps {
        /// Bundle identifiers as in the runbook's app table.
        identifiers: Vec<String>,
    },
    /// Install or take over an app. (`InstallApplication`)
    InstallApp {
        /// Bundle identifier as in the runbook's app table.
        bundle_id: String,
        /// It is on the device already and must be taken over with its data.
        keep: bool,
    },
    /// How are the managed apps? (`ManagedApplicationList`)
    ManagedApps {
        /// Bundle identifiers, as the device spells them where that is known.
        identifiers: Vec<String>,
    },
    /// FileVault and security state. (`SecurityInfo`)
    Security,
    /// Take the password in the vault before recoveryOS; one that is not there is made first. (`SetRecoveryLock`)
    SetRecoveryLock,
    /// Is the password in the vault the one in force? (`VerifyRecoveryLock`)
    VerifyRecoveryLock,
    /// The device's own bypass code. (`ActivationLockBypassCode`)
    BypassCode,
    /// Use declarations and report status. (`DeclarativeManagement`)
    Declare,
    /// Take these apps as declared, and report how they are. (`DeclarativeManagement`)
    DeclareApps {
        /// Bundle identifiers as in the runbook's app table.
        identifiers: Vec<String>,
    },
    /// End the hold. (`DeviceConfigured`)
    Release,
}

/// Top-level `PayloadIdentifier` of the escrow profile: what [`Ask::InstallEscrow`] installs and [`Ask::Profiles`] proves.
pub const ESCROW_PROFILE: &str = "mdmd.filevault-escrow";

/// What people or programs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// The device was offered the migration.
    Offered,
    /// Its deadline has passed and nothing was seen; comes again as a reminder.
    Overdue,
    /// It started.
    Started,
    /// The hold began.
    Holding,
    /// It was released.
    Released,
    /// It ended well.
    Migrated,
    /// It ended with exceptions.
    Exception,
    /// It is not expected any more: called back, withdrawn after it was offered, or given up.
    CalledOff,
}

impl Notice {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Offered,
        Self::Overdue,
        Self::Started,
        Self::Holding,
        Self::Released,
        Self::Migrated,
        Self::Exception,
        Self::CalledOff,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Overdue => "overdue",
            Self::Started => "started",
            Self::Holding => "holding",
            Self::Released => "released",
            Self::Migrated => "migrated",
            Self::Exception => "exception",
            Self::CalledOff => "called_off",
        }
    }
}
