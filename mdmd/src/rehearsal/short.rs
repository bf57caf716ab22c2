//! An app of which there are too few licences, as people meet it: the location of Apps and Books has licences for half of the iPhones and
//! iPads that have it, and everything else is free. What-if, forecast and acceptance are those of every project; whether they come true
//! is asked of the world's Apps and Books.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use fixtures::apple::LicenceSeed;
use fixtures::verdict::DeviceVerdict;
use fixtures::world::World;
use mdm_core::check::Check;
use mdm_core::device::Platform;
use mdm_core::ids::{Serial, WaveId};
use mdm_core::migration::PinnedRunbook;
use mdm_core::secret::Secret;
use mdm_core::service::{Org, WhatIf};
use mdm_core::wave::Waiver;
use serde::Serialize;

use super::{Stage, plan};

/// The app. Macs do without it: who loses it with its data is what the forecast is about.
pub(super) const SHORT: &str = "net.example.forms";

/// What the what-if of a wave said of licences that are too few.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LicenceEnd {
    /// The wave.
    pub wave: &'static str,
    /// Bundle identifier of the app.
    pub bundle_id: &'static str,
    /// Devices whose runbook has the app.
    pub needed: u64,
    /// Of these, devices that have a licence, or get one with the submission.
    pub assigned: u64,
    /// Of these, devices that get none.
    pub short: u64,
    /// Of these, devices that have the app and lose it with its data.
    pub losing: u64,
}

/// The app on its way through a project.
pub(super) struct Short {
    /// Its number in the store; none where no iPhone and no iPad has it.
    number: Option<u64>,
    /// Wave by wave.
    pub(super) ends: Vec<LicenceEnd>,
    odd: Vec<String>,
}

impl Short {
    /// Buys licences of every app of these runbooks, and brings in the content token of their location.
    pub(super) async fn begin(
        stage: &Stage,
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
    ) -> anyhow::Result<Self> {
        let apple = stage.world.apple();
        let has = |device: &fixtures::original::OriginalDevice| {
            let mut apps = device.apps.iter();
            !device.is_mac() && apps.any(|(bundle, ..)| bundle == SHORT)
        };
        let having = stage
            .world
            .original()
            .export()
            .into_iter()
            .filter(has)
            .count();
        let apps = runbooks.values().flat_map(|runbook| &runbook.apps);
        let numbers: BTreeMap<&str, u64> = apps
            .filter_map(|app| Some((app.bundle_id.as_str(), app.store_id?)))
            .collect();
        for (bundle, number) in &numbers {
            let count = match *bundle == SHORT {
                true => Some(u32::try_from(having / 2)?),
                false => None,
            };
            apple.buy_licences(&LicenceSeed::app(&number.to_string(), count));
        }
        let org = stage.org().await?;
        let token = Secret::from_text(apple.content_token());
        let location = org.import_content_token(&token, false).await?;
        let location = org.refresh_location(location).await?;
        ensure!(
            numbers
                .values()
                .all(|number| location.stock.contains_key(number)),
            "the location does not show what was bought"
        );
        Ok(Self {
            number: numbers.get(SHORT).copied(),
            ends: Vec::new(),
            odd: Vec::new(),
        })
    }

    /// Looks at what the what-if of a wave says of it. Answers what the approver accepts by name: that these lose it.
    pub(super) async fn accept(
        &mut self,
        world: &World,
        org: &Org,
        (wave, name): (WaveId, &'static str),
        what_if: &WhatIf,
    ) -> anyhow::Result<Option<Waiver>> {
        let need = org.licence_need(wave).await?;
        // A wave of Macs alone needs none.
        let Some(need) = need.iter().find(|need| Some(need.app) == self.number) else {
            return Ok(None);
        };
        let forecast = what_if.report.forecast.apps.iter();
        let losing: BTreeSet<Serial> = forecast
            .filter(|app| app.bundle_id == SHORT)
            .flat_map(|app| app.lost.keys().cloned())
            .collect();
        let told = |w: &String| w.contains(SHORT) && w.contains("would get no licence");
        if what_if.warnings.iter().any(told) != (need.lacks > 0) {
            self.odd.push(format!(
                "{} licences of {SHORT} are lacking for the wave {name}, and its what-if says: {:?}",
                need.lacks, what_if.warnings
            ));
        }
        let stands = |serial: &Serial| {
            let against = what_if.blockers.get(serial);
            against.is_some_and(|all| all.iter().any(|why| why.contains("no licence is left")))
        };
        let silent = losing.iter().filter(|serial| !stands(serial)).count();
        if silent > 0 {
            self.odd.push(format!(
                "{silent} devices of the wave {name} would lose {SHORT}, and nothing stands against them"
            ));
        }
        self.ends.push(LicenceEnd {
            wave: name,
            bundle_id: SHORT,
            needed: need.needs,
            assigned: need.needs - need.lacks,
            short: need.lacks,
            losing: u64::try_from(losing.len())?,
        });
        if losing.is_empty() {
            return Ok(None);
        }
        // As planned from now on: the judge of the world does not look for it there.
        for serial in &losing {
            let device = world.original().device(serial.as_str());
            let device = device.context("a member that the original never had")?;
            let bundles = device.apps.into_iter().map(|(bundle, ..)| bundle);
            let kept: Vec<String> = bundles
                .filter(|bundle| bundle != SHORT && bundle != plan::LEFT_BEHIND)
                .collect();
            world.expect_kept(serial.as_str(), &kept);
        }
        Ok(Some(Waiver {
            check: Check::AppsLicences,
            reason: format!("no more licences of {SHORT} are bought, and these do without it"),
            serials: losing,
        }))
    }

    /// Where what was foreseen did not come true: the licences that are given at Apple, and device by device who has none.
    pub(super) fn differences(
        &self,
        world: &World,
        verdicts: &[DeviceVerdict],
        forecast: &BTreeMap<String, BTreeSet<String>>,
    ) -> Vec<String> {
        let mut odd = self.odd.clone();
        let Some(number) = self.number else {
            return odd;
        };
        let number = number.to_string();
        let foreseen: u64 = self.ends.iter().map(|end| end.assigned).sum();
        let given = world.apple().licences_given(&number);
        if u64::try_from(given) != Ok(foreseen) {
            odd.push(format!(
                "by the what-ifs {foreseen} devices get a licence of {SHORT}, and {given} are given at Apple"
            ));
        }
        for verdict in verdicts.iter().filter(|v| v.platform != "macOS") {
            let mut apps = verdict.apps_kept.iter().chain(&verdict.apps_lost);
            if !apps.any(|app| app == SHORT) {
                continue;
            }
            let licensed = world.apple().holds_licence(&number, &verdict.serial);
            let apps = forecast.get(&verdict.serial);
            let lost = apps.is_some_and(|apps| apps.contains(SHORT));
            if lost == licensed {
                odd.push(format!(
                    "{}: whether it would lose {SHORT} was forecast as {lost}, and whether it has a licence at Apple is {licensed}",
                    verdict.serial
                ));
            }
        }
        odd
    }
}
