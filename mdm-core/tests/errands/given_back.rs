//! Licences that go back when a wave is called back: what a device had before us stays, so does what a person gave, and nothing is
//! taken from a device that is wanted again.

use std::collections::BTreeSet;
use std::time::Duration;

use mdm_core::errand::ErrandState;
use mdm_core::ids::{LocationId, Serial, WaveId};
use mdm_core::migration::{MoveState, Outcome};
use mdm_core::service::LicenceAct;
use mdm_core::store::{Batch, Store as _};

use crate::apple::{DAY, Fate, MINUTE};
use crate::licences::{APP, HOUR, OTHER, all, at_apple, give, holders, stage, submitted};
use crate::stage::Stage;

/// A person gives everybody the app.
async fn by_hand(stage: &Stage, location: LocationId) {
    let act = LicenceAct {
        location,
        take_back: false,
        apps: vec![APP],
        serials: stage.serials.clone(),
    };
    let org = stage.org().await;
    let plan = org.plan_licences(&act).await.unwrap();
    org.do_licences(&act, &plan.digest).await.unwrap();
}

/// Everybody got these apps with a wave, and it was called back; what becomes of the returns, Apple knows.
async fn called_back(devices: usize, apps: &[u64], returns: impl FnOnce(&Stage)) -> Stage {
    let stage = stage(devices).await;
    submitted(&stage, apps).await;
    stage.pass(HOUR).await;
    returns(&stage);
    stage.cancel(&stage.serials).await;
    stage
}

/// Returns are put off for so long.
fn put_off(stage: &Stage, time: Duration) {
    at_apple(stage, "one", |library| library.busy = vec![time]);
}

/// Returns fail.
fn fail(stage: &Stage) {
    stage.apple.inside().stubborn = true;
}

/// How many requests that take back Apple got.
fn taken_back(stage: &Stage) -> usize {
    let inside = stage.apple.inside();
    inside.given.iter().filter(|(_, back, _)| *back).count()
}

/// Every attempt of a wave has come to an end.
async fn all_ended(stage: &Stage, wave: WaveId) {
    for state in stage.states(wave).await {
        assert!(matches!(state, MoveState::Ended(_)), "{state:?}");
    }
}

#[tokio::test]
async fn what_a_device_had_before_us_is_not_taken_back() {
    let stage = stage(3).await;
    stage.library("one", &[(APP, 10), (OTHER, 10)]).await;
    // The first has both, the second one of the two, the third none; nobody has read who holds what.
    stage.pass(MINUTE).await;
    give(&stage, "one", APP, &stage.serials[..2]);
    give(&stage, "one", OTHER, &stage.serials[..1]);
    let wave = stage.plan("one", &stage.serials, &[APP, OTHER]).await;
    stage.accept(wave).await;
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
    assert_eq!(holders(&stage, "one", OTHER), all(&stage));
    stage.cancel(&stage.serials).await;
    stage.pass(HOUR * 2).await;
    all_ended(&stage, wave).await;
    let before = |n: usize| stage.serials[..n].iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(holders(&stage, "one", APP), before(2));
    assert_eq!(holders(&stage, "one", OTHER), before(1));
}

#[tokio::test]
async fn what_a_person_gave_stays_when_a_wave_is_cancelled() {
    let stage = stage(1).await;
    let location = stage.library("one", &[(APP, 10)]).await;
    stage.pass(MINUTE).await;
    by_hand(&stage, location).await;
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    stage.accept(wave).await;
    stage.pass(HOUR).await;
    stage.cancel(&stage.serials).await;
    stage.pass(HOUR * 2).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
}

#[tokio::test]
async fn a_return_that_was_put_off_takes_nothing_from_a_device_that_is_wanted_again() {
    let stage = called_back(2, &[APP], |stage| put_off(stage, DAY)).await;
    stage.pass(HOUR * 2).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
    let again = stage.plan("two", &stage.serials[..1], &[APP]).await;
    stage.accept(again).await;
    stage.pass(DAY * 2).await;
    let first = stage.serials[..1].iter().cloned().collect();
    assert_eq!(holders(&stage, "one", APP), first);
    {
        let inside = stage.apple.inside();
        let taken = inside.given.iter().filter(|(_, back, _)| *back);
        assert!(taken.flat_map(|(.., s)| s).all(|s| *s != stage.serials[0]));
    }
    // Nobody sent for it, so that nothing failed.
    for errand in stage.errands().await {
        assert!(errand.failed.is_empty(), "{errand:?}");
    }
    // It is ours still, and goes back with the second wave.
    stage.cancel(&stage.serials[..1]).await;
    stage.pass(HOUR * 2).await;
    assert_eq!(holders(&stage, "one", APP), BTreeSet::new());
}

#[tokio::test]
async fn a_return_that_failed_is_tried_again() {
    let stage = called_back(1, &[APP], fail).await;
    stage.pass(HOUR * 2).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
    stage.apple.inside().stubborn = false;
    stage.pass(HOUR * 8).await;
    assert_eq!(holders(&stage, "one", APP), BTreeSet::new());
}

#[tokio::test]
async fn more_apps_than_apple_takes_at_once_go_back_in_several_requests() {
    let apps: Vec<u64> = (1..=30).collect();
    let stage = called_back(2, &apps, |_| {}).await;
    stage.pass(HOUR * 2).await;
    let inside = stage.apple.inside();
    assert!(
        inside.libraries["one"]
            .holders
            .values()
            .all(BTreeSet::is_empty)
    );
    drop(inside);
    assert_eq!(taken_back(&stage), 2);
}

#[tokio::test]
async fn a_list_that_never_rests_keeps_no_device_from_its_licence() {
    let stage = stage(3).await;
    stage.library("one", &[(APP, 9)]).await;
    stage.pass(MINUTE).await;
    let restless = |is| at_apple(&stage, "one", |library| library.restless = is);
    restless(true);
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    stage.accept(wave).await;
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
    stage.cancel(&stage.serials).await;
    stage.pass(HOUR).await;
    // Who seems to have none may have been left out: it is not called returned.
    let open = stage.errands().await;
    let open = open.iter().filter(|e| e.ended.is_none()).count();
    assert_eq!(open, 1);
    restless(false);
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP), BTreeSet::new());
}

#[tokio::test]
async fn a_device_that_has_migrated_keeps_what_it_was_lent_for_an_earlier_attempt() {
    let stage = called_back(2, &[APP], |stage| put_off(stage, DAY / 2)).await;
    stage.pass(MINUTE * 30).await;
    // While the return waits, the device migrates in another wave.
    let first = &stage.serials[..1];
    let wave = stage.plan("two", first, &[APP]).await;
    stage.accept(wave).await;
    stage.pass(HOUR).await;
    let mut attempt = stage.org().await.members(wave).await.unwrap().remove(0);
    attempt.state = MoveState::Settling {
        since: attempt.created,
        set_up: mdm_core::ids::SetUpId(1),
    };
    let mut batch = Batch::new();
    batch.put(attempt);
    stage.store.commit(batch).await.unwrap();
    stage
        .apple
        .inside()
        .devices
        .get_mut(&first[0])
        .unwrap()
        .status = Some(mdm_core::device::MigrationStatus::Success);
    stage.org().await.pull(first).await.unwrap();
    assert_eq!(
        stage.states(wave).await,
        [MoveState::Ended(Outcome::Migrated)]
    );
    stage.pass(DAY * 3).await;
    let kept: BTreeSet<Serial> = first.iter().cloned().collect();
    assert_eq!(holders(&stage, "one", APP), kept);
}

#[tokio::test]
async fn what_was_there_before_a_restore_is_not_taken_for_ours() {
    let stage = stage(1).await;
    let wave = submitted(&stage, &[APP]).await;
    give(&stage, "one", APP, &stage.serials);
    // It waits to be sent when the backup is made.
    let mut errands = stage.errands().await;
    let errand = errands.iter_mut().find(|e| e.kind.is_licence()).unwrap();
    assert_eq!(errand.state, ErrandState::Waiting);
    errand.restored(mdm_core::clock::Clock::now(&stage.clock));
    let mut batch = Batch::new();
    batch.put(errand.clone());
    stage.store.commit(batch).await.unwrap();
    stage.pass(HOUR).await;
    stage.cancel(&stage.serials).await;
    stage.pass(HOUR * 2).await;
    all_ended(&stage, wave).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
}

#[tokio::test]
async fn what_a_person_gives_while_a_wave_gives_it_stays() {
    let stage = stage(2).await;
    let wave = submitted(&stage, &[APP]).await;
    let location = stage.org().await.locations().await.unwrap()[0].id;
    by_hand(&stage, location).await;
    stage.pass(HOUR).await;
    stage.cancel(&stage.serials).await;
    stage.pass(HOUR * 2).await;
    all_ended(&stage, wave).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
}

#[tokio::test]
async fn of_a_return_that_was_put_off_a_person_may_give_one_app_again() {
    let stage = called_back(2, &[APP, OTHER], |stage| put_off(stage, DAY)).await;
    stage.pass(HOUR).await;
    let location = stage.org().await.locations().await.unwrap()[0].id;
    by_hand(&stage, location).await;
    stage.pass(DAY * 2).await;
    // What was lent beside it goes back.
    assert_eq!(holders(&stage, "one", APP), all(&stage));
    assert_eq!(holders(&stage, "one", OTHER), BTreeSet::new());
}

#[tokio::test]
async fn what_came_true_before_a_refusal_goes_back_with_its_wave() {
    let stage = stage(2).await;
    submitted(&stage, &[APP]).await;
    // One licence, so that one device lacks it when the answer is lost; the second request is refused for good.
    at_apple(&stage, "one", |library| {
        library.bought.insert(APP, 1);
        library.fates = vec![Fate::Unanswered, Fate::Refused];
    });
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP).len(), 1);
    stage.cancel(&stage.serials).await;
    stage.pass(HOUR * 2).await;
    assert_eq!(holders(&stage, "one", APP), BTreeSet::new());
}

#[tokio::test]
async fn a_return_that_fails_for_good_is_asked_for_less_and_less_often() {
    let stage = called_back(1, &[APP], fail).await;
    stage.pass(DAY * 30).await;
    let asked = taken_back(&stage);
    assert!((5..20).contains(&asked), "{asked} in 30 days");
}
