//! A client of the API that does not give up: what nobody answered is asked again, through whichever server, with the same
//! idempotency key. An answer that no client should see is written down.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::Value;

use crate::fleet::client::{Address, Connection};

/// How long a request is asked again: longer than all servers together need to be started.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests over one connection, before another one goes to the next server.
const STAYS: usize = 5;
/// Of so many requests that change something, the answer to one gets lost on its way.
const LOSES: u64 = 5;

/// What clients together have met.
#[derive(Default)]
pub(super) struct Tally {
    keys: AtomicU64,
    /// People who are at a wave.
    pub(super) at_work: AtomicUsize,
    /// Servers that were killed,
    pub(super) killed: AtomicUsize,
    /// and such while somebody was.
    pub(super) met: AtomicUsize,
    /// Requests without an answer.
    pub(super) unanswered: AtomicUsize,
    /// Answers that said "later" and when.
    pub(super) put_off: AtomicUsize,
    /// Requests that were done and whose answer was lost with their server.
    pub(super) lost_answers: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    pub(super) fn wrong(&self, what: String) {
        let mut all = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(what);
    }

    /// A server is about to be killed.
    pub(super) fn kills(&self) {
        self.killed.fetch_add(1, Ordering::Relaxed);
        if self.at_work.load(Ordering::Relaxed) > 0 {
            self.met.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn take_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Said {
    /// An answer.
    Answer(u16, Value),
    /// It was done, and nobody knows what was answered.
    Lost,
}

/// One client.
pub(super) struct Api<'a> {
    address: Address,
    token: String,
    tally: &'a Tally,
    line: Option<(Connection, usize)>,
}

impl<'a> Api<'a> {
    pub(super) const fn new(address: Address, token: String, tally: &'a Tally) -> Self {
        Self {
            address,
            token,
            tally,
            line: None,
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        match self.ask("GET", path, &Value::Null).await? {
            Said::Answer(200, value) => Ok(value),
            other => anyhow::bail!("GET {path} was answered {other:?}"),
        }
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Said> {
        self.ask("POST", path, body).await
    }

    /// One that must be done.
    pub(super) async fn done(&mut self, path: &str, body: &Value) -> anyhow::Result<Option<Value>> {
        match self.post(path, body).await? {
            Said::Answer(200, value) => Ok(Some(value)),
            Said::Lost => Ok(None),
            other @ Said::Answer(..) => anyhow::bail!("POST {path} was answered {other:?}"),
        }
    }

    async fn ask(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<Said> {
        let body = match method {
            "POST" => body.to_string(),
            _ => String::new(),
        };
        let (mut key, mut lose) = (String::new(), false);
        if method == "POST" {
            let number = self.tally.keys.fetch_add(1, Ordering::Relaxed);
            key = format!("Idempotency-Key: several-{number}\r\n");
            lose = number.is_multiple_of(LOSES);
        }
        // What was answered, and is taken for lost.
        let mut first: Option<String> = None;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n{key}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            ensure!(
                begun.elapsed() < PATIENCE,
                "{method} {path}: not answered, after {tries} tries"
            );
            if tries > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let opened = match self.line.take() {
                Some(line) => Ok(line),
                None => Connection::open(&self.address).await.map(|line| (line, 0)),
            };
            // Nobody was there: the balancer's business, not an answer.
            let Ok((mut line, used)) = opened else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            tries += 1;
            let exchange = line.exchange(request.as_bytes());
            let Ok(Ok((status, _))) = tokio::time::timeout(ANSWER, exchange).await else {
                self.tally.unanswered.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let later = line.retry_after().is_some();
            let text = String::from_utf8_lossy(line.content()).into_owned();
            if used < STAYS {
                self.line = Some((line, used + 1));
            }
            if let Some(before) = first.take_if(|before| status != 503 && *before != text) {
                self.tally.wrong(format!(
                    "{method} {path} was answered otherwise the second time: {status} {text}, not {before}"
                ));
            }
            match status {
                503 if later => {
                    self.tally.put_off.fetch_add(1, Ordering::Relaxed);
                }
                200..300 if lose => {
                    (first, lose) = (Some(text), false);
                    self.tally.unanswered.fetch_add(1, Ordering::Relaxed);
                    // Another server has to know of it.
                    self.line = None;
                }
                409 if tries > 1 && text.contains("its answer was lost") => {
                    self.tally.lost_answers.fetch_add(1, Ordering::Relaxed);
                    return Ok(Said::Lost);
                }
                500.. | 401 | 403 | 429 => {
                    self.tally
                        .wrong(format!("{method} {path} was answered {status}: {text}"));
                    return Ok(Said::Answer(status, Value::Null));
                }
                _ => {
                    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    return Ok(Said::Answer(status, value));
                }
            }
        }
    }
}
