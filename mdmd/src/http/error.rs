//! The only place that knows HTTP status codes. A device never gets 401 (it would unenrol), 404 (it would remove the
//! declaration that it asked for) or 410 (it would give up the user) for an error: whatever is its own fault is a 400.

mod answers;
mod problem;

use std::any::Any;

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use mdm_core::error::{Error, PortError};
use mdm_core::store::StoreError;

pub(crate) use self::answers::{
    answer, attachment, event_stream, html, html_page, is_document, json_answer, media_type,
    no_such_piece, not_modified, partly, piece, replayed, see_other, unkept_answer,
};
pub(crate) use self::problem::{PROBLEMS, Problem};

use self::answers::plain;
use self::problem::problem;
use super::body::BodyError;

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
