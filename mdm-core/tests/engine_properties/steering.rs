//! What happens next: mostly what is likely, so that histories get far, and now and then anything.

use std::time::Duration;

use mdm_core::app_state::AppState;
use mdm_core::device::MigrationStatus;
use mdm_core::ids::SecretId;
use mdm_core::migration::{
    AppReading, Ask, EffectKey, Event, KeyReading, LockClaim, LockReading, MoveState, Notice,
    OperatorAct, SetUpState, StepId, Told,
};
use mdm_core::queue::ReportStatus;

use crate::world::*;

fn given_up() -> Event {
    Event::GivenUp {
        why: "somebody gave it up: gone".to_owned(),
    }
}

/// Deals the small decisions of a history from its numbers.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64: every bit of the seed matters, and a shrunk seed still tells a story.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.roll(from.len() as u64)).unwrap();
        from[at].clone()
    }
}

impl World<'_> {
    pub(crate) fn odd_answer(&self, ask: &Ask, dice: &mut Dice) -> Told {
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

    /// The plausible next thing.
    pub(crate) fn likely(&mut self, dice: &mut Dice) {
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
            MoveState::Started { .. } | MoveState::Stalled { .. } => match dice.roll(6) {
                0 | 1 => return self.wake(),
                2 if dice.chance(30) => given_up(),
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

    pub(crate) fn likely_for_set_up(&mut self, dice: &mut Dice) {
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
    pub(crate) fn anything(&mut self, dice: &mut Dice) {
        let m = self.m.clone();
        let event = match dice.roll(28) {
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
            19 if dice.chance(40) => given_up(),
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
            22 => Event::StatusReported { unmet: None },
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
            26 => Event::Unanswered {
                step: dice.pick(&StepId::ALL),
                part: dice.pick(&[0, 1, u16::MAX]),
                attempt: u16::try_from(dice.roll(3)).unwrap(),
            },
            _ => Event::Woke,
        };
        self.tell_set_up(&event);
        self.tell_move(&event);
    }
}
