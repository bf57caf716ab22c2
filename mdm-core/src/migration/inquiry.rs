//! Whom Apple's audit events name, once Apple has called a migration failed: one question, and what came of it. Asks nobody.
//!
//! Apple has one word for what failed and for what somebody cancelled. Its audit events are the only place that knows people;
//! which of them a cancellation leaves there is not written anywhere, so what they name is evidence and decides nothing.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// So many of them are kept, the latest.
const MOST_ACTS: usize = 20;

/// What Apple's audit events say that somebody did with a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "who, what and when")]
pub struct AuditedAct {
    /// When, as far as Apple says.
    pub at: Option<Timestamp>,
    /// Apple's word, and the service that it names.
    pub what: String,
    /// Who, as Apple names them.
    pub apple_actor: String,
    /// It was our own API account.
    pub ours: bool,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "answered, or not")]
pub enum Inquiry {
    /// Apple answered.
    Answered {
        /// When.
        at: Timestamp,
        /// From when on was asked.
        since: Timestamp,
        /// What was done with the device, earliest first.
        acts: Vec<AuditedAct>,
    },
    /// It was not asked, may not be asked, or did not answer.
    Unanswered {
        /// When that was found.
        at: Timestamp,
        /// Which of them, as a sentence.
        why: String,
    },
}

impl Inquiry {
    /// An answer: the latest acts in their order.
    #[must_use]
    pub(crate) fn answered(mut acts: Vec<AuditedAct>, since: Timestamp, at: Timestamp) -> Self {
        acts.sort_by_key(|act| act.at);
        let acts = acts.split_off(acts.len().saturating_sub(MOST_ACTS));
        Self::Answered { at, since, acts }
    }

    /// What is shown of it as evidence, each with its moment.
    #[must_use]
    pub(crate) fn evidence(&self) -> Vec<(String, Option<Timestamp>)> {
        match self {
            Self::Unanswered { at, why } => vec![(why.clone(), Some(*at))],
            Self::Answered { at, since, acts } if acts.is_empty() => {
                let said = format!("Apple's audit events name nothing about it since {since}");
                vec![(said, Some(*at))]
            }
            Self::Answered { acts, .. } => acts
                .iter()
                .map(|act| {
                    let own = if act.ours { ", our own account" } else { "" };
                    let (what, who) = (&act.what, &act.apple_actor);
                    (
                        format!("Apple's audit events: {what}, by {who}{own}"),
                        act.at,
                    )
                })
                .collect(),
        }
    }

    /// The last thing that somebody else than our own account did.
    #[must_use]
    pub(crate) fn by_others(&self) -> Option<&AuditedAct> {
        match self {
            Self::Answered { acts, .. } => acts.iter().rev().find(|act| !act.ours),
            Self::Unanswered { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(at: i64, ours: bool) -> AuditedAct {
        AuditedAct {
            at: Some(Timestamp::from_millis(at)),
            what: format!("ACT{at}"),
            apple_actor: "eva@example.com (USER)".to_owned(),
            ours,
        }
    }

    #[test]
    fn the_latest_acts_are_kept_in_their_order() {
        let start = Timestamp::from_millis(0);
        let acts = (0..30).rev().map(|at| act(at, at > 27)).collect();
        let inquiry = Inquiry::answered(acts, start, start);
        let evidence = inquiry.evidence();
        assert_eq!(evidence.len(), MOST_ACTS);
        assert_eq!(evidence[0].1, Some(Timestamp::from_millis(10)));
        assert!(evidence[19].0.ends_with(", our own account"));
        let last = inquiry.by_others().map(|act| act.what.as_str());
        assert_eq!(last, Some("ACT27"));
    }
}
