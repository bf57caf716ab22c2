//! Whom the ADE profile of a device that did not wait concerns: who is to come with the same one.

use mdm_core::device::{DeviceRecord, Platform};
use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::failure::{Confidence, FailureMode};
use mdm_core::ids::{EnrollmentId, MoveId, SetUpId, WaveId};
use mdm_core::migration::{Attention, MoveState, SetUp, Verdict, VerdictKind};
use mdm_core::store::Batch;

use super::service_house::House;
use super::{DAY, serial, wave};

/// Apple's list names this ADE profile for members.
async fn has_profile(house: &House, members: &[usize], profile: &str) {
    let store = house.mdm.store();
    let mut batch = Batch::new();
    for n in members {
        let device = store
            .device_by_serial(house.org, &serial(*n))
            .await
            .unwrap();
        let mut device = device.unwrap();
        let mut record = DeviceRecord::new(house.server, house.mdm.now());
        record.profile_uuid = Some(profile.to_owned());
        device.record = Some(record);
        // We have asked for it now.
        device.assignment.asked = Some(house.mdm.now());
        batch.put(device);
    }
    store.commit(batch).await.unwrap();
}

/// A member enrols now, and does not wait.
async fn does_not_wait(house: &House, wave: WaveId, of: usize) {
    let (org, store) = (house.org().await, house.mdm.store());
    let members = org.members(wave).await.unwrap();
    let mut attempt = members
        .into_iter()
        .find(|m| m.serial == serial(of))
        .unwrap();
    let (id, now) = (house.next_id(), house.mdm.now());
    let mut enrolment = Enrollment::pending(
        house.org,
        EnrollmentId(id),
        format!("UDID-{of}"),
        ChannelKind::Device,
        "ab".to_owned(),
        now,
    );
    enrolment.state = EnrollmentState::Enrolled;
    enrolment.enrolled = Some(now);
    enrolment.device = Some(attempt.device);
    enrolment.serial = Some(attempt.serial.clone());
    let verdict = Verdict {
        kind: VerdictKind::Migration,
        reasons: Vec::new(),
    };
    let mut set_up = SetUp::begin(
        house.org,
        SetUpId(id),
        &enrolment,
        Platform::Ios,
        Some(attempt.id),
        attempt.runbook,
        verdict,
        now,
    );
    set_up.enrolled = Some(now);
    set_up.attention = Some(Attention::NotAwaiting);
    (set_up.wake_at, set_up.ceiling_at) = (None, None);
    attempt.enrolled_as = Some(SetUpId(id));
    attempt.state = MoveState::Moving {
        since: now,
        set_up: SetUpId(id),
    };
    attempt.wake_at = None;
    let mut device = store
        .device(house.org, attempt.device)
        .await
        .unwrap()
        .unwrap();
    device.enrollment = Some(EnrollmentId(id));
    let mut batch = Batch::new();
    batch.put(device).put(enrolment).put(set_up).put(attempt);
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn the_ade_profile_of_a_device_that_did_not_wait_concerns_who_is_to_come_with_it() {
    let house = House::new().await;
    let pilot = wave(&house, 4).await;
    let org = house.org().await;
    has_profile(&house, &[0, 1, 2], "P1").await;
    has_profile(&house, &[3], "P2").await;
    // Of a project's other wave.
    let project = org.standing(pilot).await.unwrap().wave.project.unwrap();
    let main = org.new_wave(project, "main", None).await.unwrap().id;
    let other = [serial(2)];
    org.move_members(pilot, main, &other).await.unwrap();
    house.clock.advance(DAY);
    let warned = async |n: usize| {
        let failures = Box::pin(org.failures_of(&serial(n))).await.unwrap();
        let of = failures.iter().find(|f| f.mode == FailureMode::NotAwaiting);
        of.map(|f| f.confidence)
    };
    assert_eq!(warned(1).await, None);
    house.clock.advance(DAY);
    does_not_wait(&house, pilot, 0).await;
    assert_eq!(warned(0).await, Some(Confidence::Likely));
    assert_eq!(warned(1).await, Some(Confidence::Possible));
    assert_eq!(
        warned(2).await,
        Some(Confidence::Possible),
        "of another wave"
    );
    assert_eq!(warned(3).await, None, "it has another profile");
    let told = async |wave| {
        let told = Box::pin(org.failures_of_wave(wave, MoveId(0), 100))
            .await
            .unwrap();
        let banners = told
            .banners
            .iter()
            .filter(|f| f.mode == FailureMode::NotAwaiting);
        let banners: Vec<String> = banners.map(|banner| format!("{banner:?}")).collect();
        (banners, told.counts.get(&FailureMode::NotAwaiting).copied())
    };
    let (banners, count) = told(pilot).await;
    assert_eq!((banners.len(), count), (1, Some(2)), "{banners:?}");
    assert!(
        banners[0].contains("1 of the 2 members with the ADE profile P1"),
        "{banners:?}"
    );
    let (banners, count) = told(main).await;
    assert_eq!((banners.len(), count), (1, Some(1)), "{banners:?}");
    assert!(
        banners[0].contains("1 member here that is to come"),
        "{banners:?}"
    );

    // It is defined anew, and everybody gets the new one, also who did not wait: nothing speaks against that.
    house.clock.advance(DAY);
    has_profile(&house, &[0, 1, 2], "P3").await;
    for n in [1, 2, 3] {
        assert_eq!(warned(n).await, None, "{n}");
    }
    assert_eq!(told(main).await, (Vec::new(), None));
    // Of the new one somebody learns the same, and it is forgotten after a month.
    house.clock.advance(DAY);
    does_not_wait(&house, main, 2).await;
    assert_eq!(warned(1).await, Some(Confidence::Possible));
    house.clock.advance(DAY * 31);
    assert_eq!(warned(1).await, None);
}
