//! One idea of a hold per file. A step is two functions and its own state; to add one, write its file, add its variant to
//! [`Own`] if it remembers something, its line to the dispatch below, and a timeline snapshot. Steps know *when* to ask,
//! never *what* the bytes are, and none of them decides on the release.

mod app_end;
mod app_table;
mod app_way;
mod apps;
mod apps_keep;
mod apps_required;
mod bootstrap;
mod declare;
mod declare_apps;
pub(crate) mod fv_escrow;
pub(crate) mod identify;
pub(crate) mod lock;
mod network;
mod profiles;
mod recovery_lock;
pub(crate) mod release;
mod security;
mod tag;
mod tell;
mod trust;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::app_way::AppsWay;
use self::declare_apps::DeclaredApps;
use self::profiles::ProfilesWay;
pub(crate) use self::verify::{Proof, REFUSED};
use super::{
    Ask, Effect, Event, Exception, Owner, PinnedRunbook, ReleaseTold, StepId, StepPlan, Steps, Told,
};
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::ids::Serial;

pub(crate) use self::identify::is_impostor;

/// Where a step stands, and its own state while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// When that began.
    pub since: Timestamp,
    /// When it was started for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// When its policy decides; `None` when it waits for the ceiling of the hold, or for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// When the device is woken again because of a question that it has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nudge_at: Option<Timestamp>,
    /// When the step itself wants to look again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) look_at: Option<Timestamp>,
    /// How often it was started again after an error.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) tries: u16,
    /// It is to be started again when it looks next.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) again: bool,
    /// Why it was started again, while tries are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<StepError>,
    /// Its commands by part.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) asked: BTreeMap<u16, Asked>,
    /// What it remembers besides.
    #[serde(default, skip_serializing_if = "Own::is_nothing")]
    pub(crate) own: Own,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(n: &u16) -> bool {
    *n == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_false(b: &bool) -> bool {
    !*b
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// Its requirements are not met yet.
    Waiting,
    /// Under way.
    Running,
    /// Proved, by this evidence.
    Done {
        /// The observation that proves it.
        evidence: String,
    },
    /// Given up; an exception was noted if it was required.
    Excepted {
        /// Why.
        why: String,
    },
    /// Does not apply, or was skipped by policy.
    Skipped {
        /// Why.
        why: String,
    },
}

impl StepStatus {
    /// Whether the step is over, well or not: those that require it may start.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Done { .. } | Self::Excepted { .. } | Self::Skipped { .. }
        )
    }
}

/// One command of a step: its newest try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Asked {
    /// Which try.
    pub(crate) attempt: u16,
    /// When it was asked.
    pub(crate) at: Timestamp,
    /// No final answer yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) open: bool,
    /// The device said that it cannot now; it will come back to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) not_now: bool,
    /// It asks for other commands, and says nothing of this one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) mute: bool,
    /// How many tries ended in an error.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) errors: u16,
    /// The error of the newest answer; none when that was no error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<StepError>,
}

/// What went wrong, and who can do something about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct StepError {
    pub(crate) why: String,
    pub(crate) owner: Owner,
}

impl StepError {
    /// An error that a device answered to a command of a step. Which profiles it gets is ours to mend.
    pub(crate) fn told(step: StepId, part: u16, told: &Told) -> Self {
        let of_profiles = matches!(
            step,
            StepId::Trust | StepId::Network | StepId::Security | StepId::FvEscrow
        );
        let owner = match of_profiles && part != profiles::LIST {
            true => Owner::Destination,
            false => Owner::Device,
        };
        Self {
            why: failure(told),
            owner,
        }
    }
}

/// What a step remembers besides its commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Own {
    /// Nothing.
    #[default]
    Nothing,
    /// The device told a serial number that is not the planned one.
    Impostor,
    /// Installing profiles.
    Profiles(ProfilesWay),
    /// Installing or taking over apps.
    Apps(AppsWay),
    /// Declaring apps.
    Declared(DeclaredApps),
    /// The proof after release.
    Proof(Proof),
}

impl Own {
    const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

impl StepState {
    pub(crate) fn new(status: StepStatus, since: Timestamp) -> Self {
        Self {
            status,
            since,
            began: None,
            deadline: None,
            nudge_at: None,
            look_at: None,
            tries: 0,
            again: false,
            error: None,
            asked: BTreeMap::new(),
            own: Own::Nothing,
        }
    }

    pub(crate) fn waiting(since: Timestamp) -> Self {
        Self::new(StepStatus::Waiting, since)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status == StepStatus::Running
    }

    /// It is under way.
    pub(crate) fn run(&mut self, now: Timestamp) {
        self.status = StepStatus::Running;
        self.began.get_or_insert(now);
    }

    /// Makes the next try of a part; a new try is a new command.
    pub(crate) fn ask(&mut self, part: u16, now: Timestamp) -> u16 {
        let asked = self.asked.entry(part).or_insert(Asked {
            attempt: 0,
            at: now,
            open: false,
            not_now: false,
            mute: false,
            errors: 0,
            error: None,
        });
        asked.attempt = asked.attempt.saturating_add(1);
        asked.at = now;
        asked.open = true;
        asked.not_now = false;
        asked.mute = false;
        let attempt = asked.attempt;
        self.nudge_at.get_or_insert(now + FIRST_NUDGE);
        attempt
    }

    /// Whether a question of this part waits for its answer.
    pub(crate) fn is_open(&self, part: u16) -> bool {
        self.asked.get(&part).is_some_and(|a| a.open)
    }

    /// What keeps it, as far as anybody has said so: each in a sentence, and who can do something about it where that is known.
    #[must_use]
    pub(crate) fn trouble(&self) -> (Vec<String>, Option<Owner>) {
        let mut said = Vec::new();
        if self.asked.values().any(|a| a.open && a.not_now) {
            said.push("the device answers NotNow".to_owned());
        } else if self.asked.values().any(|a| a.open && a.mute) {
            said.push("the device answers other commands and not this one".to_owned());
        }
        let errors: u16 = self.asked.values().map(|a| a.errors).sum();
        if errors > 0 || self.tries > 0 {
            let begun = self.tries.saturating_add(1);
            said.push(format!("{errors} errors so far, begun {begun} times"));
        }
        let mut owner = None;
        let mut last = |error: &StepError, of: Option<&str>| {
            owner.get_or_insert(error.owner);
            said.push(match of {
                Some(of) => format!("the last error: {of}: {}", error.why),
                None => format!("the last error: {}", error.why),
            });
        };
        if let Own::Apps(way) = &self.own {
            for (app, error) in way.errors() {
                last(error, Some(app));
            }
        } else if let Some(error) = &self.error {
            last(error, None);
        } else {
            let errors = self.asked.values().filter_map(|a| a.error.as_ref());
            errors.for_each(|error| last(error, None));
        }
        (said, owner)
    }

    /// When the oldest question without an answer was asked.
    pub(crate) fn oldest_open(&self) -> Option<Timestamp> {
        self.asked.values().filter(|a| a.open).map(|a| a.at).min()
    }

    /// Ends it. What it remembers stays: the proof after release looks at it.
    pub(crate) fn end(&mut self, status: StepStatus, now: Timestamp) {
        self.status = status;
        self.since = now;
        self.deadline = None;
        self.nudge_at = None;
        self.look_at = None;
        self.again = false;
        self.error = None;
        for asked in self.asked.values_mut() {
            asked.open = false;
            asked.error = None;
        }
    }
}

/// After how long a device is woken again for the first time when it does not answer.
pub(crate) const FIRST_NUDGE: Duration = Duration::from_mins(1);

/// What a step may look at.
pub(crate) struct StepContext<'a> {
    /// The whole plan, for its tables.
    pub(crate) plan: &'a PinnedRunbook,
    /// The plan of this step.
    pub(crate) step: &'a StepPlan,
    /// The device's platform.
    pub(crate) platform: Platform,
    /// The version of its system, as it told.
    pub(crate) os_version: Option<&'a str>,
    /// The serial number that it should have.
    pub(crate) serial: Option<&'a Serial>,
    /// The other steps.
    pub(crate) steps: &'a Steps,
    /// Whether the hold is on: what must happen before its end still can.
    pub(crate) held: bool,
    /// A user channel of the device has enrolled.
    pub(crate) user_seen: bool,
    /// A local user of the Mac was managed, and is to be so again.
    pub(crate) user_expected: bool,
    /// The Mac has left its bootstrap token since it enrolled.
    pub(crate) token_stored: bool,
    /// Apple was asked for the lock and was not seen to hold it yet.
    pub(crate) lock_unread: bool,
    /// Apple was read since, and did not show it.
    pub(crate) lock_off: bool,
    /// What became of telling that the hold is over.
    pub(crate) release_told: Option<&'a ReleaseTold>,
    /// The tags that the device had when it enrolled, and the groups of its owner.
    pub(crate) tags: &'a BTreeSet<String>,
    /// Whether people have something declared to the device; `None` where nobody has looked.
    pub(crate) declared: Option<bool>,
    /// Whether the Mac has Apple silicon, once it has told.
    pub(crate) apple_silicon: Option<bool>,
}

impl StepContext<'_> {
    /// An exception of this step.
    pub(crate) fn exception(
        &self,
        part: Option<&str>,
        why: impl Into<String>,
        owner: Owner,
        now: Timestamp,
    ) -> Exception {
        let what = part.map_or_else(
            || self.step.id.to_string(),
            |part| format!("{}: {part}", self.step.id),
        );
        Exception::new(what, why, owner, now)
    }
}

/// What a running step hears.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal<'a> {
    /// A final answer to the newest try of one of its commands. Comes once.
    Answer {
        /// Which command.
        part: u16,
        /// Acknowledged, as opposed to an error.
        ok: bool,
        /// What was told.
        told: &'a Told,
    },
    /// Something else happened.
    Event(&'a Event),
    /// The moment came at which it wanted to look again.
    Due,
    /// Its time is up, and its policy does not wait; the last chance to say what is missing.
    TimeUp,
    /// The device has left the hold.
    HoldOver,
}

/// What a step answers.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What it remembers from now on, if that changed.
    pub(crate) own: Option<Own>,
    /// Commands to make, each the next try of its part.
    pub(crate) asks: Vec<(u16, Ask)>,
    /// Other things to be done.
    pub(crate) effects: Vec<Effect>,
    /// When to look again.
    pub(crate) look_in: Option<Duration>,
    /// Exceptions about parts of the step; kept only if it is required.
    pub(crate) exceptions: Vec<Exception>,
    /// Where that leads.
    pub(crate) next: Next,
}

/// Where a step goes.
#[derive(Debug, Default)]
pub(crate) enum Next {
    /// It goes on.
    #[default]
    Wait,
    /// It is proved.
    Done(String),
    /// It does not apply, or nothing is lost without it.
    Skip(String),
    /// Start it again, as often as the plan allows; then as `Except`.
    Retry(String, Owner),
    /// It is given up. The exception is made by the runner unless the step named its parts.
    Except(String, Owner),
}

impl Progress {
    pub(crate) fn wait() -> Self {
        Self::default()
    }

    pub(crate) fn ask(part: u16, ask: Ask) -> Self {
        Self {
            asks: vec![(part, ask)],
            ..Self::default()
        }
    }

    pub(crate) fn next(next: Next) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    pub(crate) fn done(evidence: impl Into<String>) -> Self {
        Self::next(Next::Done(evidence.into()))
    }

    pub(crate) fn skip(why: impl Into<String>) -> Self {
        Self::next(Next::Skip(why.into()))
    }

    pub(crate) fn except(why: impl Into<String>, owner: Owner) -> Self {
        Self::next(Next::Except(why.into(), owner))
    }
}

/// Why a command failed, in the device's words.
pub(crate) fn failure(told: &Told) -> String {
    match told {
        Told::Failure { why } => why.clone(),
        _ => "the answer could not be used".to_owned(),
    }
}

/// Starts a step: its first commands, or the reason why there is nothing to do.
pub(crate) fn start(ctx: &StepContext<'_>) -> Progress {
    if !ctx.step.is_for(ctx.tags) {
        let only: Vec<&str> = ctx.step.only.iter().map(String::as_str).collect();
        return Progress::skip(format!("only for devices with {}", only.join(", ")));
    }
    match ctx.step.id {
        StepId::Identify => identify::start(),
        StepId::Declare => declare::start(ctx),
        StepId::DeclareApps => declare_apps::start(ctx),
        StepId::Trust => trust::start(ctx),
        StepId::Network => network::start(ctx),
        StepId::Bootstrap => bootstrap::start(ctx),
        StepId::FvEscrow => fv_escrow::start(ctx),
        StepId::Security => security::start(ctx),
        StepId::AppsRequired => apps_required::start(ctx),
        StepId::AppsKeep => apps_keep::start(ctx),
        StepId::Apps => apps::start(ctx),
        StepId::Lock => lock::start(ctx),
        StepId::RecoveryLock => recovery_lock::start(ctx),
        // The end of the hold belongs to the set-up, which needs no runbook for it.
        StepId::Release => Progress::wait(),
        StepId::Verify => verify::start(ctx),
        StepId::Tag => tag::start(ctx),
        StepId::Tell => tell::start(ctx),
    }
}

/// Tells a running step of something.
pub(crate) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    match ctx.step.id {
        StepId::Identify => identify::on(signal, ctx),
        StepId::Declare => declare::on(state, signal),
        StepId::DeclareApps => declare_apps::on(state, signal, ctx, now),
        StepId::Trust => trust::on(state, signal, ctx, now),
        StepId::Network => network::on(state, signal, ctx, now),
        StepId::Bootstrap => bootstrap::on(signal),
        StepId::FvEscrow => fv_escrow::on(state, signal, ctx, now),
        StepId::Security => security::on(state, signal, ctx, now),
        StepId::AppsRequired => apps_required::on(state, signal, ctx, now),
        StepId::AppsKeep => apps_keep::on(state, signal, ctx, now),
        StepId::Apps => apps::on(state, signal, ctx, now),
        StepId::Lock => lock::on(signal),
        StepId::RecoveryLock => recovery_lock::on(signal),
        StepId::Release => Progress::wait(),
        StepId::Verify => verify::on(state, signal, ctx, now),
        // Over as soon as it begins.
        StepId::Tag => Progress::wait(),
        StepId::Tell => tell::on(signal),
    }
}
