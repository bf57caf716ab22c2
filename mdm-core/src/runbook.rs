//! A runbook that an organisation keeps under a name: which platform it is for, and every edit of it. What an edit says is a
//! pinned runbook, which never changes: what was submitted with an earlier edit keeps it. Checks nothing; that is
//! [`PinnedRunbook::validate_for`](crate::migration::PinnedRunbook::validate_for).

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::device::Platform;
use crate::ids::{OrganisationId, RunbookId};

/// The most edits that are remembered; the first ones go.
const MOST_EDITS: usize = 200;

/// A runbook under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct KeptRunbook {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key; comes from the name, so that there is one of a name.
    pub id: RunbookId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What people call it.
    pub name: String,
    /// For whose devices.
    pub platform: Platform,
    /// Its edits, oldest first; the last one is in force.
    pub edits: Vec<RunbookEdit>,
    /// When it was taken out of use. Its name is free then; who keeps one under it again counts its edits on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
}

/// One edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RunbookEdit {
    /// Counts the edits, from 1.
    pub revision: u32,
    /// The pinned runbook that says what it is.
    pub pinned: RunbookId,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
    pub reason: String,
}

impl KeptRunbook {
    /// One that nobody has edited yet.
    #[must_use]
    pub fn new(organisation: OrganisationId, name: &str, platform: Platform) -> Self {
        Self {
            organisation,
            id: Self::id_of(name),
            version: 0,
            name: name.to_owned(),
            platform,
            edits: Vec::new(),
            removed: None,
        }
    }

    /// The key of a name. Capitals make no other name.
    #[must_use]
    pub fn id_of(name: &str) -> RunbookId {
        let hash = openssl::sha::sha256(name.to_lowercase().as_bytes());
        let mut first = [0_u8; 8];
        first.copy_from_slice(&hash[..8]);
        RunbookId(i64::from_be_bytes(first) & i64::MAX)
    }

    /// The number of the edit in force; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.edits.last().map_or(0, |edit| edit.revision)
    }

    /// An edit by its number, or the one in force.
    #[must_use]
    pub fn edit(&self, revision: Option<u32>) -> Option<&RunbookEdit> {
        match revision {
            None => self.edits.last(),
            Some(revision) => self.edits.iter().find(|edit| edit.revision == revision),
        }
    }

    /// Which edit a pinned runbook is; the newest, if several say the same.
    #[must_use]
    pub fn revision_of(&self, pinned: RunbookId) -> Option<u32> {
        let found = self.edits.iter().rev().find(|edit| edit.pinned == pinned);
        found.map(|edit| edit.revision)
    }

    /// Puts the next edit in force.
    pub fn edited(&mut self, pinned: RunbookId, by: &str, at: Timestamp, reason: &str) {
        let edit = RunbookEdit {
            revision: self.revision() + 1,
            pinned,
            by: by.to_owned(),
            at,
            reason: reason.to_owned(),
        };
        self.edits.push(edit);
        let over = self.edits.len().saturating_sub(MOST_EDITS);
        self.edits.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_on_when_the_first_ones_are_forgotten() {
        let mut it = KeptRunbook::new(OrganisationId(1), "Field Macs", Platform::Macos);
        assert_eq!((it.revision(), it.edit(None)), (0, None));
        for n in 1..=205 {
            it.edited(RunbookId(n), "Ada", Timestamp::from_millis(n), "");
        }
        assert_eq!(it.edits.len(), MOST_EDITS);
        assert_eq!(it.revision(), 205);
        assert_eq!(it.revision_of(RunbookId(200)), Some(200));
        assert_eq!(it.revision_of(RunbookId(5)), None);
        assert_eq!(it.id, KeptRunbook::id_of("field macs"));
    }
}
