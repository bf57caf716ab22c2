//! Reading devices at the organisation API: a few one by one, many from Apple's lists, a page at a time and each page with
//! its place in one batch. A device is told to its attempt in the batch that keeps the reading.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Org;
use super::decision::{Decision, Tracked};
use super::sync::append;
use super::worker::done;
use crate::clock::Timestamp;
use crate::device::{Device, OrgReading};
use crate::errand::{Errand, ErrandKind};
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, ErrandId, InventoryId, JobId, Serial, WaveId};
use crate::inventory::{Inventory, Lap, PullPhase};
use crate::job::{Job, JobKind};
use crate::migration::{Event, MoveState};
use crate::store::{Batch, Lease, Write};

/// Up to so many devices are read one by one, two requests each; more are read from Apple's lists.
const FEW: usize = 5;
/// Pages of one run of the job; more go on in the next, under a lease of their own.
const PAGES: u32 = 50;
/// Between two looks at a reading that is under way.
const LOOK: Duration = Duration::from_secs(30);
/// After a list that ran in a circle.
const IN_A_CIRCLE: Duration = Duration::from_secs(15 * 60);

/// Readings that are young enough, or not yet.
pub(super) enum Readings {
    /// All devices, each with such a reading.
    Ready(Vec<Device>),
    /// They are being read; come again.
    Later,
}

/// What telling a device to its attempt needs of the wave.
#[derive(Clone)]
struct WaveFacts {
    destination: String,
    profile: Option<String>,
}

impl Org {
    /// Reads serial numbers at the organisation API into our records, now; for the answer to a person. Many devices are read
    /// from Apple's lists, which may take as long as the budget makes it.
    ///
    /// # Errors
    /// The port's, the store's. [`Error::retry_after`] says when the budget allows more; what was read is kept.
    ///
    /// What Apple does not know gets no row, so that a mistyped number leaves nothing behind.
    pub async fn pull(&self, serials: &[Serial]) -> Result<Vec<(Serial, OrgReading)>, Error> {
        let known = self.known(serials).await?;
        let (known, new): (Vec<Serial>, Vec<Serial>) = serials
            .iter()
            .cloned()
            .partition(|serial| known.contains_key(serial));
        let since = self.now();
        let all_new = new.len() > FEW;
        if !all_new {
            self.read_new(&new).await?;
        }
        if !all_new && known.len() <= FEW {
            self.read_singly(&known).await?;
        } else {
            // Many new ones are among all of the organisation, or unknown there.
            self.want_pull(since, all_new).await?;
            while self
                .inventory()
                .await?
                .is_none_or(|i| i.complete.is_none_or(|at| at < since))
            {
                self.pull_step().await?;
            }
        }
        let Readings::Ready(devices) = self.readings_for(serials, since).await? else {
            return Err(PortError::retry("the devices are being read").into());
        };
        Ok(devices
            .into_iter()
            .filter_map(|d| Some((d.serial, d.reading?)))
            .collect())
    }

    /// Begins a reading of every device of the organisation, which goes on by itself.
    ///
    /// # Errors
    /// [`Error::Precondition`] without an account to ask with, the store's.
    pub async fn start_pull(&self) -> Result<Inventory, Error> {
        // What nobody can read would be waited for without end.
        self.api_key().await?;
        self.want_pull(self.now(), true).await?;
        self.inventory().await?.ok_or(Error::NotFound("inventory"))
    }

    /// How far the organisation's device list is read; `None` when nobody has asked for it yet.
    ///
    /// # Errors
    /// The store's.
    pub async fn inventory(&self) -> Result<Option<Inventory>, Error> {
        let id = InventoryId(self.id().0);
        Ok(self.store().inventory(self.id(), id).await?)
    }

    /// The organisation's device-management services as the API names them now: identifier and name.
    ///
    /// # Errors
    /// The port's, the store's.
    pub async fn services(&self) -> Result<Vec<(String, String)>, Error> {
        Ok(self.ports().api.servers(&self.api_key().await?).await?)
    }

    /// Reads serial numbers that have no row yet, and makes one for each that Apple knows.
    async fn read_new(&self, serials: &[Serial]) -> Result<(), Error> {
        if serials.is_empty() {
            return Ok(());
        }
        let key = self.api_key().await?;
        for serial in serials {
            let one = std::slice::from_ref(serial);
            let mut readings = self.ports().api.read(&key, one, self.now()).await?;
            readings.retain(|(_, reading)| !reading.unknown);
            if readings.is_empty() {
                continue;
            }
            self.again_on_conflict(|| async {
                if !self.known(one).await?.is_empty() {
                    return Ok(());
                }
                let mut batch = Batch::new();
                let id = DeviceId(self.ids().next(self.now()));
                batch.put(Device::new(self.id(), id, serial.clone()));
                Ok(self.store().commit(batch).await?)
            })
            .await?;
            self.take_readings(&readings, &[]).await?;
        }
        Ok(())
    }

    /// Asks for a reading that begins at `since` or later.
    pub(super) async fn want_pull(&self, since: Timestamp, everything: bool) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut batch = Batch::new();
            if self.put_pull(&mut batch, since, everything).await? {
                self.store().commit(batch).await?;
            }
            Ok(())
        })
        .await
    }

    /// Adds to a batch that a reading is wanted. Answers whether anything had to be added.
    async fn put_pull(
        &self,
        batch: &mut Batch,
        since: Timestamp,
        everything: bool,
    ) -> Result<bool, Error> {
        let now = self.now();
        let mut row = match self.inventory().await? {
            Some(row) => row,
            None => Inventory::new(self.id(), JobId(self.ids().next(now))),
        };
        let asked = row.wanted.is_some_and(|wanted| wanted >= since) && row.version > 0;
        if asked && (row.everything || !everything) {
            return Ok(false);
        }
        let sleeping = !row.is_wanted() && row.phase == PullPhase::Idle;
        row.wanted = Some(row.wanted.map_or(since, |wanted| wanted.max(since)));
        if everything && !row.everything {
            row.everything = true;
            // One that is under way leaves out what was not known when it began.
            row.phase = PullPhase::Idle;
        }
        if sleeping {
            batch.put(Job::new(self.id(), row.job, now, JobKind::Pull));
        }
        batch.put(row);
        Ok(true)
    }

    /// The job that reads the list, some pages at a time.
    pub(super) async fn pull_job(&self, job: &Job, lease: Lease) -> Result<(), Error> {
        for _ in 0..PAGES {
            match self.pull_step().await {
                Ok(true) => {}
                Ok(false) => return self.job_done(job, lease).await,
                Err(Error::Port(PortError::NeedsPerson(what))) => {
                    self.pull_needs(&what).await?;
                    return self.job_later(job, lease, Duration::from_secs(1800)).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.job_later(job, lease, Duration::ZERO).await
    }

    async fn pull_needs(&self, what: &str) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut row) = self.inventory().await? else {
                return Ok(());
            };
            if row.needs_person.as_deref() == Some(what) {
                return Ok(());
            }
            row.needs_person = Some(what.to_owned());
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Reads one page and keeps it with its place. Answers whether there is more to do.
    async fn pull_step(&self) -> Result<bool, Error> {
        let Some(row) = self.inventory().await? else {
            return Ok(false);
        };
        let key = self.api_key().await?;
        let api = &self.ports().api;
        let now = self.now();
        let page = match &row.phase {
            PullPhase::Idle if !row.is_wanted() => return Ok(false),
            PullPhase::Idle => Ok(PulledPage::Services(api.servers(&key).await?)),
            PullPhase::Members {
                service, cursor, ..
            } => match row.services.get(*service) {
                Some((server, _)) => api
                    .members(&key, server, cursor.as_deref())
                    .await
                    .map(|page| PulledPage::Members(page.serials, page.next)),
                None => Ok(PulledPage::Members(Vec::new(), None)),
            },
            PullPhase::Devices { cursor, .. } => api
                .devices(&key, cursor.as_deref(), now)
                .await
                .map(|page| PulledPage::Devices(page.devices, page.next)),
        };
        let page = match page {
            Ok(page) => page,
            // A cursor that Apple does not know (any more): from the beginning.
            Err(PortError::CursorExpired) => PulledPage::Over,
            Err(error) => return Err(error.into()),
        };
        if let Some((list, next)) = page.goes_on_at()
            && !row.lap.clone().goes_on(next)
        {
            // Not taken, so that its place is kept: once the list goes on, so do we.
            return Err(PortError::Retry {
                what: format!(
                    "{list}: the list does not go on: it names a place where it has been"
                ),
                after: Some(IN_A_CIRCLE),
            }
            .into());
        }
        self.again_on_conflict(|| self.take_pulled(&row.phase, &page, now))
            .await?;
        Ok(true)
    }

    async fn take_pulled(
        &self,
        of: &PullPhase,
        page: &PulledPage,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut row = self
            .inventory()
            .await?
            .ok_or(Error::NotFound("inventory"))?;
        if row.phase != *of {
            // Another process was faster: its page counts.
            return Ok(());
        }
        row.needs_person = None;
        row.pages += 1;
        row.lap = match page.goes_on_at() {
            // That it does was seen when it was asked for.
            Some((_, next)) => {
                let mut lap = std::mem::take(&mut row.lap);
                let _ = lap.goes_on(next);
                lap
            }
            None => Lap::default(),
        };
        let mut batch = Batch::new();
        match (page, of) {
            (PulledPage::Over, _) => row.phase = PullPhase::Idle,
            (PulledPage::Services(services), _) => {
                row.services.clone_from(services);
                row.pages = 1;
                row.devices = 0;
                row.phase = PullPhase::Members {
                    begun: now,
                    service: 0,
                    cursor: None,
                };
            }
            (PulledPage::Members(serials, next), PullPhase::Members { begun, service, .. }) => {
                if let Some((server, _)) = row.services.get(*service) {
                    self.take_members(&mut batch, serials, server, row.everything, now)
                        .await?;
                }
                row.phase = match next {
                    Some(cursor) => PullPhase::Members {
                        begun: *begun,
                        service: *service,
                        cursor: Some(cursor.clone()),
                    },
                    None if service + 1 < row.services.len() => PullPhase::Members {
                        begun: *begun,
                        service: service + 1,
                        cursor: None,
                    },
                    None => PullPhase::Devices {
                        begun: *begun,
                        cursor: None,
                    },
                };
            }
            (PulledPage::Devices(readings, next), PullPhase::Devices { begun, .. }) => {
                row.devices += u64::try_from(readings.len()).unwrap_or(u64::MAX);
                let at = (*begun, now);
                self.take_listed(&mut batch, readings, at, row.everything)
                    .await?;
                row.phase = match next {
                    Some(cursor) => PullPhase::Devices {
                        begun: *begun,
                        cursor: Some(cursor.clone()),
                    },
                    None => PullPhase::Idle,
                };
                if next.is_none() {
                    row.complete = Some(*begun);
                    row.ended = Some(now);
                    row.kept_everything = std::mem::take(&mut row.everything);
                    // Errands may have waited for it.
                    self.put_errands_job(&mut batch, now);
                }
            }
            // The phase says which page it is.
            _ => return Ok(()),
        }
        batch.put(row);
        Ok(self.store().commit(batch).await?)
    }

    /// A page of a service's devices.
    async fn take_members(
        &self,
        batch: &mut Batch,
        serials: &[Serial],
        server: &str,
        everything: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut known = self.known(serials).await?;
        for serial in serials.iter().collect::<BTreeSet<_>>() {
            let device = match known.remove(serial) {
                Some(device) => Some(device),
                None => everything.then(|| {
                    Device::new(self.id(), DeviceId(self.ids().next(now)), serial.clone())
                }),
            };
            if let Some(mut device) = device {
                let reading = device.reading.get_or_insert_default();
                if reading.seen > now {
                    // Read by itself since this page was asked for.
                    continue;
                }
                reading.assigned_server = Some(server.to_owned());
                reading.listed = Some(now);
                batch.put(device);
            }
        }
        Ok(())
    }

    /// A page of what the API says of devices; which service has each was read before. `at` is when the reading began, and
    /// when this page was asked for.
    async fn take_listed(
        &self,
        batch: &mut Batch,
        readings: &[(Serial, OrgReading)],
        at: (Timestamp, Timestamp),
        everything: bool,
    ) -> Result<(), Error> {
        let serials: Vec<Serial> = readings.iter().map(|(s, _)| s.clone()).collect();
        let mut known = self.known(&serials).await?;
        let mut told = Telling::new(self).await?;
        let mut seen = BTreeSet::new();
        for (serial, reading) in readings {
            if !seen.insert(serial) {
                continue;
            }
            let now = self.now();
            let mut tracked = match known.remove(serial) {
                Some(device) => Tracked::read(device),
                None if everything => Tracked::new(Device::new(
                    self.id(),
                    DeviceId(self.ids().next(now)),
                    serial.clone(),
                )),
                None => continue,
            };
            match placed(reading, tracked.row.reading.as_ref(), at) {
                Placed::Older => {}
                Placed::Nowhere(reading) => {
                    // Nobody is told what is not known.
                    tracked.row.reading = Some(reading);
                    batch.put(tracked.row);
                }
                Placed::Known(reading) => told.take(self, batch, tracked, reading).await?,
            }
        }
        Ok(())
    }

    async fn known(&self, serials: &[Serial]) -> Result<BTreeMap<Serial, Device>, Error> {
        let devices = self.store().devices_by_serial(self.id(), serials).await?;
        Ok(devices.into_iter().map(|d| (d.serial.clone(), d)).collect())
    }

    /// Devices with readings that are not older than `not_before`; what is older is read, or begins to be.
    pub(super) async fn readings_for(
        &self,
        serials: &[Serial],
        not_before: Timestamp,
    ) -> Result<Readings, Error> {
        let old = |device: &Device| {
            let reading = device.reading.as_ref();
            reading.is_none_or(|r| !r.is_young(not_before))
        };
        let devices = self.store().devices_by_serial(self.id(), serials).await?;
        let stale: Vec<Serial> = devices
            .iter()
            .filter(|d| old(d))
            .map(|d| d.serial.clone())
            .collect();
        if stale.is_empty() {
            return Ok(Readings::Ready(devices));
        }
        let unplaced: Vec<Serial> = devices
            .iter()
            .filter(|d| old(d))
            .filter(|d| {
                let at = d.reading.as_ref().and_then(|r| r.unplaced);
                at.is_some_and(|at| at >= not_before)
            })
            .map(|d| d.serial.clone())
            .collect();
        let complete = self.inventory().await?.and_then(|i| i.complete);
        if !unplaced.is_empty() {
            // The lists cannot tell where they are; some now, the others when this is asked again.
            self.read_singly(&unplaced[..unplaced.len().min(FEW)])
                .await?;
        } else if complete.is_some_and(|at| at >= not_before) {
            // A complete list did not show them.
            let unknown = |serial: &Serial| {
                let reading = OrgReading {
                    seen: complete.unwrap_or(not_before),
                    unknown: true,
                    ..OrgReading::default()
                };
                (serial.clone(), reading)
            };
            let readings: Vec<_> = stale.iter().map(unknown).collect();
            self.take_readings(&readings, &[]).await?;
        } else if stale.len() <= FEW {
            self.read_singly(&stale).await?;
        } else {
            self.want_pull(not_before, false).await?;
            return Ok(Readings::Later);
        }
        let devices = self.store().devices_by_serial(self.id(), serials).await?;
        match devices.iter().any(old) {
            true => Ok(Readings::Later),
            false => Ok(Readings::Ready(devices)),
        }
    }

    /// Reads devices one after the other and keeps each at once, so that a failure costs one device's requests only.
    async fn read_singly(&self, serials: &[Serial]) -> Result<(), Error> {
        let key = self.api_key().await?;
        for serial in serials {
            let one = std::slice::from_ref(serial);
            let readings = self.ports().api.read(&key, one, self.now()).await?;
            self.take_readings(&readings, &[]).await?;
        }
        Ok(())
    }

    /// Keeps readings and tells their attempts, in one batch that also ends `jobs`.
    async fn take_readings(
        &self,
        readings: &[(Serial, OrgReading)],
        jobs: &[(&Job, Lease)],
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let serials: Vec<Serial> = readings.iter().map(|(s, _)| s.clone()).collect();
            let mut known = self.known(&serials).await?;
            let mut told = Telling::new(self).await?;
            let mut batch = Batch::new();
            for (serial, reading) in readings {
                if let Some(device) = known.remove(serial) {
                    told.take(self, &mut batch, Tracked::read(device), reading.clone())
                        .await?;
                }
            }
            for (job, lease) in jobs {
                batch.put(done(job, *lease));
            }
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Reads devices for several jobs with as few requests as possible, and tells their attempts.
    pub(super) async fn read_devices(&self, jobs: &[Job], lease: Lease) -> Result<(), Error> {
        let mut wanted: BTreeMap<Serial, Vec<(&Job, Lease)>> = BTreeMap::new();
        for job in jobs {
            let JobKind::ReadDevice { device } = job.kind else {
                continue;
            };
            match self.store().device(self.id(), device).await? {
                Some(row) => wanted.entry(row.serial).or_default().push((job, lease)),
                None => self.job_done(job, lease).await?,
            }
        }
        if wanted.len() > FEW {
            // The list tells every attempt on its way; the jobs have done their part once it is wanted.
            return self
                .again_on_conflict(|| async {
                    let mut batch = Batch::new();
                    self.put_pull(&mut batch, self.now(), false).await?;
                    for (job, lease) in wanted.values().flatten() {
                        batch.put(done(job, *lease));
                    }
                    Ok(self.store().commit(batch).await?)
                })
                .await;
        }
        let key = self.api_key().await?;
        while let Some((serial, of_it)) = wanted.pop_first() {
            let one = std::slice::from_ref(&serial);
            let error = match self.ports().api.read(&key, one, self.now()).await {
                Ok(readings) => {
                    // Kept at once: what fails later does not cost it.
                    self.take_readings(&readings, &of_it).await?;
                    continue;
                }
                Err(error) => error,
            };
            // The rest together, once the budget's minute is over.
            let wait = error.retry_after().unwrap_or(LOOK);
            let due = (self.now() + wait.max(Duration::from_secs(60))).next_minute();
            let mut batch = Batch::new();
            for (job, lease) in of_it.into_iter().chain(wanted.into_values().flatten()) {
                let mut later = job.clone();
                later.due = due;
                later.tries += 1;
                batch.put(Write::JobLater { job: later, lease });
            }
            self.store().commit(batch).await?;
            return Err(error.into());
        }
        Ok(())
    }

    /// All errands that have not ended.
    pub(super) async fn open_errands(&self) -> Result<Vec<Errand>, Error> {
        let mut all = Vec::new();
        let mut after = ErrandId(0);
        loop {
            let page = self.store().open_errands(self.id(), after, 100).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            all.extend(page);
        }
    }
}

/// What a page of the device list comes to for one device.
#[derive(Debug, PartialEq, Eq)]
enum Placed {
    /// The device was read by itself after the page was asked for.
    Older,
    /// With the service that has it, or the fact that none has.
    Known(OrgReading),
    /// No service's list had it, and it is not unassigned: it moved between two lists while they were read.
    Nowhere(OrgReading),
}

/// Sets what a page of the device list says beside what is known. `at` is when the reading began and when the page was asked
/// for: what the lists of services said before the beginning does not count.
fn placed(
    page: &OrgReading,
    before: Option<&OrgReading>,
    (begun, asked): (Timestamp, Timestamp),
) -> Placed {
    let mut reading = page.clone();
    // Nothing of it is older than the beginning.
    reading.seen = begun;
    let Some(before) = before else {
        reading.unplaced = (reading.assigned != Some(false)).then_some(begun);
        return match reading.unplaced {
            None => Placed::Known(reading),
            Some(_) => Placed::Nowhere(reading),
        };
    };
    if before.seen > asked {
        return Placed::Older;
    }
    reading.listed = before.listed;
    let by_itself = before.seen > begun && before.unplaced.is_none();
    if by_itself {
        // It knows the service, and everything that is younger here is true since then.
        reading.seen = before.seen;
    }
    let listed = before.listed.is_some_and(|at| at >= begun);
    if page.assigned == Some(false) {
        reading.assigned_server = None;
    } else if listed || by_itself {
        reading.assigned_server.clone_from(&before.assigned_server);
    } else {
        reading.assigned_server.clone_from(&before.assigned_server);
        reading.seen = before.seen;
        reading.unplaced = Some(begun);
        return Placed::Nowhere(reading);
    }
    Placed::Known(reading)
}

/// A page of a reading as it came.
enum PulledPage {
    /// The list has to be begun again.
    Over,
    Services(Vec<(String, String)>),
    Members(Vec<Serial>, Option<String>),
    Devices(Vec<(Serial, OrgReading)>, Option<String>),
}

impl PulledPage {
    /// Which list goes on, by its call, and where.
    fn goes_on_at(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Members(_, Some(next)) => {
                Some(("GET /v1/mdmServers/{id}/relationships/devices", next))
            }
            Self::Devices(_, Some(next)) => Some(("GET /v1/orgDevices", next)),
            _ => None,
        }
    }
}

/// Tells readings to attempts: what is asked only once for many devices.
struct Telling {
    /// Devices for which a scheduling is at Apple, or may be: that such a device stands at its original proves nothing.
    scheduling: BTreeSet<DeviceId>,
    waves: BTreeMap<WaveId, WaveFacts>,
}

impl Telling {
    async fn new(org: &Org) -> Result<Self, Error> {
        let scheduling = org
            .open_errands()
            .await?
            .iter()
            .filter(|e| matches!(e.kind, ErrandKind::Schedule { .. }) && !e.sendings.is_empty())
            .flat_map(|e| e.members.iter().map(|m| m.device))
            .collect();
        Ok(Self {
            scheduling,
            waves: BTreeMap::new(),
        })
    }

    async fn facts(&mut self, org: &Org, wave: WaveId) -> Result<WaveFacts, Error> {
        if let Some(facts) = self.waves.get(&wave) {
            return Ok(facts.clone());
        }
        let row = org
            .store()
            .wave(org.id(), wave)
            .await?
            .ok_or(Error::NotFound("wave"))?;
        let server = org
            .store()
            .server(org.id(), row.destination)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        let facts = WaveFacts {
            profile: org.profile_at(&server, Some(&row)),
            destination: server.uuid,
        };
        self.waves.insert(wave, facts.clone());
        Ok(facts)
    }

    async fn take(
        &mut self,
        org: &Org,
        batch: &mut Batch,
        mut device: Tracked<Device>,
        reading: OrgReading,
    ) -> Result<(), Error> {
        let mut d = Decision::new(&org.organisation, org.ids(), org.now(), "worker");
        let (id, open) = (device.row.id, device.row.open_move);
        device.row.reading = Some(reading.clone());
        d.device = Some(device);
        if let Some(open) = open
            && let Some(attempt) = org.store().attempt(org.id(), open).await?
            && let Some(plan) = org.readable_plan_of(&attempt).await?
        {
            let facts = self.facts(org, attempt.wave).await?;
            let cancelling = matches!(attempt.state, MoveState::Cancelling { .. });
            let original = attempt.original_server.clone();
            d.attempt_plan = Some(plan);
            d.profile = facts.profile;
            d.attempt = Some(Tracked::read(attempt));
            if !(cancelling && self.scheduling.contains(&id)) {
                d.tell_move(&Event::OrgTold {
                    reading,
                    destination: facts.destination,
                    original,
                });
            }
        }
        append(batch, d.into_batch());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_796_112_000_000 + minute * 60_000)
    }

    fn reading(seen: i64, server: Option<&str>, listed: Option<i64>) -> OrgReading {
        OrgReading {
            seen: at(seen),
            assigned_server: server.map(str::to_owned),
            listed: listed.map(at),
            ..OrgReading::default()
        }
    }

    fn page(assigned: Option<bool>) -> OrgReading {
        OrgReading {
            assigned,
            deadline: Some(at(999)),
            ..OrgReading::default()
        }
    }

    /// A reading that began at minute 10, whose page of devices was asked for at minute 20.
    fn placed_at(page: &OrgReading, before: Option<&OrgReading>) -> Placed {
        placed(page, before, (at(10), at(20)))
    }

    #[test]
    fn a_page_takes_the_service_from_the_lists_of_its_own_reading() {
        let before = reading(0, Some("A"), Some(12));
        let Placed::Known(kept) = placed_at(&page(Some(true)), Some(&before)) else {
            panic!("it was in a list")
        };
        assert_eq!(
            (kept.assigned_server.as_deref(), kept.seen),
            (Some("A"), at(10))
        );
        assert_eq!(kept.deadline, Some(at(999)));
    }

    #[test]
    fn a_page_does_not_overwrite_what_was_read_singly_since_the_reading_began() {
        let single = reading(15, Some("B"), None);
        for assigned in [None, Some(true)] {
            let Placed::Known(kept) = placed_at(&page(assigned), Some(&single)) else {
                panic!("it was read by itself")
            };
            assert_eq!(
                (kept.assigned_server.as_deref(), kept.seen),
                (Some("B"), at(15))
            );
        }
        let younger = reading(21, Some("B"), None);
        assert_eq!(placed_at(&page(Some(true)), Some(&younger)), Placed::Older);
    }

    #[test]
    fn a_device_in_no_list_is_not_called_unassigned_unless_apple_does() {
        let before = reading(0, Some("A"), Some(-5));
        for assigned in [None, Some(true)] {
            let Placed::Nowhere(kept) = placed_at(&page(assigned), Some(&before)) else {
                panic!("it moved between two lists")
            };
            assert_eq!(kept.assigned_server.as_deref(), Some("A"));
            assert!(!kept.is_young(at(0)) && kept.unplaced == Some(at(10)));
            assert!(
                matches!(placed_at(&page(assigned), None), Placed::Nowhere(r) if !r.is_young(at(0)))
            );
        }
        for before in [None, Some(&before)] {
            let Placed::Known(kept) = placed_at(&page(Some(false)), before) else {
                panic!("Apple says so")
            };
            assert_eq!((kept.assigned_server, kept.seen), (None, at(10)));
        }
    }
}
