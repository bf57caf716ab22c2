//! Device identities over their life: renewed before they end and voiding nothing, still good after it as long as the
//! organisation says so, refused on another device, issued elsewhere, revoked.

mod service_house;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mdm_core::attested::AttestedFacts;
use mdm_core::device::Platform;
use mdm_core::error::Error;
use mdm_core::ids::{CertificateId, Serial};
use mdm_core::organisation::IdentityProtocol;
use mdm_core::secret::Secret;
use mdm_core::service::{Answer, IdentitySettings, IdentityState, NewIssuer, Peer};
use mdm_core::store::Batch;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::x509::X509Crl;
use service_house::{Gadget, House, START, command};

const IDLE: &str = "<key>Status</key><string>Idle</string>";
const DAY: Duration = Duration::from_hours(24);

/// Polls until the device gets a command of this type; the others it acknowledges.
async fn fetch(house: &House, gadget: &Gadget, wanted: &str) -> String {
    let mut answer = house.report(gadget, IDLE).await.unwrap();
    for _ in 0..20 {
        let Some((uuid, kind)) = command(&answer) else {
            panic!("no {wanted} is in the queue");
        };
        if kind == wanted {
            let Answer::Plist(bytes) = answer else {
                unreachable!()
            };
            return String::from_utf8(bytes).unwrap();
        }
        let done = format!(
            "<key>Status</key><string>Error</string><key>CommandUUID</key><string>{uuid}</string>"
        );
        answer = house.report(gadget, &done).await.unwrap();
    }
    panic!("no {wanted} among twenty commands");
}

/// The enrolment profile inside an `InstallProfile`, as text.
fn profile(command: &str) -> String {
    let (_, data) = command.split_once("<data>").unwrap();
    let (data, _) = data.split_once("</data>").unwrap();
    let data: String = data.chars().filter(|c| !c.is_whitespace()).collect();
    let signed = STANDARD.decode(data).unwrap();
    let mut content = Vec::new();
    CmsContentInfo::from_der(&signed)
        .unwrap()
        .verify(
            None,
            None,
            None,
            Some(&mut content),
            CMSOptions::BINARY | CMSOptions::NO_SIGNER_CERT_VERIFY,
        )
        .unwrap();
    String::from_utf8(content).unwrap()
}

fn text(plist: &str, key: &str) -> String {
    let (_, rest) = plist.split_once(&format!("<key>{key}</key>")).unwrap();
    let (_, rest) = rest.split_once("<string>").unwrap();
    rest.split_once("</string>").unwrap().0.to_owned()
}

/// Tells the store that this identity is due.
async fn make_due(house: &House, gadget: &Gadget) {
    let mut row = house.identity_of(gadget).await;
    row.renew_at = Some(house.mdm.now());
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
}

/// An hour later, so that whoever looks every hour has looked.
async fn an_hour(house: &House) {
    house.clock.advance(Duration::from_hours(1));
    house.settle().await;
}

#[tokio::test]
async fn a_renewal_goes_out_before_the_end_and_voids_nothing() {
    let house = House::new().await;
    let old = house.device("C02RENEW").await;
    house.enrol(&old).await;
    let token = "<key>MessageType</key><string>SetBootstrapToken</string>\
                 <key>BootstrapToken</key><data>c2VjcmV0</data>";
    house.check_in(&old, token).await.unwrap();
    let before = house.org().await.device_report(&old.serial).await.unwrap();
    make_due(&house, &old).await;
    an_hour(&house).await;

    let first = profile(&fetch(&house, &old, "InstallProfile").await);
    let code = house.org().await.organisation().code.clone();
    assert!(first.contains(&format!("<string>mdmd.{code}.enrolment</string>")));
    assert_eq!(
        text(&first, "ServerURL"),
        format!("https://mdm.example.com/mdm/{code}/command")
    );
    let row = house.identity_of(&old).await;
    assert!(row.renewal.is_some() && row.renew_at > Some(house.mdm.now()));

    // The device asks for its new identity and authenticates with it: announced, no more.
    let new = old.speaking(house.identity_for(&text(&first, "Challenge")).await);
    house.authenticate(&new).await.unwrap();
    house.report(&old, IDLE).await.unwrap();
    house.report(&new, IDLE).await.unwrap();
    let listed = house.org().await.identities(CertificateId(0), 10).await;
    let states: Vec<_> = listed.unwrap().into_iter().map(|i| i.state).collect();
    assert_eq!(states, [IdentityState::Speaks, IdentityState::Announced]);

    // Its TokenUpdate completes it; the old one is heard no more, and everything else is as it was.
    house.token_update(&new, "").await.unwrap();
    house.report(&new, IDLE).await.unwrap();
    let refused = house.report(&old, IDLE).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let after = house.org().await.device_report(&old.serial).await.unwrap();
    assert_eq!(after.enrollments.len(), 1);
    assert_eq!(after.enrollments[0].id, before.enrollments[0].id);
    assert_eq!(
        after.enrollments[0].bootstrap_token,
        before.enrollments[0].bootstrap_token
    );
    assert_eq!(
        after.set_up.map(|s| (s.id, s.enrollment)),
        before.set_up.map(|s| (s.id, s.enrollment))
    );
    // Nobody looks after the old one any more once its time has come again.
    house.clock.advance(DAY * 15);
    house.settle().await;
    assert_eq!(house.identity_of(&old).await.renew_at, None);
}

#[tokio::test]
async fn a_device_that_was_off_gets_a_fresh_profile_and_one_at_a_time() {
    let house = House::new().await;
    let phone = house.device("C02OFF").await;
    house.enrol(&phone).await;
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let first = profile(&fetch(&house, &phone, "InstallProfile").await);
    // The same one again, as long as it is good.
    house.settle().await;
    an_hour(&house).await;
    let again = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert_eq!(text(&first, "Challenge"), text(&again, "Challenge"));
    house.clock.advance(DAY * 15);
    house.settle().await;
    let fresh = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert_ne!(text(&first, "Challenge"), text(&fresh, "Challenge"));
    let report = house
        .org()
        .await
        .device_report(&phone.serial)
        .await
        .unwrap();
    let channel = report.enrollments.last().unwrap();
    let open = house
        .mdm
        .store()
        .open_commands(channel.organisation, channel.id, 100)
        .await
        .unwrap();
    let renewals = open.iter().filter(|c| c.request_type == "InstallProfile");
    assert_eq!(renewals.count(), 1);
    // What is queued holds a challenge, and no file of the database does.
    let challenge = text(&fresh, "Challenge");
    for (name, bytes) in house.files() {
        let found = bytes
            .windows(challenge.len())
            .any(|part| part == challenge.as_bytes());
        assert!(!found, "{name} holds a challenge");
    }
}

#[tokio::test]
async fn an_expired_identity_speaks_within_the_grace_and_its_renewal_is_queued() {
    let house = House::new().await;
    let phone = house.device("C02OLD").await;
    house.enrol(&phone).await;
    house.report(&phone, IDLE).await.unwrap();
    let mut row = house.identity_of(&phone).await;
    assert_eq!(row.spoke_expired, None);
    row.renew_at = None;
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
    // The certificates of this house end 400 days after its start.
    house.clock.advance(DAY * 401);
    house.report(&phone, IDLE).await.unwrap();
    house.report(&phone, IDLE).await.unwrap();
    let told = house.record(&phone).await;
    let told = told.iter().filter(|(what, _)| what == "identity.expired");
    assert_eq!(told.count(), 1, "once, and not with every message");
    house.settle().await;
    let row = house.identity_of(&phone).await;
    assert!(row.spoke_expired.is_some() && row.renewal.is_some());
    fetch(&house, &phone, "InstallProfile").await;
    let listed = house.org().await.identities(CertificateId(0), 10).await;
    assert_eq!(listed.unwrap()[0].state, IdentityState::Expired);

    let grace = IdentitySettings {
        expired_identity_grace_days: Some(0),
        ..IdentitySettings::default()
    };
    house.org().await.set_identities(grace).await.unwrap();
    let refused = house.report(&phone, IDLE).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let longer = IdentitySettings {
        expired_identity_grace_days: Some(30),
        ..IdentitySettings::default()
    };
    house.org().await.set_identities(longer).await.unwrap();
    house.report(&phone, IDLE).await.unwrap();
    let wrong = IdentitySettings {
        identity_days: Some(0),
        ..IdentitySettings::default()
    };
    assert!(house.org().await.set_identities(wrong).await.is_err());
}

#[tokio::test]
async fn the_identity_of_another_device_is_refused_and_the_record_says_whose_it_is() {
    let house = House::new().await;
    let (one, other) = (house.device("C02ONE").await, house.device("C02TWO").await);
    house.enrol(&one).await;
    house.enrol(&other).await;
    // A backup of the one, restored on the other: its messages under the identity of the one.
    let restored = other.speaking((one.certificate.clone(), one.key.clone()));
    let update = house.token_update(&restored, "").await;
    assert!(matches!(update, Err(Error::Refused(_))), "{update:?}");
    let report = house.report(&restored, IDLE).await;
    assert!(matches!(report, Err(Error::Refused(_))), "{report:?}");
    let again = house.authenticate(&restored).await;
    assert!(again.is_err(), "{again:?}");
    let refusals = house.org().await.refusals(10).await.unwrap();
    let whose: Vec<Option<Serial>> = refusals.iter().take(2).map(|r| r.serial.clone()).collect();
    assert_eq!(whose[1], Some(one.serial.clone()), "{refusals:?}");
    house.report(&one, IDLE).await.unwrap();
    house.report(&other, IDLE).await.unwrap();
}

#[tokio::test]
async fn an_authority_elsewhere_issues_for_sessions_of_ours_and_for_nothing_else() {
    let house = House::new().await;
    let phone = house.device("C02ELSE").await;
    house.enrol(&phone).await;
    let org = house.org().await;
    let acme = NewIssuer::Acme {
        directory_url: "https://ca.example.com/acme/directory".to_owned(),
        hardware_bound: true,
        attest: true,
    };
    let early = org.set_issuer(acme.clone()).await;
    assert!(matches!(early, Err(Error::Precondition(_))), "{early:?}");
    assert!(
        org.trust_authorities(&[b"no certificate".to_vec()])
            .await
            .is_err()
    );
    let leaf = phone.peer.certificate.clone().unwrap().0;
    assert!(
        org.trust_authorities(&[leaf]).await.is_err(),
        "no authority"
    );

    // Which session the profile of a renewal names is only known once it is there.
    let (placeholder, _) = house.identity_elsewhere("x");
    org.trust_authorities(&[placeholder]).await.unwrap();
    org.set_issuer(acme).await.unwrap();
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let sent = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert!(
        sent.contains("<string>com.apple.security.acme</string>"),
        "{sent}"
    );
    assert!(!sent.contains("com.apple.security.scep"), "{sent}");
    let session = text(&sent, "ClientIdentifier");
    assert!(sent.contains(&format!("<string>{session}</string>")));
    assert_eq!(
        text(&sent, "DirectoryURL"),
        "https://ca.example.com/acme/directory"
    );

    let with = |identity| phone.speaking(identity);
    // Of an authority that nobody trusts; of one that is trusted under a name that is no session's.
    let (authority, identity) = house.identity_elsewhere(&session);
    let stranger = with(identity.clone());
    assert!(matches!(
        house.authenticate(&stranger).await,
        Err(Error::BadInput { .. })
    ));
    let (other_authority, peer_of_nobody) = house.identity_elsewhere("nobody");
    let org = house.org().await;
    org.trust_authorities(&[authority, other_authority.clone()])
        .await
        .unwrap();
    let nobody = house.authenticate(&with(peer_of_nobody)).await;
    assert!(matches!(nobody, Err(Error::Refused(_))), "{nobody:?}");

    let new = with(identity);
    // It speaks for the first time by its signature, over the connection that the device has open with its old identity.
    let first = new.plist(&format!(
        "<key>MessageType</key><string>Authenticate</string>\
         <key>Topic</key><string>com.apple.mgmt.External.house</string>\
         <key>SerialNumber</key><string>{}</string>",
        new.serial
    ));
    let over_the_old = Peer {
        signature: Some(new.signature(&first)),
        ..phone.peer.clone()
    };
    let org = house.org().await;
    org.check_in(&over_the_old, &first).await.unwrap();
    house.token_update(&new, "").await.unwrap();
    house.report(&new, IDLE).await.unwrap();
    assert!(house.report(&phone, IDLE).await.is_err());
    let row = house.identity_of(&new).await;
    assert_eq!(row.authority, None);
    assert!(row.renew_at.is_some());
    // The name of the session is used up: another certificate with it is another's.
    let (third, late) = house.identity_elsewhere(&session);
    house.org().await.trust_authorities(&[third]).await.unwrap();
    let late = house.authenticate(&with(late)).await;
    assert!(matches!(late, Err(Error::Refused(_))), "{late:?}");
    // Our own door issues nothing meanwhile.
    let org = house.org().await;
    let asked = org.scep("192.0.2.1", "PKIOperation", b"x").await;
    assert!(matches!(asked, Err(Error::Precondition(_))), "{asked:?}");
    // And an authority that is dropped vouches for nobody.
    let dropped = mdm_core::identity::sha256_hex(&other_authority);
    org.distrust_authority(&dropped).await.unwrap();
    assert!(matches!(
        org.distrust_authority(&dropped).await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn a_scep_server_elsewhere_stands_in_the_profile_with_its_word() {
    let house = House::new().await;
    let phone = house.device("C02SCEP").await;
    house.enrol(&phone).await;
    let (authority, _) = house.identity_elsewhere("x");
    let org = house.org().await;
    org.trust_authorities(std::slice::from_ref(&authority))
        .await
        .unwrap();
    let issuer = NewIssuer::Scep {
        url: "https://ndes.example.com/certsrv/mscep/mscep.dll".to_owned(),
        name: Some("Campus".to_owned()),
        challenge: Some(Secret::from_text("the-word-of-the-campus")),
        authority: Some(authority),
    };
    org.set_issuer(issuer).await.unwrap();
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let sent = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert_eq!(
        text(&sent, "URL"),
        "https://ndes.example.com/certsrv/mscep/mscep.dll"
    );
    assert_eq!(text(&sent, "Name"), "Campus");
    assert_eq!(text(&sent, "Challenge"), "the-word-of-the-campus");
    for (name, bytes) in house.files() {
        let word = b"the-word-of-the-campus";
        let found = bytes.windows(word.len()).any(|part| part == word);
        assert!(!found, "{name} holds the word");
    }
    let org = house.org().await;
    org.set_issuer(NewIssuer::BuiltIn).await.unwrap();
    let wrong = NewIssuer::Scep {
        url: "ldap://x".to_owned(),
        name: None,
        challenge: None,
        authority: None,
    };
    assert!(org.set_issuer(wrong).await.is_err());
}

#[tokio::test]
async fn the_revocation_list_has_what_is_revoked_at_once_and_no_other_authority_s() {
    let house = House::new().await;
    let org = house.org().await;
    let own = org.organisation().identity_cas[0].certificate.0.clone();
    let name = mdm_core::identity::sha256_hex(&own)[..32].to_owned();
    let list = async || {
        let answer = house.org().await.revocation_list(&name).await.unwrap();
        let Answer::Scep { media_type, body } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(media_type, "application/pkix-crl");
        X509Crl::from_der(&body).unwrap()
    };
    let entries = |list: &X509Crl| list.get_revoked().map_or(0, |all| all.len());
    assert_eq!(entries(&list().await), 0);
    let phone = house.device("C02REVOKE").await;
    house.enrol(&phone).await;
    let mut row = house.identity_of(&phone).await;
    row.authority = Some(mdm_core::identity::sha256_hex(&own));
    let mut batch = Batch::new();
    batch.put(row);
    house.mdm.store().commit(batch).await.unwrap();
    let other = house.device("C02OTHER").await;
    house.enrol(&other).await;
    for device in [&phone, &other] {
        let org = house.org().await;
        let revoked = org.revoke_identity(&device.serial, "lost").await;
        assert_eq!(revoked.unwrap(), 1);
    }
    let made = list().await;
    // The other one was issued by the second authority of this house.
    assert_eq!(entries(&made), 1);
    let refused = house.report(&phone, IDLE).await;
    assert!(matches!(refused, Err(Error::Revoked)), "{refused:?}");
    // Handed out as it was made, and anew after half a day.
    let same = list().await.to_der().unwrap() == made.to_der().unwrap();
    assert!(same);
    house.clock.advance(DAY);
    let same = list().await.to_der().unwrap() == made.to_der().unwrap();
    assert!(!same);
    let org = house.org().await;
    assert!(org.revocation_list("0123").await.is_err());
}

#[tokio::test]
async fn a_new_authority_issues_and_the_identities_of_the_old_one_go_on_speaking() {
    let house = House::new().await;
    let phone = house.device("C02ROTATE").await;
    house.enrol(&phone).await;
    let org = house.org().await;
    let first = org.organisation().identity_cas[0].certificate.0.clone();
    let certificates = async || {
        let org = house.org().await;
        match org.scep("192.0.2.1", "GetCACert", b"").await.unwrap() {
            Answer::Scep { media_type, body } => (media_type, body),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        certificates().await,
        ("application/x-x509-ca-cert", first.clone())
    );
    org.new_authority().await.unwrap();
    let (_, second) = certificates().await;
    assert_ne!(first, second);
    house.report(&phone, IDLE).await.unwrap();
    let issuing = mdm_core::identity::sha256_hex(&second);
    let org = house.org().await;
    assert!(matches!(
        org.distrust_authority(&issuing).await,
        Err(Error::Precondition(_))
    ));
    org.use_registration_authority(true).await.unwrap();
    let (media_type, several) = certificates().await;
    assert_eq!(media_type, "application/x-x509-ca-ra-cert");
    assert!(several.len() > second.len());
    house
        .org()
        .await
        .use_registration_authority(false)
        .await
        .unwrap();
    assert_eq!(certificates().await.1, second);
}

#[tokio::test]
async fn an_identity_that_was_replaced_begins_no_generation() {
    let house = House::new().await;
    let first = house.device("C02PAST").await;
    house.enrol(&first).await;
    make_due(&house, &first).await;
    an_hour(&house).await;
    let announced = profile(&fetch(&house, &first, "InstallProfile").await);
    let renewed = first.speaking(house.identity_for(&text(&announced, "Challenge")).await);
    house.authenticate(&renewed).await.unwrap();
    house.token_update(&renewed, "").await.unwrap();
    let refused = house.authenticate(&first).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");

    // Enrolled anew: while that is pending the old one may say again what it said, and then no more.
    let anew = house.device("C02PAST").await;
    house.authenticate(&anew).await.unwrap();
    house.report(&renewed, IDLE).await.unwrap();
    house.token_update(&anew, "").await.unwrap();
    for past in [&first, &renewed] {
        let refused = house.authenticate(past).await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        let refused = house.token_update(past, "").await;
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    }
    house.report(&anew, IDLE).await.unwrap();
    let listed = house.org().await.identities(CertificateId(0), 10).await;
    let states: Vec<_> = listed.unwrap().into_iter().map(|i| i.state).collect();
    use IdentityState::{Replaced, Speaks};
    assert_eq!(states, [Replaced, Replaced, Speaks]);
    let report = house.org().await.device_report(&anew.serial).await.unwrap();
    assert_eq!(report.enrollments.len(), 2);
}

#[tokio::test]
async fn revoking_takes_every_identity_of_a_device_and_what_may_yet_bring_one() {
    let house = House::new().await;
    let earlier = house.device("C02STOLEN").await;
    house.enrol(&earlier).await;
    let phone = house.device("C02STOLEN").await;
    house.enrol(&phone).await;
    let unused = house.device("C02STOLEN").await;
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let profile = profile(&fetch(&house, &phone, "InstallProfile").await);
    let bystander = house.device("C02STAYS").await;
    house.enrol(&bystander).await;

    let org = house.org().await;
    let revoked = org.revoke_identity(&phone.serial, "stolen").await;
    assert_eq!(revoked.unwrap(), 3);
    for taken in [&earlier, &phone, &unused] {
        let refused = house.authenticate(taken).await;
        assert!(matches!(refused, Err(Error::Revoked)), "{refused:?}");
    }
    // The profile of the renewal that went out yields nothing more.
    let challenge = mdm_core::identity::sha256_hex(text(&profile, "Challenge").as_bytes());
    let store = house.mdm.store();
    let id = org.organisation().id;
    let session = store.session_by_challenge(id, &challenge).await.unwrap();
    assert!(session.unwrap().expires < house.mdm.now());
    let again = org.revoke_identity(&phone.serial, "stolen").await;
    assert_eq!(again.unwrap(), 0);
    house.report(&bystander, IDLE).await.unwrap();
    // It comes back by enrolling anew, and only so.
    let anew = house.device("C02STOLEN").await;
    house.enrol(&anew).await;
    house.report(&anew, IDLE).await.unwrap();
}

#[tokio::test]
async fn what_is_over_is_cleared_away_and_nobody_comes_back_with_it() {
    let mut house = House::new().await;
    let keep = IdentitySettings {
        retention_days: Some(30),
        ..IdentitySettings::default()
    };
    house.org().await.set_identities(keep).await.unwrap();
    let own = house.org().await.organisation().identity_cas[0]
        .certificate
        .0
        .clone();
    let (gone, stays) = (house.mac("C02GONE001").await, house.mac("C02STAYS01").await);
    for device in [&gone, &stays] {
        house.enrol(device).await;
        let mut row = house.identity_of(device).await;
        row.authority = Some(mdm_core::identity::sha256_hex(&own));
        row.renew_at = Some(row.not_after);
        let mut batch = Batch::new();
        batch.put(row);
        house.mdm.store().commit(batch).await.unwrap();
    }
    let org = house.org().await;
    org.revoke_identity(&gone.serial, "lost").await.unwrap();
    let organisation = org.organisation().id;
    let there = async |house: &House, device: &Gadget| {
        let der = &device.peer.certificate.as_ref().unwrap().0;
        let hash = mdm_core::identity::sha256_hex(der);
        let store = house.mdm.store();
        let row = store.certificate_by_hash(organisation, &hash).await;
        row.unwrap().is_some()
    };
    house.settle().await;
    // Until its end, a week on revocation lists, and 30 days that this organisation keeps it.
    let left = house
        .identity_of(&gone)
        .await
        .not_after
        .since(house.mdm.now());
    for (later, kept) in [(left + DAY * 36, true), (DAY * 2, false)] {
        house.clock.advance(later);
        house.settle().await;
        assert_eq!(there(&house, &gone).await, kept, "{later:?}");
        assert!(there(&house, &stays).await, "somebody speaks with it");
    }
    // Not even in a process that never saw it revoked.
    house = house.restarted().await;
    let refused = house.report(&gone, IDLE).await.unwrap_err();
    assert!(refused.is_callers_fault(), "{refused}");
    assert!(house.authenticate(&gone).await.is_err());
    house.report(&stays, IDLE).await.unwrap();
}

#[tokio::test]
async fn a_renewal_that_the_device_refuses_comes_again_soon_and_then_less_often() {
    let house = House::new().await;
    let phone = house.device("C02REFUSED").await;
    house.enrol(&phone).await;
    make_due(&house, &phone).await;
    an_hour(&house).await;
    for wait in [1, 2, 4] {
        let command = fetch(&house, &phone, "InstallProfile").await;
        let uuid = text(&command, "CommandUUID");
        let refused = format!(
            "<key>Status</key><string>Error</string><key>CommandUUID</key><string>{uuid}</string>"
        );
        house.report(&phone, &refused).await.unwrap();
        let again = house.identity_of(&phone).await.renew_at;
        assert_eq!(again, Some(house.mdm.now() + Duration::from_hours(wait)));
        // One that the device says again changes nothing.
        house.report(&phone, &refused).await.unwrap();
        assert_eq!(house.identity_of(&phone).await.renew_at, again);
        house.clock.advance(Duration::from_hours(wait));
        an_hour(&house).await;
    }
}

#[tokio::test]
async fn an_enrolment_profile_brings_the_organisations_network_and_what_its_platform_knows() {
    let house = House::new().await;
    let phone = house.device("C02NETWORK").await;
    house.enrol(&phone).await;
    let org = house.org().await;
    let password = Secret::from_text("correct horse");
    for (name, password) in [("", &password), ("Office", &Secret::from_text("short"))] {
        let refused = org.set_network(Some((name, Some(password))), false).await;
        assert!(
            matches!(refused, Err(Error::BadInput { .. })),
            "{refused:?}"
        );
    }
    org.set_network(Some(("Office", Some(&password))), true)
        .await
        .unwrap();
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let with = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert_eq!(text(&with, "SSID_STR"), "Office");
    assert_eq!(text(&with, "Password"), "correct horse");
    for (name, content) in house.files() {
        let shown = content.windows(13).any(|piece| piece == b"correct horse");
        assert!(!shown, "the password is in {name}");
    }
    // A device that Apple sends to us comes back over it.
    let asks = "<key>MessageType</key><string>ReturnToService</string>";
    let Answer::Plist(told) = house.check_in(&phone, asks).await.unwrap() else {
        panic!("no answer");
    };
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("WiFiProfileData"), "{told}");
    let enabled: String = told.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(enabled.contains("<key>Enabled</key><true/>"), "{told}");
    org.set_network(None, false).await.unwrap();
    house.clock.advance(15 * DAY);
    make_due(&house, &phone).await;
    an_hour(&house).await;
    let without = profile(&fetch(&house, &phone, "InstallProfile").await);
    assert!(!without.contains("SSID_STR"));
}

#[tokio::test]
async fn an_identity_speaks_when_its_time_has_come_and_a_day_before() {
    let house = House::new().await;
    let phone = house.device("C02EARLY01").await;
    // It begins a day before the start of this house.
    let check = async |days_before: u32| {
        house.clock.set(START - days_before * DAY);
        house.authenticate(&phone).await
    };
    let refused = check(3).await;
    assert!(
        matches!(&refused, Err(Error::BadInput { field, .. }) if field == "identity"),
        "{refused:?}"
    );
    check(2).await.unwrap();
}

/// The organisation demands attestations of phones.
async fn demand(house: &House) {
    let mut change = IdentitySettings::default();
    let attested = IdentityProtocol::AcmeAttested;
    change.identity_protocol.insert(Platform::Ios, attested);
    house.org().await.set_identities(change).await.unwrap();
}

#[tokio::test]
async fn what_a_device_says_of_itself_gets_it_no_lesser_identity() {
    for attested in [false, true] {
        let house = House::new().await;
        let phone = house.device("C02LIES").await;
        house.enrol(&phone).await;
        demand(&house).await;
        let store = house.mdm.store();
        let report = house.org().await.device_report(&phone.serial).await;
        let mut device = report.unwrap().device;
        device.attested = attested.then(|| AttestedFacts::new(house.mdm.now(), "root".to_owned()));
        device.facts.product = Some("VirtualMac2,1".to_owned());
        device.facts.os_version = Some("13.0".to_owned());
        let mut batch = Batch::new();
        batch.put(device);
        store.commit(batch).await.unwrap();
        make_due(&house, &phone).await;
        an_hour(&house).await;
        let sent = profile(&fetch(&house, &phone, "InstallProfile").await);
        // One of which nothing was ever attested is what it says that it is.
        assert_eq!(sent.contains("com.apple.security.acme"), attested, "{sent}");
        assert_eq!(
            sent.contains("com.apple.security.scep"),
            !attested,
            "{sent}"
        );
    }
}
