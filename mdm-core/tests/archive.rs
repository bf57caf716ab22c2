//! Everything in a store taken out and put into another one: of either kind, whole or not at all.

mod service_house;

use mdm_core::ids::Serial;
use mdm_core::service::NewCommand;
use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{
    Archive, ArchivedRow, PostgresOptions, PostgresStore, SqliteStore, StoreError,
};
use mdm_core::wire::command::CommandBody;
use mdm_core::wire::requests::{DeviceInformation, Query};
use service_house::{House, rows};
use tokio::sync::mpsc;

async fn put(
    store: &impl Archive,
    rows: &[ArchivedRow],
    last: Option<StoreError>,
) -> Result<u64, StoreError> {
    let (to, from) = mpsc::channel(8);
    let sent = async {
        for row in rows {
            if to.send(Ok(row.clone())).await.is_err() {
                return;
            }
        }
        if let Some(error) = last {
            let _ = to.send(Err(error)).await;
        }
        drop(to);
    };
    tokio::join!(store.import(from), sent).0
}

/// A store with a device in its hold, commands, secrets and a record; its rows as another process sees them.
async fn lived_in() -> (House, Vec<ArchivedRow>) {
    let house = House::new().await;
    for serial in ["C02ARCHIVE", "C02BESIDE"] {
        let phone = house.device(serial).await;
        house.enrol(&phone).await;
        let body = CommandBody::DeviceInformation(DeviceInformation::of([Query::SerialNumber]));
        let new = NewCommand::new(format!("A-{serial}"), body);
        house
            .org()
            .await
            .enqueue(&[phone.udid], &new)
            .await
            .unwrap();
    }
    let store = SqliteStore::look(house.path()).await.unwrap();
    let rows = rows(&store).await;
    assert!(rows.len() > 10, "{}", rows.len());
    (house, rows)
}

#[tokio::test]
async fn everything_that_is_taken_out_can_be_put_into_either_database() {
    let (house, taken) = lived_in().await;
    let memory = SqliteStore::in_memory().await.unwrap();
    assert_eq!(
        put(&memory, &taken, None).await.unwrap(),
        taken.len() as u64
    );
    assert_eq!(rows(&memory).await, taken);
    // One that is in use keeps what it has.
    let refused = put(&memory, &taken, None).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    if let Some(server) = TestPostgres::find().await {
        let url = server.database().await;
        let mut options = PostgresOptions::default();
        options.accept_lost_commits = true;
        let postgres = PostgresStore::connect(&url, options).await.unwrap();
        assert_eq!(
            put(&postgres, &taken, None).await.unwrap(),
            taken.len() as u64
        );
        let back = SqliteStore::in_memory().await.unwrap();
        put(&back, &rows(&postgres).await, None).await.unwrap();
        // The documents mean the same, whatever spaces a database puts between.
        assert_eq!(rows(&back).await.len(), taken.len());
        let mut told = Vec::new();
        for store in [back, memory] {
            let mdm = house.over(store);
            let org = mdm
                .organisation_by_id(house.org().await.organisation().id)
                .await
                .unwrap();
            let report = org
                .device_report(&Serial::parse("C02ARCHIVE").unwrap())
                .await
                .unwrap();
            assert_eq!(report.enrollments.len(), 1);
            told.push(serde_json::to_value(report).unwrap());
            assert_eq!(mdm.after_restore().await.unwrap(), 1);
        }
        assert_eq!(told[0], told[1]);
        mdm_core::store::Store::close(&postgres).await.unwrap();
        server.clean().await;
    }
}

#[tokio::test]
async fn what_ends_early_or_does_not_fit_leaves_an_empty_store() {
    let (_house, taken) = lived_in().await;
    let store = SqliteStore::in_memory().await.unwrap();
    let torn = StoreError::Unavailable("torn".to_owned());
    let half = &taken[..taken.len() / 2];
    let refused = put(&store, half, Some(torn)).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    let twice = [&taken[..], &taken[..1]].concat();
    let refused = put(&store, &twice, None).await;
    assert!(
        matches!(refused, Err(StoreError::Database(_))),
        "{refused:?}"
    );
    assert_eq!(rows(&store).await, []);
    assert_eq!(put(&store, &taken, None).await.unwrap(), taken.len() as u64);
}
