//! Declarations where something went wrong: a row that cannot be read, an answer that was lost, a device that left and came
//! back, a backup that was put back. None of it keeps anybody else waiting, and whoever may be behind is told.

mod declared;
mod service_house;

use std::time::Duration;

use declared::{Gear, QUIET, fetch, notices, put, set};
use mdm_core::ddm::{Channels, Target};
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::RunbookId;
use mdm_core::migration::{PinnedRunbook, StepId, StepStatus, Variant};
use mdm_core::secret::Secret;
use mdm_core::service::{Activation, Answer, IdentitySettings, NewDeclaration, NewFile, Org};
use serde_json::json;
use service_house::{Gadget, House, command};

const TEST: &str = "com.apple.configuration.management.test";
const USER_PASSWORD: &str = "com.apple.asset.credential.userpassword";
const OUT: &str = "<key>MessageType</key><string>CheckOut</string>";

/// Something for every device.
async fn declare(org: &Org, echo: &str) {
    put(org, "a", TEST, json!({ "Echo": echo })).await;
    set(org, "s", &["a"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
}

/// Enrolled, told, and with nothing left in its queue.
async fn told(house: &House, serial: &str) -> (Gadget, Gear) {
    let gadget = house.device(serial).await;
    house.enrol(&gadget).await;
    house.settle().await;
    notices(house, &gadget).await;
    let mut gear = Gear::default();
    gear.sync(house, &gadget).await;
    (gadget, gear)
}

#[tokio::test]
async fn rows_that_cannot_be_read_keep_nobody_from_enrolling_or_leaving() {
    let house = House::new().await;
    declare(&house.org().await, "1").await;
    let (_, _) = told(&house, "C02KEPT01").await;
    for table in ["declared_channels", "channel_statuses"] {
        let spoilt = house.spoil(&format!("UPDATE {table} SET doc = '{{'")).await;
        assert!(spoilt > 0, "{table}");
    }
    // Under a new identity: what it was told before is over.
    house.clock.advance(Duration::from_mins(1));
    let (again, gear) = told(&house, "C02KEPT01").await;
    assert_eq!(gear.names(), ["a"]);
    for table in ["declared_channels", "channel_statuses"] {
        house.spoil(&format!("UPDATE {table} SET doc = '{{'")).await;
    }
    house.check_in(&again, OUT).await.unwrap();
    // Nor does what is declared.
    house
        .spoil("UPDATE declaration_assignments SET doc = '{'")
        .await;
    let other = house.device("C02KEPT02").await;
    house.enrol(&other).await;
    let anna = "<key>UserID</key><string>GUID-1</string><key>UserShortName</key><string>a</string>";
    house.token_update(&other, anna).await.unwrap();
}

#[tokio::test]
async fn a_report_is_heard_where_the_one_before_cannot_be_read() {
    let house = House::new().await;
    declare(&house.org().await, "1").await;
    let (phone, _) = told(&house, "C02KEPT03").await;
    assert_eq!(
        house.spoil("UPDATE channel_statuses SET doc = '{'").await,
        1
    );
    let report = json!({ "StatusItems": { "mdm": { "is-awaiting-configuration": false } } });
    declared::status(&house, &phone, &report).await.unwrap();
    let record = house.record(&phone).await;
    let heard = |(what, detail): &(String, serde_json::Value)| {
        what == "set-up" && detail["cause"] == "AwaitingTold"
    };
    assert!(record.iter().any(heard), "{record:?}");
}

#[tokio::test]
async fn one_that_cannot_be_read_keeps_no_other_from_an_edit() {
    for table in ["enrollments", "devices", "declared_channels"] {
        let house = House::new().await;
        let org = house.org().await;
        declare(&org, "1").await;
        let (first, _) = told(&house, "C02KEPT04").await;
        let (second, mut gear) = told(&house, "C02KEPT05").await;
        let report = org.device_report(&first.serial).await.unwrap();
        let id = match table {
            "devices" => report.device.id.0,
            _ => report.enrollments[0].id.0,
        };
        let spoil = format!("UPDATE {table} SET doc = '{{' WHERE id = {id}");
        assert_eq!(house.spoil(&spoil).await, 1, "{table}");
        put(&org, "a", TEST, json!({ "Echo": "2" })).await;
        house.settle().await;
        assert_eq!(notices(&house, &second).await, 1, "{table}");
        gear.sync(&house, &second).await;
        assert_eq!(gear.has["a"].payload, json!({ "Echo": "2" }));
    }
}

#[tokio::test]
async fn a_device_whose_row_is_gone_loses_nothing() {
    let house = House::new().await;
    declare(&house.org().await, "1").await;
    let (phone, mut gear) = told(&house, "C02KEPT06").await;
    assert!(house.spoil("DELETE FROM devices").await > 0);
    for endpoint in ["tokens", "declaration-items"] {
        let error = declared::ask(&house, &phone, endpoint, None).await;
        let error = error.unwrap_err();
        assert!(!error.is_callers_fault(), "{endpoint}: {error}");
    }
    gear.has.clear();
    assert!(fetch(&house, &phone, "configuration", "a").await.is_some());
}

#[tokio::test]
async fn one_that_left_and_comes_back_is_told_of_everything() {
    let house = House::new().await;
    declare(&house.org().await, "1").await;
    let (phone, _) = told(&house, "C02KEPT07").await;
    house.check_in(&phone, OUT).await.unwrap();
    house.settle().await;
    house.token_update(&phone, "").await.unwrap();
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 1);
    let mut fresh = Gear::default();
    fresh.sync(&house, &phone).await;
    assert_eq!(fresh.names(), ["a"]);
}

#[tokio::test]
async fn whoever_lost_a_list_and_says_so_is_told_once_more() {
    let house = House::new().await;
    let org = house.org().await;
    declare(&org, "1").await;
    let (phone, mut gear) = told(&house, "C02KEPT08").await;
    let old = gear.clone();
    put(&org, "a", TEST, json!({ "Echo": "2" })).await;
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 1);
    // The list that this asks for never arrives.
    gear.items(&house, &phone).await;
    gear = old;
    let before: Vec<_> = gear
        .has
        .iter()
        .map(|(id, held)| (held.kind.clone(), id.clone(), held.token.clone()))
        .collect();
    // It may be about to fetch what is new: nothing is doubted at once.
    gear.settle(&house, &phone, &before).await;
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 0);
    house.clock.advance(Duration::from_hours(1));
    gear.settle(&house, &phone, &before).await;
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 1);
    gear.sync(&house, &phone).await;
    assert_eq!(gear.has["a"].payload, json!({ "Echo": "2" }));
    // Now it agrees, and nobody is told anything.
    house.clock.advance(Duration::from_hours(1));
    let now: Vec<_> = gear
        .has
        .iter()
        .map(|(id, held)| (held.kind.clone(), id.clone(), held.token.clone()))
        .collect();
    gear.settle(&house, &phone, &now).await;
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 0);
}

#[tokio::test]
async fn after_a_backup_was_put_back_everybody_is_told_to_look() {
    let house = House::new().await;
    let org = house.org().await;
    // One that never asked for anything.
    let silent = house.device("C02KEPT09").await;
    house.enrol(&silent).await;
    house.settle().await;
    notices(&house, &silent).await;
    put(&org, "a", TEST, json!({ "Echo": "1" })).await;
    set(&org, "s", &["a"]).await;
    let (phone, mut gear) = told(&house, "C02KEPT10").await;
    let device = org.device_report(&phone.serial).await.unwrap().device.id;
    org.assign_declarations("s", &Target::Device(device), Channels::Device)
        .await
        .unwrap();
    house.settle().await;
    notices(&house, &phone).await;
    gear.sync(&house, &phone).await;
    // Since the backup it was given something that is lost now.
    gear.token = Some("of the lost edit".to_owned());
    gear.has.clear();
    assert_eq!(house.mdm.after_restore().await.unwrap(), 1);
    house.settle().await;
    for gadget in [&silent, &phone] {
        assert_eq!(notices(&house, gadget).await, 1, "{}", gadget.serial);
    }
    gear.sync(&house, &phone).await;
    assert_eq!(gear.names(), ["a"]);
    // Once.
    put(&org, "b", TEST, json!({ "Echo": "1" })).await;
    house.settle().await;
    for gadget in [&silent, &phone] {
        assert_eq!(notices(&house, gadget).await, 0, "{}", gadget.serial);
    }
}

/// How the step `declare` of a phone stands after all that, with what its runbook waits for told before the step begins or not.
async fn declare_step(serial: &str, value: Option<&str>) -> StepStatus {
    let house = House::new().await;
    let phone = house.device(serial).await;
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let item = "app.example.install-state".to_owned();
    runbook.status.insert(item, json!("none"));
    let id = house.org().await.pin("waits", runbook).await.unwrap();
    assert_ne!(id, RunbookId(0));
    house.attempt(&phone, id).await;
    house.enrol(&phone).await;
    if let Some(value) = value {
        let report = json!({ "StatusItems": { "app": { "example": { "install-state": value } } } });
        declared::status(&house, &phone, &report).await.unwrap();
    }
    let mut answer = house.report(&phone, QUIET).await.unwrap();
    let mut asked = false;
    for _ in 0..30 {
        let Some((uuid, kind)) = command(&answer) else {
            break;
        };
        asked |= kind == "DeclarativeManagement";
        let done = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>\
             <key>QueryResponses</key><dict><key>SerialNumber</key><string>{serial}</string>\
             <key>AwaitingConfiguration</key><true/></dict>"
        );
        answer = house.report(&phone, &done).await.unwrap();
    }
    assert!(asked, "nobody asked it");
    let report = house
        .org()
        .await
        .device_report(&phone.serial)
        .await
        .unwrap();
    let set_up = report.set_up.unwrap();
    set_up.steps().unwrap()[&StepId::Declare].status.clone()
}

#[tokio::test]
async fn a_status_value_is_waited_for_and_one_that_was_told_before_counts() {
    let done = declare_step("C02KEPT11", Some("none")).await;
    assert!(matches!(done, StepStatus::Done { .. }), "{done:?}");
    for (serial, other) in [("C02KEPT12", Some("installing")), ("C02KEPT13", None)] {
        let waits = declare_step(serial, other).await;
        assert!(matches!(waits, StepStatus::Running), "{other:?}: {waits:?}");
    }
}

#[tokio::test]
async fn what_was_removed_takes_nobodys_place() {
    let house = House::new().await;
    let org = house.org().await;
    put(&org, "gone", TEST, json!({ "Echo": "1" })).await;
    org.remove_declaration("gone").await.unwrap();
    set(&org, "gone", &[]).await;
    org.remove_declaration_set("gone").await.unwrap();
    let many = |table: &str, name: &str, count: u32, columns: &str, values: &str| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             INSERT INTO {table} (organisation, id, version, {columns}doc) \
             SELECT organisation, id - n.i, 1, {values}json_set(doc, '$.{name}', 'gone.' || n.i, '$.id', id - n.i) FROM {table}, n"
        )
    };
    let declarations = many(
        "declarations",
        "identifier",
        5000,
        "identifier, ",
        "'gone.' || n.i, ",
    );
    assert_eq!(house.spoil(&declarations).await, 5000);
    put(&org, "new", TEST, json!({ "Echo": "1" })).await;
    let sets = many(
        "declaration_sets",
        "name",
        1000,
        "name, ",
        "'gone.' || n.i, ",
    );
    assert_eq!(house.spoil(&sets).await, 1000);
    set(&org, "new", &["new"]).await;
    // Those that are in use do.
    house
        .spoil("UPDATE declarations SET doc = json_remove(doc, '$.removed')")
        .await;
    house
        .spoil("UPDATE declaration_sets SET doc = json_remove(doc, '$.removed')")
        .await;
    let new = NewDeclaration::new("more", TEST, declared::map(&json!({ "Echo": "1" })));
    let full = org.put_declaration(&new).await.unwrap_err();
    assert!(matches!(full, Error::Precondition(_)), "{full}");
    let full = org.put_declaration_set("more", &[]).await.unwrap_err();
    assert!(matches!(full, Error::Precondition(_)), "{full}");
}

/// With thirty days that are kept.
async fn forgetful(house: &House) {
    let keep = IdentitySettings {
        retention_days: Some(30),
        ..IdentitySettings::default()
    };
    house.org().await.set_identities(keep).await.unwrap();
}

/// What is over for forty days goes.
async fn forty_days(house: &House) {
    house.clock.advance(Duration::from_hours(24 * 40));
    for _ in 0..3 {
        house.settle().await;
        house.clock.advance(Duration::from_hours(2));
    }
}

#[tokio::test]
async fn a_file_stays_as_long_as_a_content_has_it_and_no_longer() {
    let house = House::new().await;
    forgetful(&house).await;
    let org = house.org().await;
    let phone = house.device("C02KEPT15").await;
    house.enrol(&phone).await;
    house.settle().await;
    let asset = |title: &str| {
        let payload = declared::map(&json!({ "Accessible": title }));
        let mut new = NewDeclaration::new("cred", USER_PASSWORD, payload);
        let content = Secret::from_text(r#"{"UserName":"anna","Password":"hunter2"}"#.to_owned());
        new.file = Some(NewFile::new(content, "application/json"));
        new
    };
    org.put_declaration(&asset("Always")).await.unwrap();
    set(&org, "s", &["cred"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    let mut gear = Gear::default();
    gear.items(&house, &phone).await;
    let name = async || {
        let got = declared::fetch(&house, &phone, "asset", "cred").await;
        let got = got.unwrap().payload["Reference"]["DataURL"].clone();
        let address = got.as_str().unwrap().to_owned();
        address.rsplit_once('/').unwrap().1.to_owned()
    };
    let first = name().await;
    // Another content with the same file: the file keeps its address, and the first content goes.
    org.put_declaration(&asset("AfterFirstUnlock"))
        .await
        .unwrap();
    for _ in 0..2 {
        gear.items(&house, &phone).await;
        put(&org, "more", TEST, json!({ "Echo": gear.token })).await;
        set(&org, "s", &["cred", "more"]).await;
    }
    gear.items(&house, &phone).await;
    forty_days(&house).await;
    let contents = house
        .spoil("UPDATE declaration_contents SET version = version WHERE file IS NOT NULL")
        .await;
    assert_eq!(contents, 1, "the first content is gone");
    assert_eq!(name().await, first);
    let org = house.org().await;
    let got = org.declaration_file(&phone.peer, &first).await;
    assert!(matches!(got, Ok(Answer::File { .. })), "{got:?}");
    // Nobody has it any more: nor have we.
    let sealed = "UPDATE secrets SET version = version WHERE doc LIKE '%declaration_file%'";
    assert_eq!(house.spoil(sealed).await, 1);
    org.remove_declaration("cred").await.unwrap();
    for n in 0..2 {
        put(&org, "more", TEST, json!({ "Echo": format!("{n}") })).await;
        gear.items(&house, &phone).await;
    }
    forty_days(&house).await;
    forty_days(&house).await;
    assert_eq!(house.spoil(sealed).await, 0, "a file that nobody has stays");
    let gone = house
        .org()
        .await
        .declaration_file(&phone.peer, &first)
        .await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
}

#[tokio::test]
async fn a_set_is_not_made_without_an_activation_that_cannot_be_read() {
    let house = House::new().await;
    let org = house.org().await;
    let mut new = NewDeclaration::new("note", TEST, declared::map(&json!({ "Echo": "1" })));
    new.activation = Some(Activation::when(None));
    org.put_declaration(&new).await.unwrap();
    let spoil = "UPDATE declarations SET doc = '{' WHERE identifier = 'note.activation'";
    assert_eq!(house.spoil(spoil).await, 1);
    let put = org.put_declaration_set("s", &["note".to_owned()]).await;
    assert!(matches!(put, Err(Error::Store(_))), "{put:?}");
    let none = org.put_declaration_set("s", &["nobody".to_owned()]).await;
    assert!(matches!(none, Err(Error::BadInput { .. })), "{none:?}");
}

/// As many channels as a walk goes through in two turns, all before that of the device.
const CROWD: u32 = 600;

#[tokio::test]
async fn whoever_edits_all_the_time_keeps_nobody_waiting() {
    let house = House::new().await;
    let org = house.org().await;
    declare(&org, "0").await;
    let (phone, _) = told(&house, "C02KEPT14").await;
    let crowd = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CROWD}) \
         INSERT INTO enrollments (organisation, id, version, live_key, doc) \
         SELECT organisation, id - n.i, 1, 'crowd ' || n.i, json_set(json_remove(doc, '$.device'), '$.id', id - n.i, '$.key', 'crowd ' || n.i) \
         FROM enrollments, n"
    );
    assert_eq!(house.spoil(&crowd).await, u64::from(CROWD));
    let mut heard = 0;
    for edit in 1..=12 {
        put(&org, "a", TEST, json!({ "Echo": edit.to_string() })).await;
        // Somebody is quicker than the walk.
        house.mdm.work(1).await.unwrap();
        house.clock.advance(Duration::from_secs(1));
        heard += notices(&house, &phone).await;
    }
    assert!(heard > 0, "the last page was never reached");
}
