//! Devices obtain their identities by ACME: who attests what is true gets one, whoever does not is told why in the protocol's
//! word and leaves nothing. Independent clients: one here that may send anything, the world's devices, and a public library.

#[path = "doors/acme.rs"]
mod acme;
#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use acme::{Client, claims, client_identifier, csr, curve_key, statement};
use fixtures::attestation::{Attester, Claims, hardware_key};
use fixtures::recorded::Described;
use house::{House, NOW_MS, described};
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::ids::{CertificateId, DeviceId, Serial};
use mdm_core::migration::VisibleState;
use mdm_core::organisation::IdentityProtocol;
use mdm_core::service::IdentitySettings;
use mdmd::config::Duty;
use mdmd::rehearsal::{HouseOptions, Identities, Rehearsal, Stage};
use openssl::nid::Nid;
use openssl::x509::X509;
use serde_json::{Value, json};
use tests::{Request, SOON};

/// A house whose iPhones obtain by ACME, and whoever vouches for them.
async fn opened(protocol: IdentityProtocol) -> (House, Attester) {
    let house = House::open().await;
    let attester = Attester::new(NOW_MS).unwrap();
    let root = attester.root().unwrap();
    house.org.trust_attestations(&[root], false).await.unwrap();
    let mut change = IdentitySettings::default();
    change.identity_protocol.insert(Platform::Ios, protocol);
    house.org.set_identities(change).await.unwrap();
    (house, attester)
}

/// How many identities there are.
async fn identities(house: &House) -> usize {
    let all = house.org.identities(CertificateId(0), 100).await;
    all.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_attests_obtains_an_identity_and_what_it_attested_is_kept() {
    let (house, attester) = opened(IdentityProtocol::AcmeAttested).await;
    let identifier = client_identifier(&house, "DOORA").await;
    let client = Client::registered(&house).await;
    let directory = client.look("GET", "directory").await.json();
    assert_eq!(directory["newOrder"], client.at("new-order"));
    assert_eq!(client.look("GET", "new-nonce").await.status, 204);

    let order = client.order(&identifier).await;
    let key = hardware_key().unwrap();
    let said = client.post(&order.finalize, Some(&csr(&key))).await;
    assert_eq!(said.problem(), "orderNotReady");
    let made = attester
        .statement(&claims("DOORA", &order.token), &key)
        .unwrap();
    let said = client.post(&order.challenge, Some(&statement(&made))).await;
    assert_eq!(
        (said.status, &said.json()["status"]),
        (200, &json!("valid")),
        "{said:?}"
    );
    assert_eq!(client.status(&order).await, "ready");
    let shown = client.post(&order.authorization, None).await.json();
    assert_eq!(shown["status"], "valid");
    let said = client.post(&order.finalize, Some(&csr(&key))).await;
    let valid = said.json();
    assert_eq!(valid["status"], "valid", "{said:?}");
    let chain = client
        .post(valid["certificate"].as_str().unwrap(), None)
        .await;
    assert_eq!(
        chain.header("content-type").unwrap(),
        "application/pem-certificate-chain"
    );
    let chain = X509::stack_from_pem(&chain.body).unwrap();
    assert!(chain[0].public_key().unwrap().public_eq(&key));
    assert!(chain[0].verify(&chain[1].public_key().unwrap()).unwrap());

    // What was attested is with the device, with the identity, in the record and at the API.
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let device = store.device(id, DeviceId(1)).await.unwrap().unwrap();
    let attested = device.attested.clone().unwrap();
    assert_eq!(attested.serial.as_deref(), Some("DOORA"));
    assert_eq!(attested.os_version.as_deref(), Some("26.1"));
    let row = store
        .certificates(id, CertificateId(0), 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(row.attested, Some(attested));
    assert_eq!(row.device, Some(device.id));
    let shown = Request::new("GET", "/api/v1/devices/DOORA").by(&house.token);
    let shown = shown.send(house.app.address(Duty::Admin).unwrap()).await;
    let shown: Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!(shown["device"]["attested"]["serial"], "DOORA", "{shown}");
    let timeline = shown["timeline"].to_string();
    assert!(timeline.contains("identity.issued") && timeline.contains("acme"));
    assert!(
        !timeline.contains(&identifier),
        "the client identifier is told"
    );

    // The account may revoke it, once.
    let der = chain[0].to_der().unwrap();
    let revoke = json!({ "certificate": base64(&der), "reason": 4 });
    let url = client.at("revoke-cert");
    let stranger = Client::registered(&house).await;
    assert_eq!(
        stranger.post(&url, Some(&revoke)).await.problem(),
        "unauthorized"
    );
    // Nor may whoever has some key, or looks at an account that is not theirs.
    let nobody = Client::new(&house);
    assert_eq!(
        nobody.post(&url, Some(&revoke)).await.problem(),
        "unauthorized"
    );
    let theirs = client.account.clone().unwrap();
    assert_eq!(
        stranger.post(&theirs, Some(&json!({}))).await.problem(),
        "unauthorized"
    );
    assert_eq!(
        stranger.post(&order.url, None).await.problem(),
        "unauthorized"
    );
    assert_eq!(client.post(&url, Some(&revoke)).await.status, 200);
    assert_eq!(
        client.post(&url, Some(&revoke)).await.problem(),
        "alreadyRevoked"
    );
    let row = store.certificate(id, row.id).await.unwrap().unwrap();
    assert!(row.revoked.is_some());
    house.close().await;
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_not_true_obtains_nothing() {
    let (house, attester) = opened(IdentityProtocol::AcmeAttested).await;
    let client = Client::registered(&house).await;
    let identifier = client_identifier(&house, "DOORA").await;
    let key = hardware_key().unwrap();
    let stranger = Attester::new(NOW_MS).unwrap();
    type Case<'a> = (&'a str, &'a str, &'a dyn Fn(&str) -> Value);
    let cases: [Case<'_>; 12] = [
        ("wrong root", "no root", &|token| {
            statement(&stranger.statement(&claims("DOORA", token), &key).unwrap())
        }),
        ("stale freshness", "another challenge", &|_| {
            statement(
                &attester
                    .statement(&claims("DOORA", "earlier"), &key)
                    .unwrap(),
            )
        }),
        ("no freshness", "made for", &|_| {
            let told = Claims {
                token: None,
                ..claims("DOORA", "")
            };
            statement(&attester.statement(&told, &key).unwrap())
        }),
        ("other serial number", "another serial number", &|token| {
            statement(&attester.statement(&claims("DOORB", token), &key).unwrap())
        }),
        ("no serial number", "no serial number", &|token| {
            let told = Claims {
                serial: None,
                ..claims("DOORA", token)
            };
            statement(&attester.statement(&told, &key).unwrap())
        }),
        ("other UDID", "another UDID", &|token| {
            let told = Claims {
                udid: Some("UDID-X".to_owned()),
                ..claims("DOORA", token)
            };
            statement(&attester.statement(&told, &key).unwrap())
        }),
        ("a curve too large", "P-256 or P-384", &|token| {
            let odd = curve_key(Nid::SECP521R1);
            statement(&attester.statement(&claims("DOORA", token), &odd).unwrap())
        }),
        ("malformed CBOR", "no attestation object", &|token| {
            let mut made = attester.statement(&claims("DOORA", token), &key).unwrap();
            made.truncate(100);
            statement(&made)
        }),
        (
            "something after the CBOR",
            "no attestation object",
            &|token| {
                let mut made = attester.statement(&claims("DOORA", token), &key).unwrap();
                made.push(0);
                statement(&made)
            },
        ),
        (
            "not base64url",
            "base64url",
            &|_| json!({ "attObj": "%%%" }),
        ),
        ("none", "demands", &|_| json!({})),
        (
            "its own failure",
            "could not",
            &|_| json!({ "error": "no" }),
        ),
    ];
    for (case, why, answer) in cases {
        let order = client.order(&identifier).await;
        let said = client
            .post(&order.challenge, Some(&answer(&order.token)))
            .await;
        let challenge = said.json();
        assert_eq!(challenge["status"], "invalid", "{case}: {said:?}");
        let error = &challenge["error"];
        assert_eq!(
            error["type"], "urn:ietf:params:acme:error:badAttestationStatement",
            "{case}"
        );
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{case}: {detail}");
        assert_eq!(client.status(&order).await, "invalid", "{case}");
        let said = client.post(&order.finalize, Some(&csr(&key))).await;
        assert_eq!(said.problem(), "orderNotReady", "{case}");
        let newest = house.org.refusals(10).await.unwrap();
        let newest = newest
            .iter()
            .find(|r| r.reason.contains("badAttestation"))
            .unwrap();
        assert_eq!(newest.door, "acme", "{case}");
        assert_eq!(
            newest.serial.as_ref().map(Serial::as_str),
            Some("DOORA"),
            "{case}"
        );
    }
    assert_eq!(identities(&house).await, 0);
    // The device itself still gets its identity.
    let order = client.order(&identifier).await;
    let made = attester
        .statement(&claims("DOORA", &order.token), &key)
        .unwrap();
    client.post(&order.challenge, Some(&statement(&made))).await;
    // Over the attested key alone.
    let said = client
        .post(&order.finalize, Some(&csr(&hardware_key().unwrap())))
        .await;
    assert_eq!(said.problem(), "badCSR");
    let account = openssl::pkey::PKey::from_ec_key(client.key.clone()).unwrap();
    assert_eq!(
        client
            .post(&order.finalize, Some(&csr(&account)))
            .await
            .problem(),
        "badCSR"
    );
    let broken = json!({ "csr": base64(b"no request") });
    assert_eq!(
        client.post(&order.finalize, Some(&broken)).await.problem(),
        "badCSR"
    );
    let said = client.post(&order.finalize, Some(&csr(&key))).await;
    assert_eq!(said.json()["status"], "valid", "{said:?}");

    // A client identifier obtains one identity, and so does a key.
    let said = client.ask(&identifier).await;
    assert_eq!(
        (said.status, said.problem().as_str()),
        (403, "rejectedIdentifier")
    );
    let other = client_identifier(&house, "DOORB").await;
    let order = client.order(&other).await;
    let made = attester
        .statement(&claims("DOORB", &order.token), &key)
        .unwrap();
    client.post(&order.challenge, Some(&statement(&made))).await;
    assert_eq!(
        client
            .post(&order.finalize, Some(&csr(&key)))
            .await
            .problem(),
        "badCSR"
    );
    assert_eq!(identities(&house).await, 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_breaks_the_protocol_is_refused_in_its_word() {
    let (house, _) = opened(IdentityProtocol::Acme).await;
    let new = Client::new(&house);
    let client = Client::registered(&house).await;
    let identifier = client_identifier(&house, "DOORA").await;
    let url = client.at("new-order");
    let good = json!({ "identifiers": [{ "type": "permanent-identifier", "value": identifier }] });
    let tweaked = async |name: &str, value: Value| {
        let mut header = client.header(&url).await;
        header[name] = value;
        client
            .post_message(&url, &client.message(&header, Some(&good)))
            .await
    };
    for (name, value, kind) in [
        ("nonce", json!("bm9uY2U"), "badNonce"),
        ("nonce", json!("%"), "badNonce"),
        ("nonce", Value::Null, "badNonce"),
        ("url", json!(format!("{url}/x")), "unauthorized"),
        ("url", json!(client.at("new-account")), "unauthorized"),
        ("alg", json!("none"), "badSignatureAlgorithm"),
        ("alg", json!("HS256"), "badSignatureAlgorithm"),
        ("alg", json!("ES384"), "badSignatureAlgorithm"),
        ("kid", json!(client.at("account/1")), "accountDoesNotExist"),
        (
            "kid",
            json!("https://example.org/account/1"),
            "accountDoesNotExist",
        ),
        ("jwk", client.jwk(), "malformed"),
        ("crit", json!(["x"]), "malformed"),
    ] {
        let said = tweaked(name, value.clone()).await;
        assert_eq!(said.problem(), kind, "{name} {value}: {said:?}");
        assert_eq!(
            said.header("content-type").unwrap(),
            "application/problem+json"
        );
        assert!(said.header("replay-nonce").is_some(), "{name} {value}");
    }
    let said = tweaked("alg", json!("none")).await.json();
    assert_eq!(said["algorithms"], json!(["ES256", "ES384", "RS256"]));

    // A replay: the same message twice, and a nonce twice.
    let header = client.header(&url).await;
    let message = client.message(&header, Some(&good));
    assert_eq!(client.post_message(&url, &message).await.status, 201);
    assert_eq!(
        client.post_message(&url, &message).await.problem(),
        "badNonce"
    );
    // Also after the restart of a process: used ones are in the store, and old ones know their age.
    let header = client.header(&url).await;
    house.clock.set(Timestamp::from_millis(NOW_MS + 3_600_001));
    let message = client.message(&header, Some(&good));
    assert_eq!(
        client.post_message(&url, &message).await.problem(),
        "badNonce"
    );

    // Broken messages.
    let header = client.header(&url).await;
    let mut message = client.message(&header, Some(&good));
    message["payload"] = json!(base64(b"{}"));
    assert_eq!(
        client.post_message(&url, &message).await.problem(),
        "malformed"
    );
    let said = client
        .send(&url, "application/jose+json", b"{".to_vec())
        .await;
    assert_eq!(said.problem(), "malformed");
    let header = client.header(&url).await;
    let message = client.message(&header, Some(&good)).to_string();
    let said = client
        .send(&url, "application/json", message.into_bytes())
        .await;
    assert_eq!(said.problem(), "malformed");
    for (payload, kind) in [
        (
            json!({ "identifiers": [{ "type": "dns", "value": "example.org" }] }),
            "unsupportedIdentifier",
        ),
        (json!({ "identifiers": [] }), "malformed"),
        (
            json!({ "identifiers": [{ "type": "permanent-identifier", "value": "x" }] }),
            "rejectedIdentifier",
        ),
        (json!([]), "malformed"),
    ] {
        assert_eq!(
            client.post(&url, Some(&payload)).await.problem(),
            kind,
            "{payload}"
        );
    }

    // Accounts: known again, only when there is one, given up for good.
    let existing = json!({ "onlyReturnExisting": true });
    let at = client.at("new-account");
    let said = new.post(&at, Some(&existing)).await;
    assert_eq!(said.problem(), "accountDoesNotExist");
    let mut again = Client::new(&house);
    again.key = client.key.clone();
    let said = again.post(&at, Some(&existing)).await;
    assert_eq!(
        (said.status, said.header("location")),
        (200, client.account.clone())
    );
    let said = client
        .post(&client.at("key-change"), Some(&json!({})))
        .await;
    assert_eq!(said.problem(), "unauthorized");
    let own = client.account.clone().unwrap();
    let leave = json!({ "status": "deactivated" });
    assert_eq!(
        client.post(&own, Some(&leave)).await.json()["status"],
        "deactivated"
    );
    assert_eq!(
        client.post(&url, Some(&good)).await.problem(),
        "unauthorized"
    );
    assert_eq!(
        again.post(&at, Some(&json!({}))).await.problem(),
        "unauthorized"
    );
    for said in [
        client.look("GET", "nothing").await,
        new.post(&client.at("nothing/there"), Some(&json!({})))
            .await,
    ] {
        assert_eq!((said.status, said.problem().as_str()), (400, "malformed"));
    }
    assert_eq!(identities(&house).await, 0);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_is_good_for_its_own_protocol_and_an_old_device_falls_back() {
    let (house, _) = opened(IdentityProtocol::Acme).await;
    // Attested or not is the organisation's choice: here one that attests nothing is taken.
    let identifier = client_identifier(&house, "DOORA").await;
    let client = Client::registered(&house).await;
    let order = client.order(&identifier).await;
    // To look is to send nothing.
    let said = client.post(&order.url, Some(&json!({}))).await;
    assert_eq!(said.problem(), "malformed", "{said:?}");
    let said = client.post(&order.challenge, Some(&json!({}))).await;
    assert_eq!(said.json()["status"], "valid", "{said:?}");
    // No attestation names its key, and it may be any but that of the account.
    let account = openssl::pkey::PKey::from_ec_key(client.key.clone()).unwrap();
    let said = client.post(&order.finalize, Some(&csr(&account))).await;
    assert_eq!(said.problem(), "badCSR", "{said:?}");
    let detail = said.json()["detail"].to_string();
    assert!(detail.contains("that of the account"), "{detail}");
    let said = client
        .post(&order.finalize, Some(&csr(&hardware_key().unwrap())))
        .await;
    assert_eq!(said.json()["status"], "valid", "{said:?}");
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let device = store.device(id, DeviceId(1)).await.unwrap().unwrap();
    assert_eq!(device.attested, None);

    // An iPhone 7 cannot: its signed machine information says so, and it gets SCEP.
    let old = Described {
        product: "iPhone9,1".to_owned(),
        os_version: "15.8".to_owned(),
        ..described("DOORB")
    };
    let enrol = house.url("enrol");
    let invited = house.stand_ins.invite(&enrol, &old, 6).await.unwrap();
    assert_eq!(invited.directory_url(), None);
    // Its challenge is no client identifier.
    let said = client.ask(invited.challenge().unwrap()).await;
    assert_eq!(said.problem(), "rejectedIdentifier");
    house.stand_ins.enrol(&enrol, &old, 6).await.unwrap();
    // And a client identifier is no challenge: what is attested cannot be had without.
    let identifier = client_identifier(&house, "DOORA").await;
    let theirs = house.stand_ins.invite(&enrol, &old, 7).await.unwrap();
    let thief = theirs.with_challenge(Some(&identifier));
    let before = identities(&house).await;
    let request = house.stand_ins.request(&thief, 7).await.unwrap();
    let ask = house::Ask {
        path: format!("{}?operation=PKIOperation", house.path("scep")),
        post: true,
        body: request.body().to_vec(),
        ..house::Ask::default()
    };
    let (_, answer) = house.send_raw(ask).await;
    assert!(request.receive(&answer).is_err());
    assert_eq!(identities(&house).await, before);

    // Too late.
    house
        .clock
        .set(Timestamp::from_millis(NOW_MS) + Duration::from_hours(3));
    let late = Client::registered(&house).await;
    assert_eq!(late.ask(&identifier).await.problem(), "rejectedIdentifier");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_begins_too_often_is_stopped_and_an_order_gives_way_to_the_next() {
    let (house, _) = opened(IdentityProtocol::Acme).await;
    let identifier = client_identifier(&house, "DOORA").await;
    let client = Client::registered(&house).await;
    let first = client.order(&identifier).await;
    for _ in 1..20 {
        assert_eq!(client.ask(&identifier).await.status, 201);
    }
    assert_eq!(client.post(&first.url, None).await.problem(), "malformed");
    let said = client.ask(&identifier).await;
    assert_eq!((said.status, said.problem().as_str()), (429, "rateLimited"));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_with_attested_identities_ends_well() {
    let mut rehearsal = Rehearsal::new(6, 3);
    rehearsal.timetable = SOON;
    rehearsal.identities = Identities::AcmeAttested;
    let directory = tempfile::tempdir().unwrap();
    let world = rehearsal.world().await.unwrap();
    let mut options = HouseOptions::default();
    options.identities = rehearsal.identities;
    let stage = Stage::set(world, directory.path(), options).await.unwrap();
    let (wave, blocked) = stage.plan_for(None, &rehearsal.timetable).await.unwrap();
    assert_eq!(blocked, 0);
    stage.play(wave).await.unwrap();
    for row in stage.judge().await.unwrap() {
        assert!(row.disagreements.is_empty(), "{row:#?}");
        assert_eq!(row.outcome, Some(VisibleState::Migrated), "{row:#?}");
    }
    let org = stage.org().await.unwrap();
    let (store, id) = (stage.mdm().store(), org.organisation().id);
    let devices = store.devices(id, DeviceId(0), 100).await.unwrap();
    assert_eq!(devices.len(), 6);
    for device in devices {
        let attested = device.attested.unwrap();
        assert_eq!(attested.serial.as_deref(), Some(device.serial.as_str()));
        let macs = device.facts.product.is_some_and(|p| p.starts_with("Mac"));
        assert_eq!(attested.system_integrity.is_some(), macs);
    }
    stage.strike().await.unwrap();
}

/// A Python that has the public library: the first one in the path, or the system's.
fn python() -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let tried = Command::new(python)
            .args(["-c", "import acme.client, josepy, cryptography"])
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    })
}

/// The public library's way through account, order and finalise; `certificate` at its end.
const PYTHON: &str = include_str!("doors/acme_client.py");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_client_obtains_an_identity() {
    let Some(python) = python() else {
        eprintln!("SKIPPED: there is no Python with the packages acme and cryptography here");
        return;
    };
    let (house, attester) = opened(IdentityProtocol::AcmeAttested).await;
    let identifier = client_identifier(&house, "DOORA").await;
    let key = hardware_key().unwrap();
    let mut asked = json!({
        "directory": house.url("acme/directory"),
        "identifier": identifier,
        "key": String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap(),
    });
    // The first run shows the token, the second the statement that was made for it.
    let run = async |asked: Value| {
        let ran = tokio::task::spawn_blocking(move || {
            let mut child = Command::new(python)
                .args(["-c", PYTHON])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut input = child.stdin.take().unwrap();
            input.write_all(asked.to_string().as_bytes()).unwrap();
            drop(input);
            child.wait_with_output().unwrap()
        });
        let ran = ran.await.unwrap();
        assert!(ran.status.success(), "the public client failed");
        serde_json::from_slice::<Value>(&ran.stdout).unwrap()
    };
    let begun = run(asked.clone()).await;
    let token = begun["token"].as_str().unwrap();
    let made = attester.statement(&claims("DOORA", token), &key).unwrap();
    asked["resume"] = begun.clone();
    asked["statement"] = json!(base64(&made));
    let ended = run(asked).await;
    let chain = X509::stack_from_pem(ended["certificate"].as_str().unwrap().as_bytes()).unwrap();
    assert!(chain[0].public_key().unwrap().public_eq(&key));
    assert_eq!(ended["replayed"], "badNonce", "{ended}");
    assert_eq!(identities(&house).await, 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_leave_no_row_behind() {
    let (house, _) = opened(IdentityProtocol::Acme).await;
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    for _ in 0..20 {
        let stranger = Client::registered(&house).await;
        let unknown = json!({ "identifiers": [{ "type": "permanent-identifier", "value": "x" }] });
        let said = stranger
            .post(&stranger.at("new-order"), Some(&unknown))
            .await;
        assert_eq!(said.problem(), "rejectedIdentifier");
        let own = stranger.account.clone().unwrap();
        assert_eq!(stranger.post(&own, None).await.status, 200);
    }
    let end_of_time = Timestamp::from_millis(NOW_MS + 400 * 86_400_000);
    assert_eq!(store.forget_acme(id, end_of_time, 1_000).await.unwrap(), 0);
    // Who names an enrolment session has a row, and the nonces that led to it.
    let client = Client::registered(&house).await;
    client
        .order(&client_identifier(&house, "DOORA").await)
        .await;
    assert!(store.forget_acme(id, end_of_time, 1_000).await.unwrap() >= 3);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_began_too_often_gets_another_session() {
    let (house, _) = opened(IdentityProtocol::Acme).await;
    let mut newest = String::new();
    for _ in 0..8 {
        newest = client_identifier(&house, "DOORA").await;
    }
    assert_eq!(
        client_identifier(&house, "DOORA").await,
        newest,
        "it has as many as it may"
    );
    let client = Client::registered(&house).await;
    for _ in 0..20 {
        client.order(&newest).await;
    }
    let asked = json!({ "identifiers": [{ "type": "permanent-identifier", "value": newest }] });
    let said = client.post(&client.at("new-order"), Some(&asked)).await;
    assert_eq!(said.problem(), "rateLimited");
    let other = client_identifier(&house, "DOORA").await;
    assert_ne!(other, newest);
    client.order(&other).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_comes_with_the_authority_that_issued_it() {
    let (house, _) = opened(IdentityProtocol::Acme).await;
    let client = Client::registered(&house).await;
    let order = client
        .order(&client_identifier(&house, "DOORA").await)
        .await;
    client.post(&order.challenge, Some(&json!({}))).await;
    let key = hardware_key().unwrap();
    let valid = client.post(&order.finalize, Some(&csr(&key))).await.json();
    house.org.new_authority().await.unwrap();
    let chain = client
        .post(valid["certificate"].as_str().unwrap(), None)
        .await;
    let chain = X509::stack_from_pem(&chain.body).unwrap();
    assert!(chain[0].verify(&chain[1].public_key().unwrap()).unwrap());
    house.close().await;
}
