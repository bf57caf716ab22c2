//! Licences that are promised and not given yet: they are nobody else's, until the attempt has ended to which they were promised.

use std::collections::BTreeSet;

use mdm_core::clock::Clock as _;
use mdm_core::errand::{Errand, ErrandKind, ErrandState};
use mdm_core::ids::{Serial, SetUpId};
use mdm_core::migration::{MoveState, Outcome};
use mdm_core::original::{OriginalApp, Said};
use mdm_core::store::{Batch, Store as _};

use crate::apple::{DAY, MINUTE};
use crate::licences::{APP, HOUR, at_apple, holders, stage};

#[tokio::test]
async fn what_is_promised_to_one_wave_is_not_there_for_the_next() {
    let stage = stage(4).await;
    stage.library("one", &[(APP, 2)]).await;
    stage.pass(MINUTE).await;
    // The last one has the app, and would lose it with its data.
    let mut said = Said::nothing(stage.serials[3].clone());
    let app = OriginalApp::new(&format!("com.example.app{APP}"));
    said.apps = Some(vec![app]);
    let org = stage.org().await;
    let now = stage.mdm.now();
    let taken = org.import_originals("Old MDM", now, vec![said]).await;
    assert_eq!(taken.unwrap().changed, 1);
    let one = stage.plan("one", &stage.serials[..2], &[APP]).await;
    let two = stage.plan("two", &stage.serials[2..], &[APP]).await;
    let need = async |wave| {
        let need = stage.org().await.licence_need(wave).await.unwrap();
        let first = &need[0];
        (first.has, first.available, first.lacks, first.others)
    };
    // Enough for either, and not for both.
    assert_eq!(need(one).await, (0, 2, 0, 2));
    assert_eq!(need(two).await, (0, 2, 0, 2));
    let before = org.what_if(two).await.unwrap();
    assert!(before.report.forecast.losing.is_empty());
    let both = |w: &String| w.contains("of other open waves want one too");
    assert!(before.warnings.iter().any(both), "{:?}", before.warnings);
    // What would be sent for the first names its licences.
    let what_if = org.what_if(one).await.unwrap();
    let mut giving = what_if
        .requests
        .iter()
        .filter(|r| r.path.contains("associate"));
    assert_eq!(giving.next().map(|r| r.devices), Some(2));
    assert!(giving.next().is_none());
    stage.accept(one).await;
    // Promised, and not given yet: nothing has left.
    assert!(stage.apple.inside().given.is_empty());
    assert_eq!(need(one).await, (2, 0, 0, 2));
    assert_eq!(need(two).await, (0, 0, 2, 0));
    let after = org.what_if(two).await.unwrap();
    assert_ne!(after.digest, before.digest, "its acceptance would stand");
    let losing: Vec<_> = after.report.forecast.losing.iter().cloned().collect();
    assert_eq!(losing, stage.serials[3..]);
    assert!(after.blockers.contains_key(&stage.serials[3]));
    assert!(after.requests.iter().all(|r| !r.path.contains("associate")));
    // Given, it is the same, before the stock is read again and after it.
    for _ in 0..4 {
        stage.pass(MINUTE).await;
        assert_eq!(need(two).await, (0, 0, 2, 0));
    }
    stage.pass(HOUR).await;
    assert_eq!(holders(&stage, "one", APP).len(), 2);
    assert_eq!(need(one).await, (2, 0, 0, 2));
    assert_eq!(need(two).await, (0, 0, 2, 0));
}

#[tokio::test]
async fn what_is_promised_to_a_device_that_comes_no_more_is_free_for_the_next() {
    let stage = stage(4).await;
    stage.library("one", &[(APP, 2)]).await;
    stage.pass(MINUTE).await;
    let one = stage.plan("one", &stage.serials[..2], &[APP]).await;
    let two = stage.plan("two", &stage.serials[2..], &[APP]).await;
    // Apps and Books takes nothing for a day: what is promised stays that.
    let busy = vec![DAY; 4];
    at_apple(&stage, "one", |library| library.busy = busy);
    stage.accept(one).await;
    assert_eq!(stage.accept_without_licences(two).await.len(), 2);
    stage.pass(MINUTE * 20).await;
    let need = async |wave| {
        let need = stage.org().await.licence_need(wave).await.unwrap();
        let first = &need[0];
        (first.has, first.available, first.lacks)
    };
    assert_eq!(need(two).await, (0, 0, 2));
    // One is stolen, long after it was called back.
    let org = stage.org().await;
    let members = org.members(one).await.unwrap();
    let gone = members.into_iter().find(|m| m.serial == stage.serials[0]);
    let mut gone = gone.unwrap();
    gone.state = MoveState::Cancelling {
        since: stage.clock.now() - DAY * 2,
    };
    let mut batch = Batch::new();
    batch.put(gone);
    stage.store.commit(batch).await.unwrap();
    org.give_up(&stage.serials[0], "stolen").await.unwrap();
    stage.pass(MINUTE * 2).await;
    assert_eq!(need(two).await, (1, 0, 1));
    // The other one's migration is called back.
    stage.cancel(&stage.serials[1..2]).await;
    stage.pass(HOUR).await;
    assert_eq!(need(two).await, (2, 0, 0));
    assert!(holders(&stage, "one", APP).is_empty(), "nothing was given");
    let errands = stage.errands().await;
    let mut of_one = errands.iter().filter(|errand| {
        let gives = matches!(errand.kind, ErrandKind::Associate { .. });
        gives && errand.wave == Some(one)
    });
    let first = of_one.next().unwrap();
    assert_eq!(first.state, ErrandState::Done);
    assert!(first.failed.is_empty() && first.sendings.is_empty());
    assert!(of_one.next().is_none());
    stage.pass(DAY * 5).await;
    let next = stage.serials[2..].iter().cloned().collect();
    assert_eq!(holders(&stage, "one", APP), next);
}

#[tokio::test]
async fn who_fails_in_its_hold_keeps_what_it_got_for_an_attempt_that_was_called_back() {
    let stage = stage(2).await;
    stage.library("one", &[(APP, 9)]).await;
    stage.pass(MINUTE).await;
    let one = stage.plan("one", &stage.serials, &[APP]).await;
    stage.accept(one).await;
    stage.pass(HOUR).await;
    let all: BTreeSet<Serial> = stage.serials.iter().cloned().collect();
    assert_eq!(holders(&stage, "one", APP), all);
    // Called back, and Apps and Books takes nothing for a day: they are in the next wave before it is asked.
    at_apple(&stage, "one", |library| library.busy = vec![DAY]);
    stage.cancel(&stage.serials).await;
    stage.pass(HOUR * 2).await;
    let two = stage.plan("two", &stage.serials, &[APP]).await;
    stage.accept(two).await;
    stage.pass(HOUR).await;
    // They come, and go silent in their holds. What the last one has was noted by an older version.
    let org = stage.org().await;
    let mut batch = Batch::new();
    for (n, mut attempt) in (77..).zip(org.members(two).await.unwrap()) {
        let set_up = SetUpId(n);
        attempt.enrolled_as = Some(set_up);
        attempt.state = MoveState::Moving {
            set_up,
            since: stage.clock.now() - DAY * 2,
        };
        batch.put(attempt);
    }
    let store = stage.mdm.store();
    let last = store.device_by_serial(stage.organisation, &stage.serials[1]);
    let mut last = last.await.unwrap().unwrap();
    assert!(last.licences[0].ours && last.licences[0].attempt.is_some());
    last.licences[0].attempt = None;
    batch.put(last);
    store.commit(batch).await.unwrap();
    for serial in &stage.serials {
        org.give_up(serial, "it burned").await.unwrap();
    }
    for state in stage.states(two).await {
        assert_eq!(state, MoveState::Ended(Outcome::Failed));
    }
    stage.pass(DAY * 2).await;
    assert_eq!(holders(&stage, "one", APP), all);
    let errands = stage.errands().await;
    assert!(errands.iter().all(Errand::is_ended), "{errands:?}");
}

#[tokio::test]
async fn a_reading_of_the_stock_that_is_to_come_soon_is_put_off_by_nobody_who_ends_later() {
    let stage = stage(2).await;
    stage.library("one", &[(APP, 9)]).await;
    stage.pass(MINUTE).await;
    for (name, serial) in ["one", "two"].into_iter().zip(stage.serials.chunks(1)) {
        let wave = stage.plan(name, serial, &[APP]).await;
        stage.accept(wave).await;
    }
    stage.pass(HOUR).await;
    // Two returns, the second a little later.
    stage.cancel(&stage.serials[..1]).await;
    stage.pass(MINUTE * 3).await;
    stage.cancel(&stage.serials[1..]).await;
    stage.pass(HOUR).await;
    let mut ends = Vec::new();
    for errand in stage.errands().await {
        if matches!(errand.kind, ErrandKind::Disassociate { .. }) {
            assert_eq!(errand.state, ErrandState::Done);
            ends.push(errand.ended.unwrap());
        }
    }
    ends.sort_unstable();
    assert_eq!(ends.len(), 2);
    assert!(ends[0] < ends[1] && ends[1] < ends[0] + MINUTE * 5);
    let stocks = stage.apple.inside().libraries["one"].stocks.clone();
    let read = stocks.into_iter().find(|at| *at >= ends[0]).unwrap();
    assert!(read < ends[1] + MINUTE * 5, "{read} after {ends:?}");
    // The second one is not forgotten for that.
    assert!(read >= ends[1], "{read} after {ends:?}");
}
