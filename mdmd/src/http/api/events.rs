//! The record as it grows, as a stream of events for programs (`text/event-stream`). Made from the rows themselves, whichever
//! process has written them; whoever comes back with the last id that it has seen misses nothing.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use mdm_core::audit::AuditEntry;
use mdm_core::audit_seal::LOOK_BACK;
use mdm_core::error::Error;
use mdm_core::ids::{AnyId, AuditId, IdSource};
use mdm_core::service::{Mdm, Org};
use mdm_core::store::with_the_rest;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::super::Health;
use super::super::error::{Refusal, event_stream};
use super::described::{Operation, Told};
use super::{About, refused};

/// Streams of one process at a time.
pub(super) const MOST: usize = 64;
/// How often the record is looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// After so long without an event a comment is sent, so that nobody in between takes the stream for dead.
const QUIET: Duration = Duration::from_secs(15);
/// A stream ends after so long, and its reader comes back: its token is looked at anew then.
const LIFE: Duration = Duration::from_mins(10);
/// Entries that are read at a time.
const PAGE: u32 = 200;

/// From where on.
#[derive(Deserialize, JsonSchema)]
pub(super) struct From {
    /// Behind this entry of the record; a `Last-Event-ID` goes before it. Left out: what comes from now on.
    after: Option<AnyId>,
    /// Only events whose name begins so, such as `move`.
    #[serde(default)]
    what: String,
}

/// Says in the document that events are answered.
pub(super) struct Events(Response);

impl Told for Events {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({ "type": "string" });
        let content = json!({ "text/event-stream": { "schema": schema } });
        let about = "The stream. Each event has the number of its entry of the record as `id`, the entry's name as `event`, and the entry as JSON in `data`.";
        let answer = json!({ "description": about, "content": content });
        operation.answers.insert("200".to_owned(), answer);
        let header = json!({
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description": "The `id` of the last event that was seen: the stream goes on behind it.",
            "schema": { "type": "string" },
        });
        operation.parameters.push(header);
    }
}

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        self.0
    }
}

pub(super) async fn follow(
    About { office, org, which }: About<From>,
    headers: HeaderMap,
) -> Result<Events, Refusal> {
    let place = Arc::clone(&office.streams).try_acquire_owned();
    let place = place.map_err(|_| refused(Error::Busy("too many streams are open")))?;
    let last = match headers.get("last-event-id") {
        None => None,
        Some(value) => {
            let read = value
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse().ok());
            let bad = || Error::bad_input("last-event-id", "must be the id of an event");
            Some(read.ok_or_else(|| refused(bad()))?)
        }
    };
    let now = IdSource::floor(office.mdm.now());
    let from = last
        .or(which.after.map(|after| after.0))
        .unwrap_or(now)
        .max(0);
    let reader = Reader {
        mdm: office.mdm.clone(),
        org,
        health: Arc::clone(&office.health),
        what: which.what,
        // What was drawn before the last one that was seen, and committed after it, is among what follows.
        after: match last {
            Some(last) => last.saturating_sub(IdSource::span(LOOK_BACK)).max(0),
            None => from,
        },
        newest: from,
        floor: last.map_or(from, |_| 0),
        last,
        sent: BTreeSet::new(),
        ready: VecDeque::new(),
        ends: tokio::time::Instant::now() + LIFE,
        quiet_since: tokio::time::Instant::now(),
        begun: false,
        _place: place,
    };
    let stream = stream::unfold(reader, |mut reader| async move {
        let piece = reader.next().await?;
        Some((Ok::<_, Infallible>(piece), reader))
    });
    Ok(Events(event_stream(Body::from_stream(stream))))
}

/// One stream: holds a page of entries and the ids of the last moments, however many there are in the record.
struct Reader {
    mdm: Mdm,
    org: Org,
    health: Arc<Health>,
    what: String,
    /// The next look begins behind this one.
    after: i64,
    /// The newest id that was met.
    newest: i64,
    /// Nothing before this is of interest.
    floor: i64,
    /// What the reader says it has seen.
    last: Option<i64>,
    /// What went out and may be met again by the next look.
    sent: BTreeSet<i64>,
    ready: VecDeque<Bytes>,
    ends: tokio::time::Instant,
    quiet_since: tokio::time::Instant,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// What goes out next; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            // Seen at once: the reader knows that it is connected, and when to come back.
            return Some(Bytes::from_static(b"retry: 2000\n\n"));
        }
        loop {
            if let Some(piece) = self.ready.pop_front() {
                self.quiet_since = tokio::time::Instant::now();
                return Some(piece);
            }
            let stopping = self.health.stopping.load(Ordering::Relaxed);
            if stopping || tokio::time::Instant::now() >= self.ends {
                return None;
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "a stream of events ends");
                return None;
            }
            if self.ready.is_empty() {
                if self.quiet_since.elapsed() >= QUIET {
                    self.quiet_since = tokio::time::Instant::now();
                    return Some(Bytes::from_static(b": still here\n\n"));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Reads one page.
    async fn look(&mut self) -> Result<(), Error> {
        // One that cannot be read ends nobody's stream for good; the checklist names it.
        let (page, _) = with_the_rest(self.org.record(AuditId(self.after), PAGE)).await;
        let page = page?;
        // After the page: of an organisation that was taken away nothing is told any more, though its rows are there yet.
        let whose = self.org.organisation().id;
        self.mdm.organisation_by_id(whose).await?;
        let full = page.len() >= PAGE as usize;
        for entry in &page {
            let id = entry.id.0;
            self.newest = self.newest.max(id);
            let new = id > self.floor && Some(id) != self.last && self.sent.insert(id);
            if new && entry.what.starts_with(&self.what) {
                self.ready.push_back(event(entry));
            }
        }
        self.after = match (full, page.last()) {
            (true, Some(last)) => last.id.0,
            // At its end: the next look goes back as far as an entry may be late.
            _ => (self.newest - IdSource::span(LOOK_BACK)).max(0),
        };
        let after = self.after;
        if !full {
            self.sent.retain(|id| *id > after);
        }
        Ok(())
    }
}

fn event(entry: &AuditEntry) -> Bytes {
    // JSON has no line ends of its own, and a name of ours neither.
    let data = serde_json::to_string(entry).unwrap_or_default();
    let name: String = entry.what.chars().filter(|c| !c.is_control()).collect();
    Bytes::from(format!("id: {}\nevent: {name}\ndata: {data}\n\n", entry.id))
}
