//! Answers with their statuses and headers: of devices, of the API, of files, of pages. Refusals stand above.

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, LOCATION, REFERRER_POLICY, SET_COOKIE,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use mdm_core::ca::acme::ProblemKind;
use mdm_core::error::Error;
use mdm_core::service::{AcmeAnswer, AcmeOutcome};

use super::super::desk::Answer;
use super::Failure;
use super::problem::problem;

/// An answer with a result for each of many: success when all of it went well, 207 otherwise.
pub(crate) fn partly(answer: &impl serde::Serialize, all: bool) -> Response {
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    match serde_json::to_vec(answer) {
        Ok(body) => plain(status, "application/json", body),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            let failure = Failure::Service(Error::Crypto("the answer cannot be written"));
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let problem = problem(status, &failure, "failed on our side", None);
            plain(status, "application/problem+json", problem)
        }
    }
}

/// Whether an answer is a document that may have a tag.
pub(crate) fn is_document(answer: &Response) -> bool {
    // One that is sent as it is read has no length yet, and is gathered by nobody here.
    let whole = hyper::body::Body::size_hint(answer.body())
        .exact()
        .is_some();
    whole && answer.status() == StatusCode::OK && media_type(answer.headers()) == "application/json"
}

/// What a body is.
pub(crate) fn media_type(headers: &hyper::HeaderMap) -> &str {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    kind.unwrap_or("application/octet-stream")
}

/// Whoever asks has it already.
pub(crate) fn not_modified(mut parts: hyper::http::response::Parts) -> Response {
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::empty())
}

/// An answer that was given before.
pub(crate) fn replayed(status: u16, kind: &str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    // It was a header's value before.
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(CONTENT_TYPE, kind);
    }
    let name = HeaderName::from_static("idempotency-replayed");
    headers.insert(name, HeaderValue::from_static("true"));
    response
}

/// A file for people's own programs.
pub(crate) fn attachment(kind: &'static str, body: Body) -> Response {
    let mut response = plain(StatusCode::OK, kind, body);
    unkept(&mut response, None);
    response
}

/// Events as they come; kept by nobody in between.
pub(crate) fn event_stream(body: Body) -> Response {
    let mut response = plain(StatusCode::OK, "text/event-stream", body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that gathers what it hands on would keep events back.
    let name = HeaderName::from_static("x-accel-buffering");
    headers.insert(name, HeaderValue::from_static("no"));
    response
}

/// A device's answer. The service alone may say *gone* and *no such declaration*: both make a device give something up.
pub(crate) fn answer(answer: Answer) -> Response {
    const TEXT: &str = "text/plain; charset=utf-8";
    match answer {
        // Zero bytes, not an empty plist: nothing more to do.
        Answer::Empty => Response::new(Body::empty()),
        Answer::Plist(body) => plain(StatusCode::OK, "application/xml; charset=utf-8", body),
        Answer::Json(body) => plain(StatusCode::OK, "application/json", body),
        Answer::Profile(body) => plain(StatusCode::OK, "application/x-apple-aspen-config", body),
        Answer::File { content_type, body } => {
            let mut response = plain(StatusCode::OK, "application/octet-stream", body);
            let headers = response.headers_mut();
            // Checked when it came in.
            if let Ok(value) = HeaderValue::from_str(&content_type) {
                headers.insert(CONTENT_TYPE, value);
            }
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Answer::Scep { media_type, body } => plain(StatusCode::OK, media_type, body),
        Answer::Acme(answer) => acme(*answer),
        // The one refusal of an enrolment that a device understands.
        Answer::UpdateFirst(body) => plain(StatusCode::FORBIDDEN, "application/json", body),
        Answer::SignIn { url } => sign_in_first(&url),
        Answer::Gone => plain(StatusCode::GONE, TEXT, "this user is not managed\n"),
        Answer::NoSuchDeclaration => plain(
            StatusCode::NOT_FOUND,
            TEXT,
            "there is no such declaration\n",
        ),
        _ => {
            tracing::error!("an answer of an unknown kind");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT,
                "failed on our side\n",
            )
        }
    }
}

/// The one 401 that a device is ever told, and only the service can ask for it: a device that an account brings has its user sign
/// in and comes back. To any other it would be the end of its enrolment.
fn sign_in_first(url: &str) -> Response {
    let mut response = plain(
        StatusCode::UNAUTHORIZED,
        "text/plain; charset=utf-8",
        "somebody must sign in first\n",
    );
    match HeaderValue::from_str(&format!("Bearer method=\"apple-as-web\", url=\"{url}\"")) {
        Ok(challenge) => {
            let headers = response.headers_mut();
            headers.insert(WWW_AUTHENTICATE, challenge);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        // Without the challenge it would mean something else.
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// A file, or one piece of it: the first and the last of its bytes.
pub(crate) fn piece(size: u64, of: Option<(u64, u64)>, tag: &str, body: Body) -> Response {
    let status = match of {
        None => StatusCode::OK,
        Some(_) => StatusCode::PARTIAL_CONTENT,
    };
    let mut response = plain(status, "application/octet-stream", body);
    let length = of.map_or(size, |(from, to)| to - from + 1);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Whoever has the address may have the file, and nobody in between.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(ETAG, tag);
    }
    let range = of.map(|(from, to)| HeaderValue::from_str(&format!("bytes {from}-{to}/{size}")));
    if let Some(Ok(range)) = range {
        headers.insert(CONTENT_RANGE, range);
    }
    response
}

/// A piece was asked for that lies beyond the end.
pub(crate) fn no_such_piece(size: u64) -> Response {
    let mut response = plain(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "text/plain; charset=utf-8",
        "range: lies beyond the end\n",
    );
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}")) {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    response
}

/// An answer of the ACME server. Its refusals keep to the statuses that mean nothing else to a device: no 401, 404 or 410.
fn acme(answer: AcmeAnswer) -> Response {
    let status = match answer.outcome {
        AcmeOutcome::Done => StatusCode::OK,
        AcmeOutcome::Created => StatusCode::CREATED,
        AcmeOutcome::Empty => StatusCode::NO_CONTENT,
        AcmeOutcome::Refused(kind) => {
            crate::metrics::acme_refused(kind.as_str());
            match kind {
                ProblemKind::Unauthorized
                | ProblemKind::OrderNotReady
                | ProblemKind::RejectedIdentifier => StatusCode::FORBIDDEN,
                ProblemKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::BAD_REQUEST,
            }
        }
    };
    let mut response = plain(status, answer.media_type, answer.body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut add = |name: HeaderName, value: String| {
        // Made of our own addresses and base64url.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(name, value);
        }
    };
    if let Some(nonce) = answer.nonce {
        add(HeaderName::from_static("replay-nonce"), nonce);
    }
    if let Some(location) = answer.location {
        add(LOCATION, location);
    }
    for (to, relation) in answer.links {
        add(LINK, format!("<{to}>;rel=\"{relation}\""));
    }
    response
}

/// A page of ours, which loads nothing, is kept nowhere and stands in no frame.
pub(crate) fn html(page: &'static str) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let mut response = plain(StatusCode::OK, "text/html; charset=utf-8", page);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A page of ours without scripts.
pub(crate) fn html_page(page: String, cookie: Option<HeaderValue>) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let mut response = plain(StatusCode::OK, "text/html; charset=utf-8", page);
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    unkept(&mut response, cookie);
    response
}

/// Somewhere else, by GET. Whoever calls has made or checked the address.
pub(crate) fn see_other(to: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = Response::new(Body::empty());
    match HeaderValue::from_str(to) {
        Ok(to) => {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, to);
        }
        // An address that cannot stand in a header leads nowhere.
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    unkept(&mut response, cookie);
    response
}

/// JSON that nobody keeps.
pub(crate) fn json_answer(answer: &serde_json::Value) -> Response {
    let mut response = plain(StatusCode::OK, "application/json", answer.to_string());
    unkept(&mut response, None);
    response
}

/// A device's answer that nobody keeps.
pub(crate) fn unkept_answer(given: Answer) -> Response {
    let mut response = answer(given);
    unkept(&mut response, None);
    response
}

fn unkept(response: &mut Response, cookie: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, cookie);
    }
}

pub(super) fn plain(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
