//! What owners of devices are told before their migration, in their languages: texts with places that are filled in for each
//! of them, and deadlines as calendar entries. Sends nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::calendar::Zone;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::MoveId;

/// Longest text, in bytes.
const LONGEST: usize = 10_000;
/// Languages of one organisation.
const MOST: usize = 50;
/// The places of a text.
pub const PLACES: [&str; 5] = ["owner", "device", "deadline", "available", "organisation"];

/// A text for owners: a line and what stands below it. `{owner}`, `{device}`, `{deadline}`, `{available}` and `{organisation}`
/// are filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "a line and a text")]
pub struct OwnerText {
    /// The line.
    pub subject: String,
    /// What stands below it.
    pub body: String,
}

/// The texts of an organisation by language (`en`, `pt-BR`), in place of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a table")]
pub struct OwnerTexts(pub BTreeMap<String, OwnerText>);

/// Ours: language, line, text.
const STANDARD: [(&str, &str, &str); 5] = [
    (
        "en",
        "Your device {device} moves to a new management service by {deadline}",
        "Hello {owner},\n\n{organisation} moves your device {device} to a new management service. Your data stays where it is.\n\nFrom {available} on your device offers it to you: choose a moment that suits you, with power and Wi-Fi, and allow half an hour. After {deadline} it can no longer be put off.\n\nBefore you begin, close your documents and let your apps finish what they are at. For some minutes company apps may ask you to sign in again.\n",
    ),
    (
        "de",
        "Ihr Gerät {device} wechselt bis {deadline} zu einem neuen Verwaltungsdienst",
        "Guten Tag {owner},\n\n{organisation} bringt Ihr Gerät {device} zu einem neuen Verwaltungsdienst. Ihre Daten bleiben, wo sie sind.\n\nAb {available} bietet Ihr Gerät Ihnen den Wechsel an: Wählen Sie einen passenden Moment mit Stromanschluss und WLAN, und rechnen Sie mit einer halben Stunde. Nach {deadline} lässt er sich nicht mehr aufschieben.\n\nSchließen Sie vorher Ihre Dokumente und lassen Sie Ihre Apps fertig werden. Einige Minuten lang können Firmen-Apps eine neue Anmeldung verlangen.\n",
    ),
    (
        "fr",
        "Votre appareil {device} passe à un nouveau service de gestion avant le {deadline}",
        "Bonjour {owner},\n\n{organisation} confie votre appareil {device} à un nouveau service de gestion. Vos données restent en place.\n\nÀ partir du {available}, votre appareil vous le proposera : choisissez un moment qui vous convient, sur secteur et en Wi-Fi, et prévoyez une demi-heure. Après le {deadline}, il ne sera plus possible de reporter.\n\nAvant de commencer, fermez vos documents et laissez vos apps terminer. Pendant quelques minutes, les apps de l’entreprise peuvent vous demander de vous reconnecter.\n",
    ),
    (
        "es",
        "Su dispositivo {device} pasa a un nuevo servicio de gestión antes del {deadline}",
        "Hola, {owner}:\n\n{organisation} traslada su dispositivo {device} a un nuevo servicio de gestión. Sus datos se quedan donde están.\n\nA partir del {available} el dispositivo se lo propondrá: elija un momento que le convenga, con corriente y wifi, y cuente con media hora. Después del {deadline} ya no se puede aplazar.\n\nAntes de empezar, cierre sus documentos y deje que las apps terminen. Durante unos minutos las apps de la empresa pueden pedirle que vuelva a iniciar sesión.\n",
    ),
    (
        "ja",
        "お使いのデバイス {device} は {deadline} までに新しい管理サービスへ移行します",
        "{owner} 様\n\n{organisation} は、お使いのデバイス {device} を新しい管理サービスへ移行します。データはそのまま残ります。\n\n{available} から、デバイスに移行の案内が表示されます。電源とWi-Fiに接続できる都合のよい時間を選び、30分ほどご用意ください。{deadline} を過ぎると延期できなくなります。\n\n始める前に、書類を閉じ、アプリの処理が終わるのをお待ちください。移行後の数分間、会社のアプリで再度サインインを求められることがあります。\n",
    ),
];

/// Who is told, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what a text has places for")]
pub struct Told<'a> {
    /// The owner's name; the device's where nobody is known.
    pub owner: &'a str,
    /// The device.
    pub device: &'a str,
    /// The deadline.
    pub deadline: Timestamp,
    /// From when on it is offered.
    pub available: Timestamp,
    /// What the organisation is called.
    pub organisation: &'a str,
    /// Where the owner lives.
    pub zone: &'a Zone,
}

impl OwnerTexts {
    /// The text of a language, and which language that is: the organisation's own, ours, that of the language without its
    /// region, English.
    #[must_use]
    pub fn of(&self, language: &str) -> (String, OwnerText) {
        self.beside(&Self::default(), language)
    }

    /// The same for a wave that has texts of its own: in the owner's language, with its region or without, the wave's come before the
    /// organisation's and ours; English comes last, in the same order.
    #[must_use]
    pub fn beside(&self, of_wave: &Self, language: &str) -> (String, OwnerText) {
        let plain = language.split_once(['-', '_']).map(|(plain, _)| plain);
        for tried in [&[Some(language), plain][..], &[Some("en")]] {
            let tried = || tried.iter().copied().flatten();
            let here = || tried().find_map(|name| self.own(name).or_else(|| standard(name)));
            if let Some(found) = tried().find_map(|name| of_wave.own(name)).or_else(here) {
                return found;
            }
        }
        // English is among ours.
        Default::default()
    }

    fn own(&self, name: &str) -> Option<(String, OwnerText)> {
        let mut found = self.0.iter();
        let (known, text) = found.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some((known.clone(), text.clone()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses what cannot be told: as [`OwnerTexts::change`].
    ///
    /// # Errors
    /// [`Error::BadInput`].
    pub fn check(&self) -> Result<(), Error> {
        let all = self.0.iter();
        let all = all.map(|(language, text)| (language.clone(), Some(text.clone())));
        Self::default().change(&all.collect())
    }

    /// All languages that there are, with their texts.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, OwnerText> {
        let mut all: BTreeMap<String, OwnerText> = STANDARD
            .iter()
            .filter_map(|(name, ..)| standard(name))
            .collect();
        all.extend(self.0.clone());
        all
    }

    /// Takes changes: a text for a language, or `None` to go back to ours.
    ///
    /// # Errors
    /// [`Error::BadInput`] for what is no language, a text that is empty or too long, and a place that there is not.
    pub fn change(&mut self, changes: &BTreeMap<String, Option<OwnerText>>) -> Result<(), Error> {
        for (language, text) in changes {
            check_language("texts", language)?;
            match text {
                None => {
                    self.0.remove(language);
                }
                Some(text) => {
                    check(&format!("texts.{language}.subject"), &text.subject)?;
                    check(&format!("texts.{language}.body"), &text.body)?;
                    if text.subject.contains(['\n', '\r']) {
                        let field = format!("texts.{language}.subject");
                        return Err(Error::bad_input(field, "must be one line"));
                    }
                    self.0.insert(language.clone(), text.clone());
                }
            }
        }
        if self.0.len() > MOST {
            let problem = format!("must be at most {MOST} languages");
            return Err(Error::bad_input("texts", problem));
        }
        Ok(())
    }
}

fn standard(language: &str) -> Option<(String, OwnerText)> {
    let mut all = STANDARD.iter();
    let (name, subject, body) = all.find(|(name, ..)| name.eq_ignore_ascii_case(language))?;
    let text = OwnerText {
        subject: (*subject).to_owned(),
        body: (*body).to_owned(),
    };
    Some(((*name).to_owned(), text))
}

/// Refuses what names no language: words of 1 to 8 letters and digits with `-` between them.
///
/// <https://www.rfc-editor.org/rfc/rfc5646>
pub(crate) fn check_language(field: &str, language: &str) -> Result<(), Error> {
    let part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    match (2..=35).contains(&language.len()) && language.split('-').all(part) {
        true => Ok(()),
        false => Err(Error::bad_input(
            field,
            "must be a language, such as en or pt-BR",
        )),
    }
}

fn check(field: &str, text: &str) -> Result<(), Error> {
    if text.trim().is_empty() || text.len() > LONGEST {
        let problem = format!("must be 1 to {LONGEST} bytes");
        return Err(Error::bad_input(field, problem));
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let name = after.split_once('}').map(|(name, _)| name);
        if !name.is_some_and(|name| PLACES.contains(&name)) {
            let problem = format!(
                "has a place that there is not; there are {{{}}}",
                PLACES.join("}, {")
            );
            return Err(Error::bad_input(field, problem));
        }
        rest = after;
    }
    Ok(())
}

impl OwnerText {
    /// The text with its places filled in, in one pass: what is filled in is not looked at again.
    #[must_use]
    pub fn fill(&self, told: &Told<'_>) -> Self {
        let fill = |text: &str| {
            let (mut out, mut rest) = (String::with_capacity(text.len()), text);
            while let Some((before, after)) = rest.split_once('{') {
                out.push_str(before);
                let Some((name, after)) = after.split_once('}') else {
                    out.push('{');
                    rest = after;
                    continue;
                };
                match name {
                    "owner" => out.push_str(told.owner),
                    "device" => out.push_str(told.device),
                    "deadline" => out.push_str(&wall(told.deadline, told.zone)),
                    "available" => out.push_str(&wall(told.available, told.zone)),
                    "organisation" => out.push_str(told.organisation),
                    // Kept out when texts come in.
                    other => {
                        let _ = write!(out, "{{{other}}}");
                    }
                }
                rest = after;
            }
            out.push_str(rest);
            out
        };
        Self {
            subject: fill(&self.subject),
            body: fill(&self.body),
        }
    }
}

/// A moment as a clock where the owner lives shows it: `2026-12-10 17:00 (Europe/Berlin)`. The same in every language, and
/// read wrongly in none.
#[must_use]
pub fn wall(at: Timestamp, zone: &Zone) -> String {
    let local = zone.local(at);
    let (hour, minute) = (local.minute / 60, local.minute % 60);
    format!("{} {hour:02}:{minute:02} ({zone})", local.day)
}

/// A deadline in a calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what an entry has")]
pub struct CalendarEntry {
    /// The attempt: the same entry however often it is exported.
    pub attempt: MoveId,
    /// The line.
    pub subject: String,
    /// What stands below it.
    pub body: String,
    /// Whose calendar it is, as people call them.
    pub organizer: String,
    /// Where they can be written to, if that is known.
    pub organizer_email: Option<String>,
    /// When it is due.
    pub deadline: Timestamp,
    /// It is due no more: cancelled, withdrawn.
    pub cancelled: bool,
    /// How often it was changed.
    pub sequence: i64,
}

/// The beginning of a calendar.
///
/// <https://www.rfc-editor.org/rfc/rfc5545>
#[must_use]
pub fn calendar_head(name: &str) -> String {
    let mut out = String::new();
    for line in [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        concat!("PRODID:-//mdmd ", env!("CARGO_PKG_VERSION"), "//waves//EN"),
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
    ] {
        fold(&mut out, line);
    }
    fold(&mut out, &format!("X-WR-CALNAME:{}", escaped(name)));
    out
}

/// One entry; times are in UTC, which every calendar shows as its owner's own. What is published has an organizer and no attendee
/// (RFC 5546, 3.2.1): nobody is invited, and whose address a member has stands in the mail merge.
///
/// <https://www.rfc-editor.org/rfc/rfc5546#section-3.2.1>
#[must_use]
pub fn calendar_entry(entry: &CalendarEntry, organisation: &str, now: Timestamp) -> String {
    let mut out = String::new();
    let mut line = |text: String| fold(&mut out, &text);
    line("BEGIN:VEVENT".to_owned());
    line(format!("UID:{}@{organisation}.mdmd", entry.attempt));
    line(format!("DTSTAMP:{}", utc(now)));
    line(format!(
        "DTSTART:{}",
        utc(entry.deadline - std::time::Duration::from_mins(30))
    ));
    line(format!("DTEND:{}", utc(entry.deadline)));
    line(format!("SEQUENCE:{}", entry.sequence.max(0)));
    let status = if entry.cancelled {
        "CANCELLED"
    } else {
        "CONFIRMED"
    };
    line(format!("STATUS:{status}"));
    line("TRANSP:OPAQUE".to_owned());
    line(format!("SUMMARY:{}", escaped(&entry.subject)));
    line(format!("DESCRIPTION:{}", escaped(&entry.body)));
    // A name or address with what ends a parameter would begin another property.
    let fits = |email: &&String| {
        email.contains('@') && email.bytes().all(|b| b.is_ascii_graphic() && b != b'"')
    };
    let address = match entry.organizer_email.as_ref().filter(fits) {
        Some(email) => format!("mailto:{email}"),
        // As calendars write one that has none.
        None => "invalid:nomail".to_owned(),
    };
    // Nothing of a quoted parameter can be escaped.
    let quoted = |c: char| if c == '"' || c.is_control() { ' ' } else { c };
    let name: String = entry.organizer.chars().map(quoted).collect();
    line(format!("ORGANIZER;CN=\"{name}\":{address}"));
    line("BEGIN:VALARM".to_owned());
    line("ACTION:DISPLAY".to_owned());
    line(format!("DESCRIPTION:{}", escaped(&entry.subject)));
    line("TRIGGER:-P1D".to_owned());
    line("END:VALARM".to_owned());
    line("END:VEVENT".to_owned());
    out
}

/// The end of a calendar.
pub const CALENDAR_END: &str = "END:VCALENDAR\r\n";

fn utc(at: Timestamp) -> String {
    let text = at.to_string();
    // `2026-12-10T17:00:00.000Z`: the same digits without what stands between them.
    let digits: String = text
        .chars()
        .take(19)
        .filter(|c| c.is_ascii_digit() || *c == 'T')
        .collect();
    format!("{digits}Z")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            ';' => out.push_str("\\;"),
            ',' => out.push_str("\\,"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Adds a line, folded after 75 bytes and never inside of a character.
fn fold(out: &mut String, line: &str) {
    let mut length = 0;
    for c in line.chars() {
        if length + c.len_utf8() > 75 {
            out.push_str("\r\n ");
            length = 1;
        }
        out.push(c);
        length += c.len_utf8();
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(owner: &'a str, zone: &'a Zone) -> Told<'a> {
        Told {
            owner,
            device: "C02XA1B2",
            deadline: Timestamp::parse("2026-12-10T17:00:00Z").unwrap(),
            available: Timestamp::parse("2026-12-03T08:00:00Z").unwrap(),
            organisation: "Test School",
            zone,
        }
    }

    #[test]
    fn every_language_of_ours_has_every_place_and_nothing_is_filled_in_twice() {
        let zone = Zone::parse("Asia/Tokyo").unwrap();
        for (language, ..) in STANDARD {
            let (found, text) = OwnerTexts::default().of(language);
            assert_eq!(found, language);
            check("subject", &text.subject).unwrap();
            check("body", &text.body).unwrap();
            for place in PLACES {
                assert!(
                    text.body.contains(&format!("{{{place}}}")),
                    "{language}: {place}"
                );
            }
            let filled = text.fill(&told("{device} {x", &zone));
            assert!(filled.body.contains("{device} {x"), "{language}");
            assert!(
                filled.subject.contains("2026-12-11 02:00 (Asia/Tokyo)"),
                "{}",
                filled.subject
            );
        }
        assert_eq!(OwnerTexts::default().of("de-CH").0, "de");
        assert_eq!(OwnerTexts::default().of("xx").0, "en");
    }

    #[test]
    fn texts_that_cannot_be_right_are_refused_by_their_field() {
        let mut texts = OwnerTexts::default();
        for (language, subject, body, field) in [
            ("en", "", "x", "texts.en.subject"),
            ("en", "x", "{nobody}", "texts.en.body"),
            ("en", "x", "{owner", "texts.en.body"),
            ("en", "x\ny", "x", "texts.en.subject"),
            ("not a language", "x", "x", "texts"),
        ] {
            let text = OwnerText {
                subject: subject.to_owned(),
                body: body.to_owned(),
            };
            let error = texts
                .change(&[(language.to_owned(), Some(text))].into())
                .unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("{field}: ")),
                "{error}"
            );
        }
        let own = OwnerText {
            subject: "Own".to_owned(),
            body: "{owner}".to_owned(),
        };
        texts
            .change(&[("pt-BR".to_owned(), Some(own))].into())
            .unwrap();
        assert_eq!(texts.of("pt-br").1.subject, "Own");
        texts.change(&[("pt-BR".to_owned(), None)].into()).unwrap();
        assert_eq!(texts.of("pt-BR").1.subject, STANDARD[0].1);
    }

    #[test]
    fn lines_of_a_calendar_are_short_and_whole_when_they_are_unfolded() {
        let entry = CalendarEntry {
            attempt: MoveId(7),
            subject: "a;b,c\\d\nEND:VEVENT".to_owned(),
            body: "新しい管理サービス".repeat(20),
            organizer: "Acme \"IT\"\r\nX:1".to_owned(),
            organizer_email: Some("x@example.com\r\nX:1".to_owned()),
            deadline: Timestamp::parse("2026-12-10T17:00:00Z").unwrap(),
            cancelled: false,
            sequence: 3,
        };
        let text = calendar_entry(&entry, "code", Timestamp::from_millis(0));
        assert!(text.split("\r\n").all(|line| line.len() <= 75));
        let whole = text.replace("\r\n ", "");
        assert!(
            whole.contains("SUMMARY:a\\;b\\,c\\\\d\\nEND:VEVENT\r\n"),
            "{whole}"
        );
        assert!(whole.contains(&entry.body));
        assert!(whole.contains("DTEND:20261210T170000Z\r\n"));
        // Neither a name nor an address begins a line of its own.
        assert!(
            whole.contains("\r\nORGANIZER;CN=\"Acme  IT   X:1\":invalid:nomail\r\n"),
            "{whole}"
        );
        assert!(!whole.contains("ATTENDEE") && !whole.contains("\r\nX:1"));
        let known = CalendarEntry {
            organizer_email: Some("help@example.com".to_owned()),
            ..entry
        };
        let text = calendar_entry(&known, "code", Timestamp::from_millis(0));
        assert!(text.contains(":mailto:help@example.com\r\n"), "{text}");
        assert_eq!(whole.matches("\r\nEND:VEVENT\r\n").count(), 1);
    }
}
