//! The assembly drawing: store, vault, ports, service, routes, listeners, workers. Also how a rehearsal or a test starts
//! the whole server in its own process. Decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use mdm_core::clock::{Clock, SystemClock};
use mdm_core::service::{Mdm, MdmSettings, Ports};
use mdm_core::store::{Archive, PostgresOptions, PostgresStore, SqliteStore, Store};
use mdm_core::vault::EscrowVault;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::acme::{self, Keeper};
use crate::apple::{Addresses, Apple};
use crate::config::{Config, Duty};
use crate::hand_over::Elsewhere;
use crate::hooks::Carrier;
use crate::http::desk::{Desk, FrontDesk};
use crate::http::edge::Edge;
use crate::http::{self, Front, Health, api, doors};
use crate::key_wrap::MasterKeys;
use crate::listen::{self, House, Inherited};
use crate::metrics::Figures;
use crate::packages::Packages;
use crate::people::Providers;
use crate::push::PushService;
use crate::tls::Certificates;
use crate::walls::Walls;
use crate::workers;

/// Who does the work that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drive {
    /// The server's own workers, as the configuration says.
    #[default]
    Free,
    /// Whoever started the server calls [`Mdm::work`] and [`Mdm::watch`]: a rehearsal, whose clock stands still meanwhile.
    Manual,
}

/// What a rehearsal or a test puts in place of the usual parts.
#[derive(Default)]
#[non_exhaustive]
pub struct Overrides {
    /// Instead of the operating system's clock.
    pub clock: Option<Arc<dyn Clock>>,
    /// Instead of the configured database.
    pub store: Option<Arc<dyn Store>>,
    /// Instead of Apple's services.
    pub ports: Option<Ports>,
    /// Who works.
    pub drive: Drive,
    /// Put in front of the service, where devices speak to it.
    pub(crate) desk: Option<DeskWrap>,
    /// Ports that a service manager holds for us.
    pub(crate) sockets: Inherited,
}

/// Puts something between the doors and the service.
pub(crate) type DeskWrap = fn(Arc<dyn Desk>) -> Arc<dyn Desk>;

impl std::fmt::Debug for Overrides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overrides")
            .field("drive", &self.drive)
            .finish_non_exhaustive()
    }
}

/// Store, vault, clock and ports put together, no port open.
pub(crate) async fn assemble(config: &Config, overrides: &Overrides) -> anyhow::Result<Mdm> {
    let clock = overrides
        .clock
        .clone()
        .unwrap_or_else(|| Arc::new(SystemClock));
    let store = match &overrides.store {
        Some(store) => Arc::clone(store),
        None => open_store(config).await?,
    };
    let ports = match &overrides.ports {
        Some(ports) => ports.clone(),
        None => ports(config, &clock, &store)?,
    };
    let settings = MdmSettings {
        device_url: config.public.device_url.clone(),
        enrol_url: config.public.enrol_url.clone(),
        sign_messages: true,
    };
    let vault = EscrowVault::new(MasterKeys::load(config)?);
    Ok(Mdm::new(store, vault, clock, ports, settings))
}

/// The ports of a server: push, and Apple's services for organisations, whose budgets are shared through the store.
///
/// # Errors
/// When a configured CA cannot be read.
pub fn ports(
    config: &Config,
    clock: &Arc<dyn Clock>,
    store: &Arc<dyn Store>,
) -> anyhow::Result<Ports> {
    let trust = match &config.apple.ca {
        None => None,
        Some(file) => {
            let path = config.path(file);
            let name = || format!("apple.ca {}", path.display());
            Some(std::fs::read(&path).with_context(name)?)
        }
    };
    let addresses = Addresses {
        assignment: config.apple.assignment_url.clone(),
        organisation: config.apple.organisation_url.clone(),
        token: config.apple.token_url.clone(),
        lock_removal: config.apple.lock_url.clone(),
        apps: config.apple.apps_url.clone(),
        trust,
        give_on: config.traces.give_on,
    };
    let apple = Apple::new(addresses, Arc::clone(clock), Arc::clone(store)).context("apple.ca")?;
    let apple = Arc::new(apple);
    Ok(Ports {
        push: Arc::new(PushService::new(config, Arc::clone(clock))?),
        assignment: apple.clone(),
        api: apple.clone(),
        licences: apple.clone(),
        lock_removal: apple,
        people: Arc::new(providers(config, clock)?),
        hooks: Arc::new(Carrier::new(config)?),
        hand_over: Arc::new(Elsewhere),
        ..Ports::refusing()
    })
}

fn providers(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Providers> {
    let trust = match &config.sign_in.ca {
        None => None,
        Some(file) => {
            let path = config.path(file);
            let name = || format!("sign_in.ca {}", path.display());
            Some(std::fs::read(&path).with_context(name)?)
        }
    };
    Providers::new(trust.as_deref(), Arc::clone(clock)).context("sign_in.ca")
}

/// The configured database, its tables brought up to date.
///
/// # Errors
/// When it cannot be opened, or would lose acknowledged writes.
pub async fn open_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(open_archive(config).await?)
}

/// The same, whose rows can be taken out and put in.
pub(crate) async fn open_archive(config: &Config) -> anyhow::Result<Arc<dyn Archive>> {
    match config.database.sqlite_file(&config.data_directory) {
        Some(file) => {
            let store = SqliteStore::open(&file)
                .await
                .with_context(|| format!("database {}", file.display()))?;
            Ok(Arc::new(store))
        }
        None => {
            let url = config
                .database
                .postgres_url()
                .context("database: neither a SQLite file nor a PostgreSQL URL")?;
            let mut options = PostgresOptions::default();
            options.accept_lost_commits = config.accept_lost_commits;
            // The URL may carry a password: an error names the key, never the value.
            Ok(Arc::new(
                PostgresStore::connect(url, options)
                    .await
                    .context("database: PostgreSQL")?,
            ))
        }
    }
}

/// The configured database to look at: nothing is made, brought up to date or written.
///
/// # Errors
/// When there is none, or its tables are those of another version.
pub(crate) async fn look_at_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(look_at_archive(config).await?)
}

/// The same, whose rows can be taken out.
pub(crate) async fn look_at_archive(config: &Config) -> anyhow::Result<Arc<dyn Archive>> {
    if let Some(file) = config.database.sqlite_file(&config.data_directory) {
        let name = || format!("database {}", file.display());
        let there = std::fs::metadata(&file).with_context(name)?;
        anyhow::ensure!(there.is_file(), "{}: is no file", name());
        return Ok(Arc::new(SqliteStore::look(&file).await.with_context(name)?));
    }
    let url = config
        .database
        .postgres_url()
        .context("database: neither a SQLite file nor a PostgreSQL URL")?;
    let mut options = PostgresOptions::default();
    options.connections = 1;
    let store = PostgresStore::look(url, options).await;
    Ok(Arc::new(store.context("database: PostgreSQL")?))
}

/// A server that runs.
pub struct App {
    /// The service behind the doors.
    pub mdm: Mdm,
    addresses: Vec<(Duty, SocketAddr)>,
    house: House,
    certificates: Certificates,
    health: Arc<Health>,
    workers: Option<TaskTracker>,
    /// Orders and renews the listeners' certificate.
    keeper: Option<JoinHandle<()>>,
    /// Writes down when devices spoke last.
    heard: AbortOnDropHandle<()>,
    stop: CancellationToken,
    /// How long jobs may take once the end has begun.
    patience: Duration,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Starts everything and returns once every port accepts. A public URL with port 0 gets the port that the operating
    /// system chose for the first listener of its duty.
    ///
    /// # Errors
    /// Says which part could not be started.
    pub async fn start(mut config: Config, mut overrides: Overrides) -> anyhow::Result<Self> {
        let certificates = Certificates::default();
        let keeper = keeper(&config, &mut overrides, &certificates).await?;
        let ports = listen::bind(&config, &mut overrides.sockets).await?;
        fill_in_port(
            &mut config.public.device_url,
            &ports.addresses(),
            Duty::Device,
        );
        fill_in_port(
            &mut config.public.enrol_url,
            &ports.addresses(),
            Duty::Enrol,
        );

        let mdm = assemble(&config, &overrides).await?;
        mdm.check_vault()
            .await
            .context("master_key: is not the key that this database was made with")?;
        let poke = Arc::new(Notify::new());
        let health = Arc::new(Health::default());
        let desk: Arc<dyn Desk> = Arc::new(FrontDesk::new(mdm.clone(), Arc::clone(&poke)));
        let packages = Arc::new(Packages::new(&config));
        let front = Front {
            desk: match overrides.desk {
                Some(wrap) => wrap(desk),
                None => desk,
            },
            limits: Arc::new(config.limits.clone()),
            proxy: Arc::new(config.proxy.clone()),
            public: Arc::new(config.public.clone()),
            edge: Arc::new(Edge::new(&config.limits, &config.proxy.trusted)),
            health: Arc::clone(&health),
            packages: Arc::clone(&packages),
        };
        let (remote, local) = api::routes(&mdm, &config.limits, &packages, &poke, &health);
        let figures = http::figures(Figures::new(mdm.clone(), certificates.clone()));
        let remote = match config.metrics.open_on_admin {
            true => remote.merge(figures.clone()),
            false => remote,
        };
        let local = local.merge(figures);
        let challenge = match &keeper {
            Some(keeper) => acme::routes(keeper.answers()),
            None => Router::new(),
        };
        let doors = doors(&front, remote, local, challenge);
        let house = House::new(&config, doors, certificates.clone())
            .telling(crate::turned_away::note(mdm.clone()));
        let addresses = house.accept_all(ports, &config.socket())?;

        let stop = CancellationToken::new();
        let workers = (overrides.drive == Drive::Free).then(|| {
            let walls = Walls::of_manifests(&config);
            let manifests = crate::manifests::keep_looking(mdm.clone(), walls, stop.clone());
            let files = workers::forget_packages(mdm.clone(), packages, stop.clone());
            if !config.workers.enabled {
                let tasks = workers::follow(&mdm, &config.workers, stop.clone());
                tasks.spawn(manifests);
                tasks.spawn(files);
                return tasks;
            }
            let health = Arc::clone(&health);
            let looking = crate::probe::keep_looking(mdm.clone(), stop.clone());
            let tasks = workers::start(&mdm, &config.workers, poke, health, stop.clone());
            tasks.spawn(looking);
            tasks.spawn(manifests);
            tasks.spawn(files);
            tasks
        });
        let keeper = keeper.map(|keeper| tokio::spawn(keeper.keep(stop.clone())));
        let heard = tokio::spawn(workers::keep_heard(mdm.clone(), stop.clone()));
        Ok(Self {
            mdm,
            addresses,
            house,
            certificates,
            health,
            workers,
            keeper,
            heard: AbortOnDropHandle::new(heard),
            stop,
            patience: Duration::from_secs(config.limits.shutdown_seconds),
        })
    }

    /// Method and path of every route for devices; those of the API are answered by `GET /api/v1`.
    pub fn device_routes() -> impl Iterator<Item = (&'static str, &'static str)> {
        crate::http::DEVICE
            .iter()
            .chain(crate::http::ENROL)
            .copied()
    }

    /// Where the first listener of a duty accepts.
    #[must_use]
    pub fn address(&self, duty: Duty) -> Option<SocketAddr> {
        self.addresses(duty).next()
    }

    /// Where the listeners of a duty accept, in the order of the configuration.
    pub fn addresses(&self, duty: Duty) -> impl Iterator<Item = SocketAddr> {
        self.addresses
            .iter()
            .filter(move |(d, _)| *d == duty)
            .map(|(_, address)| *address)
    }

    /// Lets new connections have the certificates that lie in the files now.
    pub(crate) fn renew_certificates(&self) {
        self.certificates.look();
    }

    /// Takes nothing more, finishes what was accepted and what the workers are at, and closes the database.
    ///
    /// # Errors
    /// When the database could not be closed in order; what was acknowledged is safe all the same.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        self.health.stopping.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.house.close().await;
        if let Some(keeper) = self.keeper
            && tokio::time::timeout(self.patience, keeper).await.is_err()
        {
            // The order's lease ends by itself.
            tracing::warn!("the order of a certificate was not given up in time");
        }
        if let Some(workers) = self.workers {
            let ends = async {
                workers.wait().await;
                self.mdm.idle().await;
            };
            if tokio::time::timeout(self.patience, ends).await.is_err() {
                tracing::warn!("some jobs were not finished in time, and are for another process");
            }
            if let Err(error) = self.mdm.let_go().await {
                // They end by themselves, and then the jobs are done again.
                tracing::warn!(%error, "leases could not be given back");
            }
        }
        let (heard, mdm) = (self.heard, &self.mdm);
        let last = async {
            // It ends with everything else; what came meanwhile is written down now.
            let _ = heard.await;
            mdm.keep_heard().await
        };
        match tokio::time::timeout(self.patience, last).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "when devices spoke last could not be written down");
            }
            Err(_) => tracing::warn!("when devices spoke last was not written down in time"),
        }
        self.mdm
            .store()
            .close()
            .await
            .context("closing the database")
    }
}

/// Who looks after the listeners' certificate, where an authority is configured. What was issued before is put in its place
/// now, so that the ports open with it.
async fn keeper(
    config: &Config,
    overrides: &mut Overrides,
    certificates: &Certificates,
) -> anyhow::Result<Option<Keeper>> {
    if config.acme.directory.is_none() {
        return Ok(None);
    }
    let store = match &overrides.store {
        Some(store) => Arc::clone(store),
        None => open_store(config).await?,
    };
    overrides.store = Some(Arc::clone(&store));
    let clock = overrides
        .clock
        .clone()
        .unwrap_or_else(|| Arc::new(SystemClock));
    let vault = EscrowVault::new(MasterKeys::load(config)?);
    let keeper = Keeper::new(config, store, vault, clock, certificates.clone())?;
    if let Some(keeper) = &keeper {
        keeper
            .bring()
            .await
            .context("the certificate of the listeners")?;
    }
    Ok(keeper)
}

fn fill_in_port(url: &mut String, addresses: &[(Duty, SocketAddr)], duty: Duty) {
    let found = addresses.iter().find(|(d, _)| *d == duty);
    if let (Some(host), Some((_, address))) = (url.strip_suffix(":0"), found) {
        *url = format!("{host}:{}", address.port());
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
