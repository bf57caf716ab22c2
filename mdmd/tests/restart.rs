//! A restart that nobody notices: a service manager holds the ports, the server is told to end and started again, and clients
//! that ask without a pause get every answer. What stands in for the service manager is this process: it holds the listening
//! sockets and gives them to the server as descriptors 3 and 4, as systemd does.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_openssl::SslStream;

/// An installation, and the sockets that outlive its server.
struct Manager {
    folder: tempfile::TempDir,
    data: PathBuf,
    address: SocketAddr,
    /// Port and local socket; without them the server opens its own.
    held: Option<(TcpListener, UnixListener)>,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let made = Command::new(env!("CARGO_BIN_EXE_mdmd"))
            .args(["init", "--organisation", "Restarted", "--data"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = UnixListener::bind(data.join("mdmd.sock")).unwrap();
        Self {
            folder,
            data,
            address: port.local_addr().unwrap(),
            held: Some((port, local)),
        }
    }

    /// Starts the server as a service manager does. The shell moves the sockets to where they belong and becomes the server.
    fn start(&self) -> Child {
        let mut command = Command::new("sh");
        command.stderr(log(self.folder.path()));
        if let Some((port, local)) = &self.held {
            let (port, local) = (port.try_clone().unwrap(), local.try_clone().unwrap());
            command
                .args(["-c", GIVEN, "sh"])
                .stdin(Stdio::from(OwnedFd::from(port)))
                .stdout(Stdio::from(OwnedFd::from(local)));
        } else {
            command.args(["-c", "exec \"$@\"", "sh"]);
        }
        command
            .args(serve(&self.data, self.address))
            .spawn()
            .unwrap()
    }
}

/// Gives standard input and output on as descriptors 3 and 4.
const GIVEN: &str = "exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"";

fn serve(data: &Path, address: SocketAddr) -> Vec<String> {
    let listeners = format!(
        "listener=[{{ address = \"{address}\", duty = \"enrol\" }}, {{ address = \"{address}\", duty = \"device\", names = [\"mdm.example.com\"] }}]"
    );
    let data = data.to_str().unwrap();
    [
        env!("CARGO_BIN_EXE_mdmd"),
        "serve",
        "--data",
        data,
        "--set",
        &listeners,
    ]
    .map(str::to_owned)
    .into()
}

fn log(folder: &Path) -> Stdio {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"));
    file.unwrap().into()
}

/// Tells a server to end, waits until it has, and answers how.
fn end(mut server: Child) -> Option<i32> {
    let asked = Command::new("kill").arg(server.id().to_string()).status();
    assert!(asked.unwrap().success());
    server.wait().unwrap().code()
}

/// What a client was answered, and what it was not.
#[derive(Default)]
struct Heard {
    answers: AtomicU64,
    lost: Mutex<Vec<String>>,
}

impl Heard {
    fn lost(&self, what: &str, why: &dyn std::fmt::Debug) {
        self.lost.lock().unwrap().push(format!("{what}: {why:?}"));
    }

    async fn answers_reach(&self, wanted: u64) {
        let begun = Instant::now();
        while self.answers.load(Ordering::SeqCst) < wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "no answers");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn connect(address: SocketAddr, http2: bool) -> std::io::Result<SslStream<TcpStream>> {
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    if http2 {
        builder.set_alpn_protos(b"\x02h2").unwrap();
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let ssl = Ssl::new(&builder.build()).unwrap();
    let mut stream = SslStream::new(ssl, stream).unwrap();
    let shaken = Pin::new(&mut stream).connect().await;
    shaken.map_err(std::io::Error::other)?;
    Ok(stream)
}

fn request() -> Request<Full<Bytes>> {
    // Nobody's: refused, which is an answer.
    Request::post("/mdm/abcdefgh2345/enrol")
        .header("host", "localhost")
        .body(Full::new(Bytes::from_static(b"who am I")))
        .unwrap()
}

/// Asks again as soon as it is answered. A connection is kept for as long as the server lets it, or for one request.
async fn asks_on(address: SocketAddr, keeps: bool, heard: &Heard, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let stream = match connect(address, false).await {
            Ok(stream) => stream,
            Err(why) => {
                heard.lost("HTTP/1, connection", &why);
                continue;
            }
        };
        let (mut sender, http) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let http = tokio::spawn(http);
        // Ready no more: the server said that it closes.
        while !over.load(Ordering::SeqCst) && sender.ready().await.is_ok() {
            match sender.try_send_request(request()).await {
                Ok(answer) => {
                    if answer.into_body().collect().await.is_ok() {
                        heard.answers.fetch_add(1, Ordering::SeqCst);
                    } else {
                        heard.lost("HTTP/1", &"half an answer");
                    }
                }
                // It never left: whoever asks takes another connection.
                Err(unsent) if unsent.message().is_some() => {}
                Err(why) => heard.lost("HTTP/1", &why),
            }
            if !keeps {
                break;
            }
        }
        drop(sender);
        let _ = http.await;
    }
}

/// The same on HTTP/2, three requests at a time.
async fn asks_on_http2(address: SocketAddr, heard: &Heard, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let stream = match connect(address, true).await {
            Ok(stream) => stream,
            Err(why) => {
                heard.lost("HTTP/2, connection", &why);
                continue;
            }
        };
        let (sender, http) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let http = tokio::spawn(http);
        let ask = || async {
            let mut sender = sender.clone();
            while !over.load(Ordering::SeqCst) && sender.ready().await.is_ok() {
                let mut request = request();
                *request.uri_mut() = "https://localhost/mdm/abcdefgh2345/enrol".parse().unwrap();
                match sender.try_send_request(request).await {
                    Ok(answer) => {
                        if answer.into_body().collect().await.is_ok() {
                            heard.answers.fetch_add(1, Ordering::SeqCst);
                        } else {
                            heard.lost("HTTP/2", &"half an answer");
                        }
                    }
                    Err(unsent) if unsent.message().is_some() => return,
                    // The server said that it has not taken this one, nor will (RFC 9113 6.8): it's asked again elsewhere.
                    Err(why) if format!("{why:?}").contains("GoAway(b\"\", NO_ERROR, Remote)") => {
                        return;
                    }
                    Err(why) => {
                        heard.lost("HTTP/2", &why);
                        return;
                    }
                }
            }
        };
        tokio::join!(ask(), ask(), ask());
        drop(sender);
        let _ = http.await;
    }
}

/// The local socket, a connection for each request.
async fn asks_locally(path: &Path, heard: &Heard, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let ask = async {
            let mut stream = UnixStream::connect(path).await?;
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        match ask.await {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => {
                heard.answers.fetch_add(1, Ordering::SeqCst);
            }
            other => {
                heard.lost("local", &other);
                // A refusal comes at once: without this the other clients would not have their turn.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Restarts three times under four clients that ask without a pause; answers what they were not answered.
async fn restarts(manager: Manager) -> [Vec<String>; 4] {
    let manager = Arc::new(manager);
    let address = manager.address;
    let over = Arc::new(AtomicBool::new(false));
    let heard: [Arc<Heard>; 4] = Default::default();
    let mut server = manager.start();
    let clients = {
        let [kept, fresh, http2, local] = heard.clone();
        let (path, over) = (manager.data.join("mdmd.sock"), Arc::clone(&over));
        tokio::spawn(async move {
            tokio::join!(
                asks_on(address, true, &kept, &over),
                asks_on(address, false, &fresh, &over),
                asks_on_http2(address, &http2, &over),
                asks_locally(&path, &local, &over),
            )
        })
    };
    for _ in 0..3 {
        let before = heard.each_ref().map(|h| h.answers.load(Ordering::SeqCst));
        for (heard, before) in heard.iter().zip(before) {
            heard.answers_reach(before + 20).await;
        }
        // Nobody asks on it: it is closed, and does not hold the end up.
        let idle = [
            connect(address, false).await.unwrap(),
            connect(address, true).await.unwrap(),
        ];
        let manager = Arc::clone(&manager);
        let begun = Instant::now();
        let next = tokio::task::spawn_blocking(move || {
            assert_eq!(end(server), Some(0));
            manager.start()
        });
        server = next.await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the end took {:?}",
            begun.elapsed()
        );
        for mut idle in idle {
            // What an end of HTTP/2 says may be there; then it is closed.
            let closed = async { while idle.read_u8().await.is_ok() {} };
            let closed = tokio::time::timeout(Duration::from_secs(5), closed);
            closed.await.expect("still open");
        }
    }
    for heard in &heard {
        let now = heard.answers.load(Ordering::SeqCst);
        heard.answers_reach(now + 20).await;
    }
    over.store(true, Ordering::SeqCst);
    clients.await.unwrap();
    assert_eq!(end(server), Some(0));
    let said = std::fs::read_to_string(manager.folder.path().join("log")).unwrap();
    assert_eq!(said.matches("stopped").count(), 4, "{said}");
    // What the service manager holds is not ours to remove.
    let held = manager.held.is_some();
    assert_eq!(manager.data.join("mdmd.sock").exists(), held);
    heard.map(|heard| std::mem::take(&mut *heard.lost.lock().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_refuses_no_connection_and_loses_no_answer() {
    for lost in restarts(Manager::new()).await {
        assert!(
            lost.is_empty(),
            "{} lost: {:?}",
            lost.len(),
            &lost[..lost.len().min(5)]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_held_socket_clients_do_notice() {
    let mut manager = Manager::new();
    manager.held = None;
    std::fs::remove_file(manager.data.join("mdmd.sock")).unwrap();
    let [_, fresh, ..] = restarts(manager).await;
    assert!(
        fresh.iter().any(|why| why.contains("ConnectionRefused")),
        "{fresh:?}"
    );
}

#[tokio::test]
async fn a_socket_that_no_listener_names_is_a_mistake_and_said() {
    let manager = Manager::new();
    let other = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (port, _) = manager.held.as_ref().unwrap();
    let port = OwnedFd::from(port.try_clone().unwrap());
    let said = Command::new("sh")
        .arg("-c")
        .arg("exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"")
        .arg("sh")
        .args(serve(&manager.data, other))
        .stdin(Stdio::from(port))
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(3), "{said:?}");
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains(&manager.address.to_string()), "{said}");
}
