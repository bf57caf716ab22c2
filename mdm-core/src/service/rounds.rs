//! The rounds of the worker: claims what is due, lets it be done side by side, and what takes long beside the next rounds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::apart::{Again, is_tell};
use super::worker::SIDE_BY_SIDE;
use super::{Mdm, Org};
use crate::error::Error;
use crate::ids::{JobId, OrganisationId};
use crate::job::{Job, JobKind};
use crate::store::{Batch, Lease, StoreError, Write};

/// A job that was asked for again while it is under way is looked at again after this time.
const GIVEN_BACK: Duration = Duration::from_secs(2);

impl Mdm {
    /// Does up to `limit` due jobs and wakes up to `limit` machines of each kind, once. Answers how many things it did;
    /// zero means that nothing was due.
    ///
    /// # Errors
    /// The store's. A job that fails is tried again later and keeps nothing else.
    pub async fn work(&self, limit: u32) -> Result<usize, Error> {
        // What is under way here is not claimed once more because its lease has ended meanwhile.
        let now = self.now();
        self.renew_leases(now).await;
        // A beat that ended in a panic is begun again.
        self.keep_renewing();
        let (leases, followed) = (&self.inner.leases, &self.inner.followed);
        let (turned, stopped) = (followed.turned(), leases.stopped());
        let lease = Lease(now + leases.length());
        let apart = &self.inner.apart;
        let room = limit.min(apart.room());
        let mut jobs = match room {
            0 => {
                tracing::error!("too many jobs are under way; no more are begun");
                Vec::new()
            }
            room => self.inner.store.claim_jobs(now, lease, room).await?,
        };
        // What was claimed of another history of the database is not begun: it is claimed again when it is known what is so. It
        // may have been seen by somebody else here since.
        self.follow_history().await?;
        if followed.turned() != turned {
            return Ok(1);
        }
        // They keep their lease and are claimed again; the others' go on.
        jobs.retain(|job| !followed.is_behind(job.organisation));
        let crowded = apart.is_crowded();
        if crowded {
            tracing::warn!("so many pushes are under way that no more are begun");
        }
        // Those that are not begun keep their lease and are claimed again. Beside one that is under way another may be: what
        // it is for may have come since.
        jobs.retain(|job| !(crowded && is_push(job)));
        // Neither are these. That they were passed over is something done: what is due behind them is claimed at once.
        let claimed = jobs.len();
        let told_enough = apart.is_told_enough();
        jobs.retain(|job| !(told_enough && is_tell(job)));
        let passed_over = claimed - jobs.len();
        let again: Vec<(Job, Again)> = jobs
            .iter()
            .filter(|job| !is_push(job))
            .filter_map(|job| Some((job.clone(), apart.under_way(job)?)))
            .collect();
        jobs.retain(|job| !again.iter().any(|(a, _)| is_same(a, job)));
        for (job, why) in again {
            if why == Again::AskedAnew {
                self.give_back(job, lease).await;
            }
        }
        let mut done = jobs.len() + passed_over;
        let mut orgs: BTreeMap<OrganisationId, Org> = BTreeMap::new();
        for job in &jobs {
            if let Entry::Vacant(entry) = orgs.entry(job.organisation) {
                match self.organisation_by_id(job.organisation).await {
                    Ok(org) => {
                        entry.insert(org);
                    }
                    // It was taken away, and they go with it.
                    Err(Error::NotFound("organisation")) => {}
                    // Its jobs keep their lease and are claimed again; the others' go on.
                    Err(error) => {
                        tracing::error!(organisation = %job.organisation, %error, "an organisation cannot be loaded");
                    }
                }
            }
        }
        match apart.patience() {
            None => {
                let keys = jobs.clone();
                let work =
                    leases.keep(stopped, &keys, lease, Box::pin(do_jobs(&orgs, jobs, lease)));
                self.keep_renewing();
                work.await;
            }
            Some(patience) => self.do_apart(&orgs, jobs, (stopped, lease), patience).await,
        }
        done += self.wake(limit).await?;
        done += self.renew_identities().await?;
        done += self.clear_away().await?;
        done += self.erase_removed().await?;
        done += self.seal_records().await?;
        Ok(done)
    }

    /// Lets [`Mdm::work`] wait for the jobs that it began no longer than so; then they go on beside the next rounds. For a
    /// server: a slow answer to one organisation's request keeps nobody's push and nobody's time-out waiting. `None`, as it is
    /// at first: to the end, so that after a round everything of it has happened.
    pub fn set_patience(&self, patience: Option<Duration>) {
        self.inner.apart.set_patience(patience);
    }

    /// Returns when no job is under way beside the rounds. Before the end of a process; what takes too long is for
    /// [`Mdm::let_go`].
    pub async fn idle(&self) {
        self.inner.apart.idle().await;
    }

    /// Something asked for a job while it is under way here: it comes again once that has ended, and not only with the end of
    /// the lease under which it was just claimed.
    async fn give_back(&self, mut job: Job, lease: Lease) {
        job.due = self.now() + GIVEN_BACK;
        let mut batch = Batch::new();
        batch.put(Write::JobLater { job, lease });
        match self.inner.store.commit(batch).await {
            // It was asked for once more, and so has no lease.
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(error) => tracing::warn!(%error, "a job could not be given back"),
        }
    }

    /// Alike jobs of an organisation in one task; each of those that may take long in its own, so that none is thought to be
    /// under way for as long as another.
    async fn do_apart(
        &self,
        orgs: &BTreeMap<OrganisationId, Org>,
        jobs: Vec<Job>,
        (stopped, lease): (u64, Lease),
        patience: Duration,
    ) {
        let mut parts: BTreeMap<(OrganisationId, &str, Option<JobId>), Vec<Job>> = BTreeMap::new();
        for job in jobs {
            let alone = is_long(&job.kind).then_some(job.id);
            let key = (job.organisation, job.kind.as_str(), alone);
            parts.entry(key).or_default().push(job);
        }
        let mut begun = Vec::new();
        for ((id, _, _), part) in parts {
            if let Some(org) = orgs.get(&id) {
                let org = BTreeMap::from([(id, org.clone())]);
                let keys = part.clone();
                let work = Box::pin(async move { do_jobs(&org, part, lease).await });
                let work = self.inner.leases.keep(stopped, &keys, lease, work);
                let going = self.inner.apart.begin(&keys, work);
                // A receiver of webhooks may take as long as it likes to answer: no round waits for it.
                if !keys.iter().any(is_tell) {
                    begun.push(going);
                }
            }
        }
        self.keep_renewing();
        // What has not ended by then goes on by itself.
        let all = futures_util::future::join_all(begun);
        let _ = tokio::time::timeout(patience, all).await;
    }
}

/// Whether a job walks through many requests or many rows.
const fn is_long(kind: &JobKind) -> bool {
    matches!(
        kind,
        JobKind::Sync { .. }
            | JobKind::Assign { .. }
            | JobKind::Errands
            | JobKind::Pull
            | JobKind::Library { .. }
            | JobKind::DeclareAll
            | JobKind::HandOver { .. }
            | JobKind::HandOverAll { .. }
            | JobKind::LookAfter { .. }
            | JobKind::Declare { .. }
            | JobKind::AskAnew { .. }
            | JobKind::Stock { .. }
    )
}

const fn is_push(job: &Job) -> bool {
    matches!(job.kind, JobKind::Push { .. })
}

fn is_same(one: &Job, other: &Job) -> bool {
    (one.organisation, one.id) == (other.organisation, other.id)
}

async fn do_jobs(orgs: &BTreeMap<OrganisationId, Org>, jobs: Vec<Job>, lease: Lease) {
    // Readings share requests to Apple, and so do wishes of single devices; everything else goes side by side.
    let (readings, others): (Vec<Job>, Vec<Job>) = jobs
        .into_iter()
        .partition(|j| matches!(j.kind, JobKind::ReadDevice { .. }));
    let (wishes, others): (Vec<Job>, Vec<Job>) = others.into_iter().partition(|j| {
        matches!(
            j.kind,
            JobKind::Cancel { .. } | JobKind::MoveDeadline { .. } | JobKind::ReturnLicences { .. }
        )
    });
    futures_util::stream::iter(others)
        .for_each_concurrent(SIDE_BY_SIDE, |job| {
            let org = orgs.get(&job.organisation);
            async move {
                if let Some(org) = org {
                    org.do_job(job, lease).await;
                }
            }
        })
        .await;
    for (id, org) in orgs {
        let of = |jobs: &[Job]| -> Vec<Job> {
            let mine = jobs.iter().filter(|j| j.organisation == *id);
            mine.cloned().collect()
        };
        let mine = of(&wishes);
        if !mine.is_empty()
            && let Err(error) = org.gather(&mine, lease).await
        {
            tracing::warn!(organisation = %id, %error, "errands could not be made");
        }
        let mine = of(&readings);
        if !mine.is_empty()
            && let Err(error) = org.read_devices(&mine, lease).await
        {
            tracing::warn!(organisation = %id, %error, "devices could not be read");
        }
    }
}
