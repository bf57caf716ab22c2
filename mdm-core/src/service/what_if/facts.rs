//! The facts of a what-if: a plan, its members' rows a thousand at a time, and what ends when.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::brings::{ForWhom, Whole};
use super::past::Passed;
use super::{MemberReport, Question};
use crate::activation_lock;
use crate::calendar::HOLD;
use crate::check::{Check, CheckResult};
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::filevault::EscrowKey;
use crate::gap::{GapGroup, GapLimits, Stay, groups_of};
use crate::identity;
use crate::ids::{DeviceId, MoveId, RunbookId, Serial};
use crate::licences::{LicenceNeed, NeedCount};
use crate::migration::Met;
use crate::migration::plan::Taken;
use crate::migration::what_if::{
    Asked, Brings, Ends, Expiry, FactSource, Forecaster, InGap, LossOf, Matrix, MemberFacts, Past,
    ProfileCounter, ProjectFacts, ServerFacts, Terms, licence_not_known, look, look_past,
    look_past_all, without_licence,
};
use crate::organisation::Issuer;
use crate::original::OriginalFacts;
use crate::project::Project;
use crate::secret::SecretKind;
use crate::service::Org;
use crate::service::licences::{Free, store_apps};
use crate::service::wave::{hold_of, platform_of};
use crate::wave::{Server, Wave, WaveState};

/// How one member is planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    deadline: Timestamp,
    available_from: Timestamp,
    /// Its open attempt, if the plan is stored.
    attempt: Option<MoveId>,
    /// Its pinned runbook, if the plan is stored.
    runbook: Option<RunbookId>,
    /// What of it has gone to Apple.
    asked: Asked,
    /// For how long its hold counts.
    hold: Duration,
}

/// The project of a wave, and what stands against the wave in it.
#[derive(Debug)]
pub(super) struct Within {
    project: Project,
    gate: Vec<String>,
    /// The deadlines of the devices of all open waves.
    deadlines: Taken,
    /// What was done for members at the original service.
    met: BTreeMap<Serial, BTreeMap<String, Met>>,
}

/// A plan, stored or not.
#[derive(Debug)]
pub(super) struct Plan {
    /// Stored members; empty for a question, in which all are planned alike.
    pub(super) members: BTreeMap<Serial, Planned>,
    alike: Option<Planned>,
    /// Without it there is nowhere to go: that is a finding.
    destination: Option<Server>,
    /// Whether the ADE profile that members get there, the wave's own where it has one, was read back as one that makes devices wait.
    awaits: Option<bool>,
    /// When that profile was defined.
    awaits_at: Option<Timestamp>,
    /// Serial numbers of which more than one attempt is in the wave.
    twice: BTreeSet<Serial>,
    services: Vec<(String, String)>,
    other_kinds: BTreeMap<String, String>,
    /// The identifiers at Apple of all server entries of ours.
    ours: BTreeSet<String>,
    by_platform: BTreeMap<Platform, Whole>,
    by_id: BTreeMap<RunbookId, Whole>,
    escrow: Option<bool>,
    /// Whether a bypass code comes out of the vault as it went in; none where no runbook wants a lock.
    codes: Option<bool>,
    within: Option<Within>,
    /// Open projects that these devices go past, where this is a list of devices, or a draft, that is part of none.
    pub(super) open: Vec<Passed>,
    /// The most devices that would be in a hold at once with them, and when; not counted without such a project.
    pub(super) at_once: Option<(u32, Timestamp)>,
    /// Nobody has given its deadline: what a project says of deadlines says nothing of it.
    undated: bool,
    /// What each profile of the library and each set of declarations brings, and to which devices.
    library: Vec<(ForWhom, Brings)>,
    /// Devices whose return to another service is on its way to Apple.
    returning: BTreeSet<DeviceId>,
    /// How many devices of a group may be in the gap at once, and for how long those of all open waves are.
    gap: GapPlan,
}

/// Limits of all open projects, and for how long the devices of each group that has one are in the gap.
#[derive(Debug, Default)]
struct GapPlan {
    limits: GapLimits,
    stays: BTreeMap<GapGroup, Vec<Stay>>,
}

impl Within {
    fn unmet(&self, serial: &Serial) -> Vec<String> {
        let met = self.met.get(serial);
        let open = |name: &&String| !met.is_some_and(|met| met.contains_key(*name));
        self.project
            .prerequisites
            .iter()
            .filter(open)
            .cloned()
            .collect()
    }

    fn facts(&self, own: &BTreeSet<(Timestamp, Duration)>) -> ProjectFacts {
        let mut facts = ProjectFacts::default();
        facts.name.clone_from(&self.project.name);
        facts.on = self.project.on && self.project.closed.is_none();
        facts.gate.clone_from(&self.gate);
        facts.at_once = self.deadlines.most_at_once(own);
        facts.capacity = self.project.capacity;
        facts
    }
}

impl Plan {
    fn planned(&self, serial: &Serial) -> Option<Planned> {
        self.members.get(serial).copied().or(self.alike)
    }

    /// The one deadline of a list and the hold that counts for it; none for a plan that is stored.
    pub(super) fn own(&self) -> Option<(Timestamp, Duration)> {
        self.alike.map(|alike| (alike.deadline, alike.hold))
    }

    /// The open projects past which a device goes with a list: those that are to leave the service that it is at.
    fn passed(&self, device: Option<&Device>) -> impl Iterator<Item = &Passed> {
        let reading = device.and_then(|device| device.reading.as_ref());
        let at = reading.and_then(|reading| reading.assigned_server.as_deref());
        let open = self.open.iter();
        open.filter(move |passed| at.is_some_and(|at| passed.project.leaves(at, &self.ours)))
    }

    fn runbook(&self, planned: Option<Planned>, platform: Option<Platform>) -> Option<&Whole> {
        match planned.and_then(|p| p.runbook) {
            Some(id) => self.by_id.get(&id),
            None => self.by_platform.get(&platform?),
        }
    }

    /// For how long the longest hold with one of these runbooks counts.
    fn longest_hold(&self) -> Duration {
        let all = self.by_platform.values().chain(self.by_id.values());
        all.map(|whole| hold_of(&whole.runbook))
            .fold(HOLD, Duration::max)
    }

    /// The first deadline and the last one.
    pub(super) fn deadlines(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let all = self.members.values().chain(&self.alike);
        let deadlines = || all.clone().map(|p| p.deadline);
        (
            deadlines().min().unwrap_or(now),
            deadlines().max().unwrap_or(now),
        )
    }

    /// How many devices of these groups, which are those of the members, would be in the gap at once; nothing without limits.
    fn in_gap(&self, groups: &BTreeMap<GapGroup, usize>) -> Option<InGap> {
        if self.gap.limits.is_empty() {
            return None;
        }
        let found = groups.iter().filter_map(|(group, devices)| {
            let limit = self.gap.limits.most(group)?;
            let mut stays = self.gap.stays.get(group).cloned().unwrap_or_default();
            if let Some(alike) = self.alike {
                // These are in no wave yet.
                let stay = (
                    alike.available_from.min(alike.deadline),
                    alike.deadline + self.longest_hold(),
                );
                stays.extend(std::iter::repeat_n(stay, *devices));
            }
            let (most, at) = crate::gap::most_at_once(&stays)?;
            Some((group.clone(), most, at, limit))
        });
        Some(found.collect())
    }

    /// How many requests the members take at Apple: one for each deadline and thousand devices.
    fn requests(&self, members: usize) -> usize {
        let mut buckets: BTreeMap<Timestamp, usize> = BTreeMap::new();
        for planned in self.members.values() {
            *buckets.entry(planned.deadline).or_default() += 1;
        }
        if let Some(alike) = self.alike {
            buckets.insert(alike.deadline, members);
        }
        let most = crate::errand::MOST_DEVICES;
        buckets.values().map(|n| n.div_ceil(most)).sum()
    }
}

/// A runbook of a plan: pinned, or that of a platform.
type RunbookKey = (Option<RunbookId>, Option<Platform>);

/// What is counted over all members while they go by.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) matrix: Matrix,
    pub(super) forecaster: Forecaster,
    pub(super) profiles: ProfileCounter,
    needs: NeedCount,
    /// The apps of each runbook that take licences.
    apps: BTreeMap<RunbookKey, Vec<(u64, String)>>,
    /// Of each group, how many members have it.
    groups: BTreeMap<GapGroup, usize>,
    members: usize,
    /// Licences as a plan may count on them; none without a location, where nothing can be said of them.
    free: Option<Free>,
}

impl Counts {
    pub(super) fn new(free: Option<Free>) -> Self {
        Self {
            matrix: Matrix::default(),
            forecaster: Forecaster::new(free.as_ref().map(|free| free.stock.clone())),
            profiles: ProfileCounter::default(),
            needs: NeedCount::default(),
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
    pub(super) async fn plan_in_question(&self, question: &Question) -> Result<Plan, Error> {
        let mut by_platform = BTreeMap::new();
        let given = self.given_runbooks(&question.runbooks).await?;
        self.must_go_with(&given).await?;
        for (platform, runbook) in given {
            let whole = self.profiles_bring(Arc::new(runbook)).await?;
            by_platform.insert(platform, whole);
        }
        let server = self.server_entry(question.destination).await?;
        let server = Some(server.ok_or(Error::NotFound("server entry"))?);
        let longest = by_platform
            .values()
            .map(|whole: &Whole| hold_of(&whole.runbook))
            .fold(HOLD, Duration::max);
        let alike = Planned {
            hold: longest,
            deadline: question.deadline,
            available_from: question.available_from,
            attempt: None,
            runbook: None,
            asked: Asked::Nothing,
        };
        let mut plan = Plan {
            members: BTreeMap::new(),
            alike: Some(alike),
            undated: question.undated,
            by_platform,
            by_id: BTreeMap::new(),
            ..self.whereto(server, None).await?
        };
        let free = |device: &Device| device.open_move.is_none();
        let passed = self.passed_by(&question.serials, &plan.ours, free).await?;
        plan.open = passed;
        self.try_codes(&mut plan).await?;
        Ok(plan)
    }

    /// Tries the way of a bypass code into the vault and back, where a runbook wants a lock. The code is thrown away.
    async fn try_codes(&self, plan: &mut Plan) -> Result<(), Error> {
        let mut runbooks = plan.by_platform.values().chain(plan.by_id.values());
        if !runbooks.any(|whole| whole.runbook.lock) {
            return Ok(());
        }
        plan.codes = Some(self.codes_work().await?);
        Ok(())
    }

    /// Whether a bypass code finds its way into the vault and back. The code is thrown away.
    pub(in crate::service) async fn codes_work(&self) -> Result<bool, Error> {
        let works = async || -> Result<bool, Error> {
            let Ok(code) = activation_lock::new_code() else {
                return Ok(false);
            };
            let kind = SecretKind::ServerBypassCode;
            let sealed = self.seal_bytes(kind, &code).await?;
            let opened = self.open_bytes(kind, &sealed).await?;
            let hash = |code| activation_lock::escrow_key(code).ok();
            Ok(hash(&opened).is_some() && hash(&opened) == hash(&code))
        };
        match works().await {
            Ok(works) => Ok(works),
            Err(error) if error.retry_after().is_some() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// With `planned` only members of which nothing is at Apple yet, otherwise all that have not ended.
    pub(super) async fn plan_of_wave(&self, wave: &Wave, planned: bool) -> Result<Plan, Error> {
        let server = self.server_entry(wave.destination).await?;
        let mut plan = self.whereto(server, Some(wave)).await?;
        plan.within = self.within(wave).await?;
        // The members of a draft go with what their project has now; those of a wave that was submitted keep what they have.
        let project = plan.within.as_ref().map(|within| &within.project);
        let of_now = project.and_then(|project| wave.runbooks_of_now(project));
        for (platform, id) in of_now.iter().flatten() {
            let runbook = self.plan(*id).await?;
            let whole = self.profiles_bring(runbook).await?;
            plan.by_platform.insert(*platform, whole);
        }
        let members = self.members(wave.id).await?;
        let holds = plan.by_platform.iter();
        let holds: BTreeMap<Platform, Duration> = holds
            .map(|(platform, whole)| (*platform, hold_of(&whole.runbook)))
            .collect();
        // Where holds of platforms differ it is asked of each member which one it has.
        let differ = holds.values().collect::<BTreeSet<_>>().len() > 1;
        let devices = match of_now.is_some() && differ {
            true => {
                let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
                self.devices_of(&serials).await?
            }
            false => BTreeMap::new(),
        };
        for attempt in members {
            if attempt.is_ended() || planned && !attempt.is_planned() {
                continue;
            }
            let pinned = of_now.is_none().then_some(attempt.runbook);
            if let Some(pinned) = pinned
                && let Entry::Vacant(entry) = plan.by_id.entry(pinned)
            {
                let runbook = self.plan(pinned).await?;
                entry.insert(self.profiles_bring(runbook).await?);
            }
            let mut hold = self.hold_with(attempt.runbook).await?;
            if of_now.is_some() {
                // It goes with one of those that its project has now.
                let platform = devices.get(&attempt.serial).and_then(platform_of);
                let of_now = platform.and_then(|platform| holds.get(&platform).copied());
                let of_now = of_now.unwrap_or_else(|| plan.longest_hold());
                if let Some(within) = plan.within.as_mut().filter(|_| of_now != hold) {
                    within.deadlines.leave_out(attempt.deadline, hold);
                    within.deadlines.add(attempt.deadline, of_now, 1);
                }
                hold = of_now;
            }
            let planned = Planned {
                hold,
                deadline: attempt.deadline,
                available_from: attempt.available_from,
                attempt: Some(attempt.id),
                runbook: pinned,
                asked: match (attempt.is_planned(), &attempt.before) {
                    (false, _) => Asked::Now,
                    (true, Some(_)) => Asked::Before,
                    (true, None) => Asked::Nothing,
                },
            };
            if let Some(within) = plan.within.as_mut().filter(|_| !attempt.met.is_empty()) {
                within.met.insert(attempt.serial.clone(), attempt.met);
            }
            let serial = attempt.serial.clone();
            if plan.members.insert(attempt.serial, planned).is_some() {
                plan.twice.insert(serial);
            }
        }
        if plan.within.is_none() && matches!(wave.state, WaveState::Draft) {
            let serials: Vec<Serial> = plan.members.keys().cloned().collect();
            let own: BTreeSet<Option<MoveId>> = plan.members.values().map(|p| p.attempt).collect();
            let here =
                |device: &Device| device.open_move.is_none() || own.contains(&device.open_move);
            plan.open = self.passed_by(&serials, &plan.ours, here).await?;
        }
        if !plan.open.is_empty() {
            let own = plan
                .members
                .values()
                .map(|p| (p.deadline, p.hold))
                .collect();
            plan.at_once = self.deadlines_of_all().await?.most_at_once(&own);
        }
        self.try_codes(&mut plan).await?;
        Ok(plan)
    }

    /// The project of a wave with what only all of its waves together tell.
    async fn within(&self, wave: &Wave) -> Result<Option<Within>, Error> {
        let Some(project) = self.project_of(wave).await? else {
            return Ok(None);
        };
        Ok(Some(Within {
            gate: self.kept_back(&project, wave).await?,
            deadlines: self.deadlines_of_all().await?,
            project,
            met: BTreeMap::new(),
        }))
    }

    async fn whereto(&self, server: Option<Server>, wave: Option<&Wave>) -> Result<Plan, Error> {
        let servers = self.store().servers(self.id()).await?;
        let inventory = self.inventory().await?;
        let (services, other_kinds) = inventory
            .map(|i| (i.services, i.other_kinds))
            .unwrap_or_default();
        let defined = server.as_ref().and_then(|row| self.awaiting(row, wave));
        Ok(Plan {
            members: BTreeMap::new(),
            alike: None,
            awaits: defined.map(|profile| profile.proved_awaiting),
            awaits_at: defined.and_then(|profile| profile.defined),
            twice: BTreeSet::new(),
            destination: server,
            services,
            other_kinds,
            ours: servers.into_iter().map(|s| s.uuid).collect(),
            by_platform: BTreeMap::new(),
            by_id: BTreeMap::new(),
            escrow: self.escrow_works().await?,
            codes: None,
            within: None,
            open: Vec::new(),
            at_once: None,
            undated: false,
            library: self.library_brings().await?,
            returning: self.returning().await?,
            gap: self.gap_plan().await?,
        })
    }

    async fn gap_plan(&self) -> Result<GapPlan, Error> {
        let limits = self.gap_limits().await?;
        let stays = self.gap_stays(&limits, |_| false).await?;
        Ok(GapPlan { limits, stays })
    }

    /// Devices that a request to Apple takes, or may take, to another service. What waits is withdrawn with a submission.
    async fn returning(&self) -> Result<BTreeSet<DeviceId>, Error> {
        let now = self.now();
        let open = self.open_errands().await?;
        let under_way = open.iter().filter(|e| e.is_return() && !e.is_idle(now));
        Ok(under_way
            .flat_map(|errand| errand.members.iter().map(|m| m.device))
            .collect())
    }

    /// Whether what is sealed to the escrow certificate opens with the key that we hold; none without a certificate.
    async fn escrow_works(&self) -> Result<Option<bool>, Error> {
        let Some(escrow) = &self.organisation.escrow else {
            return Ok(None);
        };
        Ok(Some(match self.open_secret_cached(escrow.key).await {
            Ok(key) => EscrowKey::new(escrow.certificate.0.clone(), key).opens_what_it_seals(),
            Err(Error::Store(crate::store::StoreError::Unavailable(why))) => {
                return Err(Error::Store(crate::store::StoreError::Unavailable(why)));
            }
            Err(_) => false,
        }))
    }

    /// Looks at a thousand members, with three statements.
    pub(super) async fn look_at_chunk(
        &self,
        plan: &Plan,
        serials: &[Serial],
        counts: &mut Counts,
    ) -> Result<Vec<MemberReport>, Error> {
        let now = self.now();
        let rules = &self.organisation.settings.unknowns;
        let devices = self.store().devices_by_serial(self.id(), serials).await?;
        let ids: Vec<DeviceId> = devices.iter().map(|d| d.id).collect();
        let originals = self.store().originals_of(self.id(), &ids).await?;
        let originals: BTreeMap<DeviceId, OriginalFacts> =
            originals.into_iter().map(|o| (o.id, o)).collect();
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
                    gates,
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
                    *counts.groups.entry(group).or_default() += 1;
                }
            }
            let licences = device.map_or_else(BTreeSet::new, |d| counts.licences_of(d));
            let key = (planned.and_then(|p| p.runbook), platform);
            let apps = counts
                .apps
                .entry(key)
                .or_insert_with(|| whole.map_or_else(Vec::new, |whole| store_apps(&whole.runbook)));
            counts.needs.add(apps, |app| licences.contains(&app));
            let short = counts.forecaster.add(&LossOf {
                serial,
                platform,
                original,
                runbook: facts.runbook,
                licences: &licences,
                tags: device.map_or(&no_tags, |d| &d.tags),
            });
            if !short.lost.is_empty() {
                let read = counts.free.as_ref().and_then(|free| free.read);
                findings.push(without_licence(&short, read));
            }
            if !short.uncertain.is_empty() {
                findings.push(licence_not_known(&short.uncertain));
            }
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

    /// What holds for all members.
    pub(super) async fn server_facts(
        &self,
        plan: &Plan,
        counts: &mut Counts,
        serials: &[Serial],
    ) -> Result<ServerFacts, Error> {
        let server = plan.destination.as_ref();
        let mut expiries = Vec::new();
        let now = Some(self.now());
        let mut lasts = |check, name: String, ends, (source, at)| {
            expiries.push(Expiry {
                check,
                name,
                ends,
                source,
                at,
            });
        };
        let ours = (FactSource::Operator, now);
        let push = self.organisation.push.as_ref().map(|p| p.not_after);
        let name = "the push certificate".to_owned();
        let ends = push.map_or(Ends::Missing, Ends::At);
        lasts(Check::PushCert, name, ends, ours);
        if let Some(server) = server {
            let name = format!("the server token of {}", server.name);
            let unsaid = || Ends::Unsaid("the token does not say it".to_owned());
            let ends = server.token_expires.map_or_else(unsaid, Ends::At);
            // It says so itself; that it still works was seen with the last list.
            let source = (FactSource::Assignment, server.synced);
            lasts(Check::AssignmentToken, name, ends, source);
        } else {
            let name = "the server entry to which devices would go".to_owned();
            lasts(Check::AssignmentToken, name, Ends::Missing, ours);
        }
        let (mut shared, mut known) = (Vec::new(), None);
        let locations = self.locations().await?;
        let count = locations.len();
        for location in locations {
            let claim = location.claim_read;
            known = Some(known.map_or(claim, |known: Option<Timestamp>| known.min(claim)));
            let name = format!("the content token of {}", location.name);
            let unsaid = || Ends::Unsaid("the token does not say it".to_owned());
            let ends = match location.needs_person {
                // That another service has claimed it is a finding of its own.
                Some(why) if location.claimed_by_other.is_none() => Ends::Refused(why),
                _ => location.token_expires.map_or_else(unsaid, Ends::At),
            };
            let source = (FactSource::Api, location.stock_read.max(claim));
            lasts(Check::ContentToken, name, ends, source);
            if location.claimed_by_other.is_some() {
                shared.push((location.name, claim));
            }
        }
        let (name, ends) = self.issuer_ends();
        lasts(Check::IdentityCa, name, ends, ours);
        let needs = match &counts.free {
            Some(free) => Some(
                self.needs_beside_others(std::mem::take(&mut counts.needs), free, serials)
                    .await?,
            ),
            None => None,
        };
        let of_requests = self
            .facts_of_requests(plan.requests(counts.members))
            .await?;
        Ok(ServerFacts {
            awaits: plan.awaits,
            awaits_at: plan.awaits_at,
            expiries,
            shared,
            locations: (count, known.flatten()),
            stock_read: counts.free.as_ref().and_then(|free| free.read),
            members: serials.len(),
            twice: plan.twice.clone(),
            outside: self.mdm.outside(self.id()),
            protocol: self.mdm.inner.ports.assignment.protocol_version(),
            needs,
            in_gap: plan.in_gap(&counts.groups),
            project: plan.within.as_ref().map(|within| {
                let own = plan.members.values().chain(&plan.alike);
                within.facts(&own.map(|p| (p.deadline, p.hold)).collect())
            }),
            ..of_requests
        })
    }

    /// What these members need of licences, and how many members of other open waves want the same ones.
    async fn needs_beside_others(
        &self,
        needs: NeedCount,
        free: &Free,
        serials: &[Serial],
    ) -> Result<Vec<LicenceNeed>, Error> {
        let mut needs = needs.finish(&free.stock);
        // Of what there is for everybody nobody takes another's.
        if needs.iter().all(|need| need.unlimited || !need.assignable) {
            return Ok(needs);
        }
        let own = |serial: &Serial| serials.binary_search(serial).is_ok();
        let others = self.needed_elsewhere(own).await?;
        for need in &mut needs {
            need.others = others.get(&need.app).copied().unwrap_or_default();
        }
        Ok(needs)
    }

    /// The authority that issues identities, and when it ends.
    fn issuer_ends(&self) -> (String, Ends) {
        let elsewhere = |name: &str, why: &str| (name.to_owned(), Ends::Unsaid(why.to_owned()));
        let certificate = |der: &[u8]| match identity::ends(der) {
            Some(ends) => Ends::At(ends),
            None => Ends::Unsaid("its certificate cannot be read".to_owned()),
        };
        match &self.organisation.issuer {
            Issuer::BuiltIn => {
                let authority = self.organisation.identity_cas.first();
                let ends = authority.map_or(Ends::Missing, |a| certificate(&a.certificate.0));
                ("the authority that issues identities".to_owned(), ends)
            }
            Issuer::Scep {
                authority: Some(authority),
                ..
            } => {
                let name = "the authority of the SCEP server that issues identities";
                (name.to_owned(), certificate(&authority.0))
            }
            Issuer::Scep {
                authority: None, ..
            } => elsewhere(
                "the authority of the SCEP server that issues identities",
                "its certificate was not brought in",
            ),
            Issuer::Acme { .. } => elsewhere(
                "the authority of the ACME server that issues identities",
                "it is not ours",
            ),
        }
    }
}
