//! Laws of the PROXY protocol: whatever a listed proxy says, nobody becomes another client than its bytes name, read a second time
//! here by what the specification says; and what follows is touched by nobody.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::arbitrary::any as anything;
use proptest::collection::vec;
use proptest::sample::{Index, select};
use proptest::strategy::{Just, Strategy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Duty;
use super::edge::{answers, open};
use crate::listen::proxied::{HeaderError, client};
use crate::testing::runner;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The source that a header names and the header's length; `None` where there is no header.
fn independent(sent: &[u8]) -> Option<(Option<IpAddr>, usize)> {
    if let Some(rest) = sent.strip_prefix(SIGNATURE) {
        let [command, family, high, low, rest @ ..] = rest else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let block = rest.get(..length)?;
        let source = match (*command, *family >> 4) {
            (0x21, 1) => {
                let four: [u8; 4] = block.get(..4)?.try_into().ok()?;
                Some(IpAddr::from(four))
            }
            (0x21, 2) => {
                let sixteen: [u8; 16] = block.get(..16)?.try_into().ok()?;
                Some(IpAddr::from(sixteen))
            }
            (0x20 | 0x21, _) => None,
            _ => return None,
        };
        return Some((source, SIGNATURE.len() + 4 + length));
    }
    let end = sent.windows(2).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&sent[..end]).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, _, _, _] => Some(IpAddr::V4(from.parse().ok()?)),
        ["PROXY", "TCP6", from, _, _, _] => Some(IpAddr::V6(from.parse().ok()?)),
        _ => return None,
    };
    Some((source, end + 2))
}

/// Whom a well-formed header names: both ends of one family, and ports.
#[derive(Clone, Copy, Debug)]
struct Ends {
    from: SocketAddr,
    to: SocketAddr,
}

fn ends() -> impl Strategy<Value = Ends> {
    let v4 = || anything::<[u8; 4]>().prop_map(|four| IpAddr::V4(Ipv4Addr::from(four)));
    // Among them those that stand for an address of the other family.
    let v6 = || {
        proptest::prop_oneof![
            anything::<[u8; 16]>().prop_map(|sixteen| IpAddr::V6(Ipv6Addr::from(sixteen))),
            anything::<[u8; 4]>()
                .prop_map(|four| IpAddr::V6(Ipv4Addr::from(four).to_ipv6_mapped())),
            Just(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ]
    };
    let pair = proptest::prop_oneof![
        (v4(), v4()).prop_map(|(from, to)| [from, to]),
        (v6(), v6()).prop_map(|(from, to)| [from, to]),
    ];
    (pair, anything::<u16>(), anything::<u16>()).prop_map(|([from, to], source, target)| Ends {
        from: SocketAddr::new(from, source),
        to: SocketAddr::new(to, target),
    })
}

/// The line of version 1.
fn line(ends: Ends) -> Vec<u8> {
    let Ends { from, to } = ends;
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (source, target) = (from.port(), to.port());
    format!(
        "PROXY {family} {} {} {source} {target}\r\n",
        from.ip(),
        to.ip()
    )
    .into_bytes()
}

/// The block of version 2, with this behind the addresses.
fn block(ends: Ends, command: u8, behind: &[u8]) -> Vec<u8> {
    let Ends { from, to } = ends;
    let mut inside = Vec::new();
    for address in [from.ip(), to.ip()] {
        match address {
            IpAddr::V4(v4) => inside.extend(v4.octets()),
            IpAddr::V6(v6) => inside.extend(v6.octets()),
        }
    }
    inside.extend(from.port().to_be_bytes());
    inside.extend(to.port().to_be_bytes());
    inside.extend(behind);
    let family = if from.is_ipv4() { 0x11 } else { 0x21 };
    let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
    let head = [0x20 | command, family, length[0], length[1]];
    [SIGNATURE, &head[..], inside.as_slice()].concat()
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(anything::<u8>(), 0..most)
}

/// A header as it should be.
fn header() -> impl Strategy<Value = (Ends, Vec<u8>)> {
    proptest::prop_oneof![
        ends().prop_map(|ends| (ends, line(ends))),
        (ends(), bytes(200)).prop_map(|(ends, behind)| (ends, block(ends, 1, &behind))),
    ]
}

fn read(sent: &[u8]) -> (Result<Option<SocketAddr>, HeaderError>, Vec<u8>) {
    let mut stream = sent;
    let found = futures_util::FutureExt::now_or_never(client(&mut stream));
    (found.expect("everything is there"), stream.to_vec())
}

#[test]
fn a_header_is_read_as_it_is_written_and_what_follows_is_left() {
    let law = |((ends, header), follows): ((Ends, Vec<u8>), Vec<u8>)| {
        let (found, left) = read(&[header.as_slice(), &follows].concat());
        assert_eq!(found, Ok(Some(ends.from)), "{header:?}");
        assert_eq!(left, follows, "{header:?}");
        // Half of it is none.
        let (found, _) = read(&header[..header.len() - 1]);
        assert!(found.is_err(), "{header:?}");
        Ok(())
    };
    runner(400).run(&(header(), bytes(80)), law).unwrap();
}

/// A change of one byte, or one more or one less.
fn changed(mut header: Vec<u8>, changes: &[(Index, u8, u8)]) -> Vec<u8> {
    for (at, way, byte) in changes {
        if header.is_empty() {
            break;
        }
        let at = at.index(header.len());
        match way % 3 {
            0 => header[at] = *byte,
            1 => header.insert(at, *byte),
            _ => {
                header.remove(at);
            }
        }
    }
    header
}

const WORDS: &[&str] = &[
    "PROXY",
    "PROXY ",
    "proxy ",
    "TCP4",
    "TCP6",
    "TCP",
    "UNKNOWN",
    " ",
    " ",
    " ",
    "  ",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\0",
    "1.2.3.4",
    "1.2.3.04",
    "1.2.3",
    "::1",
    "::ffff:1.2.3.4",
    "::1%lo",
    "0",
    "65535",
    "65536",
    "+1",
    "01",
    "443",
    "QUIT",
];

#[test]
fn nothing_makes_anybody_another_client_than_its_bytes_name() {
    let (believed, refused) = (Cell::new(0), Cell::new(0));
    let change = (anything::<Index>(), anything::<u8>(), anything::<u8>());
    let damaged = (header(), vec(change, 1..4));
    let damaged = damaged.prop_map(|((_, header), changes)| changed(header, &changes));
    let words = vec(select(WORDS), 0..14).prop_map(|words| words.concat().into_bytes());
    let after = |start: &'static [u8]| move |rest: Vec<u8>| [start, rest.as_slice()].concat();
    let lines = vec(select(WORDS), 0..12)
        .prop_map(|words| words.concat().into_bytes())
        .prop_map(after(b"PROXY TCP4 "));
    let any_block = bytes(300).prop_map(after(SIGNATURE));
    let other = (ends(), anything::<u8>(), bytes(20));
    let commands = other.prop_map(|(ends, command, behind)| block(ends, command & 3, &behind));
    let sent = proptest::prop_oneof![
        4 => damaged,
        1 => words,
        2 => lines,
        2 => any_block,
        2 => commands,
        1 => bytes(300),
    ];
    let law = |(sent, follows): (Vec<u8>, Vec<u8>)| {
        let all = [sent.as_slice(), &follows].concat();
        let (found, left) = read(&all);
        let Ok(found) = found else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        let (source, length) = independent(&all).expect("what is believed is a header");
        assert_eq!(found.map(|a| a.ip()), source, "{all:?}");
        assert_eq!(left, &all[length..], "{all:?}");
        believed.set(believed.get() + usize::from(found.is_some()));
        Ok(())
    };
    runner(4_000).run(&(sent, bytes(60)), law).unwrap();
    // Or it would hold for want of headers of either kind.
    assert!(believed.get() > 50, "{}", believed.get());
    assert!(refused.get() > 50, "{}", refused.get());
}

#[test]
fn the_client_of_a_header_is_the_client_whatever_the_request_says() {
    let (runtime, house) = open(|_| {});
    let address = house.address(Duty::Plain);
    let law = |((ends, mut said), other): ((Ends, Vec<u8>), Ends)| {
        let head = "PUT /mdm/abcdefgh2345/checkin HTTP/1.1\r\nHost: mdm.test\r\nConnection: close";
        let lies = format!("X-Forwarded-For: {}\r\nContent-Length: 5", other.from.ip());
        said.extend(format!("{head}\r\n{lies}\r\n\r\nhello").into_bytes());
        let heard = runtime.block_on(async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&said).await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard
        });
        assert_eq!(answers(&heard)[0].status, 200);
        let asked = std::mem::take(&mut *house.desk.asked.lock().unwrap());
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].1.address, ends.from.ip().to_string());
        Ok(())
    };
    runner(40).run(&(header(), ends()), law).unwrap();
}
