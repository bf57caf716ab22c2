//! The live checklist: what a migration needs, in the order in which people come to it, each with how it stands, what says so and what would
//! mend it; and what a host has seen of its own doors from outside. Pure: reads no store and asks nobody.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::wire::requests::Manifest;

/// How long after the last deadline everything must last.
pub const AFTERWARDS: Duration = Duration::from_secs(30 * 86_400);

/// A part of the way, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "the way of a migration, part by part"
)]
pub enum Stage {
    /// The server stands and is reached.
    Install,
    /// Apple's services know it.
    Connect,
    /// What devices get is there.
    Prepare,
    /// What devices are is known.
    Learn,
    /// What stands against it was looked at.
    WhatIf,
    /// It was tried.
    Rehearse,
    /// Waves and dates.
    Plan,
    /// Apple was asked.
    Submit,
    /// Devices come.
    Watch,
    /// The next wave may go.
    Gate,
    /// It is over.
    Close,
}

impl Stage {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Connect => "connect",
            Self::Prepare => "prepare",
            Self::Learn => "learn",
            Self::WhatIf => "what-if",
            Self::Rehearse => "rehearse",
            Self::Plan => "plan",
            Self::Submit => "submit",
            Self::Watch => "watch",
            Self::Gate => "gate",
            Self::Close => "close",
        }
    }
}

/// How an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "four, each shown in its own way")]
pub enum ItemState {
    /// It is as it should be.
    Done,
    /// Its turn has not come.
    Later,
    /// It should be known, or looked at.
    Warn,
    /// It is missing, or wrong.
    Missing,
}

/// One thing on the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ChecklistItem {
    /// Where on the way it is needed.
    pub stage: Stage,
    /// What it is.
    pub item: String,
    /// How it stands.
    pub state: ItemState,
    /// The fact that says so.
    pub fact: String,
    /// What would mend it; empty where nothing is to be mended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
    /// When it ends, of what ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// When the fact was true, where that is not now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl ChecklistItem {
    /// An item that is as it should be.
    #[must_use]
    pub fn done(stage: Stage, item: &str, fact: impl Into<String>) -> Self {
        Self {
            stage,
            item: item.to_owned(),
            state: ItemState::Done,
            fact: fact.into(),
            fix: String::new(),
            ends: None,
            at: None,
        }
    }

    /// An item that is not.
    #[must_use]
    pub fn not(
        state: ItemState,
        stage: Stage,
        item: &str,
        fact: impl Into<String>,
        fix: &str,
    ) -> Self {
        Self {
            state,
            fix: fix.to_owned(),
            ..Self::done(stage, item, fact)
        }
    }

    /// Something that ends, against the latest deadline.
    #[must_use]
    pub fn lasting(
        stage: Stage,
        item: &str,
        ends: Timestamp,
        latest: Option<Timestamp>,
        now: Timestamp,
        fix: &str,
    ) -> Self {
        let needed = latest.unwrap_or(now).max(now);
        let (state, fact) = if ends <= now {
            (ItemState::Missing, format!("has ended at {ends}"))
        } else if ends < needed {
            let fact = format!("ends at {ends}, before the latest deadline at {needed}");
            (ItemState::Missing, fact)
        } else if ends < needed + AFTERWARDS {
            let after = match latest {
                Some(_) => "less than 30 days after the latest deadline",
                None => "in less than 30 days",
            };
            (ItemState::Warn, format!("ends at {ends}, {after}"))
        } else {
            (ItemState::Done, format!("lasts until {ends}"))
        };
        let mut made = Self::not(state, stage, item, fact, fix);
        if state == ItemState::Done {
            made.fix.clear();
        }
        made.ends = Some(ends);
        made
    }
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Checklist {
    /// When it was made.
    pub at: Timestamp,
    /// The latest deadline of any migration that has not ended: what everything must outlast.
    pub latest_deadline: Option<Timestamp>,
    /// Its items, in order.
    pub items: Vec<ChecklistItem>,
}

impl Checklist {
    pub(crate) const fn new(
        at: Timestamp,
        latest_deadline: Option<Timestamp>,
        items: Vec<ChecklistItem>,
    ) -> Self {
        Self {
            at,
            latest_deadline,
            items,
        }
    }

    /// What is missing.
    pub fn missing(&self) -> impl Iterator<Item = &ChecklistItem> {
        self.items.iter().filter(|i| i.state == ItemState::Missing)
    }
}

/// What a host has seen of its own doors by their public names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "when and what")]
pub struct Outside {
    /// When it looked.
    pub at: Timestamp,
    /// Door by door.
    pub endpoints: Vec<Endpoint>,
}

/// How the clock of a host's machine stands beside Apple's, as one of Apple's answers has shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "when and how far")]
pub struct ClockBeside {
    /// When the answer came.
    pub at: Timestamp,
    /// By how many seconds the clock of the machine is ahead.
    pub ahead: i64,
}

impl ClockBeside {
    /// The item of the list: a clock that is off breaks signatures and certificates, and one that is off by little already tells
    /// servers beside each other different times.
    #[must_use]
    pub fn item(self) -> ChecklistItem {
        let (by, way) = (
            self.ahead.unsigned_abs(),
            if self.ahead > 0 { "ahead of" } else { "behind" },
        );
        let fix = "have the machine's clock kept by NTP: Apple refuses signatures of another time, and devices certificates";
        let off = |state| {
            let fact = format!("is {by} seconds {way} that of Apple's answers");
            ChecklistItem::not(state, Stage::Install, "clock", fact, fix)
        };
        let mut item = match by {
            0..=5 => ChecklistItem::done(
                Stage::Install,
                "clock",
                "agrees with that of Apple's answers",
            ),
            6..=60 => off(ItemState::Warn),
            _ => off(ItemState::Missing),
        };
        item.at = Some(self.at);
        item
    }
}

/// What a bare look at a door must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever looks answers each")]
pub enum DoorSays {
    /// The refusal of a door of ours that takes no such request.
    Refusal,
    /// A good answer.
    Good,
    /// A good answer of somebody else's server, also without TLS.
    Elsewhere,
}

/// One door from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "what was seen of a door")]
pub struct Endpoint {
    /// Which: `check-in`, `enrolment`, `SCEP`, `ACME`.
    pub name: String,
    /// Its address.
    pub url: String,
    /// What is wrong with it, in a sentence; none where it answers as it should.
    pub problem: Option<String>,
    /// By what its certificate is trusted: `the system's authorities`, `anchor_certs`; nothing where it has none to show.
    pub trusted_by: Option<String>,
    /// When its certificate ends.
    pub ends: Option<Timestamp>,
    /// Which other certificate of the chain by which it is trusted ends first, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainEnd>,
    /// How many seconds its clock is ahead of the one of whoever looked.
    pub clock_ahead: Option<i64>,
}

/// The end of a certificate above that of a door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "whose and when")]
pub struct ChainEnd {
    /// The common name of its authority.
    pub name: String,
    /// When it ends.
    pub ends: Timestamp,
}

/// The manifest of an app of one's own, as this server has seen it at its address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenManifest {
    /// Its address.
    pub url: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// Why nothing can be installed with it, in a sentence; none where it is as it should be.
    pub problem: Option<String>,
    /// Somebody has looked; where nobody does, `problem` is why.
    pub looked: bool,
    /// It says what the bytes of its files must be.
    pub hashed: bool,
}

impl SeenManifest {
    /// One that could not be read, and why.
    #[must_use]
    pub fn wrong(url: &str, at: Timestamp, problem: impl Into<String>) -> Self {
        Self {
            url: url.to_owned(),
            at,
            problem: Some(problem.into()),
            looked: true,
            hashed: false,
        }
    }

    /// One at which nobody looks, and why: nothing is known of it.
    #[must_use]
    pub fn not_looked_at(url: &str, at: Timestamp, why: impl Into<String>) -> Self {
        Self {
            looked: false,
            ..Self::wrong(url, at, why)
        }
    }

    /// One of which these bytes were read, with status 200 and over a chain that is trusted.
    #[must_use]
    pub fn read(url: &str, at: Timestamp, bytes: &[u8]) -> Self {
        let files = match Manifest::files(bytes) {
            Ok(Some(files)) => files,
            Ok(None) => return Self::wrong(url, at, "is a property list and no manifest"),
            Err(problem) => return Self::wrong(url, at, format!("is no manifest: {problem}")),
        };
        if files.is_empty() {
            return Self::wrong(url, at, "is a manifest that names no file to be installed");
        }
        let by_https = |url: &str| {
            let scheme = url.split_once("://").map(|(scheme, _)| scheme);
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
        };
        let plain = files.iter().any(|file| !by_https(&file.url));
        let bare = files.iter().any(|file| !file.hashed);
        if plain {
            let problem = "is a manifest that names a file that is not there by https";
            return Self::wrong(url, at, problem);
        }
        Self {
            url: url.to_owned(),
            at,
            problem: None,
            looked: true,
            hashed: !bare,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_796_112_000_000);
    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_manifest_is_read_as_devices_take_it() {
        let read = |assets: &str| {
            let bytes = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict><key>items</key><array><dict>\
                 <key>assets</key><array>{assets}</array></dict></array></dict></plist>"
            );
            SeenManifest::read("https://a.example.com/m", NOW, bytes.as_bytes())
        };
        let file = |url: &str, more: &str| {
            format!(
                "<dict><key>kind</key><string>software-package</string><key>url</key><string>{url}</string>{more}</dict>"
            )
        };
        let url = "HTTPS://files.example.com/a.ipa";
        // Without metadata, and with one hash of all of it, or of its parts.
        let whole = "<key>sha256</key><string>00ff</string>";
        let parts = "<key>sha256-size</key><integer>1024</integer><key>sha256s</key><array><string>00</string></array>";
        for (more, hashed) in [("", false), (whole, true), (parts, true)] {
            let seen = read(&file(url, more));
            assert_eq!((seen.problem, seen.hashed), (None, hashed), "{more}");
        }
        let icon = "<dict><key>kind</key><string>display-image</string></dict>";
        for (assets, says) in [
            (icon.to_owned(), "names no file"),
            (
                file("http://files.example.com/a", whole),
                "not there by https",
            ),
            (
                format!("{}{}", file(url, whole), file("", whole)),
                "not there by https",
            ),
        ] {
            let problem = read(&assets).problem.unwrap();
            assert!(problem.contains(says), "{assets}: {problem}");
        }
    }

    #[test]
    fn what_ends_is_held_against_the_latest_deadline() {
        let check = |days: u64, latest: Option<u64>, state: ItemState| {
            let latest = latest.map(|days| NOW + DAY * u32::try_from(days).unwrap());
            let ends = NOW + DAY * u32::try_from(days).unwrap();
            let item = ChecklistItem::lasting(Stage::Connect, "x", ends, latest, NOW, "renew");
            assert_eq!(item.state, state, "{days} {latest:?}: {}", item.fact);
            assert_eq!(item.fix.is_empty(), state == ItemState::Done);
        };
        check(0, None, ItemState::Missing);
        check(20, None, ItemState::Warn);
        check(31, None, ItemState::Done);
        check(19, Some(20), ItemState::Missing);
        check(49, Some(20), ItemState::Warn);
        check(51, Some(20), ItemState::Done);
    }
}
