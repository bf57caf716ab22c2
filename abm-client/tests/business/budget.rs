//! The budget and the pauses behind one gate.

use std::time::Duration;

use crate::support::{Hand, NOW, Script, ok};
use crate::{ACTIVITY, BEARER, account, client, migration};
use abm_client::business::BusinessClient;
use abm_client::{Budget, BudgetGate, ErrorKind, RequestClass, Response};

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
