//! What can go wrong with a migration, by name: detected from what is known, with its owner, how sure that is, the evidence and what to
//! do next. Pure; does nothing about it: what is done by itself is done elsewhere, and said here.

mod apps;
mod holding;
mod moving;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Serialize;

pub use self::apps::{ForeseenLoss, LossAccepted};
pub(crate) use self::holding::did_not_wait;
use self::holding::{after_it, at_the_end, from_outside, in_the_hold};
use self::moving::{before_it_moves, between};
use crate::audit::Refusal;
use crate::clock::Timestamp;
use crate::device::Device;
use crate::migration::{Move, Owner, SetUp};
use crate::original::OriginalFacts;
use crate::secret::SecretKind;
use crate::views::Views;

/// The ways in which a migration goes wrong, in the order in which devices meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "twenty, each decided on")]
pub enum FailureMode {
    /// Apple says that it cannot migrate.
    NotCapable,
    /// Apple accepted the request, and the device is as it was.
    NoEffect,
    /// Apple's budget of requests is used up.
    Budget,
    /// The deadline is none that Apple takes.
    DeadlineRejected,
    /// It is assigned to us, and not in our device list.
    NotListed,
    /// Our ADE profile is not in force.
    ProfileNotInForce,
    /// Its deadline has passed in silence.
    PastDeadline,
    /// It began, and its messages do not come through.
    EnrolmentFails,
    /// It enrolled and does not wait for us.
    NotAwaiting,
    /// A step of its hold does not go on.
    StepStuck,
    /// It was let go and does not confirm it.
    TrappedAfterRelease,
    /// Apps are gone with their data.
    AppsGone,
    /// No new recovery key came.
    NoNewKey,
    /// Whether it is locked for us is not known.
    LockUnknown,
    /// Apple says that its migration failed.
    AppleFailed,
    /// The original service may still list it.
    OriginalStillLists,
    /// Apple shows a migration that nobody here has asked for.
    UnexpectedMigration,
    /// Its user is between the identities of two services.
    AccessGap,
    /// A certificate or token ends before the last deadline.
    Expiry,
    /// Somebody changed it outside.
    ChangedOutside,
}

impl FailureMode {
    /// All, in order.
    pub const ALL: [Self; 20] = [
        Self::NotCapable,
        Self::NoEffect,
        Self::Budget,
        Self::DeadlineRejected,
        Self::NotListed,
        Self::ProfileNotInForce,
        Self::PastDeadline,
        Self::EnrolmentFails,
        Self::NotAwaiting,
        Self::StepStuck,
        Self::TrappedAfterRelease,
        Self::AppsGone,
        Self::NoNewKey,
        Self::LockUnknown,
        Self::AppleFailed,
        Self::OriginalStillLists,
        Self::UnexpectedMigration,
        Self::AccessGap,
        Self::Expiry,
        Self::ChangedOutside,
    ];

    /// What it is called where people see it.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotCapable => "Apple says that it cannot migrate",
            Self::NoEffect => "accepted but not effective",
            Self::Budget => "Apple's budget of requests is used up",
            Self::DeadlineRejected => "its deadline is none that Apple takes",
            Self::NotListed => "assigned to us, and not in our device list",
            Self::ProfileNotInForce => "prompting is not possible until our profile is in force",
            Self::PastDeadline => "its deadline has passed, and nothing was seen",
            Self::EnrolmentFails => "it began, and its enrolment does not come through",
            Self::NotAwaiting => {
                "it enrolled and does not wait: what only the hold saves may be lost"
            }
            Self::StepStuck => "a step of its set-up does not go on",
            Self::TrappedAfterRelease => "it was let go, and does not confirm it",
            Self::AppsGone => "apps are gone with their data",
            Self::NoNewKey => "no new recovery key came",
            Self::LockUnknown => "whether it is locked for us is not known",
            Self::AppleFailed => "Apple says that its migration failed",
            Self::OriginalStillLists => "the original service may still list it",
            Self::UnexpectedMigration => "unexpected migration request",
            Self::AccessGap => "its user is between the identities of two services",
            Self::Expiry => "something ends before the last deadline",
            Self::ChangedOutside => "changed outside",
        }
    }
}

/// How sure the attribution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "three grades")]
pub enum Confidence {
    /// Somebody said so who knows.
    Certain,
    /// Nothing else fits well.
    Likely,
    /// One of several.
    Possible,
}

/// What shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "a sentence and its age")]
pub struct Evidence {
    /// What was seen.
    pub what: String,
    /// When; `None` where it was always so.
    pub at: Option<Timestamp>,
}

/// Something that goes wrong with a device, a wave or the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Failure {
    /// Which way.
    pub mode: FailureMode,
    /// The same in a sentence.
    pub what: &'static str,
    /// Who can do something about it.
    pub owner: Owner,
    /// How sure that is.
    pub confidence: Confidence,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What is to be done next, and what is done by itself.
    pub next: String,
    /// Whether it counts as going wrong: what somebody accepted before, and what is only to be cleaned up, does not.
    pub counts: bool,
}

impl Failure {
    /// One without evidence yet.
    #[must_use]
    pub fn new(mode: FailureMode, owner: Owner, confidence: Confidence, next: &str) -> Self {
        Self {
            mode,
            what: mode.sentence(),
            owner,
            confidence,
            evidence: Vec::new(),
            next: next.to_owned(),
            counts: true,
        }
    }

    /// The same as one that is known, and does not count as going wrong.
    #[must_use]
    pub const fn known(mut self) -> Self {
        self.counts = false;
        self
    }

    /// The same with one more piece of evidence.
    #[must_use]
    pub fn seen(mut self, what: impl Into<String>, at: impl Into<Option<Timestamp>>) -> Self {
        self.evidence.push(Evidence {
            what: what.into(),
            at: at.into(),
        });
        self
    }
}

/// What is known of one device.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Known<'a> {
    /// The device.
    pub device: &'a Device,
    /// Its unfinished attempt, or the one of its set-up.
    pub attempt: Option<&'a Move>,
    /// Its newest set-up.
    pub set_up: Option<&'a SetUp>,
    /// What three sources say of it.
    pub views: &'a Views,
    /// What the original service knew of it.
    pub original: Option<&'a OriginalFacts>,
    /// Which secrets are held that nothing newer has replaced, with the moment of each.
    pub held: &'a [(SecretKind, Timestamp)],
    /// Refusals of its messages, newest first.
    pub refusals: &'a [Refusal],
    /// Refusals of messages whose sender nobody could prove, and of others, newest first: one of them may have been this device.
    pub unproved: &'a [Refusal],
    /// Apps that it was forecast to lose with their data, and that nothing has saved since.
    pub forecast: &'a [ForeseenLoss],
    /// How people call the service that it left; Apple's identifier where nobody has told.
    pub left: Option<&'a str>,
    /// How long people have until a deadline, at the least.
    pub notice: Duration,
    /// Now.
    pub now: Timestamp,
}

/// Everything that goes wrong with one device, in the order of [`FailureMode::ALL`].
#[must_use]
pub fn failures(known: &Known<'_>) -> Vec<Failure> {
    let mut found = Vec::new();
    if let Some(attempt) = known.attempt {
        before_it_moves(known, attempt, &mut found);
        between(known, attempt, &mut found);
    }
    if let Some(set_up) = known.set_up {
        in_the_hold(set_up, known.now, &mut found);
        after_it(known, set_up, &mut found);
    }
    if let Some(attempt) = known.attempt {
        at_the_end(known, attempt, &mut found);
    }
    from_outside(known, &mut found);
    found.sort_by_key(|failure| failure.mode);
    found
}
