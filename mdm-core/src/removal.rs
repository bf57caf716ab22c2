//! An organisation that was taken away: who did it and why, and how far its rows have gone. When all of them have, this is what is left
//! of it, in the installation's own list. Decides when each part is due; does no IO.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{OrganisationCode, OrganisationId};
use crate::organisation::Organisation;
use crate::server_certificate::INSTALLATION;

/// So long nothing of it is destroyed: what was being decided as it was taken away is written by then or never (a message with which an
/// enrolment begins is not written any more after a minute), and where a device has come in between, it is put back. Measured by the
/// clock of whichever process goes on with it, against that of the one that began: as with leases, they may differ by less than a quarter
/// of one, and where one is two minutes ahead nothing is waited for.
pub const SETTLES: Duration = Duration::from_mins(2);
/// So long after it was taken away all tables are gone through once more, for what somebody was still at: longer than any lease.
pub const LAST_LOOK: Duration = Duration::from_mins(15);
/// So often all tables are gone through again after it was over, for who was at it for longer than that: a file that came over a slow
/// line, a process that stood still, one of an earlier version.
pub const AGAIN: Duration = Duration::from_hours(6);
/// And for so long.
pub const WATCHED: Duration = Duration::from_hours(30 * 24);
/// Whoever erases has it for so long; one that died over it is followed by another after that.
pub(crate) const LEASE: Duration = Duration::from_mins(1);

/// An organisation that was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Removal {
    /// [`INSTALLATION`].
    pub organisation: OrganisationId,
    /// The organisation's; no other one gets it.
    pub id: OrganisationId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The organisation's name in the paths of its devices.
    pub code: OrganisationCode,
    /// What people called it.
    pub name: String,
    /// When it was taken away.
    pub begun: Timestamp,
    /// Who did it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// So many silent devices stayed enrolled.
    pub left_behind: u64,
    /// Its own row, until the first of the others goes; its data key goes with it, and no sealed value opens any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptOrganisation>,
    /// How many rows have gone, by table.
    pub erased: BTreeMap<String, u64>,
    /// How far all tables are gone through; `None` between two times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<ErasedTo>,
    /// When all tables were gone through last, there was nothing.
    pub empty: bool,
    /// Until then somebody is at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_until: Option<Timestamp>,
    /// When nothing of it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// When all tables were gone through again after that, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Timestamp>,
}

/// The row of an organisation, as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeptOrganisation {
    /// It.
    pub organisation: Box<Organisation>,
    /// Its version.
    pub version: i64,
}

/// How far the tables are gone through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ErasedTo {
    /// The table, by its name in the database.
    pub table: String,
    /// Behind this id.
    pub after: i64,
    /// Something went since the first table.
    pub met: bool,
}

impl Removal {
    /// Of an organisation as it was read.
    #[must_use]
    pub fn new(
        organisation: Organisation,
        (by, reason): (&str, &str),
        left_behind: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            organisation: INSTALLATION,
            id: organisation.id,
            version: 0,
            code: organisation.code.clone(),
            name: organisation.name.clone(),
            begun: now,
            by: by.to_owned(),
            reason: reason.to_owned(),
            left_behind,
            kept: Some(KeptOrganisation {
                version: organisation.version,
                organisation: Box::new(organisation),
            }),
            erased: BTreeMap::new(),
            place: None,
            empty: false,
            leased_until: None,
            finished: None,
            looked: None,
        }
    }

    /// How many rows have gone.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.erased.values().sum()
    }

    /// Whether somebody should go on with it now.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        // One that lies further ahead than a lease was given by a clock that has gone back since.
        let taken = |until: Timestamp| now < until && until.since(now) <= LEASE;
        let rests = match self.finished {
            None => now.since(self.begun) < SETTLES || (self.empty && !self.may_finish(now)),
            // What a look has begun to delete it deletes to its end.
            Some(finished) => {
                self.place.is_none() && now.since(self.looked.unwrap_or(finished)) < AGAIN
            }
        };
        self.is_watched(now) && !rests && !self.leased_until.is_some_and(taken)
    }

    /// Whether anything of it may be met yet.
    pub(crate) fn is_watched(&self, now: Timestamp) -> bool {
        self.finished.is_none_or(|at| now.since(at) < WATCHED)
    }

    /// Whether it is over once all tables were gone through and there was nothing.
    pub(crate) fn may_finish(&self, now: Timestamp) -> bool {
        now.since(self.begun) >= LAST_LOOK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::organisation::WrappedKey;

    const START: Timestamp = Timestamp::from_millis(1_796_112_000_000);

    fn removal() -> Removal {
        let key = WrappedKey {
            key_id: "k".to_owned(),
            wrapped: crate::organisation::Der(vec![1]),
        };
        let code = OrganisationCode::random().unwrap();
        let organisation =
            Organisation::new(OrganisationId(7), code, "Acme".to_owned(), key, START);
        Removal::new(organisation, ("Anna", "sold"), 0, START)
    }

    #[test]
    fn it_rests_until_what_was_decided_before_is_written_and_until_the_last_look() {
        let mut removal = removal();
        assert!(!removal.is_due(START));
        assert!(removal.is_due(START + SETTLES));
        removal.empty = true;
        assert!(!removal.is_due(START + SETTLES));
        assert!(removal.is_due(START + LAST_LOOK));
    }

    #[test]
    fn when_it_is_over_it_is_looked_at_again_for_a_month() {
        let (mut removal, over) = (removal(), START + LAST_LOOK);
        removal.empty = true;
        removal.finished = Some(over);
        assert!(!removal.is_due(over + LAST_LOOK));
        assert!(removal.is_due(over + AGAIN));
        let looked = over + AGAIN;
        removal.looked = Some(looked);
        assert!(!removal.is_due(looked + LAST_LOOK));
        assert!(removal.is_due(looked + AGAIN));
        // A look that has found something goes on.
        removal.place = Some(ErasedTo {
            table: "devices".to_owned(),
            after: 1,
            met: true,
        });
        assert!(removal.is_due(looked + LEASE));
        assert!(removal.is_watched(over + WATCHED / 2));
        assert!(!removal.is_watched(over + WATCHED));
        assert!(!removal.is_due(over + WATCHED));
    }

    #[test]
    fn one_is_at_it_and_a_lease_of_a_clock_that_was_ahead_keeps_nobody() {
        let (mut removal, now) = (removal(), START + SETTLES);
        removal.leased_until = Some(now + LEASE);
        assert!(!removal.is_due(now));
        assert!(removal.is_due(now + LEASE));
        removal.leased_until = Some(now + LEASE * 60);
        assert!(removal.is_due(now));
    }
}
