//! `[proxy]`: TLS-terminating proxies.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
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
];
