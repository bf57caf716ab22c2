//! `[limits]`: time-outs, sizes, counts.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "limits.connections",
        Form::Whole(1, 1_000_000),
        Some("10000"),
        "10000",
        "Open connections per port; more wait to be accepted.",
    ),
    key(
        "limits.client_connections",
        Form::Whole(0, 1_000_000),
        Some("2500"),
        "2500",
        "Open connections of one client address per port; more are closed at once. 0: no bound. Listed proxies have none.",
    ),
    key(
        "limits.client_requests",
        Form::Whole(0, 1_000_000),
        Some("1000"),
        "1000",
        "Requests a second of one client address (of an IPv6 network of 64 bits), whoever it says that it is; five seconds' worth may come at once. What is beyond is answered 503 with Retry-After. A whole school may stand behind one address. 0: no bound.",
    ),
    key(
        "limits.handshake_seconds",
        Form::Whole(1, 300),
        Some("10"),
        "10",
        "A TLS handshake must be done after this many seconds.",
    ),
    key(
        "limits.header_seconds",
        Form::Whole(1, 300),
        Some("30"),
        "30",
        "The headers of a request must be complete after this many seconds.",
    ),
    key(
        "limits.body_seconds",
        Form::Whole(1, 3600),
        Some("120"),
        "120",
        "The body of a request must be complete after this many seconds.",
    ),
    key(
        "limits.idle_seconds",
        Form::Whole(1, 86_400),
        Some("300"),
        "300",
        "A connection without a request is closed after this many seconds.",
    ),
    key(
        "limits.shutdown_seconds",
        Form::Whole(1, 600),
        Some("30"),
        "30",
        "At the end, accepted requests may take this many seconds more.",
    ),
    key(
        "limits.header_bytes",
        Form::Whole(16_384, 1_048_576),
        Some("65536"),
        "65536",
        "All headers of a request together, in bytes.",
    ),
    key(
        "limits.bodies_bytes",
        Form::Whole(1_048_576, 1_099_511_627_776),
        Some("268435456"),
        "268435456",
        "All bodies of requests that are under way, in bytes. What is beyond is answered 503 with Retry-After.",
    ),
    key(
        "limits.check_in_bytes",
        Form::Whole(65_536, 1_073_741_824),
        Some("8388608"),
        "8388608",
        "The body of a check-in, in bytes.",
    ),
    key(
        "limits.command_bytes",
        Form::Whole(65_536, 1_073_741_824),
        Some("33554432"),
        "33554432",
        "The body of a command report, in bytes.",
    ),
    key(
        "limits.enrol_bytes",
        Form::Whole(4_096, 16_777_216),
        Some("262144"),
        "262144",
        "The body of an enrolment or certificate request, in bytes.",
    ),
    key(
        "limits.api_bytes",
        Form::Whole(4_096, 1_073_741_824),
        Some("8388608"),
        "8388608",
        "The body of an API request, in bytes.",
    ),
];
