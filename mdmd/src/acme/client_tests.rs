//! What an authority may answer, and what becomes of it. The real one in these tests is `pebble`, in the tests of the app.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

/// Answers what it is told to, in turn, and keeps what it was asked.
#[derive(Default)]
struct Script {
    answers: Mutex<Vec<Response>>,
    asked: Mutex<Vec<(String, Value)>>,
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let body = request.body.map(|b| b.expose().to_vec());
        let jws: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
        let header = jws["protected"]
            .as_str()
            .map(|text| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap());
        let asked = (request.url, header.unwrap_or_default());
        self.asked.lock().unwrap().push(asked);
        Ok(self.answers.lock().unwrap().remove(0))
    }
}

fn json_answer(status: u16, body: Value, nonce: &str) -> Response {
    Response::new(status, body.to_string()).with_header("replay-nonce", nonce)
}

fn directory(binding: bool) -> Response {
    let url = |what: &str| format!("https://acme.example/{what}");
    let directory = json!({
        "newNonce": url("nonce"), "newAccount": url("account"), "newOrder": url("order"),
        "meta": { "externalAccountRequired": binding },
    });
    Response::new(200, directory.to_string())
}

async fn client<'a>(script: &'a Script, account: Option<&str>) -> Client<'a> {
    let key = AccountKey::new(crate::pki::new_key().unwrap()).unwrap();
    let account = account.map(str::to_owned);
    Client::open(script, "https://acme.example/dir", key, account)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_request_whose_nonce_was_not_taken_is_said_again_with_the_new_one() {
    let bad = json!({ "type": "urn:ietf:params:acme:error:badNonce", "detail": "old" });
    let script = Script::default();
    *script.answers.lock().unwrap() = vec![
        directory(false),
        Response::new(204, "").with_header("replay-nonce", "one"),
        json_answer(400, bad.clone(), "two"),
        json_answer(201, json!({}), "three").with_header("location", "https://acme.example/me"),
    ];
    let mut client = client(&script, None).await;
    assert_eq!(
        client.register(None, None).await.unwrap(),
        "https://acme.example/me"
    );
    let nonces: Vec<Value> = {
        let asked = script.asked.lock().unwrap();
        asked[2..]
            .iter()
            .map(|(_, header)| header["nonce"].clone())
            .collect()
    };
    assert_eq!(nonces, ["one", "two"]);
    // One that takes none is given up.
    *script.answers.lock().unwrap() = (0..20)
        .map(|_| json_answer(400, bad.clone(), "x"))
        .collect();
    let error = client.order(&BTreeSet::new()).await.err().unwrap();
    assert!(error.is_bad_nonce(), "{error}");
    assert_eq!(
        script.answers.lock().unwrap().len(),
        20 - NONCE_TRIES as usize
    );
}

#[tokio::test]
async fn an_account_signs_by_its_address_and_a_new_one_by_its_key() {
    let script = Script::default();
    *script.answers.lock().unwrap() = vec![
        directory(false),
        json_answer(201, json!({}), "n").with_header("location", "https://acme.example/other"),
        json_answer(
            201,
            json!({ "authorizations": [], "finalize": "https://acme.example/f" }),
            "n",
        )
        .with_header("location", "https://acme.example/o/1"),
    ];
    let mut client = client(&script, Some("https://acme.example/me")).await;
    client.keep_nonce(&json_answer(204, json!({}), "n"));
    client.register(Some("a@b.example"), None).await.unwrap();
    client.order(&BTreeSet::new()).await.unwrap();
    let asked = script.asked.lock().unwrap();
    assert!(asked[1].1["jwk"].is_object() && asked[1].1["kid"].is_null());
    assert_eq!(asked[2].1["kid"], "https://acme.example/other");
    assert!(asked[2].1["jwk"].is_null());
    assert_eq!(asked[2].1["url"], "https://acme.example/order");
}

#[tokio::test]
async fn what_is_missing_is_said_before_the_authority_is_asked() {
    let script = Script::default();
    *script.answers.lock().unwrap() = vec![directory(true)];
    let error = client(&script, None)
        .await
        .register(None, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("acme.account_key_id"), "{error}");
    assert_eq!(script.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refusal_tells_the_authoritys_reason_in_one_line_and_when_to_come_again() {
    let said = json!({
        "type": "urn:ietf:params:acme:error:rateLimited",
        "detail": format!("too\nmany {}", "x".repeat(9000)),
    });
    let script = Script::default();
    *script.answers.lock().unwrap() = vec![
        directory(false),
        json_answer(429, said, "n").with_header("retry-after", "7200"),
        Response::new(502, "<html>"),
    ];
    let client = client(&script, Some("https://acme.example/me")).await;
    client.keep_nonce(&json_answer(204, json!({}), "n"));
    let error = client.order(&BTreeSet::new()).await.err().unwrap();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7200)));
    let text = error.to_string();
    assert!(text.contains("rateLimited: too many"), "{text}");
    assert!(text.len() < 500 && !text.contains('\n'), "{text}");
    let text = client
        .order(&BTreeSet::new())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        text.contains("no reason given") && text.contains("502"),
        "{text}"
    );
}

#[tokio::test]
async fn a_token_that_could_be_a_path_is_taken_from_nobody() {
    let challenge = |token: &str| {
        json!({
            "status": "pending",
            "challenges": [{ "type": "http-01", "token": token, "url": "https://acme.example/c" }],
        })
    };
    let order = Order {
        url: String::new(),
        authorizations: vec!["https://acme.example/a".to_owned()],
        finalize: String::new(),
    };
    let script = Script::default();
    *script.answers.lock().unwrap() = vec![
        directory(false),
        json_answer(200, challenge("../../x"), "n"),
        json_answer(200, challenge("abc_-1"), "n"),
        json_answer(200, json!({ "status": "valid" }), "n"),
    ];
    let client = client(&script, Some("https://acme.example/me")).await;
    client.keep_nonce(&json_answer(204, json!({}), "n"));
    assert!(client.proofs(&order).await.is_err());
    let proofs = client.proofs(&order).await.unwrap();
    assert_eq!(
        proofs.answers["abc_-1"],
        format!("abc_-1.{}", client.key.thumbprint())
    );
    // What is proved already is not proved again.
    assert!(client.proofs(&order).await.unwrap().answers.is_empty());
}
