//! Wakes devices through Apple's push service: one HTTP/2 connection for each push certificate, many pushes side by side on
//! it, made on demand, closed when nobody has pushed for a while, made anew when it has ended. So many at most are open at once:
//! beyond, the one that was used longest ago is closed. Keeps no queue; a push that is lost only delays.
//!
//! <https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, Weak};
use std::time::Duration;

use a2::request::notification::{NotificationOptions, Priority, PushType};
use a2::request::payload::PayloadLike;
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mdm_core::clock::{Clock, Timestamp};
use mdm_core::enrollment::PushTarget;
use mdm_core::error::PortError;
use mdm_core::ids::OrganisationId;
use mdm_core::service::ports::{PushIdentity, PushOutcome, Pusher};
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_openssl::SslStream;
use tracing::Instrument as _;

use crate::config::Config;

/// A device that is off gets the newest push within this time.
const KEPT: Duration = Duration::from_secs(7 * 86_400);
const CONNECT: Duration = Duration::from_secs(15);
/// After a connection that was not taken in time nobody tries another for so long: whoever comes is answered at once.
const PAUSE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// Nobody may be asked more often than this after "too many requests", if the answer names no time.
const TOO_MANY: Duration = Duration::from_secs(60);

/// Nobody pushes for so long: the connection is closed.
const IDLE: Duration = Duration::from_mins(15);
/// Connections kept open at once, whatever the number of organisations.
const MOST_LINES: usize = 200;

type Sender = SendRequest<Full<Bytes>>;

/// The push service at one address.
pub(crate) struct PushService {
    host: String,
    port: u16,
    ca: Vec<X509>,
    clock: Arc<dyn Clock>,
    lines: Mutex<HashMap<OrganisationId, Arc<Line>>>,
    idle: Duration,
    most: usize,
    connect_within: Duration,
}

/// The connection of one organisation's certificate.
struct Line {
    certificate: [u8; 32],
    /// With its number: whoever saw one fail forgets that one, not the one that somebody else has made since.
    sender: Mutex<(u64, Option<Sender>)>,
    /// When a connection last was not taken in time. Whoever waited for it must not wait as long for another one: pushes
    /// would pile up, and take the room of everything else.
    failed: StdMutex<Option<(Instant, PortError)>>,
    /// When somebody last pushed over it; socket time.
    used: StdMutex<Instant>,
}

impl std::fmt::Debug for PushService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PushService({}:{})", self.host, self.port)
    }
}

/// Exactly `{"mdm": magic}`: devices ignore anything with more in it.
#[derive(Debug, Serialize)]
struct Wake<'a> {
    mdm: &'a str,
    #[serde(skip)]
    token: &'a str,
    #[serde(skip)]
    options: NotificationOptions<'a>,
}

impl PayloadLike for Wake<'_> {
    fn get_device_token(&self) -> &str {
        self.token
    }
    fn get_options(&self) -> &NotificationOptions<'_> {
        &self.options
    }
}

/// The body of a refusal. The reason is read as text: an unknown one is still worth knowing.
#[derive(Debug, Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    reason: String,
    /// Milliseconds since 1970, with 410 only.
    timestamp: Option<i64>,
}

impl PushService {
    /// A service as configured; connects when the first push is sent.
    ///
    /// # Errors
    /// When the configured CA cannot be read.
    pub(crate) fn new(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let ca = match &config.push.ca {
            None => Vec::new(),
            Some(file) => read_ca(&config.path(file))?,
        };
        Ok(Self {
            host: config.push.host.clone(),
            port: config.push.port,
            ca,
            clock,
            lines: Mutex::new(HashMap::new()),
            idle: IDLE,
            most: MOST_LINES,
            connect_within: CONNECT,
        })
    }

    async fn line(&self, identity: &PushIdentity) -> Arc<Line> {
        let certificate = sha256(&identity.certificate.0);
        let mut lines = self.lines.lock().await;
        match lines.get(&identity.organisation) {
            Some(line) if line.certificate == certificate => {
                line.touch();
                Arc::clone(line)
            }
            // A renewed certificate needs a new connection; pushes under way finish on the old one.
            _ => {
                lines.retain(|_, line| line.idle_for() < self.idle);
                while lines.len() >= self.most {
                    let oldest = lines.iter().max_by_key(|(_, line)| line.idle_for());
                    let Some(oldest) = oldest.map(|(id, _)| *id) else {
                        break;
                    };
                    lines.remove(&oldest);
                }
                let line = Arc::new(Line {
                    certificate,
                    sender: Mutex::new((0, None)),
                    failed: StdMutex::new(None),
                    used: StdMutex::new(Instant::now()),
                });
                lines.insert(identity.organisation, Arc::clone(&line));
                line
            }
        }
    }

    /// The open connection, or a new one; whoever comes while it is being made waits for it.
    async fn sender(
        &self,
        line: &Arc<Line>,
        identity: &PushIdentity,
    ) -> Result<(u64, Sender), PortError> {
        let mut kept = line.sender.lock().await;
        if let Some(sender) = kept.1.as_ref().filter(|s| !s.is_closed()) {
            return Ok((kept.0, sender.clone()));
        }
        // Also whoever has waited here for one that could not be made.
        if let Some(error) = line.failed_lately() {
            return Err(error);
        }
        let made = timeout(self.connect_within, self.connect(identity)).await;
        let Ok(made) = made else {
            let late = PortError::retry("the push service did not take the connection in time");
            line.note_failed(&late);
            return Err(late);
        };
        let sender = made?;
        *kept = (kept.0 + 1, Some(sender.clone()));
        tokio::spawn(close_when_idle(Arc::downgrade(line), kept.0, self.idle));
        Ok((kept.0, sender))
    }

    async fn connect(&self, identity: &PushIdentity) -> Result<Sender, PortError> {
        let ssl = self.handshake(identity).map_err(|error| {
            PortError::NeedsPerson(format!(
                "the push certificate cannot be used ({error:#}); import it again"
            ))
        })?;
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| PortError::retry(format!("push service: {error}")))?;
        // Without it small frames wait for acknowledgements; a failure costs only that.
        let _ = stream.set_nodelay(true);
        let mut stream =
            SslStream::new(ssl, stream).map_err(|_| PortError::retry("push service: TLS"))?;
        Pin::new(&mut stream)
            .connect()
            .await
            .map_err(|error| PortError::retry(format!("push service: {error}")))?;
        if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
            return Err(PortError::retry("push service: does not speak HTTP/2"));
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            // Until Apple has said how many streams it takes, one: what is refused meanwhile would be lost.
            .initial_max_send_streams(1)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| PortError::retry(format!("push service: {error}")))?;
        // Ends by itself when the last sender is dropped or the other side closes.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the push service ended");
            }
        });
        Ok(sender)
    }

    fn handshake(&self, identity: &PushIdentity) -> anyhow::Result<openssl::ssl::Ssl> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        if self.ca.is_empty() {
            // A vendored OpenSSL does not know where the system keeps its CAs.
            let found = openssl_probe::probe();
            builder.load_verify_locations(
                found.cert_file.as_deref(),
                found.cert_dir.first().map(std::path::PathBuf::as_path),
            )?;
        } else {
            // Instead of the system's, not beside them.
            builder.set_cert_store(openssl::x509::store::X509StoreBuilder::new()?.build());
            for ca in &self.ca {
                builder.cert_store_mut().add_cert(ca.clone())?;
            }
        }
        builder.set_alpn_protos(b"\x02h2")?;
        let certificate = X509::from_der(&identity.certificate.0).context("certificate")?;
        builder.set_certificate(&certificate)?;
        let key = PKey::private_key_from_pkcs8(identity.key.expose()).context("private key")?;
        builder.set_private_key(&key)?;
        builder
            .check_private_key()
            .context("key of another certificate")?;
        Ok(builder.build().configure()?.into_ssl(&self.host)?)
    }

    fn request(&self, to: &PushTarget) -> Result<Request<Full<Bytes>>, PortError> {
        let expires = (self.clock.now() + KEPT).as_secs();
        let wake = Wake {
            mdm: &to.magic,
            token: &to.token,
            options: NotificationOptions {
                apns_push_type: Some(PushType::Mdm),
                apns_expiration: u64::try_from(expires).ok(),
                apns_priority: Some(Priority::High),
                apns_topic: Some(&to.topic),
                ..NotificationOptions::default()
            },
        };
        let unusable =
            || PortError::Refused("the push target cannot be written as a request".to_owned());
        let body = wake.to_json_string().map_err(|_| unusable())?;
        let options = wake.get_options();
        let mut request = Request::post(format!(
            "https://{}:{}/3/device/{}",
            self.host,
            self.port,
            wake.get_device_token()
        ))
        .header("content-type", "application/json");
        if let Some(kind) = &options.apns_push_type {
            request = request.header("apns-push-type", kind.to_string());
        }
        if let Some(priority) = &options.apns_priority {
            request = request.header("apns-priority", priority.to_string());
        }
        if let Some(topic) = options.apns_topic {
            request = request.header("apns-topic", topic);
        }
        if let Some(expiration) = options.apns_expiration {
            request = request.header("apns-expiration", expiration);
        }
        request.body(Full::from(body)).map_err(|_| unusable())
    }

    async fn forget(&self, line: &Line, number: u64) {
        let mut kept = line.sender.lock().await;
        if kept.0 == number {
            kept.1 = None;
        }
    }
}

#[async_trait]
impl Pusher for PushService {
    async fn push(
        &self,
        identity: &PushIdentity,
        to: &PushTarget,
    ) -> Result<PushOutcome, PortError> {
        let span = tracing::debug_span!("push", outcome = tracing::field::Empty);
        let done = self.push_once(identity, to).instrument(span.clone()).await;
        let outcome = match &done {
            Ok(PushOutcome::Delivered) => "delivered",
            Ok(PushOutcome::BadToken { .. }) => "bad_token",
            Ok(PushOutcome::Gone { .. }) => "gone",
            Ok(_) => "refused",
            Err(_) => "failed",
        };
        span.record("outcome", outcome);
        crate::metrics::pushed(outcome);
        done
    }
}

impl PushService {
    async fn push_once(
        &self,
        identity: &PushIdentity,
        to: &PushTarget,
    ) -> Result<PushOutcome, PortError> {
        let line = self.line(identity).await;
        let mut tries = 0;
        loop {
            let (number, mut sender) = self.sender(&line, identity).await?;
            let request = self.request(to)?;
            let sent = timeout(ANSWER, async {
                sender.ready().await?;
                let response = sender.send_request(request).await?;
                let (head, body) = response.into_parts();
                // The reason is short; an answer that is not has none that we could read.
                let body = Limited::new(body, 16 * 1024).collect().await;
                let body = body.map(|b| b.to_bytes()).unwrap_or_default();
                Ok::<_, hyper::Error>(Response::from_parts(head, body))
            })
            .await;
            match sent {
                Ok(Ok(response)) => {
                    if response.status().as_u16() == 400
                        && reason(&response).reason == "IdleTimeout"
                    {
                        self.forget(&line, number).await;
                    }
                    return outcome(&response);
                }
                // The connection ended meanwhile. A push may be sent twice without harm, so the new one gets it.
                Ok(Err(_)) if tries < 2 => {
                    tries += 1;
                    self.forget(&line, number).await;
                }
                Ok(Err(error)) => return Err(PortError::retry(format!("push service: {error}"))),
                Err(_) => {
                    self.forget(&line, number).await;
                    return Err(PortError::retry("the push service did not answer in time"));
                }
            }
        }
    }
}

impl Line {
    fn note_failed(&self, error: &PortError) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed = Some((Instant::now(), error.clone()));
    }

    fn failed_lately(&self) -> Option<PortError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE);
        lately.map(|(_, error)| error.clone())
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn idle_for(&self) -> Duration {
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}

/// Drops the connection of this number once nobody has pushed over it for so long; it ends when its last push has its answer.
async fn close_when_idle(line: Weak<Line>, number: u64, idle: Duration) {
    let mut left = idle;
    loop {
        tokio::time::sleep(left).await;
        // Nobody keeps the line any more: its connection went with it.
        let Some(line) = line.upgrade() else { return };
        let mut kept = line.sender.lock().await;
        if kept.0 != number || kept.1.is_none() {
            return;
        }
        let rested = line.idle_for();
        if rested >= idle {
            kept.1 = None;
            tracing::debug!("the connection to the push service was idle and is closed");
            return;
        }
        left = idle - rested;
    }
}

fn reason(response: &Response<Bytes>) -> Refusal {
    serde_json::from_slice(response.body()).unwrap_or_default()
}

/// What the answer means for this device and this certificate.
///
/// <https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns>
fn outcome(response: &Response<Bytes>) -> Result<PushOutcome, PortError> {
    let status = response.status().as_u16();
    let refusal = reason(response);
    let reason = if refusal.reason.is_empty() {
        format!("status {status}")
    } else {
        refusal.reason
    };
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    match (status, reason.as_str()) {
        (200, _) => Ok(PushOutcome::Delivered),
        (400, "BadDeviceToken" | "DeviceTokenNotForTopic") => Ok(PushOutcome::BadToken { reason }),
        (400, "IdleTimeout") => Err(PortError::retry(
            "the push service closed an idle connection",
        )),
        (410, _) => Ok(PushOutcome::Gone {
            since: refusal.timestamp.map(Timestamp::from_millis),
        }),
        (403, _) => Ok(PushOutcome::CertificateRefused { reason }),
        (429, _) => Err(PortError::Retry {
            what: format!("push service: {reason}"),
            after: Some(after.unwrap_or(TOO_MANY)),
        }),
        (500.., _) => Err(PortError::Retry {
            what: format!("push service: {reason}"),
            after,
        }),
        _ => Ok(PushOutcome::Refused { reason }),
    }
}

fn read_ca(path: &Path) -> anyhow::Result<Vec<X509>> {
    let name = || format!("push.ca {}", path.display());
    let pem = std::fs::read(path).with_context(name)?;
    let found = X509::stack_from_pem(&pem).with_context(name)?;
    anyhow::ensure!(!found.is_empty(), "{}: holds no certificate", name());
    Ok(found)
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
