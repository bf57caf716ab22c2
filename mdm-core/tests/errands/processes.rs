//! Requests that hang, and what other rounds and other processes do meanwhile: one request under way, in the order in which they
//! were decided on.

use std::time::Duration;

use mdm_core::clock::Clock as _;
use mdm_core::service::Mdm;

use super::apple::{Fate, MINUTE};
use super::scheduled;
use super::stage::Stage;

const SHORT: Duration = Duration::from_millis(5);

/// As a server does: what is due is begun, and a second later it looks again.
async fn a_round(stage: &Stage, process: &Mdm, takes: Duration) {
    process.work(100).await.unwrap();
    tokio::time::sleep(takes).await;
    stage.clock.advance(Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_while_an_errand_is_under_way_does_not_wait_for_the_lease() {
    let stage = Stage::new(4, MINUTE, &[Fate::Hangs]).await;
    stage.mdm.set_patience(Some(Duration::from_millis(20)));
    stage.submit("one", &stage.serials[..2]).await;
    // Rounds go on while the first request hangs.
    let round = async || a_round(&stage, &stage.mdm, SHORT).await;
    while stage.apple.asked() == 0 {
        round().await;
    }
    stage.submit("two", &stage.serials[2..]).await;
    for _ in 0..5 {
        round().await;
    }
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while stage.apple.asked() < 2 {
        round().await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE, "the second still waits after {waited:?}");
    }
    stage.mdm.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_have_one_request_under_way_and_keep_the_order() {
    let stage = Stage::new(6, MINUTE, &[Fate::Hangs]).await;
    let (one, two) = (&stage.mdm, stage.process());
    for process in [one, &two] {
        process.set_patience(Some(Duration::from_millis(20)));
    }
    let round = async |process: &Mdm| a_round(&stage, process, SHORT).await;
    stage.submit("first", &stage.serials[..2]).await;
    while stage.apple.asked() == 0 {
        round(one).await;
    }
    // While the first hangs in one process, two more are decided on in the other one, which goes on for a while.
    stage.submit("second", &stage.serials[2..4]).await;
    stage.submit("third", &stage.serials[4..]).await;
    for _ in 0..60 {
        round(&two).await;
    }
    assert_eq!(stage.apple.asked(), 1, "{:?}", stage.apple.asked_for());
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while stage.apple.asked() < 3 {
        round(one).await;
        round(&two).await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE, "the others still wait after {waited:?}");
    }
    let in_order: Vec<_> = stage.serials.chunks(2).map(<[_]>::to_vec).collect();
    assert_eq!(stage.apple.asked_for(), in_order);
    one.idle().await;
    two.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_errand_that_may_be_sent_again_waits_for_what_another_process_asks() {
    // A round that is given less than a busy machine needs leaves its lease behind.
    const ROUND: Duration = Duration::from_millis(150);
    let stage = Stage::new(6, MINUTE, &[Fate::Lost, Fate::Hangs]).await;
    let (one, two) = (&stage.mdm, stage.process());
    for process in [one, &two] {
        process.set_patience(Some(ROUND));
    }
    // Long enough for what the round has begun, so that the clock does not run away from it.
    let round = async |process: &Mdm| a_round(&stage, process, ROUND).await;
    stage.submit("first", &stage.serials[..2]).await;
    let sent = stage.clock.now();
    stage.pass(MINUTE * 14).await;
    assert_eq!(stage.apple.asked(), 1, "the first is lost");
    // It may be sent again once its effect cannot come any more. A little before that the second goes, and hangs.
    stage.submit("second", &stage.serials[2..4]).await;
    while stage.apple.asked() == 1 {
        round(one).await;
    }
    let waited = stage.clock.now().since(sent);
    assert!(waited < MINUTE * 15, "too late to tell: {waited:?}");
    // What is decided now makes the other process look through all of them.
    stage.clock.set(sent + MINUTE * 15 + Duration::from_secs(5));
    stage.submit("third", &stage.serials[4..]).await;
    // For less than what is asked may be under way.
    for _ in 0..20 {
        round(&two).await;
    }
    assert_eq!(stage.apple.asked(), 2, "{:?}", stage.apple.asked_for());
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while stage.apple.asked() < 4 {
        round(one).await;
        round(&two).await;
        let waited = stage.clock.now().since(began);
        assert!(
            waited < MINUTE * 3,
            "the others still wait after {waited:?}"
        );
    }
    let of: Vec<_> = stage.serials.chunks(2).map(<[_]>::to_vec).collect();
    let sent = [&of[0], &of[1], &of[0], &of[2]].map(Clone::clone);
    assert_eq!(stage.apple.asked_for(), sent);
    one.idle().await;
    two.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_longer_than_its_lease_is_followed_up_in_time() {
    let stage = Stage::new(2, MINUTE, &[Fate::Hangs]).await;
    stage.mdm.set_patience(Some(Duration::from_millis(20)));
    let wave = stage.submit("one", &stage.serials).await;
    let round = async || a_round(&stage, &stage.mdm, SHORT).await;
    while stage.apple.asked() == 0 {
        round().await;
    }
    // The lease ends while the request hangs, and the job is claimed once more.
    stage.clock.advance(Duration::from_secs(301));
    for _ in 0..3 {
        round().await;
    }
    stage.apple.let_go.notify_one();
    let began = stage.clock.now();
    while !scheduled(&stage.states(wave).await) {
        round().await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE * 4, "not proved after {waited:?}");
    }
    stage.mdm.idle().await;
}
