//! The one error type of this crate. Outcomes that are worth knowing are values elsewhere; these are for callers who must choose.
//! Never carries a body, a secret or a credential.

use std::time::Duration;

use crate::store::StoreError;
use crate::vault::VaultError;

/// However long another service asks us to wait, it is asked again after this time: no pause of its own is longer, and a moment further
/// away is of a clock that was ahead.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_hours(24);

/// What went wrong, in the terms of whoever called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller sent something that cannot be accepted; sending it again will not help.
    #[error("{field}: {problem}")]
    BadInput {
        /// The field, header or key that is wrong.
        field: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// Whoever asks has not proved who they are, or may not do this.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// The identity that speaks was revoked.
    #[error("refused: the certificate is revoked")]
    Revoked,
    /// There is no such thing in this organisation.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The state of things does not allow it; the sentence says why.
    #[error("{0}")]
    Precondition(String),
    /// Too much at once: nothing is wrong, and the same a few seconds later will do.
    #[error("{0}")]
    Busy(&'static str),
    /// A cryptographic operation of ours failed.
    #[error("cryptography: {0}")]
    Crypto(&'static str),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A port of the host: Apple's services or the push.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl Error {
    /// A refusal of input that names the field and says what would be right; never the content.
    pub fn bad_input(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::BadInput {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// Somebody else changed what the decision rested on, or it reached the store too late: load again and decide again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(StoreError::Conflict | StoreError::Late))
    }

    /// The caller's own fault: a repeat will not help.
    #[must_use]
    pub fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            Self::BadInput { .. }
                | Self::Refused(_)
                | Self::Revoked
                | Self::NotFound(_)
                | Self::Precondition(_)
        )
    }

    /// When trying again may help, and after how long.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Store(StoreError::Unavailable(_) | StoreError::Late) | Self::Busy(_) => {
                Some(Duration::from_secs(5))
            }
            Self::Port(port) => port.retry_after(),
            _ => None,
        }
    }
}

/// Why a port could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Try again, not before `after`.
    #[error("{what}")]
    Retry {
        /// What happened.
        what: String,
        /// How long to wait, when the other side said so.
        after: Option<Duration>,
    },
    /// It is unknown whether the request took effect: read before anything is sent again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Only a person can go on: terms to accept, a token to renew. The sentence tells them what to do.
    #[error("{0}")]
    NeedsPerson(String),
    /// The other side will never accept this.
    #[error("refused: {0}")]
    Refused(String),
    /// The other side does not offer this to this organisation.
    #[error("not available in this organisation: {0}")]
    FeatureMissing(String),
    /// The position in the device list is no longer known; start over.
    #[error("the cursor has expired")]
    CursorExpired,
    /// The host supplied no such port.
    #[error("no {0} port")]
    Absent(&'static str),
}

impl PortError {
    /// A failure that may pass.
    pub fn retry(what: impl std::fmt::Display) -> Self {
        Self::Retry {
            what: what.to_string(),
            after: None,
        }
    }

    /// How long to wait before the next try, a day at the most; `None` when a retry alone will not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Retry { after, .. } => {
                Some(after.unwrap_or(Duration::from_secs(30)).min(LONGEST_RETRY))
            }
            _ => None,
        }
    }
}
