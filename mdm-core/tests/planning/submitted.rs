//! A wave that was submitted: what it has asked for itself stands against nobody, long holds stop it, and drift is named by its part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mdm_core::check::{Check, CheckResult};
use mdm_core::device::{MigrationStatus, Platform};
use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::gap::GapLimits;
use mdm_core::ids::{EnrollmentId, Serial, SetUpId, WaveId};
use mdm_core::migration::{Attention, Move, MoveState, SetUp, SetUpState, Verdict, VerdictKind};
use mdm_core::organisation::AdeOptions;
use mdm_core::project::StopRule;
use mdm_core::service::{Org, ProjectChange};
use mdm_core::store::Batch;

use super::service_house::fleet::serial;
use super::service_house::{House, START};
use super::{DAY, accepted, finding, phones, pilot, wave};

pub(super) async fn member(org: &Org, wave: WaveId, serial: &Serial) -> Move {
    let all = org.members(wave).await.unwrap();
    all.into_iter().find(|m| m.serial == *serial).unwrap()
}

#[tokio::test]
async fn what_a_wave_itself_has_asked_for_stands_against_none_of_its_members() {
    let house = House::new().await;
    let four = phones(4);
    let (org, id, pilot) = pilot(&house, 10, &ProjectChange::default(), &four[..3]).await;
    assert_eq!(accepted(&org, pilot).await.unwrap(), 3);
    // As Apple shows them then: one waits, one has begun, one is here. The fourth was asked for by somebody else.
    let store = house.mdm.store();
    let server = store.server(house.org, house.server).await.unwrap();
    let ours = server.unwrap().uuid;
    let mut batch = Batch::new();
    let found = store.devices_by_serial(house.org, &four).await.unwrap();
    for mut device in found {
        let n = four.iter().position(|s| *s == device.serial).unwrap();
        let reading = device.reading.as_mut().unwrap();
        reading.assigned_server = Some(ours.clone());
        reading.status = Some(match n {
            0 | 3 => MigrationStatus::Requested,
            _ => MigrationStatus::Started,
        });
        if n == 2 {
            device.enrollment = Some(EnrollmentId(1));
        }
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
    for of in &four[..3] {
        for check in [
            Check::OriginalKind,
            Check::OtherPending,
            Check::DeadlineRange,
        ] {
            let found = finding(&org, pilot, of, check).await;
            assert_eq!(found.result, CheckResult::Pass, "{of}: {}", found.line());
        }
    }
    // Its deadline comes near, and passes: it was submitted in time.
    house.clock.advance(10 * DAY);
    let found = finding(&org, pilot, &four[0], Check::DeadlineRange).await;
    assert_eq!(found.result, CheckResult::Pass, "{}", found.line());
    // Of a draft the same facts stand against its members.
    let other = wave(&org, id, "other", &four[3..]).await;
    for check in [Check::OriginalKind, Check::OtherPending] {
        let found = finding(&org, other, &four[3], check).await;
        assert_eq!(found.result, CheckResult::Block, "{}", found.line());
    }
}

/// Has members of a wave be in their holds, for so long that somebody was told.
async fn held_for_long(house: &House, org: &Org, wave: WaveId, of: &[Serial]) {
    let mut batch = Batch::new();
    let (store, own) = (house.mdm.store(), house.org);
    for of in of {
        let mut attempt = member(org, wave, of).await;
        let id = attempt.device.0;
        let mut enrolment = Enrollment::pending(
            own,
            EnrollmentId(id),
            format!("UDID-{of}"),
            ChannelKind::Device,
            "ab".to_owned(),
            START,
        );
        enrolment.state = EnrollmentState::Enrolled;
        enrolment.device = Some(attempt.device);
        enrolment.serial = Some(of.clone());
        let verdict = Verdict {
            kind: VerdictKind::Migration,
            reasons: Vec::new(),
        };
        let mut set_up = SetUp::begin(
            own,
            SetUpId(id),
            &enrolment,
            Platform::Ios,
            Some(attempt.id),
            attempt.runbook,
            verdict,
            START,
        );
        set_up.state = SetUpState::Holding {
            since: START,
            steps: BTreeMap::new(),
        };
        set_up.hold_began = Some(START);
        set_up.attention = Some(Attention::HoldLong);
        (set_up.wake_at, set_up.ceiling_at) = (None, None);
        attempt.state = MoveState::Moving {
            since: START,
            set_up: SetUpId(id),
        };
        attempt.wake_at = None;
        let device = store.device(own, attempt.device).await.unwrap();
        let mut device = device.unwrap();
        device.enrollment = Some(EnrollmentId(id));
        batch.put(device).put(enrolment).put(set_up).put(attempt);
    }
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_wave_stops_when_devices_are_held_for_long() {
    let house = House::new().await;
    let mut stop = StopRule::default();
    (stop.long_holds, stop.expiries) = (2, false);
    let change = ProjectChange {
        stop: Some(stop),
        ..ProjectChange::default()
    };
    let four = phones(4);
    let (org, _, pilot) = pilot(&house, 10, &change, &four).await;
    accepted(&org, pilot).await.unwrap();
    let stands = async || {
        house.clock.advance(Duration::from_secs(301));
        house.mdm.work(50).await.unwrap();
        org.standing(pilot).await.unwrap()
    };
    held_for_long(&house, &org, pilot, &four[..1]).await;
    let standing = stands().await;
    assert_eq!(standing.tally.long_holds, 1);
    assert_eq!(standing.wave.paused, None, "one is fewer than two");
    held_for_long(&house, &org, pilot, &four[1..2]).await;
    let standing = stands().await;
    assert_eq!(standing.tally.long_holds, 2);
    let paused = standing.wave.paused.unwrap();
    assert_eq!(
        (paused.by.as_str(), paused.why.as_str()),
        ("stop rule", "2 devices are held for long")
    );
    // Whoever has it go on knew of these; one more stops it only together with another.
    org.pause_wave(pilot, false, "they are being seen to", true)
        .await
        .unwrap();
    assert_eq!(stands().await.wave.paused, None);
    held_for_long(&house, &org, pilot, &four[2..3]).await;
    assert_eq!(stands().await.wave.paused, None);
    held_for_long(&house, &org, pilot, &four[3..]).await;
    assert!(stands().await.wave.paused.is_some());
}

#[tokio::test]
async fn drift_names_limits_of_the_gap_and_services_that_are_left() {
    let house = House::new().await;
    let (org, id, pilot) = pilot(&house, 4, &ProjectChange::default(), &phones(1)).await;
    accepted(&org, pilot).await.unwrap();
    assert!(org.standing(pilot).await.unwrap().drift.is_empty());
    let mut limits = GapLimits::default();
    limits.each_group = Some(3);
    let change = ProjectChange {
        gap: Some(limits),
        originals: Some(BTreeSet::from(["THEIRS".to_owned()])),
        ..ProjectChange::default()
    };
    org.change_project(id, &change).await.unwrap();
    let drift = org.standing(pilot).await.unwrap().drift;
    for part in ["another limit of the gap", "another list of services"] {
        assert!(drift.iter().any(|d| d.contains(part)), "{drift:?}");
    }
    // One that was pinned before these were says nothing of them.
    let store = house.mdm.store();
    let mut row = store.wave(house.org, pilot).await.unwrap().unwrap();
    let plan = row.plan.as_mut().unwrap();
    (plan.gap, plan.originals) = (None, None);
    let old: mdm_core::project::PinnedPlan =
        serde_json::from_value(serde_json::to_value(&*plan).unwrap()).unwrap();
    assert_eq!(old, *plan);
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let drift = org.standing(pilot).await.unwrap().drift;
    assert_eq!(drift.len(), 1, "{drift:?}");
}

#[tokio::test]
async fn another_ade_profile_than_the_one_of_the_submission_is_drift() {
    let house = House::new().await;
    let (org, _, pilot) = pilot(&house, 4, &ProjectChange::default(), &phones(1)).await;
    // Of a draft nothing was submitted; and what it need not do is a pass.
    let prerequisites = finding(&org, pilot, &serial(0), Check::Prerequisites).await;
    assert_eq!(prerequisites.result, CheckResult::Pass);
    accepted(&org, pilot).await.unwrap();
    let drift = async || {
        let all = house.org().await.standing(pilot).await.unwrap().drift;
        all.iter().filter(|d| d.contains("ADE profile")).count()
    };
    assert_eq!(drift().await, 0);
    let mut own = AdeOptions::default();
    own.department = Some("Shops".to_owned());
    org.set_wave_ade_profile(pilot, Some(&own)).await.unwrap();
    assert_eq!(drift().await, 1);
    org.set_wave_ade_profile(pilot, None).await.unwrap();
    assert_eq!(drift().await, 0);
    // Without one of its own the organisation's counts.
    org.set_ade_profile(&own).await.unwrap();
    assert_eq!(drift().await, 1);
}
