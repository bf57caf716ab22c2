//! The recovery key of a Mac and the bootstrap token that it may need: whichever comes first, the key is made once and kept.

use std::time::Duration;

use mdm_core::device::Platform;
use mdm_core::migration::{
    Ask, Effect, Event, SetUpEnd, SetUpPhase, SetUpState, StepId, StepStatus, Variant,
};

use super::engine_story::{START, Story};
use super::told;

/// How often the escrow profile was sent.
fn escrows(s: &Story) -> usize {
    let is_escrow = |effect: &&Effect| {
        matches!(
            effect,
            Effect::Command {
                ask: Ask::InstallEscrow,
                ..
            }
        )
    };
    s.effects.iter().filter(is_escrow).count()
}

fn escrow_is_done(s: &Story) -> bool {
    let steps = s.set_up.steps_or_proofs();
    let escrow = steps.get(&StepId::FvEscrow).map(|step| &step.status);
    matches!(escrow, Some(StepStatus::Done { .. }))
}

#[test]
fn an_escrow_without_a_bootstrap_token_is_begun_again_when_it_comes_in_the_hold() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    let mut steps = s.plan.steps.iter_mut();
    let lock = steps.find(|p| p.id == StepId::Lock).unwrap();
    // Longer than a bootstrap token is waited for.
    lock.timeout_secs = 600;
    s.device.lacks_token = true;
    s.enrol();
    s.answer_all();
    // Apple answers the lock request late: until then it is held, and its escrow profile is there already.
    while !escrow_is_done(&s) {
        s.wake();
        s.answer_all();
    }
    assert_eq!(s.set_up.phase(), SetUpPhase::Holding, "{}", s.log);
    assert_eq!((escrows(&s), s.device.has_key), (1, false));
    s.device.lacks_token = false;
    s.tell(&Event::BootstrapTokenStored);
    assert!(!escrow_is_done(&s), "{}", s.log);
    assert_eq!(escrows(&s), 2, "{}", s.log);
    s.answer_all();
    assert!(escrow_is_done(&s) && s.device.has_key, "{}", s.log);
    // It gives it at every sign-in: once is enough.
    s.tell(&Event::BootstrapTokenStored);
    assert!(escrow_is_done(&s), "{}", s.log);
    s.lock_answers();
    s.answer_all();
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    let bootstrap = &s.set_up.proofs[&StepId::Bootstrap].status;
    assert!(matches!(bootstrap, StepStatus::Done { evidence } if evidence.contains("late")));
    assert_eq!(escrows(&s), 2, "{}", s.log);
}

#[test]
fn an_escrow_without_a_bootstrap_token_is_begun_again_when_it_comes_during_the_proof() {
    for refuses in [false, true] {
        let mut s = Story::new(Platform::Macos, Variant::Migration);
        s.device.lacks_token = true;
        s.device.refuses_escrow = refuses;
        s.begin();
        s.answer_all();
        while s.now < START + Duration::from_hours(3) {
            s.wake();
            s.answer_all();
        }
        told(&mut s);
        assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
        assert_eq!(s.set_up.exceptions.is_empty(), !refuses, "{}", s.log);
        // Somebody signs in.
        let (before, signed_in) = (escrows(&s), s.now);
        s.device.lacks_token = false;
        s.device.refuses_escrow = false;
        s.tell(&Event::BootstrapTokenStored);
        s.tell(&Event::BootstrapTokenStored);
        s.run(4);
        assert_eq!(escrows(&s), before + 1, "{}", s.log);
        assert_eq!(
            s.set_up.state,
            SetUpState::Ended(SetUpEnd::Proved),
            "{}",
            s.log
        );
        assert!(s.set_up.exceptions.is_empty(), "{:?}", s.set_up.exceptions);
        // Not at the next of its looks, an hour later.
        assert!(s.now.since(signed_in) < Duration::from_mins(5), "{}", s.log);
    }
}

#[test]
fn an_escrow_that_is_on_its_way_when_the_bootstrap_token_comes_is_not_sent_twice() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.device.lacks_token = true;
    s.enrol();
    while !s.device.queue.iter().any(|q| q.3 == Ask::InstallEscrow) {
        if !s.answer() {
            s.wake();
        }
    }
    s.device.lacks_token = false;
    s.tell(&Event::BootstrapTokenStored);
    s.answer_all();
    assert!(escrow_is_done(&s) && s.device.has_key, "{}", s.log);
    assert_eq!(escrows(&s), 1, "{}", s.log);
}

#[test]
fn a_proof_that_missed_the_key_is_made_anew_when_the_bootstrap_token_comes() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    let mut steps = s.plan.steps.iter_mut();
    let tell = steps.find(|p| p.id == StepId::Tell).unwrap();
    tell.requires.push(StepId::Verify);
    s.device.lacks_token = true;
    s.begin();
    s.answer_all();
    // The proof is over; whether anybody was told is not known yet, so that the set-up is not.
    let missed = |s: &Story| {
        let mut all = s.set_up.exceptions.iter();
        all.any(|e| e.what == "verify: recovery key")
    };
    while !missed(&s) {
        s.wake();
        s.answer_all();
    }
    assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
    s.device.lacks_token = false;
    s.tell(&Event::BootstrapTokenStored);
    s.run(3);
    told(&mut s);
    s.run(3);
    assert!(!missed(&s), "{}", s.log);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
}

#[test]
fn a_key_that_is_there_is_not_made_anew_for_a_bootstrap_token() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.set_up.user_expected = true;
    s.begin();
    s.answer_all();
    while s.now < START + Duration::from_hours(2) {
        s.wake();
        s.answer_all();
    }
    told(&mut s);
    assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
    s.tell(&Event::BootstrapTokenStored);
    assert_eq!(escrows(&s), 1, "{}", s.log);
}

#[test]
fn a_bootstrap_token_that_comes_before_the_mac_says_who_it_is_counts() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.enrol();
    s.tell(&Event::BootstrapTokenStored);
    s.answer_all();
    let steps = s.set_up.state.steps().unwrap();
    let bootstrap = &steps[&StepId::Bootstrap].status;
    assert!(matches!(bootstrap, StepStatus::Done { .. }), "{}", s.log);
    assert!(escrow_is_done(&s) && s.device.has_key, "{}", s.log);
    let StepStatus::Done { evidence } = &steps[&StepId::FvEscrow].status else {
        unreachable!()
    };
    assert!(
        !evidence.contains("without a bootstrap token"),
        "{evidence}"
    );
    s.lock_answers();
    s.answer_all();
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    assert_eq!(escrows(&s), 1, "{}", s.log);
}
