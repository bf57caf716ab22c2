//! Every key of the configuration, once: name, form, default, example and meaning. The example file, the reference page,
//! the environment's names and the refusals are all made from this table. Reads nothing itself.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hyper::header::HeaderName;
use toml::Value;

use super::network::Network;

/// What a value must look like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Text that is not empty.
    Text,
    /// The name of an HTTP header.
    Header,
    /// A host name or an address, nothing around it.
    Host,
    /// A path; relative ones start at the data directory.
    Path,
    /// `https://host[:port]`, without a path.
    Origin,
    /// `https://…` with any path.
    Url,
    /// `sqlite`, `sqlite:PATH` or `postgres://…`.
    Database,
    /// `true` or `false`.
    Flag,
    /// A whole number in a range.
    Whole(i64, i64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of networks.
    Networks,
    /// A list of tables.
    Listeners,
    /// IP address and port.
    Address,
    /// A list of host names.
    Names,
    /// A mail address, nothing around it.
    Email,
    /// `https://…`, or `http://…` on this machine.
    Collector,
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Where it stands: `push.port`.
    pub(super) path: &'static str,
    /// What it must look like.
    pub(super) form: Form,
    /// What holds when it is left out, as TOML; `None` when nothing does, in which case `meaning` says what that means.
    pub(super) default: Option<&'static str>,
    /// A value that is right, as TOML.
    pub(super) example: &'static str,
    /// What it does, with its unit.
    pub(super) meaning: &'static str,
}

const fn key(
    path: &'static str,
    form: Form,
    default: Option<&'static str>,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        path,
        form,
        default,
        example,
        meaning,
    }
}

/// All keys outside `[[listener]]`, in the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "data_directory",
        Form::Path,
        Some("\"/var/lib/mdmd\""),
        "\"/var/lib/mdmd\"",
        "Where keys, the embedded database and the local socket lie. Mode 0700, made by `mdmd init`.",
    ),
    key(
        "database",
        Form::Database,
        Some("\"sqlite\""),
        "\"postgres://mdmd@db.example.com/mdmd\"",
        "`sqlite` for a file in the data directory, `sqlite:PATH`, or the URL of a PostgreSQL server. A URL with a password belongs in the environment.",
    ),
    key(
        "accept_lost_commits",
        Form::Flag,
        Some("false"),
        "false",
        "Start although PostgreSQL is set to lose acknowledged writes at a power cut (fsync, synchronous_commit or full_page_writes off).",
    ),
    key(
        "listener",
        Form::Listeners,
        None,
        "[]",
        "The ports, one table for each duty; see below. Without any: device on 0.0.0.0:8443, enrol on 0.0.0.0:8444, admin on 127.0.0.1:8445.",
    ),
    key(
        "public.device_url",
        Form::Origin,
        Some("\"https://localhost:8443\""),
        "\"https://mdm.example.com\"",
        "What enrolled devices are told to speak to. It cannot change for a device that is enrolled.",
    ),
    key(
        "public.enrol_url",
        Form::Origin,
        Some("\"https://localhost:8444\""),
        "\"https://enrol.example.com\"",
        "Where devices fetch their enrolment profile and certificate. A host that never asks for a client certificate.",
    ),
    key(
        "public.adde_url",
        Form::Url,
        None,
        "\"https://enrol.example.com/adde\"",
        "Where a device goes on that asked `/.well-known/com.apple.remotemanagement` for account-driven Device Enrollment. Without it none is offered.",
    ),
    key(
        "public.byod_url",
        Form::Url,
        None,
        "\"https://enrol.example.com/byod\"",
        "The same for account-driven User Enrollment.",
    ),
    key(
        "tls.certificate",
        Form::Path,
        Some("\"tls/server.pem\""),
        "\"tls/server.pem\"",
        "Certificate chain (PEM, leaf first) of every listener that names none of its own.",
    ),
    key(
        "tls.key",
        Form::Path,
        Some("\"tls/server.key\""),
        "\"tls/server.key\"",
        "Private key (PEM) of that certificate.",
    ),
    key(
        "tls.reload_seconds",
        Form::Whole(1, 86_400),
        Some("60"),
        "60",
        "How often certificate and key files are looked at, in seconds. Changed ones are used for new connections; ones that cannot be read are reported, and the old ones stay. SIGHUP looks at once.",
    ),
    key(
        "acme.directory",
        Form::Url,
        None,
        "\"https://acme-v02.api.letsencrypt.org/directory\"",
        "ACME directory (RFC 8555) of the authority that certifies every listener without a certificate of its own. Left out: `tls.certificate` alone. Needs a listener with duty `challenge` that the authority reaches at port 80 of every name. All processes on one database share the certificate; one of them orders it, and it is renewed at two thirds of its life. `tls.certificate` is shown until the first one is there.",
    ),
    key(
        "acme.accept_terms",
        Form::Flag,
        Some("false"),
        "true",
        "You accept the authority's terms of service. Nothing is ordered without.",
    ),
    key(
        "acme.names",
        Form::Names,
        Some("[]"),
        "[\"mdm.example.com\", \"enrol.example.com\"]",
        "DNS names in the certificate. Empty: the hosts of `public.device_url` and `public.enrol_url`.",
    ),
    key(
        "acme.contact",
        Form::Email,
        None,
        "\"operations@example.com\"",
        "Address to which the authority writes about the account.",
    ),
    key(
        "acme.ca",
        Form::Path,
        None,
        "\"tls/acme-ca.pem\"",
        "A CA (PEM) to trust for the authority's own address beside the system's.",
    ),
    key(
        "acme.account_key_id",
        Form::Text,
        None,
        "\"kid-1\"",
        "Key identifier of the account with which the authority's account is bound (external account binding), where it asks for one.",
    ),
    key(
        "acme.account_key_file",
        Form::Path,
        None,
        "\"tls/acme-account.key\"",
        "The file with that account's HMAC key, base64url. Mode 0600; a wider one is refused.",
    ),
    key(
        "proxy.trusted",
        Form::Networks,
        Some("[]"),
        "[\"10.0.0.0/8\", \"::1\"]",
        "Addresses of proxies. Only they may use a `plain` listener, speak the PROXY protocol, and tell us a client certificate or a client's address in a header; they must delete such headers from outside.",
    ),
    key(
        "proxy.certificate_header",
        Form::Header,
        Some("\"client-cert\""),
        "\"x-ssl-client-cert\"",
        "The header in which a listed proxy passes the client certificate: RFC 9440 (`:base64:`) or URL-escaped PEM, told apart by the first character.",
    ),
    key(
        "master_key.source",
        Form::OneOf(&["file", "environment", "credential"]),
        Some("\"file\""),
        "\"credential\"",
        "Where the key lies that wraps the data keys of the organisations: a file, an environment variable, or a credential of the service manager (`CREDENTIALS_DIRECTORY`).",
    ),
    key(
        "master_key.file",
        Form::Path,
        Some("\"master.key\""),
        "\"master.key\"",
        "The file, for source `file`. Mode 0600; a wider one is refused.",
    ),
    key(
        "master_key.name",
        Form::Text,
        Some("\"MDMD_MASTER_KEY\""),
        "\"mdmd-master-key\"",
        "The variable or the credential, for the other two sources: 32 bytes as hexadecimal or base64.",
    ),
    key(
        "push.host",
        Form::Host,
        Some("\"api.push.apple.com\""),
        "\"api.push.apple.com\"",
        "Apple's push service.",
    ),
    key(
        "push.port",
        Form::Whole(1, 65535),
        Some("443"),
        "2197",
        "Its port; 2197 where 443 is filtered.",
    ),
    key(
        "push.ca",
        Form::Path,
        None,
        "\"tls/push-ca.pem\"",
        "A CA (PEM) to trust for it instead of the system's.",
    ),
    key(
        "apple.assignment_url",
        Form::Url,
        None,
        "\"https://mdmenrollment.apple.com\"",
        "The device-assignment service, for a test service. Left out: Apple's.",
    ),
    key(
        "apple.organisation_url",
        Form::Url,
        None,
        "\"https://api-business.apple.com\"",
        "The organisation API, for a test service. Left out: Apple's, chosen by the account's kind.",
    ),
    key(
        "apple.token_url",
        Form::Url,
        None,
        "\"https://account.apple.com/auth/oauth2/token\"",
        "Where the organisation API's access tokens come from, for a test service. Left out: Apple's.",
    ),
    key(
        "apple.lock_url",
        Form::Url,
        None,
        "\"https://deviceservices-external.apple.com\"",
        "The lock-removal service, for a test service. Left out: Apple's.",
    ),
    key(
        "apple.apps_url",
        Form::Url,
        None,
        "\"https://vpp.itunes.apple.com/mdm/v2\"",
        "Apps and Books, for a test service. Left out: Apple's.",
    ),
    key(
        "apple.ca",
        Form::Path,
        None,
        "\"tls/apple-ca.pem\"",
        "A CA (PEM) to trust for these services beside the system's.",
    ),
    key(
        "workers.enabled",
        Form::Flag,
        Some("true"),
        "true",
        "Whether this process does jobs, wakes and the watchdog. A process without them only answers.",
    ),
    key(
        "workers.batch",
        Form::Whole(1, 1000),
        Some("50"),
        "50",
        "How many jobs are claimed at once.",
    ),
    key(
        "workers.fallback_seconds",
        Form::Whole(1, 600),
        Some("5"),
        "5",
        "How long a worker waits at most before it looks for work that nobody told it of, in seconds.",
    ),
    key(
        "workers.watchdog_seconds",
        Form::Whole(1, 600),
        Some("30"),
        "30",
        "How often the watchdog looks for holds past their ceiling, in seconds.",
    ),
    key(
        "limits.connections",
        Form::Whole(1, 1_000_000),
        Some("10000"),
        "10000",
        "Open connections per port; more wait to be accepted.",
    ),
    key(
        "limits.client_connections",
        Form::Whole(0, 1_000_000),
        Some("2500"),
        "2500",
        "Open connections of one client address per port; more are closed at once. 0: no bound. Listed proxies have none.",
    ),
    key(
        "limits.client_requests",
        Form::Whole(0, 1_000_000),
        Some("1000"),
        "1000",
        "Requests a second of one client address (of an IPv6 network of 64 bits), whoever it says that it is; five seconds' worth may come at once. What is beyond is answered 503 with Retry-After. A whole school may stand behind one address. 0: no bound.",
    ),
    key(
        "limits.handshake_seconds",
        Form::Whole(1, 300),
        Some("10"),
        "10",
        "A TLS handshake must be done after this many seconds.",
    ),
    key(
        "limits.header_seconds",
        Form::Whole(1, 300),
        Some("30"),
        "30",
        "The headers of a request must be complete after this many seconds.",
    ),
    key(
        "limits.body_seconds",
        Form::Whole(1, 3600),
        Some("120"),
        "120",
        "The body of a request must be complete after this many seconds.",
    ),
    key(
        "limits.idle_seconds",
        Form::Whole(1, 86_400),
        Some("300"),
        "300",
        "A connection without a request is closed after this many seconds.",
    ),
    key(
        "limits.shutdown_seconds",
        Form::Whole(1, 600),
        Some("30"),
        "30",
        "At the end, accepted requests may take this many seconds more.",
    ),
    key(
        "limits.header_bytes",
        Form::Whole(16_384, 1_048_576),
        Some("65536"),
        "65536",
        "All headers of a request together, in bytes.",
    ),
    key(
        "limits.bodies_bytes",
        Form::Whole(1_048_576, 1_099_511_627_776),
        Some("268435456"),
        "268435456",
        "All bodies of requests that are under way, in bytes. What is beyond is answered 503 with Retry-After.",
    ),
    key(
        "limits.check_in_bytes",
        Form::Whole(65_536, 1_073_741_824),
        Some("8388608"),
        "8388608",
        "The body of a check-in, in bytes.",
    ),
    key(
        "limits.command_bytes",
        Form::Whole(65_536, 1_073_741_824),
        Some("33554432"),
        "33554432",
        "The body of a command report, in bytes.",
    ),
    key(
        "limits.enrol_bytes",
        Form::Whole(4_096, 16_777_216),
        Some("262144"),
        "262144",
        "The body of an enrolment or certificate request, in bytes.",
    ),
    key(
        "limits.api_bytes",
        Form::Whole(4_096, 1_073_741_824),
        Some("8388608"),
        "8388608",
        "The body of an API request, in bytes.",
    ),
    key(
        "packages.directory",
        Form::Path,
        Some("\"packages\""),
        "\"/srv/mdmd/packages\"",
        "Where uploaded packages lie. Several servers on one database must share it.",
    ),
    key(
        "packages.largest_bytes",
        Form::Whole(1_048_576, 1_099_511_627_776),
        Some("4294967296"),
        "4294967296",
        "The largest package that can be uploaded, in bytes.",
    ),
    key(
        "packages.organisation_bytes",
        Form::Whole(1_048_576, 109_951_162_777_600),
        Some("68719476736"),
        "68719476736",
        "All uploaded packages of an organisation together, in bytes.",
    ),
    key(
        "metrics.open_on_admin",
        Form::Flag,
        Some("false"),
        "true",
        "Serve `/metrics` (Prometheus) on `admin` listeners to whoever reaches them, without a token. The local socket always has it.",
    ),
    key(
        "traces.endpoint",
        Form::Collector,
        None,
        "\"http://127.0.0.1:4318\"",
        "OTLP/HTTP endpoint of a collector for OpenTelemetry traces, without `/v1/traces`: https, or http on this machine. Left out: no traces.",
    ),
    key(
        "traces.percent",
        Form::Whole(0, 100),
        Some("100"),
        "5",
        "Of a hundred traces that begin here, so many are kept. A trace that a listed proxy began is kept or not as the proxy says.",
    ),
    key(
        "traces.queue",
        Form::Whole(16, 1_000_000),
        Some("8192"),
        "8192",
        "Spans that wait for the collector; more are dropped and counted (`mdmd_spans_dropped_total`), nobody waits for it.",
    ),
    key(
        "traces.ca",
        Form::Path,
        None,
        "\"tls/collector-ca.pem\"",
        "A CA (PEM) to trust for the collector beside the system's.",
    ),
    key(
        "traces.authorization_file",
        Form::Path,
        None,
        "\"traces.authorization\"",
        "The file with the value of the header `Authorization` for the collector, `Bearer …` for example. Mode 0600; a wider one is refused.",
    ),
    key(
        "traces.service",
        Form::Text,
        Some("\"mdmd\""),
        "\"mdmd\"",
        "`service.name` of the spans.",
    ),
    key(
        "traces.give_on",
        Form::Flag,
        Some("false"),
        "true",
        "Send `traceparent` with requests to Apple's services, for a proxy on the way that takes part in the trace. It holds random numbers only.",
    ),
    key(
        "log.format",
        Form::OneOf(&["text", "json"]),
        Some("\"text\""),
        "\"json\"",
        "How a line of the log is written.",
    ),
    key(
        "log.level",
        Form::OneOf(&["error", "warn", "info", "debug", "trace"]),
        Some("\"info\""),
        "\"debug\"",
        "What is logged of our own code. Libraries are always held to `warn`, because some print headers at lower levels.",
    ),
];

/// The keys of one `[[listener]]`.
pub(super) const LISTENER_KEYS: &[Key] = &[
    key(
        "address",
        Form::Address,
        None,
        "\"0.0.0.0:443\"",
        "IP address and port. Several tables may share one: then the server name of the handshake decides.",
    ),
    key(
        "duty",
        Form::OneOf(&["device", "enrol", "admin", "plain", "challenge"]),
        None,
        "\"device\"",
        "`device` asks for a client certificate; `enrol` and `admin` never do; `plain` is HTTP behind a listed proxy and carries what `device` and `enrol` carry; `challenge` is HTTP for everybody and only answers the authority of `acme.directory`.",
    ),
    key(
        "names",
        Form::Names,
        Some("[]"),
        "[\"mdm.example.com\"]",
        "Server names for which this table holds. Empty: every other name, and none at all.",
    ),
    key(
        "certificate",
        Form::Path,
        None,
        "\"tls/mdm.pem\"",
        "Certificate chain (PEM, leaf first); `tls.certificate` when left out.",
    ),
    key(
        "key",
        Form::Path,
        None,
        "\"tls/mdm.key\"",
        "Private key (PEM); `tls.key` when left out.",
    ),
    key(
        "proxy_protocol",
        Form::Flag,
        Some("false"),
        "true",
        "Each connection begins with a PROXY protocol header (version 1 or 2) of a proxy in `proxy.trusted`; others are closed. All tables of one address must agree.",
    ),
];

impl Key {
    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("MDMD_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// Reads text from the environment or a flag: as it stands for texts, as TOML for everything else.
    pub(super) fn read(&self, text: &str) -> Option<Value> {
        match self.form {
            Form::Text
            | Form::Header
            | Form::Host
            | Form::Path
            | Form::Origin
            | Form::Url
            | Form::Database
            | Form::OneOf(_)
            | Form::Email
            | Form::Collector
            | Form::Address => Some(Value::String(text.to_owned())),
            Form::Flag | Form::Whole(..) | Form::Networks | Form::Names | Form::Listeners => {
                let mut table: toml::Table = format!("v = {text}").parse().ok()?;
                table.remove("v")
            }
        }
    }

    /// What is wrong with a value, and what would be right.
    pub(super) fn problem(&self, value: &Value) -> Option<String> {
        let right = match (self.form, value) {
            (Form::Text | Form::Path, Value::String(text)) if !text.is_empty() => return None,
            (Form::Text, _) => "must be text that is not empty".to_owned(),
            (Form::Header, Value::String(text))
                if HeaderName::from_bytes(text.as_bytes()).is_ok() =>
            {
                return None;
            }
            (Form::Header, _) => "must be the name of a header: letters, digits and '-'".to_owned(),
            (Form::Host, Value::String(text)) if host(text) => return None,
            (Form::Host, _) => {
                "must be a host name or an address, without https:// and without a port".to_owned()
            }
            (Form::Path, _) => "must be a path".to_owned(),
            (Form::Origin, Value::String(text)) if origin(text) => return None,
            (Form::Origin, _) => {
                "must be https://host or https://host:port, without a path".to_owned()
            }
            (Form::Url, Value::String(text)) if url(text) => return None,
            (Form::Url, _) => "must be https://host, with or without a port and a path".to_owned(),
            (Form::Database, Value::String(text)) if database(text) => return None,
            (Form::Database, _) => "must be sqlite, sqlite:PATH or postgres://…".to_owned(),
            (Form::Flag, Value::Boolean(_)) => return None,
            (Form::Flag, _) => "must be true or false".to_owned(),
            (Form::Whole(from, to), Value::Integer(n)) if (from..=to).contains(n) => return None,
            (Form::Whole(from, to), _) => format!("must be a whole number from {from} to {to}"),
            (Form::OneOf(words), Value::String(text)) if words.contains(&text.as_str()) => {
                return None;
            }
            (Form::OneOf(words), _) => format!("must be one of {}", words.join(", ")),
            (Form::Networks, Value::Array(list))
                if list
                    .iter()
                    .all(|v| v.as_str().is_some_and(|t| Network::parse(t).is_some())) =>
            {
                return None;
            }
            (Form::Networks, _) => "must be a list of addresses or networks".to_owned(),
            (Form::Names, Value::Array(list))
                if list.iter().all(|v| v.as_str().is_some_and(host_name)) =>
            {
                return None;
            }
            (Form::Names, _) => "must be a list of host names in lower case".to_owned(),
            (Form::Collector, Value::String(text)) if url(text) || local_url(text) => return None,
            (Form::Collector, _) => {
                "must be https://host, or http:// and an address of this machine".to_owned()
            }
            (Form::Email, Value::String(text)) if email(text) => return None,
            (Form::Email, _) => "must be a mail address, without mailto:".to_owned(),
            (Form::Address, Value::String(text)) if text.parse::<SocketAddr>().is_ok() => {
                return None;
            }
            (Form::Address, _) => "must be an IP address with a port".to_owned(),
            (Form::Listeners, Value::Array(list)) if list.iter().all(Value::is_table) => {
                return None;
            }
            (Form::Listeners, _) => "must be tables under [[listener]]".to_owned(),
        };
        // The value itself is not repeated: it may be a database URL with a password.
        Some(format!("{right}, for example {}", self.example))
    }
}

fn origin(text: &str) -> bool {
    text.strip_prefix("https://").is_some_and(authority)
}

fn url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    authority(&rest[..end]) && rest[end..].bytes().all(|b| b.is_ascii_graphic())
}

/// Plain HTTP stays on this machine: spans tell what goes on here.
fn local_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://") else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let named = &rest[..end];
    let host = match named.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => named,
    };
    let here = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    here && authority(named) && rest[end..].bytes().all(|b| b.is_ascii_graphic())
}

/// `host`, `host:port`, `[address]` or `[address]:port`; a name with a password before them is refused.
fn authority(text: &str) -> bool {
    let (named, port) = match text.rsplit_once(':') {
        Some((named, port)) if !port.contains(']') => (named, Some(port)),
        _ => (text, None),
    };
    let fits = match named.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => host(named) && !named.contains(':'),
    };
    // Port 0 is filled in with the one that the listener gets.
    fits && port
        .is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// A name that can be looked up, or an address.
fn host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.parse::<IpAddr>().is_ok() || text.len() <= 253 && text.split('.').all(label)
}

/// What an account's contact may be: one plain address (RFC 8555 7.3 allows neither several nor header fields).
fn email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && local
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".!#$&'*+-/=^_`{|}~".contains(&b))
            && host(domain)
    })
}

fn database(text: &str) -> bool {
    text == "sqlite"
        || text.strip_prefix("sqlite:").is_some_and(|p| !p.is_empty())
        || text.starts_with("postgres://")
        || text.starts_with("postgresql://")
}

fn host_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

/// The known key that is most like an unknown one.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (distance(wrong, k), k))
        .filter(|(d, k)| *d <= 1 + k.len() / 4)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = cost.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn section(path: &str) -> Option<&str> {
    path.split_once('.').map(|(section, _)| section)
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// A configuration file with every key, its default and its meaning; keys that are at their default are commented out.
pub(super) fn example_file() -> String {
    let mut out = String::from(
        "# Configuration of mdmd. Every key is shown; those behind `# ` stand at their default or are optional.\n",
    );
    let mut last = None;
    for key in KEYS.iter().filter(|k| !matches!(k.form, Form::Listeners)) {
        if section(key.path) != last {
            last = section(key.path);
            let _ = write!(out, "\n[{}]\n", last.unwrap_or_default());
        } else {
            out.push('\n');
        }
        let _ = writeln!(out, "# {}", key.meaning);
        let _ = writeln!(
            out,
            "# {} = {}",
            leaf(key.path),
            key.default.unwrap_or(key.example)
        );
    }
    out.push_str("\n# The ports. These three hold when there is no [[listener]] at all.\n");
    for (address, duty) in super::DEFAULT_LISTENERS {
        let _ = write!(
            out,
            "\n# [[listener]]\n# address = \"{address}\"\n# duty = \"{duty}\"\n"
        );
    }
    for key in LISTENER_KEYS {
        let _ = writeln!(out, "# {}: {}", key.path, key.meaning);
    }
    out
}

/// The reference page.
pub(super) fn reference_page() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         One TOML file (`mdmd.toml` in the data directory, or `--config FILE`), over it the environment, over it `--set KEY=VALUE`.\n\
         A key that does not exist and a value that cannot be right are refused with the name and with what would be right.\n\
         `mdmd config check` reads all three and says what holds; `mdmd config example` prints a file with every key.\n\
         This page is made by `mdmd config reference`.\n\n\
         Relative paths start at the data directory.\n\n\
         | key | default | meaning | variable |\n|---|---|---|---|\n",
    );
    for key in KEYS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | `{}` |",
            key.path,
            key.default
                .map_or_else(|| "none".to_owned(), |d| format!("`{d}`")),
            key.meaning,
            key.variable()
        );
    }
    out.push_str("\n## `[[listener]]`\n\n| key | default | meaning |\n|---|---|---|\n");
    for key in LISTENER_KEYS {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            key.path,
            key.default
                .map_or_else(|| "none".to_owned(), |d| format!("`{d}`")),
            key.meaning
        );
    }
    out.push_str(
        "\nOne port for devices and enrolment, told apart by server name:\n\n\
         ```toml\n[[listener]]\naddress = \"0.0.0.0:443\"\nduty = \"device\"\nnames = [\"mdm.example.com\"]\n\n\
         [[listener]]\naddress = \"0.0.0.0:443\"\nduty = \"enrol\"\n```\n\n\
         A certificate from a public authority ([docs/edge.md](edge.md) says more):\n\n\
         ```toml\n[acme]\ndirectory = \"https://acme-v02.api.letsencrypt.org/directory\"\naccept_terms = true\n\
         contact = \"operations@example.com\"\n\n[[listener]]\naddress = \"0.0.0.0:80\"\nduty = \"challenge\"\n```\n",
    );
    out
}
