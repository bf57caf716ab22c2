//! Batches that arrive while a transaction is on its way to the disk share the next one; each caller gets its own
//! durable answer. Splits a group that cannot be written whole (who is admitted, [`plan`] decides); contains no SQL.
//!
//! A transaction has two halves. First everything that the group expects is read under lock, in key order, and a batch
//! that expects something else is left out whole. Then the rest is written under guards, which now find only what no
//! lock can hold: a row, or a unique value, that somebody inserted first. Then the group is rolled back and split in
//! half, until the batch that cannot be written stands alone.
//!
//! A batch whose lines of the record have waited for too long is refused as the transaction begins, and right before it ends: the
//! record may be sealed past their time by then.
//!
//! Most groups need none of that: no row is touched twice, and every guard holds. A database that can write such a group
//! in one step is asked to do so first; when a guard fails there, nothing is written and the two halves find out who it was.

mod plan;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::Instrument as _;

pub(crate) use self::plan::{Held, Plan, Simple, Wanted};
use self::plan::{Prepared, admit, simple, wanted};
use super::batch::Batch;
use super::row::Key;
use super::{CommitFigures, StoreError};

/// How many batches may wait.
const WAITING: usize = 8192;
/// How many batches share a transaction at most.
const GROUP: usize = 512;
/// How many rows share a transaction at most, unless one batch alone has more.
const GROUP_ROWS: usize = 16_384;
/// How often a transaction that lost against another one is tried again.
const RETRIES: u32 = 5;

/// Why a transaction was not committed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// A guard or a unique index found what no lock can hold.
    Taken,
    /// It has become too late for one of them since the transaction began.
    Late,
    /// Another transaction was preferred: the same again may succeed.
    Again(String),
    /// The database refuses a statement: something in this group.
    Refused(String),
    /// The database cannot do anything now.
    Unavailable(String),
}

/// A database, as far as group commit needs one.
pub(crate) trait Backend: Send + 'static {
    /// One transaction: reads what is wanted under lock, has it decided, writes the plan, commits. On failure nothing is
    /// written (or, with `Unavailable`, it is unknown). A plan without turns and absences needs no commit.
    fn transact<'a, D>(
        &mut self,
        wanted: &Wanted,
        decide: D,
    ) -> impl Future<Output = Result<(), Failure>> + Send
    where
        D: FnOnce(HashMap<Key, Held>) -> Plan<'a> + Send;

    /// Writes all of a simple group durably, or nothing: `Taken` when a guard fails.
    fn at_once(&mut self, simple: &Simple<'_>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Nobody waits: what is kept from one group to the next is let go.
    fn rest(&mut self) {}
}

/// Applies a group and answers each batch.
pub(crate) async fn apply_group<B: Backend>(
    backend: &mut B,
    group: &[Arc<Prepared>],
) -> Vec<Result<(), StoreError>> {
    let mut answers: Vec<Result<(), StoreError>> = vec![Ok(()); group.len()];
    if let Some(simple) = simple(group) {
        match backend.at_once(&simple).await {
            Ok(()) => return answers,
            // It may be written: to try again could answer a conflict with oneself.
            Err(Failure::Unavailable(why)) => {
                answers.fill(Err(StoreError::Unavailable(why)));
                return answers;
            }
            Err(_) => {}
        }
    }
    let mut parts: Vec<Range<usize>> = Vec::new();
    parts.push(0..group.len());
    while let Some(part) = parts.pop() {
        match settle(backend, &group[part.clone()]).await {
            Ok(verdicts) => answers[part].clone_from_slice(&verdicts),
            Err(Failure::Unavailable(why)) => {
                answers[part].fill(Err(StoreError::Unavailable(why)));
            }
            Err(_) if part.len() > 1 => {
                let middle = part.start + part.len() / 2;
                // The first half is next.
                parts.push(middle..part.end);
                parts.push(part.start..middle);
            }
            Err(Failure::Taken) => answers[part].fill(Err(StoreError::Conflict)),
            Err(Failure::Late) => answers[part].fill(Err(StoreError::Late)),
            Err(Failure::Refused(why)) => answers[part].fill(Err(StoreError::Database(why))),
            Err(Failure::Again(why)) => answers[part].fill(Err(StoreError::Unavailable(why))),
        }
    }
    answers
}

/// One part of a group in one transaction, tried again where that can help.
async fn settle<B: Backend>(
    backend: &mut B,
    part: &[Arc<Prepared>],
) -> Result<Vec<Result<(), StoreError>>, Failure> {
    let wanted = wanted(part);
    let mut tries = 0;
    loop {
        let mut verdicts = Vec::new();
        let outcome = backend
            .transact(&wanted, |held| {
                let (answers, plan) = admit(part, held);
                verdicts = answers;
                plan
            })
            .await;
        tries += 1;
        match outcome {
            Ok(()) => return Ok(verdicts),
            Err(Failure::Again(_)) if tries <= RETRIES => {}
            // Alone and overtaken by an insert: the first half sees that row now, and it may be the very same runbook.
            Err(Failure::Taken) if part.len() == 1 && tries == 1 => {}
            Err(failure) => return Err(failure),
        }
    }
}

struct Waiting {
    batch: Arc<Prepared>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

/// The door to the writer task. Clones share it; when the last one is gone the writer finishes what it accepted and ends.
#[derive(Clone, Debug)]
pub(crate) struct GroupCommit {
    queue: mpsc::Sender<Waiting>,
    stop: Arc<Notify>,
    /// Its other end is dropped when the writer has ended.
    ended: watch::Receiver<()>,
    tally: Arc<Tally>,
}

/// What became of batches, since the store was opened.
#[derive(Debug, Default)]
struct Tally {
    done: AtomicU64,
    conflicts: AtomicU64,
    failed: AtomicU64,
    microseconds: AtomicU64,
}

impl Tally {
    fn add(&self, outcome: &Result<(), StoreError>, took: Duration) {
        let one = match outcome {
            Ok(()) => &self.done,
            Err(StoreError::Conflict) => &self.conflicts,
            Err(_) => &self.failed,
        };
        one.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(took, Ordering::Relaxed);
    }
}

impl GroupCommit {
    /// Starts the writer task. Needs a Tokio runtime.
    pub(crate) fn start<B: Backend>(backend: B) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let stop = Arc::new(Notify::new());
        let (end, ended) = watch::channel(());
        let writer = write(backend, waiting, Arc::clone(&stop));
        tokio::spawn(async move {
            writer.await;
            drop(end);
        });
        Self {
            queue,
            stop,
            ended,
            tally: Arc::default(),
        }
    }

    /// Waits until the batch is durable, or answers why it is not. Whoever stops waiting does not stop the write.
    pub(crate) async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let writes = batch.writes.len();
        let batch = Arc::new(Prepared::of(batch)?);
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Unavailable("the store is shutting down".to_owned());
        let begun = Instant::now();
        let wait = async {
            self.queue
                .send(Waiting { batch, answer })
                .await
                .map_err(|_| stopped())?;
            answered.await.map_err(|_| stopped())?
        };
        let done = wait
            .instrument(tracing::debug_span!("commit", writes))
            .await;
        self.tally.add(&done, begun.elapsed());
        done
    }

    /// What became of batches so far.
    pub(crate) fn figures(&self) -> CommitFigures {
        let read = |one: &AtomicU64| one.load(Ordering::Relaxed);
        CommitFigures {
            done: read(&self.tally.done),
            conflicts: read(&self.tally.conflicts),
            failed: read(&self.tally.failed),
            waited: Duration::from_micros(read(&self.tally.microseconds)),
        }
    }

    /// Accepts nothing more, and returns when everything that was accepted is answered.
    pub(crate) async fn close(&self) {
        self.stop.notify_one();
        // An error is the news that the other end is gone.
        while self.ended.clone().changed().await.is_ok() {}
    }
}

async fn write<B: Backend>(
    mut backend: B,
    mut waiting: mpsc::Receiver<Waiting>,
    stop: Arc<Notify>,
) {
    let mut buffer: VecDeque<Waiting> = VecDeque::new();
    let mut arrived = Vec::with_capacity(GROUP);
    let mut open = true;
    loop {
        if buffer.is_empty() {
            tokio::select! {
                biased;
                () = stop.notified(), if open => {
                    open = false;
                    waiting.close();
                    continue;
                }
                count = waiting.recv_many(&mut arrived, GROUP) => if count == 0 { break },
            }
            buffer.extend(arrived.drain(..));
        }
        let mut rows = 0;
        let fits = buffer
            .iter()
            .take_while(|w| {
                rows += w.batch.rows();
                rows <= GROUP_ROWS
            })
            .count()
            .max(1);
        let group: Vec<Waiting> = buffer.drain(..fits).collect();
        let batches: Vec<_> = group.iter().map(|w| Arc::clone(&w.batch)).collect();
        let answers = apply_group(&mut backend, &batches).await;
        for (waiting, answer) in group.into_iter().zip(answers) {
            // Nobody there any more: the write stands all the same.
            let _ = waiting.answer.send(answer);
        }
        if buffer.is_empty() && waiting.is_empty() {
            backend.rest();
        }
    }
}

#[cfg(test)]
mod tests;
