//! Reports: what a person, an auditor or a spreadsheet is shown, with the age of every fact. Reads a page at a time and hands it on, so that
//! memory does not grow with the fleet. Writes nothing and asks nobody.

mod about;
mod approved;
mod at_risk;
mod clean_up;
mod device;
mod exceptions;
mod holds;
mod pack;
mod page;
mod requests;
mod unheard;
mod wave;
mod what_if;

use serde_json::Value;

use super::Org;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{ReportAsk, ReportHead, ReportKind, ReportSink};
use crate::ids::WaveId;

/// Rows that are read at a time.
const PAGE: u32 = 500;

impl Org {
    /// Makes a report and hands it to `sink`, its heading first.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a wave or device that is not there, before anything is handed over; the store's; the sink's.
    pub async fn report_to(&self, ask: &ReportAsk, sink: &mut dyn ReportSink) -> Result<(), Error> {
        match ask {
            ReportAsk::WhatIf(wave) => self.report_what_if(*wave, sink).await,
            ReportAsk::Wave(wave) => self.report_wave(*wave, sink).await,
            ReportAsk::Device(serial) => self.report_device(serial, sink).await,
            ReportAsk::Exceptions(wave) => self.report_exceptions(*wave, sink).await,
            ReportAsk::Holds(wave) => self.report_holds(*wave, sink).await,
            ReportAsk::Unheard { days } => self.report_unheard(*days, sink).await,
            ReportAsk::AtRisk { wave, days } => self.report_at_risk(*wave, *days, sink).await,
            ReportAsk::Requests(wave) => self.report_requests(*wave, sink).await,
            ReportAsk::CleanUp(wave) => self.report_clean_up(*wave, sink).await,
        }
    }

    /// The title of a report of one wave; or of everything, which may have a title of its own.
    async fn title_of(
        &self,
        wave: Option<WaveId>,
        what: &str,
        everything: Option<&str>,
    ) -> Result<String, Error> {
        Ok(match wave {
            Some(wave) => format!("{what} of wave {}", self.wave_row(wave).await?.name),
            None => everything.unwrap_or(what).to_owned(),
        })
    }

    fn report_head(&self, report: ReportKind, title: String, at: Timestamp) -> ReportHead {
        let code = self.organisation.code.to_string();
        ReportHead::new(report, &title, at, &self.organisation.name, &code)
    }
}

/// A value of ours in a cell.
fn cell(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// When a fact was true, and how old it is in seconds.
fn aged(at: Option<Timestamp>, now: Timestamp) -> [Value; 2] {
    [cell(at), cell(at.map(|at| now.since(at).as_secs()))]
}
