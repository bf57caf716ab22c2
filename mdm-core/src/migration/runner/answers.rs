//! What the device and others answer, and what a person asks for: each reaches its step once. Believes no report that came
//! twice or belongs to a try that was replaced.

use super::{Run, begin_release, is_before_release};
use crate::migration::steps::{
    Own, Progress, Signal, StepError, StepStatus, fv_escrow, is_impostor, lock, release,
};
use crate::migration::{
    Effect, EffectKey, Event, LetOutBy, Notice, OperatorAct, Owner, ReleaseTold, SetUpState,
    StepId, Told,
};
use crate::queue::ReportStatus;

impl Run<'_> {
    pub(super) fn reported(
        &mut self,
        event: &Event,
        id: StepId,
        part: u16,
        attempt: u16,
        status: ReportStatus,
        told: &Told,
    ) {
        let now = self.now;
        let releasing = matches!(self.s.state, SetUpState::Releasing { .. });
        let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) else {
            return;
        };
        let Some(asked) = state.asked.get_mut(&part) else {
            return;
        };
        if id == StepId::Release
            && part == release::END
            && status == ReportStatus::Acknowledged
            && releasing
            && attempt <= asked.attempt
        {
            // Whichever try it was: the device has ended its hold.
            self.released("the device acknowledged the end of its hold");
            return;
        }
        if asked.attempt != attempt || !asked.open {
            // A report that came twice, or one of a try that was replaced.
            return;
        }
        asked.mute = false;
        if status == ReportStatus::NotNow {
            asked.not_now = true;
            self.last_chance_answered(id, false, true);
            self.signal(id, Signal::Event(event));
            return;
        }
        let ok = status == ReportStatus::Acknowledged;
        // That an app is queued already, or there, is an error in name only.
        let failed = !ok && !matches!(told, Told::App(_));
        asked.open = false;
        asked.not_now = false;
        asked.error = failed.then(|| StepError::told(id, part, told));
        if failed {
            asked.errors = asked.errors.saturating_add(1);
        }
        if state.oldest_open().is_none() {
            state.nudge_at = None;
        }
        if id == StepId::Release {
            self.release_answered(part, told);
            return;
        }
        if self.plan.is_none() && state.is_running() {
            // Nobody can take this answer now: the step asks again when its plan is back.
            state.again = true;
            state.look_at = Some(now);
        }
        if let Told::Identity { os_version, .. } = told
            && os_version.is_some()
        {
            self.s.os_version.clone_from(os_version);
        }
        self.last_chance_answered(id, !failed, false);
        self.signal(id, Signal::Answer { part, ok, told });
        if id == StepId::Identify {
            self.hold_told(told);
        }
    }

    /// It speaks, and says nothing of this: no time is given for it any more beyond the step's own.
    pub(super) fn unanswered(&mut self, id: StepId, part: u16, attempt: u16) {
        let step = self.s.state.steps_mut().and_then(|s| s.get_mut(&id));
        if let Some(asked) = step.and_then(|s| s.asked.get_mut(&part))
            && asked.open
            && asked.attempt == attempt
        {
            asked.mute = true;
        }
    }

    /// A Mac makes its new recovery key with its bootstrap token, and not before: an escrow that was begun without one is begun
    /// again when it comes, once.
    pub(super) fn token_stored(&mut self, event: &Event) {
        let now = self.now;
        let first = self.s.token_stored.is_none();
        self.s.token_stored.get_or_insert(now);
        if let Some(steps) = self.s.state.steps_mut()
            && !is_impostor(steps.get(&StepId::Identify))
            && let Some(state) = steps.get_mut(&StepId::Bootstrap)
            && matches!(
                state.status,
                StepStatus::Excepted { .. } | StepStatus::Skipped { .. }
            )
        {
            let evidence = "the token is in the vault, late".to_owned();
            state.end(StepStatus::Done { evidence }, now);
            self.retract(StepId::Bootstrap);
        }
        self.signal(StepId::Bootstrap, Signal::Event(event));
        if first {
            self.escrow_again(event);
        }
    }

    fn escrow_again(&mut self, event: &Event) {
        let steps = self.s.state.steps();
        let state = |id| steps.and_then(|steps| steps.get(&id));
        let proof = state(StepId::Verify);
        let proved = proof.is_some_and(
            |proof| matches!(&proof.own, Own::Proof(proof) if matches!(proof.key(), Some(Ok(_)))),
        );
        let begun = state(StepId::FvEscrow).is_some_and(|escrow| match &escrow.status {
            StepStatus::Waiting => false,
            // What is on its way to the Mac comes after the token.
            StepStatus::Running => !escrow.is_open(fv_escrow::PROFILE),
            StepStatus::Done { .. } | StepStatus::Excepted { .. } | StepStatus::Skipped { .. } => {
                true
            }
        });
        if proved || !begun {
            return;
        }
        let judged = matches!(
            proof.map(|proof| &proof.status),
            Some(StepStatus::Excepted { .. })
        );
        self.begin_again(StepId::FvEscrow);
        match judged {
            true => self.begin_again(StepId::Verify),
            false => self.signal(StepId::Verify, Signal::Event(event)),
        }
    }

    /// What became of the request counts also after the step's time: the exception that only its lateness caused is taken back.
    fn lock_told(&mut self, event: &Event) {
        let now = self.now;
        if let Some(state) = self
            .s
            .state
            .steps_mut()
            .and_then(|s| s.get_mut(&StepId::Lock))
            && lock::is_late(Some(&state.status))
        {
            state.run(now);
            self.retract(StepId::Lock);
        }
        self.signal(StepId::Lock, Signal::Event(event));
        // The proof may have waited for nothing else.
        self.signal(StepId::Verify, Signal::Event(event));
    }

    pub(super) fn lock_answered(&mut self, event: &Event) {
        self.lock_told(event);
        // A late proof is a proof: the exception that its lateness caused is taken back.
        let now = self.now;
        if lock::proves(event)
            && let Some(state) = self
                .s
                .state
                .steps_mut()
                .and_then(|s| s.get_mut(&StepId::Lock))
            && matches!(
                state.status,
                StepStatus::Excepted { .. } | StepStatus::Skipped { .. }
            )
        {
            let evidence = "Apple locked it with the code in the vault, late".to_owned();
            state.end(StepStatus::Done { evidence }, now);
            self.retract(StepId::Lock);
        }
    }

    pub(super) fn retract(&mut self, id: StepId) {
        let part = format!("{id}: ");
        self.s
            .exceptions
            .retain(|e| e.what != id.as_str() && !e.what.starts_with(&part));
    }

    pub(super) fn effect_failed(&mut self, event: &Event, effect: &EffectKey, why: &str) {
        match effect {
            EffectKey::Lock => self.lock_told(event),
            EffectKey::Notify(notice) => {
                if *notice == Notice::Released {
                    let why = why.to_owned();
                    self.release_was_told(ReleaseTold::Failed { why });
                }
                self.signal(StepId::Tell, Signal::Event(event));
            }
            // Its next wake makes a new one; nothing gives up on a release.
            EffectKey::Command(StepId::Release) => {}
            EffectKey::Command(id) => {
                let why = format!("its command cannot be made: {why}");
                let progress = if matches!(id, StepId::Declare | StepId::DeclareApps) {
                    Progress::skip(why)
                } else {
                    Progress::except(why, Owner::Destination)
                };
                self.with_step(*id, |_, _| progress);
            }
            // The Move's.
            EffectKey::ReadDevice | EffectKey::Cancel | EffectKey::MoveDeadline => {}
        }
    }

    pub(super) fn operator(&mut self, act: &OperatorAct) {
        match act {
            OperatorAct::Release => {
                begin_release(&mut self.s, LetOutBy::Person, self.now, &mut self.effects);
                if self.s.last_chance.take().is_some() {
                    // Now, whatever is missing: nothing goes before it any more.
                    self.effects.push(Effect::Push);
                }
            }
            OperatorAct::RetryStep(id) => self.retry_step(*id),
        }
    }

    pub(super) fn retry_step(&mut self, id: StepId) {
        let now = self.now;
        let held = self.is_held();
        let again = is_before_release(id) || matches!(id, StepId::Verify | StepId::Tag);
        if !again || (id == StepId::AppsKeep && !held) {
            return;
        }
        let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) else {
            return;
        };
        let stuck = match &state.status {
            StepStatus::Running => state.since < now,
            StepStatus::Excepted { .. } | StepStatus::Skipped { .. } => state.since < now,
            StepStatus::Waiting | StepStatus::Done { .. } => false,
        };
        if stuck {
            self.begin_again(id);
        }
    }

    /// A step that was begun is begun anew, as if it never had been.
    fn begin_again(&mut self, id: StepId) {
        let now = self.now;
        let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) else {
            return;
        };
        if state.oldest_open().is_some() {
            self.effects.push(Effect::DropCommands { step: id });
        }
        state.end(StepStatus::Waiting, now);
        state.tries = 0;
        for asked in state.asked.values_mut() {
            asked.errors = 0;
            asked.error = None;
        }
        self.retract(id);
    }
}
