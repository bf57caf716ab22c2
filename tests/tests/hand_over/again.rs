//! Once for each time that a device leaves: neither another agreement nor another job brings what was brought, and a device that
//! came back and leaves again is brought again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixtures::recorded::StandIn;
use mdm_core::clock::Timestamp;
use mdm_core::device::OrgReading;
use mdm_core::error::PortError;
use mdm_core::ids::{HandOffId, SecretId, Serial, ServerId};
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::ports::testing::OrganisationApiPart;
use mdm_core::service::ports::{ApiKey, Ports};
use mdm_core::store::Batch;
use mdm_core::wave::Server;

use super::house::{House, check_in};
use super::silent::List;
use super::{HOUR, agree, agreed, both_later, close, code, days, hand_on, handed, knows, leaves};
use super::{now, open, reaching, recorded, tells_its_code, told, wakes, within};

/// The device enrols, for the n-th time, and has its first command.
async fn enrols(house: &House, number: u64) -> StandIn {
    // A device has the time of the day on which it comes.
    house.stand_ins.later(house.app.mdm.now().as_millis());
    let device = house.invited(house.serial, number).await;
    for message in ["Authenticate", "TokenUpdate"] {
        let body = check_in(house.serial, message, "");
        let (status, _) = house.send(house.signed("checkin", &device, body)).await;
        assert_eq!(status, 200, "{message}");
    }
    device
}

/// The device enrols and tells its own code where it has one, both sides agree for so many days, and it leaves. Answers the token
/// of the destination that the original has.
async fn left(old: &House, new: &House, own: Option<&str>, agreed_for: u32) -> String {
    let device = enrols(old, 1).await;
    if let Some(own) = own {
        tells_its_code(old, &device, own).await;
    }
    let token = agreed(old, new, within(agreed_for)).await;
    leaves(old, &device).await;
    token
}

/// The code that the destination has of it, and how many such codes are in its vault: those that count, and all.
async fn codes(house: &House, serial: &Serial) -> (String, usize, usize) {
    let shown = code(house, serial).await;
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let device = store.device_by_serial(id, serial).await.unwrap().unwrap();
    let mut all = store.secrets(id, device.id).await.unwrap();
    all.retain(|secret| secret.kind == SecretKind::OriginalDeviceBypassCode);
    let living = all.iter().filter(|secret| secret.replaced.is_none());
    (shown, living.count(), all.len())
}

async fn jobs(house: &House) -> usize {
    let all = house.org.hand_offs(HandOffId(0), 100).await.unwrap();
    all.len()
}

/// Apple shows its device so, a minute from now.
async fn shows(old: &House, what: &(dyn Fn(&mut OrgReading) + Sync)) {
    let (store, id) = (old.app.mdm.store(), old.org.organisation().id);
    let serial = Serial::parse(old.serial).unwrap();
    let mut row = store.device_by_serial(id, &serial).await.unwrap().unwrap();
    let mut reading = OrgReading::default();
    reading.seen = old.app.mdm.now() + HOUR / 60;
    what(&mut reading);
    row.reading = Some(reading);
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_another_agreement_nor_another_job_brings_what_was_brought() {
    let (old, new, third) = (open().await, open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    let token = left(&old, &new, Some("CODE-ONE"), 90).await;
    both_later(&old, &new, HOUR).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (1, 1));
    let facts = told(&new.org, &serial).await;
    assert_eq!(codes(&new, &serial).await, ("CODE-ONE".to_owned(), 1, 1));

    // Both sides agree anew: everything that left before is looked through, and what was brought stays brought.
    let ours = old.org.hand_off_signer().await.unwrap();
    let source = new
        .org
        .agree_source("Old MDM", &ours.sha256, within(90))
        .await;
    agree(&old, &new, source.unwrap().id, &token).await;
    days(&old, &new, 2).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (1, 1));

    // People make a job for the same devices by hand: it is taken, and nothing of it comes twice.
    hand_on(&old, &new).await;
    assert_eq!(jobs(&new).await, 2);
    assert_eq!(told(&new.org, &serial).await, facts);
    assert_eq!(codes(&new, &serial).await, ("CODE-ONE".to_owned(), 1, 1));
    days(&old, &new, 2).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (1, 2));

    // Nor is it brought to whoever comes next: it went to the one with whom that was agreed then.
    agreed(&old, &third, within(90)).await;
    days(&old, &third, 2).await;
    assert_eq!((handed(&old).await, jobs(&third).await), (1, 0));
    assert!(!knows(&third.org, &serial).await);
    close([old, new, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_came_back_and_leaves_again_is_handed_over_again() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    left(&old, &new, Some("CODE-ONE"), 90).await;
    both_later(&old, &new, HOUR).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (1, 1));

    // It comes back: our list has it, and it enrols. Nobody takes it for moved then.
    days(&old, &new, 3).await;
    let (store, id) = (old.app.mdm.store(), old.org.organisation().id);
    let mut row = store.device_by_serial(id, &serial).await.unwrap().unwrap();
    let record = row.record.as_mut().unwrap();
    (record.gone, record.seen) = (false, old.app.mdm.now());
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let device = enrols(&old, 2).await;
    tells_its_code(&old, &device, "CODE-TWO").await;
    days(&old, &new, 1).await;
    let org = now(&old).await;
    let known = Box::pin(org.device_report(&serial)).await.unwrap();
    assert!(known.moved.is_none(), "{:?}", known.moved);
    assert_eq!((handed(&old).await, jobs(&new).await), (1, 1));
    assert_eq!(codes(&new, &serial).await, ("CODE-ONE".to_owned(), 1, 1));

    // It leaves again, and what it has by now goes with it, once.
    leaves(&old, &device).await;
    both_later(&old, &new, HOUR).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (2, 2));
    assert_eq!(codes(&new, &serial).await, ("CODE-TWO".to_owned(), 1, 2));
    days(&old, &new, 2).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (2, 2));
    let moved = recorded(&old, "device.moved-away").await;
    assert_eq!(moved.len(), 2, "the record has both times");
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_apple_shows_with_no_other_service_is_handed_to_nobody() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    left(&old, &new, Some("CODE-ONE"), 90).await;
    let shows = async |what: &(dyn Fn(&mut OrgReading) + Sync)| shows(&old, what).await;
    // It was sold, or waits for somebody to assign it: its keys are none of the destination's business.
    shows(&|read| read.unknown = true).await;
    both_later(&old, &new, HOUR).await;
    shows(&|read| read.assigned = Some(false)).await;
    days(&old, &new, 1).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (0, 0));
    assert!(!knows(&new.org, &serial).await);
    // Another service has it: then it moved.
    shows(&|read| read.assigned_server = Some("THEIRS".to_owned())).await;
    days(&old, &new, 1).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (1, 1));
    assert_eq!(codes(&new, &serial).await, ("CODE-ONE".to_owned(), 1, 1));
    let told = recorded(&old, "device.handed-over").await;
    assert_eq!(told[0].detail["service"], "THEIRS");
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_read_anew_counts_for_a_day() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    left(&old, &new, Some("CODE-ONE"), 90).await;
    shows(&old, &|read| read.assigned = Some(false)).await;
    days(&old, &new, 1).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (0, 0));
    days(&old, &new, 1).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (1, 1));
    assert_eq!(codes(&new, &serial).await, ("CODE-ONE".to_owned(), 1, 1));
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_entry_that_the_destination_runs_by_now_is_none_of_ours() {
    let (old, new) = (open().await, open().await);
    let (store, id) = (old.app.mdm.store(), old.org.organisation().id);
    let mut batch = Batch::new();
    // Its token came here once.
    batch.put(Server::new(
        id,
        ServerId(77),
        "New MDM",
        "THEIRS",
        SecretId(78),
    ));
    store.commit(batch).await.unwrap();
    left(&old, &new, None, 90).await;
    shows(&old, &|read| {
        read.assigned_server = Some("THEIRS".to_owned())
    })
    .await;
    both_later(&old, &new, HOUR).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (0, 0));
    let mut row = store.server(id, ServerId(77)).await.unwrap().unwrap();
    row.needs_person = Some("the server token is not good any more".to_owned());
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    both_later(&old, &new, HOUR * 7).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (1, 1));
    close([old, new]).await;
}

/// The organisation API of an account that shows each device with no service.
#[derive(Default)]
struct Unassigned {
    /// Devices that were read by themselves, as often as they were.
    read: Mutex<Vec<Serial>>,
    /// How often anything else was asked for, as the lists.
    others: AtomicUsize,
}

#[async_trait::async_trait]
impl OrganisationApiPart for Unassigned {
    fn refusal(&self) -> PortError {
        self.others.fetch_add(1, Ordering::Relaxed);
        PortError::retry("not now")
    }

    async fn read(
        &self,
        _: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        self.read.lock().unwrap().extend(serials.iter().cloned());
        let shown = |serial: &Serial| {
            let mut reading = OrgReading::default();
            reading.seen = now;
            reading.assigned = Some(false);
            (serial.clone(), reading)
        };
        Ok(serials.iter().map(shown).collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_device_is_is_read_once_a_day_and_the_record_says_that_nothing_was_brought() {
    let apple = Arc::new(Unassigned::default());
    let ports = Ports {
        api: apple.clone(),
        ..reaching()
    };
    let (old, new) = (House::open_with(ports, None).await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    let key = Secret::from_text("key");
    old.org
        .import_api("BUSINESSAPI.x", "k", &key)
        .await
        .unwrap();
    left(&old, &new, None, 365).await;
    shows(&old, &|read| read.assigned = Some(false)).await;
    both_later(&old, &new, HOUR).await;
    let times = || {
        apple
            .read
            .lock()
            .unwrap()
            .iter()
            .filter(|s| **s == serial)
            .count()
    };
    assert_eq!(times(), 0, "it is known from an hour ago");
    for day in 1..=3 {
        days(&old, &new, 1).await;
        assert_eq!(times(), day);
    }
    assert_eq!((handed(&old).await, jobs(&new).await), (0, 0));
    let ended = async || recorded(&old, "device.not-handed-over").await;
    assert!(ended().await.is_empty());
    // Nothing is expected any more, and somebody has to know.
    both_later(&old, &new, HOUR * 24 * 121).await;
    days(&old, &new, 1).await;
    let told = ended().await;
    assert_eq!(told.len(), 1, "{told:?}");
    let detail = &told[0].detail;
    assert_eq!(detail["why"], "Apple shows it with no service");
    assert!(
        detail["read"].is_string() && detail["to"].is_string(),
        "{detail}"
    );
    assert_eq!((handed(&old).await, jobs(&new).await), (0, 0));
    assert_eq!(
        apple.others.load(Ordering::Relaxed),
        0,
        "one device is read by itself"
    );
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_changes_alone_has_a_device_handed_over_each_time_that_it_leaves() {
    let (list, old) = List::open().await;
    let new = open().await;
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    enrols(&old, 1).await;
    let token = Secret::from_text("one");
    old.org.import_server_token(&token, None).await.unwrap();
    agreed(&old, &new, within(90)).await;
    both_later(&old, &new, HOUR).await;
    let gone = async || {
        let org = now(&old).await;
        let report = Box::pin(org.device_report(&serial)).await.unwrap();
        report.device.record.is_some_and(|record| record.gone)
    };
    list.left.lock().unwrap().push(serial.clone());
    days(&old, &new, 8).await;
    assert_eq!((gone().await, handed(&old).await), (true, 1));

    // Apple's list has it again, and it enrols; neither time its CheckOut comes.
    list.left.lock().unwrap().clear();
    days(&old, &new, 2).await;
    assert!(!gone().await, "the list was read again");
    enrols(&old, 2).await;
    // Longer than a device that has left may be silent.
    days(&old, &new, 9).await;
    assert_eq!((gone().await, handed(&old).await), (false, 1));
    list.left.lock().unwrap().push(serial.clone());
    days(&old, &new, 6).await;
    assert_eq!((gone().await, handed(&old).await), (true, 1), "on its way");
    days(&old, &new, 2).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (2, 2));
    let silent = Duration::from_secs(5 * 86_400);
    both_later(&old, &new, silent).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (2, 2));
    close([old, new]).await;
}
