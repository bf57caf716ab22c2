//! `PUT /mdm/{org}/checkin`: one check-in message in, its answer out.
//!
//! <https://developer.apple.com/documentation/devicemanagement/check-in>

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;

use super::At;
use super::body;
use super::desk::Peer;
use super::enrol::organisation;
use super::error::{Door, Refusal, answer};

pub(super) async fn check_in(
    State(front): At,
    Path(org): Path<String>,
    Extension(peer): Extension<Peer>,
    sent: Body,
) -> Result<Response, Refusal> {
    let refuse = |error| Refusal::new(Door::CheckIn, error);
    let org = organisation(&org, Door::CheckIn)?;
    let sent = body::of_device(&front, Door::CheckIn, &org, &peer, sent).await?;
    front
        .desk
        .check_in(&org, &peer, &sent)
        .await
        .map(answer)
        .map_err(refuse)
}
