//! How commands speak to an installation: its local socket, or `--url` with a token from the environment or a file. What
//! only looks may also read a stopped data directory, through the very same routes.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use mdm_core::store::Store;
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::{X509, X509VerifyResult};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use super::{Common, Ended, Exit, Means as _, cell};
use crate::app::{Overrides, assemble, look_at_store, open_store};
use crate::config::Config;
use crate::http::api;
use crate::key_wrap::MasterKeys;
use crate::packages::Packages;

/// Between two questions to the server, which answers them from its own records.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// So many seconds from now; without an end where that is more than a clock can hold.
pub(crate) fn until(seconds: u64) -> Instant {
    let now = Instant::now();
    let century = now + Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(Duration::from_secs(seconds))
        .map_or(century, |end| end.min(century))
}

/// How many seconds a command that brings something in waits while Apple is in trouble or asks for a pause.
pub(crate) const IN_TROUBLE: u64 = 600;
/// While the server says that waiting helps.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// How many rows of a list are asked for at once.
const PAGE: u32 = 1000;

const LARGEST: usize = 64 * 1024 * 1024;

/// Which installation, and which of its organisations.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Where {
    /// Address of the installation's administrative listener; its local socket when left out. The token comes from
    /// MDMD_TOKEN, MDMD_TOKEN_FILE or `mdmd login`, never from the command line.
    #[arg(long, env = "MDMD_URL", value_name = "URL")]
    url: Option<String>,
    /// A CA to trust for that address (PEM) beside the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Code of the organisation, where there are several.
    #[arg(long, value_name = "CODE")]
    organisation: Option<String>,
}

/// A way to ask.
pub(crate) struct Client {
    way: Way,
    organisation: Option<String>,
}

enum Way {
    Socket(PathBuf),
    Url {
        host: String,
        port: u16,
        ca: Option<PathBuf>,
        /// `None` before anybody has signed in.
        token: Option<Zeroizing<String>>,
    },
    /// Nothing serves: the routes themselves, over the stopped data directory.
    Stopped(Box<Stopped>),
}

/// What a command does where nothing serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfStopped {
    /// Nothing: a server must run.
    Refused,
    /// It reads the data directory.
    Read,
    /// It reads and writes it.
    Written,
}

struct Stopped {
    routes: Router,
    store: Arc<dyn Store>,
}

impl Drop for Stopped {
    /// Closed in order, SQLite takes its log away; that it could not be is nothing to somebody who only looked.
    fn drop(&mut self) {
        let closing = self.store.close();
        let _ = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(closing));
    }
}

impl Client {
    /// For commands that act: a server must run.
    pub(crate) async fn acting(common: &Common, place: &Where) -> Result<Self, Ended> {
        Self::open(common, place, IfStopped::Refused).await
    }

    /// For commands that look: a stopped data directory will do.
    pub(crate) async fn looking(common: &Common, place: &Where) -> Result<Self, Ended> {
        Self::open(common, place, IfStopped::Read).await
    }

    /// For an export that two persons have agreed on: a server, or a stopped data directory, into whose record it goes.
    pub(crate) async fn exporting(common: &Common, place: &Where) -> Result<Self, Ended> {
        Self::open(common, place, IfStopped::Written).await
    }

    /// For `login` and `logout`: a listener with exactly this session, or none yet, with its host and port.
    pub(crate) fn strange(
        place: &Where,
        token: Option<Zeroizing<String>>,
    ) -> anyhow::Result<(Self, String, u16)> {
        let url = place.url.as_deref().context(
            "--url: names the administrative listener to sign in at; on this machine itself whoever can open its socket needs no sign-in",
        )?;
        let (host, port) = address(url)?;
        let client = Self {
            way: Way::Url {
                host: host.clone(),
                port,
                ca: place.ca.clone(),
                token,
            },
            organisation: place.organisation.clone(),
        };
        Ok((client, host, port))
    }

    async fn open(common: &Common, place: &Where, stopped: IfStopped) -> Result<Self, Ended> {
        let organisation = place.organisation.clone();
        if let Some(url) = &place.url {
            let way = remote(url, place.ca.clone()).means(Exit::BadInput)?;
            return Ok(Self { way, organisation });
        }
        let config = super::config::load(common)?;
        let socket = config.socket();
        let way = if UnixStream::connect(&socket).await.is_ok() {
            Way::Socket(socket)
        } else if stopped != IfStopped::Refused && config.data_directory.is_dir() {
            let opened = self::stopped(&config, stopped).await;
            Way::Stopped(Box::new(opened.means(Exit::Precondition)?))
        } else {
            let why = anyhow!(
                "nothing serves {}; start it with `mdmd serve`, or name a server with --url",
                config.data_directory.display()
            );
            return Err(why).means(Exit::Precondition);
        };
        Ok(Self { way, organisation })
    }

    /// Asks again and again until there is an answer: for a proof of what was accepted already. A server that is gone for a
    /// moment is no reason to say that nothing was done.
    pub(crate) async fn get_by(&self, path: &str, end: Instant) -> Result<Value, Ended> {
        let mut told = false;
        loop {
            let ended = match self.get(path).await {
                Ok(answer) => return Ok(answer),
                Err(ended) => ended,
            };
            if Instant::now() >= end {
                let why = ended.why.context(
                    "it was accepted, and the server cannot be asked how it went: look before you do it again",
                );
                return Err(why).means(Exit::NeverEnded);
            }
            if !told {
                eprintln!(
                    "mdmd: the server cannot be asked, still waiting: {:#}",
                    ended.why
                );
                told = true;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Ended> {
        self.ask("GET", path, Zeroizing::new(Vec::new())).await
    }

    /// Every page of a list, as one answer: what the last page says, with the rows of all of them under `rows`.
    pub(crate) async fn pages(&self, path: &str, rows: &str) -> Result<Value, Ended> {
        self.pages_of(PAGE, path, rows).await
    }

    async fn pages_of(&self, size: u32, path: &str, rows: &str) -> Result<Value, Ended> {
        let mut all = Vec::new();
        let mut next = Some(String::new());
        let mut last = Value::Null;
        while let Some(place) = next {
            (last, next) = self.page(size, path, &place).await?;
            if let Some(found) = last[rows].as_array_mut() {
                all.append(found);
            }
        }
        last[rows] = Value::Array(all);
        Ok(last)
    }

    /// Every page of a list behind a row, one by one, for as long as they are wanted: for lists that are as long as the fleet.
    pub(crate) async fn each_page(
        &self,
        path: &str,
        after: i64,
        mut take: impl FnMut(Value) -> Result<bool, Ended>,
    ) -> Result<(), Ended> {
        let mut next = Some(format!("&after={after}"));
        while let Some(place) = next {
            let page;
            (page, next) = self.page(PAGE, path, &place).await?;
            if !take(page)? {
                break;
            }
        }
        Ok(())
    }

    /// One page of a list, and where the next one begins.
    async fn page(
        &self,
        size: u32,
        path: &str,
        place: &str,
    ) -> Result<(Value, Option<String>), Ended> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut page = self
            .get(&format!("{path}{sign}limit={size}{place}"))
            .await?;
        let next = match page["next"].take() {
            // A server of an earlier version answers a number.
            after @ (Value::String(_) | Value::Number(_)) => {
                Some(format!("&after={}", cell(&after)))
            }
            Value::Object(place) => Some(
                place
                    .iter()
                    .map(|(name, value)| format!("&{name}={}", cell(value)))
                    .collect(),
            ),
            _ => None,
        };
        Ok((page, next))
    }

    /// Says what is about to be sent and what it means, then sends it.
    pub(crate) async fn act(
        &self,
        path: &str,
        body: &Value,
        consequence: &str,
    ) -> Result<Value, Ended> {
        eprintln!("POST {path}: {consequence}");
        self.post(path, body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Ended> {
        self.ask("POST", path, Zeroizing::new(serde_json::to_vec(body)?))
            .await
    }

    /// The same; when the server says that waiting helps (Apple's budget), waits for it, but not longer than until `end`.
    pub(crate) async fn post_patiently(
        &self,
        path: &str,
        body: &Value,
        end: Instant,
    ) -> Result<Value, Ended> {
        patiently(end, || self.post(path, body)).await
    }

    /// As [`Client::act`], with the patience of [`IN_TROUBLE`].
    pub(crate) async fn act_patiently(
        &self,
        path: &str,
        body: &Value,
        consequence: &str,
    ) -> Result<Value, Ended> {
        eprintln!("POST {path}: {consequence}");
        self.post_patiently(path, body, until(IN_TROUBLE)).await
    }

    /// The same with secrets: the body is written once, into a place that is zeroed, and each secret as base64, so that
    /// whoever reads it has nothing to unescape. Has the patience of [`IN_TROUBLE`].
    pub(crate) async fn post_hidden(
        &self,
        path: &str,
        open: &Value,
        secrets: &[(&str, &[u8])],
        consequence: &str,
    ) -> Result<Value, Ended> {
        self.post_hidden_by(path, open, secrets, consequence, until(IN_TROUBLE))
            .await
    }

    /// The same with a patience of the caller's.
    pub(crate) async fn post_hidden_by(
        &self,
        path: &str,
        open: &Value,
        secrets: &[(&str, &[u8])],
        consequence: &str,
        end: Instant,
    ) -> Result<Value, Ended> {
        eprintln!("POST {path}: {consequence}");
        patiently(end, || async {
            self.ask("POST", path, hidden_body(open, secrets)?).await
        })
        .await
    }

    /// Says what is about to happen, then sends a file as it is, a piece at a time.
    pub(crate) async fn upload(
        &self,
        path: &str,
        file: &std::path::Path,
        consequence: &str,
    ) -> Result<Value, Ended> {
        let name = || file.display().to_string();
        let opened = tokio::fs::File::open(file).await;
        let opened = opened.with_context(name).means(Exit::BadInput)?;
        let about = opened.metadata().await.with_context(name)?;
        if !about.is_file() {
            return Err(anyhow!("{}: is no file", name())).means(Exit::BadInput);
        }
        let target = self.target(path);
        eprintln!(
            "POST {path}: {} bytes of {}; {consequence}",
            about.len(),
            name()
        );
        let request = Request::builder()
            .method("POST")
            .uri(&target)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, about.len());
        let body = pieces(opened);
        let (status, answer) = match &self.way {
            // Only what looks is asked of a stopped data directory.
            Way::Stopped(_) => return Err(anyhow!("no server runs")).means(Exit::Precondition),
            Way::Socket(path) => {
                let request = request.header(HOST, "localhost");
                let request = request.body(body).means(Exit::BadInput)?;
                let stream = UnixStream::connect(path).await.means(Exit::Precondition)?;
                answered("POST", &target, send(stream, request).await)?
            }
            Way::Url {
                host,
                port,
                ca,
                token,
            } => {
                let mut request = request.header(HOST, host);
                if let Some(token) = token {
                    let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
                    request = request.header(AUTHORIZATION, bearer.as_str());
                }
                let request = request.body(body).means(Exit::BadInput)?;
                let stream = tls(host, *port, ca.as_deref()).await;
                let stream = stream.means(Exit::Precondition)?;
                answered("POST", &target, send(stream, request).await)?
            }
        };
        understood(status, &answer)
    }

    /// Asks, and writes the answer as it comes: it may be longer than memory.
    pub(crate) async fn download(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
        to: &mut (dyn std::io::Write + Send),
    ) -> Result<(), Ended> {
        self.pour(method, path, None, body, to).await
    }

    /// Reads what has no end for as long as it comes.
    pub(crate) async fn listen(
        &self,
        path: &str,
        header: Option<(&str, &str)>,
        to: &mut (dyn std::io::Write + Send),
    ) -> Result<(), Ended> {
        self.pour("GET", path, header, Vec::new(), to).await
    }

    async fn pour(
        &self,
        method: &str,
        path: &str,
        header: Option<(&str, &str)>,
        body: Vec<u8>,
        to: &mut (dyn std::io::Write + Send),
    ) -> Result<(), Ended> {
        let target = self.target(path);
        let mut request = Request::builder()
            .method(method)
            .uri(&target)
            .header(CONTENT_TYPE, "application/json");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        match &self.way {
            Way::Stopped(stopped) => {
                let request = request.body(Body::from(body)).means(Exit::BadInput)?;
                let answer = match stopped.routes.clone().oneshot(request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                };
                let status = answer.status().as_u16();
                write_to(status, answer.into_body(), to).await
            }
            Way::Socket(path) => {
                let request = request.header(HOST, "localhost");
                let request = request
                    .body(Full::<Bytes>::from(body))
                    .means(Exit::BadInput)?;
                let stream = UnixStream::connect(path).await.means(Exit::Precondition)?;
                send_to(stream, request, to).await
            }
            Way::Url {
                host,
                port,
                ca,
                token,
            } => {
                let mut request = request.header(HOST, host);
                if let Some(token) = token {
                    let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
                    request = request.header(AUTHORIZATION, bearer.as_str());
                }
                let request = request
                    .body(Full::<Bytes>::from(body))
                    .means(Exit::BadInput)?;
                let stream = tls(host, *port, ca.as_deref())
                    .await
                    .means(Exit::Precondition)?;
                send_to(stream, request, to).await
            }
        }
    }

    /// A path with the organisation that is meant.
    fn target(&self, path: &str) -> String {
        let mut target = path.to_owned();
        if let Some(code) = &self.organisation {
            target.push(if path.contains('?') { '&' } else { '?' });
            target.push_str("organisation=");
            target.push_str(code);
        }
        target
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Value, Ended> {
        let target = self.target(path);
        let mut request = Request::builder()
            .method(method)
            .uri(&target)
            .header(CONTENT_TYPE, "application/json");
        let (status, answer) = match &self.way {
            Way::Stopped(stopped) => {
                let request = request
                    .body(Body::from(hidden(body)))
                    .means(Exit::BadInput)?;
                let answer = match stopped.routes.clone().oneshot(request).await {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                };
                let status = answer.status().as_u16();
                (status, collect(answer.into_body()).await?)
            }
            Way::Socket(path) => {
                request = request.header(HOST, "localhost");
                let request = request
                    .body(Full::<Bytes>::from(hidden(body)))
                    .means(Exit::BadInput)?;
                let stream = UnixStream::connect(path).await.means(Exit::Precondition)?;
                answered(method, &target, send(stream, request).await)?
            }
            Way::Url {
                host,
                port,
                ca,
                token,
            } => {
                request = request.header(HOST, host);
                if let Some(token) = token {
                    let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
                    request = request.header(AUTHORIZATION, bearer.as_str());
                }
                let request = request
                    .body(Full::<Bytes>::from(hidden(body)))
                    .means(Exit::BadInput)?;
                let stream = tls(host, *port, ca.as_deref())
                    .await
                    .means(Exit::Precondition)?;
                answered(method, &target, send(stream, request).await)?
            }
        };
        understood(status, &answer)
    }
}

/// Asks again while the server says that waiting helps, but not longer than until `end`.
async fn patiently<F: Future<Output = Result<Value, Ended>>>(
    end: Instant,
    ask: impl Fn() -> F,
) -> Result<Value, Ended> {
    let mut told = false;
    let mut pause = LOOK;
    loop {
        let ended = match ask().await {
            Err(ended) if ended.again.is_some() => ended,
            other => return other,
        };
        if Instant::now() >= end {
            return Err(Ended {
                exit: Exit::NeverEnded,
                ..ended
            });
        }
        if !told {
            let left = end.saturating_duration_since(Instant::now());
            let left = left.as_millis().div_ceil(1000);
            eprintln!("mdmd: waits, for {left} s at most: {:#}", ended.why);
            told = true;
        }
        // Less and less often: each question would be refused alike until the budget has room again.
        let wait = pause.min(ended.again.unwrap_or_default().max(LOOK));
        tokio::time::sleep(wait.min(end.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A server that goes away after it was asked may have done it: whoever asked must look before asking again.
fn answered<T>(method: &str, target: &str, result: Result<T, Ended>) -> Result<T, Ended> {
    result.map_err(|ended| match method {
        "GET" => ended,
        _ => Ended {
            why: ended.why.context(format!(
                "{method} {target}: the server went away before it answered; the outcome is unknown, look before it is asked again"
            )),
            ..ended
        },
    })
}

/// What the server said, or why not.
fn understood(status: u16, answer: &[u8]) -> Result<Value, Ended> {
    let value: Value = serde_json::from_slice(answer).unwrap_or(Value::Null);
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let mut sentence = value["detail"].as_str().map_or_else(
        || format!("the server answered with status {status}"),
        str::to_owned,
    );
    if status == 413 {
        sentence.push_str(": name fewer devices at once, or divide the file");
    }
    let exit = match status {
        400 | 413 | 422 => Exit::BadInput,
        401 | 403 | 404 | 409 | 412 | 503 => Exit::Precondition,
        _ => Exit::Failure,
    };
    Err(Ended {
        exit,
        why: anyhow!(sentence),
        again: value["retry_after"].as_u64().map(Duration::from_secs),
        not_found: status == 404,
    })
}

/// A file as a body.
fn pieces(file: tokio::fs::File) -> Body {
    let read = futures_util::stream::unfold(file, |mut file| async move {
        let mut buffer = vec![0; 256 * 1024];
        match file.read(&mut buffer).await {
            Ok(0) => None,
            Ok(count) => {
                buffer.truncate(count);
                Some((Ok(Bytes::from(buffer)), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    Body::from_stream(read)
}

/// The routes over a data directory that nothing serves. Whatever is wrong with it, it is as it was before.
async fn stopped(config: &Config, how: IfStopped) -> anyhow::Result<Stopped> {
    // Before the database: without a key there is nothing to see.
    MasterKeys::load(config)?;
    let store = match how {
        IfStopped::Written => open_store(config).await?,
        IfStopped::Refused | IfStopped::Read => look_at_store(config).await?,
    };
    let overrides = Overrides {
        store: Some(Arc::clone(&store)),
        ..Overrides::default()
    };
    let mdm = assemble(config, &overrides).await?;
    let packages = Arc::new(Packages::new(config));
    let routes = api::routes(
        &mdm,
        &config.limits,
        &packages,
        &Arc::default(),
        &Arc::default(),
    )
    .1;
    Ok(Stopped { routes, store })
}

/// `open`, an object, with secrets as base64: written once, into a place with room for all of it.
fn hidden_body(open: &Value, secrets: &[(&str, &[u8])]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut beginning = serde_json::to_vec(open)?;
    // The last byte of an object is its brace.
    beginning.pop();
    let room: usize = secrets
        .iter()
        .map(|(name, secret)| name.len() + secret.len().div_ceil(3) * 4 + 6)
        .sum();
    let mut body = Zeroizing::new(Vec::with_capacity(beginning.len() + room + 1));
    body.extend_from_slice(&beginning);
    for (name, secret) in secrets {
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(format!("\"{name}\":\"").as_bytes());
        let begun = body.len();
        body.resize(begun + secret.len().div_ceil(3) * 4, 0);
        STANDARD.encode_slice(secret, &mut body[begun..])?;
        body.push(b'"');
    }
    body.push(b'}');
    Ok(body)
}

/// Bytes that are zeroed with their last owner. What the HTTP and TLS libraries copy is theirs.
fn hidden(body: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(body)
}

/// Host and port of a server.
fn address(url: &str) -> anyhow::Result<(String, u16)> {
    let rest = url
        .strip_prefix("https://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|rest| !rest.is_empty() && !rest.contains('/'))
        .context("--url: must be https://host or https://host:port")?;
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (
            host,
            port.parse().context("--url: the port must be a number")?,
        ),
        None => (rest, 443),
    };
    Ok((host.to_owned(), port))
}

fn remote(url: &str, ca: Option<PathBuf>) -> anyhow::Result<Way> {
    if let Some(file) = &ca {
        // Before a token is looked for: what cannot be read will not be read later.
        let read = std::fs::read(file).map_err(anyhow::Error::from);
        let read = read.and_then(|pem| Ok(X509::stack_from_pem(&pem)?));
        if !read.is_ok_and(|all| !all.is_empty()) {
            return Err(anyhow!(
                "--ca {}: no certificates (PEM) can be read there",
                file.display()
            ));
        }
    }
    let (host, port) = address(url)?;
    let token = match (
        std::env::var("MDMD_TOKEN"),
        std::env::var_os("MDMD_TOKEN_FILE"),
    ) {
        (Ok(token), _) => Zeroizing::new(token),
        (_, Some(file)) => {
            let read = std::fs::read_to_string(&file);
            Zeroizing::new(read.with_context(|| format!("MDMD_TOKEN_FILE {}", file.display()))?)
        }
        _ => super::login::kept(&host, port)?.context(
            "--url needs a session of `mdmd login`, or a token in MDMD_TOKEN or MDMD_TOKEN_FILE",
        )?,
    };
    Ok(Way::Url {
        host,
        port,
        ca,
        token: Some(token),
    })
}

async fn tls(
    host: &str,
    port: u16,
    ca: Option<&std::path::Path>,
) -> anyhow::Result<tokio_openssl::SslStream<TcpStream>> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    // A vendored OpenSSL does not know where the system keeps its CAs. A machine without any may still name one.
    let found = openssl_probe::probe();
    let _ = builder.load_verify_locations(
        found.cert_file.as_deref(),
        found.cert_dir.first().map(PathBuf::as_path),
    );
    if let Some(file) = ca {
        builder
            .set_ca_file(file)
            .with_context(|| format!("--ca {}", file.display()))?;
    }
    let ssl = builder.build().configure()?.into_ssl(host)?;
    let stream = TcpStream::connect((host, port))
        .await
        .with_context(|| format!("{host}:{port}"))?;
    let mut stream = tokio_openssl::SslStream::new(ssl, stream)?;
    let done = Pin::new(&mut stream).connect().await;
    let verified = stream.ssl().verify_result();
    if done.is_err() && verified != X509VerifyResult::OK {
        return Err(anyhow!(
            "{host}:{port}: its certificate is not trusted here ({verified}): --ca FILE names the certificates that are, such as tls/ca.pem of the server's data directory"
        ));
    }
    done.with_context(|| format!("{host}:{port}"))?;
    Ok(stream)
}

async fn send<S, B>(stream: S, request: Request<B>) -> Result<(u16, Bytes), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = collect(answer.into_body()).await?;
    driver.abort();
    Ok((status, body))
}

/// Sends, and writes what is answered as it comes.
async fn send_to<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    to: &mut (dyn std::io::Write + Send),
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let done = write_to(status, answer.into_body(), to).await;
    driver.abort();
    done
}

/// Writes a good answer as it comes; reads any other one for its sentence.
async fn write_to<B>(
    status: u16,
    mut body: B,
    to: &mut (dyn std::io::Write + Send),
) -> Result<(), Ended>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !(200..300).contains(&status) {
        return understood(status, &collect(body).await?).map(drop);
    }
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| anyhow!("the answer ended early: what came of it is not whole"))?;
        if let Ok(piece) = frame.into_data() {
            to.write_all(&piece)?;
        }
    }
    Ok(())
}

async fn collect<B>(body: B) -> Result<Bytes, Ended>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Limited::new(body, LARGEST)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|_| anyhow!("the answer ended early or is too large"))
        .means(Exit::Failure)
}

#[cfg(test)]
mod tests;
