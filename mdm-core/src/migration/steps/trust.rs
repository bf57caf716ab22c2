//! Certificates that the device must trust before anything else of ours can work.
//! Installs the profiles of its role and proves them by the device's own list.

use super::{Progress, Signal, StepContext, StepState, profiles};
use crate::clock::Timestamp;
use crate::migration::ProfileRole;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    profiles::start(&profiles::of_role(ctx.plan, ProfileRole::Trust))
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    profiles::on(
        &profiles::of_role(ctx.plan, ProfileRole::Trust),
        state,
        signal,
        ctx,
        now,
    )
}
