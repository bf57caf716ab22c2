//! Laws over steered random answers: whatever Apple, a proxy or an attacker answers, nobody panics, an error names its
//! call, and nothing that was secret is in it.

mod support;

use std::future::Future;
use std::sync::Arc;

use abm_client::apps::{AppsClient, AssetQuery, AssignmentQuery, ContentToken, MdmInfo};
use abm_client::assignment::{AssignmentClient, SyncCursor};
use abm_client::business::{Activity, ApiAccount, AuditQuery, BusinessClient};
use abm_client::oauth1::{base_string, percent_encode};
use abm_client::{Clock, Error, Moment, Response, ServerToken, TokenKeyPair, Transport};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Hand, NOW, Script, ok};

const SECRETS: [&str; 6] = [
    "CK_secret",
    "CS_secret",
    "AT_secret",
    "AS_secret",
    "session-secret",
    "bearer-secret",
];

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Keys that the answers really have, so that random values meet the fields that read them.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "devices", "cursor", "more_to_follow", "serial_number", "op_date", "op_type", "imei", "profile_uuid",
            "response_status", "retry_after_seconds", "urls", "limit", "maximum", "server_name", "server_uuid",
            "data", "attributes", "id", "type", "links", "next", "meta", "paging", "nextCursor", "errors", "code",
            "source", "pointer", "status", "subStatus", "downloadUrl", "assets", "assignments", "nextPageIndex",
            "eventId", "errorNumber", "errorInfo", "mdmInfo", "name", "limits", "maxAssets", "failures",
            "profile_name", "url", "is_supervised", "skip_setup_items", "S1", "eventStatus",
        ]).prop_map(str::to_owned),
        1 => "[a-z_]{0,8}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "SUCCESS",
            "THROTTLED",
            "S1",
            "AB",
            "2026-11-20T16:00:00Z",
            "https://x/?cursor=%",
            "EXPIRED_CURSOR",
        ])
        .prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Mostly JSON, else texts with a code in them or bytes.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => value().prop_map(|value| json!({ "data": [value], "devices": [] }).to_string().into_bytes()),
        1 => "\"?(T_C_NOT_SIGNED|EXHAUSTED_CURSOR|FORBIDDEN|NOT_FOUND|[A-Z_]{1,20})\"?\n?".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn status() -> impl Strategy<Value = u16> {
    prop_oneof![
        6 => Just(200_u16),
        1 => prop::sample::select(vec![201, 204, 301, 400, 401, 403, 404, 405, 409, 422, 429, 500, 503]),
        1 => 100_u16..1000,
    ]
}

fn answers() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    prop::collection::vec((status(), body()), 4)
}

/// A transport that logs in by itself and then gives these answers, over and over.
fn scripted(login: &str, answers: &[(u16, Vec<u8>)]) -> Script {
    let script = Script::new([ok(login)]);
    // One call takes at most four: answer, login, answer again, and the older method.
    for (status, body) in answers {
        script.push(Ok(Response::new(*status, body.clone())));
    }
    for _ in 0..8 {
        script.push(ok(login));
    }
    script
}

fn judge<T>(result: Result<T, Error>) -> Result<(), TestCaseError> {
    if let Err(error) = result {
        let text = format!("{error} {error:?}");
        prop_assert!(
            SECRETS.iter().all(|secret| !text.contains(secret)),
            "{}",
            text
        );
        prop_assert!(!error.endpoint().call().is_empty());
        prop_assert!(text.len() < 20_000);
        // There is always something that a caller can do, or a reason why not.
        let _ = (
            error.retry_after(),
            error.needs_person(),
            error.is_unknown_outcome(),
            error.code(),
        );
    }
    Ok(())
}

fn shared(script: Script) -> (Arc<dyn Transport>, Arc<dyn Clock>) {
    (Arc::new(script), Arc::new(Hand::at(NOW)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_assignment_client_survives_every_answer(answers in answers(), call in 0..10) {
        let script = scripted(r#"{"auth_session_token":"session-secret"}"#, &answers);
        let token = ServerToken::from_json(br#"{"consumer_key":"CK_secret","consumer_secret":"CS_secret","access_token":"AT_secret","access_secret":"AS_secret","access_token_expiry":""}"#).expect("a token");
        let (transport, clock) = shared(script);
        let apple = AssignmentClient::at("https://x", transport, token, "t/1", clock);
        let one = [String::from("S1")];
        run(async {
            match call {
                0 => judge(apple.account().await),
                1 => judge(apple.fetch_devices(None).await),
                2 => judge(apple.sync_devices(&SyncCursor::new("c")).await),
                3 => {
                    let details = apple.device_details(&one).await;
                    prop_assert!(details.as_ref().is_ok_and(|d| d.contains_key("S1")) || details.is_err());
                    judge(details)
                }
                4 => {
                    let report = apple.assign_profile("AB", &one).await;
                    prop_assert!(report.as_ref().is_ok_and(|r| r.outcomes.contains_key("S1")) || report.is_err());
                    judge(report)
                }
                5 => judge(apple.remove_profile(&one).await),
                6 => judge(apple.profile("AB").await),
                7 => judge(apple.beta_tokens().await),
                8 => judge(apple.service_discovery().await),
                _ => judge(apple.replacement_details("S1").await),
            }
        })?;
    }

    #[test]
    fn the_business_client_survives_every_answer(answers in answers(), call in 0..9) {
        let script = scripted(r#"{"access_token":"bearer-secret","expires_in":3600}"#, &answers);
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        let pem = EcKey::generate(&group).and_then(|key| key.private_key_to_pem()).expect("a key");
        let account = ApiAccount::new("SCHOOLAPI.1", "K", &pem).expect("an account");
        let (transport, clock) = shared(script);
        let apple = BusinessClient::at("https://x", "https://y/token", transport, account, "t/1", clock);
        run(async {
            match call {
                0 => judge(apple.devices(&[], None).await),
                1 => judge(apple.device("S1", &[]).await),
                2 => judge(apple.assigned_server("S1").await),
                3 => judge(apple.servers(None).await),
                4 => judge(apple.activity("1").await),
                5 => judge(apple.submit_activity(&Activity::CancelMigration { devices: vec!["S1".into()] }).await),
                6 => judge(apple.users(None).await),
                7 => judge(apple.audit_events(&AuditQuery::between(0, 1), None).await),
                _ => judge(apple.activation_lock("S1").await),
            }
        })?;
    }

    #[test]
    fn the_apps_client_survives_every_answer(answers in answers(), call in 0..6) {
        let script = Script::new([]);
        for (status, body) in answers.iter().chain(&answers) {
            script.push(Ok(Response::new(*status, body.clone())));
        }
        let token = ContentToken::read(b"eyJ0b2tlbiI6InNlY3JldC1pbnNpZGUifQ==").expect("a token");
        let (transport, clock) = shared(script);
        let apple = AppsClient::at("https://x", transport, token, "t/1", clock).as_service(MdmInfo::new("us", "n", "m"));
        run(async {
            match call {
                0 => judge(apple.assets(&AssetQuery::default(), None).await),
                1 => judge(apple.assignments(&AssignmentQuery::default(), None).await),
                2 => judge(apple.service_config().await),
                3 => judge(apple.claim(false).await),
                4 => judge(apple.event("e").await),
                _ => judge(apple.users(None, None).await),
            }
        })?;
    }

    #[test]
    fn no_token_file_makes_it_panic(file in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "Content-[A-Za-z: ]{0,20}\r?\n\r?\n[A-Za-z0-9+/=\r\n]{0,200}".prop_map(String::into_bytes),
        prop::collection::vec(prop::sample::select(vec![0x30_u8, 0x80, 0x82, 0x06, 0x02, 0xa0, 0x31, 0, 1, 0x24]), 0..60),
    ]) {
        thread_local! {
            static PAIR: TokenKeyPair = TokenKeyPair::generate("t", NOW, 1).expect("a pair");
        }
        let result = PAIR.with(|pair| ServerToken::open(&file, std::slice::from_ref(pair)));
        prop_assert!(result.is_err());
        prop_assert!(ServerToken::from_json(&file).is_err());
        prop_assert!(ContentToken::read(&file).is_err());
    }

    #[test]
    fn an_encoded_text_holds_only_safe_characters_and_keeps_its_meaning(text in "\\PC{0,40}") {
        let encoded = percent_encode(&text);
        prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        let mut decoded = Vec::new();
        let mut rest = encoded.bytes();
        while let Some(byte) = rest.next() {
            decoded.push(if byte == b'%' {
                let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                u8::from_str_radix(std::str::from_utf8(&digits).expect("ASCII"), 16).expect("hexadecimal")
            } else {
                byte
            });
        }
        prop_assert_eq!(decoded, text.as_bytes());
    }

    #[test]
    fn the_order_of_parameters_does_not_change_what_is_signed(
        mut parameters in prop::collection::vec(("\\PC{0,6}", "\\PC{0,6}"), 0..6),
        turn in 0_usize..6,
    ) {
        let sign = |list: &[(String, String)]| {
            let list: Vec<(&str, &str)> = list.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            base_string("GET", "https://x/y", &list)
        };
        let before = sign(&parameters);
        if !parameters.is_empty() {
            let by = turn % parameters.len();
            parameters.rotate_left(by);
        }
        prop_assert_eq!(before, sign(&parameters));
    }

    #[test]
    fn every_time_is_read_back(ms in 0_i64..253_402_300_799_999) {
        let written = Moment::from_unix_ms(ms);
        prop_assert_eq!(Moment::parse(written.as_str()).unix_ms(), Some(ms));
    }
}
