//! A client that may send anything: one request on a TLS connection of its own, with nothing checked. Who the server is does
//! not matter to it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;

/// A request as bytes.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "stories fill it in")]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// With its query.
    pub path: String,
    /// Beside `Host`, `Connection` and `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The length that its head tells, where that is another one than the body's.
    pub announced: Option<usize>,
    /// What it shows when it is asked for a certificate.
    pub certificate: Option<(X509, PKey<Private>)>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "stories read it")]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Request {
    /// Without headers and body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Self::default()
        }
    }

    /// With a bearer token.
    #[must_use]
    pub fn by(mut self, token: &str) -> Self {
        self.headers
            .push(("Authorization", format!("Bearer {token}")));
        self
    }

    /// With a body.
    #[must_use]
    pub fn with(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(self, address: SocketAddr) -> Reply {
        let sent = tokio::task::spawn_blocking(move || self.exchange(address));
        match sent.await {
            Ok(reply) => reply,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn exchange(&self, address: SocketAddr) -> Reply {
        let mut stream = self
            .connect(address)
            .unwrap_or_else(|error| panic!("{address}: {error:#}"));
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.method,
            self.path,
            self.announced.unwrap_or(self.body.len())
        );
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        // A server that refuses by the length alone may close before it has everything.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&self.body);
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let end = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer to {} bytes: {ended:?}", self.body.len()));
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        Reply {
            status: status.unwrap_or_else(|| panic!("no status: {head}")),
            head,
            body: answer[end + 4..].to_vec(),
        }
    }

    fn connect(&self, address: SocketAddr) -> anyhow::Result<openssl::ssl::SslStream<TcpStream>> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_verify(SslVerifyMode::NONE);
        if let Some((certificate, key)) = &self.certificate {
            builder.set_certificate(certificate)?;
            builder.set_private_key(key)?;
        }
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        builder
            .build()
            .connect("localhost", stream)
            .map_err(|error| anyhow::anyhow!("{error}"))
    }
}
