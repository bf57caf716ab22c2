//! The way of webhooks to their receivers. Follows no redirection, and connects to no address that only this network can
//! reach, unless the configuration allows that: whoever may name a receiver must not reach what stands behind our walls.
//! The address that was judged is the one that is connected to, whatever its name means a moment later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

use crate::config::{Config, Network};

/// Longest time for a whole exchange; a message that is being sent is left alone for longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest time for a connection to one address.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read, so that its sender may finish; nobody looks at them.
const LARGEST: usize = 64 * 1024;

const NOT_PUBLIC: &str =
    "its address is not a public one; `webhooks.allowed_networks` may allow it";
const HTTP: &str = "http is taken only for addresses in `webhooks.allowed_networks`";

/// Carries messages, for every organisation of this process.
pub(crate) struct Carrier {
    tls: SslConnector,
    allowed: Vec<Network>,
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
            for certificate in openssl::x509::X509::stack_from_pem(&pem).with_context(name)? {
                tls.cert_store_mut().add_cert(certificate)?;
            }
        }
        Ok(Self {
            tls: tls.build(),
            allowed: config.webhooks.allowed_networks.clone(),
        })
    }

    fn may_reach(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.is_allowed(address)
    }

    /// Whether an address may be connected to, with TLS or without.
    fn judge(&self, address: IpAddr, secure: bool) -> Result<(), &'static str> {
        if !self.may_reach(address) {
            return Err(NOT_PUBLIC);
        }
        if !secure && !self.is_allowed(address) {
            return Err(HTTP);
        }
        Ok(())
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        self.allowed
            .iter()
            .any(|n| n.contains(address.to_canonical()))
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
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = self.connect(&host, port, secure).await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri.path_and_query().map_or("/", |all| all.as_str()))
            .header(USER_AGENT, concat!("mdmd/", env!("CARGO_PKG_VERSION")));
        let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        if let Ok(value) = HeaderValue::from_str(authority) {
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
        // One address behind our walls is enough to distrust the name.
        let judged = found.iter().try_for_each(|a| self.judge(a.ip(), secure));
        if found.is_empty() {
            return Err(PortError::Refused(NOT_PUBLIC.to_owned()));
        }
        judged.map_err(|why| PortError::Refused(why.to_owned()))?;
        for address in found {
            let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(address));
            if let Ok(Ok(stream)) = connecting.await {
                return Ok(stream);
            }
        }
        Err(PortError::retry("it does not accept a connection"))
    }
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
        match host.parse::<IpAddr>() {
            Ok(address) => self.judge(address, secure).map_err(str::to_owned),
            // Where a name leads is known when it is sent there; without an allowed network http leads nowhere.
            Err(_) if !secure && self.allowed.is_empty() => Err(HTTP.to_owned()),
            Err(_) => Ok(()),
        }
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

/// Whether an address is one of the public internet.
///
/// <https://www.iana.org/assignments/iana-ipv4-special-registry>,
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        // Behind a carrier's translation.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let segments = v6.segments();
    // Only what is handed out for everybody; and of that not what leads to an IPv4 address, or documents things.
    let global = segments[0] & 0xe000 == 0x2000;
    let transition = segments[0] == 0x2002 || (segments[0] == 0x2001 && segments[1] == 0);
    let special = segments[0] == 0x2001 && (segments[1] == 0xdb8 || (segments[1] & 0xfff0) == 0x10);
    // The translation of a network with IPv6 alone: judged by the address within.
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [_, _, _, _, _, _, high, low] = segments;
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    global && !transition && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_behind_walls_are_not_public() {
        for (address, public) in [
            ("93.184.216.34", true),
            ("10.0.0.1", false),
            ("172.16.9.9", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("0.0.0.0", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:93.184.216.34", true),
            ("2002:a00:1::1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::5db8:d822", true),
            ("2001:db8::1", false),
            ("2606:2800:220:1::1", true),
            ("ff02::1", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(is_public(address.to_canonical()), public, "{address}");
        }
    }
}
