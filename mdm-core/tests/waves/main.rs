//! Projects and their waves over rows: members put in, moved and taken out, spread over the hours of their owners, accepted by name
//! and void when anything changes, kept back by the gate of the wave before, stopped when too much fails. The other half, Apple, is
//! played in the stories.

mod accepted;
mod closed;
mod given_up;
mod record;
mod room;
#[path = "../service_house/mod.rs"]
mod service_house;
mod steering;
mod unread;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::calendar::{Calendar, Zone};
use mdm_core::check::{Check, CheckResult};
use mdm_core::device::Device;
use mdm_core::error::Error;
use mdm_core::ids::{ProjectId, Serial, WaveId};
use mdm_core::migration::{Move, MoveState, Outcome};
use mdm_core::original::Said;
use mdm_core::project::{Gate, Window};
use mdm_core::service::{Candidates, Dates, Org, PlanFile, PlannedMet, ProjectChange};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore};
use mdm_core::wave::{Preset, WaveState};
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

/// Dates of members: days until they may begin, and until Apple enforces it.
fn dates([from, deadline]: [u32; 2]) -> Dates {
    Dates {
        deadline: Some(START + deadline * DAY),
        available_from: Some(START + from * DAY),
    }
}

/// So many iPhones, a project that is switched on, and a pilot with the first `members` of them: days until it may begin, and until Apple
/// enforces it.
async fn pilot(
    house: &House,
    count: usize,
    members: usize,
    days: [u32; 2],
) -> (Org, ProjectId, WaveId) {
    let org = fleet(house, count).await;
    let id = project(&org, house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let (serials, dates) = (serials(0..members), dates(days));
    org.add_members(pilot, &serials, dates).await.unwrap();
    (org, id, pilot)
}

/// The same, accepted and submitted: it may begin tomorrow, and Apple enforces it in nine days.
async fn under_way(house: &House, count: usize, members: usize) -> (Org, ProjectId, WaveId) {
    let (org, id, pilot) = pilot(house, count, members, [1, 9]).await;
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    org.submit_accepted(pilot, "pilot").await.unwrap();
    (org, id, pilot)
}

/// The wave has closed by itself, and then its project can be.
async fn closes(org: &Org, project: ProjectId, wave: WaveId) {
    let row = org.standing(wave).await.unwrap().wave;
    assert!(
        matches!(row.state, WaveState::Closed { .. }),
        "{:?}",
        row.state
    );
    assert!(org.close_project(project).await.unwrap().closed.is_some());
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
    // All of a list that cannot be put in is told at once.
    let strangers = ["NOBODY1", "NOBODY2"].map(|s| Serial::parse(s).unwrap());
    let mut list = vec![serial(2), serial(1), serial(4)];
    list.extend(strangers);
    let said = org.add_members(main, &list, Dates::default()).await;
    let said = said.unwrap_err().to_string();
    for part in [
        "serials: ",
        "is in an open wave already: C02WAVE002, C02WAVE004",
        "devices first: NOBODY1, NOBODY2",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("C02WAVE001"), "{said}");
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
async fn who_is_ready_and_moved_is_to_be_accepted_anew() {
    let house = House::new().await;
    let (org, id, pilot) = pilot(&house, 3, 3, [10, 20]).await;
    let main = wave(&org, id, "main", Preset::Main).await;
    let seen = org.run_what_if(pilot).await.unwrap();
    org.accept(pilot, &seen.digest, &[], "").await.unwrap();
    let ready = |all: &[Move]| all.iter().filter(|m| m.state == MoveState::Ready).count();
    assert_eq!(ready(&members(&org, pilot).await), 3);
    let moved = org.move_members(pilot, main, &serials(1..2)).await;
    assert_eq!(moved.unwrap(), 1);
    let there = members(&org, main).await;
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].state, MoveState::Planned);
}

#[tokio::test]
async fn who_was_submitted_meanwhile_counts_as_nothing_that_was_done() {
    let house = House::new().await;
    let (org, _, pilot) = pilot(&house, 4, 4, [1, 9]).await;
    // What another process commits between what this one reads and writes.
    let disk = SqliteStore::open(&house.path()).await.unwrap();
    let store = FailingStore::new(disk, 0, Moment::Before);
    let mdm = house.over(store.clone());
    let other = mdm.organisation_by_id(house.org).await.unwrap();
    let submits = async |which: &Serial| {
        let mut batch = Batch::new();
        let all = members(&org, pilot).await;
        let mut attempt = all.into_iter().find(|m| m.serial == *which).unwrap();
        attempt.state = MoveState::Submitting {
            since: START,
            activity: None,
        };
        batch.put(attempt);
        store.meanwhile(batch);
    };
    let open = async || {
        let all = members(&org, pilot).await;
        all.iter().filter(|m| m.is_planned()).count()
    };
    // Named, nothing is done for any of them, as a moment later.
    submits(&serial(1)).await;
    let named = other.remove_members(pilot, Some(&serials(0..2)), "").await;
    says(named, "C02WAVE001: submitted already: call it back");
    assert_eq!(open().await, 3);
    // All that can be: those that were.
    submits(&serial(2)).await;
    let all = other.remove_members(pilot, None, "").await;
    assert_eq!(all.unwrap(), 2);
    assert_eq!(open().await, 0);
    let record = org.record_tail(100).await.unwrap();
    let out = record.iter().filter(|e| e.what == "move.withdrawn");
    assert_eq!(out.count(), 2);
}

#[tokio::test]
async fn of_two_who_submit_at_once_the_second_hears_that_it_is_done() {
    let house = House::new().await;
    let (org, _, pilot) = pilot(&house, 3, 3, [1, 9]).await;
    let digest = org.what_if(pilot).await.unwrap().digest;
    org.accept(pilot, &digest, &[], "").await.unwrap();
    let (one, two) = tokio::join!(
        org.submit_accepted(pilot, "pilot"),
        org.submit_accepted(pilot, "pilot")
    );
    let both = [one, two];
    assert_eq!(both.iter().flatten().sum::<usize>(), 3, "{both:?}");
    let late = both.into_iter().find_map(Result::err).unwrap().to_string();
    assert!(late.contains("it is submitted already, by "), "{late}");
    let own = org.organisation().id;
    let store = house.mdm.store();
    let sent = store.errands_of(own, pilot, Default::default(), 10).await;
    assert_eq!(sent.unwrap().len(), 1);
    // Whoever wants to stop it now is told how; that nobody was there would pass for done.
    says(
        org.remove_members(pilot, None, "").await,
        "nobody was taken out: 3 devices are submitted already: call them back with `mdmd wave cancel`",
    );
    says(
        org.removed_at_original(pilot, None, "their list").await,
        "no member of the wave has migrated",
    );
    says(
        org.listed_at_original(pilot, None, "seen there").await,
        "no member of the wave has migrated",
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
async fn a_plan_goes_out_as_one_document_and_comes_in_again_as_often_as_one_likes() {
    let house = House::new().await;
    let org = fleet(&house, 20).await;
    let id = project(&org, &house).await;
    let mut calendar = Calendar::default();
    let free = r#"{"first": "2000-12-24T18:00", "last": "2000-12-26", "why": "holidays"}"#;
    calendar.blackouts = vec![serde_json::from_str(free).unwrap()];
    let change = ProjectChange {
        calendar: Some(calendar),
        prerequisites: Some(BTreeSet::from(["wifi-placed".to_owned()])),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let main = wave(&org, id, "main", Preset::Main).await;
    let dates = dates([10, 20]);
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
    assert!(text.contains("2000-12-24T18:00"), "{text}");
    let plan: PlanFile = serde_json::from_str(&text).unwrap();

    // Where all of it is, nothing comes in.
    let again = org.take_plan(&plan).await.unwrap();
    assert!(!again.made && again.rejected.is_empty());
    assert_eq!(again.added.values().sum::<usize>(), 0);
    assert_eq!(again.there.values().sum::<usize>(), 20);
    assert_eq!(again.differs, [""; 0]);

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
