//! How a request gets to Apple and the answer back: one small trait. Knows nothing of tokens or retries.

use std::fmt;

use async_trait::async_trait;

use crate::secret::{SecretBytes, SecretText};

#[cfg(feature = "hyper-transport")]
mod hyper;

#[cfg(feature = "hyper-transport")]
pub use self::hyper::{ClientIdentity, HyperTransport, HyperTransportBuilder};

/// Sends one request and returns its answer, whatever its status.
///
/// An implementation does not follow redirects, does not repeat a request that may have arrived, and keeps to
/// [`Request::answer_limit`].
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends `request`.
    ///
    /// # Errors
    /// [`TransportError::NotSent`] only when the server certainly has not seen the request.
    async fn send(&self, request: Request) -> Result<Response, TransportError>;
}

/// The methods that Apple's services use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Read.
    Get,
    /// Create, or read with a body.
    Post,
    /// Replace.
    Put,
    /// Change.
    Patch,
    /// Remove; may carry a body.
    Delete,
}

impl Method {
    /// The method as written in a request line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request. `Debug` shows neither header values, nor the query, nor the body.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole address, with its query.
    pub url: String,
    /// Header fields; names are lower case.
    pub headers: Vec<(&'static str, SecretText)>,
    /// The body, if there is one. `DELETE` may have one too; `Content-Length` must then be sent.
    pub body: Option<SecretBytes>,
    /// Most bytes of the answer's body that will be read.
    pub answer_limit: usize,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.url.split(['?', '#']).next().unwrap_or_default();
        let names: Vec<_> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &bare)
            .field("headers", &names)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// An answer. `Debug` shows neither header values nor the body.
#[derive(Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header fields in the order received; names are lower case, values that are no text are left out.
    pub headers: Vec<(String, SecretText)>,
    /// The whole body.
    pub body: SecretBytes,
}

impl Response {
    /// An answer without headers, for transports of one's own and for tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: SecretBytes::new(body),
        }
    }

    /// The same answer with one more header; `name` in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.expose())
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &names)
            .field("body", &self.body)
            .finish()
    }
}

/// Why there is no answer. The text tells what failed; it holds no header, no query and no body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportError {
    /// The server has certainly not seen the request (no connection, TLS refused, unusable address).
    NotSent(String),
    /// The request may have arrived; whether it took effect is unknown.
    Interrupted(String),
    /// The answer is longer than [`Request::answer_limit`]; the request has arrived.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(f, "not sent: {why}"),
            Self::Interrupted(why) => write!(f, "interrupted: {why}"),
            Self::TooLarge { limit } => write!(f, "the answer has more than {limit} bytes"),
        }
    }
}

impl std::error::Error for TransportError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_credentials() {
        let request = Request {
            method: Method::Get,
            url: "https://example.com/x?serial=HIDDEN".into(),
            headers: vec![("authorization", "Bearer HIDDEN".into())],
            body: Some(SecretBytes::new(b"HIDDEN".to_vec())),
            answer_limit: 1,
        };
        let response =
            Response::new(200, b"HIDDEN".to_vec()).with_header("X-ADM-Auth-Session", "HIDDEN");
        let text = format!("{request:?} {response:?}");
        assert!(!text.contains("HIDDEN"), "{text}");
        assert_eq!(response.header("x-adm-auth-session"), Some("HIDDEN"));
    }
}
