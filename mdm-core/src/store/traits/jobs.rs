//! Claims jobs, and clears away what is over.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ids::{JobId, OrganisationId};
use crate::job::Job;
use crate::store::{Lease, StoreError};

/// Claims jobs, and clears away what is over.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Leases up to `limit` due jobs until `lease`, by (due, id), fairly over organisations. A leased job is not given out
    /// again before its lease ends.
    async fn claim_jobs(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError>;
    /// The earliest moment at which a job is due or a machine wants to be woken, over everything; may lie in the past.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Deletes what nobody needs any more and was over before `before`: settled commands with their reports, superseded
    /// enrolments, identities with which nobody speaks, enrolment sessions of which no identity is kept, what is out of use of
    /// declarations, their sets and assignments, lists that no channel was told, and contents that nothing names. At most `limit` rows of each kind, the oldest first;
    /// answers how many.
    async fn prune(
        &self,
        organisation: OrganisationId,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;
    /// When a job is due, and until when its lease runs; `None` when there is no such job.
    async fn job_times(
        &self,
        organisation: OrganisationId,
        id: JobId,
    ) -> Result<Option<JobTimes>, StoreError>;
    /// How many jobs wait, leased ones included.
    async fn jobs_waiting(&self) -> Result<u64, StoreError>;
}

/// The times of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two times")]
pub struct JobTimes {
    /// Not before.
    pub due: Timestamp,
    /// Until then it is somebody's, who is at it or has died over it; in the past when it is nobody's.
    pub leased_until: Timestamp,
}
