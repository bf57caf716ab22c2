//! A transport that answers from a list and remembers what it was asked. Opens no connection.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use abm_client::{Clock, Method, Request, Response, Transport, TransportError};
use async_trait::async_trait;

/// 2026-11-20T16:00:00Z.
pub const NOW: i64 = 1_795_190_400_000;

pub type Answer = Result<Response, TransportError>;

/// One request as it arrived.
#[derive(Clone)]
pub struct Seen {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a text body")
    }

    /// Method and path with query.
    pub fn line(&self) -> String {
        let path = self.url.splitn(4, '/').nth(3).unwrap_or_default();
        format!("{} /{path}", self.method.as_str())
    }
}

/// Answers in order; panics when asked more often than there are answers.
#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Script {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            seen: Arc::default(),
        }
    }

    pub fn push(&self, answer: Answer) {
        self.answers.lock().expect("no panic").push_back(answer);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request) -> Answer {
        let headers = request
            .headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.expose().to_owned()))
            .collect();
        self.seen.lock().expect("no panic").push(Seen {
            method: request.method,
            url: request.url,
            headers,
            body: request
                .body
                .map(|b| b.expose().to_vec())
                .unwrap_or_default(),
        });
        self.answers
            .lock()
            .expect("no panic")
            .pop_front()
            .expect("no further request was expected")
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub struct Hand(Arc<AtomicI64>);

impl Hand {
    pub fn at(ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(ms)))
    }

    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub fn ok(body: &str) -> Answer {
    Ok(Response::new(200, body))
}

pub fn status(status: u16, body: &str) -> Answer {
    Ok(Response::new(status, body))
}
