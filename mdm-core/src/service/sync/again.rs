//! Recurring jobs that are put off or wanted sooner than they would come. Of two moments the sooner counts.

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::JobId;
use crate::job::Job;
use crate::service::Org;
use crate::store::{Batch, Lease, StoreError, Write};

impl Org {
    /// Puts a recurring job off. Where somebody has asked for it meanwhile, the sooner of both counts; where somebody else has
    /// claimed it since, as after a pause of this process, it is that one's, and so is its proof.
    pub(in crate::service) async fn job_stands_or(
        &self,
        later: Job,
        lease: Lease,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(Write::JobLater {
            job: later.clone(),
            lease,
        });
        match self.store().commit(batch).await {
            Err(StoreError::Conflict) => {
                let times = self.store().job_times(self.id(), later.id).await?;
                match times.and_then(|times| times.lease) {
                    Some(claimed) if claimed != lease => Ok(()),
                    // Claimed since, it is that one's.
                    _ => self.job_by(later).await.map(|_| ()),
                }
            }
            other => Ok(other?),
        }
    }

    /// Has a recurring job run at its moment or before. One that is under way is left to whoever is at it, and to its lease, which
    /// says when another goes on where that one has died: `false`, for nobody there hears of this.
    pub(super) async fn job_by(&self, job: Job) -> Result<bool, Error> {
        if let Some(times) = self.store().job_times(self.id(), job.id).await? {
            if times.leased_until > self.now() {
                return Ok(false);
            }
            if times.due <= job.due {
                return Ok(true);
            }
        }
        let mut batch = Batch::new();
        batch.put(job);
        self.store().commit(batch).await?;
        Ok(true)
    }

    /// When a job is due that is to run at this moment or before: put anew, it comes no later than it would have.
    pub(in crate::service) async fn no_later(
        &self,
        id: JobId,
        due: Timestamp,
    ) -> Result<Timestamp, Error> {
        let times = self.store().job_times(self.id(), id).await?;
        Ok(times.map_or(due, |times| times.due.min(due)))
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::ids::ServerId;
    use crate::job::JobKind;
    use crate::service::ports::Ports;
    use crate::service::{Mdm, MdmSettings};
    use crate::store::{JobStore as _, SqliteStore, Store as _};
    use crate::vault::{EscrowVault, PlainKeys};

    #[tokio::test]
    async fn whoever_was_overtaken_takes_no_lease_from_whoever_has_it() {
        let start = Timestamp::from_millis(1_796_112_000_000);
        let (clock, store) = (ManualClock::new(start), SqliteStore::in_memory().await);
        let store = Arc::new(store.unwrap());
        let settings = MdmSettings {
            device_url: "https://mdm.example.com".to_owned(),
            enrol_url: "https://mdm.example.com".to_owned(),
            sign_messages: true,
        };
        let (vault, ports) = (EscrowVault::new(PlainKeys), Ports::refusing());
        let mdm = Mdm::new(
            store.clone(),
            vault,
            Arc::new(clock.clone()),
            ports,
            settings,
        );
        let org = mdm.create_organisation("Overtaken", Vec::new()).await;
        let org = org.unwrap().org;
        let server = ServerId(7);
        let job = Job::new(org.id(), JobId(7), start, JobKind::Sync { server });
        let mut batch = Batch::new();
        batch.put(job.clone());
        store.commit(batch).await.unwrap();
        let seconds = Duration::from_secs;
        let (ours, theirs) = (Lease(start + seconds(20)), Lease(start + seconds(45)));
        store.claim_jobs(start, ours, 100).await.unwrap();
        clock.advance(seconds(25));
        let claimed = store.claim_jobs(start + seconds(25), theirs, 100).await;
        assert!(claimed.unwrap().iter().any(|other| other.id == job.id));
        let mut later = job.clone();
        later.due = start + seconds(900);
        org.job_stands_or(later.clone(), ours).await.unwrap();
        let times = store.job_times(org.id(), job.id).await.unwrap().unwrap();
        assert_eq!(times.lease, Some(theirs));
        // Put anew while we are at it, it is nobody's: the sooner of both counts.
        let mut sooner = job.clone();
        sooner.due = start + seconds(1_800);
        let mut batch = Batch::new();
        batch.put(sooner);
        store.commit(batch).await.unwrap();
        org.job_stands_or(later, theirs).await.unwrap();
        let times = store.job_times(org.id(), job.id).await.unwrap().unwrap();
        assert_eq!((times.lease, times.due), (None, start + seconds(900)));
    }
}
