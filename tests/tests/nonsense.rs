//! Nonsense at every route of the API: queries, paths, bodies and methods that mean nothing. Whatever is refused is refused
//! with problem details that a program can read, nothing is our failure, and nothing that was sent is repeated.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use house::{House, MARKER, check_in};
use mdm_core::audit::Role;
use mdmd::config::Duty;
use serde_json::Value;
use tests::{Reply, Request};

/// Lists whose pages begin behind a name.
const BY_NAME: [&str; 5] = [
    "/api/v1/apps",
    "/api/v1/declaration-sets",
    "/api/v1/runbooks",
    "/api/v1/tags",
    "/api/v1/templates",
];

async fn ask(house: &House, method: &str, path: &str, body: &[u8]) -> Reply {
    let address = house.app.address(Duty::Admin).unwrap();
    let request = Request::new(&method.to_uppercase(), path).by(&house.token);
    request.with(body).send(address).await
}

/// A refusal that is the asker's fault, in the form of problem details; its field.
fn refused(case: &str, reply: &Reply) -> Option<String> {
    let said = format!("{case}: {} {}", reply.status, reply.text());
    assert!((400..500).contains(&reply.status), "{said}");
    let head = reply.head.to_ascii_lowercase();
    let form = "content-type: application/problem+json";
    assert!(head.contains(form), "{said}\n{head}");
    let problem: Value = serde_json::from_slice(&reply.body).expect(case);
    assert_eq!(problem["status"], reply.status, "{said}");
    for key in ["type", "title", "detail"] {
        assert!(
            problem[key].as_str().is_some_and(|t| !t.is_empty()),
            "{said}"
        );
    }
    assert!(!said.replace(case, "").contains(MARKER), "{said}");
    let field = problem["field"].as_str().map(str::to_owned);
    assert!(reply.status != 400 || field.is_some(), "{said}");
    field
}

/// A path with something in place of each parameter.
fn filled(path: &str, with: &str) -> String {
    let mut all = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        all += before;
        all += with;
        rest = after.split_once('}').unwrap().1;
    }
    all + rest
}

async fn table(house: &House) -> Vec<(String, String)> {
    let reply = ask(house, "get", "/api/v1", b"").await;
    let table: Vec<Value> = serde_json::from_slice(&reply.body).unwrap();
    assert!(table.len() > 40, "{table:#?}");
    let text = |route: &Value, key: &str| route[key].as_str().unwrap().to_owned();
    let routes = table.iter().map(|r| (text(r, "method"), text(r, "path")));
    routes.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_refused_in_one_form_at_every_route() {
    let mut house = House::open().await;
    // Secrets take a token that names them.
    let secrets = ["secrets".to_owned()].into();
    let seer = house
        .org
        .new_api_token("seer", Role::Admin, secrets, None)
        .await
        .unwrap();
    let seer = seer.secret.expose_text().unwrap().to_owned();
    let usual = house.token.clone();
    let deep = "[".repeat(5000);
    let long = format!("{{\"name\":\"{}\"}}", "a".repeat(70_000));
    let bodies = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "7".to_owned(),
        format!("\"{MARKER}\""),
        "{} {}".to_owned(),
        format!("{{\"nonsense\":\"{MARKER}\"}}"),
        deep,
        "{\"a\":".repeat(500),
        long,
    ];
    let document = ask(&house, "get", "/api/v1/openapi.json", b"").await;
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    let mut paged = 0;
    for (method, path) in table(&house).await {
        let plain = filled(&path, "1");
        let token = match path.starts_with("/api/v1/secrets") {
            true => &seer,
            false => &usual,
        };
        house.token.clone_from(token);
        // Queries that cannot be read, where there is one to be read.
        for (query, field) in [
            ("limit=many", "limit"),
            ("limit=-1", "limit"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("after=99999999999999999999", "after"),
            ("limit=1&limit=2", "limit"),
            ("organisation=%ff", "query"),
            ("after=%zz", "query"),
        ] {
            // Behind which name: any text may be one.
            if method == "get" && query.starts_with("after=9") && BY_NAME.contains(&path.as_str()) {
                continue;
            }
            // Pages are asked for where there are some; elsewhere nobody knows what that would be.
            let read = document["paths"][&path][&method]["parameters"].as_array();
            let reads = |name: &str| read.is_some_and(|all| all.iter().any(|p| p["name"] == name));
            paged += usize::from(reads(field));
            let case = format!("{method} {plain}?{query}");
            let reply = ask(&house, &method, &format!("{plain}?{query}"), b"{}").await;
            assert_eq!(refused(&case, &reply).as_deref(), Some(field), "{case}");
        }
        // What is misspelt must not pass for what is left out.
        let case = format!("{method} {plain}?limt=5");
        let reply = ask(&house, &method, &format!("{plain}?limt=5"), b"{}").await;
        assert_eq!(refused(&case, &reply).as_deref(), Some("limt"), "{case}");
        assert_eq!(reply.status, 400, "{case}");
        // Paths that name nothing.
        if path.contains('{') {
            for with in [
                "%ff",
                "%00",
                "nonsense%20and%20more",
                "-1",
                "9223372036854775808",
                "...",
            ] {
                let there = filled(&path, with);
                let case = format!("{method} {there}");
                refused(&case, &ask(&house, &method, &there, b"{}").await);
            }
        }
        // Another method.
        let other = if path == "/api/v1" { "post" } else { "delete" };
        let case = format!("{other} {plain}");
        let reply = ask(&house, other, &plain, b"").await;
        refused(&case, &reply);
        assert_eq!(reply.status, 405, "{case}");
        assert!(
            reply.head.to_ascii_lowercase().contains("\r\nallow: "),
            "{case}"
        );
        // Bodies. One that a route does not read is none of its business; one that it reads names the field.
        if method != "post" {
            continue;
        }
        let reply = ask(&house, &method, &plain, b"{").await;
        let reads = reply.status == 400;
        for body in bodies
            .iter()
            .map(String::as_bytes)
            .chain([&b"{\"name\":\"\xff\"}"[..]])
        {
            let start = String::from_utf8_lossy(&body[..body.len().min(24)]);
            let case = format!("{method} {plain} with {start}");
            let reply = ask(&house, &method, &plain, body).await;
            if reads {
                refused(&case, &reply);
            } else {
                // What asks Apple finds nobody in this house.
                let apples = reply.status == 502;
                assert!(reply.status < 500 || apples, "{case}: {}", reply.text());
            }
        }
    }
    assert!(paged > 60, "{paged}");
    // What is no route at all.
    for (method, path) in [
        ("get", "/api/v1/nonsense"),
        ("post", "/api/v2/devices"),
        ("get", "/api/v1/devices/A/B/C/D"),
    ] {
        let reply = ask(&house, method, path, b"").await;
        refused(path, &reply);
        assert_eq!(reply.status, 404, "{path}");
    }
    // And without a token nothing else is said, whatever is asked.
    let address = house.app.address(Duty::Admin).unwrap();
    let reply = Request::new("GET", "/api/v1/devices?limit=x")
        .send(address)
        .await;
    assert_eq!(reply.status, 401);
    // What a list has no page of is said with what it has, and the end of the record is behind nothing.
    for (query, says) in [
        ("limit=0", "must be a whole number from 1 to 1000"),
        ("limit=5000", "must be a whole number from 1 to 1000"),
        ("newest=true&after=1", "does not go with newest"),
    ] {
        let path = format!("/api/v1/audit?{query}");
        let reply = ask(&house, "get", &path, b"").await;
        refused(&path, &reply);
        assert!(reply.text().contains(says), "{path}: {}", reply.text());
    }
    house.close().await;
}

fn md5(text: &str) -> String {
    let hash = openssl::hash::hash(openssl::hash::MessageDigest::md5(), text.as_bytes()).unwrap();
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// What a Mac makes of a challenge and a password, by RFC 2617.
fn response(challenge: &str, name: &str, password: &str) -> String {
    let part = |key: &str| {
        let (_, rest) = challenge.split_once(&format!("{key}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let (nonce, realm) = (part("nonce"), part("realm"));
    let key = md5(&format!("{name}:{realm}:{password}"));
    let digest = md5(&format!("{key}:{nonce}:{}", md5("PUT:/")));
    format!(
        "<key>DigestResponse</key><string>Digest username=\"{name}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"/\",response=\"{digest}\"</string>"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_looks_like_base64_is_taken_as_it_stands() {
    let house = House::open().await;
    let post = async |body: Value| {
        let body = body.to_string();
        ask(&house, "post", "/api/v1/network-users", body.as_bytes()).await
    };
    let reply = post(serde_json::json!({ "name": "anna", "password": "Circle12" })).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // Whoever types that text logs in with it.
    let digest = serde_json::json!({ "user_logins": "digest" }).to_string();
    let reply = ask(&house, "post", "/api/v1/enrolment", digest.as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let device = house.enrolled().await;
    let login = async |more: &str| {
        let body = check_in(house.serial, "UserAuthenticate", more);
        let (status, said) = house.send(house.signed("checkin", &device, body)).await;
        assert_eq!(status, 200, "{said}");
        said.replace("&quot;", "\"")
    };
    let challenge = login("").await;
    let proof = response(&challenge, "anna", "Circle12");
    let said = login(&proof).await;
    let (_, token) = said.split_once("<key>AuthToken</key>").unwrap();
    assert!(!token.trim_start().starts_with("<string/>"), "{said}");
    assert!(
        !token.trim_start().starts_with("<string></string>"),
        "{said}"
    );
    // The same text twice is one too many, and what is said to be base64 must be.
    let both = serde_json::json!({ "name": "anna", "password": "a", "password_base64": "YQ==" });
    let reply = post(both).await;
    assert_eq!(refused("both", &reply).as_deref(), Some("password_base64"));
    let none = serde_json::json!({ "name": "anna", "password_base64": MARKER.to_owned() + "!" });
    let reply = post(none).await;
    assert_eq!(
        refused("no base64", &reply).as_deref(),
        Some("password_base64")
    );
    house.close().await;
}
