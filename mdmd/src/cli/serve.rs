//! `mdmd serve`: runs the server until it is told to end (SIGTERM, SIGINT), then finishes what it accepted. SIGHUP makes it
//! look at its certificate files.

use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Done, Exit, Means as _};
use crate::app::{App, Overrides};
use crate::telemetry;

pub(crate) async fn run(common: &Common) -> Done {
    let config = super::config::load(common)?;
    telemetry::start(&config.log);
    if !config.data_directory.is_dir() {
        let why = anyhow::anyhow!(
            "data directory {}: is not there; `mdmd init` makes one",
            config.data_directory.display()
        );
        return Err(why).means(Exit::Precondition);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let app = App::start(config, Overrides::default())
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
    app.shutdown().await?;
    tracing::info!("stopped");
    Ok(())
}
