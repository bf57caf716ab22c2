//! Devices that an account brings: the discovery documents, the request for an enrolment profile, and where a device's user signs
//! in. Sends nobody anywhere but to the provider and, with an access token, back into the device.
//!
//! <https://developer.apple.com/documentation/devicemanagement/implementing-the-simple-authentication-account-driven-enrollment-flow>

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use hyper::HeaderMap;
use mdm_core::error::Error;
use mdm_core::person::{AccountMode, Purpose};

use super::desk::Peer;
use super::discovery;
use super::enrol::organisation;
use super::error::{Door, Refusal, unkept_answer};
use super::query::parameter;
use super::sign_in::{depart, organisation_of, refuse, service};
use super::{At, Front, body};

fn mode_of(name: &str) -> Result<AccountMode, Error> {
    AccountMode::from_name(name).ok_or(Error::NotFound("way to enrol"))
}

/// The document of one organisation: where Apple sends devices whose domain has none.
pub(super) async fn service_discovery(
    State(front): At,
    Path(code): Path<String>,
) -> Result<Response, Refusal> {
    let code = organisation(&code, Door::Enrol)?;
    let org = service(&front)?.organisation(&code).await;
    let org = org.map_err(|error| Refusal::new(Door::Enrol, error))?;
    Ok(discovery::answer(&org.account_servers()))
}

/// The documents that hold for an account, if its domain is one of ours.
pub(super) async fn servers_of(
    front: &Front,
    query: Option<&str>,
) -> Result<Option<Response>, Refusal> {
    let (Some(mdm), Some(account)) = (front.desk.people(), parameter(query, "user-identifier"))
    else {
        return Ok(None);
    };
    let found = mdm.account_servers(&account).await;
    let found = found.map_err(|error| Refusal::new(Door::Enrol, error))?;
    Ok((!found.is_empty()).then(|| discovery::answer(&found)))
}

/// Machine information in; where to sign in, or the enrolment profile, out.
pub(super) async fn enrol(
    State(front): At,
    Path((code, mode)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
    sent: Body,
) -> Result<Response, Refusal> {
    let refuse = |error: Error| Refusal::new(Door::Enrol, error);
    let code = organisation(&code, Door::Enrol)?;
    let mode = mode_of(&mode).map_err(refuse)?;
    let sent = body::of_device(&front, Door::Enrol, &code, &peer, sent).await?;
    let org = service(&front)?.organisation(&code).await.map_err(refuse)?;
    let bearer = peer.bearer.as_ref();
    let answer = org.enrol_account(&peer.address, mode, &sent, bearer).await;
    answer.map(unkept_answer).map_err(refuse)
}

/// The window that a device opens for its user.
pub(super) async fn sign_in(
    State(front): At,
    Path((code, mode)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mode = mode_of(&mode).map_err(refuse)?;
    let org = organisation_of(&front, &code).await?;
    org.brings(mode).map_err(refuse)?;
    let account = parameter(query.as_deref(), "user-identifier");
    depart(
        &org,
        &peer,
        &headers,
        Purpose::Account { mode },
        account.as_deref(),
    )
    .await
}
