//! `/mdm/{org}/download`: whoever was invited shows the code of the invitation and gets the enrolment profile. The code is never
//! in an address: a link has it behind `#`, which no browser sends and no log sees.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use mdm_core::error::Error;

use super::At;
use super::body;
use super::desk::Peer;
use super::enrol::organisation;
use super::error::{Door, Refusal, answer, html};

const PAGE: &str = include_str!("download.html");

/// The same for everybody: it tells nobody which organisations there are.
pub(super) async fn page() -> Response {
    html(PAGE)
}

pub(super) async fn profile(
    State(front): At,
    Path(org): Path<String>,
    Extension(peer): Extension<Peer>,
    sent: Body,
) -> Result<Response, Refusal> {
    let refuse = |error: Error| Refusal::new(Door::Enrol, error);
    let org = organisation(&org, Door::Enrol)?;
    let sent = body::of_device(&front, Door::Enrol, &org, &peer, sent).await?;
    let code = code_of(&sent).ok_or_else(|| {
        refuse(Error::bad_input(
            "code",
            "must be the field of a form, the code of an invitation",
        ))
    })?;
    front
        .desk
        .accept_invitation(&org, &peer, &code)
        .await
        .map(answer)
        .map_err(refuse)
}

/// The field of the form.
fn code_of(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let fields = body.split('&').filter_map(|field| field.split_once('='));
    let (_, code) = fields.into_iter().find(|(name, _)| *name == "code")?;
    let code = super::query::unescape(&code.replace('+', " "))?;
    (!code.trim().is_empty() && code.len() <= 200).then(|| code.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_field_of_a_form() {
        let check = |body: &str, code: Option<&str>| {
            assert_eq!(code_of(body.as_bytes()).as_deref(), code, "{body}");
        };
        check("code=abc-_", Some("abc-_"));
        check("a=b&code=+abc%20", Some("abc"));
        check("code=", None);
        check("kode=x", None);
        check("code=%ff", None);
    }

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        assert!(!PAGE.contains("http") && PAGE.contains("name=\"code\""));
    }
}
