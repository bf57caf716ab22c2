//! Every table that has the column is emptied of an organisation that was taken away, whoever made it; and of no other.

use sqlx::AssertSqlSafe;

use super::{PostgresOptions, PostgresStore};
use crate::clock::Timestamp;
use crate::ids::{OrganisationCode, OrganisationId};
use crate::organisation::{Der, Organisation, WrappedKey};
use crate::removal::Removal;
use crate::store::row::Table;
use crate::store::testing::TestPostgres;
use crate::store::{Batch, RemovalStore as _, Store as _};

const GONE: OrganisationId = OrganisationId(7);

/// An organisation of which nothing but its rows is left.
async fn taken_away(store: &PostgresStore) -> Removal {
    let key = WrappedKey {
        key_id: "k".to_owned(),
        wrapped: Der(vec![1]),
    };
    let (code, now) = (
        OrganisationCode::random().unwrap(),
        Timestamp::from_millis(1),
    );
    let mut organisation = Organisation::new(GONE, code, "Acme".to_owned(), key, now);
    let mut batch = Batch::new();
    batch.put(organisation.clone());
    store.commit(batch).await.unwrap();
    organisation.version = 1;
    let removal = Removal::new(organisation, ("Anna", "sold"), 0, now);
    store.begin_removal(&removal).await.unwrap();
    let mut removal = store.removal(GONE).await.unwrap().unwrap();
    removal.kept = None;
    store.keep_removal(&removal).await.unwrap()
}

#[tokio::test]
async fn every_table_is_emptied_of_an_organisation_that_was_taken_away_and_of_no_other() {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
    let store = store.unwrap();
    let tables = "SELECT table_name::text FROM information_schema.columns \
                  WHERE table_schema = current_schema() AND column_name = 'organisation' ORDER BY table_name";
    let tables: Vec<String> = sqlx::query_scalar(tables)
        .fetch_all(&store.reads)
        .await
        .unwrap();
    assert!(tables.len() >= Table::ALL.len(), "{tables:?}");
    for table in &tables {
        let columns = "SELECT column_name::text, data_type::text FROM information_schema.columns \
                       WHERE table_schema = current_schema() AND table_name = $1";
        let columns: Vec<(String, String)> = sqlx::query_as(columns)
            .bind(table)
            .fetch_all(&store.reads)
            .await
            .unwrap();
        for (organisation, id) in [(7, 1), (7, 2), (7, 3), (8, 1), (8, 2), (8, 3)] {
            let value = |(name, kind): &(String, String)| match (name.as_str(), kind.as_str()) {
                ("organisation", _) => organisation.to_string(),
                ("id", _) => id.to_string(),
                ("version", _) => "1".to_owned(),
                ("doc", _) => "'{}'".to_owned(),
                (_, "text") => format!("'x{organisation}{id}'"),
                _ => format!("{organisation}{id}"),
            };
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let values: Vec<String> = columns.iter().map(value).collect();
            let (names, values) = (names.join(", "), values.join(", "));
            let insert = format!("INSERT INTO {table} ({names}) VALUES ({values})");
            let done = sqlx::query(AssertSqlSafe(insert)).execute(&store.reads);
            done.await
                .unwrap_or_else(|error| panic!("{table}: {error}"));
        }
    }
    let mut removal = taken_away(&store).await;
    while !(removal.place.is_none() && removal.empty) {
        removal = store.erase(&removal, 2).await.unwrap();
    }
    for table in &tables {
        for (organisation, left) in [(7, 0), (8, 3)] {
            let count = format!("SELECT count(*) FROM {table} WHERE organisation = {organisation}");
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(count))
                .fetch_one(&store.reads)
                .await
                .unwrap();
            assert_eq!(count, left, "{table} of {organisation}");
        }
        assert_eq!(removal.erased.get(table), Some(&3), "{table}");
    }
    store.close().await.unwrap();
    server.clean().await;
}
