//! Profiles and their assignment: nothing is assigned twice without a look, and what cannot be had keeps nobody waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use mdm_core::clock::Timestamp;
use mdm_core::device::{Device, DeviceRecord, OrgReading, Platform};
use mdm_core::errand::{Errand, ErrandKind, ErrandMember};
use mdm_core::gap::{GapLimits, GapPlace};
use mdm_core::ids::{DeviceId, ErrandId, LocationId, MoveId, Serial};
use mdm_core::migration::{MoveState, PinnedRunbook, Variant};
use mdm_core::service::{Member, ProjectChange};
use mdm_core::store::{AppleStore as _, Batch, SqliteStore, Store as _};

use crate::script::{DAY, MINUTE, Page, START, Stage};

#[tokio::test]
async fn that_profiles_cannot_be_assigned_keeps_nobody_from_reading_the_list() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    *stage.script.refuse.lock().unwrap() = true;
    stage.server("one").await;
    stage.pass(Duration::from_secs(3600)).await;
    let asked = stage.script.asked.lock().unwrap().len();
    assert!((6..=60).contains(&asked), "{asked} readings in an hour");
}

#[tokio::test]
async fn an_assignment_whose_answer_was_lost_is_not_repeated_before_the_list_was_read() {
    let stage = Stage::new(&[(&["A", "B"], &[], false)]).await;
    *stage.script.lose.lock().unwrap() = true;
    stage.server("one").await;
    // The assigner looks at devices once they are listed; the list is read again soon after.
    stage.pass(Duration::from_secs(500)).await;
    let asked = stage.device("A").await.assignment.asked.expect("asked");
    assert_eq!(stage.script.assigned.lock().unwrap().len(), 1);
    stage.pass(Duration::from_secs(3600)).await;
    // The list, read after that, still shows no profile: now it is asked again.
    let again = stage.device("A").await.assignment.asked.expect("asked");
    assert!(again >= asked + Duration::from_secs(600), "{asked} {again}");
    assert!(stage.script.assigned.lock().unwrap().len() >= 2);
}

#[tokio::test]
async fn an_assignment_that_apple_refused_is_asked_for_again_when_apple_says() {
    let stage = Stage::new(&[(&["A", "B"], &[], false)]).await;
    *stage.script.busy.lock().unwrap() = Some(Duration::from_secs(20));
    stage.server("one").await;
    stage.pass(Duration::from_secs(90)).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    assert_eq!(assigned.len(), 2, "{assigned:?}");
    assert_eq!(assigned[0], assigned[1]);
    let device = stage.device("A").await;
    assert_eq!(device.assignment.tries, 1, "one had outcomes");
}

#[tokio::test]
async fn a_profile_that_apple_shows_late_is_defined_once() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    *stage.script.hidden.lock().unwrap() = 3;
    stage.server("one").await;
    stage.pass(Duration::from_secs(1800)).await;
    assert_eq!(*stage.script.hidden.lock().unwrap(), 0, "it was read back");
    assert_eq!(*stage.script.defined.lock().unwrap(), 1);
    assert_eq!(stage.script.assigned.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_changed_profile_that_is_not_shown_yet_keeps_nobody_from_the_last_one() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    stage.server("one").await;
    stage.pass(Duration::from_secs(600)).await;
    assert_eq!(stage.script.assigned.lock().unwrap().len(), 1);
    *stage.script.hidden.lock().unwrap() = 1_000_000;
    let mut options = mdm_core::organisation::AdeOptions::default();
    options.department = Some("Another".to_owned());
    stage.org().await.set_ade_profile(&options).await.unwrap();
    let page: Page = (&["B"], &[], false);
    stage.script.changes.lock().unwrap().push_back(page);
    stage.pass(Duration::from_secs(1800)).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    let new = Serial::parse("B").unwrap();
    assert!(assigned.iter().any(|s| s.contains(&new)), "{assigned:?}");
    // Once it is shown everybody gets it.
    *stage.script.hidden.lock().unwrap() = 0;
    stage.pass(Duration::from_secs(3600)).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    let both = ["A", "B"].map(|s| Serial::parse(s).unwrap());
    assert!(
        both.iter()
            .all(|s| assigned[2..].iter().flatten().any(|a| a == s)),
        "{assigned:?}"
    );
}

#[tokio::test]
async fn of_a_wave_with_a_profile_of_its_own_that_one_is_read_back_before_it_is_submitted() {
    use mdm_core::check::{Check, CheckResult};
    use mdm_core::service::{Detail, ProjectChange, WaveTerms};
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let one = stage.server("one").await;
    stage.pass(MINUTE).await;
    let org = stage.org().await;
    let change = ProjectChange::default();
    let project = org.new_project("Berlin", one, &change).await;
    let project = project.unwrap().id;
    let wave = org.new_wave(project, "shops", None).await.unwrap().id;
    let rest = org.new_wave(project, "rest", None).await.unwrap().id;
    let awaits = async |wave| {
        let org = stage.org().await;
        let report = org.look_at_wave(wave, Detail::Counts).await.unwrap();
        let mut found = report.server.into_iter();
        found.find(|f| f.check == Check::Await).unwrap().result
    };
    let of_both = async || (awaits(wave).await, awaits(rest).await);
    let (pass, unknown) = (CheckResult::Pass, CheckResult::Unknown);
    assert_eq!(of_both().await, (pass, pass));
    let before = *stage.script.defined.lock().unwrap();
    *stage.script.hidden.lock().unwrap() = 1_000_000;
    let mut options = mdm_core::organisation::AdeOptions::default();
    options.department = Some("Shops".to_owned());
    let set = org.set_wave_ade_profile(wave, Some(&options)).await;
    set.unwrap();
    assert_eq!(of_both().await, (unknown, pass));
    stage.pass(MINUTE * 5).await;
    assert_eq!(*stage.script.defined.lock().unwrap(), before + 1);
    assert_eq!(of_both().await, (unknown, pass), "Apple does not show it");
    *stage.script.hidden.lock().unwrap() = 0;
    stage.pass(Duration::from_secs(1800)).await;
    assert_eq!(of_both().await, (pass, pass));
    assert_eq!(*stage.script.defined.lock().unwrap(), before + 1);
    // One that a wave is made with is defined at once as well, and not with the next look at the list.
    options.department = Some("Offices".to_owned());
    let terms = WaveTerms {
        ade: Some(options),
        ..WaveTerms::default()
    };
    let made = org.new_wave_with(project, "offices", None, &terms).await;
    let offices = made.unwrap().id;
    assert_eq!(awaits(offices).await, unknown);
    stage.pass(Duration::from_secs(5)).await;
    assert_eq!(*stage.script.defined.lock().unwrap(), before + 2);
    assert_eq!(awaits(offices).await, pass);
}

#[tokio::test]
async fn a_profile_that_never_comes_to_be_is_defined_again_an_hour_later() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    *stage.script.hidden.lock().unwrap() = 1_000_000;
    stage.server("one").await;
    stage.pass(Duration::from_secs(5 * 3600)).await;
    let defined = *stage.script.defined.lock().unwrap();
    assert!((4..=6).contains(&defined), "{defined} in five hours");
}

#[tokio::test]
async fn no_request_names_more_devices_than_the_account_allows() {
    let stage = Stage::new(&[(&["A", "B", "C", "D", "E"], &[], false)]).await;
    *stage.script.most.lock().unwrap() = Some(2);
    stage.server("one").await;
    stage.pass(Duration::from_secs(600)).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    assert!(
        assigned.iter().all(|serials| serials.len() <= 2),
        "{assigned:?}"
    );
    let all: std::collections::BTreeSet<&Serial> = assigned.iter().flatten().collect();
    assert_eq!(all.len(), 5);
}

#[tokio::test]
async fn a_device_that_wants_what_is_not_to_be_had_here_keeps_nobody_waiting() {
    use mdm_core::device::Platform;
    use mdm_core::migration::{PinnedRunbook, Variant};
    use mdm_core::service::Member;
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let one = stage.server("one").await;
    stage.pass(MINUTE).await;
    // Its wave goes to the first entry, where it is offered its migration.
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let runbooks = std::collections::BTreeMap::from([(Platform::Ios, runbook)]);
    let member = Member {
        serial: Serial::parse("A").unwrap(),
        deadline: START + DAY * 30,
        available_from: START + DAY * 10,
        original_server: None,
    };
    let org = stage.org().await;
    org.plan_wave("one", one, &runbooks, &[member])
        .await
        .unwrap();
    let mut device = stage.device("A").await;
    device.assignment.wanted = Some("PROFILE-one".to_owned());
    device.assignment.from = Some(START);
    let mut batch = Batch::new();
    batch.put(device);
    stage.store.commit(batch).await.unwrap();
    // Somebody assigns it to the second one, where there is another device behind it.
    let page: Page = (&["A", "B"], &[], false);
    stage.script.full.lock().unwrap().push_back(page);
    stage.server("two").await;
    stage.pass(Duration::from_secs(600)).await;
    for serial in ["A", "B"] {
        let device = stage.device(serial).await;
        assert_eq!(device.assignment.wanted.as_deref(), Some("PROFILE-two"));
        assert!(
            device.assignment.asked.is_some(),
            "{serial} was assigned it"
        );
    }
    // Even where one stays that wants the other's, it keeps nobody from theirs.
    let mut device = stage.device("A").await;
    device.assignment.wanted = Some("PROFILE-one".to_owned());
    device.assignment.not_before = None;
    let mut batch = Batch::new();
    batch.put(device);
    stage.store.commit(batch).await.unwrap();
    let page: Page = (&["C"], &[], false);
    stage.script.changes.lock().unwrap().clear();
    stage
        .script
        .full
        .lock()
        .unwrap()
        .push_back((&["A", "B"], &[], true));
    stage.script.full.lock().unwrap().push_back(page);
    stage.pass(DAY + MINUTE * 20).await;
    assert!(stage.device("C").await.assignment.asked.is_some());
}

#[tokio::test]
async fn a_device_that_comes_into_our_list_gets_at_once_what_it_was_offered_before() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    stage.server("one").await;
    stage.pass(MINUTE * 9).await;
    let serial = Serial::parse("B").unwrap();
    let id = mdm_core::ids::DeviceId(1);
    let mut device = mdm_core::device::Device::new(stage.organisation, id, serial.clone());
    device.assignment.wanted = stage.device("A").await.assignment.wanted;
    let mut batch = Batch::new();
    batch.put(device);
    stage.store.commit(batch).await.unwrap();
    let page: Page = (&["B"], &[], false);
    stage.script.changes.lock().unwrap().push_back(page);
    while stage.device("B").await.record.is_none() {
        stage.pass(Duration::from_secs(10)).await;
    }
    stage.pass(MINUTE * 2).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    assert!(assigned.iter().any(|s| s.contains(&serial)), "{assigned:?}");
}

/// Members of one wave whose time has come, and a request that gives them licences and stays open.
async fn licences_asked(
    stage: &Stage,
    names: &[&str],
    deadline: Timestamp,
    needs: Option<&str>,
) -> ErrandId {
    let server = stage.server("one").await;
    stage.pass(MINUTE * 9).await;
    let serials: Vec<Serial> = names.iter().map(|s| Serial::parse(s).unwrap()).collect();
    let mut batch = Batch::new();
    for (id, serial) in (1..).zip(&serials) {
        let mut device = Device::new(stage.organisation, DeviceId(id), serial.clone());
        let mut reading = OrgReading::default();
        reading.product = Some("iPhone17,2".to_owned());
        device.reading = Some(reading);
        batch.put(device);
    }
    stage.store.commit(batch).await.unwrap();
    let org = stage.org().await;
    let member = |serial: &Serial| Member {
        serial: serial.clone(),
        deadline,
        available_from: START + MINUTE * 10,
        original_server: None,
    };
    let members: Vec<Member> = serials.iter().map(member).collect();
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let runbooks = BTreeMap::from([(Platform::Ios, runbook)]);
    let wave = org.plan_wave("shops", server, &runbooks, &members).await;
    let (mut batch, mut whom) = (Batch::new(), Vec::new());
    for mut attempt in org.members(wave.unwrap()).await.unwrap() {
        attempt.state = MoveState::Scheduled {
            since: START,
            visible: Some(START),
        };
        let mut device = stage.device(attempt.serial.as_str()).await;
        let mut record = DeviceRecord::new(server, START);
        record.profile_status = "empty".to_owned();
        device.record = Some(record);
        device.assignment.from = Some(START);
        device.assignment.wanted = stage.device("A").await.assignment.wanted;
        assert!(device.assignment.wanted.is_some());
        whom.push(ErrandMember {
            device: device.id,
            serial: device.serial.clone(),
            attempt: Some(attempt.id),
        });
        batch.put(device).put(attempt);
    }
    let kind = ErrandKind::Associate {
        location: LocationId(1),
        apps: vec![361_309_726],
    };
    let id = ErrandId(1);
    let mut errand = Errand::new(stage.organisation, id, kind, whom, "a person", START);
    errand.needs_person = needs.map(str::to_owned);
    batch.put(errand);
    stage.store.commit(batch).await.unwrap();
    org.assign_profiles(&serials).await.unwrap();
    id
}

/// Whether the device was offered its migration.
fn offered(stage: &Stage, name: &str) -> bool {
    let assigned = stage.script.assigned.lock().unwrap();
    assigned
        .iter()
        .any(|serials| serials.iter().any(|s| s.as_str() == name))
}

#[tokio::test]
async fn nobody_is_offered_a_migration_before_the_licences_that_were_asked_for() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let id = licences_asked(&stage, &["B"], START + DAY * 10, None).await;
    let mut looks = BTreeSet::new();
    for _ in 0..3 {
        stage.pass(MINUTE * 6).await;
        assert!(!offered(&stage, "B"), "before its licences");
        let device = stage.device("B").await;
        let waits = device.assignment.waits.as_deref();
        assert_eq!(waits, Some("its licences are on their way"));
        looks.insert(device.assignment.not_before);
    }
    assert_eq!(looks.len(), 1, "it is not written every few minutes");
    let errand = stage.store.errand(stage.organisation, id).await.unwrap();
    let mut errand = errand.unwrap();
    errand.done(stage.mdm.now());
    let mut batch = Batch::new();
    batch.put(errand);
    stage.store.commit(batch).await.unwrap();
    stage.pass(MINUTE * 25).await;
    assert!(offered(&stage, "B"), "its licences are there");
    assert_eq!(stage.device("B").await.assignment.waits, None);
}

#[tokio::test]
async fn licences_that_never_come_leave_time_for_everything_else_that_keeps_devices() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let notice = stage.org().await.organisation().settings.notice();
    let names = ["B", "C", "D"];
    // With the hour for what lies between that is three hours, of which a quarter is waited.
    let deadline = START + MINUTE * 10 + notice + MINUTE * 120;
    licences_asked(&stage, &names, deadline, None).await;
    stage.pass(MINUTE * 36).await;
    assert!(names.iter().all(|name| !offered(&stage, name)));
    // Then Apple refuses whatever it is asked for half an hour.
    for _ in 0..40 {
        *stage.script.busy.lock().unwrap() = Some(MINUTE * 5);
        stage.pass(MINUTE).await;
    }
    let asked = stage.script.assigned.lock().unwrap().clone();
    let of_b = |serials: &&Vec<Serial>| serials.iter().any(|s| s.as_str() == "B");
    assert!(asked.iter().filter(of_b).count() >= 2, "{asked:?}");
    *stage.script.busy.lock().unwrap() = None;
    stage.pass(MINUTE * 25).await;
    for name in names {
        let assignment = stage.device(name).await.assignment;
        assert!(assignment.tries > 0, "{name} was never offered");
        assert_eq!(assignment.too_late, None, "{name}");
    }
}

#[tokio::test]
async fn a_request_for_licences_that_waits_for_a_person_keeps_no_device() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let needs = Some("the content token has ended");
    licences_asked(&stage, &["B"], START + DAY * 10, needs).await;
    stage.pass(MINUTE * 6).await;
    assert!(offered(&stage, "B"));
    assert_eq!(stage.device("B").await.assignment.waits, None);
}

/// Alters the row of an attempt behind the server's back.
async fn alter(path: &Path, attempt: MoveId, doc: &'static str) {
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut database = options.connect().await.unwrap();
    let sql = format!("UPDATE moves SET doc = {doc} WHERE id = {}", attempt.0);
    let met = sqlx::query(AssertSqlSafe(sql)).execute(&mut database).await;
    assert_eq!(met.unwrap().rows_affected(), 1, "{doc}");
    database.close().await.unwrap();
}

/// So that it cannot be read, and back.
const SPOILT: &str = "'!' || doc";
const MENDED: &str = "substr(doc, 2)";

#[tokio::test]
async fn an_attempt_that_cannot_be_read_keeps_no_other_from_its_offer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    let store = SqliteStore::open(&path).await.unwrap();
    let stage = Stage::on(store, &[(&["A"], &[], false)]).await;
    let needs = Some("the content token has ended");
    licences_asked(&stage, &["B", "C"], START + DAY * 10, needs).await;
    let bad = stage.device("B").await.open_move.unwrap();
    alter(&path, bad, SPOILT).await;
    stage.pass(MINUTE * 6).await;
    assert!(offered(&stage, "C") && !offered(&stage, "B"));
    let told = stage.org().await.unreadable().await.unwrap();
    let told: Vec<_> = told.iter().map(|row| (row.table, row.id)).collect();
    assert_eq!(told, [("moves", bad.0)]);
    alter(&path, bad, MENDED).await;
    stage.pass(MINUTE * 11).await;
    assert!(offered(&stage, "B"), "it was mended");
}

#[tokio::test]
async fn a_place_in_the_gap_that_cannot_be_read_counts_in_each_group_and_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    let store = SqliteStore::open(&path).await.unwrap();
    let stage = Stage::on(store, &[(&["A"], &[], false)]).await;
    let needs = Some("the content token has ended");
    licences_asked(&stage, &["B", "C", "D", "E"], START + DAY * 10, needs).await;
    let mut gap = GapLimits::default();
    gap.tags.insert("till".to_owned(), 2);
    let change = ProjectChange {
        gap: Some(gap),
        ..ProjectChange::default()
    };
    let org = stage.org().await;
    let server = stage.device("B").await.record.unwrap().server;
    org.new_project("tills", server, &change).await.unwrap();
    let mut batch = Batch::new();
    for name in ["C", "D"] {
        let mut device = stage.device(name).await;
        device.tags.insert("till".to_owned());
        batch.put(device);
    }
    // It is no till: as long as it cannot be read nobody knows.
    let bad = stage.device("B").await.open_move.unwrap();
    let attempt = stage.mdm.store().attempt(stage.organisation, bad).await;
    let mut attempt = attempt.unwrap().unwrap();
    attempt.gap = Some(GapPlace {
        since: START,
        groups: BTreeSet::new(),
    });
    batch.put(attempt);
    stage.store.commit(batch).await.unwrap();
    alter(&path, bad, SPOILT).await;
    stage.pass(MINUTE * 6).await;
    assert!(offered(&stage, "E") && !offered(&stage, "B"));
    assert_ne!(offered(&stage, "C"), offered(&stage, "D"), "one of them");
    let behind = if offered(&stage, "C") { "D" } else { "C" };
    let why = stage.device(behind).await.assignment.waits.unwrap();
    assert!(why.contains("2 devices of the tag till"), "{why}");
    alter(&path, bad, MENDED).await;
    stage.pass(MINUTE * 11).await;
    assert!(offered(&stage, "B") && offered(&stage, behind));
}

#[tokio::test]
async fn asking_for_many_profiles_takes_no_longer_for_each_than_for_a_few() {
    let stage = Stage::new(&[]).await;
    let server = stage.server("one").await;
    let serial = |n: i64| Serial::parse(&format!("MANY{n:06}")).unwrap();
    let all: Vec<Serial> = (0..16_000).map(serial).collect();
    for (n, serials) in (0..).zip(all.chunks(1000)) {
        let mut batch = Batch::new();
        for (id, serial) in (n * 1000 + 1..).zip(serials) {
            let id = mdm_core::ids::DeviceId(id);
            let mut device = mdm_core::device::Device::new(stage.organisation, id, serial.clone());
            device.record = Some(mdm_core::device::DeviceRecord::new(server, START));
            batch.put(device);
        }
        stage.store.commit(batch).await.unwrap();
    }
    let org = stage.org().await;
    // The best of three: what else the machine does is not measured.
    let time = async |serials: &[Serial]| {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let began = std::time::Instant::now();
            org.assign_profiles(serials).await.unwrap();
            best = best.min(began.elapsed());
        }
        best
    };
    let (few, many) = (time(&all[..2_000]).await, time(&all).await);
    assert!(
        many < few * 16,
        "{few:?} for 2,000, {many:?} for eight times as many"
    );
}
