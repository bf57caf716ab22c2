//! Bad input at every door of a real server: a clear 4xx, a log line that names the field and repeats nothing, nothing stored
//! but a record of the refusal, and the next good request is served.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of two organisations")]
mod house;

use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use der::{Any, Decode as _, Encode as _};
use fixtures::recorded::{StandIn, StandIns};
use house::{Ask, House, MARKER, NOW_MS, captured, check_in, described, plist, report, stranger};
use mdm_core::ids::{AuditId, OrganisationCode, Serial};
use openssl::cms::{CMSOptions, CmsContentInfo};

/// Sends what must be refused and looks at everything that it could have left behind.
async fn refused(house: &House, good: &StandIn, case: &str, ask: Ask, status: u16, sentence: &str) {
    let (before, mark) = (house.contents().await, captured().mark());
    let code = ask.path.split('/').nth(2).unwrap();
    let code = OrganisationCode::parse(code).unwrap();
    let asked = house.app.mdm.organisation(&code).await.unwrap();
    let organisation = asked.organisation().id;
    let store = house.app.mdm.store();
    let recorded = store.refusals(organisation, 1000).await.unwrap().len();
    let door = ask.path.clone();
    let (answered, said) = house.send(ask).await;
    assert_eq!(answered, status, "{case}: {said}");
    assert!(said.contains(sentence), "{case}: {said}");
    let logged = captured().since(mark);
    assert!(
        logged
            .lines()
            .any(|l| l.contains("refused") && l.contains(sentence)),
        "{case}: {logged}"
    );
    assert!(
        !said.contains(MARKER) && !logged.contains(MARKER),
        "{case} repeats content"
    );
    assert_eq!(house.contents().await, before, "{case} left something");
    let records = store.refusals(organisation, 1000).await.unwrap();
    assert!(
        records.iter().all(|r| !r.reason.contains(MARKER)),
        "{case} is recorded with content"
    );
    assert!(records.len() > recorded, "{case} is not recorded");
    let newest = &records[0];
    assert!(
        door.contains(&newest.door) && newest.reason.contains(sentence),
        "{case}: recorded as {newest:?}"
    );
    assert_eq!(newest.address, "127.0.0.1", "{case}");
    let (next, _) = house.send(house.idle(good)).await;
    assert_eq!(next, 200, "after {case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_machine_information_does_not_fill_the_database() {
    let house = House::open().await;
    let body = house
        .stand_ins
        .machine_info(&described("DOORB"), 2)
        .unwrap();
    let id = house.org.organisation().id;
    let serial = Serial::parse("DOORB").unwrap();
    let (mut entries, mut first) = (Vec::new(), None);
    for _ in 0..30 {
        let ask = Ask {
            path: house.path("enrol"),
            post: true,
            body: body.clone(),
            ..Ask::default()
        };
        assert_eq!(house.send(ask).await.0, 200);
        let store = house.app.mdm.store();
        let device = store.device_by_serial(id, &serial).await.unwrap().unwrap();
        assert!(device.invitations.len() <= 8, "{:?}", device.invitations);
        entries.push(store.audit(id, AuditId(0), 1000).await.unwrap().len());
        if let Some(first) = &first {
            let again = store.session(id, device.invitations[0]).await.unwrap();
            assert_eq!(&again, first, "the challenge of a device was taken from it");
        } else {
            first = Some(store.session(id, device.invitations[0]).await.unwrap());
        }
    }
    assert_eq!(
        entries[29], entries[7],
        "the record grows with each of them"
    );
    // The device itself is served all the same.
    house.invited("DOORB", 2).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_is_read_only_from_whom_we_can_know() {
    let house = House::open().await;
    let device = house.enrolled().await;
    let much = format!("<key>X</key><string>{}</string>", "x".repeat(80 * 1024));
    let many = "<true/>".repeat(300_001);
    let many = plist(&format!("<key>X</key><array>{many}</array>"));
    let foreign = stranger("UDID-DOORA");
    for door in ["checkin", "command"] {
        let body = match door {
            "checkin" => check_in("DOORA", "TokenUpdate", &much),
            _ => report("DOORA", "Idle", &much),
        };
        // Before the end of its body: what is announced is not waited for.
        let mut nobody = house.signed(door, &device, body.clone());
        nobody.headers = Vec::new();
        nobody.body = Vec::new();
        nobody.announced = Some(body.len());
        refused(
            &house,
            &device,
            "nobody",
            nobody.clone(),
            400,
            "identity: neither",
        )
        .await;
        nobody.certificate = Some(foreign.clone());
        let sentence = "identity: the client certificate was not issued";
        refused(&house, &device, "a stranger", nobody, 400, sentence).await;
        // The same from the device itself is read.
        let (status, said) = house.send(house.signed(door, &device, body)).await;
        assert_eq!(status, 200, "{said}");
    }
    house.close().await;
    // And of what is read, no more elements than anybody can mean.
    let error = mdm_core::wire::plist::read(&many, many.len()).unwrap_err();
    assert!(error.to_string().contains("300000 elements"), "{error}");
}

/// Served, and nothing is different afterwards.
async fn noise(house: &House, case: &str, ask: Ask) -> String {
    let before = house.contents().await;
    let (status, said) = house.send(ask).await;
    assert_eq!(status, 200, "{case}: {said}");
    assert_eq!(house.contents().await, before, "{case} changed something");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_cannot_be_read_are_refused_at_both_doors() {
    let house = House::open().await;
    let device = house.enrolled().await;
    let nested = format!(
        "{}{MARKER}{}",
        "<array>".repeat(5000),
        "</array>".repeat(5000)
    );
    let entity = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE plist [<!ENTITY a \"{MARKER}\">]><plist><dict><key>UDID</key><string>&a;</string></dict></plist>"
    );
    let cdata = plist(&format!(
        "<key>UDID</key><string><![CDATA[{MARKER}]]></string>"
    ));
    for door in ["checkin", "command"] {
        let good = match door {
            "checkin" => check_in(
                "DOORA",
                "TokenUpdate",
                &format!("<key>X</key><string>{MARKER}</string>"),
            ),
            _ => report(
                "DOORA",
                "Idle",
                &format!("<key>X</key><string>{MARKER}</string>"),
            ),
        };
        let mut oversized = good.clone();
        oversized.resize(256 * 1024 + 1, b' ');
        let bodies: Vec<(&str, Vec<u8>, u16, &str)> = vec![
            ("empty", Vec::new(), 400, "the body is empty"),
            (
                "truncated",
                good[..good.len() - 20].to_vec(),
                400,
                "body: the property list is malformed",
            ),
            ("oversized", oversized, 413, "body: must be at most"),
            (
                "nested",
                plist(&format!("<key>X</key>{nested}")),
                400,
                "nested deeper than 64 levels",
            ),
            (
                "binary",
                [b"bplist00".as_slice(), MARKER.as_bytes()].concat(),
                400,
                "binary property lists are not read",
            ),
            (
                "ASCII",
                format!("{{ UDID = \"{MARKER}\"; }}").into_bytes(),
                400,
                "ASCII property lists are not read",
            ),
            ("entity", entity.clone().into_bytes(), 400, "body: "),
            ("CDATA", cdata.clone(), 400, "CDATA sections are not read"),
            (
                "no plist",
                format!("GIF89a {MARKER}").into_bytes(),
                400,
                "body: ",
            ),
            (
                "no text",
                [&[0xff, 0xfe, 0x00], MARKER.as_bytes()].concat(),
                400,
                "body: ",
            ),
        ];
        for (name, body, status, sentence) in bodies {
            let case = format!("{name} at {door}");
            let ask = house.signed(door, &device, body);
            refused(&house, &device, &case, ask, status, sentence).await;
        }
    }
    let marked = format!("<key>X</key><string>{MARKER}</string>");
    for (body, sentence) in [
        (check_in("DOORA", MARKER, ""), "unknown MessageType"),
        (plist(&marked), "MessageType is missing"),
        (
            check_in(
                "DOORA",
                "TokenUpdate",
                "<key>Token</key><string>c0ffeemarkerc0ffee</string>",
            ),
            "TokenUpdate: Token is not of type data",
        ),
        (
            check_in("DOORA", "TokenUpdate", "<key>Token</key><data></data>"),
            "TokenUpdate: Token is empty",
        ),
        (
            check_in(
                "DOORA",
                "Authenticate",
                "<key>Topic</key><string>c0ffeemarkerc0ffee</string>",
            ),
            "Authenticate: Topic",
        ),
        (
            check_in(
                "DOORA",
                "GetToken",
                "<key>TokenServiceType</key><string>c0ffeemarkerc0ffee</string>",
            ),
            "GetToken: TokenServiceType",
        ),
        (
            check_in(
                "DOORA",
                "DeclarativeManagement",
                "<key>Endpoint</key><string>c0ffeemarkerc0ffee</string>",
            ),
            "DeclarativeManagement: Endpoint",
        ),
    ] {
        let ask = house.signed("checkin", &device, body);
        refused(&house, &device, sentence, ask, 400, sentence).await;
    }
    for (status, more, sentence) in [
        (MARKER, "", "unknown Status"),
        ("Acknowledged", marked.as_str(), "CommandUUID is missing"),
    ] {
        let ask = house.signed("command", &device, report("DOORA", status, more));
        refused(&house, &device, sentence, ask, 400, sentence).await;
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_for_a_device_but_itself() {
    let house = House::open().await;
    let device = house.enrolled().await;
    let other = house.invited("DOORB", 2).await;
    let foreign = stranger("UDID-DOORA");
    let foreign_signature = |body: &[u8]| {
        let flags = CMSOptions::DETACHED | CMSOptions::BINARY;
        CmsContentInfo::sign(Some(&foreign.0), Some(&foreign.1), None, Some(body), flags)
            .and_then(|cms| cms.to_der())
            .map(|der| openssl::base64::encode_block(&der))
            .unwrap()
    };
    for (door, body) in [
        ("checkin", check_in("DOORA", "CheckOut", "")),
        ("checkin", check_in("DOORA", "GetBootstrapToken", "")),
        ("command", report("DOORA", "Idle", "")),
    ] {
        let bare = Ask {
            path: house.path(door),
            body: body.clone(),
            ..Ask::default()
        };
        let mut asks = vec![("no identity", bare.clone(), "identity: neither")];
        let mut altered = house.signed(door, &device, body.clone());
        altered.body.push(b'\n');
        asks.push((
            "wrong signature",
            altered,
            "Mdm-Signature: the signature does not verify",
        ));
        let mut unreadable = bare.clone();
        unreadable.headers = vec![("Mdm-Signature", format!("!{MARKER}"))];
        asks.push((
            "no base64",
            unreadable,
            "Mdm-Signature: the signature is not base64",
        ));
        let mut odd = bare.clone();
        odd.headers = vec![("Mdm-Signature", "\u{e9}".to_owned())];
        asks.push(("no ASCII", odd, "Mdm-Signature: must be base64"));
        let mut signed = bare.clone();
        signed.headers = vec![("Mdm-Signature", foreign_signature(&body))];
        asks.push((
            "foreign signer",
            signed,
            "identity: the client certificate was not issued",
        ));
        let mut shown = bare.clone();
        shown.certificate = Some(foreign.clone());
        asks.push((
            "foreign certificate",
            shown,
            "identity: the client certificate was not issued",
        ));
        asks.push((
            "another device",
            house.signed(door, &other, body),
            "this certificate does not speak for this device",
        ));
        for (case, ask, sentence) in asks {
            refused(
                &house,
                &device,
                &format!("{case} at {door}"),
                ask,
                400,
                sentence,
            )
            .await;
        }
    }
    for (case, message, serial, sentence) in [
        (
            "its Authenticate by another",
            "Authenticate",
            "DOORA",
            "Authenticate: SerialNumber",
        ),
        (
            "its TokenUpdate by another",
            "TokenUpdate",
            "DOORA",
            "has not authenticated with this certificate",
        ),
        (
            "TokenUpdate before Authenticate",
            "TokenUpdate",
            "DOORB",
            "has not authenticated with this certificate",
        ),
    ] {
        let ask = house.signed("checkin", &other, check_in(serial, message, ""));
        refused(&house, &device, case, ask, 400, sentence).await;
    }
    // One certificate is one channel, however its identifier is spelt.
    let text = String::from_utf8(check_in("DOORA", "Authenticate", "")).unwrap();
    let spelt = text.replace("UDID-DOORA", "udid-doora").into_bytes();
    let ask = house.signed("checkin", &device, spelt);
    refused(
        &house,
        &device,
        "another spelling",
        ask,
        400,
        "another spelling of this UDID",
    )
    .await;
    // Another organisation's path is another organisation.
    let elsewhere = house
        .app
        .mdm
        .create_organisation("Elsewhere", Vec::new())
        .await
        .unwrap();
    let mut ask = house.idle(&device);
    ask.path = format!("/mdm/{}/command", elsewhere.org.organisation().code);
    refused(
        &house,
        &device,
        "another organisation",
        ask,
        400,
        "identity: the client certificate was not issued",
    )
    .await;
    house.close().await;
}

/// One message with the signers and certificates of two.
fn merged(one: &[u8], two: &[u8]) -> Vec<u8> {
    let read = |der: &[u8]| {
        let info = ContentInfo::from_der(der).unwrap();
        info.content.decode_as::<SignedData>().unwrap()
    };
    let (mut all, more) = (read(one), read(two));
    for signer in more.signer_infos.0.into_vec() {
        all.signer_infos.0.insert(signer).unwrap();
    }
    let certificates = &mut all.certificates.as_mut().unwrap().0;
    for certificate in more.certificates.unwrap().0.into_vec() {
        let _ = certificates.insert(certificate);
    }
    let info = ContentInfo {
        content_type: der::oid::db::rfc5911::ID_SIGNED_DATA,
        content: Any::encode_from(&all).unwrap(),
    };
    info.to_der().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machine_information_is_believed_under_our_device_authorities_only() {
    let house = House::open().await;
    let device = house.enrolled().await;
    let who = described("DOORB");
    let namesake = StandIns::new(Vec::new(), NOW_MS).unwrap();
    let ours = house.stand_ins.machine_info(&who, 2).unwrap();
    let unsigned = plist(
        "<key>SERIAL</key><string>DOORB</string><key>UDID</key><string>c0ffeemarkerc0ffee</string><key>PRODUCT</key><string>x</string>",
    );
    let (certificate, key) = stranger("UDID-DOORB");
    let by_stranger = CmsContentInfo::sign(
        Some(&certificate),
        Some(&key),
        None,
        Some(&unsigned),
        CMSOptions::BINARY,
    )
    .and_then(|cms| cms.to_der())
    .unwrap();
    let mut altered = ours.clone();
    let at = altered.windows(5).position(|w| w == b"DOORB").unwrap();
    altered[at + 4] = b'A';
    let two = merged(&ours, &house.stand_ins.machine_info(&who, 3).unwrap());
    let unknown = house
        .stand_ins
        .machine_info(&described("STRANGER1"), 2)
        .unwrap();
    for (case, body, status, sentence) in [
        ("unsigned", unsigned, 400, "MachineInfo: "),
        (
            "truncated",
            ours[..ours.len() / 2].to_vec(),
            400,
            "MachineInfo: ",
        ),
        ("altered", altered, 400, "the signature does not verify"),
        ("another CA", by_stranger, 400, "MachineInfo: "),
        (
            "another CA of the same name",
            namesake.machine_info(&who, 2).unwrap(),
            400,
            "MachineInfo: ",
        ),
        (
            "two signers",
            two,
            400,
            "the message must have exactly one signer",
        ),
        (
            "not our serial number",
            unknown,
            403,
            "not in the organisation's device list",
        ),
    ] {
        let ask = Ask {
            path: house.path("enrol"),
            post: true,
            body,
            ..Ask::default()
        };
        refused(&house, &device, case, ask, status, sentence).await;
        let id = house.org.organisation().id;
        let newest = house
            .app
            .mdm
            .store()
            .refusals(id, 1)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(newest.door, "enrol", "{case}");
        let proved = newest.serial.map(|s| s.as_str().to_owned());
        let expected = (status == 403).then(|| "STRANGER1".to_owned());
        assert_eq!(proved, expected, "{case}");
    }
    house.invited("DOORB", 2).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_issued_for_an_unused_challenge_of_ours_only() {
    let house = House::open().await;
    let device = house.enrolled().await;
    let enrol = house.url("enrol");
    let invitation = house
        .stand_ins
        .invite(&enrol, &described("DOORB"), 2)
        .await
        .unwrap();
    let post = |body: &[u8]| Ask {
        path: format!("{}?operation=PKIOperation", house.path("scep")),
        post: true,
        body: body.to_vec(),
        ..Ask::default()
    };
    let first = house.stand_ins.request(&invitation, 2).await.unwrap();
    for (case, asked) in [
        ("no challenge", invitation.with_challenge(None)),
        ("wrong challenge", invitation.with_challenge(Some(MARKER))),
    ] {
        let request = house.stand_ins.request(&asked, 2).await.unwrap();
        refused_by_scep(&house, case, post(request.body()), &request).await;
    }
    let (status, answer) = house.send_raw(post(first.body())).await;
    assert_eq!(status, 200);
    let granted = first.receive(&answer).unwrap();
    // The same request again did not hear the answer: the same certificate, and no second one.
    let before = house.contents().await;
    let (_, answer) = house.send_raw(post(first.body())).await;
    let again = first.receive(&answer).unwrap();
    assert_eq!(again.certificate().unwrap(), granted.certificate().unwrap());
    assert_eq!(house.contents().await, before);
    let thief = house.stand_ins.request(&invitation, 3).await.unwrap();
    refused_by_scep(&house, "used challenge", post(thief.body()), &thief).await;
    let broken = first.body()[..200].to_vec();
    for (case, body) in [
        ("truncated", broken),
        ("noise", MARKER.into()),
        ("empty", Vec::new()),
    ] {
        refused(&house, &device, case, post(&body), 400, "SCEP message: ").await;
    }
    let mut unknown = post(b"");
    unknown.path = format!("{}?operation={MARKER}", house.path("scep"));
    refused(
        &house,
        &device,
        "unknown operation",
        unknown,
        400,
        "operation: must be",
    )
    .await;
    house.close().await;
}

async fn refused_by_scep(
    house: &House,
    case: &str,
    ask: Ask,
    request: &fixtures::recorded::CertificateRequest,
) {
    let (before, mark) = (house.contents().await, captured().mark());
    let (status, answer) = house.send_raw(ask).await;
    assert_eq!(status, 200, "{case}");
    let why = request.receive(&answer).unwrap_err().to_string();
    assert!(
        why.contains("the authority refused (failInfo "),
        "{case}: {why}"
    );
    assert_eq!(house.contents().await, before, "{case} issued something");
    let logged = captured().since(mark);
    assert!(
        logged.contains("challenge") && !logged.contains(MARKER),
        "{case}: {logged}"
    );
    let id = house.org.organisation().id;
    let newest = house
        .app
        .mdm
        .store()
        .refusals(id, 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(newest.door, "scep", "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_out_of_turn_change_nothing() {
    let house = House::open().await;
    let device = house.enrolled().await;
    let say = |message: &str| house.signed("checkin", &device, check_in("DOORA", message, ""));
    noise(&house, "Authenticate again", say("Authenticate")).await;
    noise(&house, "TokenUpdate again", say("TokenUpdate")).await;
    let unknown = report(
        "DOORA",
        "Acknowledged",
        "<key>CommandUUID</key><string>unknown</string>",
    );
    let said = noise(
        &house,
        "report of an unknown command",
        house.signed("command", &device, unknown.clone()),
    )
    .await;
    assert!(
        said.contains("CommandUUID"),
        "the next command comes all the same"
    );
    let (status, _) = house.send(say("CheckOut")).await;
    assert_eq!(status, 200);
    noise(&house, "CheckOut again", say("CheckOut")).await;
    noise(&house, "Authenticate after CheckOut", say("Authenticate")).await;
    let said = noise(&house, "Idle after CheckOut", house.idle(&device)).await;
    assert_eq!(said, "", "nothing is delivered after CheckOut");
    noise(
        &house,
        "report after CheckOut",
        house.signed("command", &device, unknown),
    )
    .await;
    for message in ["SetBootstrapToken", "GetBootstrapToken", "UserAuthenticate"] {
        let case = format!("{message} after CheckOut");
        refused(
            &house,
            &device,
            &case,
            say(message),
            400,
            "this device is not enrolled",
        )
        .await;
    }
    house.close().await;
}
