//! How many requests a credential may send, pure: a sliding window for reads and one for writes, and the pauses that
//! the service asks for. Sleeps for nobody and sends nothing; [`Gate`](crate::Gate) puts it before a client.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether a request only reads, or changes something at Apple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RequestClass {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
}

/// So many requests in any stretch of time of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// How many.
    pub requests: u32,
    /// In which time.
    pub window: Duration,
}

impl Quota {
    /// So many requests in so much time; at least one, in at least a millisecond.
    #[must_use]
    pub fn new(requests: u32, window: Duration) -> Self {
        Self {
            requests: requests.max(1),
            window: window.max(Duration::from_millis(1)),
        }
    }

    fn window_ms(&self) -> i64 {
        millis(self.window)
    }
}

/// Reads and writes, budgeted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// For requests that change nothing.
    pub reads: Quota,
    /// For requests that change something.
    pub writes: Quota,
}

impl Budget {
    /// What the organisation API has been seen to allow: 20 reads a minute, 10 writes an hour. Apple publishes nothing.
    #[must_use]
    pub fn organisation_api() -> Self {
        Self {
            reads: Quota::new(20, Duration::from_secs(60)),
            writes: Quota::new(10, Duration::from_secs(3600)),
        }
    }

    /// What Apps and Books allows for one location: requests a second, of any kind.
    #[must_use]
    pub fn apps(requests_per_second: u32) -> Self {
        let quota = Quota::new(requests_per_second, Duration::from_secs(1));
        Self {
            reads: quota,
            writes: quota,
        }
    }

    fn quota(&self, class: RequestClass) -> Quota {
        match class {
            RequestClass::Read => self.reads,
            RequestClass::Write => self.writes,
        }
    }
}

/// What a limiter remembers. It can be stored, so that every process of an installation shares one budget: load, take,
/// store under a version, and begin again on a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimiterState {
    reads: VecDeque<i64>,
    writes: VecDeque<i64>,
    paused_until_ms: i64,
}

/// A budget and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limiter {
    budget: Budget,
    state: LimiterState,
}

/// What people see of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BudgetStatus {
    /// Requests in the window that ends now.
    pub used: u32,
    /// Requests that could be sent now.
    pub left: u32,
    /// When the next request may be sent (milliseconds since 1970); now or earlier means at once.
    pub next_at_ms: i64,
    /// When the last of the waiting requests may be sent.
    pub drained_at_ms: i64,
}

impl Limiter {
    /// An unused budget.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self::resume(budget, LimiterState::default())
    }

    /// A budget with what was used of it before.
    #[must_use]
    pub fn resume(budget: Budget, state: LimiterState) -> Self {
        Self { budget, state }
    }

    /// What to store.
    #[must_use]
    pub fn state(&self) -> &LimiterState {
        &self.state
    }

    /// Uses up one request now.
    ///
    /// # Errors
    /// How long to wait when there is none; then nothing is used up.
    pub fn take(&mut self, class: RequestClass, now_ms: i64) -> Result<(), Duration> {
        Self::take_all([self], class, now_ms)
    }

    /// Uses up one request of each, or of none: a credential's budget together with its organisation's.
    ///
    /// # Errors
    /// The longest of their waits.
    pub fn take_all<'a>(
        limiters: impl IntoIterator<Item = &'a mut Self>,
        class: RequestClass,
        now_ms: i64,
    ) -> Result<(), Duration> {
        let mut limiters: Vec<&mut Self> = limiters.into_iter().collect();
        let next = limiters
            .iter_mut()
            .map(|limiter| limiter.next_at(class, now_ms))
            .max()
            .unwrap_or(now_ms);
        if next > now_ms {
            return Err(Duration::from_millis(
                u64::try_from(next - now_ms).unwrap_or_default(),
            ));
        }
        for limiter in limiters {
            limiter.log(class).push_back(now_ms);
        }
        Ok(())
    }

    /// Sends nothing for so long: the service has asked for it. A shorter pause never ends a longer one.
    pub fn pause(&mut self, now_ms: i64, wait: Duration) {
        self.state.paused_until_ms = self
            .state
            .paused_until_ms
            .max(now_ms.saturating_add(millis(wait)));
    }

    /// What is used and left, and when `waiting` further requests will have been sent.
    #[must_use]
    pub fn status(&self, class: RequestClass, waiting: u32, now_ms: i64) -> BudgetStatus {
        let mut ahead = self.clone();
        let next_at_ms = ahead.next_at(class, now_ms);
        let used = u32::try_from(ahead.log(class).len()).unwrap_or(u32::MAX);
        let quota = self.budget.quota(class);
        let left = if self.state.paused_until_ms > now_ms {
            0
        } else {
            quota.requests.saturating_sub(used)
        };
        let mut drained_at_ms = now_ms;
        // Beyond one full window the pattern repeats: whole rounds need not be gone through one by one.
        let rounds = waiting.saturating_sub(1) / quota.requests;
        for _ in 0..waiting - rounds * quota.requests {
            drained_at_ms = ahead.next_at(class, drained_at_ms).max(drained_at_ms);
            ahead.log(class).push_back(drained_at_ms);
        }
        drained_at_ms =
            drained_at_ms.saturating_add(quota.window_ms().saturating_mul(i64::from(rounds)));
        BudgetStatus {
            used,
            left,
            next_at_ms,
            drained_at_ms,
        }
    }

    fn log(&mut self, class: RequestClass) -> &mut VecDeque<i64> {
        match class {
            RequestClass::Read => &mut self.state.reads,
            RequestClass::Write => &mut self.state.writes,
        }
    }

    /// When the next request may be sent; forgets what is older than the window.
    fn next_at(&mut self, class: RequestClass, now_ms: i64) -> i64 {
        let quota = self.budget.quota(class);
        let window = quota.window_ms();
        let paused = self.state.paused_until_ms;
        let log = self.log(class);
        // An entry from far ahead comes from a clock that was set back; it must not stop us for ever.
        log.retain(|at| at.saturating_add(window) > now_ms && *at <= now_ms.saturating_add(window));
        let most = usize::try_from(quota.requests).unwrap_or(usize::MAX);
        let free = if log.len() < most {
            now_ms
        } else {
            log[log.len() - most].saturating_add(window)
        };
        free.max(paused).max(now_ms)
    }
}

/// How long to wait after the `failures`-th failure in a row: 30 s, 1, 2, 5, then 15 minutes, and up to a fifth more.
/// `jitter` is any number; different callers should give different ones.
#[must_use]
pub fn backoff(failures: u32, jitter: u32) -> Duration {
    let seconds: u32 = match failures {
        0 | 1 => 30,
        2 => 60,
        3 => 120,
        4 => 300,
        _ => 900,
    };
    Duration::from_millis(
        u64::from(seconds) * 1000 + u64::from(jitter % 1000) * u64::from(seconds) / 5,
    )
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_795_190_400_000;

    #[test]
    fn reads_and_writes_have_budgets_of_their_own() {
        let mut limiter = Limiter::new(Budget::organisation_api());
        for n in 0..20 {
            limiter
                .take(RequestClass::Read, NOW + n)
                .expect("within the budget");
        }
        assert_eq!(
            limiter.take(RequestClass::Read, NOW + 20),
            Err(Duration::from_millis(59_980))
        );
        for n in 0..10 {
            limiter
                .take(RequestClass::Write, NOW + n)
                .expect("within the budget");
        }
        assert!(limiter.take(RequestClass::Write, NOW + 3_599_999).is_err());
        limiter
            .take(RequestClass::Write, NOW + 3_600_000)
            .expect("the first is forgotten");
    }

    #[test]
    fn a_pause_holds_and_a_shorter_one_does_not_end_it() {
        let mut limiter = Limiter::new(Budget::organisation_api());
        limiter.pause(NOW, Duration::from_secs(60));
        limiter.pause(NOW, Duration::from_secs(5));
        assert_eq!(
            limiter.take(RequestClass::Read, NOW),
            Err(Duration::from_secs(60))
        );
        assert_eq!(limiter.status(RequestClass::Read, 0, NOW).left, 0);
        limiter
            .take(RequestClass::Read, NOW + 60_000)
            .expect("over");
    }

    #[test]
    fn an_organisation_and_its_credential_are_used_together_or_not_at_all() {
        let small = Budget {
            writes: Quota::new(1, Duration::from_secs(10)),
            ..Budget::organisation_api()
        };
        let (mut organisation, mut credential) = (
            Limiter::new(Budget::organisation_api()),
            Limiter::new(small),
        );
        Limiter::take_all(
            [&mut organisation, &mut credential],
            RequestClass::Write,
            NOW,
        )
        .expect("both have one");
        let refused = Limiter::take_all(
            [&mut organisation, &mut credential],
            RequestClass::Write,
            NOW,
        );
        assert_eq!(refused, Err(Duration::from_secs(10)));
        assert_eq!(organisation.status(RequestClass::Write, 0, NOW).used, 1);
    }

    #[test]
    fn people_see_when_the_queue_will_have_drained() {
        let mut limiter = Limiter::new(Budget::organisation_api());
        let status = limiter.status(RequestClass::Write, 10, NOW);
        assert_eq!(
            (status.used, status.left, status.drained_at_ms),
            (0, 10, NOW)
        );
        assert_eq!(
            limiter.status(RequestClass::Write, 11, NOW).drained_at_ms,
            NOW + 3_600_000
        );
        assert_eq!(
            limiter.status(RequestClass::Write, 25, NOW).drained_at_ms,
            NOW + 2 * 3_600_000
        );
        limiter
            .take(RequestClass::Write, NOW - 1000)
            .expect("within the budget");
        assert_eq!(
            limiter.status(RequestClass::Write, 10, NOW).drained_at_ms,
            NOW + 3_599_000
        );
        assert_eq!(limiter.status(RequestClass::Write, u32::MAX, NOW).left, 9);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_us() {
        let mut limiter = Limiter::new(Budget::organisation_api());
        for _ in 0..10 {
            limiter
                .take(RequestClass::Write, NOW + 1_000_000_000)
                .expect("within the budget");
        }
        limiter.take(RequestClass::Write, NOW).expect("not stopped");
    }

    #[test]
    fn the_state_survives_storing() {
        let mut limiter = Limiter::new(Budget::organisation_api());
        limiter
            .take(RequestClass::Read, NOW)
            .expect("within the budget");
        limiter.pause(NOW, Duration::from_secs(1));
        let text = serde_json::to_string(limiter.state()).expect("JSON");
        let again = Limiter::resume(
            Budget::organisation_api(),
            serde_json::from_str(&text).expect("the same"),
        );
        assert_eq!(again, limiter);
    }

    #[test]
    fn waits_grow_to_a_quarter_of_an_hour() {
        let waits: Vec<u64> = (1..8).map(|n| backoff(n, 0).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 300, 900, 900, 900]);
        assert!(backoff(99, u32::MAX) < Duration::from_secs(1080));
    }

    proptest! {
        /// However requests come, no window ever holds more than the quota, and who waits as told gets through.
        #[test]
        fn no_window_holds_more_than_the_quota(gaps in proptest::collection::vec(0_i64..2_000, 1..200)) {
            let quota = Quota::new(5, Duration::from_millis(3_000));
            let mut limiter = Limiter::new(Budget { reads: quota, writes: quota });
            let (mut now, mut sent) = (NOW, Vec::new());
            for gap in gaps {
                now += gap;
                if let Err(wait) = limiter.take(RequestClass::Read, now) {
                    prop_assert!(limiter.clone().take(RequestClass::Read, now + millis(wait) - 1).is_err());
                    now += millis(wait);
                    prop_assert!(limiter.take(RequestClass::Read, now).is_ok());
                }
                sent.push(now);
            }
            for from in &sent {
                let inside = sent.iter().filter(|at| (*from..from + 3_000).contains(*at)).count();
                prop_assert!(inside <= 5);
            }
        }
    }
}
