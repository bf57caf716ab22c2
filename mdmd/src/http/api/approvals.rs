//! What takes two persons, and the secrets of devices. A secret is answered by one route only, and nowhere else.

use axum::body::Body;
use mdm_core::error::Error;
use mdm_core::ids::{ApprovalId, Serial};
use mdm_core::secret::SecretKind;
use mdm_core::service::Revealed;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Path;
use super::{About, Answer, next_page, read, refused, shown};

/// What a person can use in front of a device. The others are for us to use.
const SHOWN: [SecretKind; 11] = [
    SecretKind::RecoveryKey,
    SecretKind::DeviceBypassCode,
    SecretKind::ServerBypassCode,
    SecretKind::RecoveryLockPassword,
    SecretKind::FirmwarePassword,
    // What the service that it left had.
    SecretKind::OriginalRecoveryKey,
    SecretKind::OriginalBypassCode,
    SecretKind::OriginalDeviceBypassCode,
    SecretKind::OriginalRecoveryLockPassword,
    SecretKind::OriginalFirmwarePassword,
    SecretKind::OriginalOther,
];

pub(super) async fn list(About { org, which, .. }: About) -> Answer {
    let rows = org.approvals(ApprovalId(which.after), which.limit()).await;
    let rows = rows.map_err(refused)?;
    let next = next_page(&which, rows.iter().map(|row| row.id.0));
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut shown = json!(row);
            shown["over"] = json!(row.over());
            shown
        })
        .collect();
    shown(json!({ "approvals": rows, "next": next }))
}

pub(super) async fn confirm(About { office, org, .. }: About, Path(id): Path<i64>) -> Answer {
    let done = org.confirm(ApprovalId(id)).await.map_err(refused)?;
    office.poke.notify_one();
    shown(json!({ "approval": done.approval, "done": done.act }))
}

pub(super) async fn decline(About { org, .. }: About, Path(id): Path<i64>) -> Answer {
    let row = org.decline(ApprovalId(id)).await.map_err(refused)?;
    shown(json!({ "approval": row }))
}

pub(super) async fn demanded(About { org, .. }: About) -> Answer {
    let always = org.organisation().settings.two_persons_always;
    shown(json!({ "always": always }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Demand {
    always: bool,
}

pub(super) async fn demand(About { office, org, .. }: About, sent: Body) -> Answer {
    let sent: Demand = read(&office, sent).await?;
    let (now, waits) = org.demand_two_persons(sent.always).await.map_err(refused)?;
    shown(json!({ "always": now.settings.two_persons_always, "approval": waits }))
}

pub(super) async fn kept(About { office, org, .. }: About, Path(serial): Path<String>) -> Answer {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let id = org.organisation().id;
    let store = office.mdm.store();
    let device = store.device_by_serial(id, &serial).await;
    let device = device.map_err(|e| refused(e.into()))?;
    let device = device.ok_or_else(|| refused(Error::NotFound("device")))?;
    let rows = store.secrets(id, device.id).await;
    let rows: Vec<Value> = rows
        .map_err(|e| refused(e.into()))?
        .iter()
        .map(|row| {
            json!({
                "kind": row.kind.as_str(), "created": row.created, "replaced": row.replaced, "used": row.used,
                "confirmed": row.confirmed, "shown_on_demand": SHOWN.contains(&row.kind),
            })
        })
        .collect();
    shown(json!({ "serial": serial, "secrets": rows }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reveal {
    serial: Serial,
    kind: String,
    reason: String,
    approval: Option<ApprovalId>,
}

pub(super) async fn reveal(About { office, org, .. }: About, sent: Body) -> Answer {
    let sent: Reveal = read(&office, sent).await?;
    let kind = SecretKind::from_name(&sent.kind).filter(|kind| SHOWN.contains(kind));
    let kind = kind.ok_or_else(|| {
        let names: Vec<&str> = SHOWN.iter().map(|kind| kind.as_str()).collect();
        let problem = format!("must be one of {}", names.join(", "));
        refused(Error::bad_input("kind", problem))
    })?;
    let found = org.reveal(&sent.serial, kind, &sent.reason, sent.approval);
    match found.await.map_err(refused)? {
        Revealed::Shown(secret) => {
            let text = secret.expose_text().ok_or_else(|| {
                let why = "this secret is not text: it is of no use to a person";
                refused(Error::Precondition(why.to_owned()))
            })?;
            shown(json!({ "serial": sent.serial, "kind": kind.as_str(), "secret": text }))
        }
        Revealed::Waits(approval) => shown(json!({
            "serial": sent.serial, "kind": kind.as_str(), "approval": approval,
        })),
    }
}
