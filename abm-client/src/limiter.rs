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
    /// Changes nothing either, and nobody waits for it: a long list, page by page. It shares the budget of the reads,
    /// leaves a part of it to them, and lets them go first where they wait.
    Background,
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

    // The fields are open, so a literal or a stored value may have what `new` does not let through.
    fn window_ms(&self) -> i64 {
        millis(self.window).max(1)
    }

    fn most(&self) -> u32 {
        self.requests.max(1)
    }
}

/// Reads and writes, budgeted apart or together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// For requests that change nothing; for all of them when they are counted together.
    pub reads: Quota,
    /// For requests that change something.
    pub writes: Quota,
    /// Whether writes are counted with the reads, against the quota of these.
    #[serde(default)]
    pub together: bool,
}

impl Budget {
    /// What the organisation API has been seen to allow: 20 reads a minute, 10 writes an hour. Apple publishes nothing.
    #[must_use]
    pub fn organisation_api() -> Self {
        Self {
            reads: Quota::new(20, Duration::from_secs(60)),
            writes: Quota::new(10, Duration::from_secs(3600)),
            together: false,
        }
    }

    /// What Apps and Books allows for one location: requests a second, of all kinds together.
    #[must_use]
    pub fn apps(requests_per_second: u32) -> Self {
        let quota = Quota::new(requests_per_second, Duration::from_secs(1));
        Self {
            reads: quota,
            writes: quota,
            together: true,
        }
    }

    fn quota(&self, class: RequestClass) -> Quota {
        match class {
            RequestClass::Write if !self.together => self.writes,
            _ => self.reads,
        }
    }

    /// How many requests of the window a class may find used and still go: reads in the background leave a quarter.
    fn most(&self, class: RequestClass) -> u32 {
        let most = self.quota(class).most();
        match class {
            RequestClass::Background => most - most / 4,
            _ => most,
        }
    }
}

/// A pause cannot be measured with a clock that was set back before the moment at which it was asked for; so much may two
/// machines that share a budget disagree.
const CLOCKS_DIFFER_MS: i64 = 60_000;
/// So long the reads in the background step aside after somebody's read could go again, so that it comes first.
const ASIDE_MS: i64 = 30_000;

/// What a limiter remembers. It can be stored, so that every process of an installation shares one budget: load, take,
/// store under a version, and begin again on a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LimiterState {
    reads: VecDeque<i64>,
    writes: VecDeque<i64>,
    paused_until_ms: i64,
    /// How long the pause was when it was asked for; 0 in a state from before this was kept.
    #[serde(default)]
    paused_for_ms: i64,
    /// Until then somebody waits whose reads go before those in the background.
    #[serde(default)]
    aside_until_ms: i64,
    /// When something was last read in the background.
    #[serde(default)]
    background_ms: i64,
    /// When a person last lifted pauses.
    #[serde(default)]
    lifted_ms: i64,
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
    /// How long to wait when there is none; then nothing is used up. Of a read that has to wait it is remembered that it
    /// does, so that reads in the background let it go first: the state is worth storing then, too.
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
            if class == RequestClass::Read {
                for limiter in limiters {
                    let aside = &mut limiter.state.aside_until_ms;
                    *aside = (*aside).max(next.saturating_add(ASIDE_MS));
                }
            }
            return Err(Duration::from_millis(
                u64::try_from(next - now_ms).unwrap_or_default(),
            ));
        }
        for limiter in limiters {
            limiter.log(class).push_back(now_ms);
            if class == RequestClass::Background {
                limiter.state.background_ms = now_ms;
            }
        }
        Ok(())
    }

    /// Sends nothing for so long: the service has asked for it. A shorter pause never ends a longer one.
    pub fn pause(&mut self, now_ms: i64, wait: Duration) {
        let until = now_ms.saturating_add(millis(wait));
        if self.paused_until_ms(now_ms).is_none_or(|old| old < until) {
            self.state.paused_until_ms = until;
            self.state.paused_for_ms = millis(wait);
        }
    }

    /// Ends a pause, and whatever reads in the background have stepped aside for: a person knows that it may go on.
    pub fn lift(&mut self, now_ms: i64) {
        self.state.lifted_ms = now_ms;
        self.state.paused_until_ms = 0;
        self.state.paused_for_ms = 0;
        self.state.aside_until_ms = 0;
    }

    /// Whether a person lifted pauses at this moment (milliseconds since 1970) or later.
    #[must_use]
    pub const fn was_lifted_since(&self, ms: i64) -> bool {
        self.state.lifted_ms >= ms
    }

    /// Until when the service has asked for silence (milliseconds since 1970); `None` when it has not, or no longer does.
    #[must_use]
    pub fn paused_until_ms(&self, now_ms: i64) -> Option<i64> {
        let LimiterState {
            paused_until_ms: until,
            paused_for_ms: length,
            ..
        } = self.state;
        let length = match length {
            0 => millis(crate::answer::LONGEST_WAIT),
            length => length,
        };
        let left = until.saturating_sub(now_ms);
        // More is left than was asked for: the clock was set back, and with it the pause would grow by as much.
        (left > 0 && left <= length.saturating_add(CLOCKS_DIFFER_MS)).then_some(until)
    }

    /// Until when reads in the background let others go first, because such wait (milliseconds since 1970).
    #[must_use]
    pub fn aside_until_ms(&self, now_ms: i64) -> Option<i64> {
        let until = self.state.aside_until_ms;
        let longest = self.budget.reads.window_ms().saturating_add(ASIDE_MS);
        let longest =
            longest.max(self.paused_until_ms(now_ms).unwrap_or(now_ms) - now_ms + ASIDE_MS);
        // As above: what lies further ahead comes from another clock.
        (until > now_ms && until - now_ms <= longest.saturating_add(CLOCKS_DIFFER_MS))
            .then_some(until)
    }

    /// What is used and left, and when `waiting` further requests will have been sent.
    #[must_use]
    pub fn status(&self, class: RequestClass, waiting: u32, now_ms: i64) -> BudgetStatus {
        let mut ahead = self.clone();
        let next_at_ms = ahead.next_at(class, now_ms);
        let used = u32::try_from(ahead.log(class).len()).unwrap_or(u32::MAX);
        let (quota, most) = (self.budget.quota(class), self.budget.most(class));
        let left = if self.paused_until_ms(now_ms).is_some() {
            0
        } else {
            most.saturating_sub(used)
        };
        let mut drained_at_ms = now_ms;
        // Beyond one full window the pattern repeats: whole rounds need not be gone through one by one.
        let rounds = waiting.saturating_sub(1) / most;
        for _ in 0..waiting - rounds * most {
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
            RequestClass::Write if !self.budget.together => &mut self.state.writes,
            _ => &mut self.state.reads,
        }
    }

    /// When the next request may be sent; forgets what is older than the window.
    fn next_at(&mut self, class: RequestClass, now_ms: i64) -> i64 {
        let window = self.budget.quota(class).window_ms();
        let waited_for = class == RequestClass::Background && self.aside_until_ms(now_ms).is_some();
        let most = match waited_for {
            // The few pages of a list that go on beside others have a right to the whole quota: those others would leave no
            // three quarters of it free.
            true => self.budget.quota(class).most(),
            false => self.budget.most(class),
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let paused = self.paused_until_ms(now_ms).unwrap_or(now_ms);
        let aside = match class {
            // While others wait the list goes on all the same, by four pages in a window.
            RequestClass::Background => self.aside_until_ms(now_ms).map_or(now_ms, |until| {
                let own = self.state.background_ms.saturating_add(window / 4);
                until.min(own.max(now_ms))
            }),
            _ => now_ms,
        };
        let log = self.log(class);
        // An entry from far ahead comes from a clock that was set back; it must not stop us for ever.
        log.retain(|at| at.saturating_add(window) > now_ms && *at <= now_ms.saturating_add(window));
        let free = if log.len() < most {
            now_ms
        } else {
            log[log.len() - most].saturating_add(window)
        };
        free.max(paused).max(aside).max(now_ms)
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
    fn a_pause_does_not_grow_by_what_the_clock_was_set_back() {
        let day = 24 * 3_600_000;
        let mut limiter = Limiter::new(Budget::organisation_api());
        limiter.pause(NOW, Duration::from_secs(600));
        // Two machines do not agree to the second.
        assert!(
            limiter
                .clone()
                .take(RequestClass::Read, NOW - 5_000)
                .is_err()
        );
        assert_eq!(limiter.paused_until_ms(NOW - day), None);
        limiter
            .clone()
            .take(RequestClass::Read, NOW - day)
            .expect("not for a day");
        // A new pause counts although the old one lies further ahead.
        limiter.pause(NOW - day, Duration::from_secs(5));
        assert_eq!(
            limiter.take(RequestClass::Read, NOW - day),
            Err(Duration::from_secs(5))
        );
    }

    #[test]
    fn a_person_may_lift_a_pause() {
        let mut limiter = Limiter::new(Budget::organisation_api());
        limiter.pause(NOW, Duration::from_secs(3600));
        limiter.lift(NOW + 5);
        assert!(limiter.was_lifted_since(NOW) && !limiter.was_lifted_since(NOW + 6));
        limiter.take(RequestClass::Write, NOW).expect("lifted");
    }

    #[test]
    fn a_list_goes_on_beside_reads_that_take_all_they_can_get() {
        let mut limiter = Limiter::new(Budget::organisation_api());
        for n in 0..20 {
            limiter
                .take(RequestClass::Read, NOW + n * 3_000)
                .expect("free");
        }
        let (mut pages, mut reads) = (0, 0);
        for second in 60..600 {
            let now = NOW + second * 1_000;
            pages += u32::from(limiter.take(RequestClass::Background, now).is_ok());
            while limiter.take(RequestClass::Read, now).is_ok() {
                reads += 1;
            }
        }
        assert!((30..=40).contains(&pages), "{pages} pages");
        assert!(reads > 130, "{reads} reads");
    }

    #[test]
    fn a_quota_of_nothing_lets_one_through() {
        let none = Quota {
            requests: 0,
            window: Duration::ZERO,
        };
        let mut limiter = Limiter::new(Budget {
            reads: none,
            writes: none,
            together: false,
        });
        limiter.take(RequestClass::Read, NOW).expect("one");
        assert_eq!(
            limiter.take(RequestClass::Read, NOW),
            Err(Duration::from_millis(1))
        );
        assert_eq!(
            limiter.status(RequestClass::Write, 3, NOW).drained_at_ms,
            NOW + 2
        );
        let stored = r#"{"reads":{"requests":0,"window":{"secs":0,"nanos":0}},"writes":{"requests":0,"window":{"secs":0,"nanos":0}}}"#;
        let stored: Budget = serde_json::from_str(stored).expect("a budget");
        assert_eq!(
            Limiter::new(stored).status(RequestClass::Read, 2, NOW).left,
            1
        );
    }

    #[test]
    fn apps_and_books_counts_all_requests_together() {
        let mut limiter = Limiter::new(Budget::apps(15));
        for n in 0..15 {
            let class = if n % 2 == 0 {
                RequestClass::Read
            } else {
                RequestClass::Write
            };
            limiter.take(class, NOW).expect("within the budget");
        }
        for class in [RequestClass::Read, RequestClass::Write] {
            assert_eq!(limiter.status(class, 0, NOW).left, 0, "{class:?}");
            assert_eq!(
                limiter.clone().take(class, NOW),
                Err(Duration::from_secs(1))
            );
        }
    }

    #[test]
    fn reads_in_the_background_leave_room_and_step_aside_and_are_not_starved() {
        let mut limiter = Limiter::new(Budget::organisation_api());
        let mut list = 0;
        while limiter.take(RequestClass::Background, NOW).is_ok() {
            list += 1;
        }
        assert_eq!(list, 15);
        for _ in 0..5 {
            limiter
                .take(RequestClass::Read, NOW + 1_000)
                .expect("room was left");
        }
        let wait = limiter
            .take(RequestClass::Read, NOW + 2_000)
            .expect_err("used up");
        assert_eq!(wait, Duration::from_secs(58));
        assert_eq!(limiter.aside_until_ms(NOW + 2_000), Some(NOW + 90_000));
        // The window is free again: the list takes a page at most, who waits takes the rest.
        let then = NOW + 61_000;
        limiter
            .take(RequestClass::Background, then)
            .expect("not starved");
        assert!(limiter.take(RequestClass::Background, then).is_err());
        for _ in 0..19 {
            limiter
                .take(RequestClass::Read, then)
                .expect("they come first");
        }
        // Nobody waits any more.
        let mut later = limiter.clone();
        for n in 0..15 {
            later
                .take(RequestClass::Background, NOW + 200_000 + n)
                .expect("the list goes on");
        }
        assert!(
            serde_json::from_str::<LimiterState>(r#"{"reads":[],"writes":[],"paused_until_ms":0}"#)
                .is_ok()
        );
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
            let mut limiter = Limiter::new(Budget { reads: quota, writes: quota, together: false });
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
