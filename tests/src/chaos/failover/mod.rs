//! The database goes, and the server stays: its cluster dies and a replica takes over, its connections are ended, it stops where
//! it is, it takes nobody any more, its disk is full or slow. Devices and clients speak all the while, and hear success or 503 with the time of another try;
//! what was acknowledged is there.

mod address;
mod disk;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fixtures::world::{Fleet as Devices, World, WorldConfig};
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::errand::{Errand, ErrandKind};
use mdm_core::ids::{ErrandId, OrganisationId};
use mdm_core::service::Mdm;
use mdm_core::store::Batch;
use mdm_core::store::testing::TestPostgres;
use sqlx::{Connection as _, PgConnection};

use super::ledger::Ledger;
use super::load::Load;
use super::{Report, Rng, SERVE};
use crate::fleet::apple::furnish;
use crate::fleet::devices::{self, Authority, KeyKind, TOPIC};
use crate::fleet::house::{House, Seed, Start};
use address::Moving;
use disk::Disk;

/// Devices that are enrolled at the beginning, and as many that will enrol.
const DEVICES: usize = 40;
/// Devices that speak at the same time.
const CONNECTIONS: usize = 8;
/// After every turn of a device.
const REST: Duration = Duration::from_millis(5);
/// How long they speak before something happens, and after it.
const WHILE: Duration = Duration::from_secs(3);
/// How long the database is away.
const AWAY: Duration = Duration::from_secs(3);
/// How long a slow disk takes for each sync.
const SYNC: Duration = Duration::from_secs(2);

/// What is set while the replica is behind: it is lost.
const LOST: u32 = 77;

/// What happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "programs of this crate name it")]
pub enum Mishap {
    /// All its processes are killed; a while later its replica, for which commits waited, has its address.
    Killed,
    /// All its processes are killed; a while later its replica, for which no commit waited and which was behind, has its address.
    Behind,
    /// Its connections are ended, again and again.
    Cut,
    /// It stops where it is, and goes on later.
    Stopped,
    /// Others have all its connections.
    Full,
    /// Its disk has no room for tables and indexes, and later there is some.
    NoRoom,
    /// Each sync takes long, and later it does not.
    Slow,
}

impl Mishap {
    /// Whether it is the disk's: only on Linux another one is shown.
    #[must_use]
    pub const fn is_of_disk(self) -> bool {
        matches!(self, Self::NoRoom | Self::Slow)
    }
}

/// A server on a cluster of its own, at an address that moves.
struct Stage {
    cluster: TestPostgres,
    replica: Option<TestPostgres>,
    address: Moving,
    database: String,
    disk: Option<Disk>,
}

/// Lets that happen under load, to a server that works or only answers, and looks up everything that was acknowledged. `None` without
/// PostgreSQL.
///
/// # Errors
/// When the harness itself cannot go on. What is wrong is in the report.
pub async fn run(mishap: Mishap, works: bool, seed: u64) -> anyhow::Result<Option<Report>> {
    let disk = match mishap.is_of_disk() {
        true => Some(Disk::build()?),
        false => None,
    };
    let environment = disk.as_ref().map_or_else(Vec::new, Disk::environment);
    let Some(cluster) = TestPostgres::private_with(&environment).await else {
        return Ok(None);
    };
    let replica = match mishap {
        Mishap::Killed => Some(cluster.replica(true).await),
        Mishap::Behind => Some(cluster.replica(false).await),
        _ => None,
    };
    let address = Moving::open(cluster.port()).await?;
    let database = cluster.database_by(address.port).await;
    let stage = Stage {
        cluster,
        replica,
        address,
        database,
        disk,
    };
    let now = SystemClock.now();
    let authority = Authority::create(now)?;
    let enrolled = devices::make(&authority, KeyKind::P256, 1, DEVICES, now)?;
    let first = i64::try_from(DEVICES)? + 1;
    let invited = devices::make(&authority, KeyKind::P256, first, DEVICES, now)?;
    let rows = Seed {
        authority: &authority,
        enrolled: &enrolled,
        invited: &invited,
        present: 0,
    };
    let start = Start {
        program: Some(std::env::current_exe()?),
        environment: vec![(SERVE.to_owned(), "1".to_owned())],
        ..Start::default()
    };
    let mut house = House::lay(start, &stage.database, &rows).await?;
    // Leases are those that are shipped: time is the computer's.
    let world = if works {
        let config = WorldConfig::new(seed, now.as_millis(), Devices::Count(0));
        let world = World::start(config).await?;
        furnish(&world, &house, &stage.database, None, None).await?;
        world.apple().take_any_push(TOPIC);
        Some(world)
    } else {
        None
    };
    house.start().await?;
    let pid = house.pid();
    let ledger = Ledger::new(enrolled, invited);
    let load = Load::new(&house, &ledger, CONNECTIONS).resting(REST);
    let mut report = Report::default();
    // At its start it notes what the database is.
    beside(&house, |mdm| async move { is_noted(&mdm).await }).await?;
    let mut rng = Rng::new(seed);
    let id = house.organisation();
    if mishap == Mishap::Behind {
        Box::pin(fall_behind(&house, &stage, &load, &mut rng)).await?;
    } else {
        Box::pin(load.drive_until(&mut rng, stage.let_happen(mishap))).await?;
    }
    ledger.look_up(&house, true, &mut report).await?;
    ensure!(house.pid() == pid, "the server was started again");
    if mishap == Mishap::NoRoom && report.put_off == 0 {
        let told = "there was no room, and nobody was put off";
        report.wrong.push(told.to_owned());
    }
    let other = matches!(mishap, Mishap::Killed | Mishap::Behind);
    let asked = beside(&house, |mdm| async move {
        if other {
            is_noted(&mdm).await?;
        }
        times_asked(&mdm, id).await
    })
    .await?;
    if asked != usize::from(other) {
        let told = format!("{mishap:?}: Apple and the devices were to be asked anew {asked} times");
        report.wrong.push(told);
    }
    house.close().await?;
    if let Some(world) = world {
        world.stop().await;
    }
    Ok(Some(report))
}

/// The replica hears nothing more, what is written then is lost with the cluster, and the replica takes over. What is sent to Apple
/// at that moment is of the history before: it counts as sent, and nobody knows what became of it.
async fn fall_behind(
    house: &House,
    stage: &Stage,
    load: &Load<'_>,
    rng: &mut Rng,
) -> anyhow::Result<()> {
    let id = house.organisation();
    load.drive_until(rng, async {
        tokio::time::sleep(WHILE).await;
        Ok(())
    })
    .await?;
    let errand = beside(house, |mdm| async move {
        let (errand, now) = (ErrandId(1), mdm.now());
        let mut row = Errand::new(id, errand, ErrandKind::Cancel, Vec::new(), "harness", now);
        row.asked(0, now);
        let mut batch = Batch::new();
        batch.put(row);
        mdm.store().commit(batch).await?;
        Ok(errand)
    })
    .await?;
    // Everything up to here is at the replica, and nothing after it.
    let replica = stage.replica.as_ref().context("no replica")?;
    tokio::time::sleep(AWAY).await;
    replica
        .administer("ALTER SYSTEM SET primary_conninfo = ''".to_owned())
        .await;
    replica
        .administer("SELECT pg_reload_conf()".to_owned())
        .await;
    tokio::time::sleep(AWAY).await;
    beside(house, |mdm| async move {
        let org = mdm.organisation_by_id(id).await?;
        org.set_enrolment(None, None, Some(LOST)).await?;
        Ok(())
    })
    .await?;
    stage.address.lead(None);
    stage.cluster.kill();
    tokio::time::sleep(AWAY).await;
    replica.promote().await;
    stage.address.lead(Some(replica.port()));
    load.drive_until(rng, async {
        tokio::time::sleep(WHILE).await;
        Ok(())
    })
    .await?;
    beside(house, |mdm| async move {
        is_noted(&mdm).await?;
        let org = mdm.organisation_by_id(id).await?;
        let lost = org.organisation().settings.facts_hours != LOST;
        ensure!(lost, "the replica was not behind");
        let row = mdm.store().errand(id, errand).await?;
        let row = row.context("what the replica had is gone")?;
        let unknown = row.sendings.last().and_then(|sent| sent.outcome.as_ref());
        ensure!(
            row.sendings.len() == 2 && unknown.is_some(),
            "what was being sent is not read before it is sent again: {:?}",
            row.sendings
        );
        Ok(())
    })
    .await
}

impl Stage {
    async fn let_happen(&self, mishap: Mishap) -> anyhow::Result<()> {
        tokio::time::sleep(WHILE).await;
        match mishap {
            Mishap::Killed => {
                let replica = self.replica.as_ref().context("no replica")?;
                self.address.lead(None);
                self.cluster.kill();
                tokio::time::sleep(AWAY).await;
                replica.promote().await;
                self.address.lead(Some(replica.port()));
            }
            // What is lost then is written while nobody else speaks.
            Mishap::Behind => anyhow::bail!("it does not happen under load"),
            Mishap::Cut => {
                for _ in 0..6 {
                    self.end_connections().await;
                    tokio::time::sleep(AWAY / 6).await;
                }
            }
            Mishap::Stopped => {
                self.cluster.pause();
                tokio::time::sleep(AWAY).await;
                self.cluster.resume();
            }
            Mishap::Full => {
                let mut others = Vec::new();
                let direct = self.database.replace(
                    &format!(":{}/", self.address.port),
                    &format!(":{}/", self.cluster.port()),
                );
                // What ours lose, others take, until there is nothing left to take.
                self.address.lead(None);
                while let Ok(other) = PgConnection::connect(&direct).await {
                    others.push(other);
                    ensure!(others.len() < 1_000, "the cluster takes everybody");
                }
                self.address.lead(Some(self.cluster.port()));
                tokio::time::sleep(AWAY).await;
                for other in others {
                    other.close().await?;
                }
            }
            Mishap::NoRoom => {
                let disk = self.disk.as_ref().context("no disk")?;
                disk.fill()?;
                tokio::time::sleep(AWAY).await;
                disk.mend()?;
            }
            Mishap::Slow => {
                let disk = self.disk.as_ref().context("no disk")?;
                disk.slow(SYNC)?;
                let begun = Instant::now();
                let write = "CREATE TABLE slow_disk ()";
                self.cluster.administer(write.to_owned()).await;
                ensure!(begun.elapsed() >= SYNC, "its disk is not slow");
                tokio::time::sleep(AWAY).await;
                disk.mend()?;
            }
        }
        tokio::time::sleep(WHILE).await;
        Ok(())
    }

    async fn end_connections(&self) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.cluster.administer(end.to_owned()).await;
    }
}

/// Asks a second process on the same database.
async fn beside<T, F>(house: &House, ask: impl FnOnce(Mdm) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mdm = house.beside().await?;
    let told = ask(mdm.clone()).await;
    mdm.store().close().await?;
    told
}

/// Waits until the server has noted that it works on this history of the database.
async fn is_noted(mdm: &Mdm) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let history = mdm.store().history().await?.context("a cluster has one")?;
        if history.noted.as_ref() == Some(&history.here) {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(30),
            "the server does not look at what the database is"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How often Apple and the devices were to be asked anew.
async fn times_asked(mdm: &Mdm, id: OrganisationId) -> anyhow::Result<usize> {
    let record = mdm
        .organisation_by_id(id)
        .await?
        .record_tail(10_000)
        .await?;
    let asked = record.iter().filter(|e| e.what == "installation.restored");
    Ok(asked.count())
}
