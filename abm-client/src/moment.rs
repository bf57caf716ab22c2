//! Times as Apple writes them. A time that cannot be read is kept as text: it never makes a record unreadable.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// A time in an answer: the text as received, and what it means if it could be read.
///
/// Apple's services write ISO 8601 in UTC, with or without fractions; Apps and Books writes offsets without a
/// colon; some fields hold only a day, which is read as its first moment in UTC.
#[derive(Clone)]
pub struct Moment {
    text: Box<str>,
    unix_ms: Option<i64>,
}

impl Moment {
    /// Reads a text. What is no time keeps its text and has no [`unix_ms`](Self::unix_ms).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self {
            unix_ms: read(text.trim()),
            text: text.into(),
        }
    }

    /// A time given in milliseconds since 1970, written as `2026-12-10T17:00:00.000Z`.
    #[must_use]
    pub fn from_unix_ms(unix_ms: i64) -> Self {
        Self {
            text: write_ms(unix_ms).into(),
            unix_ms: Some(unix_ms),
        }
    }

    /// Milliseconds since 1970, or `None` when the text is no time.
    #[must_use]
    pub fn unix_ms(&self) -> Option<i64> {
        self.unix_ms
    }

    /// The text as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// `2026-12-10T17:00:00.000Z`, as in the examples of the organisation API. Times beyond year 9999 are clamped.
pub(crate) fn write_ms(unix_ms: i64) -> String {
    let at = clamped(unix_ms);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// The moment as a value of the `time` crate, kept between the years 0 and 9999.
pub(crate) fn clamped(unix_ms: i64) -> OffsetDateTime {
    // The last second of year 9999 and the first of year 0: inside what the crate can hold.
    let seconds = unix_ms
        .div_euclid(1000)
        .clamp(-62_167_219_200, 253_402_300_799);
    let base = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    base + time::Duration::milliseconds(unix_ms.rem_euclid(1000))
}

fn read(text: &str) -> Option<i64> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok();
    }
    if text.len() == 10 {
        let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
        return Some(day.midnight().assume_utc().unix_timestamp() * 1000);
    }
    // `+0000`: Apps and Books leaves the colon out.
    let (head, tail) = text.split_at_checked(text.len().checked_sub(4)?)?;
    if head.ends_with(['+', '-']) && tail.bytes().all(|b| b.is_ascii_digit()) {
        let colon = format!("{head}{}:{}", &tail[..2], &tail[2..]);
        let at = OffsetDateTime::parse(&colon, &Rfc3339).ok()?;
        return i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok();
    }
    None
}

/// Two times are equal when they mean the same moment; unreadable ones when their texts are equal.
impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        match (self.unix_ms, other.unix_ms) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self.text == other.text,
            _ => false,
        }
    }
}

impl Eq for Moment {}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_time_is_read() {
        let noon = 1_795_190_400_000; // 2026-11-20T16:00:00Z
        for text in [
            "2026-11-20T16:00:00Z",
            "2026-11-20T16:00:00.000Z",
            "2026-11-20T17:00:00+01:00",
            "2026-11-20T16:00:00+0000",
            "2026-11-20T11:00:00-0500",
        ] {
            assert_eq!(Moment::parse(text).unix_ms(), Some(noon), "{text}");
        }
        assert_eq!(
            Moment::parse("2026-11-20").unix_ms(),
            Some(noon - 16 * 3_600_000)
        );
        assert_eq!(
            Moment::from_unix_ms(noon + 7).as_str(),
            "2026-11-20T16:00:00.007Z"
        );
    }

    #[test]
    fn what_is_no_time_keeps_its_text() {
        for text in [
            "",
            "soon",
            "2026-13-40",
            "ééé+0000",
            "+0000",
            "0000",
            "2026-11-20T16:00:00+00é",
        ] {
            let read = Moment::parse(text);
            assert_eq!((read.unix_ms(), read.as_str()), (None, text));
        }
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        for ms in [i64::MIN, i64::MAX, 0, -1] {
            assert!(write_ms(ms).ends_with('Z'));
        }
    }
}
