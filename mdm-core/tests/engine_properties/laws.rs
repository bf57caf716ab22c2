//! The laws: what no history may break, whatever happened before.

use std::time::Duration;

use crate::engine_story::name;
use mdm_core::clock::Timestamp;
use mdm_core::migration::{
    Ask, Effect, Event, MoveState, OperatorAct, SetUp, SetUpState, StepId, StepStatus, Transition,
    advance_move, advance_set_up, advance_unreadable, release,
};

use crate::GRACE;
use crate::world::*;

impl World<'_> {
    pub(crate) fn laws_of_set_up(&self, before: &SetUp, event: &Event, t: &Transition<SetUp>) {
        let next = &t.next;
        self.look(
            &format!("SetUp{}", name(&next.state)),
            next.attention.as_ref(),
        );
        if let SetUpState::Ended(end) = &next.state {
            self.look(&format!("{end:?}"), None);
        }
        if before.is_ended() {
            assert_eq!(next, before, "an ended set-up changed by {event:?}");
            assert!(t.effects.is_empty());
            return;
        }
        assert_eq!(next.wake_at.is_none(), next.is_ended(), "{next:?}");
        if *event == Event::Woke {
            assert!(
                next.wake_at.is_none_or(|at| at > self.now),
                "the wake stays at {:?}, now {}: {next:?}",
                next.wake_at,
                self.now
            );
        }
        // The watchdog sees exactly those that are, or may be, in a hold that nobody ends.
        let guarded = matches!(
            next.state,
            SetUpState::Holding { .. } | SetUpState::NoHold { proved: false, .. }
        );
        assert_eq!(next.ceiling_at.is_some(), guarded, "{next:?}");
        if let (Some(ceiling), Some(began)) = (next.ceiling_at, next.hold_began) {
            assert!(ceiling <= began + Duration::from_hours(4));
        }
        let was_held = matches!(
            before.state,
            SetUpState::Holding { .. } | SetUpState::NoHold { proved: false, .. }
        );
        let releases = t.effects.iter().any(|e| {
            matches!(
                e,
                Effect::Command {
                    step: StepId::Release,
                    ask: Ask::Release,
                    ..
                }
            )
        });
        if was_held && releases {
            self.is_justified(before, event, next);
        }
        for (id, state) in next.steps().into_iter().flatten() {
            if let StepStatus::Done { .. } = state.status {
                self.is_proved(*id);
            }
        }
        // What the store keeps is the whole of it.
        let kept: SetUp = serde_json::from_str(&serde_json::to_string(next).unwrap()).unwrap();
        assert_eq!(kept, *next);
        // Whatever goes before a release does so for a few minutes only, and never without the runbook.
        assert!(!next.release_yields(self.now + GRACE), "{next:?}");
        if *event == Event::BeforeRelease && !self.readable {
            assert!(!next.release_yields(self.now), "{next:?}");
        }
        // Doing the release twice makes no second command.
        let first = release(next, self.now);
        let second = release(&first.next, self.now);
        assert!(second.effects.is_empty());
        assert_eq!(second.next, first.next);
    }

    pub(crate) fn is_justified(&self, before: &SetUp, event: &Event, next: &SetUp) {
        if *event == Event::Operator(OperatorAct::Release) {
            return;
        }
        if *event == Event::Woke && before.ceiling_at.is_some_and(|at| at <= self.now) {
            return;
        }
        let steps = next.steps().unwrap();
        for step in self
            .plan
            .steps
            .iter()
            .filter(|s| s.required && s.id < StepId::Release)
        {
            let status = &steps[&step.id].status;
            assert!(
                status.is_over(),
                "released by {event:?} while {} was {status:?}",
                step.id
            );
            if let StepStatus::Excepted { .. } = status {
                // By policy, and then it is on record.
                assert!(
                    next.exceptions
                        .iter()
                        .any(|e| e.what.starts_with(step.id.as_str())),
                    "{} was given up without an exception",
                    step.id
                );
            }
        }
    }

    pub(crate) fn is_proved(&self, id: StepId) {
        let listed = |what: &str| {
            assert!(
                self.listed.contains(what),
                "{id} is done, {what} was never listed"
            )
        };
        match id {
            StepId::Trust => listed("org.trust"),
            StepId::Network => listed("org.wifi"),
            StepId::FvEscrow => listed(mdm_core::migration::ESCROW_PROFILE),
            // The device has what it had, or said once that it has nothing of it.
            StepId::AppsKeep => assert!(
                self.managed.contains("app.notes")
                    || !self.device.managed.contains_key("app.notes"),
                "{id} is done, app.notes was never managed"
            ),
            _ => {}
        }
    }

    /// Only wakes from here on: both machines end, or keep doing what they can while a person is asked.
    pub(crate) fn nobody_waits_for_ever(&self) {
        if let Some(s) = &self.s {
            self.set_up_does_not_wait(s);
        }
        let (mut m, mut now) = (self.m.clone(), self.now);
        for _ in 0..400 {
            let Some(at) = m.wake_at else { return };
            now = now.max(at);
            m = advance_move(&m, &self.plan, &Event::Woke, now).next;
            assert!(m.wake_at.is_none_or(|at| at > now));
        }
        // Before anything is submitted people are at work; afterwards one is asked.
        let draft = matches!(m.state, MoveState::Planned | MoveState::Ready);
        assert!(
            draft || m.attention.is_some(),
            "waits and tells nobody: {m:?}"
        );
    }

    pub(crate) fn set_up_does_not_wait(&self, s: &SetUp) {
        let (mut s, mut now) = (s.clone(), self.now);
        let held_until = s.ceiling_at;
        let (mut nudges, mut stalled) = (0, 0);
        for _ in 0..600 {
            let Some(at) = s.wake_at else { return };
            now = now.max(at);
            if s.ceiling_at.is_some() && held_until.is_some_and(|ceiling| now > ceiling) {
                let late = now.since(held_until.unwrap());
                assert!(
                    late < Duration::from_mins(30),
                    "held past its ceiling by {late:?}: {s:?}"
                );
            }
            let t = self.advance_with(&s, now);
            assert!(t.next.wake_at.is_none_or(|at| at > now), "{:?}", t.next);
            s = t.next;
            match &s.state {
                SetUpState::Stalled { from, .. } => {
                    stalled += 1;
                    if matches!(**from, SetUpState::Releasing { .. }) {
                        nudges += t
                            .effects
                            .iter()
                            .filter(|e| matches!(e, Effect::Push | Effect::Command { .. }))
                            .count();
                    }
                }
                SetUpState::Ended(_) => return,
                _ => {}
            }
        }
        assert!(stalled > 100, "neither ended nor given to a person: {s:?}");
        assert!(s.attention.is_some());
        let released = matches!(&s.state, SetUpState::Stalled { from, .. } if matches!(**from, SetUpState::Enrolling { .. }));
        assert!(
            released || nudges + 5 > stalled,
            "a held device is not woken any more: {s:?}"
        );
    }

    pub(crate) fn advance_with(&self, s: &SetUp, now: Timestamp) -> Transition<SetUp> {
        if self.readable {
            advance_set_up(s, &self.plan, &Event::Woke, now)
        } else {
            advance_unreadable(s, &Event::Woke, now)
        }
    }
}
