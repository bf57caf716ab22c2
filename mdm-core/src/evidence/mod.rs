//! What is shown to those who were not there: the six marks of a device after its release, and reports as tables of values with the age of
//! every fact. Reads no store and writes no format; that is for [`crate::service`] and for hosts.

mod hold;
mod marks;
mod next;
pub mod pack;
mod report;

pub use hold::{HoldFigures, Percentiles, StepFigures};
pub(crate) use marks::lacks_key;
pub use marks::{Mark, MarkName, MarkState, Observed, marks};
pub use next::next_action;
pub use report::{
    ReportAsk, ReportHead, ReportKind, ReportRow, ReportSink, ReportTable, WholeReport,
};
