//! Enrolments beside the plain one: a system that is too old, a profile by download, a push certificate from its request to
//! its renewal, a passcode that is taken away.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use std::time::Duration;

use fixtures::recorded::{CertificateRequest, Invitation, StandIn};
use house::{Ask, House, TOPIC, check_in, described, report};
use mdm_core::attested::AttestedFacts;
use mdm_core::device::Platform;
use mdm_core::evidence::{ReportAsk, WholeReport};
use mdm_core::ids::{CertificateId, Serial};
use mdm_core::organisation::IdentityProtocol;
use mdm_core::service::IdentitySettings;
use mdm_core::store::Batch;
use mdmd::config::Duty;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509Builder, X509NameBuilder, X509Req};
use serde_json::{Value, json};
use tests::{Reply, Request};

async fn api(house: &House, method: &str, path: &str, body: Value) -> Reply {
    let address = house.app.address(Duty::Admin).unwrap();
    let request = Request::new(method, path).by(&house.token);
    request.with(body.to_string()).send(address).await
}

async fn done(house: &House, method: &str, path: &str, body: Value) -> Value {
    let reply = api(house, method, path, body).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

/// A device asks for its profile.
async fn ask(house: &House, can_update: bool, version: &str) -> (u16, String) {
    let mut who = described("DOORA");
    version.clone_into(&mut who.os_version);
    let more: &[&str] = if can_update {
        &["MDM_CAN_REQUEST_SOFTWARE_UPDATE"]
    } else {
        &[]
    };
    let ask = Ask {
        path: house.path("enrol"),
        post: true,
        body: house.stand_ins.machine_info_with(&who, 1, more).unwrap(),
        ..Ask::default()
    };
    house.send(ask).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_that_is_too_old_is_told_to_update_and_every_other_enrols() {
    let house = House::open().await;
    assert_eq!(ask(&house, true, "18.0").await.0, 200);
    let least = json!({ "minimum_os": { "ios": "26.4" } });
    done(&house, "POST", "/api/v1/enrolment", least).await;
    let (status, said) = ask(&house, true, "26.3.9").await;
    assert_eq!(status, 403, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["code"], "com.apple.softwareupdate.required");
    assert_eq!(said["details"]["OSVersion"], "26.4");
    // New enough, or not able to update on request: it enrols.
    assert_eq!(ask(&house, true, "26.4").await.0, 200);
    assert_eq!(ask(&house, false, "18.0").await.0, 200);
    let bad = json!({ "minimum_os": { "ios": "the newest" } });
    assert_eq!(
        api(&house, "POST", "/api/v1/enrolment", bad).await.status,
        400
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invited_device_enrols_by_download_once_and_no_other() {
    let house = House::open().await;
    let invite = async |serial: &str| {
        let made = done(
            &house,
            "POST",
            "/api/v1/invitations",
            json!({ "serial": serial, "unknown": true }),
        )
        .await;
        let page = made["page"].as_str().unwrap().to_owned();
        assert!(page.ends_with(&house.path("download")), "{page}");
        made["code"].as_str().unwrap().to_owned()
    };
    let take = async |code: &str| {
        let ask = Ask {
            path: house.path("download"),
            post: true,
            body: format!("code={code}").into_bytes(),
            ..Ask::default()
        };
        house.send_raw(ask).await
    };
    // Apple has never heard of this one: whoever means it says so, for a mistyped one would be there for good.
    let typo = json!({ "serial": "NEWHERE1" });
    let refused = api(&house, "POST", "/api/v1/invitations", typo).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("--unknown"), "{}", refused.text());
    let shown = api(&house, "GET", "/api/v1/devices/NEWHERE1", Value::Null).await;
    assert_eq!(shown.status, 404);
    let code = invite("NEWHERE1").await;
    assert_eq!(take("guessed").await.0, 403);
    let (status, profile) = take(&code).await;
    assert_eq!(status, 200);
    let (status, said) = take(&code).await;
    assert_eq!(status, 403, "{}", String::from_utf8_lossy(&said));
    let device = house.stand_ins.enrol_by(&profile, 3).await.unwrap();
    // The profile is for this serial number.
    let other = house.signed("checkin", &device, check_in("DOORB", "Authenticate", ""));
    assert_eq!(house.send(other).await.0, 400);
    for message in ["Authenticate", "TokenUpdate"] {
        let body = check_in("NEWHERE1", message, "");
        let (status, said) = house.send(house.signed("checkin", &device, body)).await;
        assert_eq!(status, 200, "{message}: {said}");
    }
    let shown = done(&house, "GET", "/api/v1/devices/NEWHERE1", Value::Null).await;
    assert_eq!(shown["enrollments"][0]["state"], "enrolled");
    // Whoever holds an invitation takes nobody else's place with it.
    let (_, profile) = take(&invite("NEWHERE3").await).await;
    let other = house.stand_ins.enrol_by(&profile, 4).await.unwrap();
    let taking = |message: &str| {
        let body = String::from_utf8(check_in("NEWHERE3", message, "")).unwrap();
        body.replace("UDID-NEWHERE3", "UDID-NEWHERE1").into_bytes()
    };
    for message in ["Authenticate", "TokenUpdate"] {
        let message = house.signed("checkin", &other, taking(message));
        assert_eq!(house.send(message).await.0, 400);
    }
    let idle = house.signed("command", &device, report("NEWHERE1", "Idle", ""));
    assert_eq!(house.send(idle).await.0, 200);
    let shown = done(&house, "GET", "/api/v1/devices/NEWHERE1", Value::Null).await;
    assert_eq!(shown["enrollments"].as_array().unwrap().len(), 1);
    assert_eq!(shown["enrollments"][0]["state"], "enrolled");
    // An invitation ends.
    let late = invite("NEWHERE2").await;
    house.clock.advance(Duration::from_secs(8 * 86_400));
    assert_eq!(take(&late).await.0, 403);
    // Neither log nor record has a code.
    let logged = house::captured().since(0);
    assert!(!logged.contains(&code) && !logged.contains(&late));
    assert!(!house.contents().await.contains(&code));
    house.close().await;
}

/// What Apple's portal makes of a request.
fn certificate(request: &str, topic: &str, days: u32) -> String {
    let request = X509Req::from_pem(request.as_bytes()).unwrap();
    let public = request.public_key().unwrap();
    assert!(request.verify(&public).unwrap(), "a request proves its key");
    let key = PKey::ec_gen("prime256v1").unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::USERID, topic).unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let number = BigNum::from_u32(days).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&number).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&public).unwrap();
    let begin = house::NOW_MS / 1000 - 86_400;
    let end = house::NOW_MS / 1000 + i64::from(days) * 86_400;
    let (begin, end) = (
        Asn1Time::from_unix(begin).unwrap(),
        Asn1Time::from_unix(end).unwrap(),
    );
    builder.set_not_before(&begin).unwrap();
    builder.set_not_after(&end).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate: X509 = builder.build();
    String::from_utf8(certificate.to_pem().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_certificate_is_requested_brought_in_and_renewed_for_its_topic_only() {
    let house = House::open().await;
    let path = "/api/v1/push-certificate";
    let request = async |name: &str| {
        let body = json!({ "name": name, "email": "it@example.com" });
        let made = done(&house, "POST", &format!("{path}/request"), body).await;
        assert!(made.get("key").is_none());
        made["request"].as_str().unwrap().to_owned()
    };
    // It warns already: the certificate of this house ends tomorrow.
    let status = done(&house, "GET", path, Value::Null).await;
    assert_eq!(status["warning"], "ends within 7 days");
    let (first, second) = (request("one").await, request("two").await);
    let status = done(&house, "GET", path, Value::Null).await;
    assert_eq!(status["requests"].as_array().unwrap().len(), 2);
    let bring = async |pem: String| api(&house, "POST", path, json!({ "certificate": pem })).await;
    // Another topic would lose every device.
    let other = bring(certificate(&first, "com.apple.mgmt.External.other", 300)).await;
    assert_eq!(other.status, 409, "{}", other.text());
    assert!(other.text().contains("another topic"));
    // No push certificate at all, one that has ended, one of a key that is not ours.
    let none = bring(certificate(&first, "somebody", 300)).await;
    assert_eq!(none.status, 400, "{}", none.text());
    let foreign = house::stranger("foreign").0;
    let foreign = String::from_utf8(foreign.to_pem().unwrap()).unwrap();
    assert_eq!(bring(foreign).await.status, 400);
    // An earlier request is good as well.
    let renewed = bring(certificate(&first, TOPIC, 300)).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    let status = done(&house, "GET", path, Value::Null).await;
    assert_eq!(
        (&status["topic"], &status["warning"]),
        (&json!(TOPIC), &Value::Null)
    );
    // The other one still waits for its answer.
    assert_eq!(status["requests"].as_array().unwrap().len(), 1);
    let again = bring(certificate(&second, TOPIC, 20)).await;
    assert_eq!(again.status, 200, "{}", again.text());
    let status = done(&house, "GET", path, Value::Null).await;
    assert_eq!(status["warning"], "ends within 30 days");
    assert_eq!(status["requests"], json!([]));
    // The same key once more, for which nothing waits.
    let once_more = bring(certificate(&second, TOPIC, 40)).await;
    assert_eq!(once_more.status, 200, "{}", once_more.text());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passcode_is_taken_away_with_the_token_that_the_device_gave() {
    let house = House::open().await;
    let device = house.enrolled().await;
    let path = format!("/api/v1/devices/{}/clear-passcode", house.serial);
    let without = api(&house, "POST", &path, json!({})).await;
    assert_eq!(without.status, 409, "{}", without.text());
    let more = "<key>UnlockToken</key><data>aHVudGVyMg==</data>";
    let body = check_in(house.serial, "TokenUpdate", more);
    assert_eq!(
        house.send(house.signed("checkin", &device, body)).await.0,
        200
    );
    let uuid = done(&house, "POST", &path, json!({})).await["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut last = String::new();
    for _ in 0..40 {
        let (_, said) = house.send(house.idle(&device)).await;
        last = said;
        if last.contains(&uuid) {
            break;
        }
        let (_, rest) = last.split_once("<key>CommandUUID</key>").expect("it comes");
        let (_, rest) = rest.split_once("<string>").unwrap();
        let other = rest.split_once("</string>").unwrap().0;
        let more = format!("<key>CommandUUID</key><string>{other}</string>");
        let answer = house::report(house.serial, "Acknowledged", &more);
        house.send(house.signed("command", &device, answer)).await;
    }
    assert!(
        last.contains("ClearPasscode") && last.contains("aHVudGVyMg=="),
        "{last}"
    );
    let path = format!("/api/v1/devices/{}/commands/{uuid}", house.serial);
    let shown = api(&house, "GET", &path, Value::Null).await;
    assert!(!shown.text().contains("aHVudGVyMg"));
    // What happened to it comes whole, and a page at a time.
    let path = format!("/api/v1/devices/{}", house.serial);
    let whole = done(&house, "GET", &path, Value::Null).await;
    let whole = whole["timeline"].as_array().unwrap();
    assert!(whole.len() > 3, "{whole:?}");
    let (mut paged, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let path = format!("{path}/timeline?limit=2&after={after}");
        let page = done(&house, "GET", &path, Value::Null).await;
        let entries = page["timeline"].as_array().unwrap();
        assert!(entries.len() <= 2);
        paged.extend(entries.iter().cloned());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(paged, *whole);
    house.close().await;
}

/// Sends a certificate request; the certificate, or why there is none.
/// A device that enrolled by SCEP: what it was invited with, and itself.
async fn enrolled(house: &House) -> (Invitation, StandIn) {
    let invitation = house
        .stand_ins
        .invite(&house.url("enrol"), &described("DOORA"), 1)
        .await
        .unwrap();
    let request = house.stand_ins.request(&invitation, 1).await.unwrap();
    let device = certificate_for(house, &request).await.unwrap();
    for message in ["Authenticate", "TokenUpdate"] {
        let body = check_in("DOORA", message, "");
        let (status, said) = house.send(house.signed("checkin", &device, body)).await;
        assert_eq!(status, 200, "{said}");
    }
    (invitation, device)
}

async fn certificate_for(house: &House, request: &CertificateRequest) -> Result<StandIn, String> {
    let ask = Ask {
        path: format!("{}?operation=PKIOperation", house.path("scep")),
        post: true,
        body: request.body().to_vec(),
        ..Ask::default()
    };
    let (status, answer) = house.send_raw(ask).await;
    assert_eq!(
        status, 200,
        "a request that can be read is answered as SCEP says"
    );
    request.receive(&answer).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_code_of_an_invitation_is_no_challenge() {
    let house = House::open().await;
    let body = json!({ "serial": "NEWHERE4", "unknown": true });
    let made = done(&house, "POST", "/api/v1/invitations", body).await;
    let code = made["code"].as_str().unwrap();
    let own = house
        .stand_ins
        .invite(&house.url("enrol"), &described("DOORA"), 5)
        .await
        .unwrap();
    for word in [
        code.to_owned(),
        format!("invitation {code}"),
        format!("invitation:{code}"),
    ] {
        let invitation = own.with_challenge(Some(&word));
        let request = house.stand_ins.request(&invitation, 5).await.unwrap();
        let why = certificate_for(&house, &request).await.unwrap_err();
        assert!(why.contains("refused"), "{word}: {why}");
    }
    // It is still good for what it is.
    let ask = Ask {
        path: house.path("download"),
        post: true,
        body: format!("code={code}").into_bytes(),
        ..Ask::default()
    };
    assert_eq!(house.send(ask).await.0, 200);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_invited_by_serial_number_must_name_it() {
    let house = House::open().await;
    let body = json!({ "serial": "NEWHERE5", "unknown": true });
    let made = done(&house, "POST", "/api/v1/invitations", body).await;
    let code = made["code"].as_str().unwrap();
    let ask = Ask {
        path: house.path("download"),
        post: true,
        body: format!("code={code}").into_bytes(),
        ..Ask::default()
    };
    let (_, profile) = house.send_raw(ask).await;
    let device = house.stand_ins.enrol_by(&profile, 3).await.unwrap();
    let named = check_in("NEWHERE5", "Authenticate", "");
    let silent = String::from_utf8(named.clone())
        .unwrap()
        .replace("<key>SerialNumber</key><string>NEWHERE5</string>", "");
    let silent = house.signed("checkin", &device, silent.into_bytes());
    let (status, said) = house.send(silent).await;
    assert_eq!(status, 400, "{said}");
    assert!(said.starts_with("Authenticate: SerialNumber"), "{said}");
    let (status, said) = house.send(house.signed("checkin", &device, named)).await;
    assert_eq!(status, 200, "{said}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_has_only_so_many_renewals_in_a_week() {
    let house = House::open().await;
    let (invitation, device) = enrolled(&house).await;
    let renew = async |number: u64| {
        let stand_ins = &house.stand_ins;
        let request = stand_ins.renewal(&invitation, &device, number).await;
        let request = request.unwrap();
        let done = certificate_for(&house, &request).await;
        (request, done)
    };
    let mut first = None;
    for number in 10..18 {
        let (request, done) = renew(number).await;
        done.unwrap();
        first.get_or_insert(request);
    }
    let (_, done) = renew(18).await;
    let why = done.unwrap_err();
    // badRequest: not now, rather than never.
    assert!(why.contains("failInfo 2"), "{why}");
    // Who did not hear an answer may still ask for it again.
    certificate_for(&house, &first.unwrap()).await.unwrap();
    let shown = done_get(&house, "/api/v1/refusals").await;
    let told = &shown["refusals"][0];
    assert_eq!(told["serial"], "DOORA");
    assert!(
        told["reason"].as_str().unwrap().contains("renewals"),
        "{told}"
    );
    house.clock.advance(Duration::from_secs(7 * 86_400));
    // Granted: the stand-in, whose clock stands still, finds it not valid yet.
    let why = renew(19).await.1.unwrap_err();
    assert!(why.contains("not valid now"), "{why}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_by_scep_gets_nobody_around_an_attestation() {
    let house = House::open().await;
    let (invitation, device) = enrolled(&house).await;
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let all = async || store.certificates(id, CertificateId(0), 100).await.unwrap();
    let renew = async |number: u64| {
        let request = house.stand_ins.renewal(&invitation, &device, number).await;
        certificate_for(&house, &request.unwrap()).await
    };
    renew(10).await.unwrap();
    let before = all().await.len();
    let refused = async |number: u64, case: &str| {
        let why = renew(number).await.unwrap_err();
        assert!(why.contains("failInfo 2"), "{case}: {why}");
        assert_eq!(all().await.len(), before, "{case}");
        let shown = done_get(&house, "/api/v1/refusals").await;
        assert!(shown.to_string().contains("obtained by ACME"), "{shown}");
    };
    // The identity that signs was attested.
    let row = all().await.remove(0);
    let mut attested = row.clone();
    attested.attested = Some(AttestedFacts::new(house.app.mdm.now(), "root".to_owned()));
    let mut batch = Batch::new();
    batch.put(attested);
    store.commit(batch).await.unwrap();
    refused(11, "attested").await;
    // It came by ACME, though nothing was attested.
    let mut row = all().await.remove(0);
    row.attested = None;
    let mut session = store.session(id, row.session).await.unwrap().unwrap();
    session.protocol = IdentityProtocol::Acme;
    let mut batch = Batch::new();
    batch.put(row.clone()).put(session);
    store.commit(batch).await.unwrap();
    refused(12, "by ACME").await;
    // It came by SCEP, and now the organisation demands more.
    let mut session = store.session(id, row.session).await.unwrap().unwrap();
    session.protocol = IdentityProtocol::Scep;
    let mut batch = Batch::new();
    batch.put(session);
    store.commit(batch).await.unwrap();
    renew(13).await.unwrap();
    let before = all().await.len();
    let mut change = IdentitySettings::default();
    let demanded = IdentityProtocol::AcmeAttested;
    change.identity_protocol.insert(Platform::Ios, demanded);
    house.org.set_identities(change).await.unwrap();
    assert!(renew(14).await.is_err());
    assert_eq!(all().await.len(), before);
    house.close().await;
}

async fn done_get(house: &House, path: &str) -> Value {
    done(house, "GET", path, Value::Null).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_often_gets_the_newest_again_but_none_that_is_nearly_over() {
    let house = House::open().await;
    let challenge = async || {
        let (status, profile) = ask(&house, false, "26.4").await;
        assert_eq!(status, 200, "{profile}");
        let (_, rest) = profile.split_once("<key>Challenge</key>").unwrap();
        let (_, rest) = rest.split_once("<string>").unwrap();
        rest.split_once("</string>").unwrap().0.to_owned()
    };
    let mut given = Vec::new();
    for _ in 0..8 {
        given.push(challenge().await);
        house.clock.advance(Duration::from_secs(1));
    }
    let different: std::collections::BTreeSet<_> = given.iter().collect();
    assert_eq!(different.len(), 8);
    let newest = &given[7];
    assert_eq!(&challenge().await, newest);
    // Sessions live for two hours: an hour later it is good for another one.
    house.clock.advance(Duration::from_mins(60));
    assert_eq!(&challenge().await, newest);
    house.clock.advance(Duration::from_mins(55));
    let fresh = challenge().await;
    assert!(!given.contains(&fresh));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_no_list_that_asks_is_found_by_its_serial_number() {
    let house = House::open().await;
    // One that nobody has assigned to us, and one that somebody has taken away from us.
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let taken = Serial::parse("DOORB").unwrap();
    let mut row = store.device_by_serial(id, &taken).await.unwrap().unwrap();
    row.record.as_mut().unwrap().gone = true;
    let mut batch = Batch::new();
    batch.put(row);
    store.commit(batch).await.unwrap();
    for serial in ["STRANGER", "STRANGER", "DOORB"] {
        let ask = Ask {
            path: house.path("enrol"),
            post: true,
            body: house
                .stand_ins
                .machine_info_with(&described(serial), 1, &[])
                .unwrap(),
            ..Ask::default()
        };
        let (status, said) = house.send(ask).await;
        assert_eq!(status, 403, "{serial}: {said}");
        house.clock.advance(Duration::from_secs(60));
    }
    let mut report = WholeReport::default();
    let wanted = ReportAsk::Unheard { days: 7 };
    house.org.report_to(&wanted, &mut report).await.unwrap();
    let of = |serial: &str| {
        let serials = report.column("serial");
        let rows = serials.iter().enumerate().filter(|(_, s)| **s == serial);
        let rows: Vec<usize> = rows.map(|(at, _)| at).collect();
        assert_eq!(rows.len(), 1, "{serial}: {:?}", report.rows);
        let columns = report.head.as_ref().unwrap().columns.iter();
        let row = columns.map(|name| ((*name).to_owned(), report.column(name)[rows[0]].clone()));
        Value::Object(row.collect())
    };
    let stranger = of("STRANGER");
    assert_eq!(stranger["kind"], "refused");
    assert_eq!(stranger["known"], false, "{stranger}");
    assert_eq!(stranger["how often"], 2);
    assert_eq!(stranger["door"], "enrol");
    assert_eq!(stranger["address"], "127.0.0.1");
    assert_eq!(stranger["age s"], 120);
    let next = stranger["next action"].as_str().unwrap();
    assert!(
        next.starts_with("assign the device to this service"),
        "{next}"
    );
    let known = of("DOORB");
    assert_eq!(known["known"], true, "{known}");
    let next = known["next action"].as_str().unwrap();
    assert!(next.starts_with("mend what the reason names"), "{next}");
    house.close().await;
}
