//! Waves: planned, checked, accepted, submitted as errands of few requests. Sends nothing itself.

mod accept;
mod accepted;
mod against;
mod cleaned;
mod closing;
mod count;
mod dates;
pub(in crate::service) mod gap;
mod members;
mod met;
mod notices;
mod plan_differs;
mod plan_file;
mod plan_project;
mod projects;
mod recheck;
mod steer;
mod terms;
mod waiving;

pub use accept::{Accepted, WhatIf};
pub(super) use accept::{check_digest, sentence};
pub use count::MarkCounts;
pub(super) use dates::hold_of;
pub use members::{Candidates, Dates};
pub use notices::{CalendarPiece, OwnerNotice, OwnerNotices};
pub use plan_file::{
    PLAN_FORM, PlanFile, PlanTaken, PlannedMember, PlannedMet, PlannedProject, PlannedWave,
};
pub use projects::ProjectChange;
pub use steer::{GateView, Standing};
pub use terms::WaveTerms;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::Org;
use super::decision::{Decision, Tracked};
use super::ports::ApiKey;
use super::sync::append;
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::error::Error;
use crate::ids::{DeviceId, MoveId, RunbookId, Serial, ServerId, WaveId};
use crate::migration::{Move, PinnedRunbook};
use crate::store::Batch;
use crate::wave::Wave;

/// Apple's limit for a deadline.
const NINETY_DAYS: Duration = Duration::from_secs(90 * 86_400);

/// A member as planned.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Member {
    /// Which device.
    pub serial: Serial,
    /// When Apple enforces it.
    pub deadline: Timestamp,
    /// When our profile is assigned.
    pub available_from: Timestamp,
    /// The server entry that it leaves, when known.
    pub original_server: Option<String>,
}

impl Org {
    /// Plans a wave: its members, each with the runbook of its platform.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a serial number that is not ours, is in an open wave, or whose platform is not known; for a runbook that
    /// is not right for its platform, by step and field; [`Error::NotFound`] without the server entry; [`Error::Precondition`] for another
    /// runbook than a template locks here.
    pub async fn plan_wave(
        &self,
        name: &str,
        destination: ServerId,
        runbooks: &BTreeMap<Platform, PinnedRunbook>,
        members: &[Member],
    ) -> Result<WaveId, Error> {
        let mut pinned = BTreeMap::new();
        let given = self.given_runbooks(runbooks).await?;
        self.must_go_with(&given).await?;
        for (platform, runbook) in given {
            let name = format!("{name} {}", platform.as_str());
            pinned.insert(platform, self.pin(&name, runbook).await?);
        }
        self.again_on_conflict(|| self.draft(name, destination, &pinned, members))
            .await
    }

    async fn draft(
        &self,
        name: &str,
        destination: ServerId,
        pinned: &BTreeMap<Platform, RunbookId>,
        members: &[Member],
    ) -> Result<WaveId, Error> {
        let now = self.now();
        let id = WaveId(self.ids().next(now));
        let wave = Wave::draft(self.id(), id, name, destination, pinned.clone(), now);
        let mut batch = Batch::new();
        self.put_members(&mut batch, &wave, members).await?;
        self.hold_entry(&mut batch, destination).await?;
        batch.put(wave);
        self.store().commit(batch).await?;
        Ok(id)
    }

    /// Adds members to a batch: each with the runbook of its platform, its device taken.
    pub(super) async fn put_members(
        &self,
        batch: &mut Batch,
        wave: &Wave,
        members: &[Member],
    ) -> Result<(), Error> {
        let now = self.now();
        // Who holds which licence is read for what is planned, and before anybody asks what is lacking.
        self.put_stock_jobs(batch, &self.locations().await?);
        let serials: Vec<Serial> = members.iter().map(|m| m.serial.clone()).collect();
        let unique: BTreeSet<&Serial> = serials.iter().collect();
        if unique.len() != serials.len() {
            return Err(Error::bad_input("members", "a serial number occurs twice"));
        }
        let devices = self.devices_of(&serials).await?;
        for member in members {
            let mut tracked = match devices.get(&member.serial) {
                Some(device) if device.open_move.is_some() => {
                    return Err(Error::bad_input(
                        member.serial.as_str(),
                        "is in an open wave already",
                    ));
                }
                Some(device) => Tracked::read(device.clone()),
                // The device is not in our list yet: that is what the migration is for.
                None => Tracked::new(Device::new(
                    self.id(),
                    DeviceId(self.ids().next(now)),
                    member.serial.clone(),
                )),
            };
            let runbook = runbook_for(wave, &tracked.row)?;
            let attempt = Move::plan(
                self.id(),
                MoveId(self.ids().next(now)),
                wave.id,
                tracked.row.id,
                member.serial.clone(),
                runbook,
                member.deadline,
                member.available_from,
                member.original_server.clone(),
                now,
            );
            tracked.row.open_move = Some(attempt.id);
            tracked.row.assignment.wanted = None;
            tracked.row.assignment.from = None;
            tracked.row.assignment.waits = None;
            tracked.row.assignment.too_late = None;
            let mut d = Decision::new(&self.organisation, self.ids(), now, self.actor());
            d.device = Some(tracked);
            d.audit("move.planned", json!({ "wave": wave.name, "deadline": member.deadline, "available_from": member.available_from }));
            d.batch.put(attempt);
            append(batch, d.into_batch());
        }
        Ok(())
    }

    /// All members of a wave.
    ///
    /// # Errors
    /// The store's.
    pub async fn members(&self, wave: WaveId) -> Result<Vec<Move>, Error> {
        let mut all = Vec::new();
        let mut after = MoveId(0);
        loop {
            let page = self.store().attempts(self.id(), wave, after, 1000).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            all.extend(page);
        }
    }

    pub(super) async fn api_key(&self) -> Result<ApiKey, Error> {
        let api = self.organisation.api.as_ref().ok_or(Error::Precondition(
            "no account of Apple Business or School is there yet: `mdmd business add` brings one in"
                .to_owned(),
        ))?;
        let key = self.open_secret_cached(api.key).await?;
        Ok(ApiKey {
            organisation: self.id(),
            client_id: api.client_id.clone(),
            key_id: api.key_id.clone(),
            key,
            allowance: self.allowance(),
        })
    }
}

/// The runbook of a wave for a device's platform.
pub(super) fn runbook_for(wave: &Wave, device: &Device) -> Result<RunbookId, Error> {
    let serial = device.serial.as_str();
    let platform = platform_of(device).ok_or_else(|| {
        let problem = "its platform is not known: read it at the organisation API first";
        Error::bad_input(serial, problem)
    })?;
    wave.runbooks.get(&platform).copied().ok_or_else(|| {
        let problem = format!("the wave has no runbook for {}", platform.as_str());
        Error::bad_input(serial, problem)
    })
}

/// The latest deadline that Apple takes, with room for what lies between asking and sending.
pub(super) fn latest_deadline(now: Timestamp) -> Timestamp {
    now + NINETY_DAYS - Duration::from_secs(3600)
}

/// The platform, by what the device says, the assignment service, or the organisation API.
pub(super) fn platform_of(device: &Device) -> Option<Platform> {
    device.platform_told()
}
