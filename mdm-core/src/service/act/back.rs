//! The return ticket: what can be undone for each device, with a what-if of its own. Before it has begun, its migration is called back and it is assigned to
//! its original again, which re-reading proves. In the hold, nothing: it is let through, and then somebody decides. Afterwards, a
//! new migration toward the service that it came from, with a deadline of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::Org;
use super::super::decision::Decision;
use super::super::ports::ActivityRequest;
use super::super::sync::append;
use super::super::wave::platform_of;
use super::super::what_if::MemberReport;
use super::plan::{begun, is_at_apple, no_longer_asked};
use super::{Act, ActDone, ActPlan, Found, Looked, PlannedRequest, nobody};
use crate::calendar::HOLD;
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::device::Leaving;
use crate::enrollment::EnrollmentState;
use crate::errand::{ErrandKind, ErrandMember, MOST_DEVICES};
use crate::error::Error;
use crate::filevault::KeyCustody;
use crate::ids::{DeviceId, Serial, WaveId};
use crate::migration::what_if::{
    Asked, BackFacts, Brings, CheckFinding, Forecaster, LossOf, Manifests, MemberFacts, Terms,
    WayBack, look_at_returns, look_back,
};
use crate::migration::{Event, Move, MoveState, SetUpState};
use crate::original::OriginalFacts;
use crate::project::{Project, Window};
use crate::sealed::SealedSecret;
use crate::store::Batch;

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

/// Devices that are looked at together.
const PAGE: usize = 500;

/// What the checks look at beside the device itself.
#[derive(Default)]
struct KnownBack {
    secrets: BTreeMap<DeviceId, Vec<SealedSecret>>,
    originals: BTreeMap<DeviceId, OriginalFacts>,
}

/// One device whose way back is looked at.
struct BackOf<'a> {
    found: &'a Found,
    back: &'a Back,
    project: Option<&'a Project>,
    known: &'a KnownBack,
    services: &'a [(String, String)],
    other_kinds: &'a BTreeMap<String, String>,
    deadline: Timestamp,
}

/// What a look at ways back found.
#[derive(Default)]
pub(super) struct BackLook {
    /// Which way each has; none for whom something stands against it.
    pub(super) ways: BTreeMap<Serial, Back>,
    /// Every check of each.
    pub(super) members: Vec<MemberReport>,
    /// What holds for all.
    pub(super) server: Vec<CheckFinding>,
    /// Apps that would be lost.
    pub(super) forecast: Forecaster,
    /// How many leave.
    leaving: u32,
    /// How many devices may be in a hold at once, by the strictest of their projects.
    capacity: Option<u32>,
}

impl Org {
    /// Which way back each device has, and everything that can be said of it. Who is blocked has none.
    pub(super) async fn look_back(
        &self,
        found: &mut [Found],
        (to, deadline): (Option<&str>, Option<Timestamp>),
    ) -> Result<BackLook, Error> {
        let ours = self.store().servers(self.id()).await?;
        let is_ours = |id: &str| ours.iter().any(|s| s.uuid.eq_ignore_ascii_case(id));
        if to.is_some_and(is_ours) {
            return Err(Error::bad_input(
                "to",
                "is a server entry of ours: nobody returns there",
            ));
        }
        let inventory = self.inventory().await?;
        let (services, other_kinds) = inventory
            .map(|i| (i.services, i.other_kinds))
            .unwrap_or_default();
        if let Some(to) = to
            && !services.is_empty()
            && !services.iter().any(|(id, _)| id.eq_ignore_ascii_case(to))
        {
            let problem = "is no service of the organisation; `mdmd business services` lists them";
            return Err(Error::bad_input("to", problem));
        }
        let now = self.now();
        let mut look = BackLook {
            forecast: Forecaster::new(None),
            ..BackLook::default()
        };
        let mut projects: BTreeMap<WaveId, Option<Project>> = BTreeMap::new();
        for chunk in found.chunks_mut(PAGE) {
            let known = self.known_of(chunk).await?;
            for found in chunk {
                let (back, wave) = self.way_back(found, to).await?;
                let back = match back {
                    Back::After(service) if is_ours(&service) => {
                        let why = "the service that it came from is ours: say where it returns to";
                        Back::None(why.to_owned())
                    }
                    back => back,
                };
                if matches!(back, Back::After(_)) && deadline.is_none() {
                    let problem =
                        "must say when Apple enforces the return of devices that are here";
                    return Err(Error::bad_input("deadline", problem));
                }
                let project = match wave {
                    Some(wave) => self.project_in(wave, &mut projects).await?,
                    None => None,
                };
                let of = BackOf {
                    found,
                    back: &back,
                    project: project.as_ref(),
                    known: &known,
                    services: &services,
                    other_kinds: &other_kinds,
                    deadline: deadline.unwrap_or(now),
                };
                let findings = self.checked_back(&of, &mut look);
                let rules = &self.organisation.settings.unknowns;
                let platform = found.device.as_ref().and_then(platform_of);
                let report = MemberReport::of(found.serial.clone(), platform, findings, rules);
                found.findings = report.against(rules);
                let goes = found.findings.is_empty();
                if let (Back::After(_), true) = (&back, goes) {
                    look.leaving += 1;
                    look.capacity = match (look.capacity, &project) {
                        (Some(least), Some(p)) => Some(least.min(p.capacity)),
                        (least, p) => least.or(p.as_ref().map(|p| p.capacity)),
                    };
                }
                let back = match goes {
                    true => back,
                    false => Back::None(found.findings.join("; ")),
                };
                look.ways.insert(found.serial.clone(), back);
                look.members.push(report);
            }
        }
        look.server = self
            .server_of_returns(&look, deadline.unwrap_or(now))
            .await?;
        Ok(look)
    }

    /// What the checks look at, of a page of devices with two statements.
    async fn known_of(&self, found: &[Found]) -> Result<KnownBack, Error> {
        let ids: Vec<DeviceId> = found
            .iter()
            .filter_map(|f| Some(f.device.as_ref()?.id))
            .collect();
        let mut known = KnownBack::default();
        for row in self.store().secrets_of(self.id(), &ids).await? {
            if let Some(device) = row.device {
                known.secrets.entry(device).or_default().push(row);
            }
        }
        for row in self.store().originals_of(self.id(), &ids).await? {
            known.originals.insert(row.id, row);
        }
        Ok(known)
    }

    /// The project of a wave, as long as it is open.
    async fn project_in(
        &self,
        wave: WaveId,
        known: &mut BTreeMap<WaveId, Option<Project>>,
    ) -> Result<Option<Project>, Error> {
        if let Some(project) = known.get(&wave) {
            return Ok(project.clone());
        }
        let project = match self.store().wave(self.id(), wave).await? {
            Some(row) => self.project_of(&row).await?,
            None => None,
        };
        let project = project.filter(|p| p.closed.is_none());
        known.insert(wave, project.clone());
        Ok(project)
    }

    fn checked_back(&self, of: &BackOf<'_>, look: &mut BackLook) -> Vec<CheckFinding> {
        let device = of.found.device.as_ref();
        let id = device.map(|d| d.id);
        let platform = device.and_then(platform_of);
        let original = id.and_then(|id| of.known.originals.get(&id));
        let held = id.and_then(|id| of.known.secrets.get(&id));
        let held = held.map_or(&[][..], Vec::as_slice);
        let zone = original.and_then(|o| o.time_zone.as_ref());
        let (any, brings) = (BTreeSet::new(), Brings::default());
        let nothing_met = BTreeMap::new();
        let project = of.project.map(|project| Terms {
            // The window is that of the way here: its end must not keep anybody from going back.
            window: Window::default(),
            calendar: &project.calendar,
            zone: zone.map(|told| &told.value),
            originals: &any,
            unmet: &[],
            met: &nothing_met,
            prerequisites: 0,
        });
        let now = self.now();
        let facts = MemberFacts {
            device,
            original,
            platform,
            runbook: None,
            brings: &brings,
            // What comes to it comes from the other service.
            manifests: &Manifests::default(),
            without: &BTreeSet::new(),
            destination: match of.back {
                Back::After(to) => to,
                Back::Before | Back::None(_) => "",
            },
            services: of.services,
            other_kinds: of.other_kinds,
            ours: &any,
            asked: Asked::Nothing,
            returning: false,
            in_other_wave: false,
            deadline: of.deadline,
            available_from: now,
            notice: self.organisation.settings.notice(),
            project,
            escrow: None,
            awaits: None,
            codes: None,
            old_key: None,
        };
        let back = BackFacts {
            way: match of.back {
                Back::Before => WayBack::Before,
                Back::After(_) => WayBack::After,
                Back::None(why) => WayBack::None(why),
            },
            custody: KeyCustody::of(held),
            locked: held
                .iter()
                .any(|r| r.confirmed.is_some() && r.replaced.is_none()),
        };
        if matches!(of.back, Back::After(_)) {
            // Only what it told us itself: what the other service once knew is no list of what it has now.
            let own = original.map(|o| {
                let mut own = o.clone();
                own.apps = None;
                own
            });
            look.forecast.add(&LossOf {
                serial: &of.found.serial,
                platform,
                original: own.as_ref(),
                runbook: None,
                licences: &BTreeSet::new(),
                tags: &BTreeSet::new(),
            });
        }
        look_back(&facts, &back, now)
    }

    async fn server_of_returns(
        &self,
        look: &BackLook,
        deadline: Timestamp,
    ) -> Result<Vec<CheckFinding>, Error> {
        if look.leaving == 0 {
            return Ok(Vec::new());
        }
        let mut used = self.deadlines_of_all().await?;
        used.add(deadline, HOLD, look.leaving);
        let most = used.most_at_once(&BTreeSet::from([(deadline, HOLD)]));
        let most = most.map_or(look.leaving, |(most, _)| most);
        let after = look.ways.values().filter_map(|back| match back {
            Back::After(to) => Some(to),
            Back::Before | Back::None(_) => None,
        });
        let mut services: BTreeMap<&String, usize> = BTreeMap::new();
        for to in after {
            *services.entry(to).or_default() += 1;
        }
        let requests: usize = services.values().map(|n| n.div_ceil(MOST_DEVICES)).sum();
        let facts = self.facts_of_requests(requests).await?;
        let now = self.now();
        Ok(look_at_returns(
            &facts,
            (most, look.capacity),
            deadline,
            now,
        ))
    }

    /// Its way back, and the wave by which it came.
    async fn way_back(
        &self,
        found: &Found,
        to: Option<&str>,
    ) -> Result<(Back, Option<WaveId>), Error> {
        let open = found.attempt.as_ref().map(|a| a.wave);
        let none = |why: &str| Ok((Back::None(why.to_owned()), open));
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
            ) if !begun(Some(device)) => return Ok((Back::Before, open)),
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
        let (mut came_from, mut came_by) = (None, None);
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
                came_by = Some(attempt.wave);
            }
        }
        let Some(service) = to.map(str::to_owned).or(came_from) else {
            return none("nobody knows which service it came from: say where it returns to");
        };
        Ok((Back::After(service), came_by))
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
        let deadline = deadline.unwrap_or(now);
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
            let count = before.len();
            sentences.push(format!(
                "{} the service that {} from.",
                no_longer_asked(count, ("stays with", "stay with")),
                agree(count, "it came", "they came")
            ));
        }
        if count > 0 {
            sentences.push(format!(
                "{} {} us for the service that {} from: {} may start at once and must by {deadline}; \
                 what we installed goes, apps stay as far as that service keeps them.",
                counted(count, "device"),
                agree(count, "leaves", "leave"),
                agree(count, "it came", "they came"),
                agree(count, "its user", "their users"),
            ));
        }
        let mut warnings = self.act_warnings(&requests).await?;
        let rules = &self.organisation.settings.unknowns;
        warnings.extend(looked.return_warnings(rules));
        let devices = before.iter().filter_map(|f| f.device.as_ref());
        requests.extend(self.plan_taking_back(devices).await?);
        let findings = looked.found.iter().filter(|f| !f.findings.is_empty());
        let findings = findings.map(|f| (f.serial.clone(), f.findings.clone()));
        let checks: Vec<_> = looked
            .checks
            .iter()
            .map(|m| (&m.serial, m.bound(rules)))
            .collect();
        let bound = json!({
            "back": after.keys().collect::<Vec<_>>(), "deadline": deadline_of(count, deadline), "checks": checks,
        });
        let plan = ActPlan::new(
            sentences.join(" "),
            requests,
            findings.collect(),
            warnings,
            looked.found.len(),
            &bound,
        );
        Ok(plan
            .losing((count > 0).then(|| looked.lost.clone()))
            .checked(looked.checks.clone(), looked.server.clone())
            .against_all(looked.against_all.clone()))
    }

    pub(super) async fn give_back(
        &self,
        act: &Act,
        looked: &Looked,
        deadline: Option<Timestamp>,
        digest: &str,
        mut batch: Batch,
    ) -> Result<ActDone, Error> {
        let now = self.now();
        let deadline = deadline.unwrap_or(now);
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
                    batch.put(self.entry(
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
            left_out: BTreeMap::new(),
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
