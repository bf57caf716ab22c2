//! The loops that talk afterwards: one for jobs and wakes, one for the watchdog, each a task of its own, so that neither
//! keeps the other. They end after what they are at, never in the middle of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use mdm_core::error::Error;
use mdm_core::ids::OrganisationId;
use mdm_core::service::Mdm;
use mdm_core::store::StoreError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::WorkersConfig;
use crate::http::Health;
use crate::packages::Packages;

/// Between two looks that found nothing, whatever the clock of the domain says.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long a round waits for jobs: a slow answer of Apple keeps no push and no time-out waiting for longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Holds that the watchdog releases in one round; the next round is not far.
const RELEASES: u32 = 500;

/// Between two writings of when devices spoke last: so much of it is lost with a process that is killed.
const HEARD: Duration = Duration::from_secs(30);
/// Between two looks for what this process has of organisations that were taken away.
const PACKAGES: Duration = Duration::from_mins(10);
/// Organisations that are read at a time.
const PAGE: u32 = 200;

/// Writes down when devices spoke last, now and then. Also where no worker runs: whoever hears a device notes it.
pub(crate) async fn keep_heard(mdm: Mdm, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = mdm.heard_many() => {}
            () = tokio::time::sleep(HEARD) => {}
        }
        if let Err(error) = mdm.keep_heard().await {
            tracing::warn!(%error, "when devices spoke last could not be written down; it is tried again");
        }
    }
}

/// Forgets what is kept in memory of organisations that were taken away, and takes away their files, once their keys are gone and
/// nobody puts them back. In every process: one that does no work has its own memory too, and they may lie on its own disk.
pub(crate) async fn forget_packages(mdm: Mdm, packages: Arc<Packages>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = forget_packages_now(&mdm, &packages).await {
            tracing::warn!(%error, "whose packages are to be removed could not be read; it is tried again");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PACKAGES) => {}
        }
    }
}

async fn forget_packages_now(mdm: &Mdm, packages: &Arc<Packages>) -> Result<(), Error> {
    let mut after = OrganisationId(0);
    loop {
        let page = mdm.removals(after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.id;
        for removal in &page {
            mdm.forget_removed(removal);
        }
        let gone = page.iter().filter(|removal| removal.kept.is_none());
        let gone: Vec<OrganisationId> = gone.map(|removal| removal.id).collect();
        let packages = Arc::clone(packages);
        let removing = tokio::task::spawn_blocking(move || {
            for id in gone.into_iter().filter(|id| packages.remove_all(*id)) {
                tracing::info!(organisation = %id, "the packages of an organisation that was taken away are removed");
            }
        });
        // A panic of it was told where it happened; the next look tries again.
        let _ = removing.await;
    }
}

/// Starts both loops.
pub(crate) fn start(
    mdm: &Mdm,
    config: &WorkersConfig,
    poke: Arc<Notify>,
    health: Arc<Health>,
    stop: CancellationToken,
) -> TaskTracker {
    let tasks = TaskTracker::new();
    mdm.set_patience(Some(PATIENCE));
    mdm.set_lease(Duration::from_secs(config.lease_seconds));
    let (batch, fallback) = (config.batch, Duration::from_secs(config.fallback_seconds));
    tasks.spawn(work(
        mdm.clone(),
        batch,
        fallback,
        poke,
        Arc::clone(&health),
        stop.clone(),
    ));
    let interval = Duration::from_secs(config.watchdog_seconds);
    tasks.spawn(watch(mdm.clone(), interval, health, stop));
    tasks.close();
    tasks
}

/// In a process that only answers: looks whether the database is still what it was, as those that work do before they begin
/// anything. What it keeps in memory would be of a history that is no more.
pub(crate) fn follow(mdm: &Mdm, config: &WorkersConfig, stop: CancellationToken) -> TaskTracker {
    let tasks = TaskTracker::new();
    let (mdm, every) = (mdm.clone(), Duration::from_secs(config.fallback_seconds));
    tasks.spawn(async move {
        while !stop.is_cancelled() {
            if let Err(error) = mdm.follow_history().await {
                tracing::warn!(%error, "whether the database is what it was could not be seen");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    });
    tasks.close();
    tasks
}

async fn work(
    mdm: Mdm,
    batch: u32,
    fallback: Duration,
    poke: Arc<Notify>,
    health: Arc<Health>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let wait = match guarded("worker", &health, mdm.work(batch)).await {
            Some(done) if done > 0 => continue,
            Some(_) => until_due(&mdm).await.min(fallback).max(SHORTEST),
            None => fallback,
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = poke.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn watch(mdm: Mdm, interval: Duration, health: Arc<Health>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        guarded("watchdog", &health, mdm.watch(RELEASES)).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// How long until something is due, by the clock of the domain.
async fn until_due(mdm: &Mdm) -> Duration {
    match mdm.next_due().await {
        Ok(Some(due)) => due.since(mdm.now()),
        Ok(None) => Duration::MAX,
        // The next look will meet the same trouble and say so.
        Err(_) => SHORTEST,
    }
}

/// One round; neither an error nor a panic ends the loop.
async fn guarded(
    who: &'static str,
    health: &Health,
    round: impl Future<Output = Result<usize, Error>>,
) -> Option<usize> {
    let ended = AssertUnwindSafe(round).catch_unwind().await;
    // That one row cannot be read is no reason to send everybody elsewhere.
    let database_lost = matches!(ended, Ok(Err(Error::Store(StoreError::Unavailable(_)))));
    health.database_lost.store(database_lost, Ordering::Relaxed);
    match ended {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            tracing::error!(who, %error, "a round failed; trying again");
            None
        }
        Err(_) => {
            // The panic's message may hold a value.
            tracing::error!(who, "a round panicked; trying again");
            None
        }
    }
}
