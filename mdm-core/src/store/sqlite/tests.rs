//! What this store has of its own: files that are looked at, full disks, plans. What every store keeps to is the contract's.

use std::collections::BTreeSet;

use super::*;
use crate::clock::Timestamp;
use crate::device::Device;
use crate::ids::{DeviceId, OrganisationId, Serial};
use crate::store::row::{Row, Table};
use crate::store::statements::{ALIKE, statements};
use crate::store::{DeviceStore as _, contract, erasing};

const ORG: OrganisationId = OrganisationId(1);

fn device(id: i64) -> Device {
    let serial = Serial::parse(&format!("SERIAL{id}")).unwrap();
    Device::new(ORG, DeviceId(id), serial)
}

fn row(id: i64) -> Batch {
    let mut batch = Batch::new();
    batch.put(device(id));
    batch
}

/// The store in this file, with a row that was committed.
async fn opened_with(path: &Path, id: i64) -> SqliteStore {
    let store = SqliteStore::open(path).await.unwrap();
    store.commit(row(id)).await.unwrap();
    store
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    let store = opened_with(&path, 7).await;
    // Not closed, as after a crash: a second daemon reads it.
    let second = SqliteStore::open(&path).await.unwrap();
    let found = second.device(ORG, DeviceId(7)).await.unwrap().unwrap();
    assert_eq!(found.version, 1);
    store.close().await.unwrap();
    assert!(matches!(
        store.commit(row(8)).await,
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

    let store = opened_with(&path, 7).await;
    store.close().await.unwrap();
    let look = SqliteStore::look(&path).await.unwrap();
    assert!(look.device(ORG, DeviceId(7)).await.unwrap().is_some());
    assert!(look.commit(row(8)).await.is_err());
    assert!(look.device(ORG, DeviceId(8)).await.unwrap().is_none());
    look.close().await.unwrap();
    assert_eq!(names(), 1, "a log was left");

    // Tables of an older version stay what they are.
    let store = SqliteStore::open(&path).await.unwrap();
    sqlx::query(
        "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
    )
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
async fn what_cannot_be_written_is_looked_at_as_it_stands_unless_it_has_a_log() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    // A name that an address would have to escape.
    let path = folder.path().join("mdm 100%?x=1.sqlite");
    let store = opened_with(&path, 7).await;
    store.close().await.unwrap();
    let rights = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(&path, rights(0o400)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let names = || std::fs::read_dir(folder.path()).unwrap().count();

    let look = SqliteStore::look(&path).await.unwrap();
    assert!(look.device(ORG, DeviceId(7)).await.unwrap().is_some());
    assert!(look.commit(row(8)).await.is_err());
    assert_eq!(names(), 1, "something was made while it was looked at");
    let _ = look.close().await;
    assert_eq!(names(), 1, "something was left");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    // What is in the log is not in the file: that is never read without it.
    std::fs::set_permissions(&path, rights(0o600)).unwrap();
    let store = opened_with(&path, 9).await;
    std::fs::set_permissions(&path, rights(0o400)).unwrap();
    assert_eq!(names(), 3, "a log and its index");
    let look = SqliteStore::look(&path).await.unwrap();
    assert!(look.device(ORG, DeviceId(9)).await.unwrap().is_some());
    // Whoever may not write brings nothing into the file.
    let _ = look.close().await;
    store.close().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn what_a_link_leads_to_is_looked_at_with_its_log() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    let store = opened_with(&path, 7).await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("mdm.sqlite");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(has_log(&path).await && !has_log(&link).await);
    // It is in the log alone.
    let look = SqliteStore::look(&link).await.unwrap();
    assert!(look.device(ORG, DeviceId(7)).await.unwrap().is_some());
    let _ = look.close().await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_keeps_nothing_from_being_written_once_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    let store = opened_with(&path, 1).await;
    // Not one page more: what SQLite says of a disk without room.
    let full = "PRAGMA max_page_count = 1";
    sqlx::query(full).execute(&store.writes).await.unwrap();
    let many = |from: i64| {
        let mut batch = Batch::new();
        for id in from..from + 2_000 {
            batch.put(device(id));
        }
        batch
    };
    let refused = store.commit(many(10)).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(store.device(ORG, DeviceId(1)).await.unwrap().is_some());
    assert!(store.device(ORG, DeviceId(10)).await.unwrap().is_none());
    let room = "PRAGMA max_page_count = 1073741823";
    sqlx::query(room).execute(&store.writes).await.unwrap();
    store.commit(many(10)).await.unwrap();
    assert!(store.device(ORG, DeviceId(2_009)).await.unwrap().is_some());
    store.close().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_and_its_log_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = opened_with(&path, 7).await;
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
    let renew = super::jobs::RENEW;
    all.push(format!(
        "WITH k (o, i, l, u) AS (VALUES (1, 2, 3, 4), (5, 6, 7, 8){renew}"
    ));
    let rows: Vec<Row> = (1..=2).map(|id| Row::of(&device(id)).unwrap()).collect();
    let change = super::write::change(Table::Devices, &rows.iter().collect::<Vec<_>>());
    all.push(change.sql().as_str().to_owned());
    all.push(super::heard::KEEP.to_owned());
    all.push(super::channel::QUEUE.to_owned());
    all.push(super::channel::IDENTITY.to_owned());
    // What is left of an organisation that was taken away.
    for table in Table::ALL {
        all.push(erasing::next_rows(table));
        all.push(erasing::delete_rows(table, ids!(2)));
    }
    // Those that count them all.
    all.retain(|sql| !sql.starts_with("SELECT count(*)"));
    // Every table, and what tables are called within statements: in most of them, and in this one.
    let tables: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
    let mut ever: BTreeSet<String> = BTreeSet::new();
    for sql in all {
        let called = called(&sql, &tables);
        let usual = ["d", "i", "j", "m", "t"];
        let names = [tables.as_slice(), usual.as_slice(), called.as_slice()].concat();
        ever.extend(called.iter().map(|&name| name.to_owned()));
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain)
            .fetch_all(&store.reads)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        for (_, _, _, line) in plan {
            let scanned = line.strip_prefix("SCAN ").unwrap_or_default();
            let scanned = scanned.split(' ').next().unwrap_or_default();
            assert!(!names.contains(&scanned), "{sql}: {line}");
        }
    }
    for name in ["c", "d", "i", "m", "s", "t"] {
        assert!(ever.contains(name), "no table is called {name}: {ever:?}");
    }
}

/// What a statement calls its tables. Its own names for what it makes of them, which it may read from one end to the other, are
/// not among them.
fn called<'a>(sql: &'a str, tables: &[&str]) -> Vec<&'a str> {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let named = words.windows(3);
    let named = named.filter(|w| tables.contains(&w[0].trim_start_matches('(')) && w[1] == "AS");
    named.map(|w| w[2].trim_end_matches([',', ')'])).collect()
}

#[test]
fn a_table_is_known_by_the_name_that_a_statement_gives_it() {
    let sql = "WITH k AS (SELECT 1) SELECT s.id FROM k, sessions AS s, (SELECT id FROM jobs) AS x";
    assert_eq!(called(sql, &["sessions", "jobs"]), ["s"]);
}

#[tokio::test]
async fn every_table_is_emptied_of_an_organisation_that_was_taken_away_and_of_no_other() {
    let store = SqliteStore::in_memory().await.unwrap();
    let tables = "SELECT m.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c ON c.name = 'organisation' \
                  WHERE m.type = 'table' ORDER BY m.name";
    let tables: Vec<String> = sqlx::query_scalar(tables)
        .fetch_all(&store.reads)
        .await
        .unwrap();
    let found = contract::emptied::every_table_is_emptied(&store, &tables).await;
    assert_eq!(found, Ok(()));
}
