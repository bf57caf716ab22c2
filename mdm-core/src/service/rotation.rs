//! New recovery keys for Macs that have one: when a person asks for it, and by itself some time after somebody has seen the key in
//! force. The old key stays in the vault as history; what the Mac answers is opened and sealed where answers are taken in.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::Org;
use super::decision::{Decision, Tracked};
use super::enqueue::{Enqueued, NewCommand};
use super::wave::sentence;
use crate::device::{Device, Platform};
use crate::enrollment::Enrollment;
use crate::error::Error;
use crate::filevault::own_key;
use crate::ids::{CommandId, DeviceId, JobId, SecretId, Serial};
use crate::job::{Job, JobKind};
use crate::organisation::Organisation;
use crate::queue::Command;
use crate::sealed::SealedSecret;
use crate::secret::SecretKind;
use crate::store::{Batch, Lease};
use crate::wire::command::CommandBody;
use crate::wire::requests::RotateFileVaultKey;

/// Namespace of the UUIDs of these commands.
const COMMANDS: Uuid = Uuid::from_u128(0x6d64_6d64_0000_526f_7461_0000_7465_0000);
/// Open commands among which a rotation is looked for.
const OPEN: u32 = 1_000;
/// How long a Mac is given to make its new key once its bootstrap token is here.
const MAKES_KEY: Duration = Duration::from_mins(10);
const ROTATE: &str = "RotateFileVaultKey";

/// What asking for a new recovery key came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Rotation {
    /// The command that asks for it.
    pub uuid: String,
    /// It waited already: a second one would come with a key that is no longer in force.
    pub already: bool,
}

impl Org {
    /// Asks a Mac for a new recovery key, with the one in force. That it has one shows once its answer was opened.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason, [`Error::NotFound`] for a device that is not enrolled, [`Error::Precondition`] for one
    /// that is no Mac or whose key nobody holds, the store's.
    pub async fn rotate_filevault(&self, serial: &Serial, reason: &str) -> Result<Rotation, Error> {
        sentence("reason", reason, false)?;
        if reason.trim().is_empty() {
            let problem = "must say why the key is changed";
            return Err(Error::bad_input("reason", problem));
        }
        let device = self.device_named(serial).await?;
        let uuid = NewCommand::random_uuid()?;
        self.rotate(&device, uuid, reason).await
    }

    async fn rotate(&self, device: &Device, uuid: String, reason: &str) -> Result<Rotation, Error> {
        if device.platform().is_some_and(|platform| !platform.is_mac()) {
            let why = "only a Mac has a recovery key";
            return Err(Error::Precondition(why.to_owned()));
        }
        let enrollment = match device.enrollment {
            Some(id) => self.store().enrollment(self.id(), id).await?,
            None => None,
        };
        let enrollment = enrollment
            .filter(Enrollment::is_live)
            .ok_or(Error::NotFound("enrolled device of this serial number"))?;
        let open = self
            .store()
            .open_commands(self.id(), enrollment.id, OPEN)
            .await?;
        if let Some(there) = open.into_iter().find(|c| c.request_type == ROTATE) {
            return Ok(Rotation {
                uuid: there.uuid,
                already: true,
            });
        }
        let escrow = self.organisation.escrow.as_ref().ok_or_else(|| {
            Error::Precondition("there is no certificate for recovery keys".to_owned())
        })?;
        let held = self.store().secrets(self.id(), device.id).await?;
        let key = in_force(&held).ok_or_else(|| {
            let why = "no recovery key of this Mac is held, and without the one in force it makes no other: \
                       the runbook's step fv-escrow has it give us one";
            Error::Precondition(why.to_owned())
        })?;
        let opened = self.open_row(key).await?;
        let body: CommandBody =
            RotateFileVaultKey::new(opened, escrow.certificate.0.clone()).into();
        let new = NewCommand::new(uuid.clone(), body);
        match self.enqueue(&[enrollment.key], &new).await?.first() {
            Some(Enqueued::Queued) => {}
            Some(Enqueued::Taken) => {
                return Ok(Rotation {
                    uuid,
                    already: true,
                });
            }
            _ => return Err(Error::NotFound("enrolled device of this serial number")),
        }
        let detail = json!({ "uuid": uuid, "reason": reason, "with": key.id });
        self.note_of(device.id, "recovery-key.rotation-asked", detail)
            .await?;
        Ok(Rotation {
            uuid,
            already: false,
        })
    }

    async fn note_of(
        &self,
        device: DeviceId,
        what: &str,
        detail: serde_json::Value,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut batch = Batch::new();
        let (actor, device) = (self.actor(), Some(device));
        batch.put(self.entry(now, actor, what, device, detail));
        Ok(self.store().commit(batch).await?)
    }

    /// When the key that somebody is about to see is changed, with the job that does it.
    pub(super) fn rotate_after_reveal(
        &self,
        batch: &mut Batch,
        settings: &Organisation,
        device: &Device,
        seen: &SealedSecret,
    ) -> Option<crate::clock::Timestamp> {
        let keys = [SecretKind::RecoveryKey, SecretKind::OriginalRecoveryKey];
        let is_mac = device.platform().is_none_or(Platform::is_mac);
        if !keys.contains(&seen.kind) || seen.replaced.is_some() || !is_mac {
            return None;
        }
        let minutes = settings.settings.rotate_revealed_minutes?;
        let now = self.now();
        let due = now + Duration::from_mins(u64::from(minutes));
        let kind = JobKind::RotateKey {
            device: device.id,
            secret: seen.id,
        };
        // Ids are unique over all nouns: that of the key is the key of this job, so that one seen twice is changed once.
        batch.put(Job::new(self.id(), JobId(seen.id.0), due, kind));
        Some(due)
    }

    /// Changes a key that somebody has seen, unless it was changed meanwhile.
    pub(super) async fn rotate_key_job(
        &self,
        job: &Job,
        lease: Lease,
        id: DeviceId,
        seen: SecretId,
    ) -> Result<(), Error> {
        let Some(device) = self.store().device(self.id(), id).await? else {
            return self.job_done(job, lease).await;
        };
        let held = self.store().secrets(self.id(), id).await?;
        if in_force(&held).map(|row| row.id) != Some(seen) {
            return self.job_done(job, lease).await;
        }
        // From the job, so that doing it again makes no second command.
        let uuid = Uuid::new_v5(&COMMANDS, format!("{}/{}", job.id, job.due).as_bytes());
        let uuid = uuid.hyphenated().to_string().to_ascii_uppercase();
        let worker = self.clone().acting_for("worker");
        match worker.rotate(&device, uuid, "it was revealed").await {
            Ok(_) => {}
            Err(error @ (Error::Precondition(_) | Error::NotFound(_))) => {
                let why = error.to_string();
                let detail = json!({ "why": why, "secret": seen });
                worker
                    .note_of(id, "recovery-key.not-rotated", detail)
                    .await?;
            }
            Err(error) => return Err(error),
        }
        self.job_done(job, lease).await
    }

    /// The bootstrap token of a Mac came when its set-up was over, so that nobody looks any more: it makes its new key now, and is
    /// asked for that in a while, once.
    pub(super) fn expect_key(&self, d: &mut Decision<'_>, enrollment: &Enrollment) {
        let Some(set_up) = d.set_up.as_ref().map(|tracked| &tracked.row) else {
            return;
        };
        let late = set_up.is_ended() && enrollment.bootstrap_token.is_none();
        if let Some(device) = set_up.device
            && late
            && set_up.platform.is_mac()
        {
            // Ids are unique over all nouns: that of the set-up is the key of this job, so that there is one.
            let (key, due) = (JobId(set_up.id.0), d.now + MAKES_KEY);
            let job = Job::new(self.id(), key, due, JobKind::AskKey { device });
            d.batch.put(job);
        }
    }

    /// Asks a Mac for its security state, where a new key shows: unless it has shown meanwhile.
    pub(super) async fn ask_key_job(
        &self,
        job: &Job,
        lease: Lease,
        id: DeviceId,
    ) -> Result<(), Error> {
        let device = self.store().device(self.id(), id).await?;
        let enrollment = match device.and_then(|device| device.enrollment) {
            Some(enrollment) => self.store().enrollment(self.id(), enrollment).await?,
            None => None,
        };
        let Some(enrollment) = enrollment.filter(Enrollment::is_live) else {
            return self.job_done(job, lease).await;
        };
        let set_up = self.store().set_up_of(self.id(), enrollment.id).await?;
        let held = self.store().secrets(self.id(), id).await?;
        let came = set_up.is_some_and(|set_up| {
            let mut own = held.iter().filter_map(own_key);
            own.any(|at| at >= set_up.began)
        });
        if came {
            return self.job_done(job, lease).await;
        }
        // From the job, so that doing it again makes no second command.
        let uuid = Uuid::new_v5(&COMMANDS, format!("{}/{}", job.id, job.due).as_bytes());
        let uuid = uuid.hyphenated().to_string().to_ascii_uppercase();
        let worker = self.clone().acting_for("worker");
        let new = NewCommand::new(uuid.clone(), CommandBody::SecurityInfo);
        worker.enqueue(&[enrollment.key], &new).await?;
        let detail = json!({ "uuid": uuid, "why": "its bootstrap token came late" });
        worker.note_of(id, "recovery-key.asked", detail).await?;
        self.job_done(job, lease).await
    }

    /// Says after how many minutes a recovery key that somebody has seen is changed; `None` leaves it.
    ///
    /// # Errors
    /// [`Error::BadInput`] for more than a week; the store's.
    pub async fn rotate_revealed(&self, minutes: Option<u32>) -> Result<Organisation, Error> {
        const WEEK: u32 = 7 * 24 * 60;
        if minutes.is_some_and(|minutes| minutes > WEEK) {
            let problem = "must be at most 10080 minutes, which is a week";
            return Err(Error::bad_input("rotate_revealed_minutes", problem));
        }
        let detail = json!({ "minutes": minutes });
        let set = |organisation: &mut Organisation| {
            organisation.settings.rotate_revealed_minutes = minutes;
            Ok(())
        };
        self.change_organisation("organisation.rotate-revealed", detail, set)
            .await
    }

    /// A Mac has made a new key and does not say it in its answer: it is asked where it tells it, by its security state.
    pub(super) fn ask_new_key(&self, d: &mut Decision<'_>, enrollment: &Enrollment, uuid: &str) {
        let (id, now) = (CommandId(d.next_id()), d.now);
        let uuid = Uuid::new_v5(&COMMANDS, format!("{uuid}/security").as_bytes());
        let uuid = uuid.hyphenated().to_string().to_ascii_uppercase();
        let body = CommandBody::SecurityInfo;
        let bytes = body.encode(&uuid).to_vec();
        let kind = body.request_type();
        let command = Command::queued(self.id(), id, enrollment.id, uuid, kind, bytes, now);
        d.commands.insert(id, Tracked::new(command));
    }
}

/// The key that opens the Mac now, as far as we know: ours, or that of the service that it left.
fn in_force(held: &[SealedSecret]) -> Option<&SealedSecret> {
    let kinds = [SecretKind::RecoveryKey, SecretKind::OriginalRecoveryKey];
    let living = |row: &&SealedSecret| {
        kinds.contains(&row.kind) && row.replaced.is_none() && row.destroyed.is_none()
    };
    held.iter().filter(living).max_by_key(|row| row.created)
}
