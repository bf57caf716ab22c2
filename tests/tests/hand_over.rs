//! Two servers that have agreed: a device leaves the one, which sees it go, takes its CheckOut, and brings what it knows to the
//! other over HTTPS, sealed and signed. Each side holds only as far as its people have said.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

#[path = "hand_over/again.rs"]
mod again;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use house::{House, NOW_MS, check_in, report};
use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdm_core::device::{AssignmentOutcome, Device, DeviceRecord, Platform};
use mdm_core::enrollment::ChannelKind;
use mdm_core::error::PortError;
use mdm_core::ids::{AuditId, DeviceId, EnrollmentId, HandOffId, RunbookId, Serial, ServerId};
use mdm_core::library::Audience;
use mdm_core::migration::{Pinned, PinnedRunbook, ProfilePlan, ProfileRole, Variant};
use mdm_core::organisation::Der;
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::ports::{
    Account, DeviceAssignment, DevicePage, HandOver, HandOverTo, LockOutcome, Ports,
    ServerCredential,
};
use mdm_core::service::{Org, Revealed};
use mdm_core::store::{Batch, SqliteStore, Store};
use mdmd::config::Duty;
use openssl::x509::X509;
use tests::Request;

const CODE: &str = "DEVICE-CODE-17";
const HOUR: Duration = Duration::from_secs(3600);

/// A server that reaches other installations.
async fn open() -> House {
    let ports = Ports {
        hand_over: Arc::new(mdmd::hand_over::Elsewhere),
        ..Ports::refusing()
    };
    House::open_with(ports, None).await
}

async fn settle(house: &House) {
    while house.app.mdm.work(50).await.unwrap() > 0 {}
}

async fn both_later(old: &House, new: &House, time: Duration) {
    old.clock.advance(time);
    new.clock.advance(time);
    settle(old).await;
}

/// So many days, as they are where nothing stops: somebody looks every six hours.
async fn days(old: &House, new: &House, count: u32) {
    for _ in 0..count * 4 {
        both_later(old, new, HOUR * 6).await;
    }
}

/// The organisation as it is by now.
async fn now(house: &House) -> Org {
    let id = house.org.organisation().id;
    house.app.mdm.organisation_by_id(id).await.unwrap()
}

/// Devices are woken, and so their silence says something.
async fn wakes(old: &House) {
    let store = old.app.mdm.store();
    let row = store.organisation(old.org.organisation().id).await;
    let mut row = row.unwrap().unwrap();
    let year = Timestamp::from_millis(NOW_MS) + HOUR * 24 * 365;
    row.push.as_mut().unwrap().not_after = year;
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
}

fn pem(house: &House) -> String {
    let anchor = X509::from_der(&house.anchor.0).unwrap();
    String::from_utf8(anchor.to_pem().unwrap()).unwrap()
}

/// The original agrees to a destination, by two persons.
async fn agree(old: &House, new: &House, source: HandOffId, token: &str) {
    let (anna, bo) = (
        old.org.clone().acting_for("Anna"),
        old.org.clone().acting_for("Bo"),
    );
    let port = new.app.address(Duty::Admin).unwrap().port();
    let url = format!("https://localhost:{port}");
    let ca = pem(new);
    let asked = anna
        .agree_destination(
            &url,
            Some(&ca),
            source,
            &Secret::from_text(token.to_owned()),
        )
        .await
        .unwrap();
    let alone = anna.confirm(asked).await.unwrap_err().to_string();
    assert!(alone.contains("another person"), "{alone}");
    bo.confirm(asked).await.unwrap();
}

/// Apple's list of the original has it no more.
async fn leaves_the_list(old: &House, serial: &Serial) {
    let id = old.org.organisation().id;
    let store = old.app.mdm.store();
    let mut row = store.device_by_serial(id, serial).await.unwrap().unwrap();
    row.record.as_mut().unwrap().gone = true;
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
}

async fn knows(org: &Org, serial: &Serial) -> bool {
    org.original(serial).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_moves_is_handed_over_once_both_sides_agree() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    let device = old.enrolled().await;
    // It gives its own code with an answer.
    let told = format!("<key>ActivationLockBypassCode</key><string>{CODE}</string>");
    let (status, open) = old.send(old.idle(&device)).await;
    assert_eq!(status, 200);
    let uuid = open.split("<key>CommandUUID</key>").nth(1).unwrap();
    let uuid = uuid
        .split("<string>")
        .nth(1)
        .unwrap()
        .split("</string>")
        .next()
        .unwrap();
    let answer = format!("<key>CommandUUID</key><string>{uuid}</string>{told}");
    let answer = report(old.serial, "Acknowledged", &answer);
    assert_eq!(
        old.send(old.signed("command", &device, answer)).await.0,
        200
    );

    let ours = old.org.hand_off_signer().await.unwrap();
    let until = Timestamp::from_millis(NOW_MS) + HOUR * 240;
    let carla = new.org.clone().acting_for("Carla");
    let token = carla
        .new_api_token(
            "old server",
            Role::Helpdesk,
            ["hand-off".to_owned()].into(),
            None,
        )
        .await
        .unwrap();
    let token = token.secret.expose_text().unwrap().to_owned();
    // The token opens its own door and no other.
    let admin = new.app.address(Duty::Admin).unwrap();
    for (method, path) in [
        ("GET", "/api/v1/devices"),
        ("POST", "/api/v1/hand-off/jobs"),
        ("POST", "/api/v1/hand-off/sources"),
        ("POST", "/api/v1/secrets/reveal"),
    ] {
        let reply = Request::new(method, path)
            .by(&token)
            .with("{}")
            .send(admin)
            .await;
        assert_eq!(reply.status, 403, "{path}: {}", reply.text());
    }
    // First the person at the destination confirms a wrong signer.
    let wrong = carla
        .agree_source("Old MDM", &"0f".repeat(32), until)
        .await
        .unwrap();
    agree(&old, &new, wrong.id, &token).await;

    let check_out = check_in(old.serial, "CheckOut", "");
    assert_eq!(
        old.send(old.signed("checkin", &device, check_out)).await.0,
        200
    );
    both_later(&old, &new, HOUR).await;
    // Our list still has it: somebody may have unenrolled it.
    assert!(!knows(&new.org, &serial).await);
    assert!(
        old.org
            .device_report(&serial)
            .await
            .unwrap()
            .moved
            .is_none()
    );
    leaves_the_list(&old, &serial).await;
    both_later(&old, &new, HOUR).await;
    assert!(
        !knows(&new.org, &serial).await,
        "it is signed by somebody whom nobody confirmed"
    );
    let report = old.org.device_report(&serial).await.unwrap();
    assert!(report.moved.is_some() && report.device.handed_over.is_none());

    let right = carla
        .agree_source("Old MDM", &ours.sha256, until)
        .await
        .unwrap();
    agree(&old, &new, right.id, &token).await;
    both_later(&old, &new, HOUR * 7).await;
    let facts = new.org.original(&serial).await.unwrap();
    assert_eq!(facts.system.unwrap().by, "Old MDM");
    let kind = SecretKind::OriginalDeviceBypassCode;
    match new.org.reveal(&serial, kind, "test", None).await.unwrap() {
        Revealed::Shown(code) => assert_eq!(code.expose_text(), Some(CODE)),
        other @ Revealed::Waits(_) => panic!("{other:?}"),
    }
    assert!(
        old.org
            .device_report(&serial)
            .await
            .unwrap()
            .device
            .handed_over
            .is_some()
    );
    let id = old.org.organisation().id;
    let record = old
        .app
        .mdm
        .store()
        .audit(id, AuditId(0), 1000)
        .await
        .unwrap();
    let handed = record.iter().filter(|e| e.what == "device.handed-over");
    assert_eq!(handed.count(), 1);
    // Nothing is left to be done, and nothing of it was logged.
    both_later(&old, &new, HOUR * 24).await;
    let log = house::captured().since(0);
    assert!(!log.contains(CODE) && !log.contains(&token));
    old.close().await;
    new.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_ones_own_takes_two_persons_and_is_made_once() {
    let (old, new) = (open().await, open().await);
    let (anna, bo) = (
        old.org.clone().acting_for("Anna"),
        old.org.clone().acting_for("Bo"),
    );
    let signer = old.org.hand_off_signer().await.unwrap();
    let until = Timestamp::from_millis(NOW_MS) + HOUR;
    let job = new
        .org
        .new_hand_off("Old MDM", until, Some(&signer.sha256))
        .await
        .unwrap();
    let ask = |told: &str| {
        let (anna, certificate, told) = (anna.clone(), job.certificate.clone(), told.to_owned());
        let (number, serials) = (job.id, Default::default());
        async move {
            anna.ask_export(
                certificate.as_bytes(),
                &told,
                Some(number),
                serials,
                "the move",
            )
            .await
        }
    };
    let other = ask(&"0f".repeat(32)).await.unwrap_err().to_string();
    assert!(other.starts_with("sha256: "), "{other}");
    let asked = ask(&job.sha256).await.unwrap();
    for (who, why) in [(&anna, "nobody has confirmed it"), (&bo, "it is not his")] {
        assert!(who.make_export(asked).await.is_err(), "{why}");
    }
    assert!(
        anna.confirm(asked).await.is_err(),
        "it takes another person"
    );
    bo.confirm(asked).await.unwrap();
    assert!(bo.make_export(asked).await.is_err(), "it is for who asked");
    let sealed = anna.make_export(asked).await.unwrap();
    assert_eq!(sealed.devices, 2);
    assert!(anna.make_export(asked).await.is_err(), "once");
    let outcome = new
        .org
        .import_hand_off(job.id, sealed.bundle)
        .await
        .unwrap();
    assert_eq!((outcome.accepted, outcome.rejected), (2, 0), "{outcome:?}");
    old.close().await;
    new.close().await;
}

/// What is known of a device there, but for the moments: each bundle is as of when it was sealed.
async fn told(org: &Org, serial: &Serial) -> Vec<(String, serde_json::Value)> {
    let facts = serde_json::to_value(org.original(serial).await.unwrap()).unwrap();
    let parts = facts.as_object().unwrap().iter();
    let parts = parts.filter(|(_, part)| part["value"] != serde_json::Value::Null);
    parts
        .map(|(name, part)| (name.clone(), part["value"].clone()))
        .collect()
}

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
    let ours = old.org.hand_off_signer().await.unwrap();
    let until = Timestamp::from_millis(NOW_MS) + HOUR * 240;
    let scope = ["hand-off".to_owned()].into();
    let token = new.org.new_api_token("old", Role::Helpdesk, scope, None);
    let token = token
        .await
        .unwrap()
        .secret
        .expose_text()
        .unwrap()
        .to_owned();
    let source = new.org.agree_source("Old MDM", &ours.sha256, until).await;
    agree(&old, &new, source.unwrap().id, &token).await;
    leaves_the_list(&old, &serial).await;
    let check_out = check_in(old.serial, "CheckOut", "");
    assert_eq!(
        old.send(old.signed("checkin", &device, check_out)).await.0,
        200
    );

    // Now it has moved. The process dies between the delivery and its own commit.
    old.clock.advance(HOUR);
    new.clock.advance(HOUR);
    let mdm = old.app.mdm.clone();
    let working = tokio::spawn(async move { while mdm.work(50).await.unwrap() > 0 {} });
    arrived.notified().await;
    working.abort();
    let _ = working.await;
    let handed = async || {
        let report = old.org.device_report(&serial).await.unwrap();
        report.device.handed_over.is_some()
    };
    assert!(knows(&new.org, &serial).await && !handed().await);
    let facts = told(&new.org, &serial).await;

    // Another process takes it up when the lease of the dead one is over.
    let ports = Ports {
        hand_over: Arc::new(mdmd::hand_over::Elsewhere),
        ..Ports::refusing()
    };
    let next = old.process(store, ports).await;
    old.clock.advance(HOUR);
    new.clock.advance(HOUR);
    while next.mdm.work(50).await.unwrap() > 0 {}
    assert!(handed().await, "it was not taken up again");
    let again = told(&new.org, &serial).await;
    assert_eq!(again, facts, "what came twice changed something");
    let jobs = new.org.hand_offs(HandOffId(0), 10).await;
    assert_eq!(jobs.unwrap().len(), 2, "each time to a key of its own");
    let id = old.org.organisation().id;
    let record = old
        .app
        .mdm
        .store()
        .audit(id, AuditId(0), 1000)
        .await
        .unwrap();
    let handed = record.iter().filter(|e| e.what == "device.handed-over");
    assert_eq!(handed.count(), 1);
    next.shutdown().await.unwrap();
    old.close().await;
    new.close().await;
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
    let until = Timestamp::from_millis(NOW_MS) + HOUR * 24 * 30;
    agreed(&old, &new, until).await;
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
    old.close().await;
    new.close().await;
}

/// Apple's list of the original: its devices, and those of which a page of changes says that they have left.
#[derive(Default)]
struct List {
    left: Mutex<Vec<Serial>>,
    /// Of how many of them a page of changes has told.
    told: AtomicUsize,
}

#[async_trait::async_trait]
impl DeviceAssignment for List {
    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Ok(Account {
            server_name: "one".to_owned(),
            server_uuid: "one".to_owned(),
            organisation: None,
            token_expires: None,
        })
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

    async fn define_profile(
        &self,
        _: &ServerCredential,
        _: &serde_json::Value,
    ) -> Result<String, PortError> {
        Err(PortError::retry("not now"))
    }

    async fn read_profile(
        &self,
        _: &ServerCredential,
        _: &str,
    ) -> Result<serde_json::Value, PortError> {
        Err(PortError::retry("not now"))
    }

    async fn assign(
        &self,
        _: &ServerCredential,
        _: &str,
        _: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        Err(PortError::retry("not now"))
    }

    async fn lock(
        &self,
        _: &ServerCredential,
        _: &Serial,
        _: &str,
    ) -> Result<LockOutcome, PortError> {
        Err(PortError::retry("not now"))
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
async fn a_page_of_changes_alone_has_a_device_handed_over_whose_check_out_never_comes() {
    let list = Arc::new(List::default());
    let ports = Ports {
        assignment: list.clone(),
        hand_over: Arc::new(mdmd::hand_over::Elsewhere),
        ..Ports::refusing()
    };
    let (old, new) = (House::open_with(ports, None).await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    old.enrolled().await;
    let token = Secret::from_text("one");
    old.org.import_server_token(&token, None).await.unwrap();
    let until = Timestamp::from_millis(NOW_MS) + HOUR * 24 * 30;
    agreed(&old, &new, until).await;
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
    old.close().await;
    new.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_away_for_days_asks_before_it_takes_a_device_for_moved() {
    let (old, new) = (open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    wakes(&old).await;
    old.enrolled().await;
    let until = Timestamp::from_millis(NOW_MS) + HOUR * 24 * 60;
    agreed(&old, &new, until).await;
    leaves_the_list(&old, &serial).await;
    both_later(&old, &new, HOUR).await;
    // Nothing runs for nine days; then it looks again and again, and asks.
    both_later(&old, &new, HOUR * 24 * 9).await;
    days(&old, &new, 1).await;
    assert!(!knows(&new.org, &serial).await, "nobody had asked it");
    days(&old, &new, 2).await;
    assert!(knows(&new.org, &serial).await);
    old.close().await;
    new.close().await;
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
    let check_out = check_in(old.serial, "CheckOut", "");
    let check_out = old.signed("checkin", &device, check_out);
    assert_eq!(old.send(check_out).await.0, 200);
    // Neither at once, nor when what left before the agreement is looked through.
    let until = Timestamp::from_millis(NOW_MS) + HOUR * 24 * 60;
    agreed(&old, &new, until).await;
    days(&old, &new, 2).await;
    let org = now(&old).await;
    let report = Box::pin(org.device_report(&serial)).await.unwrap();
    assert!(report.moved.is_none() && report.device.moved_away.is_none());
    assert!(report.device.handed_over.is_none());
    assert!(!knows(&new.org, &serial).await);
    assert_eq!(handed(&old).await, 0);
    old.close().await;
    new.close().await;
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
    let until = Timestamp::from_millis(NOW_MS) + HOUR * 24 * 60;
    agreed(&old, &new, until).await;
    let check_out = check_in(old.serial, "CheckOut", "");
    let check_out = old.signed("checkin", &device, check_out);
    assert_eq!(old.send(check_out).await.0, 200);
    leaves_the_list(&old, &serial).await;
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
    old.close().await;
    new.close().await;
}

/// Both sides agree, until then; answers the token of the destination that the original has.
async fn agreed(old: &House, new: &House, until: Timestamp) -> String {
    let ours = old.org.hand_off_signer().await.unwrap();
    let scope = ["hand-off".to_owned()].into();
    let token = new.org.new_api_token("old", Role::Helpdesk, scope, None);
    let token = token.await.unwrap().secret;
    let token = token.expose_text().unwrap().to_owned();
    let source = new.org.agree_source("Old MDM", &ours.sha256, until).await;
    agree(old, new, source.unwrap().id, &token).await;
    token
}

/// How often the record says that a device was handed over.
async fn handed(old: &House) -> usize {
    let id = old.org.organisation().id;
    let record = old.app.mdm.store().audit(id, AuditId(0), 5000).await;
    let record = record.unwrap();
    let handed = record.iter().filter(|e| e.what == "device.handed-over");
    handed.count()
}

/// One export by two persons, from one installation to another.
async fn hand_on(from: &House, to: &House) {
    let (anna, bo) = (
        from.org.clone().acting_for("Anna"),
        from.org.clone().acting_for("Bo"),
    );
    let signer = from.org.hand_off_signer().await.unwrap();
    let until = from.app.mdm.now() + HOUR;
    let job = to.org.new_hand_off("Old MDM", until, Some(&signer.sha256));
    let job = job.await.unwrap();
    let asked = anna.ask_export(
        job.certificate.as_bytes(),
        &job.sha256,
        Some(job.id),
        std::collections::BTreeSet::new(),
        "the move",
    );
    let asked = asked.await.unwrap();
    bo.confirm(asked).await.unwrap();
    let sealed = anna.make_export(asked).await.unwrap();
    assert!(sealed.record.is_some(), "the record was sealed before");
    let outcome = to.org.import_hand_off(job.id, sealed.bundle).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_from_the_service_before_is_handed_on_with_what_the_hold_brought() {
    let (first, old, new) = (open().await, open().await, open().await);
    let serial = Serial::parse(old.serial).unwrap();
    // The first one has the device's own code, and hands it over.
    let device = first.enrolled().await;
    let (_, open) = first.send(first.idle(&device)).await;
    let uuid = open.split("<key>CommandUUID</key>").nth(1).unwrap();
    let uuid = uuid.split("<string>").nth(1).unwrap();
    let uuid = uuid.split("</string>").next().unwrap();
    let told = format!(
        "<key>CommandUUID</key><string>{uuid}</string><key>ActivationLockBypassCode</key><string>{CODE}</string>"
    );
    let answer = report(first.serial, "Acknowledged", &told);
    let (status, _) = first.send(first.signed("command", &device, answer)).await;
    assert_eq!(status, 200);
    hand_on(&first, &old).await;

    // The second one brought a network in its hold, and manages the local user of what is a Mac.
    old.enrolled().await;
    let (id, store) = (old.org.organisation().id, old.app.mdm.store());
    let known = Box::pin(old.org.device_report(&serial)).await.unwrap();
    let mut runbook = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    runbook.profiles.push(ProfilePlan {
        identifier: "org.wifi".to_owned(),
        role: ProfileRole::Network,
        content: Der(WIFI.as_bytes().to_vec()),
    });
    let mut set_up = known.set_up.unwrap();
    set_up.runbook = RunbookId(77);
    let mut channel = known.enrollments.last().unwrap().clone();
    channel.local_user = Some("USER-1".to_owned());
    let mut user = channel.clone();
    user.id = EnrollmentId(channel.id.0 + 1);
    user.version = 0;
    user.key = format!("{}:USER-1", channel.key);
    user.parent = Some(channel.id);
    user.channel = ChannelKind::User {
        short_name: Some("kim".to_owned()),
        long_name: None,
    };
    let mut row = known.device;
    row.facts.product = Some("Mac15,7".to_owned());
    // Its owner's group, which brings it a profile of the library.
    row.groups.insert("Shop".to_owned());
    let groups = row.groups.clone();
    let mut batch = Batch::new();
    batch.put(Pinned {
        organisation: id,
        id: RunbookId(77),
        name: "hold".to_owned(),
        runbook,
    });
    batch.put(set_up).put(channel).put(user).put(row);
    store.commit(batch).await.unwrap();
    let shop = Secret::from_text(WIFI.replace("org.wifi", "org.shop"));
    let whom = Audience::read([""; 0], ["Shop"]).unwrap();
    old.org.put_profile("Shop", &shop, whom).await.unwrap();
    hand_on(&old, &new).await;

    let facts = new.org.original(&serial).await.unwrap();
    assert_eq!(facts.owner.unwrap().value.groups, groups);
    let networks = facts.networks.unwrap().value;
    assert!(
        networks.iter().any(|n| n.ssid == "Hold" && n.managed),
        "{networks:?}"
    );
    let profiles = facts.profiles.unwrap().value;
    let wifi = profiles
        .iter()
        .find(|p| p.identifier == "org.wifi")
        .unwrap();
    assert!(wifi.payloads.contains("com.apple.wifi.managed"), "{wifi:?}");
    assert!(profiles.iter().any(|p| p.identifier == "org.shop"));
    assert_eq!(facts.managed_user.unwrap().value.name, "kim");
    let kind = SecretKind::OriginalDeviceBypassCode;
    match new.org.reveal(&serial, kind, "test", None).await.unwrap() {
        Revealed::Shown(code) => assert_eq!(code.expose_text(), Some(CODE)),
        other @ Revealed::Waits(_) => panic!("{other:?}"),
    }
    for house in [first, old, new] {
        house.close().await;
    }
}

const WIFI: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.wifi</string><key>PayloadUUID</key><string>7e5fc7a0-0000-4000-8000-000000000001</string>
<key>PayloadContent</key><array><dict>
<key>PayloadType</key><string>com.apple.wifi.managed</string><key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>org.wifi.1</string><key>PayloadUUID</key><string>7e5fc7a0-0000-4000-8000-000000000002</string>
<key>SSID_STR</key><string>Hold</string>
</dict></array></dict></plist>"#;
