//! `[tls]`: the certificate of the listeners.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
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
];
