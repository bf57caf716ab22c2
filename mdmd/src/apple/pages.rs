//! Lists of which some pages were read: where a page fails, the next try goes on there and not from the beginning. In memory, for
//! a short time and bounded; a list that changed meanwhile is begun again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mdm_core::clock::Timestamp;

/// Lists that are begun and not ended at a time; further ones are begun again when they fail.
const MOST: usize = 64;
/// What was read longer ago is read again.
const KEPT: Duration = Duration::from_secs(300);

/// A list as far as it was read.
pub(super) struct Begun<T> {
    /// What was on its pages.
    pub(super) items: Vec<T>,
    /// The next page; `None` before the first.
    pub(super) next: Option<u32>,
    /// Apple's name of the state of the list that the first page showed.
    version: Option<String>,
    /// When the first page was asked for.
    since: Timestamp,
}

impl<T> Begun<T> {
    /// Takes a page. `false` when the list has changed since its first page: then nothing of it counts.
    pub(super) fn take(
        &mut self,
        items: Vec<T>,
        version: Option<String>,
        next: Option<u32>,
    ) -> bool {
        if self.next.is_none() {
            self.version = version;
        } else if self.version != version {
            return false;
        }
        self.items.extend(items);
        self.next = next;
        true
    }
}

/// Lists that failed on the way.
pub(super) struct Pages<K, T>(Mutex<HashMap<K, Begun<T>>>);

impl<K, T> Default for Pages<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T> Pages<K, T> {
    /// Goes on with a list, of which nothing is older than `not_before`, or begins it.
    pub(super) fn begin(&self, key: &K, not_before: Timestamp, now: Timestamp) -> Begun<T> {
        let begun = self.lock().remove(key);
        let fresh =
            begun.filter(|b| b.since >= not_before && now < b.since + KEPT && b.since <= now);
        fresh.unwrap_or_else(|| Begun {
            items: Vec::new(),
            next: None,
            version: None,
            since: now,
        })
    }

    /// Keeps a list for the next try.
    pub(super) fn keep(&self, key: K, begun: Begun<T>, now: Timestamp) {
        let mut all = self.lock();
        all.retain(|_, b| now < b.since + KEPT);
        if begun.next.is_some() && all.len() < MOST {
            all.insert(key, begun);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Begun<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn a_list_goes_on_where_it_failed_unless_it_is_old_or_has_changed() {
        let pages: Pages<u8, u8> = Pages::default();
        let version = |v: &str| Some(v.to_owned());
        let mut begun = pages.begin(&1, at(0), at(100));
        assert!(begun.take(vec![1, 2], version("a"), Some(1)));
        pages.keep(1, begun, at(101));
        let mut begun = pages.begin(&1, at(100), at(110));
        assert_eq!((begun.items.len(), begun.next), (2, Some(1)));
        assert!(begun.take(vec![3], version("a"), Some(2)));
        assert!(!begun.take(vec![4], version("b"), None), "it has changed");
        pages.keep(1, begun, at(111));
        // Something was sent since the first page was read.
        assert!(pages.begin(&1, at(105), at(112)).items.is_empty());
        let mut begun = pages.begin(&1, at(0), at(200));
        assert!(begun.take(vec![1], None, Some(1)));
        pages.keep(1, begun, at(200));
        assert!(pages.begin(&1, at(0), at(600)).items.is_empty(), "too old");
    }
}
