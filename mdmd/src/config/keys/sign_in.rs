//! `[sign_in]`: where people sign in.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[key(
    "sign_in.ca",
    Form::Path,
    None,
    "\"tls/provider-ca.pem\"",
    "A CA (PEM) to trust for the OpenID Connect providers of organisations beside the system's.",
)];
