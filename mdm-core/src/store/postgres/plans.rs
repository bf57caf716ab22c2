//! The plans of every statement, on tables with twenty thousand rows: none reads a table from one end to the other.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{PostgresOptions, PostgresStore, at_once, channel};
use crate::device::Device;
use crate::ids::{DeviceId, OrganisationId, Serial};
use crate::store::Store as _;
use crate::store::group_commit::Simple;
use crate::store::row::{ColumnKind, Row, Table};
use crate::store::statements::{ALIKE, statements};
use crate::store::testing::TestPostgres;

/// Rows of two thousand organisations, with a value in every column.
fn fill(table: Table) -> String {
    let (mut names, mut values) = (String::new(), String::new());
    for (column, kind) in table.columns() {
        let value = match kind {
            ColumnKind::Int => "g",
            ColumnKind::Text => "'x' || g",
        };
        let _ = write!(names, ", {column}");
        let _ = write!(values, ", {value}");
    }
    let table = table.name();
    // Each organisation is its own row.
    let organisation = if table == "organisations" {
        "g"
    } else {
        "1 + g % 2000"
    };
    format!(
        "INSERT INTO {table} (organisation, id, version, doc{names}) \
         SELECT {organisation}, g, 1, '{{\"session\": 1, \"device\": 1}}'{values} FROM generate_series(1, 20000) AS g; \
         ANALYZE {table}"
    )
}

/// What a connection does with a statement whose values it does not know yet.
async fn plan(connection: &mut PgConnection, sql: &str) -> String {
    let values = (1..40)
        .take_while(|n| sql.contains(&format!("${n}")))
        .map(|_| "NULL")
        .collect::<Vec<_>>()
        .join(", ");
    let arguments = if values.is_empty() {
        String::new()
    } else {
        format!("({values})")
    };
    let run = async {
        connection
            .execute(AssertSqlSafe(format!("PREPARE asked AS {sql}")))
            .await?;
        let explain = format!("EXPLAIN EXECUTE asked{arguments}");
        let lines: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(explain))
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        connection.execute("DEALLOCATE asked").await?;
        Ok::<_, sqlx::Error>(lines)
    };
    let lines = run.await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    lines.into_iter().map(|(line,)| line + "\n").collect()
}

fn simple<'a>(new: &'a [Row], old: &'a [Row], alone: bool) -> Simple<'a> {
    let mut simple = Simple {
        alone,
        ..Simple::default()
    };
    for row in new {
        simple.inserts.entry(row.key.table).or_default().push(row);
    }
    for row in old {
        simple.changes.entry(row.key.table).or_default().push(row);
        let expects = simple.expects.entry(Table::Enrollments).or_default();
        expects.insert(row.key, 1);
        simple.ended.insert(row.key, 7);
    }
    simple
}

#[tokio::test]
async fn every_statement_uses_an_index() {
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
    let store = store.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for table in Table::ALL {
        let filled = connection.execute(AssertSqlSafe(fill(table))).await;
        filled.unwrap_or_else(|error| panic!("{}: {error}", table.name()));
    }
    let settings = "SET plan_cache_mode = force_generic_plan; SET jit = off";
    connection.execute(settings).await.unwrap();
    let columns = "organisation, id, version, doc::text";
    let words = [
        ("ids!(2)", ids!(2)),
        ("texts!(2)", texts!(2)),
        ("by_bytes!(serial)", by_bytes!(serial)),
        ("by_bytes!(name)", by_bytes!(name)),
    ];
    let mut all: Vec<String> = ALIKE
        .into_iter()
        .chain([include_str!("jobs.rs")])
        .flat_map(|source| statements(source, columns, &words))
        .collect();
    assert!(all.len() >= 100, "only {} statements were found", all.len());
    // Those that count them all.
    all.retain(|sql| !sql.starts_with("SELECT count(*)"));
    for sql in all {
        let plan = plan(&mut connection, &sql).await;
        assert!(!plan.contains("Seq Scan"), "{sql}:\n{plan}");
    }
    // Those that run all day have connections of their own, where nothing depends on what the server knows of the tables.
    let settings = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; \
                    SET enable_mergejoin = off";
    connection.execute(settings).await.unwrap();
    let device = |id: i64, version: i64| {
        let serial = Serial::parse(&format!("S{id}")).unwrap();
        let mut device = Device::new(OrganisationId(1), DeviceId(id), serial);
        device.version = version;
        Row::of(&device).unwrap()
    };
    let (new, old) = ([device(30_000, 0)], [device(2, 1), device(5, 1)]);
    let mut hot = vec![channel::QUEUE.to_owned(), channel::IDENTITY.to_owned()];
    for alone in [true, false] {
        hot.push(at_once::statement(&simple(&new, &old, alone)).unwrap().0);
    }
    for sql in hot {
        let plan = plan(&mut connection, &sql).await;
        assert!(!plan.contains("Seq Scan"), "{sql}:\n{plan}");
        assert!(!plan.contains("Filter: (version"), "{sql}:\n{plan}");
    }
    connection.close().await.unwrap();
    store.close().await.unwrap();
    server.clean().await;
}
