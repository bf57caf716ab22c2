//! Members spread over deadlines, by capacity, zones, groups and what is kept free.

use serde_json::json;

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
    assert!(said.ends_with("or raise the capacity"), "{said}");
}

#[test]
fn what_is_kept_free_is_named_where_there_is_no_room() {
    let refused = |free: &[(&str, &str, &str)]| {
        let free = free
            .iter()
            .map(|(first, last, why)| json!({ "first": first, "last": last, "why": why }));
        let calendar = Calendar {
            blackouts: free.map(|f| serde_json::from_value(f).unwrap()).collect(),
            ..Calendar::default()
        };
        let (none, gaps) = (Taken::default(), Gaps::default());
        let now = at("2026-12-01T00:00:00Z");
        let full = spread(
            &members(401, None),
            &calendar,
            &how(10, None),
            &none,
            now,
            gaps,
        );
        full.unwrap_err().to_string()
    };
    // Some of it, and nothing of what is kept free at other times.
    let some = refused(&[
        ("2026-12-08", "2026-12-08", "audit"),
        ("2026-12-10T12:00", "2026-12-11T09:00", ""),
        ("2027-03-01", "2027-03-02", "fair"),
    ]);
    let named = "; kept free of that time: 2026-12-08 to 2026-12-08 (audit), 2026-12-10T12:00 to 2026-12-11T09:00: take more days";
    assert!(some.contains(named), "{some}");
    // All of it: neither days nor capacity would help.
    let all = refused(&[("2000-01-01", "2099-12-31", "never")]);
    for says in [
        "room for 0 of 401",
        "2000-01-01 to 2099-12-31 (never): no deadline may lie there",
        "change what the project keeps free",
    ] {
        assert!(all.contains(says), "{says}: {all}");
    }
    assert!(!all.contains("capacity"), "{all}");
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
