//! The password before recoveryOS in a hold: in the vault before the Mac hears it, the same at every try, believed when the Mac calls
//! it the one in force. And steps that are for some devices only, or sort them.

mod service_house;

use std::collections::BTreeSet;
use std::time::Duration;

use mdm_core::clock::Clock as _;
use mdm_core::device::Platform;
use mdm_core::ids::RunbookId;
use mdm_core::migration::{PinnedRunbook, SetUpState, StepId, StepPlan, StepStatus, Variant};
use mdm_core::secret::SecretKind;
use mdm_core::service::Answer;
use service_house::{Gadget, House, command, revealed};

const IDLE: &str = "<key>Status</key><string>Idle</string>";

/// A simulated Mac.
#[derive(Default)]
struct Mac {
    intel: bool,
    /// It acknowledges what it has not done.
    lies: bool,
    /// Its first answer to a new password is lost, and it says that it failed.
    stumbles: bool,
    password: Option<String>,
    /// Every command that came.
    met: Vec<String>,
}

fn between(text: &str, key: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<key>{key}</key>"))?;
    let (_, rest) = rest.split_once("<string>")?;
    Some(rest.split_once("</string>")?.0.to_owned())
}

impl Mac {
    fn answer(&mut self, serial: &str, kind: &str, asked: &str) -> (&'static str, String) {
        self.met.push(kind.to_owned());
        match kind {
            "DeviceInformation" => {
                let silicon = !self.intel;
                let told = format!(
                    "<key>QueryResponses</key><dict><key>SerialNumber</key><string>{serial}</string>\
                     <key>IsAppleSilicon</key><{silicon}/><key>AwaitingConfiguration</key><true/></dict>"
                );
                ("Acknowledged", told)
            }
            "SetRecoveryLock" => {
                let current = between(asked, "CurrentPassword");
                if self.password.is_some() && self.password != current {
                    return ("Error", String::new());
                }
                if !self.lies {
                    self.password = between(asked, "NewPassword");
                }
                match std::mem::take(&mut self.stumbles) {
                    true => ("Error", String::new()),
                    false => ("Acknowledged", String::new()),
                }
            }
            "VerifyRecoveryLock" => {
                let right = self.password.is_some() && self.password == between(asked, "Password");
                let told = format!("<key>PasswordVerified</key><{right}/>");
                ("Acknowledged", told)
            }
            _ => ("Acknowledged", String::new()),
        }
    }

    /// Does whatever is asked until nothing is.
    async fn play(&mut self, house: &House, gadget: &Gadget) {
        self.play_until(house, gadget, |_| false).await;
    }

    /// Does whatever is asked until nothing is, or says nothing any more of what it has done.
    async fn play_until(&mut self, house: &House, gadget: &Gadget, stop: fn(&Self) -> bool) {
        for _ in 0..20 {
            let mut answer = house.report(gadget, IDLE).await.unwrap();
            while let Some((uuid, kind)) = command(&answer) {
                let Answer::Plist(bytes) = &answer else { break };
                let asked = std::str::from_utf8(bytes).unwrap().to_owned();
                let (status, more) = self.answer(gadget.serial.as_str(), &kind, &asked);
                if stop(self) {
                    return;
                }
                let body = format!(
                    "<key>CommandUUID</key><string>{uuid}</string><key>Status</key><string>{status}</string>{more}"
                );
                answer = house.report(gadget, &body).await.unwrap();
            }
            house.clock.advance(Duration::from_secs(20));
            house.settle().await;
        }
    }
}

fn runbook(change: impl FnOnce(&mut PinnedRunbook)) -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    let keep = [
        StepId::Identify,
        StepId::Release,
        StepId::Verify,
        StepId::Tell,
    ];
    runbook.steps.retain(|step| keep.contains(&step.id));
    runbook.steps.push(StepPlan::standard(StepId::RecoveryLock));
    for step in &mut runbook.steps {
        if step.id == StepId::Release {
            step.requires = vec![StepId::Identify, StepId::RecoveryLock];
        }
    }
    change(&mut runbook);
    runbook.steps.sort_by_key(|step| step.id);
    runbook.validate_for(Platform::Macos).unwrap();
    runbook
}

async fn held(house: &House, serial: &str, runbook: PinnedRunbook) -> Gadget {
    let gadget = house.mac(serial).await;
    let id = RunbookId(runbook.content_id());
    house.org().await.pin("own", runbook).await.unwrap();
    house.attempt(&gadget, id).await;
    house.enrol(&gadget).await;
    gadget
}

async fn status(house: &House, gadget: &Gadget, step: StepId) -> StepStatus {
    let report = house
        .org()
        .await
        .device_report(&gadget.serial)
        .await
        .unwrap();
    let set_up = report.set_up.unwrap();
    let steps = set_up.steps().unwrap_or(&set_up.proofs);
    steps[&step].status.clone()
}

async fn is_out(house: &House, gadget: &Gadget) -> bool {
    let report = house
        .org()
        .await
        .device_report(&gadget.serial)
        .await
        .unwrap();
    let state = report.set_up.unwrap().state;
    !matches!(
        state,
        SetUpState::Holding { .. } | SetUpState::Releasing { .. }
    )
}

async fn password(house: &House, gadget: &Gadget) -> Option<String> {
    let kind = SecretKind::RecoveryLockPassword;
    let org = house.org().await;
    let shown = org.reveal(&gadget.serial, kind, "test", None).await.ok()?;
    revealed(shown).expose_text().map(str::to_owned)
}

#[tokio::test]
async fn a_password_is_sealed_set_and_verified_in_the_hold() {
    let house = House::new().await;
    let gadget = held(&house, "C02RECOVER", runbook(|_| {})).await;
    let mut mac = Mac::default();
    mac.play(&house, &gadget).await;
    let done = status(&house, &gadget, StepId::RecoveryLock).await;
    assert!(
        matches!(&done, StepStatus::Done { evidence } if evidence.contains("in force")),
        "{done:?}"
    );
    assert!(is_out(&house, &gadget).await);
    assert_eq!(password(&house, &gadget).await, mac.password);
    assert_eq!(mac.password.as_ref().map(String::len), Some(24));
    let record = house.record(&gadget).await;
    let sealed = record
        .iter()
        .position(|(what, _)| what == "recovery-lock.password-sealed");
    assert!(sealed.is_some());
    let secret = mac.password.unwrap();
    for (name, bytes) in house.files() {
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{name} has the password");
    }
    let said = serde_json::to_string(&record.iter().map(|(_, detail)| detail).collect::<Vec<_>>());
    assert!(!said.unwrap().contains(&secret));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_verified_and_every_try_has_the_same_password() {
    let house = House::new().await;
    let gadget = held(&house, "C02STUMBLE", runbook(|_| {})).await;
    let mut mac = Mac {
        stumbles: true,
        ..Mac::default()
    };
    mac.play(&house, &gadget).await;
    let done = status(&house, &gadget, StepId::RecoveryLock).await;
    assert!(matches!(done, StepStatus::Done { .. }), "{done:?}");
    assert_eq!(password(&house, &gadget).await, mac.password);
    assert_eq!(
        mac.met
            .iter()
            .filter(|kind| *kind == "SetRecoveryLock")
            .count(),
        1
    );
}

/// The set-up of this Mac with the usual runbook, to its end; and what became of the step.
async fn played(serial: &str, mac: &mut Mac) -> (House, Gadget, StepStatus) {
    let house = House::new().await;
    let gadget = held(&house, serial, runbook(|_| {})).await;
    mac.play(&house, &gadget).await;
    let became = status(&house, &gadget, StepId::RecoveryLock).await;
    (house, gadget, became)
}

#[tokio::test]
async fn a_mac_that_lies_is_found_out_and_released_with_an_exception() {
    let mut mac = Mac {
        lies: true,
        ..Mac::default()
    };
    let (house, gadget, given_up) = played("C02LIARMAC", &mut mac).await;
    assert!(
        matches!(&given_up, StepStatus::Excepted { why } if why.contains("not the one in force")),
        "{given_up:?}"
    );
    assert!(is_out(&house, &gadget).await);
    let report = house
        .org()
        .await
        .device_report(&gadget.serial)
        .await
        .unwrap();
    let exceptions = report.set_up.unwrap().exceptions;
    assert!(
        exceptions.iter().any(|e| e.what == "recovery-lock"),
        "{exceptions:?}"
    );
    // Each try had the same password, which stays in the vault: the Mac may have lied the other way round.
    let held = report
        .secrets
        .iter()
        .filter(|s| s.kind == "recovery_lock_password");
    assert_eq!(held.count(), 1);
}

#[tokio::test]
async fn a_mac_that_enrols_anew_and_keeps_its_password_gets_the_new_one() {
    let house = House::new().await;
    let gadget = held(&house, "C02ANEWMAC", runbook(|_| {})).await;
    let mut mac = Mac::default();
    mac.play_until(&house, &gadget, |mac| mac.password.is_some())
        .await;
    let first = mac.password.clone();
    assert!(first.is_some());
    house.clock.advance(Duration::from_secs(60));
    let again = house.mac("C02ANEWMAC").await;
    house.enrol(&again).await;
    mac.play(&house, &again).await;
    let done = status(&house, &again, StepId::RecoveryLock).await;
    assert!(matches!(done, StepStatus::Done { .. }), "{done:?}");
    assert_ne!(mac.password, first);
    assert_eq!(password(&house, &again).await, mac.password);
    assert!(is_out(&house, &again).await);
}

#[tokio::test]
async fn of_several_earlier_passwords_each_has_its_turn() {
    let house = House::new().await;
    let gadget = held(&house, "C02TURNMAC", runbook(|_| {})).await;
    let mut mac = Mac::default();
    mac.play_until(&house, &gadget, |mac| mac.password.is_some())
        .await;
    let first = mac.password.clone();
    // It enrols anew, and again before its second password could come into force.
    house.clock.advance(Duration::from_secs(60));
    let again = house.mac("C02TURNMAC").await;
    house.enrol(&again).await;
    let set = |mac: &Mac| mac.met.iter().filter(|m| *m == "SetRecoveryLock").count();
    let refused = |mac: &Mac| mac.met.iter().filter(|m| *m == "SetRecoveryLock").count() == 2;
    mac.play_until(&house, &again, refused).await;
    assert_eq!((set(&mac), &mac.password), (2, &first));
    house.clock.advance(Duration::from_secs(60));
    let third = house.mac("C02TURNMAC").await;
    house.enrol(&third).await;
    mac.play(&house, &third).await;
    // Without one, with the newest, which never was in force, and with the one before it.
    assert_eq!(set(&mac), 5);
    let done = status(&house, &third, StepId::RecoveryLock).await;
    assert!(matches!(done, StepStatus::Done { .. }), "{done:?}");
    assert_ne!(mac.password, first);
    assert_eq!(password(&house, &third).await, mac.password);
}

#[tokio::test]
async fn an_intel_mac_has_none_and_is_not_asked() {
    let mut mac = Mac {
        intel: true,
        ..Mac::default()
    };
    let (house, gadget, skipped) = played("C02INTELMC", &mut mac).await;
    assert!(
        matches!(&skipped, StepStatus::Skipped { why } if why.contains("Intel")),
        "{skipped:?}"
    );
    assert!(!mac.met.iter().any(|kind| kind == "SetRecoveryLock"));
    assert_eq!(password(&house, &gadget).await, None);
    assert!(is_out(&house, &gadget).await);
}

#[tokio::test]
async fn a_step_is_for_devices_with_a_tag_and_another_sorts_them() {
    let house = House::new().await;
    let own = |runbook: &mut PinnedRunbook| {
        let mut tag = StepPlan::standard(StepId::Tag);
        tag.tags = ["moved".to_owned()].into();
        runbook.steps.push(tag);
        let lock = runbook
            .steps
            .iter_mut()
            .find(|s| s.id == StepId::RecoveryLock);
        lock.unwrap().only = ["lab".to_owned(), "group:Research".to_owned()].into();
    };
    let org = house.org().await;
    let tagged = house.mac("C02TAGGED1").await;
    let lab: BTreeSet<String> = ["lab".to_owned()].into();
    let none = BTreeSet::new();
    org.tag_devices(std::slice::from_ref(&tagged.serial), &lab, &none)
        .await
        .unwrap();
    // Of a group of its owner.
    let grouped = house.mac("C02GROUPED").await;
    let mut told = mdm_core::original::Said::nothing(grouped.serial.clone());
    let mut owner = mdm_core::original::DeviceOwner::default();
    owner.groups = ["Research".to_owned()].into();
    told.owner = Some(owner);
    org.import_originals("Old MDM", house.clock.now(), vec![told])
        .await
        .unwrap();
    for (serial, done) in [
        ("C02TAGGED1", true),
        ("C02GROUPED", true),
        ("C02PLAIN01", false),
    ] {
        let gadget = held(&house, serial, runbook(own)).await;
        let mut mac = Mac::default();
        mac.play(&house, &gadget).await;
        assert_eq!(mac.password.is_some(), done, "{serial}");
        let lock = status(&house, &gadget, StepId::RecoveryLock).await;
        let skipped = matches!(&lock, StepStatus::Skipped { why } if why == "only for devices with group:Research, lab");
        assert_eq!(skipped, !done, "{serial}: {lock:?}");
        let device = org.device_report(&gadget.serial).await.unwrap().device;
        assert!(device.tags.contains("moved"), "{serial}: {:?}", device.tags);
        assert_eq!(device.tags.contains("lab"), serial == "C02TAGGED1");
    }
}

#[test]
fn a_runbook_whose_tags_mean_nothing_is_refused_with_step_and_field() {
    let check = |change: &dyn Fn(&mut PinnedRunbook), said: &str| {
        let mut runbook = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
        runbook.steps.push(StepPlan::standard(StepId::Tag));
        change(&mut runbook);
        let why = runbook.validate().unwrap_err().to_string();
        assert!(why.starts_with(said), "{why}");
    };
    let step = |runbook: &mut PinnedRunbook, id: StepId, only: &str, tags: &str| {
        let step = runbook.steps.iter_mut().find(|s| s.id == id).unwrap();
        let names = |text: &str| {
            text.split(',')
                .filter(|n| !n.is_empty())
                .map(str::to_owned)
                .collect()
        };
        (step.only, step.tags) = (names(only), names(tags));
    };
    check(&|_| {}, "runbook.steps.tag.tags: is empty");
    check(
        &|r| step(r, StepId::Tag, "", "Big"),
        "runbook.steps.tag.tags: must be",
    );
    check(
        &|r| step(r, StepId::Trust, "", "lab"),
        "runbook.steps.trust.tags: only the steps tag",
    );
    check(
        &|r| step(r, StepId::Trust, "a b", ""),
        "runbook.steps.trust.only: must be tags",
    );
    check(
        &|r| step(r, StepId::Trust, "group:", ""),
        "runbook.steps.trust.only: must be tags",
    );
    check(
        &|r| step(r, StepId::Release, "lab", ""),
        "runbook.steps.release.only: must be empty",
    );
    // What nobody named is as it was, to the byte.
    let standard = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    let text = serde_json::to_string(&standard).unwrap();
    assert!(!text.contains("only") && !text.contains("tags"), "{text}");
}
