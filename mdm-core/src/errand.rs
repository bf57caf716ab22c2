//! A request that changes something at Apple for many devices, from the decision to the proof: the row that makes sure that
//! nothing is sent twice without a reading in between. Says where it stands and what comes next; sends nothing, reads no
//! clock.

mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::LONGEST_RETRY;
use crate::ids::{DeviceId, ErrandId, LocationId, MoveId, OrganisationId, Serial, WaveId};
use crate::organisation::Der;

pub use way::Next;
pub(crate) use way::{ASKING, FENCE};

/// Most devices of one request to the organisation API or to Apps and Books.
pub const MOST_DEVICES: usize = 1000;
/// How long an effect may take to show after Apple took a request.
pub const LAG: Duration = Duration::from_secs(15 * 60);
/// No errand waits for longer until it is looked at again.
const LONGEST_WAIT: Duration = LONGEST_RETRY;
/// Who decided on an errand that no person asked for.
pub(crate) const BY_ITSELF: &str = "worker";

/// One request that changes something at Apple for many devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Errand {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key. Errands that share a device go in this order.
    pub id: ErrandId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The wave for whose members it is, if for one.
    pub wave: Option<WaveId>,
    /// What is asked for.
    pub kind: ErrandKind,
    /// For which devices.
    pub members: Vec<ErrandMember>,
    /// Where it stands.
    pub state: ErrandState,
    /// Not before this moment.
    pub due: Timestamp,
    /// How often in a row it could not go on.
    pub tries: u32,
    /// When it was decided, when the last device joined it, or when Apple's work on it was given up: before it is sent no
    /// reading counts that is older.
    pub created: Timestamp,
    /// By whom.
    pub by: String,
    /// Why, where a reason is demanded.
    pub reason: Option<String>,
    /// Each time that it was sent or about to be.
    pub sendings: Vec<Sending>,
    /// Apple's last word on the activity or event.
    pub status: Option<String>,
    /// The result file as it came.
    pub result: Option<Der>,
    /// Devices that came out otherwise than wanted, and why.
    pub failed: BTreeMap<Serial, String>,
    /// Why a person is needed, in a sentence.
    pub needs_person: Option<String>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A device of an errand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a device under its three names")]
pub struct ErrandMember {
    /// The device.
    pub device: DeviceId,
    /// Its serial number.
    pub serial: Serial,
    /// The attempt that it is for, if for one.
    pub attempt: Option<MoveId>,
}

/// What is asked of Apple.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrandKind {
    /// Assign to a server entry with a deadline: starts migrations.
    Schedule {
        /// Apple's identifier of the server entry.
        server: String,
        /// The deadline.
        deadline: Timestamp,
    },
    /// Move the deadline of migrations.
    MoveDeadline {
        /// To when.
        deadline: Timestamp,
    },
    /// Cancel migrations; each device that does not stand at its original afterwards is assigned back by an errand of its own.
    Cancel,
    /// Assign back to the original, without a deadline.
    Return {
        /// Apple's identifier of the original.
        server: String,
    },
    /// Give licences to the devices.
    Associate {
        /// Of which location.
        location: LocationId,
        /// Store identifiers of the apps, at most as many as Apple takes at once.
        apps: Vec<u64>,
    },
    /// Take licences back.
    Disassociate {
        /// Of which location.
        location: LocationId,
        /// Store identifiers of the apps.
        apps: Vec<u64>,
    },
}

impl ErrandKind {
    /// Its name in records and for people.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Schedule { .. } => "schedule",
            Self::MoveDeadline { .. } => "move-deadline",
            Self::Cancel => "cancel",
            Self::Return { .. } => "return",
            Self::Associate { .. } => "associate",
            Self::Disassociate { .. } => "disassociate",
        }
    }

    /// The apps whose licences it gives or takes back.
    #[must_use]
    pub fn apps(&self) -> &[u64] {
        match self {
            Self::Associate { apps, .. } | Self::Disassociate { apps, .. } => apps,
            _ => &[],
        }
    }

    /// Whether it is about licences, and so goes to Apps and Books and not to the organisation API.
    #[must_use]
    pub const fn is_licence(&self) -> bool {
        matches!(self, Self::Associate { .. } | Self::Disassociate { .. })
    }
}

/// Where an errand stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the states, each decided on")]
pub enum ErrandState {
    /// Not sent, or certainly refused when it was.
    Waiting,
    /// About to be sent, or sent and the answer never seen. It is read before anything is sent again.
    Asked {
        /// Since when.
        at: Timestamp,
    },
    /// Apple took it.
    Posted {
        /// When.
        at: Timestamp,
        /// Apple's identifier of the activity or event.
        activity: String,
        /// How often it was looked at.
        looks: u32,
    },
    /// Apple has finished, or is no longer waited for: the devices are read.
    Proving {
        /// Since when.
        since: Timestamp,
    },
    /// Over: every device was read, and stands in `failed` if it disagrees.
    Done,
    /// Apple refused it, or nobody wants it any more. Nothing was changed.
    Refused {
        /// Why.
        why: String,
    },
}

/// One sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "four facts of one sending")]
pub struct Sending {
    /// When it was about to be sent.
    pub at: Timestamp,
    /// For how many devices.
    pub devices: usize,
    /// Apple's identifier of the activity or event, once it answered.
    pub activity: Option<String>,
    /// What became of it when there was none.
    pub outcome: Option<String>,
}

impl Errand {
    /// An errand that was just decided on.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: ErrandId,
        kind: ErrandKind,
        members: Vec<ErrandMember>,
        by: &str,
        now: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            wave: None,
            kind,
            members,
            state: ErrandState::Waiting,
            due: now,
            tries: 0,
            created: now,
            by: by.to_owned(),
            reason: None,
            sendings: Vec::new(),
            status: None,
            result: None,
            failed: BTreeMap::new(),
            needs_person: None,
            ended: None,
        }
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, ErrandState::Done | ErrandState::Refused { .. })
    }

    /// Whether its time has come, or lies further away than any wait of an errand: then it was put off before the clock was set back.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.due || self.due > now + LONGEST_WAIT
    }

    /// Whether it was sent for any device, as far as is known.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.sendings.iter().any(|s| s.devices > 0)
    }

    /// Whether something was sent before the request that Apple answers now: its effect may still come.
    pub(crate) fn may_come(&self) -> bool {
        self.sendings.iter().filter(|s| s.devices > 0).count() > 1
    }

    /// Whether it takes devices that are here to another service: then no attempt of ours stands behind any of them.
    pub(crate) fn is_return(&self) -> bool {
        matches!(self.kind, ErrandKind::Schedule { .. })
            && self.members.iter().all(|m| m.attempt.is_none())
    }

    /// Whether nothing of it is at Apple: it waits, and what was sent before would have shown by now.
    pub(crate) fn is_idle(&self, now: Timestamp) -> bool {
        self.state == ErrandState::Waiting && self.sendings.last().is_none_or(|s| now >= s.at + LAG)
    }

    /// Nobody wants it any more for these devices, of which nothing is at Apple; without any device left it has ended.
    pub(crate) fn withdrawn(&mut self, devices: &BTreeSet<DeviceId>, why: &str, now: Timestamp) {
        if self.members.iter().any(|m| !devices.contains(&m.device)) {
            self.members.retain(|m| !devices.contains(&m.device));
            return;
        }
        for serial in self.serials() {
            self.failed.insert(serial, why.to_owned());
        }
        self.state = ErrandState::Refused {
            why: why.to_owned(),
        };
        self.ended = Some(now);
        self.needs_person = None;
    }

    /// Whether the server decided on it without a person.
    #[must_use]
    pub fn is_by_itself(&self) -> bool {
        self.by == BY_ITSELF
    }

    /// Where it is sent: to a location of Apps and Books, or (`None`) to the organisation API.
    #[must_use]
    pub const fn location(&self) -> Option<LocationId> {
        match &self.kind {
            ErrandKind::Associate { location, .. } | ErrandKind::Disassociate { location, .. } => {
                Some(*location)
            }
            _ => None,
        }
    }

    /// The serial numbers of its devices.
    #[must_use]
    pub fn serials(&self) -> Vec<Serial> {
        self.members.iter().map(|m| m.serial.clone()).collect()
    }

    /// Whether one of its devices is in `other` too.
    #[must_use]
    pub fn shares_a_device(&self, other: &Self) -> bool {
        let mine: BTreeSet<DeviceId> = self.members.iter().map(|m| m.device).collect();
        other.members.iter().any(|m| mine.contains(&m.device))
    }
}
