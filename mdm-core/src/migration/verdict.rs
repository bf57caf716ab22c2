//! Is this enrolment a migration? Decided once, at Authenticate, with its reasons; picks the runbook's variant and never
//! *whether* the device is released.

use serde::{Deserialize, Serialize};

use super::Variant;
use crate::device::{Device, MigrationStatus};

/// The verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a pair")]
pub struct Verdict {
    /// What it is taken for.
    pub kind: VerdictKind,
    /// Why, in words for people.
    pub reasons: Vec<String>,
}

/// What an enrolment is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the three verdicts")]
pub enum VerdictKind {
    /// A migration.
    Migration,
    /// Only a deadline speaks for it, and factory-new devices can carry one.
    Uncertain,
    /// An ordinary enrolment.
    Ordinary,
}

impl VerdictKind {
    /// The variant of the runbook that fits.
    #[must_use]
    pub const fn variant(self) -> Variant {
        match self {
            Self::Migration => Variant::Migration,
            Self::Uncertain => Variant::Uncertain,
            Self::Ordinary => Variant::Ordinary,
        }
    }
}

/// What is known at Authenticate. Nothing is fetched for it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct VerdictFacts<'a> {
    /// The device as stored; `None` when its serial number is unknown.
    pub device: Option<&'a Device>,
    /// It has an unfinished attempt in an open wave.
    pub open_attempt: bool,
}

/// The verdict at Authenticate.
#[must_use]
pub fn judge(facts: VerdictFacts<'_>) -> Verdict {
    let mut reasons = Vec::new();
    if facts.open_attempt {
        reasons.push("it is a member of an open wave".to_owned());
        return Verdict {
            kind: VerdictKind::Migration,
            reasons,
        };
    }
    let Some(device) = facts.device else {
        reasons.push("nothing is known of its serial number".to_owned());
        return Verdict {
            kind: VerdictKind::Ordinary,
            reasons,
        };
    };
    let done = |deadline| device.has_completed(deadline);
    if let Some(reading) = &device.reading
        && reading.status == Some(MigrationStatus::Started)
        && !reading.deadline.is_some_and(done)
    {
        reasons.push("Apple says that its migration has started".to_owned());
        return Verdict {
            kind: VerdictKind::Migration,
            reasons,
        };
    }
    let listed = device.record.as_ref().and_then(|r| r.deadline);
    // The list may not show it yet, or not any more: what Apple's other service says is asked for speaks for it as much.
    let asked = device.reading.as_ref().filter(|reading| {
        !matches!(
            reading.status,
            Some(MigrationStatus::Success | MigrationStatus::Failed)
        )
    });
    let asked = asked.and_then(|reading| reading.deadline);
    let shown = [
        (listed, "its record carries"),
        (asked, "Apple's organisation API shows"),
    ];
    let shown = shown.map(|(deadline, who)| deadline.map(|deadline| (deadline, who)));
    let shown: Vec<_> = shown.into_iter().flatten().collect();
    let open = shown.iter().find(|(deadline, _)| !done(*deadline));
    match (open, shown.first()) {
        (Some((deadline, who)), _) => {
            reasons.push(format!(
                "{who} the deadline {deadline}, which proves nothing"
            ));
            Verdict {
                kind: VerdictKind::Uncertain,
                reasons,
            }
        }
        (None, Some((deadline, _))) => {
            reasons.push(format!("its migration for {deadline} is complete already"));
            Verdict {
                kind: VerdictKind::Ordinary,
                reasons,
            }
        }
        (None, None) => {
            reasons.push("no migration of it is known".to_owned());
            Verdict {
                kind: VerdictKind::Ordinary,
                reasons,
            }
        }
    }
}
