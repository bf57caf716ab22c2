//! A transport that tells of each request what a trace may know: method, host and status, never a path or a header; and reads Apple's
//! clock in passing.

use abm_client::{Request, Response, Transport, TransportError};
use async_trait::async_trait;
use mdm_core::clock::{Clock as _, SystemClock};
use tracing::Instrument as _;

use super::beside;

/// Makes a span of each request.
pub(super) struct Traced<T> {
    pub(super) inner: T,
    /// Whether the request carries the `traceparent` of its span.
    pub(super) give_on: bool,
}

#[async_trait]
impl<T: Transport> Transport for Traced<T> {
    async fn send(&self, mut request: Request) -> Result<Response, TransportError> {
        let span = tracing::debug_span!(
            "apple",
            method = request.method.as_str(),
            host = host(&request.url),
            status = tracing::field::Empty,
            outcome = tracing::field::Empty,
        );
        if self.give_on
            && let Some(parent) = crate::telemetry::header(&span)
        {
            request.headers.push(("traceparent", parent.into()));
        }
        // Not the time of a simulated world: Apple's certificates and signatures are judged by that of machines.
        let asked = SystemClock.now();
        let answer = self.inner.send(request).instrument(span.clone()).await;
        if let Some(date) = answer.as_ref().ok().and_then(|a| a.header("date")) {
            beside::note(date, asked, SystemClock.now());
        }
        match &answer {
            Ok(answer) => span.record("status", answer.status),
            Err(TransportError::NotSent(_)) => span.record("outcome", "not sent"),
            Err(_) => span.record("outcome", "no answer"),
        };
        answer
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Mutex;

    use abm_client::Method;

    /// Keeps the `traceparent` of what it was asked.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Option<String>>>);

    #[async_trait]
    impl Transport for &Kept {
        async fn send(&self, request: Request) -> Result<Response, TransportError> {
            let mut headers = request.headers.iter();
            let parent = headers.find(|(name, _)| *name == "traceparent");
            let parent = parent.map(|(_, value)| value.expose().to_owned());
            self.0.lock().unwrap().push(parent);
            Ok(Response::new(204, ""))
        }
    }

    #[test]
    fn a_request_carries_its_trace_on_where_that_is_wanted_and_not_otherwise() {
        let kept = Kept::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let (subscriber, mut ended) = crate::telemetry::traces_alone();
        let mut trace = String::new();
        let ask = |give_on| {
            let request = Request {
                method: Method::Get,
                url: "https://h.example/v1/x".to_owned(),
                headers: Vec::new(),
                body: None,
                answer_limit: 1,
            };
            let traced = Traced {
                inner: &kept,
                give_on,
            };
            runtime.block_on(traced.send(request)).unwrap();
        };
        ask(true);
        tracing::subscriber::with_default(subscriber, || {
            let above = tracing::info_span!("job");
            trace = crate::telemetry::header(&above).unwrap()[3..35].to_owned();
            above.in_scope(|| {
                ask(true);
                ask(false);
            });
        });
        let kept = kept.0.into_inner().unwrap();
        assert_eq!((&kept[0], &kept[2]), (&None, &None));
        assert_eq!(kept[1].as_ref().unwrap()[3..35], trace);
        assert_eq!(ended(), 3);
    }

    #[test]
    fn the_host_is_all_that_is_told_of_an_address() {
        assert_eq!(
            host("https://h.example:1/v1/orgDevices/SERIAL?x=y"),
            "h.example:1"
        );
        assert_eq!(host("https://h.example?serial=S"), "h.example");
    }
}
