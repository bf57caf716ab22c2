//! One serial number: what Apple's two services say of it, what it told us itself, and how old each fact is.
//! Decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attested::AttestedFacts;
use crate::clock::Timestamp;
use crate::device_lock::DeviceLock;
use crate::ids::{
    DeviceId, EnrollmentId, HookMessageId, MoveId, OrganisationId, Serial, ServerId, SessionId,
};
use crate::library::Given;
use crate::licences::HeldLicence;
use crate::person::SignedIn;

/// A device of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Device {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key here.
    pub id: DeviceId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Its serial number.
    pub serial: Serial,
    /// What the assignment service last said.
    pub record: Option<DeviceRecord>,
    /// What the organisation API last said.
    pub reading: Option<OrgReading>,
    /// What the device said of itself.
    pub facts: DeviceFacts,
    /// What Apple last attested of it, when it obtained its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<AttestedFacts>,
    /// The enrolment that speaks for it now (device channel).
    pub enrollment: Option<EnrollmentId>,
    /// Its unfinished attempt, if it is in an open wave.
    pub open_move: Option<MoveId>,
    /// Its attempt that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_move: Option<MoveId>,
    /// The ADE profile that we want in force, and how assigning goes.
    pub assignment: Assignment,
    /// Deadlines of migrations that it has completed: a later enrolment is not that migration again.
    pub completed_deadlines: Vec<Timestamp>,
    /// Licences that it was seen to have, as far as we gave or looked for them.
    #[serde(default)]
    pub licences: Vec<HeldLicence>,
    /// Enrolment sessions that were opened for it and that it has not used when last looked at; bounded, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invitations: Vec<SessionId>,
    /// What people sort it by: it gets what the library has for these.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// The groups of its owner, as the newest import told them: it gets what is there for these, too. They stay when what was
    /// imported of people is forgotten.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// What of the library was queued for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
    /// In which enrolment: a new one begins with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_to: Option<EnrollmentId>,
    /// Who signed in at it before it got its last enrolment profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in: Option<SignedIn>,
    /// Somebody has asked Apple to move it to another service: a return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
    /// What is known of its Activation Lock, and of the last time that somebody wanted it lifted.
    #[serde(default, skip_serializing_if = "DeviceLock::is_nothing")]
    pub lock: DeviceLock,
    /// When what we knew of it was handed over to the installation that it moved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_over: Option<Timestamp>,
    /// The newest message about it to receivers of webhooks: the next one has a larger id, whichever process writes it and whatever its
    /// clock says, for they go in the order of their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<HookMessageId>,
    /// When it had last left us for good, as it is in the record: in the list of another service, and checked out or silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_away: Option<Timestamp>,
    /// When our list showed it no more for the last time, to whichever service it went; stays when it is listed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_list: Option<Timestamp>,
}

/// That a device leaves us, by whose will and by when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "four facts")]
pub struct Leaving {
    /// Apple's identifier of the service that it goes to.
    pub to: String,
    /// When Apple enforces it.
    pub deadline: Timestamp,
    /// When it was asked for.
    pub asked: Timestamp,
    /// By whom.
    pub by: String,
}

impl Device {
    /// Since when what it says of itself is said by a device of ours: since it last left us, or our list, or for ever. `None` where it
    /// is enrolled here no more. That it had left is told by the list alone where its `CheckOut` was lost.
    #[must_use]
    pub fn ours_since(&self) -> Option<Timestamp> {
        self.enrollment?;
        let record = self.record.as_ref().filter(|record| record.has_left());
        let left = self.moved_away.max(self.left_list);
        let left = left.max(record.map(|record| record.seen));
        Some(left.unwrap_or(Timestamp::from_millis(i64::MIN)))
    }

    /// Whether it has completed the migration with this deadline. Apple keeps whole seconds.
    pub(crate) fn has_completed(&self, deadline: Timestamp) -> bool {
        let mut completed = self.completed_deadlines.iter();
        completed.any(|done| done.as_secs() == deadline.as_secs())
    }

    /// Notes that it has completed the migration with this deadline, so that a later enrolment is not taken for that one.
    pub(crate) fn completed(&mut self, deadline: Timestamp) {
        if !self.has_completed(deadline) {
            self.completed_deadlines.push(deadline);
        }
    }

    /// Whether the organisation API assigns it to this service of ours, and no list of ours shows it.
    pub(crate) fn is_unlisted_at(&self, service: &str) -> bool {
        let reading = self.reading.as_ref().filter(|reading| !reading.unknown);
        let at = reading.and_then(|reading| reading.assigned_server.as_deref());
        at == Some(service) && self.record.as_ref().is_none_or(|record| record.gone)
    }

    /// A device of which only the serial number is known.
    #[must_use]
    pub fn new(organisation: OrganisationId, id: DeviceId, serial: Serial) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            serial,
            record: None,
            reading: None,
            facts: DeviceFacts::default(),
            attested: None,
            enrollment: None,
            open_move: None,
            last_move: None,
            assignment: Assignment::default(),
            completed_deadlines: Vec::new(),
            licences: Vec::new(),
            invitations: Vec::new(),
            tags: BTreeSet::new(),
            groups: BTreeSet::new(),
            given: Vec::new(),
            given_to: None,
            signed_in: None,
            leaving: None,
            lock: DeviceLock::default(),
            handed_over: None,
            last_message: None,
            moved_away: None,
            left_list: None,
        }
    }

    /// The platform, from the most trustworthy source that names it.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        self.facts
            .product
            .as_deref()
            .and_then(Platform::of_product)
            .or_else(|| {
                self.record
                    .as_ref()
                    .and_then(|r| Platform::of_family(&r.family))
            })
    }

    /// The same; of a device that is in none of our lists what the organisation API says counts too.
    #[must_use]
    pub fn platform_told(&self) -> Option<Platform> {
        self.platform().or_else(|| {
            let product = self.reading.as_ref().and_then(|r| r.product.as_deref());
            product.and_then(Platform::of_product)
        })
    }
}

/// The three platforms that can migrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(
    clippy::exhaustive_enums,
    reason = "a runbook exists for each; a fourth is a decision everywhere"
)]
pub enum Platform {
    /// iPhone.
    Ios,
    /// iPad.
    Ipados,
    /// Mac.
    Macos,
}

impl Platform {
    /// From a product type such as `iPhone17,2` or `Mac15,7`.
    #[must_use]
    pub fn of_product(product: &str) -> Option<Self> {
        if product.starts_with("iPhone") || product.starts_with("iPod") {
            Some(Self::Ios)
        } else if product.starts_with("iPad") {
            Some(Self::Ipados)
        } else if product.contains("Mac") || product.starts_with("VirtualMac") {
            Some(Self::Macos)
        } else {
            None
        }
    }

    /// From the assignment service's device family.
    #[must_use]
    pub fn of_family(family: &str) -> Option<Self> {
        match family {
            "iPhone" | "iPod" => Some(Self::Ios),
            "iPad" => Some(Self::Ipados),
            "Mac" => Some(Self::Macos),
            _ => None,
        }
    }

    /// Whether it is a Mac.
    #[must_use]
    pub const fn is_mac(self) -> bool {
        matches!(self, Self::Macos)
    }

    /// Apple's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ios => "iOS",
            Self::Ipados => "iPadOS",
            Self::Macos => "macOS",
        }
    }
}

/// What the assignment service says of a serial number.
///
/// <https://developer.apple.com/documentation/devicemanagement/device>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeviceRecord {
    /// The server entry in whose list it stands.
    pub server: ServerId,
    /// When we read it.
    pub seen: Timestamp,
    /// When Apple recorded the operation; `None` in a full list.
    pub op_date: Option<Timestamp>,
    /// It has left our list.
    pub gone: bool,
    /// It is in no list because we gave up its server entry: that says nothing of where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// `iPhone`, `iPad`, `Mac`, …
    pub family: String,
    /// Marketing name.
    pub model: String,
    /// `empty`, `assigned`, `pushed`, `removed` or what Apple adds.
    pub profile_status: String,
    /// The ADE profile that Apple names; can linger after `removed`.
    pub profile_uuid: Option<String>,
    /// The migration deadline, if one is set. No proof of a migration.
    pub deadline: Option<Timestamp>,
    /// Every other key as Apple sent it.
    pub more: BTreeMap<String, serde_json::Value>,
}

impl DeviceRecord {
    /// A record of `server` seen now, everything else unknown.
    #[must_use]
    pub fn new(server: ServerId, seen: Timestamp) -> Self {
        Self {
            server,
            seen,
            op_date: None,
            gone: false,
            given_up: false,
            family: String::new(),
            model: String::new(),
            profile_status: String::new(),
            profile_uuid: None,
            deadline: None,
            more: BTreeMap::new(),
        }
    }

    /// Whether Apple took it from our list: not where we gave its server entry up.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        self.gone && !self.given_up
    }

    /// Whether an ADE profile is in force. The status counts, not the UUID.
    #[must_use]
    pub fn profile_in_force(&self) -> Option<&str> {
        match self.profile_status.as_str() {
            "assigned" | "pushed" => self.profile_uuid.as_deref(),
            _ => None,
        }
    }
}

/// Apple's word on a migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum MigrationStatus {
    /// Requested, not begun.
    Requested,
    /// The device has begun.
    Started,
    /// The device completed it.
    Success,
    /// The device failed, or the migration was cancelled: our own record decides which.
    Failed,
    /// A word that we do not know.
    #[serde(untagged)]
    Other(String),
}

/// What the organisation API says of a serial number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct OrgReading {
    /// When we read it.
    pub seen: Timestamp,
    /// The organisation does not know the serial number.
    pub unknown: bool,
    /// Assigned server entry; `None` when unassigned or not asked.
    pub assigned_server: Option<String>,
    /// When a list of a service was read that had it, where it was not read by itself.
    pub listed: Option<Timestamp>,
    /// Whether Apple says that some service has it. Absent is not false.
    pub assigned: Option<bool>,
    /// The reading that began then found it in the list of no service although Apple did not call it unassigned: it moved
    /// while the lists were read. Which service it has is then what was known before, and it is to be read by itself.
    pub unplaced: Option<Timestamp>,
    /// Absent is not false.
    pub capable: Option<bool>,
    /// Absent: no migration was requested.
    pub status: Option<MigrationStatus>,
    /// The deadline that Apple has.
    pub deadline: Option<Timestamp>,
    /// `iPhone17,1` style.
    pub product: Option<String>,
    /// When the organisation got it.
    pub added: Option<Timestamp>,
    /// Whether it was added by hand, not bought for the organisation.
    pub added_by_hand: Option<bool>,
    /// How often in a row Apple said that it cannot migrate; none unless it says so now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incapable: Option<Incapable>,
}

/// Readings in a row that call a device incapable of migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "since when, and how often")]
pub struct Incapable {
    /// When the first of them was.
    pub since: Timestamp,
    /// How many there were.
    pub readings: u32,
}

impl Incapable {
    /// So many readings are wanted before it is believed: what Apple says lags behind an assignment.
    pub const READINGS: u32 = 3;
    /// And so much time from the first to the last.
    pub const OVER: Duration = Duration::from_secs(30 * 60);
}

impl OrgReading {
    /// The same after an earlier one: it counts on how often in a row the device was called incapable.
    #[must_use]
    pub fn after(mut self, before: Option<&Self>) -> Self {
        self.incapable = (self.capable == Some(false)).then(|| {
            let first = |at| Incapable {
                since: at,
                readings: 1,
            };
            match before.filter(|b| b.capable == Some(false)) {
                Some(before) => {
                    let known = before.incapable.unwrap_or_else(|| first(before.seen));
                    let newer = u32::from(self.seen > before.seen);
                    Incapable {
                        readings: known.readings.saturating_add(newer),
                        ..known
                    }
                }
                None => first(self.seen),
            }
        });
        self
    }

    /// Whether Apple has said so often enough, over long enough, that the device cannot migrate.
    #[must_use]
    pub fn cannot_migrate(&self) -> bool {
        self.incapable.is_some_and(|it| {
            it.readings >= Incapable::READINGS && self.seen.since(it.since) >= Incapable::OVER
        })
    }

    /// Whether all of it was true at `not_before` or later.
    #[must_use]
    pub fn is_young(&self, not_before: Timestamp) -> bool {
        self.seen >= not_before && self.unplaced.is_none()
    }
}

/// What the device said of itself in machine information, check-ins and answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct DeviceFacts {
    /// When the newest of these was learned.
    pub learned: Option<Timestamp>,
    /// `iPhone17,2`, `Mac15,7`.
    pub product: Option<String>,
    /// Operating-system version.
    pub os_version: Option<String>,
    /// Build.
    pub build: Option<String>,
    /// UDID.
    pub udid: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Whether FileVault is on (Mac).
    pub filevault_on: Option<bool>,
    /// The numbers of its radios, by which a removal of its lock names it.
    #[serde(skip_serializing_if = "RadioNumbers::is_nothing")]
    pub radio: RadioNumbers,
}

/// The cellular numbers of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct RadioNumbers {
    /// Of the first slot.
    pub imei: Option<String>,
    /// Of the second slot.
    pub imei2: Option<String>,
    /// Of the first slot.
    pub meid: Option<String>,
}

impl RadioNumbers {
    /// Whether there is none.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// When a device spoke last, whatever it said. Kept beside its row and written behind: most of what devices say changes nothing
/// else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastHeard {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// The device.
    pub id: DeviceId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// When.
    pub at: Timestamp,
}

impl LastHeard {
    /// A device has spoken.
    #[must_use]
    pub fn new(organisation: OrganisationId, id: DeviceId, at: Timestamp) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            at,
        }
    }
}

/// Why a device is not offered its migration whose licences are promised and not there yet.
pub(crate) const LICENCES_AWAITED: &str = "its licences are on their way";

/// Which ADE profile should be in force, and how assigning it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct Assignment {
    /// The profile that we want.
    pub wanted: Option<String>,
    /// Not before this moment (*available from*).
    pub from: Option<Timestamp>,
    /// When it was last about to be assigned: not again before the list was read after that.
    pub asked: Option<Timestamp>,
    /// Tries since the last success.
    pub tries: u32,
    /// Not before this moment again (throttled, failed).
    pub not_before: Option<Timestamp>,
    /// Why it has no profile, in Apple's word.
    pub last_refusal: Option<String>,
    /// Why it is not offered its migration yet, in a sentence: others of its group are on their way, or its licences are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Why it is not offered its migration any more, in a sentence: its deadline has come too near.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub too_late: Option<String>,
}

/// What assigning a profile did for one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum AssignmentOutcome {
    /// Assigned; the device is told by Apple.
    Success,
    /// Not in our list.
    NotAccessible,
    /// Not now, and Apple does not say why.
    Failed,
    /// Too many assignments of this device; wait at least so many seconds.
    Throttled {
        /// Apple's advice, when given.
        retry_after_seconds: Option<u64>,
    },
    /// A word that we do not know.
    Other(String),
}
