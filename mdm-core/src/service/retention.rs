//! Clears away what is over and older than its organisation wants to keep: settled commands with their reports, superseded
//! enrolments, requests that came with a key, messages to receivers of webhooks, jobs for hand-offs, identities that are over and on no revocation list, enrolment sessions that nobody used or of which no identity is
//! left, declarations that are out of use, sign-ins and people's sessions that are over. Never touches the record, a secret, or anything that is still open. In the same round devices are woken of which nothing
//! was heard for long, and what was imported of people goes where its time is over.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use super::{Mdm, Org};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{AcceptedId, DeviceId, OrganisationId, WaveId};
use crate::store::{Batch, StoreError};
use crate::wave::Wave;

/// How often a process looks.
const EVERY: Duration = Duration::from_hours(6);
/// How long after its start it looks first.
const FIRST: Duration = Duration::from_mins(30);
/// A day; for one it is seen what became of a sign-in.
const DAY: Duration = Duration::from_hours(24);
/// Rows of each kind and organisation that go in one statement, so that nobody waits long behind it.
const AT_ONCE: u32 = 500;
/// Organisations that are read at a time.
const PAGE: u32 = 200;

/// Which part of the clearing.
#[derive(Clone, Copy)]
enum Piece {
    /// What is over.
    Over,
    /// What is found only by going through everything.
    Walked,
}

impl Mdm {
    /// One piece of the clearing, if it is due; answers how many rows went. Due again at once while there is more.
    pub(super) async fn clear_away(&self) -> Result<usize, Error> {
        let now = self.now();
        if !self.is_due(now) {
            return Ok(0);
        }
        let mut gone = self.in_all(now, Piece::Over).await?;
        if gone == 0 {
            // First: what fails below is not tried in every round.
            *self
                .inner
                .clear_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(now + EVERY);
            // Once in a round: however much went before, everything is gone through once. What fails there keeps nobody asleep.
            let walked = self.in_all(now, Piece::Walked).await;
            self.wake_the_forgotten(now).await?;
            gone = walked?;
        }
        Ok(usize::try_from(gone).unwrap_or(usize::MAX))
    }

    /// A piece of the clearing in every organisation. One in which it fails keeps no other from it, nor from what comes after the
    /// clearing: it is named in the log, and its turn comes again with the next round.
    async fn in_all(&self, now: Timestamp, piece: Piece) -> Result<u64, Error> {
        let (mut after, mut gone) = (OrganisationId(0), 0);
        loop {
            let page = self.inner.store.organisations(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(gone);
            };
            after = last.id;
            for organisation in page {
                let org = self.handle(organisation);
                let cleared = match piece {
                    Piece::Over => org.clear_over(now).await,
                    Piece::Walked => org.clear_walked(now).await,
                };
                match cleared {
                    Ok(rows) => gone += rows,
                    // Not of this organisation alone: the store is away.
                    Err(error) if error.retry_after().is_some() => return Err(error),
                    Err(error) => {
                        tracing::error!(organisation = %org.id(), %error, "an organisation could not be cleared away; it is tried again in some hours");
                    }
                }
            }
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let mut next = self
            .inner
            .clear_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        has_come(&mut next, now)
    }
}

impl Org {
    /// What is over and old, at most so many rows of each kind. Answers how many went.
    async fn clear_over(&self, now: Timestamp) -> Result<u64, Error> {
        // What has expired there is of no use to anybody, however much is kept.
        let mut gone = self.store().forget_acme(self.id(), now, AT_ONCE).await?;
        // Strangers can begin sign-ins: what is over does not wait for what people want to keep.
        gone += self
            .store()
            .prune_people(self.id(), now - DAY, AT_ONCE)
            .await?;
        gone += self.store().prune_repeats(self.id(), now, AT_ONCE).await?;
        if let Some((_, before)) = days_back(self.organisation.settings.retention_days, now) {
            let rows = self.store().prune(self.id(), before, AT_ONCE).await?;
            if rows > 0 {
                tracing::info!(organisation = %self.id(), rows, "cleared away what is over");
            }
            gone += rows;
        }
        Ok(gone)
    }

    /// What no index finds: the rows of an organisation are read from the first to the last. Answers of how many something went.
    async fn clear_walked(&self, now: Timestamp) -> Result<u64, Error> {
        let closed = self.close_expired_hand_offs().await?;
        let people = self.forget_people(now).await?;
        Ok(closed + people + self.forget_accepted(now).await?)
    }

    /// Takes away what was imported of people so long ago that it is not to be kept, where their device is in no open wave; the record
    /// says of how many, and not whom. Answers how many.
    async fn forget_people(&self, now: Timestamp) -> Result<u64, Error> {
        let Some((days, before)) = days_back(self.organisation.settings.owner_days, now) else {
            return Ok(0);
        };
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
        let Some((days, before)) = days_back(self.organisation.settings.owner_days, now) else {
            return Ok(0);
        };
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

/// For how many days something is kept, and when they began; `None` where everything is kept.
fn days_back(days: Option<u32>, now: Timestamp) -> Option<(u32, Timestamp)> {
    days.map(|days| (days, now - DAY * days))
}

/// Whether the next look is due; the first of a process is set by it.
fn has_come(next: &mut Option<Timestamp>, now: Timestamp) -> bool {
    // A start is busy enough: the first look is later, but not so late that one who starts often never looks.
    let next = *next.get_or_insert(now + FIRST);
    // What lies further ahead than a round was set by a clock that has gone back since.
    now >= next || next.since(now) > EVERY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_for_a_while_keeps_nothing_from_being_cleared_away() {
        let start = Timestamp::from_millis(1_796_112_000_000);
        let mut next = None;
        assert!(!has_come(&mut next, start));
        assert!(has_come(&mut next, start + FIRST));
        // Looked through ten days ahead, and set right.
        next = Some(start + DAY * 10 + EVERY);
        assert!(has_come(&mut next, start));
        // A clock that is set back by less waits no longer than a round.
        next = Some(start + EVERY);
        assert!(!has_come(&mut next, start));
        assert!(has_come(&mut next, start + EVERY));
    }
}
