//! A whole simple group as one statement, and thereby one transaction: one way to the server and back. The parts are
//! counted in a fixed order, each before the next one begins, and a part that found other than its rows ends the statement
//! with an error, so that nothing is written.

use std::fmt::Write as _;

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::{Arguments as _, Encode, Type};

use crate::store::group_commit::Simple;
use crate::store::row::{Cell, ColumnKind, Row, Table};

/// The statement with its values.
pub(super) fn statement(simple: &Simple<'_>) -> Result<(String, PgArguments), BoxDynError> {
    let mut all = Parts::default();
    for (table, expects) in &simple.expects {
        all.expect(
            *table,
            expects.iter().map(|(k, v)| (k.organisation, k.id, *v)),
        )?;
    }
    if !simple.ended.is_empty() {
        all.end(simple.ended.iter().map(|(k, l)| (k.organisation, k.id, *l)))?;
    }
    let changes = |all: &mut Parts| {
        simple
            .changes
            .iter()
            .try_for_each(|(table, rows)| all.change(*table, rows))
    };
    if simple.alone {
        changes(&mut all)?;
    }
    for (table, rows) in &simple.inserts {
        all.insert(*table, rows, false)?;
    }
    if !simple.alone {
        changes(&mut all)?;
    }
    if !simple.jobs.is_empty() {
        all.insert(Table::Jobs, &simple.jobs, true)?;
    }
    all.finish()
}

#[derive(Default)]
struct Parts {
    sql: String,
    arguments: PgArguments,
    binds: usize,
    /// How many rows each part must find.
    counts: Vec<i64>,
}

impl Parts {
    /// Begins a part that must find `rows` rows.
    fn part(&mut self, rows: usize) -> Result<(), BoxDynError> {
        let word = if self.counts.is_empty() { "WITH" } else { "," };
        let _ = write!(self.sql, "{word} p{} AS ", self.counts.len());
        self.counts.push(i64::try_from(rows)?);
        Ok(())
    }

    /// Binds a value and names it.
    fn bind<'t, T>(&mut self, value: T) -> Result<String, BoxDynError>
    where
        T: Encode<'t, Postgres> + Type<Postgres> + 't,
    {
        self.arguments.add(value)?;
        self.binds += 1;
        Ok(format!("${}", self.binds))
    }

    /// Binds three columns of numbers as a table.
    fn numbers(
        &mut self,
        rows: impl Iterator<Item = (i64, i64, i64)>,
    ) -> Result<(usize, String), BoxDynError> {
        let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
        for (a, b, c) in rows {
            first.push(a);
            second.push(b);
            third.push(c);
        }
        let count = first.len();
        let (a, b, c) = (self.bind(first)?, self.bind(second)?, self.bind(third)?);
        let table = format!("UNNEST({a}::bigint[], {b}::bigint[], {c}::bigint[]) AS k (o, i, v)");
        Ok((count, table))
    }

    fn expect(
        &mut self,
        table: Table,
        rows: impl Iterator<Item = (i64, i64, i64)>,
    ) -> Result<(), BoxDynError> {
        let (count, keys) = self.numbers(rows)?;
        self.part(count)?;
        let _ = write!(
            self.sql,
            "MATERIALIZED (SELECT 1 FROM {keys} JOIN {} AS t ON t.organisation = k.o AND t.id = k.i AND t.version = k.v \
             ORDER BY t.organisation, t.id FOR SHARE OF t)",
            table.name()
        );
        Ok(())
    }

    fn end(&mut self, rows: impl Iterator<Item = (i64, i64, i64)>) -> Result<(), BoxDynError> {
        let (count, keys) = self.numbers(rows)?;
        self.part(count)?;
        let _ = write!(
            self.sql,
            "(DELETE FROM jobs AS t USING {keys} \
             WHERE t.organisation = k.o AND t.id = k.i AND t.leased_until = k.v RETURNING 1)"
        );
        Ok(())
    }

    /// Binds rows as a table `u`; gives it, and the names of its columns beside organisation, id, version and document.
    fn rows(&mut self, table: Table, rows: &[&Row]) -> Result<(String, String), BoxDynError> {
        let organisations: Vec<i64> = rows.iter().map(|r| r.key.organisation).collect();
        let ids: Vec<i64> = rows.iter().map(|r| r.key.id).collect();
        let versions: Vec<i64> = rows.iter().map(|r| r.version).collect();
        let docs: Vec<&str> = rows.iter().map(|r| r.doc.as_str()).collect();
        let mut arrays = format!(
            "{}::bigint[], {}::bigint[], {}::bigint[], {}::text[]",
            self.bind(organisations)?,
            self.bind(ids)?,
            self.bind(versions)?,
            self.bind(docs)?
        );
        let mut names = String::new();
        for (nth, (column, kind)) in table.columns().iter().enumerate() {
            let cells = rows.iter().map(|row| &row.cells[nth]);
            let array = match kind {
                ColumnKind::Int => {
                    let values = cells.map(|cell| match cell {
                        Cell::Int(value) => *value,
                        Cell::Text(_) => None,
                    });
                    let name = self.bind(values.collect::<Vec<Option<i64>>>())?;
                    format!(", {name}::bigint[]")
                }
                ColumnKind::Text => {
                    let values = cells.map(|cell| match cell {
                        Cell::Text(value) => value.as_deref(),
                        Cell::Int(_) => None,
                    });
                    let name = self.bind(values.collect::<Vec<Option<&str>>>())?;
                    format!(", {name}::text[]")
                }
            };
            arrays.push_str(&array);
            let _ = write!(names, ", {column}");
        }
        let table = format!("UNNEST({arrays}) AS u (organisation, id, version, doc{names})");
        Ok((table, names))
    }

    fn change(&mut self, table: Table, rows: &[&Row]) -> Result<(), BoxDynError> {
        let (source, _) = self.rows(table, rows)?;
        self.part(rows.len())?;
        let mut set = String::new();
        for (column, _) in table.columns() {
            let _ = write!(set, ", {column} = u.{column}");
        }
        let _ = write!(
            self.sql,
            "(UPDATE {} AS t SET version = u.version, doc = u.doc::json{set} FROM {source} \
             WHERE t.organisation = u.organisation AND t.id = u.id AND t.version = u.version - 1 RETURNING 1)",
            table.name()
        );
        Ok(())
    }

    fn insert(&mut self, table: Table, rows: &[&Row], replace: bool) -> Result<(), BoxDynError> {
        let (source, names) = self.rows(table, rows)?;
        self.part(rows.len())?;
        let _ = write!(
            self.sql,
            "(INSERT INTO {} AS t (organisation, id, version, doc{names}) \
             SELECT organisation, id, version, doc::json{names} FROM {source}",
            table.name()
        );
        if replace {
            self.sql.push_str(
                " ON CONFLICT (organisation, id) DO UPDATE SET version = EXCLUDED.version, doc = EXCLUDED.doc",
            );
            for (column, _) in table.columns() {
                let _ = write!(self.sql, ", {column} = EXCLUDED.{column}");
            }
        }
        self.sql.push_str(" RETURNING 1)");
        Ok(())
    }

    /// Counts the parts one after the other. The text that cannot become a number ends the statement.
    fn finish(mut self) -> Result<(String, PgArguments), BoxDynError> {
        let counts = std::mem::take(&mut self.counts);
        let (mut before, mut after) = (String::new(), String::new());
        for (nth, count) in counts.into_iter().enumerate() {
            let wanted = self.bind(count)?;
            let found = format!("(SELECT count(*) FROM p{nth})");
            let _ = write!(before, "CASE WHEN {found} = {wanted} THEN ");
            after.insert_str(0, &format!(" ELSE ('taken ' || {found})::bigint END"));
        }
        let _ = write!(self.sql, " SELECT {before}1::bigint{after}");
        Ok((self.sql, self.arguments))
    }
}
