//! The evidence of a wave: every word of people is in it, and nothing of another wave.

use std::collections::BTreeMap;

use mdm_core::audit::AuditEntry;
use mdm_core::evidence::pack::{PackAsk, Redact};
use mdm_core::ids::{AuditId, WaveId};
use mdm_core::service::{Dates, Org};
use mdm_core::store::Batch;
use mdm_core::wave::{Preset, WaveState};
use serde_json::json;

use super::service_house::fleet::serials;
use super::service_house::{Bytes, House, START};
use super::{DAY, dates, fleet, pilot, project, wave};

/// The evidence pack of a wave, as text.
pub(super) async fn evidence(org: &Org, wave: WaveId, redact: &[Redact]) -> String {
    let ask = PackAsk {
        wave,
        redact: redact.iter().copied().collect(),
        server: "mdmd".to_owned(),
        formats: Vec::new(),
    };
    let mut bytes = Bytes(Vec::new());
    org.evidence_to(&ask, &mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes.0).into_owned()
}

#[tokio::test]
async fn every_word_of_people_is_in_the_pack_and_a_void_one_is_not_done() {
    let house = House::new().await;
    let (org, _, pilot) = pilot(&house, 3, 2, [1, 9]).await;
    let accept = async |reason: &str| {
        let seen = org.run_what_if(pilot).await.unwrap();
        org.accept(pilot, &seen.digest, &[], reason).await.unwrap();
    };
    let told = async || {
        let items = org.checklist().await.unwrap().items;
        let of = |item: &&mdm_core::checklist::ChecklistItem| {
            item.stage == mdm_core::checklist::Stage::WhatIf && item.item == "pilot"
        };
        items.iter().find(of).unwrap().fact.clone()
    };
    accept("the first time").await;
    assert_eq!(told().await, "accepted by Anna");
    // One more member, and nobody has looked at it.
    let dates = dates([1, 9]);
    org.add_members(pilot, &serials(2..3), dates).await.unwrap();
    assert!(told().await.contains("is void"), "{}", told().await);
    accept("the second time").await;
    assert_eq!(told().await, "accepted by Anna");
    org.submit_accepted(pilot, "pilot").await.unwrap();

    // What two persons did for a member is there, and what they did for another device is not.
    let (store, own) = (house.mdm.store(), org.organisation().id);
    let ask = |n: usize| {
        let wanted = mdm_core::approval::Wanted::Force {
            serials: serials(n..n + 1),
            deadline: START + 2 * DAY,
            digest: "0f".to_owned(),
        };
        mdm_core::audit::AuditEntry::new(
            own,
            mdm_core::ids::AuditId(house.next_id()),
            START,
            "Bo",
            "approval.confirmed",
            None,
            json!({ "asked_by": "Anna", "wanted": wanted, "reason": "the lease ends" }),
        )
    };
    let mut batch = Batch::new();
    batch.put(ask(1)).put(ask(7));
    store.commit(batch).await.unwrap();
    let pack = evidence(&org, pilot, &[]).await;
    let from = pack.find("approvals.json\0").unwrap();
    let text = &pack[from..];
    let (from, to) = (text.find('{').unwrap(), text.find("\n}\n").unwrap() + 2);
    let words: serde_json::Value = serde_json::from_str(&text[from..to]).unwrap();
    let reasons: Vec<&str> = words["acceptances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["accepted"]["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["the first time", "the second time"]);
    let mut whats: Vec<(&str, &str)> = words["record"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["what"].as_str().unwrap(),
                one["actor"].as_str().unwrap(),
            )
        })
        .collect();
    whats.sort_unstable();
    assert_eq!(
        whats,
        [
            ("approval.confirmed", "Bo"),
            ("wave.accepted", "Anna"),
            ("wave.accepted", "Anna"),
            ("wave.submitted", "Anna"),
        ]
    );
}

/// Writes a line of the record that is of no device.
async fn wrote(house: &House, org: &Org, what: &str, detail: serde_json::Value) {
    let (id, now) = (AuditId(house.next_id()), house.mdm.now());
    let of = org.organisation().id;
    let mut batch = Batch::new();
    batch.put(AuditEntry::new(of, id, now, "Anna", what, None, detail));
    house.mdm.store().commit(batch).await.unwrap();
}

#[tokio::test]
async fn the_evidence_of_a_wave_is_not_that_of_another_of_its_name() {
    let house = House::new().await;
    let org = fleet(&house, 6).await;
    let project = project(&org, &house).await;
    let mut waves = Vec::new();
    for (month, of) in [("January", 0..3), ("March", 3..6)] {
        house.clock.advance(DAY);
        let one = wave(&org, project, "pilot", Preset::Pilot).await;
        house.clock.advance(DAY);
        org.add_members(one, &serials(of), Dates::default())
            .await
            .unwrap();
        // Entries of earlier versions have the name alone.
        for what in ["wave.gate-signed", "wave.paused", "wave.runbooks"] {
            let detail = json!({ "wave": "pilot", "reason": format!("said in {month}") });
            wrote(&house, &org, what, detail).await;
        }
        house.clock.advance(DAY);
        let (store, id) = (house.mdm.store(), org.organisation().id);
        let mut row = store.wave(id, one).await.unwrap().unwrap();
        row.state = WaveState::Closed {
            at: house.mdm.now(),
        };
        let mut batch = Batch::new();
        batch.put(row);
        store.commit(batch).await.unwrap();
        let ends = json!({ "wave": "pilot", "ends": month });
        wrote(&house, &org, "wave.closed", ends).await;
        waves.push(one);
        house.clock.advance(DAY);
    }
    // What two persons confirmed was for members of both.
    let going: BTreeMap<_, _> = serials(2..4).into_iter().map(|s| (s, "7")).collect();
    let wanted = json!({ "what": "cancel", "serials": serials(2..4), "going": going });
    for what in ["approval.asked", "approval.confirmed"] {
        let detail = json!({ "approval": "1", "wanted": wanted, "reason": "both of them" });
        wrote(&house, &org, what, detail).await;
    }
    let left_out = json!({ "serials": serials(2..4), "why": ["it has begun"] });
    let detail = json!({ "digest": "0f", "left_out": left_out });
    wrote(&house, &org, "approval.left-out", detail).await;
    for (nth, own, other, month, not) in [
        (0, 0..3, 3..6, "January", "March"),
        (1, 3..6, 0..3, "March", "January"),
    ] {
        let pack = evidence(&org, waves[nth], &[]).await;
        for serial in serials(own) {
            assert!(pack.contains(serial.as_str()), "{month}: {serial}");
        }
        for serial in serials(other) {
            assert!(!pack.contains(serial.as_str()), "{month}: {serial}");
        }
        // Three entries in the record, and the signature once more among the words of people.
        let said = pack.matches(&format!("said in {month}")).count();
        assert_eq!(said, 4, "{month}");
        assert!(!pack.contains(not), "{month}");
        assert!(pack.contains(&format!("\"ends\":\"{month}\"")), "{month}");
        assert!(pack.contains("both of them"), "{month}");
        assert!(pack.contains("\"others\":1"), "{month}");
        assert!(pack.contains("approval.left-out"), "{month}");
    }
}
