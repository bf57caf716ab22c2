//! The queue of one device over the real doors, and commands over the API: what a device or a program says twice, late, out
//! of turn or wrongly, and what it gets for it.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use fixtures::recorded::StandIn;
use house::{House, check_in, report};
use mdm_core::audit::AuditEntry;
use mdm_core::store::Batch;
use mdmd::config::Duty;
use serde_json::{Value, json};
use tests::{Reply, Request};

async fn api(house: &House, method: &str, path: &str, body: Value) -> Reply {
    let address = house.app.address(Duty::Admin).unwrap();
    let request = Request::new(method, path).by(&house.token);
    request.with(body.to_string()).send(address).await
}

fn read(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", reply.text()))
}

/// Queues a command and expects this status.
async fn queue(house: &House, uuid: &str, status: u16) -> Value {
    let body = json!({ "serials": [house.serial], "request_type": "UserList", "uuid": uuid });
    let reply = api(house, "POST", "/api/v1/commands", body).await;
    assert_eq!(reply.status, status, "{}", reply.text());
    read(&reply)
}

/// What the device says and which command it gets for it.
async fn say(house: &House, device: &StandIn, status: &str, uuid: Option<&str>) -> Option<String> {
    let more = uuid.map_or_else(String::new, |uuid| {
        format!("<key>CommandUUID</key><string>{uuid}</string>")
    });
    let ask = house.signed("command", device, report(house.serial, status, &more));
    let (code, said) = house.send(ask).await;
    assert_eq!(code, 200, "{status} {uuid:?}: {said}");
    let (_, rest) = said.split_once("<key>CommandUUID</key>")?;
    let (_, rest) = rest.split_once("<string>")?;
    Some(rest.split_once("</string>")?.0.to_owned())
}

/// Answers everything that waits for a device.
async fn drain(house: &House, device: &StandIn) {
    let mut next = say(house, device, "Idle", None).await;
    let mut rounds = 0;
    while let Some(uuid) = next {
        rounds += 1;
        assert!(rounds < 60, "there is always one more: {uuid}");
        next = say(house, device, "Acknowledged", Some(&uuid)).await;
    }
}

async fn open() -> (House, StandIn) {
    let house = House::open().await;
    let device = house.enrolled().await;
    drain(&house, &device).await;
    (house, device)
}

async fn state(house: &House, uuid: &str) -> Value {
    shown(house, uuid).await["state"].clone()
}

async fn shown(house: &House, uuid: &str) -> Value {
    let path = format!("/api/v1/devices/{}/commands/{uuid}", house.serial);
    let reply = api(house, "GET", &path, Value::Null).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    read(&reply)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_at_a_time_with_refusals_and_repeats() {
    let (house, device) = open().await;
    let ask = async |status: &str, uuid: Option<&str>| say(&house, &device, status, uuid).await;
    for uuid in ["ONE", "TWO", "THREE"] {
        queue(&house, uuid, 200).await;
    }
    // Asked twice without an answer: the same again.
    assert_eq!(ask("Idle", None).await.as_deref(), Some("ONE"));
    assert_eq!(ask("Idle", None).await.as_deref(), Some("ONE"));
    // Refused ones are passed over until a later request.
    assert_eq!(ask("NotNow", Some("ONE")).await.as_deref(), Some("TWO"));
    assert_eq!(ask("NotNow", Some("TWO")).await.as_deref(), Some("THREE"));
    assert_eq!(ask("NotNow", Some("THREE")).await, None);
    assert_eq!(state(&house, "ONE").await, "not_now");
    let one = shown(&house, "ONE").await;
    assert_eq!(
        (&one["handed_out"], &one["put_off"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(ask("Idle", None).await.as_deref(), Some("ONE"));
    assert_eq!(
        ask("Acknowledged", Some("ONE")).await.as_deref(),
        Some("TWO")
    );
    // The same answer again loses nothing of the rest, and a refusal afterwards does not bring it back.
    assert_eq!(
        ask("Acknowledged", Some("ONE")).await.as_deref(),
        Some("TWO")
    );
    assert_eq!(ask("NotNow", Some("ONE")).await.as_deref(), Some("TWO"));
    assert_eq!(state(&house, "ONE").await, "acknowledged");
    // A command that nobody knows, and one of somebody else: success, and nothing of it is kept.
    let before = house.contents().await;
    assert_eq!(
        ask("Acknowledged", Some("NOBODY")).await.as_deref(),
        Some("TWO")
    );
    assert_eq!(house.contents().await, before);
    // Cancelled is given out no more; what the device did all the same is what counts.
    let out = json!({ "serials": [house.serial], "uuid": "TWO" });
    let reply = api(&house, "POST", "/api/v1/commands/cancel", out).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(read(&reply)["handed_out"], 1);
    assert_eq!(
        ask("Acknowledged", Some("TWO")).await.as_deref(),
        Some("THREE")
    );
    assert_eq!(state(&house, "TWO").await, "acknowledged");
    assert_eq!(ask("Error", Some("THREE")).await, None);
    assert_eq!(state(&house, "THREE").await, "error");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_of_another_device_is_not_settled_by_this_one() {
    let (house, device) = open().await;
    let other = house.invited("DOORB", 2).await;
    for message in ["Authenticate", "TokenUpdate"] {
        let body = check_in("DOORB", message, "");
        let (status, said) = house.send(house.signed("checkin", &other, body)).await;
        assert_eq!(status, 200, "{message}: {said}");
    }
    queue(&house, "MINE", 200).await;
    let more = "<key>CommandUUID</key><string>MINE</string>";
    let body = report("DOORB", "Acknowledged", more);
    let (status, _) = house.send(house.signed("command", &other, body)).await;
    assert_eq!(status, 200);
    assert_eq!(state(&house, "MINE").await, "queued");
    assert_eq!(
        say(&house, &device, "Idle", None).await.as_deref(),
        Some("MINE")
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_delivered_after_a_check_out_and_a_new_enrolment_begins_with_an_empty_queue() {
    let (house, device) = open().await;
    queue(&house, "OLD", 200).await;
    let out = house.signed("checkin", &device, check_in(house.serial, "CheckOut", ""));
    assert_eq!(house.send(out).await.0, 200);
    assert_eq!(say(&house, &device, "Idle", None).await, None);
    // Nobody can queue for it now.
    let body = json!({ "serials": [house.serial], "request_type": "UserList" });
    let reply = api(&house, "POST", "/api/v1/commands", body).await;
    assert_eq!(reply.status, 207);
    assert_eq!(read(&reply)["results"][0]["result"], "not_enrolled");

    let again = house.invited(house.serial, 9).await;
    for message in ["Authenticate", "TokenUpdate"] {
        let body = check_in(house.serial, message, "");
        let (status, said) = house.send(house.signed("checkin", &again, body)).await;
        assert_eq!(status, 200, "{message}: {said}");
    }
    let mut next = say(&house, &again, "Idle", None).await;
    for _ in 0..60 {
        let Some(uuid) = next else { break };
        assert_ne!(uuid, "OLD");
        next = say(&house, &again, "Acknowledged", Some(&uuid)).await;
    }
    // Late, of the queue that is gone.
    assert_eq!(say(&house, &again, "Acknowledged", Some("OLD")).await, None);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_update_without_its_tokens_stores_nothing() {
    let (house, device) = open().await;
    let before = house.contents().await;
    for lost in ["PushMagic", "Token"] {
        let good = String::from_utf8(check_in(house.serial, "TokenUpdate", "")).unwrap();
        let bad = good.replacen(&format!("<key>{lost}</key>"), "<key>Another</key>", 1);
        let ask = house.signed("checkin", &device, bad.into_bytes());
        let (status, said) = house.send(ask).await;
        assert_eq!(status, 400, "{said}");
        assert!(said.contains(lost), "{said}");
    }
    assert_eq!(house.contents().await, before);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_for_many_is_answered_for_each() {
    let (house, device) = open().await;
    let send = async |body: Value| api(&house, "POST", "/api/v1/commands", body).await;
    // One unknown among known ones keeps nobody from it.
    let mixed = json!({
        "serials": [house.serial, "NOBODY1"], "channels": ["UDID-NOBODY"], "request_type": "UserList", "uuid": "MIX",
    });
    let reply = send(mixed.clone()).await;
    assert_eq!(reply.status, 207, "{}", reply.text());
    let answer = read(&reply);
    assert_eq!(answer["queued"], 1);
    let results: Vec<&Value> = (0..3).map(|n| &answer["results"][n]["result"]).collect();
    assert_eq!(results, ["queued", "not_enrolled", "not_enrolled"]);
    assert_eq!(
        say(&house, &device, "Idle", None).await.as_deref(),
        Some("MIX")
    );
    // All or none: none.
    let mut strict = mixed;
    strict["together"] = json!(true);
    strict["uuid"] = json!("STRICT");
    let reply = send(strict).await;
    assert_eq!(reply.status, 207);
    assert_eq!(read(&reply)["results"][0]["result"], "withheld");
    // A UUID is used once.
    let taken = queue(&house, "MIX", 409).await;
    assert!(taken["detail"].as_str().unwrap().contains("UUID"));
    // What is no command at all.
    for (body, field) in [
        (json!({ "serials": [house.serial] }), "body"),
        (
            json!({ "serials": [house.serial], "plist": "nonsense" }),
            "plist",
        ),
        (
            json!({ "serials": [house.serial], "plist": "<plist><dict/></plist>" }),
            "command",
        ),
        (
            json!({ "serials": [house.serial], "request_type": "X", "keys": { "a": null } }),
            "keys",
        ),
        (json!({ "request_type": "UserList" }), "serials"),
        // The device would refuse the first, and lock itself without the PIN for the second.
        (
            json!({ "serials": [house.serial], "request_type": "DeviceLock", "keys": { "PIN": 123_456 } }),
            "keys.PIN",
        ),
        (
            json!({ "serials": [house.serial], "request_type": "DeviceLock", "keys": { "Pin": "123456" } }),
            "keys.Pin",
        ),
        (
            json!({ "serials": [house.serial], "request_type": "devicelock" }),
            "request_type",
        ),
        (
            json!({ "serials": [house.serial], "request_type": "UserList", "priority": 100 }),
            "priority",
        ),
    ] {
        let reply = send(body).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert_eq!(read(&reply)["field"], field, "{}", reply.text());
    }
    // Newer than we are: it goes out whole, and whoever sent it is told.
    let raw = "<plist version=\"1.0\"><dict><key>Command</key><dict><key>RequestType</key><string>Tomorrow</string>\
               <key>Secret</key><string>hunter2</string></dict></dict></plist>";
    let reply = send(json!({ "serials": [house.serial], "plist": raw, "uuid": "RAW" })).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(read(&reply)["understood"], false);
    let ask = house.signed(
        "command",
        &device,
        report(
            house.serial,
            "Acknowledged",
            "<key>CommandUUID</key><string>MIX</string>",
        ),
    );
    let (_, said) = house.send(ask).await;
    assert!(
        said.contains("Tomorrow") && said.contains("hunter2"),
        "{said}"
    );
    let path = format!("/api/v1/devices/{}/commands", house.serial);
    let listed = api(&house, "GET", &path, Value::Null).await.text();
    let one = api(&house, "GET", &format!("{path}/RAW"), Value::Null)
        .await
        .text();
    assert!(
        listed.contains("RAW") && one.contains("Tomorrow"),
        "{listed}\n{one}"
    );
    assert!(!listed.contains("hunter2") && !one.contains("hunter2"));
    // So many that no path could name them.
    let many: Vec<String> = (0..30_000).map(|n| format!("UDID-{n}")).collect();
    let reply = send(json!({ "channels": many, "request_type": "UserList" })).await;
    assert_eq!(reply.status, 207);
    assert_eq!(read(&reply)["results"].as_array().unwrap().len(), 30_000);
    // A wrong key opens nothing: here 401 is right.
    let address = house.app.address(Duty::Admin).unwrap();
    let stranger = Request::new("POST", "/api/v1/commands").by("wrong");
    assert_eq!(stranger.with("{}").send(address).await.status, 401);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_push_certificate_a_command_waits_and_that_is_said() {
    let (house, device) = open().await;
    let mut row = house.org.organisation().clone();
    let store = house.app.mdm.store();
    row.version = store.organisation(row.id).await.unwrap().unwrap().version;
    row.push = None;
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    let answer = queue(&house, "QUIET", 207).await;
    assert_eq!(answer["queued"], 1);
    assert!(
        answer["push"]
            .as_str()
            .unwrap()
            .contains("push certificate")
    );
    assert_eq!(
        say(&house, &device, "Idle", None).await.as_deref(),
        Some("QUIET")
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_is_not_handed_out_and_hides_nothing_behind_it() {
    let (house, device) = open().await;
    let soon = mdm_core::clock::Timestamp::from_millis(house::NOW_MS + 60_000);
    for n in 0..205 {
        let body = json!({
            "serials": [house.serial], "request_type": "UserList", "uuid": format!("OVER-{n}"), "expires": soon,
        });
        let reply = api(&house, "POST", "/api/v1/commands", body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    queue(&house, "LASTING", 200).await;
    assert_eq!(
        say(&house, &device, "Idle", None).await.as_deref(),
        Some("OVER-0")
    );
    house.clock.set(mdm_core::clock::Timestamp::from_millis(
        house::NOW_MS + 60_000,
    ));
    assert_eq!(
        say(&house, &device, "Idle", None).await.as_deref(),
        Some("LASTING")
    );
    // It was handed out, and the device did it: that counts, however late it says so.
    assert_eq!(
        say(&house, &device, "Acknowledged", Some("OVER-0"))
            .await
            .as_deref(),
        Some("LASTING")
    );
    assert_eq!(state(&house, "OVER-0").await, "acknowledged");
    assert_eq!(state(&house, "OVER-204").await, "expired");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_queued_and_who_cancelled_is_in_the_record() {
    let (house, _device) = open().await;
    queue(&house, "NOTED", 200).await;
    let out = json!({ "serials": [house.serial], "request_type": "UserList" });
    api(&house, "POST", "/api/v1/commands/cancel", out).await;
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let all = store
        .audit(id, mdm_core::ids::AuditId(0), 1000)
        .await
        .unwrap();
    let of = |what: &str| -> Vec<AuditEntry> {
        all.iter().filter(|e| e.what == what).cloned().collect()
    };
    for what in ["commands.queued", "commands.cancelled"] {
        let [entry] = &of(what)[..] else {
            panic!("{what}")
        };
        assert_eq!(entry.actor, "first administrator");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_token_is_given_back_as_it_was_kept_and_before_that_nothing_is() {
    let (house, device) = open().await;
    let ask = async |message: &str, more: &str| {
        let body = check_in(house.serial, message, more);
        let (status, said) = house.send(house.signed("checkin", &device, body)).await;
        assert_eq!(status, 200, "{message}: {said}");
        said
    };
    // Apple's words: a property list without the key.
    let none = ask("GetBootstrapToken", "").await;
    assert!(none.contains("<dict/>"), "{none}");
    let token = "<key>BootstrapToken</key><data>aHVudGVyMg==</data>";
    assert_eq!(ask("SetBootstrapToken", token).await, "");
    let given = ask("GetBootstrapToken", "").await;
    assert!(given.contains("aHVudGVyMg=="), "{given}");
    house.close().await;
}
