//! `GET /mdm/{org}/files/{name}`: a file of a declaration, for a device that shows its identity in the connection and has the
//! declaration.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;

use super::At;
use super::desk::Peer;
use super::enrol::organisation;
use super::error::{Door, Refusal, answer};

pub(super) async fn file(
    State(front): At,
    Path((org, name)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    let org = organisation(&org, Door::Command)?;
    front
        .desk
        .file(&org, &peer, &name)
        .await
        .map(answer)
        .map_err(|error| Refusal::new(Door::Command, error))
}
