//! Apps of the runbook's table, as three steps install or take them over. Each app has its own way and its own exception;
//! one that fails never holds up the others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::app_end::{give_up, give_up_what_was_there, over};
use super::app_way::{AppWay, AppsWay, FINAL};
use super::{Own, Progress, Signal, StepContext, StepState, failure};
use crate::app_state::{AppState, is_same_app};
use crate::apps::{presence, spelled};
use crate::clock::Timestamp;
use crate::migration::{AppAction, AppPlan, AppReading, Ask, Owner, StepId, Told};

/// The part that asks what is there.
const INVENTORY: u16 = u16::MAX;
/// The part that asks how the managed apps are.
const POLL: u16 = u16::MAX - 1;
/// Spacing of polls: the first, and the longest.
const FIRST_POLL: Duration = Duration::from_secs(10);
const LAST_POLL: Duration = Duration::from_mins(2);

/// What a step does with the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Take over what is there, with its data; done when managed.
    Keep,
    /// Install what is not there; done when the device has taken it on.
    Install,
    /// Ask a Mac to install; its acknowledgement is enough, the proof comes after the release.
    Ask,
}

/// When something is heard, and how long a step has for what fails.
#[derive(Clone, Copy)]
struct Heard {
    duty: Duty,
    now: Timestamp,
    until: Timestamp,
    step_ends: Timestamp,
}

impl Heard {
    /// What is to be kept goes with its data unless it is taken over, and the device is held anyway: the whole time of the step.
    /// What is installed anew can come after the release as well.
    fn new(state: &StepState, ctx: &StepContext<'_>, now: Timestamp, duty: Duty) -> Self {
        let step_ends = state.since + Duration::from_secs(ctx.step.timeout_secs);
        let until = match duty {
            Duty::Keep => step_ends,
            Duty::Install | Duty::Ask => now,
        };
        Self {
            duty,
            now,
            until,
            step_ends,
        }
    }

    /// What is there is kept, by whichever step.
    const fn of(self, app: &AppWay) -> Self {
        if app.is_there {
            Self {
                duty: Duty::Keep,
                until: self.step_ends,
                ..self
            }
        } else {
            self
        }
    }

    /// Until when an app that failed with this word is asked for again. Apple names no word for a missing licence: whatever may
    /// be one counts as one, of an app of the store.
    fn until(self, plan: &AppPlan, word: &str) -> Timestamp {
        if plan.manifest_url.is_none() && !FINAL.contains(&word) {
            self.until
        } else {
            self.now
        }
    }
}

fn wanted<'a>(ctx: &StepContext<'a>, duty: Duty) -> Vec<&'a AppPlan> {
    ctx.plan
        .apps
        .iter()
        .filter(|a| match duty {
            Duty::Keep => a.action != AppAction::Drop,
            Duty::Install | Duty::Ask => a.action == AppAction::Install,
        })
        .collect()
}

fn part_of(ctx: &StepContext<'_>, bundle_id: &str) -> Option<u16> {
    ctx.plan
        .apps
        .iter()
        .position(|a| is_same_app(&a.bundle_id, bundle_id))
        .and_then(|i| u16::try_from(i).ok())
}

fn identifiers(apps: &[&AppPlan]) -> Vec<String> {
    apps.iter().map(|a| a.bundle_id.clone()).collect()
}

fn install(ctx: &StepContext<'_>, duty: Duty, bundle_id: &str, app: &AppWay) -> Option<(u16, Ask)> {
    let ask = Ask::InstallApp {
        bundle_id: bundle_id.to_owned(),
        keep: duty == Duty::Keep || app.is_there,
    };
    part_of(ctx, bundle_id).map(|part| (part, ask))
}

/// Whether another step takes care of the apps that are there already: one that this device gets.
fn others_keep(ctx: &StepContext<'_>) -> bool {
    let keep = ctx.plan.step(StepId::AppsKeep);
    keep.is_some_and(|step| step.is_for(ctx.tags)) && !ctx.platform.is_mac()
}

/// Names each app of the plan when the device's own list could not be had: which of them it had, nobody knows, and one that
/// it had may be gone.
fn unread(
    ctx: &StepContext<'_>,
    now: Timestamp,
    duty: Duty,
    why: impl Into<String>,
    owner: Owner,
) -> Progress {
    let why = why.into();
    Progress {
        exceptions: wanted(ctx, duty)
            .into_iter()
            .map(|app| ctx.exception(Some(&app.bundle_id), why.clone(), owner, now))
            .collect(),
        ..Progress::except(why, owner)
    }
}

pub(super) fn start(ctx: &StepContext<'_>, duty: Duty) -> Progress {
    let wanted = wanted(ctx, duty);
    if wanted.is_empty() {
        return Progress::skip("the runbook has no app for it");
    }
    match duty {
        Duty::Keep if !ctx.held => Progress::except(
            "the hold is over: what was not taken over is gone",
            Owner::Destination,
        ),
        Duty::Install if !ctx.held => begin(ctx, duty, identifiers(&wanted), &[], &[]),
        Duty::Keep | Duty::Install => Progress::ask(
            INVENTORY,
            Ask::InstalledApps {
                identifiers: identifiers(&wanted),
            },
        ),
        Duty::Ask => begin(ctx, duty, identifiers(&wanted), &[], &[]),
    }
}

/// Asks for these apps, all at once: they go out one by one anyway. `listed` is what the device has listed, `there` those of the
/// apps that this step finds on it and that no other one keeps.
fn begin(
    ctx: &StepContext<'_>,
    duty: Duty,
    bundle_ids: Vec<String>,
    listed: &[String],
    there: &[String],
) -> Progress {
    let apps: BTreeMap<String, AppWay> = bundle_ids
        .into_iter()
        .map(|id| {
            let mut app = AppWay::default();
            app.learn_name(&id, spelled(&id, listed).unwrap_or(&id));
            app.is_there = there.contains(&id);
            (id, app)
        })
        .collect();
    Progress {
        asks: apps
            .iter()
            .filter_map(|(id, app)| install(ctx, duty, id, app))
            .collect(),
        own: Some(Own::Apps(AppsWay { apps })),
        ..Progress::default()
    }
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
    duty: Duty,
) -> Progress {
    let Own::Apps(way) = &state.own else {
        return before_inventory(state, signal, ctx, now, duty);
    };
    let mut way = way.clone();
    let heard = Heard::new(state, ctx, now, duty);
    match signal {
        Signal::Answer {
            part: POLL,
            ok: true,
            told: Told::Managed(readings),
        } => {
            for plan in &ctx.plan.apps {
                let Some(app) = way.apps.get_mut(&plan.bundle_id) else {
                    continue;
                };
                let mut all = readings.iter();
                match all.find(|r| is_same_app(&r.bundle_id, &plan.bundle_id)) {
                    Some(reading) => {
                        app.learn_name(&plan.bundle_id, &reading.bundle_id);
                        let heard = heard.of(app);
                        take(app, plan, reading, heard);
                    }
                    None => app.not_listed(now, heard.of(app).until),
                }
            }
            go_on(way, state, ctx, now, duty)
        }
        Signal::Answer { part: POLL, .. } => Progress {
            look_in: next_look(&way, state, now),
            ..Progress::default()
        },
        Signal::Answer { part, ok, told } => {
            let Some(plan) = ctx.plan.apps.get(usize::from(part)) else {
                return Progress::wait();
            };
            let Some(app) = way.apps.get_mut(&plan.bundle_id) else {
                return Progress::wait();
            };
            let heard = heard.of(app);
            answered(app, plan, ok, told, heard);
            go_on(way, state, ctx, now, duty)
        }
        Signal::Due => look(way, state, ctx, now, duty),
        Signal::TimeUp | Signal::HoldOver
            if duty == Duty::Keep || matches!(signal, Signal::TimeUp) =>
        {
            give_up(way, signal, ctx, now, duty)
        }
        Signal::HoldOver if duty == Duty::Install => {
            give_up_what_was_there(&mut way, duty);
            go_on(way, state, ctx, now, duty)
        }
        // Out of turn, or for other steps.
        _ => Progress::wait(),
    }
}

fn before_inventory(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
    duty: Duty,
) -> Progress {
    let wanted = wanted(ctx, duty);
    match signal {
        Signal::Answer {
            part: INVENTORY,
            ok: true,
            told: Told::Installed(there),
        } => {
            let found = presence(&identifiers(&wanted), there);
            let (chosen, kept) = match duty {
                Duty::Keep => (found.present, Vec::new()),
                _ if others_keep(ctx) => (found.absent, Vec::new()),
                // Nobody else takes over what is there.
                Duty::Install | Duty::Ask => (identifiers(&wanted), found.present),
            };
            if chosen.is_empty() {
                let mut progress = Progress::done(match duty {
                    Duty::Keep => "none of the apps to keep is on the device",
                    Duty::Install | Duty::Ask => "every app is on the device already",
                });
                progress.own = Some(Own::Apps(AppsWay::default()));
                return progress;
            }
            begin(ctx, duty, chosen, there, &kept)
        }
        Signal::Answer {
            part: INVENTORY,
            told,
            ..
        } => {
            let errors = state.asked.get(&INVENTORY).map_or(0, |a| a.errors);
            if errors <= ctx.step.retries.max(1) {
                return Progress {
                    look_in: Some(FIRST_POLL),
                    ..Progress::default()
                };
            }
            if duty == Duty::Install && !others_keep(ctx) {
                // Whatever may be there is kept.
                let all = identifiers(&wanted);
                return begin(ctx, duty, all.clone(), &[], &all);
            }
            let why = format!("the device does not list its apps: {}", failure(told));
            unread(ctx, now, duty, why, Owner::Device)
        }
        Signal::Due if !state.is_open(INVENTORY) => Progress::ask(
            INVENTORY,
            Ask::InstalledApps {
                identifiers: identifiers(&wanted),
            },
        ),
        Signal::HoldOver if duty == Duty::Keep => {
            let why = "the hold ended before the device listed its apps";
            unread(ctx, now, duty, why, Owner::Device)
        }
        Signal::TimeUp => {
            let why = "the device did not list its apps in time";
            unread(ctx, now, duty, why, Owner::Device)
        }
        // The intersection is not needed any more: what is there stays or is gone.
        Signal::HoldOver => begin(ctx, duty, identifiers(&wanted), &[], &[]),
        // Out of turn, or for other steps.
        _ => Progress::wait(),
    }
}

/// Takes the answer to the installation of one app.
fn answered(app: &mut AppWay, plan: &AppPlan, ok: bool, told: &Told, heard: Heard) {
    match told {
        Told::App(reading) => {
            app.learn_name(&plan.bundle_id, &reading.bundle_id);
            if matches!(reading.state, AppState::Failed(_)) {
                take(app, plan, reading, heard);
            } else if heard.duty == Duty::Ask {
                app.done = true;
            } else if !ok {
                // An error in name only: it is queued already, or there.
                app.have_doubts(&reading.state);
            }
        }
        _ if !ok => {
            // Apple names no code for a missing licence; for a store app it is the likely reason.
            let owner = if plan.manifest_url.is_some() {
                Owner::Device
            } else {
                Owner::Licence
            };
            let why = failure(told);
            let until = heard.until(plan, &why);
            app.fail(why, owner, heard.now, until);
        }
        _ if heard.duty == Duty::Ask => app.done = true,
        _ => {}
    }
}

/// Takes what the device says of one app.
fn take(app: &mut AppWay, plan: &AppPlan, reading: &AppReading, heard: Heard) {
    let state = &reading.state;
    if app.is_settled() {
        return;
    }
    if let AppState::Failed(word) = state {
        let owner = if word.contains("Rejected") {
            Owner::User
        } else {
            Owner::Device
        };
        // Any other word tells what a person did.
        let until = match word.as_str() {
            "Failed" => heard.until(plan, word),
            _ => heard.now,
        };
        // Said once and then gone: taken at once.
        app.last = Some(state.clone());
        app.fail(format!("the device says {word}"), owner, heard.now, until);
        return;
    }
    app.listed(state);
    app.done = match heard.duty {
        Duty::Keep => state.is_managed(),
        Duty::Install | Duty::Ask => state.is_taken_on(),
    };
}

fn poll_spacing(state: &StepState) -> Duration {
    let polls = state.asked.get(&POLL).map_or(1, |a| a.attempt.max(1));
    FIRST_POLL
        .saturating_mul(1_u32 << (polls - 1).min(8))
        .min(LAST_POLL)
}

/// When to look again while nothing is being asked: at the next try of an app that failed, or at the list for the others.
fn next_look(way: &AppsWay, state: &StepState, now: Timestamp) -> Option<Duration> {
    let list = way.waits_for_list().then(|| poll_spacing(state));
    [way.next_try(now), list].into_iter().flatten().min()
}

/// After an answer: over, or poll, or look again later.
fn go_on(
    way: AppsWay,
    state: &StepState,
    ctx: &StepContext<'_>,
    now: Timestamp,
    duty: Duty,
) -> Progress {
    if way.is_settled() {
        return over(way, ctx, now, duty);
    }
    let asking = way
        .apps
        .keys()
        .any(|id| part_of(ctx, id).is_some_and(|part| state.is_open(part)));
    let mut progress = Progress::default();
    if asking || state.is_open(POLL) {
        progress.look_in = way.next_try(now);
    } else if way.waits_for_list() && (way.is_in_doubt() || !state.asked.contains_key(&POLL)) {
        progress.asks.push((POLL, poll(&way)));
        progress.look_in = way.next_try(now);
    } else {
        progress.look_in = next_look(&way, state, now);
    }
    progress.own = Some(Own::Apps(way));
    progress
}

fn poll(way: &AppsWay) -> Ask {
    Ask::ManagedApps {
        identifiers: way
            .apps
            .iter()
            .filter(|(_, a)| a.failed.is_none())
            .map(|(id, a)| a.name(id).to_owned())
            .collect(),
    }
}

/// Asks again for what failed, and polls the rest.
fn look(
    mut way: AppsWay,
    state: &StepState,
    ctx: &StepContext<'_>,
    now: Timestamp,
    duty: Duty,
) -> Progress {
    let mut asks = Vec::new();
    for (id, app) in &mut way.apps {
        if app.take_up(now) {
            asks.extend(install(ctx, duty, id, app).filter(|(part, _)| !state.is_open(*part)));
        }
    }
    if asks.is_empty() && way.waits_for_list() && !state.is_open(POLL) {
        asks.push((POLL, poll(&way)));
    }
    Progress {
        asks,
        look_in: way.next_try(now),
        own: Some(Own::Apps(way)),
        ..Progress::default()
    }
}
