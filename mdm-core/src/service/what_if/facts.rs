//! The facts of a what-if: a plan with its members, stored or not, and where they go. What room it takes, its members one by one, what
//! holds for all of them, and what is tried have files of their own.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Question;
use super::brings::{ForWhom, Whole};
use super::past::Passed;
use super::room::GapPlan;
use crate::calendar::HOLD;
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::ids::{DeviceId, MoveId, RunbookId, Serial};
use crate::migration::Met;
use crate::migration::plan::Taken;
use crate::migration::what_if::{Asked, Brings, Manifests};
use crate::project::Project;
use crate::service::Org;
use crate::service::manifests::addresses;
use crate::service::wave::{hold_of, platform_of};
use crate::wave::{Server, Waiver, Wave, WaveState};

/// How one member is planned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) deadline: Timestamp,
    pub(super) available_from: Timestamp,
    /// Its open attempt, if the plan is stored.
    pub(super) attempt: Option<MoveId>,
    /// Its pinned runbook, if the plan is stored.
    pub(super) runbook: Option<RunbookId>,
    /// What of it has gone to Apple.
    pub(super) asked: Asked,
    /// For how long its hold counts.
    pub(super) hold: Duration,
}

/// The project of a wave, and what stands against the wave in it.
#[derive(Debug)]
pub(super) struct Within {
    pub(super) project: Project,
    pub(super) gate: Vec<String>,
    /// The deadlines of the devices of all open waves, without those of this one of which nothing is at Apple: whether these go is what is
    /// looked at.
    pub(super) deadlines: Taken,
    /// What was done for members at the original service.
    pub(super) met: BTreeMap<Serial, BTreeMap<String, Met>>,
}

/// A plan, stored or not.
#[derive(Debug)]
pub(super) struct Plan {
    /// Stored members; empty for a question, in which all are planned alike.
    pub(super) members: BTreeMap<Serial, Planned>,
    pub(super) alike: Option<Planned>,
    /// Without it there is nowhere to go: that is a finding.
    pub(super) destination: Option<Server>,
    /// Whether the ADE profile that members get there, the wave's own where it has one, was read back as one that makes devices wait.
    pub(super) awaits: Option<bool>,
    /// When that profile was defined.
    pub(super) awaits_at: Option<Timestamp>,
    /// Serial numbers of which more than one attempt is in the wave.
    pub(super) twice: BTreeSet<Serial>,
    pub(super) services: Vec<(String, String)>,
    pub(super) other_kinds: BTreeMap<String, String>,
    /// The identifiers at Apple of all server entries of ours.
    pub(super) ours: BTreeSet<String>,
    pub(super) by_platform: BTreeMap<Platform, Whole>,
    pub(super) by_id: BTreeMap<RunbookId, Whole>,
    pub(super) escrow: Option<bool>,
    /// Whether a bypass code comes out of the vault as it went in; none where no runbook wants a lock.
    pub(super) codes: Option<bool>,
    pub(super) within: Option<Within>,
    /// Open projects that these devices go past, where this is a list of devices, or a draft, that is part of none.
    pub(super) open: Vec<Passed>,
    /// The most devices that would be in a hold at once with them, and when; not counted without such a project.
    pub(super) at_once: Option<(u32, Timestamp)>,
    /// Who goes though something stands against it; empty for a look at what stands there.
    pub(super) waivers: Vec<Waiver>,
    /// Nobody has given its deadline: what a project says of deadlines says nothing of it.
    pub(super) undated: bool,
    /// What each profile of the library and each set of declarations brings, and to which devices.
    pub(super) library: Vec<(ForWhom, Brings)>,
    /// What is known of the manifests of apps of one's own.
    pub(super) manifests: Manifests,
    /// Devices whose return to another service is on its way to Apple.
    pub(super) returning: BTreeSet<DeviceId>,
    /// How many devices of a group may be in the gap at once, and for how long those of all open waves are.
    pub(super) gap: GapPlan,
}

impl Within {
    pub(super) fn unmet(&self, serial: &Serial) -> Vec<String> {
        let met = self.met.get(serial);
        let open = |name: &&String| !met.is_some_and(|met| met.contains_key(*name));
        self.project
            .prerequisites
            .iter()
            .filter(open)
            .cloned()
            .collect()
    }
}

impl Plan {
    pub(super) fn planned(&self, serial: &Serial) -> Option<Planned> {
        self.members.get(serial).copied().or(self.alike)
    }

    /// The open projects past which a device goes with a list: those that are to leave the service that it is at.
    pub(super) fn passed(&self, device: Option<&Device>) -> impl Iterator<Item = &Passed> {
        let reading = device.and_then(|device| device.reading.as_ref());
        let at = reading.and_then(|reading| reading.assigned_server.as_deref());
        let open = self.open.iter();
        open.filter(move |passed| at.is_some_and(|at| passed.project.leaves(at, &self.ours)))
    }

    /// The addresses of manifests that its runbooks name.
    fn manifest_urls(&self) -> BTreeSet<String> {
        let all = self.by_platform.values().chain(self.by_id.values());
        let urls = all.flat_map(|whole| addresses(&whole.runbook));
        urls.map(str::to_owned).collect()
    }

    pub(super) fn runbook(
        &self,
        planned: Option<Planned>,
        platform: Option<Platform>,
    ) -> Option<&Whole> {
        match planned.and_then(|p| p.runbook) {
            Some(id) => self.by_id.get(&id),
            None => self.by_platform.get(&platform?),
        }
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
        let urls = plan.manifest_urls();
        let ours = match self.may_send_us {
            true => None,
            false => Some(self.manifests_of_ours(&urls).await?),
        };
        plan.manifests = self.manifests_known(urls, ours.as_ref()).await?;
        Ok(plan)
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
        // Those of a wave of no project that are counted as it is.
        let mut counted: Vec<(Timestamp, Duration)> = Vec::new();
        for attempt in members {
            if attempt.is_planned() && attempt.takes_room() {
                let hold = self.hold_with(attempt.runbook).await?;
                match &mut plan.within {
                    Some(within) => within.deadlines.leave_out(attempt.deadline, hold),
                    None => counted.push((attempt.deadline, hold)),
                }
            }
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
        self.try_codes(&mut plan).await?;
        plan.manifests = self.manifests_known(plan.manifest_urls(), None).await?;
        let serials: Vec<Serial> = plan.members.keys().cloned().collect();
        let at_once = Box::pin(self.count_at_once(&plan, &serials, &counted)).await?;
        plan.at_once = at_once;
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
            waivers: Vec::new(),
            undated: false,
            library: self.library_brings().await?,
            manifests: Manifests::default(),
            returning: self.returning().await?,
            gap: self.gap_plan(wave.map(|wave| wave.id)).await?,
        })
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
}
