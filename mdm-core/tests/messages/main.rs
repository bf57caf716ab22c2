//! Every message of a device, in every order, twice, late, under every identity, with each key missing and each key of another
//! type. Whatever comes: the answer is one of the protocol or a refusal that is the sender's fault, a refusal leaves nothing, a
//! device has one enrolment that speaks, and no command goes to anybody else.

mod orders;
#[path = "../service_house/mod.rs"]
mod service_house;

use mdm_core::enrollment::EnrollmentState;
use mdm_core::error::Error;
use mdm_core::ids::{CommandId, DeviceId};
use mdm_core::secret::{Secret, SecretKind};
use mdm_core::service::Answer;
use service_house::{Gadget, House, command, revealed};

const TOPIC: &str = "com.apple.mgmt.External.house";

/// A message as its keys and values, so that one can be left out.
type Message = Vec<(&'static str, String)>;

fn string(text: &str) -> String {
    format!("<string>{text}</string>")
}

fn plist(message: &[(&str, String)]) -> Vec<u8> {
    let keys = message
        .iter()
        .map(|(key, value)| format!("<key>{key}</key>{value}"));
    let inner: String = keys.collect();
    format!("<plist version=\"1.0\"><dict>{inner}</dict></plist>").into_bytes()
}

/// Whether it goes to the check-in endpoint, what must be in it, and what may.
struct Kind {
    name: &'static str,
    checks_in: bool,
    required: &'static [&'static str],
    /// Whether a device that is enrolled gets a refusal for it, complete as it is.
    refused: bool,
}

const KINDS: [Kind; 17] = [
    kind("Authenticate", &["Topic"]),
    kind("TokenUpdate", &["Topic", "PushMagic", "Token"]),
    kind("user TokenUpdate", &["Topic", "PushMagic", "Token"]),
    kind("SetBootstrapToken", &[]),
    kind("GetBootstrapToken", &[]),
    kind("UserAuthenticate", &["UserID"]),
    kind("DeclarativeManagement", &["Endpoint"]),
    kind("DeclarativeManagement status", &["Endpoint"]),
    refused("GetToken", &["TokenServiceType"]),
    kind("ReturnToService", &[]),
    report("Idle", &[]),
    report("Acknowledged", &["CommandUUID"]),
    report("Error", &["CommandUUID"]),
    report("NotNow", &["CommandUUID"]),
    report("CommandFormatError", &["CommandUUID"]),
    kind("user CheckOut", &[]),
    kind("CheckOut", &[]),
];

const fn kind(name: &'static str, required: &'static [&'static str]) -> Kind {
    Kind {
        name,
        checks_in: true,
        required,
        refused: false,
    }
}

const fn refused(name: &'static str, required: &'static [&'static str]) -> Kind {
    Kind {
        name,
        checks_in: true,
        required,
        refused: true,
    }
}

const fn report(name: &'static str, required: &'static [&'static str]) -> Kind {
    Kind {
        name,
        checks_in: false,
        required,
        refused: false,
    }
}

fn message(kind: &Kind, gadget: &Gadget, uuid: &str) -> Message {
    let mut all: Message = vec![("UDID", string(&gadget.udid))];
    if kind.name.starts_with("user ") || kind.name == "UserAuthenticate" {
        all.push(("UserID", string("2E9B6E0C-3D55-4C1A-8E0F-0B6C7A1D9F33")));
        all.push(("UserShortName", string("rkeller")));
        all.push(("UserLongName", string("Robin Keller")));
        all.push(("NotOnConsole", "<false/>".to_owned()));
    }
    if !kind.checks_in {
        all.push(("Status", string(kind.name)));
        if kind.name != "Idle" {
            all.push(("CommandUUID", string(uuid)));
        }
        return all;
    }
    let plain = kind.name.trim_start_matches("user ");
    let plain = plain.split(' ').next().unwrap();
    all.push(("MessageType", string(plain)));
    match plain {
        "Authenticate" => all.extend([
            ("Topic", string(TOPIC)),
            ("SerialNumber", string(gadget.serial.as_str())),
            ("ProductName", string(&gadget.product)),
            ("OSVersion", string("26.1")),
            ("BuildVersion", string("23B85")),
        ]),
        "TokenUpdate" => all.extend([
            ("Topic", string(TOPIC)),
            ("PushMagic", string("magic")),
            ("Token", "<data>AAEC</data>".to_owned()),
        ]),
        "CheckOut" => all.push(("Topic", string(TOPIC))),
        "SetBootstrapToken" => all.push(("BootstrapToken", "<data>c2VjcmV0</data>".to_owned())),
        "DeclarativeManagement" if kind.name.ends_with("status") => {
            all.push(("Endpoint", string("status")));
            all.push(("Data", "<data>e30=</data>".to_owned()));
        }
        "DeclarativeManagement" => all.push(("Endpoint", string("tokens"))),
        "GetToken" => all.push(("TokenServiceType", string("com.example.none"))),
        _ => {}
    }
    all
}

async fn send(
    house: &House,
    gadget: &Gadget,
    kind: &Kind,
    message: &[(&str, String)],
) -> Result<Answer, Error> {
    let (org, body) = (house.org().await, plist(message));
    if kind.checks_in {
        org.check_in(&gadget.peer, &body).await
    } else {
        org.report(&gadget.peer, &body).await
    }
}

/// All that is stored of a device.
async fn contents(house: &House, id: DeviceId) -> String {
    let (store, org) = (house.mdm.store(), house.org().await.organisation().id);
    let mut all = format!(
        "{:?}\n{:?}\n{}\n",
        store.device(org, id).await.unwrap(),
        store.secrets(org, id).await.unwrap(),
        store.jobs_waiting().await.unwrap(),
    );
    for channel in store.enrollments_of_device(org, id).await.unwrap() {
        let users = store.user_channels(org, channel.id).await.unwrap();
        for channel in std::iter::once(channel).chain(users) {
            all += &format!(
                "{channel:?}\n{:?}\n{:?}\n",
                store
                    .commands(org, channel.id, CommandId(i64::MAX), 100)
                    .await
                    .unwrap(),
                store.set_up_of(org, channel.id).await.unwrap()
            );
        }
    }
    all
}

/// What holds after every message.
async fn laws(case: &str, house: &House, gadget: &Gadget, answer: &Result<Answer, Error>) {
    if let Err(error) = answer {
        assert!(error.is_callers_fault(), "{case}: {error}");
    }
    let report = house
        .org()
        .await
        .device_report(&gadget.serial)
        .await
        .unwrap();
    let speaks = |state| state == EnrollmentState::Enrolled;
    let enrolled = report.enrollments.iter().filter(|e| speaks(e.state));
    let enrolled: Vec<_> = enrolled.collect();
    assert!(enrolled.len() <= 1, "{case}: {enrolled:?}");
    let delivered = answer.as_ref().ok().and_then(command);
    if let Some((_, name)) = delivered {
        let sha256 = mdm_core::identity::sha256_hex(&gadget.peer.certificate.as_ref().unwrap().0);
        let own = enrolled.first().is_some_and(|e| e.knows(&sha256));
        assert!(own, "{case}: {name} went to somebody who is not enrolled");
    }
}

#[tokio::test]
async fn each_key_that_must_be_there_is_missed_and_what_is_refused_leaves_nothing() {
    let house = House::new().await;
    let gadget = house.device("MSGKEYS").await;
    house.enrol(&gadget).await;
    // The commands of its set-up would make each report mean something else.
    let id = house
        .org()
        .await
        .device_report(&gadget.serial)
        .await
        .unwrap()
        .device
        .id;
    let mut wrong = Vec::new();
    for kind in &KINDS {
        let whole = message(kind, &gadget, "5C1B7C26-6C1C-4B0F-8E34-6A39D0C9B7E1");
        for n in 0..whole.len() {
            let key = whole[n].0;
            let mut without = whole.clone();
            without.remove(n);
            let mut twisted = whole.clone();
            twisted[n].1 = "<array/>".to_owned();
            let mut empty = whole.clone();
            empty[n].1 = "<string></string>".to_owned();
            let always = ["UDID", "MessageType", "Status"].contains(&key);
            let must = always || kind.required.contains(&key);
            for (what, message) in [
                ("is missing", without),
                ("is an array", twisted),
                ("is empty", empty),
            ] {
                let case = format!("{}: {key} {what}", kind.name);
                let before = contents(&house, id).await;
                let answer = send(&house, &gadget, kind, &message).await;
                laws(&case, &house, &gadget, &answer).await;
                if must && !matches!(answer, Err(Error::BadInput { .. })) {
                    wrong.push(format!("{case}: {answer:?}"));
                }
                if answer.is_err() && contents(&house, id).await != before {
                    wrong.push(format!("{case} left something"));
                }
                // A check-out that went through ends what this test is about.
                if kind.name == "CheckOut" && answer.is_ok() {
                    house.token_update(&gadget, "").await.unwrap();
                }
            }
        }
        let case = format!("{}, complete", kind.name);
        let answer = send(&house, &gadget, kind, &whole).await;
        laws(&case, &house, &gadget, &answer).await;
        if answer.is_err() != kind.refused {
            wrong.push(format!("{case}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A small generator: one seed tells one story.
struct Seed(u64);

impl Seed {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

#[tokio::test]
async fn in_every_order_twice_and_late_the_laws_hold() {
    let house = House::new().await;
    let stranger = house.device("MSGOTHER").await;
    house.enrol(&stranger).await;
    let mut seen = std::collections::BTreeSet::new();
    for story in 0..24_u64 {
        let mut seed = Seed(story * 7919 + 1);
        let serial = format!("MSG{story}");
        // Two identities of one device: that of its first enrolment, and that of one that comes later.
        let first = house.device(&serial).await;
        let second = house.device(&serial).await;
        let foreign = first.speaking((stranger.certificate.clone(), stranger.key.clone()));
        let mut uuids = vec!["5C1B7C26-6C1C-4B0F-8E34-6A39D0C9B7E1".to_owned()];
        if seed.below(3) > 0 {
            house.enrol(&first).await;
        }
        let device = house
            .org()
            .await
            .device_report(&first.serial)
            .await
            .unwrap()
            .device;
        for step in 0..20 {
            // Mostly what a device would say next; otherwise anything.
            let kind = match seed.below(4) {
                0 => &KINDS[10],
                1 => &KINDS[seed.below(2)],
                _ => &KINDS[seed.below(KINDS.len())],
            };
            let gadget = match seed.below(8) {
                0 => &foreign,
                1 | 2 => &second,
                _ => &first,
            };
            let uuid = uuids[seed.below(uuids.len())].clone();
            let sent = message(kind, gadget, &uuid);
            for time in ["once", "twice"] {
                let case = format!("story {story}, step {step}: {} {time}", kind.name);
                let before = contents(&house, device.id).await;
                let answer = send(&house, gadget, kind, &sent).await;
                laws(&case, &house, gadget, &answer).await;
                match &answer {
                    Err(_) => {
                        assert_eq!(contents(&house, device.id).await, before, "{case}");
                        seen.insert(format!("{} refused", kind.name));
                    }
                    Ok(said) => {
                        seen.insert(format!("{} served", kind.name));
                        uuids.extend(command(said).map(|(uuid, _)| uuid));
                        assert!(
                            !std::ptr::eq(gadget, &raw const foreign),
                            "{case}: served under the identity of another device"
                        );
                    }
                }
                if seed.below(4) > 0 {
                    break;
                }
            }
            if seed.below(5) == 0 {
                house.settle().await;
            }
        }
        // Whatever it was: the stranger is served as before.
        house
            .report(&stranger, "<key>Status</key><string>Idle</string>")
            .await
            .unwrap();
    }
    // The stories reached both answers of what has two.
    for kind in KINDS.iter().filter(|k| !k.refused) {
        assert!(seen.contains(&format!("{} served", kind.name)), "{seen:?}");
        assert!(
            seen.contains(&format!("{} refused", kind.name)),
            "{} {seen:?}",
            kind.name
        );
    }
}

#[tokio::test]
async fn tokens_have_a_bound_and_so_have_their_rows() {
    let house = House::new().await;
    let mac = house.mac("MSGBOUNDS").await;
    house.enrol(&mac).await;
    let org = house.org().await;
    let id = org.device_report(&mac.serial).await.unwrap().device.id;
    let before = contents(&house, id).await;
    let large = |bytes: usize| service_house::data(&vec![7; bytes]);
    for (key, value) in [
        ("UnlockToken", large(64 * 1024 + 1)),
        ("Token", large(1025)),
        ("PushMagic", string(&"m".repeat(1025))),
    ] {
        let kind = kind("TokenUpdate", &[]);
        let mut all = message(&kind, &mac, "");
        all.retain(|(name, _)| *name != key);
        all.push((key, value));
        let answer = send(&house, &mac, &kind, &all).await;
        assert!(
            matches!(answer, Err(Error::BadInput { .. })),
            "{key}: {answer:?}"
        );
        assert_eq!(contents(&house, id).await, before, "{key}");
    }
    let count = async || {
        let all = house.mdm.store().secrets(org.organisation().id, id).await;
        all.unwrap().len()
    };
    let others = count().await;
    for n in 0..40_u8 {
        let token = format!("<key>UnlockToken</key>{}", service_house::data(&[n, 1]));
        house.token_update(&mac, &token).await.unwrap();
        let message = "<key>MessageType</key><string>SetBootstrapToken</string>";
        let token = service_house::data(&[n, 2]);
        let stored = format!("{message}<key>BootstrapToken</key>{token}");
        house.check_in(&mac, &stored).await.unwrap();
        if n % 2 == 0 {
            house.check_in(&mac, message).await.unwrap();
        }
        for (kind, newest) in [
            (SecretKind::UnlockToken, Some([n, 1])),
            (SecretKind::BootstrapToken, (n % 2 == 1).then_some([n, 2])),
        ] {
            // Nobody looks at more than a few.
            let tester = org.clone().acting_for(&format!("tester {n}"));
            let shown = tester.reveal(&mac.serial, kind, "to see it", None).await;
            let newest = newest.map(Secret::new);
            assert_eq!(shown.ok().map(revealed), newest, "{kind} {n}");
        }
    }
    assert!(count().await <= others + 18, "{}", count().await);
}

#[tokio::test]
async fn a_farewell_before_the_first_token_update_leaves_one_enrolment_that_speaks() {
    let house = House::new().await;
    let old = house.mac("MSGFAREWELL").await;
    house.enrol(&old).await;
    let new = house.device("MSGFAREWELL").await;
    house.authenticate(&new).await.unwrap();
    let bye = "<key>MessageType</key><string>CheckOut</string>";
    house.check_in(&new, bye).await.unwrap();
    house.token_update(&new, "").await.unwrap();
    let report = house.org().await.device_report(&old.serial).await.unwrap();
    let speaks = |e: &&mdm_core::enrollment::Enrollment| e.state == EnrollmentState::Enrolled;
    assert_eq!(report.enrollments.iter().filter(speaks).count(), 1);
    let idle = "<key>Status</key><string>Idle</string>";
    assert!(house.report(&new, idle).await.is_ok());
    assert!(
        house.report(&old, idle).await.is_err(),
        "the older one is over"
    );
}
