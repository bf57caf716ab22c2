//! Runbooks that people keep under a name and edit: checked before they are kept, each edit a revision, and what was submitted with
//! an earlier one shown as drift. Runs none; what an edit says is pinned like any other.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::Org;
use super::wave::sentence;
use crate::device::Platform;
use crate::error::Error;
use crate::ids::RunbookId;
use crate::library::LibraryContent;
use crate::migration::{PinnedRunbook, Variant};
use crate::organisation::{Organisation, check_name};
use crate::runbook::KeptRunbook;
use crate::secret::SecretKind;
use crate::store::Batch;
use crate::vault::EscrowVault;

/// A kept runbook and where it is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RunbookView {
    /// It, with its edits.
    #[serde(flatten)]
    pub runbook: KeptRunbook,
    /// The number of the edit in force.
    pub revision: u32,
    /// Projects and waves that have one of its edits.
    pub uses: Vec<RunbookUse>,
}

/// Where a kept runbook is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RunbookUse {
    /// `project`, `wave` or `enrolment`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Which edit it has.
    pub revision: u32,
    /// Another edit is in force since: what was submitted keeps its own.
    pub drift: bool,
}

impl Org {
    /// Runbooks that are kept under a name, by name, and where each is in use.
    ///
    /// # Errors
    /// The store's.
    pub async fn kept_runbooks(&self) -> Result<Vec<RunbookView>, Error> {
        let mut kept = self.store().kept_runbooks(self.id()).await?;
        kept.retain(|runbook| runbook.removed.is_none());
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        let mut places = Vec::new();
        for project in self.projects().await? {
            if project.closed.is_none() {
                places.push(("project", project.name, project.runbooks));
            }
        }
        for wave in self.all_waves().await? {
            places.push(("wave", wave.name, wave.runbooks));
        }
        let view = |runbook: KeptRunbook| {
            let revision = runbook.revision();
            let unplanned = &self.organisation.settings.unplanned_runbooks;
            let chosen = unplanned.get(&runbook.platform) == Some(&runbook.name);
            let chosen = chosen.then(|| RunbookUse {
                kind: "enrolment",
                name: "by a migration that nobody planned here".to_owned(),
                revision,
                drift: false,
            });
            let standard = standard_of(runbook.platform);
            let uses = places.iter().flat_map(|(kind, name, runbooks)| {
                revision_in(&runbook, standard, runbooks).map(|has| RunbookUse {
                    kind,
                    name: name.clone(),
                    revision: has,
                    drift: has != revision,
                })
            });
            RunbookView {
                uses: chosen.into_iter().chain(uses).collect(),
                revision,
                runbook,
            }
        };
        Ok(kept.into_iter().map(view).collect())
    }

    /// A kept runbook and what an edit of it says; the one in force when none is named. Contents of profiles are sealed.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn kept_runbook(
        &self,
        name: &str,
        revision: Option<u32>,
    ) -> Result<(KeptRunbook, PinnedRunbook), Error> {
        let kept = self.kept(name).await?;
        let kept = kept.filter(|kept| kept.removed.is_none());
        let kept = kept.ok_or(Error::NotFound("runbook"))?;
        let edit = kept.edit(revision);
        let pinned = edit.ok_or(Error::NotFound("edit of this runbook"))?.pinned;
        let plan = PinnedRunbook::clone(&*self.plan(pinned).await?);
        Ok((kept, plan))
    }

    /// Its row, of one that was taken out of use, too.
    async fn kept(&self, name: &str) -> Result<Option<KeptRunbook>, Error> {
        let id = KeptRunbook::id_of(name);
        Ok(self.store().kept_runbook(self.id(), id).await?)
    }

    /// Says what is wrong with an edited runbook, if something is, and takes profiles that are named without content from the
    /// library. Keeps nothing.
    ///
    /// # Errors
    /// [`Error::BadInput`] with step and field.
    pub async fn check_runbook(
        &self,
        platform: Platform,
        mut runbook: PinnedRunbook,
    ) -> Result<PinnedRunbook, Error> {
        let library = if runbook.profiles.iter().any(|p| p.content.0.is_empty()) {
            self.library().await?
        } else {
            Vec::new()
        };
        for (n, profile) in runbook.profiles.iter_mut().enumerate() {
            if !profile.content.0.is_empty() {
                continue;
            }
            let wanted = &profile.identifier;
            let found = library.iter().filter(|item| item.removed.is_none());
            let mut found = found.filter_map(|item| match &item.content {
                LibraryContent::Profile {
                    identifier,
                    content,
                    ..
                } if identifier == wanted => Some(*content),
                _ => None,
            });
            let Some(content) = found.next_back() else {
                return Err(Error::bad_input(
                    format!("runbook.profiles[{n}].content"),
                    "is missing, and the library has no profile with this identifier",
                ));
            };
            let content = self.open_secret(content).await?;
            content.expose().clone_into(&mut profile.content.0);
        }
        runbook.validate_for(platform)?;
        if runbook
            .step(crate::migration::StepId::FvEscrow)
            .is_some_and(|step| step.required)
            && self.organisation().escrow.is_none()
        {
            return Err(Error::bad_input(
                "runbook.steps.fv-escrow.required",
                "there is no escrow certificate, so that it could never be proved",
            ));
        }
        Ok(runbook)
    }

    /// Runbooks that come from outside, each checked like one that somebody edits. The standard one of a platform is right as it is:
    /// that there is no escrow certificate yet is a finding of the what-if, and keeps nobody from planning.
    ///
    /// # Errors
    /// [`Error::BadInput`] with platform, step and field.
    pub(super) async fn given_runbooks(
        &self,
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
    ) -> Result<BTreeMap<Platform, PinnedRunbook>, Error> {
        let mut whole = BTreeMap::new();
        for (platform, runbook) in runbooks {
            let mut standard = PinnedRunbook::standard(*platform, runbook.variant);
            standard.revision = runbook.revision;
            let runbook = match standard == *runbook {
                true => standard,
                false => {
                    let checked = self.check_runbook(*platform, runbook.clone()).await;
                    checked.map_err(|error| of_platform(*platform, error))?
                }
            };
            whole.insert(*platform, runbook);
        }
        Ok(whole)
    }

    /// Keeps a runbook under a name, or the next edit of it. `seen` is the edit that it was made from, if the caller knows: another one
    /// in force since refuses it. The very same content again is no new edit.
    ///
    /// # Errors
    /// [`Error::BadInput`] naming step and field, or a platform that is not that of the earlier edits;
    /// [`Error::Precondition`] when somebody else was faster; the vault's, the store's.
    pub async fn edit_runbook(
        &self,
        name: &str,
        platform: Platform,
        runbook: PinnedRunbook,
        seen: Option<u32>,
        reason: &str,
    ) -> Result<KeptRunbook, Error> {
        let name = check_name(name)?;
        self.must_be_own(name, platform).await?;
        sentence("reason", reason, false)?;
        self.keep_runbook(name, platform, runbook, seen, reason)
            .await
    }

    /// The same, whoever has the name.
    pub(super) async fn keep_runbook(
        &self,
        name: &str,
        platform: Platform,
        runbook: PinnedRunbook,
        seen: Option<u32>,
        reason: &str,
    ) -> Result<KeptRunbook, Error> {
        let mut runbook = self.check_runbook(platform, runbook).await?;
        for profile in &mut runbook.profiles {
            if !EscrowVault::is_sealed(&profile.content.0) {
                // Sealed before it is pinned: whoever reads it and gives it back then means the same one.
                let content = crate::secret::Secret::new(std::mem::take(&mut profile.content.0));
                let sealed = self
                    .seal_bytes(SecretKind::ProfileContent, &content)
                    .await?;
                profile.content.0 = sealed;
            }
        }
        self.again_on_conflict(|| {
            let runbook = runbook.clone();
            async { self.put_edit(name, platform, runbook, seen, reason).await }
        })
        .await
    }

    async fn put_edit(
        &self,
        name: &str,
        platform: Platform,
        mut runbook: PinnedRunbook,
        seen: Option<u32>,
        reason: &str,
    ) -> Result<KeptRunbook, Error> {
        let kept = self.kept(name).await?;
        let mut kept = kept.unwrap_or_else(|| KeptRunbook::new(self.id(), name, platform));
        let mut in_force = kept.revision();
        if kept.removed.take().is_some() {
            // Its name is free: nobody has seen one, and what is kept from now on may be for another platform.
            (kept.platform, in_force) = (platform, 0);
            name.clone_into(&mut kept.name);
        }
        if kept.platform != platform {
            return Err(Error::bad_input(
                "platform",
                format!("is {} for this runbook", kept.platform.as_str()),
            ));
        }
        let before = match kept.edit(None).filter(|_| in_force > 0) {
            Some(edit) => Some(self.plan(edit.pinned).await?),
            None => None,
        };
        if let Some(before) = &before {
            runbook.revision = before.revision;
            if **before == runbook {
                return Ok(kept);
            }
        }
        if let Some(seen) = seen.filter(|seen| *seen != in_force) {
            let now = match in_force {
                0 => "there is no runbook of this name".to_owned(),
                revision => format!("the runbook is at revision {revision}"),
            };
            return Err(Error::Precondition(format!(
                "{now}, and this was made from {seen}: somebody has changed it since"
            )));
        }
        runbook.revision = kept.revision() + 1;
        let pinned: RunbookId = self.pin(name, runbook.clone()).await?;
        let now = self.now();
        kept.edited(pinned, self.actor(), now, reason);
        let changed = before.map(|before| changes(&before, &runbook));
        let mut batch = Batch::new();
        self.audit_into(
            &mut batch,
            "runbook.edited",
            json!({
                "runbook": kept.name,
                "revision": kept.revision(),
                "digest": runbook.digest(),
                "changed": changed.unwrap_or_default(),
                "reason": reason,
            }),
        );
        batch.put(kept.clone());
        self.store().commit(batch).await?;
        Ok(kept)
    }

    /// Takes a kept runbook out of use that nothing goes by any more: no open project, no open wave, no enrolment that nobody
    /// planned, no template. What was pinned of it stays: attempts are told and proved by theirs. Its name is free then.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] names what goes by it; the store's.
    pub async fn remove_runbook(&self, name: &str) -> Result<KeptRunbook, Error> {
        self.again_on_conflict(|| async {
            let kept = self.kept(name).await?;
            let kept = kept.filter(|kept| kept.removed.is_none());
            let mut kept = kept.ok_or(Error::NotFound("runbook"))?;
            self.must_be_own(&kept.name, kept.platform).await?;
            // Written as well: whoever chooses it for enrolments meanwhile was quicker and is seen, or decides anew and finds none.
            let organisation = self.fresh().await?;
            if let Some(user) = self.goes_by(&kept, &organisation).await? {
                return Err(Error::Precondition(format!(
                    "{} cannot be removed: {user}",
                    kept.name
                )));
            }
            kept.removed = Some(self.now());
            let mut batch = Batch::new();
            let detail = json!({ "runbook": kept.name, "revision": kept.revision() });
            self.audit_into(&mut batch, "runbook.removed", detail);
            batch.put(organisation).put(kept.clone());
            self.store().commit(batch).await?;
            Ok(kept)
        })
        .await
    }

    /// What goes by a kept runbook, in words.
    async fn goes_by(
        &self,
        kept: &KeptRunbook,
        organisation: &Organisation,
    ) -> Result<Option<String>, Error> {
        let chosen = organisation.settings.unplanned_runbooks.get(&kept.platform);
        if chosen.is_some_and(|name| KeptRunbook::id_of(name) == kept.id) {
            return Ok(Some(
                "devices that come by a migration which nobody planned here are set up by it"
                    .to_owned(),
            ));
        }
        let standard = standard_of(kept.platform);
        let has = |runbooks: &BTreeMap<Platform, RunbookId>| {
            revision_in(kept, standard, runbooks).is_some()
        };
        for project in self.projects().await? {
            if project.closed.is_none() && has(&project.runbooks) {
                return Ok(Some(format!("the project {} has it", project.name)));
            }
        }
        for wave in self.all_waves().await? {
            if wave.is_open() && has(&wave.runbooks) {
                return Ok(Some(format!("the wave {} has it, and is open", wave.name)));
            }
        }
        Ok(None)
    }
}

/// The id under which the standard runbook of a platform is pinned.
fn standard_of(platform: Platform) -> RunbookId {
    RunbookId(PinnedRunbook::standard(platform, Variant::Migration).content_id())
}

/// Which edit of a kept runbook somebody has. What is pinned goes by its content: an edit that says the same may be kept under another
/// name, for another platform, and whoever has the standard runbook does not have a copy of it that somebody keeps.
fn revision_in(
    kept: &KeptRunbook,
    standard: RunbookId,
    runbooks: &BTreeMap<Platform, RunbookId>,
) -> Option<u32> {
    let its = runbooks.get(&kept.platform);
    let its = its.filter(|id| **id != standard);
    its.and_then(|id| kept.revision_of(*id))
}

/// What is wrong with one of several runbooks: `runbook.lock` is `runbooks.ios.lock`.
fn of_platform(platform: Platform, error: Error) -> Error {
    match error {
        Error::BadInput { field, problem } => {
            let platform = platform.as_str().to_lowercase();
            let field = field.strip_prefix("runbook.").unwrap_or(&field);
            Error::bad_input(format!("runbooks.{platform}.{field}"), problem)
        }
        other => other,
    }
}

/// What is otherwise in the second one, by step and field; contents of profiles are not looked at.
fn changes(before: &PinnedRunbook, after: &PinnedRunbook) -> Vec<String> {
    let mut found = Vec::new();
    for step in &after.steps {
        match before.step(step.id) {
            None => found.push(format!("steps.{} is new", step.id)),
            Some(was) => {
                let mut differs = |field: &str, differs: bool| {
                    if differs {
                        found.push(format!("steps.{}.{field}", step.id));
                    }
                };
                differs("requires", was.requires != step.requires);
                differs("required", was.required != step.required);
                differs("timeout_secs", was.timeout_secs != step.timeout_secs);
                differs("retries", was.retries != step.retries);
                differs("on_timeout", was.on_timeout != step.on_timeout);
                differs("only", was.only != step.only);
                differs("tags", was.tags != step.tags);
            }
        }
    }
    let gone = before.steps.iter().filter(|s| after.step(s.id).is_none());
    found.extend(gone.map(|step| format!("steps.{} is gone", step.id)));
    for (field, differs) in [
        ("apps", before.apps != after.apps),
        ("profiles", before.profiles != after.profiles),
        ("lock", before.lock != after.lock),
        (
            "soft_ceiling_secs",
            before.soft_ceiling_secs != after.soft_ceiling_secs,
        ),
        (
            "hard_ceiling_secs",
            before.hard_ceiling_secs != after.hard_ceiling_secs,
        ),
        ("status", before.status != after.status),
        ("variant", before.variant != after.variant),
    ] {
        if differs {
            found.push(field.to_owned());
        }
    }
    found
}
