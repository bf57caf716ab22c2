//! Reading devices at the organisation API: a few one by one, many from Apple's lists, a page at a time and each page with
//! its place in one batch. A device is told to its attempt in the batch that keeps the reading.

mod placed;
mod pull;
mod telling;

use std::collections::BTreeMap;
use std::time::Duration;

use self::telling::Telling;
use super::Org;
use super::decision::Tracked;
use super::worker::done;
use crate::clock::Timestamp;
use crate::device::{Device, OrgReading};
use crate::errand::Errand;
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, ErrandId, Serial};
use crate::inventory::{FEW, Inventory};
use crate::job::{Job, JobKind};
use crate::store::{Batch, Lease, StoreError, Write};
/// Between two looks at a reading that is under way.
const LOOK: Duration = Duration::from_secs(30);
/// Where only a person can go on.
const PERSON: Duration = Duration::from_secs(1800);
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
