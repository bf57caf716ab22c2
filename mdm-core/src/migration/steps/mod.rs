//! One idea of a hold per file. A step is two functions and its own state; to add one, write its file, add its variant
//! to [`StepState`] and its line to the dispatch, and add a timeline snapshot.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Where a step stands, and its own state while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// When that began.
    pub since: Timestamp,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// Its requirements are not met yet.
    Waiting,
    /// Under way.
    Running,
    /// Proved, by this evidence.
    Done {
        /// The observation that proves it.
        evidence: String,
    },
    /// Given up; an exception was noted if it was required.
    Excepted {
        /// Why.
        why: String,
    },
    /// Does not apply, or was skipped by policy.
    Skipped {
        /// Why.
        why: String,
    },
}
