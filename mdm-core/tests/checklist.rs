//! What the checklist says of a project's own things: what its runbooks bring, the models that nobody has tried, and what the service
//! that devices left has to clean up, with the report and the word of a person that belong to it. And whom the ADE profile of a device
//! that did not wait concerns.

mod service_house;

use std::collections::BTreeSet;
use std::time::Duration;

use mdm_core::audit::AuditEntry;
use mdm_core::checklist::{ChainEnd, ChecklistItem, ClockBeside, Endpoint, ItemState, Outside};
use mdm_core::device::{Device, DeviceRecord, Leaving, OrgReading, Platform};
use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::error::Error;
use mdm_core::evidence::{ReportAsk, WholeReport};
use mdm_core::failure::{Confidence, FailureMode};
use mdm_core::hook::{Hook, Off};
use mdm_core::ids::{
    AuditId, DeviceId, EnrollmentId, JobId, LocationId, MoveId, ProjectId, RunbookId, SecretId,
    Serial, SetUpId, WaveId,
};
use mdm_core::licences::{Location, Stock};
use mdm_core::migration::{
    AppAction, AppPlan, Attention, MoveState, Outcome, PinnedRunbook, ProfilePlan, ProfileRole,
    SetUp, Variant, Verdict, VerdictKind,
};
use mdm_core::organisation::{AdeOptions, Der, Issuer};
use mdm_core::service::{Dates, Org, ProjectChange};
use mdm_core::store::Batch;
use service_house::{House, START};

const DAY: Duration = Duration::from_hours(24);

async fn item(house: &House, name: &str) -> Option<ChecklistItem> {
    let list = Box::pin(house.org().await.checklist()).await.unwrap();
    list.items.into_iter().find(|item| item.item == name)
}

/// How an item stands, and what it says.
async fn stands(house: &House, name: &str) -> (ItemState, String) {
    let item = item(house, name).await;
    let item = item.unwrap_or_else(|| panic!("{name} is not on the list"));
    let asks = item.state == ItemState::Done || !item.fix.is_empty();
    assert!(asks, "{name} says nothing of how it is mended");
    (item.state, item.fact)
}

async fn changed(house: &House, project: ProjectId, platform: Platform, with: PinnedRunbook) {
    let change = ProjectChange {
        runbooks: [(platform, with)].into(),
        ..ProjectChange::default()
    };
    let org = house.org().await;
    org.change_project(project, &change).await.unwrap();
}

fn app(bundle: &str, store_id: u64, action: AppAction) -> AppPlan {
    AppPlan {
        bundle_id: bundle.to_owned(),
        store_id: Some(store_id),
        manifest_url: None,
        action,
    }
}

const WIFI: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.wifi</string><key>PayloadUUID</key><string>6B6E5B0E-7C39-4D7B-9C39-0D6F6C1B7A11</string>
<key>PayloadContent</key><array/></dict></plist>"#;

#[tokio::test]
async fn the_checklist_says_what_the_runbooks_of_a_project_bring() {
    use ItemState::{Done, Missing, Warn};
    let house = House::new().await;
    let standard = |platform| PinnedRunbook::standard(platform, Variant::Migration);
    let change = ProjectChange {
        runbooks: [
            (Platform::Ios, standard(Platform::Ios)),
            (Platform::Macos, standard(Platform::Macos)),
        ]
        .into(),
        ..ProjectChange::default()
    };
    let org = house.org().await;
    let project = org.new_project("Berlin", house.server, &change).await;
    let project = project.unwrap().id;
    let (state, fact) = stands(&house, "Berlin: profiles for iOS").await;
    assert_eq!(state, Warn, "{fact}");
    let (state, fact) = stands(&house, "Berlin: apps for iOS").await;
    assert_eq!(state, Warn);
    assert!(fact.contains("is lost with its data"), "{fact}");
    // Nothing that nobody manages goes from a Mac.
    let (state, fact) = stands(&house, "Berlin: apps for macOS").await;
    assert_eq!(state, Done);
    assert!(fact.contains("stays there with its data"), "{fact}");
    let (state, fact) = stands(&house, "Berlin: lock policy").await;
    assert_eq!(state, Done);
    assert!(fact.contains("ask for no Activation Lock"), "{fact}");

    // One that brings a profile, keeps an app without a licence, drops another, and wants the lock.
    let mut own = standard(Platform::Ios);
    own.profiles.push(ProfilePlan {
        identifier: "org.wifi".to_owned(),
        role: ProfileRole::Network,
        content: Der(WIFI.as_bytes().to_vec()),
    });
    own.apps.push(app("app.old", 8, AppAction::Drop));
    changed(&house, project, Platform::Ios, own.clone()).await;
    let (state, _) = stands(&house, "Berlin: profiles for iOS").await;
    assert_eq!(state, Done);
    let (state, fact) = stands(&house, "Berlin: apps for iOS").await;
    assert_eq!(state, Warn, "what is dropped is not brought: {fact}");
    own.apps.push(app("app.mail", 7, AppAction::KeepIfPresent));
    own.lock = true;
    changed(&house, project, Platform::Ios, own).await;
    let (state, fact) = stands(&house, "Berlin: apps for iOS").await;
    assert_eq!(state, Missing);
    assert!(
        fact.contains("app.mail") && !fact.contains("app.old"),
        "{fact}"
    );
    let (state, fact) = stands(&house, "Berlin: lock policy").await;
    assert_eq!(state, Done);
    assert!(
        fact.contains("on iOS; a code was made, sealed and opened"),
        "{fact}"
    );
    // Licences that may not go to devices are none.
    let mut location = Location::new(
        house.org,
        LocationId(house.next_id()),
        "Shops",
        "library",
        SecretId(1),
        JobId(house.next_id()),
    );
    for (assignable, expected) in [(false, Missing), (true, Done)] {
        let stock = Stock {
            total: 5,
            assigned: 0,
            available: 5,
            unlimited: false,
            device_assignable: assignable,
        };
        location.stock = [(7, stock)].into();
        let mut batch = Batch::new();
        batch.put(location.clone());
        house.mdm.store().commit(batch).await.unwrap();
        location.version += 1;
        let (state, fact) = stands(&house, "Berlin: apps for iOS").await;
        assert_eq!(state, expected, "{fact}");
    }

    // A runbook that cannot be read is the first thing to mend.
    let store = house.mdm.store();
    let mut row = store.project(house.org, project).await.unwrap().unwrap();
    row.runbooks.insert(Platform::Ios, RunbookId(4711));
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let (state, fact) = stands(&house, "Berlin: runbook for iOS").await;
    assert_eq!(state, Missing);
    assert!(fact.contains("cannot be read"), "{fact}");
    assert!(item(&house, "Berlin: apps for iOS").await.is_none());
}

fn serial(n: usize) -> Serial {
    Serial::parse(&format!("C02LIST{n:03}")).unwrap()
}

/// A project with a wave of so many devices of two models, which came from a service called `Theirs`.
async fn wave(house: &House, count: usize) -> WaveId {
    let mut batch = Batch::new();
    for n in 0..count {
        let mut device = Device::new(house.org, DeviceId(house.next_id()), serial(n));
        let mut reading = OrgReading::default();
        reading.seen = START;
        reading.assigned_server = Some("0A1B2C".to_owned());
        reading.capable = Some(true);
        reading.product = Some(["iPhone17,1", "iPad16,3"][n % 2].to_owned());
        device.reading = Some(reading);
        batch.put(device);
    }
    house.mdm.store().commit(batch).await.unwrap();
    let org = house.org().await;
    let change = ProjectChange::default();
    let project = org.new_project("Berlin", house.server, &change).await;
    let wave = org.new_wave(project.unwrap().id, "pilot", None).await;
    let wave = wave.unwrap().id;
    let serials: Vec<Serial> = (0..count).map(serial).collect();
    let dates = Dates {
        deadline: Some(START + DAY * 5),
        available_from: Some(START + DAY),
    };
    org.add_members(wave, &serials, dates).await.unwrap();
    wave
}

/// Members have come to an end, as the machine leaves them.
async fn ended(house: &House, wave: WaveId, members: &[usize], end: Outcome) {
    house.clock.advance(Duration::from_hours(1));
    let (org, store) = (house.org().await, house.mdm.store());
    let mut batch = Batch::new();
    for mut attempt in org.members(wave).await.unwrap() {
        if !members.iter().any(|n| serial(*n) == attempt.serial) {
            continue;
        }
        let mut device = store.device(house.org, attempt.device).await.unwrap();
        let device = device.as_mut().unwrap();
        device.open_move = None;
        attempt.state = MoveState::Ended(end);
        attempt.ended = Some(house.mdm.now());
        batch.put(attempt).put(device.clone());
    }
    store.commit(batch).await.unwrap();
}

async fn report(org: &Org, wave: Option<WaveId>) -> WholeReport {
    let mut kept = WholeReport::default();
    let ask = ReportAsk::CleanUp(wave);
    Box::pin(org.report_to(&ask, &mut kept)).await.unwrap();
    let columns = kept.head.as_ref().unwrap().columns.len();
    assert!(kept.rows.iter().all(|row| row.len() == columns));
    kept
}

/// Serial numbers of the list, and whether each is open.
async fn listed(org: &Org, wave: Option<WaveId>) -> Vec<(String, bool)> {
    let report = report(org, wave).await;
    let open = report
        .column("next action")
        .into_iter()
        .map(|c| c.is_string());
    let serials = report.column("serial").into_iter();
    let serials = serials.map(|c| c.as_str().unwrap().to_owned());
    serials.zip(open).collect()
}

#[tokio::test]
async fn each_model_is_tried_before_the_list_says_so() {
    let house = House::new().await;
    let wave = wave(&house, 4).await;
    let name = "Berlin: rehearsal";
    assert!(
        stands(&house, name)
            .await
            .1
            .contains("no real device has migrated")
    );
    // One that failed has tried nothing.
    ended(&house, wave, &[3], Outcome::Failed).await;
    assert!(
        stands(&house, name)
            .await
            .1
            .contains("no real device has migrated")
    );
    ended(&house, wave, &[0], Outcome::Migrated).await;
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Later);
    assert!(fact.ends_with("has migrated yet: iPad16,3"), "{fact}");
    ended(&house, wave, &[1], Outcome::MigratedWithExceptions).await;
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Done, "{fact}");
    assert!(fact.contains("each of the 2 models"), "{fact}");
}

#[tokio::test]
async fn who_may_still_be_listed_stays_on_the_clean_up_list_until_somebody_says_otherwise() {
    let house = House::new().await;
    let wave = wave(&house, 5).await;
    let name = "Berlin: clean-up at the original";
    assert_eq!(item(&house, name).await, None, "nobody has left yet");
    let org = house.org().await.acting_for("Anna");
    assert_eq!(listed(&org, Some(wave)).await, []);
    ended(&house, wave, &[0, 1, 2], Outcome::Migrated).await;
    ended(&house, wave, &[3], Outcome::Cancelled).await;
    // What the failures of a device show for a month stays here without end.
    house.clock.advance(DAY * 400);
    let all = |open: [bool; 3]| -> Vec<(String, bool)> {
        let rows = open.iter().enumerate();
        rows.map(|(n, open)| (serial(n).to_string(), *open))
            .collect()
    };
    assert_eq!(listed(&org, Some(wave)).await, all([true, true, true]));
    assert_eq!(listed(&org, None).await, all([true, true, true]));
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Warn);
    assert!(fact.starts_with("3 of 3 devices"), "{fact}");
    let kept = report(&org, None).await;
    let age = kept.column("age s")[0].as_u64().unwrap();
    assert!(age >= DAY.as_secs() * 400, "{age}");
    assert_eq!(*kept.column("service id")[0], "0A1B2C");
    assert_eq!(*kept.column("who removes it")[0], "original");

    // What is no word is taken from nobody.
    let wrong = |result: Result<usize, Error>, says: &str| {
        let said = result.unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    };
    let one = [serial(1)];
    wrong(
        org.removed_at_original(wave, Some(&one), " ").await,
        "evidence",
    );
    wrong(org.listed_at_original(wave, Some(&one), "").await, "not");
    for stranger in [serial(3), serial(4), serial(99)] {
        let done = org
            .removed_at_original(wave, Some(&[stranger]), "list")
            .await;
        wrong(done, "is no member of this wave that has migrated");
    }
    let nowhere = org.removed_at_original(WaveId(4711), None, "list").await;
    assert!(matches!(nowhere, Err(Error::NotFound(_))), "{nowhere:?}");
    assert_eq!(listed(&org, Some(wave)).await, all([true, true, true]));

    // One by name, twice; then the rest; then one of them is there after all.
    for new in [1, 0] {
        let done = org
            .removed_at_original(wave, Some(&one), "their list")
            .await;
        assert_eq!(done.unwrap(), new);
    }
    assert_eq!(listed(&org, Some(wave)).await, all([true, false, true]));
    let head = report(&org, None).await.head.unwrap();
    let sums =
        [("to be removed", 2), ("removed", 1)].map(|(name, n)| (name, serde_json::Value::from(n)));
    assert_eq!(head.facts[..], sums);
    assert_eq!(
        head.tables[0].rows[0][1..],
        [2, 1].map(serde_json::Value::from)
    );
    let done = org.removed_at_original(wave, None, "their list").await;
    assert_eq!(done.unwrap(), 2);
    assert_eq!(listed(&org, Some(wave)).await, all([false, false, false]));
    assert_eq!(stands(&house, name).await.0, ItemState::Done);
    let kept = report(&org, Some(wave)).await;
    assert_eq!(*kept.column("said by")[1], "Anna");
    assert_eq!(*kept.column("what shows it")[1], "their list");
    for back in [1, 0] {
        let done = org.listed_at_original(wave, Some(&one), "seen there").await;
        assert_eq!(done.unwrap(), back);
    }
    assert_eq!(listed(&org, Some(wave)).await, all([false, true, false]));
    assert_eq!(stands(&house, name).await.0, ItemState::Warn);
    let record = house.mdm.store().audit(house.org, AuditId(0), 1000).await;
    let record: Vec<AuditEntry> = record.unwrap();
    let count = |what: &str| record.iter().filter(|entry| entry.what == what).count();
    assert_eq!(count("move.removed-at-original"), 3);
    assert_eq!(count("move.listed-at-original"), 1);
    let entry = record.iter().find(|e| e.what == "move.listed-at-original");
    assert_eq!(entry.unwrap().detail["reason"], "seen there");
    assert_eq!(entry.unwrap().actor, "Anna");
}

#[tokio::test]
async fn the_clock_of_the_machine_is_held_against_that_of_apples_answers() {
    let house = House::new().await;
    assert_eq!(item(&house, "clock").await, None, "nobody has asked Apple");
    for (ahead, state, says) in [
        (0, ItemState::Done, "agrees"),
        (-5, ItemState::Done, "agrees"),
        (30, ItemState::Warn, "is 30 seconds ahead of"),
        (-60, ItemState::Warn, "is 60 seconds behind"),
        (61, ItemState::Missing, "is 61 seconds ahead of"),
        (-7_200, ItemState::Missing, "is 7200 seconds behind"),
    ] {
        house.mdm.tell_clock(ClockBeside { at: START, ahead });
        let (found, fact) = stands(&house, "clock").await;
        assert_eq!(found, state, "{fact}");
        assert!(fact.starts_with(says), "{fact}");
    }
}

#[tokio::test]
async fn a_receiver_of_webhooks_that_fails_or_is_off_is_on_the_list() {
    let house = House::new().await;
    let org = house.org().await;
    let url = "https://access.example.com/mdm";
    org.new_hook("access", url, &BTreeSet::new()).await.unwrap();
    let name = "webhook receiver access";
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Done, "{fact}");
    assert!(fact.contains("told nothing yet"), "{fact}");
    let becomes = async |what: &dyn Fn(&mut Hook)| {
        let mut hook = org.hook_named("access").await.unwrap();
        what(&mut hook);
        let mut batch = Batch::new();
        batch.put(hook);
        house.mdm.store().commit(batch).await.unwrap();
        stands(&house, name).await
    };
    let (state, fact) = becomes(&|hook| hook.taken = Some(START)).await;
    assert_eq!(
        (state, &*fact),
        (ItemState::Done, "takes its messages"),
        "{fact}"
    );
    let (state, fact) = becomes(&|hook| {
        hook.failing_since = Some(START);
        hook.trouble = Some("503".to_owned());
    })
    .await;
    assert_eq!(state, ItemState::Warn);
    assert!(fact.contains("taken nothing since") && fact.ends_with(": 503"));
    let (state, fact) = becomes(&|hook| {
        hook.off = Some(Off {
            at: START,
            why: "it took nothing for five days".to_owned(),
            by_itself: true,
        });
    })
    .await;
    assert_eq!(state, ItemState::Warn);
    assert!(fact.starts_with("is off since"), "{fact}");
    // Who was removed is waited for by nobody.
    becomes_removed(&house, &org).await;
    assert_eq!(item(&house, name).await, None);
}

async fn becomes_removed(house: &House, org: &Org) {
    let mut hook = org.hook_named("access").await.unwrap();
    hook.removed = Some(START);
    let mut batch = Batch::new();
    batch.put(hook);
    house.mdm.store().commit(batch).await.unwrap();
}

#[tokio::test]
async fn who_goes_back_or_comes_again_is_nobody_to_be_removed() {
    let house = House::new().await;
    let wave = wave(&house, 4).await;
    ended(&house, wave, &[0, 1, 2, 3], Outcome::Migrated).await;
    let (org, store) = (house.org().await, house.mdm.store());
    house.clock.advance(DAY);
    let attempts = org.members(wave).await.unwrap();
    let mut batch = Batch::new();
    for attempt in &attempts {
        let device = store.device(house.org, attempt.device).await.unwrap();
        let mut device = device.unwrap();
        let n = (0..4).find(|n| serial(*n) == attempt.serial).unwrap();
        match n {
            // It is on its way back.
            0 => {
                let asked = house.mdm.now();
                device.leaving = Some(leaving(asked));
            }
            // It is there again.
            1 => device.reading.as_mut().unwrap().seen = house.mdm.now(),
            // It is to come once more.
            2 => device.open_move = Some(MoveId(house.next_id())),
            _ => continue,
        }
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
    let left = [(serial(3).to_string(), true)];
    assert_eq!(listed(&org, None).await, left);
    let (_, fact) = stands(&house, "Berlin: clean-up at the original").await;
    assert!(fact.starts_with("1 of 1 devices"), "{fact}");
}

fn leaving(asked: mdm_core::clock::Timestamp) -> Leaving {
    serde_json::from_value(serde_json::json!({
        "to": "0A1B2C", "deadline": asked, "asked": asked, "by": "Anna",
    }))
    .unwrap()
}

/// Apple's list names this ADE profile for members.
async fn has_profile(house: &House, members: &[usize], profile: &str) {
    let store = house.mdm.store();
    let mut batch = Batch::new();
    for n in members {
        let device = store
            .device_by_serial(house.org, &serial(*n))
            .await
            .unwrap();
        let mut device = device.unwrap();
        let mut record = DeviceRecord::new(house.server, house.mdm.now());
        record.profile_uuid = Some(profile.to_owned());
        device.record = Some(record);
        // We have asked for it now.
        device.assignment.asked = Some(house.mdm.now());
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
}

/// A member enrols now, and does not wait.
async fn does_not_wait(house: &House, wave: WaveId, of: usize) {
    let (org, store) = (house.org().await, house.mdm.store());
    let members = org.members(wave).await.unwrap();
    let mut attempt = members
        .into_iter()
        .find(|m| m.serial == serial(of))
        .unwrap();
    let (id, now) = (house.next_id(), house.mdm.now());
    let mut enrolment = Enrollment::pending(
        house.org,
        EnrollmentId(id),
        format!("UDID-{of}"),
        ChannelKind::Device,
        "ab".to_owned(),
        now,
    );
    enrolment.state = EnrollmentState::Enrolled;
    enrolment.enrolled = Some(now);
    enrolment.device = Some(attempt.device);
    enrolment.serial = Some(attempt.serial.clone());
    let verdict = Verdict {
        kind: VerdictKind::Migration,
        reasons: Vec::new(),
    };
    let mut set_up = SetUp::begin(
        house.org,
        SetUpId(id),
        &enrolment,
        Platform::Ios,
        Some(attempt.id),
        attempt.runbook,
        verdict,
        now,
    );
    set_up.enrolled = Some(now);
    set_up.attention = Some(Attention::NotAwaiting);
    (set_up.wake_at, set_up.ceiling_at) = (None, None);
    attempt.enrolled_as = Some(SetUpId(id));
    attempt.state = MoveState::Moving {
        since: now,
        set_up: SetUpId(id),
    };
    attempt.wake_at = None;
    let mut device = store
        .device(house.org, attempt.device)
        .await
        .unwrap()
        .unwrap();
    device.enrollment = Some(EnrollmentId(id));
    let mut batch = Batch::new();
    batch.put(device).put(enrolment).put(set_up).put(attempt);
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn the_ade_profile_of_a_device_that_did_not_wait_concerns_who_is_to_come_with_it() {
    let house = House::new().await;
    let pilot = wave(&house, 4).await;
    let org = house.org().await;
    has_profile(&house, &[0, 1, 2], "P1").await;
    has_profile(&house, &[3], "P2").await;
    // Of a project's other wave.
    let project = org.standing(pilot).await.unwrap().wave.project.unwrap();
    let main = org.new_wave(project, "main", None).await.unwrap().id;
    let other = [serial(2)];
    org.move_members(pilot, main, &other).await.unwrap();
    house.clock.advance(DAY);
    let warned = async |n: usize| {
        let failures = Box::pin(org.failures_of(&serial(n))).await.unwrap();
        let of = failures.iter().find(|f| f.mode == FailureMode::NotAwaiting);
        of.map(|f| f.confidence)
    };
    assert_eq!(warned(1).await, None);
    house.clock.advance(DAY);
    does_not_wait(&house, pilot, 0).await;
    assert_eq!(warned(0).await, Some(Confidence::Likely));
    assert_eq!(warned(1).await, Some(Confidence::Possible));
    assert_eq!(
        warned(2).await,
        Some(Confidence::Possible),
        "of another wave"
    );
    assert_eq!(warned(3).await, None, "it has another profile");
    let told = async |wave| {
        let told = Box::pin(org.failures_of_wave(wave, MoveId(0), 100))
            .await
            .unwrap();
        let banners = told
            .banners
            .iter()
            .filter(|f| f.mode == FailureMode::NotAwaiting);
        let banners: Vec<String> = banners.map(|banner| format!("{banner:?}")).collect();
        (banners, told.counts.get(&FailureMode::NotAwaiting).copied())
    };
    let (banners, count) = told(pilot).await;
    assert_eq!((banners.len(), count), (1, Some(2)), "{banners:?}");
    assert!(
        banners[0].contains("1 of the 2 members with the ADE profile P1"),
        "{banners:?}"
    );
    let (banners, count) = told(main).await;
    assert_eq!((banners.len(), count), (1, Some(1)), "{banners:?}");
    assert!(
        banners[0].contains("1 members here that are to come"),
        "{banners:?}"
    );

    // It is defined anew, and everybody gets the new one, also who did not wait: nothing speaks against that.
    house.clock.advance(DAY);
    has_profile(&house, &[0, 1, 2], "P3").await;
    for n in [1, 2, 3] {
        assert_eq!(warned(n).await, None, "{n}");
    }
    assert_eq!(told(main).await, (Vec::new(), None));
    // Of the new one somebody learns the same, and it is forgotten after a month.
    house.clock.advance(DAY);
    does_not_wait(&house, main, 2).await;
    assert_eq!(warned(1).await, Some(Confidence::Possible));
    house.clock.advance(DAY * 31);
    assert_eq!(warned(1).await, None);
}

/// An item whose name begins so.
async fn begins(house: &House, name: &str) -> Option<(ItemState, String)> {
    let list = Box::pin(house.org().await.checklist()).await.unwrap();
    let mut items = list.items.into_iter();
    let item = items.find(|item| item.item.starts_with(name))?;
    Some((item.state, item.fact))
}

#[tokio::test]
async fn what_ends_before_the_latest_deadline_is_named_wherever_it_stands() {
    use ItemState::{Done, Missing, Warn};
    let house = House::new().await;
    let pilot = wave(&house, 1).await;
    let store = house.mdm.store();
    // A door whose own certificate lasts, under one that does not.
    let door = |days: u32| Endpoint {
        name: "check-in".to_owned(),
        url: "https://mdm.example.com/".to_owned(),
        problem: None,
        trusted_by: Some("anchor_certs".to_owned()),
        ends: Some(START + DAY * 300),
        chain: Some(ChainEnd {
            name: "Small CA".to_owned(),
            ends: START + DAY * days,
        }),
        clock_ahead: Some(0),
    };
    for (days, expected) in [(3, Missing), (300, Done)] {
        let outside = Outside {
            at: house.mdm.now(),
            endpoints: vec![door(days)],
        };
        house.mdm.tell_outside(house.org, outside);
        let (state, fact) = stands(&house, "TLS certificate").await;
        assert_eq!(state, Done, "{fact}");
        let (state, fact) = stands(&house, "authority of the TLS certificate: Small CA").await;
        assert_eq!(state, expected, "{fact}");
    }

    // What ADE profiles pin, and who issues elsewhere.
    let mut row = store.organisation(house.org).await.unwrap().unwrap();
    let authority = row.identity_cas[0].certificate.clone();
    assert!(begins(&house, "anchor that").await.is_none());
    assert!(begins(&house, "authority elsewhere").await.is_none());
    row.anchors = vec![authority.clone()];
    row.issuer = Issuer::Acme {
        directory_url: "https://ca.example.com/directory".to_owned(),
        hardware_bound: false,
        attest: false,
    };
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let anchor = begins(&house, "anchor that ADE profiles pin: ").await;
    assert_eq!(anchor.unwrap().0, Done);
    let (state, fact) = stands(&house, "authority elsewhere").await;
    assert_eq!(state, Warn, "{fact}");
    let mut row = store.organisation(house.org).await.unwrap().unwrap();
    row.trusted_cas = vec![authority];
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let elsewhere = begins(&house, "authority elsewhere: ").await;
    assert_eq!(elsewhere.unwrap().0, Done);

    // A wave with an ADE profile of its own that nobody has defined.
    assert!(begins(&house, "ADE profile of wave").await.is_none());
    let mut options = AdeOptions::default();
    options.department = Some("Shops".to_owned());
    let org = house.org().await;
    let set = org.set_wave_ade_profile(pilot, Some(&options)).await;
    set.unwrap();
    let (state, fact) = stands(&house, "ADE profile of wave pilot").await;
    assert_eq!(state, Missing, "{fact}");
}

#[tokio::test]
async fn the_checklist_warns_of_migrations_that_nobody_planned_and_that_keep_no_app() {
    let house = House::new().await;
    let name = "migrations that nobody planned here";
    let choose = async |platform: Platform, apps: Vec<AppPlan>| {
        let org = house.org().await;
        let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
        runbook.apps = apps;
        let of = platform.as_str();
        org.edit_runbook(of, platform, runbook, None, "for the test")
            .await
            .unwrap();
        let chosen = std::collections::BTreeMap::from([(platform, Some(of.to_owned()))]);
        org.set_unplanned_runbooks(&chosen).await.unwrap();
    };
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Warn);
    assert!(fact.contains("on iOS and iPadOS"), "{fact}");
    let kept = || vec![app("app.mail", 7, AppAction::KeepIfPresent)];
    choose(Platform::Ios, kept()).await;
    let (state, fact) = stands(&house, name).await;
    assert_eq!(state, ItemState::Warn);
    assert!(!fact.contains("iOS and"), "{fact}");
    // One that drops all keeps none.
    let dropped = vec![app("app.mail", 7, AppAction::Drop)];
    choose(Platform::Ipados, dropped).await;
    assert_eq!(stands(&house, name).await.0, ItemState::Warn);
    choose(Platform::Ipados, kept()).await;
    assert_eq!(stands(&house, name).await.0, ItemState::Done);
}
