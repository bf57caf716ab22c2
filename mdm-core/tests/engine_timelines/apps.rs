//! Apps of the runbook's table that are there already are taken over: on devices that get some of the steps only, and on those
//! that spell them otherwise.

use mdm_core::device::Platform;
use mdm_core::migration::{Ask, Effect, SetUpEnd, SetUpState, StepId, Variant};

use super::{Story, told};

/// A story whose app to be installed is on the iPhone already, while a step is for devices with another tag.
fn without(step: StepId) -> Story {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.device.installed.insert("app.mail".to_owned());
    let plan = s.plan.steps.iter_mut().find(|plan| plan.id == step);
    plan.unwrap().only.insert("sales".to_owned());
    play(&mut s);
    s
}

fn play(s: &mut Story) {
    s.begin();
    s.answer_all();
    told(s);
    s.run(3);
}

#[test]
fn an_app_to_be_installed_that_is_there_already_is_taken_over_by_either_step() {
    for step in [StepId::AppsKeep, StepId::AppsRequired] {
        let s = without(step);
        assert!(s.device.managed.contains_key("app.mail"), "{}", s.log);
        assert!(s.set_up.exceptions.is_empty(), "{}", s.log);
        assert_eq!(
            s.set_up.state,
            SetUpState::Ended(SetUpEnd::Proved),
            "{}",
            s.log
        );
    }
}

#[test]
fn an_app_that_the_device_spells_otherwise_is_taken_over_and_proved() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.device.installed = ["App.Mail", "App.Notes"].map(str::to_owned).into();
    play(&mut s);
    let managed: Vec<&String> = s.device.managed.keys().collect();
    assert_eq!(managed, ["App.Mail", "App.Notes"], "{}", s.log);
    assert!(s.set_up.exceptions.is_empty(), "{}", s.log);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::Proved),
        "{}",
        s.log
    );
    // A device may look for what it is asked for letter by letter.
    for step in [StepId::AppsKeep, StepId::Verify] {
        let asked = s.effects.iter().filter_map(|effect| match effect {
            Effect::Command {
                step: of,
                ask: Ask::ManagedApps { identifiers },
                ..
            } if *of == step => Some(identifiers),
            _ => None,
        });
        let asked: Vec<&Vec<String>> = asked.collect();
        let own = |ids: &&Vec<String>| **ids == ["App.Mail", "App.Notes"];
        assert!(!asked.is_empty() && asked.iter().all(own), "{}", s.log);
    }
}
