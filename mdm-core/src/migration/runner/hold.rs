//! Into the hold and out of it: does the device wait, who says so, and what is left when it does not any more. Decides no
//! release by evidence; that is where the steps are.

use super::{HOLD, Run, WAITING_TRIES, hard_ceiling};
use crate::migration::steps::{Signal, StepState, StepStatus, identify, release};
use crate::migration::{
    AppAction, Ask, Attention, Effect, LetOut, LetOutBy, Notice, Owner, ReleaseTold, SetUpState,
    StepId, Steps, Told, Variant,
};

impl Run<'_> {
    pub(super) fn enrolled(&mut self, awaiting: Option<bool>, profile_awaits: bool) {
        if !matches!(self.s.state, SetUpState::Enrolling { .. }) {
            // A repeated message; only what it says of the hold may be news.
            return;
        }
        self.s.enrolled = Some(self.now);
        match (awaiting, profile_awaits) {
            (Some(true), _) => self.hold(),
            (Some(false), false) => self.no_hold(false),
            // An absent key proves nothing, and `false` contradicts the profile: the device is asked before anything is
            // given up. Until it answers it is guarded like a hold.
            _ => {
                self.s.state = SetUpState::NoHold {
                    since: self.now,
                    steps: Steps::from([(StepId::Identify, StepState::waiting(self.now))]),
                    proved: false,
                };
                self.s.ceiling_at = Some(self.now + hard_ceiling(self.plan));
                self.ask_identify();
            }
        }
    }

    /// The question that also settles who it is; runs without a plan too, since nobody may be left in a hold for that.
    pub(super) fn ask_identify(&mut self) {
        let now = self.now;
        let Some(steps) = self.s.state.steps_mut() else {
            return;
        };
        let state = steps
            .entry(StepId::Identify)
            .or_insert_with(|| StepState::waiting(now));
        state.run(now);
        state.since = now;
        let attempt = state.ask(identify::WHO, now);
        self.effects.push(Effect::Command {
            step: StepId::Identify,
            part: identify::WHO,
            attempt,
            ask: Ask::Identify,
        });
    }

    pub(super) fn hold(&mut self) {
        let mut steps = match &mut self.s.state {
            SetUpState::NoHold { steps, .. } => std::mem::take(steps),
            _ => Steps::new(),
        };
        let since = self.now;
        self.s.hold_began.get_or_insert(since);
        self.s.ceiling_at = Some(since + hard_ceiling(self.plan));
        self.clear(&[Attention::NotAwaiting]);
        self.s.exceptions.retain(|e| e.what != HOLD);
        if steps
            .get(&StepId::AppsKeep)
            .is_some_and(|s| matches!(s.status, StepStatus::Excepted { .. }))
        {
            // Judged too early: the hold is on after all.
            self.retract(StepId::AppsKeep);
            steps.remove(&StepId::AppsKeep);
        }
        self.s.released = None;
        // Whoever is told that a hold begins is told that it ends.
        self.s.release_told = None;
        self.s.state = SetUpState::Holding { since, steps };
        self.lay_out();
        self.effects.push(Effect::Notify(Notice::Holding));
    }

    /// The device does not wait. What can be done outside of a hold is done; what only a hold can save is named.
    pub(super) fn no_hold(&mut self, contradiction: bool) {
        let (since, steps) = match &mut self.s.state {
            SetUpState::NoHold { since, steps, .. } => (*since, std::mem::take(steps)),
            _ => (self.now, Steps::new()),
        };
        self.s.ceiling_at = None;
        self.s.released = Some(self.now);
        let ordinary = self.plan.is_some_and(|p| p.variant == Variant::Ordinary);
        if self.plan.is_some() && (contradiction || !ordinary) {
            self.s.attention = Some(Attention::NotAwaiting);
        }
        if !ordinary {
            self.note(
                HOLD,
                "the device did not wait: what only the hold can save may be lost",
                Owner::Destination,
            );
        }
        self.s.state = SetUpState::NoHold {
            since,
            steps,
            proved: true,
        };
        self.lay_out();
        let why = "the device does not wait".to_owned();
        self.set_release(StepStatus::Skipped { why });
        self.tell_release();
        self.hold_over();
    }

    pub(super) fn awaiting_told(&mut self, awaiting: bool) {
        match (&self.s.state, awaiting) {
            (SetUpState::NoHold { .. }, true) => self.hold(),
            (SetUpState::NoHold { proved: false, .. }, false) => self.no_hold(true),
            (SetUpState::Holding { .. }, false) => {
                // It left without us: somebody else ended the hold, or the device gave up.
                self.s.attention = Some(Attention::NotAwaiting);
                self.note(
                    HOLD,
                    "the device left the hold before it was released",
                    Owner::Device,
                );
                let why = "the device left the hold by itself".to_owned();
                let (by, at) = (LetOutBy::Device, self.now);
                self.s.let_out = Some(LetOut { by, at });
                self.out_of_hold(StepStatus::Excepted { why });
            }
            (SetUpState::Releasing { .. }, false) => {
                self.released("the device says that it does not wait any more")
            }
            (SetUpState::Proving { .. }, true) => {
                // Late news or a device that is still held: it is asked, since nobody may stay behind.
                let (now, effects) = (self.now, &mut self.effects);
                if let Some(steps) = self.s.state.steps_mut() {
                    release::ask_waiting(steps, now, effects);
                }
            }
            // As known already, or out of turn.
            _ => {}
        }
    }

    pub(super) fn released(&mut self, evidence: &str) {
        self.out_of_hold(StepStatus::Done {
            evidence: evidence.to_owned(),
        });
    }

    pub(super) fn set_release(&mut self, status: StepStatus) {
        let now = self.now;
        if let Some(steps) = self.s.state.steps_mut() {
            release::state(steps, now).end(status, now);
        }
    }

    pub(super) fn out_of_hold(&mut self, release: StepStatus) {
        let Some(steps) = self.s.state.steps_mut().map(std::mem::take) else {
            return;
        };
        self.s.state = SetUpState::Proving {
            since: self.now,
            steps,
        };
        self.s.ceiling_at = None;
        self.s.released = Some(self.now);
        self.clear(&[
            Attention::HoldLong,
            Attention::ReleaseUnconfirmed,
            Attention::SilentForDays,
        ]);
        self.set_release(release);
        self.tell_release();
        self.hold_over();
    }

    /// Programs and people hear that the device is out, whatever the runbook says of it: once for each hold.
    pub(super) fn tell_release(&mut self) {
        if self.s.release_told.is_none() {
            self.s.release_told = Some(ReleaseTold::Asked);
            self.effects.push(Effect::Notify(Notice::Released));
        }
    }

    /// What became of telling it; the step that waits for that may begin later.
    pub(super) fn release_was_told(&mut self, told: ReleaseTold) {
        if self.s.release_told.is_some() {
            self.s.release_told = Some(told);
        }
    }

    /// What only the hold could do is judged now.
    pub(super) fn hold_over(&mut self) {
        let keep = self.s.state.steps().and_then(|s| s.get(&StepId::AppsKeep));
        let unfinished = keep.is_some_and(|s| {
            let done = matches!(s.status, StepStatus::Done { .. });
            s.oldest_open().is_some() || !done && !s.asked.is_empty()
        });
        if unfinished {
            // Taken over too late, an app would come back empty, and nobody asked for that. Also when its step was given up
            // by time: then no question of it is open any more, and its commands are.
            self.effects.push(Effect::DropCommands {
                step: StepId::AppsKeep,
            });
        }
        self.signal(StepId::AppsRequired, Signal::HoldOver);
        self.signal(StepId::AppsKeep, Signal::HoldOver);
        let Some(plan) = self.plan else {
            return;
        };
        let Some(keep) = plan.step(StepId::AppsKeep) else {
            return;
        };
        let now = self.now;
        let Some(state) = self
            .s
            .state
            .steps_mut()
            .and_then(|s| s.get_mut(&StepId::AppsKeep))
        else {
            return;
        };
        if state.status == StepStatus::Waiting
            && plan.apps.iter().any(|a| a.action != AppAction::Drop)
        {
            let why = "the hold ended before the apps could be read";
            state.end(
                StepStatus::Excepted {
                    why: why.to_owned(),
                },
                now,
            );
            if keep.required {
                // Which of them it had, nobody knows: each is named.
                for app in plan.apps.iter().filter(|a| a.action != AppAction::Drop) {
                    let what = format!("{}: {}", StepId::AppsKeep, app.bundle_id);
                    self.note(&what, why, Owner::Device);
                }
            }
        }
    }

    pub(super) fn release_answered(&mut self, part: u16, told: &Told) {
        let now = self.now;
        let proving = matches!(self.s.state, SetUpState::Proving { .. });
        if part == release::END {
            // An error: most likely it has been released already. The device is asked, not believed.
            if let Some(steps) = self.s.state.steps_mut() {
                release::ask_waiting(steps, now, &mut self.effects);
            }
            return;
        }
        let awaiting = match told {
            Told::Identity { awaiting, .. } => *awaiting,
            _ => None,
        };
        match awaiting {
            Some(false) if proving => {}
            Some(false) => self.released("the device says that it does not wait any more"),
            Some(true) => self.release_again(),
            // It said that it waits, and does not take that back.
            None if proving => self.release_again(),
            // An absent answer proves nothing: the next wake makes a new command.
            None => {}
        }
    }

    /// A new command for a device that is still held. Not more than a few at once: after that the half-hourly one.
    pub(super) fn release_again(&mut self) {
        let now = self.now;
        match &mut self.s.state {
            SetUpState::Releasing { tries, steps, .. } if *tries < 3 => {
                *tries += 1;
                release::ask(steps, now, &mut self.effects);
            }
            SetUpState::Proving { steps, .. } => {
                let mut steps = std::mem::take(steps);
                release::ask(&mut steps, now, &mut self.effects);
                self.s.released = None;
                self.s.attention = Some(Attention::ReleaseUnconfirmed);
                self.s.state = SetUpState::Releasing {
                    since: now,
                    tries: 1,
                    steps,
                };
            }
            // Asked often enough for now, or out of turn.
            _ => {}
        }
    }

    /// From an enrolment without a hold to its proof.
    pub(super) fn prove(&mut self) {
        let now = self.now;
        if let SetUpState::NoHold {
            steps,
            proved: true,
            ..
        } = &mut self.s.state
        {
            let steps = std::mem::take(steps);
            self.s.state = SetUpState::Proving { since: now, steps };
        }
    }

    /// What an answer to the first question says of the hold.
    pub(super) fn hold_told(&mut self, told: &Told) {
        let awaiting = match told {
            Told::Identity { awaiting, .. } => *awaiting,
            _ => None,
        };
        match (&self.s.state, awaiting) {
            (_, Some(awaiting)) => self.awaiting_told(awaiting),
            (SetUpState::NoHold { proved: false, .. }, None) => {
                let now = self.now;
                let Some(state) = self
                    .s
                    .state
                    .steps_mut()
                    .and_then(|s| s.get_mut(&StepId::Identify))
                else {
                    return;
                };
                let tries = state.asked.get(&identify::WAITING).map_or(0, |a| a.attempt);
                if tries >= WAITING_TRIES || state.is_open(identify::WAITING) {
                    return;
                }
                let attempt = state.ask(identify::WAITING, now);
                self.effects.push(Effect::Command {
                    step: StepId::Identify,
                    part: identify::WAITING,
                    attempt,
                    ask: Ask::Awaiting,
                });
            }
            // An absent answer proves nothing.
            (_, None) => {}
        }
    }
}
