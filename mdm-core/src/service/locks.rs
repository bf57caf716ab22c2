//! Lifts Activation Locks with the bypass codes of the vault, and reads at Apple what is locked. What Apple answers to a code is
//! kept and is no proof; that is a reading, or the device's own word, that came after it. Shows no code to anybody.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::decision::Decision;
use super::enqueue::NewCommand;
use super::ports::{LockedDevice, PushIdentity, Unlocking};
use super::wave::sentence;
use super::worker::done;
use super::{Org, approvals};
use crate::activation_lock::codes_to_try;
use crate::approval::{REVEALS_ALONE, Wanted};
use crate::audit::AuditEntry;
use crate::device::{Device, MigrationStatus, RadioNumbers};
use crate::device_lock::{
    ClearingState, CodeTried, DeviceLock, LockClearing, LockProof, LockSight,
};
use crate::enrollment::{ChannelKind, Enrollment};
use crate::error::{Error, PortError};
use crate::ids::{ApprovalId, AuditId, CommandId, DeviceId, JobId, Serial};
use crate::job::{Job, JobKind};
use crate::queue::Command;
use crate::sealed::SealedSecret;
use crate::store::{Batch, Lease, Write};
use crate::wire::command::CommandBody;
use crate::wire::report::CommandReport;
use crate::wire::requests::{DeviceInformation, Query};

/// After a lock was lifted it is read so long after the last time, until it is read as off.
const LOOKS: [Duration; 5] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(12),
];
/// A lock that was asked for is read so long after the last time, while Apple does not show it.
const SHOWS: [Duration; 3] = [
    Duration::from_mins(15),
    Duration::from_hours(1),
    Duration::from_hours(6),
];
/// Apple's word for a lock of the organisation's.
const ORGANISATION: &str = "MDM";
/// So often a reading is tried that Apple's budget or a failure puts off.
const READS: u32 = 24;
/// So often Apple is asked to lift a lock before that is given up.
const ASKS: u32 = 12;

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
        batch.put(AuditEntry::new(
            self.id(),
            AuditId(self.ids().next(now)),
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
            Err(error) if error.retry_after().is_some() && job.tries < READS => {
                // Others come first: what they leave of the budget is enough for this.
                let wait = error.retry_after().unwrap_or_default();
                let wait = wait.max(Duration::from_secs(60) * (job.tries + 1));
                return self.job_later(job, lease, wait).await;
            }
            Err(error) => {
                tracing::warn!(organisation = %self.id(), device = %id, %error, "the lock of a device cannot be read");
                return self.job_done(job, lease).await;
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
        if sight.word == ORGANISATION {
            // First: what ends this job must not end before it.
            self.lock_is_read(&device).await?;
        }
        let seen = |lock: &mut DeviceLock| lock.apple = Some(sight.clone());
        let said = json!({ "lock": sight.word });
        self.note_lock(id, "lock.read", said, seen, next).await
    }

    /// Apple shows the lock: the proof of its set-up waits for it no longer.
    async fn lock_is_read(&self, device: &Device) -> Result<(), Error> {
        let Some(enrollment) = device.enrollment else {
            return Ok(());
        };
        self.again_on_conflict(|| async {
            let set_up = self.store().set_up_of(self.id(), enrollment).await?;
            let Some(mut set_up) = set_up.filter(|s| s.lock_unread) else {
                return Ok(());
            };
            set_up.lock_unread = false;
            set_up.look_now(self.now());
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
            let entry = AuditId(self.ids().next(now));
            let detail = detail.clone();
            let device = Some(id);
            batch.put(AuditEntry::new(
                self.id(),
                entry,
                now,
                "worker",
                what,
                device,
                detail,
            ));
            batch.put(job.clone());
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Lifts a lock, or looks whether it is gone.
    pub(super) async fn clear_lock_job(
        &self,
        job: &Job,
        lease: Lease,
        id: DeviceId,
    ) -> Result<(), Error> {
        let device = self.store().device(self.id(), id).await?;
        let found = device.and_then(|d| d.lock.clearing.clone().map(|c| (d, c)));
        match found {
            Some((device, clearing)) => match clearing.state {
                ClearingState::Asked => self.unlock(job, lease, &device, clearing).await,
                ClearingState::Cleared { .. } => self.look_again(job, lease, &device).await,
                ClearingState::NoLock { .. } | ClearingState::Refused { .. } => {
                    self.job_done(job, lease).await
                }
            },
            None => self.job_done(job, lease).await,
        }
    }

    async fn unlock(
        &self,
        job: &Job,
        lease: Lease,
        device: &Device,
        mut clearing: LockClearing,
    ) -> Result<(), Error> {
        let id = device.id;
        let mut seen = None;
        if self.organisation.api.is_some() {
            // First: there may be none, and after an answer that was lost only this tells.
            match self.read_lock(&device.serial, false).await {
                Ok(sight) if !sight.on => {
                    clearing.state = ClearingState::NoLock { at: sight.at };
                    clearing.trouble = None;
                    let said = json!({ "lock": sight.word, "tried": clearing.tried });
                    let (clearing, next) = (Some(clearing), done(job, lease));
                    let note = |lock: &mut DeviceLock| {
                        lock.apple = Some(sight.clone());
                        lock.clearing.clone_from(&clearing);
                    };
                    return self.note_lock(id, "lock.none", said, note, next).await;
                }
                Ok(sight) => seen = Some(sight),
                Err(error) => clearing.trouble = Some(error.to_string()),
            }
        }
        let identity = match &self.organisation.push {
            Some(push) => PushIdentity {
                organisation: self.id(),
                certificate: push.identity.certificate.clone(),
                key: self.open_secret_cached(push.identity.key).await?,
            },
            None => {
                let why = "there is no push certificate any more";
                return self.not_cleared(job, lease, id, clearing, why).await;
            }
        };
        let Some(locked) = self.locked_device(device, &clearing).await else {
            let why = "its product type is not known: neither Apple nor the device has told it";
            return self.not_cleared(job, lease, id, clearing, why).await;
        };
        let held = self.store().secrets(self.id(), id).await?;
        let word = seen.as_ref().map(|sight| sight.word.clone());
        for row in codes_to_try(&held, word.as_deref()) {
            if clearing.tried.iter().any(|tried| tried.secret == row.id) {
                continue;
            }
            let code = match self.open_row(row).await {
                Ok(code) => code,
                Err(error) if error.retry_after().is_some() => return Err(error),
                Err(error) => {
                    clearing.trouble = Some(format!("{} does not open: {error}", row.kind));
                    continue;
                }
            };
            let mut tried = tried(row, self.now());
            let why = match self
                .ports()
                .lock_removal
                .unlock(&identity, &locked, &code)
                .await
            {
                Ok(Unlocking::Opened) => {
                    clearing.tried.push(tried);
                    return self.opened(job, lease, id, clearing, seen).await;
                }
                Ok(Unlocking::CodeRefused { status }) => {
                    tried.refused = Some(status);
                    clearing.tried.push(tried);
                    continue;
                }
                Err(error @ (PortError::Retry { .. } | PortError::Unknown(_)))
                    if job.tries < ASKS =>
                {
                    // What was refused stays refused; whether this one worked is read before it is tried again.
                    clearing.trouble = Some(error.to_string());
                    let wait = error.retry_after().unwrap_or(LOOKS[0]).max(LOOKS[0]);
                    let next = self.later(job, lease, wait, job.tries + 1);
                    let said = json!({ "why": error.to_string(), "tried": clearing.tried });
                    let clearing = Some(clearing);
                    let note = |lock: &mut DeviceLock| lock.clearing.clone_from(&clearing);
                    return self
                        .note_lock(id, "lock.clear-put-off", said, note, next)
                        .await;
                }
                Err(error) => format!("Apple's service for it could not be asked: {error}"),
            };
            return self.not_cleared(job, lease, id, clearing, &why).await;
        }
        let why = Self::why_refused(device, &clearing);
        self.not_cleared(job, lease, id, clearing, &why).await
    }

    /// How Apple knows the device; `None` without its product type.
    async fn locked_device(
        &self,
        device: &Device,
        clearing: &LockClearing,
    ) -> Option<LockedDevice> {
        let reading = device.reading.as_ref();
        let mut product = reading.and_then(|r| r.product.clone());
        product = product.or_else(|| device.facts.product.clone());
        let mut radio: RadioNumbers = device.facts.radio.clone();
        if radio.is_nothing() || product.is_none() {
            // A device that is locked tells nothing itself.
            if let Ok(key) = self.api_key().await
                && let Ok(said) = self.ports().api.described(&key, &device.serial).await
            {
                product = said.product.or(product);
                if radio.is_nothing() {
                    radio = said.radio;
                }
            }
        }
        let settings = &self.organisation.settings;
        let name = settings.display_name.as_ref();
        Some(LockedDevice {
            serial: device.serial.clone(),
            product: product?,
            imei: radio.imei,
            imei2: radio.imei2,
            meid: radio.meid,
            organisation: name.unwrap_or(&self.organisation.name).clone(),
            person: clearing.by.clone(),
        })
    }

    async fn opened(
        &self,
        job: &Job,
        lease: Lease,
        id: DeviceId,
        mut clearing: LockClearing,
        seen: Option<LockSight>,
    ) -> Result<(), Error> {
        clearing.state = ClearingState::Cleared { at: self.now() };
        clearing.trouble = None;
        let with = clearing.tried.last().map(|tried| tried.kind.clone());
        let said = json!({ "with": with, "codes_tried": clearing.tried.len(), "by": clearing.by });
        let next = self.later(job, lease, LOOKS[0], 0);
        let clearing = Some(clearing);
        let note = |lock: &mut DeviceLock| {
            lock.clearing.clone_from(&clearing);
            if seen.is_some() {
                lock.apple.clone_from(&seen);
            }
        };
        self.note_lock(id, "lock.cleared", said, note, next).await?;
        // The device's own word is a second proof, where it is enrolled; without it Apple's is read all the same.
        if let Err(error) = self.ask_own_word(id).await {
            tracing::warn!(organisation = %self.id(), device = %id, %error, "a device cannot be asked for its lock");
        }
        Ok(())
    }

    async fn ask_own_word(&self, id: DeviceId) -> Result<(), Error> {
        let device = self.store().device(self.id(), id).await?;
        let Some(enrollment) = device.and_then(|d| d.enrollment) else {
            return Ok(());
        };
        let queries = [Query::SerialNumber, Query::IsActivationLockEnabled];
        let body: CommandBody = DeviceInformation::of(queries).into();
        let uuid = NewCommand::random_uuid()?;
        let now = self.now();
        let mut command = Command::queued(
            self.id(),
            CommandId(self.ids().next(now)),
            enrollment,
            uuid.clone(),
            body.request_type(),
            body.encode(&uuid).to_vec(),
            now,
        );
        command.expires = Some(now + LOOKS[4]);
        let mut batch = Batch::new();
        batch.put(command);
        batch.put(Job::push(self.id(), enrollment, now));
        Ok(self.store().commit(batch).await?)
    }

    async fn not_cleared(
        &self,
        job: &Job,
        lease: Lease,
        id: DeviceId,
        mut clearing: LockClearing,
        why: &str,
    ) -> Result<(), Error> {
        let at = self.now();
        let said = json!({ "why": why, "tried": clearing.tried });
        let why = why.to_owned();
        clearing.state = ClearingState::Refused { at, why };
        let clearing = Some(clearing);
        let note = |lock: &mut DeviceLock| lock.clearing.clone_from(&clearing);
        let next = done(job, lease);
        self.note_lock(id, "lock.not-cleared", said, note, next)
            .await
    }

    /// Why no code was taken, and who can go on.
    fn why_refused(device: &Device, clearing: &LockClearing) -> String {
        let tried = &clearing.tried;
        let mut why = format!("Apple took none of the {} codes that are kept", tried.len());
        let shut = |t: &CodeTried| matches!(t.refused, Some(401 | 403));
        if !tried.is_empty() && tried.iter().all(shut) {
            why += "; it refuses the push certificate: look whether that is in force";
            return why;
        }
        let status = device.reading.as_ref().and_then(|r| r.status.as_ref());
        let failed = match status {
            Some(MigrationStatus::Failed) => {
                "; Apple shows its migration as failed, and then removes earlier locks with their codes and puts one on the device"
            }
            _ => {
                "; somebody else may have locked it, or Apple after a migration that failed, with a lock"
            }
        };
        why += failed;
        why += " that only an administrator of the organisation lifts: at the device with the name and password of a Managed Apple Account that may manage devices, or in the portal (Devices, this serial number, Turn Off Activation Lock)";
        why
    }

    /// Reads whether a lock is gone that Apple said it has lifted.
    async fn look_again(&self, job: &Job, lease: Lease, device: &Device) -> Result<(), Error> {
        let id = device.id;
        let look = job.tries;
        let (sight, trouble) = match self.organisation.api {
            None => (
                None,
                Some(
                    "there is no account of Apple Business or School that could read it".to_owned(),
                ),
            ),
            Some(_) => match self.read_lock(&device.serial, false).await {
                Ok(sight) => (Some(sight), None),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        let mut seen = device.lock.clone();
        if sight.is_some() {
            seen.apple.clone_from(&sight);
        }
        let off = matches!(seen.proof(), Some((LockProof::Off, _)));
        let wait = LOOKS.get(look as usize + 1).filter(|_| !off);
        let last = wait.is_none();
        let next = match wait {
            Some(wait) => self.later(job, lease, *wait, look + 1),
            None => done(job, lease),
        };
        let what = match (off, last) {
            (true, _) => "lock.read-off",
            (false, true) => "lock.still-on",
            (false, false) => "lock.read",
        };
        let word = sight.as_ref().map(|sight| sight.word.clone());
        let said = json!({ "lock": word, "trouble": trouble });
        let note = |lock: &mut DeviceLock| {
            if sight.is_some() {
                lock.apple.clone_from(&sight);
            }
            if let Some(clearing) = &mut lock.clearing {
                clearing.trouble.clone_from(&trouble);
                clearing.last_look = last;
            }
        };
        self.note_lock(id, what, said, note, next).await
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

fn tried(row: &SealedSecret, at: crate::clock::Timestamp) -> CodeTried {
    CodeTried {
        secret: row.id,
        kind: row.kind.as_str().to_owned(),
        at,
        refused: None,
    }
}
