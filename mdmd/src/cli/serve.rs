//! `mdmd serve`: runs the server until it is told to end (SIGTERM, SIGINT), then finishes what it accepted. SIGHUP makes it
//! look at its certificate files. Ports that a service manager holds are taken over.

use std::sync::Arc;

use mdm_core::ids::OrganisationId;
use mdm_core::store::Store;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Done, Exit, Means as _};
use crate::app::{self, App, Overrides};
use crate::config::Config;
use crate::listen::Inherited;
use crate::telemetry;

pub(crate) async fn run(common: &Common, sockets: Inherited) -> Done {
    let config = super::config::load(common)?;
    let traces = telemetry::start_with_traces(&config).means(Exit::Precondition)?;
    if !config.data_directory.is_dir() {
        let why = anyhow::anyhow!(
            "data directory {}: is not there; `mdmd init` makes one",
            config.data_directory.display()
        );
        return Err(why).means(Exit::Precondition);
    }
    if let Some(left) = crate::install::unfinished(&config.data_directory) {
        return Err(anyhow::anyhow!(left)).means(Exit::Precondition);
    }
    let store = store(&config).await.means(Exit::Precondition)?;
    let overrides = Overrides {
        store: Some(store),
        sockets,
        ..Overrides::default()
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let app = App::start(config, overrides)
        .await
        .means(Exit::Precondition)?;
    tracing::info!(version = super::version(), "serving");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => app.renew_certificates(),
        }
    }
    tracing::info!("stopping: finishing what was accepted");
    let done = app.shutdown().await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    done?;
    tracing::info!("stopped");
    Ok(())
}

/// The database of an installation. One that nobody was made in is another than the one that was meant.
async fn store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let nothing = "is no installation's; `mdmd init` makes one (was another database meant?)";
    if let Some(file) = config.database.sqlite_file(&config.data_directory) {
        anyhow::ensure!(file.exists(), "database {}: {nothing}", file.display());
    }
    let store = app::open_store(config).await?;
    if store.organisations(OrganisationId(0), 1).await?.is_empty() {
        store.close().await?;
        anyhow::bail!("database {:?}: {nothing}", config.database);
    }
    Ok(store)
}
