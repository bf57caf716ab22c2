//! Errands brought forward, one after the other in their order: read, write down that it is asked, ask, follow, read again.
//! Nothing is sent that was not read since it was last sent, and no device is in two requests at a time; nor are two requests on
//! their way to one service, whichever process of the installation sends them.

mod ending;
mod gather;
mod licences;
mod sending;
mod stand;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::stand::{Stand, stand, still_wanted};
use super::Org;
use super::reading::Readings;
use super::worker::done;
use crate::clock::Timestamp;
use crate::device::Device;
use crate::errand::{Errand, ErrandKind, ErrandMember, ErrandState, MOST_DEVICES, Next};
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, ErrandId, JobId, LocationId, MoveId, WaveId};
use crate::job::{Job, JobKind};
use crate::migration::Move;
use crate::store::{Batch, Lease, StoreError, Write};

/// Between two looks at something that Apple works on.
const LOOK: Duration = Duration::from_secs(60);
/// While a reading of the whole list is under way.
const READING: Duration = Duration::from_secs(30);
/// While another process has a request under way.
const OTHERS: Duration = Duration::from_secs(5);
/// Where only a person can go on.
const PERSON: Duration = Duration::from_secs(1800);
/// A request that Apple never seems to take is given up after so many sendings: with a quarter of an hour and a reading between
/// two of them, after half a day.
const SENDINGS: usize = 48;

/// So often in a row an errand that cannot go on holds up those after it.
const HOLDS: u32 = 20;

/// What one step of an errand came to.
enum Stepped {
    /// It waits for its own time.
    Waits,
    /// Apple (or our budget) lets nothing of this kind through for so long: what comes after it keeps its place.
    Held(Duration),
}

impl Org {
    /// Adds to a batch that the organisation's errands are to be looked at. One job for all of them, under the
    /// organisation's number, which no other job can have.
    pub(super) fn put_errands_job(&self, batch: &mut Batch, due: Timestamp) {
        let job = Job::new(self.id(), JobId(self.id().0), due, JobKind::Errands);
        let there = |w: &Write| matches!(w, Write::Job(j) if j.id == job.id);
        if !batch.writes.iter().any(there) {
            batch.put(job);
        }
    }

    /// Makes errands of one kind for any number of members, and puts them and their job into a batch.
    pub(super) fn put_errands(
        &self,
        batch: &mut Batch,
        wave: Option<WaveId>,
        kind: &ErrandKind,
        members: &[ErrandMember],
        reason: Option<&str>,
        by: &str,
    ) -> Vec<ErrandId> {
        let now = self.now();
        let mut made = Vec::new();
        for members in members.chunks(MOST_DEVICES) {
            let id = ErrandId(self.ids().next(now));
            let mut errand = Errand::new(self.id(), id, kind.clone(), members.to_vec(), by, now);
            errand.wave = wave;
            errand.reason = reason.map(str::to_owned);
            batch.put(errand);
            made.push(id);
        }
        if !made.is_empty() {
            self.put_errands_job(batch, now);
        }
        made
    }

    /// All errands, in their order, after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn errands(&self, after: ErrandId, limit: u32) -> Result<Vec<Errand>, Error> {
        Ok(self.store().errands(self.id(), after, limit).await?)
    }

    /// An errand by id.
    ///
    /// # Errors
    /// The store's.
    pub async fn errand(&self, id: ErrandId) -> Result<Option<Errand>, Error> {
        Ok(self.store().errand(self.id(), id).await?)
    }

    /// The one job of all errands.
    pub(super) async fn errands_job(&self, job: &Job, lease: Lease) -> Result<(), Error> {
        let Some(due) = self.run_errands().await? else {
            return self.errands_done(job, lease).await;
        };
        let mut later = job.clone();
        // Whoever is asked may have named more.
        later.due = due.min(self.now() + JobKind::LONGEST_WAIT);
        later.tries = 0;
        // Also when the lease ended on the way and somebody else has it: then the sooner of both counts.
        self.job_stands_or(later, lease).await
    }

    async fn errands_done(&self, job: &Job, lease: Lease) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(done(job, lease));
        match self.store().commit(batch).await {
            // Somebody has decided on a new errand meanwhile: the job stands, and is due at once.
            Err(StoreError::Conflict) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Brings every errand forward as far as it goes now. Answers when to come again; `None` when all have ended.
    async fn run_errands(&self) -> Result<Option<Timestamp>, Error> {
        let mut busy: BTreeSet<(bool, DeviceId)> = BTreeSet::new();
        // By service: what is wrong with one location says nothing about another.
        let mut held: BTreeMap<Option<LocationId>, Timestamp> = BTreeMap::new();
        let mut next: Option<Timestamp> = None;
        let open = self.open_errands().await?;
        // Before the first one goes: what another process asks at this moment may come later in the list.
        let now = self.now();
        for errand in open.iter().filter(|e| e.under_way_until(now).is_some()) {
            held.insert(errand.location(), now + OTHERS);
        }
        for errand in open {
            let licence = errand.kind.is_licence();
            let devices = || errand.members.iter().map(|m| (licence, m.device));
            let service = errand.location();
            let again = match held.get(&service) {
                Some(until) => *until,
                None if devices().any(|device| busy.contains(&device)) => self.now() + READING,
                None => match self.bring_forward(errand.id).await? {
                    Stepped::Held(wait) => {
                        let until = self.now() + wait;
                        held.insert(service, until);
                        until
                    }
                    Stepped::Waits => self.now() + READING,
                },
            };
            let Some(after) = self.errand(errand.id).await? else {
                continue;
            };
            if after.is_ended() {
                continue;
            }
            if after.under_way_until(self.now()).is_some() {
                // Not by this run: another process asks at this moment, or was killed while it did. What comes after keeps its
                // place.
                held.entry(service).or_insert(self.now() + OTHERS);
            }
            // One that was not sent leaves the way free: it reads again before it is sent.
            if after.state != ErrandState::Waiting {
                busy.extend(devices());
            }
            let due = match after.is_due(self.now()) {
                true => again,
                false => after.due,
            };
            next = Some(next.map_or(due, |at: Timestamp| at.min(due)));
        }
        if next.is_none() {
            self.mdm.inner.holders.forget(self.id());
        }
        // Never at once: a step that could go on has gone on.
        Ok(next.map(|at| at.max(self.now() + Duration::from_secs(1))))
    }

    async fn bring_forward(&self, id: ErrandId) -> Result<Stepped, Error> {
        let Some(errand) = self.errand(id).await? else {
            return Ok(Stepped::Waits);
        };
        let stepped = if errand.kind.is_licence() {
            self.step_licences(errand).await
        } else {
            self.step(errand).await
        };
        match stepped {
            // Another process is at it.
            Err(error) if error.is_conflict() => Ok(Stepped::Waits),
            Err(Error::Port(PortError::NeedsPerson(what))) => {
                self.errand_needs(id, &what).await?;
                Ok(Stepped::Held(PERSON))
            }
            Err(Error::Port(PortError::Retry { what, after })) => {
                self.errand_waits(id, &what, after.unwrap_or(READING)).await
            }
            // A reading that is refused for these devices says nothing about others.
            Err(Error::Port(error)) => {
                tracing::warn!(organisation = %self.id(), errand = %id, %error, "an errand cannot go on");
                self.cannot_go_on(id, &error.to_string()).await?;
                Ok(Stepped::Waits)
            }
            Err(Error::Store(StoreError::Unavailable(why))) => {
                Err(StoreError::Unavailable(why).into())
            }
            Err(Error::Busy(why)) => Err(Error::Busy(why)),
            // A row or a secret of this one that cannot be read keeps no other from Apple.
            Err(error) => {
                tracing::error!(organisation = %self.id(), errand = %id, %error, "an errand cannot go on");
                self.cannot_go_on(id, &error.to_string()).await?;
                Ok(Stepped::Waits)
            }
            stepped => stepped,
        }
    }

    /// It could not go on for now. What comes after it keeps its place, unless this happens again and again: then it is not
    /// the service that is out of order, but this errand.
    async fn errand_waits(
        &self,
        id: ErrandId,
        what: &str,
        wait: Duration,
    ) -> Result<Stepped, Error> {
        self.alter_errand(id, |errand, now| {
            errand.status = Some(what.to_owned());
            let at_once = errand.tries < HOLDS;
            // As long as it holds up the others it stays the first.
            errand.wait(if at_once { Duration::ZERO } else { wait }, now);
        })
        .await?;
        let tries = self.errand(id).await?.map_or(0, |errand| errand.tries);
        Ok(match tries {
            0..=HOLDS => Stepped::Held(wait),
            _ => Stepped::Waits,
        })
    }

    /// Neither the time nor another errand mends this: it is tried again now and then, and a person is told.
    async fn cannot_go_on(&self, id: ErrandId, why: &str) -> Result<(), Error> {
        self.alter_errand(id, |errand, now| {
            errand.status = Some(why.to_owned());
            errand.needs_person = Some(why.to_owned());
            errand.wait(PERSON, now);
        })
        .await
    }

    async fn errand_needs(&self, id: ErrandId, what: &str) -> Result<(), Error> {
        tracing::warn!(organisation = %self.id(), errand = %id, what, "an errand waits for a person");
        self.alter_errand(id, |errand, now| {
            errand.needs_person = Some(what.to_owned());
            errand.wait(PERSON, now);
        })
        .await
    }

    /// Changes an errand's row alone.
    async fn alter_errand(
        &self,
        id: ErrandId,
        change: impl Fn(&mut Errand, Timestamp),
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut errand) = self.errand(id).await? else {
                return Ok(());
            };
            if errand.is_ended() {
                return Ok(());
            }
            change(&mut errand, self.now());
            let mut batch = Batch::new();
            batch.put(errand);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// One step of an errand at the organisation API.
    async fn step(&self, errand: Errand) -> Result<Stepped, Error> {
        let now = self.now();
        match errand.next(now) {
            Next::Nothing | Next::Wait { .. } => Ok(Stepped::Waits),
            Next::Look => self.look(&errand).await,
            Next::Read { not_before } => {
                let serials = errand.serials();
                match self.readings_for(&serials, not_before).await? {
                    Readings::Later(_) => Ok(Stepped::Waits),
                    Readings::Ready(devices) => self.after_reading(errand, devices, now).await,
                }
            }
        }
    }

    /// How an activity goes; its result file is kept in the batch that notes its end.
    async fn look(&self, errand: &Errand) -> Result<Stepped, Error> {
        let ErrandState::Posted { activity, .. } = &errand.state else {
            return Ok(Stepped::Waits);
        };
        let reading = self
            .ports()
            .api
            .activity(&self.api_key().await?, activity)
            .await;
        match reading {
            Ok(reading) if reading.finished => {
                self.alter_errand(errand.id, |errand, now| match &reading.file_failed {
                    Some(why) => errand.finished_unread(&reading.status, why, now),
                    None => {
                        errand.failed = reading.failed.iter().cloned().collect();
                        errand.finished(&reading.status, reading.file.clone(), now);
                    }
                })
                .await?;
            }
            Ok(reading) => {
                self.alter_errand(errand.id, |errand, now| errand.looked(&reading.status, now))
                    .await?;
            }
            Err(error) => return self.look_failed(errand, error).await,
        }
        Ok(Stepped::Waits)
    }

    /// An activity or event that cannot be looked at holds up its own errand only, and not for ever.
    async fn look_failed(&self, errand: &Errand, error: PortError) -> Result<Stepped, Error> {
        match error {
            PortError::NeedsPerson(_) => return Err(error.into()),
            PortError::Retry { what, after } => {
                self.alter_errand(errand.id, |errand, now| errand.unseen(&what, now))
                    .await?;
                // It looks again at a time of its own; until then it holds up nobody.
                return Ok(Stepped::Held(after.unwrap_or(READING)));
            }
            // No longer kept, or not to be had: the devices themselves tell.
            error => {
                let why = error.to_string();
                self.alter_errand(errand.id, |errand, now| errand.finished(&why, None, now))
                    .await?;
            }
        }
        Ok(Stepped::Waits)
    }

    /// The devices were read since the errand was last sent: what is lacking is sent, waited for, or told. The readings are those
    /// that were asked for at `asked`: while they were made time has gone on, and an effect may have come after them.
    async fn after_reading(
        &self,
        errand: Errand,
        devices: Vec<Device>,
        asked: Timestamp,
    ) -> Result<Stepped, Error> {
        let attempts = self.attempts_of(&errand).await?;
        let readings: BTreeMap<DeviceId, Device> = devices.into_iter().map(|d| (d.id, d)).collect();
        let mut lacking = Vec::new();
        let mut out = BTreeMap::new();
        for member in &errand.members {
            let reading = readings
                .get(&member.device)
                .and_then(|d| d.reading.as_ref());
            match reading.map_or(Stand::Lacks, |r| stand(&errand, r)) {
                Stand::Has => {}
                Stand::Lacks => lacking.push(member),
                Stand::Out(why) => {
                    out.insert(member.serial.clone(), why.to_owned());
                }
            }
        }
        let wanted = |member: &&&ErrandMember| {
            let attempt = member.attempt.and_then(|id| attempts.get(&id));
            attempt.is_none_or(|attempt| still_wanted(&errand.kind, attempt))
        };
        let to_send: Vec<ErrandMember> = lacking.iter().filter(wanted).copied().cloned().collect();
        let lag = errand.no_lag_after().is_some_and(|at| asked < at);
        match &errand.state {
            ErrandState::Waiting | ErrandState::Asked { .. }
                if to_send.is_empty() && (lacking.is_empty() || !lag) =>
            {
                self.conclude(&errand, &lacking, &out).await?;
                Ok(Stepped::Waits)
            }
            // It may have been sent, and its effect may still come.
            // Also when nobody wants it any more: who takes it back must know first whether it came.
            ErrandState::Asked { .. } if lag => {
                self.alter_errand(errand.id, |errand, now| errand.wait(LOOK, now))
                    .await?;
                Ok(Stepped::Waits)
            }
            ErrandState::Waiting | ErrandState::Asked { .. }
                if errand.sendings.len() < SENDINGS =>
            {
                self.send(errand, &to_send).await
            }
            ErrandState::Proving { .. } => {
                let explained = lacking
                    .iter()
                    .all(|member| errand.failed.contains_key(&member.serial));
                if !explained && lag {
                    self.alter_errand(errand.id, |errand, now| errand.wait(LOOK, now))
                        .await?;
                } else {
                    self.conclude(&errand, &lacking, &out).await?;
                }
                Ok(Stepped::Waits)
            }
            _ => {
                self.conclude(&errand, &lacking, &out).await?;
                Ok(Stepped::Waits)
            }
        }
    }

    pub(super) async fn attempts_of(
        &self,
        errand: &Errand,
    ) -> Result<BTreeMap<MoveId, Move>, Error> {
        let mut attempts = BTreeMap::new();
        for id in errand.members.iter().filter_map(|m| m.attempt) {
            if let Some(attempt) = self.store().attempt(self.id(), id).await? {
                attempts.insert(id, attempt);
            }
        }
        Ok(attempts)
    }
}
