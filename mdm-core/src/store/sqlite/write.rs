//! The two halves of a group's transaction, in few statements of many rows.

use std::collections::HashMap;

use sqlx::sqlite::Sqlite;
use sqlx::{Connection as _, QueryBuilder, Transaction};

use crate::audit_seal::SEALS_BACK;
pub(super) use crate::store::group_commit::Failure;
use crate::store::group_commit::{Backend, Held, Plan, Simple, Wanted};
use crate::store::kept::Kept;
use crate::store::row::{Cell, Key, Row, Table, pools, senders};

/// SQLite's limit of values in one statement.
const BINDS: usize = 32_766;
/// Up to how many rows a statement is kept prepared: each number of rows is a statement of its own, and to prepare a large
/// one is little beside running it.
const KEPT: usize = 40;
/// How many refusals may be one sender's: whoever is refused again and again pushes out its own.
const REFUSALS_OF_ONE: i64 = 50;

/// The one who writes.
#[derive(Debug)]
pub(super) struct Writer(pub(super) Kept<Sqlite>);

impl Backend for Writer {
    async fn transact<'a, D>(&mut self, wanted: &Wanted, decide: D) -> Result<(), Failure>
    where
        D: FnOnce(HashMap<Key, Held>) -> Plan<'a> + Send,
    {
        // The write transaction is the lock: nothing of what is read can change before the commit.
        let pool = self.0.pool();
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(failure)?;
        let outcome = async {
            let held = hold(&mut tx, wanted).await?;
            let plan = decide(held);
            write(&mut tx, &plan).await?;
            if plan.is_late() {
                return Err(Failure::Late);
            }
            Ok(!plan.turns.is_empty())
        }
        .await;
        match outcome {
            Ok(true) => tx.commit().await.map_err(failure),
            Ok(false) => tx.rollback().await.map_err(failure),
            Err(failed) => {
                // When this fails too, the connection rolls back before its next use.
                let _ = tx.rollback().await;
                Err(failed)
            }
        }
    }

    async fn at_once(&mut self, simple: &Simple<'_>) -> Result<(), Failure> {
        let done = async {
            let connection = self.0.take().await.map_err(failure)?;
            let begun = connection.begin_with("BEGIN IMMEDIATE").await;
            let mut tx = begun.map_err(failure)?;
            match write_simple(&mut tx, simple).await {
                Ok(()) if simple.is_late() => {
                    let _ = tx.rollback().await;
                    Err(Failure::Late)
                }
                Ok(()) => tx.commit().await.map_err(failure),
                Err(failed) => {
                    let _ = tx.rollback().await;
                    Err(failed)
                }
            }
        }
        .await;
        if done.is_err() {
            // Whatever is left of the transaction is looked after where the connection comes back.
            self.0.let_go();
        }
        done
    }

    fn rest(&mut self) {
        self.0.let_go();
    }
}

/// A simple group: the guards are in the writes, and what each found is counted.
async fn write_simple(tx: &mut Tx<'_>, simple: &Simple<'_>) -> Result<(), Failure> {
    for (table, expects) in &simple.expects {
        let expects: Vec<(Key, i64)> = expects.iter().map(|(k, v)| (*k, *v)).collect();
        stand(tx, *table, &expects).await?;
    }
    for ended in simple.ended.iter().collect::<Vec<_>>().chunks(BINDS / 3) {
        let mut query = QueryBuilder::<Sqlite>::new("WITH k (o, i, v) AS (");
        query.push_values(ended, |mut row, (key, lease)| {
            row.push_bind(key.organisation)
                .push_bind(key.id)
                .push_bind(**lease);
        });
        query.push(
            ") DELETE FROM jobs WHERE (organisation, id, leased_until) IN (SELECT o, i, v FROM k)",
        );
        all_found(tx, query, ended.len()).await?;
    }
    if simple.alone {
        change_all(tx, simple).await?;
    }
    for (table, rows) in &simple.inserts {
        insert_new(tx, *table, rows).await?;
    }
    if !simple.alone {
        change_all(tx, simple).await?;
    }
    insert(tx, Table::Jobs, &simple.jobs, "").await
}

/// That rows have the versions that are expected.
async fn stand(tx: &mut Tx<'_>, table: Table, expects: &[(Key, i64)]) -> Result<(), Failure> {
    for expects in expects.chunks(BINDS / 3) {
        let mut query = QueryBuilder::<Sqlite>::new("WITH k (o, i, v) AS (");
        query.push_values(expects, |mut row, (key, version)| {
            row.push_bind(key.organisation)
                .push_bind(key.id)
                .push_bind(*version);
        });
        query.push(format_args!(
            ") SELECT count(*) FROM k CROSS JOIN {} AS t \
             ON t.organisation = k.o AND t.id = k.i AND t.version = k.v",
            table.name()
        ));
        let (found,): (i64,) = query
            .build_query_as()
            .persistent(expects.len() <= KEPT)
            .fetch_one(&mut **tx)
            .await
            .map_err(failure)?;
        if usize::try_from(found) != Ok(expects.len()) {
            return Err(Failure::Taken);
        }
    }
    Ok(())
}

async fn change_all(tx: &mut Tx<'_>, simple: &Simple<'_>) -> Result<(), Failure> {
    for (table, rows) in &simple.changes {
        for rows in rows.chunks(BINDS / (4 + table.columns().len())) {
            all_found(tx, change(*table, rows), rows.len()).await?;
        }
    }
    Ok(())
}

/// Replaces rows that have the version before their own.
pub(super) fn change(table: Table, rows: &[&Row]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("WITH u (organisation, id, version, doc");
    for (column, _) in table.columns() {
        query.push(format_args!(", {column}"));
    }
    query.push(") AS (");
    push_rows(&mut query, rows);
    query.push(format_args!(
        ") UPDATE {} AS t SET version = u.version, doc = u.doc",
        table.name()
    ));
    for (column, _) in table.columns() {
        query.push(format_args!(", {column} = u.{column}"));
    }
    query.push(
        " FROM u WHERE t.organisation = u.organisation AND t.id = u.id AND t.version = u.version - 1",
    );
    query
}

async fn all_found(
    tx: &mut Tx<'_>,
    mut query: QueryBuilder<Sqlite>,
    rows: usize,
) -> Result<(), Failure> {
    let kept = rows <= KEPT;
    let done = query.build().persistent(kept).execute(&mut **tx).await;
    if done.map_err(failure)?.rows_affected() == rows as u64 {
        Ok(())
    } else {
        Err(Failure::Taken)
    }
}

/// Whether it fails because nothing can be written where the file lies: SQLITE_READONLY, SQLITE_CANTOPEN.
pub(super) fn finds_no_place(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<u32>().ok());
    matches!(code.map(|code| code & 0xff), Some(8 | 14))
}

/// What an error means for the group.
pub(super) fn failure(error: sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(error) => {
            let code = error
                .code()
                .and_then(|c| c.parse::<u32>().ok())
                .unwrap_or(0);
            match (code, code & 0xff) {
                // SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE, _ROWID
                (1555 | 2067 | 2579, _) => Failure::Taken,
                // SQLITE_BUSY, SQLITE_LOCKED
                (_, 5 | 6) => Failure::Again(error.to_string()),
                // SQLITE_READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB
                (_, 8 | 10 | 11 | 13 | 14 | 26) => Failure::Unavailable(error.to_string()),
                _ => Failure::Refused(error.to_string()),
            }
        }
        other @ (sqlx::Error::Encode(_) | sqlx::Error::Decode(_)) => {
            Failure::Refused(other.to_string())
        }
        other => Failure::Unavailable(other.to_string()),
    }
}

type Tx<'c> = Transaction<'c, Sqlite>;

/// The first half: one statement for each table.
async fn hold(tx: &mut Tx<'_>, wanted: &Wanted) -> Result<HashMap<Key, Held>, Failure> {
    let mut held = HashMap::with_capacity(wanted.len());
    let keys: Vec<Key> = wanted.keys().copied().collect();
    for keys in keys.chunk_by(|a, b| a.table == b.table) {
        let table = keys[0].table;
        for keys in keys.chunks(BINDS / 2) {
            let mut query = QueryBuilder::<Sqlite>::new("WITH k (o, i) AS (");
            query.push_values(keys, |mut row, key| {
                row.push_bind(key.organisation).push_bind(key.id);
            });
            let column = match table {
                Table::Jobs => "t.leased_until, NULL",
                Table::Runbooks => "t.version, t.doc",
                _ => "t.version, NULL",
            };
            // CROSS JOIN keeps the order: the keys first, then each row by its key.
            query.push(format_args!(
                ") SELECT t.organisation, t.id, {column} FROM k CROSS JOIN {} AS t \
                 ON t.organisation = k.o AND t.id = k.i",
                table.name()
            ));
            let rows: Vec<(i64, i64, i64, Option<String>)> = query
                .build_query_as()
                .persistent(false)
                .fetch_all(&mut **tx)
                .await
                .map_err(failure)?;
            held.extend(rows.into_iter().map(|(organisation, id, number, doc)| {
                let found = match (table, doc) {
                    (Table::Jobs, _) => Held::Lease(number),
                    (_, Some(doc)) => Held::Doc(doc),
                    _ => Held::Version(number),
                };
                let key = Key {
                    table,
                    organisation,
                    id,
                };
                (key, found)
            }));
        }
    }
    Ok(held)
}

/// The second half. Absences need nothing here: nobody else writes before the commit.
async fn write(tx: &mut Tx<'_>, plan: &Plan<'_>) -> Result<(), Failure> {
    for turn in &plan.turns {
        end_jobs(tx, &turn.ended).await?;
        for (table, rows) in &turn.puts {
            // A changed row must have had the version before.
            insert(tx, *table, rows, " WHERE t.version = excluded.version - 1").await?;
        }
        if let Some(rows) = turn.puts.get(&Table::AuditSeals) {
            mark_sealed(tx, rows).await?;
        }
        for (table, rows) in &turn.inserts {
            insert_new(tx, *table, rows).await?;
        }
        insert(tx, Table::Jobs, &turn.jobs, "").await?;
        if let Some(rows) = turn.inserts.get(&Table::Refusals) {
            prune_refusals(tx, rows).await?;
        }
    }
    Ok(())
}

async fn end_jobs(tx: &mut Tx<'_>, keys: &[Key]) -> Result<(), Failure> {
    for keys in keys.chunks(BINDS / 2) {
        let mut query = QueryBuilder::<Sqlite>::new("WITH k (o, i) AS (");
        query.push_values(keys, |mut row, key| {
            row.push_bind(key.organisation).push_bind(key.id);
        });
        query.push(") DELETE FROM jobs WHERE (organisation, id) IN (SELECT o, i FROM k)");
        let done = query.build().persistent(false).execute(&mut **tx).await;
        if done.map_err(failure)?.rows_affected() != keys.len() as u64 {
            return Err(Failure::Taken);
        }
    }
    Ok(())
}

/// Inserts rows or replaces them under a guard; a row that does not come back was kept out by the guard.
async fn insert(
    tx: &mut Tx<'_>,
    table: Table,
    rows: &[&Row],
    guard: &'static str,
) -> Result<(), Failure> {
    for rows in rows.chunks(BINDS / (4 + table.columns().len())) {
        let mut query = values(table, rows);
        query.push(" ON CONFLICT (organisation, id) DO UPDATE SET version = excluded.version, doc = excluded.doc");
        for (column, _) in table.columns() {
            query.push(format_args!(", {column} = excluded.{column}"));
        }
        query.push(guard).push(" RETURNING id");
        let back: Vec<(i64,)> = query
            .build_query_as()
            .persistent(rows.len() <= KEPT)
            .fetch_all(&mut **tx)
            .await
            .map_err(failure)?;
        if back.len() != rows.len() {
            return Err(Failure::Taken);
        }
    }
    Ok(())
}

async fn insert_new(tx: &mut Tx<'_>, table: Table, rows: &[&Row]) -> Result<(), Failure> {
    for rows in rows.chunks(BINDS / (4 + table.columns().len())) {
        let mut query = values(table, rows);
        let kept = rows.len() <= KEPT;
        let done = query.build().persistent(kept).execute(&mut **tx).await;
        done.map_err(failure)?;
    }
    Ok(())
}

fn values(table: Table, rows: &[&Row]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(format!(
        "INSERT INTO {} AS t (organisation, id, version, doc",
        table.name()
    ));
    for (column, _) in table.columns() {
        query.push(format_args!(", {column}"));
    }
    query.push(") ");
    push_rows(&mut query, rows);
    query
}

fn push_rows(query: &mut QueryBuilder<Sqlite>, rows: &[&Row]) {
    query.push_values(rows, |mut values, row| {
        values
            .push_bind(row.key.organisation)
            .push_bind(row.key.id)
            .push_bind(row.version)
            .push_bind(row.doc.clone());
        for cell in &row.cells {
            match cell {
                Cell::Int(value) => values.push_bind(*value),
                Cell::Text(value) => values.push_bind(value.clone()),
            };
        }
    });
}

/// Marks the entries that these seals, and a few before them, name: a process of an earlier version makes seals and marks nothing.
async fn mark_sealed(tx: &mut Tx<'_>, rows: &[&Row]) -> Result<(), Failure> {
    for row in rows {
        sqlx::query(
            "UPDATE audit SET version = 2 WHERE version = 1 AND organisation = ?1 AND id IN \
             (SELECT CAST(json_extract(e.value, '$[0]') AS INTEGER) FROM audit_seals AS s, json_each(s.doc, '$.entries') AS e \
             WHERE s.organisation = ?1 AND s.id >= ?2 - ?3 AND s.id <= ?2)",
        )
        .bind(row.key.organisation)
        .bind(row.key.id)
        .bind(SEALS_BACK)
        .execute(&mut **tx)
        .await
        .map_err(failure)?;
    }
    Ok(())
}

/// Keeps the newest refusals of each sender, and of each pool of an organisation, that got one: a walk over a bounded piece of an index
/// and of the primary key.
async fn prune_refusals(tx: &mut Tx<'_>, rows: &[&Row]) -> Result<(), Failure> {
    for (organisation, sender) in senders(rows) {
        sqlx::query(
            "DELETE FROM refusals WHERE organisation = ?1 AND sender = ?2 AND id <= (SELECT id FROM refusals \
             WHERE organisation = ?1 AND sender = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
        )
        .bind(organisation)
        .bind(sender)
        .bind(REFUSALS_OF_ONE)
        .execute(&mut **tx)
        .await
        .map_err(failure)?;
    }
    for (organisation, pool) in pools(rows) {
        sqlx::query(
            "WITH kept AS (SELECT id, CASE substr(sender, 1, 7) WHEN 'nobody ' THEN 0 WHEN 'serial ' THEN 2 ELSE 1 END AS pool \
             FROM refusals WHERE organisation = ?1) \
             DELETE FROM refusals WHERE organisation = ?1 AND id IN (SELECT id FROM kept WHERE pool = ?2 ORDER BY id DESC LIMIT -1 OFFSET ?3)",
        )
        .bind(organisation)
        .bind(pool.number())
        .bind(pool.most())
        .execute(&mut **tx)
        .await
        .map_err(failure)?;
    }
    Ok(())
}
