//! The embedded database: one file, one write connection, a small pool of readers; or all of it in memory.
//! Refuses a file that cannot give write-ahead logging and full synchronisation, because then nothing here would be true.

mod channel;
mod forget;
mod jobs;
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
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::channel::Gather;
use super::group_commit::GroupCommit;
use super::refill::refill_sqlite;
use super::row::{Raw, Stored, decode, decode_all, decode_readable};
use super::schema::{APPLIED, FLOOR, Had, beside, had, newest, other_version};
use super::{Batch, ChannelAsk, ChannelView, CommitFigures, Store, StoreError};

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
        let writes = pool(1).connect_with(options.clone()).await;
        let writes = writes.map_err(unavailable)?;
        read_back(&writes, "journal_mode", "wal").await?;
        read_back(&writes, "synchronous", "2").await?;
        read_back(&writes, "foreign_keys", "1").await?;
        migrate(&writes).await?;
        let reads = pool(READERS).connect_with(options.read_only(true)).await;
        let reads = reads.map_err(unavailable)?;
        Ok(Self::over(reads, writes))
    }

    /// Opens a file that is there, to look at it: makes none, leaves its tables as they are, and refuses every write.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is no such file or it cannot be opened; [`StoreError::Database`] when its
    /// tables are those of another version.
    pub async fn look(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        // What a server that was killed left in the log is brought into the file by whoever opens it next: so the
        // connection itself may write, and is told not to.
        let options = durable(path.as_ref()).pragma("query_only", "1");
        let reads = pool(READERS).connect_with(options.clone()).await;
        let reads = reads.map_err(unavailable)?;
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
        let commits = GroupCommit::start(write::Writer(writes.clone()));
        let gather = Gather::start(&channel::Channels(reads.clone()), GATHERERS);
        Self {
            reads,
            writes,
            gather,
            commits,
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
}

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

fn one<T: Stored>(row: Read<Option<Raw>>) -> Result<Option<T>, StoreError> {
    row.map_err(failed)?.map(decode).transpose()
}

fn many<T: Stored>(rows: Read<Vec<Raw>>) -> Result<Vec<T>, StoreError> {
    decode_all(rows.map_err(failed)?)
}

/// As [`many`], without those that cannot be read: for readers that go through many owners' rows at once.
fn all_readable<T: Stored>(rows: Read<Vec<Raw>>) -> Result<Vec<T>, StoreError> {
    Ok(decode_readable(rows.map_err(failed)?))
}

/// `rows!(store, kind, "…", binds…)`: runs a reading statement; `kind` is `one`, `many` or `all_readable`, or `readable limit`: then the
/// statement's last parameter is the limit, and rows that cannot be read take nobody's place.
macro_rules! rows {
    ($store:expr, one, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::sqlite::one(
            sqlx::query_as(concat!("SELECT organisation, id, version, doc FROM ", $sql))
                $(.bind($bind))*.fetch_optional(&$store.reads).await)
    };
    ($store:expr, readable $limit:expr, $sql:expr $(, $bind:expr)* $(,)?) => {{
        let mut window = $crate::store::row::Window::of($limit);
        loop {
            let found = $crate::store::sqlite::found(
                sqlx::query_as(concat!("SELECT organisation, id, version, doc FROM ", $sql))
                    $(.bind($bind))*.bind(window.size()).fetch_all(&$store.reads).await)?;
            if let Some(rows) = window.take(found) {
                break Ok(rows);
            }
        }
    }};
    ($store:expr, $kind:ident, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::store::sqlite::$kind(
            sqlx::query_as(concat!("SELECT organisation, id, version, doc FROM ", $sql))
                $(.bind($bind))*.fetch_all(&$store.reads).await)
    };
}
use rows;

/// Whose reading traits the sources in `alike` implement.
type ThisStore = SqliteStore;

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
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::device::Device;
    use crate::ids::{DeviceId, OrganisationId, Serial};
    use crate::store::DeviceStore as _;
    use crate::store::row::{Row, Table};
    use crate::store::statements::{ALIKE, statements};

    const ORG: OrganisationId = OrganisationId(1);

    fn device(id: i64) -> Device {
        let serial = Serial::parse(&format!("SERIAL{id}")).unwrap();
        Device::new(ORG, DeviceId(id), serial)
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mdm.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        let mut batch = Batch::new();
        batch.put(device(7));
        store.commit(batch).await.unwrap();
        // Not closed, as after a crash: a second daemon reads it.
        let second = SqliteStore::open(&path).await.unwrap();
        let found = second.device(ORG, DeviceId(7)).await.unwrap().unwrap();
        assert_eq!(found.version, 1);
        store.close().await.unwrap();
        let mut late = Batch::new();
        late.put(device(8));
        assert!(matches!(
            store.commit(late).await,
            Err(StoreError::Unavailable(_))
        ));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn looking_makes_nothing_writes_nothing_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mdm.sqlite");
        assert!(matches!(
            SqliteStore::look(&path).await,
            Err(StoreError::Unavailable(_))
        ));
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names(), 0);

        let store = SqliteStore::open(&path).await.unwrap();
        let mut batch = Batch::new();
        batch.put(device(7));
        store.commit(batch).await.unwrap();
        store.close().await.unwrap();
        let look = SqliteStore::look(&path).await.unwrap();
        assert!(look.device(ORG, DeviceId(7)).await.unwrap().is_some());
        let mut batch = Batch::new();
        batch.put(device(8));
        assert!(look.commit(batch).await.is_err());
        assert!(look.device(ORG, DeviceId(8)).await.unwrap().is_none());
        look.close().await.unwrap();
        assert_eq!(names(), 1, "a log was left");

        // Tables of an older version stay what they are.
        let store = SqliteStore::open(&path).await.unwrap();
        sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
            .execute(&store.writes)
            .await
            .unwrap();
        store.close().await.unwrap();
        assert!(matches!(
            SqliteStore::look(&path).await,
            Err(StoreError::Database(_))
        ));
        assert_eq!(names(), 1);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_and_its_log_are_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mdm.sqlite");
        std::fs::write(&path, b"").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        let mut batch = Batch::new();
        batch.put(device(7));
        store.commit(batch).await.unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
        }
    }

    #[tokio::test]
    #[cfg(unix)]
    async fn what_is_no_file_keeps_its_rights_and_is_no_database() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "666"])
            .arg(&pipe)
            .status();
        assert!(made.unwrap().success());
        let refused = SqliteStore::open(&pipe).await.err().unwrap();
        assert!(refused.to_string().contains("is no file"), "{refused}");
        let mode = std::fs::metadata(&pipe).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_names_its_address_and_stops_nobody_else() {
        use crate::job::{Job, JobKind};
        use crate::store::{JobStore as _, Lease};
        let store = SqliteStore::in_memory().await.unwrap();
        let mut batch = Batch::new();
        batch.put(device(7));
        for id in 1..=3 {
            let kind = JobKind::ReadDevice {
                device: DeviceId(7),
            };
            let due = Timestamp::from_millis(id);
            batch.put(Job::new(ORG, crate::ids::JobId(id), due, kind));
        }
        store.commit(batch).await.unwrap();
        for sql in [
            "UPDATE devices SET doc = '{\"serial\": \"PRIVATE'",
            "UPDATE jobs SET doc = '{}' WHERE id = 2",
        ] {
            sqlx::query(sql).execute(&store.writes).await.unwrap();
        }
        let error = store.device(ORG, DeviceId(7)).await.unwrap_err();
        assert_eq!(error.to_string(), "corrupt row in devices.doc, key 1/7");
        let now = Timestamp::from_millis(10);
        let claimed = store
            .claim_jobs(now, Lease(Timestamp::from_millis(20)), 10)
            .await
            .unwrap();
        assert_eq!(claimed.iter().map(|j| j.id.0).collect::<Vec<_>>(), [1, 3]);
        // It is leased as the others are, so that nobody spins over it.
        assert_eq!(
            store.next_due().await.unwrap(),
            Some(Timestamp::from_millis(20))
        );
    }

    #[tokio::test]
    async fn every_read_uses_an_index() {
        let store = SqliteStore::in_memory().await.unwrap();
        let columns = "organisation, id, version, doc";
        let words = [
            ("ids!(2)", ids!(2)),
            ("texts!(2)", texts!(2)),
            ("by_bytes!(serial)", by_bytes!(serial)),
            ("by_bytes!(name)", by_bytes!(name)),
        ];
        let mut all: Vec<String> = ALIKE
            .into_iter()
            .chain([include_str!("forget.rs"), include_str!("jobs.rs")])
            .flat_map(|source| statements(source, columns, &words))
            .collect();
        assert!(all.len() >= 100, "only {} statements were found", all.len());
        let keys = "WITH k (o, i) AS (VALUES (1, 2), (3, 4))";
        all.push(format!(
            "{keys} SELECT t.version FROM k CROSS JOIN set_ups AS t ON t.organisation = k.o AND t.id = k.i"
        ));
        let of = "WHERE (organisation, id) IN (SELECT o, i FROM k)";
        all.push(format!("{keys} DELETE FROM jobs {of}"));
        all.push(format!(
            "{keys} UPDATE jobs SET leased_until = 1, ready_at = 1 {of} AND ready_at <= 2"
        ));
        let rows: Vec<Row> = (1..=2).map(|id| Row::of(&device(id)).unwrap()).collect();
        let change = super::write::change(Table::Devices, &rows.iter().collect::<Vec<_>>());
        all.push(change.sql().as_str().to_owned());
        all.push(super::channel::QUEUE.to_owned());
        all.push(super::channel::IDENTITY.to_owned());
        // Those that count them all.
        all.retain(|sql| !sql.starts_with("SELECT count(*)"));
        for sql in all {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain)
                .fetch_all(&store.reads)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
            for (_, _, _, line) in plan {
                let names = [
                    "accepted_parts",
                    "audit",
                    "audit_seals",
                    "certificates",
                    "channel_statuses",
                    "commands",
                    "approvals",
                    "declarations",
                    "done_alone",
                    "declaration_contents",
                    "declaration_sets",
                    "declaration_assignments",
                    "declaration_manifests",
                    "declared_channels",
                    "devices",
                    "enrollments",
                    "hand_offs",
                    "hand_off_parts",
                    "i",
                    "jobs",
                    "j",
                    "kept_runbooks",
                    "moves",
                    "organisations",
                    "projects",
                    "refusals",
                    "runbooks",
                    "secrets",
                    "servers",
                    "sessions",
                    "set_ups",
                    "t",
                    "tokens",
                    "waves",
                    "what_if_runs",
                ];
                let scanned = line.strip_prefix("SCAN ").unwrap_or_default();
                let scanned = scanned.split(' ').next().unwrap_or_default();
                assert!(!names.contains(&scanned), "{sql}: {line}");
            }
        }
    }
}
