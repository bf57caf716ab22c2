//! Laws of the two machines over steered random histories: most of the time the plausible next event, else anything. That
//! every state, every end and every reason for attention was reached is asserted, so that no law holds for want of cases.

mod engine_story;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use engine_story::{Device, START, Story, name, plan, set_up};
use mdm_core::app_state::AppState;
use mdm_core::clock::Timestamp;
use mdm_core::device::{MigrationStatus, OrgReading, Platform};
use mdm_core::ids::{
    DeviceId, EnrollmentId, MoveId, OrganisationId, RunbookId, SecretId, Serial, SetUpId, WaveId,
};
use mdm_core::migration::{
    AppReading, Ask, Attention, Effect, EffectKey, Event, KeyReading, LockClaim, LockReading, Move,
    MoveState, Notice, OperatorAct, PinnedRunbook, SetUp, SetUpState, StepId, StepStatus, Told,
    Transition, Variant, VerdictKind, advance_move, advance_set_up, advance_unreadable, release,
};
use mdm_core::queue::ReportStatus;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How long a release may wait for what only the hold can save.
const GRACE: Duration = Duration::from_mins(5);

/// Deals the small decisions of a history from its numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64: every bit of the seed matters, and a shrunk seed still tells a story.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.roll(from.len() as u64)).unwrap();
        from[at].clone()
    }
}

#[derive(Default)]
struct Seen {
    states: BTreeSet<String>,
    attentions: BTreeSet<String>,
    ended: usize,
    yields: usize,
    histories: usize,
}

/// One device, its Move, its set-ups, and everything that the laws need to remember.
struct World<'a> {
    plan: PinnedRunbook,
    readable: bool,
    m: Move,
    s: Option<SetUp>,
    platform: Platform,
    now: Timestamp,
    device: Device,
    locks: usize,
    notices: Vec<Notice>,
    commands: BTreeSet<(StepId, u16, u16)>,
    live: BTreeSet<u16>,
    listed: BTreeSet<String>,
    managed: BTreeSet<String>,
    /// Nobody but the device itself ends its hold, and it does not lie about it.
    truthful: bool,
    seen: &'a RefCell<Seen>,
}

fn a_move() -> Move {
    Move::plan(
        OrganisationId(1),
        MoveId(4),
        WaveId(2),
        DeviceId(8),
        Serial::parse("C02TEST").unwrap(),
        RunbookId(3),
        START + Duration::from_hours(30),
        START + Duration::from_hours(1),
        Some("THEIRS".to_owned()),
        START,
    )
}

fn reading(m: &Move, status: Option<MigrationStatus>, server: &str) -> Event {
    let mut reading = OrgReading::default();
    reading.status = status;
    reading.assigned_server = Some(server.to_owned());
    reading.deadline = Some(m.deadline);
    Event::OrgTold {
        reading,
        destination: "OURS".to_owned(),
        original: None,
    }
}

impl<'a> World<'a> {
    fn new(platform: Platform, variant: Variant, seen: &'a RefCell<Seen>) -> Self {
        Self {
            plan: plan(platform, variant),
            readable: true,
            m: a_move(),
            s: None,
            platform,
            now: START,
            device: Device::fresh(),
            locks: 0,
            notices: Vec::new(),
            commands: BTreeSet::new(),
            live: BTreeSet::new(),
            listed: BTreeSet::new(),
            managed: BTreeSet::new(),
            truthful: false,
            seen,
        }
    }

    fn authenticate(&mut self) {
        let kind = VerdictKind::Migration;
        let mut s = set_up(self.platform, kind, Some(self.m.id));
        let id = self.s.as_ref().map_or(5, |old| old.id.0 + 1);
        s.id = SetUpId(id);
        s.enrollment = EnrollmentId(id);
        s.began = self.now;
        s.state = SetUpState::Enrolling { since: self.now };
        s.wake_at = Some(self.now + Duration::from_mins(20));
        self.device = Device::fresh();
        self.commands.clear();
        self.live.clear();
        self.listed.clear();
        self.managed.clear();
        self.locks = 0;
        let phase = s.phase();
        self.s = Some(s);
        self.tell_move(&Event::SetUpChanged {
            set_up: SetUpId(id),
            phase,
        });
    }

    fn advance_set_up(&self, s: &SetUp, event: &Event) -> Transition<SetUp> {
        if self.readable {
            advance_set_up(s, &self.plan, event, self.now)
        } else {
            advance_unreadable(s, event, self.now)
        }
    }

    fn tell_set_up(&mut self, event: &Event) {
        let Some(before) = self.s.clone() else { return };
        self.listen(event);
        let t = self.advance_set_up(&before, event);
        self.laws_of_set_up(&before, event, &t);
        let again = self.advance_set_up(&t.next, event);
        assert!(
            again.effects.is_empty(),
            "a repeated {event:?} asked for {:?}\nin {:?}",
            again.effects,
            t.next
        );
        self.do_effects(&t.effects);
        let changed = before.phase() != t.next.phase();
        self.s = Some(t.next.clone());
        if changed {
            self.tell_move(&Event::SetUpChanged {
                set_up: t.next.id,
                phase: t.next.phase(),
            });
        }
    }

    fn tell_move(&mut self, event: &Event) {
        let before = self.m.clone();
        let t = advance_move(&before, &self.plan, event, self.now);
        self.look(&name(&t.next.state), t.next.attention.as_ref());
        if let MoveState::Ended(outcome) = &t.next.state {
            self.seen.borrow_mut().states.insert(format!("{outcome:?}"));
        }
        if before.is_ended() {
            assert_eq!(t.next, before, "an ended move changed by {event:?}");
            assert!(t.effects.is_empty());
        }
        assert_eq!(t.next.wake_at.is_none(), t.next.is_ended(), "{:?}", t.next);
        if *event == Event::Woke && before.wake_at.is_some_and(|at| at <= self.now) {
            assert!(
                t.next.wake_at.is_none_or(|at| at > self.now),
                "{:?}",
                t.next
            );
        }
        let again = advance_move(&t.next, &self.plan, event, self.now);
        assert!(
            again.effects.is_empty(),
            "a repeated {event:?} asked for {:?}\nin {:?}",
            again.effects,
            t.next
        );
        self.m = t.next;
    }

    fn look(&self, state: &str, attention: Option<&Attention>) {
        let mut seen = self.seen.borrow_mut();
        if !seen.states.contains(state) {
            seen.states.insert(state.to_owned());
        }
        if let Some(attention) = attention {
            seen.attentions.insert(format!("{attention:?}"));
        }
    }

    /// What the device has proved so far, kept apart from the machine.
    fn listen(&mut self, event: &Event) {
        if let Event::Reported { told, .. } = event {
            match told {
                Told::Profiles(there) => self.listed.extend(there.iter().cloned()),
                Told::Managed(apps) => self.managed.extend(
                    apps.iter()
                        .filter(|a| a.state.is_managed())
                        .map(|a| a.bundle_id.clone()),
                ),
                _ => {}
            }
        }
    }

    fn laws_of_set_up(&self, before: &SetUp, event: &Event, t: &Transition<SetUp>) {
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

    fn is_justified(&self, before: &SetUp, event: &Event, next: &SetUp) {
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

    fn is_proved(&self, id: StepId) {
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

    fn do_effects(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Command {
                    step,
                    part,
                    attempt,
                    ask,
                } => {
                    assert!(
                        self.commands.insert((*step, *part, *attempt)),
                        "{step}/{part}#{attempt} was asked twice"
                    );
                    if *ask == Ask::Release {
                        self.live.insert(*attempt);
                        assert!(
                            self.live.len() <= 1,
                            "two live release commands: {:?}",
                            self.live
                        );
                    }
                    self.device
                        .queue
                        .push_back((*step, *part, *attempt, ask.clone()));
                }
                Effect::DropCommands { step } => {
                    self.device.queue.retain(|q| q.0 != *step);
                    if *step == StepId::Release {
                        self.live.clear();
                    }
                }
                Effect::Lock => self.locks += 1,
                Effect::Notify(notice) => self.notices.push(*notice),
                _ => {}
            }
        }
    }

    fn answer(&mut self, dice: &mut Dice) -> bool {
        let Some(at) = (!self.device.queue.is_empty())
            .then(|| usize::try_from(dice.roll(self.device.queue.len().min(3) as u64)).unwrap())
        else {
            return false;
        };
        if dice.chance(8) {
            let (step, part, attempt, _) = self.device.queue[at].clone();
            self.report(step, part, attempt, ReportStatus::NotNow, Told::Nothing);
            return true;
        }
        if self.device.queue[at].3 == Ask::Release {
            // The server looks once more before it hands that out.
            self.tell_set_up(&Event::BeforeRelease);
            if self.s.as_ref().is_some_and(|s| s.release_yields(self.now)) {
                self.seen.borrow_mut().yields += 1;
                return true;
            }
        }
        let (step, part, attempt, ask) = self.device.queue.remove(at).unwrap();
        if ask == Ask::Release {
            self.live.remove(&attempt);
        }
        let (status, told) = if dice.chance(10) {
            let why = "no".to_owned();
            (
                dice.pick(&[ReportStatus::Error, ReportStatus::CommandFormatError]),
                Told::Failure { why },
            )
        } else if ask != Ask::Release && dice.chance(6) {
            (ReportStatus::Acknowledged, self.odd_answer(&ask, dice))
        } else {
            self.device.run(&ask)
        };
        self.report(step, part, attempt, status, told);
        true
    }

    fn odd_answer(&self, ask: &Ask, dice: &mut Dice) -> Told {
        match ask {
            Ask::Identify | Ask::Awaiting => Told::Identity {
                serial: dice.pick(&[
                    None,
                    Some("C02OTHER".to_owned()),
                    Some("C02TEST".to_owned()),
                ]),
                awaiting: if self.truthful {
                    dice.pick(&[None, Some(self.device.awaiting)])
                } else {
                    dice.pick(&[None, Some(true), Some(false)])
                },
                platform: None,
                os_version: None,
            },
            Ask::Profiles => Told::Profiles(vec!["org.trust".to_owned()]),
            Ask::ManagedApps { identifiers } => Told::Managed(
                identifiers
                    .iter()
                    .map(|id| AppReading {
                        bundle_id: id.clone(),
                        state: AppState::of_word(dice.pick(&[
                            "Failed",
                            "Prompting",
                            "Queued",
                            "Managed",
                            "UserRejected",
                            "?",
                        ])),
                    })
                    .collect(),
            ),
            Ask::Security => Told::Security {
                filevault_on: dice.pick(&[None, Some(true), Some(false)]),
                key: dice.pick(&[
                    KeyReading::NotTold,
                    KeyReading::NotEscrowed,
                    KeyReading::ForeignCertificate,
                    KeyReading::BadForm,
                    KeyReading::Escrowed {
                        secret: SecretId(1),
                        changed: false,
                    },
                ]),
            },
            _ => Told::Nothing,
        }
    }

    fn report(&mut self, step: StepId, part: u16, attempt: u16, status: ReportStatus, told: Told) {
        self.tell_set_up(&Event::Reported {
            step,
            part,
            attempt,
            status,
            told,
        });
    }

    /// To the earlier of the two wakes, or both when they fall together.
    fn wake(&mut self) {
        let set_up = self.s.as_ref().and_then(|s| s.wake_at);
        let at = [set_up, self.m.wake_at].into_iter().flatten().min();
        let Some(at) = at else { return };
        self.now = self.now.max(at);
        if set_up.is_some_and(|w| w <= self.now) {
            self.tell_set_up(&Event::Woke);
        }
        if self.m.wake_at.is_some_and(|w| w <= self.now) {
            self.tell_move(&Event::Woke);
        }
    }

    /// The plausible next thing.
    fn likely(&mut self, dice: &mut Dice) {
        if self.s.as_ref().is_some_and(|s| !s.is_ended()) && dice.chance(85) {
            return self.likely_for_set_up(dice);
        }
        let m = self.m.clone();
        let event = match &m.state {
            MoveState::Planned => dice.pick(&[
                Event::Accepted,
                Event::Accepted,
                Event::Checked {
                    blockers: vec!["too old".to_owned()],
                },
            ]),
            MoveState::Blocked { .. } => dice.pick(&[
                Event::Checked { blockers: vec![] },
                Event::Accepted,
                Event::Woke,
            ]),
            MoveState::Ready => Event::SubmitAsked {
                deadline: m.deadline,
            },
            MoveState::Submitting { .. } => match dice.roll(8) {
                0 => Event::SubmitRefused {
                    why: "no".to_owned(),
                },
                1 | 2 => return self.wake(),
                3 => Event::ActivityPosted {
                    activity: "A".to_owned(),
                },
                _ => reading(&m, Some(MigrationStatus::Requested), "OURS"),
            },
            MoveState::SubmitFailed { .. } => dice.pick(&[
                Event::SubmitAsked {
                    deadline: m.deadline,
                },
                Event::WithdrawAsked,
                reading(&m, Some(MigrationStatus::Requested), "OURS"),
            ]),
            MoveState::Scheduled { .. } => match dice.roll(6) {
                0 => return self.wake(),
                1 => Event::AssignmentTold {
                    ours: true,
                    profile_in_force: false,
                    deadline: Some(m.deadline),
                },
                2 => reading(&m, Some(MigrationStatus::Started), "OURS"),
                _ => Event::AssignmentTold {
                    ours: true,
                    profile_in_force: true,
                    deadline: Some(m.deadline),
                },
            },
            MoveState::Offered { .. } | MoveState::Overdue { .. } => match dice.roll(10) {
                0..=3 => return self.wake(),
                4 => Event::CancelAsked,
                5 => Event::AssignmentTold {
                    ours: true,
                    profile_in_force: false,
                    deadline: None,
                },
                6 => Event::DeadlineMoved {
                    deadline: self.now + Duration::from_hours(48),
                },
                7 => return self.authenticate(),
                _ => Event::ProfileFetched,
            },
            MoveState::Cancelling { .. } => match dice.roll(4) {
                0 | 1 => return self.wake(),
                2 => reading(&m, Some(MigrationStatus::Started), "OURS"),
                _ => reading(&m, None, "THEIRS"),
            },
            MoveState::Started { .. } | MoveState::Stalled { .. } => match dice.roll(5) {
                0 | 1 => return self.wake(),
                _ => return self.authenticate(),
            },
            MoveState::Moving { .. } => return self.wake(),
            MoveState::Settling { .. } => match dice.roll(6) {
                0 => return self.wake(),
                1 => reading(&m, Some(MigrationStatus::Failed), "OURS"),
                _ => reading(&m, Some(MigrationStatus::Success), "OURS"),
            },
            MoveState::Ended(_) => {
                self.seen.borrow_mut().ended += 1;
                // A later attempt is a new row.
                self.m = a_move();
                self.m.deadline = self.now + Duration::from_hours(30);
                self.m.available_from = self.now;
                self.m.wake_at = Some(self.now + Duration::from_hours(24));
                self.s = None;
                return;
            }
        };
        self.tell_move(&event);
    }

    fn likely_for_set_up(&mut self, dice: &mut Dice) {
        let Some(s) = self.s.clone() else { return };
        match &s.state {
            SetUpState::Enrolling { .. } => match dice.roll(12) {
                0 => self.wake(),
                n => self.tell_set_up(&Event::Enrolled {
                    awaiting: match n {
                        1 => None,
                        2 => Some(false),
                        _ => Some(true),
                    },
                    profile_awaits: n != 3,
                }),
            },
            SetUpState::Stalled { .. } => match dice.roll(4) {
                0 => self.wake(),
                1 => self.tell_set_up(&Event::AwaitingTold {
                    awaiting: self.device.awaiting,
                }),
                _ => {
                    if !self.answer(dice) {
                        self.wake();
                    }
                }
            },
            _ => {
                if self.locks > 0 && dice.chance(50) {
                    self.locks -= 1;
                    let refused = LockReading::Refused {
                        why: "no".to_owned(),
                    };
                    let theirs = LockReading::AlreadyLocked {
                        claim: LockClaim::Foreign,
                    };
                    let answer = dice.pick(&[
                        LockReading::Locked,
                        LockReading::Locked,
                        LockReading::Locked,
                        refused,
                        theirs,
                    ]);
                    return self.tell_set_up(&Event::LockAnswered { answer });
                }
                if let Some(notice) = self.notices.pop() {
                    return self.tell_set_up(&Event::Told { notice });
                }
                if self.platform.is_mac() && dice.chance(6) {
                    return self.tell_set_up(&Event::BootstrapTokenStored);
                }
                if s.ceiling_at.is_some() && dice.chance(2) {
                    // Switched off until after its ceiling.
                    for _ in 0..300 {
                        if self.s.as_ref().is_some_and(|s| s.ceiling_at.is_some()) {
                            self.wake();
                        }
                    }
                    return;
                }
                if dice.chance(12) || !self.answer(dice) {
                    self.wake();
                }
            }
        }
    }

    /// Anything at all, told to both.
    fn anything(&mut self, dice: &mut Dice) {
        let m = self.m.clone();
        let event = match dice.roll(27) {
            0 => Event::Checked { blockers: vec![] },
            1 => Event::Accepted,
            2 => Event::SubmitAsked {
                deadline: m.deadline,
            },
            3 => Event::SubmitRefused {
                why: "late".to_owned(),
            },
            4 => Event::CancelAsked,
            5 => Event::WithdrawAsked,
            6 => Event::ProfileFetched,
            7 => Event::Enrolled {
                awaiting: dice.pick(&[None, Some(true), Some(false)]),
                profile_awaits: dice.chance(50),
            },
            8 => Event::UserEnrolled,
            9 => Event::BootstrapTokenStored,
            10 => Event::AwaitingTold {
                awaiting: dice.chance(50),
            },
            11 => Event::LockAnswered {
                answer: LockReading::AlreadyLocked {
                    claim: dice.pick(&[LockClaim::Ours, LockClaim::Asked]),
                },
            },
            12 => Event::Told {
                notice: Notice::Released,
            },
            13 => {
                let key = dice.pick(&[
                    EffectKey::Lock,
                    EffectKey::Cancel,
                    EffectKey::ReadDevice,
                    EffectKey::MoveDeadline,
                    EffectKey::Notify(Notice::Released),
                ]);
                Event::EffectFailed {
                    effect: key,
                    why: "broken".to_owned(),
                }
            }
            14 => Event::EffectFailed {
                effect: EffectKey::Command(dice.pick(&StepId::ALL)),
                why: "broken".to_owned(),
            },
            15 if dice.chance(30) => Event::CheckedOut,
            16 if dice.chance(30) => Event::Superseded,
            17 => Event::Operator(OperatorAct::Release),
            18 => Event::Operator(OperatorAct::RetryStep(dice.pick(&StepId::ALL))),
            19 if dice.chance(40) => {
                Event::Operator(dice.pick(&[OperatorAct::Abandon, OperatorAct::Fail]))
            }
            20 => {
                let status = dice.pick(&[
                    None,
                    Some(MigrationStatus::Requested),
                    Some(MigrationStatus::Started),
                    Some(MigrationStatus::Success),
                    Some(MigrationStatus::Failed),
                ]);
                let server = dice.pick(&["OURS", "THEIRS", "OTHER"]);
                reading(&m, status, server)
            }
            21 => Event::AssignmentTold {
                ours: dice.chance(50),
                profile_in_force: dice.chance(50),
                deadline: None,
            },
            22 => Event::StatusReported,
            23 => {
                let (step, ask) = (
                    dice.pick(&StepId::ALL),
                    dice.pick(&[Ask::Identify, Ask::Profiles, Ask::Security]),
                );
                let status = dice.pick(&[
                    ReportStatus::Acknowledged,
                    ReportStatus::Error,
                    ReportStatus::NotNow,
                ]);
                let (part, attempt) = (
                    dice.pick(&[0, 1, 2, u16::MAX]),
                    u16::try_from(dice.roll(4)).unwrap(),
                );
                let told = self.odd_answer(&ask, dice);
                if step == StepId::Release && part == 0 && status != ReportStatus::NotNow {
                    self.live.remove(&attempt);
                }
                Event::Reported {
                    step,
                    part,
                    attempt,
                    status,
                    told,
                }
            }
            24 => {
                self.readable = !self.readable;
                Event::Woke
            }
            25 => Event::BeforeRelease,
            _ => Event::Woke,
        };
        self.tell_set_up(&event);
        self.tell_move(&event);
    }

    /// Only wakes from here on: both machines end, or keep doing what they can while a person is asked.
    fn nobody_waits_for_ever(&self) {
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

    fn set_up_does_not_wait(&self, s: &SetUp) {
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

    fn advance_with(&self, s: &SetUp, now: Timestamp) -> Transition<SetUp> {
        if self.readable {
            advance_set_up(s, &self.plan, &Event::Woke, now)
        } else {
            advance_unreadable(s, &Event::Woke, now)
        }
    }
}

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    // The same histories on every machine: a law that breaks is seen by everybody.
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn the_laws_hold_over_steered_histories_that_reach_everything() {
    let seen = RefCell::new(Seen::default());
    let history = (any::<u8>(), vec(any::<u64>(), 30..240));
    runner(400)
        .run(&history, |(kind, turns)| {
            let platform =
                [Platform::Ios, Platform::Ipados, Platform::Macos][usize::from(kind % 3)];
            let variant = [
                Variant::Migration,
                Variant::Migration,
                Variant::Uncertain,
                Variant::Ordinary,
            ][usize::from(kind / 3 % 4)];
            let mut world = World::new(platform, variant, &seen);
            for (n, turn) in turns.iter().enumerate() {
                let mut dice = Dice(*turn);
                world.now = world.now + Duration::from_secs(dice.roll(20));
                if dice.chance(93) {
                    world.likely(&mut dice);
                } else {
                    world.anything(&mut dice);
                }
                if n % 64 == 37 {
                    world.nobody_waits_for_ever();
                }
            }
            world.nobody_waits_for_ever();
            seen.borrow_mut().histories += 1;
            Ok(())
        })
        .unwrap();
    let seen = seen.into_inner();
    for state in [
        "Planned",
        "Blocked",
        "Ready",
        "Submitting",
        "SubmitFailed",
        "Scheduled",
        "Offered",
        "Overdue",
        "Cancelling",
        "Started",
        "Moving",
        "Stalled",
        "Settling",
        "Migrated",
        "MigratedWithExceptions",
        "Cancelled",
        "Withdrawn",
        "Failed",
        "Abandoned",
        "SetUpEnrolling",
        "SetUpNoHold",
        "SetUpHolding",
        "SetUpReleasing",
        "SetUpProving",
        "SetUpStalled",
        "Proved",
        "ProvedWithExceptions",
        "CheckedOut",
        "Superseded",
    ] {
        assert!(
            seen.states.contains(state),
            "{state} was never reached; reached: {:?}",
            seen.states
        );
    }
    for attention in [
        "Blocked",
        "SubmitFailed",
        "NotVisible",
        "ProfileNotInForce",
        "OverdueWithoutSignIn",
        "CancelUnproved",
        "EnrolmentStalled",
        "NotAwaiting",
        "HoldLong",
        "ReleasedWithoutEvidence",
        "ReleaseUnconfirmed",
        "AppleSaysFailed",
        "ProofIncomplete",
        "RunbookUnreadable",
        "SilentForDays",
    ] {
        assert!(
            seen.attentions.contains(attention),
            "{attention} never occurred; seen: {:?}",
            seen.attentions
        );
    }
    assert!(seen.yields > 20, "a release yielded {} times", seen.yields);
    assert!(
        seen.ended > seen.histories / 4,
        "only {} attempts ended in {} histories",
        seen.ended,
        seen.histories
    );
}

#[test]
fn a_factory_new_mac_with_an_old_deadline_is_always_released() {
    let seen = RefCell::new(Seen::default());
    let history = (any::<bool>(), any::<u8>(), vec(any::<u64>(), 0..60));
    runner(150)
        .run(&history, |(told, awaits, turns)| {
            let mut world = World::new(Platform::Macos, Variant::Uncertain, &seen);
            world.authenticate();
            world.tell_set_up(&Event::Enrolled {
                awaiting: told.then_some(true),
                profile_awaits: awaits > 10,
            });
            world.truthful = true;
            // Faults for a while.
            for turn in turns {
                let mut dice = Dice(turn);
                if !world.answer(&mut dice) || dice.chance(40) {
                    world.wake();
                }
            }
            // Then it behaves.
            for _ in 0..200 {
                while let Some((step, part, attempt, ask)) = world.device.queue.pop_front() {
                    if ask == Ask::Release {
                        world.live.remove(&attempt);
                    }
                    let (status, told) = world.device.run(&ask);
                    world.report(step, part, attempt, status, told);
                }
                if world.s.as_ref().is_some_and(SetUp::is_ended) || !world.device.awaiting {
                    break;
                }
                world.wake();
            }
            assert!(!world.device.awaiting, "still held: {:?}", world.s);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_release_that_the_watchdog_makes_is_the_runners() {
    let mut s = set_up(Platform::Ios, VerdictKind::Migration, None);
    let plan = plan(Platform::Ios, Variant::Migration);
    let enrolled = Event::Enrolled {
        awaiting: Some(true),
        profile_awaits: true,
    };
    s = advance_set_up(&s, &plan, &enrolled, START).next;
    let at = s.ceiling_at.unwrap();
    let watchdog = release(&s, at);
    let operator = advance_set_up(&s, &plan, &Event::Operator(OperatorAct::Release), at);
    assert_eq!(watchdog.effects, operator.effects);
    assert_eq!(watchdog.next.state, operator.next.state);
    let both = release(&operator.next, at);
    assert!(both.effects.is_empty());
}

/// A device that answers some commands, falls silent until after its ceiling, and speaks again.
struct Silence {
    story: Story,
    readable: bool,
    first_words: Option<Timestamp>,
}

impl Silence {
    fn tell(&mut self, event: &Event) {
        if self.readable {
            self.story.tell(event);
            return;
        }
        let t = advance_unreadable(&self.story.set_up, event, self.story.now);
        self.story.set_up = t.next;
        for effect in t.effects {
            match effect {
                Effect::Command {
                    step,
                    part,
                    attempt,
                    ask,
                } => self
                    .story
                    .device
                    .queue
                    .push_back((step, part, attempt, ask)),
                Effect::DropCommands { step } => {
                    self.story.device.queue.retain(|q| q.0 != step);
                }
                _ => {}
            }
        }
    }

    /// One answer of the device in a session, and which step it was for.
    fn answer(&mut self, status: ReportStatus) -> Option<StepId> {
        self.first_words.get_or_insert(self.story.now);
        if self.story.set_up.last_chance.is_some() {
            self.tell(&Event::BeforeRelease);
        }
        let at = self.story.next_in_queue()?;
        let queue = &mut self.story.device.queue;
        let (step, part, attempt, ask) = if status == ReportStatus::NotNow {
            queue[at].clone()
        } else {
            queue.remove(at).unwrap()
        };
        if step == StepId::Release {
            let first = self.first_words.unwrap();
            assert!(
                !self.story.set_up.release_yields(first + GRACE),
                "the release waits longer than its grace"
            );
        }
        let (status, told) = match status {
            ReportStatus::Acknowledged => self.story.device.run(&ask),
            ReportStatus::NotNow => (status, Told::Nothing),
            other => (
                other,
                Told::Failure {
                    why: "no".to_owned(),
                },
            ),
        };
        self.tell(&Event::Reported {
            step,
            part,
            attempt,
            status,
            told,
        });
        Some(step)
    }
}

#[test]
fn a_device_that_was_silent_past_its_ceiling_is_asked_for_its_apps_and_then_released() {
    let saved = RefCell::new(0_u32);
    let refused = RefCell::new(0_u32);
    let history = (
        0..9_usize,
        0..40_u64,
        any::<u8>(),
        any::<bool>(),
        0..12_usize,
    );
    runner(400)
        .run(&history, |(words, hours, way, watchdog, trouble_at)| {
            let mut d = Silence {
                story: Story::new(Platform::Ios, Variant::Migration),
                readable: way % 5 != 0,
                first_words: None,
            };
            d.story.enrol();
            d.story.device.managed.clear();
            for _ in 0..words {
                if d.story.set_up.ceiling_at.is_none()
                    || d.answer(ReportStatus::Acknowledged).is_none()
                {
                    break;
                }
                d.story.later(Duration::from_secs(1));
            }
            let Some(ceiling) = d.story.set_up.ceiling_at else {
                // It was quick: its release was due on evidence, and nothing goes before that.
                assert_eq!(d.story.set_up.last_chance, None);
                return Ok(());
            };
            let done_before = matches!(
                d.story
                    .set_up
                    .steps()
                    .and_then(|s| s.get(&StepId::AppsKeep))
                    .map(|s| &s.status),
                Some(StepStatus::Done { .. })
            );
            // Silent from here on: nobody but time and the watchdog acts.
            while d.story.set_up.ceiling_at.is_some() {
                let at = d.story.set_up.wake_at.unwrap();
                d.story.now = d.story.now.max(at);
                if watchdog && d.story.now >= ceiling {
                    let t = release(&d.story.set_up, d.story.now);
                    for effect in &t.effects {
                        if let Effect::Command {
                            step,
                            part,
                            attempt,
                            ask,
                        } = effect
                        {
                            d.story
                                .device
                                .queue
                                .push_back((*step, *part, *attempt, ask.clone()));
                        }
                    }
                    d.story.set_up = t.next;
                } else {
                    d.tell(&Event::Woke);
                }
            }
            // The release is queued at the ceiling, whoever is silent.
            assert!(d.story.now <= ceiling + Duration::from_mins(1));
            assert!(d.story.device.queue.iter().any(|q| q.3 == Ask::Release));
            let back = d.story.now + Duration::from_hours(hours) + Duration::from_mins(1);
            while d.story.set_up.wake_at.is_some_and(|at| at < back) {
                d.story.now = d.story.set_up.wake_at.unwrap();
                d.tell(&Event::Woke);
            }
            d.story.now = back;
            d.first_words = None;
            let mut after_refusal = None;
            let mut silent_again = false;
            for n in 0..40 {
                let trouble = n == trouble_at;
                if trouble && way % 3 == 1 && n > 0 && !silent_again {
                    // Off again before everything was asked for: the release goes first the next time.
                    silent_again = true;
                    d.story.later(GRACE + Duration::from_secs(1));
                    if d.story.device.awaiting {
                        assert!(!d.story.set_up.release_yields(d.story.now));
                    }
                    let next = d.answer(ReportStatus::Acknowledged);
                    if d.story.device.awaiting {
                        assert_eq!(next, Some(StepId::Release));
                    }
                    break;
                }
                let status = match (trouble, way % 3) {
                    (true, 0) => ReportStatus::NotNow,
                    (true, 2) => ReportStatus::Error,
                    _ => ReportStatus::Acknowledged,
                };
                let Some(step) = d.answer(status) else {
                    // Evidence is waited for: its next wake looks again.
                    if !d.story.device.awaiting {
                        break;
                    }
                    d.story.now = d.story.now.max(d.story.set_up.wake_at.unwrap());
                    d.tell(&Event::Woke);
                    continue;
                };
                if !d.readable {
                    assert_eq!(
                        step,
                        StepId::Release,
                        "without its runbook nothing goes before"
                    );
                    break;
                }
                if after_refusal == Some(true) && d.story.device.awaiting {
                    panic!("after a refusal the release goes first, not {step}");
                }
                if trouble && status == ReportStatus::NotNow && SetUp::goes_before_release(step) {
                    after_refusal = Some(true);
                    *refused.borrow_mut() += 1;
                }
                if !d.story.device.awaiting {
                    break;
                }
            }
            let late = d.story.now.since(d.first_words.unwrap());
            assert!(
                late <= GRACE + Duration::from_mins(1),
                "held for {late:?} after it spoke"
            );
            let spoilt =
                way % 3 != 2 && trouble_at < 40 && after_refusal.is_none() && !silent_again;
            if d.readable && spoilt {
                assert!(!d.story.device.awaiting, "still held: {}", d.story.log);
                assert!(
                    d.story.device.managed.contains_key("app.notes") || done_before,
                    "its app was not asked for: {}",
                    d.story.log
                );
                *saved.borrow_mut() += 1;
            }
            Ok(())
        })
        .unwrap();
    assert!(*saved.borrow() > 50, "only {} were saved", saved.borrow());
    assert!(*refused.borrow() > 10, "only {} refused", refused.borrow());
}
