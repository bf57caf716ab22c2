//! Projects and their waves over rows: members put in, moved and taken out, spread over the hours of their owners, accepted by name
//! and void when anything changes, kept back by the gate of the wave before, stopped when too much fails. The other half, Apple, is
//! played in the stories.

mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::audit::AuditEntry;
use mdm_core::calendar::{Calendar, Zone};
use mdm_core::check::{Check, CheckResult};
use mdm_core::device::{Device, DeviceRecord, Platform};
use mdm_core::error::Error;
use mdm_core::evidence::pack::{PackAsk, PackSink, Redact};
use mdm_core::ids::{AcceptedId, AuditId, ProjectId, Serial, WaveId};
use mdm_core::migration::plan::LaterBecause;
use mdm_core::migration::{Move, MoveState, Outcome, PinnedRunbook, Variant};
use mdm_core::original::{OriginalApp, Said};
use mdm_core::project::{Gate, Window};
use mdm_core::service::{Candidates, Dates, Org, PlanFile, PlannedMet, ProjectChange};
use mdm_core::store::Batch;
use mdm_core::wave::{DefinedProfile, Preset, Waiver, WaveState};
use serde_json::json;
use service_house::fleet::{serial, serials};
use service_house::{House, START};

const DAY: Duration = Duration::from_hours(24);

/// So many iPhones, every fifth of somebody in Tokyo.
async fn fleet(house: &House, count: usize) -> Org {
    let differs = |n: usize, device: &mut Device, said: &mut Said| {
        if n.is_multiple_of(2) {
            device.tags.insert("even".to_owned());
        }
        let zone = match n.is_multiple_of(5) {
            true => "Asia/Tokyo",
            false => "Europe/Berlin",
        };
        said.time_zone = Some(Zone::parse(zone).unwrap());
    };
    house.fleet(count, differs).await
}

async fn project(org: &Org, house: &House) -> ProjectId {
    let mut change = ProjectChange {
        window: Some(Window {
            not_before: None,
            not_after: Some(START + 30 * DAY),
        }),
        ..ProjectChange::default()
    };
    // Those that are there last longer than the house's certificates do: nothing else is looked at here.
    change.gate = Some(Gate::default());
    let made = org
        .new_project("Berlin", house.server, &change)
        .await
        .unwrap();
    assert!(!made.on, "a project begins switched off");
    made.id
}

async fn wave(org: &Org, project: ProjectId, name: &str, preset: Preset) -> WaveId {
    org.new_wave(project, name, Some(preset)).await.unwrap().id
}

async fn members(org: &Org, wave: WaveId) -> Vec<Move> {
    org.members(wave).await.unwrap()
}

fn says(result: Result<impl std::fmt::Debug, Error>, sentence: &str) {
    let said = result.unwrap_err().to_string();
    assert!(said.contains(sentence), "{said}");
}

#[tokio::test]
async fn members_come_by_what_they_have_in_common_and_one_is_in_one_wave_only() {
    let house = House::new().await;
    let org = fleet(&house, 20).await;
    let project = project(&org, &house).await;
    let pilot = wave(&org, project, "pilot", Preset::Pilot).await;
    let main = wave(&org, project, "main", Preset::Main).await;
    says(
        org.new_wave(project, "pilot", None).await,
        "another open wave",
    );
    let even = Candidates {
        tag: Some("even".to_owned()),
        most: Some(4),
        ..Candidates::default()
    };
    let chosen = org.candidates(&even).await.unwrap();
    assert_eq!(chosen, [0, 2, 4, 6].map(serial));
    org.add_members(pilot, &chosen, Dates::default())
        .await
        .unwrap();
    says(
        org.add_members(main, &[serial(1), serial(2)], Dates::default())
            .await,
        "C02WAVE002: is in an open wave already",
    );
    assert!(
        members(&org, main).await.is_empty(),
        "half of a list was taken"
    );
    says(
        org.add_members(main, &[Serial::parse("NOBODY1").unwrap()], Dates::default())
            .await,
        "is not known here",
    );
    let rest = org.candidates(&Candidates::default()).await.unwrap();
    assert_eq!(rest.len(), 16, "who is in a wave is no candidate");
    org.add_members(main, &rest, Dates::default())
        .await
        .unwrap();
    let end = START + 30 * DAY;
    assert!(members(&org, main).await.iter().all(|m| m.deadline == end));

    assert_eq!(
        org.move_members(main, pilot, &serials(1..2)).await.unwrap(),
        1
    );
    assert_eq!(members(&org, pilot).await.len(), 5);
    says(
        org.move_members(main, pilot, &serials(1..2)).await,
        "is not in this wave",
    );
    assert_eq!(
        org.remove_members(pilot, Some(&serials(0..1)), "on leave")
            .await
            .unwrap(),
        1
    );
    let gone = &members(&org, pilot).await[0];
    assert_eq!(gone.state, MoveState::Ended(Outcome::Withdrawn));
    assert_eq!(
        org.candidates(&Candidates::default()).await.unwrap(),
        serials(0..1)
    );
}

#[tokio::test]
async fn deadlines_lie_in_the_office_hours_of_the_owners() {
    let house = House::new().await;
    let org = fleet(&house, 20).await;
    let id = project(&org, &house).await;
    let change = ProjectChange {
        capacity: Some(5),
        calendar: Some(Calendar::default()),
        ..ProjectChange::default()
    };
    let changed = org.change_project(id, &change).await.unwrap();
    assert_eq!(changed.revision, 2);
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    org.add_members(pilot, &serials(0..20), Dates::default())
        .await
        .unwrap();
    let before = members(&org, pilot).await;
    let dry = org
        .plan_dates(pilot, None, None, None, None, true)
        .await
        .unwrap();
    assert_eq!(members(&org, pilot).await, before, "a dry run has written");
    let placed = org
        .plan_dates(pilot, None, None, None, None, false)
        .await
        .unwrap();
    assert_eq!(dry, placed);
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    for member in members(&org, pilot).await {
        let n: usize = member.serial.as_str()[7..].parse().unwrap();
        let zone = Zone::parse(if n.is_multiple_of(5) {
            "Asia/Tokyo"
        } else {
            "Europe/Berlin"
        })
        .unwrap();
        let local = zone.local(member.deadline);
        assert!((540..=960).contains(&local.minute), "{member:?}");
        assert_eq!(member.deadline.since(member.available_from), 7 * DAY);
        *counts.entry(member.deadline).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<u32>(), 20);
    assert!(counts.values().all(|n| *n <= 5), "{counts:?}");
    // Another wave finds these hours taken.
    let report = org.what_if(pilot).await.unwrap().report;
    let capacity = report
        .server
        .iter()
        .find(|f| f.check == Check::Capacity)
        .unwrap();
    assert_eq!(capacity.result, CheckResult::Pass, "{}", capacity.fact);
    let change = ProjectChange {
        capacity: Some(4),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let all = org.what_if(pilot).await.unwrap();
    assert!(
        all.against_all
            .iter()
            .any(|a| a.starts_with("capacity: at most 5"))
    );
    says(
        org.plan_dates(pilot, None, Some(START + 8 * DAY), Some(1), None, true)
            .await,
        "there is room for",
    );
}

#[tokio::test]
async fn an_acceptance_is_somebodys_word_and_void_when_anything_changes() {
    let house = House::new().await;
    let org = fleet(&house, 6).await;
    let id = project(&org, &house).await;
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    says(
        org.submit_accepted(pilot, "pilot").await,
        "nobody has accepted",
    );
    org.add_members(pilot, &serials(0..6), Dates::default())
        .await
        .unwrap();
    org.set_dates(pilot, None, START + 9 * DAY, START + DAY)
        .await
        .unwrap();
    // One lies behind the window.
    org.set_dates(pilot, Some(&serials(0..1)), START + 40 * DAY, START + DAY)
        .await
        .unwrap();
    let first = org.run_what_if(pilot).await.unwrap();
    assert!(first.since.is_none());
    assert!(
        first.against_all.iter().any(|a| a.starts_with("switch:")),
        "{:?}",
        first.against_all
    );
    says(
        org.accept(pilot, &first.digest, &[], "").await,
        "switch: Berlin is off",
    );
    org.switch_project(id, true).await.unwrap();
    let second = org.run_what_if(pilot).await.unwrap();
    assert_ne!(first.digest, second.digest);
    assert_eq!(
        second.since.clone().unwrap().appeared.len(),
        0,
        "the members are as they were"
    );
    assert_eq!(
        second.blockers.keys().cloned().collect::<Vec<_>>(),
        serials(0..1)
    );
    says(
        org.accept(pilot, &first.digest, &[], "").await,
        "not the digest of what the what-if finds now",
    );
    let no = |check| Waiver {
        check,
        serials: BTreeSet::new(),
        reason: "it is known".to_owned(),
    };
    says(
        org.accept(pilot, &second.digest, &[no(Check::Capable)], "")
            .await,
        "cannot be waived",
    );
    let stranger = Waiver {
        serials: serials(19..20).into_iter().collect(),
        ..no(Check::Window)
    };
    says(
        org.accept(pilot, &second.digest, &[stranger], "").await,
        "is no planned member",
    );
    let silent = Waiver {
        reason: " ".to_owned(),
        ..no(Check::Window)
    };
    says(
        org.accept(pilot, &second.digest, &[silent], "").await,
        "must be there",
    );

    let accepted = org
        .accept(pilot, &second.digest, &[], "looked at")
        .await
        .unwrap();
    assert_eq!((accepted.going, accepted.staying), (5, 1));
    assert_eq!(accepted.acceptance.by, "Anna");
    assert!(org.what_if(pilot).await.unwrap().accepted.is_some());
    // Somebody moves a member: the acceptance is void, and what has changed is told.
    org.set_dates(pilot, Some(&serials(1..2)), START + 41 * DAY, START + DAY)
        .await
        .unwrap();
    let third = org.what_if(pilot).await.unwrap();
    assert!(third.accepted.is_none());
    let since = third.since.unwrap();
    assert_eq!(
        since.appeared,
        [(
            Check::Window,
            CheckResult::Block,
            BTreeSet::from([serial(1)])
        )]
    );
    says(org.submit_accepted(pilot, "pilot").await, "have changed");

    let digest = org.what_if(pilot).await.unwrap().digest;
    let one = Waiver {
        serials: BTreeSet::from([serial(0)]),
        ..no(Check::Window)
    };
    let accepted = org.accept(pilot, &digest, &[one], "").await.unwrap();
    assert_eq!((accepted.going, accepted.staying), (5, 1));
    says(org.submit_accepted(pilot, "Pilot").await, "not the name");
    assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 5);
    let stays: Vec<Serial> = members(&org, pilot)
        .await
        .into_iter()
        .filter(|m| matches!(m.state, MoveState::Blocked { .. }))
        .map(|m| m.serial)
        .collect();
    assert_eq!(stays, serials(1..2));
    let id = org.organisation().id;
    let errands = house
        .mdm
        .store()
        .errands_of(id, pilot, Default::default(), 10)
        .await;
    assert_eq!(errands.unwrap().len(), 2, "one request for each deadline");

    // Whoever stayed behind goes with a later submission, and nobody goes twice.
    says(org.submit_accepted(pilot, "pilot").await, "have changed");
    org.set_dates(pilot, None, START + 10 * DAY, START + DAY)
        .await
        .unwrap();
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 1);
    says(org.submit_accepted(pilot, "pilot").await, "have changed");
    says(
        org.remove_members(pilot, Some(&serials(1..2)), "").await,
        "call it back",
    );
    says(
        org.set_dates(pilot, Some(&serials(1..2)), START + 10 * DAY, START)
            .await,
        "extend it",
    );
}

struct Bytes(Vec<u8>);

#[async_trait::async_trait]
impl PackSink for Bytes {
    async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.0.extend(bytes);
        Ok(())
    }
}

/// The evidence pack of a wave, as text.
async fn evidence(org: &Org, wave: WaveId, redact: &[Redact]) -> String {
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
async fn a_waiver_holds_for_what_was_known_when_it_was_given() {
    let house = House::new().await;
    let org = fleet(&house, 4).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
    org.add_members(pilot, &serials(0..4), dates).await.unwrap();
    let tell = async |days: u32, n: usize, apps: &[&str]| {
        let mut said = Said::nothing(serial(n));
        said.apps = Some(apps.iter().map(|app| OriginalApp::new(app)).collect());
        said.last_seen = Some(START - 20 * DAY);
        let at = START + days * DAY;
        org.import_originals("Old MDM", at, vec![said])
            .await
            .unwrap();
    };
    house.clock.advance(DAY);
    for n in 0..4 {
        tell(1, n, &["com.example.game"]).await;
    }
    let waiver = Waiver {
        check: Check::AppsMapped,
        serials: BTreeSet::new(),
        reason: "one game, the owners agreed".to_owned(),
    };
    let seen = org.run_what_if(pilot).await.unwrap();
    assert_eq!((seen.blockers.len(), seen.requests.len()), (4, 0));
    let accepted = org
        .accept(pilot, &seen.digest, &[waiver], "")
        .await
        .unwrap();
    assert_eq!((accepted.going, accepted.staying), (4, 0));
    // What is shown is what will be sent.
    let shown = org.what_if(pilot).await.unwrap();
    assert_eq!((shown.blockers.len(), shown.waived.len()), (0, 4));
    assert_eq!(shown.requests.len(), 1);
    assert_eq!(shown.requests[0].devices, 4);
    // What was shown is kept under its digest, and goes into the evidence; with pseudonyms it names nobody.
    let parts = org.accepted_parts(pilot, AcceptedId(0)).await.unwrap();
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|part| part.digest == seen.digest));
    assert_eq!(parts[0].content["accepted"]["by"], "Anna");
    assert_eq!(parts[0].content["waived"].as_object().unwrap().len(), 4);
    assert_eq!(parts[0].content["requests"][0]["devices"], 4);
    let told = parts[1].content["members"].to_string();
    assert!(told.contains("com.example.game"), "{told}");
    let pack = evidence(&org, pilot, &[]).await;
    assert!(pack.contains("accepted/") && pack.contains(&seen.digest));
    assert!(pack.contains("one game, the owners agreed") && pack.contains("C02WAVE003"));
    let pack = evidence(&org, pilot, &[Redact::Owners, Redact::Serials]).await;
    assert!(pack.contains("com.example.game") && !pack.contains("C02WAVE003"));
    // A day goes by: what was said twenty days ago was said twenty-one days ago, and nothing else.
    house.clock.advance(DAY);
    assert!(org.what_if(pilot).await.unwrap().accepted.is_some());
    // It comes to light that one of them has forty more.
    let many: Vec<String> = (0..40).map(|n| format!("com.example.app{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    tell(2, 3, &[&["com.example.game"], &many[..]].concat()).await;
    let now = org.what_if(pilot).await.unwrap();
    assert!(
        now.accepted.is_none(),
        "a waiver covers what nobody knew of"
    );
    assert_eq!((now.blockers.len(), now.requests.len()), (4, 0));
    says(org.submit_accepted(pilot, "pilot").await, "have changed");
}

#[tokio::test]
async fn a_draft_goes_with_the_runbook_that_its_project_has_now() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
    org.add_members(pilot, &serials(0..2), dates).await.unwrap();
    let edit = async |secs| {
        let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        runbook.soft_ceiling_secs = secs;
        let change = ProjectChange {
            runbooks: BTreeMap::from([(Platform::Ios, runbook)]),
            ..ProjectChange::default()
        };
        let made = org.change_project(id, &change).await.unwrap();
        made.runbooks[&Platform::Ios]
    };
    let pins = async || -> BTreeSet<_> {
        let members = members(&org, pilot).await;
        members.into_iter().map(|m| m.runbook).collect()
    };
    let first = org.run_what_if(pilot).await.unwrap();
    org.accept(pilot, &first.digest, &[], "").await.unwrap();
    // Before it is submitted the runbook is mended: what was accepted is void, and it is said why.
    let mended = edit(600).await;
    let drift = org.standing(pilot).await.unwrap().drift;
    assert!(drift[0].contains("another runbook for iOS"), "{drift:?}");
    let second = org.what_if(pilot).await.unwrap();
    assert_eq!(second.drift, drift);
    assert!(second.accepted.is_none());
    assert_eq!(second.runbooks[&Platform::Ios], mended);
    says(org.submit_accepted(pilot, "pilot").await, "have changed");
    assert!(!pins().await.contains(&mended), "looking has written");
    let run = org.run_what_if(pilot).await.unwrap();
    assert_eq!(run.digest, second.digest);
    assert_eq!(pins().await, BTreeSet::from([mended]));
    assert!(org.standing(pilot).await.unwrap().drift.is_empty());
    // Mended again, and submitted by somebody who has only looked: its members have what was accepted, whoever pinned it.
    let again = edit(700).await;
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    org.submit_accepted(pilot, "pilot").await.unwrap();
    assert_eq!(pins().await, BTreeSet::from([again]));
    let row = org.standing(pilot).await.unwrap().wave;
    assert_eq!(
        (row.runbooks[&Platform::Ios], row.revision),
        (again, Some(3))
    );
    // From now on it keeps it.
    edit(800).await;
    let drift = org.standing(pilot).await.unwrap().drift;
    assert_eq!(drift.len(), 2, "{drift:?}");
    assert_eq!(
        org.what_if(pilot).await.unwrap().runbooks[&Platform::Ios],
        again
    );
    assert_eq!(pins().await, BTreeSet::from([again]));
}

/// Has the members of a wave end, as if Apple and their devices had done their part.
async fn end(house: &House, org: &Org, wave: WaveId, outcomes: &[Outcome]) {
    let mut batch = Batch::new();
    for (mut attempt, outcome) in members(org, wave).await.into_iter().zip(outcomes) {
        attempt.state = MoveState::Ended(*outcome);
        attempt.ended = Some(START);
        attempt.wake_at = None;
        batch.put(attempt);
    }
    house.mdm.store().commit(batch).await.unwrap();
}

async fn submitted(
    org: &Org,
    project: ProjectId,
    name: &str,
    preset: Preset,
    of: &[Serial],
) -> WaveId {
    let id = wave(org, project, name, preset).await;
    org.add_members(
        id,
        of,
        Dates {
            deadline: Some(START + 9 * DAY),
            available_from: Some(START + DAY),
        },
    )
    .await
    .unwrap();
    let digest = org.what_if(id).await.unwrap().digest;
    org.accept(id, &digest, &[], "").await.unwrap();
    org.submit_accepted(id, name).await.unwrap();
    id
}

#[tokio::test]
async fn the_next_wave_waits_for_evidence_and_a_signature() {
    let house = House::new().await;
    let org = fleet(&house, 8).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = submitted(&org, id, "pilot", Preset::Pilot, &serials(0..4)).await;
    let main = wave(&org, id, "main", Preset::Main).await;
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
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
async fn what_the_stop_rule_counts_a_pause_of_a_person_does_not_wipe() {
    let house = House::new().await;
    let org = fleet(&house, 6).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = submitted(&org, id, "pilot", Preset::Pilot, &serials(0..6)).await;
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
    let org = fleet(&house, 6).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = submitted(&org, id, "pilot", Preset::Pilot, &serials(0..6)).await;
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
    let row = org.standing(pilot).await.unwrap().wave;
    assert!(
        matches!(row.state, WaveState::Closed { .. }),
        "{:?}",
        row.state
    );
    assert!(org.close_project(id).await.unwrap().closed.is_some());
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
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
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
    let org = fleet(&house, 2).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = submitted(&org, id, "pilot", Preset::Pilot, &serials(0..2)).await;
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
async fn a_plan_goes_out_as_one_document_and_comes_in_again_as_often_as_one_likes() {
    let house = House::new().await;
    let org = fleet(&house, 20).await;
    let id = project(&org, &house).await;
    let change = ProjectChange {
        prerequisites: Some(BTreeSet::from(["wifi-placed".to_owned()])),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let main = wave(&org, id, "main", Preset::Main).await;
    let dates = Dates {
        deadline: Some(START + 20 * DAY),
        available_from: Some(START + 10 * DAY),
    };
    org.add_members(pilot, &serials(0..3), dates).await.unwrap();
    org.add_members(main, &serials(3..20), Dates::default())
        .await
        .unwrap();
    let two = serials(0..2);
    let bo = org.clone().acting_for("Bo");
    bo.meet(pilot, Some(&two), "wifi-placed", "the export of Monday")
        .await
        .unwrap();
    let plan = org.plan_file(id).await.unwrap();
    // Through its own text.
    let text = serde_json::to_string(&plan).unwrap();
    let plan: PlanFile = serde_json::from_str(&text).unwrap();

    // Where all of it is, nothing comes in.
    let again = org.take_plan(&plan).await.unwrap();
    assert!(!again.made && again.rejected.is_empty());
    assert_eq!(again.added.values().sum::<usize>(), 0);
    assert_eq!(again.there.values().sum::<usize>(), 20);

    // Elsewhere all of it does, but for a device that is not known there, and once only.
    let other = House::new().await;
    let there = fleet(&other, 19).await;
    let mut plan = plan;
    // The other entry has a name of its own.
    plan.project.destination = None;
    // Somebody else brings it in, later: who said what and when is as it was said.
    other.clock.advance(DAY);
    let taken = there.take_plan(&plan).await.unwrap();
    assert!(taken.made && !taken.project.on);
    assert_eq!(
        taken.added,
        [("pilot".to_owned(), 3), ("main".to_owned(), 16)].into()
    );
    assert_eq!(taken.rejected.keys().collect::<Vec<_>>(), [&serial(19)]);
    let again = there.take_plan(&plan).await.unwrap();
    assert_eq!(again.added.values().sum::<usize>(), 0);
    assert_eq!(again.project.id, taken.project.id);
    let mut back = there.plan_file(taken.project.id).await.unwrap();
    let mut wanted = plan.clone();
    wanted.waves[1].members.retain(|m| m.serial != serial(19));
    // Each names the newest seal of its own record.
    assert!(back.record.is_some() && back.record != wanted.record);
    (back.exported, back.project.destination, back.record) =
        (wanted.exported, None, wanted.record.clone());
    for (platform, runbook) in &mut back.project.runbooks {
        // Which edit it is counts for itself there.
        runbook.revision = wanted.project.runbooks[platform].revision;
    }
    assert_eq!(back, wanted);
    let met = &members(
        &there,
        there.waves_of(taken.project.id).await.unwrap()[0].id,
    )
    .await[0]
        .met;
    let met = &met["wifi-placed"];
    assert_eq!((met.by.as_str(), met.at), ("Bo", START));

    // What cannot be right is named, and nothing is made of it.
    let named = |field: &'static str, change: &dyn Fn(&mut PlanFile)| {
        let mut wrong = plan.clone();
        wrong.project.name = "Wrong".to_owned();
        wrong.waves[0].name = "first".to_owned();
        wrong.waves[1].name = "second".to_owned();
        change(&mut wrong);
        (field, wrong)
    };
    for (field, wrong) in [
        named("form", &|p| p.form = 2),
        named("waves[1].name", &|p| p.waves[1].name = "first".to_owned()),
        named("waves[1].members[0].serial", &|p| {
            p.waves[1].members[0].serial = serial(0)
        }),
        named("waves[0].members[0].met", &|p| {
            p.project.prerequisites.clear()
        }),
        named("waves[0].members[0].met", &|p| {
            let later = PlannedMet::Said {
                evidence: "x".to_owned(),
                by: "Bo".to_owned(),
                at: START + 90 * DAY,
            };
            p.waves[0].members[0].met = [("wifi-placed".to_owned(), later)].into();
        }),
        named("waves[0].members[2].deadline", &|p| {
            p.waves[0].members[2].deadline = p.waves[0].members[2].available_from;
        }),
        named("capacity", &|p| p.project.capacity = Some(0)),
    ] {
        says(there.take_plan(&wrong).await, field);
    }
    assert_eq!(there.projects().await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_word_of_people_is_in_the_pack_and_a_void_one_is_not_done() {
    let house = House::new().await;
    let org = fleet(&house, 3).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
    org.add_members(pilot, &serials(0..2), dates).await.unwrap();
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

#[tokio::test]
async fn who_is_blocked_is_looked_at_again_daily_and_the_change_is_told() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let dates = Dates {
        deadline: Some(START + 20 * DAY),
        available_from: Some(START + 10 * DAY),
    };
    org.add_members(pilot, &serials(0..2), dates).await.unwrap();
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
    tell("18.5").await;
    org.run_what_if(pilot).await.unwrap();
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
async fn of_a_wave_that_is_closed_nothing_is_accepted() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let project = project(&org, &house).await;
    org.switch_project(project, true).await.unwrap();
    let over = wave(&org, project, "over", Preset::Pilot).await;
    let (store, id) = (house.mdm.store(), org.organisation().id);
    let mut row = store.wave(id, over).await.unwrap().unwrap();
    row.state = WaveState::Closed { at: START };
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let seen = org.what_if(over).await.unwrap();
    assert_eq!(seen.against_all, Vec::<String>::new());
    says(
        org.accept(over, &seen.digest, &[], "").await,
        "the wave is closed",
    );
    let row = store.wave(id, over).await.unwrap().unwrap();
    assert_eq!(row.acceptance, None);
    let kept = org.accepted_parts(over, AcceptedId(0)).await.unwrap();
    assert_eq!(kept, []);
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
    let wanted = json!({ "what": "cancel", "serials": serials(2..4) });
    for what in ["approval.asked", "approval.confirmed"] {
        let detail = json!({ "approval": "1", "wanted": wanted, "reason": "both of them" });
        wrote(&house, &org, what, detail).await;
    }
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
    }
}

#[tokio::test]
async fn a_wave_of_which_nobody_would_go_is_not_submitted() {
    let house = House::new().await;
    let org = fleet(&house, 2).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    // Both lie behind the window.
    let dates = Dates {
        deadline: Some(START + 40 * DAY),
        available_from: Some(START + DAY),
    };
    org.add_members(pilot, &serials(0..2), dates).await.unwrap();
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

#[tokio::test]
async fn the_next_run_says_what_is_otherwise_under_the_same_answers() {
    let house = House::new().await;
    let org = fleet(&house, 3).await;
    let id = project(&org, &house).await;
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
    org.add_members(pilot, &serials(0..3), dates).await.unwrap();
    let has = async |minutes: u32, apps: &[&str]| {
        let mut said = Said::nothing(serial(0));
        said.apps = Some(apps.iter().map(|app| OriginalApp::new(app)).collect());
        let at = START + Duration::from_secs(60) * minutes;
        let taken = org.import_originals("Old MDM", at, vec![said]).await;
        assert_eq!(taken.unwrap().changed, 1);
    };
    house.clock.advance(Duration::from_secs(3600));
    has(1, &["com.example.maps"]).await;
    org.run_what_if(pilot).await.unwrap();
    let same = org.run_what_if(pilot).await.unwrap().since.unwrap();
    assert_eq!(same, mdm_core::service::Since::default());
    // Another app under the same answer; and somebody turns the project on.
    has(2, &["com.example.mail"]).await;
    org.switch_project(id, true).await.unwrap();
    let since = org.run_what_if(pilot).await.unwrap().since.unwrap();
    assert!(since.appeared.is_empty() && since.gone.is_empty());
    let zero = BTreeSet::from([serial(0)]);
    let other = (Check::AppsMapped, CheckResult::Block, zero.clone());
    assert_eq!(since.facts, [other]);
    let lost = |app: &str| BTreeMap::from([(app.to_owned(), zero.clone())]);
    assert_eq!(since.lost_appeared, lost("com.example.mail"));
    assert_eq!(since.lost_gone, lost("com.example.maps"));
    assert!(since.of_all_appeared.is_empty(), "{since:?}");
    let gone: Vec<Check> = since.of_all_gone.iter().map(|(check, ..)| *check).collect();
    assert_eq!(gone, [Check::Switch]);
}
