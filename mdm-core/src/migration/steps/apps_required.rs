//! Apps that must be there, on iPhone and iPad: asked for before the release, proved by the state that the device tells of each.
//! Leaves alone what is there already where the step that keeps apps takes it over, and keeps it as that one does where the device
//! does not get that step.

use super::app_table::{self, Duty};
use super::{Progress, Signal, StepContext, StepState};
use crate::clock::Timestamp;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    if ctx.platform.is_mac() {
        return Progress::skip("a Mac installs apps in another step");
    }
    app_table::start(ctx, Duty::Install)
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    app_table::on(state, signal, ctx, now, Duty::Install)
}
