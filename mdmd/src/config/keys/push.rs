//! `[push]`: Apple's push service.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
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
];
