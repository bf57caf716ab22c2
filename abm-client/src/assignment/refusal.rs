//! What the device-assignment service means by a refusal: plain text with one code, sometimes quoted.

use crate::answer;
use crate::error::{Credential, Endpoint, Error, ErrorKind, Refusal};
use crate::transport::Response;

/// Codes looked for in a body, in this order; a code that contains another one stands before it.
const CODES: &[&str] = &[
    "T_C_NOT_SIGNED",
    "TOKEN_EXPIRED",
    "TOKEN_REJECTED",
    "ACCESS_DENIED",
    "EXPIRED_CURSOR",
    "EXHAUSTED_CURSOR",
    "INVALID_CURSOR",
    "CURSOR_REQUIRED",
    "DEVICE_NOT_FOUND",
    "DEVICE_ID_REQUIRED",
    "PROFILE_UUID_REQUIRED",
    "CONFIG_NAME_REQUIRED",
    "CONFIG_NAME_INVALID",
    "CONFIG_URL_REQUIRED",
    "CONFIG_URL_INVALID",
    "DEPARTMENT_INVALID",
    "FLAGS_INVALID",
    "LOCALE_INVALID",
    "MAGIC_INVALID",
    "SUPPORT_EMAIL_INVALID",
    "SUPPORT_PHONE_INVALID",
    "USER_AGENT_MISSING",
    "USER_AGENT_INVALID",
    "MALFORMED_REQUEST_BODY",
    "MDM_SERVICE_DISCOVERY_URL_REQUIRED",
    "MDM_SERVICE_DISCOVERY_URL_NOT_VALID",
    "ORG_NOT_SUPPORTED",
    "APPLE_SEED_FOR_IT_TURNED_OFF",
    "OAUTH_PROBLEM_ADVICE",
    "NOT_FOUND",
    "FORBIDDEN",
];

/// The code in a body: a known one without regard to case, or what looks like one.
pub(super) fn code(response: &Response) -> Option<String> {
    let body = response.body.expose();
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let text = text.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text)
        .trim();
    let upper = text.to_ascii_uppercase();
    if let Some(known) = CODES.iter().find(|known| upper.contains(**known)) {
        return Some((*known).to_owned());
    }
    let looks_like_one = (3..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    looks_like_one.then(|| text.to_owned())
}

/// Whether a new session may help: 401, or 403 with `FORBIDDEN`. Other 403 answers are for people.
pub(super) fn is_session_refused(response: &Response) -> bool {
    response.status == 401
        || (response.status == 403 && code(response).as_deref() == Some("FORBIDDEN"))
}

/// The error that an answer other than 2xx stands for.
pub(super) fn read(endpoint: Endpoint, response: &Response, now_ms: i64) -> Error {
    let code = code(response);
    let refusals = || {
        code.iter()
            .map(|code| Refusal {
                code: Some(code.clone()),
                ..Refusal::default()
            })
            .collect()
    };
    let login = endpoint.call() == super::SESSION.call();
    let kind = match (response.status, code.as_deref()) {
        (_, Some("T_C_NOT_SIGNED")) => ErrorKind::TermsNotAccepted,
        (_, Some("APPLE_SEED_FOR_IT_TURNED_OFF")) => ErrorKind::FeatureMissing {
            what: "AppleSeed for IT is turned off".into(),
        },
        (_, Some("ORG_NOT_SUPPORTED")) => ErrorKind::FeatureMissing {
            what: endpoint.call().into(),
        },
        (_, Some(code @ ("INVALID_CURSOR" | "EXPIRED_CURSOR" | "CURSOR_REQUIRED"))) => {
            ErrorKind::CursorExpired { code: code.into() }
        }
        (401, _) | (403, Some("TOKEN_EXPIRED" | "TOKEN_REJECTED")) if login => {
            ErrorKind::CredentialRefused {
                credential: Credential::ServerToken,
                code: code.clone(),
            }
        }
        (401, _) => ErrorKind::SessionRefused,
        (403, _) => ErrorKind::AccessDenied {
            refusals: refusals(),
        },
        (404, _) | (400, Some("NOT_FOUND" | "DEVICE_NOT_FOUND")) => ErrorKind::NotFound {
            refusals: refusals(),
        },
        (429, _) => ErrorKind::Throttled,
        (status @ 500.., _) => ErrorKind::Unavailable { status },
        (status, None) if answer::says_nothing(status) => ErrorKind::Unavailable { status },
        (status, _) => ErrorKind::Refused {
            status,
            refusals: refusals(),
        },
    };
    Error::new(endpoint, kind).waiting(answer::retry_after(response, now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Service;

    const SYNC: Endpoint = Endpoint::read(Service::DeviceAssignment, "POST /devices/sync");

    fn check(endpoint: Endpoint, status: u16, body: &str) -> Error {
        read(endpoint, &Response::new(status, body), 0)
    }

    #[test]
    fn a_redirection_or_a_time_out_says_nothing_of_what_was_done() {
        const ASSIGN: Endpoint =
            Endpoint::write(Service::DeviceAssignment, "POST /profile/devices");
        for status in [302, 408] {
            assert!(check(ASSIGN, status, "").is_unknown_outcome());
            assert!(check(SYNC, status, "").retry_after().is_some());
        }
    }

    #[test]
    fn a_code_is_found_quoted_and_in_any_case() {
        for body in [
            "EXPIRED_CURSOR",
            "\"EXPIRED_CURSOR\"",
            " expired_cursor\n",
            "{\"message\":\"EXPIRED_CURSOR\"}",
        ] {
            assert!(check(SYNC, 400, body).is_cursor_expired(), "{body}");
        }
        assert_eq!(
            check(SYNC, 400, "\"BRAND_NEW_CODE\"\n").code(),
            Some("BRAND_NEW_CODE")
        );
        assert_eq!(
            check(SYNC, 400, "<html>serial ABC secret</html>").code(),
            None
        );
        assert!(!check(SYNC, 400, "EXHAUSTED_CURSOR").is_cursor_expired());
    }

    #[test]
    fn only_some_403_mean_a_new_session() {
        let refused = |status, body: &str| is_session_refused(&Response::new(status, body));
        assert!(refused(401, "") && refused(403, "FORBIDDEN"));
        assert!(
            !refused(403, "T_C_NOT_SIGNED") && !refused(403, "ACCESS_DENIED") && !refused(403, "")
        );
    }

    #[test]
    fn a_refused_login_asks_for_a_new_token() {
        let session = super::super::SESSION;
        for (status, body) in [
            (401, ""),
            (403, "oauth_problem_advice ... token_expired"),
            (403, "token_rejected"),
        ] {
            let error = check(session, status, body);
            assert!(
                error
                    .needs_person()
                    .is_some_and(|s| s.contains("new token")),
                "{error}"
            );
            assert_eq!(error.retry_after(), None);
        }
        assert!(matches!(
            check(session, 403, "ACCESS_DENIED").kind(),
            ErrorKind::AccessDenied { .. }
        ));
        assert!(matches!(
            check(session, 403, "T_C_NOT_SIGNED").kind(),
            ErrorKind::TermsNotAccepted
        ));
    }
}
