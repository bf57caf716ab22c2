//! How commands speak to an installation: its local socket, or `--url` with a token from the environment or a file. What
//! only looks may also read a stopped data directory, through the very same routes.

mod exchange;
mod paging;
mod reach;
mod streams;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use exchange::{answered, collect, send, tell_left_out, understood};
use http_body_util::Full;
use hyper::Request;
use hyper::header::CONTENT_TYPE;
use reach::{IfStopped, Way, address, remote, stopped, tls};
use serde_json::Value;
use tokio::net::UnixStream;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use super::{Common, Ended, Exit, Means as _};

/// Between two questions to the server, which answers them from its own records.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Says what is about to be sent and what it means. Nothing of it has come to pass: whether whoever asks may do it, and whether
/// something stands against it, the server has not said yet.
pub(crate) fn announce(path: &str, consequence: &str) {
    eprintln!("POST {path}, if it is not refused: {consequence}");
}

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

impl Client {
    /// For commands that act: a server must run.
    pub(crate) async fn acting(common: &Common, place: &Where) -> Result<Self, Ended> {
        Self::open(common, place, IfStopped::Refused).await
    }

    /// For commands that look: a stopped data directory will do.
    pub(crate) async fn looking(common: &Common, place: &Where) -> Result<Self, Ended> {
        Self::open(common, place, IfStopped::Read).await
    }

    /// Whether it can only look: nothing serves, and the data directory is read.
    pub(crate) const fn only_looks(&self) -> bool {
        matches!(self.way, Way::Stopped(_))
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
        } else if !is_there(&config.data_directory).means(Exit::Precondition)? {
            let why = anyhow!(
                "there is no data directory {}: `mdmd init` makes one; --data names another, --url a server",
                config.data_directory.display()
            );
            return Err(why).means(Exit::Precondition);
        } else if stopped != IfStopped::Refused {
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

    /// Says what is about to be sent and what it means, then sends it.
    pub(crate) async fn act(
        &self,
        path: &str,
        body: &Value,
        consequence: &str,
    ) -> Result<Value, Ended> {
        announce(path, consequence);
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
        announce(path, consequence);
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
        announce(path, consequence);
        patiently(end, || async {
            self.ask("POST", path, hidden_body(open, secrets)?).await
        })
        .await
    }

    /// A path with the organisation that is meant. `.` and `..` that somebody has typed as a name are refused: whoever stands before
    /// the server may fold them, written otherwise too, and the request would go to another address.
    fn target(&self, path: &str) -> Result<String, Ended> {
        let mut parts = path.split('?').take(1).flat_map(|path| path.split('/'));
        if let Some(dots) = parts.find(|part| [".", ".."].contains(part)) {
            return Err(anyhow!("{dots}: is the name of nothing")).means(Exit::BadInput);
        }
        let mut target = path.to_owned();
        if let Some(code) = &self.organisation {
            target.push(if path.contains('?') { '&' } else { '?' });
            target.push_str("organisation=");
            target.push_str(code);
        }
        Ok(target)
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Value, Ended> {
        let target = self.target(path)?;
        let request = Request::builder()
            .method(method)
            .uri(&target)
            .header(CONTENT_TYPE, "application/json");
        let request = self.way.addressed(request);
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
                tell_left_out(answer.headers());
                (status, collect(answer.into_body()).await?)
            }
            Way::Socket(path) => {
                let request = request
                    .body(Full::<Bytes>::from(hidden(body)))
                    .means(Exit::BadInput)?;
                let stream = UnixStream::connect(path).await.means(Exit::Precondition)?;
                answered(method, &target, send(stream, request).await)?
            }
            Way::Url { host, port, ca, .. } => {
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

/// Whether there is such a directory. One into which nobody here may look is another thing than none.
fn is_there(directory: &Path) -> anyhow::Result<bool> {
    match std::fs::metadata(directory) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(anyhow!(error).context(format!(
            "the data directory {} cannot be looked at",
            directory.display()
        ))),
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

#[cfg(test)]
mod tests;
