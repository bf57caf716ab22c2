//! Places in the gap themselves: that of a single list counts for waves, and one that comes free too late is nobody's.

use mdm_core::ids::{MoveId, WaveId};
use mdm_core::service::{Act, MigrationAct, Org};

use super::{DAY, HOUR, between, dates, limits, members, migrated, migrated_but_withdrawn};
use super::{Move, MoveState, Serial, second, set, stage, submit, watch};

async fn serials(org: &Org, wave: WaveId) -> Vec<Serial> {
    let all = members(org, wave).await.into_iter();
    all.map(|member| member.serial).collect()
}

/// Why a device is not offered its migration, in the words of its row.
async fn waits(org: &Org, serial: &Serial) -> Option<String> {
    let report = Box::pin(org.device_report(serial)).await.unwrap();
    report.device.assignment.waits
}

#[tokio::test(flavor = "multi_thread")]
async fn the_places_of_a_list_hold_back_the_devices_of_a_wave() {
    let (_directory, stage) = stage(9).await;
    let (org, project, wave, tills) = set(&stage).await;
    let all = serials(&org, wave).await;
    org.remove_members(wave, Some(&all), "with others")
        .await
        .unwrap();
    org.change_project(project, &limits(10)).await.unwrap();

    // Two of the tills go at once, with a list.
    let list = Act {
        what: MigrationAct::Assign {
            destination: stage.destination(),
            deadline: dates(&stage, 0, 3).deadline.unwrap(),
            available_from: None,
            runbooks: stage.runbooks(),
        },
        serials: tills[..2].to_vec(),
        reason: None,
    };
    let plan = org.plan_act(&list).await.unwrap();
    let done = org.do_act(&list, &plan.digest).await.unwrap();
    let listed = done.wave.unwrap();
    // Two more with a wave, some hours later, and with them devices of no group.
    let second = second(&stage, &org).await;
    let going: Vec<Serial> = all.into_iter().filter(|one| *one != tills[4]).collect();
    let going: Vec<Serial> = going
        .into_iter()
        .filter(|one| !tills[..2].contains(one))
        .collect();
    let later = dates(&stage, 3, 6);
    org.add_members(second, &going, later).await.unwrap();
    let what_if = org.run_what_if(second).await.unwrap();
    let accepted = org.accept(second, &what_if.digest, &[], "as planned").await;
    accepted.unwrap();
    org.submit_accepted(second, "second").await.unwrap();
    org.change_project(project, &limits(2)).await.unwrap();

    let end = later.available_from.unwrap() + HOUR;
    let mut most = watch(&stage, second, &tills, Some(end)).await;
    let of_list = between(&stage.world, &tills[..2]).len();
    assert!(of_list > 0, "the list is through: nothing is shown");
    assert!(between(&stage.world, &tills).len() <= 2, "too many at once");
    let mut held_back = 0;
    for member in members(&org, second).await {
        let is_till = tills.contains(&member.serial);
        let why = waits(&org, &member.serial).await;
        match &member.gap {
            // Those of no group wait for nobody.
            None => {
                assert!(is_till, "{member:#?}");
                let full = "2 devices of the tag till are on their way, and 2 may be";
                assert_eq!(why.as_deref(), Some(full), "{}", member.serial);
                held_back += 1;
            }
            Some(_) => assert_eq!(why, None, "{}", member.serial),
        }
    }
    assert_eq!(held_back, of_list, "each place of the list holds one back");

    // Once the list is through the others have their places, and all of them come.
    for wave in [second, listed] {
        most = most.max(watch(&stage, wave, &tills, None).await);
        assert!(migrated_but_withdrawn(&members(&org, wave).await));
    }
    assert_eq!(most, 2, "the world has seen {most} tills at once");
    stage.strike().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_comes_free_after_the_deadline_is_not_taken() {
    let (_directory, stage) = stage(10).await;
    let (org, project, wave, tills) = set(&stage).await;
    org.remove_members(wave, Some(&tills[2..]), "with others")
        .await
        .unwrap();
    org.change_project(project, &limits(10)).await.unwrap();
    submit(&org, wave).await;
    org.change_project(project, &limits(1)).await.unwrap();
    let planned = members(&org, wave).await;
    let last = planned.iter().map(|m| m.deadline).max().unwrap();
    let start = stage.mdm().now();
    watch(&stage, wave, &tills, Some(start + 3 * HOUR)).await;

    let of = |all: Vec<Move>, has_place: bool| -> Move {
        let mut tills = all.into_iter().filter(|m| tills[..2].contains(&m.serial));
        let found = tills.find(|m| m.gap.is_some() == has_place);
        found.expect("one till has the place, the other waits")
    };
    let first = of(members(&org, wave).await, true);
    let waiting = of(members(&org, wave).await, false);
    assert!(!first.is_through(), "it is through: nothing is shown");
    // The one that waits is forced: less notice than is owed does not hold it back any more, its group does.
    let act = |what| Act {
        what,
        serials: vec![waiting.serial.clone()],
        reason: Some("the lease ends".to_owned()),
    };
    let sooner = act(MigrationAct::Force {
        deadline: start + 5 * HOUR,
    });
    let plan = org.plan_act(&sooner).await.unwrap();
    let asked = org.do_act(&sooner, &plan.digest).await.unwrap();
    let bo = org.clone().acting_for("Bo");
    bo.confirm(asked.approval.unwrap()).await.unwrap();
    watch(&stage, wave, &tills, Some(start + 4 * HOUR)).await;
    let full = "1 device of the tag till is on its way, and 1 may be";
    assert_eq!(waits(&org, &waiting.serial).await.as_deref(), Some(full));

    // The place comes free long after that deadline: nobody is asked to move at once.
    let mut all = members(&org, wave).await;
    for look in 1..=12_u32 {
        watch(&stage, wave, &tills, Some(last + look * 6 * HOUR)).await;
        all = members(&org, wave).await;
        let place = all.iter().find(|m| m.serial == first.serial);
        if place.unwrap().is_through() {
            break;
        }
    }
    // The place is looked for every few minutes.
    let soon = stage.mdm().now() + HOUR;
    watch(&stage, wave, &tills, Some(soon)).await;
    let now = |serial: &Serial| all.iter().find(|m| m.serial == *serial).unwrap();
    assert!(now(&first.serial).is_through(), "the place is still taken");
    let late = now(&waiting.serial);
    assert!(late.gap.is_none() && late.offered.is_none(), "{late:#?}");
    assert!(matches!(late.state, MoveState::Overdue { .. }), "{late:#?}");
    assert!(between(&stage.world, std::slice::from_ref(&waiting.serial)).is_empty());
    let passed = "its deadline has passed while it waited: give it a later one";
    assert_eq!(waits(&org, &waiting.serial).await.as_deref(), Some(passed));
    let told = org.failures_of_wave(wave, MoveId(0), 100).await.unwrap();
    let of_it = told.devices.iter().find(|(_, s, _)| *s == waiting.serial);
    let said = serde_json::to_string(&of_it.unwrap().2).unwrap();
    assert!(said.contains(passed), "{said}");

    // With a later one it is asked, and comes.
    let extend = act(MigrationAct::Extend {
        deadline: stage.mdm().now() + 3 * DAY,
    });
    let plan = org.plan_act(&extend).await.unwrap();
    org.do_act(&extend, &plan.digest).await.unwrap();
    watch(&stage, wave, &tills, None).await;
    let all = members(&org, wave).await;
    let came = all.iter().find(|m| m.serial == waiting.serial).unwrap();
    assert!(migrated(std::slice::from_ref(came)), "{came:#?}");
    assert!(migrated_but_withdrawn(&all), "{all:#?}");
    stage.strike().await.unwrap();
}
