//! What programs may rely on: a request with a key is done once, whoever answers it and whatever breaks down meanwhile; what
//! has changed is not overwritten by whoever has not seen it; receivers of webhooks are told everything, in order, and signed.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use house::{House, NOW_MS, check_in, report};
use mdm_core::clock::Timestamp;
use mdm_core::error::PortError;
use mdm_core::hook::HookMessage;
use mdm_core::ids::{DeviceId, HookId, HookMessageId, ProjectId, RunbookId, Serial, ServerId};
use mdm_core::job::Job;
use mdm_core::migration::{Notice, OperatorAct};
use mdm_core::project::Project;
use mdm_core::secret::Secret;
use mdm_core::service::ports::HookCarrier;
use mdm_core::service::{HookChange, Ports};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore, Store};
use mdmd::config::Duty;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};
use tests::{Reply, Request};

const TOKENS: &str = "/api/v1/api-tokens";

async fn ask(
    house: &House,
    method: &str,
    path: &str,
    body: &Value,
    headers: &[(&'static str, &str)],
) -> Reply {
    let mut request = Request::new(method, path).by(&house.token);
    for (name, value) in headers {
        request.headers.push((*name, (*value).to_owned()));
    }
    if method == "POST" {
        request = request.with(body.to_string());
    }
    request.send(house.app.address(Duty::Admin).unwrap()).await
}

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
        .new_api_token(
            "other",
            mdm_core::audit::Role::Admin,
            std::collections::BTreeSet::new(),
            None,
        )
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
    let at = Timestamp::from_millis(NOW_MS);
    let mut batch = Batch::new();
    let id = house.org.organisation().id;
    batch.put(Project::new(id, ProjectId(77), "A move", ServerId(1), at));
    house.app.mdm.store().commit(batch).await.unwrap();
    let path = "/api/v1/projects/77";
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

/// One message as it came in.
#[derive(Clone, Debug)]
struct Came {
    url: String,
    name: String,
    signatures: Vec<String>,
    signed: Vec<u8>,
    body: Value,
    answered: Option<u16>,
}

/// Receivers of every kind: by what their address says they fail, answer late, or take.
#[derive(Default)]
struct Receivers {
    came: Mutex<Vec<Came>>,
    /// What the next messages are answered, by receiver; then 200.
    script: Mutex<BTreeMap<String, Vec<Option<u16>>>>,
}

#[async_trait]
impl HookCarrier for Receivers {
    async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<u16, PortError> {
        let of = |name: &str| {
            headers
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.clone())
                .unwrap()
        };
        let mut signed = format!("{}.{}.", of("webhook-id"), of("webhook-timestamp")).into_bytes();
        signed.extend(&body);
        let answered = {
            let mut script = self.script.lock().unwrap();
            let left = script.entry(url.to_owned()).or_default();
            if left.is_empty() {
                Some(200)
            } else {
                left.remove(0)
            }
        };
        self.came.lock().unwrap().push(Came {
            url: url.to_owned(),
            name: of("webhook-id"),
            signatures: of("webhook-signature")
                .split(' ')
                .map(str::to_owned)
                .collect(),
            signed,
            body: serde_json::from_slice(&body).unwrap(),
            answered,
        });
        answered.ok_or_else(|| PortError::retry("it does not answer in time"))
    }
}

impl Receivers {
    fn taken(&self, url: &str) -> Vec<Came> {
        let came = self.came.lock().unwrap();
        came.iter()
            .filter(|c| c.url == url && c.answered == Some(200))
            .cloned()
            .collect()
    }
}

fn sign(secret: &Secret, text: &[u8]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let key = secret
        .expose_text()
        .unwrap()
        .strip_prefix("whsec_")
        .unwrap()
        .to_owned();
    let key = PKey::hmac(&STANDARD.decode(key).unwrap()).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    format!(
        "v1,{}",
        STANDARD.encode(signer.sign_oneshot_to_vec(text).unwrap())
    )
}

const GOOD: &str = "https://good.example/in";
const BAD: &str = "https://bad.example/in";

/// A house whose webhooks go to these receivers.
async fn told() -> (House, Arc<Receivers>, Arc<dyn Store>) {
    let receivers = Arc::new(Receivers::default());
    let ports = Ports {
        hooks: receivers.clone(),
        ..Ports::refusing()
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let house = House::open_with(ports, Some(Arc::clone(&store))).await;
    (house, receivers, store)
}

/// Works until nothing is due at this moment.
async fn work(house: &House) {
    while house.app.mdm.work(50).await.unwrap() > 0 {}
}

/// Puts what a decision puts: messages in their order, and the job that sends them.
async fn happen(house: &House, hooks: &[HookId], device: i64, notices: &[Notice]) {
    let id = house.org.organisation().id;
    let now = house.app.mdm.now();
    let serial = Serial::parse(&format!("HOOK{device}")).unwrap();
    for (n, notice) in (1..).zip(notices) {
        let mut batch = Batch::new();
        for hook in hooks {
            let key = now.as_millis() * 1000 + device * 100 + n * 10 + hook.0 % 10;
            batch.put(HookMessage::new(
                id,
                HookMessageId(key),
                *hook,
                DeviceId(device),
                serial.clone(),
                *notice,
                now,
            ));
        }
        batch.put(Job::tell(id, DeviceId(device), now));
        house.app.mdm.store().commit(batch).await.unwrap();
    }
}

const STORY: [Notice; 5] = [
    Notice::Offered,
    Notice::Started,
    Notice::Holding,
    Notice::Released,
    Notice::Migrated,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_are_told_in_the_order_of_each_device_and_again_until_they_take_it() {
    let (house, receivers, _) = told().await;
    let all = BTreeSet::new();
    let good = house.org.new_hook("good", GOOD, &all).await.unwrap();
    let bad = house.org.new_hook("bad", BAD, &all).await.unwrap();
    // Fails, does not answer, sends elsewhere, refuses: each time it is asked again, later.
    let trouble = vec![Some(500), None, Some(302), Some(400), Some(200), Some(503)];
    receivers
        .script
        .lock()
        .unwrap()
        .insert(BAD.to_owned(), trouble);
    let ids = [good.hook.id, bad.hook.id];
    for device in 1..=3 {
        happen(&house, &ids, device, &STORY).await;
    }
    work(&house).await;
    assert_eq!(
        receivers.taken(GOOD).len(),
        15,
        "nobody waits for another receiver"
    );
    for _ in 0..12 {
        house.clock.advance(Duration::from_mins(2));
        work(&house).await;
    }
    for url in [GOOD, BAD] {
        let taken = receivers.taken(url);
        let names: BTreeSet<&String> = taken.iter().map(|c| &c.name).collect();
        assert_eq!((taken.len(), names.len()), (15, 15), "{url}: each once");
        for device in 1..=3 {
            let serial = format!("HOOK{device}");
            let mine = taken.iter().filter(|c| c.body["data"]["serial"] == serial);
            let kinds: Vec<String> = mine
                .map(|c| c.body["type"].as_str().unwrap().to_owned())
                .collect();
            let wanted = STORY.map(|notice| format!("device.{}", notice.as_str()));
            assert_eq!(kinds, wanted, "{url} {serial}");
        }
    }
    for came in receivers.taken(GOOD) {
        assert_eq!(came.signatures, [sign(&good.secret, &came.signed)]);
        assert_ne!(came.signatures, [sign(&bad.secret, &came.signed)]);
    }
    let rows = house
        .org
        .hook_messages("bad", HookMessageId(i64::MAX), 100)
        .await
        .unwrap();
    assert!(rows.iter().all(|m| m.taken && m.over.is_some()), "{rows:?}");
    assert!(rows.iter().any(|m| m.tries > 0));
    let hook = house.org.hook_named("bad").await.unwrap();
    assert_eq!((hook.failing_since, hook.trouble.as_deref()), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_signs_beside_the_old_one_for_a_day() {
    let (house, receivers, _) = told().await;
    let made = house
        .org
        .new_hook("good", GOOD, &BTreeSet::new())
        .await
        .unwrap();
    let new = house.org.rotate_hook("good").await.unwrap();
    happen(&house, &[made.hook.id], 1, &[Notice::Offered]).await;
    work(&house).await;
    house.clock.advance(Duration::from_hours(25));
    happen(&house, &[made.hook.id], 1, &[Notice::Started]).await;
    work(&house).await;
    let came = receivers.taken(GOOD);
    let both = [
        sign(&new.secret, &came[0].signed),
        sign(&made.secret, &came[0].signed),
    ];
    assert_eq!(came[0].signatures, both);
    assert_eq!(came[1].signatures, [sign(&new.secret, &came[1].signed)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_takes_nothing_for_days_is_switched_off_and_goes_on_where_it_was() {
    let (house, receivers, _) = told().await;
    let made = house
        .org
        .new_hook("bad", BAD, &BTreeSet::new())
        .await
        .unwrap();
    receivers
        .script
        .lock()
        .unwrap()
        .insert(BAD.to_owned(), vec![Some(500); 500]);
    happen(&house, &[made.hook.id], 1, &STORY).await;
    for _ in 0..80 {
        work(&house).await;
        house.clock.advance(Duration::from_hours(2));
    }
    let hook = house.org.hook_named("bad").await.unwrap();
    let off = hook.off.expect("it is off");
    assert!(off.why.contains("5 days"), "{}", off.why);
    let sent = receivers.came.lock().unwrap().len();
    assert!((10..60).contains(&sent), "less and less often: {sent}");
    let record = house.org.record_tail(50).await.unwrap();
    assert!(record.iter().any(|e| e.what == "hook.switched-off"));
    assert!(
        house
            .app
            .mdm
            .organisation_by_id(house.org.organisation().id)
            .await
            .unwrap()
            .organisation()
            .hooks
            .is_empty()
    );
    receivers.script.lock().unwrap().clear();
    let on = HookChange {
        on: Some(true),
        ..HookChange::default()
    };
    house.org.change_hook("bad", &on).await.unwrap();
    house.clock.advance(Duration::from_hours(2));
    work(&house).await;
    assert_eq!(receivers.taken(BAD).len(), STORY.len());
}

/// Between any two commits the process is killed: whoever goes on sends everything, in order; what had gone may go once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_crash_loses_a_message_or_turns_their_order() {
    let mut twice = 0;
    for nth in 1..=16 {
        let moment = if nth % 2 == 0 {
            Moment::After
        } else {
            Moment::Before
        };
        let (house, receivers, store) = told().await;
        let made = house
            .org
            .new_hook("good", GOOD, &BTreeSet::new())
            .await
            .unwrap();
        happen(&house, &[made.hook.id], 1, &STORY).await;
        let cut = FailingStore::new(store, nth, moment);
        let ports = Ports {
            hooks: receivers.clone(),
            ..Ports::refusing()
        };
        let killed = house.process(Arc::new(cut), ports).await;
        let _ = killed.mdm.work(50).await;
        for _ in 0..8 {
            house.clock.advance(Duration::from_mins(5));
            work(&house).await;
        }
        let taken = receivers.taken(GOOD);
        let mut kinds: Vec<String> = taken
            .iter()
            .map(|c| c.body["type"].as_str().unwrap().to_owned())
            .collect();
        twice += kinds.len() - STORY.len();
        kinds.dedup();
        let wanted = STORY.map(|notice| format!("device.{}", notice.as_str()));
        assert_eq!(kinds, wanted, "{moment:?} {nth}");
    }
    assert!(twice > 0, "no cut fell between a message and its note");
}

/// What a device does is told: the rows are in the batch of the cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_does_reaches_the_receivers_that_want_it() {
    let (house, receivers, _) = told().await;
    let some: BTreeSet<Notice> = [Notice::Holding].into();
    house.org.new_hook("good", GOOD, &some).await.unwrap();
    let other: BTreeSet<Notice> = [Notice::Migrated].into();
    house.org.new_hook("bad", BAD, &other).await.unwrap();
    let device = house.invited(house.serial, 1).await;
    for (message, more) in [
        ("Authenticate", ""),
        ("TokenUpdate", "<key>AwaitingConfiguration</key><true/>"),
    ] {
        let body = check_in(house.serial, message, more);
        let (status, _) = house.send(house.signed("checkin", &device, body)).await;
        assert_eq!(status, 200, "{message}");
    }
    // Before anybody works: it is committed already.
    let rows = house
        .org
        .hook_messages("good", HookMessageId(i64::MAX), 10)
        .await
        .unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (rows[0].notice, rows[0].serial.as_str()),
        (Notice::Holding, house.serial)
    );
    work(&house).await;
    assert_eq!(receivers.taken(GOOD).len(), 1);
    assert!(receivers.taken(BAD).is_empty());
    let tested = house.org.test_hook("bad").await.unwrap();
    assert!(tested.taken);
    house.org.remove_hook("good").await.unwrap();
    assert!(house.org.hook_named("good").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planner_changes_no_gate_and_no_stop_rule() {
    let house = House::open().await;
    let at = Timestamp::from_millis(NOW_MS);
    let mut batch = Batch::new();
    let id = house.org.organisation().id;
    batch.put(Project::new(id, ProjectId(77), "A move", ServerId(1), at));
    house.app.mdm.store().commit(batch).await.unwrap();
    let of = async |role, name: &str| {
        let made = house.org.new_api_token(name, role, BTreeSet::new(), None);
        let made = made.await.unwrap();
        made.secret.expose_text().unwrap().to_owned()
    };
    let planner = of(mdm_core::audit::Role::Planner, "planner").await;
    let approver = of(mdm_core::audit::Role::Approver, "approver").await;
    let path = "/api/v1/projects/77";
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
async fn the_release_of_a_device_reaches_the_receivers_whatever_its_runbook_says() {
    let (house, receivers, _) = told().await;
    let some: BTreeSet<Notice> = [Notice::Released].into();
    house.org.new_hook("good", GOOD, &some).await.unwrap();
    let device = house.invited(house.serial, 1).await;
    for (message, more) in [
        ("Authenticate", ""),
        ("TokenUpdate", "<key>AwaitingConfiguration</key><true/>"),
    ] {
        let body = check_in(house.serial, message, more);
        let (status, _) = house.send(house.signed("checkin", &device, body)).await;
        assert_eq!(status, 200, "{message}");
    }
    // Nobody can read its runbook any more: no step of it tells anybody.
    let serial = Serial::parse(house.serial).unwrap();
    let known = Box::pin(house.org.device_report(&serial)).await.unwrap();
    let mut set_up = known.set_up.unwrap();
    set_up.runbook = RunbookId(1);
    let mut batch = Batch::new();
    batch.put(set_up);
    house.app.mdm.store().commit(batch).await.unwrap();
    let released = OperatorAct::Release;
    Box::pin(house.org.act(&serial, released)).await.unwrap();
    let told = async || {
        let all = house
            .org
            .hook_messages("good", HookMessageId(i64::MAX), 10)
            .await
            .unwrap();
        all.iter().map(|row| row.notice).collect::<Vec<_>>()
    };
    assert_eq!(told().await, [], "it is still held");
    let (status, command) = house.send(house.idle(&device)).await;
    assert_eq!(status, 200);
    assert!(command.contains("DeviceConfigured"), "{command}");
    let uuid = command.split("<key>CommandUUID</key>").nth(1).unwrap();
    let uuid = uuid.split("<string>").nth(1).unwrap();
    let uuid = uuid.split("</string>").next().unwrap();
    // It says so twice; whoever grants a grace period hears of its end once, in the commit of the answer.
    for _ in 0..2 {
        let told = format!("<key>CommandUUID</key><string>{uuid}</string>");
        let answer = report(house.serial, "Acknowledged", &told);
        let (status, _) = house.send(house.signed("command", &device, answer)).await;
        assert_eq!(status, 200);
    }
    assert_eq!(told().await, [Notice::Released]);
    work(&house).await;
    let taken = receivers.taken(GOOD);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].body["type"], "device.released");
    assert_eq!(taken[0].body["data"]["serial"], house.serial);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_token_opens_nothing_from_its_end_on() {
    let house = House::open().await;
    let ends = Timestamp::from_millis(NOW_MS) + Duration::from_secs(3600);
    let made = house.org.new_api_token(
        "for an hour",
        mdm_core::audit::Role::Viewer,
        BTreeSet::new(),
        Some(ends),
    );
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
