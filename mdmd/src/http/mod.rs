//! Every route on one screen, and what all of them share: a name for the request, one log line, a net under panics.
//! Decides nothing about devices.

mod account;
mod acme;
pub(crate) mod api;
mod body;
mod checkin;
mod command;
mod cookie;
pub(crate) mod desk;
mod discovery;
mod download;
mod drain;
pub(crate) mod edge;
mod enrol;
pub(crate) mod error;

mod files;
mod health;
mod identity;
mod package;
mod query;
mod sign_in;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post, put};
use hyper::Version;
use hyper::header::{HOST, HeaderName, HeaderValue};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use crate::config::{Limits, Proxy, PublicUrls};
use crate::listen::{Connection, Doors};
use crate::metrics::Figures;
use crate::packages::Packages;
use desk::Desk;
pub(crate) use health::Health;
pub(crate) use query::parameter;

/// What the device routes need.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) public: Arc<PublicUrls>,
    pub(crate) edge: Arc<edge::Edge>,
    pub(crate) health: Arc<Health>,
    pub(crate) packages: Arc<Packages>,
}

/// Routes and their router from one list, so that the story of two organisations, which walks the list, forgets none.
macro_rules! table {
    ($list:ident $router:ident $($method:ident $path:literal $handler:path;)*) => {
        /// Method and path of each.
        pub(crate) const $list: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        fn $router() -> Router<Front> {
            Router::new()$(.route($path, $method($handler)))*
        }
    };
}

table! { DEVICE device
    put  "/mdm/{org}/checkin" checkin::check_in;
    put  "/mdm/{org}/command" command::either;
    get  "/mdm/{org}/files/{name}" files::file;
}

table! { ENROL enrol
    post "/mdm/{org}/enrol" enrol::profile;
    get  "/mdm/{org}/download" download::page;
    post "/mdm/{org}/download" download::profile;
    get  "/mdm/{org}/scep" enrol::scep_get;
    post "/mdm/{org}/scep" enrol::scep_post;
    get  "/mdm/{org}/crl/{authority}" enrol::revocation_list;
    get  "/mdm/{org}/package/{file}" package::file;
    get  "/mdm/{org}/package/{file}/manifest" package::manifest;
    get  "/mdm/{org}/acme/{resource}" acme::look;
    post "/mdm/{org}/acme/{resource}" acme::ask;
    post "/mdm/{org}/acme/{resource}/{name}" acme::ask_named;
    get  "/mdm/{org}/sign-in" sign_in::who;
    post "/mdm/{org}/sign-in/out" sign_in::sign_out;
    get  "/mdm/{org}/sign-in/command-line" sign_in::command_line;
    get  "/mdm/{org}/sign-in/device" sign_in::device;
    get  "/mdm/{org}/service-discovery" account::service_discovery;
    post "/mdm/{org}/account/{mode}" account::enrol;
    get  "/mdm/{org}/account/{mode}/sign-in" account::sign_in;
}

/// The routes of each duty. `api` is merged into the two administrative ones by the caller; `challenge` is what an authority
/// that certifies us looks for.
pub(crate) fn doors(front: &Front, api: Router, local_api: Router, challenge: Router) -> Doors {
    let health = Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready));
    // A status of its own would mean nothing to a device: it is told what it did wrong, as everywhere at its doors.
    let device = device().method_not_allowed_fallback(wrong_method);
    let enrol = enrol().method_not_allowed_fallback(wrong_method);
    let finish = |routes: Router<Front>| {
        routes
            .fallback(nothing_here)
            .layer(from_fn_with_state(front.clone(), identity::introduce))
            .layer(CatchPanicLayer::custom(error::panicked))
            .layer(from_fn(observe))
            .layer(from_fn_with_state(Arc::clone(&front.edge), edge::hold))
            .layer(from_fn(drain::rest))
            .layer(from_fn_with_state(
                Arc::clone(&front.proxy),
                identity::locate,
            ))
            .with_state(front.clone())
    };
    let alive = Router::new().route("/healthz", get(health::alive));
    // Asked of the host alone, before anybody knows whose device it is: of no organisation.
    let enrol = enrol
        .route(
            "/.well-known/com.apple.remotemanagement",
            get(discovery::servers),
        )
        // The one address that providers know, for all organisations: the state says whose it is.
        .route(
            mdm_core::service::sign_in::RETURN,
            get(sign_in::back).fallback(wrong_method),
        );
    // For programs that have no session yet; a code and its verifier are all that opens one.
    let programs = Router::new()
        .route("/sign-in/place", get(sign_in::place))
        .route("/sign-in/session", post(sign_in::session))
        .route("/sign-in/session/end", post(sign_in::session_end));
    Doors {
        device: finish(device.clone().merge(alive.clone())),
        enrol: finish(enrol.clone().merge(alive)),
        plain: finish(device.merge(enrol).merge(health.clone())),
        challenge: finish(challenge.with_state(())),
        admin: finish(health.clone().merge(programs).merge(api.with_state(()))),
        local: finish(health.merge(local_api.with_state(()))),
    }
}

/// The document of the API.
pub(crate) fn api_document() -> &'static serde_json::Value {
    api::openapi::document()
}

async fn wrong_method() -> Response {
    error::wrong_method(error::Door::CheckIn)
}

/// `/metrics`, for whoever reaches the door that it is merged into.
pub(crate) fn figures(figures: Figures) -> Router {
    let page = |State(figures): State<Figures>| async move {
        figures.page().await.map_err(|error| {
            error::Refusal::new(error::Door::Api, mdm_core::error::Error::from(error))
        })
    };
    Router::new()
        .route("/metrics", get(page))
        .with_state(figures)
}

async fn nothing_here(request: Request) -> Response {
    error::nothing_here(if request.uri().path().starts_with("/api/") {
        error::Door::Api
    } else {
        error::Door::CheckIn
    })
}

/// One line for each request; everything logged while it runs carries its name, and so does the answer (`X-Request-Id`).
async fn observe(request: Request, next: Next) -> Response {
    let id = crate::telemetry::request_id();
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let address = request
        .extensions()
        .get::<identity::ClientAddress>()
        .map(|a| a.0.clone())
        .unwrap_or_default();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        id = %id,
        duty = connection.as_ref().map_or("none", |c| c.duty.as_str()),
        serial = tracing::field::Empty,
    );
    if let Some(parent) = request.extensions().get::<crate::telemetry::Parent>() {
        crate::telemetry::adopt(&span, *parent);
    }
    let begun = Instant::now();
    async move {
        let mut response = match connection.is_some() && !names_one_host(&request) {
            true => error::no_host(),
            false => next.run(request).await,
        };
        if let Ok(value) = HeaderValue::from_str(&id) {
            response
                .headers_mut()
                .insert(HeaderName::from_static("x-request-id"), value);
        }
        let took = begun.elapsed();
        let duty = connection.map_or("none", |c| c.duty.as_str());
        crate::metrics::answered(duty, &route, response.status().as_u16(), took);
        tracing::info!(
            %method,
            route,
            address,
            status = response.status().as_u16(),
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "answered"
        );
        response
    }
    .instrument(span)
    .await
}

/// Whether a request says once whom it is for. Without that, or with two answers, what stands before this server may have
/// understood another one than this server does.
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>
fn names_one_host(request: &Request) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    request.version() != Version::HTTP_11 || hosts == 1
}

/// Keeps `State` in the signature of handlers short.
type At = State<Front>;
