//! The date until which a migration must begin, checked before anything is sent. Reads no clock.

use crate::error::{Endpoint, Error, Service};
use crate::moment::{Moment, write_ms};

const CHECK: Endpoint = Endpoint::read(Service::Local, "migration deadline");

/// Apple accepts no date further ahead than this.
const FURTHEST_MS: i64 = 90 * 24 * 3600 * 1000;

/// A deadline that has been checked; written as `2026-12-10T17:00:00.000Z`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    unix_ms: i64,
    may_be_past: bool,
}

/// The explicit will to take time away from people: an earlier or past deadline is honoured at once, and they can no
/// longer postpone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Force {
    reason: String,
}

impl Force {
    /// For this reason, which is kept for the audit trail and not sent.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) when no reason is given.
    pub fn because(reason: impl Into<String>) -> Result<Self, Error> {
        let reason = reason.into();
        if reason.trim().is_empty() {
            return Err(Error::invalid(
                CHECK,
                "reason",
                "a forced deadline needs one",
            ));
        }
        Ok(Self { reason })
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl Deadline {
    /// A deadline for a new migration: in the future, at most 90 days ahead.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) says what is wrong.
    pub fn for_assignment(at: &Moment, now_ms: i64) -> Result<Self, Error> {
        let deadline = Self {
            unix_ms: read(at)?,
            may_be_past: false,
        };
        deadline.check(now_ms)?;
        Ok(deadline)
    }

    /// A new deadline for a migration that was asked for before. `current` is the deadline in force, as just read; an
    /// earlier or past one, and any one while the current is unknown, needs `force`.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) says what is wrong.
    pub fn for_update(
        at: &Moment,
        current: Option<&Moment>,
        force: Option<&Force>,
        now_ms: i64,
    ) -> Result<Self, Error> {
        let unix_ms = read(at)?;
        if force.is_none() {
            let current = current.and_then(Moment::unix_ms).ok_or_else(|| {
                Error::invalid(
                    CHECK,
                    "deadline",
                    "the current one is unknown: read the device first, or force it",
                )
            })?;
            if unix_ms < current {
                return Err(Error::invalid(
                    CHECK,
                    "deadline",
                    "earlier than the current one; that must be forced",
                ));
            }
        }
        let deadline = Self {
            unix_ms,
            may_be_past: force.is_some(),
        };
        deadline.check(now_ms)?;
        Ok(deadline)
    }

    /// Checks again, right before sending: time may have passed.
    pub(super) fn check(&self, now_ms: i64) -> Result<(), Error> {
        if self.unix_ms > now_ms.saturating_add(FURTHEST_MS) {
            return Err(Error::invalid(CHECK, "deadline", "more than 90 days ahead"));
        }
        if self.unix_ms <= now_ms && !self.may_be_past {
            return Err(Error::invalid(CHECK, "deadline", "not in the future"));
        }
        Ok(())
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        self.unix_ms
    }

    /// As it is sent.
    #[must_use]
    pub fn text(&self) -> String {
        write_ms(self.unix_ms)
    }
}

fn read(at: &Moment) -> Result<i64, Error> {
    at.unix_ms()
        .filter(|_| at.as_str().contains(['T', 't']))
        .ok_or_else(|| {
            Error::invalid(
                CHECK,
                "deadline",
                "no date and time like 2026-12-10T17:00:00Z",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_190_400_000; // 2026-11-20T16:00:00Z

    fn refused(result: Result<Deadline, Error>, words: &str) {
        let error = result.expect_err("refused");
        assert!(
            error.is_invalid_input() && error.to_string().contains(words),
            "{error}"
        );
    }

    #[test]
    fn a_new_deadline_is_in_the_future_and_within_90_days() {
        let at = |text: &str| Deadline::for_assignment(&Moment::parse(text), NOW);
        assert_eq!(
            at("2026-12-10T18:00:00+01:00").expect("good").text(),
            "2026-12-10T17:00:00.000Z"
        );
        at("2027-02-18T16:00:00Z").expect("exactly 90 days");
        refused(at("2027-02-18T16:00:00.001Z"), "90 days");
        refused(at("2026-11-20T16:00:00Z"), "not in the future");
        for text in ["", "tomorrow", "2026-12-10", "2026-12-10T17:00:00"] {
            refused(at(text), "no date and time");
        }
    }

    #[test]
    fn an_earlier_or_past_deadline_must_be_forced() {
        let (current, later, earlier, past) = (
            Moment::from_unix_ms(NOW + 1_000_000),
            Moment::from_unix_ms(NOW + 2_000_000),
            Moment::from_unix_ms(NOW + 500_000),
            Moment::from_unix_ms(NOW - 1),
        );
        let force = Force::because("the old service ends").expect("a reason");
        Deadline::for_update(&later, Some(&current), None, NOW).expect("later");
        refused(
            Deadline::for_update(&earlier, Some(&current), None, NOW),
            "must be forced",
        );
        refused(
            Deadline::for_update(&later, None, None, NOW),
            "read the device first",
        );
        refused(
            Deadline::for_update(&past, Some(&past), None, NOW),
            "not in the future",
        );
        for at in [&earlier, &past] {
            Deadline::for_update(at, Some(&current), Some(&force), NOW).expect("forced");
        }
        let far = Moment::from_unix_ms(NOW + FURTHEST_MS + 1);
        refused(
            Deadline::for_update(&far, None, Some(&force), NOW),
            "90 days",
        );
        assert!(Force::because("  ").is_err());
    }
}
