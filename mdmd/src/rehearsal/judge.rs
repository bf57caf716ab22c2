//! The verdict: what the world says of each device, set against what our records say. The world's own state decides; a
//! record of ours that says more than is true is a disagreement.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::verdict::{DeviceVerdict, Whereabouts};
use fixtures::world::World;
use mdm_core::ids::Serial;
use mdm_core::migration::{Exception, MoveState, Outcome, VisibleState, visible_state};
use mdm_core::secret::SecretKind;
use mdm_core::service::Org;
use serde::Serialize;

/// One device of the report.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// Serial number.
    pub serial: String,
    /// `iOS` or `macOS`.
    pub platform: &'static str,
    /// What our records say.
    pub outcome: Option<VisibleState>,
    /// What the world says.
    pub whereabouts: &'static str,
    /// Apps of the original that are there with their data.
    pub apps_kept: usize,
    /// Apps that are gone with their data, or not managed by us though the plan wanted them.
    pub apps_lost: Vec<String>,
    /// The recovery key in our vault against the disk.
    pub recovery_key: Proof,
    /// The lock at Apple against the code that we keep.
    pub lock: Proof,
    /// Longest hold, in minutes.
    pub hold_minutes: i64,
    /// What our records say did not come true.
    pub exceptions: Vec<Exception>,
    /// Faults that the world injected on this device.
    pub faults: BTreeMap<&'static str, usize>,
    /// Where record and world differ, or an exception that no fault explains.
    pub disagreements: Vec<String>,
    /// It will not end by itself, or is still in its hold.
    pub never_ended: bool,
}

/// What became of a key or a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "three outcomes of a proof")]
pub enum Proof {
    /// The world says that what we keep opens it.
    Proved,
    /// There is nothing to prove on this device.
    NotNeeded,
    /// What we keep does not open it, or we keep nothing.
    Missing,
}

/// Judges every device.
pub(super) async fn judge(world: &World, org: &Org) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for verdict in world.verdicts().await {
        rows.push(judge_one(world, org, verdict).await?);
    }
    rows.sort_by(|a, b| a.serial.cmp(&b.serial));
    Ok(rows)
}

async fn judge_one(world: &World, org: &Org, verdict: DeviceVerdict) -> anyhow::Result<Row> {
    let serial = Serial::parse(&verdict.serial)?;
    let report = org.device_report(&serial).await?;
    let attempt = report.attempt.as_ref();
    let mut exceptions = attempt.map(|a| a.exceptions.clone()).unwrap_or_default();
    for exception in report.set_up.iter().flat_map(|s| &s.exceptions) {
        if !exceptions.contains(exception) {
            exceptions.push(exception.clone());
        }
    }
    let mut faults = BTreeMap::new();
    for fault in &verdict.faults {
        *faults.entry(fault.kind.name()).or_default() += 1;
    }
    let mac = verdict.platform == "macOS";
    let recovery_key = match &verdict.recovery_key {
        None => Proof::NotNeeded,
        Some(_) => {
            opens(org, &serial, SecretKind::RecoveryKey, |key| {
                verdict.opens_with(key)
            })
            .await?
        }
    };
    let lock = opens(org, &serial, SecretKind::ServerBypassCode, |code| {
        verdict.lock_opens_with(code)
    })
    .await?;
    // What an iPhone or iPad loses was lost by us. A Mac's managed apps go with the original's profile.
    let apps_lost = if mac { Vec::new() } else { lost(&verdict) };

    let outcome = visible_state(attempt, report.set_up.as_ref());
    // What a person gave up did not end by itself.
    let ended = attempt.is_some_and(
        |a| matches!(&a.state, MoveState::Ended(outcome) if *outcome != Outcome::Failed),
    );
    let mut row = Row {
        serial: verdict.serial.clone(),
        platform: verdict.platform,
        outcome,
        whereabouts: match verdict.whereabouts {
            Whereabouts::WithOriginal => "with original",
            Whereabouts::Between => "between",
            Whereabouts::Held => "held",
            Whereabouts::Free => "free",
            _ => "unmanaged",
        },
        apps_kept: verdict.apps_kept.len(),
        apps_lost,
        recovery_key,
        lock,
        hold_minutes: verdict.hold_ms / 60_000,
        never_ended: !ended || verdict.whereabouts == Whereabouts::Held,
        exceptions,
        faults,
        disagreements: Vec::new(),
    };
    let never_back = world
        .planned_faults()
        .find(&row.serial, fixtures::faults::FaultKind::NeverBack)
        .is_some();
    if never_back && !row.exceptions.is_empty() {
        // It never comes back and is named as an exception: that is all that can be had.
        row.never_ended = false;
    }
    row.disagreements = disagreements(&row, &verdict, attempt.map(|a| &a.state), never_back);
    Ok(row)
}

async fn opens(
    org: &Org,
    serial: &Serial,
    kind: SecretKind,
    fits: impl Fn(&str) -> bool,
) -> anyhow::Result<Proof> {
    match org
        .reveal(serial, kind, "rehearsal", "verdict of the simulated world")
        .await
    {
        Ok(secret) if secret.expose_text().is_some_and(fits) => Ok(Proof::Proved),
        Ok(_) | Err(mdm_core::error::Error::NotFound(_)) => Ok(Proof::Missing),
        Err(error) => Err(error.into()),
    }
}

fn lost(verdict: &DeviceVerdict) -> Vec<String> {
    let all: BTreeSet<&String> = verdict
        .apps_lost
        .iter()
        .chain(&verdict.wanted_missing)
        .collect();
    all.into_iter().cloned().collect()
}

/// Where our record says more than the world, and exceptions that nothing explains.
fn disagreements(
    row: &Row,
    verdict: &DeviceVerdict,
    state: Option<&MoveState>,
    never_back: bool,
) -> Vec<String> {
    let mut found = Vec::new();
    let excepted = |what: &[&str]| {
        row.exceptions
            .iter()
            .any(|e| what.iter().any(|w| e.what.starts_with(w)))
    };
    match state {
        Some(MoveState::Ended(Outcome::Migrated | Outcome::MigratedWithExceptions)) => {
            if !verdict.out_of_hold && !never_back {
                found.push(format!(
                    "the record says that it is migrated; the world says: {}",
                    row.whereabouts
                ));
            }
        }
        // Nobody can have more of it than that a person was asked and gave it up.
        Some(MoveState::Ended(Outcome::Failed)) if never_back => {}
        Some(MoveState::Ended(outcome)) => found.push(format!(
            "it ended as {outcome:?}, which the plan does not allow"
        )),
        Some(_) | None => {}
    }
    if verdict.out_of_hold {
        if !row.apps_lost.is_empty() && !excepted(&["app"]) {
            found.push(format!(
                "apps are gone with their data, and the record does not say so: {}",
                row.apps_lost.join(", ")
            ));
        }
        if row.recovery_key == Proof::Missing
            && !excepted(&["fv-escrow", "recovery-key", "verify", "bootstrap"])
        {
            found.push(
                "the recovery key in our vault does not open it, and the record does not say so"
                    .to_owned(),
            );
        }
        if row.lock == Proof::Missing && !excepted(&["lock"]) {
            found.push("the lock at Apple does not open with the code that we keep, and the record does not say so".to_owned());
        }
    }
    if row.faults.is_empty() {
        for exception in &row.exceptions {
            found.push(format!(
                "no fault explains the exception {}: {}",
                exception.what, exception.why
            ));
        }
    }
    for note in &verdict.notes {
        found.push(format!("the device says: {note}"));
    }
    found
}
