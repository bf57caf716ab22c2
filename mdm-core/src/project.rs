//! A whole move as a row: from which services to which, when, with which runbooks, and what must be true before the next wave
//! begins. Decides nothing; the rules are in `migration::plan`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::calendar::Calendar;
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::error::Error;
use crate::gap::GapLimits;
use crate::ids::{OrganisationId, ProjectId, RunbookId, ServerId};
use crate::migration::what_if::{NO_USER, NOBODY_TOLD};

/// The most prerequisites of a project.
const MOST_PREREQUISITES: usize = 20;

/// A whole move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Project {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: ProjectId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What people call it.
    pub name: String,
    /// Our server entry, to which its devices go.
    pub destination: ServerId,
    /// The services at Apple that its devices may leave, by their identifiers there; any but ours when it is empty.
    #[serde(default)]
    pub originals: BTreeSet<String>,
    /// When deadlines may lie at all.
    #[serde(default)]
    pub window: Window,
    /// Nothing is submitted and nothing is offered before somebody turns it on.
    pub on: bool,
    /// The pinned runbook that new waves get, by platform.
    pub runbooks: BTreeMap<Platform, RunbookId>,
    /// Counts the changes of the plan: a wave names the one that it was submitted with.
    pub revision: u32,
    /// When deadlines may lie within a day and a week.
    #[serde(default)]
    pub calendar: Calendar,
    /// How many devices may be in a hold at once.
    pub capacity: u32,
    /// How many devices of a group may be in the gap at once: offered their migration, and not through.
    #[serde(default, skip_serializing_if = "GapLimits::is_empty")]
    pub gap: GapLimits,
    /// What must be true of a wave before the next one is submitted.
    #[serde(default)]
    pub gate: Gate,
    /// When no more devices are offered their migration.
    #[serde(default)]
    pub stop: StopRule,
    /// What must have been done at the original service for each device, by name.
    #[serde(default)]
    pub prerequisites: BTreeSet<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was closed.
    #[serde(default)]
    pub closed: Option<Timestamp>,
}

impl Project {
    /// One that is switched off.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: ProjectId,
        name: &str,
        destination: ServerId,
        created: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            destination,
            originals: BTreeSet::new(),
            window: Window::default(),
            on: false,
            runbooks: BTreeMap::new(),
            revision: 1,
            calendar: Calendar::default(),
            capacity: 500,
            gap: GapLimits::default(),
            gate: Gate::default(),
            stop: StopRule::default(),
            prerequisites: BTreeSet::new(),
            created,
            closed: None,
        }
    }

    /// Whether its devices may leave this service, named by its identifier at Apple; `ours` are all server entries of ours.
    pub(crate) fn leaves(&self, service: &str, ours: &BTreeSet<String>) -> bool {
        match self.originals.is_empty() {
            true => !ours.contains(service),
            false => self.originals.contains(service),
        }
    }

    /// Refuses what can never be right.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the part.
    pub fn check(&self) -> Result<(), Error> {
        self.calendar.check()?;
        if let (Some(first), Some(last)) = (self.window.not_before, self.window.not_after)
            && first >= last
        {
            return Err(Error::bad_input(
                "window.not_after",
                "must be later than not_before",
            ));
        }
        if self.capacity == 0 {
            return Err(Error::bad_input("capacity", "must be at least 1"));
        }
        self.gap.check()?;
        for (name, percent) in [
            ("gate.settled_percent", self.gate.settled_percent),
            ("gate.most_failed_percent", self.gate.most_failed_percent),
            ("stop.failed_percent", self.stop.failed_percent),
        ] {
            if percent > 100 {
                return Err(Error::bad_input(name, "must be 0 to 100"));
            }
        }
        if self.prerequisites.len() > MOST_PREREQUISITES {
            return Err(Error::bad_input(
                "prerequisites",
                format!("has more than {MOST_PREREQUISITES}"),
            ));
        }
        for name in &self.prerequisites {
            let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(word) {
                return Err(Error::bad_input(
                    "prerequisites",
                    "must be names of small letters, digits and '-', such as wifi-placed",
                ));
            }
        }
        Ok(())
    }
}

/// What of a project is pinned to a wave with its submission: what is changed afterwards is shown as the wave's drift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PinnedPlan {
    /// When deadlines may lie at all.
    pub window: Window,
    /// When they may lie within a day and a week.
    pub calendar: Calendar,
    /// How many devices may be in a hold at once.
    pub capacity: u32,
    /// What must be true of the wave before the next one is submitted.
    pub gate: Gate,
    /// When no more of its devices are offered their migration.
    pub stop: StopRule,
    /// What must have been done at the original service.
    pub prerequisites: BTreeSet<String>,
    /// How many devices of a group may be in the gap at once; none in a plan that was pinned before this was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapLimits>,
    /// The services that may be left; none in a plan that was pinned before this was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originals: Option<BTreeSet<String>>,
}

impl PinnedPlan {
    /// As the project has it now.
    #[must_use]
    pub fn of(project: &Project) -> Self {
        Self {
            window: project.window,
            calendar: project.calendar.clone(),
            capacity: project.capacity,
            gate: project.gate,
            stop: project.stop,
            prerequisites: project.prerequisites.clone(),
            gap: Some(project.gap.clone()),
            originals: Some(project.originals.clone()),
        }
    }

    /// What is otherwise there, part by part.
    #[must_use]
    pub fn differences(&self, now: &Self) -> Vec<&'static str> {
        let parts = [
            ("window", self.window != now.window),
            ("calendar", self.calendar != now.calendar),
            ("capacity", self.capacity != now.capacity),
            ("gate", self.gate != now.gate),
            ("stop rule", self.stop != now.stop),
            ("prerequisites", self.prerequisites != now.prerequisites),
            (
                "limit of the gap",
                self.gap.is_some() && self.gap != now.gap,
            ),
            (
                "list of services that are left",
                self.originals.is_some() && self.originals != now.originals,
            ),
        ];
        parts
            .into_iter()
            .filter_map(|(name, other)| other.then_some(name))
            .collect()
    }
}

/// When deadlines may lie at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "two ends")]
pub struct Window {
    /// No profile is offered before, and no deadline lies before.
    pub not_before: Option<Timestamp>,
    /// No deadline lies after.
    pub not_after: Option<Timestamp>,
}

impl Window {
    /// Whether a deadline may lie there.
    #[must_use]
    pub fn contains(&self, deadline: Timestamp) -> bool {
        self.not_before.is_none_or(|first| deadline >= first)
            && self.not_after.is_none_or(|last| deadline <= last)
    }
}

/// What must be true of a wave before the next one is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Gate {
    /// So many of a hundred members have migrated, with or without exceptions.
    pub settled_percent: u8,
    /// At most so many of a hundred have failed, or migrated with exceptions.
    pub most_failed_percent: u8,
    /// An approver has signed.
    pub sign_off: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            settled_percent: 90,
            most_failed_percent: 2,
            sign_off: true,
        }
    }
}

/// When no more devices of a wave are offered their migration. Those that were offered it go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StopRule {
    /// So many have failed, or migrated with exceptions.
    pub failed: u32,
    /// And they are so many of a hundred of those that have ended.
    pub failed_percent: u8,
    /// So many are in their holds past the ceiling at which somebody is told.
    pub long_holds: u32,
    /// Something that the wave needs ends before its last deadline.
    pub expiries: bool,
}

impl StopRule {
    /// The rule of devices that were assigned as a list, without a project: they are too few for counts to say anything.
    pub(crate) const OF_LISTS: Self = Self {
        failed: 0,
        failed_percent: 0,
        long_holds: 0,
        expiries: true,
    };
}

impl Default for StopRule {
    fn default() -> Self {
        Self {
            failed: 3,
            failed_percent: 5,
            long_holds: 10,
            expiries: true,
        }
    }
}

/// What of a what-if was found when somebody last had it run for a wave, or looked at a list of devices: what the next one is compared
/// with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WhatIfRun {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key: that of the wave; for a list its place, a small number that no wave has.
    pub id: crate::ids::WaveId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// When.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// The digest of what was found; for a list that of its devices or its name, which tells it from another one in its place.
    pub digest: String,
    /// Reasons by devices.
    pub found: Vec<RunRow>,
    /// What was found of all of them and was no pass; none where that was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_all: Option<Vec<RunFact>>,
    /// Which devices would lose which apps with their data, by bundle identifier; none where that was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<BTreeMap<String, BTreeSet<crate::ids::Serial>>>,
}

/// What a look found, as it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: Vec<RunRow>,
    pub(crate) of_all: Option<Vec<RunFact>>,
    pub(crate) lost: Option<BTreeMap<String, BTreeSet<crate::ids::Serial>>>,
}

impl WhatIfRun {
    pub(crate) fn new(
        organisation: OrganisationId,
        id: crate::ids::WaveId,
        at: Timestamp,
        by: &str,
        digest: &str,
        found: Found,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            at,
            by: by.to_owned(),
            digest: digest.to_owned(),
            found: found.rows,
            of_all: found.of_all,
            lost: found.lost,
        }
    }
}

/// A check, what it found, and for which devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a row of a table")]
pub struct RunRow {
    /// Which check.
    pub check: crate::check::Check,
    /// What it found.
    pub result: crate::check::CheckResult,
    /// For which devices.
    pub devices: BTreeSet<crate::ids::Serial>,
    /// Which of these have it for which fact, by a short digest of the fact.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, BTreeSet<crate::ids::Serial>>,
}

/// What was found of all members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a row of a table")]
pub struct RunFact {
    /// Which check.
    pub check: crate::check::Check,
    /// What it found.
    pub result: crate::check::CheckResult,
    /// The fact, in plain words.
    pub fact: String,
    /// What tells it from another one: a fact that counts days stays the same one.
    pub digest: String,
}

/// A piece of what somebody accepted: all of a what-if but its members comes first, then these. Never changed, but that
/// names of people go where their organisation keeps them for so many days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AcceptedPart {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: crate::ids::AcceptedId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Of which wave.
    pub wave: crate::ids::WaveId,
    /// The digest that was accepted.
    pub digest: String,
    /// Counts the pieces of one acceptance, from 0.
    pub part: u32,
    /// What was shown to whoever accepted it.
    pub content: serde_json::Value,
}

impl AcceptedPart {
    pub(crate) fn new(
        (organisation, id): (OrganisationId, crate::ids::AcceptedId),
        wave: crate::ids::WaveId,
        digest: &str,
        part: u32,
        content: serde_json::Value,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            wave,
            digest: digest.to_owned(),
            part,
            content,
        }
    }

    /// Takes out who would lose what, and whose sign-in was waited for; answers whether anybody was in it.
    pub(crate) fn forget_people(&mut self) -> bool {
        let before = self.content.clone();
        forget_people(&mut self.content);
        self.content != before
    }
}

/// What stands in the place of a sentence that names a person.
const FORGOTTEN: &str = "a person was named here";

fn forget_people(content: &mut serde_json::Value) {
    use serde_json::Value;
    let names = crate::check::Check::ManagedUser.to_string();
    let names_nobody = |fact: &str| [NO_USER, NOBODY_TOLD, FORGOTTEN].contains(&fact);
    match content {
        Value::Object(map) => {
            if let Some(Value::Array(people)) = map.get_mut("people")
                && !people.is_empty()
            {
                let count = std::mem::take(people).len();
                map.insert("people_forgotten".to_owned(), count.into());
            }
            if map.get("check").is_some_and(|check| *check == *names)
                && let Some(Value::String(fact)) = map.get_mut("fact")
                && !names_nobody(fact)
            {
                FORGOTTEN.clone_into(fact);
            }
            map.values_mut().for_each(forget_people);
        }
        Value::Array(all) => all.iter_mut().for_each(forget_people),
        // A finding in one line.
        Value::String(line) => {
            let fact = line.strip_prefix(&format!("{names}: "));
            if fact.is_some_and(|fact| !names_nobody(fact)) {
                *line = format!("{names}: {FORGOTTEN}");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_accepted_forgets_people_and_keeps_what_was_found() {
        let line = "managed.user: its migration waits for the sign-in of eva";
        let content = |people: &[&str], fact: &str, line: &str| {
            json!({
                "digest": "d", "warnings": [line, "apps.mapped: 2 devices"],
                "report": {
                    "forecast": { "apps": [{ "bundle_id": "com.acme", "people": people, "lost": { "F1": "nobody-keeps-it" } }] },
                    "matrix": { "rows": [{ "check": "managed.user", "fact": fact, "devices": ["F1"] }] },
                },
                "members": [{ "serial": "F1", "findings": [
                    { "check": "managed.user", "fact": fact }, { "check": "os.version", "fact": "26.1" },
                ] }],
            })
        };
        let key = (OrganisationId(1), crate::ids::AcceptedId(2));
        let wave = crate::ids::WaveId(3);
        let named = content(&["Eva Ander"], "waits for the sign-in of eva", line);
        let mut part = AcceptedPart::new(key, wave, "d", 0, named);
        assert!(part.forget_people());
        let bare = format!("{}: {FORGOTTEN}", crate::check::Check::ManagedUser);
        let mut left = content(&[], FORGOTTEN, &bare);
        left["report"]["forecast"]["apps"][0]["people_forgotten"] = json!(1);
        assert_eq!(part.content, left);
        assert!(!part.forget_people(), "once");
        // What names nobody stays as it was shown.
        part.content = content(&[], NO_USER, &format!("managed.user: {NOBODY_TOLD}"));
        assert!(!part.forget_people());
    }
}
