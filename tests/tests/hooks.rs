//! Every kind of message from its cause to a receiver of nobody's making but this file's: devices of the simulated world migrate, one
//! past its deadline, one that is called back, one that never comes back from its hold, and what comes in over HTTP is signed, in order, and all there is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fixtures::clock::HOUR;
use fixtures::draw::Draw;
use fixtures::faults::{Fault, FaultKind, FaultPlan};
use fixtures::world::{Fleet, World, WorldConfig, serial_number};
use mdm_core::ids::{HookMessageId, Serial};
use mdm_core::migration::{Move, MoveState, Notice, Outcome};
use mdm_core::secret::Secret;
use mdm_core::service::{Act, MigrationAct};
use mdmd::rehearsal::{HouseOptions, START_MS, Stage, Timetable};
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::Value;

const SEED: u64 = 61;
const DEVICES: usize = 6;
const DESK: &str = "desk";

/// A request as it came in.
#[derive(Clone, Debug)]
struct Came {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    answered: u16,
}

impl Came {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    fn serial(&self) -> String {
        let body = self.json();
        body["data"]["serial"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Whether one of its signatures is by this secret: as the page for receivers says it.
    fn is_signed_by(&self, secret: &Secret) -> bool {
        let key = secret.expose_text().unwrap().strip_prefix("whsec_");
        let key = STANDARD.decode(key.unwrap()).unwrap();
        let key = PKey::hmac(&key).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        let (id, at) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        signer.update(format!("{id}.{at}.").as_bytes()).unwrap();
        signer.update(&self.body).unwrap();
        let wanted = STANDARD.encode(signer.sign_to_vec().unwrap());
        let given = self.header("webhook-signature").split(' ');
        given
            .filter_map(|one| one.strip_prefix("v1,"))
            .any(|one| one.len() == wanted.len() && memcmp::eq(one.as_bytes(), wanted.as_bytes()))
    }
}

/// Listens on a port of its own until the test is over. It is busy when a hold begins: each device's first word of that is refused.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Receiver {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            came: Arc::default(),
        };
        let own = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                own.take(stream.unwrap());
            }
        });
        receiver
    }

    fn take(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("POST /in "), "{line}");
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").unwrap().parse().unwrap();
        let mut body = vec![0_u8; length];
        reader.read_exact(&mut body).unwrap();
        let mut came = Came {
            headers,
            body,
            answered: 200,
        };
        {
            let mut all = self.came.lock().unwrap();
            let before = |c: &Came| c.serial() == came.serial() && c.kind() == came.kind();
            if came.kind() == "device.holding" && !all.iter().any(before) {
                came.answered = 503;
            }
            all.push(came.clone());
        }
        let answer = format!(
            "HTTP/1.1 {} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            came.answered
        );
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
    }

    fn all(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }
}

/// What comes first of what can become of a device: an order in which no two can change places.
fn rank(kind: &str) -> usize {
    let place = |n: &Notice| kind == format!("device.{}", n.as_str());
    let place = Notice::ALL.iter().position(place);
    place.unwrap_or_else(|| panic!("{kind} is no kind of message"))
}

fn outcome(members: &[Move], serial: &str) -> Outcome {
    let found = members.iter().find(|m| m.serial.as_str() == serial);
    match &found.unwrap().state {
        MoveState::Ended(outcome) => *outcome,
        other => panic!("{serial} has not ended: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_message_reaches_a_real_receiver_signed_and_in_order() {
    let [late, lost, back] = [0, 1, 2].map(|n| serial_number(SEED, n));
    let mut config = WorldConfig::new(SEED, START_MS, Fleet::Count(DEVICES));
    // Off for days when its deadline comes; it starts when it is on again.
    let off = Fault {
        kind: FaultKind::OffAtDeadline,
        duration_ms: 60 * HOUR,
        nth: 0,
        times: 1,
    };
    let never = Fault::drawn(FaultKind::NeverBack, &Draw::new(SEED), &lost);
    let faults = FaultPlan::none();
    config.faults = faults.with(&late, off).with(&lost, never);
    let world = World::start(config).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = HouseOptions::default();
    let stage = Stage::set(world, directory.path(), options).await.unwrap();
    let receiver = Receiver::open();
    let org = stage.org().await.unwrap();
    let url = format!("http://{}/in", receiver.address);
    let made = org.new_hook(DESK, &url, &BTreeSet::new()).await.unwrap();
    assert!(org.test_hook(DESK).await.unwrap().taken);

    let (wave, blocked) = stage.plan_for(None, &Timetable::default()).await.unwrap();
    assert_eq!(blocked, 0);
    // Offered its migration, and called back before it has begun.
    let offered = || {
        let came = receiver.all();
        let its = |one: &Came| one.serial() == back && one.kind() == "device.offered";
        came.iter().any(its)
    };
    stage.play_until(wave, &offered).await.unwrap();
    assert!(offered());
    let act = Act {
        what: MigrationAct::Cancel,
        serials: vec![Serial::parse(&back).unwrap()],
        reason: None,
    };
    let plan = org.plan_act(&act).await.unwrap();
    org.do_act(&act, &plan.digest).await.unwrap();
    stage.play(wave).await.unwrap();
    stage.settle().await.unwrap();
    let org = stage.org().await.unwrap();
    let members = org.members(wave).await.unwrap();
    let came = receiver.all();

    // Each is signed, with the moment at which it was sent, and whoever changes a byte is found out.
    let now = stage.mdm().now().as_secs();
    for one in &came {
        assert!(one.is_signed_by(&made.secret), "{one:?}");
        let mut touched = one.clone();
        touched.body.push(b' ');
        assert!(!touched.is_signed_by(&made.secret));
        let at: i64 = one.header("webhook-timestamp").parse().unwrap();
        assert!((START_MS / 1000..=now).contains(&at), "{at}");
        assert_eq!(one.header("content-type"), "application/json");
    }
    // Every kind has come.
    let kinds: BTreeSet<String> = came.iter().map(Came::kind).collect();
    let mut wanted: BTreeSet<String> = Notice::ALL
        .map(|notice| format!("device.{}", notice.as_str()))
        .into();
    wanted.insert("test".to_owned());
    assert_eq!(kinds, wanted);

    // Device by device in order, though the begin of each hold was refused first; and each message once.
    let mut by_device: BTreeMap<String, Vec<Came>> = BTreeMap::new();
    let taken = came.iter().filter(|c| c.answered == 200);
    for one in taken.filter(|c| c.kind() != "test") {
        by_device.entry(one.serial()).or_default().push(one.clone());
    }
    assert_eq!(by_device.len(), DEVICES);
    let refused = came.iter().filter(|c| c.answered != 200);
    let refused: Vec<&Came> = refused.collect();
    // One of them has none: it never came.
    assert_eq!(refused.len(), DEVICES - 1, "the first word of each hold");
    for (serial, told) in &by_device {
        let kinds: Vec<String> = told.iter().map(Came::kind).collect();
        let ids: BTreeSet<&str> = told.iter().map(|c| c.header("webhook-id")).collect();
        assert_eq!(ids.len(), told.len(), "{serial}: one came twice: {kinds:?}");
        let ranks: Vec<usize> = kinds.iter().map(|kind| rank(kind)).collect();
        assert!(ranks.is_sorted(), "{serial}: {kinds:?}");
        let end = match outcome(&members, serial) {
            Outcome::Migrated => "device.migrated",
            // Given up, and called back: nobody waits for it any more.
            Outcome::Failed if *serial == lost => "device.called_off",
            Outcome::Cancelled if *serial == back => "device.called_off",
            Outcome::MigratedWithExceptions | Outcome::Failed => "device.exception",
            other => panic!("{serial}: {other:?}"),
        };
        assert_eq!(kinds.last().map(String::as_str), Some(end), "{serial}");
        let has = |kind: &str| kinds.iter().any(|one| one == kind);
        for one in told {
            let data = one.json()["data"].clone();
            for part in ["device", "attempt", "wave", "deadline"] {
                assert!(data[part].is_string(), "{part}: {data}");
            }
        }
        assert_eq!(
            has("device.called_off"),
            [&lost, &back].contains(&serial),
            "{serial}: {kinds:?}"
        );
        assert!(has("device.offered"), "{serial}: {kinds:?}");
        if *serial == back {
            assert_eq!(kinds.len(), 2, "{kinds:?}");
            continue;
        }
        for kind in ["device.started", "device.holding"] {
            assert!(has(kind), "{serial}: {kinds:?}");
        }
        assert!(*serial != lost || has("device.exception"), "{kinds:?}");
        assert_eq!(
            has("device.released"),
            *serial != lost,
            "{serial}: {kinds:?}"
        );
        assert_eq!(
            has("device.overdue"),
            *serial == late,
            "{serial}: {kinds:?}"
        );
        // What was refused came again under its name, and nothing about its device in between.
        let first = refused.iter().find(|c| c.serial() == *serial).unwrap();
        let again = told.iter().find(|c| c.kind() == "device.holding").unwrap();
        assert_eq!(first.header("webhook-id"), again.header("webhook-id"));
    }
    assert_eq!(outcome(&members, &lost), Outcome::Failed);
    // What came is what was written: nothing was left, and nothing is still to come.
    let rows = org.hook_messages(DESK, HookMessageId(i64::MAX), 1000);
    let rows = rows.await.unwrap();
    assert!(rows.iter().all(|row| row.taken && row.over.is_some()));
    assert_eq!(rows.len(), by_device.values().map(Vec::len).sum::<usize>());
    stage.strike().await.unwrap();
}
