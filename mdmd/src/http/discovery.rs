//! `GET /.well-known/com.apple.remotemanagement`: where somebody who signs in with an account enrols a device: at the organisation
//! that has the account's domain, else where the configuration says. Enrols nobody.
//!
//! <https://developer.apple.com/documentation/devicemanagement/discover-authentication-servers>

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use mdm_core::service::AccountServer;
use serde_json::{Value, json};

use super::error::Refusal;
use super::{At, account};
use crate::config::PublicUrls;

/// For an account of an organisation that is served here its own ways; else what is configured.
pub(super) async fn servers(
    State(front): At,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    if let Some(own) = account::servers_of(&front, query.as_deref()).await? {
        return Ok(own);
    }
    Ok(response(configured(&front.public)))
}

/// The document with these ways.
pub(super) fn answer(servers: &[AccountServer]) -> Response {
    let servers = servers.iter();
    let servers = servers.map(|s| json!({ "Version": s.version, "BaseURL": s.base_url }));
    response(document(servers.collect()))
}

fn response((status, document): (StatusCode, Value)) -> Response {
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn configured(public: &PublicUrls) -> (StatusCode, Value) {
    let offered = [
        ("mdm-adde", &public.adde_url),
        ("mdm-byod", &public.byod_url),
    ];
    let servers = offered
        .into_iter()
        .filter_map(|(version, url)| Some(json!({ "Version": version, "BaseURL": url.as_ref()? })));
    document(servers.collect())
}

/// What is offered. With nothing to offer the answer is a failure: only then does a device ask Apple where else to go.
fn document(servers: Vec<Value>) -> (StatusCode, Value) {
    if servers.is_empty() {
        let none = json!({
            "code": "com.apple.well-known.failed",
            "description": "no account-driven enrolment is offered here",
            "message": "This organization offers no sign-in enrollment here.",
        });
        return (StatusCode::FORBIDDEN, none);
    }
    (StatusCode::OK, json!({ "Servers": servers }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_configured_is_offered_and_nothing_else() {
        let mut public = Config::for_directory(std::path::Path::new("/nowhere")).public;
        let (status, said) = configured(&public);
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(said["code"], "com.apple.well-known.failed");
        public.byod_url = Some("https://enrol.example.com/byod".to_owned());
        let (status, said) = configured(&public);
        assert_eq!(status, StatusCode::OK);
        let only = json!({ "Servers": [
            { "Version": "mdm-byod", "BaseURL": "https://enrol.example.com/byod" },
        ] });
        assert_eq!(said, only);
        public.adde_url = Some("https://enrol.example.com/adde".to_owned());
        let (_, said) = configured(&public);
        assert_eq!(said["Servers"][0]["Version"], "mdm-adde");
    }
}
