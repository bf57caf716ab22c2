//! Connections that a proxy passes on: whose they are, and who may say so.

use super::*;

#[tokio::test]
async fn plain_speaks_to_listed_proxies_only_and_the_local_socket_to_its_owner() {
    let plain = vec![ListenerConfig::new(any(), Duty::Plain)];
    let house = TestHouse::open(plain.clone(), |config| {
        config.proxy.trusted = vec![Network::parse("127.0.0.0/8").unwrap()];
    })
    .await;
    let stream = TcpStream::connect(house.address(Duty::Plain))
        .await
        .unwrap();
    let (status, _) = put(stream, "/mdm/abcdefgh2345/checkin", b"x").await;
    assert_eq!(status, StatusCode::OK);

    let socket = house.directory.path().join("mdmd.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&socket.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let get = Request::get("/healthz").header("host", "localhost");
    let get = get.body(Full::default()).unwrap();
    let (status, body) = send(UnixStream::connect(&socket).await.unwrap(), get).await;
    assert_eq!(
        (status, body.as_ref()),
        (StatusCode::OK, b"alive\n".as_slice())
    );

    let closed = TestHouse::open(plain, |config| {
        config.proxy.trusted = vec![Network::parse("192.0.2.1").unwrap()];
    })
    .await;
    let mut stream = TcpStream::connect(closed.address(Duty::Plain))
        .await
        .unwrap();
    let _ = stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    assert!(heard.is_empty());
    // The two accept loops, and who follows the certificates.
    assert_eq!(closed.house.tasks.len(), 3);
}

#[tokio::test]
async fn a_listed_proxy_says_whose_connection_it_passes_on() {
    let open = async |trusted: &str| {
        let mut listener = ListenerConfig::new(any(), Duty::Device);
        listener.proxy_protocol = true;
        let trusted = Network::parse(trusted).unwrap();
        TestHouse::open(vec![listener], move |config| {
            config.proxy.trusted = vec![trusted];
        })
        .await
    };
    let house = open("127.0.0.0/8").await;
    let context = client(&house, SslVersion::TLS1_3, true, b"");
    let mut stream = TcpStream::connect(house.address(Duty::Device))
        .await
        .unwrap();
    stream
        .write_all(b"PROXY TCP4 203.0.113.7 10.0.0.1 4000 443\r\n")
        .await
        .unwrap();
    let mut stream = SslStream::new(Ssl::new(&context).unwrap(), stream).unwrap();
    Pin::new(&mut stream).connect().await.unwrap();
    let (status, _) = put(stream, "/mdm/abcdefgh2345/checkin", b"x").await;
    assert_eq!(status, StatusCode::OK);
    {
        let asked = house.desk.asked.lock().unwrap();
        assert_eq!(asked[0].1.address, "203.0.113.7");
        assert!(asked[0].1.certificate.is_some());
    }
    // Without the header, and from somebody who is not listed, there is not even a handshake.
    assert!(
        connect(&context, house.address(Duty::Device), None)
            .await
            .is_err()
    );
    let strict = open("192.0.2.1").await;
    let mut stream = TcpStream::connect(strict.address(Duty::Device))
        .await
        .unwrap();
    let _ = stream.write_all(b"PROXY UNKNOWN\r\n").await;
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    assert!(heard.is_empty());
}

#[tokio::test]
async fn whom_a_proxy_passes_on_has_the_connections_of_one_client() {
    let mut listener = ListenerConfig::new(any(), Duty::Device);
    listener.proxy_protocol = true;
    let house = TestHouse::open(vec![listener], |config| {
        config.proxy.trusted = vec![Network::parse("127.0.0.0/8").unwrap()];
        config.limits.client_connections = 1;
    })
    .await;
    let context = client(&house, SslVersion::TLS1_3, true, b"");
    let shake = async |from: u8| {
        let address = house.address(Duty::Device);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let header = format!("PROXY TCP4 203.0.113.{from} 10.0.0.1 4000 443\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        let mut stream = SslStream::new(Ssl::new(&context).unwrap(), stream).unwrap();
        let shaken = Pin::new(&mut stream).connect().await;
        shaken.map(|()| stream)
    };
    let first = shake(7).await.unwrap();
    assert!(shake(7).await.is_err(), "it has all that it may have");
    assert!(
        shake(8).await.is_ok(),
        "somebody else through the same proxy"
    );
    drop(first);
    for _ in 0..100 {
        if shake(7).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("its place is not given back");
}
