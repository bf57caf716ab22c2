//! Effects that wait in the store. A job is claimed with a lease and ends in the same batch as its outcome, so that a
//! killed worker loses nothing and does some jobs again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::LONGEST_RETRY;
use crate::ids::{
    DeviceId, EnrollmentId, JobId, LocationId, MoveId, OrganisationId, SecretId, ServerId, SetUpId,
    WaveId,
};
use crate::migration::Notice;

/// Something to be done, not before `due`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Job {
    /// For whom.
    pub organisation: OrganisationId,
    /// Its key. Of two jobs due at one moment the smaller goes first.
    pub id: JobId,
    /// Not before.
    pub due: Timestamp,
    /// What.
    pub kind: JobKind,
    /// How often it was tried.
    pub tries: u32,
}

impl Job {
    /// The wake of a channel, due now. There is one for each channel, however often it is asked for.
    #[must_use]
    pub const fn push(
        organisation: OrganisationId,
        enrollment: EnrollmentId,
        now: Timestamp,
    ) -> Self {
        // Ids are unique over all nouns: that of the channel is the key of its wake.
        Self::new(
            organisation,
            JobId(enrollment.0),
            now,
            JobKind::Push { enrollment },
        )
    }

    /// The job that sends what is open about a device. There is one for each device, however much is open.
    #[must_use]
    pub const fn tell(organisation: OrganisationId, device: DeviceId, due: Timestamp) -> Self {
        // Ids are unique over all nouns: that of the device is the key of this job.
        Self::new(organisation, JobId(device.0), due, JobKind::Tell { device })
    }

    /// The job that hands over what we know of a device that has left. There is one for each device, whoever asks for it.
    #[must_use]
    pub(crate) const fn hand_over(
        organisation: OrganisationId,
        device: DeviceId,
        due: Timestamp,
    ) -> Self {
        // Below zero, for the id of the device is the key of what is told of it.
        let kind = JobKind::HandOver { device };
        Self::new(organisation, JobId(-device.0), due, kind)
    }

    /// The job that reads once more where a device is that has left. There is one for each device, however long it waits.
    #[must_use]
    pub(crate) const fn reading_anew(
        organisation: OrganisationId,
        device: DeviceId,
        due: Timestamp,
    ) -> Self {
        // Ids are unique over all nouns, and no other job has keys as far below zero but for those of organisations.
        let kind = JobKind::ReadDevice { device };
        Self::new(organisation, JobId(i64::MIN + device.0), due, kind)
    }

    /// A job that nobody has tried.
    #[must_use]
    pub const fn new(
        organisation: OrganisationId,
        id: JobId,
        due: Timestamp,
        kind: JobKind,
    ) -> Self {
        Self {
            organisation,
            id,
            due,
            kind,
            tries: 0,
        }
    }
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobKind {
    /// Wake a channel: [`Job::push`]. Losing one only delays.
    Push {
        /// Which.
        enrollment: EnrollmentId,
    },
    /// Ask Apple for the Activation Lock of a set-up's device.
    Lock {
        /// Which.
        set_up: SetUpId,
    },
    /// Read at Apple whether a device is locked.
    ReadLock {
        /// Which.
        device: DeviceId,
    },
    /// Lift the Activation Lock of a device, then read whether it is gone.
    ClearLock {
        /// Which.
        device: DeviceId,
    },
    /// Have a Mac make another recovery key, because somebody has seen this one.
    RotateKey {
        /// Which Mac.
        device: DeviceId,
        /// The key that was seen.
        secret: SecretId,
    },
    /// Ask a Mac whose bootstrap token came late whether it has a new recovery key.
    AskKey {
        /// Which Mac.
        device: DeviceId,
    },
    /// Read a device at the organisation API and tell its Move.
    ReadDevice {
        /// Which.
        device: DeviceId,
    },
    /// Ask Apple's audit events who did what with the device of an attempt that Apple called failed.
    AskWho {
        /// Which.
        attempt: MoveId,
    },
    /// Bring the organisation's errands forward: one job for all of them.
    Errands,
    /// Read the organisation's device list at the organisation API, as far as it is wanted.
    Pull,
    /// Read the licences of a location, then come again.
    Stock {
        /// Which.
        location: LocationId,
    },
    /// Take back the licences that a device got from us for an attempt that is withdrawn, and free those that were promised to it for
    /// an attempt that has ended.
    ReturnLicences {
        /// Which.
        device: DeviceId,
    },
    /// Cancel the migration of a member and prove its return.
    Cancel {
        /// Which.
        attempt: MoveId,
    },
    /// Move a member's deadline at Apple.
    MoveDeadline {
        /// Which.
        attempt: MoveId,
        /// To when.
        deadline: Timestamp,
    },
    /// Bring our copy of a server entry's device list up to date, then come again.
    Sync {
        /// Which.
        server: ServerId,
    },
    /// Assign ADE profiles where the one in force is not the one wanted.
    Assign {
        /// Which server entry's devices.
        server: ServerId,
    },
    /// Bring devices to what the library has for their tags, page by page.
    Library {
        /// Behind this one.
        after: DeviceId,
    },
    /// Bring one device to what the library has for its tags.
    LibraryOf {
        /// Which.
        device: DeviceId,
    },
    /// Look through the channels, once whoever is at that already is through: a walk always comes to its end.
    DeclareAll,
    /// Tell channels whose declarations have become others, page by page.
    Declare {
        /// Behind this one.
        after: EnrollmentId,
    },
    /// The same for the channels of one device.
    DeclareOf {
        /// Which.
        device: DeviceId,
    },
    /// Hand over what we know of a device that has left us.
    HandOver {
        /// Which.
        device: DeviceId,
    },
    /// Look through the devices that left before it was agreed where what we know goes, page by page.
    HandOverAll {
        /// Behind this one.
        after: DeviceId,
    },
    /// After a replica of the database took over: wake the devices that are in a hold, and tell channels to look at their
    /// declarations, page by page.
    AskAnew {
        /// Behind this channel.
        after: EnrollmentId,
    },
    /// Seal what has come to the record: one job for each organisation that has something to seal.
    Seal,
    /// Look after a submitted wave, then come again.
    LookAfter {
        /// Which.
        wave: WaveId,
    },
    /// Send what is open to receivers of webhooks about a device, in its order: [`Job::tell`].
    Tell {
        /// About which device.
        device: DeviceId,
    },
    /// Tell people or programs.
    Notify {
        /// What.
        notice: Notice,
        /// About which device.
        device: DeviceId,
    },
}

impl JobKind {
    /// No job waits for longer, but those that are patient.
    pub(crate) const LONGEST_WAIT: Duration = LONGEST_RETRY;
    /// No job of the patient kinds waits for longer.
    pub(crate) const LONGEST_PATIENCE: Duration = Duration::from_hours(8 * 24);
    /// The patient kinds, as they stand in a document: those that wait for what people chose, or seldom.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) const PATIENT: [&str; 2] = ["\"rotate_key\"", "\"return_licences\""];

    /// How long one of these may be put off, at the most. What waits for longer is taken for a job of a clock that was ahead, and done
    /// early: a kind that is to wait for longer is named here and in `PATIENT`.
    #[must_use]
    pub(crate) const fn longest_wait(&self) -> Duration {
        match self {
            Self::RotateKey { .. } | Self::ReturnLicences { .. } => Self::LONGEST_PATIENCE,
            _ => Self::LONGEST_WAIT,
        }
    }

    /// The latest moment, in milliseconds, to which a job of the patient kinds is put off: what people chose a day for has none for
    /// whoever is not `sure` of the time.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn latest_of_patient(now: Timestamp, sure: bool) -> i64 {
        match sure {
            true => (now + Self::LONGEST_PATIENCE).as_millis(),
            false => i64::MAX,
        }
    }
}

impl JobKind {
    /// Whether there is one such job, under a key that is known beforehand: putting it again moves it. Every other job is one
    /// effect of its own.
    #[must_use]
    pub const fn stands(&self) -> bool {
        matches!(
            self,
            Self::Push { .. }
                | Self::Errands
                | Self::Pull
                | Self::Stock { .. }
                | Self::Sync { .. }
                | Self::Assign { .. }
                | Self::DeclareAll
                | Self::LookAfter { .. }
                | Self::RotateKey { .. }
                | Self::AskKey { .. }
                | Self::Seal
                | Self::Declare { .. }
                | Self::HandOver { .. }
                | Self::Tell { .. }
        )
    }

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Push { .. } => "push",
            Self::Lock { .. } => "lock",
            Self::ReadLock { .. } => "read-lock",
            Self::ClearLock { .. } => "clear-lock",
            Self::RotateKey { .. } => "rotate-key",
            Self::AskKey { .. } => "ask-key",
            Self::ReadDevice { .. } => "read-device",
            Self::AskWho { .. } => "ask-who",
            Self::Errands => "errands",
            Self::Pull => "pull",
            Self::Stock { .. } => "stock",
            Self::ReturnLicences { .. } => "return-licences",
            Self::Cancel { .. } => "cancel",
            Self::MoveDeadline { .. } => "move-deadline",
            Self::Sync { .. } => "sync",
            Self::Assign { .. } => "assign",
            Self::Library { .. } => "library",
            Self::LibraryOf { .. } => "library-of",
            Self::DeclareAll => "declare-all",
            Self::Declare { .. } => "declare",
            Self::DeclareOf { .. } => "declare-of",
            Self::HandOver { .. } => "hand-over",
            Self::HandOverAll { .. } => "hand-over-all",
            Self::AskAnew { .. } => "ask-anew",
            Self::Seal => "seal",
            Self::LookAfter { .. } => "look-after",
            Self::Tell { .. } => "tell",
            Self::Notify { .. } => "notify",
        }
    }
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_long_are_known_by_their_documents() {
        let device = DeviceId(1);
        let secret = SecretId(2);
        let kinds = [
            JobKind::RotateKey { device, secret },
            JobKind::ReturnLicences { device },
        ];
        assert_eq!(kinds.len(), JobKind::PATIENT.len());
        let kind = JobKind::ReadDevice { device };
        assert_eq!(kind.longest_wait(), JobKind::LONGEST_WAIT);
        for (kind, word) in kinds.into_iter().zip(JobKind::PATIENT) {
            assert_eq!(kind.longest_wait(), JobKind::LONGEST_PATIENCE);
            let job = Job::new(OrganisationId(1), JobId(3), Timestamp::from_millis(4), kind);
            let doc = serde_json::to_string(&job).unwrap();
            assert!(doc.contains(word), "{doc}");
        }
    }
}
