//! `[webhooks]`: what webhooks may reach.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "webhooks.allowed_networks",
        Form::Networks,
        Some("[]"),
        "[\"10.20.0.0/16\"]",
        "Networks of receivers beside the public internet; only there is `http` taken. Everything else that is private, local or special is refused, whatever a name leads to.",
    ),
    key(
        "webhooks.ca",
        Form::Path,
        None,
        "\"tls/hooks-ca.pem\"",
        "A CA (PEM) to trust for receivers beside the system's.",
    ),
];
