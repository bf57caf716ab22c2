//! The transport over hyper against small servers on this machine, with certificates that OpenSSL makes here.
#![cfg(feature = "hyper-transport")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use abm_client::{
    ClientIdentity, HyperTransport, Method, Request, SecretBytes, Transport, TransportError,
};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod, SslVerifyMode};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

/// A self-signed certificate for this machine.
fn identity(name: &str) -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
    let mut subject = X509Name::builder().expect("a name");
    subject.append_entry_by_text("CN", name).expect("a name");
    let subject = subject.build();
    let mut builder = X509::builder().expect("a builder");
    builder.set_version(2).expect("set");
    let serial = BigNum::from_u32(7)
        .and_then(|n| n.to_asn1_integer())
        .expect("a number");
    builder.set_serial_number(&serial).expect("set");
    builder.set_subject_name(&subject).expect("set");
    builder.set_issuer_name(&subject).expect("set");
    builder.set_pubkey(&key).expect("set");
    builder
        .set_not_before(&Asn1Time::days_from_now(0).expect("a time"))
        .expect("set");
    builder
        .set_not_after(&Asn1Time::days_from_now(2).expect("a time"))
        .expect("set");
    builder
        .append_extension(
            BasicConstraints::new()
                .critical()
                .ca()
                .build()
                .expect("built"),
        )
        .expect("set");
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .ip("127.0.0.1")
        .build(&builder.x509v3_context(None, None));
    builder
        .append_extension(names.expect("built"))
        .expect("set");
    builder.sign(&key, MessageDigest::sha256()).expect("signed");
    (builder.build(), key)
}

fn pem(certificate: &X509) -> Vec<u8> {
    certificate.to_pem().expect("PEM")
}

/// Reads one request up to the end of its body.
fn request_of(stream: &mut impl Read) -> String {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.and_then(|n| n.parse().ok()).unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return text,
            Ok(n) => bytes.extend(&chunk[..n]),
        }
    }
}

fn plain_server(
    answer: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let request = request_of(&mut stream);
        answer(&mut stream);
        request
    });
    (url, thread)
}

fn request(method: Method, url: String, body: Option<&str>) -> Request {
    Request {
        method,
        url,
        headers: vec![("x-test", "value".into())],
        body: body.map(|body| SecretBytes::new(body.as_bytes().to_vec())),
        answer_limit: 1000,
    }
}

fn transport() -> HyperTransport {
    HyperTransport::builder()
        .timeout(Duration::from_secs(5))
        .build()
        .expect("a transport")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_carries_its_body_and_the_answer_comes_whole() {
    let (url, server) = plain_server(|stream| {
        stream
            .write_all(b"HTTP/1.1 418 x\r\nX-ADM-Auth-Session: s2\r\nContent-Length: 4\r\n\r\nbody")
            .expect("sent");
    });
    let answer = transport()
        .send(request(Method::Delete, format!("{url}/a?b=c"), Some("{}")))
        .await
        .expect("an answer");
    assert_eq!((answer.status, answer.body.expose()), (418, &b"body"[..]));
    assert_eq!(answer.header("x-adm-auth-session"), Some("s2"));
    let seen = server.join().expect("served").to_ascii_lowercase();
    assert!(
        seen.starts_with("delete /a?b=c http/1.1\r\n") && seen.ends_with("\r\n\r\n{}"),
        "{seen}"
    );
    assert!(
        seen.contains("content-length: 2\r\n") && seen.contains("x-test: value\r\n"),
        "{seen}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (url, server) = plain_server(|stream| {
        stream.write_all(b"HTTP/1.1 302 x\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n").expect("sent");
    });
    let answer = transport()
        .send(request(Method::Get, url, None))
        .await
        .expect("an answer");
    assert_eq!(answer.status, 302);
    server.join().expect("served");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_long_is_not_read() {
    let (url, server) = plain_server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 x\r\nContent-Length: 100000\r\n\r\n");
        let _ = stream.write_all(&[b'x'; 100_000]);
    });
    let error = transport()
        .send(request(Method::Get, url, None))
        .await
        .expect_err("too long");
    assert_eq!(error, TransportError::TooLarge { limit: 1000 });
    server.join().expect("served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_leaves_the_outcome_open_and_a_missing_one_does_not() {
    let (url, server) = plain_server(|_| {});
    let error = transport()
        .send(request(Method::Post, url.clone(), Some("x")))
        .await
        .expect_err("broken");
    assert!(matches!(error, TransportError::Interrupted(_)), "{error}");
    server.join().expect("served");
    let error = transport()
        .send(request(Method::Post, url, Some("x")))
        .await
        .expect_err("nobody listens");
    assert!(matches!(error, TransportError::NotSent(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_given_up_in_time() {
    let (url, server) = plain_server(|stream| {
        // Until the client hangs up.
        let _ = stream.read(&mut [0]);
    });
    let patient = HyperTransport::builder()
        .timeout(Duration::from_millis(200))
        .build()
        .expect("a transport");
    let error = patient
        .send(request(Method::Get, url, None))
        .await
        .expect_err("silent");
    assert!(
        matches!(&error, TransportError::Interrupted(why) if why.contains("200ms")),
        "{error}"
    );
    server.join().expect("served");
}

#[tokio::test]
async fn nothing_goes_in_clear_to_another_machine() {
    for url in [
        "http://example.com/",
        "http://192.0.2.1/",
        "ftp://localhost/x",
        "no address",
        "http://localhost.example.com/",
    ] {
        let error = transport()
            .send(request(Method::Get, url.into(), None))
            .await
            .expect_err("refused");
        let early = matches!(&error, TransportError::NotSent(why) if why.contains("https") || why.contains("address"));
        assert!(early || url.starts_with("ftp"), "{url}: {error}");
    }
    let mut bad = request(Method::Get, "https://localhost/".into(), None);
    bad.headers.push(("authorization", "HIDDEN\r\nx: y".into()));
    let error = transport().send(bad).await.expect_err("refused");
    assert!(
        matches!(&error, TransportError::NotSent(why) if !why.contains("HIDDEN")),
        "{error}"
    );
}

/// A TLS server that wants a client certificate, answers with its name, and takes two connections.
fn tls_server(server: &(X509, PKey<Private>), client: X509) -> (String, JoinHandle<()>) {
    let mut acceptor =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("an acceptor");
    acceptor.set_certificate(&server.0).expect("set");
    acceptor.set_private_key(&server.1).expect("set");
    acceptor.cert_store_mut().add_cert(client).expect("set");
    acceptor.set_verify(SslVerifyMode::PEER);
    acceptor.set_session_id_context(b"test").expect("set");
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let thread = std::thread::spawn(move || {
        for _ in 0..2 {
            let (stream, _) = listener.accept().expect("a connection");
            let Ok(mut stream) = acceptor.accept(stream) else {
                continue;
            };
            request_of(&mut stream);
            let name = stream
                .ssl()
                .peer_certificate()
                .map_or_else(String::new, |certificate| {
                    let name = certificate.subject_name().entries().next().expect("a name");
                    name.data().to_string().expect("text")
                });
            let answer = format!(
                "HTTP/1.1 200 x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}",
                name.len()
            );
            stream.write_all(answer.as_bytes()).expect("sent");
            let _ = stream.shutdown();
        }
    });
    (url, thread)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_its_authority_only_and_sees_our_certificate() {
    let (server, client) = (identity("server"), identity("push certificate"));
    let (url, thread) = tls_server(&server, client.0.clone());
    let error = transport()
        .send(request(Method::Get, url.clone(), None))
        .await
        .expect_err("not trusted");
    assert!(
        matches!(&error, TransportError::NotSent(why) if why.contains("certificate")),
        "{error}"
    );
    let key = client.1.private_key_to_pem_pkcs8().expect("PEM");
    let ours = ClientIdentity::from_pem(&pem(&client.0), &key, None).expect("an identity");
    let trusting = HyperTransport::builder()
        .without_system_authorities()
        .trust_pem(&pem(&server.0))
        .expect("a certificate")
        .identity(ours)
        .build()
        .expect("a transport");
    let answer = trusting
        .send(request(Method::Get, url, None))
        .await
        .expect("an answer");
    assert_eq!(answer.body.expose(), b"push certificate");
    thread.join().expect("served");
}

#[test]
fn certificates_and_keys_that_do_not_fit_are_refused() {
    let (one, other) = (identity("one"), identity("other"));
    let key = other.1.private_key_to_pem_pkcs8().expect("PEM");
    let mixed = ClientIdentity::from_pem(&pem(&one.0), &key, None).expect_err("mixed");
    assert!(mixed.to_string().contains("another certificate"), "{mixed}");
    assert!(ClientIdentity::from_pem(b"", &key, None).is_err());
    let locked = other
        .1
        .private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), b"word")
        .expect("PEM");
    assert!(ClientIdentity::from_pem(&pem(&other.0), &locked, None).is_err());
    ClientIdentity::from_pem(&pem(&other.0), &locked, Some(&"word".into())).expect("opened");
    assert!(HyperTransport::builder().trust_pem(b"nothing").is_err());
}
