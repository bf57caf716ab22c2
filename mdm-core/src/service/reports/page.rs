//! Members of waves with what is known of their devices, a page at a time and with one statement for each kind of row.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::PAGE;
use crate::clock::Timestamp;
use crate::device::Device;
use crate::error::Error;
use crate::evidence::{Mark, Observed, lacks_key, marks};
use crate::filevault::own_key;
use crate::ids::{DeviceId, MoveId, RunbookId, SetUpId, WaveId};
use crate::migration::{Move, PinnedRunbook, SetUp};
use crate::original::OriginalFacts;
use crate::service::Org;

/// Some members with the rows beside theirs.
pub(in crate::service) struct MemberRows {
    pub(in crate::service) attempts: Vec<Move>,
    pub(in crate::service) devices: BTreeMap<DeviceId, Device>,
    pub(in crate::service) set_ups: BTreeMap<SetUpId, SetUp>,
    pub(in crate::service) originals: BTreeMap<DeviceId, OriginalFacts>,
    plans: BTreeMap<RunbookId, Arc<PinnedRunbook>>,
    own_keys: BTreeMap<DeviceId, Timestamp>,
}

impl MemberRows {
    /// The set-up of the newest enrolment in an attempt.
    pub(in crate::service) fn set_up(&self, attempt: &Move) -> Option<&SetUp> {
        self.set_ups.get(&attempt.enrolled_as?)
    }

    /// The six marks of a member; none of one whose device row cannot be read.
    pub(in crate::service) fn marks(&self, attempt: &Move) -> Vec<Mark> {
        let Some(device) = self.devices.get(&attempt.device) else {
            return Vec::new();
        };
        let set_up = self.set_up(attempt);
        let user = self.originals.get(&attempt.device);
        let user = user.and_then(|o| o.managed_user.as_ref());
        marks(&Observed {
            device,
            set_up,
            plan: set_up
                .and_then(|s| self.plans.get(&s.runbook))
                .map(|p| &**p),
            managed_user: user.map(|user| user.value.name.as_str()),
            own_key: self.own_keys.get(&attempt.device).copied(),
        })
    }
}

impl Org {
    /// The next members of a wave, or of all of them, after `after`; `None` after the last one.
    pub(super) async fn members_after(
        &self,
        wave: Option<WaveId>,
        after: MoveId,
    ) -> Result<Option<(MemberRows, MoveId)>, Error> {
        let page = match wave {
            Some(wave) => self.store().attempts(self.id(), wave, after, PAGE).await?,
            None => self.store().all_attempts(self.id(), after, PAGE).await?,
        };
        match page.last().map(|last| last.id) {
            Some(last) => Ok(Some((self.member_rows(page).await?, last))),
            None => Ok(None),
        }
    }

    /// What is beside these members.
    pub(in crate::service) async fn member_rows(
        &self,
        attempts: Vec<Move>,
    ) -> Result<MemberRows, Error> {
        let ids: Vec<DeviceId> = attempts.iter().map(|m| m.device).collect();
        let devices = self.store().devices_of(self.id(), &ids).await?;
        let originals = self.store().originals_of(self.id(), &ids).await?;
        let ids: Vec<SetUpId> = attempts.iter().filter_map(|m| m.enrolled_as).collect();
        let set_ups = self.store().set_ups_of(self.id(), &ids).await?;
        let mut plans = BTreeMap::new();
        for set_up in &set_ups {
            if plans.contains_key(&set_up.runbook) {
                continue;
            }
            // One that cannot be read leaves the marks that need none.
            if let Ok(plan) = self.plan(set_up.runbook).await {
                plans.insert(set_up.runbook, plan);
            }
        }
        // Of those alone whose proof did not see one: they are few.
        let late = |set_up: &&SetUp| set_up.is_ended() && lacks_key(set_up);
        let late: Vec<DeviceId> = set_ups
            .iter()
            .filter(late)
            .filter_map(|s| s.device)
            .collect();
        let mut own_keys = BTreeMap::new();
        if !late.is_empty() {
            for secret in self.store().secrets_of(self.id(), &late).await? {
                if let (Some(device), Some(at)) = (secret.device, own_key(&secret)) {
                    own_keys.insert(device, at);
                }
            }
        }
        Ok(MemberRows {
            attempts,
            devices: devices.into_iter().map(|d| (d.id, d)).collect(),
            set_ups: set_ups.into_iter().map(|s| (s.id, s)).collect(),
            originals: originals.into_iter().map(|o| (o.id, o)).collect(),
            plans,
            own_keys,
        })
    }
}
