//! Reports in their formats: JSON, CSV, a page that stands alone, and text for people. Each is written piece by piece, so that a report of any
//! length takes the memory of one page of it. Decides nothing about what a report says.

mod csv;
pub(crate) mod html;
mod json;
mod text;

use mdm_core::evidence::{ReportHead, ReportRow};
use serde::Deserialize;
use serde_json::Value;

/// What this server calls itself in what it exports.
pub(crate) const SERVER: &str = concat!("mdmd ", env!("CARGO_PKG_VERSION"));

/// How a report is written.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One object.
    #[default]
    Json,
    /// The long table, or the small one that is named.
    Csv,
    /// A page without scripts that asks nobody for anything.
    Html,
    /// Columns for people.
    Text,
}

impl Format {
    /// Its content type.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// The end of a file's name.
    pub(crate) const fn ending(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Html => "html",
            Self::Text => "txt",
        }
    }
}

/// Writes one report: the heading, then rows, then the end.
pub(crate) struct Writer {
    format: Format,
    /// Only this small table, as CSV.
    table: Option<String>,
    columns: &'static [&'static str],
    at: String,
    rows: u64,
}

impl Writer {
    pub(crate) fn new(format: Format, table: Option<String>) -> Self {
        Self {
            format,
            table,
            columns: &[],
            at: String::new(),
            rows: 0,
        }
    }

    /// The beginning; `None` when it has no table of the name that was asked for.
    pub(crate) fn head(&mut self, head: &ReportHead) -> Option<String> {
        self.columns = head.columns;
        self.at = head.at.to_string();
        match self.format {
            Format::Json => Some(json::head(head)),
            Format::Csv => match &self.table {
                Some(name) => {
                    let table = head.tables.iter().find(|t| t.name == name)?;
                    Some(csv::heading(table.columns) + &csv::rows(&table.rows, &self.at))
                }
                None => Some(csv::heading(head.columns)),
            },
            Format::Html => Some(html::head(head)),
            Format::Text => Some(text::head(head)),
        }
    }

    /// Some rows.
    pub(crate) fn rows(&mut self, rows: &[ReportRow]) -> String {
        let first = self.rows == 0;
        self.rows += rows.len() as u64;
        match self.format {
            Format::Json => json::rows(self.columns, rows, first),
            Format::Csv if self.table.is_some() => String::new(),
            Format::Csv => csv::rows(rows, &self.at),
            Format::Html => html::rows(rows),
            Format::Text => text::rows(self.columns, rows),
        }
    }

    /// The end.
    pub(crate) fn end(&self) -> String {
        match self.format {
            Format::Json => json::end(self.rows),
            Format::Csv => String::new(),
            Format::Html => html::end(self.rows),
            Format::Text => text::end(self.rows),
        }
    }
}

impl mdm_core::evidence::pack::ReportText for Writer {
    fn head(&mut self, head: &ReportHead) -> Option<String> {
        Self::head(self, head)
    }

    fn rows(&mut self, rows: &[ReportRow]) -> String {
        Self::rows(self, rows)
    }

    fn end(&self) -> String {
        Self::end(self)
    }
}

/// A value in words.
fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A fact for people: what has parts as `name part`, never as the text of a program.
fn plain(value: &Value) -> String {
    let inner = |value: &Value| match value {
        Value::Object(_) | Value::Array(_) => format!("({})", plain(value)),
        other => plain(other),
    };
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(all) => {
            let parts = all.iter().filter(|(_, value)| !is_nothing(value));
            let parts = parts.map(|(name, value)| match (name.as_str(), value) {
                // The word of a state says itself what it is.
                ("state", Value::String(word)) => word.clone(),
                _ => format!("{} {}", name.replace('_', " "), inner(value)),
            });
            parts.collect::<Vec<_>>().join(", ")
        }
        Value::Array(all) => all.iter().map(inner).collect::<Vec<_>>().join("; "),
        other => words(other),
    }
}

#[cfg(test)]
mod tests;
