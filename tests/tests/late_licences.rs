//! Licences that Apple gives minutes after devices have missed them, in the middle of their holds: the app is asked for again until it is
//! there, and stays with its data. Whether it did, and who holds a licence, the world says.

use fixtures::apple::LicenceSeed;
use fixtures::clock::MINUTE;
use fixtures::original::OriginalDevice;
use fixtures::verdict::Whereabouts;
use fixtures::world::{Fleet, World, WorldConfig};
use mdm_core::migration::{AppAction, AppPlan};
use mdmd::rehearsal::{HouseOptions, START_MS, Stage, Timetable};

const SEED: u64 = 83;
const DEVICES: usize = 8;
/// As long as Apple takes, counted from the first time that a device misses its licence.
const LATE: i64 = 6 * MINUTE;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_licence_comes_in_the_middle_of_the_hold_stays_with_its_data() {
    let config = WorldConfig::new(SEED, START_MS, Fleet::Count(DEVICES));
    let world = World::start(config).await.unwrap();
    let all = world.original().export();
    let directory = tempfile::tempdir().unwrap();
    let options = HouseOptions::default();
    let stage = Stage::set(world, directory.path(), options).await.unwrap();

    // An app of iPhones and iPads that is to stay where it is, and all that have it.
    let runbooks = stage.runbooks();
    let of_ours = runbooks.iter().filter(|(platform, _)| !platform.is_mac());
    let plans: Vec<&AppPlan> = of_ours.flat_map(|(_, runbook)| &runbook.apps).collect();
    let stays = |bundle: &str| {
        let mut plans = plans.iter();
        plans.any(|plan| plan.bundle_id == bundle && plan.action == AppAction::KeepIfPresent)
    };
    let held: Vec<&OriginalDevice> = all.iter().filter(|device| !device.is_mac()).collect();
    let mut apps = held.iter().flat_map(|device| &device.apps);
    let (bundle, number, _) = apps.find(|(bundle, ..)| stays(bundle)).unwrap();
    let mut having: Vec<&str> = Vec::new();
    for device in &held {
        if device.apps.iter().any(|(app, ..)| app == bundle) {
            having.push(&device.identity.serial);
        }
    }
    // Nobody holds a licence of it when the holds begin.
    let adam_id = number.to_string();
    let apple = stage.world.apple();
    apple.buy_licences(&LicenceSeed::app(&adam_id, Some(100)));
    apple.give_licences_late(&adam_id, LATE);

    let (wave, blocked) = stage.plan_for(None, &Timetable::default()).await.unwrap();
    assert_eq!(blocked, 0);
    stage.play(wave).await.unwrap();
    for serial in having {
        let verdict = stage.world.verdict(serial).await.unwrap();
        assert_eq!(verdict.whereabouts, Whereabouts::Free, "{verdict:#?}");
        assert!(verdict.apps_kept.contains(bundle), "{verdict:#?}");
        assert!(!verdict.apps_lost.contains(bundle), "{verdict:#?}");
        // It was held for that, and no longer than a hold may last.
        assert!(
            (LATE..45 * MINUTE).contains(&verdict.hold_ms),
            "{verdict:#?}"
        );
        assert!(
            stage.world.apple().holds_licence(&adam_id, serial),
            "{serial}"
        );
    }
    stage.strike().await.unwrap();
}
