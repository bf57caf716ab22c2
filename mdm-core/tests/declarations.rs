//! Declarations from end to end: what people change reaches exactly the channels that it is for, a channel is served from the
//! list that it was given, reports are kept, files go to those who have them, and no order of requests loses anything.

mod declared;
mod service_house;

use std::collections::BTreeMap;
use std::time::Duration;

use declared::{Gear, QUIET, map, notices, put, quiet, set};
use mdm_core::ddm::{Channels, DeclarationKind, Target};
use mdm_core::enrollment::OfAccount;
use mdm_core::error::Error;
use mdm_core::ids::PersonSessionId;
use mdm_core::person::AccountMode;
use mdm_core::secret::Secret;
use mdm_core::service::{Activation, Answer, NewDeclaration, NewFile};
use serde_json::{Value, json};
use service_house::{Gadget, House, command};

const TEST: &str = "com.apple.configuration.management.test";

fn tags(of: &[&str]) -> std::collections::BTreeSet<String> {
    mdm_core::library::tags(of).unwrap()
}

#[tokio::test]
async fn an_edit_reaches_exactly_those_that_have_it() {
    let house = House::new().await;
    let org = house.org().await;
    let (lab, office) = (
        quiet(&house, "C02DECLA01").await,
        quiet(&house, "C02DECLA02").await,
    );
    org.tag_devices(
        std::slice::from_ref(&lab.serial),
        &tags(&["lab"]),
        &tags(&[]),
    )
    .await
    .unwrap();
    put(&org, "all.note", TEST, json!({ "Echo": "1" })).await;
    put(&org, "lab.note", TEST, json!({ "Echo": "1" })).await;
    set(&org, "everybody", &["all.note"]).await;
    set(&org, "lab", &["lab.note"]).await;
    house.settle().await;
    // In nobody's set: nobody hears of it.
    assert_eq!(notices(&house, &lab).await, 0);
    let own = Channels::Device;
    assert!(
        org.assign_declarations("everybody", &Target::Organisation, own)
            .await
            .unwrap()
    );
    assert!(
        !org.assign_declarations("everybody", &Target::Organisation, own)
            .await
            .unwrap()
    );
    let tag = Target::Tag("LAB".to_owned());
    org.assign_declarations("lab", &tag, own).await.unwrap();
    house.settle().await;
    // Two changes, one notice.
    assert_eq!(notices(&house, &lab).await, 1);
    assert_eq!(notices(&house, &office).await, 1);
    let (mut a, mut b) = (Gear::default(), Gear::default());
    a.sync(&house, &lab).await;
    b.sync(&house, &office).await;
    assert_eq!(a.names(), ["all.note", "lab.note"]);
    assert_eq!(b.names(), ["all.note"]);
    // The same content again is no change.
    put(&org, "lab.note", TEST, json!({ "Echo": "1" })).await;
    house.settle().await;
    assert_eq!(notices(&house, &lab).await, 0);
    put(&org, "lab.note", TEST, json!({ "Echo": "2" })).await;
    house.settle().await;
    assert_eq!(notices(&house, &lab).await, 1);
    assert_eq!(notices(&house, &office).await, 0);
    let before = b.token.clone();
    a.sync(&house, &lab).await;
    b.sync(&house, &office).await;
    assert_eq!(a.has["lab.note"].payload, json!({ "Echo": "2" }));
    assert_eq!(
        b.token, before,
        "a token of somebody who does not have it changed"
    );
    // A tag that goes takes along what came with it.
    org.tag_devices(
        std::slice::from_ref(&lab.serial),
        &tags(&[]),
        &tags(&["lab"]),
    )
    .await
    .unwrap();
    house.settle().await;
    assert_eq!(notices(&house, &lab).await, 1);
    a.sync(&house, &lab).await;
    assert_eq!(a.names(), ["all.note"]);
    org.remove_declaration("all.note").await.unwrap();
    house.settle().await;
    assert_eq!(notices(&house, &office).await, 1);
    b.sync(&house, &office).await;
    assert_eq!(b.names(), [] as [&str; 0]);
    let missing = org.remove_declaration("all.note").await.unwrap_err();
    assert!(matches!(missing, Error::NotFound(_)), "{missing}");
}

#[tokio::test]
async fn notices_that_wait_are_not_doubled() {
    let house = House::new().await;
    let org = house.org().await;
    let phone = quiet(&house, "C02DECLA03").await;
    put(&org, "a", TEST, json!({ "Echo": "0" })).await;
    set(&org, "s", &["a"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    for nth in 1..5 {
        put(&org, "a", TEST, json!({ "Echo": nth.to_string() })).await;
        house.settle().await;
    }
    assert_eq!(notices(&house, &phone).await, 1);
    // One that the device has in its hands may have been looked after already: then another comes.
    put(&org, "a", TEST, json!({ "Echo": "5" })).await;
    house.settle().await;
    let in_hand = house.report(&phone, QUIET).await.unwrap();
    assert_eq!(command(&in_hand).unwrap().1, "DeclarativeManagement");
    put(&org, "a", TEST, json!({ "Echo": "6" })).await;
    house.settle().await;
    assert_eq!(notices(&house, &phone).await, 2);
}

#[tokio::test]
async fn a_list_is_served_as_it_was_given_whatever_has_changed_since() {
    let house = House::new().await;
    let org = house.org().await;
    let phone = quiet(&house, "C02DECLA04").await;
    put(&org, "stays", TEST, json!({ "Echo": "old" })).await;
    put(&org, "goes", TEST, json!({ "Echo": "old" })).await;
    set(&org, "s", &["stays", "goes"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    let mut gear = Gear::default();
    let list = gear.items(&house, &phone).await;
    put(&org, "stays", TEST, json!({ "Echo": "new" })).await;
    org.remove_declaration("goes").await.unwrap();
    house.settle().await;
    for (kind, identifier, token) in &list {
        let got = declared::fetch(&house, &phone, kind, identifier).await;
        let got = got.expect("a declaration of the list that was given");
        assert_eq!(&got.token, token, "{identifier}");
        assert_eq!(got.payload, json!({ "Echo": "old" }));
    }
    // Looking whether there is news changes nothing of that; a new list does, and the one before is served still.
    gear.tokens(&house, &phone).await;
    let got = declared::fetch(&house, &phone, "configuration", "stays").await;
    assert_eq!(got.unwrap().payload, json!({ "Echo": "old" }));
    gear.items(&house, &phone).await;
    let got = declared::fetch(&house, &phone, "configuration", "stays").await;
    assert_eq!(got.unwrap().payload, json!({ "Echo": "new" }));
    let got = declared::fetch(&house, &phone, "configuration", "goes").await;
    assert_eq!(got.unwrap().payload, json!({ "Echo": "old" }));
    // What was never there is not there, and neither is another kind of what is.
    for (kind, identifier) in [("configuration", "never"), ("asset", "stays")] {
        assert_eq!(
            declared::fetch(&house, &phone, kind, identifier).await,
            None
        );
    }
    for endpoint in ["declaration/thing/stays", "", "token", "declaration/asset/"] {
        let refused = declared::ask(&house, &phone, endpoint, None)
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::BadInput { .. }), "{refused}");
    }
}

#[tokio::test]
async fn what_is_missing_by_our_fault_is_no_answer_of_not_found() {
    let house = House::new().await;
    let org = house.org().await;
    let phone = quiet(&house, "C02DECLA05").await;
    put(&org, "a", TEST, json!({ "Echo": "1" })).await;
    set(&org, "s", &["a"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    Gear::default().items(&house, &phone).await;
    for table in ["declaration_contents", "declaration_manifests"] {
        assert!(house.spoil(&format!("DELETE FROM {table}")).await > 0);
        let endpoint = "declaration/configuration/a";
        let error = declared::ask(&house, &phone, endpoint, None)
            .await
            .unwrap_err();
        assert!(!error.is_callers_fault(), "{table}: {error}");
    }
}

#[tokio::test]
async fn a_user_has_what_is_for_the_user() {
    let house = House::new().await;
    let org = house.org().await;
    let mac = house.mac("C02DECLA06").await;
    house.enrol(&mac).await;
    put(&org, "of.device", TEST, json!({ "Echo": "d" })).await;
    put(&org, "of.anna", TEST, json!({ "Echo": "a" })).await;
    put(&org, "of.users", TEST, json!({ "Echo": "u" })).await;
    for (name, target, channels) in [
        ("of.device", Target::Organisation, Channels::Device),
        ("of.anna", Target::User("Anna".to_owned()), Channels::Users),
        ("of.users", Target::Organisation, Channels::Users),
    ] {
        set(&org, name, &[name]).await;
        org.assign_declarations(name, &target, channels)
            .await
            .unwrap();
    }
    house.settle().await;
    notices(&house, &mac).await;
    let anna =
        "<key>UserID</key><string>GUID-1</string><key>UserShortName</key><string>anna</string>";
    // Before its first TokenUpdate there is no such channel, which is no reason to remove anything.
    let refused = declared::ask_as(
        &house,
        &mac,
        anna,
        "declaration/configuration/of.anna",
        None,
    )
    .await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    house.token_update(&mac, anna).await.unwrap();
    house.settle().await;
    let mut gear = Gear::of(anna);
    // Its enrolment alone had it told.
    assert_eq!(declared::notices_as(&house, &mac, anna).await, 1);
    gear.sync(&house, &mac).await;
    assert_eq!(gear.names(), ["of.anna", "of.users"]);
    let mut own = Gear::default();
    own.sync(&house, &mac).await;
    assert_eq!(own.names(), ["of.device"]);
    let shown = org.declarations_of_device(&mac.serial).await.unwrap();
    assert_eq!(shown.len(), 2);
    assert!(shown.iter().all(|channel| channel.agrees), "{shown:?}");
    assert_eq!(shown[1].user.as_deref(), Some("anna"));
}

#[tokio::test]
async fn a_new_enrolment_begins_with_nothing_and_hears_of_everything() {
    let house = House::new().await;
    let org = house.org().await;
    put(&org, "a", TEST, json!({ "Echo": "1" })).await;
    set(&org, "s", &["a"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    house.settle().await;
    for nth in 0..2 {
        let phone = house.device("C02DECLA07").await;
        house.enrol(&phone).await;
        house.settle().await;
        assert_eq!(notices(&house, &phone).await, 1);
        let mut gear = Gear::default();
        gear.sync(&house, &phone).await;
        assert_eq!(gear.names(), ["a"]);
        let shown = org.declarations_of_device(&phone.serial).await.unwrap();
        assert!(shown[0].agrees);
        house.clock.advance(Duration::from_secs(60));
        if nth == 0 {
            continue;
        }
        let gone = "<key>MessageType</key><string>CheckOut</string>";
        house.check_in(&phone, gone).await.unwrap();
        let shown = org.declarations_of_device(&phone.serial).await.unwrap();
        assert_eq!(shown, []);
    }
}

#[tokio::test]
async fn reports_are_kept_with_their_errors_and_end_a_hold_that_the_device_says_is_over() {
    let house = House::new().await;
    let org = house.org().await;
    let phone = quiet(&house, "C02DECLA08").await;
    let status = async |report: Value| declared::status(&house, &phone, &report).await;
    status(json!({ "StatusItems": { "device": { "operating-system": { "version": "27.0" } },
        "mdm": { "is-awaiting-configuration": true } },
        "Errors": [{ "StatusItem": "passcode.is-compliant", "Reasons": [{ "Code": "Error.Unknown" }] }] }))
    .await
    .unwrap();
    let report = org.device_report(&phone.serial).await.unwrap();
    assert_eq!(report.enrollments.last().unwrap().awaiting, Some(true));
    status(
        json!({ "StatusItems": { "mdm": { "is-awaiting-configuration": false } }, "Errors": [] }),
    )
    .await
    .unwrap();
    let report = org.device_report(&phone.serial).await.unwrap();
    assert_eq!(report.enrollments.last().unwrap().awaiting, Some(false));
    let told = house.record(&phone).await;
    assert!(
        told.iter()
            .any(|(what, detail)| what == "set-up" && detail["cause"] == "AwaitingTold"),
        "{told:?}"
    );
    let shown = org.declarations_of_device(&phone.serial).await.unwrap();
    assert_eq!(
        shown[0].status["device"]["operating-system"]["version"],
        "27.0"
    );
    assert_eq!(
        shown[0].errors["passcode.is-compliant"][0].code,
        "Error.Unknown"
    );
    for bad in [json!([]), json!({ "StatusItems": 1 })] {
        let refused = status(bad).await.unwrap_err();
        assert!(matches!(refused, Error::BadInput { .. }), "{refused}");
    }
    let none = declared::ask(&house, &phone, "status", None)
        .await
        .unwrap_err();
    assert!(matches!(none, Error::BadInput { .. }), "{none}");
}

#[tokio::test]
async fn a_file_goes_to_a_device_that_has_its_declaration_and_to_nobody_else() {
    let house = House::new().await;
    let org = house.org().await;
    let (phone, other) = (
        quiet(&house, "C02DECLA09").await,
        quiet(&house, "C02DECLA10").await,
    );
    let credential = r#"{"UserName":"anna","Password":"hunter2"}"#;
    let new = |content: &str| {
        let mut new = NewDeclaration::new(
            "cred",
            "com.apple.asset.credential.userpassword",
            serde_json::Map::new(),
        );
        let content = Secret::from_text(content.to_owned());
        new.file = Some(NewFile::new(content, "application/json"));
        new
    };
    org.put_declaration(&new(credential)).await.unwrap();
    set(&org, "s", &["cred"]).await;
    let serials = Target::Device(org.device_report(&phone.serial).await.unwrap().device.id);
    org.assign_declarations("s", &serials, Channels::Device)
        .await
        .unwrap();
    let mut gear = Gear::default();
    let list = gear.items(&house, &phone).await;
    let got = declared::fetch(&house, &phone, "asset", "cred")
        .await
        .unwrap();
    let reference = &got.payload["Reference"];
    assert_eq!(got.payload["Authentication"], json!({ "Type": "MDM" }));
    assert_eq!(reference["Size"], json!(credential.len()));
    let address = reference["DataURL"].as_str().unwrap();
    let name = address.rsplit_once('/').unwrap().1;
    assert!(
        address.starts_with("https://mdm.example.com/mdm/"),
        "{address}"
    );
    let file = async |gadget: &Gadget, name: &str| {
        let org = house.org().await;
        org.declaration_file(&gadget.peer, name).await
    };
    let expected = Answer::File {
        content_type: "application/json".to_owned(),
        body: credential.as_bytes().to_vec(),
    };
    assert_eq!(file(&phone, name).await.unwrap(), expected);
    // One that does not have it, one that nobody knows, names that are no file's.
    assert!(matches!(file(&other, name).await, Err(Error::NotFound(_))));
    let (_, stranger) = house.identity_elsewhere("stranger");
    assert!(file(&phone.speaking(stranger), name).await.is_err());
    let (id, _) = name.split_once('-').unwrap();
    for guess in [
        id.to_owned(),
        format!("{id}-00"),
        format!("1-{id}"),
        String::new(),
    ] {
        assert!(
            matches!(file(&phone, &guess).await, Err(Error::NotFound(_))),
            "{guess}"
        );
    }
    // The same file again is the same declaration; another is another.
    org.put_declaration(&new(credential)).await.unwrap();
    assert_eq!(gear.items(&house, &phone).await, list);
    org.put_declaration(&new("{}")).await.unwrap();
    assert_ne!(gear.items(&house, &phone).await, list);
    // Who is told of the new one may still be fetching the old one.
    assert_eq!(file(&phone, name).await.unwrap(), expected);
    for (name, bytes) in house.files() {
        let found = bytes.windows(7).any(|w| w == b"hunter2");
        assert!(!found, "a credential is in {name}");
    }
}

#[tokio::test]
async fn a_configuration_brings_its_activation_with_its_predicate() {
    let house = House::new().await;
    let org = house.org().await;
    let phone = quiet(&house, "C02DECLA11").await;
    let predicate = "(@status(device.model.family) == 'iPad')";
    let managed = json!({ "AppStoreID": "361309726", "InstallBehavior": { "Install": "Required", "License": { "Assignment": "Device" } } });
    let mut new = NewDeclaration::new(
        "app.pages",
        "com.apple.configuration.app.managed",
        map(&managed),
    );
    put(
        &org,
        "enforce",
        "com.apple.configuration.softwareupdate.enforcement.specific",
        json!({ "TargetOSVersion": "27.1", "TargetLocalDateTime": "2027-01-10T12:00:00" }),
    )
    .await;
    org.put_declaration(&new).await.unwrap();
    set(&org, "s", &["app.pages"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    assert_eq!(gear.names(), ["app.pages"]);
    // Put beside it later: into every set that has it.
    new.activation = Some(Activation::when(Some(predicate.to_owned())));
    org.put_declaration(&new).await.unwrap();
    gear.sync(&house, &phone).await;
    assert_eq!(gear.names(), ["app.pages", "app.pages.activation"]);
    let activation = &gear.has["app.pages.activation"];
    assert_eq!(activation.kind, DeclarationKind::Activation.as_str());
    assert_eq!(
        activation.payload,
        json!({ "StandardConfigurations": ["app.pages"], "Predicate": predicate })
    );
    assert_eq!(gear.has["app.pages"].payload, managed);
    org.remove_declaration("app.pages").await.unwrap();
    gear.sync(&house, &phone).await;
    assert_eq!(gear.names(), [] as [&str; 0]);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let house = House::new().await;
    let org = house.org().await;
    put(&org, "a", TEST, json!({ "Echo": "1" })).await;
    let bad = async |identifier: &str, of: &str| {
        let new = NewDeclaration::new(identifier, of, map(&json!({ "Echo": "1" })));
        let error = org.put_declaration(&new).await.unwrap_err();
        assert!(matches!(error, Error::BadInput { .. }), "{error}");
    };
    bad("a b", TEST).await;
    bad("b", "com.example.configuration.x").await;
    bad("a", "com.apple.management.properties").await;
    let unknown = org.put_declaration_set("s", &["nothing".to_owned()]).await;
    assert!(
        matches!(unknown, Err(Error::BadInput { .. })),
        "{unknown:?}"
    );
    let none = org
        .assign_declarations("s", &Target::Organisation, Channels::Device)
        .await;
    assert!(matches!(none, Err(Error::NotFound(_))), "{none:?}");
    let mut file = NewDeclaration::new("b", TEST, map(&json!({ "Echo": "1" })));
    file.file = Some(NewFile::new(
        Secret::from_text("x".to_owned()),
        "text/plain",
    ));
    assert!(org.put_declaration(&file).await.is_err());
    let sets: BTreeMap<String, usize> = org
        .declaration_sets()
        .await
        .unwrap()
        .into_iter()
        .map(|s| (s.name, s.members.len()))
        .collect();
    assert_eq!(sets, BTreeMap::new());
}

#[tokio::test]
async fn a_device_that_nobody_knows_by_its_serial_number_gets_its_files_too() {
    let house = House::new().await;
    let org = house.org().await;
    let mut new = NewDeclaration::new(
        "cred",
        "com.apple.asset.credential.userpassword",
        serde_json::Map::new(),
    );
    let content = Secret::from_text(r#"{"UserName":"anna","Password":"hunter2"}"#.to_owned());
    new.file = Some(NewFile::new(content, "application/json"));
    org.put_declaration(&new).await.unwrap();
    set(&org, "s", &["cred"]).await;
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    // As one that its user brought: the session was given to no device.
    let phone = house.device("C02DECLA20").await;
    let store = house.mdm.store();
    let row = house.identity_of(&phone).await;
    let mut session = store
        .session(house.org, row.session)
        .await
        .unwrap()
        .unwrap();
    (session.device, session.serial) = (None, None);
    let mut batch = mdm_core::store::Batch::new();
    batch.put(session);
    store.commit(batch).await.unwrap();
    house.enrol(&phone).await;
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    let address = gear.has["cred"].payload["Reference"]["DataURL"]
        .as_str()
        .unwrap()
        .to_owned();
    let name = address.rsplit_once('/').unwrap().1;
    let got = org.declaration_file(&phone.peer, name).await;
    assert!(matches!(got, Ok(Answer::File { .. })), "{got:?}");
    // Not while whoever brought it must sign in again.
    let brought = async |account: Option<OfAccount>| {
        let known = store.enrollments_by_key(house.org, &phone.udid).await;
        let mut enrollment = known.unwrap().pop().unwrap();
        enrollment.account = account;
        let mut batch = mdm_core::store::Batch::new();
        batch.put(enrollment);
        store.commit(batch).await.unwrap();
    };
    brought(Some(OfAccount {
        session: PersonSessionId(999),
        mode: AccountMode::Byod,
        subject: "7".to_owned(),
        issuer: "https://id.example.com".to_owned(),
    }))
    .await;
    let got = org.declaration_file(&phone.peer, name).await;
    assert!(
        matches!(got, Err(Error::Refused(why)) if why.contains("sign in again")),
        "it was served"
    );
    brought(None).await;
    // Not after it has left.
    let out = "<key>MessageType</key><string>CheckOut</string>";
    house.check_in(&phone, out).await.unwrap();
    assert!(org.declaration_file(&phone.peer, name).await.is_err());
}
