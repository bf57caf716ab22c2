//! The escrow profile of a Mac: installed and in the device's list. Whether a new recovery key came of it is proved after
//! the release, not here: the Mac makes it when it can.

use super::profiles::{self, Wanted};
use super::{Next, Progress, Signal, StepContext, StepState, StepStatus};
use crate::clock::Timestamp;
use crate::migration::{Ask, ESCROW_PROFILE, StepId};

/// The part that installs it: the first of those that [`profiles`] numbers.
pub(crate) const PROFILE: u16 = 0;

fn wanted() -> [Wanted; 1] {
    [Wanted {
        identifier: ESCROW_PROFILE.to_owned(),
        ask: Ask::InstallEscrow,
    }]
}

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    if !ctx.platform.is_mac() {
        return Progress::skip("only Macs escrow a recovery key");
    }
    profiles::start(&wanted())
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    let mut progress = profiles::on(&wanted(), state, signal, ctx, now);
    let token = ctx.steps.get(&StepId::Bootstrap).map(|s| &s.status);
    if let Next::Done(evidence) = &mut progress.next
        && !matches!(token, Some(StepStatus::Done { .. }))
    {
        evidence.push_str("; without a bootstrap token no new key is expected yet");
    }
    progress
}
