//! The what-if of a wave, its acceptance by somebody, and the submission that is bound to it. Sends nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use super::super::Org;
use super::super::act::PlannedRequest;
use super::super::decision::Decision;
use super::super::ports::ActivityRequest;
use super::super::sync::append;
use super::super::what_if::{Detail, WhatIfReport};
use crate::check::Check;
use crate::clock::Timestamp;
use crate::errand::{ErrandKind, ErrandMember, MOST_DEVICES};
use crate::error::Error;
use crate::ids::{Serial, WaveId};
use crate::migration::Event;
use crate::migration::what_if::MatrixChange;
use crate::project::{PinnedPlan, RunRow, WhatIfRun};
use crate::store::Batch;
use crate::wave::{Acceptance, Waiver, Wave, WaveState};

/// What nobody can waive: Apple refuses it, or it would do what nobody means.
const NEVER_WAIVED: [Check; 9] = [
    Check::FamilySupported,
    Check::OrgMember,
    Check::Capable,
    Check::SharedIpad,
    Check::ReturnToService,
    Check::OtherPending,
    Check::InOtherWave,
    Check::DeadlineRange,
    Check::RunbookValid,
];
/// The most waivers of one acceptance.
const MOST_WAIVERS: usize = 1_000;

/// What stands against a submission, and the digest of what would be submitted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WhatIf {
    /// The wave.
    pub wave: WaveId,
    /// What blocks, by serial number.
    pub blockers: BTreeMap<Serial, Vec<String>>,
    /// What stands against all of them: nothing is submitted before it is mended.
    pub against_all: Vec<String>,
    /// What does not block and should be known.
    pub warnings: Vec<String>,
    /// Binds members, deadlines, runbooks and findings: an acceptance of anything else is void.
    pub digest: String,
    /// What has come and gone since somebody last had it run; none before that.
    pub since: Option<MatrixChange>,
    /// The acceptance that holds for exactly this.
    pub accepted: Option<Acceptance>,
    /// The requests as they would be sent.
    pub requests: Vec<PlannedRequest>,
    /// All of it, check by check.
    pub report: WhatIfReport,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Accepted {
    /// The acceptance.
    pub acceptance: Acceptance,
    /// Members that would be submitted.
    pub going: usize,
    /// Members that would stay behind.
    pub staying: usize,
}

impl Org {
    /// What would happen if the wave were submitted now: every check of every member that is not at Apple yet.
    ///
    /// # Errors
    /// [`Error::NotFound`], the vault's, the store's.
    pub async fn what_if(&self, wave: WaveId) -> Result<WhatIf, Error> {
        let row = self.wave_row(wave).await?;
        let report = self.look_at_members(&row, true, Detail::Problems).await?;
        let rules = &self.organisation.settings.unknowns;
        let found: BTreeMap<&Serial, Vec<_>> = report
            .members
            .iter()
            .map(|member| (&member.serial, member.weighed(rules)))
            .collect();
        let mut bound = Vec::new();
        let mut buckets: BTreeMap<Timestamp, Vec<Serial>> = BTreeMap::new();
        let blocked = report.blockers(rules);
        for attempt in self.members(wave).await? {
            if !attempt.is_planned() {
                continue;
            }
            bound.push(json!([
                attempt.serial,
                attempt.deadline,
                attempt.available_from,
                attempt.runbook,
                found.get(&attempt.serial),
            ]));
            if !blocked.contains_key(&attempt.serial) {
                buckets
                    .entry(attempt.deadline)
                    .or_default()
                    .push(attempt.serial);
            }
        }
        let (against_all, mut warnings) = (report.against_all(), report.warnings());
        let of_apps = self.app_warnings(&row).await?;
        // What a look from outside tells comes and goes with the process that looks; what it blocks is bound.
        let mut bound_warnings = report.warnings_but(&[Check::Endpoints, Check::TlsCert]);
        bound_warnings.extend(of_apps.iter().cloned());
        warnings.extend(of_apps);
        let digest = crate::identity::sha256_hex(
            json!([
                row.name,
                row.runbooks,
                row.ade,
                bound,
                against_all,
                bound_warnings
            ])
            .to_string()
            .as_bytes(),
        );
        let earlier = self.store().what_if_run(self.id(), wave).await?;
        let since = earlier.map(|earlier| change_since(&earlier.found, &run_rows(&report)));
        let accepted = row.acceptance.clone().filter(|a| a.digest == digest);
        Ok(WhatIf {
            wave,
            blockers: blocked,
            against_all,
            warnings,
            digest,
            since,
            accepted,
            requests: self.requests_of(&row, &buckets).await?,
            report,
        })
    }

    /// The requests that a submission would send, as they would be sent.
    async fn requests_of(
        &self,
        wave: &Wave,
        buckets: &BTreeMap<Timestamp, Vec<Serial>>,
    ) -> Result<Vec<PlannedRequest>, Error> {
        let Some(server) = self.store().server(self.id(), wave.destination).await? else {
            return Ok(Vec::new());
        };
        let mut requests = Vec::new();
        for (deadline, serials) in buckets {
            let request = ActivityRequest::AssignWithDeadline {
                server: server.uuid.clone(),
                deadline: *deadline,
            };
            for serials in serials.chunks(MOST_DEVICES) {
                let path = "/v1/orgDeviceActivities";
                let Ok(body) = request.body(serials, self.now()) else {
                    // A deadline that Apple does not take is a finding already.
                    continue;
                };
                requests.push(PlannedRequest::new("POST", path, body, serials.len()));
            }
        }
        Ok(requests)
    }

    /// The what-if, and what was found is kept: the next one says what has come and gone since.
    ///
    /// # Errors
    /// As [`Org::what_if`].
    pub async fn run_what_if(&self, wave: WaveId) -> Result<WhatIf, Error> {
        let what_if = self.what_if(wave).await?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let found = run_rows(&what_if.report);
            let mut run =
                WhatIfRun::new(self.id(), wave, now, self.actor(), &what_if.digest, found);
            let earlier = self.store().what_if_run(self.id(), wave).await?;
            run.version = earlier.map_or(0, |earlier| earlier.version);
            let mut batch = Batch::new();
            batch.put(run);
            let detail = json!({
                "wave": wave, "digest": what_if.digest, "blocked": what_if.report.blocked,
                "warned": what_if.report.warned, "clear": what_if.report.clear,
            });
            self.audit_into(&mut batch, "wave.what-if", detail);
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        Ok(what_if)
    }

    /// Accepts what a what-if found, in the name of whoever acts: the wave can be submitted as long as nothing of it changes.
    /// Findings that are waived keep no device back.
    ///
    /// # Errors
    /// [`Error::Precondition`] when members, findings or runbooks are not those of the digest any more, or something stands
    /// against all of them; [`Error::BadInput`] for a waiver without a reason or of what nobody can waive; the store's.
    pub async fn accept(
        &self,
        wave: WaveId,
        digest: &str,
        waivers: &[Waiver],
        reason: &str,
    ) -> Result<Accepted, Error> {
        check_waivers(waivers)?;
        sentence("reason", reason, false)?;
        self.again_on_conflict(|| async {
            let what_if = self.what_if(wave).await?;
            if what_if.digest != digest {
                return Err(changed());
            }
            let mut row = self.wave_row(wave).await?;
            let acceptance =
                Acceptance::new(self.actor(), self.now(), digest, waivers.to_vec(), reason);
            row.acceptance = Some(acceptance.clone());
            let staying = self.staying(&what_if, waivers).len();
            let mut batch = Batch::new();
            let detail =
                json!({ "wave": row.name, "digest": digest, "waivers": waivers, "reason": reason });
            self.audit_into(&mut batch, "wave.accepted", detail);
            batch.put(row);
            self.store().commit(batch).await?;
            Ok(Accepted {
                acceptance,
                going: what_if.report.members.len() - staying,
                staying,
            })
        })
        .await
    }

    /// Against whom something stands that nobody has waived.
    fn staying(&self, what_if: &WhatIf, waivers: &[Waiver]) -> BTreeMap<Serial, Vec<String>> {
        let rules = &self.organisation.settings.unknowns;
        let members = what_if.report.members.iter();
        members
            .map(|member| {
                let waived = |check| waivers.iter().any(|w| w.covers(check, &member.serial));
                (member.serial.clone(), member.against_but(rules, waived))
            })
            .filter(|(_, against)| !against.is_empty())
            .collect()
    }

    /// Submits what was accepted; `name` is the wave's, typed by whoever does it.
    ///
    /// # Errors
    /// [`Error::BadInput`] for another name; [`Error::Precondition`] without an acceptance, or when it is void.
    pub async fn submit_accepted(&self, wave: WaveId, name: &str) -> Result<usize, Error> {
        self.again_on_conflict(|| async {
            let row = self.wave_row(wave).await?;
            if row.name != name.trim() {
                return Err(Error::bad_input("name", "is not the name of this wave"));
            }
            let acceptance = row.acceptance.ok_or_else(|| {
                let why = "nobody has accepted the what-if of this wave: `mdmd wave accept`";
                Error::Precondition(why.to_owned())
            })?;
            let actor = self.actor().to_owned();
            self.submit_once(wave, &acceptance.digest, &acceptance.waivers, &actor)
                .await
        })
        .await
    }

    /// Submits a wave whose what-if was accepted: writes the requests as jobs, and nothing more. Blocked members stay behind;
    /// submitted again, the wave takes along whoever is not blocked any more.
    ///
    /// # Errors
    /// [`Error::Precondition`] when members, findings or runbooks are no longer those that were accepted.
    pub async fn submit(&self, wave: WaveId, digest: &str, actor: &str) -> Result<usize, Error> {
        self.again_on_conflict(|| self.submit_once(wave, digest, &[], actor))
            .await
    }

    async fn submit_once(
        &self,
        wave: WaveId,
        digest: &str,
        waivers: &[Waiver],
        actor: &str,
    ) -> Result<usize, Error> {
        let what_if = self.what_if(wave).await?;
        if what_if.digest != digest {
            return Err(changed());
        }
        if !what_if.against_all.is_empty() {
            return Err(Error::Precondition(what_if.against_all.join("; ")));
        }
        let mut row = self.wave_row(wave).await?;
        if !row.is_open() {
            return Err(Error::Precondition("the wave is closed".to_owned()));
        }
        if what_if.report.members.is_empty() {
            let why = match row.state {
                WaveState::Draft => "the wave has no members",
                _ => "every member of the wave is submitted already",
            };
            return Err(Error::Precondition(why.to_owned()));
        }
        let now = self.now();
        let mut batch = Batch::new();
        let mut staying = self.staying(&what_if, waivers);
        let mut buckets: BTreeMap<Timestamp, Vec<ErrandMember>> = BTreeMap::new();
        let mut going = Vec::new();
        for attempt in self.members(wave).await? {
            if !attempt.is_planned() {
                continue;
            }
            let blockers = staying.remove(&attempt.serial).unwrap_or_default();
            let deadline = attempt.deadline;
            let blocked = !blockers.is_empty();
            if !blocked {
                going.push(attempt.clone());
                buckets.entry(deadline).or_default().push(ErrandMember {
                    device: attempt.device,
                    serial: attempt.serial.clone(),
                    attempt: Some(attempt.id),
                });
            }
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            self.load_for_attempt(&mut d, attempt).await?;
            d.tell_move(&Event::Checked { blockers });
            if !blocked {
                d.tell_move(&Event::Accepted);
                d.tell_move(&Event::SubmitAsked { deadline });
            }
            append(&mut batch, d.into_batch());
        }
        let server = self
            .store()
            .server(self.id(), row.destination)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        // Licences first: a device may come as soon as it is offered its migration.
        self.put_licence_errands(&mut batch, wave, &going).await?;
        let requests = buckets.len();
        for (deadline, members) in buckets {
            let kind = ErrandKind::Schedule {
                server: server.uuid.clone(),
                deadline,
            };
            self.put_errands(&mut batch, Some(wave), &kind, &members, None, actor);
        }
        // Whatever opened its gate must still hold: another process may have closed it meanwhile.
        row.revision = match self.project_of(&row).await? {
            Some(project) => {
                batch.expect(
                    crate::store::Noun::Project,
                    self.id(),
                    project.id.0,
                    project.version,
                );
                row.plan = Some(PinnedPlan::of(&project));
                Some(project.revision)
            }
            None => None,
        };
        row.state = WaveState::Submitted {
            by: actor.to_owned(),
            at: now,
            digest: digest.to_owned(),
        };
        let detail = json!({
            "wave": row.name, "digest": digest, "members": going.len(), "deadlines": requests,
            "revision": row.revision, "waivers": waivers,
        });
        self.audit_into(&mut batch, "wave.submitted", detail);
        self.put_look_after(&mut batch, &row);
        batch.put(row);
        self.store().commit(batch).await?;
        Ok(going.len())
    }
}

fn changed() -> Error {
    let why = "members, findings or runbooks have changed since they were accepted: look at the what-if again";
    Error::Precondition(why.to_owned())
}

/// A sentence of a person.
pub(in crate::service) fn sentence(
    field: &'static str,
    text: &str,
    needed: bool,
) -> Result<(), Error> {
    if text.len() > 1_000 || text.chars().any(char::is_control) {
        return Err(Error::bad_input(field, "must be at most 1000 characters"));
    }
    if needed && text.trim().is_empty() {
        return Err(Error::bad_input(
            field,
            "must be there: it goes into the record",
        ));
    }
    Ok(())
}

fn check_waivers(waivers: &[Waiver]) -> Result<(), Error> {
    if waivers.len() > MOST_WAIVERS {
        let problem = format!("are more than {MOST_WAIVERS}");
        return Err(Error::bad_input("waivers", problem));
    }
    for waiver in waivers {
        if NEVER_WAIVED.contains(&waiver.check) {
            let problem = format!("{} cannot be waived by anybody", waiver.check);
            return Err(Error::bad_input("waivers.check", problem));
        }
        sentence("waivers.reason", &waiver.reason, true)?;
    }
    Ok(())
}

fn run_rows(report: &WhatIfReport) -> Vec<RunRow> {
    let rows = report.matrix.rows.iter();
    rows.map(|row| RunRow {
        check: row.check,
        result: row.result,
        devices: row.devices.clone(),
    })
    .collect()
}

fn change_since(before: &[RunRow], now: &[RunRow]) -> MatrixChange {
    let sets = |rows: &[RunRow]| -> BTreeMap<_, BTreeSet<Serial>> {
        rows.iter()
            .map(|row| ((row.check, row.result), row.devices.clone()))
            .collect()
    };
    MatrixChange::between(&sets(before), &sets(now))
}
