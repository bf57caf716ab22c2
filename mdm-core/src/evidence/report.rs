//! A report as values: a heading with facts and small tables, and one long table whose rows come a page at a time. Knows no format.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{Serial, WaveId};

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ReportKind {
    /// What stands for and against the members of a wave.
    WhatIf,
    /// Where the members of a wave are.
    Wave,
    /// Everything about one device.
    Device,
    /// What did not come true, whose it is, and what to do next.
    Exceptions,
    /// How long holds took, step by step, and what ended them.
    Holds,
    /// Devices and addresses that were not heard from, or were refused.
    Unheard,
    /// Members whose deadline is near and that have not begun.
    AtRisk,
    /// Every request to Apple that changes something.
    Requests,
    /// Which devices the services that they left may still list.
    CleanUp,
}

impl ReportKind {
    /// Its name as people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhatIf => "what-if",
            Self::Wave => "wave",
            Self::Device => "device",
            Self::Exceptions => "exceptions",
            Self::Holds => "holds",
            Self::Unheard => "unheard",
            Self::AtRisk => "at-risk",
            Self::Requests => "requests",
            Self::CleanUp => "clean-up",
        }
    }
}

/// A question for a report.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "one for each report")]
pub enum ReportAsk {
    /// Of the members of a wave.
    WhatIf(WaveId),
    /// Of the members of a wave.
    Wave(WaveId),
    /// Of one device.
    Device(Serial),
    /// Of one wave, or of all of the organisation.
    Exceptions(Option<WaveId>),
    /// Of one wave, or of all of the organisation.
    Holds(Option<WaveId>),
    /// Of all of the organisation: silent for at least so many days.
    Unheard {
        /// Days without a word.
        days: u32,
    },
    /// Of one wave, or of all of the organisation: whose deadline is at most so many days away.
    AtRisk {
        /// Which wave, if not all.
        wave: Option<WaveId>,
        /// Days until the deadline.
        days: u32,
    },
    /// Of one wave, or of all of the organisation.
    Requests(Option<WaveId>),
    /// Of one wave, or of all of the organisation.
    CleanUp(Option<WaveId>),
}

impl ReportAsk {
    /// Which report that is.
    #[must_use]
    pub const fn kind(&self) -> ReportKind {
        match self {
            Self::WhatIf(_) => ReportKind::WhatIf,
            Self::Wave(_) => ReportKind::Wave,
            Self::Device(_) => ReportKind::Device,
            Self::Exceptions(_) => ReportKind::Exceptions,
            Self::Holds(_) => ReportKind::Holds,
            Self::Unheard { .. } => ReportKind::Unheard,
            Self::AtRisk { .. } => ReportKind::AtRisk,
            Self::Requests(_) => ReportKind::Requests,
            Self::CleanUp(_) => ReportKind::CleanUp,
        }
    }
}

/// What stands above the long table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReportHead {
    /// Which report.
    pub report: ReportKind,
    /// What it is about, for people.
    pub title: String,
    /// When it was made. Ages of facts count up to here.
    pub at: Timestamp,
    /// The organisation's name.
    pub organisation: String,
    /// The organisation's code.
    pub code: String,
    /// Single facts, by their names.
    pub facts: Vec<(&'static str, Value)>,
    /// Small tables.
    pub tables: Vec<ReportTable>,
    /// The columns of the long table.
    pub columns: &'static [&'static str],
}

impl ReportHead {
    /// A heading without facts, tables and columns.
    #[must_use]
    pub fn new(
        report: ReportKind,
        title: &str,
        at: Timestamp,
        organisation: &str,
        code: &str,
    ) -> Self {
        Self {
            report,
            title: title.to_owned(),
            at,
            organisation: organisation.to_owned(),
            code: code.to_owned(),
            facts: Vec::new(),
            tables: Vec::new(),
            columns: &[],
        }
    }

    pub(crate) fn table(
        &mut self,
        name: &'static str,
        columns: &'static [&'static str],
        rows: Vec<ReportRow>,
    ) {
        self.tables.push(ReportTable {
            name,
            columns,
            rows,
        });
    }

    pub(crate) fn fact(&mut self, name: &'static str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.facts.push((name, value));
    }
}

/// A small table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "a table")]
pub struct ReportTable {
    /// What it shows.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [&'static str],
    /// Its rows, each with a value for every column.
    pub rows: Vec<ReportRow>,
}

/// A value for every column.
pub type ReportRow = Vec<Value>;

/// Whoever takes a report: the heading once, then the rows, some at a time.
#[async_trait]
pub trait ReportSink: Send {
    /// Takes the heading.
    ///
    /// # Errors
    /// When nobody wants the rest; the report ends there.
    async fn head(&mut self, head: ReportHead) -> Result<(), Error>;
    /// Takes rows.
    ///
    /// # Errors
    /// As before.
    async fn rows(&mut self, rows: Vec<ReportRow>) -> Result<(), Error>;
}

/// A whole report in memory: for whoever counts in it, of a wave that is small enough.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct WholeReport {
    /// The heading; nothing before it has come.
    pub head: Option<ReportHead>,
    /// The rows of the long table.
    pub rows: Vec<ReportRow>,
}

#[async_trait]
impl ReportSink for WholeReport {
    async fn head(&mut self, head: ReportHead) -> Result<(), Error> {
        self.head = Some(head);
        Ok(())
    }

    async fn rows(&mut self, rows: Vec<ReportRow>) -> Result<(), Error> {
        self.rows.extend(rows);
        Ok(())
    }
}

impl WholeReport {
    fn columns(&self) -> &'static [&'static str] {
        self.head.as_ref().map_or(&[], |head| head.columns)
    }

    /// A cell of a row of the long table; nothing where there is no such column.
    #[must_use]
    pub fn cell<'a>(&self, row: &'a ReportRow, column: &str) -> Option<&'a Value> {
        row.get(self.columns().iter().position(|c| *c == column)?)
    }

    /// The same as text; empty for what is none.
    #[must_use]
    pub fn text<'a>(&self, row: &'a ReportRow, column: &str) -> &'a str {
        let cell = self.cell(row, column).and_then(Value::as_str);
        cell.unwrap_or_default()
    }

    /// A column of the long table.
    #[must_use]
    pub fn column(&self, name: &str) -> Vec<&Value> {
        let rows = self.rows.iter();
        rows.filter_map(|row| self.cell(row, name)).collect()
    }

    fn small<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a ReportRow> {
        let tables = self.head.iter().flat_map(|head| &head.tables);
        tables
            .filter(move |t| t.name == table)
            .flat_map(|t| &t.rows)
    }

    /// A number of a small table, in the row that begins with this word; 0 where there is none.
    #[must_use]
    pub fn number(&self, table: &str, word: &str, column: usize) -> u64 {
        let row = self.small(table).find(|row| row[0] == word);
        row.and_then(|row| row[column].as_u64()).unwrap_or_default()
    }

    /// The sum of a column of a small table.
    #[must_use]
    pub fn sum(&self, table: &str, column: usize) -> u64 {
        let rows = self.small(table);
        rows.filter_map(|row| row[column].as_u64()).sum()
    }
}
