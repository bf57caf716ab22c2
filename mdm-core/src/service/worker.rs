//! What waits and is due: machines that want to be woken, and each kind of job. A job ends in the batch of its outcome, so
//! that a killed worker does some again, which is harmless.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tracing::Instrument as _;

use super::checkin::readable;
use super::decision::{Decision, Tracked};
use super::door::QUEUE_WINDOW;
use super::ports::{LockOutcome, PushIdentity, PushOutcome};
use super::{Mdm, Org};
use crate::activation_lock;
use crate::clock::Timestamp;
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, EnrollmentId, MoveId, OrganisationId, SecretId, SetUpId};
use crate::job::{Job, JobKind};
use crate::migration::steps::lock::was_asked;
use crate::migration::{EffectKey, Event, LockClaim, LockReading, Move, Notice, SetUp, StepId};
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, Lease, Write};

/// Jobs and wakes that are worked on side by side; commits of all of them share transactions.
pub(super) const SIDE_BY_SIDE: usize = 32;
/// Apple shows a lock a while after it was asked for.
pub(super) const LOCK_SHOWS: Duration = Duration::from_mins(5);
/// So many hashes of bypass codes are kept; beyond, they are made anew.
const ESCROW_KEYS: usize = 10_000;
/// After so many tries a push is given up: the next wake asks again.
const PUSH_TRIES: u32 = 6;

impl Mdm {
    pub(super) async fn wake(&self, limit: u32) -> Result<usize, Error> {
        let now = self.now();
        let put_off = &self.inner.unwoken;
        // So many more as failed lately, so that those never fill the round.
        let asked = limit.saturating_add(put_off.len());
        let set_ups = self.inner.store.due_set_ups(now, asked).await?;
        let set_ups = set_ups
            .into_iter()
            .filter(|s| !put_off.holds(s.organisation, s.id.0, now))
            .take(limit as usize);
        let attempts = self.inner.store.due_attempts(now, asked).await?;
        let attempts = attempts
            .into_iter()
            .filter(|m| !put_off.holds(m.organisation, m.id.0, now))
            .take(limit as usize);
        // What failed was not done: a round in which everything fails has done nothing, and whoever runs rounds may pause.
        let woken = AtomicUsize::new(0);
        let end = |organisation, id, result: Result<(), Error>, what| match result {
            Ok(()) => {
                put_off.succeeded(organisation, id);
                woken.fetch_add(1, Ordering::Relaxed);
            }
            // Its organisation was taken away, and it goes.
            Err(Error::NotFound("organisation")) => put_off.failed(organisation, id, now),
            Err(error) => {
                put_off.failed(organisation, id, now);
                tracing::error!(%organisation, id, %error, what, "could not be woken");
            }
        };
        futures_util::stream::iter(set_ups)
            .for_each_concurrent(SIDE_BY_SIDE, |set_up| async {
                let set_up = set_up;
                let result = self.wake_set_up(set_up.organisation, set_up.id).await;
                end(set_up.organisation, set_up.id.0, result, "a set-up");
            })
            .await;
        futures_util::stream::iter(attempts)
            .for_each_concurrent(SIDE_BY_SIDE, |attempt| async {
                let attempt = attempt;
                let result = self.wake_attempt(attempt.organisation, attempt.id).await;
                end(attempt.organisation, attempt.id.0, result, "an attempt");
            })
            .await;
        let woken = woken.into_inner();
        Ok(woken)
    }

    async fn wake_set_up(&self, organisation: OrganisationId, id: SetUpId) -> Result<(), Error> {
        let org = self.organisation_by_id(organisation).await?;
        org.again_on_conflict(|| async {
            let Some(set_up) = org.store().set_up(organisation, id).await? else {
                return Ok(());
            };
            if set_up.wake_at.is_none_or(|at| at > org.now()) {
                return Ok(());
            }
            let mut d = Decision::new(org.organisation(), org.ids(), org.now(), "worker");
            org.load_for_set_up(&mut d, set_up).await?;
            d.tell_set_up(&Event::Woke);
            org.commit(d).await
        })
        .await
    }

    async fn wake_attempt(&self, organisation: OrganisationId, id: MoveId) -> Result<(), Error> {
        let org = self.organisation_by_id(organisation).await?;
        org.again_on_conflict(|| async {
            let Some(attempt) = org.store().attempt(organisation, id).await? else {
                return Ok(());
            };
            if attempt.wake_at.is_none_or(|at| at > org.now()) {
                return Ok(());
            }
            let mut d = Decision::new(org.organisation(), org.ids(), org.now(), "worker");
            org.load_for_attempt(&mut d, attempt).await?;
            d.tell_move(&Event::Woke);
            org.commit(d).await
        })
        .await
    }
}

impl Org {
    pub(super) async fn do_job(&self, job: Job, lease: Lease) {
        let span = tracing::debug_span!("job", round = job.kind.as_str());
        self.do_job_here(job, lease).instrument(span).await;
    }

    async fn do_job_here(&self, job: Job, lease: Lease) {
        let (name, tries) = (job.kind.as_str(), job.tries);
        let result = match job.kind.clone() {
            JobKind::Push { enrollment } => self.push_job(&job, lease, enrollment).await,
            JobKind::Lock { set_up } => self.lock_job(&job, lease, set_up).await,
            JobKind::Sync { server } => self.sync_job(job.clone(), lease, server).await,
            JobKind::Assign { server } => self.assign_job(job.clone(), lease, server).await,
            JobKind::Errands => self.errands_job(&job, lease).await,
            JobKind::Pull => self.pull_job(&job, lease).await,
            JobKind::Library { after } => self.library_job(&job, lease, after).await,
            JobKind::LibraryOf { device } => self.library_of_job(&job, lease, device).await,
            JobKind::DeclareAll => self.declare_all_job(&job, lease).await,
            JobKind::Declare { after } => self.declare_job(&job, lease, after).await,
            JobKind::DeclareOf { device } => self.declare_of_job(&job, lease, device).await,
            JobKind::Stock { location } => self.stock_job(&job, lease, location).await,
            JobKind::ReadLock { device } => self.read_lock_job(&job, lease, device).await,
            JobKind::ClearLock { device } => {
                Box::pin(self.clear_lock_job(&job, lease, device)).await
            }
            JobKind::RotateKey { device, secret } => {
                Box::pin(self.rotate_key_job(&job, lease, device, secret)).await
            }
            JobKind::AskKey { device } => self.ask_key_job(&job, lease, device).await,
            JobKind::AskWho { attempt } => self.ask_who_job(&job, lease, attempt).await,
            JobKind::HandOver { device } => self.hand_over_job(&job, lease, device).await,
            JobKind::HandOverAll { after } => self.hand_over_all_job(&job, lease, after).await,
            JobKind::AskAnew { after } => self.ask_anew_job(&job, lease, after).await,
            JobKind::Seal => self.seal_job(&job, lease).await,
            JobKind::LookAfter { wave } => self.look_after_job(&job, lease, wave).await,
            // Wishes are gathered before they come here, like readings below.
            JobKind::Cancel { .. }
            | JobKind::MoveDeadline { .. }
            | JobKind::ReturnLicences { .. } => {
                self.gather(std::slice::from_ref(&job), lease).await
            }
            JobKind::Tell { device } => self.tell_job(&job, lease, device).await,
            JobKind::Notify { notice, device } => {
                self.notify_job(&job, lease, notice, device).await
            }
            // Readings are gathered before they come here.
            JobKind::ReadDevice { .. } => {
                self.read_devices(std::slice::from_ref(&job), lease).await
            }
        };
        let Err(error) = result else { return };
        if matches!(job.kind, JobKind::Push { .. }) && error.is_conflict() {
            // Somebody has asked for another meanwhile: that one stands.
            return;
        }
        tracing::warn!(organisation = %self.id(), job = name, tries, %error, "a job did not succeed and is tried again");
        let wait = error.retry_after().unwrap_or_else(|| back_off(tries));
        if let Err(error) = self.job_later(&job, lease, wait).await {
            // It is renewed no more once those have ended that were begun with it, and then it is claimed again.
            tracing::warn!(organisation = %self.id(), job = name, %error, "a job could not be put off");
        }
    }

    pub(super) async fn job_done(&self, job: &Job, lease: Lease) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(done(job, lease));
        Ok(self.store().commit(batch).await?)
    }

    pub(super) async fn job_later(
        &self,
        job: &Job,
        lease: Lease,
        wait: Duration,
    ) -> Result<(), Error> {
        let mut later = job.clone();
        later.due = self.now() + wait;
        later.tries += 1;
        let mut batch = Batch::new();
        batch.put(Write::JobLater { job: later, lease });
        Ok(self.store().commit(batch).await?)
    }

    async fn push_job(&self, job: &Job, lease: Lease, id: EnrollmentId) -> Result<(), Error> {
        let Some(enrollment) = self.store().enrollment(self.id(), id).await? else {
            return self.job_done(job, lease).await;
        };
        let (Some(target), Some(push)) = (&enrollment.push, &self.organisation.push) else {
            return self.job_done(job, lease).await;
        };
        if !enrollment.is_live() || enrollment.push_dead_since.is_some() {
            return self.job_done(job, lease).await;
        }
        let key = self.open_secret_cached(push.identity.key).await?;
        let identity = PushIdentity {
            organisation: self.id(),
            certificate: push.identity.certificate.clone(),
            key,
        };
        let dead = match self.ports().push.push(&identity, target).await {
            Ok(PushOutcome::Delivered) => false,
            // A TokenUpdate that is newer than Apple's word has the last one.
            Ok(PushOutcome::Gone { since }) => since.is_none_or(|since| since >= target.since),
            Ok(PushOutcome::BadToken { reason }) => {
                tracing::warn!(organisation = %self.id(), enrolment = %id, reason, "Apple refuses the push token");
                true
            }
            Ok(PushOutcome::CertificateRefused { reason } | PushOutcome::Refused { reason }) => {
                tracing::error!(organisation = %self.id(), reason, "Apple refuses our pushes");
                if job.tries + 1 >= PUSH_TRIES {
                    // Each wake adds a push of its own: those that stayed would pile up for as long as it is refused.
                    return self.job_done(job, lease).await;
                }
                return self.job_later(job, lease, Duration::from_secs(900)).await;
            }
            Err(error) if job.tries + 1 >= PUSH_TRIES => {
                // Losing one only delays: the next wake asks again.
                tracing::warn!(organisation = %self.id(), enrolment = %id, %error, "a push is given up");
                return self.job_done(job, lease).await;
            }
            Err(error) => return Err(error.into()),
        };
        let mut batch = Batch::new();
        if dead {
            let mut row = enrollment.clone();
            row.push_dead_since = Some(self.now());
            batch.put(row);
        }
        batch.put(done(job, lease));
        Ok(self.store().commit(batch).await?)
    }

    /// Code first, sealed and committed; then the call. A repeat uses the same code.
    async fn lock_job(&self, job: &Job, lease: Lease, id: SetUpId) -> Result<(), Error> {
        let set_up = self.store().set_up(self.id(), id).await?;
        // Once the set-up has ended, its record says what is not known of the lock, and nobody asks behind its back.
        let Some(set_up) = set_up.filter(|s| !s.is_ended()) else {
            return self.job_done(job, lease).await;
        };
        let (Some(device), Some(serial)) = (set_up.device, set_up.serial.clone()) else {
            return self
                .answer_lock(
                    job,
                    lease,
                    id,
                    None,
                    LockReading::Refused {
                        why: "its serial number is not known".to_owned(),
                    },
                )
                .await;
        };
        // Ids are unique over all nouns: the code of a set-up has the set-up's, so that two workers cannot both make one.
        let code_id = SecretId(id.0);
        let held = match self.store().secret(self.id(), code_id).await? {
            Some(held) => Some(held),
            // An earlier enrolment of this device has asked with a code that is still the newest: a second code would be
            // one that opens nothing, and its own lock would look like somebody else's.
            None => {
                let all = self.store().secrets(self.id(), device).await?;
                all.into_iter()
                    .find(|s| s.kind == SecretKind::ServerBypassCode && s.replaced.is_none())
            }
        };
        let code_id = held.as_ref().map_or(code_id, |row| row.id);
        let claim = match &held {
            Some(row) if row.confirmed.is_some() => LockClaim::Ours,
            Some(row) if row.used.is_some() => LockClaim::Asked,
            _ => LockClaim::Foreign,
        };
        let code = match &held {
            Some(row) => self.open_row(row).await?,
            None => {
                let code = activation_lock::new_code()
                    .map_err(|_| Error::Crypto("no bypass code could be made"))?;
                let now = self.now();
                let mut batch = Batch::new();
                batch.put(
                    self.seal(
                        code_id,
                        SecretKind::ServerBypassCode,
                        Some(device),
                        &code,
                        now,
                    )
                    .await?,
                );
                let detail = json!({ "secret": code_id });
                batch.put(self.entry(now, "worker", "lock.code-sealed", Some(device), detail));
                self.store().commit(batch).await?;
                code
            }
        };
        let escrow_key = self.escrow_key(code_id, code).await?;
        let record_server = self
            .store()
            .device(self.id(), device)
            .await?
            .and_then(|d| d.record)
            .map(|r| r.server);
        let listed = match record_server {
            Some(server) => self.server_entry(server).await?,
            None => None,
        };
        let Some(server) = listed else {
            return self
                .answer_lock(
                    job,
                    lease,
                    id,
                    None,
                    LockReading::Refused {
                        why: "it is in none of our lists".to_owned(),
                    },
                )
                .await;
        };
        let credential = self.server_credential(&server).await?;
        // From here on a lock may be ours. Without this mark one that was there before we ever asked would look like it.
        self.mark_secret(code_id, |row, now| {
            row.used = row.used.or(Some(now));
            row.replaced = None;
        })
        .await?;
        let reading = match self
            .ports()
            .assignment
            .lock(&credential, &serial, &escrow_key)
            .await
        {
            Ok(LockOutcome::Success) => LockReading::Locked,
            Ok(LockOutcome::AlreadyLocked) => LockReading::AlreadyLocked { claim },
            Ok(LockOutcome::Refused(why)) => LockReading::Refused { why },
            Err(
                PortError::Refused(why)
                | PortError::FeatureMissing(why)
                | PortError::NeedsPerson(why),
            ) => LockReading::Refused { why },
            // Not known whether it took effect: the same code is sent again, which cannot do harm, and soon, for a hold waits.
            Err(PortError::Unknown(what)) => return Err(PortError::retry(what).into()),
            Err(error) => return Err(error.into()),
        };
        // A code that was new here opens nothing when the lock is somebody else's or there is none.
        let new = claim == LockClaim::Foreign;
        self.answer_lock(job, lease, id, Some((code_id, new)), reading)
            .await
    }

    /// The hash of a code, by which Apple locks. Slow to make, by design: once for each code, and beside the other work.
    async fn escrow_key(&self, id: SecretId, code: Secret) -> Result<String, Error> {
        let kept = &self.mdm.inner.escrow_keys;
        let key = (self.id(), id);
        if let Ok(kept) = kept.lock()
            && let Some(hash) = kept.get(&key)
        {
            return Ok(hash.clone());
        }
        let hash = tokio::task::spawn_blocking(move || activation_lock::escrow_key(&code))
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(Error::Crypto("a bypass code cannot be hashed"))?;
        if let Ok(mut kept) = kept.lock() {
            if kept.len() >= ESCROW_KEYS {
                kept.clear();
            }
            kept.insert(key, hash.clone());
        }
        Ok(hash)
    }

    /// Notes on a sealed secret what became of it; the secret stays as it is.
    async fn mark_secret(
        &self,
        id: SecretId,
        mark: impl Fn(&mut SealedSecret, Timestamp),
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(row) = self.store().secret(self.id(), id).await? else {
                return Err(Error::NotFound("secret"));
            };
            let mut marked = row.clone();
            mark(&mut marked, self.now());
            if marked == row {
                return Ok(());
            }
            let mut batch = Batch::new();
            batch.put(marked);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    async fn answer_lock(
        &self,
        job: &Job,
        lease: Lease,
        id: SetUpId,
        code: Option<(SecretId, bool)>,
        answer: LockReading,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(set_up) = self.store().set_up(self.id(), id).await? else {
                return self.job_done(job, lease).await;
            };
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "worker");
            self.load_for_set_up(&mut d, set_up).await?;
            d.audit("lock.answered", json!({ "answer": answer }));
            if let Some((code, new)) = code
                && let Some(row) = self.store().secret(self.id(), code).await?
            {
                // In the batch of the answer: a later "locked already" is then known to be this one, or not to be it.
                let mut tracked = Tracked::read(row);
                let code = &mut tracked.row;
                if answer == LockReading::Locked {
                    code.confirmed = code.confirmed.or(Some(d.now));
                } else if new && code.confirmed.is_none() {
                    code.used = None;
                    code.replaced = Some(d.now);
                }
                d.secrets.insert(tracked.row.id, tracked);
            }
            d.tell_set_up(&Event::LockAnswered {
                answer: answer.clone(),
            });
            // Where it can be read at all, that Apple shows it is part of the proof.
            let readable = self.organisation.api.is_some();
            if let Some(row) = d.set_up.as_mut().map(|s| &mut s.row).filter(|_| readable) {
                let step = row.steps_or_proofs().get(&StepId::Lock);
                let asked = step.is_some_and(|step| was_asked(&step.status));
                row.lock_unread |= asked && row.move_id.is_some() && !row.is_ended();
            }
            // One that is out already is read back from here; the others when they come out.
            let out = d.set_up.as_ref().is_some_and(|s| s.row.released.is_some());
            if let Some(device) = d.device.as_ref().map(|d| d.row.id).filter(|_| out) {
                d.job(
                    (d.now + LOCK_SHOWS).next_minute(),
                    JobKind::ReadLock { device },
                );
            }
            d.batch.put(done(job, lease));
            self.commit(d).await
        })
        .await
    }

    async fn notify_job(
        &self,
        job: &Job,
        lease: Lease,
        notice: Notice,
        device: DeviceId,
    ) -> Result<(), Error> {
        let Some(row) = self.store().device(self.id(), device).await? else {
            return self.job_done(job, lease).await;
        };
        let said = self.ports().notifier.notify(self.id(), &row.serial, notice);
        let event = match said.await {
            Ok(()) => Event::Told { notice },
            // Nobody will ever take it: that is on record, and nobody is asked again.
            Err(PortError::Refused(why)) => Event::EffectFailed {
                effect: EffectKey::Notify(notice),
                why,
            },
            Err(error) => return Err(error.into()),
        };
        self.again_on_conflict(|| async {
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "worker");
            if let Some(enrollment) = row.enrollment
                && let Some(enrollment) = self.store().enrollment(self.id(), enrollment).await?
            {
                self.load_device_side(&mut d, &enrollment).await?;
                d.tell_set_up(&event);
            }
            d.batch.put(done(job, lease));
            self.commit(d).await
        })
        .await
    }

    /// Loads everything that advancing a set-up may touch.
    pub(super) async fn load_for_set_up(
        &self,
        d: &mut Decision<'_>,
        set_up: SetUp,
    ) -> Result<(), Error> {
        if let Some(device) = set_up.device {
            d.device = readable(self.store().device(self.id(), device).await)?.map(Tracked::read);
        }
        self.load_queue(d, set_up.enrollment, QUEUE_WINDOW).await?;
        d.set_up_plan = self.readable_plan(&set_up).await;
        if let Some(attempt) = set_up.move_id {
            self.load_attempt(d, attempt).await?;
        }
        d.set_up = Some(Tracked::read(set_up));
        Ok(())
    }

    /// Loads a Move with its plan, if it is there.
    pub(super) async fn load_attempt(&self, d: &mut Decision<'_>, id: MoveId) -> Result<(), Error> {
        if let Some(attempt) = readable(self.store().attempt(self.id(), id).await)?
            && let Some(plan) = self.readable_plan_of(&attempt).await?
        {
            d.attempt_plan = Some(plan);
            (d.profile, d.offers_paused) = self.profile_of_wave(attempt.wave).await?;
            d.attempt = Some(Tracked::read(attempt));
        }
        Ok(())
    }

    /// Loads everything that advancing a Move may touch.
    pub(super) async fn load_for_attempt(
        &self,
        d: &mut Decision<'_>,
        attempt: Move,
    ) -> Result<(), Error> {
        d.device = self
            .store()
            .device(self.id(), attempt.device)
            .await?
            .map(Tracked::read);
        d.attempt_plan = Some(self.plan(attempt.runbook).await?);
        (d.profile, d.offers_paused) = self.profile_of_wave(attempt.wave).await?;
        d.attempt = Some(Tracked::read(attempt));
        Ok(())
    }

    /// Its profile, and whether its offers are paused.
    async fn profile_of_wave(
        &self,
        wave: crate::ids::WaveId,
    ) -> Result<(Option<String>, bool), Error> {
        let Some(wave) = readable(self.store().wave(self.id(), wave).await)? else {
            return Ok((None, false));
        };
        let server = readable(self.store().server(self.id(), wave.destination).await)?;
        let profile = server.and_then(|s| self.profile_at(&s, Some(&wave)));
        Ok((profile, wave.paused.is_some()))
    }
}

pub(super) fn done(job: &Job, lease: Lease) -> Write {
    Write::JobDone {
        organisation: job.organisation,
        id: job.id,
        lease,
    }
}

fn back_off(tries: u32) -> Duration {
    Duration::from_secs(match tries {
        0 => 15,
        1 => 60,
        2 => 300,
        _ => 900,
    })
}

/// The moment of a deadline with the seconds that Apple may round away.
pub(super) fn same_deadline(a: Timestamp, b: Timestamp) -> bool {
    a.as_secs() == b.as_secs()
}
