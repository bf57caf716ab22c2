//! Acts on migrations for a list of devices: planned with the exact requests and their consequence, accepted by digest, done
//! as an ad-hoc wave and its errands, proved by re-reading. No second path beside the waves.

mod back;
mod confirmed;
mod extend;
mod perform;
mod plan;
mod proof;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

pub(super) use confirmed::CallsBack;

use super::Org;
use super::wave::check_digest;
use super::what_if::{MemberReport, Since};
use crate::check::{Check, CheckResult, Unknowns};
use crate::clock::Timestamp;
use crate::counted::counted;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::ids::{ApprovalId, ErrandId, ProjectId, Serial, ServerId, WaveId};
use crate::migration::what_if::{CheckFinding, Forecast};
use crate::migration::{Event, Move, PinnedRunbook};
use crate::project::Found as WhatWasFound;
use crate::store::Batch;

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
    /// The return ticket: call back what has not begun, and start a migration of what is here toward the service that it came
    /// from. What is in its hold is left alone.
    Return {
        /// When Apple enforces it; not needed where every migration is only called back.
        deadline: Option<Timestamp>,
        /// Apple's identifier of the service, for devices that came from elsewhere or from nowhere.
        to: Option<String>,
    },
}

/// One request as it would be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ActPlan {
    /// What happens to people, in one sentence.
    pub consequence: String,
    /// The exact requests.
    pub requests: Vec<PlannedRequest>,
    /// What stands against single devices: they are left out.
    pub findings: BTreeMap<Serial, Vec<String>>,
    /// What stands against all of it: nothing is sent before that is mended.
    pub against_all: Vec<String>,
    /// What does not stand against it and should be known.
    pub warnings: Vec<String>,
    /// Devices that the act is for.
    pub members: usize,
    /// Of these, devices that are left out.
    pub blocked: usize,
    /// Apps that would be lost with their data, of devices that start to migrate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// What has come and gone since somebody last looked at exactly these devices, of devices that start to migrate; none before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// Every check of each device that is to return.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<MemberReport>,
    /// What holds for all that are to return.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server: Vec<CheckFinding>,
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
            against_all: Vec::new(),
            warnings,
            members,
            forecast: None,
            since: None,
            checks: Vec::new(),
            server: Vec::new(),
            digest,
        }
    }

    /// The same, with the table of what was looked at.
    fn checked(mut self, checks: Vec<MemberReport>, server: Vec<CheckFinding>) -> Self {
        (self.checks, self.server) = (checks, server);
        self
    }

    /// The same, with what should be known and is no part of what is accepted.
    fn saying(mut self, aside: &[String]) -> Self {
        self.warnings.extend_from_slice(aside);
        self
    }

    /// The same, with the apps that would be lost.
    fn losing(mut self, forecast: Option<Forecast>) -> Self {
        self.forecast = forecast;
        self
    }

    /// The same, with what stands against all of it. Nothing is accepted of such a plan, so that no digest is bound to it.
    pub(super) fn against_all(mut self, against_all: Vec<String>) -> Self {
        self.against_all = against_all;
        self
    }

    pub(super) fn must_be(&self, digest: &str) -> Result<(), Error> {
        check_digest(digest)?;
        if !self.against_all.is_empty() {
            return Err(Error::Precondition(self.against_all.join("; ")));
        }
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Of these, devices that were left out because of what has changed between the one who asked and the one who confirmed, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<Serial, Vec<String>>,
    /// Nothing was begun: another person must confirm this first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
}

/// How far the proof of an act is: by re-reading, never by what Apple said of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// What an act would meet.
#[derive(Clone)]
struct Looked {
    found: Vec<Found>,
    /// Open projects with their versions, where devices start to migrate that may go past them.
    projects: Vec<(ProjectId, i64)>,
    /// What stands against all of it.
    against_all: Vec<String>,
    /// What should be known.
    warnings: Vec<String>,
    /// What should be known, and binds no acceptance.
    aside: Vec<String>,
    /// What every check found, for devices that start to migrate.
    seen: Option<Seen>,
    /// Which way back each device has, for a return.
    back: BTreeMap<Serial, back::Back>,
    /// Every check of each device, for a return.
    checks: Vec<MemberReport>,
    /// What holds for all of them, for a return.
    server: Vec<CheckFinding>,
    /// Apps that would be lost, for a return.
    lost: Forecast,
}

impl Looked {
    /// What should be known of devices that return, each sentence once with how many it is about.
    fn return_warnings(&self, rules: &Unknowns) -> Vec<String> {
        let mut all: BTreeMap<String, usize> = BTreeMap::new();
        let warns = |f: &&CheckFinding, platform| f.counts_as(rules, platform) == CheckResult::Warn;
        for member in self
            .checks
            .iter()
            .filter(|m| m.counts_as != CheckResult::Block)
        {
            let findings = member.findings.iter();
            for finding in findings.filter(|f| warns(f, member.platform)) {
                // Which apps each of them has is in the table.
                let line = match finding.result {
                    CheckResult::Unknown => {
                        format!("{}: not known; {}", finding.check, finding.fix)
                    }
                    _ => format!("{}: {}", finding.check, finding.bound_line()),
                };
                *all.entry(line).or_default() += 1;
            }
        }
        // Of the budget it is said with the requests.
        let server = self.server.iter().filter(|f| f.check != Check::PostBudget);
        let server = server.filter(|f| warns(f, None)).map(CheckFinding::line);
        let devices = all
            .into_iter()
            .map(|(line, n)| format!("{line} ({})", counted(n, "device")));
        devices.chain(server).collect()
    }
}

/// What the what-if of an act found.
#[derive(Clone)]
struct Seen {
    /// What the acceptance of it is bound to.
    bound: Value,
    /// Apps that would be lost with their data.
    forecast: Forecast,
    /// What the next look at these devices is compared with.
    found: WhatWasFound,
}

/// A member of an act with what is known of it.
#[derive(Clone)]
struct Found {
    serial: Serial,
    device: Option<Device>,
    attempt: Option<Move>,
    findings: Vec<String>,
}

impl Org {
    /// What an act would send and bring about. Devices whose reading is older than a quarter of an hour are read first. What was found
    /// of devices that start to migrate is kept: the next plan for the same ones says what has come and gone since.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an empty list, a serial number that occurs twice, a missing reason or a deadline that Apple
    /// does not take; [`Error::Precondition`] for another runbook than a template locks here; the port's, the store's.
    pub async fn plan_act(&self, act: &Act) -> Result<ActPlan, Error> {
        let act = &self.whole_act(act).await?;
        let looked = Box::pin(self.look_into(act)).await?;
        let mut plan = Box::pin(self.plan_of(act, &looked)).await?;
        if let Some(seen) = looked.seen
            && let MigrationAct::Assign { destination, .. } = &act.what
        {
            let asked = (&act.serials[..], *destination);
            let kept = self.since_last_look(None, asked, seen.found, true);
            plan.since = kept.await?;
        }
        Ok(plan)
    }

    /// The same with runbooks that are checked, and have the profiles that they name.
    async fn whole_act(&self, act: &Act) -> Result<Act, Error> {
        let mut act = act.clone();
        if let MigrationAct::Assign { runbooks, .. } = &mut act.what {
            *runbooks = self.given_runbooks(runbooks).await?;
        }
        Ok(act)
    }

    /// Does what was planned and accepted: one batch with the ad-hoc wave, its members and their errands. A deadline that is moved
    /// earlier, and the cancellation or return of more than 25 devices in a day by one person, are written down for another person to
    /// confirm ([`Org::confirm`]).
    ///
    /// # Errors
    /// [`Error::Precondition`] when the plan is no longer the accepted one; as [`Org::plan_act`].
    pub async fn do_act(&self, act: &Act, digest: &str) -> Result<ActDone, Error> {
        let act = &self.whole_act(act).await?;
        self.again_on_conflict(|| async {
            let looked = Box::pin(self.look_into(act)).await?;
            let plan = Box::pin(self.plan_of(act, &looked)).await?;
            plan.must_be(digest)?;
            let blocked = |found: &&Found| !found.findings.is_empty();
            let (members, blocked) = (
                looked.found.len(),
                looked.found.iter().filter(blocked).count(),
            );
            if members == blocked {
                return Err(nobody());
            }
            let calls = Box::pin(self.calls_back(act, &looked)).await?;
            match self
                .second_for(act, members - blocked, digest, calls)
                .await?
            {
                Ok(batch) => Box::pin(self.perform(act, looked, &plan, batch)).await,
                Err(approval) => Ok(ActDone {
                    wave: None,
                    errands: Vec::new(),
                    members,
                    blocked,
                    left_out: BTreeMap::new(),
                    approval: Some(approval),
                }),
            }
        })
        .await
    }

    async fn perform(
        &self,
        act: &Act,
        looked: Looked,
        plan: &ActPlan,
        with: Batch,
    ) -> Result<ActDone, Error> {
        let digest = plan.digest.as_str();
        if let MigrationAct::Return { deadline, .. } = &act.what {
            return self.give_back(act, &looked, *deadline, digest, with).await;
        }
        let found = &looked.found;
        match &act.what {
            MigrationAct::Assign {
                destination,
                deadline,
                available_from,
                runbooks,
            } => {
                let from = available_from.unwrap_or_else(|| self.now());
                let dates = (*deadline, from);
                self.assign(act, &looked, *destination, dates, runbooks, plan)
                    .await
            }
            MigrationAct::Extend { deadline } | MigrationAct::Force { deadline } => {
                let event = Event::DeadlineMoved {
                    deadline: *deadline,
                };
                self.tell_all(act, found, &event, digest, with).await
            }
            MigrationAct::Cancel | MigrationAct::Return { .. } => {
                self.tell_all(act, found, &Event::CancelAsked, digest, with)
                    .await
            }
        }
    }
}

fn nobody() -> Error {
    Error::Precondition("something stands against every device: see the findings".to_owned())
}
