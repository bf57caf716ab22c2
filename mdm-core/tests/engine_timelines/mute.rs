//! Devices that speak and do not answer: never who they are, or nothing but refusals.

use std::time::Duration;

use mdm_core::device::Platform;
use mdm_core::migration::{Ask, Attention, Effect, Event, SetUpState, StepId, Told, Variant};
use mdm_core::queue::ReportStatus;

use super::engine_story::Story;

/// It speaks and does all that it is asked, but never says who it is.
fn speak(s: &mut Story, mute: &mut Vec<Event>) {
    loop {
        while let Some(at) = s.device.queue.iter().position(|q| q.3 == Ask::Identify) {
            let (step, part, attempt, _) = s.device.queue.remove(at).unwrap();
            mute.push(Event::Unanswered {
                step,
                part,
                attempt,
            });
        }
        for event in mute.iter() {
            s.tell(event);
        }
        if !s.answer() {
            return;
        }
    }
}

/// Puts back what rows from before had: no time for the first question.
fn without_time(s: &mut Story) {
    let mut row = serde_json::to_value(&s.set_up).unwrap();
    let steps = row.pointer_mut("/state/proving/steps").unwrap();
    steps["identify"]["deadline"] = serde_json::Value::Null;
    s.set_up = serde_json::from_value(row).unwrap();
}

#[test]
fn a_device_that_never_says_who_it_is_gets_the_rest_after_its_hold() {
    for (awaiting, older) in [
        (Some(true), false),
        (Some(true), true),
        (Some(false), false),
        (None, false),
    ] {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        let mut mute = Vec::new();
        s.later(Duration::from_secs(5));
        s.tell(&Event::Enrolled {
            awaiting,
            profile_awaits: true,
        });
        while !matches!(s.set_up.state, SetUpState::Proving { .. }) {
            speak(&mut s, &mut mute);
            s.wake();
        }
        assert!(!s.device.awaiting, "{}", s.log);
        assert!(!s.device.profiles.contains("org.trust"), "{}", s.log);
        if older {
            without_time(&mut s);
        }
        let end = s.now + Duration::from_hours(3);
        while s.now < end && !s.set_up.is_ended() {
            speak(&mut s, &mut mute);
            s.wake();
        }
        let case = format!("{awaiting:?}, {older}");
        assert!(s.device.profiles.contains("org.trust"), "{case}: {}", s.log);
    }
}

/// Every question that waits is refused for now.
fn refuse(s: &mut Story) {
    for (step, part, attempt, _) in s.device.queue.clone() {
        s.tell(&Event::Reported {
            step,
            part,
            attempt,
            status: ReportStatus::NotNow,
            told: Told::Nothing,
        });
    }
}

#[test]
fn a_device_that_refuses_everything_stays_a_question_for_a_person_until_it_is_released() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.begin();
    while !matches!(s.set_up.state, SetUpState::Stalled { .. }) {
        refuse(&mut s);
        s.wake();
    }
    let asked = |s: &Story| s.set_up.attention == Some(Attention::ReleaseUnconfirmed);
    assert!(asked(&s), "{}", s.log);
    let steps: Vec<StepId> = s.device.queue.iter().map(|q| q.0).collect();
    assert!(steps.iter().any(|id| *id != StepId::Release), "{steps:?}");
    // It is there and can be released any moment: it is woken every five minutes, and does not come and go.
    for _ in 0..60 {
        refuse(&mut s);
        let stalled = matches!(s.set_up.state, SetUpState::Stalled { .. });
        assert!(stalled && asked(&s), "{}", s.log);
        let (before, told) = (s.now, s.effects.len());
        s.wake();
        assert_eq!(s.now.since(before), Duration::from_mins(5), "{}", s.log);
        assert!(s.effects[told..].contains(&Effect::Push), "{}", s.log);
    }
    // Silent for days, it is another question, and speaks again.
    while s.set_up.attention != Some(Attention::SilentForDays) {
        s.wake();
    }
    refuse(&mut s);
    assert!(asked(&s), "{}", s.log);
    // A word of something else is no release either.
    s.tell(&Event::AwaitingTold { awaiting: true });
    assert!(matches!(s.set_up.state, SetUpState::Releasing { .. }));
    assert!(asked(&s), "{}", s.log);
    s.answer_all();
    assert_eq!(s.set_up.attention, None, "{}", s.log);
}
