//! Who comes first where licences are too few: whoever has the app and would lose it with its data, in the order in which the forecast
//! gives them out. So what was foreseen comes true. Gives nothing itself.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::device::Device;
use crate::error::Error;
use crate::ids::{DeviceId, RunbookId, Serial};
use crate::migration::what_if::{LossOf, at_stake};
use crate::migration::{Move, PinnedRunbook};
use crate::original::OriginalFacts;
use crate::service::Org;

/// Rows of one statement.
const CHUNK: usize = 1000;

/// Store identifiers of the apps that each device has and would lose with their data without a licence.
pub(in crate::service) type AtStake = BTreeMap<Serial, BTreeSet<u64>>;

impl Org {
    /// Which apps these have and would lose with their data without a licence, as far as anybody has told.
    pub(super) async fn at_stake(&self, members: &[Move]) -> Result<AtStake, Error> {
        let mut runbooks: BTreeMap<RunbookId, Arc<PinnedRunbook>> = BTreeMap::new();
        for member in members {
            if let Entry::Vacant(place) = runbooks.entry(member.runbook) {
                place.insert(self.plan(member.runbook).await?);
            }
        }
        let mut all = AtStake::new();
        for members in members.chunks(CHUNK) {
            let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
            let rows = self.store().devices_by_serial(self.id(), &serials).await?;
            let rows: BTreeMap<DeviceId, &Device> = rows.iter().map(|row| (row.id, row)).collect();
            let with_runbook = members.iter().filter_map(|member| {
                let runbook = runbooks.get(&member.runbook)?;
                Some((*rows.get(&member.device)?, &**runbook))
            });
            let with_runbook: Vec<(&Device, &PinnedRunbook)> = with_runbook.collect();
            all.extend(self.at_stake_of(&with_runbook).await?);
        }
        Ok(all)
    }

    /// The same of devices with the runbooks that they would go with.
    pub(in crate::service) async fn at_stake_of(
        &self,
        devices: &[(&Device, &PinnedRunbook)],
    ) -> Result<AtStake, Error> {
        let mut all = AtStake::new();
        let none = BTreeSet::new();
        for devices in devices.chunks(CHUNK) {
            let ids: Vec<DeviceId> = devices.iter().map(|(device, _)| device.id).collect();
            let originals = self.store().originals_of(self.id(), &ids).await?;
            let since = devices.iter().map(|(device, _)| *device);
            let since: BTreeMap<_, _> = since.map(|d| (d.id, d.ours_since())).collect();
            let originals = originals.into_iter().map(|facts| {
                let since = since.get(&facts.id).copied().flatten();
                (facts.id, facts.of_now(since))
            });
            let originals: BTreeMap<DeviceId, OriginalFacts> = originals.collect();
            for (device, runbook) in devices {
                let apps = at_stake(&LossOf {
                    serial: &device.serial,
                    platform: device.platform_told(),
                    original: originals.get(&device.id),
                    runbook: Some(runbook),
                    licences: &none,
                    tags: &device.tags,
                });
                if !apps.is_empty() {
                    all.insert(device.serial.clone(), apps);
                }
            }
        }
        Ok(all)
    }
}

/// Whether a device comes before others that want the same app.
pub(super) fn comes_first(at_stake: &AtStake, serial: &Serial, app: u64) -> bool {
    at_stake.get(serial).is_some_and(|apps| apps.contains(&app))
}
