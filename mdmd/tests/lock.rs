//! Activation Locks lifted from the command line: Apple's word is no proof, its reading afterwards is; a code that does not fit, a
//! lie, an answer that is lost, a second person. The simulated Apple says in the end what is locked.

mod town;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fixtures::apple::lock_removal::{bypass_code, bypass_code_hash};
use fixtures::apple::organisation::{LockKind, LockState};
use fixtures::conduct::Conduct;
use mdm_core::hand_off::bundle::{self, BundleDevice};
use mdm_core::hand_off::envelope::{KeyPair, Purpose, seal, sha256};
use mdm_core::ids::Serial;
use mdm_core::original::Said;
use mdm_core::secret::Secret;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::{Value, json};
use town::{Ended, Town};

const TOPIC: &str = "com.apple.mgmt.External.town";
const DAY: Duration = Duration::from_secs(86_400);

/// A town whose devices are known, whose push certificate is one of Apple's, and whose vault has the code of each device in turn.
async fn stage(codes: &[&str]) -> Town {
    let town = Town::found(codes.len()).await;
    town.furnish().await;
    town.json(&["inventory", "pull"]).await;
    let org = town.org().await;
    let (certificate, key) = town.world.apple().push_certificate(TOPIC).unwrap();
    let der = X509::from_pem(certificate.as_bytes()).unwrap().to_der();
    let key = PKey::private_key_from_pem(key.as_bytes()).unwrap();
    let key = Secret::new(key.private_key_to_pkcs8().unwrap());
    let now = town.app.mdm.now();
    org.import_push(TOPIC, der.unwrap(), now + DAY * 300, &key)
        .await
        .unwrap();
    let signer = KeyPair::create("Old MDM", Purpose::Signer, now, now + DAY).unwrap();
    let by = sha256(&signer.certificate);
    let job = org
        .new_hand_off("Old MDM", now + DAY, Some(&by))
        .await
        .unwrap();
    let told: Vec<BundleDevice> = town
        .serials()
        .iter()
        .zip(codes)
        .filter(|(_, code)| !code.is_empty())
        .map(|(serial, code)| {
            let said = Said::nothing(Serial::parse(serial).unwrap());
            let mut device = BundleDevice::new(said);
            let code = Secret::from_text(*code);
            device.take("bypass_code", code).unwrap();
            device
        })
        .collect();
    let plain = bundle::write("Old MDM", now, Some(job.id), &told).unwrap();
    let to = X509::from_pem(job.certificate.as_bytes()).unwrap();
    let bundle = seal(&plain, &to.to_der().unwrap(), &signer, now).unwrap();
    let taken = org.import_hand_off(job.id, bundle).await.unwrap();
    assert_eq!(taken.accepted as usize, told.len());
    town
}

fn locked_with(town: &Town, serial: &str, code: &str) {
    let hash = bypass_code_hash(code).unwrap();
    town.world
        .apple()
        .set_lock(serial, LockState::by_service(&hash));
}

fn is_locked(town: &Town, serial: &str) -> bool {
    town.world.apple().lock_state(serial).locked()
}

async fn clear(town: &Town, serial: &str, more: &[&str]) -> Ended {
    let arguments = ["device", "clear-lock", serial, "--reason", "sold", "--json"];
    town.mdmd(&[&arguments[..], more].concat()).await
}

fn refusals(lock: &Value) -> Vec<u64> {
    let tried = lock["clearing"]["tried"].as_array().unwrap().iter();
    tried.filter_map(|t| t["refused"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_lifted_with_the_code_of_the_vault_and_read_back_as_off() {
    let (code, other) = (bypass_code(&[7; 16]), bypass_code(&[9; 16]));
    let town = stage(&[&code, &other, &code, &code, ""]).await;
    let serials = town.serials();
    locked_with(&town, &serials[0], &code);
    locked_with(&town, &serials[1], &code);
    let lock = town.json(&["device", "lock", &serials[0]]).await;
    assert_eq!(lock["meaning"], "nobody has read it");

    let done = clear(&town, &serials[0], &[]).await;
    assert_eq!(done.exit, 0, "{} {}", done.out, done.err);
    let lock = done.json();
    assert_eq!(
        (&lock["proof"], &lock["apple"]["word"]),
        (&json!("off"), &json!("NONE"))
    );
    assert!(
        lock["meaning"]
            .as_str()
            .unwrap()
            .starts_with("cleared, and read as off")
    );
    assert_eq!(lock["clearing"]["tried"][0]["kind"], "original_bypass_code");
    assert!(!is_locked(&town, &serials[0]));

    // A code that is another's opens nothing, and says who can go on.
    let done = clear(&town, &serials[1], &[]).await;
    assert_eq!(done.exit, 4, "{} {}", done.out, done.err);
    let lock = done.json();
    assert_eq!(
        (&lock["proof"], refusals(&lock)),
        (&json!("refused"), vec![404])
    );
    assert!(
        done.err.contains("administrator of the organisation"),
        "{}",
        done.err
    );
    assert!(is_locked(&town, &serials[1]));

    // After a migration that failed the lock is Apple's own.
    let apple = town.world.apple();
    apple.set_lock(
        &serials[2],
        LockState {
            kind: LockKind::Administrator,
            ..LockState::default()
        },
    );
    let done = clear(&town, &serials[2], &[]).await;
    assert_eq!(done.exit, 4, "{} {}", done.out, done.err);
    assert!(is_locked(&town, &serials[2]));

    // Where there is no lock no code is used; where there is no code nothing is asked.
    let done = clear(&town, &serials[3], &[]).await;
    assert_eq!(done.exit, 0, "{} {}", done.out, done.err);
    let lock = done.json();
    assert_eq!(lock["clearing"]["tried"], json!([]));
    assert_eq!(lock["clearing"]["state"]["state"], "no-lock");
    let done = clear(&town, &serials[4], &[]).await;
    assert_eq!(done.exit, 3, "{} {}", done.out, done.err);
    assert!(done.err.contains("no bypass code"), "{}", done.err);

    let record = town.record().await;
    let of = |what: &str| record.iter().filter(|(_, entry)| entry == what).count();
    assert_eq!(
        (
            of("lock.clear-asked"),
            of("lock.cleared"),
            of("lock.read-off")
        ),
        (4, 1, 1)
    );
    assert_eq!((of("lock.not-cleared"), of("lock.none")), (2, 1));
    let shown = town.json(&["report", "device", &serials[0]]).await;
    assert!(
        shown.to_string().contains("clearing of its lock"),
        "{shown}"
    );
    let all = town.json(&["audit", "tail", "--lines", "500"]).await;
    for secret in [&code, &other] {
        assert!(!all.to_string().contains(secret.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_is_found_out_and_a_lost_answer_is_read_before_it_is_asked_again() {
    let code = bypass_code(&[7; 16]);
    let town = stage(&[&code, &code]).await;
    let serials = town.serials();
    for serial in &serials {
        locked_with(&town, serial, &code);
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let (liar, lost, count) = (serials[0].clone(), serials[1].clone(), Arc::clone(&asked));
    town.world.direct(Arc::new(move |of| match of.kind {
        "EscrowKeyUnlock" if of.serial == liar => Conduct::Silent,
        "EscrowKeyUnlock" if of.serial == lost => {
            count.fetch_add(1, Ordering::Relaxed);
            Conduct::Withhold
        }
        _ => Conduct::Usual,
    }));
    let done = clear(&town, &serials[0], &["--wait", "4"]).await;
    assert_eq!(done.exit, 4, "{} {}", done.out, done.err);
    assert_eq!(done.json()["proof"], "still-on");
    assert!(done.err.contains("still read as on"), "{}", done.err);

    let done = clear(&town, &serials[1], &[]).await;
    assert_eq!(done.exit, 0, "{} {}", done.out, done.err);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(!is_locked(&town, &serials[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_takes_the_permission_of_secrets_and_two_persons_where_they_are_demanded() {
    let code = bypass_code(&[7; 16]);
    let town = stage(&[&code]).await;
    let serial = town.serials().remove(0);
    locked_with(&town, &serial, &code);
    let plain = town.token("Cleo", "admin", &[]).await;
    let seer = town
        .token("Dana", "helpdesk", &["devices", "secrets"])
        .await;
    let clear = ["device", "clear-lock", &serial, "--reason", "sold"];
    let done = town.mdmd_by(&plain, &clear).await;
    assert_ne!(done.exit, 0, "without the scope: {}", done.out);
    assert!(done.err.contains("scope"), "{}", done.err);
    let mut empty = clear.to_vec();
    empty[4] = " ";
    let done = town.mdmd_by(&seer, &empty).await;
    assert_eq!(done.exit, 2, "{}", done.err);

    town.json(&["approval", "always"]).await;
    let done = town.mdmd_by(&seer, &clear).await;
    assert_eq!(done.exit, 3, "{} {}", done.out, done.err);
    assert!(is_locked(&town, &serial));
    let waiting = town.json(&["approval", "list"]).await;
    let number = waiting["approvals"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(waiting["approvals"][0]["wanted"]["act"], "clear-lock");
    town.json(&["approval", "confirm", &number]).await;
    let look = ["device", "lock", &serial, "--json"];
    for _ in 0..2_000 {
        if town.mdmd(&look).await.json()["settled"] == true {
            break;
        }
    }
    let lock = town.json(&["device", "lock", &serial]).await;
    assert_eq!(lock["proof"], "off");
    assert_eq!(lock["clearing"]["by"], "Dana");
    assert_eq!(lock["clearing"]["confirmed_by"], "local administrator");
    assert!(!is_locked(&town, &serial));
}
