//! Lifts Activation Locks with the bypass codes of the vault, and reads at Apple what is locked. What Apple answers to a code is
//! kept and is no proof; that is a reading, or the device's own word, that came after it. Shows no code to anybody.

mod clearing;

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::decision::Decision;
use super::wave::sentence;
use super::worker::done;
use super::{Org, approvals};
use crate::activation_lock::codes_to_try;
use crate::approval::{REVEALS_ALONE, Wanted};
use crate::device::{Device, RadioNumbers};
use crate::device_lock::{ClearingState, DeviceLock, LockClearing, LockProof, LockSight};
use crate::enrollment::{ChannelKind, Enrollment};
use crate::error::{Error, PortError};
use crate::ids::{ApprovalId, DeviceId, IdSource, JobId, Serial};
use crate::job::{Job, JobKind};
use crate::migration::SetUp;
use crate::store::{Batch, Lease, Write};
use crate::wire::report::CommandReport;
/// A lock that was asked for is read so long after the last time, while Apple does not show it.
const SHOWS: [Duration; 3] = [
    Duration::from_mins(15),
    Duration::from_hours(1),
    Duration::from_hours(6),
];
/// Apple's word for a lock of the organisation's.
const ORGANISATION: &str = "MDM";
/// So long after it was asked for a lock is tried to be read, where Apple's budget or a failure puts it off, and so long at most
/// from one try to the next.
const READ_WITHIN: Duration = Duration::from_hours(7 * 24);
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// What asking for a lock to be lifted came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "under way, or not yet")]
pub enum ClearAsked {
    /// It is under way.
    Begun,
    /// Another person must confirm it first.
    Waits(ApprovalId),
}

/// What is known of a device's lock, for people.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LockView {
    /// Its serial number.
    pub serial: Serial,
    /// What was read and told, and what somebody wanted.
    #[serde(flatten)]
    pub lock: DeviceLock,
    /// How far the proof of the clearing is.
    pub proof: Option<LockProof>,
    /// Nothing more will be done or read about it.
    pub settled: bool,
    /// What that means, in a sentence.
    pub meaning: String,
}

impl LockView {
    fn of(device: &Device) -> Self {
        let lock = device.lock.clone();
        let proof = lock.proof();
        let meaning = match (&lock.clearing, proof) {
            (Some(clearing), Some((proof, by))) => meaning(clearing, proof, by),
            _ => match &lock.apple {
                Some(read) => format!("read at Apple: {}", read.word),
                None => "nobody has read it".to_owned(),
            },
        };
        Self {
            serial: device.serial.clone(),
            proof: proof.map(|(proof, _)| proof),
            settled: lock.is_settled(),
            meaning,
            lock,
        }
    }
}

fn meaning(clearing: &LockClearing, proof: LockProof, by: Option<&LockSight>) -> String {
    let read = by.map_or_else(String::new, |by| format!("{} ({})", by.word, by.at));
    let said = match (proof, &clearing.state) {
        (LockProof::Off, ClearingState::NoLock { .. }) => {
            format!("there was no lock: read as {read}")
        }
        (LockProof::Off, _) => format!("cleared, and read as off: {read}"),
        (LockProof::StillOn, _) => {
            format!("Apple said that it is gone, and it is still read as on: {read}")
        }
        (LockProof::ClearedNotRead, _) => "Apple said that it is gone; not read yet".to_owned(),
        (LockProof::Refused, ClearingState::Refused { why, .. }) => format!("not cleared: {why}"),
        (LockProof::Asked | LockProof::Refused, _) => {
            "asked for; Apple has not answered yet".to_owned()
        }
    };
    match &clearing.trouble {
        Some(trouble) if proof != LockProof::Off => format!("{said}; the last time: {trouble}"),
        _ => said,
    }
}

impl Org {
    /// What is known of a device's lock.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn lock_of(&self, serial: &Serial) -> Result<LockView, Error> {
        Ok(LockView::of(&self.device_named(serial).await?))
    }

    /// Has the Activation Lock of a device lifted with the codes that the vault has, likeliest first, then read back. It uses a
    /// secret of the device, so that it counts as a look at one: more than ten a day take another person, and every one where
    /// the organisation demands two always.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason, [`Error::NotFound`] without the device, [`Error::Precondition`] without a code or a
    /// push certificate, the store's.
    pub async fn clear_lock(&self, serial: &Serial, reason: &str) -> Result<ClearAsked, Error> {
        sentence("reason", reason, false)?;
        if reason.trim().is_empty() {
            let problem = "must say why the lock is lifted";
            return Err(Error::bad_input("reason", problem));
        }
        self.again_on_conflict(|| self.clear_lock_once(serial, reason))
            .await
    }

    async fn clear_lock_once(&self, serial: &Serial, reason: &str) -> Result<ClearAsked, Error> {
        let device = self.clearable(serial).await?;
        if let Some((LockProof::Asked, _)) = device.lock.proof() {
            // Under way: another job would try the same codes.
            return Ok(ClearAsked::Begun);
        }
        let alone = self.alone(approvals::REVEALS, 1, REVEALS_ALONE).await?;
        let Some(counted) = alone else {
            let serial = serial.clone();
            let wanted = Wanted::ClearLock { serial };
            let id = self.ask_second(wanted, Some(reason)).await?;
            return Ok(ClearAsked::Waits(id));
        };
        let mut batch = Batch::new();
        batch.put(counted);
        self.begin_clearing(&mut batch, device, self.actor(), reason, None);
        self.store().commit(batch).await?;
        Ok(ClearAsked::Begun)
    }

    /// A device whose lock can be lifted, as far as that is known here.
    pub(super) async fn clearable(&self, serial: &Serial) -> Result<Device, Error> {
        let device = self.device_named(serial).await?;
        if self.organisation.push.is_none() {
            let why = "Apple lifts a lock for whoever shows the push certificate, and there is none yet: `mdmd push` brings one in";
            return Err(Error::Precondition(why.to_owned()));
        }
        let held = self.store().secrets(self.id(), device.id).await?;
        if codes_to_try(&held, None).is_empty() {
            let why = format!(
                "no bypass code of {serial} is kept: an administrator of the organisation lifts its lock in the portal (Devices, this serial number, Turn Off Activation Lock)"
            );
            return Err(Error::Precondition(why));
        }
        Ok(device)
    }

    /// Writes down that a lock is to be lifted, with the job that does it.
    pub(super) fn begin_clearing(
        &self,
        batch: &mut Batch,
        mut device: Device,
        by: &str,
        reason: &str,
        confirmed_by: Option<&str>,
    ) {
        let now = self.now();
        let confirmed = confirmed_by.map(str::to_owned);
        device.lock.clearing = Some(LockClearing::new(
            by.to_owned(),
            now,
            reason.to_owned(),
            confirmed,
        ));
        batch.put(self.entry(
            now,
            by,
            "lock.clear-asked",
            Some(device.id),
            json!({ "reason": reason, "confirmed_by": confirmed_by }),
        ));
        let kind = JobKind::ClearLock { device: device.id };
        let id = JobId(self.ids().next(now));
        batch.put(Job::new(self.id(), id, now, kind));
        batch.put(device);
    }

    /// Reads at Apple whether a device is locked, now. `behind`: nobody waits for it.
    async fn read_lock(&self, serial: &Serial, behind: bool) -> Result<LockSight, Error> {
        let key = self.api_key().await?;
        let said = self.ports().api.lock(&key, serial, behind).await?;
        Ok(LockSight {
            on: said.on,
            word: said.word,
            at: self.now(),
        })
    }

    /// Reads a lock that was asked for in a hold.
    pub(super) async fn read_lock_job(
        &self,
        job: &Job,
        lease: Lease,
        id: DeviceId,
    ) -> Result<(), Error> {
        let Some(device) = self.store().device(self.id(), id).await? else {
            return self.job_done(job, lease).await;
        };
        if self.organisation.api.is_none() {
            return self.job_done(job, lease).await;
        }
        let sight = match self.read_lock(&device.serial, true).await {
            Ok(sight) => sight,
            Err(error) => {
                let waits = self.now().since(IdSource::time(job.id.0));
                let never = matches!(error, Error::Port(PortError::Absent(_)));
                if never || waits >= READ_WITHIN {
                    tracing::warn!(organisation = %self.id(), device = %id, %error, "the lock of a device cannot be read");
                    return self.job_done(job, lease).await;
                }
                // Others come first: what they leave of the budget is enough for this. What takes a person (other terms, a key
                // that is no good any more) may be mended any hour.
                let wait = (waits / 4).clamp(Duration::from_mins(1), LONGEST_WAIT);
                let wait = wait.max(error.retry_after().unwrap_or_default());
                // A try at which nothing was read is none.
                let mut batch = Batch::new();
                batch.put(self.later(job, lease, wait, job.tries));
                return Ok(self.store().commit(batch).await?);
            }
        };
        // One that was asked for and does not show may show later.
        let again = match sight.on {
            true => None,
            false => SHOWS.get(job.tries as usize).copied(),
        };
        let next = match again {
            Some(wait) => self.later(job, lease, wait, job.tries + 1),
            None => done(job, lease),
        };
        // First: what ends this job must not end before it.
        self.lock_is_read(&device, sight.word == ORGANISATION)
            .await?;
        let seen = |lock: &mut DeviceLock| lock.apple = Some(sight.clone());
        let said = json!({ "lock": sight.word });
        self.note_lock(id, "lock.read", said, seen, next).await
    }

    /// Apple shows the lock, and the proof of its set-up waits for it no longer; or it does not, which is then known.
    async fn lock_is_read(&self, device: &Device, shows: bool) -> Result<(), Error> {
        let Some(enrollment) = device.enrollment else {
            return Ok(());
        };
        self.again_on_conflict(|| async {
            let set_up = self.store().set_up_of(self.id(), enrollment).await?;
            let known = |s: &SetUp| !s.lock_unread || !shows && s.lock_off;
            let Some(mut set_up) = set_up.filter(|s| !known(s)) else {
                return Ok(());
            };
            if shows {
                set_up.lock_unread = false;
                set_up.look_now(self.now());
            } else {
                set_up.lock_off = true;
            }
            let mut batch = Batch::new();
            batch.put(set_up);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    fn later(&self, job: &Job, lease: Lease, wait: Duration, tries: u32) -> Write {
        let mut job = job.clone();
        job.due = self.now() + wait;
        job.tries = tries;
        Write::JobLater { job, lease }
    }

    /// Writes what became known of a lock, in one batch with the job that found it.
    async fn note_lock(
        &self,
        id: DeviceId,
        what: &str,
        detail: serde_json::Value,
        change: impl Fn(&mut DeviceLock),
        job: Write,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut batch = Batch::new();
            if let Some(mut device) = self.store().device(self.id(), id).await? {
                change(&mut device.lock);
                batch.put(device);
            }
            let now = self.now();
            let detail = detail.clone();
            let device = Some(id);
            batch.put(self.entry(now, "worker", what, device, detail));
            batch.put(job.clone());
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Learns a device's own word of its lock, and the numbers of its radios.
    pub(super) fn learn_lock(
        &self,
        d: &mut Decision<'_>,
        enrollment: &Enrollment,
        report: &CommandReport,
    ) {
        let Some(told) = report.device_information() else {
            return;
        };
        let now = d.now;
        let Some(device) = d.device.as_mut().map(|d| &mut d.row) else {
            return;
        };
        let other = told
            .serial
            .as_ref()
            .is_some_and(|s| s != device.serial.as_str());
        if other || enrollment.channel != ChannelKind::Device {
            return;
        }
        let radio = RadioNumbers::of(&told);
        if !radio.is_nothing() {
            device.facts.radio = radio;
        }
        if let Some(on) = told.is_activation_lock_enabled {
            let word = if on { "on" } else { "off" }.to_owned();
            device.lock.device = Some(LockSight { on, word, at: now });
        }
    }
}
