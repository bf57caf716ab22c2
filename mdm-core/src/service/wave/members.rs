//! Who is in a wave and when: members by serial number or by what they have in common, put in, taken out, moved to another wave,
//! spread over deadlines; and what was done for them at the original service. What is at Apple already is touched by none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::super::Org;
use super::super::decision::{Decision, Tracked};
use super::super::sync::append;
use super::accept::sentence;
use super::{Member, WaveTerms, latest_deadline, platform_of, runbook_for};
use crate::calendar::{HOLD, Zone};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::errand::MOST_DEVICES;
use crate::error::Error;
use crate::ids::{DeviceId, MoveId, ProjectId, RunbookId, Serial, WaveId};
use crate::migration::plan::{Gaps, Placed, Spread, Taken, spread};
use crate::migration::what_if::{CheckFinding, ServerFacts, budget_finding};
use crate::migration::{Event, Met, Move, MoveState, PinnedRunbook};
use crate::organisation::check_name;
use crate::project::Project;
use crate::store::{Batch, Noun};
use crate::wave::{Preset, Wave, WaveState};

/// How long before its deadline a device is offered its migration, where nobody says otherwise.
const LEAD: Duration = Duration::from_secs(7 * 86_400);
/// The deadline of a member for whom nobody has planned one yet.
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// Between a plan and its submission.
const HOUR: Duration = Duration::from_secs(3600);
/// Members of one commit.
const CHUNK: usize = 500;
/// Devices that are read at a time.
const PAGE: u32 = 1000;

/// Devices by what they have in common; all of it holds for each. What is left out matters to none.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Candidates {
    /// Their platform.
    pub platform: Option<Platform>,
    /// A tag that they have.
    pub tag: Option<String>,
    /// The service that has them at Apple, by its identifier or its name there.
    pub service: Option<String>,
    /// A group of their owner.
    pub group: Option<String>,
    /// Their model at Apple begins with this, such as `iPhone16`.
    pub product: Option<String>,
    /// At most so many.
    pub most: Option<usize>,
}

/// The dates of members.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Dates {
    /// *Enforced after*.
    pub deadline: Option<Timestamp>,
    /// *Available from*.
    pub available_from: Option<Timestamp>,
}

impl Org {
    /// Makes a wave of a project, without members.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that another open wave has; [`Error::NotFound`], [`Error::Precondition`] for a closed
    /// project; the store's.
    pub async fn new_wave(
        &self,
        project: ProjectId,
        name: &str,
        preset: Option<Preset>,
    ) -> Result<Wave, Error> {
        self.new_wave_with(project, name, preset, &WaveTerms::default())
            .await
    }

    /// The same with what the wave has of its own.
    ///
    /// # Errors
    /// As [`Org::new_wave`]; [`Error::BadInput`] as [`WaveTerms::check`].
    pub async fn new_wave_with(
        &self,
        project: ProjectId,
        name: &str,
        preset: Option<Preset>,
        terms: &WaveTerms,
    ) -> Result<Wave, Error> {
        terms.check()?;
        let name = check_name(name)?;
        self.again_on_conflict(|| async {
            let project = self.open_project(project).await?;
            let waves = self.all_waves().await?;
            if waves.iter().any(|w| w.is_open() && w.name == name) {
                return Err(Error::bad_input("name", "is that of another open wave"));
            }
            let now = self.now();
            let id = WaveId(self.ids().next(now));
            let mut wave = Wave::draft(
                self.id(),
                id,
                name,
                project.destination,
                project.runbooks.clone(),
                now,
            );
            wave.project = Some(project.id);
            wave.preset = preset;
            wave.ade.clone_from(&terms.ade);
            wave.owner_texts.clone_from(&terms.owner_texts);
            let mut batch = Batch::new();
            if wave.ade.is_some() {
                self.put_assign_job(&mut batch, wave.destination).await?;
            }
            let detail =
                json!({ "wave": id, "name": name, "project": project.name, "preset": preset,
                    "ade": wave.ade, "owner_texts": wave.owner_texts.0.keys().collect::<Vec<_>>() });
            self.audit_into(&mut batch, "wave.new", detail);
            batch.put(wave.clone());
            self.store().commit(batch).await?;
            Ok(wave)
        })
        .await
    }

    async fn open_project(&self, id: ProjectId) -> Result<Project, Error> {
        let project = self.project(id).await?;
        if project.closed.is_some() {
            return Err(Error::Precondition("the project is closed".to_owned()));
        }
        Ok(project)
    }

    pub(in crate::service) async fn wave_row(&self, id: WaveId) -> Result<Wave, Error> {
        let row = self.store().wave(self.id(), id).await?;
        row.ok_or(Error::NotFound("wave"))
    }

    pub(super) async fn open_wave(&self, id: WaveId) -> Result<Wave, Error> {
        let row = self.wave_row(id).await?;
        if !row.is_open() {
            return Err(Error::Precondition("the wave is closed".to_owned()));
        }
        Ok(row)
    }

    /// The devices that these words mean and that could be put into a wave: in no open one, known to Apple, not with us yet.
    ///
    /// # Errors
    /// [`Error::BadInput`] when nothing is said at all; the store's.
    pub async fn candidates(&self, of: &Candidates) -> Result<Vec<Serial>, Error> {
        let services = self.inventory().await?.map(|i| i.services);
        let services = services.unwrap_or_default();
        let service = of.service.as_ref().map(|name| {
            let known = services.iter().find(|(id, n)| id == name || n == name);
            known.map_or(name.as_str(), |(id, _)| id.as_str())
        });
        let ours: BTreeSet<String> = self
            .store()
            .servers(self.id())
            .await?
            .into_iter()
            .map(|s| s.uuid)
            .collect();
        let most = of.most.unwrap_or(usize::MAX);
        let (mut found, mut after) = (Vec::new(), DeviceId(0));
        while found.len() < most {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let meant = page.into_iter().filter(|d| is_meant(d, of, service, &ours));
            found.extend(meant.map(|d| d.serial));
        }
        found.truncate(most);
        Ok(found)
    }

    /// Puts devices into a wave that is open. Who comes into a wave that is submitted already is submitted with it the next time.
    /// Answers how many there were.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a device that occurs twice, is in an open wave, or has no platform or no runbook there: nobody is
    /// put in then; as for every wave.
    pub async fn add_members(
        &self,
        wave: WaveId,
        serials: &[Serial],
        dates: Dates,
    ) -> Result<usize, Error> {
        // What stands against one of them is said before anybody is put in; a thousand at a time are written.
        let row = self.open_wave(wave).await?;
        let project = self.project_of(&row).await?;
        let unique: BTreeSet<&Serial> = serials.iter().collect();
        if unique.len() != serials.len() || serials.is_empty() {
            let problem = "must be there, each once";
            return Err(Error::bad_input("serials", problem));
        }
        let known = self.devices_of(serials).await?;
        for serial in serials {
            let device = known.get(serial).ok_or_else(|| {
                let problem = "is not known here: read the organisation's devices first";
                Error::bad_input(serial.as_str(), problem)
            })?;
            if device.open_move.is_some() {
                return Err(Error::bad_input(
                    serial.as_str(),
                    "is in an open wave already",
                ));
            }
            runbook_for(&row, device)?;
        }
        let now = self.now();
        let end = project.and_then(|p| p.window.not_after);
        let usual = end.unwrap_or(now + MONTH).min(latest_deadline(now));
        let deadline = dates.deadline.unwrap_or(usual);
        let available_from = dates.available_from.unwrap_or_else(|| {
            let lead = LEAD.max(self.organisation.settings.notice());
            (deadline - lead).max(now)
        });
        for serials in serials.chunks(CHUNK) {
            self.again_on_conflict(|| async {
                let row = self.open_wave(wave).await?;
                let devices = self.devices_of(serials).await?;
                let mut members = Vec::with_capacity(serials.len());
                for serial in serials {
                    let device = devices.get(serial);
                    let reading = device.and_then(|d| d.reading.as_ref());
                    members.push(Member {
                        serial: serial.clone(),
                        deadline,
                        available_from,
                        original_server: reading.and_then(|r| r.assigned_server.clone()),
                    });
                }
                let mut batch = Batch::new();
                self.put_members(&mut batch, &row, &members).await?;
                // The wave must not be closed meanwhile.
                batch.put(row);
                Ok(self.store().commit(batch).await?)
            })
            .await?;
        }
        Ok(serials.len())
    }

    /// Takes devices out of a wave before anything of them is at Apple; all that can be taken out when none is named. Answers how
    /// many there were.
    ///
    /// # Errors
    /// [`Error::BadInput`] for one that is not in it; [`Error::Precondition`] for one that is submitted: it is to be called back.
    pub async fn remove_members(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        reason: &str,
    ) -> Result<usize, Error> {
        sentence("reason", reason, false)?;
        self.each_planned(
            wave,
            serials,
            "submitted already: call it back with `mdmd wave cancel`",
            None,
            |d, attempt| {
                d.audit(
                    "move.withdrawn",
                    json!({ "wave": attempt.wave, "reason": reason }),
                );
                d.tell_move(&Event::WithdrawAsked);
                Ok(())
            },
        )
        .await
    }

    /// Moves members to another open wave that goes to the same server entry. They keep their dates.
    ///
    /// # Errors
    /// As [`Org::remove_members`]; [`Error::BadInput`] for a wave that goes elsewhere or has no runbook for one of them.
    pub async fn move_members(
        &self,
        from: WaveId,
        to: WaveId,
        serials: &[Serial],
    ) -> Result<usize, Error> {
        let (source, target) = (self.open_wave(from).await?, self.open_wave(to).await?);
        if from == to || source.destination != target.destination {
            let problem = "must be another wave that goes to the same server entry";
            return Err(Error::bad_input("to", problem));
        }
        for device in self.devices_of(serials).await?.values() {
            runbook_for(&target, device)?;
        }
        let what = "submitted already: it goes with the wave that it is in";
        self.each_planned(from, Some(serials), what, Some(to), |d, _| {
            let device = d.device.as_ref().map(|t| &t.row);
            let device = device.ok_or(Error::NotFound("device"))?;
            let runbook = runbook_for(&target, device)?;
            d.audit(
                "move.moved",
                json!({ "from": source.name, "to": target.name }),
            );
            if let Some(tracked) = &mut d.attempt {
                tracked.row.wave = to;
                tracked.row.runbook = runbook;
            }
            Ok(())
        })
        .await
    }

    /// Gives members that are not at Apple yet these dates; all of them when none is named.
    ///
    /// # Errors
    /// As [`Org::remove_members`]; [`Error::BadInput`] for dates in the wrong order.
    pub async fn set_dates(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        deadline: Timestamp,
        available_from: Timestamp,
    ) -> Result<usize, Error> {
        if available_from > deadline {
            let problem = "is later than the deadline";
            return Err(Error::bad_input("available_from", problem));
        }
        if deadline <= self.now() {
            return Err(Error::bad_input("deadline", "has passed"));
        }
        let what = "submitted already: extend it";
        self.each_planned(wave, serials, what, None, |d, _| {
            place(d, deadline, available_from);
            Ok(())
        })
        .await
    }

    /// Gives members of a draft the runbooks of `wave`, as it would be.
    pub(super) async fn repin_members(&self, wave: &Wave) -> Result<(), Error> {
        self.each_planned(wave.id, None, "submitted already", None, |d, attempt| {
            let device = d.device.as_ref().map(|t| &t.row);
            let device = device.ok_or(Error::NotFound("device"))?;
            // One whose platform is not known any more is blocked, and keeps what it has.
            let runbook = runbook_for(wave, device).unwrap_or(attempt.runbook);
            if runbook != attempt.runbook {
                d.audit(
                    "move.runbook",
                    json!({ "wave": wave.name, "runbook": runbook }),
                );
            }
            if let Some(tracked) = &mut d.attempt {
                tracked.row.runbook = runbook;
            }
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Says that a prerequisite is met for members of a wave, with what shows it.
    ///
    /// # Errors
    /// [`Error::BadInput`] for one that the project does not have; as [`Org::remove_members`].
    pub async fn meet(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        prerequisite: &str,
        evidence: &str,
    ) -> Result<usize, Error> {
        sentence("evidence", evidence, true)?;
        let met = Met {
            by: self.actor().to_owned(),
            at: self.now(),
            evidence: evidence.to_owned(),
        };
        match self.meet_as(wave, serials, prerequisite, &met).await? {
            0 => Err(nobody()),
            met => Ok(met),
        }
    }

    /// Takes back the word that a prerequisite is met, and why. Answers of how many members it was said.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason; [`Error::Precondition`] when it was said of none of them; as [`Org::remove_members`].
    pub async fn unmeet(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        prerequisite: &str,
        reason: &str,
    ) -> Result<usize, Error> {
        sentence("reason", reason, true)?;
        let members = self.members(wave).await?;
        let said = |m: &&Move| {
            let named = serials.is_none_or(|serials| serials.contains(&m.serial));
            named && !m.is_ended() && m.met.contains_key(prerequisite)
        };
        let had: Vec<Serial> = members
            .iter()
            .filter(said)
            .filter(|m| serials.is_some() || m.is_planned())
            .map(|m| m.serial.clone())
            .collect();
        if had.is_empty() {
            let why = "of none of these devices anybody has said so: there is nothing to take back";
            return Err(Error::Precondition(why.to_owned()));
        }
        let what = "submitted already: what it was submitted with stays";
        self.each_planned(wave, Some(&had), what, None, |d, _| {
            let Some(tracked) = &mut d.attempt else {
                return Ok(());
            };
            if let Some(was) = tracked.row.met.remove(prerequisite) {
                d.audit(
                    "move.prerequisite-taken-back",
                    json!({ "met": prerequisite, "reason": reason, "said_by": was.by, "said": was.at, "evidence": was.evidence }),
                );
            }
            Ok(())
        })
        .await
    }

    /// The same as somebody has said it, perhaps earlier and elsewhere.
    pub(super) async fn meet_as(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        prerequisite: &str,
        met: &Met,
    ) -> Result<usize, Error> {
        let row = self.open_wave(wave).await?;
        let project = self.project_of(&row).await?;
        if !project.is_some_and(|p| p.prerequisites.contains(prerequisite)) {
            let problem = "is none of the project's";
            return Err(Error::bad_input("prerequisite", problem));
        }
        let elsewhere = (met.by != self.actor()).then_some(met);
        self.each_planned(wave, serials, "submitted already", None, |d, _| {
            let mut detail = json!({ "met": prerequisite, "evidence": met.evidence });
            if let Some(met) = elsewhere {
                detail["said_by"] = json!(met.by);
                detail["said"] = json!(met.at);
            }
            d.audit("move.prerequisite", detail);
            if let Some(tracked) = &mut d.attempt {
                let met = met.clone();
                tracked.row.met.insert(prerequisite.to_owned(), met);
            }
            Ok(())
        })
        .await
    }

    /// Spreads the members of a wave that are not at Apple yet over deadlines, each where its owner lives; nothing is written
    /// with `dry`.
    ///
    /// # Errors
    /// [`Error::Precondition`] for a wave without a project; [`Error::BadInput`] when there is not enough room; as for every wave.
    pub async fn plan_dates(
        &self,
        wave: WaveId,
        first: Option<Timestamp>,
        last: Option<Timestamp>,
        buckets: Option<u32>,
        lead: Option<Duration>,
        dry: bool,
    ) -> Result<Vec<Placed>, Error> {
        let row = self.open_wave(wave).await?;
        let project = self.project_of(&row).await?.ok_or_else(|| {
            let why = "the wave is part of no project, so that there is no calendar to plan it by";
            Error::Precondition(why.to_owned())
        })?;
        let now = self.now();
        let notice = self.organisation.settings.notice();
        if lead.is_some_and(|lead| lead < notice) {
            let hours = notice.as_secs() / 3600;
            let problem = format!("must leave people {hours} hours at the least");
            return Err(Error::bad_input("lead_hours", problem));
        }
        let lead = lead.unwrap_or(LEAD.max(notice));
        let window = project.window;
        let begin = window.not_before.unwrap_or(now).max(now);
        // An hour for what lies between the plan and its submission.
        let soonest = begin + notice + HOUR;
        let first = first.unwrap_or(begin + lead).max(soonest);
        let last = last.or(window.not_after).unwrap_or(first + 2 * LEAD);
        let mut how = Spread {
            first,
            last: last.min(latest_deadline(now)),
            capacity: project.capacity,
            buckets,
            lead,
            notice,
            hold: HOLD,
        };
        let members = self.members(wave).await?;
        let planned: Vec<&Move> = members.iter().filter(|m| m.is_planned()).collect();
        if planned.is_empty() {
            return Err(nobody());
        }
        let ids: Vec<DeviceId> = planned.iter().map(|m| m.device).collect();
        let mut zones: BTreeMap<DeviceId, Zone> = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            for told in self.store().originals_of(self.id(), ids).await? {
                if let Some(zone) = told.time_zone {
                    zones.insert(told.id, zone.value);
                }
            }
        }
        let mut order: Vec<(Serial, Option<Zone>)> = planned
            .iter()
            .map(|m| (m.serial.clone(), zones.get(&m.device).cloned()))
            .collect();
        order.sort();
        let mut taken = self.deadlines_of_all().await?;
        for member in &planned {
            let hold = self.hold_with(member.runbook).await?;
            taken.leave_out(member.deadline, hold);
        }
        taken.forget_before(now);
        let runbooks: BTreeSet<RunbookId> = match row.runbooks_of_now(&project) {
            Some(of_now) => of_now.into_values().collect(),
            None => planned.iter().map(|m| m.runbook).collect(),
        };
        for runbook in runbooks {
            how.hold = how.hold.max(self.hold_with(runbook).await?);
        }
        let mut gaps = Gaps::default();
        let limits = self.gap_limits().await?;
        if !limits.is_empty() {
            let own: BTreeSet<MoveId> = planned.iter().map(|m| m.id).collect();
            gaps.stays = self.gap_stays(&limits, |m| own.contains(&m.id)).await?;
            let groups = self.gap_groups(&ids).await?;
            let of = |m: &&Move| Some((m.serial.clone(), groups.get(&m.device)?.clone()));
            gaps.groups = planned.iter().filter_map(of).collect();
            gaps.limits = limits;
        }
        let placed = spread(&order, &project.calendar, &how, &taken, begin, gaps)?;
        if !dry {
            let dates: BTreeMap<Serial, (Timestamp, Timestamp)> = placed
                .iter()
                .map(|p| (p.serial.clone(), (p.deadline, p.available_from)))
                .collect();
            self.each_planned(wave, None, "submitted already", None, |d, attempt| {
                // Who came in meanwhile is planned the next time.
                if let Some((deadline, from)) = dates.get(&attempt.serial) {
                    place(d, *deadline, *from);
                }
                Ok(())
            })
            .await?;
        }
        Ok(placed)
    }

    /// Whether Apple's budget lets the requests of such a plan leave before its first deadline: one for each deadline and thousand
    /// devices, after what waits already.
    ///
    /// # Errors
    /// The store's.
    pub async fn budget_of(&self, placed: &[Placed]) -> Result<CheckFinding, Error> {
        let mut buckets: BTreeMap<Timestamp, usize> = BTreeMap::new();
        for member in placed {
            *buckets.entry(member.deadline).or_default() += 1;
        }
        let now = self.now();
        let requests: usize = buckets.values().map(|n| n.div_ceil(MOST_DEVICES)).sum();
        let first = buckets.keys().next().copied().unwrap_or(now);
        let facts = self.facts_of_requests(requests).await?;
        Ok(budget_finding(&facts, first, now))
    }

    /// What there is to say of Apple's budget for so many requests that change something, and of nothing else.
    pub(in crate::service) async fn facts_of_requests(
        &self,
        requests: usize,
    ) -> Result<ServerFacts, Error> {
        let budget = self.budgets().await?.into_iter().next();
        Ok(ServerFacts {
            requests: u32::try_from(requests).unwrap_or(u32::MAX),
            waiting: budget.as_ref().map_or(0, |b| b.waiting_writes),
            used: budget.map_or(0, |b| b.writes.status.used),
            per_hour: self.organisation.settings.api_writes_per_hour,
            ..ServerFacts::default()
        })
    }

    /// How many devices of all open waves have which deadline, each with the hold that its own runbook gives it.
    pub(in crate::service) async fn deadlines_of_all(&self) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        for wave in self.all_waves().await?.into_iter().filter(Wave::is_open) {
            for attempt in self.members(wave.id).await? {
                if !attempt.is_ended() {
                    let hold = self.hold_with(attempt.runbook).await?;
                    taken.add(attempt.deadline, hold, 1);
                }
            }
        }
        Ok(taken)
    }

    /// For how long a hold counts with a runbook.
    pub(in crate::service) async fn hold_with(
        &self,
        runbook: RunbookId,
    ) -> Result<Duration, Error> {
        Ok(hold_of(&*self.plan(runbook).await?))
    }

    /// Does something with members that are not at Apple yet, some hundred in a commit: these, or all there are.
    async fn each_planned(
        &self,
        wave: WaveId,
        serials: Option<&[Serial]>,
        otherwise: &str,
        with: Option<WaveId>,
        act: impl Fn(&mut Decision<'_>, &Move) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        self.open_wave(wave).await?;
        let members = self.members(wave).await?;
        let chosen: Vec<Move> = match serials {
            None => members.into_iter().filter(Move::is_planned).collect(),
            Some(serials) => {
                let mut open: BTreeMap<Serial, Move> = members
                    .into_iter()
                    .filter(|m| !m.is_ended())
                    .map(|m| (m.serial.clone(), m))
                    .collect();
                let mut chosen = Vec::with_capacity(serials.len());
                for serial in serials {
                    let attempt = open.remove(serial).ok_or_else(|| {
                        Error::bad_input(serial.as_str(), "is not in this wave, or named twice")
                    })?;
                    if !attempt.is_planned() {
                        return Err(Error::Precondition(format!("{serial}: {otherwise}")));
                    }
                    chosen.push(attempt);
                }
                chosen
            }
        };
        for chunk in chosen.chunks(CHUNK) {
            self.again_on_conflict(|| async {
                let mut batch = Batch::new();
                if let Some(other) = with {
                    // It must not be closed or changed meanwhile.
                    let row = self.open_wave(other).await?;
                    batch.expect(Noun::Wave, self.id(), other.0, row.version);
                }
                for attempt in chunk {
                    let attempt = self.store().attempt(self.id(), attempt.id).await?;
                    // Submitted, withdrawn or moved meanwhile, by somebody else.
                    let here = |a: &Move| a.wave == wave && a.is_planned();
                    let Some(attempt) = attempt.filter(here) else {
                        continue;
                    };
                    let now = self.now();
                    let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
                    self.load_for_attempt(&mut d, attempt.clone()).await?;
                    act(&mut d, &attempt)?;
                    append(&mut batch, d.into_batch());
                }
                Ok(self.store().commit(batch).await?)
            })
            .await?;
        }
        Ok(chosen.len())
    }
}

/// For how long a hold with a runbook counts: until it is released whatever happens.
pub(in crate::service) fn hold_of(runbook: &PinnedRunbook) -> Duration {
    Duration::from_secs(runbook.hard_ceiling_secs).max(HOLD)
}

/// Gives the attempt of a decision these dates.
fn place(d: &mut Decision<'_>, deadline: Timestamp, available_from: Timestamp) {
    let Some(Tracked { row, .. }) = &mut d.attempt else {
        return;
    };
    if (row.deadline, row.available_from) == (deadline, available_from) {
        return;
    }
    (row.deadline, row.available_from) = (deadline, available_from);
    let ready = matches!(row.state, MoveState::Ready);
    d.audit(
        "move.planned",
        json!({ "deadline": deadline, "available_from": available_from }),
    );
    // It was accepted with other dates.
    if ready {
        let blockers = Vec::new();
        d.tell_move(&Event::Checked { blockers });
    }
}

fn is_meant(
    device: &Device,
    of: &Candidates,
    service: Option<&str>,
    ours: &BTreeSet<String>,
) -> bool {
    let Some(reading) = device.reading.as_ref().filter(|r| !r.unknown) else {
        return false;
    };
    let Some(at) = reading.assigned_server.as_deref() else {
        return false;
    };
    let product = reading
        .product
        .as_deref()
        .or(device.facts.product.as_deref());
    device.open_move.is_none()
        && !ours.contains(at)
        && platform_of(device).is_some()
        && of.platform.is_none_or(|p| platform_of(device) == Some(p))
        && of.tag.as_ref().is_none_or(|tag| device.tags.contains(tag))
        && of
            .group
            .as_ref()
            .is_none_or(|group| device.groups.contains(group))
        && service.is_none_or(|service| service == at)
        && of
            .product
            .as_ref()
            .is_none_or(|begin| product.is_some_and(|p| p.starts_with(begin.as_str())))
}

impl Wave {
    /// Whether anything of it was submitted.
    #[must_use]
    pub const fn is_submitted(&self) -> bool {
        matches!(self.state, WaveState::Submitted { .. })
    }
}

fn nobody() -> Error {
    let why = "the wave has no member that is not submitted yet: there is nobody to do it for";
    Error::Precondition(why.to_owned())
}
