//! `[master_key]`: the key that wraps data keys.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
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
];
