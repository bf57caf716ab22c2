//! A sealed hand-off from both sides: what OpenSSL's command line seals is taken, each device is taken or refused by itself, once,
//! also over a crash; secrets are in the vault and nowhere else; the old recovery key goes when the new one is proved. The jobs for which
//! bundles are made have a file of their own.

mod jobs;
mod order;
#[path = "../service_house/mod.rs"]
mod service_house;

use std::process::{Command, Stdio};
use std::time::Duration;

use mdm_core::clock::Timestamp;
use mdm_core::device::Device;
use mdm_core::error::Error;
use mdm_core::filevault::KeyCustody;
use mdm_core::hand_off::bundle::{self, BundleDevice};
use mdm_core::hand_off::envelope::{KeyPair, Purpose, seal, sha256};
use mdm_core::hand_off::{HandOffState, SCHEMA};
use mdm_core::ids::{AuditId, DeviceId, HandOffId, HandOffPartId, SecretId, Serial};
use mdm_core::original::{OriginalApp, OriginalNetwork, Said};
use mdm_core::sealed::SealedSecret;
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::{HandOffView, Org, Revealed};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore};
use service_house::{House, START};

const DAY: Duration = Duration::from_secs(86_400);
const KEY: &str = "ABCD-EFGH-2345-WXYZ-0000-1111";
const CODE: &str = "000H4-0R40M-30F2-0918-5HR3-8F17";

fn serial(n: usize) -> Serial {
    Serial::parse(&format!("HANDOFF{n}")).unwrap()
}

async fn fleet(house: &House, count: usize) -> Org {
    let org = house.org().await.acting_for("Anna");
    let mut batch = Batch::new();
    for n in 0..count {
        let id = DeviceId(house.next_id());
        batch.put(Device::new(org.organisation().id, id, serial(n)));
    }
    house.mdm.store().commit(batch).await.unwrap();
    org
}

/// A secret of the first device.
async fn secret_of(org: &Org, kind: SecretKind) -> Result<Secret, Error> {
    match org.reveal(&serial(0), kind, "test", None).await? {
        Revealed::Shown(secret) => Ok(secret),
        other @ Revealed::Waits(_) => panic!("{other:?}"),
    }
}

fn signer() -> KeyPair {
    KeyPair::create("Old MDM", Purpose::Signer, START, START + DAY).unwrap()
}

async fn job(org: &Org, signer: &KeyPair) -> HandOffView {
    let by = sha256(&signer.certificate);
    org.new_hand_off("Old MDM", START + DAY, Some(&by))
        .await
        .unwrap()
}

fn told(n: usize) -> BundleDevice {
    let mut said = Said::nothing(serial(n));
    said.system = Some("26.1".to_owned());
    said.apps = Some(vec![OriginalApp::new("com.example.app")]);
    said.networks = Some(vec![OriginalNetwork::new("Office", true)]);
    let mut device = BundleDevice::new(said);
    device.take("recovery_key", Secret::from_text(KEY)).unwrap();
    device.take("bypass_code", Secret::from_text(CODE)).unwrap();
    device
}

fn bundle_for(job: &HandOffView, signer: &KeyPair, devices: &[BundleDevice]) -> Vec<u8> {
    let plain = bundle::write("Old MDM", START, Some(job.id), devices).unwrap();
    sealed(job, signer, &plain)
}

fn sealed(job: &HandOffView, signer: &KeyPair, plain: &Secret) -> Vec<u8> {
    let recipient = openssl::x509::X509::from_pem(job.certificate.as_bytes()).unwrap();
    seal(plain, &recipient.to_der().unwrap(), signer, START).unwrap()
}

async fn why(org: &Org, job: HandOffId, bundle: &[u8]) -> String {
    let refused = org.import_hand_off(job, bundle.to_vec()).await;
    refused.unwrap_err().to_string()
}

fn openssl(arguments: &[&str], directory: &std::path::Path) {
    let done = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the openssl command line is there");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{arguments:?}: {said}");
}

/// The commands of `docs/hand-off.md`, as they stand there.
#[tokio::test]
async fn what_the_openssl_command_line_seals_and_signs_is_taken() {
    let page = include_str!("../../../docs/hand-off.md");
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let run = |starts: &str| {
        let line = page
            .lines()
            .find(|line| line.trim_start_matches("$ ").starts_with(starts));
        let line = line.unwrap_or_else(|| panic!("{starts} is not on the page"));
        let words: Vec<&str> = line.trim_start_matches("$ ").split_whitespace().collect();
        openssl(&words[1..], at);
    };
    run("openssl req -x509");
    let signer = std::fs::read(at.join("signer.pem")).unwrap();
    let signer = openssl::x509::X509::from_pem(&signer).unwrap();
    let by = sha256(&signer.to_der().unwrap());
    let job = org
        .new_hand_off("Old MDM", START + DAY, Some(&by))
        .await
        .unwrap();
    std::fs::write(at.join("job.pem"), &job.certificate).unwrap();
    let plain = bundle::write("Old MDM", START, None, &[told(0), told(1)]).unwrap();
    std::fs::write(at.join("bundle.json"), plain.expose()).unwrap();
    run("openssl cms -encrypt");
    run("openssl cms -sign");
    let bundle = std::fs::read(at.join("bundle.p7m")).unwrap();
    let outcome = org.import_hand_off(job.id, bundle).await.unwrap();
    assert_eq!((outcome.accepted, outcome.rejected), (2, 0), "{outcome:?}");
    let facts = org.original(&serial(1)).await.unwrap();
    let system = facts.system.unwrap();
    assert_eq!((system.value.as_str(), system.at), ("26.1", START));
    assert_eq!(system.by, "Old MDM");
}

#[tokio::test]
async fn secrets_go_into_the_vault_and_nowhere_else() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let signer = signer();
    let job = job(&org, &signer).await;
    let mut device = told(0);
    let others = r#"{"serial":"HANDOFF0","secrets":{"unlock_token":"hunter2hunter2"}}"#;
    let others = BundleDevice::read(serde_json::from_str(others).unwrap(), 0).unwrap();
    // Only what the export writes: what is not known there goes another way.
    assert!(others.secrets.contains_key(&SecretKind::OriginalOther));
    device.notes.clear();
    let bundle = bundle_for(&job, &signer, &[device]);
    let outcome = org.import_hand_off(job.id, bundle).await.unwrap();
    assert_eq!(outcome.accepted, 1);
    let reveal = async |kind| secret_of(&org, kind).await;
    let key = reveal(SecretKind::OriginalRecoveryKey).await.unwrap();
    assert_eq!(key.expose_text(), Some(KEY));
    let code = reveal(SecretKind::OriginalBypassCode).await.unwrap();
    assert_eq!(code.expose_text(), Some(CODE));
    // What we made ourselves is another thing.
    assert!(reveal(SecretKind::RecoveryKey).await.is_err());
    for (name, content) in house.files() {
        let there = |text: &str| content.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(!there(KEY) && !there(CODE), "a secret is in {name}");
    }
    let record = house
        .mdm
        .store()
        .audit(org.organisation().id, AuditId(0), 1000)
        .await
        .unwrap();
    let whats: Vec<&str> = record.iter().map(|e| e.what.as_str()).collect();
    for what in [
        "hand-off.made",
        "hand-off.begun",
        "secrets.handed-over",
        "hand-off.imported",
    ] {
        assert!(whats.contains(&what), "{what}: {whats:?}");
    }
    assert!(!format!("{record:?}{outcome:?}").contains(KEY));
}

/// A key of ours, as it stands in the vault; nobody opens it here.
async fn keeps_key(house: &House, at: Timestamp) {
    let id = SecretId(house.next_id());
    let report = house.org().await.device_report(&serial(0)).await.unwrap();
    let (kind, device) = (SecretKind::RecoveryKey, Some(report.device.id));
    let sealed = b"sealed".to_vec();
    let mut batch = Batch::new();
    batch.put(SealedSecret::new(house.org, id, kind, device, sealed, at));
    house.mdm.store().commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_key_that_a_mac_gave_since_it_enrolled_stays_in_force_however_late_the_old_one_comes() {
    for (made, custody, kept) in [
        // It was here before, left, and came again with a key of the service between.
        (START, KeyCustody::Old, true),
        // It gave it to us, and days later what the other service knows is told.
        (START + DAY / 4, KeyCustody::New, false),
    ] {
        let house = House::new().await;
        let org = fleet(&house, 1).await;
        let mac = house.mac(serial(0).as_str()).await;
        house.clock.advance(DAY / 8);
        house.enrol(&mac).await;
        keeps_key(&house, made).await;
        house.clock.advance(DAY / 2);
        let signer = signer();
        let job = job(&org, &signer).await;
        let taken = house.mdm.now();
        let plain = bundle::write("Old MDM", taken, Some(job.id), &[told(0)]).unwrap();
        let bundle = sealed(&job, &signer, &plain);
        let outcome = org.import_hand_off(job.id, bundle).await.unwrap();
        let said = format!("{outcome:?}");
        assert_eq!(outcome.accepted, 1, "{said}");
        assert_eq!(said.contains("a newer one is held"), !kept, "{said}");
        let report = org.device_report(&serial(0)).await.unwrap();
        assert_eq!(report.recovery_key, Some(custody), "{said}");
        let there = |row: &&mdm_core::service::HeldSecret| row.kind == "original_recovery_key";
        assert_eq!(
            report.secrets.iter().filter(there).count(),
            usize::from(kept)
        );
    }
}

#[tokio::test]
async fn hostile_bundles_are_refused_by_name_and_leave_the_job_as_it_was() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let (signer, stranger) = (signer(), self::signer());
    let one = job(&org, &signer).await;
    let two = job(&org, &signer).await;
    let good = bundle_for(&one, &signer, &[told(0)]);
    let text = |plain: &str| sealed(&one, &signer, &Secret::from_text(plain));
    for (bundle, told) in [
        (
            bundle_for(&one, &stranger, &[told(0)]),
            "another certificate",
        ),
        (bundle_for(&two, &signer, &[told(0)]), "does not open"),
        (good[..good.len() - 100].to_vec(), "whole"),
        (vec![0; 40 * 1024 * 1024], "at most"),
        (Vec::new(), "SignedData"),
        (text("hunter2"), "bundle: is no JSON"),
        (text(&"[".repeat(100_000)), "bundle: cannot be"),
        (text(r#"{"format":"other","version":1}"#), "format: must be"),
        (
            text(&format!(
                r#"{{"format":"mdm-hand-off","version":1,"taken":"2026-12-10T09:00:00Z","job":{},"devices":[{{"serial":"HANDOFF0"}}]}}"#,
                two.id
            )),
            "job: names another job",
        ),
        (
            text(
                r#"{"format":"mdm-hand-off","version":1,"taken":"2027-12-10T09:00:00Z","devices":[{"serial":"HANDOFF0"}]}"#,
            ),
            "taken: lies in the future",
        ),
    ] {
        let said = why(&org, one.id, &bundle).await;
        assert!(said.contains(told), "{told}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert_eq!(
        org.hand_off(one.id).await.unwrap().state,
        HandOffState::Open
    );
    // A job whose signer nobody has confirmed takes nothing; one confirms it, by the digits that the other side read out.
    let open = org
        .new_hand_off("Old MDM", START + DAY, None)
        .await
        .unwrap();
    let unconfirmed = bundle_for(&open, &signer, &[told(0)]);
    assert!(why(&org, open.id, &unconfirmed).await.contains("confirmed"));
    let wrong = org.confirm_hand_off(open.id, "0f0f").await.unwrap_err();
    assert!(wrong.to_string().starts_with("signer: "), "{wrong}");
    let digits = sha256(&signer.certificate).to_uppercase();
    org.confirm_hand_off(open.id, &digits).await.unwrap();
    org.import_hand_off(open.id, unconfirmed).await.unwrap();
    // Past its end a job takes nothing, and the cleaning destroys its key.
    house.clock.advance(DAY + DAY);
    assert!(why(&org, one.id, &good).await.contains("has expired"));
    while house.mdm.work(50).await.unwrap() > 0 {}
    house.clock.advance(Duration::from_secs(7 * 3600));
    while house.mdm.work(50).await.unwrap() > 0 {}
    let state = org.hand_off(one.id).await.unwrap().state;
    assert!(matches!(state, HandOffState::Closed { .. }), "{state:?}");
}

#[tokio::test]
async fn a_bundle_that_comes_before_its_devices_are_known_uses_up_nothing() {
    let house = House::new().await;
    let org = fleet(&house, 0).await;
    let signer = signer();
    let job = job(&org, &signer).await;
    let bundle = bundle_for(&job, &signer, &[told(0), told(1)]);
    let refused = org.import_hand_off(job.id, bundle.clone()).await;
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("2 of the 2 devices"), "{why}");
    assert!(why.contains("mdmd inventory pull"), "{why}");
    let open = org.hand_off(job.id).await.unwrap();
    assert_eq!(open.state, HandOffState::Open);
    // The lists are read: the same file is taken, keys and all.
    let org = fleet(&house, 2).await;
    let outcome = org.import_hand_off(job.id, bundle).await.unwrap();
    assert_eq!((outcome.accepted, outcome.rejected), (2, 0), "{outcome:?}");
    assert!(
        secret_of(&org, SecretKind::OriginalRecoveryKey)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn whoever_says_so_has_a_bundle_taken_without_those_that_are_not_known() {
    let house = House::new().await;
    let org = fleet(&house, 1).await;
    let signer = signer();
    let job = job(&org, &signer).await;
    let bundle = bundle_for(&job, &signer, &[told(1)]);
    assert!(org.import_hand_off(job.id, bundle.clone()).await.is_err());
    let taken = org.import_hand_off_despite_unknown(job.id, bundle).await;
    let taken = taken.unwrap();
    assert_eq!((taken.accepted, taken.rejected), (0, 1));
    let over = org.hand_off(job.id).await.unwrap();
    assert!(matches!(over.state, HandOffState::Imported { .. }));
}

#[tokio::test]
async fn each_device_is_taken_or_refused_by_itself_and_shown() {
    let house = House::new().await;
    let org = fleet(&house, 4).await;
    let signer = signer();
    let job = job(&org, &signer).await;
    let plain = format!(
        r#"{{"format":"mdm-hand-off","version":1,"taken":"2026-12-10T08:00:00Z","devices":[
            {{"serial":"handoff0","asset_tag":"A-17","secrets":{{"recovery_key":"{KEY}","pin":"hunter2"}}}},
            {{"serial":"HANDOFF1","system":"Sequoia","secrets":{{"bypass_code":"{CODE}"}}}},
            {{"serial":"HANDOFF2","system":"26.1"}}, {{"serial":"HANDOFF2","system":"18.0"}},
            {{"serial":"STRANGER"}}, 7,
            {{"serial":"HANDOFF3","recovery_key":"{KEY}"}}]}}"#
    );
    let outcome = org
        .import_hand_off(job.id, sealed(&job, &signer, &Secret::from_text(plain)))
        .await
        .unwrap();
    assert_eq!(
        (outcome.devices, outcome.accepted, outcome.rejected),
        (7, 1, 6)
    );
    let parts = org
        .hand_off_parts(job.id, HandOffPartId(0), 20)
        .await
        .unwrap();
    let shown: Vec<String> = parts
        .iter()
        .flat_map(|part| &part.devices)
        .map(|r| {
            let secrets: Vec<&str> = r.secrets.iter().map(String::as_str).collect();
            format!(
                "{} {} {} {} {}",
                r.serial,
                r.accepted,
                r.facts,
                secrets.join(","),
                r.notes.join("; ")
            )
        })
        .collect();
    assert_eq!(
        parts
            .iter()
            .flat_map(|p| &p.devices)
            .cloned()
            .collect::<Vec<_>>(),
        outcome.results
    );
    let starts = [
        "HANDOFF0 true true original_other,original_recovery_key ",
        "HANDOFF1 false false original_bypass_code system: ",
        "HANDOFF2 false false  serial: occurs more than once",
        "HANDOFF2 false false  serial: occurs more than once",
        "STRANGER false false  serial: is not among",
        "devices[5] false false  devices[5]: must be an object",
        // A secret that is not among the secrets would be kept unsealed.
        "HANDOFF3 false false  recovery_key: would be kept unsealed",
    ];
    for (shown, start) in shown.iter().zip(starts) {
        assert!(shown.starts_with(start), "{shown}");
    }
    assert_eq!(shown.len(), starts.len());
    let more = org.original(&serial(0)).await.unwrap().more;
    assert_eq!(more["asset_tag"], "A-17");
    let other = secret_of(&org, SecretKind::OriginalOther).await.unwrap();
    assert_eq!(other.expose_text(), Some(r#"{"pin":"hunter2"}"#));
    // The same told by another bundle changes nothing and keeps one version of each secret.
    let next = self::job(&org, &signer).await;
    let same = bundle_for(&next, &signer, &[told(0)]);
    org.import_hand_off(next.id, same).await.unwrap();
    let report = org.device_report(&serial(0)).await.unwrap();
    let keys = report
        .secrets
        .iter()
        .filter(|s| s.kind == "original_recovery_key");
    assert_eq!(keys.count(), 1);
}

/// Cut at every commit, on both sides of the disk: sent again, the bundle goes on, and nothing is there twice.
#[tokio::test]
async fn a_crash_anywhere_goes_on_and_takes_nothing_twice() {
    let house = House::new().await;
    let org = fleet(&house, 600).await;
    let signer = signer();
    let devices: Vec<BundleDevice> = (0..600).map(told).collect();
    let id = org.organisation().id;
    for moment in [Moment::Before, Moment::After] {
        for nth in 1..=3 {
            let job = job(&org, &signer).await;
            let bundle = bundle_for(&job, &signer, &devices);
            let disk = SqliteStore::open(&house.path()).await.unwrap();
            let cut = house.over(FailingStore::new(disk, nth, moment));
            let dying = cut.organisation_by_id(id).await.unwrap();
            let died = dying.import_hand_off(job.id, bundle.clone()).await;
            assert!(died.is_err(), "{moment:?} {nth}");
            let last = moment == Moment::After && nth == 3;
            let again = org.import_hand_off(job.id, bundle.clone()).await;
            match again {
                Ok(outcome) => {
                    let done = outcome.done_before + outcome.results.len();
                    assert_eq!(done, 600, "{moment:?} {nth}");
                }
                Err(error) => assert!(last && error.to_string().contains("was used"), "{error}"),
            }
            let parts = org
                .hand_off_parts(job.id, HandOffPartId(0), 20)
                .await
                .unwrap();
            let mut all: Vec<&str> = parts
                .iter()
                .flat_map(|p| &p.devices)
                .map(|r| r.serial.as_str())
                .collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 600, "{moment:?} {nth}");
            let state = org.hand_off(job.id).await.unwrap().state;
            assert!(
                matches!(
                    state,
                    HandOffState::Imported {
                        devices: 600,
                        rejected: 0,
                        ..
                    }
                ),
                "{state:?}"
            );
        }
    }
    let report = org.device_report(&serial(599)).await.unwrap();
    assert_eq!(report.secrets.len(), 2, "{:?}", report.secrets);
}

/// What is written fits the published schema, by a validator that nobody here wrote.
#[test]
fn what_is_written_fits_the_published_schema() {
    let published = include_str!("../../../docs/hand-off.schema.json");
    assert_eq!(published, SCHEMA, "docs and library have one schema");
    let there = Command::new("python3")
        .args(["-c", "import jsonschema"])
        .stderr(Stdio::null())
        .status();
    if !there.is_ok_and(|status| status.success()) {
        let required = std::env::var_os("MDMD_TEST_REQUIRE_JSONSCHEMA").is_some();
        assert!(!required, "python3 has no jsonschema");
        eprintln!("skipped: python3 has no module jsonschema");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let schema = directory.path().join("schema.json");
    std::fs::write(&schema, SCHEMA).unwrap();
    let fits = |name: &str, document: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, document).unwrap();
        let script = "import json,sys,jsonschema\ns=json.load(open(sys.argv[1]))\njsonschema.Draft202012Validator.check_schema(s)\n\
            jsonschema.Draft202012Validator(s).validate(json.load(open(sys.argv[2])))";
        let done = Command::new("python3")
            .args(["-c", script])
            .args([&schema, &path])
            .output()
            .unwrap();
        (
            done.status.success(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        )
    };
    let mut full = told(1);
    let everything = serde_json::json!({
        "serial": "full-1", "system": "26.1", "last_seen": "2026-12-01T00:00:00Z", "enrolment": "automated", "shared": false,
        "return_to_service": false, "owner": { "name": "A", "email": "a@example.com", "groups": ["x"] }, "time_zone": "Europe/Berlin", "language": "pt-BR",
        "managed_user": { "name": "ada", "last_sign_in": "2026-12-01T00:00:00Z" },
        "apps": [{ "bundle_id": "a", "name": "A", "store_id": 7, "signed_until": "2027-01-01T00:00:00Z" }],
        "networks": [{ "ssid": "Office", "managed": true }], "profiles": [{ "identifier": "p", "name": "P", "payloads": ["com.apple.wifi.managed"] }],
        "user_lock": true, "asset_tag": "A-17",
    });
    full.said = Ok(serde_json::from_value(everything).unwrap());
    for name in [
        "device_bypass_code",
        "recovery_lock_password",
        "firmware_password",
    ] {
        full.take(name, Secret::from_text("123456")).unwrap();
    }
    let nothing = BundleDevice::new(Said::nothing(serial(2)));
    let plain = bundle::write("Old", START, Some(HandOffId(7)), &[told(0), full, nothing]).unwrap();
    let (good, said) = fits("good.json", plain.expose());
    assert!(good, "{said}");
    // And it says no to what we refuse.
    let text = plain.expose_text().unwrap();
    for (from, to) in [
        ("mdm-hand-off", "other"),
        (KEY, "hunter2"),
        ("\"26.1\"", "7"),
        ("\"devices\"", "\"device\""),
    ] {
        let (bad, _) = fits("bad.json", text.replace(from, to).as_bytes());
        assert!(!bad, "{from} as {to} should not fit");
    }
}
