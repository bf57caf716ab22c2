//! PostgreSQL, for installations with several daemons or with a database of their own.
//! Refuses a server that may lose what it acknowledged, unless that loss is accepted by name.

mod at_once;
mod channel;
mod forget;
mod heard;
mod history;
mod jobs;
mod unreadable;
mod write;

// What both databases are asked in the same words.
#[path = "../alike/acme.rs"]
mod acme;
#[path = "../alike/apple.rs"]
mod apple;
#[path = "../alike/audit.rs"]
mod audit;
#[path = "../alike/commands.rs"]
mod commands;
#[path = "../alike/declarations.rs"]
mod declarations;
#[path = "../alike/devices.rs"]
mod devices;
#[path = "../alike/enrollments.rs"]
mod enrollments;
#[path = "../alike/hooks.rs"]
mod hooks;
#[path = "../alike/library.rs"]
mod library;
#[path = "../alike/moves.rs"]
mod moves;
#[path = "../alike/organisations.rs"]
mod organisations;
#[path = "../alike/originals.rs"]
mod originals;
#[path = "../alike/people.rs"]
mod people;
#[path = "../alike/removals.rs"]
mod removals;
#[path = "../alike/repeats.rs"]
mod repeats;
#[path = "../alike/secrets.rs"]
mod secrets;
#[path = "../alike/server_certificates.rs"]
mod server_certificates;
#[path = "../alike/set_ups.rs"]
mod set_ups;
#[path = "../alike/waves.rs"]
mod waves;

use std::io::ErrorKind;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _};

use self::forget::Looked;
use super::channel::Gather;
use super::group_commit::GroupCommit;
use super::kept::Kept;
use super::refill::refill_postgres;
use super::row::{Met, Raw, Stored};
use super::schema::{APPLIED, FLOOR, Had, beside, had, newest, other_version};
use super::{Batch, ChannelAsk, ChannelView, CommitFigures, Store, StoreError, UnreadableRow};

/// After how long without use a connection is asked whether it still lives.
const IDLE: Duration = Duration::from_secs(5);

/// How long it may take to say so; then it is given up, and another is made.
const SILENCE: Duration = Duration::from_secs(5);

/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 512;
/// How many connections read for channels' messages: while one waits for the server, the other gathers.
const GATHERERS: u32 = 2;

/// How long one connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(10);

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut scripts = sqlx::migrate!("schema/postgres");
    // Those of a newer version, beside which this one may work: looked at before.
    scripts.set_ignore_missing(true);
    scripts
});

/// How to use a PostgreSQL server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// Work with a server that has `fsync`, `synchronous_commit` or `full_page_writes` off: what was acknowledged, a
    /// recovery key included, can then be lost in a crash. Off by default.
    pub accept_lost_commits: bool,
    /// How many connections read and claim at once, beside the one that writes and the two that read for
    /// devices' messages.
    pub connections: u32,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            accept_lost_commits: false,
            connections: 8,
        }
    }
}

/// A store in PostgreSQL.
///
/// Clones share the connections. A commit is acknowledged when the server says that it is on its disk; when the
/// connection breaks during a commit the answer is [`StoreError::Unavailable`] although the batch may be stored, and
/// the same batch again is then a conflict.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    reads: PgPool,
    writes: PgPool,
    /// What channels' messages ask, gathered.
    channels: PgPool,
    gather: Gather,
    commits: GroupCommit,
    /// Rows that were met and cannot be read.
    met: Met,
    /// How many connections were made.
    made: Made,
    /// How far what looks for unnamed rows has come.
    looked: Looked,
}

/// Counts connections.
type Made = Arc<AtomicU64>;

impl PostgresStore {
    /// Connects to `postgres://user:password@host/database`, checks that the server keeps what it acknowledges, and
    /// brings the tables up to date (one daemon at a time).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server cannot be reached; [`StoreError::Database`] when it may lose commits,
    /// does not speak UTF-8, or its tables belong to another version.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let server = server(url)?;
        let made = Made::default();
        let writes = match steady(1, &made).connect_with(server.clone()).await {
            Ok(writes) => writes,
            Err(error) => return Err(why_not(&server, error).await),
        };
        durable(&writes, options).await?;
        let applied = sqlx::query_as(APPLIED).fetch_all(&writes).await;
        if had(&MIGRATIONS, applied).more {
            beside(
                &MIGRATIONS,
                sqlx::query_scalar(FLOOR).fetch_one(&writes).await,
            )?;
        }
        MIGRATIONS
            .run(&writes)
            .await
            .map_err(|error| StoreError::Database(error.to_string()))?;
        refill_postgres(&writes).await?;
        Self::over(writes, server, options, made).await
    }

    /// Connects to a database that has our tables, to look at it: leaves the tables as they are and refuses every write.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server cannot be reached, at once; [`StoreError::Database`] when the tables are
    /// those of another version.
    pub async fn look(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let server = server(url)?.options([("default_transaction_read_only", "on")]);
        let mut first = first(&server).await?;
        let applied = sqlx::query_as(APPLIED).fetch_all(&mut first).await;
        let fits = match had(&MIGRATIONS, applied) {
            Had { ours: false, .. } => Err(other_version()),
            Had { more: false, .. } => Ok(()),
            Had { more: true, .. } => beside(
                &MIGRATIONS,
                sqlx::query_scalar(FLOOR).fetch_one(&mut first).await,
            ),
        };
        let _ = first.close().await;
        fits?;
        let made = Made::default();
        let writes = steady(1, &made).connect_with(server.clone()).await;
        Self::over(writes.map_err(unavailable)?, server, options, made).await
    }

    /// Whether a database holds an organisation, whatever version its tables are of. Changes nothing in it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server cannot be reached, at once; [`StoreError::Database`] when it refuses.
    pub async fn is_in_use(url: &str) -> Result<bool, StoreError> {
        let mut only = first(&server(url)?).await?;
        let there: Result<Option<String>, _> =
            sqlx::query_scalar("SELECT to_regclass('organisations')::text")
                .fetch_one(&mut only)
                .await;
        let in_use = match there.map_err(failed)? {
            None => Ok(false),
            Some(_) => sqlx::query_scalar("SELECT EXISTS (SELECT FROM organisations)")
                .fetch_one(&mut only)
                .await
                .map_err(failed),
        };
        let _ = only.close().await;
        in_use
    }

    async fn over(
        writes: PgPool,
        server: PgConnectOptions,
        options: PostgresOptions,
        made: Made,
    ) -> Result<Self, StoreError> {
        let reads = pool(options.connections.max(1), &made)
            .connect_with(server.clone())
            .await;
        let reads = reads.map_err(unavailable)?;
        let channels = steady(GATHERERS, &made).connect_with(server).await;
        let channels = channels.map_err(unavailable)?;
        let met = Met::default();
        let shared = channel::Channels(Kept::new(channels.clone()), met.clone());
        let gather = Gather::start(&shared, GATHERERS as usize);
        let commits = GroupCommit::start(write::Writer(Kept::new(writes.clone())));
        Ok(Self {
            reads,
            writes,
            channels,
            gather,
            commits,
            met,
            made,
            looked: Looked::default(),
        })
    }
}

/// What an archive of everything needs.
impl PostgresStore {
    /// The number of the newest change to the tables.
    pub(super) fn newest_change(&self) -> i64 {
        newest(&MIGRATIONS)
    }

    pub(super) const fn reading_pool(&self) -> &PgPool {
        &self.reads
    }

    pub(super) const fn writing_pool(&self) -> &PgPool {
        &self.writes
    }

    /// Where rows are deleted in pieces: beside the connection that commits, which has others to answer.
    pub(super) const fn clearing_pool(&self) -> &PgPool {
        &self.reads
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.commits.commit(&batch).await
    }

    async fn channel(&self, ask: ChannelAsk) -> Result<ChannelView, StoreError> {
        self.gather.ask(ask).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.commits.close().await;
        self.reads.close().await;
        self.channels.close().await;
        self.writes.close().await;
        Ok(())
    }

    fn commit_figures(&self) -> Option<CommitFigures> {
        Some(self.commits.figures())
    }

    async fn unreadable(&self) -> Result<Vec<UnreadableRow>, StoreError> {
        self.still_unreadable().await
    }

    fn name(&self) -> &'static str {
        "postgres"
    }
}

fn server(url: &str) -> Result<PgConnectOptions, StoreError> {
    let server = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Database("the address is no postgres:// URL".to_owned()))?;
    Ok(server
        .application_name("mdm-core")
        // Groups differ in the tables that they touch: each combination is a statement of its own.
        .statement_cache_capacity(STATEMENTS))
}

/// One connection, tried once: a pool tries again until its time is over, and then says only that.
async fn first(server: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    match tokio::time::timeout(PATIENCE, PgConnection::connect_with(server)).await {
        Ok(tried) => tried.map_err(unavailable),
        Err(_) => Err(StoreError::Unavailable(
            "the server does not answer".to_owned(),
        )),
    }
}

/// What keeps a pool from its first connection.
async fn why_not(server: &PgConnectOptions, pool: sqlx::Error) -> StoreError {
    match pool {
        sqlx::Error::PoolTimedOut => match first(server).await {
            Err(error) => error,
            Ok(_) => unavailable(sqlx::Error::PoolTimedOut),
        },
        other => unavailable(other),
    }
}

/// Connections for people's questions, whose plans depend on what is asked.
fn pool(size: u32, made: &Made) -> PgPoolOptions {
    connections(
        size,
        made,
        "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '60s'; SET jit = off",
    )
}

/// Connections for the few statements that run all day, all of them by keys: planned once, always by index, whatever the
/// server knows of the tables' sizes at that moment.
fn steady(size: u32, made: &Made) -> PgPoolOptions {
    connections(
        size,
        made,
        "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '60s'; SET jit = off; \
         SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
         SET enable_hashjoin = off; SET enable_mergejoin = off; \
         SET default_transaction_isolation = 'read committed'",
    )
}

/// `settings` begin with limits: somebody who holds a row for ever must not hold all of us.
fn connections(size: u32, made: &Made, settings: &'static str) -> PgPoolOptions {
    let made = Arc::clone(made);
    PgPoolOptions::new()
        .max_connections(size)
        // Asking before every use costs a round trip; asking a connection that rested is enough.
        .test_before_acquire(false)
        .before_acquire(|connection, rested| {
            Box::pin(async move {
                if rested.idle_for > IDLE {
                    // Of a machine that went without a word nothing ever comes back.
                    tokio::time::timeout(SILENCE, connection.ping())
                        .await
                        .map_err(|_| sqlx::Error::Io(ErrorKind::TimedOut.into()))??;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            // Before anything is asked of it: whoever sees the same number has seen this one.
            made.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move { connection.execute(settings).await.map(|_| ()) })
        })
}

/// Reads the settings back: what the server was told in its files may be overridden for a database or a role.
async fn durable(pool: &PgPool, options: PostgresOptions) -> Result<(), StoreError> {
    let (encoding, fsync, synchronous_commit, full_page_writes): (String, String, String, String) =
        sqlx::query_as(
            "SELECT current_setting('server_encoding'), current_setting('fsync'), \
             current_setting('synchronous_commit'), current_setting('full_page_writes')",
        )
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if encoding != "UTF8" {
        return Err(StoreError::Database(format!(
            "the database's encoding is {encoding}, not UTF8"
        )));
    }
    let settings = [
        ("fsync", fsync),
        ("synchronous_commit", synchronous_commit),
        ("full_page_writes", full_page_writes),
    ];
    let off: Vec<&str> = settings
        .iter()
        .filter(|(_, value)| value == "off")
        .map(|(name, _)| *name)
        .collect();
    if off.is_empty() {
        return Ok(());
    }
    let off = off.join(", ");
    if options.accept_lost_commits {
        tracing::warn!(%off, "the database may lose what it acknowledged, and that was accepted");
        Ok(())
    } else {
        Err(StoreError::Database(format!(
            "the server has {off} off and may lose what it acknowledged; turn it on, or accept lost commits by name"
        )))
    }
}

pub(super) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// A statement that failed: the fault of the moment, or of the statement.
fn failed(error: sqlx::Error) -> StoreError {
    match write::failure(error) {
        write::Failure::Taken => StoreError::Conflict,
        write::Failure::Late => StoreError::Late,
        write::Failure::Refused(why) => StoreError::Database(why),
        write::Failure::Again(why) | write::Failure::Unavailable(why) => {
            StoreError::Unavailable(why)
        }
    }
}

/// What a read gives: the document as the text that was written.
type Text = (i64, i64, i64, String);

fn raw((organisation, id, version, doc): Text) -> Raw {
    (organisation, id, version, doc.into_bytes())
}

fn raws(rows: Result<Vec<Text>, sqlx::Error>) -> Result<Vec<Raw>, StoreError> {
    Ok(rows.map_err(failed)?.into_iter().map(raw).collect())
}

fn one<T: Stored>(
    met: &Met,
    row: Result<Option<Text>, sqlx::Error>,
) -> Result<Option<T>, StoreError> {
    row.map_err(failed)?
        .map(raw)
        .map(|raw| met.one(raw))
        .transpose()
}

fn many<T: Stored>(met: &Met, rows: Result<Vec<Text>, sqlx::Error>) -> Result<Vec<T>, StoreError> {
    met.all(raws(rows)?)
}

fn all_readable<T: Stored>(
    met: &Met,
    rows: Result<Vec<Text>, sqlx::Error>,
) -> Result<Vec<T>, StoreError> {
    Ok(met.readable(raws(rows)?))
}

fn list_of<T: Stored>(
    met: &Met,
    rows: Result<Vec<Text>, sqlx::Error>,
) -> Result<Vec<T>, StoreError> {
    met.list(raws(rows)?)
}

/// `rows!(store, kind, "…", binds…)`: runs a reading statement. What becomes of a row that cannot be read:
///
/// - `one` and `many`: an error;
/// - `list_of`, and `page limit`: an error for whoever decides on them, left out for whoever looks ([`super::with_the_rest`]);
/// - `all_readable`, and `readable limit`: left out.
///
/// Of those with a limit it is the statement's last parameter, and rows that are left out take nobody's place.
macro_rules! rows {
    ($store:expr, one, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::postgres::one(
            &$store.met,
            sqlx::query_as(concat!("SELECT organisation, id, version, doc::text FROM ", $sql))
                $(.bind($bind))*.fetch_optional(&$store.reads).await)
    };
    ($store:expr, readable $limit:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let mut window = $crate::store::row::Window::of($limit);
        loop {
            let found = $crate::store::postgres::raws(
                sqlx::query_as(concat!("SELECT organisation, id, version, doc::text FROM ", $sql))
                    $(.bind($bind))*.bind(window.size()).fetch_all(&$store.reads).await)?;
            if let Some(rows) = window.take(&$store.met, found) {
                break Ok(rows);
            }
        }
    }};
    ($store:expr, page $limit:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let mut window = $crate::store::row::Window::of($limit);
        loop {
            let found = $crate::store::postgres::raws(
                sqlx::query_as(concat!("SELECT organisation, id, version, doc::text FROM ", $sql))
                    $(.bind($bind))*.bind(window.size()).fetch_all(&$store.reads).await)?;
            if let Some(rows) = window.take_page(&$store.met, found) {
                break rows;
            }
        }
    }};
    ($store:expr, $kind:ident, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::postgres::$kind(
            &$store.met,
            sqlx::query_as(concat!("SELECT organisation, id, version, doc::text FROM ", $sql))
                $(.bind($bind))*.fetch_all(&$store.reads).await)
    };
}
use rows;

/// Whose reading traits the sources in `alike` implement.
type ThisStore = PostgresStore;
/// The database that it speaks to.
type ThisDatabase = sqlx::Postgres;

/// Many values as one parameter: the statement stays the same, whatever their number.
fn list<T>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.collect()
}

/// "is one of the ids in the `n`th parameter", which is a [`list`]. Through a sub-select, so that the planner does not weigh its length
/// against a table of whose size it may not know yet, and reads all of an organisation instead of these rows.
macro_rules! ids {
    ($n:literal) => {
        concat!("= ANY(ARRAY(SELECT UNNEST($", $n, "::bigint[])))")
    };
}
use ids;

/// The `n`th parameter as a document.
macro_rules! document {
    ($n:literal) => {
        concat!("$", $n, "::json")
    };
}
use document;

/// What whoever takes an organisation away says first, so that of two who take two away the second one sees what the first has done.
const ONE_REMOVES: Option<&str> = Some("LOCK TABLE removals IN SHARE ROW EXCLUSIVE MODE");

/// The same of texts.
macro_rules! texts {
    ($n:literal) => {
        concat!("= ANY(ARRAY(SELECT UNNEST($", $n, "::text[])))")
    };
}
use texts;

/// A column in the order of its bytes, whatever the database's language.
macro_rules! by_bytes {
    ($column:ident) => {
        concat!(stringify!($column), " COLLATE \"C\"")
    };
}
use by_bytes;

#[cfg(all(test, feature = "testing"))]
mod emptied;
#[cfg(all(test, feature = "testing"))]
#[path = "plans.rs"]
mod tests;
