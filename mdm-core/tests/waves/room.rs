//! The room of a project: who stays behind takes none of it, in the wave itself and in others, and whoever a waiver lets go does.

use std::collections::BTreeSet;
use std::time::Duration;

use mdm_core::check::Check;
use mdm_core::gap::GapLimits;
use mdm_core::ids::{ProjectId, WaveId};
use mdm_core::migration::MoveState;
use mdm_core::original::Said;
use mdm_core::service::{Dates, Org, ProjectChange};
use mdm_core::wave::{Preset, Waiver};

use super::service_house::fleet::{serial, serials};
use super::service_house::{House, START};
use super::{DAY, members, pilot, says, wave};

/// The system of this one is too old to migrate: something stands against it.
async fn is_old(house: &House, org: &Org, n: usize) {
    house.clock.advance(Duration::from_secs(1));
    let mut said = Said::nothing(serial(n));
    said.system = Some("18.5".to_owned());
    let now = house.mdm.now();
    let taken = org.import_originals("Old MDM", now, vec![said]).await;
    assert_eq!(taken.unwrap().changed, 1);
}

/// And somebody lets the first one go.
fn waiver() -> Waiver {
    Waiver {
        check: Check::OsMinimum,
        serials: BTreeSet::from([serial(0)]),
        reason: "it is updated on the way".to_owned(),
    }
}

/// So many of the tag may be between offer and end at once.
async fn limit(org: &Org, project: ProjectId, most: u32) {
    let mut gap = GapLimits::default();
    gap.tags.insert("even".to_owned(), most);
    let change = ProjectChange {
        gap: Some(gap),
        ..ProjectChange::default()
    };
    org.change_project(project, &change).await.unwrap();
}

/// What stands against all of a wave and begins so.
async fn against(org: &Org, wave: WaveId, begins: &str) -> Vec<String> {
    let all = org.what_if(wave).await.unwrap().against_all;
    all.into_iter().filter(|a| a.starts_with(begins)).collect()
}

#[tokio::test]
async fn who_stays_behind_takes_nobodys_room_and_who_is_waived_does() {
    let house = House::new().await;
    let (org, id, pilot) = pilot(&house, 6, 4, [10, 20]).await;
    let room_for = async |capacity| {
        let change = ProjectChange {
            capacity: Some(capacity),
            ..ProjectChange::default()
        };
        org.change_project(id, &change).await.unwrap();
    };
    let is_old = async |n| is_old(&house, &org, n).await;
    let against = async || against(&org, pilot, "capacity:").await;
    room_for(3).await;
    let said = against().await;
    assert!(said[0].contains("at most 4 devices"), "{said:?}");
    is_old(0).await;
    assert_eq!(against().await, [""; 0], "three go");

    // Those of another draft count until somebody has found that they stay behind.
    let main = wave(&org, id, "main", Preset::Main).await;
    let dates = Dates {
        deadline: Some(START + 20 * DAY),
        available_from: Some(START + 10 * DAY),
    };
    org.add_members(main, &serials(4..6), dates).await.unwrap();
    let said = against().await;
    assert!(said[0].contains("at most 5 devices"), "{said:?}");
    is_old(4).await;
    is_old(5).await;
    org.run_what_if(main).await.unwrap();
    let behind = |state: &MoveState| matches!(state, MoveState::Blocked { .. });
    let all = members(&org, main).await;
    assert!(all.iter().all(|m| behind(&m.state)), "{all:?}");
    assert_eq!(against().await, [""; 0]);

    // A waiver lets one more go than there is room for.
    let waiver = waiver();
    let seen = org.run_what_if(pilot).await.unwrap();
    says(
        org.accept(pilot, &seen.digest, std::slice::from_ref(&waiver), "")
            .await,
        "with those that waivers let go, 4 devices would be in a hold at once",
    );
    room_for(4).await;
    let seen = org.run_what_if(pilot).await.unwrap();
    org.accept(pilot, &seen.digest, std::slice::from_ref(&waiver), "")
        .await
        .unwrap();
    // What was accepted with a waiver is held to the room of the day, too.
    room_for(3).await;
    let said = against().await;
    for says in ["waivers let go, 4 devices", "3 may be: waive fewer"] {
        assert!(said[0].contains(says), "{said:?}");
    }
    says(org.submit_accepted(pilot, "pilot").await, "waivers let go");
    // Fewer waivers are taken then, and the same again are not.
    org.accept(pilot, &seen.digest, &[], "fewer").await.unwrap();
    assert_eq!(against().await, [""; 0]);
    says(
        org.accept(pilot, &seen.digest, std::slice::from_ref(&waiver), "")
            .await,
        "with those that waivers let go, 4 devices would be in a hold at once",
    );
    room_for(4).await;
    org.accept(pilot, &seen.digest, &[waiver], "")
        .await
        .unwrap();
    assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 4);
}

#[tokio::test]
async fn who_stays_behind_takes_no_place_of_its_group_in_the_plans_of_others() {
    let house = House::new().await;
    let (org, id, pilot) = pilot(&house, 4, 1, [10, 20]).await;
    limit(&org, id, 1).await;
    let main = wave(&org, id, "main", Preset::Main).await;
    org.add_members(main, &serials(2..3), Dates::default())
        .await
        .unwrap();
    // Its user would be asked five days before, while one of the pilot has the only place.
    let asked_from = async || {
        let (first, last) = (START + 19 * DAY, START + 25 * DAY);
        let placed = org.plan_dates(main, Some(first), Some(last), None, Some(5 * DAY), true);
        placed.await.unwrap().remove(0).available_from
    };
    assert!(asked_from().await > START + 20 * DAY);
    is_old(&house, &org, 0).await;
    org.run_what_if(pilot).await.unwrap();
    let staying = members(&org, pilot).await.remove(0).state;
    assert!(matches!(staying, MoveState::Blocked { .. }), "{staying:?}");
    assert!(asked_from().await < START + 20 * DAY);
}

#[tokio::test]
async fn who_stays_behind_takes_no_place_of_its_group_in_its_own_wave_and_who_is_waived_does() {
    let house = House::new().await;
    let (org, id, pilot) = pilot(&house, 3, 3, [10, 20]).await;
    let limit = async |most| limit(&org, id, most).await;
    let against = async || against(&org, pilot, "gap:").await;
    limit(1).await;
    let said = against().await;
    assert!(
        said[0].contains("2 devices of the tag even") && said[0].contains("1 may be"),
        "{said:?}"
    );
    is_old(&house, &org, 0).await;
    assert_eq!(against().await, [""; 0], "one of them goes");

    // A waiver lets both go.
    let waiver = waiver();
    let seen = org.run_what_if(pilot).await.unwrap();
    says(
        org.accept(pilot, &seen.digest, std::slice::from_ref(&waiver), "")
            .await,
        "waivers let go, too many would be between offer and end at once: 2 devices of the tag even",
    );
    limit(2).await;
    let seen = org.run_what_if(pilot).await.unwrap();
    org.accept(pilot, &seen.digest, std::slice::from_ref(&waiver), "")
        .await
        .unwrap();
    // What was accepted with a waiver is held to the limit of the day, too.
    limit(1).await;
    says(
        org.submit_accepted(pilot, "pilot").await,
        "1 may be; waive fewer, or raise the limit",
    );
    limit(2).await;
    assert_eq!(org.submit_accepted(pilot, "pilot").await.unwrap(), 3);
}
