//! The organisation API against answers as Apple words them.

mod support;

use std::sync::Arc;
use std::time::Duration;

use abm_client::business::{
    Activity, ActivityStatus, ApiAccount, AuditQuery, BusinessClient, Deadline, DeviceField, Force,
    LockType, MigrationStatus, NewServer, PageCursor, ServerChange, ServerType,
};
use abm_client::{Budget, BudgetGate, ErrorKind, Moment, RequestClass, Response, TransportError};
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
async fn devices_are_read_page_by_page_and_from_any_page_on() {
    let first = r#"{"data":[{"type":"orgDevices","id":"S1","attributes":{"serialNumber":"S1","productFamily":"Mac","status":"ASSIGNED","isMdmMigrationCapable":true,"mdmMigrationStatus":"REQUESTED","mdmMigrationDeadlineDateTime":"2026-12-10T17:00:00.000Z","wifiMacAddress":"AA","ethernetMacAddress":["BB","CC"],"imei":null,"purchaseSourceUid":"7","newAttribute":1},"relationships":{}}],"links":{"next":"https://api-business.apple.com/v1/orgDevices?cursor=a%2Fb&limit=1000"},"meta":{"paging":{"limit":1000,"total":2,"nextCursor":"a/b"}}}"#;
    let last = r#"{"data":[{"type":"orgDevices","id":"S2","attributes":{"mdmMigrationStatus":"PONDERED"}}],"links":{"next":null},"meta":{"paging":{"limit":1000,"nextCursor":""}}}"#;
    let (apple, script, _) = client([ok(first), ok(last)]);
    let fields = [DeviceField::SerialNumber, DeviceField::MdmMigrationStatus];
    let page = apple.devices(&fields, None).await.expect("a page");
    assert_eq!(
        script.last().line(),
        "GET /v1/orgDevices?fields%5BorgDevices%5D=serialNumber%2CmdmMigrationStatus&limit=1000"
    );
    let device = &page.items[0].attributes;
    assert_eq!(
        device.mdm_migration_status,
        Some(MigrationStatus::Requested)
    );
    assert_eq!(
        (&device.wifi_mac_address, &device.ethernet_mac_address),
        (&list(&["AA"]), &list(&["BB", "CC"]))
    );
    assert_eq!(
        (device.purchase_source_id.as_deref(), device.imei.len()),
        (Some("7"), 0)
    );
    assert_eq!(device.extra["newAttribute"], 1);
    assert_eq!(page.total, Some(2));
    let stored = page.next.expect("more").as_str().to_owned();
    let page = apple
        .devices(&[], Some(&PageCursor::new(stored)))
        .await
        .expect("a page");
    assert_eq!(
        script.last().line(),
        "GET /v1/orgDevices?limit=1000&cursor=a%2Fb"
    );
    assert_eq!(
        page.items[0].attributes.mdm_migration_status,
        Some(MigrationStatus::Other("PONDERED".into()))
    );
    assert_eq!(page.next, None);
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
async fn servers_are_made_changed_and_listed() {
    let one = r#"{"data":{"type":"mdmServers","id":"1F2E","attributes":{"serverName":"Us","defaultProductFamilies":["MAC"],"deviceCount":3}}}"#;
    let (apple, script, _) = client([
        Ok(Response::new(201, one)),
        ok(one),
        ok(r#"{"data":[{"type":"orgDevices","id":"S1"},{"type":"orgDevices","id":"S2"}]}"#),
        status(
            403,
            r#"{"errors":[{"code":"FORBIDDEN","title":"t","detail":"d","status":"403"}]}"#,
        ),
    ]);
    let made = apple
        .create_server(&NewServer::new("Us", b"PEM".to_vec()))
        .await
        .expect("made");
    assert_eq!(
        (made.id.as_str(), made.attributes.device_count),
        ("1F2E", Some(3))
    );
    assert_eq!(
        script.last().json()["data"]["attributes"],
        serde_json::json!({ "serverName": "Us", "serverCertificate": { "name": "certificate.pem", "data": "UEVN" }, "enableMdmDisownFlag": false })
    );
    let change = ServerChange {
        server_name: Some("We".into()),
        ..ServerChange::default()
    };
    apple.update_server("1F2E", &change).await.expect("changed");
    assert_eq!(script.last().line(), "PATCH /v1/mdmServers/1F2E");
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "data": { "type": "mdmServers", "id": "1F2E", "attributes": { "serverName": "We" } } })
    );
    assert!(
        apple
            .update_server("1F2E", &ServerChange::default())
            .await
            .expect_err("nothing")
            .is_invalid_input()
    );
    assert_eq!(
        apple
            .server_devices("1F2E", None)
            .await
            .expect("a page")
            .items,
        ["S1", "S2"]
    );
    let error = apple.server("1F2E").await.expect_err("refused");
    assert!(
        error
            .needs_person()
            .is_some_and(|s| s.contains("privilege"))
    );
}

#[tokio::test]
async fn an_activity_is_sent_as_apple_prints_it() {
    let (apple, script, _) = client([
        Ok(Response::new(201, ACTIVITY)),
        Ok(Response::new(201, ACTIVITY)),
    ]);
    let made = apple
        .submit_activity(&migration(&["XABC123X0ABC", "XABC123X0ABC"]))
        .await
        .expect("submitted");
    assert_eq!(
        (made.id.as_str(), made.attributes.status),
        ("b1481656", Some(ActivityStatus::InProgress))
    );
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "data": {
            "type": "orgDeviceActivities",
            "attributes": {
                "activityType": "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE",
                "activityTypeMetadata": { "mdmMigrationDeadlineDateTime": "2026-12-10T17:00:00.000Z" }
            },
            "relationships": {
                "mdmServer": { "data": { "type": "mdmServers", "id": "1F2E" } },
                "devices": { "data": [ { "type": "orgDevices", "id": "XABC123X0ABC" } ] }
            }
        } })
    );
    apple
        .submit_activity(&Activity::CancelMigration {
            devices: list(&["S1"]),
        })
        .await
        .expect("submitted");
    assert_eq!(
        script.last().json(),
        serde_json::json!({ "data": {
            "type": "orgDeviceActivities",
            "attributes": { "activityType": "CANCEL_MDM_MIGRATION" },
            "relationships": { "devices": { "data": [ { "type": "orgDevices", "id": "S1" } ] } }
        } })
    );
}

#[tokio::test]
async fn an_activity_that_cannot_be_right_is_not_sent() {
    let (apple, script, hand) = client([]);
    let many: Vec<String> = (0..501).map(|n| format!("S{n}")).collect();
    let none = Activity::CancelMigration {
        devices: Vec::new(),
    };
    let nowhere = Activity::Assign {
        server: " ".into(),
        devices: list(&["S1"]),
    };
    for activity in [
        &none,
        &nowhere,
        &Activity::CancelMigration { devices: many },
    ] {
        assert!(
            apple
                .submit_activity(activity)
                .await
                .expect_err("refused")
                .is_invalid_input()
        );
    }
    // Between planning and sending the deadline has passed.
    hand.advance(30 * 24 * 3_600_000);
    assert!(
        apple
            .submit_activity(&migration(&["S1"]))
            .await
            .expect_err("passed")
            .is_invalid_input()
    );
    assert_eq!(script.seen().len(), 0);
    let force = Force::because("ordered").expect("a reason");
    let past =
        Deadline::for_update(&Moment::from_unix_ms(NOW), None, Some(&force), NOW).expect("forced");
    script.push(Ok(Response::new(201, ACTIVITY)));
    apple
        .submit_activity(&Activity::UpdateDeadline {
            deadline: past,
            devices: list(&["S1"]),
        })
        .await
        .expect("sent");
}

#[tokio::test]
async fn a_post_is_never_repeated_and_its_unknown_outcome_is_told() {
    for answer in [
        Err(TransportError::Interrupted("connection reset".into())),
        status(500, ""),
        status(201, "{}"),
        status(201, "<html>"),
    ] {
        let (apple, script, _) = client([answer]);
        let error = apple
            .submit_activity(&migration(&["S1"]))
            .await
            .expect_err("failed");
        assert!(error.is_unknown_outcome(), "{error}");
        assert_eq!(script.seen().len(), 2);
    }
    for answer in [
        Err(TransportError::NotSent("refused".into())),
        status(429, ""),
        status(409, "{}"),
    ] {
        let (apple, _, _) = client([answer]);
        let error = apple
            .submit_activity(&migration(&["S1"]))
            .await
            .expect_err("failed");
        assert!(!error.is_unknown_outcome(), "{error}");
    }
}

#[tokio::test]
async fn a_missing_feature_is_told_from_a_refusal() {
    let pointing = |status_code, pointer: &str| {
        let body = format!(
            r#"{{"errors":[{{"status":"{status_code}","code":"ENTITY_ERROR.ATTRIBUTE.INVALID","title":"t","detail":"d","source":{{"pointer":"{pointer}"}}}}]}}"#
        );
        status(status_code, &body)
    };
    for answer in [
        pointing(409, "/data/attributes/activityType"),
        status(400, r#"{"errors":[{"code":"PARAMETER_ERROR.INVALID"}]}"#),
        status(404, ""),
    ] {
        let (apple, _, _) = client([answer]);
        let error = apple
            .submit_activity(&migration(&["S1"]))
            .await
            .expect_err("missing");
        assert_eq!(
            error.feature_missing(),
            Some("ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE"),
            "{error}"
        );
    }
    for answer in [
        // It names nothing, and may be anybody's.
        status(400, ""),
        pointing(409, "/data/relationships/mdmServer"),
        pointing(
            409,
            "/data/attributes/activityTypeMetadata/mdmMigrationDeadlineDateTime",
        ),
        status(422, ""),
    ] {
        let (apple, _, _) = client([answer]);
        let error = apple
            .submit_activity(&migration(&["S1"]))
            .await
            .expect_err("refused");
        assert!(matches!(error.kind(), ErrorKind::Refused { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_activity_is_followed_to_its_result_file() {
    let over = r#"{"data":{"type":"orgDeviceActivities","id":"b1","attributes":{"status":"COMPLETED","subStatus":"COMPLETED_WITH_FAILURE","completedDateTime":"2026-11-20T16:01:00Z","downloadUrl":"https://files.example.com/log.csv?signature=HIDDEN"}}}"#;
    let (apple, script, _) = client([
        ok(over),
        ok("Serial Number,Status\nS1,SUCCESS\nS2,FAILED\n"),
        status(403, ""),
    ]);
    let activity = apple.activity("b1").await.expect("read").attributes;
    assert!(activity.is_over() && !activity.claims_success());
    assert!(!format!("{activity:?}").contains("HIDDEN"));
    let report = apple
        .activity_report(&activity)
        .await
        .expect("a file")
        .expect("a file");
    assert_eq!(report.failed_serials(&list(&["S1", "S2"])), ["S2"]);
    assert_eq!(
        script.last().header("authorization"),
        None,
        "the bearer token is not for that host"
    );
    assert!(
        apple
            .activity_report(&activity)
            .await
            .expect_err("expired")
            .is_not_found()
    );
}

#[tokio::test]
async fn the_budget_is_kept_before_anything_is_sent() {
    let (apple, script, hand) = client((0..10).map(|_| Ok(Response::new(201, ACTIVITY))));
    let gate = BudgetGate::refusing(Budget::organisation_api(), hand.clone());
    let apple = apple.with_gate(gate.clone());
    for _ in 0..10 {
        apple
            .submit_activity(&migration(&["S1"]))
            .await
            .expect("within the budget");
    }
    let sent = script.seen().len();
    let error = apple
        .submit_activity(&migration(&["S1"]))
        .await
        .expect_err("used up");
    assert!(matches!(error.kind(), ErrorKind::BudgetSpent) && !error.is_unknown_outcome());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert_eq!(
        (script.seen().len(), gate.status(RequestClass::Write).left),
        (sent, 0)
    );
    hand.advance(3_600_000);
    // The bearer token has ended too.
    script.push(ok(BEARER));
    script.push(Ok(Response::new(201, ACTIVITY)));
    apple
        .submit_activity(&migration(&["S1"]))
        .await
        .expect("there is budget again");
}

#[tokio::test]
async fn a_pause_that_apple_asks_for_holds_for_everyone_behind_the_gate() {
    let busy = Response::new(429, "").with_header("Retry-After", "45");
    let (apple, script, hand) = client([Ok(busy), ok(r#"{"data":[]}"#)]);
    let apple = apple.with_gate(BudgetGate::refusing(
        Budget::organisation_api(),
        hand.clone(),
    ));
    let other = apple.clone();
    assert_eq!(
        apple
            .servers(None)
            .await
            .expect_err("throttled")
            .retry_after(),
        Some(Duration::from_secs(45))
    );
    let error = other.servers(None).await.expect_err("paused");
    assert!(matches!(error.kind(), ErrorKind::BudgetSpent));
    assert_eq!(script.seen().len(), 2);
    hand.advance(45_000);
    other.servers(None).await.expect("over");
}

#[tokio::test]
async fn a_token_is_asked_for_in_its_turn_and_a_pause_at_its_door_holds_too() {
    let busy = Response::new(429, "").with_header("Retry-After", "45");
    let script = Script::new([Ok(busy), ok(BEARER), ok(r#"{"data":[]}"#)]);
    let hand = Hand::at(NOW);
    let apple = BusinessClient::new(script.clone(), account(), "test/1.0", hand.clone());
    let gate = BudgetGate::refusing(Budget::organisation_api(), hand.clone());
    let apple = apple.with_gate(gate.clone());
    let error = apple.servers(None).await.expect_err("throttled");
    assert!(matches!(error.kind(), ErrorKind::Throttled), "{error}");
    assert_eq!(gate.status(RequestClass::Read).used, 1);
    let error = apple.servers(None).await.expect_err("paused");
    assert!(matches!(error.kind(), ErrorKind::BudgetSpent), "{error}");
    assert_eq!(script.seen().len(), 1, "no token is asked for in a pause");
    hand.advance(45_000);
    apple.servers(None).await.expect("over");
}

#[tokio::test]
async fn lists_that_an_organisation_does_not_have_are_missing_features() {
    let (apple, _, _) = client((0..8).map(|_| status(404, r#"{"errors":[{"code":"NOT_FOUND"}]}"#)));
    let missing = [
        apple.users(None).await.map(|_| ()),
        apple.user_groups(None).await.map(|_| ()),
        apple.organizational_units(None).await.map(|_| ()),
        apple.apps(None).await.map(|_| ()),
        apple.packages(None).await.map(|_| ()),
        apple.configurations(None).await.map(|_| ()),
        apple.blueprints(None).await.map(|_| ()),
        apple.built_in_devices(None).await.map(|_| ()),
    ];
    for result in missing {
        assert!(result.expect_err("missing").feature_missing().is_some());
    }
}

#[tokio::test]
async fn people_apps_and_configurations_are_read() {
    let (apple, script, _) = client([
        ok(
            r#"{"data":[{"type":"users","id":"1","attributes":{"firstName":"A","roleOuList":[{"roleName":"MANAGER","ouId":"7"}],"phoneNumbers":null}}]}"#,
        ),
        ok(
            r#"{"data":[{"type":"userGroups","id":"1","attributes":{"name":"G","totalMemberCount":2}}]}"#,
        ),
        ok(r#"{"data":[{"type":"users","id":"1"}]}"#),
        ok(
            r#"{"data":[{"type":"apps","id":"1","attributes":{"name":"App","supportedOS":["iOS"]}}]}"#,
        ),
        ok(
            r#"{"data":{"type":"configurations","id":"1","attributes":{"type":"CUSTOM_SETTING","customSettingsValues":{"configurationProfile":"HIDDEN"}}}}"#,
        ),
    ]);
    let user = apple
        .users(None)
        .await
        .expect("users")
        .items
        .remove(0)
        .attributes;
    assert_eq!(user.role_ou_list[0].role_name.as_deref(), Some("MANAGER"));
    assert_eq!(
        apple.user_groups(None).await.expect("groups").items[0]
            .attributes
            .total_member_count,
        Some(2)
    );
    assert_eq!(
        apple
            .user_group_members("1", None)
            .await
            .expect("members")
            .items,
        ["1"]
    );
    assert_eq!(
        apple.apps(None).await.expect("apps").items[0]
            .attributes
            .supported_os,
        ["iOS"]
    );
    let configuration = apple.configuration("1").await.expect("read");
    assert!(!format!("{configuration:?}").contains("HIDDEN"));
    assert!(script.last().line().starts_with("GET /v1/configurations/1"));
}

#[tokio::test]
async fn audit_events_tell_who_moved_a_device() {
    let (apple, script, _) = client([ok(
        r#"{"data":[{"type":"auditEvents","id":"1","attributes":{"eventDateTime":"2026-11-20T15:00:00Z","type":"DEVICE_ASSIGNED_TO_SERVER","actorName":"A","eventDataPropertyKey":"deviceAssignedToServer","deviceAssignedToServer":{"serialNumber":"S1","serverName":"Them"}}}]}"#,
    )]);
    let page = apple
        .audit_events(&AuditQuery::between(NOW - 3_600_000, NOW), None)
        .await
        .expect("events");
    assert_eq!(page.items[0].attributes.serial_number(), Some("S1"));
    assert_eq!(
        script.last().line(),
        "GET /v1/auditEvents?filter%5BstartTimestamp%5D=2026-11-20T15%3A00%3A00.000Z&filter%5BendTimestamp%5D=2026-11-20T16%3A00%3A00.000Z&limit=1000"
    );
    assert!(
        apple
            .audit_events(&AuditQuery::between(NOW, NOW - 1), None)
            .await
            .expect_err("backwards")
            .is_invalid_input()
    );
}

#[tokio::test]
async fn a_malformed_list_names_the_field_and_is_asked_again_later() {
    for (body, field) in [
        (r#"{"data":[{"type":"orgDevices"}]}"#, "data[0].id"),
        (r#"{"data":{}}"#, "data"),
        (
            r#"{"data":[{"id":"S1","attributes":{"status":7}}]}"#,
            "data[0].attributes.status",
        ),
        (r#"{"items":[]}"#, "data"),
        ("", "."),
    ] {
        let (apple, _, _) = client([ok(body)]);
        let error = apple.devices(&[], None).await.expect_err("malformed");
        assert!(
            matches!(error.kind(), ErrorKind::Malformed { field: f, .. } if f == field),
            "{body}: {error}"
        );
        assert!(
            error.retry_after().is_some()
                && !error.is_unknown_outcome()
                && !error.is_cursor_expired()
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
