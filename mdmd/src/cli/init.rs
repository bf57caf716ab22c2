//! `mdmd init`: makes a data directory with everything for a start: master key, a small CA of our own with a server
//! certificate, configuration, database, organisation, first administrator token. Overwrites nothing.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::organisation::Der;

use super::{Common, Done, Exit, Means as _};
use crate::app::{Overrides, assemble};
use crate::key_wrap::MasterKeys;
use crate::pki;

/// Our own CA lives long; whoever wants another one gives a certificate.
const CA_DAYS: u32 = 3650;
/// Apple's clients refuse server certificates of more than 825 days.
const SERVER_DAYS: u32 = 825;

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
    prepare(&directory).means(Exit::Precondition)?;

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
            write(&directory, "tls/server.pem", &chain, 0o644)?;
            write(&directory, "tls/server.key", &key_pem, 0o600)?;
            Vec::new()
        }
        _ => vec![Der(own_certificates(&directory, init)?)],
    };
    let toml = format!(
        "# Made by `mdmd init`. `mdmd config example` shows every key.\n\n\
         [public]\ndevice_url = \"https://{0}:8443\"\nenrol_url = \"https://{0}:8444\"\n",
        init.host
    );
    // A configuration file that was there first has the last word.
    let config_file = directory.join("mdmd.toml");
    if common.config.is_none() && !config_file.exists() {
        write(&directory, "mdmd.toml", toml.as_bytes(), 0o600)?;
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
        "  4. mdmd token key --out DIRECTORY, upload the certificate to Apple, then mdmd token import FILE.p7m --key FILE"
    );
    Ok(())
}

/// The directory, made or found empty of what we would make.
fn prepare(directory: &Path) -> anyhow::Result<()> {
    for name in ["master.key", "mdmd.sqlite", "tls/server.key", "tls/ca.key"] {
        let path = directory.join(name);
        anyhow::ensure!(
            !path.exists(),
            "{} is there already; init never overwrites an installation",
            path.display()
        );
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory.join("tls"))
        .with_context(|| format!("data directory {}", directory.display()))?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("data directory {}", directory.display()))
}

/// A CA of our own and a certificate for our listeners; answers the CA's certificate (DER).
fn own_certificates(directory: &Path, init: &Init) -> anyhow::Result<Vec<u8>> {
    let now = SystemClock.now();
    let ca = pki::authority(
        &format!("{} device management", init.organisation),
        CA_DAYS,
        now,
    )?;
    let mut names = vec![init.host.to_ascii_lowercase()];
    for local in ["localhost", "127.0.0.1"] {
        if init.host != local {
            names.push(local.to_owned());
        }
    }
    let server = pki::server(&ca, &names, SERVER_DAYS, now)?;
    write(directory, "tls/ca.pem", &ca.certificate_pem()?, 0o644)?;
    write(directory, "tls/ca.key", &ca.key_pem()?, 0o600)?;
    write(
        directory,
        "tls/server.pem",
        &server.certificate_pem()?,
        0o644,
    )?;
    write(directory, "tls/server.key", &server.key_pem()?, 0o600)?;
    Ok(ca.certificate.to_der()?)
}

/// A new file; one that is there is an error.
pub(super) fn write(directory: &Path, name: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let path = directory.join(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.write_all(content)?;
    file.sync_all().with_context(|| path.display().to_string())
}
