//! A plan as one document: a project with its waves, members, dates and what was done for them at the original service, taken out
//! and brought in again, here or at another installation. Holds no secret: profiles of runbooks are named, and stay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Org;
use super::accept::sentence;
use super::plan_differs::differences;
use super::projects::still_open;
use super::{Dates, WaveTerms};
use crate::audit_seal::Checkpoint;
use crate::calendar::Calendar;
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::error::Error;
use crate::gap::GapLimits;
use crate::ids::{ProjectId, Serial, WaveId};
use crate::migration::{Met, Move, MoveState, Outcome, PinnedRunbook, sent_runbooks};
use crate::organisation::AdeOptions;
use crate::project::{Gate, Project, StopRule, Window};
use crate::texts::OwnerTexts;
use crate::wave::{Preset, Wave};

/// The form of the document.
pub const PLAN_FORM: u32 = 1;
/// Members that are put into a wave with one commit.
const CHUNK: usize = 500;

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "a document that people edit")]
pub struct PlanFile {
    /// Its form: [`PLAN_FORM`].
    pub form: u32,
    /// When it was taken out.
    #[serde(default)]
    pub exported: Option<Timestamp>,
    /// What the server that took it out calls itself, with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The newest seal of the record at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Checkpoint>,
    /// The project.
    pub project: PlannedProject,
    /// Its waves, in the order in which they were made.
    #[serde(default)]
    pub waves: Vec<PlannedWave>,
}

/// A project in a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "a document that people edit")]
pub struct PlannedProject {
    /// What people call it.
    pub name: String,
    /// Our server entry by the name that it has at Apple; the only one when it is left out.
    #[serde(default)]
    pub destination: Option<String>,
    /// The services that may be left; any when empty.
    #[serde(default)]
    pub originals: BTreeSet<String>,
    /// When deadlines may lie at all.
    #[serde(default)]
    pub window: Window,
    /// When they may lie within a day and a week.
    #[serde(default)]
    pub calendar: Calendar,
    /// How many devices may be in a hold at once.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// How many devices of a group may be in the gap at once.
    #[serde(default, skip_serializing_if = "GapLimits::is_empty")]
    pub gap: GapLimits,
    /// What must be true of a wave before the next one is submitted.
    #[serde(default)]
    pub gate: Gate,
    /// When no more devices are offered their migration.
    #[serde(default)]
    pub stop: StopRule,
    /// What must have been done at the original service for each device.
    #[serde(default)]
    pub prerequisites: BTreeSet<String>,
    /// Runbooks by platform, without their profiles; the standard one where there is none.
    #[serde(default, deserialize_with = "sent_runbooks")]
    pub runbooks: BTreeMap<Platform, PinnedRunbook>,
    /// Identifiers of the profiles that the runbooks had: they are brought in apart.
    #[serde(default)]
    pub profiles_left_out: BTreeMap<Platform, Vec<String>>,
}

/// A wave in a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "a document that people edit")]
pub struct PlannedWave {
    /// What people call it.
    pub name: String,
    /// Its place in the order.
    #[serde(default)]
    pub preset: Option<Preset>,
    /// What its ADE profile says, if not what the organisation's says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ade: Option<AdeOptions>,
    /// What owners of its devices are told in place of what the organisation says, by language.
    #[serde(default, skip_serializing_if = "OwnerTexts::is_empty")]
    pub owner_texts: OwnerTexts,
    /// Its members.
    #[serde(default)]
    pub members: Vec<PlannedMember>,
}

/// A member in a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "a document that people edit")]
pub struct PlannedMember {
    /// Which device.
    pub serial: Serial,
    /// *Enforced after*.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// *Available from*.
    #[serde(default)]
    pub available_from: Option<Timestamp>,
    /// What was done for it at the original service, by name, with what shows it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub met: BTreeMap<String, PlannedMet>,
}

/// What shows that something was done, as a plan has it: a sentence, or a sentence with who said it and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "a document that people edit")]
pub enum PlannedMet {
    /// Said by whoever brings the plan in, now.
    Evidence(String),
    /// Said by somebody before.
    Said {
        /// What shows it.
        evidence: String,
        /// Who said so.
        by: String,
        /// When.
        at: Timestamp,
    },
}

/// What became of a plan that was brought in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PlanTaken {
    /// The project.
    pub project: Project,
    /// Whether it was made now; one that was there keeps its settings.
    pub made: bool,
    /// Members that came in now, by wave.
    pub added: BTreeMap<String, usize>,
    /// Members that were there already, by wave. Whoever was taken out of an open wave, or called back, is not: they come in again.
    pub there: BTreeMap<String, usize>,
    /// What was there already and is otherwise in the plan, in sentences: it stays as it is.
    pub differs: Vec<String>,
    /// Devices that were not taken, and why.
    pub rejected: BTreeMap<Serial, String>,
    /// Profiles that the runbooks had where the plan comes from.
    pub profiles_left_out: BTreeMap<Platform, Vec<String>>,
}

impl Org {
    /// A project as a document, without what is at Apple: members that were submitted are in it like the others. Waves that are closed
    /// and members that have ended, by migration or because they were taken out, are history and no plan: they are left out.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn plan_file(&self, project: ProjectId) -> Result<PlanFile, Error> {
        let row = self.project(project).await?;
        let (project, waves) = self.planned(row).await?;
        Ok(PlanFile {
            form: PLAN_FORM,
            exported: Some(self.now()),
            server: None,
            record: self.leaves(Some("project")).await?,
            project,
            waves,
        })
    }

    /// What a project and its open waves are as parts of a plan.
    async fn planned(&self, row: Project) -> Result<(PlannedProject, Vec<PlannedWave>), Error> {
        let server = self.store().server(self.id(), row.destination).await?;
        let (mut runbooks, mut left_out) = (BTreeMap::new(), BTreeMap::new());
        for (platform, id) in &row.runbooks {
            let mut runbook = PinnedRunbook::clone(&*self.plan(*id).await?);
            let profiles = std::mem::take(&mut runbook.profiles);
            if !profiles.is_empty() {
                let names = profiles.into_iter().map(|p| p.identifier).collect();
                left_out.insert(*platform, names);
            }
            runbooks.insert(*platform, runbook);
        }
        let mut waves = Vec::new();
        for wave in self.waves_of(row.id).await? {
            if !wave.is_open() {
                continue;
            }
            let mut members = self.members(wave.id).await?;
            members.retain(|m| !m.is_ended());
            waves.push(PlannedWave {
                name: wave.name,
                preset: wave.preset,
                ade: wave.ade,
                owner_texts: wave.owner_texts,
                members: members.into_iter().map(member).collect(),
            });
        }
        let project = PlannedProject {
            name: row.name,
            destination: server.map(|s| s.name),
            originals: row.originals,
            window: row.window,
            calendar: row.calendar,
            capacity: Some(row.capacity),
            gap: row.gap,
            gate: row.gate,
            stop: row.stop,
            prerequisites: row.prerequisites,
            runbooks,
            profiles_left_out: left_out,
        };
        Ok((project, waves))
    }

    /// Brings in a plan: makes the project, switched off, its waves with what they have of their own, and their members. What is there already stays as it is, so
    /// that a plan that was cut off in the middle, or has grown, is brought in again; what of it is otherwise in the plan is answered.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the part that cannot be right, before anything is made; [`Error::NotFound`] without the server
    /// entry; [`Error::Precondition`] for a closed project; the store's. What stands against single devices is answered.
    pub async fn take_plan(&self, plan: &PlanFile) -> Result<PlanTaken, Error> {
        self.check_plan(plan)?;
        let there = self.projects().await?;
        let there = there
            .into_iter()
            .find(|p| p.name == plan.project.name.trim());
        let own = there.as_ref().map(|p| p.id);
        let waves = self.all_waves().await?;
        for (n, wave) in plan.waves.iter().enumerate() {
            let taken = |w: &&Wave| {
                w.is_open() && w.name == wave.name.trim() && (own.is_none() || w.project != own)
            };
            if waves.iter().any(|w| taken(&w)) {
                let field = format!("waves[{n}].name");
                return Err(Error::bad_input(field, "is that of another open wave"));
            }
        }
        let (project, made) = match there {
            Some(project) => {
                still_open(&project)?;
                (project, false)
            }
            None => (self.project_of_plan(plan).await?, true),
        };
        let differs = match made {
            true => Vec::new(),
            false => {
                let (project, waves) = self.planned(project.clone()).await?;
                differences(plan, &project, &waves)
            }
        };
        let mut taken = PlanTaken {
            made,
            added: BTreeMap::new(),
            there: BTreeMap::new(),
            differs,
            rejected: BTreeMap::new(),
            profiles_left_out: plan.project.profiles_left_out.clone(),
            project,
        };
        for wave in &plan.waves {
            self.members_of_plan(wave, &mut taken).await?;
        }
        Ok(taken)
    }

    fn check_plan(&self, plan: &PlanFile) -> Result<(), Error> {
        if plan.form != PLAN_FORM {
            let problem = format!("must be {PLAN_FORM}: another form is not known here");
            return Err(Error::bad_input("form", problem));
        }
        let now = self.now();
        let mut names = BTreeSet::new();
        let mut all = BTreeSet::new();
        for (n, wave) in plan.waves.iter().enumerate() {
            if !names.insert(wave.name.trim()) {
                return Err(Error::bad_input(
                    format!("waves[{n}].name"),
                    "is there twice",
                ));
            }
            wave.terms().check().map_err(|error| match error {
                Error::BadInput { field, problem } => {
                    Error::bad_input(format!("waves[{n}].{field}"), problem)
                }
                other => other,
            })?;
            for (m, member) in wave.members.iter().enumerate() {
                let at = |part: &str| format!("waves[{n}].members[{m}].{part}");
                if !all.insert(&member.serial) {
                    return Err(Error::bad_input(at("serial"), "is there twice"));
                }
                if member
                    .met
                    .keys()
                    .any(|k| !plan.project.prerequisites.contains(k))
                {
                    let problem = "must be prerequisites of the project";
                    return Err(Error::bad_input(at("met"), problem));
                }
                for met in member.met.values() {
                    if let PlannedMet::Said { by, at: said, .. } = met
                        && (*said > now || by.trim().is_empty() || by.len() > 200)
                    {
                        let problem =
                            "must say who said it, and a moment that is not in the future";
                        return Err(Error::bad_input(at("met"), problem));
                    }
                }
                if let (Some(from), Some(deadline)) = (member.available_from, member.deadline)
                    && from >= deadline
                {
                    let problem = "must be later than available_from";
                    return Err(Error::bad_input(at("deadline"), problem));
                }
            }
        }
        Ok(())
    }

    async fn members_of_plan(
        &self,
        plan: &PlannedWave,
        taken: &mut PlanTaken,
    ) -> Result<(), Error> {
        let project: ProjectId = taken.project.id;
        let mut waves = self.waves_of(project).await?;
        waves.retain(|w| w.name == plan.name.trim());
        // Also of waves of this name that are closed: who has come in one of them does not come again. Who was taken out of one that
        // is open, or of which nothing was ever submitted, is in the plan all the same.
        let out = |m: &Move| {
            matches!(
                m.state,
                MoveState::Ended(Outcome::Withdrawn | Outcome::Cancelled)
            )
        };
        let mut there: BTreeSet<Serial> = BTreeSet::new();
        for wave in &waves {
            let mut members = self.members(wave.id).await?;
            let gone = !wave.is_open() && wave.revision.is_some();
            members.retain(|m| gone || !out(m));
            there.extend(members.into_iter().map(|m| m.serial));
        }
        let (old, new): (Vec<&PlannedMember>, Vec<_>) =
            plan.members.iter().partition(|m| there.contains(&m.serial));
        taken.there.insert(plan.name.clone(), old.len());
        let wave: WaveId = match waves.iter().find(|w| w.is_open()) {
            Some(open) => open.id,
            None if !waves.is_empty() && new.is_empty() => {
                taken.added.insert(plan.name.clone(), 0);
                return Ok(());
            }
            None => {
                let terms = plan.terms();
                let made = self.new_wave_with(project, &plan.name, plan.preset, &terms);
                made.await?.id
            }
        };
        // Those of the same dates go in together.
        let mut alike: BTreeMap<(Option<Timestamp>, Option<Timestamp>), Vec<&PlannedMember>> =
            BTreeMap::new();
        for member in new {
            let dates = (member.deadline, member.available_from);
            alike.entry(dates).or_default().push(member);
        }
        let mut added = Vec::new();
        for ((deadline, available_from), members) in alike {
            let dates = Dates {
                deadline,
                available_from,
            };
            for chunk in members.chunks(CHUNK) {
                self.add_chunk(wave, chunk, dates, taken, &mut added)
                    .await?;
            }
        }
        taken.added.insert(plan.name.clone(), added.len());
        let mut met: BTreeMap<(&str, &PlannedMet), Vec<Serial>> = BTreeMap::new();
        for member in added {
            for (name, said) in &member.met {
                let of = met.entry((name, said)).or_default();
                of.push(member.serial.clone());
            }
        }
        for ((name, said), serials) in met {
            let met = match said.clone() {
                PlannedMet::Evidence(evidence) => Met {
                    by: self.actor().to_owned(),
                    at: self.now(),
                    evidence,
                },
                PlannedMet::Said { evidence, by, at } => Met { by, at, evidence },
            };
            sentence("met", &met.evidence, true)?;
            self.meet_as(wave, Some(&serials), name, &met).await?;
        }
        Ok(())
    }

    /// All of a chunk at once; where something stands against it, one by one, so that nobody keeps the others out.
    async fn add_chunk<'a>(
        &self,
        wave: WaveId,
        chunk: &[&'a PlannedMember],
        dates: Dates,
        taken: &mut PlanTaken,
        added: &mut Vec<&'a PlannedMember>,
    ) -> Result<(), Error> {
        let serials: Vec<Serial> = chunk.iter().map(|m| m.serial.clone()).collect();
        match self.add_members(wave, &serials, dates).await {
            Ok(_) => {
                added.extend(chunk);
                return Ok(());
            }
            Err(Error::Store(error)) => return Err(error.into()),
            Err(_) => {}
        }
        for member in chunk {
            let serial = member.serial.clone();
            match self
                .add_members(wave, std::slice::from_ref(&serial), dates)
                .await
            {
                Ok(_) => added.push(member),
                Err(Error::Store(error)) => return Err(error.into()),
                Err(other) => {
                    taken.rejected.insert(serial, other.to_string());
                }
            }
        }
        Ok(())
    }
}

impl PlannedWave {
    fn terms(&self) -> WaveTerms {
        WaveTerms {
            ade: self.ade.clone(),
            owner_texts: self.owner_texts.clone(),
        }
    }
}

fn member(of: Move) -> PlannedMember {
    PlannedMember {
        serial: of.serial,
        deadline: Some(of.deadline),
        // What was forced may have its deadline before its offer; a plan may not.
        available_from: Some(of.available_from.min(of.deadline - Duration::from_secs(1))),
        met: of
            .met
            .into_iter()
            .map(|(name, Met { by, at, evidence })| (name, PlannedMet::Said { evidence, by, at }))
            .collect(),
    }
}
