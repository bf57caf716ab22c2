//! Laws of the edge over addresses: however a path is spelt, it leads to the organisation that it names, or nowhere.

use proptest::collection::vec;
use proptest::sample::select;
use proptest::strategy::Strategy;

use super::edge::{CODE, answers, asked, open, talk};
use crate::testing::runner;

/// Another organisation on the same doors.
const OTHER: &str = "zyxwvuts9876";

fn request(method: &str, path: &str) -> Vec<u8> {
    let body = "code=abc";
    let length = body.len();
    let head = "Host: mdm.test\r\nConnection: close\r\nContent-Length";
    format!("{method} {path} HTTP/1.1\r\n{head}: {length}\r\n\r\n{body}").into_bytes()
}

/// Undoes escapes once, and leaves what is none.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%');
        let byte = escaped
            .and_then(|two| std::str::from_utf8(two).ok())
            .filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    out
}

/// One character as it may be spelt in a path.
fn spelt(text: &str, ways: &[u8]) -> String {
    let each = text.chars().zip(ways.iter().cycle());
    each.map(|(c, way)| {
        let code = u32::from(c);
        match way {
            0 => format!("%{code:02x}"),
            1 => format!("%{code:02X}"),
            // An escape of an escape is no escape.
            2 => format!("%25{code:02x}"),
            3 => format!("%{code:x}%"),
            _ => c.to_string(),
        }
    })
    .collect()
}

/// The first word of what the desk was asked: which of its doors it was.
fn door(what: &str) -> &str {
    what.split_whitespace().next().unwrap_or_default()
}

#[test]
fn no_spelling_of_a_route_reaches_another_one_or_another_organisation() {
    let (runtime, house) = open(|_| {});
    let all = crate::http::DEVICE.iter().chain(crate::http::ENROL);
    let routes: Vec<(String, String)> = all
        .map(|(method, path)| {
            let filled = path.replace("{org}", CODE).replace("{mode}", "byod");
            let parts = filled.split('/').map(|part| match part {
                part if part.starts_with('{') => "name",
                part => part,
            });
            let filled = parts.collect::<Vec<_>>().join("/");
            (method.to_uppercase(), filled)
        })
        .collect();
    // Most characters stay as they are, or no route would be found.
    let ways = proptest::prop_oneof![
        3 => vec(0_u8..250, 60..80),
        1 => vec(0_u8..3, 1..4),
        1 => vec(proptest::prop_oneof![1 => 0_u8..2, 3 => 4_u8..9], 1..40),
    ];
    let reached = std::cell::Cell::new(0);
    let law = |((method, path), ways): ((String, String), Vec<u8>)| {
        let tell = |path: &str| {
            let said = request(&method, path);
            let heard = runtime.block_on(talk(&house, &[said], 1 << 16));
            assert_eq!(answers(&heard).len(), 1, "{method} {path}");
            asked(&house)
        };
        let plain = tell(&path);
        // A code of which some or all letters are escaped is the same code.
        let escaped: Vec<u8> = ways
            .iter()
            .map(|way| [0, 1, 9][usize::from(way % 3)])
            .collect();
        let same = path.replacen(CODE, &spelt(CODE, &escaped), 1);
        assert_eq!(tell(&same), plain, "{method} {same}");
        // A path begins with a bar, or it is none.
        let spelt = format!("/{}", spelt(&path[1..], &ways));
        for (what, code, _) in tell(&spelt) {
            assert_eq!(code, CODE, "{method} {spelt}");
            let before: Vec<&str> = plain.iter().map(|(what, ..)| door(what)).collect();
            assert_eq!([door(&what)], before.as_slice(), "{method} {spelt}");
            reached.set(reached.get() + 1);
        }
        Ok(())
    };
    runner(250).run(&(select(routes), ways), law).unwrap();
    // Or it would hold for want of routes that are found.
    assert!(reached.get() > 10, "{}", reached.get());
}

/// What paths are made of here.
const PARTS: &[&str] = &[
    "mdm",
    "mdm",
    "MDM",
    "%6ddm",
    "checkin",
    "command",
    "files",
    "enrol",
    "scep",
    "acme",
    "download",
    "service-discovery",
    CODE,
    CODE,
    OTHER,
    OTHER,
    "%61bcdefgh2345",
    "%7ayxwvuts987%36",
    "abcdefgh2345%2Fcheckin",
    "abcdefgh2345%2F..%2Fzyxwvuts9876",
    "abcdefgh2345%00",
    "abcdefgh2345%20",
    "abcdefgh2345;x",
    "..",
    ".",
    "%2e%2e",
    "%252e%252e",
    "%2F",
    "%ff",
    "",
];

#[test]
fn an_organisation_is_asked_only_where_its_code_stands_in_the_path() {
    let (runtime, house) = open(|_| {});
    let parts = vec(select(PARTS), 1..7);
    let codes = [
        CODE,
        OTHER,
        "%61bcdefgh2345",
        "%7ayxwvuts987%36",
        "abcdefgh2345%2F..%2Fzyxwvuts9876",
        "abcdefgh2345%00",
    ];
    let likely = (
        select(vec!["mdm", "mdm", "mdm", "%6ddm", ""]),
        select(codes.to_vec()),
        select(vec!["checkin", "command", "enrol", "download"]),
    );
    let likely = likely.prop_map(|(first, code, last)| vec![first, code, last]);
    let paths = proptest::prop_oneof![1 => parts, 2 => likely];
    let methods = select(vec!["PUT", "POST", "GET"]);
    let reached = std::cell::Cell::new(0);
    let law = |(method, parts): (&'static str, Vec<&'static str>)| {
        let path = format!("/{}", parts.join("/"));
        let said = request(method, &path);
        let heard = runtime.block_on(talk(&house, &[said], 1 << 16));
        let answers = answers(&heard);
        assert_eq!(answers.len(), 1, "{method} {path}");
        assert!(answers[0].status < 500, "{method} {path}");
        for (what, code, _) in asked(&house) {
            // What stands between the second bar and the third one.
            let named = path.split('/').nth(2).map(decoded);
            assert_eq!(named.as_deref(), Some(code.as_bytes()), "{what}: {path}");
            assert!(code == CODE || code == OTHER, "{what}: {path}");
            reached.set(reached.get() + 1);
        }
        Ok(())
    };
    runner(300).run(&(methods, paths), law).unwrap();
    assert!(reached.get() > 5, "{}", reached.get());
}
