//! Projects: made, changed, switched on and off, closed. A change of the plan is a revision; what was submitted keeps its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::json;

use super::super::Org;
use crate::calendar::Calendar;
use crate::device::Platform;
use crate::error::Error;
use crate::gap::GapLimits;
use crate::ids::{ProjectId, RunbookId, ServerId, WaveId};
use crate::migration::{PinnedRunbook, Variant, sent_runbooks};
use crate::organisation::check_name;
use crate::project::{Gate, PinnedPlan, Project, StopRule, Window};
use crate::store::Batch;
use crate::wave::Wave;

/// What is to be changed of a project; what is left out stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct ProjectChange {
    /// The server entry to which devices go; only as long as nothing was submitted.
    pub destination: Option<ServerId>,
    /// The services that may be left, by their identifiers at Apple; any when empty.
    pub originals: Option<BTreeSet<String>>,
    /// When deadlines may lie at all.
    pub window: Option<Window>,
    /// When they may lie within a day and a week.
    pub calendar: Option<Calendar>,
    /// How many devices may be in a hold at once.
    pub capacity: Option<u32>,
    /// How many devices of a group may be in the gap at once.
    pub gap: Option<GapLimits>,
    /// What must be true of a wave before the next one is submitted.
    pub gate: Option<Gate>,
    /// When no more devices are offered their migration.
    pub stop: Option<StopRule>,
    /// What must have been done at the original service for each device.
    pub prerequisites: Option<BTreeSet<String>>,
    /// Runbooks by platform.
    #[serde(deserialize_with = "sent_runbooks")]
    pub runbooks: BTreeMap<Platform, PinnedRunbook>,
}

impl Org {
    /// Makes a project, switched off, with the standard runbook of each platform for which none is given.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that is taken and for whatever cannot be right, of a runbook by step and field; [`Error::NotFound`] without the server
    /// entry; the store's.
    pub async fn new_project(
        &self,
        name: &str,
        destination: ServerId,
        change: &ProjectChange,
    ) -> Result<Project, Error> {
        let name = check_name(name)?;
        self.destination(destination).await?;
        let pinned = self.pin_all(name, &change.runbooks, true).await?;
        self.again_on_conflict(|| async {
            if self.projects().await?.iter().any(|p| p.name == name) {
                return Err(Error::bad_input("name", "is that of another project"));
            }
            let now = self.now();
            let id = ProjectId(self.ids().next(now));
            let mut project = Project::new(self.id(), id, name, destination, now);
            let mut asked = pinned.clone();
            if let Some(template) = self.fresh().await?.template {
                template.rule(&mut project);
                // The standard runbook of a platform stands back; one that somebody asks for is refused below.
                asked.retain(|p, _| {
                    change.runbooks.contains_key(p) || !template.runbooks.contains_key(p)
                });
            }
            apply(&mut project, change, &asked);
            project.check()?;
            self.must_follow(&project).await?;
            let mut batch = Batch::new();
            self.hold_entry(&mut batch, project.destination).await?;
            self.audit_into(
                &mut batch,
                "project.new",
                json!({ "project": id, "name": name }),
            );
            batch.put(project.clone());
            self.store().commit(batch).await?;
            Ok(project)
        })
        .await
    }

    /// Changes a project: the next revision. Waves that were submitted keep what they were submitted with; what would be otherwise
    /// now is shown as their drift.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Precondition`] for a closed one; as [`Org::new_project`].
    pub async fn change_project(
        &self,
        id: ProjectId,
        change: &ProjectChange,
    ) -> Result<Project, Error> {
        let project = self.project(id).await?;
        still_open(&project)?;
        let name = project.name;
        if let Some(destination) = change.destination {
            self.destination(destination).await?;
        }
        let pinned = self.pin_all(&name, &change.runbooks, false).await?;
        let planned = !self.waves_of(id).await?.is_empty();
        if change.gap.as_ref().is_some_and(|gap| !gap.is_empty()) {
            // Whoever is in the gap already counts from the first moment on.
            self.note_places().await?;
        }
        self.alter_project(id, "project.changed", |project: &mut Project| {
            let moved = change.destination.filter(|d| *d != project.destination);
            if moved.is_some() && planned {
                let why =
                    "the project has waves: their devices go to where it was when they were made";
                return Err(Error::Precondition(why.to_owned()));
            }
            apply(project, change, &pinned);
            project.revision += 1;
            project.check()
        })
        .await
    }

    /// Turns a project on, or off: then nothing of it is submitted. What was submitted goes on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Precondition`] for a closed one; the store's.
    pub async fn switch_project(&self, id: ProjectId, on: bool) -> Result<Project, Error> {
        let what = if on { "project.on" } else { "project.off" };
        self.alter_project(id, what, |project: &mut Project| {
            project.on = on;
            Ok(())
        })
        .await
    }

    /// Closes a project whose devices have all come to an end, and its waves with it.
    ///
    /// # Errors
    /// [`Error::Precondition`] as long as somebody is on the way or planned, and for one that is closed.
    pub async fn close_project(&self, id: ProjectId) -> Result<Project, Error> {
        self.alter_project(id, "project.closed", |project: &mut Project| {
            project.on = false;
            project.closed = Some(self.now());
            Ok(())
        })
        .await
    }

    /// All of them, in the order in which they were made.
    ///
    /// # Errors
    /// The store's.
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        Ok(self.store().projects(self.id()).await?)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn project(&self, id: ProjectId) -> Result<Project, Error> {
        let found = self.store().project(self.id(), id).await?;
        found.ok_or(Error::NotFound("project"))
    }

    /// The waves of a project, in the order in which they go: by what they are for, then as they were made.
    ///
    /// # Errors
    /// The store's.
    pub async fn waves_of(&self, project: ProjectId) -> Result<Vec<Wave>, Error> {
        let mut waves = self.all_waves().await?;
        waves.retain(|wave| wave.project == Some(project));
        waves.sort_by_key(|wave| (wave.preset.is_none(), wave.preset, wave.id));
        Ok(waves)
    }

    pub(in crate::service) async fn all_waves(&self) -> Result<Vec<Wave>, Error> {
        let (mut waves, mut after) = (Vec::new(), WaveId(0));
        loop {
            let page = self.store().waves(self.id(), after, 500).await?;
            let Some(last) = page.last() else {
                return Ok(waves);
            };
            after = last.id;
            waves.extend(page);
        }
    }

    pub(in crate::service) async fn project_of(
        &self,
        wave: &Wave,
    ) -> Result<Option<Project>, Error> {
        match wave.project {
            Some(id) => Ok(Some(self.project(id).await?)),
            None => Ok(None),
        }
    }

    /// What of a wave would be otherwise if it were submitted now: what people have changed of its project since it was submitted,
    /// or since a draft was last looked at.
    pub(super) fn drift(&self, project: Option<&Project>, wave: &Wave) -> Vec<String> {
        let mut found = project.map_or_else(Vec::new, |project| Self::drift_of(project, wave));
        let was = wave.submitted_ade.as_ref().filter(|_| wave.is_submitted());
        if was.is_some_and(|was| was != self.ade_of(wave)) {
            found.push(
                "another ADE profile since it was submitted: its devices get the new one at their next assignment"
                    .to_owned(),
            );
        }
        found
    }

    fn drift_of(project: &Project, wave: &Wave) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(now) = wave.runbooks_of_now(project) {
            let others = now
                .iter()
                .filter(|(p, id)| wave.runbooks.get(p) != Some(id));
            let say = |(platform, _): (&Platform, _)| {
                format!(
                    "another runbook for {} since: its devices take that one, and what was accepted is void",
                    platform.as_str()
                )
            };
            return others.map(say).collect();
        }
        let Some(revision) = wave.revision.filter(|r| *r != project.revision) else {
            return found;
        };
        found.push(format!(
            "submitted with revision {revision} of {}; it is at {}",
            project.name, project.revision
        ));
        let now = PinnedPlan::of(project);
        let parts = wave.plan.as_ref().map(|plan| plan.differences(&now));
        for part in parts.unwrap_or_default() {
            found.push(format!(
                "another {part} since: this wave keeps what it was submitted with"
            ));
        }
        for (platform, runbook) in &project.runbooks {
            if wave
                .runbooks
                .get(platform)
                .is_some_and(|own| own != runbook)
            {
                found.push(format!(
                    "another runbook for {} since: its devices keep the one that they were submitted with",
                    platform.as_str()
                ));
            }
        }
        found
    }

    async fn destination(&self, id: ServerId) -> Result<(), Error> {
        let found = self.server_entry(id).await?;
        found.map(drop).ok_or(Error::NotFound("server entry"))
    }

    /// Pins runbooks; with `standard` also the usual one of each platform that is not among them.
    async fn pin_all(
        &self,
        name: &str,
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
        standard: bool,
    ) -> Result<BTreeMap<Platform, RunbookId>, Error> {
        let mut given = self.given_runbooks(runbooks).await?;
        let mut pinned = BTreeMap::new();
        for platform in [Platform::Ios, Platform::Ipados, Platform::Macos] {
            let runbook = match given.remove(&platform) {
                Some(own) => own,
                None if standard => PinnedRunbook::standard(platform, Variant::Migration),
                None => continue,
            };
            let name = format!("{name} {}", platform.as_str());
            pinned.insert(platform, self.pin(&name, runbook).await?);
        }
        Ok(pinned)
    }

    async fn alter_project(
        &self,
        id: ProjectId,
        what: &str,
        change: impl Fn(&mut Project) -> Result<(), Error>,
    ) -> Result<Project, Error> {
        self.again_on_conflict(|| async {
            let mut project = self.project(id).await?;
            still_open(&project)?;
            let (before, whereto) = (json!(project), project.destination);
            change(&mut project)?;
            let after = json!(project);
            let changes: BTreeMap<&String, [&serde_json::Value; 2]> = after
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, now)| before[name.as_str()] != **now)
                .map(|(name, now)| (name, [&before[name.as_str()], now]))
                .collect();
            let mut batch = Batch::new();
            match project.closed {
                None => self.must_follow(&project).await?,
                Some(_) => self.put_waves_closed(&mut batch, id).await?,
            }
            if project.destination != whereto {
                self.hold_entry(&mut batch, project.destination).await?;
            }
            let detail =
                json!({ "project": id, "name": project.name, "revision": project.revision, "changes": changes });
            self.audit_into(&mut batch, what, detail);
            batch.put(project.clone());
            self.store().commit(batch).await?;
            Ok(project)
        })
        .await
    }
}

/// That something can still be done with a project.
pub(super) fn still_open(project: &Project) -> Result<(), Error> {
    if project.closed.is_some() {
        let why = "the project is closed: nothing of it is changed or done any more";
        return Err(Error::Precondition(why.to_owned()));
    }
    Ok(())
}

fn apply(project: &mut Project, change: &ProjectChange, pinned: &BTreeMap<Platform, RunbookId>) {
    macro_rules! take {
        ($($part:ident)*) => {$(
            if let Some(value) = &change.$part {
                project.$part.clone_from(value);
            }
        )*};
    }
    take! { destination originals window calendar capacity gap gate stop prerequisites }
    project.runbooks.extend(pinned);
}
