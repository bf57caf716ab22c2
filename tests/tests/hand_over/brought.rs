//! What did not arrive is brought again, and what did comes once: a server that is killed behind the delivery, and a destination that
//! does not know the device yet.

use std::sync::Arc;

use mdm_core::device::{Device, DeviceRecord};
use mdm_core::error::PortError;
use mdm_core::ids::{DeviceId, HandOffId, Serial, ServerId};
use mdm_core::service::ports::{HandOver, HandOverTo, Ports};
use mdm_core::store::{Batch, SqliteStore, Store};

use super::house::House;
use super::{HOUR, agreed, both_later, checks_out, close, days, handed, knows, leaves};
use super::{leaves_the_list, open, reaching, told, within};

/// Reaches other installations, and goes no further once a bundle has arrived: as a process that is killed then.
struct Dies {
    arrived: Arc<tokio::sync::Notify>,
}

#[async_trait::async_trait]
impl HandOver for Dies {
    async fn post(&self, to: &HandOverTo, path: &str, body: Vec<u8>) -> Result<Vec<u8>, PortError> {
        let told = mdmd::hand_over::Elsewhere.post(to, path, body).await;
        if path.ends_with("/bundles") {
            assert!(told.is_ok(), "{told:?}");
            self.arrived.notify_one();
            std::future::pending::<()>().await;
        }
        told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_behind_the_delivery_it_hands_over_again_and_nothing_comes_twice() {
    let arrived = Arc::new(tokio::sync::Notify::new());
    let dies = Dies {
        arrived: Arc::clone(&arrived),
    };
    let ports = Ports {
        hand_over: Arc::new(dies),
        ..Ports::refusing()
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let old = House::open_with(ports, Some(Arc::clone(&store))).await;
    let new = open().await;
    let serial = Serial::parse(old.serial).unwrap();
    let device = old.enrolled().await;
    agreed(&old, &new, within(10)).await;
    leaves_the_list(&old, &serial).await;
    checks_out(&old, &device).await;

    // Now it has moved. The process dies between the delivery and its own commit.
    old.clock.advance(HOUR);
    new.clock.advance(HOUR);
    let mdm = old.app.mdm.clone();
    let working = tokio::spawn(async move { while mdm.work(50).await.unwrap() > 0 {} });
    arrived.notified().await;
    working.abort();
    let _ = working.await;
    let done = async || {
        let report = old.org.device_report(&serial).await.unwrap();
        report.device.handed_over.is_some()
    };
    assert!(knows(&new.org, &serial).await && !done().await);
    let facts = told(&new.org, &serial).await;

    // Another process takes it up when the lease of the dead one is over.
    let next = old.process(store, reaching()).await;
    old.clock.advance(HOUR);
    new.clock.advance(HOUR);
    while next.mdm.work(50).await.unwrap() > 0 {}
    assert!(done().await, "it was not taken up again");
    let again = told(&new.org, &serial).await;
    assert_eq!(again, facts, "what came twice changed something");
    let jobs = new.org.hand_offs(HandOffId(0), 10).await;
    assert_eq!(jobs.unwrap().len(), 2, "each time to a key of its own");
    assert_eq!(handed(&old).await, 1);
    next.shutdown().await.unwrap();
    close([old, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_the_destination_does_not_know_yet_is_brought_again() {
    let (mut old, new) = (open().await, open().await);
    old.serial = "DOORX";
    let serial = Serial::parse(old.serial).unwrap();
    let listed = async |house: &House| {
        let id = house.org.organisation().id;
        let mut device = Device::new(id, DeviceId(17), serial.clone());
        device.record = Some(DeviceRecord::new(ServerId(1), house.app.mdm.now()));
        let mut batch = Batch::new();
        batch.put(device);
        house.app.mdm.store().commit(batch).await.unwrap();
    };
    listed(&old).await;
    let device = old.enrolled().await;
    agreed(&old, &new, within(60)).await;
    leaves(&old, &device).await;
    both_later(&old, &new, HOUR).await;
    let jobs = async || new.org.hand_offs(HandOffId(0), 100).await.unwrap().len();
    let done = async || {
        let report = Box::pin(old.org.device_report(&serial)).await.unwrap();
        report.device.handed_over.is_some()
    };
    assert_eq!((jobs().await, done().await), (1, false));
    // Each day once, and not more often.
    days(&old, &new, 2).await;
    assert_eq!((jobs().await, done().await), (3, false));
    assert_eq!(handed(&old).await, 0);
    listed(&new).await;
    days(&old, &new, 2).await;
    assert_eq!((jobs().await, done().await), (4, true));
    assert_eq!(handed(&old).await, 1);
    assert!(knows(&new.org, &serial).await);
    close([old, new]).await;
}
