//! The reports of a project against the world: what `mdmd report` counts of each wave is what the world counts, and no mark says more
//! of a device than is true.

use std::collections::BTreeMap;

use fixtures::verdict::{DeviceVerdict, Whereabouts};
use mdm_core::error::Error;
use mdm_core::evidence::{ReportAsk, WholeReport};
use mdm_core::ids::WaveId;
use mdm_core::migration::VisibleState;
use mdm_core::service::Org;

use super::judge::{Proof, Row};

/// A report in memory.
pub(super) async fn whole(org: &Org, ask: &ReportAsk) -> Result<WholeReport, Error> {
    let mut whole = WholeReport::default();
    org.report_to(ask, &mut whole).await?;
    Ok(whole)
}

/// Where the reports of a wave differ from the world and from what was judged of its devices, one sentence each.
pub(super) async fn differences(
    org: &Org,
    wave: WaveId,
    members: &BTreeMap<&str, (&Row, &DeviceVerdict)>,
) -> anyhow::Result<Vec<String>> {
    let report = whole(org, &ReportAsk::Wave(wave)).await?;
    let mut odd = Vec::new();
    let world = |holds: &dyn Fn(&DeviceVerdict) -> bool| {
        let count = members.values().filter(|(_, v)| holds(v)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    };
    let free = world(&|v| v.whereabouts == Whereabouts::Free);
    let out = world(&|v| v.enrolled_with_destination);
    let state = |state: VisibleState| {
        let word = serde_json::to_value(state).unwrap_or_default();
        report.number("states", word.as_str().unwrap_or_default(), 1)
    };
    let ended = state(VisibleState::Migrated) + state(VisibleState::MigratedWithExceptions);
    let all = u64::try_from(members.len())?;
    for (what, said, is) in [
        ("members", report.number("funnel", "members", 1), all),
        ("enrolled", report.number("funnel", "enrolled", 1), out),
        ("released", report.number("funnel", "released", 1), free),
        ("migrated", report.number("funnel", "migrated", 1), free),
        ("migrated by its states", ended, free),
        ("members by its deadlines", report.sum("deadlines", 1), all),
        (
            "migrated by its deadlines",
            report.sum("deadlines", 2),
            free,
        ),
        ("open by its deadlines", report.sum("deadlines", 4), 0),
    ] {
        if said != is {
            odd.push(format!("its report says {what}: {said}; the world: {is}"));
        }
    }
    if report.rows.len() != members.len() {
        odd.push("its report does not list its members".to_owned());
    }
    for line in &report.rows {
        let serial = report.text(line, "serial");
        let Some((row, verdict)) = members.get(serial) else {
            odd.push(format!("its report lists {serial}, which is no member"));
            continue;
        };
        let says_more = |mark: &str, untrue: bool| {
            let says = report.text(line, mark) == "proved" && untrue;
            says.then(|| format!("{serial}: its report calls the mark {mark} proved; it is not so"))
        };
        let apps = !verdict.wanted_missing.is_empty() || !verdict.not_installed.is_empty();
        odd.extend(says_more("apps", apps));
        odd.extend(says_more("key", row.recovery_key == Proof::Missing));
        odd.extend(says_more("lock", row.lock == Proof::Missing));
        odd.extend(says_more("registered", !verdict.enrolled_with_destination));
        let state = serde_json::to_value(row.outcome)?;
        if report.text(line, "state") != state.as_str().unwrap_or_default() {
            odd.push(format!(
                "{serial}: its report and its record differ: {state}"
            ));
        }
    }
    odd.extend(exceptions(org, wave, members).await?);
    Ok(odd)
}

/// That every exception is in the report of them, with its owner, and that whoever ended otherwise than migrated has one.
async fn exceptions(
    org: &Org,
    wave: WaveId,
    members: &BTreeMap<&str, (&Row, &DeviceVerdict)>,
) -> anyhow::Result<Vec<String>> {
    let report = whole(org, &ReportAsk::Exceptions(Some(wave))).await?;
    let mut owned = BTreeMap::<&str, usize>::new();
    let mut odd = Vec::new();
    for line in &report.rows {
        let serial = report.text(line, "serial");
        match report.text(line, "owner") {
            "" => odd.push(format!("{serial}: an exception without an owner")),
            _ => *owned.entry(serial).or_default() += 1,
        }
    }
    for (serial, (row, _)) in members {
        let listed = owned.get(serial).copied().unwrap_or_default();
        if listed < row.exceptions.len() {
            odd.push(format!(
                "{serial}: the report of exceptions has {listed} of {}",
                row.exceptions.len()
            ));
        }
        let well = row.outcome == Some(VisibleState::Migrated);
        if !well && row.exceptions.is_empty() {
            odd.push(format!(
                "{serial}: it did not end well, and nothing says whose that is"
            ));
        }
    }
    Ok(odd)
}
