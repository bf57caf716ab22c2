//! The only place that knows HTTP status codes. A device never gets 401 (it would unenrol), 404 (it would remove the
//! declaration that it asked for) or 410 (it would give up the user) for an error: whatever is its own fault is a 400.

use std::any::Any;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, LOCATION, REFERRER_POLICY, RETRY_AFTER,
    SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use mdm_core::ca::acme::ProblemKind;
use mdm_core::error::{Error, PortError};
use mdm_core::service::{AcmeAnswer, AcmeOutcome};
use mdm_core::store::StoreError;

use super::body::BodyError;
use super::desk::Answer;

/// Which table of statuses holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    CheckIn,
    Command,
    Enrol,
    Scep,
    Acme,
    Api,
    /// Pages for people with a browser.
    Page,
}

impl Door {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CheckIn => "checkin",
            Self::Command => "command",
            Self::Enrol => "enrol",
            Self::Scep => "scep",
            Self::Acme => "acme",
            Self::Api => "api",
            Self::Page => "page",
        }
    }
}

/// An error on its way out of a door.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) door: Door,
    pub(crate) error: Failure,
}

/// What can end a request early.
#[derive(Debug)]
pub(crate) enum Failure {
    Service(Error),
    Body(BodyError),
    /// The API's bearer token is missing or not valid.
    NoToken,
    /// What is to be changed is in another state than the one that was seen.
    Stale,
    /// A key stands for another request.
    OtherRequest,
    /// The same request is under way; after so many seconds it is known what became of it.
    UnderWay(u64),
    /// The same request was done, and its answer was lost.
    AnswerLost,
}

impl Refusal {
    pub(crate) fn new(door: Door, error: impl Into<Failure>) -> Self {
        Self {
            door,
            error: error.into(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Service(error)
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

fn status(door: Door, failure: &Failure) -> StatusCode {
    use StatusCode as S;
    match failure {
        Failure::Body(BodyError::TooLarge(_)) => S::PAYLOAD_TOO_LARGE,
        // 408 would be right, but clients repeat a request after it at once.
        Failure::Body(BodyError::TooSlow | BodyError::Broken) => S::BAD_REQUEST,
        Failure::Body(BodyError::Busy) => S::SERVICE_UNAVAILABLE,
        Failure::NoToken => S::UNAUTHORIZED,
        Failure::Stale => S::PRECONDITION_FAILED,
        Failure::OtherRequest => S::UNPROCESSABLE_ENTITY,
        // Nothing is wrong with the request: it is to be asked again, and then it is answered.
        Failure::UnderWay(_) => S::SERVICE_UNAVAILABLE,
        Failure::AnswerLost => S::CONFLICT,
        Failure::Service(error) => match (error, door) {
            (Error::BadInput { .. }, _) => S::BAD_REQUEST,
            (_, _) if error.retry_after().is_some() || error.is_conflict() => {
                S::SERVICE_UNAVAILABLE
            }
            (Error::Refused(_), Door::Api) => S::FORBIDDEN,
            // Never 401: a device would take that for the end of its enrolment.
            (Error::Revoked, _) => S::FORBIDDEN,
            (Error::NotFound(_), Door::Api) => S::NOT_FOUND,
            (Error::Precondition(_), Door::Api) => S::CONFLICT,
            // A person can mend it; the sentence says how.
            (Error::Port(PortError::NeedsPerson(_) | PortError::FeatureMissing(_)), Door::Api) => {
                S::CONFLICT
            }
            (Error::Port(_), Door::Api) => S::BAD_GATEWAY,
            // A profile request has no meaning for a plain 403; for the two MDM doors 400 is the documented refusal.
            (Error::Refused(_), Door::Enrol | Door::Scep | Door::Acme | Door::Page) => S::FORBIDDEN,
            (Error::NotFound(_), Door::Page) => S::NOT_FOUND,
            (Error::Precondition(_), Door::Page) => S::CONFLICT,
            (Error::Port(_), Door::Page) => S::BAD_GATEWAY,
            (Error::Refused(_) | Error::NotFound(_) | Error::Precondition(_), _) => S::BAD_REQUEST,
            _ => S::INTERNAL_SERVER_ERROR,
        },
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = status(self.door, &self.error);
        let door = self.door.name();
        let (sentence, retry) = match &self.error {
            Failure::Body(error) => {
                let retry = (*error == BodyError::Busy).then_some(5);
                (error.to_string(), retry)
            }
            Failure::NoToken => ("authorization: needs a valid bearer token".to_owned(), None),
            Failure::Stale => (
                "if-match: it has changed meanwhile; read it and decide anew".to_owned(),
                None,
            ),
            Failure::OtherRequest => (
                "idempotency-key: stands for another request; use a new one".to_owned(),
                None,
            ),
            Failure::UnderWay(seconds) => (
                "idempotency-key: the same request is under way".to_owned(),
                Some(*seconds),
            ),
            Failure::AnswerLost => (
                "idempotency-key: this request was done, and its answer was lost; look at what became of it"
                    .to_owned(),
                None,
            ),
            Failure::Service(error) => {
                let retry = (status == StatusCode::SERVICE_UNAVAILABLE)
                    .then(|| error.retry_after().map_or(1, |d| d.as_secs().max(1)));
                // What is ours to mend is for the log, not for the other side.
                let apples = matches!(error, Error::Port(_));
                // A row that has to be mended before this can be done: its place, never what stands there.
                let row = matches!(error, Error::Store(StoreError::Corrupt { .. }));
                let told = self.door == Door::Api && (apples || row);
                let sentence = if status.is_server_error() && !told {
                    match retry {
                        Some(_) => "not available at the moment".to_owned(),
                        None => "failed on our side".to_owned(),
                    }
                } else {
                    error.to_string()
                };
                (sentence, retry)
            }
        };
        if status.is_server_error() {
            match &self.error {
                // Apple's budget, or Apple itself: nothing of ours has failed, and it is asked again.
                Failure::Service(Error::Port(error)) if error.retry_after().is_some() => {
                    tracing::info!(door, %error, "put off");
                }
                Failure::Service(error @ Error::Busy(_)) => tracing::warn!(door, %error, "put off"),
                Failure::Service(error) => tracing::error!(door, %error, "failed"),
                Failure::Body(error) => tracing::warn!(door, %error, "put off"),
                Failure::UnderWay(_) => tracing::info!(door, reason = sentence, "put off"),
                _ => tracing::error!(door, "failed"),
            }
        } else {
            tracing::warn!(door, reason = sentence, "refused");
        }
        let mut response = if self.door == Door::Acme {
            // Refusals in the protocol's words are answers; what comes here, the protocol has no word for but one of these.
            let kind = if status.is_server_error() {
                "serverInternal"
            } else {
                "malformed"
            };
            let kind = format!("urn:ietf:params:acme:error:{kind}");
            let problem = serde_json::json!({ "type": kind, "detail": sentence });
            plain(status, "application/problem+json", problem.to_string())
        } else if self.door == Door::Api {
            plain(
                status,
                "application/problem+json",
                problem(status, &self.error, &sentence, retry),
            )
        } else if self.door == Door::Page {
            let inside = format!("<p id=\"refusal\">{}</p>", super::sign_in::safe(&sentence));
            let mut page = html_page(super::sign_in::page("Not signed in", &inside), None);
            *page.status_mut() = status;
            page
        } else {
            plain(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
        };
        if let Some(seconds) = retry {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Problem details, for programs and people.
///
/// <https://www.rfc-editor.org/rfc/rfc9457>
fn problem(status: StatusCode, failure: &Failure, detail: &str, retry: Option<u64>) -> String {
    let known = PROBLEMS.iter().find(|(code, ..)| *code == status.as_u16());
    let (_, kind, title) = known.unwrap_or(&PROBLEMS[0]);
    let field = match failure {
        Failure::Service(Error::BadInput { field, .. }) => Some(field.to_string()),
        _ => None,
    };
    let problem = Problem {
        r#type: format!("urn:mdmd:problem:{kind}"),
        title: (*title).to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        field,
        retry_after: retry,
    };
    // Texts and numbers: it can always be written.
    serde_json::to_string(&problem).unwrap_or_default()
}

/// Every refusal of the API: status, the end of its type, title. The first one is for what is ours to mend.
pub(crate) const PROBLEMS: &[(u16, &str, &str)] = &[
    (500, "failure", "Failed on our side"),
    (400, "bad-input", "The request cannot be right as it is"),
    (401, "no-token", "No valid token"),
    (403, "refused", "Not allowed"),
    (404, "not-found", "There is no such thing here"),
    (405, "wrong-method", "This address takes another method"),
    (409, "precondition", "The state of things does not allow it"),
    (412, "changed", "It has changed meanwhile"),
    (413, "too-large", "The body is too large"),
    (422, "other-request", "The key stands for another request"),
    (502, "apple-refused", "Another service refused"),
    (503, "not-now", "Not available at the moment"),
];

/// Problem details, as the API writes them.
#[derive(serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Problem {
    /// What kind of problem: `urn:mdmd:problem:` and a word.
    r#type: String,
    /// The kind in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// Of bad input: the field of the body or the query, or the part of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Where waiting helps: so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

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

/// Nothing is wrong with the request; there is too much of it now.
pub(super) fn come_again(why: &str, seconds: u64) -> Response {
    let mut response = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "text/plain; charset=utf-8",
        format!("{why}\n"),
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
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

/// No such route. A plain failure to a device: nothing of ours is addressed here.
pub(crate) fn nothing_here(door: Door) -> Response {
    if door == Door::Api {
        return unaddressed(StatusCode::NOT_FOUND, "path: nothing is here");
    }
    plain(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "path: nothing is here\n",
    )
}

/// A request that does not say, or says twice, whom it is for.
pub(super) fn no_host() -> Response {
    plain(
        StatusCode::BAD_REQUEST,
        "text/plain; charset=utf-8",
        "Host: must be there once\n",
    )
}

/// A route that is asked with another method than its own.
pub(crate) fn wrong_method(door: Door) -> Response {
    if door == Door::Api {
        let detail = "method: is not one of this address";
        return unaddressed(StatusCode::METHOD_NOT_ALLOWED, detail);
    }
    plain(
        StatusCode::BAD_REQUEST,
        "text/plain; charset=utf-8",
        "method: is not the one of this address\n",
    )
}

/// A request of the API that no route takes.
fn unaddressed(status: StatusCode, detail: &str) -> Response {
    let failure = Failure::Service(Error::NotFound("route"));
    let problem = problem(status, &failure, detail, None);
    plain(status, "application/problem+json", problem)
}

/// The last net: a panic ends one request, never the process. Its message may hold a value, so it is not repeated.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        "text/plain; charset=utf-8",
        "failed on our side\n",
    )
}

/// The process is ready for traffic, or says why not.
pub(crate) fn readiness(problem: Option<&'static str>) -> Response {
    match problem {
        None => plain(StatusCode::OK, "text/plain; charset=utf-8", "ready\n"),
        Some(problem) => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain; charset=utf-8",
            format!("not ready: {problem}\n"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_never_told_to_unenrol_or_to_forget() {
        let failures = || {
            [
                Failure::from(Error::bad_input("x", "y")),
                Failure::from(Error::Refused("x")),
                Failure::from(Error::NotFound("x")),
                Failure::from(Error::Precondition("x".into())),
                Failure::from(Error::Busy("x")),
                Failure::from(Error::Crypto("x")),
                Failure::from(Error::Store(StoreError::Conflict)),
                Failure::from(Error::Store(StoreError::Unavailable("x".into()))),
                Failure::from(Error::Port(PortError::CursorExpired)),
                Failure::from(BodyError::TooLarge(1)),
                Failure::from(BodyError::TooSlow),
            ]
        };
        for door in [
            Door::CheckIn,
            Door::Command,
            Door::Enrol,
            Door::Scep,
            Door::Acme,
        ] {
            for failure in failures() {
                let status = status(door, &failure).as_u16();
                assert!(status >= 400, "{door:?} {failure:?}");
                assert!(![401, 404, 410].contains(&status), "{door:?} {failure:?}");
            }
        }
    }

    #[test]
    fn the_api_answers_with_problem_details_and_apples_sentence() {
        let check = |error: Error, status: u16, kind: &str, detail: &str| {
            let failure = Failure::from(error);
            let got = super::status(Door::Api, &failure);
            let problem: serde_json::Value =
                serde_json::from_str(&problem(got, &failure, detail, None)).unwrap();
            assert_eq!(problem["status"], status, "{problem}");
            assert_eq!(problem["type"], format!("urn:mdmd:problem:{kind}"));
            assert_eq!(problem["detail"], detail);
            problem
        };
        let named = check(Error::bad_input("name", "x"), 400, "bad-input", "name: x");
        assert_eq!(named["field"], "name");
        let terms = PortError::NeedsPerson("accept the terms".into());
        check(terms.into(), 409, "precondition", "accept the terms");
        check(
            PortError::Refused("no".into()).into(),
            502,
            "apple-refused",
            "refused: no",
        );
    }

    #[test]
    fn a_request_that_is_under_way_says_when_to_come_again_and_one_that_is_lost_does_not() {
        let response = Refusal::new(Door::Api, Failure::UnderWay(60)).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "60");
        let response = Refusal::new(Door::Api, Failure::AnswerLost).into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn an_unavailable_store_says_when_to_come_again() {
        let error = Error::Store(StoreError::Unavailable("disk /secret/path".into()));
        let response = Refusal::new(Door::CheckIn, error).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "5");
    }
}
