//! Each of them from the least that shows it.

use super::*;
use crate::device::OrgReading;
use crate::ids::{DeviceId, MoveId, OrganisationId, RunbookId, Serial, WaveId};
use crate::migration::Exception;
use crate::migration::MoveState;
use crate::migration::Outcome;
use crate::views::{Context, views};
use std::time::Duration;

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

fn found(device: &Device, attempt: &Move) -> Vec<Failure> {
    let context = Context {
        attempt: Some(attempt),
        ..Context::default()
    };
    failures(&Known {
        device,
        attempt: Some(attempt),
        set_up: None,
        views: &views(device, context, NOW),
        original: None,
        held: &[],
        refusals: &[],
        forecast: &[],
        notice: Duration::from_hours(24),
        now: NOW,
    })
}

fn one(device: &Device, attempt: &Move, mode: FailureMode) -> Failure {
    let all = found(device, attempt);
    let one = all.iter().find(|failure| failure.mode == mode);
    let one = one.unwrap_or_else(|| panic!("{mode:?}: {all:#?}"));
    assert!(!one.evidence.is_empty() && !one.next.is_empty(), "{one:#?}");
    one.clone()
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

#[test]
fn what_goes_wrong_before_a_device_moves_names_its_owner_and_what_to_do() {
    let mut incapable = device();
    let mut reading = OrgReading {
        seen: NOW,
        ..OrgReading::default()
    };
    reading.capable = Some(false);
    incapable.reading = Some(reading);
    let failure = one(
        &incapable,
        &attempt(MoveState::Planned),
        FailureMode::NotCapable,
    );
    assert_eq!(failure.owner, Owner::OrganisationAdmin);
    let mut late = attempt(MoveState::Planned);
    late.deadline = NOW + Duration::from_hours(24 * 91);
    let failure = one(&device(), &late, FailureMode::DeadlineRejected);
    assert!(failure.next.contains("until 2027-03"), "{failure:#?}");
    let mut near = attempt(MoveState::Planned);
    near.deadline = NOW + Duration::from_hours(23);
    let failure = one(&device(), &near, FailureMode::DeadlineRejected);
    assert_eq!(failure.owner, Owner::Destination);
    let why = "INVALID_SERIAL".to_owned();
    let failed = attempt(MoveState::SubmitFailed { since: NOW, why });
    let failure = one(&device(), &failed, FailureMode::NoEffect);
    assert_eq!(failure.evidence[0].what, "INVALID_SERIAL");
    let overdue = attempt(MoveState::Overdue { since: NOW });
    let failure = one(&device(), &overdue, FailureMode::PastDeadline);
    assert_eq!(failure.owner, Owner::User);
}

#[test]
fn what_apple_locks_after_a_failure_comes_with_the_way_to_lift_it() {
    let mut failed = attempt(MoveState::Ended(Outcome::Failed));
    failed.exceptions.push(Exception::new(
        "apple",
        "Apple says that the migration failed",
        Owner::OrganisationAdmin,
        NOW,
    ));
    let failure = one(&device(), &failed, FailureMode::AppleFailed);
    assert!(
        failure
            .next
            .contains("only an administrator of the organisation lifts")
    );
    // One that a person gave up is no failure of Apple's.
    failed.exceptions[0].what = "operator".to_owned();
    assert_eq!(found(&device(), &failed), []);
}

#[test]
fn a_deadline_that_somebody_moved_is_shown_with_both_values() {
    let mut moved = attempt(MoveState::Offered { since: NOW });
    let shown = moved.deadline + Duration::from_hours(24);
    moved.shown_deadline = Some(shown);
    let failure = one(&device(), &moved, FailureMode::ChangedOutside);
    let said = &failure.evidence[0].what;
    assert!(said.contains(&moved.deadline.to_string()), "{said}");
    assert!(said.contains(&shown.to_string()), "{said}");
}

#[test]
fn a_device_in_the_gap_and_one_that_the_original_may_still_list_are_named() {
    let started = attempt(MoveState::Started { since: NOW });
    one(&device(), &started, FailureMode::AccessGap);
    let done = attempt(MoveState::Ended(Outcome::Migrated));
    let failure = one(&device(), &done, FailureMode::OriginalStillLists);
    assert_eq!(failure.owner, Owner::Original);
    let mut long_ago = done;
    long_ago.ended = Some(NOW - Duration::from_hours(31 * 24));
    assert_eq!(found(&device(), &long_ago), []);
}
