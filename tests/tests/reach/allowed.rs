//! What tokens open: no gate and no stop rule for planners, and nothing at all from their end on.

use std::collections::BTreeSet;
use std::time::Duration;

use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdmd::config::Duty;
use serde_json::{Value, json};
use tests::Request;

use super::house::{House, NOW_MS};
use super::{PROJECT, ask, project};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planner_changes_no_gate_and_no_stop_rule() {
    let house = House::open().await;
    project(&house).await;
    let of = async |role, name: &str| {
        let made = house.org.new_api_token(name, role, BTreeSet::new(), None);
        let made = made.await.unwrap();
        made.secret.expose_text().unwrap().to_owned()
    };
    let planner = of(Role::Planner, "planner").await;
    let approver = of(Role::Approver, "approver").await;
    let path = PROJECT;
    let post = async |token: &str, body: &Value| {
        let request = Request::new("POST", path).by(token).with(body.to_string());
        request.send(house.app.address(Duty::Admin).unwrap()).await
    };
    let gate =
        json!({ "gate": { "settled_percent": 0, "most_failed_percent": 100, "sign_off": false } });
    let stop = json!({ "stop": { "failed": 99, "failed_percent": 100, "long_holds": 99, "expiries": false } });
    let before = ask(&house, "GET", path, &json!({}), &[]).await.text();
    for body in [&gate, &stop] {
        let refused = post(&planner, body).await;
        assert_eq!(refused.status, 403, "{body}: {}", refused.text());
    }
    // Hidden among what a planner may change it is refused as well, and nothing of it is done.
    let mut both = gate.clone();
    both["capacity"] = json!(7);
    assert_eq!(post(&planner, &both).await.status, 403);
    let after = ask(&house, "GET", path, &json!({}), &[]).await.text();
    assert_eq!(after, before);
    assert_eq!(post(&planner, &json!({ "capacity": 7 })).await.status, 200);
    let changed = post(&approver, &gate).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_token_opens_nothing_from_its_end_on() {
    let house = House::open().await;
    let ends = Timestamp::from_millis(NOW_MS) + Duration::from_secs(3600);
    let made = house
        .org
        .new_api_token("for an hour", Role::Viewer, BTreeSet::new(), Some(ends));
    let made = made.await.unwrap();
    let token = made.secret.expose_text().unwrap().to_owned();
    let asked = async || {
        let request = Request::new("GET", "/api/v1/devices").by(&token);
        let admin = house.app.address(Duty::Admin).unwrap();
        request.send(admin).await.status
    };
    assert_eq!(asked().await, 200);
    house.clock.advance(Duration::from_secs(3599));
    assert_eq!(asked().await, 200, "a second before its end");
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(asked().await, 401, "at its end");
}
