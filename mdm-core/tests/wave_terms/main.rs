//! Terms that are wider or narrower than a wave: what goes to a group of owners and follows them, limits of a group that hold for
//! every wave and list of the organisation, and what a wave has of its own, its texts and its ADE profile.

#[path = "../declared/mod.rs"]
mod declared;
mod groups;
mod own;
#[path = "../service_house/mod.rs"]
mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use declared::quiet;
use mdm_core::check::Check;
use mdm_core::clock::Timestamp;
use mdm_core::device::{Device, OrgReading, Platform};
use mdm_core::error::Error;
use mdm_core::evidence::{MarkName, MarkState};
use mdm_core::gap::GapLimits;
use mdm_core::ids::{DeviceId, ErrandId, ProjectId, Serial, WaveId};
use mdm_core::migration::{Move, MoveState, PinnedRunbook, StepId, Variant};
use mdm_core::original::{DeviceOwner, ManagedUser, Said};
use mdm_core::service::{Candidates, Dates, Member, Org, ProjectChange};
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{Batch, PostgresOptions, PostgresStore, Store as _};
use mdm_core::wave::Waiver;
use service_house::{House, START};

const DAY: Duration = Duration::from_hours(24);

fn says(result: Result<impl std::fmt::Debug, Error>, sentence: &str) {
    let said = result.unwrap_err().to_string();
    assert!(said.contains(sentence), "{said}");
}

fn words(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// An import says, as of so many hours after the start, in which groups the owner of a device is.
async fn owned(org: &Org, hours: u64, serial: &Serial, groups: &[&str]) {
    let mut said = Said::nothing(serial.clone());
    let mut owner = DeviceOwner::default();
    owner.name = Some("Eva Ander".to_owned());
    owner.groups = words(groups);
    said.owner = Some(owner);
    let taken = START + Duration::from_hours(hours);
    let done = org.import_originals("Old MDM", taken, vec![said]).await;
    assert_eq!(done.unwrap().rejected, []);
}

fn serial(n: usize) -> Serial {
    Serial::parse(&format!("C02TERM{n:03}")).unwrap()
}

fn serials(range: std::ops::Range<usize>) -> Vec<Serial> {
    range.map(serial).collect()
}

/// So many iPhones at the old service, whose owners are all in one group.
async fn fleet(house: &House, count: usize) -> Org {
    let mut batch = Batch::new();
    for n in 0..count {
        let mut device = Device::new(house.org, DeviceId(house.next_id()), serial(n));
        let mut reading = OrgReading::default();
        reading.seen = START;
        reading.assigned_server = Some("THEIRS".to_owned());
        reading.product = Some("iPhone17,1".to_owned());
        device.reading = Some(reading);
        batch.put(device);
    }
    house.mdm.store().commit(batch).await.unwrap();
    let org = house.org().await;
    for n in 0..count {
        owned(&org, 0, &serial(n), &["Shop"]).await;
    }
    org.acting_for("Anna")
}

/// A house with so many of them.
async fn old_fleet(count: usize) -> (House, Org) {
    let house = House::new().await;
    let org = fleet(&house, count).await;
    (house, org)
}

async fn project(org: &Org, house: &House, name: &str, shop: Option<u32>) -> ProjectId {
    let mut gap = GapLimits::default();
    gap.groups
        .extend(shop.map(|most| ("Shop".to_owned(), most)));
    let change = ProjectChange {
        gap: Some(gap),
        ..ProjectChange::default()
    };
    let made = org.new_project(name, house.server, &change).await;
    made.unwrap().id
}

const fn days(from: u32, deadline: u32) -> Dates {
    const fn at(day: u32) -> Timestamp {
        Timestamp::from_millis(START.as_millis() + day as i64 * 86_400_000)
    }
    Dates {
        deadline: Some(at(deadline)),
        available_from: Some(at(from)),
    }
}

async fn wave(org: &Org, project: ProjectId, name: &str, of: &[Serial], dates: Dates) -> WaveId {
    let id = org.new_wave(project, name, None).await.unwrap().id;
    org.add_members(id, of, dates).await.unwrap();
    id
}

/// A member of a list, as a host names it.
fn listed(serial: Serial) -> Member {
    Member {
        serial,
        deadline: START + 9 * DAY,
        available_from: START + 2 * DAY,
        original_server: None,
    }
}

/// A story over a PostgreSQL server of its own, where there is one.
async fn on_postgres<F: Future<Output = ()>>(story: impl FnOnce(House) -> F) {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
    let store = store.unwrap();
    let house = House::over_store(Arc::new(store.clone())).await;
    Box::pin(story(house)).await;
    store.close().await.unwrap();
    server.clean().await;
}

/// A wave goes with the digest that somebody has accepted, by this door too, and with what was waived.
async fn a_digest_that_nobody_accepted_submits_nothing(house: House) {
    let org = house.fleet(5, |_, _, _| {}).await;
    let id = project(&org, &house, "Berlin", None).await;
    org.switch_project(id, true).await.unwrap();
    let all = service_house::fleet::serials(0..2);
    let shops = wave(&org, id, "shops", &all, days(2, 9)).await;
    let untouched = async || {
        let members = org.members(shops).await.unwrap();
        // Accepted at the most: one that is blocked, or whose submission failed, was touched.
        let untold = |m: &Move| matches!(m.state, MoveState::Planned | MoveState::Ready);
        let planned = members.iter().all(untold);
        planned && org.errands(ErrandId(0), 10).await.unwrap().is_empty()
    };
    let what_if = org.what_if(shops).await.unwrap();
    assert!(what_if.against_all.is_empty(), "{:?}", what_if.against_all);
    for digest in [what_if.digest.as_str(), ""] {
        let refused = org.submit(shops, digest, "Eva").await.unwrap_err();
        assert!(matches!(refused, Error::Precondition(_)), "{refused}");
        assert!(refused.to_string().contains("nobody has accepted"));
        assert!(untouched().await, "{digest}");
    }
    // What was accepted of other dates is no acceptance of these.
    let accepted = org.accept(shops, &what_if.digest, &[], "as planned").await;
    accepted.unwrap();
    let later = days(2, 10);
    let (deadline, from) = (later.deadline.unwrap(), later.available_from.unwrap());
    org.set_dates(shops, Some(&all[..1]), deadline, from)
        .await
        .unwrap();
    let other = org.what_if(shops).await.unwrap().digest;
    assert_ne!(other, what_if.digest);
    for (digest, why) in [
        (&other, "nobody has accepted"),
        (&what_if.digest, "have changed since"),
    ] {
        says(org.submit(shops, digest, "Eva").await, why);
        assert!(untouched().await);
    }
    org.accept(shops, &other, &[], "as planned").await.unwrap();
    assert_eq!(org.submit(shops, &other, "Eva").await.unwrap(), 2);
    assert!(!untouched().await);
    // Of three that are to have something done before, one has, of one somebody says why it goes without, and one stays.
    let change = ProjectChange {
        prerequisites: Some(words(&["lock-off"])),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let three = service_house::fleet::serials(2..5);
    let rest = wave(&org, id, "rest", &three, days(2, 9)).await;
    org.meet(rest, Some(&three[..1]), "lock-off", "seen")
        .await
        .unwrap();
    let what_if = org.what_if(rest).await.unwrap();
    assert!(what_if.against_all.is_empty(), "{:?}", what_if.against_all);
    assert_eq!(what_if.blockers.len(), 2, "{:?}", what_if.blockers);
    let waiver = Waiver {
        check: Check::Prerequisites,
        serials: BTreeSet::from([three[1].clone()]),
        reason: "its owner has said so".to_owned(),
    };
    let digest = &what_if.digest;
    let refused = org.accept(rest, digest, &[waiver], "as planned").await;
    says(refused, "prerequisites cannot be waived by anybody");
    says(org.submit(rest, digest, "Eva").await, "nobody has accepted");
    org.meet(
        rest,
        Some(&three[1..2]),
        "lock-off",
        "not needed: its owner has said so",
    )
    .await
    .unwrap();
    let digest = &org.what_if(rest).await.unwrap().digest;
    let accepted = org.accept(rest, digest, &[], "as planned").await;
    let accepted = accepted.unwrap();
    assert_eq!((accepted.going, accepted.staying), (2, 1));
    assert_eq!(org.submit(rest, digest, "Eva").await.unwrap(), 2);
    let members = org.members(rest).await.unwrap();
    let blocked = |m: &&Move| matches!(m.state, MoveState::Blocked { .. });
    let staying = members.iter().filter(blocked).map(|m| &m.serial);
    assert_eq!(staying.collect::<Vec<_>>(), [&three[2]]);
}

#[tokio::test]
async fn a_digest_that_nobody_accepted_submits_nothing_on_sqlite() {
    Box::pin(a_digest_that_nobody_accepted_submits_nothing(
        House::new().await,
    ))
    .await;
}

#[tokio::test]
async fn a_digest_that_nobody_accepted_submits_nothing_on_postgres() {
    Box::pin(on_postgres(a_digest_that_nobody_accepted_submits_nothing)).await;
}

#[tokio::test]
async fn a_list_takes_no_runbook_that_is_not_for_its_platform() {
    let (house, org) = old_fleet(1).await;
    let list = [listed(serial(0))];
    let mac = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    assert!(mac.step(StepId::FvEscrow).is_some());
    let runbooks = BTreeMap::from([(Platform::Ios, mac)]);
    let planned = org.plan_wave("list", house.server, &runbooks, &list).await;
    let said = planned.unwrap_err().to_string();
    assert!(said.contains("ios") && said.contains("steps"), "{said}");
    // Nobody is in a wave by it.
    let all = Candidates::default();
    assert_eq!(org.candidates(&all).await.unwrap(), [serial(0)]);
}

#[tokio::test]
async fn an_entry_stays_while_devices_are_enrolled_by_it_and_nothing_begins_there_afterwards() {
    let house = House::new().await;
    let gadget = quiet(&house, "C02GIVEN01").await;
    let org = fleet(&house, 1).await;
    let refused = org.remove_server_entry(house.server, "Ours").await;
    says(refused, "1 of its devices are enrolled here");
    // It is not enrolled any more.
    let (id, store) = (house.org, house.mdm.store());
    let device = async || {
        let row = store.device_by_serial(id, &gadget.serial).await;
        row.unwrap().unwrap()
    };
    let mut row = device().await;
    row.enrollment = None;
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let removed = org.remove_server_entry(house.server, "Ours").await;
    assert!(removed.unwrap().removed.is_some());
    house.settle().await;
    // That we read the list no more says nothing of where the device is.
    let row = device().await;
    let record = row.record.as_ref().unwrap();
    assert!(record.gone && record.given_up && !record.has_left());
    assert_eq!(org.moved_away(&[row]).await.unwrap(), BTreeMap::new());

    let list = [listed(serial(0))];
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let runbooks = BTreeMap::from([(Platform::Ios, runbook)]);
    let planned = org.plan_wave("list", house.server, &runbooks, &list).await;
    says(planned, "server entry");
    let change = ProjectChange::default();
    let made = org.new_project("Berlin", house.server, &change).await;
    says(made, "server entry");
}

#[tokio::test]
async fn a_mac_says_when_another_user_came_than_the_one_that_was_managed() {
    let house = House::new().await;
    let org = house.org().await;
    for (serial, came, state) in [
        ("C02USERS01", "Eva", MarkState::Proved),
        ("C02USERS02", "localadmin", MarkState::Missing),
    ] {
        let mac = house.mac(serial).await;
        let mut said = Said::nothing(mac.serial.clone());
        let mut managed = ManagedUser::default();
        "eva".clone_into(&mut managed.name);
        said.managed_user = Some(managed);
        org.import_originals("Old MDM", START, vec![said])
            .await
            .unwrap();
        house.enrol(&mac).await;
        let user = format!(
            "<key>UserID</key><string>U1</string><key>UserShortName</key><string>{came}</string>"
        );
        house.token_update(&mac, &user).await.unwrap();
        let report = org.device_report(&mac.serial).await.unwrap();
        let mark = report.marks.iter().find(|m| m.mark == MarkName::User);
        let mark = mark.unwrap();
        assert_eq!(mark.state, state, "{came}: {}", mark.why);
        let names = mark.why.contains("not that of eva");
        assert_eq!(names, state == MarkState::Missing, "{}", mark.why);
    }
}

#[tokio::test]
async fn a_mac_says_whose_sign_in_it_waits_for() {
    let house = House::new().await;
    let org = house.org().await;
    for (serial, user, state, why) in [
        (
            "C02WAITS01",
            Some("eva"),
            MarkState::Waiting,
            "waiting for the sign-in of eva",
        ),
        (
            "C02WAITS02",
            None,
            MarkState::Waiting,
            "no user channel of it has enrolled",
        ),
        (
            "C02WAITS03",
            Some(""),
            MarkState::NotWanted,
            "the original service managed no user of it",
        ),
    ] {
        let mac = house.mac(serial).await;
        if let Some(name) = user {
            let mut said = Said::nothing(mac.serial.clone());
            let mut managed = ManagedUser::default();
            name.clone_into(&mut managed.name);
            said.managed_user = Some(managed);
            org.import_originals("Old MDM", START, vec![said])
                .await
                .unwrap();
        }
        house.enrol(&mac).await;
        let report = org.device_report(&mac.serial).await.unwrap();
        let mark = report.marks.iter().find(|m| m.mark == MarkName::User);
        let mark = mark.unwrap();
        assert_eq!((mark.state, mark.why.as_str()), (state, why), "{serial}");
    }
}
