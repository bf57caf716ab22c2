//! Apps of a Mac: asked for in the hold, downloaded when the Mac likes. The proof comes after the release.

use super::app_table::{self, Duty};
use super::{Progress, Signal, StepContext, StepState};
use crate::clock::Timestamp;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    if !ctx.platform.is_mac() {
        return Progress::skip("only Macs install apps in this step");
    }
    app_table::start(ctx, Duty::Ask)
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    app_table::on(state, signal, ctx, now, Duty::Ask)
}
