//! What a value of the configuration may look like, and what to say of one that does not. Looks nothing up.

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

impl Form {
    /// What would be right, of a value that is not.
    pub(super) fn problem(self, value: &Value) -> Option<String> {
        let right = match (self, value) {
            (Self::Text | Self::Path, Value::String(text)) if !text.is_empty() => return None,
            (Self::Text, _) => "must be text that is not empty".to_owned(),
            (Self::Header, Value::String(text))
                if HeaderName::from_bytes(text.as_bytes()).is_ok() =>
            {
                return None;
            }
            (Self::Header, _) => "must be the name of a header: letters, digits and '-'".to_owned(),
            (Self::Host, Value::String(text)) if host(text) => return None,
            (Self::Host, _) => {
                "must be a host name or an address, without https:// and without a port".to_owned()
            }
            (Self::Path, _) => "must be a path".to_owned(),
            (Self::Origin, Value::String(text)) if origin(text) => return None,
            (Self::Origin, _) => {
                "must be https://host or https://host:port, without a path".to_owned()
            }
            (Self::Url, Value::String(text)) if url(text) => return None,
            (Self::Url, _) => "must be https://host, with or without a port and a path".to_owned(),
            (Self::Database, Value::String(text)) if database(text) => return None,
            (Self::Database, _) => "must be sqlite, sqlite:PATH or postgres://…".to_owned(),
            (Self::Flag, Value::Boolean(_)) => return None,
            (Self::Flag, _) => "must be true or false".to_owned(),
            (Self::Whole(from, to), Value::Integer(n)) if (from..=to).contains(n) => return None,
            (Self::Whole(from, to), _) => format!("must be a whole number from {from} to {to}"),
            (Self::OneOf(words), Value::String(text)) if words.contains(&text.as_str()) => {
                return None;
            }
            (Self::OneOf(words), _) => format!("must be one of {}", words.join(", ")),
            (Self::Networks, Value::Array(list))
                if list
                    .iter()
                    .all(|v| v.as_str().is_some_and(|t| Network::parse(t).is_some())) =>
            {
                return None;
            }
            (Self::Networks, _) => "must be a list of addresses or networks".to_owned(),
            (Self::Names, Value::Array(list))
                if list.iter().all(|v| v.as_str().is_some_and(host_name)) =>
            {
                return None;
            }
            (Self::Names, _) => "must be a list of host names in lower case".to_owned(),
            (Self::Collector, Value::String(text)) if url(text) || local_url(text) => return None,
            (Self::Collector, _) => {
                "must be https://host, or http:// and an address of this machine".to_owned()
            }
            (Self::Email, Value::String(text)) if email(text) => return None,
            (Self::Email, _) => "must be a mail address, without mailto:".to_owned(),
            (Self::Address, Value::String(text)) if text.parse::<SocketAddr>().is_ok() => {
                return None;
            }
            (Self::Address, _) => "must be an IP address with a port".to_owned(),
            (Self::Listeners, Value::Array(list)) if list.iter().all(Value::is_table) => {
                return None;
            }
            (Self::Listeners, _) => "must be tables under [[listener]]".to_owned(),
        };
        Some(right)
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
