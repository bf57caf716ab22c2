//! The whole server in this process, over real TLS and a real database.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslMethod};
use serde_json::Value;

use super::*;
use crate::config::ListenerConfig;

struct Installed {
    app: App,
    ca: openssl::x509::X509,
    code: String,
    token: String,
    _directory: tempfile::TempDir,
}

async fn install(drive: Drive) -> Installed {
    install_with(drive, |_| {}).await
}

async fn install_with(drive: Drive, change: impl FnOnce(&mut Config)) -> Installed {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let anchor = crate::install::lay_out(path, "Test", "localhost").unwrap();
    let mut config = Config::for_directory(path);
    let any = "127.0.0.1:0".parse().unwrap();
    config.listeners = [Duty::Device, Duty::Enrol, Duty::Admin]
        .map(|duty| ListenerConfig::new(any, duty))
        .into();
    config.public.device_url = "https://localhost:0".to_owned();
    config.public.enrol_url = "https://localhost:0".to_owned();
    change(&mut config);
    let overrides = Overrides {
        drive,
        ..Overrides::default()
    };
    let app = App::start(config, overrides).await.unwrap();
    let ca = openssl::x509::X509::from_der(&anchor.0).unwrap();
    let made = app
        .mdm
        .create_organisation("Test", vec![anchor])
        .await
        .unwrap();
    Installed {
        code: made.org.organisation().code.to_string(),
        token: made.administrator_token.expose_text().unwrap().to_owned(),
        app,
        ca,
        _directory: directory,
    }
}

impl Installed {
    async fn ask(
        &self,
        duty: Duty,
        request: hyper::http::request::Builder,
        body: &'static str,
    ) -> (u16, Bytes) {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.cert_store_mut().add_cert(self.ca.clone()).unwrap();
        let ssl = builder
            .build()
            .configure()
            .unwrap()
            .into_ssl("localhost")
            .unwrap();
        let address = self.app.address(duty).unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut stream = tokio_openssl::SslStream::new(ssl, stream).unwrap();
        std::pin::Pin::new(&mut stream).connect().await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let body: Full<Bytes> = Full::from(body);
        let request = request.header("host", "localhost").body(body).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            answer.into_body().collect().await.unwrap().to_bytes(),
        )
    }

    async fn api(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = Request::get(format!("/api/v1/{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (status, body) = self.ask(Duty::Admin, request, "").await;
        (status, serde_json::from_slice(&body).unwrap())
    }
}

#[tokio::test]
async fn every_door_reaches_the_service_and_bad_input_is_a_400_that_is_kept() {
    let house = install(Drive::Free).await;
    let code = house.code.clone();
    let scep = Request::get(format!("/mdm/{code}/scep?operation=GetCACaps"));
    let (status, body) = house.ask(Duty::Enrol, scep, "").await;
    assert_eq!(status, 200);
    assert!(
        String::from_utf8_lossy(&body).contains("SCEPStandard"),
        "{body:?}"
    );

    let doors = [
        (Duty::Device, Request::put(format!("/mdm/{code}/checkin"))),
        (Duty::Device, Request::put(format!("/mdm/{code}/command"))),
        (Duty::Enrol, Request::post(format!("/mdm/{code}/enrol"))),
    ];
    for (duty, request) in doors {
        let (status, said) = house.ask(duty, request, "nonsense").await;
        assert!(status == 400 || status == 403, "{status} {said:?}");
        assert!(said.len() > 5, "no sentence");
    }
    let id = house
        .app
        .mdm
        .organisation(&code.parse_code())
        .await
        .unwrap()
        .organisation()
        .id;
    let refusals = house.app.mdm.store().refusals(id, 10).await.unwrap();
    assert_eq!(refusals.len(), 3);
    assert!(refusals.iter().all(|r| r.address == "127.0.0.1"));
    let stranger = Request::put("/mdm/abcdefgh2345/checkin");
    assert_eq!(house.ask(Duty::Device, stranger, "x").await.0, 400);
    let (status, said) = house.ask(Duty::Admin, Request::get("/readyz"), "").await;
    assert_eq!((status, said.as_ref()), (200, b"ready\n".as_slice()));
    house.app.shutdown().await.unwrap();
}

#[tokio::test]
async fn figures_are_on_the_local_socket_and_on_admin_only_where_that_is_wanted() {
    let closed = install(Drive::Manual).await;
    let (status, _) = closed.ask(Duty::Admin, Request::get("/metrics"), "").await;
    assert_eq!(status, 404);
    closed.app.shutdown().await.unwrap();

    let house = install_with(Drive::Manual, |c| c.metrics.open_on_admin = true).await;
    let refused = Request::put(format!("/mdm/{}/checkin", house.code));
    assert_eq!(house.ask(Duty::Device, refused, "x").await.0, 400);
    let (status, page) = house.ask(Duty::Admin, Request::get("/metrics"), "").await;
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert_eq!(status, 200, "{page}");
    for line in [
        "mdmd_requests_total{duty=\"device\",route=\"/mdm/{org}/checkin\",status=\"400\"}",
        "mdmd_request_seconds_bucket{route=\"/mdm/{org}/checkin\",le=\"0.001\"}",
        "mdmd_organisations 1",
        "mdmd_holds 0",
        "mdmd_rows_unreadable 0",
        "mdmd_ends_in_days{what=\"identity_authority\"}",
        "mdmd_ends_in_days{what=\"listener_certificate\"}",
        "mdmd_device_identities_ending{within_days=\"30\"} 0",
        "mdmd_commits_total{outcome=\"done\"}",
        "mdmd_apple_requests_left{service=\"organisation-api\",class=\"write\"}",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    // Neither the organisation's code in a path nor anything else of a request is a label.
    let requests = page.lines().filter(|l| l.starts_with("mdmd_request"));
    assert!(requests.into_iter().all(|l| !l.contains(&house.code)));
    house.app.shutdown().await.unwrap();
}

trait ParseCode {
    fn parse_code(&self) -> mdm_core::ids::OrganisationCode;
}

impl ParseCode for String {
    fn parse_code(&self) -> mdm_core::ids::OrganisationCode {
        mdm_core::ids::OrganisationCode::parse(self).unwrap()
    }
}

#[tokio::test]
async fn the_api_takes_a_token_of_the_organisation_and_nothing_else() {
    let house = install(Drive::Manual).await;
    let other = house
        .app
        .mdm
        .create_organisation("Other", Vec::new())
        .await
        .unwrap();
    let other = other.org.organisation().code.clone();
    let token = house.token.clone();
    for wrong in [None, Some("wrong"), Some("")] {
        let (status, said) = house.api("organisations", wrong).await;
        assert_eq!(status, 401);
        assert!(said["detail"].as_str().unwrap().contains("bearer token"));
    }
    let (status, seen) = house.api("organisations", Some(&token)).await;
    assert_eq!(status, 200);
    assert_eq!(seen["organisations"].as_array().unwrap().len(), 1);
    for (path, status) in [
        ("devices".to_owned(), 200),
        ("holds".to_owned(), 200),
        ("waves".to_owned(), 200),
        ("server-tokens".to_owned(), 200),
        ("push-certificate".to_owned(), 200),
        ("devices/C02XYZ".to_owned(), 404),
        ("devices/no%20serial".to_owned(), 400),
        ("waves/7".to_owned(), 404),
        (format!("devices?organisation={other}"), 404),
        (format!("devices?organisation={}", house.code), 200),
    ] {
        let (got, said) = house.api(&path, Some(&token)).await;
        assert_eq!(got, status, "{path}: {said}");
    }
    house.app.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_public_address_with_port_0_gets_the_port_that_was_bound() {
    let mut url = "https://localhost:0".to_owned();
    let bound = [(Duty::Device, "127.0.0.1:4711".parse().unwrap())];
    fill_in_port(&mut url, &bound, Duty::Device);
    assert_eq!(url, "https://localhost:4711");
    fill_in_port(&mut url, &bound, Duty::Enrol);
    assert_eq!(url, "https://localhost:4711");
}

#[tokio::test]
async fn every_route_refuses_the_role_below_its_own_and_not_its_own() {
    use mdm_core::audit::Role;
    let house = install(Drive::Manual).await;
    let code = house.code.parse_code();
    let org = house.app.mdm.organisation(&code).await.unwrap();
    let roles = [
        Role::Viewer,
        Role::Helpdesk,
        Role::Planner,
        Role::Approver,
        Role::Admin,
    ];
    let mut tokens = Vec::new();
    for role in roles {
        let made = org
            .new_api_token(&format!("a {role:?}"), role, [].into(), None)
            .await;
        tokens.push(made.unwrap().secret.expose_text().unwrap().to_owned());
    }
    for route in crate::http::api::routes::ROUTES {
        // Has no end to wait for; its own test reads it.
        if route.path == "/api/v1/events" {
            continue;
        }
        let path = route
            .path
            .replace("{serial}", "C02XYZ")
            .replace("{name}", "nobody")
            .replace("{id}", "7");
        for (role, token) in roles.into_iter().zip(&tokens) {
            let request = match route.method {
                "get" => Request::get(&path),
                _ => Request::post(&path),
            };
            let request = request.header("authorization", format!("Bearer {token}"));
            let (status, said) = house.ask(Duty::Admin, request, "{}").await;
            let refused = String::from_utf8_lossy(&said).contains("this takes the role of");
            assert_eq!(
                refused,
                role < route.role,
                "{route:?} as {role:?}: {status}"
            );
            assert_ne!(status, 405, "{route:?}");
            assert!(status < 500 || status == 502, "{route:?}: {status}");
        }
    }
    house.app.shutdown().await.unwrap();
}
