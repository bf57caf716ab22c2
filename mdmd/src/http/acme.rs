//! `/mdm/{org}/acme/…`: the ACME server at which devices obtain their identities (RFC 8555). Hands bytes in and out, decides
//! nothing. This door never sees a client certificate: what comes is signed.
//!
//! It is not where the certificates of our own listeners come from.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method};
use mdm_core::service::AcmeRequest;

use super::At;
use super::body;
use super::desk::Peer;
use super::enrol::organisation;
use super::error::{Door, Refusal, answer};

/// The directory, or a nonce.
pub(super) async fn look(
    State(front): At,
    Path((org, resource)): Path<(String, String)>,
    method: Method,
) -> Result<Response, Refusal> {
    let org = organisation(&org, Door::Acme)?;
    front
        .desk
        .acme_look(&org, &resource, method == Method::HEAD)
        .await
        .map(answer)
        .map_err(|error| Refusal::new(Door::Acme, error))
}

/// A signed request to what has one address for everybody.
pub(super) async fn ask(
    state: At,
    Path((org, resource)): Path<(String, String)>,
    peer: Extension<Peer>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    signed(state, &org, (&resource, None), peer, &headers, sent).await
}

/// A signed request to something that has a name.
pub(super) async fn ask_named(
    state: At,
    Path((org, resource, name)): Path<(String, String, String)>,
    peer: Extension<Peer>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    signed(state, &org, (&resource, Some(&name)), peer, &headers, sent).await
}

async fn signed(
    State(front): At,
    org: &str,
    (resource, name): (&str, Option<&str>),
    Extension(peer): Extension<Peer>,
    headers: &HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let org = organisation(org, Door::Acme)?;
    let sent = body::of_device(&front, Door::Acme, &org, &peer, sent).await?;
    let media_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let request = AcmeRequest {
        address: &peer.address,
        resource,
        name,
        media_type,
        body: &sent,
    };
    front
        .desk
        .acme(&org, &request)
        .await
        .map(answer)
        .map_err(|error| Refusal::new(Door::Acme, error))
}
