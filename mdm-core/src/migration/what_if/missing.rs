//! Apps that devices are to get, and would not get for want of a licence. Whoever has an app and would lose it with its data comes first
//! (the forecast gives them theirs); what is left then goes to all others, in the order in which they come, as licences are given out. Who
//! stays behind here leaves what it came first for to those that come after it. Nothing is lost with its data here: an app that was not there
//! is not there afterwards either.

use std::collections::{BTreeMap, BTreeSet};

use super::forecast::{Goes, LossOf, gets_one};
use crate::app_state::is_same_app;
use crate::device::Platform;
use crate::licences::Stock;
use crate::migration::{AppAction, AppPlan, StepId};
use crate::original::{OriginalApp, OriginalFacts};

/// A member that wants a licence which nothing that it has depends on.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Its place among the members: its serial number with each app would be a lot.
    place: usize,
    platform: Platform,
    goes: Goes,
    /// It gets the app; otherwise it only takes a licence, for an app that is kept where it is and that it does not have.
    installs: bool,
}

/// Apps that a device is to get and of which no licence is left for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Its platform.
    pub(crate) platform: Platform,
    /// Those of which licences are left for nobody.
    pub(crate) apps: Vec<String>,
    /// Those of which there are licences for people only.
    pub(crate) for_people: Vec<String>,
}

/// Who takes what is left of licences when all have theirs that would lose an app.
#[derive(Clone, Debug, Default)]
pub(super) struct SecondTurn {
    come: usize,
    /// By app, with its identifier; apps of which there are as many licences as one likes are left out.
    waiting: BTreeMap<u64, (String, Vec<Waiting>)>,
    /// Of members that may stay behind here: the apps of which they have taken licences before, by their places.
    taken: BTreeMap<usize, Vec<u64>>,
    /// Apps that somebody has who got no licence. What comes back of these is for such a one, when it is looked at next.
    lacked: BTreeSet<u64>,
}

impl SecondTurn {
    /// Nobody is given back a licence of these, which somebody lacks who has the app.
    pub(super) fn lack(&mut self, apps: &BTreeSet<u64>) {
        self.lacked.extend(apps);
    }

    /// The next member, which has come `first` for some of its apps, and has `taken` licences of some of these.
    pub(super) fn add(
        &mut self,
        member: &LossOf<'_>,
        goes: Goes,
        (first, taken): (&BTreeSet<u64>, Vec<u64>),
        stock: &BTreeMap<u64, Stock>,
    ) {
        let place = self.come;
        self.come += 1;
        let (Some(platform), Some(runbook)) = (member.platform, member.runbook) else {
            return;
        };
        let (mut seen, mut may_lack) = (BTreeSet::new(), false);
        for plan in &runbook.apps {
            let Some(app) = plan.store_id.filter(|_| plan.action != AppAction::Drop) else {
                continue;
            };
            let free = |stock: &Stock| stock.unlimited && stock.device_assignable;
            if member.licences.contains(&app)
                || first.contains(&app)
                || stock.get(&app).is_some_and(free)
                || !seen.insert(app)
            {
                continue;
            }
            // Two rows of a table may name one app of the store.
            let mut rows = runbook.apps.iter().filter(|row| row.store_id == Some(app));
            let installs = rows.any(|row| is_installed(row, platform, member));
            may_lack |= installs;
            let (_, waiting) = self
                .waiting
                .entry(app)
                .or_insert_with(|| (plan.bundle_id.clone(), Vec::new()));
            waiting.push(Waiting {
                place,
                platform,
                goes,
                installs,
            });
        }
        if may_lack && goes == Goes::IfLicensed && !taken.is_empty() {
            self.taken.insert(place, taken);
        }
    }

    /// Who gets no licence of what it is to get, where so many are `left` of each app: by its place.
    pub(super) fn missing(
        &self,
        stock: &BTreeMap<u64, Stock>,
        left: &BTreeMap<u64, u64>,
    ) -> BTreeMap<usize, Missing> {
        let mut left: BTreeMap<u64, u64> = self
            .waiting
            .keys()
            .filter(|app| stock.get(*app).is_some_and(|stock| stock.device_assignable))
            .map(|app| (*app, left.get(app).copied().unwrap_or_default()))
            .collect();
        let mut members: BTreeMap<usize, Vec<(u64, &Waiting)>> = BTreeMap::new();
        for (app, (_, waiting)) in &self.waiting {
            for one in waiting {
                members.entry(one.place).or_default().push((*app, one));
            }
        }
        let mut all: BTreeMap<usize, Missing> = BTreeMap::new();
        for (place, wanted) in members {
            let lacks = |app: &u64| left.get(app).is_none_or(|left| *left == 0);
            let missing: Vec<u64> = wanted
                .iter()
                .filter(|(app, one)| one.installs && lacks(app))
                .map(|(app, _)| *app)
                .collect();
            for (app, one) in &wanted {
                let takes = match one.goes {
                    Goes::Anyway => true,
                    // A Mac is warned, and goes.
                    Goes::IfLicensed => missing.is_empty() || one.platform.is_mac(),
                    Goes::Not => false,
                };
                if let Some(left) = left.get_mut(app).filter(|_| takes) {
                    *left = left.saturating_sub(1);
                }
            }
            let Some((_, one)) = wanted.first().filter(|_| !missing.is_empty()) else {
                continue;
            };
            // It stays behind, and gets none of those either.
            let taken = self.taken.get(&place).into_iter().flatten();
            for app in taken.filter(|app| !self.lacked.contains(app)) {
                if let Some(left) = left.get_mut(app) {
                    *left += 1;
                }
            }
            let mut told = Missing {
                platform: one.platform,
                apps: Vec::new(),
                for_people: Vec::new(),
            };
            for app in missing {
                let Some((name, _)) = self.waiting.get(&app) else {
                    continue;
                };
                let names = match stock.get(&app).is_some_and(Stock::is_for_users_only) {
                    true => &mut told.for_people,
                    false => &mut told.apps,
                };
                names.push(name.clone());
            }
            all.insert(place, told);
        }
        all
    }
}

/// The apps of the store that an iPhone or iPad gets anew, and for which no licence is known.
pub(super) fn to_get(member: &LossOf<'_>) -> Vec<String> {
    let Some(platform) = member.platform.filter(|platform| !platform.is_mac()) else {
        return Vec::new();
    };
    let all = member.runbook.iter().flat_map(|runbook| &runbook.apps);
    let lacks = |app: &u64| !member.licences.contains(app);
    all.filter(|plan| plan.store_id.as_ref().is_some_and(lacks))
        .filter(|plan| is_installed(plan, platform, member))
        .map(|plan| plan.bundle_id.clone())
        .collect()
}

/// Whether a device gets this app anew, from the store: on a Mac whether or not it is there, elsewhere where it is not, or where nobody
/// has told.
fn is_installed(plan: &AppPlan, platform: Platform, member: &LossOf<'_>) -> bool {
    if plan.action != AppAction::Install || plan.manifest_url.is_some() {
        return false;
    }
    let has = |app: &OriginalApp| is_same_app(&app.bundle_id, &plan.bundle_id);
    let known = member.original.and_then(OriginalFacts::known_apps);
    let there = known.is_some_and(|told| told.value.iter().any(has));
    let step = match platform.is_mac() {
        true => StepId::Apps,
        false => StepId::AppsRequired,
    };
    (platform.is_mac() || !there) && gets_one(&[step], member.runbook, member.original, member.tags)
}
