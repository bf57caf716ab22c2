//! What has come and gone between two looks at a wave, or a list: answers, the facts under them, what stands against all, apps that would be lost.
//! Facts are kept as short digests, by which they can be told from each other and from which nothing can be read.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::WhatIfReport;
use crate::check::{Check, CheckResult};
use crate::identity::sha256_hex;
use crate::ids::Serial;
use crate::migration::what_if::{CheckFinding, MatrixChange, answers};
use crate::project::{Found, RunFact, RunRow, WhatIfRun};

/// Characters of a digest that tells one fact from another.
const SHORT: usize = 16;

/// What has come and gone since somebody last had a what-if run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Since {
    /// Answers that devices did not have.
    pub appeared: Vec<(Check, CheckResult, BTreeSet<Serial>)>,
    /// Answers that devices have no more.
    pub gone: Vec<(Check, CheckResult, BTreeSet<Serial>)>,
    /// Devices whose answer is the same, for another fact.
    pub facts: Vec<(Check, CheckResult, BTreeSet<Serial>)>,
    /// What is found of all of them and was not.
    pub of_all_appeared: Vec<(Check, CheckResult, String)>,
    /// What was found of all of them and is not any more.
    pub of_all_gone: Vec<(Check, CheckResult, String)>,
    /// Apps, by bundle identifier, that devices would lose with their data, and would not have lost.
    pub lost_appeared: BTreeMap<String, BTreeSet<Serial>>,
    /// Apps that devices would have lost, and would not any more.
    pub lost_gone: BTreeMap<String, BTreeSet<Serial>>,
}

fn short(text: &str) -> String {
    let mut digest = sha256_hex(text.as_bytes());
    digest.truncate(SHORT);
    digest
}

/// What a report found, as the next one is compared with it.
pub(in crate::service) fn found_now(report: &WhatIfReport) -> Found {
    let mut facts: BTreeMap<(Check, CheckResult, String), BTreeSet<Serial>> = BTreeMap::new();
    for member in &report.members {
        for finding in problems(&member.findings) {
            let key = (finding.check, finding.result, short(finding.bound()));
            facts.entry(key).or_default().insert(member.serial.clone());
        }
    }
    // One answer that counts otherwise for other platforms has several rows in the matrix.
    let mut rows: BTreeMap<(Check, CheckResult), RunRow> = BTreeMap::new();
    for row in &report.matrix.rows {
        let (check, result) = (row.check, row.result);
        let found = rows.entry((check, result)).or_insert_with(|| RunRow {
            check,
            result,
            devices: BTreeSet::new(),
            facts: BTreeMap::new(),
        });
        found.devices.extend(row.devices.iter().cloned());
    }
    for ((check, result, fact), devices) in facts {
        if let Some(row) = rows.get_mut(&(check, result)) {
            row.facts.insert(fact, devices);
        }
    }
    let of_all = problems(&report.server).map(|finding| RunFact {
        check: finding.check,
        result: finding.result,
        fact: finding.fact.clone(),
        digest: short(finding.bound()),
    });
    let losing = report
        .forecast
        .apps
        .iter()
        .filter(|app| !app.lost.is_empty());
    Found {
        rows: rows.into_values().collect(),
        of_all: Some(of_all.collect()),
        lost: Some(
            losing
                .map(|app| (app.bundle_id.clone(), app.lost.keys().cloned().collect()))
                .collect(),
        ),
    }
}

fn problems(findings: &[CheckFinding]) -> impl Iterator<Item = &CheckFinding> {
    findings.iter().filter(|f| f.result != CheckResult::Pass)
}

impl Since {
    /// What is found now against what was found then. What was not kept then has no difference.
    pub(in crate::service) fn between(then: &WhatIfRun, now: &Found) -> Self {
        let sets = |rows: &[RunRow]| {
            let rows = rows.iter();
            answers(rows.map(|row| ((row.check, row.result), &row.devices)))
        };
        let change = MatrixChange::between(&sets(&then.found), &sets(&now.rows));
        let mut since = Self {
            appeared: change.appeared,
            gone: change.gone,
            facts: other_facts(&then.found, &now.rows),
            ..Self::default()
        };
        if let (Some(then), Some(now)) = (&then.of_all, &now.of_all) {
            since.of_all_appeared = beyond(now, then);
            since.of_all_gone = beyond(then, now);
        }
        if let (Some(then), Some(now)) = (&then.lost, &now.lost) {
            since.lost_appeared = more_lost(now, then);
            since.lost_gone = more_lost(then, now);
        }
        since
    }
}

/// Devices that have the answer that they had, for another fact.
fn other_facts(then: &[RunRow], now: &[RunRow]) -> Vec<(Check, CheckResult, BTreeSet<Serial>)> {
    let by_device = |row: &RunRow| -> BTreeMap<Serial, BTreeSet<String>> {
        let mut all: BTreeMap<Serial, BTreeSet<String>> = BTreeMap::new();
        for (fact, devices) in &row.facts {
            for device in devices {
                all.entry(device.clone()).or_default().insert(fact.clone());
            }
        }
        all
    };
    let mut found = Vec::new();
    for row in now {
        let same = |other: &&RunRow| (other.check, other.result) == (row.check, row.result);
        let Some(before) = then.iter().find(same) else {
            continue;
        };
        let (before, after) = (by_device(before), by_device(row));
        let other = |(device, facts): (&Serial, &BTreeSet<String>)| {
            let known = before.get(device)?;
            (known != facts).then(|| device.clone())
        };
        let devices: BTreeSet<Serial> = after.iter().filter_map(other).collect();
        if !devices.is_empty() {
            found.push((row.check, row.result, devices));
        }
    }
    found
}

fn beyond(some: &[RunFact], others: &[RunFact]) -> Vec<(Check, CheckResult, String)> {
    let key = |fact: &RunFact| (fact.check, fact.result, fact.digest.clone());
    let others: BTreeSet<_> = others.iter().map(key).collect();
    some.iter()
        .filter(|fact| !others.contains(&key(fact)))
        .map(|fact| (fact.check, fact.result, fact.fact.clone()))
        .collect()
}

type Lost = BTreeMap<String, BTreeSet<Serial>>;

fn more_lost(some: &Lost, others: &Lost) -> Lost {
    let none = BTreeSet::new();
    some.iter()
        .map(|(app, devices)| {
            let other = others.get(app).unwrap_or(&none);
            (app.clone(), devices.difference(other).cloned().collect())
        })
        .filter(|(_, more): &(String, BTreeSet<Serial>)| !more.is_empty())
        .collect()
}
