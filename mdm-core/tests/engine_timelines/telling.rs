//! Who is told of the end of a hold, and the tags that the step gives which tells.

use std::time::Duration;

use mdm_core::device::Platform;
use mdm_core::ids::Serial;
use mdm_core::migration::{
    Effect, EffectKey, Event, Notice, SetUpEnd, SetUpState, StepId, StepPlan, StepStatus, Variant,
};

use super::engine_story::Story;
use super::told;

#[test]
fn the_step_that_tells_gives_its_tags_too() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let step = s.plan.steps.iter_mut().find(|s| s.id == StepId::Tell);
    step.unwrap().tags.insert("moved".to_owned());
    s.plan.validate().unwrap();
    s.begin();
    s.answer_all();
    told(&mut s);
    s.run(3);
    assert!(s.log.contains("moved"), "{}", s.log);
    // No other step gives any.
    let step = s.plan.steps.iter_mut().find(|s| s.id == StepId::Verify);
    step.unwrap().tags.insert("moved".to_owned());
    assert!(s.plan.validate().is_err());
}

#[test]
fn another_device_than_the_planned_one_gets_no_tags_either() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let moved = ["moved".to_owned()];
    let mut tag = StepPlan::standard(StepId::Tag);
    tag.tags.extend(moved.clone());
    s.plan.steps.push(tag);
    s.plan.steps.sort_by_key(|step| step.id);
    for step in &mut s.plan.steps {
        if step.id == StepId::Tell {
            step.tags.extend(moved.clone());
        }
    }
    s.plan.validate().unwrap();
    s.set_up.serial = Some(Serial::parse("C02PLANNED").unwrap());
    s.enrol();
    s.answer_all();
    while !s.set_up.is_ended() {
        s.wake();
        s.answer_all();
        told(&mut s);
    }
    assert!(s.set_up.released.is_some(), "{}", s.log);
    let tagged = s.effects.iter().any(|e| matches!(e, Effect::Tag { .. }));
    assert!(!tagged, "{}", s.log);
}

#[test]
fn the_end_of_a_hold_is_told_once_whatever_the_step_that_tells_says() {
    let play = |change: &dyn Fn(&mut Vec<StepPlan>), early: bool| {
        let mut s = Story::new(Platform::Ios, Variant::Migration);
        change(&mut s.plan.steps);
        s.begin();
        // Until it is out, and no further: what the proof asks for stays open.
        while s.set_up.released.is_none() && s.answer() {}
        assert!(s.set_up.released.is_some(), "{}", s.log);
        if early {
            told(&mut s);
        }
        s.answer_all();
        if !early {
            told(&mut s);
        }
        s.run(3);
        assert_eq!(
            s.set_up.state,
            SetUpState::Ended(SetUpEnd::Proved),
            "{}",
            s.log
        );
        let count = s.log.matches("Notify(Released)").count();
        assert_eq!(count, 1, "{}", s.log);
        s
    };
    // As it is; without the step; for devices with a tag that this one has not; behind the proof.
    play(&|_| {}, false);
    play(&|steps| steps.retain(|p| p.id != StepId::Tell), false);
    let tell = |steps: &mut Vec<StepPlan>, change: &dyn Fn(&mut StepPlan)| {
        change(steps.iter_mut().find(|p| p.id == StepId::Tell).unwrap());
    };
    let s = play(
        &|steps| tell(steps, &|p| p.only = ["others".to_owned()].into()),
        false,
    );
    let status = |s: &Story| s.set_up.proofs[&StepId::Tell].status.clone();
    assert!(
        matches!(status(&s), StepStatus::Skipped { .. }),
        "{}",
        s.log
    );
    let s = play(
        &|steps| tell(steps, &|p| p.requires.push(StepId::Verify)),
        true,
    );
    assert!(matches!(status(&s), StepStatus::Done { .. }), "{}", s.log);
}

/// A set-up that is out, and tells only behind its proof.
fn out_and_telling_last() -> Story {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let mut steps = s.plan.steps.iter_mut();
    let tell = steps.find(|p| p.id == StepId::Tell).unwrap();
    tell.requires.push(StepId::Verify);
    s.begin();
    while s.set_up.released.is_none() && s.answer() {}
    assert!(s.set_up.released.is_some(), "{}", s.log);
    s
}

#[test]
fn that_nobody_could_be_told_of_a_release_is_known_to_the_step_that_comes_later() {
    let mut s = out_and_telling_last();
    let why = "the receiver is gone".to_owned();
    let effect = EffectKey::Notify(Notice::Released);
    s.tell(&Event::EffectFailed { effect, why });
    s.run(3);
    let status = &s.set_up.proofs[&StepId::Tell].status;
    assert!(
        matches!(status, StepStatus::Skipped { why } if why == "could not be sent: the receiver is gone"),
        "{status:?}"
    );
    assert_eq!(s.log.matches("-> Notify(Released)").count(), 1, "{}", s.log);
}

#[test]
fn a_set_up_that_an_older_version_let_out_tells_of_it_when_its_step_begins() {
    let mut s = out_and_telling_last();
    let before = s.log.matches("Notify(Released)").count();
    let mut row = serde_json::to_value(&s.set_up).unwrap();
    row.as_object_mut().unwrap().remove("release_told").unwrap();
    s.set_up = serde_json::from_value(row).unwrap();
    s.run(1);
    told(&mut s);
    s.run(3);
    assert_eq!(s.set_up.state, SetUpState::Ended(SetUpEnd::Proved));
    let count = s.log.matches("Notify(Released)").count();
    assert_eq!(count, before + 1, "{}", s.log);
}

#[test]
fn each_hold_has_its_end_told() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.later(Duration::from_secs(5));
    s.tell(&Event::Enrolled {
        awaiting: Some(false),
        profile_awaits: true,
    });
    s.device.awaiting = false;
    s.answer();
    let count = |s: &Story, notice| s.log.matches(notice).count();
    assert_eq!(count(&s, "Notify(Released)"), 1, "{}", s.log);
    // It waits after all: whoever hears of the hold hears of its end.
    s.device.awaiting = true;
    s.tell(&Event::AwaitingTold { awaiting: true });
    assert_eq!(count(&s, "Notify(Holding)"), 1, "{}", s.log);
    s.lock_answers();
    s.answer_all();
    assert!(!s.device.awaiting, "{}", s.log);
    assert_eq!(count(&s, "Notify(Released)"), 2, "{}", s.log);
}
