//! How far the device list of the organisation API is read: services, which devices each has, and what the API says of each
//! device, page by page. What is kept is enough to go on after a crash without losing or repeating a page.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{InventoryId, JobId, OrganisationId};

/// Up to so many devices are read one by one in any case.
pub const FEW: usize = 5;
/// What was read so long ago is as good as now.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// Where the reading of an organisation's devices stands. One row for each organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Inventory {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key: the number of the organisation.
    pub id: InventoryId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The job that reads.
    pub job: JobId,
    /// Somebody needs a reading that began at this moment or later.
    pub wanted: Option<Timestamp>,
    /// The next reading keeps every device of the organisation, not only those that are known here.
    pub everything: bool,
    /// Where the present reading stands.
    pub phase: PullPhase,
    /// Pages of the present reading so far, or of the last one.
    pub pages: u32,
    /// Devices of the present reading so far, or of the last one.
    pub devices: u64,
    /// Pages of the last complete reading.
    #[serde(default)]
    pub whole: u32,
    /// When the last complete reading began: everything that it says is at least that young.
    pub complete: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Whether that one kept every device.
    pub kept_everything: bool,
    /// The organisation's device-management services as last read: Apple's identifier and name.
    pub services: Vec<(String, String)>,
    /// Those that are no management services like ours, by identifier: what they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other_kinds: BTreeMap<String, String>,
    /// Why a person is needed, in a sentence.
    pub needs_person: Option<String>,
    /// Whether the list that is being read goes on.
    #[serde(default)]
    pub lap: Lap,
}

/// Finds out that a list runs in a circle, with one remembered place only: its places are compared with the one that stood at
/// the last power of two, so that every circle is met after at most three times its length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "two counters and a place")]
pub struct Lap {
    /// Places so far.
    pub steps: u32,
    /// The one at the last power of two.
    pub mark: Option<String>,
    /// How often in a row it was met in a circle.
    #[serde(default)]
    pub circles: u32,
}

impl Lap {
    /// Notes the next place. Answers whether it is not one that was there before, as far as this can be known.
    #[must_use]
    pub fn goes_on(&mut self, next: &str) -> bool {
        if self.mark.as_deref() == Some(next) {
            return false;
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps.is_power_of_two() {
            self.mark = Some(next.to_owned());
        }
        true
    }
}

/// A phase of a reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the phases, in their order")]
pub enum PullPhase {
    /// Nothing is being read.
    #[default]
    Idle,
    /// Which devices each service has; the services in the order of their names in [`Inventory::services`].
    Members {
        /// When the reading began.
        begun: Timestamp,
        /// Which service.
        service: usize,
        /// Apple's cursor within its list.
        cursor: Option<String>,
    },
    /// What the API says of each device.
    Devices {
        /// When the reading began.
        begun: Timestamp,
        /// Apple's cursor within the list.
        cursor: Option<String>,
    },
}

impl Inventory {
    /// One of which nothing was read.
    #[must_use]
    pub fn new(organisation: OrganisationId, job: JobId) -> Self {
        Self {
            organisation,
            id: InventoryId(organisation.0),
            version: 0,
            job,
            wanted: None,
            everything: false,
            phase: PullPhase::Idle,
            pages: 0,
            devices: 0,
            whole: 0,
            complete: None,
            ended: None,
            kept_everything: false,
            services: Vec::new(),
            other_kinds: BTreeMap::new(),
            needs_person: None,
            lap: Lap::default(),
        }
    }

    /// When the present reading began, if one is under way.
    #[must_use]
    pub const fn begun(&self) -> Option<Timestamp> {
        match &self.phase {
            PullPhase::Idle => None,
            PullPhase::Members { begun, .. } | PullPhase::Devices { begun, .. } => Some(*begun),
        }
    }

    /// Up to so many devices are read one by one, with two requests each, rather than from the lists: a few always, and more
    /// where the lists have so many pages that one by one takes half as long.
    #[must_use]
    pub fn few(&self) -> usize {
        FEW.max(usize::try_from(self.whole / 4).unwrap_or(FEW))
    }

    /// Whether what a reading of `seen` says is as young as it can be had at `now`: read within a quarter of an hour, or by the
    /// last complete reading of the lists, for as long after its end as it took.
    #[must_use]
    pub fn is_recent(&self, seen: Timestamp, now: Timestamp) -> bool {
        let by_lists = match (self.complete, self.ended) {
            (Some(begun), Some(ended)) => {
                seen >= begun && now <= ended + ended.since(begun).max(RECENT)
            }
            _ => false,
        };
        now.since(seen) <= RECENT || by_lists
    }

    /// Whether a reading must begin (or be finished) to satisfy who waits.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        match (self.wanted, self.complete) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(wanted), Some(complete)) => complete < wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_goes_on_is_no_circle_and_every_circle_is_one() {
        let mut lap = Lap::default();
        assert!((0..10_000).all(|n| lap.goes_on(&n.to_string())));
        for (before, length) in [(0, 1), (0, 2), (3, 1), (5, 7), (100, 41)] {
            let mut lap = Lap::default();
            let at = |n: usize| {
                if n < before {
                    n
                } else {
                    before + (n - before) % length
                }
            };
            let steps = (0..)
                .take_while(|n| lap.goes_on(&at(*n).to_string()))
                .count();
            assert!(steps >= before + length, "{before} {length}: {steps}");
            assert!(
                steps <= 3 * (before + length) + 1,
                "{before} {length}: {steps}"
            );
        }
    }

    #[test]
    fn lists_that_take_long_are_read_one_by_one_for_more_devices_and_count_for_longer() {
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let mut row = Inventory::new(OrganisationId(1), JobId(1));
        assert_eq!((row.few(), row.is_recent(at(0), at(15))), (5, true));
        assert!(!row.is_recent(at(0), at(16)));
        row.whole = 2_000;
        assert_eq!(row.few(), 500);
        row.complete = Some(at(0));
        row.ended = Some(at(130));
        assert!(row.is_recent(at(0), at(260)) && !row.is_recent(at(0), at(261)));
        assert!(!row.is_recent(at(-1), at(130)), "not of that reading");
    }
}
