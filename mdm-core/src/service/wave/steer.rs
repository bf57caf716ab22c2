//! How a wave stands and what follows from it: the gate for the next one, the pause of offers when too much goes wrong, its end
//! when all of its members have come to theirs. Looks after every submitted wave with one job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::super::Org;
use super::super::licences::store_apps;
use super::accept::sentence;
use super::count::MarkCounts;
use super::projects::still_open;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{JobId, WaveId};
use crate::job::{Job, JobKind};
use crate::licences::Location;
use crate::migration::plan::{Bounds, LaterDeadline, Progress, Tally, Waiting, later};
use crate::migration::{Move, MoveState};
use crate::project::{Gate, Project, StopRule};
use crate::store::{Batch, Lease, StoreError, with_the_rest};
use crate::wave::{Pause, Resumed, STOP_RULE, SignOff, Wave, WaveState};

/// How often a submitted wave is looked at.
const LOOK: Duration = Duration::from_secs(300);

/// How a wave stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Standing {
    /// The wave.
    pub wave: Wave,
    /// Its project's name.
    pub project: Option<String>,
    /// When this was counted.
    pub at: Timestamp,
    /// Where its members are.
    pub tally: Tally,
    /// How many had ended when, and how many will have.
    pub progress: Progress,
    /// Its gate, where it is part of a project.
    pub gate: Option<GateView>,
    /// What people have changed of the project since it was submitted.
    pub drift: Vec<String>,
    /// Members whose deadline Apple shows otherwise than planned.
    pub moved_elsewhere: usize,
    /// The marks of the devices that have enrolled: how many stand how.
    pub marks: MarkCounts,
}

/// The gate of a wave: what is wanted before the next one goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct GateView {
    /// What is wanted.
    pub wanted: Gate,
    /// What is not so yet; empty for a gate that is open.
    pub against: Vec<String>,
    /// Who has signed.
    pub signed: Option<SignOff>,
}

impl Org {
    /// How a wave stands now.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn standing(&self, wave: WaveId) -> Result<Standing, Error> {
        let row = self.wave_row(wave).await?;
        let now = self.now();
        let counted = self.count(wave, now).await?;
        let tally = counted.tally;
        let project = self.project_of(&row).await?;
        let gate = project.as_ref().map(|p| gate_of(p, &row, &tally));
        Ok(Standing {
            at: now,
            progress: counted.progress.finish(),
            moved_elsewhere: counted.elsewhere,
            marks: counted.marks,
            drift: self.drift(project.as_ref(), &row),
            project: project.map(|p| p.name),
            wave: row,
            tally,
            gate,
        })
    }

    /// What keeps a wave back: the waves before it in its project whose gates are not open.
    pub(in crate::service) async fn kept_back(
        &self,
        project: &Project,
        wave: &Wave,
    ) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for (earlier, against) in self.closed_gates(project, Some(wave)).await? {
            found.extend(against.iter().map(|why| format!("{earlier}: {why}")));
        }
        Ok(found)
    }

    /// The waves of a project whose gates are not open, by their names, and what is against each: those before a wave; for what is
    /// part of no wave, as for one that says nothing of what it is for, all that do.
    pub(in crate::service) async fn closed_gates(
        &self,
        project: &Project,
        wave: Option<&Wave>,
    ) -> Result<Vec<(String, Vec<String>)>, Error> {
        let mut found = Vec::new();
        for earlier in self.waves_of(project.id).await? {
            // Those of one kind go side by side.
            let before = match (earlier.preset, wave.and_then(|wave| wave.preset)) {
                (Some(one), Some(other)) => one < other,
                // One that says nothing of what it is for goes when all that do have passed their gates.
                (Some(_), None) => true,
                (None, _) => false,
            };
            if !before || wave.is_some_and(|wave| wave.id == earlier.id) {
                continue;
            }
            let tally = self.walk_members(earlier.id).await?.tally;
            // Nobody came in, or all were called back or taken out: nobody is left from whom something could be learned.
            if tally.members == 0 && !earlier.is_submitted() {
                continue;
            }
            let against = gate_of(project, &earlier, &tally).against;
            if !against.is_empty() {
                found.push((earlier.name, against));
            }
        }
        Ok(found)
    }

    /// Signs that the waves after this one may go, with how it stands now as evidence. With `despite` the gate opens though the wave
    /// does not stand as was wanted.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason; [`Error::Precondition`] for a wave that was not submitted, is part of no project, or of one
    /// that is closed, or does not stand as is wanted.
    pub async fn sign_gate(
        &self,
        wave: WaveId,
        reason: &str,
        despite: bool,
    ) -> Result<Standing, Error> {
        sentence("reason", reason, true)?;
        self.again_on_conflict(|| async {
            let standing = self.standing(wave).await?;
            let mut row = standing.wave;
            // Of a wave that is closed, too: it closes when its members have come to an end, and that is what a signature is for. Once
            // its project is closed no wave waits for it any more.
            if let Some(project) = self.project_of(&row).await? {
                still_open(&project)?;
            }
            if row.state == WaveState::Draft || standing.gate.is_none() {
                let why = "there is nothing to sign: the wave was not submitted, or is part of no project";
                return Err(Error::Precondition(why.to_owned()));
            }
            let wanted = standing.gate.map(|gate| gate.wanted).unwrap_or_default();
            let against = standing.tally.against(&wanted);
            if !despite && !against.is_empty() {
                return Err(Error::Precondition(format!(
                    "there is nothing yet that a signature could rest on: {}. Wait, or open the gate despite it",
                    against.join("; ")
                )));
            }
            let evidence = json!({ "tally": standing.tally, "at": standing.at, "against": against });
            row.signed = Some(SignOff::new(self.actor(), self.now(), reason, evidence.clone(), despite));
            let mut batch = Batch::new();
            let detail = json!({ "wave": row.name, "id": row.id, "reason": reason, "evidence": evidence, "despite": despite });
            self.audit_into(&mut batch, "wave.gate-signed", detail);
            batch.put(row);
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        self.standing(wave).await
    }

    /// Offers no more devices of a wave their migration, or goes on with it. Those that were offered it go on either way. What the
    /// stop rule has paused goes on for who `may_overrule` it alone, and after that only what goes wrong anew counts; after the pause
    /// of a person the rule counts on.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason; [`Error::Refused`] for what the stop rule has paused without `may_overrule`;
    /// [`Error::NotFound`]; [`Error::Precondition`] for a wave that is closed, which offers nobody anything; the store's.
    pub async fn pause_wave(
        &self,
        wave: WaveId,
        pause: bool,
        reason: &str,
        may_overrule: bool,
    ) -> Result<Standing, Error> {
        sentence("reason", reason, true)?;
        self.again_on_conflict(|| async {
            let mut row = self.open_wave(wave).await?;
            if row.paused.is_some() == pause {
                return Ok(());
            }
            let by_rule = row.paused.as_ref().is_some_and(Pause::is_by_rule);
            if by_rule && !may_overrule {
                let why = "offers that the stop rule has paused go on by the word of an approver";
                return Err(Error::Refused(why));
            }
            let mut batch = Batch::new();
            if by_rule {
                let walk = self.walk_the_rest(wave).await?;
                let tally = &walk.tally;
                let counts = (
                    tally.failed + tally.with_exceptions,
                    tally.ended(),
                    tally.long_holds,
                );
                let expiry = self.ends_too_early(&row, walk.last_deadline).await?;
                row.resumed = Some(Resumed::new(self.actor(), self.now(), counts, expiry));
            } else if !pause {
                let known = row.resumed.take();
                let (counts, expiry) = known.map_or(((0, 0, 0), None), |known| {
                    ((known.bad, known.ended, known.long_holds), known.expiry)
                });
                row.resumed = Some(Resumed::new(self.actor(), self.now(), counts, expiry));
            }
            self.put_pause(&mut batch, row, pause.then_some(reason), reason)
                .await?;
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        // It is done, and who has done it is shown how it stands.
        with_the_rest(self.standing(wave)).await.0
    }

    async fn put_pause(
        &self,
        batch: &mut Batch,
        mut row: Wave,
        why: Option<&str>,
        reason: &str,
    ) -> Result<(), Error> {
        row.paused = why.map(|why| Pause::new(self.actor(), self.now(), why));
        let what = match why {
            Some(_) => "wave.paused",
            None => "wave.resumed",
        };
        self.audit_into(
            batch,
            what,
            json!({ "wave": row.name, "id": row.id, "reason": reason }),
        );
        // The assigner goes through its devices anew.
        self.put_assign_job(batch, row.destination).await?;
        batch.put(row);
        Ok(())
    }

    /// Adds to a batch that a wave is looked after from now on, a draft for what changes of its members: one job for each wave, under the
    /// wave's number. However often that is asked for, it comes no later for it.
    pub(in crate::service) async fn put_look_after(
        &self,
        batch: &mut Batch,
        wave: &Wave,
    ) -> Result<(), Error> {
        let (id, kind) = (JobId(wave.id.0), JobKind::LookAfter { wave: wave.id });
        let due = self.no_later(id, self.now() + LOOK).await?;
        batch.put(Job::new(self.id(), id, due, kind));
        Ok(())
    }

    /// Looks after a submitted wave: stops its offers when its rule says so, closes it when all have come to an end.
    pub(in crate::service) async fn look_after_job(
        &self,
        job: &Job,
        lease: Lease,
        wave: WaveId,
    ) -> Result<(), Error> {
        let org = self.clone().acting_for(STOP_RULE);
        let over = org.again_on_conflict(|| org.look_after(wave)).await?;
        if over {
            return self.job_done(job, lease).await;
        }
        // What stops this keeps nobody's offers running.
        if let Err(error) = org.look_again_at(wave).await {
            tracing::warn!(organisation = %self.id(), %wave, %error, "members cannot be looked at again");
        }
        let mut later = job.clone();
        later.due = self.now() + LOOK;
        self.job_stands_or(later, lease).await
    }

    /// Whether it is over.
    async fn look_after(&self, wave: WaveId) -> Result<bool, Error> {
        let Some(row) = self.store().wave(self.id(), wave).await? else {
            return Ok(true);
        };
        if !row.is_submitted() {
            return Ok(!row.is_open());
        }
        let walk = self.walk_the_rest(wave).await?;
        if walk.open == 0 && walk.unread == 0 {
            let mut batch = Batch::new();
            self.put_closed(&mut batch, row, &walk.ends);
            self.store().commit(batch).await?;
            return Ok(true);
        }
        if !self.gap_limits().await?.is_empty() {
            match self.note_places_of(&row).await {
                // What stops this keeps nobody's offers running.
                Err(error @ Error::Store(StoreError::Corrupt { .. })) => {
                    tracing::warn!(organisation = %self.id(), %wave, %error, "places in the gap cannot be noted");
                }
                noted => noted?,
            }
        }
        if row.paused.is_some() {
            return Ok(false);
        }
        let tally = &walk.tally;
        let stop = self.stop_rule_of(&row).await?;
        let mut why = tally.stops(&stop, row.resumed.as_ref());
        if why.is_none() && stop.expiries {
            let known = row.resumed.as_ref().and_then(|r| r.expiry.as_ref());
            let early = self.ends_too_early(&row, walk.last_deadline).await?;
            why = early.filter(|early| Some(early) != known);
        }
        if let Some(why) = why {
            tracing::warn!(organisation = %self.id(), wave = row.name, why, "no more devices of the wave are offered their migration");
            let mut batch = Batch::new();
            self.put_pause(&mut batch, row, Some(&why), &why).await?;
            self.store().commit(batch).await?;
        }
        Ok(false)
    }

    /// When no more devices of a wave are offered their migration.
    async fn stop_rule_of(&self, wave: &Wave) -> Result<StopRule, Error> {
        Ok(match (&wave.plan, self.project_of(wave).await?) {
            (Some(plan), _) => plan.stop,
            (None, Some(project)) => project.stop,
            (None, None) => StopRule::OF_LISTS,
        })
    }

    /// What becomes of the offers of a wave while something that it needs ends before its last deadline.
    pub(in crate::service) async fn offers_until_renewed(
        &self,
        wave: &Wave,
        last: Timestamp,
    ) -> Result<String, Error> {
        if wave.paused.is_some() {
            return Ok("until then no more devices are offered their migration".to_owned());
        }
        if !self.stop_rule_of(wave).await?.expiries {
            let why = "the stop rule does not count this (`mdmd project set --stop-expiries yes`)";
            return Ok(format!("until then offers go on: {why}"));
        }
        let early = self.ends_too_early(wave, Some(last)).await?;
        Ok(match &wave.resumed {
            Some(resumed) if early.is_some() && resumed.expiry == early => format!(
                "until then offers go on: {} knows of it and has resumed them",
                resumed.by
            ),
            _ if wave.is_submitted() => {
                "no more devices are offered their migration as soon as the wave is looked at again, within five minutes".to_owned()
            }
            _ => "once the wave is submitted no device of it is offered its migration until then".to_owned(),
        })
    }

    /// What the rest of a wave needs and what ends before its last deadline.
    async fn ends_too_early(
        &self,
        wave: &Wave,
        last: Option<Timestamp>,
    ) -> Result<Option<String>, Error> {
        let Some(last) = last else { return Ok(None) };
        let early = self.ending_before(wave, last).await?;
        let first = early
            .first()
            .map(|(name, ends)| format!("{name} ends at {ends}, before the last deadline"));
        Ok(first)
    }

    /// What a wave needs that ends before a moment, and when.
    pub(in crate::service) async fn ending_before(
        &self,
        wave: &Wave,
        last: Timestamp,
    ) -> Result<Vec<(&'static str, Timestamp)>, Error> {
        let push = self.organisation.push.as_ref().map(|p| p.not_after);
        let server = self.store().server(self.id(), wave.destination).await?;
        let token = server.and_then(|s| s.token_expires);
        let locations = self.locations().await?;
        let apps = match locations.is_empty() {
            true => None,
            false => self.store_apps_of(wave).await?,
        };
        // Of one whose stock nobody has read, or where nobody can tell what they need, they may need some.
        let needs = |location: &&Location| {
            let mut stock = location.stock.keys();
            apps.as_ref().is_none_or(|apps| {
                let unread = location.stock_read.is_none() && !apps.is_empty();
                unread || stock.any(|app| apps.contains(app))
            })
        };
        let content = locations.iter().filter(needs);
        let content = content.filter_map(|location| location.token_expires).min();
        let named = [
            ("the push certificate", push),
            ("the server token", token),
            ("a content token", content),
        ];
        let early = named.into_iter().filter_map(|(name, ends)| {
            let ends = ends.filter(|ends| *ends < last)?;
            Some((name, ends))
        });
        Ok(early.collect())
    }

    /// The apps of the store that members of a wave go with; none where that cannot be told.
    async fn store_apps_of(&self, wave: &Wave) -> Result<Option<BTreeSet<u64>>, Error> {
        let mut all = BTreeSet::new();
        for runbook in wave.runbooks.values() {
            match self.plan(*runbook).await {
                Ok(plan) => all.extend(store_apps(&plan).into_iter().map(|(app, _)| app)),
                Err(Error::Store(StoreError::Corrupt { .. })) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(all).filter(|_| !wave.runbooks.is_empty()))
    }

    /// Deadlines of a submitted wave that should lie later, as its project is now: proposals, which somebody takes with
    /// [`Org::plan_act`](super::super::Org) as extensions. Never an earlier one; devices that have begun are left alone.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn later_deadlines(&self, wave: WaveId) -> Result<Vec<LaterDeadline>, Error> {
        let row = self.wave_row(wave).await?;
        // Without a project nobody has said where deadlines may lie.
        let Some(project) = self.project_of(&row).await? else {
            return Ok(Vec::new());
        };
        let members = self.members(wave).await?;
        let waits = |m: &&Move| {
            let state = &m.state;
            matches!(
                state,
                MoveState::Scheduled { .. } | MoveState::Offered { .. }
            )
        };
        let open: Vec<&Move> = members.iter().filter(waits).collect();
        let ids: Vec<_> = open.iter().map(|m| m.device).collect();
        let mut zones = BTreeMap::new();
        for ids in ids.chunks(1000) {
            for facts in self.store().originals_of(self.id(), ids).await? {
                zones.extend(facts.time_zone.map(|zone| (facts.id, zone.value)));
            }
        }
        let mut waiting = Vec::with_capacity(open.len());
        for member in open {
            waiting.push(Waiting {
                serial: member.serial.clone(),
                zone: zones.get(&member.device).cloned(),
                deadline: member.deadline,
                offered: matches!(member.state, MoveState::Offered { .. }),
                hold: self.hold_with(member.runbook).await?,
            });
        }
        let now = self.now();
        let taken = self.deadlines_of_all().await?;
        let bounds = Bounds {
            window: project.window,
            calendar: &project.calendar,
            capacity: project.capacity,
            notice: self.organisation.settings.notice(),
            latest: super::latest_deadline(now),
        };
        Ok(later(waiting, &bounds, taken, now))
    }

    /// The serial numbers of members in a wave that an act is for: those that are at Apple and have not ended.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Precondition`] for a wave that is closed; the store's.
    pub async fn submitted_members(&self, wave: WaveId) -> Result<Vec<crate::ids::Serial>, Error> {
        self.open_wave(wave).await?;
        let members = self.members(wave).await?.into_iter();
        let there = members.filter(|m| !m.is_ended() && !m.is_planned());
        Ok(there.map(|m| m.serial).collect())
    }
}

fn gate_of(project: &Project, wave: &Wave, tally: &Tally) -> GateView {
    let wanted = wave.plan.as_ref().map_or(project.gate, |plan| plan.gate);
    let mut against = tally.against(&wanted);
    if wanted.sign_off && wave.signed.is_none() {
        against.push("nobody has signed".to_owned());
    }
    if wave.signed.as_ref().is_some_and(|signed| signed.despite) {
        against.clear();
    }
    GateView {
        wanted,
        against,
        signed: wave.signed.clone(),
    }
}
