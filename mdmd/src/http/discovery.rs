//! `GET /.well-known/com.apple.remotemanagement`: where somebody who signs in with an account enrols a device. Says what the
//! configuration says; knows no accounts and enrols nobody.
//!
//! <https://developer.apple.com/documentation/devicemanagement/discover-authentication-servers>

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::json;

use super::At;
use crate::config::PublicUrls;

pub(super) async fn servers(State(front): At) -> Response {
    let (status, document) = document(&front.public);
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What is offered. With nothing to offer the answer is a failure: only then does a device ask Apple where else to go.
fn document(public: &PublicUrls) -> (StatusCode, serde_json::Value) {
    let offered = [
        ("mdm-adde", &public.adde_url),
        ("mdm-byod", &public.byod_url),
    ];
    let servers: Vec<_> = offered
        .into_iter()
        .filter_map(|(version, url)| Some(json!({ "Version": version, "BaseURL": url.as_ref()? })))
        .collect();
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
        let (status, said) = document(&public);
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(said["code"], "com.apple.well-known.failed");
        public.byod_url = Some("https://enrol.example.com/byod".to_owned());
        let (status, said) = document(&public);
        assert_eq!(status, StatusCode::OK);
        let only = json!({ "Servers": [
            { "Version": "mdm-byod", "BaseURL": "https://enrol.example.com/byod" },
        ] });
        assert_eq!(said, only);
        public.adde_url = Some("https://enrol.example.com/adde".to_owned());
        let (_, said) = document(&public);
        assert_eq!(said["Servers"][0]["Version"], "mdm-adde");
    }
}
