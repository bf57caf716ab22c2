//! Wi-Fi, VPN and proxy, so that the device stays reachable when the original's settings are gone.
//! Installs the profiles of its role and proves them by the device's own list.

use super::{Progress, Signal, StepContext, StepState, profiles};
use crate::clock::Timestamp;
use crate::migration::ProfileRole;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    profiles::start(&profiles::of_role(ctx.plan, ProfileRole::Network))
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    profiles::on(
        &profiles::of_role(ctx.plan, ProfileRole::Network),
        state,
        signal,
        ctx,
        now,
    )
}
