//! People sign in at the world's provider: with the page, with the command line, and in vain with whatever is forged, replayed,
//! foreign or over. The server is real, its clock and the provider's are one. What the command line does is in a file of its own.

#[path = "sign_in/command_line.rs"]
mod command_line;
mod people;

use std::time::Duration;

use fixtures::openid::TokenFlaw;
use mdm_core::error::Error;
use mdm_core::ids::OrganisationCode;
use mdm_core::person::Purpose;
use people::{Street, ada, header};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_signs_in_sees_who_they_are_and_signs_out() {
    let street = Street::open().await;
    let mut browser = street.browser();
    let shown = browser.sign_in().await;
    assert_eq!(shown.status, 200, "{}", shown.head);
    for part in [
        "Ada &amp; Co",
        "ada@world.test",
        "admin",
        "Street",
        "Sign out",
    ] {
        assert!(shown.text().contains(part), "{part}: {}", shown.text());
    }
    let policy = header(&shown, "content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("script-src"));
    assert_eq!(header(&shown, "cache-control").unwrap(), "no-store");
    // Each cookie is bound to the host, to TLS, and kept from scripts.
    for cookie in &browser.set {
        for part in ["__Host-", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(cookie.contains(part), "{cookie}");
        }
    }
    // A form that another site made signs nobody out.
    let out = street.path("sign-in/out");
    let forged = browser.post(&out, "proof=0000").await;
    assert_eq!(forged.status, 403);
    let page = street.path("sign-in");
    assert!(browser.get(&page).await.text().contains("Sign out"));
    let proof = shown.text();
    let proof = proof.split("name=\"proof\" value=\"").nth(1).unwrap();
    let proof = proof.split('"').next().unwrap();
    let session = browser.cookie("__Host-mdmd-session").unwrap();
    let done = browser.post(&out, &format!("proof={proof}")).await;
    assert_eq!(done.status, 303);
    assert!(browser.cookie("__Host-mdmd-session").is_none());
    // Ended here, too: who kept the cookie has nothing.
    browser.put("__Host-mdmd-session", &session);
    let again = browser.get(&page).await;
    assert_eq!(again.status, 303, "{}", again.text());
    // And it opens nothing but the page.
    assert_eq!(
        street
            .api("GET", "/api/v1/session", &session, "")
            .await
            .status,
        401
    );
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_session_is_no_token_of_the_api_and_ends_by_itself() {
    let street = Street::open().await;
    let mut browser = street.browser();
    browser.sign_in().await;
    let session = browser.cookie("__Host-mdmd-session").unwrap();
    assert_eq!(
        street
            .api("GET", "/api/v1/session", &session, "")
            .await
            .status,
        401
    );
    street.later(8 * 3_600 - 1);
    let page = street.path("sign-in");
    assert_eq!(browser.get(&page).await.status, 200);
    street.later(1);
    assert_eq!(browser.get(&page).await.status, 303);
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_forged_is_refused() {
    let street = Street::open().await;
    for (flaw, why) in [
        (TokenFlaw::OtherKey, "signature does not match"),
        (TokenFlaw::Unsigned, "algorithm"),
        (TokenFlaw::Hmac, "algorithm"),
        (TokenFlaw::OtherAudience, "aud is another client"),
        (TokenFlaw::OtherIssuer, "iss is another provider"),
        (TokenFlaw::OtherNonce, "nonce is of another sign-in"),
        (TokenFlaw::Expired, "it has expired"),
        (TokenFlaw::Endless, "exp is missing"),
    ] {
        street.provider.flaw(flaw);
        let mut browser = street.browser();
        let shown = browser.sign_in().await;
        assert_eq!(shown.status, 400, "{flaw:?}: {}", shown.text());
        assert!(shown.text().contains(why), "{flaw:?}: {}", shown.text());
        assert!(browser.cookie("__Host-mdmd-session").is_none(), "{flaw:?}");
    }
    street.provider.flaw(TokenFlaw::None);
    assert_eq!(street.browser().sign_in().await.status, 200);
    // Somebody whom the provider does not let in, and somebody who has no group here.
    street.provider.sign_in_as(None);
    let shown = street.browser().sign_in().await;
    assert_eq!(shown.status, 403, "{}", shown.text());
    let mut stranger = ada();
    stranger.groups = vec!["Admins".to_owned(), "visitors".to_owned()];
    street.provider.sign_in_as(Some(stranger));
    let shown = street.browser().sign_in().await;
    assert_eq!(shown.status, 403);
    assert!(
        shown.text().contains("nor a group of yours"),
        "{}",
        shown.text()
    );
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_taken_once_by_the_browser_that_asked_and_not_for_long() {
    let street = Street::open().await;
    let mut browser = street.browser();
    let back = browser.leave().await;
    // Another browser, one without anything, and one with the answer of another sign-in.
    let mut other = street.browser();
    other.leave().await;
    assert_eq!(other.get(&back).await.status, 403);
    assert_eq!(street.browser().get(&back).await.status, 403);
    // It has not been used up by that.
    assert_eq!(browser.get(&back).await.status, 303);
    assert_eq!(browser.get(&back).await.status, 403, "again");
    // A state that is not ours, and one that is too old.
    let strange = back.replace("state=", "state=x");
    assert_eq!(browser.get(&strange).await.status, 403);
    let late = browser.leave().await;
    street.later(601);
    assert_eq!(browser.get(&late).await.status, 403);
    // The answer of another provider.
    let mixed = browser.leave().await;
    let issuer = people::escape(&street.provider.issuer());
    let mixed = mixed.replace(&issuer, &people::escape("https://evil.test"));
    let shown = browser.get(&mixed).await;
    assert!(
        shown.text().contains("another provider"),
        "{}",
        shown.text()
    );
    // One that does not say whose it is, of a provider that always says so.
    let nameless = browser.leave().await;
    assert!(nameless.contains(&format!("iss={issuer}")), "{nameless}");
    let nameless = nameless.replace(&format!("iss={issuer}"), "x=y");
    let shown = browser.get(&nameless).await;
    assert!(
        shown.text().contains("does not say which provider"),
        "{}",
        shown.text()
    );
    // A code that the provider has redeemed before.
    let (first, second) = (browser.leave().await, browser.leave().await);
    let value = |back: &str, name: &str| {
        let (_, rest) = back.split_once(&format!("{name}=")).unwrap();
        rest.split('&').next().unwrap().to_owned()
    };
    assert_eq!(browser.get(&first).await.status, 303);
    let replayed = second.replace(&value(&second, "code"), &value(&first, "code"));
    assert_eq!(browser.get(&replayed).await.status, 502);
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_begins_thousands_of_sign_ins_keeps_nobody_else_from_it() {
    let street = Street::open().await;
    let code = OrganisationCode::parse(&street.code).unwrap();
    let org = street.app.mdm.organisation(&code).await.unwrap();
    let begin = async |address: String, many: usize| {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..many {
            let (org, address) = (org.clone(), address.clone());
            all.spawn(async move {
                org.begin_sign_in(&address, Purpose::Page, "a browser", None)
                    .await
            });
        }
        let all = all.join_all().await;
        let done = all.iter().filter(|it| it.is_ok()).count();
        for it in all.into_iter().filter_map(Result::err) {
            assert!(matches!(it, Error::Busy(_)), "{it}");
        }
        done
    };
    assert_eq!(begin("192.0.2.1".to_owned(), 510).await, 500);
    // Whoever comes from elsewhere signs in, and gives back what they took.
    assert_eq!(street.browser().sign_in().await.status, 200);
    for other in 2..11 {
        begin(format!("192.0.2.{other}"), 500).await;
    }
    // Together they have a bound too, for what they begin is kept; it ends with their time.
    let refused = street.browser().get(&street.path("sign-in")).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    street.later(601);
    assert_eq!(begin("192.0.2.1".to_owned(), 3).await, 3);
    assert_eq!(street.browser().sign_in().await.status, 200);
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_may_change_its_keys_and_is_not_asked_all_the_time() {
    let street = Street::open().await;
    assert_eq!(street.browser().sign_in().await.status, 200);
    street.later(31);
    street.provider.rotate_key().unwrap();
    assert_eq!(street.browser().sign_in().await.status, 200);
    // Again at once: the keys were read a moment ago, and are not asked for with every strange token.
    street.provider.rotate_key().unwrap();
    let shown = street.browser().sign_in().await;
    assert!(
        shown.text().contains("no key of the set"),
        "{}",
        shown.text()
    );
    street.later(31);
    assert_eq!(street.browser().sign_in().await.status, 200);
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_sent_to_an_address_that_a_link_names() {
    let street = Street::open().await;
    let mut browser = street.browser();
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let state = "s".repeat(43);
    let path = |redirect: &str, challenge: &str, state: &str| {
        let redirect = people::escape(redirect);
        street.path(&format!(
            "sign-in/command-line?redirect={redirect}&challenge={challenge}&state={state}"
        ))
    };
    let good = "http://127.0.0.1:50123/mdmd-sign-in";
    for asked in [
        path("https://evil.test/mdmd-sign-in", challenge, &state),
        path(
            "http://127.0.0.1:1@evil.test/mdmd-sign-in",
            challenge,
            &state,
        ),
        path("http://localhost:50123/mdmd-sign-in", challenge, &state),
        path("http://127.0.0.1:50123/other", challenge, &state),
        path("", challenge, &state),
        path(good, "plain", &state),
        path(good, "", &state),
        path(good, challenge, "short"),
        path(good, challenge, &"<".repeat(43)),
    ] {
        let shown = browser.get(&asked).await;
        assert_eq!(shown.status, 400, "{asked}: {}", shown.text());
        assert!(header(&shown, "location").is_none());
    }
    assert_eq!(
        browser.get(&path(good, challenge, &state)).await.status,
        303
    );
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_is_proved_first_and_the_secret_is_never_shown() {
    let street = Street::open().await;
    let set = async |body: Value| {
        let body = body.to_string();
        street
            .api("POST", "/api/v1/sign-in", &street.admin, &body)
            .await
    };
    let shown = street
        .api("GET", "/api/v1/sign-in", &street.admin, "")
        .await;
    assert!(shown.text().contains("/sign-in/return"), "{}", shown.text());
    assert!(!shown.text().contains(&street.provider.client_secret()));
    for (body, field) in [
        (json!({ "issuer": "http://x.test" }), "issuer"),
        // The secret that is kept is not given to whoever is named next.
        (json!({ "issuer": "https://localhost:1" }), "secret"),
        (json!({ "client_id": "another" }), "secret"),
        (json!({ "session_hours": 25 }), "session_hours"),
        (json!({ "scopes": ["a b"] }), "scopes"),
    ] {
        let refused = set(body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(
            refused.text().contains(&format!("\"field\":\"{field}\"")),
            "{}",
            refused.text()
        );
    }
    let away = set(json!({ "issuer": "https://127.0.0.1:1", "secret": "x" })).await;
    assert!([502, 503].contains(&away.status), "{}", away.text());
    // Nothing of that was kept.
    assert_eq!(street.browser().sign_in().await.status, 200);
    let log = people::log();
    assert!(!log.contains(&street.provider.client_secret()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    street.close().await;
}
