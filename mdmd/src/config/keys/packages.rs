//! `[packages]`: uploaded packages.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
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
        "packages.allowed_networks",
        Form::Networks,
        Some("[]"),
        "[\"10.20.0.0/16\"]",
        "Networks beside the public internet where this server looks at the manifests of apps that runbooks name (`manifest_url`). Everything else that is private, local or special is not looked at, whatever a name leads to, and said to be unknown.",
    ),
];
