//! The second way out of a hold: one query, and the same release that the runner commits. Needs neither plan, steps, jobs
//! nor vault, so a set-up whose runbook cannot be read is released too. A clock that is set back makes no hold longer.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::json;

use super::Mdm;
use super::checkin::readable;
use super::decision::{Decision, Tracked};
use super::set_back::Since;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::migration::{SetUp, release};

/// Holds that are on at the same time and measured after the clock was set back, at the most.
const MEASURED: u32 = 100_000;

impl Mdm {
    /// Releases up to `limit` holds that are past their ceiling; answers how many.
    ///
    /// # Errors
    /// The store's. One set-up that cannot be released does not keep the others.
    pub async fn watch(&self, limit: u32) -> Result<usize, Error> {
        let (now, put_off) = (self.now(), &self.inner.unreleased);
        let mut overdue = self.over_by_measure(now).await?;
        let known: HashSet<_> = overdue.iter().map(|s| (s.organisation, s.id)).collect();
        // So many more as cannot be released, so that those never fill the round.
        let by_clock = self
            .inner
            .store
            .set_ups_past_ceiling(now, limit.saturating_add(put_off.len()))
            .await?;
        let by_clock = by_clock.into_iter();
        overdue.extend(by_clock.filter(|s| !known.contains(&(s.organisation, s.id))));
        let overdue = overdue
            .into_iter()
            .filter(|s| !put_off.holds(s.organisation, s.id.0, now))
            .take(limit as usize);
        let mut released = 0;
        for set_up in overdue {
            let (organisation, id) = (set_up.organisation, set_up.id);
            match self.release_overdue(&set_up).await {
                Ok(()) => {
                    put_off.succeeded(organisation, id.0);
                    released += 1;
                }
                // Somebody else moved it on: the next round looks again.
                Err(error) if error.is_conflict() => {}
                // Its organisation was taken away, and it goes.
                Err(Error::NotFound("organisation")) => put_off.failed(organisation, id.0, now),
                Err(error) => {
                    put_off.failed(organisation, id.0, now);
                    tracing::error!(set_up = %id, %error, "the watchdog cannot release a hold")
                }
            }
        }
        // Whatever is wrong with jobs keeps no device in its hold.
        self.end_long_waits(now).await;
        Ok(released)
    }

    /// Holds whose time is up by this process's own measure, whatever a clock says that was set back.
    async fn over_by_measure(&self, now: Timestamp) -> Result<Vec<SetUp>, Error> {
        let (measure, at) = (&self.inner.set_back, Instant::now());
        if let Some(since) = measure.look(now) {
            let end = Timestamp::from_millis(i64::MAX);
            let on = self.inner.store.set_ups_past_ceiling(end, MEASURED).await?;
            if let Since::Round(then, _) = since {
                tracing::warn!(%then, %now, holds = on.len(), "the clock was set back: the holds that are on end in their time all the same");
            }
            measure.measure(&on, since, now, at);
        }
        measure.went(now, at);
        let mut over = Vec::new();
        for (organisation, id, ceiling) in measure.over(now, at) {
            let row = self.inner.store.set_up(organisation, id).await;
            match readable(row)? {
                Some(set_up) if set_up.ceiling_at == Some(ceiling) => over.push(set_up),
                _ => measure.forget(organisation, id),
            }
        }
        Ok(over)
    }

    async fn release_overdue(&self, set_up: &SetUp) -> Result<(), Error> {
        let org = self.organisation_by_id(set_up.organisation).await?;
        let now = self.now();
        let mut d = Decision::new(org.organisation(), &self.inner.ids, now, "watchdog");
        let mut over = set_up.clone();
        // Also where only this process's own measure says so.
        over.ceiling_at = over.ceiling_at.map(|at| at.min(now));
        let transition = release(&over, now);
        tracing::warn!(organisation = %set_up.organisation, serial = set_up.serial.as_ref().map(tracing::field::display), "a hold is past its ceiling: released by the watchdog");
        if let Some(device) = set_up.device {
            // It is for the record only.
            let row = self.inner.store.device(set_up.organisation, device).await;
            d.device = readable(row)?.map(Tracked::read);
        }
        // The Move hears of it when it can be read; that it cannot must not keep the device.
        if let Some(attempt) = set_up.move_id
            && let Ok(Some(attempt)) = self.inner.store.attempt(set_up.organisation, attempt).await
            && let Ok(plan) = org.plan(attempt.runbook).await
        {
            d.attempt_plan = Some(plan);
            d.attempt = Some(Tracked::read(attempt));
        }
        d.set_up = Some(Tracked::read(set_up.clone()));
        let evidence = json!({ "ceiling": set_up.ceiling_at });
        d.take_set_up(
            set_up,
            transition.next,
            transition.effects,
            "ceiling",
            evidence,
        );
        org.commit(d).await
    }
}
