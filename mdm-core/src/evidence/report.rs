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
    /// Every request to Apple that changes something.
    Requests,
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
            Self::Requests => "requests",
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
    /// Of one wave, or of all of the organisation.
    Requests(Option<WaveId>),
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
            Self::Requests(_) => ReportKind::Requests,
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
