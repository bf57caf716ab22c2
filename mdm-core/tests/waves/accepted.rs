//! An acceptance is the word of somebody by name: void when anything changes, with waivers that hold for what was known, and taken for
//! no wave that is closed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::device::Platform;
use mdm_core::evidence::pack::Redact;
use mdm_core::ids::{AcceptedId, Serial};
use mdm_core::migration::{MoveState, PinnedRunbook, StepId, Variant};
use mdm_core::original::{OriginalApp, Said};
use mdm_core::service::{Dates, ProjectChange};
use mdm_core::store::Batch;
use mdm_core::wave::{Preset, Waiver, WaveState};

use super::record::evidence;
use super::service_house::fleet::{serial, serials};
use super::service_house::{House, START};
use super::{DAY, dates, fleet, members, pilot, project, says, wave};

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
    // What Apple refuses, and what the organisation has said itself.
    for check in [
        Check::Capable,
        Check::Window,
        Check::Blackout,
        Check::Prerequisites,
    ] {
        says(
            org.accept(pilot, &second.digest, &[no(check)], "").await,
            "cannot be waived",
        );
    }
    let stranger = Waiver {
        serials: serials(19..20).into_iter().collect(),
        ..no(Check::OsMinimum)
    };
    says(
        org.accept(pilot, &second.digest, &[stranger], "").await,
        "is no planned member",
    );
    // What found nothing that keeps anybody back is not what somebody has read there: of none, and of the one who is named.
    let another = Waiver {
        serials: serials(3..4).into_iter().collect(),
        ..no(Check::OsMinimum)
    };
    for idle in [no(Check::Gate), no(Check::Capacity), another] {
        says(
            org.accept(pilot, &second.digest, &[idle], "").await,
            "there is nothing to waive",
        );
    }
    let silent = Waiver {
        reason: " ".to_owned(),
        ..no(Check::OsMinimum)
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

    // Both come back into the window, and have a system that cannot migrate: that can be waived.
    let runs = async |n: usize, system: &str| {
        house.clock.advance(Duration::from_secs(1));
        let mut said = Said::nothing(serial(n));
        said.system = Some(system.to_owned());
        let now = house.mdm.now();
        let taken = org.import_originals("Old MDM", now, vec![said]).await;
        assert_eq!(taken.unwrap().changed, 1);
    };
    for (n, day) in [(0, 20_u32), (1, 21)] {
        let one = serials(n..n + 1);
        org.set_dates(pilot, Some(&one), START + day * DAY, START + DAY)
            .await
            .unwrap();
        runs(n, "18.5").await;
    }
    let digest = org.what_if(pilot).await.unwrap().digest;
    let one = Waiver {
        serials: BTreeSet::from([serial(0)]),
        ..no(Check::OsMinimum)
    };
    let waives = std::slice::from_ref(&one);
    let accepted = org.accept(pilot, &digest, waives, "").await.unwrap();
    assert_eq!((accepted.going, accepted.staying), (5, 1));
    says(org.submit_accepted(pilot, "Pilot").await, "not the name");
    // While somebody types the name another waives it for all, so that one more would go: the digest is the same.
    let at = accepted.acceptance.at;
    house.clock.advance(Duration::from_secs(1));
    let bert = org.clone().acting_for("Bert");
    let all = bert
        .accept(pilot, &digest, &[no(Check::OsMinimum)], "")
        .await;
    assert_eq!(all.unwrap().staying, 0);
    let shown = org.submit_shown(pilot, "pilot", &digest, Some(at)).await;
    says(shown, "Bert has accepted it at");
    let other = org.submit_shown(pilot, "pilot", &first.digest, None).await;
    says(other, "not what was shown");
    says(
        org.submit_shown(pilot, "pilot", "the first", None).await,
        "64 digits",
    );
    let accepted = org.accept(pilot, &digest, waives, "").await.unwrap();
    let at = Some(accepted.acceptance.at);
    let shown = org.submit_shown(pilot, "pilot", &digest, at).await;
    assert_eq!(shown.unwrap(), 5);
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
    let again = org.submit_shown(pilot, "pilot", &digest, at).await;
    says(again, "whoever stayed behind, or came in since");
    runs(1, "26.1").await;
    org.set_dates(pilot, None, START + 10 * DAY, START + DAY)
        .await
        .unwrap();
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 1);
    says(
        org.submit_accepted(pilot, "pilot").await,
        "it is submitted already, by ",
    );
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

#[tokio::test]
async fn an_acceptance_is_of_a_plan_however_its_members_came_to_be_in_it() {
    let house = House::new().await;
    let (org, _, pilot) = pilot(&house, 4, 3, [10, 20]).await;
    let dates = |days: u32| Dates {
        deadline: Some(START + days * DAY),
        available_from: Some(START + 10 * DAY),
    };
    let ready = async || {
        org.run_what_if(pilot).await.unwrap();
        let all = members(&org, pilot).await.into_iter();
        let open: Vec<_> = all.filter(|m| !m.is_ended()).collect();
        let ready = open.iter().filter(|m| m.state == MoveState::Ready);
        (ready.count(), open.len())
    };
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    assert_eq!(ready().await, (3, 3));
    // One more is another plan, and without it again the one that was accepted.
    let (first, more) = (serials(0..1), serials(3..4));
    org.add_members(pilot, &more, dates(20)).await.unwrap();
    assert_eq!(ready().await, (0, 4));
    says(org.submit_accepted(pilot, "pilot").await, "have changed");
    org.remove_members(pilot, Some(&more), "").await.unwrap();
    assert_eq!(ready().await, (3, 3));
    // Out, and in again: with another attempt, the last of them now, and the same dates.
    org.remove_members(pilot, Some(&first), "on leave")
        .await
        .unwrap();
    assert_eq!(ready().await, (0, 2));
    org.add_members(pilot, &first, dates(20)).await.unwrap();
    assert_eq!(org.what_if(pilot).await.unwrap().digest, digest);
    assert_eq!(ready().await, (3, 3));
    // With other dates it is not what was accepted, until it has those again.
    org.remove_members(pilot, Some(&first), "").await.unwrap();
    org.add_members(pilot, &first, dates(21)).await.unwrap();
    assert_eq!(ready().await, (0, 3));
    let back = (START + 20 * DAY, START + 10 * DAY);
    org.set_dates(pilot, Some(&first), back.0, back.1)
        .await
        .unwrap();
    assert_eq!(ready().await, (3, 3));
    assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 3);
}

#[tokio::test]
async fn a_waiver_holds_for_what_was_known_when_it_was_given() {
    let house = House::new().await;
    let (org, _, pilot) = pilot(&house, 4, 4, [1, 9]).await;
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
    let (org, id, pilot) = pilot(&house, 2, 2, [1, 9]).await;
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
    // All of them: what they went with stays what was accepted of the wave.
    let rest = org.run_what_if(pilot).await.unwrap();
    says(
        org.accept(pilot, &rest.digest, &[], "").await,
        "is submitted already",
    );
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

#[tokio::test]
async fn a_tag_of_a_device_that_is_no_member_voids_no_acceptance() {
    let lab = BTreeSet::from(["lab".to_owned()]);
    let none = BTreeSet::new();
    for is_tagged in [false, true] {
        let house = House::new().await;
        let (org, id, pilot) = pilot(&house, 3, 2, [1, 9]).await;
        let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        let step = runbook.steps.iter_mut().find(|s| s.id == StepId::Trust);
        step.unwrap().only.clone_from(&lab);
        let change = ProjectChange {
            runbooks: BTreeMap::from([(Platform::Ios, runbook)]),
            ..ProjectChange::default()
        };
        org.change_project(id, &change).await.unwrap();
        let tag = async |has: bool| {
            let (add, take) = match has {
                true => (&lab, &none),
                false => (&none, &lab),
            };
            let unknown = org.tag_devices(&serials(2..3), add, take).await;
            assert!(unknown.unwrap().is_empty());
        };
        tag(is_tagged).await;
        let warned = async || {
            let warnings = org.what_if(pilot).await.unwrap().warnings;
            warnings
                .iter()
                .any(|w| w.contains("only for devices with lab"))
        };
        assert_eq!(warned().await, !is_tagged);
        let digest = org.run_what_if(pilot).await.unwrap().digest;
        org.accept(pilot, &digest, &[], "").await.unwrap();
        // The step is for somebody else from now on, or for nobody any more: of these devices nothing has changed.
        tag(!is_tagged).await;
        assert_eq!(warned().await, is_tagged);
        assert_eq!(org.what_if(pilot).await.unwrap().digest, digest);
        assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 2);
    }
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

#[tokio::test]
async fn the_next_run_says_what_is_otherwise_under_the_same_answers() {
    let house = House::new().await;
    let org = fleet(&house, 3).await;
    let id = project(&org, &house).await;
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let dates = dates([1, 9]);
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
