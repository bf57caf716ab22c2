//! The verdict: what the world says of each device, set against what our records say. The world's own state decides; a
//! record of ours that says more than is true is a disagreement.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::faults::FaultKind;
use fixtures::verdict::{DeviceVerdict, Whereabouts};
use fixtures::world::World;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mdm_core::audit::AuditEntry;
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::ids::Serial;
use mdm_core::migration::{
    Exception, MoveState, Outcome, PinnedRunbook, StepId, Variant, VisibleState, visible_state,
};
use mdm_core::secret::SecretKind;
use mdm_core::service::{Org, Revealed};
use serde::Serialize;

use super::causes::{self, Pauses};

/// So many devices are judged side by side.
const AT_ONCE: usize = 8;

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
    /// Faults that were planned for this device and did not fire on it.
    pub unmet: Vec<&'static str>,
    /// Longest time for which a fault had the device off or silent, in minutes; 0 if none had, `None` if it is for good.
    pub away_minutes: Option<i64>,
    /// Where record and world differ, or an exception that no fault explains.
    pub disagreements: Vec<String>,
    /// It will not end by itself, or is still in its hold.
    pub never_ended: bool,
    /// What happened to it, oldest first, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<AuditEntry>,
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

/// Under `some` at least 95 in 100 devices end without an exception, and none has one but a device that was away: off at its
/// deadline, or silent in its hold. One in a small fleet is no share.
pub(super) fn hold_to_some(rows: &mut [Row]) {
    let allowed = (rows.len() / 20).max(1);
    let excepted = rows.iter().filter(|r| !r.exceptions.is_empty()).count();
    for row in rows.iter_mut().filter(|r| !r.exceptions.is_empty()) {
        let away = causes::AWAY
            .iter()
            .any(|kind| row.faults.contains_key(kind.name()));
        if !away {
            row.disagreements
                .push("it has an exception and was never away".to_owned());
        }
        if excepted > allowed {
            row.disagreements.push(format!(
                "{excepted} devices have exceptions, where faults of this level leave at most {allowed}"
            ));
        }
    }
}

/// What was accepted of a device when it was planned.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// Apps that it may lose.
    pub(super) dropped: BTreeSet<String>,
    /// Apps that it loses by the forecast, which was accepted so.
    pub(super) waived: BTreeSet<String>,
    /// Nobody wants a lock.
    pub(super) unlocked: bool,
}

/// Judges every device against what was accepted of it.
pub(super) async fn judge(
    world: &World,
    org: &Org,
    accepted: &BTreeMap<String, Accepted>,
) -> anyhow::Result<Vec<Row>> {
    let nothing = Accepted::default();
    let verdicts = world.verdicts().await;
    let pauses = Pauses::among(verdicts.iter().flat_map(|verdict| &verdict.faults));
    let judged = verdicts.into_iter().map(|verdict| {
        let accepted = accepted.get(&verdict.serial).unwrap_or(&nothing);
        Box::pin(judge_one(world, org, verdict, accepted, &pauses))
    });
    let mut rows: Vec<Row> = futures_util::stream::iter(judged)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    rows.sort_by(|a, b| a.serial.cmp(&b.serial));
    Ok(rows)
}

async fn judge_one(
    world: &World,
    org: &Org,
    verdict: DeviceVerdict,
    accepted: &Accepted,
    pauses: &Pauses,
) -> anyhow::Result<Row> {
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
    let recovery_key = match &verdict.recovery_key {
        None => Proof::NotNeeded,
        Some(_) => {
            opens(org, &serial, SecretKind::RecoveryKey, |key| {
                verdict.opens_with(key)
            })
            .await?
        }
    };
    let lock = if accepted.unlocked {
        Proof::NotNeeded
    } else {
        opens(org, &serial, SecretKind::ServerBypassCode, |code| {
            verdict.lock_opens_with(code)
        })
        .await?
    };
    let planned = world.planned_faults().of(&verdict.serial);
    let fired = |kind| verdict.faults.iter().any(|f| f.kind == kind);
    let away = planned
        .iter()
        .filter(|f| causes::AWAY.contains(&f.kind) && fired(f.kind));
    let outcome = visible_state(attempt, report.set_up.as_ref());
    // What a person gave up did not end by itself.
    let ended = attempt.is_some_and(
        |a| matches!(&a.state, MoveState::Ended(outcome) if *outcome != Outcome::Failed),
    );
    let mut row = Row {
        serial: verdict.serial.clone(),
        platform: verdict.platform,
        outcome,
        whereabouts: verdict.whereabouts.name(),
        apps_kept: verdict.apps_kept.len(),
        apps_lost: lost(&verdict, &accepted.dropped),
        recovery_key,
        lock,
        hold_minutes: verdict.hold_ms / 60_000,
        never_ended: !ended || verdict.whereabouts == Whereabouts::Held,
        exceptions,
        unmet: planned
            .iter()
            .filter(|f| !fired(f.kind))
            .map(|f| f.kind.name())
            .collect(),
        away_minutes: away
            .map(|f| (f.kind != FaultKind::NeverBack).then_some(f.duration_ms / 60_000))
            .try_fold(0, |longest, span| span.map(|span| longest.max(span))),
        faults,
        disagreements: Vec::new(),
        timeline: Vec::new(),
    };
    let never_back = fired(FaultKind::NeverBack);
    let state = attempt.map(|a| &a.state);
    if never_back {
        let said = unreachable(&row, verdict.whereabouts, state);
        // It never comes back and is named as an exception: that is all that can be had.
        row.never_ended = !said.is_empty();
        row.disagreements = said;
    }
    let more = disagreements(&row, &verdict, state, &accepted.waived, never_back, pauses);
    row.disagreements.extend(more);
    let now = Timestamp::from_millis(world.clock().now_ms());
    row.disagreements
        .extend(held_too_long(&report.timeline, now));
    Ok(row)
}

async fn opens(
    org: &Org,
    serial: &Serial,
    kind: SecretKind,
    fits: impl Fn(&str) -> bool,
) -> anyhow::Result<Proof> {
    // A judge for each device: nobody looks at more than a few.
    let judge = org.clone().acting_for(&format!("rehearsal of {serial}"));
    let shown = judge
        .reveal(serial, kind, "verdict of the simulated world", None)
        .await;
    match shown {
        Ok(Revealed::Shown(secret)) if secret.expose_text().is_some_and(fits) => Ok(Proof::Proved),
        Ok(_) | Err(mdm_core::error::Error::NotFound(_)) => Ok(Proof::Missing),
        Err(error) => Err(error.into()),
    }
}

/// Where the record of a device that went silent in its hold for good says anything but that: it is held, a person gave it up after days
/// of silence, and an exception says whose it is.
fn unreachable(row: &Row, at: Whereabouts, state: Option<&MoveState>) -> Vec<String> {
    let mut odd = Vec::new();
    if at != Whereabouts::Held {
        odd.push(format!("it never came back, and is {}", at.name()));
    }
    if !matches!(state, Some(MoveState::Ended(Outcome::Failed))) {
        odd.push(format!(
            "it never came back, and the record says {:?}",
            row.outcome
        ));
    }
    let named = |e: &Exception| causes::parts(&e.what).0 == "operator" && !e.why.is_empty();
    if !row.exceptions.iter().any(named) {
        odd.push("it never came back, and no exception says that it was given up".to_owned());
    }
    odd
}

/// The hold whose release was queued only after its ceiling, or not yet though that is over, by the record. A device that says nothing is
/// let go all the same.
fn held_too_long(timeline: &[AuditEntry], now: Timestamp) -> Option<String> {
    let ceiling = PinnedRunbook::standard(Platform::Ios, Variant::Migration).hard_ceiling_secs;
    let went = |entry: &&AuditEntry, to: &str| {
        entry.what == "set-up" && entry.detail["to"] == to && entry.detail["from"] != to
    };
    let mut held = None;
    for entry in timeline {
        if went(&entry, "holding") {
            held = Some(entry.at);
        } else if went(&entry, "releasing") || went(&entry, "proving") {
            let secs = held
                .take()
                .map_or(0, |since| entry.at.since(since).as_secs());
            if secs > ceiling + 60 {
                return Some(format!(
                    "its release was queued {} minutes after its hold began",
                    secs / 60
                ));
            }
        } else if entry.what == "set-up"
            && entry.detail["from"] == "holding"
            && entry.detail["to"] != "holding"
        {
            // It left otherwise: gone, or enrolled anew.
            held = None;
        }
    }
    let secs = held.map_or(0, |since| now.since(since).as_secs());
    (secs > ceiling + 60).then(|| {
        let minutes = secs / 60;
        format!("its release was not queued in {minutes} minutes of its hold")
    })
}

/// What is gone or was never there. What a Mac loses with the original's profile goes by design: there it counts what the
/// plan installs.
fn lost(verdict: &DeviceVerdict, dropped: &BTreeSet<String>) -> Vec<String> {
    let gone: &[String] = match verdict.platform {
        "macOS" => &[],
        _ => &verdict.apps_lost,
    };
    let all: BTreeSet<&String> = gone
        .iter()
        .chain(&verdict.wanted_missing)
        .chain(&verdict.not_installed)
        .filter(|app| !dropped.contains(*app))
        .collect();
    all.into_iter().cloned().collect()
}

/// Steps whose exceptions may name an app.
const APPS: [StepId; 4] = [
    StepId::AppsRequired,
    StepId::AppsKeep,
    StepId::Apps,
    StepId::Verify,
];

/// Where our record says more than the world, and exceptions that nothing explains.
fn disagreements(
    row: &Row,
    verdict: &DeviceVerdict,
    state: Option<&MoveState>,
    waived: &BTreeSet<String>,
    never_back: bool,
    pauses: &Pauses,
) -> Vec<String> {
    let mut found = Vec::new();
    // That step's exception about this app. Only the app may be spelled otherwise: the runbook may do so.
    let names = |step: StepId, app: &str| {
        row.exceptions.iter().any(|e| {
            let (of, part) = causes::parts(&e.what);
            of == step.as_str() && part.is_some_and(|part| part.eq_ignore_ascii_case(app))
        })
    };
    let free = verdict.whereabouts == Whereabouts::Free && !verdict.erased;
    match state {
        Some(MoveState::Ended(Outcome::Migrated | Outcome::MigratedWithExceptions)) => {
            if !free {
                let erased = if verdict.erased { ", erased" } else { "" };
                found.push(format!(
                    "the record says that it is migrated; the world says: {}{erased}",
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
    if free {
        let unsaid: Vec<&str> = row
            .apps_lost
            .iter()
            .filter(|bundle| !waived.contains(*bundle))
            .map(String::as_str)
            .filter(|bundle| !APPS.iter().any(|step| names(*step, bundle)))
            .collect();
        if !unsaid.is_empty() {
            found.push(format!(
                "apps are gone with their data or were never installed, and the record does not name them: {}",
                unsaid.join(", ")
            ));
        }
        let key_named = row.exceptions.iter().any(|e| {
            let (step, part) = causes::parts(&e.what);
            step == StepId::FvEscrow.as_str()
                || step == StepId::Verify.as_str() && part == Some("recovery key")
        });
        if row.recovery_key == Proof::Missing && !key_named {
            found.push(
                "the recovery key in our vault does not open it, and the record does not say so"
                    .to_owned(),
            );
        }
        let lock_named = row
            .exceptions
            .iter()
            .any(|e| causes::parts(&e.what).0 == StepId::Lock.as_str());
        if row.lock == Proof::Missing && !lock_named {
            found.push("the lock at Apple does not open with the code that we keep, and the record does not say so".to_owned());
        }
    }
    // What the record names of an app that was forecast as lost, and accepted so, no fault has to explain.
    let accepted = |exception: &&Exception| {
        let (step, part) = causes::parts(&exception.what);
        let of_apps = APPS.iter().any(|id| id.as_str() == step);
        of_apps && part.is_some_and(|app| waived.contains(app))
    };
    let others = row.exceptions.iter().filter(|e| !accepted(e));
    found.extend(others.filter_map(|e| causes::unexplained(e, &verdict.faults, pauses)));
    for note in &verdict.notes {
        found.push(format!("the device says: {note}"));
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use fixtures::faults::FaultRecord;
    use fixtures::world::{Fleet, WorldConfig};
    use mdm_core::ids::{AuditId, OrganisationId};
    use mdm_core::migration::Owner;

    use super::super::START_MS;
    use super::*;

    const ENDED: MoveState = MoveState::Ended(Outcome::MigratedWithExceptions);
    pub(in super::super) const LOST: [&str; 2] = ["net.example.one", "net.example.two"];

    /// A Mac that is free, with everything that a fault can excuse: it was silent in its hold.
    pub(in super::super) async fn free() -> DeviceVerdict {
        let world = World::start(WorldConfig::new(1, START_MS, Fleet::Count(2)))
            .await
            .unwrap();
        let mut verdicts = world.verdicts().await.into_iter();
        let mut verdict = verdicts.find(|v| v.platform == "macOS").unwrap();
        world.stop().await;
        verdict.whereabouts = Whereabouts::Free;
        verdict.notes.clear();
        verdict.faults = vec![FaultRecord {
            serial: Some(verdict.serial.clone()),
            kind: FaultKind::DeadInHold,
            at_ms: START_MS,
            lasts_ms: 0,
            detail: String::new(),
        }];
        verdict
    }

    pub(in super::super) fn row(verdict: &DeviceVerdict, exceptions: &[&str]) -> Row {
        let at = Timestamp::from_millis(START_MS + 1);
        Row {
            serial: verdict.serial.clone(),
            platform: verdict.platform,
            outcome: None,
            whereabouts: verdict.whereabouts.name(),
            apps_kept: 0,
            apps_lost: lost(verdict, &BTreeSet::new()),
            recovery_key: Proof::Proved,
            lock: Proof::Proved,
            hold_minutes: 1,
            exceptions: exceptions
                .iter()
                .map(|what| Exception::new(*what, "why", Owner::Device, at))
                .collect(),
            faults: BTreeMap::new(),
            unmet: Vec::new(),
            away_minutes: Some(0),
            disagreements: Vec::new(),
            never_ended: false,
            timeline: Vec::new(),
        }
    }

    fn found(row: &Row, verdict: &DeviceVerdict) -> Vec<String> {
        let (nothing, pauses) = (BTreeSet::new(), Pauses::default());
        disagreements(row, verdict, Some(&ENDED), &nothing, false, &pauses)
    }

    #[tokio::test]
    async fn some_faults_leave_few_exceptions_and_only_to_who_was_away() {
        let verdict = free().await;
        let fleet = |excepted: usize, fault: &'static str| {
            let mut rows: Vec<Row> = (0..40).map(|_| row(&verdict, &[])).collect();
            for bad in rows.iter_mut().take(excepted) {
                *bad = row(&verdict, &["apps-keep: net.example.notes"]);
                bad.faults.insert(fault, 1);
            }
            hold_to_some(&mut rows);
            let said = rows.iter().filter(|r| !r.disagreements.is_empty());
            said.count()
        };
        assert_eq!(fleet(0, "dead-in-hold"), 0);
        assert_eq!(fleet(2, "dead-in-hold"), 0);
        assert_eq!(fleet(2, "apple-429"), 2, "never away");
        assert_eq!(
            fleet(3, "off-at-deadline"),
            3,
            "more than five in a hundred"
        );
    }

    #[tokio::test]
    async fn every_app_that_is_missing_is_named_or_it_is_a_disagreement() {
        let mut verdict = free().await;
        verdict.not_installed = LOST.map(str::to_owned).to_vec();
        let first = format!("apps-keep: {}", LOST[0]);
        let said = found(&row(&verdict, &[&first]), &verdict);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].ends_with(LOST[1]), "{said:?}");
        // A step as a whole names nothing.
        let said = found(&row(&verdict, &["apps-keep", "verify"]), &verdict);
        assert!(said[0].contains(LOST[0]) && said[0].contains(LOST[1]));
        // The runbook may spell an app otherwise; a step has one spelling.
        for (step, names) in [("apps-keep", true), ("APPS-KEEP", false)] {
            let what = format!("{step}: {}", LOST[0].to_uppercase());
            let said = found(&row(&verdict, &[&what]), &verdict);
            let unsaid = said.iter().any(|s| s.contains(LOST[0]));
            assert_eq!(unsaid, !names, "{said:?}");
        }
        let second = format!("verify: {}", LOST[1]);
        let said = found(&row(&verdict, &[&first, &second]), &verdict);
        assert!(said.is_empty(), "{said:?}");
    }

    #[tokio::test]
    async fn only_an_exception_about_the_key_excuses_a_key_that_does_not_open() {
        let verdict = free().await;
        let excused = |what: &str| {
            let mut row = row(&verdict, &[what]);
            row.recovery_key = Proof::Missing;
            found(&row, &verdict).is_empty()
        };
        for what in ["fv-escrow", "verify: recovery key"] {
            assert!(excused(what), "{what}");
        }
        for what in ["bootstrap", "verify", "verify: net.example.one", "network"] {
            assert!(!excused(what), "{what}");
        }
    }

    #[tokio::test]
    async fn a_device_that_is_called_migrated_is_free_and_was_not_erased() {
        let mut verdict = free().await;
        assert!(found(&row(&verdict, &[]), &verdict).is_empty());
        for elsewhere in Whereabouts::ALL {
            verdict.whereabouts = elsewhere;
            let agrees = found(&row(&verdict, &[]), &verdict).is_empty();
            assert_eq!(agrees, elsewhere == Whereabouts::Free, "{elsewhere:?}");
        }
        verdict.whereabouts = Whereabouts::Free;
        verdict.erased = true;
        let said = found(&row(&verdict, &[]), &verdict);
        assert!(said[0].ends_with("free, erased"), "{said:?}");
    }

    #[test]
    fn a_hold_whose_release_comes_late_or_never_is_too_long() {
        let minute = |n: i64| Timestamp::from_millis(START_MS + n * 60_000);
        let entry = |at: i64, from: &str, to: &str| {
            let detail = serde_json::json!({ "from": from, "to": to });
            let organisation = OrganisationId(1);
            let (id, at) = (AuditId(at), minute(at));
            AuditEntry::new(organisation, id, at, "worker", "set-up", None, detail)
        };
        let began = entry(0, "enrolling", "holding");
        let in_time = entry(45, "holding", "releasing");
        let late = entry(50, "holding", "releasing");
        let gone = entry(10, "holding", "ended");
        let says = |timeline: &[AuditEntry], now| held_too_long(timeline, minute(now)).is_some();
        assert!(!says(&[began.clone(), in_time], 5_000));
        assert!(says(&[began.clone(), late], 5_000));
        // Never queued: only once it should have been.
        assert!(!says(std::slice::from_ref(&began), 45));
        assert!(says(std::slice::from_ref(&began), 60));
        assert!(!says(&[began.clone(), gone], 5_000));
    }

    #[tokio::test]
    async fn who_never_comes_back_is_held_given_up_and_named() {
        let mut verdict = free().await;
        verdict.whereabouts = Whereabouts::Held;
        let failed = MoveState::Ended(Outcome::Failed);
        let said = |exceptions: &[&str], at, state| {
            unreachable(&row(&verdict, exceptions), at, Some(state)).len()
        };
        assert_eq!(said(&["operator"], Whereabouts::Held, &failed), 0);
        assert_eq!(said(&["apps-keep"], Whereabouts::Held, &failed), 1);
        assert_eq!(said(&["operator"], Whereabouts::Free, &failed), 1);
        assert_eq!(said(&["operator"], Whereabouts::Held, &ENDED), 1);
    }

    #[tokio::test]
    async fn an_app_that_was_accepted_as_lost_may_be_named_without_a_fault_and_no_other() {
        let mut verdict = free().await;
        verdict.faults.clear();
        verdict.not_installed = LOST.map(str::to_owned).to_vec();
        let waived: BTreeSet<String> = LOST.map(str::to_owned).into();
        let both = LOST.map(|app| format!("apps-keep: {app}"));
        let both = [&*both[0], &*both[1]];
        let said = |exceptions: &[&str], waived: &BTreeSet<String>| {
            let row = row(&verdict, exceptions);
            let pauses = Pauses::default();
            disagreements(&row, &verdict, Some(&ENDED), waived, false, &pauses).len()
        };
        assert_eq!(said(&both, &waived), 0);
        assert_eq!(said(&[], &waived), 0);
        let one = waived.iter().take(1).cloned().collect();
        assert_eq!(said(&both, &one), 1);
        let step = [both[0], "apps-keep"];
        assert_eq!(said(&step, &waived), 1, "a step as a whole names no app");
        assert_eq!(said(&["lock: net.example.one"], &waived), 1);
    }

    #[tokio::test]
    async fn an_exception_needs_a_fault_that_can_have_caused_it() {
        let mut verdict = free().await;
        let excepted = row(&verdict, &["apps-keep: net.example.one"]);
        assert!(found(&excepted, &verdict).is_empty());
        verdict.faults[0].kind = FaultKind::LostCheckOut;
        let said = found(&excepted, &verdict);
        assert!(said[0].contains("lost-check-out"), "{said:?}");
    }
}
