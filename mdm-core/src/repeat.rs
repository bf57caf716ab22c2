//! A request of a program that may come twice: by its key it is known again, and what it did is not done again. Holds no body.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{OrganisationId, RepeatId};
use crate::organisation::Der;

/// One request with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Repeat {
    /// For which organisation; 0 where it is the installation's.
    pub organisation: OrganisationId,
    /// Its key in the store.
    pub id: RepeatId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// SHA-256 over who asks and the key that was sent, lower-case hex.
    pub key: String,
    /// What was asked, as a keyed hash over method, address and body: a key never stands for another request.
    pub asked: String,
    /// When it first came.
    pub at: Timestamp,
    /// Until when it is remembered.
    pub until: Timestamp,
    /// How far it is.
    pub state: RepeatState,
}

/// How far a request with a key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "one for each way on")]
pub enum RepeatState {
    /// Somebody is at it, and nothing is written. After this moment somebody else may be.
    Begun {
        /// Until when it is left to whoever began.
        until: Timestamp,
    },
    /// Something of it is written; its answer is not.
    Acted,
    /// It was answered so. The body is sealed: it may be a secret that is shown once.
    Answered {
        /// HTTP status.
        status: u16,
        /// Media type.
        media_type: String,
        /// The sealed body.
        body: Der,
    },
}

impl Repeat {
    /// One that has just come.
    #[must_use]
    pub const fn new(
        organisation: OrganisationId,
        id: RepeatId,
        key: String,
        asked: String,
        at: Timestamp,
        until: Timestamp,
        left_until: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            key,
            asked,
            at,
            until,
            state: RepeatState::Begun { until: left_until },
        }
    }
}
