//! Two servers that have agreed: a device leaves the one, which sees it go, takes its CheckOut, and brings what it knows to the
//! other over HTTPS, sealed and signed. Each side holds only as far as its people have said.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use std::sync::Arc;
use std::time::Duration;

use house::{House, NOW_MS, check_in, report};
use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdm_core::error::PortError;
use mdm_core::ids::{AuditId, HandOffId, Serial};
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::ports::{HandOver, HandOverTo, Ports};
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
