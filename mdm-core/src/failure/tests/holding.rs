//! In the hold and after it: keys, locks, and steps that are tried again.

use std::time::Duration;

use serde_json::json;

use super::{NOW, device, exception, said_of, set_up_json};
use crate::clock::Timestamp;
use crate::device::Device;
use crate::device_lock::LockSight;
use crate::failure::FailureMode;
use crate::migration::Owner;
use crate::secret::SecretKind;

#[test]
fn whose_key_opens_a_mac_is_said_with_the_failure() {
    let mut mac = device();
    mac.facts.product = Some("Mac15,7".to_owned());
    let more = json!({ "exceptions": [exception("fv-escrow", Owner::Device)] });
    let set_up = set_up_json(&mac, more);
    let hour = Duration::from_hours(1);
    let says = |held: &[(SecretKind, Timestamp)]| {
        said_of(&mac, &set_up, held, FailureMode::NoNewKey).map(|(_, said)| said)
    };
    let (ours, brought) = (SecretKind::RecoveryKey, SecretKind::OriginalRecoveryKey);
    let said = says(&[]).unwrap();
    assert!(
        said.contains("key custody: none: no recovery key is held"),
        "{said}"
    );
    let said = says(&[(brought, NOW - hour)]).unwrap();
    assert!(
        said.contains("key custody: old: the recovery key of the service that it left"),
        "{said}"
    );
    let said = says(&[(ours, NOW - hour), (brought, NOW - hour * 2)]).unwrap();
    assert!(
        said.contains("key custody: old: an older recovery key"),
        "{said}"
    );
    let said = says(&[(ours, NOW - hour * 2), (brought, NOW - hour)]).unwrap();
    assert!(said.contains("of the service that it left"), "{said}");
    // It came after all.
    assert_eq!(says(&[(ours, NOW + hour)]), None);
}

#[test]
fn a_lock_that_nobody_saw_is_unknown_after_the_end_too() {
    let mut phone = device();
    let ended = json!({ "ended": "proved_with_exceptions" });
    let never = json!({ "state": ended, "exceptions": [exception("verify: lock", Owner::Apple)] });
    let step = json!({ "status": { "skipped": { "why": "asked, not yet read: it is locked already" } }, "since": NOW });
    let asked = json!({ "state": ended, "proofs": { "lock": step } });
    for more in [never, asked] {
        let set_up = set_up_json(&phone, more);
        let says = |phone: &Device| said_of(phone, &set_up, &[], FailureMode::LockUnknown);
        phone.lock.apple = None;
        assert!(says(&phone).unwrap().1.contains("has not been read"));
        let sight = |on: bool, at| LockSight {
            on,
            word: "MDM".to_owned(),
            at,
        };
        phone.lock.apple = Some(sight(true, NOW - Duration::from_hours(1)));
        assert!(
            says(&phone).is_some(),
            "it was read before it was asked for"
        );
        phone.lock.apple = Some(sight(true, NOW + Duration::from_hours(1)));
        assert_eq!(says(&phone), None, "Apple shows it by now");
    }
}

#[test]
fn what_a_step_was_told_last_is_shown_while_it_is_tried_again() {
    let phone = device();
    let said = |step: serde_json::Value, id: &str| {
        let more = json!({ "state": { "holding": { "since": NOW, "steps": { id: step } } } });
        let set_up = set_up_json(&phone, more);
        said_of(&phone, &set_up, &[], FailureMode::StepStuck).unwrap()
    };
    let error = json!({ "why": "12064: no licence was found", "owner": "licence" });
    let app = json!({ "status": "running", "since": NOW, "own": { "apps": { "apps": {
        "app.mail": { "failures": 1, "again": true, "forgiven": error },
        "app.notes": { "done": true, "forgiven": { "why": "once", "owner": "device" } },
    } } } });
    let (owner, words) = said(app, "apps-keep");
    assert_eq!(owner, Owner::Licence);
    assert!(
        words.contains("the last error: app.mail: 12064: no licence was found"),
        "{words}"
    );
    assert!(!words.contains("once"), "{words}");
    let told = json!({ "attempt": 1, "at": NOW, "open": true, "errors": 1, "error": { "why": "4001: it is invalid", "owner": "destination" } });
    let profile = json!({ "status": "running", "since": NOW, "asked": { "0": told } });
    let (owner, words) = said(profile, "network");
    assert_eq!(owner, Owner::Destination);
    assert!(
        words.contains("1 errors so far") && words.contains("4001: it is invalid"),
        "{words}"
    );
    let lock = json!({ "status": "running", "since": NOW, "tries": 1, "error": { "why": "the lock could not be asked for", "owner": "destination" } });
    assert_eq!(said(lock, "lock").0, Owner::Destination);
}
