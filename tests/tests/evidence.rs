//! What is left when a wave is over: reports whose numbers are the world's, and a pack that finds every touch and holds no secret.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fixtures::verdict::Whereabouts;
use mdm_core::error::Error;
use mdm_core::evidence::pack::{PackAsk, PackSink, Redact, ReportText, verify_pack};
use mdm_core::evidence::{ReportAsk, ReportHead, ReportRow, WholeReport};
use mdm_core::ids::WaveId;
use mdm_core::service::Org;
use mdmd::rehearsal::{Faults, HouseOptions, Rehearsal, Stage};
use serde_json::Value;
use tests::{Haystack, Needles, SOON};

/// A report in which every row has a value for every column.
async fn whole(org: &Org, ask: ReportAsk) -> WholeReport {
    let mut kept = WholeReport::default();
    org.report_to(&ask, &mut kept).await.unwrap();
    let head = kept.head.as_ref().unwrap();
    let columns = head.columns.len();
    assert!(kept.rows.iter().all(|row| row.len() == columns), "{ask:?}");
    for table in &head.tables {
        assert!(
            table.rows.iter().all(|r| r.len() == table.columns.len()),
            "{}",
            table.name
        );
    }
    kept
}

struct Bytes(Vec<u8>);

#[async_trait]
impl PackSink for Bytes {
    async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.0.extend(bytes);
        Ok(())
    }
}

/// Reports within the pack, as lines.
struct Lines;

impl ReportText for Lines {
    fn head(&mut self, head: &ReportHead) -> Option<String> {
        Some(format!("{}\n", serde_json::to_string(head).unwrap()))
    }

    fn rows(&mut self, rows: &[ReportRow]) -> String {
        rows.iter()
            .map(|row| format!("{}\n", Value::from(row.clone())))
            .collect()
    }

    fn end(&self) -> String {
        String::new()
    }
}

async fn pack(org: &Org, wave: WaveId, redact: &[Redact]) -> Vec<u8> {
    let ask = PackAsk {
        wave,
        redact: redact.iter().copied().collect(),
        server: "mdmd".to_owned(),
        formats: vec![("jsonl", || Box::new(Lines))],
    };
    let mut bytes = Bytes(Vec::new());
    org.evidence_to(&ask, &mut bytes).await.unwrap();
    bytes.0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reported_is_what_happened_and_nobody_can_touch_it() {
    let mut rehearsal = Rehearsal::new(16, 5);
    rehearsal.faults = Faults::Some;
    let directory = tempfile::tempdir().unwrap();
    let world = rehearsal.world().await.unwrap();
    let stage = Stage::set(world, directory.path(), HouseOptions::default())
        .await
        .unwrap();
    let (wave, _) = stage.plan_for(None, &SOON).await.unwrap();
    stage.play(wave).await.unwrap();
    let org = stage.org().await.unwrap().acting_for("Anna");

    // The numbers are the world's.
    let verdicts = stage.world.verdicts().await;
    let with_us = verdicts
        .iter()
        .filter(|v| v.enrolled_with_destination)
        .count() as u64;
    let free = verdicts
        .iter()
        .filter(|v| v.whereabouts == Whereabouts::Free)
        .count() as u64;
    let report = whole(&org, ReportAsk::Wave(wave)).await;
    assert_eq!(report.rows.len(), 16);
    assert_eq!(report.number("funnel", "members", 1), 16);
    assert_eq!(report.number("funnel", "enrolled", 1), with_us);
    assert_eq!(report.number("funnel", "released", 1), free);
    assert_eq!(report.number("marks", "registered", 1), with_us);
    let macs = verdicts.iter().filter(|v| v.platform == "macOS").count();
    assert!(macs > 0 && macs < 16);
    for (column, state) in report.column("key").iter().zip(report.column("platform")) {
        let wanted = column.as_str() != Some("not wanted");
        assert_eq!(wanted, state == "macOS", "{column} {state}");
    }
    for name in ["registered", "user", "updated", "apps", "key", "lock"] {
        assert!(report.column(name).iter().all(|c| c.is_string()), "{name}");
    }
    // Each has a moment at which what is said of it was true.
    assert!(report.column("Apple age s").iter().all(|age| age.is_u64()));

    let holds = whole(&org, ReportAsk::Holds(Some(wave))).await;
    let let_out: u64 = ["evidence", "policy", "ceiling", "person", "device"]
        .map(|by| holds.number("let out by", by, 1))
        .iter()
        .sum();
    assert_eq!(let_out, free);
    assert_eq!(
        holds.number(
            "durations",
            "from the begin of the hold until the device was out",
            1
        ),
        free
    );
    assert!(holds.number("steps", "identify", 6) >= free);
    let longest = verdicts.iter().map(|v| v.hold_ms).max().unwrap() / 1000;
    let told = holds.number(
        "durations",
        "from the begin of the hold until the device was out",
        5,
    );
    assert!(
        told.abs_diff(longest.try_into().unwrap()) <= 120,
        "{told} and {longest}"
    );

    let exceptions = whole(&org, ReportAsk::Exceptions(Some(wave))).await;
    assert!(exceptions.column("owner").iter().all(|c| c.is_string()));
    assert!(
        exceptions
            .column("next action")
            .iter()
            .all(|c| c.as_str().is_some_and(|s| !s.is_empty()))
    );
    // Nobody is sent to a step that would be refused: it begins again only while the set-up of its device is under way.
    let nexts = exceptions.column("next action");
    for (serial, next) in exceptions.column("serial").iter().zip(&nexts) {
        if next.to_string().contains("retry-step") {
            let serial = mdm_core::ids::Serial::parse(serial.as_str().unwrap()).unwrap();
            let known = Box::pin(org.device_report(&serial)).await.unwrap();
            assert!(known.set_up.is_some_and(|s| !s.is_ended()), "{next}");
        }
    }
    let requests = whole(&org, ReportAsk::Requests(Some(wave))).await;
    assert!(requests.column("kind").iter().any(|c| *c == "schedule"));
    assert!(requests.column("activity").iter().any(|c| c.is_string()));
    let unheard = whole(&org, ReportAsk::Unheard { days: 7 }).await;
    assert!(unheard.head.is_some());
    whole(&org, ReportAsk::WhatIf(wave)).await;

    // Every transition has its cause and its evidence.
    let serial = &verdicts[0].serial;
    let ask = ReportAsk::Device(mdm_core::ids::Serial::parse(serial).unwrap());
    let device = whole(&org, ask).await;
    let (whats, froms) = (device.column("what"), device.column("from"));
    let mut transitions = 0;
    for ((what, from), (cause, evidence)) in whats
        .iter()
        .zip(froms)
        .zip(device.column("cause").iter().zip(device.column("evidence")))
    {
        if **what == "move" || **what == "set-up" {
            transitions += 1;
            assert!(from.is_string() && cause.is_string(), "{what} {from}");
            assert!(evidence.is_object(), "{what} {cause}: {evidence}");
        }
    }
    assert!(transitions > 10, "{transitions}");

    let bytes = pack(&org, wave, &[]).await;
    let report = verify_pack(&mut &*bytes, None).unwrap();
    assert_eq!(report.broken, Vec::<String>::new());
    let manifest = report.manifest.unwrap();
    assert_eq!(report.chain.unsealed, 0);
    assert!(report.chain.sealed > 100 && report.redacted == 0);
    for file in [
        "approvals.json",
        "members/00001.jsonl",
        "reports/wave-0001.jsonl",
    ] {
        assert!(manifest.files.iter().any(|f| f.name == file), "{file}");
    }
    let raw = manifest
        .files
        .iter()
        .filter(|f| f.name.ends_with(".result"));
    assert!(raw.count() > 0, "no raw result of Apple");
    // It says who was where before.
    let all = String::from_utf8_lossy(&bytes);
    assert!(all.contains("\"before\":{\"device\":{\"at\":") && all.contains("evidence.exported"));

    // Any changed byte is found: those of every heading and of the end, and many between.
    let step = (bytes.len() / 150).max(1);
    let ends = (0..64).chain(bytes.len() - 64..bytes.len());
    for at in (0..bytes.len()).step_by(step).chain(ends.step_by(9)) {
        let mut touched = bytes.clone();
        touched[at] ^= 4;
        let found = verify_pack(&mut &*touched, None).unwrap();
        assert!(!found.broken.is_empty(), "byte {at} of {}", bytes.len());
    }

    // What is of something else than this wave has its place in the chain, and no words.
    assert!(report.chain.sealed > report.others && report.others > 0);
    assert!(all.contains("\"what\":\"wave.submitted\"") && !all.contains("organisation.created"));
    // How its requests to Apple ended is of it.
    assert!(all.contains("\"what\":\"errand.ended\""));

    // A later checkpoint does not fit to it, an earlier one does.
    let later = org.checkpoint().await.unwrap();
    let found = verify_pack(&mut &*bytes, Some(&later)).unwrap();
    assert!(
        later.seal.0 > 1
            && (found.broken.is_empty() || found.broken[0].contains("is not in the pack"))
    );

    // No secret is in it, and with pseudonyms no serial number either, though what belongs together stays together.
    let mut needles = Needles::new();
    for kept in stage.house.kept_secrets().await.unwrap() {
        let secret = kept.secret.expose();
        if secret.len() >= 8 {
            needles.add(&kept.name, secret);
        }
    }
    assert!(needles.len() > 20, "{}", needles.len());
    let mut hay = Haystack::new();
    hay.add("pack", bytes.clone());
    assert_eq!(needles.search(&hay), []);
    let redacted = pack(
        &org,
        wave,
        &[Redact::Actors, Redact::Owners, Redact::Serials],
    )
    .await;
    let report = verify_pack(&mut &*redacted, None).unwrap();
    assert_eq!(report.broken, Vec::<String>::new());
    assert!(report.redacted > 0 && report.others > 0);
    let text = String::from_utf8_lossy(&redacted);
    for verdict in &verdicts {
        assert!(all.contains(&verdict.serial));
        assert!(!text.contains(&verdict.serial), "{}", verdict.serial);
        // Nor by any other number or name by which it is known.
        let serial = mdm_core::ids::Serial::parse(&verdict.serial).unwrap();
        let device = org.device_report(&serial).await.unwrap().device;
        for known in [
            device.facts.udid,
            device.facts.name,
            device.facts.radio.imei,
        ] {
            let Some(known) = known else { continue };
            assert!(all.contains(&known), "{known}");
            assert!(!text.contains(&known), "{known}");
        }
    }
    // Whoever acted is one pseudonym everywhere, and those who are nobody stay.
    assert!(
        all.contains("\"Anna\"") && !text.contains("Anna"),
        "an operator is named"
    );
    assert!(text.contains("\"actor\":\"worker\""));
    let mut uses = BTreeMap::<&str, usize>::new();
    for (at, _) in text.match_indices("device-") {
        if let Some(name) = text.get(at..at + 23) {
            *uses.entry(name).or_default() += 1;
        }
    }
    let joined = uses.values().filter(|n| **n > 3).count();
    assert!(joined >= 16, "{joined} devices can be joined");

    stage.strike().await.unwrap();
}
