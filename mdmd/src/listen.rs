//! The accept loops: TCP with TLS, TCP behind a listed proxy, and the local socket. One slow client stalls nobody, every
//! wait has an end, and stopping finishes what was accepted. Knows no route and judges no certificate.

mod bound;
mod clients;
mod inherited;
mod proxied;
mod work;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

pub(crate) use self::bound::{Bound, bind};
use self::bound::{Port, Wrapping};
use self::clients::Clients;
pub(crate) use self::inherited::Inherited;
pub(crate) use self::work::Progress;
use self::work::Work;
use crate::config::{Config, Duty, Limits, Network};
use crate::tls::{Certificates, PortTls, duty_of};
use crate::turned_away::Told;

/// Once the end has begun: how long a connection may still bring a request that was on its way.
const LAST_REQUEST: Duration = Duration::from_millis(500);

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
    /// Where a handshake that failed is told.
    told: Option<Told>,
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
            told: None,
        }
    }

    /// The same, and handshakes that fail are told there.
    pub(crate) fn telling(self, told: Told) -> Self {
        Self {
            told: Some(told),
            ..self
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
        match bound.local {
            Some(held) => self.take_local(held)?,
            None => self.open_local(socket)?,
        }
        for port in bound.ports {
            for duty in &port.duties {
                tracing::info!(address = %port.address, duty = duty.as_str(), held = port.held, "listening");
            }
            if let Some(tls) = &port.wrapping.tls {
                self.certificates.add(Arc::clone(tls));
            }
            self.tasks.spawn(self.clone().accept_tcp(port));
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

    /// Serves on the local socket that a service manager holds. Its mode is the manager's, and it stays when we end.
    fn take_local(&self, listener: std::os::unix::net::UnixListener) -> anyhow::Result<()> {
        let listener = UnixListener::from_std(listener).context("local socket")?;
        let house = self.clone();
        self.tasks
            .spawn(async move { house.accept_local(listener).await });
        Ok(())
    }

    async fn accept_tcp(self, port: Port) {
        let listener = port.listener;
        let wrapping = Arc::new(port.wrapping);
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let clients = Arc::new(Clients::new(self.limits.client_connections, &self.trusted));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = async {
                    // The semaphore is never closed.
                    let place = Arc::clone(&places).acquire_owned().await.ok();
                    (place, listener.accept().await)
                } => accepted,
            };
            match accepted {
                (place, Ok((stream, address))) => {
                    self.admit(stream, address, place, &clients, &wrapping);
                }
                (_, Err(error)) => {
                    // Out of file descriptors, or the client was gone already: never a reason to stop.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        if port.held {
            return;
        }
        // Nobody takes this port over: whom the operating system let in already would be cut off with it.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while let (Ok(place), Ok((stream, address))) =
            (Arc::clone(&places).try_acquire_owned(), listener.accept())
        {
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.admit(stream, address, Some(place), &clients, &wrapping);
            }
        }
    }

    /// Serves one connection in a task of its own.
    fn admit(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
        clients: &Arc<Clients>,
        wrapping: &Arc<Wrapping>,
    ) {
        let Some(own) = clients.admit(address.ip()) else {
            tracing::debug!(address = %address.ip(), "a client has all the connections that it may have");
            return;
        };
        let (house, wrapping) = (self.clone(), Arc::clone(wrapping));
        let clients = Arc::clone(clients);
        self.tasks.spawn(async move {
            let abort = house.abort.clone();
            tokio::select! {
                () = abort.cancelled() => {}
                () = house.connection(stream, address, &wrapping, &clients) => {}
            }
            drop((place, own));
        });
    }

    async fn connection(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
        wrapping: &Wrapping,
        clients: &Arc<Clients>,
    ) {
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
        // A proxy has no bound of its own; the client that it passes on has the same as any other.
        let own = client.map(|client| clients.admit(client));
        if matches!(own, Some(None)) {
            tracing::debug!(?client, "a client has all the connections that it may have");
            return;
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
        let far = client.unwrap_or_else(|| from.ip());
        let Some(stream) = self.shake_hands(stream, far, &tls.current()).await else {
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
        address: IpAddr,
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
        let late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(LAST_REQUEST).await;
        };
        tokio::select! {
            () = late => None,
            done = timeout(limit, Pin::new(&mut stream).accept()) => match done {
                Ok(Ok(())) => Some(stream),
                Ok(Err(error)) => {
                    tracing::debug!(%address, %error, "handshake failed");
                    // Who only opens and closes the port looks whether it is open.
                    if error.ssl_error().is_some() {
                        self.turned_away(address, &error.to_string());
                    }
                    None
                }
                Err(_) => {
                    tracing::debug!(%address, "handshake timed out");
                    self.turned_away(address, "the handshake did not end in time");
                    None
                }
            }
        }
    }

    /// Passes on that a handshake failed. Where too many fail at once the rest is not noted: a list of them is no ledger.
    fn turned_away(&self, address: IpAddr, why: &str) {
        if let Some(told) = &self.told {
            let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
            let _ = told.try_send((address, why));
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
            let stop = self.stop.clone();
            hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let (stop, old) = (stop.clone(), request.version() < Version::HTTP_2);
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Arc::clone(&connection));
                request.extensions_mut().insert(Progress(Arc::clone(&work)));
                let (routes, guard) = (routes.clone(), work.begin());
                async move {
                    let answer = routes.oneshot(request).await;
                    drop(guard);
                    let mut answer = match answer {
                        Ok(answer) => answer,
                        Err(never) => match never {},
                    };
                    if old && stop.is_cancelled() {
                        // The client's next request goes to whoever listens then.
                        let close = HeaderValue::from_static("close");
                        answer.headers_mut().insert(CONNECTION, close);
                    }
                    Ok::<_, Infallible>(answer)
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
        if stopping {
            // HTTP/2 says which requests it has taken (GOAWAY), so that none is lost. HTTP/1 can only close, and what is on
            // its way then is lost: its last request gets an answer with `connection: close`.
            let quiet = async {
                match http2 {
                    Some(true) => work.first_within(LAST_REQUEST).await,
                    _ => work.idle_for(LAST_REQUEST).await,
                }
            };
            tokio::select! {
                ended = http.as_mut() => return log_end(ended),
                () = quiet => {}
            }
        }
        // Finish what was accepted, take nothing more.
        http.as_mut().graceful_shutdown();
        let patience = match stopping {
            // Answered for as long as anybody may be idle, and still not read: it keeps its place from others.
            false => idle,
            true if work.any() => Duration::MAX,
            true => LAST_REQUEST, // Nothing was accepted; who never begins to speak HTTP/2 takes no leave.
        };
        match timeout(patience, http).await {
            Ok(ended) => log_end(ended),
            Err(_) => tracing::debug!("a client that does not come to an end was cut"),
        }
    }
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
