//! Devices that the organisation API assigns to us and that our list does not show: the whole list is read for them, once in a day.

use std::time::Duration;

use mdm_core::clock::Clock as _;
use mdm_core::device::{Device, OrgReading};
use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::failure::FailureMode;
use mdm_core::ids::{AuditId, DeviceId, EnrollmentId, SecretId, Serial, ServerId};
use mdm_core::secret::Secret;
use mdm_core::service::Org;
use mdm_core::store::{AuditStore as _, Batch, DeviceStore as _, Store as _, WaveStore as _};
use mdm_core::views::Contradiction;
use mdm_core::wave::Server;

use crate::script::{DAY, MINUTE, Page, Stage};

const HOUR: Duration = Duration::from_secs(3600);

/// How many devices of ours are noted that the list lacks.
async fn noted(stage: &Stage) -> usize {
    let servers = stage.store.servers(stage.organisation).await.unwrap();
    servers.iter().map(|server| server.missing.len()).sum()
}

/// Devices that somebody has put into plans, and that no list has shown.
async fn planned(stage: &Stage, names: &[&str]) -> Vec<Serial> {
    let mut batch = Batch::new();
    let mut serials = Vec::new();
    for (name, id) in names.iter().zip(100..) {
        let serial = Serial::parse(name).unwrap();
        batch.put(Device::new(
            stage.organisation,
            DeviceId(id),
            serial.clone(),
        ));
        serials.push(serial);
    }
    stage.store.commit(batch).await.unwrap();
    serials
}

/// A list that was read, without the device that somebody has put into a plan.
async fn stage() -> (Stage, Org, Serial) {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    stage.server("one").await;
    let key = Secret::from_text("key");
    let org = stage.org().await;
    org.import_api("BUSINESSAPI.1", "k", &key).await.unwrap();
    // As it is since.
    let org = stage.org().await;
    stage.pass(MINUTE).await;
    let lost = Serial::parse("LOST").unwrap();
    let device = Device::new(stage.organisation, DeviceId(77), lost.clone());
    let mut batch = Batch::new();
    batch.put(device);
    stage.store.commit(batch).await.unwrap();
    *stage.script.assigned_to.lock().unwrap() = Some("one");
    (stage, org, lost)
}

impl Stage {
    /// How often the list was begun from its beginning.
    fn whole(&self) -> usize {
        let asked = self.script.asked.lock().unwrap();
        asked.iter().filter(|asked| *asked == "fetch -").count()
    }
}

#[tokio::test]
async fn a_list_that_lacks_a_device_of_ours_is_read_whole_once_a_day() {
    let (stage, org, lost) = stage().await;
    let asks = async || drop(org.pull(std::slice::from_ref(&lost)).await.unwrap());
    let told = async || {
        let views = org.views(&lost).await.unwrap();
        views.contradictions == [Contradiction::AssignedButNotListed]
    };
    let read = stage.whole();
    asks().await;
    // The next changes may bring it, and Apple may be slow: an hour goes by.
    stage.pass(50 * MINUTE).await;
    assert_eq!(stage.whole(), read);
    assert!(told().await);
    let full: [Page; 2] = [(&["A"], &[], false), (&["A"], &[], false)];
    stage.script.full.lock().unwrap().extend(full);
    stage.pass(30 * MINUTE).await;
    assert_eq!(stage.whole(), read + 1);
    // The whole list does not have it either: that is shown, with all three views, and the list is left alone for the day.
    for _ in 0..8 {
        stage.clock.advance(MINUTE);
        asks().await;
        stage.pass(2 * HOUR).await;
    }
    assert_eq!(stage.whole(), read + 1);
    assert!(told().await);
    stage.pass(DAY).await;
    let daily = stage.whole();
    asks().await;
    let full: [Page; 1] = [(&["A", "LOST"], &[], false)];
    stage.script.full.lock().unwrap().extend(full);
    stage.pass(2 * HOUR).await;
    assert_eq!(stage.whole(), daily + 1);
    assert!(!told().await && !stage.gone("LOST").await);
    let mut shown = org.failures_of(&lost).await.unwrap();
    shown.retain(|failure| failure.mode == FailureMode::NotListed);
    assert!(shown.is_empty(), "{shown:?}");
}

#[tokio::test]
async fn a_device_that_the_next_changes_bring_costs_no_whole_list() {
    let (stage, org, lost) = stage().await;
    let read = stage.whole();
    org.pull(&[lost]).await.unwrap();
    let changes: [Page; 1] = [(&["LOST"], &[], false)];
    stage.script.changes.lock().unwrap().extend(changes);
    stage.pass(3 * HOUR).await;
    assert_eq!(stage.whole(), read);
    // Nor does one that another service has by now.
    *stage.script.assigned_to.lock().unwrap() = Some("theirs");
    let away = Serial::parse("AWAY").unwrap();
    let mut batch = Batch::new();
    batch.put(Device::new(stage.organisation, DeviceId(78), away.clone()));
    stage.store.commit(batch).await.unwrap();
    org.pull(&[away]).await.unwrap();
    stage.pass(3 * HOUR).await;
    assert_eq!(stage.whole(), read);
}

#[tokio::test]
async fn a_device_that_has_come_makes_room_for_the_next_that_has_not() {
    let (stage, org, lost) = stage().await;
    let read = stage.whole();
    org.pull(std::slice::from_ref(&lost)).await.unwrap();
    assert_eq!(noted(&stage).await, 1);
    let changes: [Page; 1] = [(&["LOST"], &[], false)];
    stage.script.changes.lock().unwrap().extend(changes);
    // The list is read more often than once in the hour that a device is given to come.
    stage.pass(40 * MINUTE).await;
    assert_eq!(noted(&stage).await, 0);
    let out = Serial::parse("OUT").unwrap();
    let mut batch = Batch::new();
    batch.put(Device::new(stage.organisation, DeviceId(78), out.clone()));
    stage.store.commit(batch).await.unwrap();
    org.pull(&[out]).await.unwrap();
    assert_eq!(noted(&stage).await, 1);
    let full: [Page; 1] = [(&["A", "LOST", "OUT"], &[], false)];
    stage.script.full.lock().unwrap().extend(full);
    stage.pass(2 * HOUR).await;
    assert_eq!(stage.whole(), read + 1);
    assert_eq!(noted(&stage).await, 0);
}

#[tokio::test]
async fn several_devices_that_a_list_lacks_are_waited_for_together_and_one_whole_list_settles_them()
{
    let (stage, org, lost) = stage().await;
    let mut all = planned(&stage, &["OUT1", "OUT2", "OUT3"]).await;
    all.push(lost);
    let read = stage.whole();
    org.pull(&all).await.unwrap();
    assert_eq!(noted(&stage).await, 4);
    // Read once more, nobody is noted twice.
    org.pull(&all).await.unwrap();
    assert_eq!(noted(&stage).await, 4);
    // One comes with the next changes, and costs the others no time.
    let changes: [Page; 1] = [(&["LOST"], &[], false)];
    stage.script.changes.lock().unwrap().extend(changes);
    stage.pass(40 * MINUTE).await;
    assert_eq!((noted(&stage).await, stage.whole()), (3, read));
    let full: [Page; 1] = [(&["A", "LOST", "OUT1", "OUT2"], &[], false)];
    stage.script.full.lock().unwrap().extend(full);
    stage.pass(40 * MINUTE).await;
    assert_eq!((noted(&stage).await, stage.whole()), (0, read + 1));
    for (serial, listed) in all.iter().zip([true, true, false, true]) {
        let shown = org.views(serial).await.unwrap().contradictions;
        let lacks = shown.contains(&Contradiction::AssignedButNotListed);
        assert_eq!(lacks, !listed, "{serial}: {shown:?}");
    }
    // The one that is missing still waits for the next day.
    org.pull(&all).await.unwrap();
    assert_eq!(noted(&stage).await, 0);
    stage.pass(2 * HOUR).await;
    assert_eq!(stage.whole(), read + 1);
}

#[tokio::test]
async fn no_more_than_a_hundred_are_noted_and_the_whole_list_brings_the_others_too() {
    let (stage, org, _) = stage().await;
    let names: Vec<&'static str> = (0..130)
        .map(|n| &*Box::leak(format!("OUT{n:03}").into_boxed_str()))
        .collect();
    let all = planned(&stage, &names).await;
    let read = stage.whole();
    for serials in all.chunks(5) {
        org.pull(serials).await.unwrap();
    }
    assert_eq!(noted(&stage).await, 100);
    let mut list = names;
    list.push("A");
    let list: &'static [&'static str] = Box::leak(list.into_boxed_slice());
    stage
        .script
        .full
        .lock()
        .unwrap()
        .push_back((list, &[], false));
    stage.pass(2 * HOUR).await;
    assert_eq!((noted(&stage).await, stage.whole()), (0, read + 1));
    for serial in &all {
        assert!(!stage.gone(serial.as_str()).await, "{serial}");
    }
}

#[tokio::test]
async fn a_device_that_had_checked_out_and_leaves_the_list_is_in_the_record_as_moved() {
    let stage = Stage::new(&[(&["A", "B", "C"], &[], false)]).await;
    stage.server("one").await;
    stage.pass(MINUTE).await;
    let row = async |serial: &str| {
        let serial = Serial::parse(serial).unwrap();
        let device = stage.store.device_by_serial(stage.organisation, &serial);
        device.await.unwrap().unwrap()
    };
    // Two have been here and checked out; another one never came.
    let mut batch = Batch::new();
    for (id, serial) in [(71, "A"), (72, "C")] {
        let mut enrolment = Enrollment::pending(
            stage.organisation,
            EnrollmentId(id),
            format!("UDID-{serial}"),
            ChannelKind::Device,
            format!("ab{id}"),
            stage.clock.now(),
        );
        enrolment.device = Some(row(serial).await.id);
        enrolment.state = EnrollmentState::CheckedOut;
        enrolment.ended = Some(stage.clock.now());
        batch.put(enrolment);
    }
    // One of them goes to another entry of ours.
    let two = (ServerId(73), SecretId(74));
    batch.put(Server::new(stage.organisation, two.0, "two", "two", two.1));
    let mut stays = row("C").await;
    let mut reading = OrgReading::default();
    reading.seen = stage.clock.now();
    reading.assigned_server = Some("two".to_owned());
    stays.reading = Some(reading);
    batch.put(stays);
    stage.store.commit(batch).await.unwrap();
    let changes: [Page; 1] = [(&[], &["A", "B", "C"], false)];
    stage.script.changes.lock().unwrap().extend(changes);
    stage.pass(HOUR).await;
    for serial in ["A", "B", "C"] {
        assert!(stage.gone(serial).await, "{serial}");
    }
    assert!(row("A").await.moved_away.is_some());
    for serial in ["B", "C"] {
        assert_eq!(row(serial).await.moved_away, None, "{serial}");
    }
    let record = stage.store.audit(stage.organisation, AuditId(0), 1_000);
    let record = record.await.unwrap();
    let marked = record.iter().filter(|e| e.what == "device.moved-away");
    let marked: Vec<_> = marked.map(|e| e.device).collect();
    assert_eq!(marked, [Some(row("A").await.id)]);
}

#[tokio::test]
async fn what_a_device_said_before_it_left_the_list_is_old_when_it_is_listed_again() {
    let stage = Stage::new(&[(&["A", "B"], &[], false)]).await;
    stage.server("one").await;
    stage.pass(MINUTE).await;
    // Both are enrolled here, and no CheckOut ever comes.
    let mut batch = Batch::new();
    for (id, serial) in [(71, "A"), (72, "B")] {
        let mut device = stage.device(serial).await;
        device.enrollment = Some(EnrollmentId(id));
        batch.put(device);
    }
    stage.store.commit(batch).await.unwrap();
    let before = stage.clock.now();
    assert!(stage.device("A").await.ours_since().unwrap() < before);
    let changes: [Page; 2] = [(&[], &["A"], false), (&["A"], &[], false)];
    stage.script.changes.lock().unwrap().extend(changes);
    stage.pass(HOUR * 5).await;
    let listed_again = stage.device("A").await;
    assert!(!listed_again.record.as_ref().unwrap().gone);
    assert!(listed_again.enrollment.is_some() && listed_again.moved_away.is_none());
    assert!(listed_again.ours_since().unwrap() > before);
    assert!(stage.device("B").await.ours_since().unwrap() < before);
}
