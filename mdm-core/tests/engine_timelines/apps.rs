//! Apps of the runbook's table that are there already are taken over: on devices that get some of the steps only, and on those
//! that spell them otherwise.

use std::time::Duration;

use mdm_core::app_state::AppState;
use mdm_core::device::Platform;
use mdm_core::migration::{
    AppReading, Ask, Effect, Event, OperatorAct, Owner, SetUpEnd, SetUpState, StepId, Told, Variant,
};

use super::engine_story::Queued;
use super::{START, Story, told};

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

/// Plays until the device is out of its hold, and then until the proof. How long it was held.
fn play_with_polls(s: &mut Story) -> Duration {
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    while s.device.awaiting {
        s.wake();
        s.answer_all();
    }
    let held = s.now.since(START);
    told(s);
    s.run(4);
    held
}

/// An app to be kept that the device rejects like this, one after the other.
fn rejecting(all: impl IntoIterator<Item = Told>) -> Story {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let rejects = all.into_iter().collect();
    s.device.rejects.insert("app.notes".to_owned(), rejects);
    s
}

fn rejected_as(state: AppState) -> Told {
    let bundle_id = "app.notes".to_owned();
    Told::App(AppReading { bundle_id, state })
}

/// How often the step that keeps apps has asked for it.
fn asked(s: &Story) -> usize {
    let asks = |effect: &&Effect| {
        matches!(effect, Effect::Command { step: StepId::AppsKeep, ask: Ask::InstallApp { bundle_id, .. }, .. }
            if bundle_id == "app.notes")
    };
    s.effects.iter().filter(asks).count()
}

fn is_proved(s: &Story) {
    assert!(s.set_up.exceptions.is_empty(), "{}", s.log);
    let proved = SetUpState::Ended(SetUpEnd::Proved);
    assert_eq!(s.set_up.state, proved, "{}", s.log);
}

#[test]
fn an_app_that_is_queued_or_installed_already_is_no_refusal_its_list_is_read() {
    let queued = || AppState::InProgress("AppAlreadyQueued".to_owned());
    let installed = || AppState::Unknown("AppAlreadyInstalled".to_owned());
    let installing = AppState::InProgress("Installing".to_owned());
    for (said, listed) in [
        (queued(), installing),
        (installed(), AppState::Managed),
        (queued(), AppState::Managed),
    ] {
        let mut s = rejecting([rejected_as(said)]);
        s.device.managed.insert("app.notes".to_owned(), listed);
        play_with_polls(&mut s);
        is_proved(&s);
        assert_eq!(asked(&s), 1, "{}", s.log);
    }
}

#[test]
fn an_app_that_is_there_and_that_the_list_does_not_name_is_asked_for_again() {
    let installed = AppState::Unknown("AppAlreadyInstalled".to_owned());
    let mut s = rejecting([rejected_as(installed)]);
    play_with_polls(&mut s);
    is_proved(&s);
    assert_eq!(asked(&s), 2, "{}", s.log);
}

fn refused_often(times: usize, why: &str) -> Vec<Told> {
    let why = why.to_owned();
    vec![Told::Failure { why }; times]
}

const fn minutes(n: u64) -> Duration {
    Duration::from_mins(n)
}

#[test]
fn an_app_whose_licence_comes_late_is_taken_over_while_the_step_has_time() {
    let mut s = rejecting(refused_often(3, "Other"));
    let held = play_with_polls(&mut s);
    is_proved(&s);
    assert_eq!(asked(&s), 4, "{}", s.log);
    // After one minute, two more and four more.
    assert!(minutes(7) <= held && held < minutes(8), "{}", s.log);
}

#[test]
fn an_app_without_a_licence_is_given_up_when_the_step_has_no_time_left() {
    let mut s = rejecting(refused_often(30, "Other"));
    let held = play_with_polls(&mut s);
    assert_eq!(asked(&s), 7, "{}", s.log);
    assert!(minutes(19) <= held && held < minutes(20), "{}", s.log);
    let mut found = s.set_up.exceptions.iter();
    let lost = found.find(|e| e.what == "apps-keep: app.notes").unwrap();
    assert_eq!(lost.owner, Owner::Licence);
    assert_eq!(lost.why, "Other (asked for 7 times)");
}

#[test]
fn an_app_that_no_licence_would_help_is_asked_for_twice() {
    let mut s = rejecting(refused_often(30, "NotAnApp"));
    let held = play_with_polls(&mut s);
    assert_eq!(asked(&s), 2, "{}", s.log);
    assert!(held < minutes(2), "{}", s.log);
}

#[test]
fn an_app_that_is_refused_does_not_keep_another_from_being_read() {
    let mut s = rejecting(refused_often(2, "Other"));
    s.device.installed.insert("app.mail".to_owned());
    let queued = AppState::InProgress("AppAlreadyQueued".to_owned());
    let bundle_id = "app.mail".to_owned();
    let mail = AppReading {
        bundle_id: bundle_id.clone(),
        state: queued,
    };
    let rejects = [Told::App(mail)].into();
    s.device.rejects.insert(bundle_id.clone(), rejects);
    s.device.managed.insert(bundle_id, AppState::Managed);
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    let listed = s.effects.iter().any(|effect| {
        matches!(
            effect,
            Effect::Command {
                step: StepId::AppsKeep,
                ask: Ask::ManagedApps { .. },
                ..
            }
        )
    });
    assert!(listed && s.now < START + minutes(1), "{}", s.log);
}

/// An app to be installed that is there already, on a device that does not get the step that keeps apps; refused like this first.
fn there_without_keep(rejects: Vec<Told>) -> Story {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.device.installed.insert("app.mail".to_owned());
    s.device
        .rejects
        .insert("app.mail".to_owned(), rejects.into());
    let mut steps = s.plan.steps.iter_mut();
    let keep = steps.find(|plan| plan.id == StepId::AppsKeep);
    keep.unwrap().only.insert("sales".to_owned());
    s
}

#[test]
fn what_is_there_is_managed_before_the_release_without_the_step_that_keeps() {
    // Only queued: it would go with its data.
    let queued = || AppState::InProgress("AppAlreadyQueued".to_owned());
    let bundle_id = "app.mail".to_owned();
    let said = Told::App(AppReading {
        bundle_id: bundle_id.clone(),
        state: queued(),
    });
    let mut s = there_without_keep(vec![said]);
    s.device.managed.insert(bundle_id, queued());
    play_with_polls(&mut s);
    is_proved(&s);
    let polls = s.effects.iter().take_while(|effect| {
        !matches!(
            effect,
            Effect::Command {
                ask: Ask::Release,
                ..
            }
        )
    });
    let polls = polls.filter(|effect| {
        matches!(
            effect,
            Effect::Command {
                step: StepId::AppsRequired,
                ask: Ask::ManagedApps { .. },
                ..
            }
        )
    });
    assert_eq!(polls.count(), 2, "{}", s.log);

    // Its licence comes late: it has the time of the step, as what is kept.
    let mut s = there_without_keep(refused_often(3, "Other"));
    let held = play_with_polls(&mut s);
    is_proved(&s);
    assert!(minutes(7) <= held && held < minutes(8), "{}", s.log);

    // It never comes: that is said, and the device is let go.
    let mut s = there_without_keep(refused_often(30, "Other"));
    play_with_polls(&mut s);
    let mut found = s.set_up.exceptions.iter();
    assert!(
        found.any(|e| e.what == "apps-required: app.mail"),
        "{}",
        s.log
    );
}

/// Which apps were declared, of a story whose runbook declares them.
fn declared(s: &Story) -> Vec<&[String]> {
    let asks = s.effects.iter().filter_map(|effect| match effect {
        Effect::Command {
            ask: Ask::DeclareApps { identifiers },
            ..
        } => Some(&identifiers[..]),
        _ => None,
    });
    asks.collect()
}

#[test]
fn an_app_that_went_with_the_hold_is_not_declared_after_it() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.plan = s.plan.with_declared_apps();
    s.enrol();
    s.answer();
    s.lock_answers();
    // Whatever comes is answered, but for the installation of what is to be kept.
    let keeps = |q: &Queued| q.0 == StepId::AppsKeep && matches!(q.3, Ask::InstallApp { .. });
    while s.device.queue.front().is_some_and(|q| !keeps(q)) {
        s.answer();
    }
    assert!(s.device.queue.front().is_some_and(keeps), "{}", s.log);
    s.tell(&Event::Operator(OperatorAct::Release));
    s.answer_all();
    assert!(!s.device.awaiting, "{}", s.log);
    let mut found = s.set_up.exceptions.iter();
    assert!(found.any(|e| e.what == "apps-keep: app.notes"), "{}", s.log);
    assert_eq!(declared(&s), [["app.mail".to_owned()]], "{}", s.log);
}

#[test]
fn an_app_that_was_taken_over_is_declared_with_those_that_are_new() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.plan = s.plan.with_declared_apps();
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    let both = ["app.mail", "app.notes"].map(str::to_owned);
    assert_eq!(declared(&s), [&both[..]], "{}", s.log);
}
