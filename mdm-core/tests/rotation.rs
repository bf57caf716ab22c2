//! New recovery keys: on demand, and some time after somebody has seen the one in force. The key of the service that a Mac left is
//! destroyed when the new one was opened, and not before.

mod service_house;

use std::time::Duration;

use mdm_core::error::Error;
use mdm_core::evidence::{MarkName, MarkState};
use mdm_core::failure::FailureMode;
use mdm_core::filevault::KeyCustody;
use mdm_core::hand_off::bundle::{self, BundleDevice};
use mdm_core::hand_off::envelope::{KeyPair, Purpose, seal, sha256};
use mdm_core::migration::{Exception, Owner, SetUpEnd, SetUpState};
use mdm_core::original::Said;
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::{Answer, Org, Revealed};
use mdm_core::store::Batch;
use openssl::cms::{CMSOptions, CmsContentInfo};
use service_house::{Gadget, House, START, command, data};

const OLD: &str = "ABCD-EFGH-2345-WXYZ-0000-1111";
const NEW: &str = "WXYZ-EFGH-2345-WXYZ-0000-2222";
const NEXT: &str = "NEXT-EFGH-2345-WXYZ-0000-3333";
const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
const IDLE: &str = "<key>Status</key><string>Idle</string>";

fn envelope(certificate: &[u8], plain: &str) -> Vec<u8> {
    let certificate = openssl::x509::X509::from_der(certificate).unwrap();
    let mut to = openssl::stack::Stack::new().unwrap();
    to.push(certificate).unwrap();
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let sealed = CmsContentInfo::encrypt(&to, plain.as_bytes(), cipher, CMSOptions::BINARY);
    sealed.unwrap().to_der().unwrap()
}

/// An enrolled Mac of which nothing is wanted any more, and the key that its original had.
async fn stage() -> (House, Gadget, Org) {
    let house = House::new().await;
    let mac = house.mac("C02ROTATES").await;
    house.enrol(&mac).await;
    house.token_update(&mac, "").await.unwrap();
    let org = house.org().await.acting_for("Anna");
    let signer = KeyPair::create("Old MDM", Purpose::Signer, START, START + DAY).unwrap();
    let by = sha256(&signer.certificate);
    let job = org.new_hand_off("Old MDM", START + DAY, Some(&by)).await;
    let job = job.unwrap();
    let mut told = BundleDevice::new(Said::nothing(mac.serial.clone()));
    told.take("recovery_key", Secret::from_text(OLD)).unwrap();
    let plain = bundle::write("Old MDM", START, Some(job.id), &[told]).unwrap();
    let to = openssl::x509::X509::from_pem(job.certificate.as_bytes()).unwrap();
    let sealed = seal(&plain, &to.to_der().unwrap(), &signer, START).unwrap();
    let taken = org.import_hand_off(job.id, sealed).await.unwrap();
    assert_eq!(taken.accepted, 1);
    (house, mac, org)
}

/// Fetches commands and acknowledges them until one of this kind comes; answers its UUID and what it says.
async fn next(house: &House, mac: &Gadget, kind: &str) -> Option<(String, String)> {
    let mut answer = house.report(mac, IDLE).await.unwrap();
    for _ in 0..60 {
        let (uuid, asked) = command(&answer)?;
        if asked == kind {
            let Answer::Plist(bytes) = answer else {
                return None;
            };
            return Some((uuid, String::from_utf8(bytes).unwrap()));
        }
        answer = say(house, mac, &uuid, "Error", "").await;
    }
    panic!("commands for ever");
}

async fn say(house: &House, mac: &Gadget, uuid: &str, status: &str, more: &str) -> Answer {
    let body = format!(
        "<key>CommandUUID</key><string>{uuid}</string><key>Status</key><string>{status}</string>{more}"
    );
    house.report(mac, &body).await.unwrap()
}

async fn escrow(org: &Org) -> Vec<u8> {
    let escrow = org.organisation().escrow.clone();
    escrow.unwrap().certificate.0
}

fn rotated(envelope: &[u8]) -> String {
    format!(
        "<key>RotateResult</key><dict><key>EncryptedNewRecoveryKey</key>{}</dict>",
        data(envelope)
    )
}

async fn see(org: &Org, mac: &Gadget, kind: SecretKind) -> Option<String> {
    match org.reveal(&mac.serial, kind, "test", None).await {
        Ok(Revealed::Shown(secret)) => secret.expose_text().map(str::to_owned),
        Ok(Revealed::Waits(_)) => panic!("waits"),
        Err(Error::NotFound(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Kinds of the keys that are held, and whether each was replaced or destroyed.
async fn keys(org: &Org, mac: &Gadget) -> Vec<(&'static str, bool, bool)> {
    let report = org.device_report(&mac.serial).await.unwrap();
    let mut keys: Vec<_> = report
        .secrets
        .iter()
        .filter(|s| s.kind.ends_with("recovery_key"))
        .map(|s| (s.kind, s.replaced.is_some(), s.destroyed.is_some()))
        .collect();
    keys.sort_unstable();
    keys
}

async fn record(org: &Org, what: &str) -> usize {
    let all = org.record_tail(1000).await.unwrap();
    all.iter().filter(|entry| entry.what == what).count()
}

#[tokio::test]
async fn the_key_of_the_original_makes_the_new_one_and_goes_when_that_was_opened() {
    let (house, mac, org) = stage().await;
    let without = org.rotate_filevault(&mac.serial, " ").await;
    assert!(
        matches!(without, Err(Error::BadInput { .. })),
        "{without:?}"
    );
    let first = org
        .rotate_filevault(&mac.serial, "handed over")
        .await
        .unwrap();
    // A second one would come with a key that is no longer in force.
    let again = org
        .rotate_filevault(&mac.serial, "handed over")
        .await
        .unwrap();
    assert_eq!((again.already, &again.uuid), (true, &first.uuid));
    let (uuid, asked) = next(&house, &mac, "RotateFileVaultKey").await.unwrap();
    assert_eq!(uuid, first.uuid);
    assert!(asked.contains(OLD) && asked.contains("ReplyEncryptionCertificate"));
    // The Mac refuses it, then makes one for somebody else, then one that is no key: each time the old one stays.
    say(&house, &mac, &uuid, "Error", "").await;
    assert_eq!(record(&org, "recovery-key.rotation-refused").await, 1);
    let (elsewhere, _) = house.identity_elsewhere("somebody");
    let ours = escrow(&org).await;
    for bad in [envelope(&elsewhere, NEW), envelope(&ours, "no key")] {
        let asked = org.rotate_filevault(&mac.serial, "again").await.unwrap();
        assert!(!asked.already);
        let (uuid, _) = next(&house, &mac, "RotateFileVaultKey").await.unwrap();
        say(&house, &mac, &uuid, "Acknowledged", &rotated(&bad)).await;
        let held = keys(&org, &mac).await;
        assert_eq!(held[0], ("original_recovery_key", false, false), "{held:?}");
    }
    assert_eq!(
        see(&org, &mac, SecretKind::OriginalRecoveryKey)
            .await
            .as_deref(),
        Some(OLD)
    );
    // One that says nothing in its answer is asked where it tells it.
    org.rotate_filevault(&mac.serial, "again").await.unwrap();
    let (uuid, _) = next(&house, &mac, "RotateFileVaultKey").await.unwrap();
    say(
        &house,
        &mac,
        &uuid,
        "Acknowledged",
        "<key>RotateResult</key><dict/>",
    )
    .await;
    let (uuid, _) = next(&house, &mac, "SecurityInfo").await.unwrap();
    let info = format!(
        "<key>SecurityInfo</key><dict><key>FDE_Enabled</key><true/><key>FDE_PersonalRecoveryKeyCMS</key>{}</dict>",
        data(&envelope(&ours, NEW))
    );
    say(&house, &mac, &uuid, "Acknowledged", &info).await;
    assert_eq!(
        keys(&org, &mac).await,
        [
            ("original_recovery_key", true, true),
            ("recovery_key", false, false)
        ]
    );
    assert_eq!(
        see(&org, &mac, SecretKind::RecoveryKey).await.as_deref(),
        Some(NEW)
    );
    assert_eq!(see(&org, &mac, SecretKind::OriginalRecoveryKey).await, None);
    assert_eq!(record(&org, "old-recovery-key.destroyed").await, 1);
    // What the Mac answers next has the new one as its history.
    org.rotate_filevault(&mac.serial, "again").await.unwrap();
    let (uuid, asked) = next(&house, &mac, "RotateFileVaultKey").await.unwrap();
    assert!(asked.contains(NEW) && !asked.contains(OLD));
    let good = rotated(&envelope(&ours, NEXT));
    say(&house, &mac, &uuid, "Acknowledged", &good).await;
    assert_eq!(
        keys(&org, &mac).await,
        [
            ("original_recovery_key", true, true),
            ("recovery_key", false, false),
            ("recovery_key", true, false)
        ]
    );
    assert_eq!(
        see(&org, &mac, SecretKind::RecoveryKey).await.as_deref(),
        Some(NEXT)
    );
    for (name, bytes) in house.files() {
        for key in [OLD, NEW, NEXT] {
            let found = bytes.windows(key.len()).any(|part| part == key.as_bytes());
            assert!(!found, "{name} has a key");
        }
    }
}

#[tokio::test]
async fn a_key_that_somebody_has_seen_is_changed_an_hour_later_once() {
    let (house, mac, org) = stage().await;
    let kind = SecretKind::OriginalRecoveryKey;
    // Twice seen is once changed.
    for _ in 0..2 {
        assert_eq!(see(&org, &mac, kind).await.as_deref(), Some(OLD));
    }
    house.clock.advance(MINUTE * 59);
    house.settle().await;
    assert_eq!(next(&house, &mac, "RotateFileVaultKey").await, None);
    house.clock.advance(MINUTE * 2);
    house.settle().await;
    let (uuid, asked) = next(&house, &mac, "RotateFileVaultKey").await.unwrap();
    assert!(asked.contains(OLD));
    let good = rotated(&envelope(&escrow(&org).await, NEW));
    say(&house, &mac, &uuid, "Acknowledged", &good).await;
    assert_eq!(next(&house, &mac, "RotateFileVaultKey").await, None);
    assert_eq!(record(&org, "recovery-key.rotation-asked").await, 1);

    // The new one is seen, and then changed by somebody: the hour finds nothing to do.
    assert_eq!(
        see(&org, &mac, SecretKind::RecoveryKey).await.as_deref(),
        Some(NEW)
    );
    org.rotate_filevault(&mac.serial, "at once").await.unwrap();
    let (uuid, _) = next(&house, &mac, "RotateFileVaultKey").await.unwrap();
    let good = rotated(&envelope(&escrow(&org).await, NEXT));
    say(&house, &mac, &uuid, "Acknowledged", &good).await;
    house.clock.advance(MINUTE * 61);
    house.settle().await;
    assert_eq!(next(&house, &mac, "RotateFileVaultKey").await, None);

    // Not wanted, it is left.
    org.rotate_revealed(None).await.unwrap();
    assert_eq!(
        see(&org, &mac, SecretKind::RecoveryKey).await.as_deref(),
        Some(NEXT)
    );
    house.clock.advance(DAY);
    house.settle().await;
    assert_eq!(next(&house, &mac, "RotateFileVaultKey").await, None);
    let long = org.rotate_revealed(Some(10_081)).await;
    assert!(matches!(long, Err(Error::BadInput { .. })), "{long:?}");
}

#[tokio::test]
async fn what_cannot_be_rotated_is_told_and_a_reveal_of_it_is_noted() {
    let (house, mac, org) = stage().await;
    let phone = house.device("C02PHONE01").await;
    house.enrol(&phone).await;
    let no = org.rotate_filevault(&phone.serial, "curious").await;
    assert!(matches!(no, Err(Error::Precondition(_))), "{no:?}");
    let bare = house.mac("C02NOKEY01").await;
    house.enrol(&bare).await;
    let no = org.rotate_filevault(&bare.serial, "curious").await;
    assert!(no.unwrap_err().to_string().contains("no recovery key"));
    // It leaves after its key was seen: the record says that the key is still the one that was seen.
    see(&org, &mac, SecretKind::OriginalRecoveryKey)
        .await
        .unwrap();
    let out = "<key>MessageType</key><string>CheckOut</string><key>Topic</key><string>com.apple.mgmt.External.house</string>";
    house.check_in(&mac, out).await.unwrap();
    house.clock.advance(MINUTE * 61);
    house.settle().await;
    assert_eq!(record(&org, "recovery-key.not-rotated").await, 1);
    assert_eq!(record(&org, "recovery-key.rotation-asked").await, 0);
}

#[tokio::test]
async fn a_bootstrap_token_that_comes_after_the_end_has_the_mac_asked_once_for_its_new_key() {
    let (house, mac, org) = stage().await;
    // Its proof is over, and saw no key.
    let report = org.device_report(&mac.serial).await.unwrap();
    let mut set_up = report.set_up.unwrap();
    set_up.proofs = set_up.steps().cloned().unwrap();
    set_up.state = SetUpState::Ended(SetUpEnd::ProvedWithExceptions);
    (set_up.wake_at, set_up.ceiling_at) = (None, None);
    let why = "the Mac has a recovery key and has not escrowed it to us";
    let missing = Exception::new("verify: recovery key", why, Owner::Device, house.mdm.now());
    set_up.exceptions = vec![missing];
    let mut batch = Batch::new();
    batch.put(set_up);
    house.mdm.store().commit(batch).await.unwrap();
    assert_eq!(next(&house, &mac, "SecurityInfo").await, None);
    let shown = async || {
        let report = org.device_report(&mac.serial).await.unwrap();
        let key = report.marks.iter().find(|m| m.mark == MarkName::Key);
        let failures = org.failures_of(&mac.serial).await.unwrap();
        let failure = failures.iter().any(|f| f.mode == FailureMode::NoNewKey);
        (report.recovery_key, key.unwrap().state, failure)
    };
    let before = (Some(KeyCustody::Old), MarkState::Missing, true);
    assert_eq!(shown().await, before);
    let token = async |token: &str| {
        let message = format!(
            "<key>MessageType</key><string>SetBootstrapToken</string><key>BootstrapToken</key>{}",
            data(token.as_bytes())
        );
        house.check_in(&mac, &message).await.unwrap();
        house.settle().await;
    };
    // Two days later somebody signs in, and the Mac says so twice. It takes its time for the key.
    house.clock.advance(2 * DAY);
    token("one").await;
    token("one").await;
    assert_eq!(next(&house, &mac, "SecurityInfo").await, None);
    house.clock.advance(10 * MINUTE);
    house.settle().await;
    let (uuid, _) = next(&house, &mac, "SecurityInfo").await.unwrap();
    let made = envelope(&escrow(&org).await, NEW);
    let says = format!(
        "<key>SecurityInfo</key><dict><key>FDE_Enabled</key><true/><key>FDE_HasPersonalRecoveryKey</key><true/>\
         <key>FDE_PersonalRecoveryKeyCMS</key>{}</dict>",
        data(&made)
    );
    say(&house, &mac, &uuid, "Acknowledged", &says).await;
    let after = (Some(KeyCustody::New), MarkState::Proved, false);
    assert_eq!(shown().await, after);
    assert_eq!(
        see(&org, &mac, SecretKind::RecoveryKey).await.as_deref(),
        Some(NEW)
    );
    assert_eq!(record(&org, "recovery-key.asked").await, 1);
    // Another token, another day: nobody asks again.
    house.clock.advance(DAY);
    token("two").await;
    house.clock.advance(10 * MINUTE);
    house.settle().await;
    assert_eq!(record(&org, "recovery-key.asked").await, 1);
}

/// A Mac whose proof is over, and saw no key, brings its bootstrap token.
async fn brings_token(house: &House, mac: &Gadget, org: &Org, token: &str) {
    let report = org.device_report(&mac.serial).await.unwrap();
    let mut set_up = report.set_up.unwrap();
    if !set_up.is_ended() {
        set_up.state = SetUpState::Ended(SetUpEnd::ProvedWithExceptions);
        (set_up.wake_at, set_up.ceiling_at) = (None, None);
        let mut batch = Batch::new();
        batch.put(set_up);
        house.mdm.store().commit(batch).await.unwrap();
        assert_eq!(next(house, mac, "SecurityInfo").await, None);
    }
    let message = format!(
        "<key>MessageType</key><string>SetBootstrapToken</string><key>BootstrapToken</key>{}",
        data(token.as_bytes())
    );
    house.check_in(mac, &message).await.unwrap();
    house.settle().await;
}

#[tokio::test]
async fn a_mac_that_made_no_key_for_its_late_bootstrap_token_is_not_asked_for_each_new_one() {
    let (house, mac, org) = stage().await;
    brings_token(&house, &mac, &org, "one").await;
    house.clock.advance(10 * MINUTE);
    house.settle().await;
    let (uuid, _) = next(&house, &mac, "SecurityInfo").await.unwrap();
    let off = "<key>SecurityInfo</key><dict><key>FDE_Enabled</key><false/></dict>";
    say(&house, &mac, &uuid, "Acknowledged", off).await;
    house.clock.advance(DAY);
    brings_token(&house, &mac, &org, "two").await;
    house.clock.advance(10 * MINUTE);
    house.settle().await;
    assert_eq!(record(&org, "recovery-key.asked").await, 1);
}

#[tokio::test]
async fn a_mac_whose_new_key_came_before_anybody_asked_is_not_asked() {
    let (house, mac, org) = stage().await;
    brings_token(&house, &mac, &org, "one").await;
    // Somebody has it make a new one meanwhile.
    let asked = org.rotate_filevault(&mac.serial, "handed over").await;
    asked.unwrap();
    let (uuid, _) = next(&house, &mac, "RotateFileVaultKey").await.unwrap();
    let made = envelope(&escrow(&org).await, NEW);
    say(&house, &mac, &uuid, "Acknowledged", &rotated(&made)).await;
    let held = see(&org, &mac, SecretKind::RecoveryKey).await;
    assert_eq!(held.as_deref(), Some(NEW));
    house.clock.advance(10 * MINUTE);
    house.settle().await;
    assert_eq!(record(&org, "recovery-key.asked").await, 0);
}
