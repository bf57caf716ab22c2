//! Apple's lists, read a page at a time: who has which devices, then all devices of the organisation. Each page is kept with
//! its place in one batch, so that whoever goes on, here or in another process, goes on there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::PERSON;
use super::placed::{Placed, placed};
use super::telling::Telling;
use crate::clock::Timestamp;
use crate::device::{Device, OrgReading};
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, InventoryId, JobId, Serial};
use crate::inventory::{Inventory, Lap, PullPhase};
use crate::job::{Job, JobKind};
use crate::service::Org;
use crate::service::decision::Tracked;
use crate::store::{Batch, Lease};

/// A list that was met in a circle so often is begun again.
const CIRCLES: u32 = 3;
/// Pages of one run of the job; more go on in the next, under a lease of their own.
const PAGES: u32 = 50;
/// After a list that ran in a circle.
const IN_A_CIRCLE: Duration = Duration::from_secs(15 * 60);

impl Org {
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

    /// Asks for a reading that begins at `since` or later.
    pub(in crate::service) async fn want_pull(
        &self,
        since: Timestamp,
        everything: bool,
    ) -> Result<(), Error> {
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
    pub(in crate::service) async fn put_pull(
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
    pub(in crate::service) async fn pull_job(&self, job: &Job, lease: Lease) -> Result<(), Error> {
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
    pub(super) async fn pull_step(&self) -> Result<bool, Error> {
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
