//! What a device calls itself must not become a formula, a tag or an order to a terminal, in whatever format it is shown.

use mdm_core::clock::Timestamp;
use mdm_core::evidence::{ReportHead, ReportKind, ReportTable};
use serde_json::{Value, json};

use super::{Format, Writer};

/// What somebody might call a Mac.
const NASTY: [&str; 6] = [
    "=HYPERLINK(\"https://example.com\")",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "a,b\r\n=1+1",
    "\u{1b}]0;title\u{7}",
    "\u{202e}txt.exe",
];

fn heading() -> ReportHead {
    let at = Timestamp::from_millis(1_796_112_000_000);
    let mut head = ReportHead::new(ReportKind::Wave, NASTY[1], at, NASTY[2], NASTY[4]);
    head.facts.push(("name", json!(NASTY[1])));
    let curve = [(1, "ended"), (3, "ended"), (7, "expected at the latest")];
    head.tables.push(ReportTable {
        name: "completion",
        columns: &["by", "what", "devices"],
        rows: curve
            .map(|(n, what)| vec![json!(at), json!(what), json!(n)])
            .into(),
    });
    head.columns = &["name", "count"];
    head
}

fn whole(format: Format, table: Option<&str>) -> String {
    let mut writer = Writer::new(format, table.map(str::to_owned));
    let mut text = writer.head(&heading()).unwrap();
    for (n, pair) in NASTY.chunks(2).enumerate() {
        let rows: Vec<_> = pair
            .iter()
            .map(|name| vec![json!(name), json!(n)])
            .collect();
        text += &writer.rows(&rows);
    }
    text + &writer.end()
}

#[test]
fn a_csv_has_no_formula_and_reads_back() {
    let text = whole(Format::Csv, None);
    let rows = crate::csv::rows(text.as_bytes()).unwrap();
    assert_eq!(rows.len(), 1 + NASTY.len());
    assert_eq!(rows[0].cells, ["name", "count", "report at", "server"]);
    for (row, name) in rows[1..].iter().zip(NASTY) {
        assert!(
            !row.cells[0].starts_with(['=', '+', '-', '@']),
            "{:?}",
            row.cells
        );
        assert!(
            row.cells[0].ends_with(name.trim_start_matches('=')),
            "{:?}",
            row.cells
        );
        assert!(row.cells[2].starts_with("20") && row.cells[3].starts_with("mdmd "));
    }
    let small = whole(Format::Csv, Some("completion"));
    assert_eq!(crate::csv::rows(small.as_bytes()).unwrap().len(), 4);
    assert!(
        Writer::new(Format::Csv, Some("none".to_owned()))
            .head(&heading())
            .is_none()
    );
}

#[test]
fn a_page_has_no_script_and_asks_nobody() {
    let text = whole(Format::Html, None);
    for forbidden in [
        "<script",
        "<img",
        "onerror=alert(1)>",
        "http://",
        "https://example",
        "\u{1b}",
        "\u{202e}",
        "url(",
    ] {
        let escaped = text.contains("https://example") && forbidden == "https://example";
        assert!(escaped || !text.contains(forbidden), "{forbidden}");
    }
    assert!(!text.contains("href=") && !text.contains("src=\""));
    assert!(text.contains("&lt;script&gt;") && text.contains("<polyline"));
    assert!(text.contains("default-src 'none'") && text.ends_with("</html>\n"));
}

#[test]
fn json_is_one_object_with_the_age_of_the_whole() {
    let whole: Value = serde_json::from_str(&whole(Format::Json, None)).unwrap();
    assert_eq!(whole["rows"].as_array().unwrap().len(), NASTY.len());
    assert_eq!(whole["count"], NASTY.len());
    assert_eq!(whole["rows"][5]["name"], NASTY[5]);
    assert_eq!(whole["tables"]["completion"][2]["devices"], 7);
    assert!(whole["at"].is_string() && whole["server"].is_string());
    let mut none = Writer::new(Format::Json, None);
    let text = none.head(&heading()).unwrap() + &none.end();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["count"], 0);
}

#[test]
fn a_terminal_gets_no_orders() {
    let text = whole(Format::Text, None);
    for order in ['\u{1b}', '\u{7}', '\u{202e}'] {
        assert!(!text.contains(order), "{order:?} in {text}");
    }
    assert!(text.contains(" txt.exe"), "{text}");
}

#[test]
fn what_has_parts_is_said_in_words_and_whole() {
    let mut head = heading();
    let long = "a reason that is longer than any column of a table for people is wide";
    head.facts.push((
        "gate",
        json!({ "wanted": { "settled_percent": 90, "sign_off": true }, "against": [], "signed": { "by": "Anna", "reason": long } }),
    ));
    head.facts
        .push(("state", json!({ "state": "submitted", "by": null })));
    head.facts.push(("changed", json!(["one", "two"])));
    for format in [Format::Text, Format::Html] {
        let mut writer = Writer::new(format, None);
        let said = writer.head(&head).unwrap();
        for wanted in [
            "wanted (settled percent 90, sign off yes)",
            "signed (by Anna, reason a reason that",
            long,
            "submitted",
            "one; two",
        ] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        assert!(!said.contains("{\"") && !said.contains("{&quot;"), "{said}");
    }
    // A program reads the parts.
    let mut writer = Writer::new(Format::Json, None);
    assert!(writer.head(&head).unwrap().contains("\"settled_percent\""));
}
