//! Batches that arrive while a transaction is on its way to the disk share the next one; each caller gets its own
//! durable answer. Decides who is admitted and splits a group that cannot be written whole; contains no SQL.
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

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::Instrument as _;

use super::batch::{Batch, Lease, Write, is_late};
use super::row::{Key, Row, Stored, Table};
use super::{CommitFigures, Noun, StoreError};
use crate::clock::Stopwatch;
use crate::ids::OrganisationId;
use crate::job::Job;

/// How many batches may wait.
const WAITING: usize = 8192;
/// How many batches share a transaction at most.
const GROUP: usize = 512;
/// How many rows share a transaction at most, unless one batch alone has more.
const GROUP_ROWS: usize = 16_384;
/// How often a transaction that lost against another one is tried again.
const RETRIES: u32 = 5;

/// A batch with its documents written: what the writer needs to know of it, made in the caller's own task.
#[derive(Debug)]
pub(crate) struct Prepared {
    expects: Vec<(Key, i64)>,
    ops: Vec<Op>,
    /// Since when the ids of its lines of the record are drawn.
    drawn: Option<Stopwatch>,
}

/// One write.
#[derive(Debug)]
enum Op {
    /// Guarded by the version.
    Put(Row),
    /// Written once; again only with the same document.
    Same(Row),
    /// Appended.
    Append(Row),
    /// Whatever is there is replaced.
    Replace(Row),
    /// A claimed job ends, or goes on later.
    Settle {
        key: Key,
        lease: i64,
        later: Option<Row>,
    },
}

impl Op {
    const fn key(&self) -> Key {
        match self {
            Self::Put(row) | Self::Same(row) | Self::Append(row) | Self::Replace(row) => row.key,
            Self::Settle { key, .. } => *key,
        }
    }
}

impl Prepared {
    /// Writes the documents of a batch.
    pub(crate) fn of(batch: &Batch) -> Result<Self, StoreError> {
        let expects = batch
            .expects
            .iter()
            .map(|e| {
                let organisation = match e.noun {
                    Noun::Organisation => OrganisationId(e.key),
                    _ => e.organisation,
                };
                let key = Key {
                    table: e.noun.into(),
                    organisation: organisation.0,
                    id: e.key,
                };
                (key, e.version)
            })
            .collect();
        let ops = batch.writes.iter().map(op).collect::<Result<Vec<_>, _>>()?;
        let mut keys = HashSet::with_capacity(ops.len());
        if let Some(twice) = ops.iter().find(|op| !keys.insert(op.key())) {
            let Key { table, id, .. } = twice.key();
            return Err(StoreError::Database(format!(
                "a batch writes row {id} of {} twice",
                table.name()
            )));
        }
        Ok(Self {
            expects,
            ops,
            drawn: batch.drawn(),
        })
    }

    fn rows(&self) -> usize {
        self.ops.len() + self.expects.len()
    }
}

fn op(write: &Write) -> Result<Op, StoreError> {
    Ok(match write {
        Write::Organisation(it) => Op::Put(Row::of(it.as_ref())?),
        Write::Device(it) => Op::Put(Row::of(it.as_ref())?),
        Write::OriginalFacts(it) => Op::Put(Row::of(it)?),
        Write::HandOff(it) => Op::Put(Row::of(it)?),
        Write::HandOffPart(it) => Op::Put(Row::of(it)?),
        Write::AuditSeal(it) => Op::Put(Row::of(it)?),
        Write::Project(it) => Op::Put(Row::of(it)?),
        Write::WhatIfRun(it) => Op::Put(Row::of(it)?),
        Write::AcceptedPart(it) => Op::Put(Row::of(it)?),
        Write::KeptRunbook(it) => Op::Put(Row::of(it)?),
        Write::Template(it) => Op::Put(Row::of(it)?),
        Write::Enrollment(it) => Op::Put(Row::of(it)?),
        Write::Session(it) => Op::Put(Row::of(it)?),
        Write::Certificate(it) => Op::Put(Row::of(it)?),
        Write::Command(it) => Op::Put(Row::of(it)?),
        Write::SetUp(it) => Op::Put(Row::of(it)?),
        Write::Move(it) => Op::Put(Row::of(it)?),
        Write::Wave(it) => Op::Put(Row::of(it.as_ref())?),
        Write::Server(it) => Op::Put(Row::of(it)?),
        Write::Secret(it) => Op::Put(Row::of(it)?),
        Write::Token(it) => Op::Put(Row::of(it)?),
        Write::Errand(it) => Op::Put(Row::of(it)?),
        Write::Budget(it) => Op::Put(Row::of(it)?),
        Write::Location(it) => Op::Put(Row::of(it)?),
        Write::LibraryItem(it) => Op::Put(Row::of(it)?),
        Write::ServerCertificate(it) => Op::Put(Row::of(it)?),
        Write::AcmeAccount(it) => Op::Put(Row::of(it)?),
        Write::AcmeOrder(it) => Op::Put(Row::of(it)?),
        Write::AcmeNonce(it) => Op::Put(Row::of(it)?),
        Write::SignInAttempt(it) => Op::Put(Row::of(it)?),
        Write::PersonSession(it) => Op::Put(Row::of(it)?),
        Write::Approval(it) => Op::Put(Row::of(it)?),
        Write::Alone(it) => Op::Put(Row::of(it)?),
        Write::Repeat(it) => Op::Put(Row::of(it)?),
        Write::Hook(it) => Op::Put(Row::of(it)?),
        Write::HookMessage(it) => Op::Put(Row::of(it)?),
        Write::Inventory(it) => Op::Put(Row::of(it)?),
        Write::Declaration(it) => Op::Put(Row::of(it)?),
        Write::DeclarationContent(it) => Op::Put(Row::of(it)?),
        Write::DeclarationSet(it) => Op::Put(Row::of(it)?),
        Write::DeclarationAssignment(it) => Op::Put(Row::of(it)?),
        Write::DeclarationManifest(it) => Op::Put(Row::of(it)?),
        Write::DeclaredChannel(it) => Op::Put(Row::of(it)?),
        Write::ChannelStatus(it) => Op::Put(Row::of(it)?),
        Write::Runbook(it) => Op::Same(Row::of(it)?),
        Write::Audit(it) => Op::Append(Row::of(it)?),
        Write::Refusal(it) => Op::Append(Row::of(it)?),
        // A new one that meets another under its key is another process's: replacing it would lose an effect.
        Write::Job(it) if it.kind.stands() => Op::Replace(Row::of(it)?),
        Write::Job(it) => Op::Append(Row::of(it)?),
        Write::JobDone {
            organisation,
            id,
            lease: Lease(lease),
        } => Op::Settle {
            key: Key {
                table: Job::TABLE,
                organisation: organisation.0,
                id: id.0,
            },
            lease: lease.as_millis(),
            later: None,
        },
        Write::JobLater {
            job,
            lease: Lease(lease),
        } => {
            let row = Row::of(job)?;
            Op::Settle {
                key: row.key,
                lease: lease.as_millis(),
                later: Some(row),
            }
        }
    })
}

/// What the first half finds under a key; nothing when there is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A versioned row.
    Version(i64),
    /// A job and the end of its lease.
    Lease(i64),
    /// A runbook and its document.
    Doc(String),
}

/// What the first half asks for. In the order of locking; `true` for rows that will be written.
pub(crate) type Wanted = BTreeMap<Key, bool>;

/// What the second half writes: turn after turn, because two batches of a group that touch one row go in turn. All of a
/// batch is in one turn, within a turn each row occurs once, and the order of the fields is the order of writing.
#[derive(Debug, Default)]
pub(crate) struct Turn<'a> {
    /// Jobs to delete; each is there.
    pub(crate) ended: Vec<Key>,
    /// Rows with version: each must find the version before its own, or no row when its own is 1. Of a batch that stands
    /// alone those that replace come first, so that a unique value can pass from an old row to a new one. Of several
    /// they come last, so that no batch lives on what another one lets go: that is for the halves to find out.
    pub(crate) puts: BTreeMap<Table, Vec<&'a Row>>,
    /// Rows that must be new.
    pub(crate) inserts: BTreeMap<Table, Vec<&'a Row>>,
    /// Jobs, whatever is there.
    pub(crate) jobs: Vec<&'a Row>,
}

/// What the second half has to do.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    pub(crate) turns: Vec<Turn<'a>>,
    /// Rows on whose absence a batch rests without writing them. No lock holds them.
    pub(crate) absent: Vec<Key>,
    /// Since when the oldest of its lines of the record wait.
    pub(crate) drawn: Option<Stopwatch>,
}

impl Plan<'_> {
    /// Whether it has become too late for it since it was made: looked at right before the commit.
    pub(crate) fn is_late(&self) -> bool {
        is_late(self.drawn)
    }
}

/// A group of which no row is touched twice: everything can be written at once, each part under a guard of its own.
#[derive(Debug, Default)]
pub(crate) struct Simple<'a> {
    /// Rows that are only read, with the version that each must have.
    pub(crate) expects: BTreeMap<Table, BTreeMap<Key, i64>>,
    /// Jobs to delete, with the lease that each must have.
    pub(crate) ended: BTreeMap<Key, i64>,
    /// Rows that must be there with the version before their own.
    pub(crate) changes: BTreeMap<Table, Vec<&'a Row>>,
    /// Rows that must be new.
    pub(crate) inserts: BTreeMap<Table, Vec<&'a Row>>,
    /// Jobs, whatever is there.
    pub(crate) jobs: Vec<&'a Row>,
    /// Of a batch that stands alone changes come before new rows, so that a unique value can pass from one to the other;
    /// of several they come after, so that no batch lives on what another one lets go.
    pub(crate) alone: bool,
    /// Since when the oldest of its lines of the record wait.
    pub(crate) drawn: Option<Stopwatch>,
}

impl Simple<'_> {
    /// Whether it has become too late for it since it was made: looked at right before the commit.
    pub(crate) fn is_late(&self) -> bool {
        is_late(self.drawn)
    }
}

/// Of two that go together.
fn oldest(one: Option<Stopwatch>, other: Option<Stopwatch>) -> Option<Stopwatch> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.longer(other)),
        (one, other) => one.or(other),
    }
}

/// The group as one step, if it can be one.
fn simple(group: &[Arc<Prepared>]) -> Option<Simple<'_>> {
    let mut simple = Simple {
        alone: group.len() == 1,
        ..Simple::default()
    };
    let mut written = HashSet::new();
    for batch in group {
        if is_late(batch.drawn) {
            return None;
        }
        simple.drawn = oldest(simple.drawn, batch.drawn);
        for op in &batch.ops {
            if !written.insert(op.key()) {
                return None;
            }
            match op {
                // What a seal names is marked as it comes.
                Op::Put(row) if row.key.table == Table::AuditSeals => return None,
                Op::Put(row) if row.version > 1 => {
                    simple.changes.entry(row.key.table).or_default().push(row);
                }
                // Refusals are pruned as they come.
                Op::Append(row) if row.key.table == Table::Refusals => return None,
                Op::Put(row) | Op::Append(row) => {
                    simple.inserts.entry(row.key.table).or_default().push(row);
                }
                Op::Replace(row) => simple.jobs.push(row),
                Op::Settle {
                    key,
                    lease,
                    later: None,
                } => {
                    simple.ended.insert(*key, *lease);
                }
                Op::Same(_) | Op::Settle { later: Some(_), .. } => return None,
            }
        }
    }
    for (key, version) in group.iter().flat_map(|batch| &batch.expects) {
        // No lock holds what is not there; and who expects what another one writes goes before or after it.
        if *version == 0 || written.contains(key) {
            return None;
        }
        let of_table = simple.expects.entry(key.table).or_default();
        if of_table
            .insert(*key, *version)
            .is_some_and(|v| v != *version)
        {
            return None;
        }
    }
    if written.is_empty() {
        return None;
    }
    for rows in simple
        .changes
        .values_mut()
        .chain(simple.inserts.values_mut())
    {
        rows.sort_unstable_by_key(|row| row.key);
    }
    simple.jobs.sort_unstable_by_key(|row| row.key);
    Some(simple)
}

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

/// The verdicts on a group and what it writes.
fn admit<'a>(
    group: &'a [Arc<Prepared>],
    mut held: HashMap<Key, Held>,
) -> (Vec<Result<(), StoreError>>, Plan<'a>) {
    let mut plan = Plan::default();
    let mut order = Order::default();
    let verdicts = group
        .iter()
        .map(|batch| {
            // First: what it rests on is looked at again, when it is decided again.
            if is_late(batch.drawn) {
                return Err(StoreError::Late);
            }
            if !stands(batch, &held) {
                return Err(StoreError::Conflict);
            }
            plan.drawn = oldest(plan.drawn, batch.drawn);
            let nth = order.place(batch);
            while plan.turns.len() <= nth && !batch.ops.is_empty() {
                plan.turns.push(Turn::default());
            }
            for op in &batch.ops {
                apply(op, &mut held, &mut plan.turns[nth]);
            }
            let missing = batch.expects.iter().filter(|(_, version)| *version == 0);
            plan.absent.extend(missing.map(|(key, _)| *key));
            Ok(())
        })
        .collect();
    // What this group writes itself is guarded by the write.
    plan.absent.retain(|key| !order.written.contains_key(key));
    plan.absent.sort_unstable();
    plan.absent.dedup();
    let alone = group.len() == 1;
    for turn in &mut plan.turns {
        turn.ended.sort_unstable();
        for rows in turn.puts.values_mut().chain(turn.inserts.values_mut()) {
            rows.sort_unstable_by_key(|row| ((row.version == 1) == alone, row.key));
        }
        turn.jobs.sort_unstable_by_key(|row| row.key);
    }
    (verdicts, plan)
}

/// In which turn each row was last written, and read by a batch that rests on it.
#[derive(Default)]
struct Order {
    written: HashMap<Key, usize>,
    read: HashMap<Key, usize>,
}

impl Order {
    /// The turn of a batch: after everybody who wrote what it touches, and not before anybody who read what it writes.
    fn place(&mut self, batch: &Prepared) -> usize {
        let keys = batch.ops.iter().map(Op::key);
        let after = keys
            .clone()
            .chain(batch.expects.iter().map(|(key, _)| *key))
            .filter_map(|key| self.written.get(&key).map(|turn| turn + 1));
        let with = keys.clone().filter_map(|key| self.read.get(&key).copied());
        let turn = after.chain(with).max().unwrap_or(0);
        for key in keys {
            self.written.insert(key, turn);
        }
        for (key, _) in &batch.expects {
            let read = self.read.entry(*key).or_insert(turn);
            *read = turn.max(*read);
        }
        turn
    }
}

/// Whether everything that a batch rests on is as it expects.
fn stands(batch: &Prepared, held: &HashMap<Key, Held>) -> bool {
    let version = |key: &Key| match held.get(key) {
        Some(Held::Version(version)) => *version,
        _ => 0,
    };
    let expected = batch.expects.iter().all(|(key, v)| version(key) == *v);
    expected
        && batch.ops.iter().all(|op| match op {
            Op::Put(row) => version(&row.key) == row.version - 1,
            Op::Same(row) => match held.get(&row.key) {
                Some(Held::Doc(doc)) => *doc == row.doc,
                _ => true,
            },
            Op::Settle { key, lease, .. } => held.get(key) == Some(&Held::Lease(*lease)),
            Op::Append(_) | Op::Replace(_) => true,
        })
}

/// Puts a write of an admitted batch into its turn and into what the batches behind it find.
fn apply<'a>(op: &'a Op, held: &mut HashMap<Key, Held>, turn: &mut Turn<'a>) {
    let key = op.key();
    if matches!(op, Op::Same(_)) && held.contains_key(&key) {
        return;
    }
    match op {
        Op::Put(row) => {
            turn.puts.entry(key.table).or_default().push(row);
            held.insert(key, Held::Version(row.version));
        }
        Op::Same(row) => {
            turn.inserts.entry(key.table).or_default().push(row);
            held.insert(key, Held::Doc(row.doc.clone()));
        }
        Op::Append(row) => turn.inserts.entry(key.table).or_default().push(row),
        Op::Replace(row) => {
            turn.jobs.push(row);
            held.insert(key, Held::Lease(0));
        }
        Op::Settle { later: None, .. } => {
            turn.ended.push(key);
            held.remove(&key);
        }
        Op::Settle {
            later: Some(row), ..
        } => {
            turn.jobs.push(row);
            held.insert(key, Held::Lease(0));
        }
    }
}

fn wanted(group: &[Arc<Prepared>]) -> Wanted {
    let mut wanted = Wanted::new();
    for batch in group {
        for (key, _) in &batch.expects {
            wanted.entry(*key).or_insert(false);
        }
        for op in &batch.ops {
            if !matches!(op, Op::Append(_) | Op::Replace(_)) {
                wanted.insert(op.key(), true);
            }
        }
    }
    wanted
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
