//! What is kept of an account, against a transport that says of each token how many devices one request may name; audit events that
//! come on several pages.

use std::sync::Mutex;

use abm_client::{Request, Response, TransportError};
use mdm_core::budget::Allowance;
use mdm_core::clock::ManualClock;
use mdm_core::service::ports::{ApiKey, OrganisationApi as _};
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

/// Audit events of everybody, whoever is asked for: on the last of so many pages somebody moves the device.
struct Audits(u32);

#[async_trait]
impl Transport for Audits {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let Some((_, query)) = request.url.split_once("/v1/auditEvents?") else {
            let token = serde_json::json!({
                "access_token": "T", "token_type": "Bearer", "expires_in": 3600,
            });
            return Ok(Response::new(200, token.to_string()));
        };
        let page = query.split_once("cursor=");
        let page = page.map_or(1, |(_, page)| page.parse::<u32>().unwrap());
        let last = page == self.0;
        let serial = if last { "MOVED1" } else { "OTHER1" };
        let mut paging = serde_json::json!({ "limit": 1 });
        if !last {
            paging["nextCursor"] = (page + 1).to_string().into();
        }
        let event = serde_json::json!({
            "eventDateTime": "2026-11-20T09:41:00Z", "type": "DEVICE_UNASSIGNED_FROM_SERVER",
            "actorType": "USER", "actorId": "7", "actorName": "Eva", "subjectId": serial,
        });
        let answer = serde_json::json!({
            "data": [{ "type": "auditEvents", "id": page.to_string(), "attributes": event }],
            "links": { "self": "" }, "meta": { "paging": paging },
        });
        Ok(Response::new(200, answer.to_string()))
    }
}

#[tokio::test]
async fn that_audit_events_name_nobody_is_said_of_all_of_them_only() {
    let start = Timestamp::from_millis(1_795_190_400_000);
    let clock = Arc::new(ManualClock::new(start));
    let pem = crate::pki::new_key().unwrap().private_key_to_pem_pkcs8();
    let key = ApiKey {
        organisation: OrganisationId(1),
        client_id: "BUSINESSAPI.1".to_owned(),
        key_id: "K".to_owned(),
        key: Secret::from_text(String::from_utf8(pem.unwrap()).unwrap()),
        allowance: Allowance::organisation_api(),
    };
    let about = async |serial: &str, pages: u32| {
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let addresses = Addresses::default();
        let apple = Apple::over(Arc::new(Audits(pages)), addresses, clock.clone(), store);
        let serial = Serial::parse(serial).unwrap();
        let until = start + Duration::from_secs(60);
        apple.audited(&key, &serial, start, until).await
    };
    for pages in [1, 2, 4] {
        let acts = about("MOVED1", pages).await.unwrap();
        assert_eq!(acts.len(), 1, "{pages}");
        assert_eq!(acts[0].apple_actor, "Eva (USER)");
        assert!(about("NOBODY1", pages).await.unwrap().is_empty());
    }
    let more = about("MOVED1", 5).await.unwrap_err();
    assert!(more.to_string().contains("there are more"), "{more}");
    // Who is named on what was read is told.
    assert_eq!(about("OTHER1", 5).await.unwrap().len(), 4);
}
