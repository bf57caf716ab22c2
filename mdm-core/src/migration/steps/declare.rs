//! Declarations: enabled, and a first status report seen. Never a condition of anything: a device that answers `NotNow` or
//! an error is left alone.

use super::{Progress, Signal, StepState, failure};
use crate::migration::{Ask, Event};

pub(super) fn start() -> Progress {
    Progress::ask(0, Ask::Declare)
}

pub(super) fn on(state: &StepState, signal: Signal<'_>) -> Progress {
    match signal {
        Signal::Event(Event::StatusReported) => Progress::done("a first status report came"),
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
