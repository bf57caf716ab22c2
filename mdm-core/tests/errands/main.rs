//! Requests whose answers are lost and whose effects come late: one activity for one wish, a cancellation that waits for what
//! may still come, and one bad activity that holds up nobody else.

mod apple;
mod back;
mod dates;
mod foreseen;
mod given_back;
mod licences;
#[path = "../one_store/mod.rs"]
mod one_store;
mod persons;
mod processes;
mod promised;
mod stage;
mod who;

use std::time::Duration;

use apple::{Fate, Looks, MINUTE, OURS};
use mdm_core::clock::Clock as _;
use mdm_core::device::MigrationStatus;
use mdm_core::errand::ErrandState;
use mdm_core::error::Error;
use mdm_core::ids::Serial;
use mdm_core::migration::{MoveState, Outcome};
use mdm_core::secret::Secret;
use mdm_core::service::{Act, MigrationAct};
use mdm_core::store::{Batch, Store as _, WaveStore as _};
use stage::Stage;

fn scheduled(states: &[MoveState]) -> bool {
    let is = |s: &MoveState| matches!(s, MoveState::Scheduled { .. });
    states.iter().all(is)
}

fn starts(stage: &Stage, serial: &Serial) {
    let mut inside = stage.apple.inside();
    inside.devices.get_mut(serial).unwrap().status = Some(MigrationStatus::Started);
}

#[tokio::test]
async fn an_account_of_another_organisation_does_not_replace_ours() {
    let stage = Stage::new(1, MINUTE, &[]).await;
    let org = stage.org().await;
    let key = Secret::from_text("key");
    stage.apple.inside().foreign = true;
    let refused = org.add_api_account("BUSINESSAPI.else", "k", &key).await;
    assert!(
        matches!(refused, Err(Error::Precondition(_))),
        "{refused:?}"
    );
    stage.apple.inside().foreign = false;
    org.add_api_account("BUSINESSAPI.new", "k", &key)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_effect_that_comes_after_a_lost_answer_is_not_asked_for_again() {
    // A few devices are read one by one, many from the list.
    for devices in [2, 8] {
        for lag in [2, 5, 14] {
            let stage = Stage::new(devices, MINUTE * lag, &[Fate::Unanswered]).await;
            let wave = stage.submit("one", &stage.serials).await;
            stage.pass(MINUTE * 16).await;
            let after = format!("{devices} devices, effect after {lag} minutes");
            assert_eq!(stage.apple.asked(), 1, "{after}");
            assert!(scheduled(&stage.states(wave).await), "{after}");
            assert_eq!(stage.errands().await[0].state, ErrandState::Done, "{after}");
        }
    }
}

#[tokio::test]
async fn an_effect_that_comes_late_after_an_answer_is_proved_and_not_called_missing() {
    for lag in [2, 5, 14] {
        let stage = Stage::new(3, MINUTE * lag, &[]).await;
        let wave = stage.submit("one", &stage.serials).await;
        stage.pass(MINUTE * 17).await;
        assert_eq!(stage.apple.asked(), 1);
        assert!(scheduled(&stage.states(wave).await), "after {lag} minutes");
    }
}

#[tokio::test]
async fn a_reading_that_took_long_says_nothing_of_an_effect_that_came_after_it() {
    for fate in [Fate::Answered, Fate::Unanswered] {
        let stage = Stage::new(2, MINUTE * 5, &[fate]).await;
        let wave = stage.submit("one", &stage.serials).await;
        stage.pass(Duration::from_secs(10)).await;
        stage.apple.inside().slow = MINUTE * 20;
        stage.pass(MINUTE * 40).await;
        assert_eq!(stage.apple.asked(), 1, "nothing is sent twice");
        assert!(scheduled(&stage.states(wave).await));
    }
}

#[tokio::test]
async fn most_effects_are_proved_within_minutes() {
    let stage = Stage::new(3, MINUTE * 2, &[]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 5).await;
    assert!(scheduled(&stage.states(wave).await));
}

#[tokio::test]
async fn what_never_reached_apple_is_sent_again_once_nothing_can_come_any_more() {
    let stage = Stage::new(3, MINUTE, &[Fate::Lost]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 14).await;
    assert_eq!(stage.apple.asked(), 1);
    stage.pass(MINUTE * 6).await;
    assert_eq!(stage.apple.asked(), 2);
    assert!(scheduled(&stage.states(wave).await));
}

#[tokio::test]
async fn a_cancellation_waits_for_a_schedule_that_may_still_take_effect() {
    for (devices, lag) in [(2, 5), (8, 5), (2, 14)] {
        let stage = Stage::new(devices, MINUTE * lag, &[Fate::Unanswered]).await;
        let wave = stage.submit("one", &stage.serials).await;
        stage.pass(MINUTE).await;
        stage.apple.inside().lag = MINUTE;
        stage.cancel(&stage.serials).await;
        stage.pass(MINUTE * 60).await;
        for serial in &stage.serials {
            let status = stage.apple.status(serial);
            assert_eq!(status, Some(MigrationStatus::Failed), "{serial}");
        }
        for state in stage.states(wave).await {
            assert_eq!(state, MoveState::Ended(Outcome::Cancelled));
        }
        assert_eq!(stage.apple.asked(), 2, "one schedule, one cancellation");
    }
}

#[tokio::test]
async fn an_account_goes_once_everybody_of_a_wave_was_called_back() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let wave = stage.submit("one and all", &stage.serials).await;
    stage.pass(MINUTE * 20).await;
    let (org, store) = (stage.org().await, &stage.store);
    let row = async || store.wave(stage.organisation, wave).await.unwrap().unwrap();
    let submitted = row().await.state;
    let refused = org.remove_api_account("BUSINESSAPI.x").await.unwrap_err();
    let refused = refused.to_string();
    let named = |of: &Serial| refused.contains(&format!("not come to an end ({of} is one)"));
    assert!(stage.serials.iter().any(named), "{refused}");
    for says in [
        "the wave one and all is submitted",
        "`mdmd wave cancel 'one and all'`",
        "`mdmd wave withdraw 'one and all'`",
    ] {
        assert!(refused.contains(says), "{says}: {refused}");
    }
    stage.cancel(&stage.serials).await;
    stage.pass(MINUTE * 60).await;
    for state in stage.states(wave).await {
        assert_eq!(state, MoveState::Ended(Outcome::Cancelled));
    }
    assert!(stage.errands().await.iter().all(|errand| errand.is_ended()));
    // As it stands until it is looked at the next time.
    let mut over = row().await;
    over.state = submitted;
    let mut batch = Batch::new();
    batch.put(over);
    store.commit(batch).await.unwrap();
    assert!(row().await.is_submitted());
    org.remove_api_account("BUSINESSAPI.x").await.unwrap();
    assert_eq!(stage.org().await.organisation().api, None);
}

#[tokio::test]
async fn a_schedule_that_was_lost_and_is_cancelled_is_never_sent_again() {
    let stage = Stage::new(2, MINUTE, &[Fate::Lost]).await;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE).await;
    stage.cancel(&stage.serials).await;
    stage.pass(MINUTE * 60).await;
    assert_eq!(stage.apple.asked(), 1);
    for state in stage.states(wave).await {
        assert!(matches!(state, MoveState::Ended(_)), "{state:?}");
    }
    assert_eq!(stage.apple.status(&stage.serials[0]), None);
}

#[tokio::test]
async fn an_activity_that_cannot_be_looked_at_holds_up_no_other_and_has_an_end() {
    let stage = Stage::new(4, MINUTE, &[]).await;
    stage.apple.inside().looks = Looks::Never;
    let first = stage.submit("one", &stage.serials[..2]).await;
    stage.pass(MINUTE).await;
    let second = stage.submit("two", &stage.serials[2..]).await;
    stage.pass(MINUTE * 10).await;
    assert!(scheduled(&stage.states(second).await));
    // The devices themselves tell of the first.
    stage.pass(MINUTE * 300).await;
    assert!(scheduled(&stage.states(first).await));
    for errand in stage.errands().await {
        assert_eq!(errand.state, ErrandState::Done);
    }
    assert_eq!(stage.apple.asked(), 2);
}

#[tokio::test]
async fn what_apple_still_works_on_is_called_back_at_apple() {
    // Longer than a request counts as late, and shorter than it is waited for.
    let stage = Stage::new(2, MINUTE * 60, &[]).await;
    stage.apple.inside().looks = Looks::Never;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 40).await;
    for state in stage.states(wave).await {
        let late = matches!(state, MoveState::SubmitFailed { may_come: true, .. });
        assert!(late, "{state:?}");
    }
    let org = stage.org().await;
    let one = &stage.serials[..1];
    let refused = org.remove_members(wave, Some(one), "the wrong ones").await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("call it back"), "{refused}");
    let refused = org.remove_members(wave, None, "all").await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("call them back"), "{refused}");
    assert_eq!(org.submitted_members(wave).await.unwrap(), stage.serials);
    stage.apple.inside().lag = MINUTE;
    stage.cancel(&stage.serials).await;
    for state in stage.states(wave).await {
        assert!(matches!(state, MoveState::Cancelling { .. }), "{state:?}");
    }
    stage.pass(MINUTE * 400).await;
    for serial in &stage.serials {
        let status = stage.apple.status(serial);
        assert_eq!(status, Some(MigrationStatus::Failed), "{serial}");
    }
    for state in stage.states(wave).await {
        assert_eq!(state, MoveState::Ended(Outcome::Cancelled));
    }
    assert_eq!(stage.apple.asked(), 2, "one schedule, one cancellation");
}

#[tokio::test]
async fn what_never_comes_is_taken_out_once_the_request_has_ended() {
    let stage = Stage::new(2, MINUTE * 100_000, &[]).await;
    stage.apple.inside().looks = Looks::Never;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 300).await;
    assert!(stage.errands().await[0].is_ended());
    for state in stage.states(wave).await {
        let failed = matches!(
            state,
            MoveState::SubmitFailed {
                may_come: false,
                ..
            }
        );
        assert!(failed, "{state:?}");
    }
    let org = stage.org().await;
    let removed = org.remove_members(wave, None, "all").await;
    assert_eq!(removed.unwrap(), 2);
}

#[tokio::test]
async fn a_result_file_that_is_gone_delays_the_proof_and_does_not_stop_it() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    stage.apple.inside().looks = Looks::NoFile;
    let wave = stage.submit("one", &stage.serials).await;
    stage.pass(MINUTE * 60).await;
    assert!(scheduled(&stage.states(wave).await));
    let errand = &stage.errands().await[0];
    assert_eq!((&errand.state, &errand.result), (&ErrandState::Done, &None));
    assert!(errand.status.as_deref().unwrap().contains("410"));
}

#[tokio::test]
async fn who_is_at_the_destination_already_is_named() {
    let stage = Stage::new(2, MINUTE, &[]).await;
    let first = stage.serials[0].clone();
    let there = Some(OURS.to_owned());
    stage
        .apple
        .inside()
        .devices
        .get_mut(&first)
        .unwrap()
        .assigned_server = there;
    let org = stage.org().await;
    org.pull(&stage.serials).await.unwrap();
    let wave = stage.plan("one", &stage.serials, &[]).await;
    let what_if = org.what_if(wave).await.unwrap();
    let sentence = "original.kind: it is ours already: it is assigned to the destination";
    let blocked: Vec<_> = what_if.blockers.iter().collect();
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert_eq!(*blocked[0].0, first);
    assert!(blocked[0].1[0].starts_with(sentence), "{blocked:?}");
}

#[tokio::test]
async fn a_cancellation_finds_what_was_sent_once_a_person_had_settled_it() {
    let stage = Stage::new(2, MINUTE * 5, &[Fate::Refused, Fate::Unanswered]).await;
    let wave = stage.submit("one", &stage.serials).await;
    // The terms are accepted; half an hour later it goes out, and its answer is lost.
    while stage.apple.asked() == 0 {
        stage.pass(MINUTE).await;
    }
    stage.apple.inside().lag = MINUTE;
    stage.cancel(&stage.serials).await;
    stage.pass(MINUTE * 60).await;
    for serial in &stage.serials {
        let status = stage.apple.status(serial);
        assert_eq!(status, Some(MigrationStatus::Failed), "{serial}");
    }
    for state in stage.states(wave).await {
        assert_eq!(state, MoveState::Ended(Outcome::Cancelled));
    }
}

#[tokio::test]
async fn many_devices_are_planned_though_the_lists_take_long() {
    let stage = Stage::new(12, MINUTE, &[]).await;
    stage.pass(MINUTE * 60).await;
    stage.apple.inside().tight = Some(MINUTE * 4);
    let wave = stage.plan("one", &stage.serials, &[]).await;
    let cancel = Act {
        what: MigrationAct::Cancel,
        serials: stage.serials.clone(),
        reason: None,
    };
    let org = stage.org().await;
    let began = stage.clock.now();
    let plan = loop {
        match org.plan_act(&cancel).await {
            Ok(plan) => break plan,
            Err(error) => assert!(error.retry_after().is_some(), "{error}"),
        }
        stage.pass(MINUTE).await;
        let waited = stage.clock.now().since(began);
        assert!(waited < MINUTE * 90, "no plan after {waited:?}");
    };
    let age = |w: &String| w.starts_with("what Apple says of the devices was read from");
    assert!(plan.warnings.iter().any(age), "{plan:?}");
    // Who takes a while to read the plan may accept it.
    stage.pass(MINUTE * 15).await;
    org.do_act(&cancel, &plan.digest).await.unwrap();
    for state in stage.states(wave).await {
        assert_eq!(state, MoveState::Ended(Outcome::Withdrawn));
    }
}
