//! Keys outside of every section.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "data_directory",
        Form::Path,
        Some("\"/var/lib/mdmd\""),
        "\"/var/lib/mdmd\"",
        "Where keys, the embedded database and the local socket lie. Mode 0700, made by `mdmd init`.",
    ),
    key(
        "database",
        Form::Database,
        Some("\"sqlite\""),
        "\"postgres://mdmd@db.example.com/mdmd\"",
        "`sqlite` for a file in the data directory, `sqlite:PATH`, or the URL of a PostgreSQL server. A URL with a password belongs in the environment.",
    ),
    key(
        "accept_lost_commits",
        Form::Flag,
        Some("false"),
        "false",
        "Start although PostgreSQL is set to lose acknowledged writes at a power cut (fsync, synchronous_commit or full_page_writes off).",
    ),
    key(
        "listener",
        Form::Listeners,
        None,
        "[]",
        "The ports, one table for each duty; see below. Without any: device on 0.0.0.0:8443, enrol on 0.0.0.0:8444, admin on 127.0.0.1:8445.",
    ),
];
