//! Dates: the window and the calendar of a project, its capacity, the budget of requests, and later deadlines.

use std::collections::BTreeMap;
use std::time::Duration;

use mdm_core::calendar::Calendar;
use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::ids::{ProjectId, Serial, WaveId};
use mdm_core::migration::{MoveState, PinnedRunbook, Variant};
use mdm_core::project::Window;
use mdm_core::service::{Act, ActPlan, Dates, MigrationAct, Org, ProjectChange};
use mdm_core::store::Batch;
use mdm_core::wave::Preset;

use super::service_house::fleet::{serial, serials};
use super::service_house::{House, START};
use super::submitted::member;
use super::{DATES, DAY, accepted, finding, fleet, phones, pilot, project};

#[tokio::test]
async fn nobody_is_offered_anything_before_the_window_begins() {
    let house = House::new().await;
    let window = |first| ProjectChange {
        window: Some(Window {
            not_before: Some(first),
            not_after: None,
        }),
        ..ProjectChange::default()
    };
    // Its deadline lies in the window; its offer does not.
    let change = window(START + 2 * DAY);
    let (org, id, pilot) = pilot(&house, 4, &change, &phones(1)).await;
    let found = finding(&org, pilot, &serial(0), Check::Window).await;
    assert_eq!(found.result, CheckResult::Block);
    assert!(
        found.fact.contains("would be offered from"),
        "{}",
        found.fact
    );
    let change = window(DATES.available_from.unwrap());
    org.change_project(id, &change).await.unwrap();
    let found = finding(&org, pilot, &serial(0), Check::Window).await;
    // That day is a Saturday, which is another matter.
    assert_ne!(found.result, CheckResult::Block, "{}", found.fact);
    // Where nobody says from when on users are asked it is a week before, but not before the window, and not in the past.
    let begins = START + 4 * DAY;
    let change = window(begins);
    org.change_project(id, &change).await.unwrap();
    let from = async |of: Serial| member(&org, pilot, &of).await.available_from;
    let deadline = START + 9 * DAY;
    let dated = org.set_deadline(pilot, None, deadline).await;
    assert_eq!(dated.unwrap(), 1);
    assert_eq!(from(serial(0)).await, begins);
    let dates = Dates {
        deadline: Some(deadline),
        available_from: None,
    };
    org.add_members(pilot, &phones(2)[1..], dates)
        .await
        .unwrap();
    assert_eq!(from(serial(3)).await, begins);
    let late = START + 20 * DAY;
    org.set_deadline(pilot, None, late).await.unwrap();
    assert_eq!(from(serial(0)).await, late - 7 * DAY);
    org.change_project(id, &window(START - DAY)).await.unwrap();
    let soon = START + 2 * DAY;
    org.set_deadline(pilot, None, soon).await.unwrap();
    assert_eq!(from(serial(0)).await, house.mdm.now());
}

#[tokio::test]
async fn a_plan_says_whether_its_requests_leave_in_time() {
    let house = House::new().await;
    let org = fleet(&house, 9).await;
    let id = project(&org, &house, &ProjectChange::default()).await;
    let made = org.new_wave(id, "pilot", Some(Preset::Pilot)).await;
    let pilot = made.unwrap().id;
    org.add_members(pilot, &serials(0..9), DATES).await.unwrap();
    let plan = async |buckets| {
        let placed = org.plan_dates(pilot, None, None, Some(buckets), None, true);
        org.budget_of(&placed.await.unwrap()).await.unwrap()
    };
    let (one, three) = (plan(1).await, plan(3).await);
    assert_eq!(one.check, Check::PostBudget);
    assert!(one.fact.starts_with("1 request at "), "{}", one.fact);
    assert!(three.fact.starts_with("3 requests at "), "{}", three.fact);
}

/// Has Apple take the migrations of these.
async fn scheduled(house: &House, org: &Org, wave: WaveId) {
    let mut batch = Batch::new();
    for mut attempt in org.members(wave).await.unwrap() {
        attempt.state = MoveState::Scheduled {
            since: START,
            visible: None,
        };
        batch.put(attempt);
    }
    house.mdm.store().commit(batch).await.unwrap();
}

/// What a later deadline would do for these.
async fn extended(org: &Org, deadline: Timestamp, serials: &[Serial]) -> ActPlan {
    let act = Act {
        what: MigrationAct::Extend { deadline },
        serials: serials.to_vec(),
        reason: None,
    };
    org.plan_act(&act).await.unwrap()
}

#[tokio::test]
async fn an_extension_says_what_calendar_and_capacity_make_of_it() {
    let house = House::new().await;
    let change = ProjectChange {
        capacity: Some(2),
        calendar: Some(Calendar::default()),
        ..ProjectChange::default()
    };
    let four = phones(4);
    let (org, _, pilot) = pilot(&house, 12, &change, &four).await;
    for (n, of) in four.iter().enumerate() {
        let own = std::slice::from_ref(of);
        let deadline = START + 9 * DAY + Duration::from_secs(7200) * u32::try_from(n).unwrap();
        let dated = org.set_dates(pilot, Some(own), deadline, START + DAY);
        dated.await.unwrap();
    }
    accepted(&org, pilot).await.unwrap();
    scheduled(&house, &org, pilot).await;
    let plan = async |deadline: &str, of: &[Serial]| {
        let deadline = Timestamp::parse(deadline).unwrap();
        let plan = extended(&org, deadline, of).await;
        assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
        // How many and when is what others do: with that the plan would be another one each time.
        let room = plan.warnings.iter().find(|w| w.starts_with("capacity:"));
        let steady = room.is_none_or(|w| {
            w.contains("more than the 2 devices that may be") && !w.contains("around")
        });
        assert!(steady, "{room:?}");
        let warnings = plan.warnings.iter();
        let words = warnings.filter_map(|w| Some(w.split_once(':')?.0.to_owned()));
        words.collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    // A Wednesday, in office hours and in the night.
    assert_eq!(plan("2026-12-30T10:00:00Z", &four[..2]).await, none);
    assert_eq!(plan("2026-12-30T10:00:00Z", &four[..3]).await, ["capacity"]);
    assert_eq!(plan("2026-12-30T02:00:00Z", &four[..2]).await, ["window"]);
    assert_eq!(
        plan("2026-12-30T02:00:00Z", &four).await,
        ["window", "capacity"]
    );
}

#[tokio::test]
async fn a_deadline_that_is_proposed_is_one_that_an_extension_takes() {
    let house = House::new().await;
    let within = |first, last| ProjectChange {
        window: Some(Window {
            not_before: first,
            not_after: Some(last),
        }),
        ..ProjectChange::default()
    };
    let change = within(None, START + 20 * DAY);
    let (org, id, pilot) = pilot(&house, 9, &change, &phones(3)).await;
    accepted(&org, pilot).await.unwrap();
    scheduled(&house, &org, pilot).await;
    // The window is another one since the submission.
    let change = within(Some(START + 30 * DAY), START + 60 * DAY);
    org.change_project(id, &change).await.unwrap();
    let mut proposed = 0;
    for group in org.later_deadlines(pilot).await.unwrap() {
        let plan = extended(&org, group.deadline.unwrap(), &group.serials).await;
        assert_eq!(plan.blocked, 0, "{:?}", plan.findings);
        proposed += plan.members;
    }
    assert_eq!(proposed, 3);
    // What lay in the window of then lies in none now.
    let plan = extended(&org, START + 15 * DAY, &phones(3)).await;
    assert_eq!(plan.blocked, 3);
    for findings in plan.findings.values() {
        assert!(
            findings[0].contains("outside of the project's window"),
            "{findings:?}"
        );
    }
}

/// A project with room for two at once, and a pilot with these.
async fn narrow(house: &House, org: &Org, of: &[Serial]) -> (ProjectId, WaveId) {
    let change = ProjectChange {
        capacity: Some(2),
        ..ProjectChange::default()
    };
    let id = project(org, house, &change).await;
    let made = org.new_wave(id, "pilot", Some(Preset::Pilot)).await;
    let pilot = made.unwrap().id;
    org.add_members(pilot, of, DATES).await.unwrap();
    (id, pilot)
}

/// A runbook that gives a hold four hours.
fn slow() -> ProjectChange {
    let mut slow = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    slow.hard_ceiling_secs = 4 * 3600;
    ProjectChange {
        runbooks: BTreeMap::from([(Platform::Ios, slow)]),
        ..ProjectChange::default()
    }
}

#[tokio::test]
async fn a_hold_counts_for_as_long_as_its_runbook_gives_it() {
    let house = House::new().await;
    let org = fleet(&house, 12).await;
    let four = phones(4);
    let (id, pilot) = narrow(&house, &org, &four).await;
    let at = |hours: u32| START + 9 * DAY + Duration::from_secs(3600) * hours;
    for (hours, of) in [(0, &four[..2]), (2, &four[2..])] {
        let dated = org.set_dates(pilot, Some(of), at(hours), START + DAY);
        dated.await.unwrap();
    }
    let capacity = async || {
        let server = org.what_if(pilot).await.unwrap().report.server;
        let mut found = server.into_iter().filter(|f| f.check == Check::Capacity);
        found.next().unwrap()
    };
    assert_eq!(capacity().await.result, CheckResult::Pass);
    org.change_project(id, &slow()).await.unwrap();
    let found = capacity().await;
    assert_eq!(found.result, CheckResult::Block, "{}", found.line());
    assert!(found.fact.starts_with("at most 4 "), "{}", found.fact);
    // The plan gives them four hours.
    let placed = org.plan_dates(pilot, None, None, None, None, true).await;
    let mut deadlines: Vec<_> = placed.unwrap().iter().map(|p| p.deadline).collect();
    deadlines.sort();
    deadlines.dedup();
    assert_eq!(deadlines.len(), 2, "{deadlines:?}");
    let apart = deadlines[1].since(deadlines[0]);
    assert!(apart > Duration::from_hours(4), "{deadlines:?}");
}

#[tokio::test]
async fn a_long_hold_of_another_month_takes_nobodys_place() {
    let house = House::new().await;
    let org = fleet(&house, 18).await;
    let five = phones(5);
    let (_, pilot) = narrow(&house, &org, &five[..4]).await;
    // Full, and an hour apart.
    for (hours, of) in [(0_u32, &five[..2]), (1, &five[2..4])] {
        let at = START + 9 * DAY + Duration::from_secs(3600) * hours;
        let dated = org.set_dates(pilot, Some(of), at, START + DAY);
        dated.await.unwrap();
    }
    let other = org.new_project("Paris", house.server, &slow()).await;
    let made = org.new_wave(other.unwrap().id, "main", None).await;
    let main = made.unwrap().id;
    org.add_members(main, &five[4..], DATES).await.unwrap();
    let dated = org.set_dates(main, None, START + 39 * DAY, START + 30 * DAY);
    dated.await.unwrap();
    let server = org.what_if(pilot).await.unwrap().report.server;
    let found = server.iter().find(|f| f.check == Check::Capacity).unwrap();
    assert_eq!(found.result, CheckResult::Pass, "{}", found.line());
    assert!(found.fact.starts_with("at most 2 "), "{}", found.fact);
}
