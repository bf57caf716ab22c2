//! How a set-up moves: events reach its steps, steps that may start do, and the state follows. Sends nothing and reads no
//! clock. The release needs nothing of the runbook; everything else here may be missing and the device still gets out.

mod answers;
mod graph;
mod hold;
pub(crate) mod last_chance;
mod time;

use std::time::Duration;

use super::steps::{Signal, StepStatus, release};
use super::{
    Attention, Effect, Event, Exception, LastChance, LetOut, LetOutBy, Notice, Owner,
    PinnedRunbook, ReleaseTold, SetUp, SetUpEnd, SetUpState, StepId, Steps, Transition,
};
use crate::clock::Timestamp;
use crate::queue::ReportStatus;

/// A device that has authenticated should complete its enrolment within this.
const ENROL: Duration = Duration::from_mins(20);
/// A device that was asked whether it waits is taken to wait after this: releasing one that does not is harmless, leaving
/// one that does is not.
const ASSUME_HOLD: Duration = Duration::from_mins(20);
/// A device that was told to end its hold should confirm within this.
const CONFIRM: Duration = Duration::from_hours(2);
/// A silent device becomes a question for a person after this.
const ASK_PERSON: Duration = Duration::from_hours(7 * 24);
/// The proof after release ends here at the latest, whatever the runbook says.
const PROOF: Duration = Duration::from_hours(24);
/// Ceilings of a hold where the runbook names none, and above which none may go.
const SOFT_CEILING: Duration = Duration::from_mins(20);
const HARD_CEILING: Duration = Duration::from_mins(45);
pub(crate) const HIGHEST_CEILING: Duration = Duration::from_hours(4);
const DAY: Duration = Duration::from_hours(24);
/// Spacing of wakes for a device that does not answer: grows with its silence up to these.
const LONGEST_NUDGE_HELD: Duration = Duration::from_mins(10);
const LONGEST_NUDGE: Duration = Duration::from_hours(1);
/// How often a device that says neither yes nor no is asked whether it waits.
const WAITING_TRIES: u16 = 3;
/// A step that failed starts again after this, and after twice as much the next time.
const RETRY: Duration = Duration::from_secs(20);

/// The hard ceiling of a plan, within what any hold may last.
fn hard_ceiling(plan: Option<&PinnedRunbook>) -> Duration {
    plan.map_or(HARD_CEILING, |p| Duration::from_secs(p.hard_ceiling_secs))
        .min(HIGHEST_CEILING)
}

fn soft_ceiling(plan: Option<&PinnedRunbook>) -> Duration {
    plan.map_or(SOFT_CEILING, |p| Duration::from_secs(p.soft_ceiling_secs))
}

/// Whether a step is over. One that the plan does not name has nothing to prove; one that it names has, begun or not.
fn is_over(plan: &PinnedRunbook, steps: &Steps, id: StepId) -> bool {
    plan.step(id).is_none() || steps.get(&id).is_some_and(|s| s.status.is_over())
}

/// Steps before the release: what comes after it keeps nobody in a hold, whatever the runbook says of it.
fn is_before_release(id: StepId) -> bool {
    id < StepId::Release
}

/// When a set-up wants to be woken next; `None` only once it has ended.
pub(super) fn wake(s: &SetUp, plan: Option<&PinnedRunbook>, now: Timestamp) -> Option<Timestamp> {
    let own = match &s.state {
        SetUpState::Ended(_) => return None,
        SetUpState::Enrolling { since } => Some(*since + ENROL),
        SetUpState::NoHold { since, proved, .. } => {
            // A proved one may wait for nothing but its steps, and for those no longer than a hold could last.
            Some(
                *since
                    + if *proved {
                        hard_ceiling(plan)
                    } else {
                        ASSUME_HOLD
                    },
            )
        }
        SetUpState::Holding { since, .. } => {
            let soft = s.attention.is_none().then(|| *since + soft_ceiling(plan));
            // A ceiling that is missing is as good as one that has come.
            earliest([
                soft,
                Some(s.ceiling_at.unwrap_or(*since + hard_ceiling(plan))),
            ])
        }
        SetUpState::Releasing { since, steps, .. } => earliest([
            Some(*since + CONFIRM),
            release::asked_at(steps).map(|at| at + release::ASK_AGAIN),
            match s.last_chance {
                Some(LastChance::Running { until, .. }) => Some(until),
                _ => None,
            },
        ]),
        SetUpState::Proving { since, .. } => Some(*since + proof_time(plan)),
        SetUpState::Stalled { since, from } => match from.as_ref() {
            SetUpState::Releasing { steps, .. } => {
                let nudge = steps.get(&StepId::Release).and_then(|r| r.nudge_at);
                return Some(nudge.unwrap_or(now + release::STALLED_PUSH));
            }
            // Nothing can be sent to a device that never completed its enrolment; it is looked at daily.
            _ => {
                let days = now.since(*since).as_secs() / DAY.as_secs();
                return Some(*since + DAY * u32::try_from(days + 1).unwrap_or(u32::MAX));
            }
        },
    };
    let steps = s.state.steps().into_iter().flat_map(|steps| steps.values());
    let steps = steps
        .filter(|state| state.is_running())
        // Without the plan no step can look or be judged; only its questions are repeated.
        .filter_map(|state| match plan {
            Some(_) => earliest([state.deadline, state.nudge_at, state.look_at]),
            None => state.nudge_at,
        })
        .min();
    earliest([own, steps])
}

fn earliest<const N: usize>(moments: [Option<Timestamp>; N]) -> Option<Timestamp> {
    moments.into_iter().flatten().min()
}

fn proof_time(plan: Option<&PinnedRunbook>) -> Duration {
    plan.and_then(|p| p.step(StepId::Verify))
        .map_or(PROOF, |v| Duration::from_secs(v.timeout_secs))
        // A little beyond the proof's own time, so that it can name what is missing.
        + Duration::from_mins(1)
}

/// Decides the release where a hold is on, or may be. No second command is made for one that is under way.
pub(super) fn begin_release(
    s: &mut SetUp,
    by: LetOutBy,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    if let SetUpState::Stalled { from, .. } = &s.state
        && matches!(
            from.as_ref(),
            SetUpState::Holding { .. } | SetUpState::NoHold { .. }
        )
    {
        s.state = (**from).clone();
    }
    let mut steps = match &mut s.state {
        SetUpState::Holding { steps, .. }
        | SetUpState::NoHold {
            steps,
            proved: false,
            ..
        } => std::mem::take(steps),
        // Out of the hold, never in one, or released already.
        _ => return,
    };
    release::ask(&mut steps, now, effects);
    s.ceiling_at = None;
    s.let_out = Some(LetOut { by, at: now });
    s.state = SetUpState::Releasing {
        since: now,
        tries: 1,
        steps,
    };
}

/// The whole of an advance: hear, act, let steps start, follow with the state, set the wake.
pub(super) fn advance(
    set_up: &SetUp,
    plan: Option<&PinnedRunbook>,
    event: &Event,
    now: Timestamp,
) -> Transition<SetUp> {
    if set_up.is_ended() {
        return Transition {
            next: set_up.clone(),
            effects: Vec::new(),
        };
    }
    let mut run = Run {
        s: set_up.clone(),
        plan,
        now,
        effects: Vec::new(),
    };
    if plan.is_none() {
        run.s.attention = Some(Attention::RunbookUnreadable);
    } else if run.s.attention == Some(Attention::RunbookUnreadable) {
        run.s.attention = None;
    }
    run.hear(event);
    run.take(event);
    run.settle();
    if !run.s.is_ended() {
        run.s.wake_at = wake(&run.s, plan, now);
    }
    Transition {
        next: run.s,
        effects: run.effects,
    }
}

/// The device says that it cannot now, or says nothing of a question while it speaks: whichever question it was, that is no
/// sign that it can be released.
const fn is_refused(event: &Event) -> bool {
    matches!(
        event,
        Event::Reported {
            status: ReportStatus::NotNow,
            ..
        } | Event::Unanswered { .. }
    )
}

struct Run<'a> {
    s: SetUp,
    plan: Option<&'a PinnedRunbook>,
    now: Timestamp,
    effects: Vec<Effect>,
}

impl Run<'_> {
    /// A silent set-up goes on where it was when the device speaks.
    fn hear(&mut self, event: &Event) {
        let spoke = matches!(
            event,
            Event::Enrolled { .. }
                | Event::UserEnrolled
                | Event::BootstrapTokenStored
                | Event::StatusReported { .. }
                | Event::AppsDeclared { .. }
                | Event::AwaitingTold { .. }
                | Event::Reported { .. }
                | Event::Unanswered { .. }
                | Event::BeforeRelease
        );
        if !spoke {
            return;
        }
        self.s.heard = Some(self.now);
        let SetUpState::Stalled { from, .. } = &mut self.s.state else {
            return;
        };
        if let SetUpState::Releasing { steps, .. } = from.as_mut() {
            // It speaks, and the person stays asked until it is released.
            if self.s.attention == Some(Attention::SilentForDays) {
                self.s.attention = Some(Attention::ReleaseUnconfirmed);
            }
            if is_refused(event) {
                // It stays where it is, and is woken as often as one that is released.
                release::state(steps, self.now).nudge_at = Some(self.now + release::PUSH_AGAIN);
                return;
            }
        }
        let mut state = (**from).clone();
        match &mut state {
            SetUpState::Releasing { since, steps, .. } => {
                *since = self.now;
                let state = release::state(steps, self.now);
                state.nudge_at = Some(self.now + release::PUSH_AGAIN);
                self.effects.push(Effect::Push);
            }
            SetUpState::Enrolling { since } => *since = self.now,
            // No other state goes silent.
            _ => {}
        }
        self.s.state = state;
        self.clear(&[Attention::EnrolmentStalled, Attention::SilentForDays]);
    }

    fn clear(&mut self, reasons: &[Attention]) {
        if self
            .s
            .attention
            .as_ref()
            .is_some_and(|a| reasons.contains(a))
        {
            self.s.attention = None;
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Enrolled {
                awaiting,
                profile_awaits,
            } => self.enrolled(*awaiting, *profile_awaits),
            Event::AwaitingTold { awaiting } => self.awaiting_told(*awaiting),
            Event::Reported {
                step,
                part,
                attempt,
                status,
                told,
            } => self.reported(event, *step, *part, *attempt, *status, told),
            Event::BeforeRelease => self.before_release(),
            Event::Unanswered {
                step,
                part,
                attempt,
            } => self.unanswered(*step, *part, *attempt),
            Event::UserEnrolled => self.s.user_seen = true,
            Event::BootstrapTokenStored => self.token_stored(event),
            Event::StatusReported { .. } => self.signal(StepId::Declare, Signal::Event(event)),
            Event::AppsDeclared { .. } => {
                self.signal(StepId::DeclareApps, Signal::Event(event));
            }
            Event::LockAnswered { .. } => self.lock_answered(event),
            Event::Told { notice } => {
                if *notice == Notice::Released {
                    self.release_was_told(ReleaseTold::Sent);
                }
                self.signal(StepId::Tell, Signal::Event(event));
            }
            Event::EffectFailed { effect, why } => self.effect_failed(event, effect, why),
            Event::CheckedOut => self.end(SetUpEnd::CheckedOut),
            Event::Superseded => self.end(SetUpEnd::Superseded),
            Event::Woke => self.woke(),
            Event::Operator(act) => self.operator(act),
            // Apple's side is the Move's.
            Event::Checked { .. }
            | Event::Accepted
            | Event::SubmitAsked { .. }
            | Event::ActivityPosted { .. }
            | Event::SubmitRefused { .. }
            | Event::OrgTold { .. }
            | Event::AssignmentTold { .. }
            | Event::DeadlineMoved { .. }
            | Event::DeadlineStays { .. }
            | Event::CancelAsked
            | Event::WithdrawAsked
            // It ends the attempt. The set-up stays: it guards the hold of a device that may come back.
            | Event::GivenUp { .. }
            | Event::ProfileFetched
            | Event::SetUpChanged { .. } => {}
        }
    }

    fn end(&mut self, end: SetUpEnd) {
        if let Some(steps) = self.s.state.steps_mut() {
            self.s.proofs = std::mem::take(steps);
        }
        self.s.state = SetUpState::Ended(end);
        self.s.wake_at = None;
        self.s.ceiling_at = None;
        self.s.last_chance = None;
    }

    fn note(&mut self, what: &str, why: &str, owner: Owner) {
        if !self.s.exceptions.iter().any(|e| e.what == what) {
            let exception = Exception::new(what, why, owner, self.now);
            self.s.exceptions.push(exception);
        }
    }

    fn is_held(&self) -> bool {
        matches!(
            self.s.state,
            SetUpState::Holding { .. } | SetUpState::NoHold { proved: false, .. }
        )
    }

    /// Starts what may start, until nothing more does; then lets the state follow.
    fn settle(&mut self) {
        self.start_savers();
        let releasing = matches!(
            self.s.state,
            SetUpState::Releasing { .. } | SetUpState::Stalled { .. }
        );
        // Nor does it wait for steps that nobody can judge any more.
        let blind = self.plan.is_none() && self.s.last_chance != Some(LastChance::Owed);
        if !releasing || blind {
            self.s.last_chance = None;
        }
        let laid_out = matches!(
            self.s.state,
            SetUpState::Holding { .. }
                | SetUpState::NoHold { proved: true, .. }
                | SetUpState::Proving { .. }
        );
        if laid_out {
            // They may be missing when the plan could not be read in time.
            self.lay_out();
        }
        loop {
            while self.start_one() {}
            let before = std::mem::discriminant(&self.s.state);
            self.follow();
            if std::mem::discriminant(&self.s.state) == before {
                break;
            }
        }
        if laid_out || matches!(self.s.state, SetUpState::Proving { .. }) {
            self.give_time();
        }
        self.merge_pushes();
    }

    fn follow(&mut self) {
        let Some(steps) = self.s.state.steps() else {
            return;
        };
        // Without its plan nothing can be judged; ceiling and time for the proof end it.
        let Some(plan) = self.plan else {
            return;
        };
        let over = |id: StepId| is_over(plan, steps, id);
        let gate = || {
            plan.steps
                .iter()
                .filter(|p| p.required && is_before_release(p.id))
                .map(|p| p.id)
                .chain(
                    plan.step(StepId::Release)
                        .into_iter()
                        .flat_map(|r| r.requires.iter().copied())
                        .filter(|id| is_before_release(*id)),
                )
                .all(over)
        };
        match &self.s.state {
            SetUpState::Holding { .. } if gate() => {
                let given_up = plan.steps.iter().any(|p| {
                    p.required
                        && matches!(
                            steps.get(&p.id).map(|s| &s.status),
                            Some(StepStatus::Excepted { .. })
                        )
                });
                if given_up {
                    self.s.attention = Some(Attention::ReleasedWithoutEvidence);
                }
                let by = match given_up {
                    true => LetOutBy::Policy,
                    false => LetOutBy::Evidence,
                };
                begin_release(&mut self.s, by, self.now, &mut self.effects);
            }
            SetUpState::NoHold { proved: true, .. }
                if StepId::ALL
                    .into_iter()
                    .filter(|id| is_before_release(*id))
                    .all(over) =>
            {
                self.prove();
            }
            SetUpState::Proving { .. } => {
                let asked = steps
                    .get(&StepId::Release)
                    .is_some_and(|s| s.is_open(release::WAITING));
                if StepId::ALL.into_iter().all(over) && !asked {
                    self.finish();
                }
            }
            // Nothing follows.
            _ => {}
        }
    }

    fn finish(&mut self) {
        if self.plan.is_none() {
            self.note(
                "runbook",
                "the runbook could not be read: only the release was done",
                Owner::Destination,
            );
        }
        if self.s.exceptions.is_empty() {
            self.s.attention = None;
            self.end(SetUpEnd::Proved);
        } else {
            self.end(SetUpEnd::ProvedWithExceptions);
            if self.s.move_id.is_none() {
                // With a Move, that tells it once Apple's word is in too.
                self.effects.push(Effect::Notify(Notice::Exception));
            }
        }
    }
}

/// The exception about the hold itself.
const HOLD: &str = "hold";

static NO_STEPS: Steps = Steps::new();
