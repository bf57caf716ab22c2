//! What a soak notes of the server, and what of it may not be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::fleet::house::House;

/// The record is never cleared away.
const RECORD: [&str; 2] = ["audit", "audit_seals"];
/// Most growth of memory after day two, in MB (millions of bytes) a day.
const MOST_SLOPE: f64 = 1.0;
/// The 99th percentile of the last day, as a multiple of the first day's.
const MOST_SLOWER: f64 = 1.3;
/// Until the end of this day everything that is kept for a while has come to its first end.
const SETTLED: usize = 4;
/// From this day on memory is looked at.
const WARM: usize = 3;

/// One day of a soak.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "programs of this crate read it whole"
)]
pub struct Day {
    /// Which, from 1.
    pub nth: usize,
    /// The memory of the server's process at each hour, in MB.
    pub memory: Vec<f64>,
    /// The database on the disk at its end.
    pub bytes: u64,
    /// Rows of every table at its end.
    pub rows: BTreeMap<String, i64>,
    /// Commands that wait, at its end.
    pub open_commands: i64,
    /// Work that was due at an hour and not done after all patience, at the most.
    pub behind: i64,
    /// Requests of devices.
    pub requests: usize,
    /// Half of them took no longer, in milliseconds.
    pub p50: f64,
    /// All but one of a hundred took no longer, in milliseconds.
    pub p99: f64,
}

impl Day {
    /// In one line.
    #[must_use]
    pub fn told(&self) -> String {
        let rows = |table: &str| self.rows.get(table).copied().unwrap_or(0);
        let memory = self.memory.iter().sum::<f64>() / count(self.memory.len());
        format!(
            "day {}: {memory:.1} MB of memory, {:.1} MB on the disk, {} requests, p50 {:.2} ms, p99 {:.2} ms; {} commands \
             ({} open), {} jobs, {} entries of the record",
            self.nth,
            mb(self.bytes),
            self.requests,
            self.p50,
            self.p99,
            rows("commands"),
            self.open_commands,
            rows("jobs"),
            rows("audit"),
        )
    }
}

/// What stands against a soak, and by how much memory grew.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Growth of memory after day two, in MB a day; `None` of fewer than two such days.
    pub slope: Option<f64>,
    /// What should not be.
    pub wrong: Vec<String>,
    /// What takes more days than there were, and was not judged.
    pub unjudged: Vec<&'static str>,
}

#[expect(clippy::cast_precision_loss, reason = "counts of things")]
fn count(n: usize) -> f64 {
    n.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1_000_000.0
}

/// Judges the days. What takes more days than there were is not judged.
#[must_use]
pub fn judge(days: &[Day]) -> Verdict {
    let mut wrong = Vec::new();
    let warm: Vec<f64> = days
        .iter()
        .filter(|day| day.nth >= WARM)
        .flat_map(|day| day.memory.iter().copied())
        .collect();
    let slope = (days.len() > WARM).then(|| slope(&warm) * 24.0);
    if let Some(slope) = slope.filter(|slope| *slope >= MOST_SLOPE) {
        wrong.push(format!("memory grows by {slope:.2} MB a day"));
    }
    for day in days.iter().filter(|day| day.behind > 0) {
        wrong.push(format!(
            "on day {} {} jobs that were due were not done",
            day.nth, day.behind
        ));
    }
    let mut unjudged = Vec::new();
    if slope.is_none() {
        unjudged.push("the growth of memory");
    }
    match days {
        [first, .., last] => {
            if last.p99 > first.p99 * MOST_SLOWER {
                wrong.push(format!(
                    "the 99th percentile was {:.2} ms on the first day and is {:.2} ms on the last",
                    first.p99, last.p99
                ));
            }
        }
        _ => unjudged.push("the 99th percentile"),
    }
    let settled = days.iter().find(|day| day.nth == SETTLED);
    match (settled, days.last()) {
        (Some(settled), Some(last)) if last.nth > settled.nth + 1 => {
            grown(days, settled, last, &mut wrong);
        }
        _ => unjudged.push("disk, open commands and tables"),
    }
    Verdict {
        slope,
        wrong,
        unjudged,
    }
}

/// What has grown since everything had come to its first end.
fn grown(days: &[Day], settled: &Day, last: &Day, wrong: &mut Vec<String>) {
    let before = &days[days.len() - 2];
    let early = days[1].bytes.saturating_sub(days[0].bytes);
    let late = last.bytes.saturating_sub(before.bytes);
    if late > (early / 4).max(last.bytes / 50) {
        wrong.push(format!(
            "the database grew by {:.1} MB on the second day, and still does by {:.1} MB on the last",
            mb(early),
            mb(late)
        ));
    }
    // More devices are there than on that day, and one moment is not like another.
    let most = |then: i64| then + then / 7 + 100;
    if last.open_commands > most(settled.open_commands) {
        wrong.push(format!(
            "{} commands were open on day {}, and {} are",
            settled.open_commands, settled.nth, last.open_commands
        ));
    }
    for (table, now) in &last.rows {
        let then = settled.rows.get(table).copied().unwrap_or(0);
        if !RECORD.contains(&table.as_str()) && *now > most(then) {
            wrong.push(format!(
                "{table} had {then} rows on day {}, and has {now}",
                settled.nth
            ));
        }
    }
}

/// The growth of one sample to the next, by least squares.
fn slope(samples: &[f64]) -> f64 {
    let n = count(samples.len());
    let middle = (n - 1.0) / 2.0;
    let mean = samples.iter().sum::<f64>() / n;
    let (mut up, mut down) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let x = count(at + 1) - 1.0 - middle;
        up += x * (sample - mean);
        down += x * x;
    }
    if down > 0.0 { up / down } else { 0.0 }
}

/// The memory that a process has, in MB, by what the kernel says of it (whose kB are 1024 bytes each).
fn resident(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(mb(kib * 1024))
}

enum Rows {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Looks at the server from outside.
pub(super) struct Watch {
    rows: Rows,
    memory: Vec<f64>,
    behind: i64,
}

impl Watch {
    pub(super) async fn open(house: &House, database: &str) -> anyhow::Result<Self> {
        let rows = if database.starts_with("postgres") {
            Rows::Postgres(PgPool::connect(database).await?)
        } else {
            let file = house.folder().join("mdmd.sqlite");
            let options = SqliteConnectOptions::new().filename(file).read_only(true);
            Rows::Sqlite(SqlitePool::connect_with(options).await?)
        };
        Ok(Self {
            rows,
            memory: Vec::new(),
            behind: 0,
        })
    }

    async fn number(&self, sql: String) -> anyhow::Result<i64> {
        let sql = AssertSqlSafe(sql);
        Ok(match &self.rows {
            Rows::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
            Rows::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await?,
        })
    }

    /// Waits, while simulated time stands still, until the work that is due by now is done.
    pub(super) async fn wait_for_work(
        &mut self,
        now_ms: i64,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let due = format!("SELECT count(*) FROM jobs WHERE ready_at <= {now_ms}");
            let due = self.number(due).await?;
            if due == 0 {
                return Ok(());
            }
            if begun.elapsed() > patience {
                self.behind = self.behind.max(due);
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Notes how much memory the server has.
    pub(super) fn look(&mut self, house: &House) -> anyhow::Result<()> {
        let pid = house.pid().context("the server runs")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        self.memory
            .push(resident(&status).context("the server has ended")?);
        Ok(())
    }

    /// The day is over.
    pub(super) async fn day(&mut self, nth: usize, mut latencies: Vec<u32>) -> anyhow::Result<Day> {
        ensure!(!latencies.is_empty(), "nobody spoke on day {nth}");
        latencies.sort_unstable();
        let (tables, bytes): (Vec<String>, i64) = match &self.rows {
            Rows::Sqlite(pool) => {
                let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
                let size =
                    "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
                (
                    sqlx::query_scalar(tables).fetch_all(pool).await?,
                    sqlx::query_scalar(size).fetch_one(pool).await?,
                )
            }
            Rows::Postgres(pool) => {
                let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
                let size = "SELECT pg_database_size(current_database())";
                (
                    sqlx::query_scalar(tables).fetch_all(pool).await?,
                    sqlx::query_scalar(size).fetch_one(pool).await?,
                )
            }
        };
        let mut rows = BTreeMap::new();
        for table in tables {
            let counted = self.number(format!("SELECT count(*) FROM {table}")).await?;
            rows.insert(table, counted);
        }
        let open = "SELECT count(*) FROM commands WHERE open_of IS NOT NULL";
        let at = |part: usize| {
            let place = (latencies.len() - 1) * part / 100;
            f64::from(latencies[place]) / 1000.0
        };
        Ok(Day {
            nth,
            memory: std::mem::take(&mut self.memory),
            bytes: u64::try_from(bytes)?,
            rows,
            open_commands: self.number(open.to_owned()).await?,
            behind: std::mem::take(&mut self.behind),
            requests: latencies.len(),
            p50: at(50),
            p99: at(99),
        })
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self.rows {
            Rows::Sqlite(pool) => pool.close().await,
            Rows::Postgres(pool) => pool.close().await,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A week in which nothing grows once it has settled.
    fn week() -> Vec<Day> {
        (1..=7)
            .map(|nth| Day {
                nth,
                memory: vec![90.0; 24],
                bytes: 100_000_000 + 20_000_000 * u64::try_from(nth.min(3)).unwrap(),
                rows: [
                    ("commands".to_owned(), 40_000),
                    ("audit".to_owned(), 1000 * i64::try_from(nth).unwrap()),
                ]
                .into(),
                open_commands: 50,
                behind: 0,
                requests: 1000,
                p50: 1.0,
                p99: 4.0,
            })
            .collect()
    }

    #[test]
    fn a_megabyte_is_a_million_bytes() {
        let status = "Name:\tmdmd\nVmRSS:\t  1000000 kB\nThreads:\t9\n";
        assert_eq!(resident(status), Some(1024.0));
        assert_eq!(resident("Name:\tmdmd\n"), None);
        // So much a day is less than a MiB, and more than may be.
        let mut days = week();
        for day in &mut days {
            for (hour, sample) in day.memory.iter_mut().enumerate() {
                *sample += 1.02 * (count(day.nth) + (count(hour + 1) - 1.0) / 24.0);
            }
        }
        let wrong = judge(&days).wrong;
        assert!(
            wrong.concat().contains("memory grows by 1.02 MB"),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_week_that_grows_in_nothing_is_well() {
        let verdict = judge(&week());
        assert!(verdict.wrong.is_empty(), "{:?}", verdict.wrong);
        assert_eq!(verdict.unjudged, [""; 0]);
        assert!(verdict.slope.unwrap().abs() < 1e-9);
    }

    #[test]
    fn what_took_too_few_days_to_be_judged_is_told() {
        let unjudged = |days: usize| judge(&week()[..days]).unjudged;
        let (memory, late) = ("the growth of memory", "the 99th percentile");
        let grown = "disk, open commands and tables";
        assert_eq!(unjudged(1), [memory, late, grown]);
        assert_eq!(unjudged(3), [memory, grown]);
        assert_eq!(unjudged(5), [grown]);
        assert_eq!(unjudged(6), [""; 0]);
    }

    #[test]
    fn whatever_grows_with_the_days_is_found() {
        let found = |spoil: &dyn Fn(&mut Day)| {
            let mut days = week();
            days.iter_mut().for_each(spoil);
            let wrong = judge(&days).wrong;
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            wrong[0].clone()
        };
        let leaks = |day: &mut Day| {
            for (hour, sample) in day.memory.iter_mut().enumerate() {
                *sample += 1.5 * (count(day.nth) + (count(hour + 1) - 1.0) / 24.0);
            }
        };
        assert!(found(&leaks).contains("memory grows by 1.50"));
        let fills = |day: &mut Day| day.bytes += 30_000_000 * u64::try_from(day.nth).unwrap();
        assert!(found(&fills).contains("database"));
        let keeps = |day: &mut Day| {
            let rows = 20_000 * i64::try_from(day.nth).unwrap();
            day.rows.insert("commands".to_owned(), rows);
        };
        assert!(found(&keeps).contains("commands had 80000 rows"));
        let waits = |day: &mut Day| day.open_commands = 500 * i64::try_from(day.nth).unwrap();
        assert!(found(&waits).contains("open"));
        let slows = |day: &mut Day| day.p99 = 4.0 + count(day.nth);
        assert!(found(&slows).contains("percentile"));
        let lags = |day: &mut Day| day.behind = i64::from(day.nth == 5);
        assert!(found(&lags).contains("day 5"));
    }
}
