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
