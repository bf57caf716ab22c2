//! The steps as a graph: laid out, started when what they require is over, told of what happens, and their answers taken.

use std::time::Duration;

use super::{NO_STEPS, RETRY, Run, is_before_release, is_over};
use crate::migration::steps::{
    self, Next, Progress, Signal, StepContext, StepError, StepState, StepStatus, is_impostor,
};
use crate::migration::{Attention, Effect, Exception, Policy, SetUpState, StepId, StepPlan};

impl Run<'_> {
    /// Every step of the plan gets its place; those that can never run here say so at once.
    pub(super) fn lay_out(&mut self) {
        let (now, Some(plan)) = (self.now, self.plan) else {
            return;
        };
        if let Some(steps) = self.s.state.steps_mut() {
            for step in &plan.steps {
                steps
                    .entry(step.id)
                    .or_insert_with(|| StepState::waiting(now));
            }
        }
    }

    pub(super) fn signal(&mut self, id: StepId, signal: Signal<'_>) {
        let now = self.now;
        self.with_step(id, |state, ctx| steps::on(state, signal, ctx, now));
    }

    pub(super) fn start(&mut self, id: StepId) {
        let now = self.now;
        if let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) {
            state.again = false;
            state.run(now);
        }
        if id == StepId::Tell {
            // A set-up that an older version let out has told nobody yet.
            self.tell_release();
        }
        self.with_step(id, |_, ctx| steps::start(ctx));
        // A step that ended at once has no deadline any more.
        let timeout = self.plan.and_then(|p| p.step(id)).map(|p| p.timeout_secs);
        if let (Some(secs), Some(state)) = (
            timeout,
            self.s.state.steps_mut().and_then(|s| s.get_mut(&id)),
        ) && state.is_running()
            && state.deadline.is_none()
        {
            state.deadline = Some(now + Duration::from_secs(secs));
        }
    }

    /// A step that was asked before anybody knew of a hold, or that was only waited for while there was one, has its time from
    /// now on: what others wait for is given up in the end.
    pub(super) fn give_time(&mut self) {
        let (now, held, Some(plan)) = (self.now, self.is_held(), self.plan) else {
            return;
        };
        for step in plan.steps.iter().filter(|step| is_before_release(step.id)) {
            let patient = step.on_timeout == Policy::Block && (held || !self.is_awaited(step.id));
            let Some(state) = self
                .s
                .state
                .steps_mut()
                .and_then(|s| s.get_mut(&step.id))
                .filter(|state| state.is_running() && state.deadline.is_none())
            else {
                continue;
            };
            if !patient {
                state.deadline = Some(now + Duration::from_secs(step.timeout_secs));
            }
        }
    }

    /// Lets a running step say something, and takes it.
    pub(super) fn with_step(
        &mut self,
        id: StepId,
        say: impl FnOnce(&StepState, &StepContext<'_>) -> Progress,
    ) {
        let Some(plan) = self.plan else { return };
        let Some(step) = plan.step(id) else { return };
        // A release that yields has not been handed out: the hold is still on.
        let held = self.is_held() || self.in_last_chance();
        let Some(steps) = self.s.state.steps_mut() else {
            return;
        };
        let Some(mut state) = steps.remove(&id) else {
            return;
        };
        if state.is_running() {
            let ctx = StepContext {
                plan,
                step,
                platform: self.s.platform,
                serial: self.s.serial.as_ref(),
                os_version: self.s.os_version.as_deref(),
                steps: self.s.state.steps().unwrap_or(&NO_STEPS),
                held,
                user_seen: self.s.user_seen,
                user_expected: self.s.user_expected,
                token_stored: self.s.token_stored.is_some(),
                lock_unread: self.s.lock_unread,
                lock_off: self.s.lock_off,
                release_told: self.s.release_told.as_ref(),
                tags: &self.s.tags,
                declared: self.s.declared,
                apple_silicon: self.s.apple_silicon,
            };
            let progress = say(&state, &ctx);
            self.take_progress(step, &mut state, progress);
        }
        if let Some(steps) = self.s.state.steps_mut() {
            steps.insert(id, state);
        }
    }

    pub(super) fn take_progress(
        &mut self,
        step: &StepPlan,
        state: &mut StepState,
        progress: Progress,
    ) {
        let now = self.now;
        if let Some(own) = progress.own {
            state.own = own;
        }
        for (part, ask) in progress.asks {
            let attempt = state.ask(part, now);
            self.effects.push(Effect::Command {
                step: step.id,
                part,
                attempt,
                ask,
            });
        }
        self.effects.extend(progress.effects);
        if let Some(span) = progress.look_in {
            state.look_at = Some(now + span);
        }
        let named = !progress.exceptions.is_empty();
        if step.required || step.id == StepId::Verify {
            self.s.exceptions.extend(progress.exceptions);
        }
        match progress.next {
            Next::Wait => {}
            Next::Done(evidence) => {
                state.end(StepStatus::Done { evidence }, now);
                if step.id == StepId::Verify {
                    self.profiles_proved();
                }
            }
            Next::Skip(why) => state.end(StepStatus::Skipped { why }, now),
            Next::Retry(why, owner) if state.tries < step.retries => {
                state.error = Some(StepError { why, owner });
                state.tries += 1;
                state.again = true;
                state.look_at = Some(now + RETRY * u32::from(state.tries));
            }
            Next::Retry(why, owner) | Next::Except(why, owner) => {
                if (step.required || step.id == StepId::Verify) && !named {
                    self.s.exceptions.push(Exception::new(
                        step.id.as_str(),
                        why.clone(),
                        owner,
                        now,
                    ));
                }
                if step.id == StepId::Verify {
                    self.s.attention = Some(Attention::ProofIncomplete);
                }
                state.end(StepStatus::Excepted { why }, now);
            }
        }
    }

    /// The proof after release has seen every profile: exceptions of steps that only came late are taken back.
    pub(super) fn profiles_proved(&mut self) {
        for id in [
            StepId::Trust,
            StepId::Network,
            StepId::Security,
            StepId::FvEscrow,
        ] {
            // Those that name a part were refused by the device, and the proof did not look for them.
            self.s.exceptions.retain(|e| e.what != id.as_str());
        }
    }

    pub(super) fn start_one(&mut self) -> bool {
        let Some(plan) = self.plan else { return false };
        let (after, running) = match &self.s.state {
            SetUpState::Holding { .. } | SetUpState::NoHold { proved: true, .. } => (false, true),
            SetUpState::Proving { .. } => (true, true),
            // Nothing new is begun while the release is under way.
            _ => (false, false),
        };
        if !running {
            return false;
        }
        let Some(steps) = self.s.state.steps() else {
            return false;
        };
        let over = |id: &StepId| is_over(plan, steps, *id);
        let next = StepId::ALL.into_iter().find(|id| {
            (after || is_before_release(*id))
                && *id != StepId::Release
                && steps
                    .get(id)
                    .is_some_and(|s| s.status == StepStatus::Waiting)
                && plan.step(*id).is_some_and(|p| p.requires.iter().all(&over))
        });
        let Some(id) = next else { return false };
        let now = self.now;
        if id != StepId::Identify
            && (is_before_release(id) || id == StepId::Tag)
            && is_impostor(steps.get(&StepId::Identify))
        {
            if let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) {
                let why = "it is not the device that was planned".to_owned();
                state.end(StepStatus::Skipped { why }, now);
            }
            return true;
        }
        if let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) {
            state.since = now;
            state.own = steps::Own::Nothing;
        }
        self.start(id);
        true
    }
}
