//! The password before recoveryOS of a Mac with Apple silicon: in the vault first, then set, then asked for by another question.
//! That the Mac acknowledges it proves nothing.

use super::{Next, Progress, Signal, StepContext, failure};
use crate::migration::{Ask, Owner, Told};

/// Sets it.
const SET: u16 = 0;
/// Asks whether it is the one in force.
const VERIFY: u16 = 1;

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    if !ctx.platform.is_mac() {
        return Progress::skip("only Macs have a password before recoveryOS");
    }
    if ctx.apple_silicon == Some(false) {
        return Progress::skip("a Mac with Intel has a firmware password in its place");
    }
    Progress::ask(SET, Ask::SetRecoveryLock)
}

pub(super) fn on(signal: Signal<'_>) -> Progress {
    match signal {
        // Also after an error: an earlier try may have set it, and its answer was lost.
        Signal::Answer { part: SET, .. } => Progress::ask(VERIFY, Ask::VerifyRecoveryLock),
        Signal::Answer {
            part: VERIFY,
            ok: true,
            told: Told::RecoveryLock { verified: true },
        } => Progress::done("the Mac calls the password in the vault the one in force"),
        Signal::Answer {
            part: VERIFY,
            ok: true,
            told: Told::RecoveryLock { verified: false },
        } => Progress::next(Next::Retry(
            "the Mac says that the password in the vault is not the one in force".to_owned(),
            Owner::Device,
        )),
        Signal::Answer {
            part: VERIFY, told, ..
        } => Progress::next(Next::Retry(
            format!("the password could not be verified: {}", failure(told)),
            Owner::Device,
        )),
        Signal::TimeUp => Progress::except(
            "the Mac has not said that the password is in force",
            Owner::Device,
        ),
        // Anything else is for other steps.
        _ => Progress::wait(),
    }
}
