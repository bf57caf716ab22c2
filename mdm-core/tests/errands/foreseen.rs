//! What is foreseen of licences, and what comes of it: whose a location was, who takes a licence of those that stay behind, and what
//! of it only people can get.

use std::collections::{BTreeMap, BTreeSet};

use mdm_core::check::{Check, CheckResult};
use mdm_core::error::Error;
use mdm_core::ids::{Serial, WaveId};
use mdm_core::licences::TakenOver;
use mdm_core::original::Said;
use mdm_core::removal::Removal;
use mdm_core::secret::Secret;
use mdm_core::service::Org;
use mdm_core::store::StoreError;
use mdm_core::wave::Waiver;

use crate::apple::{DAY, Library, MINUTE, START};
use crate::licences::{APP, HOUR, at_apple, holders, stage};
use crate::stage::Stage;

/// What the what-if of a wave says of how long licences last there, and of who else gives them out.
async fn of_the_location(org: &Org, wave: WaveId) -> [CheckResult; 2] {
    let what_if = org.what_if(wave).await.unwrap();
    [Check::DeadlineLicences, Check::ContentTokenShared].map(|check| {
        let mut found = what_if.report.server.iter();
        found.find(|f| f.check == check).unwrap().result
    })
}

#[tokio::test]
async fn licences_of_a_location_that_was_taken_over_last_thirty_days_from_then() {
    let stage = stage(1).await;
    let library = Library {
        bought: BTreeMap::from([(APP, 9)]),
        claimed: Some("Old MDM".to_owned()),
        ..Library::default()
    };
    stage
        .apple
        .inside()
        .libraries
        .insert("one".to_owned(), library);
    let (org, token) = (stage.org().await, Secret::from_text("one"));
    let refused = org.import_content_token(&token, false).await.unwrap_err();
    assert!(refused.to_string().contains("Old MDM"), "{refused}");
    let then = stage.mdm.now();
    org.import_content_token(&token, true).await.unwrap();
    // Read again, it is ours as if it had always been.
    stage.pass(DAY).await;
    let location = org.locations().await.unwrap().remove(0);
    assert!(location.gives() && location.claim_read > Some(then));
    let from = "Old MDM".to_owned();
    assert_eq!(location.taken_over, Some(TakenOver { from, at: then }));
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    let dated = async |days: u32| {
        let (deadline, from) = (then + DAY * days, then + DAY * 10);
        let set = org.set_dates(wave, None, deadline, from).await;
        assert_eq!(set.unwrap(), 1);
        of_the_location(&org, wave).await
    };
    let (pass, warn) = (CheckResult::Pass, CheckResult::Warn);
    assert_eq!(dated(60).await, [warn, warn]);
    assert_eq!(dated(20).await, [pass, warn]);
    // A token that is renewed displaces nobody, and forgets nothing.
    org.import_content_token(&token, true).await.unwrap();
    assert_eq!(dated(60).await, [warn, warn]);
}

#[tokio::test]
async fn a_location_is_kept_for_no_organisation_that_was_taken_away_while_apple_answered() {
    let stage = stage(1).await;
    stage
        .apple
        .inside()
        .libraries
        .insert("one".to_owned(), Library::default());
    let other = stage.mdm.create_organisation("Other", Vec::new()).await;
    other.unwrap();
    let (org, token) = (stage.org().await, Secret::from_text("one"));
    let id = org.organisation().id;
    // Whoever looked before the location came is not believed after it.
    let seen = Removal::new(org.organisation().clone(), ("Anna", "sold"), 0, START);
    org.import_content_token(&token, false).await.unwrap();
    let begun = stage.mdm.store().begin_removal(&seen).await;
    assert!(matches!(begun, Err(StoreError::Conflict)), "{begun:?}");
    // And what comes after it was taken away is not kept.
    let now = stage.org().await.organisation().clone();
    let removal = Removal::new(now, ("Anna", "sold"), 0, START);
    stage.mdm.store().begin_removal(&removal).await.unwrap();
    let before = stage.mdm.store().locations(id).await.unwrap();
    let late = org.import_content_token(&token, false).await;
    assert!(
        matches!(late, Err(Error::NotFound("organisation"))),
        "{late:?}"
    );
    let after = stage.mdm.store().locations(id).await.unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_location_that_another_service_lets_go_of_has_changed_hands_too() {
    let stage = stage(1).await;
    let id = stage.library("one", &[(APP, 9)]).await;
    let org = stage.org().await;
    let ours = org.refresh_location(id).await.unwrap();
    assert_eq!(ours.taken_over, None);
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    let pass = CheckResult::Pass;
    assert_eq!(of_the_location(&org, wave).await, [pass, pass]);
    at_apple(&stage, "one", |library| {
        library.claimed = Some("Old MDM".to_owned());
    });
    let theirs = org.refresh_location(id).await.unwrap();
    assert_eq!((theirs.gives(), theirs.taken_over), (false, None));
    at_apple(&stage, "one", |library| library.claimed = None);
    let ours = org.refresh_location(id).await.unwrap();
    assert_eq!(ours.taken_over.unwrap().from, "Old MDM");
}

/// These cannot go, whatever there is of licences.
async fn too_old(stage: &Stage, serials: &[Serial]) {
    let old = serials.iter().map(|serial| {
        let mut said = Said::nothing(serial.clone());
        said.system = Some("18.5".to_owned());
        said
    });
    let org = stage.org().await;
    let taken = org.import_originals("Old MDM", stage.mdm.now(), old.collect());
    assert_eq!(taken.await.unwrap().changed, serials.len());
}

/// Three of whom the first two cannot go, a wave of them, and a library with one licence for its app.
async fn two_stay_behind() -> (Stage, Org, WaveId) {
    let stage = stage(3).await;
    stage.library("one", &[(APP, 1)]).await;
    stage.pass(MINUTE).await;
    too_old(&stage, &stage.serials[..2]).await;
    let org = stage.org().await;
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    (stage, org, wave)
}

/// Of an accepted wave this device goes and nobody else, and it gets the licence.
async fn alone_gets_the_licence(
    stage: &Stage,
    org: &Org,
    wave: WaveId,
    digest: &str,
    serial: &Serial,
) {
    let gone = org.submit(wave, digest, "a person").await;
    assert_eq!(gone.unwrap(), 1);
    stage.pass(HOUR).await;
    let one = BTreeSet::from([serial.clone()]);
    assert_eq!(holders(stage, "one", APP), one);
}

#[tokio::test]
async fn a_licence_is_not_kept_for_who_stays_behind_until_a_waiver_lets_it_go() {
    let (stage, org, wave) = two_stay_behind().await;
    let what_if = org.what_if(wave).await.unwrap();
    let behind: Vec<&Serial> = what_if.blockers.keys().collect();
    assert_eq!(behind, [&stage.serials[0], &stage.serials[1]]);
    let need = &what_if.report.needs.as_deref().unwrap()[0];
    assert_eq!((need.needs, need.lacks, need.behind), (3, 0, 2));
    let told = |w: &String| w.contains("2 of 2 that stay behind would get no licence");
    assert!(what_if.warnings.iter().any(told), "{:?}", what_if.warnings);
    // Once the first one goes by a waiver the licence is its own, and the last one stays.
    let waiver = Waiver {
        check: Check::OsMinimum,
        serials: BTreeSet::from([stage.serials[0].clone()]),
        reason: "it is brought up to date on the way".to_owned(),
    };
    let waivers = [waiver];
    let accepted = org.accept(wave, &what_if.digest, &waivers, "as planned");
    let accepted = accepted.await.unwrap();
    assert_eq!((accepted.going, accepted.staying), (1, 2));
    let with = org.what_if(wave).await.unwrap();
    assert_eq!(with.digest, what_if.digest);
    let why = &with.blockers[&stage.serials[2]];
    assert!(why[0].contains("no licence is left"), "{why:?}");
    assert!(!with.blockers.contains_key(&stage.serials[0]));
    // Accepted anew without that waiver, the first one stays and leaves the licence to the last one; and with it again.
    for waivers in [&[][..], &waivers[..]] {
        let anew = org.accept(wave, &what_if.digest, waivers, "thought over");
        let anew = anew.await.unwrap();
        assert_eq!((anew.going, anew.staying), (1, 2), "{waivers:?}");
        let found = org.what_if(wave).await.unwrap();
        let last_stays = found.blockers.contains_key(&stage.serials[2]);
        assert_eq!(last_stays, !waivers.is_empty(), "{:?}", found.blockers);
    }
    alone_gets_the_licence(&stage, &org, wave, &what_if.digest, &stage.serials[0]).await;
}

#[tokio::test]
async fn who_goes_gets_the_licence_that_who_stays_behind_does_not_take() {
    let (stage, org, wave) = two_stay_behind().await;
    let what_if = org.what_if(wave).await.unwrap();
    let accepted = org.accept(wave, &what_if.digest, &[], "as planned").await;
    assert_eq!(accepted.unwrap().staying, 2);
    alone_gets_the_licence(&stage, &org, wave, &what_if.digest, &stage.serials[2]).await;
}

#[tokio::test]
async fn licences_that_only_people_can_get_are_foreseen_for_no_device() {
    let stage = stage(3).await;
    stage.library("people", &[(APP, 500)]).await;
    at_apple(&stage, "people", |library| library.for_people = true);
    stage.library("devices", &[(APP, 1)]).await;
    stage.pass(MINUTE).await;
    let org = stage.org().await;
    let wave = stage.plan("one", &stage.serials, &[APP]).await;
    let need = org.licence_need(wave).await.unwrap();
    let need = (need[0].assignable, need[0].available, need[0].lacks);
    assert_eq!(need, (true, 1, 2));
    let what_if = org.what_if(wave).await.unwrap();
    let behind: Vec<&Serial> = what_if.blockers.keys().collect();
    assert_eq!(behind, [&stage.serials[1], &stage.serials[2]]);
    assert_eq!(what_if.report.needs.unwrap()[0].lacks, 2);
    // What was foreseen comes true.
    let without = stage.accept_without_licences(wave).await;
    assert_eq!(without, stage.serials[1..]);
    stage.pass(HOUR).await;
    let first = BTreeSet::from([stage.serials[0].clone()]);
    assert_eq!(holders(&stage, "devices", APP), first);
    assert!(holders(&stage, "people", APP).is_empty());
}
