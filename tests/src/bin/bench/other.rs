//! Another server that speaks the protocol, at one URL, and how commands are queued there: the identifiers in the path,
//! the command as the body.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use tests::fleet::client::Address;
use tests::fleet::devices::Device;

/// An address with its path and, if there was one, `user:key`.
pub(crate) struct Place {
    pub(crate) address: Address,
    pub(crate) path: String,
    user: Option<String>,
}

impl Place {
    /// Reads `http[s]://[user:key@]host:port/path`.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").context("a URL begins with http://")?;
        ensure!(matches!(scheme, "http" | "https"), "{scheme} is not spoken");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority),
        };
        let (host, port) = host.rsplit_once(':').context("a URL with a port")?;
        Ok(Self {
            address: Address {
                host: host.to_owned(),
                port: port.parse().context("a port")?,
                tls: scheme == "https",
            },
            path: format!("/{path}"),
            user,
        })
    }

    /// Queues one command for all devices in one request; says how long that took.
    pub(crate) async fn enqueue(&self, devices: &[Device], uuid: &str) -> anyhow::Result<Duration> {
        let ids: Vec<&str> = devices.iter().map(|d| d.udid.as_str()).collect();
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict><key>Command</key><dict>\
             <key>RequestType</key><string>DeviceInformation</string><key>Queries</key><array>\
             <string>SerialNumber</string></array></dict><key>CommandUUID</key><string>{uuid}</string></dict></plist>"
        );
        let user = self.user.as_deref().unwrap_or_default();
        let request = format!(
            "PUT {}/{}?nopush=1 HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            ids.join(","),
            self.address.host,
            STANDARD.encode(user),
            body.len()
        );
        let begun = Instant::now();
        let mut line = TcpStream::connect((self.address.host.as_str(), self.address.port)).await?;
        line.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        line.read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        ensure!(text.starts_with("HTTP/1.1 200"), "not queued: {text}");
        Ok(begun.elapsed())
    }
}
