//! Hands ended spans to a collector by OTLP over HTTP, as JSON. Batches, tries again a little, then drops and counts: nobody
//! waits for a collector.
//!
//! Our own two hundred lines rather than the `opentelemetry` crates: those bring an SDK with a clock, a runtime and a
//! queue of its own, protobuf, and by default a second HTTP client with a second TLS stack; what is needed of OTLP is one
//! POST of one JSON object, which every collector takes on the same port as protobuf.

use std::time::Duration;

use abm_client::{HyperTransport, Method, Request, SecretBytes, SecretText, Transport};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::traces::{Ended, Value};

/// Most spans of one request.
const BATCH: usize = 512;
/// Spans wait this long for company.
const EVERY: Duration = Duration::from_secs(2);
/// Waits before a batch is tried again; after the last it is dropped.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// At the end of the process what waits gets this long.
const LAST: Duration = Duration::from_secs(3);
/// A collector has nothing to say that would be longer.
const ANSWER: usize = 64 * 1024;

/// Where spans go, and as whom.
pub(super) struct Collector {
    pub(super) transport: HyperTransport,
    /// With `/v1/traces`.
    pub(super) url: String,
    /// The value of `Authorization`.
    pub(super) authorization: Option<SecretText>,
    /// `service.name`.
    pub(super) service: String,
    /// `service.instance.id`.
    pub(super) instance: String,
}

impl Collector {
    /// Sends what comes until it is told to stop, and then what is there already.
    pub(super) async fn run(self, mut spans: mpsc::Receiver<Ended>, stop: CancellationToken) {
        let mut well = true;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                taken = spans.recv_many(&mut batch, BATCH) => if taken == 0 { break },
            }
            // One that comes alone waits for others.
            if batch.len() < BATCH {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(EVERY) => {}
                }
                while batch.len() < BATCH
                    && let Ok(span) = spans.try_recv()
                {
                    batch.push(span);
                }
            }
            let sent = tokio::select! {
                sent = self.deliver(&batch) => sent,
                () = stop.cancelled() => break,
            };
            crate::metrics::spans_sent(if sent.is_ok() { batch.len() } else { 0 });
            match &sent {
                Ok(()) if !well => tracing::info!("the collector of traces takes spans again"),
                Err(why) if well => {
                    tracing::warn!(
                        why,
                        "the collector of traces takes no spans; they are dropped"
                    );
                }
                _ => {}
            }
            well = sent.is_ok();
            if !well {
                crate::metrics::spans_dropped("collector", batch.len());
            }
            batch.clear();
        }
        spans.close();
        while let Ok(span) = spans.try_recv() {
            batch.push(span);
        }
        let rest = async {
            for part in batch.chunks(BATCH) {
                self.send(part).await?;
            }
            Ok::<_, String>(())
        };
        if !matches!(tokio::time::timeout(LAST, rest).await, Ok(Ok(()))) {
            crate::metrics::spans_dropped("end", batch.len());
        }
    }

    async fn deliver(&self, batch: &[Ended]) -> Result<(), String> {
        let mut waits = AGAIN.into_iter();
        loop {
            match self.send(batch).await {
                Ok(()) => return Ok(()),
                Err(why) => match waits.next() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(why),
                },
            }
        }
    }

    async fn send(&self, batch: &[Ended]) -> Result<(), String> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut headers: Vec<(&'static str, SecretText)> =
            vec![("content-type", "application/json".into())];
        if let Some(value) = &self.authorization {
            headers.push(("authorization", value.clone()));
        }
        let request = Request {
            method: Method::Post,
            url: self.url.clone(),
            headers,
            body: Some(SecretBytes::new(self.body(batch))),
            answer_limit: ANSWER,
        };
        let answer = self
            .transport
            .send(request)
            .await
            .map_err(|e| e.to_string())?;
        match answer.is_success() {
            true => Ok(()),
            false => Err(format!("status {}", answer.status)),
        }
    }

    /// <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>: identifiers in hexadecimal, times as text.
    fn body(&self, batch: &[Ended]) -> Vec<u8> {
        let text =
            |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        let spans: Vec<_> = batch.iter().map(span).collect();
        json!({ "resourceSpans": [{
            "resource": { "attributes": [
                text("service.name", &self.service),
                text("service.version", env!("CARGO_PKG_VERSION")),
                text("service.instance.id", &self.instance),
            ]},
            "scopeSpans": [{ "scope": { "name": "mdmd" }, "spans": spans }],
        }]})
        .to_string()
        .into_bytes()
    }
}

fn span(span: &Ended) -> serde_json::Value {
    let attributes: Vec<_> = span
        .fields
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Text(text) => json!({ "stringValue": text }),
                // 64 bits are text in this form.
                Value::Number(n) => json!({ "intValue": n.to_string() }),
            };
            json!({ "key": attribute(name), "value": value })
        })
        .collect();
    let mut told = json!({
        "traceId": format!("{:032x}", span.me.trace),
        "spanId": format!("{:016x}", span.me.span),
        "name": span.name,
        "kind": kind(span.name),
        "startTimeUnixNano": span.begun.to_string(),
        "endTimeUnixNano": span.ended.to_string(),
        "attributes": attributes,
        // 0 leaves it to the reader, 2 is an error.
        "status": { "code": if span.failed { 2 } else { 0 } },
    });
    if span.above != 0 {
        told["parentSpanId"] = json!(format!("{:016x}", span.above));
    }
    told
}

/// Inside 1, server 2, client 3.
fn kind(name: &str) -> u8 {
    match name {
        "request" => 2,
        "apple" | "push" => 3,
        _ => 1,
    }
}

/// OpenTelemetry's names for what has one.
fn attribute(name: &str) -> String {
    match name {
        "method" => "http.request.method".to_owned(),
        "route" => "http.route".to_owned(),
        "status" => "http.response.status_code".to_owned(),
        "host" => "server.address".to_owned(),
        "id" => "mdmd.request_id".to_owned(),
        other => format!("mdmd.{other}"),
    }
}
