//! A request with a key, done once over crashes and crowds; and a change that somebody else has made meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mdm_core::audit::Role;
use mdm_core::service::Ports;
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{SqliteStore, Store};
use mdmd::config::Duty;
use serde_json::{Value, json};
use tests::{Reply, Request};

use super::house::House;
use super::{PROJECT, ask, project};

const TOKENS: &str = "/api/v1/api-tokens";

async fn keyed(house: &House, key: &str, body: &Value) -> Reply {
    ask(house, "POST", TOKENS, body, &[("Idempotency-Key", key)]).await
}

fn header(reply: &Reply, name: &str) -> Option<String> {
    reply.head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

fn token(name: &str) -> Value {
    json!({ "name": name, "role": "viewer" })
}

async fn named(house: &House, name: &str) -> usize {
    let all = house.org.api_tokens().await.unwrap();
    all.iter().filter(|t| t.name == name).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_key_is_done_once_and_answered_alike() {
    let house = House::open().await;
    let first = keyed(&house, "one", &token("one")).await;
    assert_eq!(first.status, 200, "{}", first.text());
    // Quoted or not, and with the token that is shown once.
    for key in ["one", "\"one\""] {
        let again = keyed(&house, key, &token("one")).await;
        assert_eq!((again.status, again.text()), (200, first.text()));
        assert_eq!(
            header(&again, "idempotency-replayed").as_deref(),
            Some("true")
        );
    }
    assert_eq!(named(&house, "one").await, 1);
    // What is kept of it is sealed: the new token stands nowhere in the database.
    let secret = serde_json::from_str::<Value>(&first.text()).unwrap()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = std::fs::read(house.directory().join("mdmd.sqlite")).unwrap();
    let wal = std::fs::read(house.directory().join("mdmd.sqlite-wal")).unwrap_or_default();
    for bytes in [file, wal] {
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
    // The key stands for that request alone.
    let other = keyed(&house, "one", &token("two")).await;
    assert_eq!(other.status, 422, "{}", other.text());
    assert_eq!(named(&house, "two").await, 0);
    // What came to nothing is not remembered: mended, the same request is done.
    let refused = keyed(&house, "three", &token("")).await;
    assert_eq!(refused.status, 400);
    assert_eq!(keyed(&house, "three", &token("")).await.status, 400);
    for wrong in ["", "a b", &"x".repeat(256)] {
        assert_eq!(
            keyed(&house, wrong, &token("four")).await.status,
            400,
            "{wrong:?}"
        );
    }
    assert_eq!(named(&house, "four").await, 0);
    // Another holder's key is another key.
    let made = house
        .org
        .new_api_token("other", Role::Admin, BTreeSet::new(), None)
        .await
        .unwrap();
    let mut request = Request::new("POST", TOKENS).by(made.secret.expose_text().unwrap());
    request.headers.push(("Idempotency-Key", "one".to_owned()));
    let theirs = request
        .with(token("five").to_string())
        .send(house.app.address(Duty::Admin).unwrap())
        .await;
    assert_eq!(theirs.status, 200, "{}", theirs.text());
    // After a day it is forgotten: the name is taken now.
    house.clock.advance(Duration::from_hours(25));
    assert_eq!(keyed(&house, "one", &token("one")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_at_once_has_one_effect() {
    let house = House::open().await;
    let body = token("crowd");
    let all = (0..8).map(|_| keyed(&house, "crowd", &body));
    let all = futures_util::future::join_all(all).await;
    let done: BTreeSet<String> = all
        .iter()
        .filter(|r| r.status == 200)
        .map(Reply::text)
        .collect();
    assert_eq!(done.len(), 1, "one answer for all who got one");
    for reply in all.iter().filter(|reply| reply.status != 200) {
        // Nothing is wrong with it: it is asked again.
        assert_eq!(reply.status, 503, "{all:?}");
        let seconds = header(reply, "retry-after").unwrap();
        let problem: Value = serde_json::from_str(&reply.text()).unwrap();
        assert_eq!(problem["retry_after"].to_string(), seconds);
        assert!(seconds.parse::<u64>().unwrap() <= 60, "{seconds}");
    }
    assert_eq!(named(&house, "crowd").await, 1);
}

/// The power is cut at each commit of the request, before and after it is on the disk; another process on the same database is
/// asked the same again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_key_has_one_effect_over_a_crash_and_another_process() {
    let (mut done_again, mut lost) = (0, 0);
    for moment in [Moment::Before, Moment::After] {
        for nth in 1..=3 {
            let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
            let house = House::open_with(Ports::refusing(), Some(Arc::clone(&store))).await;
            let cut = FailingStore::new(store, nth, moment);
            // The same request, in a process whose power is cut.
            let one = house.process(Arc::new(cut), Ports::refusing()).await;
            let request = || {
                let mut request = Request::new("POST", TOKENS).by(&house.token);
                request
                    .headers
                    .push(("Idempotency-Key", "crash".to_owned()));
                request.with(token("crash").to_string())
            };
            let first = request().send(one.address(Duty::Admin).unwrap()).await;
            // Left to whoever began it for a minute, and then to others.
            house.clock.advance(Duration::from_secs(61));
            let second = request()
                .send(house.app.address(Duty::Admin).unwrap())
                .await;
            let case = format!(
                "{moment:?} {nth}: {} then {} {}",
                first.status,
                second.status,
                second.text()
            );
            assert_eq!(named(&house, "crash").await, 1, "{case}");
            match second.status {
                200 if first.status == 200 => assert_eq!(first.text(), second.text(), "{case}"),
                200 => done_again += 1,
                409 => {
                    assert!(second.text().contains("its answer was lost"), "{case}");
                    lost += 1;
                }
                _ => panic!("{case}"),
            }
        }
    }
    assert!(done_again >= 2, "{done_again}");
    assert!(lost >= 2, "{lost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_changed_is_not_overwritten_by_whoever_has_not_seen_it() {
    let house = House::open().await;
    project(&house).await;
    let path = PROJECT;
    let read = ask(&house, "GET", path, &json!({}), &[]).await;
    let tag = header(&read, "etag").unwrap();
    let known = ask(&house, "GET", path, &json!({}), &[("If-None-Match", &tag)]).await;
    assert_eq!(
        (known.status, known.body.len()),
        (304, 0),
        "{}",
        known.text()
    );
    let other = ask(
        &house,
        "GET",
        path,
        &json!({}),
        &[("If-None-Match", "\"0.0\", W/\"x\"")],
    )
    .await;
    assert_eq!(other.status, 200);
    let changed = ask(
        &house,
        "POST",
        path,
        &json!({ "capacity": 7 }),
        &[("If-Match", &tag)],
    )
    .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let late = ask(
        &house,
        "POST",
        path,
        &json!({ "capacity": 9 }),
        &[("If-Match", &tag)],
    )
    .await;
    assert_eq!(late.status, 412, "{}", late.text());
    let now = ask(&house, "GET", path, &json!({}), &[("If-None-Match", &tag)]).await;
    assert_eq!(now.status, 200, "it has changed");
    let now: Value = serde_json::from_slice(&now.body).unwrap();
    assert_eq!(now["project"]["capacity"], 7);
    // Of many who have seen the same, one is in time.
    let tag = header(&ask(&house, "GET", path, &json!({}), &[]).await, "etag").unwrap();
    let condition = [("If-Match", tag.as_str())];
    let bodies: Vec<Value> = (0..8).map(|n| json!({ "capacity": 20 + n })).collect();
    let all = bodies
        .iter()
        .map(|body| ask(&house, "POST", path, body, &condition));
    let mut statuses: Vec<u16> = futures_util::future::join_all(all)
        .await
        .iter()
        .map(|r| r.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    for (condition, status) in [("*", 200), ("\"1\", \"2\"", 400), ("W/\"1.0\"", 412)] {
        let reply = ask(&house, "POST", path, &json!({}), &[("If-Match", condition)]).await;
        assert_eq!(reply.status, status, "{condition}: {}", reply.text());
    }
    let reply = ask(
        &house,
        "POST",
        TOKENS,
        &token("x"),
        &[("If-Match", "\"1\"")],
    )
    .await;
    assert_eq!(reply.status, 400, "nothing here has a tag");
}
