//! What the time brings: polls, wakes, time-outs, ceilings, silence. A wake that is due is always moved forward, and no
//! time-out leaves a device in its hold.

use std::time::Duration;

use super::{
    ASK_PERSON, ASSUME_HOLD, CONFIRM, ENROL, LONGEST_NUDGE, LONGEST_NUDGE_HELD, Run, begin_release,
    hard_ceiling, is_before_release, last_chance, proof_time, soft_ceiling,
};
use crate::migration::steps::{self, Progress, Signal, StepStatus, release};
use crate::migration::{
    Attention, Effect, LastChance, LetOutBy, Owner, Policy, SetUpState, StepId,
};

impl Run<'_> {
    pub(super) fn woke(&mut self) {
        let now = self.now;
        match &self.s.state {
            SetUpState::Enrolling { since } if now >= *since + ENROL => {
                self.stall(Attention::EnrolmentStalled);
            }
            SetUpState::NoHold {
                since,
                proved: false,
                ..
            } if now >= *since + ASSUME_HOLD => {
                // The hold may have begun with the enrolment: its ceiling does not move.
                let (since, ceiling) = (*since, self.s.ceiling_at);
                self.hold();
                self.s.hold_began = Some(since);
                self.s.ceiling_at = ceiling.or(self.s.ceiling_at);
            }
            SetUpState::Stalled { .. } => self.woke_stalled(),
            // The others have their timers below.
            _ => {}
        }
        self.wake_steps();
        match &self.s.state {
            SetUpState::Holding { since, .. } => {
                let ceiling = self
                    .s
                    .ceiling_at
                    .unwrap_or(*since + hard_ceiling(self.plan));
                if now >= ceiling {
                    self.s.attention = Some(if self.plan.is_some() {
                        Attention::ReleasedWithoutEvidence
                    } else {
                        Attention::RunbookUnreadable
                    });
                    begin_release(&mut self.s, LetOutBy::Ceiling, now, &mut self.effects);
                    last_chance::owe(&mut self.s, now);
                } else if now >= *since + soft_ceiling(self.plan) && self.s.attention.is_none() {
                    self.s.attention = Some(Attention::HoldLong);
                }
            }
            SetUpState::Releasing { .. } => self.woke_releasing(),
            SetUpState::Proving { since, .. } if now >= *since + proof_time(self.plan) => {
                self.proof_time_up();
            }
            SetUpState::NoHold {
                since,
                proved: true,
                ..
            } if now >= *since + hard_ceiling(self.plan) => self.prove(),
            // Nothing is due.
            _ => {}
        }
        self.merge_pushes();
    }

    pub(super) fn stall(&mut self, attention: Attention) {
        let from = Box::new(self.s.state.clone());
        self.s.attention = Some(attention);
        self.s.state = SetUpState::Stalled {
            since: self.now,
            from,
        };
    }

    pub(super) fn woke_stalled(&mut self) {
        let now = self.now;
        let SetUpState::Stalled { since, from } = &mut self.s.state else {
            return;
        };
        let quiet = self.s.heard.map_or(*since, |heard| heard.max(*since));
        if now >= quiet + ASK_PERSON {
            self.s.attention = Some(Attention::SilentForDays);
        }
        if let SetUpState::Releasing { steps, tries, .. } = from.as_mut() {
            let due = release::state(steps, now)
                .nudge_at
                .is_none_or(|at| now >= at);
            if !due {
                return;
            }
            if release::asked_at(steps).is_none_or(|at| now >= at + release::STALLED_ASK) {
                *tries += 1;
                release::ask(steps, now, &mut self.effects);
            } else {
                self.effects.push(Effect::Push);
            }
            // One that speaks, and cannot be released yet, may be any moment.
            let speaks = self
                .s
                .heard
                .is_some_and(|heard| now.since(heard) < release::STALLED_PUSH);
            let again = match speaks {
                true => release::PUSH_AGAIN,
                false => release::STALLED_PUSH,
            };
            release::state(steps, now).nudge_at = Some(now + again);
        }
    }

    pub(super) fn woke_releasing(&mut self) {
        let now = self.now;
        if let Some(LastChance::Running { until, .. }) = self.s.last_chance
            && now >= until
        {
            // From here on the release goes first.
            self.s.last_chance = None;
            self.effects.push(Effect::Push);
        }
        let SetUpState::Releasing {
            since,
            tries,
            steps,
        } = &mut self.s.state
        else {
            return;
        };
        if now >= *since + CONFIRM {
            release::state(steps, now).nudge_at = Some(now + release::STALLED_PUSH);
            self.effects.push(Effect::Push);
            self.stall(Attention::ReleaseUnconfirmed);
            return;
        }
        if release::asked_at(steps).is_none_or(|at| now >= at + release::ASK_AGAIN) {
            *tries += 1;
            release::ask(steps, now, &mut self.effects);
        }
    }

    /// Polls, nudges and time-outs of every running step.
    pub(super) fn wake_steps(&mut self) {
        let now = self.now;
        if matches!(self.s.state, SetUpState::Stalled { .. }) {
            return;
        }
        for id in StepId::ALL {
            let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) else {
                continue;
            };
            if !state.is_running() {
                continue;
            }
            if self.plan.is_some() && state.look_at.is_some_and(|at| now >= at) {
                state.look_at = None;
                if state.again {
                    self.start(id);
                } else {
                    self.signal(id, Signal::Due);
                }
            }
            self.time_out(id);
            self.nudge(id);
        }
    }

    pub(super) fn nudge(&mut self, id: StepId) {
        let (now, held) = (self.now, self.is_held());
        let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) else {
            return;
        };
        if !state.is_running() || state.nudge_at.is_none_or(|at| now < at) {
            return;
        }
        let Some(oldest) = state.oldest_open() else {
            state.nudge_at = None;
            return;
        };
        let spacing = if id == StepId::Release {
            release::PUSH_AGAIN
        } else {
            let longest = if held {
                LONGEST_NUDGE_HELD
            } else {
                LONGEST_NUDGE
            };
            now.since(oldest).clamp(steps::FIRST_NUDGE, longest)
        };
        state.nudge_at = Some(now + spacing);
        self.effects.push(Effect::Push);
    }

    pub(super) fn time_out(&mut self, id: StepId) {
        let now = self.now;
        let Some(plan) = self.plan else {
            return;
        };
        let held = self.is_held();
        let awaited = self.is_awaited(id);
        let Some(plan) = plan.step(id) else {
            // Not of this plan: nothing judges it.
            if let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) {
                state.deadline = None;
            }
            return;
        };
        let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) else {
            return;
        };
        if !state.is_running() || state.deadline.is_none_or(|at| now < at) {
            return;
        }
        if is_before_release(id) {
            let blocks = plan.on_timeout == Policy::Block;
            if blocks && !awaited {
                // It waits for the ceiling of the hold, or for the end of the proof.
                state.deadline = None;
                return;
            }
            let open = state.oldest_open();
            let mute = state.asked.values().any(|a| a.open && a.mute);
            let refused = state.asked.values().any(|a| a.open && a.not_now);
            // It has said nothing since it was asked, or nothing at all for a while.
            let silent = !mute
                && open.is_some_and(|asked| {
                    self.s.heard.is_none_or(|heard| {
                        heard <= asked || !refused && now.since(heard) >= last_chance::LULL
                    })
                });
            let patient = self
                .s
                .hold_began
                .is_some_and(|began| now < began + soft_ceiling(self.plan));
            // A device that has not spoken since is not a failed step: giving up would gain nobody anything, since no
            // release reaches it either; the ceiling bounds it, or the time for the proof. A device that cannot now gets
            // until the soft ceiling. After the hold nobody waits for one behind which others stand.
            let patient = patient || !held && !awaited;
            let releasing = matches!(self.s.state, SetUpState::Releasing { .. });
            if blocks && held || silent || releasing || refused && patient {
                // The longer the silence, the seldomer the question.
                let waited = open.map_or(Duration::ZERO, |asked| now.since(asked));
                let again = Duration::from_secs(plan.timeout_secs.max(60));
                let longest = if blocks {
                    LONGEST_NUDGE_HELD
                } else {
                    LONGEST_NUDGE
                };
                let again = (waited / 2).clamp(again.min(longest), longest);
                if let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) {
                    state.deadline = Some(now + again);
                }
                return;
            }
        }
        self.signal(id, Signal::TimeUp);
        let skip = plan.on_timeout == Policy::Skip;
        let why = format!("no evidence within {} s", plan.timeout_secs);
        self.with_step(id, |_, _| {
            if skip {
                Progress::skip(why)
            } else {
                Progress::except(why, Owner::Device)
            }
        });
    }

    /// Whether another step cannot begin before this one is over.
    pub(super) fn is_awaited(&self, id: StepId) -> bool {
        let waits = |other: StepId| {
            let steps = self.s.state.steps();
            steps
                .and_then(|s| s.get(&other))
                .is_some_and(|s| s.status == StepStatus::Waiting)
        };
        let others = self.plan.into_iter().flat_map(|plan| &plan.steps);
        others
            .filter(|other| other.requires.contains(&id) && is_before_release(other.id))
            .any(|other| waits(other.id))
    }

    pub(super) fn proof_time_up(&mut self) {
        let doubt = self
            .s
            .state
            .steps()
            .and_then(|s| s.get(&StepId::Release))
            .is_some_and(|s| s.is_open(release::WAITING));
        if doubt {
            // It said that it waits and never took that back.
            self.release_again();
            return;
        }
        self.give_up_steps("not proved within the time for the proof");
        if self.plan.is_none() {
            self.finish();
        }
    }

    pub(super) fn give_up_steps(&mut self, why: &str) {
        for id in StepId::ALL {
            if id == StepId::Release {
                continue;
            }
            let now = self.now;
            // The step names its parts, if it can.
            self.signal(id, Signal::TimeUp);
            let required = self
                .plan
                .and_then(|p| p.step(id))
                .is_some_and(|p| p.required);
            let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) else {
                continue;
            };
            if state.status.is_over() {
                continue;
            }
            state.end(
                StepStatus::Excepted {
                    why: why.to_owned(),
                },
                now,
            );
            if required {
                self.note(id.as_str(), why, Owner::Device);
            }
        }
        self.s.attention = Some(Attention::ProofIncomplete);
    }

    pub(super) fn merge_pushes(&mut self) {
        let commands = self
            .effects
            .iter()
            .any(|e| matches!(e, Effect::Command { .. }));
        let mut seen = commands;
        // A new command wakes the device anyway, and one wake is as good as two.
        self.effects
            .retain(|e| *e != Effect::Push || !std::mem::replace(&mut seen, true));
    }
}
