//! Two servers that have agreed: a device leaves the one, which sees it go, takes its CheckOut, and brings what it knows to the
//! other over HTTPS, sealed and signed. Each side holds only as far as its people have said.

mod again;
mod agreeing;
mod before;
mod brought;
#[path = "../doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;
mod silent;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fixtures::recorded::StandIn;
use house::{House, NOW_MS, check_in, report};
use mdm_core::audit::{AuditEntry, Role};
use mdm_core::clock::Timestamp;
use mdm_core::ids::{AuditId, HandOffId, Serial};
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::ports::Ports;
use mdm_core::service::{Org, Revealed};
use mdm_core::store::Batch;
use mdmd::config::Duty;
use openssl::x509::X509;

const CODE: &str = "DEVICE-CODE-17";
const HOUR: Duration = Duration::from_secs(3600);

/// What reaches other installations, and nothing else.
fn reaching() -> Ports {
    Ports {
        hand_over: Arc::new(mdmd::hand_over::Elsewhere),
        ..Ports::refusing()
    }
}

/// A server that reaches other installations.
async fn open() -> House {
    House::open_with(reaching(), None).await
}

/// The end of a story: they stop, and what is left over in any of them is found.
async fn close<const N: usize>(houses: [House; N]) {
    for house in houses {
        house.close().await;
    }
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

/// So many days from the beginning.
fn within(days: u32) -> Timestamp {
    Timestamp::from_millis(NOW_MS) + HOUR * 24 * days
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

/// It gives its own code with an answer.
async fn tells_its_code(house: &House, device: &StandIn, code: &str) {
    let (status, open) = house.send(house.idle(device)).await;
    assert_eq!(status, 200);
    let uuid = open.split("<key>CommandUUID</key>").nth(1).unwrap();
    let uuid = uuid.split("<string>").nth(1).unwrap();
    let uuid = uuid.split("</string>").next().unwrap();
    let answer = format!(
        "<key>CommandUUID</key><string>{uuid}</string><key>ActivationLockBypassCode</key><string>{code}</string>"
    );
    let answer = report(house.serial, "Acknowledged", &answer);
    let (status, _) = house.send(house.signed("command", device, answer)).await;
    assert_eq!(status, 200);
}

async fn checks_out(house: &House, device: &StandIn) {
    let message = check_in(house.serial, "CheckOut", "");
    let (status, _) = house.send(house.signed("checkin", device, message)).await;
    assert_eq!(status, 200);
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

/// It says that it goes, and Apple's list of the original has it no more.
async fn leaves(old: &House, device: &StandIn) {
    checks_out(old, device).await;
    leaves_the_list(old, &Serial::parse(old.serial).unwrap()).await;
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

async fn knows(org: &Org, serial: &Serial) -> bool {
    org.original(serial).await.is_ok()
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

/// The code of its own that a server has from the one before.
async fn code(house: &House, serial: &Serial) -> String {
    let kind = SecretKind::OriginalDeviceBypassCode;
    match house.org.reveal(serial, kind, "test", None).await.unwrap() {
        Revealed::Shown(code) => code.expose_text().unwrap().to_owned(),
        other @ Revealed::Waits(_) => panic!("{other:?}"),
    }
}

/// What the record says of this.
async fn recorded(house: &House, what: &str) -> Vec<AuditEntry> {
    let id = house.org.organisation().id;
    let record = house.app.mdm.store().audit(id, AuditId(0), 5000).await;
    let mut record = record.unwrap();
    record.retain(|entry| entry.what == what);
    record
}

/// How often the record says that a device was handed over.
async fn handed(old: &House) -> usize {
    recorded(old, "device.handed-over").await.len()
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
        BTreeSet::new(),
        "the move",
    );
    let asked = asked.await.unwrap();
    bo.confirm(asked).await.unwrap();
    let sealed = anna.make_export(asked).await.unwrap();
    assert!(sealed.record.is_some(), "the record was sealed before");
    let outcome = to.org.import_hand_off(job.id, sealed.bundle).await.unwrap();
    assert_eq!(outcome.rejected, 0, "{outcome:?}");
}
