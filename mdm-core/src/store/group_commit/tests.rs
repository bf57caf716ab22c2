//! Group commit over a database of a few lines: any group equals some serial order of its batches, whatever others insert
//! between the halves, and whatever single rows the database refuses.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::plan::Op;
use super::*;
use crate::audit::AuditEntry;
use crate::audit_seal::HELD;
use crate::clock::tests::AHEAD;
use crate::clock::{Stopwatch, Timestamp};
use crate::device::Device;
use crate::ids::{AuditId, DeviceId, JobId, OrganisationId, Serial};
use crate::job::{Job, JobKind};
use crate::store::Noun;
use crate::store::batch::{Lease, Write};
use crate::store::row::{Cell, Row, Table};

const ORG: OrganisationId = OrganisationId(1);
/// A serial number that the database refuses.
const POISON: &str = "POISON";
/// How a value begins that is nobody's.
const FREE: &str = "FREE";
const SERIALS: [&str; 4] = ["S1", "S2", "S3", POISON];

/// What is stored under a key: version or lease, and the unique value of a device.
type Rows = BTreeMap<Key, (Held, Option<Cell>)>;

/// A database: guards, one unique column, a value that it refuses, somebody else who inserts, and faults.
#[derive(Default)]
struct Fake {
    rows: Rows,
    /// Inserted by somebody else between the halves of the `n`-th transaction.
    rival: Option<(usize, Key, (Held, Option<Cell>))>,
    /// What the first transactions end in, instead of being committed.
    faults: Vec<Failure>,
    transactions: usize,
    commits: usize,
    /// It can write simple groups at once.
    quick: bool,
    /// How long it stands still before its first commit.
    stands_still: Duration,
}

/// Lets this time pass for whoever goes by a stopwatch.
fn stand_still(time: Duration) {
    AHEAD.set(AHEAD.get() + time);
}

impl Backend for Fake {
    async fn transact<'a, D>(&mut self, wanted: &Wanted, decide: D) -> Result<(), Failure>
    where
        D: FnOnce(HashMap<Key, Held>) -> Plan<'a> + Send,
    {
        let held = wanted
            .keys()
            .filter_map(|key| self.rows.get(key).map(|(held, _)| (*key, held.clone())))
            .collect();
        let plan = decide(held);
        if let Some((nth, key, row)) = self.rival.clone()
            && nth == self.transactions
        {
            let free = self.rows.values().all(|(_, u)| u.is_none() || *u != row.1);
            if free && !self.rows.contains_key(&key) {
                self.rows.insert(key, row);
            } else {
                self.rival = None;
            }
        }
        self.transactions += 1;
        tokio::task::yield_now().await;
        if !self.faults.is_empty() {
            return Err(self.faults.remove(0));
        }
        let mut rows = self.rows.clone();
        if plan.absent.iter().any(|key| rows.contains_key(key)) && !plan.turns.is_empty() {
            return Err(Failure::Taken);
        }
        for turn in &plan.turns {
            for key in &turn.ended {
                rows.remove(key).ok_or(Failure::Taken)?;
            }
            for row in turn.puts.values().flatten() {
                let before = match rows.get(&row.key) {
                    Some((Held::Version(version), _)) => *version,
                    _ => 0,
                };
                if before != row.version - 1 {
                    return Err(Failure::Taken);
                }
                store(&mut rows, row, Held::Version(row.version))?;
            }
            for row in turn.inserts.values().flatten() {
                if rows.contains_key(&row.key) {
                    return Err(Failure::Taken);
                }
                store(&mut rows, row, Held::Version(row.version))?;
            }
            for row in &turn.jobs {
                store(&mut rows, row, Held::Lease(0))?;
            }
        }
        stand_still(std::mem::take(&mut self.stands_still));
        if plan.is_late() {
            return Err(Failure::Late);
        }
        if !plan.turns.is_empty() {
            self.commits += 1;
        }
        self.rows = rows;
        Ok(())
    }

    async fn at_once(&mut self, simple: &Simple<'_>) -> Result<(), Failure> {
        if !self.quick {
            return Err(Failure::Taken);
        }
        let mut rows = self.rows.clone();
        let version = |rows: &Rows, key: &Key| match rows.get(key) {
            Some((Held::Version(version), _)) => *version,
            _ => 0,
        };
        for (key, expected) in simple.expects.values().flatten() {
            if version(&rows, key) != *expected {
                return Err(Failure::Taken);
            }
        }
        for (key, lease) in &simple.ended {
            if rows.remove(key).map(|(held, _)| held) != Some(Held::Lease(*lease)) {
                return Err(Failure::Taken);
            }
        }
        let mut new: Vec<&Row> = simple.inserts.values().flatten().copied().collect();
        let mut old: Vec<&Row> = simple.changes.values().flatten().copied().collect();
        let order = if simple.alone {
            old.append(&mut new);
            old
        } else {
            new.append(&mut old);
            new
        };
        for row in order {
            let before = if row.version > 1 {
                version(&rows, &row.key)
            } else if rows.contains_key(&row.key) {
                return Err(Failure::Taken);
            } else {
                0
            };
            if before != row.version - 1 {
                return Err(Failure::Taken);
            }
            store(&mut rows, row, Held::Version(row.version))?;
        }
        for row in &simple.jobs {
            store(&mut rows, row, Held::Lease(0))?;
        }
        stand_still(std::mem::take(&mut self.stands_still));
        if simple.is_late() {
            return Err(Failure::Late);
        }
        self.commits += 1;
        self.rows = rows;
        Ok(())
    }
}

/// Puts a row in, if the database takes its values.
fn store(rows: &mut Rows, row: &Row, held: Held) -> Result<(), Failure> {
    let unique = (row.key.table == Table::Devices).then(|| row.cells[0].clone());
    if unique == Some(Cell::Text(Some(POISON.to_owned()))) {
        return Err(Failure::Refused("a value that it cannot hold".to_owned()));
    }
    let taken = |(key, (_, other)): (&Key, &(Held, Option<Cell>))| {
        *key != row.key && other.is_some() && *other == unique
    };
    if rows.iter().any(taken) {
        return Err(Failure::Taken);
    }
    rows.insert(row.key, (held, unique));
    Ok(())
}

/// What a batch alone does to a database, written down a second time and without any group.
fn alone(rows: &Rows, batch: &Prepared) -> Result<Rows, Answer> {
    let mut next = rows.clone();
    let version = |key: &Key| match rows.get(key) {
        Some((Held::Version(version), _)) => *version,
        _ => 0,
    };
    for (key, expected) in &batch.expects {
        if version(key) != *expected {
            return Err(Answer::Conflict);
        }
    }
    // All checks come before all writes: a conflict is found before a value is refused.
    for op in &batch.ops {
        let fine = match op {
            Op::Put(row) => version(&row.key) == row.version - 1,
            Op::Settle { key, lease, .. } => {
                rows.get(key).map(|(held, _)| held) == Some(&Held::Lease(*lease))
            }
            Op::Same(_) | Op::Append(_) | Op::Replace(_) => true,
        };
        if !fine {
            return Err(Answer::Conflict);
        }
    }
    let answer = |failure| match failure {
        Failure::Refused(_) => Answer::Refused,
        _ => Answer::Conflict,
    };
    // A unique value passes from a changed row to a new one, whatever their order in the batch.
    let mut ops: Vec<&Op> = batch.ops.iter().collect();
    ops.sort_by_key(|op| (matches!(op, Op::Put(row) if row.version == 1), op.key()));
    for op in ops {
        match op {
            Op::Settle {
                key, later: None, ..
            } => {
                next.remove(key);
            }
            Op::Settle {
                later: Some(row), ..
            }
            | Op::Replace(row) => {
                store(&mut next, row, Held::Lease(0)).map_err(answer)?;
            }
            Op::Append(row) if next.contains_key(&row.key) => return Err(Answer::Conflict),
            Op::Put(row) | Op::Append(row) | Op::Same(row) => {
                store(&mut next, row, Held::Version(row.version)).map_err(answer)?;
            }
        }
    }
    Ok(next)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Conflict,
    Refused,
    Unavailable,
}

fn answers(group: &[Result<(), StoreError>]) -> Vec<Answer> {
    let answer = |result: &Result<(), StoreError>| match result {
        Ok(()) => Answer::Done,
        Err(StoreError::Conflict) => Answer::Conflict,
        Err(StoreError::Unavailable(_)) => Answer::Unavailable,
        Err(_) => Answer::Refused,
    };
    group.iter().map(answer).collect()
}

/// Whether some order of the batches (and of the rival's insert) gives these answers and these rows.
fn some_order(
    rows: &Rows,
    left: &mut Vec<usize>,
    group: &[Arc<Prepared>],
    rival: &mut Option<(Key, (Held, Option<Cell>))>,
    told: &[Answer],
    end: &Rows,
) -> bool {
    if left.is_empty() && rival.is_none() {
        return rows == end;
    }
    if let Some((key, row)) = rival.clone() {
        let free = rows.values().all(|(_, u)| u.is_none() || *u != row.1);
        if free && !rows.contains_key(&key) {
            let mut next = rows.clone();
            next.insert(key, row);
            let kept = rival.take();
            if some_order(&next, left, group, rival, told, end) {
                return true;
            }
            *rival = kept;
        }
    }
    for at in 0..left.len() {
        let nth = left.remove(at);
        let outcome = alone(rows, &group[nth]);
        let (answer, next) = match outcome {
            Ok(next) => (Answer::Done, next),
            Err(answer) => (answer, rows.clone()),
        };
        // A batch with two faults may be told either.
        let both = answer != Answer::Done && told[nth] != Answer::Done && poisoned(&group[nth]);
        if (answer == told[nth] || both) && some_order(&next, left, group, rival, told, end) {
            return true;
        }
        left.insert(at, nth);
    }
    false
}

fn poisoned(batch: &Prepared) -> bool {
    let poison = Cell::Text(Some(POISON.to_owned()));
    let has = |op: &Op| matches!(op, Op::Put(row) if row.cells.first() == Some(&poison));
    batch.ops.iter().any(has)
}

fn device(id: i64, version: i64, serial: &str) -> Device {
    let mut device = Device::new(ORG, DeviceId(id), Serial::parse(serial).unwrap());
    device.version = version;
    device
}

fn job(id: i64) -> Job {
    let kind = JobKind::ReadDevice {
        device: DeviceId(1),
    };
    Job::new(ORG, JobId(id), Timestamp::from_millis(1), kind)
}

fn line(id: i64) -> AuditEntry {
    let now = Timestamp::from_millis(1);
    AuditEntry::new(ORG, AuditId(id), now, "a", "b", None, id.into())
}

/// One write or expectation among few rows, so that batches meet.
fn part() -> impl Strategy<Value = (u8, i64, i64, usize)> {
    (0_u8..10, 1_i64..4, 0_i64..3, 0_usize..4)
}

fn prepared(parts: &[(u8, i64, i64, usize)]) -> Arc<Prepared> {
    let mut batch = Batch::new();
    let mut seen = HashSet::new();
    for (kind, id, version, serial) in parts {
        let lease = Lease(Timestamp::from_millis(version * 10));
        let kind_of_row = match kind {
            0..=3 => 0,
            4..=6 => 1,
            7 | 8 => 2,
            _ => 3,
        };
        if kind_of_row != 3 && !seen.insert((kind_of_row, *id)) {
            continue;
        }
        match kind {
            // A new row wants a value (the last of them is refused); a changed one lets its own go, as an ended move does.
            0..=3 if *version == 0 => batch.put(device(*id, 0, SERIALS[*serial])),
            0..=3 => batch.put(device(*id, *version, &format!("{FREE}{id}"))),
            4 => batch.put(job(*id)),
            5 => batch.put(Write::JobDone {
                organisation: ORG,
                id: JobId(*id),
                lease,
            }),
            6 => batch.put(Write::JobLater {
                job: job(*id),
                lease,
            }),
            7 | 8 => batch.put(line(*id)),
            _ => batch.expect(Noun::Device, ORG, *id, *version),
        };
    }
    Arc::new(Prepared::of(&batch).unwrap())
}

/// A database that has some of the rows already.
fn start(devices: &[(i64, i64, usize)], jobs: &[(i64, i64)]) -> Rows {
    let mut rows = Rows::new();
    for (id, version, serial) in devices {
        let row = Row::of(&device(*id, version - 1, SERIALS[*serial])).unwrap();
        let _ = store(&mut rows, &row, Held::Version(*version));
    }
    for (id, lease) in jobs {
        let row = Row::of(&job(*id)).unwrap();
        rows.insert(row.key, (Held::Lease(lease * 10), None));
    }
    rows
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_group_equals_some_serial_order(
        devices in prop::collection::vec((1_i64..4, 1_i64..3, 0_usize..3), 0..3),
        jobs in prop::collection::vec((1_i64..4, 0_i64..3), 0..3),
        batches in prop::collection::vec(prop::collection::vec(part(), 1..4), 1..6),
        rival in prop::option::of((0_usize..3, 1_i64..4, 0_usize..3)),
        quick in prop::bool::ANY,
    ) {
        let group: Vec<_> = batches.iter().map(|parts| prepared(parts)).collect();
        let begin = start(&devices, &jobs);
        let rival = rival.map(|(nth, id, serial)| {
            let row = Row::of(&device(id, 0, SERIALS[serial])).unwrap();
            (nth, row.key, (Held::Version(1), Some(row.cells[0].clone())))
        });
        let mut fake = Fake { rows: begin.clone(), rival, quick, ..Fake::default() };
        let told = answers(&run(apply_group(&mut fake, &group)));
        // A rival whose turn never came, or who found its values taken, was not there.
        let mut came = fake.rival.take().filter(|(nth, ..)| *nth < fake.transactions).map(|(_, key, row)| (key, row));
        let mut left: Vec<usize> = (0..group.len()).collect();
        prop_assert!(
            some_order(&begin, &mut left, &group, &mut came, &told, &fake.rows),
            "no order gives {told:?}"
        );
        prop_assert!(!told.contains(&Answer::Unavailable));
    }
}

#[test]
fn the_second_of_two_with_one_version_conflicts_and_disturbs_nobody() {
    let group = [
        prepared(&[(0, 1, 0, 0)]),
        prepared(&[(0, 1, 0, 1)]),
        prepared(&[(0, 2, 0, 2)]),
        // It knows what the first makes of the row.
        prepared(&[(0, 1, 1, 1)]),
    ];
    let mut fake = Fake::default();
    let told = answers(&run(apply_group(&mut fake, &group)));
    use Answer::{Conflict, Done};
    assert_eq!(told, [Done, Conflict, Done, Done]);
    assert_eq!((fake.transactions, fake.commits), (1, 1));
}

#[test]
fn a_refused_value_fails_its_own_batch_only() {
    let mut group: Vec<_> = (1..=64)
        .map(|id| {
            let mut batch = Batch::new();
            batch.put(device(id, 0, &format!("S{id}")));
            Arc::new(Prepared::of(&batch).unwrap())
        })
        .collect();
    group[40] = prepared(&[(0, 100, 0, 3)]);
    let mut fake = Fake::default();
    let told = answers(&run(apply_group(&mut fake, &group)));
    let refused: Vec<_> = (0..64).filter(|n| told[*n] == Answer::Refused).collect();
    assert_eq!(refused, [40]);
    assert_eq!(told.iter().filter(|a| **a == Answer::Done).count(), 63);
    assert!(
        fake.transactions <= 13,
        "halving takes two transactions for each of six halvings: {}",
        fake.transactions
    );
}

#[test]
fn a_lost_race_is_run_again_and_a_dead_database_answers_everybody() {
    let group = [prepared(&[(0, 1, 0, 0)]), prepared(&[(0, 2, 0, 1)])];
    let mut fake = Fake {
        faults: vec![Failure::Again("deadlock".to_owned()); 2],
        ..Fake::default()
    };
    let told = answers(&run(apply_group(&mut fake, &group)));
    assert_eq!(told, [Answer::Done; 2]);
    assert_eq!(fake.transactions, 3);
    let mut fake = Fake {
        faults: vec![Failure::Unavailable("gone".to_owned())],
        ..Fake::default()
    };
    let told = answers(&run(apply_group(&mut fake, &group)));
    assert_eq!(told, [Answer::Unavailable; 2]);
    assert!(fake.rows.is_empty());
}

#[test]
fn a_conflict_alone_costs_no_commit() {
    let group = [prepared(&[(0, 1, 2, 0)])];
    let mut fake = Fake::default();
    assert_eq!(
        answers(&run(apply_group(&mut fake, &group))),
        [Answer::Conflict]
    );
    assert_eq!(fake.commits, 0);
}

#[test]
fn what_becomes_late_before_the_commit_is_left_out_and_the_others_are_written() {
    for quick in [false, true] {
        let mut fake = Fake {
            quick,
            stands_still: HELD * 2 / 3,
            ..Fake::default()
        };
        let drawn = |id: i64, drawn: Option<Stopwatch>| {
            let mut batch = Batch::new();
            batch.put(device(id, 0, &format!("S{id}"))).put(line(id));
            drawn.into_iter().for_each(|drawn| batch.drawn_at(drawn));
            Arc::new(Prepared::of(&batch).unwrap())
        };
        let nearly = Stopwatch::running_for(HELD / 2);
        let group = [
            drawn(1, Some(Stopwatch::start())),
            drawn(2, Some(nearly)),
            drawn(3, None),
        ];
        let told = run(apply_group(&mut fake, &group));
        assert!(matches!(told[1], Err(StoreError::Late)), "{told:?}");
        assert!(told[0].is_ok() && told[2].is_ok(), "{told:?}");
        let written: Vec<i64> = fake.rows.keys().map(|key| key.id).collect();
        assert_eq!(written, [1, 3, 1, 3]);
    }
}

#[test]
fn a_batch_that_names_a_row_twice_is_refused_before_it_reaches_the_writer() {
    let mut batch = Batch::new();
    batch.put(device(1, 0, "S1")).put(device(1, 0, "S2"));
    assert!(matches!(
        Prepared::of(&batch),
        Err(StoreError::Database(why)) if why.contains("devices")
    ));
}

#[test]
fn what_waits_shares_a_transaction_and_closing_answers_it() {
    run(async {
        let door = GroupCommit::start(Fake::default());
        let batches: Vec<Batch> = (1..=100)
            .map(|id| {
                let mut batch = Batch::new();
                batch.put(device(id, 0, &format!("S{id}")));
                batch
            })
            .collect();
        let commits = futures_util::future::join_all(batches.iter().map(|b| door.commit(b)));
        let (told, ()) = futures_util::future::join(commits, door.close()).await;
        assert_eq!(answers(&told), [Answer::Done; 100]);
        let late = door.commit(&batches[0]).await;
        assert!(matches!(late, Err(StoreError::Unavailable(_))));
    });
}
