//! Jobs that go on beside the rounds of the worker: somebody's slow answer must not keep pushes, wakes and other organisations
//! waiting. Knows which jobs of this process are under way, and decides nothing about them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock::Timestamp;
use crate::ids::{JobId, OrganisationId};
use crate::job::{Job, JobKind};

/// With so many jobs under way no more are begun: something far away hangs, and each holds a connection.
const MOST: usize = 2_000;
/// With so many pushes under way no more of them are begun: they are many, and there must be room for everything else.
const MOST_PUSHES: usize = MOST / 2;

/// With so many jobs under way that tell receivers of webhooks no more of them are begun: each may wait for a receiver that does not answer.
const MOST_TELLS: usize = 128;

type JobKey = (OrganisationId, JobId);

/// The jobs under way.
#[derive(Clone, Default)]
pub(super) struct Apart {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// How long a round waits for what it began; `None`: to the end.
    patience: Mutex<Option<Duration>>,
    /// Each with the time at which it was due: one that was asked for again since is due at another.
    busy: Mutex<HashMap<JobKey, Timestamp>>,
    /// Pushes, of which another may be begun while one is under way.
    pushes: AtomicUsize,
    /// Those that tell receivers of webhooks.
    tells: AtomicUsize,
    ended: Notify,
}

impl Apart {
    pub(super) fn set_patience(&self, patience: Option<Duration>) {
        *lock(&self.inner.patience) = patience;
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        *lock(&self.inner.patience)
    }

    /// How many more may be begun now.
    pub(super) fn room(&self) -> u32 {
        let pushes = self.inner.pushes.load(Ordering::Relaxed);
        let room = MOST.saturating_sub(lock(&self.inner.busy).len() + pushes);
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    /// Whether pushes take all the room that they may have.
    pub(super) fn is_crowded(&self) -> bool {
        self.inner.pushes.load(Ordering::Relaxed) >= MOST_PUSHES
    }

    /// Whether receivers of webhooks take all the room that they may have.
    pub(super) fn is_told_enough(&self) -> bool {
        self.inner.tells.load(Ordering::Relaxed) >= MOST_TELLS
    }

    /// Whether a claimed job is under way here already, and why it could be claimed all the same.
    pub(super) fn under_way(&self, job: &Job) -> Option<Again> {
        let begun = *lock(&self.inner.busy).get(&(job.organisation, job.id))?;
        Some(match begun == job.due {
            true => Again::LeaseEnded,
            false => Again::AskedAnew,
        })
    }

    /// Begins work on jobs as a task of its own.
    pub(super) fn begin<F>(&self, jobs: &[Job], work: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let is_push = |job: &&Job| matches!(job.kind, JobKind::Push { .. });
        let pushes = jobs.iter().filter(is_push).count();
        let tells = jobs.iter().filter(|job| is_tell(job)).count();
        let others: Vec<&Job> = jobs.iter().filter(|job| !is_push(job)).collect();
        let keys: Vec<JobKey> = others.iter().map(|j| (j.organisation, j.id)).collect();
        let begun = others.iter().map(|j| ((j.organisation, j.id), j.due));
        lock(&self.inner.busy).extend(begun);
        self.inner.pushes.fetch_add(pushes, Ordering::Relaxed);
        self.inner.tells.fetch_add(tells, Ordering::Relaxed);
        let under_way = UnderWay {
            apart: self.clone(),
            keys,
            pushes,
            tells,
        };
        tokio::spawn(async move {
            // Also when it panics.
            let _under_way = under_way;
            work.await;
        })
    }

    /// Returns when nothing is under way.
    pub(super) async fn idle(&self) {
        loop {
            let ended = self.inner.ended.notified();
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            let pushes = self.inner.pushes.load(Ordering::Relaxed);
            if pushes == 0 && lock(&self.inner.busy).is_empty() {
                return;
            }
            ended.await;
        }
    }
}

/// Why a job that is under way was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Its lease has ended, its work has not: the new lease keeps it here.
    LeaseEnded,
    /// It was put once more since it was begun: what is under way may not know what was decided since.
    AskedAnew,
}

pub(super) const fn is_tell(job: &Job) -> bool {
    matches!(job.kind, JobKind::Tell { .. })
}

struct UnderWay {
    apart: Apart,
    keys: Vec<JobKey>,
    pushes: usize,
    tells: usize,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let inner = &self.apart.inner;
        inner.pushes.fetch_sub(self.pushes, Ordering::Relaxed);
        inner.tells.fetch_sub(self.tells, Ordering::Relaxed);
        let mut busy = lock(&inner.busy);
        for key in &self.keys {
            busy.remove(key);
        }
        inner.ended.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
