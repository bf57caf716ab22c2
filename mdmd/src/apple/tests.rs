//! What is kept of an account, against a transport that says of each token how many devices one request may name.

use std::sync::Mutex;

use abm_client::{Request, Response, TransportError};
use mdm_core::clock::ManualClock;
use mdm_core::store::SqliteStore;

use super::*;

/// An account whose limit is the consumer key of the token, which is its session, too.
#[derive(Default)]
struct Accounts(Mutex<Vec<String>>);

#[async_trait]
impl Transport for Accounts {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let header = |name: &str| {
            let mut headers = request.headers.iter();
            let found = headers.find(|(n, _)| *n == name);
            found.map_or(String::new(), |(_, value)| value.expose().to_owned())
        };
        let answer = if request.url.ends_with("/session") {
            let signed = header("authorization");
            let (_, key) = signed.split_once("oauth_consumer_key=\"").unwrap();
            let (key, _) = key.split_once('"').unwrap();
            serde_json::json!({ "auth_session_token": key })
        } else {
            assert!(request.url.ends_with("/account"), "{}", request.url);
            let most = header("x-adm-auth-session");
            self.0.lock().unwrap().push(most.clone());
            let most: u32 = most.parse().unwrap();
            let limit = serde_json::json!({ "default": most, "maximum": most });
            let url = serde_json::json!({
                "uri": "/profile/devices", "http_method": ["PUT"], "limit": limit,
            });
            serde_json::json!({ "server_name": "Us", "server_uuid": "U", "urls": [url] })
        };
        Ok(Response::new(200, answer.to_string()))
    }
}

fn with_token(consumer_key: &str) -> ServerCredential {
    let token = serde_json::json!({
        "consumer_key": consumer_key, "consumer_secret": "CS", "access_token": "AT",
        "access_secret": "AS", "access_token_expiry": "2027-11-20T09:41:00Z",
    });
    ServerCredential {
        organisation: OrganisationId(1),
        server: ServerId(1),
        token: Secret::from_text(token.to_string()),
    }
}

#[tokio::test]
async fn limits_are_asked_for_once_a_day_and_anew_for_a_renewed_token() {
    let clock = ManualClock::new(Timestamp::from_millis(1_795_190_400_000));
    let store = SqliteStore::in_memory().await.unwrap();
    let accounts = Arc::new(Accounts::default());
    let apple = Apple::over(
        accounts.clone(),
        Addresses::default(),
        Arc::new(clock.clone()),
        Arc::new(store),
    );
    let most = async |key: &str| apple.most_assigned(&with_token(key)).await.unwrap();
    assert_eq!((most("100").await, most("100").await), (100, 100));
    // The entry is the same, and what the old token was told is not for this one.
    assert_eq!((most("30").await, most("100").await), (30, 100));
    assert_eq!(*accounts.0.lock().unwrap(), ["100", "30"]);
    clock.advance(LIMITS);
    assert_eq!(most("30").await, 30);
    assert_eq!(*accounts.0.lock().unwrap(), ["100", "30", "30"]);
}
