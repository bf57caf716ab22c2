//! Every table that has the column is emptied of an organisation that was taken away, whoever made it; and of no other.

use super::{PostgresOptions, PostgresStore};
use crate::store::testing::TestPostgres;
use crate::store::{Store as _, contract};

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
    let found = contract::emptied::every_table_is_emptied(&store, &tables).await;
    assert_eq!(found, Ok(()));
    store.close().await.unwrap();
    server.clean().await;
}
