//! What takes two persons: asked for by one, confirmed by another; and how much somebody did alone lately. Decides nothing
//! about roles: who may ask and who may confirm is for whoever lets people in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AloneId, ApprovalId, HandOffId, MoveId, OrganisationId, SecretId, Serial};
use crate::organisation::Der;
use crate::secret::SecretKind;

/// How long somebody may take to confirm.
pub const OPEN: Duration = Duration::from_secs(24 * 3600);
/// How long what was confirmed may be looked at.
pub const CONFIRMED: Duration = Duration::from_secs(3600);
/// What somebody did alone counts for so long.
pub const ALONE: Duration = Duration::from_secs(24 * 3600);
/// So many secrets of devices may one person reveal alone within [`ALONE`].
pub const REVEALS_ALONE: u32 = 10;
/// For so many devices may one person cancel alone within [`ALONE`].
pub const CANCELS_ALONE: u32 = 25;

/// Something that one person has asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Approval {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: ApprovalId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What is to be done.
    pub wanted: Wanted,
    /// Who asked, as they were called then.
    pub by: String,
    /// Who that is, whatever they are called; empty in rows of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by_person: String,
    /// When.
    pub asked: Timestamp,
    /// Why.
    pub reason: Option<String>,
    /// What has become of it.
    pub state: ApprovalState,
}

/// What takes two persons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "act", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Wanted {
    /// An earlier deadline: its users can no longer postpone.
    Force {
        /// For whom.
        serials: Vec<Serial>,
        /// Until when.
        deadline: Timestamp,
        /// Of the plan that was accepted: if anything of it changes, nothing is done.
        digest: String,
    },
    /// Migrations are called back.
    Cancel {
        /// Whose.
        serials: Vec<Serial>,
        /// Of the plan that was accepted.
        digest: String,
        /// Whose attempts that calls back, and which: of these, those that still can be are called back, and no others.
        #[serde(default)]
        going: BTreeMap<Serial, MoveId>,
    },
    /// Devices return to the service that they came from.
    Return {
        /// Which.
        serials: Vec<Serial>,
        /// When Apple enforces it, for those that are here.
        deadline: Option<Timestamp>,
        /// Apple's identifier of the service, where somebody named one.
        to: Option<String>,
        /// Of the plan that was accepted.
        digest: String,
        /// Whose attempts are called back, and which: as for [`Wanted::Cancel`].
        #[serde(default)]
        going: BTreeMap<Serial, MoveId>,
        /// Of what it means for those that are here already; if anything of that changes, none of them leaves.
        #[serde(default)]
        rest: Option<String>,
    },
    /// One look at a secret of one device, by whoever asked.
    Reveal {
        /// Whose.
        serial: Serial,
        /// Which: the name of its [`SecretKind`].
        kind: String,
    },
    /// The Activation Lock of a device is lifted with a code of the vault.
    ClearLock {
        /// Whose.
        serial: Serial,
    },
    /// The attempt of a device is given up.
    GiveUp {
        /// Whose.
        serial: Serial,
        /// Which: a later one is not meant.
        attempt: MoveId,
    },
    /// That two persons are no longer demanded always.
    Alone,
    /// What we know of devices that move away is handed over to another installation, keys and codes included.
    HandOver {
        /// Address of its API.
        url: String,
        /// An authority to trust for that address, PEM.
        ca: Option<String>,
        /// The number of the agreement there.
        source: HandOffId,
        /// The token of the door there, sealed.
        token: SecretId,
    },
    /// An export of what we know of devices, keys and codes included, by whoever asked.
    Export {
        /// The certificate to which it is sealed.
        recipient: Der,
        /// The number of the job there, where it is known.
        job: Option<HandOffId>,
        /// Which devices; all of them where none is named.
        serials: BTreeSet<Serial>,
    },
}

/// What has become of an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ApprovalState {
    /// Nobody has answered.
    Open,
    /// Confirmed, and whoever asked may go on.
    Confirmed {
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// Done.
    Done {
        /// Who confirmed it.
        by: String,
        /// When it was done.
        at: Timestamp,
    },
    /// Refused, or taken back by whoever asked.
    Refused {
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
}

impl Approval {
    /// One that nobody has answered.
    #[must_use]
    pub const fn new(
        organisation: OrganisationId,
        id: ApprovalId,
        wanted: Wanted,
        by: String,
        asked: Timestamp,
        reason: Option<String>,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            wanted,
            by,
            by_person: String::new(),
            asked,
            reason,
            state: ApprovalState::Open,
        }
    }

    /// Whether it was asked for by this person, who is called so now.
    #[must_use]
    pub fn is_by(&self, actor: &str, person: &str) -> bool {
        match self.by_person.is_empty() {
            true => self.by == actor,
            false => self.by_person == person,
        }
    }

    /// Whether it is known to be this person's own. Where it was not written down who asked, a name is not enough: others have it, too.
    #[must_use]
    pub fn is_own_of(&self, person: &str) -> bool {
        !self.by_person.is_empty() && self.by_person == person
    }

    /// Whether this person may confirm it: not one who asked, under whatever name, and nobody of the same name.
    #[must_use]
    pub fn may_be_confirmed_by(&self, actor: &str, person: &str) -> bool {
        self.by != actor && !self.is_by(actor, person)
    }

    /// From when on nothing can become of it any more.
    #[must_use]
    pub fn over(&self) -> Timestamp {
        match &self.state {
            ApprovalState::Open => self.asked + OPEN,
            ApprovalState::Confirmed { at, .. } => *at + CONFIRMED,
            ApprovalState::Done { at, .. } | ApprovalState::Refused { at, .. } => *at,
        }
    }

    /// Whether it waits for the second person.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.state == ApprovalState::Open && now < self.over()
    }

    /// Who confirmed that this person may look at this secret once.
    #[must_use]
    pub fn lets_see(
        &self,
        by: &str,
        serial: &Serial,
        kind: SecretKind,
        now: Timestamp,
    ) -> Option<&str> {
        let wanted = Wanted::Reveal {
            serial: serial.clone(),
            kind: kind.as_str().to_owned(),
        };
        match &self.state {
            ApprovalState::Confirmed { by: second, .. }
                if self.by == by && self.wanted == wanted && now < self.over() =>
            {
                Some(second)
            }
            _ => None,
        }
    }
}

/// What one person did alone lately, of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Alone {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: AloneId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What, and who.
    pub name: String,
    /// When, and how many.
    pub lately: Vec<(Timestamp, u32)>,
}

impl Alone {
    /// Nothing yet.
    #[must_use]
    pub fn new(organisation: OrganisationId, id: AloneId, name: &str) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            lately: Vec::new(),
        }
    }

    /// Counts so many more, unless that makes more than `most` within [`ALONE`]: then nothing is counted, and it is no.
    pub fn may(&mut self, count: u32, most: u32, now: Timestamp) -> bool {
        self.lately.retain(|(at, _)| *at + ALONE > now);
        let before: u32 = self.lately.iter().map(|(_, count)| *count).sum();
        let fits = before.saturating_add(count) <= most;
        if fits {
            self.lately.push((now, count));
        }
        fits
    }

    /// From when on none of it counts.
    #[must_use]
    pub fn over(&self) -> Timestamp {
        let last = self
            .lately
            .last()
            .map_or(Timestamp::from_millis(0), |l| l.0);
        last + ALONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(1_796_112_000_000 + secs * 1000)
    }

    #[test]
    fn what_is_done_alone_counts_for_a_day() {
        let mut it = Alone::new(OrganisationId(1), AloneId(2), "reveals of Anna");
        for n in 0..10 {
            assert!(it.may(1, 10, at(n * 3600)), "{n}");
        }
        assert!(!it.may(1, 10, at(10 * 3600)));
        assert!(!it.may(1, 10, at(24 * 3600 - 1)));
        // The first of them is a day ago.
        assert!(it.may(1, 10, at(24 * 3600)));
        assert!(!it.may(1, 10, at(24 * 3600)));
        assert!(!it.may(u32::MAX, 10, at(24 * 3600)));
        assert_eq!(it.over(), at(24 * 3600) + ALONE);
    }

    #[test]
    fn who_changes_their_name_is_the_same_person() {
        let wanted = Wanted::Alone;
        let id = ApprovalId(2);
        let mut it = Approval::new(
            OrganisationId(1),
            id,
            wanted,
            "Anna".to_owned(),
            at(0),
            None,
        );
        // A row of an earlier version knows names alone.
        assert!(it.is_by("Anna", "p1") && !it.is_by("Annika", "p1"));
        assert!(it.may_be_confirmed_by("Bo", "p2"));
        assert!(!it.is_own_of("p1"), "another one is called Anna, too");
        it.by_person = "p1".to_owned();
        assert!(it.is_own_of("p1") && !it.is_own_of("p2"));
        assert!(it.is_by("Annika", "p1") && !it.is_by("Anna", "p2"));
        for (name, person, may) in [
            ("Anna", "p1", false),
            ("Annika", "p1", false),
            ("Anna", "p2", false),
            ("Bo", "p2", true),
        ] {
            assert_eq!(it.may_be_confirmed_by(name, person), may, "{name} {person}");
        }
    }

    #[test]
    fn only_who_asked_sees_and_only_that_and_only_for_an_hour() {
        let serial = Serial::parse("C02A").unwrap();
        let kind = SecretKind::UnlockToken;
        let wanted = Wanted::Reveal {
            serial: serial.clone(),
            kind: kind.as_str().to_owned(),
        };
        let mut it = Approval::new(
            OrganisationId(1),
            ApprovalId(2),
            wanted,
            "Anna".to_owned(),
            at(0),
            None,
        );
        assert!(it.is_open(at(0)) && !it.is_open(at(24 * 3600)));
        assert_eq!(it.lets_see("Anna", &serial, kind, at(1)), None);
        it.state = ApprovalState::Confirmed {
            by: "Bo".to_owned(),
            at: at(10),
        };
        let other = Serial::parse("C02B").unwrap();
        assert_eq!(it.lets_see("Anna", &serial, kind, at(11)), Some("Bo"));
        assert_eq!(it.lets_see("Bo", &serial, kind, at(11)), None);
        assert_eq!(it.lets_see("Anna", &other, kind, at(11)), None);
        let another = SecretKind::RecoveryKey;
        assert_eq!(it.lets_see("Anna", &serial, another, at(11)), None);
        assert_eq!(it.lets_see("Anna", &serial, kind, at(3610)), None);
    }
}
