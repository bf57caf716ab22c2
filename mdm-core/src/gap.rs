//! Limits on how many devices of one group may be in the gap at once. They are said by projects and hold for the organisation: every
//! device of the group counts, and waits, whatever wave or list sends it, and the least limit holds. The gap begins when a device is offered its migration, for it
//! may begin at any moment from then on, and ends with its set-up. Whoever is offered a migration takes a place first.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::device::Device;
use crate::error::Error;
use crate::line::is_obeyed;

/// Limits of one project.
const MOST: usize = 200;
/// Bytes of the name of a group.
const LONGEST: usize = 512;

/// How many devices may be in the gap at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct GapLimits {
    /// Of each group of owners for which nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each_group: Option<u32>,
    /// Of a group of owners, by its name in the import.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, u32>,
    /// Of the devices with a tag.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, u32>,
}

impl GapLimits {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what can never be right.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the part.
    pub fn check(&self) -> Result<(), Error> {
        if self.groups.len() + self.tags.len() > MOST {
            return Err(Error::bad_input("gap", format!("has more than {MOST}")));
        }
        if self.each_group == Some(0) {
            return Err(Error::bad_input("gap.each_group", "must be at least 1"));
        }
        for (part, all) in [("gap.groups", &self.groups), ("gap.tags", &self.tags)] {
            for (name, most) in all {
                if name.trim().is_empty() || name.len() > LONGEST || name.chars().any(is_obeyed) {
                    let problem = format!(
                        "must be by names of 1 to {LONGEST} bytes without control characters and marks that change the direction of text"
                    );
                    return Err(Error::bad_input(part, problem));
                }
                if *most == 0 {
                    return Err(Error::bad_input(part, "must be at least 1"));
                }
            }
        }
        Ok(())
    }

    /// These and those of another project: of each group the least.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let least = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
        let names = |of: fn(&Self) -> &BTreeMap<String, u32>| {
            let all: BTreeSet<&String> = of(self).keys().chain(of(other).keys()).collect();
            all.into_iter()
        };
        let both = |group: GapGroup| least(self.most(&group), other.most(&group));
        let groups = names(|limits| &limits.groups)
            .filter_map(|name| Some((name.clone(), both(GapGroup::Group(name.clone()))?)));
        let tags = names(|limits| &limits.tags)
            .filter_map(|name| Some((name.clone(), both(GapGroup::Tag(name.clone()))?)));
        Self {
            each_group: least(self.each_group, other.each_group),
            groups: groups.collect(),
            tags: tags.collect(),
        }
    }

    /// How many devices of a group may be in the gap at once; none says that nobody counts them.
    #[must_use]
    pub fn most(&self, group: &GapGroup) -> Option<u32> {
        match group {
            GapGroup::Group(name) => self.groups.get(name).copied().or(self.each_group),
            GapGroup::Tag(name) => self.tags.get(name).copied(),
        }
    }

    /// Why a device of these groups must wait, if it must, for whoever of them is in the gap.
    #[must_use]
    pub fn against(
        &self,
        groups: &BTreeSet<GapGroup>,
        used: &BTreeMap<GapGroup, u32>,
    ) -> Option<String> {
        groups.iter().find_map(|group| {
            let most = self.most(group)?;
            let there = used.get(group).copied().unwrap_or_default();
            (there >= most).then(|| {
                let (devices, are) = (counted(there, "device"), agree(there, "is", "are"));
                let way = agree(there, "its", "their");
                format!("{devices} of the {group} {are} on {way} way, and {most} may be")
            })
        })
    }
}

/// What devices have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "two kinds")]
pub enum GapGroup {
    /// Their owners are of this group, as the newest import told.
    Group(String),
    /// They have this tag.
    Tag(String),
}

impl std::fmt::Display for GapGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group(name) => write!(f, "group {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
        }
    }
}

/// The groups of a device.
#[must_use]
pub fn groups_of(device: &Device) -> BTreeSet<GapGroup> {
    let groups = device.groups.iter().cloned().map(GapGroup::Group);
    let tags = device.tags.iter().cloned().map(GapGroup::Tag);
    groups.chain(tags).collect()
}

/// A place in the gap that an attempt has taken: it counts from before its profile is asked for at Apple until its set-up has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "since when, as what")]
pub struct GapPlace {
    /// Since when.
    pub since: Timestamp,
    /// The groups of the device as they were then.
    pub groups: BTreeSet<GapGroup>,
}

/// For how long a device is in the gap: from its offer until after its deadline.
pub type Stay = (Timestamp, Timestamp);

/// The most devices that are in the gap at once, and when.
#[must_use]
pub fn most_at_once(stays: &[Stay]) -> Option<(u32, Timestamp)> {
    let mut changes: Vec<(Timestamp, i64)> = stays
        .iter()
        .flat_map(|(from, until)| [(*from, 1), (*until, -1)])
        .collect();
    // Whoever goes makes room for who comes at the same moment.
    changes.sort_unstable();
    let (mut count, mut most) = (0, None);
    for (at, by) in changes {
        count += by;
        if most.is_none_or(|(most, _)| count > most) {
            most = Some((count, at));
        }
    }
    most.map(|(count, at)| (u32::try_from(count).unwrap_or(u32::MAX), at))
}

/// The first moment, not before `wish`, from which on until `until` fewer than `most` of these stay.
#[must_use]
pub fn free_from(
    stays: &[Stay],
    wish: Timestamp,
    until: Timestamp,
    most: u32,
) -> Option<Timestamp> {
    let mut changes: Vec<(Timestamp, i64)> = stays
        .iter()
        .filter(|(begin, end)| *begin < until && *end > wish)
        .flat_map(|(begin, end)| [((*begin).max(wish), 1), (*end, -1)])
        .collect();
    changes.sort_unstable();
    let (mut count, mut free) = (0, (most > 0).then_some(wish));
    for (at, by) in changes {
        count += by;
        let full = count >= i64::from(most);
        free = match free {
            _ if full => None,
            None if at < until => Some(at),
            other => other,
        };
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    #[test]
    fn a_place_is_free_once_enough_have_gone() {
        let stays = [(at(0), at(10)), (at(2), at(6)), (at(20), at(30))];
        let check = |wish, until, most, free: Option<i64>| {
            let found = free_from(&stays, at(wish), at(until), most);
            assert_eq!(found, free.map(at), "{wish} to {until}, {most}");
        };
        check(0, 15, 1, Some(10));
        check(0, 15, 2, Some(6));
        check(0, 15, 3, Some(0));
        check(11, 15, 1, Some(11));
        // Somebody comes before it would have gone.
        check(0, 25, 1, None);
        check(0, 25, 2, Some(6));
        // At the moment at which one goes the next one may come.
        check(10, 20, 1, Some(10));
        check(5, 6, 2, None);
        assert_eq!(most_at_once(&stays), Some((2, at(2))));
        assert_eq!(
            most_at_once(&[(at(0), at(1)), (at(1), at(2))]),
            Some((1, at(0)))
        );
        assert_eq!(most_at_once(&[]), None);
    }

    #[test]
    fn of_several_projects_the_least_holds() {
        let limits = |each: Option<u32>, sales: Option<u32>, till: Option<u32>| GapLimits {
            each_group: each,
            groups: sales.map(|n| ("Sales".to_owned(), n)).into_iter().collect(),
            tags: till.map(|n| ("till".to_owned(), n)).into_iter().collect(),
        };
        let (sales, other) = (GapGroup::Group("Sales".into()), GapGroup::Group("x".into()));
        let till = GapGroup::Tag("till".into());
        for (one, two, found) in [
            (
                limits(None, Some(5), None),
                limits(None, Some(2), None),
                [Some(2), None, None],
            ),
            // What one says of each group holds for a group of which the other says more.
            (
                limits(Some(3), None, None),
                limits(None, Some(9), Some(4)),
                [Some(3), Some(3), Some(4)],
            ),
            (
                limits(Some(3), Some(9), None),
                limits(Some(5), None, None),
                [Some(5), Some(3), None],
            ),
            (
                limits(None, None, Some(1)),
                GapLimits::default(),
                [None, None, Some(1)],
            ),
        ] {
            for both in [one.with(&two), two.with(&one)] {
                let most = [&sales, &other, &till].map(|group| both.most(group));
                assert_eq!(most, found, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn a_limit_of_its_own_comes_before_that_of_each_group() {
        let mut limits = GapLimits {
            each_group: Some(3),
            ..GapLimits::default()
        };
        limits.groups.insert("Sales".to_owned(), 1);
        limits.check().unwrap();
        let (sales, other) = (GapGroup::Group("Sales".into()), GapGroup::Group("x".into()));
        assert_eq!(
            (limits.most(&sales), limits.most(&other)),
            (Some(1), Some(3))
        );
        assert_eq!(limits.most(&GapGroup::Tag("Sales".into())), None);
        let all = BTreeSet::from([sales.clone(), other]);
        assert_eq!(limits.against(&all, &BTreeMap::new()), None);
        let said = limits.against(&all, &BTreeMap::from([(sales, 1)])).unwrap();
        assert_eq!(
            said,
            "1 device of the group Sales is on its way, and 1 may be"
        );
        for bad in ["", "a\nb", "Sales\u{202e}x", "Sales\u{2066}"] {
            let mut wrong = limits.clone();
            wrong.groups.insert(bad.to_owned(), 1);
            let said = wrong.check().unwrap_err().to_string();
            assert!(said.starts_with("gap.groups: "), "{bad:?}: {said}");
            let mut wrong = limits.clone();
            wrong.tags.insert(bad.to_owned(), 1);
            let said = wrong.check().unwrap_err().to_string();
            assert!(said.starts_with("gap.tags: "), "{bad:?}: {said}");
        }
    }
}
