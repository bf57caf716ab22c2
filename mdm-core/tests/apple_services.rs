//! The device list and the budgets, against a stand-in that plays pages from a script: what makes a device gone and what does
//! not, several server entries, no assignment twice without a look, one budget for two processes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use abm_client::{Gate as _, RequestClass};
use async_trait::async_trait;
use mdm_core::budget::allowance;
use mdm_core::clock::{Clock, ManualClock, Timestamp};
use mdm_core::device::{AssignmentOutcome, Device, DeviceRecord};
use mdm_core::error::PortError;
use mdm_core::ids::{OrganisationId, Serial, ServerId};
use mdm_core::secret::Secret;
use mdm_core::service::ports::{
    Account, DeviceAssignment, DevicePage, LockOutcome, Ports, ServerCredential,
};
use mdm_core::service::{Mdm, MdmSettings, Org, PauseGate, SharedGate};
use mdm_core::store::testing::{FailingStore, Moment};
use mdm_core::store::{Batch, DeviceStore as _, SqliteStore, Store, WaveStore as _};
use mdm_core::vault::{EscrowVault, KeyWrap, VaultError};
use mdm_core::wave::SyncCursor;

const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);

struct Plain;

#[async_trait]
impl KeyWrap for Plain {
    fn key_id(&self) -> String {
        "plain".to_owned()
    }
    async fn wrap(&self, plain: &Secret, _: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(plain.expose().to_vec())
    }
    async fn unwrap(&self, _: &str, wrapped: &[u8], _: &[u8]) -> Result<Secret, VaultError> {
        Ok(Secret::new(wrapped))
    }
}

/// One page: serial numbers that are there, serial numbers that have left, and whether there is more.
type Page = (&'static [&'static str], &'static [&'static str], bool);

/// Plays pages; a token is the name of its server entry.
#[derive(Default)]
struct Script {
    full: Mutex<VecDeque<Page>>,
    changes: Mutex<VecDeque<Page>>,
    asked: Mutex<Vec<String>>,
    assigned: Mutex<Vec<Vec<Serial>>>,
    /// The next assignment is done, and its answer is lost.
    lose: Mutex<bool>,
    /// The next assignment is refused, and may be asked for again so much later.
    busy: Mutex<Option<Duration>>,
    /// No profile can be defined.
    refuse: Mutex<bool>,
    /// So many readings of a profile find none yet.
    hidden: Mutex<u32>,
    /// Profiles that were defined.
    defined: Mutex<u32>,
    /// Most devices of one assignment.
    most: Mutex<Option<usize>>,
    /// Places that the list names, in their order and from the beginning again; its own when there are none.
    circle: Mutex<Vec<&'static str>>,
    /// The next request from this place is told that it is not known any more.
    expired: Mutex<Option<&'static str>>,
    /// Another process on this store has taken the next page already, and is at "other".
    overtaken: Mutex<Option<SqliteStore>>,
}

impl Script {
    fn next(&self, queue: &Mutex<VecDeque<Page>>, server: ServerId, now: Timestamp) -> DevicePage {
        let (there, left, more) = queue
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or((&[], &[], false));
        let record = |serial: &&str, gone: bool| {
            let mut record = DeviceRecord::new(server, now);
            record.op_date = gone.then_some(now);
            record.gone = gone;
            record.family = "iPhone".to_owned();
            record.profile_status = "empty".to_owned();
            (Serial::parse(serial).unwrap(), record)
        };
        let there = there.iter().map(|s| record(s, false));
        let asked = self.asked.lock().unwrap().len();
        let circle = self.circle.lock().unwrap();
        let cursor = match circle.len() {
            0 => format!("c{asked}"),
            length => circle[(asked - 1) % length].to_owned(),
        };
        DevicePage {
            devices: there.chain(left.iter().map(|s| record(s, true))).collect(),
            cursor,
            more,
        }
    }
}

#[async_trait]
impl DeviceAssignment for Script {
    async fn account(&self, credential: &ServerCredential) -> Result<Account, PortError> {
        let name = credential.token.expose_text().unwrap_or("").to_owned();
        Ok(Account {
            server_name: name.clone(),
            server_uuid: name,
            organisation: None,
            token_expires: None,
        })
    }

    async fn fetch(
        &self,
        credential: &ServerCredential,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        let asked = format!("fetch {}", cursor.unwrap_or("-"));
        self.asked.lock().unwrap().push(asked);
        let expired = self
            .expired
            .lock()
            .unwrap()
            .take_if(|at| Some(*at) == cursor);
        if expired.is_some() {
            return Err(PortError::CursorExpired);
        }
        let overtaken = self.overtaken.lock().unwrap().take();
        if let Some(store) = overtaken {
            let row = store
                .server(credential.organisation, credential.server)
                .await;
            let mut row = row.unwrap().unwrap();
            row.cursor = SyncCursor::Full {
                cursor: "other".to_owned(),
                begun: now,
            };
            let mut batch = Batch::new();
            batch.put(row);
            store.commit(batch).await.unwrap();
        }
        Ok(self.next(&self.full, credential.server, now))
    }

    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        self.asked.lock().unwrap().push(format!("sync {cursor}"));
        // Changes are those of the first server entry; another one has none.
        let nothing = Mutex::default();
        let first = credential.token.expose_text() == Some("one");
        let queue = if first { &self.changes } else { &nothing };
        Ok(self.next(queue, credential.server, now))
    }

    async fn define_profile(
        &self,
        credential: &ServerCredential,
        _: &serde_json::Value,
    ) -> Result<String, PortError> {
        if *self.refuse.lock().unwrap() {
            return Err(PortError::retry("not now"));
        }
        *self.defined.lock().unwrap() += 1;
        Ok(profile_of(credential))
    }

    async fn read_profile(
        &self,
        _: &ServerCredential,
        _: &str,
    ) -> Result<serde_json::Value, PortError> {
        let mut hidden = self.hidden.lock().unwrap();
        if *hidden > 0 {
            *hidden -= 1;
            return Err(PortError::Refused("404".to_owned()));
        }
        Ok(serde_json::json!({ "await_device_configured": true }))
    }

    async fn most_assigned(&self, _: &ServerCredential) -> Result<usize, PortError> {
        Ok(self.most.lock().unwrap().unwrap_or(1000))
    }

    async fn assign(
        &self,
        credential: &ServerCredential,
        uuid: &str,
        serials: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        if uuid != profile_of(credential) {
            return Err(PortError::Refused("no such profile here".to_owned()));
        }
        self.assigned.lock().unwrap().push(serials.to_vec());
        if let Some(wait) = self.busy.lock().unwrap().take() {
            return Err(PortError::Retry {
                what: "too many requests".to_owned(),
                after: Some(wait),
            });
        }
        if std::mem::take(&mut *self.lose.lock().unwrap()) {
            return Err(PortError::Unknown("the connection broke".to_owned()));
        }
        let done = |s: &Serial| (s.clone(), AssignmentOutcome::Success);
        Ok(serials.iter().map(done).collect())
    }

    async fn lock(
        &self,
        _: &ServerCredential,
        _: &Serial,
        _: &str,
    ) -> Result<LockOutcome, PortError> {
        Ok(LockOutcome::Success)
    }
}

/// One profile for each server entry.
fn profile_of(credential: &ServerCredential) -> String {
    format!("PROFILE-{}", credential.token.expose_text().unwrap_or(""))
}

struct Stage {
    script: Arc<Script>,
    clock: ManualClock,
    store: SqliteStore,
    mdm: Mdm,
    organisation: OrganisationId,
}

impl Stage {
    async fn new(full: &[Page]) -> Self {
        let script = Arc::new(Script::default());
        script.full.lock().unwrap().extend(full.iter().copied());
        let clock = ManualClock::new(START);
        let store = SqliteStore::in_memory().await.unwrap();
        let mdm = mdm(Arc::new(store.clone()), &script, &clock);
        let made = mdm.create_organisation("Acme", Vec::new()).await.unwrap();
        Self {
            script,
            clock,
            store,
            mdm,
            organisation: made.org.organisation().id,
        }
    }

    async fn org(&self) -> Org {
        self.mdm
            .organisation_by_id(self.organisation)
            .await
            .unwrap()
    }

    async fn server(&self, name: &str) -> ServerId {
        let org = self.org().await;
        let token = Secret::from_text(name);
        org.import_server_token(&token, None).await.unwrap()
    }

    /// Lets so much time pass, and everything that is due on the way happen.
    async fn pass(&self, time: Duration) {
        let end = self.clock.now() + time;
        loop {
            while self.mdm.work(100).await.unwrap() > 0 {}
            match self.mdm.next_due().await.unwrap() {
                Some(next) if next <= end => self.clock.set(next.max(self.clock.now())),
                _ => break,
            }
        }
        self.clock.set(end);
    }

    async fn device(&self, serial: &str) -> Device {
        let serial = Serial::parse(serial).unwrap();
        let found = self.store.device_by_serial(self.organisation, &serial);
        found.await.unwrap().expect("a device")
    }

    async fn gone(&self, serial: &str) -> bool {
        self.device(serial).await.record.expect("a record").gone
    }
}

fn mdm(store: Arc<dyn Store>, script: &Arc<Script>, clock: &ManualClock) -> Mdm {
    let ports = Ports {
        assignment: script.clone(),
        ..Ports::refusing()
    };
    let settings = MdmSettings {
        device_url: "https://mdm.example.com".to_owned(),
        enrol_url: "https://mdm.example.com".to_owned(),
        sign_messages: false,
    };
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    Mdm::new(store, EscrowVault::new(Plain), clock, ports, settings)
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn only_a_complete_list_makes_a_device_gone_and_it_is_read_every_day() {
    let stage = Stage::new(&[(&["A", "B"], &[], true), (&["C"], &[], false)]).await;
    stage.server("one").await;
    stage.pass(MINUTE).await;
    // Hours of empty changes: nobody is gone.
    stage.pass(Duration::from_secs(5 * 3600)).await;
    for serial in ["A", "B", "C"] {
        assert!(!stage.gone(serial).await, "{serial}");
    }
    // The next day's list does not show B any more, on two pages.
    let pages: [Page; 2] = [(&["A"], &[], true), (&["C"], &[], false)];
    stage.script.full.lock().unwrap().extend(pages);
    stage.pass(DAY).await;
    assert!(stage.gone("B").await);
    assert!(!stage.gone("A").await && !stage.gone("C").await);
    let fetches = |asked: &[String]| asked.iter().filter(|a| *a == "fetch -").count();
    assert_eq!(fetches(&stage.script.asked.lock().unwrap()), 2);
}

#[tokio::test]
async fn killed_at_any_commit_of_a_reading_nothing_is_lost_and_nobody_wrongly_gone() {
    for nth in 1..30 {
        let stage = Stage::new(&[(&["A", "B"], &[], false)]).await;
        let server = stage.server("one").await;
        stage.pass(MINUTE).await;
        let pages: [Page; 2] = [(&["A"], &[], true), (&["C"], &[], false)];
        // As often as a killed reading may begin anew.
        for _ in 0..4 {
            stage.script.full.lock().unwrap().extend(pages);
        }
        stage.clock.advance(DAY);
        let failing = FailingStore::new(stage.store.clone(), nth, Moment::Before);
        let dying = mdm(Arc::new(failing.clone()), &stage.script, &stage.clock);
        let _ = dying.work(100).await;
        drop(dying);
        assert!(!stage.gone("A").await, "killed at commit {nth}");
        stage.clock.advance(Duration::from_secs(301));
        stage.script.full.lock().unwrap().clear();
        let cursor = |row: mdm_core::wave::Server| row.cursor;
        let at = cursor(
            stage
                .store
                .server(stage.organisation, server)
                .await
                .unwrap()
                .unwrap(),
        );
        // It goes on where it was: after the first page with the second one, after the last one with neither.
        match at {
            SyncCursor::Full { .. } => {
                stage.script.full.lock().unwrap().push_back(pages[1]);
            }
            SyncCursor::Sweeping { .. } => {}
            SyncCursor::Start | SyncCursor::Changes { .. } => {
                stage.script.full.lock().unwrap().extend(pages);
            }
        }
        stage.pass(Duration::from_secs(3600)).await;
        assert!(stage.gone("B").await, "killed at commit {nth}");
        assert!(
            !stage.gone("A").await && !stage.gone("C").await,
            "killed at commit {nth}"
        );
        if !failing.has_failed() {
            assert!(nth > 3, "a reading takes more commits than that");
            return;
        }
    }
    panic!("a reading takes too many commits");
}

#[tokio::test]
async fn that_profiles_cannot_be_assigned_keeps_nobody_from_reading_the_list() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    *stage.script.refuse.lock().unwrap() = true;
    stage.server("one").await;
    stage.pass(Duration::from_secs(3600)).await;
    let asked = stage.script.asked.lock().unwrap().len();
    assert!((6..=60).contains(&asked), "{asked} readings in an hour");
}

#[tokio::test]
async fn a_long_list_is_read_in_several_runs_and_each_page_once() {
    let pages: Vec<Page> = (0..50)
        .map(|n| (&["A", "B"][..], &[][..], n < 49))
        .collect();
    let stage = Stage::new(&pages).await;
    let server = stage.server("one").await;
    let mut runs = 0;
    let row = loop {
        assert!(stage.mdm.work(100).await.unwrap() > 0, "it stops halfway");
        runs += 1;
        let row = stage.store.server(stage.organisation, server).await;
        let row = row.unwrap().unwrap();
        if matches!(row.cursor, SyncCursor::Changes { .. }) {
            break row;
        }
        assert!(row.synced.is_none(), "not complete yet");
    };
    assert!((2..10).contains(&runs), "{runs} runs");
    let mut asked = stage.script.asked.lock().unwrap().clone();
    asked.retain(|a| a.starts_with("fetch"));
    assert_eq!(asked.len(), 50);
    let different: std::collections::BTreeSet<_> = asked.iter().collect();
    assert_eq!(different.len(), 50, "{asked:?}");
    assert!(row.last_full.is_some());
}

#[tokio::test]
async fn a_list_that_runs_in_a_circle_is_left_where_it_is_and_read_on_later() {
    for circle in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        // One that has left: nobody wants the list read sooner, to see an assignment.
        let page: Page = (&[], &["S1"], true);
        let stage = Stage::new(&[page; 200]).await;
        *stage.script.circle.lock().unwrap() = circle.to_vec();
        let one = stage.server("one").await;
        stage.pass(Duration::from_secs(60)).await;
        let asked = stage.script.asked.lock().unwrap().len();
        // The page that names the first place again was asked for, perhaps the one after it, and no more.
        assert!(asked <= circle.len() + 2, "{circle:?}: {asked}");
        let row = stage.store.server(stage.organisation, one).await;
        let at = row.unwrap().unwrap().cursor;
        assert!(
            matches!(&at, SyncCursor::Full { cursor, .. } if Some(&cursor.as_str()) == circle.last()),
            "{at:?}"
        );
        stage.pass(Duration::from_secs(600)).await;
        assert_eq!(stage.script.asked.lock().unwrap().len(), asked);
        // Once the list goes on, it is read on from there.
        stage.script.circle.lock().unwrap().clear();
        stage.script.full.lock().unwrap().clear();
        stage.pass(Duration::from_secs(600)).await;
        let last = format!("fetch {}", circle[circle.len() - 1]);
        assert!(stage.script.asked.lock().unwrap()[asked..].contains(&last));
    }
}

#[tokio::test]
async fn a_list_that_begins_anew_may_name_the_places_that_it_named_before() {
    let page: Page = (&["S1"], &[], true);
    let stage = Stage::new(&[page, page, page, (&["S2"], &[], false)]).await;
    *stage.script.circle.lock().unwrap() = vec!["a", "b"];
    *stage.script.expired.lock().unwrap() = Some("b");
    stage.server("one").await;
    stage.pass(Duration::from_secs(60)).await;
    let asked = stage.script.asked.lock().unwrap().clone();
    assert_eq!(asked[..4], ["fetch -", "fetch a", "fetch b", "fetch -"]);
    assert!(!stage.gone("S2").await, "read to its end: {asked:?}");
}

#[tokio::test]
async fn a_page_that_another_process_has_taken_is_not_taken_again() {
    let stage = Stage::new(&[(&["A"], &[], true), (&["B"], &[], false)]).await;
    *stage.script.overtaken.lock().unwrap() = Some(stage.store.clone());
    stage.server("one").await;
    stage.pass(Duration::from_secs(3600)).await;
    let asked = stage.script.asked.lock().unwrap().clone();
    assert_eq!(asked[..2], ["fetch -", "fetch other"], "{asked:?}");
    assert!(!stage.gone("B").await);
    let first = Serial::parse("A").unwrap();
    let found = stage.store.device_by_serial(stage.organisation, &first);
    assert!(found.await.unwrap().is_none(), "the page was the other's");
}

#[tokio::test]
async fn a_device_that_changes_lists_of_ours_is_not_gone() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let one = stage.server("one").await;
    stage.pass(MINUTE).await;
    stage
        .script
        .full
        .lock()
        .unwrap()
        .push_back((&["A"], &[], false));
    let two = stage.server("two").await;
    stage.pass(MINUTE).await;
    assert_eq!(stage.device("A").await.record.unwrap().server, two);
    // The first list says later that it has left there.
    stage
        .script
        .changes
        .lock()
        .unwrap()
        .push_back((&[], &["A"], false));
    let org = stage.org().await;
    assert_eq!(org.organisation().servers, [one, two]);
    stage.pass(Duration::from_secs(1200)).await;
    let record = stage.device("A").await.record.unwrap();
    assert!(stage.script.changes.lock().unwrap().is_empty());
    assert!(record.server == two && !record.gone, "{record:?}");
}

#[tokio::test]
async fn an_assignment_whose_answer_was_lost_is_not_repeated_before_the_list_was_read() {
    let stage = Stage::new(&[(&["A", "B"], &[], false)]).await;
    *stage.script.lose.lock().unwrap() = true;
    stage.server("one").await;
    // The assigner looks at devices once they are listed; the list is read again soon after.
    stage.pass(Duration::from_secs(500)).await;
    let asked = stage.device("A").await.assignment.asked.expect("asked");
    assert_eq!(stage.script.assigned.lock().unwrap().len(), 1);
    stage.pass(Duration::from_secs(3600)).await;
    // The list, read after that, still shows no profile: now it is asked again.
    let again = stage.device("A").await.assignment.asked.expect("asked");
    assert!(again >= asked + Duration::from_secs(600), "{asked} {again}");
    assert!(stage.script.assigned.lock().unwrap().len() >= 2);
}

#[tokio::test]
async fn an_assignment_that_apple_refused_is_asked_for_again_when_apple_says() {
    let stage = Stage::new(&[(&["A", "B"], &[], false)]).await;
    *stage.script.busy.lock().unwrap() = Some(Duration::from_secs(20));
    stage.server("one").await;
    stage.pass(Duration::from_secs(90)).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    assert_eq!(assigned.len(), 2, "{assigned:?}");
    assert_eq!(assigned[0], assigned[1]);
    let device = stage.device("A").await;
    assert_eq!(device.assignment.tries, 1, "one had outcomes");
}

#[tokio::test]
async fn a_profile_that_apple_shows_late_is_defined_once() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    *stage.script.hidden.lock().unwrap() = 3;
    stage.server("one").await;
    stage.pass(Duration::from_secs(1800)).await;
    assert_eq!(*stage.script.hidden.lock().unwrap(), 0, "it was read back");
    assert_eq!(*stage.script.defined.lock().unwrap(), 1);
    assert_eq!(stage.script.assigned.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_changed_profile_that_is_not_shown_yet_keeps_nobody_from_the_last_one() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    stage.server("one").await;
    stage.pass(Duration::from_secs(600)).await;
    assert_eq!(stage.script.assigned.lock().unwrap().len(), 1);
    *stage.script.hidden.lock().unwrap() = 1_000_000;
    let mut options = mdm_core::organisation::AdeOptions::default();
    options.department = Some("Another".to_owned());
    stage.org().await.set_ade_profile(&options).await.unwrap();
    let page: Page = (&["B"], &[], false);
    stage.script.changes.lock().unwrap().push_back(page);
    stage.pass(Duration::from_secs(1800)).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    let new = Serial::parse("B").unwrap();
    assert!(assigned.iter().any(|s| s.contains(&new)), "{assigned:?}");
    // Once it is shown everybody gets it.
    *stage.script.hidden.lock().unwrap() = 0;
    stage.pass(Duration::from_secs(3600)).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    let both = ["A", "B"].map(|s| Serial::parse(s).unwrap());
    assert!(
        both.iter()
            .all(|s| assigned[2..].iter().flatten().any(|a| a == s)),
        "{assigned:?}"
    );
}

#[tokio::test]
async fn a_profile_that_never_comes_to_be_is_defined_again_an_hour_later() {
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    *stage.script.hidden.lock().unwrap() = 1_000_000;
    stage.server("one").await;
    stage.pass(Duration::from_secs(5 * 3600)).await;
    let defined = *stage.script.defined.lock().unwrap();
    assert!((4..=6).contains(&defined), "{defined} in five hours");
}

#[tokio::test]
async fn no_request_names_more_devices_than_the_account_allows() {
    let stage = Stage::new(&[(&["A", "B", "C", "D", "E"], &[], false)]).await;
    *stage.script.most.lock().unwrap() = Some(2);
    stage.server("one").await;
    stage.pass(Duration::from_secs(600)).await;
    let assigned = stage.script.assigned.lock().unwrap().clone();
    assert!(
        assigned.iter().all(|serials| serials.len() <= 2),
        "{assigned:?}"
    );
    let all: std::collections::BTreeSet<&Serial> = assigned.iter().flatten().collect();
    assert_eq!(all.len(), 5);
}

#[tokio::test]
async fn a_device_that_wants_what_is_not_to_be_had_here_keeps_nobody_waiting() {
    use mdm_core::device::Platform;
    use mdm_core::migration::{PinnedRunbook, Variant};
    use mdm_core::service::Member;
    let stage = Stage::new(&[(&["A"], &[], false)]).await;
    let one = stage.server("one").await;
    stage.pass(MINUTE).await;
    // Its wave goes to the first entry, where it is offered its migration.
    let runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    let runbooks = std::collections::BTreeMap::from([(Platform::Ios, runbook)]);
    let member = Member {
        serial: Serial::parse("A").unwrap(),
        deadline: START + DAY * 30,
        available_from: START + DAY * 10,
        original_server: None,
    };
    let org = stage.org().await;
    org.plan_wave("one", one, &runbooks, &[member])
        .await
        .unwrap();
    let mut device = stage.device("A").await;
    device.assignment.wanted = Some("PROFILE-one".to_owned());
    device.assignment.from = Some(START);
    let mut batch = Batch::new();
    batch.put(device);
    stage.store.commit(batch).await.unwrap();
    // Somebody assigns it to the second one, where there is another device behind it.
    let page: Page = (&["A", "B"], &[], false);
    stage.script.full.lock().unwrap().push_back(page);
    stage.server("two").await;
    stage.pass(Duration::from_secs(600)).await;
    for serial in ["A", "B"] {
        let device = stage.device(serial).await;
        assert_eq!(device.assignment.wanted.as_deref(), Some("PROFILE-two"));
        assert!(
            device.assignment.asked.is_some(),
            "{serial} was assigned it"
        );
    }
    // Even where one stays that wants the other's, it keeps nobody from theirs.
    let mut device = stage.device("A").await;
    device.assignment.wanted = Some("PROFILE-one".to_owned());
    device.assignment.not_before = None;
    let mut batch = Batch::new();
    batch.put(device);
    stage.store.commit(batch).await.unwrap();
    let page: Page = (&["C"], &[], false);
    stage.script.changes.lock().unwrap().clear();
    stage
        .script
        .full
        .lock()
        .unwrap()
        .push_back((&["A", "B"], &[], true));
    stage.script.full.lock().unwrap().push_back(page);
    stage.pass(DAY + MINUTE * 20).await;
    assert!(stage.device("C").await.assignment.asked.is_some());
}

#[tokio::test]
async fn a_device_on_two_pages_is_one_device_as_the_later_page_says() {
    // The second page is worked out while the first, which makes the device, is being kept.
    let pages: [Page; 3] = [
        (&["A", "B"], &[], true),
        (&["B", "C"], &[], true),
        (&["C"], &["A"], false),
    ];
    let stage = Stage::new(&pages).await;
    stage.server("one").await;
    stage.pass(MINUTE).await;
    let asked = stage.script.asked.lock().unwrap().clone();
    assert_eq!(asked[..3], ["fetch -", "fetch c1", "fetch c2"], "{asked:?}");
    assert!(stage.gone("A").await && !stage.gone("B").await && !stage.gone("C").await);
    let after = mdm_core::ids::DeviceId(0);
    let all = stage.store.devices(stage.organisation, after, 10).await;
    assert_eq!(all.unwrap().len(), 3);
}

#[tokio::test]
async fn imports_at_the_same_time_are_all_in_force() {
    let stage = Stage::new(&[]).await;
    let org = stage.org().await;
    let key = Secret::from_text("key");
    let (one, two) = (Secret::from_text("one"), Secret::from_text("two"));
    // All of them read the organisation before any of them has written it.
    let (first, second, api, some, others) = tokio::join!(
        org.import_server_token(&one, None),
        org.import_server_token(&two, None),
        org.import_api("BUSINESSAPI.1", "k", &key),
        org.trust_device_ca(vec![1]),
        org.trust_device_ca(vec![2]),
    );
    let imported = std::collections::BTreeSet::from([first.unwrap(), second.unwrap()]);
    for done in [api, some, others] {
        done.unwrap();
    }
    let org = stage.org().await;
    let now = org.organisation();
    let servers: std::collections::BTreeSet<_> = now.servers.iter().copied().collect();
    assert_eq!(servers, imported);
    assert!(now.api.is_some());
    let mut trusted: Vec<_> = now.device_cas.iter().map(|ca| ca.0.clone()).collect();
    trusted.sort();
    assert_eq!(trusted, [vec![1], vec![2]]);
}

#[tokio::test]
async fn a_pause_holds_for_every_process_on_one_store() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let clock = ManualClock::new(START);
    // A turn of its own each: they know of each other by the store only.
    let gate = |name: &str| {
        PauseGate::new(
            store.clone(),
            Arc::new(clock.clone()),
            OrganisationId(1),
            name.to_owned(),
            Arc::default(),
        )
    };
    let (one, two, other) = (gate("token 1"), gate("token 1"), gate("token 2"));
    two.enter(RequestClass::Read).await.expect("no pause yet");
    one.pause(Duration::from_secs(90)).await;
    for class in [RequestClass::Read, RequestClass::Write] {
        let wait = two.enter(class).await.expect_err("paused");
        assert_eq!(wait, Duration::from_secs(90));
    }
    other
        .enter(RequestClass::Read)
        .await
        .expect("another token");
    // A shorter one that is asked for later ends no longer one.
    two.pause(Duration::from_secs(10)).await;
    clock.advance(Duration::from_secs(89));
    let wait = one.enter(RequestClass::Read).await.expect_err("paused");
    assert_eq!(wait, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    for gate in [&one, &two] {
        gate.enter(RequestClass::Read).await.expect("it is over");
    }
}

#[tokio::test]
async fn a_pause_that_cannot_be_written_down_is_kept_and_written_later() {
    let store = SqliteStore::in_memory().await.unwrap();
    let clock = ManualClock::new(START);
    let gate = |store: Arc<dyn Store>| {
        SharedGate::new(
            store,
            Arc::new(clock.clone()),
            OrganisationId(1),
            vec![("organisation-api".to_owned(), allowance(20, 10))],
            Arc::default(),
        )
    };
    let away = Arc::new(FailingStore::new(store.clone(), 0, Moment::Before));
    let ours = gate(away.clone());
    ours.enter(RequestClass::Read).await.expect("free");
    away.cut();
    ours.pause(Duration::from_secs(90)).await;
    away.mend();
    let wait = ours.enter(RequestClass::Read).await.expect_err("paused");
    assert_eq!(wait, Duration::from_secs(90));
    let others = gate(Arc::new(store));
    let wait = others.enter(RequestClass::Write).await;
    assert_eq!(
        wait.expect_err("paused for them too"),
        Duration::from_secs(90)
    );
    clock.advance(Duration::from_secs(90));
    ours.enter(RequestClass::Read).await.expect("it is over");
}

#[tokio::test]
async fn a_pause_that_is_lifted_is_lifted_in_a_process_that_could_not_write_it_down() {
    let stage = Stage::new(&[]).await;
    let away = Arc::new(FailingStore::new(stage.store.clone(), 0, Moment::Before));
    let ours = SharedGate::new(
        away.clone(),
        Arc::new(stage.clock.clone()),
        stage.organisation,
        vec![("organisation-api".to_owned(), allowance(20, 10))],
        Arc::default(),
    );
    ours.enter(RequestClass::Read).await.expect("free");
    away.cut();
    ours.pause(Duration::from_secs(3600)).await;
    away.mend();
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!(stage.org().await.lift_pauses().await.unwrap(), 0);
    ours.enter(RequestClass::Read).await.expect("lifted");
}

#[tokio::test]
async fn a_list_lets_the_reads_of_acts_of_another_process_go_first() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let clock = ManualClock::new(START);
    let gate = || {
        SharedGate::new(
            store.clone(),
            Arc::new(clock.clone()),
            OrganisationId(1),
            vec![("organisation-api".to_owned(), allowance(20, 10))],
            Arc::default(),
        )
    };
    let (list, acts) = (gate(), gate());
    while list.enter(RequestClass::Background).await.is_ok() {}
    for _ in 0..5 {
        acts.enter(RequestClass::Read).await.expect("room is left");
    }
    let wait = acts.enter(RequestClass::Read).await.expect_err("used up");
    clock.advance(wait);
    list.enter(RequestClass::Background)
        .await
        .expect("one page");
    list.enter(RequestClass::Background)
        .await
        .expect_err("it steps aside");
    for _ in 0..19 {
        acts.enter(RequestClass::Read).await.expect("first");
    }
}

#[tokio::test]
async fn two_processes_share_one_budget() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let clock = ManualClock::new(START);
    let gate = |client: &str| {
        SharedGate::new(
            store.clone(),
            Arc::new(clock.clone()),
            OrganisationId(1),
            vec![
                ("organisation-api".to_owned(), allowance(20, 10)),
                (format!("organisation-api {client}"), allowance(20, 10)),
            ],
            Arc::default(),
        )
    };
    let (one, two) = (gate("a"), gate("b"));
    for n in 0..10 {
        let gate = if n % 2 == 0 { &one } else { &two };
        gate.enter(RequestClass::Write)
            .await
            .expect("within the budget");
    }
    // Each account has used five; together they have used the organisation's ten.
    let wait = two.enter(RequestClass::Write).await.expect_err("used up");
    assert_eq!(wait, Duration::from_secs(3600));
    one.enter(RequestClass::Read)
        .await
        .expect("reads are apart");
    one.pause(Duration::from_secs(90)).await;
    let wait = two.enter(RequestClass::Read).await.expect_err("paused");
    assert_eq!(wait, Duration::from_secs(90));
    clock.advance(Duration::from_secs(3600));
    two.enter(RequestClass::Write).await.expect("an hour later");
}
