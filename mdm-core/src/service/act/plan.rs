//! What an act would do, and what stands against it: reads, never writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::super::Org;
use super::super::licences::store_apps;
use super::super::ports::ActivityRequest;
use super::super::wave::{latest_deadline, platform_of, sentence};
use super::super::what_if::{Detail, Question, found_now};
use super::super::worker::same_deadline;
use super::back::BackLook;
use super::{Act, ActPlan, Found, Looked, MigrationAct, PlannedRequest, Seen};
use crate::check::{Check, CheckResult};
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::device::{Device, MigrationStatus, OrgReading, Platform};
use crate::errand::MOST_DEVICES;
use crate::error::{Error, PortError};
use crate::ids::Serial;
use crate::migration::what_if::CheckFinding;
use crate::migration::{Move, MoveState, PinnedRunbook};
use crate::project::Project;

/// A reading this old is renewed before an act is planned.
const STALE: Duration = Duration::from_secs(15 * 60);

impl Org {
    pub(super) async fn look_into(&self, act: &Act) -> Result<Looked, Error> {
        if act.serials.is_empty() {
            return Err(Error::bad_input("serials", "is empty"));
        }
        let unique: BTreeSet<&Serial> = act.serials.iter().collect();
        if unique.len() != act.serials.len() {
            return Err(Error::bad_input("serials", "a serial number occurs twice"));
        }
        sentence("reason", act.reason.as_deref().unwrap_or_default(), false)?;
        let forced = matches!(act.what, MigrationAct::Force { .. });
        if forced && act.reason.as_deref().is_none_or(|r| r.trim().is_empty()) {
            return Err(Error::bad_input(
                "reason",
                "must say why time is taken away from people",
            ));
        }
        possible(&act.what, self.now())?;
        let serials: Vec<Serial> = unique.into_iter().cloned().collect();
        let mut devices = self.devices_of(&serials).await?;
        let stale = self.not_read(&serials, &devices).await?;
        if !stale.is_empty() {
            // A reading of the lists that is under way, or has just ended, is not begun anew by each question.
            let now = self.now();
            let begun = self.inventory().await?.and_then(|i| {
                let ended = i.complete.filter(|at| i.is_recent(*at, now));
                let by_lists = stale.len() > i.few();
                i.begun().or(ended).filter(|_| by_lists)
            });
            let read = self.read_since(&stale, begun.unwrap_or(now)).await?;
            devices = self.devices_of(&serials).await?;
            let known: BTreeSet<Serial> = read.into_iter().map(|(s, _)| s).collect();
            let left = self.not_read(&stale, &devices).await?;
            if left.iter().any(|s| known.contains(s)) {
                return Err(PortError::retry("the devices are being read").into());
            }
        }
        let mut projects = Vec::new();
        if matches!(act.what, MigrationAct::Assign { .. }) {
            // Read before they are looked at: what changes in between is not what was looked at.
            projects = self.open_versions().await?;
        }
        // Nothing is asked of Apple that was not looked at with every check.
        let what_if = match &act.what {
            MigrationAct::Assign {
                destination,
                deadline,
                available_from,
                runbooks,
            } => {
                let question = Question {
                    serials: serials.clone(),
                    destination: *destination,
                    deadline: *deadline,
                    available_from: available_from.unwrap_or_else(|| self.now()),
                    runbooks: runbooks.clone(),
                    undated: false,
                };
                Some(Box::pin(self.look_at(&question, Detail::Problems)).await?)
            }
            _ => None,
        };
        let rules = &self.organisation.settings.unknowns;
        let mut against = what_if.iter().flat_map(|w| w.blockers(rules)).collect();
        let mut all = Vec::new();
        for serial in serials {
            let device = devices.remove(&serial);
            let attempt = match device.as_ref().and_then(|d| d.open_move) {
                Some(id) => self.store().attempt(self.id(), id).await?,
                None => None,
            };
            let findings = findings(
                act,
                &serial,
                &mut against,
                device.as_ref(),
                attempt.as_ref(),
            );
            all.push(Found {
                serial,
                device,
                attempt,
                findings,
            });
        }
        let (mut against_all, mut warnings, mut aside) = (Vec::new(), Vec::new(), Vec::new());
        if let MigrationAct::Extend { deadline } = &act.what {
            warnings = self.look_at_extension(&mut all, *deadline).await?;
        }
        if let Some(report) = &what_if {
            against_all = report.against_all(rules);
            // The others are said of the requests and licences of this plan itself.
            let said = report.warnings_but(rules, &[Check::PostBudget, Check::AppsLicences]);
            for warning in said {
                match warning.of_the_plan {
                    true => warnings.push(warning.line),
                    false => aside.push(warning.line),
                }
            }
            warnings.extend(self.projects_off(&all).await?);
        }
        let mut look = BackLook::default();
        if let MigrationAct::Return { to, deadline } = &act.what {
            let whither = (to.as_deref(), *deadline);
            look = Box::pin(self.look_back(&mut all, whither)).await?;
            let blocks = |f: &&CheckFinding| f.counts_as(rules, None) == CheckResult::Block;
            let blocking = look.server.iter().filter(blocks);
            against_all.extend(blocking.map(CheckFinding::line));
        }
        let seen = what_if.map(|report| Seen {
            bound: report.bound(rules),
            found: found_now(&report),
            forecast: report.forecast,
        });
        Ok(Looked {
            found: all,
            projects,
            against_all,
            warnings,
            aside,
            seen,
            back: look.ways,
            checks: look.members,
            server: look.server,
            lost: look.forecast.finish(),
        })
    }

    /// Projects that nobody has turned on, and whose devices these are.
    async fn projects_off(&self, found: &[Found]) -> Result<Vec<String>, Error> {
        let mut off = self.projects().await?;
        off.retain(|project| !project.on && project.closed.is_none());
        if off.is_empty() {
            return Ok(Vec::new());
        }
        let servers = self.store().servers(self.id()).await?;
        let ours: BTreeSet<String> = servers.into_iter().map(|s| s.uuid).collect();
        let from = |found: &Found| {
            found
                .device
                .as_ref()?
                .reading
                .as_ref()?
                .assigned_server
                .clone()
        };
        let from: Vec<String> = found.iter().filter_map(from).collect();
        let of = |project: &Project| {
            let leaves = |server: &&String| project.leaves(server, &ours);
            let count = from.iter().filter(leaves).count();
            (count > 0).then(|| {
                format!(
                    "switch: {} {} at a service that {} is to leave, and that project is off: this goes past it",
                    counted(count, "device"),
                    agree(count, "is", "are"),
                    project.name
                )
            })
        };
        Ok(off.iter().filter_map(of).collect())
    }

    /// Which of these were not read, or so long ago that a plan should not rest on it.
    async fn not_read(
        &self,
        serials: &[Serial],
        devices: &BTreeMap<Serial, Device>,
    ) -> Result<Vec<Serial>, Error> {
        let inventory = self.inventory().await?;
        let now = self.now();
        let fresh = |r: &OrgReading| match &inventory {
            Some(inventory) => inventory.is_recent(r.seen, now),
            None => now.since(r.seen) <= STALE,
        };
        let stale = |serial: &&Serial| {
            let reading = devices.get(*serial).and_then(|d| d.reading.as_ref());
            !reading.is_some_and(|r| fresh(r) && r.is_young(r.seen))
        };
        Ok(serials.iter().filter(stale).cloned().collect())
    }

    /// What a plan rests on that is older than a moment, because the lists take long.
    async fn read_long_ago(&self, going: &[&Found]) -> Result<Option<String>, Error> {
        let now = self.now();
        let seen = |f: &&Found| Some(f.device.as_ref()?.reading.as_ref()?.seen);
        let oldest = going.iter().filter_map(seen).min();
        if oldest.is_none_or(|at| now.since(at) <= STALE) {
            return Ok(None);
        }
        let inventory = self.inventory().await?;
        Ok(inventory.and_then(|i| {
            let (begun, ended) = (i.complete?, i.ended?);
            Some(format!(
                "what Apple says of the devices was read from {begun} to {ended}: so long the organisation's lists take; \
                 each device is read again before anything is sent"
            ))
        }))
    }

    pub(in crate::service) async fn devices_of(
        &self,
        serials: &[Serial],
    ) -> Result<BTreeMap<Serial, Device>, Error> {
        let mut all = BTreeMap::new();
        for chunk in serials.chunks(1000) {
            for device in self.store().devices_by_serial(self.id(), chunk).await? {
                all.insert(device.serial.clone(), device);
            }
        }
        Ok(all)
    }

    pub(super) async fn plan_of(&self, act: &Act, looked: &Looked) -> Result<ActPlan, Error> {
        if let MigrationAct::Return { deadline, .. } = &act.what {
            return self.plan_back(looked, *deadline).await;
        }
        let (now, found) = (self.now(), &looked.found);
        let going: Vec<&Found> = found.iter().filter(|f| f.findings.is_empty()).collect();
        let (request, consequence, bound) = match &act.what {
            MigrationAct::Assign {
                destination,
                deadline,
                available_from,
                runbooks,
            } => {
                let server = self
                    .server_entry(*destination)
                    .await?
                    .ok_or(Error::NotFound("server entry"))?;
                let revisions: BTreeMap<Platform, i64> =
                    runbooks.iter().map(|(p, r)| (*p, r.content_id())).collect();
                let count = going.len();
                let consequence = format!(
                    "{} {} {} management service for {}: {} may start at once and must by {deadline}; \
                     what the old service installed goes, apps stay as far as the runbook keeps them.",
                    counted(count, "device"),
                    agree(count, "leaves", "leave"),
                    agree(count, "its", "their"),
                    server.name,
                    agree(count, "its user", "their users"),
                );
                let request = ActivityRequest::AssignWithDeadline {
                    server: server.uuid,
                    deadline: *deadline,
                };
                let bound = looked.seen.as_ref().map(|seen| &seen.bound);
                (
                    request,
                    consequence,
                    json!([available_from, revisions, bound]),
                )
            }
            MigrationAct::Extend { deadline } => (
                ActivityRequest::UpdateDeadline {
                    deadline: *deadline,
                    force: None,
                },
                format!(
                    "{} {} until {deadline}.",
                    counted(going.len(), "user"),
                    agree(going.len(), "gets", "get")
                ),
                json!([]),
            ),
            MigrationAct::Force { deadline } => (
                ActivityRequest::UpdateDeadline {
                    deadline: *deadline,
                    force: act.reason.clone(),
                },
                if *deadline <= now {
                    format!(
                        "Earlier deadline: {} can no longer postpone.",
                        these(going.len())
                    )
                } else {
                    format!(
                        "Earlier deadline: {} can postpone until {deadline} only.",
                        these(going.len())
                    )
                },
                json!([act.reason]),
            ),
            MigrationAct::Cancel | MigrationAct::Return { .. } => (
                ActivityRequest::Cancel,
                format!(
                    "{} the service that {} from.",
                    no_longer_asked(going.len(), ("returns to", "return to")),
                    agree(going.len(), "it came", "they came")
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
        let mut warnings = self.act_warnings(&requests).await?;
        warnings.extend(self.read_long_ago(&going).await?);
        warnings.extend(looked.warnings.iter().cloned());
        match &act.what {
            MigrationAct::Assign { runbooks, .. } => {
                let with_runbook = going.iter().filter_map(|found| {
                    let device = found.device.as_ref()?;
                    Some((device, runbooks.get(&platform_of(device)?)?))
                });
                let with_runbook: Vec<_> = with_runbook.collect();
                let first = self.at_stake_of(&with_runbook).await?;
                let lacking = lacking(&going, runbooks);
                let (giving, short) = self.plan_giving(lacking, &first).await?;
                requests.extend(giving);
                warnings.extend(short);
            }
            MigrationAct::Cancel => {
                let devices = going.iter().filter_map(|f| f.device.as_ref());
                requests.extend(self.plan_taking_back(devices).await?);
            }
            MigrationAct::Extend { .. }
            | MigrationAct::Force { .. }
            | MigrationAct::Return { .. } => {}
        }
        let findings = found
            .iter()
            .filter(|f| !f.findings.is_empty())
            .map(|f| (f.serial.clone(), f.findings.clone()))
            .collect();
        Ok(ActPlan::new(
            consequence,
            requests,
            findings,
            warnings,
            found.len(),
            &bound,
        )
        .saying(&looked.aside)
        .losing(looked.seen.as_ref().map(|seen| seen.forecast.clone()))
        .against_all(looked.against_all.clone()))
    }

    pub(super) async fn act_warnings(
        &self,
        requests: &[PlannedRequest],
    ) -> Result<Vec<String>, Error> {
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
}

/// What stands against the act for one device; `against` has what the what-if found.
fn findings(
    act: &Act,
    serial: &Serial,
    against: &mut BTreeMap<Serial, Vec<String>>,
    device: Option<&Device>,
    attempt: Option<&Move>,
) -> Vec<String> {
    match &act.what {
        MigrationAct::Assign { .. } => against.remove(serial).unwrap_or_default(),
        // Looked at with everything that its way back takes.
        MigrationAct::Return { .. } => Vec::new(),
        MigrationAct::Extend { deadline } => against_moving(attempt, device, |current| {
            (*deadline <= current).then(|| {
                format!("its deadline is {current} already: an earlier one must be forced")
            })
        }),
        MigrationAct::Force { deadline } => against_moving(attempt, device, |current| {
            if *deadline >= current {
                return Some(format!(
                    "its deadline is {current} already: a later one is an extension"
                ));
            }
            // What is not offered yet has no user who could be hurried, and its profile of ours is not there before.
            let waits = |m: &&Move| matches!(m.state, MoveState::Scheduled { .. });
            let offer = attempt.filter(waits)?.available_from;
            (*deadline <= offer).then(|| {
                format!("it is offered from {offer} on only: give a deadline after that, or withdraw it and plan it anew")
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

/// The apps of its platform's runbook that each device lacks, as far as is known.
fn lacking(
    going: &[&Found],
    runbooks: &BTreeMap<Platform, PinnedRunbook>,
) -> Vec<(Serial, BTreeSet<u64>)> {
    let mut lacking = Vec::new();
    for found in going {
        let Some(device) = &found.device else {
            continue;
        };
        let Some(runbook) = platform_of(device).and_then(|p| runbooks.get(&p)) else {
            continue;
        };
        let held = |app: &u64| device.licences.iter().any(|l| l.app == *app);
        let apps = store_apps(runbook).into_iter().map(|(app, _)| app);
        let apps: BTreeSet<u64> = apps.filter(|app| !held(app)).collect();
        if !apps.is_empty() {
            lacking.push((found.serial.clone(), apps));
        }
    }
    lacking
}

/// A deadline that Apple takes for no device at all is a mistake of who gave it.
fn possible(act: &MigrationAct, now: Timestamp) -> Result<(), Error> {
    let (deadline, may_have_passed) = match act {
        MigrationAct::Assign { deadline, .. } | MigrationAct::Extend { deadline } => {
            (*deadline, false)
        }
        MigrationAct::Force { deadline } => (*deadline, true),
        MigrationAct::Return {
            deadline: Some(deadline),
            ..
        } => (*deadline, false),
        MigrationAct::Cancel | MigrationAct::Return { .. } => return Ok(()),
    };
    let latest = latest_deadline(now);
    if deadline <= now && !may_have_passed {
        return Err(Error::bad_input("deadline", "has passed"));
    }
    if deadline > latest {
        let problem = format!("is later than {latest}, the end of Apple's 90 days");
        return Err(Error::bad_input("deadline", problem));
    }
    if let MigrationAct::Assign {
        available_from: Some(from),
        ..
    } = act
        && *from > deadline
    {
        return Err(Error::bad_input(
            "available_from",
            "is later than the deadline",
        ));
    }
    Ok(())
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

pub(super) fn begun(device: Option<&Device>) -> bool {
    let status = |r: &OrgReading| r.status == Some(MigrationStatus::Started);
    device.and_then(|d| d.reading.as_ref()).is_some_and(status)
}

/// Whether something of the attempt is at Apple, so that calling it back takes a request.
pub(super) const fn is_at_apple(attempt: &Move) -> bool {
    !attempt.is_planned()
}

/// Those whose time is taken away, in words.
fn these(count: usize) -> String {
    match count {
        1 => "this user".to_owned(),
        count => format!("these {count} users"),
    }
}

/// What becomes of those who are called back before they began; `go` is the word for one device, and that for several.
pub(super) fn no_longer_asked(count: usize, go: (&str, &str)) -> String {
    format!(
        "{} {} no longer asked to migrate; {} {}",
        counted(count, "user"),
        agree(count, "is", "are"),
        agree(count, "its device", "their devices"),
        agree(count, go.0, go.1)
    )
}
