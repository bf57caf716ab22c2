//! What failed lately and is left alone for a while, so that it keeps the head of no queue. Lives in memory: a process that
//! starts anew tries everything once. Decides nothing about what it names.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::OrganisationId;

/// How many are remembered. Beyond, the memory starts anew, which costs a round of vain tries.
const MOST: usize = 10_000;
/// The longest pause.
const LONGEST: Duration = Duration::from_mins(10);

/// Things by organisation and id that failed, each with its next try.
#[derive(Debug, Default)]
pub(super) struct PutOff(Mutex<HashMap<(OrganisationId, i64), Entry>>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    tries: u32,
    until: Timestamp,
}

impl PutOff {
    /// Whether it is to be left alone now.
    pub(super) fn holds(&self, organisation: OrganisationId, id: i64, now: Timestamp) -> bool {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(&(organisation, id))
            // One that is further away than any pause is of a clock that was set back.
            .is_some_and(|entry| now < entry.until && entry.until.since(now) <= LONGEST)
    }

    /// How many there are, so that whoever asks for a number of things can ask for so many more.
    pub(super) fn len(&self) -> u32 {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        u32::try_from(entries.len()).unwrap_or(u32::MAX)
    }

    /// It failed: the next try is later each time.
    pub(super) fn failed(&self, organisation: OrganisationId, id: i64, now: Timestamp) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST {
            entries.clear();
        }
        let entry = entries.entry((organisation, id)).or_insert(Entry {
            tries: 0,
            until: now,
        });
        entry.until = now
            + match entry.tries {
                0 => Duration::from_secs(5),
                1 => Duration::from_secs(30),
                2 => Duration::from_secs(120),
                _ => LONGEST,
            };
        entry.tries = entry.tries.saturating_add(1);
    }

    /// It went well.
    pub(super) fn succeeded(&self, organisation: OrganisationId, id: i64) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&(organisation, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_left_alone_longer_each_time_until_it_succeeds() {
        let put_off = PutOff::default();
        let (org, start) = (OrganisationId(1), Timestamp::from_millis(0));
        put_off.failed(org, 7, start);
        assert!(put_off.holds(org, 7, start + Duration::from_secs(4)));
        assert!(!put_off.holds(org, 7, start + Duration::from_secs(5)));
        assert!(!put_off.holds(OrganisationId(2), 7, start));
        put_off.failed(org, 7, start);
        assert!(put_off.holds(org, 7, start + Duration::from_secs(29)));
        assert_eq!(put_off.len(), 1);
        put_off.succeeded(org, 7);
        assert!(!put_off.holds(org, 7, start));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_pause_longer_than_any_is() {
        let put_off = PutOff::default();
        let (org, start) = (OrganisationId(1), Timestamp::from_millis(1_000_000_000));
        for _ in 0..4 {
            put_off.failed(org, 7, start);
        }
        assert!(put_off.holds(org, 7, start));
        assert!(!put_off.holds(org, 7, start - Duration::from_hours(2)));
    }
}
