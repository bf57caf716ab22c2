//! The connection to the throw-away server. A body is sent when the server asks for it (`Expect: 100-continue`): one that it
//! refuses by its size alone would otherwise break the connection under the writer, and its answer would be lost.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// An answer as it came over the wire.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

/// One connection that is kept as long as the server keeps it.
pub(super) struct Connection {
    address: SocketAddr,
    open: Option<SendRequest<Awaited>>,
}

/// A body that waits until it is asked for.
struct Awaited {
    asked: Option<oneshot::Receiver<()>>,
    bytes: Bytes,
}

impl Body for Awaited {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(asked) = &mut self.asked {
            // Asked, or nobody is left who could ask: either way there is no reason to wait.
            std::task::ready!(Pin::new(asked).poll(cx)).ok();
            self.asked = None;
        }
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

impl Connection {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            open: None,
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn send(&mut self, request: Request<Bytes>) -> anyhow::Result<Answered> {
        let (ask, asked) = oneshot::channel();
        let mut request = request.map(|bytes| Awaited {
            asked: (!bytes.is_empty()).then_some(asked),
            bytes,
        });
        if !request.body().is_end_stream() {
            request
                .headers_mut()
                .insert(EXPECT, HeaderValue::from_static("100-continue"));
            let ask = Mutex::new(Some(ask));
            hyper::ext::on_informational(&mut request, move |_| {
                if let Some(ask) = ask.lock().ok().and_then(|mut ask| ask.take()) {
                    // Whoever waited for it may have got an answer already.
                    let _ = ask.send(());
                }
            });
        }
        let mut sender = match self.open.take() {
            Some(mut kept) => match kept.ready().await {
                Ok(()) => kept,
                Err(_) => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let answer = match sender.try_send_request(request).await {
            Ok(answer) => answer,
            // A kept connection may end at any moment. What was never sent may be sent again.
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => {
                    sender = self.connect().await?;
                    sender.send_request(unsent).await?
                }
                None => return Err(failed.into_error().into()),
            },
        };
        let status = answer.status().as_u16();
        let content_type = answer
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = answer.into_body().collect().await?.to_bytes();
        self.open = Some(sender);
        Ok(Answered {
            status,
            content_type,
            body,
        })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Awaited>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
