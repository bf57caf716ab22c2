//! Apps by declaration: those that must be there, and those that were found and must stay, are declared as required, after
//! the commands have had their turn. From then on the device itself sees to them. Never a condition of the hold's end, and
//! nothing on systems without it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Next, Own, Progress, Signal, StepContext, StepState, failure};
use crate::app_state::{AppState, is_same_app};
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::ddm::own;
use crate::migration::{AppAction, AppReading, Ask, Event, Exception, Owner, Policy, StepId};

/// How far the declared apps are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct DeclaredApps {
    /// Those that the device has not taken on yet.
    #[serde(default)]
    waiting: BTreeSet<String>,
    /// Those that it has.
    #[serde(default)]
    done: BTreeSet<String>,
    /// Those that it refuses, and why.
    #[serde(default)]
    failed: BTreeMap<String, String>,
}

/// Bundle identifiers of the apps to be declared. Of those that are kept where they are, the ones that the device has: a
/// declaration would install the others. After the hold these are the ones that were taken over: the others are gone with their
/// data, and would come back empty.
fn apps(ctx: &StepContext<'_>) -> BTreeSet<String> {
    let found = match ctx.steps.get(&StepId::AppsKeep).map(|s| &s.own) {
        Some(Own::Apps(way)) => {
            let there = way.apps.iter().filter(|(_, app)| ctx.held || app.done);
            there.map(|(id, _)| id).collect()
        }
        _ => BTreeSet::new(),
    };
    let wanted = ctx.plan.apps.iter().filter(|app| match app.action {
        AppAction::Install => true,
        AppAction::KeepIfPresent => found.contains(&app.bundle_id),
        AppAction::Drop => false,
    });
    // A Mac takes no manifest here: such an app stays the commands'.
    let declarable = wanted.filter(|app| app.manifest_url.is_none() || !ctx.platform.is_mac());
    declarable.map(|app| app.bundle_id.clone()).collect()
}

pub(super) fn start(ctx: &StepContext<'_>) -> Progress {
    let apps = apps(ctx);
    if apps.is_empty() {
        return Progress::skip("there is no app to declare");
    }
    if !own::has_apps(ctx.platform, ctx.os_version) {
        return Progress::skip("its system has no declared apps, or is not known");
    }
    let ask = Ask::DeclareApps {
        identifiers: apps.iter().cloned().collect(),
    };
    Progress {
        own: Some(Own::Declared(DeclaredApps {
            waiting: apps,
            ..DeclaredApps::default()
        })),
        ..Progress::ask(0, ask)
    }
}

pub(super) fn on(
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    let Own::Declared(way) = &state.own else {
        return Progress::wait();
    };
    match signal {
        Signal::Event(Event::AppsDeclared { readings }) => take(way.clone(), readings, ctx, now),
        Signal::Event(Event::Reported { .. }) if state.asked.values().any(|a| a.not_now) => {
            Progress::skip("the device cannot use declarations now")
        }
        Signal::Answer {
            ok: false, told, ..
        } => Progress::skip(failure(told)),
        Signal::TimeUp => {
            let mut way = way.clone();
            let late = std::mem::take(&mut way.waiting).into_iter();
            let why = "the device has not said that it took the declaration";
            way.failed.extend(late.map(|id| (id, why.to_owned())));
            if ctx.step.on_timeout == Policy::Skip {
                // Nothing is lost: the commands had their turn.
                return Progress::wait();
            }
            let late = way.failed.len();
            let are = agree(late, "is", "are");
            let why = format!("{} {are} not declared in time", counted(late, "app"));
            Progress {
                exceptions: exceptions(&way, ctx, now),
                ..Progress::except(why, Owner::Device)
            }
        }
        // An acknowledgement alone proves nothing: the status report does.
        _ => Progress::wait(),
    }
}

fn take(
    mut way: DeclaredApps,
    readings: &[AppReading],
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    for AppReading { bundle_id, state } in readings {
        let mut ours = way.waiting.iter().chain(way.failed.keys());
        let Some(bundle_id) = ours.find(|id| is_same_app(id, bundle_id)).cloned() else {
            continue;
        };
        match state {
            AppState::Failed(why) => {
                way.waiting.remove(&bundle_id);
                way.failed
                    .insert(bundle_id, format!("the device says {why}"));
            }
            state if state.is_taken_on() => {
                way.waiting.remove(&bundle_id);
                way.failed.remove(&bundle_id);
                way.done.insert(bundle_id);
            }
            // It goes on, or waits for a person: so does this.
            _ => {}
        }
    }
    if !way.waiting.is_empty() {
        return Progress {
            own: Some(Own::Declared(way)),
            ..Progress::wait()
        };
    }
    let all = way.done.len() + way.failed.len();
    let next = if way.failed.is_empty() {
        Next::Done(format!(
            "{} {} declared, and the device has taken {} on",
            counted(all, "app"),
            agree(all, "is", "are"),
            agree(all, "it", "them")
        ))
    } else {
        let why = format!("{} of {all} declared apps failed", way.failed.len());
        Next::Except(why, Owner::Device)
    };
    Progress {
        exceptions: exceptions(&way, ctx, now),
        next,
        own: Some(Own::Declared(way)),
        ..Progress::default()
    }
}

fn exceptions(way: &DeclaredApps, ctx: &StepContext<'_>, now: Timestamp) -> Vec<Exception> {
    let failed = way.failed.iter();
    failed
        .map(|(id, why)| ctx.exception(Some(id), why.clone(), Owner::Device, now))
        .collect()
}
