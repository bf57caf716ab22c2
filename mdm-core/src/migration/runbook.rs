//! The plan of a hold: steps with their order, evidence, time-outs and policies, pinned for a set-up. Plain data; the
//! standard runbooks are made here, the steps themselves are under `steps/`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::device::Platform;
use crate::ids::{OrganisationId, RunbookId};
use crate::organisation::Der;

/// The steps of migration in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Apps that are to be there or to stay are declared as required, where the system has that.
    DeclareApps,
    /// Activation Lock.
    Lock,
    /// The password before recoveryOS (Mac with Apple silicon).
    RecoveryLock,
    /// The end of the hold.
    Release,
    /// The proof afterwards.
    Verify,
    /// Tags that the device gets.
    Tag,
    /// Notices.
    Tell,
}

impl StepId {
    /// All, in order.
    pub const ALL: [Self; 17] = [
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
        Self::DeclareApps,
        Self::Lock,
        Self::RecoveryLock,
        Self::Release,
        Self::Verify,
        Self::Tag,
        Self::Tell,
    ];

    /// Those that install or keep apps by commands.
    pub(crate) const OF_APPS: [Self; 3] = [Self::AppsRequired, Self::AppsKeep, Self::Apps];

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
            Self::DeclareApps => "declare-apps",
            Self::Lock => "lock",
            Self::RecoveryLock => "recovery-lock",
            Self::Release => "release",
            Self::Verify => "verify",
            Self::Tag => "tag",
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Only for devices that had one of these tags when they enrolled, or whose owner is in one of these groups
    /// (`group:NAME`); for every device when empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub only: BTreeSet<String>,
    /// The tags that the steps `tag` and `tell` give.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
}

/// How a group of a device's owner is written where tags stand.
pub(crate) const GROUP: &str = "group:";

/// What is to become of one app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

impl AppPlan {
    /// Whether what the row says can come true: an app that is to be there or to stay has a number in the store or a manifest, by
    /// which it can be licensed and asked for.
    #[must_use]
    pub const fn can_be_had(&self) -> bool {
        matches!(self.action, AppAction::Drop)
            || self.store_id.is_some()
            || self.manifest_url.is_some()
    }
}

/// What a profile of the runbook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

impl ProfileRole {
    /// The step that installs profiles of this role.
    #[must_use]
    pub const fn step(self) -> StepId {
        match self {
            Self::Trust => StepId::Trust,
            Self::Network => StepId::Network,
            Self::Security => StepId::Security,
        }
    }
}

/// One row of the profile table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "data that organisations edit")]
pub struct ProfilePlan {
    /// Top-level `PayloadIdentifier`.
    pub identifier: String,
    /// Which step installs it.
    pub role: ProfileRole,
    /// The configuration profile as it is sent. It may hold passwords: pinning a runbook seals it, so that in the store, and
    /// wherever a pinned runbook is read, this is the vault's sealed form. Where people edit, it may be left out: then the
    /// profile of this identifier in the library is meant.
    #[serde(default = "no_content")]
    pub content: Der,
}

const fn no_content() -> Der {
    Der(Vec::new())
}

/// Which kind of enrolment it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Status items, by their dotted names, and the values that the step `declare` waits for. Without any, its first report is
    /// enough. It waits no longer than its time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub status: BTreeMap<String, Value>,
}

impl PinnedRunbook {
    /// The plan of one step, if it is in this runbook.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&StepPlan> {
        self.steps.iter().find(|s| s.id == id)
    }

    /// The standard runbook: every step that the platform has, without apps and profiles, without a lock. An ordinary
    /// enrolment keeps no apps; an uncertain one does, which is harmless to a new device. The step `declare` is over at once for a
    /// device to which nothing is declared.
    #[must_use]
    pub fn standard(platform: Platform, variant: Variant) -> Self {
        let mac = platform.is_mac();
        let mut steps: Vec<StepPlan> = StepId::ALL
            .into_iter()
            .filter(|id| match id {
                StepId::DeclareApps | StepId::RecoveryLock | StepId::Tag => false,
                StepId::Bootstrap | StepId::FvEscrow | StepId::Apps => mac,
                StepId::AppsRequired => !mac,
                StepId::AppsKeep => !mac && variant != Variant::Ordinary,
                _ => true,
            })
            .map(StepPlan::standard)
            .collect();
        let before: Vec<StepId> = steps
            .iter()
            .map(|s| s.id)
            .filter(|id| *id < StepId::Release)
            .collect();
        for step in &mut steps {
            if step.id == StepId::Release {
                // Also those that are not required: each is bounded by its own time, and a command that waits behind the
                // release would come too late for the hold.
                step.requires.clone_from(&before);
            }
        }
        Self {
            revision: 1,
            variant,
            steps,
            apps: Vec::new(),
            profiles: Vec::new(),
            lock: false,
            soft_ceiling_secs: 20 * 60,
            hard_ceiling_secs: 45 * 60,
            status: BTreeMap::new(),
        }
    }

    /// The same with the step that declares the apps of its table, after those that install and keep them by commands.
    #[must_use]
    pub fn with_declared_apps(mut self) -> Self {
        if self.step(StepId::DeclareApps).is_some() {
            return self;
        }
        let mut step = StepPlan::standard(StepId::DeclareApps);
        let apps = StepId::OF_APPS.into_iter();
        step.requires
            .extend(apps.filter(|id| self.step(*id).is_some()));
        for later in &mut self.steps {
            if later.id == StepId::Release {
                later.requires.push(StepId::DeclareApps);
            }
        }
        self.steps.push(step);
        self.steps.sort_by_key(|step| step.id);
        self
    }

    /// The first status item that is not as the step `declare` waits for it.
    #[must_use]
    pub fn status_unmet<'a>(&self, told: impl Fn(&str) -> Option<&'a Value>) -> Option<&str> {
        let mut all = self.status.iter();
        let unmet = all.find(|(item, value)| told(item) != Some(*value));
        unmet.map(|(item, _)| item.as_str())
    }

    /// SHA-256 of its content, lower-case hex: what an acceptance is bound to.
    #[must_use]
    pub fn digest(&self) -> String {
        use std::fmt::Write as _;
        self.hash().iter().fold(String::new(), |mut text, byte| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// A positive id that comes from the content: the same content is pinned once, by whomever.
    #[must_use]
    pub fn content_id(&self) -> i64 {
        let hash = self.hash();
        let mut first = [0_u8; 8];
        first.copy_from_slice(&hash[..8]);
        i64::from_be_bytes(first) & i64::MAX
    }

    fn hash(&self) -> [u8; 32] {
        // Plain data without maps of other than text keys: its JSON cannot fail, and has one order.
        let json = serde_json::to_vec(self).unwrap_or_default();
        openssl::sha::sha256(&json)
    }
}

impl StepPlan {
    /// A step with its usual requirements, time and policy.
    #[must_use]
    pub fn standard(id: StepId) -> Self {
        use Policy::{Block, ReleaseWithException, Skip};
        let (requires, required, minutes, retries, on_timeout): (
            &[StepId],
            bool,
            u64,
            u16,
            Policy,
        ) = match id {
            StepId::Identify => (&[], true, 2, 3, Block),
            StepId::Declare => (&[StepId::Identify], false, 3, 0, Skip),
            StepId::Trust => (&[StepId::Identify], true, 3, 2, ReleaseWithException),
            StepId::Network | StepId::Security => {
                let required = matches!(id, StepId::Network);
                let minutes = if required { 3 } else { 5 };
                (&[StepId::Trust], required, minutes, 2, ReleaseWithException)
            }
            StepId::Bootstrap => (&[StepId::Identify], false, 5, 0, ReleaseWithException),
            StepId::FvEscrow => (&[StepId::Trust, StepId::Bootstrap], true, 5, 3, Block),
            StepId::AppsRequired => (&[StepId::Identify], true, 8, 2, ReleaseWithException),
            StepId::AppsKeep => (&[StepId::Identify], true, 20, 2, ReleaseWithException),
            StepId::Apps => (&[StepId::Identify], false, 2, 1, Skip),
            StepId::DeclareApps => (&[StepId::Identify], false, 5, 0, Skip),
            StepId::Lock => (&[StepId::Identify], true, 2, 3, ReleaseWithException),
            StepId::RecoveryLock => (&[StepId::Identify], true, 5, 2, ReleaseWithException),
            StepId::Release => (&[], true, 120, 0, Block),
            StepId::Verify => (&[StepId::Release], true, 24 * 60, 0, ReleaseWithException),
            StepId::Tag | StepId::Tell => (&[StepId::Release], false, 10, 0, Skip),
        };
        Self {
            id,
            requires: requires.to_vec(),
            required,
            timeout_secs: minutes * 60,
            retries,
            on_timeout,
            only: BTreeSet::new(),
            tags: BTreeSet::new(),
        }
    }

    /// Whether it is for a device with these tags and groups.
    #[must_use]
    pub fn is_for(&self, tags: &BTreeSet<String>) -> bool {
        self.only.is_empty() || !self.only.is_disjoint(tags)
    }
}

/// What steps know a device by: its tags, and the groups of its owner, where somebody told who that is.
pub(crate) fn known_by<'a>(
    tags: &BTreeSet<String>,
    groups: impl IntoIterator<Item = &'a String>,
) -> BTreeSet<String> {
    let groups = groups.into_iter().map(|group| format!("{GROUP}{group}"));
    tags.iter().cloned().chain(groups).collect()
}

/// A pinned runbook in the store: immutable, shared by every set-up with the same content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn standard() -> PinnedRunbook {
        PinnedRunbook::standard(Platform::Macos, Variant::Migration)
    }

    #[test]
    fn every_standard_runbook_can_be_run() {
        for platform in [Platform::Ios, Platform::Ipados, Platform::Macos] {
            for variant in [Variant::Migration, Variant::Uncertain, Variant::Ordinary] {
                let runbook = PinnedRunbook::standard(platform, variant);
                runbook.validate().unwrap();
                let declared = runbook.clone().with_declared_apps();
                declared.validate().unwrap();
                assert_eq!(declared.clone().with_declared_apps(), declared);
                assert!(runbook.step(StepId::Declare).is_some());
                let keeps = runbook.step(StepId::AppsKeep).is_some();
                assert_eq!(keeps, !platform.is_mac() && variant != Variant::Ordinary);
                assert_eq!(runbook.step(StepId::FvEscrow).is_some(), platform.is_mac());
            }
        }
    }

    #[test]
    fn the_standard_steps_have_the_times_and_policies_that_are_promised() {
        use Policy::{Block, ReleaseWithException as Release, Skip};
        let promised = [
            (StepId::Identify, true, 2, Block),
            (StepId::Declare, false, 3, Skip),
            (StepId::Trust, true, 3, Release),
            (StepId::Network, true, 3, Release),
            (StepId::Bootstrap, false, 5, Release),
            (StepId::FvEscrow, true, 5, Block),
            (StepId::Security, false, 5, Release),
            (StepId::AppsRequired, true, 8, Release),
            (StepId::AppsKeep, true, 20, Release),
            (StepId::Apps, false, 2, Skip),
            (StepId::Lock, true, 2, Release),
            (StepId::Verify, true, 24 * 60, Release),
        ];
        for (id, required, minutes, policy) in promised {
            let step = StepPlan::standard(id);
            let has = (step.required, step.timeout_secs, step.on_timeout);
            assert_eq!(has, (required, minutes * 60, policy), "{id}");
        }
        let requires = |id| StepPlan::standard(id).requires;
        for id in [StepId::Declare, StepId::Trust, StepId::Bootstrap] {
            assert_eq!(requires(id), [StepId::Identify], "{id}");
        }
        for id in [StepId::Network, StepId::Security] {
            assert_eq!(requires(id), [StepId::Trust], "{id}");
        }
        let escrow = [StepId::Trust, StepId::Bootstrap];
        assert_eq!(requires(StepId::FvEscrow), escrow);
        let runbook = standard();
        assert_eq!(runbook.soft_ceiling_secs, 20 * 60);
        assert_eq!(runbook.hard_ceiling_secs, 45 * 60);
    }

    #[test]
    fn the_same_content_has_the_same_id_and_another_has_another() {
        let mut other = standard();
        assert_eq!(standard().content_id(), other.content_id());
        assert!(other.content_id() > 0);
        other.lock = true;
        assert_ne!(standard().content_id(), other.content_id());
        assert_ne!(standard().digest(), other.digest());
        assert_eq!(other.digest().len(), 64);
    }
}
