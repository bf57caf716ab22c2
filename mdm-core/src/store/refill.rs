//! Columns are made of documents. After a script that adds one the rows that are there get it from theirs, at the next start: page by page,
//! resumed where a process ended, harmless when two do it at once.

use super::StoreError;
use super::row::{Cell, ColumnKind, PAGE, Raw, Table, cells_of, page_of};

/// A row whose columns are to be made anew; one that cannot be read stays as it is, for whoever mends it.
pub(super) fn again(table: Table, raw: Raw) -> Option<Vec<Cell>> {
    cells_of(table, raw)
        .inspect_err(|error| tracing::error!(%error, "the columns of a row are not made anew"))
        .ok()
}

/// The columns of a table, each set to the parameter of its place.
pub(super) fn sets(table: Table, sign: &str) -> String {
    let columns = table.columns().iter().enumerate();
    let sets: Vec<String> = columns
        .map(|(at, (name, _))| format!("{name} = {sign}{}", at + 1))
        .collect();
    sets.join(", ")
}

/// The same for each database: only the sign before a parameter's number and the document's type differ.
macro_rules! refill {
    ($name:ident, $pool:ty, $sign:literal, $doc:literal, $unavailable:path) => {
        /// Makes the columns of the tables anew of which a script has said so.
        pub(super) async fn $name(pool: &$pool) -> Result<(), StoreError> {
            let names: Vec<String> =
                sqlx::query_scalar("SELECT name FROM schema_refill ORDER BY name")
                    .fetch_all(pool)
                    .await
                    .map_err($unavailable)?;
            for name in names {
                // Of a newer version: that one does it.
                let Some(table) = Table::ALL.into_iter().find(|t| t.name() == name) else {
                    continue;
                };
                let columns = table.columns();
                let read = page_of(table, "", $doc, $sign);
                let write = format!(
                    concat!(
                        "UPDATE {} SET {} WHERE organisation = ",
                        $sign,
                        "{} AND id = ",
                        $sign,
                        "{} AND version = ",
                        $sign,
                        "{}"
                    ),
                    table.name(),
                    sets(table, $sign),
                    columns.len() + 1,
                    columns.len() + 2,
                    columns.len() + 3
                );
                let mut after = (i64::MIN, i64::MIN);
                loop {
                    let mut page = pool.begin().await.map_err($unavailable)?;
                    let rows: Vec<(i64, i64, i64, String)> =
                        sqlx::query_as(sqlx::AssertSqlSafe(read.clone()))
                            .bind(after.0)
                            .bind(after.1)
                            .bind(PAGE)
                            .fetch_all(&mut *page)
                            .await
                            .map_err($unavailable)?;
                    let Some(last) = rows.last() else { break };
                    after = (last.0, last.1);
                    for (organisation, id, version, doc) in rows {
                        let Some(cells) =
                            again(table, (organisation, id, version, doc.into_bytes()))
                        else {
                            continue;
                        };
                        let mut update = sqlx::query(sqlx::AssertSqlSafe(write.clone()));
                        for ((_, kind), cell) in columns.iter().zip(cells) {
                            update = match (kind, cell) {
                                (ColumnKind::Int, Cell::Int(number)) => update.bind(number),
                                (ColumnKind::Text, Cell::Text(text)) => update.bind(text),
                                (ColumnKind::Int, Cell::Text(_)) => update.bind(None::<i64>),
                                (ColumnKind::Text, Cell::Int(_)) => update.bind(None::<String>),
                            };
                        }
                        // Guarded by its version: what somebody has written meanwhile has its columns.
                        update
                            .bind(organisation)
                            .bind(id)
                            .bind(version)
                            .execute(&mut *page)
                            .await
                            .map_err($unavailable)?;
                    }
                    page.commit().await.map_err($unavailable)?;
                }
                sqlx::query(concat!(
                    "DELETE FROM schema_refill WHERE name = ",
                    $sign,
                    "1"
                ))
                .bind(&name)
                .execute(pool)
                .await
                .map_err($unavailable)?;
            }
            Ok(())
        }
    };
}

#[cfg(feature = "sqlite")]
refill!(
    refill_sqlite,
    sqlx::SqlitePool,
    "?",
    "doc",
    super::sqlite::unavailable
);
#[cfg(feature = "postgres")]
refill!(
    refill_postgres,
    sqlx::PgPool,
    "$",
    "doc::text",
    super::postgres::unavailable
);
