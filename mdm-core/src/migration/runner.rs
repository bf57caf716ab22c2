//! How a set-up moves: events reach its steps, steps that may start do, and the state follows. Sends nothing and reads no
//! clock. The release needs nothing of the runbook; everything else here may be missing and the device still gets out.

use std::time::Duration;

use super::steps::{self, Progress, Signal, StepContext, identify, lock, release};
use super::steps::{Next, StepState, StepStatus, is_impostor};
use super::{
    AppAction, Attention, Effect, EffectKey, Event, Exception, Notice, OperatorAct, Owner,
    PinnedRunbook, Policy, SetUp, SetUpEnd, SetUpState, StepId, StepPlan, Steps, Told, Transition,
    Variant,
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
const HIGHEST_CEILING: Duration = Duration::from_hours(4);
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

/// Steps before the release.
fn is_before_release(id: StepId) -> bool {
    !matches!(id, StepId::Release | StepId::Verify | StepId::Tell)
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
pub(super) fn begin_release(s: &mut SetUp, now: Timestamp, effects: &mut Vec<Effect>) {
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
                | Event::StatusReported
                | Event::AwaitingTold { .. }
                | Event::Reported { .. }
        );
        if !spoke {
            return;
        }
        self.s.heard = Some(self.now);
        let SetUpState::Stalled { from, .. } = &self.s.state else {
            return;
        };
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
        self.clear(&[
            Attention::EnrolmentStalled,
            Attention::ReleaseUnconfirmed,
            Attention::SilentForDays,
        ]);
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
            Event::UserEnrolled => self.s.user_seen = true,
            Event::BootstrapTokenStored => self.signal(StepId::Bootstrap, Signal::Event(event)),
            Event::StatusReported => self.signal(StepId::Declare, Signal::Event(event)),
            Event::LockAnswered { .. } => self.lock_answered(event),
            Event::Told { .. } => self.signal(StepId::Tell, Signal::Event(event)),
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
            | Event::CancelAsked
            | Event::WithdrawAsked
            | Event::ProfileFetched
            | Event::SetUpChanged { .. } => {}
        }
    }

    fn end(&mut self, end: SetUpEnd) {
        self.s.state = SetUpState::Ended(end);
        self.s.wake_at = None;
        self.s.ceiling_at = None;
    }

    // ---- the hold: does it wait? ----

    fn enrolled(&mut self, awaiting: Option<bool>, profile_awaits: bool) {
        if !matches!(self.s.state, SetUpState::Enrolling { .. }) {
            // A repeated message; only what it says of the hold may be news.
            return;
        }
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
    fn ask_identify(&mut self) {
        let now = self.now;
        let Some(steps) = self.s.state.steps_mut() else {
            return;
        };
        let state = steps
            .entry(StepId::Identify)
            .or_insert_with(|| StepState::waiting(now));
        state.status = StepStatus::Running;
        state.since = now;
        let attempt = state.ask(identify::WHO, now);
        self.effects.push(Effect::Command {
            step: StepId::Identify,
            part: identify::WHO,
            attempt,
            ask: super::Ask::Identify,
        });
    }

    fn hold(&mut self) {
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
        self.s.state = SetUpState::Holding { since, steps };
        self.lay_out();
        self.effects.push(Effect::Notify(Notice::Holding));
    }

    /// The device does not wait. What can be done outside of a hold is done; what only a hold can save is named.
    fn no_hold(&mut self, contradiction: bool) {
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
        self.hold_over();
    }

    fn awaiting_told(&mut self, awaiting: bool) {
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

    // ---- out of the hold ----

    fn released(&mut self, evidence: &str) {
        self.out_of_hold(StepStatus::Done {
            evidence: evidence.to_owned(),
        });
    }

    fn set_release(&mut self, status: StepStatus) {
        let now = self.now;
        if let Some(steps) = self.s.state.steps_mut() {
            release::state(steps, now).end(status, now);
        }
    }

    fn out_of_hold(&mut self, release: StepStatus) {
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
        self.hold_over();
    }

    /// What only the hold could do is judged now.
    fn hold_over(&mut self) {
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
                self.note(StepId::AppsKeep.as_str(), why, Owner::Device);
            }
        }
    }

    fn note(&mut self, what: &str, why: &str, owner: Owner) {
        if !self.s.exceptions.iter().any(|e| e.what == what) {
            let exception = Exception::new(what, why, owner, self.now);
            self.s.exceptions.push(exception);
        }
    }

    // ---- answers of the device ----

    fn reported(
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
        if status == ReportStatus::NotNow {
            asked.not_now = true;
            self.signal(id, Signal::Event(event));
            return;
        }
        let ok = status == ReportStatus::Acknowledged;
        asked.open = false;
        asked.not_now = false;
        if !ok {
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
        self.signal(id, Signal::Answer { part, ok, told });
        if id == StepId::Identify {
            self.hold_told(told);
        }
    }

    /// What an answer to the first question says of the hold.
    fn hold_told(&mut self, told: &Told) {
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
                    ask: super::Ask::Awaiting,
                });
            }
            // An absent answer proves nothing.
            (_, None) => {}
        }
    }

    fn release_answered(&mut self, part: u16, told: &Told) {
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
    fn release_again(&mut self) {
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

    // ---- answers of others ----

    fn lock_answered(&mut self, event: &Event) {
        self.signal(StepId::Lock, Signal::Event(event));
        // A late proof is a proof: the exception that its lateness caused is taken back.
        let now = self.now;
        if lock::proves(event)
            && let Some(state) = self
                .s
                .state
                .steps_mut()
                .and_then(|s| s.get_mut(&StepId::Lock))
            && matches!(state.status, StepStatus::Excepted { .. })
        {
            let evidence = "Apple locked it with the code in the vault, late".to_owned();
            state.end(StepStatus::Done { evidence }, now);
            self.retract(StepId::Lock);
        }
    }

    fn retract(&mut self, id: StepId) {
        let part = format!("{id}: ");
        self.s
            .exceptions
            .retain(|e| e.what != id.as_str() && !e.what.starts_with(&part));
    }

    fn effect_failed(&mut self, event: &Event, effect: &EffectKey, why: &str) {
        match effect {
            EffectKey::Lock => self.signal(StepId::Lock, Signal::Event(event)),
            EffectKey::Notify(_) => self.signal(StepId::Tell, Signal::Event(event)),
            // Its next wake makes a new one; nothing gives up on a release.
            EffectKey::Command(StepId::Release) => {}
            EffectKey::Command(id) => {
                let why = format!("its command cannot be made: {why}");
                let progress = if *id == StepId::Declare {
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

    fn operator(&mut self, act: &OperatorAct) {
        match act {
            OperatorAct::Release => begin_release(&mut self.s, self.now, &mut self.effects),
            OperatorAct::RetryStep(id) => self.retry_step(*id),
            // They end the attempt. The set-up stays: it guards the hold of a device that may come back.
            OperatorAct::Abandon | OperatorAct::Fail => {}
        }
    }

    fn retry_step(&mut self, id: StepId) {
        let now = self.now;
        let held = self.is_held();
        if !is_before_release(id) && id != StepId::Verify || (id == StepId::AppsKeep && !held) {
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
        if !stuck {
            return;
        }
        if state.oldest_open().is_some() {
            self.effects.push(Effect::DropCommands { step: id });
        }
        state.end(StepStatus::Waiting, now);
        state.tries = 0;
        for asked in state.asked.values_mut() {
            asked.errors = 0;
        }
        self.retract(id);
    }

    // ---- time ----

    fn woke(&mut self) {
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
                    begin_release(&mut self.s, now, &mut self.effects);
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

    fn stall(&mut self, attention: Attention) {
        let from = Box::new(self.s.state.clone());
        self.s.attention = Some(attention);
        self.s.state = SetUpState::Stalled {
            since: self.now,
            from,
        };
    }

    fn woke_stalled(&mut self) {
        let now = self.now;
        let SetUpState::Stalled { since, from } = &mut self.s.state else {
            return;
        };
        if now >= *since + ASK_PERSON {
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
            release::state(steps, now).nudge_at = Some(now + release::STALLED_PUSH);
        }
    }

    fn woke_releasing(&mut self) {
        let now = self.now;
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
    fn wake_steps(&mut self) {
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

    fn nudge(&mut self, id: StepId) {
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

    fn time_out(&mut self, id: StepId) {
        let now = self.now;
        let Some(plan) = self.plan else {
            return;
        };
        let held = self.is_held();
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
            if plan.on_timeout == Policy::Block {
                // It waits for the ceiling of the hold, or for the end of the proof.
                state.deadline = None;
                return;
            }
            let open = state.oldest_open();
            let silent = open.is_some_and(|asked| self.s.heard.is_none_or(|heard| heard <= asked));
            let refused = state.asked.values().any(|a| a.open && a.not_now);
            let patient = self
                .s
                .hold_began
                .is_some_and(|began| now < began + soft_ceiling(self.plan));
            // A device that has not spoken since is not a failed step: giving up would gain nobody anything, since no
            // release reaches it either; the ceiling bounds it, or the time for the proof. A device that cannot now gets
            // until the soft ceiling.
            let patient = patient || !held;
            let releasing = matches!(self.s.state, SetUpState::Releasing { .. });
            if silent || releasing || refused && patient {
                // The longer the silence, the seldomer the question.
                let waited = open.map_or(Duration::ZERO, |asked| now.since(asked));
                let again = Duration::from_secs(plan.timeout_secs.max(60));
                let again = (waited / 2).clamp(again.min(LONGEST_NUDGE), LONGEST_NUDGE);
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

    fn merge_pushes(&mut self) {
        let commands = self
            .effects
            .iter()
            .any(|e| matches!(e, Effect::Command { .. }));
        let mut seen = commands;
        // A new command wakes the device anyway, and one wake is as good as two.
        self.effects
            .retain(|e| *e != Effect::Push || !std::mem::replace(&mut seen, true));
    }

    // ---- steps ----

    fn is_held(&self) -> bool {
        matches!(
            self.s.state,
            SetUpState::Holding { .. } | SetUpState::NoHold { proved: false, .. }
        )
    }

    /// Every step of the plan gets its place; those that can never run here say so at once.
    fn lay_out(&mut self) {
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

    fn signal(&mut self, id: StepId, signal: Signal<'_>) {
        let now = self.now;
        self.with_step(id, |state, ctx| steps::on(state, signal, ctx, now));
    }

    fn start(&mut self, id: StepId) {
        let now = self.now;
        if let Some(state) = self.s.state.steps_mut().and_then(|s| s.get_mut(&id)) {
            state.again = false;
            state.status = StepStatus::Running;
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

    /// Lets a running step say something, and takes it.
    fn with_step(
        &mut self,
        id: StepId,
        say: impl FnOnce(&StepState, &StepContext<'_>) -> Progress,
    ) {
        let Some(plan) = self.plan else { return };
        let Some(step) = plan.step(id) else { return };
        let held = self.is_held();
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
                steps: self.s.state.steps().unwrap_or(&NO_STEPS),
                held,
                user_seen: self.s.user_seen,
            };
            let progress = say(&state, &ctx);
            self.take_progress(step, &mut state, progress);
        }
        if let Some(steps) = self.s.state.steps_mut() {
            steps.insert(id, state);
        }
    }

    fn take_progress(&mut self, step: &StepPlan, state: &mut StepState, progress: Progress) {
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
            Next::Retry(_, _) if state.tries < step.retries => {
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
    fn profiles_proved(&mut self) {
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

    fn proof_time_up(&mut self) {
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

    fn give_up_steps(&mut self, why: &str) {
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

    /// From an enrolment without a hold to its proof.
    fn prove(&mut self) {
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

    /// Starts what may start, until nothing more does; then lets the state follow.
    fn settle(&mut self) {
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
        self.merge_pushes();
    }

    fn start_one(&mut self) -> bool {
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
            && is_before_release(id)
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
                        .flat_map(|r| r.requires.iter().copied()),
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
                begin_release(&mut self.s, self.now, &mut self.effects);
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
