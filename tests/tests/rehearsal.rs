//! Whole rehearsals: what the world says of each device after a migration in accelerated time, with and without faults.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::faults::FaultKind;
use fixtures::world::serial_number;
use mdm_core::device::Platform;
use mdm_core::migration::{PinnedRunbook, Variant, VisibleState};
use mdmd::rehearsal::{
    Faults, HouseOptions, LicenceEnd, Proof, Rehearsal, Row, Stage, Summary, Verdict,
};
use tests::{SOON, agreed, play, told};

fn rehearsal(devices: u32, seed: u64, faults: Faults) -> Rehearsal {
    let mut rehearsal = Rehearsal::new(devices, seed);
    rehearsal.faults = faults;
    rehearsal.timetable = SOON;
    rehearsal
}

/// Nobody is held and every attempt has ended; that each exception has a fault which can have caused it is in the verdict.
fn every_exception_has_its_fault(summary: &Summary) {
    agreed(summary);
    for row in &summary.rows {
        assert_ne!(row.whereabouts, "held", "{row:#?}");
        assert!(
            matches!(
                row.outcome,
                Some(VisibleState::Migrated | VisibleState::MigratedWithExceptions)
            ),
            "{row:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_every_device_migrates_and_every_key_and_lock_is_proved() {
    // With the days before a deadline, as a person rehearses it.
    let summary = play(Rehearsal::new(8, 1)).await;
    agreed(&summary);
    assert_eq!(summary.rows.len(), 8);
    assert!(summary.injected.is_empty(), "{:?}", summary.injected);
    for row in &summary.rows {
        assert_eq!(row.outcome, Some(VisibleState::Migrated), "{row:#?}");
        assert_eq!(row.whereabouts, "free", "{row:#?}");
        assert!(row.exceptions.is_empty(), "{row:#?}");
        assert!(row.apps_lost.is_empty(), "{row:#?}");
        assert_eq!(row.lock, Proof::Proved, "{row:#?}");
        assert_ne!(row.recovery_key, Proof::Missing, "{row:#?}");
        if row.platform == "iOS" {
            assert!(row.apps_kept > 0, "{row:#?}");
        }
    }
    let platforms: BTreeSet<&str> = summary.rows.iter().map(|r| r.platform).collect();
    assert_eq!(platforms, BTreeSet::from(["iOS", "macOS"]));
    let keys = summary
        .rows
        .iter()
        .filter(|r| r.recovery_key == Proof::Proved)
        .count();
    assert!(keys >= 2, "few encrypted Macs to prove it on: {keys}");
}

/// What a hold lasts at most in the runbook of a rehearsal: the last time-out before a device is released without evidence.
fn last_time_out_minutes() -> i64 {
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    i64::try_from(runbook.hard_ceiling_secs).unwrap() / 60
}

#[tokio::test(flavor = "multi_thread")]
async fn with_some_faults_ninety_five_in_a_hundred_are_without_exception() {
    let summary = play(rehearsal(100, 1, Faults::Some)).await;
    every_exception_has_its_fault(&summary);
    let met = summary.rows.iter().filter(|r| !r.faults.is_empty()).count();
    assert!((15..50).contains(&met), "{met} of 100 met a fault");
    let excepted: Vec<&Row> = summary
        .rows
        .iter()
        .filter(|r| !r.exceptions.is_empty())
        .collect();
    assert!(excepted.len() <= 5, "{excepted:#?}");
    for row in excepted {
        let away = row.away_minutes.unwrap();
        assert!(away > last_time_out_minutes(), "{row:#?}");
        assert!(row.faults.contains_key(FaultKind::DeadInHold.name()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_many_faults_each_device_meets_two_and_nobody_is_left_in_a_hold() {
    for seed in [3, 4] {
        let summary = play(rehearsal(20, seed, Faults::Many)).await;
        every_exception_has_its_fault(&summary);
        for row in &summary.rows {
            assert!(row.faults.len() >= 2, "{row:#?}");
        }
        assert!(summary.injected.len() >= 8, "{:?}", summary.injected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_met_fewer_faults_than_promised_fails_the_run() {
    let mut summary = play(rehearsal(4, 3, Faults::Many)).await;
    assert_eq!(summary.verdict(), Verdict::Agrees);
    let spared = summary.rows[1].serial.clone();
    while summary.rows[1].faults.len() > 1 {
        summary.rows[1].faults.pop_first();
    }
    assert_eq!(summary.verdict(), Verdict::NotInjected);
    assert_eq!(
        summary.json()["spared_devices"],
        serde_json::json!([spared])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_comes_back_ends_as_an_exception_that_names_it() {
    let (seed, silent) = (5, serial_number(5, 1));
    let mut rehearsal = rehearsal(3, seed, Faults::None);
    rehearsal.never_back = vec![silent.clone()];
    let summary = play(rehearsal).await;
    agreed(&summary);
    for row in &summary.rows {
        if row.serial == silent {
            assert!(!row.exceptions.is_empty(), "{row:#?}");
            assert!(!row.never_ended, "{row:#?}");
            assert_eq!(row.outcome, Some(VisibleState::Failed), "{row:#?}");
            assert!(
                row.faults.contains_key(FaultKind::NeverBack.name()),
                "{row:#?}"
            );
        } else {
            assert_eq!(row.outcome, Some(VisibleState::Migrated), "{row:#?}");
            assert!(row.exceptions.is_empty(), "{row:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seed_tells_one_story() {
    let story = || async { told(&play(rehearsal(10, 7, Faults::Many)).await) };
    let (first, second) = (story().await, story().await);
    assert_eq!(
        format!("{first:#}"),
        format!("{second:#}"),
        "two runs of one seed differ"
    );
    let other = told(&play(rehearsal(2, 8, Faults::Many)).await);
    assert_ne!(first["devices"][0], other["devices"][0]);
    assert_eq!(first["verdict"], serde_json::json!(Verdict::Agrees));
}

/// After a day without news of it the server wakes a device by itself, in a round that had nothing else to do.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_finds_to_do_by_itself_is_done_before_time_goes_on() {
    const MINUTE: i64 = 60_000;
    let directory = tempfile::tempdir().unwrap();
    let world = rehearsal(2, 6, Faults::None).world().await.unwrap();
    let stage = Stage::set(world, directory.path(), HouseOptions::default());
    let stage = stage.await.unwrap();
    let (wave, _) = stage.plan_for(None, &SOON).await.unwrap();
    stage.play(wave).await.unwrap();
    let clock = stage.world.clock().clone();
    // Once all of it is a day old; the server looks every six hours for what it knows nothing new of.
    clock.advance_to(clock.now_ms() + 25 * 60 * MINUTE);
    for _ in 0..6 * 60 / 3 + 2 {
        stage.settle().await.unwrap();
        let due = stage.mdm().next_due().await.unwrap();
        let due = due.map(|due| due.as_millis());
        assert!(due.is_none_or(|due| due > clock.now_ms()), "{due:?}");
        // Its own hours are ten minutes apart: most of these moments are nobody's.
        clock.advance_to(clock.now_ms() + 3 * MINUTE);
    }
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_of_four_waves_goes_from_gate_to_gate_and_its_reports_count_what_the_world_counts()
 {
    const DEVICES: u32 = 40;
    let mut rehearsal = rehearsal(DEVICES, 21, Faults::Many);
    rehearsal.waves = Some(4);
    rehearsal.buckets = 8;
    let summary = play(rehearsal).await;
    agreed(&summary);
    assert!(
        summary.disagreements.is_empty(),
        "{:?}",
        summary.disagreements
    );
    let names: Vec<&str> = summary.waves.iter().map(|wave| wave.name).collect();
    assert_eq!(names, ["pilot", "early", "main", "rest"]);
    let count =
        |of: &dyn Fn(&mdmd::rehearsal::WaveEnd) -> u32| summary.waves.iter().map(of).sum::<u32>();
    assert_eq!(count(&|w| w.members), DEVICES);
    assert_eq!(count(&|w| w.free), DEVICES);
    assert_eq!(count(&|w| w.migrated + w.with_exceptions), DEVICES);
    assert!(count(&|w| w.buckets) >= 7, "{:?}", summary.waves);
    for row in &summary.rows {
        let migrated = row.outcome == Some(VisibleState::Migrated);
        assert_eq!(migrated, row.exceptions.is_empty(), "{row:#?}");
        assert!(row.exceptions.iter().all(|e| !e.why.is_empty()), "{row:#?}");
        assert!(row.faults.len() >= 2, "{row:#?}");
    }
    // Nothing was decided about one app, and of another one there are licences for half of those that have it: who would lose them was
    // forecast, and accepted.
    let lost = summary.apps.iter().filter(|app| app.forecast > 0);
    let lost: BTreeMap<&str, (u32, u32)> = lost
        .map(|app| (app.bundle_id.as_str(), (app.forecast, app.lost)))
        .collect();
    assert_eq!(lost.len(), 2, "{:?}", summary.apps);
    for (forecast, lost) in lost.values() {
        assert!(*forecast >= 2 && forecast == lost, "{:?}", summary.apps);
    }
    let licences = &summary.licences;
    let sum = |of: &dyn Fn(&LicenceEnd) -> u64| licences.iter().map(of).sum::<u64>();
    let losing = u64::from(lost["net.example.forms"].0);
    assert_eq!(sum(&|end| end.losing), losing, "{licences:?}");
    assert_eq!(sum(&|end| end.needed), sum(&|end| end.assigned + end.short));
    assert!(sum(&|end| end.assigned) > 0, "{licences:?}");
    for end in licences {
        assert!(end.losing <= end.short, "{end:?}");
    }
    // Too much went wrong for the rule of a wave, and somebody had it go on.
    let stopped = count(&|w| u32::try_from(w.stopped).unwrap());
    assert!(stopped > 0, "{:?}", summary.waves);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_in_which_nothing_goes_wrong_is_never_stopped_and_lacks_no_licence() {
    let mut rehearsal = rehearsal(8, 9, Faults::None);
    rehearsal.waves = Some(2);
    rehearsal.buckets = 2;
    let summary = play(rehearsal).await;
    agreed(&summary);
    assert!(summary.waves.iter().all(|wave| wave.stopped == 0));
    assert!(summary.licences.is_empty(), "{:?}", summary.licences);
}
