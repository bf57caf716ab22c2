//! The forecast of lost apps: for each app that the original service manages, what the runbook makes of it on each iPhone and
//! iPad, and which devices, and people, would lose it with its data. What nobody has told is counted as unknown, never as kept.
//! Macs are left out: an app that nobody manages stays there, with its data.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::device::Platform;
use crate::ids::Serial;
use crate::licences::Stock;
use crate::migration::{AppAction, PinnedRunbook};
use crate::original::OriginalFacts;

/// A member as the forecast looks at it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct LossOf<'a> {
    /// Which device.
    pub serial: &'a Serial,
    /// Its platform.
    pub platform: Option<Platform>,
    /// What the original service knew of it.
    pub original: Option<&'a OriginalFacts>,
    /// Its runbook.
    pub runbook: Option<&'a PinnedRunbook>,
    /// Store identifiers of apps that it has a licence of here.
    pub licences: &'a BTreeSet<u64>,
}

/// What becomes of an app on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AppFate {
    /// It stays, with its data.
    Kept,
    /// It goes, with its data, as somebody decided.
    Dropped,
    /// It goes with its data: nobody decided anything.
    LostUndecided,
    /// It goes with its data: there is no licence.
    LostLicence,
    /// It goes with its data: the runbook names neither the store's number of it nor a manifest.
    LostSource,
}

impl AppFate {
    /// Whether data goes that nobody gave up.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(
            self,
            Self::LostUndecided | Self::LostLicence | Self::LostSource
        )
    }
}

/// One app over all members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AppForecast {
    /// Bundle identifier.
    pub bundle_id: String,
    /// As people know it.
    pub name: Option<String>,
    /// What the runbooks say of it; several where they differ, none where they are silent.
    pub actions: Vec<AppAction>,
    /// Devices that have it.
    pub present: u64,
    /// Of these, devices on which it stays.
    pub kept: u64,
    /// Of these, devices on which somebody decided that it goes.
    pub dropped: u64,
    /// Devices that would lose it with its data, and why.
    pub lost: BTreeMap<Serial, AppFate>,
    /// The people who have these, as far as their names are known.
    pub people: BTreeSet<String>,
    /// Licences that are lacking.
    pub short: u64,
}

/// What would be lost, app by app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Forecast {
    /// Apps, those that most devices would lose first.
    pub apps: Vec<AppForecast>,
    /// iPhones and iPads whose apps are known.
    pub known: u64,
    /// iPhones and iPads whose apps nobody has told: what they would lose is not known.
    pub unknown: BTreeSet<Serial>,
    /// Devices that would lose something with its data.
    pub losing: BTreeSet<Serial>,
}

/// What would be lost. Licences that are left are given in the order of the members.
#[must_use]
pub fn forecast<'a>(
    members: impl IntoIterator<Item = LossOf<'a>>,
    stock: &BTreeMap<u64, Stock>,
) -> Forecast {
    let mut left: BTreeMap<u64, u64> = stock.iter().map(|(app, s)| (*app, s.available)).collect();
    let mut apps: BTreeMap<String, AppForecast> = BTreeMap::new();
    let mut all = Forecast::default();
    for member in members {
        if member.platform.is_none_or(Platform::is_mac) {
            continue;
        }
        let Some(told) = member.original.and_then(|o| o.apps.as_ref()) else {
            all.unknown.insert(member.serial.clone());
            continue;
        };
        all.known += 1;
        let plans: BTreeMap<String, _> = member
            .runbook
            .iter()
            .flat_map(|r| &r.apps)
            .map(|plan| (plan.bundle_id.to_ascii_lowercase(), plan))
            .collect();
        for app in &told.value {
            let key = app.bundle_id.to_ascii_lowercase();
            let plan = plans.get(&key).copied();
            let row = apps.entry(key).or_insert_with(|| AppForecast {
                bundle_id: app.bundle_id.clone(),
                name: None,
                actions: Vec::new(),
                present: 0,
                kept: 0,
                dropped: 0,
                lost: BTreeMap::new(),
                people: BTreeSet::new(),
                short: 0,
            });
            row.name = row.name.take().or_else(|| app.name.clone());
            row.present += 1;
            if let Some(plan) = plan
                && !row.actions.contains(&plan.action)
            {
                row.actions.push(plan.action);
            }
            let fate = match plan.map(|p| (p.action, &p.manifest_url, p.store_id)) {
                None => AppFate::LostUndecided,
                Some((AppAction::Drop, _, _)) => AppFate::Dropped,
                Some((_, Some(_), _)) => AppFate::Kept,
                Some((_, None, None)) => AppFate::LostSource,
                Some((_, None, Some(store))) if member.licences.contains(&store) => AppFate::Kept,
                Some((_, None, Some(store))) => match stock.get(&store) {
                    Some(s) if s.device_assignable && s.unlimited => AppFate::Kept,
                    Some(s) if s.device_assignable => match left.get_mut(&store) {
                        Some(left) if *left > 0 => {
                            *left -= 1;
                            AppFate::Kept
                        }
                        _ => AppFate::LostLicence,
                    },
                    _ => AppFate::LostLicence,
                },
            };
            row.kept += u64::from(fate == AppFate::Kept);
            row.dropped += u64::from(fate == AppFate::Dropped);
            row.short += u64::from(fate == AppFate::LostLicence);
            if fate.is_lost() {
                row.lost.insert(member.serial.clone(), fate);
                all.losing.insert(member.serial.clone());
                let owner = member.original.and_then(|o| o.owner.as_ref());
                let owner = owner.map(|told| &told.value);
                let named = owner.and_then(|o| o.name.clone().or_else(|| o.email.clone()));
                row.people.extend(named);
            }
        }
    }
    all.apps = apps.into_values().collect();
    all.apps
        .sort_by(|a, b| (b.lost.len(), &a.bundle_id).cmp(&(a.lost.len(), &b.bundle_id)));
    all
}
