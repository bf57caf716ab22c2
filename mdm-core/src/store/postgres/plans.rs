//! The plans of every statement, on tables with twenty thousand rows: none reads a table from one end to the other, nor all rows of
//! an organisation that is as large.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{PostgresOptions, PostgresStore, at_once, channel, forget, heard, jobs};
use crate::device::Device;
use crate::ids::{DeviceId, OrganisationId, Serial};
use crate::store::Store as _;
use crate::store::erasing;
use crate::store::group_commit::Simple;
use crate::store::row::{ColumnKind, FORGOTTEN, OVER, Row, Table};
use crate::store::statements::{ALIKE, statements};
use crate::store::testing::TestPostgres;

/// What an organisation has few of, so that whoever asks has all of it at once.
const FEW: [&str; 9] = [
    "budgets",
    "declaration_sets",
    "kept_runbooks",
    "library",
    "locations",
    "projects",
    "servers",
    "templates",
    "tokens",
];

/// Rows of so many organisations, with a value in every column.
fn fill(table: Table, organisations: u32) -> String {
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
    let organisation = match table {
        "organisations" => "g".to_owned(),
        _ => format!("1 + g % {organisations}"),
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

/// What is asked all day: reads, and what clears away what is over.
fn asked() -> Vec<String> {
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
    let forgotten = FORGOTTEN.map(|table| (table, "expires"));
    let deletes = OVER.into_iter().chain(forgotten);
    all.extend(deletes.map(|(table, over)| forget::oldest_of(table, over)));
    // What is left of an organisation that was taken away. Of those themselves each has one row, which a filter may look at.
    let tables = Table::ALL.into_iter();
    for table in tables.filter(|table| *table != Table::Organisations) {
        all.push(erasing::next_rows(table));
        all.push(erasing::delete_rows(table, ids!(2)));
    }
    // Those that count them all.
    all.retain(|sql| !sql.starts_with("SELECT count(*)"));
    all
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
        let filled = connection.execute(AssertSqlSafe(fill(table, 2000))).await;
        filled.unwrap_or_else(|error| panic!("{}: {error}", table.name()));
    }
    let settings = "SET plan_cache_mode = force_generic_plan; SET jit = off";
    connection.execute(settings).await.unwrap();
    for sql in asked() {
        let plan = plan(&mut connection, &sql).await;
        assert!(!plan.contains("Seq Scan"), "{sql}:\n{plan}");
    }
    // What is written behind finds its rows by their key.
    // What is written behind finds its rows by their key.
    let plan_of_keeping = plan(&mut connection, heard::KEEP).await;
    assert!(
        plan_of_keeping.contains("last_heard_pkey") && !plan_of_keeping.contains("Seq Scan"),
        "{plan_of_keeping}"
    );
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
    let mut hot = vec![
        channel::QUEUE.to_owned(),
        channel::IDENTITY.to_owned(),
        jobs::RENEW.to_owned(),
    ];
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

/// Whether a plan goes through all rows of an organisation: by the beginning of a key alone, which is the organisation.
fn walks(plan: &str) -> bool {
    plan.contains("Seq Scan")
        || plan.lines().any(|line| {
            let held = line.trim().strip_prefix("Index Cond: (");
            let held = held.filter(|held| !held.contains(" AND "));
            let column = held.map(|held| held.rsplit('.').next().unwrap_or(held));
            column.is_some_and(|column| column.starts_with("organisation = "))
        })
}

#[tokio::test]
async fn no_statement_goes_through_a_large_organisation() {
    let walk = "  ->  Index Scan using tokens_pkey on tokens t\n        Index Cond: (t.organisation = $1)\n";
    assert!(walks(walk) && walks(&walk.replace("t.organisation", "organisation")));
    assert!(!walks(&walk.replace(
        "(t.organisation = $1)",
        "((organisation = $1) AND (id > $2))"
    )));
    let Some(server) = TestPostgres::find().await else {
        return;
    };
    let url = server.database().await;
    let store = PostgresStore::connect(&url, PostgresOptions::default()).await;
    let store = store.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for table in Table::ALL {
        let filled = connection.execute(AssertSqlSafe(fill(table, 1))).await;
        filled.unwrap_or_else(|error| panic!("{}: {error}", table.name()));
    }
    let settings = "SET plan_cache_mode = force_generic_plan; SET jit = off";
    connection.execute(settings).await.unwrap();
    let (mut lists, mut unnamed, mut pieces) = (0, 0, 0);
    for sql in asked() {
        let list = |few: &&str| {
            let all = format!(" FROM {few} WHERE organisation = $1 ORDER BY ");
            let order = sql.split_once(&all).map(|(_, order)| order);
            matches!(order, Some("id" | "name COLLATE \"C\""))
        };
        if FEW.iter().any(list) {
            lists += 1;
            continue;
        }
        let plan = plan(&mut connection, &sql).await;
        // What nothing names is looked up row by row, and no more of it than a run may look at.
        if sql.contains("NOT EXISTS (SELECT 1 FROM ") && sql.contains(" SKIP LOCKED") {
            unnamed += 1;
            assert!(!walks(&plan) && !plan.contains(" Join "), "{sql}:\n{plan}");
        }
        // Of lists that may name a content no more is read than a piece.
        if sql.contains("json_array_elements") {
            pieces += 1;
            assert!(!walks(&plan) && plan.contains("Limit"), "{sql}:\n{plan}");
        }
        // A page in the order of the key ends where the page does, unless it leaves rows out.
        let page = sql.contains(" LIMIT ") && !plan.contains("Seq Scan");
        let leaves_out = plan.contains("Filter: (version");
        assert!((page && !leaves_out) || !walks(&plan), "{sql}:\n{plan}");
    }
    assert_eq!(lists, FEW.len(), "the lists that are read at once");
    assert_eq!((unnamed, pieces), (3, 1));
    connection.close().await.unwrap();
    store.close().await.unwrap();
    server.clean().await;
}
