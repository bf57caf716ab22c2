//! Acts on migrations for a list of devices: planned with the exact requests and their consequence, accepted by digest, done
//! as an ad-hoc wave and its errands, proved by re-reading. No second path beside the waves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Org;
use super::decision::{Decision, Tracked};
use super::ports::ActivityRequest;
use super::sync::append;
use super::wave::{check, platform_of};
use super::worker::same_deadline;
use crate::clock::Timestamp;
use crate::device::{Device, MigrationStatus, OrgReading, Platform};
use crate::errand::{Errand, ErrandKind, ErrandMember, ErrandState, MOST_DEVICES};
use crate::error::Error;
use crate::ids::{DeviceId, ErrandId, MoveId, RunbookId, Serial, ServerId, WaveId};
use crate::migration::{Event, Move, MoveState, Outcome, PinnedRunbook};
use crate::store::Batch;
use crate::wave::{Wave, WaveState};

/// A reading this old is renewed before an act is planned.
const STALE: Duration = Duration::from_secs(15 * 60);

/// What a person wants done with the migrations of some devices.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Act {
    /// What.
    pub what: MigrationAct,
    /// For which devices.
    pub serials: Vec<Serial>,
    /// Why; [`MigrationAct::Force`] demands it.
    pub reason: Option<String>,
}

/// The acts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MigrationAct {
    /// Start migrations to a server entry of ours.
    Assign {
        /// Which.
        destination: ServerId,
        /// When Apple enforces it.
        deadline: Timestamp,
        /// From when the users are asked; at once when left out.
        available_from: Option<Timestamp>,
        /// The runbook for each platform.
        runbooks: BTreeMap<Platform, PinnedRunbook>,
    },
    /// Give more time.
    Extend {
        /// Until when; later than the deadline of each device.
        deadline: Timestamp,
    },
    /// Take time away: an earlier or past deadline is honoured at once.
    Force {
        /// Until when; earlier than the deadline of each device.
        deadline: Timestamp,
    },
    /// Call migrations back that have not begun.
    Cancel,
}

/// One request as it would be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedRequest {
    /// The method.
    pub method: &'static str,
    /// The path at Apple.
    pub path: &'static str,
    /// The exact body.
    pub body: Value,
    /// How many devices it names.
    pub devices: usize,
}

impl PlannedRequest {
    pub(super) const fn new(
        method: &'static str,
        path: &'static str,
        body: Value,
        devices: usize,
    ) -> Self {
        Self {
            method,
            path,
            body,
            devices,
        }
    }
}

/// What an act would send and bring about.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActPlan {
    /// What happens to people, in one sentence.
    pub consequence: String,
    /// The exact requests.
    pub requests: Vec<PlannedRequest>,
    /// What stands against single devices: they are left out.
    pub findings: BTreeMap<Serial, Vec<String>>,
    /// What does not stand against it and should be known.
    pub warnings: Vec<String>,
    /// Devices that the act is for.
    pub members: usize,
    /// Of these, devices that are left out.
    pub blocked: usize,
    /// Binds all of this: an acceptance of anything else is void.
    pub digest: String,
}

impl ActPlan {
    pub(super) fn new(
        consequence: String,
        requests: Vec<PlannedRequest>,
        findings: BTreeMap<Serial, Vec<String>>,
        warnings: Vec<String>,
        members: usize,
        bound: &Value,
    ) -> Self {
        let digest = crate::identity::sha256_hex(
            json!([consequence, requests, findings, warnings, members, bound])
                .to_string()
                .as_bytes(),
        );
        Self {
            consequence,
            requests,
            blocked: findings.len(),
            findings,
            warnings,
            members,
            digest,
        }
    }

    pub(super) fn must_be(&self, digest: &str) -> Result<(), Error> {
        if self.digest == digest {
            return Ok(());
        }
        Err(Error::Precondition(
            "members, requests or findings are not those that were accepted: look at the plan again"
                .to_owned(),
        ))
    }
}

/// What was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActDone {
    /// The ad-hoc wave, if one was made.
    pub wave: Option<WaveId>,
    /// The requests.
    pub errands: Vec<ErrandId>,
    /// Devices that the act was for.
    pub members: usize,
    /// Of these, devices that were left out.
    pub blocked: usize,
}

/// How far the proof of an act is: by re-reading, never by what Apple said of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActProof {
    /// Nothing is pending.
    pub finished: bool,
    /// Devices that Apple shows as wanted.
    pub proved: Vec<Serial>,
    /// Devices that Apple shows otherwise, and why.
    pub disagree: BTreeMap<Serial, String>,
    /// Devices that are not proved yet.
    pub pending: Vec<Serial>,
    /// When the next step is due.
    pub next_at: Option<Timestamp>,
    /// Why a person is needed, in sentences.
    pub needs_person: BTreeSet<String>,
}

/// A member of an act with what is known of it.
struct Found {
    serial: Serial,
    device: Option<Device>,
    attempt: Option<Move>,
    findings: Vec<String>,
}

impl Org {
    /// What an act would send and bring about. Devices whose reading is older than a quarter of an hour are read first.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an empty list, a serial number that occurs twice, a missing reason or a deadline that Apple
    /// does not take; the port's, the store's.
    pub async fn plan_act(&self, act: &Act) -> Result<ActPlan, Error> {
        let found = self.look_into(act).await?;
        self.plan_of(act, &found).await
    }

    /// Does what was planned and accepted: one batch with the ad-hoc wave, its members and their errands.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the plan is no longer the accepted one; as [`Org::plan_act`].
    pub async fn do_act(&self, act: &Act, digest: &str) -> Result<ActDone, Error> {
        self.again_on_conflict(|| async {
            let found = self.look_into(act).await?;
            self.plan_of(act, &found).await?.must_be(digest)?;
            match &act.what {
                MigrationAct::Assign {
                    destination,
                    deadline,
                    available_from,
                    runbooks,
                } => {
                    let from = available_from.unwrap_or_else(|| self.now());
                    self.assign(
                        act,
                        &found,
                        *destination,
                        (*deadline, from),
                        runbooks,
                        digest,
                    )
                    .await
                }
                MigrationAct::Extend { deadline } | MigrationAct::Force { deadline } => {
                    let event = Event::DeadlineMoved {
                        deadline: *deadline,
                    };
                    self.tell_all(act, &found, &event, digest).await
                }
                MigrationAct::Cancel => {
                    self.tell_all(act, &found, &Event::CancelAsked, digest)
                        .await
                }
            }
        })
        .await
    }

    async fn look_into(&self, act: &Act) -> Result<Vec<Found>, Error> {
        if act.serials.is_empty() {
            return Err(Error::bad_input("serials", "is empty"));
        }
        let unique: BTreeSet<&Serial> = act.serials.iter().collect();
        if unique.len() != act.serials.len() {
            return Err(Error::bad_input("serials", "a serial number occurs twice"));
        }
        let forced = matches!(act.what, MigrationAct::Force { .. });
        if forced && act.reason.as_deref().is_none_or(|r| r.trim().is_empty()) {
            return Err(Error::bad_input(
                "reason",
                "must say why time is taken away from people",
            ));
        }
        let serials: Vec<Serial> = unique.into_iter().cloned().collect();
        let mut devices = self.devices_of(&serials).await?;
        let fresh = |d: Option<&Device>| {
            let seen = d.and_then(|d| d.reading.as_ref()).map(|r| r.seen);
            seen.is_some_and(|at| self.now().since(at) <= STALE)
        };
        if !serials.iter().all(|s| fresh(devices.get(s))) {
            self.pull(&serials).await?;
            devices = self.devices_of(&serials).await?;
        }
        let mut found = Vec::new();
        for serial in serials {
            let device = devices.remove(&serial);
            let attempt = match device.as_ref().and_then(|d| d.open_move) {
                Some(id) => self.store().attempt(self.id(), id).await?,
                None => None,
            };
            let findings = self.against(act, &serial, device.as_ref(), attempt.as_ref());
            found.push(Found {
                serial,
                device,
                attempt,
                findings,
            });
        }
        Ok(found)
    }

    async fn devices_of(&self, serials: &[Serial]) -> Result<BTreeMap<Serial, Device>, Error> {
        let mut all = BTreeMap::new();
        for chunk in serials.chunks(1000) {
            for device in self.store().devices_by_serial(self.id(), chunk).await? {
                all.insert(device.serial.clone(), device);
            }
        }
        Ok(all)
    }

    /// What stands against the act for one device.
    fn against(
        &self,
        act: &Act,
        serial: &Serial,
        device: Option<&Device>,
        attempt: Option<&Move>,
    ) -> Vec<String> {
        let now = self.now();
        match &act.what {
            MigrationAct::Assign {
                deadline,
                available_from,
                runbooks,
                ..
            } => {
                let mut found = Vec::new();
                if attempt.is_some() {
                    found.push("it is in an open wave already".to_owned());
                }
                match device.and_then(platform_of) {
                    None => found.push("its platform is not known".to_owned()),
                    Some(platform) if !runbooks.contains_key(&platform) => {
                        found.push(format!("there is no runbook for {}", platform.as_str()));
                    }
                    Some(_) => {}
                }
                // A member that is never stored: the checks look at its dates.
                let member = Move::plan(
                    self.id(),
                    MoveId(0),
                    WaveId(0),
                    DeviceId(0),
                    serial.clone(),
                    RunbookId(0),
                    *deadline,
                    available_from.unwrap_or(now),
                    None,
                    now,
                );
                found.extend(check(&member, device, now));
                found
            }
            MigrationAct::Extend { deadline } => against_moving(attempt, device, |current| {
                (*deadline <= current).then(|| {
                    format!("its deadline is {current} already: an earlier one must be forced")
                })
            }),
            MigrationAct::Force { deadline } => against_moving(attempt, device, |current| {
                (*deadline >= current).then(|| {
                    format!("its deadline is {current} already: a later one is an extension")
                })
            }),
            MigrationAct::Cancel => match attempt.map(|a| &a.state) {
                None => vec!["no migration of it is under way here".to_owned()],
                Some(
                    MoveState::Planned
                    | MoveState::Blocked { .. }
                    | MoveState::Ready
                    | MoveState::SubmitFailed { .. }
                    | MoveState::Submitting { .. }
                    | MoveState::Scheduled { .. }
                    | MoveState::Offered { .. }
                    | MoveState::Overdue { .. },
                ) if !begun(device) => Vec::new(),
                Some(MoveState::Cancelling { .. }) => {
                    vec!["it is being cancelled already".to_owned()]
                }
                Some(_) => vec!["it has begun: nothing can be called back".to_owned()],
            },
        }
    }

    async fn plan_of(&self, act: &Act, found: &[Found]) -> Result<ActPlan, Error> {
        let now = self.now();
        let going: Vec<&Found> = found.iter().filter(|f| f.findings.is_empty()).collect();
        let (request, consequence, bound) = match &act.what {
            MigrationAct::Assign {
                destination,
                deadline,
                available_from,
                runbooks,
            } => {
                let server = self
                    .store()
                    .server(self.id(), *destination)
                    .await?
                    .ok_or(Error::NotFound("server entry"))?;
                let revisions: BTreeMap<Platform, i64> =
                    runbooks.iter().map(|(p, r)| (*p, r.content_id())).collect();
                let consequence = format!(
                    "{} devices leave their management service for {}: their users may start at once and must by {deadline}; \
                     what the old service installed goes, apps stay as far as the runbook keeps them.",
                    going.len(),
                    server.name
                );
                let request = ActivityRequest::AssignWithDeadline {
                    server: server.uuid,
                    deadline: *deadline,
                };
                (request, consequence, json!([available_from, revisions]))
            }
            MigrationAct::Extend { deadline } => (
                ActivityRequest::UpdateDeadline {
                    deadline: *deadline,
                    force: None,
                },
                format!("{} users get until {deadline}.", going.len()),
                json!([]),
            ),
            MigrationAct::Force { deadline } => (
                ActivityRequest::UpdateDeadline {
                    deadline: *deadline,
                    force: act.reason.clone(),
                },
                if *deadline <= now {
                    format!(
                        "Earlier deadline: these {} users can no longer postpone.",
                        going.len()
                    )
                } else {
                    format!(
                        "Earlier deadline: these {} users can postpone until {deadline} only.",
                        going.len()
                    )
                },
                json!([act.reason]),
            ),
            MigrationAct::Cancel => (
                ActivityRequest::Cancel,
                format!(
                    "{} users are no longer asked to migrate; their devices return to the service that they came from.",
                    going.len()
                ),
                json!([]),
            ),
        };
        let mut requests = Vec::new();
        // What was never at Apple is taken out here alone.
        let serials: Vec<Serial> = going
            .iter()
            .filter(|f| f.attempt.as_ref().is_none_or(is_at_apple))
            .map(|f| f.serial.clone())
            .collect();
        for serials in serials.chunks(MOST_DEVICES) {
            let body = request.body(serials, now)?;
            let path = "/v1/orgDeviceActivities";
            requests.push(PlannedRequest::new("POST", path, body, serials.len()));
        }
        let findings = found
            .iter()
            .filter(|f| !f.findings.is_empty())
            .map(|f| (f.serial.clone(), f.findings.clone()))
            .collect();
        let warnings = self.act_warnings(&requests).await?;
        Ok(ActPlan::new(
            consequence,
            requests,
            findings,
            warnings,
            found.len(),
            &bound,
        ))
    }

    async fn act_warnings(&self, requests: &[PlannedRequest]) -> Result<Vec<String>, Error> {
        let per_hour = self.organisation.settings.api_writes_per_hour;
        let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let hours = count.div_ceil(per_hour.max(1));
        Ok(if hours > 1 {
            vec![format!(
                "{count} requests at {per_hour} an hour: the last one leaves in about {hours} hours"
            )]
        } else {
            Vec::new()
        })
    }

    async fn assign(
        &self,
        act: &Act,
        found: &[Found],
        destination: ServerId,
        (deadline, from): (Timestamp, Timestamp),
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
        digest: &str,
    ) -> Result<ActDone, Error> {
        let now = self.now();
        let server = self
            .store()
            .server(self.id(), destination)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        let name = format!("ad hoc {now}");
        let mut pinned = BTreeMap::new();
        for (platform, runbook) in runbooks {
            let name = format!("{name} {}", platform.as_str());
            pinned.insert(*platform, self.pin(&name, runbook.clone()).await?);
        }
        let id = WaveId(self.ids().next(now));
        let mut wave = Wave::draft(self.id(), id, &name, destination, pinned.clone(), now);
        wave.ad_hoc = true;
        wave.state = WaveState::Submitted {
            by: self.actor().to_owned(),
            at: now,
            digest: digest.to_owned(),
        };
        let mut batch = Batch::new();
        let (mut members, mut moves) = (Vec::new(), Vec::new());
        for found in found.iter().filter(|f| f.findings.is_empty()) {
            let Some(device) = found.device.clone() else {
                continue;
            };
            let Some(runbook) = platform_of(&device).and_then(|p| pinned.get(&p).copied()) else {
                continue;
            };
            let original = device
                .reading
                .as_ref()
                .and_then(|r| r.assigned_server.clone());
            let attempt = Move::plan(
                self.id(),
                MoveId(self.ids().next(now)),
                id,
                device.id,
                found.serial.clone(),
                runbook,
                deadline,
                from,
                original,
                now,
            );
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            let mut tracked = Tracked::read(device);
            tracked.row.open_move = Some(attempt.id);
            tracked.row.assignment.wanted = None;
            tracked.row.assignment.from = None;
            d.device = Some(tracked);
            d.attempt_plan = Some(self.plan(runbook).await?);
            d.audit("move.planned", json!({ "wave": name, "deadline": deadline, "available_from": from, "reason": act.reason }));
            members.push(ErrandMember {
                device: attempt.device,
                serial: attempt.serial.clone(),
                attempt: Some(attempt.id),
            });
            d.attempt = Some(Tracked::new(attempt));
            d.tell_move(&Event::Accepted);
            d.tell_move(&Event::SubmitAsked { deadline });
            if let Some(attempt) = &d.attempt {
                moves.push(attempt.row.clone());
            }
            append(&mut batch, d.into_batch());
        }
        if members.is_empty() {
            return Err(Error::Precondition(
                "something stands against every device: see the findings".to_owned(),
            ));
        }
        self.put_licence_errands(&mut batch, id, &moves).await?;
        let kind = ErrandKind::Schedule {
            server: server.uuid,
            deadline,
        };
        let errands = self.put_errands(
            &mut batch,
            Some(id),
            &kind,
            &members,
            act.reason.as_deref(),
            self.actor(),
        );
        self.audit_into(
            &mut batch,
            "migration.assign",
            json!({ "wave": id, "devices": members.len(), "digest": digest, "reason": act.reason }),
        );
        batch.put(wave);
        self.store().commit(batch).await?;
        Ok(ActDone {
            wave: Some(id),
            errands,
            members: found.len(),
            blocked: found.len() - members.len(),
        })
    }

    /// Tells an event to the attempts of all devices, and makes one errand of what they ask for.
    async fn tell_all(
        &self,
        act: &Act,
        found: &[Found],
        event: &Event,
        digest: &str,
    ) -> Result<ActDone, Error> {
        let mut batch = Batch::new();
        let mut alike: BTreeMap<WaveId, Vec<ErrandMember>> = BTreeMap::new();
        let mut count = 0;
        for found in found.iter().filter(|f| f.findings.is_empty()) {
            let Some(attempt) = found.attempt.clone() else {
                continue;
            };
            count += 1;
            let (wave, member) = (
                attempt.wave,
                ErrandMember {
                    device: attempt.device,
                    serial: attempt.serial.clone(),
                    attempt: Some(attempt.id),
                },
            );
            let mut d = Decision::new(&self.organisation, self.ids(), self.now(), self.actor());
            d.gathered = Some(Vec::new());
            self.load_for_attempt(&mut d, attempt).await?;
            d.tell_move(event);
            if d.gathered.as_ref().is_some_and(|g| !g.is_empty()) {
                alike.entry(wave).or_default().push(member);
            }
            append(&mut batch, d.into_batch());
        }
        if count == 0 {
            return Err(Error::Precondition(
                "something stands against every device: see the findings".to_owned(),
            ));
        }
        let (name, kind, reason) = match &act.what {
            MigrationAct::Force { deadline } => (
                "migration.force",
                ErrandKind::MoveDeadline {
                    deadline: *deadline,
                },
                act.reason.as_deref(),
            ),
            MigrationAct::Extend { deadline } => (
                "migration.extend",
                ErrandKind::MoveDeadline {
                    deadline: *deadline,
                },
                None,
            ),
            MigrationAct::Cancel | MigrationAct::Assign { .. } => {
                ("migration.cancel", ErrandKind::Cancel, None)
            }
        };
        let mut errands = Vec::new();
        for (wave, members) in alike {
            let wave = Some(wave);
            errands.extend(self.put_errands(
                &mut batch,
                wave,
                &kind,
                &members,
                reason,
                self.actor(),
            ));
        }
        self.audit_into(
            &mut batch,
            name,
            json!({ "devices": count, "digest": digest, "reason": act.reason }),
        );
        self.store().commit(batch).await?;
        Ok(ActDone {
            wave: None,
            errands,
            members: found.len(),
            blocked: found.len() - count,
        })
    }

    /// How far the proof of errands is. To be asked again until it is finished, or patience ends.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an errand that does not exist, the store's.
    pub async fn act_proof(&self, errands: &[ErrandId]) -> Result<ActProof, Error> {
        let mut proof = ActProof::default();
        for id in errands {
            let errand = self.errand(*id).await?.ok_or(Error::NotFound("errand"))?;
            proof.needs_person.extend(errand.needs_person.clone());
            if !errand.is_ended() {
                proof.next_at = Some(proof.next_at.map_or(errand.due, |at| at.min(errand.due)));
            }
            for member in &errand.members {
                let attempt = match member.attempt {
                    Some(id) => self.store().attempt(self.id(), id).await?,
                    None => None,
                };
                match outcome(&errand, member, attempt.as_ref()) {
                    Some(Ok(())) => proof.proved.push(member.serial.clone()),
                    Some(Err(why)) => {
                        proof.disagree.insert(member.serial.clone(), why);
                    }
                    None => proof.pending.push(member.serial.clone()),
                }
            }
        }
        proof.finished = proof.pending.is_empty();
        Ok(proof)
    }
}

/// What re-reading says of one member: as wanted, otherwise, or not yet.
fn outcome(
    errand: &Errand,
    member: &ErrandMember,
    attempt: Option<&Move>,
) -> Option<Result<(), String>> {
    let state = attempt.map(|a| &a.state);
    let refused = match &errand.state {
        ErrandState::Refused { why } => Some(why.clone()),
        _ => None,
    };
    let failed = errand
        .is_ended()
        .then(|| errand.failed.get(&member.serial).cloned())
        .flatten();
    match (&errand.kind, state) {
        (
            ErrandKind::Schedule { .. },
            Some(
                MoveState::Scheduled { .. }
                | MoveState::Offered { .. }
                | MoveState::Overdue { .. }
                | MoveState::Started { .. }
                | MoveState::Moving { .. }
                | MoveState::Stalled { .. }
                | MoveState::Settling { .. }
                | MoveState::Ended(Outcome::Migrated | Outcome::MigratedWithExceptions),
            ),
        )
        | (
            ErrandKind::Cancel | ErrandKind::Return { .. },
            Some(MoveState::Ended(Outcome::Cancelled | Outcome::Withdrawn)),
        ) => Some(Ok(())),
        (ErrandKind::Schedule { .. }, Some(MoveState::SubmitFailed { why, .. })) => {
            Some(Err(why.clone()))
        }
        (ErrandKind::Schedule { .. }, Some(MoveState::Cancelling { .. } | MoveState::Ended(_))) => {
            Some(Err("it was taken out meanwhile".to_owned()))
        }
        (
            ErrandKind::Cancel | ErrandKind::Return { .. },
            Some(
                MoveState::Started { .. }
                | MoveState::Moving { .. }
                | MoveState::Stalled { .. }
                | MoveState::Settling { .. }
                | MoveState::Ended(_),
            ),
        ) => Some(Err("it has begun: nothing was called back".to_owned())),
        (ErrandKind::Schedule { .. } | ErrandKind::Cancel | ErrandKind::Return { .. }, _) => {
            // A cancelled one may still be assigned back by an errand of its own.
            failed.or(refused).map(Err)
        }
        (
            ErrandKind::MoveDeadline { .. }
            | ErrandKind::Associate { .. }
            | ErrandKind::Disassociate { .. },
            _,
        ) => match (errand.is_ended(), failed.or(refused)) {
            (false, _) => None,
            (true, Some(why)) => Some(Err(why)),
            (true, None) => Some(Ok(())),
        },
    }
}

/// What stands against moving a deadline; `too` says whether the new one is too early or too late for the current.
fn against_moving(
    attempt: Option<&Move>,
    device: Option<&Device>,
    too: impl Fn(Timestamp) -> Option<String>,
) -> Vec<String> {
    let Some(attempt) = attempt else {
        return vec!["no migration of it is under way here".to_owned()];
    };
    match attempt.state {
        MoveState::Scheduled { .. } | MoveState::Offered { .. } | MoveState::Overdue { .. }
            if !begun(device) =>
        {
            let reading = device.and_then(|d| d.reading.as_ref());
            let shown = reading.and_then(|r| r.deadline);
            let current = shown
                .filter(|d| !same_deadline(*d, attempt.deadline))
                .unwrap_or(attempt.deadline);
            too(current).into_iter().collect()
        }
        MoveState::Planned | MoveState::Blocked { .. } | MoveState::Ready => {
            vec!["its wave is not submitted: change the plan".to_owned()]
        }
        MoveState::Submitting { .. } | MoveState::SubmitFailed { .. } => {
            vec!["it is not scheduled at Apple yet".to_owned()]
        }
        MoveState::Cancelling { .. } => vec!["it is being cancelled".to_owned()],
        _ => vec!["it has begun: its deadline no longer counts".to_owned()],
    }
}

fn begun(device: Option<&Device>) -> bool {
    let status = |r: &OrgReading| r.status == Some(MigrationStatus::Started);
    device.and_then(|d| d.reading.as_ref()).is_some_and(status)
}

/// Whether something of the attempt is at Apple, so that calling it back takes a request.
fn is_at_apple(attempt: &Move) -> bool {
    !matches!(
        attempt.state,
        MoveState::Planned
            | MoveState::Blocked { .. }
            | MoveState::Ready
            | MoveState::SubmitFailed { .. }
    )
}
