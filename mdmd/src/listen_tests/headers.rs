//! Laws of the edge over headers: whatever they are called, whatever they say and however many there are, the request is answered,
//! nothing is our failure, and nothing that a header says comes back.

use proptest::arbitrary::any as anything;
use proptest::collection::vec;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};

use super::edge::{CODE, answers, open, talk};
use crate::testing::runner;

/// In no answer.
const MARK: &[u8] = b"zqmarkqz";
/// So many headers are read.
const MOST: usize = 100;

/// What somebody looks at: hyper, the edge, identities, a route.
const NAMES: &[&str] = &[
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Trailer",
    "TE",
    "Expect",
    "Connection",
    "Upgrade",
    "HTTP2-Settings",
    "Mdm-Signature",
    "Client-Cert",
    "X-Forwarded-For",
    "Forwarded",
    "Traceparent",
    "X-Request-Id",
    "Content-Type",
    "Authorization",
    "Cookie",
    "Origin",
    "Range",
    "If-Range",
    "If-Match",
    "Idempotency-Key",
    "Accept-Encoding",
];

const VALUES: &[&str] = &[
    "",
    "5",
    "05",
    "+5",
    "-1",
    "18446744073709551616",
    "chunked",
    "gzip, chunked",
    "chunked, chunked",
    "identity",
    "100-continue",
    "close",
    "keep-alive",
    "upgrade",
    "h2c",
    "websocket",
    "bytes=0-",
    "Bearer ",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "203.0.113.7, 10.0.0.1",
    ":AAAA:",
    "%2D%2D%zz",
];

/// Any bytes that do not end a line.
fn bytes(least: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = anything::<u8>().prop_map(|byte| match byte {
        b'\r' | b'\n' => b'x',
        byte => byte,
    });
    vec(byte, least..50)
}

/// One line of a head, without its end.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let token = vec(select(b"abcXYZ019-_.!~".to_vec()), 1..12);
    let name = proptest::prop_oneof![
        8 => select(NAMES).prop_map(|name| name.as_bytes().to_vec()),
        4 => token.prop_map(|token| [&b"X-"[..], MARK, token.as_slice()].concat()),
        // An empty line would be the end of the head.
        1 => bytes(1),
    ];
    let value = proptest::prop_oneof![
        4 => select(VALUES).prop_map(|value| value.as_bytes().to_vec()),
        4 => vec(0x20_u8..0x7f, 0..60).prop_map(|text| [MARK, text.as_slice()].concat()),
        1 => bytes(0).prop_map(|value| [MARK, value.as_slice()].concat()),
    ];
    let between = select(vec![": ", ": ", ": ", ":", " : ", ""]);
    (name, between, value)
        .prop_map(|(name, between, value)| [name.as_slice(), between.as_bytes(), &value].concat())
}

/// Every route of the doors for devices, with something in place of its parameters.
fn lines() -> Vec<String> {
    let all = crate::http::DEVICE.iter().chain(crate::http::ENROL);
    all.map(|(method, path)| {
        let mut line = format!("{} ", method.to_uppercase());
        for part in path.split('/').skip(1) {
            line.push('/');
            line.push_str(match part {
                "{org}" => CODE,
                "{mode}" => "byod",
                part if part.starts_with('{') => "name",
                part => part,
            });
        }
        line
    })
    .collect()
}

/// A head with these lines behind those that it must have, and a body of five bytes.
fn request(line: &str, headers: &[Vec<u8>]) -> Vec<u8> {
    let head =
        format!("{line} HTTP/1.1\r\nHost: mdm.test\r\nConnection: close\r\nContent-Length: 5\r\n");
    let mut all = head.into_bytes();
    for header in headers {
        all.extend(header);
        all.extend(b"\r\n");
    }
    all.extend(b"\r\nhello");
    all
}

/// What [`request`] puts there.
const OWN: usize = 3;

#[test]
fn any_headers_are_answered_and_none_of_them_is_repeated() {
    let (runtime, house) = open(|_| {});
    let headers = proptest::prop_oneof![
        4 => vec(header(), 0..6),
        1 => vec(header(), 80..130),
    ];
    // Beyond what all of them may have, and beyond twice that.
    let long = proptest::prop_oneof![
        8 => Just(0_usize),
        1 => 60_000_usize..70_000,
        1 => 150_000_usize..200_000,
    ];
    let case = (select(lines()), headers, long, 40_000_usize..100_000);
    let law = |(line, mut headers, long, pipe): (String, Vec<Vec<u8>>, usize, usize)| {
        if long > 0 {
            let value = b"z".repeat(long);
            headers.push([&b"X-Long: "[..], value.as_slice()].concat());
        }
        let said = request(&line, &headers);
        let heard = runtime.block_on(talk(&house, &[said], pipe));
        let answers = answers(&heard);
        let [answer] = answers.as_slice() else {
            panic!("{line}: {} answers", answers.len());
        };
        let status = answer.status;
        assert!((200..500).contains(&status), "{line}: {status}");
        let beyond = headers.len() + OWN > MOST || long > 2 * 65_536;
        assert!(!beyond || status >= 400, "{line}: {status}");
        let repeated = heard.windows(MARK.len()).any(|here| here == MARK);
        assert!(!repeated, "{line}: {}", String::from_utf8_lossy(&heard));
        Ok(())
    };
    runner(200).run(&case, law).unwrap();
}

#[test]
fn as_many_headers_as_are_read_are_read_and_one_more_is_refused() {
    let (runtime, house) = open(|_| {});
    for (count, status) in [(MOST, 200), (MOST + 1, 431)] {
        let headers: Vec<Vec<u8>> = (OWN..count)
            .map(|n| format!("X-Header-{n}: {n}").into_bytes())
            .collect();
        let said = request("PUT /mdm/abcdefgh2345/checkin", &headers);
        let heard = runtime.block_on(talk(&house, &[said], 1 << 16));
        let told: Vec<u16> = answers(&heard).iter().map(|a| a.status).collect();
        assert_eq!(told, [status], "{count}");
    }
}
