//! The configuration: one TOML file, over it the environment, over it flags. Refuses unknown keys and wrong values, all of
//! them at once, each with its name and what would be right. Opens no file but the configuration's own.

mod acme;
mod form;
mod keys;
mod network;
mod read;
mod reference;
mod sections;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use form::Form;
pub use network::Network;
use read::{defaults, from_environment, get, overlay, put, set_text, unknown};
pub use sections::{
    AcmeConfig, AppleConfig, Database, Duty, KeySource, Limits, ListenerConfig, LogConfig,
    LogFormat, MasterKeyConfig, MetricsConfig, PackagesConfig, Proxy, PublicUrls, PushConfig,
    SignInConfig, TlsFiles, TracesConfig, WebhooksConfig, WorkersConfig,
};

/// The listeners that hold when none is configured.
pub(crate) const DEFAULT_LISTENERS: [(&str, &str); 3] = [
    ("0.0.0.0:8443", "device"),
    ("0.0.0.0:8444", "enrol"),
    ("127.0.0.1:8445", "admin"),
];

/// Everything that `mdmd serve` needs to know. The meaning of each key is in `docs/configuration.md`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Keys, embedded database, local socket.
    pub data_directory: PathBuf,
    /// Which database.
    pub database: Database,
    /// PostgreSQL may be set to lose acknowledged writes.
    pub accept_lost_commits: bool,
    /// The ports.
    #[serde(rename = "listener")]
    pub listeners: Vec<ListenerConfig>,
    /// What devices are told.
    pub public: PublicUrls,
    /// Certificate for listeners without one of their own.
    pub tls: TlsFiles,
    /// A public authority for it instead.
    pub acme: AcmeConfig,
    /// TLS-terminating proxies.
    pub proxy: Proxy,
    /// The key that wraps data keys.
    pub master_key: MasterKeyConfig,
    /// Apple's push service.
    pub push: PushConfig,
    /// Apple's other services.
    pub apple: AppleConfig,
    /// Where people sign in.
    #[serde(default)]
    pub sign_in: SignInConfig,
    /// What webhooks may reach.
    #[serde(default)]
    pub webhooks: WebhooksConfig,
    /// Jobs, wakes, watchdog.
    pub workers: WorkersConfig,
    /// Time-outs and sizes.
    pub limits: Limits,
    /// Uploaded packages.
    pub packages: PackagesConfig,
    /// Figures for Prometheus.
    pub metrics: MetricsConfig,
    /// Traces for a collector.
    pub traces: TracesConfig,
    /// The log.
    pub log: LogConfig,
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file (if there is one), the environment and flags (`key`, `text`), later ones over earlier ones.
    ///
    /// # Errors
    /// [`ConfigError`] names every unknown key and wrong value.
    pub fn load(
        file: Option<&str>,
        environment: &BTreeMap<String, String>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut table = defaults();
        if let Some(text) = file {
            match text.parse::<Table>() {
                Ok(read) => overlay(&mut table, read, "", &mut problems),
                Err(error) => {
                    // Of the parser's message only place and reason: its excerpt could show a password.
                    let line = error.span().map_or(1, |s| {
                        1 + text[..s.start.min(text.len())].matches('\n').count()
                    });
                    problems.push(format!(
                        "configuration file, line {line}: {}",
                        error.message()
                    ));
                }
            }
        }
        from_environment(&mut table, environment, &mut problems);
        for (path, text) in flags {
            match keys::all().find(|k| k.path == path) {
                Some(key) => set_text(&mut table, key, "--set", text, &mut problems),
                None => problems.push(unknown(path)),
            }
        }
        if problems.is_empty() {
            let config: Self = table
                .try_into()
                .map_err(|e: toml::de::Error| ConfigError(vec![e.message().to_owned()]))?;
            problems.extend(config.contradictions());
            if problems.is_empty() {
                return Ok(config);
            }
        }
        Err(ConfigError(problems))
    }

    /// The defaults with another data directory: for tests and rehearsals, which change the fields that they need.
    #[must_use]
    pub fn for_directory(data_directory: &Path) -> Self {
        // Proved by the test `the_defaults_are_a_configuration`: the table of defaults can be read.
        let mut config = Self::load(None, &BTreeMap::new(), &[])
            .unwrap_or_else(|error| unreachable!("defaults: {error}"));
        data_directory.clone_into(&mut config.data_directory);
        config
    }

    /// A path of the configuration, from the data directory if it is relative.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.data_directory.join(path)
    }

    /// Where the local socket lies.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data_directory.join("mdmd.sock")
    }

    /// Where the certificate lies that an authority issued for the listeners, with its key. Its owner's alone.
    pub(crate) fn issued_certificate(&self) -> PathBuf {
        self.data_directory.join("acme/listeners.pem")
    }

    /// A file with every key and what it means.
    #[must_use]
    pub fn example_file() -> String {
        reference::example_file()
    }

    /// The reference page in Markdown.
    #[must_use]
    pub fn reference_page() -> String {
        reference::reference_page()
    }

    /// The same for programs: every key with its default, an example and what it means.
    #[must_use]
    pub fn reference() -> serde_json::Value {
        reference::reference()
    }

    /// What holds here and not in `other`, as it would stand in a file. A database URL with a password is left out, and
    /// named instead: it belongs in the environment.
    pub(crate) fn beyond(&self, other: &Self) -> (Table, Vec<&'static str>) {
        let (mut beyond, mut hidden) = (Table::new(), Vec::new());
        let tables = (Table::try_from(self), Table::try_from(other));
        let (Ok(ours), Ok(theirs)) = tables else {
            unreachable!("a configuration was made from such a table");
        };
        for key in keys::all().filter(|k| k.path != "data_directory") {
            let value = get(&ours, key.path);
            match value.filter(|v| get(&theirs, key.path) != Some(*v)) {
                Some(_) if key.path == "database" && self.database.has_password() => {
                    hidden.push(key.path);
                }
                Some(value) => put(&mut beyond, key.path, value.clone()),
                None => {}
            }
        }
        (beyond, hidden)
    }

    /// Every file that is named, by the key that names it, the packages' directory and the master key's file excepted.
    pub(crate) fn named_files(&self) -> Vec<(String, PathBuf)> {
        let Ok(table) = Table::try_from(self) else {
            unreachable!("a configuration was made from such a table");
        };
        let own = ["data_directory", "packages.directory", "master_key.file"];
        let keys = keys::all().filter(|k| matches!(k.form, Form::Path) && !own.contains(&k.path));
        let named = keys.filter_map(|k| Some((k.path.to_owned(), get(&table, k.path)?.as_str()?)));
        let named = named.map(|(key, path)| (key, self.path(Path::new(path))));
        let mut named: Vec<(String, PathBuf)> = named.collect();
        for listener in &self.listeners {
            let own = [
                ("certificate", &listener.certificate),
                ("key", &listener.key),
            ];
            for (key, path) in own {
                if let Some(path) = path {
                    named.push((
                        format!("listener {} {key}", listener.address),
                        self.path(path),
                    ));
                }
            }
        }
        named
    }

    fn contradictions(&self) -> Vec<String> {
        let mut problems = self.acme_contradictions();
        let mut seen: BTreeMap<(SocketAddr, &str), Duty> = BTreeMap::new();
        for listener in &self.listeners {
            let shared = || {
                self.listeners
                    .iter()
                    .filter(|l| l.address == listener.address && l.address.port() != 0)
                    .count()
            };
            if !listener.duty.has_tls() && shared() > 1 {
                problems.push(format!(
                    "listener {}: {} cannot share a port: without TLS there is no server name to tell duties apart",
                    listener.address,
                    listener.duty.as_str()
                ));
            }
            if listener.duty == Duty::Plain && self.proxy.trusted.is_empty() {
                problems.push(format!(
                    "listener {}: plain needs proxy.trusted, for example [\"10.0.0.5\"]",
                    listener.address
                ));
            }
            if listener.proxy_protocol && self.proxy.trusted.is_empty() {
                problems.push(format!(
                    "listener {}: proxy_protocol needs proxy.trusted, for example [\"10.0.0.5\"]",
                    listener.address
                ));
            }
            if self.listeners.iter().any(|l| {
                l.address == listener.address
                    && l.address.port() != 0
                    && l.proxy_protocol != listener.proxy_protocol
            }) {
                problems.push(format!(
                    "listener {}: proxy_protocol must be the same in all tables of one address",
                    listener.address
                ));
            }
            if listener.certificate.is_some() != listener.key.is_some() {
                problems.push(format!(
                    "listener {}: certificate and key must be given together",
                    listener.address
                ));
            }
            let names = if listener.names.is_empty() {
                vec![""]
            } else {
                listener.names.iter().map(String::as_str).collect()
            };
            for name in names {
                if listener.address.port() == 0 {
                    continue;
                }
                if let Some(other) = seen.insert((listener.address, name), listener.duty) {
                    let which = if name.is_empty() {
                        "every other name"
                    } else {
                        name
                    };
                    problems.push(format!(
                        "listener {}: {} and {} both hold for {which}; give one of them names",
                        listener.address,
                        other.as_str(),
                        listener.duty.as_str()
                    ));
                }
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests;
