//! The second way out of a hold: one query, and the same release that the runner commits. Needs neither plan, steps, jobs
//! nor vault, so a set-up whose runbook cannot be read is released too.

use serde_json::json;

use super::Mdm;
use super::checkin::readable;
use super::decision::{Decision, Tracked};
use crate::error::Error;
use crate::migration::{SetUp, release};

impl Mdm {
    /// Releases up to `limit` holds that are past their ceiling; answers how many.
    ///
    /// # Errors
    /// The store's. One set-up that cannot be released does not keep the others.
    pub async fn watch(&self, limit: u32) -> Result<usize, Error> {
        let (now, put_off) = (self.now(), &self.inner.unreleased);
        // So many more as cannot be released, so that those never fill the round.
        let overdue = self
            .inner
            .store
            .set_ups_past_ceiling(now, limit.saturating_add(put_off.len()))
            .await?
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
                Err(error) => {
                    put_off.failed(organisation, id.0, now);
                    tracing::error!(set_up = %id, %error, "the watchdog cannot release a hold")
                }
            }
        }
        Ok(released)
    }

    async fn release_overdue(&self, set_up: &SetUp) -> Result<(), Error> {
        let org = self.organisation_by_id(set_up.organisation).await?;
        let now = self.now();
        let mut d = Decision::new(org.organisation(), &self.inner.ids, now, "watchdog");
        let transition = release(set_up, now);
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
