//! The transport over hyper and OpenSSL. Follows no redirects, repeats nothing, keeps no cookies, and speaks plain
//! HTTP with this very machine only.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslMethod, SslVersion};
use openssl::x509::X509;

use crate::error::{Endpoint, Error, Service};
use crate::secret::{SecretBytes, SecretText};
use crate::transport::{Method, Request, Response, Transport, TransportError};

const BUILD: Endpoint = Endpoint::read(Service::Local, "HTTP transport");

/// A certificate chain with its key, for mutual TLS: the push certificate in [lock removal](crate::lock_removal).
#[derive(Clone)]
pub struct ClientIdentity {
    chain: Vec<X509>,
    key: PKey<Private>,
}

impl ClientIdentity {
    /// Reads a certificate (first) with its chain and the private key, all PEM. `passphrase` opens an encrypted key.
    ///
    /// # Errors
    /// [`Unreadable`](crate::ErrorKind::Unreadable) when one of them cannot be read or they do not belong together.
    pub fn from_pem(
        certificates: &[u8],
        key: &[u8],
        passphrase: Option<&SecretText>,
    ) -> Result<Self, Error> {
        let bad = |what, why: &str| Error::unreadable(BUILD, what, why);
        let chain = X509::stack_from_pem(certificates)
            .map_err(|_| bad("client certificate", "no PEM certificate"))?;
        let leaf = chain
            .first()
            .ok_or_else(|| bad("client certificate", "the file holds none"))?;
        // An empty passphrase rather than none: OpenSSL would otherwise ask on the terminal.
        let word = passphrase.map_or("", SecretText::expose);
        let key = PKey::private_key_from_pem_passphrase(key, word.as_bytes())
            .map_err(|_| bad("private key", "no PEM key, or another passphrase"))?;
        let public = leaf
            .public_key()
            .map_err(|_| bad("client certificate", "its public key cannot be read"))?;
        if !public.public_eq(&key) {
            return Err(bad(
                "client certificate",
                "the key belongs to another certificate",
            ));
        }
        Ok(Self { chain, key })
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(redacted)")
    }
}

/// Settings of a [`HyperTransport`].
#[derive(Debug, Clone)]
pub struct HyperTransportBuilder {
    extra_authorities: Vec<X509>,
    system_authorities: bool,
    identity: Option<ClientIdentity>,
    connect_timeout: Duration,
    timeout: Duration,
}

impl HyperTransportBuilder {
    /// Trusts these certificates too (PEM, one or more), beside those of the system.
    ///
    /// # Errors
    /// [`Unreadable`](crate::ErrorKind::Unreadable) when there is no certificate in it.
    pub fn trust_pem(mut self, pem: &[u8]) -> Result<Self, Error> {
        let found = X509::stack_from_pem(pem)
            .ok()
            .filter(|found| !found.is_empty())
            .ok_or_else(|| Error::unreadable(BUILD, "CA certificate", "no PEM certificate"))?;
        self.extra_authorities.extend(found);
        Ok(self)
    }

    /// Trusts only what [`trust_pem`](Self::trust_pem) named, and no authority of the system.
    #[must_use]
    pub fn without_system_authorities(mut self) -> Self {
        self.system_authorities = false;
        self
    }

    /// Shows this certificate to servers that ask for one.
    #[must_use]
    pub fn identity(mut self, identity: ClientIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Longest time for connecting (default 10 s).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Longest time from connecting to the end of the answer (default 60 s).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Builds the transport.
    ///
    /// # Errors
    /// [`Unreadable`](crate::ErrorKind::Unreadable) when OpenSSL refuses the certificates or the key.
    pub fn build(self) -> Result<HyperTransport, Error> {
        let ssl = self
            .connector()
            .map_err(|e| Error::unreadable(BUILD, "TLS configuration", e.to_string()))?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(self.connect_timeout));
        let https = HttpsConnector::with_connector(http, ssl)
            .map_err(|e| Error::unreadable(BUILD, "TLS configuration", e.to_string()))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            // Shorter than any server keeps a connection: fewer requests whose outcome nobody knows.
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(2)
            .retry_canceled_requests(false)
            .build(https);
        Ok(HyperTransport {
            client,
            timeout: self.timeout,
        })
    }

    fn connector(&self) -> Result<openssl::ssl::SslConnectorBuilder, openssl::error::ErrorStack> {
        let mut ssl = if self.system_authorities {
            SslConnector::builder(SslMethod::tls_client())?
        } else {
            let mut ssl = SslConnector::builder(SslMethod::tls_client())?;
            ssl.set_cert_store(openssl::x509::store::X509StoreBuilder::new()?.build());
            ssl
        };
        ssl.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        if self.system_authorities {
            // An OpenSSL that was built with the program does not know where this system keeps its authorities.
            let found = openssl_probe::probe();
            if let Some(file) = found.cert_file.as_deref().filter(|f| f.is_file()) {
                ssl.set_ca_file(file)?;
            } else if let Some(dir) = found.cert_dir.first().map(|dir| -> &Path { dir }) {
                ssl.load_verify_locations(None, Some(dir))?;
            }
        }
        for authority in &self.extra_authorities {
            ssl.cert_store_mut().add_cert(authority.clone())?;
        }
        if let Some(identity) = &self.identity {
            let mut chain = identity.chain.iter();
            if let Some(leaf) = chain.next() {
                ssl.set_certificate(leaf)?;
            }
            for issuer in chain {
                ssl.add_extra_chain_cert(issuer.clone())?;
            }
            ssl.set_private_key(&identity.key)?;
        }
        ssl.set_alpn_protos(b"\x02h2\x08http/1.1")?;
        Ok(ssl)
    }
}

/// Sends requests with hyper over OpenSSL; cheap to clone, clones share their connections.
#[derive(Clone)]
pub struct HyperTransport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl HyperTransport {
    /// A builder with the system's authorities and no client certificate.
    #[must_use]
    pub fn builder() -> HyperTransportBuilder {
        HyperTransportBuilder {
            extra_authorities: Vec::new(),
            system_authorities: true,
            identity: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for HyperTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperTransport")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for HyperTransport {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let limit = request.answer_limit;
        let request = convert(request)?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    TransportError::NotSent(cause(&error))
                } else {
                    TransportError::Interrupted(cause(&error))
                }
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    TransportError::TooLarge { limit }
                } else {
                    TransportError::Interrupted(cause(error.as_ref()))
                }
            })?;
            let headers = head
                .headers
                .iter()
                .filter_map(|(name, value)| {
                    Some((name.as_str().to_owned(), value.to_str().ok()?.into()))
                })
                .collect();
            Ok(Response {
                status: head.status.as_u16(),
                headers,
                body: SecretBytes::new(body.to_bytes()),
            })
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(TransportError::Interrupted(format!(
                    "no answer in {:?}",
                    self.timeout
                )))
            })
    }
}

fn convert(request: Request) -> Result<hyper::Request<Full<Bytes>>, TransportError> {
    let uri: hyper::Uri = request
        .url
        .parse()
        .map_err(|_| TransportError::NotSent("the address is not usable".into()))?;
    let host = uri.host().unwrap_or_default();
    let loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if uri.scheme_str() != Some("https") && !loopback {
        return Err(TransportError::NotSent(
            "credentials go over https only".into(),
        ));
    }
    let method = match request.method {
        Method::Get => hyper::Method::GET,
        Method::Post => hyper::Method::POST,
        Method::Put => hyper::Method::PUT,
        Method::Patch => hyper::Method::PATCH,
        Method::Delete => hyper::Method::DELETE,
    };
    let mut builder = hyper::Request::builder().method(method).uri(uri);
    for (name, value) in &request.headers {
        let mut value = hyper::header::HeaderValue::from_str(value.expose()).map_err(|_| {
            TransportError::NotSent(format!(
                "header {name} holds characters that cannot be sent"
            ))
        })?;
        value.set_sensitive(true);
        builder = builder.header(*name, value);
    }
    let body = request.body.map_or_else(Bytes::new, Bytes::from_owner);
    builder
        .body(Full::new(body))
        .map_err(|_| TransportError::NotSent("the request cannot be built".into()))
}

/// The innermost reason; hyper's and OpenSSL's own texts hold nothing of the request.
fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let inner = error.to_string();
        if !inner.is_empty() && !text.contains(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        next = error.source();
    }
    crate::answer::shown(&text)
}
