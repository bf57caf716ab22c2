//! Time as data. [`SystemClock`] is the one place that asks the operating system; rules take `now` as an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// The first whole minute after this moment.
    #[must_use]
    pub const fn next_minute(self) -> Self {
        Self(
            self.0
                .div_euclid(60_000)
                .saturating_add(1)
                .saturating_mul(60_000),
        )
    }

    /// The first midnight, in UTC, after this moment.
    #[must_use]
    pub const fn next_day(self) -> Self {
        Self(
            self.0
                .div_euclid(86_400_000)
                .saturating_add(1)
                .saturating_mul(86_400_000),
        )
    }

    /// Reads RFC 3339 text such as `2026-12-10T17:00:00Z`, with or without fractions, with any offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000))
            .ok()
            .map(Self)
    }
}

impl fmt::Display for Timestamp {
    /// `2026-12-10T17:00:00.000Z`, the form of Apple's examples.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(moment) = OffsetDateTime::from_unix_timestamp(self.as_secs()) else {
            return write!(f, "{}ms", self.0);
        };
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second(),
            self.0.rem_euclid(1000)
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("must be a time like 2026-12-24T18:00:00Z or with an offset")
        })
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// Where `now` comes from, once per request or job.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the operating system"
    )]
    fn now(&self) -> Timestamp {
        let elapsed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }
}

/// How long this process has waited for something, whatever the injected clock shows. The longer of what two clocks say: that of the
/// process stands while a machine sleeps, and that of the operating system may be set back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    process: Instant,
    wall: Timestamp,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            process: Instant::now(),
            wall: Self::wall(),
        }
    }

    /// One that has run for so long already.
    pub(crate) fn running_for(span: Duration) -> Self {
        let now = Self::start();
        Self {
            wall: now.wall - span,
            ..now
        }
    }

    pub(crate) fn elapsed(self) -> Duration {
        let by_wall = Self::wall().since(self.wall);
        self.process.elapsed().max(by_wall)
    }

    #[cfg(not(test))]
    fn wall() -> Timestamp {
        SystemClock.now()
    }

    /// A test of what takes a minute does not wait for it: its own thread's clock goes ahead.
    #[cfg(test)]
    fn wall() -> Timestamp {
        SystemClock.now() + tests::AHEAD.get()
    }

    /// One that has run for as long as whichever of the two has run for longer.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn longer(self, other: Self) -> Self {
        Self {
            process: self.process.min(other.process),
            wall: self.wall.min(other.wall),
        }
    }
}

/// A clock that somebody sets: for rehearsals and tests. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.0)))
    }

    /// Moves the clock; also backwards, as real clocks do.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.0, Ordering::SeqCst);
    }

    /// Moves the clock forward by `span`.
    pub fn advance(&self, span: Duration) {
        self.set(self.now() + span);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// How far what stopwatches of this thread go by is ahead of the system's clock.
        pub(crate) static AHEAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    #[test]
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    fn of_two_stopwatches_the_longer_one_counts() {
        let (old, new) = (
            Stopwatch::running_for(Duration::from_secs(50)),
            Stopwatch::start(),
        );
        assert!(new.elapsed() < Duration::from_secs(40));
        for both in [old.longer(new), new.longer(old)] {
            assert!(both.elapsed() >= Duration::from_secs(50));
            assert!(both.elapsed() < Duration::from_secs(90));
        }
    }

    #[test]
    fn a_day_begins_after_the_moment_itself() {
        let day = 86_400_000;
        for (at, next) in [(0, day), (day - 1, day), (day, 2 * day), (-1, 0)] {
            let next = Timestamp::from_millis(next);
            assert_eq!(Timestamp::from_millis(at).next_day(), next, "{at}");
        }
    }

    #[test]
    fn a_moment_is_written_as_apple_writes_it_and_read_back() {
        let moment = Timestamp::from_millis(1_796_922_000_123);
        assert_eq!(moment.to_string(), "2026-12-10T17:00:00.123Z");
        assert_eq!(
            Timestamp::parse("2026-12-10T18:00:00.123+01:00"),
            Some(moment)
        );
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
