//! Once for each time that a device leaves: neither another agreement nor another job brings what was brought, and a device that
//! came back and leaves again is brought again.

use std::time::Duration;

use fixtures::recorded::StandIn;
use mdm_core::ids::{AuditId, HandOffId, Serial};
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::store::Batch;

use super::house::{House, check_in};
use super::silent::List;
use super::{HOUR, agree, agreed, both_later, checks_out, code, days, hand_on, handed, knows};
use super::{leaves_the_list, now, open, tells_its_code, told, wakes, within};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_another_agreement_nor_another_job_brings_what_was_brought() {
    let (old, new, third) = (open().await, open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    let device = enrols(&old, 1).await;
    tells_its_code(&old, &device, "CODE-ONE").await;
    let token = agreed(&old, &new, within(90)).await;
    checks_out(&old, &device).await;
    leaves_the_list(&old, &serial).await;
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
    for house in [old, new, third] {
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_came_back_and_leaves_again_is_handed_over_again() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    let device = enrols(&old, 1).await;
    tells_its_code(&old, &device, "CODE-ONE").await;
    agreed(&old, &new, within(90)).await;
    checks_out(&old, &device).await;
    leaves_the_list(&old, &serial).await;
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
    checks_out(&old, &device).await;
    leaves_the_list(&old, &serial).await;
    both_later(&old, &new, HOUR).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (2, 2));
    assert_eq!(codes(&new, &serial).await, ("CODE-TWO".to_owned(), 1, 2));
    days(&old, &new, 2).await;
    assert_eq!((handed(&old).await, jobs(&new).await), (2, 2));
    let record = store.audit(id, AuditId(0), 5000).await.unwrap();
    let moved = record.iter().filter(|e| e.what == "device.moved-away");
    assert_eq!(moved.count(), 2, "the record has both times");
    old.close().await;
    new.close().await;
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
    old.close().await;
    new.close().await;
}
