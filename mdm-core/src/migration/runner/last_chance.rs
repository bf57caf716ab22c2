//! The last chance of a device that was silent until its ceiling: when it speaks again, what only its hold can save is asked
//! for before the release that waits for it, once and for a few minutes. Delays no release of a device that speaks, and
//! none without a runbook.

use std::time::Duration;

use super::Run;
use crate::clock::Timestamp;
use crate::migration::steps::{StepState, StepStatus, is_impostor};
use crate::migration::{SetUp, SetUpState, StepId};

/// How long the release waits at most, from the moment at which the device speaks again.
pub(crate) const GRACE: Duration = Duration::from_mins(5);
/// A device that has not spoken for so long, though it was asked and woken, is silent.
pub(super) const SILENCE: Duration = Duration::from_mins(10);
/// One that has a question before it and says nothing for so long has stopped speaking.
pub(super) const LULL: Duration = Duration::from_mins(2);
/// What only a hold can do, and who must be known before: the others go on after the release.
const SAVES: [StepId; 3] = [StepId::Identify, StepId::FvEscrow, StepId::AppsKeep];

/// Notes that a release by time met a silent device.
pub(crate) fn owe(s: &mut SetUp, now: Timestamp) {
    let silent = s.heard.is_none_or(|heard| now.since(heard) >= SILENCE);
    if silent && matches!(s.state, SetUpState::Releasing { .. }) {
        s.last_chance = Some(LastChance::Owed);
    }
}

/// Where the last chance of a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "two stages, each decided on")]
pub enum LastChance {
    /// It has not spoken since its release was due.
    Owed,
    /// It speaks: the release waits for what the hold can save.
    Running {
        /// The release goes first from here on, whatever is missing.
        until: Timestamp,
        /// Evidence is waited for; else only the answers to what was asked.
        patient: bool,
    },
}

impl SetUp {
    /// Whether the release that is queued waits for other commands at this moment. Never for longer than five minutes from
    /// the first time that the device speaks.
    #[must_use]
    pub fn release_yields(&self, now: Timestamp) -> bool {
        let Some(LastChance::Running { until, patient }) = self.last_chance else {
            return false;
        };
        let steps = || SAVES.iter().filter_map(|id| self.steps()?.get(id));
        let asked = |s: &StepState| s.asked.values().any(|a| a.open && !a.not_now);
        now < until
            && steps()
                .filter(|s| s.is_running())
                .any(|s| patient || asked(s))
    }

    /// Whether a step's commands go before a release that yields.
    #[must_use]
    pub fn goes_before_release(step: StepId) -> bool {
        SAVES.contains(&step)
    }
}

impl Run<'_> {
    /// The device asks for its next command, and that would be its release.
    pub(super) fn before_release(&mut self) {
        match self.s.last_chance {
            Some(LastChance::Owed) => self.begin_last_chance(),
            Some(LastChance::Running { until, .. }) if self.now >= until => {
                self.s.last_chance = None
            }
            // Under way, or there is none.
            _ => {}
        }
    }

    pub(super) fn in_last_chance(&self) -> bool {
        matches!(self.s.last_chance, Some(LastChance::Running { until, .. }) if self.now < until)
    }

    fn begin_last_chance(&mut self) {
        let now = self.now;
        self.s.last_chance = None;
        // Without its runbook nobody knows what there is to save.
        if self.plan.is_none() {
            return;
        }
        let SetUpState::Releasing { since, .. } = &mut self.s.state else {
            return;
        };
        *since = now;
        self.lay_out();
        self.s.last_chance = Some(LastChance::Running {
            until: now + GRACE,
            patient: true,
        });
        for id in SAVES {
            if let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) {
                // What it refused long ago it may be able to do now.
                for asked in state.asked.values_mut() {
                    asked.not_now = false;
                }
            }
        }
        self.start_savers();
        if !self.s.release_yields(now) {
            self.s.last_chance = None;
        }
    }

    /// Starts what the hold can still save. What such a step requires besides a known device may be missing: late is better
    /// than never, and each proves itself.
    pub(super) fn start_savers(&mut self) {
        if !matches!(self.s.last_chance, Some(LastChance::Running { .. })) {
            return;
        }
        for id in SAVES {
            let Some(steps) = self.s.state.steps() else {
                return;
            };
            let known = steps
                .get(&StepId::Identify)
                .is_some_and(|s| s.status.is_over() && !is_impostor(Some(s)));
            let waits = steps
                .get(&id)
                .is_some_and(|s| s.status == StepStatus::Waiting);
            if waits && (known || id == StepId::Identify) {
                if let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) {
                    state.since = self.now;
                }
                self.start(id);
            }
        }
    }

    /// A refusal ends the last chance, and after a failure nothing is waited for but what was asked already.
    pub(super) fn last_chance_answered(&mut self, id: StepId, ok: bool, not_now: bool) {
        let Some(LastChance::Running { patient, .. }) = &mut self.s.last_chance else {
            return;
        };
        if !SAVES.contains(&id) || ok {
            return;
        }
        if not_now {
            self.s.last_chance = None;
        } else {
            *patient = false;
        }
    }
}
