//! What the machine and its database can do without us: single-row commits, point reads, signature checks, and the field's
//! pattern, which is one statement after the other, each a transaction of its own, over two kept connections. Our figures
//! are told as ratios to these, because those hold on other machines too.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mdm_core::clock::{Clock as _, SystemClock};
use openssl::cms::{CMSOptions, CmsContentInfo};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use tests::fleet::devices::{self, Authority, KeyKind};

/// How long each of them is measured.
const SPAN: Duration = Duration::from_millis(1500);
/// Who asks at once, as the connections of the benchmark do.
const TASKS: usize = 32;
/// Rows of the trial tables.
const ROWS: i64 = 10_000;
/// Connections that the reference server keeps.
const KEPT: u32 = 2;
/// Connections for the machine's own measure.
const MANY: u32 = 8;

/// What was measured, all per second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    /// Commits of one row.
    pub(crate) commits: f64,
    /// Reads of one row by its key.
    pub(crate) reads: f64,
    /// Checks of a detached signature on all processors.
    pub(crate) checks: f64,
    /// The pattern's polls: three statements.
    pub(crate) idle: f64,
    /// The pattern's rounds: three statements, then four.
    pub(crate) round: f64,
    /// The pattern's enrolments: five statements, then three.
    pub(crate) enrol: f64,
}

/// Counts how often something is done in [`SPAN`] by many at once.
async fn per_second<F>(tasks: usize, each: impl Fn(i64) -> F) -> anyhow::Result<f64>
where
    F: Future<Output = Result<(), sqlx::Error>>,
{
    let next = AtomicI64::new(0);
    let begun = Instant::now();
    let work = (0..tasks).map(|_| async {
        let mut done = 0_u32;
        while begun.elapsed() < SPAN {
            each(next.fetch_add(1, Ordering::Relaxed)).await?;
            done += 1;
        }
        Ok::<u32, sqlx::Error>(done)
    });
    let done: u32 = futures_util::future::try_join_all(work).await?.iter().sum();
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}

const TABLES: [&str; 3] = [
    "CREATE TABLE trial_devices (id TEXT PRIMARY KEY, seen BIGINT NOT NULL, token TEXT, doc TEXT NOT NULL)",
    "CREATE TABLE trial_certificates (hash TEXT PRIMARY KEY, device TEXT NOT NULL)",
    "CREATE TABLE trial_commands (device TEXT NOT NULL, uuid TEXT NOT NULL, state TEXT, doc TEXT NOT NULL, PRIMARY KEY (device, uuid))",
];

macro_rules! trial {
    ($module:ident, $pool:ty) => {
        mod $module {
            use super::*;

            fn device(nth: i64) -> String {
                format!("device-{:08}", nth % ROWS)
            }

            async fn certificate(pool: &$pool, nth: i64) -> Result<(), sqlx::Error> {
                sqlx::query("SELECT device FROM trial_certificates WHERE hash = $1")
                    .bind(format!("hash-{:08}", nth % ROWS)).fetch_optional(pool).await.map(drop)
            }

            async fn seen(pool: &$pool, nth: i64) -> Result<(), sqlx::Error> {
                sqlx::query("UPDATE trial_devices SET seen = $1 WHERE id = $2")
                    .bind(nth).bind(device(nth)).execute(pool).await.map(drop)
            }

            async fn next(pool: &$pool, nth: i64) -> Result<(), sqlx::Error> {
                sqlx::query("SELECT uuid, doc FROM trial_commands WHERE device = $1 AND state IS NULL ORDER BY uuid LIMIT 1")
                    .bind(device(nth)).fetch_optional(pool).await.map(drop)
            }

            async fn put_device(pool: &$pool, nth: i64) -> Result<(), sqlx::Error> {
                sqlx::query("INSERT INTO trial_devices (id, seen, doc) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, doc = excluded.doc")
                    .bind(device(nth)).bind(nth).bind("x".repeat(600)).execute(pool).await.map(drop)
            }

            pub(super) async fn idle(pool: &$pool, nth: i64) -> Result<(), sqlx::Error> {
                certificate(pool, nth).await?;
                seen(pool, nth).await?;
                next(pool, nth).await
            }

            pub(super) async fn round(pool: &$pool, nth: i64) -> Result<(), sqlx::Error> {
                idle(pool, nth).await?;
                certificate(pool, nth).await?;
                seen(pool, nth).await?;
                sqlx::query("INSERT INTO trial_commands (device, uuid, state, doc) VALUES ($1, $2, 'Acknowledged', $3)")
                    .bind(device(nth)).bind(format!("{nth:032}")).bind("x".repeat(900)).execute(pool).await?;
                next(pool, nth).await
            }

            pub(super) async fn enrol(pool: &$pool, nth: i64) -> Result<(), sqlx::Error> {
                certificate(pool, nth).await?;
                put_device(pool, nth).await?;
                sqlx::query("INSERT INTO trial_certificates (hash, device) VALUES ($1, $2) ON CONFLICT (hash) DO UPDATE SET device = excluded.device")
                    .bind(format!("new-{nth:08}")).bind(device(nth)).execute(pool).await?;
                sqlx::query("UPDATE trial_devices SET token = NULL WHERE id = $1")
                    .bind(device(nth)).execute(pool).await?;
                sqlx::query("DELETE FROM trial_commands WHERE device = $1 AND state IS NULL")
                    .bind(device(nth)).execute(pool).await?;
                certificate(pool, nth).await?;
                put_device(pool, nth).await?;
                sqlx::query("UPDATE trial_devices SET token = $1 WHERE id = $2")
                    .bind("t".repeat(64)).bind(device(nth)).execute(pool).await.map(drop)
            }

            pub(super) async fn fill(pool: &$pool) -> Result<(), sqlx::Error> {
                for sql in TABLES {
                    sqlx::query(sql).execute(pool).await?;
                }
                let mut tx = pool.begin().await?;
                for nth in 0..ROWS {
                    sqlx::query("INSERT INTO trial_devices (id, seen, doc) VALUES ($1, 0, $2)")
                        .bind(device(nth)).bind("x".repeat(600)).execute(&mut *tx).await?;
                    sqlx::query("INSERT INTO trial_certificates (hash, device) VALUES ($1, $2)")
                        .bind(format!("hash-{nth:08}")).bind(device(nth)).execute(&mut *tx).await?;
                }
                tx.commit().await
            }

            /// `few` are the kept connections, `writes` and `reads` those with which the machine shows what it can.
            pub(super) async fn measure(few: &$pool, writes: &$pool, reads: &$pool) -> anyhow::Result<Machine> {
                Ok(Machine {
                    commits: per_second(TASKS, |nth| seen(writes, nth)).await?,
                    reads: per_second(TASKS, |nth| certificate(reads, nth)).await?,
                    idle: per_second(TASKS, |nth| idle(few, nth)).await?,
                    round: per_second(TASKS, |nth| round(few, nth)).await?,
                    enrol: per_second(TASKS, |nth| enrol(few, nth)).await?,
                    checks: 0.0,
                })
            }
        }
    };
}

trial!(on_postgres, PgPool);
trial!(on_sqlite, SqlitePool);

/// PostgreSQL, in an empty database of its own.
pub(crate) async fn postgres(url: &str) -> anyhow::Result<Machine> {
    let pool = |size| {
        PgPoolOptions::new()
            .max_connections(size)
            .test_before_acquire(false)
            .connect(url)
    };
    let (few, many) = (pool(KEPT).await?, pool(MANY).await?);
    on_postgres::fill(&few).await?;
    let machine = on_postgres::measure(&few, &many, &many).await?;
    few.close().await;
    many.close().await;
    Ok(machine)
}

/// SQLite, in a file of its own beside the server's, as durable as ours.
pub(crate) async fn sqlite(file: &std::path::Path) -> anyhow::Result<Machine> {
    let options = SqliteConnectOptions::from_str("sqlite:")?
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10));
    let pool = |size| {
        SqlitePoolOptions::new()
            .max_connections(size)
            .test_before_acquire(false)
            .connect_with(options.clone())
    };
    // For what the machine can do, more than one that writes only quarrel. The pattern has as many as elsewhere, and they wait for
    // each other.
    let (few, one, readers) = (pool(KEPT).await?, pool(1).await?, pool(4).await?);
    on_sqlite::fill(&one).await?;
    let machine = on_sqlite::measure(&few, &one, &readers).await?;
    few.close().await;
    one.close().await;
    readers.close().await;
    Ok(machine)
}

/// Checks of a device's signature over a body, per second, on all processors.
pub(crate) fn checks(kind: KeyKind) -> anyhow::Result<f64> {
    let now = SystemClock.now();
    let authority = Authority::create(now)?;
    let devices = devices::make(&authority, kind, 1, 64, now)?;
    let signed: Vec<(Vec<u8>, String)> = devices
        .iter()
        .map(|device| {
            let body = devices::idle(device);
            Ok((device.sign(body.as_bytes())?, body))
        })
        .collect::<anyhow::Result<_>>()?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (done, begun) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while begun.elapsed() < SPAN {
                    for (signature, body) in &signed {
                        // OpenSSL's whole machinery, so that the yardstick does not change with our code.
                        let checked = CmsContentInfo::from_der(signature).and_then(|mut cms| {
                            let options = CMSOptions::BINARY | CMSOptions::NO_SIGNER_CERT_VERIFY;
                            cms.verify(None, None, Some(body.as_bytes()), None, options)
                        });
                        if checked.is_ok() {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let done = u32::try_from(done.load(Ordering::Relaxed))?;
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}
