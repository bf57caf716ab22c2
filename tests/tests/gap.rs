//! Limits on how many devices of a group are between two services at once: they hold in the plan, and where devices are offered
//! their migration, whatever the plan says; and nobody is offered one without the notice that is owed. What is counted is the world's: who has a profile at Apple, and who is through.

#[path = "gap/places.rs"]
mod places;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fixtures::apple::organisation::MigrationStatus;
use fixtures::world::World;
use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::Timestamp;
use mdm_core::gap::GapLimits;
use mdm_core::ids::{ProjectId, Serial, WaveId};
use mdm_core::migration::{Move, MoveState, Outcome};
use mdm_core::service::{Act, Dates, MigrationAct, Org, ProjectChange};
use mdm_core::store::Batch;
use mdmd::rehearsal::{HouseOptions, Rehearsal, Stage};
use tempfile::TempDir;

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);
/// Devices of the story, and how many of them are tills.
const DEVICES: u32 = 8;
const TILLS: usize = 5;

fn limits(most: u32) -> ProjectChange {
    let mut limits = GapLimits::default();
    limits.tags.insert("till".to_owned(), most);
    ProjectChange {
        gap: Some(limits),
        ..ProjectChange::default()
    }
}

/// A world with these random numbers, and a server in a folder of its own.
async fn stage(seed: u64) -> (TempDir, Stage) {
    let world = Rehearsal::new(DEVICES, seed).world().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = HouseOptions::default();
    let stage = Stage::set(world, directory.path(), options).await.unwrap();
    (directory, stage)
}

/// A project that is on, with one wave of every device; the first of them are tills.
async fn set(stage: &Stage) -> (Org, ProjectId, WaveId, Vec<Serial>) {
    let org = stage.org().await.unwrap();
    let export = stage.world.original().export();
    let all: Vec<Serial> = export
        .iter()
        .map(|device| Serial::parse(&device.identity.serial).unwrap())
        .collect();
    org.pull(&all).await.unwrap();
    // The devices of the world have their licences from elsewhere.
    let warns = [(Check::AppsLicences, Some(CheckResult::Warn))];
    org.set_unknowns(&warns.into()).await.unwrap();
    let org = stage.org().await.unwrap();
    let (store, id) = (stage.mdm().store(), org.organisation().id);
    let tills = all[..TILLS].to_vec();
    let mut batch = Batch::new();
    for mut device in store.devices_by_serial(id, &tills).await.unwrap() {
        device.tags.insert("till".to_owned());
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
    let change = ProjectChange {
        runbooks: stage.runbooks(),
        ..limits(2)
    };
    let project = org.new_project("shops", stage.destination(), &change);
    let project = project.await.unwrap().id;
    org.switch_project(project, true).await.unwrap();
    let wave = org.new_wave(project, "all", None).await.unwrap().id;
    let now = stage.mdm().now();
    let dates = Dates {
        deadline: Some(now + 4 * DAY),
        available_from: Some(now + HOUR),
    };
    org.add_members(wave, &all, dates).await.unwrap();
    // What the original knows of them, too.
    stage.forecast(wave).await.unwrap();
    (org, project, wave, tills)
}

/// An empty wave of another project that is on, and that says nothing of limits.
async fn second(stage: &Stage, org: &Org) -> WaveId {
    let change = ProjectChange {
        runbooks: stage.runbooks(),
        ..ProjectChange::default()
    };
    let other = org.new_project("schools", stage.destination(), &change);
    let other = other.await.unwrap().id;
    org.switch_project(other, true).await.unwrap();
    org.new_wave(other, "second", None).await.unwrap().id
}

async fn submit(org: &Org, wave: WaveId) {
    let what_if = org.run_what_if(wave).await.unwrap();
    assert!(what_if.against_all.is_empty(), "{:?}", what_if.against_all);
    assert!(what_if.blockers.is_empty(), "{:?}", what_if.blockers);
    let accepted = org.accept(wave, &what_if.digest, &[], "as planned").await;
    accepted.unwrap();
    org.submit_accepted(wave, "all").await.unwrap();
}

/// Of these devices, those whose profile was asked for at Apple and that Apple does not say are through.
fn between(world: &World, serials: &[Serial]) -> BTreeSet<String> {
    let asked = world.apple().ledger().into_iter().filter(|entry| {
        let assigns = entry.method != "GET" && entry.path.ends_with("/profile/devices");
        assigns && entry.status == 200
    });
    let asked: BTreeSet<String> = asked.flat_map(|entry| entry.serials).collect();
    let mut all: BTreeSet<String> = serials.iter().map(ToString::to_string).collect();
    all.retain(|serial| {
        let status = world.apple().migration_status(serial);
        asked.contains(serial) && status != MigrationStatus::Success
    });
    all
}

async fn members(org: &Org, wave: WaveId) -> Vec<Move> {
    org.members(wave).await.unwrap()
}

fn migrated(all: &[Move]) -> bool {
    let ends = [Outcome::Migrated, Outcome::MigratedWithExceptions];
    all.iter().all(|attempt| {
        ends.iter()
            .any(|end| attempt.state == MoveState::Ended(*end))
    })
}

/// Plays, and looks at every moment at which nothing is left to do how many of these devices are between two services; answers the
/// most. Ends when all is over, or at `end`.
async fn watch(stage: &Stage, wave: WaveId, serials: &[Serial], end: Option<Timestamp>) -> usize {
    let most = Mutex::new(0);
    let end = AtomicI64::new(end.map_or(i64::MAX, Timestamp::as_millis));
    let look = || {
        let now = between(&stage.world, serials).len();
        let mut most = most.lock().unwrap();
        *most = now.max(*most);
        stage.world.clock().now_ms() >= end.load(Ordering::Relaxed)
    };
    stage.play_until(wave, &look).await.unwrap();
    most.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_keeps_the_limits_and_every_device_migrates() {
    let (_directory, stage) = stage(5).await;
    let (org, _, wave, tills) = set(&stage).await;

    // As they were put in, all on one day, too many are on their way at once.
    let what_if = org.run_what_if(wave).await.unwrap();
    let against = what_if.against_all.join("; ");
    assert!(
        against.contains("5 devices of the tag till around"),
        "{against}"
    );
    assert!(against.starts_with(Check::Gap.as_str()), "{against}");
    let now = stage.mdm().now();
    let placed = org.plan_dates(
        wave,
        Some(now + 2 * DAY),
        Some(now + 30 * DAY),
        None,
        Some(DAY * 2),
        false,
    );
    placed.await.unwrap();
    submit(&org, wave).await;
    let most = watch(&stage, wave, &tills, None).await;
    assert_eq!(most, 2, "the world has seen {most} tills at once");
    let all = members(&org, wave).await;
    assert!(migrated(&all), "{all:#?}");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_plan_says_no_device_is_offered_more_than_there_may_be() {
    let (_directory, stage) = stage(6).await;
    let (org, project, wave, tills) = set(&stage).await;
    // Submitted with more than enough room; somebody thinks better of it before the first offer.
    org.change_project(project, &limits(10)).await.unwrap();
    submit(&org, wave).await;
    org.change_project(project, &limits(2)).await.unwrap();

    let (mut most, mut extended) = (0, 0);
    for _ in 0..TILLS {
        let all = members(&org, wave).await;
        if all.iter().all(Move::is_ended) {
            break;
        }
        // Until some hours after the last deadline of those that wait.
        let last = all.iter().map(|attempt| attempt.deadline).max().unwrap();
        let end = last + 4 * HOUR;
        most = most.max(watch(&stage, wave, &tills, Some(end)).await);
        let all = members(&org, wave).await;
        let waiting: Vec<Serial> = all
            .iter()
            .filter(|attempt| !attempt.is_ended() && attempt.gap.is_none())
            .map(|attempt| attempt.serial.clone())
            .collect();
        let Some(one) = waiting.first() else {
            continue;
        };
        // It says what it waits for, and that it needs a later deadline.
        let told = org
            .failures_of_wave(wave, mdm_core::ids::MoveId(0), 100)
            .await;
        let told = told.unwrap().devices;
        let of = told.iter().find(|(_, serial, _)| serial == one).unwrap();
        let said = serde_json::to_string(&of.2).unwrap();
        assert!(said.contains("it waits for its group"), "{said}");
        assert!(
            said.contains("give it a later one") || said.contains("of the tag till"),
            "{said}"
        );
        let serials: Vec<Serial> = waiting.clone();
        assert!(
            serials.iter().all(|serial| tills.contains(serial)),
            "{serials:?}"
        );
        let act = Act {
            what: MigrationAct::Extend {
                deadline: stage.mdm().now() + 3 * DAY,
            },
            serials,
            reason: None,
        };
        let plan = org.plan_act(&act).await.unwrap();
        let done = org.do_act(&act, &plan.digest).await;
        done.unwrap();
        extended += 1;
    }
    assert_eq!(most, 2, "the world has seen {most} tills at once");
    assert!(extended > 0, "nobody has waited beyond the deadline");
    let all = members(&org, wave).await;
    assert!(migrated(&all), "{all:#?}");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_came_too_near_is_not_offered_without_notice() {
    let (_directory, stage) = stage(7).await;
    let (org, project, wave, tills) = set(&stage).await;
    org.change_project(project, &limits(10)).await.unwrap();
    submit(&org, wave).await;
    // Paused until less than a day is left: until then nobody was asked.
    org.pause_wave(wave, true, "the help desk is ill", false)
        .await
        .unwrap();
    let deadline = members(&org, wave).await[0].deadline;
    watch(&stage, wave, &tills, Some(deadline - 20 * HOUR)).await;
    org.pause_wave(wave, false, "it is well again", false)
        .await
        .unwrap();
    watch(&stage, wave, &tills, Some(deadline - 16 * HOUR)).await;
    assert_eq!(between(&stage.world, &tills), BTreeSet::new());
    let told = org
        .failures_of_wave(wave, mdm_core::ids::MoveId(0), 100)
        .await;
    let told = told.unwrap().devices;
    assert_eq!(told.len(), DEVICES as usize, "{told:#?}");
    for (_, serial, found) in &told {
        let said = serde_json::to_string(found).unwrap();
        assert!(said.contains("less than 24 hours"), "{serial}: {said}");
        assert!(said.contains("mdmd migration extend"), "{serial}: {said}");
    }
    let record = org.record_tail(1000).await.unwrap();
    let stays = record.iter().filter(|e| e.what == "device.not-offered");
    assert_eq!(stays.count(), DEVICES as usize, "once for each");
    // One is extended and goes; one is forced, by name and with another person's word, and goes at once.
    let act = |what, serial: &Serial| Act {
        what,
        serials: vec![serial.clone()],
        reason: Some("the lease ends".to_owned()),
    };
    let later = act(
        MigrationAct::Extend {
            deadline: deadline + 3 * DAY,
        },
        &tills[0],
    );
    let plan = org.plan_act(&later).await.unwrap();
    org.do_act(&later, &plan.digest).await.unwrap();
    let sooner = act(
        MigrationAct::Force {
            deadline: deadline - HOUR,
        },
        &tills[1],
    );
    let plan = org.plan_act(&sooner).await.unwrap();
    let asked = org.do_act(&sooner, &plan.digest).await.unwrap();
    let bo = org.clone().acting_for("Bo");
    bo.confirm(asked.approval.unwrap()).await.unwrap();
    watch(&stage, wave, &tills, Some(deadline + 20 * HOUR)).await;
    let ended = |all: &[Move], serial: &Serial| {
        let one = all.iter().find(|attempt| attempt.serial == *serial);
        migrated(std::slice::from_ref(one.unwrap()))
    };
    let all = members(&org, wave).await;
    assert!(ended(&all, &tills[1]), "{all:#?}");
    let left = all
        .iter()
        .find(|attempt| attempt.serial == tills[2])
        .unwrap();
    assert!(!left.is_ended() && left.offered.is_none(), "{left:#?}");
    // Long after its deadline it is given a later one: only then is its user asked.
    let mut later = act(
        MigrationAct::Extend {
            deadline: deadline + 4 * DAY,
        },
        &tills[2],
    );
    let open = members(&org, wave)
        .await
        .into_iter()
        .filter(|m| !m.is_ended());
    later.serials = open.map(|m| m.serial).collect();
    let plan = org.plan_act(&later).await.unwrap();
    org.do_act(&later, &plan.digest).await.unwrap();
    watch(&stage, wave, &tills, None).await;
    let all = members(&org, wave).await;
    assert!(migrated(&all), "{all:#?}");
    stage.strike().await.unwrap();
}

/// Dates of members: offered so many hours from now, and enforced so many days from now.
fn dates(stage: &Stage, hours: u32, days: u32) -> Dates {
    let now = stage.mdm().now();
    Dates {
        deadline: Some(now + days * DAY),
        available_from: Some(now + hours * HOUR),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_for_every_wave_and_list_that_devices_of_the_group_go_with() {
    let (_directory, stage) = stage(8).await;
    let (org, project, wave, tills) = set(&stage).await;
    // The project that says the limit keeps two of the tills, another one that says none takes the third, a list the fourth.
    let leave: Vec<Serial> = members(&org, wave)
        .await
        .into_iter()
        .map(|member| member.serial)
        .filter(|serial| !tills[..2].contains(serial))
        .collect();
    org.remove_members(wave, Some(&leave), "with others")
        .await
        .unwrap();
    let second = second(&stage, &org).await;
    let third = tills[2..3].to_vec();
    org.add_members(second, &third, dates(&stage, 2, 9))
        .await
        .unwrap();
    let what_if = org.run_what_if(second).await.unwrap();
    let against = what_if.against_all.join("; ");
    assert!(
        against.contains("3 devices of the tag till around"),
        "{against}"
    );
    let later = dates(&stage, 2, 9);
    let list = Act {
        what: MigrationAct::Assign {
            destination: stage.destination(),
            deadline: later.deadline.unwrap(),
            available_from: later.available_from,
            runbooks: stage.runbooks(),
        },
        serials: tills[3..4].to_vec(),
        reason: None,
    };
    let plan = org.plan_act(&list).await.unwrap();
    let said = format!("{:?}", plan.against_all);
    assert!(said.contains("4 devices of the tag till around"), "{said}");

    // Submitted with room for all; somebody thinks better of it before the first offer.
    org.change_project(project, &limits(10)).await.unwrap();
    submit(&org, wave).await;
    let what_if = org.run_what_if(second).await.unwrap();
    org.accept(second, &what_if.digest, &[], "as planned")
        .await
        .unwrap();
    org.submit_accepted(second, "second").await.unwrap();
    let plan = org.plan_act(&list).await.unwrap();
    org.do_act(&list, &plan.digest).await.unwrap();
    org.change_project(project, &limits(2)).await.unwrap();
    let mut most = 0;
    for wave in [wave, second] {
        most = most.max(watch(&stage, wave, &tills, None).await);
        assert!(migrated_but_withdrawn(&members(&org, wave).await));
    }
    let listed = org.device_report(&tills[3]).await.unwrap();
    let listed = listed.attempt.unwrap().wave;
    most = most.max(watch(&stage, listed, &tills, None).await);
    assert!(migrated(&members(&org, listed).await));
    assert_eq!(most, 2, "the world has seen {most} tills at once");
    stage.strike().await.unwrap();
}

/// Whoever was not taken out has migrated.
fn migrated_but_withdrawn(all: &[Move]) -> bool {
    let withdrawn = MoveState::Ended(Outcome::Withdrawn);
    let left: Vec<Move> = all
        .iter()
        .filter(|m| m.state != withdrawn)
        .cloned()
        .collect();
    !left.is_empty() && migrated(&left)
}
