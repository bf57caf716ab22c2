//! Entity tags: what is read has one (`ETag`), is not sent again to whoever has it (`If-None-Match`), and is not changed by
//! whoever has seen another state of it (`If-Match`).
//!
//! <https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests>

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use mdm_core::error::Error;
use mdm_core::identity::sha256_hex;
use mdm_core::ids::{ProjectId, WaveId};
use mdm_core::service::Org;
use mdm_core::store::Noun;

use super::super::error::{self, Door, Failure, Refusal};
use super::asked::Query;
use super::{Caller, Office, Which, refused};

/// The version of what an answer shows, for its tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version(pub(super) i64);

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
    let version = answer.extensions().get::<Version>().copied();
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
    if known == "*" {
        // Whether there is such a thing is found out anyway.
        return Ok(next.run(request).await);
    }
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| Refusal::new(Door::Api, Failure::NoToken))?;
    let uri = request.uri().clone();
    let Query(which) = Query::<Which>::of(&uri)?;
    let org = caller.organisation(&office.mdm, &which).await?;
    let Some((noun, key, version)) = changed(office, &org, uri.path()).await? else {
        return Err(bad(
            "is not taken at this address: it changes nothing that has a tag",
        ));
    };
    let seen = known
        .trim_matches('"')
        .split_once('.')
        .and_then(|(version, _)| version.parse::<i64>().ok());
    if known.starts_with("W/") || seen != Some(version) {
        return Err(stale());
    }
    // Held to it in the very batch that changes it: somebody else may be faster.
    let only = org.only_if(noun, key, version);
    let answer = only.run(next.run(request)).await;
    match only.was_refused() {
        true => Err(stale()),
        false => Ok(answer),
    }
}

/// The row that a request of this path changes, with its version now.
async fn changed(
    office: &Office,
    org: &Org,
    path: &str,
) -> Result<Option<(Noun, i64, i64)>, Refusal> {
    let mut parts = path.trim_start_matches("/api/v1/").split('/');
    let (Some(kind), Some(Ok(id))) = (parts.next(), parts.next().map(str::parse::<i64>)) else {
        return Ok(None);
    };
    match kind {
        "projects" => {
            let project = org.project(ProjectId(id)).await.map_err(refused)?;
            Ok(Some((Noun::Project, id, project.version)))
        }
        "waves" => {
            let found = office.mdm.store().wave(org.organisation().id, WaveId(id));
            let found = found.await.map_err(|error| refused(error.into()))?;
            let wave = found.ok_or_else(|| refused(Error::NotFound("wave")))?;
            Ok(Some((Noun::Wave, id, wave.version)))
        }
        _ => Ok(None),
    }
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
