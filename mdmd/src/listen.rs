//! The accept loops: TCP with TLS, TCP behind a listed proxy, and the local socket. One slow client stalls nobody, every
//! wait has an end, and stopping finishes what was accepted. Knows no route and judges no certificate.

mod clients;
mod proxied;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use self::clients::Clients;
use crate::config::{Config, Duty, Limits, ListenerConfig, Network};
use crate::tls::{Certificates, LiveTls, PortTls, duty_of};

/// What is known of a connection, once for all its requests.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What it may ask for.
    pub(crate) duty: Duty,
    /// The other end; `None` on the local socket.
    pub(crate) address: Option<IpAddr>,
    /// The client that a listed proxy passes on, as it said by the PROXY protocol.
    pub(crate) client: Option<IpAddr>,
    /// DER of the client certificate that it showed. Shown is not proved: the chain is checked per request.
    pub(crate) certificate: Option<Arc<[u8]>>,
}

/// The routes of each duty.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) device: Router,
    pub(crate) enrol: Router,
    pub(crate) admin: Router,
    pub(crate) plain: Router,
    pub(crate) challenge: Router,
    pub(crate) local: Router,
}

impl Doors {
    fn of(&self, duty: Duty) -> &Router {
        match duty {
            Duty::Device => &self.device,
            Duty::Enrol => &self.enrol,
            Duty::Admin => &self.admin,
            Duty::Plain => &self.plain,
            Duty::Challenge => &self.challenge,
        }
    }
}

/// What all accept loops share.
#[derive(Clone)]
pub(crate) struct House {
    doors: Doors,
    limits: Arc<Limits>,
    reload_seconds: u64,
    trusted: Arc<[Network]>,
    /// Cancelled when nothing new is to be accepted.
    stop: CancellationToken,
    /// Cancelled when what was accepted has had its time.
    abort: CancellationToken,
    /// Every loop and every connection.
    tasks: TaskTracker,
    /// The certificates of all ports.
    certificates: Certificates,
}

/// How one port talks.
struct Wrapping {
    /// TLS, where the server name decides the duty.
    tls: Option<Arc<LiveTls>>,
    /// The duty where there is no TLS: `plain`, for listed proxies only, or `challenge`.
    bare: Duty,
    /// Listed proxies say first whose connection it is.
    proxy_protocol: bool,
}

/// Ports that are bound and whose certificates are read; nothing is accepted yet.
pub(crate) struct Bound(Vec<Port>);

struct Port {
    listener: TcpListener,
    address: SocketAddr,
    wrapping: Wrapping,
    duties: Vec<Duty>,
}

impl Bound {
    /// Which duty is where; port 0 has become the one that the operating system chose.
    pub(crate) fn addresses(&self) -> Vec<(Duty, SocketAddr)> {
        self.0
            .iter()
            .flat_map(|port| port.duties.iter().map(|duty| (*duty, port.address)))
            .collect()
    }
}

/// Binds every configured port.
pub(crate) async fn bind(config: &Config) -> anyhow::Result<Bound> {
    let mut groups: Vec<Vec<&ListenerConfig>> = Vec::new();
    for listener in &config.listeners {
        // Port 0 is a port of its own each time: the operating system chooses.
        let shared = groups
            .iter_mut()
            .find(|g| g[0].address == listener.address && listener.address.port() != 0);
        match shared {
            Some(group) => group.push(listener),
            None => groups.push(vec![listener]),
        }
    }
    let shared = Arc::new(config.clone());
    let mut ports = Vec::new();
    for group in groups {
        let tls = if group[0].duty.has_tls() {
            let listeners = group.iter().map(|l| (*l).clone()).collect();
            Some(Arc::new(LiveTls::load(&shared, listeners)?))
        } else {
            None
        };
        let wrapping = Wrapping {
            tls,
            bare: group[0].duty,
            proxy_protocol: group[0].proxy_protocol,
        };
        let wanted = group[0].address;
        let listener = TcpListener::bind(wanted)
            .await
            .with_context(|| format!("listener {wanted}"))?;
        ports.push(Port {
            address: listener.local_addr()?,
            listener,
            wrapping,
            duties: group.iter().map(|l| l.duty).collect(),
        });
    }
    Ok(Bound(ports))
}

impl House {
    /// Routes and limits, nothing open yet.
    pub(crate) fn new(config: &Config, doors: Doors, certificates: Certificates) -> Self {
        Self {
            doors,
            limits: Arc::new(config.limits.clone()),
            reload_seconds: config.tls.reload_seconds,
            trusted: config.proxy.trusted.clone().into(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            certificates,
        }
    }

    async fn follow_certificates(self, every: Duration) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(every) => self.certificates.look(),
            }
        }
    }

    /// Accepts on every bound port and on the local socket; answers which duty is where.
    pub(crate) fn accept_all(
        &self,
        bound: Bound,
        socket: &Path,
    ) -> anyhow::Result<Vec<(Duty, SocketAddr)>> {
        let addresses = bound.addresses();
        self.open_local(socket)?;
        for port in bound.0 {
            for duty in &port.duties {
                tracing::info!(address = %port.address, duty = duty.as_str(), "listening");
            }
            if let Some(tls) = &port.wrapping.tls {
                self.certificates.add(Arc::clone(tls));
            }
            let (house, wrapping) = (self.clone(), Arc::new(port.wrapping));
            self.tasks
                .spawn(async move { house.accept_tcp(port.listener, wrapping).await });
        }
        let every = Duration::from_secs(self.reload_seconds);
        self.tasks.spawn(self.clone().follow_certificates(every));
        Ok(addresses)
    }

    /// Stops accepting, finishes what was accepted within its time, then ends the rest.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        let limit = Duration::from_secs(self.limits.shutdown_seconds);
        if timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!("some requests were not finished in time");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }

    /// Opens the local socket, readable by its owner only: whoever can open it is an administrator.
    fn open_local(&self, path: &Path) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => anyhow::bail!(
                "local socket {}: another mdmd serves this data directory",
                path.display()
            ),
            // Left over from a process that was killed.
            Err(_) => match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("local socket {}", path.display()));
                }
                _ => {}
            },
        }
        let listener =
            UnixListener::bind(path).with_context(|| format!("local socket {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let house = self.clone();
        let path = path.to_owned();
        self.tasks.spawn(async move {
            house.accept_local(listener).await;
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        });
        Ok(())
    }

    async fn accept_tcp(self, listener: TcpListener, wrapping: Arc<Wrapping>) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let clients = Arc::new(Clients::new(self.limits.client_connections, &self.trusted));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = async {
                    // The semaphore is never closed.
                    let place = Arc::clone(&places).acquire_owned().await.ok();
                    (place, listener.accept().await)
                } => accepted,
            };
            let (place, (stream, address)) = match accepted {
                (place, Ok(accepted)) => (place, accepted),
                (_, Err(error)) => {
                    // Out of file descriptors, or the client was gone already: never a reason to stop.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(own) = clients.admit(address.ip()) else {
                tracing::debug!(address = %address.ip(), "a client has all the connections that it may have");
                continue;
            };
            let house = self.clone();
            let wrapping = Arc::clone(&wrapping);
            self.tasks.spawn(async move {
                let abort = house.abort.clone();
                tokio::select! {
                    () = abort.cancelled() => {}
                    () = house.connection(stream, address, &wrapping) => {}
                }
                drop((place, own));
            });
        }
    }

    async fn connection(&self, mut stream: TcpStream, from: SocketAddr, wrapping: &Wrapping) {
        // Without it small answers wait for acknowledgements; a failure costs only that.
        let _ = stream.set_nodelay(true);
        let by_proxy =
            wrapping.proxy_protocol || (wrapping.tls.is_none() && wrapping.bare == Duty::Plain);
        if by_proxy && !self.trusted.iter().any(|n| n.contains(from.ip())) {
            tracing::warn!(address = %from.ip(), "refused: no listed proxy");
            return;
        }
        let mut client = None;
        if wrapping.proxy_protocol {
            let limit = Duration::from_secs(self.limits.handshake_seconds);
            client = match timeout(limit, proxied::client(&mut stream)).await {
                Ok(Ok(found)) => found.map(|a| a.ip()),
                Ok(Err(error)) => {
                    tracing::warn!(address = %from.ip(), %error, "refused");
                    return;
                }
                Err(_) => {
                    tracing::debug!(address = %from.ip(), "the PROXY header did not arrive in time");
                    return;
                }
            };
        }
        let Some(tls) = &wrapping.tls else {
            let connection = Connection {
                duty: wrapping.bare,
                address: Some(from.ip()),
                client,
                certificate: None,
            };
            let routes = self.doors.of(wrapping.bare).clone();
            self.serve(stream, connection, routes, None).await;
            return;
        };
        let Some(stream) = self.shake_hands(stream, from, &tls.current()).await else {
            return;
        };
        let Some(duty) = duty_of(stream.ssl()) else {
            tracing::error!("a handshake ended without a duty");
            return;
        };
        let certificate = (duty == Duty::Device)
            .then(|| stream.ssl().peer_certificate())
            .flatten()
            .and_then(|c| c.to_der().ok())
            .map(Arc::from);
        let connection = Connection {
            duty,
            address: Some(from.ip()),
            client,
            certificate,
        };
        let http2 = stream.ssl().selected_alpn_protocol() == Some(b"h2");
        let routes = self.doors.of(duty).clone();
        self.serve(stream, connection, routes, Some(http2)).await;
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        tls: &PortTls,
    ) -> Option<SslStream<TcpStream>> {
        let mut stream = match tls
            .handshake()
            .and_then(|ssl| Ok(SslStream::new(ssl, stream)?))
        {
            Ok(stream) => stream,
            Err(error) => {
                tracing::error!(%error, "TLS cannot be set up");
                return None;
            }
        };
        let limit = Duration::from_secs(self.limits.handshake_seconds);
        tokio::select! {
            () = self.stop.cancelled() => None,
            done = timeout(limit, Pin::new(&mut stream).accept()) => match done {
                Ok(Ok(())) => Some(stream),
                Ok(Err(error)) => {
                    tracing::debug!(address = %address.ip(), %error, "handshake failed");
                    None
                }
                Err(_) => {
                    tracing::debug!(address = %address.ip(), "handshake timed out");
                    None
                }
            }
        }
    }

    async fn accept_local(self, listener: UnixListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let house = self.clone();
                    self.tasks.spawn(async move {
                        let connection = Connection {
                            duty: Duty::Admin,
                            address: None,
                            client: None,
                            certificate: None,
                        };
                        let routes = house.doors.local.clone();
                        let abort = house.abort.clone();
                        tokio::select! {
                            () = abort.cancelled() => {}
                            () = house.serve(stream, connection, routes, Some(false)) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a local connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Serves one connection to its end: closed by the other side, idle for too long, or told to stop.
    async fn serve<S>(&self, stream: S, connection: Connection, routes: Router, http2: Option<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Arc::new(connection);
        let work = Arc::new(Work::default());
        let service = {
            let (connection, work) = (Arc::clone(&connection), Arc::clone(&work));
            hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Arc::clone(&connection));
                request.extensions_mut().insert(Progress(Arc::clone(&work)));
                let (routes, guard) = (routes.clone(), work.begin());
                async move {
                    let answer = routes.oneshot(request).await;
                    drop(guard);
                    Ok::<_, Infallible>(match answer {
                        Ok(answer) => answer,
                        Err(never) => match never {},
                    })
                }
            })
        };
        let limits = &self.limits;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(limits.header_seconds))
            .max_buf_size(limits.header_bytes);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(200)
            .keep_alive_interval(Some(Duration::from_secs(60)))
            .keep_alive_timeout(Duration::from_secs(20));
        let builder = match http2 {
            Some(true) => builder.http2_only(),
            Some(false) => builder.http1_only(),
            None => builder,
        };
        let http = builder.serve_connection(TokioIo::new(stream), service);
        let mut http = std::pin::pin!(http);
        let idle = Duration::from_secs(limits.idle_seconds);
        let stopping = tokio::select! {
            ended = http.as_mut() => return log_end(ended),
            () = self.stop.cancelled() => true,
            () = work.idle_for(idle) => false,
        };
        // Finish what was accepted, take nothing more.
        http.as_mut().graceful_shutdown();
        if stopping {
            return log_end(http.await);
        }
        // Everything is answered for as long as anybody may be idle. Whoever has not read its answer by now, and does not
        // within the same time again, keeps its place from others.
        match timeout(idle, http).await {
            Ok(ended) => log_end(ended),
            Err(_) => tracing::debug!("a client that does not read its answer was cut"),
        }
    }
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Counts requests under way, so that an idle connection can be told from a slow answer.
#[derive(Default)]
struct Work {
    under_way: AtomicUsize,
    begun: AtomicUsize,
    changed: Notify,
}

impl Work {
    fn begin(self: &Arc<Self>) -> WorkGuard {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.under_way.fetch_add(1, Ordering::SeqCst);
        WorkGuard(Arc::clone(self))
    }

    /// Returns when nothing was under way for a whole `span`.
    async fn idle_for(&self, span: Duration) {
        loop {
            let begun = self.begun.load(Ordering::SeqCst);
            if self.under_way.load(Ordering::SeqCst) > 0 {
                self.changed.notified().await;
                continue;
            }
            tokio::time::sleep(span).await;
            let still = self.under_way.load(Ordering::SeqCst) == 0;
            if still && self.begun.load(Ordering::SeqCst) == begun {
                return;
            }
        }
    }
}

/// For an answer that takes long to read: each piece that is taken of it shows that its reader is not idle.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Work>);

impl Progress {
    /// A piece was taken.
    pub(crate) fn made(&self) {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
    }
}

struct WorkGuard(Arc<Work>);

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
