//! What goes wrong, loaded for [`crate::failure`]: of one device, of a wave, of the installation. Decides nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Org;
use crate::audit::Refusal;
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::failure::{Confidence, Failure, FailureMode, Known, failures};
use crate::ids::{MoveId, Serial, WaveId};
use crate::migration::{AppAction, Move, Owner, SetUp};
use crate::original::OriginalFacts;
use crate::wave::Wave;

/// Members that are looked at together.
const PAGE: u32 = 500;
/// Refusals that are looked through.
const REFUSALS: u32 = 1_000;

/// What goes wrong with a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WaveFailures {
    /// The wave's name.
    pub name: String,
    /// When this was looked at.
    pub at: Timestamp,
    /// What is about all of its members.
    pub banners: Vec<Failure>,
    /// On how many devices, by way.
    pub counts: BTreeMap<FailureMode, u32>,
    /// Devices on which something goes wrong, in the order of their attempts, as many as were asked for.
    pub devices: Vec<(MoveId, Serial, Vec<Failure>)>,
}

impl Org {
    /// What goes wrong with one device.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn failures_of(&self, serial: &Serial) -> Result<Vec<Failure>, Error> {
        let device = self
            .store()
            .device_by_serial(self.id(), serial)
            .await?
            .ok_or(Error::NotFound("device"))?;
        let refusals = self.store().refusals(self.id(), REFUSALS).await?;
        self.failures_in(device, None, &refusals).await
    }

    /// What goes wrong with a wave: the banners, the counts, and the devices after an attempt.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn failures_of_wave(
        &self,
        wave: WaveId,
        after: MoveId,
        limit: u32,
    ) -> Result<WaveFailures, Error> {
        let row = self.store().wave(self.id(), wave).await?;
        let row = row.ok_or(Error::NotFound("wave"))?;
        let refusals = self.store().refusals(self.id(), REFUSALS).await?;
        let mut all = WaveFailures {
            name: row.name.clone(),
            at: self.now(),
            banners: Vec::new(),
            counts: BTreeMap::new(),
            devices: Vec::new(),
        };
        // ADE profiles with which a member did not wait, and how many members have each.
        let mut unheld: BTreeMap<String, u32> = BTreeMap::new();
        let mut members: BTreeMap<String, u32> = BTreeMap::new();
        let mut last: Option<Timestamp> = None;
        let mut next = MoveId(0);
        loop {
            let page = self.store().attempts(self.id(), wave, next, PAGE).await?;
            let Some(end) = page.last() else { break };
            next = end.id;
            for attempt in page {
                if !attempt.is_ended() {
                    last = last.max(Some(attempt.deadline));
                }
                let Some(device) = self.store().device(self.id(), attempt.device).await? else {
                    continue;
                };
                let profile = device.record.as_ref().and_then(|r| r.profile_uuid.clone());
                let profile = profile.unwrap_or_default();
                *members.entry(profile.clone()).or_default() += 1;
                let (id, serial) = (attempt.id, attempt.serial.clone());
                let found = self.failures_in(device, Some(attempt), &refusals).await?;
                if found.is_empty() {
                    continue;
                }
                for failure in &found {
                    *all.counts.entry(failure.mode).or_default() += 1;
                }
                if found.iter().any(|f| f.mode == FailureMode::NotAwaiting) {
                    *unheld.entry(profile).or_default() += 1;
                }
                if id > after && all.devices.len() < limit as usize {
                    all.devices.push((id, serial, found));
                }
            }
        }
        for (profile, count) in unheld {
            let with_it = members.get(&profile).copied().unwrap_or_default();
            let next = "pause the wave (`mdmd wave pause`), have the profile defined anew with await_device_configured and assigned again";
            all.banners.push(
                Failure::new(
                    FailureMode::NotAwaiting,
                    Owner::Destination,
                    Confidence::Likely,
                    next,
                )
                .seen(
                    format!(
                        "{count} of the {with_it} members with the ADE profile {} did not wait",
                        if profile.is_empty() {
                            "(none)"
                        } else {
                            &profile
                        }
                    ),
                    None,
                ),
            );
        }
        all.banners.extend(self.failures_of_all(&row, last).await?);
        Ok(all)
    }

    /// What is about every member: the end of what they need, and Apple's budget.
    async fn failures_of_all(
        &self,
        wave: &Wave,
        last: Option<Timestamp>,
    ) -> Result<Vec<Failure>, Error> {
        let mut found = self.failures().await?;
        let push = self.organisation().push.as_ref().map(|p| p.not_after);
        let server = self.store().server(self.id(), wave.destination).await?;
        let token = server.and_then(|s| s.token_expires);
        for (name, ends) in [("the push certificate", push), ("the server token", token)] {
            if let (Some(ends), Some(last)) = (ends, last)
                && ends < last
            {
                let next = "renew it; until then no more devices are offered their migration, and those that are on the way are served";
                let days = ends.since(self.now()).as_secs() / 86_400;
                found.push(
                    Failure::new(
                        FailureMode::Expiry,
                        Owner::OrganisationAdmin,
                        Confidence::Certain,
                        next,
                    )
                    .seen(
                        format!("{name} ends in {days} days, before the last deadline {last}"),
                        ends,
                    ),
                );
            }
        }
        Ok(found)
    }

    /// What goes wrong with the installation as a whole.
    ///
    /// # Errors
    /// The store's.
    pub async fn failures(&self) -> Result<Vec<Failure>, Error> {
        let mut found = Vec::new();
        for budget in self.budgets().await? {
            let Some(until) = budget.paused_until else {
                continue;
            };
            let next = "nothing is to be done: it is waited as told, in order, and nothing is sent twice; `mdmd business budget` shows when the queue will have drained";
            found.push(
                Failure::new(FailureMode::Budget, Owner::Apple, Confidence::Certain, next)
                    .seen(
                        format!("{}: Apple asks for silence until {until}", budget.name),
                        None,
                    )
                    .seen(format!("{} requests wait", budget.waiting_writes), None),
            );
        }
        Ok(found)
    }

    async fn failures_in(
        &self,
        device: Device,
        attempt: Option<Move>,
        refusals: &[Refusal],
    ) -> Result<Vec<Failure>, Error> {
        let set_up = match device.enrollment {
            Some(enrollment) => self.store().set_up_of(self.id(), enrollment).await?,
            None => None,
        };
        let attempt = match (attempt, device.open_move) {
            (Some(attempt), _) => Some(attempt),
            (None, Some(id)) => self.store().attempt(self.id(), id).await?,
            (None, None) => match set_up.as_ref().and_then(|s| s.move_id) {
                Some(id) => self.store().attempt(self.id(), id).await?,
                None => None,
            },
        };
        // One of an earlier attempt says nothing of this one.
        let set_up = set_up.filter(|s| match &attempt {
            Some(attempt) => s.move_id.is_none_or(|id| id == attempt.id),
            None => true,
        });
        let original = self.store().original(self.id(), device.id).await?;
        let held: Vec<_> = self
            .store()
            .secrets(self.id(), device.id)
            .await?
            .into_iter()
            .filter(|secret| secret.replaced.is_none())
            .map(|secret| (secret.kind, secret.created))
            .collect();
        let own: Vec<Refusal> = refusals
            .iter()
            .filter(|r| r.serial.as_ref() == Some(&device.serial))
            .cloned()
            .collect();
        let forecast = match (&set_up, &original) {
            (Some(set_up), Some(original)) => self.forecast_of(set_up, original).await,
            _ => Vec::new(),
        };
        let mut views = self.views_of(vec![device.clone()]).await?;
        let Some(views) = views.pop() else {
            return Ok(Vec::new());
        };
        Ok(failures(&Known {
            device: &device,
            attempt: attempt.as_ref(),
            set_up: set_up.as_ref(),
            views: &views,
            original: original.as_ref(),
            held: &held,
            refusals: &own,
            forecast: &forecast,
            notice: self.organisation().settings.notice(),
            now: self.now(),
        }))
    }

    /// Apps that an iPhone or iPad had and that its runbook neither keeps nor installs.
    async fn forecast_of(&self, set_up: &SetUp, original: &OriginalFacts) -> Vec<String> {
        let phone = !Platform::is_mac(set_up.platform);
        let Some(apps) = original.apps.as_ref().filter(|_| phone) else {
            return Vec::new();
        };
        let Ok(plan) = self.plan(set_up.runbook).await else {
            return Vec::new();
        };
        let stays = |bundle: &str| {
            let mut rows = plan.apps.iter().filter(|row| row.bundle_id == bundle);
            rows.any(|row| row.action != AppAction::Drop)
        };
        let gone = apps.value.iter().filter(|app| !stays(&app.bundle_id));
        gone.map(|app| app.bundle_id.clone()).collect()
    }
}
