//! Activation Lock: asked for at Apple with a code that is in the vault first. A lock that somebody else made is left alone
//! and named; nothing is guessed.

use std::time::Duration;

use super::{Next, Progress, Signal, StepContext, StepStatus};
use crate::migration::{Effect, EffectKey, Event, LockClaim, LockReading, Owner};

/// Doing it again is harmless (the same code), where a runbook waits for so long. The request itself is kept until Apple has answered.
const AGAIN: Duration = Duration::from_mins(10);

/// Why it is given up when its time is over. Not the last word: the request needs neither a hold nor the device, and goes on.
const LATE: &str = "Apple has not answered the lock request";

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    if !ctx.plan.lock {
        return Progress::skip("the runbook wants no lock");
    }
    Progress {
        effects: vec![Effect::Lock],
        look_in: Some(AGAIN),
        ..Progress::default()
    }
}

pub(super) fn on(signal: Signal<'_>) -> Progress {
    match signal {
        Signal::Event(Event::LockAnswered { answer }) => match answer {
            LockReading::Locked => Progress::done("Apple locked it with the code in the vault"),
            LockReading::AlreadyLocked {
                claim: LockClaim::Ours,
            } => Progress::done("Apple has locked it earlier with the code in the vault"),
            // Neither a proof nor a failure: the record says what is not known, and nobody waits for it.
            LockReading::AlreadyLocked {
                claim: LockClaim::Asked,
            } => Progress::skip(
                "asked, not yet read: it is locked already, and that our request did it is not proved",
            ),
            LockReading::AlreadyLocked {
                claim: LockClaim::Foreign,
            } => Progress::except("somebody else has locked it already", Owner::User),
            LockReading::Refused { why } => {
                Progress::except(format!("Apple refused the lock: {why}"), Owner::Apple)
            }
        },
        Signal::Event(Event::EffectFailed {
            effect: EffectKey::Lock,
            why,
        }) => Progress::next(Next::Retry(
            format!("the lock could not be asked for: {why}"),
            Owner::Destination,
        )),
        Signal::Due => Progress {
            effects: vec![Effect::Lock],
            look_in: Some(AGAIN),
            ..Progress::default()
        },
        Signal::TimeUp => Progress::except(LATE, Owner::Apple),
        // Anything else is for other steps.
        _ => Progress::wait(),
    }
}

/// Whether the step ended with a lock that Apple may show.
pub(crate) fn was_asked(status: &StepStatus) -> bool {
    match status {
        StepStatus::Done { .. } => true,
        StepStatus::Skipped { why } => why.starts_with("asked"),
        _ => false,
    }
}

/// Whether nothing but its time ended the step: what becomes of its request is still to come.
pub(crate) fn is_late(status: Option<&StepStatus>) -> bool {
    matches!(status, Some(StepStatus::Excepted { why }) if why == LATE)
}

/// Whether an answer proves the lock: it counts even when the step's time was up.
pub(crate) fn proves(event: &Event) -> bool {
    matches!(
        event,
        Event::LockAnswered {
            answer: LockReading::Locked
                | LockReading::AlreadyLocked {
                    claim: LockClaim::Ours
                }
        }
    )
}
