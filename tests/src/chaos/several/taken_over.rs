//! Two servers on one PostgreSQL, by the computer's own clock and with leases as they are set by default: the one that reads a long
//! list of devices is killed (-9), and the other one, which has been there all the time, goes on with it within seconds, and not
//! before the lease has ended.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fixtures::world::{Fleet, World, WorldConfig};
use mdm_core::clock::{Clock as _, SystemClock, Timestamp};
use mdm_core::store::testing::TestPostgres;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::Instant;

use super::super::{Fleet as Enrolled, served};
use super::street::{Plan, Street};

/// Devices of the list: more than can be read before the kill.
const DEVICES: u64 = 100_000;
/// The place in a list of which nothing is read.
const START: &str = "\"start\"";
/// When the other one has kept a page of it at the latest: a lease is 20 seconds, and a page takes its time where others are at work.
const MOST: Duration = Duration::from_secs(45);
/// How long everything else may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// What a dead server had sent to the database is done by then.
const SETTLED: Duration = Duration::from_secs(1);

/// Does it; answers how long the list was read by nobody.
///
/// # Errors
/// When the harness cannot go on, or the other one does not when it should.
pub async fn run(server: Option<&Path>, postgres: &TestPostgres) -> anyhow::Result<Duration> {
    let now = SystemClock.now();
    let world = World::start(WorldConfig::new(7, now.as_millis(), Fleet::Count(1))).await?;
    world.apple().add_crowd(world.destination_server(), DEVICES);
    let people = Enrolled::make(1, now)?;
    let database = postgres.database().await;
    let (program, environment) = served(server)?;
    let plan = Plan {
        servers: 2,
        program,
        environment,
        older: None,
        database: &database,
        lease: None,
    };
    let mut street = Box::pin(Street::lay(plan, &world, None, &people.seed())).await?;
    let tables = PgPoolOptions::new().max_connections(1);
    let list = List {
        tables: tables.connect(&database).await?,
        world: &world,
    };
    street.start(0).await?;
    list.goes_on(START, PATIENCE)
        .await
        .context("the first one")?;
    // It stands still until the other one is there, so that it is the one that has the list; for less than its lease.
    street.signal(0, "-STOP")?;
    street.start(1).await?;
    let before = list.place().await?;
    street.signal(0, "-CONT")?;
    list.goes_on(&before, PATIENCE)
        .await
        .context("the first one, with another beside it")?;
    street.kill(0)?;
    let killed = Instant::now();
    tokio::time::sleep(SETTLED).await;
    let left = list.place().await?;
    ensure!(
        left.contains("\"full\""),
        "the list was read before the kill: {left}"
    );
    let ends = list.leased_until().await?;
    let rest = MOST.saturating_sub(killed.elapsed());
    list.goes_on(&left, rest).await.context("the other one")?;
    let taken = killed.elapsed();
    ensure!(
        SystemClock.now() >= ends,
        "the other one has begun while the lease of the first one went on"
    );
    let fallen = street.fallen()?;
    ensure!(fallen.is_empty(), "{fallen:?}");
    list.tables.close().await;
    street.close().await?;
    world.stop().await;
    Ok(taken)
}

/// The list of devices, as the tables have it.
struct List<'a> {
    tables: PgPool,
    world: &'a World,
}

impl List<'_> {
    /// The place in it after the last page that is kept.
    async fn place(&self) -> anyhow::Result<String> {
        // Apple's clock goes as everybody's does.
        let now = SystemClock.now();
        self.world.clock().advance_to(now.as_millis());
        let place = sqlx::query_scalar("SELECT (doc->'cursor')::text FROM servers");
        Ok(place.fetch_one(&self.tables).await?)
    }

    /// Waits until another page is kept.
    async fn goes_on(&self, from: &str, patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.place().await? == from {
            if begun.elapsed() >= patience {
                anyhow::bail!(
                    "does not read on within {patience:?}: {}",
                    self.jobs().await?
                );
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// What waits, and whose it is, for whoever wonders why nobody goes on.
    async fn jobs(&self) -> anyhow::Result<String> {
        let all = "SELECT json_build_object('jobs', json_agg(jobs))::text FROM jobs";
        let all: String = sqlx::query_scalar(all).fetch_one(&self.tables).await?;
        Ok(format!("at {}: {all}", SystemClock.now().as_millis()))
    }

    /// Until when whoever has claimed the reading has it.
    async fn leased_until(&self) -> anyhow::Result<Timestamp> {
        let of =
            "SELECT leased_until FROM jobs WHERE leased_until > 0 AND doc::text LIKE '%\"sync\":%'";
        let until: Option<i64> = sqlx::query_scalar(of).fetch_optional(&self.tables).await?;
        let until = until.context("nobody has claimed the reading of the list")?;
        Ok(Timestamp::from_millis(until))
    }
}
