//! The log: one line per event, for people or as JSON, and the names of requests. Libraries are held to warnings, because
//! some print headers and statements at lower levels, and with them what must stay secret.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Sends the log of this process to standard error. A second call changes nothing, so that tests and a rehearsal may call
/// it as well.
pub fn start(log: &LogConfig) {
    // Colours are for people at a terminal, never for a file.
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let started = tracing_subscriber::registry()
        .with(layer(log, std::io::stderr, colours))
        .try_init();
    if started.is_err() {
        tracing::debug!("the log is set up already");
    }
}

/// The log as [`start`] writes it, to a writer of one's own: for whoever embeds the server or captures its log.
pub fn layer<S, W>(log: &LogConfig, writer: W, colours: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        // A log that nobody reads any more ends no request: the library would print of it, and panic over that.
        .log_internal_errors(false)
        .with_ansi(colours);
    let allowed = filter(&log.level);
    match log.format {
        LogFormat::Text => lines.with_filter(allowed).boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_filter(allowed)
            .boxed(),
    }
}

/// What is logged at one of tracing's levels: ours as asked, libraries at warnings. For whoever captures the log itself.
#[must_use]
pub fn filter(level: &str) -> Targets {
    // Proved by the configuration's check: `log.level` is one of tracing's words.
    let ours = level.parse().unwrap_or(LevelFilter::INFO);
    Targets::new()
        .with_default(ours.min(LevelFilter::WARN))
        .with_target("mdmd", ours)
        .with_target("mdm_core", ours)
        .with_target("abm_client", ours)
}

/// A name for one request: unique in this process, and in practice among processes. It is no secret and decides nothing.
pub(crate) fn request_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let start = process_name();
    format!("{start}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn process_name() -> &'static str {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| {
        let mut bytes = [0_u8; 4];
        // Without randomness the name is only less unique.
        let _ = openssl::rand::rand_bytes(&mut bytes);
        format!("{:08x}", u32::from_be_bytes(bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn libraries_never_log_below_warnings() {
        let trace = filter("trace");
        assert!(trace.would_enable("mdmd::http", &Level::TRACE));
        assert!(trace.would_enable("mdm_core", &Level::TRACE));
        assert!(!trace.would_enable("h2::codec", &Level::INFO));
        assert!(!trace.would_enable("sqlx::query", &Level::DEBUG));
        assert!(trace.would_enable("sqlx::query", &Level::WARN));
        assert!(!filter("error").would_enable("hyper", &Level::WARN));
    }

    #[test]
    fn two_requests_have_two_names() {
        assert_ne!(request_id(), request_id());
    }
}
