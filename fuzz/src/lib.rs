//! What is fuzzed: each target is a function over bytes that panics when a law is broken. The fuzzer calls them, and so
//! does a test of `abm-client` with every file of the corpus; it includes this file, so that both mean the same.
//!
//! The laws: nobody panics; an error names its call and is short; nothing that was secret is in it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use abm_client::apps::{
    AppsClient, AssetQuery, AssetRef, AssignmentQuery, ClientConfigChange, ContentToken, MdmInfo,
    NewUser, Notification, Targets,
};
use abm_client::assignment::{
    ActivationLockRequest, AdeProfile, AssignmentClient, SyncCursor, latest_per_serial,
};
use abm_client::business::{
    Activity, ActivityAttributes, ActivityReport, ApiAccount, AuditQuery, BusinessClient,
    PageCursor, ServerChange,
};
use abm_client::lock_removal::{LockRemovalClient, UnlockRequest};
use abm_client::oauth1::{base_string, percent_encode};
use abm_client::{
    BypassCode, Clock, Error, Moment, Request, Response, SecretText, ServerToken, TokenKeyPair,
    Transport, TransportError,
};
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use openssl::x509::X509;

/// 2026-11-20T16:00:00Z.
const NOW: i64 = 1_795_190_400_000;

/// What must be in no error.
const SECRETS: [&str; 6] = [
    "CK-secret-5b1c",
    "CS-secret-5b1c",
    "AT-secret-5b1c",
    "AS-secret-5b1c",
    "session-secret-5b1c",
    "bearer-secret-5b1c",
];

struct Still;

impl Clock for Still {
    fn now_ms(&self) -> i64 {
        NOW
    }
}

/// Answers every request with the same, after a first one of its own.
struct Answering {
    first: Mutex<Option<Response>>,
    status: u16,
    header: Option<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answering {
    fn new(login: Option<&str>, status: u16, body: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            first: Mutex::new(login.map(|text| Response::new(200, text.as_bytes()))),
            status,
            header: None,
            body: body.to_vec(),
        })
    }
}

#[async_trait::async_trait]
impl Transport for Answering {
    async fn send(&self, _: Request) -> Result<Response, TransportError> {
        if let Some(first) = self.first.lock().expect("no panic").take() {
            return Ok(first);
        }
        let answer = Response::new(self.status, self.body.clone());
        Ok(match &self.header {
            Some((name, value)) => answer.with_header(name, value),
            None => answer,
        })
    }
}

/// Runs a future that never waits for anything outside.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("a client waits although every answer is there");
}

fn judge<T>(result: Result<T, Error>) {
    if let Err(error) = result {
        let text = format!("{error} {error:?}");
        for secret in SECRETS {
            assert!(!text.contains(secret), "a secret in an error");
        }
        assert!(!error.endpoint().call().is_empty(), "which call?");
        assert!(text.len() < 64 * 1024, "an error of {} bytes", text.len());
        let _ = (
            error.retry_after(),
            error.needs_person(),
            error.is_unknown_outcome(),
            error.is_cursor_expired(),
            error.code(),
        );
    }
}

thread_local! {
    static PAIR: TokenKeyPair = TokenKeyPair::generate("fuzz", NOW, 1).expect("a key pair");
    static ACCOUNT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

fn account_key() -> Vec<u8> {
    ACCOUNT.with_borrow_mut(|kept| {
        kept.get_or_insert_with(|| {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
            let key = EcKey::generate(&group).expect("a key");
            key.private_key_to_pem().expect("PEM")
        })
        .clone()
    })
}

/// A panic that is planted when the crate is built with `FUZZ_PLANTED` set, to see that a target's fuzzer finds what lies
/// behind a parse that succeeds. No file of the corpus meets it.
fn planted(met: bool) {
    assert!(
        option_env!("FUZZ_PLANTED").is_none() || !met,
        "the planted panic"
    );
}

/// Files of the portal as they lie on a disk: server tokens, content tokens, keys.
pub fn token_file(data: &[u8]) {
    PAIR.with(|pair| judge(ServerToken::open(data, std::slice::from_ref(pair))));
    let token = ServerToken::from_json(data);
    planted(token.is_ok() && data.len() % 16 == 9);
    judge(token);
    if let Ok(token) = ContentToken::read(data) {
        let shown = format!("{token:?}");
        assert!(
            !shown.contains(token.bearer().expose()),
            "a token in its Debug output"
        );
    }
    judge(ApiAccount::new("BUSINESSAPI.1", "K", data).map(|_| ()));
    let half = data.len() / 2;
    judge(TokenKeyPair::from_pem(&data[..half], &data[half..]).map(|_| ()));
}

/// What stands inside of a server token, when the envelope is in order.
pub fn token_inside(data: &[u8]) {
    let file = PAIR.with(|pair| {
        let certificate =
            X509::from_pem(pair.certificate_pem().expect("PEM").as_bytes()).expect("a certificate");
        let mut to = Stack::new().expect("a stack");
        to.push(certificate).expect("pushed");
        let sealed = CmsContentInfo::encrypt(&to, data, Cipher::aes_128_cbc(), CMSOptions::BINARY);
        let der = sealed.and_then(|sealed| sealed.to_der()).expect("DER");
        let mut file = b"Content-Transfer-Encoding: base64\r\n\r\n".to_vec();
        file.extend(openssl::base64::encode_block(&der).into_bytes());
        file
    });
    let opened = PAIR.with(|pair| ServerToken::open(&file, std::slice::from_ref(pair)));
    if let Ok(token) = &opened {
        let json = token.to_json().expect("what was read can be written");
        let again = ServerToken::from_json(json.expose()).expect("and read again");
        assert!(again.same_entry(token) && again.fingerprint() == token.fingerprint());
        let _ = token.age(NOW);
        planted(data.len() % 64 == 17);
    }
    judge(opened);
}

/// Statuses that answers have: the second byte chooses.
const STATUSES: [u16; 16] = [
    200, 200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 409, 422, 429, 500, 503,
];

/// Answers of every service: the first byte chooses the call, the second the status, the rest is the body.
pub fn answers(data: &[u8]) {
    let [call, status, body @ ..] = data else {
        return;
    };
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    match call % 3 {
        0 => assignment(call / 3, status, body),
        1 => business(call / 3, status, body),
        _ => apps(call / 3, status, body),
    }
}

/// Which call of a service. The seeds were written when it had `then` of them, and mean the same: none begins with a larger byte.
const fn nth(call: u8, then: u8, now: u8) -> u8 {
    match call {
        ..21 => call % then,
        _ => call % now,
    }
}

fn assignment(call: u8, status: u16, body: &[u8]) {
    let login = r#"{"auth_session_token":"session-secret-5b1c"}"#;
    let transport = Answering::new(Some(login), status, body);
    let token = r#"{"consumer_key":"CK-secret-5b1c","consumer_secret":"CS-secret-5b1c","access_token":"AT-secret-5b1c","access_secret":"AS-secret-5b1c","access_token_expiry":""}"#;
    let token = ServerToken::from_json(token.as_bytes()).expect("a token");
    let apple = AssignmentClient::at("https://x", transport, token, "fuzz/1", Arc::new(Still));
    let one = [String::from("S1")];
    run(async {
        match nth(call, 12, 15) {
            0 => judge(apple.account().await),
            1 => judge(apple.fetch_devices(None).await.map(|page| {
                let known = page.devices.len();
                // One device is kept and another left out: both halves of the list are understood.
                planted(known > 0 && page.skipped > 0);
                assert!(latest_per_serial(page.devices).len() <= known);
            })),
            2 => judge(apple.sync_devices(&SyncCursor::new("c")).await),
            3 => judge(apple.device_details(&one).await.map(|found| {
                assert!(found.contains_key("S1"), "a device without an answer");
            })),
            4 => judge(apple.assign_profile("AB", &one).await.map(|report| {
                assert!(
                    report.outcomes.contains_key("S1"),
                    "a device without an outcome"
                );
            })),
            5 => judge(apple.remove_profile(&one).await),
            6 => judge(apple.profile("AB").await.map(|read| {
                let ours = AdeProfile::for_migration("n", "https://m/e");
                let _ = ours.differences(&read);
            })),
            7 => judge(apple.beta_tokens().await),
            8 => judge(apple.service_discovery().await),
            9 => judge(apple.replacement_details("S1").await),
            10 => {
                let profile = AdeProfile::for_migration("n", "https://m/e");
                judge(apple.define_profile(&profile).await);
            }
            13 => judge(apple.verify_renewal("AB").await),
            // Another service, which takes no token.
            14 => {
                let transport = Answering::new(None, status, body);
                let locks =
                    LockRemovalClient::at("https://x", transport, "fuzz/1", Arc::new(Still));
                let device = UnlockRequest::new("S1", "iPhone17,1", "o", "p");
                let code = SecretText::new("bearer-secret-5b1c");
                let unlocked = locks.unlock(&device, &code).await;
                assert!(!format!("{unlocked:?}").contains(code.expose()));
                judge(unlocked);
            }
            _ => {
                let lock = ActivationLockRequest::new("S1", SecretText::new("00"));
                judge(apple.lock_activation(&lock).await);
            }
        }
    });
}

fn business(call: u8, status: u16, body: &[u8]) {
    let login = r#"{"access_token":"bearer-secret-5b1c","expires_in":3600}"#;
    let transport = Answering::new(Some(login), status, body);
    let account = ApiAccount::new("SCHOOLAPI.1", "K", &account_key()).expect("an account");
    let clock = Arc::new(Still);
    let apple = BusinessClient::at(
        "https://x",
        "https://y/t",
        transport,
        account,
        "fuzz/1",
        clock,
    );
    let cancel = Activity::CancelMigration {
        devices: vec!["S1".into()],
    };
    run(async {
        match nth(call, 13, 27) {
            0 => judge(apple.devices(&[], None).await),
            1 => judge(apple.device("S1", &[]).await),
            2 => judge(apple.assigned_server("S1").await),
            3 => judge(apple.servers(Some(&PageCursor::new("c"))).await),
            4 => judge(apple.activity("1").await),
            5 => judge(apple.submit_activity(&cancel).await),
            6 => judge(apple.users(None).await),
            7 => judge(
                apple
                    .audit_events(&AuditQuery::between(0, 1), None)
                    .await
                    .map(|page| {
                        for event in page.items {
                            let _ = event.attributes.serial_number().map(str::len);
                        }
                    }),
            ),
            8 => judge(apple.activation_lock("S1").await),
            9 => judge(apple.assigned_server_id("S1").await),
            10 => judge(apple.server_devices("AB", None).await),
            11 => judge(apple.configurations(None).await),
            13 => judge(apple.app("1").await),
            14 => judge(apple.packages(None).await),
            15 => judge(apple.configuration("1").await),
            16 => judge(apple.blueprints(None).await),
            17 => judge(apple.built_in_devices(None).await),
            18 => judge(apple.apple_care_coverage("S1", None).await),
            19 => judge(apple.user("1").await),
            20 => judge(apple.user_groups(None).await),
            21 => judge(apple.user_group("1").await),
            22 => judge(apple.user_group_members("1", None).await),
            23 => judge(apple.organizational_units(None).await),
            24 => judge(apple.server("AB").await),
            25 => {
                let change = ServerChange {
                    server_name: Some("n".into()),
                    ..ServerChange::default()
                };
                judge(apple.update_server("AB", &change).await);
            }
            26 => {
                // The file is asked for without a session: that is what the first answer is for.
                let _ = apple.open_session().await;
                let mut over = ActivityAttributes::default();
                over.download_url = Some(SecretText::new("https://z/report.csv"));
                judge(apple.activity_report(&over).await);
            }
            _ => judge(apple.apps(None).await),
        }
    });
}

fn apps(call: u8, status: u16, body: &[u8]) {
    let transport = Answering::new(None, status, body);
    let token = ContentToken::read(b"eyJ0b2tlbiI6ImJlYXJlci1zZWNyZXQtNWIxYyJ9").expect("a token");
    let apple = AppsClient::at("https://x", transport, token, "fuzz/1", Arc::new(Still));
    let apple = apple.as_service(MdmInfo::new("us", "n", "m"));
    run(async {
        match nth(call, 8, 13) {
            0 => judge(apple.assets(&AssetQuery::default(), None).await),
            1 => judge(apple.assignments(&AssignmentQuery::default(), None).await),
            2 => judge(apple.service_config().await),
            3 => judge(apple.claim(false).await),
            4 => judge(apple.event("e").await),
            5 => judge(apple.users(None, None).await),
            6 => {
                let to = Targets::serials(["S1"]);
                judge(apple.associate(&[AssetRef::new("1")], &to).await);
            }
            8 => {
                let from = Targets::serials(["S1"]);
                judge(apple.disassociate(&[AssetRef::new("1")], &from).await);
            }
            9 => judge(apple.revoke(&Targets::serials(["S1"])).await),
            10 => {
                let user = NewUser {
                    client_user_id: "u".into(),
                    ..NewUser::default()
                };
                judge(apple.create_users(&[user]).await);
            }
            11 => judge(apple.retire_users(&["u".into()]).await),
            12 => {
                let change = ClientConfigChange {
                    notification_types: Some(Vec::new()),
                    ..ClientConfigChange::default()
                };
                judge(apple.change_client_config(&change).await);
            }
            _ => judge(apple.client_config().await),
        }
    });
}

/// What sign-in meets: answers of the token endpoints, headers of notifications, times, texts to be signed, codes.
pub fn oauth(data: &[u8]) {
    let [choice, rest @ ..] = data else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    match choice % 6 {
        0 => {
            let transport = Answering::new(Some(&text), 200, b"{}");
            let account =
                ApiAccount::new("BUSINESSAPI.1", "K", &account_key()).expect("an account");
            let clock = Arc::new(Still);
            let apple = BusinessClient::at(
                "https://x",
                "https://y/t",
                transport,
                account,
                "fuzz/1",
                clock,
            );
            judge(run(apple.open_session()));
        }
        1 => {
            let transport = Answering::new(Some(&text), 401, b"UNAUTHORIZED");
            let token = r#"{"consumer_key":"k","consumer_secret":"CS-secret-5b1c","access_token":"t","access_secret":"AS-secret-5b1c","access_token_expiry":""}"#;
            let token = ServerToken::from_json(token.as_bytes()).expect("a token");
            let apple =
                AssignmentClient::at("https://x", transport, token, "fuzz/1", Arc::new(Still));
            judge(run(apple.account()));
        }
        2 => {
            let (header, body) = text.split_once('\n').unwrap_or((&text, ""));
            let ours = SecretText::new("bearer-secret-5b1c");
            let read = Notification::read(Some(header), &ours, body.as_bytes());
            assert!(
                read.is_err() || header.contains("bearer-secret-5b1c"),
                "a notification without our token"
            );
            if let Ok(notification) = &read {
                let _ = (notification.asset_management(), notification.asset_count());
            }
            judge(read);
            judge(Notification::read(
                Some("Bearer bearer-secret-5b1c"),
                &ours,
                rest,
            ));
        }
        3 => {
            let moment = Moment::parse(&text);
            if let Some(ms) = moment.unix_ms() {
                planted(ms < 0);
                let written = Moment::from_unix_ms(ms);
                assert_eq!(
                    Moment::parse(written.as_str()).unix_ms(),
                    Some(ms),
                    "{text}"
                );
            }
        }
        4 => {
            let pairs: Vec<(&str, &str)> =
                text.split('&').filter_map(|p| p.split_once('=')).collect();
            let base = base_string("GET", "https://x/y", &pairs);
            assert!(
                base.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._~%&".contains(&b)),
                "{base}"
            );
            let encoded = percent_encode(&text);
            assert!(encoded.len() >= text.len());
        }
        _ => {
            if let Ok(code) = BypassCode::parse(&text) {
                let again = BypassCode::parse(code.code().expose()).expect("its own text");
                assert_eq!(again.expose_raw(), code.expose_raw());
            }
        }
    }
}

/// Result files of activities.
pub fn csv(data: &[u8]) {
    let report = ActivityReport::parse(data);
    assert_eq!(report.raw, data, "the file is kept as it came");
    let expected: Vec<String> = report
        .rows
        .iter()
        .take(3)
        .filter_map(|row| row.cells.first().cloned())
        .chain(["S1".to_owned()])
        .collect();
    planted(report.rows.len() > 2 && report.columns.len() == 9);
    let _ = report.column("status");
    if let Some(column) = report.serial_column(&expected) {
        let widest = report
            .rows
            .iter()
            .map(|row| row.cells.len())
            .max()
            .unwrap_or(0);
        assert!(column < widest.max(report.columns.len()));
    }
    for serial in report.failed_serials(&expected) {
        assert!(!serial.is_empty());
    }
}
