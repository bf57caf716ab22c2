//! A report for people at a terminal.

use std::fmt::Write as _;

use mdm_core::evidence::{ReportHead, ReportRow};
use mdm_core::shell::is_obeyed;
use serde_json::Value;

use super::{SERVER, plain, words};

/// No column is wider; the other formats have all of it.
const WIDEST: usize = 48;

/// What a device says of itself may hold anything; a terminal must not obey it.
fn tame(text: &str) -> String {
    match text.is_empty() {
        true => "-".to_owned(),
        false => text
            .chars()
            .map(|c| if is_obeyed(c) { ' ' } else { c })
            .collect(),
    }
}

fn shown(value: &Value) -> String {
    let text = tame(&words(value));
    if text.chars().count() <= WIDEST {
        return text;
    }
    let cut: String = text.chars().take(WIDEST - 1).collect();
    format!("{cut}…")
}

fn table(columns: &[&str], rows: &[ReportRow]) -> String {
    let heads: Vec<String> = columns.iter().map(|c| c.to_uppercase()).collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(shown).collect())
        .collect();
    let width = |n: usize| {
        let all = rows.iter().chain([&heads]);
        all.filter_map(|row| row.get(n))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in [&heads].into_iter().chain(&rows) {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

pub(super) fn head(head: &ReportHead) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}\n{} at {} by {SERVER}",
        head.title, head.organisation, head.at
    );
    for (name, value) in &head.facts {
        let _ = writeln!(text, "{name:<40} {}", tame(&plain(value)));
    }
    for small in &head.tables {
        let _ = writeln!(text, "\n{}", small.name);
        text.push_str(&table(small.columns, &small.rows));
    }
    text.push('\n');
    text
}

pub(super) fn rows(columns: &[&str], rows: &[ReportRow]) -> String {
    table(columns, rows)
}

pub(super) fn end(count: u64) -> String {
    format!("{}\n", mdm_core::counted::counted(count, "row"))
}
