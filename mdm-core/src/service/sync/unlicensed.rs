//! Devices whose licences are on their way are not offered their migration yet: without a licence the store refuses an app in the hold,
//! and what the device had of it goes with its data. Gives nothing itself.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::device::{Device, LICENCES_AWAITED};
use crate::errand::ErrandKind;
use crate::error::Error;
use crate::ids::MoveId;
use crate::migration::Move;
use crate::service::Org;
use crate::store::{Batch, StoreError};

/// How soon a device that waits for its licences is looked at again: each look writes it anew.
const WAIT: Duration = Duration::from_secs(20 * 60);
/// Nobody waits for longer than this, however far the deadline is.
const MOST: Duration = Duration::from_hours(24);
/// So much is left afterwards at the least, for assignments that fail and are tried again.
const REST: Duration = Duration::from_hours(1);

/// Until when a device waits for its licences: a quarter of the time from when its offer was due until it would be too late for one.
fn waits_until(attempt: &Move, due: Option<Timestamp>, notice: Duration) -> Timestamp {
    let due = due.map_or(attempt.available_from, |at| at.max(attempt.available_from));
    let latest = attempt.last_offer(notice);
    let quarter = due + (latest.since(due) / 4).min(MOST);
    quarter.min(latest - REST)
}

impl Org {
    /// Nobody is offered a migration for the first time while a request is open that gives its attempt licences, for a quarter of the time
    /// that the notice leaves, and for a day at most: such devices say why, and are looked at again. Answers the devices when none of them
    /// stays.
    pub(super) async fn hold_back_unlicensed(
        &self,
        devices: Vec<Device>,
    ) -> Result<Option<Vec<Device>>, Error> {
        let awaited = match devices.iter().any(|device| device.open_move.is_some()) {
            true => self.licences_awaited().await?,
            false => BTreeSet::new(),
        };
        let now = self.now();
        let notice = self.fresh().await?.settings.notice();
        let (mut going, mut batch) = (Vec::with_capacity(devices.len()), Batch::new());
        for mut device in devices {
            let attempt = match device.open_move.filter(|id| awaited.contains(id)) {
                Some(id) => self.store().attempt(self.id(), id).await?,
                None => None,
            };
            let due = device.assignment.from;
            let until = attempt.and_then(|attempt| {
                let unasked = attempt.may_be_offered() && attempt.offered.is_none();
                (unasked && !attempt.forced).then(|| waits_until(&attempt, due, notice))
            });
            let waited = device.assignment.waits.as_deref() == Some(LICENCES_AWAITED);
            if let Some(until) = until.filter(|until| now < *until) {
                device.assignment.not_before = Some(until.min(now + WAIT));
                device.assignment.waits = Some(LICENCES_AWAITED.to_owned());
                batch.put(device);
            } else if waited {
                device.assignment.waits = None;
                batch.put(device);
            } else {
                going.push(device);
            }
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
