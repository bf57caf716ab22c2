//! Scheduling, licensing and cancelling 5,000 devices in 20 deadline groups, killed at every request: before it reaches Apple,
//! between request and answer, and after the answer before anything is written. Nothing that changes something is sent twice
//! for a device without a reading in between, and the end is the planned one.
//!
//! With fewer devices and at three requests of each kind unless `MDMD_TEST_KILL_ALL=1` asks for all of it: 5,000 devices, where
//! every nineteenth request kills and each is once among them; and each single request in a run of its own, with 100 devices.
//! Both at all three moments.

#[path = "apple_kill/apple.rs"]
mod apple;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apple::{APPS, Apple, Library, Line, Moment, OURS, Plan, THEIRS};
use fixtures::apple::{AppleConfig, LicenceSeed};
use fixtures::clock::WorldClock;
use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::{Clock, ManualClock, Timestamp};
use mdm_core::device::{MigrationStatus, Platform};
use mdm_core::ids::{OrganisationId, Serial, ServerId, WaveId};
use mdm_core::migration::{AppAction, AppPlan, MoveState, Outcome, PinnedRunbook, Variant};
use mdm_core::secret::Secret;
use mdm_core::service::ports::Ports;
use mdm_core::service::ports::testing::EmptyList;
use mdm_core::service::{Act, Mdm, MdmSettings, Member, MigrationAct, Org};
use mdm_core::store::testing::{FailingStore, Moment as Never};
use mdm_core::store::{SqliteStore, Store};
use mdm_core::vault::{EscrowVault, PlainKeys};
use mdmd::config::Config;

const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const GROUPS: usize = 20;
const ALL: usize = 5_000;

/// Where licences are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Books {
    /// In the stand-in.
    Simple,
    /// In the simulated world's own Apps and Books.
    World,
}

/// A process that can be killed and started again on the same database.
struct House {
    apple: Apple,
    clock: ManualClock,
    disk: SqliteStore,
    mdm: Mdm,
    organisation: OrganisationId,
    restarts: usize,
}

impl House {
    async fn new(serials: &[Serial], plan: Plan, moment: Moment, books: Books) -> Self {
        let clock = ManualClock::new(START);
        let mut apple = Apple::new(clock.clone(), serials, plan, moment);
        let disk = SqliteStore::in_memory().await.expect("a database");
        if books == Books::World {
            apple = apple.with_library(library(&disk, &clock).await);
        }
        let mdm = process(&disk, &apple, &clock);
        Self {
            apple,
            clock,
            disk,
            mdm,
            organisation: OrganisationId(0),
            restarts: 0,
        }
    }

    async fn org(&self) -> Org {
        let org = self.mdm.organisation_by_id(self.organisation).await;
        org.expect("an organisation")
    }

    /// Does something as a person would: again after every death, until it is done.
    async fn insist<T>(
        &mut self,
        act: impl AsyncFn(Org) -> Result<T, mdm_core::error::Error>,
    ) -> T {
        for _ in 0..1000 {
            let org = self.org().await;
            tokio::select! {
                result = act(org) => match result {
                    Ok(done) => return done,
                    Err(error) => assert!(error.retry_after().is_some(), "{error}"),
                },
                () = self.apple.death() => {}
            }
            self.restart();
        }
        panic!("it never comes through");
    }

    fn restart(&mut self) {
        self.restarts += 1;
        self.mdm = process(&self.disk, &self.apple, &self.clock);
        // Whatever the dead process has leased is free again after its lease.
        self.clock.advance(Duration::from_secs(301));
    }

    /// Runs until every errand has ended.
    async fn run(&mut self) {
        for _ in 0..200_000 {
            let worked = tokio::select! {
                biased;
                () = self.apple.death() => None,
                worked = self.mdm.work(500) => Some(worked),
            };
            match worked {
                None => self.restart(),
                Some(Err(_)) => self.restart(),
                Some(Ok(0)) => {
                    let open = self.disk_open_errands().await;
                    if open == 0 && self.disk_jobs_of_errands().await {
                        return;
                    }
                    let next = self
                        .mdm
                        .next_due()
                        .await
                        .expect("a store")
                        .expect("something waits");
                    assert!(next > self.clock.now(), "time stands still");
                    self.clock.set(next);
                }
                Some(Ok(_)) => {}
            }
        }
        panic!("the errands never end");
    }

    async fn disk_open_errands(&self) -> usize {
        use mdm_core::store::AppleStore as _;
        let after = mdm_core::ids::ErrandId(0);
        let open = self.disk.open_errands(self.organisation, after, 1000).await;
        open.expect("a store").len()
    }

    /// Licences go back a minute after their attempts ended: no device that is out of its wave still has one of ours.
    async fn disk_jobs_of_errands(&self) -> bool {
        let org = self.org().await;
        let waves = self.disk_waves().await;
        for wave in waves {
            for member in org.members(wave).await.expect("members") {
                if !member.is_ended() {
                    continue;
                }
                let device = mdm_core::store::DeviceStore::device(
                    &self.disk,
                    self.organisation,
                    member.device,
                )
                .await
                .expect("a store")
                .expect("a device");
                if device.licences.iter().any(|l| l.ours) {
                    return false;
                }
            }
        }
        true
    }

    async fn disk_waves(&self) -> Vec<WaveId> {
        use mdm_core::store::WaveStore as _;
        let waves = self.disk.waves(self.organisation, WaveId(0), 10).await;
        waves.expect("a store").into_iter().map(|w| w.id).collect()
    }
}

fn process(disk: &SqliteStore, apple: &Apple, clock: &ManualClock) -> Mdm {
    let store = FailingStore::new(disk.clone(), 0, Never::Before);
    apple.watch(store.clone());
    let apple = Arc::new(apple.clone());
    let ports = Ports {
        // What happens there is another story.
        assignment: Arc::new(EmptyList::of("Ours", OURS)),
        api: apple.clone(),
        licences: apple,
        ..Ports::refusing()
    };
    let settings = MdmSettings {
        device_url: "https://mdm.example.com".to_owned(),
        enrol_url: "https://mdm.example.com".to_owned(),
        sign_messages: false,
    };
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    Mdm::new(
        Arc::new(store),
        EscrowVault::new(PlainKeys),
        clock,
        ports,
        settings,
    )
}

fn runbook() -> PinnedRunbook {
    let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
    runbook.apps = APPS
        .iter()
        .map(|app| AppPlan {
            bundle_id: format!("com.example.app{app}"),
            store_id: Some(*app),
            manifest_url: None,
            action: AppAction::Install,
        })
        .collect();
    runbook
}

fn deadline(n: usize) -> Timestamp {
    START + DAY * (20 + u32::try_from(n % GROUPS).unwrap())
}

/// The world's Apps and Books behind the server's own client, over HTTP and TLS.
async fn library(disk: &SqliteStore, clock: &ManualClock) -> Library {
    let world_clock = WorldClock::new(START.as_millis());
    let mut config = AppleConfig::new(world_clock.clone(), 42);
    // The server keeps to its own limit; that of the world has a test of its own.
    config.habits.licences.requests_per_second = 10_000;
    let world = fixtures::apple::Apple::start(config)
        .await
        .expect("Apple starts");
    for app in APPS {
        world.buy_licences(&LicenceSeed::app(&app.to_string(), None));
    }
    let directory = tempfile::tempdir().expect("a directory");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, &world.endpoints().ca_pem).expect("a file");
    let mut config = Config::for_directory(directory.path());
    config.apple.apps_url = Some(world.endpoints().apps.clone());
    config.apple.ca = Some(ca);
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let store: Arc<dyn Store> = Arc::new(disk.clone());
    let ports = mdmd::app::ports(&config, &clock, &store).expect("ports");
    Library {
        port: ports.licences,
        world,
        clock: world_clock,
    }
}

/// Plans, schedules, licenses and cancels everything; answers what requests that took, and how often their sender died.
async fn story(
    devices: usize,
    plan: Plan,
    moment: Moment,
    books: Books,
) -> (Vec<&'static str>, usize) {
    let serials: Vec<Serial> = (0..devices)
        .map(|n| Serial::parse(&format!("KILL{n:06}")).unwrap())
        .collect();
    let mut house = House::new(&serials, plan, moment, books).await;
    let made = house
        .mdm
        .create_organisation("Acme", Vec::new())
        .await
        .expect("an organisation");
    house.organisation = made.org.organisation().id;
    let destination: ServerId = house
        .insist(async |org| {
            org.import_api("BUSINESSAPI.x", "k", &Secret::from_text("key"))
                .await?;
            let (topic, until) = ("com.apple.mgmt.External.x", START + DAY * 400);
            let key = Secret::from_text("key");
            org.import_push(topic, b"certificate".to_vec(), until, &key)
                .await?;
            // Nobody has told which apps these devices have.
            let unknown = [Check::AppsMapped, Check::AppsSource];
            org.set_unknowns(&unknown.map(|check| (check, Some(CheckResult::Warn))).into())
                .await?;
            org.import_server_token(&Secret::from_text("{}"), None)
                .await
        })
        .await;
    let content_token = Secret::from_text(house.apple.content_token());
    house
        .insist(async |org| {
            let id = org.import_content_token(&content_token, false).await?;
            org.refresh_location(id).await
        })
        .await;
    house.insist(async |org| org.pull(&serials).await).await;

    let members: Vec<Member> = serials
        .iter()
        .enumerate()
        .map(|(n, serial)| Member {
            serial: serial.clone(),
            deadline: deadline(n),
            available_from: START + DAY * 10,
            original_server: Some(THEIRS.to_owned()),
        })
        .collect();
    let runbooks = BTreeMap::from([(Platform::Ios, runbook())]);
    let wave = house
        .insist(async |org| org.plan_wave("all", destination, &runbooks, &members).await)
        .await;
    house
        .insist(async |org| {
            let what_if = org.what_if(wave).await?;
            assert_eq!(what_if.blockers, BTreeMap::new());
            org.accept(wave, &what_if.digest, &[], "as planned").await?;
            org.submit(wave, &what_if.digest, "a person").await
        })
        .await;
    house.run().await;
    for (n, serial) in serials.iter().enumerate() {
        let (server, status, at, licences) = house.apple.stands(serial);
        assert_eq!(
            (server.as_str(), status, at, licences),
            (
                OURS,
                Some(MigrationStatus::Requested),
                Some(deadline(n)),
                APPS.len()
            ),
            "{serial} after scheduling"
        );
    }
    let org = house.org().await;
    for member in org.members(wave).await.expect("members") {
        assert!(
            matches!(member.state, MoveState::Scheduled { .. }),
            "{:?}",
            member.state
        );
    }

    let cancel = Act {
        what: MigrationAct::Cancel,
        serials: serials.clone(),
        reason: None,
    };
    house
        .insist(async |org| {
            let plan = org.plan_act(&cancel).await?;
            assert_eq!((plan.members, plan.blocked), (devices, 0));
            let done = org.do_act(&cancel, &plan.digest).await?;
            // So many take somebody else's consent.
            let other = org.clone().acting_for("somebody else");
            other.confirm(done.approval.expect("an approval")).await
        })
        .await;
    house.run().await;
    for serial in &serials {
        let (server, status, _, licences) = house.apple.stands(serial);
        assert_eq!(
            (server.as_str(), status, licences),
            (THEIRS, Some(MigrationStatus::Failed), 0),
            "{serial} after cancelling"
        );
    }
    for member in org.members(wave).await.expect("members") {
        assert_eq!(
            member.state,
            MoveState::Ended(Outcome::Cancelled),
            "{}",
            member.serial
        );
    }
    nothing_twice_without_reading(&house.apple);
    assert!(house.restarts >= house.apple.deaths());
    house.disk.close().await.expect("closed");
    (house.apple.kinds(), house.apple.deaths())
}

fn everything() -> bool {
    std::env::var_os("MDMD_TEST_KILL_ALL").is_some()
}

/// All of them in the full form, `few` otherwise; always in twenty groups.
fn devices(few: usize) -> usize {
    if everything() { ALL } else { few }
}

fn nothing_twice_without_reading(apple: &Apple) {
    apple.ledger(|ledger| {
        let mut unread: BTreeSet<&Serial> = BTreeSet::new();
        let mut unread_licences: BTreeSet<&Serial> = BTreeSet::new();
        for (n, line) in ledger.iter().enumerate() {
            match line {
                Line::Change(kind, serials) => {
                    for serial in serials {
                        assert!(
                            unread.insert(serial),
                            "line {n}: {kind} for {serial}, unread since the last change"
                        );
                    }
                }
                Line::Read(serials) => serials.iter().for_each(|s| {
                    unread.remove(s);
                }),
                Line::Licences(kind, serials) => {
                    for serial in serials {
                        assert!(
                            unread_licences.insert(serial),
                            "line {n}: {kind} for {serial}, unread since the last change"
                        );
                    }
                }
                Line::Holders => unread_licences.clear(),
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_deaths_few_requests_do_it() {
    let began = Instant::now();
    let (calls, deaths) = story(devices(1_000), Plan::Never, Moment::Lost, Books::Simple).await;
    println!("{} requests, {:?}", calls.len(), began.elapsed());
    assert_eq!(deaths, 0);
    assert!(calls.len() < 1_000, "{} requests", calls.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_the_end_is_the_planned_one() {
    // With all beginnings each request is deadly in one of the runs. A reading that somebody waits for takes a dozen in a row.
    let (nth, beginnings) = if everything() { (19, 19) } else { (7, 1) };
    for moment in [Moment::Unanswered, Moment::Unwritten, Moment::Lost] {
        for first in 0..beginnings {
            let began = Instant::now();
            let plan = Plan::Every(nth, first);
            let (calls, deaths) = story(devices(500), plan, moment, Books::Simple).await;
            println!(
                "{moment:?}, {first}: {deaths} deaths in {} requests, {:?}",
                calls.len(),
                began.elapsed()
            );
            assert!(deaths > 10, "{deaths} deaths");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_request_the_end_is_the_planned_one() {
    let devices = 100;
    let (kinds, _) = story(devices, Plan::Never, Moment::Lost, Books::Simple).await;
    let different: BTreeSet<&str> = kinds.iter().copied().collect();
    for kind in [
        "services",
        "members",
        "devices",
        "schedule",
        "activity",
        "cancel",
        "assign",
        "claim",
        "stock",
        "holders",
        "give",
        "take back",
        "event",
    ] {
        assert!(different.contains(kind), "{kind} is not in the story");
    }
    let moments = [Moment::Unanswered, Moment::Unwritten, Moment::Lost];
    let mut deadly: Vec<(usize, Moment)> = Vec::new();
    if everything() {
        let each = 1..=kinds.len();
        deadly.extend(each.flat_map(|at| moments.map(|moment| (at, moment))));
    } else {
        // Each kind of request at all three moments: the first, one in the middle, the last of its kind.
        for (turn, kind) in different.iter().enumerate() {
            let is = |(at, k): (usize, &&'static str)| (k == kind).then_some(at + 1);
            let places: Vec<usize> = kinds.iter().enumerate().filter_map(is).collect();
            let chosen = [0, places.len() / 2, places.len() - 1].map(|n| places[n]);
            for (n, moment) in moments.into_iter().enumerate() {
                deadly.push((chosen[(turn + n) % 3], moment));
            }
        }
    }
    for (at, moment) in &deadly {
        let (_, deaths) = story(devices, Plan::At(*at), *moment, Books::Simple).await;
        let kind = kinds[at - 1];
        assert_eq!(
            deaths,
            1,
            "{kind}, request {at} of {}, {moment:?}",
            kinds.len()
        );
    }
    println!("{} runs over {} requests", deadly.len(), kinds.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_requests_to_the_worlds_apps_and_books_the_end_is_the_planned_one() {
    let devices = 60;
    let (kinds, _) = story(devices, Plan::Never, Moment::Lost, Books::World).await;
    let licensing = ["claim", "stock", "holders", "give", "take back", "event"];
    let moments = [Moment::Unanswered, Moment::Unwritten, Moment::Lost];
    let mut runs = 0;
    for kind in licensing {
        let is = |(at, k): (usize, &&'static str)| (*k == kind).then_some(at + 1);
        let places: Vec<usize> = kinds.iter().enumerate().filter_map(is).collect();
        assert!(!places.is_empty(), "{kind} is not in the story");
        for (n, moment) in moments.into_iter().enumerate() {
            let chosen = match everything() {
                true => places.clone(),
                // The first, one in the middle, the last of its kind.
                false => vec![places[[0, places.len() / 2, places.len() - 1][n]]],
            };
            for at in chosen {
                let (_, deaths) = story(devices, Plan::At(at), moment, Books::World).await;
                assert_eq!(deaths, 1, "{kind}, request {at}, {moment:?}");
                runs += 1;
            }
        }
    }
    for moment in moments {
        let (_, deaths) = story(devices, Plan::Every(7, 0), moment, Books::World).await;
        assert!(deaths > 3, "{deaths} deaths");
        runs += 1;
    }
    println!("{runs} runs over {} requests", kinds.len());
}
