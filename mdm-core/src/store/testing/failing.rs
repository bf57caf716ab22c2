//! A store that breaks down at a chosen commit and stays down, as a machine does whose power is cut.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::audit_seal::HELD;
use crate::clock::Stopwatch;
use crate::store::{Batch, ChannelAsk, ChannelView, Store, StoreError, UnreadableRow, Write};

/// On which side of the disk the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "before or after; there is no third"
)]
pub enum Moment {
    /// The batch is not applied.
    Before,
    /// The batch is applied, and the caller never hears of it.
    After,
}

/// Hands everything on, until its `n`-th commit fails. From then on every commit fails and is not applied; reads still
/// answer, for nobody can act on them.
///
/// Clones share the count. To go on after the crash, make a new one over the same inner store.
#[derive(Clone, Debug)]
pub struct FailingStore<S> {
    inner: S,
    nth: u64,
    moment: Moment,
    commits: Arc<AtomicU64>,
    cut: Arc<AtomicBool>,
    overtaken: Arc<AtomicU64>,
    held_back: Arc<AtomicU64>,
    meanwhile: Arc<Mutex<Option<Batch>>>,
    between: Between,
}

/// What happens before one of the reads that follow: which one, counted from 1, and what.
#[derive(Clone, Default)]
struct Between(Arc<Mutex<(u64, Option<Act>)>>);

type Act = Box<dyn FnOnce() + Send>;

impl Between {
    fn set(&self, nth: u64, act: Option<Act>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (nth, act);
    }

    /// What is to happen before this read.
    fn due(&self) -> Option<Act> {
        let mut planned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        planned.0 = planned.0.saturating_sub(1);
        match planned.0 {
            0 => planned.1.take(),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Between")
    }
}

impl<S: Store> FailingStore<S> {
    /// Fails at the `nth` commit, counted from 1; 0 never fails and only counts.
    #[must_use]
    pub fn new(inner: S, nth: u64, moment: Moment) -> Self {
        Self {
            inner,
            nth,
            moment,
            commits: Arc::default(),
            cut: Arc::default(),
            overtaken: Arc::default(),
            held_back: Arc::default(),
            meanwhile: Arc::default(),
            between: Between::default(),
        }
    }

    /// How many commits were asked for so far.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// Whether it has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.nth != 0 && self.commits() >= self.nth || self.cut.load(Ordering::SeqCst)
    }

    /// Fails from now on, whatever was counted.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Ends what [`cut`](Self::cut) began: the store was away, and is there again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }

    /// Somebody else is faster at so many of the commits that follow: they conflict and are not applied.
    pub fn overtake(&self, commits: u64) {
        self.overtaken.store(commits, Ordering::SeqCst);
    }

    /// So many of the commits that follow with a line of the record reach the store as those of a process that stood still for longer
    /// than they may wait.
    pub fn hold_back(&self, commits: u64) {
        self.held_back.store(commits, Ordering::SeqCst);
    }

    /// Somebody else commits this right before the next commit, after whatever that one was decided on was read.
    pub fn meanwhile(&self, batch: Batch) {
        *self.lock() = Some(batch);
    }

    /// Somebody else does this right before the `nth` of the reads that follow, counted from 1: what was read before is not what there
    /// is any more. Drops what was planned so and did not happen.
    pub fn between(&self, nth: u64, act: impl FnOnce() + Send + 'static) {
        self.between.set(nth, Some(Box::new(act)));
    }

    /// The store beneath, for a read.
    pub(crate) fn read(&self) -> &S {
        // Not while it is held: whatever is done may read here, too.
        if let Some(act) = self.between.due() {
            act();
        }
        &self.inner
    }

    fn other(&self) -> Option<Batch> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Batch>> {
        self.meanwhile
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The store beneath.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

#[async_trait]
impl<S: Store> Store for FailingStore<S> {
    async fn commit(&self, mut batch: Batch) -> Result<(), StoreError> {
        let count = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if self.cut.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the power was cut".to_owned()));
        }
        if let Some(other) = self.other() {
            self.inner.commit(other).await?;
        }
        let one_less = |left: u64| left.checked_sub(1);
        let overtaken = &self.overtaken;
        if overtaken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
        {
            return Err(StoreError::Conflict);
        }
        let has_lines = batch.writes.iter().any(|w| matches!(w, Write::Audit(_)));
        let held_back = &self.held_back;
        if has_lines
            && held_back
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_ok()
        {
            batch.drawn_at(Stopwatch::running_for(HELD + Duration::from_secs(1)));
        }
        if self.nth == 0 || count < self.nth {
            return self.inner.commit(batch).await;
        }
        if count == self.nth && self.moment == Moment::After {
            // Whatever it answers, nobody hears it.
            let _ = self.inner.commit(batch).await;
        }
        Err(StoreError::Unavailable(format!(
            "the power was cut at commit {}",
            self.nth
        )))
    }

    async fn channel(&self, ask: ChannelAsk) -> Result<ChannelView, StoreError> {
        self.inner.channel(ask).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }

    async fn unreadable(&self) -> Result<Vec<UnreadableRow>, StoreError> {
        self.inner.unreadable().await
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}
