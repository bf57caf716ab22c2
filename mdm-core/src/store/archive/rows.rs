//! The rows of our own tables, out of a database and into one.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::sync::mpsc::{Receiver, Sender};

use super::{Archive, ArchivedCell, ArchivedRow};
use crate::store::StoreError;
use crate::store::row::{ColumnKind, PAGE, Table, page_of};

/// A work that nobody does any more: who had leased it is not there where the row goes.
fn given_back(table: Table, cells: &mut [ArchivedCell]) {
    if let (Table::Jobs, [due, leased_until, ready_at]) = (table, cells) {
        *leased_until = ArchivedCell::Int(0);
        *ready_at = due.clone();
    }
}

fn names(table: Table) -> String {
    table
        .columns()
        .iter()
        .map(|(name, _)| format!(", {name}"))
        .collect()
}

fn fits(row: &ArchivedRow) -> Option<Table> {
    let table = Table::ALL.into_iter().find(|t| t.name() == row.table)?;
    let columns = table.columns();
    let each = columns.iter().zip(&row.cells).all(|((_, kind), cell)| {
        matches!(
            (kind, cell),
            (_, ArchivedCell::Nothing(()))
                | (ColumnKind::Int, ArchivedCell::Int(_))
                | (ColumnKind::Text, ArchivedCell::Text(_))
        )
    });
    (each && columns.len() == row.cells.len() && row.version > 0).then_some(table)
}

/// The same for each database: only the sign before a parameter's number, the document's type and the way to see one
/// moment differ.
macro_rules! archive {
    ($store:ty, $sign:literal, $doc:literal, $written:literal, $begin:literal, $unavailable:path) => {
        #[async_trait]
        impl Archive for $store {
            fn schema(&self) -> i64 {
                self.newest_change()
            }

            async fn export(&self, to: Sender<ArchivedRow>) -> Result<u64, StoreError> {
                let mut moment = self.reading_pool().begin().await.map_err($unavailable)?;
                if !$begin.is_empty() {
                    sqlx::query($begin)
                        .execute(&mut *moment)
                        .await
                        .map_err($unavailable)?;
                }
                let mut count = 0;
                for table in Table::ALL {
                    let sql = page_of(table, &names(table), $doc, $sign);
                    let mut after = (i64::MIN, i64::MIN);
                    loop {
                        let rows = sqlx::query(AssertSqlSafe(sql.clone()))
                            .bind(after.0)
                            .bind(after.1)
                            .bind(PAGE)
                            .fetch_all(&mut *moment)
                            .await
                            .map_err($unavailable)?;
                        let last = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
                        for row in rows {
                            let mut cells = Vec::with_capacity(table.columns().len());
                            for (at, (_, kind)) in table.columns().iter().enumerate() {
                                let cell = match kind {
                                    ColumnKind::Int => row
                                        .try_get::<Option<i64>, _>(3 + at)
                                        .map(|cell| cell.map(ArchivedCell::Int)),
                                    ColumnKind::Text => row
                                        .try_get::<Option<String>, _>(3 + at)
                                        .map(|cell| cell.map(ArchivedCell::Text)),
                                };
                                cells.push(
                                    cell.map_err($unavailable)?
                                        .unwrap_or(ArchivedCell::Nothing(())),
                                );
                            }
                            given_back(table, &mut cells);
                            let row = ArchivedRow {
                                table: table.name().to_owned(),
                                organisation: row.try_get(0).map_err($unavailable)?,
                                id: row.try_get(1).map_err($unavailable)?,
                                version: row.try_get(2).map_err($unavailable)?,
                                doc: row.try_get(3 + cells.len()).map_err($unavailable)?,
                                cells,
                            };
                            after = (row.organisation, row.id);
                            count += 1;
                            to.send(row).await.map_err(|_| {
                                StoreError::Unavailable("nobody takes the rows any more".to_owned())
                            })?;
                        }
                        if last {
                            break;
                        }
                    }
                }
                moment.rollback().await.map_err($unavailable)?;
                Ok(count)
            }

            async fn import(
                &self,
                mut from: Receiver<Result<ArchivedRow, StoreError>>,
            ) -> Result<u64, StoreError> {
                let mut all = self.writing_pool().begin().await.map_err($unavailable)?;
                let used: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM organisations)")
                    .fetch_one(&mut *all)
                    .await
                    .map_err($unavailable)?;
                if used {
                    return Err(StoreError::Conflict);
                }
                let mut count = 0;
                while let Some(row) = from.recv().await {
                    let row = row?;
                    let table = fits(&row).ok_or_else(|| {
                        StoreError::Database(format!("{row:?} does not fit the tables"))
                    })?;
                    let signs: String = (1..=3 + row.cells.len())
                        .map(|n| format!(concat!($sign, "{}, "), n))
                        .collect();
                    let last = format!(concat!($sign, "{}", $written), 4 + row.cells.len());
                    let sql = format!(
                        "INSERT INTO {} (organisation, id, version{}, doc) VALUES ({signs}{last})",
                        table.name(),
                        names(table)
                    );
                    let mut insert = sqlx::query(AssertSqlSafe(sql))
                        .bind(row.organisation)
                        .bind(row.id)
                        .bind(row.version);
                    for ((_, kind), cell) in table.columns().iter().zip(&row.cells) {
                        insert = match (kind, cell) {
                            (ColumnKind::Int, ArchivedCell::Int(number)) => {
                                insert.bind(Some(*number))
                            }
                            (ColumnKind::Int, _) => insert.bind(None::<i64>),
                            (ColumnKind::Text, ArchivedCell::Text(text)) => {
                                insert.bind(Some(text.clone()))
                            }
                            (ColumnKind::Text, _) => insert.bind(None::<String>),
                        };
                    }
                    let done = insert.bind(row.doc.clone()).execute(&mut *all).await;
                    // The database's own words could quote the row.
                    done.map_err(|_| {
                        StoreError::Database(format!("{row:?} is not taken by the database"))
                    })?;
                    count += 1;
                }
                all.commit().await.map_err($unavailable)?;
                Ok(count)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
archive!(
    crate::store::SqliteStore,
    "?",
    "doc",
    "",
    "",
    crate::store::sqlite::unavailable
);
#[cfg(feature = "postgres")]
archive!(
    crate::store::PostgresStore,
    "$",
    "doc::text",
    "::json",
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    crate::store::postgres::unavailable
);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_table_is_in_an_archive() {
        let mut made = BTreeSet::new();
        for entry in
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/sqlite")).unwrap()
        {
            let script = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            for rest in script.split("CREATE TABLE ").skip(1) {
                made.insert(rest.split_whitespace().next().unwrap().to_owned());
            }
        }
        // What the tables themselves have been through goes with the tables.
        made.retain(|name| !name.starts_with("schema_"));
        let all: BTreeSet<_> = Table::ALL.iter().map(|t| t.name().to_owned()).collect();
        assert_eq!(made, all);
    }

    #[test]
    fn a_row_fits_its_own_table_only() {
        let row = |table: &str, cells| ArchivedRow {
            table: table.to_owned(),
            organisation: 1,
            id: 1,
            version: 1,
            cells,
            doc: "{}".to_owned(),
        };
        let text = || ArchivedCell::Text("ORG".to_owned());
        assert_eq!(
            fits(&row("organisations", vec![text()])),
            Some(Table::Organisations)
        );
        assert_eq!(
            fits(&row("organisations", vec![ArchivedCell::Nothing(())])),
            Some(Table::Organisations)
        );
        assert_eq!(fits(&row("organisations", vec![])), None);
        assert_eq!(
            fits(&row("organisations", vec![ArchivedCell::Int(1)])),
            None
        );
        assert_eq!(
            fits(&row("organisations; DROP TABLE devices", vec![text()])),
            None
        );
        let cells = vec![ArchivedCell::Nothing(()), ArchivedCell::Int(1), text()];
        let read: Vec<ArchivedCell> =
            serde_json::from_str(&serde_json::to_string(&cells).unwrap()).unwrap();
        assert_eq!(read, cells);
    }
}
