//! Installing profiles, as several steps do it: each is asked for, then the device's own list proves them. An
//! acknowledgement alone is no evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Next, Own, Progress, Signal, StepContext, StepState, failure};
use crate::clock::Timestamp;
use crate::migration::{Ask, Owner, PinnedRunbook, ProfileRole, Told};

/// The part that reads the list; installations are numbered from 0.
pub(super) const LIST: u16 = u16::MAX;
/// A list may lag behind an installation.
const LIST_AGAIN: Duration = Duration::from_secs(15);

/// A profile that a step wants to be there.
pub(super) struct Wanted {
    pub(super) identifier: String,
    pub(super) ask: Ask,
}

/// How far the profiles of one step are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct ProfilesWay {
    /// Refused for good, with the device's words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) refused: BTreeMap<String, String>,
}

/// The profiles of a role.
pub(super) fn of_role(plan: &PinnedRunbook, role: ProfileRole) -> Vec<Wanted> {
    plan.profiles
        .iter()
        .filter(|p| p.role == role)
        .map(|p| Wanted {
            identifier: p.identifier.clone(),
            ask: Ask::InstallProfile {
                identifier: p.identifier.clone(),
            },
        })
        .collect()
}

fn part_of(index: usize) -> u16 {
    // A table with more rows than parts is refused by the runbook's validation.
    u16::try_from(index).unwrap_or(LIST - 1)
}

pub(super) fn start(wanted: &[Wanted]) -> Progress {
    if wanted.is_empty() {
        return Progress::skip("the runbook has no profile for it");
    }
    Progress {
        own: Some(Own::Profiles(ProfilesWay::default())),
        asks: wanted
            .iter()
            .enumerate()
            .map(|(i, w)| (part_of(i), w.ask.clone()))
            .collect(),
        ..Progress::default()
    }
}

pub(super) fn on(
    wanted: &[Wanted],
    state: &StepState,
    signal: Signal<'_>,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    let mut way = match &state.own {
        Own::Profiles(way) => way.clone(),
        _ => ProfilesWay::default(),
    };
    match signal {
        Signal::Answer {
            part: LIST,
            ok: true,
            told: Told::Profiles(there),
        } => judge(wanted, &way, there, state, ctx, now),
        Signal::Answer { part: LIST, .. } => Progress {
            look_in: Some(LIST_AGAIN),
            ..Progress::default()
        },
        Signal::Answer { part, ok, told } => {
            let Some(one) = wanted.get(usize::from(part)) else {
                return Progress::wait();
            };
            let errors = state.asked.get(&part).map_or(0, |a| a.errors);
            if !ok && errors <= ctx.step.retries {
                return Progress::ask(part, one.ask.clone());
            }
            if !ok {
                way.refused.insert(one.identifier.clone(), failure(told));
            }
            let mut progress = list_when_answered(wanted, state, &way, ctx, now);
            progress.own = Some(Own::Profiles(way));
            progress
        }
        Signal::Due if !state.is_open(LIST) => Progress::ask(LIST, Ask::Profiles),
        // Out of turn, or for other steps.
        _ => Progress::wait(),
    }
}

/// Reads the list once every installation has its answer.
fn list_when_answered(
    wanted: &[Wanted],
    state: &StepState,
    way: &ProfilesWay,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    if (0..wanted.len()).any(|i| state.is_open(part_of(i))) || state.is_open(LIST) {
        return Progress::wait();
    }
    if way.refused.len() == wanted.len() {
        return refused(way, ctx, now);
    }
    Progress::ask(LIST, Ask::Profiles)
}

fn judge(
    wanted: &[Wanted],
    way: &ProfilesWay,
    there: &[String],
    state: &StepState,
    ctx: &StepContext<'_>,
    now: Timestamp,
) -> Progress {
    let missing: Vec<usize> = wanted
        .iter()
        .enumerate()
        .filter(|(_, w)| !way.refused.contains_key(&w.identifier))
        .filter(|(_, w)| !there.contains(&w.identifier))
        .map(|(i, _)| i)
        .collect();
    if missing.is_empty() {
        return if way.refused.is_empty() {
            Progress::done(format!(
                "the device lists {} of {}",
                wanted.len(),
                wanted.len()
            ))
        } else {
            refused(way, ctx, now)
        };
    }
    let lists = state.asked.get(&LIST).map_or(0, |a| a.attempt);
    if lists.is_multiple_of(3) && lists / 3 <= ctx.step.retries {
        // Acknowledged and still not listed after three readings: installed again.
        return Progress {
            asks: missing
                .into_iter()
                .filter(|i| !state.is_open(part_of(*i)))
                .map(|i| (part_of(i), wanted[i].ask.clone()))
                .collect(),
            ..Progress::default()
        };
    }
    Progress {
        look_in: Some(LIST_AGAIN * u32::from(lists.clamp(1, 40))),
        ..Progress::default()
    }
}

fn refused(way: &ProfilesWay, ctx: &StepContext<'_>, now: Timestamp) -> Progress {
    Progress {
        exceptions: way
            .refused
            .iter()
            .map(|(identifier, why)| {
                ctx.exception(
                    Some(identifier),
                    format!("the device refuses the profile: {why}"),
                    Owner::Destination,
                    now,
                )
            })
            .collect(),
        next: Next::Except(
            format!("the device refuses {} of its profiles", way.refused.len()),
            Owner::Destination,
        ),
        ..Progress::default()
    }
}
