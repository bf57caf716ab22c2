//! A stand-in for the organisation API and Apps and Books, whose answers can be lost and whose effects can come late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use mdm_core::clock::{Clock as _, ManualClock, Timestamp};
use mdm_core::device::{MigrationStatus, OrgReading};
use mdm_core::error::PortError;
use mdm_core::ids::Serial;
use mdm_core::licences::{LicenceLimits, Stock};
use mdm_core::migration::AuditedAct;
use mdm_core::service::ports::{
    ActivityReading, ActivityRequest, ApiKey, ContentCredential, HolderList, LicenceEvent,
    LicenceRequest, Licences, LocationReading, MemberPage, OrganisationApi, ReadingPage,
};
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
    /// All of these are iPhones at the other service.
    pub(crate) fn new(
        clock: &ManualClock,
        serials: &[Serial],
        lag: Duration,
        fates: &[Fate],
    ) -> Self {
        let mut device = OrgReading::default();
        device.assigned_server = Some(THEIRS.to_owned());
        device.capable = Some(true);
        device.product = Some("iPhone17,2".to_owned());
        Self {
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
        }
    }

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
