//! Profiles and packages reach the devices that have their tags, are replaced, and go again; what devices say of themselves
//! does not grow old.

mod service_house;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mdm_core::clock::Clock as _;
use mdm_core::library::{Package, Whom};
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::Answer;
use mdm_core::service::ports::PushOutcome;
use mdm_core::wire::command::CommandBody;
use mdm_core::wire::requests::ManagedApplicationList;
use service_house::{Gadget, House, command, revealed};

const IDLE: &str = "<key>Status</key><string>Idle</string>";

fn tags(of: &[&str]) -> BTreeSet<String> {
    mdm_core::library::tags(of).unwrap()
}

fn profile(password: &str) -> Secret {
    Secret::from_text(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
         <key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>\
         <key>PayloadIdentifier</key><string>com.example.wifi</string><key>PayloadUUID</key><string>U</string>\
         <key>PayloadContent</key><array><dict><key>PayloadType</key><string>com.apple.wifi.managed</string>\
         <key>Password</key><string>{password}</string></dict></array></dict></plist>"
    ))
}

/// Answers whatever comes until nothing more does; the kinds and bodies of what came.
async fn drain(house: &House, gadget: &Gadget) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    let mut answer = house.report(gadget, IDLE).await.unwrap();
    while let Some((uuid, kind)) = command(&answer) {
        let Answer::Plist(body) = &answer else { break };
        seen.push((kind, String::from_utf8(body.clone()).unwrap()));
        assert!(seen.len() < 50, "{seen:?}");
        let done = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>"
        );
        answer = house.report(gadget, &done).await.unwrap();
    }
    seen
}

/// Kinds of what the library sent.
fn kinds(seen: &[(String, String)]) -> Vec<&str> {
    seen.iter().map(|(kind, _)| kind.as_str()).collect()
}

#[tokio::test]
async fn a_profile_reaches_those_who_have_its_tag_and_goes_with_it() {
    let house = House::new().await;
    let org = house.org().await;
    let (phone, other) = (
        house.device("C02LIBRA01").await,
        house.device("C02LIBRA02").await,
    );
    for gadget in [&phone, &other] {
        house.enrol(gadget).await;
        drain(&house, gadget).await;
    }
    let item = org
        .put_profile("Wi-Fi", &profile("hunter2"), tags(&["lab"]))
        .await
        .unwrap();
    assert_eq!((item.item.revision, item.unchanged), (1, false));
    house.settle().await;
    assert_eq!(kinds(&drain(&house, &phone).await), [] as [&str; 0]);
    let both = [phone.serial.clone(), "UNKNOWN1".parse_serial()];
    let unknown = org.tag_devices(&both, &tags(&["LAB"]), &tags(&[])).await;
    assert_eq!(unknown.unwrap(), [both[1].clone()]);
    house.settle().await;
    let seen = drain(&house, &phone).await;
    assert_eq!(kinds(&seen), ["InstallProfile"]);
    // Signed, and as it was given.
    assert!(seen[0].1.contains("<data>") && !seen[0].1.contains("hunter2"));
    assert_eq!(kinds(&drain(&house, &other).await), [] as [&str; 0]);
    // Nothing comes twice.
    org.tag_library_item("Wi-Fi", tags(&["lab", "office"]))
        .await
        .unwrap();
    house.settle().await;
    assert_eq!(kinds(&drain(&house, &phone).await), [] as [&str; 0]);
    // Nor does the very same profile, which is no new revision; other tags are taken all the same.
    for (given, unchanged) in [(tags(&["lab", "office"]), true), (tags(&["lab"]), false)] {
        let again = org.put_profile(" Wi-Fi ", &profile("hunter2"), given).await;
        let again = again.unwrap();
        assert_eq!((again.item.revision, again.unchanged), (1, unchanged));
    }
    house.settle().await;
    assert_eq!(kinds(&drain(&house, &phone).await), [] as [&str; 0]);
    // A new revision does; where nobody says for whom, it is for whom it was.
    let newer = org
        .put_profile("Wi-Fi", &profile("hunter3"), Whom::default())
        .await;
    assert_eq!(newer.unwrap().item.revision, 2);
    house.settle().await;
    assert_eq!(kinds(&drain(&house, &phone).await), ["InstallProfile"]);
    // Without the tag it goes, and with it comes again.
    org.tag_devices(&both[..1], &tags(&[]), &tags(&["lab"]))
        .await
        .unwrap();
    house.settle().await;
    let seen = drain(&house, &phone).await;
    assert_eq!(kinds(&seen), ["RemoveProfile"]);
    assert!(seen[0].1.contains("com.example.wifi"));
    org.tag_devices(&both[..1], &tags(&["lab"]), &tags(&[]))
        .await
        .unwrap();
    house.settle().await;
    assert_eq!(kinds(&drain(&house, &phone).await), ["InstallProfile"]);
    org.remove_library_item(" Wi-Fi").await.unwrap();
    house.settle().await;
    assert_eq!(kinds(&drain(&house, &phone).await), ["RemoveProfile"]);
    for (name, bytes) in house.files() {
        let found = bytes.windows(7).any(|w| w == b"hunter2" || w == b"hunter3");
        assert!(!found, "a password of a profile is in {name}");
    }
}

#[tokio::test]
async fn a_tag_that_is_set_as_it_was_seen_leaves_alone_who_has_got_it_since() {
    let house = House::new().await;
    let org = house.org().await;
    let mut serials = Vec::new();
    for n in 1..=4 {
        let gadget = house.device(&format!("C02TAGSE0{n}")).await;
        serials.push(gadget.serial.clone());
    }
    let of =
        |wanted: &[usize]| -> BTreeSet<_> { wanted.iter().map(|n| serials[*n].clone()).collect() };
    let set = org.set_tag("lab", &of(&[0, 1])).await.unwrap();
    assert_eq!((set.added, set.taken), (2, 0));
    let seen = org.devices_of_tag(" LAB").await.unwrap();
    assert_eq!(seen, of(&[0, 1]));
    let version = house.org().await.organisation().version;
    let since = org
        .tag_devices(&serials[3..], &tags(&["lab"]), &tags(&[]))
        .await;
    assert!(since.unwrap().is_empty());
    assert_eq!(house.org().await.organisation().version, version);
    let set = org
        .set_tag_as_seen("lab", &of(&[1, 2]), &seen)
        .await
        .unwrap();
    assert_eq!((set.added, set.taken), (1, 1));
    // The fourth was seen by nobody who says that it has no tag.
    let now = org.devices_of_tag("lab").await.unwrap();
    assert_eq!(now, of(&[1, 2, 3]));
    // Written once with the organisation's row, by which of two who have seen the same one is first.
    assert_eq!(house.org().await.organisation().version, version + 1);
    // Whoever has not seen anything takes it from everybody else.
    let set = org.set_tag("lab", &of(&[0])).await.unwrap();
    assert_eq!((set.added, set.taken), (1, 3));
    assert!(org.devices_of_tag("no tag").await.is_err());
}

#[tokio::test]
async fn a_device_that_enrols_anew_gets_everything_again() {
    let house = House::new().await;
    let org = house.org().await;
    let phone = house.device("C02LIBRA03").await;
    org.put_profile("Wi-Fi", &profile("x"), tags(&["lab"]))
        .await
        .unwrap();
    let serials = [phone.serial.clone()];
    org.tag_devices(&serials, &tags(&["lab"]), &tags(&[]))
        .await
        .unwrap();
    house.settle().await;
    for _ in 0..2 {
        let phone = house.device("C02LIBRA03").await;
        house.enrol(&phone).await;
        house.settle().await;
        let seen = drain(&house, &phone).await;
        let profiles = kinds(&seen)
            .iter()
            .filter(|k| **k == "InstallProfile")
            .count();
        assert_eq!(profiles, 1, "{seen:?}");
    }
}

#[tokio::test]
async fn a_package_goes_to_macs_with_its_manifest() {
    let house = House::new().await;
    let org = house.org().await;
    let (mac, phone) = (
        house.mac("C02LIBRA04").await,
        house.device("C02LIBRA05").await,
    );
    for gadget in [&mac, &phone] {
        house.enrol(gadget).await;
        drain(&house, gadget).await;
    }
    let package = Package {
        bundle_identifier: "com.example.tool".to_owned(),
        title: "Tool".to_owned(),
        bundle_version: Some("1.2".to_owned()),
        url: "https://files.example.com/tool.pkg".to_owned(),
        size: 25,
        part_size: 10,
        sha256s: vec!["ab".repeat(32); 3],
        managed: true,
        file: None,
    };
    org.put_package("Tool", package, tags(&["all"]))
        .await
        .unwrap();
    let serials = [mac.serial.clone(), phone.serial.clone()];
    org.tag_devices(&serials, &tags(&["all"]), &tags(&[]))
        .await
        .unwrap();
    house.settle().await;
    let seen = drain(&house, &mac).await;
    assert_eq!(kinds(&seen), ["InstallEnterpriseApplication"]);
    for part in [
        "https://files.example.com/tool.pkg",
        "software-package",
        "com.example.tool",
        "InstallAsManaged",
    ] {
        assert!(seen[0].1.contains(part), "{part}: {}", seen[0].1);
    }
    assert_eq!(kinds(&drain(&house, &phone).await), [] as [&str; 0]);
    org.remove_library_item("Tool").await.unwrap();
    house.settle().await;
    assert_eq!(kinds(&drain(&house, &mac).await), ["RemoveApplication"]);
    // A name belongs to one kind of item.
    let error = org
        .put_profile("Tool", &profile("x"), tags(&[]))
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("name"), "{error}");
}

#[tokio::test]
async fn a_device_is_asked_anew_what_it_is_when_it_has_nothing_else_to_do() {
    let house = House::new().await;
    let phone = house.device("C02FACTS01").await;
    house.enrol(&phone).await;
    drain(&house, &phone).await;
    house.clock.advance(Duration::from_hours(23));
    assert_eq!(kinds(&drain(&house, &phone).await), [] as [&str; 0]);
    house.clock.advance(Duration::from_hours(2));
    let asked = house.report(&phone, IDLE).await.unwrap();
    let (uuid, kind) = command(&asked).unwrap();
    assert_eq!(kind, "DeviceInformation");
    let told = format!(
        "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>\
         <key>QueryResponses</key><dict><key>SerialNumber</key><string>{}</string>\
         <key>OSVersion</key><string>27.1</string><key>DeviceName</key><string>Anna</string></dict>",
        phone.serial
    );
    // And which managed apps it has.
    let asked = house.report(&phone, &told).await.unwrap();
    let (uuid, kind) = command(&asked).unwrap();
    assert_eq!(kind, "ManagedApplicationList");
    let asked = tell_apps(&house, &phone, &uuid, "com.example.notes").await;
    assert_eq!(apps_of(&house, &phone).await, ["com.example.notes"]);
    let report = house
        .org()
        .await
        .device_report(&phone.serial)
        .await
        .unwrap();
    let facts = report.device.facts;
    assert_eq!(facts.os_version.as_deref(), Some("27.1"));
    assert_eq!(facts.name.as_deref(), Some("Anna"));
    assert_eq!(facts.learned, Some(house.clock.now()));
    // And, while it still gives it, for the code that lifts a lock of its user: once, and it goes into the vault.
    let (uuid, kind) = command(&asked).unwrap();
    assert_eq!(kind, "ActivationLockBypassCode");
    let told = format!(
        "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>\
         <key>ActivationLockBypassCode</key><string>9C8YH-4PQ2R</string>"
    );
    house.report(&phone, &told).await.unwrap();
    let org = house.org().await;
    let kind = SecretKind::DeviceBypassCode;
    let code = org.reveal(&phone.serial, kind, "to see it", None).await;
    assert_eq!(revealed(code.unwrap()), Secret::from_text("9C8YH-4PQ2R"));
    // Not again the same day.
    assert_eq!(kinds(&drain(&house, &phone).await), [] as [&str; 0]);
    house.clock.advance(Duration::from_hours(25));
    let again = ["DeviceInformation", "ManagedApplicationList"];
    assert_eq!(kinds(&drain(&house, &phone).await), again);
    // One that is asked for the first time when it gives none any more is not asked for it.
    let late = house.device("C02FACTS02").await;
    house.enrol(&late).await;
    drain(&house, &late).await;
    house.clock.advance(Duration::from_hours(16 * 24));
    assert_eq!(kinds(&drain(&house, &late).await), again);
    // And never when nobody wants it.
    house
        .org()
        .await
        .set_enrolment(None, None, Some(0))
        .await
        .unwrap();
    house.clock.advance(Duration::from_hours(100));
    assert_eq!(kinds(&drain(&house, &phone).await), [] as [&str; 0]);
    // But for the code, which it gives for some days only, and which opens a lock that nobody else can.
    let third = house.device("C02FACTS03").await;
    house.enrol(&third).await;
    drain(&house, &third).await;
    house.clock.advance(Duration::from_hours(25));
    let code = ["ActivationLockBypassCode"];
    assert_eq!(kinds(&drain(&house, &third).await), code);
    house.clock.advance(Duration::from_hours(25));
    assert_eq!(kinds(&drain(&house, &third).await), [] as [&str; 0]);

    // A person may ask; an answer about some apps says nothing of the others.
    let org = house.org().await;
    let some = ["com.example.mail".to_owned()];
    for (uuid, identifiers, known) in [
        ("of-some", &some[..], "com.example.notes"),
        ("of-all", &[], "com.example.mail"),
    ] {
        let body = CommandBody::ManagedApplicationList(ManagedApplicationList::of(identifiers));
        let udid = [phone.udid.clone()];
        org.enqueue_many(&udid, uuid, &body, false).await.unwrap();
        let asked = house.report(&phone, IDLE).await.unwrap();
        assert_eq!(command(&asked).unwrap().0, uuid);
        let next = tell_apps(&house, &phone, uuid, "com.example.mail").await;
        assert_eq!(next, Answer::Empty);
        assert_eq!(apps_of(&house, &phone).await, [known], "{uuid}");
    }
}

async fn tell_apps(house: &House, gadget: &Gadget, uuid: &str, app: &str) -> Answer {
    let told = format!(
        "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>\
         <key>ManagedApplicationList</key><dict><key>{app}</key><dict><key>Status</key><string>Managed</string></dict></dict>"
    );
    house.report(gadget, &told).await.unwrap()
}

/// The apps that a device has told of itself.
async fn apps_of(house: &House, gadget: &Gadget) -> Vec<String> {
    let org = house.org().await;
    let id = org.device_report(&gadget.serial).await.unwrap().device.id;
    let row = house.mdm.store().original(house.org, id).await.unwrap();
    let told = row.and_then(|row| row.reported_apps).unwrap();
    told.value.into_iter().map(|app| app.bundle_id).collect()
}

#[tokio::test]
async fn a_device_that_is_silent_for_long_is_woken_unless_nobody_wants_to_know() {
    let mut pushes = Vec::new();
    for hours in [24, 0] {
        let house = House::new().await;
        let phone = house.device("C02FACTS02").await;
        house.enrol(&phone).await;
        drain(&house, &phone).await;
        let org = house.org().await;
        org.set_enrolment(None, None, Some(hours)).await.unwrap();
        *house.apple.pushes.lock().unwrap() = Some(PushOutcome::Delivered);
        house.settle().await;
        // Its set-up wakes it for reasons of its own.
        let asleep = "UPDATE set_ups SET wake_at = NULL, ceiling_at = NULL";
        assert_eq!(house.spoil(asleep).await, 1);
        house.clock.advance(Duration::from_hours(24 * 10));
        house.settle().await;
        let before = house.apple.pushed.load(Ordering::SeqCst);
        house.clock.advance(Duration::from_hours(31));
        house.settle().await;
        pushes.push(house.apple.pushed.load(Ordering::SeqCst) - before);
        // Nobody has asked it for its own code yet; when it gives none any more, it is left alone.
        house.clock.advance(Duration::from_hours(24 * 10));
        house.settle().await;
        let before = house.apple.pushed.load(Ordering::SeqCst);
        house.clock.advance(Duration::from_hours(31));
        house.settle().await;
        pushes.push(house.apple.pushed.load(Ordering::SeqCst) - before);
    }
    assert_eq!(pushes, [1, 1, 1, 0]);
}

#[tokio::test]
async fn what_a_device_refuses_or_a_person_takes_out_is_shown_and_given_again() {
    let house = House::new().await;
    let phone = house.device("C02REFUSES").await;
    house.enrol(&phone).await;
    drain(&house, &phone).await;
    let org = house.org().await;
    let tag = tags(&["wifi"]);
    let none = BTreeSet::new();
    org.tag_devices(std::slice::from_ref(&phone.serial), &tag, &none)
        .await
        .unwrap();
    org.put_profile("Wi-Fi", &profile("one"), tag.clone())
        .await
        .unwrap();
    house.settle().await;
    let failed = async || {
        let report = org.device_report(&phone.serial).await.unwrap();
        let given = report.device.given;
        assert_eq!(given.len(), 1, "{given:?}");
        given[0].failed.clone()
    };
    let answer = house.report(&phone, IDLE).await.unwrap();
    let (uuid, kind) = command(&answer).unwrap();
    assert_eq!((kind.as_str(), failed().await), ("InstallProfile", None));
    let refused = format!(
        "<key>Status</key><string>Error</string><key>CommandUUID</key><string>{uuid}</string>\
         <key>ErrorChain</key><array><dict><key>ErrorCode</key><integer>4001</integer>\
         <key>ErrorDomain</key><string>MCInstallationErrorDomain</string></dict></array>"
    );
    house.report(&phone, &refused).await.unwrap();
    assert_eq!(
        failed().await.as_deref(),
        Some("MCInstallationErrorDomain 4001")
    );
    house.settle().await;
    assert!(
        drain(&house, &phone).await.is_empty(),
        "by itself it does not come again"
    );
    // A person has tidied up and says so.
    org.tag_library_item("Wi-Fi", tag.clone()).await.unwrap();
    house.settle().await;
    assert_eq!(failed().await, None);
    let name = [phone.udid.clone()];
    org.cancel_commands(&name, &mdm_core::service::Cancel::All)
        .await
        .unwrap();
    let cancelled = "its command was cancelled";
    assert_eq!(failed().await.as_deref(), Some(cancelled));
    org.tag_library_item("Wi-Fi", tag).await.unwrap();
    house.settle().await;
    assert_eq!(drain(&house, &phone).await.len(), 1);
    assert_eq!(failed().await, None);
}

#[tokio::test]
async fn an_item_that_cannot_be_read_stays_where_it_is_and_stops_no_other() {
    let house = House::new().await;
    let phone = house.device("C02HALFREAD").await;
    house.enrol(&phone).await;
    drain(&house, &phone).await;
    let org = house.org().await;
    let (tag, none) = (tags(&["lab"]), BTreeSet::new());
    org.tag_devices(std::slice::from_ref(&phone.serial), &tag, &none)
        .await
        .unwrap();
    org.put_profile("Broken", &profile("one"), tag.clone())
        .await
        .unwrap();
    house.settle().await;
    assert_eq!(kinds(&drain(&house, &phone).await), ["InstallProfile"]);
    let sql = "UPDATE library SET doc = '{' WHERE name = 'Broken'";
    assert_eq!(house.spoil(sql).await, 1);
    org.put_profile("Whole", &profile("two"), tag)
        .await
        .unwrap();
    house.settle().await;
    let seen = drain(&house, &phone).await;
    assert_eq!(
        kinds(&seen),
        ["InstallProfile"],
        "and the other one is not taken"
    );
    let shown = org.library().await.unwrap();
    assert_eq!(shown.len(), 1);
    // Its name is not free, and nothing is put in its place.
    let again = org.put_profile("Broken", &profile("three"), none).await;
    let error = again.unwrap_err().to_string();
    assert!(error.contains("library"), "{error}");
}

trait ParseSerial {
    fn parse_serial(&self) -> mdm_core::ids::Serial;
}

impl ParseSerial for str {
    fn parse_serial(&self) -> mdm_core::ids::Serial {
        mdm_core::ids::Serial::parse(self).unwrap()
    }
}
