//! The house of a rehearsal: a real server on loopback with TLS of its own, in a directory of its own, wired to the world.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use abm_client::{ServerToken, TokenKeyPair};
use anyhow::Context as _;
use fixtures::world::World;
use mdm_core::clock::{Clock, Timestamp};
use mdm_core::device::Platform;
use mdm_core::ids::{OrganisationId, ServerId};
use mdm_core::organisation::Der;
use mdm_core::secret::Secret;
use mdm_core::service::{IdentitySettings, Ports};
use mdm_core::store::{PostgresStore, Store};
use openssl::pkey::PKey;
use openssl::x509::X509;
use tokio::net::TcpListener;

use super::sabotage::{self, Sabotage};
use super::{Identities, Tenancy};
use crate::app::{self, App, Drive, Overrides};
use crate::config::{Config, Database, Duty, ListenerConfig, Network};
use crate::install;

/// How long a house that is built again waits for its ports.
const AWAY: Duration = Duration::from_secs(30);

/// The world's clock as the server sees it.
struct DomainClock(fixtures::clock::WorldClock);

impl Clock for DomainClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now_ms())
    }
}

/// Puts something in front of a store: a failing one, an altered one.
pub type StoreWrap = Box<dyn FnOnce(Arc<dyn Store>) -> Arc<dyn Store> + Send>;

/// Puts others in the place of some of a server's ports.
pub type PortsWrap = Box<dyn FnOnce(Ports) -> Ports + Send>;

/// Why a house cannot be built where it was asked for. Nothing was changed there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// What was given cannot be right.
    #[error("{0}")]
    Given(String),
    /// It is in use, or cannot be reached or written to.
    #[error("{0}")]
    Place(String),
}

/// How a house is built.
#[derive(Default)]
#[non_exhaustive]
pub struct HouseOptions {
    /// A PostgreSQL URL; SQLite in the data directory when left out.
    pub database: Option<String>,
    /// What is switched off in the server.
    pub sabotage: Option<Sabotage>,
    /// How the devices get their identities.
    pub identities: Identities,
    /// What is put in front of the store.
    pub wrap: Option<StoreWrap>,
    /// What is put in the place of ports.
    pub ports: Option<PortsWrap>,
    /// The directory and database are those of an earlier house: nothing is made or brought in anew.
    pub again: Option<Tenancy>,
    /// The directory and database are those of a house that was never finished: what is there is kept, what is missing is
    /// made. Without it, a directory that holds an installation is refused.
    pub finish: bool,
}

impl std::fmt::Debug for HouseOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HouseOptions")
            .field("sabotage", &self.sabotage)
            .field("again", &self.again)
            .finish_non_exhaustive()
    }
}

/// A running server with its organisation.
#[derive(Debug)]
#[non_exhaustive]
pub struct House {
    /// The server.
    pub app: App,
    /// Its organisation.
    pub organisation: OrganisationId,
    /// The server entry to which devices move.
    pub destination: ServerId,
    /// The first administrator's token; `None` in a house that was built again.
    pub administrator_token: Option<Secret>,
    pub(super) directory: PathBuf,
}

impl House {
    /// Makes the data directory, starts the server, and brings in what an operator would: push certificate, API account,
    /// server token, and trust in the world's device CA.
    ///
    /// # Errors
    /// [`Unfit`] when directory or database are not such as a new house may have; else what cannot be made or started, by
    /// name.
    pub async fn build(
        world: &World,
        directory: &Path,
        options: HouseOptions,
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(DomainClock(world.clock().clone()));
        if let Some(url) = &options.database {
            let new = options.again.is_none() && !options.finish;
            check_database(url, new).await?;
        }
        let anchor = match options.again {
            Some(_) => None,
            None if options.finish => {
                let ca = std::fs::read(directory.join("tls/ca.pem"))?;
                Some(Der(X509::from_pem(&ca)?.to_der()?))
            }
            None => Some(
                install::lay_out(directory, "Rehearsal", "localhost")
                    .map_err(|why| Unfit::Place(format!("{why:#}")))?,
            ),
        };
        let config = configure(
            world,
            directory,
            options.database.as_deref(),
            options.again.as_ref(),
        )?;
        let mut store = app::open_store(&config).await?;
        if let Some(wrap) = options.wrap {
            store = wrap(store);
        }
        let mut ports = app::ports(&config, &clock, &store)?;
        ports.assignment = sabotage::assignment(ports.assignment, options.sabotage);
        if let Some(wrap) = options.ports {
            ports = wrap(ports);
        }
        let overrides = Overrides {
            clock: Some(clock),
            store: Some(store),
            ports: Some(ports),
            drive: Drive::Manual,
            desk: sabotage::desk(options.sabotage),
            ..Overrides::default()
        };
        if let Some(tenancy) = &options.again {
            for address in [tenancy.device, tenancy.enrol].into_iter().flatten() {
                free_again(address, AWAY).await?;
            }
        }
        let app = App::start(config, overrides).await?;
        let furnished = match (options.again, anchor) {
            (Some(tenancy), _) => Ok((tenancy.organisation, tenancy.destination, None)),
            (None, anchor) => furnish(world, &app, anchor, options.identities).await,
        };
        let (organisation, destination, administrator_token) = match furnished {
            Ok(furnished) => furnished,
            Err(error) => {
                app.shutdown().await?;
                return Err(error);
            }
        };
        Ok(Self {
            app,
            organisation,
            destination,
            administrator_token,
            directory: directory.to_owned(),
        })
    }

    /// What a house needs to be built again on the same directory and database.
    #[must_use]
    pub fn tenancy(&self) -> Tenancy {
        Tenancy {
            organisation: self.organisation,
            destination: self.destination,
            device: self.app.address(Duty::Device),
            enrol: self.app.address(Duty::Enrol),
        }
    }
}

/// Waits until a port that was let go can be had again. Whoever asked for any port meanwhile may have been given it: another house, or
/// a connection, and both end soon.
async fn free_again(address: SocketAddr, patience: Duration) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + patience;
    loop {
        match TcpListener::bind(address).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::AddrInUse => return Err(error.into()),
            Err(error) if tokio::time::Instant::now() >= until => {
                return Err(error).context(format!("{address}, which the house had"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Somebody else's organisation is never taken for the rehearsal's: a new house begins with an empty database.
async fn check_database(url: &str, new: bool) -> Result<(), Unfit> {
    // The URL may hold a password, and is in no message.
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let why = "the database of a rehearsal: must be a postgres:// URL; without one it is a SQLite file in its directory";
        return Err(Unfit::Given(why.to_owned()));
    }
    let in_use = PostgresStore::is_in_use(url)
        .await
        .map_err(|why| Unfit::Place(format!("the database of the rehearsal: {why}")))?;
    if in_use && new {
        let why =
            "the database is not empty: an organisation is in it; a rehearsal needs one of its own";
        return Err(Unfit::Place(why.to_owned()));
    }
    Ok(())
}

/// Configuration, master key and server certificate, as `mdmd init` leaves them, wired to the world's addresses.
fn configure(
    world: &World,
    directory: &Path,
    database: Option<&str>,
    again: Option<&Tenancy>,
) -> anyhow::Result<Config> {
    let mut config = Config::for_directory(directory);
    if let Some(url) = database {
        config.database = Database::new(url);
    }
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Enrolled devices come back to where they enrolled: a house that is built again keeps its ports.
    let device = again.and_then(|t| t.device).unwrap_or(any_port);
    let enrol = again.and_then(|t| t.enrol).unwrap_or(any_port);
    config.listeners = vec![
        ListenerConfig::new(device, Duty::Device),
        ListenerConfig::new(enrol, Duty::Enrol),
        ListenerConfig::new(any_port, Duty::Admin),
    ];
    config.public.device_url = format!("https://localhost:{}", device.port());
    config.public.enrol_url = format!("https://localhost:{}", enrol.port());
    let endpoints = world.apple().endpoints();
    // Paths of the configuration begin in the data directory.
    let ca = PathBuf::from("tls/world.pem");
    std::fs::write(config.path(&ca), &endpoints.ca_pem)?;
    let push = endpoints.push.trim_start_matches("https://");
    let (host, port) = push
        .rsplit_once(':')
        .context("the world's push address has no port")?;
    config.push.host = host.to_owned();
    config.push.port = port.parse()?;
    config.push.ca = Some(ca.clone());
    config.apple.assignment_url = Some(endpoints.assignment.clone());
    config.apple.apps_url = Some(endpoints.apps.clone());
    config.apple.organisation_url = Some(endpoints.business.clone());
    config.apple.apps_url = Some(endpoints.apps.clone());
    config.apple.token_url = Some(endpoints.token.clone());
    config.apple.lock_url = Some(endpoints.lock_removal.clone());
    config.apple.ca = Some(ca);
    // Whoever listens for webhooks in a rehearsal is on this machine, as everything else is.
    config.webhooks.allowed_networks = Network::parse("127.0.0.1").into_iter().collect();
    Ok(config)
}

async fn furnish(
    world: &World,
    app: &App,
    anchor: Option<Der>,
    identities: Identities,
) -> anyhow::Result<(OrganisationId, ServerId, Option<Secret>)> {
    let mdm = &app.mdm;
    let there = mdm.organisations(OrganisationId(0), 1).await?;
    let (org, administrator_token) = match there.first() {
        Some(there) => (mdm.organisation_by_id(there.id).await?, None),
        None => {
            let made = mdm
                .create_organisation("Rehearsal", anchor.into_iter().collect())
                .await?;
            (made.org, Some(made.administrator_token))
        }
    };
    let id = org.organisation().id;
    let device_ca = X509::from_pem(world.device_ca_pem().as_bytes())?.to_der()?;
    if !org
        .organisation()
        .device_cas
        .iter()
        .any(|ca| ca.0 == device_ca)
    {
        org.trust_device_ca(device_ca).await?;
    }
    if identities != Identities::Scep {
        let root = world.attestation_root()?;
        org.trust_attestations(&[root], false).await?;
        let mut change = IdentitySettings::default();
        for platform in [Platform::Ios, Platform::Ipados, Platform::Macos] {
            let protocol = identities.protocol();
            change.identity_protocol.insert(platform, protocol);
        }
        org.set_identities(change).await?;
    }
    let topic = world.apple().topic(1);
    let (certificate, key) = world.apple().push_certificate(&topic)?;
    let certificate = X509::from_pem(certificate.as_bytes())?;
    let key = PKey::private_key_from_pem(key.as_bytes())?;
    let year = mdm.now() + Duration::from_secs(364 * 86_400);
    org.import_push(
        &topic,
        certificate.to_der()?,
        year,
        &Secret::new(key.private_key_to_pkcs8()?),
    )
    .await?;
    let account = world.apple().api_account();
    org.import_api(
        &account.client_id,
        &account.key_id,
        &Secret::from_text(account.private_key_pem.as_str()),
    )
    .await?;
    // A handle knows the organisation as it was when the handle was made.
    let org = mdm.organisation_by_id(id).await?;
    let pair = TokenKeyPair::generate("rehearsal", mdm.now().as_millis(), 365)?;
    let p7m = world.apple().server_token(
        world.destination_server(),
        pair.certificate_pem()?.as_bytes(),
    )?;
    let token = ServerToken::open(&p7m, &[pair])?;
    let destination = org
        .import_server_token(&Secret::new(token.to_json()?.expose()), None)
        .await?;
    Ok((id, destination, administrator_token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_somebody_has_for_a_moment_is_waited_for() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = other.local_addr().unwrap();
        let kept = free_again(address, Duration::from_millis(300)).await;
        let why = format!("{:#}", kept.unwrap_err());
        assert!(why.starts_with(&address.to_string()), "{why}");
        let ends = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(other);
        });
        free_again(address, AWAY).await.unwrap();
        ends.await.unwrap();
    }
}
