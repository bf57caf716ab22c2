//! Nobody is left in a hold because its set-up is over or cannot be read: such a device is released late, over the same wire.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use std::time::Duration;

use fixtures::recorded::StandIn;
use house::{House, check_in};
use mdm_core::ids::{AuditId, RunbookId, Serial};
use mdm_core::migration::SetUp;
use mdm_core::store::Batch;

const WAITS: &str = "<key>AwaitingConfiguration</key><true/>";
const WAITS_NOT: &str = "<key>AwaitingConfiguration</key><false/>";

async fn tell(house: &House, device: &StandIn, message: &str, more: &str) {
    let body = check_in(house.serial, message, more);
    let (status, said) = house.send(house.signed("checkin", device, body)).await;
    assert_eq!(status, 200, "{message}: {said}");
}

/// The next command for an idle device.
async fn next(house: &House, device: &StandIn) -> String {
    let (status, command) = house.send(house.idle(device)).await;
    assert_eq!(status, 200, "{command}");
    command
}

async fn set_up(house: &House) -> SetUp {
    let serial = Serial::parse(house.serial).unwrap();
    let report = house.org.device_report(&serial).await.unwrap();
    report.set_up.unwrap()
}

async fn late_releases(house: &House) -> usize {
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let record = store.audit(id, AuditId(0), 1000).await.unwrap();
    record
        .iter()
        .filter(|e| e.what == "hold.late-release")
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_waits_after_its_set_up_has_ended_is_released_each_time_it_says_so() {
    let house = House::open().await;
    let device = house.enrolled().await;
    tell(&house, &device, "CheckOut", "").await;
    assert!(set_up(&house).await.is_ended());
    // It comes back without a new Authenticate, and does not wait: nothing to release.
    tell(&house, &device, "TokenUpdate", WAITS_NOT).await;
    assert_eq!(late_releases(&house).await, 0);
    let command = next(&house, &device).await;
    assert!(!command.contains("DeviceConfigured"), "{command}");
    for time in 1..=2 {
        tell(&house, &device, "TokenUpdate", WAITS).await;
        assert_eq!(late_releases(&house).await, time);
        let command = next(&house, &device).await;
        assert!(command.contains("DeviceConfigured"), "{command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_runbook_cannot_be_read_is_released_at_its_ceiling() {
    let house = House::open().await;
    let device = house.invited(house.serial, 1).await;
    tell(&house, &device, "Authenticate", "").await;
    tell(&house, &device, "TokenUpdate", WAITS).await;
    let mut row = set_up(&house).await;
    let ceiling = row.ceiling_at.expect("a hold has a ceiling");
    row.runbook = RunbookId(4_711);
    let mut batch = Batch::new();
    batch.put(row);
    house.app.mdm.store().commit(batch).await.unwrap();
    let command = next(&house, &device).await;
    assert!(!command.contains("DeviceConfigured"), "{command}");
    house.clock.set(ceiling);
    // Runner and watchdog share one release; whichever is first.
    house.app.mdm.work(100).await.unwrap();
    house.app.mdm.watch(100).await.unwrap();
    house.clock.advance(Duration::from_secs(300));
    house.app.mdm.work(100).await.unwrap();
    let command = next(&house, &device).await;
    assert!(command.contains("DeviceConfigured"), "{command}");
}
