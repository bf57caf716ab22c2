//! The doors of devices: a device of one organisation, its file, its package, its invitation and its challenge are nothing at the other.

use std::time::Duration;

use mdm_core::ids::Serial;
use mdmd::app::App;
use mdmd::config::Duty;
use serde_json::Value;
use tests::Request;

use super::house::{Ask, House, check_in, described, report};
use super::{
    OURS, THEIRS, acme, ask, both_ways, command_of, file_of, marks, refused, tells_nothing, two,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_one_organisation_gets_nothing_at_the_other() {
    let (ours, theirs) = two().await;
    let (device, other) = (ours.enrolled().await, theirs.enrolled().await);
    let uuid = command_of(&theirs).await;
    for (method, path) in App::device_routes() {
        match (method, path) {
            ("put", "/mdm/{org}/checkin") => {
                for serial in [OURS[0], THEIRS[0], THEIRS[1]] {
                    for message in [
                        "Authenticate",
                        "TokenUpdate",
                        "CheckOut",
                        "GetBootstrapToken",
                    ] {
                        let body = check_in(serial, message, "");
                        for ask in both_ways(&theirs, "checkin", &device, body) {
                            let case = format!("{message} of {serial} with a foreign certificate");
                            refused(&case, &theirs, &ours, ask).await;
                        }
                    }
                }
                // At home, in the name of a neighbour.
                let body = check_in(THEIRS[0], "TokenUpdate", "");
                for ask in both_ways(&ours, "checkin", &device, body) {
                    refused("TokenUpdate for a neighbour", &ours, &theirs, ask).await;
                }
            }
            ("put", "/mdm/{org}/command") => {
                let answer = format!("<key>CommandUUID</key><string>{uuid}</string>");
                for serial in [OURS[0], THEIRS[0]] {
                    for (status, more) in [("Idle", ""), ("Acknowledged", answer.as_str())] {
                        let body = report(serial, status, more);
                        for ask in both_ways(&theirs, "command", &device, body) {
                            let case = format!("{status} of {serial} with a foreign certificate");
                            refused(&case, &theirs, &ours, ask).await;
                        }
                    }
                }
                let body = report(THEIRS[0], "Idle", "");
                for ask in both_ways(&ours, "command", &device, body) {
                    refused("Idle for a neighbour", &ours, &theirs, ask).await;
                }
                // A check-in is one by its content type, whatever its path.
                let body = check_in(OURS[0], "Authenticate", "");
                let mut ask = theirs.signed("command", &device, body);
                let check_in_type = "application/x-apple-aspen-mdm-checkin".to_owned();
                ask.headers.push(("Content-Type", check_in_type));
                refused("a check-in at the other door", &theirs, &ours, ask).await;
            }
            ("post", "/mdm/{org}/enrol") => {
                for (case, by, serial) in [
                    ("a foreign device CA", &ours, THEIRS[1]),
                    ("a foreign device", &ours, OURS[1]),
                    ("a foreign serial number", &theirs, OURS[1]),
                ] {
                    let ask = Ask {
                        path: theirs.path("enrol"),
                        post: true,
                        body: by.stand_ins.machine_info(&described(serial), 2).unwrap(),
                        ..Ask::default()
                    };
                    refused(case, &theirs, &ours, ask).await;
                }
            }
            // A page that is the same for everybody.
            ("get", "/mdm/{org}/download") => {}
            ("post", "/mdm/{org}/download") => {
                let serial = Serial::parse(OURS[1]).unwrap();
                let made = ours.org.invite(&serial, Duration::from_secs(600)).await;
                let code = made.unwrap().code.expose_text().unwrap().to_owned();
                let ask = |house: &House| Ask {
                    path: house.path("download"),
                    post: true,
                    body: format!("code={code}").into_bytes(),
                    ..Ask::default()
                };
                refused("a foreign invitation", &theirs, &ours, ask(&theirs)).await;
                // Trying has not used it up.
                assert_eq!(ours.send(ask(&ours)).await.0, 200);
                refused("an invitation again", &ours, &theirs, ask(&ours)).await;
            }
            ("get", "/mdm/{org}/files/{name}") => {
                let name = file_of(&theirs).await;
                for (case, at) in [("a foreign file", &theirs), ("theirs at home", &ours)] {
                    let ask = Ask {
                        path: at.path(&format!("files/{name}")),
                        get: true,
                        certificate: Some(device.identity()),
                        ..Ask::default()
                    };
                    let other = if std::ptr::eq(at, &ours) {
                        &theirs
                    } else {
                        &ours
                    };
                    refused(case, at, other, ask).await;
                }
            }
            // What it answers to everybody is public; a certificate takes the message that the next arm sends.
            ("get", "/mdm/{org}/scep") => {}
            // Public too: whoever trusts the authority may read what it has revoked. Another's has another name.
            ("get", "/mdm/{org}/crl/{authority}") => {
                let name = |of: &House| {
                    let ca = &of.org.organisation().identity_cas[0];
                    of.org
                        .revocation_list_url(&ca.certificate.0)
                        .rsplit('/')
                        .next()
                        .unwrap()
                        .to_owned()
                };
                let get = async |at: &House, name: &str| {
                    let path = at.path(&format!("crl/{name}"));
                    let address = at.app.address(Duty::Enrol).unwrap();
                    Request::new("GET", &path).send(address).await
                };
                assert_eq!(get(&theirs, &name(&theirs)).await.status, 200);
                let reply = get(&theirs, &name(&ours)).await;
                assert_eq!(reply.status, 400);
                tells_nothing("a foreign list", &reply.text(), &marks(&theirs).await, "");
            }
            // Whoever has the address of a package has it from the organisation's command: at another's path it is none.
            ("get", "/mdm/{org}/package/{file}") => foreign_package(&ours, &theirs).await,
            // Asked for together with the file.
            ("get", "/mdm/{org}/package/{file}/manifest") => {}
            // Of an organisation whose people do not sign in. What a session of one shows at another is in the story of
            // sign-ins.
            (method, path) if path.starts_with("/mdm/{org}/sign-in") => {
                let path = path.replace("/mdm/{org}/", "");
                let ask = Ask {
                    path: theirs.path(&path),
                    post: method == "post",
                    ..Ask::default()
                };
                if path == "sign-in/out" {
                    // Signing out where nobody is signed in leads to the page, and to nothing else.
                    assert_eq!(theirs.send(ask).await.0, 303);
                } else {
                    refused("a sign-in that is not set", &theirs, &ours, ask).await;
                }
            }
            // Nothing but that accounts bring no devices here. What a token of one shows at another is in the story of accounts.
            ("get", "/mdm/{org}/service-discovery") => {
                let address = theirs.app.address(Duty::Enrol).unwrap();
                let path = theirs.path("service-discovery");
                let reply = Request::new("GET", &path).send(address).await;
                assert_eq!(reply.status, 403);
                tells_nothing("a discovery", &reply.text(), &marks(&theirs).await, "");
            }
            (method, path) if path.starts_with("/mdm/{org}/account/") => {
                let path = path.replace("/mdm/{org}/", "").replace("{mode}", "byod");
                let ask = Ask {
                    path: theirs.path(&path),
                    post: method == "post",
                    ..Ask::default()
                };
                refused("a sign-in that is not set", &theirs, &ours, ask).await;
            }
            ("post", "/mdm/{org}/scep") => foreign_challenge(&ours, &theirs).await,
            // Addresses and nonces are for everybody.
            ("get", "/mdm/{org}/acme/{resource}") => {}
            // Accounts, nonces and client identifiers of one organisation are nothing at the other.
            ("post", "/mdm/{org}/acme/{resource}" | "/mdm/{org}/acme/{resource}/{name}") => {
                acme::nothing_at_the_other(&ours, &theirs).await;
            }
            (method, path) => panic!(
                "{method} {path} is new: say here what one organisation must not do with it to another"
            ),
        }
    }
    // And at home both are served as before.
    for (house, device) in [(&ours, &device), (&theirs, &other)] {
        let (status, said) = house.send(house.idle(device)).await;
        assert_eq!(status, 200, "{said}");
    }
}

/// The address of a package of ours gives nothing at their path, neither the file nor the manifest.
async fn foreign_package(ours: &House, theirs: &House) {
    let name = "name=tool&bundle_identifier=com.example.tool";
    let path = format!("/api/v1/library/packages/upload?{name}");
    let put = ask(
        ours,
        "post",
        &path,
        &ours.token,
        "xar! and the bytes of a package",
    )
    .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let put: Value = serde_json::from_slice(&put.body).unwrap();
    let file = put["content"]["file"].as_str().unwrap();
    let marks = [marks(ours).await, marks(theirs).await].concat();
    let address = ours.app.address(Duty::Enrol).unwrap();
    for end in ["", "/manifest"] {
        let get = async |at: &House| {
            let path = at.path(&format!("package/{file}{end}"));
            Request::new("GET", &path).send(address).await
        };
        assert_eq!(get(ours).await.status, 200, "{end}");
        let before = theirs.contents().await;
        let reply = get(theirs).await;
        assert_eq!(reply.status, 400, "{end}: {}", reply.text());
        tells_nothing("a foreign package", &reply.text(), &marks, "");
        assert_eq!(theirs.contents().await, before);
    }
    let remove = r#"{"name":"tool"}"#;
    let gone = ask(ours, "post", "/api/v1/library/remove", &ours.token, remove).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
}

/// A challenge of ours buys no certificate of theirs, by POST or in the query, and is not used up by trying.
async fn foreign_challenge(ours: &House, theirs: &House) {
    let who = described(OURS[1]);
    let invitation = ours
        .stand_ins
        .invite(&ours.url("enrol"), &who, 3)
        .await
        .unwrap();
    let their = theirs
        .stand_ins
        .invite(&theirs.url("enrol"), &described(THEIRS[1]), 4)
        .await
        .unwrap();
    let thief = their.with_challenge(invitation.challenge());
    let request = theirs.stand_ins.request(&thief, 4).await.unwrap();
    let before = (ours.contents().await, theirs.contents().await);
    let ask = Ask {
        path: format!("{}?operation=PKIOperation", theirs.path("scep")),
        post: true,
        body: request.body().to_vec(),
        ..Ask::default()
    };
    let (status, answer) = theirs.send_raw(ask).await;
    assert_eq!(
        status, 200,
        "a request that can be read is answered as SCEP says"
    );
    let why = request.receive(&answer).unwrap_err().to_string();
    assert!(why.contains("FAILURE") || why.contains("fail"), "{why}");
    assert_eq!((ours.contents().await, theirs.contents().await), before);
    // A message for our CA at their door cannot be read there.
    let own = ours.stand_ins.request(&invitation, 3).await.unwrap();
    let ask = |house: &House| Ask {
        path: format!("{}?operation=PKIOperation", house.path("scep")),
        post: true,
        body: own.body().to_vec(),
        ..Ask::default()
    };
    let (status, answer) = theirs.send_raw(ask(theirs)).await;
    assert!(status >= 400 || own.receive(&answer).is_err());
    assert_eq!((ours.contents().await, theirs.contents().await), before);
    let (status, answer) = ours.send_raw(ask(ours)).await;
    assert_eq!(status, 200);
    own.receive(&answer).unwrap();
}
