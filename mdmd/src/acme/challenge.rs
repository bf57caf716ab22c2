//! What an authority looks for at `/.well-known/acme-challenge/` (RFC 8555 8.3): the row that all processes share holds it,
//! so that any of them answers for the one that ordered. However often it is asked, the store is read once a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use mdm_core::server_certificate::INSTALLATION;
use mdm_core::store::Store;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::NAME;
use super::client::is_token;
use crate::http::error;

/// Between two reads of the store.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The answers, as they were read last.
pub(crate) struct Answers {
    store: Arc<dyn Store>,
    read: Mutex<Option<(Instant, BTreeMap<String, String>)>>,
}

impl Answers {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store,
            read: Mutex::default(),
        })
    }

    /// The answer for a token. Whoever asks for one that was not there at the last look waits for the next one, together
    /// with all others that came before it: what is committed before the authority is told is always found.
    async fn find(&self, token: &str) -> Option<String> {
        let came = Instant::now();
        let mut read = self.read.lock().await;
        if let Some((at, answers)) = &*read {
            if let Some(answer) = answers.get(token) {
                return Some(answer.clone());
            }
            if *at >= came {
                return None;
            }
            tokio::time::sleep_until(*at + READ_EVERY).await;
        }
        let at = Instant::now();
        let row = self.store.server_certificate(INSTALLATION, NAME).await;
        let answers = match row {
            Ok(row) => row.map(|row| row.challenges).unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "the proofs for the certificate authority cannot be read");
                BTreeMap::new()
            }
        };
        let found = answers.get(token).cloned();
        *read = Some((at, answers));
        found
    }
}

/// The routes of the duty `challenge`.
pub(crate) fn routes(answers: Arc<Answers>) -> Router {
    Router::new()
        .route("/.well-known/acme-challenge/{token}", get(answer))
        .with_state(answers)
}

async fn answer(State(answers): State<Arc<Answers>>, Path(token): Path<String>) -> Response {
    if !is_token(&token) {
        return error::nothing_here(error::Door::CheckIn);
    }
    match answers.find(&token).await {
        // Bytes: RFC 8555 8.3 asks for application/octet-stream.
        Some(found) => found.into_bytes().into_response(),
        None => error::nothing_here(error::Door::CheckIn),
    }
}
