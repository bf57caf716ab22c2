//! The end of a body that nobody has read. An answer that goes out while its request is still coming in ends the stream
//! under the sender, and some clients then show an error in place of the answer. What is small is read to its end first, and
//! thrown away; what is large, or does not come, is not waited for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// So many bytes are read in vain.
const MOST: u64 = 256 * 1024;
/// So long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lets the request be answered, and reads what is left of its body.
pub(super) async fn rest(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let left: Left = Arc::default();
    let keep = Arc::clone(&left);
    let request = request.map(|inner| {
        Body::new(Lent {
            inner: Some(inner),
            left: keep,
        })
    });
    let response = next.run(request).await;
    let unread = left.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(body) = unread {
        // A sender who takes longer hears what everybody heard before.
        let _ = tokio::time::timeout(PATIENCE, swallow(body)).await;
    }
    response
}

async fn swallow(mut body: Body) {
    let mut read = 0;
    // Not begun where its announced length says that it would not be finished.
    while read + body.size_hint().lower() <= MOST {
        let Some(Ok(frame)) = body.frame().await else {
            return;
        };
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

/// What a handler left of a body.
type Left = Arc<Mutex<Option<Body>>>;

/// A body that comes back when whoever had it lets go of it.
struct Lent {
    inner: Option<Body>,
    left: Left,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            // Nothing more comes of it.
            self.inner = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = SizeHint::with_exact(0);
        self.inner.as_ref().map_or(none, HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take()
            && !inner.is_end_stream()
        {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use futures_util::stream;
    use tower::ServiceExt as _;

    use super::*;

    /// How many bytes of a body of `pieces` kilobytes were taken from the sender.
    async fn taken(path: &str, pieces: usize) -> usize {
        let router = Router::new()
            .route("/unread", post(async || "answered"))
            .route("/read", post(async |body: Bytes| body.len().to_string()))
            .layer(from_fn(rest));
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let body = stream::iter((0..pieces).map(move |_| {
            count.fetch_add(1024, Ordering::SeqCst);
            Ok::<_, Infallible>(vec![b'x'; 1024])
        }));
        let request = Request::post(path).body(Body::from_stream(body)).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), hyper::StatusCode::OK);
        sent.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn what_is_small_is_read_to_its_end_and_what_is_large_is_not() {
        assert_eq!(taken("/unread", 100).await, 100 * 1024);
        assert_eq!(taken("/read", 100).await, 100 * 1024);
        assert_eq!(taken("/unread", 0).await, 0);
        let large = taken("/unread", 10_000).await;
        assert!(large <= MOST as usize + 2 * 1024, "{large}");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_keeps_nobody_waiting() {
        let router = Router::new()
            .route("/unread", post(async || "answered"))
            .layer(from_fn(rest));
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let request = Request::post("/unread").body(never).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), hyper::StatusCode::OK);
    }
}
