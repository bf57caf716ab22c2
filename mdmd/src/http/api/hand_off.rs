//! Sealed hand-offs: jobs, their signers, their bundles. Shows no secret, and what a bundle says only as what became of it.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::clock::Timestamp;
use mdm_core::error::Error;
use mdm_core::hand_off::{SCHEMA, envelope};
use mdm_core::ids::{AnyId, ApprovalId, HandOffId, HandOffPartId, Serial};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::super::body;
use super::super::error::{Door, Refusal};
use super::asked::{Path, Query};
use super::described::{Sent, Shows, told};
use super::{About, Answer, Hidden, Page, either, next_page, refused, shown};

/// How long a job waits where nobody says it.
const DAYS: u32 = 7;
/// How long an agreement holds where nobody says it.
const AGREED_DAYS: u32 = 30;
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
    let jobs = org.hand_offs(HandOffId(which.after.0), which.limit()).await;
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

pub(super) async fn show(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    shown(org.hand_off(HandOffId(id)).await.map_err(refused)?)
}

pub(super) async fn results(
    About { org, which, .. }: About<Page>,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let limit = which.limit().min(PARTS);
    let after = HandOffPartId(which.after.0);
    let parts = org.hand_off_parts(HandOffId(id), after, limit).await;
    let parts = parts.map_err(refused)?;
    let next = parts.last().filter(|_| parts.len() == limit as usize);
    let next = next.map(|part| part.id);
    let devices: Vec<_> = parts.into_iter().flat_map(|part| part.devices).collect();
    shown(told! { devices: devices, next: next })
}

pub(super) async fn confirm(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Signer>,
) -> Answer<impl Shows> {
    let job = org.confirm_hand_off(HandOffId(id), &sent.sha256).await;
    shown(job.map_err(refused)?)
}

/// How a bundle is taken.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Taking {
    /// Also where devices of it are not known here: they are left out for good.
    #[serde(default)]
    despite_unknown: bool,
}

pub(super) async fn import(
    About { office, org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Query(taking): Query<Taking>,
    sent: Body,
) -> Answer<impl Shows> {
    let sealed = body::read(sent, envelope::LARGEST, &office.limits)
        .await
        .map_err(|error| Refusal::new(Door::Api, error))?;
    let (id, sealed) = (HandOffId(id), sealed.to_vec());
    let outcome = match taking.despite_unknown {
        true => org.import_hand_off_despite_unknown(id, sealed).await,
        false => org.import_hand_off(id, sealed).await,
    };
    shown(outcome.map_err(refused)?)
}

pub(super) async fn close(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    shown(org.close_hand_off(HandOffId(id)).await.map_err(refused)?)
}

pub(super) async fn schema(About { .. }: About) -> Answer<impl Shows> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    shown(schema)
}

/// Whose hand-offs are taken by themselves.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Agree {
    name: String,
    signer: String,
    days: Option<u32>,
}

/// What another installation brings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Brought {
    job: HandOffId,
    bundle: String,
}

/// Where devices that move away are handed over to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Destination {
    url: String,
    source: HandOffId,
    token: Option<Hidden>,
    token_base64: Option<Hidden>,
    ca: Option<String>,
}

/// An export of what is known here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asking {
    certificate: String,
    sha256: String,
    reason: String,
    job: Option<HandOffId>,
    #[serde(default)]
    serials: BTreeSet<Serial>,
}

pub(super) async fn signer(About { org, .. }: About) -> Answer<impl Shows> {
    shown(org.hand_off_signer().await.map_err(refused)?)
}

pub(super) async fn agreements(About { org, .. }: About) -> Answer<impl Shows> {
    shown(org.agreements().await.map_err(refused)?)
}

pub(super) async fn agree(
    About { office, org, .. }: About,
    Sent(sent): Sent<Agree>,
) -> Answer<impl Shows> {
    let seconds = u64::from(sent.days.unwrap_or(AGREED_DAYS)) * 86_400;
    let until = office.mdm.now() + Duration::from_secs(seconds);
    let agreed = org.agree_source(&sent.name, &sent.signer, until).await;
    shown(agreed.map_err(refused)?)
}

pub(super) async fn end_source(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    org.end_source(HandOffId(id)).await.map_err(refused)?;
    shown(org.agreements().await.map_err(refused)?)
}

pub(super) async fn agreed_job(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    shown(org.agreed_hand_off(HandOffId(id)).await.map_err(refused)?)
}

pub(super) async fn agreed_bundle(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Brought>,
) -> Answer<impl Shows> {
    let bundle = STANDARD.decode(sent.bundle.trim());
    let bundle = bundle.map_err(|_| refused(Error::bad_input("bundle", "must be base64")))?;
    let outcome = org.take_agreed(HandOffId(id), sent.job, bundle).await;
    shown(outcome.map_err(refused)?)
}

pub(super) async fn destination(
    About { org, .. }: About,
    Sent(sent): Sent<Destination>,
) -> Answer<impl Shows> {
    let token = either("token", sent.token.as_ref(), sent.token_base64.as_ref());
    let token = token.map_err(refused)?;
    let missing = || refused(Error::bad_input("token", "is missing"));
    let token = token.ok_or_else(missing)?;
    let asked = org.agree_destination(&sent.url, sent.ca.as_deref(), sent.source, &token);
    shown(told! { approval: asked.await.map_err(refused)? })
}

pub(super) async fn end_destination(About { org, .. }: About) -> Answer<impl Shows> {
    org.end_destination().await.map_err(refused)?;
    shown(org.agreements().await.map_err(refused)?)
}

pub(super) async fn ask(About { org, .. }: About, Sent(sent): Sent<Asking>) -> Answer<impl Shows> {
    let asked = org.ask_export(
        sent.certificate.as_bytes(),
        &sent.sha256,
        sent.job,
        sent.serials,
        &sent.reason,
    );
    shown(told! { approval: asked.await.map_err(refused)? })
}

pub(super) async fn export(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
) -> Answer<impl Shows> {
    let sealed = org.make_export(ApprovalId(id)).await.map_err(refused)?;
    shown(told! {
        bundle: STANDARD.encode(&sealed.bundle), devices: sealed.devices, signer: sealed.signer,
        record: sealed.record,
    })
}
