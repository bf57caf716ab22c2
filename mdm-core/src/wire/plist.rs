//! Reads and writes XML property lists.
//!
//! Every property list from outside passes the guard before the parser sees it, because the parser
//! recurses (deep nesting would abort the process), drops unknown entities silently, and takes
//! CDATA for nothing. What the guard refuses: more than [`MAX_DEPTH`] levels, entities, an internal
//! subset, CDATA, binary and ASCII property lists, anything that is not UTF-8, and bodies above the
//! limit. It copies nothing but dates that are spelt in another way than Apple's.
//!
//! <https://developer.apple.com/library/archive/documentation/Cocoa/Conceptual/PropertyLists/>

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plist::{Dictionary, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The deepest nesting of elements that is read.
pub const MAX_DEPTH: usize = 64;

/// The most elements that are read: several times what the inventory of a Mac with thousands of applications has. A body of
/// the allowed size could have millions, and each becomes a value of its own.
pub const MAX_ELEMENTS: usize = 300_000;

/// The largest check-in message that is read, in bytes. Status reports are the largest of them.
pub const CHECK_IN_LIMIT: usize = 8 * 1024 * 1024;

/// The largest command report that is read, in bytes: an inventory of all applications.
pub const REPORT_LIMIT: usize = 32 * 1024 * 1024;

/// Why bytes were refused as a property list. Each sentence says what is wrong, none what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlistError {
    /// There was no content.
    #[error("the body is empty")]
    Empty,
    /// There were too many bytes.
    #[error("the property list is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A binary property list: a few bytes of it can stand for a billion nodes.
    #[error("binary property lists are not read, send XML")]
    Binary,
    /// A property list in the old text form.
    #[error("ASCII property lists are not read, send XML")]
    Ascii,
    /// No XML at all.
    #[error("the body is not an XML property list")]
    NotXml,
    /// Bytes that are not UTF-8, or a NUL character.
    #[error("the property list is not UTF-8 text")]
    NotText,
    /// Elements within elements beyond [`MAX_DEPTH`].
    #[error("the property list is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// More elements than [`MAX_ELEMENTS`].
    #[error("the property list has more than {limit} elements")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// An entity, declared or used.
    #[error("entities are not read in a property list")]
    Entity,
    /// A document type with declarations of its own.
    #[error("a document type with an internal subset is not read")]
    InternalSubset,
    /// A CDATA section.
    #[error("CDATA sections are not read in a property list")]
    Cdata,
    /// Elements that do not match, a tag without end, and the like.
    #[error("the property list is malformed XML")]
    Malformed,
    /// Well-formed XML whose values are none of a property list.
    #[error("the property list has an invalid value")]
    Invalid,
    /// A property list whose outermost value is no dictionary.
    #[error("the property list is no dictionary")]
    NotADictionary,
}

/// Reads an XML property list of at most `limit` bytes.
pub fn read(bytes: &[u8], limit: usize) -> Result<Value, PlistError> {
    let text = guard(bytes, limit)?;
    Value::from_reader_xml(text.as_bytes()).map_err(|_| PlistError::Invalid)
}

/// Reads an XML property list whose outermost value is a dictionary.
pub fn read_dictionary(bytes: &[u8], limit: usize) -> Result<Dictionary, PlistError> {
    match read(bytes, limit)? {
        Value::Dictionary(dictionary) => Ok(dictionary),
        _ => Err(PlistError::NotADictionary),
    }
}

/// Writes a value as an XML property list: dates in whole seconds, as Apple spells them, and no
/// character that XML forbids.
///
/// The value is ours or was read under [`MAX_DEPTH`]; indentation makes the size quadratic in it.
#[must_use]
pub fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    cleaned(value)
        .to_writer_xml(&mut out)
        // Writing to a vector does not fail, and `cleaned` leaves only values that XML can spell.
        .expect("a cleaned value can be written to memory");
    out.push(b'\n');
    out
}

/// Writes a dictionary; see [`write()`].
#[must_use]
pub fn write_dictionary(dictionary: &Dictionary) -> Vec<u8> {
    write(&Value::Dictionary(dictionary.clone()))
}

fn cleaned(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(cleaned).collect()),
        Value::Dictionary(inner) => Value::Dictionary(
            inner
                .iter()
                .map(|(key, value)| (printable(key).into_owned(), cleaned(value)))
                .collect(),
        ),
        Value::String(text) => Value::String(printable(text).into_owned()),
        Value::Date(date) => Value::Date(whole_seconds(*date)),
        // A reference has no meaning outside of a binary property list, which we never write.
        Value::Uid(uid) => Value::Integer(uid.get().into()),
        other => other.clone(),
    }
}

fn whole_seconds(date: plist::Date) -> plist::Date {
    let time: SystemTime = date.into();
    let whole = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => UNIX_EPOCH + Duration::from_secs(after.as_secs()),
        // Rounded towards the past, as after 1970.
        Err(before) => {
            let before = before.duration();
            let seconds = before.as_secs() + u64::from(before.subsec_nanos() > 0);
            UNIX_EPOCH
                .checked_sub(Duration::from_secs(seconds))
                .unwrap_or(UNIX_EPOCH)
        }
    };
    whole.into()
}

/// Without the characters that XML 1.0 forbids; the writer would pass them through.
fn printable(text: &str) -> Cow<'_, str> {
    let forbidden = |c: char| {
        (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{FFFE}' | '\u{FFFF}')
    };
    if text.contains(forbidden) {
        Cow::Owned(text.chars().filter(|c| !forbidden(*c)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// One linear pass over the bytes, without recursion and without allocation in the usual case.
fn guard(bytes: &[u8], limit: usize) -> Result<Cow<'_, str>, PlistError> {
    if bytes.len() > limit {
        return Err(PlistError::TooLarge { limit });
    }
    if bytes.starts_with(b"bplist") {
        return Err(PlistError::Binary);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| PlistError::NotText)?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if text.contains('\0') {
        return Err(PlistError::NotText);
    }
    match text.trim_start().as_bytes() {
        [] => return Err(PlistError::Empty),
        [b'<', b'?' | b'!' | b'a'..=b'z', ..] => {}
        [b'{' | b'(' | b'"', ..] | [b'/', b'/' | b'*', ..] => return Err(PlistError::Ascii),
        // The old text form writes data as `<0fbd77 1c2735ae>`.
        [b'<', b'0'..=b'9' | b'A'..=b'F' | b' ', ..] => return Err(PlistError::Ascii),
        _ => return Err(PlistError::NotXml),
    }
    let dates = Scanner { text, at: 0 }.scan()?;
    respell(text, &dates)
}

/// Walks over tags, comments and text. It is stricter than XML where leniency could let it count
/// other elements than the parser sees: what it skips, the parser must skip at the same place.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

type Span = std::ops::Range<usize>;

impl Scanner<'_> {
    /// The spans of all date texts.
    fn scan(mut self) -> Result<Vec<Span>, PlistError> {
        let bytes = self.text.as_bytes();
        let mut open: Vec<Span> = Vec::with_capacity(8);
        let mut dates = Vec::new();
        let mut date_from = None;
        let mut elements = 0_usize;
        while self.at < bytes.len() {
            let rest = &bytes[self.at..];
            match rest[0] {
                b'<' => {}
                b'&' => {
                    self.reference(rest)?;
                    continue;
                }
                _ => {
                    // On to the next byte that can mean something.
                    let skip = rest.iter().position(|b| matches!(b, b'<' | b'&'));
                    self.at += skip.unwrap_or(rest.len());
                    continue;
                }
            }
            if rest.starts_with(b"<!--") {
                // `<!-->` and `<!--->` are no comments, and parsers differ about them.
                let body = &rest[4..];
                if body.starts_with(b">") || body.starts_with(b"->") {
                    return Err(PlistError::Malformed);
                }
                let end = find(body, b"-->").ok_or(PlistError::Malformed)?;
                self.at += 4 + end + 3;
            } else if rest.starts_with(b"<![CDATA[") {
                return Err(PlistError::Cdata);
            } else if rest.starts_with(b"<!") {
                self.doctype(rest)?;
            } else if rest.starts_with(b"<?") {
                if rest.starts_with(b"<?>") {
                    return Err(PlistError::Malformed);
                }
                let end = find(rest, b"?>").ok_or(PlistError::Malformed)?;
                self.at += end + 2;
            } else if rest.starts_with(b"</") {
                let end = find(rest, b">").ok_or(PlistError::Malformed)?;
                let name = self.text[self.at + 2..self.at + end].trim_end();
                let opened = open.pop().ok_or(PlistError::Malformed)?;
                if self.text[opened] != *name {
                    return Err(PlistError::Malformed);
                }
                if let Some(from) = date_from.take() {
                    dates.push(from..self.at);
                }
                self.at += end + 1;
            } else {
                let end = tag_end(rest).ok_or(PlistError::Malformed)?;
                let name_len = rest[1..end]
                    .iter()
                    .position(|b| b.is_ascii_whitespace() || *b == b'/')
                    .unwrap_or(end - 1);
                if name_len == 0 {
                    return Err(PlistError::Malformed);
                }
                let name = self.at + 1..self.at + 1 + name_len;
                elements += 1;
                if elements > MAX_ELEMENTS {
                    return Err(PlistError::TooMany {
                        limit: MAX_ELEMENTS,
                    });
                }
                let self_closing = rest[end - 1] == b'/';
                date_from = None;
                // An empty element is a level too, to the parser.
                if open.len() == MAX_DEPTH {
                    return Err(PlistError::TooDeep { limit: MAX_DEPTH });
                }
                if !self_closing {
                    if self.text[name.clone()] == *"date" {
                        date_from = Some(self.at + end + 1);
                    }
                    open.push(name);
                }
                self.at += end + 1;
            }
        }
        if open.is_empty() {
            Ok(dates)
        } else {
            Err(PlistError::Malformed)
        }
    }

    /// Only the five names that XML itself defines, and numbers.
    fn reference(&mut self, rest: &[u8]) -> Result<(), PlistError> {
        let end = rest
            .iter()
            .take(12)
            .position(|b| *b == b';')
            .ok_or(PlistError::Malformed)?;
        match &rest[1..end] {
            b"amp" | b"lt" | b"gt" | b"quot" | b"apos" => {}
            [b'#', b'x' | b'X', digits @ ..]
                if !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit) => {}
            [b'#', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {}
            _ => return Err(PlistError::Entity),
        }
        self.at += end + 1;
        Ok(())
    }

    /// The ordinary `<!DOCTYPE plist PUBLIC "…" "…">` and nothing more.
    fn doctype(&mut self, rest: &[u8]) -> Result<(), PlistError> {
        let is = |word: &[u8]| {
            rest.get(..word.len())
                .is_some_and(|b| b.eq_ignore_ascii_case(word))
        };
        if is(b"<!ENTITY") {
            return Err(PlistError::Entity);
        }
        if !is(b"<!DOCTYPE") {
            return Err(PlistError::Malformed);
        }
        let end = tag_end(rest).ok_or(PlistError::Malformed)?;
        let mut quoted = None;
        for byte in &rest[..end] {
            match (quoted, *byte) {
                (None, b'[') => return Err(PlistError::InternalSubset),
                (None, b'"' | b'\'') => quoted = Some(*byte),
                (Some(quote), byte) if byte == quote => quoted = None,
                // A quoted bracket is part of an address.
                _ => {}
            }
        }
        self.at += end + 1;
        Ok(())
    }
}

/// The place of the `>` that ends the tag. Quotes are minded; a `<` in a tag is malformed.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut quoted = None;
    // Noted when it passes: to look back for it at each `<` would cost the square of the tag's length.
    let mut bracket = false;
    for (at, byte) in tag.iter().enumerate().skip(1) {
        bracket |= *byte == b'[';
        match (quoted, *byte) {
            (None, b'>') => return Some(at),
            // An internal subset holds tags; its bracket has come by then.
            (None, b'<') if !bracket => return None,
            (None, b'"' | b'\'') => quoted = Some(*byte),
            (Some(quote), byte) if byte == quote => quoted = None,
            _ => {}
        }
    }
    None
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(step) = haystack[from..].iter().position(|b| *b == needle[0]) {
        from += step;
        if haystack[from..].starts_with(needle) {
            return Some(from);
        }
        from += 1;
    }
    None
}

/// Rewrites dates that the parser would refuse although their meaning is plain.
fn respell<'a>(text: &'a str, dates: &[Span]) -> Result<Cow<'a, str>, PlistError> {
    let mut out = String::new();
    let mut copied = 0;
    for span in dates {
        let written = &text[span.clone()];
        if plist::Date::from_xml_format(written).is_ok() {
            continue;
        }
        let meant = date_from_text(written).ok_or(PlistError::Invalid)?;
        out.push_str(&text[copied..span.start]);
        out.push_str(&meant);
        copied = span.end;
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(&text[copied..]);
    Ok(Cow::Owned(out))
}

/// `2026-11-20 08:15:30 +0100`, `2026-11-20T08:15:30+01`, `2026-11-20T08:15:30` (taken as UTC) and
/// a bare day are read; everything else is not a date.
fn date_from_text(text: &str) -> Option<String> {
    let text = text.trim();
    let (day, rest) = text.split_at_checked(10)?;
    let rest = rest.trim_start_matches(['T', 't', ' ']);
    let clock_len = rest
        .find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.'))
        .unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(clock_len);
    let clock = match clock.len() {
        0 => "00:00:00".to_owned(),
        5 => format!("{clock}:00"),
        _ => clock.to_owned(),
    };
    let zone = zone.trim();
    let zone = match zone.strip_prefix(['+', '-']) {
        None => match zone {
            "" | "Z" | "z" | "UTC" | "GMT" => "Z".to_owned(),
            _ => return None,
        },
        Some(digits) => {
            let sign = &zone[..1];
            let digits: String = digits.chars().filter(|c| *c != ':').collect();
            match digits.len() {
                2 => format!("{sign}{digits}:00"),
                4 => format!("{sign}{}:{}", &digits[..2], &digits[2..]),
                _ => return None,
            }
        }
    };
    let parsed = OffsetDateTime::parse(&format!("{day}T{clock}{zone}"), &Rfc3339).ok()?;
    let utc = parsed.checked_to_offset(time::UtcOffset::UTC)?;
    utc.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests;
