//! Which runbook an enrolment gets: that of its attempt, the one that people have chosen for migrations that nobody planned here
//! (begun in Apple's portal, or only a deadline speaks for them), or the standard one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Org;
use super::invitation::EnrolmentChange;
use crate::checklist::{ChecklistItem, ItemState, Stage};
use crate::device::Platform;
use crate::error::Error;
use crate::ids::RunbookId;
use crate::migration::{AppAction, Move, PinnedRunbook, Variant};
use crate::organisation::Settings;

/// A runbook and its id.
type Runs = (RunbookId, Arc<PinnedRunbook>);

impl Org {
    /// The runbook for an enrolment: its attempt's, the one that the organisation has chosen for migrations that nobody
    /// planned here, or its standard one for platform and verdict. `None` in
    /// place of the plan when the attempt's cannot be read: another one would release the device without its apps.
    ///
    /// # Errors
    /// That the store is not available.
    pub(super) async fn runbook_for(
        &self,
        attempt: Option<&Move>,
        platform: Platform,
        variant: Variant,
    ) -> Result<(RunbookId, Option<Arc<PinnedRunbook>>), Error> {
        if let Some(attempt) = attempt {
            return Ok((attempt.runbook, self.readable_plan_of(attempt).await?));
        }
        if variant != Variant::Ordinary
            && let Some((id, plan)) = self.chosen_for(platform, variant).await?
        {
            return Ok((id, Some(plan)));
        }
        // What is pinned stays pinned: once is enough for all devices that come.
        let kept = (self.id(), platform, variant);
        let standards = &self.mdm.inner.standards;
        let known = standards
            .lock()
            .ok()
            .and_then(|all| all.get(&kept).cloned());
        if let Some((id, standard)) = known {
            return Ok((id, Some(standard)));
        }
        let standard = Arc::new(PinnedRunbook::standard(platform, variant));
        let id = RunbookId(standard.content_id());
        let name = format!("standard {} {variant:?}", platform.as_str());
        match self.pin(&name, PinnedRunbook::clone(&standard)).await {
            Ok(_) => {
                if let Ok(mut all) = standards.lock() {
                    if all.len() >= 4096 {
                        all.clear();
                    }
                    all.insert(kept, (id, Arc::clone(&standard)));
                }
            }
            Err(error) if error.retry_after().is_some() => return Err(error),
            Err(error) => {
                tracing::error!(organisation = %self.id(), runbook = %id, %error, "a standard runbook cannot be pinned");
            }
        }
        // What it says is known without reading it back.
        Ok((id, Some(standard)))
    }

    /// The runbook that people have chosen for such enrolments; one that cannot be read or run is told, and the standard one does.
    async fn chosen_for(
        &self,
        platform: Platform,
        variant: Variant,
    ) -> Result<Option<Runs>, Error> {
        let Some(name) = self.organisation.settings.unplanned_runbooks.get(&platform) else {
            return Ok(None);
        };
        let chosen = async {
            let (kept, mut plan) = self.kept_runbook(name, None).await?;
            let edit = kept.edit(None).map(|edit| edit.pinned);
            if plan.variant == variant
                && let Some(id) = edit
            {
                return Ok((id, Arc::new(plan)));
            }
            plan.variant = variant;
            let id = self.pin(name, plan.clone()).await?;
            Ok((id, Arc::new(plan)))
        };
        match chosen.await {
            Ok(runs) => Ok(Some(runs)),
            Err(error) if Error::retry_after(&error).is_some() => Err(error),
            Err(error) => {
                tracing::error!(organisation = %self.id(), runbook = name, %error, "the runbook for migrations that nobody planned cannot be used");
                Ok(None)
            }
        }
    }

    /// What becomes of the apps of a device that comes by a migration which nobody planned here. A Mac keeps them in any case.
    pub(super) async fn unplanned_item(&self) -> Result<ChecklistItem, Error> {
        const NAME: &str = "migrations that nobody planned here";
        let (mut keeping, mut losing) = (Vec::new(), Vec::new());
        for platform in [Platform::Ios, Platform::Ipados] {
            let keeps = match self.organisation.settings.unplanned_runbooks.get(&platform) {
                None => false,
                Some(name) => match self.kept_runbook(name, None).await {
                    Ok((_, plan)) => plan.apps.iter().any(|row| row.action != AppAction::Drop),
                    Err(error) if error.retry_after().is_some() => return Err(error),
                    // The standard one takes its place.
                    Err(_) => false,
                },
            };
            match keeps {
                true => keeping.push(platform.as_str()),
                false => losing.push(platform.as_str()),
            }
        }
        if losing.is_empty() {
            let fact = format!(
                "those begun in Apple's portal get a runbook that keeps apps, on {}",
                keeping.join(" and ")
            );
            return Ok(ChecklistItem::done(Stage::Prepare, NAME, fact));
        }
        let fact = format!(
            "those begun in Apple's portal keep no app on {}: what the original manages goes with its data",
            losing.join(" and ")
        );
        let fix = "keep a runbook with the apps that stay, and choose it: `mdmd organisation enrolment --unplanned ios=NAME --unplanned ipados=NAME`";
        Ok(ChecklistItem::not(
            ItemState::Warn,
            Stage::Prepare,
            NAME,
            fact,
            fix,
        ))
    }

    /// Chooses by which kept runbook a device is set up that comes by a migration which nobody planned here, or for which only a
    /// deadline speaks; `None`: by the standard one. Platforms that are not named stay as they are. The edit that is in force
    /// when a device comes counts.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that is not kept, or is for another platform; the store's.
    pub async fn set_unplanned_runbooks(
        &self,
        chosen: &BTreeMap<Platform, Option<String>>,
    ) -> Result<Settings, Error> {
        self.change_enrolment(&EnrolmentChange {
            unplanned_runbooks: chosen.clone(),
            ..EnrolmentChange::default()
        })
        .await
    }

    /// Whether these can be chosen; changes nothing.
    ///
    /// # Errors
    /// As [`Self::set_unplanned_runbooks`].
    pub(super) async fn check_unplanned(
        &self,
        chosen: &BTreeMap<Platform, Option<String>>,
    ) -> Result<(), Error> {
        for (platform, name) in chosen {
            let Some(name) = name else { continue };
            let field = format!("unplanned_runbooks.{}", platform.as_str().to_lowercase());
            match self.kept_runbook(name, None).await {
                Ok((kept, plan)) if kept.platform == *platform => {
                    // One that an earlier version took may be none that can be run now.
                    plan.validate_for(*platform)
                        .map_err(|error| Error::bad_input(field, error.to_string()))?;
                }
                Ok((kept, _)) => {
                    let why = format!("{name} is for {}", kept.platform.as_str());
                    return Err(Error::bad_input(field, why));
                }
                Err(Error::NotFound(_)) => {
                    let why = "there is no runbook of this name: see `mdmd runbook list`";
                    return Err(Error::bad_input(field, why));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
