//! The stories of a hold as people would tell them: time, state, what happened, what was asked for.

mod engine_story;

use engine_story::Story;
use mdm_core::device::Platform;
use mdm_core::migration::{Effect, Event, SetUpEnd, SetUpState, Variant};

#[test]
fn an_iphone_keeps_its_apps_and_is_released_on_evidence() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.enrol();
    s.answer();
    s.lock_answers();
    s.run(20);
    println!("{}", s.log);
    s.tell(&Event::Told {
        notice: mdm_core::migration::Notice::Released,
    });
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::Proved),
        "{}",
        s.log
    );
    assert!(s.effects.contains(&Effect::Lock));
}

#[test]
fn a_mac_gives_its_recovery_key_before_it_is_released() {
    let mut s = Story::new(Platform::Macos, Variant::Migration);
    s.enrol();
    s.answer();
    s.lock_answers();
    s.tell(&Event::BootstrapTokenStored);
    s.run(20);
    println!("{}", s.log);
    assert_eq!(
        s.set_up.state,
        SetUpState::Ended(SetUpEnd::Proved),
        "{}",
        s.log
    );
}
