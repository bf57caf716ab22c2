//! Receivers of webhooks: told everything in the order of each device, again until they take it, over crashes and new secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fixtures::recorded::StandIn;
use mdm_core::error::PortError;
use mdm_core::hook::HookMessage;
use mdm_core::ids::{DeviceId, HookId, HookMessageId, RunbookId, Serial};
use mdm_core::job::Job;
use mdm_core::migration::{Notice, OperatorAct};
use mdm_core::secret::Secret;
use mdm_core::service::ports::HookCarrier;
use mdm_core::service::{HookChange, Ports};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore, Store};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::Value;

use super::house::{House, check_in, report};

const GOOD: &str = "https://good.example/in";
const BAD: &str = "https://bad.example/in";

/// One message as it came in.
#[derive(Clone, Debug)]
struct Came {
    url: String,
    name: String,
    signatures: Vec<String>,
    signed: Vec<u8>,
    body: Value,
    answered: Option<u16>,
}

/// Receivers of every kind: by what their address says they fail, answer late, or take.
#[derive(Default)]
struct Receivers {
    came: Mutex<Vec<Came>>,
    /// What the next messages are answered, by receiver; then 200.
    script: Mutex<BTreeMap<String, Vec<Option<u16>>>>,
}

#[async_trait]
impl HookCarrier for Receivers {
    async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<u16, PortError> {
        let of = |name: &str| {
            headers
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.clone())
                .unwrap()
        };
        let mut signed = format!("{}.{}.", of("webhook-id"), of("webhook-timestamp")).into_bytes();
        signed.extend(&body);
        let answered = {
            let mut script = self.script.lock().unwrap();
            let left = script.entry(url.to_owned()).or_default();
            if left.is_empty() {
                Some(200)
            } else {
                left.remove(0)
            }
        };
        self.came.lock().unwrap().push(Came {
            url: url.to_owned(),
            name: of("webhook-id"),
            signatures: of("webhook-signature")
                .split(' ')
                .map(str::to_owned)
                .collect(),
            signed,
            body: serde_json::from_slice(&body).unwrap(),
            answered,
        });
        answered.ok_or_else(|| PortError::retry("it does not answer in time"))
    }
}

impl Receivers {
    fn taken(&self, url: &str) -> Vec<Came> {
        let came = self.came.lock().unwrap();
        came.iter()
            .filter(|c| c.url == url && c.answered == Some(200))
            .cloned()
            .collect()
    }
}

fn sign(secret: &Secret, text: &[u8]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let key = secret
        .expose_text()
        .unwrap()
        .strip_prefix("whsec_")
        .unwrap()
        .to_owned();
    let key = PKey::hmac(&STANDARD.decode(key).unwrap()).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    format!(
        "v1,{}",
        STANDARD.encode(signer.sign_oneshot_to_vec(text).unwrap())
    )
}

/// A house whose webhooks go to these receivers.
async fn told() -> (House, Arc<Receivers>, Arc<dyn Store>) {
    let receivers = Arc::new(Receivers::default());
    let ports = Ports {
        hooks: receivers.clone(),
        ..Ports::refusing()
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let house = House::open_with(ports, Some(Arc::clone(&store))).await;
    (house, receivers, store)
}

/// Works until nothing is due at this moment.
async fn work(house: &House) {
    while house.app.mdm.work(50).await.unwrap() > 0 {}
}

/// Puts what a decision puts: messages in their order, and the job that sends them.
async fn happen(house: &House, hooks: &[HookId], device: i64, notices: &[Notice]) {
    let id = house.org.organisation().id;
    let now = house.app.mdm.now();
    let serial = Serial::parse(&format!("HOOK{device}")).unwrap();
    for (n, notice) in (1..).zip(notices) {
        let mut batch = Batch::new();
        for hook in hooks {
            let key = now.as_millis() * 1000 + device * 100 + n * 10 + hook.0 % 10;
            batch.put(HookMessage::new(
                id,
                HookMessageId(key),
                *hook,
                DeviceId(device),
                serial.clone(),
                *notice,
                now,
            ));
        }
        batch.put(Job::tell(id, DeviceId(device), now));
        house.app.mdm.store().commit(batch).await.unwrap();
    }
}

/// A device that waits in its hold.
async fn held(house: &House) -> StandIn {
    let device = house.invited(house.serial, 1).await;
    for (message, more) in [
        ("Authenticate", ""),
        ("TokenUpdate", "<key>AwaitingConfiguration</key><true/>"),
    ] {
        let body = check_in(house.serial, message, more);
        let (status, _) = house.send(house.signed("checkin", &device, body)).await;
        assert_eq!(status, 200, "{message}");
    }
    device
}

const STORY: [Notice; 5] = [
    Notice::Offered,
    Notice::Started,
    Notice::Holding,
    Notice::Released,
    Notice::Migrated,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_are_told_in_the_order_of_each_device_and_again_until_they_take_it() {
    let (house, receivers, _) = told().await;
    let all = BTreeSet::new();
    let good = house.org.new_hook("good", GOOD, &all).await.unwrap();
    let bad = house.org.new_hook("bad", BAD, &all).await.unwrap();
    // Fails, does not answer, sends elsewhere, refuses: each time it is asked again, later.
    let trouble = vec![Some(500), None, Some(302), Some(400), Some(200), Some(503)];
    receivers
        .script
        .lock()
        .unwrap()
        .insert(BAD.to_owned(), trouble);
    let ids = [good.hook.id, bad.hook.id];
    for device in 1..=3 {
        happen(&house, &ids, device, &STORY).await;
    }
    work(&house).await;
    assert_eq!(
        receivers.taken(GOOD).len(),
        15,
        "nobody waits for another receiver"
    );
    for _ in 0..12 {
        house.clock.advance(Duration::from_mins(2));
        work(&house).await;
    }
    for url in [GOOD, BAD] {
        let taken = receivers.taken(url);
        let names: BTreeSet<&String> = taken.iter().map(|c| &c.name).collect();
        assert_eq!((taken.len(), names.len()), (15, 15), "{url}: each once");
        for device in 1..=3 {
            let serial = format!("HOOK{device}");
            let mine = taken.iter().filter(|c| c.body["data"]["serial"] == serial);
            let kinds: Vec<String> = mine
                .map(|c| c.body["type"].as_str().unwrap().to_owned())
                .collect();
            let wanted = STORY.map(|notice| format!("device.{}", notice.as_str()));
            assert_eq!(kinds, wanted, "{url} {serial}");
        }
    }
    for came in receivers.taken(GOOD) {
        assert_eq!(came.signatures, [sign(&good.secret, &came.signed)]);
        assert_ne!(came.signatures, [sign(&bad.secret, &came.signed)]);
    }
    let rows = house
        .org
        .hook_messages("bad", HookMessageId(i64::MAX), 100)
        .await
        .unwrap();
    assert!(rows.iter().all(|m| m.taken && m.over.is_some()), "{rows:?}");
    assert!(rows.iter().any(|m| m.tries > 0));
    let hook = house.org.hook_named("bad").await.unwrap();
    assert_eq!((hook.failing_since, hook.trouble.as_deref()), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_signs_beside_the_old_one_for_a_day() {
    let (house, receivers, _) = told().await;
    let made = house
        .org
        .new_hook("good", GOOD, &BTreeSet::new())
        .await
        .unwrap();
    let new = house.org.rotate_hook("good").await.unwrap();
    happen(&house, &[made.hook.id], 1, &[Notice::Offered]).await;
    work(&house).await;
    house.clock.advance(Duration::from_hours(25));
    happen(&house, &[made.hook.id], 1, &[Notice::Started]).await;
    work(&house).await;
    let came = receivers.taken(GOOD);
    let both = [
        sign(&new.secret, &came[0].signed),
        sign(&made.secret, &came[0].signed),
    ];
    assert_eq!(came[0].signatures, both);
    assert_eq!(came[1].signatures, [sign(&new.secret, &came[1].signed)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_takes_nothing_for_days_is_switched_off_and_goes_on_where_it_was() {
    let (house, receivers, _) = told().await;
    let made = house
        .org
        .new_hook("bad", BAD, &BTreeSet::new())
        .await
        .unwrap();
    receivers
        .script
        .lock()
        .unwrap()
        .insert(BAD.to_owned(), vec![Some(500); 500]);
    happen(&house, &[made.hook.id], 1, &STORY).await;
    for _ in 0..80 {
        work(&house).await;
        house.clock.advance(Duration::from_hours(2));
    }
    let hook = house.org.hook_named("bad").await.unwrap();
    let off = hook.off.expect("it is off");
    assert!(off.why.contains("5 days"), "{}", off.why);
    let sent = receivers.came.lock().unwrap().len();
    assert!((10..60).contains(&sent), "less and less often: {sent}");
    let record = house.org.record_tail(50).await.unwrap();
    assert!(record.iter().any(|e| e.what == "hook.switched-off"));
    assert!(
        house
            .app
            .mdm
            .organisation_by_id(house.org.organisation().id)
            .await
            .unwrap()
            .organisation()
            .hooks
            .is_empty()
    );
    receivers.script.lock().unwrap().clear();
    let on = HookChange {
        on: Some(true),
        ..HookChange::default()
    };
    house.org.change_hook("bad", &on).await.unwrap();
    house.clock.advance(Duration::from_hours(2));
    work(&house).await;
    assert_eq!(receivers.taken(BAD).len(), STORY.len());
}

/// Between any two commits the process is killed: whoever goes on sends everything, in order; what had gone may go once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_crash_loses_a_message_or_turns_their_order() {
    let mut twice = 0;
    for nth in 1..=16 {
        let moment = if nth % 2 == 0 {
            Moment::After
        } else {
            Moment::Before
        };
        let (house, receivers, store) = told().await;
        let made = house
            .org
            .new_hook("good", GOOD, &BTreeSet::new())
            .await
            .unwrap();
        happen(&house, &[made.hook.id], 1, &STORY).await;
        let cut = FailingStore::new(store, nth, moment);
        let ports = Ports {
            hooks: receivers.clone(),
            ..Ports::refusing()
        };
        let killed = house.process(Arc::new(cut), ports).await;
        let _ = killed.mdm.work(50).await;
        for _ in 0..8 {
            house.clock.advance(Duration::from_mins(5));
            work(&house).await;
        }
        let taken = receivers.taken(GOOD);
        let mut kinds: Vec<String> = taken
            .iter()
            .map(|c| c.body["type"].as_str().unwrap().to_owned())
            .collect();
        twice += kinds.len() - STORY.len();
        kinds.dedup();
        let wanted = STORY.map(|notice| format!("device.{}", notice.as_str()));
        assert_eq!(kinds, wanted, "{moment:?} {nth}");
    }
    assert!(twice > 0, "no cut fell between a message and its note");
}

/// What a device does is told: the rows are in the batch of the cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_does_reaches_the_receivers_that_want_it() {
    let (house, receivers, _) = told().await;
    let some: BTreeSet<Notice> = [Notice::Holding].into();
    house.org.new_hook("good", GOOD, &some).await.unwrap();
    let other: BTreeSet<Notice> = [Notice::Migrated].into();
    house.org.new_hook("bad", BAD, &other).await.unwrap();
    held(&house).await;
    // Before anybody works: it is committed already.
    let rows = house
        .org
        .hook_messages("good", HookMessageId(i64::MAX), 10)
        .await
        .unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (rows[0].notice, rows[0].serial.as_str()),
        (Notice::Holding, house.serial)
    );
    work(&house).await;
    assert_eq!(receivers.taken(GOOD).len(), 1);
    assert!(receivers.taken(BAD).is_empty());
    let tested = house.org.test_hook("bad").await.unwrap();
    assert!(tested.taken);
    house.org.remove_hook("good").await.unwrap();
    assert!(house.org.hook_named("good").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_release_of_a_device_reaches_the_receivers_whatever_its_runbook_says() {
    let (house, receivers, _) = told().await;
    let some: BTreeSet<Notice> = [Notice::Released].into();
    house.org.new_hook("good", GOOD, &some).await.unwrap();
    let device = held(&house).await;
    // Nobody can read its runbook any more: no step of it tells anybody.
    let serial = Serial::parse(house.serial).unwrap();
    let known = Box::pin(house.org.device_report(&serial)).await.unwrap();
    let mut set_up = known.set_up.unwrap();
    set_up.runbook = RunbookId(1);
    let mut batch = Batch::new();
    batch.put(set_up);
    house.app.mdm.store().commit(batch).await.unwrap();
    let released = OperatorAct::Release;
    Box::pin(house.org.act(&serial, released)).await.unwrap();
    let told = async || {
        let all = house
            .org
            .hook_messages("good", HookMessageId(i64::MAX), 10)
            .await
            .unwrap();
        all.iter().map(|row| row.notice).collect::<Vec<_>>()
    };
    assert_eq!(told().await, [], "it is still held");
    let (status, command) = house.send(house.idle(&device)).await;
    assert_eq!(status, 200);
    assert!(command.contains("DeviceConfigured"), "{command}");
    let uuid = command.split("<key>CommandUUID</key>").nth(1).unwrap();
    let uuid = uuid.split("<string>").nth(1).unwrap();
    let uuid = uuid.split("</string>").next().unwrap();
    // It says so twice; whoever grants a grace period hears of its end once, in the commit of the answer.
    for _ in 0..2 {
        let told = format!("<key>CommandUUID</key><string>{uuid}</string>");
        let answer = report(house.serial, "Acknowledged", &told);
        let (status, _) = house.send(house.signed("command", &device, answer)).await;
        assert_eq!(status, 200);
    }
    assert_eq!(told().await, [Notice::Released]);
    work(&house).await;
    let taken = receivers.taken(GOOD);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].body["type"], "device.released");
    assert_eq!(taken[0].body["data"]["serial"], house.serial);
}
