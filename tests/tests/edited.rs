//! What two people may edit is not overwritten by the one who has not seen what the other did, whatever it is; and lists that can
//! grow are read a page at a time, every row once.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use house::House;
use mdm_core::audit::Role;
use mdm_core::device::{Device, Platform};
use mdm_core::ids::{DeviceId, ProjectId, SecretId, Serial, ServerId};
use mdm_core::migration::{PinnedRunbook, Variant};
use mdm_core::original::{OriginalApp, Said};
use mdm_core::person::SignIn;
use mdm_core::project::Project;
use mdm_core::store::Batch;
use mdmd::config::Duty;
use serde_json::{Value, json};
use tests::{Reply, Request};

async fn ask(house: &House, method: &str, path: &str, body: &Value, seen: Option<&str>) -> Reply {
    let mut request = Request::new(method, path).by(&house.token);
    if let Some(seen) = seen {
        request.headers.push(("If-Match", seen.to_owned()));
    }
    if method == "POST" {
        request = request.with(body.to_string());
    }
    request.send(house.app.address(Duty::Admin).unwrap()).await
}

async fn get(house: &House, path: &str) -> Reply {
    let reply = ask(house, "GET", path, &Value::Null, None).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply
}

async fn done(house: &House, path: &str, body: &Value) {
    let reply = ask(house, "POST", path, body, None).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
}

fn tag(reply: &Reply) -> String {
    let mut lines = reply.head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("etag"));
    found.unwrap().1.trim().to_owned()
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

/// Through the local socket: what belongs to the installation is changed there only.
async fn locally(house: &House, method: &str, path: &str, body: &Value, seen: &str) -> Reply {
    let socket = house.directory().join("mdmd.sock");
    let body = match method {
        "POST" => body.to_string(),
        _ => String::new(),
    };
    let seen = match seen {
        "" => String::new(),
        seen => format!("If-Match: {seen}\r\n"),
    };
    let sent = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{seen}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer[end + 4..].to_vec();
    Reply { status, head, body }
}

fn package(title: &str) -> Value {
    json!({
        "bundle_identifier": "com.example.tool", "title": title, "url": "https://files.example/tool.pkg",
        "size": 3, "part_size": 3, "sha256s": ["0f".repeat(32)],
    })
}

fn note(text: &str) -> Value {
    json!({
        "identifier": "note", "type": "com.apple.configuration.management.test", "payload": { "Echo": text },
    })
}

fn runbook(name: &str, change: impl FnOnce(&mut PinnedRunbook)) -> Value {
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    change(&mut runbook);
    json!({ "name": name, "platform": "ios", "runbook": runbook })
}

/// Devices that have tags.
const TAGGED: [&str; 10] = [
    "C02TAGGED0",
    "C02TAGGED1",
    "C02TAGGED2",
    "C02TAGGED3",
    "C02TAGGED4",
    "C02TAGGED5",
    "C02TAGGED6",
    "C02TAGGED7",
    "C02TAGGED8",
    "C02TAGGED9",
];

/// Something of everything that has a name, and people who sign in.
async fn furnish(house: &House) {
    for (path, body) in [
        ("/api/v1/runbooks", runbook("Field phones", |_| {})),
        (
            "/api/v1/library/packages",
            json!({ "name": "Tool", "package": package("Tool") }),
        ),
        ("/api/v1/declarations", note("1")),
        (
            "/api/v1/declaration-sets",
            json!({ "name": "basics", "members": ["note"] }),
        ),
        (
            "/api/v1/webhooks",
            json!({ "name": "Front door", "url": "https://good.example/in" }),
        ),
    ] {
        done(house, path, &body).await;
    }
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let mut batch = Batch::new();
    for (n, serial) in (1..).zip(TAGGED) {
        let serial = Serial::parse(serial).unwrap();
        batch.put(Device::new(id, DeviceId(6_000 + n), serial));
    }
    store.commit(batch).await.unwrap();
    let shop = json!({ "tag": "shop", "serials": [TAGGED[0]] });
    done(house, "/api/v1/tags", &shop).await;
    let mut row = store.organisation(id).await.unwrap().unwrap();
    let issuer = "https://sign-in.example".to_owned();
    row.sign_in = Some(SignIn::new(issuer, "mdmd".to_owned(), SecretId(1)));
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
}

/// Where each is read, and two changes of it.
fn edits() -> Vec<(&'static str, &'static str, Value, Value)> {
    let text =
        |subject: &str| json!({ "texts": { "en": { "subject": subject, "body": "Soon." } } });
    vec![
        (
            "/api/v1/runbooks/Field%20phones",
            "/api/v1/runbooks",
            runbook("Field phones", |it| it.soft_ceiling_secs += 60),
            runbook("Field phones", |_| {}),
        ),
        (
            "/api/v1/library?name=Tool",
            "/api/v1/library/tags",
            json!({ "name": "Tool", "tags": ["lab"] }),
            json!({ "name": "Tool", "tags": ["desk"] }),
        ),
        (
            "/api/v1/library?name=Tool",
            "/api/v1/library/packages",
            json!({ "name": "Tool", "package": package("Tool 2") }),
            json!({ "name": "Tool", "package": package("Tool 3") }),
        ),
        (
            "/api/v1/declarations/note",
            "/api/v1/declarations",
            note("2"),
            note("3"),
        ),
        (
            "/api/v1/declaration-sets?name=basics",
            "/api/v1/declaration-sets",
            json!({ "name": "basics", "members": [] }),
            json!({ "name": "basics", "members": ["note"] }),
        ),
        (
            "/api/v1/tags?name=shop",
            "/api/v1/tags",
            json!({ "tag": "Shop", "serials": [TAGGED[1]] }),
            json!({ "tag": "shop", "serials": [TAGGED[0], TAGGED[1]] }),
        ),
        (
            "/api/v1/webhooks?name=Front%20door",
            "/api/v1/webhooks/Front%20door",
            json!({ "notices": ["released"] }),
            json!({ "on": false }),
        ),
        (
            "/api/v1/enrolment",
            "/api/v1/enrolment",
            json!({ "facts_hours": 5 }),
            json!({ "facts_hours": 6 }),
        ),
        (
            "/api/v1/users",
            "/api/v1/users",
            json!({ "account": "ada@example.org", "role": "viewer" }),
            json!({ "account": "ada@example.org", "role": "admin" }),
        ),
        (
            "/api/v1/identities/issuer",
            "/api/v1/identities/settings",
            json!({ "session_minutes": 50 }),
            json!({ "session_minutes": 70 }),
        ),
        (
            "/api/v1/filevault",
            "/api/v1/filevault",
            json!({ "rotate_revealed_minutes": 5 }),
            json!({ "rotate_revealed_minutes": 6 }),
        ),
        (
            "/api/v1/checks/rules",
            "/api/v1/checks/rules",
            json!({ "notice_hours": 50 }),
            json!({ "notice_hours": 51 }),
        ),
        (
            "/api/v1/owner-texts",
            "/api/v1/owner-texts",
            text("Your device"),
            text("Another"),
        ),
        (
            "/api/v1/ade-profiles",
            "/api/v1/ade-profiles",
            json!({ "department": "Shops" }),
            json!({ "department": "Halls" }),
        ),
        // That it is no longer so would take two persons.
        (
            "/api/v1/two-persons",
            "/api/v1/two-persons",
            json!({ "always": true }),
            json!({ "always": false }),
        ),
        (
            "/api/v1/sign-in",
            "/api/v1/sign-in/remove",
            json!({}),
            json!({}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_not_seen_what_another_did_overwrites_nothing_of_it() {
    let house = House::open().await;
    furnish(&house).await;
    let document = json_of(&get(&house, "/api/v1/openapi.json").await);
    for (read, write, first, second) in edits() {
        let tag = tag(&get(&house, read).await);
        let other = ask(&house, "POST", write, &second, Some("\"9999.0\"")).await;
        assert_eq!(other.status, 412, "{write}: {}", other.text());
        let changed = ask(&house, "POST", write, &first, Some(&tag)).await;
        assert_eq!(changed.status, 200, "{write}: {}", changed.text());
        let now = get(&house, read).await;
        let late = ask(&house, "POST", write, &second, Some(&tag)).await;
        assert_eq!(late.status, 412, "{write}: {}", late.text());
        assert_eq!(get(&house, read).await.text(), now.text(), "{write}");
        // The document says both.
        let route = write.replace("Front%20door", "{name}");
        let parameters = document["paths"][&route]["post"]["parameters"].clone();
        let mut names = parameters.as_array().unwrap().iter().map(|p| &p["name"]);
        assert!(names.any(|name| name == "If-Match"), "{route}");
    }
    let answers = &document["paths"]["/api/v1/library"]["get"]["responses"]["200"];
    assert!(answers["headers"]["ETag"].is_object(), "{answers}");
    // What is not there has no state that anybody has seen, and is not made by whoever thinks so.
    let lost = runbook("Lost", |_| {});
    let reply = ask(&house, "POST", "/api/v1/runbooks", &lost, Some("\"1.0\"")).await;
    assert_eq!(reply.status, 412, "{}", reply.text());
    let none = ask(&house, "GET", "/api/v1/runbooks/Lost", &Value::Null, None).await;
    assert_eq!(none.status, 404);
    // What names nothing is not done without its condition.
    let reply = ask(
        &house,
        "POST",
        "/api/v1/runbooks",
        &json!({}),
        Some("\"1.0\""),
    )
    .await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    for (path, status) in [
        ("/api/v1/library?name=nothing", 404),
        ("/api/v1/declaration-sets?name=nothing", 404),
        ("/api/v1/webhooks?name=nothing", 404),
        ("/api/v1/tags?name=nothing", 404),
        ("/api/v1/tags?name=no%20tag", 400),
    ] {
        let reply = ask(&house, "GET", path, &Value::Null, None).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
}

/// `*` is any state, and where there is none it is false.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_any_state_makes_nothing_that_is_not_there() {
    let house = House::open().await;
    furnish(&house).await;
    let lists = [
        "/api/v1/runbooks",
        "/api/v1/library",
        "/api/v1/declarations",
        "/api/v1/declaration-sets",
        "/api/v1/webhooks",
        "/api/v1/tags",
    ];
    let all = async || {
        let mut all = Vec::new();
        for path in lists {
            all.push(get(&house, path).await.text());
        }
        all
    };
    let before = all().await;
    let lost = json!({ "name": "Lost" });
    let other = json!({ "identifier": "lost", "type": "com.apple.configuration.management.test", "payload": { "Echo": "1" } });
    for (path, body) in [
        ("/api/v1/runbooks", runbook("Lost", |_| {})),
        ("/api/v1/runbooks/Lost/remove", json!({})),
        (
            "/api/v1/library/tags",
            json!({ "name": "Lost", "tags": ["lab"] }),
        ),
        (
            "/api/v1/library/packages",
            json!({ "name": "Lost", "package": package("Lost") }),
        ),
        ("/api/v1/library/remove", lost.clone()),
        ("/api/v1/declarations", other),
        ("/api/v1/declarations/lost/remove", json!({})),
        (
            "/api/v1/declaration-sets",
            json!({ "name": "Lost", "members": ["note"] }),
        ),
        ("/api/v1/declaration-sets/remove", lost),
        ("/api/v1/webhooks/Lost", json!({ "on": false })),
        ("/api/v1/webhooks/Lost/secret", json!({})),
        ("/api/v1/webhooks/Lost/remove", json!({})),
        (
            "/api/v1/tags",
            json!({ "tag": "lost", "serials": [TAGGED[0]] }),
        ),
    ] {
        let reply = ask(&house, "POST", path, &body, Some("*")).await;
        assert_eq!(reply.status, 412, "{path}: {}", reply.text());
    }
    assert_eq!(all().await, before, "something was made or taken away");
    // On the socket too, where templates are made.
    let path = "/api/v1/templates";
    let body = json!({ "name": "Lost", "template": {} });
    let reply = locally(&house, "POST", path, &body, "*").await;
    assert_eq!(reply.status, 412, "{}", reply.text());
    let one = locally(&house, "GET", "/api/v1/templates?name=Lost", &json!({}), "").await;
    assert_eq!(one.status, 404, "{}", one.text());
    // What has no tag at all has no state that could be another one.
    let viewer = json!({ "name": "viewer", "role": "viewer" });
    let reply = ask(&house, "POST", "/api/v1/api-tokens", &viewer, Some("*")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // Of what is there any state will do.
    for (_, write, first, _) in edits() {
        let reply = ask(&house, "POST", write, &first, Some("*")).await;
        assert_eq!(reply.status, 200, "{write}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_set_a_tag_as_they_saw_it_one_is_first() {
    let house = House::open().await;
    furnish(&house).await;
    let (read, path) = ("/api/v1/tags?name=shop", "/api/v1/tags");
    let seen = tag(&get(&house, read).await);
    let bodies: Vec<Value> = TAGGED[2..]
        .iter()
        .map(|serial| json!({ "tag": "shop", "serials": [serial] }))
        .collect();
    let all = bodies
        .iter()
        .map(|body| ask(&house, "POST", path, body, Some(&seen)));
    let all = futures_util::future::join_all(all).await;
    let mut statuses: Vec<u16> = all.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    let first = all.iter().position(|reply| reply.status == 200).unwrap();
    assert_eq!(json_of(&all[first])["taken"], 1);
    let now = house.org.devices_of_tag("shop").await.unwrap();
    let now: Vec<&str> = now.iter().map(Serial::as_str).collect();
    assert_eq!(now, [TAGGED[2 + first]], "of the others nothing was done");
    // As many have it as before, and it is another state: somebody else has it.
    let late = ask(&house, "POST", path, &bodies[first], Some(&seen)).await;
    assert_eq!(late.status, 412, "{}", late.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_what_is_set_are_edited_side_by_side_and_one_part_by_one_person() {
    let house = House::open().await;
    let rules = tag(&get(&house, "/api/v1/checks/rules").await);
    let path = "/api/v1/enrolment";
    let seen = tag(&get(&house, path).await);
    // None of them is what is set already: that would leave the state as all have seen it.
    let bodies: Vec<Value> = (0..8).map(|n| json!({ "facts_hours": 30 + n })).collect();
    let all = bodies
        .iter()
        .map(|body| ask(&house, "POST", path, body, Some(&seen)));
    let all = futures_util::future::join_all(all).await;
    let mut statuses: Vec<u16> = all.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    // Another part of the same row is as it was seen.
    let body = json!({ "notice_hours": 60 });
    let reply = ask(&house, "POST", "/api/v1/checks/rules", &body, Some(&rules)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // All of a request or nothing.
    let before = get(&house, path).await;
    let half = json!({
        "wifi": "Lost", "facts_hours": 1, "unplanned_runbooks": { "ios": "There is none" },
    });
    for seen in [None, Some(tag(&before))] {
        let reply = ask(&house, "POST", path, &half, seen.as_deref()).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert_eq!(get(&house, path).await.text(), before.text());
    }
    let whole = json!({ "wifi": "Found", "facts_hours": 1, "user_logins": "open" });
    let seen = tag(&before);
    let reply = ask(&house, "POST", path, &whole, Some(&seen)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let now = json_of(&get(&house, path).await);
    assert_eq!(
        (&now["wifi"], &now["facts_hours"]),
        (&json!("Found"), &json!(1))
    );
    // A password is shown to nobody, and that there is another one is seen.
    let wifi = |password: &str| json!({ "wifi": "Campus", "wifi_password": password });
    done(&house, path, &wifi("correct horse")).await;
    let seen = tag(&get(&house, path).await);
    done(&house, path, &wifi("battery staple")).await;
    let late = ask(
        &house,
        "POST",
        path,
        &json!({ "facts_hours": 1 }),
        Some(&seen),
    )
    .await;
    assert_eq!(late.status, 412, "{}", late.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_is_edited_and_pushed_as_it_was_seen() {
    let house = House::open().await;
    let (all, one) = ("/api/v1/templates", "/api/v1/templates?name=Careful");
    let edit = |capacity: u32| json!({ "name": "Careful", "template": { "capacity": capacity } });
    let made = locally(&house, "POST", all, &edit(40), "").await;
    assert_eq!(made.status, 200, "{}", made.text());
    let seen = tag(&locally(&house, "GET", one, &Value::Null, "").await);
    let changed = locally(&house, "POST", all, &edit(50), &seen).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let code = house.org.organisation().code.to_string();
    let push = json!({ "name": "Careful", "organisations": [code] });
    for (path, body) in [
        (all, edit(60)),
        ("/api/v1/templates/push", push.clone()),
        ("/api/v1/templates/remove", json!({ "name": "Careful" })),
    ] {
        let late = locally(&house, "POST", path, &body, &seen).await;
        assert_eq!(late.status, 412, "{path}: {}", late.text());
    }
    let shown = json_of(&locally(&house, "GET", one, &Value::Null, "").await);
    assert_eq!(shown["templates"][0]["content"]["capacity"], 50, "{shown}");
    assert_eq!(shown["templates"][0]["pushed"], json!([]), "{shown}");
    let seen = tag(&locally(&house, "GET", one, &Value::Null, "").await);
    let pushed = locally(&house, "POST", "/api/v1/templates/push", &push, &seen).await;
    assert_eq!(pushed.status, 200, "{}", pushed.text());
    // Who may not change one is not told how it stands.
    let stranger = ask(&house, "POST", all, &edit(70), Some("\"1.0\"")).await;
    assert_eq!(stranger.status, 403, "{}", stranger.text());
}

/// What a list answers over all of its pages of this length: rows and names of tables under their part, in their order.
async fn pages(
    house: &House,
    path: &str,
    parts: &[&str],
    limit: usize,
) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut after = String::new();
    for _ in 0..100 {
        let page = json_of(&get(house, &format!("{path}?limit={limit}{after}")).await);
        let mut count = 0;
        for part in parts {
            let rows = match &page[*part] {
                Value::Array(rows) => rows.clone(),
                Value::Object(rows) => rows.iter().map(|row| json!([row.0, row.1])).collect(),
                other => panic!("{path} {part}: {other}"),
            };
            count += rows.len();
            all.entry((*part).to_owned()).or_default().extend(rows);
        }
        assert!(count <= limit, "{path}: {count} rows");
        let Some(next) = page["next"].as_str() else {
            return all;
        };
        let escaped: String = next.bytes().map(|byte| format!("%{byte:02x}")).collect();
        after = format!("&after={escaped}");
    }
    panic!("{path} has no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_grow_are_read_a_page_at_a_time() {
    let house = House::open().await;
    done(&house, "/api/v1/declarations", &note("1")).await;
    let id = house.org.organisation().id;
    for n in 1..=5 {
        let name = format!("Nr. {n} & more");
        let now = house.app.mdm.now();
        let mut batch = Batch::new();
        batch.put(Project::new(id, ProjectId(n), &name, ServerId(1), now));
        house.app.mdm.store().commit(batch).await.unwrap();
        for (path, body) in [
            ("/api/v1/runbooks", runbook(&name, |_| {})),
            (
                "/api/v1/library/packages",
                json!({ "name": name, "package": package("Tool") }),
            ),
            (
                "/api/v1/declaration-sets",
                json!({ "name": name, "members": ["note"] }),
            ),
            (
                "/api/v1/tags",
                json!({ "tag": format!("tag-{n}"), "serials": [house.serial] }),
            ),
        ] {
            done(&house, path, &body).await;
        }
        let scopes = std::collections::BTreeSet::new();
        let made = house.org.new_api_token(&name, Role::Viewer, scopes, None);
        made.await.unwrap();
    }
    for (path, parts) in [
        ("/api/v1/runbooks", &["runbooks"][..]),
        ("/api/v1/library", &["items"]),
        ("/api/v1/declaration-sets", &["sets"]),
        ("/api/v1/projects", &["projects"]),
        ("/api/v1/api-tokens", &["tokens"]),
        ("/api/v1/tags", &["tags", "groups"]),
    ] {
        let whole = pages(&house, path, parts, 1000).await;
        assert!(whole[parts[0]].len() >= 5, "{path}: {whole:?}");
        for limit in [1, 2, 4, 5, 6] {
            let read = pages(&house, path, parts, limit).await;
            assert_eq!(read, whole, "{path} by {limit}");
        }
        let wrong = ask(
            &house,
            "GET",
            &format!("{path}?befor=1"),
            &Value::Null,
            None,
        )
        .await;
        assert_eq!(wrong.status, 400, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_read_whole_while_lists_come_in() {
    let house = House::open().await;
    let tell = async |id: i64, apps: &[&str]| {
        let serial = Serial::parse(&format!("C02APPS{id}")).unwrap();
        let organisation = house.org.organisation().id;
        let mut batch = Batch::new();
        batch.put(Device::new(
            organisation,
            DeviceId(5_000 + id),
            serial.clone(),
        ));
        house.app.mdm.store().commit(batch).await.unwrap();
        let mut said = Said::nothing(serial);
        said.apps = Some(apps.iter().map(|id| OriginalApp::new(id)).collect());
        let now = house.app.mdm.now();
        let told = house.org.import_originals("Neighbours", now, vec![said]);
        told.await.unwrap();
    };
    let page = async |after: &str| {
        let page = json_of(&get(&house, &format!("/api/v1/apps?limit=2{after}")).await);
        let apps = page["apps"].as_array().unwrap().iter();
        let ids: Vec<String> = apps
            .map(|app| app["bundle_id"].as_str().unwrap().to_owned())
            .collect();
        (ids, page["next"].as_str().map(str::to_owned))
    };
    tell(1, &["com.a", "com.b", "com.c", "com.d"]).await;
    tell(2, &["com.a", "com.b"]).await;
    let (first, next) = page("").await;
    assert_eq!(first, ["com.a", "com.b"]);
    // Those of the second page become those of most devices.
    tell(3, &["com.c", "com.d"]).await;
    tell(4, &["com.c", "com.d"]).await;
    let (second, last) = page(&format!("&after={}", next.unwrap())).await;
    assert_eq!(second, ["com.c", "com.d"]);
    assert_eq!(last, None);
}
