//! Entity tags: what is read has one (`ETag`), is not sent again to whoever has it (`If-None-Match`), and is not changed by
//! whoever has seen another state of it (`If-Match`).
//!
//! <https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests>

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use mdm_core::error::Error;
use mdm_core::identity::sha256_hex;
use serde::Serialize;

use super::super::error::{self, Door, Failure, Refusal};
use super::super::{body, query};
use super::asked::Query;
use super::edited::{self, Named, Now, What};
use super::tags::Seen;
use super::{Caller, Office, Which, refused};

/// The state of what an answer shows: the first half of its tag, to which `If-Match` is held. The second half is of the answer,
/// which may tell more than what is edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version(String);

impl Version {
    /// That of a row which only people change.
    pub(super) fn of_row(version: i64) -> Self {
        Self(version.to_string())
    }

    /// That of a part of a row: a digest of it.
    pub(super) fn of(part: &impl Serialize) -> Self {
        // Plain data: its JSON cannot fail.
        let text = serde_json::to_vec(part).unwrap_or_default();
        Self(sha256_hex(&text)[..16].to_owned())
    }

    /// Whether a tag was answered for this state.
    pub(super) fn is_in(&self, tag: &str) -> bool {
        let halves = tag.trim_matches('"').split_once('.');
        halves.is_some_and(|(state, _)| state == self.0)
    }
}

/// Gives answers their tags, and holds requests to those that they name.
pub(super) async fn tags(State(office): State<Office>, request: Request, next: Next) -> Response {
    if request.method() == Method::GET {
        let known = all(request.headers(), &IF_NONE_MATCH);
        return tagged(next.run(request).await, &known).await;
    }
    if request.headers().contains_key(IF_MATCH) {
        return match only_if(&office, request, next).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.into_response(),
        };
    }
    next.run(request).await
}

async fn tagged(answer: Response, known: &[String]) -> Response {
    if !error::is_document(&answer) {
        return answer;
    }
    let version = answer.extensions().get::<Version>().cloned();
    let (mut parts, body) = answer.into_parts();
    // Made by us, and in memory already.
    let Ok(body) = body.collect().await else {
        return error::panicked(Box::new(()));
    };
    let body = body.to_bytes();
    let hash = &sha256_hex(&body)[..24];
    let tag = match version {
        Some(Version(version)) => format!("\"{version}.{hash}\""),
        None => format!("\"{hash}\""),
    };
    if let Ok(value) = axum::http::HeaderValue::from_str(&tag) {
        parts.headers.insert(hyper::header::ETAG, value);
    }
    // A proxy may have made a tag weak.
    let same = |known: &String| known == "*" || known.trim_start_matches("W/") == tag;
    if known.iter().any(same) {
        return error::not_modified(parts);
    }
    Response::from_parts(parts, Body::from(body))
}

/// Runs a request that changes what it names only as long as that is in the state that was seen.
async fn only_if(office: &Office, request: Request, next: Next) -> Result<Response, Refusal> {
    let stale = || Refusal::new(Door::Api, Failure::Stale);
    let bad = |problem: &str| refused(Error::bad_input("if-match", problem));
    let known = all(request.headers(), &IF_MATCH);
    let [known] = known.as_slice() else {
        return Err(bad("must be one tag"));
    };
    let any = known == "*";
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| Refusal::new(Door::Api, Failure::NoToken))?;
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let Some((what, named)) = edited::by(route) else {
        return match any {
            // Nothing here has a state that could be another one.
            true => Ok(next.run(request).await),
            false => Err(bad(
                "is not taken at this address: it changes nothing that has a tag",
            )),
        };
    };
    let org = match what {
        // Of the installation: who may not change it is not told how it stands.
        What::Template if !caller.is_local() => return Ok(next.run(request).await),
        What::Template => None,
        _ => {
            let Query(which) = Query::<Which>::of(request.uri())?;
            Some(caller.organisation(&office.mdm, &which).await?)
        }
    };
    let (name, mut request) = name_in(office, route, named, request).await?;
    let Some(name) = name else {
        // Never without its condition, whatever the request would be taken for.
        return Err(bad(
            "cannot be held to: the request does not name what it changes",
        ));
    };
    let now = edited::now(office, org.as_ref(), what, &name).await?;
    if any {
        // Any state will do, as long as there is one: what is not there is not made.
        now.ok_or_else(stale)?;
        return Ok(next.run(request).await);
    }
    let seen = |now: &Now| !known.starts_with("W/") && now.is_seen_in(known);
    let now = now.filter(seen).ok_or_else(stale)?;
    if let Some(have) = now.tagged() {
        request.extensions_mut().insert(Seen(have.clone()));
    }
    // Held to it in the very batch that changes it: somebody else may be faster.
    let only = now.held(org.as_ref());
    let answer = only.run(next.run(request)).await;
    match only.was_refused() {
        true => Err(stale()),
        false => Ok(answer),
    }
}

/// The name of what a request edits, and the request as it was.
async fn name_in(
    office: &Office,
    route: &str,
    named: Named,
    request: Request,
) -> Result<(Option<String>, Request), Refusal> {
    let uri = request.uri();
    let name = match named {
        Named::Nowhere => Some(String::new()),
        Named::Path => edited::in_path(route, uri.path()),
        Named::Query => query::parameter(uri.query(), "name"),
        Named::Body => {
            let (parts, sent) = request.into_parts();
            let limits = &office.limits;
            let sent = body::read_hidden(sent, limits.api_bytes, limits)
                .await
                .map_err(|error| Refusal::new(Door::Api, error))?;
            let name = edited::in_body(&sent);
            // Zeroed with its last reader.
            let sent = Body::from(bytes::Bytes::from_owner(sent));
            return Ok((name, Request::from_parts(parts, sent)));
        }
    };
    Ok((name, request))
}

/// The tags of a header, of all its lines.
fn all(headers: &HeaderMap, name: &hyper::header::HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|tag| tag.trim().to_owned())
        .filter(|tag| !tag.is_empty())
        .collect()
}
