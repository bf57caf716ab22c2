//! A database that is not what it was: who works on it asks first, once, whichever process comes to it first.

mod service_house;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mdm_core::clock::{ManualClock, Timestamp};
use mdm_core::errand::{Errand, ErrandKind, ErrandState};
use mdm_core::ids::{EnrollmentId, ErrandId, JobId, OrganisationId};
use mdm_core::job::Job;
use mdm_core::secret::Secret;
use mdm_core::service::ports::Ports;
use mdm_core::service::{Mdm, MdmSettings};
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{
    AppleStore as _, Batch, HistoryStore as _, JobStore as _, PostgresOptions, PostgresStore,
    SqliteStore, Store as _, WaveStore as _,
};
use mdm_core::vault::{EscrowVault, PlainKeys};
use mdm_core::wave::SyncCursor;
use service_house::House;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::Semaphore;

const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);

fn process(store: &PostgresStore, clock: &ManualClock) -> Mdm {
    let settings = MdmSettings {
        device_url: "https://mdm.example.com".to_owned(),
        enrol_url: "https://mdm.example.com".to_owned(),
        sign_messages: true,
    };
    let (store, clock) = (Arc::new(store.clone()), Arc::new(clock.clone()));
    let vault = EscrowVault::new(PlainKeys);
    Mdm::new(store, vault, clock, Ports::refusing(), settings)
}

async fn times_asked(mdm: &Mdm, id: OrganisationId) -> usize {
    let org = mdm.organisation_by_id(id).await.unwrap();
    let record = org.record_tail(1_000).await.unwrap();
    let asked = record.iter().filter(|e| e.what == "installation.restored");
    asked.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_another_way_is_asked_about_once() {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let options = PostgresOptions::default();
    let connect = async || PostgresStore::connect(&url, options).await.unwrap();
    let clock = ManualClock::new(START);
    let store = connect().await;
    let first = process(&store, &clock);
    let made = first.create_organisation("History", Vec::new()).await;
    let id = made.unwrap().org.organisation().id;
    assert_eq!(store.history().await.unwrap().unwrap().noted, None);
    while first.work(50).await.unwrap() > 0 {}
    let noted = store.history().await.unwrap().unwrap();
    assert_eq!(noted.noted.as_deref(), Some(&*noted.here));
    assert!(noted.here.contains('/'), "{noted:?}");
    // Another start on the same: nothing is asked.
    let again = process(&connect().await, &clock);
    while again.work(50).await.unwrap() > 0 {}
    assert_eq!(times_asked(&again, id).await, 0);

    // As a replica that took over would have it: noted was the history before.
    let mut beside = PgConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE schema_floor SET history = '7000000000000000000/00000001'")
        .execute(&mut beside)
        .await
        .unwrap();
    beside.close().await.unwrap();
    for _ in 0..2 {
        let other = connect().await;
        let next = process(&other, &clock);
        while next.work(50).await.unwrap() > 0 {}
        clock.advance(Duration::from_secs(60));
        while next.work(50).await.unwrap() > 0 {}
        assert_eq!(
            times_asked(&next, id).await,
            1,
            "once, by whoever came first"
        );
        other.close().await.unwrap();
    }
    let noted = store.history().await.unwrap().unwrap();
    assert_eq!(noted.noted.as_deref(), Some(&*noted.here));

    let copies = store.replication().await.unwrap().unwrap();
    assert_eq!((copies.replicas, copies.synchronous), (0, 0));
    assert_eq!(copies.waits, None);
    assert!(!copies.keeps_all());
    store.close().await.unwrap();
    server.clean().await;
}

/// A house on a database of its own, worked on until nothing is left.
struct Stage {
    house: House,
    store: PostgresStore,
    url: String,
    server: TestPostgres,
}

impl Stage {
    /// `None` where there is no PostgreSQL.
    async fn new() -> Option<Self> {
        let server = TestPostgres::find().await?;
        let url = server.database().await;
        let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
        let store = store.unwrap();
        let house = House::over_store(Arc::new(store.clone())).await;
        house.settle().await;
        Some(Self {
            house,
            store,
            url,
            server,
        })
    }

    /// Past every rule.
    async fn say(&self, sql: &str) {
        let mut beside = PgConnection::connect(&self.url).await.unwrap();
        let sql = AssertSqlSafe(sql.to_owned());
        beside.execute(sql).await.unwrap();
        beside.close().await.unwrap();
    }

    /// Noted is another history than the one that is.
    async fn another(&self) {
        self.say("UPDATE schema_floor SET history = '7000000000000000000/00000001'")
            .await;
    }

    async fn is_noted(&self) -> bool {
        let history = self.store.history().await.unwrap().unwrap();
        history.noted.as_deref() == Some(&*history.here)
    }

    /// Another server.
    async fn process(&self) -> Mdm {
        let store = PostgresStore::connect(&self.url, PostgresOptions::default()).await;
        self.house.over(store.unwrap())
    }

    /// One that was about to be sent.
    async fn errand(&self, organisation: OrganisationId) -> ErrandId {
        let (id, now) = (ErrandId(self.house.next_id()), self.house.mdm.now());
        let mut errand = Errand::new(organisation, id, ErrandKind::Cancel, vec![], "Zo", now);
        errand.asked(0, now);
        let mut batch = Batch::new();
        batch.put(errand);
        self.store.commit(batch).await.unwrap();
        id
    }

    /// How often it was sent, and whether what became of the last time is known.
    async fn sent(&self, errand: ErrandId) -> (usize, bool) {
        let errand = self.store.errand(self.house.org, errand).await;
        let errand = errand.unwrap().unwrap();
        assert!(matches!(errand.state, ErrandState::Asked { .. }));
        let unknown = errand.sendings.last().and_then(|s| s.outcome.as_deref());
        (errand.sendings.len(), unknown.is_none())
    }

    async fn is_waiting(&self, organisation: OrganisationId, job: JobId) -> bool {
        let times = self.store.job_times(organisation, job).await;
        times.unwrap().is_some()
    }

    /// A job that ends as soon as it is begun.
    async fn job(&self, organisation: OrganisationId) -> JobId {
        let job = Job::push(organisation, EnrollmentId(5), self.house.mdm.now());
        let id = job.id;
        let mut batch = Batch::new();
        batch.put(job);
        self.store.commit(batch).await.unwrap();
        id
    }

    async fn end(self) {
        self.store.close().await.unwrap();
        self.server.clean().await;
    }
}

async fn settle(mdm: &Mdm) {
    for _ in 0..50 {
        if Box::pin(mdm.work(50)).await.unwrap() == 0 {
            return;
        }
    }
    panic!("the worker finds something to do for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apple_is_read_and_the_holds_are_woken_before_anything_is_done() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let house = &stage.house;
    let phone = house.device("C02HISTORY1").await;
    house.enrol(&phone).await;
    let key = Secret::from_text("a key");
    let org = house.org().await;
    org.import_api("BUSINESSAPI.test", "k", &key).await.unwrap();
    house.settle().await;
    let errand = stage.errand(house.org).await;
    let entry = stage.store.server(house.org, house.server).await;
    let mut entry = entry.unwrap().unwrap();
    entry.cursor = SyncCursor::Changes {
        cursor: "of the lost history".to_owned(),
    };
    let mut batch = Batch::new();
    batch.put(entry);
    stage.store.commit(batch).await.unwrap();
    let pushed = || house.apple.pushed.load(Ordering::SeqCst);
    let before = pushed();
    house.clock.advance(Duration::from_hours(1));
    let now = house.mdm.now();

    stage.another().await;
    let next = stage.process().await;
    // The first round does nothing else.
    assert_eq!(next.work(50).await.unwrap(), 1);
    assert_eq!(pushed(), before);
    let entry = stage.store.server(house.org, house.server).await;
    assert_eq!(entry.unwrap().unwrap().cursor, SyncCursor::Start);
    assert_eq!(stage.sent(errand).await, (2, false));
    let inventory = org.inventory().await.unwrap().unwrap();
    assert_eq!(inventory.wanted, Some(now));
    assert_eq!(times_asked(&next, house.org).await, 1);
    assert!(stage.is_noted().await);
    settle(&next).await;
    assert!(pushed() > before, "nobody woke the device in its hold");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_three_that_see_it_at_once_one_asks() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let house = &stage.house;
    let errand = stage.errand(house.org).await;
    stage.another().await;
    let [a, b, c] = [
        stage.process().await,
        stage.process().await,
        stage.process().await,
    ];
    let (a, b, c) = tokio::join!(a.work(50), b.work(50), c.work(50));
    let _: [usize; 3] = [a.unwrap(), b.unwrap(), c.unwrap()];
    assert_eq!(times_asked(&house.mdm, house.org).await, 1);
    assert_eq!(stage.sent(errand).await, (2, false));
    assert!(stage.is_noted().await);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_row_nor_an_organisation_keeps_the_others_from_being_asked_about() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let house = &stage.house;
    let made = house.mdm.create_organisation("Other", Vec::new()).await;
    let (one, other) = (house.org, made.unwrap().org.organisation().id);
    house.settle().await;
    let errands = [
        stage.errand(one).await,
        stage.errand(one).await,
        stage.errand(one).await,
    ];
    // One that cannot be read, and an entry.
    let spoilt = errands[1];
    let sql = format!("UPDATE errands SET doc = '{{}}' WHERE id = {spoilt}");
    stage.say(&sql).await;
    let sql = format!(
        "UPDATE servers SET doc = '{{}}' WHERE id = {}",
        house.server
    );
    stage.say(&sql).await;
    // Somebody else is faster every time at the row of the one organisation.
    stage
        .say(&format!(
            "CREATE FUNCTION rival() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF NEW.organisation = {one} THEN RAISE unique_violation; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER rival BEFORE UPDATE ON organisations FOR EACH ROW EXECUTE FUNCTION rival()"
        ))
        .await;
    let jobs = [stage.job(one).await, stage.job(other).await];
    stage.another().await;
    let next = stage.process().await;
    let lease = Duration::from_secs(21);
    for _ in 0..3 {
        next.work(50).await.unwrap();
        house.clock.advance(lease);
    }
    assert_eq!(times_asked(&next, other).await, 1);
    assert!(
        !stage.is_waiting(other, jobs[1]).await,
        "the other's work stands still"
    );
    assert_eq!(times_asked(&next, one).await, 0);
    assert!(
        stage.is_waiting(one, jobs[0]).await,
        "begun before anybody asked"
    );
    assert!(!stage.is_noted().await, "whoever comes next would not ask");

    stage.say("DROP TRIGGER rival ON organisations").await;
    next.work(50).await.unwrap();
    assert_eq!(times_asked(&next, one).await, 1);
    assert_eq!(times_asked(&next, other).await, 1);
    assert!(stage.is_noted().await);
    assert_eq!(stage.sent(errands[0]).await, (2, false));
    assert_eq!(stage.sent(errands[2]).await, (2, false));
    house.clock.advance(lease);
    for _ in 0..3 {
        next.work(50).await.unwrap();
        house.clock.advance(lease);
    }
    assert!(!stage.is_waiting(one, jobs[0]).await);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_claimed_before_is_not_begun_whoever_has_looked() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let house = &stage.house;
    stage.another().await;
    settle(&stage.process().await).await;
    assert!(stage.is_noted().await);
    let job = stage.job(house.org).await;
    // As when whoever asked died before it was noted.
    stage.another().await;
    let next = stage.process().await;
    let mut beside = PgConnection::connect(&stage.url).await.unwrap();
    let mut locked = beside.begin().await.unwrap();
    let lock = "LOCK TABLE jobs IN EXCLUSIVE MODE";
    (&mut *locked).execute(lock).await.unwrap();
    let round = tokio::spawn({
        let next = next.clone();
        async move { next.work(50).await }
    });
    let mut waits = false;
    for _ in 0..250 {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'jobs'::regclass",
        )
        .fetch_one(&mut *locked)
        .await
        .unwrap();
        waits = waiting > 0;
        if waits {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(waits, "it claims nothing");
    // What beats beside the round looks first.
    assert!(!next.follow_history().await.unwrap());
    locked.rollback().await.unwrap();
    assert_eq!(round.await.unwrap().unwrap(), 1);
    let times = stage.store.job_times(house.org, job).await.unwrap();
    assert!(
        times.is_some_and(|times| times.lease.is_some()),
        "{times:?}"
    );
    house.clock.advance(Duration::from_secs(21));
    settle(&next).await;
    assert!(!stage.is_waiting(house.org, job).await);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_does_not_say_what_it_is_keeps_no_lease_from_being_renewed() {
    let Some(stage) = Stage::new().await else {
        return;
    };
    let house = &stage.house;
    let phone = house.device("C02HISTORY2").await;
    house.enrol(&phone).await;
    house.settle().await;
    let report = house.org().await.device_report(&phone.serial).await;
    let job = Job::push(
        house.org,
        report.unwrap().enrollments[0].id,
        house.mdm.now(),
    );
    let id = job.id;
    let mut batch = Batch::new();
    batch.put(job);
    stage.store.commit(batch).await.unwrap();
    let answers = Arc::new(Semaphore::new(0));
    *house.apple.pushes_hang.lock().unwrap() = Some(Arc::clone(&answers));
    let theirs = PostgresStore::connect(&stage.url, PostgresOptions::default()).await;
    let theirs = theirs.unwrap();
    let next = house.over(theirs.clone());
    next.set_patience(Some(Duration::from_millis(20)));
    let pushed = house.apple.pushed.load(Ordering::SeqCst);
    next.work(50).await.unwrap();
    for _ in 0..250 {
        if house.apple.pushed.load(Ordering::SeqCst) > pushed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut beside = PgConnection::connect(&stage.url).await.unwrap();
    let mut locked = beside.begin().await.unwrap();
    let lock = "LOCK TABLE schema_floor IN ACCESS EXCLUSIVE MODE";
    (&mut *locked).execute(lock).await.unwrap();
    // A connection more: it is to be looked at again.
    let before = theirs.connections_made();
    let reads = (0..8).map(|_| theirs.next_due());
    for read in futures_util::future::join_all(reads).await {
        read.unwrap();
    }
    assert!(theirs.connections_made() > before, "nothing is looked at");
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..2 {
        house.clock.advance(Duration::from_secs(5));
        let until = house.mdm.now() + Duration::from_secs(20);
        let mut kept = false;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let times = stage.store.job_times(house.org, id).await.unwrap();
            kept = times.unwrap().leased_until == until;
            if kept {
                break;
            }
        }
        assert!(kept, "it waits for the look");
    }
    locked.rollback().await.unwrap();
    answers.add_permits(1);
    next.idle().await;
    stage.end().await;
}

#[tokio::test]
async fn a_file_has_no_history() {
    let store = SqliteStore::in_memory().await.unwrap();
    assert_eq!(store.connections_made(), 0);
    assert_eq!(store.history().await.unwrap(), None);
    assert_eq!(store.replication().await.unwrap(), None);
}
