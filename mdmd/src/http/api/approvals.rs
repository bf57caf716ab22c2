//! What takes two persons, and the secrets of devices. A secret is answered by one route only, and nowhere else.

use axum::Extension;
use mdm_core::audit::Role;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, ApprovalId, Serial};
use mdm_core::secret::SecretKind;
use mdm_core::service::Revealed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::Refusal;
use super::asked::Path;
use super::described::{Sent, Shows, Versioned, told};
use super::edited::Part;
use super::{About, Answer, By, Page, next_page, refused, shown};

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

pub(super) async fn list(About { org, which, .. }: About<Page>) -> Answer<impl Shows> {
    let rows = org
        .approvals(ApprovalId(which.after.0), which.limit())
        .await;
    let rows = rows.map_err(refused)?;
    let next = next_page(&which, rows.iter().map(|row| row.id.0));
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| Waiting {
            over: row.over(),
            row,
        })
        .collect();
    shown(told! { approvals: rows, next: next })
}

pub(super) async fn confirm(
    About { office, org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let done = org.confirm(ApprovalId(id)).await.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { approval: done.approval, done: done.act })
}

pub(super) async fn decline(
    About { org, .. }: About,
    Extension(caller): By,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let id = ApprovalId(id);
    let done = match caller.role >= Role::Approver {
        true => org.decline(id).await,
        false => org.take_back(id).await,
    };
    shown(told! { approval: done.map_err(refused)? })
}

pub(super) async fn demanded(About { org, .. }: About) -> Result<Versioned<impl Shows>, Refusal> {
    let always = org.organisation().settings.two_persons_always;
    let version = Part::TwoPersons.of(org.organisation());
    Ok(Versioned::of(version, told! { always: always }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Demand {
    always: bool,
}

pub(super) async fn demand(
    About { org, .. }: About,
    Sent(sent): Sent<Demand>,
) -> Answer<impl Shows> {
    let (now, waits) = org.demand_two_persons(sent.always).await.map_err(refused)?;
    shown(told! { always: now.settings.two_persons_always, approval: waits })
}

pub(super) async fn kept(
    About { office, org, .. }: About,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let id = org.organisation().id;
    let store = office.mdm.store();
    let device = store.device_by_serial(id, &serial).await;
    let device = device.map_err(|e| refused(e.into()))?;
    let device = device.ok_or_else(|| refused(Error::NotFound("device")))?;
    let rows = store.secrets(id, device.id).await;
    let rows: Vec<_> = rows
        .map_err(|e| refused(e.into()))?
        .iter()
        .map(|row| {
            told! {
                kind: row.kind.as_str(), created: row.created, replaced: row.replaced, used: row.used,
                confirmed: row.confirmed, shown_on_demand: SHOWN.contains(&row.kind),
            }
        })
        .collect();
    shown(told! { serial: serial, secrets: rows })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reveal {
    serial: Serial,
    kind: String,
    reason: String,
    approval: Option<ApprovalId>,
}

pub(super) async fn reveal(
    About { org, .. }: About,
    Sent(sent): Sent<Reveal>,
) -> Answer<impl Shows> {
    let kind = SecretKind::from_name(&sent.kind).filter(|kind| SHOWN.contains(kind));
    let kind = kind.ok_or_else(|| {
        let names: Vec<&str> = SHOWN.iter().map(|kind| kind.as_str()).collect();
        let problem = format!("must be one of {}", names.join(", "));
        refused(Error::bad_input("kind", problem))
    })?;
    let found = org.reveal(&sent.serial, kind, &sent.reason, sent.approval);
    let mut answer = Answered {
        serial: sent.serial.clone(),
        kind: kind.as_str(),
        secret: None,
        approval: None,
    };
    match found.await.map_err(refused)? {
        Revealed::Shown(secret) => {
            let text = secret.expose_text().ok_or_else(|| {
                let why = "this secret is not text: it is of no use to a person";
                refused(Error::Precondition(why.to_owned()))
            })?;
            answer.secret = Some(text.to_owned());
        }
        Revealed::Waits(approval) => answer.approval = Some(approval),
    }
    shown(answer)
}

/// The secret, or who must confirm first.
#[derive(Serialize, JsonSchema)]
struct Answered<A> {
    serial: Serial,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<A>,
}

/// What waits, and until when.
#[derive(Serialize, JsonSchema)]
struct Waiting<R, O> {
    #[serde(flatten)]
    row: R,
    over: O,
}
