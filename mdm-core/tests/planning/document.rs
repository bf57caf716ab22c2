//! A plan as one document: who stands in it, and no history; brought in again, it says what differs.

use std::collections::BTreeMap;

use mdm_core::device::Platform;
use mdm_core::ids::{Serial, WaveId};
use mdm_core::migration::{MoveState, Outcome, PinnedRunbook, Variant};
use mdm_core::project::Window;
use mdm_core::service::{Org, PlanFile, ProjectChange};
use mdm_core::store::Batch;
use mdm_core::template::TemplateContent;
use mdm_core::wave::{Wave, WaveState};

use super::service_house::fleet::{serial, serials};
use super::service_house::{House, START};
use super::{DATES, DAY, fleet, pilot, wave};

/// Has everybody in a wave end, and closes it.
async fn close(house: &House, org: &Org, wave: WaveId) {
    let store = house.mdm.store();
    let mut batch = Batch::new();
    for mut attempt in org.members(wave).await.unwrap() {
        let device = store.device(house.org, attempt.device).await.unwrap();
        let mut device = device.unwrap();
        device.open_move = None;
        attempt.state = MoveState::Ended(Outcome::Migrated);
        attempt.ended = Some(START);
        attempt.wake_at = None;
        batch.put(device).put(attempt);
    }
    let row = store.wave(house.org, wave).await.unwrap();
    let mut row: Wave = row.unwrap();
    row.state = WaveState::Closed { at: START };
    batch.put(row);
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_plan_has_who_stands_in_it_and_no_history() {
    let house = House::new().await;
    let all = serials(0..6);
    let (org, id, pilot) = pilot(&house, 12, &ProjectChange::default(), &all[..3]).await;
    let main = wave(&org, id, "main", &all[3..]).await;
    // One is taken out and put elsewhere, one is taken out for good; a third wave is closed, and another one has its name.
    org.remove_members(pilot, Some(&all[..2]), "on leave")
        .await
        .unwrap();
    org.add_members(main, &all[..1], DATES).await.unwrap();
    let gone = wave(&org, id, "again", &serials(6..8)).await;
    close(&house, &org, gone).await;
    wave(&org, id, "again", &serials(8..9)).await;

    let plan = org.plan_file(id).await.unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let plan: PlanFile = serde_json::from_str(&text).unwrap();
    let who: BTreeMap<&str, Vec<Serial>> = plan
        .waves
        .iter()
        .map(|w| {
            let mut who: Vec<Serial> = w.members.iter().map(|m| m.serial.clone()).collect();
            who.sort();
            (w.name.as_str(), who)
        })
        .collect();
    let mut in_main = vec![serial(0)];
    in_main.extend(serials(3..6));
    let wanted = BTreeMap::from([
        ("pilot", serials(2..3)),
        ("main", in_main),
        ("again", serials(8..9)),
    ]);
    assert_eq!(who, wanted);

    // Where it comes from nothing changes; elsewhere it is the same plan, and goes out as it came in.
    let again = org.take_plan(&plan).await.unwrap();
    assert_eq!(again.added.values().sum::<usize>(), 0);
    assert_eq!(org.plan_file(id).await.unwrap().waves, plan.waves);
    let other = House::new().await;
    let there = fleet(&other, 12).await;
    let mut plan = plan;
    plan.project.destination = None;
    let taken = there.take_plan(&plan).await.unwrap();
    assert!(taken.rejected.is_empty(), "{:?}", taken.rejected);
    assert_eq!(taken.added.values().sum::<usize>(), 6);
    let back = there.plan_file(taken.project.id).await.unwrap();
    assert_eq!(back.waves, plan.waves);

    // Whose wave has been closed since does not come a second time.
    let waves = there.waves_of(taken.project.id).await.unwrap();
    let pilot = waves.iter().find(|w| w.name == "pilot").unwrap();
    close(&other, &there, pilot.id).await;
    let again = there.take_plan(&plan).await.unwrap();
    assert_eq!((again.added["pilot"], again.there["pilot"]), (0, 1));
    assert_eq!(there.waves_of(taken.project.id).await.unwrap().len(), 3);
}

#[tokio::test]
async fn who_was_taken_out_comes_in_again_with_the_plan_and_what_differs_is_said() {
    let house = House::new().await;
    let (org, id, pilot) = pilot(&house, 6, &ProjectChange::default(), &serials(0..4)).await;
    let mut plan = org.plan_file(id).await.unwrap();
    let out = serials(0..1);
    org.remove_members(pilot, Some(&out), "by mistake")
        .await
        .unwrap();
    let taken = org.take_plan(&plan).await.unwrap();
    assert_eq!((taken.added["pilot"], taken.there["pilot"]), (1, 3));
    assert_eq!(taken.differs, [""; 0]);
    let back = org.plan_file(id).await.unwrap();
    assert_eq!(back.waves[0].members.len(), 4);

    // Settings and dates stay as they are, and it is said which are others.
    let change = ProjectChange {
        capacity: Some(7),
        window: Some(Window {
            not_before: None,
            not_after: Some(START + 40 * DAY),
        }),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let two = serials(1..3);
    let dated = org.set_dates(pilot, Some(&two), START + 12 * DAY, START + DAY);
    dated.await.unwrap();
    let taken = org.take_plan(&plan).await.unwrap();
    let differs = [
        "project Berlin: otherwise in the plan: window",
        "project Berlin: otherwise in the plan: capacity",
        "wave pilot: the plan has other dates for 2 members",
    ];
    assert_eq!(taken.differs, differs);
    assert_eq!(org.project(id).await.unwrap().capacity, 7);
    // What people write has what they mean to say, and no more.
    plan.exported = None;
    plan.project.capacity = None;
    let taken = org.take_plan(&plan).await.unwrap();
    assert_eq!(taken.differs, differs[2..]);
}

#[tokio::test]
async fn a_plan_comes_in_under_a_template_that_says_the_same_or_of_which_it_says_nothing() {
    let mut content = TemplateContent::default();
    let window = Window {
        not_before: Some(START),
        ..Window::default()
    };
    content.window = Some(window);
    content.prerequisites = Some(["os-updated".to_owned()].into());
    let mut locked = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    locked.lock = true;
    content.runbooks.insert(Platform::Ios, locked);
    let under = async |house: &House| {
        let org = fleet(house, 12).await;
        let made = house
            .mdm
            .edit_template("Careful", &content, None, "Anna", "begun");
        made.await.unwrap();
        org.push_template("Careful").await.unwrap();
        org
    };
    // Of what somebody wrote, what is left out is the template's.
    let house = House::new().await;
    let org = under(&house).await;
    let written: PlanFile = serde_json::from_value(serde_json::json!({
        "form": 1, "project": { "name": "By hand" }, "waves": [],
    }))
    .unwrap();
    let taken = org.take_plan(&written).await.unwrap();
    assert!(taken.made);
    assert_eq!(taken.project.window, window);
    assert!(taken.project.prerequisites.contains("os-updated"));
    // What was taken out of one organisation with it comes into another one.
    let plan = org.plan_file(taken.project.id).await.unwrap();
    let other = House::new().await;
    let there = under(&other).await;
    let mut plan = plan;
    plan.project.destination = None;
    assert!(there.take_plan(&plan).await.unwrap().made);
    // What is otherwise stays refused.
    plan.project.name = "Otherwise".to_owned();
    plan.project.window = Window::default();
    let refused = there.take_plan(&plan).await.unwrap_err().to_string();
    assert!(refused.contains("window is locked"), "{refused}");
}
