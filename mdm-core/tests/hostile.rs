//! What hostile bodies cost in time and memory: the largest that each door takes by default, nested, repeated and broken in the
//! ways that make parsers slow. Each is read in a process of its own, so that its peak is its own.
//! `cargo test -p mdm-core --test hostile -- --nocapture` prints the table of `docs/hostile-input.md`.

#[path = "../../fuzz/src/mdm.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "public for the fuzzers, which are a crate of their own"
)]
mod targets;

use std::process::Command;
use std::time::Duration;

use mdm_core::ca::acme::{Attestation, Jws};
use mdm_core::clock::Timestamp;
use mdm_core::evidence::pack::verify_pack;
use mdm_core::hand_off::bundle;
use mdm_core::hand_off::envelope::{self, KeyPair, Purpose};
use mdm_core::wire::declarations::StatusReport;
use mdm_core::wire::plist::{CHECK_IN_LIMIT, REPORT_LIMIT};

const MEBI: usize = 1 << 20;
/// Of the processor, for a debug build.
const SLOWEST: Duration = Duration::from_secs(20);
/// The largest peak, in multiples of what was sent; a small body may have this of the largest one.
const TIMES: usize = 24;

/// How it is called, what reads it, its bytes.
type Case = (&'static str, fn(&[u8]), fn() -> Vec<u8>);

fn many(piece: &str, size: usize) -> String {
    piece.repeat(size / piece.len())
}

/// Something within a check-in, as large as one may be. The first byte chooses the target's reader.
fn check_in(inner: &str) -> Vec<u8> {
    let head = "\0<plist version=\"1.0\"><dict><key>MessageType</key><string>TokenUpdate</string>";
    format!("{head}{inner}</dict></plist>").into_bytes()
}

/// Something as a report, as large as one may be.
fn report(body: String) -> Vec<u8> {
    [b"\x01", body.as_bytes()].concat()
}

/// DER that says it is longer than it is, and is as deep as it is long.
fn deep(choice: u8) -> Vec<u8> {
    [&[choice][..], &b"\x30\x80".repeat(128 * 1024 - 1)].concat()
}

/// A signature whose list of certificates is one certificate over and over.
fn crowded() -> Vec<u8> {
    let one = targets::device().certificate.to_der().expect("DER");
    let mut all = vec![0];
    while all.len() + one.len() < 64 * 1024 {
        all.extend_from_slice(&one);
    }
    all
}

/// What the enrolment doors take, those of ACME among them, unless it is set otherwise.
const ENROL_LIMIT: usize = 256 * 1024;
/// A status report arrives as base64 within a check-in.
const STATUS_LIMIT: usize = CHECK_IN_LIMIT / 4 * 3;

fn status(data: &[u8]) {
    let _ = StatusReport::parse(data);
}

fn acme(data: &[u8]) {
    assert!(Jws::read(data).is_err());
}

fn attestation(data: &[u8]) {
    let _ = Attestation::read(data);
}

/// A bundle as it comes: nothing of it is read before its signature is.
fn sealed_bundle(data: &[u8]) {
    let until = Timestamp::from_millis(1_000_000_000);
    let recipient = KeyPair::create(
        "hostile",
        Purpose::Recipient,
        Timestamp::from_millis(0),
        until,
    );
    assert!(envelope::open(data, "00", &recipient.expect("a key pair")).is_err());
}

/// What was in a bundle that whoever was confirmed has signed and sealed.
fn open_bundle(data: &[u8]) {
    assert!(bundle::read(data).is_err());
}

fn pack(data: &[u8]) {
    let report = verify_pack(&mut &*data, None).expect("it is looked through");
    assert!(!report.broken.is_empty());
}

/// A pack that nobody has touched, and the place in it where its second file begins.
const PACK: &[u8] = include_bytes!("../../fuzz/corpus/pack/whole");
const SECOND: usize = 1024;
/// And its third: the second one has a heading and three blocks.
const THIRD: usize = SECOND + 4 * 512;

/// A piece of a pack, over and over, and no end.
fn endless(piece: &[u8]) -> Vec<u8> {
    piece.repeat(envelope::LARGEST / piece.len())
}

/// Just below the limit, so that it is read and not measured.
const ROOM: usize = 4096;

const CASES: &[Case] = &[
    ("nothing", targets::messages, || b"\0".to_vec()),
    ("report: nested arrays", targets::messages, || {
        report(many("<array>", REPORT_LIMIT - ROOM))
    }),
    ("report: nested and closed", targets::messages, || {
        let half = REPORT_LIMIT / 2 - ROOM;
        report(many("<array>", half) + &many("</array>", half))
    }),
    (
        "report: arrays beside each other",
        targets::messages,
        || {
            let all = many("<array></array>", REPORT_LIMIT - ROOM);
            report(format!(
                "<plist><dict><key>Status</key><string>Idle</string><key>a</key><array>{all}</array></dict></plist>"
            ))
        },
    ),
    ("report: attributes without end", targets::messages, || {
        report(format!("<plist {}>", many("a=\"b\" ", REPORT_LIMIT - ROOM)))
    }),
    ("report: comments", targets::messages, || {
        report(format!(
            "<plist>{}</plist>",
            many("<!-- x -->", REPORT_LIMIT - ROOM)
        ))
    }),
    ("report: open brackets", targets::messages, || {
        report(many("<", REPORT_LIMIT - ROOM))
    }),
    (
        "report: a bracket, then open ones",
        targets::messages,
        || {
            let half = REPORT_LIMIT / 2 - ROOM;
            report(format!("<a{}[{}", many("x", half), many("<", half)))
        },
    ),
    ("report: white space", targets::messages, || {
        report(many(" ", REPORT_LIMIT - ROOM))
    }),
    ("check-in: keys", targets::messages, || {
        check_in(&many("<key>k</key><true/>", CHECK_IN_LIMIT - ROOM))
    }),
    ("check-in: different keys", targets::messages, || {
        let key = |n: usize| format!("<key>k{n:07}</key><true/>");
        check_in(
            &(0..(CHECK_IN_LIMIT - ROOM) / 26)
                .map(key)
                .collect::<String>(),
        )
    }),
    ("check-in: one long text", targets::messages, || {
        check_in(&format!(
            "<key>k</key><string>{}</string>",
            many("a", CHECK_IN_LIMIT - ROOM)
        ))
    }),
    ("check-in: escapes", targets::messages, || {
        check_in(&format!(
            "<key>k</key><string>{}</string>",
            many("&amp;", CHECK_IN_LIMIT - ROOM)
        ))
    }),
    ("check-in: data", targets::messages, || {
        check_in(&format!(
            "<key>Token</key><data>{}</data>",
            many("AAAA", CHECK_IN_LIMIT - ROOM)
        ))
    }),
    ("check-in: entities", targets::messages, || {
        let body = "\0<!DOCTYPE plist [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
        format!(
            "{body}<plist><string>{}</string></plist>",
            many("&b;", CHECK_IN_LIMIT - ROOM)
        )
        .into_bytes()
    }),
    ("signature: deep DER", targets::cms, || deep(0)),
    ("signature: certificates without end", targets::cms, crowded),
    ("SCEP: deep DER", targets::scep, || deep(0)),
    (
        "SCEP: deep DER, signed and encrypted",
        targets::scep,
        || deep(2),
    ),
    (
        "machine information: deep DER",
        targets::machine_info,
        || deep(0),
    ),
    (
        "machine information: nested arrays, signed",
        targets::machine_info,
        || [&b"\x02"[..], many("<array>", 190 * 1024).as_bytes()].concat(),
    ),
    ("status: nested arrays", status, || {
        many("[", STATUS_LIMIT).into_bytes()
    }),
    ("status: nested objects", status, || {
        many("{\"StatusItems\":", STATUS_LIMIT).into_bytes()
    }),
    ("status: different items", status, || {
        let item = |n: usize| format!("\"k{n:07}\":1,");
        let items: String = (0..STATUS_LIMIT / 13 - 10).map(item).collect();
        format!("{{\"StatusItems\":{{{items}\"z\":1}}}}").into_bytes()
    }),
    ("ACME: nested arrays", acme, || {
        many("[", ENROL_LIMIT).into_bytes()
    }),
    ("ACME: nested objects", acme, || {
        many("{\"protected\":", ENROL_LIMIT).into_bytes()
    }),
    ("ACME: attestation of nested CBOR", attestation, || {
        vec![0x81; ENROL_LIMIT]
    }),
    (
        "ACME: attestation that says it is long",
        attestation,
        || [&b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"[..], &[0; 64]].concat(),
    ),
    ("hand-off: deep DER", sealed_bundle, || {
        b"\x30\x80".repeat(envelope::LARGEST / 2)
    }),
    ("hand-off: open, nested arrays", open_bundle, || {
        many("[", envelope::LARGEST).into_bytes()
    }),
    ("hand-off: open, nested objects", open_bundle, || {
        many("{\"devices\":", envelope::LARGEST).into_bytes()
    }),
    ("hand-off: open, devices without end", open_bundle, || {
        let devices = many("{},", envelope::LARGEST - ROOM);
        format!("{{\"devices\":[{devices}{{}}]}}").into_bytes()
    }),
    (
        "hand-off: open, one device with a long list",
        open_bundle,
        || {
            let list = many("0,", envelope::LARGEST - ROOM);
            format!("{{\"devices\":[{{\"more\":[{list}0]}}]}}").into_bytes()
        },
    ),
    ("pack: files without end", pack, || endless(&PACK[..SECOND])),
    ("pack: lines of the record without end", pack, || {
        endless(&PACK[SECOND..THIRD])
    }),
];

/// The most memory that this process has had, in bytes; `None` where the system does not tell.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibi: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibi * 1024)
}

/// What this process has had of the processor, in milliseconds; the clock of the wall would count what others do.
fn used() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold blanks; it ends with the last parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    // A hundred ticks a second, on every Linux.
    Some((ticks()? + ticks()?) * 10)
}

/// One case, in a process that was started for it: says how long it took and what it took.
#[test]
fn one_body() {
    let Ok(wanted) = std::env::var("HOSTILE_BODY") else {
        return;
    };
    let (_, target, make) = CASES
        .iter()
        .find(|(name, ..)| *name == wanted)
        .expect("a case");
    let body = make();
    let (before, begun) = (peak(), used());
    target(&body);
    let took = used()
        .zip(begun)
        .map_or(0, |(after, before)| after - before);
    let grown = peak().zip(before).map(|(after, before)| after - before);
    println!(
        "HOSTILE {} {took} {}",
        body.len(),
        grown.map_or(-1, |n| n as i64)
    );
}

#[test]
fn hostile_bodies_cost_bounded_time_and_memory() {
    let program = std::env::current_exe().expect("this program");
    println!("| body | MiB sent | ms | MiB beside it at most |\n|---|---|---|---|");
    for (name, ..) in CASES {
        let ran = Command::new(&program)
            .args(["--exact", "one_body", "--nocapture"])
            .env("HOSTILE_BODY", name)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&ran.stdout);
        // A stack that overflows ends the process, and says nothing here.
        assert!(ran.status.success(), "{name}: {:?} {said}", ran.status);
        let line = said.split("HOSTILE ").nth(1).expect(name);
        let mut figures = line
            .split_whitespace()
            .map(|n| n.parse::<i64>().expect(name));
        let mut next = || figures.next().expect(name);
        let (sent, took, grown) = (next(), next(), next());
        let mebi = |bytes: i64| bytes as f64 / MEBI as f64;
        println!(
            "| {name} | {:.2} | {} | {:.0} |",
            mebi(sent),
            took,
            mebi(grown).ceil()
        );
        let took = Duration::from_millis(took.unsigned_abs());
        assert!(took < SLOWEST, "{name}: {took:?}");
        let most = (TIMES * sent.unsigned_abs() as usize).max(32 * MEBI);
        assert!(
            grown < 0 || (grown.unsigned_abs() as usize) < most,
            "{name}: {:.0} MiB for {:.2}",
            mebi(grown),
            mebi(sent)
        );
    }
}

/// What a body of twice the length costs is about twice as much, also where a reader might look back for something at each byte.
#[test]
fn a_tag_that_never_ends_costs_what_its_length_is() {
    let read = |half: usize| {
        let body = format!("<a{}[{}", "x".repeat(half), "<".repeat(half));
        let begun = used();
        assert!(mdm_core::wire::checkin::CheckIn::parse(body.as_bytes()).is_err());
        used().zip(begun).map(|(after, before)| after - before)
    };
    // Of 8 MiB; the square of that would be hours.
    let took = read(4 * MEBI - ROOM);
    assert!(took.is_none_or(|took| took < 2_000), "{took:?} ms");
}
