//! No secret that the world knows or that the server keeps is in a log, in the database, in its write-ahead log or in what
//! its deleted rows left behind. The search is proved by planting secrets in each of these places.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use abm_client::apps::{AppsClient, ContentToken};
use abm_client::assignment::AssignmentClient;
use abm_client::business::{Activity, ApiAccount, BusinessClient};
use abm_client::{Response, ServerToken, TokenKeyPair, Transport, TransportError};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mdm_core::audit::Refusal;
use mdm_core::clock::Timestamp;
use mdm_core::ids::{OrganisationId, RefusalId};
use mdm_core::secret::Secret;
use mdm_core::service::ports::{ApiKey, ContentCredential, ServerCredential};
use mdm_core::store::{AuditStore as _, Batch, SqliteStore, Store as _, Write};
use mdmd::config::{Config, Duty, LogFormat};
use mdmd::rehearsal::{Faults, HouseOptions, Rehearsal, Stage};
use mdmd::telemetry;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use tests::{Haystack, Log, Needles, Request, SOON};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Everything that this process logs, as text and as JSON, as loud as the server can.
fn logs() -> &'static [(&'static str, Log); 2] {
    static LOGS: OnceLock<[(&str, Log); 2]> = OnceLock::new();
    LOGS.get_or_init(|| {
        let (text, json) = (Log::new(), Log::new());
        let mut config = Config::for_directory(Path::new("/nowhere")).log;
        config.level = "trace".to_owned();
        config.format = LogFormat::Json;
        let as_json = telemetry::layer(&config, json.clone(), false);
        config.format = LogFormat::Text;
        let as_text = telemetry::layer(&config, text.clone(), false);
        tracing_subscriber::registry()
            .with(as_text)
            .with(as_json)
            .init();
        [("log as text", text), ("log as JSON", json)]
    })
}

fn add_logs(hay: &mut Haystack) {
    for (name, log) in logs() {
        hay.add(name, log.bytes());
    }
}

/// Every file of the data directory, but those in which keys belong. They are files of their own for that reason.
fn add_files(hay: &mut Haystack, when: &str, directory: &Path) {
    let keys = ["master.key", "tls/ca.key", "tls/server.key"];
    let mut files = Haystack::new();
    files
        .add_directory(directory, |path| keys.iter().any(|k| path == Path::new(k)))
        .unwrap();
    hay.take(when, files);
}

/// All that the world and the house know.
async fn needles(stage: &Stage) -> (Needles, Vec<String>) {
    let (mut needles, mut names) = (Needles::new(), Vec::new());
    let mut add = |name: &str, secret: &[u8]| {
        needles.add(name, secret);
        names.push(name.to_owned());
        // Keys are kept as base64: what counts is the key.
        if let Ok(within) = STANDARD.decode(secret)
            && within.len() >= 16
        {
            needles.add(name, &within);
        }
    };
    for secret in stage.world.secrets().await {
        add(&secret.name, &secret.bytes);
    }
    for kept in stage.house.kept_secrets().await.unwrap() {
        add(&kept.name, kept.secret.expose());
    }
    (needles, names)
}

/// What an administrator does over the network, right and wrong; tokens and a key travel in it. Answers the token that was
/// made.
async fn administer(stage: &Stage) -> String {
    let address = stage.app().address(Duty::Admin).unwrap();
    let token = stage.house.administrator_token.as_ref().unwrap();
    let token = token.expose_text().unwrap();
    let device = stage.world.identities().next().unwrap().serial.clone();
    let account = stage.world.apple().api_account();
    let key = serde_json::json!({
        "client_id": account.client_id, "key_id": account.key_id, "key": account.private_key_pem,
    });
    let broken = format!("{key}}}");
    // A content token, right, cut off, and in a field that has no business with it.
    let content = stage.world.apple().content_token();
    let licences = serde_json::json!({ "token": content }).to_string();
    let half = serde_json::json!({ "token": content[..content.len() / 2] }).to_string();
    let elsewhere = serde_json::json!({ "token": content, "take_over": content }).to_string();
    let device = format!("/api/v1/devices/{device}");
    let cases: [(&str, &str, String, u16); 14] = [
        ("GET", "/api/v1/organisations", String::new(), 200),
        ("GET", "/api/v1/devices?limit=1000", String::new(), 200),
        ("GET", &device, String::new(), 200),
        ("GET", "/api/v1/waves", String::new(), 200),
        ("GET", "/api/v1/holds", String::new(), 200),
        ("GET", "/api/v1/server-tokens", String::new(), 200),
        ("POST", "/api/v1/token-keys", "{}".to_owned(), 200),
        ("POST", "/api/v1/business", key.to_string(), 200),
        ("POST", "/api/v1/business", broken, 400),
        ("POST", "/api/v1/licences/tokens", licences, 200),
        ("POST", "/api/v1/licences/tokens", half, 400),
        ("POST", "/api/v1/licences/tokens", elsewhere, 400),
        ("GET", "/api/v1/licences", String::new(), 200),
        ("GET", "/api/v1/business/budget", String::new(), 200),
    ];
    for (method, path, body, status) in cases {
        let request = Request::new(method, path).by(token).with(body);
        let reply = request.send(address).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
    let asked = r#"{"name": "made by a story", "role": "viewer"}"#;
    let made = Request::new("POST", "/api/v1/api-tokens")
        .by(token)
        .with(asked);
    let made: serde_json::Value = serde_json::from_slice(&made.send(address).await.body).unwrap();
    // In the path, where it has no business; and with its end missing.
    let path = format!("/api/v1/devices?token={token}");
    assert_eq!(Request::new("GET", &path).send(address).await.status, 401);
    let half = Request::new("GET", "/api/v1/devices").by(&token[1..]);
    assert_eq!(half.send(address).await.status, 401);
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_leaves_no_secret_in_a_log_or_in_the_database() {
    logs();
    let mut rehearsal = Rehearsal::new(12, 31);
    rehearsal.faults = Faults::Some;
    let directory = tempfile::tempdir().unwrap();
    let world = rehearsal.world().await.unwrap();
    let stage = Stage::set(world, directory.path(), HouseOptions::default())
        .await
        .unwrap();
    let (wave, _) = stage.plan_for(None, &SOON).await.unwrap();
    // In the middle of it, when codes and challenges are in use.
    let middle = stage.world.clock().now_ms() + 90 * 60_000;
    let clock = stage.world.clock().clone();
    stage
        .play_until(wave, &|| clock.now_ms() >= middle)
        .await
        .unwrap();
    let mut hay = Haystack::new();
    add_files(&mut hay, "in the middle", directory.path());
    stage.play(wave).await.unwrap();
    let rows = stage.judge().await.unwrap();
    assert!(rows.iter().all(|row| !row.never_ended), "{rows:#?}");
    let made = administer(&stage).await;
    add_files(&mut hay, "while it runs", directory.path());
    let (mut needles, names) = needles(&stage).await;
    needles.add("token made by an administrator", made.as_bytes());
    stage.strike().await.unwrap();
    add_files(&mut hay, "after its end", directory.path());
    add_logs(&mut hay);

    // A search for little in little finds nothing: what is searched, and for what.
    let parts: Vec<(&str, usize)> = hay.parts().collect();
    for part in [
        "in the middle: mdmd.sqlite-wal",
        "while it runs: mdmd.sqlite",
        "while it runs: mdmd.sqlite-wal",
        "while it runs: mdmd.sqlite-shm",
        "after its end: mdmd.sqlite",
        "log as text",
        "log as JSON",
    ] {
        let large = |(name, size): &(&str, usize)| *name == part && *size > 10_000;
        assert!(parts.iter().any(large), "{part} is not searched: {parts:?}");
    }
    for (_, log) in logs() {
        let text = String::from_utf8(log.bytes()).unwrap();
        assert!(text.contains("answered") && text.contains(&rows[0].serial));
    }
    for kind in [
        "recovery key of",
        "enveloped recovery key",
        "bootstrap token of",
        "own bypass code",
        "old bypass code",
        "former recovery lock",
        "unlock token of",
        "SCEP challenge of",
        "private key of a device",
        "consumer_secret",
        "access_secret",
        "session of the assignment",
        "token of the organisation API",
        "assertion for the organisation API",
        "key of the API account",
        "key of a push certificate",
        "server_bypass_code of",
        "recovery_key of",
        "ca_private_key",
        "escrow_private_key",
        "profile_signing_key",
        "push_private_key",
        "api_private_key",
        "content_token",
        "token of Apps and Books",
        "server_token of",
        "server_token_private_key of",
        "data key",
        "master.key",
        "tls/server.key",
        "administrator token",
        "Wi-Fi password in a profile",
    ] {
        assert!(
            names.iter().any(|n| n.starts_with(kind)),
            "no {kind} is looked for"
        );
    }
    let found = needles.search(&hay);
    assert!(found.is_empty(), "{found:#?}");
}

/// Answers every request with a text that repeats all that was sent, and keeps what was sent.
#[derive(Clone, Default)]
struct Echo {
    status: Arc<Mutex<u16>>,
    /// The answer to the first request of a client, which is for a session.
    login: Arc<Mutex<Option<&'static str>>>,
    sent: Arc<Mutex<Vec<u8>>>,
}

#[async_trait]
impl Transport for Echo {
    async fn send(&self, request: abm_client::Request) -> Result<Response, TransportError> {
        let mut said = request.url.clone();
        for (name, value) in &request.headers {
            said.push_str(&format!("\n{name}: {}", value.expose()));
        }
        if let Some(body) = &request.body {
            said.push_str(&format!("\n\n{}", String::from_utf8_lossy(body.expose())));
        }
        self.sent.lock().unwrap().extend(said.as_bytes());
        if let Some(login) = self.login.lock().unwrap().take() {
            return Ok(Response::new(200, login.as_bytes()));
        }
        let status = *self.status.lock().unwrap();
        if status == 0 {
            return Err(TransportError::Interrupted("connection reset".to_owned()));
        }
        // In every place where Apple has words of its own.
        let errors = serde_json::json!([{ "code": said, "title": said, "detail": said }]);
        let body = serde_json::json!({ "errors": errors, "errorMessage": said, "error": said });
        Ok(Response::new(status, body.to_string()))
    }
}

struct Still;

impl abm_client::Clock for Still {
    fn now_ms(&self) -> i64 {
        1_796_112_000_000
    }
}

/// Every credential of Apple's services is planted as a marker and sent; whatever the other side answers, even with all of it
/// repeated, no error and no `Debug` output has any of it, nor of what carries a credential from place to place.
#[tokio::test]
async fn credentials_of_apples_services_are_in_no_error_and_in_no_debug_output() {
    logs();
    let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    let key = key.private_key_to_pem().unwrap();
    let server_token = serde_json::json!({
        "consumer_key": "CK_MARKER-1f5e9a", "consumer_secret": "CS_MARKER-2b7c0d",
        "access_token": "AT_MARKER-3d9e8f", "access_secret": "AS_MARKER-4e1a2b",
        "access_token_expiry": "2027-11-20T00:00:00Z",
    });
    let server_token = server_token.to_string();
    let content = STANDARD.encode(r#"{"token":"CONTENT_MARKER-5f6a7b8c","orgName":"Us"}"#);
    let pair = TokenKeyPair::generate("leaks", 1_796_112_000_000, 30).unwrap();
    let pair_key = pair.private_key_pem().unwrap();
    let mut needles = Needles::new();
    for (name, secret) in [
        ("consumer_secret", &b"CS_MARKER-2b7c0d"[..]),
        ("access_secret", b"AS_MARKER-4e1a2b"),
        ("access_token", b"AT_MARKER-3d9e8f"),
        ("consumer_key", b"CK_MARKER-1f5e9a"),
        ("content token", content.as_bytes()),
        ("inside of the content token", b"CONTENT_MARKER-5f6a7b8c"),
        ("session", b"SESSION_MARKER-6a7b8c9d"),
        ("bearer token", b"BEARER_MARKER-7b8c9d0e"),
        ("key of the API account", &key),
        ("key pair of server tokens", pair_key.expose()),
    ] {
        needles.add(name, secret);
    }
    let (echo, mut said) = (Echo::default(), String::new());
    let transport: Arc<dyn Transport> = Arc::new(echo.clone());
    let clock: Arc<dyn abm_client::Clock> = Arc::new(Still);
    let mut note = |what: String| {
        tracing::warn!(target: "mdmd::leak", what, "what an error says");
        said.push_str(&what);
    };
    for status in [
        0, 200, 204, 302, 400, 401, 403, 404, 408, 409, 422, 429, 500, 503,
    ] {
        *echo.status.lock().unwrap() = status;
        let login = |text| *echo.login.lock().unwrap() = text;
        for session in [
            None,
            Some(r#"{"auth_session_token":"SESSION_MARKER-6a7b8c9d"}"#),
        ] {
            login(session);
            let token = ServerToken::from_json(server_token.as_bytes()).unwrap();
            note(format!("{token:?}"));
            let apple = AssignmentClient::at(
                "https://a",
                transport.clone(),
                token,
                "leaks/1",
                clock.clone(),
            );
            let account = apple.account().await.err();
            let page = apple.fetch_devices(None).await.err();
            let given = apple.assign_profile("P", &["S1".to_owned()]).await.err();
            for error in [account, page, given].into_iter().flatten() {
                note(format!("{error} {error:?} {apple:?}"));
            }
        }
        for token in [None, Some(r#"{"access_token":"BEARER_MARKER-7b8c9d0e"}"#)] {
            login(token);
            let account = ApiAccount::new("BUSINESSAPI.leaks", "K", &key).unwrap();
            note(format!("{account:?}"));
            let apple = BusinessClient::at(
                "https://b",
                "https://t",
                transport.clone(),
                account,
                "leaks/1",
                clock.clone(),
            );
            let cancel = Activity::CancelMigration {
                devices: vec!["S1".to_owned()],
            };
            let page = apple.devices(&[], None).await.err();
            let act = apple.submit_activity(&cancel).await.err();
            for error in [page, act].into_iter().flatten() {
                note(format!("{error} {error:?} {apple:?}"));
            }
        }
        login(None);
        let token = ContentToken::read(content.as_bytes()).unwrap();
        note(format!("{token:?}"));
        let apple = AppsClient::at(
            "https://c",
            transport.clone(),
            token,
            "leaks/1",
            clock.clone(),
        );
        if let Err(error) = apple.client_config().await {
            note(format!("{error} {error:?} {apple:?}"));
        }
    }
    // What carries them: files that cannot be read, ports, what is sealed and opened.
    for file in [server_token.as_bytes(), content.as_bytes(), &key] {
        let half = &file[..file.len() / 2];
        let errors = [
            ServerToken::open(half, &[]).err(),
            ServerToken::from_json(half).err(),
            ContentToken::read(half).err(),
            ApiAccount::new("BUSINESSAPI.leaks", "K", half).err(),
            TokenKeyPair::from_pem(half, half).err(),
        ];
        for error in errors.into_iter().flatten() {
            note(format!("{error} {error:?}"));
        }
        let organisation = OrganisationId(1);
        note(format!("{:?}", Secret::new(file)));
        let server = mdm_core::ids::ServerId(1);
        let token = Secret::new(file);
        note(format!(
            "{:?}",
            ServerCredential {
                organisation,
                server,
                token
            }
        ));
        let location = mdm_core::ids::LocationId(1);
        let token = Secret::new(file);
        note(format!(
            "{:?}",
            ContentCredential {
                organisation,
                location,
                token
            }
        ));
        note(format!(
            "{:?}",
            ApiKey {
                organisation,
                client_id: "BUSINESSAPI.leaks".to_owned(),
                key_id: "K".to_owned(),
                key: Secret::new(file),
                allowance: mdm_core::budget::allowance(20, 10),
            }
        ));
    }
    note(format!("{pair:?}"));

    // Assertions are made anew each time: those that were sent.
    let sent = String::from_utf8(echo.sent.lock().unwrap().clone()).unwrap();
    let assertions = sent.split("client_assertion=").skip(1);
    for assertion in assertions.filter_map(|rest| rest.split('&').next()) {
        needles.add("client assertion", assertion.as_bytes());
    }
    // Without this a search for the wrong thing would be a good end: all that travels was seen by the other side.
    let mut hay = Haystack::new();
    hay.add("what was sent", echo.sent.lock().unwrap().clone());
    let mut seen: Vec<String> = needles.search(&hay).into_iter().map(|f| f.secret).collect();
    seen.dedup();
    for travels in [
        "access_token",
        "consumer_key",
        "content token",
        "session",
        "bearer token",
        "client assertion",
    ] {
        assert!(
            seen.iter().any(|name| name == travels),
            "{travels} was not sent: {seen:?}"
        );
    }
    assert!(said.len() > 20_000 && said.contains("Throttled"), "{said}");
    let mut hay = Haystack::new();
    hay.add("errors and Debug output", said.into_bytes());
    add_logs(&mut hay);
    let found = needles.search(&hay);
    assert!(found.is_empty(), "{found:#?}");
}

const PLANTED: &[u8] = b"PLANTED-7Q2X-9KFM-\x03\xfe\xff\x80-SECRET";

/// The forms in which a secret is written by accident, at all three alignments of base64.
fn written() -> Vec<(String, String)> {
    let hex: String = PLANTED.iter().map(|b| format!("{b:02x}")).collect();
    let mut all = vec![
        ("hex, upper case".to_owned(), hex.to_uppercase()),
        ("hex, lower case".to_owned(), hex),
    ];
    for before in 0..3 {
        let within = [&b"xy"[..before], PLANTED, b"z"].concat();
        let name = |alphabet| format!("{alphabet}, {before} bytes into a group");
        all.push((name("base64"), STANDARD.encode(&within)));
        all.push((name("base64url"), URL_SAFE_NO_PAD.encode(&within)));
    }
    all
}

fn planted() -> Needles {
    let mut needles = Needles::new();
    needles.add("planted", PLANTED);
    // As text it can be logged as it is.
    needles.add("planted text", b"PLANTED-TEXT-4R7T");
    needles
}

#[test]
fn a_secret_that_is_logged_is_found_in_every_form_and_in_both_formats() {
    logs();
    for (_, text) in written() {
        tracing::info!(target: "mdmd::leak", value = %text, "planted on purpose");
    }
    tracing::trace!(target: "mdm_core::leak", value = "PLANTED-TEXT-4R7T", "planted on purpose");
    let mut hay = Haystack::new();
    add_logs(&mut hay);
    let found = planted().search(&hay);
    for place in ["log as text", "log as JSON"] {
        for (form, _) in written() {
            assert!(
                found.iter().any(|f| f.form == form && f.place == place),
                "{form} in {place}: {found:#?}"
            );
        }
        let raw = |f: &&tests::Stolen| f.secret == "planted text" && f.form == "raw";
        assert!(found.iter().filter(raw).any(|f| f.place == place));
    }
}

/// A row that is written and deleted again leaves its bytes in the write-ahead log, and in freed pages of the main file.
#[tokio::test]
async fn a_secret_in_a_row_that_was_deleted_is_found_while_the_server_runs_and_after() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("mdmd.sqlite"))
        .await
        .unwrap();
    let (organisation, now) = (OrganisationId(1), Timestamp::from_millis(1_796_112_000_000));
    // Refusals are the rows that are deleted: the oldest, once there are more than a thousand. Each from a sender of its own,
    // for one alone keeps few.
    let refusal = |n: i64, text: &str| {
        Write::Refusal(Refusal::new(
            organisation,
            RefusalId(n),
            now,
            &format!("2001:db8::{n:x}"),
            "enrol",
            text,
        ))
    };
    // Once in the file itself, and once in its log only.
    for first in [1, 500] {
        store.checkpoint().await.unwrap();
        let mut batch = Batch::new();
        for (n, (_, text)) in (first..).zip(written()) {
            batch.put(refusal(n, &text));
        }
        store.commit(batch).await.unwrap();
    }
    let mut batch = Batch::new();
    for n in 0..1_000 {
        batch.put(refusal(1_000 + n, "another one"));
    }
    store.commit(batch).await.unwrap();
    let left = store.refusals(organisation, 2_000).await.unwrap();
    assert!(left.iter().all(|r| r.reason == "another one"));

    let mut hay = Haystack::new();
    add_files(&mut hay, "while it runs", directory.path());
    store.close().await.unwrap();
    add_files(&mut hay, "after its end", directory.path());
    let found = planted().search(&hay);
    for place in [
        "while it runs: mdmd.sqlite",
        "while it runs: mdmd.sqlite-wal",
        "after its end: mdmd.sqlite",
    ] {
        for (form, _) in written() {
            assert!(
                found.iter().any(|f| f.form == form && f.place == place),
                "{form} in {place}: {found:#?}"
            );
        }
    }
}
