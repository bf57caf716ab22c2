//! The live checklist: what a migration needs, in the order in which people come to it, each with how it stands, what says so and what would
//! mend it; and what a host has seen of its own doors from outside. Pure: reads no store and asks nobody.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_796_112_000_000);
    const DAY: Duration = Duration::from_hours(24);

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
