//! The way to another installation, to which devices have moved. Speaks only TLS, follows no redirection.

use std::time::Duration;

use abm_client::{HyperTransport, Method, Request, SecretBytes, SecretText, Transport as _};
use async_trait::async_trait;
use mdm_core::error::PortError;
use mdm_core::service::ports::{HandOver, HandOverTo};

/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer.
const LARGEST: usize = 1024 * 1024;

/// Other installations, for every organisation of this process.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "nothing to hold")]
pub struct Elsewhere;

#[async_trait]
impl HandOver for Elsewhere {
    async fn post(&self, to: &HandOverTo, path: &str, body: Vec<u8>) -> Result<Vec<u8>, PortError> {
        let unable = |error: abm_client::Error| PortError::Refused(error.to_string());
        let mut builder = HyperTransport::builder().timeout(PATIENCE);
        if let Some(pem) = &to.ca {
            builder = builder.trust_pem(pem.as_bytes()).map_err(unable)?;
        }
        let transport = builder.build().map_err(unable)?;
        let token = to.token.expose_text().unwrap_or_default();
        let headers: Vec<(&'static str, SecretText)> = vec![
            ("accept", "application/json".into()),
            ("content-type", "application/json".into()),
            (
                "authorization",
                format!("Bearer {}", token.trim()).as_str().into(),
            ),
        ];
        let answer = transport
            .send(Request {
                method: Method::Post,
                url: format!("{}{path}", to.url),
                headers,
                body: Some(SecretBytes::from(body)),
                answer_limit: LARGEST,
            })
            .await
            .map_err(|error| PortError::retry(format!("the other installation: {error}")))?;
        match answer.status {
            200 => Ok(answer.body.expose().to_vec()),
            // Too many jobs wait there, or another bundle was faster: the next try is for another job.
            409 | 429 | 500..=599 => Err(PortError::retry(format!(
                "the other installation answers {}",
                answer.status
            ))),
            status => Err(PortError::Refused(format!(
                "the other installation answers {status}"
            ))),
        }
    }
}
