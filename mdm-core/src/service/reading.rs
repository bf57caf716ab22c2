//! Reading devices at the organisation API: a few one by one, many from Apple's lists, a page at a time and each page with
//! its place in one batch. A device is told to its attempt in the batch that keeps the reading.

mod placed;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::placed::{Placed, placed};
use self::telling::Telling;
use super::Org;
use super::decision::Tracked;
use super::worker::done;
use crate::clock::Timestamp;
use crate::device::{Device, OrgReading};
use crate::errand::Errand;
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, ErrandId, InventoryId, JobId, Serial};
use crate::inventory::{FEW, Inventory, Lap, PullPhase};
use crate::job::{Job, JobKind};
use crate::store::{Batch, Lease, StoreError, Write};

/// A list that was met in a circle so often is begun again.
const CIRCLES: u32 = 3;
/// Pages of one run of the job; more go on in the next, under a lease of their own.
const PAGES: u32 = 50;
/// Between two looks at a reading that is under way.
const LOOK: Duration = Duration::from_secs(30);
/// Where only a person can go on.
const PERSON: Duration = Duration::from_secs(1800);
/// After a list that ran in a circle.
const IN_A_CIRCLE: Duration = Duration::from_secs(15 * 60);

/// Readings that are young enough, or not yet.
pub(super) enum Readings {
    /// All devices, each with such a reading.
    Ready(Vec<Device>),
    /// They are being read, so many of them; come again.
    Later(usize),
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
        let since = self.now();
        let known: Vec<Serial> = self.known(serials).await?.devices.into_keys().collect();
        if known.len() <= self.few().await? {
            // Also when they were read a moment ago.
            self.read_singly(&known).await?;
        }
        self.read_since(serials, since).await
    }

    /// Reads serial numbers into our records unless they were read at `since` or later. What was read before a failure stays
    /// read, so that who asks again gets on.
    pub(super) async fn read_since(
        &self,
        serials: &[Serial],
        since: Timestamp,
    ) -> Result<Vec<(Serial, OrgReading)>, Error> {
        let known = self.known(serials).await?;
        let new = serials.iter().filter(|s| !known.has(s));
        let new: Vec<Serial> = new.cloned().collect();
        if new.len() <= self.few().await? {
            self.read_new(&new).await?;
        } else {
            // Many new ones are among all of the organisation, or unknown there.
            self.read_everything(since).await?;
        }
        let mut stale = usize::MAX;
        loop {
            let left = match self.readings_for(serials, since).await? {
                Readings::Ready(devices) => {
                    let read = devices.into_iter();
                    return Ok(read.filter_map(|d| Some((d.serial, d.reading?))).collect());
                }
                Readings::Later(left) => left,
            };
            if !self.pull_step().await? && left >= stale {
                // Somebody else is at it.
                return Err(PortError::retry("the devices are being read").into());
            }
            stale = left;
        }
    }

    /// Has the lists read with every device on them, at `since` or later.
    async fn read_everything(&self, since: Timestamp) -> Result<(), Error> {
        let is_read = async || {
            let row = self.inventory().await?;
            let complete = row.filter(|i| i.kept_everything).and_then(|i| i.complete);
            Ok::<_, Error>(complete.is_some_and(|at| at >= since))
        };
        if is_read().await? {
            return Ok(());
        }
        let under_way = self.inventory().await?.filter(|i| i.everything);
        let begun = under_way.and_then(|i| i.begun());
        let begun = begun.unwrap_or(self.now());
        self.want_pull(begun.max(since), true).await?;
        while !is_read().await? {
            if !self.pull_step().await? && !is_read().await? {
                return Err(PortError::retry("the devices are being read").into());
            }
        }
        Ok(())
    }

    /// Up to how many devices are read one by one.
    async fn few(&self) -> Result<usize, Error> {
        Ok(self.inventory().await?.map_or(FEW, |i| i.few()))
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
                if self.known(one).await?.has(serial) {
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
    pub(super) async fn put_pull(
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
                    return self.job_later(job, lease, PERSON).await;
                }
                // Time alone does not mend what Apple refuses; whoever waits for the reading sees why.
                Err(Error::Port(
                    error @ (PortError::Refused(_) | PortError::FeatureMissing(_)),
                )) => {
                    tracing::warn!(organisation = %self.id(), %error, "the organisation's devices cannot be read");
                    self.pull_needs(&error.to_string()).await?;
                    return self.job_later(job, lease, PERSON).await;
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
        if row.phase == PullPhase::Idle && !row.is_wanted() {
            // Before the account is looked for, which may have been removed.
            return Ok(false);
        }
        let key = self.api_key().await?;
        let api = &self.ports().api;
        let now = self.now();
        let page = match &row.phase {
            PullPhase::Idle => Ok(PulledPage::Services(api.services(&key).await?)),
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
            let what =
                format!("{list}: the list does not go on: it names a place where it has been");
            self.met_in_a_circle(&row.phase, &what).await?;
            // Not taken, so that its place is kept: once the list goes on, so do we.
            let after = Some(IN_A_CIRCLE);
            return Err(PortError::Retry { what, after }.into());
        }
        self.again_on_conflict(|| self.take_pulled(&row.phase, &page, now))
            .await?;
        Ok(true)
    }

    /// A list that stays in its circle is begun again: somewhere in it there may be a way out.
    async fn met_in_a_circle(&self, of: &PullPhase, what: &str) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut row) = self.inventory().await? else {
                return Ok(());
            };
            if row.phase != *of {
                return Ok(());
            }
            row.lap.circles += 1;
            if row.lap.circles >= CIRCLES {
                row.phase = PullPhase::Idle;
                row.lap = Lap::default();
            }
            row.needs_person = Some(what.to_owned());
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
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
                lap.circles = 0;
                lap
            }
            None => Lap::default(),
        };
        let mut batch = Batch::new();
        match (page, of) {
            (PulledPage::Over, _) => row.phase = PullPhase::Idle,
            (PulledPage::Services(services), _) => {
                let named = services.iter();
                row.services = named
                    .clone()
                    .map(|(id, name, _)| (id.clone(), name.clone()))
                    .collect();
                row.other_kinds = named
                    .filter_map(|(id, _, what)| Some((id.clone(), what.clone()?)))
                    .collect();
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
                    row.whole = row.pages;
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
            if known.is_unreadable(serial) {
                continue;
            }
            let device = match known.devices.remove(serial) {
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
            if !seen.insert(serial) || known.is_unreadable(serial) {
                continue;
            }
            let now = self.now();
            let mut tracked = match known.devices.remove(serial) {
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
                    tracked.row.reading = Some(reading.after(tracked.row.reading.as_ref()));
                    batch.put(tracked.row);
                }
                Placed::Known(reading) => told.take(self, batch, tracked, reading).await?,
            }
        }
        told.keep_missed(batch);
        Ok(())
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
        let inventory = self.inventory().await?;
        let few = inventory.as_ref().map_or(FEW, Inventory::few);
        let complete = inventory.and_then(|i| i.complete);
        if !unplaced.is_empty() {
            // The lists cannot tell where they are; some now, the others when this is asked again.
            self.read_singly(&unplaced[..unplaced.len().min(few)])
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
        } else if stale.len() <= few {
            self.read_singly(&stale).await?;
        } else {
            self.want_pull(not_before, false).await?;
            return Ok(Readings::Later(stale.len()));
        }
        let devices = self.store().devices_by_serial(self.id(), serials).await?;
        match devices.iter().filter(|d| old(d)).count() {
            0 => Ok(Readings::Ready(devices)),
            left => Ok(Readings::Later(left)),
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
                if let Some(device) = known.devices.remove(serial) {
                    told.take(self, &mut batch, Tracked::read(device), reading.clone())
                        .await?;
                }
            }
            told.keep_missed(&mut batch);
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
            match self.store().device(self.id(), device).await {
                // It keeps no other from being read, and is looked at again when somebody may have mended it.
                Err(StoreError::Corrupt { .. }) => {
                    let mut later = job.clone();
                    later.due = self.now() + PERSON;
                    later.tries += 1;
                    let mut batch = Batch::new();
                    batch.put(Write::JobLater { job: later, lease });
                    self.store().commit(batch).await?;
                }
                row => match row? {
                    Some(row) => wanted.entry(row.serial).or_default().push((job, lease)),
                    None => self.job_done(job, lease).await?,
                },
            }
        }
        if wanted.len() > self.few().await? {
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
            let now = self.now();
            let due = (now + wait.max(Duration::from_secs(60))).next_minute();
            let due = due.min(now + JobKind::LONGEST_WAIT);
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

/// A page of a reading as it came.
enum PulledPage {
    /// The list has to be begun again.
    Over,
    Services(Vec<(String, String, Option<String>)>),
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
