//! A store that lets the note of a request ride along with the first batch that the request commits: note and effect are one
//! transaction, whoever made the batch. Which request a batch belongs to is known by the task that commits it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    Batch, ChannelAsk, ChannelView, CommitFigures, Expect, Noun, Store, StoreError, Write,
};
use crate::repeat::{Repeat, RepeatState};

tokio::task_local! {
    /// The note of the request that this task does.
    pub(crate) static RIDING: Riding;
    /// What a row must be like that this task changes.
    pub(crate) static EXPECTING: Expecting;
}

/// A row must have this version in the first batch that a task commits.
#[derive(Clone, Debug)]
pub(crate) struct Expecting(Arc<Expected>);

#[derive(Debug)]
struct Expected {
    row: Expect,
    kept: AtomicBool,
    refused: AtomicBool,
}

impl Expecting {
    pub(crate) fn new(row: Expect) -> Self {
        Self(Arc::new(Expected {
            row,
            kept: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }))
    }

    /// Whether a batch was not committed because of it.
    pub(crate) fn was_refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Holds a batch to it, unless an earlier one was.
    fn hold(&self, batch: &mut Batch) -> Result<(), StoreError> {
        let row = self.0.row;
        if self.0.kept.load(Ordering::Relaxed) {
            return Ok(());
        }
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
                Err(StoreError::Conflict)
            }
            Some(_) => Ok(()),
            None => {
                batch.expects.push(row);
                Ok(())
            }
        }
    }
}

/// The version that a write was read with, if it is of this row.
fn version_of(write: &Write, noun: Noun, key: i64) -> Option<i64> {
    match (write, noun) {
        (Write::Project(it), Noun::Project) if it.id.0 == key => Some(it.version),
        (Write::Wave(it), Noun::Wave) if it.id.0 == key => Some(it.version),
        // No other row is changed under a condition.
        _ => None,
    }
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

/// Hands everything on.
#[derive(Clone, Debug)]
pub(crate) struct RidingStore<S>(pub(crate) S);

impl<S> RidingStore<S> {
    pub(super) const fn inner(&self) -> &S {
        &self.0
    }
}

#[async_trait]
impl<S: Store> Store for RidingStore<S> {
    async fn commit(&self, mut batch: Batch) -> Result<(), StoreError> {
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
        if let Some(expecting) = &expecting {
            expecting.hold(&mut batch)?;
        }
        self.0.commit(batch).await?;
        if let Some(expecting) = expecting {
            expecting.0.kept.store(true, Ordering::Relaxed);
        }
        if let Some(riding) = riding {
            let mut note = riding.lock();
            note.state = RepeatState::Acted;
            note.version += 1;
        }
        Ok(())
    }

    async fn channel(&self, ask: ChannelAsk) -> Result<ChannelView, StoreError> {
        self.0.channel(ask).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }

    fn commit_figures(&self) -> Option<CommitFigures> {
        self.0.commit_figures()
    }

    fn name(&self) -> &'static str {
        self.0.name()
    }
}
