//! `PUT /mdm/{org}/command`: a report in, the next command out. A check-in that arrives here, told by its content type, is
//! answered as one, since one URL may serve both.
//!
//! <https://developer.apple.com/documentation/devicemanagement/sending-mdm-commands-to-a-device>

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;

use super::At;
use super::desk::Peer;
use super::enrol::organisation;
use super::error::{Door, Refusal, answer};
use super::{body, checkin};

const CHECK_IN: &[u8] = b"application/x-apple-aspen-mdm-checkin";

pub(super) async fn either(
    state: At,
    path: Path<String>,
    peer: Extension<Peer>,
    headers: HeaderMap,
    sent: Body,
) -> Result<Response, Refusal> {
    let is_check_in = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.len() >= CHECK_IN.len() && value[..CHECK_IN.len()].eq_ignore_ascii_case(CHECK_IN)
    });
    if is_check_in {
        checkin::check_in(state, path, peer, sent).await
    } else {
        report(state, path, peer, sent).await
    }
}

async fn report(
    State(front): At,
    Path(org): Path<String>,
    Extension(peer): Extension<Peer>,
    sent: Body,
) -> Result<Response, Refusal> {
    let org = organisation(&org, Door::Command)?;
    let sent = body::of_device(&front, Door::Command, &org, &peer, sent).await?;
    front
        .desk
        .report(&org, &peer, &sent)
        .await
        .map(answer)
        .map_err(|error| Refusal::new(Door::Command, error))
}
