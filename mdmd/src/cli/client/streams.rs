//! What is longer than memory: files that go up, answers that are written as they come, and what has no end.

use std::error::Error;

use anyhow::{Context as _, anyhow};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper_util::rt::TokioIo;
use mdm_core::store::StoreError;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::UnixStream;
use tower::ServiceExt as _;

use super::exchange::{answered, collect, send, understood};
use super::reach::{Way, tls};
use super::{Client, announce};
use crate::cli::{Ended, Exit, Means as _};

impl Client {
    /// Says what is about to happen, then sends a file as it is, a piece at a time.
    pub(crate) async fn upload(
        &self,
        path: &str,
        file: &std::path::Path,
        consequence: &str,
    ) -> Result<Value, Ended> {
        let name = || file.display().to_string();
        let opened = tokio::fs::File::open(file).await;
        let opened = opened.with_context(name).means(Exit::BadInput)?;
        let about = opened.metadata().await.with_context(name)?;
        if !about.is_file() {
            return Err(anyhow!("{}: is no file", name())).means(Exit::BadInput);
        }
        let target = self.target(path)?;
        let sent = format!("{} bytes of {}; {consequence}", about.len(), name());
        announce(path, &sent);
        let request = Request::builder()
            .method("POST")
            .uri(&target)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, about.len());
        let request = self.way.addressed(request);
        let body = pieces(opened);
        let (status, answer) = match &self.way {
            // Only what looks is asked of a stopped data directory.
            Way::Stopped(_) => return Err(anyhow!("no server runs")).means(Exit::Precondition),
            Way::Socket(path) => {
                let request = request.body(body).means(Exit::BadInput)?;
                let stream = UnixStream::connect(path).await.means(Exit::Precondition)?;
                answered("POST", &target, send(stream, request).await)?
            }
            Way::Url { host, port, ca, .. } => {
                let request = request.body(body).means(Exit::BadInput)?;
                let stream = tls(host, *port, ca.as_deref()).await;
                let stream = stream.means(Exit::Precondition)?;
                answered("POST", &target, send(stream, request).await)?
            }
        };
        understood(status, &answer)
    }

    /// Asks, and writes the answer as it comes: it may be longer than memory.
    pub(crate) async fn download(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
        to: &mut (dyn std::io::Write + Send),
    ) -> Result<(), Ended> {
        self.pour(method, path, None, body, to).await
    }

    /// Reads what has no end for as long as it comes.
    pub(crate) async fn listen(
        &self,
        path: &str,
        header: Option<(&str, &str)>,
        to: &mut (dyn std::io::Write + Send),
    ) -> Result<(), Ended> {
        self.pour("GET", path, header, Vec::new(), to).await
    }

    async fn pour(
        &self,
        method: &str,
        path: &str,
        header: Option<(&str, &str)>,
        body: Vec<u8>,
        to: &mut (dyn std::io::Write + Send),
    ) -> Result<(), Ended> {
        let target = self.target(path)?;
        let mut request = Request::builder()
            .method(method)
            .uri(&target)
            .header(CONTENT_TYPE, "application/json");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = self.way.addressed(request);
        match &self.way {
            Way::Stopped(stopped) => {
                let request = request.body(Body::from(body)).means(Exit::BadInput)?;
                let answer = match stopped.routes.clone().oneshot(request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                };
                let status = answer.status().as_u16();
                write_to(status, answer.into_body(), to).await
            }
            Way::Socket(path) => {
                let request = request
                    .body(Full::<Bytes>::from(body))
                    .means(Exit::BadInput)?;
                let stream = UnixStream::connect(path).await.means(Exit::Precondition)?;
                send_to(stream, request, to).await
            }
            Way::Url { host, port, ca, .. } => {
                let request = request
                    .body(Full::<Bytes>::from(body))
                    .means(Exit::BadInput)?;
                let stream = tls(host, *port, ca.as_deref())
                    .await
                    .means(Exit::Precondition)?;
                send_to(stream, request, to).await
            }
        }
    }
}

/// A file as a body.
fn pieces(file: tokio::fs::File) -> Body {
    let read = futures_util::stream::unfold(file, |mut file| async move {
        let mut buffer = vec![0; 256 * 1024];
        match file.read(&mut buffer).await {
            Ok(0) => None,
            Ok(count) => {
                buffer.truncate(count);
                Some((Ok(Bytes::from(buffer)), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    Body::from_stream(read)
}

/// Sends, and writes what is answered as it comes.
async fn send_to<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    to: &mut (dyn std::io::Write + Send),
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let done = write_to(status, answer.into_body(), to).await;
    driver.abort();
    done
}

/// Writes a good answer as it comes; reads any other one for its sentence.
async fn write_to<B>(
    status: u16,
    mut body: B,
    to: &mut (dyn std::io::Write + Send),
) -> Result<(), Ended>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !(200..300).contains(&status) {
        return understood(status, &collect(body).await?).map(drop);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let error: Box<dyn Error + Send + Sync> = error.into();
            broken_off(&*error)
        })?;
        if let Ok(piece) = frame.into_data() {
            to.write_all(&piece)?;
        }
    }
    Ok(())
}

/// That an answer ended early. Of a row of a stopped data directory for which it did, whoever asked hears.
fn broken_off(error: &(dyn Error + Send + Sync + 'static)) -> anyhow::Error {
    let what = "the answer ended early: what came of it is not whole";
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(row) = error.downcast_ref::<StoreError>() {
            return anyhow::Error::new(row.clone()).context(what);
        }
        cause = error.source();
    }
    anyhow!(what)
}
