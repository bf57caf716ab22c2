//! The step `declare` of the standard runbooks: asked of whom something is declared to, proved by a status report, over at once for
//! everybody else, and never a reason why a hold lasts longer than its time.

mod declared;
mod engine_story;
mod service_house;

use std::time::Duration;

use declared::{Gear, QUIET, put, set};
use engine_story::{START, Story};
use mdm_core::ddm::{Channels, Target};
use mdm_core::device::Platform;
use mdm_core::migration::{
    Ask, Effect, Event, PinnedRunbook, SetUpPhase, StepId, StepStatus, Variant,
};
use serde_json::json;
use service_house::{Gadget, House, command};

const TEST: &str = "com.apple.configuration.management.test";

fn is_asked(s: &Story) -> bool {
    let asks = |effect: &Effect| {
        matches!(
            effect,
            Effect::Command {
                ask: Ask::Declare,
                ..
            }
        )
    };
    s.effects.iter().any(asks)
}

fn status(s: &Story) -> StepStatus {
    s.set_up.steps_or_proofs()[&StepId::Declare].status.clone()
}

/// A phone in its hold that has answered everything, to which something is declared or not.
fn story(declared: bool) -> Story {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    s.set_up.declared = Some(declared);
    s.begin();
    s.answer_all();
    s
}

#[test]
fn whoever_has_nothing_declared_is_not_asked_and_held_no_moment_longer() {
    let s = story(false);
    assert!(!is_asked(&s), "{}", s.log);
    assert_ne!(s.set_up.phase(), SetUpPhase::Holding, "{}", s.log);
    assert!(s.now < START + Duration::from_mins(1), "{}", s.log);
    let StepStatus::Skipped { why } = status(&s) else {
        panic!("{}", s.log);
    };
    assert_eq!(why, "nothing is declared to it");
}

#[test]
fn whoever_was_enrolled_before_anybody_looked_is_asked() {
    let mut s = Story::new(Platform::Ios, Variant::Migration);
    let mut row = serde_json::to_value(&s.set_up).unwrap();
    // As an older version kept it.
    assert!(row.as_object_mut().unwrap().remove("declared").is_some());
    let version = s.set_up.version;
    s.set_up = serde_json::from_value(row).unwrap();
    s.set_up.version = version;
    assert_eq!(s.set_up.declared, None);
    s.enrol();
    s.answer();
    s.lock_answers();
    s.answer_all();
    assert!(is_asked(&s), "{}", s.log);
    assert_eq!(status(&s), StepStatus::Running);
    s.tell(&Event::StatusReported { unmet: None });
    assert!(matches!(status(&s), StepStatus::Done { .. }), "{}", s.log);
}

#[test]
fn whoever_has_something_declared_is_released_with_its_status_or_after_three_minutes() {
    // An acknowledgement proves nothing.
    let mut s = story(true);
    assert!(is_asked(&s), "{}", s.log);
    assert_eq!(s.set_up.phase(), SetUpPhase::Holding, "{}", s.log);
    assert_eq!(status(&s), StepStatus::Running);
    s.tell(&Event::StatusReported { unmet: None });
    assert!(matches!(status(&s), StepStatus::Done { .. }), "{}", s.log);
    assert_ne!(s.set_up.phase(), SetUpPhase::Holding, "{}", s.log);
    assert!(s.set_up.exceptions.is_empty(), "{:?}", s.set_up.exceptions);

    // It never reports: nobody is kept for that, and nothing is called an exception.
    let mut s = story(true);
    while s.set_up.phase() == SetUpPhase::Holding {
        s.wake();
        s.answer_all();
    }
    assert!(s.now >= START + Duration::from_mins(3), "{}", s.log);
    assert!(s.now < START + Duration::from_mins(4), "{}", s.log);
    assert!(
        matches!(status(&s), StepStatus::Skipped { .. }),
        "{}",
        s.log
    );
    assert!(s.set_up.exceptions.is_empty(), "{:?}", s.set_up.exceptions);
    assert_eq!(s.set_up.attention, None);
}

/// A phone with the standard runbook answers what it is asked; the types of the commands.
async fn answers(house: &House, phone: &Gadget) -> Vec<String> {
    let mut seen = Vec::new();
    let mut answer = house.report(phone, QUIET).await.unwrap();
    for _ in 0..30 {
        let Some((uuid, kind)) = command(&answer) else {
            break;
        };
        seen.push(kind);
        let done = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>\
             <key>QueryResponses</key><dict><key>SerialNumber</key><string>{}</string>\
             <key>AwaitingConfiguration</key><true/></dict>",
            phone.serial
        );
        answer = house.report(phone, &done).await.unwrap();
    }
    seen
}

async fn held(house: &House, serial: &str) -> Gadget {
    let phone = house.device(serial).await;
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let id = house.org().await.pin(serial, runbook).await.unwrap();
    house.attempt(&phone, id).await;
    house.enrol(&phone).await;
    phone
}

async fn step(house: &House, phone: &Gadget) -> StepStatus {
    let org = house.org().await;
    let report = org.device_report(&phone.serial).await.unwrap();
    let set_up = report.set_up.unwrap();
    set_up.steps_or_proofs()[&StepId::Declare].status.clone()
}

#[tokio::test]
async fn what_people_declare_is_asked_for_in_the_hold_and_proved_by_the_status_channel() {
    let house = House::new().await;
    let org = house.org().await;
    let other = held(&house, "C02DECL01").await;
    put(&org, "echo", TEST, json!({ "Echo": "1" })).await;
    set(&org, "all", &["echo"]).await;
    // Kept, and for nobody yet.
    let seen = answers(&house, &other).await;
    let kind = "DeclarativeManagement".to_owned();
    assert!(!seen.contains(&kind), "{seen:?}");
    let skipped = step(&house, &other).await;
    assert!(matches!(skipped, StepStatus::Skipped { .. }), "{skipped:?}");

    org.assign_declarations("all", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    let phone = held(&house, "C02DECL02").await;
    let seen = answers(&house, &phone).await;
    assert!(seen.contains(&kind), "{seen:?}");
    assert!(!seen.contains(&"DeviceConfigured".to_owned()), "{seen:?}");
    assert_eq!(step(&house, &phone).await, StepStatus::Running);
    let mut gear = Gear::default();
    gear.sync(&house, &phone).await;
    assert_eq!(gear.names(), ["echo"]);
    let done = step(&house, &phone).await;
    assert!(matches!(done, StepStatus::Done { .. }), "{done:?}");
    let seen = answers(&house, &phone).await;
    assert!(seen.contains(&"DeviceConfigured".to_owned()), "{seen:?}");
}
