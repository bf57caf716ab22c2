//! What planning promises, over rows: filters of members, the window of a project, prerequisites through to the submission, a plan as
//! a document after somebody was taken out, a submitted wave that is looked at again, the stop rule of long holds, and drift by part.

mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::audit::AuditEntry;
use mdm_core::calendar::Calendar;
use mdm_core::check::{Check, CheckResult};
use mdm_core::device::{Device, MigrationStatus, Platform};
use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::error::Error;
use mdm_core::gap::GapLimits;
use mdm_core::ids::{AuditId, EnrollmentId, ProjectId, Serial, SetUpId, WaveId};
use mdm_core::migration::what_if::CheckFinding;
use mdm_core::migration::{
    Attention, Move, MoveState, Outcome, PinnedRunbook, SetUp, SetUpState, Variant, Verdict,
    VerdictKind,
};
use mdm_core::organisation::AdeOptions;
use mdm_core::original::{DeviceOwner, Said};
use mdm_core::project::{StopRule, Window};
use mdm_core::service::{
    Act, Candidates, Dates, Detail, MigrationAct, Org, PlanFile, ProjectChange,
};
use mdm_core::store::Batch;
use mdm_core::wave::{Preset, Wave, WaveState};
use service_house::fleet::{serial, serials};
use service_house::{House, START};

const DAY: Duration = Duration::from_hours(24);
const DATES: Dates = Dates {
    deadline: Some(mdm_core::clock::Timestamp::from_millis(
        1_796_893_200_000 + 9 * 86_400_000,
    )),
    available_from: Some(mdm_core::clock::Timestamp::from_millis(
        1_796_893_200_000 + 86_400_000,
    )),
};

/// Phones, tablets and Macs in turn, at two services in turn, of which everything is known.
async fn fleet(house: &House, count: usize) -> Org {
    let differs = |n: usize, device: &mut Device, said: &mut Said| {
        let reading = device.reading.get_or_insert_default();
        if !n.is_multiple_of(2) {
            reading.assigned_server = Some("OTHERS".to_owned());
        }
        reading.product = Some(["iPhone17,1", "iPad16,3", "Mac15,6"][n % 3].to_owned());
        said.shared = Some(false);
        said.return_to_service = Some(false);
    };
    house.fleet(count, differs).await
}

/// The phones of a fleet.
fn phones(count: usize) -> Vec<Serial> {
    (0..count).map(|n| serial(3 * n)).collect()
}

async fn project(org: &Org, house: &House, change: &ProjectChange) -> ProjectId {
    let made = org.new_project("Berlin", house.server, change).await;
    let id = made.unwrap().id;
    org.switch_project(id, true).await.unwrap();
    id
}

async fn wave(org: &Org, project: ProjectId, name: &str, of: &[Serial]) -> WaveId {
    let id = org.new_wave(project, name, None).await.unwrap().id;
    org.add_members(id, of, DATES).await.unwrap();
    id
}

async fn accepted(org: &Org, wave: WaveId) -> Result<usize, Error> {
    let name = org.standing(wave).await.unwrap().wave.name;
    let digest = org.what_if(wave).await.unwrap().digest;
    org.accept(wave, &digest, &[], "").await?;
    org.submit_accepted(wave, &name).await
}

fn says(result: Result<impl std::fmt::Debug, Error>, sentence: &str) {
    let said = result.unwrap_err().to_string();
    assert!(said.contains(sentence), "{said}");
}

async fn member(org: &Org, wave: WaveId, serial: &Serial) -> Move {
    let all = org.members(wave).await.unwrap();
    all.into_iter().find(|m| m.serial == *serial).unwrap()
}

async fn finding(org: &Org, wave: WaveId, of: &Serial, check: Check) -> CheckFinding {
    let report = org.look_at_wave(wave, Detail::Everything).await.unwrap();
    let mut members = report.members.into_iter();
    let found = members.find(|m| m.serial == *of).unwrap().findings;
    found.into_iter().find(|f| f.check == check).unwrap()
}

async fn record(house: &House, what: &str) -> Vec<AuditEntry> {
    let (store, own) = (house.mdm.store(), house.org);
    let mut all = store.audit(own, AuditId(0), 1000).await.unwrap();
    all.retain(|entry| entry.what == what);
    all
}

#[tokio::test]
async fn members_come_by_platform_service_and_model() {
    let house = House::new().await;
    let org = fleet(&house, 12).await;
    let of = async |candidates: Candidates| org.candidates(&candidates).await.unwrap();
    let pick = |keep: &dyn Fn(usize) -> bool| -> Vec<Serial> {
        (0..12).filter(|n| keep(*n)).map(serial).collect()
    };
    for (n, platform) in [Platform::Ios, Platform::Ipados, Platform::Macos]
        .into_iter()
        .enumerate()
    {
        let platform = Some(platform);
        let found = of(Candidates {
            platform,
            ..Candidates::default()
        });
        assert_eq!(found.await, pick(&|d| d % 3 == n), "{platform:?}");
    }
    let found = of(Candidates {
        service: Some("OTHERS".to_owned()),
        ..Candidates::default()
    });
    assert_eq!(found.await, pick(&|d| d % 2 == 1));
    let found = of(Candidates {
        service: Some("NOWHERE".to_owned()),
        ..Candidates::default()
    });
    assert_eq!(found.await, []);
    let found = of(Candidates {
        product: Some("iPad".to_owned()),
        ..Candidates::default()
    });
    assert_eq!(found.await, pick(&|d| d % 3 == 1));
    // All of it holds for each.
    let found = of(Candidates {
        platform: Some(Platform::Ios),
        service: Some("THEIRS".to_owned()),
        product: Some("iPhone17".to_owned()),
        most: Some(1),
        ..Candidates::default()
    });
    assert_eq!(found.await, [serial(0)]);
}

#[tokio::test]
async fn nobody_is_offered_anything_before_the_window_begins() {
    let house = House::new().await;
    let org = fleet(&house, 4).await;
    let window = |first| ProjectChange {
        window: Some(Window {
            not_before: Some(first),
            not_after: None,
        }),
        ..ProjectChange::default()
    };
    // Its deadline lies in the window; its offer does not.
    let id = project(&org, &house, &window(START + 2 * DAY)).await;
    let pilot = wave(&org, id, "pilot", &phones(1)).await;
    let found = finding(&org, pilot, &serial(0), Check::Window).await;
    assert_eq!(found.result, CheckResult::Block);
    assert!(
        found.fact.contains("would be offered from"),
        "{}",
        found.fact
    );
    let change = window(DATES.available_from.unwrap());
    org.change_project(id, &change).await.unwrap();
    let found = finding(&org, pilot, &serial(0), Check::Window).await;
    // That day is a Saturday, which is another matter.
    assert_ne!(found.result, CheckResult::Block, "{}", found.fact);
}

#[tokio::test]
async fn whoever_lacks_a_prerequisite_is_not_submitted() {
    let house = House::new().await;
    let org = fleet(&house, 7).await;
    let change = ProjectChange {
        prerequisites: Some(["wifi-placed".to_owned()].into()),
        ..ProjectChange::default()
    };
    let id = project(&org, &house, &change).await;
    let three = phones(3);
    let pilot = wave(&org, id, "pilot", &three).await;
    org.meet(pilot, None, "wifi-placed", "profile list of Monday")
        .await
        .unwrap();
    let found = finding(&org, pilot, &three[0], Check::Prerequisites).await;
    assert_eq!((found.result, found.at), (CheckResult::Pass, Some(START)));
    for part in [
        "wifi-placed",
        "Anna",
        "profile list of Monday",
        &START.to_string(),
    ] {
        assert!(found.fact.contains(part), "{}", found.fact);
    }

    // A word is taken back, with why; of whom nobody has said it there is none.
    let two = &three[1..];
    says(
        org.unmeet(pilot, Some(two), "wifi-placed", " ").await,
        "must be there",
    );
    says(
        org.unmeet(pilot, None, "owner-told", "x").await,
        "nothing to take back",
    );
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    let back = org.unmeet(pilot, Some(two), "wifi-placed", "it was the wrong list");
    assert_eq!(back.await.unwrap(), 2);
    says(
        org.submit_accepted(pilot, "pilot").await,
        "have changed since they were accepted",
    );
    let lines = record(&house, "move.prerequisite-taken-back").await;
    assert_eq!(lines.len(), 2);
    let line = &lines[0].detail;
    assert_eq!(
        (&line["reason"], &line["said_by"], &line["evidence"]),
        (
            &"it was the wrong list".into(),
            &"Anna".into(),
            &"profile list of Monday".into()
        )
    );
    says(
        org.unmeet(pilot, Some(two), "wifi-placed", "again").await,
        "nothing to take back",
    );

    // Only the one of whom it is said goes; the others stay behind, and say why.
    assert_eq!(accepted(&org, pilot).await.unwrap(), 1);
    assert!(matches!(
        member(&org, pilot, &three[0]).await.state,
        MoveState::Submitting { .. }
    ));
    for left in two {
        match member(&org, pilot, left).await.state {
            MoveState::Blocked { blockers } => {
                assert!(
                    blockers[0].ends_with("not met: wifi-placed"),
                    "{blockers:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    // What was submitted keeps what it was submitted with.
    let word = org.unmeet(pilot, Some(&three[..1]), "wifi-placed", "late");
    says(word.await, "submitted already");
}

#[tokio::test]
async fn a_plan_has_who_stands_in_it_and_no_history() {
    let house = House::new().await;
    let org = fleet(&house, 12).await;
    let id = project(&org, &house, &ProjectChange::default()).await;
    let all = serials(0..6);
    let pilot = wave(&org, id, "pilot", &all[..3]).await;
    let main = wave(&org, id, "main", &all[3..]).await;
    // One is taken out and put elsewhere, one is taken out for good; a third wave is closed, and another one has its name.
    org.remove_members(pilot, Some(&all[..2]), "on leave")
        .await
        .unwrap();
    org.add_members(main, &all[..1], DATES).await.unwrap();
    let gone = wave(&org, id, "again", &serials(6..8)).await;
    close(&house, &org, gone).await;
    wave(&org, id, "again", &serials(8..9)).await;

    let plan = org.plan_file(id).await.unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let plan: PlanFile = serde_json::from_str(&text).unwrap();
    let who: BTreeMap<&str, Vec<Serial>> = plan
        .waves
        .iter()
        .map(|w| {
            let mut who: Vec<Serial> = w.members.iter().map(|m| m.serial.clone()).collect();
            who.sort();
            (w.name.as_str(), who)
        })
        .collect();
    let mut in_main = vec![serial(0)];
    in_main.extend(serials(3..6));
    let wanted = BTreeMap::from([
        ("pilot", serials(2..3)),
        ("main", in_main),
        ("again", serials(8..9)),
    ]);
    assert_eq!(who, wanted);

    // Where it comes from nothing changes; elsewhere it is the same plan, and goes out as it came in.
    let again = org.take_plan(&plan).await.unwrap();
    assert_eq!(again.added.values().sum::<usize>(), 0);
    assert_eq!(org.plan_file(id).await.unwrap().waves, plan.waves);
    let other = House::new().await;
    let there = fleet(&other, 12).await;
    let mut plan = plan;
    plan.project.destination = None;
    let taken = there.take_plan(&plan).await.unwrap();
    assert!(taken.rejected.is_empty(), "{:?}", taken.rejected);
    assert_eq!(taken.added.values().sum::<usize>(), 6);
    let back = there.plan_file(taken.project.id).await.unwrap();
    assert_eq!(back.waves, plan.waves);

    // Whose wave has been closed since does not come a second time.
    let waves = there.waves_of(taken.project.id).await.unwrap();
    let pilot = waves.iter().find(|w| w.name == "pilot").unwrap();
    close(&other, &there, pilot.id).await;
    let again = there.take_plan(&plan).await.unwrap();
    assert_eq!((again.added["pilot"], again.there["pilot"]), (0, 1));
    assert_eq!(there.waves_of(taken.project.id).await.unwrap().len(), 3);
}

#[tokio::test]
async fn who_was_taken_out_comes_in_again_with_the_plan_and_what_differs_is_said() {
    let house = House::new().await;
    let org = fleet(&house, 6).await;
    let id = project(&org, &house, &ProjectChange::default()).await;
    let pilot = wave(&org, id, "pilot", &serials(0..4)).await;
    let mut plan = org.plan_file(id).await.unwrap();
    let out = serials(0..1);
    org.remove_members(pilot, Some(&out), "by mistake")
        .await
        .unwrap();
    let taken = org.take_plan(&plan).await.unwrap();
    assert_eq!((taken.added["pilot"], taken.there["pilot"]), (1, 3));
    assert_eq!(taken.differs, [""; 0]);
    let back = org.plan_file(id).await.unwrap();
    assert_eq!(back.waves[0].members.len(), 4);

    // Settings and dates stay as they are, and it is said which are others.
    let change = ProjectChange {
        capacity: Some(7),
        window: Some(Window {
            not_before: None,
            not_after: Some(START + 40 * DAY),
        }),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let two = serials(1..3);
    let dated = org.set_dates(pilot, Some(&two), START + 12 * DAY, START + DAY);
    dated.await.unwrap();
    let taken = org.take_plan(&plan).await.unwrap();
    let differs = [
        "project Berlin: otherwise in the plan: window",
        "project Berlin: otherwise in the plan: capacity",
        "wave pilot: the plan has other dates for 2 members",
    ];
    assert_eq!(taken.differs, differs);
    assert_eq!(org.project(id).await.unwrap().capacity, 7);
    // What people write has what they mean to say, and no more.
    plan.exported = None;
    plan.project.capacity = None;
    let taken = org.take_plan(&plan).await.unwrap();
    assert_eq!(taken.differs, differs[2..]);
}

/// Has everybody in a wave end, and closes it.
async fn close(house: &House, org: &Org, wave: WaveId) {
    let store = house.mdm.store();
    let mut batch = Batch::new();
    for mut attempt in org.members(wave).await.unwrap() {
        let device = store.device(house.org, attempt.device).await.unwrap();
        let mut device = device.unwrap();
        device.open_move = None;
        attempt.state = MoveState::Ended(Outcome::Migrated);
        attempt.ended = Some(START);
        attempt.wake_at = None;
        batch.put(device).put(attempt);
    }
    let row = store.wave(house.org, wave).await.unwrap();
    let mut row: Wave = row.unwrap();
    row.state = WaveState::Closed { at: START };
    batch.put(row);
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn what_a_wave_itself_has_asked_for_stands_against_none_of_its_members() {
    let house = House::new().await;
    let org = fleet(&house, 10).await;
    let id = project(&org, &house, &ProjectChange::default()).await;
    let four = phones(4);
    let pilot = wave(&org, id, "pilot", &four[..3]).await;
    assert_eq!(accepted(&org, pilot).await.unwrap(), 3);
    // As Apple shows them then: one waits, one has begun, one is here. The fourth was asked for by somebody else.
    let store = house.mdm.store();
    let server = store.server(house.org, house.server).await.unwrap();
    let ours = server.unwrap().uuid;
    let mut batch = Batch::new();
    let found = store.devices_by_serial(house.org, &four).await.unwrap();
    for mut device in found {
        let n = four.iter().position(|s| *s == device.serial).unwrap();
        let reading = device.reading.as_mut().unwrap();
        reading.assigned_server = Some(ours.clone());
        reading.status = Some(match n {
            0 | 3 => MigrationStatus::Requested,
            _ => MigrationStatus::Started,
        });
        if n == 2 {
            device.enrollment = Some(EnrollmentId(1));
        }
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
    for of in &four[..3] {
        for check in [
            Check::OriginalKind,
            Check::OtherPending,
            Check::DeadlineRange,
        ] {
            let found = finding(&org, pilot, of, check).await;
            assert_eq!(found.result, CheckResult::Pass, "{of}: {}", found.line());
        }
    }
    // Its deadline comes near, and passes: it was submitted in time.
    house.clock.advance(10 * DAY);
    let found = finding(&org, pilot, &four[0], Check::DeadlineRange).await;
    assert_eq!(found.result, CheckResult::Pass, "{}", found.line());
    // Of a draft the same facts stand against its members.
    let other = wave(&org, id, "other", &four[3..]).await;
    for check in [Check::OriginalKind, Check::OtherPending] {
        let found = finding(&org, other, &four[3], check).await;
        assert_eq!(found.result, CheckResult::Block, "{}", found.line());
    }
}

/// Has members of a wave be in their holds, for so long that somebody was told.
async fn held_for_long(house: &House, org: &Org, wave: WaveId, of: &[Serial]) {
    let mut batch = Batch::new();
    let (store, own) = (house.mdm.store(), house.org);
    for of in of {
        let mut attempt = member(org, wave, of).await;
        let id = attempt.device.0;
        let mut enrolment = Enrollment::pending(
            own,
            EnrollmentId(id),
            format!("UDID-{of}"),
            ChannelKind::Device,
            "ab".to_owned(),
            START,
        );
        enrolment.state = EnrollmentState::Enrolled;
        enrolment.device = Some(attempt.device);
        enrolment.serial = Some(of.clone());
        let verdict = Verdict {
            kind: VerdictKind::Migration,
            reasons: Vec::new(),
        };
        let mut set_up = SetUp::begin(
            own,
            SetUpId(id),
            &enrolment,
            Platform::Ios,
            Some(attempt.id),
            attempt.runbook,
            verdict,
            START,
        );
        set_up.state = SetUpState::Holding {
            since: START,
            steps: BTreeMap::new(),
        };
        set_up.hold_began = Some(START);
        set_up.attention = Some(Attention::HoldLong);
        (set_up.wake_at, set_up.ceiling_at) = (None, None);
        attempt.state = MoveState::Moving {
            since: START,
            set_up: SetUpId(id),
        };
        attempt.wake_at = None;
        let device = store.device(own, attempt.device).await.unwrap();
        let mut device = device.unwrap();
        device.enrollment = Some(EnrollmentId(id));
        batch.put(device).put(enrolment).put(set_up).put(attempt);
    }
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_wave_stops_when_devices_are_held_for_long() {
    let house = House::new().await;
    let org = fleet(&house, 10).await;
    let mut stop = StopRule::default();
    (stop.long_holds, stop.expiries) = (2, false);
    let change = ProjectChange {
        stop: Some(stop),
        ..ProjectChange::default()
    };
    let id = project(&org, &house, &change).await;
    let four = phones(4);
    let pilot = wave(&org, id, "pilot", &four).await;
    accepted(&org, pilot).await.unwrap();
    let stands = async || {
        house.clock.advance(Duration::from_secs(301));
        house.mdm.work(50).await.unwrap();
        org.standing(pilot).await.unwrap()
    };
    held_for_long(&house, &org, pilot, &four[..1]).await;
    let standing = stands().await;
    assert_eq!(standing.tally.long_holds, 1);
    assert_eq!(standing.wave.paused, None, "one is fewer than two");
    held_for_long(&house, &org, pilot, &four[1..2]).await;
    let standing = stands().await;
    assert_eq!(standing.tally.long_holds, 2);
    let paused = standing.wave.paused.unwrap();
    assert_eq!(
        (paused.by.as_str(), paused.why.as_str()),
        ("stop rule", "2 devices are held for long")
    );
    // Whoever has it go on knew of these; one more stops it only together with another.
    org.pause_wave(pilot, false, "they are being seen to", true)
        .await
        .unwrap();
    assert_eq!(stands().await.wave.paused, None);
    held_for_long(&house, &org, pilot, &four[2..3]).await;
    assert_eq!(stands().await.wave.paused, None);
    held_for_long(&house, &org, pilot, &four[3..]).await;
    assert!(stands().await.wave.paused.is_some());
}

#[tokio::test]
async fn drift_names_limits_of_the_gap_and_services_that_are_left() {
    let house = House::new().await;
    let org = fleet(&house, 4).await;
    let id = project(&org, &house, &ProjectChange::default()).await;
    let pilot = wave(&org, id, "pilot", &phones(1)).await;
    accepted(&org, pilot).await.unwrap();
    assert!(org.standing(pilot).await.unwrap().drift.is_empty());
    let mut limits = GapLimits::default();
    limits.each_group = Some(3);
    let change = ProjectChange {
        gap: Some(limits),
        originals: Some(BTreeSet::from(["THEIRS".to_owned()])),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let drift = org.standing(pilot).await.unwrap().drift;
    for part in ["another limit of the gap", "another list of services"] {
        assert!(drift.iter().any(|d| d.contains(part)), "{drift:?}");
    }
    // One that was pinned before these were says nothing of them.
    let store = house.mdm.store();
    let mut row = store.wave(house.org, pilot).await.unwrap().unwrap();
    let plan = row.plan.as_mut().unwrap();
    (plan.gap, plan.originals) = (None, None);
    let old: mdm_core::project::PinnedPlan =
        serde_json::from_value(serde_json::to_value(&*plan).unwrap()).unwrap();
    assert_eq!(old, *plan);
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let drift = org.standing(pilot).await.unwrap().drift;
    assert_eq!(drift.len(), 1, "{drift:?}");
}

#[tokio::test]
async fn a_plan_says_whether_its_requests_leave_in_time() {
    let house = House::new().await;
    let org = fleet(&house, 9).await;
    let id = project(&org, &house, &ProjectChange::default()).await;
    let made = org.new_wave(id, "pilot", Some(Preset::Pilot)).await;
    let pilot = made.unwrap().id;
    org.add_members(pilot, &serials(0..9), DATES).await.unwrap();
    let plan = async |buckets| {
        let placed = org.plan_dates(pilot, None, None, Some(buckets), None, true);
        org.budget_of(&placed.await.unwrap()).await.unwrap()
    };
    let (one, three) = (plan(1).await, plan(3).await);
    assert_eq!(one.check, Check::PostBudget);
    assert!(one.fact.starts_with("1 requests at "), "{}", one.fact);
    assert!(three.fact.starts_with("3 requests at "), "{}", three.fact);
}

#[tokio::test]
async fn a_group_of_owners_is_the_same_for_members_and_for_tags() {
    let house = House::new().await;
    let differs = |n: usize, device: &mut Device, said: &mut Said| {
        let mut owner = DeviceOwner::default();
        owner.groups.insert("all".to_owned());
        if n % 3 == 1 {
            owner.groups.insert("Research".to_owned());
        }
        // Of the last one nobody told whose it is.
        said.owner = (n < 8).then_some(owner);
        device.tags.insert("Research".to_owned());
    };
    let org = house.fleet(9, differs).await;
    for (group, of) in [("Research", vec![1, 4, 7]), ("all", (0..8).collect())] {
        let of: Vec<Serial> = of.into_iter().map(serial).collect();
        let asked = Candidates {
            group: Some(group.to_owned()),
            ..Candidates::default()
        };
        assert_eq!(org.candidates(&asked).await.unwrap(), of, "{group}");
        let named = org.devices_of_group(group).await.unwrap();
        assert_eq!(Vec::from_iter(named.clone()), of, "{group}");
        let tag = format!("are-{}", group.to_lowercase());
        let set = org.set_tag(&tag, &named).await.unwrap();
        assert_eq!((set.added, set.taken), (of.len(), 0), "{group}");
    }
    let used = org.tags_in_use().await.unwrap().groups;
    let used: Vec<(&str, usize)> = used.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(used, [("Research", 3), ("all", 8)]);
    let nobody = org.devices_of_group("research").await;
    assert!(matches!(nobody, Err(Error::NotFound(_))), "{nobody:?}");
}

#[tokio::test]
async fn another_ade_profile_than_the_one_of_the_submission_is_drift() {
    let house = House::new().await;
    let org = fleet(&house, 4).await;
    let id = project(&org, &house, &ProjectChange::default()).await;
    let pilot = wave(&org, id, "pilot", &phones(1)).await;
    // Of a draft nothing was submitted; and what it need not do is a pass.
    let prerequisites = finding(&org, pilot, &serial(0), Check::Prerequisites).await;
    assert_eq!(prerequisites.result, CheckResult::Pass);
    accepted(&org, pilot).await.unwrap();
    let drift = async || {
        let all = house.org().await.standing(pilot).await.unwrap().drift;
        all.iter().filter(|d| d.contains("ADE profile")).count()
    };
    assert_eq!(drift().await, 0);
    let mut own = AdeOptions::default();
    own.department = Some("Shops".to_owned());
    org.set_wave_ade_profile(pilot, Some(&own)).await.unwrap();
    assert_eq!(drift().await, 1);
    org.set_wave_ade_profile(pilot, None).await.unwrap();
    assert_eq!(drift().await, 0);
    // Without one of its own the organisation's counts.
    org.set_ade_profile(&own).await.unwrap();
    assert_eq!(drift().await, 1);
}

/// Has Apple take the migrations of these.
async fn scheduled(house: &House, org: &Org, wave: WaveId) {
    let mut batch = Batch::new();
    for mut attempt in org.members(wave).await.unwrap() {
        attempt.state = MoveState::Scheduled {
            since: START,
            visible: None,
        };
        batch.put(attempt);
    }
    house.mdm.store().commit(batch).await.unwrap();
}

#[tokio::test]
async fn an_extension_says_what_calendar_and_capacity_make_of_it() {
    let house = House::new().await;
    let org = fleet(&house, 12).await;
    let change = ProjectChange {
        capacity: Some(2),
        calendar: Some(Calendar::default()),
        ..ProjectChange::default()
    };
    let id = project(&org, &house, &change).await;
    let four = phones(4);
    let pilot = wave(&org, id, "pilot", &four).await;
    for (n, of) in four.iter().enumerate() {
        let own = std::slice::from_ref(of);
        let deadline = START + 9 * DAY + Duration::from_secs(7200) * u32::try_from(n).unwrap();
        let dated = org.set_dates(pilot, Some(own), deadline, START + DAY);
        dated.await.unwrap();
    }
    accepted(&org, pilot).await.unwrap();
    scheduled(&house, &org, pilot).await;
    let plan = async |deadline: &str, of: &[Serial]| {
        let deadline = mdm_core::clock::Timestamp::parse(deadline).unwrap();
        let act = Act {
            what: MigrationAct::Extend { deadline },
            serials: of.to_vec(),
            reason: None,
        };
        let plan = org.plan_act(&act).await.unwrap();
        assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
        // How many and when is what others do: with that the plan would be another one each time.
        let room = plan.warnings.iter().find(|w| w.starts_with("capacity:"));
        let steady = room.is_none_or(|w| {
            w.contains("more than the 2 devices that may be") && !w.contains("around")
        });
        assert!(steady, "{room:?}");
        let warnings = plan.warnings.iter();
        let words = warnings.filter_map(|w| Some(w.split_once(':')?.0.to_owned()));
        words.collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    // A Wednesday, in office hours and in the night.
    assert_eq!(plan("2026-12-30T10:00:00Z", &four[..2]).await, none);
    assert_eq!(plan("2026-12-30T10:00:00Z", &four[..3]).await, ["capacity"]);
    assert_eq!(plan("2026-12-30T02:00:00Z", &four[..2]).await, ["window"]);
    assert_eq!(
        plan("2026-12-30T02:00:00Z", &four).await,
        ["window", "capacity"]
    );
}

#[tokio::test]
async fn a_deadline_that_is_proposed_is_one_that_an_extension_takes() {
    let house = House::new().await;
    let org = fleet(&house, 9).await;
    let within = |first, last| ProjectChange {
        window: Some(Window {
            not_before: first,
            not_after: Some(last),
        }),
        ..ProjectChange::default()
    };
    let id = project(&org, &house, &within(None, START + 20 * DAY)).await;
    let pilot = wave(&org, id, "pilot", &phones(3)).await;
    accepted(&org, pilot).await.unwrap();
    scheduled(&house, &org, pilot).await;
    // The window is another one since the submission.
    let change = within(Some(START + 30 * DAY), START + 60 * DAY);
    org.change_project(id, &change).await.unwrap();
    let extended = async |deadline, serials: &[Serial]| {
        let act = Act {
            what: MigrationAct::Extend { deadline },
            serials: serials.to_vec(),
            reason: None,
        };
        org.plan_act(&act).await.unwrap()
    };
    let mut proposed = 0;
    for group in org.later_deadlines(pilot).await.unwrap() {
        let plan = extended(group.deadline.unwrap(), &group.serials).await;
        assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
        proposed += plan.members;
    }
    assert_eq!(proposed, 3);
    // What lay in the window of then lies in none now.
    let plan = extended(START + 15 * DAY, &phones(3)).await;
    assert_eq!(plan.blocked, 3);
    for findings in plan.findings.values() {
        assert!(
            findings[0].contains("outside of the project's window"),
            "{findings:?}"
        );
    }
}

#[tokio::test]
async fn a_hold_counts_for_as_long_as_its_runbook_gives_it() {
    let house = House::new().await;
    let org = fleet(&house, 12).await;
    let mut change = ProjectChange {
        capacity: Some(2),
        ..ProjectChange::default()
    };
    let id = project(&org, &house, &change).await;
    let four = phones(4);
    let made = org.new_wave(id, "pilot", Some(Preset::Pilot)).await;
    let pilot = made.unwrap().id;
    org.add_members(pilot, &four, DATES).await.unwrap();
    let at = |hours: u32| START + 9 * DAY + Duration::from_secs(3600) * hours;
    for (hours, of) in [(0, &four[..2]), (2, &four[2..])] {
        let dated = org.set_dates(pilot, Some(of), at(hours), START + DAY);
        dated.await.unwrap();
    }
    let capacity = async || {
        let server = org.what_if(pilot).await.unwrap().report.server;
        let mut found = server.into_iter().filter(|f| f.check == Check::Capacity);
        found.next().unwrap()
    };
    assert_eq!(capacity().await.result, CheckResult::Pass);
    let mut slow = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    slow.hard_ceiling_secs = 4 * 3600;
    change = ProjectChange {
        runbooks: BTreeMap::from([(Platform::Ios, slow)]),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let found = capacity().await;
    assert_eq!(found.result, CheckResult::Block, "{}", found.line());
    assert!(found.fact.starts_with("at most 4 "), "{}", found.fact);
    // The plan gives them four hours.
    let placed = org.plan_dates(pilot, None, None, None, None, true).await;
    let mut deadlines: Vec<_> = placed.unwrap().iter().map(|p| p.deadline).collect();
    deadlines.sort();
    deadlines.dedup();
    assert_eq!(deadlines.len(), 2, "{deadlines:?}");
    let apart = deadlines[1].since(deadlines[0]);
    assert!(apart > Duration::from_hours(4), "{deadlines:?}");
}

#[tokio::test]
async fn a_long_hold_of_another_month_takes_nobodys_place() {
    let house = House::new().await;
    let org = fleet(&house, 18).await;
    let change = ProjectChange {
        capacity: Some(2),
        ..ProjectChange::default()
    };
    let id = project(&org, &house, &change).await;
    let five = phones(5);
    let made = org.new_wave(id, "pilot", Some(Preset::Pilot)).await;
    let pilot = made.unwrap().id;
    org.add_members(pilot, &five[..4], DATES).await.unwrap();
    // Full, and an hour apart.
    for (hours, of) in [(0_u32, &five[..2]), (1, &five[2..4])] {
        let at = START + 9 * DAY + Duration::from_secs(3600) * hours;
        let dated = org.set_dates(pilot, Some(of), at, START + DAY);
        dated.await.unwrap();
    }
    let mut slow = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    slow.hard_ceiling_secs = 4 * 3600;
    let change = ProjectChange {
        runbooks: BTreeMap::from([(Platform::Ios, slow)]),
        ..ProjectChange::default()
    };
    let other = org.new_project("Paris", house.server, &change).await;
    let made = org.new_wave(other.unwrap().id, "main", None).await;
    let main = made.unwrap().id;
    org.add_members(main, &five[4..], DATES).await.unwrap();
    let dated = org.set_dates(main, None, START + 39 * DAY, START + 30 * DAY);
    dated.await.unwrap();
    let server = org.what_if(pilot).await.unwrap().report.server;
    let found = server.iter().find(|f| f.check == Check::Capacity).unwrap();
    assert_eq!(found.result, CheckResult::Pass, "{}", found.line());
    assert!(found.fact.starts_with("at most 2 "), "{}", found.fact);
}
