//! `mdmd init`: makes a data directory with everything for a start: master key, a small CA of our own with a server
//! certificate, configuration, database, organisation, first administrator token. Overwrites nothing.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::{Common, Done, Exit, Means as _};
use crate::app::{Overrides, assemble};
use crate::install;
use crate::key_wrap::MasterKeys;

/// Make a data directory with everything for a start.
#[derive(clap::Args, Debug)]
pub(crate) struct Init {
    /// What people call the organisation.
    #[arg(long, default_value = "My organisation")]
    organisation: String,
    /// The host name under which devices reach this server.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// A certificate chain for that name (PEM, leaf first), which devices trust already. Without it a small CA is made, and
    /// devices get its certificate with their profiles.
    #[arg(long, requires = "key", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(long, requires = "certificate", value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(crate) async fn run(common: &Common, init: &Init) -> Done {
    let fits = !init.host.is_empty()
        && init
            .host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    if !fits {
        return Err(anyhow!("--host: must be a host name or an IPv4 address"))
            .means(Exit::BadInput);
    }
    let mut config = super::config::load(common)?;
    let directory = config.data_directory.clone();
    install::prepare(&directory).means(Exit::Precondition)?;

    let anchors = match (&init.certificate, &init.key) {
        (Some(certificate), Some(key)) => {
            let chain = std::fs::read(certificate)
                .with_context(|| format!("--certificate {}", certificate.display()))
                .means(Exit::BadInput)?;
            let key_pem = zeroize::Zeroizing::new(
                std::fs::read(key)
                    .with_context(|| format!("--key {}", key.display()))
                    .means(Exit::BadInput)?,
            );
            install::write(&directory, "tls/server.pem", &chain, 0o644)?;
            install::write(&directory, "tls/server.key", &key_pem, 0o600)?;
            Vec::new()
        }
        _ => vec![install::own_certificates(
            &directory,
            &init.organisation,
            &init.host,
        )?],
    };
    let toml = format!(
        "# Made by `mdmd init`. `mdmd config example` shows every key.\n\n\
         [public]\ndevice_url = \"https://{0}:8443\"\nenrol_url = \"https://{0}:8444\"\n",
        init.host
    );
    // A configuration file that was there first has the last word.
    let config_file = directory.join("mdmd.toml");
    if common.config.is_none() && !config_file.exists() {
        install::write(&directory, "mdmd.toml", toml.as_bytes(), 0o600)?;
        config = super::config::load(common)?;
    }
    if config.master_key.source == crate::config::KeySource::File {
        MasterKeys::create(&config.path(&config.master_key.file))?;
    }
    let mdm = assemble(&config, &Overrides::default()).await?;
    let made = mdm
        .create_organisation(&init.organisation, anchors)
        .await
        .means(Exit::BadInput)?;
    mdm.store().close().await?;

    let organisation = made.org.organisation();
    let token = made.administrator_token.expose_text().unwrap_or_default();
    if common.json {
        let answer = serde_json::json!({
            "data_directory": directory,
            "organisation": organisation.code,
            "administrator_token": token,
        });
        println!("{answer:#}");
        return Ok(());
    }
    println!("data directory       {}", directory.display());
    println!(
        "organisation         {} ({})",
        organisation.name, organisation.code
    );
    println!("administrator token  {token}");
    println!("                     shown this once; only its hash is kept");
    println!();
    println!("Next:");
    println!(
        "  1. Keep a copy of {} apart from backups of the database:",
        config.path(&config.master_key.file).display()
    );
    println!("     without it no recovery key can be opened again.");
    println!("  2. mdmd serve --data {}", directory.display());
    println!("  3. mdmd push import --certificate FILE --key FILE");
    println!(
        "  4. mdmd token key --out DIRECTORY, upload the certificate to Apple, then mdmd token import FILE.p7m"
    );
    Ok(())
}
