//! Pushes against a small HTTP/2 server that asks for a client certificate and answers by token.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::body::Incoming;
use mdm_core::clock::ManualClock;
use mdm_core::organisation::Der;
use mdm_core::secret::Secret;
use openssl::ssl::{SslAcceptor, SslVerifyMode, select_next_proto};
use tokio::net::TcpListener;

use super::*;
use crate::pki;

type Heard = (Request<()>, Bytes);

struct Apple {
    service: PushService,
    connections: Arc<AtomicUsize>,
    heard: Arc<StdMutex<Vec<Heard>>>,
    /// Ends all open connections.
    cut: Arc<tokio::sync::Notify>,
    /// Connections that have ended.
    ended: Arc<AtomicUsize>,
}

fn answer(token: &str) -> (u16, &'static str, Option<&'static str>) {
    match token {
        "aa" => (200, "", None),
        "b0" => (400, r#"{"reason":"BadDeviceToken"}"#, None),
        "b1" => (400, r#"{"reason":"DeviceTokenNotForTopic"}"#, None),
        "b2" => (400, r#"{"reason":"BadTopic"}"#, None),
        "b3" => (400, r#"{"reason":"IdleTimeout"}"#, None),
        "c0" => (
            410,
            r#"{"reason":"Unregistered","timestamp":1796922000123}"#,
            None,
        ),
        "c1" => (410, "not json", None),
        "d0" => (403, r#"{"reason":"BadCertificate"}"#, None),
        "e0" => (429, r#"{"reason":"TooManyRequests"}"#, None),
        "e1" => (503, r#"{"reason":"Shutdown"}"#, Some("17")),
        _ => (418, r#"{"reason":"SomethingNew"}"#, None),
    }
}

async fn apple() -> Apple {
    let now = Timestamp::from_millis(1_796_922_000_000);
    // Certificates are judged by the real clock in a handshake.
    let real = mdm_core::clock::SystemClock.now();
    let ca = pki::authority("push CA", 30, real).unwrap();
    let pair = pki::server(&ca, &["localhost".to_owned()], 30, real).unwrap();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&pair.certificate).unwrap();
    acceptor.set_private_key(&pair.key).unwrap();
    acceptor.set_alpn_select_callback(|_, client| {
        select_next_proto(b"\x02h2", client).ok_or(openssl::ssl::AlpnError::ALERT_FATAL)
    });
    let required = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    acceptor.set_verify_callback(required, |_, _| true);
    acceptor.set_session_id_context(b"test").unwrap();
    let acceptor = acceptor.build();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let heard = Arc::new(StdMutex::new(Vec::new()));
    let cut = Arc::new(tokio::sync::Notify::new());
    let (count, ears, scissors) = (connections.clone(), heard.clone(), cut.clone());
    let ended = Arc::new(AtomicUsize::new(0));
    let gone = ended.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let ssl = openssl::ssl::Ssl::new(acceptor.context()).unwrap();
            let (ears, scissors, gone) = (ears.clone(), scissors.clone(), gone.clone());
            tokio::spawn(async move {
                let mut stream = SslStream::new(ssl, stream).unwrap();
                if Pin::new(&mut stream).accept().await.is_err() {
                    return;
                }
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let ears = ears.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let token = head.uri.path().rsplit('/').next().unwrap().to_owned();
                        ears.lock()
                            .unwrap()
                            .push((Request::from_parts(head, ()), body));
                        let (status, body, after) = answer(&token);
                        let mut response = Response::builder().status(status);
                        if let Some(after) = after {
                            response = response.header(RETRY_AFTER, after);
                        }
                        Ok::<_, Infallible>(response.body(Full::<Bytes>::from(body)).unwrap())
                    }
                });
                let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .max_concurrent_streams(16)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    _ = served => {}
                    () = scissors.notified() => {}
                }
                gone.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("ca.pem"),
        ca.certificate.to_pem().unwrap(),
    )
    .unwrap();
    let mut config = Config::for_directory(directory.path());
    config.push.host = "localhost".to_owned();
    config.push.port = port;
    config.push.ca = Some("ca.pem".into());
    Apple {
        service: PushService::new(&config, Arc::new(ManualClock::new(now))).unwrap(),
        connections,
        heard,
        cut,
        ended,
    }
}

fn identity() -> PushIdentity {
    let (certificate, key) = crate::testing::certificate("push", None);
    PushIdentity {
        organisation: OrganisationId(1),
        certificate: Der(certificate.to_der().unwrap()),
        key: Secret::new(key.private_key_to_pkcs8().unwrap()),
    }
}

fn to(token: &str) -> PushTarget {
    PushTarget {
        topic: "com.apple.mgmt.External.x".to_owned(),
        token: token.to_owned(),
        magic: "magic \"quoted\"".to_owned(),
        since: Timestamp::default(),
    }
}

#[tokio::test]
async fn a_push_says_what_apple_asks_for_and_nothing_more() {
    let apple = apple().await;
    let outcome = apple.service.push(&identity(), &to("aa")).await.unwrap();
    assert_eq!(outcome, PushOutcome::Delivered);
    let heard = apple.heard.lock().unwrap();
    let (request, body) = &heard[0];
    assert_eq!(request.uri().path(), "/3/device/aa");
    assert_eq!(body.as_ref(), br#"{"mdm":"magic \"quoted\""}"#);
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("apns-push-type"), "mdm");
    assert_eq!(header("apns-topic"), "com.apple.mgmt.External.x");
    assert_eq!(header("apns-priority"), "10");
    assert_eq!(
        header("apns-expiration"),
        (1_796_922_000 + 7 * 86_400).to_string()
    );
}

#[tokio::test]
async fn every_answer_becomes_what_it_means() {
    let apple = apple().await;
    let identity = identity();
    let check = async |token: &str| apple.service.push(&identity, &to(token)).await;
    let bad = |reason: &str| PushOutcome::BadToken {
        reason: reason.to_owned(),
    };
    assert_eq!(check("b0").await.unwrap(), bad("BadDeviceToken"));
    assert_eq!(check("b1").await.unwrap(), bad("DeviceTokenNotForTopic"));
    let refused = |reason: &str| PushOutcome::Refused {
        reason: reason.to_owned(),
    };
    assert_eq!(check("b2").await.unwrap(), refused("BadTopic"));
    assert_eq!(check("ff").await.unwrap(), refused("SomethingNew"));
    let since = Some(Timestamp::from_millis(1_796_922_000_123));
    assert_eq!(check("c0").await.unwrap(), PushOutcome::Gone { since });
    assert_eq!(
        check("c1").await.unwrap(),
        PushOutcome::Gone { since: None }
    );
    let reason = "BadCertificate".to_owned();
    assert_eq!(
        check("d0").await.unwrap(),
        PushOutcome::CertificateRefused { reason }
    );
    let after = |error: PortError| error.retry_after().map(|d| d.as_secs());
    assert_eq!(after(check("b3").await.unwrap_err()), Some(30));
    assert_eq!(after(check("e0").await.unwrap_err()), Some(60));
    assert_eq!(after(check("e1").await.unwrap_err()), Some(17));
}

#[tokio::test]
async fn many_pushes_share_one_connection_and_a_broken_one_is_made_anew() {
    let apple = apple().await;
    let identity = identity();
    let many = async || {
        let target = to("aa");
        let pushes = (0..200).map(|_| apple.service.push(&identity, &target));
        for outcome in futures_util::future::join_all(pushes).await {
            assert_eq!(outcome.unwrap(), PushOutcome::Delivered);
        }
    };
    many().await;
    assert_eq!(apple.connections.load(Ordering::SeqCst), 1);
    apple.cut.notify_waiters();
    many().await;
    assert_eq!(apple.connections.load(Ordering::SeqCst), 2);
    // One that was heard just before the cut is sent again.
    assert!(apple.heard.lock().unwrap().len() >= 400);
}

#[tokio::test]
async fn a_renewed_certificate_gets_a_connection_of_its_own() {
    let apple = apple().await;
    for _ in 0..2 {
        apple.service.push(&identity(), &to("aa")).await.unwrap();
    }
    assert_eq!(apple.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_key_of_another_certificate_calls_a_person_and_shows_nothing() {
    let apple = apple().await;
    let mut wrong = identity();
    wrong.key = identity().key;
    let error = apple.service.push(&wrong, &to("aa")).await.unwrap_err();
    assert!(matches!(error, PortError::NeedsPerson(_)), "{error}");
}

#[tokio::test]
async fn a_service_that_is_not_the_configured_one_is_not_spoken_to() {
    let (ours, theirs) = (apple().await, apple().await);
    let mut service = ours.service;
    service.port = theirs.service.port;
    let error = service.push(&identity(), &to("aa")).await.unwrap_err();
    assert!(error.retry_after().is_some(), "{error}");
    assert!(theirs.heard.lock().unwrap().is_empty());
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_made_anew_on_demand() {
    let mut apple = apple().await;
    apple.service.idle = Duration::from_millis(300);
    let identity = identity();
    let push = async |apple: &Apple| apple.service.push(&identity, &to("aa")).await.unwrap();
    for _ in 0..3 {
        push(&apple).await;
    }
    assert_eq!(apple.connections.load(Ordering::SeqCst), 1);
    until("the idle connection stays", || {
        apple.ended.load(Ordering::SeqCst) == 1
    })
    .await;
    push(&apple).await;
    assert_eq!(apple.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn only_so_many_connections_are_open_whatever_the_number_of_organisations() {
    let mut apple = apple().await;
    apple.service.most = 3;
    let identity = identity();
    for organisation in 1..=8 {
        let mut of = identity.clone();
        of.organisation = OrganisationId(organisation);
        apple.service.push(&of, &to("aa")).await.unwrap();
    }
    until("more than three stay open", || {
        apple.ended.load(Ordering::SeqCst) == 5
    })
    .await;
    assert_eq!(apple.service.lines.lock().await.len(), 3);
    // Those used last are the ones that stay.
    let mut last = identity.clone();
    last.organisation = OrganisationId(8);
    apple.service.push(&last, &to("aa")).await.unwrap();
    assert_eq!(apple.connections.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn who_waited_for_a_connection_that_is_not_taken_does_not_wait_for_another() {
    // Takes connections and says nothing, as behind a wall that drops packets.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = Config::for_directory(std::path::Path::new("/x"));
    config.push.host = "localhost".to_owned();
    config.push.port = port;
    let clock = Arc::new(ManualClock::new(Timestamp::default()));
    let mut service = PushService::new(&config, clock).unwrap();
    service.connect_within = Duration::from_millis(300);
    let (identity, target) = (identity(), to("aa"));
    let begun = Instant::now();
    let pushes = (0..50).map(|_| service.push(&identity, &target));
    let all = futures_util::future::join_all(pushes).await;
    assert!(all.iter().all(|push| push.is_err()), "{all:?}");
    // One time-out, not fifty.
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let later = Instant::now();
    assert!(service.push(&identity, &target).await.is_err());
    assert!(later.elapsed() < Duration::from_millis(200));
}
