//! What a program on somebody's machine does for a person: it begins in a browser, gets a code and redeems it, and acts in the name of
//! whoever signed in, for as long as they may.

use mdm_core::ids::OrganisationCode;
use mdm_core::store::Batch;
use serde_json::{Value, json};

use super::people::{self, Reply, Street, ada, header, run, text};

/// Where a browser ends that signs in for a program.
async fn arrive(street: &Street, challenge: &str) -> Reply {
    let state = "s".repeat(43);
    let redirect = people::escape("http://127.0.0.1:50123/mdmd-sign-in");
    let path = street.path(&format!(
        "sign-in/command-line?redirect={redirect}&challenge={challenge}&state={state}"
    ));
    let mut browser = street.browser();
    let away = browser.get(&path).await;
    let back = browser.at_provider(&away).await;
    browser.get(&back).await
}

/// What a program on somebody's machine does, by hand: to the code.
async fn code(street: &Street, challenge: &str) -> String {
    let home = arrive(street, challenge).await;
    let to = header(&home, "location").unwrap_or_else(|| panic!("{}", home.text()));
    let state = "s".repeat(43);
    let query = to
        .strip_prefix("http://127.0.0.1:50123/mdmd-sign-in?")
        .unwrap_or_else(|| panic!("{to}"));
    assert!(query.ends_with(&format!("&state={state}")), "{query}");
    query["code=".len()..].split('&').next().unwrap().to_owned()
}

async fn redeem(street: &Street, code: &str, verifier: &str) -> Reply {
    let body = json!({ "code": code, "verifier": verifier }).to_string();
    street.api("POST", "/sign-in/session", "", &body).await
}

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_opens_once_for_whoever_has_its_verifier() {
    let street = Street::open().await;
    // Stolen on the way: the thief has no verifier, and then nobody has the code.
    let stolen = code(&street, CHALLENGE).await;
    let wrong = VERIFIER.replace('d', "e");
    assert_eq!(redeem(&street, &stolen, &wrong).await.status, 403);
    assert_eq!(redeem(&street, &stolen, VERIFIER).await.status, 403);
    let late = code(&street, CHALLENGE).await;
    street.later(601);
    assert_eq!(redeem(&street, &late, VERIFIER).await.status, 403);
    assert_eq!(redeem(&street, "", "").await.status, 403);
    let good = code(&street, CHALLENGE).await;
    let made = redeem(&street, &good, VERIFIER).await;
    assert_eq!(made.status, 200, "{}", made.text());
    assert_eq!(redeem(&street, &good, VERIFIER).await.status, 403, "again");
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    let token = made["token"].as_str().unwrap();
    let who = street.api("GET", "/api/v1/session", token, "").await;
    let who: Value = serde_json::from_slice(&who.body).unwrap();
    assert_eq!(
        (&who["role"], &who["name"]),
        (&json!("admin"), &json!("Ada & Co <ada@world.test>"))
    );
    // The record has her by that name, and nobody's token.
    let all = street.api("GET", "/api/v1/sessions", token, "").await;
    assert!(all.text().contains("command-line") && !all.text().contains(token));
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_began_at_a_provider_that_was_left_is_not_let_in() {
    let street = Street::open().await;
    let org = OrganisationCode::parse(&street.code).unwrap();
    let at = async |issuer: &str| {
        let org = street.app.mdm.organisation(&org).await.unwrap();
        let mut organisation = org.organisation().clone();
        organisation.sign_in.as_mut().unwrap().issuer = issuer.to_owned();
        let mut batch = Batch::new();
        batch.put(organisation);
        street.app.mdm.store().commit(batch).await.unwrap();
    };
    let own = street.provider.issuer();
    let mut browser = street.browser();
    let back = browser.leave().await;
    let granted = code(&street, CHALLENGE).await;
    at("https://another.test").await;
    let shown = browser.get(&back).await;
    assert_eq!(shown.status, 403);
    assert!(
        shown.text().contains("provider was changed"),
        "{}",
        shown.text()
    );
    assert_eq!(redeem(&street, &granted, VERIFIER).await.status, 403);
    at(&own).await;
    assert_eq!(browser.get(&back).await.status, 403, "it is used up");
    let granted = code(&street, CHALLENGE).await;
    assert_eq!(redeem(&street, &granted, VERIFIER).await.status, 200);
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_command_line_ends_in_every_way() {
    let street = Street::open().await;
    let session = async || {
        let made = redeem(&street, &code(&street, CHALLENGE).await, VERIFIER).await;
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        let id = made["session"].as_str().unwrap().to_owned();
        (made["token"].as_str().unwrap().to_owned(), id)
    };
    let ask = async |token: &str| street.api("GET", "/api/v1/session", token, "").await.status;
    // By its holder.
    let (token, _) = session().await;
    assert_eq!(ask(&token).await, 200);
    let ended = street.api("POST", "/sign-in/session/end", &token, "").await;
    assert_eq!(ended.status, 200);
    assert_eq!(ask(&token).await, 401);
    // By an administrator.
    let (token, id) = session().await;
    let path = format!("/api/v1/sessions/{id}/revoke");
    assert_eq!(
        street.api("POST", &path, &street.admin, "{}").await.status,
        200
    );
    assert_eq!(ask(&token).await, 401);
    // By time.
    let (token, _) = session().await;
    street.later(8 * 3_600);
    assert_eq!(ask(&token).await, 401);
    // By what is set: less for her group at once, then nothing.
    let (token, _) = session().await;
    let set = async |body: Value| {
        let body = body.to_string();
        let done = street
            .api("POST", "/api/v1/sign-in", &street.admin, &body)
            .await;
        assert_eq!(done.status, 200, "{}", done.text());
    };
    set(json!({ "roles": { "admins": "viewer" } })).await;
    assert_eq!(ask(&token).await, 200);
    assert_eq!(
        street
            .api("GET", "/api/v1/sessions", &token, "")
            .await
            .status,
        403
    );
    set(json!({ "roles": { "others": "admin" } })).await;
    assert_eq!(ask(&token).await, 401);
    // With the sign-in itself.
    set(json!({ "roles": { "admins": "admin" } })).await;
    assert_eq!(ask(&token).await, 200);
    let off = street
        .api("POST", "/api/v1/sign-in/remove", &street.admin, "{}")
        .await;
    assert_eq!(off.status, 200);
    assert_eq!(ask(&token).await, 401);
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_person_may_do_more_or_less_than_their_groups_or_is_kept_out() {
    let street = Street::open().await;
    let session = async || {
        let made = redeem(&street, &code(&street, CHALLENGE).await, VERIFIER).await;
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        made["token"].as_str().unwrap().to_owned()
    };
    let admin = async |path: &str, body: Value| {
        let done = street
            .api("POST", path, &street.admin, &body.to_string())
            .await;
        let said: Value = serde_json::from_slice(&done.body).unwrap();
        (done.status, said)
    };
    let list = async |token: &str| {
        street
            .api("GET", "/api/v1/sessions", token, "")
            .await
            .status
    };
    let account = ada().email.to_uppercase();
    let token = session().await;
    assert_eq!(list(&token).await, 200, "her group is of administrators");
    let (status, said) = admin(
        "/api/v1/users",
        json!({ "account": account, "role": "viewer" }),
    )
    .await;
    assert_eq!((status, &said["role"]), (200, &json!("viewer")), "{said}");
    assert_eq!(list(&token).await, 403);
    let shown = street.api("GET", "/api/v1/users", &street.admin, "").await;
    let shown: Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!(shown["users"][0]["account"], json!(ada().email), "{shown}");
    let other = session().await;
    let (status, said) = admin("/api/v1/users/revoke", json!({ "account": account })).await;
    assert_eq!(
        (status, &said["sessions_ended"]),
        (200, &json!(2)),
        "{said}"
    );
    for token in [&token, &other] {
        assert_eq!(list(token).await, 401);
    }
    let home = arrive(&street, CHALLENGE).await;
    let to = header(&home, "location").unwrap_or_default();
    assert!(
        to.contains("error=access_denied") && !to.contains("code="),
        "she is kept out: {to}"
    );
    let forget = json!({ "account": account, "forget": true });
    assert_eq!(admin("/api/v1/users/revoke", forget.clone()).await.0, 200);
    assert_eq!(list(&session().await).await, 200, "her groups count again");
    assert_eq!(admin("/api/v1/users/revoke", forget).await.0, 404);
    let (status, said) = admin("/api/v1/users", json!({ "account": " ", "role": "admin" })).await;
    assert_eq!(status, 400);
    assert!(
        said["detail"].as_str().unwrap().contains("account"),
        "{said}"
    );
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_under_two_names_is_one_person() {
    let street = Street::open().await;
    let signed_in = async |person: fixtures::openid::OpenIdPerson| {
        street.provider.sign_in_as(Some(person));
        let made = redeem(&street, &code(&street, CHALLENGE).await, VERIFIER).await;
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let post = async |token: &str, path: &str, body: Value| {
        street.api("POST", path, token, &body.to_string()).await
    };
    let waiting = async || {
        let all = street.api("GET", "/api/v1/approvals", &street.admin, "");
        all.await.json()["approvals"].as_array().unwrap().len()
    };
    let first = signed_in(ada()).await;
    let demanded = "/api/v1/two-persons";
    let set = post(&first, demanded, json!({ "always": true })).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let asked = post(&first, demanded, json!({ "always": false })).await;
    let number = asked.json()["approval"].as_str().unwrap().to_owned();
    let confirm = format!("/api/v1/approvals/{number}/confirm");
    // She changes her name and her address at the provider, and signs in once more.
    let mut other = ada();
    (other.name, other.email) = ("Augusta".to_owned(), "augusta@world.test".to_owned());
    let second = signed_in(other.clone()).await;
    let who = street.api("GET", "/api/v1/session", &second, "").await;
    assert_eq!(who.json()["name"], json!("Augusta <augusta@world.test>"));
    for herself in [&first, &second] {
        let refused = post(herself, &confirm, json!({})).await;
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert!(
            refused.text().contains("another person"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(waiting().await, 1);
    // A helper does not hold up what others have asked for, and takes back nothing but their own.
    let mut helper = ada();
    (helper.subject, helper.name) = ("8".to_owned(), "Hal".to_owned());
    helper.email = "hal@world.test".to_owned();
    helper.groups = vec!["helpers".to_owned()];
    let decline = format!("/api/v1/approvals/{number}/decline");
    let helper = signed_in(helper).await;
    let refused = post(&helper, &decline, json!({})).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(waiting().await, 1);
    // Another account is another person, also under the name that she has now.
    other.subject = "9".to_owned();
    other.email = "bo@world.test".to_owned();
    let third = signed_in(other).await;
    let done = post(&third, &confirm, json!({})).await;
    assert_eq!(done.status, 200, "{}", done.text());
    let still = street.api("GET", demanded, &street.admin, "").await;
    assert_eq!(still.json()["always"], json!(false));
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_signs_in_and_acts_in_that_name() {
    let street = Street::open().await;
    let home = tempfile::tempdir().unwrap();
    let environment = [("HOME", home.path().to_str().unwrap())];
    let url = street.admin_url();
    let place = ["--url", url.as_str(), "--ca", street.ca.as_str()];
    // Nobody is signed in yet.
    let said = run(&street, &environment, &["session", "show"], &place);
    assert_eq!(said.status.code(), Some(2), "{}", text(&said.stderr));
    assert!(
        text(&said.stderr).contains("mdmd login"),
        "{}",
        text(&said.stderr)
    );
    let done = street.login(&environment, &place).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    let made: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (&made["role"], &made["token"]),
        (&json!("admin"), &Value::Null)
    );
    let file = made["file"].as_str().unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = std::fs::read_to_string(file).unwrap();
    for said in [&done.stdout, &done.stderr] {
        assert!(!text(said).contains(&token));
    }
    let said = run(
        &street,
        &environment,
        &["session", "show", "--json"],
        &place,
    );
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert!(text(&said.stdout).contains("Ada & Co <ada@world.test>"));
    let said = run(
        &street,
        &environment,
        &["api-token", "new", "robot", "--role", "viewer"],
        &place,
    );
    assert!(said.status.success(), "{}", text(&said.stderr));
    // A file that others can read is no secret any more.
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = run(&street, &environment, &["session", "show"], &place);
    assert!(
        text(&said.stderr).contains("others can read it"),
        "{}",
        text(&said.stderr)
    );
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = run(&street, &environment, &["logout"], &place);
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert!(!std::path::Path::new(file).exists());
    assert_eq!(
        street
            .api("GET", "/api/v1/session", &token, "")
            .await
            .status,
        401
    );
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_refused_in_the_browser_is_told_so_by_the_command_line() {
    let street = Street::open().await;
    let home = tempfile::tempdir().unwrap();
    let environment = [("HOME", home.path().to_str().unwrap())];
    let url = street.admin_url();
    let place = ["--url", url.as_str(), "--ca", street.ca.as_str()];
    let mut stranger = ada();
    stranger.groups = vec!["visitors".to_owned()];
    for (person, why) in [
        (Some(stranger), "nor a group of yours"),
        (None, "nobody was signed in: refused"),
    ] {
        street.provider.sign_in_as(person);
        // It would wait for minutes.
        let begun = std::time::Instant::now();
        let refused = street.login(&environment, &place).await;
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(
            begun.elapsed().as_secs() < 200,
            "it was told, and did not run out"
        );
    }
    // The good one is signed in, and a provider that is not there is waited for as long as was said.
    street.provider.sign_in_as(Some(ada()));
    assert!(street.login(&environment, &place).await.status.success());
    let secret = home.path().join("client.secret");
    std::fs::write(&secret, "secret").unwrap();
    let set = [
        "sign-in",
        "set",
        "--issuer",
        "https://localhost:1/",
        "--client-id",
        "x",
        "--client-secret",
        secret.to_str().unwrap(),
        "--wait",
        "1",
    ];
    let said = run(&street, &environment, &set, &place);
    let (exit, said) = (said.status.code(), text(&said.stderr));
    assert_eq!(exit, Some(5), "{said}");
    assert!(said.contains("for 1 s at most"), "{said}");
    assert!(said.matches("the provider").count() >= 2, "{said}");
    street.close().await;
}
