//! Waves and server entries as rows. Rules are in `migration::plan` and `sync`; this is what is stored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::ids::{
    DeviceId, JobId, OrganisationId, ProjectId, RunbookId, SecretId, Serial, ServerId, WaveId,
};
use crate::organisation::AdeOptions;
use crate::project::{PinnedPlan, Project};
use crate::texts::OwnerTexts;

/// Members that share runbook and dates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Wave {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: WaveId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// What people call it.
    pub name: String,
    /// Our server entry, to which its members go.
    pub destination: ServerId,
    /// The pinned runbook for each platform.
    pub runbooks: BTreeMap<Platform, RunbookId>,
    /// Where it stands.
    pub state: WaveState,
    /// When it was made.
    pub created: Timestamp,
    /// What its ADE profile says, if not what the organisation's says.
    #[serde(default)]
    pub ade: Option<AdeOptions>,
    /// What owners of its devices are told in place of what the organisation says, by language. It is no part of what is accepted or
    /// pinned: whoever is told next is told this.
    #[serde(default, skip_serializing_if = "OwnerTexts::is_empty")]
    pub owner_texts: OwnerTexts,
    /// Made for a list of devices that somebody acted on, not planned as a wave.
    #[serde(default)]
    pub ad_hoc: bool,
    /// The project that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The revision of its project that it was last submitted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// What its project said when it was last submitted; counts from then on, whatever the project says later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PinnedPlan>,
    /// What the ADE profile of its members said when it was last submitted, its own or the organisation's. It is not what they get:
    /// that is what is said when each is assigned. By this another one shows as drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_ade: Option<AdeOptions>,
    /// What was accepted of it last; void once members, findings or runbooks are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<Acceptance>,
    /// Who said that the next wave may go, and on what evidence; none again once more of its devices are submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignOff>,
    /// Why no more of its devices are offered their migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// What had gone wrong when somebody last had its offers go on: its stop rule counts what comes after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumed>,
    /// When its members that are not submitted were last looked at by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_again: Option<Timestamp>,
    /// When people's names went out of what was accepted of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub people_forgotten: Option<Timestamp>,
}

impl Wave {
    /// A draft.
    #[must_use]
    pub fn draft(
        organisation: OrganisationId,
        id: WaveId,
        name: &str,
        destination: ServerId,
        runbooks: BTreeMap<Platform, RunbookId>,
        created: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            destination,
            runbooks,
            state: WaveState::Draft,
            created,
            ade: None,
            owner_texts: OwnerTexts::default(),
            ad_hoc: false,
            project: None,
            preset: None,
            revision: None,
            plan: None,
            submitted_ade: None,
            acceptance: None,
            signed: None,
            paused: None,
            resumed: None,
            looked_again: None,
            people_forgotten: None,
        }
    }

    /// The runbooks with which a draft would be submitted now: those that its project has at this moment. None for a wave that was
    /// submitted: it keeps its own.
    pub(crate) fn runbooks_of_now(
        &self,
        project: &Project,
    ) -> Option<BTreeMap<Platform, RunbookId>> {
        matches!(self.state, WaveState::Draft).then(|| {
            let mut runbooks = self.runbooks.clone();
            runbooks.extend(&project.runbooks);
            runbooks
        })
    }

    /// Whether members can still be put into it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, WaveState::Closed { .. })
    }

    /// Whether it was closed before this moment.
    pub(crate) fn closed_before(&self, moment: Timestamp) -> bool {
        matches!(self.state, WaveState::Closed { at } if at < moment)
    }
}

/// What a wave is for. The later ones go when those before them have passed their gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "four, in their order")]
pub enum Preset {
    /// A few devices of each model, of people who know.
    Pilot,
    /// Volunteers.
    Early,
    /// Most of them.
    Main,
    /// Those that were left.
    Rest,
}

/// A what-if that somebody has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Acceptance {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The digest of members, dates, runbooks and findings.
    pub digest: String,
    /// Findings that are no reason to stay behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<Waiver>,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Acceptance {
    pub(crate) fn new(
        by: &str,
        at: Timestamp,
        digest: &str,
        waivers: Vec<Waiver>,
        reason: &str,
    ) -> Self {
        Self {
            by: by.to_owned(),
            at,
            digest: digest.to_owned(),
            waivers,
            reason: reason.to_owned(),
        }
    }
}

/// A finding that somebody says is no reason for devices to stay behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "what, of whom and why")]
pub struct Waiver {
    /// Which check.
    pub check: Check,
    /// For which devices; for all of the wave when it is empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub serials: BTreeSet<Serial>,
    /// Why.
    pub reason: String,
}

/// What nobody can waive: Apple refuses it, it would do what nobody means, or it is the organisation's own word, which is changed where it
/// was given.
const NEVER_WAIVED: [Check; 12] = [
    Check::FamilySupported,
    Check::OrgMember,
    Check::Capable,
    Check::SharedIpad,
    Check::ReturnToService,
    Check::OtherPending,
    Check::InOtherWave,
    Check::DeadlineRange,
    Check::RunbookValid,
    Check::Window,
    Check::Blackout,
    Check::Prerequisites,
];

impl Waiver {
    /// Whether findings of a check can be waived at all.
    #[must_use]
    pub fn is_possible(check: Check) -> bool {
        !NEVER_WAIVED.contains(&check)
    }

    /// Whether a finding of this check is waived for a device; one that was accepted when more could be waived covers nothing any more.
    #[must_use]
    pub fn covers(&self, check: Check, serial: &Serial) -> bool {
        // First what is cheap: an acceptance may have a thousand, and each is held against each finding.
        self.check == check
            && (self.serials.is_empty() || self.serials.contains(serial))
            && Self::is_possible(check)
    }
}

/// Somebody's word that the next wave may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SignOff {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in a sentence.
    pub reason: String,
    /// How the wave stood then.
    pub evidence: serde_json::Value,
    /// The gate is open with this signature though the wave does not stand as was wanted.
    #[serde(default)]
    pub despite: bool,
}

impl SignOff {
    pub(crate) fn new(
        by: &str,
        at: Timestamp,
        reason: &str,
        evidence: serde_json::Value,
        despite: bool,
    ) -> Self {
        Self {
            despite,
            by: by.to_owned(),
            at,
            reason: reason.to_owned(),
            evidence,
        }
    }
}

/// No more devices of a wave are offered their migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Pause {
    /// Who: a person, or the stop rule.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// Why, in a sentence.
    pub why: String,
}

impl Pause {
    pub(crate) fn new(by: &str, at: Timestamp, why: &str) -> Self {
        Self {
            by: by.to_owned(),
            at,
            why: why.to_owned(),
        }
    }

    /// Whether the stop rule has paused it: its offers go on by the word of an approver. No person can have its name.
    #[must_use]
    pub fn is_by_rule(&self) -> bool {
        self.by == STOP_RULE
    }
}

/// Who pauses a wave when nobody does.
pub(crate) const STOP_RULE: &str = "stop rule";

/// Somebody has had the offers of a wave go on, knowing what had gone wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Resumed {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// How many had failed, or migrated with exceptions.
    pub bad: u32,
    /// How many had ended.
    pub ended: u32,
    /// How many were held for long.
    pub long_holds: u32,
    /// What ends before the last deadline, as it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<String>,
}

impl Resumed {
    pub(crate) fn new(
        by: &str,
        at: Timestamp,
        counts: (u32, u32, u32),
        expiry: Option<String>,
    ) -> Self {
        let (bad, ended, long_holds) = counts;
        Self {
            by: by.to_owned(),
            at,
            bad,
            ended,
            long_holds,
            expiry,
        }
    }
}

/// Where a wave stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaveState {
    /// Members can be changed.
    Draft,
    /// Submitted by somebody; every member is pinned.
    Submitted {
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
        /// The digest of what was accepted.
        digest: String,
    },
    /// Every member has ended, and nobody comes in any more: also of a draft from which everybody was taken out, and of whatever is open
    /// when its project is closed.
    Closed {
        /// When.
        at: Timestamp,
    },
}

/// A server entry of the assignment service whose token we hold, and how far we have read its device list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Server {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: ServerId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Apple's name of it.
    pub name: String,
    /// `server_uuid` of the account; equal to the organisation API's id as far as seen.
    pub uuid: String,
    /// The sealed server token (JSON).
    pub token: SecretId,
    /// The sealed private key of the certificate that the portal has for this entry, when the token was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_key: Option<SecretId>,
    /// When the token ends.
    pub token_expires: Option<Timestamp>,
    /// Where we are in the list.
    pub cursor: SyncCursor,
    /// When the list was last brought up to date.
    pub synced: Option<Timestamp>,
    /// By when the list is to be read again, said while it was being read: what was assigned meanwhile shows then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_by: Option<Timestamp>,
    /// Digest of which profile every open wave and everybody else gets: devices want what it stands for.
    #[serde(default)]
    pub offered: Option<String>,
    /// Where the devices are gone through, because something else is to be wanted of them.
    #[serde(default)]
    pub offering: Option<Offering>,
    /// When the last complete reading of the whole list began.
    #[serde(default)]
    pub last_full: Option<Timestamp>,
    /// Devices that the organisation API assigns to this entry, and that the list did not show then; a hundred at most, for the whole
    /// list tells of all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missed>,
    /// When the whole list was last begun because of such devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sought: Option<Timestamp>,
    /// Devices that the whole list which is being read has shown, and of which nothing could be kept because a row cannot be read: that
    /// list calls none of them gone, also when the row is mended before its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<Serial>,
    /// The ADE profile that enrolments outside of waves should get, and the digest of its content.
    pub profile: Option<DefinedProfile>,
    /// Every ADE profile that we defined there, by the digest of its content: there is no list of them at Apple.
    #[serde(default)]
    pub profiles: BTreeMap<String, DefinedProfile>,
    /// Why a person is needed before the list can be read, in a sentence.
    pub needs_person: Option<String>,
    /// Why a person is needed before profiles can be assigned, in a sentence.
    #[serde(default)]
    pub profiles_need: Option<String>,
    /// The recurring job that reads the list.
    pub sync_job: JobId,
    /// The recurring job that assigns profiles.
    pub assign_job: JobId,
    /// When it was given up: its token is destroyed, and it is none of ours any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
}

impl Server {
    /// Why a person is needed, in a sentence.
    #[must_use]
    pub fn needs(&self) -> Option<&str> {
        let needs = self.needs_person.as_ref().or(self.profiles_need.as_ref());
        needs.map(String::as_str)
    }

    /// Whether an ADE profile of this UUID was defined by us there and read back as awaiting configuration.
    #[must_use]
    pub fn awaits(&self, uuid: &str) -> bool {
        self.profiles
            .values()
            .chain(&self.profile)
            .any(|p| p.proved_awaiting && p.uuid == uuid)
    }

    /// Whether an ADE profile makes devices wait, if it is one of ours: waves may have their own, and a device may still have the
    /// one of before a change.
    pub(crate) fn known_to_await(&self, uuid: &str) -> Option<bool> {
        let mut ours = self.profiles.values().chain(&self.profile);
        ours.any(|p| p.uuid == uuid).then(|| self.awaits(uuid))
    }

    /// An entry of which nothing was read yet.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: ServerId,
        name: &str,
        uuid: &str,
        token: SecretId,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            token,
            token_key: None,
            token_expires: None,
            cursor: SyncCursor::Start,
            synced: None,
            read_by: None,
            profile: None,
            profiles: BTreeMap::new(),
            offered: None,
            offering: None,
            last_full: None,
            missing: Vec::new(),
            sought: None,
            passed_over: Vec::new(),
            needs_person: None,
            profiles_need: None,
            sync_job: JobId::default(),
            assign_job: JobId::default(),
            removed: None,
        }
    }
}

/// A device that should be in a list and was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "which, and since when")]
pub struct Missed {
    /// Which.
    pub device: DeviceId,
    /// When the organisation API said where it is.
    pub at: Timestamp,
}

/// How far the devices of an organisation were gone through for the profile that each of them should want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "for what, and how far")]
pub struct Offering {
    /// As in [`Server::offered`] once it is over.
    pub digest: String,
    /// Devices up to this one are done.
    pub after: DeviceId,
}

/// Where we are in Apple's device list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "three phases, each decided on")]
pub enum SyncCursor {
    /// Nothing was read.
    Start,
    /// In the middle of a full list that was begun at a moment; devices not seen since then are gone at its end.
    Full {
        /// Apple's cursor.
        cursor: String,
        /// When the list was begun.
        begun: Timestamp,
    },
    /// The whole list was read; devices that it did not show are being marked as gone.
    Sweeping {
        /// Apple's cursor, from which the changes are read next.
        cursor: String,
        /// When the list was begun.
        begun: Timestamp,
    },
    /// Reading changes.
    Changes {
        /// Apple's cursor.
        cursor: String,
    },
}

impl SyncCursor {
    /// Apple's own text, where there is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Start => None,
            Self::Full { cursor, .. }
            | Self::Sweeping { cursor, .. }
            | Self::Changes { cursor } => Some(cursor),
        }
    }
}

/// An ADE profile that Apple knows. Immutable there: a change is a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "four facts")]
pub struct DefinedProfile {
    /// Apple's UUID of it.
    pub uuid: String,
    /// SHA-256 of its content, lower-case hex: equal content is not defined again.
    pub digest: String,
    /// Read back from Apple, with `await_device_configured` true.
    pub proved_awaiting: bool,
    /// When it was defined, if that was noted.
    #[serde(default)]
    pub defined: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_of_a_wave_is_ours_and_that_of_another_service_is_not() {
        let token = SecretId(1);
        let mut server = Server::new(OrganisationId(1), ServerId(2), "ours", "OURS", token);
        let profile = |uuid: &str, proved_awaiting| DefinedProfile {
            uuid: uuid.to_owned(),
            digest: String::new(),
            proved_awaiting,
            defined: None,
        };
        server.profile = Some(profile("USUAL", true));
        let of_wave = [
            ("wave 7".to_owned(), profile("WAVE", true)),
            ("wave 8".to_owned(), profile("NEW", false)),
        ];
        server.profiles.extend(of_wave);
        for (uuid, awaits) in [
            ("USUAL", Some(true)),
            ("WAVE", Some(true)),
            ("NEW", Some(false)),
            ("THEIRS", None),
        ] {
            assert_eq!(server.known_to_await(uuid), awaits, "{uuid}");
        }
    }
}
