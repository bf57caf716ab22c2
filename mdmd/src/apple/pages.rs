//! Lists of which some pages were read: where a page fails, the next try goes on there and not from the beginning. In memory, for
//! a short time and bounded; a list that changed meanwhile is begun again, a few times.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mdm_core::clock::{Clock, Timestamp};
use mdm_core::error::PortError;

/// Lists that are begun and not ended at a time; further ones are begun again when they fail.
const MOST: usize = 64;
/// What was read longer ago is read again.
const KEPT: Duration = Duration::from_secs(300);

/// How often a list that changed while it was read is begun again at once; after that it is read to its end as it is.
const AGAIN: u32 = 3;

/// A list as far as it was read.
pub(super) struct Begun<T> {
    /// What was on its pages.
    items: Vec<T>,
    /// The next page; `None` before the first.
    next: Option<u32>,
    /// Apple's name of the state of the list that the first page showed.
    version: Option<String>,
    /// When the first page was asked for.
    since: Timestamp,
    /// How often it was begun again.
    again: u32,
    /// All pages are of one state.
    steady: bool,
}

/// A page of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) version: Option<String>,
    pub(super) next: Option<u32>,
}

impl<T> Begun<T> {
    /// Takes a page. `false` when the list has changed since its first page and is begun again: what was read counts beside what
    /// is read now only if it never comes to rest.
    fn take(&mut self, page: Page<T>) -> bool {
        if self.next.is_none() {
            self.version = page.version;
        } else if self.version != page.version {
            self.steady = false;
            if self.again < AGAIN {
                self.items.extend(page.items);
                return false;
            }
        }
        self.items.extend(page.items);
        self.next = page.next;
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
            again: 0,
            steady: true,
        })
    }

    /// Reads a list to its end, from where an earlier try left it; answers what is on it, and whether all of it is of one state.
    ///
    /// # Errors
    /// The page's; what was read before is kept for the next try.
    pub(super) async fn read<F: Future<Output = Result<Page<T>, PortError>>>(
        &self,
        key: K,
        not_before: Timestamp,
        clock: &dyn Clock,
        page: impl Fn(Option<u32>) -> F,
    ) -> Result<(Vec<T>, bool), PortError> {
        let now = clock.now();
        let mut begun = self.begin(&key, not_before, now);
        // What was read of earlier states.
        let mut before = Vec::new();
        loop {
            let taken = match page(begun.next).await {
                Ok(page) => begun.take(page),
                Err(error) => {
                    self.keep(key, begun, now);
                    return Err(error);
                }
            };
            if !taken {
                before.append(&mut begun.items);
                begun = Begun {
                    items: Vec::new(),
                    next: None,
                    version: None,
                    since: clock.now(),
                    again: begun.again + 1,
                    steady: true,
                };
            } else if begun.next.is_none() {
                if begun.steady {
                    return Ok((begun.items, true));
                }
                before.append(&mut begun.items);
                return Ok((before, false));
            }
        }
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

    fn page(items: &[u8], version: &str, next: Option<u32>) -> Page<u8> {
        Page {
            items: items.to_vec(),
            version: Some(version.to_owned()),
            next,
        }
    }

    #[test]
    fn a_list_goes_on_where_it_failed_unless_it_is_old_or_has_changed() {
        let pages: Pages<u8, u8> = Pages::default();
        let mut begun = pages.begin(&1, at(0), at(100));
        assert!(begun.take(page(&[1, 2], "a", Some(1))));
        pages.keep(1, begun, at(101));
        let mut begun = pages.begin(&1, at(100), at(110));
        assert_eq!((begun.items.len(), begun.next), (2, Some(1)));
        assert!(begun.take(page(&[3], "a", Some(2))));
        assert!(!begun.take(page(&[4], "b", None)), "it has changed");
        pages.keep(1, begun, at(111));
        // Something was sent since the first page was read.
        assert!(pages.begin(&1, at(105), at(112)).items.is_empty());
        let mut begun = pages.begin(&1, at(0), at(200));
        assert!(begun.take(page(&[1], "a", Some(1))));
        pages.keep(1, begun, at(200));
        assert!(pages.begin(&1, at(0), at(600)).items.is_empty(), "too old");
    }

    /// Reads a list of two pages whose state is another for the first `restless` pages; says how many were asked for.
    async fn read(restless: u32) -> (Vec<u8>, bool, u32) {
        let pages: Pages<u8, u8> = Pages::default();
        let clock = mdm_core::clock::ManualClock::new(at(100));
        let asked = std::cell::Cell::new(0);
        let one = |index: Option<u32>| {
            asked.set(asked.get() + 1);
            let state = asked.get().min(restless + 1).to_string();
            let seen = u8::try_from(asked.get()).expect("few pages");
            std::future::ready(Ok(page(&[seen], &state, index.is_none().then_some(1))))
        };
        let (items, steady) = pages.read(1, at(0), &clock, one).await.expect("read");
        (items, steady, asked.get())
    }

    #[tokio::test]
    async fn a_list_that_changes_is_begun_again_and_has_an_end() {
        assert_eq!(read(0).await, (vec![1, 2], true, 2));
        assert_eq!(read(2).await, (vec![3, 4], true, 4), "of one state only");
        let (items, steady, asked) = read(100).await;
        assert_eq!((items.len(), steady, asked), (8, false, 8));
    }
}
