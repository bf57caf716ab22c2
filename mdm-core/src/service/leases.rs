//! The leases of what is under way here. They are short, so that what a dead process was at is soon another's, and are renewed
//! while the work goes on: one statement for all of them, and none when nothing is under way for long. Who cannot renew stops
//! before another may have begun. Knows nothing of what the jobs do.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{AbortHandle, abortable};

use super::Mdm;
use crate::clock::Timestamp;
use crate::ids::OrganisationId;
use crate::job::Job;
use crate::store::{Claim, Lease, StoreError};

/// How long a claimed job is kept from others, unless the host says otherwise.
const LENGTH: Duration = Duration::from_secs(20);
/// How long a job is kept over which somebody panicked: it would do so again.
const AFTER_A_PANIC: Duration = Duration::from_mins(5);
/// How often it is looked whether a quarter of a lease is over. The lease is a matter of the told clock; this only polls it.
const LOOK: Duration = Duration::from_millis(100);
/// Between two tries after one that failed, and so long an answer may take before anything is stopped for it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the database may take to renew, and the jobs that are stopped to end.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is under way, and until when it is ours.
#[derive(Clone, Default)]
pub(super) struct Leases {
    inner: Arc<Mutex<Inner>>,
    /// One renewal at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Inner {
    length: Duration,
    held: BTreeMap<Claim, Held>,
    /// Whether somebody renews.
    beating: bool,
    /// This process ends: nothing is begun any more.
    closed: bool,
    /// How often everything was stopped.
    stopped: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            length: LENGTH,
            held: BTreeMap::new(),
            beating: false,
            closed: false,
            stopped: 0,
        }
    }
}

struct Held {
    /// When it was due: one that was put anew since is due at another time.
    due: Timestamp,
    until: Timestamp,
    work: Work,
}

enum Work {
    /// Stops it, and what was begun together with it.
    UnderWay(AbortHandle),
    /// It panicked: it is to be kept for longer, once.
    Panicked,
}

impl Leases {
    pub(super) fn length(&self) -> Duration {
        self.inner().length
    }

    /// How often everything was stopped. Whoever claims takes it first, for [`Leases::keep`].
    pub(super) fn stopped(&self) -> u64 {
        self.inner().stopped
    }

    /// The work on jobs that were claimed under this lease, which is renewed from now on until the work has ended. It ends early
    /// when that is not possible, and does not begin when everything was stopped since it was `stopped` times: the claim may be
    /// lost with the history of the database of which it was.
    pub(super) fn keep<F>(
        &self,
        stopped: u64,
        jobs: &[Job],
        lease: Lease,
        work: F,
    ) -> impl Future<Output = ()> + use<F>
    where
        F: Future<Output = ()>,
    {
        let (work, stop) = abortable(work);
        let claims: Vec<Claim> = jobs.iter().map(|job| claim(job, lease)).collect();
        let mut inner = self.inner();
        let is_stopped = inner.closed || inner.stopped != stopped;
        let begins: &[Job] = if is_stopped { &[] } else { jobs };
        if is_stopped {
            stop.abort();
        }
        for job in begins {
            let held = Held {
                due: job.due,
                until: lease.0,
                work: Work::UnderWay(stop.clone()),
            };
            inner.held.insert(claim(job, lease), held);
        }
        drop(inner);
        let kept = Kept {
            leases: self.clone(),
            claims,
        };
        async move {
            let _kept = kept;
            if work.await.is_err() {
                tracing::warn!("work was given up: it may be another's by now");
            }
        }
    }

    /// What is to be renewed now, and until when: nothing until a quarter of a lease is over, then all of it.
    fn due(&self, now: Timestamp) -> Vec<(Claim, Timestamp)> {
        let inner = self.inner();
        let (soon, until) = (now + inner.length * 3 / 4, now + inner.length);
        // One that ends later than it can: the clock was put back.
        let is_due = |held: &Held| match held.work {
            Work::UnderWay(_) => held.until <= soon || held.until > until,
            Work::Panicked => true,
        };
        if !inner.held.values().any(is_due) {
            return Vec::new();
        }
        let each = inner.held.iter().map(|(claim, held)| match held.work {
            Work::UnderWay(_) => (*claim, until),
            Work::Panicked => (*claim, now + AFTER_A_PANIC),
        });
        each.collect()
    }

    /// Takes note of what is kept. Answers what is not though its lease had ended: whether somebody else is at it must be seen,
    /// and when it was due.
    fn renewed(
        &self,
        asked: &[(Claim, Timestamp)],
        kept: &[Claim],
        now: Timestamp,
    ) -> Vec<(Claim, Timestamp)> {
        let mut inner = self.inner();
        let mut doubtful = Vec::new();
        for (claim, until) in asked {
            let Some(held) = inner.held.get_mut(claim) else {
                continue;
            };
            let is_kept = kept.contains(claim);
            match held.work {
                Work::UnderWay(_) if is_kept => held.until = *until,
                Work::UnderWay(_) if held.until <= now => doubtful.push((*claim, held.due)),
                // It has ended, or was put anew, and then its end will be no news. Nothing of it is left to renew.
                _ => {
                    inner.held.remove(claim);
                }
            }
        }
        doubtful
    }

    /// Stops the work on it.
    fn stop(&self, claim: &Claim) {
        if let Some(Held {
            work: Work::UnderWay(stop),
            ..
        }) = self.inner().held.remove(claim)
        {
            stop.abort();
        }
    }

    /// Stops what may soon be another's. Answers how many jobs that are. It is looked at every so often: what would be late by then
    /// is stopped now.
    fn stop_in_time(&self, now: Timestamp) -> usize {
        let mut inner = self.inner();
        let last = now + inner.length / 4 + LOOK;
        let (ended, held): (BTreeMap<_, _>, _) = std::mem::take(&mut inner.held)
            .into_iter()
            .partition(|(_, held)| held.until <= last);
        inner.held = held;
        stop_all(ended.values());
        ended.len()
    }

    /// Stops everything. Answers under which claims it was under way.
    pub(super) fn stop_everything(&self) -> Vec<Claim> {
        let held = {
            let mut inner = self.inner();
            inner.stopped += 1;
            std::mem::take(&mut inner.held)
        };
        stop_all(held.values());
        held.into_iter()
            .filter(|(_, held)| matches!(held.work, Work::UnderWay(_)))
            .map(|(claim, _)| claim)
            .collect()
    }

    /// Stops what is under way for an organisation.
    pub(super) fn stop_of(&self, organisation: OrganisationId) {
        let mut inner = self.inner();
        let (its, held): (BTreeMap<_, _>, _) = std::mem::take(&mut inner.held)
            .into_iter()
            .partition(|(claim, _)| claim.organisation == organisation);
        inner.held = held;
        stop_all(its.values());
    }

    /// Stops everything, and begins nothing any more.
    fn close(&self) -> Vec<Claim> {
        self.inner().closed = true;
        self.stop_everything()
    }

    /// Whether somebody has to begin to renew; whoever is told so does.
    fn begin(&self) -> bool {
        let mut inner = self.inner();
        let begins = !inner.beating && !inner.held.is_empty();
        inner.beating |= begins;
        begins
    }

    /// Whether there is nothing to renew any more; whoever is told so has ended.
    fn end(&self) -> bool {
        let mut inner = self.inner();
        let ends = inner.held.is_empty();
        inner.beating = !ends;
        ends
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop_all<'a>(held: impl Iterator<Item = &'a Held>) {
    for held in held {
        if let Work::UnderWay(stop) = &held.work {
            stop.abort();
        }
    }
}

const fn claim(job: &Job, lease: Lease) -> Claim {
    Claim {
        organisation: job.organisation,
        id: job.id,
        lease,
    }
}

/// The end of work: nothing of it is renewed any more.
struct Kept {
    leases: Leases,
    claims: Vec<Claim>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut inner = self.leases.inner();
        for claim in &self.claims {
            match inner.held.get_mut(claim) {
                // Those that had ended before are kept by nobody, whatever is asked for them.
                Some(held) if std::thread::panicking() => held.work = Work::Panicked,
                _ => {
                    inner.held.remove(claim);
                }
            }
        }
    }
}

impl Mdm {
    /// How long [`Mdm::work`] claims a job for, at first 20 seconds. After a quarter of it the lease is renewed for as long as the
    /// work goes on; where that fails until only a quarter is left, the work is stopped. It is also how long the work of a
    /// process waits that has died. Clocks of processes on one database must differ by less than a quarter.
    pub fn set_lease(&self, length: Duration) {
        self.inner.leases.inner().length = length;
    }

    /// Stops what is under way and gives its leases back, so that another process begins with it at once; what a round claims
    /// after that is not begun. For the end of a process, after [`Mdm::idle`] has been given its time.
    ///
    /// # Errors
    /// The store's; then the leases end by themselves.
    pub async fn let_go(&self) -> Result<(), StoreError> {
        let claims = self.inner.leases.close();
        if claims.is_empty() {
            return Ok(());
        }
        // Nobody begins beside what does not stop: its leases end by themselves.
        if tokio::time::timeout(PATIENCE, self.idle()).await.is_err() {
            return Ok(());
        }
        let now = self.now();
        let back: Vec<(Claim, Timestamp)> = claims.into_iter().map(|claim| (claim, now)).collect();
        self.inner.store.renew_leases(&back).await?;
        Ok(())
    }

    /// Renews for as long as something is under way, beside whatever else goes on.
    pub(super) fn keep_renewing(&self) {
        if !self.inner.leases.begin() {
            return;
        }
        let beating = Beating {
            leases: self.inner.leases.clone(),
            ended: false,
        };
        // An installation that nobody holds any more has nothing under way.
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            // The whole of it moves here, and is dropped with the task.
            let mut beating = beating;
            // Neither waits for the other: the database may take its time to say what it is.
            tokio::select! {
                () = renew_while_held(&inner) => {}
                () = follow(&inner) => {}
            }
            beating.ended = true;
        });
    }

    /// Renews. What may soon be another's is stopped meanwhile, however long the database takes to answer: it is given `grace`
    /// before that is looked at.
    async fn renew_in_time(&self, grace: Duration) -> bool {
        let mut renewal = std::pin::pin!(self.renew_leases(self.now()));
        let mut wait = grace;
        loop {
            tokio::select! {
                renewed = &mut renewal => return renewed,
                () = tokio::time::sleep(wait) => self.stop_in_time(),
            }
            wait = LOOK;
        }
    }

    fn stop_in_time(&self) {
        let stopped = self.inner.leases.stop_in_time(self.now());
        if stopped > 0 {
            tracing::error!(
                jobs = stopped,
                "what was under way is stopped: its leases are about to end"
            );
        }
    }

    /// Renews what is to be renewed at this moment; answers whether it could. Whoever claims at the same moment finds nothing of it.
    pub(super) async fn renew_leases(&self, now: Timestamp) -> bool {
        let leases = &self.inner.leases;
        let _turn = leases.turn.lock().await;
        let asked = leases.due(now);
        if asked.is_empty() {
            return true;
        }
        let renewed = self.inner.store.renew_leases(&asked);
        let error = match tokio::time::timeout(PATIENCE, renewed).await {
            Ok(Ok(kept)) => {
                let doubtful = leases.renewed(&asked, &kept, now);
                self.stop_what_is_taken(doubtful).await;
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the database does not answer".to_owned(),
        };
        tracing::warn!(jobs = asked.len(), error, "leases could not be renewed");
        self.stop_in_time();
        false
    }

    /// These leases had ended before they were renewed, as after a pause of this process. Put anew, a job may be under way twice, for
    /// what it is for has come since; claimed by another as it was, it is that one's. All of them share the time that the database
    /// has to answer: nothing else is renewed meanwhile.
    async fn stop_what_is_taken(&self, doubtful: Vec<(Claim, Timestamp)>) {
        let until = tokio::time::Instant::now() + PATIENCE;
        for (claim, due) in doubtful {
            let times = self.inner.store.job_times(claim.organisation, claim.id);
            let taken = match tokio::time::timeout_at(until, times).await {
                Ok(Ok(times)) => {
                    times.is_some_and(|times| times.due == due && times.lease.is_some())
                }
                _ => true,
            };
            if taken {
                tracing::error!(job = %claim.id, "a lease had ended before it was renewed, and the job is another's");
                self.inner.leases.stop(&claim);
            } else {
                self.inner.leases.inner().held.remove(&claim);
            }
        }
    }
}

/// Somebody renews. However that ends, as by a panic: another may begin.
struct Beating {
    leases: Leases,
    ended: bool,
}

impl Drop for Beating {
    fn drop(&mut self) {
        if !self.ended {
            self.leases.inner().beating = false;
        }
    }
}

/// Renews until nothing is held. Where that fails, it is looked all the time whether something must be stopped.
async fn renew_while_held(inner: &Weak<super::Inner>) {
    let mut failed: Option<tokio::time::Instant> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = inner.upgrade() else { return };
        let mdm = Mdm { inner };
        if mdm.inner.leases.end() {
            return;
        }
        if failed.is_some() {
            mdm.stop_in_time();
        }
        if failed.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            continue;
        }
        let grace = failed.map_or(LOOK_AGAIN, |_| LOOK);
        let renewed = mdm.renew_in_time(grace).await;
        failed = (!renewed).then(tokio::time::Instant::now);
    }
}

/// Nothing goes on as before when a replica of the database has taken over.
async fn follow(inner: &Weak<super::Inner>) {
    let mut wait = LOOK;
    loop {
        tokio::time::sleep(wait).await;
        let Some(inner) = inner.upgrade() else { return };
        wait = match (Mdm { inner }).follow_history().await {
            Ok(_) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "whether the database is what it was could not be seen");
                LOOK_AGAIN
            }
        };
    }
}

#[cfg(test)]
mod tests;
