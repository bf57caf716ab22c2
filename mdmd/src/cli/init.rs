//! `mdmd init`: makes a data directory with everything for a start: master key, a small CA of our own with a server
//! certificate, configuration, database, organisation, first administrator token. Overwrites nothing, and leaves nothing behind when
//! it fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use mdm_core::service::NewOrganisation;
use mdm_core::store::PostgresStore;
use zeroize::Zeroizing;

use super::{Common, Done, Ended, Exit, Means as _};
use crate::app::{Overrides, assemble};
use crate::config::{Config, Duty, KeySource, ListenerConfig, TlsFiles};
use crate::install::{self, Site};
use crate::key_wrap::MasterKeys;
use crate::tls::PortTls;

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
    let (config, text) = settings(common, init)?;
    let directory = &config.data_directory;
    let own = init.certificate.is_none() && made_here(&config.tls);
    check(&config, init, own).await?;

    // From here on something is made; what is made goes again unless all of it could be.
    let mut site = Site::open(directory).means(Exit::Precondition)?;
    let mut anchors = Vec::new();
    if own {
        let anchor = install::own_certificates(&mut site, &init.organisation, &init.host)?;
        // Where a public authority is going to certify us, ours serves until then, and devices that were told to trust it
        // would trust nothing else.
        if config.acme.directory.is_none() {
            anchors.push(anchor);
        }
    } else if let (Some(certificate), Some(key)) = (&init.certificate, &init.key) {
        let key = Zeroizing::new(std::fs::read(key)?);
        site.write("tls/server.pem", &std::fs::read(certificate)?, 0o644)?;
        site.write("tls/server.key", &key, 0o600)?;
    }
    if let Some(text) = &text {
        site.write("mdmd.toml", text.toml.as_bytes(), 0o600)?;
    }
    if config.master_key.source == KeySource::File {
        let path = config.path(&config.master_key.file);
        // Noted first, so that it is known for what it is if this process is killed; nobody's key is there (see `check`).
        site.makes(&path);
        MasterKeys::create(&path).means(Exit::Precondition)?;
    }
    if let Some(file) = config.database.sqlite_file(directory) {
        for end in ["", "-wal", "-shm"] {
            let mut name = file.clone().into_os_string();
            name.push(end);
            site.makes(Path::new(&name));
        }
    }
    let mdm = assemble(&config, &Overrides::default())
        .await
        .means(Exit::Precondition)?;
    let made = mdm.create_organisation(&init.organisation, anchors).await;
    let closed = mdm.store().close().await;
    let made = made.means(Exit::BadInput)?;
    closed?;
    site.keep().means(Exit::Precondition)?;
    tell(common, &config, text.as_ref(), &made);
    Ok(())
}

/// What is to be made, and the configuration file that says so; `None` when there is a file already, which has the last word.
fn settings(common: &Common, init: &Init) -> Result<(Config, Option<Text>), Ended> {
    let is_label = |label: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        matches!(label.len(), 1..=63)
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if init.host.len() > 253 || !init.host.split('.').all(is_label) {
        return Err(anyhow!("--host: must be a host name or an IPv4 address"))
            .means(Exit::BadInput);
    }
    let mut config = super::config::load(common)?;
    let alone = super::config::load_file_only(common)?;
    let (mut beyond, hidden) = config.beyond(&alone);
    if let Some((file, _)) = super::config::file(common)? {
        // That of a file which says nothing of it.
        let is_here = |url: &String| url.starts_with("https://localhost:");
        let public = [&config.public.device_url, &config.public.enrol_url];
        if public.into_iter().any(is_here) && init.host != "localhost" {
            return Err(anyhow!(
                "--host: {} has the last word, and does not say where devices reach this server: put into it\n[public]\n\
                 device_url = \"https://{host}:8443\"\nenrol_url = \"https://{host}:8444\"",
                file.display(),
                host = init.host
            ))
            .means(Exit::BadInput);
        }
        // Asked for by flag or variable, and in no file: the next command would not know of it.
        for path in keys_of(&beyond).iter().map(String::as_str).chain(hidden) {
            eprintln!(
                "mdmd: {path} holds for this command only: {} does not say so",
                file.display()
            );
        }
        return Ok((config, None));
    }
    let public = [
        (
            "device_url",
            8443,
            &mut config.public.device_url,
            &alone.public.device_url,
        ),
        (
            "enrol_url",
            8444,
            &mut config.public.enrol_url,
            &alone.public.enrol_url,
        ),
    ];
    let mut written = toml::Table::new();
    for (name, port, url, default) in public {
        if url == default {
            *url = format!("https://{}:{port}", init.host);
        }
        written.insert(name.to_owned(), url.as_str().into());
    }
    match beyond.get_mut("public").and_then(toml::Value::as_table_mut) {
        Some(section) => section.extend(written),
        None => {
            beyond.insert("public".to_owned(), written.into());
        }
    }
    let mut toml = "# Made by `mdmd init`. `mdmd config example` shows every key.\n".to_owned();
    for path in &hidden {
        toml.push_str(&format!(
            "# {path} has a password and is not written here: {} sets it.\n",
            variable(path)
        ));
    }
    toml.push('\n');
    toml.push_str(&toml::to_string(&beyond)?);
    Ok((config, Some(Text { toml, hidden })))
}

/// What `init` writes into `mdmd.toml`, and the keys that it does not write.
struct Text {
    toml: String,
    hidden: Vec<&'static str>,
}

fn variable(path: &str) -> String {
    format!("MDMD_{}", path.replace('.', "_").to_uppercase())
}

fn keys_of(table: &toml::Table) -> Vec<String> {
    let of = |(name, value): (&String, &toml::Value)| match value {
        toml::Value::Table(inner) => inner.keys().map(|k| format!("{name}.{k}")).collect(),
        _ => vec![name.clone()],
    };
    table.iter().flat_map(of).collect()
}

/// Whether the certificate for listeners is the one that `init` would make.
fn made_here(tls: &TlsFiles) -> bool {
    tls.certificate == Path::new("tls/server.pem") && tls.key == Path::new("tls/server.key")
}

/// Everything that can be wrong, while nothing is made yet.
async fn check(config: &Config, init: &Init, own: bool) -> Done {
    mdm_core::organisation::check_name(&init.organisation)
        .context("--organisation")
        .means(Exit::BadInput)?;
    let directory = &config.data_directory;
    let file = config.database.sqlite_file(directory);
    let key = match config.master_key.source {
        KeySource::File => Some(config.path(&config.master_key.file)),
        _ => None,
    };
    let places = file.iter().chain(&key).map(PathBuf::as_path);
    install::free(directory, places).means(Exit::Precondition)?;
    if key.is_none() {
        MasterKeys::load(config).means(Exit::Precondition)?;
    }
    if let (Some(certificate), Some(key)) = (&init.certificate, &init.key) {
        if !made_here(&config.tls) {
            let why = "--certificate: tls.certificate and tls.key name other files; one of both is enough";
            return Err(anyhow!(why)).means(Exit::BadInput);
        }
        let mut given = config.clone();
        given.tls.certificate = std::path::absolute(certificate)?;
        given.tls.key = std::path::absolute(key)?;
        check_certificates(&given).means(Exit::BadInput)?;
    } else if !own {
        check_certificates(config).means(Exit::Precondition)?;
    }
    if let Some(url) = config.database.postgres_url() {
        let in_use = PostgresStore::is_in_use(url)
            .await
            .context("database: PostgreSQL")
            .means(Exit::Precondition)?;
        if in_use {
            let why =
                "database: an organisation is in it already; init never overwrites an installation";
            return Err(anyhow!(why)).means(Exit::Precondition);
        }
    }
    Ok(())
}

/// Reads the common certificate and key as a listener would.
fn check_certificates(config: &Config) -> anyhow::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    PortTls::load(config, &[&ListenerConfig::new(any, Duty::Enrol)]).map(drop)
}

fn tell(common: &Common, config: &Config, text: Option<&Text>, made: &NewOrganisation) {
    let organisation = made.org.organisation();
    let token = made.administrator_token.expose_text().unwrap_or_default();
    let directory = &config.data_directory;
    let hidden: Vec<String> = text
        .iter()
        .flat_map(|t| &t.hidden)
        .map(|path| variable(path))
        .collect();
    if common.json {
        let answer = serde_json::json!({
            "data_directory": directory,
            "organisation": organisation.code,
            "administrator_token": token,
            "needs_variables": hidden,
        });
        println!("{answer:#}");
        return;
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
    if config.master_key.source == KeySource::File {
        println!(
            "  - Keep a copy of {} apart from backups of the database:",
            config.path(&config.master_key.file).display()
        );
        println!("    without it no recovery key can be opened again.");
    }
    for variable in hidden {
        println!(
            "  - Set {variable} for every command below: it has a password and is in no file."
        );
    }
    let mut place = format!("--data {}", directory.display());
    if let Some(file) = &common.config {
        place = format!("--config {} {place}", file.display());
    }
    println!("  - mdmd serve {place}");
    println!("  - mdmd push import --certificate FILE --key FILE {place}");
    println!("  - mdmd token key --out DIRECTORY {place}");
    println!("    Upload the certificate to Apple, which gives a token for it.");
    println!("  - mdmd token import FILE.p7m {place}");
}
