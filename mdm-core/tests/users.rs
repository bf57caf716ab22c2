//! Users who log in at a Mac, tokens for services with the key pairs that sign them, and channels of the rarer kinds: Shared iPad and user enrolment.

mod service_house;

use std::sync::Arc;
use std::time::Duration;

use mdm_core::ids::SecretId;
use mdm_core::organisation::UserLogins;
use mdm_core::secret::Secret;
use mdm_core::service::{Answer, Enqueued, EnrolmentChange, NetworkChange, NewCommand};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, Noun, OrganisationStore as _, SqliteStore, Store as _};
use mdm_core::wire::command::CommandBody;
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use openssl::x509::X509;
use service_house::{Gadget, House, command};

const USER: &str = "<key>UserID</key><string>2E9B6E0C</string>";

async fn set(house: &House, logins: UserLogins) {
    let org = house.org().await;
    org.set_enrolment(None, Some(logins), None).await.unwrap();
}

async fn ask(house: &House, mac: &Gadget, more: &str) -> Answer {
    let body = format!("<key>MessageType</key><string>UserAuthenticate</string>{USER}{more}");
    house.check_in(mac, &body).await.unwrap()
}

/// The text of a key in an answer.
fn text(answer: &Answer, key: &str) -> String {
    let Answer::Plist(body) = answer else {
        panic!("{answer:?}");
    };
    let body = String::from_utf8(body.clone()).unwrap();
    let (_, rest) = body.split_once(&format!("<key>{key}</key>")).expect(key);
    let rest = rest.trim_start();
    if rest.starts_with("<string/>") {
        return String::new();
    }
    let rest = rest.strip_prefix("<string>").unwrap();
    let text = rest.split_once("</string>").unwrap().0;
    text.replace("&quot;", "\"").replace("&amp;", "&")
}

fn md5(text: &str) -> String {
    let hash = openssl::hash::hash(MessageDigest::md5(), text.as_bytes()).unwrap();
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// What a Mac makes of a challenge and a password, by the specification.
fn response(challenge: &str, name: &str, password: &str) -> String {
    let part = |key: &str| {
        let (_, rest) = challenge.split_once(&format!("{key}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let (nonce, realm) = (part("nonce"), part("realm"));
    let key = md5(&format!("{name}:{realm}:{password}"));
    let digest = md5(&format!("{key}:{nonce}:{}", md5("PUT:/")));
    format!(
        "<key>DigestResponse</key><string>Digest username=\"{name}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"/\",response=\"{digest}\"</string>"
    )
}

async fn user_token(house: &House, mac: &Gadget, more: &str) -> Result<Answer, String> {
    let more = format!(
        "{USER}<key>UserShortName</key><string>anna</string><key>NotOnConsole</key><false/>{more}"
    );
    let done = house.token_update(mac, &more).await;
    done.map_err(|error| error.to_string())
}

#[tokio::test]
async fn network_users_are_managed_as_the_organisation_says() {
    let house = House::new().await;
    let mac = house.mac("C02USERS01").await;
    house.enrol(&mac).await;
    assert_eq!(ask(&house, &mac, "").await, Answer::Gone);
    set(&house, UserLogins::Open).await;
    assert_eq!(text(&ask(&house, &mac, "").await, "DigestChallenge"), "");
    // Without a challenge no token is needed.
    user_token(&house, &mac, "").await.unwrap();
    let idle = format!("<key>Status</key><string>Idle</string>{USER}");
    house.report(&mac, &idle).await.unwrap();
}

#[tokio::test]
async fn a_digest_proves_a_user_once_and_its_token_speaks_from_then_on() {
    let house = House::new().await;
    let mac = house.mac("C02USERS02").await;
    house.enrol(&mac).await;
    set(&house, UserLogins::Digest).await;
    let password = Secret::from_text("Circle of life".to_owned());
    let org = house.org().await;
    org.set_network_user("anna", &password).await.unwrap();

    let challenge = text(&ask(&house, &mac, "").await, "DigestChallenge");
    // While nothing is proved, nobody speaks for this user.
    assert!(user_token(&house, &mac, "").await.is_err());
    let wrong = response(&challenge, "anna", "hunter2");
    assert_eq!(text(&ask(&house, &mac, &wrong).await, "AuthToken"), "");
    // The challenge is used up: the right password comes too late for it.
    let late = response(&challenge, "anna", "Circle of life");
    assert_eq!(text(&ask(&house, &mac, &late).await, "AuthToken"), "");

    let challenge = text(&ask(&house, &mac, "").await, "DigestChallenge");
    let right = response(&challenge, "anna", "Circle of life");
    let token = text(&ask(&house, &mac, &right).await, "AuthToken");
    assert!(token.len() > 20, "{token}");
    let shown = format!("<key>AuthToken</key><string>{token}</string>");
    let refused = user_token(&house, &mac, "").await.unwrap_err();
    assert!(refused.starts_with("AuthToken"), "{refused}");
    user_token(&house, &mac, &shown).await.unwrap();
    let idle = format!("<key>Status</key><string>Idle</string>{USER}");
    assert!(house.report(&mac, &idle).await.is_err());
    house.report(&mac, &format!("{idle}{shown}")).await.unwrap();
    // Nothing of it is stored in clear.
    for (name, bytes) in house.files() {
        for secret in [token.as_str(), "Circle of life"] {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{secret} in {name}");
        }
    }
    org.remove_network_user("anna").await.unwrap();
    let challenge = text(&ask(&house, &mac, "").await, "DigestChallenge");
    let gone = response(&challenge, "anna", "Circle of life");
    assert_eq!(text(&ask(&house, &mac, &gone).await, "AuthToken"), "");
}

#[tokio::test]
async fn where_logins_are_proved_only_the_user_who_enrolled_has_a_channel_without() {
    let house = House::new().await;
    let mac = house.mac("C02USERS03").await;
    house.enrol(&mac).await;
    set(&house, UserLogins::Digest).await;
    let local = "<key>UserID</key><string>10CA1</string><key>UserShortName</key><string>owner</string><key>NotOnConsole</key><false/>";
    let idle = |user: &str| format!("<key>Status</key><string>Idle</string>{user}");
    // Whoever enrolled the Mac never sends UserAuthenticate.
    house.token_update(&mac, local).await.unwrap();
    house.report(&mac, &idle(local)).await.unwrap();
    // Nobody else opens a channel so.
    let refused = user_token(&house, &mac, "").await.unwrap_err();
    assert!(refused.starts_with("UserID"), "{refused}");
    // A channel that was opened while no proof was asked for speaks no more once it is.
    set(&house, UserLogins::Open).await;
    assert_eq!(text(&ask(&house, &mac, "").await, "DigestChallenge"), "");
    user_token(&house, &mac, "").await.unwrap();
    house.report(&mac, &idle(USER)).await.unwrap();
    set(&house, UserLogins::Digest).await;
    assert!(house.report(&mac, &idle(USER)).await.is_err());
    house.report(&mac, &idle(local)).await.unwrap();
}

#[tokio::test]
async fn a_token_for_managed_accounts_is_signed_with_the_key_that_the_portal_has() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let house = House::new().await;
    let mac = house.mac("C02TOKEN01").await;
    house.enrol(&mac).await;
    let get = |service: &str| {
        format!(
            "<key>MessageType</key><string>GetToken</string><key>TokenServiceType</key><string>{service}</string>"
        )
    };
    // Without a key pair nothing can be promised.
    let refused = house.check_in(&mac, &get("com.apple.maid")).await;
    assert!(refused.unwrap_err().is_callers_fault());
    let pair = house.org().await.new_token_key().await.unwrap();
    let Answer::Plist(body) = house.check_in(&mac, &get("com.apple.maid")).await.unwrap() else {
        panic!("no token");
    };
    let body = String::from_utf8(body).unwrap();
    let (_, data) = body.split_once("<data>").unwrap();
    let data: String = data
        .split_once("</data>")
        .unwrap()
        .0
        .split_whitespace()
        .collect();
    let token = String::from_utf8(STANDARD.decode(data).unwrap()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key = X509::from_der(&pair.certificate.0).unwrap();
    let key = key.public_key().unwrap();
    let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(
        verifier
            .verify_oneshot(&signature, signed.as_bytes())
            .unwrap()
    );
    let read = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (head, claims) = signed.split_once('.').unwrap();
    assert_eq!(read(head)["alg"], "RS256");
    let claims = read(claims);
    assert_eq!(claims["iss"], "OURS");
    assert_eq!(claims["service_type"], "com.apple.maid");
    assert_eq!(claims["iat"], service_house::START.as_secs());
    let refused = house.check_in(&mac, &get("com.apple.watch.pairing")).await;
    assert!(refused.unwrap_err().is_callers_fault());
}

#[tokio::test]
async fn users_of_a_shared_ipad_have_channels_by_their_accounts() {
    let house = House::new().await;
    let pad = house.device("C02SHARED1").await;
    house.enrol(&pad).await;
    let user = |name: &str| {
        format!(
            "<key>UserID</key><string>FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF</string>\
             <key>UserShortName</key><string>{name}</string><key>UserLongName</key><string>x</string>"
        )
    };
    for name in ["anna@example.com", "ben@example.com"] {
        house.token_update(&pad, &user(name)).await.unwrap();
    }
    let org = house.org().await;
    let channel = [format!("{}:ben@example.com", pad.udid)];
    let new = NewCommand::new("FOR-BEN", CommandBody::ProfileList(Default::default()));
    assert_eq!(
        org.enqueue(&channel, &new).await.unwrap(),
        [Enqueued::Queued]
    );
    let idle = |name: &str| format!("<key>Status</key><string>Idle</string>{}", user(name));
    let none = house.report(&pad, &idle("anna@example.com")).await.unwrap();
    assert_eq!(none, Answer::Empty);
    let some = house.report(&pad, &idle("ben@example.com")).await.unwrap();
    assert_eq!(command(&some).unwrap().0, "FOR-BEN");
    // Somebody who has no channel gets none of the others'.
    assert!(house.report(&pad, &idle("eve@example.com")).await.is_err());
}

#[tokio::test]
async fn a_user_enrolment_is_known_by_its_enrolment_identifier() {
    let house = House::new().await;
    let phone = house.device("C02BYOD001").await;
    // Its session names no device: a user enrolment never tells which one it is.
    let store = house.mdm.store();
    let organisation = house.org().await.organisation().id;
    let der = phone.peer.certificate.as_ref().unwrap();
    let hash = mdm_core::identity::sha256_hex(&der.0);
    let issued = store
        .certificate_by_hash(organisation, &hash)
        .await
        .unwrap();
    let session = store.session(organisation, issued.unwrap().session).await;
    let mut session = session.unwrap().unwrap();
    (session.device, session.serial) = (None, None);
    let mut batch = Batch::new();
    batch.put(session);
    store.commit(batch).await.unwrap();

    let org = house.org().await;
    let say = async |inner: &str, report: bool| {
        let body = format!(
            "<plist version=\"1.0\"><dict><key>EnrollmentID</key><string>ENROL-1</string>{inner}</dict></plist>"
        );
        let body = body.as_bytes();
        match report {
            true => org.report(&phone.peer, body).await,
            false => org.check_in(&phone.peer, body).await,
        }
    };
    let topic = "<key>Topic</key><string>com.apple.mgmt.External.house</string>";
    let tokens = format!(
        "<key>MessageType</key><string>TokenUpdate</string>{topic}<key>PushMagic</key><string>M</string><key>Token</key><data>AAEC</data>"
    );
    let begin = format!("<key>MessageType</key><string>Authenticate</string>{topic}");
    say(&begin, false).await.unwrap();
    say(&tokens, false).await.unwrap();
    let user = "<key>EnrollmentUserID</key><string>USER-1</string>";
    say(&format!("{tokens}{user}"), false).await.unwrap();
    let both = ["ENROL-1".to_owned(), "ENROL-1:USER-1".to_owned()];
    let new = NewCommand::new("BYOD", CommandBody::ProfileList(Default::default()));
    assert_eq!(
        org.enqueue(&both, &new).await.unwrap(),
        [Enqueued::Queued; 2]
    );
    let idle = "<key>Status</key><string>Idle</string>";
    let answer = say(&format!("{idle}{user}"), true).await.unwrap();
    assert_eq!(command(&answer).unwrap().0, "BYOD");
}

#[tokio::test]
async fn what_enrolments_demand_is_changed_in_one_batch() {
    let store = SqliteStore::in_memory().await.unwrap();
    let store = FailingStore::new(store, 0, Moment::Before);
    let house = House::over_store(Arc::new(store.clone())).await;
    let before = store.commits();
    let change = EnrolmentChange {
        facts_hours: Some(5),
        user_logins: Some(UserLogins::Open),
        network: NetworkChange::This {
            ssid: "Office",
            password: None,
            hidden: true,
        },
        ..EnrolmentChange::default()
    };
    let settings = house.org().await.change_enrolment(&change).await.unwrap();
    assert_eq!(store.commits(), before + 1);
    assert_eq!(
        (settings.facts_hours, settings.user_logins),
        (5, UserLogins::Open)
    );
    let org = house.org().await;
    let network = org.organisation().network.as_ref().unwrap();
    assert_eq!((&*network.ssid, network.hidden), ("Office", true));
    // What was not named stays.
    let settings = org.set_enrolment(None, None, Some(6)).await.unwrap();
    assert_eq!(
        (settings.facts_hours, settings.user_logins),
        (6, UserLogins::Open)
    );
    assert!(house.org().await.organisation().network.is_some());
    org.set_network(None, false).await.unwrap();
    assert!(house.org().await.organisation().network.is_none());
}

#[tokio::test]
async fn between_two_batches_under_one_condition_nobody_else_comes() {
    let store = SqliteStore::in_memory().await.unwrap();
    let house = House::over_store(Arc::new(store.clone())).await;
    let org = house.org().await;
    for rival in [false, true] {
        let version = house.org().await.organisation().version;
        let only = org.only_if(Noun::Organisation, house.org.0, version);
        let hours = if rival { 30 } else { 20 };
        let both = async {
            org.set_enrolment(None, None, Some(hours)).await.unwrap();
            if rival {
                let row = store.organisation(house.org).await.unwrap();
                let mut row = row.unwrap();
                row.settings.facts_hours = 40;
                let mut batch = Batch::new();
                batch.put(row);
                store.commit(batch).await.unwrap();
            }
            org.set_enrolment(None, None, Some(hours + 1)).await
        };
        let second = only.run(both).await;
        assert_eq!(only.was_refused(), rival, "{second:?}");
        assert_eq!(second.is_err(), rival);
        let now = house.org().await.organisation().settings.facts_hours;
        // What somebody else has set meanwhile was not seen, and stays.
        assert_eq!(now, if rival { 40 } else { 21 });
    }
}

#[tokio::test]
async fn the_pair_that_a_token_may_have_been_made_for_stays_and_the_oldest_goes_where_there_are_many()
 {
    let house = House::new().await;
    let org = house.org().await;
    let (store, own) = (house.mdm.store(), org.organisation().id);
    let is_destroyed = async |key: SecretId| {
        let kept = store.secret(own, key).await.unwrap().unwrap();
        kept.destroyed.is_some() && kept.sealed.0.is_empty()
    };
    // For which pair the token of this house was made nobody knows: the newest one stands for it.
    let first = org.new_token_key().await.unwrap();
    let refused = org.remove_token_key(&first.serial()).await.unwrap_err();
    let why = "may have been made for it";
    assert!(refused.to_string().contains(why), "{refused}");
    let second = org.new_token_key().await.unwrap();
    let refused = org.remove_token_key(&second.serial()).await.unwrap_err();
    assert!(refused.to_string().contains(why), "{refused}");
    assert!(!is_destroyed(first.key).await && !is_destroyed(second.key).await);
    org.remove_token_key(&first.serial()).await.unwrap();
    assert!(is_destroyed(first.key).await);
    // Twenty are kept. With the next one the oldest goes that was not there when the token came in, and its private key with it.
    house.clock.advance(Duration::from_hours(48));
    let mut later = Vec::new();
    for _ in 0..19 {
        later.push(org.new_token_key().await.unwrap().key);
    }
    assert!(!is_destroyed(second.key).await && !is_destroyed(later[0]).await);
    let newest = org.new_token_key().await.unwrap();
    assert!(!is_destroyed(second.key).await && is_destroyed(later[0]).await);
    let kept = org.token_keys().await.unwrap();
    assert_eq!(kept.len(), 20);
    assert!(kept.iter().all(|pair| pair.key != later[0]));
    assert_eq!(kept.last().map(|pair| pair.key), Some(newest.key));
    // One that has come in since may have been made for any of them: none goes without a word.
    let entry = store.server(own, house.server).await.unwrap().unwrap();
    let mut token = store.secret(own, entry.token).await.unwrap().unwrap();
    token.created = house.mdm.now();
    let mut batch = Batch::new();
    batch.put(token);
    store.commit(batch).await.unwrap();
    let refused = org.new_token_key().await.unwrap_err().to_string();
    for says in [entry.name.as_str(), "nobody knows", "mdmd token remove-key"] {
        assert!(refused.contains(says), "{says}: {refused}");
    }
    assert_eq!(org.token_keys().await.unwrap(), kept);
    org.remove_token_key(&second.serial()).await.unwrap();
    org.new_token_key().await.unwrap();
}
