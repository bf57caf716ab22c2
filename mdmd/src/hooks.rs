//! The way of webhooks to their receivers. Follows no redirection, and connects to no address that only this network can
//! reach, unless the configuration allows that (`walls`).

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use mdm_core::error::PortError;
use mdm_core::service::ports::HookCarrier;
use openssl::ssl::{SslConnector, SslMethod};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::config::Config;
use crate::walls::{self, Refused, Walls, host_and_port};

/// Longest time for a whole exchange; a message that is being sent is left alone for longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest time for a connection to one address.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read, so that its sender may finish; nobody looks at them.
const LARGEST: usize = 64 * 1024;

/// Carries messages, for every organisation of this process.
pub(crate) struct Carrier {
    tls: SslConnector,
    walls: Walls,
}

impl Carrier {
    /// Trusts `webhooks.ca` beside the system's authorities, and reaches `webhooks.allowed_networks` beside the internet.
    ///
    /// # Errors
    /// When the CA cannot be read.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let mut tls = SslConnector::builder(SslMethod::tls_client())?;
        let found = openssl_probe::probe();
        if let Some(file) = found.cert_file {
            tls.set_ca_file(file)?;
        }
        if let Some(file) = &config.webhooks.ca {
            let path = config.path(file);
            let name = || format!("webhooks.ca {}", path.display());
            let pem = std::fs::read(&path).with_context(name)?;
            let found = openssl::x509::X509::stack_from_pem(&pem).with_context(name)?;
            anyhow::ensure!(!found.is_empty(), "{}: holds no certificate", name());
            for certificate in found {
                tls.cert_store_mut().add_cert(certificate)?;
            }
        }
        Ok(Self {
            tls: tls.build(),
            walls: Walls::of_hooks(config),
        })
    }

    async fn exchange(
        &self,
        uri: Uri,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<u16, PortError> {
        let refused = |why: &str| PortError::Refused(why.to_owned());
        let host = host_of(&uri).ok_or_else(|| refused("the address has no host"))?;
        let secure = uri.scheme_str() == Some("https");
        let port = walls::port(&uri, if secure { 443 } else { 80 })
            .ok_or_else(|| refused("the address names a port that cannot be"))?;
        let stream = self.connect(&host, port, secure).await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri.path_and_query().map_or("/", |all| all.as_str()))
            .header(USER_AGENT, concat!("mdmd/", env!("CARGO_PKG_VERSION")));
        if let Ok(value) = HeaderValue::from_str(host_and_port(&uri)) {
            request = request.header(HOST, value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| refused("the address cannot stand in a request"))?;
        if !secure {
            return answered(TokioIo::new(stream), request).await;
        }
        let ssl = self
            .tls
            .configure()
            .and_then(|tls| tls.into_ssl(&host))
            .map_err(|_| refused("the host's name cannot be asked for by TLS"))?;
        let mut stream =
            SslStream::new(ssl, stream).map_err(|_| PortError::retry("TLS cannot begin"))?;
        Pin::new(&mut stream)
            .connect()
            .await
            .map_err(|_| PortError::retry("no TLS connection: is its certificate trusted here?"))?;
        answered(TokioIo::new(stream), request).await
    }

    /// Connects to the first address of a host that may be reached and answers.
    async fn connect(&self, host: &str, port: u16, secure: bool) -> Result<TcpStream, PortError> {
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::net::lookup_host((host, port))
                .await
                .map_err(|_| PortError::retry("its host's name leads to no address"))?
                .collect(),
        };
        self.walls.judge_all(&found, secure).map_err(refusal)?;
        for address in found {
            let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(address));
            if let Ok(Ok(stream)) = connecting.await {
                return Ok(stream);
            }
        }
        Err(PortError::retry("it does not accept a connection"))
    }
}

fn refusal(refused: Refused) -> PortError {
    PortError::Refused(refused.to_string())
}

/// Sends the request over a connection of its own and answers the status.
async fn answered<S>(stream: TokioIo<S>, request: Request<Full<Bytes>>) -> Result<u16, PortError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let broken = || PortError::retry("the connection broke before it answered");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .map_err(|_| broken())?;
    let driving = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|_| broken());
    let status = match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            // What it says is nobody's business; what is too long is left.
            let _ = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok(status)
        }
        Err(error) => Err(error),
    };
    driving.abort();
    status
}

/// The host of an address, as a name or as it is parsed.
fn host_of(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(host.to_owned())
}

#[async_trait]
impl HookCarrier for Carrier {
    fn may_be_sent(&self, url: &str) -> Result<(), String> {
        let uri: Uri = url
            .parse()
            .map_err(|_| "cannot be read as an address".to_owned())?;
        let host = host_of(&uri).ok_or_else(|| "must name a host".to_owned())?;
        let secure = uri.scheme_str() == Some("https");
        let judged = match host.parse::<IpAddr>() {
            Ok(address) => self.walls.judge(address, secure),
            // Where a name leads is known when it is sent there.
            Err(_) => self.walls.judge_name(secure),
        };
        judged.map_err(|refused| refused.to_string())
    }

    async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<u16, PortError> {
        let uri: Uri = url
            .parse()
            .map_err(|_| PortError::Refused("the address cannot be read".to_owned()))?;
        tokio::time::timeout(PATIENCE, self.exchange(uri, headers, body))
            .await
            .unwrap_or_else(|_| Err(PortError::retry("it does not answer in time")))
    }
}
