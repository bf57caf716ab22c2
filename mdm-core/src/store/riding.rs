//! A store that lets the note of a request ride along with the first batch that the request commits: note and effect are one
//! transaction, whoever made the batch. Which request a batch belongs to is known by the task that commits it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    Batch, ChannelAsk, ChannelView, CommitFigures, Expect, Noun, Store, StoreError, UnreadableRow,
    Write,
};
use crate::clock::{Clock, Timestamp};
use crate::ids::IdSource;
use crate::repeat::{Repeat, RepeatState};

tokio::task_local! {
    /// The note of the request that this task does.
    pub(crate) static RIDING: Riding;
    /// What a row must be like that this task changes.
    pub(crate) static EXPECTING: Expecting;
}

/// A row must have this version in the first batch that a task commits, and in each later one that changes it be as the batch
/// before left it: nobody else comes between the batches of one request.
#[derive(Clone, Debug)]
pub(crate) struct Expecting(Arc<Expected>);

#[derive(Debug)]
struct Expected {
    row: Mutex<Expect>,
    kept: AtomicBool,
    refused: AtomicBool,
}

impl Expecting {
    pub(crate) fn new(row: Expect) -> Self {
        Self(Arc::new(Expected {
            row: Mutex::new(row),
            kept: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }))
    }

    /// Whether a batch was not committed because of it.
    pub(crate) fn was_refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Holds a batch to it. Answers whether it changes the row.
    fn hold(&self, batch: &mut Batch) -> Result<bool, StoreError> {
        let row = *self.row();
        let found = batch
            .expects
            .iter()
            .find(|e| e.noun == row.noun && e.key == row.key);
        let written = batch
            .writes
            .iter()
            .find_map(|w| version_of(w, row.noun, row.key));
        match written.or(found.map(|e| e.version)) {
            Some(version) if version != row.version => {
                self.0.refused.store(true, Ordering::Relaxed);
                return Err(StoreError::Conflict);
            }
            Some(_) => {}
            // A later one that has to do with other rows only.
            None if self.0.kept.load(Ordering::Relaxed) => {}
            None => batch.expects.push(row),
        }
        Ok(written.is_some())
    }

    /// The batch was committed.
    fn keep(&self, changed: bool) {
        self.0.kept.store(true, Ordering::Relaxed);
        self.row().version += i64::from(changed);
    }

    fn row(&self) -> MutexGuard<'_, Expect> {
        self.0.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version that a write was read with, if it is of this row.
fn version_of(write: &Write, noun: Noun, key: i64) -> Option<i64> {
    let (id, version) = match (write, noun) {
        (Write::Organisation(it), Noun::Organisation) => (it.id.0, it.version),
        (Write::Project(it), Noun::Project) => (it.id.0, it.version),
        (Write::Wave(it), Noun::Wave) => (it.id.0, it.version),
        (Write::KeptRunbook(it), Noun::KeptRunbook) => (it.id.0, it.version),
        (Write::Template(it), Noun::Template) => (it.id.0, it.version),
        (Write::LibraryItem(it), Noun::LibraryItem) => (it.id.0, it.version),
        (Write::Declaration(it), Noun::Declaration) => (it.id.0, it.version),
        (Write::DeclarationSet(it), Noun::DeclarationSet) => (it.id.0, it.version),
        (Write::Hook(it), Noun::Hook) => (it.id.0, it.version),
        // No other row is changed under a condition.
        _ => return None,
    };
    (id == key).then_some(version)
}

/// The note of a request that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Riding(Arc<Mutex<Repeat>>);

impl Riding {
    pub(crate) fn new(note: Repeat) -> Self {
        Self(Arc::new(Mutex::new(note)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Repeat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands everything on. Batches with lines of the record get a date on their way.
pub(crate) struct RidingStore<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    ids: Arc<IdSource>,
    /// The latest moment of that clock at a commit.
    latest: AtomicI64,
}

impl<S> RidingStore<S> {
    pub(crate) fn new(inner: S, clock: Arc<dyn Clock>, ids: Arc<IdSource>) -> Self {
        let latest = AtomicI64::new(i64::MIN);
        Self {
            inner,
            clock,
            ids,
            latest,
        }
    }

    pub(super) const fn inner(&self) -> &S {
        &self.inner
    }

    /// A job that is put off for longer than its kind may wait is a mistake of ours: it would be taken for one of a clock that was ahead,
    /// and be done early. By the latest moment, for what a clock puts off before it is set back is no mistake.
    fn check_waits(&self, batch: &Batch) {
        let now = self.clock.now().as_millis();
        let latest = self.latest.fetch_max(now, Ordering::Relaxed).max(now);
        let latest = Timestamp::from_millis(latest);
        for write in &batch.writes {
            if let Write::Job(job) | Write::JobLater { job, .. } = write {
                let may = latest + job.kind.longest_wait();
                assert!(
                    job.due <= may,
                    "a job waits for longer than its kind may: {job:?}, {latest}"
                );
            }
        }
    }
}

#[async_trait]
impl<S: Store> Store for RidingStore<S> {
    async fn commit(&self, mut batch: Batch) -> Result<(), StoreError> {
        if cfg!(debug_assertions) {
            self.check_waits(&batch);
        }
        let riding = RIDING.try_with(Clone::clone).ok();
        let riding = riding.filter(|riding| {
            let begun = matches!(riding.lock().state, RepeatState::Begun { .. });
            // The note's own writes carry it already.
            begun && !batch.writes.iter().any(|w| matches!(w, Write::Repeat(_)))
        });
        if let Some(riding) = &riding {
            let mut note = riding.lock().clone();
            note.state = RepeatState::Acted;
            batch.put(note);
        }
        let expecting = EXPECTING.try_with(Clone::clone).ok();
        let expecting = match expecting {
            Some(expecting) => {
                let changed = expecting.hold(&mut batch)?;
                Some((expecting, changed))
            }
            None => None,
        };
        batch.draw(&self.ids, &*self.clock);
        self.inner.commit(batch).await?;
        if let Some((expecting, changed)) = expecting {
            expecting.keep(changed);
        }
        if let Some(riding) = riding {
            let mut note = riding.lock();
            note.state = RepeatState::Acted;
            note.version += 1;
        }
        Ok(())
    }

    async fn channel(&self, ask: ChannelAsk) -> Result<ChannelView, StoreError> {
        self.inner.channel(ask).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }

    fn commit_figures(&self) -> Option<CommitFigures> {
        self.inner.commit_figures()
    }

    async fn unreadable(&self) -> Result<Vec<UnreadableRow>, StoreError> {
        self.inner.unreadable().await
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}
