//! Deadlines that should lie later: proposals only, each with its reason. Never moves one earlier, and asks nothing of Apple.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Taken;
use crate::calendar::{Calendar, Zone};
use crate::clock::Timestamp;
use crate::ids::Serial;
use crate::project::Window;

/// Between a proposal and the extension that takes it.
const ROOM: Duration = Duration::from_secs(3600);

/// Why a deadline should lie later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LaterBecause {
    /// It was not offered yet, and its owner would have less than the notice that is owed.
    NotOffered,
    /// It lies outside of the project's window, as that is now.
    Window,
    /// It lies in what is kept free, as the calendar is now.
    KeptFree,
    /// It lies outside of the hours in which people work, as the calendar is now.
    Hours,
    /// More devices would be in a hold at once than may be.
    Capacity,
}

/// Devices whose deadline should be this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LaterDeadline {
    /// The later deadline; `None` where the window, or Apple's 90 days, leave no room.
    pub deadline: Option<Timestamp>,
    /// Why.
    pub why: LaterBecause,
    /// Which devices.
    pub serials: Vec<Serial>,
}

/// A member whose migration has not begun.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) serial: Serial,
    pub(crate) zone: Option<Zone>,
    pub(crate) deadline: Timestamp,
    /// It was offered its migration.
    pub(crate) offered: bool,
    /// For how long its hold counts.
    pub(crate) hold: Duration,
}

/// What the project says now.
#[derive(Debug)]
pub(crate) struct Bounds<'a> {
    pub(crate) window: Window,
    pub(crate) calendar: &'a Calendar,
    pub(crate) capacity: u32,
    /// How long an owner is to have between the offer and the deadline, at the least.
    pub(crate) notice: Duration,
    /// No deadline is later: Apple's limit.
    pub(crate) latest: Timestamp,
}

/// Which deadlines should lie later, and where. `used` has the deadlines of the devices of all waves.
pub(crate) fn later(
    mut waiting: Vec<Waiting>,
    bounds: &Bounds<'_>,
    mut used: Taken,
    now: Timestamp,
) -> Vec<LaterDeadline> {
    // Who comes first keeps their place; the same question has the same answer.
    waiting.sort_by(|a, b| (a.deadline, &a.serial).cmp(&(b.deadline, &b.serial)));
    let last = bounds
        .window
        .not_after
        .map_or(bounds.latest, |end| end.min(bounds.latest));
    let soonest = now + bounds.notice + ROOM;
    let first = bounds
        .window
        .not_before
        .map_or(soonest, |begin| begin.max(soonest));
    let mut slots: BTreeMap<Option<Zone>, Vec<Timestamp>> = BTreeMap::new();
    let mut found: BTreeMap<(Option<Timestamp>, LaterBecause), Vec<Serial>> = BTreeMap::new();
    for one in waiting.into_iter().rev() {
        let Some(why) = because(&one, bounds, &used, now) else {
            continue;
        };
        let slots = slots
            .entry(one.zone.clone())
            .or_insert_with_key(|zone| bounds.calendar.slots(zone.as_ref(), first, last));
        used.leave_out(one.deadline, one.hold);
        let after = slots.partition_point(|slot| *slot <= one.deadline);
        let free = slots[after..]
            .iter()
            .find(|slot| used.at_once(**slot, one.hold) < bounds.capacity)
            .copied();
        used.add(free.unwrap_or(one.deadline), one.hold, 1);
        found.entry((free, why)).or_default().push(one.serial);
    }
    let groups = found.into_iter().map(|((deadline, why), mut serials)| {
        serials.sort();
        LaterDeadline {
            deadline,
            why,
            serials,
        }
    });
    groups.collect()
}

fn because(
    one: &Waiting,
    bounds: &Bounds<'_>,
    used: &Taken,
    now: Timestamp,
) -> Option<LaterBecause> {
    let (at, zone) = (one.deadline, one.zone.as_ref());
    if !one.offered && at < now + bounds.notice {
        return Some(LaterBecause::NotOffered);
    }
    // One that has passed is enforced whenever its device is heard of: there is nothing to move.
    if at <= now {
        return None;
    }
    if !bounds.window.contains(at) {
        return Some(LaterBecause::Window);
    }
    if bounds.calendar.blackout(at, zone).is_some() {
        return Some(LaterBecause::KeptFree);
    }
    if !bounds.calendar.works(at, zone) {
        return Some(LaterBecause::Hours);
    }
    (used.at_once(at, one.hold) > bounds.capacity).then_some(LaterBecause::Capacity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{Blackout, Day};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn waiting(n: usize, deadline: &str, offered: bool) -> Waiting {
        Waiting {
            serial: Serial::parse(&format!("LATER{n:03}")).unwrap(),
            zone: None,
            deadline: at(deadline),
            offered,
            hold: crate::calendar::HOLD,
        }
    }

    /// Wednesday the 9th, in the morning; the 10th is kept free, two devices may be held at once.
    fn told(all: &[Waiting]) -> Vec<(Option<String>, LaterBecause, usize)> {
        let calendar = Calendar {
            blackouts: vec![Blackout {
                first: Day::parse("2026-12-10").unwrap().into(),
                last: Day::parse("2026-12-10").unwrap().into(),
                why: "audit".to_owned(),
            }],
            ..Calendar::default()
        };
        let window = Window {
            not_before: None,
            not_after: Some(at("2026-12-16T23:00:00Z")),
        };
        let bounds = Bounds {
            window,
            calendar: &calendar,
            capacity: 2,
            notice: Duration::from_secs(86_400),
            latest: at("2027-03-01T00:00:00Z"),
        };
        let mut used = Taken::default();
        for one in all {
            used.add(one.deadline, one.hold, 1);
        }
        let found = later(all.to_vec(), &bounds, used, at("2026-12-09T08:00:00Z"));
        for group in &found {
            for serial in &group.serials {
                let before = all.iter().find(|w| w.serial == *serial).unwrap().deadline;
                assert!(
                    group.deadline.is_none_or(|d| d > before),
                    "{serial} earlier"
                );
            }
        }
        let row = |g: LaterDeadline| (g.deadline.map(|d| d.to_string()), g.why, g.serials.len());
        found.into_iter().map(row).collect()
    }

    #[test]
    fn a_deadline_moves_for_a_reason_only_and_to_where_deadlines_may_lie() {
        use LaterBecause::{Capacity, Hours, KeptFree, NotOffered, Window};
        let check = |n: usize, deadline: &str, offered, want: &[(&str, LaterBecause, usize)]| {
            let all: Vec<Waiting> = (0..n).map(|n| waiting(n, deadline, offered)).collect();
            let want: Vec<_> = want
                .iter()
                .map(|(at, why, n)| ((!at.is_empty()).then(|| (*at).to_owned()), *why, *n))
                .collect();
            assert_eq!(told(&all), want, "{deadline}");
        };
        check(2, "2026-12-11T10:00:00.000Z", false, &[]);
        // A day that is kept free: the next one, and no more at once than may be.
        check(
            3,
            "2026-12-10T10:00:00Z",
            true,
            &[
                ("2026-12-11T09:00:00.000Z", KeptFree, 2),
                ("2026-12-11T10:00:00.000Z", KeptFree, 1),
            ],
        );
        check(
            1,
            "2026-12-11T22:00:00Z",
            true,
            &[("2026-12-14T09:00:00.000Z", Hours, 1)],
        );
        // Not offered, and due this afternoon: tomorrow is kept free.
        check(
            1,
            "2026-12-09T15:00:00Z",
            false,
            &[("2026-12-11T09:00:00.000Z", NotOffered, 1)],
        );
        // Offered long ago, and due this afternoon: that is what it was told.
        check(1, "2026-12-09T15:00:00Z", true, &[]);
        // Passed.
        check(1, "2026-12-08T15:00:00Z", true, &[]);
        check(
            3,
            "2026-12-11T10:00:00Z",
            true,
            &[("2026-12-11T11:00:00.000Z", Capacity, 1)],
        );
        // There is nothing later in the window.
        check(1, "2026-12-20T10:00:00Z", true, &[("", Window, 1)]);
    }
}
