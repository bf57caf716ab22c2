//! A connection that is kept from one statement to the next while more is waiting. A pool asks each connection that comes back
//! whether it still lives: a way to the server and back of its own, as long as that of a poll's statement, and nobody has the
//! connection meanwhile.

use std::fmt;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};

/// After so many statements or transactions the connection goes back all the same: others wait for it too.
const MOST: u32 = 16;
/// And after so long: on a slow disk few statements are a long time for whoever renews a lease.
const LONGEST: Duration = Duration::from_millis(50);

/// A place for one connection of a pool.
pub(super) struct Kept<DB: Database> {
    pool: Pool<DB>,
    connection: Option<PoolConnection<DB>>,
    uses: u32,
    since: Instant,
}

impl<DB: Database> Kept<DB> {
    pub(super) fn new(pool: Pool<DB>) -> Self {
        Self {
            pool,
            connection: None,
            uses: 0,
            since: Instant::now(),
        }
    }

    /// The connection, for one statement or transaction. If that fails, it is to be let go.
    pub(super) async fn take(&mut self) -> Result<&mut DB::Connection, sqlx::Error> {
        if self.uses >= MOST || self.since.elapsed() >= LONGEST {
            self.let_go();
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = self.pool.acquire().await?;
                self.since = Instant::now();
                connection
            }
        };
        self.uses += 1;
        Ok(&mut **self.connection.insert(connection))
    }

    /// Gives the connection back to the pool, which asks whether it still lives.
    pub(super) fn let_go(&mut self) {
        self.connection = None;
        self.uses = 0;
    }

    /// The pool, with the connection back in it.
    pub(super) fn pool(&mut self) -> &Pool<DB> {
        self.let_go();
        &self.pool
    }
}

/// Another place at the same pool, with no connection yet.
impl<DB: Database> Clone for Kept<DB> {
    fn clone(&self) -> Self {
        Self::new(self.pool.clone())
    }
}

impl<DB: Database> fmt::Debug for Kept<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("uses", &self.uses)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use sqlx::Sqlite;
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

    async fn one() -> Pool<Sqlite> {
        let pool = SqlitePoolOptions::new().max_connections(1);
        pool.connect("sqlite::memory:").await.unwrap()
    }

    async fn look(kept: &mut Kept<Sqlite>) {
        let connection = kept.take().await.unwrap();
        let (one,): (i64,) = sqlx::query_as("SELECT 1")
            .fetch_one(connection)
            .await
            .unwrap();
        assert_eq!(one, 1);
    }

    #[tokio::test]
    async fn it_is_kept_until_it_is_let_go() {
        let pool = one().await;
        let mut kept = Kept::new(pool.clone());
        look(&mut kept).await;
        look(&mut kept).await;
        let taken = tokio::time::timeout(Duration::from_millis(20), pool.acquire()).await;
        assert!(taken.is_err(), "it came back after each statement");
        // Another place waits like everybody else.
        assert!(kept.clone().connection.is_none());
        kept.let_go();
        pool.acquire().await.unwrap();
        // So does one that was kept for long, with the next statement.
        look(&mut kept).await;
        kept.since -= LONGEST;
        look(&mut kept).await;
        assert_eq!(kept.uses, 1);
        kept.pool().acquire().await.unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_for_it_gets_it_though_there_is_always_more() {
        let pool = one().await;
        let mut kept = Kept::new(pool.clone());
        look(&mut kept).await;
        let waiting = tokio::spawn(async move { pool.acquire().await.map(drop) });
        for _ in 0..=2 * MOST {
            tokio::task::yield_now().await;
            look(&mut kept).await;
        }
        assert!(kept.connection.is_some());
        tokio::time::timeout(Duration::from_secs(5), waiting)
            .await
            .expect("it was never given back")
            .unwrap()
            .unwrap();
    }
}
