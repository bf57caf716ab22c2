//! The live checklist of an organisation: facts gathered a page at a time, judged against the latest deadline. Asks nobody; what a host has
//! seen from outside it has told before.

mod connected;
mod equipped;
mod journey;
mod prepared;

use std::collections::{BTreeMap, BTreeSet};

use super::{Mdm, Org};
use crate::checklist::ItemState::{Missing, Warn};
use crate::checklist::{Checklist, ChecklistItem, ClockBeside, DoorSays, Outside, Stage};
use crate::clock::Timestamp;
use crate::device::Device;
use crate::error::Error;
use crate::ids::{DeviceId, MoveId, OrganisationId, WaveId};
use crate::migration::{Move, MoveState, Outcome};
use crate::organisation::{IdentityProtocol, Issuer};
use crate::wave::Wave;

/// Rows that are read at a time.
const PAGE: u32 = 1_000;

/// What the members of all waves say.
#[derive(Default)]
struct Members {
    latest: Option<Timestamp>,
    /// By wave: all, planned, open, ended well, ended otherwise, needing a person.
    by_wave: BTreeMap<WaveId, [u64; 6]>,
    /// By wave: devices that have moved, those of them that the original may list still, and those of which nobody has said that it
    /// does not.
    left_behind: BTreeMap<WaveId, [u64; 3]>,
    /// By wave: models of members, and those of which one has migrated.
    models: BTreeMap<WaveId, [BTreeSet<String>; 2]>,
}

impl Members {
    /// Which models are tried, and what is to be cleaned up.
    fn note(&mut self, attempt: &Move, device: &Device) {
        if let Some(model) = model_of(device) {
            let [known, tried] = self.models.entry(attempt.wave).or_default();
            if attempt.has_moved() {
                tried.insert(model.clone());
            }
            known.insert(model);
        }
        if attempt.has_moved() {
            let listed = attempt.is_left_behind(device);
            let moved = self.left_behind.entry(attempt.wave).or_default();
            moved[0] += 1;
            moved[1] += u64::from(listed);
            moved[2] += u64::from(listed && attempt.removed.is_none());
        }
    }
}

impl Mdm {
    /// Notes what was seen of an organisation's doors by their public names: for its checklist, and for the what-if.
    pub fn tell_outside(&self, organisation: OrganisationId, outside: Outside) {
        if let Ok(mut all) = self.inner.outside.lock() {
            all.insert(organisation, outside);
        }
    }

    /// Notes how the clock of this machine stands beside Apple's: for the checklists. A host reads it in the `Date` of Apple's answers.
    pub fn tell_clock(&self, seen: ClockBeside) {
        if let Ok(mut clock) = self.inner.clock_beside.lock() {
            *clock = Some(seen);
        }
    }

    fn clock_beside(&self) -> Option<ClockBeside> {
        *self.inner.clock_beside.lock().ok()?
    }

    /// What was last seen of them by this process.
    #[must_use]
    pub fn outside(&self, organisation: OrganisationId) -> Option<Outside> {
        self.inner.outside.lock().ok()?.get(&organisation).cloned()
    }
}

impl Org {
    /// The addresses that devices of this organisation go to, by the names that they are given: name, address, and what a bare look gets
    /// there where all is well. Where they get their identities is one of them, whoever's it is.
    #[must_use]
    pub fn doors(&self) -> Vec<(&'static str, String, DoorSays)> {
        let settings = &self.mdm.inner.settings;
        let organisation = &self.organisation;
        let code = &organisation.code;
        let (device, enrol) = (&settings.device_url, &settings.enrol_url);
        let mut doors = vec![
            (
                "check-in",
                format!("{device}/mdm/{code}/checkin"),
                DoorSays::Refusal,
            ),
            (
                "enrolment",
                format!("{enrol}/mdm/{code}/enrol"),
                DoorSays::Refusal,
            ),
        ];
        match &organisation.issuer {
            Issuer::BuiltIn => {
                let scep = format!("{enrol}/mdm/{code}/scep?operation=GetCACaps");
                doors.push(("SCEP", scep, DoorSays::Good));
                let mut protocols = organisation.settings.identity_protocol.values();
                if protocols.any(|it| *it != IdentityProtocol::Scep) {
                    doors.push(("ACME", self.acme_directory_url(), DoorSays::Good));
                }
            }
            Issuer::Scep { url, .. } => {
                let and = if url.contains('?') { '&' } else { '?' };
                let scep = format!("{url}{and}operation=GetCACaps");
                doors.push(("SCEP", scep, DoorSays::Elsewhere));
            }
            Issuer::Acme { directory_url, .. } => {
                doors.push(("ACME", directory_url.clone(), DoorSays::Elsewhere));
            }
        }
        doors
    }

    /// What a migration needs, in order, and how each of it stands now.
    ///
    /// # Errors
    /// The store's.
    pub async fn checklist(&self) -> Result<Checklist, Error> {
        let now = self.now();
        let members = self.members_at_a_glance().await?;
        let mut waves = self.all_waves().await?;
        waves.retain(|wave: &Wave| !wave.ad_hoc);
        let mut items = self.outside_items(members.latest, now);
        items.extend(self.mdm.clock_beside().map(ClockBeside::item));
        items.extend(self.database_items(now).await?);
        items.extend(self.unreadable_item().await?);
        items.extend(self.connect(members.latest, now).await?);
        items.extend(self.prepare(&waves, members.latest, now).await?);
        items.extend(self.learn(now).await?);
        items.extend(self.journey(&waves, &members).await?);
        items.sort_by_key(|item| item.stage);
        Ok(Checklist::new(now, members.latest, items))
    }

    async fn members_at_a_glance(&self) -> Result<Members, Error> {
        let mut members = Members::default();
        let mut after = MoveId(0);
        loop {
            let page = self.store().all_attempts(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(members);
            };
            after = last.id;
            let ids: Vec<DeviceId> = page.iter().map(|attempt| attempt.device).collect();
            let devices = self.store().devices_of(self.id(), &ids).await?;
            let devices: BTreeMap<DeviceId, Device> =
                devices.into_iter().map(|d| (d.id, d)).collect();
            for attempt in &page {
                let of = members.by_wave.entry(attempt.wave).or_default();
                let place = match &attempt.state {
                    MoveState::Ended(Outcome::Withdrawn | Outcome::Cancelled) => continue,
                    MoveState::Ended(Outcome::Migrated) => 3,
                    MoveState::Ended(_) => 4,
                    _ if attempt.is_planned() => 1,
                    _ => 2,
                };
                of[0] += 1;
                of[place] += 1;
                of[5] += u64::from(attempt.attention.is_some() && !attempt.is_planned());
                if let Some(device) = devices.get(&attempt.device) {
                    members.note(attempt, device);
                }
                if !attempt.is_ended() {
                    members.latest = members.latest.max(Some(attempt.deadline));
                }
            }
        }
    }

    async fn learn(&self, now: Timestamp) -> Result<Vec<ChecklistItem>, Error> {
        const STAGE: Stage = Stage::Learn;
        let inventory = self.inventory().await?;
        let mut items = Vec::new();
        items.push(match inventory.and_then(|i| i.complete) {
            Some(at) if now.since(at).as_secs() < 7 * 86_400 => {
                let mut item = ChecklistItem::done(STAGE, "device list", "was read at Apple");
                item.at = Some(at);
                item
            }
            Some(at) => {
                let fix = "read it anew: `mdmd inventory pull`";
                let fact = "was read at Apple more than a week ago";
                let mut item = ChecklistItem::not(Warn, STAGE, "device list", fact, fix);
                item.at = Some(at);
                item
            }
            None => {
                let fix = "`mdmd inventory pull`";
                ChecklistItem::not(
                    Missing,
                    STAGE,
                    "device list",
                    "was never read at Apple",
                    fix,
                )
            }
        });
        let (mut devices, mut told, mut after) = (0_u64, 0_u64, DeviceId(0));
        loop {
            let page = self.store().devices(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            // What has come by itself need not be told by another.
            let away: Vec<DeviceId> = page
                .iter()
                .filter(|d| d.enrollment.is_none())
                .map(|d| d.id)
                .collect();
            devices += away.len() as u64;
            told += self.store().originals_of(self.id(), &away).await?.len() as u64;
        }
        let fact = format!(
            "{told} of {devices} devices that are not here yet are known from the original service"
        );
        items.push(match told == devices {
            true => ChecklistItem::done(STAGE, "what the original knows", fact),
            false => ChecklistItem::not(
                Warn,
                STAGE,
                "what the original knows",
                fact,
                "bring in its export: `mdmd inventory import`; what is not known there is lost unseen",
            ),
        });
        Ok(items)
    }
}

/// What a device is, as itself and the organisation API name it: the names of Apple's list are others.
fn model_of(device: &Device) -> Option<String> {
    let reading = device.reading.as_ref().and_then(|r| r.product.as_ref());
    let product = device.facts.product.as_ref().or(reading);
    product.filter(|product| !product.is_empty()).cloned()
}
