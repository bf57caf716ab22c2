//! Each of them from the least that shows it.

mod apps;
mod holding;
mod moving;

use std::time::Duration;

use serde_json::Value;

use super::{Failure, FailureMode, ForeseenLoss, Known, failures};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::enrollment::{ChannelKind, Enrollment};
use crate::ids::{
    DeviceId, EnrollmentId, MoveId, OrganisationId, RunbookId, Serial, SetUpId, WaveId,
};
use crate::migration::{Exception, Move, MoveState, Owner, SetUp, Verdict, VerdictKind};
use crate::original::OriginalFacts;
use crate::secret::SecretKind;
use crate::views::{Context, Views, views};

const NOW: Timestamp = Timestamp::from_millis(1_796_893_200_000);

fn device() -> Device {
    let serial = Serial::parse("C02FAILS").unwrap();
    Device::new(OrganisationId(1), DeviceId(2), serial)
}

fn attempt(state: MoveState) -> Move {
    let mut attempt = Move::plan(
        OrganisationId(1),
        MoveId(3),
        WaveId(4),
        DeviceId(2),
        Serial::parse("C02FAILS").unwrap(),
        RunbookId(5),
        NOW + Duration::from_hours(48),
        NOW,
        Some("OLD".to_owned()),
        NOW,
    );
    attempt.state = state;
    attempt
}

/// A device of which nothing else is known.
fn known<'a>(device: &'a Device, views: &'a Views) -> Known<'a> {
    Known {
        device,
        attempt: None,
        set_up: None,
        views,
        original: None,
        held: &[],
        refusals: &[],
        unproved: &[],
        forecast: &[],
        left: None,
        notice: Duration::from_hours(24),
        now: NOW,
    }
}

fn found(device: &Device, attempt: &Move) -> Vec<Failure> {
    let context = Context {
        attempt: Some(attempt),
        ..Context::default()
    };
    failures(&Known {
        attempt: Some(attempt),
        ..known(device, &views(device, context, NOW))
    })
}

fn one(device: &Device, attempt: &Move, mode: FailureMode) -> Failure {
    let all = found(device, attempt);
    let one = all.iter().find(|failure| failure.mode == mode);
    let one = one.unwrap_or_else(|| panic!("{mode:?}: {all:#?}"));
    assert!(!one.evidence.is_empty() && !one.next.is_empty(), "{one:#?}");
    one.clone()
}

fn set_up_json(device: &Device, more: Value) -> SetUp {
    let mut enrollment = Enrollment::pending(
        OrganisationId(1),
        EnrollmentId(7),
        "UDID-1".to_owned(),
        ChannelKind::Device,
        "aa".to_owned(),
        NOW,
    );
    enrollment.serial = Some(device.serial.clone());
    let verdict = Verdict {
        kind: VerdictKind::Migration,
        reasons: Vec::new(),
    };
    let platform = device.platform().unwrap_or(Platform::Ios);
    let set_up = SetUp::begin(
        OrganisationId(1),
        SetUpId(5),
        &enrollment,
        platform,
        None,
        RunbookId(3),
        verdict,
        NOW,
    );
    let mut all = serde_json::to_value(set_up).unwrap();
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

/// What is said of one way, with these words; nothing where it is not shown.
fn said_of(
    device: &Device,
    set_up: &SetUp,
    held: &[(SecretKind, Timestamp)],
    mode: FailureMode,
) -> Option<(Owner, String)> {
    let one = said_with(device, set_up, (held, &[], None), mode)?;
    let words: Vec<String> = one.evidence.into_iter().map(|e| e.what).collect();
    Some((one.owner, words.join("\n")))
}

/// The same, with the secrets that are held, the forecast, and what the original told.
fn said_with(
    device: &Device,
    set_up: &SetUp,
    (held, forecast, original): (
        &[(SecretKind, Timestamp)],
        &[ForeseenLoss],
        Option<&OriginalFacts>,
    ),
    mode: FailureMode,
) -> Option<Failure> {
    let all = failures(&Known {
        set_up: Some(set_up),
        original,
        held,
        forecast,
        ..known(device, &views(device, Context::default(), NOW))
    });
    all.into_iter().find(|failure| failure.mode == mode)
}

fn exception(what: &str, owner: Owner) -> Value {
    serde_json::to_value(Exception::new(what, "it did not come", owner, NOW)).unwrap()
}

fn words(failure: &Failure) -> Vec<&str> {
    failure.evidence.iter().map(|e| e.what.as_str()).collect()
}

#[test]
fn there_are_twenty_each_with_a_sentence_of_its_own() {
    let sentences: std::collections::BTreeSet<&str> = FailureMode::ALL
        .iter()
        .map(|mode| mode.sentence())
        .collect();
    assert_eq!(sentences.len(), 20);
}

#[test]
fn a_member_on_which_nothing_goes_wrong_has_no_failure() {
    assert_eq!(found(&device(), &attempt(MoveState::Ready)), []);
}
