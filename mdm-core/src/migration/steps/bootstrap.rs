//! The bootstrap token of a Mac: without it the Mac makes no new recovery key. Asks for nothing, since there is no command
//! for it: the Mac brings it by itself.

use super::{Progress, Signal, StepContext};
use crate::migration::Event;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    if ctx.platform.is_mac() {
        Progress::wait()
    } else {
        Progress::skip("only Macs have one")
    }
}

pub(super) fn on(signal: Signal<'_>) -> Progress {
    match signal {
        Signal::Event(Event::BootstrapTokenStored) => Progress::done("the token is in the vault"),
        // Anything else is for other steps.
        _ => Progress::wait(),
    }
}
