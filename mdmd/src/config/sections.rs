//! The sections of the configuration and what their keys mean. Reads nothing.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Network;
use serde::{Deserialize, Serialize};

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
    pub(super) fn has_password(&self) -> bool {
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
    /// HTTP for everybody: the answers that an ACME authority looks for, and nothing else.
    Challenge,
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
            Self::Challenge => "challenge",
        }
    }

    /// Whether its connections begin with a TLS handshake.
    #[must_use]
    pub const fn has_tls(self) -> bool {
        match self {
            Self::Device | Self::Enrol | Self::Admin => true,
            Self::Plain | Self::Challenge => false,
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

/// The authority that certifies the listeners; without a directory there is none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AcmeConfig {
    /// Its directory.
    pub directory: Option<String>,
    /// Its terms are accepted.
    pub accept_terms: bool,
    /// DNS names to certify; empty for those of the public addresses.
    pub names: Vec<String>,
    /// Mail address of the account.
    pub contact: Option<String>,
    /// A CA beside the system's, for the authority's own address.
    pub ca: Option<PathBuf>,
    /// External account binding: its key identifier.
    pub account_key_id: Option<String>,
    /// External account binding: where its key lies.
    pub account_key_file: Option<PathBuf>,
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

/// Where people sign in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SignInConfig {
    /// A CA beside the system's.
    pub ca: Option<PathBuf>,
}

/// What webhooks may reach.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct WebhooksConfig {
    /// Networks beside the internet.
    pub allowed_networks: Vec<Network>,
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
    /// How long a job is kept from others without a renewal, in seconds.
    pub lease_seconds: u64,
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

/// Packages that are uploaded and served.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PackagesConfig {
    /// Where they lie.
    pub directory: PathBuf,
    /// The largest, in bytes.
    pub largest_bytes: u64,
    /// All of an organisation, in bytes.
    pub organisation_bytes: u64,
    /// Networks beside the internet at which manifests of apps are looked at.
    pub allowed_networks: Vec<Network>,
}

/// Figures for Prometheus.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// On administrative listeners too, without a token.
    pub open_on_admin: bool,
}

/// OpenTelemetry traces; without an endpoint there are none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TracesConfig {
    /// Where the collector is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Of a hundred traces so many.
    pub percent: u32,
    /// Spans that may wait.
    pub queue: usize,
    /// A CA beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The value of `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_file: Option<PathBuf>,
    /// `service.name`.
    pub service: String,
    /// Also to Apple's services.
    pub give_on: bool,
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
