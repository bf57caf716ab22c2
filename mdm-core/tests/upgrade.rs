//! Databases of every earlier version are brought up to date with all that is in them, and a version works beside a newer one
//! that has only added to the tables.

mod service_house;

use std::collections::BTreeMap;
use std::path::Path;

use mdm_core::ids::Serial;
use mdm_core::service::NewCommand;
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{
    Archive, ArchivedRow, Batch, DeviceStore as _, PostgresOptions, PostgresStore, SqliteStore,
    Store, StoreError,
};
use mdm_core::wire::command::CommandBody;
use mdm_core::wire::requests::{DeviceInformation, Query};
use service_house::{House, rows};
use sqlx::migrate::Migrator;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection,
};
use tokio::sync::mpsc;

/// The rows of each table, by the table's name.
fn by_table(rows: &[ArchivedRow]) -> BTreeMap<String, Vec<serde_json::Value>> {
    let mut tables: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
    for row in rows {
        let mut row = serde_json::to_value(row).unwrap();
        // PostgreSQL keeps a document's meaning, not its letters.
        row["doc"] = serde_json::from_str(row["doc"].as_str().unwrap()).unwrap();
        let table = row["table"].as_str().unwrap().to_owned();
        tables.entry(table).or_default().push(row);
    }
    tables
}

/// A store in a file with devices in their holds, open and answered commands, secrets, a record.
async fn lived_in() -> House {
    let house = House::new().await;
    for serial in ["C02EARLIER", "C02BESIDE"] {
        let phone = house.device(serial).await;
        house.enrol(&phone).await;
        let body = CommandBody::DeviceInformation(DeviceInformation::of([Query::SerialNumber]));
        let new = NewCommand::new(format!("U-{serial}"), body);
        let org = house.org().await;
        org.enqueue(&[phone.udid], &new).await.unwrap();
    }
    house
}

async fn scripts(database: &str) -> Migrator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("schema")
        .join(database);
    Migrator::new(folder).await.unwrap()
}

fn versions(scripts: &Migrator) -> Vec<i64> {
    let all: Vec<i64> = scripts.iter().map(|script| script.version).collect();
    assert!(all.len() > 20, "{all:?}");
    all
}

/// What is in the tables that an earlier version had, as it is after the upgrade, is what was put there: documents and the columns
/// that are made of them.
fn compare(version: i64, had: &[String], before: &[ArchivedRow], after: &[ArchivedRow]) {
    let (before, after) = (by_table(before), by_table(after));
    let mut other = Vec::new();
    for (table, rows) in &before {
        if had.contains(table) && after.get(table) != Some(rows) {
            let there = after.get(table).map(Vec::as_slice).unwrap_or_default();
            let differ = rows.iter().zip(there).find(|(one, two)| one != two);
            other.push(format!("{table}: {differ:?}"));
        }
    }
    assert!(
        other.is_empty(),
        "from version {version}:\n{}",
        other.join("\n")
    );
    assert!(had.contains(&"devices".to_owned()) && before.contains_key("devices"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_of_every_earlier_version_is_brought_up_to_date_whole() {
    let house = lived_in().await;
    let now = SqliteStore::look(house.path()).await.unwrap();
    let before = rows(&now).await;
    let scripts = scripts("sqlite").await;
    let folder = tempfile::tempdir().unwrap();
    for version in versions(&scripts) {
        let path = folder.path().join(format!("{version}.sqlite"));
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let mut old = SqliteConnection::connect(&url).await.unwrap();
        scripts.run_to(version, &mut old).await.unwrap();
        let attach = format!("ATTACH '{}' AS newest", house.path().display());
        old.execute(AssertSqlSafe(attach)).await.unwrap();
        let had = tables(&mut old).await;
        for table in &had {
            let columns = format!(
                "SELECT group_concat(name, ', ') FROM pragma_table_info('{table}') WHERE name IN \
                 (SELECT name FROM pragma_table_info('{table}', 'newest'))"
            );
            let columns: Option<String> = sqlx::query_scalar(AssertSqlSafe(columns))
                .fetch_one(&mut old)
                .await
                .unwrap();
            let Some(columns) = columns else { continue };
            let copy = format!(
                "INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newest.{table}"
            );
            old.execute(AssertSqlSafe(copy)).await.unwrap();
        }
        old.close().await.unwrap();
        let upgraded = SqliteStore::open(&path).await.unwrap();
        compare(version, &had, &before, &rows(&upgraded).await);
        upgraded.close().await.unwrap();
    }
}

/// The tables of a database that hold rows of ours.
async fn tables(database: &mut SqliteConnection) -> Vec<String> {
    let all = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE '@_sqlx%' ESCAPE '@' \
               AND name NOT LIKE 'sqlite%' AND name NOT IN ('schema_floor', 'schema_refill') AND name IN (SELECT name FROM newest.sqlite_schema)";
    sqlx::query_scalar(all).fetch_all(database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_of_every_earlier_version_is_brought_up_to_date_whole() {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let options = PostgresOptions::default();
    let house = lived_in().await;
    let taken = rows(&SqliteStore::look(house.path()).await.unwrap()).await;
    let newest = server.database().await;
    let store = PostgresStore::connect(&newest, options).await.unwrap();
    let (to, from) = mpsc::channel(8);
    let sent = async {
        for row in &taken {
            to.send(Ok(row.clone())).await.unwrap();
        }
        drop(to);
    };
    tokio::join!(store.import(from), sent).0.unwrap();
    let before = rows(&store).await;
    store.close().await.unwrap();
    let mut now = PgConnection::connect(&newest).await.unwrap();
    let scripts = scripts("postgres").await;
    for version in versions(&scripts) {
        let url = server.database().await;
        let mut old = PgConnection::connect(&url).await.unwrap();
        scripts.run_to(version, &mut old).await.unwrap();
        let all = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '@_sqlx%' ESCAPE '@' \
                   AND tablename NOT IN ('schema_floor', 'schema_refill')";
        let all: Vec<String> = sqlx::query_scalar(all).fetch_all(&mut old).await.unwrap();
        let mut had = Vec::new();
        for table in all {
            let read = format!("SELECT to_jsonb(t)::text FROM {table} t");
            // A table that is no more.
            let Ok(rows) = sqlx::query(AssertSqlSafe(read)).fetch_all(&mut now).await else {
                continue;
            };
            for row in rows {
                let put = format!(
                    "INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, $1::jsonb)"
                );
                sqlx::query(AssertSqlSafe(put))
                    .bind(row.get::<String, _>(0))
                    .execute(&mut old)
                    .await
                    .unwrap();
            }
            had.push(table);
        }
        old.close().await.unwrap();
        let upgraded = PostgresStore::connect(&url, options).await.unwrap();
        compare(version, &had, &before, &rows(&upgraded).await);
        upgraded.close().await.unwrap();
    }
    now.close().await.unwrap();
    server.clean().await;
}

/// What a newer version's script does to a database, and its line in the list of scripts.
const ADDED: [&str; 3] = [
    "ALTER TABLE devices ADD COLUMN colour TEXT",
    "CREATE TABLE paints (organisation BIGINT NOT NULL, id BIGINT NOT NULL, PRIMARY KEY (organisation, id))",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99990, 'paint', TRUE, 'x', 0)",
];
const TAKEN_AWAY: &str = "UPDATE schema_floor SET version = 99990";

async fn works(store: &impl Store, house: &House) {
    let org = house.org().await.organisation().id;
    let serial = Serial::parse("C02BESIDE").unwrap();
    let device = store.device_by_serial(org, &serial).await.unwrap();
    let mut batch = Batch::new();
    batch.put(device.expect("the device"));
    store.commit(batch).await.unwrap();
}

fn refused(result: Result<(), StoreError>) {
    let told = result.unwrap_err().to_string();
    assert!(
        told.contains("newer version") && told.contains("99990"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_works_beside_a_newer_one_that_only_added_and_beside_no_other() {
    let house = lived_in().await;
    let store = SqliteStore::open(house.path()).await.unwrap();
    let url = format!("sqlite://{}", house.path().display());
    let mut newer = SqliteConnection::connect(&url).await.unwrap();
    for sql in ADDED {
        let sql = sql.replace("'x'", "x'00'");
        newer.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    // One that runs, and one that is started then.
    works(&store, &house).await;
    store.close().await.unwrap();
    let again = SqliteStore::open(house.path()).await.unwrap();
    works(&again, &house).await;
    again.close().await.unwrap();
    SqliteStore::look(house.path())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    newer.execute(TAKEN_AWAY).await.unwrap();
    refused(SqliteStore::open(house.path()).await.map(drop));
    refused(SqliteStore::look(house.path()).await.map(drop));

    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let (url, options) = (server.database().await, PostgresOptions::default());
    let store = PostgresStore::connect(&url, options).await.unwrap();
    let mut newer = PgConnection::connect(&url).await.unwrap();
    for sql in ADDED {
        let sql = sql.replace("'x'", "'\\x00'");
        newer.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let mut batch = Batch::new();
    let serial = Serial::parse("C02BESIDE").unwrap();
    let org = mdm_core::ids::OrganisationId(1);
    let device =
        |id| mdm_core::device::Device::new(org, mdm_core::ids::DeviceId(id), serial.clone());
    batch.put(device(7));
    store.commit(batch).await.unwrap();
    let again = PostgresStore::connect(&url, options).await.unwrap();
    assert!(
        again
            .device_by_serial(org, &serial)
            .await
            .unwrap()
            .is_some()
    );
    again.close().await.unwrap();
    PostgresStore::look(&url, options)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    newer.execute(TAKEN_AWAY).await.unwrap();
    refused(PostgresStore::connect(&url, options).await.map(drop));
    refused(PostgresStore::look(&url, options).await.map(drop));
    store.close().await.unwrap();
    newer.close().await.unwrap();
    server.clean().await;
}
