//! A report as one JSON object; each row is an object with the names of the columns.

use mdm_core::evidence::{ReportHead, ReportRow};
use serde_json::{Map, Value, json};

use super::SERVER;

fn object(columns: &[&str], row: &ReportRow) -> Value {
    let pairs = columns.iter().zip(row);
    let map: Map<String, Value> = pairs
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    Value::Object(map)
}

pub(super) fn head(head: &ReportHead) -> String {
    let facts: Map<String, Value> = head
        .facts
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let tables: Map<String, Value> = head
        .tables
        .iter()
        .map(|table| {
            let rows: Vec<Value> = table
                .rows
                .iter()
                .map(|r| object(table.columns, r))
                .collect();
            (table.name.to_owned(), rows.into())
        })
        .collect();
    let whole = json!({
        "report": head.report.as_str(), "title": head.title, "at": head.at, "server": SERVER,
        "organisation": head.organisation, "code": head.code, "facts": facts, "tables": tables,
        "columns": head.columns,
    });
    let mut text = whole.to_string();
    // The brace comes at the end.
    text.pop();
    text.push_str(",\"rows\":[");
    text
}

pub(super) fn rows(columns: &[&str], rows: &[ReportRow], first: bool) -> String {
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        if n > 0 || !first {
            text.push(',');
        }
        text.push('\n');
        text.push_str(&object(columns, row).to_string());
    }
    text
}

pub(super) fn end(count: u64) -> String {
    format!("\n],\"count\":{count}}}\n")
}
