//! Apps and Books against answers as Apple words them.

mod support;

use abm_client::apps::{
    AppsClient, AssetQuery, AssetRef, AssignmentQuery, ClientConfigChange, ContentToken,
    EventState, MdmInfo, NewUser, NotificationType, ProductType, Targets, UNLIMITED,
};
use abm_client::{Budget, BudgetGate, ErrorKind, Response, TransportError};
use support::{Answer, Hand, NOW, Script, ok, status};

/// `{"token":"secret-inside","expDate":"2027-11-08T22:33:22+0000","orgName":"Us"}` in base64.
const TOKEN: &str = "eyJ0b2tlbiI6InNlY3JldC1pbnNpZGUiLCJleHBEYXRlIjoiMjAyNy0xMS0wOFQyMjozMzoyMiswMDAwIiwib3JnTmFtZSI6IlVzIn0=";
const OURS: &str =
    r#"{"mdmInfo":{"id":"us","name":"mdmd","metadata":"{}"},"uId":"7","locationName":"Here"}"#;
const THEIRS: &str = r#"{"mdmInfo":{"id":"them","name":"Other","metadata":"x"},"uId":"7"}"#;
const EVENT: &str = r#"{"eventId":"e-1","uId":"7"}"#;

fn client(answers: impl IntoIterator<Item = Answer>) -> (AppsClient, Script) {
    let script = Script::new(answers);
    let token = ContentToken::read(TOKEN.as_bytes()).expect("a token");
    let apple = AppsClient::new(script.clone(), token, "test/1.0", Hand::at(NOW));
    (apple.as_service(MdmInfo::new("us", "mdmd", "{}")), script)
}

fn one_app() -> Vec<AssetRef> {
    vec![AssetRef::new("361309726")]
}

#[tokio::test]
async fn a_location_is_claimed_before_anything_is_written() {
    let (apple, script) = client([
        ok(r#"{"uId":"7"}"#),
        ok(r#"{"uId":"7"}"#),
        ok(OURS),
        ok(EVENT),
    ]);
    let error = apple
        .associate(&one_app(), &Targets::serials(["S1"]))
        .await
        .expect_err("not claimed");
    assert!(error.is_invalid_input());
    let config = apple.claim(false).await.expect("claimed");
    assert_eq!(config.location_name.as_deref(), Some("Here"));
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "mdmInfo": { "id": "us", "name": "mdmd", "metadata": "{}" } })
    );
    let event = apple
        .associate(&one_app(), &Targets::serials(["S1", "S1", "S2"]))
        .await
        .expect("begun");
    assert_eq!(event, "e-1");
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "assets": [{ "adamId": "361309726", "pricingParam": "STDQ" }], "serialNumbers": ["S1", "S2"] })
    );
    assert_eq!(
        script.last().url,
        "https://vpp.itunes.apple.com/mdm/v2/assets/associate"
    );
    assert_eq!(
        script.last().header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    assert_eq!(apple.library().as_deref(), Some("7"));
}

#[tokio::test]
async fn another_service_is_never_overrun_without_a_person() {
    let (apple, script) = client([ok(THEIRS), ok(THEIRS), ok(THEIRS), ok(OURS)]);
    let error = apple
        .associate(&one_app(), &Targets::serials(["S1"]))
        .await
        .expect_err("theirs");
    assert!(matches!(error.kind(), ErrorKind::TakenOver { id, .. } if id == "them"));
    assert!(error.needs_person().is_some() && !error.is_unknown_outcome());
    assert!(matches!(
        apple.claim(false).await.expect_err("theirs").kind(),
        ErrorKind::TakenOver { .. }
    ));
    assert!(script.lines().iter().all(|line| line.starts_with("GET ")));
    apple.claim(true).await.expect("taken over");
    assert_eq!(apple.taken_over_by(), None);
}

#[tokio::test]
async fn a_take_over_seen_in_any_answer_stops_writing() {
    let foreign =
        r#"{"assets":[],"mdmInfo":{"id":"them","name":"Other","metadata":"x"},"totalPages":1}"#;
    let (apple, script) = client([ok(OURS), ok(EVENT), ok(foreign)]);
    apple
        .associate(&one_app(), &Targets::serials(["S1"]))
        .await
        .expect("ours");
    apple
        .assets(&AssetQuery::default(), None)
        .await
        .expect("reading goes on");
    assert_eq!(
        apple.taken_over_by().map(|owner| owner.id),
        Some("them".into())
    );
    let sent = script.seen().len();
    let error = apple
        .clone()
        .disassociate(&one_app(), &Targets::serials(["S1"]))
        .await
        .expect_err("stopped");
    assert!(matches!(error.kind(), ErrorKind::TakenOver { .. }));
    assert_eq!(script.seen().len(), sent);
}

#[tokio::test]
async fn lists_are_paged_without_an_index_at_first() {
    let assets = format!(
        r#"{{"assets":[{{"adamId":"1","pricingParam":"STDQ","productType":"App","deviceAssignable":true,"assignedCount":1,"availableCount":4,"totalCount":5,"supportedPlatforms":["iOS","macOS"],"brandNew":1}}],"unlimitedAssets":[{{"adamId":"2","totalCount":{UNLIMITED}}}],"currentPageIndex":0,"nextPageIndex":1,"totalPages":2,"size":2,"versionId":"v1","tokenExpirationDate":"2026-12-01T00:00:00+0000"}}"#
    );
    let (apple, script) = client([
        ok(&assets),
        ok(r#"{"assets":[],"currentPageIndex":1,"totalPages":2,"versionId":"v2"}"#),
        ok(r#"{"assignments":[{"adamId":"1","serialNumber":"S1"}],"totalPages":1}"#),
        status(400, r#"{"errorNumber":9721,"errorMessage":"bad"}"#),
    ]);
    let query = AssetQuery::default();
    let page = apple.assets(&query, None).await.expect("a page");
    assert_eq!(script.last().line(), "GET /mdm/v2/assets");
    assert_eq!(
        (page.items.len(), page.next_page, page.version_id.as_deref()),
        (2, Some(1), Some("v1"))
    );
    assert_eq!(page.items[0].product_type, Some(ProductType::App));
    assert_eq!((page.items[0].lacking(6), page.items[1].lacking(6)), (2, 0));
    assert_eq!(page.items[0].extra["brandNew"], 1);
    assert_eq!(
        apple.token_expiration().and_then(|at| at.unix_ms()),
        Some(1_796_083_200_000)
    );
    let page = apple.assets(&query, page.next_page).await.expect("a page");
    assert_eq!(script.last().line(), "GET /mdm/v2/assets?pageIndex=1");
    assert_eq!(page.next_page, None);
    let given = apple
        .assignments(&AssignmentQuery::device("S 1"), Some(0))
        .await
        .expect("a page");
    assert_eq!(
        script.last().line(),
        "GET /mdm/v2/assignments?serialNumber=S%201"
    );
    assert_eq!(given.items[0].serial_number.as_deref(), Some("S1"));
    let error = apple
        .assignments(&AssignmentQuery::product("1"), None)
        .await
        .expect_err("unknown state");
    assert!(error.is_cursor_expired());
}

#[tokio::test]
async fn a_list_that_goes_back_is_an_error_that_names_the_field() {
    for (asked, next) in [(None, 0), (Some(1), 1), (Some(2), 1)] {
        let page = format!(r#"{{"assignments":[],"nextPageIndex":{next},"totalPages":3}}"#);
        let (apple, _) = client([ok(&page)]);
        let listed = apple
            .assignments(&AssignmentQuery::default(), asked)
            .await
            .expect_err("it goes back");
        let said = listed.to_string();
        assert!(
            said.contains("GET /assignments") && said.contains("nextPageIndex"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn the_limits_of_the_service_are_kept() {
    let (apple, script) = client([ok(
        r#"{"limits":{"maxAssets":1,"maxSerialNumbers":2,"maxRevokeSerialNumbers":1,"maxNew":3},"urls":{"a":"b"},"errorCodes":[{}],"notificationTypes":null}"#,
    )]);
    let config = apple.service_config().await.expect("a configuration");
    assert_eq!(config.limits.extra["maxNew"], 3);
    assert_eq!(
        (apple.limits().max_assets, apple.limits().max_users),
        (1, 100)
    );
    let two = [AssetRef::new("1"), AssetRef::new("2")];
    let three = Targets::serials(["S1", "S2", "S3"]);
    for result in [
        apple.associate(&two, &Targets::serials(["S1"])).await,
        apple.associate(&one_app(), &three).await,
        apple.associate(&[], &Targets::serials(["S1"])).await,
        apple.associate(&one_app(), &Targets::default()).await,
        apple.revoke(&Targets::serials(["S1", "S2"])).await,
        apple.create_users(&[]).await,
        apple.create_users(&[NewUser::default()]).await,
        apple.retire_users(&["a".into(), "a".into()]).await,
    ] {
        assert!(result.expect_err("refused here").is_invalid_input());
    }
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test]
async fn work_is_followed_and_its_failures_are_read() {
    let failed = r#"{"eventStatus":"FAILED","eventType":"ASSOCIATE","numRequested":2,"numCompleted":1,"failures":[{"errorNumber":9709,"errorMessage":"x","errorInfo":{"assets":[{"adamId":"1"}],"serialNumbers":["S2"]}}],"uId":"7"}"#;
    let (apple, script) = client([
        ok(r#"{"eventStatus":"PENDING"}"#),
        ok(failed),
        status(400, r#"{"errorNumber":9708}"#),
    ]);
    assert_eq!(
        apple.event("e 1").await.expect("a status").status,
        EventState::Pending
    );
    assert_eq!(script.last().line(), "GET /mdm/v2/status?eventId=e%201");
    let failed = apple.event("e1").await.expect("a status");
    assert!(!failed.is_wholly_done());
    assert_eq!(failed.failures[0].error_number, Some(9709));
    assert!(apple.event("e1").await.expect_err("unknown").is_not_found());
}

#[tokio::test]
async fn users_and_notifications_are_set() {
    let (apple, script) = client([
        ok(OURS),
        ok(EVENT),
        ok(EVENT),
        ok(EVENT),
        ok(OURS),
        ok(r#"{"users":[{"clientUserId":"a"}]}"#),
    ]);
    let user = NewUser {
        client_user_id: "a".into(),
        managed_apple_id: Some("a@example.com".into()),
        email: None,
    };
    apple
        .create_users(std::slice::from_ref(&user))
        .await
        .expect("begun");
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "users": [{ "clientUserId": "a", "managedAppleId": "a@example.com" }] })
    );
    apple.update_users(&[user]).await.expect("begun");
    apple.retire_users(&["a".into()]).await.expect("begun");
    let change = ClientConfigChange {
        notification_url: Some("https://mdm.example.com/apps".into()),
        notification_auth_token: Some("t0ken".into()),
        notification_types: Some(vec![NotificationType::AssetManagement]),
        ..ClientConfigChange::default()
    };
    apple.change_client_config(&change).await.expect("changed");
    assert_eq!(
        script.last().json()["notificationTypes"],
        serde_json::json!(["ASSET_MANAGEMENT"])
    );
    let half = ClientConfigChange {
        notification_auth_token: None,
        ..change.clone()
    };
    let query = ClientConfigChange {
        notification_url: Some("https://a/b?c".into()),
        ..change.clone()
    };
    let owner = ClientConfigChange {
        mdm_info: Some(MdmInfo::new("x", "y", "z")),
        ..change
    };
    for wrong in [half, query, owner] {
        assert!(
            apple
                .change_client_config(&wrong)
                .await
                .expect_err("refused")
                .is_invalid_input()
        );
    }
    assert_eq!(
        apple
            .users(Some("v1"), None)
            .await
            .expect("users")
            .items
            .len(),
        1
    );
    assert_eq!(script.last().line(), "GET /mdm/v2/users?sinceVersionId=v1");
}

#[tokio::test]
async fn a_refusal_with_a_good_status_is_still_a_refusal() {
    let (apple, _) = client([ok(r#"{"errorNumber":9621,"errorMessage":"expired"}"#)]);
    let error = apple
        .assets(&AssetQuery::default(), None)
        .await
        .expect_err("refused");
    assert!(matches!(error.kind(), ErrorKind::CredentialRefused { .. }));
}

#[tokio::test]
async fn nothing_is_repeated_and_a_pause_holds() {
    let broken = Err(TransportError::Interrupted("reset".into()));
    let busy = Response::new(429, r#"{"errorNumber":9646}"#).with_header("Retry-After", "9");
    let (apple, script) = client([ok(OURS), broken, Ok(busy)]);
    let apple = apple.with_gate(BudgetGate::refusing(Budget::apps(15), Hand::at(NOW)));
    let targets = Targets::serials(["S1"]);
    assert!(
        apple
            .associate(&one_app(), &targets)
            .await
            .expect_err("broken")
            .is_unknown_outcome()
    );
    let error = apple
        .associate(&one_app(), &targets)
        .await
        .expect_err("busy");
    assert!(!error.is_unknown_outcome() && matches!(error.kind(), ErrorKind::Throttled));
    assert!(matches!(
        apple.event("e").await.expect_err("paused").kind(),
        ErrorKind::BudgetSpent
    ));
    assert_eq!(script.seen().len(), 3);
}

#[tokio::test]
async fn the_token_is_in_no_debug_output() {
    let (apple, _) = client([ok(
        r#"{"mdmInfo":{"id":"us","name":"n","metadata":"m"},"notificationAuthToken":"HIDDEN"}"#,
    )]);
    let config = apple.client_config().await.expect("a configuration");
    let text = format!("{apple:?} {config:?} {:?}", apple.token());
    assert!(
        !text.contains("HIDDEN") && !text.contains(&TOKEN[..12]),
        "{text}"
    );
}
