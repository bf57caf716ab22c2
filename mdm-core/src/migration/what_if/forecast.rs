//! The forecast of lost apps: for each app that the original service manages, what the runbook makes of it on each iPhone and
//! iPad, and which devices, and people, would lose it with its data. What nobody has told is counted as unknown, never as kept.
//! Macs are left out: an app that nobody manages stays there, with its data.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::missing::{Missing, SecondTurn, to_get};
use crate::app_state::{app_key, is_same_app};
use crate::device::Platform;
use crate::ids::Serial;
use crate::licences::Stock;
use crate::migration::{AppAction, AppPlan, PinnedRunbook, StepId, known_by};
use crate::original::{OriginalApp, OriginalFacts};

/// A member as the forecast looks at it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct LossOf<'a> {
    /// Which device.
    pub serial: &'a Serial,
    /// Its platform.
    pub platform: Option<Platform>,
    /// What the original service knew of it, and what it said itself as far as that is of now ([`OriginalFacts::of_now`]).
    pub original: Option<&'a OriginalFacts>,
    /// Its runbook.
    pub runbook: Option<&'a PinnedRunbook>,
    /// Store identifiers of apps that it has a licence of here.
    pub licences: &'a BTreeSet<u64>,
    /// Its tags: steps may be for some devices only.
    pub tags: &'a BTreeSet<String>,
}

/// What becomes of an app on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// It goes with its data: the runbook has no step that would take it over there.
    LostStep,
    /// Licences come from elsewhere: no location of Apps and Books is known here.
    Uncertain,
}

impl AppFate {
    /// Whether data goes that nobody gave up.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(
            self,
            Self::LostUndecided | Self::LostLicence | Self::LostSource | Self::LostStep
        )
    }
}

/// One app over all members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The people who have these, as far as they are known: `NAME <ADDRESS>` where both are, for two may have one name.
    pub people: BTreeSet<String>,
    /// How many of these nobody has told an owner of.
    #[serde(default)]
    pub owner_unknown: u64,
    /// Licences that are lacking.
    pub short: u64,
    /// Devices on which it stays if somebody else gives it a licence.
    pub uncertain: u64,
}

/// Apps that a device has and for which there is no licence here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoLicence {
    /// It loses these: nobody has a licence left that it could get.
    pub lost: Vec<String>,
    /// Their numbers in the store.
    pub lost_ids: BTreeSet<u64>,
    /// Those of them of which there are licences for people only.
    pub for_people: Vec<String>,
    /// Whether it loses these is not known: licences come from elsewhere.
    pub uncertain: Vec<String>,
    /// Apps that it is to get and does not have, where nothing is known of licences.
    pub uncertain_to_get: Vec<String>,
}

/// Whether a member goes, and takes licences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// Whatever it lacks: it is at Apple already, or somebody lets it go without.
    Anyway,
    /// Unless it lacks a licence: then it stays behind, and takes none.
    IfLicensed,
    /// Something else stands against it.
    Not,
}

/// What would be lost, app by app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Counts what would be lost, member by member; keeps no member.
#[derive(Clone, Debug, Default)]
pub struct Forecaster {
    /// `None` when no location is known.
    stock: Option<BTreeMap<u64, Stock>>,
    left: BTreeMap<u64, u64>,
    apps: BTreeMap<String, AppForecast>,
    all: Forecast,
    /// Who takes what is left of licences after all that would lose an app.
    second: SecondTurn,
}

impl Forecaster {
    /// One that gives the licences of this stock to members that go, in the order in which they come; without a stock, where no location
    /// is known, it says of licences that they are uncertain.
    #[must_use]
    pub fn new(stock: Option<BTreeMap<u64, Stock>>) -> Self {
        let all = stock.iter().flatten();
        Self {
            left: all.map(|(app, s)| (*app, s.available)).collect(),
            stock,
            ..Self::default()
        }
    }

    /// Counts a member that goes whatever it lacks. Answers the apps that it has and for which there is no licence here.
    pub fn add(&mut self, member: &LossOf<'_>) -> NoLicence {
        self.count(member, Goes::Anyway)
    }

    /// Counts a member that goes unless it lacks a licence: one that has an app of which none is left for it stays behind for that, and
    /// takes none of other apps.
    pub fn add_if_licensed(&mut self, member: &LossOf<'_>) -> NoLicence {
        self.count(member, Goes::IfLicensed)
    }

    /// Counts a member against which something else stands: what it would lose is said as of the others, and it takes no licence from
    /// whoever goes, for it gets none while it stays behind.
    pub fn add_behind(&mut self, member: &LossOf<'_>) -> NoLicence {
        self.count(member, Goes::Not)
    }

    fn count(&mut self, member: &LossOf<'_>, goes: Goes) -> NoLicence {
        let (mut first, mut taken) = (BTreeSet::new(), Vec::new());
        let mut short = self.lose(member, goes, (&mut first, &mut taken));
        if self.stock.is_none() {
            short.uncertain_to_get = to_get(member);
        }
        if let Some(stock) = &self.stock {
            let goes = match goes {
                Goes::IfLicensed if !short.lost.is_empty() => Goes::Not,
                goes => goes,
            };
            self.second.lack(&short.lost_ids);
            self.second.add(member, goes, (&first, taken), stock);
        }
        short
    }

    /// Counts what it would lose; it comes `first` where licences of these apps are given out, and has `taken` some.
    fn lose(
        &mut self,
        member: &LossOf<'_>,
        goes: Goes,
        (first, taken): (&mut BTreeSet<u64>, &mut Vec<u64>),
    ) -> NoLicence {
        let mut short = NoLicence::default();
        if member.platform.is_none_or(Platform::is_mac) {
            return short;
        }
        let Some(told) = member.original.and_then(OriginalFacts::known_apps) else {
            self.all.unknown.insert(member.serial.clone());
            return short;
        };
        self.all.known += 1;
        let plans: BTreeMap<String, &AppPlan> = member
            .runbook
            .iter()
            .flat_map(|r| &r.apps)
            .map(|plan| (app_key(&plan.bundle_id), plan))
            .collect();
        let has_step = |plan| is_taken_over(plan, member.runbook, member.original, member.tags);
        let planned = |app: &OriginalApp| plans.get(&app_key(&app.bundle_id)).copied();
        let lacks = |app: &OriginalApp| {
            let plan = planned(app).filter(|plan| has_step(plan));
            plan.is_some_and(|plan| self.fate(Some(plan), member.licences) == AppFate::LostLicence)
        };
        let takes = match goes {
            Goes::Anyway => true,
            Goes::IfLicensed => !told.value.iter().any(lacks),
            Goes::Not => false,
        };
        let owner = member.original.and_then(|o| o.owner.as_ref());
        let owner = owner.and_then(|o| match (&o.value.name, &o.value.email) {
            (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
            (name, email) => name.as_ref().or(email.as_ref()).cloned(),
        });
        for app in &told.value {
            let key = app_key(&app.bundle_id);
            let plan = plans.get(&key).copied();
            let fate = match plan.is_none_or(has_step) {
                true => self.fate(plan, member.licences),
                false => AppFate::LostStep,
            };
            if takes && fate == AppFate::Kept {
                taken.extend(self.take(plan, member.licences));
            }
            let stays = plan.filter(|plan| has_step(plan) && needs_licence(plan));
            first.extend(stays.and_then(|plan| plan.store_id));
            let row = self.apps.entry(key).or_insert_with(|| AppForecast {
                bundle_id: app.bundle_id.clone(),
                name: None,
                actions: Vec::new(),
                present: 0,
                kept: 0,
                dropped: 0,
                lost: BTreeMap::new(),
                people: BTreeSet::new(),
                owner_unknown: 0,
                short: 0,
                uncertain: 0,
            });
            row.name = row.name.take().or_else(|| app.name.clone());
            row.present += 1;
            if let Some(plan) = plan
                && !row.actions.contains(&plan.action)
            {
                row.actions.push(plan.action);
            }
            row.kept += u64::from(fate == AppFate::Kept);
            row.dropped += u64::from(fate == AppFate::Dropped);
            row.short += u64::from(fate == AppFate::LostLicence);
            row.uncertain += u64::from(fate == AppFate::Uncertain);
            let name = || app.name.as_ref().unwrap_or(&app.bundle_id).clone();
            match fate {
                AppFate::LostLicence => {
                    short.lost.push(name());
                    let store = plan.and_then(|plan| plan.store_id);
                    short.lost_ids.extend(store);
                    let stock = store.and_then(|app| self.stock.as_ref()?.get(&app));
                    if stock.is_some_and(Stock::is_for_users_only) {
                        short.for_people.push(name());
                    }
                }
                AppFate::Uncertain => short.uncertain.push(name()),
                _ => {}
            }
            if fate.is_lost() {
                row.lost.insert(member.serial.clone(), fate);
                row.owner_unknown += u64::from(owner.is_none());
                row.people.extend(owner.clone());
                self.all.losing.insert(member.serial.clone());
            }
        }
        short
    }

    fn fate(&self, plan: Option<&AppPlan>, licences: &BTreeSet<u64>) -> AppFate {
        let Some(plan) = plan else {
            return AppFate::LostUndecided;
        };
        if plan.action == AppAction::Drop {
            return AppFate::Dropped;
        }
        if plan.manifest_url.is_some() {
            return AppFate::Kept;
        }
        let Some(store) = plan.store_id else {
            return AppFate::LostSource;
        };
        if licences.contains(&store) {
            return AppFate::Kept;
        }
        let Some(stock) = &self.stock else {
            return AppFate::Uncertain;
        };
        let left = || self.left.get(&store).copied().unwrap_or_default();
        match stock.get(&store).filter(|s| s.device_assignable) {
            Some(stock) if stock.unlimited || left() > 0 => AppFate::Kept,
            _ => AppFate::LostLicence,
        }
    }

    /// Takes the licence with which an app is kept, where it is one that others may want: of which app.
    fn take(&mut self, plan: Option<&AppPlan>, licences: &BTreeSet<u64>) -> Option<u64> {
        let plan = plan.filter(|plan| needs_licence(plan));
        let app = plan.and_then(|plan| plan.store_id);
        let app = app.filter(|app| !licences.contains(app))?;
        let stock = self.stock.as_ref().and_then(|stock| stock.get(&app));
        let left = self.left.get_mut(&app).filter(|left| **left > 0)?;
        if stock.is_none_or(|stock| stock.unlimited) {
            return None;
        }
        *left -= 1;
        Some(app)
    }

    /// Who is to get apps of which no licence is left for it, by the place in which members came: known once all were counted. Nobody
    /// where no location is known.
    pub(crate) fn missing(&self) -> BTreeMap<usize, Missing> {
        let stock = self.stock.as_ref();
        stock.map_or_else(BTreeMap::new, |stock| {
            self.second.missing(stock, &self.left)
        })
    }

    /// What was counted.
    #[must_use]
    pub fn finish(self) -> Forecast {
        let mut all = self.all;
        all.apps = self.apps.into_values().collect();
        all.apps
            .sort_by(|a, b| (b.lost.len(), &a.bundle_id).cmp(&(a.lost.len(), &b.bundle_id)));
        all
    }
}

/// Store identifiers of the apps that a device has and keeps with a licence alone: those that the forecast calls kept or lost for want
/// of one. Whoever gives out licences gives these first, in the order of serial numbers, so that what was foreseen comes true.
pub(crate) fn at_stake(member: &LossOf<'_>) -> BTreeSet<u64> {
    let known = member.original.and_then(OriginalFacts::known_apps);
    let (Some(told), Some(runbook)) = (known, member.runbook) else {
        return BTreeSet::new();
    };
    if member.platform.is_none_or(Platform::is_mac) {
        return BTreeSet::new();
    }
    let has = |plan: &&AppPlan| {
        let mut apps = told.value.iter();
        apps.any(|app| is_same_app(&app.bundle_id, &plan.bundle_id))
    };
    let stays = |plan: &&AppPlan| {
        needs_licence(plan) && is_taken_over(plan, member.runbook, member.original, member.tags)
    };
    let apps = runbook.apps.iter().filter(has).filter(stays);
    apps.filter_map(|plan| plan.store_id).collect()
}

/// Whether an app that is there stays with a licence alone.
fn needs_licence(plan: &AppPlan) -> bool {
    plan.action != AppAction::Drop && plan.manifest_url.is_none()
}

/// Whether the runbook has a step that takes over an app that is there, and the device gets that step. Of apps that are to be
/// installed either does: the step that keeps takes over all that is to stay, and without it the other one does.
pub(super) fn is_taken_over(
    plan: &AppPlan,
    runbook: Option<&PinnedRunbook>,
    original: Option<&OriginalFacts>,
    tags: &BTreeSet<String>,
) -> bool {
    let steps: &[StepId] = match plan.action {
        AppAction::Drop => return true,
        AppAction::Install => &[StepId::AppsKeep, StepId::AppsRequired],
        AppAction::KeepIfPresent => &[StepId::AppsKeep],
    };
    gets_one(steps, runbook, original, tags)
}

/// Whether the runbook has one of these steps, and the device gets it.
pub(super) fn gets_one(
    steps: &[StepId],
    runbook: Option<&PinnedRunbook>,
    original: Option<&OriginalFacts>,
    tags: &BTreeSet<String>,
) -> bool {
    let planned = |id: &StepId| runbook.and_then(|runbook| runbook.step(*id));
    let mut steps = steps.iter().filter_map(planned);
    steps.any(|step| {
        // Most steps are for everybody.
        step.only.is_empty()
            || step.is_for(&known_by(
                tags,
                original.into_iter().flat_map(OriginalFacts::groups),
            ))
    })
}
