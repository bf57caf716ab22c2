//! Apple's side of one member's attempt: from the plan to the proof. Never writes a set-up. Pure and total.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Attention, Event, Exception, Inquiry, PinnedRunbook, Transition, attempt};
use crate::check::Check;
use crate::clock::Timestamp;
use crate::device::{Device, DeviceFacts, DeviceRecord, OrgReading};
use crate::gap::GapPlace;
use crate::ids::{DeviceId, MoveId, OrganisationId, RunbookId, Serial, SetUpId, WaveId};

/// For what lies between looking at a deadline and bringing our profile in force.
const ROOM: Duration = Duration::from_secs(3600);

/// One attempt of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Move {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: MoveId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// The wave.
    pub wave: WaveId,
    /// The device.
    pub device: DeviceId,
    /// Its serial number.
    pub serial: Serial,
    /// The pinned runbook.
    pub runbook: RunbookId,
    /// When Apple enforces it (*enforced after*).
    pub deadline: Timestamp,
    /// The deadline that Apple last showed for it since it was confirmed, whoever has moved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_deadline: Option<Timestamp>,
    /// When its user was first asked: our profile was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Timestamp>,
    /// Somebody has made its deadline earlier, by name and with another person's word: no notice is owed any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// When our profile is assigned, so that prompting begins (*available from*).
    pub available_from: Timestamp,
    /// The server entry that it leaves, as recorded when it was planned.
    pub original_server: Option<String>,
    /// Where it stands.
    pub state: MoveState,
    /// When it wants to be woken; `None` only once ended.
    pub wake_at: Option<Timestamp>,
    /// Why a person is needed.
    pub attention: Option<Attention>,
    /// What did not come true.
    pub exceptions: Vec<Exception>,
    /// What was done for it at the original service, by the names of the project's prerequisites.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub met: BTreeMap<String, Met>,
    /// The device as it was known when the migration was last asked of Apple.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// The set-up of the device's newest enrolment in it; stays after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_as: Option<SetUpId>,
    /// Since when its newest set-up is out of the hold and proves what it has: that and Apple's word have a day together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proving: Option<Timestamp>,
    /// Apple has said SUCCESS while the set-up was still proving what it has: nothing else is awaited then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apple_done: bool,
    /// Its place in the gap, where the project limits how many of a group are there at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapPlace>,
    /// Somebody's word that the service that the device left does not list it any more; comes after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Met>,
    /// What came of asking Apple's audit events who did it, where Apple called it failed; comes after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inquiry: Option<Inquiry>,
    /// When it was planned.
    pub created: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// A device as it was known before it moved, each part as old as its source had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Before {
    /// When this was noted.
    pub at: Timestamp,
    /// What the organisation API had said of it.
    pub reading: Option<OrgReading>,
    /// What the assignment service had said of it.
    pub record: Option<DeviceRecord>,
    /// What it had said itself.
    pub facts: DeviceFacts,
}

impl Before {
    /// A device as it is known now.
    #[must_use]
    pub fn of(device: &Device, at: Timestamp) -> Self {
        Self {
            at,
            reading: device.reading.clone(),
            record: device.record.clone(),
            facts: device.facts.clone(),
        }
    }
}

/// Somebody's word that a prerequisite is met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "who, when and what shows it")]
pub struct Met {
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What shows it.
    pub evidence: String,
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "the machine's states, each decided on"
)]
pub enum MoveState {
    /// Member of a draft wave.
    Planned,
    /// A check blocks it.
    Blocked {
        /// What, in plain words.
        blockers: Vec<String>,
    },
    /// No blocker, and the what-if is accepted.
    Ready,
    /// In a request to Apple that is posted or about to be.
    Submitting {
        /// Since the submission.
        since: Timestamp,
        /// The activity, once Apple named it.
        activity: Option<String>,
    },
    /// Apple refused, or a re-reading disagrees.
    SubmitFailed {
        /// Since then.
        since: Timestamp,
        /// Why.
        why: String,
        /// It was not confirmed in time, and nobody knows yet that it never will be: its request is open, and Apple may still work
        /// on it. Then it can only be called back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        may_come: bool,
    },
    /// Confirmed by re-reading: our service, our deadline, requested.
    Scheduled {
        /// Since the confirmation.
        since: Timestamp,
        /// Seen in our assignment list.
        visible: Option<Timestamp>,
    },
    /// Our profile is in force; the user is told and may start.
    Offered {
        /// Since then.
        since: Timestamp,
    },
    /// The deadline has passed and nothing was seen.
    Overdue {
        /// Since then.
        since: Timestamp,
    },
    /// A cancellation was asked for and is not proved yet.
    Cancelling {
        /// Since then.
        since: Timestamp,
    },
    /// Apple says that it began, or the device fetched its enrolment profile.
    Started {
        /// Since then.
        since: Timestamp,
    },
    /// It has a set-up.
    Moving {
        /// Which.
        set_up: SetUpId,
        /// Since then.
        since: Timestamp,
    },
    /// Silent after it began.
    Stalled {
        /// Since the time-out.
        since: Timestamp,
        /// Its set-up, if it had one.
        set_up: Option<SetUpId>,
    },
    /// The set-up has ended; Apple's SUCCESS is awaited, and nothing else.
    Settling {
        /// Since the proof ended; the day that Apple has began with it ([`Move::proving`]).
        since: Timestamp,
        /// The set-up.
        set_up: SetUpId,
    },
    /// Over.
    Ended(Outcome),
}

/// How an attempt ended. A later attempt is a new row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "six ends, each decided on")]
pub enum Outcome {
    /// Everything required is proved, Apple's success included.
    Migrated,
    /// It is with us, and something required is not proved.
    MigratedWithExceptions,
    /// Proved to be back at the original.
    Cancelled,
    /// Taken out before anything was submitted.
    Withdrawn,
    /// It failed.
    Failed,
    /// It never came.
    Abandoned,
}

impl Move {
    /// A member of a draft wave.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "a row's facts, each with its own type"
    )]
    pub fn plan(
        organisation: OrganisationId,
        id: MoveId,
        wave: WaveId,
        device: DeviceId,
        serial: Serial,
        runbook: RunbookId,
        deadline: Timestamp,
        available_from: Timestamp,
        original_server: Option<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            wave,
            device,
            serial,
            runbook,
            deadline,
            shown_deadline: None,
            offered: None,
            forced: false,
            available_from,
            original_server,
            state: MoveState::Planned,
            wake_at: Some(now + attempt::LOOK_DAILY),
            attention: None,
            exceptions: Vec::new(),
            before: None,
            enrolled_as: None,
            proving: None,
            apple_done: false,
            met: BTreeMap::new(),
            gap: None,
            removed: None,
            inquiry: None,
            created: now,
            ended: None,
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, MoveState::Ended(_))
    }

    /// Whether it takes room that others cannot have: it has not ended, and does not stay behind. One that stays behind for want of room
    /// alone takes some: if it did not, there would be room, and it would not stay behind.
    #[must_use]
    pub(crate) fn takes_room(&self) -> bool {
        match &self.state {
            MoveState::Blocked { blockers } => {
                // What is seen of manifests comes and goes by the minute: nobody else gets the room meanwhile.
                let open = [Check::Capacity, Check::AppsManifest].map(|check| format!("{check}:"));
                let is_open = |why: &String| open.iter().any(|check| why.starts_with(check));
                blockers.iter().all(is_open)
            }
            MoveState::Ended(_) => false,
            _ => true,
        }
    }

    /// Whether its device has come to us.
    #[must_use]
    pub const fn has_moved(&self) -> bool {
        matches!(
            self.state,
            MoveState::Ended(Outcome::Migrated | Outcome::MigratedWithExceptions)
        )
    }

    /// Whether the service that its device left may list it still, for all that can be known without that service: it has come to
    /// us, is not on its way back or back there, and is not to come again.
    #[must_use]
    pub(crate) fn is_left_behind(&self, device: &Device) -> bool {
        let comes_again = device.open_move.is_some_and(|open| open > self.id);
        let reading = device.reading.as_ref();
        let is_back = reading.is_some_and(|reading| {
            let there = reading.assigned_server.is_some();
            let since = self.ended.is_some_and(|ended| reading.seen >= ended);
            there && since && reading.assigned_server == self.original_server
        });
        self.has_moved() && device.leaving.is_none() && !comes_again && !is_back
    }

    /// Whether nothing of it is at Apple, and nothing that was sent can still come true there: its dates can be changed, and it can
    /// be taken out without a request.
    #[must_use]
    pub const fn is_planned(&self) -> bool {
        matches!(
            self.state,
            MoveState::Planned
                | MoveState::Blocked { .. }
                | MoveState::Ready
                | MoveState::SubmitFailed {
                    may_come: false,
                    ..
                }
        )
    }

    /// Whether it is through: its set-up has ended, or nothing comes of it.
    #[must_use]
    pub const fn is_through(&self) -> bool {
        matches!(self.state, MoveState::Settling { .. } | MoveState::Ended(_))
    }

    /// Whether the device may begin at any moment, or has begun: it was offered its migration.
    #[must_use]
    pub const fn has_been_offered(&self) -> bool {
        matches!(
            self.state,
            MoveState::Offered { .. }
                | MoveState::Started { .. }
                | MoveState::Moving { .. }
                | MoveState::Stalled { .. }
        )
    }

    /// Whether a profile that is brought in force now is what offers it its migration.
    #[must_use]
    pub const fn may_be_offered(&self) -> bool {
        matches!(
            self.state,
            MoveState::Scheduled { .. } | MoveState::Offered { .. } | MoveState::Overdue { .. }
        )
    }

    /// Whether its migration waits at Apple, and its user was never asked.
    #[must_use]
    pub(crate) const fn is_unasked(&self) -> bool {
        matches!(
            self.state,
            MoveState::Scheduled { .. } | MoveState::Overdue { .. }
        ) && self.offered.is_none()
    }

    /// Why its user is not asked now: the deadline leaves less than the notice that is owed. One that was offered once, or forced,
    /// goes on.
    #[must_use]
    pub fn too_late(&self, notice: Duration, now: Timestamp) -> Option<String> {
        let deadline = self.enforced();
        (self.is_unasked() && !self.forced && deadline < now + notice.saturating_sub(ROOM)).then(|| {
            let hours = notice.as_secs() / 3600;
            format!(
                "its deadline {deadline} leaves its user less than {hours} hours, and nobody was asked yet"
            )
        })
    }

    /// The last moment at which its user may still be asked for the first time, unless it is forced.
    pub(crate) fn last_offer(&self, notice: Duration) -> Timestamp {
        self.enforced() - notice.saturating_sub(ROOM)
    }

    /// When Apple enforces it: what the portal shows counts where somebody has moved it there.
    fn enforced(&self) -> Timestamp {
        self.shown_deadline
            .map_or(self.deadline, |shown| shown.min(self.deadline))
    }

    /// Whether it has a place in the gap: until it is through.
    #[must_use]
    pub const fn in_gap(&self) -> bool {
        self.gap.is_some() && !self.is_through()
    }

    /// The set-up that it has, if the device has enrolled.
    #[must_use]
    pub const fn set_up(&self) -> Option<SetUpId> {
        match &self.state {
            MoveState::Moving { set_up, .. } | MoveState::Settling { set_up, .. } => Some(*set_up),
            MoveState::Stalled { set_up, .. } => *set_up,
            _ => None,
        }
    }
}

/// Advances an attempt. Total: every state has an answer to every event; what comes out of turn is noise and leaves it as it was.
///
/// The runbook decides nothing on Apple's side; it is taken so that a rule that needs it can be added without a change for
/// callers.
#[must_use]
pub fn advance_move(
    attempt: &Move,
    _plan: &PinnedRunbook,
    event: &Event,
    now: Timestamp,
) -> Transition<Move> {
    attempt::advance(attempt, event, now)
}
