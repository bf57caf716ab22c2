//! Requests that come with an `Idempotency-Key`: the same request with the same key is done once and answered alike, however
//! often it comes, to whichever process, and after a crash.
//!
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::uri::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use hyper::Method;
use mdm_core::error::Error;
use mdm_core::secret::Secret;
use mdm_core::service::{Coming, Org};
use tracing::Instrument as _;

use super::super::body;
use super::super::error::{Door, Failure, Refusal, media_type, replayed};
use super::asked::Query;
use super::{Caller, Office, Which, refused};

const HEADER: &str = "idempotency-key";
/// Longest key.
const LONGEST: usize = 255;

/// Does a request with a key once.
pub(super) async fn once(State(office): State<Office>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(HEADER) {
        return next.run(request).await;
    }
    match noted(&office, request, next).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn noted(office: &Office, request: Request, next: Next) -> Result<Response, Response> {
    let refuse = |error: Refusal| error.into_response();
    let key = key(request.headers()).map_err(|error| refuse(refused(error)))?;
    if request.uri().path().starts_with("/api/v1/secrets/") {
        let why = "is not taken here: each look at a secret is a look of its own";
        return Err(refuse(refused(Error::bad_input(HEADER, why))));
    }
    if request.uri().path().ends_with("/upload") {
        let why = "is not taken here: the same package again is the same revision";
        return Err(refuse(refused(Error::bad_input(HEADER, why))));
    }
    if request.uri().path().ends_with("/bundle") {
        let why = "is not taken here: the same bundle again goes on where it was";
        return Err(refuse(refused(Error::bad_input(HEADER, why))));
    }
    let (parts, sent) = request.into_parts();
    let caller = parts.extensions.get::<Caller>().cloned();
    let (org, who) = whose(office, caller, &parts.uri).await.map_err(refuse)?;
    let limits = &office.limits;
    let sent = body::read_hidden(sent, limits.api_bytes, limits)
        .await
        .map_err(|error| refuse(Refusal::new(Door::Api, error)))?;
    let asked = Secret::new([address(&parts.uri).as_bytes(), b"\n", sent.as_slice()].concat());
    let coming = org.coming(&who, &key, asked.expose()).await;
    let repeated = match coming.map_err(|error| refuse(refused(error)))? {
        Coming::New(repeated) => repeated,
        Coming::Answered(status, kind, body) => {
            return Ok(replayed(status, &kind, body.expose().to_vec()));
        }
        Coming::Other => return Err(refuse(Refusal::new(Door::Api, Failure::OtherRequest))),
        Coming::Lost => return Err(refuse(Refusal::new(Door::Api, Failure::AnswerLost))),
        Coming::UnderWay(until) => {
            let seconds = until.since(office.mdm.now()).as_secs().max(1);
            let under_way = Failure::UnderWay(seconds);
            return Err(refuse(Refusal::new(Door::Api, under_way)));
        }
    };
    let request = Request::from_parts(parts, Body::from(sent.to_vec()));
    // On its own: whoever hangs up meanwhile finds the answer when it comes again.
    let doing = async move {
        let answer = repeated.run(next.run(request)).await;
        let (parts, body) = answer.into_parts();
        if hyper::body::Body::size_hint(&body).exact().is_none() {
            // An archive that is sent as it is made: kept by nobody, and made anew when it is asked for again.
            if let Err(error) = repeated.came_to_nothing().await {
                tracing::error!(%error, "a request with a key could not be let go");
            }
            return Response::from_parts(parts, body);
        }
        // Made by us, and in memory already.
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => bytes::Bytes::new(),
        };
        let settled = if parts.status.is_success() || repeated.has_acted() {
            let kind = media_type(&parts.headers);
            let kept = Secret::new(body.to_vec());
            repeated.answered(parts.status.as_u16(), kind, &kept).await
        } else {
            repeated.came_to_nothing().await
        };
        if let Err(error) = settled {
            tracing::error!(%error, "the answer to a request with a key could not be kept");
        }
        Response::from_parts(parts, Body::from(body))
    };
    let doing = tokio::spawn(doing.in_current_span()).await;
    doing.map_err(|_| super::super::error::panicked(Box::new(())))
}

/// The organisation of a request, and who asks.
async fn whose(
    office: &Office,
    caller: Option<Caller>,
    uri: &Uri,
) -> Result<(Org, String), Refusal> {
    let caller = caller.ok_or_else(|| Refusal::new(Door::Api, Failure::NoToken))?;
    let path = uri.path();
    if path == "/api/v1/organisations" || path.starts_with("/api/v1/organisations/") {
        let why = "is not taken here: it would belong to no organisation";
        return Err(refused(Error::bad_input(HEADER, why)));
    }
    let Query(which) = Query::<Which>::of(uri)?;
    let org = caller.organisation(&office.mdm, &which).await?;
    Ok((org, caller.name))
}

fn address(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |all| all.as_str())
}

/// The key, with or without the quotation marks of a structured field.
fn key(headers: &HeaderMap) -> Result<String, Error> {
    let bad = |problem: &str| Error::bad_input(HEADER, problem);
    let mut all = headers.get_all(HEADER).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(bad("must be there once"));
    };
    let text = value.to_str().map_err(|_| bad("must be ASCII"))?.trim();
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    let fits = (1..=LONGEST).contains(&bare.len())
        && bare
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    match fits {
        true => Ok(bare.to_owned()),
        false => Err(bad("must be 1 to 255 visible characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_with_and_without_quotation_marks() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, axum::http::HeaderValue::from_static(value));
            }
            key(&headers).ok()
        };
        assert_eq!(read(&["\"abc\""]).as_deref(), Some("abc"));
        assert_eq!(read(&["abc"]).as_deref(), Some("abc"));
        for wrong in [&["\"\""][..], &[""], &["a b"], &["a", "b"], &["a\"b"]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
