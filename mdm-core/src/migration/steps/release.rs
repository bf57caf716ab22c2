//! The end of the hold as a step: its commands and their spacing. Knows no runbook, so that runner, watchdog and operator
//! can share it. Never decides *that* a device is released.

use std::time::Duration;

use super::{StepState, StepStatus};
use crate::clock::Timestamp;
use crate::migration::{Ask, Effect, StepId, Steps};

/// The part that ends the hold.
pub(crate) const END: u16 = 0;
/// The part that asks whether the device still waits.
pub(crate) const WAITING: u16 = 1;

/// A silent device is woken again after this.
pub(crate) const PUSH_AGAIN: Duration = Duration::from_mins(5);
/// A command without an answer is replaced by a new one after this.
pub(crate) const ASK_AGAIN: Duration = Duration::from_mins(30);
/// A device that has gone silent is woken this often.
pub(crate) const STALLED_PUSH: Duration = Duration::from_hours(1);
/// And gets a new command this often.
pub(crate) const STALLED_ASK: Duration = Duration::from_hours(24);

/// The release step, made if the runbook never named one.
pub(crate) fn state(steps: &mut Steps, now: Timestamp) -> &mut StepState {
    steps
        .entry(StepId::Release)
        .or_insert_with(|| StepState::waiting(now))
}

/// Makes the next command; one that is still on its way is taken back first.
pub(crate) fn ask(steps: &mut Steps, now: Timestamp, effects: &mut Vec<Effect>) {
    let state = state(steps, now);
    if state.status != StepStatus::Running {
        state.run(now);
        state.since = now;
    }
    if state.asked.values().any(|a| a.open) {
        effects.push(Effect::DropCommands {
            step: StepId::Release,
        });
        for asked in state.asked.values_mut() {
            asked.open = false;
        }
    }
    let attempt = state.ask(END, now);
    state.nudge_at = Some(now + PUSH_AGAIN);
    effects.push(Effect::Command {
        step: StepId::Release,
        part: END,
        attempt,
        ask: Ask::Release,
    });
}

/// Asks the device whether it still waits, unless it has been asked already.
pub(crate) fn ask_waiting(steps: &mut Steps, now: Timestamp, effects: &mut Vec<Effect>) {
    let state = state(steps, now);
    if state.is_open(WAITING) {
        return;
    }
    let attempt = state.ask(WAITING, now);
    effects.push(Effect::Command {
        step: StepId::Release,
        part: WAITING,
        attempt,
        ask: Ask::Awaiting,
    });
}

/// When the newest release command was made.
pub(crate) fn asked_at(steps: &Steps) -> Option<Timestamp> {
    steps
        .get(&StepId::Release)
        .and_then(|s| s.asked.get(&END))
        .map(|a| a.at)
}
