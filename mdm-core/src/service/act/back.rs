//! The return ticket: what can be undone for each device. Before it has begun, its migration is called back and it is assigned to
//! its original again, which re-reading proves. In the hold, nothing: it is let through, and then somebody decides. Afterwards, a
//! new migration toward the service that it came from, with a deadline of its own.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::Org;
use super::super::decision::Decision;
use super::super::ports::ActivityRequest;
use super::super::sync::append;
use super::plan::{begun, is_at_apple};
use super::{Act, ActDone, ActPlan, Found, Looked, PlannedRequest, nobody};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::device::{Device, Leaving, MigrationStatus};
use crate::enrollment::EnrollmentState;
use crate::errand::{ErrandKind, ErrandMember, MOST_DEVICES};
use crate::error::Error;
use crate::filevault::KeyCustody;
use crate::ids::{AuditId, Serial, WaveId};
use crate::migration::{Event, Move, MoveState, SetUpState};

/// Apple migrates systems from this one on.
const OLDEST: u64 = 26;

/// Where the way back of a device leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Back {
    /// It has not begun: its migration is called back.
    Before,
    /// It is here: a new migration, to this service.
    After(String),
    /// There is none now; the sentence says why.
    None(String),
}

impl Org {
    /// Which way back each device has; findings of those that have none.
    pub(super) async fn look_back(
        &self,
        found: &mut [Found],
        to: Option<&str>,
    ) -> Result<BTreeMap<Serial, Back>, Error> {
        let ours = self.store().servers(self.id()).await?;
        let is_ours = |id: &str| ours.iter().any(|s| s.uuid.eq_ignore_ascii_case(id));
        if to.is_some_and(is_ours) {
            return Err(Error::bad_input(
                "to",
                "is a server entry of ours: nobody returns there",
            ));
        }
        let known = self.inventory().await?.map(|i| i.services);
        let known = known.unwrap_or_default();
        if let Some(to) = to
            && !known.is_empty()
            && !known.iter().any(|(id, _)| id.eq_ignore_ascii_case(to))
        {
            let problem = "is no service of the organisation; `mdmd business services` lists them";
            return Err(Error::bad_input("to", problem));
        }
        let mut ways = BTreeMap::new();
        for found in found {
            let back = self.way_back(found, to).await?;
            let back = match back {
                Back::After(service) if is_ours(&service) => {
                    let why = "the service that it came from is ours: say where it returns to";
                    Back::None(why.to_owned())
                }
                back => back,
            };
            if let Back::None(why) = &back {
                found.findings.push(why.clone());
            }
            ways.insert(found.serial.clone(), back);
        }
        Ok(ways)
    }

    async fn way_back(&self, found: &Found, to: Option<&str>) -> Result<Back, Error> {
        let none = |why: &str| Ok(Back::None(why.to_owned()));
        let Some(device) = &found.device else {
            return none("it is not known here");
        };
        const UNDER_WAY: &str =
            "it is on its way here: nothing can be taken back now; let it finish, then decide";
        match found.attempt.as_ref().map(|a| &a.state) {
            Some(
                MoveState::Planned
                | MoveState::Blocked { .. }
                | MoveState::Ready
                | MoveState::SubmitFailed { .. }
                | MoveState::Submitting { .. }
                | MoveState::Scheduled { .. }
                | MoveState::Offered { .. }
                | MoveState::Overdue { .. },
            ) if !begun(Some(device)) => return Ok(Back::Before),
            Some(MoveState::Cancelling { .. }) => return none("it is being cancelled already"),
            Some(MoveState::Settling { .. }) => {
                return none(
                    "what it has is being proved after its release: decide when that has ended",
                );
            }
            Some(_) => return none(UNDER_WAY),
            None => {}
        }
        let enrolments = self
            .store()
            .enrollments_of_device(self.id(), device.id)
            .await?;
        let newest = enrolments.last();
        if newest.is_none_or(|e| e.state != EnrollmentState::Enrolled) {
            return none("it is not enrolled here: there is nothing to return from");
        }
        let mut came_from = None;
        for (at, enrolment) in enrolments.iter().rev().enumerate() {
            let Some(set_up) = self.store().set_up_of(self.id(), enrolment.id).await? else {
                continue;
            };
            if at == 0
                && !matches!(
                    set_up.state,
                    SetUpState::Ended(_) | SetUpState::Proving { .. }
                )
            {
                return none(UNDER_WAY);
            }
            if came_from.is_none()
                && let Some(id) = set_up.move_id
                && let Some(attempt) = self.store().attempt(self.id(), id).await?
            {
                came_from = attempt.original_server;
            }
        }
        let Some(service) = to.map(str::to_owned).or(came_from) else {
            return none("nobody knows which service it came from: say where it returns to");
        };
        Ok(match against(device, &service) {
            Some(why) => Back::None(why),
            None => Back::After(service),
        })
    }

    pub(super) async fn plan_back(
        &self,
        looked: &Looked,
        deadline: Option<Timestamp>,
    ) -> Result<ActPlan, Error> {
        let now = self.now();
        let (mut before, mut after) = (Vec::new(), BTreeMap::<&str, Vec<&Found>>::new());
        for found in &looked.found {
            match looked.back.get(&found.serial) {
                Some(Back::Before) => before.push(found),
                Some(Back::After(to)) => after.entry(to).or_default().push(found),
                _ => {}
            }
        }
        let deadline = match (after.is_empty(), deadline) {
            (false, None) => {
                let problem = "must say when Apple enforces the return of devices that are here";
                return Err(Error::bad_input("deadline", problem));
            }
            (_, deadline) => deadline.unwrap_or(now),
        };
        let mut requests = Vec::new();
        let mut ask = |request: &ActivityRequest, serials: &[Serial]| -> Result<(), Error> {
            for serials in serials.chunks(MOST_DEVICES) {
                let body = request.body(serials, now)?;
                let path = "/v1/orgDeviceActivities";
                requests.push(PlannedRequest::new("POST", path, body, serials.len()));
            }
            Ok(())
        };
        let at_apple = |f: &&&Found| f.attempt.as_ref().is_some_and(is_at_apple);
        let called: Vec<Serial> = before
            .iter()
            .filter(at_apple)
            .map(|f| f.serial.clone())
            .collect();
        ask(&ActivityRequest::Cancel, &called)?;
        for (to, found) in &after {
            let server = (*to).to_owned();
            let request = ActivityRequest::AssignWithDeadline { server, deadline };
            let serials: Vec<Serial> = found.iter().map(|f| f.serial.clone()).collect();
            ask(&request, &serials)?;
        }
        let count = after.values().map(Vec::len).sum::<usize>();
        let mut sentences = Vec::new();
        if !before.is_empty() {
            sentences.push(format!(
                "{} users are no longer asked to migrate; their devices stay with the service that they came from.",
                before.len()
            ));
        }
        if count > 0 {
            sentences.push(format!(
                "{count} devices leave us for the service that they came from: their users may start at once and must by {deadline}; \
                 what we installed goes, apps stay as far as that service keeps them."
            ));
        }
        let mut warnings = self.act_warnings(&requests).await?;
        if count > 0 {
            warnings.extend(self.stays_behind(&after).await?);
        }
        let devices = before.iter().filter_map(|f| f.device.as_ref());
        requests.extend(self.plan_taking_back(devices).await?);
        let findings = looked.found.iter().filter(|f| !f.findings.is_empty());
        let findings = findings.map(|f| (f.serial.clone(), f.findings.clone()));
        let bound = json!({ "back": after.keys().collect::<Vec<_>>(), "deadline": deadline_of(count, deadline) });
        Ok(ActPlan::new(
            sentences.join(" "),
            requests,
            findings.collect(),
            warnings,
            looked.found.len(),
            &bound,
        ))
    }

    /// What somebody must see to at the other side, because it stays here.
    async fn stays_behind(
        &self,
        after: &BTreeMap<&str, Vec<&Found>>,
    ) -> Result<Vec<String>, Error> {
        let (mut keys, mut codes) = (0, 0);
        let devices: Vec<_> = after
            .values()
            .flatten()
            .filter_map(|f| f.device.as_ref().map(|d| d.id))
            .collect();
        for ids in devices.chunks(500) {
            let mut held = BTreeMap::<_, Vec<_>>::new();
            for row in self.store().secrets_of(self.id(), ids).await? {
                held.entry(row.device).or_default().push(row);
            }
            for rows in held.values() {
                keys += usize::from(KeyCustody::of(rows) == KeyCustody::New);
                let confirmed = rows
                    .iter()
                    .any(|r| r.confirmed.is_some() && r.replaced.is_none());
                codes += usize::from(confirmed);
            }
        }
        let mut warnings = vec![
            "apps that the other service does not take over before it releases a device go with their data".to_owned(),
        ];
        if keys > 0 {
            warnings.push(format!(
                "recovery keys of {keys} Macs are here and stay valid until the other service has new ones: hand them over"
            ));
        }
        if codes > 0 {
            warnings.push(format!(
                "{codes} devices have a lock of ours, whose codes are here: Apple takes the lock away when they leave"
            ));
        }
        Ok(warnings)
    }

    pub(super) async fn give_back(
        &self,
        act: &Act,
        looked: &Looked,
        deadline: Option<Timestamp>,
        digest: &str,
    ) -> Result<ActDone, Error> {
        let now = self.now();
        let deadline = deadline.unwrap_or(now);
        let before = looked.back.values().filter(|back| **back == Back::Before);
        let mut batch = self.calls_back(before.count()).await?;
        let mut calling: BTreeMap<WaveId, Vec<ErrandMember>> = BTreeMap::new();
        let mut leaving: BTreeMap<&str, Vec<ErrandMember>> = BTreeMap::new();
        let mut count = 0;
        for found in &looked.found {
            match (looked.back.get(&found.serial), &found.device) {
                (Some(Back::Before), _) => {
                    let Some(attempt) = found.attempt.clone() else {
                        continue;
                    };
                    count += 1;
                    let (wave, member) = (attempt.wave, member_of(&attempt));
                    let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
                    d.gathered = Some(Vec::new());
                    self.load_for_attempt(&mut d, attempt).await?;
                    d.tell_move(&Event::CancelAsked);
                    if d.gathered.as_ref().is_some_and(|g| !g.is_empty()) {
                        calling.entry(wave).or_default().push(member);
                    }
                    append(&mut batch, d.into_batch());
                }
                (Some(Back::After(to)), Some(device)) => {
                    count += 1;
                    let mut device = device.clone();
                    leaving.entry(to).or_default().push(ErrandMember {
                        device: device.id,
                        serial: device.serial.clone(),
                        attempt: None,
                    });
                    batch.put(AuditEntry::new(
                        self.id(),
                        AuditId(self.ids().next(now)),
                        now,
                        self.actor(),
                        "return.asked",
                        Some(device.id),
                        json!({ "to": to, "deadline": deadline, "reason": act.reason }),
                    ));
                    device.leaving = Some(Leaving {
                        to: to.clone(),
                        deadline,
                        asked: now,
                        by: self.actor().to_owned(),
                    });
                    batch.put(device);
                }
                _ => {}
            }
        }
        if count == 0 {
            return Err(nobody());
        }
        let (reason, actor) = (act.reason.as_deref(), self.actor());
        let mut errands = Vec::new();
        for (wave, members) in calling {
            let kind = ErrandKind::Cancel;
            errands.extend(self.put_errands(
                &mut batch,
                Some(wave),
                &kind,
                &members,
                reason,
                actor,
            ));
        }
        for (to, members) in leaving {
            let server = to.to_owned();
            let kind = ErrandKind::Schedule { server, deadline };
            errands.extend(self.put_errands(&mut batch, None, &kind, &members, reason, actor));
        }
        let detail = json!({ "devices": count, "digest": digest, "reason": act.reason });
        self.audit_into(&mut batch, "migration.return", detail);
        self.store().commit(batch).await?;
        Ok(ActDone {
            wave: None,
            errands,
            members: looked.found.len(),
            blocked: looked.found.len() - count,
            approval: None,
        })
    }
}

fn member_of(attempt: &Move) -> ErrandMember {
    ErrandMember {
        device: attempt.device,
        serial: attempt.serial.clone(),
        attempt: Some(attempt.id),
    }
}

/// A plan that calls back only does not depend on a deadline.
fn deadline_of(count: usize, deadline: Timestamp) -> Option<Timestamp> {
    (count > 0).then_some(deadline)
}

/// What stands against a new migration of a device that is here.
fn against(device: &Device, to: &str) -> Option<String> {
    let reading = device.reading.as_ref()?;
    let stays = reading.assigned_server.as_deref() == Some(to);
    let old = device
        .facts
        .os_version
        .as_deref()
        .and_then(|v| v.split('.').next()?.parse::<u64>().ok());
    let why = if reading.unknown {
        "the organisation does not have it any more"
    } else if stays {
        "it is assigned to that service already"
    } else if reading.capable == Some(false) {
        "Apple says that it cannot migrate"
    } else if matches!(
        reading.status,
        Some(MigrationStatus::Requested | MigrationStatus::Started)
    ) {
        "another migration of it is pending"
    } else if old.is_some_and(|major| major < OLDEST) {
        "its system is older than 26 and cannot migrate"
    } else {
        return None;
    };
    Some(why.to_owned())
}
