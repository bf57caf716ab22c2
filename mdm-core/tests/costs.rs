//! What a message costs, exactly, on either database: how many statements go to it, and how many batches are committed. A poll that
//! finds nothing is one read; everything else is one read and one commit; a command for a hundred devices takes what it takes for one.

mod service_house;
mod statements;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mdm_core::device::{Device, Platform};
use mdm_core::enrollment::{ChannelKind, Enrollment, EnrollmentState};
use mdm_core::hand_off::{HandOff, HandOffState};
use mdm_core::ids::{
    DeviceId, EnrollmentId, HandOffId, MoveId, RunbookId, SecretId, Serial, SetUpId, WaveId,
};
use mdm_core::migration::{Move, SetUp, Verdict, VerdictKind};
use mdm_core::original::OriginalFacts;
use mdm_core::service::{Answer, Enqueued, IdentitySettings, Org};
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{Batch, PostgresOptions, PostgresStore};
use mdm_core::wave::Wave;
use mdm_core::wire::command::CommandBody;
use service_house::{Gadget, House, command};
use statements::{Counter, all_told, so_far, with_words};

/// A message, its statements, its commits.
type Cost = (&'static str, usize, u64);

/// What was paid for since this was made.
struct Till<'a> {
    house: &'a House,
    statements: usize,
    commits: u64,
}

impl<'a> Till<'a> {
    async fn open(house: &'a House) -> Self {
        all_told().await;
        Self {
            house,
            statements: so_far(),
            commits: commits(house),
        }
    }

    async fn close(self, what: &'static str) -> Cost {
        all_told().await;
        let statements = so_far() - self.statements;
        (what, statements, commits(self.house) - self.commits)
    }
}

fn commits(house: &House) -> u64 {
    let figures = house.mdm.store().commit_figures();
    figures.expect("a store that counts").done
}

/// A device's message as the door for devices takes it: with the organisation that is kept.
async fn say(house: &House, org: &Org, gadget: &Gadget, message: Message<'_>) -> Answer {
    let code = &org.organisation().code;
    let kept = house.mdm.organisation_for_device(code).await.unwrap();
    let answer = match message {
        Message::CheckIn(body) => Box::pin(kept.check_in(&gadget.peer, &gadget.plist(body))).await,
        Message::Report(body) => Box::pin(kept.report(&gadget.peer, &gadget.plist(body))).await,
    };
    answer.unwrap()
}

#[derive(Clone, Copy)]
enum Message<'a> {
    CheckIn(&'a str),
    Report(&'a str),
}

const IDLE: Message<'static> = Message::Report("<key>Status</key><string>Idle</string>");

fn authenticate(mac: &Gadget) -> String {
    format!(
        "<key>MessageType</key><string>Authenticate</string><key>Topic</key><string>com.apple.mgmt.External.house</string>\
         <key>SerialNumber</key><string>{}</string><key>ProductName</key><string>{}</string>\
         <key>OSVersion</key><string>26.1</string>",
        mac.serial, mac.product
    )
}

/// Each token is other base64.
fn token_update(token: &str) -> String {
    format!(
        "<key>MessageType</key><string>TokenUpdate</string><key>Topic</key><string>com.apple.mgmt.External.house</string>\
         <key>PushMagic</key><string>MAGIC</string><key>Token</key><data>{token}</data>\
         <key>AwaitingConfiguration</key><false/>"
    )
}

/// The same from a device that says nothing of its hold any more.
fn new_token(token: &str) -> String {
    token_update(token).replace("<key>AwaitingConfiguration</key><false/>", "")
}

fn acknowledged(uuid: &str) -> String {
    format!(
        "<key>Status</key><string>Acknowledged</string><key>CommandUUID</key><string>{uuid}</string>"
    )
}

/// Answers whatever waits for a device, until nothing does.
async fn drain(house: &House, org: &Org, mac: &Gadget) {
    let mut answer = say(house, org, mac, IDLE).await;
    for _ in 0..50 {
        let Some((uuid, _)) = command(&answer) else {
            return;
        };
        answer = say(house, org, mac, Message::Report(&acknowledged(&uuid))).await;
    }
    panic!("there is always one more command");
}

/// Channels that are enrolled and have nothing waiting.
async fn fleet(house: &House, count: usize) -> Vec<String> {
    let mut batch = Batch::new();
    let mut keys = Vec::with_capacity(count);
    for n in 0..count {
        let (id, key) = (EnrollmentId(house.next_id()), format!("UDID-{n}"));
        let kind = ChannelKind::Device;
        let sha256 = format!("{n:064x}");
        let now = house.mdm.now();
        let mut row = Enrollment::pending(house.org, id, key.clone(), kind, sha256, now);
        row.state = EnrollmentState::Enrolled;
        row.enrolled = Some(now);
        batch.put(row);
        keys.push(key);
    }
    house.mdm.store().commit(batch).await.unwrap();
    keys
}

/// What each kind of message costs, one at a time.
async fn costs(house: &House) -> Vec<Cost> {
    let org = house.org().await;
    // What is read or pinned once for all devices, and the connections.
    let first = house.mac("C02COST01").await;
    say(house, &org, &first, Message::CheckIn(&authenticate(&first))).await;
    say(
        house,
        &org,
        &first,
        Message::CheckIn(&token_update("AAECAwQFBgc=")),
    )
    .await;
    drain(house, &org, &first).await;
    let fleet = fleet(house, 100).await;

    let mac = house.mac("C02COST02").await;
    let mut all = Vec::new();
    for (what, message) in [
        ("Authenticate", authenticate(&mac)),
        ("TokenUpdate, the first", token_update("AQIDBAUGBwg=")),
    ] {
        let till = Till::open(house).await;
        say(house, &org, &mac, Message::CheckIn(&message)).await;
        all.push(till.close(what).await);
    }
    drain(house, &org, &mac).await;

    let till = Till::open(house).await;
    let answer = say(house, &org, &mac, IDLE).await;
    all.push(till.close("Idle, nothing waits").await);
    assert!(matches!(answer, Answer::Empty));

    let till = Till::open(house).await;
    let message = new_token("AgMEBQYHCAk=");
    say(house, &org, &mac, Message::CheckIn(&message)).await;
    all.push(till.close("TokenUpdate, another token").await);

    let body = CommandBody::UserList;
    let own = [mac.udid.clone()];
    for uuid in ["U-1", "U-2"] {
        let queued = org.enqueue_many(&own, uuid, &body, false).await;
        assert_eq!(queued.unwrap(), [Enqueued::Queued]);
    }
    let (one, two) = (acknowledged("U-1"), acknowledged("U-2"));
    for (what, message, next) in [
        ("Idle, a command waits", IDLE, Some("U-1")),
        (
            "Acknowledged, another one waits",
            Message::Report(&one),
            Some("U-2"),
        ),
        ("Acknowledged, the last one", Message::Report(&two), None),
    ] {
        let till = Till::open(house).await;
        let answer = say(house, &org, &mac, message).await;
        all.push(till.close(what).await);
        let handed = command(&answer).map(|(uuid, _)| uuid);
        assert_eq!(handed.as_deref(), next, "{what}");
    }

    for (what, uuid, many) in [
        ("a command for one", "U-3", 1),
        ("a command for a hundred", "U-4", fleet.len()),
    ] {
        let till = Till::open(house).await;
        let queued = org.enqueue_many(&fleet[..many], uuid, &body, false).await;
        all.push(till.close(what).await);
        assert_eq!(queued.unwrap(), vec![Enqueued::Queued; many]);
    }
    all
}

/// What it costs to see what goes wrong in a wave of so many members that are to come, or that have enrolled.
async fn failures_cost(house: &House, members: usize, enrolled: bool) -> usize {
    let org = house.org().await;
    let (id, now) = (org.organisation().id, house.mdm.now());
    let (wave, runbook) = (WaveId(house.next_id()), RunbookId(1));
    let name = format!("wave of {members}, {enrolled}");
    let runbooks = BTreeMap::new();
    let mut batch = Batch::new();
    batch.put(Wave::draft(id, wave, &name, house.server, runbooks, now));
    for n in 0..members {
        let serial = Serial::parse(&format!("COST{members}{enrolled}N{n}")).unwrap();
        let (device, attempt) = (DeviceId(house.next_id()), MoveId(house.next_id()));
        let mut row = Device::new(id, device, serial.clone());
        row.open_move = Some(attempt);
        let deadline = now + Duration::from_hours(24 * 20);
        let mut member = Move::plan(
            id,
            attempt,
            wave,
            device,
            serial.clone(),
            runbook,
            deadline,
            now,
            None,
            now,
        );
        if enrolled {
            let (key, kind) = (format!("UDID-{serial}"), ChannelKind::Device);
            let channel = EnrollmentId(house.next_id());
            let sha256 = format!("{n:064x}");
            let mut channel = Enrollment::pending(id, channel, key, kind, sha256, now);
            channel.state = EnrollmentState::Enrolled;
            channel.enrolled = Some(now);
            channel.device = Some(device);
            row.enrollment = Some(channel.id);
            let verdict = Verdict {
                kind: VerdictKind::Migration,
                reasons: Vec::new(),
            };
            let set_up = SetUp::begin(
                id,
                SetUpId(house.next_id()),
                &channel,
                Platform::Macos,
                Some(attempt),
                runbook,
                verdict,
                now,
            );
            member.enrolled_as = Some(set_up.id);
            batch.put(channel).put(set_up);
        }
        batch.put(row).put(member);
    }
    house.mdm.store().commit(batch).await.unwrap();
    // What is counted over all waves is kept for minutes.
    let limit = 1_000;
    org.failures_of_wave(wave, MoveId(0), limit).await.unwrap();
    let till = Till::open(house).await;
    org.failures_of_wave(wave, MoveId(0), limit).await.unwrap();
    till.close("failures of a wave").await.1
}

/// In how many pages what was imported of so many devices is gone through, while so many rows that are over are cleared away, 500 at a
/// time. Those statements alone: how many rounds the rest takes depends on which of its jobs find each other in one.
async fn pages_of_imports(house: &House, over: usize, imported: usize) -> usize {
    let org = house.org().await;
    let keep = IdentitySettings {
        retention_days: Some(1),
        owner_days: Some(30),
        ..IdentitySettings::default()
    };
    org.set_identities(keep).await.unwrap();
    // The first round only sets the time of the next.
    house.settle().await;
    let (id, now) = (org.organisation().id, house.mdm.now());
    let mut batch = Batch::new();
    for _ in 0..over {
        let (job, key) = (HandOffId(house.next_id()), SecretId(house.next_id()));
        let mut job = HandOff::new((id, job), "Old", (vec![1], key), (now, now), "Anna");
        job.state = HandOffState::Closed {
            at: now,
            by: "Anna".to_owned(),
            bundle: None,
        };
        batch.put(job);
    }
    for _ in 0..imported {
        batch.put(OriginalFacts::new(id, DeviceId(house.next_id())));
    }
    house.mdm.store().commit(batch).await.unwrap();
    house.clock.advance(Duration::from_hours(3 * 24));
    all_told().await;
    let before = so_far();
    house.settle().await;
    all_told().await;
    let left = org.hand_offs(HandOffId(0), 10).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    with_words(before, "originals WHERE organisation = $1 AND id >")
}

#[tokio::test]
async fn a_message_costs_one_read_and_at_most_one_commit() {
    tracing::subscriber::set_global_default(Counter).unwrap();
    // One after the other: what is counted is everybody's. SQLite's commits are a statement for each table that is written or
    // rested on, in the same process; all of them are one transaction.
    let on_sqlite = costs(&House::new().await).await;
    assert_eq!(
        on_sqlite,
        [
            ("Authenticate", 6, 1),
            ("TokenUpdate, the first", 8, 1),
            ("Idle, nothing waits", 1, 0),
            ("TokenUpdate, another token", 4, 1),
            ("Idle, a command waits", 3, 1),
            ("Acknowledged, another one waits", 3, 1),
            ("Acknowledged, the last one", 3, 1),
            ("a command for one", 3, 1),
            ("a command for a hundred", 3, 1),
        ]
    );
    // A page of members costs the same however many of them there are.
    let house = House::new().await;
    let few = failures_cost(&house, 10, false).await;
    assert_eq!(failures_cost(&house, 300, false).await, few);
    // And so does one of members that have enrolled: two statements more, whose set-ups and channels they are.
    assert_eq!(failures_cost(&house, 10, true).await, few + 2);
    assert_eq!(failures_cost(&house, 300, true).await, few + 2);
    // What was imported is gone through once, in pages of 500 and an empty one, however many pieces of other rows went before.
    for (over, imported, pages) in [(0, 0, 1), (0, 1_100, 4), (1_200, 1_100, 4), (1_200, 0, 1)] {
        let went = pages_of_imports(&House::new().await, over, imported).await;
        assert_eq!(went, pages, "{over} over, {imported} imported");
    }
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
    let house = House::over_store(Arc::new(store.unwrap())).await;
    let on_postgres = costs(&house).await;
    // A way to the server and back for what is read, and another one for all that is written.
    assert_eq!(
        on_postgres,
        [
            ("Authenticate", 2, 1),
            ("TokenUpdate, the first", 2, 1),
            ("Idle, nothing waits", 1, 0),
            ("TokenUpdate, another token", 2, 1),
            ("Idle, a command waits", 2, 1),
            ("Acknowledged, another one waits", 2, 1),
            ("Acknowledged, the last one", 2, 1),
            ("a command for one", 2, 1),
            ("a command for a hundred", 2, 1),
        ]
    );
    server.clean().await;
}
