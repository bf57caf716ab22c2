//! Waves at Apple: planned, accepted, submitted as few requests, confirmed by re-reading. An unknown outcome is resolved by
//! reading, never by sending again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use super::Org;
use super::decision::{Decision, Tracked};
use super::ports::{ActivityRequest, ApiKey};
use super::sync::append;
use super::worker::{done, job_again, same_deadline};
use crate::clock::Timestamp;
use crate::device::{Device, MigrationStatus, OrgReading, Platform};
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, JobId, MoveId, Serial, ServerId, WaveId};
use crate::job::{Job, JobKind};
use crate::migration::{Event, Move, MoveState, PinnedRunbook};
use crate::store::{Batch, Lease, Write};
use crate::wave::{Wave, WaveState};

/// Members of one request to Apple.
const BUCKET: usize = 1000;
/// How long an effect may take to show after Apple took a request.
const LAG: Duration = Duration::from_secs(15 * 60);
/// Between two looks at something that Apple works on.
const LOOK: Duration = Duration::from_secs(120);
/// Apple's limit for a deadline.
const NINETY_DAYS: Duration = Duration::from_secs(90 * 86_400);

/// A member as planned.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Member {
    /// Which device.
    pub serial: Serial,
    /// When Apple enforces it.
    pub deadline: Timestamp,
    /// When our profile is assigned.
    pub available_from: Timestamp,
    /// The server entry that it leaves, when known.
    pub original_server: Option<String>,
}

/// What stands against a submission, and the digest of what would be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WhatIf {
    /// The wave.
    pub wave: WaveId,
    /// What blocks, by serial number.
    pub blockers: BTreeMap<Serial, Vec<String>>,
    /// Binds members, deadlines, runbooks and blockers: an acceptance of anything else is void.
    pub digest: String,
}

impl Org {
    /// Plans a wave: its members, each with the runbook of its platform.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a serial number that is not ours, is in an open wave, or whose platform is not known.
    pub async fn plan_wave(
        &self,
        name: &str,
        destination: ServerId,
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
        members: &[Member],
    ) -> Result<WaveId, Error> {
        let mut pinned = BTreeMap::new();
        for (platform, runbook) in runbooks {
            pinned.insert(
                *platform,
                self.pin(&format!("{name} {}", platform.as_str()), runbook.clone())
                    .await?,
            );
        }
        let now = self.now();
        let id = WaveId(self.ids().next(now));
        let mut batch = Batch::new();
        batch.put(Wave::draft(
            self.id(),
            id,
            name,
            destination,
            pinned.clone(),
            now,
        ));
        let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
        let unique: BTreeSet<&Serial> = serials.iter().collect();
        if unique.len() != serials.len() {
            return Err(Error::bad_input("members", "a serial number occurs twice"));
        }
        let devices: BTreeMap<Serial, Device> = self
            .store()
            .devices_by_serial(self.id(), &serials)
            .await?
            .into_iter()
            .map(|d| (d.serial.clone(), d))
            .collect();
        for member in members {
            let known = devices.get(&member.serial);
            let mut tracked = match known {
                Some(device) if device.open_move.is_some() => {
                    return Err(Error::bad_input(
                        member.serial.as_str(),
                        "is in an open wave already",
                    ));
                }
                Some(device) => Tracked::read(device.clone()),
                // The device is not in our list yet: that is what the migration is for.
                None => Tracked::new(Device::new(
                    self.id(),
                    DeviceId(self.ids().next(now)),
                    member.serial.clone(),
                )),
            };
            let platform = tracked
                .row
                .platform()
                .or_else(|| {
                    tracked
                        .row
                        .reading
                        .as_ref()
                        .and_then(|r| r.product.as_deref())
                        .and_then(Platform::of_product)
                })
                .ok_or_else(|| {
                    Error::bad_input(
                        member.serial.as_str(),
                        "its platform is not known: read it at the organisation API first",
                    )
                })?;
            let runbook = *pinned.get(&platform).ok_or_else(|| {
                Error::bad_input(
                    member.serial.as_str(),
                    format!("the wave has no runbook for {}", platform.as_str()),
                )
            })?;
            let attempt = Move::plan(
                self.id(),
                MoveId(self.ids().next(now)),
                id,
                tracked.row.id,
                member.serial.clone(),
                runbook,
                member.deadline,
                member.available_from,
                member.original_server.clone(),
                now,
            );
            tracked.row.open_move = Some(attempt.id);
            tracked.row.assignment.wanted = None;
            tracked.row.assignment.from = None;
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            d.device = Some(tracked);
            d.audit("move.planned", json!({ "wave": name, "deadline": member.deadline, "available_from": member.available_from }));
            d.batch.put(attempt);
            append(&mut batch, d.into_batch());
        }
        self.store().commit(batch).await?;
        Ok(id)
    }

    /// Reads serial numbers at the organisation API into our records, so that a wave can be planned.
    ///
    /// # Errors
    /// The port's, the store's.
    pub async fn pull(&self, serials: &[Serial]) -> Result<Vec<(Serial, OrgReading)>, Error> {
        let now = self.now();
        let readings = self
            .ports()
            .api
            .read(&self.api_key().await?, serials, now)
            .await?;
        for chunk in readings.chunks(500) {
            self.again_on_conflict(|| async {
                let serials: Vec<Serial> = chunk.iter().map(|(s, _)| s.clone()).collect();
                let mut known: BTreeMap<Serial, Device> = self
                    .store()
                    .devices_by_serial(self.id(), &serials)
                    .await?
                    .into_iter()
                    .map(|d| (d.serial.clone(), d))
                    .collect();
                let mut batch = Batch::new();
                for (serial, reading) in chunk {
                    let mut device = known.remove(serial).unwrap_or_else(|| {
                        Device::new(self.id(), DeviceId(self.ids().next(now)), serial.clone())
                    });
                    device.reading = Some(reading.clone());
                    batch.put(device);
                }
                Ok(self.store().commit(batch).await?)
            })
            .await?;
        }
        Ok(readings)
    }

    /// What would happen if the wave were submitted now.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn what_if(&self, wave: WaveId) -> Result<WhatIf, Error> {
        let row = self
            .store()
            .wave(self.id(), wave)
            .await?
            .ok_or(Error::NotFound("wave"))?;
        let now = self.now();
        let mut blockers = BTreeMap::new();
        let mut bound = Vec::new();
        for attempt in self.members(wave).await? {
            let device = self.store().device(self.id(), attempt.device).await?;
            let found = check(&attempt, device.as_ref(), now);
            bound.push(json!([
                attempt.serial,
                attempt.deadline,
                attempt.available_from,
                attempt.runbook,
                found
            ]));
            if !found.is_empty() {
                blockers.insert(attempt.serial.clone(), found);
            }
        }
        let digest = crate::identity::sha256_hex(
            json!([row.name, row.runbooks, bound])
                .to_string()
                .as_bytes(),
        );
        Ok(WhatIf {
            wave,
            blockers,
            digest,
        })
    }

    /// Submits a wave whose what-if was accepted: writes the requests as jobs, and nothing more. Blocked members stay behind.
    ///
    /// # Errors
    /// [`Error::Precondition`] when members, findings or runbooks are no longer those that were accepted.
    pub async fn submit(&self, wave: WaveId, digest: &str, actor: &str) -> Result<usize, Error> {
        let what_if = self.what_if(wave).await?;
        if what_if.digest != digest {
            return Err(Error::Precondition(
                "members, findings or runbooks have changed since they were accepted".to_owned(),
            ));
        }
        let mut row = self
            .store()
            .wave(self.id(), wave)
            .await?
            .ok_or(Error::NotFound("wave"))?;
        if row.state != WaveState::Draft {
            return Err(Error::Precondition(
                "the wave is submitted already".to_owned(),
            ));
        }
        let now = self.now();
        let mut batch = Batch::new();
        let mut buckets: BTreeMap<Timestamp, Vec<MoveId>> = BTreeMap::new();
        for attempt in self.members(wave).await? {
            let blockers = what_if
                .blockers
                .get(&attempt.serial)
                .cloned()
                .unwrap_or_default();
            let (id, deadline) = (attempt.id, attempt.deadline);
            let blocked = !blockers.is_empty();
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            self.load_for_attempt(&mut d, attempt).await?;
            d.tell_move(&Event::Checked { blockers });
            if !blocked {
                d.tell_move(&Event::Accepted);
                d.tell_move(&Event::SubmitAsked { deadline });
                buckets.entry(deadline).or_default().push(id);
            }
            append(&mut batch, d.into_batch());
        }
        let mut count = 0;
        for (deadline, members) in buckets {
            for members in members.chunks(BUCKET) {
                count += members.len();
                let kind = JobKind::Submit {
                    wave,
                    deadline,
                    members: members.to_vec(),
                };
                batch.put(Job::new(self.id(), JobId(self.ids().next(now)), now, kind));
            }
        }
        row.state = WaveState::Submitted {
            by: actor.to_owned(),
            at: now,
            digest: digest.to_owned(),
        };
        batch.put(row);
        self.store().commit(batch).await?;
        Ok(count)
    }

    /// All members of a wave.
    ///
    /// # Errors
    /// The store's.
    pub async fn members(&self, wave: WaveId) -> Result<Vec<Move>, Error> {
        let mut all = Vec::new();
        let mut after = MoveId(0);
        loop {
            let page = self.store().attempts(self.id(), wave, after, 1000).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            all.extend(page);
        }
    }

    pub(super) async fn api_key(&self) -> Result<ApiKey, Error> {
        let api = self.organisation.api.as_ref().ok_or(Error::Precondition(
            "no organisation API account is imported yet".to_owned(),
        ))?;
        let key = self.open_secret_cached(api.key).await?;
        Ok(ApiKey {
            organisation: self.id(),
            client_id: api.client_id.clone(),
            key_id: api.key_id.clone(),
            key,
        })
    }

    pub(super) async fn submit_job(
        &self,
        job: &Job,
        lease: Lease,
        wave: WaveId,
        deadline: Timestamp,
        members: &[MoveId],
    ) -> Result<(), Error> {
        let row = self
            .store()
            .wave(self.id(), wave)
            .await?
            .ok_or(Error::NotFound("wave"))?;
        let server = self
            .store()
            .server(self.id(), row.destination)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        let mut attempts = Vec::new();
        for id in members {
            attempts.extend(self.store().attempt(self.id(), *id).await?);
        }
        // While the request waited, a member may have been withdrawn or confirmed.
        attempts.retain(|a| {
            matches!(
                a.state,
                MoveState::Submitting { .. } | MoveState::SubmitFailed { .. }
            )
        });
        if attempts.is_empty() {
            return self.job_done(job, lease).await;
        }
        let key = self.api_key().await?;
        let mut serials: Vec<Serial> = attempts.iter().map(|a| a.serial.clone()).collect();
        if let Some(asked) = row.asked.get(&job.id).copied() {
            // The request may have been sent before. Read first; send again only what certainly has no effect by now.
            let now = self.now();
            let readings = self.ports().api.read(&key, &serials, now).await?;
            let effective = |r: &OrgReading| {
                r.assigned_server.as_deref() == Some(server.uuid.as_str())
                    && r.deadline.is_some_and(|d| same_deadline(d, deadline))
            };
            let missing: Vec<Serial> = readings
                .iter()
                .filter(|(_, r)| !effective(r))
                .map(|(s, _)| s.clone())
                .collect();
            if !missing.is_empty() && now.since(asked) < LAG {
                return self.job_later(job, lease, LOOK).await;
            }
            if missing.is_empty() {
                return self
                    .posted(job, lease, wave, &attempts, "found by re-reading")
                    .await;
            }
            serials = missing;
        }
        self.mark_asked(wave, job.id).await?;
        let request = ActivityRequest::AssignWithDeadline {
            server: server.uuid.clone(),
            deadline,
        };
        match self
            .ports()
            .api
            .submit(&key, &request, &serials, self.now())
            .await
        {
            Ok(activity) => self.posted(job, lease, wave, &attempts, &activity).await,
            Err(PortError::Unknown(what)) => {
                tracing::warn!(organisation = %self.id(), what, "the outcome of a submission is not known: the devices are read before anything is sent again");
                self.job_later(job, lease, LOOK).await
            }
            Err(PortError::Retry { what, after }) => {
                // Apple refused for now and did nothing: it may be sent again without reading.
                self.unmark_asked(wave, job.id).await?;
                Err(PortError::Retry { what, after }.into())
            }
            Err(PortError::NeedsPerson(why)) => {
                // Members show what is to be settled; the request goes out once it is.
                let again = job_again(job, lease, self.now());
                let event = Event::SubmitRefused { why };
                self.end_submission(job, wave, &attempts, &event, None, again)
                    .await
            }
            Err(error) => {
                self.refused(job, lease, wave, &attempts, &error.to_string())
                    .await
            }
        }
    }

    async fn mark_asked(&self, wave: WaveId, job: JobId) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut row = self
                .store()
                .wave(self.id(), wave)
                .await?
                .ok_or(Error::NotFound("wave"))?;
            row.asked.insert(job, self.now());
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    async fn unmark_asked(&self, wave: WaveId, job: JobId) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let mut row = self
                .store()
                .wave(self.id(), wave)
                .await?
                .ok_or(Error::NotFound("wave"))?;
            row.asked.remove(&job);
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Apple has the request: its activity's id is stored in the batch that ends the job.
    async fn posted(
        &self,
        job: &Job,
        lease: Lease,
        wave: WaveId,
        attempts: &[Move],
        activity: &str,
    ) -> Result<(), Error> {
        let event = Event::ActivityPosted {
            activity: activity.to_owned(),
        };
        let follow = JobKind::Follow {
            wave,
            activity: activity.to_owned(),
            members: attempts.iter().map(|a| a.id).collect(),
        };
        self.end_submission(job, wave, attempts, &event, Some(follow), done(job, lease))
            .await
    }

    async fn refused(
        &self,
        job: &Job,
        lease: Lease,
        wave: WaveId,
        attempts: &[Move],
        why: &str,
    ) -> Result<(), Error> {
        let event = Event::SubmitRefused {
            why: why.to_owned(),
        };
        self.end_submission(job, wave, attempts, &event, None, done(job, lease))
            .await
    }

    /// What became of a submission, and of its job, in one batch.
    async fn end_submission(
        &self,
        job: &Job,
        wave: WaveId,
        attempts: &[Move],
        event: &Event,
        follow: Option<JobKind>,
        fate: Write,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut batch = Batch::new();
            for attempt in attempts {
                let Some(attempt) = self.store().attempt(self.id(), attempt.id).await? else {
                    continue;
                };
                let mut d = Decision::new(&self.organisation, self.ids(), now, "worker");
                self.load_for_attempt(&mut d, attempt).await?;
                d.tell_move(event);
                append(&mut batch, d.into_batch());
            }
            if let Some(mut row) = self.store().wave(self.id(), wave).await? {
                row.asked.remove(&job.id);
                batch.put(row);
            }
            if let Some(kind) = follow.clone() {
                batch.put(Job::new(
                    self.id(),
                    JobId(self.ids().next(now)),
                    now + Duration::from_secs(60),
                    kind,
                ));
            }
            batch.put(fate.clone());
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Follows an activity to its end; a finished activity proves nothing, so the devices are read afterwards.
    pub(super) async fn follow_job(
        &self,
        job: &Job,
        lease: Lease,
        activity: &str,
        members: &[MoveId],
    ) -> Result<(), Error> {
        let failed: BTreeMap<Serial, String> = match self
            .ports()
            .api
            .activity(&self.api_key().await?, activity)
            .await
        {
            Ok(reading) if reading.finished => reading.failed.into_iter().collect(),
            Ok(_) if job.tries < 60 => return self.job_later(job, lease, LOOK).await,
            // Found by re-reading, or no longer kept: the devices themselves tell.
            Ok(_) | Err(PortError::Refused(_)) => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut batch = Batch::new();
            for id in members {
                let Some(attempt) = self.store().attempt(self.id(), *id).await? else {
                    continue;
                };
                match failed.get(&attempt.serial) {
                    Some(why) => {
                        let mut d = Decision::new(&self.organisation, self.ids(), now, "worker");
                        self.load_for_attempt(&mut d, attempt).await?;
                        d.tell_move(&Event::SubmitRefused { why: why.clone() });
                        append(&mut batch, d.into_batch());
                    }
                    None => {
                        batch.put(Job::new(
                            self.id(),
                            JobId(self.ids().next(now)),
                            now.next_minute(),
                            JobKind::ReadDevice {
                                device: attempt.device,
                            },
                        ));
                    }
                }
            }
            batch.put(done(job, lease));
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Reads devices for several jobs with as few requests as possible, and tells their Moves.
    pub(super) async fn read_devices(&self, jobs: &[Job], lease: Lease) -> Result<(), Error> {
        let mut wanted: BTreeMap<Serial, (DeviceId, Vec<&Job>)> = BTreeMap::new();
        for job in jobs {
            let JobKind::ReadDevice { device } = job.kind else {
                continue;
            };
            match self.store().device(self.id(), device).await? {
                Some(row) => wanted
                    .entry(row.serial)
                    .or_insert_with(|| (device, Vec::new()))
                    .1
                    .push(job),
                None => self.job_done(job, lease).await?,
            }
        }
        let serials: Vec<Serial> = wanted.keys().cloned().collect();
        let readings = match self
            .ports()
            .api
            .read(&self.api_key().await?, &serials, self.now())
            .await
        {
            Ok(readings) => readings,
            Err(error) => {
                // All of them together, once the budget's minute is over: one by one they would spend what a whole reading
                // needs, and none would ever succeed.
                let wait = error
                    .retry_after()
                    .unwrap_or(LOOK)
                    .max(Duration::from_secs(60));
                let due = (self.now() + wait).next_minute();
                let mut later = FuturesUnordered::new();
                for job in jobs {
                    later.push(self.job_later(job, lease, due.since(self.now())));
                }
                while let Some(result) = later.next().await {
                    result?;
                }
                return Err(error.into());
            }
        };
        let mut taken = FuturesUnordered::new();
        for (serial, reading) in readings {
            if let Some((device, jobs)) = wanted.remove(&serial) {
                taken.push(self.take_reading_again(device, reading, jobs, lease));
            }
        }
        while let Some(result) = taken.next().await {
            result?;
        }
        // What the answer left out is asked again later.
        for (_, (_, jobs)) in wanted {
            for job in jobs {
                self.job_later(job, lease, LOOK).await?;
            }
        }
        Ok(())
    }

    async fn take_reading_again(
        &self,
        device: DeviceId,
        reading: OrgReading,
        jobs: Vec<&Job>,
        lease: Lease,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| self.take_reading(device, &reading, &jobs, lease))
            .await
    }

    async fn take_reading(
        &self,
        device: DeviceId,
        reading: &OrgReading,
        jobs: &[&Job],
        lease: Lease,
    ) -> Result<(), Error> {
        let Some(device) = self.store().device(self.id(), device).await? else {
            return Ok(());
        };
        let mut d = Decision::new(&self.organisation, self.ids(), self.now(), "worker");
        let open = device.open_move;
        let mut tracked = Tracked::read(device);
        tracked.row.reading = Some(reading.clone());
        d.device = Some(tracked);
        if let Some(open) = open {
            self.load_attempt(&mut d, open).await?;
            if let Some(attempt) = d.attempt.as_ref().map(|a| a.row.clone()) {
                let destination = self.destination_of(&attempt).await?;
                let original = attempt.original_server.clone();
                d.tell_move(&Event::OrgTold {
                    reading: reading.clone(),
                    destination,
                    original,
                });
            }
        }
        for job in jobs {
            d.batch.put(done(job, lease));
        }
        self.commit(d).await
    }

    async fn destination_of(&self, attempt: &Move) -> Result<String, Error> {
        let wave = self
            .store()
            .wave(self.id(), attempt.wave)
            .await?
            .ok_or(Error::NotFound("wave"))?;
        let server = self
            .store()
            .server(self.id(), wave.destination)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        Ok(server.uuid)
    }

    /// Cancels and proves the return: each round reads first, and acts only on what it read.
    pub(super) async fn cancel_job(
        &self,
        job: &Job,
        lease: Lease,
        id: MoveId,
    ) -> Result<(), Error> {
        let Some(attempt) = self.store().attempt(self.id(), id).await? else {
            return self.job_done(job, lease).await;
        };
        let key = self.api_key().await?;
        let serials = [attempt.serial.clone()];
        let now = self.now();
        let Some((_, reading)) = self
            .ports()
            .api
            .read(&key, &serials, now)
            .await?
            .into_iter()
            .next()
        else {
            return self.job_later(job, lease, LOOK).await;
        };
        let back =
            attempt.original_server.is_none() || reading.assigned_server == attempt.original_server;
        let request = match &reading.status {
            Some(MigrationStatus::Requested) => Some(ActivityRequest::Cancel),
            // It has begun, or is over: nothing can be called back.
            Some(MigrationStatus::Started | MigrationStatus::Success) => None,
            _ if back => None,
            _ => attempt
                .original_server
                .clone()
                .map(|server| ActivityRequest::Assign { server }),
        };
        if let Some(request) = request {
            match self.ports().api.submit(&key, &request, &serials, now).await {
                Ok(_) | Err(PortError::Unknown(_)) => {
                    return self.job_later(job, lease, LOOK).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let jobs = [job];
        self.again_on_conflict(|| self.take_reading(attempt.device, &reading, &jobs, lease))
            .await
    }

    /// Moves a deadline and proves it: each round reads first.
    pub(super) async fn move_deadline_job(
        &self,
        job: &Job,
        lease: Lease,
        id: MoveId,
        deadline: Timestamp,
    ) -> Result<(), Error> {
        let Some(attempt) = self.store().attempt(self.id(), id).await? else {
            return self.job_done(job, lease).await;
        };
        let key = self.api_key().await?;
        let serials = [attempt.serial.clone()];
        let now = self.now();
        let Some((_, reading)) = self
            .ports()
            .api
            .read(&key, &serials, now)
            .await?
            .into_iter()
            .next()
        else {
            return self.job_later(job, lease, LOOK).await;
        };
        let pending = reading.status == Some(MigrationStatus::Requested);
        if pending && !reading.deadline.is_some_and(|d| same_deadline(d, deadline)) {
            match self
                .ports()
                .api
                .submit(
                    &key,
                    &ActivityRequest::UpdateDeadline { deadline },
                    &serials,
                    now,
                )
                .await
            {
                Ok(_) | Err(PortError::Unknown(_)) => {
                    return self.job_later(job, lease, LOOK).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let jobs = [job];
        self.again_on_conflict(|| self.take_reading(attempt.device, &reading, &jobs, lease))
            .await
    }
}

/// What stands against submitting one member, in plain words.
fn check(attempt: &Move, device: Option<&Device>, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    if attempt.deadline <= now {
        found.push("its deadline has passed".to_owned());
    }
    if attempt.deadline > now + NINETY_DAYS - Duration::from_secs(3600) {
        found.push(format!(
            "its deadline is later than {}, the end of Apple's 90 days",
            now + NINETY_DAYS - Duration::from_secs(3600)
        ));
    }
    if attempt.available_from > attempt.deadline {
        found.push("it would be offered only after its deadline".to_owned());
    }
    let Some(reading) = device.and_then(|d| d.reading.as_ref()) else {
        found.push("it was not read at the organisation API".to_owned());
        return found;
    };
    if reading.unknown {
        found.push("the organisation does not know its serial number".to_owned());
    } else if reading.assigned_server.is_none() {
        found.push("it is assigned to no service: there is nothing to migrate from".to_owned());
    }
    if reading.capable == Some(false) {
        found.push("Apple says that it cannot migrate".to_owned());
    }
    if matches!(
        reading.status,
        Some(MigrationStatus::Requested | MigrationStatus::Started)
    ) {
        found.push("another migration of it is pending".to_owned());
    }
    found
}
