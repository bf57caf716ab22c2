//! The room that a plan takes: how many of its devices would be in a hold, or in the gap, at once, when they are, and how many
//! requests they need at Apple.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::facts::{Plan, Within};
use crate::calendar::HOLD;
use crate::check::Check;
use crate::clock::Timestamp;
use crate::counted::counted;
use crate::error::Error;
use crate::gap::{GapGroup, GapLimits, Stay};
use crate::ids::{Serial, WaveId};
use crate::migration::Move;
use crate::migration::plan::Taken;
use crate::migration::what_if::{Asked, InGap, ProjectFacts, over_limits};
use crate::service::Org;
use crate::service::wave::hold_of;

/// Limits of all open projects, and for how long the devices of each group that has one are in the gap.
#[derive(Debug, Default)]
pub(super) struct GapPlan {
    limits: GapLimits,
    stays: BTreeMap<GapGroup, Vec<Stay>>,
}

impl GapPlan {
    /// Whether devices of a group are counted.
    pub(super) fn counts(&self, group: &GapGroup) -> bool {
        self.limits.most(group).is_some()
    }
}

/// The room of a plan in the gap, group by group of those that have limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GapRoom {
    limits: GapLimits,
    /// For how long all others are there, and its own members that are at Apple.
    others: BTreeMap<GapGroup, Vec<Stay>>,
    /// The same of its other members; none for one that is at Apple and among the others already.
    members: BTreeMap<GapGroup, BTreeMap<Serial, Option<Stay>>>,
}

impl GapRoom {
    /// How many devices of the groups of its members would be in the gap at once if these went; nothing without limits.
    pub(super) fn in_gap(&self, goes: impl Fn(&Serial) -> bool) -> Option<InGap> {
        if self.limits.is_empty() {
            return None;
        }
        let found = self.members.iter().filter_map(|(group, members)| {
            let limit = self.limits.most(group)?;
            let there = |(serial, stay): &(&Serial, &Option<Stay>)| stay.is_none() || goes(serial);
            let mut there = members.iter().filter(there).peekable();
            // What others of the group do is nothing against who has none of it on the way.
            there.peek()?;
            let mut stays = self.others.get(group).cloned().unwrap_or_default();
            stays.extend(there.filter_map(|(_, stay)| *stay));
            let (most, at) = crate::gap::most_at_once(&stays)?;
            Some((group.clone(), most, at, limit))
        });
        Some(found.collect())
    }

    /// What stands against it that all go but those that stay behind.
    pub(super) fn over(&self, staying: &BTreeMap<Serial, Vec<String>>) -> Option<String> {
        let in_gap = self.in_gap(|serial| !staying.contains_key(serial))?;
        let over = over_limits(&in_gap);
        (!over.is_empty()).then(|| {
            format!(
                "{}: with those that waivers let go, too many would be between offer and end at once: {}; waive fewer, or raise the limit \
                 (`mdmd project set --gap`)",
                Check::Gap,
                over.join("; ")
            )
        })
    }
}

/// The room of a wave in its project: who else is there, and when its members would be that are not at Apple yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// All others, and its own members that are at Apple.
    others: Taken,
    /// Deadlines of those members, with their holds.
    submitted: BTreeSet<(Timestamp, Duration)>,
    /// The same of its other members.
    members: BTreeMap<Serial, (Timestamp, Duration)>,
    capacity: u32,
}

impl Room {
    /// The most that would be in a hold at once if these members went, and when.
    fn at_once(&self, goes: impl Fn(&Serial) -> bool) -> Option<(u32, Timestamp)> {
        let (mut all, mut own) = (self.others.clone(), self.submitted.clone());
        for (_, held) in self.members.iter().filter(|(serial, _)| goes(serial)) {
            all.add(held.0, held.1, 1);
            own.insert(*held);
        }
        all.most_at_once(&own)
    }

    /// What stands against it that all go but those that stay behind: waivers let some go that were not counted.
    pub(super) fn over(&self, staying: &BTreeMap<Serial, Vec<String>>) -> Option<String> {
        let (most, at) = self.at_once(|serial| !staying.contains_key(serial))?;
        (most > self.capacity).then(|| {
            format!(
                "{}: with those that waivers let go, {} would be in a hold at once, around {at}; {} may be: waive fewer, or raise the \
                 capacity (`mdmd project set --capacity`)",
                Check::Capacity,
                counted(most, "device"),
                self.capacity
            )
        })
    }
}

impl Within {
    /// What it says of all members; `stays` names those against whom something stands: they take nobody's room.
    pub(super) fn facts(&self, room: &Room, stays: &BTreeSet<&Serial>) -> ProjectFacts {
        let mut facts = ProjectFacts::default();
        facts.name.clone_from(&self.project.name);
        facts.on = self.project.on && self.project.closed.is_none();
        facts.gate.clone_from(&self.gate);
        facts.at_once = room.at_once(|serial| !stays.contains(serial));
        facts.capacity = self.project.capacity;
        facts
    }
}

impl Plan {
    /// For how long the longest hold with one of these runbooks counts.
    pub(super) fn longest_hold(&self) -> Duration {
        let all = self.by_platform.values().chain(self.by_id.values());
        all.map(|whole| hold_of(&whole.runbook))
            .fold(HOLD, Duration::max)
    }

    /// The room of its members in their project; none without one.
    pub(super) fn room(&self) -> Option<Room> {
        let within = self.within.as_ref()?;
        let mut room = Room {
            others: within.deadlines.clone(),
            capacity: within.project.capacity,
            ..Room::default()
        };
        for (serial, planned) in &self.members {
            let held = (planned.deadline, planned.hold);
            match planned.asked {
                Asked::Now => {
                    room.submitted.insert(held);
                }
                Asked::Nothing | Asked::Before => {
                    room.members.insert(serial.clone(), held);
                }
            }
        }
        Some(room)
    }

    /// The first deadline and the last one.
    pub(super) fn deadlines(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let all = self.members.values().chain(&self.alike);
        let deadlines = || all.clone().map(|p| p.deadline);
        (
            deadlines().min().unwrap_or(now),
            deadlines().max().unwrap_or(now),
        )
    }

    /// The room of its members in the gap, who have these groups.
    pub(super) fn gap_room(&self, groups: BTreeMap<GapGroup, BTreeSet<Serial>>) -> GapRoom {
        let stay = |serial: &Serial| {
            let planned = self.planned(serial)?;
            let from = planned.available_from.min(planned.deadline);
            let goes = planned.asked != Asked::Now;
            goes.then(|| (from, planned.deadline + planned.hold))
        };
        let with_stays = |serials: BTreeSet<Serial>| -> BTreeMap<Serial, Option<Stay>> {
            let all = serials.into_iter().map(|serial| {
                let stay = stay(&serial);
                (serial, stay)
            });
            all.collect()
        };
        let members = groups.into_iter();
        GapRoom {
            limits: self.gap.limits.clone(),
            others: self.gap.stays.clone(),
            members: members
                .map(|(group, serials)| (group, with_stays(serials)))
                .collect(),
        }
    }

    /// How many requests the members take at Apple: one for each deadline and thousand devices.
    pub(super) fn requests(&self, members: usize) -> usize {
        let mut buckets: BTreeMap<Timestamp, usize> = BTreeMap::new();
        for planned in self.members.values() {
            *buckets.entry(planned.deadline).or_default() += 1;
        }
        if let Some(alike) = self.alike {
            buckets.insert(alike.deadline, members);
        }
        let most = crate::errand::MOST_DEVICES;
        buckets.values().map(|n| n.div_ceil(most)).sum()
    }
}

impl Org {
    /// Who stays behind in other waves takes no place; whether the members of this one go is what is looked at.
    pub(super) async fn gap_plan(&self, own: Option<WaveId>) -> Result<GapPlan, Error> {
        let limits = self.gap_limits().await?;
        let leave = |attempt: &Move| match Some(attempt.wave) == own {
            true => attempt.is_planned(),
            false => !attempt.takes_room(),
        };
        let stays = self.gap_stays(&limits, leave).await?;
        Ok(GapPlan { limits, stays })
    }
}
