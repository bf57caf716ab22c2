//! The words of the what-if: which checks there are, what they answer, and what an organisation says that an unknown counts as.
//! Looks at nothing itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::device::Platform;

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What is looked at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        pub enum Check {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Check {
            /// All, in the order in which people read them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name as people write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

checks! {
    /// The system is one that can migrate.
    OsMinimum = "os.minimum",
    /// An iPhone, an iPad or a Mac.
    FamilySupported = "family.supported",
    /// The organisation has it, and some service manages it.
    OrgMember = "org.member",
    /// Apple says that it can migrate.
    Capable = "capable",
    /// It was added by hand, and may still be taken out by whoever has it.
    Provisional = "provisional",
    /// A Shared iPad cannot migrate.
    SharedIpad = "shared-ipad",
    /// A device that returns to service by itself cannot migrate.
    ReturnToService = "return-to-service",
    /// It is still managed by the service that Apple names.
    AdeCurrent = "ade.current",
    /// The service that it leaves is another one than ours.
    OriginalKind = "original.kind",
    /// No other migration of it is under way.
    OtherPending = "other.pending",
    /// It is in no other open wave.
    InOtherWave = "in.other.wave",
    /// The managed user of a Mac will sign in before the deadline.
    ManagedUser = "managed.user",
    /// The original service has heard of it lately.
    ContactRecent = "contact.recent",
    /// Every managed app has a fate that somebody decided on.
    AppsMapped = "apps.mapped",
    /// There are licences for all.
    AppsLicences = "apps.licences",
    /// The list of its apps is there and young.
    AppsSource = "apps.source",
    /// Apps of one's own can be fetched, as far as this server has seen.
    AppsManifest = "apps.manifest",
    /// It has a network afterwards.
    WifiPath = "wifi.path",
    /// Its identities for networks are issued anew.
    IdentityReissue = "identity.reissue",
    /// What trusted it through the original service is known.
    TrustGap = "trust.gap",
    /// What else its profiles and declarations brought comes with us as well.
    ProfilesGap = "profiles.gap",
    /// One escrow profile, to a certificate whose key we hold.
    FvEscrow = "fv.escrow",
    /// The recovery key that it has now is held until it has a new one.
    FvOldkey = "fv.oldkey",
    /// It will give its bootstrap token to us.
    Bootstrap = "bootstrap",
    /// The lock that the runbook wants can be made and opened.
    LockPolicy = "lock.policy",
    /// Nobody has locked it to an account of their own.
    LockUser = "lock.user",
    /// Its ADE profile makes it wait for us.
    Await = "await",
    /// The push certificate lasts.
    PushCert = "push.cert",
    /// The server token lasts.
    AssignmentToken = "assignment.token",
    /// The content token lasts.
    ContentToken = "content.token",
    /// No other service gives out licences of the same location.
    ContentTokenShared = "content.token.shared",
    /// The authority of identities lasts.
    IdentityCa = "identity.ca",
    /// The listeners' certificate lasts.
    TlsCert = "tls.cert",
    /// Devices reach check-in, enrolment and SCEP by their public names.
    Endpoints = "endpoints",
    /// Apple is asked in a version that knows of migrations.
    ProtocolVersion = "protocol.version",
    /// Licences of a location that changes hands outlast the deadline.
    DeadlineLicences = "deadline.licences30",
    /// Every device is in it once.
    MembersUnique = "members.unique",
    /// What must be done at the original service is done.
    Prerequisites = "prerequisites",
    /// Apple takes the deadline.
    DeadlineRange = "deadline.range",
    /// The deadline lies in the window of the project.
    Window = "window",
    /// The deadline lies in no time that is kept free.
    Blackout = "blackout",
    /// No more devices are in a hold at once than there may be.
    Capacity = "capacity",
    /// No more devices of a group are in the gap at once than there may be.
    Gap = "gap",
    /// Somebody has turned the project on.
    Switch = "switch",
    /// The wave before this one has passed its gate.
    Gate = "gate",
    /// Apple's budget lets everything leave in time.
    PostBudget = "post.budget",
    /// The runbook can be run.
    RunbookValid = "runbook.valid",
    /// Where a device stands, there is a way back.
    ReturnWay = "return.way",
}

impl Check {
    /// Whether acceptances are bound to what it finds. What a process sees outside by itself comes and goes with that process, and says
    /// nothing of the plan.
    pub(crate) const fn binds(self) -> bool {
        !matches!(self, Self::AppsManifest | Self::Endpoints | Self::TlsCert)
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a check found. Sorted by weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "four answers, each decided on")]
pub enum CheckResult {
    /// Nothing stands against it.
    Pass,
    /// Nobody has told. Never silently a pass: [`Unknowns`] says what it counts as.
    Unknown,
    /// It should be known.
    Warn,
    /// It does not go.
    Block,
}

/// What an unknown counts as: the organisation's own rules, and beside them the default that everything warns and apps of an iPhone
/// or iPad block, for what is not known there is lost with its data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "rules by their checks")]
pub struct Unknowns(pub BTreeMap<Check, CheckResult>);

impl Unknowns {
    /// What an unknown of this check counts as, for a device of this platform.
    #[must_use]
    pub fn of(&self, check: Check, platform: Option<Platform>) -> CheckResult {
        let by_default = match check {
            Check::AppsMapped | Check::AppsSource | Check::AppsLicences
                if platform.is_some_and(|p| !p.is_mac()) =>
            {
                CheckResult::Block
            }
            _ => CheckResult::Warn,
        };
        self.0.get(&check).copied().unwrap_or(by_default)
    }
}
