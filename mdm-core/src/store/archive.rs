//! Everything in a store as rows that any store of the same version takes: for backups, and for moving from SQLite to
//! PostgreSQL. One moment of it, while others write. Interprets no document.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod rows;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, Sender};

use super::{Store, StoreError};

/// A row of any table, as it is stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedRow {
    table: String,
    organisation: i64,
    id: i64,
    version: i64,
    cells: Vec<ArchivedCell>,
    doc: String,
}

// What is in a document is nobody's business here.
impl std::fmt::Debug for ArchivedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ArchivedRow({} {}/{})",
            self.table, self.organisation, self.id
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum ArchivedCell {
    Int(i64),
    Text(String),
    Nothing(()),
}

/// A store whose rows can be taken out and put in as they are.
#[async_trait]
pub trait Archive: Store {
    /// The number of the newest change to the tables: rows fit stores with the same one.
    fn schema(&self) -> i64;

    /// Sends every row, as all of them are at one moment; others may write meanwhile. Answers how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database, or whoever takes the rows, is gone.
    async fn export(&self, to: Sender<ArchivedRow>) -> Result<u64, StoreError>;

    /// Puts rows into an empty store: all of them or none. Answers how many.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the store holds an organisation; [`StoreError::Database`] for a row that does not fit;
    /// [`StoreError::Unavailable`]. Then the store is as it was.
    async fn import(
        &self,
        from: Receiver<Result<ArchivedRow, StoreError>>,
    ) -> Result<u64, StoreError>;
}
