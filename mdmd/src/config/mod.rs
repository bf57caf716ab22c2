//! The configuration: one TOML file, over it the environment, over it flags. Refuses unknown keys and wrong values, all of
//! them at once, each with its name and what would be right. Opens no file but the configuration's own.

mod keys;
mod network;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use network::Network;

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
    /// TLS-terminating proxies.
    pub proxy: Proxy,
    /// The key that wraps data keys.
    pub master_key: MasterKeyConfig,
    /// Apple's push service.
    pub push: PushConfig,
    /// Apple's other services.
    pub apple: AppleConfig,
    /// Jobs, wakes, watchdog.
    pub workers: WorkersConfig,
    /// Time-outs and sizes.
    pub limits: Limits,
    /// Figures for Prometheus.
    pub metrics: MetricsConfig,
    /// The log.
    pub log: LogConfig,
}

/// `sqlite`, `sqlite:PATH` or a PostgreSQL URL. Shows no password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Database(String);

impl Database {
    /// From the text of the configuration.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The URL of a PostgreSQL server, with its password. `None` for SQLite.
    #[must_use]
    pub fn postgres_url(&self) -> Option<&str> {
        self.0.starts_with("postgres").then_some(self.0.as_str())
    }

    /// The file of a SQLite database. `None` for PostgreSQL.
    #[must_use]
    pub fn sqlite_file(&self, data_directory: &Path) -> Option<PathBuf> {
        if self.postgres_url().is_some() {
            return None;
        }
        Some(data_directory.join(self.0.strip_prefix("sqlite:").unwrap_or("mdmd.sqlite")))
    }
}

impl Database {
    /// Whether the URL holds a password: before the host, or as a parameter.
    fn has_password(&self) -> bool {
        let Some(url) = self.postgres_url() else {
            return false;
        };
        let (before, parameters) = url.split_once('?').unwrap_or((url, ""));
        let user = before.rsplit_once('@').map_or("", |(user, _)| user);
        user.trim_start_matches("postgresql://")
            .trim_start_matches("postgres://")
            .contains(':')
            || parameters.to_ascii_lowercase().contains("password")
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Everything between the scheme and the last `@` may be a name with a password.
        match (self.0.split_once("://"), self.0.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => write!(f, "{scheme}://…@{host}"),
            _ => f.write_str(&self.0),
        }
    }
}

/// What a listener carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Duty {
    /// Check-in and command; asks for a client certificate, which the application judges.
    Device,
    /// Enrolment profile and certificates; never asks.
    Enrol,
    /// The API; never asks.
    Admin,
    /// HTTP behind a listed proxy: what device and enrol carry.
    Plain,
}

impl Duty {
    /// As in the configuration and the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Enrol => "enrol",
            Self::Admin => "admin",
            Self::Plain => "plain",
        }
    }
}

/// One duty at one address.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// Where.
    pub address: SocketAddr,
    /// What.
    pub duty: Duty,
    /// For which server names; empty for every other.
    #[serde(default)]
    pub names: Vec<String>,
    /// Its own certificate chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// A listed proxy tells the client's address ahead of everything else.
    #[serde(default)]
    pub proxy_protocol: bool,
}

impl ListenerConfig {
    /// A listener for every name, with the common certificate.
    #[must_use]
    pub const fn new(address: SocketAddr, duty: Duty) -> Self {
        Self {
            address,
            duty,
            names: Vec::new(),
            certificate: None,
            key: None,
            proxy_protocol: false,
        }
    }

    /// The same for these server names only.
    #[must_use]
    pub fn named(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(|n| (*n).to_owned()).collect();
        self
    }
}

/// Base URLs without a trailing slash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PublicUrls {
    /// Check-in and command.
    pub device_url: String,
    /// Enrolment and SCEP.
    pub enrol_url: String,
    /// Account-driven Device Enrollment, if somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adde_url: Option<String>,
    /// Account-driven User Enrollment, if somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byod_url: Option<String>,
}

/// Certificate and key files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// How often the files are looked at, in seconds.
    pub reload_seconds: u64,
}

/// Who may speak for others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Proxy {
    /// Their addresses.
    pub trusted: Vec<Network>,
    /// The header with the client certificate.
    pub certificate_header: String,
}

/// Where the master key comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MasterKeyConfig {
    /// File, environment or credential.
    pub source: KeySource,
    /// The file.
    pub file: PathBuf,
    /// The variable or credential.
    pub name: String,
}

/// Places where a master key may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum KeySource {
    /// A file with mode 0600.
    File,
    /// An environment variable.
    Environment,
    /// A file in `CREDENTIALS_DIRECTORY`.
    Credential,
}

/// The push service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PushConfig {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Its CA instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// Apple's services for organisations; `None` means Apple's own address.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AppleConfig {
    /// Device assignment.
    pub assignment_url: Option<String>,
    /// Organisation API.
    pub organisation_url: Option<String>,
    /// Its tokens.
    pub token_url: Option<String>,
    /// Lock removal.
    pub lock_url: Option<String>,
    /// Apps and Books.
    pub apps_url: Option<String>,
    /// A CA beside the system's.
    pub ca: Option<PathBuf>,
}

/// The workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkersConfig {
    /// Whether there are any.
    pub enabled: bool,
    /// Jobs per claim.
    pub batch: u32,
    /// Longest wait, in seconds.
    pub fallback_seconds: u64,
    /// Watchdog's interval, in seconds.
    pub watchdog_seconds: u64,
}

/// Time-outs in seconds, sizes in bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Connections per port.
    pub connections: usize,
    /// Connections per port of one client.
    pub client_connections: usize,
    /// Requests a second of one client.
    pub client_requests: u32,
    /// TLS handshake.
    pub handshake_seconds: u64,
    /// Request head.
    pub header_seconds: u64,
    /// Request body.
    pub body_seconds: u64,
    /// No request.
    pub idle_seconds: u64,
    /// Finishing what was accepted.
    pub shutdown_seconds: u64,
    /// All headers.
    pub header_bytes: usize,
    /// All bodies together.
    pub bodies_bytes: usize,
    /// Check-in.
    pub check_in_bytes: usize,
    /// Command report.
    pub command_bytes: usize,
    /// Enrolment and SCEP.
    pub enrol_bytes: usize,
    /// API.
    pub api_bytes: usize,
}

impl Limits {
    /// How long a body may take.
    #[must_use]
    pub const fn body_time(&self) -> Duration {
        Duration::from_secs(self.body_seconds)
    }
}

/// Figures for Prometheus.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// On administrative listeners too, without a token.
    pub open_on_admin: bool,
}

/// The log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// Of our own code.
    pub level: String,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object per line.
    Json,
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
            match keys::KEYS.iter().find(|k| k.path == path) {
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

    /// A file with every key and what it means.
    #[must_use]
    pub fn example_file() -> String {
        keys::example_file()
    }

    /// The reference page in Markdown.
    #[must_use]
    pub fn reference_page() -> String {
        keys::reference_page()
    }

    /// What holds here and not in `other`, as it would stand in a file. A database URL with a password is left out, and
    /// named instead: it belongs in the environment.
    pub(crate) fn beyond(&self, other: &Self) -> (Table, Vec<&'static str>) {
        let (mut beyond, mut hidden) = (Table::new(), Vec::new());
        let tables = (Table::try_from(self), Table::try_from(other));
        let (Ok(ours), Ok(theirs)) = tables else {
            unreachable!("a configuration was made from such a table");
        };
        for key in keys::KEYS.iter().filter(|k| k.path != "data_directory") {
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

    fn contradictions(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut seen: BTreeMap<(SocketAddr, &str), Duty> = BTreeMap::new();
        for listener in &self.listeners {
            let shared = || {
                self.listeners
                    .iter()
                    .filter(|l| l.address == listener.address && l.address.port() != 0)
                    .count()
            };
            if listener.duty == Duty::Plain && shared() > 1 {
                problems.push(format!(
                    "listener {}: plain cannot share a port: without TLS there is no server name to tell duties apart",
                    listener.address
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

fn defaults() -> Table {
    let mut table = Table::new();
    for key in keys::KEYS {
        let value = match key.form {
            keys::Form::Listeners => Some(Value::Array(
                DEFAULT_LISTENERS
                    .iter()
                    .map(|(address, duty)| {
                        Value::Table(Table::from_iter([
                            ("address".to_owned(), Value::from(*address)),
                            ("duty".to_owned(), Value::from(*duty)),
                        ]))
                    })
                    .collect(),
            )),
            _ => key
                .default
                .and_then(|text| format!("v = {text}").parse::<Table>().ok())
                .and_then(|mut t| t.remove("v")),
        };
        if let Some(value) = value {
            put(&mut table, key.path, value);
        } else if let Some((section, _)) = key.path.split_once('.') {
            table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
        }
    }
    table
}

fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((section, leaf)) => table.get(section)?.get(leaf),
        None => table.get(path),
    }
}

fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        Some((section, leaf)) => {
            if let Value::Table(inner) = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()))
            {
                inner.insert(leaf.to_owned(), value);
            }
        }
        None => {
            table.insert(path.to_owned(), value);
        }
    }
}

fn unknown(path: &str) -> String {
    let known = keys::KEYS.iter().map(|k| k.path);
    match keys::nearest(path, known) {
        Some(meant) => format!("{path}: there is no such key; did you mean {meant}?"),
        None => format!("{path}: there is no such key; `mdmd config example` shows all"),
    }
}

fn overlay(table: &mut Table, read: Table, section: &str, problems: &mut Vec<String>) {
    for (name, value) in read {
        let path = if section.is_empty() {
            name
        } else {
            format!("{section}.{name}")
        };
        let is_section = keys::KEYS.iter().any(|k| {
            k.path
                .strip_prefix(&path)
                .is_some_and(|r| r.starts_with('.'))
        });
        match (keys::KEYS.iter().find(|k| k.path == path), value) {
            (Some(key), value) => set(table, key, value, problems),
            (None, Value::Table(inner)) if is_section => overlay(table, inner, &path, problems),
            (None, _) if is_section => {
                problems.push(format!("{path}: must be a section, [{path}]"))
            }
            (None, _) => problems.push(unknown(&path)),
        }
    }
}

fn set(table: &mut Table, key: &keys::Key, value: Value, problems: &mut Vec<String>) {
    if let Some(problem) = key.problem(&value) {
        problems.push(format!("{}: {problem}", key.path));
        return;
    }
    if let (keys::Form::Listeners, Value::Array(list)) = (key.form, &value) {
        let before = problems.len();
        for (n, listener) in list.iter().filter_map(Value::as_table).enumerate() {
            check_listener(n + 1, listener, problems);
        }
        if problems.len() > before {
            return;
        }
    }
    put(table, key.path, value);
}

fn check_listener(number: usize, listener: &Table, problems: &mut Vec<String>) {
    for (name, value) in listener {
        match keys::LISTENER_KEYS.iter().find(|k| k.path == name) {
            Some(key) => {
                if let Some(problem) = key.problem(value) {
                    problems.push(format!("listener {number}, {name}: {problem}"));
                }
            }
            None => {
                let known = keys::LISTENER_KEYS.iter().map(|k| k.path);
                let hint = keys::nearest(name, known)
                    .map(|k| format!("; did you mean {k}?"))
                    .unwrap_or_default();
                problems.push(format!(
                    "listener {number}, {name}: there is no such key{hint}"
                ));
            }
        }
    }
    for needed in ["address", "duty"] {
        if !listener.contains_key(needed) {
            problems.push(format!("listener {number}: {needed} is missing"));
        }
    }
}

/// Variables with our prefix that are no configuration: read elsewhere.
const OTHER_VARIABLES: [&str; 4] = ["MDMD_CONFIG", "MDMD_URL", "MDMD_TOKEN", "MDMD_TOKEN_FILE"];

fn from_environment(
    table: &mut Table,
    environment: &BTreeMap<String, String>,
    problems: &mut Vec<String>,
) {
    // The variable that holds a master key is named by the configuration itself, and its value is never read here.
    let key_name = environment
        .get("MDMD_MASTER_KEY_NAME")
        .cloned()
        .or_else(|| {
            let name = table.get("master_key")?.get("name")?.as_str()?;
            Some(name.to_owned())
        });
    for (variable, text) in environment {
        if !variable.starts_with("MDMD_")
            || variable.starts_with("MDMD_TEST_")
            || OTHER_VARIABLES.contains(&variable.as_str())
            || Some(variable) == key_name.as_ref()
        {
            continue;
        }
        match keys::KEYS.iter().find(|k| k.variable() == *variable) {
            Some(key) => set_text(table, key, variable, text, problems),
            None => {
                let variables: Vec<String> = keys::KEYS.iter().map(keys::Key::variable).collect();
                let hint = keys::nearest(variable, variables.iter().map(String::as_str))
                    .map(|v| format!("; did you mean {v}?"))
                    .unwrap_or_default();
                problems.push(format!("{variable}: there is no such variable{hint}"));
            }
        }
    }
}

fn set_text(
    table: &mut Table,
    key: &keys::Key,
    source: &str,
    text: &str,
    problems: &mut Vec<String>,
) {
    match key.read(text) {
        Some(value) => {
            let before = problems.len();
            set(table, key, value, problems);
            for problem in &mut problems[before..] {
                *problem = format!("{problem} ({source})");
            }
        }
        None => problems.push(format!(
            "{}: cannot be read, for example {} ({source})",
            key.path, key.example
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        Config::load(Some(text), &BTreeMap::new(), &[]).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_a_configuration() {
        let config = Config::for_directory(Path::new("/tmp/x"));
        assert_eq!(config.listeners.len(), 3);
        assert_eq!(config.push.host, "api.push.apple.com");
        assert_eq!(
            config.database.sqlite_file(&config.data_directory).unwrap(),
            Path::new("/tmp/x/mdmd.sqlite")
        );
    }

    #[test]
    fn every_documented_key_is_read_and_every_key_that_is_read_is_documented() {
        let mut text = String::new();
        let mut section = "";
        for key in keys::KEYS.iter().filter(|k| k.path != "listener") {
            let (s, leaf) = key.path.split_once('.').unwrap_or(("", key.path));
            if s != section {
                section = s;
                text.push_str(&format!("[{s}]\n"));
            }
            text.push_str(&format!("{leaf} = {}\n", key.example));
        }
        let config = load(&text).unwrap();
        let written = Table::try_from(&config).unwrap();
        let mut paths = Vec::new();
        for (name, value) in &written {
            match value {
                Value::Table(inner) => paths.extend(inner.keys().map(|k| format!("{name}.{k}"))),
                _ => paths.push(name.clone()),
            }
        }
        let mut known: Vec<String> = keys::KEYS.iter().map(|k| k.path.to_owned()).collect();
        paths.sort();
        known.sort();
        assert_eq!(paths, known);
    }

    #[test]
    fn the_example_file_is_the_default_configuration() {
        let uncommented: String = Config::example_file()
            .lines()
            .filter(|l| l.starts_with('['))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(load(&uncommented).is_ok());
        assert!(load(&Config::example_file()).is_ok());
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
        let error = load("[push]\nprot = 443\n").unwrap_err();
        assert_eq!(
            error,
            "push.prot: there is no such key; did you mean push.port?"
        );
        let error = load("[[listener]]\naddress = \"0.0.0.0:1\"\nduty = \"device\"\nname = []\n");
        assert_eq!(
            error.unwrap_err(),
            "listener 1, name: there is no such key; did you mean names?"
        );
    }

    #[test]
    fn every_wrong_value_is_named_with_what_would_be_right() {
        let error =
            load("database = 5\n[push]\nport = 70000\n[log]\nformat = \"xml\"\n").unwrap_err();
        assert!(error.contains("database: must be sqlite"), "{error}");
        assert!(
            error.contains("push.port: must be a whole number from 1 to 65535, for example 2197"),
            "{error}"
        );
        assert!(
            error.contains("log.format: must be one of text, json"),
            "{error}"
        );
    }

    #[test]
    fn a_value_that_no_connection_could_use_is_refused() {
        let check = |path: &str, right: &[&str], wrong: &[&str]| {
            let (section, leaf) = path.split_once('.').unwrap();
            let read = |text: &&str| load(&format!("[{section}]\n{leaf} = \"{text}\"\n"));
            for text in right {
                assert!(read(text).is_ok(), "{path}: {text}: {:?}", read(text));
            }
            for text in wrong {
                let error = read(text).unwrap_err();
                assert!(
                    error.contains(&format!("{path}: must be")),
                    "{text}: {error}"
                );
            }
        };
        check(
            "proxy.certificate_header",
            &["X-SSL-Cert", "client-cert"],
            &["X SSL cert", "", "x-cert:", "x-ce\u{301}rt"],
        );
        check(
            "push.host",
            &["api.push.apple.com", "10.0.0.1", "::1", "localhost"],
            &[
                "https://api.push.apple.com",
                "api.push.apple.com:443",
                "a b",
                "",
                "a..b",
                "-a",
            ],
        );
        check(
            "public.device_url",
            &[
                "https://h",
                "https://H.example.com:8443",
                "https://[::1]:1",
                "https://10.0.0.1:0",
            ],
            &[
                "https://:x",
                "https://",
                "https://h:x",
                "https://h:+1",
                "https://h:",
                "https://h:70000",
                "https://h/",
                "https://::1",
                "https://[::1",
                "https://u:p@h",
                "http://h",
            ],
        );
        check(
            "apple.token_url",
            &[
                "https://account.apple.com/auth/oauth2/token?x=1",
                "https://h:1",
            ],
            &[
                "https:///token",
                "https://h:x/token",
                "https://h/a b",
                "h/token",
            ],
        );
    }

    #[test]
    fn the_environment_stands_over_the_file_and_flags_over_both() {
        let environment = BTreeMap::from([
            ("MDMD_PUSH_PORT".to_owned(), "2197".to_owned()),
            ("MDMD_PUSH_HOST".to_owned(), "push.test".to_owned()),
            ("MDMD_MASTER_KEY".to_owned(), "not read here".to_owned()),
        ]);
        let flags = [("push.host".to_owned(), "flag.test".to_owned())];
        let config = Config::load(Some("[push]\nport = 1\n"), &environment, &flags).unwrap();
        assert_eq!(
            (config.push.host.as_str(), config.push.port),
            ("flag.test", 2197)
        );

        let wrong = BTreeMap::from([("MDMD_PUSH_PRT".to_owned(), "1".to_owned())]);
        let error = Config::load(None, &wrong, &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "MDMD_PUSH_PRT: there is no such variable; did you mean MDMD_PUSH_PORT?"
        );
    }

    #[test]
    fn a_password_in_the_database_url_is_in_no_message() {
        let config = load("database = \"postgres://u:hunter2@db/x\"").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = load("database = \"mysql://u:hunter2@db/x\"").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = load("database = \"postgres://u:hunter2@db/x\nlog = 1").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_a_file_should_say_is_what_others_do_not_and_no_password() {
        let plain = Config::for_directory(Path::new("/a"));
        let none = (Table::new(), Vec::new());
        assert_eq!(Config::for_directory(Path::new("/b")).beyond(&plain), none);
        let text = "database = \"postgres://u@db/x\"\n\n[push]\nport = 2197\n";
        let (beyond, hidden) = load(text).unwrap().beyond(&plain);
        assert_eq!(
            (toml::to_string(&beyond).unwrap().as_str(), hidden.len()),
            (text, 0)
        );
        for secret in [
            "postgres://u:hunter2@db/x",
            "postgresql://:hunter2@db/x",
            "postgres://db/x?user=u&password=hunter2",
            "postgres://u:p@hunter2@db/x",
        ] {
            let (beyond, hidden) = load(&format!("database = \"{secret}\""))
                .unwrap()
                .beyond(&plain);
            assert_eq!(
                (beyond, hidden),
                (Table::new(), vec!["database"]),
                "{secret}"
            );
        }
        let (beyond, _) = load("database = \"postgres://[::1]:5432/x\"")
            .unwrap()
            .beyond(&plain);
        assert_eq!(beyond.len(), 1);
    }

    #[test]
    fn two_duties_for_one_name_of_one_port_are_refused() {
        let error = load(
            "[[listener]]\naddress = \"0.0.0.0:443\"\nduty = \"device\"\n\
             [[listener]]\naddress = \"0.0.0.0:443\"\nduty = \"enrol\"\n",
        )
        .unwrap_err();
        assert!(error.contains("both hold for every other name"), "{error}");
    }

    #[test]
    fn the_reference_page_is_the_one_in_docs() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let page = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            page == Config::reference_page(),
            "docs/configuration.md is not what `mdmd config reference` prints"
        );
    }
}
