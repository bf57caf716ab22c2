//! What the project says: when deadlines may lie, which services devices may leave, what must be done there first; and for the
//! whole wave the switch, the gate of the wave before it, and how many devices would be in a hold at once.

use super::{Check, CheckFinding, CheckResult, FactSource, MemberFacts, ServerFacts};
use crate::calendar::{Calendar, Zone};
use crate::clock::Timestamp;
use crate::counted::counted;
use crate::gap::GapGroup;
use crate::migration::{Met, Owner};
use crate::project::{Project, Window};
use crate::shell;

/// What a project says of one member.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Terms<'a> {
    /// When deadlines may lie at all.
    pub window: Window,
    /// When they may lie within a day and a week.
    pub calendar: &'a Calendar,
    /// Where the owner lives, where that is known.
    pub zone: Option<&'a Zone>,
    /// The services that may be left, by their identifiers at Apple; any when empty.
    pub originals: &'a std::collections::BTreeSet<String>,
    /// Prerequisites that are not met for this member.
    pub unmet: &'a [String],
    /// Those that are met for it, with whose word it is.
    pub met: &'a std::collections::BTreeMap<String, Met>,
    /// How many there are.
    pub prerequisites: usize,
}

impl<'a> Terms<'a> {
    /// Those of a project for one member.
    pub(crate) fn of(
        project: &'a Project,
        zone: Option<&'a Zone>,
        unmet: &'a [String],
        met: &'a std::collections::BTreeMap<String, Met>,
    ) -> Self {
        Self {
            window: project.window,
            calendar: &project.calendar,
            zone,
            originals: &project.originals,
            unmet,
            met,
            prerequisites: project.prerequisites.len(),
        }
    }
}

/// What is known of the project of a wave.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ProjectFacts {
    /// Its name.
    pub name: String,
    /// Somebody has turned it on.
    pub on: bool,
    /// What keeps this wave back, of the wave before it: none where there is no such wave, or its gate is open.
    pub gate: Vec<String>,
    /// The most devices in a hold at once, with all other waves, and when.
    pub at_once: Option<(u32, Timestamp)>,
    /// How many there may be.
    pub capacity: u32,
}

/// Of each group of the members that has a limit: the most devices in the gap at once, whatever sends them, when, and how many may be.
pub type InGap = Vec<(GapGroup, u32, Timestamp, u32)>;

pub(super) fn look(facts: &MemberFacts<'_>, found: &mut Vec<CheckFinding>) {
    let Some(terms) = facts.project else {
        return;
    };
    let (deadline, window) = (facts.deadline, terms.window);
    let word = |at: Option<Timestamp>| at.map_or("any time".to_owned(), |at| at.to_string());
    let bounds = format!(
        "from {} to {}",
        word(window.not_before),
        word(window.not_after)
    );
    let from_operator = |finding: CheckFinding| finding.from(FactSource::Operator, None);
    found.push(from_operator(if let Some(first) = early(window, facts) {
        CheckFinding::block(
            Check::Window,
            format!(
                "it would be offered from {}, before the project's window begins: {first}",
                facts.available_from
            ),
            "have it offered later, or change the window",
            Owner::Destination,
        )
    } else if window.contains(deadline) && !terms.calendar.works(deadline, terms.zone) {
        CheckFinding::warn(
            Check::Window,
            format!("its deadline {deadline} lies outside of the hours in which people work"),
            "plan the wave anew: `mdmd wave plan`",
            Owner::Destination,
        )
    } else if window.contains(deadline) {
        CheckFinding::pass(Check::Window, bounds)
    } else {
        CheckFinding::block(
            Check::Window,
            format!("its deadline {deadline} lies outside of the project's window: {bounds}"),
            "plan the wave anew, or change the window",
            Owner::Destination,
        )
    }));
    found.push(from_operator(
        match terms.calendar.blackout(deadline, terms.zone) {
            None => CheckFinding::pass(Check::Blackout, "in no time that is kept free"),
            Some(blackout) => CheckFinding::block(
                Check::Blackout,
                format!(
                    "its deadline {deadline} lies in a time that is kept free, {} to {}: {}",
                    blackout.first, blackout.last, blackout.why
                ),
                "plan the wave anew",
                Owner::Destination,
            ),
        },
    ));
    if terms.prerequisites == 0 {
        let none = "the project names nothing that must be done at the original service";
        found.push(from_operator(CheckFinding::pass(
            Check::Prerequisites,
            none,
        )));
    } else {
        let said: Vec<String> = terms.met.iter().map(met_line).collect();
        let finding = if terms.unmet.is_empty() {
            let fact = format!("all {} are met: {}", terms.prerequisites, said.join("; "));
            CheckFinding::pass(Check::Prerequisites, fact)
        } else {
            let unmet = format!("not met: {}", terms.unmet.join(", "));
            let fact = match said.is_empty() {
                true => unmet.clone(),
                false => format!("met: {}; {unmet}", said.join("; ")),
            };
            CheckFinding::block(
                Check::Prerequisites,
                fact,
                "have it done at the original service, and say so: `mdmd wave met`",
                Owner::Original,
            )
            .binding(unmet)
        };
        // As old as the oldest word that it rests on.
        let at = terms.met.values().map(|met| met.at).min();
        found.push(finding.from(FactSource::Operator, at));
    }
}

/// When a window begins that has not begun where it would be offered.
fn early(window: Window, facts: &MemberFacts<'_>) -> Option<Timestamp> {
    let first = window.not_before;
    first.filter(|first| facts.available_from < *first)
}

/// What an open project says of all that goes past it together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'a> {
    /// Waves of it whose gates are not open, by their names.
    pub(crate) gates: &'a [String],
    /// The most devices in a hold at once, with all waves, and when.
    pub(crate) at_once: Option<(u32, Timestamp)>,
}

/// What an open project says against a device that goes with a list which is part of none, and leaves a service that the project is to
/// leave: what it would say of a member of its waves, or of a wave that says nothing of what it is for. While it is off, nobody is kept
/// back by it.
pub(crate) fn look_past(
    project: &Project,
    past: Past<'_>,
    facts: &MemberFacts<'_>,
) -> Vec<CheckFinding> {
    let mut found = Vec::new();
    look(facts, &mut found);
    if !past.gates.is_empty() {
        // Not what is against each gate: that counts devices, and the fact is to stay the same until it is accepted.
        let fact = format!("not open is the gate of {}", past.gates.join(", "));
        found.push(gate(fact).from(FactSource::Operator, None));
    }
    if let Some((most, at)) = past.at_once.filter(|(most, _)| *most > project.capacity) {
        // Neither how many nor when: what others do changes both, and the fact is to stay the same until it is accepted.
        let fact = format!(
            "more than {} would be in a hold at once",
            counted(project.capacity, "device")
        );
        let fix = format!("at most {most}, around {at}");
        let finding = CheckFinding::block(Check::Capacity, fact, &fix, Owner::Destination);
        // As it was said of one device, too: an acceptance of before holds.
        let bound = format!(
            "more than {} devices would be in a hold at once",
            project.capacity
        );
        found.push(finding.from(FactSource::Operator, None).binding(bound));
    }
    found.retain(|finding| finding.result != CheckResult::Pass);
    let early = early(project.window, facts);
    for finding in &mut found {
        let name = &project.name;
        let fact = match early.filter(|_| finding.check == Check::Window) {
            // Not when: what goes with a list may be offered at once, and the fact is to stay the same until it is accepted.
            Some(first) => {
                format!("it would be offered before the project's window begins: {first}")
            }
            None => finding.fact.clone(),
        };
        finding.fact = format!("past the project {name}: {fact}");
        finding.fix = match finding.check {
            // A wave that it could go with is kept back as well.
            Check::Gate => finding.fix.clone(),
            Check::Capacity => format!(
                "give fewer devices this deadline, let them go with a wave of {name}, or raise its capacity: {}",
                finding.fix
            ),
            _ => format!("let it go with a wave of {name}, or change the project"),
        };
        if !project.on {
            finding.result = CheckResult::Warn;
        }
    }
    found
}

/// That a gate keeps devices back.
fn gate(fact: String) -> CheckFinding {
    CheckFinding::block(
        Check::Gate,
        fact,
        "wait, mend what failed, and sign: `mdmd wave gate`",
        Owner::Destination,
    )
}

/// Whether as many devices may be in a hold at once as would be.
fn capacity((most, at): (u32, Timestamp), may: u32) -> CheckFinding {
    let devices = counted(most, "device");
    let fact = format!("at most {devices} in a hold at once, around {at}; {may} may be");
    if most <= may {
        return CheckFinding::pass(Check::Capacity, fact);
    }
    CheckFinding::block(
        Check::Capacity,
        fact,
        "plan the wave over more deadlines, or raise the capacity",
        Owner::Destination,
    )
}

/// What several open projects say against a device that goes with a list, each with whether it is on. The device is one of one of them:
/// where one that is on has nothing against it, what the others have is a warning.
pub(crate) fn look_past_all(said: Vec<(bool, Vec<CheckFinding>)>) -> Vec<CheckFinding> {
    let blocks = |finding: &CheckFinding| finding.result == CheckResult::Block;
    let goes = said
        .iter()
        .any(|(on, found)| *on && !found.iter().any(blocks));
    let mut all: Vec<CheckFinding> = said.into_iter().flat_map(|(_, found)| found).collect();
    if goes {
        for finding in all.iter_mut().filter(|finding| blocks(finding)) {
            finding.result = CheckResult::Warn;
        }
    }
    all
}

/// That a prerequisite is met: by whose word, since when, and what shows it.
pub(crate) fn met_line((name, met): (&String, &Met)) -> String {
    format!("{name} ({}, {}: {})", met.by, met.at, met.evidence)
}

/// The groups of which more would be in the gap at once than may be: how many, and when.
pub(crate) fn over_limits(in_gap: &InGap) -> Vec<String> {
    let over = in_gap.iter().filter(|(_, most, _, limit)| most > limit);
    let said = over.map(|(group, most, at, limit)| {
        let devices = counted(*most, "device");
        format!("{devices} of the {group} around {at}, {limit} may be")
    });
    said.collect()
}

/// How many devices of a group would be in the gap at once, with those of all other waves and lists.
fn look_at_gap(in_gap: &InGap, found: &mut Vec<CheckFinding>) {
    let over = over_limits(in_gap);
    found.push(if over.is_empty() {
        let groups = counted(in_gap.len(), "group");
        let fact = format!("{groups} with limits, none has more on their way at once");
        CheckFinding::pass(Check::Gap, fact)
    } else {
        CheckFinding::block(
            Check::Gap,
            format!("between offer and end at once: {}", over.join("; ")),
            "plan the wave anew (`mdmd wave plan`), take fewer devices at a time, or raise the limit (`mdmd project set --gap`)",
            Owner::Destination,
        )
    });
}

/// What plans and projects say of all of them, as they are now.
pub(super) fn look_at_all(facts: &ServerFacts, found: &mut Vec<CheckFinding>, now: Timestamp) {
    let mut of_plans = Vec::new();
    of_all(facts, &mut of_plans);
    let of_plans = of_plans.into_iter();
    found.extend(of_plans.map(|finding| finding.from(FactSource::Operator, now)));
}

fn of_all(facts: &ServerFacts, found: &mut Vec<CheckFinding>) {
    match &facts.in_gap {
        Some(in_gap) => look_at_gap(in_gap, found),
        None => {
            let none =
                "no open project limits how many devices of a group may be on their way at once";
            found.push(CheckFinding::pass(Check::Gap, none));
        }
    }
    let Some(project) = &facts.project else {
        return;
    };
    found.push(if project.on {
        CheckFinding::pass(Check::Switch, format!("{} is on", project.name))
    } else {
        CheckFinding::block(
            Check::Switch,
            format!("{} is off: nothing is submitted", project.name),
            &format!(
                "turn it on: `mdmd project on {}`",
                shell::word(&project.name)
            ),
            Owner::Destination,
        )
    });
    found.push(if project.gate.is_empty() {
        CheckFinding::pass(Check::Gate, "nothing before it keeps it back")
    } else {
        gate(project.gate.join("; "))
    });
    if let Some(at_once) = project.at_once {
        found.push(capacity(at_once, project.capacity));
    }
}
