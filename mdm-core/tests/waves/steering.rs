//! A wave under way: kept back by the gate of the one before, stopped by its rule or a person, closed by itself; who is blocked is
//! looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::calendar::{Calendar, Zone};
use mdm_core::check::Check;
use mdm_core::device::{DeviceRecord, Platform};
use mdm_core::error::Error;
use mdm_core::ids::{AuditId, WaveId};
use mdm_core::migration::plan::LaterBecause;
use mdm_core::migration::{Move, MoveState, Outcome, PinnedRunbook, Variant};
use mdm_core::original::Said;
use mdm_core::project::Gate;
use mdm_core::service::{Org, ProjectChange};
use mdm_core::store::Batch;
use mdm_core::wave::{DefinedProfile, Preset, Waiver};
use serde_json::json;

use super::service_house::fleet::{serial, serials};
use super::service_house::{House, START};
use super::{DAY, closes, dates, fleet, members, pilot, project, says, under_way, wave};

/// Has the members of a wave end, as if Apple and their devices had done their part.
pub(super) async fn end(house: &House, org: &Org, wave: WaveId, outcomes: &[Outcome]) {
    let mut batch = Batch::new();
    for (mut attempt, outcome) in members(org, wave).await.into_iter().zip(outcomes) {
        attempt.state = MoveState::Ended(*outcome);
        attempt.ended = Some(START);
        attempt.wake_at = None;
        batch.put(attempt);
    }
    house.mdm.store().commit(batch).await.unwrap();
}

#[tokio::test]
async fn the_next_wave_waits_for_evidence_and_a_signature() {
    let house = House::new().await;
    let (org, id, pilot) = under_way(&house, 8, 4).await;
    let main = wave(&org, id, "main", Preset::Main).await;
    let dates = dates([1, 9]);
    org.add_members(main, &serials(4..8), dates).await.unwrap();
    let against = async || -> Vec<String> {
        let all = org.what_if(main).await.unwrap().against_all;
        all.into_iter().filter(|a| a.starts_with("gate:")).collect()
    };
    assert!(against().await[0].contains("pilot: 0 of 4 devices have migrated"));
    let digest = org.what_if(main).await.unwrap().digest;
    says(org.accept(main, &digest, &[], "").await, "gate: pilot");
    says(
        org.submit_accepted(main, "main").await,
        "nobody has accepted",
    );

    says(org.sign_gate(pilot, "soon", false).await, "0 of 4 devices");
    // One that says nothing of what it is for waits for all that do.
    let free = org.new_wave(id, "free", None).await.unwrap().id;
    let held = org.what_if(free).await.unwrap().against_all;
    assert!(held.iter().any(|a| a.contains("pilot: 0 of 4")), "{held:?}");
    end(&house, &org, pilot, &[Outcome::Migrated; 4]).await;
    assert_eq!(against().await, ["gate: pilot: nobody has signed"]);
    says(org.sign_gate(pilot, " ", false).await, "must be there");
    says(org.sign_gate(main, "fine", false).await, "nothing to sign");
    let standing = org
        .sign_gate(pilot, "all four are well", false)
        .await
        .unwrap();
    let signed = standing.gate.unwrap().signed.unwrap();
    assert_eq!(
        (
            signed.by.as_str(),
            signed.evidence["tally"]["migrated"].as_u64()
        ),
        ("Anna", Some(4))
    );
    assert!(against().await.is_empty());
    let digest = org.what_if(main).await.unwrap().digest;
    org.accept(main, &digest, &[], "").await.unwrap();
    assert_eq!(org.submit_accepted(main, "main").await.unwrap(), 4);
    says(
        org.close_project(id).await,
        "4 devices have not come to an end",
    );

    // What has not begun may be proposed a later deadline, and never an earlier one: these lie on a Saturday, and it is kept free.
    let mut batch = Batch::new();
    for mut attempt in members(&org, main).await {
        attempt.state = MoveState::Scheduled {
            since: START,
            visible: Some(START),
        };
        batch.put(attempt);
    }
    house.mdm.store().commit(batch).await.unwrap();
    let proposed = async |why| {
        let all = org.later_deadlines(main).await.unwrap();
        assert!(
            all.iter()
                .all(|g| g.why == why && g.deadline > dates.deadline),
            "{all:?}"
        );
        all.iter().map(|g| g.serials.len()).sum::<usize>()
    };
    assert_eq!(proposed(LaterBecause::Hours).await, 4);
    let mut calendar = Calendar::default();
    let day = Zone::utc().local(dates.deadline.unwrap()).day;
    let free = json!({ "first": day.to_string(), "last": day.to_string(), "why": "audit" });
    calendar
        .blackouts
        .push(serde_json::from_value(free).unwrap());
    let change = ProjectChange {
        calendar: Some(calendar),
        gate: Some(Gate::default()),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    assert_eq!(proposed(LaterBecause::KeptFree).await, 4);
    let drift = org.standing(main).await.unwrap().drift;
    assert!(
        drift.iter().any(|d| d.contains("another calendar")),
        "{drift:?}"
    );

    // A change afterwards shows as drift, and changes nothing that was submitted.
    let before = members(&org, main).await;
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.soft_ceiling_secs = 600;
    let change = ProjectChange {
        runbooks: BTreeMap::from([(Platform::Ios, runbook)]),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let drift = org.standing(main).await.unwrap().drift;
    assert!(
        drift[0].contains("revision 1") && drift[2].contains("another runbook for iOS"),
        "{drift:?}"
    );
    assert_eq!(members(&org, main).await, before);
}

#[tokio::test]
async fn a_signature_is_of_those_who_had_gone_when_it_was_given() {
    let house = House::new().await;
    let (org, id, pilot) = under_way(&house, 6, 2).await;
    let main = wave(&org, id, "main", Preset::Main).await;
    let against = async || -> Vec<String> {
        let all = org.what_if(main).await.unwrap().against_all;
        all.into_iter().filter(|a| a.starts_with("gate:")).collect()
    };
    end(&house, &org, pilot, &[Outcome::Failed; 2]).await;
    org.sign_gate(pilot, "known, and mended", true)
        .await
        .unwrap();
    assert!(against().await.is_empty());
    // More go with the same wave, after whatever was signed.
    let dates = dates([1, 9]);
    org.add_members(pilot, &serials(2..6), dates).await.unwrap();
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    assert!(against().await.is_empty(), "nobody has gone yet");
    assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 4);
    let standing = org.standing(pilot).await.unwrap();
    assert_eq!(standing.gate.unwrap().signed, None);
    let held = against().await;
    assert!(
        held.iter().any(|a| a.contains("nobody has signed")),
        "{held:?}"
    );
    let record = org.record_tail(100).await.unwrap();
    let mut submitted = record.iter().filter(|e| e.what == "wave.submitted");
    assert!(submitted.any(|e| e.detail["gate_no_more_signed_by"] == "Anna"));
}

#[tokio::test]
async fn what_the_stop_rule_counts_a_pause_of_a_person_does_not_wipe() {
    let house = House::new().await;
    let (org, _, pilot) = under_way(&house, 6, 6).await;
    let looked = async || {
        house.clock.advance(Duration::from_secs(301));
        house.mdm.work(50).await.unwrap();
        org.standing(pilot).await.unwrap().wave
    };
    end(&house, &org, pilot, &[Outcome::Failed; 3]).await;
    // A planner pauses it before the rule has looked, and has it go on.
    org.pause_wave(pilot, true, "a bug", false).await.unwrap();
    let paused = looked().await.paused.unwrap();
    assert!(!paused.is_by_rule(), "{paused:?}");
    org.pause_wave(pilot, false, "mended", false).await.unwrap();
    let paused = looked().await.paused.unwrap();
    assert!(paused.is_by_rule(), "{paused:?}");
    // From there it takes an approver, whose word the next pause of a planner leaves as it is.
    let refused = org.pause_wave(pilot, false, "mended", false).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    org.pause_wave(pilot, false, "mended", true).await.unwrap();
    org.pause_wave(pilot, true, "lunch", false).await.unwrap();
    org.pause_wave(pilot, false, "they are back", false)
        .await
        .unwrap();
    let row = looked().await;
    assert_eq!(row.paused, None);
    let resumed = row.resumed.unwrap();
    assert_eq!((resumed.bad, resumed.ended), (3, 3));
}

#[tokio::test]
async fn a_wave_stops_by_itself_and_closes_by_itself() {
    let house = House::new().await;
    let (org, id, pilot) = under_way(&house, 6, 6).await;
    end(&house, &org, pilot, &[Outcome::Failed; 3]).await;
    house.clock.advance(Duration::from_secs(301));
    house.mdm.work(50).await.unwrap();
    let standing = org.standing(pilot).await.unwrap();
    let paused = standing.wave.paused.unwrap();
    assert_eq!(paused.by, "stop rule");
    assert!(paused.why.contains("3 of 3"), "{}", paused.why);
    assert_eq!((standing.tally.failed, standing.tally.submitting), (3, 3));
    let standing = org
        .pause_wave(pilot, false, "it was the lift", true)
        .await
        .unwrap();
    assert!(standing.wave.paused.is_none());

    end(
        &house,
        &org,
        pilot,
        &[
            Outcome::Failed,
            Outcome::Failed,
            Outcome::Failed,
            Outcome::Migrated,
            Outcome::Migrated,
            Outcome::Abandoned,
        ],
    )
    .await;
    house.clock.advance(Duration::from_secs(301));
    house.mdm.work(50).await.unwrap();
    closes(&org, id, pilot).await;
    says(org.new_wave(id, "late", None).await, "is closed");
    says(org.switch_project(id, true).await, "is closed");
}

#[tokio::test]
async fn what_was_not_done_at_the_original_keeps_a_device_back() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let id = project(&org, &house).await;
    let change = ProjectChange {
        prerequisites: Some(BTreeSet::from([
            "wifi-placed".to_owned(),
            "owner-told".to_owned(),
        ])),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    org.switch_project(id, true).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let dates = dates([1, 9]);
    org.add_members(pilot, &serials(0..2), dates).await.unwrap();
    let blocked = async || org.what_if(pilot).await.unwrap().blockers;
    assert!(blocked().await[&serial(0)][0].contains("not met: owner-told, wifi-placed"));
    says(
        org.meet(pilot, None, "nothing", "x").await,
        "none of the project's",
    );
    says(
        org.meet(pilot, None, "owner-told", "").await,
        "must be there",
    );
    org.meet(pilot, None, "owner-told", "letter of the 1st")
        .await
        .unwrap();
    org.meet(
        pilot,
        Some(&serials(1..2)),
        "wifi-placed",
        "profile list of the old service",
    )
    .await
    .unwrap();
    let left = blocked().await;
    assert_eq!(left.keys().cloned().collect::<Vec<_>>(), serials(0..1));
    assert!(left[&serial(0)][0].ends_with("not met: wifi-placed"));
    let met = &members(&org, pilot).await[1].met["wifi-placed"];
    assert_eq!((met.by.as_str(), met.at), ("Anna", START));
}

#[tokio::test]
async fn a_pause_keeps_offers_back_and_takes_none_away() {
    let house = House::new().await;
    let (org, _, pilot) = under_way(&house, 2, 2).await;
    let (store, own) = (house.mdm.store(), org.organisation().id);
    let mut server = store.server(own, house.server).await.unwrap().unwrap();
    let profile = DefinedProfile {
        uuid: "PROFILE".to_owned(),
        digest: "0f".to_owned(),
        proved_awaiting: true,
        defined: None,
    };
    server.profile = Some(profile);
    let mut batch = Batch::new();
    batch.put(server);
    // Both are ours at Apple; one of them was offered its migration.
    for (n, mut attempt) in members(&org, pilot).await.into_iter().enumerate() {
        let mut device = store.device(own, attempt.device).await.unwrap().unwrap();
        device.record = Some(DeviceRecord::new(house.server, START));
        device.assignment.from = Some(START);
        device.assignment.wanted = Some("PROFILE".to_owned());
        attempt.state = match n {
            0 => MoveState::Scheduled {
                since: START,
                visible: Some(START),
            },
            _ => MoveState::Offered { since: START },
        };
        batch.put(device);
        batch.put(attempt);
    }
    store.commit(batch).await.unwrap();
    let wanted = async || -> Vec<Option<String>> {
        house.clock.advance(Duration::from_secs(60));
        house.mdm.work(50).await.unwrap();
        let found = store.devices_by_serial(own, &serials(0..2)).await.unwrap();
        found.into_iter().map(|d| d.assignment.wanted).collect()
    };
    let offered = Some("PROFILE".to_owned());
    org.pause_wave(pilot, true, "a bug", false).await.unwrap();
    assert_eq!(wanted().await, [None, offered.clone()]);
    assert_eq!(wanted().await, [None, offered.clone()]);
    org.pause_wave(pilot, false, "mended", false).await.unwrap();
    assert_eq!(wanted().await, [offered.clone(), offered]);
}

#[tokio::test]
async fn who_is_accepted_is_ready_until_the_acceptance_is_void() {
    let house = House::new().await;
    let (org, _, pilot) = pilot(&house, 3, 3, [10, 20]).await;
    let tell = async |system: &str| {
        house.clock.advance(Duration::from_secs(1));
        let mut said = Said::nothing(serial(0));
        said.system = Some(system.to_owned());
        let now = house.mdm.now();
        org.import_originals("Old MDM", now, vec![said])
            .await
            .unwrap();
    };
    let states = async || -> Vec<&'static str> {
        let all = members(&org, pilot).await;
        let name = |m: &Move| match m.state {
            MoveState::Planned => "planned",
            MoveState::Blocked { .. } => "blocked",
            MoveState::Ready => "ready",
            _ => "gone on",
        };
        all.iter().map(name).collect()
    };
    // What a look finds shows at once, and what is accepted too.
    tell("18.5").await;
    let seen = org.run_what_if(pilot).await.unwrap();
    assert_eq!(states().await, ["blocked", "planned", "planned"]);
    org.accept(pilot, &seen.digest, &[], "").await.unwrap();
    assert_eq!(states().await, ["blocked", "ready", "ready"]);
    let tally = org.standing(pilot).await.unwrap().tally;
    assert_eq!((tally.planned, tally.blocked, tally.ready), (3, 1, 2));
    // Another fact: nobody is ready before it is accepted.
    tell("26.1").await;
    let seen = org.run_what_if(pilot).await.unwrap();
    assert_eq!(states().await, ["planned"; 3]);
    org.accept(pilot, &seen.digest, &[], "").await.unwrap();
    assert_eq!(states().await, ["ready"; 3]);
    // The same again changes nothing.
    org.run_what_if(pilot).await.unwrap();
    assert_eq!(states().await, ["ready"; 3]);
    // Nobody accepted other dates, and the others were accepted with these.
    let one = serials(1..2);
    let dated = org.set_dates(pilot, Some(&one), START + 21 * DAY, START + 10 * DAY);
    dated.await.unwrap();
    assert_eq!(states().await, ["ready", "planned", "ready"]);
    house.clock.advance(DAY + Duration::from_secs(600));
    house.mdm.work(50).await.unwrap();
    assert_eq!(states().await, ["planned"; 3]);
    // Who is waived is ready as well.
    tell("18.5").await;
    let seen = org.run_what_if(pilot).await.unwrap();
    let waiver = Waiver {
        check: Check::OsMinimum,
        serials: BTreeSet::from([serial(0)]),
        reason: "it is updated on the way".to_owned(),
    };
    org.accept(pilot, &seen.digest, &[waiver], "")
        .await
        .unwrap();
    assert_eq!(states().await, ["ready"; 3]);
    assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 3);
    assert_eq!(states().await, ["gone on"; 3]);
}

#[tokio::test]
async fn who_is_blocked_is_looked_at_again_daily_and_the_change_is_told() {
    let house = House::new().await;
    let (org, _, pilot) = pilot(&house, 2, 2, [10, 20]).await;
    let tell = async |system: &str| {
        let mut said = Said::nothing(serial(0));
        said.system = Some(system.to_owned());
        let now = house.mdm.now();
        org.import_originals("Old MDM", now, vec![said])
            .await
            .unwrap();
    };
    let day = async || {
        house.clock.advance(DAY + Duration::from_secs(600));
        house.mdm.work(50).await.unwrap();
        members(&org, pilot).await
    };
    org.run_what_if(pilot).await.unwrap();
    tell("18.5").await;
    let all = day().await;
    let MoveState::Blocked { blockers } = &all[0].state else {
        panic!("{:?}", all[0].state);
    };
    assert!(blockers[0].starts_with("os.minimum"), "{blockers:?}");
    assert_eq!(all[1].state, MoveState::Planned);
    // As before: nothing is told anew.
    day().await;
    house.clock.advance(Duration::from_secs(1));
    tell("26.1").await;
    let all = day().await;
    assert_eq!(all[0].state, MoveState::Planned);
    let record = org.record_tail(1000).await.unwrap();
    let looked: Vec<_> = record
        .iter()
        .filter(|entry| entry.what == "wave.looked-again")
        .map(|entry| {
            (
                entry.detail["newly"].clone(),
                entry.detail["no_more"].clone(),
            )
        })
        .collect();
    let one = json!([serial(0)]);
    let mut wanted = vec![(one.clone(), json!([])), (json!([]), one)];
    if looked[0].0 == json!([]) {
        wanted.reverse();
    }
    assert_eq!(looked, wanted);
    let moved = record.iter().filter(|entry| {
        entry.device == Some(all[0].device)
            && entry
                .detail
                .to_string()
                .to_lowercase()
                .contains("\"blocked\"")
    });
    assert!(moved.count() >= 2, "{record:#?}");
}

#[tokio::test]
async fn a_wave_of_which_nobody_would_go_is_not_submitted() {
    let house = House::new().await;
    // Both lie behind the window.
    let (org, _, pilot) = pilot(&house, 2, 2, [1, 40]).await;
    let digest = org.what_if(pilot).await.unwrap().digest;
    let accepted = org.accept(pilot, &digest, &[], "").await.unwrap();
    assert_eq!((accepted.going, accepted.staying), (0, 2));
    let before = org.standing(pilot).await.unwrap().wave;
    says(
        org.submit_accepted(pilot, "pilot").await,
        "every member stays behind",
    );
    let after = org.standing(pilot).await.unwrap().wave;
    assert_eq!(after, before, "the wave was submitted");
    assert!(after.plan.is_none() && after.revision.is_none());
    let planned = members(&org, pilot).await;
    assert!(planned.iter().all(Move::is_planned), "{planned:?}");
    let store = house.mdm.store();
    let record = store.audit(org.organisation().id, AuditId(0), 1000).await;
    let told = record.unwrap().iter().any(|e| e.what == "wave.submitted");
    assert!(!told, "the record says that it was");
}
