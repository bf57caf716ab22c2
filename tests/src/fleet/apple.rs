//! Points an installation of the fleet to a simulated Apple for its pushes, and lets its workers work.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fixtures::world::World;
use mdm_core::secret::Secret;
use mdm_core::service::IdentitySettings;
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Database, Duty, ListenerConfig};
use openssl::pkey::PKey;
use openssl::x509::X509;

use super::devices::TOPIC;
use super::house::House;
use crate::WorldTime;

/// Lets the fleet's organisation push through the simulated Apple, and has it keep settled commands for so many days; then says to
/// the server, which has not been started yet, where that Apple is, and to work; with leases of so many seconds where its clock
/// goes faster than the computer's, with those that are shipped else.
///
/// # Errors
/// When the installation cannot be changed.
pub(crate) async fn furnish(
    world: &World,
    house: &House,
    database: &str,
    kept_days: Option<i64>,
    lease: Option<u32>,
) -> anyhow::Result<()> {
    let endpoints = world.apple().endpoints();
    let folder = house.folder();
    std::fs::write(folder.join("tls/world.pem"), &endpoints.ca_pem)?;
    let mut config = Config::for_directory(folder);
    config.database = Database::new(database);
    let any = ([127, 0, 0, 1], 0).into();
    config.listeners = vec![ListenerConfig::new(any, Duty::Admin)];
    let mut overrides = Overrides::default();
    overrides.clock = Some(Arc::new(WorldTime(world.clock().clone())));
    overrides.drive = Drive::Manual;
    let app = App::start(config, overrides).await?;
    let org = app.mdm.organisation_by_id(house.organisation()).await?;
    let (certificate, key) = world.apple().push_certificate(TOPIC)?;
    let certificate = X509::from_pem(certificate.as_bytes())?.to_der()?;
    let key = PKey::private_key_from_pem(key.as_bytes())?.private_key_to_pkcs8()?;
    let until = app.mdm.now() + Duration::from_secs(364 * 86_400);
    org.import_push(TOPIC, certificate, until, &Secret::new(key))
        .await?;
    if kept_days.is_some() {
        let change = IdentitySettings {
            retention_days: kept_days,
            ..IdentitySettings::default()
        };
        org.set_identities(change).await?;
    }
    app.shutdown().await?;

    let push = endpoints.push.trim_start_matches("https://");
    let (host, port) = push.rsplit_once(':').context("the push address")?;
    let file = folder.join("mdmd.toml");
    let laid = std::fs::read_to_string(&file)?;
    // The tables of the listeners stay as they are.
    let laid = laid.replacen("workers.enabled = false\n", "", 1);
    let lease = lease.map_or_else(String::new, |lease| format!("lease_seconds = {lease}\n"));
    let text = format!(
        "{laid}[limits]\nclient_requests = 0\n[workers]\nfallback_seconds = 1\nwatchdog_seconds = 1\n{lease}\
         [push]\nhost = \"{host}\"\nport = {port}\nca = \"tls/world.pem\"\n"
    );
    std::fs::write(file, text)?;
    Ok(())
}
