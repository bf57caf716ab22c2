//! The embedded database: one file, one write connection, a small pool of readers; or all of it in memory.
//! Refuses a file that cannot give write-ahead logging and full synchronisation, because then nothing here would be true.

mod channel;
mod forget;
mod heard;
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

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use super::channel::Gather;
use super::group_commit::GroupCommit;
use super::kept::Kept;
use super::refill::refill_sqlite;
use super::row::{Met, Raw, Stored};
use super::schema::{APPLIED, FLOOR, Had, beside, had, newest, other_version};
use super::{
    Batch, ChannelAsk, ChannelView, CommitFigures, HistoryStore, Store, StoreError, UnreadableRow,
};

/// How many connections read at once.
const READERS: u32 = 4;
/// How many of them read for channels' messages: while one is busy, the other gathers.
const GATHERERS: usize = 2;
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 600;
/// How long a connection waits for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut scripts = sqlx::migrate!("schema/sqlite");
    // Those of a newer version, beside which this one may work: looked at before.
    scripts.set_ignore_missing(true);
    scripts
});

/// A store in SQLite.
///
/// Clones share the connections. A commit is acknowledged when it is in the write-ahead log and that is synchronised to
/// the disk (`synchronous=FULL`); in memory, when it can be read.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    reads: SqlitePool,
    writes: SqlitePool,
    /// What channels' messages ask, gathered.
    gather: Gather,
    commits: GroupCommit,
    /// Rows that were met and cannot be read.
    met: Met,
}

impl SqliteStore {
    /// Opens a file, makes it (readable by its owner only) if there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be opened or made; [`StoreError::Database`] when its durability
    /// cannot be had, or its tables belong to another version.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        private(path.clone()).await?;
        let options = durable(&path);
        let writes = pool(1)
            .after_release(|connection, _| Box::pin(settled(connection)))
            .connect_with(options.clone())
            .await;
        let writes = writes.map_err(unavailable)?;
        read_back(&writes, "journal_mode", "wal").await?;
        read_back(&writes, "synchronous", "2").await?;
        read_back(&writes, "foreign_keys", "1").await?;
        migrate(&writes).await?;
        let reads = pool(READERS).connect_with(options.read_only(true)).await;
        let reads = reads.map_err(unavailable)?;
        Ok(Self::over(reads, writes))
    }

    /// Opens a file that is there, to look at it: makes none, leaves its tables as they are, and refuses every write. Where nothing
    /// can be written, as in a snapshot, it is read as it stands, as long as no log lies beside it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no such file or it cannot be opened, or where nothing can be written and a log would
    /// have to be brought into it; [`StoreError::Database`] when its tables are those of another version.
    pub async fn look(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        // A log lies beside the file itself, and not beside a link to it.
        let file = tokio::fs::canonicalize(path).await.map_err(|error| {
            StoreError::Unavailable(format!("{} cannot be opened: {error}", path.display()))
        })?;
        let path = file.as_path();
        if is_sealed(path).await && !has_log(path).await {
            // In a folder that can be written SQLite would make a log, and could not take it away again: one of whoever looks, in which
            // the owner of the file could not write.
            return Self::look_at_what_stands(path).await;
        }
        // What a server that was killed left in the log is brought into the file by whoever opens it next: so the
        // connection itself may write, and is told not to.
        let options = durable(path).pragma("query_only", "1");
        let error = match pool(READERS).connect_with(options.clone()).await {
            Ok(reads) => return Self::looking(reads, options).await,
            Err(error) => error,
        };
        if !write::finds_no_place(&error) {
            return Err(unavailable(error));
        }
        if has_log(path).await {
            return Err(StoreError::Unavailable(format!(
                "{} has a log beside it (-wal, -shm), which cannot be brought into it where nothing can be written: where a server has it open, ask that one, as the owner of the file or with --url; otherwise copy the whole folder to where it can, and look at the copy",
                path.display()
            )));
        }
        Self::look_at_what_stands(path).await
    }

    /// The same for a file without a log beside it: everything that was ever committed is in it, and whoever serves it would have
    /// one. SQLite is told that nobody changes it, and neither makes a log nor locks it.
    async fn look_at_what_stands(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .immutable(true)
            .statement_cache_capacity(STATEMENTS);
        let before = changed(path).await;
        let reads = pool(READERS).connect_with(options.clone()).await;
        let look = Self::looking(reads.map_err(unavailable)?, options).await?;
        if has_log(path).await || changed(path).await != before {
            let _ = look.close().await;
            return Err(StoreError::Unavailable(format!(
                "{} is being served: somebody has begun to write it while it was opened",
                path.display()
            )));
        }
        Ok(look)
    }

    async fn looking(reads: SqlitePool, options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let applied: Result<Vec<(i64, Vec<u8>)>, _> =
            sqlx::query_as(APPLIED).fetch_all(&reads).await;
        let fits = match had(&MIGRATIONS, applied) {
            Had { ours: false, .. } => Err(other_version()),
            Had { more: false, .. } => Ok(()),
            Had { more: true, .. } => beside(
                &MIGRATIONS,
                sqlx::query_scalar(FLOOR).fetch_one(&reads).await,
            ),
        };
        if let Err(error) = fits {
            reads.close().await;
            return Err(error);
        }
        let writes = pool(1).connect_with(options).await;
        let writes = writes.map_err(unavailable)?;
        Ok(Self::over(reads, writes))
    }

    /// An empty store that lives as long as its last clone: for tests and trials. Nothing reaches a disk.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn in_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .in_memory(true)
            .foreign_keys(true);
        // One connection for everything: the database is that connection.
        let writes = pool(1).connect_with(options).await.map_err(unavailable)?;
        migrate(&writes).await?;
        Ok(Self::over(writes.clone(), writes))
    }

    fn over(reads: SqlitePool, writes: SqlitePool) -> Self {
        let commits = GroupCommit::start(write::Writer(Kept::new(writes.clone())));
        let met = Met::default();
        let channels = channel::Channels(Kept::new(reads.clone()), met.clone());
        let gather = Gather::start(&channels, GATHERERS);
        Self {
            reads,
            writes,
            gather,
            commits,
            met,
        }
    }

    /// Brings everything from the write-ahead log into the file and empties the log, as far as no reader needs it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database does not answer.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.writes)
            .await
            .map(|_| ())
            .map_err(failed)
    }
}

/// What an archive of everything needs.
impl SqliteStore {
    /// The number of the newest change to the tables.
    pub(super) fn newest_change(&self) -> i64 {
        newest(&MIGRATIONS)
    }

    pub(super) const fn reading_pool(&self) -> &SqlitePool {
        &self.reads
    }

    pub(super) const fn writing_pool(&self) -> &SqlitePool {
        &self.writes
    }

    /// Where rows are deleted in pieces: there is one connection that writes.
    pub(super) const fn clearing_pool(&self) -> &SqlitePool {
        &self.writes
    }
}

// A file has no other history than its own, and nobody follows it.
impl HistoryStore for SqliteStore {}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.commits.commit(&batch).await
    }

    async fn channel(&self, ask: ChannelAsk) -> Result<ChannelView, StoreError> {
        self.gather.ask(ask).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.commits.close().await;
        if self.writes.is_closed() {
            return Ok(());
        }
        let checkpoint = self.checkpoint().await;
        self.reads.close().await;
        self.writes.close().await;
        checkpoint
    }

    fn commit_figures(&self) -> Option<CommitFigures> {
        Some(self.commits.figures())
    }

    async fn unreadable(&self) -> Result<Vec<UnreadableRow>, StoreError> {
        self.still_unreadable().await
    }

    fn name(&self) -> &'static str {
        "sqlite"
    }
}

/// Connections that are never closed for being old or idle: in memory, that would be the end of the data.
fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(60))
}

/// Whether a connection has no transaction open, and can go on. Where a commit finds no room on the disk, SQLite has rolled back
/// already and refuses to do so again: a connection that waits for that would take no write ever after.
async fn settled(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A rollback may be under way to it.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Makes the file, or takes others' rights to it away. SQLite gives its log the rights of the file.
async fn private(path: PathBuf) -> Result<(), StoreError> {
    let mut options = tokio::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    options.mode(0o600);
    let file = options.open(&path).await.map_err(|error| {
        StoreError::Unavailable(format!("{} cannot be opened: {error}", path.display()))
    })?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // A device's rights are everybody's: whoever takes them away breaks the machine.
        if !file.metadata().await.is_ok_and(|data| data.is_file()) {
            return Err(StoreError::Unavailable(format!(
                "{} is no file",
                path.display()
            )));
        }
        let rights = std::fs::Permissions::from_mode(0o600);
        file.set_permissions(rights).await.map_err(|error| {
            StoreError::Unavailable(format!(
                "{} cannot be made private: {error}",
                path.display()
            ))
        })?;
    }
    drop(file);
    Ok(())
}

/// Whether a file is not to be written, or not by whoever asks: one of somebody else, or on storage that is read-only. Asked without
/// opening it: whoever closes a file gives up all locks that this process has on it, and with them those of a store that is open.
async fn is_sealed(path: &Path) -> bool {
    // What cannot be seen or is no file, SQLite says.
    let data = tokio::fs::metadata(path).await;
    data.is_ok_and(|data| data.permissions().readonly()) || is_refused(path)
}

#[cfg(unix)]
fn is_refused(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    use rustix::io::Errno;

    let may = accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
    matches!(may, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}

/// A file has no more to tell there than that it is read-only.
#[cfg(not(unix))]
fn is_refused(_: &Path) -> bool {
    false
}

/// Whether a log, or the index of one, lies beside a file.
async fn has_log(path: &Path) -> bool {
    for end in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        // What cannot be looked for may be there.
        if tokio::fs::try_exists(PathBuf::from(name))
            .await
            .unwrap_or(true)
        {
            return true;
        }
    }
    false
}

/// When a file was changed last, and how long it is; none where that cannot be seen.
async fn changed(path: &Path) -> Option<(SystemTime, u64)> {
    let data = tokio::fs::metadata(path).await.ok()?;
    Some((data.modified().ok()?, data.len()))
}

/// A setting must be in force, not only asked for: some file systems cannot have it.
async fn read_back(
    pool: &SqlitePool,
    pragma: &'static str,
    wanted: &str,
) -> Result<(), StoreError> {
    let sql = match pragma {
        "journal_mode" => "SELECT CAST(journal_mode AS TEXT) FROM pragma_journal_mode",
        "synchronous" => "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous",
        _ => "SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys",
    };
    let found: String = sqlx::query_scalar(sql)
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if found == wanted {
        Ok(())
    } else {
        Err(StoreError::Database(format!(
            "{pragma} is {found}, not {wanted}: a commit would not be durable here"
        )))
    }
}

/// A file as a server needs it: nothing acknowledged is lost with the power.
fn durable(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        // Each number of rows is a statement of its own, up to a limit.
        .statement_cache_capacity(STATEMENTS)
        // On macOS a synchronisation reaches the disk only with these; elsewhere they change nothing.
        .pragma("fullfsync", "1")
        .pragma("checkpoint_fullfsync", "1")
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let applied = sqlx::query_as(APPLIED).fetch_all(pool).await;
    if had(&MIGRATIONS, applied).more {
        beside(&MIGRATIONS, sqlx::query_scalar(FLOOR).fetch_one(pool).await)?;
    }
    MIGRATIONS
        .run(pool)
        .await
        .map_err(|error| StoreError::Database(error.to_string()))?;
    refill_sqlite(pool).await
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

type Read<T> = Result<T, sqlx::Error>;

fn found(rows: Read<Vec<Raw>>) -> Result<Vec<Raw>, StoreError> {
    rows.map_err(failed)
}

fn one<T: Stored>(met: &Met, row: Read<Option<Raw>>) -> Result<Option<T>, StoreError> {
    row.map_err(failed)?.map(|raw| met.one(raw)).transpose()
}

fn many<T: Stored>(met: &Met, rows: Read<Vec<Raw>>) -> Result<Vec<T>, StoreError> {
    met.all(found(rows)?)
}

fn all_readable<T: Stored>(met: &Met, rows: Read<Vec<Raw>>) -> Result<Vec<T>, StoreError> {
    Ok(met.readable(found(rows)?))
}

fn list_of<T: Stored>(met: &Met, rows: Read<Vec<Raw>>) -> Result<Vec<T>, StoreError> {
    met.list(found(rows)?)
}

/// `rows!(store, kind, "…", binds…)`: runs a reading statement. What becomes of a row that cannot be read:
///
/// - `one` and `many`: an error;
/// - `list_of`, and `page limit`: an error for whoever decides on them, left out for whoever looks ([`super::with_the_rest`]);
/// - `all_readable`, and `readable limit`: left out.
///
/// Of those with a limit it is the statement's last parameter, and rows that are left out take nobody's place. SQLite plans a
/// statement with a parameter alone as its limit anew for each value that is bound to it, which costs more than a short list;
/// for a sum it does not.
macro_rules! rows {
    ($store:expr, one, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::sqlite::one(
            &$store.met,
            sqlx::query_as(concat!("SELECT organisation, id, version, doc FROM ", $sql))
                $(.bind($bind))*.fetch_optional(&$store.reads).await)
    };
    ($store:expr, readable $limit:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let mut window = $crate::store::row::Window::of($limit);
        loop {
            let found = $crate::store::sqlite::found(
                sqlx::query_as(concat!("SELECT organisation, id, version, doc FROM ", $sql, " + 0"))
                    $(.bind($bind))*.bind(window.size()).fetch_all(&$store.reads).await)?;
            if let Some(rows) = window.take(&$store.met, found) {
                break Ok(rows);
            }
        }
    }};
    ($store:expr, page $limit:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let mut window = $crate::store::row::Window::of($limit);
        loop {
            let found = $crate::store::sqlite::found(
                sqlx::query_as(concat!("SELECT organisation, id, version, doc FROM ", $sql, " + 0"))
                    $(.bind($bind))*.bind(window.size()).fetch_all(&$store.reads).await)?;
            if let Some(rows) = window.take_page(&$store.met, found) {
                break rows;
            }
        }
    }};
    ($store:expr, $kind:ident, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::sqlite::$kind(
            &$store.met,
            sqlx::query_as(concat!("SELECT organisation, id, version, doc FROM ", $sql))
                $(.bind($bind))*.fetch_all(&$store.reads).await)
    };
}
use rows;

/// Whose reading traits the sources in `alike` implement.
type ThisStore = SqliteStore;
/// The database that it speaks to.
type ThisDatabase = sqlx::Sqlite;

/// Many values as one parameter: the statement stays the same, whatever their number.
fn list<T: serde::Serialize>(values: impl Iterator<Item = T>) -> String {
    let values = values.map(|value| serde_json::json!(value));
    serde_json::Value::from_iter(values).to_string()
}

/// "is one of the ids in the `n`th parameter", which is a [`list`].
macro_rules! ids {
    ($n:literal) => {
        concat!("IN (SELECT value FROM json_each($", $n, "))")
    };
}
use ids;

/// The `n`th parameter as a document.
macro_rules! document {
    ($n:literal) => {
        concat!("$", $n)
    };
}
use document;

/// What whoever takes an organisation away says first, so that of two who take two away the second one sees what the first has done.
/// Here one writes after the other.
const ONE_REMOVES: Option<&str> = None;

/// The same of texts.
macro_rules! texts {
    ($n:literal) => {
        $crate::store::sqlite::ids!($n)
    };
}
use texts;

/// A column in the order of its bytes, whatever the database's language.
macro_rules! by_bytes {
    ($column:ident) => {
        stringify!($column)
    };
}
use by_bytes;

#[cfg(test)]
mod tests;
