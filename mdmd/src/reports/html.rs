//! A report as a page that stands alone: no script, nothing from elsewhere, everything that is not ours escaped.

use std::fmt::Write as _;

use mdm_core::evidence::{ReportHead, ReportRow, ReportTable};
use mdm_core::shell::is_obeyed;
use serde_json::Value;

use super::{SERVER, plain, words};

/// What the page may load: its own style, and nothing else.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#111;background:#fff}\
h1{font-size:1.5em}h2{font-size:1.1em;margin-top:1.6em}table{border-collapse:collapse;margin:.5em 0}\
th,td{border:1px solid #bbb;padding:.2em .5em;text-align:left;vertical-align:top;max-width:32em;overflow-wrap:anywhere}\
th{background:#eee;position:sticky;top:0}td.n{text-align:right}caption{text-align:left;font-weight:bold}\
svg{background:#f6f6f6;border:1px solid #bbb}@media print{th{position:static}}";

/// Text in a page.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Some of them turn the text around, or end it.
            c if is_obeyed(c) => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

fn cells(row: &ReportRow) -> String {
    let mut text = String::from("<tr>");
    for value in row {
        let class = if value.is_number() { " class=n" } else { "" };
        let _ = write!(text, "<td{class}>{}</td>", escape(&words(value)));
    }
    text.push_str("</tr>\n");
    text
}

fn heads(columns: &[&str]) -> String {
    let names = columns.iter().map(|c| format!("<th>{}</th>", escape(c)));
    format!("<thead><tr>{}</tr></thead>\n", names.collect::<String>())
}

pub(super) fn head(head: &ReportHead) -> String {
    let title = escape(&head.title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"referrer\" content=\"no-referrer\"><title>{title}</title><style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p>{} ({}), {} by {SERVER}</p>\n",
        escape(&head.organisation),
        escape(&head.code),
        head.at
    );
    if !head.facts.is_empty() {
        text.push_str("<table><tbody>\n");
        for (name, value) in &head.facts {
            let _ = writeln!(
                text,
                "<tr><th>{}</th><td>{}</td></tr>",
                escape(name),
                escape(&plain(value))
            );
        }
        text.push_str("</tbody></table>\n");
    }
    for table in &head.tables {
        let _ = writeln!(text, "<h2>{}</h2>", escape(table.name));
        if table.name == "completion" {
            text.push_str(&curve(table));
        }
        let _ = writeln!(text, "<table>{}<tbody>", heads(table.columns));
        table.rows.iter().for_each(|row| text.push_str(&cells(row)));
        text.push_str("</tbody></table>\n");
    }
    let _ = writeln!(text, "<h2>rows</h2>\n<table>{}<tbody>", heads(head.columns));
    text
}

pub(super) fn rows(rows: &[ReportRow]) -> String {
    rows.iter().map(cells).collect()
}

pub(super) fn end(count: u64) -> String {
    format!(
        "</tbody></table>\n<p>{}</p>\n</body></html>\n",
        mdm_core::counted::counted(count, "row")
    )
}

/// The completion curve: how many had ended by which day, and dashed how many are expected to.
fn curve(table: &ReportTable) -> String {
    let (width, height) = (640_u64, 200_u64);
    let most = table
        .rows
        .iter()
        .filter_map(|r| r.get(2)?.as_u64())
        .max()
        .unwrap_or(0);
    let last = u64::try_from(table.rows.len().saturating_sub(1)).unwrap_or(0);
    if most == 0 || last == 0 {
        return String::new();
    }
    let place = |(n, row): (usize, &ReportRow)| {
        let x = u64::try_from(n).unwrap_or(0) * width / last;
        let y = height - row.get(2).and_then(Value::as_u64).unwrap_or(0) * height / most;
        format!("{x},{y}")
    };
    let all = || table.rows.iter().enumerate();
    let is_past = |row: &ReportRow| row.get(1).is_some_and(|what| what == "ended");
    let past: Vec<String> = all().filter(|(_, r)| is_past(r)).map(place).collect();
    // The line of what is expected begins where the other one ends.
    let begin = past.len().saturating_sub(1);
    let ahead: Vec<String> = all().skip(begin).map(place).collect();
    format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"-4 -4 {} {}\" role=\"img\" aria-label=\"completion\">\
         <polyline fill=\"none\" stroke=\"#06c\" stroke-width=\"2\" points=\"{}\"/>\
         <polyline fill=\"none\" stroke=\"#06c\" stroke-dasharray=\"4 4\" points=\"{}\"/></svg>\n",
        width + 8,
        height + 8,
        past.join(" "),
        ahead.join(" ")
    )
}
