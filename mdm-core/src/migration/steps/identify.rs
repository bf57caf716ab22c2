//! Who is it: the device's own answer must name the planned serial number. Decides nothing about the hold; what the answer
//! says of that goes to the set-up.

use super::{Next, Own, Progress, Signal, StepContext, StepState, failure};
use crate::ids::Serial;
use crate::migration::{Ask, Owner, Told};

/// The question.
pub(crate) const WHO: u16 = 0;
/// The question for the hold alone, when the answer to the first left it out.
pub(crate) const WAITING: u16 = 1;

pub(super) fn start() -> Progress {
    Progress::ask(WHO, Ask::Identify)
}

pub(super) fn on(signal: Signal<'_>, ctx: &StepContext<'_>) -> Progress {
    match signal {
        Signal::Answer {
            part: WHO,
            ok: true,
            told: Told::Identity { serial, .. },
        } => match (serial.as_deref(), ctx.serial) {
            (Some(told), Some(planned)) if Serial::parse(told).is_ok_and(|s| s == *planned) => {
                Progress::done(format!("the device calls itself {planned}"))
            }
            (Some(told), None) => Progress::done(format!(
                "the device calls itself {told}; nothing was planned"
            )),
            (None, None) => Progress::done("it answers; no serial number was planned"),
            (Some(_), Some(_)) => Progress {
                own: Some(Own::Impostor),
                ..Progress::except(
                    "the device names another serial number than the planned one",
                    Owner::Destination,
                )
            },
            (None, Some(_)) => Progress::next(Next::Retry(
                "the device does not tell its serial number".to_owned(),
                Owner::Device,
            )),
        },
        Signal::Answer {
            part: WHO, told, ..
        } => Progress::next(Next::Retry(failure(told), Owner::Device)),
        // Out of turn, or about the hold alone.
        _ => Progress::wait(),
    }
}

/// Whether the device has named another serial number: it gets nothing but its release.
pub(crate) fn is_impostor(state: Option<&StepState>) -> bool {
    state.is_some_and(|s| s.own == Own::Impostor)
}
