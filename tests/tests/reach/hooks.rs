//! Receivers of webhooks: told everything in the order of each device, again until they take it, over crashes and new secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fixtures::recorded::StandIn;
use mdm_core::error::PortError;
use mdm_core::hook::HookMessage;
use mdm_core::ids::{DeviceId, HookId, HookMessageId, JobId, OrganisationId, RunbookId, Serial};
use mdm_core::job::{Job, JobKind};
use mdm_core::migration::{Notice, OperatorAct};
use mdm_core::secret::Secret;
use mdm_core::service::ports::{HookCarrier, Notifier};
use mdm_core::service::{HookChange, Ports};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, SqliteStore, Store};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};
use tokio::sync::Notify;

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
    /// What it never takes: messages of this type about this device.
    never: Mutex<Option<(String, String)>>,
    /// It takes connections and answers nothing until it is let go.
    hangs: Mutex<Option<String>>,
    let_go: Notify,
    /// Of how many people were told.
    people: AtomicUsize,
}

#[async_trait]
impl Notifier for Receivers {
    async fn notify(&self, _: OrganisationId, _: &Serial, _: Notice) -> Result<(), PortError> {
        self.people.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
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
        let body: Value = serde_json::from_slice(&body).unwrap();
        let hangs = self.hangs.lock().unwrap().as_deref() == Some(url);
        if hangs {
            let freed = self.let_go.notified();
            self.came.lock().unwrap().push(Came {
                url: url.to_owned(),
                name: of("webhook-id"),
                signatures: Vec::new(),
                signed,
                body,
                answered: None,
            });
            freed.await;
            return Err(PortError::retry("it does not answer in time"));
        }
        let never = self.never.lock().unwrap().clone();
        let refused = never
            .is_some_and(|(serial, kind)| body["data"]["serial"] == serial && body["type"] == kind);
        let answered = if refused {
            Some(400)
        } else {
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
            body,
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
        notifier: receivers.clone(),
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
    holds(house, &device).await;
    device
}

/// A device enrols, and its hold begins.
async fn holds(house: &House, device: &StandIn) {
    for (message, more) in [
        ("Authenticate", ""),
        ("TokenUpdate", "<key>AwaitingConfiguration</key><true/>"),
    ] {
        let body = check_in(house.serial, message, more);
        let (status, _) = house.send(house.signed("checkin", device, body)).await;
        assert_eq!(status, 200, "{message}");
    }
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
    let device = house.invited(house.serial, 1).await;
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
    // What a device does while it is off is written for it all the same, by the decision itself.
    holds(&house, &device).await;
    let (before, newest) = (sent, HookMessageId(i64::MAX));
    let rows = house.org.hook_messages("bad", newest, 10).await.unwrap();
    let open = rows.iter().find(|row| row.serial.as_str() == house.serial);
    let open = open.expect("it is kept");
    assert_eq!((open.notice, open.over), (Notice::Holding, None));
    work(&house).await;
    let sent = receivers.came.lock().unwrap().len();
    assert_eq!(sent, before, "nothing goes to a receiver that is off");
    receivers.script.lock().unwrap().clear();
    let on = HookChange {
        on: Some(true),
        ..HookChange::default()
    };
    house.org.change_hook("bad", &on).await.unwrap();
    house.clock.advance(Duration::from_hours(2));
    work(&house).await;
    let taken = receivers.taken(BAD);
    let of = |serial: &str| {
        let mine = taken.iter().filter(|c| c.body["data"]["serial"] == serial);
        mine.map(|c| c.body["type"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("HOOK1").len(), STORY.len());
    assert_eq!(of(house.serial)[0], "device.holding");
}

/// A receiver that takes connections and says nothing has a few of them and no round; then one message at a time finds out whether it
/// answers again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_does_not_answer_keeps_nothing_else_waiting() {
    const DEVICES: i64 = 400;
    let (house, receivers, _) = told().await;
    let all = BTreeSet::new();
    let made = house.org.new_hook("bad", BAD, &all).await.unwrap();
    let device = house.invited(house.serial, 1).await;
    holds(&house, &device).await;
    work(&house).await;
    let mdm = &house.app.mdm;
    *receivers.hangs.lock().unwrap() = Some(BAD.to_owned());
    mdm.set_patience(Some(Duration::from_secs(5)));
    for number in 1..=DEVICES {
        happen(&house, &[made.hook.id], number, &[Notice::Offered]).await;
    }
    let asked = || {
        let came = receivers.came.lock().unwrap();
        let asked = |c: &&Came| c.url == BAD && c.answered.is_none();
        came.iter().filter(asked).count()
    };
    // Something of another kind is due behind all of them.
    let id = house.org.organisation().id;
    let serial = Serial::parse(house.serial).unwrap();
    let row = mdm.store().device_by_serial(id, &serial).await;
    let kind = JobKind::Notify {
        notice: Notice::Exception,
        device: row.unwrap().unwrap().id,
    };
    let before = receivers.people.load(Ordering::Relaxed);
    house.clock.advance(Duration::from_millis(1));
    let mut batch = Batch::new();
    batch.put(Job::new(id, JobId(1_000_007), mdm.now(), kind));
    mdm.store().commit(batch).await.unwrap();
    let began = std::time::Instant::now();
    let mut rounds = 0;
    while receivers.people.load(Ordering::Relaxed) == before {
        mdm.work(50).await.unwrap();
        rounds += 1;
        assert!(rounds <= 20, "it still waits");
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "no round waits for a receiver"
    );
    let hanging = asked();
    assert!((1..200).contains(&hanging), "{hanging} are asked at once");

    // None of them is answered. From then on one at a time finds out whether that has changed.
    receivers.let_go.notify_waiters();
    mdm.idle().await;
    let asked_before = asked();
    house.clock.advance(Duration::from_mins(20));
    for _ in 0..20 {
        mdm.work(50).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let probes = asked() - asked_before;
    assert_eq!(probes, 1, "one of {DEVICES} asks");
    // It answers again: everybody is told, and nobody waits for hours.
    *receivers.hangs.lock().unwrap() = None;
    receivers.let_go.notify_waiters();
    mdm.idle().await;
    for _ in 0..6 {
        house.clock.advance(Duration::from_mins(10));
        while mdm.work(50).await.unwrap() > 0 {
            mdm.idle().await;
        }
    }
    let told = |c: &Came| c.body["type"] == "device.offered";
    let taken = receivers.taken(BAD);
    assert_eq!(taken.iter().filter(|c| told(c)).count(), 400);
}

/// A message that is never taken is given up after ten days, in the record, and then the rest of the device's story goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_never_takes_keeps_the_rest_of_the_story_for_ten_days_at_the_most() {
    let (house, receivers, _) = told().await;
    let all = BTreeSet::new();
    let made = house.org.new_hook("good", GOOD, &all).await.unwrap();
    let poison = ("HOOK1".to_owned(), "device.offered".to_owned());
    *receivers.never.lock().unwrap() = Some(poison);
    happen(&house, &[made.hook.id], 1, &STORY).await;
    let of = |serial: &str| {
        let taken = receivers.taken(GOOD);
        let mine = taken.iter().filter(|c| c.body["data"]["serial"] == serial);
        mine.map(|c| c.body["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for day in 0..9 {
        // Others are taken all the while: it is never switched off.
        happen(&house, &[made.hook.id], 2 + day, &STORY).await;
        for _ in 0..24 {
            work(&house).await;
            house.clock.advance(Duration::from_hours(1));
        }
        assert_eq!(of(&format!("HOOK{}", 2 + day)).len(), STORY.len());
        assert_eq!(of("HOOK1"), Vec::<String>::new(), "day {day}");
    }
    for _ in 0..40 {
        work(&house).await;
        house.clock.advance(Duration::from_hours(1));
    }
    let rest = STORY[1..].iter().map(|n| format!("device.{}", n.as_str()));
    assert_eq!(of("HOOK1"), rest.collect::<Vec<_>>());
    assert!(house.org.hook_named("good").await.unwrap().is_on());
    let record = house.org.record_tail(50).await.unwrap();
    let told = record.iter().find(|e| e.what == "hook.message-given-up");
    let detail = &told.expect("it is in the record").detail;
    assert_eq!(
        (&detail["notice"], &detail["trouble"]),
        (&json!("offered"), &json!("it answers 400"))
    );
    let rows = house
        .org
        .hook_messages("good", HookMessageId(i64::MAX), 100)
        .await
        .unwrap();
    let given_up: Vec<_> = rows.iter().filter(|row| !row.taken).collect();
    assert_eq!(given_up.len(), 1, "{given_up:?}");
    assert!(given_up[0].over.is_some());
}

/// Whoever is switched off by a person asked for that: nothing is written for it meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_for_a_receiver_that_a_person_switched_off() {
    let (house, receivers, _) = told().await;
    let all = BTreeSet::new();
    house.org.new_hook("good", GOOD, &all).await.unwrap();
    let turn = async |on: bool| {
        let change = HookChange {
            on: Some(on),
            ..HookChange::default()
        };
        house.org.change_hook("good", &change).await.unwrap()
    };
    let off = turn(false).await.off.expect("it is off");
    assert!(!off.by_itself);
    let device = house.invited(house.serial, 1).await;
    holds(&house, &device).await;
    turn(true).await;
    house.clock.advance(Duration::from_hours(2));
    work(&house).await;
    let holding = |came: &Came| came.body["type"] == "device.holding";
    assert!(!receivers.taken(GOOD).iter().any(holding));
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
