//! The stories of a hold as people would tell them: time, state, what happened, what was asked for. Each is compared with
//! the text in `snapshots/`; a change shows in review as a change of the story.

mod apps;
mod attempts;
#[path = "../engine_story/mod.rs"]
mod engine_story;
mod escrow;
mod locks;
mod mute;
mod telling;

use std::time::Duration;

use engine_story::{START, Story};
use mdm_core::device::Platform;
use mdm_core::migration::{
    Ask, Event, Notice, OperatorAct, Owner, PinnedRunbook, SetUpEnd, SetUpState, StepId, StepPlan,
    Told, Variant,
};
use mdm_core::queue::ReportStatus;

fn told(s: &mut Story) {
    s.tell(&Event::Told {
        notice: Notice::Released,
    });
}

#[test]
fn an_iphone_keeps_its_apps_and_is_released_on_evidence() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.begin();
    s.answer_all();
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    insta::assert_snapshot!("iphone", s.log);
}

#[test]
fn a_mac_gives_its_recovery_key_before_it_is_released() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.begin();
    s.tell(&Event::BootstrapTokenStored);
    s.answer_all();
    s.tell(&Event::UserEnrolled);
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    insta::assert_snapshot!("mac", s.log);
}

#[test]
fn a_hold_ends_at_its_ceiling_and_names_what_was_lost() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.begin();
    // Everything after the first answer stays on the device's side until the ceiling has come, though it speaks.
    while let Some(ceiling) = s.set_up.ceiling_at {
        s.wake();
        if s.now + Duration::from_mins(6) > ceiling && s.set_up.ceiling_at.is_some() {
            s.tell(&Event::StatusReported { unmet: None });
        }
    }
    s.answer_all();
    told(&mut s);
    s.run(6);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    insta::assert_snapshot!("ceiling", s.log);
}

#[test]
fn an_app_that_could_not_be_taken_over_in_the_hold_is_not_installed_anew_after_it() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    let keeps = |q: &(StepId, u16, u16, Ask)| {
        q.0 == StepId::AppsKeep && matches!(q.3, Ask::InstallApp { .. })
    };
    let mut released = false;
    while !released {
        // Answers everything but installations that keep an app: these it refuses each time that it comes.
        let release = s.device.queue.iter().position(|q| q.0 == StepId::Release);
        if let Some(at) = release.or_else(|| s.device.queue.iter().position(|q| !keeps(q))) {
            let (step, part, attempt, ask) = s.device.queue.remove(at).unwrap();
            let (status, told) = s.device.run(&ask);
            s.later(Duration::from_secs(1));
            s.tell(&Event::Reported {
                step,
                part,
                attempt,
                status,
                told,
            });
            released = step == StepId::Release;
            continue;
        }
        for (step, part, attempt, _) in s.device.queue.clone() {
            s.later(Duration::from_secs(1));
            s.tell(&Event::Reported {
                step,
                part,
                attempt,
                status: ReportStatus::NotNow,
                told: Told::Nothing,
            });
        }
        if !s.effects.is_empty() {
            s.lock_answers();
        }
        s.later(Duration::from_secs(30));
        if s.set_up.wake_at.is_some_and(|at| at <= s.now) {
            s.tell(&Event::Woke);
        }
    }
    assert!(!s.device.queue.iter().any(keeps), "{:?}", s.device.queue);
}

#[test]
fn a_device_that_was_silent_past_its_ceiling_keeps_its_apps_when_it_speaks_again() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.begin();
    // Switched off, and on again an hour after its ceiling.
    while s.set_up.ceiling_at.is_some() {
        s.wake();
    }
    for _ in 0..8 {
        s.wake();
    }
    s.answer_all();
    told(&mut s);
    s.run(6);
    assert!(s.device.managed.contains_key("app.notes"), "{}", s.log);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    insta::assert_snapshot!("last-chance", s.log);
}

#[test]
fn a_device_that_falls_silent_is_woken_until_it_is_released() {
    let mut s = Story::new(Platform::Macos, Variant::Ordinary);
    s.plan = PinnedRunbook::standard(Platform::Macos, Variant::Ordinary);
    s.enrol();
    s.answer();
    s.tell(&Event::Operator(OperatorAct::Release));
    for _ in 0..52 {
        s.wake();
    }
    // More than a day later it is switched on again.
    s.answer();
    s.tell(&Event::BootstrapTokenStored);
    s.answer_all();
    told(&mut s);
    s.run(4);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    insta::assert_snapshot!("stalled", s.log);
}

#[test]
fn a_device_that_does_not_say_whether_it_waits_is_asked() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.device.awaiting = false;
    s.later(Duration::from_secs(5));
    s.tell(&Event::Enrolled {
        awaiting: None,
        profile_awaits: true,
    });
    s.answer();
    s.lock_answers();
    s.answer_all();
    told(&mut s);
    s.run(4);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    insta::assert_snapshot!("no-hold", s.log);
}

#[test]
fn a_mac_waits_a_day_for_the_channel_of_its_managed_user() {
    let begun = |expected| {
        let mut s = Story::new(Platform::Macos, Variant::Migration);
        s.set_up.user_expected = expected;
        s.begin();
        s.tell(&Event::BootstrapTokenStored);
        s.answer_all();
        told(&mut s);
        s
    };
    // One that had no managed user waits for none.
    let mut s = begun(false);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    // Three hours later somebody signs in: not before that is it proved.
    let mut s = begun(true);
    while s.now < START + Duration::from_hours(3) {
        s.wake();
        s.answer_all();
        assert!(!s.set_up.is_ended(), "{}", s.log);
    }
    s.tell(&Event::UserEnrolled);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    // Nobody ever does.
    let mut s = begun(true);
    s.run(200);
    assert!(s.now < START + Duration::from_hours(26), "{}", s.log);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::ProvedWithExceptions)
    );
    let one = &s.set_up.exceptions[0];
    assert!(one.what.contains("user channel"), "{one:?}");
    assert!(one.why.contains("has not signed in"), "{one:?}");
    assert_eq!(one.owner, Owner::User);
}

#[test]
fn what_comes_behind_the_release_keeps_nobody_in_the_hold() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let mut tag = StepPlan::standard(StepId::Tag);
    tag.required = true;
    tag.tags.insert("moved".to_owned());
    s.plan.steps.push(tag);
    s.plan.steps.sort_by_key(|step| step.id);
    s.plan.validate().unwrap();
    s.begin();
    s.answer_all();
    let held = s.set_up.released.map(|at| at.since(START));
    assert!(
        held.is_some_and(|held| held < Duration::from_mins(5)),
        "{}",
        s.log
    );
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
}

#[test]
fn a_profile_that_the_device_refused_is_named_by_its_step_or_by_the_proof() {
    for required in [false, true] {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        s.device.refuses = Some("org.rules");
        for step in &mut s.plan.steps {
            step.required |= required && step.id == StepId::Security;
        }
        s.begin();
        s.answer_all();
        while s.set_up.released.is_none() {
            s.wake();
            s.answer_all();
        }
        told(&mut s);
        s.run(200);
        assert!(s.set_up.is_ended(), "{}", s.log);
        let of_rules = s
            .set_up
            .exceptions
            .iter()
            .filter(|e| e.what.ends_with(": org.rules"));
        let of_rules: Vec<&str> = of_rules.map(|e| e.what.as_str()).collect();
        let took = s.now.since(START);
        assert!(
            required || took < Duration::from_hours(1),
            "{took:?}: {}",
            s.log
        );
        let by = if required {
            "security: org.rules"
        } else {
            "verify: org.rules"
        };
        assert_eq!(of_rules, [by], "{}", s.log);
    }
}
