//! Handshakes as they look on the wire, and connections that misbehave.

#[path = "listen_tests/edge.rs"]
mod edge;
#[path = "listen_tests/headers.rs"]
mod headers;
#[path = "listen_tests/passed_on.rs"]
mod passed_on;
#[path = "listen_tests/paths.rs"]
mod paths;
#[path = "listen_tests/proxies.rs"]
mod proxies;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_openssl::SslStream;

use super::*;
use crate::config::ListenerConfig;
use crate::testing::{TestHouse, certificate};

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A free port; port 0 cannot be shared by two duties.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Keeps every byte that arrives.
struct Wiretap {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl AsyncRead for Wiretap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let new = buf.filled()[before..].to_vec();
        self.heard.extend(new);
        polled
    }
}

impl AsyncWrite for Wiretap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A TLS client that trusts the test's CA.
fn client(
    house: &TestHouse,
    version: SslVersion,
    with_certificate: bool,
    alpn: &[u8],
) -> SslContext {
    let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
    builder
        .cert_store_mut()
        .add_cert(house.ca.certificate.clone())
        .unwrap();
    builder.set_verify(SslVerifyMode::PEER);
    builder.set_min_proto_version(Some(version)).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    if with_certificate {
        let (certificate, key) = certificate("device", None);
        builder.set_certificate(&certificate).unwrap();
        builder.set_private_key(&key).unwrap();
    }
    if !alpn.is_empty() {
        builder.set_alpn_protos(alpn).unwrap();
    }
    builder.build()
}

async fn connect(
    context: &SslContext,
    address: SocketAddr,
    name: Option<&str>,
) -> Result<SslStream<Wiretap>, openssl::ssl::Error> {
    let mut ssl = Ssl::new(context).unwrap();
    if let Some(name) = name {
        ssl.set_hostname(name).unwrap();
    }
    let stream = Wiretap {
        stream: TcpStream::connect(address).await.unwrap(),
        heard: Vec::new(),
    };
    let mut stream = SslStream::new(ssl, stream).unwrap();
    Pin::new(&mut stream).connect().await?;
    Ok(stream)
}

/// Types of the handshake messages that the server sent in the clear (TLS 1.2, up to ChangeCipherSpec).
fn clear_messages(heard: &[u8]) -> Vec<u8> {
    let mut handshake = Vec::new();
    let mut rest = heard;
    while let [kind, _, _, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind != 22 {
            break;
        }
        handshake.extend_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    let mut types = Vec::new();
    let mut rest = handshake.as_slice();
    while let [kind, a, b, c, tail @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        types.push(*kind);
        rest = tail.get(length..).unwrap_or_default();
    }
    types
}

const CERTIFICATE: u8 = 11;
const CERTIFICATE_REQUEST: u8 = 13;

/// One port with three duties; whichever is listed first must make no difference.
fn three_duties(order: [Duty; 3]) -> (SocketAddr, Vec<ListenerConfig>) {
    let address = free();
    let listeners = order
        .into_iter()
        .map(|duty| {
            let listener = ListenerConfig::new(address, duty);
            match duty {
                Duty::Device => listener.named(&["mdm.test"]),
                Duty::Enrol => listener.named(&["enrol.test"]),
                _ => listener,
            }
        })
        .collect();
    (address, listeners)
}

#[tokio::test]
async fn no_door_but_device_asks_for_a_client_certificate() {
    for order in [
        [Duty::Device, Duty::Enrol, Duty::Admin],
        [Duty::Enrol, Duty::Admin, Duty::Device],
        [Duty::Admin, Duty::Device, Duty::Enrol],
    ] {
        let (address, listeners) = three_duties(order);
        let house = TestHouse::open(listeners, |_| {}).await;
        let context = client(&house, SslVersion::TLS1_2, true, b"");
        for (name, asks) in [
            (Some("mdm.test"), true),
            (Some("MDM.test"), true),
            (Some("enrol.test"), false),
            (Some("elsewhere.test"), false),
            (None, false),
        ] {
            let stream = connect(&context, address, name).await.unwrap();
            let types = clear_messages(&stream.get_ref().heard);
            assert!(types.contains(&CERTIFICATE), "{types:?}");
            assert_eq!(
                types.contains(&CERTIFICATE_REQUEST),
                asks,
                "{order:?} {name:?}: {types:?}"
            );
        }
        house.house.close().await;
    }
}

/// Runs OpenSSL's own client, which names the messages of encrypted handshakes too. `None` where it is not installed.
async fn s_client(house: &TestHouse, address: SocketAddr, arguments: &[&str]) -> Option<String> {
    let ca = house.directory.path().join("ca.pem");
    std::fs::write(&ca, house.ca.certificate_pem().unwrap()).unwrap();
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    let ran = tokio::task::spawn_blocking(move || {
        use std::io::Write as _;
        let mut child = std::process::Command::new("openssl")
            .args(["s_client", "-msg", "-ign_eof", "-CAfile"])
            .arg(&ca)
            .args(["-connect", &address.to_string()])
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        // A whole exchange, so that session tickets arrive before the end.
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        child.stdin.as_mut()?.write_all(request).ok()?;
        Some(child.wait_with_output().unwrap().stdout)
    });
    let said = ran.await.unwrap();
    if said.is_none() {
        eprintln!("SKIPPED: the openssl command is not installed");
    }
    said.map(|s| String::from_utf8_lossy(&s).into_owned())
}

#[tokio::test]
async fn a_tls_1_3_handshake_leaks_no_certificate_request_either() {
    let (address, listeners) = three_duties([Duty::Device, Duty::Enrol, Duty::Admin]);
    let house = TestHouse::open(listeners, |_| {}).await;
    for (name, asks) in [
        ("mdm.test", true),
        ("enrol.test", false),
        ("else.test", false),
    ] {
        let Some(said) = s_client(&house, address, &["-tls1_3", "-servername", name]).await else {
            return;
        };
        assert!(said.contains("EncryptedExtensions"), "{said}");
        assert_eq!(said.contains("CertificateRequest"), asks, "{name}: {said}");
    }
}

#[tokio::test]
async fn a_session_of_one_duty_does_not_open_another() {
    let (address, listeners) = three_duties([Duty::Enrol, Duty::Device, Duty::Admin]);
    let house = TestHouse::open(listeners, |_| {}).await;
    let session = house.directory.path().join("session");
    let file = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let _ = std::fs::remove_file(&session);
        let first = [version, "-servername", "enrol.test", "-sess_out", file];
        let Some(_) = s_client(&house, address, &first).await else {
            return;
        };
        if !session.exists() {
            // No ticket was given at all: nothing to resume.
            continue;
        }
        let again = [version, "-servername", "mdm.test", "-sess_in", file];
        let said = s_client(&house, address, &again).await.unwrap();
        assert!(said.contains("CertificateRequest"), "{version}: {said}");
    }
}

#[tokio::test]
async fn a_port_with_one_duty_resumes_sessions_with_the_certificate_shown_before() {
    let house = TestHouse::open(vec![ListenerConfig::new(any(), Duty::Device)], |_| {}).await;
    let address = house.address(Duty::Device);
    let path = |name: &str| {
        house
            .directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (session, certificate_file, key_file) = (path("session"), path("c.pem"), path("k.pem"));
    let (shown, key) = certificate("device", None);
    std::fs::write(&certificate_file, shown.to_pem().unwrap()).unwrap();
    std::fs::write(&key_file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let first = [
            version,
            "-cert",
            &certificate_file,
            "-key",
            &key_file,
            "-sess_out",
            &session,
        ];
        let Some(said) = s_client(&house, address, &first).await else {
            return;
        };
        assert!(said.contains("CertificateRequest"), "{version}: {said}");
        let said = s_client(&house, address, &[version, "-sess_in", &session])
            .await
            .unwrap();
        assert!(said.contains("Reused, "), "{version}: {said}");
        assert!(said.contains("HTTP/1.1 200"), "{version}: {said}");
    }
}

#[tokio::test]
async fn a_certificate_is_seen_by_the_desk_on_device_and_whoever_issued_it() {
    let (address, listeners) = three_duties([Duty::Device, Duty::Enrol, Duty::Admin]);
    let house = TestHouse::open(listeners, |_| {}).await;
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let context = client(&house, version, true, b"");
        let stream = connect(&context, address, Some("mdm.test")).await.unwrap();
        let (status, body) = put(stream, "/mdm/abcdefgh2345/checkin", b"hello").await;
        assert_eq!((status, body.as_ref()), (StatusCode::OK, b"5".as_slice()));
    }
    let context = client(&house, SslVersion::TLS1_3, false, b"");
    let stream = connect(&context, address, Some("mdm.test")).await.unwrap();
    put(stream, "/mdm/abcdefgh2345/checkin", b"hello").await;
    let asked = house.desk.asked.lock().unwrap();
    let shown: Vec<bool> = asked
        .iter()
        .map(|(_, p, _)| p.certificate.is_some())
        .collect();
    assert_eq!(shown, [true, true, false]);
    assert!(asked.iter().all(|(_, p, _)| p.address == "127.0.0.1"));
}

#[tokio::test]
async fn an_unknown_server_name_is_refused_when_no_duty_holds_for_every_other() {
    let listener = ListenerConfig::new(any(), Duty::Device).named(&["mdm.test"]);
    let house = TestHouse::open(vec![listener], |_| {}).await;
    let context = client(&house, SslVersion::TLS1_3, false, b"");
    let address = house.address(Duty::Device);
    assert!(
        connect(&context, address, Some("other.test"))
            .await
            .is_err()
    );
    assert!(connect(&context, address, None).await.is_err());
    assert!(connect(&context, address, Some("mdm.test")).await.is_ok());
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> (StatusCode, Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    driver.abort();
    (status, body)
}

async fn put<S>(stream: S, path: &str, body: &'static [u8]) -> (StatusCode, Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::put(path)
        .header("host", "mdm.test")
        .body(Full::from(body))
        .unwrap();
    send(stream, request).await
}

#[tokio::test]
async fn a_request_says_once_whom_it_is_for() {
    let house = TestHouse::open(vec![ListenerConfig::new(any(), Duty::Device)], |_| {}).await;
    let context = client(&house, SslVersion::TLS1_3, false, b"");
    for (version, hosts, status) in [
        ("1.1", "Host: mdm.test\r\n", "200"),
        ("1.1", "", "400"),
        ("1.1", "Host: mdm.test\r\nHost: mdm.test\r\n", "400"),
        ("1.0", "", "200"),
    ] {
        let address = house.address(Duty::Device);
        let mut stream = connect(&context, address, None).await.unwrap();
        let ask = format!("GET /healthz HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        let heard = String::from_utf8_lossy(&heard);
        let line = heard.lines().next().unwrap_or_default();
        assert!(line.contains(status), "{version} {hosts:?}: {line}");
    }
}

#[tokio::test]
async fn http_2_carries_many_requests_on_one_connection() {
    let house = TestHouse::open(vec![ListenerConfig::new(any(), Duty::Device)], |_| {}).await;
    let context = client(&house, SslVersion::TLS1_3, true, b"\x02h2");
    let stream = connect(&context, house.address(Duty::Device), None)
        .await
        .unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let answers = (0..20).map(|_| {
        let mut sender: hyper::client::conn::http2::SendRequest<Full<Bytes>> = sender.clone();
        async move {
            let request = Request::put("https://mdm.test/mdm/abcdefgh2345/command")
                .body(Full::from(&b"slow"[..]))
                .unwrap();
            sender.send_request(request).await.unwrap().status()
        }
    });
    let begun = Instant::now();
    let answers = futures_util::future::join_all(answers).await;
    assert!(answers.iter().all(|s| *s == StatusCode::OK));
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "one after the other"
    );
}

#[tokio::test]
async fn what_was_accepted_is_finished_and_nothing_more_is_taken() {
    let house = TestHouse::open(vec![ListenerConfig::new(any(), Duty::Device)], |_| {}).await;
    let address = house.address(Duty::Device);
    let context = client(&house, SslVersion::TLS1_3, false, b"");
    let busy = connect(&context, address, None).await.unwrap();
    let idle = connect(&context, address, None).await.unwrap();
    let answer = tokio::spawn(put(busy, "/mdm/abcdefgh2345/checkin", b"slow"));
    while house.desk.asked.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.house.close().await;
    assert_eq!(answer.await.unwrap().0, StatusCode::OK);
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!house.directory.path().join("mdmd.sock").exists());
    drop(idle);
}

#[tokio::test]
async fn who_does_not_read_its_answer_keeps_no_place() {
    let listeners = vec![ListenerConfig::new(any(), Duty::Device)];
    let house = TestHouse::open(listeners, |config| {
        config.limits.idle_seconds = 1;
        config.limits.connections = 1;
    })
    .await;
    let address = house.address(Duty::Device);
    let context = client(&house, SslVersion::TLS1_3, false, b"");
    let mut deaf = connect(&context, address, None).await.unwrap();
    let ask = b"PUT /mdm/abcdefgh2345/checkin HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nmuch";
    deaf.write_all(ask).await.unwrap();
    let waiting = async {
        let next = connect(&context, address, None).await.unwrap();
        put(next, "/mdm/abcdefgh2345/checkin", b"x").await.0
    };
    let served = timeout(Duration::from_secs(20), waiting).await;
    assert_eq!(served.expect("the place was kept"), StatusCode::OK);
    drop(deaf);
}

#[tokio::test]
async fn a_client_that_does_nothing_is_let_go_at_every_stage() {
    let listeners = vec![ListenerConfig::new(any(), Duty::Device)];
    let house = TestHouse::open(listeners, |config| {
        config.limits.handshake_seconds = 1;
        config.limits.header_seconds = 1;
        config.limits.idle_seconds = 1;
        config.limits.body_seconds = 1;
    })
    .await;
    let address = house.address(Duty::Device);
    let context = client(&house, SslVersion::TLS1_3, false, b"");

    let silent = TcpStream::connect(address).await.unwrap();
    let idle = connect(&context, address, None).await.unwrap();
    let mut half_head = connect(&context, address, None).await.unwrap();
    half_head
        .write_all(b"PUT /mdm/abcdefgh2345/checkin HTTP/1.1\r\nHo")
        .await
        .unwrap();
    let mut half_body = connect(&context, address, None).await.unwrap();
    let head = b"PUT /mdm/abcdefgh2345/checkin HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhal";
    half_body.write_all(head).await.unwrap();

    async fn ends(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut heard = Vec::new();
        let limit = Duration::from_secs(8);
        // An abrupt end is an end too.
        let _ = timeout(limit, stream.read_to_end(&mut heard))
            .await
            .expect("the connection was not closed");
        heard
    }
    let (silent, idle, half_head, half_body) =
        tokio::join!(ends(silent), ends(idle), ends(half_head), ends(half_body));
    assert!(silent.is_empty() && idle.is_empty());
    assert!(!half_head.starts_with(b"HTTP/1.1 200"));
    assert!(half_body.starts_with(b"HTTP/1.1 400"), "{half_body:?}");
    let asked = house.desk.asked.lock().unwrap().clone();
    let unread: Vec<&str> = asked.iter().map(|(what, ..)| what.as_str()).collect();
    assert_eq!(unread, ["unread checkin: body: did not arrive in time"]);
}

#[tokio::test]
async fn a_request_that_fails_leaves_the_next_one_unharmed() {
    let listeners = vec![
        ListenerConfig::new(any(), Duty::Device),
        ListenerConfig::new(any(), Duty::Enrol),
    ];
    let house = TestHouse::open(listeners, |config| config.limits.check_in_bytes = 10).await;
    let context = client(&house, SslVersion::TLS1_3, false, b"");
    let check = async |duty: Duty, path: &str, body: &'static [u8]| {
        let stream = connect(&context, house.address(duty), None).await.unwrap();
        let (status, body) = put(stream, path, body).await;
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    };
    let door = "/mdm/abcdefgh2345/checkin";
    let answers = [
        check(Duty::Device, door, b"panic").await,
        check(Duty::Device, door, b"01234567890").await,
        check(Duty::Device, door, b"bad").await,
        check(Duty::Device, door, b"unknown").await,
        check(Duty::Device, "/mdm/UPPER/checkin", b"x").await,
        check(Duty::Device, door, b"fine").await,
    ];
    let expected = [
        (500, "failed on our side\n"),
        (413, "body: must be at most 10 bytes\n"),
        (400, "UDID: must be there\n"),
        (400, "no such organisation\n"),
        (
            400,
            "organisation: must be 8 to 64 lower-case letters and digits\n",
        ),
        (200, "4"),
    ];
    for (answer, (status, sentence)) in answers.iter().zip(expected) {
        assert_eq!((answer.0, answer.1.as_str()), (status, sentence));
    }
    // A door of another duty is no door here.
    let (status, _) = check(Duty::Enrol, door, b"x").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn one_url_serves_reports_and_check_ins_by_content_type() {
    let house = TestHouse::open(vec![ListenerConfig::new(any(), Duty::Device)], |_| {}).await;
    let context = client(&house, SslVersion::TLS1_3, false, b"");
    for content_type in [
        "application/x-apple-aspen-mdm-checkin",
        "application/x-apple-aspen-mdm; charset=UTF-8",
        "application/X-Apple-Aspen-MDM-Checkin; charset=UTF-8",
    ] {
        let stream = connect(&context, house.address(Duty::Device), None)
            .await
            .unwrap();
        let request = Request::put("/mdm/abcdefgh2345/command?x=y")
            .header("host", "mdm.test")
            .header("content-type", content_type)
            .header("mdm-signature", "c2ln")
            .body(Full::from(&b"x"[..]))
            .unwrap();
        send(stream, request).await;
    }
    let asked = house.desk.asked.lock().unwrap();
    let doors: Vec<&str> = asked.iter().map(|(what, _, _)| what.as_str()).collect();
    assert_eq!(doors, ["check-in", "report", "check-in"]);
    assert!(
        asked
            .iter()
            .all(|(_, p, _)| p.signature.as_deref() == Some("c2ln"))
    );
}

#[tokio::test]
async fn changed_certificate_files_hold_for_new_connections_and_broken_ones_change_nothing() {
    let house = TestHouse::open(vec![ListenerConfig::new(any(), Duty::Enrol)], |_| {}).await;
    let context = client(&house, SslVersion::TLS1_3, false, b"");
    let shown = async || {
        let stream = connect(&context, house.address(Duty::Enrol), None)
            .await
            .unwrap();
        stream.ssl().peer_certificate().unwrap().to_der().unwrap()
    };
    let tls = house.directory.path().join("tls");
    let first = shown().await;
    house.house.certificates.look();
    assert_eq!(shown().await, first);

    let (certificate, key) = certificate("127.0.0.1", Some(&house.ca));
    let pem = certificate.to_pem().unwrap();
    // The certificate alone does not fit the key that lies there.
    std::fs::write(tls.join("server.pem"), &pem).unwrap();
    house.house.certificates.look();
    assert_eq!(shown().await, first);
    std::fs::write(
        tls.join("server.key"),
        key.private_key_to_pem_pkcs8().unwrap(),
    )
    .unwrap();
    house.house.certificates.look();
    assert_eq!(shown().await, certificate.to_der().unwrap());
}
