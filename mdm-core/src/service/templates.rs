//! Templates of the installation: edited here, pushed to chosen organisations, and pinned and locked there. An edit changes nothing
//! anywhere before the next push; what is then otherwise is shown as drift.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::wave::sentence;
use super::{Mdm, Org};
use crate::counted::counted;
use crate::device::Platform;
use crate::error::Error;
use crate::ids::{OrganisationCode, OrganisationId, ProjectId, RunbookId, ServerId};
use crate::migration::{PinnedRunbook, Variant};
use crate::organisation::{Organisation, check_name};
use crate::project::Project;
use crate::server_certificate::INSTALLATION;
use crate::shell;
use crate::store::{Batch, StoreError};
use crate::template::{PushedTemplate, Template, TemplateContent};

/// Organisations that are read at a time.
const PAGE: u32 = 200;
/// How often a decision is made again that somebody else was faster than.
const TRIES: u32 = 8;

/// A template and where it was pushed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TemplateView {
    /// It.
    #[serde(flatten)]
    pub template: Template,
    /// Where it is in force.
    pub pushed: Vec<TemplatePush>,
}

/// A template in one organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TemplatePush {
    /// The organisation's code.
    pub organisation: OrganisationCode,
    /// Its name.
    pub name: String,
    /// Which edit is in force there.
    pub revision: u32,
    /// What is otherwise: a newer edit that was not pushed, projects that were changed past the lock.
    pub drift: Vec<String>,
}

impl Mdm {
    /// All templates that are in use, by name, with where each is in force.
    ///
    /// # Errors
    /// The store's.
    pub async fn templates(&self) -> Result<Vec<TemplateView>, Error> {
        let mut all = self.inner.store.templates(INSTALLATION).await?;
        all.retain(|template| template.removed.is_none());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let view = |template| TemplateView {
            template,
            pushed: Vec::new(),
        };
        let mut views: Vec<TemplateView> = all.into_iter().map(view).collect();
        let mut after = OrganisationId(0);
        loop {
            let page = self.organisations(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(views);
            };
            after = last.id;
            for organisation in page {
                let Some(pushed) = organisation.template.clone() else {
                    continue;
                };
                let (code, name) = (organisation.code.clone(), organisation.name.clone());
                let projects = self.handle(organisation).projects().await?;
                let found = views.iter_mut().find(|v| v.template.id == pushed.template);
                if let Some(view) = found {
                    let drift = drift(&pushed, Some(&view.template), &projects);
                    view.pushed.push(TemplatePush {
                        organisation: code,
                        name,
                        revision: pushed.revision,
                        drift,
                    });
                }
            }
        }
    }

    /// One template.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn template(&self, name: &str) -> Result<TemplateView, Error> {
        let id = Template::id_of(name);
        let all = self.templates().await?;
        let found = all.into_iter().find(|view| view.template.id == id);
        found.ok_or(Error::NotFound("template"))
    }

    /// Makes a template, or the next edit of it. `seen` is the edit that it was made from, if the caller knows; 0 is for one that is not there. Changes nothing where
    /// it is in force: that is a push. The very same content again is no new edit.
    ///
    /// # Errors
    /// [`Error::BadInput`] naming the part; [`Error::Precondition`] when somebody else was faster; the store's.
    pub async fn edit_template(
        &self,
        name: &str,
        content: &TemplateContent,
        seen: Option<u32>,
        by: &str,
        reason: &str,
    ) -> Result<Template, Error> {
        let name = check_name(name)?;
        sentence("reason", reason, false)?;
        content.check()?;
        for _ in 0..TRIES {
            let found = self
                .inner
                .store
                .template(INSTALLATION, Template::id_of(name))
                .await?;
            let mut template = found.unwrap_or_else(|| Template::new(name));
            if template.content == *content && template.removed.is_none() {
                return Ok(template);
            }
            let there = match template.removed {
                Some(_) => 0,
                None => template.revision,
            };
            if let Some(seen) = seen.filter(|seen| *seen != there) {
                return Err(Error::Precondition(format!(
                    "the template is at revision {there}, and this was made from {seen}: somebody has changed it since"
                )));
            }
            template.content = content.clone();
            template.removed = None;
            template.edited(by, self.now(), reason);
            let mut batch = Batch::new();
            batch.put(template.clone());
            match self.inner.store.commit(batch).await {
                Ok(()) => return Ok(template),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Takes a template out of use that is in force nowhere.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] naming where it is in force; the store's.
    pub async fn remove_template(&self, name: &str) -> Result<Template, Error> {
        for _ in 0..TRIES {
            let view = self.template(name).await?;
            if let Some(pushed) = view.pushed.first() {
                return Err(Error::Precondition(format!(
                    "it is in force in {}, {} first: take it from them (`mdmd template remove {} --from CODE`)",
                    counted(view.pushed.len(), "organisation"),
                    pushed.name,
                    shell::word(name)
                )));
            }
            let mut template = view.template;
            template.removed = Some(self.now());
            let mut batch = Batch::new();
            batch.put(template.clone());
            match self.inner.store.commit(batch).await {
                Ok(()) => return Ok(template),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }
}

fn drift(pushed: &PushedTemplate, newest: Option<&Template>, projects: &[Project]) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(newest) = newest.filter(|newest| newest.revision != pushed.revision) {
        found.push(format!(
            "revision {} is in force, and the template is at {}",
            pushed.revision, newest.revision
        ));
    }
    let open = projects.iter().filter(|project| project.closed.is_none());
    found.extend(open.flat_map(|project| pushed.drift(project)));
    found
}

impl Org {
    /// The template that is in force here, with what of the projects is otherwise.
    ///
    /// # Errors
    /// The store's.
    pub async fn pushed_template(&self) -> Result<Option<(PushedTemplate, Vec<String>)>, Error> {
        let Some(pushed) = self.fresh().await?.template else {
            return Ok(None);
        };
        let newest = self.store().template(INSTALLATION, pushed.template).await?;
        let drift = drift(&pushed, newest.as_ref(), &self.projects().await?);
        Ok(Some((pushed, drift)))
    }

    /// Puts the edit of a template that is in force into this organisation: its runbooks are kept and pinned here, its open projects
    /// are as it says from now on, and what it says is locked. What was submitted keeps what it was submitted with. Again does no
    /// harm, and mends what was changed past the lock.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::BadInput`] where the library lacks a profile of its runbooks; [`Error::Precondition`] when another
    /// template is in force; the vault's, the store's.
    pub async fn push_template(&self, name: &str) -> Result<PushedTemplate, Error> {
        let id = Template::id_of(name);
        let found = self.store().template(INSTALLATION, id).await?;
        let template = found
            .filter(|template| template.removed.is_none())
            .ok_or(Error::NotFound("template"))?;
        let before = self.fresh().await?.template;
        if let Some(other) = before.as_ref().filter(|o| o.template != id) {
            return Err(Error::Precondition(format!(
                "the template {} is in force here: take it away first",
                other.name
            )));
        }
        let mut rules = template.content.clone();
        let mut pushed = PushedTemplate {
            template: id,
            name: template.name.clone(),
            revision: template.revision,
            by: self.actor().to_owned(),
            at: self.now(),
            runbooks: BTreeMap::new(),
            rules: TemplateContent::default(),
        };
        let runbooks = std::mem::take(&mut rules.runbooks);
        if let Some(same) = before.filter(|before| before.revision == template.revision) {
            // Its runbooks are pinned here already, with the profiles of that day.
            pushed.runbooks = same.runbooks;
        }
        for (platform, runbook) in runbooks {
            if pushed.runbooks.contains_key(&platform) {
                continue;
            }
            let name = pushed.runbook_name(platform);
            let reason = format!("template {}, revision {}", pushed.name, pushed.revision);
            let kept = self
                .keep_runbook(&name, platform, runbook, None, &reason)
                .await?;
            let edit = kept
                .edit(None)
                .ok_or(Error::NotFound("edit of this runbook"))?;
            pushed.runbooks.insert(platform, edit.pinned);
        }
        pushed.rules = rules;
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            if organisation.template.as_ref().is_some_and(|t| t.template != id) {
                let why = "another template was pushed here at the same moment";
                return Err(Error::Precondition(why.to_owned()));
            }
            let mut batch = Batch::new();
            let mut changed = Vec::new();
            for before in self.projects().await? {
                let mut project = before.clone();
                pushed.rule(&mut project);
                if project.closed.is_none() && project != before {
                    project.revision += 1;
                    changed.push(project.name.clone());
                    batch.put(project);
                }
            }
            let detail = json!({ "template": pushed.name, "revision": pushed.revision, "projects": changed });
            self.audit_into(&mut batch, "template.pushed", detail);
            organisation.template = Some(pushed.clone());
            batch.put(organisation);
            self.store().commit(batch).await?;
            Ok(pushed.clone())
        })
        .await
    }

    /// Takes the template away: what it says stays as it is, and is the organisation's own from now on.
    ///
    /// # Errors
    /// [`Error::Precondition`] when this one is not in force; the store's.
    pub async fn take_template(&self, name: &str) -> Result<Organisation, Error> {
        let id = Template::id_of(name);
        let detail = json!({ "template": name });
        let take = |organisation: &mut Organisation| match organisation.template.take() {
            Some(pushed) if pushed.template == id => Ok(()),
            _ => Err(Error::Precondition(
                "this template is not in force here".to_owned(),
            )),
        };
        self.change_organisation("template.taken", detail, take)
            .await
    }

    /// Refuses a project that is otherwise than the template says.
    pub(super) async fn must_follow(&self, changed: &Project) -> Result<(), Error> {
        let Some(pushed) = self.fresh().await?.template else {
            return Ok(());
        };
        match pushed.locks(changed) {
            None => Ok(()),
            Some(part) => Err(locked(part, &pushed)),
        }
    }

    /// The runbooks of devices that are part of no project: those that are given, and for every other platform the one that a template
    /// locks here, or else the standard one.
    ///
    /// # Errors
    /// The store's.
    pub async fn runbooks_of_list(
        &self,
        mut given: BTreeMap<Platform, PinnedRunbook>,
    ) -> Result<BTreeMap<Platform, PinnedRunbook>, Error> {
        let pushed = self.fresh().await?.template;
        let locked = pushed.map(|pushed| pushed.runbooks).unwrap_or_default();
        for platform in [Platform::Ios, Platform::Ipados, Platform::Macos] {
            if given.contains_key(&platform) {
                continue;
            }
            let runbook = match locked.get(&platform) {
                Some(id) => PinnedRunbook::clone(&*self.plan(*id).await?),
                None => PinnedRunbook::standard(platform, Variant::Migration),
            };
            given.insert(platform, runbook);
        }
        Ok(given)
    }

    /// Refuses other runbooks for devices that are part of no project than a template locks here, as of a project.
    pub(super) async fn must_go_with(
        &self,
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
    ) -> Result<(), Error> {
        let Some(pushed) = self.fresh().await?.template else {
            return Ok(());
        };
        // As the template wants one, but for these.
        let nowhere = (ProjectId(0), ServerId(0));
        let mut project = Project::new(self.id(), nowhere.0, "", nowhere.1, self.now());
        pushed.rule(&mut project);
        for (platform, asked) in runbooks {
            // Compared as they are: what one that was pinned long ago is called by its content may be otherwise by now.
            let mut id = RunbookId(asked.content_id());
            if let Some(locked) = pushed.runbooks.get(platform)
                && *self.plan(*locked).await? == *asked
            {
                id = *locked;
            }
            project.runbooks.insert(*platform, id);
        }
        self.must_follow(&project).await
    }

    /// Refuses an edit of a runbook that a template has put here.
    pub(super) async fn must_be_own(&self, name: &str, platform: Platform) -> Result<(), Error> {
        let Some(pushed) = self.fresh().await?.template else {
            return Ok(());
        };
        let same = |p: Platform| pushed.runbook_name(p).to_lowercase() == name.to_lowercase();
        let theirs = pushed.runbooks.keys().any(|p| same(*p)) || same(platform);
        match theirs {
            true => Err(locked("the runbook", &pushed)),
            false => Ok(()),
        }
    }
}

fn locked(part: &str, pushed: &PushedTemplate) -> Error {
    Error::Precondition(format!(
        "{part} is locked by the template {} (revision {}) of this installation: it is changed there, or after the template was taken from this organisation",
        pushed.name, pushed.revision
    ))
}
