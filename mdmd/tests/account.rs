//! Devices that an account brings, and those whose Setup Assistant asks for a sign-in: discovery, the window for the user, the profile, and what an access token
//! opens until it is over, revoked, or shown by somebody else.

mod people;

use fixtures::attestation::Attester;
use fixtures::recorded::{Described, Outcome, Visitor};
use mdm_core::device::{Device, DeviceRecord, Platform};
use mdm_core::ids::{CertificateId, DeviceId, EnrollmentId, OrganisationCode, Serial, ServerId};
use mdm_core::organisation::{IdentityProtocol, Organisation};
use mdm_core::service::IdentitySettings;
use mdm_core::store::Batch;
use mdmd::config::Duty;
use people::{Reply, Street, ada, header, send};
use serde_json::{Value, json};

const ACCOUNT: &str = "ada@world.test";
const BYOD: Option<(&str, &str)> = Some(("BYOD", ACCOUNT));

fn described(serial: &str) -> Described {
    Described {
        serial: serial.to_owned(),
        udid: format!("UDID-{serial}"),
        product: "iPhone17,2".to_owned(),
        os_version: "26.1".to_owned(),
        build: "23B85".to_owned(),
    }
}

async fn set(street: &Street, body: Value) -> Reply {
    let body = body.to_string();
    street
        .api("POST", "/api/v1/sign-in", &street.admin, &body)
        .await
}

/// A street whose organisation has accounts bring devices.
async fn open() -> Street {
    let street = Street::open().await;
    street.with_devices().await;
    let how = json!({ "account": ["byod", "adde"], "domains": ["world.test"], "device_days": 30 });
    let done = set(&street, how).await;
    assert_eq!(done.status, 200, "{}", done.text());
    street
}

/// The address of a way to enrol, as discovery tells it.
async fn base(street: &Street, visitor: &Visitor<'_>, version: &str) -> String {
    let port = street.app.address(Duty::Enrol).unwrap().port();
    let at = format!("https://localhost:{port}/.well-known/com.apple.remotemanagement");
    let servers = visitor.discover(&at, ACCOUNT).await.unwrap();
    assert_eq!(servers.len(), 2, "{servers:?}");
    let found = servers.into_iter().find(|(v, _)| v == version);
    found.unwrap().1
}

/// The user signs in at the window, and the device takes the token.
async fn sign_in(street: &Street, visitor: &mut Visitor<'_>, url: &str) {
    let back = window(street, &visitor.window(url, ACCOUNT)).await;
    visitor.take(&header(&back, "location").unwrap()).unwrap();
}

/// Where the window ends.
async fn window(street: &Street, url: &str) -> Reply {
    let mut browser = street.browser();
    let away = browser.get(url).await;
    let back = browser.at_provider(&away).await;
    browser.get(&back).await
}

fn sign_in_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::SignIn(url) => url,
        other => panic!("{other:?}"),
    }
}

/// A device from discovery to its first TokenUpdate.
async fn bring<'a>(
    street: &'a Street,
    serial: &str,
    private: bool,
    number: u64,
) -> (Visitor<'a>, String) {
    let mut visitor = Visitor::new(&street.stand_ins, described(serial), private, number);
    let (version, mode) = match private {
        true => ("mdm-byod", "BYOD"),
        false => ("mdm-adde", "ADDE"),
    };
    let base = base(street, &visitor, version).await;
    let url = sign_in_of(visitor.ask(&base).await.unwrap());
    sign_in(street, &mut visitor, &url).await;
    let Outcome::Profile(profile) = visitor.ask(&base).await.unwrap() else {
        panic!("no profile");
    };
    let done = visitor.install(&profile, Some((mode, ACCOUNT))).await;
    assert_eq!(done.unwrap(), Outcome::Done(Vec::new()));
    (visitor, base)
}

async fn works(visitor: &Visitor<'_>) -> bool {
    match visitor.idle().await.unwrap() {
        Outcome::Done(_) => true,
        Outcome::SignIn(_) => false,
        other => panic!("{other:?}"),
    }
}

async fn sessions(street: &Street) -> Vec<Value> {
    let all = street
        .api("GET", "/api/v1/sessions", &street.admin, "")
        .await;
    assert_eq!(all.status, 200, "{}", all.text());
    all.json()["sessions"].as_array().unwrap().clone()
}

async fn organisation(street: &Street) -> Organisation {
    let code = OrganisationCode::parse(&street.code).unwrap();
    let org = street.app.mdm.organisation(&code).await.unwrap();
    org.organisation().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_brings_its_users_own_device_and_its_token_opens_every_message() {
    let street = open().await;
    let (mut visitor, base) = bring(&street, "OWN1", true, 1).await;
    assert!(works(&visitor).await);
    // Nobody learns of the hardware: there is a channel, and no device.
    let id = organisation(&street).await.id;
    let store = street.app.mdm.store();
    assert!(store.devices(id, DeviceId(0), 10).await.unwrap().is_empty());
    let known = store.enrollments_by_key(id, "UDID-OWN1").await.unwrap();
    assert!(known[0].is_live() && known[0].account.is_some());
    let token = visitor.token().unwrap().to_owned();
    let all = sessions(&street).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["for"], "device-byod", "{}", all[0]);
    assert!(!all[0].to_string().contains(&token) && !people::log().contains(&token));
    // Without it, or with one that was never made, it is asked to sign in; the token goes on holding.
    for wrong in [None, Some("mdmds_never"), Some(street.admin.as_str())] {
        visitor.show(wrong);
        let url = sign_in_of(visitor.idle().await.unwrap());
        assert!(url.ends_with("/account/byod/sign-in"), "{url}");
    }
    visitor.show(Some(&token));
    assert!(works(&visitor).await);
    // It opened one profile, and opens no second device.
    let mut thief = Visitor::new(&street.stand_ins, described("THIEF"), true, 2);
    thief.show(Some(&token));
    sign_in_of(thief.ask(&base).await.unwrap());
    // Nor is it good for anything else.
    let asked = street.api("GET", "/api/v1/session", &token, "").await;
    assert_eq!(asked.status, 401);
    // Revoked: signing in again brings it back, with the new token alone.
    let path = format!("/api/v1/sessions/{}/revoke", all[0]["id"].as_str().unwrap());
    let done = street.api("POST", &path, &street.admin, "{}").await;
    assert_eq!(done.status, 200, "{}", done.text());
    let url = sign_in_of(visitor.idle().await.unwrap());
    sign_in(&street, &mut visitor, &url).await;
    assert!(works(&visitor).await);
    let newer = visitor.token().unwrap().to_owned();
    visitor.show(Some(&token));
    assert!(!works(&visitor).await);
    visitor.show(Some(&newer));
    // And after its days.
    street.later(30 * 86_400);
    let url = sign_in_of(visitor.idle().await.unwrap());
    sign_in(&street, &mut visitor, &url).await;
    assert!(works(&visitor).await);
    // Nobody is asked to sign in to leave.
    visitor.show(None);
    assert_eq!(visitor.leave().await.unwrap(), Outcome::Done(Vec::new()));
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_somebody_else_or_of_another_device_takes_no_place() {
    let street = open().await;
    let (mut first, _) = bring(&street, "OWN1", true, 1).await;
    let (second, _) = bring(&street, "OWN2", true, 2).await;
    let own = first.token().unwrap().to_owned();
    // The same person's, but another device's.
    first.show(second.token());
    assert!(!works(&first).await);
    // A new one of another person.
    first.show(None);
    let url = sign_in_of(first.idle().await.unwrap());
    let mut grace = ada();
    grace.subject = "8".to_owned();
    street.provider.sign_in_as(Some(grace));
    sign_in(&street, &mut first, &url).await;
    assert!(!works(&first).await);
    // A new one for the other way to enrol.
    street.provider.sign_in_as(Some(ada()));
    let other = url.replace("/byod/", "/adde/");
    sign_in(&street, &mut first, &other).await;
    assert!(!works(&first).await);
    first.show(Some(&own));
    assert!(works(&first).await && works(&second).await);
    // An organisation that takes another provider, or none, ends them all.
    let off = street
        .api("POST", "/api/v1/sign-in/remove", &street.admin, "{}")
        .await;
    assert_eq!(off.status, 200);
    assert!(!works(&first).await);
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_for_an_account_is_of_no_use_without_its_token() {
    let street = open().await;
    let mut visitor = Visitor::new(&street.stand_ins, described("OWN1"), true, 1);
    let base = base(&street, &visitor, "mdm-byod").await;
    let url = sign_in_of(visitor.ask(&base).await.unwrap());
    sign_in(&street, &mut visitor, &url).await;
    let Outcome::Profile(profile) = visitor.ask(&base).await.unwrap() else {
        panic!("no profile");
    };
    // Whoever has stolen it gets a certificate, and nothing with that.
    let mut thief = Visitor::new(&street.stand_ins, described("THIEF"), true, 2);
    sign_in_of(thief.install(&profile, BYOD).await.unwrap());
    // Not even with a token of their own.
    let url = sign_in_of(thief.ask(&base).await.unwrap());
    let mut grace = ada();
    grace.subject = "8".to_owned();
    street.provider.sign_in_as(Some(grace));
    sign_in(&street, &mut thief, &url).await;
    sign_in_of(thief.authenticate().await.unwrap());
    let id = organisation(&street).await.id;
    let known = street.app.mdm.store();
    let known = known.enrollments_by_key(id, "UDID-THIEF").await.unwrap();
    assert!(known.is_empty(), "{known:?}");
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_brings_a_device_of_the_organisation_and_it_is_seen_whose() {
    let street = open().await;
    let (visitor, _) = bring(&street, "CORP1", false, 1).await;
    assert!(works(&visitor).await);
    let shown = street
        .api("GET", "/api/v1/devices/CORP1", &street.admin, "")
        .await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    assert!(shown.text().contains(ACCOUNT), "{}", shown.text());
    street.close().await;
}

/// Everything that is due.
async fn settle(street: &Street) {
    for _ in 0..50 {
        if street.app.mdm.work(50).await.unwrap() == 0 {
            return;
        }
    }
    panic!("the worker finds something to do for ever");
}

/// What is next in the queue of a device that does whatever it is told, but for profiles.
async fn profile_for(street: &Street, visitor: &Visitor<'_>) -> Option<Vec<u8>> {
    settle(street).await;
    for _ in 0..20 {
        let Outcome::Done(command) = visitor.idle().await.unwrap() else {
            panic!("it is asked to sign in");
        };
        if command.is_empty() || people::text(&command).contains("InstallProfile") {
            return Some(command).filter(|command| !command.is_empty());
        }
        let done = visitor.acknowledge(&command).await.unwrap();
        assert!(matches!(done, Outcome::Done(_)), "{done:?}");
    }
    panic!("it is told something for ever");
}

/// A renewal of the identity of a device that an account brought, to its end.
async fn renewal(street: &Street, mut visitor: Visitor<'_>, number: u64) {
    let token = visitor.token().unwrap().to_owned();
    assert_eq!(
        profile_for(street, &visitor).await,
        None,
        "nothing is due yet"
    );
    street.later(25 * 86_400);
    street.stand_ins.later(street.clock.now_ms());
    let command = profile_for(street, &visitor).await.expect("a renewal");
    let mut other = visitor.renewed(&command, number).await.unwrap();
    let done = visitor.acknowledge(&command).await.unwrap();
    assert!(matches!(done, Outcome::Done(_)), "{done:?}");
    // The new one is no way round the token: without it, nothing is announced.
    visitor.change(&mut other);
    for wrong in [None, Some("mdmds_never")] {
        visitor.show(wrong);
        sign_in_of(visitor.authenticate().await.unwrap());
    }
    visitor.show(Some(&token));
    assert_eq!(
        visitor.authenticate().await.unwrap(),
        Outcome::Done(Vec::new())
    );
    // The old one speaks until the TokenUpdate of the new one, and is asked for its token as before.
    visitor.change(&mut other);
    assert!(works(&visitor).await);
    visitor.show(None);
    sign_in_of(visitor.idle().await.unwrap());
    visitor.show(Some(&token));
    visitor.change(&mut other);
    visitor.show(None);
    sign_in_of(visitor.token_update().await.unwrap());
    visitor.show(Some(&token));
    assert_eq!(
        visitor.token_update().await.unwrap(),
        Outcome::Done(Vec::new())
    );
    assert!(works(&visitor).await);
    visitor.show(None);
    sign_in_of(visitor.idle().await.unwrap());
    visitor.show(Some(&token));
    visitor.change(&mut other);
    for said in [visitor.idle().await, visitor.authenticate().await] {
        let said = said.unwrap();
        assert!(matches!(said, Outcome::Failed(400, _)), "{said:?}");
    }
    visitor.change(&mut other);
    assert!(works(&visitor).await);
    assert_eq!(profile_for(street, &visitor).await, None, "one renewal");
}

/// Identities of thirty days.
async fn short_lived(street: &Street, ios: IdentityProtocol) {
    let code = OrganisationCode::parse(&street.code).unwrap();
    let org = street.app.mdm.organisation(&code).await.unwrap();
    let mut change = IdentitySettings {
        identity_days: Some(30),
        ..IdentitySettings::default()
    };
    change.identity_protocol.insert(Platform::Ios, ios);
    org.set_identities(change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_identity_of_a_users_own_device_is_renewed_by_scep() {
    let street = open().await;
    let done = set(&street, json!({ "device_days": 90 })).await;
    assert_eq!(done.status, 200, "{}", done.text());
    // It falls back, for its hardware is nobody's business.
    short_lived(&street, IdentityProtocol::Acme).await;
    let (visitor, _) = bring(&street, "OWN1", true, 1).await;
    renewal(&street, visitor, 2).await;
    let id = organisation(&street).await.id;
    let known = street.app.mdm.store().enrollments_by_key(id, "UDID-OWN1");
    let known = known.await.unwrap();
    assert_eq!(known.len(), 1, "a renewal begins no enrolment");
    assert!(known[0].is_live() && known[0].account.is_some());
    // Where attestation is demanded such a device gets nothing.
    short_lived(&street, IdentityProtocol::AcmeAttested).await;
    let mut other = Visitor::new(&street.stand_ins, described("OWN2"), true, 3);
    let at = base(&street, &other, "mdm-byod").await;
    let url = sign_in_of(other.ask(&at).await.unwrap());
    sign_in(&street, &mut other, &url).await;
    let said = other.ask(&at).await.unwrap();
    assert!(
        matches!(&said, Outcome::Failed(403, why) if why.contains("attested")),
        "{said:?}"
    );
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_at_its_own_organisation_alone() {
    let street = open().await;
    let other = street.app.mdm.create_organisation("Other", Vec::new());
    let other = other.await.unwrap();
    let trust = other
        .org
        .trust_device_ca(street.stand_ins.authority().unwrap());
    trust.await.unwrap();
    let body = json!({
        "issuer": street.provider.issuer(), "client_id": street.provider.client_id(),
        "secret": street.provider.client_secret(), "account": ["byod"], "domains": ["other.test"],
    });
    let token = other.administrator_token.expose_text().unwrap();
    let set = street
        .api("POST", "/api/v1/sign-in", token, &body.to_string())
        .await;
    assert_eq!(set.status, 200, "{}", set.text());
    let mut visitor = Visitor::new(&street.stand_ins, described("OWN1"), true, 1);
    let own = base(&street, &visitor, "mdm-byod").await;
    let url = sign_in_of(visitor.ask(&own).await.unwrap());
    sign_in(&street, &mut visitor, &url).await;
    let code = other.org.organisation().code.to_string();
    let theirs = own.replace(&street.code, &code);
    let url = sign_in_of(visitor.ask(&theirs).await.unwrap());
    assert!(url.contains(&code), "{url}");
    let asked = visitor.ask(&own).await.unwrap();
    assert!(matches!(asked, Outcome::Profile(_)), "{asked:?}");
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_identity_of_an_organisations_device_is_renewed_by_acme_and_attested_anew() {
    let mut street = open().await;
    let done = set(&street, json!({ "device_days": 90 })).await;
    assert_eq!(done.status, 200, "{}", done.text());
    short_lived(&street, IdentityProtocol::AcmeAttested).await;
    let attester = Attester::new(people::START).unwrap();
    let code = OrganisationCode::parse(&street.code).unwrap();
    let org = street.app.mdm.organisation(&code).await.unwrap();
    let root = attester.root().unwrap();
    org.trust_attestations(&[root], false).await.unwrap();
    street.stand_ins.vouched_by(attester);
    let (visitor, _) = bring(&street, "ADDE1", false, 1).await;
    renewal(&street, visitor, 2).await;
    let org = street.app.mdm.organisation(&code).await.unwrap();
    let all = org.identities(CertificateId(0), 10).await.unwrap();
    assert_eq!(all.len(), 2);
    let store = street.app.mdm.store();
    for row in store
        .certificates(org.organisation().id, CertificateId(0), 10)
        .await
        .unwrap()
    {
        let attested = row.attested.expect("each is attested");
        assert_eq!(attested.serial.as_deref(), Some("ADDE1"));
    }
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_is_known_is_let_in_and_only_where_it_is_wanted() {
    let street = open().await;
    let visitor = Visitor::new(&street.stand_ins, described("OWN1"), true, 1);
    let base = base(&street, &visitor, "mdm-byod").await;
    let port = street.app.address(Duty::Enrol).unwrap().port();
    let at = format!("https://localhost:{port}/.well-known/com.apple.remotemanagement");
    // Of a domain that nobody has, nothing is told; the organisation's own document is for all.
    for account in ["ada@elsewhere.test", "ada", ""] {
        assert!(visitor.discover(&at, account).await.is_err(), "{account}");
    }
    let own = street.path("service-discovery");
    assert_eq!(visitor.discover(&own, "x@y.z").await.unwrap().len(), 2);
    // Machine information that no trusted device signed gets no challenge.
    let forged = fixtures::recorded::StandIns::new(Vec::new(), people::START).unwrap();
    let body = forged.machine_info(&described("OWN1"), 1).unwrap();
    assert_eq!(send("POST", &base, &[], &body).await.status, 400);
    assert_eq!(send("POST", &base, &[], b"").await.status, 400);
    let strange = base.replace("/byod", "/other");
    assert_eq!(send("POST", &strange, &[], b"").await.status, 400);
    // An account of another domain, and a person without one.
    let url = sign_in_of(visitor.ask(&base).await.unwrap());
    for (email, why) in [("ada@elsewhere.test", "another domain"), ("", "no account")] {
        let mut stranger = ada();
        stranger.email = email.to_owned();
        street.provider.sign_in_as(Some(stranger));
        let shown = window(&street, &url).await;
        assert_eq!(shown.status, 403, "{email}");
        assert!(shown.text().contains(why), "{}", shown.text());
    }
    assert!(sessions(&street).await.is_empty());
    // Accounts need a domain, which no other organisation has.
    let refused = set(&street, json!({ "domains": [] })).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let other = street.app.mdm.create_organisation("Other", Vec::new());
    let other = other.await.unwrap().administrator_token;
    let other = other.expose_text().unwrap();
    let body = json!({
        "issuer": street.provider.issuer(), "client_id": street.provider.client_id(),
        "secret": street.provider.client_secret(), "account": ["byod"], "domains": ["world.test"],
    });
    let body = body.to_string();
    let local = street.api("POST", "/api/v1/sign-in", other, &body).await;
    assert_eq!(local.status, 400, "{}", local.text());
    assert!(
        local.text().contains("another organisation"),
        "{}",
        local.text()
    );
    // What is switched off is refused and no longer told.
    set(&street, json!({ "account": ["adde"] })).await;
    assert_eq!(visitor.discover(&own, "x@y.z").await.unwrap().len(), 1);
    let Outcome::Failed(400, _) = visitor.ask(&base).await.unwrap() else {
        panic!("it is switched off");
    };
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_signs_in_at_an_assigned_device_before_it_gets_its_profile() {
    let street = open().await;
    let id = organisation(&street).await.id;
    let mut batch = Batch::new();
    let serial = Serial::parse("ADE1").unwrap();
    let mut device = Device::new(id, DeviceId(1), serial);
    device.record = Some(DeviceRecord::new(ServerId(1), street.now()));
    batch.put(device);
    street.app.mdm.store().commit(batch).await.unwrap();
    let mut visitor = Visitor::new(&street.stand_ins, described("ADE1"), false, 1);
    let page = street.path("sign-in/device");
    let shown = |info: Option<String>| {
        let headers = info.map(|i| ("x-apple-aspen-deviceinfo".to_owned(), i));
        headers.into_iter().collect::<Vec<_>>()
    };
    let info = visitor.device_info_header().unwrap();
    let asked = send("GET", &page, &shown(Some(info.clone())), b"").await;
    assert_eq!(asked.status, 409, "not switched on: {}", asked.text());
    // It has had as many profiles as it may; none of them is for whoever signs in later.
    for _ in 0..8 {
        let asked = visitor.ask(&street.path("enrol")).await.unwrap();
        assert!(matches!(asked, Outcome::Profile(_)), "{asked:?}");
    }
    let on = set(&street, json!({ "web_view": "required" })).await;
    assert_eq!(on.status, 200, "{}", on.text());
    // By the plain way it is told to sign in first.
    let Outcome::Failed(403, why) = visitor.ask(&street.path("enrol")).await.unwrap() else {
        panic!("it was let in");
    };
    assert!(why.contains("sign in"), "{why}");
    // A header that is none, of an unknown device, of an authority that nobody trusts.
    let forged = fixtures::recorded::StandIns::new(Vec::new(), people::START).unwrap();
    let forged = Visitor::new(&forged, described("ADE1"), false, 1);
    let unknown = Visitor::new(&street.stand_ins, described("ADE9"), false, 1);
    for (header, status) in [
        (None, 400),
        (Some("%".to_owned()), 400),
        (Some(forged.device_info_header().unwrap()), 400),
        (Some(unknown.device_info_header().unwrap()), 403),
    ] {
        let asked = send("GET", &page, &shown(header), b"").await;
        assert_eq!(asked.status, status, "{}", asked.text());
    }
    let mut browser = street.browser();
    let away = browser.ask("GET", &page, shown(Some(info)), b"").await;
    let back = browser.at_provider(&away).await;
    // Another browser gets nothing for it.
    assert_eq!(street.browser().get(&back).await.status, 403);
    let profile = browser.get(&back).await;
    assert_eq!(profile.status, 200, "{}", profile.text());
    let kind = header(&profile, "content-type");
    assert_eq!(kind.as_deref(), Some("application/x-apple-aspen-config"));
    let cache = header(&profile, "cache-control");
    assert_eq!(cache.as_deref(), Some("no-store"));
    let done = visitor.install(&profile.body, None).await.unwrap();
    assert_eq!(done, Outcome::Done(Vec::new()));
    // No account brought it: it is never asked to sign in.
    assert!(matches!(visitor.idle().await.unwrap(), Outcome::Done(_)));
    let shown = street
        .api("GET", "/api/v1/devices/ADE1", &street.admin, "")
        .await;
    assert!(shown.text().contains("Ada & Co"), "{}", shown.text());
    let store = street.app.mdm.store();
    let all = store.enrollments_of_device(id, DeviceId(1)).await.unwrap();
    assert!(
        all.iter()
            .all(|e| e.account.is_none() && e.id != EnrollmentId(0))
    );
    street.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_says_which_accounts_bring_devices() {
    let street = Street::open().await;
    street.with_devices().await;
    let environment = [("MDMD_TOKEN", street.admin.as_str())];
    let url = street.admin_url();
    let place = ["--url", url.as_str(), "--ca", street.ca.as_str()];
    let ask = |words: &[&str]| people::run(&street, &environment, words, &place);
    let words = [
        "sign-in",
        "set",
        "--account",
        "byod",
        "--account",
        "adde",
        "--domain",
        "world.test",
        "--domain",
        "lab.world.test",
        "--device-days",
        "12",
    ];
    let done = ask(&words);
    assert!(done.status.success(), "{}", people::text(&done.stderr));
    let shown = street
        .api("GET", "/api/v1/sign-in", &street.admin, "")
        .await
        .json();
    let text = shown.to_string();
    for said in ["byod", "adde", "world.test", "lab.world.test"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.contains("\"device_days\":12"), "{text}");
    // It is in force: discovery tells both ways, and what the page shows is what was set.
    let visitor = Visitor::new(&street.stand_ins, described("CLI1"), true, 1);
    assert!(
        base(&street, &visitor, "mdm-byod")
            .await
            .starts_with("https://")
    );
    let said = ask(&["sign-in", "show"]);
    assert!(
        people::text(&said.stdout).contains("lab.world.test"),
        "{}",
        people::text(&said.stdout)
    );
    // One that is left out stays; `none` takes all of them.
    let done = ask(&["sign-in", "set", "--account", "none"]);
    assert!(done.status.success(), "{}", people::text(&done.stderr));
    let text = street
        .api("GET", "/api/v1/sign-in", &street.admin, "")
        .await
        .json()
        .to_string();
    assert!(
        !text.contains("byod") && text.contains("lab.world.test"),
        "{text}"
    );
    for wrong in [
        ["--account", "nobody"],
        ["--device-days", "soon"],
        ["--device-days", "0"],
        ["--domain", "no domain"],
    ] {
        let refused = ask(&["sign-in", "set", wrong[0], wrong[1]]);
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{wrong:?}: {}",
            people::text(&refused.stderr)
        );
    }
    street.close().await;
}
