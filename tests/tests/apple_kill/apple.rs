//! A stand-in for Apple's services, in this process: it does what it is asked for some time later, forgets to return every
//! seventh cancelled device, writes down what it was asked and what was read, and can kill whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::clock::{Clock as _, ManualClock, Timestamp};
use mdm_core::device::{MigrationStatus, OrgReading};
use mdm_core::error::PortError;
use mdm_core::ids::Serial;
use mdm_core::licences::{LicenceLimits, Stock};
use mdm_core::service::ports::{
    ActivityReading, ActivityRequest, ApiKey, ContentCredential, HolderList, LicenceEvent,
    LicenceRequest, Licences, LocationReading, MemberPage, OrganisationApi, ReadingPage,
};
use mdm_core::store::SqliteStore;
use mdm_core::store::testing::FailingStore;
use tokio::sync::Notify;

pub(crate) const OURS: &str = "OURS";
pub(crate) const THEIRS: &str = "THEIRS";
/// Apps whose licences every member needs.
pub(crate) const APPS: [u64; 2] = [361_309_726, 409_203_825];
/// Between acceptance and effect.
const EFFECT: Duration = Duration::from_secs(40);
const PAGE: usize = 1000;

/// At which moment of a request its sender dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The request never reaches Apple.
    Lost,
    /// Apple takes it; the answer never arrives.
    Unanswered,
    /// The answer arrives; nothing can be written down any more.
    Unwritten,
}

/// Which requests kill, counted over all services.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    Never,
    /// The n-th request.
    At(usize),
    /// Every n-th one, the first after so many: a sender that is started again gets some requests further each time.
    Every(usize, usize),
}

#[derive(Clone, Debug)]
struct Device {
    server: String,
    status: Option<MigrationStatus>,
    deadline: Option<Timestamp>,
    licences: BTreeSet<u64>,
}

/// A line of the ledger.
#[derive(Debug)]
pub(crate) enum Line {
    /// A request that changes something reached Apple.
    Change(&'static str, Vec<Serial>),
    /// These devices were read at the organisation API.
    Read(Vec<Serial>),
    /// Licences of these devices were changed.
    Licences(&'static str, Vec<Serial>),
    /// It was read who holds licences, of every device.
    Holders,
}

#[derive(Default)]
struct Inside {
    devices: BTreeMap<Serial, Device>,
    ledger: Vec<Line>,
    waiting: Vec<(Timestamp, Work)>,
    /// Activities and events: when they are over.
    over: BTreeMap<String, Timestamp>,
    calls: usize,
    /// What each request was.
    kinds: Vec<&'static str>,
    deaths: usize,
    dead: bool,
}

enum Work {
    Activity(ActivityRequest, Vec<Serial>),
    Licences(LicenceRequest, Vec<Serial>),
}

/// Apple. Clones are the same.
#[derive(Clone)]
pub(crate) struct Apple {
    inside: Arc<Mutex<Inside>>,
    clock: ManualClock,
    plan: Plan,
    moment: Moment,
    died: Arc<Notify>,
    store: Arc<Mutex<Option<FailingStore<SqliteStore>>>>,
    /// Where licences are, when they are not here.
    library: Option<Library>,
}

/// The world's own Apps and Books, with the server's client before it.
#[derive(Clone)]
pub(crate) struct Library {
    pub(crate) port: Arc<dyn Licences>,
    pub(crate) world: fixtures::apple::Apple,
    pub(crate) clock: fixtures::clock::WorldClock,
}

impl Library {
    /// What is due there happens; it has the time of everybody else.
    fn keep_up(&self, now: Timestamp) {
        self.clock.advance_to(now.as_millis());
        while self.world.run_due() {}
    }

    fn held(&self, serial: &Serial) -> usize {
        let held = |app: &&u64| self.world.holds_licence(&app.to_string(), serial.as_str());
        APPS.iter().filter(held).count()
    }
}

impl Apple {
    pub(crate) fn new(clock: ManualClock, serials: &[Serial], plan: Plan, moment: Moment) -> Self {
        let device = Device {
            server: THEIRS.to_owned(),
            status: None,
            deadline: None,
            licences: BTreeSet::new(),
        };
        let devices = serials
            .iter()
            .map(|s| (s.clone(), device.clone()))
            .collect();
        Self {
            inside: Arc::new(Mutex::new(Inside {
                devices,
                ..Inside::default()
            })),
            clock,
            plan,
            moment,
            died: Arc::default(),
            store: Arc::default(),
            library: None,
        }
    }

    /// What a person downloads for Apps and Books.
    pub(crate) fn content_token(&self) -> String {
        match &self.library {
            Some(library) => library.world.content_token(),
            None => "token".to_owned(),
        }
    }

    /// Licences are in the world's own Apps and Books from now on.
    pub(crate) fn with_library(mut self, library: Library) -> Self {
        self.library = Some(library);
        self
    }

    /// The store that a sender who dies can no longer write to.
    pub(crate) fn watch(&self, store: FailingStore<SqliteStore>) {
        *self.store.lock().unwrap() = Some(store);
        self.inside().dead = false;
    }

    /// Returns once a request has killed its sender.
    pub(crate) async fn death(&self) {
        self.died.notified().await;
    }

    /// What each request was, in their order.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.inside().kinds.clone()
    }

    pub(crate) fn deaths(&self) -> usize {
        self.inside().deaths
    }

    pub(crate) fn ledger<T>(&self, read: impl FnOnce(&[Line]) -> T) -> T {
        read(&self.inside().ledger)
    }

    /// Where a device stands, and how many licences it has.
    pub(crate) fn stands(
        &self,
        serial: &Serial,
    ) -> (String, Option<MigrationStatus>, Option<Timestamp>, usize) {
        let inside = self.inside();
        let device = &inside.devices[serial];
        let licences = match &self.library {
            Some(library) => {
                library.keep_up(self.clock.now());
                library.held(serial)
            }
            None => device.licences.len(),
        };
        (
            device.server.clone(),
            device.status.clone(),
            device.deadline,
            licences,
        )
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        let mut inside = self.inside.lock().unwrap();
        let now = self.clock.now();
        let (due, later) = std::mem::take(&mut inside.waiting)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        inside.waiting = later;
        for (_, work) in due {
            take_effect(&mut inside.devices, &work);
        }
        inside
    }

    /// One request: counted, done, answered, or the death of its sender at one of three moments.
    async fn request<T>(&self, kind: &'static str, act: impl FnOnce(&mut Inside) -> T) -> T {
        self.request_of(kind, async { act(&mut self.inside()) })
            .await
    }

    /// The same for one that takes its time.
    async fn request_of<T>(&self, kind: &'static str, act: impl Future<Output = T>) -> T {
        let dies = {
            let mut inside = self.inside();
            inside.calls += 1;
            inside.kinds.push(kind);
            let dies = !inside.dead
                && match self.plan {
                    Plan::Never => false,
                    Plan::At(n) => inside.calls == n,
                    Plan::Every(n, after) => inside.calls % n == after % n,
                };
            if dies {
                inside.dead = true;
                inside.deaths += 1;
            }
            dies
        };
        if let Some(library) = &self.library {
            library.keep_up(self.clock.now());
        }
        if !dies {
            return act.await;
        }
        match self.moment {
            Moment::Lost => {}
            Moment::Unanswered => {
                act.await;
            }
            Moment::Unwritten => {
                if let Some(store) = &*self.store.lock().unwrap() {
                    store.cut();
                }
                let answer = act.await;
                self.died.notify_one();
                return answer;
            }
        }
        if let Some(store) = &*self.store.lock().unwrap() {
            store.cut();
        }
        self.died.notify_one();
        std::future::pending().await
    }
}

fn take_effect(devices: &mut BTreeMap<Serial, Device>, work: &Work) {
    match work {
        Work::Activity(request, serials) => {
            for (n, serial) in serials.iter().enumerate() {
                let Some(device) = devices.get_mut(serial) else {
                    continue;
                };
                match request {
                    ActivityRequest::AssignWithDeadline { server, deadline } => {
                        device.server.clone_from(server);
                        device.status = Some(MigrationStatus::Requested);
                        device.deadline = Some(*deadline);
                    }
                    ActivityRequest::UpdateDeadline { deadline, .. } => {
                        device.deadline = Some(*deadline);
                    }
                    ActivityRequest::Cancel => {
                        device.status = Some(MigrationStatus::Failed);
                        device.deadline = None;
                        // Not every cancelled device returns by itself.
                        if n % 7 != 0 {
                            device.server = THEIRS.to_owned();
                        }
                    }
                    ActivityRequest::Assign { server } => device.server.clone_from(server),
                    _ => {}
                }
            }
        }
        Work::Licences(request, serials) => {
            for serial in serials {
                let Some(device) = devices.get_mut(serial) else {
                    continue;
                };
                for app in &request.apps {
                    if request.take_back {
                        device.licences.remove(app);
                    } else {
                        device.licences.insert(*app);
                    }
                }
            }
        }
    }
}

fn page<T: Clone>(all: &[T], cursor: Option<&str>) -> (Vec<T>, Option<String>) {
    let start: usize = cursor.and_then(|c| c.parse().ok()).unwrap_or(0);
    let end = (start + PAGE).min(all.len());
    let next = (end < all.len()).then(|| end.to_string());
    (all[start..end].to_vec(), next)
}

fn reading(device: &Device, now: Timestamp) -> OrgReading {
    let mut reading = OrgReading::default();
    reading.seen = now;
    reading.capable = Some(device.status.is_none());
    reading.status.clone_from(&device.status);
    reading.deadline = device.deadline;
    reading.product = Some("iPhone17,2".to_owned());
    reading
}

#[async_trait]
impl OrganisationApi for Apple {
    async fn servers(&self, _: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        self.request("services", |_| {
            Ok([THEIRS, OURS]
                .map(|s| (s.to_owned(), s.to_lowercase()))
                .to_vec())
        })
        .await
    }

    async fn members(
        &self,
        _: &ApiKey,
        server: &str,
        cursor: Option<&str>,
    ) -> Result<MemberPage, PortError> {
        self.request("members", |inside| {
            let all: Vec<Serial> = inside
                .devices
                .iter()
                .filter(|(_, d)| d.server == server)
                .map(|(s, _)| s.clone())
                .collect();
            let (serials, next) = page(&all, cursor);
            Ok(MemberPage { serials, next })
        })
        .await
    }

    async fn devices(
        &self,
        _: &ApiKey,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        self.request("devices", |inside| {
            let all: Vec<Serial> = inside.devices.keys().cloned().collect();
            let (serials, next) = page(&all, cursor);
            let devices = serials
                .iter()
                .map(|s| (s.clone(), reading(&inside.devices[s], now)))
                .collect();
            inside.ledger.push(Line::Read(serials));
            Ok(ReadingPage { devices, next })
        })
        .await
    }

    async fn read(
        &self,
        _: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        self.request("device", |inside| {
            let readings = serials
                .iter()
                .map(|serial| {
                    let device = &inside.devices[serial];
                    let mut reading = reading(device, now);
                    reading.assigned_server = Some(device.server.clone());
                    (serial.clone(), reading)
                })
                .collect();
            inside.ledger.push(Line::Read(serials.to_vec()));
            Ok(readings)
        })
        .await
    }

    async fn submit(
        &self,
        _: &ApiKey,
        request: &ActivityRequest,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<String, PortError> {
        let kind = match request {
            ActivityRequest::AssignWithDeadline { .. } => "schedule",
            ActivityRequest::UpdateDeadline { .. } => "update",
            ActivityRequest::Cancel => "cancel",
            _ => "assign",
        };
        self.request(kind, |inside| {
            inside.ledger.push(Line::Change(kind, serials.to_vec()));
            let work = Work::Activity(request.clone(), serials.to_vec());
            inside.waiting.push((now + EFFECT, work));
            let id = format!("ACTIVITY{}", inside.over.len());
            inside.over.insert(id.clone(), now + EFFECT);
            Ok(id)
        })
        .await
    }

    async fn activity(&self, _: &ApiKey, id: &str) -> Result<ActivityReading, PortError> {
        let now = self.clock.now();
        self.request("activity", |inside| {
            let finished = inside.over.get(id).is_some_and(|at| *at <= now);
            Ok(ActivityReading {
                finished,
                status: if finished { "COMPLETED" } else { "IN_PROGRESS" }.to_owned(),
                failed: Vec::new(),
                file: finished.then(|| b"Serial Number,Status\r\n".to_vec()),
                file_failed: None,
            })
        })
        .await
    }
}

#[async_trait]
impl Licences for Apple {
    async fn claim(
        &self,
        credential: &ContentCredential,
        take_over: bool,
        now: Timestamp,
    ) -> Result<LocationReading, PortError> {
        if let Some(library) = &self.library {
            let claim = library.port.claim(credential, take_over, now);
            return self.request_of("claim", claim).await;
        }
        self.request("claim", |_| {
            Ok(LocationReading {
                name: "Library".to_owned(),
                library: "U1".to_owned(),
                token_expires: None,
                claimed_by_other: None,
                displaced: None,
                limits: LicenceLimits::default(),
            })
        })
        .await
    }

    async fn stock(
        &self,
        credential: &ContentCredential,
    ) -> Result<BTreeMap<u64, Stock>, PortError> {
        if let Some(library) = &self.library {
            return self
                .request_of("stock", library.port.stock(credential))
                .await;
        }
        self.request("stock", |inside| {
            let stock = |app: u64| {
                let held = |d: &&Device| d.licences.contains(&app);
                let assigned = inside.devices.values().filter(held).count();
                let assigned = u64::try_from(assigned).unwrap_or(u64::MAX);
                Stock {
                    total: 10_000,
                    assigned,
                    available: 10_000 - assigned,
                    unlimited: false,
                    device_assignable: true,
                }
            };
            Ok(APPS.map(|app| (app, stock(app))).into())
        })
        .await
    }

    async fn holders(
        &self,
        credential: &ContentCredential,
        app: u64,
        not_before: Timestamp,
    ) -> Result<HolderList, PortError> {
        if let Some(library) = &self.library {
            let holders = async {
                self.inside().ledger.push(Line::Holders);
                library.port.holders(credential, app, not_before).await
            };
            return self.request_of("holders", holders).await;
        }
        self.request("holders", |inside| {
            inside.ledger.push(Line::Holders);
            let holds = |(_, d): &(&Serial, &Device)| d.licences.contains(&app);
            let holders = inside.devices.iter().filter(holds);
            Ok(HolderList {
                serials: holders.map(|(s, _)| s.clone()).collect(),
                steady: true,
            })
        })
        .await
    }

    async fn submit(
        &self,
        credential: &ContentCredential,
        request: &LicenceRequest,
        serials: &[Serial],
    ) -> Result<String, PortError> {
        let now = self.clock.now();
        let kind = if request.take_back {
            "take back"
        } else {
            "give"
        };
        if let Some(library) = &self.library {
            let submit = async {
                let line = Line::Licences(kind, serials.to_vec());
                self.inside().ledger.push(line);
                library.port.submit(credential, request, serials).await
            };
            return self.request_of(kind, submit).await;
        }
        self.request(kind, |inside| {
            inside.ledger.push(Line::Licences(kind, serials.to_vec()));
            let work = Work::Licences(request.clone(), serials.to_vec());
            inside.waiting.push((now + EFFECT, work));
            let id = format!("EVENT{}", inside.over.len());
            inside.over.insert(id.clone(), now + EFFECT);
            Ok(id)
        })
        .await
    }

    async fn event(
        &self,
        credential: &ContentCredential,
        id: &str,
    ) -> Result<LicenceEvent, PortError> {
        if let Some(library) = &self.library {
            return self
                .request_of("event", library.port.event(credential, id))
                .await;
        }
        let now = self.clock.now();
        self.request("event", |inside| {
            let finished = inside.over.get(id).is_some_and(|at| *at <= now);
            Ok(LicenceEvent {
                finished,
                status: if finished { "COMPLETE" } else { "PENDING" }.to_owned(),
                failed: Vec::new(),
            })
        })
        .await
    }
}
