//! What is over stays as it is: every act on a wave that is closed, and on a project that is, is refused with the reason. What comes
//! after the end by its nature is not: the signature of the gate, the word that the service that devices left lists them no more, and
//! whatever only reads.

use std::collections::BTreeMap;

use mdm_core::error::Error;
use mdm_core::ids::{MoveId, ProjectId, WaveId};
use mdm_core::migration::Outcome;
use mdm_core::service::{Candidates, Dates, Org, ProjectChange};
use mdm_core::store::Batch;
use mdm_core::wave::{Preset, WaveState};
use serde_json::json;

use super::service_house::fleet::{serial, serials};
use super::service_house::{House, START};
use super::steering::end;
use super::{DAY, fleet, members, project, under_way, wave};

type Done = (&'static str, Result<(), Error>);

/// Every act on a wave, but the signature of its gate, and what each has come to. `other` is one that is open.
async fn acts_on_wave(org: &Org, wave: WaveId, other: WaveId) -> Vec<Done> {
    let (one, free) = (serials(0..1), serials(6..7));
    let dates = Dates::default();
    let (from, until) = (START + DAY, START + 9 * DAY);
    let digest = org.what_if(wave).await.unwrap().digest;
    let name = org.standing(wave).await.unwrap().wave.name;
    let none = BTreeMap::new();
    let page = MoveId(0);
    vec![
        ("add", org.add_members(wave, &free, dates).await.map(drop)),
        (
            "remove",
            org.remove_members(wave, None, "late").await.map(drop),
        ),
        (
            "move out",
            org.move_members(wave, other, &one).await.map(drop),
        ),
        (
            "move in",
            org.move_members(other, wave, &one).await.map(drop),
        ),
        (
            "dates",
            org.set_dates(wave, None, until, from).await.map(drop),
        ),
        (
            "plan",
            org.plan_dates(wave, None, None, None, None, true)
                .await
                .map(drop),
        ),
        (
            "meet",
            org.meet(wave, None, "wifi-placed", "seen").await.map(drop),
        ),
        (
            "take back",
            org.unmeet(wave, None, "wifi-placed", "not so")
                .await
                .map(drop),
        ),
        ("what-if", org.run_what_if(wave).await.map(drop)),
        (
            "accept",
            org.accept(wave, &digest, &[], "late").await.map(drop),
        ),
        ("submit", org.submit_accepted(wave, &name).await.map(drop)),
        (
            "submit a digest",
            org.submit(wave, &digest, "Anna").await.map(drop),
        ),
        (
            "pause",
            org.pause_wave(wave, true, "a bug", true).await.map(drop),
        ),
        (
            "resume",
            org.pause_wave(wave, false, "mended", true).await.map(drop),
        ),
        (
            "extend, cancel",
            org.submitted_members(wave).await.map(drop),
        ),
        (
            "ADE profile",
            org.set_wave_ade_profile(wave, None).await.map(drop),
        ),
        (
            "owner texts",
            org.set_wave_owner_texts(wave, &none).await.map(drop),
        ),
        (
            "notices",
            org.owner_notices(wave, None, page, 10).await.map(drop),
        ),
    ]
}

/// Every act on a project.
async fn acts_on_project(org: &Org, id: ProjectId) -> Vec<Done> {
    let change = ProjectChange {
        capacity: Some(7),
        ..ProjectChange::default()
    };
    let plan = org.plan_file(id).await.unwrap();
    vec![
        ("change", org.change_project(id, &change).await.map(drop)),
        ("on", org.switch_project(id, true).await.map(drop)),
        ("off", org.switch_project(id, false).await.map(drop)),
        ("close", org.close_project(id).await.map(drop)),
        ("new wave", org.new_wave(id, "late", None).await.map(drop)),
        ("import", org.take_plan(&plan).await.map(drop)),
    ]
}

fn refused(done: Vec<Done>, because: &str) {
    for (act, result) in done {
        match result {
            Err(Error::Precondition(why)) => assert!(why.contains(because), "{act}: {why}"),
            other => panic!("{act}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn nothing_is_done_with_a_wave_or_a_project_that_is_closed() {
    let house = House::new().await;
    let (org, id, over) = under_way(&house, 7, 3).await;
    let rest = wave(&org, id, "rest", Preset::Rest).await;
    end(&house, &org, over, &[Outcome::Migrated; 3]).await;
    let (store, own) = (house.mdm.store(), org.organisation().id);
    let mut row = store.wave(own, over).await.unwrap().unwrap();
    row.state = WaveState::Closed { at: START };
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();

    let kept = store.wave(own, over).await.unwrap().unwrap();
    refused(
        acts_on_wave(&org, over, rest).await,
        "the wave is closed: all of its members",
    );
    assert_eq!(store.wave(own, over).await.unwrap().unwrap(), kept);
    // What reads does.
    assert!(org.later_deadlines(over).await.unwrap().is_empty());
    org.wave_calendar(over, None, MoveId(0), 10).await.unwrap();
    // A wave closes when its members have come to an end: after that its gate is signed.
    org.sign_gate(over, "all three are well", false)
        .await
        .unwrap();
    let cleaned = org.removed_at_original(over, None, "seen there").await;
    cleaned.unwrap();

    // The draft of a project that is closed has nobody, and nobody comes into it.
    org.close_project(id).await.unwrap();
    let closed = "the project is closed";
    refused(acts_on_project(&org, id).await, closed);
    refused(acts_on_wave(&org, rest, rest).await, closed);
    let signed = org.sign_gate(over, "once more", true).await.map(drop);
    refused(vec![("gate", signed)], closed);
    assert!(members(&org, rest).await.is_empty());
    let free = org.candidates(&Candidates::default()).await.unwrap();
    assert!(free.contains(&serial(6)));
    let back = org.listed_at_original(over, None, "it is back").await;
    back.unwrap();
}

#[tokio::test]
async fn a_draft_of_which_nobody_is_left_holds_nobody_back_and_ends() {
    let house = House::new().await;
    let org = fleet(&house, 6).await;
    let id = project(&org, &house).await;
    org.switch_project(id, true).await.unwrap();
    let pilot = wave(&org, id, "pilot", Preset::Pilot).await;
    let dates = Dates {
        deadline: Some(START + 9 * DAY),
        available_from: Some(START + DAY),
    };
    org.add_members(pilot, &serials(0..3), dates).await.unwrap();
    let main = wave(&org, id, "main", Preset::Main).await;
    org.add_members(main, &serials(3..6), dates).await.unwrap();
    let against = async || -> Vec<String> {
        let all = org.what_if(main).await.unwrap().against_all;
        all.into_iter().filter(|a| a.starts_with("gate:")).collect()
    };
    assert!(against().await[0].contains("pilot: 0 of 3 devices have migrated"));
    // They were the wrong ones. Taken out one by one others may come in their place.
    let state = async |of| org.standing(of).await.unwrap().wave.state;
    let taken = org.remove_members(pilot, Some(&serials(0..3)), "").await;
    assert_eq!(taken.unwrap(), 3);
    assert!(against().await.is_empty(), "{:?}", against().await);
    assert_eq!(state(pilot).await, WaveState::Draft);
    org.add_members(pilot, &serials(0..1), dates).await.unwrap();
    assert!(against().await[0].contains("pilot: 0 of 1 devices have migrated"));
    // Taken out all at once it is over: its name is free, and the next one goes.
    let plan = org.plan_file(id).await.unwrap();
    let taken = org.remove_members(pilot, None, "the wrong ones").await;
    assert_eq!(taken.unwrap(), 1);
    assert!(matches!(state(pilot).await, WaveState::Closed { .. }));
    let record = org.record_tail(20).await.unwrap();
    let closed = record.iter().find(|e| e.what == "wave.closed").unwrap();
    assert_eq!(closed.detail["ends"], json!({ "Withdrawn": 4 }));
    assert!(against().await.is_empty(), "{:?}", against().await);
    let digest = org.what_if(main).await.unwrap().digest;
    org.accept(main, &digest, &[], "").await.unwrap();
    assert_eq!(org.submit_accepted(main, "main").await.unwrap(), 3);
    // As the plan has it, in a wave of its own.
    let taken = org.take_plan(&plan).await.unwrap();
    assert_eq!(taken.added["pilot"], 1);
    let waves = org.waves_of(id).await.unwrap();
    let mut anew = waves.iter().filter(|w| w.name == "pilot" && w.is_open());
    let anew = anew.next().unwrap().id;
    assert_ne!(anew, pilot);

    // A draft from which nobody took all of them ends with its project, and is looked after no more.
    org.run_what_if(anew).await.unwrap();
    let taken = org.remove_members(anew, Some(&serials(0..1)), "").await;
    assert_eq!(taken.unwrap(), 1);
    end(&house, &org, main, &[Outcome::Migrated; 3]).await;
    assert_eq!(state(anew).await, WaveState::Draft);
    org.close_project(id).await.unwrap();
    for wave in org.waves_of(id).await.unwrap() {
        assert!(!wave.is_open(), "{}", wave.name);
    }
    let nothing = ProjectChange::default();
    let next = org.new_project("Bern", house.server, &nothing).await;
    let next = next.unwrap().id;
    org.new_wave(next, "pilot", Some(Preset::Pilot))
        .await
        .unwrap();
}
