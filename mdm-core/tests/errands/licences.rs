//! Licences of waves: who is given one of too few, what is bought later, and what keeps a location from giving. What goes back is
//! told elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::errand::{Errand, ErrandKind, ErrandState, Sending};
use mdm_core::ids::{ErrandId, Serial, WaveId};
use mdm_core::original::{OriginalApp, Said};
use mdm_core::service::Detail;
use mdm_core::store::{Batch, Store as _};

use crate::apple::{Library, MINUTE};
use crate::stage::Stage;

pub(crate) const APP: u64 = 361_309_726;
pub(crate) const OTHER: u64 = 409_203_825;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn stage(devices: usize) -> Stage {
    Stage::new(devices, MINUTE, &[]).await
}

pub(crate) fn holders(stage: &Stage, library: &str, app: u64) -> BTreeSet<Serial> {
    let inside = stage.apple.inside();
    let holders = inside.libraries[library].holders.get(&app);
    holders.cloned().unwrap_or_default()
}

/// Apple gives a device a licence without us.
pub(crate) fn give(stage: &Stage, library: &str, app: u64, serials: &[Serial]) {
    let mut inside = stage.apple.inside();
    let library = inside.libraries.get_mut(library).unwrap();
    let holders = library.holders.entry(app).or_default();
    holders.extend(serials.iter().cloned());
}

/// Changes a library at Apple.
pub(crate) fn at_apple(stage: &Stage, library: &str, change: impl FnOnce(&mut Library)) {
    change(stage.apple.inside().libraries.get_mut(library).unwrap());
}

/// From now on a library has so many licences of an app.
fn has_bought(stage: &Stage, library: &str, app: u64, count: usize) {
    at_apple(stage, library, |library| {
        library.bought.insert(app, count);
    });
}

/// Everybody in a submitted wave whose runbook installs these apps, of which one library has plenty.
pub(crate) async fn submitted(stage: &Stage, apps: &[u64]) -> WaveId {
    let bought: Vec<(u64, usize)> = apps.iter().map(|app| (*app, 9)).collect();
    stage.library("one", &bought).await;
    stage.pass(MINUTE).await;
    let wave = stage.plan("one", &stage.serials, apps).await;
    stage.accept(wave).await;
    wave
}

pub(crate) fn all(stage: &Stage) -> BTreeSet<Serial> {
    stage.serials.iter().cloned().collect()
}

#[tokio::test]
async fn a_request_that_apple_took_ends_with_its_location() {
    let stage = stage(1).await;
    submitted(&stage, &[APP]).await;
    let is_ours = |errand: &Errand| matches!(errand.kind, ErrandKind::Associate { .. });
    let mut errand = stage.errands().await.into_iter().find(is_ours).unwrap();
    assert_eq!(errand.state, ErrandState::Waiting);
    // Another process has sent it while a person gave the location up.
    let now = stage.mdm.now();
    let activity = "EVENT".to_owned();
    errand.sendings.push(Sending {
        at: now,
        devices: 1,
        activity: Some(activity.clone()),
        outcome: None,
    });
    errand.state = ErrandState::Posted {
        at: now,
        activity,
        looks: 0,
    };
    errand.due = now;
    let id = errand.id;
    let store = stage.mdm.store();
    let mut location = store.locations(stage.organisation).await.unwrap().remove(0);
    location.removed = Some(now);
    let mut batch = Batch::new();
    batch.put(errand).put(location);
    store.commit(batch).await.unwrap();
    stage.pass(HOUR).await;
    let all = stage.errands().await;
    let errand = all.into_iter().find(|e| e.id == id).unwrap();
    let ErrandState::Refused { why } = &errand.state else {
        panic!("{errand:?}");
    };
    assert!(why.contains("has been removed"), "{why}");
    assert!(errand.ended.is_some() && errand.needs_person.is_none());
}

#[tokio::test]
async fn licences_that_came_with_a_location_are_counted_as_had() {
    let stage = stage(3).await;
    stage.library("one", &[(APP, 3)]).await;
    give(&stage, "one", APP, &stage.serials);
    stage.pass(MINUTE).await;
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    stage.pass(MINUTE).await;
    let need = stage.org().await.licence_need(wave).await.unwrap();
    assert_eq!((need[0].needs, need[0].has, need[0].lacks), (3, 3, 0));
    stage.accept(wave).await;
    stage.pass(HOUR).await;
    assert!(stage.apple.inside().given.is_empty(), "nothing was lacking");
}

#[tokio::test]
async fn licences_that_are_bought_after_the_submission_find_their_devices() {
    let stage = stage(3).await;
    stage.library("one", &[(APP, 1)]).await;
    stage.pass(MINUTE).await;
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    let without = stage.accept_without_licences(wave).await;
    assert_eq!(without, stage.serials[1..]);
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP).len(), 1);
    has_bought(&stage, "one", APP, 10);
    stage.pass(HOUR * 7).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
    // Nobody was asked for twice.
    let asked: usize = stage
        .apple
        .inside()
        .given
        .iter()
        .map(|(.., s)| s.len())
        .sum();
    assert_eq!(asked, 3);
}

#[tokio::test]
async fn who_would_come_without_an_app_stays_behind_until_there_is_a_licence_or_somebody_waives_it()
{
    let stage = stage(3).await;
    stage.library("one", &[(APP, 1)]).await;
    stage.pass(MINUTE).await;
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    let org = stage.org().await;
    let before = org.what_if(wave).await.unwrap();
    let behind: Vec<&Serial> = before.blockers.keys().collect();
    assert_eq!(behind, [&stage.serials[1], &stage.serials[2]]);
    assert_eq!((before.report.blocked, before.report.clear), (2, 0));
    for why in before.blockers.values().flatten() {
        assert!(why.contains("that it is to get"), "{why}");
    }
    // Nothing is lost: nobody has it.
    assert!(before.report.forecast.losing.is_empty());
    let counts = org.look_at_wave(wave, Detail::Counts).await.unwrap();
    assert_eq!(counts.blocked, 2, "whatever is kept of it");
    // Two more licences, and nobody stays.
    has_bought(&stage, "one", APP, 3);
    let location = org.locations().await.unwrap()[0].id;
    org.refresh_location(location).await.unwrap();
    let after = org.what_if(wave).await.unwrap();
    assert!(after.blockers.is_empty(), "{:?}", after.blockers);
    assert_ne!(after.digest, before.digest);
    stage.accept(wave).await;
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
}

#[tokio::test]
async fn who_stays_behind_for_want_of_one_app_leaves_the_licence_of_another_to_who_goes() {
    let stage = stage(2).await;
    stage.library("one", &[(APP, 1), (OTHER, 1)]).await;
    give(&stage, "one", APP, &stage.serials[1..]);
    stage.pass(MINUTE).await;
    let wave = stage.plan("one", &stage.serials, &[APP, OTHER]).await;
    stage.pass(MINUTE).await;
    let org = stage.org().await;
    let what_if = org.what_if(wave).await.unwrap();
    let behind: Vec<&Serial> = what_if.blockers.keys().collect();
    assert_eq!(behind, [&stage.serials[0]], "{:?}", what_if.blockers);
    let accepted = org.accept(wave, &what_if.digest, &[], "as planned").await;
    let accepted = accepted.unwrap();
    assert_eq!((accepted.going, accepted.staying), (1, 1));
    org.submit(wave, &what_if.digest, "a person").await.unwrap();
    stage.pass(HOUR).await;
    let last = BTreeSet::from([stage.serials[1].clone()]);
    assert_eq!(holders(&stage, "one", OTHER), last);
}

#[tokio::test]
async fn of_too_few_licences_whoever_would_lose_the_app_with_its_data_gets_one_first() {
    let stage = stage(4).await;
    stage.library("one", &[(APP, 2)]).await;
    stage.pass(MINUTE).await;
    // The last two have the app; the others do not, or nobody knows.
    let mut said: Vec<Said> = [0, 2, 3]
        .map(|n| stage.serials[n].clone())
        .map(Said::nothing)
        .into();
    for said in &mut said {
        let has = said.serial != stage.serials[0];
        let app = OriginalApp::new(&format!("com.example.app{APP}"));
        said.apps = Some(has.then_some(app).into_iter().collect());
    }
    let org = stage.org().await;
    let taken = org.import_originals("Old MDM", stage.mdm.now(), said).await;
    assert_eq!(taken.unwrap().changed, 3);
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    let what_if = org.what_if(wave).await.unwrap();
    assert!(what_if.report.forecast.losing.is_empty());
    let needs = what_if.report.needs.as_deref().unwrap();
    let needs: Vec<_> = needs
        .iter()
        .map(|n| (n.app, n.needs, n.has, n.lacks))
        .collect();
    assert_eq!(needs, [(APP, 4, 0, 2)]);
    let giving = what_if
        .requests
        .iter()
        .find(|r| r.path.contains("associate"));
    let giving = giving.unwrap().body.to_string();
    for serial in &stage.serials {
        let has = stage.serials[2..].contains(serial);
        assert_eq!(giving.contains(serial.as_str()), has, "{giving}");
    }
    let without = stage.accept_without_licences(wave).await;
    assert_eq!(without, stage.serials[..2]);
    stage.pass(HOUR).await;
    let last: BTreeSet<Serial> = stage.serials[2..].iter().cloned().collect();
    assert_eq!(holders(&stage, "one", APP), last);
    // One more goes to one of the others.
    has_bought(&stage, "one", APP, 3);
    stage.pass(HOUR * 7).await;
    assert_eq!(holders(&stage, "one", APP).len(), 3);
}

#[tokio::test]
async fn licences_that_come_later_go_first_to_who_would_lose_the_app_in_whichever_wave() {
    let stage = stage(4).await;
    stage.library("one", &[(APP, 1)]).await;
    stage.pass(MINUTE).await;
    let one = stage.plan("one", &stage.serials[..2], &[APP]).await;
    stage.accept_without_licences(one).await;
    let two = stage.plan("two", &stage.serials[2..], &[APP]).await;
    stage.accept_without_licences(two).await;
    stage.pass(HOUR).await;
    let first = holders(&stage, "one", APP);
    assert_eq!(first.len(), 1, "{first:?}");
    // The last one of the second wave has the app: that is heard after it was submitted.
    let last = stage.serials[3].clone();
    assert!(!first.contains(&last));
    let mut said = Said::nothing(last.clone());
    said.apps = Some(vec![OriginalApp::new(&format!("com.example.app{APP}"))]);
    let org = stage.org().await;
    let taken = org.import_originals("Old MDM", stage.mdm.now(), vec![said]);
    assert_eq!(taken.await.unwrap().changed, 1);
    has_bought(&stage, "one", APP, 2);
    stage.pass(HOUR * 7).await;
    let mut wanted = first;
    wanted.insert(last);
    assert_eq!(holders(&stage, "one", APP), wanted);
    // And then to all others.
    has_bought(&stage, "one", APP, 4);
    stage.pass(HOUR * 7).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
}

#[tokio::test]
async fn a_token_that_comes_after_the_submission_gives_licences_too() {
    let stage = stage(2).await;
    // Nobody can say whether there are licences: somebody says that they will come.
    let come = [(Check::AppsLicences, Some(CheckResult::Warn))];
    stage.org().await.set_unknowns(&come.into()).await.unwrap();
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    stage.accept(wave).await;
    stage.pass(HOUR).await;
    stage.library("one", &[(APP, 10)]).await;
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP), all(&stage));
}

#[tokio::test]
async fn a_device_gets_its_licence_from_the_location_that_has_one() {
    let stage = stage(3).await;
    stage.library("empty", &[(APP, 0)]).await;
    stage.library("small", &[(APP, 1)]).await;
    stage.library("large", &[(APP, 9)]).await;
    stage.pass(MINUTE).await;
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    stage.accept(wave).await;
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "small", APP).len(), 1);
    assert_eq!(holders(&stage, "large", APP).len(), 2);
    let inside = stage.apple.inside();
    assert!(inside.given.iter().all(|(library, ..)| library != "empty"));
}

#[tokio::test]
async fn a_location_that_needs_a_person_holds_up_no_other() {
    let stage = stage(2).await;
    let ended = stage.library("ended", &[(APP, 9)]).await;
    stage.library("good", &[(OTHER, 9)]).await;
    stage.pass(MINUTE).await;
    let wave = stage.plan("one", &stage.serials, &[APP, OTHER]).await;
    // Its token ends after its stock was read and before it is asked for licences.
    stage.pass(MINUTE).await;
    at_apple(&stage, "ended", |library| library.ended = true);
    stage.accept(wave).await;
    stage.pass(MINUTE * 20).await;
    assert_eq!(holders(&stage, "good", OTHER), all(&stage));
    assert!(holders(&stage, "ended", APP).is_empty());
    let mut locations = stage.org().await.locations().await.unwrap();
    locations.retain(|l| l.id == ended);
    assert!(locations[0].needs_person.is_some());
    // Once it is settled, the rest comes by itself.
    at_apple(&stage, "ended", |library| library.ended = false);
    stage.pass(HOUR * 7).await;
    assert_eq!(holders(&stage, "ended", APP), all(&stage));
}

#[tokio::test]
async fn a_reading_that_is_refused_is_told_to_a_person_and_tried_now_and_then() {
    let stage = stage(2).await;
    stage.library("closed", &[(APP, 9)]).await;
    stage.library("good", &[(OTHER, 9)]).await;
    stage.pass(MINUTE).await;
    let wave = stage.plan("one", &stage.serials, &[APP, OTHER]).await;
    stage.pass(MINUTE).await;
    at_apple(&stage, "closed", |library| library.refuses = true);
    stage.accept(wave).await;
    stage.pass(HOUR * 5).await;
    assert_eq!(holders(&stage, "good", OTHER), all(&stage));
    let licences =
        |e: &Errand| matches!(&e.kind, ErrandKind::Associate { apps, .. } if apps == &[APP]);
    let of_it = async || {
        let found = stage.errands().await.into_iter().find(licences);
        found.expect("an errand")
    };
    let errand = of_it().await;
    assert_eq!(errand.state, ErrandState::Waiting);
    let why = errand.needs_person.expect("a person is told");
    assert!(why.contains("400"), "{why}");
    assert!(errand.tries < 12, "{} tries in five hours", errand.tries);
    at_apple(&stage, "closed", |library| library.refuses = false);
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "closed", APP), all(&stage));
    let errand = of_it().await;
    assert_eq!(
        (errand.state, errand.needs_person),
        (ErrandState::Done, None)
    );
}

#[tokio::test]
async fn an_errand_of_several_apps_ends_though_every_third_reading_fails() {
    let stage = stage(2).await;
    let apps = [1, 2, 3];
    at_apple_later(&stage, &apps).await;
    at_apple(&stage, "one", |library| {
        library.rough = Some(3);
        library.readings = 0;
    });
    stage.pass(HOUR).await;
    let errands = stage.errands().await;
    assert!(errands.iter().all(|e| e.ended.is_some()), "{errands:?}");
    for app in apps {
        assert_eq!(holders(&stage, "one", app), all(&stage));
    }
}

/// A wave is submitted, and its errands are a quarter of an hour old before the first of them is looked at.
async fn at_apple_later(stage: &Stage, apps: &[u64]) {
    submitted(stage, apps).await;
    stage.clock.advance(MINUTE * 15);
}

#[tokio::test]
async fn two_locations_that_find_at_once_that_a_device_lacks_an_app_give_it_one() {
    let stage = stage(3).await;
    let two = stage.library("two", &[(APP, 0)]).await;
    submitted(&stage, &[APP]).await;
    has_bought(&stage, "two", APP, 3);
    // The reading of the other stock has found the same.
    let errands = stage.errands().await;
    let one = errands.iter().find(|e| e.kind.is_licence()).unwrap();
    let kind = ErrandKind::Associate {
        location: two,
        apps: vec![APP],
    };
    let id = ErrandId(one.id.0 + 1_000);
    let now = mdm_core::clock::Clock::now(&stage.clock);
    let mut other = Errand::new(
        stage.organisation,
        id,
        kind,
        one.members.clone(),
        &one.by,
        now,
    );
    other.wave = one.wave;
    let mut batch = Batch::new();
    batch.put(other);
    stage.store.commit(batch).await.unwrap();
    stage.pass(HOUR).await;
    let given = |library| holders(&stage, library, APP).len();
    assert_eq!((given("one"), given("two")), (3, 0));
}
