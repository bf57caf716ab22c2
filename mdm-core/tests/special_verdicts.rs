//! Enrolments that look like a migration and are none, or are one and do not look like it: a factory-new Mac with a stale deadline, an
//! iPad that was wiped in an open wave, a device that migrated last month and gets a new deadline, a device that was set up from a
//! backup. Each gets the right verdict with its reasons, and each is let go.

mod service_house;

use std::collections::BTreeMap;
use std::time::Duration;

use mdm_core::clock::Timestamp;
use mdm_core::device::{Device, MigrationStatus, OrgReading, Platform};
use mdm_core::error::Error;
use mdm_core::ids::{AuditId, RunbookId, ServerId, WaveId};
use mdm_core::migration::{
    AppAction, AppPlan, MoveState, PinnedRunbook, SetUp, SetUpEnd, SetUpState, StepId, Variant,
    VerdictKind,
};
use mdm_core::store::Batch;
use mdm_core::wave::{Wave, WaveState};
use service_house::{Gadget, House, START, command, set_up};

const IDLE: &str = "<key>Status</key><string>Idle</string>";
const DAY: Duration = Duration::from_hours(24);

async fn device_of(house: &House, gadget: &Gadget) -> Device {
    let report = house.org().await.device_report(&gadget.serial).await;
    report.unwrap().device
}

/// What Apple's list says of its deadline, and which it has completed.
async fn deadlines(house: &House, gadget: &Gadget, shown: Timestamp, completed: &[Timestamp]) {
    let report = house.org().await.device_report(&gadget.serial).await;
    let mut device = report.unwrap().device;
    device.record.as_mut().unwrap().deadline = Some(shown);
    device.completed_deadlines = completed.to_vec();
    let mut batch = Batch::new();
    batch.put(device);
    house.mdm.store().commit(batch).await.unwrap();
}

/// The device answers whatever it is asked until it is out of its hold; answers what it was asked.
async fn lives(house: &House, gadget: &Gadget) -> Vec<String> {
    let mut asked = Vec::new();
    let mut body = IDLE.to_owned();
    for _ in 0..200 {
        let answer = house.report(gadget, &body).await.unwrap();
        let Some((uuid, kind)) = command(&answer) else {
            if set_up(house, gadget).await.is_ended() {
                return asked;
            }
            house.clock.set(house.mdm.now() + Duration::from_mins(2));
            house.settle().await;
            body = IDLE.to_owned();
            continue;
        };
        let told = match kind.as_str() {
            "DeviceInformation" => format!(
                "<key>QueryResponses</key><dict><key>SerialNumber</key><string>{}</string>\
                 <key>AwaitingConfiguration</key><true/></dict>",
                gadget.serial
            ),
            "SecurityInfo" => {
                "<key>SecurityInfo</key><dict><key>FDE_Enabled</key><false/></dict>".to_owned()
            }
            "ProfileList" => "<key>ProfileList</key><array><dict><key>PayloadIdentifier</key>\
                 <string>mdmd.filevault-escrow</string></dict></array>"
                .to_owned(),
            _ => String::new(),
        };
        asked.push(kind);
        body = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>{told}"
        );
    }
    panic!("it was never let go: {asked:?}");
}

/// It was let go once, by the answer that it gave, and before the ceiling of its hold.
async fn let_go(house: &House, gadget: &Gadget) {
    let asked = lives(house, gadget).await;
    let releases = asked.iter().filter(|kind| *kind == "DeviceConfigured");
    assert_eq!(releases.count(), 1, "{asked:?}");
    // Then for its own code, before its user can lock it.
    let released = asked.iter().position(|kind| kind == "DeviceConfigured");
    let next = asked.get(released.unwrap() + 1).map(String::as_str);
    assert_eq!(next, Some("ActivationLockBypassCode"), "{asked:?}");
    let s = set_up(house, gadget).await;
    assert_eq!(
        s.state,
        SetUpState::Ended(SetUpEnd::Proved),
        "{:?}",
        s.exceptions
    );
    let held = s.released.unwrap().since(s.hold_began.unwrap());
    assert!(held <= Duration::from_mins(45), "{held:?}");
    assert!(!s.proofs.is_empty(), "where its steps stood is lost");
}

fn reasons(s: &SetUp) -> String {
    s.verdict.reasons.join("; ")
}

#[tokio::test]
async fn a_factory_new_mac_with_a_stale_deadline_is_uncertain_and_is_let_go() {
    let house = House::new().await;
    let mac = house.mac("C02FACTORY").await;
    deadlines(&house, &mac, START - DAY * 40, &[]).await;
    house.enrol(&mac).await;
    let s = set_up(&house, &mac).await;
    assert_eq!(s.verdict.kind, VerdictKind::Uncertain);
    assert!(reasons(&s).contains("proves nothing"), "{}", reasons(&s));
    assert_eq!(s.move_id, None);
    let_go(&house, &mac).await;
    // Wiped next year, with the same deadline still on it: that one is through, though no attempt of ours was.
    let wiped = house.mac("C02FACTORY").await;
    let mut device = device_of(&house, &wiped).await;
    device.record.as_mut().unwrap().deadline = Some(START - DAY * 40);
    let mut batch = Batch::new();
    batch.put(device);
    house.mdm.store().commit(batch).await.unwrap();
    house.enrol(&wiped).await;
    let s = set_up(&house, &wiped).await;
    assert_eq!(s.verdict.kind, VerdictKind::Ordinary, "{}", reasons(&s));
    assert!(
        reasons(&s).contains("is complete already"),
        "{}",
        reasons(&s)
    );
}

#[tokio::test]
async fn a_migration_that_nobody_planned_here_gets_the_runbook_that_people_have_chosen() {
    let house = House::new().await;
    let org = house.org().await;
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.apps = vec![AppPlan {
        bundle_id: "com.example.notes".to_owned(),
        store_id: None,
        manifest_url: Some("https://apps.example.com/notes.plist".to_owned()),
        action: AppAction::KeepIfPresent,
    }];
    let kept = org.edit_runbook(
        "phones",
        Platform::Ios,
        runbook,
        None,
        "for those who come by themselves",
    );
    let kept = kept.await.unwrap().edit(None).unwrap().pinned;
    let choose = async |platform, name: Option<&str>| {
        let chosen = BTreeMap::from([(platform, name.map(str::to_owned))]);
        house.org().await.set_unplanned_runbooks(&chosen).await
    };
    for (platform, name) in [(Platform::Ios, "nope"), (Platform::Macos, "phones")] {
        let refused = choose(platform, Some(name)).await.unwrap_err().to_string();
        assert!(refused.starts_with("unplanned_runbooks."), "{refused}");
    }
    choose(Platform::Ios, Some("phones")).await.unwrap();
    let of = async |serial: &str, deadline: Option<Timestamp>, begun: bool| {
        let phone = house.device(serial).await;
        let mut device = device_of(&house, &phone).await;
        device.record.as_mut().unwrap().deadline = deadline;
        if begun {
            let mut reading = OrgReading::default();
            (reading.status, reading.deadline) = (Some(MigrationStatus::Started), deadline);
            device.reading = Some(reading);
        }
        let mut batch = Batch::new();
        batch.put(device);
        house.mdm.store().commit(batch).await.unwrap();
        house.enrol(&phone).await;
        let s = set_up(&house, &phone).await;
        let plan = house.mdm.store().runbook(house.org, s.runbook).await;
        (s, plan.unwrap().unwrap().runbook)
    };
    let (s, _) = of("C02PORTAL", Some(START + DAY), true).await;
    assert_eq!((s.verdict.kind, s.runbook), (VerdictKind::Migration, kept));
    let (s, plan) = of("C02MAYBE", Some(START - DAY), false).await;
    assert_eq!(s.verdict.kind, VerdictKind::Uncertain);
    assert_eq!((plan.variant, plan.apps.len()), (Variant::Uncertain, 1));
    let (s, plan) = of("C02NEW", None, false).await;
    assert_eq!(s.verdict.kind, VerdictKind::Ordinary);
    assert_eq!(
        plan,
        PinnedRunbook::standard(Platform::Ios, Variant::Ordinary)
    );
    // What goes by it keeps it; what was set up by it does not need it any more.
    let remove = async || house.org().await.remove_runbook("Phones").await;
    let refused = remove().await.unwrap_err().to_string();
    assert!(refused.contains("which nobody planned"), "{refused}");
    choose(Platform::Ios, None).await.unwrap();
    let mut wave = Wave::draft(
        house.org,
        WaveId(7),
        "pilot",
        ServerId(1),
        BTreeMap::from([(Platform::Ios, kept)]),
        START,
    );
    let mut batch = Batch::new();
    batch.put(wave.clone());
    house.mdm.store().commit(batch).await.unwrap();
    let refused = remove().await.unwrap_err().to_string();
    assert!(refused.contains("the wave pilot has it"), "{refused}");
    (wave.version, wave.state) = (1, WaveState::Closed { at: START });
    let mut batch = Batch::new();
    batch.put(wave);
    house.mdm.store().commit(batch).await.unwrap();
    assert_eq!(remove().await.unwrap().name, "phones");
    assert!(house.org().await.kept_runbooks().await.unwrap().is_empty());
    let gone = choose(Platform::Ios, Some("phones")).await.unwrap_err();
    assert!(
        gone.to_string().contains("no runbook of this name"),
        "{gone}"
    );
    assert!(matches!(remove().await, Err(Error::NotFound(_))));
    let pinned = house.mdm.store().runbook(house.org, kept).await.unwrap();
    assert!(pinned.is_some(), "what was set up by it is told by it");
    let (_, plan) = of("C02LATER", Some(START + DAY), true).await;
    assert_eq!(
        plan,
        PinnedRunbook::standard(Platform::Ios, Variant::Migration)
    );
}

#[tokio::test]
async fn whoever_begins_anew_before_it_is_through_still_migrates() {
    let house = House::new().await;
    let deadline = START + DAY;
    let begun = async || {
        let phone = house.device("C02PORTAL").await;
        let mut device = device_of(&house, &phone).await;
        device.record.as_mut().unwrap().deadline = Some(deadline);
        let mut reading = OrgReading::default();
        (reading.status, reading.deadline) = (Some(MigrationStatus::Started), Some(deadline));
        device.reading = Some(reading);
        let mut batch = Batch::new();
        batch.put(device);
        house.mdm.store().commit(batch).await.unwrap();
        house.authenticate(&phone).await.unwrap();
        phone
    };
    // It says that it does not wait, and is believed until it is asked.
    let phone = begun().await;
    let says = "<key>AwaitingConfiguration</key><false/>";
    house.token_update(&phone, says).await.unwrap();
    let s = set_up(&house, &phone).await;
    assert_eq!(s.verdict.kind, VerdictKind::Migration);
    assert_eq!(device_of(&house, &phone).await.completed_deadlines, []);
    let phone = begun().await;
    let s = set_up(&house, &phone).await;
    assert_eq!(s.verdict.kind, VerdictKind::Migration, "{}", reasons(&s));
    house
        .token_update(&phone, "<key>AwaitingConfiguration</key><true/>")
        .await
        .unwrap();
    let_go(&house, &phone).await;
    assert_eq!(
        device_of(&house, &phone).await.completed_deadlines,
        [deadline]
    );
}

#[tokio::test]
async fn an_ipad_that_is_wiped_in_an_open_wave_is_still_its_member_and_is_let_go() {
    let house = House::new().await;
    let mut ipad = house.device("C02WIPED").await;
    "iPad14,1".clone_into(&mut ipad.product);
    let runbook = PinnedRunbook::standard(Platform::Ipados, Variant::Migration);
    let id = RunbookId(runbook.content_id());
    house.org().await.pin("the wave's", runbook).await.unwrap();
    house.attempt(&ipad, id).await;
    // Somebody moves its deadline in the portal.
    let report = house.org().await.device_report(&ipad.serial).await;
    let mut attempt = report.unwrap().attempt.unwrap();
    let (ours, shown) = (attempt.deadline, attempt.deadline + DAY);
    attempt.shown_deadline = Some(shown);
    let mut batch = Batch::new();
    batch.put(attempt);
    house.mdm.store().commit(batch).await.unwrap();
    house.enrol(&ipad).await;
    let first = set_up(&house, &ipad).await;
    assert_eq!(first.verdict.kind, VerdictKind::Migration);
    // It is wiped in the middle, and comes back with a new identity and without a word of farewell.
    let mut wiped = house.device("C02WIPED").await;
    "iPad14,1".clone_into(&mut wiped.product);
    house.enrol(&wiped).await;
    let s = set_up(&house, &wiped).await;
    assert_ne!(s.id, first.id);
    assert_eq!(s.verdict.kind, VerdictKind::Migration, "{}", reasons(&s));
    assert_eq!(s.move_id, first.move_id);
    let before = house.org().await.set_up(first.id).await.unwrap().unwrap();
    assert_eq!(before.state, SetUpState::Ended(SetUpEnd::Superseded));
    let_go(&house, &wiped).await;
    let report = house
        .org()
        .await
        .device_report(&wiped.serial)
        .await
        .unwrap();
    let attempt = report.attempt.unwrap();
    assert!(
        matches!(attempt.state, MoveState::Settling { .. }),
        "{:?}",
        attempt.state
    );
    for _ in 0..20 {
        house.clock.advance(DAY);
        house.settle().await;
    }
    assert_eq!(
        device_of(&house, &wiped).await.completed_deadlines,
        [ours, shown]
    );
}

#[tokio::test]
async fn a_device_that_migrated_last_month_is_ordinary_for_that_deadline_and_uncertain_for_a_new_one()
 {
    let house = House::new().await;
    let last_month = START - DAY * 30;
    let phone = house.device("C02MOVED").await;
    deadlines(&house, &phone, last_month, &[last_month]).await;
    house.enrol(&phone).await;
    let s = set_up(&house, &phone).await;
    assert_eq!(s.verdict.kind, VerdictKind::Ordinary);
    assert!(
        reasons(&s).contains("is complete already"),
        "{}",
        reasons(&s)
    );
    let_go(&house, &phone).await;
    // A new deadline on it is another migration, which nobody here has planned.
    let again = house.device("C02MOVED").await;
    deadlines(&house, &again, START + DAY * 5, &[last_month]).await;
    house.enrol(&again).await;
    let s = set_up(&house, &again).await;
    assert_eq!(s.verdict.kind, VerdictKind::Uncertain, "{}", reasons(&s));
    let_go(&house, &again).await;
}

#[tokio::test]
async fn a_device_that_is_set_up_from_a_backup_enrols_anew_and_is_let_go() {
    let house = House::new().await;
    let done = START - DAY;
    let phone = house.device("C02BACKUP").await;
    deadlines(&house, &phone, done, &[done]).await;
    house.enrol(&phone).await;
    let_go(&house, &phone).await;
    let before = set_up(&house, &phone).await;
    // Restored: the same device, a new enrolment; what the backup had of the old one is void.
    let restored = house.device("C02BACKUP").await;
    house.enrol(&restored).await;
    let s = set_up(&house, &restored).await;
    assert_ne!(s.id, before.id);
    assert_eq!(s.verdict.kind, VerdictKind::Ordinary, "{}", reasons(&s));
    assert!(s.steps().unwrap().get(&StepId::AppsKeep).is_none());
    let_go(&house, &restored).await;
}

#[tokio::test]
async fn a_device_that_is_restored_from_a_backup_of_itself_says_nothing_but_that_it_waits_and_is_let_go()
 {
    let house = House::new().await;
    let phone = house.device("C02ITSELF").await;
    house.enrol(&phone).await;
    let_go(&house, &phone).await;
    let before = set_up(&house, &phone).await;
    // Apple: a restored device sends a TokenUpdate without an Authenticate.
    let waits = "<key>AwaitingConfiguration</key><true/>";
    house.token_update(&phone, waits).await.unwrap();
    house.settle().await;
    assert_eq!(set_up(&house, &phone).await.id, before.id);
    let asked = lives(&house, &phone).await;
    assert_eq!(asked.first().map(String::as_str), Some("DeviceConfigured"));
    let record = house.mdm.store().audit(house.org, AuditId(0), 1000).await;
    let mut record = record.unwrap().into_iter();
    assert!(record.any(|entry| entry.what == "enrolment.waits-again"));
}

#[tokio::test]
async fn a_deadline_that_only_the_organisation_api_shows_speaks_for_a_migration() {
    let house = House::new().await;
    let requested = Some(MigrationStatus::Requested);
    let of = async |serial: &str, status, listed: Option<Timestamp>, completed: &[Timestamp]| {
        let phone = house.device(serial).await;
        let mut device = device_of(&house, &phone).await;
        device.record.as_mut().unwrap().deadline = listed;
        device.completed_deadlines = completed.to_vec();
        let mut reading = OrgReading::default();
        (reading.status, reading.deadline) = (status, Some(START + DAY));
        device.reading = Some(reading);
        let mut batch = Batch::new();
        batch.put(device);
        house.mdm.store().commit(batch).await.unwrap();
        house.enrol(&phone).await;
        let s = set_up(&house, &phone).await;
        (s.verdict.kind, reasons(&s), phone)
    };
    let (kind, why, phone) = of("C02UNLISTED", requested.clone(), None, &[]).await;
    assert_eq!(kind, VerdictKind::Uncertain, "{why}");
    assert!(why.contains("organisation API shows"), "{why}");
    let_go(&house, &phone).await;
    assert_eq!(
        device_of(&house, &phone).await.completed_deadlines,
        [START + DAY]
    );
    // The list still shows the one before, which it has completed.
    let before = START - DAY * 30;
    let (kind, why, _) = of("C02AGAIN", requested.clone(), Some(before), &[before]).await;
    assert_eq!(kind, VerdictKind::Uncertain, "{why}");
    let (kind, why, _) = of("C02DONE", requested, None, &[START + DAY]).await;
    assert_eq!(kind, VerdictKind::Ordinary, "{why}");
    assert!(why.contains("is complete already"), "{why}");
    // What is over speaks for nothing.
    for (serial, status) in [
        ("C02SUCCESS", MigrationStatus::Success),
        ("C02FAILED", MigrationStatus::Failed),
    ] {
        let (kind, why, _) = of(serial, Some(status), None, &[]).await;
        assert_eq!(kind, VerdictKind::Ordinary, "{why}");
    }
}
