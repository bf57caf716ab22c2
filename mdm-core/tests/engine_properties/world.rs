//! One device and its attempt as the properties see them, with what was seen of states and attentions over all histories.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine_story::{Device, START, name, plan, set_up};
use mdm_core::clock::Timestamp;
use mdm_core::device::{MigrationStatus, OrgReading, Platform};
use mdm_core::ids::{
    DeviceId, EnrollmentId, MoveId, OrganisationId, RunbookId, Serial, SetUpId, WaveId,
};
use mdm_core::migration::{
    Ask, Attention, Effect, Event, Move, MoveState, Notice, PinnedRunbook, SetUp, SetUpState,
    StepId, Told, Transition, Variant, VerdictKind, advance_move, advance_set_up,
    advance_unreadable,
};
use mdm_core::queue::ReportStatus;

use crate::steering::Dice;

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) states: BTreeSet<String>,
    pub(crate) attentions: BTreeSet<String>,
    pub(crate) ended: usize,
    pub(crate) yields: usize,
    pub(crate) histories: usize,
}

/// One device, its Move, its set-ups, and everything that the laws need to remember.
pub(crate) struct World<'a> {
    pub(crate) plan: PinnedRunbook,
    pub(crate) readable: bool,
    pub(crate) m: Move,
    pub(crate) s: Option<SetUp>,
    pub(crate) platform: Platform,
    pub(crate) now: Timestamp,
    pub(crate) device: Device,
    pub(crate) locks: usize,
    pub(crate) notices: Vec<Notice>,
    pub(crate) commands: BTreeSet<(StepId, u16, u16)>,
    pub(crate) live: BTreeSet<u16>,
    pub(crate) listed: BTreeSet<String>,
    pub(crate) managed: BTreeSet<String>,
    /// Nobody but the device itself ends its hold, and it does not lie about it.
    pub(crate) truthful: bool,
    pub(crate) seen: &'a RefCell<Seen>,
}

pub(crate) fn a_move() -> Move {
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

pub(crate) fn reading(m: &Move, status: Option<MigrationStatus>, server: &str) -> Event {
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
    pub(crate) fn new(platform: Platform, variant: Variant, seen: &'a RefCell<Seen>) -> Self {
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

    pub(crate) fn authenticate(&mut self) {
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

    pub(crate) fn advance_set_up(&self, s: &SetUp, event: &Event) -> Transition<SetUp> {
        if self.readable {
            advance_set_up(s, &self.plan, event, self.now)
        } else {
            advance_unreadable(s, event, self.now)
        }
    }

    pub(crate) fn tell_set_up(&mut self, event: &Event) {
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

    pub(crate) fn tell_move(&mut self, event: &Event) {
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

    pub(crate) fn look(&self, state: &str, attention: Option<&Attention>) {
        let mut seen = self.seen.borrow_mut();
        if !seen.states.contains(state) {
            seen.states.insert(state.to_owned());
        }
        if let Some(attention) = attention {
            seen.attentions.insert(format!("{attention:?}"));
        }
    }

    /// What the device has proved so far, kept apart from the machine.
    pub(crate) fn listen(&mut self, event: &Event) {
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

    pub(crate) fn do_effects(&mut self, effects: &[Effect]) {
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

    pub(crate) fn answer(&mut self, dice: &mut Dice) -> bool {
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

    pub(crate) fn report(
        &mut self,
        step: StepId,
        part: u16,
        attempt: u16,
        status: ReportStatus,
        told: Told,
    ) {
        self.tell_set_up(&Event::Reported {
            step,
            part,
            attempt,
            status,
            told,
        });
    }

    /// To the earlier of the two wakes, or both when they fall together.
    pub(crate) fn wake(&mut self) {
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
}
