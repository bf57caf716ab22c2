//! What Apps and Books means by its error numbers. The table that the service gives itself wins; numbers that are not
//! here are carried through.

use serde::Deserialize;
use serde_json::Value;

use crate::answer;
use crate::error::{Credential, Endpoint, Error, ErrorKind, Refusal};
use crate::transport::Response;

/// The meaning of an error number in a few words, by Apple's list of 2026.
#[must_use]
pub fn meaning(number: i64) -> Option<&'static str> {
    Some(match number {
        9601 => "sign-in is needed",
        9602 => "invalid argument",
        9603 => "internal error",
        9609 => "the user was not found",
        9621 => "the content token has expired",
        9622 => "invalid content token",
        9623 => "invalid push token",
        9625 => "the content token was revoked",
        9634 => "the call does not exist any more",
        9635 => "the Apple Account cannot be associated",
        9637 => "not allowed for facilitator accounts",
        9641 => "the Apple Account belongs to another user",
        9644 => "maintenance",
        9646 => "too many requests",
        9647 => "not supported for legacy tokens",
        9650 => "no such page",
        9700 => "too many assets",
        9701 => "too many users",
        9702 => "too many serial numbers",
        9703 => "an asset occurs twice",
        9704 => "a user occurs twice",
        9705 => "a serial number occurs twice",
        9706 => "the asset cannot be revoked",
        9707 => "the asset cannot be given to devices",
        9708 => "the event is not known",
        9709 => "not enough licences",
        9710 => "notification address and token belong together",
        9711 => "notification address or token too long",
        9712 => "notification address not valid or not https",
        9713 => "metadata of the service too long",
        9714 => "too many users",
        9715 => "a user occurs twice",
        9716 => "the user identifier exists already",
        9717 => "not an e-mail address",
        9718 => "no asset",
        9719 => "neither users nor serial numbers",
        9720 => "no users",
        9721 => "the state to compare with is not known",
        9722 => "bad authorisation header",
        9723 => "the service is not wholly named",
        9724 => "identifier of the service too long",
        9725 => "name of the service too long",
        9726 => "wrong method",
        9727 => "wrong content type",
        9728 => "the notification address is not reachable",
        9729 => "not available",
        _ => return None,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    error_number: Option<i64>,
    #[serde(default)]
    error_message: Option<String>,
    #[serde(default)]
    error_info: Option<Value>,
}

/// The error that an answer stands for. The number decides, then the status, never the text.
pub(super) fn read(endpoint: Endpoint, response: &Response, now_ms: i64) -> Error {
    let body: Option<Body> = serde_json::from_slice(response.body.expose()).ok();
    let number = body.as_ref().and_then(|body| body.error_number);
    let code = number.map(|number| number.to_string());
    let refusals = body.map(|body| {
        vec![Refusal {
            code: code.clone(),
            title: number.and_then(meaning).map(str::to_owned),
            detail: body.error_message.map(|text| answer::shown(&text)),
            about: body.error_info.as_ref().and_then(about),
            ..Refusal::default()
        }]
    });
    let refusals = || refusals.unwrap_or_default();
    let kind = match (number, response.status) {
        (Some(9601 | 9621 | 9622 | 9625 | 9722), _) | (None, 401) => ErrorKind::CredentialRefused {
            credential: Credential::ContentToken,
            code,
        },
        (Some(9646), _) | (None, 429) => ErrorKind::Throttled,
        (Some(9603 | 9644 | 9729), status) => ErrorKind::Unavailable { status },
        (None, status @ 500..) => ErrorKind::Unavailable { status },
        (Some(9637 | 9647), _) => ErrorKind::AccessDenied {
            refusals: refusals(),
        },
        (Some(9721), _) => ErrorKind::CursorExpired {
            code: "9721".into(),
        },
        (Some(9708), _) => ErrorKind::NotFound {
            refusals: refusals(),
        },
        (Some(9634), _) => ErrorKind::FeatureMissing {
            what: endpoint.call().into(),
        },
        (_, 403) => ErrorKind::AccessDenied {
            refusals: refusals(),
        },
        (_, 404) => ErrorKind::NotFound {
            refusals: refusals(),
        },
        (_, 410) => ErrorKind::FeatureMissing {
            what: endpoint.call().into(),
        },
        (_, 429) => ErrorKind::Throttled,
        (_, status @ 500..) => ErrorKind::Unavailable { status },
        (None, status) if answer::says_nothing(status) => ErrorKind::Unavailable { status },
        (_, status) => ErrorKind::Refused {
            status,
            refusals: refusals(),
        },
    };
    Error::new(endpoint, kind).waiting(answer::retry_after(response, now_ms))
}

/// The names of what a refusal is about: `serialNumbers: S1, S2`.
fn about(info: &Value) -> Option<String> {
    let parts: Vec<String> = info
        .as_object()?
        .iter()
        .filter_map(|(key, value)| {
            let items: Vec<String> = value
                .as_array()?
                .iter()
                .take(10)
                .map(|item| {
                    let item = item.get("adamId").unwrap_or(item);
                    item.as_str()
                        .map_or_else(|| item.to_string(), str::to_owned)
                })
                .collect();
            (!items.is_empty()).then(|| format!("{key}: {}", items.join(", ")))
        })
        .collect();
    (!parts.is_empty()).then(|| answer::shown(&parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Service;

    const WRITE: Endpoint = Endpoint::write(Service::Apps, "POST /assets/associate");

    fn check(status: u16, body: &str) -> Error {
        read(WRITE, &Response::new(status, body), 0)
    }

    #[test]
    fn the_number_decides_and_unknown_ones_are_carried_through() {
        let expired = check(401, r#"{"errorNumber":9621,"errorMessage":"x"}"#);
        assert!(
            expired
                .needs_person()
                .is_some_and(|s| s.contains("content token"))
                && expired.retry_after().is_none()
        );
        assert!(matches!(
            check(400, r#"{"errorNumber":9646}"#).kind(),
            ErrorKind::Throttled
        ));
        assert!(check(400, r#"{"errorNumber":9721}"#).is_cursor_expired());
        assert!(check(400, r#"{"errorNumber":9708}"#).is_not_found());
        assert!(check(200, r#"{"errorNumber":9603}"#).is_unknown_outcome());
        let new = check(
            400,
            r#"{"errorNumber":9999,"errorMessage":"n\u0000ew","errorInfo":{"serialNumbers":["S1","S2"],"assets":[{"adamId":"7"}]}}"#,
        );
        assert_eq!(new.code(), Some("9999"));
        let text = new.to_string();
        assert!(
            text.contains("assets: 7")
                && text.contains("serialNumbers: S1, S2")
                && text.contains("n ew"),
            "{text}"
        );
        for body in ["", "<html>", "7", r#"{"errorNumber":"many"}"#] {
            assert!(
                matches!(
                    check(400, body).kind(),
                    ErrorKind::Refused { status: 400, .. }
                ),
                "{body}"
            );
        }
    }

    #[test]
    fn trouble_says_how_long_to_wait() {
        let busy = Response::new(503, r#"{"errorNumber":9729}"#).with_header("Retry-After", "12");
        assert_eq!(
            read(WRITE, &busy, 0).retry_after(),
            Some(Duration::from_secs(12))
        );
    }
}
