//! Laws of the edge over whole requests: cut into any pieces they are the same requests, behind each other they are answered in
//! their order, and a body is taken up to its limit and no further. Connections here are pipes as narrow as a case wants them.

use std::net::{IpAddr, Ipv4Addr};

use proptest::arbitrary::any as anything;
use proptest::collection::vec;
use proptest::sample::{Index, select};
use proptest::strategy::{Just, Strategy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{Connection, Duration, Duty, ListenerConfig, Network, any};
use crate::config::Config;
use crate::testing::{TestHouse, runner};

/// Whatever is asked, a connection ends within this.
const END: Duration = Duration::from_secs(20);
/// A pipe into which everything goes at once.
const WIDE: usize = 1 << 20;
/// Whose doors these are.
pub(super) const CODE: &str = "abcdefgh2345";

/// A house behind a listed proxy, and what it runs on.
pub(super) fn open(change: impl FnOnce(&mut Config)) -> (Runtime, TestHouse) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut proxied = ListenerConfig::new(any(), Duty::Plain);
    proxied.proxy_protocol = true;
    let house = runtime.block_on(TestHouse::open(vec![proxied], |config| {
        config.proxy.trusted = vec![Network::parse("127.0.0.0/8").unwrap()];
        config.limits.client_requests = 0;
        change(config);
    }));
    (runtime, house)
}

/// Says these pieces on a connection, and hears everything until its end.
pub(super) async fn talk(house: &TestHouse, said: &[Vec<u8>], pipe: usize) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(pipe);
    let connection = Connection {
        duty: Duty::Plain,
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        client: None,
        certificate: None,
    };
    let routes = house.house.doors.of(Duty::Plain).clone();
    let served = house.house.serve(theirs, connection, routes, None);
    let (mut from, mut to) = tokio::io::split(ours);
    let say = async {
        for piece in said {
            if to.write_all(piece).await.is_err() {
                // It has heard enough, and has answered.
                return;
            }
            // So that what was said is read before more comes.
            tokio::task::yield_now().await;
        }
    };
    let hear = async {
        let mut heard = Vec::new();
        let ended = timeout(END, from.read_to_end(&mut heard)).await;
        ended.expect("the connection ends").expect("a pipe");
        heard
    };
    let ((), (), heard) = tokio::join!(served, say, hear);
    heard
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) status: u16,
    /// Without what is another one each time.
    pub(super) head: Vec<String>,
    pub(super) body: Vec<u8>,
}

/// The answers of a connection in their order; heads that only say "go on" are passed over.
pub(super) fn answers(heard: &[u8]) -> Vec<Heard> {
    let mut all = Vec::new();
    let mut rest = heard;
    while !rest.is_empty() {
        let mut ends = rest.windows(4);
        let end = ends.position(|four| four == b"\r\n\r\n");
        let end = end.expect("a whole head");
        let head = std::str::from_utf8(&rest[..end]).expect("text");
        rest = &rest[end + 4..];
        let status = head.strip_prefix("HTTP/1.1 ");
        let status = status.and_then(|line| line.get(..3)?.parse().ok());
        let status: u16 = status.expect("a status line");
        if status < 200 {
            continue;
        }
        let lines: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
        let length = lines
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        let (body, after) = rest.split_at_checked(length).expect("a whole body");
        rest = after;
        let each_time = ["date: ", "x-request-id: "];
        let stays = |line: &String| !each_time.iter().any(|name| line.starts_with(name));
        all.push(Heard {
            status,
            head: lines.into_iter().filter(stays).collect(),
            body: body.to_vec(),
        });
    }
    all
}

/// What the desk was asked since last time: what, of which organisation, with which body.
pub(super) fn asked(house: &TestHouse) -> Vec<(String, String, Vec<u8>)> {
    let asked = std::mem::take(&mut *house.desk.asked.lock().unwrap());
    let addressed = std::mem::take(&mut *house.desk.addressed.lock().unwrap());
    let both = asked.into_iter().zip(addressed);
    both.map(|((what, _, body), code)| (what, code.to_string(), body))
        .collect()
}

/// How the length of a body is told.
#[derive(Clone, Debug)]
enum Framing {
    /// Ahead.
    Told,
    /// Piece by piece, of these sizes over and over.
    Chunks(Vec<usize>),
}

fn framing() -> impl Strategy<Value = Framing> {
    proptest::prop_oneof![
        Just(Framing::Told),
        vec(1_usize..3_000, 1..8).prop_map(Framing::Chunks),
    ]
}

/// A whole request; after the `last` one the connection ends.
fn request(line: &str, framing: &Framing, body: &[u8], last: bool) -> Vec<u8> {
    let mut all = format!("{line} HTTP/1.1\r\nHost: mdm.test\r\n").into_bytes();
    if last {
        all.extend(b"Connection: close\r\n");
    }
    match framing {
        Framing::Told => {
            all.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
            all.extend(body);
        }
        Framing::Chunks(sizes) => {
            all.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            let mut rest = body;
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at(rest.len().min(*size));
                if piece.is_empty() {
                    break;
                }
                all.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                all.extend(piece);
                all.extend(b"\r\n");
                rest = after;
            }
            all.extend(b"0\r\n\r\n");
        }
    }
    all
}

/// The same bytes in pieces.
fn cut(bytes: &[u8], at: &[Index]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = at.iter().map(|at| at.index(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut from = 0;
    let mut pieces = Vec::new();
    for to in ends {
        pieces.push(bytes[from..to].to_vec());
        from = to;
    }
    pieces
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(anything::<Index>(), 0..12)
}

const LINES: &[&str] = &[
    "PUT /mdm/abcdefgh2345/checkin",
    "PUT /mdm/abcdefgh2345/command?x=y",
    "POST /mdm/abcdefgh2345/enrol",
    "POST /mdm/abcdefgh2345/scep?operation=PKIOperation",
    "POST /mdm/abcdefgh2345/acme/new-order",
    "GET /mdm/abcdefgh2345/download",
    "GET /healthz",
    "DELETE /mdm/abcdefgh2345/checkin",
    "PUT /mdm/UPPER/checkin",
    "PUT /nowhere",
    // What hyper itself refuses.
    "PUT /a b",
    "P(T /nowhere",
];

/// The line of a request, how long its body says it is, and the body.
type Asked = (&'static str, Framing, Vec<u8>);

#[test]
fn the_same_request_in_any_pieces_has_the_same_answer() {
    let (runtime, house) = open(|config| config.limits.check_in_bytes = 2_000);
    let bodies = proptest::prop_oneof![
        6 => vec(anything::<u8>(), 0..2_100),
        1 => Just(b"bad".to_vec()),
        1 => Just(b"unknown".to_vec()),
    ];
    let case = (
        (select(LINES), framing(), bodies),
        framing(),
        cuts(),
        1_usize..400,
    );
    let told = |said: &[Vec<u8>], pipe| {
        let heard = runtime.block_on(talk(&house, said, pipe));
        (answers(&heard), asked(&house))
    };
    let law = |((line, framing, body), other, at, pipe): (Asked, Framing, Vec<Index>, usize)| {
        let whole = request(line, &framing, &body, true);
        let at_once = told(std::slice::from_ref(&whole), WIDE);
        assert_eq!(at_once.0.len(), 1, "{line}");
        let in_pieces = told(&cut(&whole, &at), pipe);
        assert_eq!(in_pieces, at_once, "{line}");
        // However its length is told.
        let otherwise = request(line, &other, &body, true);
        let otherwise = told(&cut(&otherwise, &at), pipe);
        assert_eq!(otherwise, at_once, "{line}");
        Ok(())
    };
    runner(120).run(&case, law).unwrap();
}

/// One of several requests on one connection.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Fine(usize),
    Slow,
    Bad,
    TooLong,
    WrongMethod,
    Alive,
    Nowhere,
}

/// What a check-in may have where requests stand behind each other.
const SHORT: usize = 1_000;

impl Ask {
    fn sent(self, framing: &Framing, last: bool) -> Vec<u8> {
        let check_in = "PUT /mdm/abcdefgh2345/checkin";
        let (line, body) = match self {
            Self::Fine(length) => (check_in, vec![b'x'; length]),
            Self::Slow => (check_in, b"slow".to_vec()),
            Self::Bad => (check_in, b"bad".to_vec()),
            Self::TooLong => (check_in, vec![b'x'; SHORT + 1]),
            Self::WrongMethod => ("POST /mdm/abcdefgh2345/checkin", b"what".to_vec()),
            Self::Alive => ("GET /healthz", Vec::new()),
            Self::Nowhere => ("PUT /nowhere", b"what".to_vec()),
        };
        request(line, framing, &body, last)
    }

    /// Status, and what stands in the answer where it is not for anybody else's.
    fn expected(self) -> (u16, Option<String>) {
        match self {
            Self::Fine(length) => (200, Some(length.to_string())),
            Self::Slow => (200, Some("4".to_owned())),
            Self::Bad => (400, Some("UDID: must be there\n".to_owned())),
            Self::TooLong => (413, Some(format!("body: must be at most {SHORT} bytes\n"))),
            Self::WrongMethod => (400, None),
            Self::Alive => (200, Some("alive\n".to_owned())),
            Self::Nowhere => (404, None),
        }
    }
}

#[test]
fn requests_behind_each_other_are_answered_in_their_order() {
    let (runtime, house) = open(|config| config.limits.check_in_bytes = SHORT);
    let ask = proptest::prop_oneof![
        30 => (0..=SHORT).prop_map(Ask::Fine),
        1 => Just(Ask::Slow),
        8 => Just(Ask::Bad),
        8 => Just(Ask::TooLong),
        8 => Just(Ask::WrongMethod),
        8 => Just(Ask::Alive),
        8 => Just(Ask::Nowhere),
    ];
    let case = (vec((ask, framing()), 1..20), cuts(), 1_usize..3_000);
    let law = |(all, at, pipe): (Vec<(Ask, Framing)>, Vec<Index>, usize)| {
        let count = all.len();
        let mut said = Vec::new();
        for (n, (ask, framing)) in all.iter().enumerate() {
            said.extend(ask.sent(framing, n + 1 == count));
        }
        let heard = runtime.block_on(talk(&house, &cut(&said, &at), pipe));
        let answers = answers(&heard);
        assert_eq!(answers.len(), count, "{all:?}");
        for (answer, (ask, _)) in answers.iter().zip(&all) {
            let (status, body) = ask.expected();
            assert_eq!(answer.status, status, "{ask:?}");
            if let Some(body) = body {
                assert_eq!(String::from_utf8_lossy(&answer.body), body, "{ask:?}");
            }
        }
        Ok(())
    };
    runner(40).run(&case, law).unwrap();
}

/// Doors, and what they take here; the two of devices take more than what is read from anybody.
const DOORS: &[(&str, usize)] = &[
    ("PUT /mdm/abcdefgh2345/checkin", 66_000),
    ("PUT /mdm/abcdefgh2345/command", 70_000),
    ("POST /mdm/abcdefgh2345/enrol", 5_000),
    ("POST /mdm/abcdefgh2345/scep?operation=PKIOperation", 5_000),
    ("POST /mdm/abcdefgh2345/acme/new-order", 5_000),
    ("POST /mdm/abcdefgh2345/acme/order/1", 5_000),
    ("POST /mdm/abcdefgh2345/download", 5_000),
];

#[test]
fn a_body_of_exactly_its_limit_is_taken_and_of_one_byte_more_is_not() {
    let (runtime, house) = open(|config| {
        config.limits.check_in_bytes = 66_000;
        config.limits.command_bytes = 70_000;
        config.limits.enrol_bytes = 5_000;
    });
    let chunks = vec(200_usize..9_000, 1..5).prop_map(Framing::Chunks);
    let framing = proptest::prop_oneof![Just(Framing::Told), chunks];
    let case = (
        select(DOORS),
        select(vec![-1_isize, 0, 1, 2, 3_000]),
        framing,
        500_usize..70_000,
    );
    let law = |((line, limit), more, framing, pipe): ((&str, usize), isize, Framing, usize)| {
        let length = limit.checked_add_signed(more).unwrap();
        // The form of an invitation is one field; to the others it is as good as anything.
        let mut body = b"code=abc&".to_vec();
        body.resize(length, b'x');
        let said = request(line, &framing, &body, true);
        let heard = runtime.block_on(talk(&house, &[said], pipe));
        let answers = answers(&heard);
        let asked = asked(&house);
        let [answer] = answers.as_slice() else {
            panic!("{line}: {} answers", answers.len());
        };
        let [(what, code, taken)] = asked.as_slice() else {
            panic!("{line}: {asked:?}");
        };
        assert_eq!(code, CODE);
        if length <= limit {
            assert_eq!(answer.status, 200, "{line} {length}");
            let form = line.ends_with("/download");
            let hears: &[u8] = if form { b"abc" } else { &body };
            assert!(taken == hears, "{line} {length}: {} bytes", taken.len());
        } else {
            assert_eq!(answer.status, 413, "{line} {length}");
            let said = String::from_utf8_lossy(&answer.body);
            let sentence = format!("body: must be at most {limit} bytes");
            assert!(said.contains(&sentence), "{line} {length}: {said}");
            // In the record, and nothing of it with the service.
            assert!(what.starts_with("unread ") && taken.is_empty(), "{what}");
        }
        Ok(())
    };
    runner(80).run(&case, law).unwrap();
}
