//! What goes wrong, loaded for [`crate::failure`]: of one device, of a wave, of the installation. Decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Org;
use super::foreseen::Foreseen;
use crate::audit::Refusal;
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::device::Device;
use crate::error::Error;
use crate::failure::{Confidence, Failure, FailureMode, Known, did_not_wait, failures};
use crate::ids::{DeviceId, EnrollmentId, MoveId, Serial, SetUpId, WaveId};
use crate::migration::{Move, Owner, SetUp};
use crate::original::OriginalFacts;
use crate::secret::SecretKind;
use crate::views::Views;
use crate::wave::Wave;

/// ADE profiles, and how many devices did not wait with each.
pub(super) type Unheld = Arc<BTreeMap<String, u32>>;
/// How long such a count is good.
const UNHELD_GOOD: Duration = Duration::from_secs(600);
/// How long a device that did not wait speaks against its ADE profile.
const UNHELD_SHOWN: Duration = Duration::from_secs(30 * 86_400);
/// Members that are looked at together.
const PAGE: u32 = 500;
/// Refusals that are looked through.
const REFUSALS: u32 = 6_300;

/// What goes wrong with a wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WaveFailures {
    /// The wave's name.
    pub name: String,
    /// When this was looked at.
    pub at: Timestamp,
    /// What is about all of its members.
    pub banners: Vec<Failure>,
    /// On how many devices, by way.
    pub counts: BTreeMap<FailureMode, u32>,
    /// On how many devices there is what does not count as going wrong, by way: it was accepted before, or is only to be cleaned up.
    pub known: BTreeMap<FailureMode, u32>,
    /// Devices on which something goes wrong, in the order of their attempts, as many as were asked for.
    pub devices: Vec<(MoveId, Serial, Vec<Failure>)>,
}

impl Org {
    /// What goes wrong with one device.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn failures_of(&self, serial: &Serial) -> Result<Vec<Failure>, Error> {
        let device = self.device_named(serial).await?;
        let refusals = self.store().refusals(self.id(), REFUSALS).await?;
        let mut known = Foreseen::default();
        let profile = device.record.as_ref().and_then(|r| r.profile_uuid.clone());
        let open = match device.open_move {
            Some(id) => self.store().attempt(self.id(), id).await?,
            None => None,
        };
        let to_come = open.as_ref().is_some_and(is_to_come);
        let beside = self.beside(vec![device.clone()], &[]).await?;
        let mut found = self
            .failures_in(device, open, &refusals, (&mut known, &beside))
            .await?;
        let is_unheld = found.iter().any(|f| f.mode == FailureMode::NotAwaiting);
        if let Some(profile) = profile.filter(|_| to_come && !is_unheld)
            && let Some(others) = self.unheld_profiles().await?.get(&profile)
        {
            found.push(same_profile(&profile, *others));
            found.sort_by_key(|failure| failure.mode);
        }
        Ok(found)
    }

    /// What goes wrong with a wave: the banners, the counts, and the devices after an attempt.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn failures_of_wave(
        &self,
        wave: WaveId,
        after: MoveId,
        limit: u32,
    ) -> Result<WaveFailures, Error> {
        let row = self.store().wave(self.id(), wave).await?;
        let row = row.ok_or(Error::NotFound("wave"))?;
        let refusals = self.store().refusals(self.id(), REFUSALS).await?;
        let mut all = WaveFailures {
            name: row.name.clone(),
            at: self.now(),
            banners: Vec::new(),
            counts: BTreeMap::new(),
            known: BTreeMap::new(),
            devices: Vec::new(),
        };
        // ADE profiles with which a device did not wait, of this wave or another, how many members have each, and how many of
        // these are to come.
        let everywhere = self.unheld_profiles().await?;
        let mut unheld: BTreeMap<String, u32> = BTreeMap::new();
        let mut members: BTreeMap<String, u32> = BTreeMap::new();
        let mut coming: BTreeMap<String, u32> = BTreeMap::new();
        let mut last: Option<Timestamp> = None;
        let mut next = MoveId(0);
        let mut known = Foreseen::default();
        loop {
            let page = self.store().attempts(self.id(), wave, next, PAGE).await?;
            let Some(end) = page.last() else { break };
            next = end.id;
            let ids: Vec<DeviceId> = page.iter().map(|attempt| attempt.device).collect();
            let devices = self.store().devices_of(self.id(), &ids).await?;
            let beside = self.beside(devices.clone(), &page).await?;
            let devices = devices.into_iter().map(|device| (device.id, device));
            let devices: BTreeMap<DeviceId, Device> = devices.collect();
            for attempt in page {
                if !attempt.is_ended() {
                    last = last.max(Some(attempt.deadline));
                }
                let Some(device) = devices.get(&attempt.device).cloned() else {
                    continue;
                };
                let profile = device.record.as_ref().and_then(|r| r.profile_uuid.clone());
                let profile = profile.unwrap_or_default();
                *members.entry(profile.clone()).or_default() += 1;
                let (id, serial) = (attempt.id, attempt.serial.clone());
                let to_come = is_to_come(&attempt);
                *coming.entry(profile.clone()).or_default() += u32::from(to_come);
                let with = (&mut known, &beside);
                let found = self.failures_in(device, Some(attempt), &refusals, with);
                let mut found = found.await?;
                let is_unheld = found.iter().any(|f| f.mode == FailureMode::NotAwaiting);
                if let Some(others) = everywhere.get(&profile)
                    && to_come
                    && !is_unheld
                {
                    found.push(same_profile(&profile, *others));
                    found.sort_by_key(|failure| failure.mode);
                }
                if found.is_empty() {
                    continue;
                }
                for failure in &found {
                    let of = match failure.counts {
                        true => &mut all.counts,
                        false => &mut all.known,
                    };
                    *of.entry(failure.mode).or_default() += 1;
                }
                if is_unheld {
                    *unheld.entry(profile).or_default() += 1;
                }
                if id > after && all.devices.len() < limit as usize {
                    all.devices.push((id, serial, found));
                }
            }
        }
        for (profile, others) in everywhere.iter() {
            if let Some(count) = coming.get(profile).filter(|count| **count > 0)
                && !unheld.contains_key(profile)
            {
                let said = format!(
                    "{} of other waves with the ADE profile {profile}, which {} here that {} to come {}, did not wait",
                    counted(*others, "device"),
                    counted(*count, "member"),
                    agree(*count, "is", "are"),
                    agree(*count, "has", "have")
                );
                all.banners
                    .push(same_profile(profile, *others).seen(said, None));
            }
        }
        for (profile, count) in unheld {
            let with_it = members.get(&profile).copied().unwrap_or_default();
            let next = "pause the wave (`mdmd wave pause`), have the profile defined anew with await_device_configured and assigned again";
            all.banners.push(
                Failure::new(
                    FailureMode::NotAwaiting,
                    Owner::Destination,
                    Confidence::Likely,
                    next,
                )
                .seen(
                    format!(
                        "{count} of the {with_it} members with the ADE profile {} did not wait",
                        if profile.is_empty() {
                            "(none)"
                        } else {
                            &profile
                        }
                    ),
                    None,
                ),
            );
        }
        all.banners.extend(self.failures_of_all(&row, last).await?);
        Ok(all)
    }

    /// ADE profiles with which devices of any wave did not wait of late, and how many devices that were. Counted anew after minutes:
    /// whoever looks at one device waits for no look at all of them.
    async fn unheld_profiles(&self) -> Result<Unheld, Error> {
        let now = self.now();
        let known = self.mdm.inner.unheld.lock().ok();
        let known = known.and_then(|all| all.get(&self.id()).cloned());
        if let Some((at, unheld)) = known
            && at <= now
            && now.since(at) < UNHELD_GOOD
        {
            return Ok(unheld);
        }
        let unheld = Unheld::new(self.count_unheld(now).await?);
        if let Ok(mut all) = self.mdm.inner.unheld.lock() {
            all.insert(self.id(), (now, Unheld::clone(&unheld)));
        }
        Ok(unheld)
    }

    async fn count_unheld(&self, now: Timestamp) -> Result<BTreeMap<String, u32>, Error> {
        let mut all: BTreeMap<String, u32> = BTreeMap::new();
        let mut after = MoveId(0);
        loop {
            let page = self.store().all_attempts(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            let ids: Vec<SetUpId> = page.iter().filter_map(|a| a.enrolled_as).collect();
            let set_ups = self.store().set_ups_of(self.id(), &ids).await?;
            let unheld = set_ups.iter().filter(|set_up| did_not_wait(set_up));
            let enrolled: BTreeMap<DeviceId, Timestamp> = unheld
                .filter_map(|set_up| Some((set_up.device?, set_up.enrolled?)))
                .filter(|(_, at)| now.since(*at) <= UNHELD_SHOWN)
                .collect();
            if enrolled.is_empty() {
                continue;
            }
            let ids: Vec<DeviceId> = enrolled.keys().copied().collect();
            for device in self.store().devices_of(self.id(), &ids).await? {
                // One that was assigned another since says nothing of that one.
                if device.assignment.asked > enrolled.get(&device.id).copied() {
                    continue;
                }
                let profile = device.record.and_then(|record| record.profile_uuid);
                if let Some(profile) = profile.filter(|profile| !profile.is_empty()) {
                    *all.entry(profile).or_default() += 1;
                }
            }
        }
    }

    /// What is about every member: the end of what they need, and Apple's budget.
    async fn failures_of_all(
        &self,
        wave: &Wave,
        last: Option<Timestamp>,
    ) -> Result<Vec<Failure>, Error> {
        let mut found = self.failures().await?;
        let Some(last) = last else { return Ok(found) };
        let ending = self.ending_before(wave, last).await?;
        if ending.is_empty() {
            return Ok(found);
        }
        let offers = self.offers_until_renewed(wave, last).await?;
        let next = format!("renew it; {offers}; devices that are on the way are served");
        for (name, ends) in ending {
            let days = ends.since(self.now()).as_secs() / 86_400;
            let failure = Failure::new(
                FailureMode::Expiry,
                Owner::OrganisationAdmin,
                Confidence::Certain,
                &next,
            );
            let said = format!(
                "{name} ends in {}, before the last deadline {last}",
                counted(days, "day")
            );
            found.push(failure.seen(said, ends));
        }
        Ok(found)
    }

    /// What goes wrong with the installation as a whole.
    ///
    /// # Errors
    /// The store's.
    pub async fn failures(&self) -> Result<Vec<Failure>, Error> {
        let mut found = Vec::new();
        for budget in self.budgets().await? {
            let Some(until) = budget.paused_until else {
                continue;
            };
            let next = "nothing is to be done: it is waited as told, in order, and nothing is sent twice; `mdmd business budget` shows when the queue will have drained";
            found.push(
                Failure::new(FailureMode::Budget, Owner::Apple, Confidence::Certain, next)
                    .seen(
                        format!("{}: Apple asks for silence until {until}", budget.name),
                        None,
                    )
                    .seen(
                        format!(
                            "{} {}",
                            counted(budget.waiting_writes, "request"),
                            agree(budget.waiting_writes, "waits", "wait")
                        ),
                        None,
                    ),
            );
        }
        Ok(found)
    }

    /// What is beside devices, with a few statements for all of them: a wave is looked through when there is the least time for it.
    async fn beside(&self, devices: Vec<Device>, attempts: &[Move]) -> Result<Beside, Error> {
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let mut beside = Beside::default();
        for original in self.store().originals_of(self.id(), &ids).await? {
            beside.originals.insert(original.id, original);
        }
        for secret in self.store().secrets_of(self.id(), &ids).await? {
            if let Some(device) = secret.device.filter(|_| secret.replaced.is_none()) {
                let held = beside.held.entry(device).or_default();
                held.push((secret.kind, secret.created));
            }
        }
        let enrolments: Vec<EnrollmentId> = devices.iter().filter_map(|d| d.enrollment).collect();
        if !enrolments.is_empty() {
            let set_ups = self.store();
            let set_ups = set_ups.set_ups_of_enrollments(self.id(), &enrolments);
            for set_up in set_ups.await? {
                beside.set_ups.insert(set_up.enrollment, set_up);
            }
        }
        let attempts = attempts.iter().map(|attempt| (attempt.id, attempt.clone()));
        let attempts: BTreeMap<MoveId, Move> = attempts.collect();
        let views = self.views_beside(devices, &attempts).await?;
        beside.views = ids.into_iter().zip(views).collect();
        Ok(beside)
    }

    async fn failures_in(
        &self,
        device: Device,
        attempt: Option<Move>,
        refusals: &[Refusal],
        (known, beside): (&mut Foreseen, &Beside),
    ) -> Result<Vec<Failure>, Error> {
        let set_up = device.enrollment.and_then(|id| beside.set_ups.get(&id));
        let attempt = match (attempt, device.open_move) {
            (Some(attempt), _) => Some(attempt),
            (None, Some(id)) => self.store().attempt(self.id(), id).await?,
            (None, None) => match set_up.and_then(|s| s.move_id) {
                Some(id) => self.store().attempt(self.id(), id).await?,
                None => None,
            },
        };
        // One of an earlier attempt says nothing of this one.
        let set_up = set_up.filter(|s| match &attempt {
            Some(attempt) => s.move_id.is_none_or(|id| id == attempt.id),
            None => true,
        });
        let original = beside.originals.get(&device.id);
        let held = beside.held.get(&device.id);
        let held = held.map_or(&[][..], Vec::as_slice);
        let own: Vec<Refusal> = refusals
            .iter()
            .filter(|r| r.serial.as_ref() == Some(&device.serial))
            .cloned()
            .collect();
        let forecast = match set_up {
            Some(set_up) => {
                let attempt = attempt.as_ref();
                self.foreseen(set_up, attempt, original, known).await?
            }
            None => Vec::new(),
        };
        let left = attempt.as_ref().and_then(|a| a.original_server.as_deref());
        let left = match left {
            Some(id) => Some(self.name_of_service(id, known).await?),
            None => None,
        };
        let Some(views) = beside.views.get(&device.id) else {
            return Ok(Vec::new());
        };
        Ok(failures(&Known {
            device: &device,
            attempt: attempt.as_ref(),
            set_up,
            views,
            original,
            held,
            refusals: &own,
            unproved: refusals,
            forecast: &forecast,
            left: left.as_deref(),
            notice: self.organisation().settings.notice(),
            now: self.now(),
        }))
    }
}

/// What is beside some devices.
#[derive(Default)]
struct Beside {
    originals: BTreeMap<DeviceId, OriginalFacts>,
    /// Secrets that are in force.
    held: BTreeMap<DeviceId, Vec<(SecretKind, Timestamp)>>,
    views: BTreeMap<DeviceId, Views>,
    /// Of the enrolments that devices have now.
    set_ups: BTreeMap<EnrollmentId, SetUp>,
}

/// Whether its device is still to come: what its ADE profile says then can still be mended.
fn is_to_come(attempt: &Move) -> bool {
    !attempt.is_ended() && attempt.enrolled_as.is_none()
}

/// A member that has not come yet, with the ADE profile of devices that did not wait.
fn same_profile(profile: &str, others: u32) -> Failure {
    let next = "pause its wave (`mdmd wave pause`), have the profile defined anew with await_device_configured and assigned again, before it comes";
    let failure = Failure::new(
        FailureMode::NotAwaiting,
        Owner::Destination,
        Confidence::Possible,
        next,
    );
    let others = counted(others, "device");
    let said = format!("its ADE profile {profile} is that of {others} that did not wait");
    failure.seen(said, None)
}
