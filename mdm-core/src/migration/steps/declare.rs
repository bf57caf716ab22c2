//! Declarations: enabled, and a status report seen that has what the runbook waits for. Never a condition of the hold's end: a
//! device that answers `NotNow` or an error is left alone, and the step's own time ends the waiting. One to which nothing is
//! declared, and of whose status nothing is wanted, is not asked at all.

use super::{Progress, Signal, StepContext, StepState, failure};
use crate::migration::{Ask, Event};

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    // Where nobody has looked, something may be.
    if ctx.declared == Some(false) && ctx.plan.status.is_empty() {
        return Progress::skip("nothing is declared to it");
    }
    Progress::ask(0, Ask::Declare)
}

pub(super) fn on(state: &StepState, signal: Signal<'_>) -> Progress {
    match signal {
        Signal::Event(Event::StatusReported { unmet: None }) => {
            Progress::done("a status report came")
        }
        Signal::Event(Event::Reported { .. }) if state.asked.values().any(|a| a.not_now) => {
            Progress::skip("the device cannot use declarations now")
        }
        Signal::Answer {
            ok: false, told, ..
        } => Progress::skip(failure(told)),
        // An acknowledgement alone proves nothing: the status report does.
        _ => Progress::wait(),
    }
}
