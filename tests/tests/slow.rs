//! 200 devices whose connections are slow or half open, and 800 others: the others are all answered while the 200 still hold
//! what they hold.

#[path = "doors/house.rs"]
#[allow(dead_code, reason = "shared with other stories of doors")]
mod house;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use house::House;
use mdmd::config::Duty;
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};

const SLOW: usize = 200;
const OTHERS: usize = 800;

/// A connection that keeps the server waiting.
enum Slow {
    /// Connected, and not a byte of a handshake.
    Mute(TcpStream),
    /// Somewhere within a request, or with answers that it does not read.
    Stuck(SslStream<TcpStream>),
}

impl Slow {
    /// The `nth` of its kind: mute, within the head, within the body, or deaf.
    fn open(address: SocketAddr, nth: usize, path: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        if nth.is_multiple_of(4) {
            return Self::Mute(stream);
        }
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        let mut stream = builder.build().connect("localhost", stream).unwrap();
        let head = format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\n");
        let text = match nth % 4 {
            1 => head,
            2 => format!("{head}Content-Length: 4000\r\n\r\n<?xml"),
            _ => format!("{head}Content-Length: 0\r\n\r\n").repeat(400),
        };
        stream.write_all(text.as_bytes()).unwrap();
        Self::Stuck(stream)
    }

    /// Whether the server still waits for it.
    fn is_open(&self) -> bool {
        let mut stream = match self {
            Self::Mute(stream) => stream,
            Self::Stuck(stream) => stream.get_ref(),
        };
        stream.set_nonblocking(true).unwrap();
        let mut heard = [0; 16 * 1024];
        // Whatever it has not read yet comes before the end, if there is one.
        loop {
            match stream.read(&mut heard) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    }
}

/// So many polls, each on a connection of its own, 32 at a time; how long they took together.
async fn polls(house: &House, ask: &house::Ask) -> Duration {
    let begun = Instant::now();
    let answers = futures_util::stream::iter(0..OTHERS).map(|_| house.send(ask.clone()));
    let statuses: Vec<u16> = answers.buffer_unordered(32).map(|(s, _)| s).collect().await;
    assert!(statuses.iter().all(|status| *status == 200));
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_devices_delay_nobody_else() {
    let house = House::open().await;
    let device = house.enrolled().await;
    let ask = house.idle(&device);
    let alone = polls(&house, &ask).await;

    let address = house.app.address(Duty::Device).unwrap();
    let path = house.path("command");
    let opened = tokio::task::spawn_blocking(move || {
        let open = |nth| Slow::open(address, nth, &path);
        (0..SLOW).map(open).collect::<Vec<_>>()
    });
    let slow = opened.await.unwrap();
    let beside = polls(&house, &ask).await;
    let waiting = slow.iter().filter(|s| s.is_open()).count();
    println!("{OTHERS} polls: {alone:?} alone, {beside:?} beside {waiting} slow connections");
    // Their times have not run out, so nothing was won by cutting them.
    assert!(waiting >= SLOW * 3 / 4, "only {waiting} still wait");
    drop(slow);
    house.close().await;
}
