//! Databases of every earlier version are brought up to date with all that is in them, and a version works beside a newer one
//! that has only added to the tables.

mod service_house;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use mdm_core::audit_seal::Checkpoint;
use mdm_core::ids::{ApprovalId, HandOffId, Serial, WaveId};
use mdm_core::job::{Job, JobKind};
use mdm_core::original::{DeviceOwner, Said};
use mdm_core::service::{NewCommand, Org};
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{
    Archive, ArchivedRow, Batch, DeviceStore as _, PostgresOptions, PostgresStore, SqliteStore,
    Store, StoreError,
};
use mdm_core::wire::command::CommandBody;
use mdm_core::wire::requests::{DeviceInformation, Query};
use serde_json::Value;
use service_house::{Gadget, House, START, command, rows};
use sqlx::migrate::Migrator;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection,
};
use tokio::sync::mpsc;

/// The rows of each table, by the table's name.
fn by_table(rows: &[ArchivedRow]) -> BTreeMap<String, Vec<Value>> {
    let mut tables: BTreeMap<String, Vec<Value>> = BTreeMap::new();
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
    let (mut before, mut after) = (by_table(before), by_table(after));
    // Scripts of then wrote an id as a number.
    for rows in before.values_mut().chain(after.values_mut()) {
        rows.iter_mut().for_each(|row| with_numbers(row, ""));
    }
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
    put(&taken, &store).await;
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

/// A document as versions wrote it that had ids as numbers. What an entry of the record says stays: that was sealed.
fn with_numbers(value: &mut Value, key: &str) {
    match value {
        Value::String(text) => {
            let id = text.len() >= 17 || ["id", "organisation"].contains(&key);
            if let Some(number) = text.parse::<i64>().ok().filter(|_| id) {
                *value = number.into();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| with_numbers(one, key)),
        Value::Object(all) => {
            for (name, one) in all.iter_mut().filter(|(name, _)| *name != "detail") {
                with_numbers(one, name);
            }
        }
        _ => {}
    }
}

/// The rows of a house as an earlier version wrote them.
async fn as_written_before(house: &House) -> Vec<ArchivedRow> {
    let store = SqliteStore::look(house.path()).await.unwrap();
    let mut changed = 0;
    let mut before = Vec::new();
    for row in rows(&store).await {
        let mut row = serde_json::to_value(row).unwrap();
        let mut doc: Value = serde_json::from_str(row["doc"].as_str().unwrap()).unwrap();
        let now = doc.clone();
        with_numbers(&mut doc, "");
        changed += usize::from(doc != now);
        row["doc"] = doc.to_string().into();
        before.push(serde_json::from_value(row).unwrap());
    }
    store.close().await.unwrap();
    assert!(changed > 20, "{changed} of {}", before.len());
    before
}

async fn put(rows: &[ArchivedRow], store: &impl Archive) {
    let (to, from) = mpsc::channel(8);
    let sent = async {
        for row in rows {
            to.send(Ok(row.clone())).await.unwrap();
        }
        drop(to);
    };
    tokio::join!(store.import(from), sent).0.unwrap();
}

/// What was asked of a second person then, and for which job of a hand-off.
type Asked = (ApprovalId, HandOffId);

async fn ask(house: &House) -> Asked {
    let anna = house.org().await.acting_for("Anna");
    let signer = anna.hand_off_signer().await.unwrap();
    let day = Duration::from_hours(24);
    let job = anna.new_hand_off("Ourselves", START + day, Some(&signer.sha256));
    let job = job.await.unwrap();
    let (certificate, devices) = (job.certificate.as_bytes(), BTreeSet::new());
    let asked = anna.ask_export(certificate, &job.sha256, Some(job.id), devices, "the move");
    (asked.await.unwrap(), job.id)
}

/// Another person confirms it, and it is done.
async fn confirm(org: &Org, (asked, job): Asked) {
    let (anna, bo) = (org.clone().acting_for("Anna"), org.clone().acting_for("Bo"));
    bo.confirm(asked).await.unwrap();
    let sealed = anna.make_export(asked).await.unwrap();
    assert!(sealed.devices > 2);
    let taken = org.import_hand_off(job, sealed.bundle).await.unwrap();
    assert_eq!(taken.accepted, sealed.devices, "{taken:?}");
}

/// Devices speak, the worker works, what waited is confirmed, and the record is as it was sealed.
async fn goes_on(
    house: &House,
    store: impl Store + 'static,
    phone: &Gadget,
    asked: Asked,
    sealed: &Checkpoint,
) {
    let mdm = house.over(store);
    let org = mdm.organisation_by_id(house.org).await.unwrap();
    let found = org.verify_record(Some(sealed)).await.unwrap();
    assert_eq!(found.chain.broken, Vec::<String>::new());
    assert!(found.chain.sealed > 5, "{:?}", found.chain);
    let idle = phone.plist("<key>Status</key><string>Idle</string>");
    let answer = Box::pin(org.report(&phone.peer, &idle)).await.unwrap();
    assert!(command(&answer).is_some(), "it has a hold to go through");
    while Box::pin(mdm.work(50)).await.unwrap() > 0 {}
    let of_it = org.device_report(&phone.serial).await.unwrap();
    assert!(of_it.set_up.is_some() && !of_it.enrollments.is_empty());
    Box::pin(confirm(&org, asked)).await;
    // What comes is sealed behind what was.
    let later = org.checkpoint().await.unwrap();
    assert!(later.seal > sealed.seal);
    let found = org.verify_record(Some(sealed)).await.unwrap();
    assert_eq!(found.chain.broken, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_ids_are_numbers_are_those_of_then() {
    let house = lived_in().await;
    let phone = house.device("C02NUMBERS").await;
    house.enrol(&phone).await;
    house.settle().await;
    let asked = ask(&house).await;
    let sealed = house.org().await.checkpoint().await.unwrap();
    let before = as_written_before(&house).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("before.sqlite");
    let store = SqliteStore::open(&path).await.unwrap();
    put(&before, &store).await;
    assert_eq!(by_table(&rows(&store).await), by_table(&before));
    goes_on(&house, store, &phone, asked, &sealed).await;

    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let options = PostgresOptions::default();
    let store = PostgresStore::connect(&server.database().await, options).await;
    let store = store.unwrap();
    put(&before, &store).await;
    goes_on(&house, store.clone(), &phone, asked, &sealed).await;
    store.close().await.unwrap();
    server.clean().await;
}

/// Three devices, of two of which an import has told the groups of the owner: none of one of them.
async fn with_owners() -> (House, Vec<Serial>) {
    let house = House::new().await;
    let mut serials = Vec::new();
    let mut rows = Vec::new();
    for (serial, groups) in [
        ("C02NOGROUP", None),
        ("C02TWO", Some(2)),
        ("C02NONE", Some(0)),
    ] {
        let serial = house.device(serial).await.serial;
        if let Some(count) = groups {
            let mut said = Said::nothing(serial.clone());
            let mut owner = DeviceOwner::default();
            owner.groups = ["Sales \"Süd\"", "Bern"][..count]
                .iter()
                .map(|g| (*g).to_owned())
                .collect();
            said.owner = Some(owner);
            rows.push(said);
        }
        serials.push(serial);
    }
    let org = house.org().await;
    org.import_originals("Old MDM", START, rows).await.unwrap();
    (house, serials)
}

/// Devices of a version that knew no groups of theirs have them, and no others do.
async fn have_groups(store: &impl Store, house: &House, serials: &[Serial]) {
    let all = store.devices_by_serial(house.org, serials).await.unwrap();
    assert_eq!(all.len(), 3);
    for device in all {
        let groups: Vec<&str> = device.groups.iter().map(String::as_str).collect();
        let expected: &[&str] = match device.serial.as_str() {
            "C02TWO" => &["Bern", "Sales \"Süd\""],
            _ => &[],
        };
        assert_eq!(groups, expected, "{}", device.serial);
        // It is as it was otherwise, and can be written.
        let mut batch = Batch::new();
        batch.put(device);
        store.commit(batch).await.unwrap();
    }
}

/// The version before devices had groups.
const WITHOUT_GROUPS: i64 = 320;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_get_the_groups_of_their_owners_from_what_was_imported() {
    let (house, serials) = with_owners().await;
    let taken = rows(&SqliteStore::look(house.path()).await.unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("before.sqlite");
    let mut old = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display()))
        .await
        .unwrap();
    scripts("sqlite")
        .await
        .run_to(WITHOUT_GROUPS, &mut old)
        .await
        .unwrap();
    let attach = format!("ATTACH '{}' AS newest", house.path().display());
    old.execute(AssertSqlSafe(attach)).await.unwrap();
    for table in ["organisations", "devices", "originals"] {
        let copy = format!("INSERT INTO main.{table} SELECT * FROM newest.{table}");
        old.execute(AssertSqlSafe(copy)).await.unwrap();
    }
    let forget = "UPDATE main.devices SET doc = json_remove(doc, '$.groups')";
    old.execute(AssertSqlSafe(forget.to_owned())).await.unwrap();
    old.close().await.unwrap();
    let upgraded = SqliteStore::open(&path).await.unwrap();
    have_groups(&upgraded, &house, &serials).await;
    upgraded.close().await.unwrap();

    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let options = PostgresOptions::default();
    let newest = server.database().await;
    let store = PostgresStore::connect(&newest, options).await.unwrap();
    put(&taken, &store).await;
    store.close().await.unwrap();
    let mut now = PgConnection::connect(&newest).await.unwrap();
    let url = server.database().await;
    let mut old = PgConnection::connect(&url).await.unwrap();
    scripts("postgres")
        .await
        .run_to(WITHOUT_GROUPS, &mut old)
        .await
        .unwrap();
    for table in ["organisations", "devices", "originals"] {
        let read = format!("SELECT to_jsonb(t)::text FROM {table} t");
        for row in sqlx::query(AssertSqlSafe(read))
            .fetch_all(&mut now)
            .await
            .unwrap()
        {
            let put = format!(
                "INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, $1::jsonb)"
            );
            let query = sqlx::query(AssertSqlSafe(put)).bind(row.get::<String, _>(0));
            query.execute(&mut old).await.unwrap();
        }
    }
    let forget = "UPDATE devices SET doc = (doc::jsonb - 'groups')::json";
    old.execute(AssertSqlSafe(forget.to_owned())).await.unwrap();
    old.close().await.unwrap();
    now.close().await.unwrap();
    let upgraded = PostgresStore::connect(&url, options).await.unwrap();
    have_groups(&upgraded, &house, &serials).await;
    upgraded.close().await.unwrap();
    server.clean().await;
}

/// The version before lists were looked after.
const NOT_LOOKED_AFTER: i64 = 341;

/// A list that is under way has its job, a wave that is planned has none.
async fn is_looked_after(store: &impl Archive) {
    let rows = by_table(&rows(store).await);
    let jobs = rows.get("jobs").map(Vec::as_slice).unwrap_or_default();
    let job = |row: &Value| serde_json::from_value::<Job>(row["doc"].clone()).unwrap();
    let jobs: Vec<Job> = jobs.iter().map(job).collect();
    let [job, had] = &jobs[..] else {
        panic!("{jobs:?}")
    };
    let wave = WaveId(70_001);
    assert_eq!(job.kind, JobKind::LookAfter { wave });
    assert_eq!(job.id.0, wave.0);
    // Not before everything else that waits.
    assert!(job.due > had.due + Duration::from_hours(24), "{job:?}");
    assert_eq!((had.id.0, had.tries), (70_005, 3));
}

/// The rows of waves: a list under way, one that is over, two waves, another list.
const LISTS: [(i64, &str); 5] = [
    (
        70_001,
        r#"{"ad_hoc":true,"state":{"submitted":{"by":"Anna"}}}"#,
    ),
    (70_002, r#"{"ad_hoc":true,"state":{"closed":{}}}"#),
    (70_003, r#"{"ad_hoc":false,"state":"draft"}"#),
    (
        70_004,
        r#"{"ad_hoc":false,"state":"draft","name":"a\u0000b"}"#,
    ),
    (
        70_005,
        r#"{"ad_hoc":true,"state":{"submitted":{"by":"Bo"}}}"#,
    ),
];
/// The last of them is looked after already.
const HAS_ONE: &str = "INSERT INTO jobs (organisation, id, version, due, leased_until, ready_at, doc) VALUES (1, 70005, 1, 0, 0, 0, \
    '{\"organisation\":\"1\",\"id\":\"70005\",\"due\":\"2026-11-01T00:00:00Z\",\"kind\":{\"look_after\":{\"wave\":\"70005\"}},\"tries\":3}')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_were_assigned_before_are_looked_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("before.sqlite");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut old = SqliteConnection::connect(&url).await.unwrap();
    let scripts_of = scripts("sqlite").await;
    scripts_of.run_to(NOT_LOOKED_AFTER, &mut old).await.unwrap();
    let put = "INSERT INTO waves (organisation, id, version, doc) VALUES (1, ?, 1, ?)";
    for (id, doc) in LISTS {
        let row = sqlx::query(put).bind(id).bind(doc);
        row.execute(&mut old).await.unwrap();
    }
    old.execute(HAS_ONE).await.unwrap();
    old.close().await.unwrap();
    let upgraded = SqliteStore::open(&path).await.unwrap();
    is_looked_after(&upgraded).await;
    upgraded.close().await.unwrap();

    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let mut old = PgConnection::connect(&url).await.unwrap();
    let scripts_of = scripts("postgres").await;
    scripts_of.run_to(NOT_LOOKED_AFTER, &mut old).await.unwrap();
    let put =
        "INSERT INTO waves (organisation, id, version, doc) VALUES (1, $1, 1, CAST($2 AS JSON))";
    for (id, doc) in LISTS {
        let row = sqlx::query(put).bind(id).bind(doc);
        row.execute(&mut old).await.unwrap();
    }
    old.execute(HAS_ONE).await.unwrap();
    old.close().await.unwrap();
    let options = PostgresOptions::default();
    let upgraded = PostgresStore::connect(&url, options).await.unwrap();
    is_looked_after(&upgraded).await;
    upgraded.close().await.unwrap();
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
