//! What goes to a group of owners and follows them, and limits of a group that hold for every wave and list of the organisation.

use std::collections::{BTreeMap, BTreeSet};

use mdm_core::check::{Check, CheckResult};
use mdm_core::ddm::{Channels, Target};
use mdm_core::device::Platform;
use mdm_core::ids::WaveId;
use mdm_core::library::Audience;
use mdm_core::migration::{PinnedRunbook, Variant};
use mdm_core::original::DeviceOwner;
use mdm_core::secret::Secret;
use mdm_core::service::{Detail, IdentitySettings, Member, Org, Question};
use serde_json::json;

use super::declared::{Gear, notices, put, quiet, set};
use super::service_house::fleet::{serial, serials};
use super::service_house::{Gadget, House, START};
use super::{DAY, days, on_postgres, owned, project, says, wave};

const TEST: &str = "com.apple.configuration.management.test";

/// The items of the library that a device was given.
async fn given(house: &House, gadget: &Gadget) -> usize {
    let store = house.mdm.store();
    let row = store.device_by_serial(house.org, &gadget.serial).await;
    row.unwrap().unwrap().given.len()
}

fn profile() -> Secret {
    Secret::from_text(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
         <key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>\
         <key>PayloadIdentifier</key><string>com.example.sales</string><key>PayloadUUID</key><string>U</string>\
         <key>PayloadContent</key><array/></dict></plist>"
            .to_owned(),
    )
}

async fn what_is_for_a_group_follows_the_owner(house: House) {
    let org = house.org().await;
    let (eva, other) = (
        quiet(&house, "C02GROUP001").await,
        quiet(&house, "C02GROUP002").await,
    );
    // Known before anything is for it, and after.
    owned(&org, 0, &eva.serial, &["Sales / Süd", "Bern"]).await;
    put(&org, "sales.note", TEST, json!({ "Echo": "1" })).await;
    set(&org, "sales", &["sales.note"]).await;
    let group = Target::Group("Sales / Süd".to_owned());
    let own = Channels::Device;
    assert!(org.assign_declarations("sales", &group, own).await.unwrap());
    let bad = Target::Group("a\nb".to_owned());
    says(
        org.assign_declarations("sales", &bad, own).await,
        "groups: must be",
    );
    let whom = Audience::read([""; 0], ["Sales / Süd"]).unwrap();
    let put = org.put_profile("Sales", &profile(), whom.clone()).await;
    assert_eq!(put.unwrap().item.audience, whom);
    house.settle().await;
    assert_eq!(given(&house, &eva).await, 1);
    assert_eq!(notices(&house, &eva).await, 1);
    assert_eq!(
        (notices(&house, &other).await, given(&house, &other).await),
        (0, 0)
    );
    let (mut a, mut b) = (Gear::default(), Gear::default());
    a.sync(&house, &eva).await;
    assert_eq!(a.names(), ["sales.note"]);
    let shown = org.declaration_sets().await.unwrap();
    let to = &shown[0].assigned[0];
    assert_eq!((to.to, to.name.as_deref()), ("group", Some("Sales / Süd")));

    // One owner goes to another group, one comes into this one.
    owned(&org, 1, &eva.serial, &["Bern"]).await;
    owned(&org, 1, &other.serial, &["Sales / Süd"]).await;
    house.settle().await;
    assert_eq!(
        (notices(&house, &eva).await, notices(&house, &other).await),
        (1, 1)
    );
    a.sync(&house, &eva).await;
    b.sync(&house, &other).await;
    assert_eq!((a.names(), b.names()), (vec![], vec!["sales.note"]));
    assert_eq!(
        (given(&house, &eva).await, given(&house, &other).await),
        (0, 1)
    );
    let found = org.devices_of_group("Sales / Süd").await.unwrap();
    assert_eq!(found, BTreeSet::from([other.serial.clone()]));

    // An import that is older, and one of the same groups, change nothing for anybody.
    owned(&org, 0, &other.serial, &[]).await;
    house.settle().await;
    let found = org.devices_of_group("Sales / Süd").await.unwrap();
    assert_eq!(found, BTreeSet::from([other.serial.clone()]));
    assert_eq!(given(&house, &other).await, 1);
    owned(&org, 2, &other.serial, &["Sales / Süd"]).await;
    // What names people goes; the group of the device stays, and what it has by it.
    let keep = IdentitySettings {
        owner_days: Some(30),
        ..IdentitySettings::default()
    };
    org.set_identities(keep).await.unwrap();
    for _ in 0..33 {
        house.clock.advance(DAY);
        house.settle().await;
    }
    let facts = house.org().await.original(&other.serial).await.unwrap();
    assert_eq!(facts.owner, None);
    house.settle().await;
    assert_eq!(notices(&house, &other).await, 0);
    b.sync(&house, &other).await;
    assert_eq!(b.names(), ["sales.note"]);
    assert!(
        org.unassign_declarations("sales", &group, own)
            .await
            .unwrap()
    );
    house.settle().await;
    assert_eq!(notices(&house, &other).await, 1);
    b.sync(&house, &other).await;
    assert_eq!(b.names(), [] as [&str; 0]);

    // One whose owner was known before it came has it as soon as it comes.
    let third = house.device("C02GROUP003").await;
    owned(&org, 3, &third.serial, &["Sales / Süd"]).await;
    house.enrol(&third).await;
    house.settle().await;
    assert_eq!(given(&house, &third).await, 1);
}

#[tokio::test]
async fn what_is_for_a_group_follows_the_owner_on_sqlite() {
    Box::pin(what_is_for_a_group_follows_the_owner(House::new().await)).await;
}

#[tokio::test]
async fn what_is_for_a_group_follows_the_owner_on_postgres() {
    Box::pin(on_postgres(what_is_for_a_group_follows_the_owner)).await;
}

/// What the what-if of a wave finds of the gap.
async fn gap_of(org: &Org, wave: WaveId) -> Option<(CheckResult, String)> {
    let report = org.look_at_wave(wave, Detail::Counts).await.unwrap();
    let mut found = report.server.into_iter();
    let found = found.find(|finding| finding.check == Check::Gap)?;
    Some((found.result, found.fact))
}

#[tokio::test]
async fn a_limit_counts_the_group_in_every_wave_and_list_of_the_organisation() {
    let house = House::new().await;
    // Of each of them enough is told for nothing to stand against it: who stays behind would take no place.
    let org = house
        .fleet(8, |_, _, said| {
            let mut owner = DeviceOwner::default();
            owner.groups.insert("Shop".to_owned());
            said.owner = Some(owner);
        })
        .await;
    let one = project(&org, &house, "Berlin", Some(2)).await;
    let two = project(&org, &house, "Bern", None).await;
    let berlin = wave(&org, one, "berlin", &serials(0..2), days(1, 5)).await;
    let (result, _) = gap_of(&org, berlin).await.unwrap();
    assert_eq!(result, CheckResult::Pass);
    // The other project says nothing of the group, and counts all the same.
    let bern = wave(&org, two, "bern", &serials(2..4), days(4, 8)).await;
    for id in [berlin, bern] {
        let (result, fact) = gap_of(&org, id).await.unwrap();
        assert_eq!(result, CheckResult::Block, "{fact}");
        assert!(fact.contains("4 devices of the group Shop"), "{fact}");
    }
    // Its plan makes room.
    let (first, last) = (START + 6 * DAY, START + 40 * DAY);
    org.plan_dates(bern, Some(first), Some(last), None, Some(3 * DAY), false)
        .await
        .unwrap();
    for id in [berlin, bern] {
        let (result, fact) = gap_of(&org, id).await.unwrap();
        assert_eq!(result, CheckResult::Pass, "{fact}");
    }

    // A list that is part of no project obeys the limit; on other days there is room.
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let question = |from: u32, until: u32, range| {
        let dates = days(from, until);
        Question {
            serials: serials(range),
            destination: house.server,
            deadline: dates.deadline.unwrap(),
            available_from: dates.available_from.unwrap(),
            runbooks: BTreeMap::from([(Platform::Ios, runbook.clone())]),
            undated: false,
        }
    };
    let asked = async |question: Question| {
        let report = org.look_at(&question, Detail::Counts).await.unwrap();
        let mut found = report.server.into_iter();
        found.find(|finding| finding.check == Check::Gap).unwrap()
    };
    let found = asked(question(1, 5, 4..5)).await;
    assert_eq!(found.result, CheckResult::Block);
    assert!(
        found.fact.contains("3 devices of the group Shop"),
        "{}",
        found.fact
    );
    assert_eq!(
        asked(question(60, 63, 4..6)).await.result,
        CheckResult::Pass
    );
    let found = asked(question(60, 63, 4..7)).await;
    assert_eq!(found.result, CheckResult::Block, "{}", found.fact);
    // Once it is planned, it counts for whoever comes after it.
    let runbooks = BTreeMap::from([(Platform::Ios, runbook.clone())]);
    let member = |n| Member {
        serial: serial(n),
        deadline: days(60, 63).deadline.unwrap(),
        available_from: days(60, 63).available_from.unwrap(),
        original_server: None,
    };
    let list = [member(4), member(5)];
    org.plan_wave("list", house.server, &runbooks, &list)
        .await
        .unwrap();
    let found = asked(question(61, 62, 6..7)).await;
    assert_eq!(found.result, CheckResult::Block, "{}", found.fact);
    // Who is in it already is counted there, and not once more.
    let found = asked(question(60, 63, 4..6)).await;
    assert_eq!(found.result, CheckResult::Pass, "{}", found.fact);

    // Of several limits the least holds, until the project that says it is closed.
    let three = project(&org, &house, "Basel", Some(1)).await;
    let (result, fact) = gap_of(&org, berlin).await.unwrap();
    assert_eq!(result, CheckResult::Block, "{fact}");
    assert!(fact.ends_with("1 may be"), "{fact}");
    org.close_project(three).await.unwrap();
    let (result, _) = gap_of(&org, berlin).await.unwrap();
    assert_eq!(result, CheckResult::Pass);
}
