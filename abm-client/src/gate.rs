//! What stands before a client and lets its requests through: one at a time, in order, within the budget. Knows
//! nothing of what the requests say.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::{Clock, SharedClock};
use crate::limiter::{Budget, BudgetStatus, Limiter, LimiterState, RequestClass};

/// Lets requests through. A program with several processes implements it over its store.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Waits for the turn of this request and uses up a part of the budget. The permit is held until the answer is
    /// there.
    ///
    /// # Errors
    /// How long to wait, when the budget is used up and this gate does not wait itself. The client then fails with
    /// [`BudgetSpent`](crate::ErrorKind::BudgetSpent) and has sent nothing.
    async fn enter(&self, class: RequestClass) -> Result<Permit, Duration>;

    /// The service has asked for a pause.
    async fn pause(&self, wait: Duration);
}

/// The right to send one request. Dropping it lets the next one in.
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] Option<Box<dyn Any + Send>>);

impl Permit {
    /// A permit that holds something until the answer is there.
    pub fn holding(what: impl Any + Send) -> Self {
        Self(Some(Box::new(what)))
    }

    /// A permit that holds nothing.
    #[must_use]
    pub fn free() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// Lets everything through at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

#[async_trait]
impl Gate for OpenGate {
    async fn enter(&self, _class: RequestClass) -> Result<Permit, Duration> {
        Ok(Permit::free())
    }

    async fn pause(&self, _wait: Duration) {}
}

/// Sleeps; the runtime is the caller's.
#[async_trait]
pub trait Sleep: Send + Sync {
    /// Returns after this time.
    async fn sleep(&self, time: Duration);
}

/// Sleeps with tokio, in real time.
#[cfg(feature = "hyper-transport")]
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioSleep;

#[cfg(feature = "hyper-transport")]
#[async_trait]
impl Sleep for TokioSleep {
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// One budget for every task of this process that shares it: one request at a time, in the order of asking.
#[derive(Clone)]
pub struct BudgetGate {
    inner: Arc<Inner>,
}

struct Inner {
    clock: SharedClock,
    limiter: Mutex<Limiter>,
    turnstile: Arc<Turnstile>,
    sleep: Option<Box<dyn Sleep>>,
}

impl BudgetGate {
    /// A gate that refuses when the budget is used up, and says how long to wait: for programs whose work waits in a
    /// queue of its own.
    pub fn refusing(budget: Budget, clock: impl Clock + 'static) -> Self {
        Self::resume(budget, LimiterState::default(), Arc::new(clock), None)
    }

    /// A gate that waits until there is budget again.
    pub fn waiting(
        budget: Budget,
        clock: impl Clock + 'static,
        sleep: impl Sleep + 'static,
    ) -> Self {
        Self::resume(
            budget,
            LimiterState::default(),
            Arc::new(clock),
            Some(Box::new(sleep)),
        )
    }

    /// A gate that goes on with a budget that was stored before.
    pub fn resume(
        budget: Budget,
        state: LimiterState,
        clock: Arc<dyn Clock>,
        sleep: Option<Box<dyn Sleep>>,
    ) -> Self {
        let limiter = Mutex::new(Limiter::resume(budget, state));
        Self {
            inner: Arc::new(Inner {
                clock,
                limiter,
                turnstile: Arc::default(),
                sleep,
            }),
        }
    }

    /// What is used and left, and when everything that waits now will have been sent.
    #[must_use]
    pub fn status(&self, class: RequestClass) -> BudgetStatus {
        let waiting = self.inner.turnstile.waiting();
        self.limiter()
            .status(class, waiting, self.inner.clock.now_ms())
    }

    /// What to store.
    #[must_use]
    pub fn state(&self) -> LimiterState {
        self.limiter().state().clone()
    }

    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        // The limiter is whole at every point where a panic could occur.
        self.inner
            .limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Gate for BudgetGate {
    async fn enter(&self, class: RequestClass) -> Result<Permit, Duration> {
        let turn = self.inner.turnstile.clone().turn().await;
        loop {
            let taken = self.limiter().take(class, self.inner.clock.now_ms());
            match (taken, &self.inner.sleep) {
                (Ok(()), _) => return Ok(Permit::holding(turn)),
                // The turn is kept: nobody overtakes who waits.
                (Err(wait), Some(sleep)) => sleep.sleep(wait).await,
                (Err(wait), None) => return Err(wait),
            }
        }
    }

    async fn pause(&self, wait: Duration) {
        let now_ms = self.inner.clock.now_ms();
        self.limiter().pause(now_ms, wait);
    }
}

impl fmt::Debug for BudgetGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetGate")
            .field("limiter", &*self.limiter())
            .finish_non_exhaustive()
    }
}

/// Lets one through after the other, in the order of asking, whichever runtime they run on.
#[derive(Default)]
struct Turnstile {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    /// Who waits or is inside, by number; the first one is inside. Its waker is set while it waits.
    people: BTreeMap<u64, Option<Waker>>,
}

/// A place in the queue, and later the turn itself. Dropping it lets the next one in.
struct Turn {
    turnstile: Arc<Turnstile>,
    number: u64,
}

impl Turnstile {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole at every point where a panic could occur.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(self: Arc<Self>) -> Turn {
        let number = {
            let mut queue = self.queue();
            queue.next += 1;
            let number = queue.next;
            queue.people.insert(number, None);
            number
        };
        // From here on dropping gives the place back, also when the future is dropped while it waits.
        let turn = Turn {
            turnstile: self,
            number,
        };
        Wait(&turn).await;
        turn
    }

    fn waiting(&self) -> u32 {
        u32::try_from(self.queue().people.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }
}

struct Wait<'a>(&'a Turn);

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.0.turnstile.queue();
        if queue.people.keys().next() == Some(&self.0.number) {
            return Poll::Ready(());
        }
        queue
            .people
            .insert(self.0.number, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let waker = {
            let mut queue = self.turnstile.queue();
            queue.people.remove(&self.number);
            queue.people.values_mut().next().and_then(Option::take)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::limiter::Quota;

    #[derive(Clone, Default)]
    struct Hand(Arc<AtomicI64>);

    impl Clock for Hand {
        fn now_ms(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// Moves the clock instead of sleeping.
    #[async_trait]
    impl Sleep for Hand {
        async fn sleep(&self, time: Duration) {
            tokio::task::yield_now().await;
            self.0.fetch_add(
                i64::try_from(time.as_millis()).expect("short"),
                Ordering::SeqCst,
            );
        }
    }

    fn two_a_second() -> Budget {
        let quota = Quota::new(2, Duration::from_secs(1));
        Budget {
            reads: quota,
            writes: quota,
            together: false,
        }
    }

    #[tokio::test]
    async fn requests_go_one_at_a_time_in_order_and_within_the_budget() {
        let hand = Hand::default();
        let gate = BudgetGate::waiting(two_a_second(), hand.clone(), hand.clone());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..7)
            .map(|n| {
                let (gate, sent, hand) = (gate.clone(), sent.clone(), hand.clone());
                tokio::spawn(async move {
                    let _permit = gate.enter(RequestClass::Read).await.expect("waits");
                    sent.lock().expect("no panic").push((n, hand.now_ms()));
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("runs");
        }
        let sent = sent.lock().expect("no panic").clone();
        assert_eq!(
            sent,
            [
                (0, 0),
                (1, 0),
                (2, 1000),
                (3, 1000),
                (4, 2000),
                (5, 2000),
                (6, 3000)
            ]
        );
        assert_eq!(gate.status(RequestClass::Read).drained_at_ms, hand.now_ms());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_does_not_block_the_others() {
        let gate = BudgetGate::refusing(two_a_second(), Hand::default());
        let first = gate.enter(RequestClass::Read).await.expect("free");
        let impatient = {
            let gate = gate.clone();
            tokio::spawn(async move { gate.enter(RequestClass::Read).await.is_ok() })
        };
        tokio::task::yield_now().await;
        let patient = {
            let gate = gate.clone();
            tokio::spawn(async move { gate.enter(RequestClass::Read).await.is_ok() })
        };
        tokio::task::yield_now().await;
        assert_eq!(gate.status(RequestClass::Read).used, 1);
        impatient.abort();
        assert!(impatient.await.is_err());
        drop(first);
        assert!(patient.await.expect("runs"));
    }

    #[tokio::test]
    async fn a_refusing_gate_says_how_long_to_wait() {
        let gate = BudgetGate::refusing(two_a_second(), Hand::default());
        gate.enter(RequestClass::Write).await.expect("free");
        gate.enter(RequestClass::Write).await.expect("free");
        assert_eq!(
            gate.enter(RequestClass::Write).await.expect_err("used up"),
            Duration::from_secs(1)
        );
        gate.pause(Duration::from_secs(90)).await;
        assert_eq!(
            gate.enter(RequestClass::Read).await.expect_err("paused"),
            Duration::from_secs(90)
        );
    }
}
