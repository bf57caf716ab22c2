//! The what-if: what stands for and against moving a device, as far as facts tell, before anything is asked of Apple. Every
//! check says pass, warn, block or unknown, with the fact, where it comes from and how old it is, what would mend it and who can.
//! Pure: reads no store and no clock, and asks nobody.

mod apps;
mod back;
mod device;
pub(crate) use device::{FURTHEST, NO_USER, NOBODY_TOLD};
mod for_whom;
mod forecast;
mod manifests;
mod missing;
mod network;
mod profiles;
mod project;
mod security;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use apps::{licence_not_known, missing_licence, without_licence};
pub use back::{BackFacts, WayBack, look_back};
pub use for_whom::{ForNobody, StepCounter};
pub(crate) use forecast::at_stake;
pub use forecast::{AppFate, AppForecast, Forecast, Forecaster, LossOf, NoLicence};
pub use manifests::Manifests;
pub use profiles::{DeliveredBy, ProfileCounter, ProfileKind, ProfileRow, ProfileTable};
pub use project::{InGap, ProjectFacts, Terms};
pub(crate) use project::{Past, look_past, look_past_all, met_line, over_limits};
pub(crate) use server::budget as budget_finding;
pub use server::{Ends, Expiry, ServerFacts, look_at_returns, look_at_server};

use super::{Owner, PinnedRunbook, StepId};
pub use crate::check::{Check, CheckResult, Unknowns};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::ids::Serial;
use crate::original::{BY_DEVICE, OriginalFacts, Told};

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// This server's own look at its doors by their public names.
    Probe,
}

/// What one check found for one device, or for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// What an acceptance is bound to, where that is not the fact as people read it.
    #[serde(skip)]
    bound: Option<String>,
    /// It is of others than those that are looked at.
    #[serde(skip)]
    aside: bool,
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
            bound: None,
            aside: false,
        }
    }

    /// A pass that rests on somebody's word.
    pub(crate) fn said(check: Check, fact: impl Into<String>) -> Self {
        Self::pass(check, fact).from(FactSource::Operator, None)
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

    /// Binds an acceptance to this and not to the fact: to more where the fact names examples, to less where it counts days or says
    /// when something was read.
    pub(super) fn binding(mut self, to: impl Into<String>) -> Self {
        self.bound = Some(to.into());
        self
    }

    /// Binds no acceptance: what is found goes by others than those that are looked at.
    pub(super) fn aside(mut self) -> Self {
        self.aside = true;
        self
    }

    /// What an acceptance of it is bound to: another fact voids it, and time that passes does not.
    pub(crate) fn bound(&self) -> &str {
        self.bound.as_deref().unwrap_or(&self.fact)
    }

    /// The fact without what is this device's alone, so that alike ones can be counted.
    pub(crate) fn bound_line(&self) -> &str {
        match self.check {
            Check::AppsMapped => {
                "managed apps go with their data unless that service takes each over before it releases the device"
            }
            _ => &self.fact,
        }
    }

    pub(super) fn import<T>(self, told: &Told<T>) -> Self {
        let source = match told.by == BY_DEVICE {
            true => FactSource::Mdm,
            false => FactSource::Import,
        };
        self.from(source, told.at)
    }

    /// What it counts as for a device of this platform: an unknown by the rules, everything else as it is.
    #[must_use]
    pub fn counts_as(&self, rules: &Unknowns, platform: Option<Platform>) -> CheckResult {
        match self.result {
            CheckResult::Unknown => rules.of(self.check, platform),
            known => known,
        }
    }

    /// Whether a plan goes by it that this device stays: it blocks, and another process finds the same a minute later. What is seen of
    /// manifests does not count: whom it keeps back goes on taking the licences and the room of who goes.
    pub(crate) fn keeps_back(&self, rules: &Unknowns, platform: Option<Platform>) -> bool {
        self.is_of_the_plan() && self.counts_as(rules, platform) == CheckResult::Block
    }

    /// Whether an acceptance is bound to it.
    pub(crate) fn is_of_the_plan(&self) -> bool {
        self.check.binds() && !self.aside
    }

    /// The check and its fact in a line, for people.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{}: {}", self.check, self.fact)
    }
}

/// What is known of a member when it is looked at.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct MemberFacts<'a> {
    /// The device, if there is one of that serial number.
    pub device: Option<&'a Device>,
    /// What the original service knew of it, and what it said itself as far as that is of now ([`OriginalFacts::of_now`]).
    pub original: Option<&'a OriginalFacts>,
    /// Its platform, as far as anything tells.
    pub platform: Option<Platform>,
    /// The runbook that it would have.
    pub runbook: Option<&'a PinnedRunbook>,
    /// Steps of it that are for other devices.
    pub without: &'a BTreeSet<StepId>,
    /// What the profiles of the runbook, of the enrolment and of the library bring.
    pub brings: &'a Brings,
    /// What is known of the manifests of apps of one's own.
    pub manifests: &'a Manifests,
    /// The identifier at Apple of the server entry that it goes to.
    pub destination: &'a str,
    /// The names of the organisation's services, by their identifiers at Apple.
    pub services: &'a [(String, String)],
    /// Those of them that are no management services like ours, by their identifiers: what they are.
    pub other_kinds: &'a BTreeMap<String, String>,
    /// The identifiers at Apple of all server entries of ours.
    pub ours: &'a BTreeSet<String>,
    /// What of the attempt that is looked at has gone to Apple.
    pub asked: Asked,
    /// A request that returns it to another service is on its way to Apple.
    pub returning: bool,
    /// It is in another wave that is open.
    pub in_other_wave: bool,
    /// When Apple enforces it.
    pub deadline: Timestamp,
    /// When our profile is assigned.
    pub available_from: Timestamp,
    /// How long its user has until the deadline, at the least.
    pub notice: Duration,
    /// What its project says, where it is part of one.
    pub project: Option<Terms<'a>>,
    /// The escrow of recovery keys: whether there is a certificate, and whether its key was seen to open what is sealed to it.
    pub escrow: Option<bool>,
    /// Whether the ADE profile that it gets makes it wait, as read back from Apple; none before one was defined.
    pub awaits: Option<bool>,
    /// A bypass code was made, sealed, opened again, and had the same hash; none where nobody tried, for no lock is wanted.
    pub codes: Option<bool>,
    /// Its recovery key from the service that it leaves: since when it is in the vault.
    pub old_key: Option<Timestamp>,
}

impl MemberFacts<'_> {
    /// Whether its runbook has a step, and this device gets it.
    fn gets(&self, step: StepId) -> bool {
        let has = self.runbook.is_some_and(|r| r.step(step).is_some());
        has && !self.without.contains(&step)
    }
}

/// What of a member's attempt has gone to Apple when it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "nothing, once, and now")]
pub enum Asked {
    /// Nothing: it is planned.
    #[default]
    Nothing,
    /// It was asked for once, and nothing came of it.
    Before,
    /// It is submitted: what Apple shows of it is its own.
    Now,
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

impl Brings {
    /// Adds what something else brings.
    pub fn add(&mut self, other: &Self) {
        self.networks.extend(other.networks.iter().cloned());
        self.payloads.extend(other.payloads.iter().cloned());
    }
}

/// Everything that can be said of one member.
#[must_use]
pub fn look(facts: &MemberFacts<'_>, now: Timestamp) -> Vec<CheckFinding> {
    let mut found = Vec::new();
    device::look(facts, now, &mut found);
    apps::look(facts, now, &mut found);
    network::look(facts, &mut found);
    security::look(facts, &mut found);
    project::look(facts, &mut found);
    found.sort_by_key(|f| f.check);
    found
}

/// Reasons by devices: for every check and answer, which devices it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a table")]
pub struct Matrix {
    /// Rows, the weightiest first.
    pub rows: Vec<MatrixRow>,
}

/// A reason and the devices that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a row of a table")]
pub struct MatrixRow {
    /// Which check.
    pub check: Check,
    /// What it found; unknown stays unknown here.
    pub result: CheckResult,
    /// What it counts as.
    pub counts_as: CheckResult,
    /// The fact of the first of these devices: an example.
    pub fact: String,
    /// What would mend it, once for each way.
    pub fixes: BTreeSet<String>,
    /// Which devices.
    pub devices: BTreeSet<Serial>,
}

impl Matrix {
    /// Adds what was found for a device. Passes are left out: they are what is not in it.
    pub fn add(
        &mut self,
        serial: &Serial,
        platform: Option<Platform>,
        findings: &[CheckFinding],
        rules: &Unknowns,
    ) {
        for finding in findings.iter().filter(|f| f.result != CheckResult::Pass) {
            let counts_as = finding.counts_as(rules, platform);
            let place = |row: &MatrixRow| (std::cmp::Reverse(row.counts_as), row.check, row.result);
            let key = (std::cmp::Reverse(counts_as), finding.check, finding.result);
            let at = match self.rows.binary_search_by_key(&key, place) {
                Ok(at) => at,
                Err(at) => {
                    let row = MatrixRow {
                        check: finding.check,
                        result: finding.result,
                        counts_as,
                        fact: finding.fact.clone(),
                        fixes: BTreeSet::new(),
                        devices: BTreeSet::new(),
                    };
                    self.rows.insert(at, row);
                    at
                }
            };
            let row = &mut self.rows[at];
            if !row.fixes.contains(&finding.fix) {
                row.fixes.insert(finding.fix.clone());
            }
            row.devices.insert(serial.clone());
        }
    }

    /// What is in this one and was not in an earlier one, and the other way round: by check and answer, which devices.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> MatrixChange {
        let sets = |of: &Self| {
            let rows = of.rows.iter();
            answers(rows.map(|r| ((r.check, r.result), &r.devices)))
        };
        MatrixChange::between(&sets(earlier), &sets(self))
    }
}

impl MatrixChange {
    /// Of two tables of devices by check and answer.
    pub(crate) fn between(before: &Answers, now: &Answers) -> Self {
        let beyond = |a: &Answers, b: &Answers| {
            let none = BTreeSet::new();
            a.iter()
                .filter_map(|(&(check, result), devices)| {
                    let other = b.get(&(check, result)).unwrap_or(&none);
                    let more: BTreeSet<Serial> = devices.difference(other).cloned().collect();
                    (!more.is_empty()).then_some((check, result, more))
                })
                .collect()
        };
        Self {
            appeared: beyond(now, before),
            gone: beyond(before, now),
        }
    }
}

/// Devices by check and answer.
pub(crate) type Answers = BTreeMap<(Check, CheckResult), BTreeSet<Serial>>;

/// Of rows of a table: one answer that counts otherwise for other platforms has several.
pub(crate) fn answers<'a>(
    rows: impl Iterator<Item = ((Check, CheckResult), &'a BTreeSet<Serial>)>,
) -> Answers {
    let mut all = Answers::new();
    for (answer, devices) in rows {
        all.entry(answer)
            .or_default()
            .extend(devices.iter().cloned());
    }
    all
}

/// The difference of two matrices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "two lists")]
pub struct MatrixChange {
    /// What is new.
    pub appeared: Vec<(Check, CheckResult, BTreeSet<Serial>)>,
    /// What is no more.
    pub gone: Vec<(Check, CheckResult, BTreeSet<Serial>)>,
}

#[cfg(test)]
mod tests;
