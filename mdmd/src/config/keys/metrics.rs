//! `[metrics]`: figures for Prometheus.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[key(
    "metrics.open_on_admin",
    Form::Flag,
    Some("false"),
    "true",
    "Serve `/metrics` (Prometheus) on `admin` listeners to whoever reaches them, without a token. The local socket always has it.",
)];
