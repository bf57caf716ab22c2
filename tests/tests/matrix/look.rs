//! Looks at every cell in the end: state, release and record, against what the simulated world says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::audit::AuditEntry;
use mdm_core::clock::Timestamp;
use mdm_core::failure::FailureMode;
use mdm_core::ids::Serial;
use mdm_core::migration::{PinnedRunbook, Policy, SetUpState, StepId, VisibleState};
use mdm_core::service::DeviceReport;
use mdmd::rehearsal::{Row, Stage};

use super::director::Director;
use super::receiver::{messages, of_receiver};
use super::runbooks::{MOVED, own};
use super::{Behaviour, Cell};

/// What was found wrong with the cells, one sentence each.
pub(super) struct Findings(pub(super) Vec<String>);

impl Findings {
    fn unless(&mut self, true_is: bool, cell: &Cell, row: &Row, why: &str) {
        if !true_is {
            self.0.push(format!(
                "{}: {why}\n    {:?} in the record, {} in the world; {:?}; {:?}",
                cell.name(),
                row.outcome,
                row.whereabouts,
                row.exceptions
                    .iter()
                    .map(|e| format!("{}: {} ({:?})", e.what, e.why, e.owner))
                    .collect::<Vec<_>>(),
                row.disagreements,
            ));
        }
    }
}

/// What the record says of a step, in the order in which it said it.
fn said_of(timeline: &[AuditEntry], step: StepId) -> Vec<String> {
    let said = timeline.iter().filter(|entry| entry.what == "set-up");
    said.filter_map(|entry| {
        let status = &entry.detail["steps"][step.as_str()];
        match status {
            serde_json::Value::Null => None,
            serde_json::Value::String(word) => Some(word.clone()),
            other => other.as_object()?.keys().next().cloned(),
        }
    })
    .collect()
}

/// When the set-up went into these states, by the record.
fn went(timeline: &[AuditEntry], state: &str) -> Vec<Timestamp> {
    let into = |e: &&AuditEntry| {
        e.what == "set-up" && e.detail["to"] == state && e.detail["from"] != state
    };
    timeline.iter().filter(into).map(|e| e.at).collect()
}

/// How often the end of a hold was decided, by the record: whoever goes on from a silence is not released a second time.
fn decided(timeline: &[AuditEntry]) -> usize {
    let end = |e: &&AuditEntry| {
        e.what == "set-up" && e.detail["to"] == "releasing" && e.detail["from"] == "holding"
    };
    timeline.iter().filter(end).count()
}

/// Steps whose profiles the proof sees.
const PROVED: [StepId; 4] = [
    StepId::Trust,
    StepId::Network,
    StepId::Security,
    StepId::FvEscrow,
];

/// Whether the record ever had an exception of this step.
fn was_noted(timeline: &[AuditEntry], step: StepId) -> bool {
    let exceptions = timeline
        .iter()
        .filter_map(|entry| entry.detail["exceptions"].as_array());
    exceptions.flatten().any(|e| e["what"] == step.as_str())
}

/// What of an answer that came after the hold is not on record, or changed more than it can.
async fn late_answers(
    stage: &Stage,
    report: &DeviceReport,
    cell: &Cell,
    uuids: &[String],
    let_go: Timestamp,
) -> Vec<String> {
    let mut odd = Vec::new();
    for uuid in uuids.iter().filter(|uuid| !uuid.is_empty()) {
        let enrollment = report.device.enrollment.unwrap();
        let store = stage.mdm().store();
        let command = store
            .command(stage.house.organisation, enrollment, uuid)
            .await;
        let Some(command) = command.unwrap() else {
            odd.push(format!("{uuid} is not on record"));
            continue;
        };
        let on_record = command.report.is_some()
            && command.state.is_final()
            && command.settled.is_some_and(|at| at >= let_go);
        if !on_record {
            odd.push(format!(
                "the late answer to {} is not on record: {:?}, settled {:?}",
                command.request_type, command.state, command.settled
            ));
        }
    }
    // Done only by an answer, and every answer of the hold came after it. What is declared a device tells by itself, too.
    let tells = matches!(cell.step, StepId::Declare | StepId::DeclareApps);
    let done = report.timeline.iter().find(|entry| {
        entry.what == "set-up" && entry.detail["steps"][cell.step.as_str()]["done"].is_object()
    });
    if let Some(done) = done.filter(|done| !tells && done.at < let_go) {
        odd.push(format!("done before it was answered: {}", done.detail));
    }
    odd
}

/// What is shown as gone wrong of a cell in the end, where that is known beforehand.
fn shown_of(cell: &Cell) -> Option<FailureMode> {
    use Behaviour::{Errors, NeverAnswers, NotNowForEver};
    match (cell.step, cell.behaviour) {
        (StepId::Release, _) if never_let_go(cell) => Some(FailureMode::TrappedAfterRelease),
        (StepId::AppsKeep, Errors | NotNowForEver | NeverAnswers) => Some(FailureMode::AppsGone),
        (StepId::FvEscrow, Errors | NotNowForEver) => Some(FailureMode::NoNewKey),
        (StepId::Lock, Errors) => Some(FailureMode::LockUnknown),
        (StepId::Release, _) => Some(FailureMode::OriginalStillLists),
        _ => None,
    }
}

/// Whether nobody ever confirms that the device is out.
const fn never_let_go(cell: &Cell) -> bool {
    use Behaviour::{Errors, NeverAnswers, NotNowForEver};
    let never = matches!(cell.behaviour, Errors | NotNowForEver | NeverAnswers);
    matches!(cell.step, StepId::Release) && never
}

/// Whether a step that was not answered, or that the world does later, came true in another way, as the world says.
async fn came_true_otherwise(stage: &Stage, serial: &str, step: StepId, row: &Row) -> bool {
    match step {
        // Each of the two has the device look at all declarations there are.
        StepId::Declare | StepId::DeclareApps => {
            let has = stage.world.declared(serial).await.unwrap_or_default();
            let looked = has.first().is_some_and(|own| !own.active.is_empty());
            looked && row.apps_lost.is_empty()
        }
        _ => false,
    }
}

/// The steps that cannot begin before this one, where it is waited for up to the end of the hold, and that only the hold can do.
fn lost_behind(plan: &PinnedRunbook, step: StepId) -> Option<StepId> {
    let blocks = plan.step(step)?.on_timeout == Policy::Block;
    let keep = plan.step(StepId::AppsKeep)?;
    (blocks && keep.requires.contains(&step)).then_some(keep.id)
}

pub(super) async fn look(stage: &Stage, director: &Director, found: &mut Findings) {
    let plans = own();
    let rows: BTreeMap<String, Row> = stage
        .judge()
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.serial.clone(), row))
        .collect();
    let verdicts = stage.world.verdicts().await.into_iter();
    let late_tokens: BTreeSet<String> = verdicts
        .filter(|verdict| verdict.bootstrap_token_late)
        .map(|verdict| verdict.serial)
        .collect();
    let struck = director.struck.lock().unwrap().clone();
    let withheld = director.withheld.lock().unwrap().clone();
    let told_of = director.told.lock().unwrap().clone();
    let posted = director.posted.lock().unwrap().clone();
    let messages = messages(&stage.org().await.unwrap()).await;
    for (serial, cell) in &director.cast {
        let row = &rows[serial];
        let plan = &plans[&cell.platform];
        let step = plan.step(cell.step).unwrap();
        let org = stage.org().await.unwrap();
        let report = org
            .device_report(&Serial::parse(serial).unwrap())
            .await
            .unwrap();
        let otherwise = came_true_otherwise(stage, serial, cell.step, row).await;
        let late_token = late_tokens.contains(serial);
        let mut check = |true_is: bool, why: &str| found.unless(true_is, cell, row, why);
        check(
            struck.contains_key(serial),
            "the step was never met: the field proves nothing",
        );
        let told = said_of(&report.timeline, cell.step);
        let set_up = report.set_up.as_ref().unwrap();
        let (holding, releasing) = (
            went(&report.timeline, "holding"),
            went(&report.timeline, "releasing"),
        );

        let tagged = report.device.tags.contains(MOVED);
        if never_let_go(cell) && row.whereabouts == "free" && set_up.user_seen {
            // Its user has signed in, which nobody can in a hold: that says it too.
            check(
                set_up.released.is_some() && tagged,
                "its user has come, and it is not known to be out",
            );
            continue;
        }
        if let Some(mode) = shown_of(cell) {
            let failures = org.failures_of(&report.device.serial).await.unwrap();
            let shown = failures.iter().find(|failure| failure.mode == mode);
            let whole = shown.is_some_and(|f| !f.evidence.is_empty() && !f.next.is_empty());
            check(whole, &format!("{mode:?} is not shown: {failures:?}"));
        }
        if never_let_go(cell) {
            // Nobody knows that it is out: it is asked again and again, a person is told, and nobody claims it. Who says nothing at all may
            // have gone in silence; who refuses is still there.
            let place = match cell.behaviour {
                Behaviour::NeverAnswers => "free",
                _ => "held",
            };
            check(row.whereabouts == place, "the world has it elsewhere");
            let stalled = matches!(
                set_up.state,
                SetUpState::Stalled { .. } | SetUpState::Releasing { .. }
            );
            check(
                stalled && set_up.released.is_none(),
                "the record says that it is out",
            );
            check(!tagged, "it has the tag of those that are out");
            check(
                !told_of.contains(serial) && !posted.contains_key(serial),
                "somebody was told that it is out",
            );
            check(
                decided(&report.timeline) == 1,
                "its release was not decided once",
            );
            let attention = set_up.attention.is_some();
            check(attention, "nobody is asked to look at it");
            continue;
        }
        check(tagged, "it has no tag");
        if cell.step == StepId::Tell && cell.behaviour == Behaviour::Errors {
            let why = report
                .timeline
                .iter()
                .rev()
                .find_map(|entry| entry.detail["steps"]["tell"]["skipped"]["why"].as_str());
            check(
                why.is_some_and(|why| why.contains("nobody reads this")),
                "the record does not say why it could not be sent",
            );
            check(
                struck.get(serial) == Some(&1),
                "who refused for good was asked again",
            );
        }
        let heard = of_receiver(
            cell,
            told_of.contains(serial),
            posted.get(serial),
            messages.get(serial),
        );
        for why in heard {
            check(false, &why);
        }
        if let Some(uuids) = withheld.get(serial) {
            let let_go = releasing
                .last()
                .copied()
                .unwrap_or(Timestamp::from_millis(0));
            for why in late_answers(stage, &report, cell, uuids, let_go).await {
                check(false, &why);
            }
        }

        // The release: decided once in each hold, before its ceiling, and the device is out.
        check(row.whereabouts == "free", "it is not out");
        check(!row.never_ended, "it never ended");
        let held = holding.last().copied();
        let let_go = releasing.last().copied();
        let in_time = held.zip(let_go).is_some_and(|(from, to)| {
            let ceiling = Duration::from_secs(plan.hard_ceiling_secs + 60);
            to >= from && to <= from + ceiling
        });
        check(in_time, "its release was not queued before its ceiling");
        let since = releasing
            .iter()
            .filter(|at| held.is_some_and(|held| **at >= held));
        check(
            since.count() == 1,
            "it was not released once in its last hold",
        );

        // The record: of the step at all, and nothing that the world does not bear out.
        check(!told.is_empty(), "the record says nothing of the step");
        // A device notes that a server without a database sent it away, and comes again.
        let explained =
            |said: &&String| said.starts_with("no fault explains") || said.ends_with("HTTP 503");
        let untrue = row.disagreements.iter().filter(|d| !explained(d));
        check(untrue.count() == 0, "world and record disagree");
        let owners = row.exceptions.iter().all(|e| !e.why.is_empty());
        check(owners, "an exception says nothing");

        // The state.
        let of: BTreeSet<&str> = row
            .exceptions
            .iter()
            .map(|e| e.what.split(':').next().unwrap_or_default())
            .collect();
        let well = row.outcome == Some(VisibleState::Migrated) && of.is_empty();
        let excepted = row.outcome == Some(VisibleState::MigratedWithExceptions);
        let last = told.last().map(String::as_str);
        let harmless = cell.step == StepId::Release
            || matches!(
                cell.behaviour,
                Behaviour::Succeeds | Behaviour::AnswersTwice | Behaviour::EnrolsAnew
            );
        if harmless {
            check(well, "it did not end well");
            // A token that comes at a login after the hold is none of the hold's, and nobody requires it.
            let late = cell.step == StepId::Bootstrap && late_token && last == Some("excepted");
            check(
                matches!(last, Some("done" | "skipped")) || late,
                "its step did not end well",
            );
            continue;
        }
        check(well || excepted, "it did not come to its end");
        if cell.behaviour == Behaviour::AnswersAfterRelease && cell.step != StepId::Tell {
            let came = withheld.get(serial).is_some_and(|all| !all.is_empty());
            check(
                came,
                "nothing of it was kept back: the field proves nothing",
            );
            let named = of.contains(cell.step.as_str());
            match last {
                // It counts: what only its lateness had caused is taken back.
                Some("done") => check(!named, "it came true late, and is an exception"),
                Some("excepted") if step.required => {
                    // The proof sees profiles, and takes back what only lateness had caused.
                    let noted = was_noted(&report.timeline, cell.step);
                    let seen = PROVED.contains(&cell.step) && noted;
                    check(named || seen, "it came too late, and no exception says so");
                }
                Some("excepted" | "skipped") => {}
                _ => check(false, "its step has no end"),
            }
        }
        let proves = cell.step == StepId::Verify;
        let undone = matches!(
            cell.behaviour,
            Behaviour::Errors | Behaviour::NotNowForEver | Behaviour::NeverAnswers
        );
        if undone && (step.required || proves) {
            check(
                of.contains(cell.step.as_str()),
                "a required step was not done, and no exception says so",
            );
            check(
                last == Some("excepted"),
                "its step ended well, and was not done",
            );
        }
        if undone && !step.required && !proves {
            check(
                !of.contains(cell.step.as_str()),
                "an exception of a step that nobody requires",
            );
            check(
                matches!(last, Some("excepted" | "skipped")) || last == Some("done") && otherwise,
                "its step ended well, and was not done",
            );
        }
        // Whoever refuses one thing, or says nothing of it, lets the others be done.
        if undone {
            let mut mine = BTreeSet::from([cell.step.as_str(), "verify"]);
            if cell.step == StepId::Bootstrap {
                mine.insert("fv-escrow");
            }
            mine.extend(lost_behind(plan, cell.step).map(StepId::as_str));
            check(of.is_subset(&mine), "another step was not done");
        }
    }
}
