//! A stand-in for the organisation API and Apps and Books, whose answers can be lost and whose effects can come late, and a
//! server before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::check::{Check, CheckResult};
use mdm_core::clock::{Clock, ManualClock, Timestamp};
use mdm_core::device::{AssignmentOutcome, DeviceRecord, MigrationStatus, OrgReading, Platform};
use mdm_core::errand::Errand;
use mdm_core::error::PortError;
use mdm_core::ids::{ErrandId, LocationId, OrganisationId, Serial, ServerId, WaveId};
use mdm_core::licences::{LicenceLimits, Stock};
use mdm_core::migration::{AppAction, AppPlan, AuditedAct, MoveState, PinnedRunbook, Variant};
use mdm_core::secret::Secret;
use mdm_core::service::ports::{
    Account, ActivityReading, ActivityRequest, ApiKey, ContentCredential, DeviceAssignment,
    DevicePage, HolderList, LicenceEvent, LicenceRequest, Licences, LocationReading, LockOutcome,
    MemberPage, OrganisationApi, Ports, ReadingPage, ServerCredential,
};
use mdm_core::service::{Act, Mdm, MdmSettings, Member, MigrationAct, Org};
use mdm_core::store::SqliteStore;
use mdm_core::vault::{EscrowVault, PlainKeys};
use mdm_core::wave::Waiver;
use tokio::sync::Notify;

pub(crate) const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const OURS: &str = "OURS";
pub(crate) const THEIRS: &str = "THEIRS";

/// What becomes of a request that changes something.
#[derive(Clone, Copy, Default)]
pub(crate) enum Fate {
    #[default]
    Answered,
    /// Done, and the answer is lost.
    Unanswered,
    /// Neither done nor answered.
    Lost,
    /// A person is needed first; at Apps and Books a refusal for good.
    Refused,
    /// It hangs until it is let go.
    Hangs,
    /// The organisation API says no, for good.
    Rejected,
}

/// How Apple's work on the first activity looks for whoever asks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Looks {
    #[default]
    Well,
    /// Asking how it goes fails, always.
    Never,
    /// It is over, and its result file is gone.
    NoFile,
}

#[derive(Default)]
pub(crate) struct Inside {
    pub(crate) devices: BTreeMap<Serial, OrgReading>,
    effects: Vec<(Timestamp, ActivityRequest, Vec<Serial>)>,
    /// Every request that changes something, in order.
    asked: Vec<(ActivityRequest, Vec<Serial>)>,
    pub(crate) fates: Vec<Fate>,
    pub(crate) lag: Duration,
    /// The list of devices has a page for each, and between two of them the budget is used up for so long.
    pub(crate) tight: Option<Duration>,
    next_page: Timestamp,
    /// The next reading of single devices takes so long: it tells how they were when it began.
    pub(crate) slow: Duration,
    pub(crate) looks: Looks,
    /// The account is another organisation's.
    pub(crate) foreign: bool,
    /// What the audit events answer, one question after the other; without more there are none to be asked.
    pub(crate) audited: Vec<Result<Vec<AuditedAct>, PortError>>,
    /// About which devices the audit events were asked, and from when on.
    pub(crate) audits: Vec<(Serial, Timestamp)>,
    /// Apps and Books takes back nothing, and says so.
    pub(crate) stubborn: bool,
    /// Apps and Books, by content token.
    pub(crate) libraries: BTreeMap<String, Library>,
    /// Every request that changes licences: of which library, whether it takes back, of whom.
    pub(crate) given: Vec<(String, bool, Vec<Serial>)>,
    /// Who was refused what, by event.
    events: BTreeMap<String, Vec<(Option<Serial>, String)>>,
}

/// A library of licences.
#[derive(Default)]
pub(crate) struct Library {
    /// How many licences of each app there are.
    pub(crate) bought: BTreeMap<u64, usize>,
    pub(crate) holders: BTreeMap<u64, BTreeSet<Serial>>,
    /// Its licences can be given to people only.
    pub(crate) for_people: bool,
    /// The other service that has claimed it.
    pub(crate) claimed: Option<String>,
    /// Its token has ended.
    pub(crate) ended: bool,
    /// Who holds what cannot be read, and time does not mend it.
    pub(crate) refuses: bool,
    /// Its lists change while they are read.
    pub(crate) restless: bool,
    /// The next requests that change something are refused for so long.
    pub(crate) busy: Vec<Duration>,
    /// What becomes of the requests that change something.
    pub(crate) fates: Vec<Fate>,
    /// Every so many readings of who holds what fail.
    pub(crate) rough: Option<u32>,
    /// How often it was read who holds what.
    pub(crate) readings: u32,
    /// When its stock was read.
    pub(crate) stocks: Vec<Timestamp>,
}

impl Library {
    fn left(&self, app: u64) -> usize {
        let held = self.holders.get(&app).map_or(0, BTreeSet::len);
        self.bought.get(&app).map_or(0, |bought| bought - held)
    }
}

#[derive(Clone)]
pub(crate) struct Apple {
    inside: Arc<Mutex<Inside>>,
    clock: ManualClock,
    pub(crate) let_go: Arc<Notify>,
}

impl Apple {
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        let mut inside = self.inside.lock().unwrap();
        let now = self.clock.now();
        let (due, later) = std::mem::take(&mut inside.effects)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        inside.effects = later;
        let due: Vec<(Timestamp, ActivityRequest, Vec<Serial>)> = due;
        for (_, request, serials) in due {
            for serial in serials {
                let device = inside.devices.get_mut(&serial).expect("a device of ours");
                match &request {
                    ActivityRequest::AssignWithDeadline { server, deadline } => {
                        device.assigned_server = Some(server.clone());
                        device.status = Some(MigrationStatus::Requested);
                        device.deadline = Some(*deadline);
                    }
                    ActivityRequest::Cancel => {
                        device.status = Some(MigrationStatus::Failed);
                        device.deadline = None;
                        device.assigned_server = Some(THEIRS.to_owned());
                    }
                    ActivityRequest::UpdateDeadline { deadline, .. } => {
                        device.deadline = Some(*deadline);
                    }
                    other => panic!("not asked for here: {other:?}"),
                }
            }
        }
        inside
    }

    pub(crate) fn status(&self, serial: &Serial) -> Option<MigrationStatus> {
        self.inside().devices[serial].status.clone()
    }

    pub(crate) fn asked(&self) -> usize {
        self.inside().asked.len()
    }

    /// For whom the requests were that change something, in order.
    pub(crate) fn asked_for(&self) -> Vec<Vec<Serial>> {
        let inside = self.inside();
        inside.asked.iter().map(|(_, of)| of.clone()).collect()
    }
}

#[async_trait]
impl OrganisationApi for Apple {
    async fn servers(&self, _: &ApiKey) -> Result<Vec<(String, String)>, PortError> {
        if self.inside().foreign {
            return Ok(vec![("ELSE".to_owned(), "Somebody else".to_owned())]);
        }
        Ok([THEIRS, OURS]
            .map(|s| (s.to_owned(), s.to_owned()))
            .to_vec())
    }

    async fn members(
        &self,
        _: &ApiKey,
        server: &str,
        _: Option<&str>,
    ) -> Result<MemberPage, PortError> {
        let inside = self.inside();
        let of = |d: &OrgReading| d.assigned_server.as_deref() == Some(server);
        let there = inside.devices.iter().filter(|(_, d)| of(d));
        Ok(MemberPage {
            serials: there.map(|(s, _)| s.clone()).collect(),
            next: None,
        })
    }

    async fn devices(
        &self,
        _: &ApiKey,
        cursor: Option<&str>,
        now: Timestamp,
    ) -> Result<ReadingPage, PortError> {
        let mut inside = self.inside();
        if let Some(pause) = inside.tight {
            if now < inside.next_page {
                return Err(PortError::Retry {
                    what: "the budget is used up".to_owned(),
                    after: Some(inside.next_page.since(now)),
                });
            }
            inside.next_page = now + pause;
        }
        let read = |(serial, device): (&Serial, &OrgReading)| {
            let mut reading = device.clone();
            reading.seen = now;
            reading.assigned_server = None;
            (serial.clone(), reading)
        };
        let from: usize = cursor.map_or(0, |c| c.parse().expect("ours"));
        let size = if inside.tight.is_some() { 1 } else { 1000 };
        let end = from + size;
        Ok(ReadingPage {
            devices: inside
                .devices
                .iter()
                .skip(from)
                .take(size)
                .map(read)
                .collect(),
            next: (end < inside.devices.len()).then(|| end.to_string()),
        })
    }

    async fn read(
        &self,
        _: &ApiKey,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, PortError> {
        let mut inside = self.inside();
        let read = |serial: &Serial| {
            let mut reading = inside.devices[serial].clone();
            reading.seen = now;
            (serial.clone(), reading)
        };
        let readings = serials.iter().map(read).collect();
        self.clock.advance(std::mem::take(&mut inside.slow));
        Ok(readings)
    }

    async fn submit(
        &self,
        _: &ApiKey,
        request: &ActivityRequest,
        serials: &[Serial],
        now: Timestamp,
    ) -> Result<String, PortError> {
        let fate = {
            let mut inside = self.inside();
            let fate = match inside.fates.is_empty() {
                true => Fate::Answered,
                false => inside.fates.remove(0),
            };
            if matches!(fate, Fate::Refused) {
                return Err(PortError::NeedsPerson("new terms".to_owned()));
            }
            if matches!(fate, Fate::Rejected) {
                return Err(PortError::Refused("409".to_owned()));
            }
            inside.asked.push((request.clone(), serials.to_vec()));
            if !matches!(fate, Fate::Lost) {
                let at = now + inside.lag;
                inside.effects.push((at, request.clone(), serials.to_vec()));
            }
            fate
        };
        match fate {
            Fate::Answered | Fate::Refused | Fate::Rejected => {}
            Fate::Hangs => self.let_go.notified().await,
            Fate::Unanswered | Fate::Lost => {
                return Err(PortError::Unknown("the connection broke".to_owned()));
            }
        }
        Ok(format!("ACTIVITY{}", self.asked()))
    }

    async fn audited(
        &self,
        _: &ApiKey,
        serial: &Serial,
        since: Timestamp,
        _: Timestamp,
    ) -> Result<Vec<AuditedAct>, PortError> {
        let mut inside = self.inside();
        inside.audits.push((serial.clone(), since));
        match inside.audited.is_empty() {
            true => Err(PortError::Absent("audit event")),
            false => inside.audited.remove(0),
        }
    }

    async fn activity(&self, _: &ApiKey, id: &str) -> Result<ActivityReading, PortError> {
        let looks = match id {
            "ACTIVITY1" => self.inside().looks,
            _ => Looks::Well,
        };
        if looks == Looks::Never {
            return Err(PortError::retry("500"));
        }
        Ok(ActivityReading {
            finished: true,
            status: "COMPLETED".to_owned(),
            file: (looks == Looks::Well).then(|| b"Serial Number,Status\r\n".to_vec()),
            file_failed: (looks == Looks::NoFile).then(|| "410".to_owned()),
            ..ActivityReading::default()
        })
    }
}

/// The assignment service shows an empty list: what happens there is another story.
#[async_trait]
impl DeviceAssignment for Apple {
    async fn account(&self, _: &ServerCredential) -> Result<Account, PortError> {
        Ok(Account {
            server_name: OURS.to_owned(),
            server_uuid: OURS.to_owned(),
            organisation: None,
            token_expires: None,
        })
    }
    async fn fetch(
        &self,
        _: &ServerCredential,
        _: Option<&str>,
        _: Timestamp,
    ) -> Result<DevicePage, PortError> {
        Ok(DevicePage {
            devices: Vec::<(Serial, DeviceRecord)>::new(),
            cursor: "end".to_owned(),
            more: false,
        })
    }
    async fn sync(
        &self,
        credential: &ServerCredential,
        cursor: &str,
        now: Timestamp,
    ) -> Result<DevicePage, PortError> {
        self.fetch(credential, Some(cursor), now).await
    }
    async fn define_profile(
        &self,
        _: &ServerCredential,
        _: &serde_json::Value,
    ) -> Result<String, PortError> {
        Ok("PROFILE".to_owned())
    }
    async fn read_profile(
        &self,
        _: &ServerCredential,
        _: &str,
    ) -> Result<serde_json::Value, PortError> {
        Ok(serde_json::json!({ "await_device_configured": true }))
    }
    async fn assign(
        &self,
        _: &ServerCredential,
        _: &str,
        _: &[Serial],
    ) -> Result<Vec<(Serial, AssignmentOutcome)>, PortError> {
        Ok(Vec::new())
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

#[async_trait]
impl Licences for Apple {
    async fn claim(
        &self,
        credential: &ContentCredential,
        take_over: bool,
        _: Timestamp,
    ) -> Result<LocationReading, PortError> {
        let name = token(credential);
        let mut inside = self.inside();
        let library = inside.libraries.get_mut(&name).unwrap();
        if library.ended {
            return Err(PortError::NeedsPerson("a new token".to_owned()));
        }
        let displaced = library.claimed.take_if(|_| take_over);
        Ok(LocationReading {
            library: name.clone(),
            name,
            token_expires: None,
            claimed_by_other: library.claimed.clone(),
            displaced,
            limits: LicenceLimits::default(),
        })
    }

    async fn stock(
        &self,
        credential: &ContentCredential,
    ) -> Result<BTreeMap<u64, Stock>, PortError> {
        let mut inside = self.inside();
        let library = inside.libraries.get_mut(&token(credential)).unwrap();
        library.stocks.push(self.clock.now());
        let stock = |(app, bought): (&u64, &usize)| {
            let left = library.left(*app);
            let stock = Stock {
                total: u64::try_from(*bought).unwrap(),
                assigned: u64::try_from(bought - left).unwrap(),
                available: u64::try_from(left).unwrap(),
                unlimited: false,
                device_assignable: !library.for_people,
            };
            (*app, stock)
        };
        Ok(library.bought.iter().map(stock).collect())
    }

    async fn holders(
        &self,
        credential: &ContentCredential,
        app: u64,
        _: Timestamp,
    ) -> Result<HolderList, PortError> {
        let mut inside = self.inside();
        let library = inside.libraries.get_mut(&token(credential)).unwrap();
        if library.ended {
            return Err(PortError::NeedsPerson("a new token".to_owned()));
        }
        if library.refuses {
            return Err(PortError::Refused("400".to_owned()));
        }
        library.readings += 1;
        if library
            .rough
            .is_some_and(|n| library.readings.is_multiple_of(n))
        {
            return Err(PortError::retry("500"));
        }
        let holders = library.holders.get(&app);
        Ok(HolderList {
            serials: holders.into_iter().flatten().cloned().collect(),
            steady: !library.restless,
        })
    }

    async fn submit(
        &self,
        credential: &ContentCredential,
        request: &LicenceRequest,
        serials: &[Serial],
    ) -> Result<String, PortError> {
        let name = token(credential);
        let mut inside = self.inside();
        let stubborn = inside.stubborn;
        let library = inside.libraries.get_mut(&name).unwrap();
        if !library.busy.is_empty() {
            return Err(PortError::Retry {
                what: "429".to_owned(),
                after: Some(library.busy.remove(0)),
            });
        }
        let fate = match library.fates.is_empty() {
            true => Fate::Answered,
            false => library.fates.remove(0),
        };
        if matches!(fate, Fate::Refused) {
            return Err(PortError::Refused("9999".to_owned()));
        }
        if request.apps.len() > LicenceLimits::default().apps {
            return Err(PortError::Refused("too many apps".to_owned()));
        }
        let mut failed = Vec::new();
        for app in &request.apps {
            for serial in serials {
                let left = library.left(*app);
                let holders = library.holders.entry(*app).or_default();
                if request.take_back && stubborn {
                    failed.push((Some(serial.clone()), "9700".to_owned()));
                } else if request.take_back {
                    holders.remove(serial);
                } else if left > 0 {
                    holders.insert(serial.clone());
                } else {
                    failed.push((Some(serial.clone()), "9709".to_owned()));
                }
            }
        }
        let id = format!("EVENT{}", inside.given.len());
        let line = (name, request.take_back, serials.to_vec());
        inside.given.push(line);
        inside.events.insert(id.clone(), failed);
        match fate {
            Fate::Unanswered => Err(PortError::Unknown("the connection broke".to_owned())),
            _ => Ok(id),
        }
    }

    async fn event(&self, _: &ContentCredential, id: &str) -> Result<LicenceEvent, PortError> {
        Ok(LicenceEvent {
            finished: true,
            status: "COMPLETE".to_owned(),
            failed: self.inside().events[id].clone(),
        })
    }
}

fn token(credential: &ContentCredential) -> String {
    credential.token.expose_text().unwrap().to_owned()
}

/// A process of the installation.
fn process(apple: &Apple, store: &Arc<SqliteStore>, clock: &ManualClock) -> Mdm {
    let port = Arc::new(apple.clone());
    let ports = Ports {
        assignment: port.clone(),
        licences: port.clone(),
        api: port,
        ..Ports::refusing()
    };
    let settings = MdmSettings {
        device_url: "https://mdm.example.com".to_owned(),
        enrol_url: "https://mdm.example.com".to_owned(),
        sign_messages: false,
    };
    let domain: Arc<dyn Clock> = Arc::new(clock.clone());
    let vault = EscrowVault::new(PlainKeys);
    Mdm::new(store.clone(), vault, domain, ports, settings)
}

pub(crate) struct Stage {
    pub(crate) apple: Apple,
    pub(crate) clock: ManualClock,
    pub(crate) mdm: Mdm,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) organisation: OrganisationId,
    pub(crate) destination: ServerId,
    pub(crate) serials: Vec<Serial>,
}

impl Stage {
    pub(crate) async fn new(devices: usize, lag: Duration, fates: &[Fate]) -> Self {
        let clock = ManualClock::new(START);
        let serials: Vec<Serial> = (0..devices)
            .map(|n| Serial::parse(&format!("LATE{n:06}")).unwrap())
            .collect();
        let mut device = OrgReading::default();
        device.assigned_server = Some(THEIRS.to_owned());
        device.capable = Some(true);
        device.product = Some("iPhone17,2".to_owned());
        let apple = Apple {
            inside: Arc::new(Mutex::new(Inside {
                devices: serials
                    .iter()
                    .map(|s| (s.clone(), device.clone()))
                    .collect(),
                fates: fates.to_vec(),
                lag,
                ..Inside::default()
            })),
            clock: clock.clone(),
            let_go: Arc::default(),
        };
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let mdm = process(&apple, &store, &clock);
        let made = mdm.create_organisation("Acme", Vec::new()).await.unwrap();
        let org = made.org;
        org.import_api("BUSINESSAPI.x", "k", &Secret::from_text("key"))
            .await
            .unwrap();
        // What a wave needs beside Apple's credentials: a push certificate, and that nobody knows the apps of these devices.
        let key = Secret::from_text("key");
        let (topic, until) = ("com.apple.mgmt.External.x", START + DAY * 400);
        org.import_push(topic, b"certificate".to_vec(), until, &key)
            .await
            .unwrap();
        let unknown = [Check::AppsMapped, Check::AppsSource];
        org.set_unknowns(&unknown.map(|check| (check, Some(CheckResult::Warn))).into())
            .await
            .unwrap();
        let token = Secret::from_text("{}");
        let destination = org.import_server_token(&token, None).await.unwrap();
        let stage = Self {
            organisation: org.organisation().id,
            apple,
            clock,
            mdm,
            store,
            destination,
            serials,
        };
        stage.org().await.pull(&stage.serials).await.unwrap();
        stage
    }

    /// One more process of the installation.
    pub(crate) fn process(&self) -> Mdm {
        process(&self.apple, &self.store, &self.clock)
    }

    pub(crate) async fn org(&self) -> Org {
        let org = self.mdm.organisation_by_id(self.organisation).await;
        org.unwrap()
    }

    /// Submits a wave of some of the devices.
    pub(crate) async fn submit(&self, name: &str, serials: &[Serial]) -> WaveId {
        let wave = self.plan(name, serials, &[]).await;
        self.accept(wave).await;
        wave
    }

    /// Plans a wave whose runbook installs apps.
    pub(crate) async fn plan(&self, name: &str, serials: &[Serial], apps: &[u64]) -> WaveId {
        let member = |serial: &Serial| Member {
            serial: serial.clone(),
            deadline: START + DAY * 30,
            available_from: START + DAY * 10,
            original_server: Some(THEIRS.to_owned()),
        };
        let members: Vec<Member> = serials.iter().map(member).collect();
        let mut runbook = PinnedRunbook::standard(Platform::Ios, Variant::Migration);
        runbook.apps = apps
            .iter()
            .map(|app| AppPlan {
                bundle_id: format!("com.example.app{app}"),
                store_id: Some(*app),
                manifest_url: None,
                action: AppAction::Install,
            })
            .collect();
        let runbooks = BTreeMap::from([(Platform::Ios, runbook)]);
        let org = self.org().await;
        let wave = org.plan_wave(name, self.destination, &runbooks, &members);
        wave.await.unwrap()
    }

    pub(crate) async fn accept(&self, wave: WaveId) {
        let org = self.org().await;
        let what_if = org.what_if(wave).await.unwrap();
        assert_eq!(what_if.blockers, BTreeMap::new());
        let accepted = org.accept(wave, &what_if.digest, &[], "as planned").await;
        accepted.unwrap();
        org.submit(wave, &what_if.digest, "a person").await.unwrap();
    }

    /// The same where nothing stands against some but that no licence is left for them: they come without. Answers who these are.
    pub(crate) async fn accept_without_licences(&self, wave: WaveId) -> Vec<Serial> {
        let org = self.org().await;
        let what_if = org.what_if(wave).await.unwrap();
        for why in what_if.blockers.values().flatten() {
            assert!(
                why.starts_with("apps.licences: no licence is left"),
                "{why}"
            );
        }
        let serials: Vec<Serial> = what_if.blockers.keys().cloned().collect();
        let waiver = Waiver {
            check: Check::AppsLicences,
            serials: serials.iter().cloned().collect(),
            reason: "they come without".to_owned(),
        };
        let waivers = [waiver];
        let accepted = org.accept(wave, &what_if.digest, &waivers, "as planned");
        assert_eq!(accepted.await.unwrap().staying, 0);
        org.submit(wave, &what_if.digest, "a person").await.unwrap();
        serials
    }

    /// Brings in the content token of a library, and reads it.
    pub(crate) async fn library(&self, token: &str, bought: &[(u64, usize)]) -> LocationId {
        let library = Library {
            bought: bought.iter().copied().collect(),
            ..Library::default()
        };
        self.apple
            .inside()
            .libraries
            .insert(token.to_owned(), library);
        let org = self.org().await;
        let id = org
            .import_content_token(&Secret::from_text(token), false)
            .await;
        id.unwrap()
    }

    pub(crate) async fn cancel(&self, serials: &[Serial]) {
        let cancel = Act {
            what: MigrationAct::Cancel,
            serials: serials.to_vec(),
            reason: None,
        };
        let org = self.org().await;
        let plan = org.plan_act(&cancel).await.unwrap();
        org.do_act(&cancel, &plan.digest).await.unwrap();
    }

    /// Lets so much time pass, and everything that is due on the way happen.
    pub(crate) async fn pass(&self, time: Duration) {
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

    pub(crate) async fn extend(&self, deadline: Timestamp) {
        let extend = Act {
            what: MigrationAct::Extend { deadline },
            serials: self.serials.clone(),
            reason: None,
        };
        let org = self.org().await;
        let plan = org.plan_act(&extend).await.unwrap();
        self.clock.advance(Duration::from_secs(1));
        org.do_act(&extend, &plan.digest).await.unwrap();
    }

    pub(crate) async fn states(&self, wave: WaveId) -> Vec<MoveState> {
        let members = self.org().await.members(wave).await.unwrap();
        members.into_iter().map(|m| m.state).collect()
    }

    pub(crate) async fn errands(&self) -> Vec<Errand> {
        let org = self.org().await;
        org.errands(ErrandId(0), 100).await.unwrap()
    }
}
