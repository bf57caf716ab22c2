//! The plan of a hold: steps with their order, evidence, time-outs and policies, pinned for a set-up. Plain data; the
//! standard runbooks are made here, the steps themselves are under `steps/`.

use serde::{Deserialize, Serialize};

use crate::ids::{OrganisationId, RunbookId};
use crate::organisation::Der;

/// The steps of migration in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "each has one file under steps/")]
pub enum StepId {
    /// Who is it: serial number as planned.
    Identify,
    /// Declarations are enabled.
    Declare,
    /// Certificates that it must trust.
    Trust,
    /// Wi-Fi, VPN, proxy.
    Network,
    /// The bootstrap token came (Mac).
    Bootstrap,
    /// The escrow profile is installed (Mac).
    FvEscrow,
    /// Restrictions, approvals.
    Security,
    /// Apps that must be there (iPhone, iPad).
    AppsRequired,
    /// Apps that are there and must stay, with their data (iPhone, iPad).
    AppsKeep,
    /// Apps of a Mac.
    Apps,
    /// Activation Lock.
    Lock,
    /// The end of the hold.
    Release,
    /// The proof afterwards.
    Verify,
    /// Notices.
    Tell,
}

impl StepId {
    /// All, in order.
    pub const ALL: [Self; 14] = [
        Self::Identify,
        Self::Declare,
        Self::Trust,
        Self::Network,
        Self::Bootstrap,
        Self::FvEscrow,
        Self::Security,
        Self::AppsRequired,
        Self::AppsKeep,
        Self::Apps,
        Self::Lock,
        Self::Release,
        Self::Verify,
        Self::Tell,
    ];

    /// Its name as people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Declare => "declare",
            Self::Trust => "trust",
            Self::Network => "network",
            Self::Bootstrap => "bootstrap",
            Self::FvEscrow => "fv-escrow",
            Self::Security => "security",
            Self::AppsRequired => "apps-required",
            Self::AppsKeep => "apps-keep",
            Self::Apps => "apps",
            Self::Lock => "lock",
            Self::Release => "release",
            Self::Verify => "verify",
            Self::Tell => "tell",
        }
    }
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a step's time-out leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "three policies, each decided on")]
pub enum Policy {
    /// Wait up to the hard ceiling of the hold, then release with exception.
    Block,
    /// Go on without it; an exception if it was required.
    ReleaseWithException,
    /// Go on without it, no exception.
    Skip,
}

/// One step as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "data that organisations edit")]
pub struct StepPlan {
    /// Which.
    pub id: StepId,
    /// Steps that must be over before it starts.
    pub requires: Vec<StepId>,
    /// Release waits for it, and its failure is an exception.
    pub required: bool,
    /// Seconds from its start to its time-out.
    pub timeout_secs: u64,
    /// How often it is tried again after an error.
    pub retries: u16,
    /// What the time-out leads to.
    pub on_timeout: Policy,
}

/// What is to become of one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "three fates, each decided on")]
pub enum AppAction {
    /// Must be there afterwards, whether it was or not.
    Install,
    /// Keep it with its data if it is there; do not install it anew.
    KeepIfPresent,
    /// May go, with its data; accepted.
    Drop,
}

/// One row of the app table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "data that organisations edit")]
pub struct AppPlan {
    /// Bundle identifier.
    pub bundle_id: String,
    /// App Store identifier.
    pub store_id: Option<u64>,
    /// Manifest of an enterprise app.
    pub manifest_url: Option<String>,
    /// Its fate.
    pub action: AppAction,
}

/// What a profile of the runbook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "one for each step that installs profiles"
)]
pub enum ProfileRole {
    /// Certificates.
    Trust,
    /// Wi-Fi, VPN, proxy.
    Network,
    /// Restrictions, approvals.
    Security,
}

/// One row of the profile table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "data that organisations edit")]
pub struct ProfilePlan {
    /// Top-level `PayloadIdentifier`.
    pub identifier: String,
    /// Which step installs it.
    pub role: ProfileRole,
    /// The configuration profile as it is sent. Must hold no secret; profiles with passwords are sealed and named.
    pub content: Der,
}

/// Which kind of enrolment it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the three verdicts")]
pub enum Variant {
    /// A migration.
    Migration,
    /// It may be one: the ordinary set-up plus the steps that preserve apps.
    Uncertain,
    /// Not one.
    Ordinary,
}

/// The pinned revision of a runbook with a device's app and profile tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "data that organisations edit")]
pub struct PinnedRunbook {
    /// Which edit of the runbook.
    pub revision: u32,
    /// For which kind of enrolment.
    pub variant: Variant,
    /// The steps.
    pub steps: Vec<StepPlan>,
    /// The app table.
    pub apps: Vec<AppPlan>,
    /// The profile table.
    pub profiles: Vec<ProfilePlan>,
    /// Whether an Activation Lock is wanted.
    pub lock: bool,
    /// Seconds after which a person is told that a hold is long.
    pub soft_ceiling_secs: u64,
    /// Seconds after which a hold ends, evidence or not.
    pub hard_ceiling_secs: u64,
}

impl PinnedRunbook {
    /// The plan of one step, if it is in this runbook.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&StepPlan> {
        self.steps.iter().find(|s| s.id == id)
    }
}

/// A pinned runbook in the store: immutable, shared by every set-up with the same content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a row")]
pub struct Pinned {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: RunbookId,
    /// What people call it.
    pub name: String,
    /// The content.
    pub runbook: PinnedRunbook,
}
