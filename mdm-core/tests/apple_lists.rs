//! Reading the organisation's devices from Apple's lists, against a stand-in whose lists change while they are read: nothing
//! that was read by itself is overwritten by what is older, nobody is called unassigned who only moved, no list is followed
//! in a circle.

mod one_store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::clock::{Clock as _, ManualClock, Timestamp};
use mdm_core::device::OrgReading;
use mdm_core::error::{Error, PortError};
use mdm_core::ids::{IdSource, JobId, OrganisationId, Serial};
use mdm_core::inventory::PullPhase;
use mdm_core::job::{Job, JobKind};
use mdm_core::secret::Secret;
use mdm_core::service::ports::testing::OrganisationApiPart;
use mdm_core::service::ports::{ApiKey, LockSaid, MemberPage, Ports, ReadingPage};
use mdm_core::service::{Act, Mdm, MigrationAct, Org};
use mdm_core::store::{Batch, DeviceStore as _, SqliteStore, Store as _};

const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);

/// Two services, A and B, and where each device is; each request moves the clock by a second.
struct Apple {
    clock: ManualClock,
    at: Mutex<BTreeMap<Serial, Option<&'static str>>>,
    /// Moves to another service once the list of A was read.
    moves: Mutex<Option<(Serial, &'static str)>>,
    /// The list of devices goes on at these places for ever.
    circle: Mutex<Vec<&'static str>>,
    /// The list of devices is refused, in these words.
    refuses: Mutex<Option<&'static str>>,
    pages: Mutex<Vec<String>>,
    /// No device is in the list of a service.
    hidden: AtomicBool,
    /// Serial numbers that were read by themselves.
    single: Mutex<Vec<Serial>>,
    /// What is said of a lock, if anything; and how often it was asked for.
    lock: Mutex<(Option<&'static str>, u32)>,
}

impl Apple {
    fn note(&self, what: String) {
        self.clock.advance(Duration::from_secs(1));
        self.pages.lock().unwrap().push(what);
    }

    fn reading(&self, serial: &Serial, now: Timestamp) -> OrgReading {
        let mut reading = OrgReading::default();
        reading.seen = now;
        reading.assigned = Some(self.at.lock().unwrap()[serial].is_some());
        reading
    }
}

#[async_trait]
impl OrganisationApiPart for Apple {
    async fn servers(&self, _: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        self.note("services".to_owned());
        Ok(["A", "B"].map(|s| (s.to_owned(), s.to_owned())).to_vec())
    }

    async fn members(
        &self,
        _: &ApiKey,
        server: &str,
        _: Option<&str>,
    ) -> Result<MemberPage, PortError> {
        self.note(format!("members {server}"));
        let at =
            |(serial, at): (&Serial, &Option<&str>)| (*at == Some(server)).then(|| serial.clone());
        let serials = self.at.lock().unwrap().iter().filter_map(at).collect();
        let hidden = self.hidden.load(Ordering::Relaxed);
        if server == "A"
            && let Some((serial, to)) = self.moves.lock().unwrap().take()
        {
            self.at.lock().unwrap().insert(serial, Some(to));
        }
        Ok(MemberPage {
            serials: if hidden { Vec::new() } else { serials },
            next: None,
        })
    }

    async fn devices(
        &self,
        _: &ApiKey,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        self.note(format!("devices {}", cursor.unwrap_or("-")));
        let serials: Vec<Serial> = self.at.lock().unwrap().keys().cloned().collect();
        let read = |s: &Serial| (s.clone(), self.reading(s, now));
        if let Some(why) = *self.refuses.lock().unwrap() {
            return Err(PortError::Refused(why.to_owned()));
        }
        let circle = self.circle.lock().unwrap();
        let here = circle.iter().position(|c| Some(*c) == cursor);
        let next = here.map_or(0, |n| n + 1);
        Ok(ReadingPage {
            devices: serials.iter().map(read).collect(),
            next: (!circle.is_empty()).then(|| circle[next % circle.len()].to_owned()),
        })
    }

    async fn read(
        &self,
        _: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        self.single.lock().unwrap().extend(serials.iter().cloned());
        let read = |s: &Serial| {
            let mut reading = self.reading(s, now);
            reading.assigned_server = self.at.lock().unwrap()[s].map(str::to_owned);
            (s.clone(), reading)
        };
        Ok(serials.iter().map(read).collect())
    }

    async fn lock(&self, _: &ApiKey, _: &Serial, _: bool) -> Result<LockSaid, PortError> {
        let mut lock = self.lock.lock().unwrap();
        lock.1 += 1;
        match lock.0 {
            Some(word) => Ok(LockSaid {
                on: word != "NONE",
                word: word.to_owned(),
            }),
            // In turn what passes by itself, and what takes a person.
            None if lock.1.is_multiple_of(2) => Err(PortError::retry("too many readings")),
            None => Err(PortError::NeedsPerson("terms".to_owned())),
        }
    }
}

struct Stage {
    apple: Arc<Apple>,
    clock: ManualClock,
    store: SqliteStore,
    mdm: Mdm,
    organisation: OrganisationId,
}

fn serial(text: &str) -> Serial {
    Serial::parse(text).unwrap()
}

impl Stage {
    /// Seven devices at A, one at none.
    async fn new() -> Self {
        let clock = ManualClock::new(START);
        let mut at: BTreeMap<_, _> = (1..8)
            .map(|n| (serial(&format!("S{n}")), Some("A")))
            .collect();
        at.insert(serial("S8"), None);
        let apple = Arc::new(Apple {
            clock: clock.clone(),
            at: Mutex::new(at),
            moves: Mutex::default(),
            circle: Mutex::default(),
            refuses: Mutex::default(),
            pages: Mutex::default(),
            hidden: AtomicBool::new(false),
            single: Mutex::default(),
            lock: Mutex::default(),
        });
        let store = SqliteStore::in_memory().await.unwrap();
        let ports = Ports {
            api: apple.clone(),
            ..Ports::refusing()
        };
        let mdm = one_store::process(Arc::new(store.clone()), &clock, ports);
        let made = mdm.create_organisation("Acme", Vec::new()).await.unwrap();
        let organisation = made.org.organisation().id;
        let key = Secret::from_text("key");
        made.org
            .import_api("BUSINESSAPI.1", "k", &key)
            .await
            .unwrap();
        Self {
            apple,
            clock,
            store,
            mdm,
            organisation,
        }
    }

    async fn org(&self) -> Org {
        self.mdm
            .organisation_by_id(self.organisation)
            .await
            .unwrap()
    }

    fn all(&self) -> Vec<Serial> {
        self.apple.at.lock().unwrap().keys().cloned().collect()
    }

    async fn reading(&self, name: &str) -> OrgReading {
        let serial = serial(name);
        let found = self.store.device_by_serial(self.organisation, &serial);
        found
            .await
            .unwrap()
            .expect("a device")
            .reading
            .expect("a reading")
    }
}

#[tokio::test]
async fn a_device_that_moves_between_lists_is_read_by_itself_and_an_unassigned_one_is_not() {
    let stage = Stage::new().await;
    let org = stage.org().await;
    // It was at B when that list was read, and at A when the other one was: in neither list.
    stage
        .apple
        .at
        .lock()
        .unwrap()
        .insert(serial("S3"), Some("B"));
    *stage.apple.moves.lock().unwrap() = None;
    let swap = (serial("S4"), "B");
    *stage.apple.moves.lock().unwrap() = Some(swap);
    let found = org.pull(&stage.all()).await.unwrap();
    let of = |name: &str| {
        let found = found.iter().find(|(s, _)| *s == serial(name));
        found.unwrap().1.assigned_server.clone()
    };
    assert_eq!(
        (of("S3").as_deref(), of("S4").as_deref()),
        (Some("B"), Some("B"))
    );
    assert_eq!((of("S1").as_deref(), of("S8")), (Some("A"), None));
    assert!(
        stage.apple.single.lock().unwrap().is_empty(),
        "the lists told all"
    );

    // Now from B to A after the list of A was read.
    stage.clock.advance(Duration::from_secs(600));
    *stage.apple.moves.lock().unwrap() = Some((serial("S4"), "A"));
    let found = org.pull(&stage.all()).await.unwrap();
    let moved = found.iter().find(|(s, _)| *s == serial("S4")).unwrap();
    assert_eq!(
        moved.1.assigned_server.as_deref(),
        Some("A"),
        "not \"no service\""
    );
    assert_eq!(*stage.apple.single.lock().unwrap(), [serial("S4")]);
    assert_eq!(stage.reading("S8").await.assigned_server, None);
    assert_eq!(stage.reading("S4").await.unplaced, None);
}

#[tokio::test]
async fn a_reading_of_one_device_in_the_middle_of_a_pull_stands() {
    let stage = Stage::new().await;
    let org = stage.org().await;
    org.pull(&stage.all()).await.unwrap();
    stage.clock.advance(Duration::from_secs(600));
    org.start_pull().await.unwrap();
    // The lists of the services are read; then one device moves, and is read by itself.
    *stage.apple.circle.lock().unwrap() = vec!["x"];
    let begun = stage.clock.now();
    while stage.mdm.work(1).await.unwrap() > 0 {}
    assert!(matches!(
        org.inventory().await.unwrap().unwrap().phase,
        PullPhase::Devices { .. }
    ));
    stage
        .apple
        .at
        .lock()
        .unwrap()
        .insert(serial("S1"), Some("B"));
    stage.clock.advance(Duration::from_secs(5));
    org.pull(&[serial("S1")]).await.unwrap();
    let single = stage.reading("S1").await;
    assert!(single.assigned_server.as_deref() == Some("B") && single.seen > begun);
    stage.apple.circle.lock().unwrap().clear();
    stage.clock.advance(Duration::from_secs(3600));
    while stage.mdm.work(1).await.unwrap() > 0 {}
    let complete = org.inventory().await.unwrap().unwrap().complete;
    assert!(complete.is_some_and(|at| at >= begun), "{complete:?}");
    let kept = stage.reading("S1").await;
    assert_eq!(kept.assigned_server.as_deref(), Some("B"));
    assert!(kept.seen >= single.seen && kept.unplaced.is_none());
    assert_eq!(
        stage.reading("S2").await.assigned_server.as_deref(),
        Some("A")
    );
}

#[tokio::test]
async fn a_list_in_a_circle_ends_with_an_error_keeps_its_place_and_is_read_on_later() {
    for circle in [&["a"][..], &["a", "b"], &["a", "b", "c", "d", "e"]] {
        let stage = Stage::new().await;
        let org = stage.org().await;
        *stage.apple.circle.lock().unwrap() = circle.to_vec();
        let error = org.pull(&stage.all()).await.expect_err("it does not go on");
        let Error::Port(PortError::Retry { what, after }) = &error else {
            panic!("{error}")
        };
        assert!(what.starts_with("GET /v1/orgDevices: "), "{what}");
        assert_eq!(*after, Some(Duration::from_secs(900)));
        let asked = stage.apple.pages.lock().unwrap().len();
        assert!(asked <= 3 + 3 * circle.len() + 1, "{circle:?}: {asked}");
        let phase = org.inventory().await.unwrap().unwrap().phase;
        let PullPhase::Devices {
            cursor: Some(place),
            ..
        } = phase
        else {
            panic!("{phase:?}")
        };
        // By itself it is tried again at that place, later and once.
        stage.clock.advance(Duration::from_secs(60));
        while stage.mdm.work(10).await.unwrap() > 0 {}
        stage.clock.advance(Duration::from_secs(800));
        while stage.mdm.work(10).await.unwrap() > 0 {}
        let pages = stage.apple.pages.lock().unwrap().clone();
        assert_eq!(pages[asked..], [format!("devices {place}")]);
        stage.apple.circle.lock().unwrap().clear();
        stage.clock.advance(Duration::from_secs(1000));
        while stage.mdm.work(10).await.unwrap() > 0 {}
        assert!(org.inventory().await.unwrap().unwrap().complete.is_some());
    }
}

#[tokio::test]
async fn a_list_that_is_refused_is_told_to_a_person_and_tried_now_and_then() {
    let stage = Stage::new().await;
    let org = stage.org().await;
    *stage.apple.refuses.lock().unwrap() = Some("no such field");
    org.start_pull().await.unwrap();
    let asked = async |minutes: u64| {
        for _ in 0..minutes {
            while stage.mdm.work(10).await.unwrap() > 0 {}
            stage.clock.advance(Duration::from_secs(60));
        }
        let pages = stage.apple.pages.lock().unwrap();
        pages.iter().filter(|p| p.starts_with("devices")).count()
    };
    assert!((2..=4).contains(&asked(90).await), "each half an hour");
    let why = org.inventory().await.unwrap().unwrap().needs_person;
    assert!(
        why.as_deref().is_some_and(|w| w.contains("no such field")),
        "{why:?}"
    );
    *stage.apple.refuses.lock().unwrap() = None;
    asked(31).await;
    let row = org.inventory().await.unwrap().unwrap();
    assert!(row.complete.is_some() && row.needs_person.is_none());
}

#[tokio::test]
async fn a_list_that_stays_in_its_circle_is_begun_again_and_a_person_is_told() {
    let stage = Stage::new().await;
    let org = stage.org().await;
    *stage.apple.circle.lock().unwrap() = vec!["a"];
    for met in 1..=3 {
        org.pull(&stage.all()).await.expect_err("it does not go on");
        let row = org.inventory().await.unwrap().unwrap();
        assert!(row.needs_person.is_some());
        assert_eq!(row.phase == PullPhase::Idle, met == 3, "{row:?}");
    }
    let asked = stage.apple.pages.lock().unwrap().len();
    stage.apple.circle.lock().unwrap().clear();
    stage.clock.advance(Duration::from_secs(1000));
    while stage.mdm.work(10).await.unwrap() > 0 {}
    assert_eq!(stage.apple.pages.lock().unwrap()[asked], "services");
    let row = org.inventory().await.unwrap().unwrap();
    assert!(row.complete.is_some() && row.needs_person.is_none());
}

#[tokio::test]
async fn devices_that_no_list_places_are_read_by_themselves_for_a_plan() {
    let stage = Stage::new().await;
    let org = stage.org().await;
    org.pull(&stage.all()).await.unwrap();
    stage.clock.advance(Duration::from_secs(3600));
    // They are assigned, and in no service's list.
    stage.apple.hidden.store(true, Ordering::Relaxed);
    let serials = stage.all();
    let cancel = Act {
        what: MigrationAct::Cancel,
        serials: serials.clone(),
        reason: None,
    };
    let plan = org.plan_act(&cancel).await.unwrap();
    assert_eq!(plan.members, 8);
    let mut single = stage.apple.single.lock().unwrap().clone();
    single.sort();
    single.dedup();
    assert_eq!(single, serials[..7], "the eighth is assigned to none");
    let pages = stage.apple.pages.lock().unwrap().len();
    stage.clock.advance(Duration::from_secs(300));
    org.plan_act(&cancel).await.unwrap();
    assert_eq!(stage.apple.pages.lock().unwrap().len(), pages);
}

#[tokio::test]
async fn a_lock_is_read_when_that_is_possible_again_and_anew_while_it_does_not_show() {
    let stage = Stage::new().await;
    stage.org().await.pull(&stage.all()).await.unwrap();
    let name = serial("S1");
    let device = async || {
        let found = stage.store.device_by_serial(stage.organisation, &name);
        found.await.unwrap().unwrap()
    };
    let now = stage.clock.now();
    let kind = JobKind::ReadLock {
        device: device().await.id,
    };
    let id = JobId(IdSource::new(1).next(now));
    let mut batch = Batch::new();
    batch.put(Job::new(stage.organisation, id, now, kind));
    stage.store.commit(batch).await.unwrap();
    let pass = async |minutes: u64| {
        for _ in 0..minutes {
            stage.clock.advance(Duration::from_mins(1));
            stage.mdm.work(10).await.unwrap();
        }
    };
    // More than a day without a reading, and not one a minute either.
    pass(30 * 60).await;
    assert_eq!(device().await.lock.apple, None);
    let asked = stage.apple.lock.lock().unwrap().1;
    assert!((20..60).contains(&asked), "{asked}");
    // It does not show at first: that is looked at again, however often it could not be read before.
    stage.apple.lock.lock().unwrap().0 = Some("NONE");
    pass(61).await;
    assert_eq!(device().await.lock.apple.unwrap().word, "NONE");
    stage.apple.lock.lock().unwrap().0 = Some("MDM");
    pass(61).await;
    assert_eq!(device().await.lock.apple.unwrap().word, "MDM");
}
