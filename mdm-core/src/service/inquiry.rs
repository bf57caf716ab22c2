//! Asks Apple's audit events, once, who did what with a device whose migration Apple called failed. What they name goes to the
//! attempt as evidence; it changes nothing about how that ended.

use std::time::Duration;

use serde_json::json;

use super::Org;
use super::worker::done;
use crate::clock::Timestamp;
use crate::error::{Error, PortError};
use crate::ids::MoveId;
use crate::job::Job;
use crate::migration::{AuditedAct, Inquiry, Move};
use crate::store::{Batch, Lease};

/// So often an answer is waited for, each time a minute longer: some five hours.
const TRIES: u32 = 24;

impl Org {
    pub(super) async fn ask_who_job(
        &self,
        job: &Job,
        lease: Lease,
        id: MoveId,
    ) -> Result<(), Error> {
        let Some(attempt) = self.unasked(id).await? else {
            return self.job_done(job, lease).await;
        };
        let before = attempt.before.as_ref();
        let since = before.map_or(attempt.created, |before| before.at);
        let now = self.now();
        let inquiry = match self.audited(&attempt, since).await {
            Ok(acts) => Inquiry::answered(acts, since, now),
            Err(Error::Port(error)) if may_pass(&error) && job.tries < TRIES => {
                // Others come first: what they leave of the budget is enough for this.
                let wait = error.retry_after().unwrap_or_default();
                let wait = wait.max(Duration::from_secs(60) * (job.tries + 1));
                return self.job_later(job, lease, wait).await;
            }
            Err(Error::Port(error)) => {
                let why = unanswered(&error);
                Inquiry::Unanswered { at: now, why }
            }
            // The account is gone since.
            Err(Error::Precondition(why)) => {
                let why = format!("Apple's audit events were not asked: {why}");
                Inquiry::Unanswered { at: now, why }
            }
            Err(error) => return Err(error),
        };
        self.again_on_conflict(|| async {
            let Some(mut attempt) = self.unasked(id).await? else {
                return self.job_done(job, lease).await;
            };
            let mut batch = Batch::new();
            batch.put(self.entry(
                now,
                "worker",
                "move.apple-asked",
                Some(attempt.device),
                json!({ "move": id, "inquiry": inquiry }),
            ));
            attempt.inquiry = Some(inquiry.clone());
            batch.put(attempt);
            batch.put(done(job, lease));
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// The attempt, unless it has its answer.
    async fn unasked(&self, id: MoveId) -> Result<Option<Move>, Error> {
        let attempt = self.store().attempt(self.id(), id).await?;
        Ok(attempt.filter(|attempt| attempt.inquiry.is_none()))
    }

    async fn audited(&self, attempt: &Move, since: Timestamp) -> Result<Vec<AuditedAct>, Error> {
        let key = self.api_key().await?;
        let api = &self.ports().api;
        let until = self.now().max(since);
        Ok(api.audited(&key, &attempt.serial, since, until).await?)
    }
}

/// A reading changes nothing: one of which nobody knows what came of it is asked for again, like one that is to come later, or whose
/// list has to be begun anew.
fn may_pass(error: &PortError) -> bool {
    let again = matches!(error, PortError::Unknown(_) | PortError::CursorExpired);
    error.retry_after().is_some() || again
}

/// Why there is no answer: not asked, may not be asked, or asked in vain.
fn unanswered(error: &PortError) -> String {
    let how = match error {
        PortError::Absent(_) => "were not asked",
        PortError::FeatureMissing(_) => "cannot be asked",
        PortError::Refused(_) => "may not be asked",
        _ => "were asked in vain",
    };
    format!("Apple's audit events {how}: {error}")
}
