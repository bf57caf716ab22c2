//! The bootstrap token of a Mac: without it the Mac makes no new recovery key. Asks for nothing, since there is no command
//! for it: the Mac brings it by itself.

use super::{Progress, Signal, StepContext};
use crate::migration::Event;

const STORED: &str = "the token is in the vault";

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    if !ctx.platform.is_mac() {
        Progress::skip("only Macs have one")
    } else if ctx.token_stored {
        // It may come before the Mac has said who it is.
        Progress::done(STORED)
    } else {
        Progress::wait()
    }
}

pub(super) fn on(signal: Signal<'_>) -> Progress {
    match signal {
        Signal::Event(Event::BootstrapTokenStored) => Progress::done(STORED),
        // Anything else is for other steps.
        _ => Progress::wait(),
    }
}
