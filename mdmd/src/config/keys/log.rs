//! `[log]`: the log.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "log.format",
        Form::OneOf(&["text", "json"]),
        Some("\"text\""),
        "\"json\"",
        "How a line of the log is written.",
    ),
    key(
        "log.level",
        Form::OneOf(&["error", "warn", "info", "debug", "trace"]),
        Some("\"info\""),
        "\"debug\"",
        "What is logged of our own code. Libraries are always held to `warn`, because some print headers at lower levels.",
    ),
];
