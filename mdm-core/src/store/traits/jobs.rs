//! Claims jobs, and clears away what is over.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::ids::{JobId, OrganisationId};
use crate::job::Job;
use crate::store::{Claim, Lease, StoreError};

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
    /// Keeps claimed jobs from others until the moment beside each, which may lie before the present end of its lease: then the
    /// job is free from that moment on. Does nothing about a job that has ended or was put anew since, or that somebody else has
    /// claimed. Answers about which it did something. One statement, whatever their number.
    async fn renew_leases(&self, claims: &[(Claim, Timestamp)]) -> Result<Vec<Claim>, StoreError>;
    /// The clock was set back: up to `limit` jobs that would wait for longer than any job does are due at `now`, and where they are
    /// leased, free from the end of `lease` on unless that is renewed. One statement. Answers how many; with `limit` of them there may
    /// be more. Who is not `sure` that its own clock is right leaves what is leased, and what people chose a day for.
    async fn due_at_once(
        &self,
        now: Timestamp,
        lease: Lease,
        limit: u32,
        sure: bool,
    ) -> Result<u64, StoreError>;
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
#[expect(clippy::exhaustive_structs, reason = "two times and a proof")]
pub struct JobTimes {
    /// Not before.
    pub due: Timestamp,
    /// Until then it is somebody's, who is at it or has died over it; in the past when it is nobody's.
    pub leased_until: Timestamp,
    /// The lease under which it was claimed last; `None` when nobody has claimed it since it was put or put off.
    pub lease: Option<Lease>,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl JobTimes {
    /// Of what is stored: the lease stays as it was given, and the moment from which on the job may be claimed moves.
    pub(in crate::store) const fn of(due: i64, leased_until: i64, ready_at: i64) -> Self {
        let lease = match leased_until {
            0 => None,
            given => Some(Lease(Timestamp::from_millis(given))),
        };
        Self {
            due: Timestamp::from_millis(due),
            leased_until: match lease {
                None => Timestamp::from_millis(0),
                Some(_) => Timestamp::from_millis(ready_at),
            },
            lease,
        }
    }
}
