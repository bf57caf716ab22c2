//! Two organisations in one server: whoever has certificate, token, challenge, serial number or ids of the one gets nothing at
//! any door of the other, learns nothing, and leaves nothing. The story walks the server's own lists of routes: one that it
//! does not know fails it.

#[path = "doors/acme.rs"]
#[allow(dead_code, reason = "shared with the story of ACME")]
mod acme;
#[path = "organisations/bodies.rs"]
mod bodies;
#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with the story of the doors")]
mod house;

use bodies::body;
use fixtures::recorded::StandIn;
use house::{Ask, House, NOW_MS, check_in, described, report};
use mdm_core::audit::Role;
use mdm_core::clock::Timestamp;
use mdm_core::ddm::{Channels, Target};
use mdm_core::device::Platform;
use mdm_core::hand_off::{HandOff, HandOffPart, HandedOver};
use mdm_core::ids::{
    CommandId, HandOffId, HandOffPartId, OrganisationId, ProjectId, SecretId, Serial, ServerId,
    WaveId,
};
use mdm_core::migration::{PinnedRunbook, Variant};
use mdm_core::original::Said;
use mdm_core::project::Project;
use mdm_core::secret::Secret;
use mdm_core::service::{NewDeclaration, NewFile};
use mdm_core::store::Batch;
use mdm_core::wave::Wave;
use mdmd::app::App;
use mdmd::config::Duty;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::time::Duration;
use tests::{Reply, Request};

const OURS: [&str; 2] = ["DOORA", "DOORB"];
const THEIRS: [&str; 2] = ["OTHERX", "OTHERY"];
/// So large that no other number contains it.
const THEIR_WAVE: i64 = 7_340_911_223_344;
const THEIR_NAME: &str = "Neighbours and daughters";
const THEIR_RUNBOOK: &str = "neighbourly-runbook";
const THEIR_HOOK: &str = "neighbours-hook";
const THEIR_DECLARATION: &str = "neighbours.credential";

/// Two organisations; the second one has a wave.
async fn two() -> (House, House) {
    let ours = House::open().await;
    let theirs = ours.beside(THEIR_NAME, THEIRS).await;
    let mut batch = Batch::new();
    batch.put(Wave::draft(
        theirs.org.organisation().id,
        WaveId(THEIR_WAVE),
        "their wave",
        ServerId(1),
        std::collections::BTreeMap::new(),
        Timestamp::from_millis(NOW_MS),
    ));
    batch.put(Project::new(
        theirs.org.organisation().id,
        ProjectId(THEIR_WAVE),
        "their wave",
        ServerId(1),
        Timestamp::from_millis(NOW_MS),
    ));
    batch.put(HandOff::new(
        (theirs.org.organisation().id, HandOffId(THEIR_WAVE)),
        "their wave",
        (Vec::new(), SecretId(1)),
        (
            Timestamp::from_millis(NOW_MS),
            Timestamp::from_millis(NOW_MS + 1_000_000),
        ),
        "Neighbour",
    ));
    let part = HandedOver::rejected(THEIRS[0], "serial: is not known");
    batch.put(HandOffPart::new(
        (theirs.org.organisation().id, HandOffPartId(THEIR_WAVE)),
        HandOffId(THEIR_WAVE),
        vec![part],
    ));
    theirs.app.mdm.store().commit(batch).await.unwrap();
    let mut credential = NewDeclaration::new(
        THEIR_DECLARATION,
        "com.apple.asset.credential.userpassword",
        serde_json::Map::new(),
    );
    let content = Secret::from_text("{}".to_owned());
    credential.file = Some(NewFile::new(content, "application/json"));
    theirs.org.put_declaration(&credential).await.unwrap();
    let member = [THEIR_DECLARATION.to_owned()];
    let (hook, none) = ("https://hooks.invalid/", std::collections::BTreeSet::new());
    theirs.org.new_hook(THEIR_HOOK, hook, &none).await.unwrap();
    let set = theirs
        .org
        .put_declaration_set("neighbourly things", &member)
        .await;
    set.unwrap();
    let (everybody, own) = (Target::Organisation, Channels::Device);
    let assigned = theirs
        .org
        .assign_declarations("neighbourly things", &everybody, own);
    assigned.await.unwrap();
    let runbook = PinnedRunbook::standard(Platform::Macos, Variant::Migration);
    let kept = theirs
        .org
        .edit_runbook(THEIR_RUNBOOK, Platform::Macos, runbook, None, "theirs");
    kept.await.unwrap();
    (ours, theirs)
}

/// What nobody but the organisation itself should read.
async fn marks(of: &House) -> Vec<String> {
    let organisation = of.org.organisation();
    let mut marks = vec![
        organisation.code.to_string(),
        organisation.name.clone(),
        organisation.id.0.to_string(),
        of.serial.to_owned(),
        format!("UDID-{}", of.serial),
    ];
    if of.serial == THEIRS[0] {
        marks.extend(THEIRS.map(str::to_owned));
        marks.extend(["their wave".to_owned(), THEIR_WAVE.to_string()]);
        marks.push(THEIR_RUNBOOK.to_owned());
        marks.extend([
            THEIR_DECLARATION.to_owned(),
            "neighbourly things".to_owned(),
            THEIR_HOOK.to_owned(),
        ]);
    }
    let store = of.app.mdm.store();
    for token in store.tokens(organisation.id).await.unwrap() {
        marks.push(token.id.0.to_string());
    }
    marks
}

fn tells_nothing(case: &str, said: &str, marks: &[String], shown: &str) {
    for mark in marks.iter().filter(|mark| !shown.contains(*mark)) {
        assert!(!said.contains(mark), "{case} tells {mark}: {said}");
    }
}

/// Refused at `at`, with nothing told and nothing left at either organisation.
async fn refused(case: &str, at: &House, other: &House, ask: Ask) {
    let before = (at.contents().await, other.contents().await);
    let marks = [marks(at).await, marks(other).await].concat();
    let shown = format!("{} {}", ask.path, String::from_utf8_lossy(&ask.body));
    let (status, said) = at.send(ask).await;
    assert!((400..500).contains(&status), "{case}: {status} {said}");
    assert_ne!(status, 401, "{case}: a device takes 401 as being sent away");
    tells_nothing(case, &said, &marks, &shown);
    let after = (at.contents().await, other.contents().await);
    assert_eq!(after, before, "{case} left something");
}

/// The same question with a signature, and with the certificate on the connection.
fn both_ways(at: &House, door: &str, device: &StandIn, body: Vec<u8>) -> [Ask; 2] {
    let signed = at.signed(door, device, body);
    let mut connected = signed.clone();
    connected.headers.clear();
    connected.certificate = Some(device.identity());
    [signed, connected]
}

/// The name of the file of the neighbours' declaration.
async fn file_of(house: &House) -> String {
    let declaration = house.org.declaration(THEIR_DECLARATION).await.unwrap();
    let content = house.org.declaration_content(&declaration).await.unwrap();
    content.file.unwrap().name
}

/// A command that was handed to the device of this organisation.
async fn command_of(house: &House) -> String {
    let (store, id) = (house.app.mdm.store(), house.org.organisation().id);
    let serial = Serial::parse(house.serial).unwrap();
    let device = house.org.device_report(&serial).await;
    let enrolment = device.unwrap().enrollments.last().unwrap().id;
    let commands = store
        .commands(id, enrolment, CommandId(i64::MAX), 100)
        .await
        .unwrap();
    commands.first().unwrap().uuid.clone()
}

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

/// Whether a route may queue a job for the organisation of its own token.
fn queues(method: &str, path: &str) -> bool {
    let paths = [
        "/api/v1/inventory/pull",
        "/api/v1/migrations/plan",
        "/api/v1/migrations",
        "/api/v1/declarations",
    ];
    method == "post" && paths.contains(&path)
}

/// The contents without their second line, the number of jobs that wait.
fn but_jobs(contents: &str) -> Vec<&str> {
    let lines = contents.lines().enumerate();
    lines
        .filter(|(n, _)| *n != 1)
        .map(|(_, line)| line)
        .collect()
}

/// A path with ids that belong to the neighbour.
fn foreign(path: &str, code: &str, token: i64, command: &str) -> String {
    let id = match path {
        // They have no location: any number of theirs will do.
        "/api/v1/licences/{id}/refresh"
        | "/api/v1/licences/{id}/remove"
        | "/api/v1/sessions/{id}/revoke"
        | "/api/v1/approvals/{id}/confirm"
        | "/api/v1/approvals/{id}/decline"
        // Nor a partner, nor a token of Apple's.
        | "/api/v1/server-tokens/{id}/remove"
        | "/api/v1/partners/{id}/dismiss" => THEIR_WAVE,
        wave if wave.starts_with("/api/v1/waves/{id}") => THEIR_WAVE,
        // So has their job.
        job if job.starts_with("/api/v1/hand-off/jobs/{id}")
            || job.starts_with("/api/v1/hand-off/sources/{id}")
            || job.starts_with("/api/v1/hand-off/exports/{id}") =>
        {
            THEIR_WAVE
        }
        // The number of their project is that of their wave.
        project if project.starts_with("/api/v1/projects/{id}") => THEIR_WAVE,
        "/api/v1/api-tokens/{id}/revoke" => token,
        _ => 0,
    };
    let name = if path.starts_with("/api/v1/webhooks") {
        THEIR_HOOK
    } else {
        THEIR_RUNBOOK
    };
    let path = path
        .replace("{serial}", THEIRS[0])
        .replace("{uuid}", command)
        .replace("{identifier}", THEIR_DECLARATION)
        .replace("{name}", name)
        .replace("{code}", code)
        .replace("{id}", &id.to_string());
    assert!(
        !path.contains('{') && path.split('/').all(|part| part != "0"),
        "{path}: say here which id of a neighbour stands in it"
    );
    path
}

async fn ask(house: &House, method: &str, path: &str, token: &str, body: &str) -> Reply {
    let address = house.app.address(Duty::Admin).unwrap();
    let request = Request::new(&method.to_uppercase(), path).by(token);
    request.with(body).send(address).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_organisation_shows_and_changes_nothing_of_the_other() {
    let (ours, theirs) = two().await;
    let _device = theirs.enrolled().await;
    let (id, code) = {
        let organisation = theirs.org.organisation();
        (organisation.id, organisation.code.to_string())
    };
    let their_command = command_of(&theirs).await;
    let mut told = Said::nothing(Serial::parse(THEIRS[0]).unwrap());
    told.system = Some("26.1".to_owned());
    let at = Timestamp::from_millis(NOW_MS);
    theirs
        .org
        .import_originals("Neighbours", at, vec![told])
        .await
        .unwrap();
    let seer = ours
        .org
        .new_api_token("seer", Role::Helpdesk, ["secrets".to_owned()].into(), None)
        .await
        .unwrap();
    let seer = seer.secret.expose_text().unwrap().to_owned();
    let their_token = theirs.app.mdm.store().tokens(id).await.unwrap()[0].id.0;
    let marks = marks(&theirs).await;
    let mut before = theirs.contents().await;
    let table = ask(&ours, "get", "/api/v1", &ours.token, "").await;
    let table: Vec<Value> = serde_json::from_slice(&table.body).unwrap();
    assert!(table.len() >= 15, "{table:#?}");
    let document = ask(&ours, "get", "/api/v1/openapi.json", &ours.token, "").await;
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    let pages = |method: &str, path: &str| {
        let parameters = document["paths"][path][method]["parameters"].as_array();
        let mut names = parameters.into_iter().flatten().map(|p| &p["name"]);
        let (after, limit) = (
            names.clone().any(|n| n == "after"),
            names.any(|n| n == "limit"),
        );
        after && limit
    };
    for route in &table {
        let (method, path) = (
            route["method"].as_str().unwrap(),
            route["path"].as_str().unwrap(),
        );
        // Has no end to wait for; the test of the stream looks at it from another organisation.
        if path == "/api/v1/events" {
            continue;
        }
        let body = body(method, path);
        let there = foreign(path, &code, their_token, &their_command);
        let names_theirs = there != path;
        for (case, asked) in [
            ("as it is", there.clone()),
            ("organisation named", format!("{there}?organisation={code}")),
            (
                "after their ids",
                format!("{there}?after={}&limit=1000", THEIR_WAVE - 1),
            ),
            ("from the first", format!("{there}?after=-1&limit=1000")),
        ] {
            let case = format!("{method} {path}, {case}");
            // Secrets take a token that names them.
            let token = match path.starts_with("/api/v1/secrets") {
                true => &seer,
                false => &ours.token,
            };
            let reply = ask(&ours, method, &asked, token, &body).await;
            let said = format!("{}\n{}", reply.head, reply.text());
            tells_nothing(&case, &said, &marks, &format!("{asked} {body}"));
            // The table of routes is everybody's; nobody makes organisations, or sees whose handshakes nobody knows and which
            // organisations were taken away, over the network.
            let own = [
                "/api/v1",
                "/api/v1/handshakes",
                "/api/v1/organisations/removed",
            ]
            .contains(&path)
                || (method, path) == ("post", "/api/v1/organisations");
            if asked.contains("after=") && !pages(method, path) {
                // There are no pages: nobody looks any further.
                assert_eq!(reply.status, 400, "{case}: {said}");
            } else if names_theirs
                || asked.contains("organisation=") && !own && path != "/api/v1/organisations"
            {
                assert_eq!(reply.status, 404, "{case}: {said}");
            } else {
                assert!(
                    reply.status < 500 || reply.status == 503 || reply.status == 502,
                    "{case}: {said}"
                );
            }
            let after = theirs.contents().await;
            if queues(method, path) {
                // How many jobs wait is counted over all organisations; one of our own may have come.
                assert_eq!(but_jobs(&after), but_jobs(&before), "{case} left something");
                before = after;
            } else {
                assert_eq!(after, before, "{case} left something");
            }
            // What is shown must be what the neighbour sees with the same question: the marks are there to be found.
            if method == "get" && names_theirs {
                let seen = ask(&theirs, method, &there, &theirs.token, "").await;
                // What leaves the building is in the record of whose it is.
                before = theirs.contents().await;
                // Their device is in no hold and has no attempt, and that is said by its name.
                let shown = match path {
                    "/api/v1/holds/{serial}" | "/api/v1/devices/{serial}/give-up" => 409,
                    _ => 200,
                };
                assert_eq!(seen.status, shown, "{case}: {}", seen.text());
                // What a wave without a runbook for apps needs names nothing, without members nobody is told anything, and its texts are ours.
                let named = marks.iter().any(|mark| seen.text().contains(mark));
                assert!(
                    named
                        || [
                            "/licences",
                            "/checks",
                            "/members",
                            "/notices",
                            "/owner-texts"
                        ]
                        .iter()
                        .any(|last| path.ends_with(last)),
                    "{case}"
                );
            }
        }
    }
    let all = theirs
        .app
        .mdm
        .organisations(OrganisationId(0), 10)
        .await
        .unwrap();
    assert_eq!(all.len(), 2, "a token made an organisation");
    let still = ask(&theirs, "get", "/api/v1/devices", &theirs.token, "").await;
    assert_eq!(still.status, 200);
    assert!(still.text().contains(THEIRS[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_by_its_name_is_ones_own_and_a_neighbours_tag_opens_nothing() {
    let (ours, theirs) = two().await;
    let before = theirs.contents().await;
    let named = |path: &str| format!("/api/v1/{path}");
    for (read, write, body) in [
        (
            named(&format!("webhooks?name={THEIR_HOOK}")),
            named(&format!("webhooks/{THEIR_HOOK}/remove")),
            "{}".to_owned(),
        ),
        (
            named("declaration-sets?name=neighbourly%20things"),
            named("declaration-sets/remove"),
            r#"{"name":"neighbourly things"}"#.to_owned(),
        ),
        (
            named(&format!("declarations/{THEIR_DECLARATION}")),
            named(&format!("declarations/{THEIR_DECLARATION}/remove")),
            "{}".to_owned(),
        ),
        (
            named(&format!("runbooks/{THEIR_RUNBOOK}")),
            named("runbooks"),
            body("post", "/api/v1/runbooks"),
        ),
    ] {
        let seen = ask(&theirs, "get", &read, &theirs.token, "").await;
        assert_eq!(seen.status, 200, "{read}: {}", seen.text());
        let mut lines = seen.head.lines().filter_map(|line| line.split_once(':'));
        let tag = lines.find(|(name, _)| name.eq_ignore_ascii_case("etag"));
        let tag = tag.unwrap().1.trim().to_owned();
        let reply = ask(&ours, "get", &read, &ours.token, "").await;
        assert_eq!(reply.status, 404, "{read}: {}", reply.text());
        let mut request = Request::new("POST", &write).by(&ours.token).with(body);
        request.headers.push(("If-Match", tag));
        let reply = request.send(ours.app.address(Duty::Admin).unwrap()).await;
        assert_eq!(reply.status, 412, "{write}: {}", reply.text());
        assert_eq!(theirs.contents().await, before, "{write} left something");
    }
}

/// Through the local socket, where the administrator of the installation is.
async fn locally(house: &House, method: &str, path: &str, body: &str) -> (u16, Value) {
    let socket = house.directory().join("mdmd.sock");
    let sent = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    });
    let answer = answer.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_is_taken_away_at_the_machine_alone_and_its_devices_are_not_sent_away() {
    let (ours, theirs) = two().await;
    let (device, other) = (ours.enrolled().await, theirs.enrolled().await);
    let code = ours.org.organisation().code.to_string();
    let path = format!("/api/v1/organisations/{code}/remove");
    let body = serde_json::json!({ "confirm": code, "reason": "sold" }).to_string();
    // Its own administrator does not, over the network, and nobody of another one hears of it.
    let reply = ask(&ours, "post", &path, &ours.token, &body).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    let reply = ask(&theirs, "post", &path, &theirs.token, &body).await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    // A device of it is enrolled.
    let (status, said) = locally(&ours, "POST", &path, &body).await;
    assert_eq!(status, 409, "{said}");
    let unlike = serde_json::json!({ "confirm": "another", "reason": "sold" }).to_string();
    let (status, said) = locally(&ours, "POST", &path, &unlike).await;
    assert_eq!((status, &said["field"]), (400, &"confirm".into()), "{said}");
    let (status, listed) = locally(&ours, "GET", "/api/v1/organisations/removed", "").await;
    assert_eq!(
        (status, listed["removed"].to_string()),
        (200, "[]".to_owned())
    );

    let out = check_in(OURS[0], "CheckOut", "");
    let [signed, _] = both_ways(&ours, "checkin", &device, out);
    assert_eq!(ours.send(signed).await.0, 200);
    let (status, gone) = locally(&ours, "POST", &path, &body).await;
    assert_eq!(status, 200, "{gone}");
    assert_eq!(gone["by"], "local administrator");
    let again = locally(&ours, "POST", &path, &body).await;
    assert_eq!(again, (200, gone.clone()));
    let (_, listed) = locally(&ours, "GET", "/api/v1/organisations/removed", "").await;
    assert_eq!(listed["removed"][0], gone);
    let (_, listed) = locally(&ours, "GET", "/api/v1/organisations", "").await;
    let listed = listed["organisations"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");

    // Its token is one that nobody knows, its devices are refused and not sent away, and the other is served as before.
    let reply = ask(&ours, "get", "/api/v1/devices", &ours.token, "").await;
    assert_eq!(reply.status, 401, "{}", reply.text());
    for ask in [
        ours.idle(&device),
        ours.signed("checkin", &device, check_in(OURS[0], "Authenticate", "")),
    ] {
        let (status, said) = ours.send(ask).await;
        assert_eq!(status, 400, "{said}");
    }
    let enrol = Ask {
        path: ours.path("enrol"),
        post: true,
        body: ours.stand_ins.machine_info(&described(OURS[1]), 2).unwrap(),
        ..Ask::default()
    };
    let (status, said) = ours.send(enrol).await;
    assert_eq!(status, 400, "{said}");
    let (status, said) = theirs.send(theirs.idle(&other)).await;
    assert_eq!(status, 200, "{said}");
}
