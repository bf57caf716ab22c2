//! Devices that stay behind when profiles are assigned, each of which says why and is looked at again. Too little notice is left for them;
//! or their licences are on their way, for without a licence the store refuses an app in the hold, and what the device had of it goes
//! with its data; or their attempts cannot be read, which keeps nobody else. Gives nothing itself, and counts nobody in the gap.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::clock::Timestamp;
use crate::device::{Device, LICENCES_AWAITED};
use crate::errand::ErrandKind;
use crate::error::Error;
use crate::ids::MoveId;
use crate::migration::Move;
use crate::service::Org;
use crate::store::{Batch, StoreError};

/// How soon a device is looked at again whose deadline has come too near, or whose attempt cannot be read.
const LATE: Duration = Duration::from_secs(5 * 60);
/// How soon a device that waits for its licences is looked at again: each look writes it anew.
const WAIT: Duration = Duration::from_secs(20 * 60);
/// Nobody waits for longer than this, however far the deadline is.
const MOST: Duration = Duration::from_hours(24);
/// So much is left afterwards at the least, for assignments that fail and are tried again.
const REST: Duration = Duration::from_hours(1);

/// Until when a device waits for its licences: a quarter of the time from when its offer was due until it would be too late for one.
/// Who was offered its migration, or is to be whatever happens, waits for none.
fn waits_until(attempt: &Move, due: Option<Timestamp>, notice: Duration) -> Option<Timestamp> {
    if !attempt.may_be_offered() || attempt.offered.is_some() || attempt.forced {
        return None;
    }
    let due = due.map_or(attempt.available_from, |at| at.max(attempt.available_from));
    let latest = attempt.last_offer(notice);
    let quarter = due + (latest.since(due) / 4).min(MOST);
    Some(quarter.min(latest - REST))
}

impl Org {
    /// Holds those back that are not to be offered their migration now: whose deadline leaves less than the notice that is owed, and those
    /// who were offered none yet, while a request is open that gives their attempts licences: for a quarter of the time that the notice
    /// leaves, and for a day at most. Answers the devices when none of them stays behind.
    pub(super) async fn hold_back_unready(
        &self,
        devices: Vec<Device>,
    ) -> Result<Option<Vec<Device>>, Error> {
        let now = self.now();
        let notice = self.fresh().await?.settings.notice();
        let awaited = match devices.iter().any(|device| device.open_move.is_some()) {
            true => self.licences_awaited().await?,
            false => BTreeSet::new(),
        };
        // What Apple shows tells which attempts are worth a look: those of most devices are not loaded.
        let near = |d: &Device| {
            let shown = d.record.as_ref().and_then(|r| r.deadline);
            shown.is_none_or(|at| at < now + notice) || d.assignment.too_late.is_some()
        };
        let (mut going, mut batch) = (Vec::with_capacity(devices.len()), Batch::new());
        for mut device in devices {
            let is_near = near(&device);
            let looked_at = |id: &MoveId| is_near || awaited.contains(id);
            let attempt = match device.open_move.filter(looked_at) {
                Some(id) => self.store().attempt(self.id(), id).await,
                None => Ok(None),
            };
            let attempt = match attempt {
                Err(StoreError::Corrupt { .. }) => {
                    device.assignment.not_before = Some(now + LATE);
                    batch.put(device);
                    continue;
                }
                attempt => attempt?,
            };
            let late = attempt.as_ref().filter(|_| is_near);
            if let Some(why) = late.and_then(|attempt| attempt.too_late(notice, now)) {
                device.assignment.not_before = Some(now + LATE);
                if device.assignment.too_late.as_ref() != Some(&why) {
                    let detail = json!({ "why": why });
                    self.audit_of_device(&mut batch, &device, "device.not-offered", detail);
                }
                device.assignment.too_late = Some(why);
                batch.put(device);
                continue;
            }
            let due = device.assignment.from;
            let until = attempt
                .filter(|attempt| awaited.contains(&attempt.id))
                .and_then(|attempt| waits_until(&attempt, due, notice));
            if let Some(until) = until.filter(|until| now < *until) {
                device.assignment.not_before = Some(until.min(now + WAIT));
                device.assignment.waits = Some(LICENCES_AWAITED.to_owned());
                batch.put(device);
                continue;
            }
            // It goes: that it does is written with that it is asked for.
            device.assignment.too_late = None;
            if device.assignment.waits.as_deref() == Some(LICENCES_AWAITED) {
                device.assignment.waits = None;
            }
            going.push(device);
        }
        if batch.writes.is_empty() {
            return Ok(Some(going));
        }
        match self.store().commit(batch).await {
            Ok(()) | Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Attempts to which open requests give licences. One that waits for a person may do so for weeks: nobody waits for it.
    async fn licences_awaited(&self) -> Result<BTreeSet<MoveId>, Error> {
        let open = self.open_errands().await?;
        let giving = open
            .iter()
            .filter(|errand| matches!(errand.kind, ErrandKind::Associate { .. }))
            .filter(|errand| errand.needs_person.is_none());
        Ok(giving
            .flat_map(|errand| &errand.members)
            .filter_map(|member| member.attempt)
            .collect())
    }
}
