//! What this server declares by itself: kept for a channel in the same commit as the decision that asks for it, with
//! declarations that all channels share. Leaves to people what they have declared: an app of theirs is not declared twice, and
//! one that would not stay through a migration is refused, or warned of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::ddm::manifest::scopes;
use crate::ddm::own::{self, OwnApp};
use crate::ddm::{DeclarationContent, DeclarationKind, DeclaredChannel, check_content};
use crate::error::Error;
use crate::ids::{DeclarationId, EnrollmentId, WaveId};
use crate::migration::AppAction;
use crate::service::Org;
use crate::service::decision::{Decision, own_app};
use crate::service::declarations::{ACTIVATION, NewDeclaration};
use crate::store::{StoreError, Write};
use crate::wave::{Wave, WaveState};

/// Waves that are looked at.
const WAVES: u32 = 1_000;

impl Org {
    /// Adds the rows of what a decision declares by itself.
    pub(in crate::service) async fn own_declarations_into(
        &self,
        d: &mut Decision<'_>,
    ) -> Result<(), Error> {
        let asked = std::mem::take(&mut d.own);
        let Some(channel) = asked.channel else {
            return Ok(());
        };
        let Some((before, is_written)) = self.own_row(d, channel).await? else {
            return Ok(());
        };
        let mut row = before.clone();
        if let Some(apps) = asked.apps {
            let theirs = self.apps_of_people(d, channel).await?;
            row.apps = BTreeSet::new();
            for app in &apps {
                if theirs.iter().any(|it| app.is_named_by(&it.payload)) {
                    // Two declarations of one app would be an error of both.
                    d.audit(
                        "declarations.left-to-people",
                        json!({ "app": app.bundle_id }),
                    );
                    continue;
                }
                let (identifier, payload) = (app.identifier(), app.payload());
                let ids = self.own_pair(d, &identifier, own::APP, payload).await?;
                row.apps.extend(ids);
            }
        }
        row.subscribed.extend(asked.items);
        let is_new = row.subscribed != before.subscribed || row.subscription.is_empty();
        if is_new && !row.subscribed.is_empty() {
            let (identifier, payload) = own::subscription(&row.subscribed);
            row.subscription = self
                .own_pair(d, &identifier, own::SUBSCRIPTION, payload)
                .await?;
        }
        if row != before || is_written {
            d.batch.put(row);
        }
        Ok(())
    }

    /// The row of a channel, and whether it is to be written already: then it is taken out of the batch. `None` when it cannot be read: whoever
    /// enrols or reports is not kept waiting for what is beside the point.
    pub(super) async fn own_row(
        &self,
        d: &mut Decision<'_>,
        channel: EnrollmentId,
    ) -> Result<Option<(DeclaredChannel, bool)>, Error> {
        let of = |write: &Write| matches!(write, Write::DeclaredChannel(row) if row.id == channel);
        if let Some(place) = d.batch.writes.iter().position(of)
            && let Write::DeclaredChannel(row) = d.batch.writes.remove(place)
        {
            return Ok(Some((row, true)));
        }
        match self.store().declared_channel(self.id(), channel).await {
            Ok(row) => {
                let row = row.unwrap_or_else(|| DeclaredChannel::new(self.id(), channel, d.now));
                Ok(Some((row, false)))
            }
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(organisation = %self.id(), %channel, %error, "what a channel was told cannot be read");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A configuration of ours with its activation: those that are there, or new ones.
    async fn own_pair(
        &self,
        d: &mut Decision<'_>,
        identifier: &str,
        of: &str,
        payload: Map<String, Value>,
    ) -> Result<BTreeSet<DeclarationId>, Error> {
        let mut names = Map::new();
        names.insert("StandardConfigurations".to_owned(), json!([identifier]));
        let beside = format!("{identifier}{ACTIVATION}");
        let mut ids = BTreeSet::new();
        for new in [
            NewDeclaration::new(identifier, of, payload),
            NewDeclaration::new(&beside, "com.apple.activation.simple", names),
        ] {
            let kind = check_content(&new.declaration_type, &new.payload)?;
            let now = d.now;
            let (row, _) = self.content_into(&mut d.batch, &new, kind, now).await?;
            ids.insert(row.id);
        }
        Ok(ids)
    }

    /// Contents of the apps that people declare to a channel.
    async fn apps_of_people(
        &self,
        d: &Decision<'_>,
        channel: EnrollmentId,
    ) -> Result<Vec<DeclarationContent>, Error> {
        let enrollment = match d.enrollments.get(&channel) {
            Some(tracked) => Some(tracked.row.clone()),
            None => self.store().enrollment(self.id(), channel).await?,
        };
        let Some(enrollment) = enrollment else {
            return Ok(Vec::new());
        };
        let device = match (&d.device, enrollment.device) {
            (Some(device), _) => Some(device.row.clone()),
            (None, Some(id)) => self.store().device(self.id(), id).await?,
            (None, None) => None,
        };
        let words = scopes(&enrollment, device.as_ref()).into_iter().collect();
        let (_, all) = self.catalogue(&words, &BTreeSet::new()).await?;
        let mut found = Vec::new();
        for it in all.iter().filter(|it| it.declaration_type == own::APP) {
            found.extend(
                self.store()
                    .declaration_content(self.id(), it.content)
                    .await?,
            );
        }
        Ok(found)
    }

    /// Refuses an app that a migration under way is to install or keep, and that would not be required.
    pub(super) async fn check_app(&self, new: &NewDeclaration) -> Result<(), Error> {
        if new.declaration_type != own::APP || own::is_required(&new.payload) {
            return Ok(());
        }
        let running = |wave: &Wave| matches!(wave.state, WaveState::Submitted { .. });
        let waves = self.store().waves(self.id(), WaveId(0), WAVES).await?;
        for wave in waves.iter().filter(|wave| running(wave)) {
            let apps = self.apps_of_wave(wave).await?;
            if let Some(app) = apps.values().find(|app| app.is_named_by(&new.payload)) {
                return Err(Error::Precondition(format!(
                    "the wave {} is to install or keep {}: it must be declared with Install Required, or a device loses it",
                    wave.name, app.bundle_id
                )));
            }
        }
        Ok(())
    }

    /// Apps of a wave's runbooks that are to be there afterwards, by bundle identifier.
    async fn apps_of_wave(&self, wave: &Wave) -> Result<BTreeMap<String, OwnApp>, Error> {
        let mut apps = BTreeMap::new();
        for runbook in wave.runbooks.values() {
            // One that cannot be read is named elsewhere.
            let Ok(plan) = self.plan(*runbook).await else {
                continue;
            };
            let stay = plan.apps.iter().filter(|app| app.action != AppAction::Drop);
            apps.extend(stay.map(|app| (app.bundle_id.clone(), own_app(app))));
        }
        Ok(apps)
    }

    /// Declarations of apps that the wave is to install or keep, and that are not required: in plain words.
    pub(in crate::service) async fn app_warnings(&self, wave: &Wave) -> Result<Vec<String>, Error> {
        let apps = self.apps_of_wave(wave).await?;
        let mut warnings = Vec::new();
        if apps.is_empty() {
            return Ok(warnings);
        }
        let mut after = DeclarationId(0);
        loop {
            let page = self
                .store()
                .declarations(self.id(), after, super::MOST)
                .await?;
            let Some(last) = page.last() else {
                return Ok(warnings);
            };
            after = last.id;
            let declared = page.iter().filter(|it| {
                it.removed.is_none()
                    && it.kind == DeclarationKind::Configuration
                    && it.declaration_type == own::APP
            });
            for it in declared {
                let content = self.store().declaration_content(self.id(), it.content);
                let Some(content) = content.await?.filter(|it| !own::is_required(&it.payload))
                else {
                    continue;
                };
                let named = apps.values().find(|app| app.is_named_by(&content.payload));
                warnings.extend(named.map(|app| {
                    format!(
                        "{} is declared by {} without Install Required: a device that has it by that declaration alone loses it",
                        app.bundle_id, it.identifier
                    )
                }));
            }
        }
    }
}
