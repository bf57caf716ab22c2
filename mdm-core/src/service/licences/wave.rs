//! Licences of waves: what the members need, who holds what, and errands for what is lacking.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::device::Device;
use crate::errand::{ErrandKind, ErrandMember};
use crate::error::Error;
use crate::ids::{DeviceId, LocationId, MoveId, Serial, WaveId};
use crate::job::{Job, JobKind};
use crate::licences::{
    HeldLicence, Lacking, LicenceNeed, Location, Stock, allot, needs, note, requests,
};
use crate::migration::{AppAction, Move, MoveState, PinnedRunbook};
use crate::service::Org;
use crate::service::act::PlannedRequest;
use crate::service::licences::stake::{AtStake, comes_first};
use crate::service::ports::LicenceRequest;
use crate::store::Batch;
use crate::wave::Wave;

/// A list that failed half-way goes on with what was read so long ago.
const JUST_NOW: Duration = Duration::from_secs(600);
/// Rows of one batch.
const CHUNK: usize = 1000;

/// Who holds an app of a location.
struct Holders {
    app: u64,
    /// Nothing of it is older.
    since: Timestamp,
    serials: BTreeSet<Serial>,
    /// Nobody is missing.
    complete: bool,
}

/// A walk through the members of open waves.
struct Walk {
    waves: VecDeque<WaveId>,
    after: MoveId,
}

/// What open errands change.
#[derive(Default)]
struct UnderWay {
    /// Devices and apps.
    pairs: BTreeSet<(DeviceId, u64)>,
    /// Licences of a location's apps that are promised to devices.
    promised: BTreeMap<(LocationId, u64), u64>,
    /// To which devices which apps are promised.
    given: BTreeMap<DeviceId, BTreeSet<u64>>,
}

/// Licences as a plan may count on them.
#[derive(Debug)]
pub(in crate::service) struct Free {
    /// The stock over all locations, without what open requests have promised to devices.
    pub(in crate::service) stock: BTreeMap<u64, Stock>,
    /// To which devices which apps are promised: they count as had.
    pub(in crate::service) given: BTreeMap<DeviceId, BTreeSet<u64>>,
    /// When the oldest of it was read; none where one was never read.
    pub(in crate::service) read: Option<Timestamp>,
}

impl Org {
    /// What the members of a wave that have not ended need, have and lack, by app.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn licence_need(&self, wave: WaveId) -> Result<Vec<LicenceNeed>, Error> {
        let known = self.store().wave(self.id(), wave).await?;
        known.ok_or(Error::NotFound("wave"))?;
        let mut members = self.members(wave).await?;
        members.retain(|m| !m.is_ended());
        let mut plans: BTreeMap<_, Vec<(u64, String)>> = BTreeMap::new();
        for member in &members {
            if let Entry::Vacant(entry) = plans.entry(member.runbook) {
                entry.insert(store_apps(&*self.plan(member.runbook).await?));
            }
        }
        let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
        let free = self.free_licences().await?;
        let mut holds = BTreeSet::new();
        for chunk in serials.chunks(1000) {
            for device in self.store().devices_by_serial(self.id(), chunk).await? {
                let held = device.licences.iter().map(|held| held.app);
                let promised = free.given.get(&device.id).into_iter().flatten();
                for app in held.chain(promised.copied()) {
                    holds.insert((app, device.serial.clone()));
                }
            }
        }
        let wants = members.iter().map(|m| {
            (
                &m.serial,
                plans.get(&m.runbook).map_or(&[][..], Vec::as_slice),
            )
        });
        let mut all = needs(wants, &holds, &free.stock);
        let own: BTreeSet<&Serial> = serials.iter().collect();
        let others = self.needed_elsewhere(|serial| own.contains(serial)).await?;
        for need in &mut all {
            need.others = others.get(&need.app).copied().unwrap_or_default();
        }
        Ok(all)
    }

    /// The stock without what is promised, and to whom it is.
    pub(in crate::service) async fn free_licences(&self) -> Result<Free, Error> {
        let under_way = self.licences_under_way().await?;
        let mut stock: BTreeMap<u64, Stock> = BTreeMap::new();
        let mut read: Option<Option<Timestamp>> = None;
        for location in self.locations().await?.iter().filter(|l| l.gives()) {
            read = Some(read.map_or(location.stock_read, |read| read.min(location.stock_read)));
            for (app, own) in &location.stock {
                let promised = under_way.promised.get(&(location.id, *app)).copied();
                let mut own = *own;
                own.available = own.available.saturating_sub(promised.unwrap_or_default());
                stock.entry(*app).or_default().add(own);
            }
        }
        Ok(Free {
            stock,
            given: under_way.given,
            read: read.flatten(),
        })
    }

    /// Of each app how many members of open waves lack it that were promised none; `but` are left out.
    pub(in crate::service) async fn needed_elsewhere(
        &self,
        but: impl Fn(&Serial) -> bool,
    ) -> Result<BTreeMap<u64, u64>, Error> {
        let under_way = self.licences_under_way().await?;
        let mut all = BTreeMap::new();
        let mut walk = self.walk().await?;
        while let Some((_, mut members)) = self.next_members(&mut walk).await? {
            members.retain(|member| !but(&member.serial));
            for app in self
                .lacking(&members, &under_way)
                .await?
                .iter()
                .flat_map(|(_, apps)| apps)
            {
                *all.entry(*app).or_default() += 1;
            }
        }
        Ok(all)
    }

    /// The stock over all locations.
    pub(in crate::service) async fn whole_stock(&self) -> Result<BTreeMap<u64, Stock>, Error> {
        let mut whole: BTreeMap<u64, Stock> = BTreeMap::new();
        let locations = self.locations().await?;
        for location in locations.into_iter().filter(Location::gives) {
            for (app, stock) in location.stock {
                whole.entry(app).or_default().add(stock);
            }
        }
        Ok(whole)
    }

    /// Puts errands into a batch that give members the licences of their runbooks' apps, as far as there are any: first to those that
    /// have the app and would lose it with its data. Who lacks one that is not there gets it when the stock shows it.
    pub(in crate::service) async fn put_licence_errands(
        &self,
        batch: &mut Batch,
        wave: WaveId,
        members: &[Move],
    ) -> Result<(), Error> {
        let locations = self.locations().await?;
        if locations.is_empty() {
            return Ok(());
        }
        let under_way = self.licences_under_way().await?;
        let lacking = self.all_lacking(members, &under_way).await?;
        let first = self.at_stake(members).await?;
        self.put_allotted(batch, wave, lacking, &locations, (&under_way, &first));
        self.put_stock_jobs(batch, &locations);
        Ok(())
    }

    /// The requests that [`Org::put_licence_errands`] would make of these members now.
    pub(in crate::service) async fn licence_requests_of(
        &self,
        members: &[Move],
    ) -> Result<Vec<PlannedRequest>, Error> {
        if self.locations().await?.is_empty() {
            return Ok(Vec::new());
        }
        let under_way = self.licences_under_way().await?;
        let lacking = self.all_lacking(members, &under_way).await?;
        let first = self.at_stake(members).await?;
        let lacking = lacking.into_iter().map(|(who, apps)| (who.serial, apps));
        let (requests, _) = self.plan_giving(lacking.collect(), &first).await?;
        Ok(requests)
    }

    /// In the order of serial numbers, as the forecast goes through them.
    async fn all_lacking(
        &self,
        members: &[Move],
        under_way: &UnderWay,
    ) -> Result<Lacking<ErrandMember>, Error> {
        let mut lacking = Vec::new();
        for members in members.chunks(CHUNK) {
            lacking.extend(self.lacking(members, under_way).await?);
        }
        lacking.sort_by(|(one, _), (other, _)| one.serial.cmp(&other.serial));
        Ok(lacking)
    }

    /// The stock is read now: what a plan says about licences is to be no older than the plan.
    pub(in crate::service) fn put_stock_jobs(&self, batch: &mut Batch, locations: &[Location]) {
        for location in locations {
            let kind = JobKind::Stock {
                location: location.id,
            };
            batch.put(Job::new(self.id(), location.job, self.now(), kind));
            if !location.noted.is_empty() {
                // It was noted for fewer devices.
                let mut location = location.clone();
                location.noted.clear();
                batch.put(location);
            }
        }
    }

    fn put_allotted(
        &self,
        batch: &mut Batch,
        wave: WaveId,
        lacking: Lacking<ErrandMember>,
        locations: &[Location],
        (under_way, first): (&UnderWay, &AtStake),
    ) {
        let first = |who: &ErrandMember, app| comes_first(first, &who.serial, app);
        for (location, members) in allot(lacking, locations, &under_way.promised, first) {
            for (apps, members) in requests(members, location.limits) {
                let kind = ErrandKind::Associate {
                    location: location.id,
                    apps,
                };
                self.put_errands(batch, Some(wave), &kind, &members, None, self.actor());
            }
        }
    }

    /// The requests that would give devices what they lack, `first` where it is said, and a sentence for each app of which there are
    /// not enough.
    pub(in crate::service) async fn plan_giving(
        &self,
        mut lacking: Lacking<Serial>,
        first: &AtStake,
    ) -> Result<(Vec<PlannedRequest>, Vec<String>), Error> {
        let locations = self.locations().await?;
        if locations.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        // As the forecast goes through them.
        lacking.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut short: BTreeMap<u64, usize> = BTreeMap::new();
        for app in lacking.iter().flat_map(|(_, apps)| apps) {
            *short.entry(*app).or_default() += 1;
        }
        let mut requested = Vec::new();
        let promised = self.licences_under_way().await?.promised;
        let first = |serial: &Serial, app| comes_first(first, serial, app);
        for (location, members) in allot(lacking, &locations, &promised, first) {
            for app in members.iter().flat_map(|(_, apps)| apps) {
                *short.entry(*app).or_default() -= 1;
            }
            requested.extend(planned(false, requests(members, location.limits)));
        }
        let warnings = short.into_iter().filter(|(_, n)| *n > 0);
        let warnings = warnings.map(|(app, n)| format!("{app}: {n} devices would get no licence"));
        Ok((requested, warnings.collect()))
    }

    /// The requests that take back what these devices were given for their attempts.
    pub(in crate::service) async fn plan_taking_back<'a>(
        &self,
        devices: impl Iterator<Item = &'a Device>,
    ) -> Result<Vec<PlannedRequest>, Error> {
        let mut lent: BTreeMap<LocationId, BTreeMap<Serial, BTreeSet<u64>>> = BTreeMap::new();
        for device in devices {
            let ours =
                |l: &&HeldLicence| l.ours && (l.attempt.is_none() || l.attempt == device.open_move);
            for held in device.licences.iter().filter(ours) {
                let of = lent.entry(held.location).or_default();
                of.entry(device.serial.clone())
                    .or_default()
                    .insert(held.app);
            }
        }
        let mut requested = Vec::new();
        for location in self.locations().await? {
            if let Some(lent) = lent.remove(&location.id) {
                requested.extend(planned(true, requests(lent, location.limits)));
            }
        }
        Ok(requested)
    }

    /// Which apps of their runbooks members lack that no open errand is about to give them.
    async fn lacking(
        &self,
        members: &[Move],
        under_way: &UnderWay,
    ) -> Result<Lacking<ErrandMember>, Error> {
        let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
        let rows = self.store().devices_by_serial(self.id(), &serials).await?;
        let held: BTreeMap<DeviceId, BTreeSet<u64>> = rows
            .iter()
            .map(|row| (row.id, row.licences.iter().map(|l| l.app).collect()))
            .collect();
        let mut lacking = Vec::new();
        for member in members {
            let plan = self.plan(member.runbook).await?;
            let mut apps: BTreeSet<u64> =
                store_apps(&plan).into_iter().map(|(app, _)| app).collect();
            let has = held.get(&member.device);
            apps.retain(|app| {
                !has.is_some_and(|h| h.contains(app))
                    && !under_way.pairs.contains(&(member.device, *app))
            });
            if !apps.is_empty() {
                let who = ErrandMember {
                    device: member.device,
                    serial: member.serial.clone(),
                    attempt: Some(member.id),
                };
                lacking.push((who, apps));
            }
        }
        Ok(lacking)
    }

    /// After a location's stock was read: who of the open waves' devices holds what, and errands for those that lack what is
    /// there now. So a licence that was bought, or moved over with the location, finds its device.
    pub(super) async fn follow_stock(&self, location: &Location) -> Result<(), Error> {
        let mut apps = BTreeSet::new();
        for wave in self.open_waves().await? {
            for runbook in wave.runbooks.values() {
                let plan = self.plan(*runbook).await?;
                apps.extend(store_apps(&plan).into_iter().map(|(app, _)| app));
            }
        }
        let credential = self.content_credential(location.id).await?;
        for app in apps {
            let there = location
                .stock
                .get(&app)
                .is_some_and(|s| s.device_assignable);
            let noted = location.noted.get(&app);
            if !there || noted.is_some_and(|at| self.now() < *at + JUST_NOW) {
                continue;
            }
            let since = self.now() - JUST_NOW;
            let licences = &self.ports().licences;
            let holders = licences.holders(&credential, app, since).await?;
            let holders = Holders {
                app,
                since,
                complete: holders.steady,
                serials: holders.serials.into_iter().collect(),
            };
            let mut walk = self.walk().await?;
            while let Some((_, members)) = self.next_members(&mut walk).await? {
                self.note_holders(location.id, &members, &holders).await?;
            }
            // What fails with the next app does not cost this one.
            let now = self.now();
            self.alter_location(location.id, |row| {
                row.noted.insert(app, now);
            })
            .await?;
        }
        // Whoever would lose an app with its data comes before everybody else, in whichever wave: so there are two turns.
        for at_stake in [true, false] {
            let mut walk = self.walk().await?;
            while let Some((wave, members)) = self.next_members(&mut walk).await? {
                self.give_what_is_there(wave, &members, at_stake).await?;
            }
        }
        self.alter_location(location.id, |row| row.noted.clear())
            .await
    }

    async fn open_waves(&self) -> Result<Vec<Wave>, Error> {
        let mut waves = self.all_waves().await?;
        waves.retain(Wave::is_open);
        Ok(waves)
    }

    async fn walk(&self) -> Result<Walk, Error> {
        let waves = self.open_waves().await?.into_iter();
        Ok(Walk {
            waves: waves.map(|w| w.id).collect(),
            after: MoveId(0),
        })
    }

    /// The next members of open waves that have not ended, some at a time.
    async fn next_members(&self, walk: &mut Walk) -> Result<Option<(WaveId, Vec<Move>)>, Error> {
        loop {
            let Some(wave) = walk.waves.front().copied() else {
                return Ok(None);
            };
            let limit = u32::try_from(CHUNK).unwrap_or(u32::MAX);
            let mut page = self
                .store()
                .attempts(self.id(), wave, walk.after, limit)
                .await?;
            match page.last() {
                Some(last) => walk.after = last.id,
                None => {
                    walk.waves.pop_front();
                    walk.after = MoveId(0);
                    continue;
                }
            }
            page.retain(|m| !m.is_ended());
            if !page.is_empty() {
                return Ok(Some((wave, page)));
            }
        }
    }

    /// Notes on the members' devices who holds an app of a location.
    async fn note_holders(
        &self,
        location: LocationId,
        members: &[Move],
        holders: &Holders,
    ) -> Result<(), Error> {
        let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
        let app = holders.app;
        self.again_on_conflict(|| async {
            let mut batch = Batch::new();
            // After the holders were read: what an errand changes or has changed meanwhile it notes itself.
            let under_way = self.licences_under_way().await?;
            for mut device in self.store().devices_by_serial(self.id(), &serials).await? {
                let is = |l: &HeldLicence| l.location == location && l.app == app;
                let newer = |l: &HeldLicence| is(l) && l.read >= holders.since;
                let holds = holders.serials.contains(&device.serial);
                let unknown = !holds && !holders.complete;
                if unknown
                    || under_way.pairs.contains(&(device.id, app))
                    || device.licences.iter().any(newer)
                {
                    continue;
                }
                let held = holds.then(|| HeldLicence {
                    location,
                    app,
                    read: self.now(),
                    // It had it before we gave any: what we gave is noted by the errand.
                    ours: false,
                    attempt: None,
                });
                if note(&mut device.licences, location, app, held) {
                    batch.put(device);
                }
            }
            match batch.writes.is_empty() {
                true => Ok(()),
                false => Ok(self.store().commit(batch).await?),
            }
        })
        .await
    }

    /// Licences of a location's apps that open errands have promised to devices.
    pub(super) async fn promised(&self) -> Result<BTreeMap<(LocationId, u64), u64>, Error> {
        Ok(self.licences_under_way().await?.promised)
    }

    /// What open errands are about to give or to take back.
    async fn licences_under_way(&self) -> Result<UnderWay, Error> {
        let mut under_way = UnderWay::default();
        for errand in self.open_errands().await? {
            let gives = match &errand.kind {
                ErrandKind::Associate { location, .. } => Some(*location),
                ErrandKind::Disassociate { .. } => None,
                _ => continue,
            };
            for app in errand.kind.apps() {
                let pairs = errand.members.iter().map(|m| (m.device, *app));
                under_way.pairs.extend(pairs);
                if let Some(location) = gives {
                    for member in &errand.members {
                        under_way
                            .given
                            .entry(member.device)
                            .or_default()
                            .insert(*app);
                    }
                    let promised = under_way.promised.entry((location, *app)).or_default();
                    *promised += u64::try_from(errand.members.len()).unwrap_or(u64::MAX);
                }
            }
        }
        Ok(under_way)
    }

    /// Puts errands for members that still lack what a location has by now; with `at_stake` only for apps that they would lose.
    async fn give_what_is_there(
        &self,
        wave: WaveId,
        members: &[Move],
        at_stake: bool,
    ) -> Result<(), Error> {
        let members: Vec<Move> = members
            .iter()
            .filter(|m| is_on_its_way(m))
            .cloned()
            .collect();
        if members.is_empty() {
            return Ok(());
        }
        let under_way = self.licences_under_way().await?;
        let mut lacking = self.all_lacking(&members, &under_way).await?;
        if lacking.is_empty() {
            return Ok(());
        }
        let first = self.at_stake(&members).await?;
        if at_stake {
            for (who, apps) in &mut lacking {
                apps.retain(|app| comes_first(&first, &who.serial, *app));
            }
            lacking.retain(|(_, apps)| !apps.is_empty());
        }
        let mut batch = Batch::new();
        let locations = self.locations().await?;
        self.put_allotted(&mut batch, wave, lacking, &locations, (&under_way, &first));
        match batch.writes.is_empty() {
            true => Ok(()),
            false => Ok(self.store().commit(batch).await?),
        }
    }
}

/// Requests as a plan shows them.
pub(super) fn planned(
    take_back: bool,
    requests: Vec<(Vec<u64>, Vec<Serial>)>,
) -> impl Iterator<Item = PlannedRequest> {
    let path = match take_back {
        true => "/assets/disassociate",
        false => "/assets/associate",
    };
    requests.into_iter().map(move |(apps, serials)| {
        let request = LicenceRequest { take_back, apps };
        PlannedRequest::new("POST", path, request.body(&serials), serials.len())
    })
}

/// Whether the attempt was submitted and its device may still come, or is here.
const fn is_on_its_way(attempt: &Move) -> bool {
    !matches!(
        attempt.state,
        MoveState::Planned
            | MoveState::Blocked { .. }
            | MoveState::Ready
            | MoveState::Cancelling { .. }
            | MoveState::Ended(_)
    )
}

/// Apps of the store that a runbook keeps or installs: store and bundle identifier.
pub(in crate::service) fn store_apps(plan: &PinnedRunbook) -> Vec<(u64, String)> {
    plan.apps
        .iter()
        .filter(|app| app.action != AppAction::Drop)
        .filter_map(|app| Some((app.store_id?, app.bundle_id.clone())))
        .collect()
}
