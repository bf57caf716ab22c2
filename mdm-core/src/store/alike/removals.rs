//! Organisations that were taken away, and the deletion of their rows.

use std::fmt::Write as _;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Transaction};

use super::{ONE_REMOVES, ThisDatabase, ThisStore, document, failed, ids, list, rows};
use crate::ids::OrganisationId;
use crate::removal::Removal;
use crate::server_certificate::INSTALLATION;
use crate::store::row::{Cell, Row, Table};
use crate::store::{RemovalStore, StoreError, erasing};

/// Rows of a table of the organisation, by their ids.
type Piece = (Table, Vec<i64>);

#[async_trait]
impl RemovalStore for ThisStore {
    async fn removal(&self, id: OrganisationId) -> Result<Option<Removal>, StoreError> {
        rows!(
            self,
            one,
            "removals WHERE organisation = $1 AND id = $2",
            INSTALLATION.0,
            id.0,
        )
    }

    async fn removals(
        &self,
        after: OrganisationId,
        limit: u32,
    ) -> Result<Vec<Removal>, StoreError> {
        rows!(
            self,
            readable limit,
            "removals WHERE organisation = $1 AND id > $2 ORDER BY id LIMIT $3",
            INSTALLATION.0,
            after.0
        )
    }

    async fn begin_removal(&self, removal: &Removal) -> Result<(), StoreError> {
        let Some(kept) = &removal.kept else {
            return Err(refused("an organisation goes with its row"));
        };
        let row = Row::of(removal)?;
        let mut tx = self.clearing_pool().begin().await.map_err(failed)?;
        if let Some(lock) = ONE_REMOVES {
            let locked = sqlx::query(lock).execute(&mut *tx).await;
            locked.map_err(failed)?;
        }
        // Only if it is as it was read: whoever decides on it holds it, or finds it gone.
        let gone = sqlx::query(
            "DELETE FROM organisations WHERE organisation = $1 AND id = $1 AND version = $2",
        )
        .bind(removal.id.0)
        .bind(kept.version)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        // A database without any is taken for one that was never made. Its own row has gone in this transaction.
        let other: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM organisations WHERE organisation > $1 ORDER BY organisation LIMIT 1",
        )
        .bind(INSTALLATION.0)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        if gone.rows_affected() != 1 || other.is_none() {
            tx.rollback().await.map_err(failed)?;
            return Err(StoreError::Conflict);
        }
        insert(&mut tx, row).await?;
        tx.commit().await.map_err(failed)
    }

    async fn undo_removal(&self, removal: &Removal) -> Result<(), StoreError> {
        let Some(kept) = &removal.kept else {
            return Err(refused("its row is gone"));
        };
        let mut organisation = (*kept.organisation).clone();
        organisation.version = kept.version;
        let row = Row::of(&organisation)?;
        let mut tx = self.clearing_pool().begin().await.map_err(failed)?;
        let gone = sqlx::query(
            "DELETE FROM removals WHERE organisation = $1 AND id = $2 AND version = $3",
        )
        .bind(INSTALLATION.0)
        .bind(removal.id.0)
        .bind(removal.version)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        if gone.rows_affected() != 1 {
            tx.rollback().await.map_err(failed)?;
            return Err(StoreError::Conflict);
        }
        insert(&mut tx, row).await?;
        tx.commit().await.map_err(failed)
    }

    async fn keep_removal(&self, removal: &Removal) -> Result<Removal, StoreError> {
        self.write_removal(removal.clone(), None).await
    }

    async fn erase(&self, removal: &Removal, limit: u32) -> Result<Removal, StoreError> {
        if removal.kept.is_some() || removal.id == INSTALLATION {
            return Err(refused("the rows of an organisation go after its own"));
        }
        let mut next = removal.clone();
        let mut place = next.place.take().unwrap_or_else(erasing::beginning);
        loop {
            let table = erasing::table_at(&place);
            let ids = self.next_rows(removal.id, table, place.after, limit);
            let ids = ids.await?;
            if let Some(last) = ids.last() {
                (place.after, place.met) = (*last, true);
                next.place = Some(place);
                return self.write_removal(next, Some((table, ids))).await;
            }
            match erasing::behind(table, place.met) {
                Some(behind) => place = behind,
                None => break,
            }
        }
        next.empty = !place.met;
        self.write_removal(next, None).await
    }
}

impl ThisStore {
    /// The next rows of an organisation behind an id, so many at most.
    async fn next_rows(
        &self,
        organisation: OrganisationId,
        table: Table,
        after: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        // Asked for by the name of every table once: no connection keeps that.
        sqlx::query_scalar(AssertSqlSafe(erasing::next_rows(table)))
            .bind(organisation.0)
            .bind(after)
            .bind(i64::from(limit.max(1)))
            .persistent(false)
            .fetch_all(self.reading_pool())
            .await
            .map_err(failed)
    }

    /// Deletes a piece, if there is one, counts it, and writes the row anew: all of it or nothing.
    async fn write_removal(
        &self,
        mut removal: Removal,
        piece: Option<Piece>,
    ) -> Result<Removal, StoreError> {
        let mut tx = self.clearing_pool().begin().await.map_err(failed)?;
        if let Some((table, ids)) = piece {
            let gone = sqlx::query(AssertSqlSafe(erasing::delete_rows(table, ids!(2))))
                .bind(removal.id.0)
                .bind(list(ids.iter().copied()))
                .persistent(false)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
            let count = removal.erased.entry(table.name().to_owned()).or_default();
            *count += gone.rows_affected();
        }
        let row = Row::of(&removal)?;
        let written = sqlx::query(concat!(
            "UPDATE removals SET version = $3, doc = ",
            document!(4),
            " WHERE organisation = $1 AND id = $2 AND version = $5"
        ))
        .bind(row.key.organisation)
        .bind(row.key.id)
        .bind(row.version)
        .bind(row.doc)
        .bind(removal.version)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        if written.rows_affected() != 1 {
            tx.rollback().await.map_err(failed)?;
            return Err(StoreError::Conflict);
        }
        tx.commit().await.map_err(failed)?;
        removal.version = row.version;
        Ok(removal)
    }
}

/// Inserts a row that is not there, with every column that its table has.
async fn insert(tx: &mut Transaction<'static, ThisDatabase>, row: Row) -> Result<(), StoreError> {
    let (mut names, mut values) = (String::new(), String::new());
    for (nth, (column, _)) in row.key.table.columns().iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(names, ", {column}");
        let _ = write!(values, ", ${}", nth + 5);
    }
    let (table, doc) = (row.key.table.name(), document!(4));
    let sql = format!(
        "INSERT INTO {table} (organisation, id, version, doc{names}) VALUES ($1, $2, $3, {doc}{values})"
    );
    let mut query = sqlx::query::<ThisDatabase>(AssertSqlSafe(sql))
        .bind(row.key.organisation)
        .bind(row.key.id)
        .bind(row.version)
        .bind(row.doc);
    for cell in row.cells {
        query = match cell {
            Cell::Int(value) => query.bind(value),
            Cell::Text(value) => query.bind(value),
        };
    }
    query.execute(&mut **tx).await.map_err(failed)?;
    Ok(())
}

fn refused(why: &str) -> StoreError {
    StoreError::Database(why.to_owned())
}
