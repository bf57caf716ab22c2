//! What was imported of keys, codes and passwords goes once its project is closed, and where it opens nothing that ours does not open
//! too; the only key of a device stays. What was imported of people goes after the days that an organisation says.

mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::device_lock::LockSight;
use mdm_core::error::Error;
use mdm_core::hand_off::bundle::{self, BundleDevice};
use mdm_core::hand_off::envelope::{KeyPair, Purpose, seal, sha256};
use mdm_core::ids::{AcceptedId, MoveId, ProjectId, RunbookId, SecretId, WaveId};
use mdm_core::migration::{Move, MoveState, Outcome, PinnedRunbook, Variant};
use mdm_core::original::{DeviceOwner, Said};
use mdm_core::project::AcceptedPart;
use mdm_core::sealed::SealedSecret;
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::{IdentitySettings, Org, Purge};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore};
use mdm_core::wave::{Wave, WaveState};
use service_house::{Gadget, House, START};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
const KINDS: [(&str, &str); 5] = [
    ("recovery_key", "ABCD-EFGH-2345-WXYZ-0000-1111"),
    ("bypass_code", "000H4-0R40M-30F2-0918-5HR3-8F17"),
    ("device_bypass_code", "HUNTER2CODE"),
    ("recovery_lock_password", "hunter2 recovery"),
    ("firmware_password", "hunter2 firmware"),
];

async fn project(house: &House, name: &str) -> (ProjectId, WaveId) {
    let org = house.org().await.acting_for("Anna");
    let change = mdm_core::service::ProjectChange::default();
    let made = org.new_project(name, house.server, &change).await.unwrap();
    let id = WaveId(house.next_id());
    let mut wave = Wave::draft(house.org, id, name, house.server, BTreeMap::new(), START);
    wave.project = Some(made.id);
    let mut batch = Batch::new();
    batch.put(wave);
    house.mdm.store().commit(batch).await.unwrap();
    (made.id, id)
}

/// A member that has ended, of a device that may have come.
async fn member(house: &House, wave: WaveId, gadget: &Gadget, outcome: Outcome) {
    let device = house
        .org()
        .await
        .device_report(&gadget.serial)
        .await
        .unwrap()
        .device;
    let deadline = START + DAY;
    let id = MoveId(house.next_id());
    let serial = gadget.serial.clone();
    let mut attempt = Move::plan(
        house.org,
        id,
        wave,
        device.id,
        serial,
        RunbookId(1),
        deadline,
        START,
        None,
        START,
    );
    attempt.state = MoveState::Ended(outcome);
    attempt.wake_at = None;
    attempt.ended = Some(START);
    let mut batch = Batch::new();
    batch.put(attempt);
    house.mdm.store().commit(batch).await.unwrap();
}

async fn come(house: &House, gadget: &Gadget) {
    house.enrol(gadget).await;
    house.token_update(gadget, "").await.unwrap();
}

/// Everything that an original can have told of these.
async fn import(house: &House, gadgets: &[&Gadget]) {
    let org = house.org().await.acting_for("Anna");
    let signer = KeyPair::create("Old MDM", Purpose::Signer, START, START + DAY).unwrap();
    let by = sha256(&signer.certificate);
    let job = org
        .new_hand_off("Old MDM", START + DAY, Some(&by))
        .await
        .unwrap();
    let mut all = Vec::new();
    for gadget in gadgets {
        let mut told = BundleDevice::new(Said::nothing(gadget.serial.clone()));
        for (name, value) in KINDS {
            told.take(name, Secret::from_text(value)).unwrap();
        }
        all.push(told);
    }
    let plain = bundle::write("Old MDM", START, Some(job.id), &all).unwrap();
    let to = openssl::x509::X509::from_pem(job.certificate.as_bytes()).unwrap();
    let sealed = seal(&plain, &to.to_der().unwrap(), &signer, START).unwrap();
    let taken = org.import_hand_off(job.id, sealed).await.unwrap();
    assert_eq!(taken.accepted, gadgets.len(), "{taken:?}");
}

/// A secret of ours, as one that the device gave or Apple confirmed.
async fn hold(house: &House, gadget: &Gadget, kind: SecretKind, confirmed: Option<Timestamp>) {
    hold_since(house, gadget, kind, confirmed, START + MINUTE).await;
}

async fn hold_since(
    house: &House,
    gadget: &Gadget,
    kind: SecretKind,
    confirmed: Option<Timestamp>,
    created: Timestamp,
) {
    let device = house
        .org()
        .await
        .device_report(&gadget.serial)
        .await
        .unwrap()
        .device;
    let id = SecretId(house.next_id());
    let sealed = b"sealed".to_vec();
    let mut row = SealedSecret::new(house.org, id, kind, Some(device.id), sealed, created);
    row.confirmed = confirmed;
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
}

async fn read_lock(house: &House, gadget: &Gadget, on: bool) {
    let mut device = house
        .org()
        .await
        .device_report(&gadget.serial)
        .await
        .unwrap()
        .device;
    device.lock.apple = Some(LockSight {
        on,
        word: if on { "MDM" } else { "NONE" }.to_owned(),
        at: house.mdm.now(),
    });
    let mut batch = Batch::new();
    batch.put(device);
    house.mdm.store().commit(batch).await.unwrap();
}

/// The imported secrets of a device that still have a content.
async fn left(org: &Org, gadget: &Gadget) -> BTreeSet<&'static str> {
    let report = org.device_report(&gadget.serial).await.unwrap();
    let kept = report.secrets.iter().filter(|s| s.destroyed.is_none());
    kept.map(|s| s.kind)
        .filter(|kind| kind.starts_with("original_"))
        .collect()
}

fn counts(purge: &Purge) -> Vec<(&str, u64)> {
    purge
        .goes
        .iter()
        .map(|(kind, n)| (kind.as_str(), *n))
        .collect()
}

#[tokio::test]
async fn the_only_key_of_a_device_stays_and_what_ours_has_replaced_goes() {
    let house = House::new().await;
    let (project, wave) = project(&house, "Move").await;
    let org = house.org().await.acting_for("Anna");
    let (mac, phone) = (
        house.mac("C02PURGED").await,
        house.device("F2LPURGED").await,
    );
    let away = house.mac("C02AWAY").await;
    import(&house, &[&mac, &phone, &away]).await;
    for gadget in [&mac, &phone, &away] {
        hold(&house, gadget, SecretKind::OriginalOther, None).await;
    }
    for gadget in [&mac, &phone] {
        come(&house, gadget).await;
        member(&house, wave, gadget, Outcome::Migrated).await;
    }
    member(&house, wave, &away, Outcome::Withdrawn).await;
    // As long as it is open nothing goes.
    let refused = org.purge_plan(project, false).await.unwrap_err();
    assert!(matches!(refused, Error::Precondition(_)), "{refused}");
    org.close_project(project).await.unwrap();

    let plan = org.purge_plan(project, false).await.unwrap();
    // A phone has neither recovery key nor firmware password, and the system has taken the recovery lock of the Mac away.
    let first = [
        ("original_firmware_password", 1),
        ("original_recovery_key", 1),
        ("original_recovery_lock_password", 2),
    ];
    assert_eq!(counts(&plan), first, "{plan:?}");
    let stay: u64 = plan.stays.values().sum();
    assert_eq!(stay, 3 * 6 - 4, "{:?}", plan.stays);
    let of_the_one_away = plan.kept.iter().filter(|kept| kept.serial == away.serial);
    assert_eq!(
        of_the_one_away.count(),
        6,
        "nothing goes of a device that is not here"
    );

    // What we held when the Mac was here before is none: the service in between may have set another.
    let before = START - DAY;
    hold_since(&house, &mac, SecretKind::RecoveryKey, None, before).await;
    hold_since(&house, &mac, SecretKind::DeviceBypassCode, None, before).await;
    for kind in [SecretKind::ServerBypassCode, SecretKind::FirmwarePassword] {
        hold_since(&house, &mac, kind, Some(before), before).await;
    }
    let still = org.purge_plan(project, false).await.unwrap();
    assert_eq!(counts(&still), first, "{still:?}");

    // Now ours take their places.
    hold(&house, &mac, SecretKind::RecoveryKey, None).await;
    hold(&house, &mac, SecretKind::DeviceBypassCode, None).await;
    hold(&house, &mac, SecretKind::ServerBypassCode, None).await;
    hold(&house, &phone, SecretKind::ServerBypassCode, Some(START)).await;
    let refused = org.purge(project, false, "closed", &plan.digest).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("other secrets would go"), "{refused}");
    assert_eq!(
        left(&org, &mac).await.len(),
        6,
        "nothing went by the old plan"
    );

    let plan = org.purge_plan(project, false).await.unwrap();
    let second = [
        // Of the phone alone: what we have asked of the Mac's lock nobody has confirmed.
        ("original_bypass_code", 1),
        ("original_device_bypass_code", 2),
        ("original_firmware_password", 1),
        ("original_recovery_key", 2),
        ("original_recovery_lock_password", 2),
    ];
    assert_eq!(counts(&plan), second, "{plan:?}");
    assert!(org.purge(project, false, "  ", &plan.digest).await.is_err());
    let done = org
        .purge(project, false, "closed", &plan.digest)
        .await
        .unwrap();
    assert_eq!((counts(&done), done.devices), (second.to_vec(), 2));
    let kept = [
        "original_bypass_code",
        "original_firmware_password",
        "original_other",
    ];
    assert_eq!(left(&org, &mac).await, kept.into());
    assert_eq!(left(&org, &phone).await, ["original_other"].into());
    assert_eq!(left(&org, &away).await.len(), 6);

    // The lock is read as off, and somebody says that the rest goes too.
    read_lock(&house, &mac, true).await;
    assert_eq!(org.purge_plan(project, false).await.unwrap().count(), 0);
    read_lock(&house, &mac, false).await;
    let plan = org.purge_plan(project, true).await.unwrap();
    let third = [("original_bypass_code", 1), ("original_other", 2)];
    assert_eq!(counts(&plan), third);
    let without = org.purge_plan(project, false).await.unwrap();
    assert_ne!(plan.digest, without.digest);
    org.purge(project, true, "the rest", &plan.digest)
        .await
        .unwrap();
    assert_eq!(
        left(&org, &mac).await,
        ["original_firmware_password"].into()
    );

    // Nothing of what went is in the database any more, and the record has who, why and which.
    let record = org.record_tail(1000).await.unwrap();
    let mut entries = record
        .iter()
        .filter(|e| e.what == "imported-secrets.destroyed");
    let entry = entries.next().unwrap();
    assert_eq!(
        (entry.actor.as_str(), &entry.detail["reason"]),
        ("Anna", &"closed".into())
    );
    assert_eq!(entry.detail["secrets"].as_array().unwrap().len(), 8);
    assert_eq!(entries.count(), 1);
    for gadget in [&mac, &phone] {
        let id = org.device_report(&gadget.serial).await.unwrap().device.id;
        for row in house.mdm.store().secrets(house.org, id).await.unwrap() {
            assert_eq!(row.destroyed.is_some(), row.sealed.0.is_empty(), "{row:?}");
        }
    }
}

#[tokio::test]
async fn a_purge_that_was_killed_halfway_goes_on_and_the_checklist_says_when_it_is_over() {
    let house = House::new().await;
    let (project, wave) = project(&house, "Move").await;
    let org = house.org().await.acting_for("Anna");
    let mut gadgets = Vec::new();
    for n in 0..3 {
        let gadget = house.device(&format!("F2LMANY{n}")).await;
        gadgets.push(gadget);
    }
    let all: Vec<&Gadget> = gadgets.iter().collect();
    import(&house, &all).await;
    for gadget in &gadgets {
        come(&house, gadget).await;
        member(&house, wave, gadget, Outcome::Migrated).await;
    }
    let item = async |state: &str| {
        let list = house.org().await.checklist().await.unwrap();
        let mut items = list
            .items
            .into_iter()
            .map(|item| serde_json::to_value(item).unwrap());
        let found = items.find(|i| i["item"] == "Move: what was imported");
        let found = found.unwrap_or_default();
        assert_eq!(found["state"], state, "{found}");
        found
    };
    org.close_project(project).await.unwrap();
    let told = item("warn").await;
    assert!(
        told["fix"].as_str().unwrap().contains("mdmd project purge"),
        "{told}"
    );
    let plan = org.purge_plan(project, false).await.unwrap();
    assert_eq!(plan.devices, 3);
    let disk = async || SqliteStore::open(&house.path()).await.unwrap();
    // The commit never comes through: nothing is said to have gone.
    let store = FailingStore::new(disk().await, 1, Moment::Before);
    let dying = house.over(store);
    let there = dying
        .organisation_by_id(house.org)
        .await
        .unwrap()
        .acting_for("Anna");
    there
        .purge(project, false, "closed", &plan.digest)
        .await
        .unwrap_err();
    assert_eq!(left(&org, &gadgets[0]).await.len(), 5);
    // It comes through and its answer is lost: asked again, there is nothing left to do by that plan.
    let store = FailingStore::new(disk().await, 1, Moment::After);
    let dying = house.over(store);
    let there = dying
        .organisation_by_id(house.org)
        .await
        .unwrap()
        .acting_for("Anna");
    there
        .purge(project, false, "closed", &plan.digest)
        .await
        .unwrap_err();
    let again = org.purge(project, false, "closed", &plan.digest).await;
    assert!(matches!(again.unwrap_err(), Error::Precondition(_)));
    assert_eq!(org.purge_plan(project, false).await.unwrap().count(), 0);
    let told = item("done").await;
    assert!(
        told["fact"].as_str().unwrap().contains("6 secrets stay"),
        "{told}"
    );
    let record = org.record_tail(1000).await.unwrap();
    let entries = record
        .iter()
        .filter(|e| e.what == "imported-secrets.destroyed");
    assert_eq!(entries.count(), 1);
}

/// An organisation that keeps for thirty days what names people.
async fn thirty_days() -> (House, Org) {
    let house = House::new().await;
    let org = house.org().await.acting_for("Anna");
    let keep = IdentitySettings {
        owner_days: Some(30),
        ..IdentitySettings::default()
    };
    org.set_identities(keep).await.unwrap();
    (house, org)
}

#[tokio::test]
async fn what_was_imported_of_people_goes_after_its_days_and_not_of_a_device_on_its_way() {
    let (house, org) = thirty_days().await;
    let (stays, moves) = (
        house.device("F2LPEOPLE1").await,
        house.device("F2LPEOPLE2").await,
    );
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let runbook = org.pin("standard", runbook).await.unwrap();
    house.attempt(&moves, runbook).await;
    let told = |gadget: &Gadget| {
        let mut said = Said::nothing(gadget.serial.clone());
        said.system = Some("26.1".to_owned());
        let mut owner = DeviceOwner::default();
        owner.name = Some("Eva Ander".to_owned());
        said.owner = Some(owner);
        said
    };
    let all = vec![told(&stays), told(&moves)];
    org.import_originals("Old MDM", START, all).await.unwrap();
    let owner = async |gadget: &Gadget| {
        let facts = house.org().await.original(&gadget.serial).await.unwrap();
        assert!(facts.system.is_some(), "what names nobody stays");
        facts.owner.is_some()
    };
    let pass = async |days: u32| {
        for _ in 0..days {
            house.clock.advance(DAY);
            house.settle().await;
        }
    };
    pass(29).await;
    assert_eq!((owner(&stays).await, owner(&moves).await), (true, true));
    pass(3).await;
    assert_eq!((owner(&stays).await, owner(&moves).await), (false, true));
    let record = org.record_tail(1000).await.unwrap();
    let entry = record
        .iter()
        .find(|e| e.what == "retention.people")
        .unwrap();
    assert_eq!(
        entry.detail,
        serde_json::json!({ "devices": 1, "days": 30 })
    );
    assert!(!format!("{record:?}").contains("Eva"));
}

/// A wave with a piece of what somebody accepted, that names people.
async fn accepted(house: &House, name: &str, state: WaveState) -> WaveId {
    let id = WaveId(house.next_id());
    let mut wave = Wave::draft(house.org, id, name, house.server, BTreeMap::new(), START);
    wave.state = state;
    let content = serde_json::json!({
        "report": { "forecast": { "apps": [{ "bundle_id": "com.acme", "people": ["Eva Ander"] }] } },
    });
    let part = serde_json::json!({
        "organisation": house.org, "id": house.next_id(), "wave": id, "digest": "d", "part": 0, "content": content,
    });
    let part: AcceptedPart = serde_json::from_value(part).unwrap();
    let mut batch = Batch::new();
    batch.put(wave).put(part);
    house.mdm.store().commit(batch).await.unwrap();
    id
}

#[tokio::test]
async fn people_go_from_what_was_accepted_once_its_wave_is_closed_for_their_days() {
    let (house, org) = thirty_days().await;
    let closed = |at| WaveState::Closed { at };
    let old = accepted(&house, "old", closed(START)).await;
    let young = accepted(&house, "young", closed(START + DAY * 20)).await;
    let open = accepted(&house, "open", WaveState::Draft).await;
    for _ in 0..32 {
        house.clock.advance(DAY);
        house.settle().await;
    }
    let store = house.mdm.store();
    for (wave, gone) in [(old, true), (young, false), (open, false)] {
        let parts = store.accepted_parts(house.org, wave, AcceptedId(0), 10);
        let content = parts.await.unwrap()[0].content.to_string();
        assert_eq!(!content.contains("Eva"), gone, "{content}");
        assert!(content.contains("com.acme"));
        let row = store.wave(house.org, wave).await.unwrap().unwrap();
        assert_eq!(row.people_forgotten.is_some(), gone);
    }
    let record = org.record_tail(1000).await.unwrap();
    let told: Vec<_> = record
        .iter()
        .filter(|entry| entry.what == "retention.accepted")
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0].detail["wave"], &told[0].detail["pieces"]),
        (&"old".into(), &1.into())
    );
}

#[tokio::test]
async fn the_name_of_a_token_is_not_that_of_a_partner() {
    let house = House::new().await;
    let org = house.org().await.acting_for("Anna");
    let make = async |name: &str| {
        org.new_api_token(name, Role::Viewer, BTreeSet::new(), None)
            .await
    };
    for name in ["partner Ines", "Partner x", " partner y "] {
        let refused = make(name).await.unwrap_err().to_string();
        assert!(refused.contains("partner"), "{name}: {refused}");
    }
    for name in ["partnership", "partner", "our partners"] {
        make(name).await.unwrap();
    }
}
