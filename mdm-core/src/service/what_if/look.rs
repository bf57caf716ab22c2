//! The members of a what-if, their rows a thousand at a time, and what is counted over all of them while they go by.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Plan;
use super::past::Passed;
use super::{Detail, MemberReport};
use crate::check::{Check, CheckResult};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::gap::{GapGroup, groups_of};
use crate::ids::{DeviceId, RunbookId, Serial};
use crate::licences::NeedCount;
use crate::migration::what_if::{
    Asked, Brings, CheckFinding, Forecaster, LossOf, Matrix, MemberFacts, Past, ProfileCounter,
    StepCounter, Terms, licence_not_known, look, look_past, look_past_all, missing_licence,
    without_licence,
};
use crate::original::OriginalFacts;
use crate::secret::SecretKind;
use crate::service::Org;
use crate::service::licences::{Free, store_apps};
use crate::service::wave::platform_of;
use crate::wave::Waiver;

/// Devices whose rows are read at a time.
const CHUNK: usize = 1000;

/// What is looked at of each member, and what of it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) detail: Detail,
    /// Whether gates of projects that it goes past keep it back.
    pub(super) gates: bool,
}

/// What was found for members.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// What each of them counts as, in their order.
    pub(super) weights: Vec<CheckResult>,
    /// Whether it is in the plan that each of them stays ([`MemberReport::stays`]).
    pub(super) staying: Vec<bool>,
    /// The same of those that no waiver lets go.
    pub(super) staying_anyway: Vec<bool>,
    /// What was found for each, as far as it is wanted.
    pub(super) members: Vec<MemberReport>,
}

/// A runbook of a plan: pinned, or that of a platform.
type RunbookKey = (Option<RunbookId>, Option<Platform>);

/// What is counted over all members while they go by.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) matrix: Matrix,
    pub(super) forecaster: Forecaster,
    pub(super) profiles: ProfileCounter,
    pub(super) needs: NeedCount,
    /// Whom the steps are for that are for some devices only.
    pub(super) steps: StepCounter,
    /// The apps of each runbook that take licences.
    pub(super) apps: BTreeMap<RunbookKey, Vec<(u64, String)>>,
    /// Of each group that has a limit, which members have it.
    pub(super) groups: BTreeMap<GapGroup, BTreeSet<Serial>>,
    pub(super) members: usize,
    /// Licences as a plan may count on them; none without a location, where nothing can be said of them.
    pub(super) free: Option<Free>,
}

impl Counts {
    pub(super) fn new(free: Option<Free>) -> Self {
        Self {
            matrix: Matrix::default(),
            forecaster: Forecaster::new(free.as_ref().map(|free| free.stock.clone())),
            profiles: ProfileCounter::default(),
            needs: NeedCount::default(),
            steps: StepCounter::default(),
            apps: BTreeMap::new(),
            groups: BTreeMap::new(),
            members: 0,
            free,
        }
    }

    /// Apps of which a device has a licence, or is about to get one.
    fn licences_of(&self, device: &Device) -> BTreeSet<u64> {
        let promised = self
            .free
            .as_ref()
            .and_then(|free| free.given.get(&device.id));
        let held = device.licences.iter().map(|held| held.app);
        held.chain(promised.into_iter().flatten().copied())
            .collect()
    }
}

impl Org {
    /// Looks at all members, in the order of their serial numbers, and keeps of each what is wanted.
    pub(super) async fn look_at_each(
        &self,
        plan: &Plan,
        serials: &[Serial],
        counts: &mut Counts,
        how: How,
    ) -> Result<Looked, Error> {
        let mut all = Looked::default();
        let rules = &self.organisation.settings.unknowns;
        for chunk in serials.chunks(CHUNK) {
            for mut member in self.look_at_chunk(plan, chunk, counts, how).await? {
                all.weights.push(member.counts_as);
                all.staying.push(member.stays(rules));
                all.staying_anyway.push(member.stays_anyway(rules));
                match how.detail {
                    Detail::Counts => continue,
                    Detail::Problems => {
                        member.findings.retain(|f| f.result != CheckResult::Pass);
                    }
                    Detail::Everything => {}
                }
                all.members.push(member);
            }
        }
        // Whether a licence is left for an app that is to be installed is known once all have come who would lose theirs.
        let read = counts.free.as_ref().and_then(|free| free.read);
        for (place, missing) in counts.forecaster.missing() {
            let (Some(serial), Some(weight)) = (serials.get(place), all.weights.get_mut(place))
            else {
                continue;
            };
            let platform = Some(missing.platform);
            let finding = missing_licence(&missing, read);
            let counts_as = finding.counts_as(rules, platform);
            *weight = counts_as.max(*weight);
            if let Some(stays) = all.staying.get_mut(place) {
                *stays |= counts_as == CheckResult::Block;
            }
            let found = std::slice::from_ref(&finding);
            counts.matrix.add(serial, platform, found, rules);
            if let Some(member) = all.members.get_mut(place) {
                member.counts_as = *weight;
                member.findings.push(finding);
            }
        }
        Ok(all)
    }

    /// Looks at a thousand members, with three statements.
    async fn look_at_chunk(
        &self,
        plan: &Plan,
        serials: &[Serial],
        counts: &mut Counts,
        how: How,
    ) -> Result<Vec<MemberReport>, Error> {
        let now = self.now();
        let rules = &self.organisation.settings.unknowns;
        let devices = self.store().devices_by_serial(self.id(), serials).await?;
        let ids: Vec<DeviceId> = devices.iter().map(|d| d.id).collect();
        let originals = self.store().originals_of(self.id(), &ids).await?;
        let since: BTreeMap<_, _> = devices.iter().map(|d| (d.id, d.ours_since())).collect();
        let originals = originals.into_iter().map(|facts| {
            let since = since.get(&facts.id).copied().flatten();
            (facts.id, facts.of_now(since))
        });
        let originals: BTreeMap<DeviceId, OriginalFacts> = originals.collect();
        let macs: Vec<DeviceId> = devices
            .iter()
            .filter(|d| platform_of(d).is_some_and(Platform::is_mac))
            .map(|d| d.id)
            .collect();
        let mut old_keys: BTreeMap<DeviceId, Timestamp> = BTreeMap::new();
        for row in self.store().secrets_of(self.id(), &macs).await? {
            let held = row.kind == SecretKind::OriginalRecoveryKey && row.replaced.is_none();
            if let Some(device) = row.device.filter(|_| held) {
                old_keys.insert(device, row.created);
            }
        }
        let devices: BTreeMap<&Serial, &Device> = devices.iter().map(|d| (&d.serial, d)).collect();
        let nothing_met = BTreeMap::new();
        let no_tags = BTreeSet::new();
        let mut all = Vec::with_capacity(serials.len());
        for serial in serials {
            let device = devices.get(serial).copied();
            let platform = device.and_then(platform_of);
            let planned = plan.planned(serial);
            let whole = plan.runbook(planned, platform);
            let gets = whole.map(|whole| whole.of(device)).unwrap_or_default();
            let original = device.and_then(|d| originals.get(&d.id));
            let open = device.and_then(|d| d.open_move);
            let zone = original.and_then(|o| o.time_zone.as_ref());
            let unmet = plan.within.as_ref().map(|w| w.unmet(serial));
            let terms = plan.within.as_ref().map(|within| {
                let unmet = unmet.as_deref().unwrap_or_default();
                let met = within.met.get(serial).unwrap_or(&nothing_met);
                Terms::of(&within.project, zone.map(|told| &told.value), unmet, met)
            });
            let by_runbook = &gets.brings;
            let mut by_library = Brings::default();
            for (whom, brings) in &plan.library {
                if device.is_some_and(|d| whom.has(d)) {
                    by_library.add(brings);
                }
            }
            counts
                .profiles
                .add(serial, original, (by_runbook, &by_library));
            let mut brings = by_library;
            brings.add(by_runbook);
            let facts = MemberFacts {
                project: terms,
                device,
                original,
                platform,
                runbook: whole.map(|whole| &*whole.runbook),
                without: &gets.without,
                brings: &brings,
                manifests: &plan.manifests,
                destination: plan.destination.as_ref().map_or("", |s| &s.uuid),
                services: &plan.services,
                other_kinds: &plan.other_kinds,
                ours: &plan.ours,
                asked: planned.map_or(Asked::Nothing, |p| p.asked),
                returning: device.is_some_and(|d| plan.returning.contains(&d.id)),
                in_other_wave: open.is_some() && open != planned.and_then(|p| p.attempt),
                deadline: planned.map_or(now, |p| p.deadline),
                available_from: planned.map_or(now, |p| p.available_from),
                notice: self.organisation.settings.notice(),
                escrow: plan.escrow,
                awaits: plan.awaits,
                codes: plan.codes,
                old_key: device.and_then(|d| old_keys.get(&d.id).copied()),
            };
            let mut findings = look(&facts, now);
            // Of one that is in a wave its prerequisites are looked at there.
            let own = plan.passed(device).filter(|_| !facts.in_other_wave);
            let mut past = Vec::new();
            for Passed { project, gates } in own {
                let together = Past {
                    gates: if how.gates { gates } else { &[] },
                    at_once: plan.at_once,
                };
                let unmet: Vec<String> = project.prerequisites.iter().cloned().collect();
                let terms = Terms::of(project, zone.map(|told| &told.value), &unmet, &nothing_met);
                let facts = MemberFacts {
                    project: Some(terms),
                    ..facts
                };
                let mut said = look_past(project, together, &facts);
                if plan.undated {
                    said.retain(|f| !matches!(f.check, Check::Window | Check::Blackout));
                }
                past.push((project.on, said));
            }
            findings.extend(look_past_all(past));
            findings.sort_by_key(|finding| finding.check);
            // Who is in another wave is counted there, and stays out of this one.
            if let Some(device) = device.filter(|_| !facts.in_other_wave) {
                for group in groups_of(device) {
                    if plan.gap.counts(&group) {
                        let members = counts.groups.entry(group).or_default();
                        members.insert(serial.clone());
                    }
                }
            }
            // Of one that nobody knows no tag is known, either.
            if let (Some(whole), Some(_)) = (whole, device) {
                counts.steps.add(&whole.runbook, &gets.without);
            }
            let licences = device.map_or_else(BTreeSet::new, |d| counts.licences_of(d));
            let key = (planned.and_then(|p| p.runbook), platform);
            let apps = counts
                .apps
                .entry(key)
                .or_insert_with(|| whole.map_or_else(Vec::new, |whole| store_apps(&whole.runbook)));
            // Who stays behind for something else takes no licence from whoever goes; who is at Apple already goes.
            let stands = |f: &CheckFinding| {
                let blocks = f.keeps_back(rules, platform);
                blocks && !plan.waivers.iter().any(|w| w.covers(f.check, serial))
            };
            let behind = facts.asked != Asked::Now && findings.iter().any(stands);
            // Who lacks a licence of an app that it has stays behind for that, unless somebody lets it go without.
            let let_go = |w: &Waiver| w.covers(Check::AppsLicences, serial);
            let anyway = facts.asked == Asked::Now || plan.waivers.iter().any(let_go);
            let loss = LossOf {
                serial,
                platform,
                original,
                runbook: facts.runbook,
                licences: &licences,
                tags: device.map_or(&no_tags, |d| &d.tags),
            };
            let short = match (behind, anyway) {
                (true, _) => counts.forecaster.add_behind(&loss),
                (false, true) => counts.forecaster.add(&loss),
                (false, false) => counts.forecaster.add_if_licensed(&loss),
            };
            // It is one of those that lack that licence, and none of those that take others.
            let lacks = !anyway && !short.lost.is_empty();
            let takes = |app| !behind && (!lacks || short.lost_ids.contains(&app));
            counts
                .needs
                .add_those(apps, takes, |app| licences.contains(&app));
            if !short.lost.is_empty() {
                let read = counts.free.as_ref().and_then(|free| free.read);
                findings.push(without_licence(&short, read));
            }
            findings.extend(licence_not_known(&short));
            counts.matrix.add(serial, platform, &findings, rules);
            counts.members += 1;
            let counts_as = findings.iter().map(|f| f.counts_as(rules, platform)).max();
            all.push(MemberReport {
                serial: serial.clone(),
                platform,
                counts_as: counts_as.unwrap_or(CheckResult::Pass),
                findings,
            });
        }
        Ok(all)
    }
}
