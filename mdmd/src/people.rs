//! The way to organisations' OpenID Connect providers: documents kept for a while, codes redeemed. Follows no redirection, speaks
//! only TLS, judges nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use abm_client::{
    HyperTransport, Method, Request, SecretBytes, SecretText, Transport, TransportError,
};
use async_trait::async_trait;
use mdm_core::clock::{Clock, Timestamp};
use mdm_core::error::PortError;
use mdm_core::secret::Secret;
use mdm_core::service::ports::{IdentityProvider, Redemption};

/// How long a document is kept.
const KEPT: Duration = Duration::from_mins(60);
/// A document that is asked for anew is not asked for again before.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const LARGEST: usize = 256 * 1024;
/// Documents that are kept at a time.
const MOST: usize = 1_000;

/// A document and when it was read.
type Kept = (Timestamp, Vec<u8>);

/// Providers, for every organisation of this process.
pub(crate) struct Providers {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    documents: Mutex<HashMap<String, Kept>>,
}

impl Providers {
    /// Trusts these certificates (PEM) beside the system's.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn new(
        trust: Option<&[u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, abm_client::Error> {
        let mut builder = HyperTransport::builder().timeout(PATIENCE);
        if let Some(pem) = trust {
            builder = builder.trust_pem(pem)?;
        }
        Ok(Self {
            transport: Arc::new(builder.build()?),
            clock,
            documents: Mutex::default(),
        })
    }

    fn kept(&self, url: &str, fresh: bool, now: Timestamp) -> Option<Vec<u8>> {
        let documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (read, document) = documents.get(url)?;
        let good_for = if fresh { AGAIN } else { KEPT };
        // One from the future is of a clock that was set back.
        let good = *read <= now && now.since(*read) < good_for;
        good.then(|| document.clone())
    }

    fn keep(&self, url: &str, document: &[u8], now: Timestamp) {
        let mut documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if documents.len() >= MOST {
            documents.clear();
        }
        documents.insert(url.to_owned(), (now, document.to_vec()));
    }

    async fn send(&self, request: Request) -> Result<Vec<u8>, PortError> {
        if !request.url.starts_with("https://") {
            return Err(PortError::Refused(
                "the provider's address is not https".to_owned(),
            ));
        }
        let answer = self
            .transport
            .send(request)
            .await
            .map_err(|error| match error {
                TransportError::TooLarge { .. } => {
                    PortError::Refused("the provider's answer is too large".to_owned())
                }
                other => PortError::retry(format!("the provider: {other}")),
            })?;
        match answer.status {
            200 => Ok(answer.body.expose().to_vec()),
            429 | 500..=599 => Err(PortError::retry(format!(
                "the provider answers {}",
                answer.status
            ))),
            status => Err(PortError::Refused(format!("the provider answers {status}"))),
        }
    }
}

#[async_trait]
impl IdentityProvider for Providers {
    async fn document(&self, url: &str, fresh: bool) -> Result<Vec<u8>, PortError> {
        let now = self.clock.now();
        if let Some(document) = self.kept(url, fresh, now) {
            return Ok(document);
        }
        let document = self
            .send(Request {
                method: Method::Get,
                url: url.to_owned(),
                headers: vec![("accept", "application/json".into())],
                body: None,
                answer_limit: LARGEST,
            })
            .await?;
        self.keep(url, &document, now);
        Ok(document)
    }

    async fn redeem(&self, redemption: &Redemption) -> Result<Secret, PortError> {
        let mut headers: Vec<(&'static str, SecretText)> = vec![
            ("accept", "application/json".into()),
            ("content-type", "application/x-www-form-urlencoded".into()),
        ];
        if let Some(authorization) = &redemption.authorization {
            let value = authorization.expose_text().unwrap_or_default();
            headers.push(("authorization", value.into()));
        }
        let answer = self
            .send(Request {
                method: Method::Post,
                url: redemption.url.clone(),
                headers,
                body: Some(SecretBytes::new(redemption.form.expose().to_vec())),
                answer_limit: LARGEST,
            })
            .await?;
        Ok(Secret::new(answer))
    }
}
