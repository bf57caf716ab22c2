//! Gives an older program the rows of a run in tables of its own: it makes the tables, and what the library of today has
//! written into another database is copied into them. Columns that the older one does not have are left out, as they are when
//! it works beside a newer one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use super::api::{Api, Said};

/// What belongs to the tables themselves.
const NOT_ROWS: [&str; 3] = ["_sqlx_migrations", "schema_floor", "schema_refill"];

/// Makes the tables of an older program, with this environment, in the empty database `to`, and copies the rows of `from`.
pub(super) async fn rows(
    program: &Path,
    environment: &[(String, String)],
    from: &str,
    to: &str,
) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let made = Command::new(program)
        .arg("--data")
        .arg(directory.path().join("data"))
        .args(["init", "--organisation", "Older", "--json"])
        .envs(environment.iter().cloned())
        .env("MDMD_DATABASE", to)
        .output()
        .with_context(|| program.display().to_string())?;
    ensure!(
        made.status.success(),
        "the older program makes no tables: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let (mut from, mut to) = (
        PgConnection::connect(from).await?,
        PgConnection::connect(to).await?,
    );
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables \
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1",
    )
    .fetch_all(&mut to)
    .await?;
    let all: Vec<&String> = tables
        .iter()
        .filter(|table| !NOT_ROWS.contains(&table.as_str()))
        .collect();
    ensure!(!all.is_empty(), "the older program made no tables");
    for table in all {
        let emptied = sqlx::query(AssertSqlSafe(format!("TRUNCATE {table}")));
        emptied.execute(&mut to).await?;
        let read = format!("SELECT json_agg(t)::text FROM {table} AS t");
        let rows: Option<String> = sqlx::query_scalar(AssertSqlSafe(read))
            .fetch_one(&mut from)
            .await
            .with_context(|| format!("the table {table} is gone"))?;
        let Some(rows) = rows else { continue };
        let write = format!(
            "INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $1::json)"
        );
        let written = sqlx::query(AssertSqlSafe(write)).bind(rows);
        written
            .execute(&mut to)
            .await
            .with_context(|| format!("the rows of {table}"))?;
    }
    from.close().await?;
    to.close().await?;
    Ok(())
}

/// The newest script that the tables of a database have.
pub(super) async fn newest_script(url: &str) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    let newest = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(newest)
}

/// These runbooks where the older program takes them; nothing where it has no word for something in them: then it works by those
/// that come with it.
pub(super) async fn known(admin: &mut Api<'_>, runbooks: Value) -> anyhow::Result<Value> {
    let body = json!({ "name": "Locks", "capacity": 1000, "runbooks": runbooks });
    match admin.post("/api/v1/projects", &body).await? {
        Said::Answer(200, _) | Said::Lost => Ok(runbooks),
        Said::Answer(400, _) => Ok(Value::Null),
        other @ Said::Answer(..) => anyhow::bail!("a project was answered {other:?}"),
    }
}

/// Why a run with an older program has not tried an upgrade: the tables' scripts before and after it, and how many servers of how
/// many were replaced.
pub(super) fn not_tried(scripts: (i64, i64), replaced: (usize, usize)) -> Vec<String> {
    let mut wrong = Vec::new();
    if scripts.0 >= scripts.1 {
        wrong.push(format!(
            "the older program has the same tables (script {} became {}): nothing was upgraded",
            scripts.0, scripts.1
        ));
    }
    if replaced.0 < replaced.1 {
        wrong.push(format!(
            "{} of {} servers were replaced by the newer program",
            replaced.0, replaced.1
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::not_tried;

    #[test]
    fn an_upgrade_changes_the_tables_and_replaces_every_server() {
        assert_eq!(not_tried((346, 372), (3, 3)), [""; 0]);
        assert_eq!(not_tried((372, 372), (3, 3)).len(), 1);
        assert_eq!(not_tried((372, 346), (3, 3)).len(), 1);
        assert_eq!(not_tried((346, 372), (2, 3)).len(), 1);
        assert_eq!(not_tried((372, 372), (0, 3)).len(), 2);
    }
}
