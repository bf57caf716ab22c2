//! When a deadline may lie: in office hours, on working days, outside of what somebody keeps free, all of it where the
//! owner of a device lives. Time zones have their IANA names and come from tables that are compiled in. Asks neither a clock nor
//! the system.

mod blackout;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{Date, Month, OffsetDateTime, Time, UtcOffset, Weekday};

pub use blackout::{Blackout, FreeBound};

use crate::clock::Timestamp;
use crate::error::Error;

/// Deadlines begin at whole hours of the owner's clock, counted from the beginning of the office hours.
const STEP_MINUTES: u16 = 60;
/// No plan is longer: Apple takes deadlines for 90 days.
const MOST_DAYS: i32 = 120;
/// The most times that are kept free.
const MOST_BLACKOUTS: usize = 200;

/// A time zone by its IANA name, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(&'static str);

impl Zone {
    /// The one of the whole world.
    #[must_use]
    pub const fn utc() -> Self {
        Self("UTC")
    }

    /// Reads a name; small letters are as good.
    ///
    /// # Errors
    /// [`Error::BadInput`] for one that is in no table.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let names = tzdb::TZ_NAMES.iter();
        let mut found = names.filter(|known| known.eq_ignore_ascii_case(name.trim()));
        found.next().map(|name| Self(name)).ok_or_else(|| {
            Error::bad_input(
                "time_zone",
                "must be the name of a time zone, like Europe/Berlin",
            )
        })
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.0
    }

    /// What its clocks are ahead of UTC at a moment.
    fn offset(&self, at: i64) -> UtcOffset {
        let known = tzdb::tz_by_name(self.0)
            .and_then(|zone| zone.find_local_time_type(at).ok())
            .map_or(0, |kind| kind.ut_offset());
        UtcOffset::from_whole_seconds(known).unwrap_or(UtcOffset::UTC)
    }

    /// What its clocks show at a moment.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> Local {
        let utc =
            OffsetDateTime::from_unix_timestamp(at.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let there = utc.to_offset(self.offset(at.as_secs()));
        let minute = u16::from(there.hour()) * 60 + u16::from(there.minute());
        Local {
            day: Day(there.date()),
            minute,
        }
    }

    /// When its clocks show this minute of a day. Of a minute that comes twice the first; in place of one that is left out, the
    /// one as long after the change.
    #[must_use]
    pub fn moment(&self, day: Day, minute: u16) -> Timestamp {
        let midnight = day.0.with_time(Time::MIDNIGHT).assume_utc();
        let wall = midnight.unix_timestamp() + i64::from(minute) * 60;
        let seconds = |offset: UtcOffset| i64::from(offset.whole_seconds());
        // The offset before any change of that day, which is the first of two, and the one behind a gap.
        let before = seconds(self.offset(wall - seconds(self.offset(wall)) - 3 * 3600));
        let first = wall - before;
        let at = if seconds(self.offset(first)) == before {
            first
        } else {
            let after = seconds(self.offset(first));
            let second = wall - after;
            if seconds(self.offset(second)) == after {
                second
            } else {
                first
            }
        };
        Timestamp::from_millis(at * 1000)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(de::Error::custom)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a clock somewhere shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "a day and a minute of it")]
pub struct Local {
    /// The day.
    pub day: Day,
    /// Minutes since its midnight.
    pub minute: u16,
}

/// A day of the calendar, written `2026-12-24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Day(Date);

impl Day {
    /// Reads `2026-12-24`.
    ///
    /// # Errors
    /// [`Error::BadInput`] for what is no day.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let number = |part: &str| part.parse::<u16>().ok();
        let day = || {
            let mut parts = text.trim().split('-');
            let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() || year.len() != 4 {
                return None;
            }
            let month = Month::try_from(u8::try_from(number(month)?).ok()?).ok()?;
            let day = u8::try_from(number(day)?).ok()?;
            Date::from_calendar_date(i32::from(number(year)?), month, day).ok()
        };
        day()
            .map(Self)
            .ok_or_else(|| Error::bad_input("day", "must be a day like 2026-12-24"))
    }

    fn next(self) -> Option<Self> {
        self.0.next_day().map(Self)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        write!(f, "{year:04}-{:02}-{day:02}", u8::from(month))
    }
}

impl TryFrom<String> for Day {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, clippy::exhaustive_enums, reason = "the seven")]
pub enum WeekDay {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Weekday> for WeekDay {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

/// A time of day, written `09:00`; in minutes since midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// Reads `09:00`; `24:00` is the end of the day.
    ///
    /// # Errors
    /// [`Error::BadInput`] for what is no time of day.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let read = || {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            let all = hour.checked_mul(60)?.checked_add(minute)?;
            (minute < 60 && all <= 24 * 60).then_some(Self(all))
        };
        read().ok_or_else(|| Error::bad_input("hours", "must be a time of day like 09:00"))
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        format!("{:02}:{:02}", time.0 / 60, time.0 % 60)
    }
}

/// When deadlines may lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Calendar {
    /// Where owners live of whom nothing else is known.
    pub zone: Zone,
    /// When their day begins.
    pub from: TimeOfDay,
    /// Until when a deadline may come, so that somebody is there who can help.
    pub until: TimeOfDay,
    /// The days of the week on which somebody is.
    pub days: BTreeSet<WeekDay>,
    /// What is kept free.
    pub blackouts: Vec<Blackout>,
}

impl Default for Calendar {
    fn default() -> Self {
        use WeekDay::{Fri, Mon, Thu, Tue, Wed};
        Self {
            zone: Zone::utc(),
            from: TimeOfDay(9 * 60),
            until: TimeOfDay(16 * 60),
            days: BTreeSet::from([Mon, Tue, Wed, Thu, Fri]),
            blackouts: Vec::new(),
        }
    }
}

impl Calendar {
    /// Refuses one in which there is no time at all.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the part.
    pub fn check(&self) -> Result<(), Error> {
        if self.from >= self.until {
            return Err(Error::bad_input(
                "calendar.until",
                "must be later than from",
            ));
        }
        if self.days.is_empty() {
            return Err(Error::bad_input("calendar.days", "is empty"));
        }
        if self.blackouts.len() > MOST_BLACKOUTS {
            return Err(Error::bad_input(
                "calendar.blackouts",
                format!("has more than {MOST_BLACKOUTS}"),
            ));
        }
        for (at, blackout) in self.blackouts.iter().enumerate() {
            blackout.check(&format!("calendar.blackouts[{at}]"))?;
        }
        Ok(())
    }

    /// What is kept free and a moment lies in, for an owner who lives there.
    #[must_use]
    pub fn blackout(&self, at: Timestamp, zone: Option<&Zone>) -> Option<&Blackout> {
        let zone = zone.unwrap_or(&self.zone);
        self.blackouts.iter().find(|free| free.has(at, zone))
    }

    /// Whether a moment lies within the hours of a day on which people work, for an owner who lives there.
    #[must_use]
    pub fn works(&self, at: Timestamp, zone: Option<&Zone>) -> bool {
        let local = zone.unwrap_or(&self.zone).local(at);
        let hours = self.from.0..=self.until.0;
        self.days.contains(&local.day.0.weekday().into()) && hours.contains(&local.minute)
    }

    /// Moments at which a deadline may lie for an owner who lives there, not before `first` and not after `last`.
    #[must_use]
    pub fn slots(&self, zone: Option<&Zone>, first: Timestamp, last: Timestamp) -> Vec<Timestamp> {
        let zone = zone.unwrap_or(&self.zone);
        let mut all = Vec::new();
        let mut day = zone.local(first).day;
        for _ in 0..MOST_DAYS {
            if self.days.contains(&day.0.weekday().into()) {
                let near = self.blackouts.iter().filter(|free| free.is_near(day));
                let near: Vec<&Blackout> = near.collect();
                let mut minute = self.from.0;
                while minute <= self.until.0 {
                    let at = zone.moment(day, minute);
                    // A minute that the clocks leave out is the same moment as another one.
                    let new = all.last().is_none_or(|other| *other < at);
                    let free = near.iter().any(|free| free.has(at, zone));
                    if (first..=last).contains(&at) && new && !free {
                        all.push(at);
                    }
                    minute += STEP_MINUTES;
                }
            }
            match day.next() {
                Some(next) if zone.moment(next, 0) <= last => day = next,
                _ => break,
            }
        }
        all
    }
}

/// How long a hold counts at the least: whose deadlines are closer together than this are in a hold at once. One whose runbook has a
/// higher hard ceiling counts for that long.
pub const HOLD: Duration = Duration::from_secs(45 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn zone(name: &str) -> Zone {
        Zone::parse(name).unwrap()
    }

    #[test]
    fn a_wall_clock_is_read_through_changes_of_its_offset() {
        let check = |name: &str, day: &str, minute: u16, utc: &str| {
            let day = Day::parse(day).unwrap();
            assert_eq!(zone(name).moment(day, minute), at(utc), "{name} {day}");
        };
        check("Europe/Berlin", "2026-12-10", 540, "2026-12-10T08:00:00Z");
        check("europe/berlin", "2026-07-10", 540, "2026-07-10T07:00:00Z");
        check(
            "America/New_York",
            "2026-12-10",
            540,
            "2026-12-10T14:00:00Z",
        );
        check("Asia/Kolkata", "2026-12-10", 540, "2026-12-10T03:30:00Z");
        // Half past two comes twice: the first one.
        check("Europe/Berlin", "2026-10-25", 150, "2026-10-25T00:30:00Z");
        // Half past two is left out: as long after the change.
        check("Europe/Berlin", "2027-03-28", 150, "2027-03-28T01:30:00Z");
        check("Europe/Berlin", "2027-03-28", 540, "2027-03-28T07:00:00Z");
        let local = zone("Pacific/Kiritimati").local(at("2026-12-10T12:00:00Z"));
        assert_eq!(
            (local.day.to_string().as_str(), local.minute),
            ("2026-12-11", 120)
        );
    }

    #[test]
    fn deadlines_lie_in_office_hours_and_not_on_days_that_are_kept_free() {
        let mut calendar = Calendar {
            zone: zone("Europe/Berlin"),
            until: TimeOfDay::parse("11:00").unwrap(),
            ..Calendar::default()
        };
        // A Wednesday to a Monday.
        let (first, last) = (at("2026-12-09T09:00:00Z"), at("2026-12-14T23:00:00Z"));
        let shown = |calendar: &Calendar, zone: Option<&Zone>| -> Vec<String> {
            let all = calendar.slots(zone, first, last);
            all.iter()
                .map(|at| at.to_string()[5..13].to_owned())
                .collect()
        };
        let all = ["12-09T09", "12-09T10", "12-10T08", "12-10T09", "12-10T10"];
        assert_eq!(shown(&calendar, None)[..5], all);
        assert_eq!(shown(&calendar, None).len(), 5 + 3 + 3, "no weekend");
        calendar.blackouts.push(Blackout {
            first: Day::parse("2026-12-10").unwrap().into(),
            last: Day::parse("2026-12-11").unwrap().into(),
            why: "stock-taking".to_owned(),
        });
        let monday = ["12-14T08", "12-14T09", "12-14T10"];
        assert_eq!(shown(&calendar, None)[2..], monday);
        let tokyo = zone("Asia/Tokyo");
        assert_eq!(shown(&calendar, Some(&tokyo))[..1], ["12-14T00"]);
        // Thursday evening in Berlin is Friday in Tokyo, and Friday there is free as well; Wednesday evening is not.
        assert!(
            calendar
                .blackout(at("2026-12-10T22:00:00Z"), None)
                .is_some()
        );
        assert!(
            calendar
                .blackout(at("2026-12-09T22:00:00Z"), None)
                .is_none()
        );
        assert!(
            calendar
                .blackout(at("2026-12-09T22:00:00Z"), Some(&tokyo))
                .is_some()
        );
        assert!(
            calendar
                .blackout(at("2026-12-11T22:00:00Z"), Some(&tokyo))
                .is_none()
        );
    }

    #[test]
    fn the_offices_open_at_their_hour_on_both_sides_of_a_change_of_the_clocks() {
        let calendar = Calendar {
            zone: zone("Europe/Berlin"),
            until: TimeOfDay::parse("10:00").unwrap(),
            ..Calendar::default()
        };
        let hours = |first: &str, last: &str, of: &Calendar| -> Vec<String> {
            let all = of.slots(None, at(first), at(last));
            all.iter()
                .map(|m| m.to_string()[5..16].to_owned())
                .collect()
        };
        // A Friday and the Monday after it; one hour later, then one hour earlier by the sun.
        assert_eq!(
            hours("2026-10-23T00:00:00Z", "2026-10-26T22:00:00Z", &calendar),
            ["10-23T07:00", "10-23T08:00", "10-26T08:00", "10-26T09:00"]
        );
        assert_eq!(
            hours("2027-03-26T00:00:00Z", "2027-03-29T21:00:00Z", &calendar),
            ["03-26T08:00", "03-26T09:00", "03-29T07:00", "03-29T08:00"]
        );
        // Through the night of the change itself no moment is given twice and none is left out.
        let night = Calendar {
            days: BTreeSet::from([WeekDay::Sun]),
            from: TimeOfDay::parse("01:00").unwrap(),
            until: TimeOfDay::parse("04:00").unwrap(),
            ..calendar
        };
        assert_eq!(
            hours("2027-03-27T23:00:00Z", "2027-03-28T06:00:00Z", &night),
            ["03-28T00:00", "03-28T01:00", "03-28T02:00"]
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        assert!(Zone::parse("Mars/Olympus").is_err());
        for text in ["2026-02-30", "26-12-24", "2026-12", "2026-12-24-1", "x"] {
            assert!(Day::parse(text).is_err(), "{text}");
        }
        for text in ["9", "24:01", "12:60", "-1:00"] {
            assert!(TimeOfDay::parse(text).is_err(), "{text}");
        }
        let none = Calendar {
            days: BTreeSet::new(),
            ..Calendar::default()
        };
        assert!(none.check().is_err());
        Calendar::default().check().unwrap();
        let json = serde_json::to_value(Calendar::default()).unwrap();
        assert_eq!(json["from"], "09:00");
        assert_eq!(
            serde_json::from_value::<Calendar>(json).unwrap(),
            Calendar::default()
        );
    }
}
