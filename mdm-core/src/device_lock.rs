//! What is known of a device's Activation Lock, by whom and since when, and how far a lock is that a person wants lifted. What
//! Apple answered to a request is no proof: that is a reading that came after it. Asks nobody and holds no code.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::SecretId;

/// The word of somebody who can know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a word and its moment")]
pub struct LockSight {
    /// Whether there is a lock.
    pub on: bool,
    /// In the words of whoever said so: Apple's `MDM`, `USER`, `NONE`.
    pub word: String,
    /// When.
    pub at: Timestamp,
}

/// What is known of a device's Activation Lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct DeviceLock {
    /// As the organisation API said when it was read last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apple: Option<LockSight>,
    /// As the device said last (`IsActivationLockEnabled`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<LockSight>,
    /// The last time that somebody wanted it lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clearing: Option<LockClearing>,
}

/// A lock that somebody wants lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LockClearing {
    /// Who asked.
    pub by: String,
    /// When.
    pub asked: Timestamp,
    /// Why.
    pub reason: String,
    /// Who confirmed it, where another person had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
    /// The codes that were tried, in their order.
    #[serde(default)]
    pub tried: Vec<CodeTried>,
    /// What became of it.
    pub state: ClearingState,
    /// Why it could not be asked for, or read, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// It was read for the last time: what was seen then stands.
    #[serde(default)]
    pub last_look: bool,
}

/// What became of one code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "four facts")]
pub struct CodeTried {
    /// Where it lies in the vault.
    pub secret: SecretId,
    /// The name of its kind there.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// The HTTP status with which Apple refused it; `None` where it opened.
    pub refused: Option<u16>,
}

/// What became of a clearing, by Apple's answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "each is shown in its own way")]
pub enum ClearingState {
    /// Apple has not answered yet.
    Asked,
    /// Apple said that the lock is gone.
    Cleared {
        /// When.
        at: Timestamp,
    },
    /// It was read first, and there was none.
    NoLock {
        /// When.
        at: Timestamp,
    },
    /// Apple took no code, or could not be asked.
    Refused {
        /// When.
        at: Timestamp,
        /// Why.
        why: String,
    },
}

/// How far the proof of a clearing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "each has an exit code of its own")]
pub enum LockProof {
    /// Asked for; Apple has not answered.
    Asked,
    /// Apple said that it is gone; nobody has read it yet.
    ClearedNotRead,
    /// Read as off.
    Off,
    /// Apple said that it is gone, and it is still read as on.
    StillOn,
    /// Apple took no code.
    Refused,
}

impl LockProof {
    /// Its name as people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::ClearedNotRead => "cleared, not yet read",
            Self::Off => "read as off",
            Self::StillOn => "still on",
            Self::Refused => "not cleared",
        }
    }
}

impl LockClearing {
    /// One that nobody has worked on.
    #[must_use]
    pub const fn new(
        by: String,
        asked: Timestamp,
        reason: String,
        confirmed_by: Option<String>,
    ) -> Self {
        Self {
            by,
            asked,
            reason,
            confirmed_by,
            tried: Vec::new(),
            state: ClearingState::Asked,
            trouble: None,
            last_look: false,
        }
    }
}

impl DeviceLock {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// How far the clearing is, and by whose word; `None` without one.
    #[must_use]
    pub fn proof(&self) -> Option<(LockProof, Option<&LockSight>)> {
        let clearing = self.clearing.as_ref()?;
        let since = match &clearing.state {
            ClearingState::Asked => return Some((LockProof::Asked, None)),
            ClearingState::Refused { .. } => return Some((LockProof::Refused, None)),
            ClearingState::Cleared { at } | ClearingState::NoLock { at } => *at,
        };
        let young = |sight: &&LockSight| sight.at >= since;
        let apple = self.apple.as_ref().filter(young);
        let device = self.device.as_ref().filter(young);
        // Apple's list may lag: what says off is believed, unless Apple has said on after it.
        Some(match (apple, device) {
            (Some(apple), _) if !apple.on => (LockProof::Off, Some(apple)),
            (apple, Some(device)) if !device.on && apple.is_none_or(|a| a.at < device.at) => {
                (LockProof::Off, Some(device))
            }
            (Some(apple), _) => (LockProof::StillOn, Some(apple)),
            (None, Some(device)) => (LockProof::StillOn, Some(device)),
            (None, None) => (LockProof::ClearedNotRead, None),
        })
    }

    /// Whether nothing more will be done or read about a clearing.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let last = self.clearing.as_ref().is_some_and(|c| c.last_look);
        match self.proof() {
            None | Some((LockProof::Off | LockProof::Refused, _)) => true,
            Some((LockProof::Asked, _)) => false,
            Some((LockProof::ClearedNotRead | LockProof::StillOn, _)) => last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: i64) -> Timestamp {
        Timestamp::from_millis(n * 1000)
    }

    fn sight(on: bool, n: i64) -> Option<LockSight> {
        let word = if on { "MDM" } else { "NONE" }.to_owned();
        Some(LockSight {
            on,
            word,
            at: at(n),
        })
    }

    #[test]
    fn an_answer_is_no_proof_and_a_reading_after_it_is() {
        let mut lock = DeviceLock {
            apple: sight(false, 1),
            ..DeviceLock::default()
        };
        assert!(lock.proof().is_none() && lock.is_settled());
        let proof = |lock: &DeviceLock| lock.proof().unwrap().0;
        let mut clearing = LockClearing::new("Anna".to_owned(), at(5), "sold".to_owned(), None);
        lock.clearing = Some(clearing.clone());
        assert_eq!(proof(&lock), LockProof::Asked);
        clearing.state = ClearingState::Cleared { at: at(10) };
        lock.clearing = Some(clearing);
        // What was read before says nothing.
        assert_eq!(proof(&lock), LockProof::ClearedNotRead);
        lock.apple = sight(true, 11);
        assert_eq!(proof(&lock), LockProof::StillOn);
        assert!(!lock.is_settled());
        lock.device = sight(false, 12);
        assert_eq!(proof(&lock), LockProof::Off);
        lock.apple = sight(true, 13);
        assert_eq!(proof(&lock), LockProof::StillOn);
        lock.apple = sight(false, 14);
        lock.device = sight(true, 12);
        assert_eq!(proof(&lock), LockProof::Off);
        assert!(lock.is_settled());
    }
}
