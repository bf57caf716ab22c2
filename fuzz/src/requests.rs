//! Whole requests, as bytes of a connection to a server that runs: hyper, the PROXY protocol, routes, limits, bodies, the service
//! and its database. The first byte chooses the door: that of devices behind a proxy, the same with the PROXY protocol ahead, or
//! the local socket, whose visitors are administrators. `{org}` becomes the organisation's code, `{length}` the number of bytes
//! behind the first empty line: neither can be guessed.
//!
//! The laws: nobody panics; an answer is HTTP; nothing is an error of ours but "come again later", which says when; no device
//! hears 401; no refusal repeats what was secret; and once the other side has ended, so does the server.

use std::path::PathBuf;
use std::time::Duration;

use mdm_core::service::Ports;
use mdmd::app::{App, Drive, Overrides};
use mdmd::config::{Config, Duty, ListenerConfig, Network};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// In no refusal.
const SECRET: &str = "secret-5b1c";
/// Without a whole answer for so long, there is none to wait for.
const QUIET: Duration = Duration::from_millis(20);
/// So long a connection may take to end.
const END: Duration = Duration::from_secs(5);

/// A server that runs, and what inputs call by a name.
pub struct Server {
    runtime: Runtime,
    app: App,
    socket: PathBuf,
    organisation: String,
    /// Removed with the server.
    _directory: tempfile::TempDir,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// Starts one in a folder of its own. It asks nobody anything, and its workers are off.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let directory = tempfile::tempdir().expect("a folder");
        let anchor =
            mdmd::install::lay_out(directory.path(), "Town", "localhost").expect("laid out");
        let mut config = Config::for_directory(directory.path());
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut proxied = ListenerConfig::new(any, Duty::Plain);
        proxied.proxy_protocol = true;
        config.listeners = vec![ListenerConfig::new(any, Duty::Plain), proxied];
        config.proxy.trusted = vec![Network::parse("127.0.0.1").expect("a network")];
        let socket = config.socket();
        let mut overrides = Overrides::default();
        overrides.drive = Drive::Manual;
        overrides.ports = Some(Ports::refusing());
        let (app, organisation) = runtime.block_on(async {
            let app = App::start(config, overrides).await.expect("it starts");
            let made = app.mdm.create_organisation("Town", vec![anchor]).await;
            let code = made
                .expect("an organisation")
                .org
                .organisation()
                .code
                .to_string();
            (app, code)
        });
        Self {
            runtime,
            app,
            socket,
            organisation,
            _directory: directory,
        }
    }

    /// One connection.
    pub fn ask(&self, data: &[u8]) {
        let Some((choice, bytes)) = data.split_first() else {
            return;
        };
        let sent = self.filled_in(bytes);
        let door = choice % 3;
        let answer = self.runtime.block_on(async {
            if door == 2 {
                let stream = UnixStream::connect(&self.socket).await.expect("it accepts");
                return talk(stream, &sent).await;
            }
            let mut plain = self.app.addresses(Duty::Plain);
            let address = plain.nth(usize::from(door)).expect("a listener");
            let stream = TcpStream::connect(address).await.expect("it accepts");
            talk(stream, &sent).await
        });
        law_of_answers(door, &sent, &answer);
    }

    fn filled_in(&self, bytes: &[u8]) -> Vec<u8> {
        let mut sent = replaced(bytes, b"{org}", self.organisation.as_bytes());
        let body = sent
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map_or(0, |at| sent.len() - at - 4);
        // In the head alone: the length of what stands behind it would change with it.
        if let Some(at) = find(&sent, b"{length}").filter(|at| at + body < sent.len()) {
            sent.splice(at..at + b"{length}".len(), body.to_string().into_bytes());
        }
        sent
    }
}

fn find(all: &[u8], what: &[u8]) -> Option<usize> {
    all.windows(what.len()).position(|here| here == what)
}

fn replaced(all: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut done = Vec::with_capacity(all.len());
    let mut rest = all;
    while let Some(at) = find(rest, what) {
        done.extend_from_slice(&rest[..at]);
        done.extend_from_slice(by);
        rest = &rest[at + what.len()..];
    }
    done.extend_from_slice(rest);
    done
}

/// Says everything, hears what comes, ends, and waits until the other side has ended too.
async fn talk(stream: impl AsyncRead + AsyncWrite, sent: &[u8]) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(Box::pin(stream));
    // It may have heard enough before everything was said.
    let _ = timeout(END, to.write_all(sent)).await;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while !is_whole(&answer) {
        match timeout(QUIET, from.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => return answer,
            Ok(Ok(n)) => answer.extend_from_slice(&piece[..n]),
            Err(_) => break,
        }
    }
    let _ = to.shutdown().await;
    loop {
        match timeout(END, from.read(&mut piece))
            .await
            .expect("the connection ends")
        {
            Ok(0) | Err(_) => return answer,
            Ok(n) => answer.extend_from_slice(&piece[..n]),
        }
    }
}

/// Head of the first answer and everything behind it.
fn parts(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = find(answer, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    Some((head, &answer[end + 4..]))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn is_whole(answer: &[u8]) -> bool {
    let Some((head, body)) = parts(answer) else {
        return false;
    };
    let length = header(head, "content-length").and_then(|n| n.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

fn law_of_answers(door: u8, sent: &[u8], answer: &[u8]) {
    // Nothing at all, or HTTP/2, which somebody asked for with its preface.
    if answer.is_empty() || find(sent, b"PRI * HTTP/2.0").is_some() {
        return;
    }
    let Some((head, body)) = parts(answer) else {
        // Half a head: it was we who ended.
        assert!(answer.starts_with(b"HTTP/1."), "no HTTP");
        return;
    };
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| head.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse::<u16>().ok())
        .expect("a status line");
    let first = sent.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(first);
    match status {
        503 => assert!(
            header(head, "retry-after").is_some(),
            "come again, but when? {line}"
        ),
        // What the ports refuse is Apple's refusal; only administrators ask them.
        502 => assert_eq!(door, 2, "{line}"),
        500.. => panic!("{status} to {line}"),
        401 => assert!(
            door == 2 || line.contains("/account/"),
            "401 to a device: {line}"
        ),
        _ => {}
    }
    if status >= 400 {
        assert!(find(body, SECRET.as_bytes()).is_none(), "repeated: {line}");
    }
    // No seed of the administrator's door is a method that it does not know.
    if option_env!("FUZZ_PLANTED").is_some() {
        assert!(door != 2 || status != 405, "the planted fault");
    }
}
