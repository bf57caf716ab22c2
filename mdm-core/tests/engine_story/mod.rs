//! One device's story told step by step: a set-up, a small simulated device that answers its commands, and a log that
//! people can read. Shared by the engine's tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part of it"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use mdm_core::app_state::AppState;
use mdm_core::clock::Timestamp;
use mdm_core::device::Platform;
use mdm_core::enrollment::{ChannelKind, Enrollment};
use mdm_core::ids::{EnrollmentId, MoveId, OrganisationId, RunbookId, SecretId, Serial, SetUpId};
use mdm_core::migration::{
    AppAction, AppPlan, AppReading, Ask, Effect, Event, KeyReading, LockReading, PinnedRunbook,
    ProfilePlan, ProfileRole, SetUp, StepId, StepStatus, Told, Variant, Verdict, VerdictKind,
    advance_set_up,
};
use mdm_core::organisation::Der;
use mdm_core::queue::ReportStatus;

/// When every story begins: 2026-12-10T09:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_796_893_200_000);

pub(crate) fn set_up(platform: Platform, kind: VerdictKind, move_id: Option<MoveId>) -> SetUp {
    let mut enrollment = Enrollment::pending(
        OrganisationId(1),
        EnrollmentId(7),
        "UDID-1".to_owned(),
        ChannelKind::Device,
        "aa".to_owned(),
        START,
    );
    enrollment.serial = Some(Serial::parse("C02TEST").unwrap());
    let verdict = Verdict {
        kind,
        reasons: vec!["the story says so".to_owned()],
    };
    SetUp::begin(
        OrganisationId(1),
        SetUpId(5),
        &enrollment,
        platform,
        move_id,
        RunbookId(3),
        verdict,
        START,
    )
}

/// A runbook with something in every table.
pub(crate) fn plan(platform: Platform, variant: Variant) -> PinnedRunbook {
    let mut plan = PinnedRunbook::standard(platform, variant);
    for (identifier, role) in [
        ("org.trust", ProfileRole::Trust),
        ("org.wifi", ProfileRole::Network),
        ("org.rules", ProfileRole::Security),
    ] {
        plan.profiles.push(ProfilePlan {
            identifier: identifier.to_owned(),
            role,
            content: Der(vec![1]),
        });
    }
    for (bundle_id, action) in [
        ("app.mail", AppAction::Install),
        ("app.notes", AppAction::KeepIfPresent),
        ("app.absent", AppAction::KeepIfPresent),
        ("app.old", AppAction::Drop),
    ] {
        plan.apps.push(AppPlan {
            bundle_id: bundle_id.to_owned(),
            store_id: Some(1),
            manifest_url: None,
            action,
        });
    }
    plan.lock = true;
    plan.validate().unwrap();
    plan
}

pub(crate) type Queued = (StepId, u16, u16, Ask);

/// What the device has, and how it behaves.
pub(crate) struct Device {
    pub(crate) awaiting: bool,
    pub(crate) profiles: BTreeSet<String>,
    pub(crate) installed: BTreeSet<String>,
    pub(crate) managed: BTreeMap<String, AppState>,
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) has_key: bool,
    /// A Mac makes no recovery key without its bootstrap token.
    pub(crate) lacks_token: bool,
    /// It refuses the escrow profile.
    pub(crate) refuses_escrow: bool,
    /// It refuses this profile.
    pub(crate) refuses: Option<&'static str>,
    /// What it answers as errors, one after the other, before it takes an app on.
    pub(crate) rejects: BTreeMap<String, VecDeque<Told>>,
}

pub(crate) struct Story {
    pub(crate) set_up: SetUp,
    pub(crate) plan: PinnedRunbook,
    pub(crate) device: Device,
    pub(crate) now: Timestamp,
    pub(crate) log: String,
    pub(crate) last_step: BTreeMap<StepId, StepStatus>,
    pub(crate) effects: Vec<Effect>,
}

impl Story {
    pub(crate) fn new(platform: Platform, variant: Variant) -> Self {
        let kind = match variant {
            Variant::Migration => VerdictKind::Migration,
            Variant::Uncertain => VerdictKind::Uncertain,
            Variant::Ordinary => VerdictKind::Ordinary,
        };
        Self {
            set_up: set_up(platform, kind, None),
            plan: plan(platform, variant),
            device: Device::fresh(),
            now: START,
            log: String::new(),
            last_step: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    pub(crate) fn later(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// Tells an event and does what the outside would do.
    pub(crate) fn tell(&mut self, event: &Event) -> Vec<Effect> {
        let t = advance_set_up(&self.set_up, &self.plan, event, self.now);
        let before = std::mem::replace(&mut self.set_up, t.next);
        self.write(&before, event, &t.effects);
        for effect in &t.effects {
            match effect {
                Effect::Command {
                    step,
                    part,
                    attempt,
                    ask,
                } => self
                    .device
                    .queue
                    .push_back((*step, *part, *attempt, ask.clone())),
                Effect::DropCommands { step } => self.device.queue.retain(|q| q.0 != *step),
                _ => {}
            }
        }
        self.effects.extend(t.effects.iter().cloned());
        t.effects
    }

    fn write(&mut self, before: &SetUp, event: &Event, effects: &[Effect]) {
        let at = self.now.since(START).as_secs();
        let _ = writeln!(
            self.log,
            "{:>3}:{:02}:{:02} {:<10} <- {}",
            at / 3600,
            at / 60 % 60,
            at % 60,
            name(&self.set_up.state),
            say_event(event)
        );
        let steps = self.set_up.steps().cloned().unwrap_or_default();
        for (id, state) in steps {
            if self.last_step.get(&id) != Some(&state.status) {
                let text = match &state.status {
                    StepStatus::Waiting => None,
                    StepStatus::Running => Some("runs".to_owned()),
                    StepStatus::Done { evidence } => Some(format!("done: {evidence}")),
                    StepStatus::Excepted { why } => Some(format!("given up: {why}")),
                    StepStatus::Skipped { why } => Some(format!("skipped: {why}")),
                    other => Some(format!("{other:?}")),
                };
                if let Some(text) = text {
                    let _ = writeln!(self.log, "           {id:>24} {text}");
                }
                self.last_step.insert(id, state.status.clone());
            }
        }
        for effect in effects {
            let _ = writeln!(self.log, "           -> {}", say_effect(effect));
        }
        if self.set_up.attention != before.attention {
            let _ = writeln!(
                self.log,
                "           attention: {:?}",
                self.set_up.attention
            );
        }
        for e in self
            .set_up
            .exceptions
            .iter()
            .filter(|e| !before.exceptions.contains(e))
        {
            let _ = writeln!(
                self.log,
                "           exception: {} ({:?}): {}",
                e.what, e.owner, e.why
            );
        }
    }

    /// The device answers its next command.
    pub(crate) fn answer(&mut self) -> bool {
        let Some(at) = self.next_in_queue() else {
            return false;
        };
        let Some((step, part, attempt, ask)) = self.device.queue.remove(at) else {
            return false;
        };
        let (status, told) = self.device.run(&ask);
        self.later(Duration::from_secs(1));
        self.tell(&Event::Reported {
            step,
            part,
            attempt,
            status,
            told,
        });
        true
    }

    /// What the device would get next: the release overtakes what else is queued, unless it waits for something.
    pub(crate) fn next_in_queue(&mut self) -> Option<usize> {
        let release = |q: &Queued| q.0 == StepId::Release;
        if self.device.queue.iter().any(release) && self.set_up.last_chance.is_some() {
            self.tell(&Event::BeforeRelease);
        }
        let queue = &self.device.queue;
        let find = |which: &dyn Fn(&Queued) -> bool| queue.iter().position(which);
        if self.set_up.release_yields(self.now) {
            find(&|q| SetUp::goes_before_release(q.0)).or_else(|| find(&|q| !release(q)))
        } else {
            find(&release).or_else(|| find(&|_| true))
        }
    }

    pub(crate) fn answer_all(&mut self) {
        while self.answer() {}
    }

    /// Jumps to the wake and tells it.
    pub(crate) fn wake(&mut self) {
        let at = self.set_up.wake_at.unwrap();
        self.now = self.now.max(at);
        self.tell(&Event::Woke);
        assert!(
            self.set_up.wake_at.is_none_or(|w| w > self.now),
            "a wake that stays: {:?}",
            self.set_up
        );
    }

    /// Answers and wakes until it has ended, or so many wakes have passed.
    pub(crate) fn run(&mut self, wakes: usize) {
        for _ in 0..wakes {
            self.answer_all();
            if self.set_up.is_ended() {
                return;
            }
            self.wake();
        }
    }

    pub(crate) fn enrol(&mut self) {
        self.later(Duration::from_secs(5));
        self.tell(&Event::Enrolled {
            awaiting: Some(true),
            profile_awaits: true,
        });
    }

    /// As most holds begin: it enrols, says who it is, and Apple locks it.
    pub(crate) fn begin(&mut self) {
        self.enrol();
        self.answer();
        self.lock_answers();
    }

    pub(crate) fn lock_answers(&mut self) {
        self.later(Duration::from_secs(1));
        self.tell(&Event::LockAnswered {
            answer: LockReading::Locked,
        });
    }
}

impl Device {
    pub(crate) fn fresh() -> Self {
        Self {
            awaiting: true,
            profiles: BTreeSet::new(),
            installed: ["app.notes", "app.old"].map(str::to_owned).into(),
            managed: BTreeMap::new(),
            queue: VecDeque::new(),
            has_key: false,
            lacks_token: false,
            refuses_escrow: false,
            refuses: None,
            rejects: BTreeMap::new(),
        }
    }

    pub(crate) fn run(&mut self, ask: &Ask) -> (ReportStatus, Told) {
        let told = match ask {
            Ask::Identify | Ask::Awaiting => Told::Identity {
                serial: Some("C02TEST".to_owned()),
                awaiting: Some(self.awaiting),
                platform: None,
                os_version: Some("26.1".to_owned()),
            },
            Ask::InstallProfile { identifier } if self.refuses == Some(identifier) => {
                let why = "not on this device".to_owned();
                return (ReportStatus::Error, Told::Failure { why });
            }
            Ask::InstallProfile { identifier } => {
                self.profiles.insert(identifier.clone());
                Told::Nothing
            }
            Ask::InstallEscrow if self.refuses_escrow => {
                let why = "not now".to_owned();
                return (ReportStatus::Error, Told::Failure { why });
            }
            Ask::InstallEscrow => {
                self.profiles
                    .insert(mdm_core::migration::ESCROW_PROFILE.to_owned());
                self.has_key = !self.lacks_token;
                Told::Nothing
            }
            Ask::Profiles => Told::Profiles(self.profiles.iter().cloned().collect()),
            // It names an app as it spells it itself.
            Ask::InstalledApps { identifiers } => Told::Installed(
                self.installed
                    .iter()
                    .filter(|own| identifiers.iter().any(|i| i.eq_ignore_ascii_case(own)))
                    .cloned()
                    .collect(),
            ),
            Ask::InstallApp { bundle_id, .. } => {
                let rejects = self.rejects.get_mut(bundle_id);
                if let Some(told) = rejects.and_then(VecDeque::pop_front) {
                    return (ReportStatus::Error, told);
                }
                let mut all = self.installed.iter();
                let own = all.find(|own| own.eq_ignore_ascii_case(bundle_id));
                let state = match own {
                    Some(_) => AppState::Managed,
                    None => AppState::InProgress("Installing".to_owned()),
                };
                let bundle_id = own.unwrap_or(bundle_id).clone();
                self.managed.insert(bundle_id.clone(), state.clone());
                Told::App(AppReading { bundle_id, state })
            }
            Ask::ManagedApps { .. } => {
                let told = self
                    .managed
                    .iter()
                    .map(|(id, state)| AppReading {
                        bundle_id: id.clone(),
                        state: state.clone(),
                    })
                    .collect();
                // What is under way is there the next time.
                for state in self.managed.values_mut() {
                    *state = AppState::Managed;
                }
                Told::Managed(told)
            }
            Ask::Security => Told::Security {
                filevault_on: Some(true),
                key: if self.has_key {
                    KeyReading::Escrowed {
                        secret: SecretId(9),
                        changed: true,
                    }
                } else {
                    KeyReading::NotEscrowed
                },
            },
            Ask::Release => {
                if !self.awaiting {
                    return (
                        ReportStatus::Error,
                        Told::Failure {
                            why: "it does not wait".to_owned(),
                        },
                    );
                }
                self.awaiting = false;
                Told::Nothing
            }
            _ => Told::Nothing,
        };
        (ReportStatus::Acknowledged, told)
    }
}

pub(crate) fn name(state: &impl std::fmt::Debug) -> String {
    let text = format!("{state:?}");
    text.split([' ', '(', '{'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

pub(crate) fn say_event(event: &Event) -> String {
    match event {
        Event::Reported {
            step,
            part,
            attempt,
            status,
            told,
        } => {
            let told = format!("{told:?}");
            let told: String = told.chars().take(100).collect();
            format!("{step}/{part}#{attempt} {status:?} {told}")
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn say_effect(effect: &Effect) -> String {
    match effect {
        Effect::Command {
            step,
            part,
            attempt,
            ask,
        } => format!("{step}/{part}#{attempt} {ask:?}"),
        other => format!("{other:?}"),
    }
}
