//! Sealed hand-offs: jobs, their signers, their bundles. Shows no secret, and what a bundle says only as what became of it.

use std::time::Duration;

use axum::body::Body;
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::hand_off::{SCHEMA, envelope};
use mdm_core::ids::{HandOffId, HandOffPartId};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::super::body;
use super::super::error::{Door, Refusal};
use super::asked::Path;
use super::described::{Sent, Shows, told};
use super::{About, Answer, Page, next_page, refused, shown};

/// How long a job waits where nobody says it.
const DAYS: u32 = 7;
/// Parts of results that are shown at once; each has a few hundred devices.
const PARTS: u32 = 20;

/// A new job.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    from: String,
    days: Option<u32>,
    expires: Option<Timestamp>,
    signer: Option<String>,
}

/// Whose signature is believed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Signer {
    sha256: String,
}

pub(super) async fn list(About { org, which, .. }: About<Page>) -> Answer<impl Shows> {
    let jobs = org.hand_offs(HandOffId(which.after), which.limit()).await;
    let jobs = jobs.map_err(refused)?;
    let next = next_page(&which, jobs.iter().map(|job| job.id.0));
    shown(told! { jobs: jobs, next: next })
}

pub(super) async fn new(
    About { office, org, .. }: About,
    Sent(sent): Sent<New>,
) -> Answer<impl Shows> {
    let expires = match (sent.expires, sent.days) {
        (Some(_), Some(_)) => {
            let problem = "is one too many beside expires";
            return Err(refused(Error::bad_input("days", problem)));
        }
        (Some(expires), None) => expires,
        (None, days) => {
            let seconds = u64::from(days.unwrap_or(DAYS)) * 86_400;
            office.mdm.now() + Duration::from_secs(seconds)
        }
    };
    let made = org.new_hand_off(&sent.from, expires, sent.signer.as_deref());
    shown(made.await.map_err(refused)?)
}

pub(super) async fn show(About { org, .. }: About, Path(id): Path<i64>) -> Answer<impl Shows> {
    shown(org.hand_off(HandOffId(id)).await.map_err(refused)?)
}

pub(super) async fn results(
    About { org, which, .. }: About<Page>,
    Path(id): Path<i64>,
) -> Answer<impl Shows> {
    let limit = which.limit().min(PARTS);
    let after = HandOffPartId(which.after);
    let parts = org.hand_off_parts(HandOffId(id), after, limit).await;
    let parts = parts.map_err(refused)?;
    let next = parts.last().filter(|_| parts.len() == limit as usize);
    let next = next.map(|part| part.id);
    let devices: Vec<_> = parts.into_iter().flat_map(|part| part.devices).collect();
    shown(told! { devices: devices, next: next })
}

pub(super) async fn confirm(
    About { org, .. }: About,
    Path(id): Path<i64>,
    Sent(sent): Sent<Signer>,
) -> Answer<impl Shows> {
    let job = org.confirm_hand_off(HandOffId(id), &sent.sha256).await;
    shown(job.map_err(refused)?)
}

pub(super) async fn import(
    About { office, org, .. }: About,
    Path(id): Path<i64>,
    sent: Body,
) -> Answer<impl Shows> {
    let sealed = body::read(sent, envelope::LARGEST, &office.limits)
        .await
        .map_err(|error| Refusal::new(Door::Api, error))?;
    let outcome = org.import_hand_off(HandOffId(id), sealed.to_vec()).await;
    shown(outcome.map_err(refused)?)
}

pub(super) async fn close(About { org, .. }: About, Path(id): Path<i64>) -> Answer<impl Shows> {
    shown(org.close_hand_off(HandOffId(id)).await.map_err(refused)?)
}

pub(super) async fn schema(About { .. }: About) -> Answer<impl Shows> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    shown(schema)
}
