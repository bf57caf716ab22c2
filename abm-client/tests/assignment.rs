//! The device-assignment client against answers as Apple words them.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use abm_client::assignment::{
    ActivationLockRequest, ActivationLockStatus, AdeProfile, AssignmentClient, AssignmentOutcome,
    PageSize, ResponseStatus, SyncCursor,
};
use abm_client::{
    Budget, BudgetGate, BypassCode, ErrorKind, Request, Response, ServerToken, Transport,
    TransportError,
};
use support::{Answer, Hand, NOW, Script, ok, status};

const SESSION: &str = r#"{"auth_session_token":"session-1"}"#;

fn token() -> ServerToken {
    ServerToken::from_json(
        br#"{"consumer_key":"CK_0123456789abcdef","consumer_secret":"CS_fedcba9876543210","access_token":"AT_00112233445566778899","access_secret":"AS_aabbccddeeff0011","access_token_expiry":"2027-11-20T09:41:00Z"}"#,
    )
    .expect("a token")
}

/// A client whose first answer is a session, and then these.
fn client(answers: impl IntoIterator<Item = Answer>) -> (AssignmentClient, Script) {
    let script = Script::new([ok(SESSION)].into_iter().chain(answers));
    (
        AssignmentClient::new(script.clone(), token(), "test/1.0", Hand::at(NOW)),
        script,
    )
}

fn serials(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

#[tokio::test]
async fn the_first_call_signs_for_a_session_and_every_call_carries_it() {
    let (apple, script) = client([
        ok(r#"{"server_name":"Us","server_uuid":"AB"}"#),
        ok(r#"{"devices":{}}"#),
    ]);
    assert_eq!(apple.account().await.expect("account").server_name, "Us");
    apple
        .device_details(&serials(&["S1"]))
        .await
        .expect("details");
    assert_eq!(
        script.lines(),
        ["GET /session", "GET /account", "POST /devices"]
    );
    let seen = script.seen();
    let signed = seen[0].header("authorization").expect("signed");
    assert!(
        signed.starts_with("OAuth realm=\"ADM\", ")
            && signed.contains("oauth_timestamp=\"1795190400\"")
    );
    assert_eq!(seen[0].header("x-adm-auth-session"), None);
    for call in &seen[1..] {
        assert_eq!(call.header("x-adm-auth-session"), Some("session-1"));
        assert_eq!(call.header("authorization"), None);
    }
    for call in &seen {
        assert_eq!(call.header("user-agent"), Some("test/1.0"));
        assert_eq!(call.header("x-server-protocol-version"), Some("10"));
    }
    assert_eq!(
        seen[2].header("content-type"),
        Some("application/json;charset=UTF8")
    );
}

#[tokio::test]
async fn two_logins_never_share_a_nonce() {
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..20 {
        let (apple, script) = client([]);
        apple.open_session().await.expect("a session");
        let header = script
            .last()
            .header("authorization")
            .expect("signed")
            .to_owned();
        let nonce = header
            .split("oauth_nonce=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a nonce");
        assert_eq!(nonce.len(), 32);
        assert!(nonces.insert(nonce.to_owned()));
    }
}

#[tokio::test]
async fn a_session_that_an_answer_brings_is_used_even_when_the_answer_is_a_refusal() {
    let rotated =
        Response::new(400, "INVALID_CURSOR").with_header("X-ADM-Auth-Session", "session-2");
    let (apple, script) = client([
        Ok(rotated),
        ok(r#"{"devices":[],"cursor":"c","more_to_follow":false}"#),
    ]);
    let error = apple
        .sync_devices(&SyncCursor::new("old"))
        .await
        .expect_err("refused");
    assert!(error.is_cursor_expired());
    apple.fetch_devices(None).await.expect("a page");
    assert_eq!(
        script.last().header("x-adm-auth-session"),
        Some("session-2")
    );
}

#[tokio::test]
async fn a_refused_session_is_renewed_and_the_request_repeated_once() {
    for refusal in [status(401, ""), status(403, "\"FORBIDDEN\"\n")] {
        let again = ok(r#"{"auth_session_token":"session-2"}"#);
        let (apple, script) = client([
            refusal,
            again,
            ok(r#"{"server_name":"Us","server_uuid":"AB"}"#),
        ]);
        apple.account().await.expect("account");
        assert_eq!(
            script.lines(),
            [
                "GET /session",
                "GET /account",
                "GET /session",
                "GET /account"
            ]
        );
        assert_eq!(
            script.last().header("x-adm-auth-session"),
            Some("session-2")
        );
    }
}

#[tokio::test]
async fn a_second_refusal_is_for_a_person() {
    let again = ok(r#"{"auth_session_token":"session-2"}"#);
    let (apple, script) = client([status(401, ""), again, status(401, "")]);
    let error = apple.account().await.expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::SessionRefused), "{error}");
    assert!(error.needs_person().is_some());
    assert_eq!(script.lines().len(), 4);
}

#[tokio::test]
async fn terms_that_wait_never_lead_to_a_new_session() {
    let (apple, script) = client([status(403, "T_C_NOT_SIGNED")]);
    let error = apple.account().await.expect_err("refused");
    assert!(error.needs_person().is_some_and(|s| s.contains("terms")));
    assert_eq!(script.lines(), ["GET /session", "GET /account"]);
}

#[tokio::test]
async fn pages_are_read_with_the_limit_of_the_account() {
    let account = r#"{"server_name":"Us","server_uuid":"AB","urls":[{"uri":"/server/devices","http_method":["POST"],"limit":{"default":100,"maximum":500}},{"uri":"/session","http_method":["GET"]}]}"#;
    let page = r#"{"devices":[{"serial_number":"S1","mdm_migration_deadline":"2026-12-10T17:00:00Z"},{"serial_number":""}],"cursor":"MDowOjE3+/=","fetched_until":"2026-11-20T15:00:00Z","more_to_follow":true}"#;
    let (apple, script) = client([
        ok(account),
        ok(page),
        ok(r#"{"cursor":"next","devices":null}"#),
        status(400, "\"EXHAUSTED_CURSOR\""),
    ]);
    apple.account().await.expect("account");
    let first = apple.fetch_devices(None).await.expect("a page");
    assert_eq!(script.last().json(), serde_json::json!({ "limit": 500 }));
    assert_eq!(
        (first.devices.len(), first.skipped, first.more_to_follow),
        (1, 1, true)
    );
    let deadline = first.devices[0]
        .mdm_migration_deadline
        .as_ref()
        .and_then(|at| at.unix_ms());
    assert_eq!(deadline, Some(1_796_922_000_000));

    let second = apple
        .fetch_devices_with(first.cursor.as_ref(), PageSize::Limit(7))
        .await
        .expect("a page");
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "cursor": "MDowOjE3+/=", "limit": 7 })
    );
    assert!(second.devices.is_empty() && !second.more_to_follow);

    let end = apple
        .sync_devices(&SyncCursor::new("next"))
        .await
        .expect("the end");
    assert!(end.exhausted && !end.more_to_follow);
    assert_eq!(end.cursor, Some(SyncCursor::new("next")));
}

#[tokio::test]
async fn a_malformed_page_names_the_call_and_the_field_and_can_be_asked_again() {
    for (body, field) in [
        (
            r#"{"devices":[{"serial_number":"S1"},{"serial_number":7}]}"#,
            "devices[1].serial_number",
        ),
        (r#"{"devices":[],"more_to_follow":true}"#, "cursor"),
        ("<html>", "."),
    ] {
        let (apple, _) = client([ok(body)]);
        let error = apple
            .sync_devices(&SyncCursor::new("c"))
            .await
            .expect_err("malformed");
        assert!(
            matches!(error.kind(), ErrorKind::Malformed { field: f, .. } if f == field),
            "{error}"
        );
        assert_eq!(error.endpoint().call(), "POST /devices/sync");
        assert!(error.retry_after().is_some() && !error.is_cursor_expired());
    }
}

#[tokio::test]
async fn details_answer_for_every_serial_number_asked_for() {
    let (apple, script) = client([ok(
        r#"{"devices":{"S1":{"serial_number":"S1","response_status":"SUCCESS"},"S2":{"response_status":"NOT_ACCESSIBLE"}}}"#,
    )]);
    let details = apple
        .device_details(&serials(&["S1", "S2", "S3", "S1"]))
        .await
        .expect("details");
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "devices": ["S1", "S2", "S3"] })
    );
    let read: Vec<_> = details
        .values()
        .filter_map(|d| d.response_status.clone())
        .collect();
    assert_eq!(
        read,
        [
            ResponseStatus::Success,
            ResponseStatus::NotAccessible,
            ResponseStatus::Failed
        ]
    );
    assert_eq!(details["S2"].serial_number, "S2");
    assert!(
        apple
            .device_details(&[])
            .await
            .expect_err("empty")
            .is_invalid_input()
    );
    let many: Vec<String> = (0..1001).map(|n| format!("S{n}")).collect();
    assert!(
        apple
            .device_details(&many)
            .await
            .expect_err("too many")
            .is_invalid_input()
    );
}

#[tokio::test]
async fn outcomes_are_values_and_a_missing_one_counts_as_failed() {
    let (apple, script) = client([ok(
        r#"{"profile_uuid":"AB","devices":{"S1":"SUCCESS","S2":"NOT_ACCESSIBLE","S3":"THROTTLED","S4":"MAYBE"},"retry_after_seconds":900}"#,
    )]);
    let report = apple
        .assign_profile("AB", &serials(&["S1", "S2", "S3", "S4", "S5"]))
        .await
        .expect("a report");
    let wait = Some(Duration::from_secs(900));
    assert_eq!(report.retry_after, wait);
    assert_eq!(
        report.outcomes.into_values().collect::<Vec<_>>(),
        [
            AssignmentOutcome::Success,
            AssignmentOutcome::NotAccessible,
            AssignmentOutcome::Throttled { retry_after: wait },
            AssignmentOutcome::Other("MAYBE".into()),
            AssignmentOutcome::Failed,
        ]
    );
    assert_eq!(script.last().line(), "POST /profile/devices");
}

#[tokio::test]
async fn an_older_service_gets_the_assignment_with_put() {
    let (apple, script) = client([
        status(405, ""),
        ok(r#"{"profile_uuid":"AB","devices":{"S1":"SUCCESS"}}"#),
    ]);
    apple
        .assign_profile("AB", &serials(&["S1"]))
        .await
        .expect("a report");
    assert_eq!(
        script.lines()[1..],
        ["POST /profile/devices", "PUT /profile/devices"]
    );
}

#[tokio::test]
async fn removing_sends_delete_with_a_body() {
    let (apple, script) = client([ok(r#"{"devices":{"S1":"SUCCESS"}}"#)]);
    apple
        .remove_profile(&serials(&["S1"]))
        .await
        .expect("a report");
    assert_eq!(script.last().line(), "DELETE /profile/devices");
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "devices": ["S1"] })
    );
}

#[tokio::test]
async fn an_interrupted_assignment_has_an_unknown_outcome() {
    let broken = Err(TransportError::Interrupted("connection reset".into()));
    let (apple, _) = client([broken, status(503, ""), status(404, "NOT_FOUND")]);
    for expected in [true, true, false] {
        let error = apple
            .assign_profile("AB", &serials(&["S1"]))
            .await
            .expect_err("failed");
        assert_eq!(error.is_unknown_outcome(), expected, "{error}");
    }
}

#[tokio::test]
async fn a_profile_is_checked_defined_and_read_back() {
    let profile = AdeProfile::for_migration("standard", "https://mdm.example.com/ade");
    let back = r#"{"profile_uuid":"AB","profile_name":"standard","url":"https://mdm.example.com/ade","await_device_configured":true,"is_supervised":true,"is_mandatory":true,"is_mdm_removable":false,"configuration_web_url":null}"#;
    let (apple, script) = client([
        ok(r#"{"profile_uuid":"AB","devices":{}}"#),
        ok(back),
        status(400, "CONFIG_URL_INVALID"),
    ]);
    assert_eq!(
        apple
            .define_profile(&profile)
            .await
            .expect("defined")
            .profile_uuid,
        "AB"
    );
    assert_eq!(script.last().json()["await_device_configured"], true);
    let read = apple.profile("A B").await.expect("a profile");
    assert_eq!(script.last().line(), "GET /profile?profile_uuid=A%20B");
    assert_eq!(
        profile.differences(&read).expect("JSON"),
        Vec::<String>::new()
    );
    let error = apple.define_profile(&profile).await.expect_err("refused");
    assert_eq!(
        (error.code(), error.retry_after()),
        (Some("CONFIG_URL_INVALID"), None)
    );
}

#[tokio::test]
async fn an_activation_lock_that_failed_is_a_value() {
    let (apple, script) = client([ok(
        r#"{"serial_number":"S1","response_status":"DEVICE_ALREADY_LOCKED"}"#,
    )]);
    let code = BypassCode::from_raw([0; 16]);
    let request = ActivationLockRequest::new("S1", code.escrow_key().expect("PBKDF2"));
    let result = apple.lock_activation(&request).await.expect("an answer");
    assert_eq!(
        result.response_status,
        ActivationLockStatus::DeviceAlreadyLocked
    );
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "device": "S1", "escrow_key": "DEAB860D28DEB5B7121D6D8FCF0F78E1471756D1B2C566C03277C23EA8930B4F" })
    );
}

#[tokio::test]
async fn a_renewed_token_must_belong_to_the_same_server() {
    let account = r#"{"server_name":"Us","server_uuid":"AB"}"#;
    let (apple, _) = client([ok(account), ok(account)]);
    apple.verify_renewal("ab").await.expect("the same");
    let error = apple.verify_renewal("CD").await.expect_err("another one");
    assert!(
        matches!(error.kind(), ErrorKind::OtherServer { .. }) && error.needs_person().is_some()
    );
}

#[tokio::test]
async fn the_smaller_calls_read_their_answers() {
    let (apple, script) = client([
        ok(
            r#"{"mdm_service_discovery_url":"https://example.com/x","last_updated_timestamp":"2026-11-20T16:00:00Z"}"#,
        ),
        status(404, "NOT_FOUND"),
        status(400, "ORG_NOT_SUPPORTED"),
        ok(""),
        ok(""),
        ok(r#"{"seedBuildTokens":[{"token":"t","title":"iOS 27","os":"iOS"}]}"#),
        status(403, "APPLE_SEED_FOR_IT_TURNED_OFF"),
        ok(
            r#"{"serial_number":"N1","original_device_serial_number":"O1","replacement_date":"2026-11-20"}"#,
        ),
        status(404, "DEVICE_NOT_FOUND"),
    ]);
    assert!(apple.service_discovery().await.expect("set").is_some());
    assert_eq!(apple.service_discovery().await.expect("not set"), None);
    assert!(
        apple
            .service_discovery()
            .await
            .expect_err("never")
            .feature_missing()
            .is_some()
    );
    assert!(
        apple
            .set_service_discovery("http://example.com")
            .await
            .expect_err("plain")
            .is_invalid_input()
    );
    apple
        .set_service_discovery("https://example.com")
        .await
        .expect("set");
    apple.remove_service_discovery().await.expect("removed");
    let tokens = apple.beta_tokens().await.expect("tokens");
    assert_eq!(tokens[0].os.as_deref(), Some("iOS"));
    assert!(
        apple
            .beta_tokens()
            .await
            .expect_err("off")
            .feature_missing()
            .is_some()
    );
    let replaced = apple.replacement_details("N 1").await.expect("details");
    assert_eq!(replaced.original_device_serial_number, "O1");
    assert_eq!(
        script.last().line(),
        "GET /device/replacementDetails?device=N%201"
    );
    assert!(
        apple
            .replacement_details("N2")
            .await
            .expect_err("none")
            .is_not_found()
    );
}

#[tokio::test]
async fn throttling_tells_how_long() {
    let throttled = Response::new(429, "").with_header("Retry-After", "77");
    let (apple, _) = client([Ok(throttled), status(429, "")]);
    let wait = apple.account().await.expect_err("throttled").retry_after();
    assert_eq!(wait, Some(Duration::from_secs(77)));
    let error = apple.account().await.expect_err("throttled");
    assert!(matches!(error.kind(), ErrorKind::Throttled) && error.retry_after().is_some());
}

#[tokio::test]
async fn no_credential_is_in_an_error_or_debug_output() {
    let whole = "CS_fedcba9876543210 AS_aabbccddeeff0011 session-1";
    // A lone word in capitals looks like one of Apple's codes.
    let token = ServerToken::from_json(
        br#"{"consumer_key":"CK_CAPITALS_0001","consumer_secret":"CS_CAPITALS_0001","access_token":"AT_CAPITALS_0001","access_secret":"AS_CAPITALS_0001","access_token_expiry":""}"#,
    )
    .expect("a token");
    for echo in [
        whole,
        "CK_CAPITALS_0001",
        "AS_CAPITALS_0001",
        "\"AT_CAPITALS_0001\"",
    ] {
        for code in [400, 401, 403, 404, 429, 500] {
            let script = Script::new([
                ok(SESSION),
                status(code, echo),
                ok(SESSION),
                status(code, echo),
            ]);
            let apple = AssignmentClient::new(script, token.clone(), "test/1.0", Hand::at(NOW));
            let error = apple.account().await.expect_err("refused");
            let text = format!("{error} {error:?} {apple:?}");
            let secrets = [
                "CS_fed",
                "AS_aab",
                "CK_CAP",
                "AT_CAP",
                "AS_CAP",
                "session-1",
            ];
            assert!(secrets.iter().all(|s| !text.contains(s)), "{text}");
        }
    }
}

#[tokio::test]
async fn a_pause_holds_for_every_task_of_the_token_and_for_its_logins() {
    let busy = Response::new(429, "").with_header("Retry-After", "45");
    let away = Response::new(503, "").with_header("Retry-After", "90");
    let page = r#"{"devices":[],"cursor":"c","more_to_follow":false}"#;
    let hand = Hand::at(NOW);
    let script = Script::new([Ok(away), ok(SESSION), Ok(busy), ok(page)]);
    let gate = BudgetGate::refusing(Budget::apps(100), hand.clone());
    let apple = AssignmentClient::new(script.clone(), token(), "test/1.0", hand.clone());
    let apple = apple.with_gate(gate);
    let other = apple.clone();
    let wait = |error: &abm_client::Error| error.retry_after().map(|d| d.as_secs());

    let refused = apple.open_session().await.expect_err("away");
    assert_eq!(wait(&refused), Some(90));
    let paused = other.fetch_devices(None).await.expect_err("paused");
    assert!(matches!(paused.kind(), ErrorKind::BudgetSpent), "{paused}");
    assert_eq!((wait(&paused), script.seen().len()), (Some(90), 1));

    hand.advance(90_000);
    let throttled = apple.fetch_devices(None).await.expect_err("throttled");
    assert_eq!(wait(&throttled), Some(45));
    let assigning = other.assign_profile("AB", &serials(&["S1"])).await;
    let paused = assigning.expect_err("paused");
    assert!(matches!(paused.kind(), ErrorKind::BudgetSpent) && !paused.is_unknown_outcome());
    assert_eq!(script.seen().len(), 3, "nothing was sent meanwhile");

    hand.advance(45_000);
    other.fetch_devices(None).await.expect("the pause is over");
}

/// The header that carries the session.
const ROTATED: &str = "x-adm-auth-session";

/// Gives a new session with each answer and refuses all older ones.
#[derive(Default)]
struct Rotating {
    /// Answers so far; the session is the last one's number.
    answers: AtomicU64,
    refusals: AtomicU64,
}

#[async_trait::async_trait]
impl Transport for Rotating {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        // Others get to run while this one is on its way.
        tokio::task::yield_now().await;
        let now = self.answers.load(Ordering::SeqCst);
        let login = request.url.ends_with("/session");
        let session = request.headers.iter().find(|(name, _)| *name == ROTATED);
        if !login && session.is_none_or(|(_, text)| text.expose() != now.to_string()) {
            self.refusals.fetch_add(1, Ordering::SeqCst);
            return Ok(Response::new(401, "UNAUTHORIZED"));
        }
        let next = (now + 1).to_string();
        self.answers.store(now + 1, Ordering::SeqCst);
        Ok(match login {
            true => Response::new(200, format!(r#"{{"auth_session_token":"{next}"}}"#)),
            false => {
                Response::new(200, r#"{"devices":[],"cursor":"c"}"#).with_header(ROTATED, &next)
            }
        })
    }
}

#[tokio::test]
async fn who_waits_for_a_turn_is_sent_with_the_session_of_the_answer_before() {
    let apple_side = Arc::new(Rotating::default());
    let hand = Hand::at(NOW);
    let gate = BudgetGate::refusing(Budget::apps(100), hand.clone());
    let clock: Arc<Hand> = Arc::new(hand);
    let apple = AssignmentClient::at("https://x", apple_side.clone(), token(), "test/1.0", clock);
    let apple = apple.with_gate(gate);
    let fetch = || async { apple.fetch_devices(None).await.map(|_| ()) };
    let (one, two, three, four) = tokio::join!(fetch(), fetch(), fetch(), fetch());
    for done in [one, two, three, four] {
        done.expect("each has the session that holds when its turn comes");
    }
    assert_eq!(apple_side.refusals.load(Ordering::SeqCst), 0);
}
