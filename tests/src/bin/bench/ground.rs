//! Which database a run is on: files of its own, a private PostgreSQL, or one that was named. Every installation gets an empty one.

use anyhow::{Context as _, ensure};
use mdm_core::store::testing::TestPostgres;
use tests::fleet::house::House;

use crate::process;

/// Where installations keep their rows.
pub(crate) enum Ground {
    Sqlite,
    /// A private server.
    Private(Box<TestPostgres>),
    /// A database of somebody's, good for one installation.
    Named(String),
}

impl Ground {
    /// Takes `sqlite`, `postgres` or a URL.
    pub(crate) async fn find(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "sqlite" => Self::Sqlite,
            "postgres" => {
                let server = TestPostgres::find().await.context("no PostgreSQL here")?;
                Self::Private(Box::new(server))
            }
            url => {
                let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
                ensure!(known, "--database is sqlite, postgres, both, or a URL");
                Self::Named(url.to_owned())
            }
        })
    }

    /// For people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Private(_) | Self::Named(_) => "postgres",
        }
    }

    /// A database for one more installation, as the configuration names it.
    pub(crate) async fn database(&self) -> String {
        match self {
            Self::Sqlite => "sqlite".to_owned(),
            Self::Private(server) => server.database().await,
            Self::Named(url) => url.clone(),
        }
    }

    /// Whether there can be another installation beside the first.
    pub(crate) fn has_room(&self) -> bool {
        !matches!(self, Self::Named(_))
    }

    /// The process of the database's own server, where that is ours.
    pub(crate) fn process(&self) -> Option<u32> {
        match self {
            Self::Private(_) => process::child_named("postgres"),
            Self::Sqlite | Self::Named(_) => None,
        }
    }

    /// Bytes on the disk of an installation's database here.
    pub(crate) async fn bytes(&self, house: &House, database: &str) -> anyhow::Result<u64> {
        match self {
            Self::Sqlite => Ok(house.bytes()),
            Self::Private(_) | Self::Named(_) => size(database).await,
        }
    }

    /// Removes what was made.
    pub(crate) async fn clean(&self) {
        if let Self::Private(server) = self {
            server.clean().await;
        }
    }
}

/// Bytes of a PostgreSQL database.
async fn size(url: &str) -> anyhow::Result<u64> {
    use sqlx::Connection as _;
    let mut connection = sqlx::PgConnection::connect(url).await?;
    let size: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(u64::try_from(size)?)
}
