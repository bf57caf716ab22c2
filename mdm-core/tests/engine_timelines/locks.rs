//! Activation Lock: what Apple shows of it late or never keeps nobody in the hold.

use std::time::Duration;

use mdm_core::device::Platform;
use mdm_core::migration::{
    Event, LockClaim, LockReading, Owner, SetUpEnd, SetUpPhase, SetUpState, Variant,
};

use super::engine_story::{START, Story};
use super::told;

#[test]
fn a_lock_that_apple_does_not_show_is_an_exception_after_a_day() {
    let begun = || {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        s.begin();
        s.set_up.lock_unread = true;
        s.answer_all();
        told(&mut s);
        s
    };
    // Asked and not yet read; then Apple shows it.
    let mut s = begun();
    while s.now < START + Duration::from_hours(2) {
        s.wake();
        s.answer_all();
        assert!(!s.set_up.is_ended(), "{}", s.log);
    }
    s.set_up.lock_unread = false;
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    // Nobody could read it: that is no word against Apple.
    let mut s = begun();
    s.run(200);
    assert!(s.now < START + Duration::from_hours(26), "{}", s.log);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    let proof = serde_json::to_string(&s.set_up.proofs).unwrap();
    assert!(proof.contains("asked for, not yet read"), "{proof}");
    // It was read, and was never there.
    let mut s = begun();
    s.set_up.lock_off = true;
    s.run(200);
    assert!(s.now < START + Duration::from_hours(26), "{}", s.log);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    let one = &s.set_up.exceptions[0];
    assert!(one.what.contains("lock"), "{one:?}");
    assert_eq!(one.owner, Owner::Apple);
}

/// An iPhone whose lock Apple has not answered for so long.
fn unanswered(time: Duration) -> Story {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    s.answer_all();
    while s.now < START + time {
        s.wake();
        s.answer_all();
    }
    told(&mut s);
    s
}

#[test]
fn a_lock_that_apple_answers_late_keeps_nobody_in_the_hold_and_is_a_lock_all_the_same() {
    let begun = || {
        let s = unanswered(Duration::from_mins(30));
        // Out of the hold after the step's two minutes; its record is open, and says so far what is missing.
        assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
        let missing: Vec<&str> = s.set_up.exceptions.iter().map(|e| &*e.what).collect();
        assert_eq!(missing, ["lock"], "{}", s.log);
        s
    };
    // Apple's service was overrun: its answer comes after the release.
    let mut s = begun();
    s.lock_answers();
    assert!(s.set_up.exceptions.is_empty(), "{}", s.log);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    assert_eq!(s.set_up.attention, None);
    // It answers late that it will not, or that the lock is somebody else's: that is named, and nothing else.
    for (answer, owner) in [
        (LockReading::Refused { why: "no".into() }, Owner::Apple),
        (
            LockReading::AlreadyLocked {
                claim: LockClaim::Foreign,
            },
            Owner::User,
        ),
    ] {
        let mut s = begun();
        s.tell(&Event::LockAnswered { answer });
        s.run(3);
        assert_eq!(
            s.set_up.state,
            SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
        );
        let [one] = &s.set_up.exceptions[..] else {
            panic!("{}", s.log);
        };
        assert_eq!((&*one.what, one.owner), ("lock", owner));
        assert!(!one.why.contains("not answered"), "{one:?}");
    }
    // It never answers: a day later that is the one thing that is missing.
    let mut s = begun();
    s.run(200);
    assert!(s.now < START + Duration::from_hours(26), "{}", s.log);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    let [one] = &s.set_up.exceptions[..] else {
        panic!("{}", s.log);
    };
    assert!(one.why.contains("not answered"), "{one:?}");
}

#[test]
fn a_proof_that_waits_for_the_lock_alone_looks_when_apple_has_answered() {
    let mut s = unanswered(Duration::from_hours(5));
    // By now it looks once in an hour.
    assert_eq!(s.set_up.phase(), SetUpPhase::Proving, "{}", s.log);
    let answered = s.now;
    s.lock_answers();
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    assert!(s.now.since(answered) < Duration::from_mins(2), "{}", s.log);
}
