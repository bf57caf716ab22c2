//! The two halves of a group's transaction, with arrays: one statement for each table, whatever the number of rows.

use std::collections::HashMap;
use std::fmt::Write as _;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::QueryAs;
use sqlx::{AssertSqlSafe, Transaction};

use crate::audit_seal::SEALS_BACK;
pub(super) use crate::store::group_commit::Failure;
use crate::store::group_commit::{Backend, Held, Plan, Simple, Wanted};
use crate::store::kept::Kept;
use crate::store::row::{Cell, ColumnKind, Key, Row, Table, pools, senders};

/// How many refusals may be one sender's: whoever is refused again and again pushes out its own.
const REFUSALS_OF_ONE: i64 = 50;

/// The one who writes, of this daemon; others write to the same database.
#[derive(Debug)]
pub(super) struct Writer(pub(super) Kept<Postgres>);

impl Backend for Writer {
    async fn transact<'a, D>(&mut self, wanted: &Wanted, decide: D) -> Result<(), Failure>
    where
        D: FnOnce(HashMap<Key, Held>) -> Plan<'a> + Send,
    {
        // The locks make the checks true; nothing here needs a snapshot of the whole.
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
        let pool = self.0.pool();
        let mut tx = match pool.begin_with(begin).await {
            // A connection that died at rest: nothing was asked of it yet.
            Err(sqlx::Error::Io(_)) => pool.begin_with(begin).await,
            other => other,
        }
        .map_err(failure)?;
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
        // The server commits as the statement ends: there is no later look than this one.
        if simple.is_late() {
            return Err(Failure::Late);
        }
        let (sql, arguments) = super::at_once::statement(simple)
            .map_err(|error| Failure::Refused(error.to_string()))?;
        // Read to the end: the commit comes after the row.
        let done = async {
            let connection = self.0.take().await?;
            sqlx::query_with(AssertSqlSafe(sql), arguments)
                .fetch_all(connection)
                .await
        }
        .await;
        if done.is_err() {
            self.0.let_go();
        }
        match done {
            Ok(_) => Ok(()),
            // The text that is no number: a guard has no other way to end its statement.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22P02") => {
                Err(Failure::Taken)
            }
            Err(error) => Err(failure(error)),
        }
    }

    fn rest(&mut self) {
        self.0.let_go();
    }
}

/// What an error means for the group.
pub(super) fn failure(error: sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default().into_owned();
            match code.as_bytes() {
                b"23505" => Failure::Taken,
                // Serialisation failure, deadlock.
                b"40001" | b"40P01" => Failure::Again(error.to_string()),
                // Connection, resources, operator, lock not available, read only, system.
                [b'0', b'8', ..]
                | [b'5', b'3' | b'7' | b'8', ..]
                | b"55P03"
                | b"25006"
                | b"25P03" => Failure::Unavailable(error.to_string()),
                _ => Failure::Refused(error.to_string()),
            }
        }
        other @ (sqlx::Error::Encode(_) | sqlx::Error::Decode(_)) => {
            Failure::Refused(other.to_string())
        }
        other => Failure::Unavailable(other.to_string()),
    }
}

type Tx = Transaction<'static, Postgres>;

/// The first half: one statement for each table, rows locked in the order of their keys, so that no two daemons wait for
/// each other in a circle. A table of which something is written is locked for writing throughout, for the same reason.
async fn hold(tx: &mut Tx, wanted: &Wanted) -> Result<HashMap<Key, Held>, Failure> {
    let mut held = HashMap::with_capacity(wanted.len());
    let keys: Vec<(Key, bool)> = wanted.iter().map(|(key, write)| (*key, *write)).collect();
    for keys in keys.chunk_by(|(a, _), (b, _)| a.table == b.table) {
        let table = keys[0].0.table;
        let lock = if keys.iter().any(|(_, write)| *write) {
            "UPDATE"
        } else {
            "SHARE"
        };
        let column = match table {
            Table::Jobs => "t.leased_until, NULL::text",
            Table::Runbooks => "t.version, t.doc::text",
            _ => "t.version, NULL::text",
        };
        let sql = format!(
            "SELECT t.organisation, t.id, {column} FROM {} AS t \
             JOIN UNNEST($1::bigint[], $2::bigint[]) AS k (o, i) ON t.organisation = k.o AND t.id = k.i \
             ORDER BY t.organisation, t.id FOR {lock} OF t",
            table.name()
        );
        let (organisations, ids) = columns(keys.iter().map(|(key, _)| key));
        let rows: Vec<(i64, i64, i64, Option<String>)> = sqlx::query_as(AssertSqlSafe(sql))
            .bind(organisations)
            .bind(ids)
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
    Ok(held)
}

fn columns<'a>(keys: impl Iterator<Item = &'a Key>) -> (Vec<i64>, Vec<i64>) {
    keys.map(|key| (key.organisation, key.id)).unzip()
}

/// The second half.
async fn write(tx: &mut Tx, plan: &Plan<'_>) -> Result<(), Failure> {
    if !plan.turns.is_empty() {
        stay_absent(tx, &plan.absent).await?;
    }
    for turn in &plan.turns {
        end_jobs(tx, &turn.ended).await?;
        for (table, rows) in &turn.puts {
            // A changed row must have had the version before.
            let guard = " WHERE t.version = EXCLUDED.version - 1";
            insert(tx, *table, rows, Some(guard)).await?;
        }
        if let Some(rows) = turn.puts.get(&Table::AuditSeals) {
            mark_sealed(tx, rows).await?;
        }
        for (table, rows) in &turn.inserts {
            insert(tx, *table, rows, None).await?;
        }
        insert(tx, Table::Jobs, &turn.jobs, Some("")).await?;
        if let Some(rows) = turn.inserts.get(&Table::Refusals) {
            prune_refusals(tx, rows).await?;
        }
    }
    Ok(())
}

/// Holds the absence of rows that a batch rests on and does not write: a row that is inserted and deleted here makes
/// everybody wait who wants to insert it, until this transaction has ended.
async fn stay_absent(tx: &mut Tx, keys: &[Key]) -> Result<(), Failure> {
    for key in keys {
        // Ids are positive and names have no space: this meets no unique value of a real row.
        let cells = key.table.columns().iter().map(|(_, kind)| match kind {
            ColumnKind::Int => Cell::Int(Some(-key.id - 1)),
            ColumnKind::Text => Cell::Text(Some(format!("absent {}", key.id))),
        });
        let row = Row {
            key: *key,
            version: 1,
            cells: cells.collect(),
            doc: "null".to_owned(),
        };
        insert(tx, key.table, &[&row], None).await?;
        let sql = format!(
            "DELETE FROM {} WHERE organisation = $1 AND id = $2",
            key.table.name()
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(key.organisation)
            .bind(key.id)
            .execute(&mut **tx)
            .await
            .map_err(failure)?;
    }
    Ok(())
}

async fn end_jobs(tx: &mut Tx, keys: &[Key]) -> Result<(), Failure> {
    if keys.is_empty() {
        return Ok(());
    }
    let (organisations, ids) = columns(keys.iter());
    let done = sqlx::query(
        "DELETE FROM jobs USING UNNEST($1::bigint[], $2::bigint[]) AS k (o, i) \
         WHERE organisation = k.o AND id = k.i",
    )
    .bind(organisations)
    .bind(ids)
    .execute(&mut **tx)
    .await
    .map_err(failure)?;
    if done.rows_affected() == keys.len() as u64 {
        Ok(())
    } else {
        Err(Failure::Taken)
    }
}

/// Inserts rows; with a guard, replaces those that are there and satisfy it. A row that does not come back was kept out.
async fn insert(
    tx: &mut Tx,
    table: Table,
    rows: &[&Row],
    guard: Option<&'static str>,
) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = insertion(table, guard);
    let mut query: QueryAs<'_, Postgres, (i64,), PgArguments> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(rows.iter().map(|r| r.key.organisation).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.key.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.version).collect::<Vec<_>>())
        .bind(rows.iter().map(|r| r.doc.clone()).collect::<Vec<_>>());
    for (nth, (_, kind)) in table.columns().iter().enumerate() {
        let cells = rows.iter().map(|row| &row.cells[nth]);
        query = match kind {
            ColumnKind::Int => query.bind(
                cells
                    .map(|cell| match cell {
                        Cell::Int(value) => *value,
                        Cell::Text(_) => None,
                    })
                    .collect::<Vec<_>>(),
            ),
            ColumnKind::Text => query.bind(
                cells
                    .map(|cell| match cell {
                        Cell::Text(value) => value.clone(),
                        Cell::Int(_) => None,
                    })
                    .collect::<Vec<_>>(),
            ),
        };
    }
    let back = query.fetch_all(&mut **tx).await.map_err(failure)?;
    if back.len() == rows.len() {
        Ok(())
    } else {
        Err(Failure::Taken)
    }
}

/// One text for each table and kind of guard, so that the server prepares it once.
fn insertion(table: Table, guard: Option<&'static str>) -> String {
    let mut names = String::new();
    let mut arrays = String::new();
    let mut replaced = String::new();
    for (nth, (column, kind)) in table.columns().iter().enumerate() {
        let kind = match kind {
            ColumnKind::Int => "bigint",
            ColumnKind::Text => "text",
        };
        // Writing to a String cannot fail.
        let _ = write!(names, ", {column}");
        let _ = write!(arrays, ", ${}::{kind}[]", nth + 5);
        let _ = write!(replaced, ", {column} = EXCLUDED.{column}");
    }
    let table = table.name();
    let mut sql = format!(
        "INSERT INTO {table} AS t (organisation, id, version, doc{names}) \
         SELECT organisation, id, version, doc::json{names} \
         FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]{arrays}) \
         AS u (organisation, id, version, doc{names})"
    );
    if let Some(guard) = guard {
        let _ = write!(
            sql,
            " ON CONFLICT (organisation, id) DO UPDATE \
             SET version = EXCLUDED.version, doc = EXCLUDED.doc{replaced}{guard}"
        );
    }
    sql.push_str(" RETURNING t.id");
    sql
}

/// Marks the entries that these seals, and a few before them, name: a process of an earlier version makes seals and marks nothing.
async fn mark_sealed(tx: &mut Tx, rows: &[&Row]) -> Result<(), Failure> {
    for row in rows {
        sqlx::query(
            "UPDATE audit SET version = 2 WHERE version = 1 AND organisation = $1 AND id = ANY (ARRAY( \
             SELECT (e ->> 0)::bigint FROM audit_seals AS s, json_array_elements(s.doc -> 'entries') AS e \
             WHERE s.organisation = $1 AND s.id >= $2 - $3 AND s.id <= $2))",
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

/// Keeps the newest refusals of each sender, and of each pool of an organisation, that got one.
async fn prune_refusals(tx: &mut Tx, rows: &[&Row]) -> Result<(), Failure> {
    let (of, who): (Vec<i64>, Vec<String>) = senders(rows).into_iter().unzip();
    sqlx::query(
        "DELETE FROM refusals USING UNNEST($1::bigint[], $2::text[]) AS k (o, s) \
         WHERE organisation = k.o AND sender = k.s AND id <= (SELECT n.id FROM refusals AS n \
         WHERE n.organisation = k.o AND n.sender = k.s ORDER BY n.id DESC LIMIT 1 OFFSET $3)",
    )
    .bind(of)
    .bind(who)
    .bind(REFUSALS_OF_ONE)
    .execute(&mut **tx)
    .await
    .map_err(failure)?;
    for (organisation, pool) in pools(rows) {
        sqlx::query(
            "DELETE FROM refusals WHERE organisation = $1 AND id IN (SELECT n.id FROM refusals AS n \
             WHERE n.organisation = $1 AND CASE substr(n.sender, 1, 7) WHEN 'nobody ' THEN 0 WHEN 'serial ' THEN 2 ELSE 1 END = $2 \
             ORDER BY n.id DESC OFFSET $3)",
        )
        .bind(organisation)
        .bind(i32::try_from(pool.number()).unwrap_or_default())
        .bind(pool.most())
        .execute(&mut **tx)
        .await
        .map_err(failure)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error as StdError;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::{Failure, failure};

    /// What a server says with this code.
    #[derive(Debug)]
    struct Says(&'static str);

    impl fmt::Display for Says {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "says {}", self.0)
        }
    }

    impl StdError for Says {}

    impl DatabaseError for Says {
        fn message(&self) -> &str {
            self.0
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn said(code: &'static str) -> Failure {
        failure(sqlx::Error::Database(Box::new(Says(code))))
    }

    #[test]
    fn what_passes_is_not_available_and_what_is_wrong_is_refused() {
        // Disk full, out of memory, too many connections, statement cancelled, shut down, starting up, IO error, connection lost,
        // lock not available, read only (a replica that has not taken over yet), idle in a transaction for too long.
        let passes = [
            "53100", "53200", "53300", "57014", "57P01", "57P02", "57P03", "58030", "08006",
            "55P03", "25006", "25P03",
        ];
        for code in passes {
            let found = said(code);
            assert!(
                matches!(found, Failure::Unavailable(_)),
                "{code}: {found:?}"
            );
        }
        for code in ["40001", "40P01"] {
            assert!(matches!(said(code), Failure::Again(_)), "{code}");
        }
        assert!(matches!(said("23505"), Failure::Taken));
        for code in ["42601", "42501", "22P02", "23514"] {
            assert!(matches!(said(code), Failure::Refused(_)), "{code}");
        }
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        for error in [
            sqlx::Error::Io(lost),
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
        ] {
            assert!(matches!(failure(error), Failure::Unavailable(_)));
        }
    }
}
