//! Work is claimed with leases of seconds: kept by whoever lives, free soon after a death, at once after an end in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::clock::{Clock as _, ManualClock, Timestamp};
use mdm_core::device::Device;
use mdm_core::error::PortError;
use mdm_core::ids::{DeviceId, JobId, OrganisationId, Serial};
use mdm_core::job::{Job, JobKind};
use mdm_core::migration::Notice;
use mdm_core::service::ports::{Notifier, Ports};
use mdm_core::service::{Mdm, MdmSettings};
use mdm_core::store::{Batch, JobStore as _, Lease, SqliteStore, Store as _};
use mdm_core::vault::{EscrowVault, PlainKeys};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::sync::Semaphore;

const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// Takes nothing until it is let.
struct Hangs {
    begun: AtomicUsize,
    given_up: AtomicUsize,
    let_go: Semaphore,
}

/// Counts who was stopped in the middle.
struct Under<'a>(&'a Hangs, bool);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.given_up.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Notifier for Hangs {
    async fn notify(&self, _: OrganisationId, _: &Serial, _: Notice) -> Result<(), PortError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut under = Under(self, false);
        let taken = self.let_go.acquire().await;
        under.1 = true;
        taken
            .map(tokio::sync::SemaphorePermit::forget)
            .map_err(|_| PortError::Refused("closed".to_owned()))
    }
}

struct Stage {
    clock: ManualClock,
    store: Arc<SqliteStore>,
    notifier: Arc<Hangs>,
    organisation: OrganisationId,
}

impl Stage {
    async fn new() -> Self {
        Self::over(SqliteStore::in_memory().await.unwrap()).await
    }

    /// One job is due.
    async fn over(store: SqliteStore) -> Self {
        let clock = ManualClock::new(START);
        let store = Arc::new(store);
        let notifier = Arc::new(Hangs {
            begun: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            let_go: Semaphore::new(0),
        });
        let mut stage = Self {
            clock,
            store,
            notifier,
            organisation: OrganisationId(0),
        };
        let mdm = stage.process();
        let made = mdm.create_organisation("Leases", Vec::new()).await;
        stage.organisation = made.unwrap().org.organisation().id;
        while mdm.work(100).await.unwrap() > 0 {}
        let mut batch = Batch::new();
        let serial = Serial::parse("LEASES1").unwrap();
        batch.put(Device::new(stage.organisation, DeviceId(1), serial));
        batch.put(stage.job(1));
        stage.store.commit(batch).await.unwrap();
        stage
    }

    fn job(&self, id: i64) -> Job {
        let kind = JobKind::Notify {
            notice: Notice::Offered,
            device: DeviceId(1),
        };
        Job::new(self.organisation, JobId(id), self.clock.now(), kind)
    }

    fn process(&self) -> Mdm {
        let ports = Ports {
            notifier: Arc::clone(&self.notifier) as Arc<dyn Notifier>,
            ..Ports::refusing()
        };
        let settings = MdmSettings {
            device_url: "https://mdm.example.com".to_owned(),
            enrol_url: "https://mdm.example.com".to_owned(),
            sign_messages: true,
        };
        let vault = EscrowVault::new(PlainKeys);
        let clock = Arc::new(self.clock.clone());
        let store = Arc::clone(&self.store);
        let mdm = Mdm::new(store, vault, clock, ports, settings);
        mdm.set_patience(Some(Duration::from_millis(20)));
        mdm
    }

    fn begun(&self) -> usize {
        self.notifier.begun.load(Ordering::SeqCst)
    }

    fn given_up(&self) -> usize {
        self.notifier.given_up.load(Ordering::SeqCst)
    }

    async fn there(&self) -> bool {
        let times = self.store.job_times(self.organisation, JobId(1)).await;
        times.unwrap().is_some()
    }
}

/// Until it is so, by the clock on the wall.
async fn until(what: &str, so: impl Fn() -> bool) {
    for _ in 0..500 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_is_kept_for_as_long_as_it_takes() {
    let stage = Stage::new().await;
    let (one, two) = (stage.process(), stage.process());
    one.work(100).await.unwrap();
    until("it is begun", || stage.begun() == 1).await;
    // Ten leases long, a quarter at a time, so that the one can renew before the next step.
    for step in 1..=40_u32 {
        let now = START + SECOND * 5 * step;
        stage.clock.set(now);
        let kept = async || {
            let times = stage.store.job_times(stage.organisation, JobId(1)).await;
            times.unwrap().unwrap().leased_until == now + SECOND * 20
        };
        for _ in 0..500 {
            if kept().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(kept().await, "not renewed at step {step}");
        two.work(100).await.unwrap();
    }
    assert_eq!(stage.begun(), 1, "another began beside it");
    stage.notifier.let_go.add_permits(1);
    one.idle().await;
    assert!(!stage.there().await, "it ended, and its proof was good");
    assert_eq!(stage.given_up(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_leap_of_the_clock_a_process_does_not_begin_what_it_is_at() {
    let stage = Stage::new().await;
    let one = stage.process();
    one.work(100).await.unwrap();
    until("it is begun", || stage.begun() == 1).await;
    stage.clock.advance(Duration::from_secs(6 * 3600));
    for _ in 0..3 {
        one.work(100).await.unwrap();
    }
    assert_eq!(stage.begun(), 1);
    stage.notifier.let_go.add_permits(1);
    one.idle().await;
    assert!(!stage.there().await);
}

#[tokio::test]
async fn what_a_dead_process_was_at_is_anothers_after_seconds() {
    let stage = Stage::new().await;
    // It claims, and is never heard of again.
    let lease = Lease(START + SECOND * 20);
    let claimed = stage.store.claim_jobs(START, lease, 10).await.unwrap();
    assert!(claimed.iter().any(|job| job.id == JobId(1)));
    let two = stage.process();
    stage.notifier.let_go.add_permits(1);
    stage.clock.advance(SECOND * 19);
    two.work(100).await.unwrap();
    assert_eq!(stage.begun(), 0);
    stage.clock.advance(SECOND);
    two.work(100).await.unwrap();
    two.idle().await;
    assert_eq!(stage.begun(), 1);
    assert!(!stage.there().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_ends_in_order_gives_its_leases_back_at_once() {
    let stage = Stage::new().await;
    let (one, two) = (stage.process(), stage.process());
    one.work(100).await.unwrap();
    until("it is begun", || stage.begun() == 1).await;
    two.work(100).await.unwrap();
    assert_eq!((stage.begun(), stage.given_up()), (1, 0));
    one.let_go().await.unwrap();
    assert_eq!(stage.given_up(), 1, "it was stopped first");
    // No time has passed.
    two.work(100).await.unwrap();
    until("the other begins", || stage.begun() == 2).await;
    stage.notifier.let_go.add_permits(1);
    two.idle().await;
    assert!(!stage.there().await);
    // With nothing under way there is nothing to give back.
    one.let_go().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_renew_stops_before_another_may_begin() {
    let stage = Stage::new().await;
    let one = stage.process();
    one.work(100).await.unwrap();
    until("it is begun", || stage.begun() == 1).await;
    // The database is gone for this process.
    stage.store.close().await.unwrap();
    stage.clock.advance(SECOND * 14);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(stage.given_up(), 0, "there is time for another try");
    stage.clock.advance(SECOND);
    until("it is given up", || stage.given_up() == 1).await;
    one.idle().await;
    // Its lease would have ended five seconds later.
    assert_eq!(stage.clock.now(), START + SECOND * 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gets_no_answer_stops_in_time_and_not_when_it_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    let stage = Stage::over(SqliteStore::open(&path).await.unwrap()).await;
    let one = stage.process();
    one.work(100).await.unwrap();
    until("it is begun", || stage.begun() == 1).await;
    // From now on nothing can be written, and nobody is told so.
    let options = SqliteConnectOptions::new().filename(&path);
    let mut beside = options.connect().await.unwrap();
    beside.execute("BEGIN IMMEDIATE").await.unwrap();
    stage.clock.advance(SECOND * 6);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(stage.given_up(), 0, "the database has time to answer");
    // The same try is under way for two seconds and a half more.
    stage.clock.advance(SECOND * 9);
    tokio::time::sleep(SECOND).await;
    assert_eq!(stage.given_up(), 1, "it waits for the end of the try");
    one.idle().await;
    beside.execute("ROLLBACK").await.unwrap();
    let times = stage.store.job_times(stage.organisation, JobId(1)).await;
    assert!(times.unwrap().unwrap().leased_until > stage.clock.now());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_ends_begins_nothing_that_a_round_has_claimed_meanwhile() {
    let stage = Stage::new().await;
    let one = stage.process();
    one.let_go().await.unwrap();
    one.work(100).await.unwrap();
    one.idle().await;
    assert_eq!(stage.begun(), 0);
    let two = stage.process();
    stage.notifier.let_go.add_permits(1);
    stage.clock.advance(SECOND * 20);
    two.work(100).await.unwrap();
    two.idle().await;
    assert_eq!(stage.begun(), 1);
}

#[tokio::test]
async fn the_length_of_a_lease_is_the_hosts() {
    let stage = Stage::new().await;
    let one = stage.process();
    one.set_lease(SECOND * 300);
    one.work(100).await.unwrap();
    let times = stage.store.job_times(stage.organisation, JobId(1)).await;
    let times = times.unwrap().unwrap();
    assert_eq!(times.leased_until, START + SECOND * 300);
    assert_eq!(times.lease, Some(Lease(START + SECOND * 300)));
    stage.notifier.let_go.add_permits(1);
    one.idle().await;
}
