//! A device that has left us: our list does not have it any more, and it has checked out, or said nothing for days though it was
//! asked. Then it has moved, and what we know of it goes to the destination on which both sides have agreed: once for each time.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{DAY, Org};
use crate::clock::Timestamp;
use crate::device::{Device, OrgReading};
use crate::enrollment::Enrollment;
use crate::error::{Error, PortError};
use crate::hand_off::agreement::AgreedDestination;
use crate::hand_off::envelope;
use crate::ids::{DeviceId, HandOffId, JobId};
use crate::job::{Job, JobKind};
use crate::service::decision::Decision;
use crate::service::ports::HandOverTo;
use crate::service::worker::done;
use crate::store::{Batch, Lease, Write};
use crate::wave::Server;

/// Between two looks at a device that our list still has.
const LOOK: Duration = Duration::from_secs(15 * 60);
/// A device that is in our list for so long after it checked out did not move: somebody unenrolled it.
const MOST_LOOKS: u32 = 7 * 96;
/// A device that our list has no more and that has said nothing for so long has moved: its CheckOut is lost.
const SILENT: Duration = Duration::from_secs(7 * 86_400);
/// Between two looks at a device that our list has no more and that still speaks.
const SELDOM: Duration = Duration::from_secs(6 * 3600);
/// Apple moves a device within ninety days of taking it from our list; after so long nothing is expected any more.
const LONGEST_WAY: Duration = Duration::from_secs(120 * 86_400);
/// Devices that are looked at in one commit.
const PAGE: u32 = 500;

/// So many looks in a row find a device silent before it is believed: a server that was away for days has asked nobody.
const LOOKS: u32 = 8;
/// The line of the record about a device that moved and of which nothing was brought in all that time.
const NOT_HANDED_OVER: &str = "device.not-handed-over";
/// Between two devices that had left before the agreement: the destination has so many open jobs and no more.
const PACE: Duration = Duration::from_secs(2);

/// When a device was heard of last.
fn last_word(device: &Device, newest: Option<&Enrollment>) -> Option<Timestamp> {
    let enrolled = newest.and_then(|newest| newest.ended.max(newest.enrolled));
    device.facts.learned.max(enrolled)
}

/// When a device left us for good. Its silence says so once it is longer than `silent`, and where nobody asks it (`None`) never.
pub(in crate::service) fn left_for_good(
    device: &Device,
    newest: Option<&Enrollment>,
    silent: Option<Duration>,
    now: Timestamp,
) -> Option<Timestamp> {
    let record = device.record.as_ref().filter(|record| record.has_left())?;
    let newest = newest?;
    if let Some(ended) = newest.ended {
        return Some(ended.max(record.seen));
    }
    let quiet_since = last_word(device, Some(newest)).max(Some(record.seen))?;
    let is_silent = silent.is_some_and(|silent| now.since(quiet_since) >= silent);
    is_silent.then_some(quiet_since)
}

/// Marks a device as moved away since `left`, and says so in the record: once for each time.
pub(in crate::service) fn mark_moved(device: &mut Device, left: Timestamp) -> Option<Value> {
    if device.moved_away.is_some_and(|at| at >= left) {
        return None;
    }
    device.moved_away = Some(left);
    let record = device.record.as_ref();
    Some(json!({ "since": left, "list": record.map(|r| r.server), "gone": record.map(|r| r.seen) }))
}

impl Org {
    /// Which of these devices have left us for good, and since when.
    ///
    /// # Errors
    /// The store's.
    pub async fn moved_away(
        &self,
        devices: &[Device],
    ) -> Result<BTreeMap<DeviceId, Timestamp>, Error> {
        let (now, silence) = (self.now(), self.silence());
        let mut all = BTreeMap::new();
        for device in devices {
            if device
                .record
                .as_ref()
                .is_none_or(|record| !record.has_left())
            {
                continue;
            }
            let moved = match device.moved_away.filter(|_| device.enrollment.is_none()) {
                Some(moved) => Some(moved),
                None => {
                    let enrolments = self.store().enrollments_of_device(self.id(), device.id);
                    left_for_good(device, enrolments.await?.last(), silence, now)
                }
            };
            all.extend(moved.map(|at| (device.id, at)));
        }
        Ok(all)
    }

    /// Whether what we know of a device that leaves is to be handed over: by the organisation as it is in this process, for a
    /// message of a device is answered at once.
    pub(in crate::service) fn hands_over(&self) -> bool {
        self.organisation.agreed_destination.is_some()
    }

    /// Hands a device over that has left.
    pub(in crate::service) async fn hand_over_job(
        &self,
        job: &Job,
        lease: Lease,
        id: DeviceId,
    ) -> Result<(), Error> {
        let agreed = self.fresh().await?.agreed_destination;
        let device = self.store().device(self.id(), id).await?;
        let (Some(agreed), Some(mut device)) = (agreed, device) else {
            return self.job_done(job, lease).await;
        };
        let enrolments = self.store().enrollments_of_device(self.id(), id).await?;
        let newest = enrolments.last();
        let now = self.now();
        let Some(gone) = device.record.as_ref().filter(|record| record.has_left()) else {
            // Whether it moves, our list will tell; or it has come back meanwhile.
            return match device.enrollment.is_some() || job.tries > MOST_LOOKS {
                true => self.job_done(job, lease).await,
                false => self.job_later(job, lease, LOOK).await,
            };
        };
        let seen = gone.seen;
        let word = last_word(&device, newest);
        let has_checked_out = newest.is_some_and(|newest| newest.ended.is_some());
        let is_over = newest.is_none() || now >= seen + LONGEST_WAY;
        let left = left_for_good(&device, newest, self.silence(), now);
        // How many looks have found it silent since it was heard last.
        let mut look = job.clone();
        let quiet = now.since(word.map_or(seen, |word| word.max(seen)));
        if SELDOM.saturating_mul(look.tries) > quiet {
            look.tries = 0;
        }
        let is_believed = has_checked_out || look.tries + 1 >= LOOKS;
        let Some(left) = left.filter(|_| is_believed) else {
            return match is_over {
                true => self.job_done(job, lease).await,
                false => self.job_later(&look, lease, SELDOM).await,
            };
        };
        let worker = self.clone().acting_for("worker");
        // In the record whatever the destination says.
        if let Some(detail) = mark_moved(&mut device, left) {
            let mut batch = Batch::new();
            worker.audit_of_device(&mut batch, &device, "device.moved-away", detail);
            batch.put(device.clone());
            self.store().commit(batch).await?;
            device.version += 1;
        }
        // One that was only silent may speak again, and leave once more.
        let is_last = has_checked_out || is_over;
        if device.handed_over.is_some_and(|at| at >= left) {
            return match is_last {
                true => self.job_done(job, lease).await,
                false => self.job_later(&look, lease, SELDOM).await,
            };
        }
        if let Some((read, why)) = self.held_back(&device, left).await? {
            // Its keys are for whoever has it.
            tracing::warn!(organisation = %self.id(), serial = %device.serial, why, "what is known of a device is not handed over");
            let mut batch = Batch::new();
            if is_over {
                let detail = json!({ "to": agreed.url, "why": why, "service": read.assigned_server, "read": read.seen });
                worker.audit_of_device(&mut batch, &device, NOT_HANDED_OVER, detail);
                batch.put(done(job, lease));
            } else {
                self.read_anew(&mut batch, device.id, read.seen).await?;
                let mut later = look;
                later.due = now + SELDOM;
                later.tries += 1;
                batch.put(Write::JobLater { job: later, lease });
            }
            return Ok(self.store().commit(batch).await?);
        }
        let taken = word.map_or(now, |word| word.min(now));
        let told = match self.hand_over(&agreed, &device.serial, taken).await {
            Ok(told) => told,
            Err(Error::Port(PortError::Refused(why))) => {
                // Nobody is at the other end with whom this was agreed on: a person must see to it, and it is tried again.
                tracing::error!(organisation = %self.id(), url = agreed.url, why, "a device could not be handed over");
                return self.job_later(job, lease, DAY / 4).await;
            }
            Err(error) => return Err(error),
        };
        if took_nothing(&told["results"][0]) {
            // It may not have read its list yet, or the device went elsewhere.
            tracing::warn!(organisation = %self.id(), url = agreed.url, serial = %device.serial, "the destination does not take what is known of a device");
            if !is_over {
                return self.job_later(job, lease, DAY).await;
            }
            let mut batch = Batch::new();
            let why = "the destination does not take it";
            let detail = json!({ "to": agreed.url, "why": why });
            worker.audit_of_device(&mut batch, &device, NOT_HANDED_OVER, detail);
            batch.put(done(job, lease));
            return Ok(self.store().commit(batch).await?);
        }
        let now = self.now();
        device.handed_over = Some(now);
        let mut batch = Batch::new();
        let service = device.reading.as_ref().filter(|read| read.seen > left);
        let service = service.and_then(|read| read.assigned_server.clone());
        let detail = json!({ "to": agreed.url, "service": service, "job": told["job"]["id"], "accepted": told["accepted"], "notes": told["results"][0]["notes"], "checked_out": has_checked_out });
        worker.audit_of_device(&mut batch, &device, "device.handed-over", detail);
        batch.put(device);
        batch.put(match is_last {
            true => done(job, lease),
            false => {
                let mut later = look;
                later.due = now + SELDOM;
                later.tries += 1;
                Write::JobLater { job: later, lease }
            }
        });
        Ok(self.store().commit(batch).await?)
    }

    /// What Apple has said since a device left, and in words, where no other service has it: it is the organisation's no more,
    /// nobody's, or ours again. Where nothing was read since, its leaving is all there is; so it is a day after a reading that
    /// nobody can do again, for there is no account to ask with.
    async fn held_back<'d>(
        &self,
        device: &'d Device,
        left: Timestamp,
    ) -> Result<Option<(&'d OrgReading, &'static str)>, Error> {
        let now = self.now();
        let reads = self.organisation.api.is_some();
        let binds = |read: &&OrgReading| {
            read.seen > left && read.unplaced.is_none() && (reads || now.since(read.seen) <= DAY)
        };
        let Some(read) = device.reading.as_ref().filter(binds) else {
            return Ok(None);
        };
        let why = match &read.assigned_server {
            Some(shown) => {
                let servers = self.store().servers(self.id()).await?;
                let mut ours = servers.iter().filter(|server| server.uuid == *shown);
                ours.any(|server| is_run_here(server, left, now))
                    .then_some("Apple shows it with a service of ours")
            }
            None if read.unknown => Some("Apple does not know it as the organisation's any more"),
            None if read.assigned == Some(false) => Some("Apple shows it with no service"),
            None => None,
        };
        Ok(why.map(|why| (read, why)))
    }

    /// Has Apple asked again where a device is of which it was asked at `seen`: once a day, and all of them at the same moment, so
    /// that many are one reading of the lists. One request for each device, however long Apple cannot be asked.
    async fn read_anew(
        &self,
        batch: &mut Batch,
        device: DeviceId,
        seen: Timestamp,
    ) -> Result<(), Error> {
        let now = self.now();
        let job = Job::reading_anew(self.id(), device, now.next_day());
        if self.organisation.api.is_some()
            && now.since(seen) >= DAY / 2
            && self.store().job_times(self.id(), job.id).await?.is_none()
        {
            batch.put(job);
        }
        Ok(())
    }

    /// Adds that a device which leaves is looked at, where nobody looks yet.
    pub(in crate::service) async fn look_at_leaving(
        &self,
        d: &mut Decision<'_>,
        device: DeviceId,
        after: Duration,
    ) -> Result<(), Error> {
        let job = Job::hand_over(self.id(), device, self.now() + after);
        if self.store().job_times(self.id(), job.id).await?.is_none() {
            d.put_job(job);
        }
        Ok(())
    }

    /// How long a device is silent that is gone: days, and longer than two of the questions that it is asked again and again. `None`
    /// where it is asked none.
    pub(in crate::service) fn silence(&self) -> Option<Duration> {
        let hours = u64::from(self.organisation.settings.facts_hours);
        let push = self.organisation.push.as_ref();
        let asks = hours > 0 && push.is_some_and(|push| push.not_after > self.now());
        asks.then(|| SILENT.max(Duration::from_hours(hours.saturating_mul(2))))
    }

    /// Looks through the devices that left before the agreement, a page at a time.
    pub(in crate::service) async fn hand_over_all_job(
        &self,
        job: &Job,
        lease: Lease,
        after: DeviceId,
    ) -> Result<(), Error> {
        let now = self.now();
        let page = self.store().devices(self.id(), after, PAGE).await?;
        let (mut batch, mut next) = (Batch::new(), now);
        for device in &page {
            let record = device.record.as_ref();
            if record.is_none_or(|r| !r.has_left() || now >= r.seen + LONGEST_WAY) {
                continue;
            }
            let job = Job::hand_over(self.id(), device.id, next);
            if self.store().job_times(self.id(), job.id).await?.is_none() {
                batch.put(job);
                next = next + PACE;
            }
        }
        if let Some(last) = page.last() {
            let kind = JobKind::HandOverAll { after: last.id };
            batch.put(Job::new(self.id(), JobId(self.ids().next(now)), next, kind));
        }
        batch.put(done(job, lease));
        Ok(self.store().commit(batch).await?)
    }

    /// Asks for a job there, seals, and brings the bundle. Twice does no harm: each time there is another job, and what is the
    /// same is not taken twice.
    async fn hand_over(
        &self,
        agreed: &AgreedDestination,
        serial: &crate::ids::Serial,
        taken: Timestamp,
    ) -> Result<Value, Error> {
        let to = HandOverTo {
            url: agreed.url.clone(),
            ca: agreed.ca.clone(),
            token: self.open_secret(agreed.token).await?,
        };
        let port = &self.ports().hand_over;
        let path = format!("/api/v1/hand-off/sources/{}/jobs", agreed.source);
        let offered = port.post(&to, &path, b"{}".to_vec()).await?;
        let strange = || Error::Port(PortError::Refused("it answers with no job".to_owned()));
        let offered: Value = serde_json::from_slice(&offered).map_err(|_| strange())?;
        let job = HandOffId::deserialize(&offered["id"]).map_err(|_| strange())?;
        let certificate = offered["certificate"].as_str().ok_or_else(strange)?;
        let recipient = envelope::certificate(certificate.as_bytes(), "certificate")?;
        let serials = std::slice::from_ref(serial);
        let sealed = self
            .seal_bundle(serials, recipient, Some(job), taken)
            .await?;
        let path = format!("/api/v1/hand-off/sources/{}/bundles", agreed.source);
        let body = json!({ "job": job, "bundle": STANDARD.encode(&sealed.bundle) });
        let told = port.post(&to, &path, body.to_string().into_bytes()).await?;
        serde_json::from_slice(&told).map_err(|_| strange())
    }
}

/// Whether a server entry is ours not only by its row: its list was read since a device left, or can be read. One to which devices go
/// and that their destination runs by now has taken our token away.
fn is_run_here(server: &Server, left: Timestamp, now: Timestamp) -> bool {
    let is_over = server.token_expires.is_some_and(|at| at <= now);
    let is_good = server.needs_person.is_none() && !is_over;
    is_good || server.synced.is_some_and(|at| at > left)
}

/// Whether nothing of a device was taken: neither facts nor secrets, and it is refused.
fn took_nothing(result: &Value) -> bool {
    let secrets = result["secrets"].as_array();
    let took = result["facts"] == true || secrets.is_some_and(|secrets| !secrets.is_empty());
    result["accepted"] == false && !took
}
