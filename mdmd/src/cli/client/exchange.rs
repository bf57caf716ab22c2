//! One question over a connection, and what an answer means.

use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cli::{Ended, Exit, Means as _};
use crate::http::api::UNREADABLE;

const LARGEST: usize = 64 * 1024 * 1024;

/// A server that goes away after it was asked may have done it: whoever asked must look before asking again.
pub(super) fn answered<T>(
    method: &str,
    target: &str,
    result: Result<T, Ended>,
) -> Result<T, Ended> {
    result.map_err(|ended| match method {
        "GET" => ended,
        _ => Ended {
            why: ended.why.context(format!(
                "{method} {target}: the server went away before it answered; the outcome is unknown, look before it is asked again"
            )),
            ..ended
        },
    })
}

/// What the server said, or why not.
pub(super) fn understood(status: u16, answer: &[u8]) -> Result<Value, Ended> {
    let value: Value = serde_json::from_slice(answer).unwrap_or(Value::Null);
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let mut sentence = value["detail"].as_str().map_or_else(
        || format!("the server answered with status {status}"),
        str::to_owned,
    );
    if status == 413 {
        sentence.push_str(": name fewer devices at once, or divide the file");
    }
    let exit = match status {
        400 | 413 | 422 => Exit::BadInput,
        401 | 403 | 404 | 409 | 412 | 503 => Exit::Precondition,
        _ => Exit::Failure,
    };
    Err(Ended {
        exit,
        why: anyhow!(sentence),
        again: value["retry_after"].as_u64().map(Duration::from_secs),
        not_found: status == 404,
    })
}

/// Says what a list lacks, beside the list.
pub(super) fn tell_left_out(headers: &HeaderMap) {
    let rows = headers.get(UNREADABLE).and_then(|rows| rows.to_str().ok());
    if let Some(rows) = rows {
        eprintln!("mdmd: rows of the database that cannot be read are left out: {rows}");
    }
}

pub(super) async fn send<S, B>(stream: S, request: Request<B>) -> Result<(u16, Bytes), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    tell_left_out(answer.headers());
    let body = collect(answer.into_body()).await?;
    driver.abort();
    Ok((status, body))
}

pub(super) async fn collect<B>(body: B) -> Result<Bytes, Ended>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Limited::new(body, LARGEST)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|_| anyhow!("the answer ended early or is too large"))
        .means(Exit::Failure)
}
