//! `[workers]`: jobs, wakes, watchdog.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "workers.enabled",
        Form::Flag,
        Some("true"),
        "true",
        "Whether this process does jobs, wakes and the watchdog. A process without them only answers.",
    ),
    key(
        "workers.batch",
        Form::Whole(1, 1000),
        Some("50"),
        "50",
        "How many jobs are claimed at once.",
    ),
    key(
        "workers.fallback_seconds",
        Form::Whole(1, 600),
        Some("5"),
        "5",
        "How long a worker waits at most before it looks for work that nobody told it of, in seconds.",
    ),
    key(
        "workers.watchdog_seconds",
        Form::Whole(1, 600),
        Some("30"),
        "30",
        "How often the watchdog looks for holds past their ceiling, in seconds.",
    ),
    key(
        "workers.lease_seconds",
        Form::Whole(8, 3600),
        Some("20"),
        "20",
        "How long a claimed job is kept from other processes without a renewal, in seconds: so long its work waits when a process dies. \
         The clocks of the processes must differ by less than a quarter of it.",
    ),
];
