//! A device that left Apple's list and says nothing more: it has moved once it is silent for long enough and was asked, and not where
//! the list itself was given up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mdm_core::clock::Timestamp;
use mdm_core::device::DeviceRecord;
use mdm_core::error::PortError;
use mdm_core::ids::{HandOffId, Serial};
use mdm_core::secret::Secret;
use mdm_core::service::ports::testing::{AssignmentPart, account_of};
use mdm_core::service::ports::{Account, DevicePage, Ports, ServerCredential};
use mdm_core::store::Batch;

use super::house::House;
use super::{HOUR, agreed, both_later, checks_out, close, days, handed, knows, leaves_the_list};
use super::{now, open, reaching, wakes, within};

/// Apple's list of the original: its devices, and those of which a page of changes says that they have left.
#[derive(Default)]
pub(super) struct List {
    pub(super) left: Mutex<Vec<Serial>>,
    /// Of how many of them a page of changes has told.
    told: AtomicUsize,
}

impl List {
    /// A server that has this list and reaches other installations.
    pub(super) async fn open() -> (Arc<Self>, House) {
        let list = Arc::new(Self::default());
        let ports = Ports {
            assignment: list.clone(),
            ..reaching()
        };
        (list, House::open_with(ports, None).await)
    }
}

#[async_trait::async_trait]
impl AssignmentPart for List {
    fn refusal(&self) -> PortError {
        PortError::retry("not now")
    }

    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Ok(account_of("one", "one"))
    }

    async fn fetch(
        &self,
        to: &ServerCredential,
        _: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let left = self.left.lock().unwrap();
        let all = ["DOORA", "DOORB"].map(|serial| Serial::parse(serial).unwrap());
        let here = all.into_iter().filter(|serial| !left.contains(serial));
        Ok(page(here.map(|serial| (serial, listed(to, now))).collect()))
    }

    async fn sync(
        &self,
        to: &ServerCredential,
        _: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let left = self.left.lock().unwrap().clone();
        let told = self.told.swap(left.len(), Ordering::Relaxed);
        let gone = |serial| {
            let mut record = listed(to, now);
            record.gone = true;
            record.op_date = Some(now);
            (serial, record)
        };
        Ok(page(left.into_iter().skip(told).map(gone).collect()))
    }
}

fn listed(to: &ServerCredential, now: Timestamp) -> DeviceRecord {
    let mut record = DeviceRecord::new(to.server, now);
    record.family = "iPhone".to_owned();
    record.profile_status = "empty".to_owned();
    record
}

fn page(devices: Vec<(Serial, DeviceRecord)>) -> DevicePage {
    DevicePage {
        devices,
        cursor: "cursor".to_owned(),
        more: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_check_out_is_lost_is_handed_over_once_it_is_silent() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    old.enrolled().await;
    // It leaves our list, and nothing was agreed on yet.
    leaves_the_list(&old, &serial).await;
    both_later(&old, &new, HOUR).await;
    agreed(&old, &new, within(30)).await;
    let moved = async || {
        let org = now(&old).await;
        let report = Box::pin(org.device_report(&serial)).await.unwrap();
        (report.moved.is_some(), report.device.handed_over.is_some())
    };
    // It may still be on its way: Apple takes it from our list at once, and moves it within weeks.
    days(&old, &new, 6).await;
    assert_eq!(moved().await, (false, false));
    assert!(!knows(&new.org, &serial).await);
    days(&old, &new, 2).await;
    assert_eq!(moved().await, (true, true));
    assert!(knows(&new.org, &serial).await);
    days(&old, &new, 2).await;
    assert_eq!(handed(&old).await, 1);
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_changes_alone_has_a_device_handed_over_whose_check_out_never_comes() {
    let (list, old) = List::open().await;
    let new = open().await;
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    old.enrolled().await;
    let token = Secret::from_text("one");
    old.org.import_server_token(&token, None).await.unwrap();
    agreed(&old, &new, within(30)).await;
    both_later(&old, &new, HOUR).await;
    let known = async || {
        let org = now(&old).await;
        let report = Box::pin(org.device_report(&serial)).await.unwrap();
        let gone = report.device.record.is_some_and(|record| record.gone);
        (gone, report.moved.is_some(), knows(&new.org, &serial).await)
    };
    assert_eq!(known().await, (false, false, false));
    list.left.lock().unwrap().push(serial.clone());
    for day in 1..=6 {
        days(&old, &new, 1).await;
        assert_eq!(known().await, (true, false, false), "day {day}");
    }
    days(&old, &new, 2).await;
    assert_eq!(known().await, (true, true, true));
    // The list is read again every day, and nothing is brought a second time.
    days(&old, &new, 5).await;
    assert_eq!(handed(&old).await, 1);
    let jobs = new.org.hand_offs(HandOffId(0), 10).await.unwrap();
    assert_eq!(jobs.len(), 1);
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_away_for_days_asks_before_it_takes_a_device_for_moved() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    old.enrolled().await;
    agreed(&old, &new, within(60)).await;
    leaves_the_list(&old, &serial).await;
    both_later(&old, &new, HOUR).await;
    // Nothing runs for nine days; then it looks again and again, and asks.
    both_later(&old, &new, HOUR * 24 * 9).await;
    days(&old, &new, 1).await;
    assert!(!knows(&new.org, &serial).await, "nobody had asked it");
    days(&old, &new, 2).await;
    assert!(knows(&new.org, &serial).await);
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_server_entry_was_given_up_has_not_moved_and_nothing_of_it_goes_anywhere() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    let device = old.enrolled().await;
    let (id, store) = (old.org.organisation().id, old.app.mdm.store());
    let row = store.device_by_serial(id, &serial).await.unwrap();
    let mut row = row.unwrap();
    let record = row.record.as_mut().unwrap();
    (record.gone, record.given_up) = (true, true);
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    checks_out(&old, &device).await;
    // Neither at once, nor when what left before the agreement is looked through.
    agreed(&old, &new, within(60)).await;
    days(&old, &new, 2).await;
    let org = now(&old).await;
    let report = Box::pin(org.device_report(&serial)).await.unwrap();
    assert!(report.moved.is_none() && report.device.moved_away.is_none());
    assert!(report.device.handed_over.is_none());
    assert!(!knows(&new.org, &serial).await);
    assert_eq!(handed(&old).await, 0);
    close([old, new]).await;
}
