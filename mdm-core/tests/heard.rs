//! When a device spoke last: known of a poll that changes nothing, written down behind it, and never set back.

mod service_house;

use std::time::Duration;

use mdm_core::clock::Timestamp;
use mdm_core::evidence::{ReportAsk, WholeReport};
use mdm_core::service::Mdm;
use mdm_core::store::SqliteStore;
use service_house::{Gadget, House, START, command};

const IDLE: &str = "<key>Status</key><string>Idle</string>";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_hours(24);

/// Polls until nothing waits for the device.
async fn drain(house: &House, phone: &Gadget) {
    let mut answer = house.report(phone, IDLE).await.unwrap();
    for _ in 0..50 {
        let Some((uuid, _)) = command(&answer) else {
            return;
        };
        let done = format!(
            "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>"
        );
        answer = house.report(phone, &done).await.unwrap();
    }
    panic!("it is asked for ever");
}

fn commits(house: &House) -> u64 {
    house.mdm.store().commit_figures().unwrap().done
}

/// What a process says of when a device spoke last.
async fn heard(mdm: &Mdm, house: &House, phone: &Gadget) -> Option<Timestamp> {
    let org = mdm.organisation_by_id(house.org).await.unwrap();
    org.device_report(&phone.serial).await.unwrap().heard
}

/// As it is written down.
async fn written(house: &House, phone: &Gadget) -> Option<Timestamp> {
    let store = house.mdm.store();
    let device = store.device_by_serial(house.org, &phone.serial).await;
    let id = device.unwrap().unwrap().id;
    let found = store.last_heard(house.org, &[id]).await.unwrap();
    found.first().map(|it| it.at)
}

#[tokio::test]
async fn a_poll_is_known_at_once_and_written_down_behind_it() {
    let house = House::new().await;
    let phone = house.device("C02HEARD01").await;
    house.enrol(&phone).await;
    drain(&house, &phone).await;
    assert_eq!(house.mdm.keep_heard().await.unwrap(), 1);
    assert_eq!(written(&house, &phone).await, Some(START));

    house.clock.advance(2 * MINUTE);
    let before = commits(&house);
    house.report(&phone, IDLE).await.unwrap();
    assert_eq!(
        commits(&house),
        before,
        "a poll with nothing to say is no write"
    );
    let now = START + 2 * MINUTE;
    assert_eq!(heard(&house.mdm, &house, &phone).await, Some(now));

    // Another process learns of it once it is written down.
    let other = house.over(SqliteStore::open(house.path()).await.unwrap());
    assert_eq!(heard(&other, &house, &phone).await, Some(START));
    assert_eq!(house.mdm.keep_heard().await.unwrap(), 1);
    assert_eq!(heard(&other, &house, &phone).await, Some(now));
    assert_eq!(commits(&house), before, "no decision waits for it");
    // There is nothing to write twice.
    assert_eq!(house.mdm.keep_heard().await.unwrap(), 0);

    // A clock that goes back a little takes nothing back.
    house.clock.set(START + MINUTE);
    house.report(&phone, IDLE).await.unwrap();
    house.mdm.keep_heard().await.unwrap();
    assert_eq!(written(&house, &phone).await, Some(now));
    other.store().close().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_was_weeks_ahead_leaves_nobody_heard_for_weeks() {
    let house = House::new().await;
    let phone = house.device("C02HEARD05").await;
    house.enrol(&phone).await;
    drain(&house, &phone).await;
    house.clock.set(START + 21 * DAY);
    house.report(&phone, IDLE).await.unwrap();
    house.mdm.keep_heard().await.unwrap();
    assert_eq!(written(&house, &phone).await, Some(START + 21 * DAY));
    // It is set right, and the device says something.
    let now = START + MINUTE;
    house.clock.set(now);
    house.report(&phone, IDLE).await.unwrap();
    assert_eq!(heard(&house.mdm, &house, &phone).await, Some(now));
    house.mdm.keep_heard().await.unwrap();
    assert_eq!(written(&house, &phone).await, Some(now));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_forgotten() {
    let house = House::new().await;
    let phone = house.device("C02HEARD02").await;
    house.enrol(&phone).await;
    house.mdm.store().close().await.unwrap();
    assert!(house.mdm.keep_heard().await.is_err());
    // Were it forgotten, there would be nothing to write, and no error.
    assert!(house.mdm.keep_heard().await.is_err());
}

#[tokio::test]
async fn a_device_that_polls_is_not_called_silent() {
    let house = House::new().await;
    let (polls, silent) = (
        house.device("C02HEARD03").await,
        house.device("C02HEARD04").await,
    );
    for phone in [&polls, &silent] {
        house.enrol(phone).await;
        drain(&house, phone).await;
    }
    house.clock.advance(6 * DAY);
    house.report(&polls, IDLE).await.unwrap();
    house.mdm.keep_heard().await.unwrap();
    house.clock.advance(2 * DAY);
    let mut report = WholeReport::default();
    let asked = ReportAsk::Unheard { days: 7 };
    let org = house.org().await;
    org.report_to(&asked, &mut report).await.unwrap();
    let serials: Vec<&str> = report
        .column("serial")
        .into_iter()
        .filter_map(|serial| serial.as_str())
        .collect();
    assert_eq!(serials, [silent.serial.as_str()]);
}
