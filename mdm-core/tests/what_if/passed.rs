//! A list of devices, or a wave of no project, goes past the projects that want the same devices, and says of which checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::calendar::Calendar;
use mdm_core::check::Check;
use mdm_core::device::{Incapable, Platform};
use mdm_core::ids::WaveId;
use mdm_core::project::Window;
use mdm_core::service::{Dates, Detail, Member, Org, ProjectChange, Question};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore};
use mdm_core::wave::Waiver;
use serde_json::json;

use super::service_house::{House, START};
use super::{DAY, fleet, fleet_told, list, list_from, question, runbook, said, serial};

/// What a project demands that keeps everybody back.
fn lock_off() -> ProjectChange {
    ProjectChange {
        prerequisites: Some(BTreeSet::from(["lock-off".to_owned()])),
        ..ProjectChange::default()
    }
}

async fn project_on(house: &House, org: &Org, name: &str, change: &ProjectChange) {
    let made = org.new_project(name, house.server, change).await;
    org.switch_project(made.unwrap().id, true).await.unwrap();
}

/// One device, planned by a host.
async fn wave_of_no_project(house: &House, org: &Org) -> WaveId {
    let member = Member {
        serial: serial(0),
        deadline: START + 9 * DAY,
        available_from: START + DAY,
        original_server: None,
    };
    let runbooks = BTreeMap::from([(Platform::Ios, runbook())]);
    let members = [member];
    let planned = org.plan_wave("host", house.server, &runbooks, &members);
    planned.await.unwrap()
}

#[tokio::test]
async fn a_list_says_which_projects_checks_it_goes_past() {
    let (house, org) = fleet_told(2).await;
    // One is at a service that nobody is to leave.
    let store = house.mdm.store();
    let row = store.device_by_serial(house.org, &serial(1)).await;
    let mut elsewhere = row.unwrap().unwrap();
    elsewhere.reading.as_mut().unwrap().assigned_server = Some("OTHERS".to_owned());
    let mut batch = Batch::new();
    batch.put(elsewhere);
    store.commit(batch).await.unwrap();
    let act = |deadline, from| list_from(&house, &[0, 1], from, deadline);
    let deadline = 9;
    let plan = org.plan_act(&act(deadline, None)).await.unwrap();
    assert_eq!(plan.blocked, 0, "{:?}", plan.findings);

    let blackout = json!({ "first": "2026-12-14", "last": "2026-12-14", "why": "stock-taking" });
    let mut calendar = Calendar::default();
    calendar.blackouts = vec![serde_json::from_value(blackout).unwrap()];
    let change = ProjectChange {
        originals: Some(BTreeSet::from(["THEIRS".to_owned()])),
        window: Some(Window {
            not_before: Some(START + DAY),
            not_after: Some(START + 8 * DAY),
        }),
        calendar: Some(calendar),
        ..lock_off()
    };
    let made = org.new_project("Berlin", house.server, &change).await;
    let berlin = made.unwrap().id;
    // While the project is off, it is said and keeps nobody back.
    let plan = org.plan_act(&act(deadline, None)).await.unwrap();
    assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
    let said = plan.warnings.join("\n");
    for part in [
        "window: 1 device: past the project Berlin",
        "prerequisites: 1 device: past the project Berlin: not met: lock-off",
    ] {
        assert!(said.contains(part), "{said}");
    }
    // While it is on, its checks hold for a list as for its waves, and for those devices alone that leave its services.
    org.switch_project(berlin, true).await.unwrap();
    let against = async |deadline, from| {
        let plan = org.plan_act(&act(deadline, from)).await.unwrap();
        assert!(
            !plan.findings.contains_key(&serial(1)),
            "{:?}",
            plan.findings
        );
        plan.findings
            .get(&serial(0))
            .cloned()
            .unwrap_or_default()
            .join("\n")
    };
    let told = against(deadline, None).await;
    assert!(
        told.contains("would be offered before the project's window begins"),
        "{told}"
    );
    assert!(told.contains("not met: lock-off"), "{told}");
    let told = against(deadline, Some(2)).await;
    assert!(
        told.contains("lies outside of the project's window"),
        "{told}"
    );
    let told = against(4, Some(2)).await;
    assert!(
        told.contains("kept free") && told.contains("stock-taking"),
        "{told}"
    );
    // The sentence stays the same until somebody accepts it.
    let first = org.plan_act(&act(deadline, None)).await.unwrap().digest;
    house.clock.advance(Duration::from_secs(5));
    let second = org.plan_act(&act(deadline, None)).await.unwrap().digest;
    assert_eq!(first, second);
    // With nothing of it in the way it goes.
    let none = ProjectChange {
        prerequisites: Some(BTreeSet::new()),
        ..ProjectChange::default()
    };
    org.change_project(berlin, &none).await.unwrap();
    assert_eq!(against(7, Some(2)).await, "");
    let second = org.plan_act(&act(deadline, None)).await.unwrap().digest;
    let done = org.do_act(&act(deadline, None), &second).await.unwrap();
    assert_eq!((done.members, done.blocked), (2, 1));
    // Nobody goes past a project that is closed.
    org.close_project(berlin).await.unwrap();
    let plan = org.plan_act(&act(deadline, None)).await.unwrap();
    assert!(
        !plan.findings.contains_key(&serial(0)),
        "{:?}",
        plan.findings
    );
}

#[tokio::test]
async fn a_list_goes_where_one_of_several_projects_has_nothing_against_it() {
    let (house, org) = fleet_told(1).await;
    for (name, first, last) in [("Berlin", 1_u32, 8_u32), ("Paris", 20, 30)] {
        let change = ProjectChange {
            window: Some(Window {
                not_before: Some(START + first * DAY),
                not_after: Some(START + last * DAY),
            }),
            ..ProjectChange::default()
        };
        project_on(&house, &org, name, &change).await;
    }
    let plan_of = async |from: u32, deadline: u32| {
        let act = list_from(&house, &[0], Some(from), deadline);
        org.plan_act(&act).await.unwrap()
    };
    // In the window of one: the other is told of, and keeps nobody back.
    for (from, deadline, other) in [(2, 7, "Paris"), (21, 28, "Berlin")] {
        let plan = plan_of(from, deadline).await;
        assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
        let said = plan.warnings.join("\n");
        let past = format!("window: 1 device: past the project {other}");
        assert!(said.contains(&past), "{said}");
    }
    // In none.
    let plan = plan_of(10, 15).await;
    assert_eq!(plan.blocked, 1, "{:?}", plan.findings);
    let told = plan.findings[&serial(0)].join("\n");
    for name in ["Berlin", "Paris"] {
        let past = format!("past the project {name}");
        assert!(told.contains(&past), "{told}");
    }
}

#[tokio::test]
async fn a_wave_of_no_project_is_looked_at_with_those_that_it_goes_past() {
    let (house, org) = fleet_told(1).await;
    project_on(&house, &org, "Berlin", &lock_off()).await;
    let wave = wave_of_no_project(&house, &org).await;
    let what_if = org.what_if(wave).await.unwrap();
    let told = what_if.blockers[&serial(0)].join("\n");
    let past = "past the project Berlin: not met: lock-off";
    assert!(told.contains(past), "{told}");
    // Whoever would waive it is shown a way that there is: what was done is said of waves of a project.
    let waiver = Waiver {
        check: Check::Prerequisites,
        serials: BTreeSet::new(),
        reason: "its owner has said so".to_owned(),
    };
    let refused = org.accept(wave, &what_if.digest, &[waiver], "").await;
    let why = refused.unwrap_err().to_string();
    let way = "let them go with a wave of the project";
    assert!(why.contains(way) && !why.contains("wave met"), "{why}");
}

#[tokio::test]
async fn what_others_do_at_the_same_deadline_voids_no_plan() {
    let (house, org) = fleet_told(5).await;
    let change = ProjectChange {
        capacity: Some(1),
        ..ProjectChange::default()
    };
    let made = org.new_project("Berlin", house.server, &change).await;
    let wave = org.new_wave(made.unwrap().id, "main", None).await;
    let wave = wave.unwrap().id;
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
    let members: Vec<_> = (0..3).map(serial).collect();
    org.add_members(wave, &members, dates).await.unwrap();
    let act = list(&house, &[3, 4], 9);
    let first = org.plan_act(&act).await.unwrap();
    assert_eq!(first.blocked, 0, "{:?}", first.findings);
    let said = first.warnings.join("\n");
    let room = "past the project Berlin: more than 1 device would be in a hold at once";
    assert!(said.contains(room), "{said}");
    let out = org.remove_members(wave, Some(&members[..1]), "by hand");
    assert_eq!(out.await.unwrap(), 1);
    let second = org.plan_act(&act).await.unwrap();
    assert_eq!(first.digest, second.digest);
    let since = second.since.unwrap();
    assert!(since.facts.is_empty(), "{since:?}");
    let done = org.do_act(&act, &first.digest).await.unwrap();
    assert_eq!((done.members, done.blocked), (2, 0));
}

/// Apple says of these, again and again, that they cannot migrate.
async fn cannot_go(house: &House, devices: &[usize]) {
    let store = house.mdm.store();
    let mut batch = Batch::new();
    for n in devices {
        let row = store.device_by_serial(house.org, &serial(*n)).await;
        let mut device = row.unwrap().unwrap();
        let reading = device.reading.as_mut().unwrap();
        reading.capable = Some(false);
        reading.incapable = Some(Incapable {
            since: reading.seen - DAY,
            readings: Incapable::READINGS,
        });
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn who_cannot_go_with_a_wave_of_no_project_takes_nobodys_room() {
    let house = House::new().await;
    let org = fleet(&house, 4).await;
    let told = org.import_originals("Old MDM", START, (0..4).map(said).collect());
    told.await.unwrap();
    let room_for = |capacity| ProjectChange {
        capacity: Some(capacity),
        ..ProjectChange::default()
    };
    let made = org.new_project("Berlin", house.server, &room_for(2)).await;
    let berlin = made.unwrap().id;
    org.switch_project(berlin, true).await.unwrap();
    let member = |n| Member {
        serial: serial(n),
        deadline: START + 9 * DAY,
        available_from: START + DAY,
        original_server: None,
    };
    let members: Vec<Member> = (0..4).map(member).collect();
    let runbooks = BTreeMap::from([(Platform::Ios, runbook())]);
    let wave = org.plan_wave("host", house.server, &runbooks, &members);
    let wave = wave.await.unwrap();
    let over = async || -> Vec<_> {
        let blockers = org.what_if(wave).await.unwrap().blockers.into_iter();
        let is_room = |why: &String| why.contains("in a hold at once");
        let over = blockers.filter(|(_, against)| against.iter().any(is_room));
        over.map(|(serial, _)| serial).collect()
    };
    let all: Vec<_> = (0..4).map(serial).collect();
    assert_eq!(over().await, all);
    cannot_go(&house, &[0, 1]).await;
    assert!(over().await.is_empty());
    // What stands against one of them can be waived: it may go, and is counted.
    let mut old = said(2);
    old.system = Some("18.5".to_owned());
    house.clock.advance(Duration::from_secs(1));
    let told = org.import_originals("Old MDM", house.mdm.now(), vec![old]);
    assert_eq!(told.await.unwrap().changed, 1);
    assert!(over().await.is_empty());
    org.change_project(berlin, &room_for(1)).await.unwrap();
    assert_eq!(over().await, all);
    // Told of by another look, they take none of their own wave's room either.
    cannot_go(&house, &[2]).await;
    org.run_what_if(wave).await.unwrap();
    assert!(over().await.is_empty());
}

#[tokio::test]
async fn who_does_not_go_takes_nobodys_room() {
    let (house, org) = fleet_told(4).await;
    let change = ProjectChange {
        capacity: Some(2),
        ..ProjectChange::default()
    };
    project_on(&house, &org, "Berlin", &change).await;
    let act = list(&house, &[0, 1, 2, 3], 9);
    let plan = org.plan_act(&act).await.unwrap();
    assert_eq!(plan.blocked, 4, "{:?}", plan.findings);
    // Where nobody gives a deadline all would have the same one, and nothing follows from it.
    let mut asked = question(&house, 4);
    let of_room = async |asked: &Question| {
        let report = org.look_at(asked, Detail::Problems).await.unwrap();
        let findings = report.members.iter().flat_map(|m| &m.findings);
        findings.filter(|f| f.check == Check::Capacity).count()
    };
    assert_eq!(of_room(&asked).await, 4);
    asked.undated = true;
    assert_eq!(of_room(&asked).await, 0);
    // Two of them cannot go anyway: there is room for the others.
    cannot_go(&house, &[0, 1]).await;
    let plan = org.plan_act(&act).await.unwrap();
    let blocked: Vec<_> = plan.findings.keys().cloned().collect();
    assert_eq!(blocked, [serial(0), serial(1)], "{:?}", plan.findings);
    for told in plan.findings.values().flatten() {
        assert!(!told.contains("in a hold at once"), "{told}");
    }
}

#[tokio::test]
async fn who_is_kept_back_by_one_project_takes_no_room_of_another() {
    let (house, org) = fleet_told(4).await;
    // Two of them are at another service, which another project is to leave.
    let store = house.mdm.store();
    let mut batch = Batch::new();
    for n in [2, 3] {
        let row = store.device_by_serial(house.org, &serial(n)).await;
        let mut device = row.unwrap().unwrap();
        device.reading.as_mut().unwrap().assigned_server = Some("OTHERS".to_owned());
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
    let leaves = |server: &str, change: ProjectChange| ProjectChange {
        originals: Some(BTreeSet::from([server.to_owned()])),
        ..change
    };
    let change = leaves("THEIRS", lock_off());
    let made = org.new_project("Berlin", house.server, &change).await;
    let berlin = made.unwrap().id;
    org.switch_project(berlin, true).await.unwrap();
    let room = ProjectChange {
        capacity: Some(2),
        ..ProjectChange::default()
    };
    project_on(&house, &org, "Paris", &leaves("OTHERS", room)).await;
    let blocked = async || -> Vec<_> {
        let act = list(&house, &[0, 1, 2, 3], 9);
        let plan = org.plan_act(&act).await.unwrap();
        plan.findings.into_keys().collect()
    };
    assert_eq!(blocked().await, [serial(0), serial(1)]);
    // Once nothing keeps them back they go, and there are too many for the other project.
    let none = ProjectChange {
        prerequisites: Some(BTreeSet::new()),
        ..ProjectChange::default()
    };
    org.change_project(berlin, &none).await.unwrap();
    assert_eq!(blocked().await, [serial(2), serial(3)]);
}

#[tokio::test]
async fn a_deadline_that_nobody_gave_is_held_against_no_window_and_no_free_day() {
    let (house, org) = fleet_told(1).await;
    let mut asked = question(&house, 1);
    let day = asked.deadline.to_string()[..10].to_owned();
    let free = json!({ "first": day, "last": day, "why": "stock-taking" });
    let mut calendar = Calendar::default();
    calendar.blackouts = vec![serde_json::from_value(free).unwrap()];
    let change = ProjectChange {
        window: Some(Window {
            not_before: None,
            not_after: Some(START + 8 * DAY),
        }),
        calendar: Some(calendar),
        ..ProjectChange::default()
    };
    project_on(&house, &org, "Berlin", &change).await;
    let of_dates = async |asked: &Question| {
        let report = org.look_at(asked, Detail::Problems).await.unwrap();
        let findings = report.members.iter().flat_map(|m| &m.findings);
        let dates = findings.filter(|f| matches!(f.check, Check::Window | Check::Blackout));
        dates.count()
    };
    assert_eq!(of_dates(&asked).await, 2);
    asked.undated = true;
    assert_eq!(of_dates(&asked).await, 0);
}

/// A project that keeps everybody back once it is on, and a store at which somebody turns it on before the next commit.
async fn about_to_be_on(house: &House, org: &Org) -> (FailingStore<SqliteStore>, Org, Batch) {
    let made = org.new_project("Berlin", house.server, &lock_off()).await;
    let row = house.mdm.store().project(house.org, made.unwrap().id).await;
    let mut row = row.unwrap().unwrap();
    row.on = true;
    let mut batch = Batch::new();
    batch.put(row);
    let disk = SqliteStore::open(&house.path()).await.unwrap();
    let store = FailingStore::new(disk, 0, Moment::Before);
    let mdm = house.over(store.clone());
    let org = mdm.organisation_by_id(house.org).await.unwrap();
    (store, org, batch)
}

#[tokio::test]
async fn nobody_goes_past_a_project_that_is_turned_on_while_it_is_submitted() {
    // By a list.
    let (house, org) = fleet_told(1).await;
    let (store, org, on) = about_to_be_on(&house, &org).await;
    let act = list(&house, &[0], 9);
    let plan = org.plan_act(&act).await.unwrap();
    assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
    store.meanwhile(on);
    let done = org.do_act(&act, &plan.digest).await;
    let why = done.unwrap_err().to_string();
    assert!(why.contains("not those that were accepted"), "{why}");

    // By a wave of no project.
    let (house, org) = fleet_told(1).await;
    let (store, org, on) = about_to_be_on(&house, &org).await;
    let wave = wave_of_no_project(&house, &org).await;
    let digest = org.run_what_if(wave).await.unwrap().digest;
    let accepted = org.accept(wave, &digest, &[], "").await.unwrap();
    assert_eq!(accepted.staying, 0);
    store.meanwhile(on);
    let why = org.submit(wave, &digest, "Anna").await;
    let why = why.unwrap_err().to_string();
    assert!(
        why.contains("have changed since they were accepted"),
        "{why}"
    );
}
