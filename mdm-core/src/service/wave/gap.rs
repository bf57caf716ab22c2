//! Limits on how many devices of a group are in the gap at once, where devices are offered their migration: a place is taken in the
//! same batch in which the request to Apple is noted, so that no crash and no second process lets one more in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::Org;
use super::hold_of;
use crate::clock::Timestamp;
use crate::device::Device;
use crate::error::Error;
use crate::gap::{GapGroup, GapLimits, GapPlace, Stay, groups_of};
use crate::ids::{DeviceId, MoveId, ServerId};
use crate::migration::{Move, MoveState};
use crate::store::{Batch, Noun, StoreError, with_the_rest};
use crate::wave::{Server, Wave};

/// How soon a device that waits for a place is looked at again.
const WAIT: Duration = Duration::from_secs(5 * 60);
/// Members, or places, that are read at a time.
const PAGE: u32 = 500;

/// What is to be done with devices whose profiles are due.
pub(in crate::service) enum Places {
    /// Nobody counts them.
    Uncounted,
    /// These have their places, and it is noted that they are asked for; the others wait.
    Taken(Vec<Device>),
    /// Something has changed meanwhile, and nothing was noted.
    Again,
}

impl Org {
    /// Takes places in the gap for devices of one server entry that are to be offered their migration: those for which there is
    /// none wait, and say why. Notes in the same batch that the others are asked for until `held`.
    pub(in crate::service) async fn take_places(
        &self,
        server: ServerId,
        devices: &[Device],
        held: Duration,
    ) -> Result<Places, Error> {
        let limits = self.gap_limits().await?;
        if limits.is_empty() {
            return Ok(Places::Uncounted);
        }
        // Read before anything is counted: whoever counts at the same time writes its own of these rows, and one of us begins anew.
        let (own, others): (Vec<Server>, Vec<Server>) = self
            .store()
            .servers(self.id())
            .await?
            .into_iter()
            .partition(|row| row.id == server);
        let Some(row) = own.into_iter().next() else {
            return Ok(Places::Again);
        };
        let ids: Vec<DeviceId> = devices.iter().map(|d| d.id).collect();
        let groups = self.gap_groups(&ids).await?;
        let mut used: Option<BTreeMap<GapGroup, u32>> = None;
        let (mut batch, mut taken) = (Batch::new(), Vec::new());
        let now = self.now();
        for device in devices {
            let mut device = device.clone();
            device.assignment.not_before = Some(now + held);
            let attempt = match device.open_move {
                Some(id) => self.store().attempt(self.id(), id).await,
                None => Ok(None),
            };
            let attempt = match attempt {
                // Whether it is to be counted nobody knows: it waits, and keeps no other.
                Err(StoreError::Corrupt { .. }) => {
                    device.assignment.not_before = Some(now + WAIT);
                    batch.put(device);
                    continue;
                }
                attempt => attempt?,
            };
            let counted = attempt.filter(|a| a.gap.is_none() && a.may_be_offered());
            if let Some(mut attempt) = counted {
                let used = match &mut used {
                    Some(used) => used,
                    none => none.insert(self.in_gap(&groups).await?),
                };
                let groups = groups.get(&device.id).cloned().unwrap_or_default();
                // Offered now, it could not be put off any more.
                let late = device.assignment.waits.is_some() && attempt.deadline <= now;
                let late = late.then(|| {
                    "its deadline has passed while it waited: give it a later one".to_owned()
                });
                if let Some(why) = limits.against(&groups, used).or(late) {
                    device.assignment.not_before = Some(now + WAIT);
                    device.assignment.waits = Some(why);
                    batch.put(device);
                    continue;
                }
                for group in &groups {
                    *used.entry(group.clone()).or_default() += 1;
                }
                attempt.gap = Some(GapPlace { since: now, groups });
                batch.put(attempt);
            }
            device.assignment.waits = None;
            device.assignment.asked = Some(now);
            batch.put(device.clone());
            taken.push(device);
        }
        // Where nobody was counted, nobody else's count can be wrong for it.
        if used.is_some() {
            for other in others {
                batch.expect(Noun::Server, self.id(), other.id.0, other.version);
            }
        }
        batch.put(row);
        match self.store().commit(batch).await {
            Ok(()) => Ok(Places::Taken(taken)),
            Err(StoreError::Conflict) => Ok(Places::Again),
            Err(error) => Err(error.into()),
        }
    }

    /// The limits of all open projects together: what the organisation lets be in the gap at once.
    pub(in crate::service) async fn gap_limits(&self) -> Result<GapLimits, Error> {
        let projects = self.projects().await?.into_iter();
        let open = projects.filter(|project| project.closed.is_none());
        Ok(open.fold(GapLimits::default(), |all, project| all.with(&project.gap)))
    }

    /// How many devices of each group are in the gap, at most. One that cannot be read may be of any of these groups and counts in each:
    /// so the limits hold, and it keeps nobody from the places that are left.
    async fn in_gap(
        &self,
        groups: &BTreeMap<DeviceId, BTreeSet<GapGroup>>,
    ) -> Result<BTreeMap<GapGroup, u32>, Error> {
        let (all, left_out) = with_the_rest(self.in_gap_readable()).await;
        let mut all = all?;
        let unread = u32::try_from(left_out.len()).unwrap_or(u32::MAX);
        let groups: BTreeSet<&GapGroup> = groups.values().flatten().collect();
        for group in groups.into_iter().filter(|_| unread > 0) {
            let there = all.entry(group.clone()).or_default();
            *there = there.saturating_add(unread);
        }
        Ok(all)
    }

    /// The same of those that can be read, for whoever says what becomes of the others.
    async fn in_gap_readable(&self) -> Result<BTreeMap<GapGroup, u32>, Error> {
        let (mut all, mut after) = (BTreeMap::new(), MoveId(0));
        loop {
            let page = self.store().attempts_in_gap(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            for place in page.into_iter().filter_map(|attempt| attempt.gap) {
                for group in place.groups {
                    *all.entry(group).or_default() += 1;
                }
            }
        }
    }

    /// The groups of devices.
    pub(in crate::service) async fn gap_groups(
        &self,
        ids: &[DeviceId],
    ) -> Result<BTreeMap<DeviceId, BTreeSet<GapGroup>>, Error> {
        let mut all = BTreeMap::new();
        for ids in ids.chunks(PAGE as usize) {
            for device in self.store().devices_of(self.id(), ids).await? {
                all.insert(device.id, groups_of(&device));
            }
        }
        Ok(all)
    }

    /// Notes the places of devices that are in the gap and have none: those that were offered their migration before there were
    /// limits, or by somebody else.
    pub(in crate::service) async fn note_places(&self) -> Result<(), Error> {
        for wave in self.all_waves().await?.iter().filter(|w| w.is_open()) {
            self.note_places_of(wave).await?;
        }
        Ok(())
    }

    /// The same for one wave. Each has its place by itself: one that cannot be read keeps no other from it.
    pub(super) async fn note_places_of(&self, wave: &Wave) -> Result<(), Error> {
        let mut after = MoveId(0);
        loop {
            let page = self.store().attempts(self.id(), wave.id, after, PAGE);
            let (page, _) = with_the_rest(page).await;
            let page = page?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            let open = |a: &Move| a.gap.is_none() && a.has_been_offered();
            let ids: Vec<MoveId> = page.iter().filter(|a| open(a)).map(|a| a.id).collect();
            if ids.is_empty() {
                continue;
            }
            let devices: Vec<DeviceId> = page.iter().map(|a| a.device).collect();
            let groups = self.gap_groups(&devices).await?;
            self.again_on_conflict(|| async {
                let mut batch = Batch::new();
                for id in &ids {
                    let attempt = self.store().attempt(self.id(), *id).await?;
                    let Some(mut attempt) = attempt.filter(open) else {
                        continue;
                    };
                    attempt.gap = Some(GapPlace {
                        since: self.now(),
                        groups: groups.get(&attempt.device).cloned().unwrap_or_default(),
                    });
                    batch.put(attempt);
                }
                Ok(self.store().commit(batch).await?)
            })
            .await?;
        }
    }

    /// For how long the members of all open waves are planned to be in the gap, by those groups that have limits; without those that
    /// `leave` says.
    pub(in crate::service) async fn gap_stays(
        &self,
        limits: &GapLimits,
        leave: impl Fn(&Move) -> bool,
    ) -> Result<BTreeMap<GapGroup, Vec<Stay>>, Error> {
        let mut all: BTreeMap<GapGroup, Vec<Stay>> = BTreeMap::new();
        if limits.is_empty() {
            return Ok(all);
        }
        let now = self.now();
        for wave in self.all_waves().await?.iter().filter(|w| w.is_open()) {
            let mut after = MoveId(0);
            loop {
                let page = self
                    .store()
                    .attempts(self.id(), wave.id, after, PAGE)
                    .await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                let stays = |a: &&Move| !a.is_through() && !leave(a);
                let page: Vec<&Move> = page.iter().filter(stays).collect();
                let devices: Vec<DeviceId> = page.iter().map(|a| a.device).collect();
                let groups = self.gap_groups(&devices).await?;
                for attempt in page {
                    let hold = hold_of(&*self.plan(attempt.runbook).await?);
                    let stay = stay_of(attempt, now, hold);
                    for group in groups.get(&attempt.device).into_iter().flatten() {
                        if limits.most(group).is_some() {
                            all.entry(group.clone()).or_default().push(stay);
                        }
                    }
                }
            }
        }
        Ok(all)
    }
}

/// From the offer until it is through, at the latest: a hold after its deadline.
fn stay_of(attempt: &Move, now: Timestamp, hold: Duration) -> Stay {
    let begun = attempt.gap.as_ref().map(|place| place.since);
    let from = begun.unwrap_or(attempt.available_from);
    let late = matches!(
        attempt.state,
        MoveState::Overdue { .. }
            | MoveState::Started { .. }
            | MoveState::Moving { .. }
            | MoveState::Stalled { .. }
    );
    let deadline = if late {
        attempt.deadline.max(now)
    } else {
        attempt.deadline
    };
    (from.min(deadline), deadline + hold)
}
