//! Activation Locks and recovery keys: what is locked, by whose word, locks that are lifted, keys that are changed.

use mdm_core::ids::Serial;
use mdm_core::service::ClearAsked;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::error::Refusal;
use super::asked::Path;
use super::described::{Sent, Shows, Versioned, told};
use super::edited::Part;
use super::{About, Answer, refused, shown};

pub(super) async fn show(
    About { org, .. }: About,
    Path(serial): Path<String>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    shown(org.lock_of(&serial).await.map_err(refused)?)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Clear {
    serial: Serial,
    reason: String,
}

pub(super) async fn clear(
    About { office, org, .. }: About,
    Sent(sent): Sent<Clear>,
) -> Answer<impl Shows> {
    let asked = org.clear_lock(&sent.serial, &sent.reason).await;
    let approval = match asked.map_err(refused)? {
        ClearAsked::Begun => None,
        ClearAsked::Waits(approval) => Some(approval),
    };
    office.poke.notify_one();
    shown(told! { serial: sent.serial, begun: approval.is_none(), approval: approval })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    reason: String,
}

pub(super) async fn rotate(
    About { office, org, .. }: About,
    Path(serial): Path<String>,
    Sent(sent): Sent<Rotate>,
) -> Answer<impl Shows> {
    let serial = Serial::parse(&serial).map_err(refused)?;
    let asked = org.rotate_filevault(&serial, &sent.reason).await;
    let asked = asked.map_err(refused)?;
    office.poke.notify_one();
    shown(told! { serial: serial, uuid: asked.uuid, already: asked.already })
}

pub(super) async fn rules(About { org, .. }: About) -> Result<Versioned<impl Shows>, Refusal> {
    let minutes = org.organisation().settings.rotate_revealed_minutes;
    let version = Part::RecoveryKeys.of(org.organisation());
    let answer = told! { rotate_revealed_minutes: minutes };
    Ok(Versioned::of(version, answer))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// `null` leaves a key that somebody has seen as it is.
    #[serde(deserialize_with = "Option::deserialize")]
    rotate_revealed_minutes: Option<u32>,
}

pub(super) async fn rule(About { org, .. }: About, Sent(sent): Sent<Rules>) -> Answer<impl Shows> {
    let now = org.rotate_revealed(sent.rotate_revealed_minutes).await;
    let minutes = now.map_err(refused)?.settings.rotate_revealed_minutes;
    shown(told! { rotate_revealed_minutes: minutes })
}
