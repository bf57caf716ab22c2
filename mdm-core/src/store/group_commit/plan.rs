//! What a group of batches writes and what it rests on: the batches as rows, who of them is admitted to what is held,
//! and the turns in which they go. Decides only: it neither waits nor reads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::ids::OrganisationId;
use crate::job::Job;
use crate::store::batch::{Batch, Lease, Write, is_late};
use crate::store::row::{Key, Row, Stored, Table};
use crate::store::{Noun, StoreError};

/// A batch with its documents written: what the writer needs to know of it, made in the caller's own task.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) expects: Vec<(Key, i64)>,
    pub(super) ops: Vec<Op>,
    /// Since when the ids of its lines of the record are drawn.
    drawn: Option<Stopwatch>,
}

/// One write.
#[derive(Debug)]
pub(super) enum Op {
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
    pub(super) const fn key(&self) -> Key {
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

    pub(super) fn rows(&self) -> usize {
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
pub(super) fn simple(group: &[Arc<Prepared>]) -> Option<Simple<'_>> {
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

/// The verdicts on a group and what it writes.
pub(super) fn admit<'a>(
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

pub(super) fn wanted(group: &[Arc<Prepared>]) -> Wanted {
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
