//! A row that cannot be read, on each of our databases: walks and whoever looks have the others, whoever decides has none of them, and
//! it is told by its address until it is mended or gone.

use mdm_core::clock::Timestamp;
use mdm_core::device::{Device, DeviceRecord};
use mdm_core::errand::{Errand, ErrandKind};
use mdm_core::ids::{DeviceId, ErrandId, OrganisationId, Serial, ServerId};
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{
    Batch, PostgresOptions, PostgresStore, SqliteStore, Store, StoreError, with_the_rest,
};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

const ORG: OrganisationId = OrganisationId(1);
const SERVER: ServerId = ServerId(3);

const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn serial(id: i64) -> Serial {
    Serial::parse(&format!("SERIAL{id}")).unwrap()
}

async fn put_three(store: &impl Store) {
    let mut batch = Batch::new();
    for id in 1..=3 {
        let mut device = Device::new(ORG, DeviceId(id), serial(id));
        device.record = Some(DeviceRecord::new(SERVER, at(10)));
        batch.put(device);
        let id = ErrandId(id);
        let errand = Errand::new(ORG, id, ErrandKind::Cancel, Vec::new(), "somebody", at(10));
        batch.put(errand);
    }
    store.commit(batch).await.unwrap();
}

/// What is told as unreadable.
async fn told(store: &impl Store) -> Vec<String> {
    let rows = store.unreadable().await.unwrap();
    let mut told: Vec<String> = rows.iter().map(ToString::to_string).collect();
    told.sort();
    told
}

fn is_corrupt<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Corrupt { .. }))
}

async fn one_bad_row_costs_nobody_else_anything(
    store: &impl Store,
    spoil: impl AsyncFn(&'static str),
) {
    put_three(store).await;
    assert!(told(store).await.is_empty());
    // Each is JSON, which PostgreSQL demands of it.
    spoil("UPDATE devices SET doc = '{}' WHERE organisation = 1 AND id = 2").await;
    spoil("UPDATE errands SET doc = '{}' WHERE organisation = 1 AND id = 2").await;
    let devices = |rows: Vec<Device>| rows.iter().map(|d| d.id.0).collect::<Vec<_>>();
    let errands = |rows: Vec<Errand>| rows.iter().map(|e| e.id.0).collect::<Vec<_>>();

    // A walk has the others, and the row takes nobody's place.
    for limit in [2, 10] {
        let page = store.devices(ORG, DeviceId(0), limit).await.unwrap();
        assert_eq!(devices(page), [1, 3], "{limit}");
        let unseen = store.devices_unseen_since(ORG, SERVER, at(11), limit).await;
        assert_eq!(devices(unseen.unwrap()), [1, 3], "{limit}");
    }
    assert_eq!(told(store).await, ["devices.doc 1/2"]);

    // Whoever decides has none of them.
    let serials = [serial(1), serial(2), serial(3)];
    assert!(is_corrupt(&store.devices_by_serial(ORG, &serials).await));
    assert!(is_corrupt(&store.errands(ORG, ErrandId(0), 10).await));
    assert!(is_corrupt(&store.device(ORG, DeviceId(2)).await));

    // Whoever looks has the others, a page as long as it was asked for, and is told what is left out.
    let (rows, left_out) = with_the_rest(store.devices_by_serial(ORG, &serials)).await;
    assert_eq!(devices(rows.unwrap()), [1, 3]);
    let named: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["devices.doc 1/2"]);
    let (rows, left_out) = with_the_rest(store.errands(ORG, ErrandId(0), 2)).await;
    assert_eq!(errands(rows.unwrap()), [1, 3]);
    assert_eq!(left_out.len(), 1);
    let (row, left_out) = with_the_rest(store.device(ORG, DeviceId(1))).await;
    assert!(row.unwrap().is_some() && left_out.is_empty());
    // What is under way at Apple is known whole or not at all, whoever asks.
    let (open, _) = with_the_rest(store.open_errands(ORG, ErrandId(0), 10)).await;
    assert!(is_corrupt(&open));

    // It is told until it is mended, or gone.
    assert_eq!(told(store).await, ["devices.doc 1/2", "errands.doc 1/2"]);
    spoil("DELETE FROM errands WHERE organisation = 1 AND id = 2").await;
    assert_eq!(told(store).await, ["devices.doc 1/2"]);
    spoil("UPDATE devices SET doc = (SELECT doc FROM devices WHERE organisation = 1 AND id = 1) WHERE organisation = 1 AND id = 2").await;
    let row = store.unreadable().await.unwrap();
    assert_eq!(row[0].column, "id", "it is another's document now");
    spoil("DELETE FROM devices WHERE organisation = 1 AND id = 2").await;
    assert!(told(store).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mdm.sqlite");
    let store = SqliteStore::open(&path).await.unwrap();
    let spoil = async |sql: &'static str| {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let mut database = options.connect().await.unwrap();
        let met = sqlx::query(sql).execute(&mut database).await.unwrap();
        assert_eq!(met.rows_affected(), 1, "{sql}");
        database.close().await.unwrap();
    };
    one_bad_row_costs_nobody_else_anything(&store, spoil).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default())
        .await
        .unwrap();
    let spoil = async |sql: &'static str| {
        let mut database = PgConnection::connect(&url).await.unwrap();
        let met = sqlx::query(sql).execute(&mut database).await.unwrap();
        assert_eq!(met.rows_affected(), 1, "{sql}");
        database.close().await.unwrap();
    };
    one_bad_row_costs_nobody_else_anything(&store, spoil).await;
    store.close().await.unwrap();
    server.clean().await;
}
