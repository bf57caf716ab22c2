//! The return ticket: before, in the hold, after; each with what stands against it, and proved at Apple.

use std::collections::BTreeMap;
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::{Clock as _, Timestamp};
use mdm_core::device::{Device, MigrationStatus, Platform};
use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::errand::{ErrandKind, ErrandState};
use mdm_core::ids::{EnrollmentId, ErrandId, Serial, SetUpId};
use mdm_core::migration::{MoveState, Outcome, SetUp, SetUpEnd, SetUpState, Verdict, VerdictKind};
use mdm_core::original::{BY_DEVICE, OriginalApp, OriginalFacts, Told};
use mdm_core::service::{Act, ActPlan, MigrationAct, Org};
use mdm_core::store::Batch;

use super::apple::{DAY, Fate, MINUTE, OURS, START, THEIRS};
use super::stage::Stage;
use super::starts;

fn back(serials: &[Serial], to: Option<&str>) -> Act {
    back_by(serials, to, Some(START + DAY * 60))
}

fn back_by(serials: &[Serial], to: Option<&str>, deadline: Option<Timestamp>) -> Act {
    Act {
        what: MigrationAct::Return {
            deadline,
            to: to.map(str::to_owned),
        },
        serials: serials.to_vec(),
        reason: Some("the pilot failed".to_owned()),
    }
}

async fn device(stage: &Stage, org: &Org, serial: &Serial) -> Device {
    let id = org.organisation().id;
    let device = stage.mdm.store().device_by_serial(id, serial).await;
    device.unwrap().unwrap()
}

/// Puts a device into our hands: enrolled, its set-up in `state`, its attempt (if it has one) in `attempt`.
async fn here(
    stage: &Stage,
    org: &Org,
    serial: &Serial,
    state: SetUpState,
    attempt: Option<MoveState>,
) {
    let (id, now) = (org.organisation().id, stage.clock.now());
    let mut device = device(stage, org, serial).await;
    let mut batch = Batch::new();
    let key = format!("UDID-{serial}");
    let enrollment = EnrollmentId(device.id.0);
    let kind = ChannelKind::Device;
    let mut enrolment = Enrollment::pending(id, enrollment, key, kind, "ab".to_owned(), now);
    enrolment.state = EnrollmentState::Enrolled;
    enrolment.device = Some(device.id);
    enrolment.serial = Some(serial.clone());
    let mut of = None;
    if let Some(open) = device.open_move
        && let Some(state) = attempt
    {
        let mut row = stage.mdm.store().attempt(id, open).await.unwrap().unwrap();
        of = Some((open, row.runbook));
        if matches!(state, MoveState::Ended(_)) {
            device.open_move = None;
        }
        row.state = state;
        row.wake_at = None;
        batch.put(row);
    }
    let verdict = Verdict {
        kind: VerdictKind::Migration,
        reasons: Vec::new(),
    };
    let runbook = of.map_or(mdm_core::ids::RunbookId(1), |(_, runbook)| runbook);
    let (set_up, platform) = (SetUpId(device.id.0), Platform::Ios);
    let attempt = of.map(|(attempt, _)| attempt);
    let mut row = SetUp::begin(
        id, set_up, &enrolment, platform, attempt, runbook, verdict, now,
    );
    row.state = state;
    row.wake_at = None;
    row.ceiling_at = None;
    device.enrollment = Some(enrollment);
    batch.put(device).put(enrolment).put(row);
    stage.mdm.store().commit(batch).await.unwrap();
    let mut inside = stage.apple.inside();
    let reading = inside.devices.get_mut(serial).unwrap();
    reading.assigned_server = Some(OURS.to_owned());
    reading.status = Some(MigrationStatus::Success);
}

async fn plan(org: &Org, act: &Act) -> ActPlan {
    org.pull(&act.serials).await.unwrap();
    org.plan_act(act).await.unwrap()
}

#[tokio::test]
async fn each_device_has_the_way_back_that_its_place_leaves_it() {
    let stage = Stage::new(5, MINUTE, &[]).await;
    let org = stage.org().await;
    let all = stage.serials.clone();
    let [before, hold, after, stranger, unable] = [0, 1, 2, 3, 4].map(|n| all[n].clone());
    let wave = stage
        .submit(
            "one",
            &[before.clone(), hold.clone(), after.clone(), unable.clone()],
        )
        .await;
    stage.pass(MINUTE * 30).await;
    let steps = BTreeMap::new;
    let holding = SetUpState::Holding {
        since: START,
        steps: steps(),
    };
    let moving = MoveState::Moving {
        since: START,
        set_up: SetUpId(device(&stage, &org, &hold).await.id.0),
    };
    here(&stage, &org, &hold, holding, Some(moving)).await;
    let ended = || SetUpState::Ended(SetUpEnd::Proved);
    let migrated = || Some(MoveState::Ended(Outcome::Migrated));
    here(&stage, &org, &after, ended(), migrated()).await;
    here(&stage, &org, &unable, ended(), migrated()).await;
    // It enrolled by itself, out of the box: nobody knows from where.
    here(&stage, &org, &stranger, ended(), None).await;
    let change = |serial: &Serial| -> Option<bool> {
        stage
            .apple
            .inside()
            .devices
            .get_mut(serial)
            .unwrap()
            .capable = Some(false);
        None
    };
    change(&unable);
    // Said often enough, over long enough: it is no lag.
    for _ in 0..3 {
        org.pull(&all).await.unwrap();
        stage.clock.advance(MINUTE * 16);
    }

    let act = back(&all, None);
    let shown = plan(&org, &act).await;
    let against: Vec<(&str, &str)> = shown
        .findings
        .iter()
        .map(|(serial, why)| (serial.as_str(), why[0].as_str()))
        .collect();
    assert_eq!(
        against,
        [
            (
                hold.as_str(),
                "return.way: it is on its way here: nothing can be taken back now; let it finish, then decide"
            ),
            (
                stranger.as_str(),
                "return.way: nobody knows which service it came from: say where it returns to"
            ),
            (
                unable.as_str(),
                "capable: Apple says that it cannot migrate"
            ),
        ]
    );
    let kinds: Vec<String> = shown
        .requests
        .iter()
        .map(|r| {
            r.body["data"]["attributes"]["activityType"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "CANCEL_MDM_MIGRATION",
            "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE"
        ],
        "{:#?}",
        shown.requests
    );
    assert!(
        shown.consequence.contains("1 device leaves us"),
        "{}",
        shown.consequence
    );
    // Nothing is done without the digest of just this plan.
    let sent = stage.apple.asked();
    assert!(org.do_act(&act, "0f").await.is_err());
    let done = org.do_act(&act, &shown.digest).await.unwrap();
    assert_eq!((done.members, done.blocked), (5, 3));
    stage.pass(MINUTE * 90).await;
    assert!(stage.apple.asked() >= sent + 2);
    {
        let inside = stage.apple.inside();
        assert_eq!(
            inside.devices[&before].assigned_server.as_deref(),
            Some(THEIRS)
        );
        let reading = &inside.devices[&after];
        assert_eq!(reading.assigned_server.as_deref(), Some(THEIRS));
        assert_eq!(reading.deadline, Some(START + DAY * 60));
        assert_eq!(inside.devices[&hold].assigned_server.as_deref(), Some(OURS));
    }
    let proof = org.act_proof(&done.errands).await.unwrap();
    assert!(proof.finished && proof.disagree.is_empty(), "{proof:?}");
    let mut proved = proof.proved;
    proved.sort();
    assert_eq!(proved, [before.clone(), after.clone()]);
    let states = org.members(wave).await.unwrap();
    let called = states.iter().find(|m| m.serial == before).unwrap();
    assert_eq!(called.state, MoveState::Ended(Outcome::Cancelled));
    let leaving = device(&stage, &org, &after).await.leaving.unwrap();
    assert_eq!(
        (leaving.to.as_str(), leaving.deadline),
        (THEIRS, START + DAY * 60)
    );
    // Asked again, each of them says that it is done.
    let again = plan(&org, &back(std::slice::from_ref(&after), None)).await;
    let why = &again.findings[&after][0];
    assert!(why.contains("assigned to that service already"), "{why}");
    assert!(org.errand(ErrandId(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_return_to_ourselves_or_to_nobody_or_without_a_deadline_is_bad_input() {
    let stage = Stage::new(1, MINUTE, &[]).await;
    let org = stage.org().await;
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    let ended = SetUpState::Ended(SetUpEnd::Proved);
    let migrated = Some(MoveState::Ended(Outcome::Migrated));
    here(&stage, &org, &stage.serials[0], ended, migrated).await;
    org.pull(&stage.serials).await.unwrap();
    let late = back_by(&stage.serials, None, Some(START + DAY * 200));
    let never = back_by(&stage.serials, None, None);
    for (act, field) in [
        (back(&stage.serials, Some(OURS)), "to"),
        (late, "deadline"),
        (never, "deadline"),
    ] {
        let why = org.plan_act(&act).await.unwrap_err().to_string();
        assert!(why.starts_with(&format!("{field}: ")), "{why}");
    }
}

/// A device that is here, has told of its apps, and came with a wave.
async fn migrated(stage: &Stage, serial: &Serial) {
    let org = stage.org().await;
    let ended = SetUpState::Ended(SetUpEnd::Proved);
    let outcome = Some(MoveState::Ended(Outcome::Migrated));
    here(stage, &org, serial, ended, outcome).await;
}

fn result(plan: &ActPlan, serial: &Serial, check: Check) -> Option<(CheckResult, String)> {
    let member = plan.checks.iter().find(|m| m.serial == *serial).unwrap();
    let finding = member.findings.iter().find(|f| f.check == check)?;
    // Whatever is no pass says what would mend it, and who can.
    assert_eq!(finding.fix.is_empty(), finding.result == CheckResult::Pass);
    assert_eq!(finding.who.is_none(), finding.result == CheckResult::Pass);
    Some((finding.result, finding.fact.clone()))
}

#[tokio::test]
async fn a_way_back_is_looked_at_with_every_check() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let org = stage.org().await;
    let [told, silent] = [0, 1].map(|n| stage.serials[n].clone());
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    for serial in &stage.serials {
        migrated(&stage, serial).await;
    }
    let (id, now) = (org.organisation().id, stage.clock.now());
    let mut row = device(&stage, &org, &told).await;
    row.facts.learned = Some(now);
    row.facts.os_version = Some("26.2".to_owned());
    let mut apps = OriginalFacts::new(id, row.id);
    let own = vec![OriginalApp::new("com.example.notes")];
    apps.reported_apps = Some(Told {
        value: own,
        at: now,
        by: BY_DEVICE.to_owned(),
    });
    let mut batch = Batch::new();
    batch.put(row).put(apps);
    stage.mdm.store().commit(batch).await.unwrap();

    let within = |time: Duration| back_by(&stage.serials, None, Some(stage.clock.now() + time));
    let plan_of = plan(&org, &within(DAY * 9)).await;
    let of = |check| result(&plan_of, &told, check);
    assert_eq!(of(Check::ReturnWay).unwrap().0, CheckResult::Pass);
    assert_eq!(of(Check::OsMinimum).unwrap().0, CheckResult::Pass);
    assert_eq!(of(Check::DeadlineRange).unwrap().0, CheckResult::Pass);
    let (mapped, said) = of(Check::AppsMapped).unwrap();
    assert_eq!(mapped, CheckResult::Warn);
    assert!(said.contains("com.example.notes"), "{said}");
    // What a device never told is unknown, and no pass.
    let (mapped, _) = result(&plan_of, &silent, Check::AppsMapped).unwrap();
    assert_eq!(mapped, CheckResult::Unknown);
    let lost = &plan_of.forecast.as_ref().unwrap().apps[0];
    assert_eq!(lost.bundle_id, "com.example.notes");
    assert_eq!(lost.lost.keys().collect::<Vec<_>>(), [&told]);
    let server: Vec<Check> = plan_of.server.iter().map(|f| f.check).collect();
    assert_eq!(server, [Check::Capacity, Check::PostBudget]);

    // Unknown apps block by default, and less than a day of notice always.
    let rules = [(Check::AppsMapped, None), (Check::AppsSource, None)];
    org.set_unknowns(&rules.into()).await.unwrap();
    let org = stage.org().await;
    let plan_of = plan(&org, &within(DAY * 9)).await;
    assert_eq!(plan_of.findings.keys().collect::<Vec<_>>(), [&silent]);
    let plan_of = plan(&org, &within(DAY - MINUTE)).await;
    assert_eq!(plan_of.blocked, 2);
    let why = plan_of.findings[&told].join("; ");
    assert!(why.contains("less than 24 hours"), "{why}");
}

#[tokio::test]
async fn a_return_of_many_takes_two_persons_and_goes_as_it_was_looked_at() {
    let stage = Stage::new(30, MINUTE, &[]).await;
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    for serial in &stage.serials {
        migrated(&stage, serial).await;
    }
    let org = stage.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    let act = back(&stage.serials[..26], None);
    let shown = plan(&anna, &act).await;
    assert_eq!(
        (shown.members, shown.blocked),
        (26, 0),
        "{:?}",
        shown.findings
    );
    let sent = stage.apple.asked();
    let waits = anna.do_act(&act, &shown.digest).await.unwrap();
    assert!(waits.errands.is_empty());
    let waits = waits.approval.unwrap();
    stage.pass(MINUTE * 20).await;
    assert_eq!(
        stage.apple.asked(),
        sent,
        "nothing before another person says so"
    );
    assert!(anna.confirm(waits).await.is_err());
    let done = bo.confirm(waits).await.unwrap().act.unwrap();
    assert_eq!(done.members, 26);
    stage.pass(MINUTE * 60).await;
    for serial in &stage.serials[..26] {
        let inside = stage.apple.inside();
        let reading = &inside.devices[serial];
        assert_eq!(reading.assigned_server.as_deref(), Some(THEIRS), "{serial}");
    }
    // A few go by one person's word.
    let few = back(&stage.serials[26..], None);
    let shown = plan(&bo, &few).await;
    let done = bo.do_act(&few, &shown.digest).await.unwrap();
    assert_eq!((done.approval, done.errands.len()), (None, 1));
}

#[tokio::test]
async fn of_a_return_that_is_confirmed_later_goes_what_is_still_as_it_was() {
    let stage = Stage::new(5, MINUTE, &[]).await;
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    let [begins, before, gone, here_too] = [0, 1, 3, 4].map(|n| stage.serials[n].clone());
    for serial in &stage.serials[3..] {
        migrated(&stage, serial).await;
    }
    let org = stage.org().await;
    org.demand_two_persons(true).await.unwrap();
    let org = stage.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    let act = back(&stage.serials, None);
    let asked = async || {
        let shown = plan(&anna, &act).await;
        let waits = anna.do_act(&act, &shown.digest).await.unwrap();
        (shown.blocked, waits.approval.unwrap())
    };
    let (blocked, waits) = asked().await;
    assert_eq!(blocked, 0);
    starts(&stage, &begins);
    // One of the two that are here has gone away: what the other one's return is part of is no longer what was looked at.
    let id = bo.organisation().id;
    let row = device(&stage, &bo, &gone).await;
    let store = stage.mdm.store();
    let found = store.enrollments_of_device(id, row.id).await.unwrap();
    let mut enrolment = found.last().unwrap().clone();
    enrolment.state = EnrollmentState::CheckedOut;
    let mut batch = Batch::new();
    batch.put(enrolment);
    store.commit(batch).await.unwrap();
    bo.pull(&stage.serials).await.unwrap();
    let done = bo.confirm(waits).await.unwrap().act.unwrap();
    assert_eq!((done.members, done.blocked), (5, 3));
    let left: Vec<&Serial> = done.left_out.keys().collect();
    assert_eq!(left, [&begins, &here_too], "{:?}", done.left_out);
    let why = &done.left_out[&here_too][0];
    assert!(why.contains("not as it was confirmed"), "{why}");
    stage.pass(MINUTE * 60).await;
    for serial in [&before, &stage.serials[2]] {
        let failed = Some(MigrationStatus::Failed);
        assert_eq!(stage.apple.status(serial), failed, "{serial}");
    }
    assert_eq!(device(&stage, &bo, &here_too).await.leaving, None);
    // Asked for anew it goes, once it is confirmed.
    let (_, waits) = asked().await;
    let done = bo.confirm(waits).await.unwrap().act.unwrap();
    assert_eq!(done.members - done.blocked, 1);
    assert!(done.left_out.is_empty(), "{:?}", done.left_out);
    assert!(device(&stage, &bo, &here_too).await.leaving.is_some());
}

#[tokio::test]
async fn of_a_return_without_a_deadline_who_is_here_by_now_keeps_no_other_from_being_called_back() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    let org = stage.org().await;
    org.demand_two_persons(true).await.unwrap();
    let org = stage.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    let act = back_by(&stage.serials, None, None);
    let shown = plan(&anna, &act).await;
    let waits = anna.do_act(&act, &shown.digest).await.unwrap();
    let moved = &stage.serials[0];
    migrated(&stage, moved).await;
    bo.pull(&stage.serials).await.unwrap();
    let done = bo.confirm(waits.approval.unwrap()).await.unwrap();
    let done = done.act.unwrap();
    assert_eq!(done.left_out.keys().collect::<Vec<_>>(), [moved]);
    assert_eq!((done.blocked, done.errands.len()), (1, 1));
    assert_eq!(device(&stage, &bo, moved).await.leaving, None);
}

#[tokio::test]
async fn of_a_return_those_that_are_here_leave_where_only_others_have_begun() {
    let stage = Stage::new(3, MINUTE, &[]).await;
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    migrated(&stage, &stage.serials[2]).await;
    let org = stage.org().await;
    org.demand_two_persons(true).await.unwrap();
    let org = stage.org().await;
    let (anna, bo) = (org.clone().acting_for("Anna"), org.acting_for("Bo"));
    let act = back(&stage.serials, None);
    let shown = plan(&anna, &act).await;
    let waits = anna.do_act(&act, &shown.digest).await.unwrap();
    let begins = &stage.serials[0];
    starts(&stage, begins);
    bo.pull(&stage.serials).await.unwrap();
    let done = bo.confirm(waits.approval.unwrap()).await.unwrap();
    let done = done.act.unwrap();
    assert_eq!(done.left_out.keys().collect::<Vec<_>>(), [begins]);
    assert_eq!((done.blocked, done.errands.len()), (1, 2));
    let leaving = device(&stage, &bo, &stage.serials[2]).await.leaving;
    assert_eq!(leaving.unwrap().to, THEIRS);
}

#[tokio::test]
async fn whom_apple_does_not_move_is_not_leaving() {
    let stage = Stage::new(1, MINUTE, &[]).await;
    let serial = stage.serials[0].clone();
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    migrated(&stage, &serial).await;
    let org = stage.org().await;
    let ask = async || {
        let act = back(std::slice::from_ref(&serial), None);
        let shown = plan(&org, &act).await;
        assert_eq!(shown.blocked, 0, "{:?}", shown.findings);
        org.do_act(&act, &shown.digest).await.unwrap();
        assert!(device(&stage, &org, &serial).await.leaving.is_some());
    };
    // Apple says no at once.
    stage.apple.inside().fates = vec![Fate::Rejected];
    ask().await;
    stage.pass(MINUTE * 60).await;
    assert_eq!(device(&stage, &org, &serial).await.leaving, None);
    let told = org.record_tail(100).await.unwrap();
    assert!(told.iter().any(|entry| entry.what == "return.refused"));
    // Nobody knows whether the first request came: it may.
    stage.apple.inside().fates = vec![Fate::Unanswered];
    stage.apple.inside().lag = MINUTE * 14;
    ask().await;
    stage.pass(MINUTE * 10).await;
    assert!(device(&stage, &org, &serial).await.leaving.is_some());
    stage.pass(MINUTE * 50).await;
    assert!(device(&stage, &org, &serial).await.leaving.is_some());
    let inside = stage.apple.inside();
    let now = inside.devices[&serial].assigned_server.clone();
    assert_eq!(now.as_deref(), Some(THEIRS));
}

/// One device that is here, and whose return was asked for.
async fn asked_back(fates: &[Fate]) -> (Stage, Org, Serial) {
    let stage = Stage::new(1, MINUTE, &[]).await;
    let serial = stage.serials[0].clone();
    stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 30).await;
    migrated(&stage, &serial).await;
    stage.apple.inside().fates = fates.to_vec();
    let org = stage.org().await;
    ask_back(&org, &serial, 60).await;
    stage.pass(MINUTE).await;
    (stage, org, serial)
}

async fn ask_back(org: &Org, serial: &Serial, days: u32) {
    let serials = std::slice::from_ref(serial);
    let act = back_by(serials, None, Some(START + DAY * days));
    let shown = plan(org, &act).await;
    assert_eq!(shown.blocked, 0, "{:?}", shown.findings);
    org.do_act(&act, &shown.digest).await.unwrap();
}

#[tokio::test]
async fn a_return_that_is_refused_after_a_lost_sending_is_read_before_it_ends() {
    // The first request never came, or it comes after everybody has stopped waiting for it, which is why the second is refused.
    for (first, lag) in [(Fate::Lost, 1), (Fate::Unanswered, 20)] {
        let stage = Stage::new(1, MINUTE, &[]).await;
        let serial = stage.serials[0].clone();
        stage.submit("one", &stage.serials).await;
        stage.pass(MINUTE * 30).await;
        migrated(&stage, &serial).await;
        stage.apple.inside().lag = MINUTE * lag;
        stage.apple.inside().fates = vec![first, Fate::Rejected];
        let org = stage.org().await;
        ask_back(&org, &serial, 60).await;
        stage.pass(MINUTE * 17).await;
        let asked = stage.errands().await.pop().unwrap();
        assert_eq!(asked.sendings.len(), 2, "{asked:?}");
        assert!(!asked.is_ended(), "{asked:?}");
        assert!(device(&stage, &org, &serial).await.leaving.is_some());
        stage.pass(MINUTE * 30).await;
        let asked = stage.errands().await.pop().unwrap();
        assert_eq!(asked.state, ErrandState::Done);
        let came = lag == 20;
        let left = device(&stage, &org, &serial).await.leaving;
        assert_eq!(left.is_some(), came, "{left:?}");
        let why: Vec<&str> = asked.failed.values().map(String::as_str).collect();
        assert_eq!(why.is_empty(), came, "{why:?}");
        assert!(why.iter().all(|why| why.contains("409")), "{why:?}");
    }
}

#[tokio::test]
async fn a_return_that_apple_refuses_takes_back_no_other_return() {
    let fates = [Fate::Refused, Fate::Answered, Fate::Rejected];
    let (stage, org, serial) = asked_back(&fates).await;
    // The first one waits for new terms; somebody asks for an earlier one, which Apple takes.
    ask_back(&org, &serial, 50).await;
    stage.pass(MINUTE * 90).await;
    let states: Vec<(ErrandKind, ErrandState)> = stage
        .errands()
        .await
        .into_iter()
        .map(|e| (e.kind, e.state))
        .collect();
    assert!(
        matches!(
            &states[1..],
            [(_, ErrandState::Refused { .. }), (_, ErrandState::Done)]
        ),
        "{states:?}"
    );
    let leaving = device(&stage, &org, &serial).await.leaving;
    assert_eq!(leaving.unwrap().deadline, START + DAY * 50);
}

#[tokio::test]
async fn whoever_is_to_come_again_is_not_returned_by_what_was_asked_before() {
    // Waiting for new terms, it is withdrawn with the submission.
    let (stage, org, serial) = asked_back(&[Fate::Refused]).await;
    let moved = || {
        let mut inside = stage.apple.inside();
        let reading = inside.devices.get_mut(&serial).unwrap();
        // Somebody has moved it at Apple.
        reading.assigned_server = Some(THEIRS.to_owned());
        reading.status = None;
        reading.deadline = None;
    };
    moved();
    org.pull(&stage.serials).await.unwrap();
    let wave = stage.plan("again", &stage.serials, &[]).await;
    let returned = stage.errands().await.pop().unwrap();
    assert_eq!(returned.state, ErrandState::Waiting);
    let what_if = org.what_if(wave).await.unwrap();
    let accepted = org.accept(wave, &what_if.digest, &[], "as planned").await;
    accepted.unwrap();
    org.submit(wave, &what_if.digest, "a person").await.unwrap();
    let row = device(&stage, &org, &serial).await;
    assert_eq!(row.leaving, None);
    let ended = org.errand(returned.id).await.unwrap().unwrap();
    assert!(
        matches!(ended.state, ErrandState::Refused { .. }),
        "{ended:?}"
    );
    let record = org.record_tail(100).await.unwrap();
    assert!(
        record
            .iter()
            .any(|e| e.what == "return.withdrawn" && e.device == Some(row.id))
    );
    stage.pass(MINUTE * 90).await;
    {
        let inside = stage.apple.inside();
        let reading = &inside.devices[&serial];
        assert_eq!(reading.assigned_server.as_deref(), Some(OURS));
        assert_eq!(reading.deadline, Some(START + DAY * 30));
    }
    assert_eq!(stage.apple.asked(), 2, "to us, twice, and never back");

    // Sent, and nobody knows whether it came: nobody goes before that is known.
    let (stage, org, serial) = asked_back(&[Fate::Lost]).await;
    stage
        .apple
        .inside()
        .devices
        .get_mut(&serial)
        .unwrap()
        .assigned_server = Some(THEIRS.to_owned());
    org.pull(&stage.serials).await.unwrap();
    let wave = stage.plan("again", &stage.serials, &[]).await;
    let what_if = org.what_if(wave).await.unwrap();
    let why = &what_if.blockers[&serial][0];
    assert!(why.contains("is on its way to Apple"), "{why}");
}
