//! How long holds took: durations counted by the second, so that percentiles are exact and memory does not grow with the fleet.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::migration::{LetOutBy, SetUp, StepId, StepStatus};

/// Durations of one kind: how many took how many seconds. Beyond a day they are counted by the minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    counted: BTreeMap<u64, u64>,
    total: u64,
}

/// From here on nobody cares for seconds.
const DAY: u64 = 86_400;

impl Percentiles {
    /// Counts one.
    pub fn add(&mut self, seconds: u64) {
        let seconds = match seconds {
            0..DAY => seconds,
            // A device that was silent for a year is one among others.
            _ => seconds.min(366 * DAY) / 60 * 60,
        };
        *self.counted.entry(seconds).or_default() += 1;
        self.total += 1;
    }

    /// How many were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// The seconds within which so many of a hundred were done (nearest rank); `None` of nothing.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.total * percent.min(100)).div_ceil(100).max(1);
        let mut seen = 0;
        self.counted.iter().find_map(|(seconds, count)| {
            seen += count;
            (seen >= rank).then_some(*seconds)
        })
    }
}

/// What one step took, over many set-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepFigures {
    /// From its start to its end.
    pub took: Percentiles,
    /// How often it was proved.
    pub done: u64,
    /// How often it was given up.
    pub given_up: u64,
    /// How often it did not apply.
    pub skipped: u64,
}

/// How holds went, over many set-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldFigures {
    /// From the begin of the hold until the device was out.
    pub held: Percentiles,
    /// From `Authenticate` to the first `TokenUpdate`.
    pub enrolling: Percentiles,
    /// From the decision to release until the device was out.
    pub leaving: Percentiles,
    /// By what decided that they end.
    pub let_out: BTreeMap<LetOutBy, u64>,
    /// Step by step.
    pub steps: BTreeMap<StepId, StepFigures>,
    /// Holds that are not over.
    pub still_held: u64,
    /// Set-ups whose device did not wait at all.
    pub without: u64,
}

/// The seconds between two moments, if both are known.
pub(crate) fn seconds(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<u64> {
    Some(to?.since(from?).as_secs())
}

impl HoldFigures {
    /// Counts one set-up.
    pub fn add(&mut self, set_up: &SetUp) {
        let count = |of: &mut Percentiles, took: Option<u64>| {
            if let Some(took) = took {
                of.add(took);
            }
        };
        count(
            &mut self.enrolling,
            seconds(Some(set_up.began), set_up.enrolled),
        );
        count(&mut self.held, seconds(set_up.hold_began, set_up.released));
        let decided = set_up.let_out.map(|out| out.at);
        count(&mut self.leaving, seconds(decided, set_up.released));
        match (set_up.hold_began, set_up.released) {
            (Some(_), None) => self.still_held += u64::from(!set_up.is_ended()),
            (None, Some(_)) => self.without += 1,
            _ => {}
        }
        if let Some(out) = set_up.let_out {
            *self.let_out.entry(out.by).or_default() += 1;
        }
        for (id, state) in set_up.steps_or_proofs() {
            if !state.status.is_over() {
                continue;
            }
            let figures = self.steps.entry(*id).or_default();
            match state.status {
                StepStatus::Done { .. } => figures.done += 1,
                StepStatus::Excepted { .. } => figures.given_up += 1,
                _ => figures.skipped += 1,
            }
            if !matches!(state.status, StepStatus::Skipped { .. }) {
                count(&mut figures.took, seconds(state.began, Some(state.since)));
            }
        }
    }
}

impl Serialize for Percentiles {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &self.total)?;
        for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99), ("longest", 100)] {
            map.serialize_entry(name, &self.percentile(percent))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut figures = Percentiles::default();
        assert_eq!(figures.percentile(50), None);
        let mut all: Vec<u64> = (0..1000_u64).map(|n| n * 7919 % 2700).collect();
        for seconds in &all {
            figures.add(*seconds);
        }
        all.sort_unstable();
        for percent in [1, 50, 90, 99, 100] {
            let rank = usize::try_from(percent * 10).unwrap() - 1;
            assert_eq!(figures.percentile(percent), Some(all[rank]), "{percent}");
        }
        figures.add(u64::MAX);
        assert_eq!(figures.percentile(100), Some(366 * DAY));
    }
}
