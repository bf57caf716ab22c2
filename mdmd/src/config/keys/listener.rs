//! `[[listener]]`: the ports.

use super::{Form, Key, key};

/// The keys of one `[[listener]]`.
pub(in crate::config) const LISTENER_KEYS: &[Key] = &[
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
