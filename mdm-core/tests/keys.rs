//! Every key begins with the organisation, on both databases, but for what the page about distributed databases names, each with its
//! reason. Says nothing of what the rows hold.

use std::collections::BTreeSet;

use mdm_core::store::testing::TestPostgres;
use mdm_core::store::{PostgresOptions, PostgresStore, SqliteStore, Store as _};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

const PAGE: &str = include_str!("../../docs/performance.md");

/// A table by its primary key, or an index: its name, whether it is `table`, `unique` or `index`, and its first column.
type Key = (String, String, String);

/// What the page names: name and kind.
fn named() -> BTreeSet<(String, String)> {
    let (_, section) = PAGE.split_once("## A distributed PostgreSQL").unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let name = cells.next()?.trim().trim_end_matches('`');
            let kind = cells.next()?.trim();
            assert!(cells.next()?.trim().len() > 10, "{line}: no reason");
            Some((name.to_owned(), kind.to_owned()))
        })
        .collect()
}

/// Those that begin with something else than the organisation.
fn others(keys: Vec<Key>) -> BTreeSet<(String, String)> {
    assert!(keys.len() > 100, "only {} keys were found", keys.len());
    let tables = keys.iter().filter(|(_, kind, _)| kind == "table").count();
    assert!(tables > 48, "only {tables} tables were found");
    keys.into_iter()
        .filter(|(_, _, first)| first != "organisation")
        .map(|(name, kind, _)| (name, kind))
        .collect()
}

#[tokio::test]
async fn every_key_on_sqlite_begins_with_the_organisation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.sqlite");
    let store = SqliteStore::open(&path).await.unwrap();
    store.close().await.unwrap();
    let file = SqliteConnectOptions::new().filename(&path);
    let mut database = file.connect().await.unwrap();
    let keys: Vec<Key> = sqlx::query_as(
        "SELECT t.name, 'table', c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c \
           WHERE t.type = 'table' AND t.name NOT LIKE '@_sqlx%' ESCAPE '@' AND t.name NOT LIKE 'sqlite%' AND c.pk = 1 \
         UNION ALL \
         SELECT i.name, CASE i.\"unique\" WHEN 1 THEN 'unique' ELSE 'index' END, c.name \
           FROM sqlite_schema AS t, pragma_index_list(t.name) AS i, pragma_index_info(i.name) AS c \
           WHERE t.type = 'table' AND t.name NOT LIKE '@_sqlx%' ESCAPE '@' AND i.origin = 'c' AND c.seqno = 0",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    database.close().await.unwrap();
    assert_eq!(others(keys), named());
}

#[tokio::test]
async fn every_key_on_postgres_begins_with_the_organisation() {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
    store.unwrap().close().await.unwrap();
    let mut database = PgConnection::connect(&url).await.unwrap();
    let keys: Vec<Key> = sqlx::query_as(
        "SELECT CASE WHEN x.indisprimary THEN t.relname ELSE i.relname END::text, \
           CASE WHEN x.indisprimary THEN 'table' WHEN x.indisunique THEN 'unique' ELSE 'index' END, c.attname::text \
         FROM pg_index AS x JOIN pg_class AS t ON t.oid = x.indrelid JOIN pg_class AS i ON i.oid = x.indexrelid \
           JOIN pg_namespace AS n ON n.oid = t.relnamespace \
           JOIN pg_attribute AS c ON c.attrelid = t.oid AND c.attnum = x.indkey[0] \
         WHERE n.nspname = 'public' AND t.relname NOT LIKE '@_sqlx%' ESCAPE '@'",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    // A table without a primary key would have no row above.
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '@_sqlx%' ESCAPE '@'",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    let keyed = keys.iter().filter(|(_, kind, _)| kind == "table").count();
    assert_eq!(keyed, usize::try_from(tables).unwrap());
    let foreign: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_constraint WHERE contype = 'f'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(foreign, 0, "no row depends on one of another table");
    database.close().await.unwrap();
    assert_eq!(others(keys), named());
    server.clean().await;
}
