//! What somebody keeps free of deadlines: whole days, or from one time of a day to another, as clocks show it where the owner of a device
//! lives.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Calendar, Day, TimeOfDay, Zone};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::line;

/// The most that are named in a sentence.
const MOST_NAMED: usize = 5;
/// The field of a calendar.
const FIELD: &str = "calendar.blackouts";

/// Where it begins or ends: a whole day, written `2026-12-24`, or a time of one, written `2026-12-24T18:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct FreeBound {
    day: Day,
    time: Option<TimeOfDay>,
}

impl FreeBound {
    /// Reads `2026-12-24` or `2026-12-24T18:00`.
    ///
    /// # Errors
    /// [`Error::BadInput`] for what is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (day, time) = match text.split_once('T') {
            Some((day, time)) => (day, Some(TimeOfDay::parse(time))),
            None => (text, None),
        };
        let read = || -> Result<Self, Error> {
            let (day, time) = (Day::parse(day)?, time.transpose()?);
            Ok(Self { day, time })
        };
        read().map_err(|_| {
            Error::bad_input(
                FIELD,
                // Short enough for the API to pass it on.
                "must be a day like 2026-12-24 or a time like 2026-12-24T18:00",
            )
        })
    }

    /// Whether it is a time, and no whole day.
    #[must_use]
    pub const fn is_time(&self) -> bool {
        self.time.is_some()
    }
}

impl From<Day> for FreeBound {
    fn from(day: Day) -> Self {
        Self { day, time: None }
    }
}

impl fmt::Display for FreeBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.day.fmt(f)?;
        match self.time {
            Some(time) => write!(f, "T{}", String::from(time)),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for FreeBound {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<FreeBound> for String {
    fn from(bound: FreeBound) -> Self {
        bound.to_string()
    }
}

/// Days on which no deadline lies, first and last among them, or the time between two times, the first among it and the last not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Blackout {
    /// The first of them.
    pub first: FreeBound,
    /// The last of them, or the time at which it is over.
    pub last: FreeBound,
    /// Why.
    #[serde(default)]
    pub why: String,
}

impl Blackout {
    /// Refuses one that keeps nothing free; `field` is its own place in a calendar.
    pub(super) fn check(&self, field: &str) -> Result<(), Error> {
        let minute = |bound: FreeBound, of_day| bound.time.map_or(of_day, |time| time.0);
        let begins = (self.first.day, minute(self.first, 0));
        let ends = (self.last.day, minute(self.last, 24 * 60));
        if begins >= ends {
            return Err(Error::bad_input(
                field,
                "keeps nothing free: the last day must not be before the first, and a time at which it is over must come after its beginning",
            ));
        }
        line::check(&format!("{field}.why"), &self.why, 200)
    }

    /// Whether a moment lies in it where clocks show the time of this zone. Times are read through changes of the clocks as deadlines
    /// are ([`Zone::moment`]); a day is as long as they show it.
    pub(super) fn has(&self, at: Timestamp, zone: &Zone) -> bool {
        let today = zone.local(at).day;
        let begun = match self.first.time {
            None => self.first.day <= today,
            Some(time) => zone.moment(self.first.day, time.0) <= at,
        };
        let over = match self.last.time {
            None => self.last.day < today,
            Some(time) => zone.moment(self.last.day, time.0) <= at,
        };
        begun && !over
    }

    /// Whether anything of it may lie on one of these days.
    fn meets(&self, first: Day, last: Day) -> bool {
        self.first.day <= last && self.last.day >= first
    }

    /// Whether anything of it may lie on a day, or on the midnight at its end.
    pub(super) fn is_near(&self, day: Day) -> bool {
        let first_is_near = self.first.day <= day.next().unwrap_or(day);
        first_is_near && self.last.day >= day
    }
}

impl fmt::Display for Blackout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)?;
        match self.why.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.why),
        }
    }
}

impl Calendar {
    /// What is kept free between two moments where clocks show the time of this zone, for a sentence that tells of too little time: nothing
    /// where nothing is, and no more than a few of many.
    pub(crate) fn kept_free(&self, zone: &Zone, first: Timestamp, last: Timestamp) -> String {
        let (first, last) = (zone.local(first).day, zone.local(last).day);
        let of_it = self.blackouts.iter().filter(|free| free.meets(first, last));
        let mut named: Vec<String> = of_it.map(Blackout::to_string).collect();
        if named.is_empty() {
            return String::new();
        }
        let more = named.len().saturating_sub(MOST_NAMED);
        named.truncate(MOST_NAMED);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("; kept free of that time: {}{more}", named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn kept(first: &str, last: &str) -> Calendar {
        let free = serde_json::json!({ "first": first, "last": last, "why": "closing" });
        let calendar = Calendar {
            zone: Zone::parse("Europe/Berlin").unwrap(),
            blackouts: vec![serde_json::from_value(free).unwrap()],
            ..Calendar::default()
        };
        calendar.check().unwrap();
        calendar
    }

    #[test]
    fn times_are_kept_free_as_clocks_show_them_where_the_owner_lives() {
        let calendar = kept("2026-12-24T12:00", "2026-12-28T10:00");
        let is_free =
            |moment: &str, zone: Option<&Zone>| calendar.blackout(at(moment), zone).is_some();
        // From noon in Berlin, which is 11 in UTC, and the end is not part of it.
        for (moment, free) in [
            ("2026-12-24T10:59:59Z", false),
            ("2026-12-24T11:00:00Z", true),
            ("2026-12-26T11:00:00Z", true),
            ("2026-12-28T08:59:59Z", true),
            ("2026-12-28T09:00:00Z", false),
        ] {
            assert_eq!(is_free(moment, None), free, "{moment}");
        }
        // Noon comes eight hours earlier in Tokyo, and so does ten.
        let tokyo = Zone::parse("Asia/Tokyo").unwrap();
        for (moment, free) in [
            ("2026-12-24T02:59:59Z", false),
            ("2026-12-24T03:00:00Z", true),
            ("2026-12-28T00:59:59Z", true),
            ("2026-12-28T01:00:00Z", false),
        ] {
            assert_eq!(is_free(moment, Some(&tokyo)), free, "{moment}");
        }
        // Deadlines are planned around it, on the same day too.
        let slots = calendar.slots(None, at("2026-12-24T00:00:00Z"), at("2026-12-28T22:00:00Z"));
        let hours: Vec<String> = slots
            .iter()
            .map(|at| at.to_string()[5..13].to_owned())
            .collect();
        assert_eq!(hours[..4], ["12-24T08", "12-24T09", "12-24T10", "12-28T09"]);
        assert_eq!(hours.len(), 3 + 7, "{hours:?}");
    }

    #[test]
    fn changes_of_the_clocks_move_its_ends_as_they_move_deadlines() {
        // Half past two comes twice: from the first one, and until the first one.
        let from = kept("2026-10-25T02:30", "2026-10-25");
        let until = kept("2026-10-25", "2026-10-25T02:30");
        let free =
            |calendar: &Calendar, moment: &str| calendar.blackout(at(moment), None).is_some();
        for (moment, behind) in [
            ("2026-10-25T00:29:59Z", false),
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:10:00Z", true),
            ("2026-10-25T01:40:00Z", true),
        ] {
            assert_eq!(free(&from, moment), behind, "{moment}");
            assert_eq!(free(&until, moment), !behind, "{moment}");
        }
        // Half past two is left out: as long after the change.
        let until = kept("2027-03-28", "2027-03-28T02:30");
        assert!(free(&until, "2027-03-28T01:29:59Z"));
        assert!(!free(&until, "2027-03-28T01:30:00Z"));
        // A day of 25 hours is free for 25 hours.
        let day = kept("2026-10-25", "2026-10-25");
        for (moment, whole) in [
            ("2026-10-24T21:59:59Z", false),
            ("2026-10-24T22:00:00Z", true),
            ("2026-10-25T22:59:59Z", true),
            ("2026-10-25T23:00:00Z", false),
        ] {
            assert_eq!(free(&day, moment), whole, "{moment}");
        }
    }

    #[test]
    fn a_deadline_at_the_end_of_a_day_lies_on_the_next_one() {
        let mut calendar = kept("2026-12-10", "2026-12-10");
        calendar.from = TimeOfDay::parse("22:00").unwrap();
        calendar.until = TimeOfDay::parse("24:00").unwrap();
        let (first, last) = (at("2026-12-09T12:00:00Z"), at("2026-12-11T12:00:00Z"));
        let slots = calendar.slots(None, first, last);
        assert!(
            slots
                .iter()
                .all(|at| calendar.blackout(*at, None).is_none()),
            "{slots:?}"
        );
        // Ten and eleven of the 9th, and midnight at the end of the 10th.
        assert_eq!(slots.len(), 3, "{slots:?}");
    }

    #[test]
    fn what_is_written_is_read_again_and_what_keeps_nothing_free_is_refused() {
        for text in ["2026-12-24", "2026-12-24T18:00", "2026-12-24T24:00"] {
            assert_eq!(FreeBound::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "2026-12-24T",
            "2026-12-24T25:00",
            "2026-12-24T18:00Z",
            "2026-12-24 18:00",
            "T18:00",
        ] {
            let refused = FreeBound::parse(text).unwrap_err().to_string();
            assert!(refused.contains("2026-12-24T18:00"), "{refused}");
        }
        let of = |first: &str, last: &str| Blackout {
            first: FreeBound::parse(first).unwrap(),
            last: FreeBound::parse(last).unwrap(),
            why: String::new(),
        };
        for (first, last) in [
            ("2026-12-24", "2026-12-23"),
            ("2026-12-24T18:00", "2026-12-24T18:00"),
            ("2026-12-24T18:00", "2026-12-24T09:00"),
            ("2026-12-24", "2026-12-24T00:00"),
            ("2026-12-24T24:00", "2026-12-24"),
        ] {
            let refused = of(first, last).check("blackouts[2]").unwrap_err();
            let said = refused.to_string();
            assert!(
                said.starts_with("blackouts[2]: keeps nothing free"),
                "{said}"
            );
        }
        let whole = of("2026-12-24", "2026-12-24");
        of("2026-12-24T18:00", "2026-12-24").check("b").unwrap();
        whole.check("b").unwrap();
        // Of several, the one that is wrong is named.
        let mut wrong = whole.clone();
        wrong.why = "a\u{1b}".to_owned();
        let calendar = Calendar {
            blackouts: vec![whole.clone(), whole, wrong],
            ..Calendar::default()
        };
        let said = calendar.check().unwrap_err().to_string();
        assert!(
            said.starts_with("calendar.blackouts[2].why: must be without control"),
            "{said}"
        );
    }
}
