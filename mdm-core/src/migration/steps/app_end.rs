//! How a step with apps ends: with each app managed, or with an exception for each that is not.

use super::app_table::Duty;
use super::app_way::{AppWay, AppsWay, word};
use super::{Next, Own, Progress, Signal, StepContext, StepError};
use crate::app_state::AppState;
use crate::clock::Timestamp;
use crate::counted::counted;
use crate::migration::Owner;

/// The time is up, or the hold is over: what is not there by now is named, app by app.
pub(super) fn give_up(
    mut way: AppsWay,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
    duty: Duty,
) -> Progress {
    for app in way.apps.values_mut() {
        give_up_one(app, signal, duty);
    }
    over(way, ctx, now, duty)
}

/// The hold is over, and the step goes on with what can still be installed: what was there and was not taken over is gone.
pub(super) fn give_up_what_was_there(way: &mut AppsWay, duty: Duty) {
    for app in way.apps.values_mut().filter(|app| app.is_there) {
        give_up_one(app, Signal::HoldOver, duty);
    }
}

fn give_up_one(app: &mut AppWay, signal: Signal<'_>, duty: Duty) {
    if app.is_settled() {
        return;
    }
    let what = match (signal, duty) {
        (Signal::HoldOver, _) => "the hold ended before it was taken over",
        (_, Duty::Keep) => "not taken over in time",
        _ if app.is_there => "not taken over in time",
        (_, _) => "not taken on in time",
    };
    if let Some((times, StepError { why, owner })) = app.refused() {
        let why = format!("{what}; it failed {times} times, the last time: {why}");
        let owner = *owner;
        app.failed = Some(StepError { why, owner });
        return;
    }
    let last = match &app.last {
        Some(AppState::ManagedButUninstalled) => "; it was removed from the device".to_owned(),
        last => match last.as_ref().and_then(word) {
            Some(word) => format!("; the device last said {word}"),
            None => String::new(),
        },
    };
    let owner = match &app.last {
        Some(AppState::NeedsPerson(word))
            if word.contains("Login") || word.contains("Redemption") =>
        {
            Owner::Licence
        }
        Some(AppState::NeedsPerson(_) | AppState::ManagedButUninstalled) => Owner::User,
        _ => Owner::Device,
    };
    app.failed = Some(StepError {
        why: format!("{what}{last}"),
        owner,
    });
}

/// Every app is settled.
pub(super) fn over(way: AppsWay, ctx: &StepContext<'_>, now: Timestamp, duty: Duty) -> Progress {
    let failed: Vec<(&String, &StepError)> = way
        .apps
        .iter()
        .filter_map(|(id, a)| a.failed.as_ref().map(|f| (id, f)))
        .collect();
    let all = way.apps.len();
    let next = match failed.first() {
        None if duty == Duty::Ask => {
            Next::Done(format!("the Mac has accepted {}", counted(all, "app")))
        }
        None => Next::Done(format!("{all} of {all} apps, read back from the device")),
        Some((_, first)) => Next::Except(
            format!("{} of {all} apps failed", failed.len()),
            first.owner,
        ),
    };
    let exceptions = failed
        .iter()
        .map(|(id, f)| ctx.exception(Some(id), f.why.clone(), f.owner, now))
        .collect();
    Progress {
        exceptions,
        next,
        own: Some(Own::Apps(way)),
        ..Progress::default()
    }
}
