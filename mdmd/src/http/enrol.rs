//! `/mdm/{org}/enrol` (signed machine information in, signed enrolment profile out) and `/mdm/{org}/scep`.
//! These doors never see a client certificate.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::error::Error;
use mdm_core::ids::OrganisationCode;

use super::At;
use super::body;
use super::desk::Peer;
use super::error::{Door, Refusal, answer};

/// The organisation of a path.
pub(super) fn organisation(text: &str, door: Door) -> Result<OrganisationCode, Refusal> {
    OrganisationCode::parse(text).map_err(|error| Refusal::new(door, error))
}

pub(super) async fn profile(
    State(front): At,
    Path(org): Path<String>,
    Extension(peer): Extension<Peer>,
    sent: Body,
) -> Result<Response, Refusal> {
    let org = organisation(&org, Door::Enrol)?;
    let sent = body::of_device(&front, Door::Enrol, &org, &peer, sent).await?;
    front
        .desk
        .enrol(&org, &peer, &sent)
        .await
        .map(answer)
        .map_err(|error| Refusal::new(Door::Enrol, error))
}

/// `?operation=GetCACaps`, `GetCACert`, or `PKIOperation` with the message as base64 in the query.
///
/// <https://www.rfc-editor.org/rfc/rfc8894#section-4.1>
pub(super) async fn scep_get(
    State(front): At,
    Path(org): Path<String>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    let refuse = |error: Error| Refusal::new(Door::Scep, error);
    let org = organisation(&org, Door::Scep)?;
    let query = query.unwrap_or_default();
    let operation = parameter(&query, "operation").map_err(refuse)?;
    let message = match parameter(&query, "message") {
        Ok(text) if operation == "PKIOperation" => base64(&text).map_err(refuse)?,
        Ok(text) => text.into_bytes(),
        Err(_) => Vec::new(),
    };
    front
        .desk
        .scep(&org, &peer, &operation, &message)
        .await
        .map(answer)
        .map_err(refuse)
}

/// `?operation=PKIOperation` with the message as body.
pub(super) async fn scep_post(
    State(front): At,
    Path(org): Path<String>,
    RawQuery(query): RawQuery,
    Extension(peer): Extension<Peer>,
    sent: Body,
) -> Result<Response, Refusal> {
    let refuse = |error: Error| Refusal::new(Door::Scep, error);
    let org = organisation(&org, Door::Scep)?;
    let operation = parameter(&query.unwrap_or_default(), "operation").map_err(refuse)?;
    let sent = body::of_device(&front, Door::Scep, &org, &peer, sent).await?;
    front
        .desk
        .scep(&org, &peer, &operation, &sent)
        .await
        .map(answer)
        .map_err(refuse)
}

/// The revocation list of one of the organisation's authorities, by the name that its certificates carry.
pub(super) async fn revocation_list(
    State(front): At,
    Path((org, authority)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let org = organisation(&org, Door::Scep)?;
    front
        .desk
        .revocation_list(&org, &authority)
        .await
        .map(answer)
        .map_err(|error| Refusal::new(Door::Scep, error))
}

/// A parameter of a query, its escapes undone. A plus sign stays one: clients put base64 there without escaping it.
fn parameter(query: &str, name: &str) -> Result<String, Error> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| super::query::unescape(value))
        .ok_or_else(|| Error::bad_input(name, "must be a parameter of the query"))
}

fn base64(text: &str) -> Result<Vec<u8>, Error> {
    // Some clients break lines, some let a plus sign become a blank.
    let text: String = text
        .chars()
        .map(|c| if c == ' ' { '+' } else { c })
        .filter(|c| !c.is_ascii_whitespace())
        .collect();
    STANDARD
        .decode(text)
        .map_err(|_| Error::bad_input("message", "must be base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_the_query_is_read_with_and_without_escapes() {
        let check = |query: &str| base64(&parameter(query, "message").unwrap()).unwrap();
        assert_eq!(check("operation=x&message=%2B%2F8%3D"), [0xfb, 0xff]);
        assert_eq!(check("message=+/8="), [0xfb, 0xff]);
        assert_eq!(check("message=%20/8="), [0xfb, 0xff]);
        assert!(parameter("operation=x", "message").is_err());
        assert!(parameter("message=%zz", "message").is_err());
        assert!(base64("%%%").is_err());
    }
}
