//! Lifts a lock at Apple, code after code, and looks whether it is gone: the job of a clearing that somebody asked for.

use std::time::Duration;

use serde_json::json;

use crate::activation_lock::codes_to_try;
use crate::clock::Timestamp;
use crate::device::{Device, MigrationStatus, RadioNumbers};
use crate::device_lock::{
    ClearingState, CodeTried, DeviceLock, LockClearing, LockProof, LockSight,
};
use crate::error::{Error, PortError};
use crate::ids::{CommandId, DeviceId};
use crate::job::Job;
use crate::queue::Command;
use crate::sealed::SealedSecret;
use crate::service::Org;
use crate::service::enqueue::NewCommand;
use crate::service::ports::{LockedDevice, PushIdentity, Unlocking};
use crate::service::worker::done;
use crate::store::{Batch, Lease};
use crate::wire::command::CommandBody;
use crate::wire::requests::{DeviceInformation, Query};

/// After a lock was lifted it is read so long after the last time, until it is read as off.
const LOOKS: [Duration; 5] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(12),
];
/// So often Apple is asked to lift a lock before that is given up.
const ASKS: u32 = 12;

impl Org {
    /// Lifts a lock, or looks whether it is gone.
    pub(in crate::service) async fn clear_lock_job(
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
}

fn tried(row: &SealedSecret, at: Timestamp) -> CodeTried {
    CodeTried {
        secret: row.id,
        kind: row.kind.as_str().to_owned(),
        at,
        refused: None,
    }
}
