//! The organisation API against answers as Apple words them.

mod activities;
mod budget;
mod lists;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use abm_client::business::{
    Activity, ApiAccount, BusinessClient, Deadline, DeviceField, LockType, ServerType,
};
use abm_client::{ErrorKind, Moment};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use support::{Answer, Hand, NOW, Script, ok, status};

const BEARER: &str =
    r#"{"access_token":"bearer-1","token_type":"Bearer","expires_in":3600,"scope":"business.api"}"#;

fn account() -> ApiAccount {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let pem = EcKey::generate(&group)
        .and_then(|key| key.private_key_to_pem())
        .expect("a key");
    ApiAccount::new("BUSINESSAPI.0000-1111", "KEY-1", &pem).expect("an account")
}

/// A client whose first answer is a bearer token, and then these.
fn client(answers: impl IntoIterator<Item = Answer>) -> (BusinessClient, Script, Hand) {
    let script = Script::new([ok(BEARER)].into_iter().chain(answers));
    let hand = Hand::at(NOW);
    (
        BusinessClient::new(script.clone(), account(), "test/1.0", hand.clone()),
        script,
        hand,
    )
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|s| (*s).to_owned()).collect()
}

fn migration(devices: &[&str]) -> Activity {
    let deadline =
        Deadline::for_assignment(&Moment::parse("2026-12-10T17:00:00Z"), NOW).expect("a deadline");
    Activity::AssignWithDeadline {
        server: "1F2E".into(),
        deadline,
        devices: list(devices),
    }
}

const ACTIVITY: &str = r#"{"data":{"type":"orgDeviceActivities","id":"b1481656","attributes":{"status":"IN_PROGRESS","subStatus":"SUBMITTED","createdDateTime":"2026-11-20T16:00:00.000Z"},"links":{"self":"https://x"}}}"#;

#[tokio::test]
async fn the_token_is_asked_for_in_a_body_and_used_until_most_of_its_life_is_over() {
    let empty = || ok(r#"{"data":[]}"#);
    let (apple, script, hand) = client([
        empty(),
        empty(),
        ok(&BEARER.replace("bearer-1", "bearer-2")),
        empty(),
    ]);
    apple.servers(None).await.expect("a page");
    hand.advance(2_879_000);
    apple.servers(None).await.expect("a page");
    hand.advance(1_000);
    apple.servers(None).await.expect("a page");
    let seen = script.seen();
    assert_eq!(seen[0].url, "https://account.apple.com/auth/oauth2/token");
    let form = seen[0].text();
    for part in [
        "grant_type=client_credentials&",
        "client_id=BUSINESSAPI.0000-1111&",
        "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&",
        "client_assertion=ey",
        "scope=business.api",
    ] {
        assert!(form.contains(part), "{part} in {form}");
    }
    assert_eq!(
        seen[1].url,
        "https://api-business.apple.com/v1/mdmServers?limit=1000"
    );
    assert_eq!(seen[1].header("accept"), Some("application/json"));
    let used: Vec<_> = seen
        .iter()
        .filter_map(|call| call.header("authorization"))
        .collect();
    assert_eq!(
        used,
        ["Bearer bearer-1", "Bearer bearer-1", "Bearer bearer-2"]
    );
}

#[tokio::test]
async fn a_key_that_apple_does_not_accept_is_for_a_person() {
    let script = Script::new([
        status(
            400,
            r#"{"error":"invalid_client","error_description":"BUSINESSAPI.0000-1111"}"#,
        ),
        status(503, ""),
    ]);
    let apple = BusinessClient::new(script, account(), "test/1.0", Hand::at(NOW));
    let error = apple.open_session().await.expect_err("refused");
    assert_eq!(
        (error.code(), error.retry_after()),
        (Some("invalid_client"), None)
    );
    assert!(error.needs_person().is_some_and(|s| s.contains("key")));
    assert!(!format!("{error:?} {apple:?}").contains("BUSINESSAPI.0000"));
    assert!(
        apple
            .open_session()
            .await
            .expect_err("in trouble")
            .retry_after()
            .is_some()
    );
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let again = ok(&BEARER.replace("bearer-1", "bearer-2"));
    let (apple, script, _) = client([status(401, "{}"), again, status(401, "{}")]);
    let error = apple.servers(None).await.expect_err("refused twice");
    assert!(matches!(error.kind(), ErrorKind::SessionRefused));
    assert_eq!(script.seen().len(), 4);
}

#[tokio::test]
async fn one_device_its_server_and_its_lock_are_read() {
    let (apple, script, _) = client([
        ok(r#"{"data":{"type":"orgDevices","id":"S1","attributes":{"serialNumber":"S1"}}}"#),
        ok(r#"{"data":{"type":"mdmServers","id":"1F2E"}}"#),
        ok(r#"{"data":null}"#),
        status(404, r#"{"errors":[{"code":"NOT_FOUND"}]}"#),
        ok(
            r#"{"data":{"type":"mdmServers","id":"1F2E","attributes":{"serverName":"Us","serverType":"APPLE_MDM"}}}"#,
        ),
        ok(
            r#"{"data":{"type":"activationLockStatus","id":"S1","attributes":{"isLocked":true,"lockType":"USER"}}}"#,
        ),
        ok(r#"{"data":[{"type":"appleCareCoverage","id":"A","attributes":{"status":"ACTIVE"}}]}"#),
    ]);
    apple
        .device("S/1", &[DeviceField::Status])
        .await
        .expect("a device");
    assert_eq!(
        script.last().line(),
        "GET /v1/orgDevices/S%2F1?fields%5BorgDevices%5D=status"
    );
    assert_eq!(
        apple.assigned_server_id("S1").await.expect("read"),
        Some("1F2E".into())
    );
    assert_eq!(apple.assigned_server_id("S1").await.expect("read"), None);
    assert_eq!(apple.assigned_server_id("S1").await.expect("read"), None);
    let server = apple
        .assigned_server("S1")
        .await
        .expect("read")
        .expect("assigned");
    assert_eq!(server.attributes.server_type, Some(ServerType::AppleMdm));
    let lock = apple.activation_lock("S1").await.expect("read");
    assert_eq!(
        (lock.is_locked, lock.lock_type),
        (Some(true), Some(LockType::User))
    );
    assert_eq!(
        apple
            .apple_care_coverage("S1", None)
            .await
            .expect("read")
            .items
            .len(),
        1
    );
    for id in ["", " ", ".."] {
        assert!(
            apple
                .device(id, &[])
                .await
                .expect_err("no identifier")
                .is_invalid_input()
        );
    }
}

#[tokio::test]
async fn clients_can_be_shared_between_tasks() {
    fn shareable<T: Clone + Send + Sync + 'static>(_: &T) {}
    let (apple, script, _) = client((0..20).map(|_| ok(r#"{"data":[]}"#)));
    shareable(&apple);
    let apple = Arc::new(apple);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let apple = apple.clone();
            tokio::spawn(async move { apple.servers(None).await.is_ok() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.expect("runs"));
    }
    let logins = script
        .seen()
        .iter()
        .filter(|call| call.url.contains("/auth/"))
        .count();
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn an_answer_that_repeats_our_token_is_not_repeated_by_us() {
    let echo = r#"{"errors":[{"code":"A.B","status":"409","title":"Bearer bearer-1-long-enough","detail":"kept","source":{"parameter":"bearer-1-long-enough"}}]}"#;
    let script = Script::new([
        ok(&BEARER.replace("bearer-1", "bearer-1-long-enough")),
        status(409, echo),
    ]);
    let apple = BusinessClient::new(script, account(), "test/1.0", Hand::at(NOW));
    let error = apple.servers(None).await.expect_err("refused");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("A.B") && text.contains("kept") && !text.contains("bearer-1"),
        "{text}"
    );
}
