//! Reports in their formats, sent piece by piece as they are read: memory does not grow with the fleet.

use async_trait::async_trait;
use axum::BoxError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    X_CONTENT_TYPE_OPTIONS,
};
use mdm_core::audit_seal::Checkpoint;
use mdm_core::error::Error;
use mdm_core::evidence::pack::{PackAsk, PackSink, Redact};
use mdm_core::evidence::{ReportAsk, ReportHead, ReportRow, ReportSink};
use mdm_core::ids::{AnyId, Serial, WaveId};
use mdm_core::service::Org;
use mdm_core::store::{StoreError, UnreadableRow, with_the_rest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::super::error::Refusal;
use super::asked::{Path, Query};
use super::described::{Operation, Sent, Told};
use super::{About, refused};
use crate::reports::{Format, SERVER, Writer, html};

/// Pieces that wait for a slow reader.
const WAITING: usize = 2;
/// After so many days without a word a device is silent.
const DAYS: u32 = 7;
/// A deadline that is so many days away is near.
const NEAR: u32 = 3;
/// A report over more days than that asks for nothing.
const MOST_DAYS: u32 = 3_660;

/// How a report is wanted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Wanted {
    #[serde(default)]
    format: Format,
    /// Of a CSV: this small table, and not the long one.
    table: Option<String>,
    /// Of one wave only.
    wave: Option<WaveId>,
    /// Silent for so many days; or, of those at risk, so many days until the deadline.
    days: Option<u32>,
}

/// A report on its way, in the form that was asked for.
pub(super) struct Report(Response);

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Told for Report {
    fn describe(operation: &mut Operation<'_>) {
        let text = json!({ "schema": { "type": "string" } });
        let content = json!({
            "application/json": { "schema": { "type": "object" } },
            "text/csv": text, "text/html": text, "text/plain": text,
        });
        let about = "The report, in the `format` that was asked for.";
        let answer = json!({ "description": about, "content": content });
        operation.answers.insert("200".to_owned(), answer);
    }
}

/// A pack on its way.
pub(super) struct Pack(Response);

impl IntoResponse for Pack {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Told for Pack {
    fn describe(operation: &mut Operation<'_>) {
        let answer =
            json!({ "description": "The archive.", "content": { "application/x-tar": {} } });
        operation.answers.insert("200".to_owned(), answer);
    }
}

type Reported = Result<Report, Refusal>;

pub(super) async fn what_if(
    about: About,
    Path(AnyId(id)): Path<AnyId>,
    Query(wanted): Query<Wanted>,
) -> Reported {
    send(about.org, ReportAsk::WhatIf(WaveId(id)), wanted).await
}

pub(super) async fn wave(
    about: About,
    Path(AnyId(id)): Path<AnyId>,
    Query(wanted): Query<Wanted>,
) -> Reported {
    send(about.org, ReportAsk::Wave(WaveId(id)), wanted).await
}

pub(super) async fn device(
    about: About,
    Path(serial): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Reported {
    let serial = Serial::parse(&serial).map_err(refused)?;
    send(about.org, ReportAsk::Device(serial), wanted).await
}

pub(super) async fn exceptions(about: About, Query(wanted): Query<Wanted>) -> Reported {
    let wave = wanted.wave;
    send(about.org, ReportAsk::Exceptions(wave), wanted).await
}

pub(super) async fn holds(about: About, Query(wanted): Query<Wanted>) -> Reported {
    let wave = wanted.wave;
    send(about.org, ReportAsk::Holds(wave), wanted).await
}

pub(super) async fn requests(about: About, Query(wanted): Query<Wanted>) -> Reported {
    let wave = wanted.wave;
    send(about.org, ReportAsk::Requests(wave), wanted).await
}

pub(super) async fn clean_up(about: About, Query(wanted): Query<Wanted>) -> Reported {
    let wave = wanted.wave;
    send(about.org, ReportAsk::CleanUp(wave), wanted).await
}

pub(super) async fn at_risk(about: About, Query(wanted): Query<Wanted>) -> Reported {
    let days = wanted.days.unwrap_or(NEAR);
    if days > MOST_DAYS {
        let problem = format!("must be at most {MOST_DAYS}");
        return Err(refused(Error::bad_input("days", problem)));
    }
    let wave = wanted.wave;
    send(about.org, ReportAsk::AtRisk { wave, days }, wanted).await
}

pub(super) async fn unheard(about: About, Query(wanted): Query<Wanted>) -> Reported {
    let days = wanted.days.unwrap_or(DAYS);
    if days > MOST_DAYS {
        let problem = format!("must be at most {MOST_DAYS}");
        return Err(refused(Error::bad_input("days", problem)));
    }
    send(about.org, ReportAsk::Unheard { days }, wanted).await
}

/// What goes through the channel: a piece, or why there is no more.
type Piece = Result<Bytes, Error>;

/// Writes a report into a channel.
struct Pieces {
    writer: Writer,
    /// The seal of the record up to which everything was sealed before the report was made.
    sealed: Option<Checkpoint>,
    /// Rows that cannot be read and are left out.
    unreadable: Vec<UnreadableRow>,
    to: mpsc::Sender<Piece>,
}

impl Pieces {
    async fn put(&self, text: String) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let gone = |_| Error::Precondition("the reader has gone away".to_owned());
        self.to.send(Ok(Bytes::from(text))).await.map_err(gone)
    }
}

/// A checkpoint as people note it.
fn sealed_as(sealed: &Checkpoint) -> String {
    format!("seal {} of {}, {}", sealed.seal, sealed.at, sealed.hash)
}

#[async_trait]
impl ReportSink for Pieces {
    async fn head(&mut self, mut head: ReportHead) -> Result<(), Error> {
        if let Some(sealed) = self.sealed.take() {
            head.facts.push(("record", json!(sealed_as(&sealed))));
        }
        if !self.unreadable.is_empty() {
            let rows: Vec<String> = self.unreadable.iter().map(ToString::to_string).collect();
            let fact = ("rows that cannot be read", json!(rows.join(", ")));
            head.facts.push(fact);
        }
        let Some(text) = self.writer.head(&head) else {
            let names: Vec<&str> = head.tables.iter().map(|t| t.name).collect();
            let problem = format!("must be one of: {}", names.join(", "));
            return Err(Error::bad_input("table", problem));
        };
        self.put(text).await
    }

    async fn rows(&mut self, rows: Vec<ReportRow>) -> Result<(), Error> {
        let text = self.writer.rows(&rows);
        self.put(text).await
    }
}

async fn send(org: Org, ask: ReportAsk, wanted: Wanted) -> Reported {
    let (to, from) = mpsc::channel::<Piece>(WAITING);
    let format = wanted.format;
    let name = ask.kind().as_str();
    tokio::spawn(async move {
        let writer = Writer::new(format, wanted.table);
        let mut pieces = Pieces {
            writer,
            sealed: None,
            unreadable: Vec::new(),
            to,
        };
        let done = async {
            pieces.sealed = org.leaves(None).await?;
            let known = org.unreadable().await?;
            pieces.unreadable.clone_from(&known);
            let (made, left_out) = with_the_rest(org.report_to(&ask, &mut pieces)).await;
            made?;
            if let Some(row) = left_out.into_iter().find(|row| !known.contains(row)) {
                // The head has not named it. Broken off, it is taken for whole by nobody; the next one names it.
                return Err(Error::from(StoreError::Corrupt {
                    table: row.table,
                    column: row.column,
                    key: format!("{}/{}", row.organisation, row.id),
                }));
            }
            let end = pieces.writer.end();
            pieces.put(end).await
        };
        let done = done.await;
        if let Err(error) = done {
            // Nobody may be there any more to be told.
            let _ = pieces.to.send(Err(error)).await;
        }
    });
    let mut answer = streamed(from).await?;
    let headers = answer.headers_mut();
    let plain = hyper::header::HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, plain(format.content_type()));
    match format {
        Format::Html => {
            headers.insert(CONTENT_SECURITY_POLICY, plain(html::POLICY));
        }
        Format::Csv => {
            let file = format!("attachment; filename=\"{name}.{}\"", format.ending());
            if let Ok(file) = file.parse() {
                headers.insert(CONTENT_DISPOSITION, file);
            }
        }
        Format::Json | Format::Text => {}
    }
    Ok(Report(answer))
}

/// An answer of these pieces. What is wrong before the first one is an answer of its own.
async fn streamed(mut from: mpsc::Receiver<Piece>) -> Result<Response, Refusal> {
    // What is wrong with the question is known before the first piece.
    let first = match from.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(refused(error)),
        None => Bytes::new(),
    };
    let rest = stream::unfold(from, |mut from| async move {
        let piece = from.recv().await?;
        let piece = piece.map_err(|error| -> BoxError {
            tracing::warn!(%error, "a report broke off");
            match error {
                // Whoever asks in this very process may ask again: the row is known now. Over a connection nothing of it is told.
                Error::Store(row @ StoreError::Corrupt { .. }) => row.into(),
                _ => "the report could not be read to its end".into(),
            }
        });
        Some((piece, from))
    });
    let first = stream::once(async move { Ok::<Bytes, BoxError>(first) });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    let plain = hyper::header::HeaderValue::from_static;
    headers.insert(X_CONTENT_TYPE_OPTIONS, plain("nosniff"));
    headers.insert(CACHE_CONTROL, plain("no-store"));
    Ok(answer)
}

/// What stands in a pack as pseudonyms.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Packing {
    #[serde(default)]
    redact: std::collections::BTreeSet<Redact>,
}

/// Hands a pack on, piece by piece.
struct Bare(mpsc::Sender<Piece>);

#[async_trait]
impl PackSink for Bare {
    async fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        let gone = |_| Error::Precondition("the reader has gone away".to_owned());
        self.0.send(Ok(Bytes::from(bytes))).await.map_err(gone)
    }
}

pub(super) async fn evidence(
    About { org, .. }: About,
    Path(AnyId(id)): Path<AnyId>,
    Sent(sent): Sent<Packing>,
) -> Result<Pack, Refusal> {
    let ask = PackAsk {
        wave: WaveId(id),
        redact: sent.redact,
        server: SERVER.to_owned(),
        formats: vec![
            ("html", || Box::new(Writer::new(Format::Html, None))),
            ("csv", || Box::new(Writer::new(Format::Csv, None))),
        ],
    };
    let (to, from) = mpsc::channel::<Piece>(WAITING);
    tokio::spawn(async move {
        let mut sink = Bare(to.clone());
        if let Err(error) = org.evidence_to(&ask, &mut sink).await {
            let _ = to.send(Err(error)).await;
        }
    });
    let mut answer = streamed(from).await?;
    let headers = answer.headers_mut();
    let plain = hyper::header::HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, plain("application/x-tar"));
    headers.insert(
        CONTENT_DISPOSITION,
        plain("attachment; filename=\"evidence.tar\""),
    );
    Ok(Pack(answer))
}
