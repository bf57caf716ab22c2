//! Passcode rules, restrictions, approvals: whatever the organisation wants in force before a person sees the home screen.
//! Installs the profiles of its role and proves them by the device's own list.

use super::{Progress, Signal, StepContext, StepState, profiles};
use crate::clock::Timestamp;
use crate::migration::ProfileRole;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    profiles::start(&profiles::of_role(ctx.plan, ProfileRole::Security))
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    profiles::on(
        &profiles::of_role(ctx.plan, ProfileRole::Security),
        state,
        signal,
        ctx,
        now,
    )
}
