//! `[traces]`: traces for a collector.

use super::{Form, Key, key};

/// In the order of the example file.
pub(super) const KEYS: &[Key] = &[
    key(
        "traces.endpoint",
        Form::Collector,
        None,
        "\"http://127.0.0.1:4318\"",
        "OTLP/HTTP endpoint of a collector for OpenTelemetry traces, without `/v1/traces`: https, or http on this machine. Left out: no traces.",
    ),
    key(
        "traces.percent",
        Form::Whole(0, 100),
        Some("100"),
        "5",
        "Of a hundred traces that begin here, so many are kept. A trace that a listed proxy began is kept or not as the proxy says.",
    ),
    key(
        "traces.queue",
        Form::Whole(16, 1_000_000),
        Some("8192"),
        "8192",
        "Spans that wait for the collector; more are dropped and counted (`mdmd_spans_dropped_total`), nobody waits for it.",
    ),
    key(
        "traces.ca",
        Form::Path,
        None,
        "\"tls/collector-ca.pem\"",
        "A CA (PEM) to trust for the collector beside the system's.",
    ),
    key(
        "traces.authorization_file",
        Form::Path,
        None,
        "\"traces.authorization\"",
        "The file with the value of the header `Authorization` for the collector, `Bearer …` for example. Mode 0600; a wider one is refused.",
    ),
    key(
        "traces.service",
        Form::Text,
        Some("\"mdmd\""),
        "\"mdmd\"",
        "`service.name` of the spans.",
    ),
    key(
        "traces.give_on",
        Form::Flag,
        Some("false"),
        "true",
        "Send `traceparent` with requests to Apple's services, for a proxy on the way that takes part in the trace. It holds random numbers only.",
    ),
];
