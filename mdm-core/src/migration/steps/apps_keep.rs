//! Apps that are there and must stay with their data, on iPhone and iPad: when the hold ends, the device removes those that
//! we have not taken over. Reads what is there, asks only for that, and believes nothing but `Managed`.

use super::app_table::{self, Duty};
use super::{Progress, Signal, StepContext, StepState};
use crate::clock::Timestamp;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    if ctx.platform.is_mac() {
        return Progress::skip("a Mac keeps no app list");
    }
    app_table::start(ctx, Duty::Keep)
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    app_table::on(state, signal, ctx, now, Duty::Keep)
}
