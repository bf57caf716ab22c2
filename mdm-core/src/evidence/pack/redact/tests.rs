//! What a pack may name, and what it may not.

use super::*;
use crate::ids::{DeviceId, OrganisationId};
use serde_json::json;

#[test]
fn what_belongs_together_stays_together_and_nobody_is_named() {
    let mut redaction = Redaction::new([Redact::Owners, Redact::Serials]).unwrap();
    redaction.know_serial("C02A");
    let owner = json!({ "organisation": 1, "id": 2, "owner": { "value": { "name": "Eva Ander", "email": "eva@example.com" }, "at": "2026-01-01T00:00:00Z", "by": "x" },
        "managed_user": { "value": { "name": "eva" }, "at": "2026-01-01T00:00:00Z", "by": "x" } });
    let original: OriginalFacts = serde_json::from_value(owner).unwrap();
    assert_eq!(
        (original.organisation, original.id),
        (OrganisationId(1), DeviceId(2))
    );
    let words = redaction.words_of(Some(&original), None);
    let mut value = json!({
        "C02A": ["C02A", "of Eva Ander <eva@example.com>", "C02AB", "xC02A"],
        "user": "waiting for the sign-in of eva", "n": 7, "evaluate": "evaluated",
    });
    let before = value.clone();
    assert!(redaction.value(&mut value, &words));
    let text = value.to_string();
    for gone in ["Eva", "Ander", "eva@", "\"C02A\"", "of eva"] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    let device = redaction.pseudonym("device", "C02A");
    assert_eq!(value[&device][0], device);
    assert_eq!(
        value[&device].as_array().unwrap()[2..],
        before["C02A"].as_array().unwrap()[2..]
    );
    assert_eq!(value["evaluate"], "evaluated");
    // Another pack has other pseudonyms.
    let other = Redaction::new([Redact::Serials]).unwrap();
    assert_ne!(other.pseudonym("device", "C02A"), device);
    assert!(!format!("{redaction:?}").contains("C02A"));
}

#[test]
fn a_device_is_known_by_more_than_its_serial_number() {
    let check = |what: &[Redact], gone: &[&str], stay: &[&str]| {
        let mut redaction = Redaction::new(what.iter().copied()).unwrap();
        let serial = crate::ids::Serial::parse("C02A").unwrap();
        let mut device = Device::new(OrganisationId(1), DeviceId(2), serial);
        device.facts.udid = Some("00008140-00AA11".to_owned());
        device.facts.name = Some("Anna's MacBook".to_owned());
        device.facts.radio.imei = Some("35 123".to_owned());
        redaction.know_device(&device);
        let words = redaction.words_of(None, Some(&device));
        let mut value = json!({
            "facts": { "udid": "00008140-00AA11", "os_version": "26.1", "name": "Anna's MacBook", "family": "Mac" },
            "says": "00008140-00AA11 is Anna's MacBook with 35 123",
            "raw": { "LocalHostName": "annas-mac", "WiFiMAC": "aa:bb", "EthernetMACs": ["cc:dd"], "MEID": "A1", "IsSupervised": true },
        });
        redaction.value(&mut value, &words);
        let text = value.to_string();
        for word in gone {
            assert!(!text.contains(word), "{what:?} {word}: {text}");
        }
        for word in stay {
            assert!(text.contains(word), "{what:?} {word}: {text}");
        }
    };
    let numbers = ["00008140-00AA11", "35 123", "aa:bb", "cc:dd", "A1"];
    let names = ["Anna", "annas-mac"];
    let always = ["26.1", "\"Mac\"", "IsSupervised"];
    check(
        &[Redact::Serials],
        &[&numbers[..], &names].concat(),
        &always,
    );
    check(&[Redact::Owners], &names, &[&numbers[..], &always].concat());
    check(
        &[Redact::Actors],
        &[],
        &[&numbers[..], &names, &always].concat(),
    );
}

#[test]
fn a_group_of_one_word_is_nowhere_and_words_of_ours_stay() {
    let mut redaction = Redaction::new([Redact::Owners]).unwrap();
    // Called as keys of ours are, and as our sentences begin.
    let names = ["Sales", "apps", "Night Shift"].map(str::to_owned);
    redaction.know_groups(&names);
    let mut value = json!({
        "gap": { "each_group": 2, "groups": { "Sales": 3, "Gone": 1 }, "tags": { "till": 1 } },
        "place": { "groups": [{ "group": "Sales" }, { "tag": "till" }] },
        "device": { "groups": ["Sales", "Night Shift", "Gone"] },
        "only": ["group:Sales", "group:Gone", "lab"],
        "why": "only for devices with lab, group:apps",
        "says": "5 devices of the group Sales around 2026, of the group Night Shift and groups with limits",
        "apps": "apps are apps", "told": "the Night Shift", "reason": "Sales asked",
    });
    assert!(redaction.value(&mut value, &[]));
    let text = value.to_string();
    for gone in ["Sales", "Night", "Shift", "Gone", "group:apps"] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    let sales = redaction.pseudonym(GROUP_WORD, "Sales");
    assert_eq!(value["gap"]["groups"][&sales], 3);
    assert_eq!(value["gap"]["each_group"], 2);
    assert_eq!(value["gap"]["tags"]["till"], 1);
    assert_eq!(value["place"]["groups"][0]["group"], sales);
    assert_eq!(value["place"]["groups"][1]["tag"], "till");
    assert_eq!(value["device"]["groups"][0], sales);
    assert_eq!(value["only"][0], format!("group:{sales}"));
    assert_eq!(value["only"][2], "lab");
    let says = value["says"].as_str().unwrap();
    assert!(says.starts_with(&format!("5 devices of the group {sales} around")));
    assert!(says.ends_with(" and groups with limits"), "{says}");
    assert_eq!(value["apps"], "apps are apps");
    // Within the words of its device, too, and joined with the others.
    let mut device = Device::new(
        OrganisationId(1),
        DeviceId(2),
        crate::ids::Serial::parse("C02A").unwrap(),
    );
    device.groups.insert("Sales".to_owned());
    let words = redaction.words_of(None, Some(&device));
    assert_eq!(redaction.text("of Sales", &words), format!("of {sales}"));
    // Nobody asked for that: groups stay.
    let mut other = Redaction::new([Redact::Serials]).unwrap();
    other.know_groups(&names);
    let kept = json!({ "groups": ["Sales"], "only": ["group:Sales"], "says": "group Sales" });
    let mut value = kept.clone();
    assert!(!other.value(&mut value, &[]));
    assert_eq!(value, kept);
}

#[test]
fn a_group_that_is_called_as_a_word_of_every_sentence_is_replaced_where_it_is_a_name() {
    let mut redaction = Redaction::new([Redact::Owners]).unwrap();
    let names = ["IT", "A", "All", "Sales", "sales", "R & D"].map(str::to_owned);
    redaction.know_groups(&names);
    let mut value = json!({
        "reason": "A user of IT tried it, all of it, as a test; All may. SALES asked R & D",
        "note": "for the group it and the group A",
        "only": ["group:IT"], "groups": ["All", "Sales", "sales"],
        "says": "it is a sentence of ours: all is well",
    });
    assert!(redaction.value(&mut value, &[]));
    let name = |group| redaction.pseudonym(GROUP_WORD, group);
    let (it, all, sales) = (name("IT"), name("All"), name("Sales"));
    assert_eq!(
        value["reason"],
        format!(
            "A user of {it} tried it, all of it, as a test; {all} may. {sales} asked {}",
            name("R & D")
        )
    );
    assert_eq!(
        value["note"],
        format!("for the group {it} and the group {}", name("A"))
    );
    assert_eq!(value["only"][0], format!("group:{it}"));
    // One group, however it is written.
    assert_eq!(value["groups"], json!([all, sales, sales]));
    assert_eq!(value["says"], "it is a sentence of ours: all is well");
    let mut counts = json!({ "groups": { "Sales": 3, "sales": 1 } });
    assert!(redaction.value(&mut counts, &[]));
    let kept = counts["groups"].as_object().unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(kept[&sales], 3);
}

#[test]
fn whoever_acted_is_one_pseudonym_and_sentences_that_people_typed_name_nobody() {
    let mut redaction = Redaction::new([Redact::Actors, Redact::Owners]).unwrap();
    redaction.know_actor("Anna Approver <anna@example.com>");
    redaction.know_actor("nightly-sync");
    redaction.know_actor("worker");
    redaction.know_actor("sign-in");
    redaction.know_actor("schedule");
    let owner = json!({ "organisation": 1, "id": 2, "owner": { "value": { "name": "Eva Ander", "email": "eva@example.com" }, "at": "2026-01-01T00:00:00Z", "by": "x" } });
    redaction.know_owner(&serde_json::from_value(owner).unwrap());
    let mut value = json!({
        "by": "Anna Approver <anna@example.com>", "actor": "worker", "token": "nightly-sync",
        "text": "signed by Anna Approver, mail anna@example.com, for Eva Ander",
        "reason": "Eva asked Anna; see Ander", "Eva": "evaluate Eva", "note": "EVA told anna, ANNA@example.com",
        "schedule": "schedule at once", "asked_by": "schedule",
        "device_assigned_by": "boss@example.com", "apple_actor": "clerk@example.com (USER)",
    });
    assert!(redaction.value(&mut value, &[]));
    let at_apple = value["apple_actor"].as_str().unwrap();
    assert!(at_apple.starts_with("actor-"), "{at_apple}");
    let anna = value["by"].as_str().unwrap().to_owned();
    assert!(anna.starts_with("actor-"));
    assert_eq!(value["actor"], "worker");
    assert_eq!(value["token"].as_str().unwrap().len(), anna.len());
    let text = value["text"].as_str().unwrap();
    assert!(
        text.starts_with(&format!("signed by {anna}, mail {anna}, for owner-")),
        "{text}"
    );
    let reason = value["reason"].as_str().unwrap();
    assert!(
        reason.contains(&format!("asked {anna}; see owner-")),
        "{reason}"
    );
    let note = value["note"].as_str().unwrap();
    assert!(
        note.starts_with("owner-") && note.ends_with(&format!("told {anna}, {anna}")),
        "{note}"
    );
    // The name of a token may be a word of ours.
    assert_eq!(value["schedule"], "schedule at once");
    assert!(value["asked_by"].as_str().unwrap().starts_with("actor-"));
    // One word of nobody's sentence is no name.
    assert_eq!(value["Eva"], "evaluate Eva");
    assert!(!value.to_string().contains("example.com"), "{value}");
}
