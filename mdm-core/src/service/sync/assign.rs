//! Bringing ADE profiles in force: what is wanted is assigned where something else is in force, in few requests, never twice
//! without a look at the list in between, and never sooner than Apple allows.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use crate::clock::Timestamp;
use crate::device::{AssignmentOutcome, Device};
use crate::error::{Error, PortError};
use crate::ids::{DeviceId, Serial, ServerId, WaveId};
use crate::job::{Job, JobKind};
use crate::migration::{Move, MoveState};
use crate::service::Org;
use crate::service::checkin::readable;
use crate::service::decision::{Decision, Tracked};
use crate::service::sync::{CALM, PAGES, Run};
use crate::service::wave::gap::Places;
use crate::store::{Batch, Lease, StoreError};
use crate::wave::{Offering, Server};

/// How soon the list is read again after an assignment, so that its effect is seen.
const SOON: Duration = Duration::from_secs(90);
/// How long an assigned profile may take to show in the list before it is assigned again.
const SETTLE: Duration = Duration::from_secs(30 * 60);
/// How long an assignment whose answer never came keeps its devices.
const ASKED: Duration = Duration::from_secs(10 * 60);
/// How long devices wait whose assignment was refused as a whole, where Apple names no time.
const REFUSED: Duration = Duration::from_secs(5 * 60);
/// Devices in one assignment request: small enough that a fault stays local.
const CHUNK: u32 = 500;

impl Org {
    /// Asks for the wanted profiles of these devices to be assigned now. Who is throttled still waits as Apple said.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a serial number that is in none of our lists, the store's.
    pub async fn assign_profiles(&self, serials: &[Serial]) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut batch = Batch::new();
            let mut servers = std::collections::BTreeSet::new();
            let known = self.devices_of(serials).await?;
            for serial in serials.iter().collect::<std::collections::BTreeSet<_>>() {
                let device = known.get(serial);
                let server = device
                    .and_then(|d| d.record.as_ref())
                    .filter(|r| !r.gone)
                    .map(|r| r.server);
                let (Some(device), Some(server)) = (device, server) else {
                    return Err(Error::bad_input(serial.as_str(), "is in none of our lists"));
                };
                servers.insert(server);
                let throttled = device.assignment.last_refusal.as_deref() == Some("THROTTLED")
                    && device.assignment.not_before.is_some_and(|at| at > now);
                if !throttled && device.assignment.not_before.is_some() {
                    let mut device = device.clone();
                    device.assignment.not_before = None;
                    batch.put(device);
                }
            }
            for server in servers {
                self.put_assign_job(&mut batch, server).await?;
            }
            self.audit_into(
                &mut batch,
                "assignment.asked",
                json!({ "devices": serials.len() }),
            );
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Adds to a batch that profiles of a server entry's devices are to be looked at now.
    pub(in crate::service) async fn put_assign_job(
        &self,
        batch: &mut Batch,
        server: ServerId,
    ) -> Result<(), Error> {
        if let Some(row) = self.server_entry(server).await? {
            let kind = JobKind::Assign { server };
            batch.put(Job::new(self.id(), row.assign_job, self.now(), kind));
        }
        Ok(())
    }

    /// The recurring job that brings profiles in force.
    pub(in crate::service) async fn assign_job(
        &self,
        job: Job,
        lease: Lease,
        server: ServerId,
    ) -> Result<(), Error> {
        let Some(server) = self.server_entry(server).await? else {
            return self.job_done(&job, lease).await;
        };
        let outcome = self.assign_server(&server).await;
        if let Err(error) = &outcome {
            tracing::warn!(organisation = %self.id(), server = %server.name, %error, "profiles could not be assigned");
        }
        let needs = match &outcome {
            Err(Error::Port(PortError::NeedsPerson(what))) => Some(what.clone()),
            _ => None,
        };
        if server.profiles_need != needs {
            self.alter_server(server.id, |row| row.profiles_need.clone_from(&needs))
                .await?;
        }
        let now = self.now();
        let next = self
            .store()
            .next_assignment(self.id(), server.id, now)
            .await?;
        let mut later = job.clone();
        later.due = match (&outcome, next) {
            (Err(error), _) => now + error.retry_after().unwrap_or(Duration::from_secs(300)),
            (Ok((Run::More, _)), _) => now,
            (Ok((Run::Ended, _)), next) => next
                .map_or(now + CALM, |at| at.min(now + CALM))
                .max(now + Duration::from_secs(60)),
        };
        // What was asked before an error may have had its effect all the same.
        if outcome.is_err() || outcome.is_ok_and(|(_, assigned)| assigned) {
            self.hurry_sync(&server, now).await?;
        }
        self.job_stands_or(later, lease).await
    }

    /// Changes the row of a server entry alone.
    pub(super) async fn alter_server(
        &self,
        server: ServerId,
        change: impl Fn(&mut Server),
    ) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            let Some(mut row) = self.store().server(self.id(), server).await? else {
                return Ok(());
            };
            change(&mut row);
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// The list is read again soon; never later than it would be. While it is being read, whoever reads it is told by the entry.
    async fn hurry_sync(&self, server: &Server, now: Timestamp) -> Result<(), Error> {
        let (id, by) = (server.id, now + SOON);
        let kind = JobKind::Sync { server: id };
        let job = Job::new(self.id(), server.sync_job, by, kind);
        if self.job_by(job.clone()).await? {
            return Ok(());
        }
        self.alter_server(id, |row| row.read_by = Some(by)).await?;
        // The reading may have ended meanwhile, without a look at that.
        self.job_by(job).await.map(|_| ())
    }

    /// Assigns what is wanted, in so many requests; answers also whether anything was assigned.
    async fn assign_server(&self, server: &Server) -> Result<(Run, bool), Error> {
        let credential = self.server_credential(server).await?;
        // What Apple refuses of one profile, or does not show, keeps no other from its devices.
        let (server, mut refused) = self.ensure_profiles(server, &credential).await?;
        let Some(server) = server else {
            return Ok((Run::More, false));
        };
        let most = self.ports().assignment.most_assigned(&credential).await?;
        let chunk = CHUNK.min(u32::try_from(most.max(1)).unwrap_or(u32::MAX));
        let mut any = false;
        for _ in 0..PAGES {
            let now = self.now();
            let devices = self
                .store()
                .devices_to_assign(self.id(), server.id, now, chunk)
                .await?;
            let Some(uuid) = devices.first().and_then(|d| d.assignment.wanted.clone()) else {
                return refused.map_or(Ok((Run::Ended, any)), Err);
            };
            let same: Vec<Device> = devices
                .into_iter()
                .filter(|d| d.assignment.wanted.as_deref() == Some(uuid.as_str()))
                .collect();
            // What was asked is not asked again before the list was read after that.
            let unread = |d: &&Device| {
                d.assignment
                    .asked
                    .is_some_and(|at| server.synced <= Some(at))
            };
            let waiting: Vec<Device> = same.iter().filter(unread).cloned().collect();
            if !waiting.is_empty() {
                self.hold_back(waiting, None).await?;
                continue;
            }
            let Some(same) = self.hold_back_unready(same).await? else {
                // Some stay behind: the others are looked at anew.
                continue;
            };
            let same = match self.take_places(server.id, &same, ASKED).await? {
                Places::Taken(with_places) => with_places,
                Places::Uncounted if self.hold_back(same.clone(), Some(now)).await? => same,
                Places::Uncounted | Places::Again => continue,
            };
            if same.is_empty() {
                continue;
            }
            if self.server_entry(server.id).await?.is_none() {
                // It was given up meanwhile: nothing more is assigned there.
                return Ok((Run::Ended, any));
            }
            let serials: Vec<Serial> = same.iter().map(|d| d.serial.clone()).collect();
            let answer = self
                .ports()
                .assignment
                .assign(&credential, &uuid, &serials)
                .await;
            let outcomes: BTreeMap<Serial, AssignmentOutcome> = match answer {
                Ok(outcomes) => outcomes.into_iter().collect(),
                Err(error) => {
                    self.let_go(&same, now, &error).await?;
                    if !matches!(error, PortError::Refused(_)) {
                        return Err(error.into());
                    }
                    self.forget_unknown_profile(&server, &credential, &uuid)
                        .await?;
                    refused = Some(error.into());
                    continue;
                }
            };
            any = true;
            // Side by side, at most a chunk of them: their commits share transactions.
            let mut taken = FuturesUnordered::new();
            for device in &same {
                // A serial number that the answer leaves out is treated as failed.
                let outcome = outcomes
                    .get(&device.serial)
                    .cloned()
                    .unwrap_or(AssignmentOutcome::Failed);
                taken.push(self.take_outcome_again(device.id, outcome, &uuid));
            }
            while let Some(result) = taken.next().await {
                result?;
            }
        }
        Ok((Run::More, any))
    }

    /// Writes down that devices are about to be assigned a profile, or only that they wait. `false` when one of them has
    /// changed meanwhile: then nothing was written.
    async fn hold_back(
        &self,
        devices: Vec<Device>,
        asked: Option<Timestamp>,
    ) -> Result<bool, Error> {
        let mut batch = Batch::new();
        for mut device in devices {
            device.assignment.not_before = Some(self.now() + ASKED);
            device.assignment.asked = asked.or(device.assignment.asked);
            batch.put(device);
        }
        match self.store().commit(batch).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// After a request without outcomes its devices wait no longer than they must: where Apple has not done it for sure, until
    /// Apple may be asked again; otherwise as long as an effect may take to show in the list, counted from now.
    async fn let_go(
        &self,
        devices: &[Device],
        asked: Timestamp,
        error: &PortError,
    ) -> Result<(), Error> {
        let unknown = matches!(error, PortError::Unknown(_));
        let serials: Vec<Serial> = devices.iter().map(|d| d.serial.clone()).collect();
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut batch = Batch::new();
            for mut device in self.store().devices_by_serial(self.id(), &serials).await? {
                let before = devices.iter().find(|d| d.id == device.id);
                let Some(before) = before.filter(|_| device.assignment.asked == Some(asked)) else {
                    // Somebody has asked anew meanwhile.
                    continue;
                };
                let assignment = &mut device.assignment;
                if unknown {
                    assignment.asked = Some(now);
                    assignment.not_before = Some(now + ASKED);
                } else {
                    assignment.asked = before.assignment.asked;
                    assignment.not_before = Some(now + error.retry_after().unwrap_or(REFUSED));
                }
                batch.put(device);
            }
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// A profile that Apple does not know any more is defined anew at the next round.
    async fn forget_unknown_profile(
        &self,
        server: &Server,
        credential: &crate::service::ports::ServerCredential,
        uuid: &str,
    ) -> Result<(), Error> {
        match self.ports().assignment.read_profile(credential, uuid).await {
            Err(PortError::Refused(_)) => {}
            Ok(_) | Err(_) => return Ok(()),
        }
        self.again_on_conflict(|| async {
            let Some(mut row) = self.store().server(self.id(), server.id).await? else {
                return Ok(());
            };
            let known = row
                .profiles
                .values()
                .chain(&row.profile)
                .any(|p| p.uuid == uuid);
            if !known {
                // One of another entry, from where the device came: nothing is to be defined here.
                return Ok(());
            }
            row.profiles.retain(|_, p| p.uuid != uuid);
            row.profile = row.profile.filter(|p| p.uuid != uuid);
            row.offered = None;
            let mut batch = Batch::new();
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    async fn take_outcome_again(
        &self,
        device: DeviceId,
        outcome: AssignmentOutcome,
        uuid: &str,
    ) -> Result<(), Error> {
        self.again_on_conflict(|| self.take_outcome(device, &outcome, uuid))
            .await
    }

    async fn take_outcome(
        &self,
        device: DeviceId,
        outcome: &AssignmentOutcome,
        uuid: &str,
    ) -> Result<(), Error> {
        let Some(device) = self.store().device(self.id(), device).await? else {
            return Ok(());
        };
        let now = self.now();
        let mut d = Decision::new(&self.organisation, self.ids(), now, "worker");
        let mut tracked = Tracked::read(device);
        let assignment = &mut tracked.row.assignment;
        assignment.tries += 1;
        let (wait, word) = match outcome {
            // One that never shows is not repeated every half hour: that is what Apple throttles for.
            AssignmentOutcome::Success => (SETTLE.max(back_off(assignment.tries)), None),
            AssignmentOutcome::NotAccessible => {
                (Duration::from_secs(3600), Some("NOT_ACCESSIBLE".to_owned()))
            }
            AssignmentOutcome::Throttled {
                retry_after_seconds,
            } => (
                Duration::from_secs(retry_after_seconds.unwrap_or(24 * 3600)),
                Some("THROTTLED".to_owned()),
            ),
            AssignmentOutcome::Failed => (back_off(assignment.tries), Some("FAILED".to_owned())),
            AssignmentOutcome::Other(word) => (back_off(assignment.tries), Some(word.clone())),
        };
        assignment.not_before = Some(now + wait);
        assignment.last_refusal.clone_from(&word);
        // Refused for sure, it is offered nothing, and its place is another's.
        let refused = word.is_some() && !matches!(outcome, AssignmentOutcome::Other(_));
        if refused && let Some(open) = tracked.row.open_move {
            let attempt = self.store().attempt(self.id(), open).await?;
            let waits = |a: &Move| matches!(a.state, MoveState::Scheduled { .. });
            if let Some(mut attempt) = attempt.filter(|a| waits(a) && a.gap.is_some()) {
                attempt.gap = None;
                d.batch.put(attempt);
            }
        }
        d.device = Some(tracked);
        d.audit(
            "device.profile-assigned",
            json!({ "profile": uuid, "refused": word }),
        );
        self.commit(d).await
    }

    /// Every device of a server entry wants what the organisation, or its wave, wants for it now: a page of them, with the
    /// place in the list in one batch. Answers the entry as it is then.
    pub(super) async fn want_profiles(&self, server: ServerId) -> Result<Server, Error> {
        let mut server = self
            .store()
            .server(self.id(), server)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        let Some(offering) = server.offering.take() else {
            return Ok(server);
        };
        let default = self.profile_at(&server, None);
        // By wave: which profile, if it goes here and that is defined.
        let mut waves: HashMap<WaveId, Option<Option<String>>> = HashMap::new();
        // Whose devices are not to be offered their migration now.
        let mut paused: HashSet<WaveId> = HashSet::new();
        let mut batch = Batch::new();
        let devices = self
            .store()
            .devices(self.id(), offering.after, CHUNK)
            .await?;
        match devices.last() {
            // Last: killed before, it goes on where it was.
            None => server.offered = Some(offering.digest),
            Some(last) => {
                server.offering = Some(Offering {
                    after: last.id,
                    ..offering
                });
            }
        }
        for mut device in devices {
            let listed = device
                .record
                .as_ref()
                .is_some_and(|r| r.server == server.id && !r.gone);
            let outside = || default.clone().filter(|_| listed);
            let wants = match (device.open_move, device.assignment.from) {
                (None, _) => outside(),
                // Not offered yet.
                (Some(_), None) => None,
                (Some(id), Some(_)) => {
                    // Of one that cannot be read nobody knows what it wants; what the others want is known.
                    let Some(attempt) = readable(self.store().attempt(self.id(), id).await)? else {
                        continue;
                    };
                    if let Entry::Vacant(entry) = waves.entry(attempt.wave) {
                        let wave = self.store().wave(self.id(), attempt.wave).await?;
                        let here = wave.filter(|w| w.destination == server.id);
                        if here.as_ref().is_some_and(|w| w.paused.is_some()) {
                            paused.insert(attempt.wave);
                        }
                        entry.insert(here.map(|w| self.profile_at(&server, Some(&w))));
                    }
                    let waits = matches!(attempt.state, MoveState::Scheduled { .. });
                    if waits && paused.contains(&attempt.wave) {
                        if device.assignment.wanted.take().is_some() {
                            batch.put(device);
                        }
                        continue;
                    }
                    match waves.get(&attempt.wave) {
                        Some(Some(uuid)) => uuid.clone(),
                        // Somebody assigned it to this entry, and its wave goes to another one.
                        _ => outside(),
                    }
                }
            };
            if wants.is_some() && device.assignment.wanted != wants {
                device.assignment.wanted = wants;
                batch.put(device);
            }
        }
        batch.put(server.clone());
        self.store().commit(batch).await?;
        server.version += 1;
        Ok(server)
    }
}

/// Repeated assignments of one device lead to refusals for hours: wait longer each time.
fn back_off(tries: u32) -> Duration {
    Duration::from_secs(match tries {
        0 | 1 => 15 * 60,
        2 => 3600,
        3 => 6 * 3600,
        _ => 24 * 3600,
    })
}
