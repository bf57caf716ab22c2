//! The what-if of a wave, its acceptance by somebody, and the submission that is bound to it. Sends nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use super::super::Org;
use super::super::act::PlannedRequest;
use super::super::decision::Decision;
use super::super::ports::ActivityRequest;
use super::super::sync::append;
use super::super::what_if::{Detail, Since, WhatIfReport, found_now};
use super::accepted::digest;
use super::{runbook_for, waiving};
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::errand::{ErrandKind, ErrandMember, MOST_DEVICES};
use crate::error::Error;
use crate::ids::{RunbookId, Serial, WaveId};
use crate::line;
use crate::migration::{Event, Move, MoveState};
use crate::project::{PinnedPlan, WhatIfRun};
use crate::store::Batch;
use crate::wave::{Acceptance, Waiver, Wave, WaveState};

/// What stands against a submission, and the digest of what would be submitted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WhatIf {
    /// The wave.
    pub wave: WaveId,
    /// What blocks and is not waived by the acceptance that holds, by serial number.
    pub blockers: BTreeMap<Serial, Vec<String>>,
    /// What would block and is waived by the acceptance that holds, by serial number.
    pub waived: BTreeMap<Serial, Vec<String>>,
    /// What stands against all of them: nothing is submitted before it is mended.
    pub against_all: Vec<String>,
    /// What does not block and should be known.
    pub warnings: Vec<String>,
    /// Binds members, deadlines, runbooks and the facts of findings: an acceptance of anything else is void.
    pub digest: String,
    /// The runbooks that its members go with: those of the project of now for a draft, its own for one that was submitted.
    pub runbooks: BTreeMap<Platform, RunbookId>,
    /// What is otherwise than when it was last looked at, or submitted.
    pub drift: Vec<String>,
    /// What has come and gone since somebody last had it run; none before that.
    pub since: Option<Since>,
    /// The acceptance that holds for exactly this.
    pub accepted: Option<Acceptance>,
    /// The requests as they would be sent: those that start migrations, and those that give members the licences that they lack.
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
        let mut row = self.wave_row(wave).await?;
        let report = self.look_at_members(&row, true, Detail::Problems).await?;
        let rules = &self.organisation.settings.unknowns;
        let project = self.project_of(&row).await?;
        let drift = self.drift(project.as_ref(), &row);
        let mut draft = false;
        if let Some(of_now) = project.and_then(|project| row.runbooks_of_now(&project)) {
            (row.runbooks, draft) = (of_now, true);
        }
        let planned = self.planned_members(&row, draft).await?;
        // What was accepted is a plan, and not the rows that hold it: the same devices with the same dates, runbooks and findings are the
        // same plan, in whichever order they came. Who is put in and taken out again, or out and in again, voids it for as long as it is
        // another plan and no longer; what an attempt had of its own beside that, a prerequisite that was met, is found missing then.
        let mut dates: Vec<_> = planned
            .iter()
            .map(|a| {
                let pinned = (!draft).then_some(a.runbook);
                (&a.serial, a.deadline, a.available_from, pinned)
            })
            .collect();
        dates.sort_by_key(|(serial, ..)| *serial);
        let mut against_all = report.against_all(rules);
        let warnings = report.warnings_but(rules, &[]).into_iter();
        let mut warnings: Vec<String> = warnings.map(|warning| warning.line).collect();
        let of_apps = self.app_warnings(&row).await?;
        let mut known = report.server_bound(rules);
        known.extend(of_apps.iter().cloned());
        warnings.extend(of_apps);
        let digest = digest(
            &row,
            &dates,
            [&report.bound(rules), &json!(against_all), &json!(known)],
        );
        let earlier = self.store().what_if_run(self.id(), wave).await?;
        let accepted = row.acceptance.clone().filter(|a| a.digest == digest);
        let waivers = accepted.as_ref().map_or(&[][..], |a| &a.waivers[..]);
        // What is forecast, needed and found of those that go is as it comes with the waivers.
        let report = self.with_waivers(&row, report, waivers).await?;
        let (blockers, waived) = (
            report.staying(rules, waivers),
            report.waived(rules, waivers),
        );
        let since = earlier.map(|earlier| Since::between(&earlier, &found_now(&report)));
        // Who goes by a waiver takes room, too, and was not counted: a digest is of what there is without waivers.
        against_all.extend(report.over(&blockers).filter(|_| !waivers.is_empty()));
        let going = going(planned, &blockers);
        Ok(WhatIf {
            wave,
            blockers,
            waived,
            against_all,
            warnings,
            digest,
            drift,
            since,
            accepted,
            requests: self.requests_of(&row, &going).await?,
            runbooks: row.runbooks,
            report,
        })
    }

    /// What is found with these waivers. Whoever they let go takes licences, too: where there are too few for all then, those that come
    /// later go without, or stay behind, and the forecast says so.
    async fn with_waivers(
        &self,
        wave: &Wave,
        report: WhatIfReport,
        waivers: &[Waiver],
    ) -> Result<WhatIfReport, Error> {
        // Without a location of Apps and Books nothing is otherwise.
        match waivers.is_empty() || report.needs.is_none() {
            true => Ok(report),
            false => Box::pin(self.look_with(wave, waivers)).await,
        }
    }

    /// The members of which nothing is at Apple yet; those of a `draft` with the runbooks that it would be submitted with now.
    async fn planned_members(&self, wave: &Wave, draft: bool) -> Result<Vec<Move>, Error> {
        let mut planned = self.members(wave.id).await?;
        planned.retain(Move::is_planned);
        if draft {
            let serials: Vec<Serial> = planned.iter().map(|m| m.serial.clone()).collect();
            let devices = self.devices_of(&serials).await?;
            for attempt in &mut planned {
                let of_now = devices
                    .get(&attempt.serial)
                    .and_then(|device| runbook_for(wave, device).ok());
                attempt.runbook = of_now.unwrap_or(attempt.runbook);
            }
        }
        Ok(planned)
    }

    /// The requests that a submission of these would send, as they would be sent.
    async fn requests_of(&self, wave: &Wave, going: &[Move]) -> Result<Vec<PlannedRequest>, Error> {
        let Some(server) = self.server_entry(wave.destination).await? else {
            return Ok(Vec::new());
        };
        let mut buckets: BTreeMap<Timestamp, Vec<Serial>> = BTreeMap::new();
        for attempt in going {
            let bucket = buckets.entry(attempt.deadline).or_default();
            bucket.push(attempt.serial.clone());
        }
        let mut requests = Vec::new();
        for (deadline, serials) in buckets {
            let request = ActivityRequest::AssignWithDeadline {
                server: server.uuid.clone(),
                deadline,
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
        requests.extend(self.licence_requests_of(going).await?);
        Ok(requests)
    }

    /// The what-if, and what was found is kept: the next one says what has come and gone since.
    ///
    /// # Errors
    /// As [`Org::what_if`]; [`Error::Precondition`] for a wave that is closed, or whose project is.
    pub async fn run_what_if(&self, wave: WaveId) -> Result<WhatIf, Error> {
        self.open_wave(wave).await?;
        let what_if = self.what_if(wave).await?;
        self.pin_anew(wave, &what_if.runbooks).await?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let found = found_now(&what_if.report);
            let mut run =
                WhatIfRun::new(self.id(), wave, now, self.actor(), &what_if.digest, found);
            let earlier = self.store().what_if_run(self.id(), wave).await?;
            run.version = earlier.map_or(0, |earlier| earlier.version);
            let mut batch = Batch::new();
            batch.put(run);
            let detail = json!({
                "runbooks": what_if.runbooks, "wave": wave, "digest": what_if.digest, "blocked": what_if.report.blocked,
                "warned": what_if.report.warned, "clear": what_if.report.clear,
            });
            self.audit_into(&mut batch, "wave.what-if", detail);
            let row = self.wave_row(wave).await?;
            if row.is_open() {
                self.put_look_after(&mut batch, &row).await?;
            }
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        let accepted = what_if.accepted.is_some();
        self.tell_found(wave, &what_if.blockers, accepted).await;
        Ok(what_if)
    }

    /// Gives the members of a draft the runbooks that it was looked at with.
    async fn pin_anew(
        &self,
        wave: WaveId,
        runbooks: &BTreeMap<Platform, RunbookId>,
    ) -> Result<(), Error> {
        let mut row = self.wave_row(wave).await?;
        if row.runbooks == *runbooks || row.is_submitted() || !row.is_open() {
            return Ok(());
        }
        row.runbooks.clone_from(runbooks);
        self.repin_members(&row).await?;
        self.again_on_conflict(|| async {
            let mut row = self.wave_row(wave).await?;
            if !matches!(row.state, WaveState::Draft) {
                return Ok(());
            }
            row.runbooks.clone_from(runbooks);
            let mut batch = Batch::new();
            let detail = json!({ "wave": row.name, "id": row.id, "runbooks": runbooks });
            self.audit_into(&mut batch, "wave.runbooks", detail);
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Accepts what a what-if found, in the name of whoever acts: the wave can be submitted as long as nothing of it changes.
    /// Findings that are waived keep no device back.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the wave is closed, members, findings or runbooks are not those of the digest any more, or
    /// something stands against all of them; [`Error::BadInput`] for a waiver without a reason, of what nobody can waive, or of what keeps
    /// nobody back; the store's.
    pub async fn accept(
        &self,
        wave: WaveId,
        digest: &str,
        waivers: &[Waiver],
        reason: &str,
    ) -> Result<Accepted, Error> {
        check_digest(digest)?;
        sentence("reason", reason, false)?;
        waiving::check(waivers, self.wave_row(wave).await?.project.is_some())?;
        let rules = &self.organisation.settings.unknowns;
        let (accepted, staying) = self.again_on_conflict(|| async {
            // Held by its version: of a wave that is closed meanwhile nothing is accepted either.
            let mut row = self.open_wave(wave).await?;
            let mut what_if = self.what_if(wave).await?;
            // The acceptance that it went with stays that of the wave.
            if what_if.report.members.is_empty() && !matches!(row.state, WaveState::Draft) {
                return Err(Error::Precondition(ALL_SUBMITTED.to_owned()));
            }
            if what_if.digest != digest {
                let why = "that is not the digest of what the what-if finds now: look at it again";
                return Err(Error::Precondition(why.to_owned()));
            }
            let members = what_if.report.members.iter().map(|member| &member.serial);
            let members: BTreeSet<&Serial> = members.collect();
            let mut waived = waivers.iter().flat_map(|waiver| &waiver.serials);
            if let Some(serial) = waived.find(|serial| !members.contains(serial)) {
                let problem = format!("{serial} is no planned member of this wave");
                return Err(Error::bad_input("waivers.serials", problem));
            }
            let had_waivers = |before: &Acceptance| !before.waivers.is_empty();
            if what_if.accepted.as_ref().is_some_and(had_waivers) {
                // Whom the waivers of before let go is no word against others: these are held to the room below.
                let over = what_if.report.over(&what_if.blockers);
                what_if
                    .against_all
                    .retain(|against| Some(against) != over.as_ref());
            }
            if !what_if.against_all.is_empty() {
                let why = what_if.against_all.join("; ");
                return Err(Error::Precondition(format!(
                    "nothing can be accepted before what stands against all of it is mended: {why}"
                )));
            }
            let acceptance =
                Acceptance::new(self.actor(), self.now(), digest, waivers.to_vec(), reason);
            row.acceptance = Some(acceptance.clone());
            // Kept as it will be shown from now on.
            let before = what_if.accepted.replace(acceptance.clone());
            let came_with_waivers = before.is_some_and(|before| !before.waivers.is_empty());
            if came_with_waivers && what_if.report.needs.is_some() {
                // What was found came with the waivers of before: whom those let go may stay now, and leave licences to others.
                what_if.report = Box::pin(self.look_with(&row, &[])).await?;
            }
            let idle = waiving::idle(waivers.iter().collect(), &what_if.report, rules);
            what_if.report = self.with_waivers(&row, what_if.report, waivers).await?;
            // Who lacks a licence only because others go by a waiver is found with that waiver.
            waiving::refuse_idle(&waiving::idle(idle, &what_if.report, rules))?;
            what_if.blockers = what_if.report.staying(rules, waivers);
            what_if.waived = what_if.report.waived(rules, waivers);
            if let Some(why) = what_if.report.over(&what_if.blockers) {
                return Err(Error::Precondition(format!(
                    "nothing can be accepted with these waivers: {why}"
                )));
            }
            let mut looked = row.clone();
            looked.runbooks.clone_from(&what_if.runbooks);
            let draft = matches!(row.state, WaveState::Draft) && row.project.is_some();
            let planned = self.planned_members(&looked, draft).await?;
            let going = going(planned, &what_if.blockers);
            what_if.requests = self.requests_of(&row, &going).await?;
            let staying = what_if.blockers.len();
            let mut batch = Batch::new();
            let detail =
                json!({ "wave": row.name, "id": wave, "digest": digest, "waivers": waivers, "reason": reason });
            self.audit_into(&mut batch, "wave.accepted", detail);
            self.keep_accepted(&mut batch, wave, digest, &what_if)?;
            batch.put(row);
            self.store().commit(batch).await?;
            let accepted = Accepted {
                acceptance,
                going: what_if.report.members.len() - staying,
                staying,
            };
            Ok((accepted, what_if.blockers))
        })
        .await?;
        self.tell_found(wave, &staying, true).await;
        Ok(accepted)
    }

    /// Submits what was accepted; `name` is the wave's, typed by whoever does it.
    ///
    /// # Errors
    /// [`Error::BadInput`] for another name; [`Error::Precondition`] without an acceptance, when it is void, when what was accepted is
    /// submitted already, and for a wave that is closed.
    pub async fn submit_accepted(&self, wave: WaveId, name: &str) -> Result<usize, Error> {
        self.submit_named(wave, name, None).await
    }

    /// The same where whoever types the name was shown what goes: the acceptance that holds must still be of that `digest`, and be that
    /// of this moment, where it is given. The waivers are no part of the digest, so that another acceptance may send more devices.
    ///
    /// # Errors
    /// As [`Org::submit_accepted`]; [`Error::BadInput`] for what is no digest; [`Error::Precondition`] where something else was accepted
    /// since.
    pub async fn submit_shown(
        &self,
        wave: WaveId,
        name: &str,
        digest: &str,
        accepted_at: Option<Timestamp>,
    ) -> Result<usize, Error> {
        check_digest(digest)?;
        self.submit_named(wave, name, Some((digest, accepted_at)))
            .await
    }

    async fn submit_named(
        &self,
        wave: WaveId,
        name: &str,
        shown: Option<(&str, Option<Timestamp>)>,
    ) -> Result<usize, Error> {
        self.again_on_conflict(|| async {
            let row = self.open_wave(wave).await?;
            if row.name != name.trim() {
                return Err(Error::bad_input("name", "is not the name of this wave"));
            }
            if let Some((digest, at)) = shown {
                let holds = row.acceptance.as_ref().ok_or_else(not_accepted)?;
                if holds.digest != digest || at.is_some_and(|at| at != holds.at) {
                    return Err(Error::Precondition(format!(
                        "nothing was sent: what was accepted is not what was shown; {} has accepted it at {}: look at the requests again",
                        holds.by, holds.at
                    )));
                }
            }
            let actor = self.actor().to_owned();
            Box::pin(self.submit_once(row, &actor)).await
        })
        .await
    }

    /// Submits a wave whose what-if was accepted ([`Org::accept`]): writes the requests as jobs, and nothing more. Blocked members stay
    /// behind, but those whose findings were waived with the acceptance; submitted again, the wave takes along whoever is not blocked
    /// any more.
    ///
    /// # Errors
    /// [`Error::Precondition`] where nobody has accepted this digest, when members, findings or runbooks are no longer those that
    /// were accepted, and for a wave that is closed; the store's.
    pub async fn submit(&self, wave: WaveId, digest: &str, actor: &str) -> Result<usize, Error> {
        self.again_on_conflict(|| async {
            let row = self.open_wave(wave).await?;
            let accepted = row.acceptance.as_ref();
            if accepted.is_none_or(|accepted| accepted.digest != digest) {
                return Err(not_accepted());
            }
            Box::pin(self.submit_once(row, actor)).await
        })
        .await
    }

    /// What is written is what was read before the look, with its versions: whatever changes after that is a conflict, and is looked
    /// at anew. Who comes in meanwhile goes the next time.
    async fn submit_once(&self, mut row: Wave, actor: &str) -> Result<usize, Error> {
        let wave = row.id;
        let Acceptance {
            digest, waivers, ..
        } = row.acceptance.clone().ok_or_else(not_accepted)?;
        let project = self.project_of(&row).await?;
        // A wave of no project goes past those that are open, as a list does.
        let open = match &project {
            Some(_) => Vec::new(),
            None => self.open_versions().await?,
        };
        let members = self.members(wave).await?;
        let what_if = self.what_if(wave).await?;
        if what_if.digest != digest {
            let is_left = !what_if.report.members.is_empty();
            // As it is now: somebody may have submitted it while this one looked.
            let now = self.wave_row(wave).await?;
            return Err(gone(&now, &digest, is_left).unwrap_or_else(changed));
        }
        if !what_if.against_all.is_empty() {
            return Err(Error::Precondition(what_if.against_all.join("; ")));
        }
        if what_if.report.members.is_empty() {
            let why = match row.state {
                WaveState::Draft => "the wave has no members",
                _ => ALL_SUBMITTED,
            };
            return Err(Error::Precondition(why.to_owned()));
        }
        let now = self.now();
        let mut batch = Batch::new();
        let mut staying = what_if.blockers.clone();
        if staying.len() >= what_if.report.members.len() {
            let why = "nothing was sent, and nothing would be: every member stays behind";
            return Err(Error::Precondition(why.to_owned()));
        }
        let draft = project.as_ref().and_then(|p| row.runbooks_of_now(p));
        if let Some(of_now) = &draft {
            if *of_now != what_if.runbooks {
                return Err(changed());
            }
            row.runbooks.clone_from(of_now);
        }
        let devices = match draft {
            Some(_) => {
                let looked = what_if.report.members.iter();
                let serials: Vec<Serial> = looked.map(|m| m.serial.clone()).collect();
                self.devices_of(&serials).await?
            }
            None => BTreeMap::new(),
        };
        let mut buckets: BTreeMap<Timestamp, Vec<ErrandMember>> = BTreeMap::new();
        let mut going = Vec::new();
        for mut attempt in members {
            if !attempt.is_planned() {
                continue;
            }
            let before = attempt.clone();
            if let Some(device) = devices.get(&attempt.serial) {
                // One whose platform is not known any more is blocked, and keeps what it has.
                attempt.runbook = runbook_for(&row, device).unwrap_or(attempt.runbook);
            }
            let runbook = attempt.runbook;
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
            self.load_for_attempt(&mut d, before).await?;
            if let Some(tracked) = &mut d.attempt {
                tracked.row.runbook = runbook;
                d.attempt_plan = Some(self.plan(runbook).await?);
            }
            // Whoever is ready is told nothing twice.
            if blocked || !matches!(attempt.state, MoveState::Ready) {
                d.tell_move(&Event::Checked { blockers });
            }
            if !blocked {
                d.tell_move(&Event::Accepted);
                d.tell_move(&Event::SubmitAsked { deadline });
                if let Some(device) = &mut d.device {
                    // It is to come again.
                    device.row.leaving = None;
                }
            }
            append(&mut batch, d.into_batch());
        }
        let server = self
            .server_entry(row.destination)
            .await?
            .ok_or(Error::NotFound("server entry"))?;
        // Licences first: a device may come as soon as it is offered its migration.
        self.put_licence_errands(&mut batch, wave, &going).await?;
        let devices = going.iter().map(|attempt| attempt.device).collect();
        self.take_from_returns(&mut batch, &devices).await?;
        let requests = buckets.len();
        for (deadline, members) in buckets {
            let kind = ErrandKind::Schedule {
                server: server.uuid.clone(),
                deadline,
            };
            self.put_errands(&mut batch, Some(wave), &kind, &members, None, actor);
        }
        self.expect_open(&mut batch, &open);
        // Whatever opened its gate must still hold: another process may have closed it meanwhile.
        if let Some(project) = project {
            batch.expect(
                crate::store::Noun::Project,
                self.id(),
                project.id.0,
                project.version,
            );
            row.plan = Some(PinnedPlan::of(&project));
            // A revision is that of the runbooks too: what goes later with those of an earlier one is of that one.
            if row.runbooks == project.runbooks || row.revision.is_none() {
                row.revision = Some(project.revision);
            }
        }
        // A gate was signed on how those stood who had gone by then.
        let unsigned = match going.is_empty() {
            true => None,
            false => row.signed.take().map(|signed| signed.by),
        };
        row.submitted_ade = Some(self.ade_of(&row).clone());
        row.state = WaveState::Submitted {
            by: actor.to_owned(),
            at: now,
            digest: digest.clone(),
        };
        let detail = json!({
            "wave": row.name, "id": wave, "digest": digest, "members": going.len(), "deadlines": requests,
            "revision": row.revision, "waivers": waivers, "gate_no_more_signed_by": unsigned,
        });
        self.audit_into(&mut batch, "wave.submitted", detail);
        self.put_look_after(&mut batch, &row).await?;
        batch.put(row);
        self.store().commit(batch).await?;
        Ok(going.len())
    }
}

/// Who goes.
fn going(mut planned: Vec<Move>, staying: &BTreeMap<Serial, Vec<String>>) -> Vec<Move> {
    planned.retain(|attempt| !staying.contains_key(&attempt.serial));
    planned
}

/// That what was accepted has gone, perhaps a moment ago and by somebody else: nothing of it has changed, and nothing goes twice.
fn gone(row: &Wave, accepted: &str, is_left: bool) -> Option<Error> {
    let WaveState::Submitted { by, at, digest } = &row.state else {
        return None;
    };
    let rest = match is_left {
        true => {
            "; whoever stayed behind, or came in since, goes with another what-if and acceptance"
        }
        false => "",
    };
    let why = format!("it is submitted already, by {by} at {at}{rest}");
    (digest == accepted).then_some(Error::Precondition(why))
}

fn changed() -> Error {
    let why = "members, findings or runbooks have changed since they were accepted: look at the what-if again";
    Error::Precondition(why.to_owned())
}

fn not_accepted() -> Error {
    let why = "nobody has accepted the what-if of this wave: `mdmd wave accept`";
    Error::Precondition(why.to_owned())
}

/// That a digest can be one at all: what is mistyped is no plan that has changed.
pub(in crate::service) fn check_digest(digest: &str) -> Result<(), Error> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digest.len() == 64 && digest.bytes().all(hex) {
        return Ok(());
    }
    Err(Error::bad_input(
        "digest",
        "must be the 64 digits (0-9, a-f) that the plan shows",
    ))
}

/// Why nothing of a wave is accepted or submitted a second time.
const ALL_SUBMITTED: &str = "every member of the wave is submitted already";

/// A sentence of a person.
pub(in crate::service) fn sentence(
    field: &'static str,
    text: &str,
    needed: bool,
) -> Result<(), Error> {
    line::check(field, text, 1_000)?;
    if needed && text.trim().is_empty() {
        return Err(Error::bad_input(
            field,
            "must be there: it goes into the record",
        ));
    }
    Ok(())
}
