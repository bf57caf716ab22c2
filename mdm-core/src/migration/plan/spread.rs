//! Spreads members over deadlines: each where its owner lives, never more at once than may be in a hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::calendar::{Calendar, Zone};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::gap::{GapGroup, GapLimits, Stay, free_from};
use crate::ids::Serial;

/// How members are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Spread {
    /// No deadline is earlier.
    pub first: Timestamp,
    /// No deadline is later.
    pub last: Timestamp,
    /// How many devices may be in a hold at once.
    pub capacity: u32,
    /// Over how many deadlines, where an owner lives; as many as it takes, from the first on, when left out.
    pub buckets: Option<u32>,
    /// How long before its deadline a device is offered its migration.
    pub lead: Duration,
    /// Whoever waits for others of a group is asked at least so long before its deadline.
    pub notice: Duration,
    /// For how long a hold of a member counts.
    pub hold: Duration,
}

/// How many devices have which deadline, each with the time for which its own hold counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    held: BTreeMap<(Timestamp, Duration), u32>,
    /// No hold is longer.
    longest: Duration,
}

impl Taken {
    /// Adds devices with one deadline, and a hold of so long after it.
    pub fn add(&mut self, deadline: Timestamp, hold: Duration, devices: u32) {
        let count = self.held.entry((deadline, hold)).or_default();
        *count = count.saturating_add(devices);
        self.longest = self.longest.max(hold);
    }

    /// Takes one away that was counted.
    pub(crate) fn leave_out(&mut self, deadline: Timestamp, hold: Duration) {
        if let Some(count) = self.held.get_mut(&(deadline, hold)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Those whose holds are over do not count.
    pub(crate) fn forget_before(&mut self, now: Timestamp) {
        self.held
            .retain(|(at, hold), count| *count > 0 && *at + *hold >= now);
    }

    /// The deadlines of those that would be in a hold at a moment, and how many have each.
    fn held_at(&self, moment: Timestamp) -> impl Iterator<Item = (Timestamp, u32)> {
        let near = (moment - self.longest, Duration::ZERO)..=(moment, Duration::MAX);
        self.held
            .range(near)
            .filter(move |((at, hold), count)| **count > 0 && *at + *hold >= moment)
            .map(|((at, _), count)| (*at, *count))
    }

    /// How many devices would be in a hold at once with one that has this deadline, whose hold takes so long.
    pub(super) fn at_once(&self, slot: Timestamp, hold: Duration) -> u32 {
        let after = (slot, Duration::ZERO)..=(slot + hold, Duration::MAX);
        let after = self.held.range(after).filter(|((at, _), _)| *at > slot);
        self.held_at(slot)
            .map(|(_, count)| count)
            .chain(after.map(|(_, count)| *count))
            .fold(0, u32::saturating_add)
    }

    /// The most devices that would be in a hold at once with one of these, which are deadlines with their holds, and when that
    /// begins.
    pub(crate) fn most_at_once(
        &self,
        own: &BTreeSet<(Timestamp, Duration)>,
    ) -> Option<(u32, Timestamp)> {
        let longest = own.iter().map(|(_, hold)| *hold).max()?;
        let of_own = |moment: Timestamp| {
            let near = (moment - longest, Duration::ZERO)..=(moment, Duration::MAX);
            own.range(near).any(|(at, hold)| *at + *hold >= moment)
        };
        let mut moments: Vec<Timestamp> = self.held.keys().map(|(at, _)| *at).collect();
        moments.dedup();
        // The fullest time begins with some hold.
        moments
            .into_iter()
            .filter(|moment| of_own(*moment))
            .filter_map(|moment| {
                let (first, _) = self.held_at(moment).next()?;
                let counts = self.held_at(moment).map(|(_, count)| count);
                Some((counts.fold(0, u32::saturating_add), first))
            })
            .max_by_key(|(count, at)| (*count, std::cmp::Reverse(*at)))
    }
}

/// When a member's migration is offered, and when Apple enforces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a row of a plan")]
pub struct Placed {
    /// Which device.
    pub serial: Serial,
    /// *Enforced after*.
    pub deadline: Timestamp,
    /// *Available from*.
    pub available_from: Timestamp,
}

/// Who may be in the gap with whom: limits, the groups of members, and for how long others are there.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Gaps {
    /// The limits.
    pub limits: GapLimits,
    /// The groups of members.
    pub groups: BTreeMap<Serial, BTreeSet<GapGroup>>,
    /// For how long devices that are not spread here are in the gap.
    pub stays: BTreeMap<GapGroup, Vec<Stay>>,
}

impl Gaps {
    /// When a member with this deadline, and a hold of so long after it, can be offered its migration, not before `wish`; none where
    /// its groups leave no room, or less than `notice` before the deadline. Takes the room.
    fn take(
        &mut self,
        serial: &Serial,
        wish: Timestamp,
        deadline: Timestamp,
        (notice, hold): (Duration, Duration),
    ) -> Option<Timestamp> {
        let until = deadline + hold;
        let groups = self.groups.get(serial).into_iter().flatten();
        let limited: Vec<(GapGroup, u32)> = groups
            .filter_map(|group| Some((group.clone(), self.limits.most(group)?)))
            .collect();
        let mut from = wish;
        for (group, most) in &limited {
            let stays = self.stays.get(group).map_or(&[][..], Vec::as_slice);
            // Free of one group from then on, it is free of it later as well.
            from = free_from(stays, from, until, *most)?;
        }
        if from > wish && from + notice > deadline {
            return None;
        }
        for (group, _) in limited {
            self.stays.entry(group).or_default().push((from, until));
        }
        Some(from)
    }
}

/// Gives every member its dates. `taken` has the deadlines of the devices of other waves; `earliest` is before every
/// offer.
///
/// Members come in the order of their zones, and in the given order within a zone: who is asked the same gets the same.
///
/// # Errors
/// [`Error::BadInput`] when there is not enough room, with how much there is.
pub fn spread(
    members: &[(Serial, Option<Zone>)],
    calendar: &Calendar,
    how: &Spread,
    taken: &Taken,
    earliest: Timestamp,
    mut gaps: Gaps,
) -> Result<Vec<Placed>, Error> {
    let mut zones: BTreeMap<&Zone, Vec<&Serial>> = BTreeMap::new();
    for (serial, zone) in members {
        let zone = zone.as_ref().unwrap_or(&calendar.zone);
        zones.entry(zone).or_default().push(serial);
    }
    let mut used = taken.clone();
    let mut placed = Vec::with_capacity(members.len());
    for (zone, serials) in zones {
        let mut slots = calendar.slots(Some(zone), how.first, how.last);
        let no_time = slots.is_empty();
        let most = how.buckets.map_or(usize::MAX, |n| n as usize);
        let even = match most {
            0 => return Err(Error::bad_input("buckets", "must be at least 1")),
            // From the first slot to the last, as far from each other as they can be.
            1 => slots.drain(..).next_back().into_iter().collect(),
            n if n < slots.len() => (0..n)
                .map(|i| slots[i * (slots.len() - 1) / (n - 1)])
                .collect(),
            _ => slots,
        };
        let mut left = serials.clone();
        for (at, slot) in even.iter().enumerate() {
            let remaining = even.len() - at;
            let room = usize::try_from(how.capacity.saturating_sub(used.at_once(*slot, how.hold)))
                .unwrap_or(usize::MAX);
            // What did not fit into an earlier one is shared by those that follow.
            let fair = left.len().div_ceil(remaining);
            let wanted = if how.buckets.is_some() {
                fair
            } else {
                left.len()
            };
            let (most, wish) = (wanted.min(room), (*slot - how.lead).max(earliest));
            let mut later = Vec::new();
            let mut now = 0;
            // Who has the same groups as one for whom there is no room has none either.
            let mut full: BTreeSet<BTreeSet<GapGroup>> = BTreeSet::new();
            for serial in left {
                let groups = gaps.groups.get(serial);
                let alike = groups.is_some_and(|groups| full.contains(groups));
                let from = match now < most && !alike {
                    true => {
                        let times = (how.notice.min(how.lead), how.hold);
                        gaps.take(serial, wish, *slot, times)
                    }
                    false => None,
                };
                let Some(available_from) = from else {
                    if now < most && !alike {
                        full.extend(gaps.groups.get(serial).cloned());
                    }
                    later.push(serial);
                    continue;
                };
                now += 1;
                placed.push(Placed {
                    serial: serial.clone(),
                    deadline: *slot,
                    available_from,
                });
            }
            left = later;
            if now > 0 {
                used.add(*slot, how.hold, u32::try_from(now).unwrap_or(u32::MAX));
            }
        }
        if !left.is_empty() {
            let (groups, limits) = match gaps.limits.is_empty() {
                true => ("", ""),
                false => (
                    " and no more of a group on their way than its limit says",
                    " or the limits",
                ),
            };
            let way = match no_time {
                true => "no deadline may lie there: take other days, or change what the project keeps free, its days or its hours".to_owned(),
                false => format!("take more days, or raise the capacity{limits}"),
            };
            return Err(Error::bad_input(
                "last",
                format!(
                    "there is room for {} of {} devices in {zone} from {} to {}, with at most {} at once{groups}{}: {way}",
                    serials.len() - left.len(),
                    serials.len(),
                    how.first,
                    how.last,
                    how.capacity,
                    calendar.kept_free(zone, how.first, how.last),
                ),
            ));
        }
    }
    Ok(placed)
}

#[cfg(test)]
mod tests;
