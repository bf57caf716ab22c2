//! The what-if: what stands for and against moving a device, as far as facts tell, before anything is asked of Apple. Every
//! check says pass, warn, block or unknown, with the fact, where it comes from and how old it is, what would mend it and who can.
//! Pure: reads no store and no clock, and asks nobody.

mod apps;
mod device;
mod forecast;
mod network;
mod security;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use forecast::{AppFate, AppForecast, Forecast, LossOf, forecast};
pub use server::{Expiry, ServerFacts, look_at_server};

use super::{Owner, PinnedRunbook};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::ids::Serial;
use crate::original::{OriginalFacts, Told};

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What is looked at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// It has a network afterwards.
    WifiPath = "wifi.path",
    /// Its identities for networks are issued anew.
    IdentityReissue = "identity.reissue",
    /// What trusted it through the original service is known.
    TrustGap = "trust.gap",
    /// One escrow profile, to a certificate whose key we hold.
    FvEscrow = "fv.escrow",
    /// The recovery key of the original service is held here.
    FvOldKey = "fv.oldkey",
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
    /// The listeners' certificates last.
    TlsCert = "tls.cert",
    /// The authority of identities lasts.
    IdentityCa = "identity.ca",
    /// Apple takes the deadline.
    DeadlineRange = "deadline.range",
    /// Apple's budget lets everything leave in time.
    PostBudget = "post.budget",
    /// The runbook can be run.
    RunbookValid = "runbook.valid",
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a check found. Sorted by weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FactSource {
    /// The organisation API.
    Api,
    /// The assignment service.
    Assignment,
    /// A file of the original service.
    Import,
    /// The device itself, over the management channel.
    Mdm,
    /// Whoever runs this server: settings, runbooks.
    Operator,
}

/// What one check found for one device, or for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckFinding {
    /// Which check.
    pub check: Check,
    /// What it found.
    pub result: CheckResult,
    /// The fact, in plain words.
    pub fact: String,
    /// Where the fact comes from; none where nobody told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<FactSource>,
    /// When it was true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What would mend it; empty for a pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
    /// Who can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Owner>,
}

impl CheckFinding {
    pub(super) fn pass(check: Check, fact: impl Into<String>) -> Self {
        Self {
            check,
            result: CheckResult::Pass,
            fact: fact.into(),
            source: None,
            at: None,
            fix: String::new(),
            who: None,
        }
    }

    pub(super) fn block(check: Check, fact: impl Into<String>, fix: &str, who: Owner) -> Self {
        Self {
            result: CheckResult::Block,
            fix: fix.to_owned(),
            who: Some(who),
            ..Self::pass(check, fact)
        }
    }

    pub(super) fn warn(check: Check, fact: impl Into<String>, fix: &str, who: Owner) -> Self {
        Self {
            result: CheckResult::Warn,
            ..Self::block(check, fact, fix, who)
        }
    }

    pub(super) fn unknown(check: Check, fact: impl Into<String>, fix: &str, who: Owner) -> Self {
        Self {
            result: CheckResult::Unknown,
            ..Self::block(check, fact, fix, who)
        }
    }

    pub(super) fn from(mut self, source: FactSource, at: impl Into<Option<Timestamp>>) -> Self {
        self.source = Some(source);
        self.at = at.into();
        self
    }

    pub(super) fn import<T>(self, told: &Told<T>) -> Self {
        self.from(FactSource::Import, told.at)
    }

    /// The check and its fact in a line, for people.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}: {}", self.check, self.fact)
    }
}

/// What an unknown counts as. A rule of the organisation's, beside the defaults: everything warns, and apps of an iPhone or iPad
/// block, for what is not known there is lost with its data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "rules by their checks")]
pub struct Unknowns(pub BTreeMap<Check, CheckResult>);

impl Unknowns {
    /// What a finding counts as for a device of this platform.
    #[must_use]
    pub fn weigh(&self, finding: &CheckFinding, platform: Option<Platform>) -> CheckResult {
        if finding.result != CheckResult::Unknown {
            return finding.result;
        }
        let apps = matches!(finding.check, Check::AppsMapped | Check::AppsSource);
        let by_default = if apps && platform.is_some_and(|p| !p.is_mac()) {
            CheckResult::Block
        } else {
            CheckResult::Warn
        };
        self.0.get(&finding.check).copied().unwrap_or(by_default)
    }
}

/// What is known of a member when it is looked at.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct MemberFacts<'a> {
    /// The device, if there is one of that serial number.
    pub device: Option<&'a Device>,
    /// What the original service knew of it.
    pub original: Option<&'a OriginalFacts>,
    /// Its platform, as far as anything tells.
    pub platform: Option<Platform>,
    /// The runbook that it would have.
    pub runbook: Option<&'a PinnedRunbook>,
    /// What the profiles of the runbook and of the enrolment bring.
    pub brings: &'a Brings,
    /// The identifier at Apple of the server entry that it goes to.
    pub destination: &'a str,
    /// The names of the organisation's services, by their identifiers at Apple.
    pub services: &'a [(String, String)],
    /// It is in another wave that is open.
    pub in_other_wave: bool,
    /// When Apple enforces it.
    pub deadline: Timestamp,
    /// When our profile is assigned.
    pub available_from: Timestamp,
    /// The escrow of recovery keys: whether there is a certificate, and whether its key was seen to open what is sealed to it.
    pub escrow: Option<bool>,
}

/// What the profiles that a device gets from us bring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two sets")]
pub struct Brings {
    /// Names of Wi-Fi networks.
    pub networks: BTreeSet<String>,
    /// `PayloadType`s.
    pub payloads: BTreeSet<String>,
}

/// Everything that can be said of one member.
#[must_use]
pub fn look(facts: &MemberFacts<'_>, now: Timestamp) -> Vec<CheckFinding> {
    let mut found = Vec::new();
    device::look(facts, now, &mut found);
    apps::look(facts, now, &mut found);
    network::look(facts, &mut found);
    security::look(facts, &mut found);
    found.sort_by_key(|f| f.check);
    found
}

/// Reasons by devices: for every check and answer, which devices it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a table")]
pub struct Matrix {
    /// Rows, the weightiest first.
    pub rows: Vec<MatrixRow>,
}

/// A reason and the devices that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a row of a table")]
pub struct MatrixRow {
    /// Which check.
    pub check: Check,
    /// What it found; unknown stays unknown here.
    pub result: CheckResult,
    /// What it counts as.
    pub counts_as: CheckResult,
    /// What would mend it, once for each way.
    pub fixes: BTreeSet<String>,
    /// Which devices.
    pub devices: BTreeSet<Serial>,
}

impl Matrix {
    /// Of what was found for each device. Passes are left out: they are what is not in it.
    #[must_use]
    pub fn of<'a>(
        found: impl IntoIterator<Item = (&'a Serial, Option<Platform>, &'a [CheckFinding])>,
        unknowns: &Unknowns,
    ) -> Self {
        let mut rows: BTreeMap<_, MatrixRow> = BTreeMap::new();
        for (serial, platform, findings) in found {
            for finding in findings.iter().filter(|f| f.result != CheckResult::Pass) {
                let counts_as = unknowns.weigh(finding, platform);
                let key = (std::cmp::Reverse(counts_as), finding.check, finding.result);
                let row = rows.entry(key).or_insert_with(|| MatrixRow {
                    check: finding.check,
                    result: finding.result,
                    counts_as,
                    fixes: BTreeSet::new(),
                    devices: BTreeSet::new(),
                });
                row.fixes.insert(finding.fix.clone());
                row.devices.insert(serial.clone());
            }
        }
        Self {
            rows: rows.into_values().collect(),
        }
    }

    /// What is in this one and was not in an earlier one, and the other way round: by check and answer, which devices.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> MatrixChange {
        let sets = |of: &Self| -> BTreeMap<(Check, CheckResult), BTreeSet<Serial>> {
            of.rows
                .iter()
                .map(|r| ((r.check, r.result), r.devices.clone()))
                .collect()
        };
        let (now, before) = (sets(self), sets(earlier));
        let beyond = |a: &BTreeMap<_, BTreeSet<Serial>>, b: &BTreeMap<_, BTreeSet<Serial>>| {
            let none = BTreeSet::new();
            a.iter()
                .filter_map(|(&(check, result), devices)| {
                    let other = b.get(&(check, result)).unwrap_or(&none);
                    let more: BTreeSet<Serial> = devices.difference(other).cloned().collect();
                    (!more.is_empty()).then_some((check, result, more))
                })
                .collect()
        };
        MatrixChange {
            appeared: beyond(&now, &before),
            gone: beyond(&before, &now),
        }
    }
}

/// The difference of two matrices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "two lists")]
pub struct MatrixChange {
    /// What is new.
    pub appeared: Vec<(Check, CheckResult, BTreeSet<Serial>)>,
    /// What is no more.
    pub gone: Vec<(Check, CheckResult, BTreeSet<Serial>)>,
}

#[cfg(test)]
mod tests;
