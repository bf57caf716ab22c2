//! The endpoints for devices inside an axum application that a vendor has already: beside its own routes, behind its own proxy
//! that ends TLS and passes the client certificate in a header. Every answer and every error gets its status here, and a
//! device never hears 401, at which it would drop its enrolment.

mod support;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::clock::SystemClock;
use mdm_core::error::Error;
use mdm_core::identity::certificate_from_header;
use mdm_core::ids::OrganisationCode;
use mdm_core::organisation::Der;
use mdm_core::service::{Answer, Mdm, Org, Peer};
use mdm_core::store::SqliteStore;
use mdm_core::vault::EscrowVault;
use tower::ServiceExt as _;

/// What every handler gets: the vendor's own state would stand beside it.
type App = State<Arc<Mdm>>;

fn devices(mdm: Arc<Mdm>) -> Router {
    Router::new()
        .route("/mdm/{org}/checkin", put(check_in))
        .route("/mdm/{org}/command", put(command))
        .route("/mdm/{org}/enrol", post(enrol))
        .route("/mdm/{org}/scep", get(scep).post(scep))
        .with_state(mdm)
}

async fn check_in(
    State(mdm): App,
    Path(org): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Told, Refused> {
    let org = organisation(&mdm, &org).await?;
    Ok(Told(org.check_in(&peer(&headers)?, &body).await?))
}

async fn command(
    State(mdm): App,
    Path(org): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Told, Refused> {
    let org = organisation(&mdm, &org).await?;
    Ok(Told(org.report(&peer(&headers)?, &body).await?))
}

async fn enrol(
    State(mdm): App,
    Path(org): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Told, Refused> {
    let org = organisation(&mdm, &org).await?;
    Ok(Told(org.enrol(&address(&headers), &body).await?))
}

/// GetCACaps and GetCACert by GET, PKIOperation by POST.
async fn scep(
    State(mdm): App,
    Path(org): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Told, Refused> {
    let query = query.unwrap_or_default();
    let operation = query
        .split('&')
        .find_map(|part| part.strip_prefix("operation="));
    let org = organisation(&mdm, &org).await?;
    let operation = operation.unwrap_or_default();
    Ok(Told(org.scep(&address(&headers), operation, &body).await?))
}

async fn organisation(mdm: &Mdm, code: &str) -> Result<Org, Error> {
    mdm.organisation_for_device(&OrganisationCode::parse(code)?)
        .await
}

/// Who speaks, as the proxy tells. It must delete these headers when they come from outside.
fn peer(headers: &HeaderMap) -> Result<Peer, Error> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let certificate = text("client-cert")
        .map(certificate_from_header)
        .transpose()
        .map_err(|error| Error::bad_input("Client-Cert", error.to_string()))?;
    Ok(Peer {
        certificate: certificate.map(Der),
        signature: text("mdm-signature").map(str::to_owned),
        // Shown only by devices that an account brought; this host brings none so.
        bearer: None,
        address: address(headers),
    })
}

fn address(headers: &HeaderMap) -> String {
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    last.and_then(|value| value.to_str().ok())
        .and_then(|text| text.rsplit(',').next())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// An answer on its way out.
struct Told(Answer);

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        let (media_type, body) = match self.0 {
            // Zero bytes, not an empty property list: there is nothing to do.
            Answer::Empty => return StatusCode::OK.into_response(),
            Answer::Plist(body) => ("application/xml", body),
            Answer::Json(body) => ("application/json", body),
            Answer::Profile(body) => ("application/x-apple-aspen-config", body),
            Answer::Scep { media_type, body } => (media_type, body),
            Answer::Gone => return StatusCode::GONE.into_response(),
            Answer::NoSuchDeclaration => return StatusCode::NOT_FOUND.into_response(),
            _ => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        ([(header::CONTENT_TYPE, media_type)], body).into_response()
    }
}

/// An error on its way out: what the sender did wrong is a 400 with its sentence, what passes by itself a 503 with a date.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if self.0.is_callers_fault() {
            return (StatusCode::BAD_REQUEST, self.0.to_string()).into_response();
        }
        match self.0.retry_after() {
            Some(pause) => {
                let seconds = pause.as_secs().max(1).to_string();
                let when = [(header::RETRY_AFTER, seconds)];
                (StatusCode::SERVICE_UNAVAILABLE, when).into_response()
            }
            // The reason is for the log.
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), support::Failure> {
    let mdm = Arc::new(Mdm::new(
        Arc::new(SqliteStore::in_memory().await?),
        EscrowVault::new(support::OurKms::default()),
        Arc::new(SystemClock),
        support::apple(),
        support::settings(),
    ));
    let support::Customer { acme, plan, .. } = support::customer(&mdm).await?;

    // The vendor's application, with ours in it.
    let app = Router::new()
        .route("/", get(async || "our console"))
        .merge(devices(Arc::clone(&mdm)));

    // A real server would say `axum::serve(listener, app)`; here a device speaks through the routes themselves.
    let device = support::Device::with_identity(&mdm, &acme, &plan).await?;
    let check_in = async |org: &OrganisationCode, peer: &Peer, body: &[u8]| {
        through(&app, &format!("/mdm/{org}/checkin"), peer, body).await
    };
    let command = async |org: &OrganisationCode, peer: &Peer, body: &[u8]| {
        through(&app, &format!("/mdm/{org}/command"), peer, body).await
    };
    device.enrols(&check_in).await?;
    device.tells(&acme, &command).await?;

    // Whoever sends nonsense hears 400 and why.
    let code = &acme.organisation().code;
    let nonsense = check_in(code, &Peer::default(), b"no property list").await;
    assert!(nonsense.is_err_and(|error| error.to_string().starts_with("400: ")));
    Ok(())
}

/// Sends a request as the proxy would, and reads the answer as the device would.
async fn through(app: &Router, path: &str, peer: &Peer, body: &[u8]) -> Result<Answer, Error> {
    let failed = |why: String| Error::Precondition(why);
    let mut request = Request::put(path);
    if let Some(certificate) = &peer.certificate {
        let passed = format!(":{}:", STANDARD.encode(&certificate.0));
        request = request.header("client-cert", passed);
    }
    let request = request.body(Body::from(body.to_vec()));
    let request = request.map_err(|e| failed(e.to_string()))?;
    let Ok(answer) = app.clone().oneshot(request).await;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await;
    let body = body.map_err(|e| failed(e.to_string()))?.to_vec();
    match status {
        StatusCode::OK if body.is_empty() => Ok(Answer::Empty),
        StatusCode::OK => Ok(Answer::Plist(body)),
        other => Err(failed(format!(
            "{}: {}",
            other.as_u16(),
            String::from_utf8_lossy(&body)
        ))),
    }
}
