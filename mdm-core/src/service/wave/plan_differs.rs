//! What of a plan is otherwise where it is there already. Bringing it in changes none of that: people are told, and change it where
//! they mean to.

use std::collections::BTreeMap;

use super::plan_file::{PlanFile, PlannedMember, PlannedProject, PlannedWave};
use crate::counted::counted;
use crate::ids::Serial;
use crate::migration::PinnedRunbook;

/// What the plan says otherwise than the project and the open waves that are there, in sentences.
pub(super) fn differences(
    plan: &PlanFile,
    project: &PlannedProject,
    waves: &[PlannedWave],
) -> Vec<String> {
    let said = Said {
        // What was taken out has every part. Of what people wrote a part that is left out says nothing.
        all: plan.exported.is_some(),
    };
    let mut found = of_project(said, &plan.project, project);
    for planned in &plan.waves {
        let name = planned.name.trim();
        if let Some(there) = waves.iter().find(|wave| wave.name == name) {
            found.extend(of_wave(said, planned, there));
        }
    }
    found
}

/// What a plan means by a part that is as if it had been left out.
#[derive(Clone, Copy, Debug)]
struct Said {
    all: bool,
}

impl Said {
    fn otherwise<T: Default + PartialEq>(self, plan: &T, there: &T) -> bool {
        plan != there && (self.all || *plan != T::default())
    }
}

fn of_project(said: Said, plan: &PlannedProject, there: &PlannedProject) -> Vec<String> {
    let runbooks = plan.runbooks.iter().any(|(platform, runbook)| {
        let there = there.runbooks.get(platform);
        there.is_none_or(|there| !same_runbook(runbook, there))
    });
    let parts = [
        (
            "services that are left",
            said.otherwise(&plan.originals, &there.originals),
        ),
        ("window", said.otherwise(&plan.window, &there.window)),
        ("calendar", said.otherwise(&plan.calendar, &there.calendar)),
        ("capacity", said.otherwise(&plan.capacity, &there.capacity)),
        ("limits of the gap", said.otherwise(&plan.gap, &there.gap)),
        ("gate", said.otherwise(&plan.gate, &there.gate)),
        ("stop rule", said.otherwise(&plan.stop, &there.stop)),
        (
            "prerequisites",
            said.otherwise(&plan.prerequisites, &there.prerequisites),
        ),
        ("runbooks", runbooks),
    ];
    let name = &there.name;
    let others = parts.into_iter().filter(|(_, other)| *other);
    others
        .map(|(part, _)| format!("project {name}: otherwise in the plan: {part}"))
        .collect()
}

/// But for which edit it is, which counts for itself wherever it is, and for profiles, which no plan has.
pub(super) fn same_runbook(plan: &PinnedRunbook, there: &PinnedRunbook) -> bool {
    let mut plan = plan.clone();
    plan.revision = there.revision;
    plan.profiles.clone_from(&there.profiles);
    plan == *there
}

fn of_wave(said: Said, plan: &PlannedWave, there: &PlannedWave) -> Vec<String> {
    let members: BTreeMap<&Serial, &PlannedMember> =
        there.members.iter().map(|m| (&m.serial, m)).collect();
    let both = || {
        let members = &members;
        let of_plan = plan.members.iter();
        of_plan.filter_map(move |planned| Some((planned, *members.get(&planned.serial)?)))
    };
    let dates = both().filter(|(plan, there)| {
        let deadline = plan.deadline.is_some() && plan.deadline != there.deadline;
        let from = plan.available_from.is_some() && plan.available_from != there.available_from;
        deadline || from
    });
    let done = both().filter(|(plan, there)| {
        let mut names = plan.met.keys();
        names.any(|name| !there.met.contains_key(name))
    });
    let (dates, done) = (dates.count(), done.count());
    let parts = [
        (
            said.otherwise(&plan.preset, &there.preset),
            "another place in the order".to_owned(),
        ),
        (
            said.otherwise(&plan.ade, &there.ade),
            "another ADE profile".to_owned(),
        ),
        (
            said.otherwise(&plan.owner_texts, &there.owner_texts),
            "other texts for owners".to_owned(),
        ),
        (
            dates > 0,
            format!("other dates for {}", counted(dates, "member")),
        ),
        (
            done > 0,
            format!(
                "more that was done at the original service for {}",
                counted(done, "member")
            ),
        ),
    ];
    let name = &there.name;
    let others = parts.into_iter().filter(|(other, _)| *other);
    others
        .map(|(_, part)| format!("wave {name}: the plan has {part}"))
        .collect()
}
