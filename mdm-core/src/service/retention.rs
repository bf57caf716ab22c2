//! Clears away what is over and older than its organisation wants to keep: settled commands with their reports, superseded
//! enrolments, requests that came with a key, messages to receivers of webhooks, identities that are over and on no revocation list, enrolment sessions that nobody used or of which no identity is
//! left, declarations that are out of use, sign-ins and people's sessions that are over. Never touches the record, a secret, or anything that is still open. In the same round devices are woken of which nothing
//! was heard for long, and what was imported of people goes where its time is over.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use super::{Mdm, Org};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{AcceptedId, DeviceId, OrganisationId, WaveId};
use crate::organisation::Organisation;
use crate::store::{Batch, StoreError};
use crate::wave::Wave;

/// How often a process looks.
const EVERY: Duration = Duration::from_hours(6);
/// How long after its start it looks first.
const FIRST: Duration = Duration::from_mins(30);
/// For how long it is seen what became of a sign-in.
const DAY: Duration = Duration::from_hours(24);
/// Rows of each kind and organisation that go in one statement, so that nobody waits long behind it.
const AT_ONCE: u32 = 500;
/// Organisations that are read at a time.
const PAGE: u32 = 200;

impl Mdm {
    /// One piece of the clearing, if it is due; answers how many rows went. Due again at once while there is more.
    pub(super) async fn clear_away(&self) -> Result<usize, Error> {
        let now = self.now();
        if !self.is_due(now) {
            return Ok(0);
        }
        let (mut after, mut gone) = (OrganisationId(0), 0);
        loop {
            let page = self.inner.store.organisations(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            for organisation in &page {
                // What has expired there is of no use to anybody, however much is kept.
                let store = &self.inner.store;
                gone += store.forget_acme(organisation.id, now, AT_ONCE).await?;
                // Strangers can begin sign-ins: what is over does not wait for what people want to keep.
                gone += self
                    .inner
                    .store
                    .prune_people(organisation.id, now - DAY, AT_ONCE)
                    .await?;
                gone += self
                    .handle(organisation.clone())
                    .close_expired_hand_offs()
                    .await?;
                gone += self.handle(organisation.clone()).forget_people(now).await?;
                gone += store.prune_repeats(organisation.id, now, AT_ONCE).await?;
                if let Some(before) = keeps_from(organisation, now) {
                    let rows = self
                        .inner
                        .store
                        .prune(organisation.id, before, AT_ONCE)
                        .await?;
                    if rows > 0 {
                        tracing::info!(organisation = %organisation.id, rows, "cleared away what is over");
                    }
                    gone += rows;
                }
            }
        }
        if gone == 0 {
            // Last, and once in a round: it reads what was accepted.
            gone += self.forget_accepted(now).await?;
        }
        if gone == 0 {
            // First: what fails below is not tried in every round.
            *self
                .inner
                .clear_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(now + EVERY);
            self.wake_the_forgotten(now).await?;
        }
        Ok(usize::try_from(gone).unwrap_or(usize::MAX))
    }

    async fn forget_accepted(&self, now: Timestamp) -> Result<u64, Error> {
        let (mut after, mut gone) = (OrganisationId(0), 0);
        loop {
            let page = self.inner.store.organisations(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(gone);
            };
            after = last.id;
            for organisation in page {
                gone += self.handle(organisation).forget_accepted(now).await?;
            }
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let mut next = self
            .inner
            .clear_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A start is busy enough: the first look is later, but not so late that one who starts often never looks.
        now >= *next.get_or_insert(now + FIRST)
    }
}

impl Org {
    /// Takes away what was imported of people so long ago that it is not to be kept, where their device is in no open wave; the record
    /// says of how many, and not whom. Answers how many.
    async fn forget_people(&self, now: Timestamp) -> Result<u64, Error> {
        let Some(days) = self.organisation.settings.owner_days else {
            return Ok(0);
        };
        let before = now - Duration::from_secs(u64::from(days) * 86_400);
        let org = self.clone().acting_for("retention");
        let (mut after, mut gone) = (DeviceId(0), 0);
        loop {
            let page = self.store().originals(self.id(), after, AT_ONCE).await?;
            let Some(last) = page.last() else {
                return Ok(gone);
            };
            after = last.id;
            let ids: Vec<DeviceId> = page.iter().map(|o| o.id).collect();
            let devices = self.store().devices_of(self.id(), &ids).await?;
            let moving = |id| devices.iter().any(|d| d.id == id && d.open_move.is_some());
            let mut batch = Batch::new();
            let mut count = 0_u64;
            for mut original in page {
                if !moving(original.id) && original.forget_people(before) {
                    count += 1;
                    batch.put(original);
                }
            }
            if count == 0 {
                continue;
            }
            org.audit_into(
                &mut batch,
                "retention.people",
                json!({ "devices": count, "days": days }),
            );
            match self.store().commit(batch).await {
                Ok(()) => gone += count,
                // An import was faster: the next round looks again.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes people's names out of what somebody accepted so long ago, once its wave is closed; which apps of how many devices would
    /// be lost stays, and the record says of how many pieces. Answers of how many.
    async fn forget_accepted(&self, now: Timestamp) -> Result<u64, Error> {
        let Some(days) = self.organisation.settings.owner_days else {
            return Ok(0);
        };
        let before = now - Duration::from_secs(u64::from(days) * 86_400);
        let (mut after, mut gone) = (WaveId(0), 0);
        loop {
            let waves = self.store().waves(self.id(), after, PAGE).await?;
            let Some(last) = waves.last() else {
                return Ok(gone);
            };
            after = last.id;
            for wave in waves {
                if wave.closed_before(before) && wave.people_forgotten.is_none() {
                    gone += self.forget_accepted_of(wave, days).await?;
                }
            }
        }
    }

    /// Nothing is accepted of a wave that is closed: what is there is all there will be.
    async fn forget_accepted_of(&self, mut wave: Wave, days: u32) -> Result<u64, Error> {
        let org = self.clone().acting_for("retention");
        let (mut after, mut gone) = (AcceptedId(0), 0);
        loop {
            let page = self.accepted_parts(wave.id, after).await?;
            let mut batch = Batch::new();
            let mut count = 0;
            if let Some(last) = page.last() {
                after = last.id;
            } else {
                wave.people_forgotten = Some(self.now());
                batch.put(wave.clone());
            }
            let ended = page.is_empty();
            for mut part in page {
                if part.forget_people() {
                    count += 1;
                    batch.put(part);
                }
            }
            if count > 0 {
                let detail =
                    json!({ "wave": wave.name, "id": wave.id, "pieces": count, "days": days });
                org.audit_into(&mut batch, "retention.accepted", detail);
            }
            if !batch.is_empty() {
                match self.store().commit(batch).await {
                    Ok(()) => gone += count,
                    // Somebody was faster: the next round looks again.
                    Err(StoreError::Conflict) => return Ok(gone),
                    Err(error) => return Err(error.into()),
                }
            }
            if ended {
                return Ok(gone);
            }
        }
    }
}

/// What was over before this moment may go; `None` where everything is kept.
fn keeps_from(organisation: &Organisation, now: Timestamp) -> Option<Timestamp> {
    let days = organisation.settings.retention_days?;
    Some(now - Duration::from_secs(u64::from(days) * 86_400))
}
