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
            let groups = match gaps.limits.is_empty() {
                true => "",
                false => " and no more of a group on their way than its limit says",
            };
            return Err(Error::bad_input(
                "last",
                format!(
                    "there is room for {} of {} devices in {zone} from {} to {}, with at most {} at once{groups}: take more days, or raise the capacity{}",
                    serials.len() - left.len(),
                    serials.len(),
                    how.first,
                    how.last,
                    how.capacity,
                    if groups.is_empty() {
                        ""
                    } else {
                        " or the limits"
                    }
                ),
            ));
        }
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::HOLD;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn members(count: usize, zone: Option<&str>) -> Vec<(Serial, Option<Zone>)> {
        let zone = zone.map(|name| Zone::parse(name).unwrap());
        let name = zone
            .as_ref()
            .map_or("X", |z| &z.as_str()[..2])
            .to_uppercase();
        let serial = |n| Serial::parse(&format!("{name}{n:04}")).unwrap();
        (0..count).map(|n| (serial(n), zone.clone())).collect()
    }

    fn how(capacity: u32, buckets: Option<u32>) -> Spread {
        Spread {
            // Monday to Friday.
            first: at("2026-12-07T00:00:00Z"),
            last: at("2026-12-11T23:00:00Z"),
            capacity,
            buckets,
            lead: Duration::from_hours(72),
            notice: Duration::from_hours(24),
            hold: HOLD,
        }
    }

    fn counts(placed: &[Placed]) -> BTreeMap<Timestamp, u32> {
        let mut all = BTreeMap::new();
        for one in placed {
            *all.entry(one.deadline).or_default() += 1;
        }
        all
    }

    fn held(used: &BTreeMap<Timestamp, u32>, hold: Duration) -> Taken {
        let mut taken = Taken::default();
        for (at, count) in used {
            taken.add(*at, hold, *count);
        }
        taken
    }

    #[test]
    fn each_hold_counts_for_as_long_as_its_own_runbook_gives_it() {
        let hour = |n| at("2026-12-07T08:00:00Z") + Duration::from_hours(n);
        let long = Duration::from_hours(4);
        let mut taken = Taken::default();
        for n in 1..4 {
            taken.add(hour(n), HOLD, 50);
        }
        let own = BTreeSet::from([1, 2, 3].map(|n| (hour(n), HOLD)));
        assert_eq!(taken.most_at_once(&own), Some((50, hour(1))));
        // One of another month that may be held for long is nobody else's.
        taken.add(hour(0) + Duration::from_hours(24 * 30), long, 1);
        assert_eq!(taken.most_at_once(&own), Some((50, hour(1))));
        assert_eq!(taken.at_once(hour(2), HOLD), 50);
        assert_eq!(taken.at_once(hour(2), long), 100);
        // One of that morning is beside each of them, and no two of them are beside each other.
        taken.add(hour(0), long, 1);
        assert_eq!(taken.most_at_once(&own), Some((51, hour(0))));
        assert_eq!(taken.at_once(hour(3), HOLD), 51);
        // What begins when the others are over is beside nobody.
        let last = BTreeSet::from([(hour(5), HOLD)]);
        taken.add(hour(5), HOLD, 2);
        assert_eq!(taken.most_at_once(&last), Some((2, hour(5))));
        taken.leave_out(hour(0), long);
        assert_eq!(taken.most_at_once(&own), Some((50, hour(1))));
        taken.forget_before(hour(5));
        assert_eq!(taken.most_at_once(&own), None);
    }

    #[test]
    fn as_many_deadlines_as_it_takes_and_never_more_at_once_than_there_may_be() {
        let calendar = Calendar::default();
        let now = at("2026-12-01T00:00:00Z");
        let none = Taken::default();
        let placed = spread(
            &members(25, None),
            &calendar,
            &how(10, None),
            &none,
            now,
            Gaps::default(),
        )
        .unwrap();
        let counts = counts(&placed);
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(placed[0].deadline, at("2026-12-07T09:00:00Z"));
        assert_eq!(placed[0].available_from, at("2026-12-04T09:00:00Z"));
        // Eight slots a day, five days.
        let full = spread(
            &members(401, None),
            &calendar,
            &how(10, None),
            &none,
            now,
            Gaps::default(),
        );
        let said = full.unwrap_err().to_string();
        assert!(said.contains("room for 400 of 401"), "{said}");
    }

    #[test]
    fn a_hold_that_may_take_four_hours_keeps_its_place_for_so_long() {
        let placed = spread(
            &members(25, None),
            &Calendar::default(),
            &Spread {
                hold: Duration::from_hours(4),
                ..how(10, None)
            },
            &Taken::default(),
            at("2026-12-01T00:00:00Z"),
            Gaps::default(),
        )
        .unwrap();
        let used = counts(&placed);
        let deadlines: Vec<Timestamp> = used.keys().copied().collect();
        // Five hours apart, and the third of them on the next morning.
        assert_eq!(
            deadlines,
            [
                "2026-12-07T09:00:00Z",
                "2026-12-07T14:00:00Z",
                "2026-12-08T09:00:00Z"
            ]
            .map(at)
        );
        let most = |hold| {
            let own = used.keys().map(|at| (*at, hold)).collect();
            let most = held(&used, hold).most_at_once(&own);
            most.map(|(most, _)| most)
        };
        assert_eq!(most(Duration::from_hours(4)), Some(10));
        // So long as that they would meet.
        assert_eq!(most(Duration::from_hours(5)), Some(20));
    }

    #[test]
    fn a_number_of_deadlines_is_kept_and_they_lie_apart() {
        let placed = spread(
            &members(50, None),
            &Calendar::default(),
            &how(100, Some(4)),
            &Taken::default(),
            at("2026-12-06T00:00:00Z"),
            Gaps::default(),
        )
        .unwrap();
        let counts = counts(&placed);
        assert_eq!(
            counts.values().copied().collect::<Vec<_>>(),
            [13, 13, 12, 12]
        );
        assert_eq!(counts.keys().next(), Some(&at("2026-12-07T09:00:00Z")));
        assert_eq!(counts.keys().last(), Some(&at("2026-12-11T16:00:00Z")));
        // No offer before the beginning of all.
        assert_eq!(placed[0].available_from, at("2026-12-06T00:00:00Z"));
    }

    #[test]
    fn owners_elsewhere_have_their_own_hours_and_share_the_capacity() {
        let mut all = members(10, Some("Europe/London"));
        all.extend(members(10, Some("Europe/Berlin")));
        let others = BTreeMap::from([(at("2026-12-07T08:20:00Z"), 4)]);
        let taken = held(&others, HOLD);
        let placed = spread(
            &all,
            &Calendar::default(),
            &how(10, None),
            &taken,
            at("2026-12-01T00:00:00Z"),
            Gaps::default(),
        )
        .unwrap();
        let of = |zone: &str| -> Vec<(Timestamp, u32)> {
            let own: Vec<Placed> = placed
                .iter()
                .filter(|p| p.serial.as_str().starts_with(zone))
                .cloned()
                .collect();
            assert!(!own.is_empty());
            counts(&own).into_iter().collect()
        };
        let _ = of("EU");
        let mut used = taken.clone();
        for (at, count) in counts(&placed) {
            used.add(at, HOLD, count);
        }
        let own: BTreeSet<_> = counts(&placed).into_keys().map(|at| (at, HOLD)).collect();
        // Six at eight o'clock in Greenwich beside the four that are there, four and six more at nine, and what is left at ten.
        let times: Vec<(Timestamp, u32)> = counts(&placed).into_iter().collect();
        assert_eq!(
            times,
            [
                (at("2026-12-07T08:00:00Z"), 6),
                (at("2026-12-07T09:00:00Z"), 6),
                (at("2026-12-07T10:00:00Z"), 8),
            ]
        );
        assert_eq!(
            used.most_at_once(&own),
            Some((10, at("2026-12-07T08:00:00Z")))
        );
    }

    #[test]
    fn no_more_of_a_group_are_in_the_gap_than_may_be_and_who_waits_is_asked_later() {
        let all = members(7, None);
        let group = GapGroup::Tag("till".to_owned());
        let mut gaps = Gaps::default();
        gaps.limits.tags.insert("till".to_owned(), 2);
        // Five of seven are tills, and a till of another wave is on its way until Monday evening.
        for (serial, _) in &all[..5] {
            gaps.groups.insert(serial.clone(), [group.clone()].into());
        }
        let other = (at("2026-12-01T00:00:00Z"), at("2026-12-07T18:00:00Z"));
        gaps.stays.insert(group.clone(), vec![other]);
        let how = Spread {
            last: at("2026-12-18T23:00:00Z"),
            ..how(10, None)
        };
        let (none, now) = (Taken::default(), at("2026-12-01T00:00:00Z"));
        let spread = |gaps: Gaps| spread(&all, &Calendar::default(), &how, &none, now, gaps);
        let placed = spread(gaps.clone()).unwrap();
        assert_eq!(placed.len(), 7);
        let stays: Vec<Stay> = placed
            .iter()
            .filter(|p| gaps.groups.contains_key(&p.serial))
            .map(|p| (p.available_from, p.deadline + HOLD))
            .chain([other])
            .collect();
        assert_eq!(stays.len(), 6);
        let (most, _) = crate::gap::most_at_once(&stays).unwrap();
        assert_eq!(most, 2, "{placed:#?}");
        for one in &placed {
            assert!(one.available_from + how.notice <= one.deadline, "{one:?}");
        }
        // The others go at once.
        let first = at("2026-12-07T09:00:00Z");
        let at_first = placed.iter().filter(|p| p.deadline == first).count();
        assert_eq!(at_first, 3, "{placed:#?}");
        // In one week there is no room for all of them.
        gaps.limits.tags.insert("till".to_owned(), 1);
        let how = Spread {
            last: at("2026-12-09T23:00:00Z"),
            ..how
        };
        let cramped = super::spread(&all, &Calendar::default(), &how, &none, now, gaps);
        let said = cramped.unwrap_err().to_string();
        assert!(said.contains("than its limit says"), "{said}");
    }
}
