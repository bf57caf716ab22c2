//! Lists, a page at a time, and the things on them.

use crate::support::{NOW, ok, status};
use crate::{client, list};
use abm_client::business::{
    AuditQuery, DeviceField, MigrationStatus, NewServer, PageCursor, ServerChange,
};
use abm_client::{ErrorKind, Response};

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
