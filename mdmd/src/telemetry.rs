//! The log: one line per event, for people or as JSON, the names of requests, and spans for a collector where one is
//! configured. Libraries are held to warnings, because some print headers and statements at lower levels, and with them what
//! must stay secret.

mod otlp;
mod traces;

use std::sync::atomic::{AtomicU64, Ordering};

use abm_client::{HyperTransport, SecretText};
use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, LogConfig, LogFormat};
pub(crate) use traces::{Parent, adopt, header};

/// Sends the log of this process to standard error. A second call changes nothing, so that tests and a rehearsal may call
/// it as well.
pub fn start(log: &LogConfig) {
    let started = tracing_subscriber::registry()
        .with(layer(log, std::io::stderr, colours()))
        .try_init();
    if started.is_err() {
        tracing::debug!("the log is set up already");
    }
}

/// Traces of this process, on their way to the collector.
#[derive(Debug)]
pub(crate) struct Export {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Export {
    /// Sends what waits, for a few seconds at most.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        // It has a limit of its own; that it panicked is nobody's trouble any more.
        let _ = self.task.await;
    }
}

/// As [`start`], and spans for the collector, if one is configured.
///
/// # Errors
/// Names the file that cannot be read.
pub(crate) fn start_with_traces(config: &Config) -> anyhow::Result<Option<Export>> {
    let settings = &config.traces;
    let Some(endpoint) = &settings.endpoint else {
        start(&config.log);
        return Ok(None);
    };
    let mut transport = HyperTransport::builder().timeout(std::time::Duration::from_secs(10));
    if let Some(ca) = &settings.ca {
        let path = config.path(ca);
        let name = || format!("traces.ca {}", path.display());
        let pem = std::fs::read(&path).with_context(name)?;
        transport = transport.trust_pem(&pem).with_context(name)?;
    }
    let authorization = match &settings.authorization_file {
        Some(file) => {
            let path = config.path(file);
            let name = || format!("traces.authorization_file {}", path.display());
            let text = crate::key_wrap::read_secret_text(&path).with_context(name)?;
            Some(SecretText::new(text.trim()))
        }
        None => None,
    };
    let collector = otlp::Collector {
        transport: transport.build()?,
        url: format!("{}/v1/traces", endpoint.trim_end_matches('/')),
        authorization,
        service: settings.service.clone(),
        instance: process_name().to_owned(),
    };
    let (queue, spans) = mpsc::channel(settings.queue);
    let percent = u8::try_from(settings.percent).unwrap_or(100);
    let colours = colours();
    let started = tracing_subscriber::registry()
        .with(layer(&config.log, std::io::stderr, colours))
        .with(traces::Traces::new(percent, queue).with_filter(traced()))
        .try_init();
    if started.is_err() {
        tracing::debug!("the log is set up already");
    }
    let stop = CancellationToken::new();
    let task = tokio::spawn(collector.run(spans, stop.clone()));
    Ok(Some(Export { task, stop }))
}

/// Our own spans, and what is said in them at the levels that say how they ended.
fn traced() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    let ours = |target: &str| {
        ["mdmd", "mdm_core", "abm_client"]
            .iter()
            .any(|name| target.split("::").next() == Some(name))
    };
    filter_fn(move |it: &Metadata<'_>| {
        ours(it.target()) && (it.is_span() || *it.level() <= Level::INFO)
    })
    .with_max_level_hint(LevelFilter::DEBUG)
}

/// Colours are for people at a terminal, never for a file.
fn colours() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
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

/// The layer of traces alone, and how many spans it has handed on: for tests of what carries a trace on.
#[cfg(test)]
pub(crate) fn traces_alone() -> (impl Subscriber + Send + Sync, impl FnMut() -> usize) {
    let (queue, mut spans) = mpsc::channel(100);
    let subscriber = tracing_subscriber::registry().with(traces::Traces::new(100, queue));
    let count = move || std::iter::from_fn(|| spans.try_recv().ok()).count();
    (subscriber, count)
}

#[cfg(test)]
mod tests {
    use super::*;

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
