//! Activities: what is sent, what is not, and how they are followed to their result file.

use crate::support::{NOW, ok, status};
use crate::{ACTIVITY, client, list, migration};
use abm_client::business::{Activity, ActivityStatus, Deadline, Force};
use abm_client::{ErrorKind, Moment, Response, TransportError};

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
