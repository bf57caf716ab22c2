//! What a reading of one device says of an errand: that its effect is there, that it is lacking, or that it is out of the
//! question. Pure.

use crate::device::{MigrationStatus, OrgReading};
use crate::errand::{Errand, ErrandKind};
use crate::migration::{Move, MoveState};
use crate::service::worker::same_deadline;

/// How one device stands towards an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// The effect is there.
    Has,
    /// The effect is lacking, and a request would bring it.
    Lacks,
    /// A request would do nothing, for this reason.
    Out(&'static str),
}

/// How a device stands by its reading.
pub(super) fn stand(errand: &Errand, reading: &OrgReading) -> Stand {
    stand_of(&errand.kind, errand.reason.is_some(), reading)
}

/// The same for a kind of errand; `forced` when somebody gave a reason for an earlier deadline.
pub(super) fn stand_of(kind: &ErrandKind, forced: bool, reading: &OrgReading) -> Stand {
    if reading.unknown {
        return Stand::Out("the organisation does not know its serial number");
    }
    let status = reading.status.as_ref();
    let begun = matches!(
        status,
        Some(MigrationStatus::Started | MigrationStatus::Success)
    );
    match kind {
        ErrandKind::Schedule { server, deadline } => {
            let there = reading.assigned_server.as_deref() == Some(server)
                && reading
                    .deadline
                    .is_some_and(|d| same_deadline(d, *deadline));
            if there { Stand::Has } else { Stand::Lacks }
        }
        ErrandKind::MoveDeadline { deadline } => {
            if reading
                .deadline
                .is_some_and(|d| same_deadline(d, *deadline))
            {
                Stand::Has
            } else if status != Some(&MigrationStatus::Requested) {
                Stand::Out("no migration of it is waiting to begin")
            } else if !forced && reading.deadline.is_some_and(|d| d > *deadline) {
                // Moved by somebody else meanwhile: nobody has agreed to take that back.
                Stand::Out("its deadline is later by now, and only force makes it earlier")
            } else {
                Stand::Lacks
            }
        }
        ErrandKind::Cancel => match status {
            Some(MigrationStatus::Requested) => Stand::Lacks,
            _ if begun => Stand::Out("it has begun: nothing can be called back"),
            _ => Stand::Has,
        },
        ErrandKind::Return { server } => {
            if reading.assigned_server.as_deref() == Some(server) {
                Stand::Has
            } else if begun {
                Stand::Out("it has begun: nothing can be called back")
            } else if status == Some(&MigrationStatus::Requested) {
                Stand::Out("a migration of it is waiting to begin")
            } else {
                Stand::Lacks
            }
        }
        // Not read from here.
        ErrandKind::Associate { .. } | ErrandKind::Disassociate { .. } => {
            Stand::Out("licences are read at Apps and Books")
        }
    }
}

/// Whether the attempt still wants the request to be sent.
pub(super) fn still_wanted(kind: &ErrandKind, attempt: &Move) -> bool {
    match (kind, &attempt.state) {
        // A failed one waits for what a person settles.
        (
            ErrandKind::Schedule { deadline, .. },
            MoveState::Submitting { .. } | MoveState::SubmitFailed { .. },
        ) => same_deadline(attempt.deadline, *deadline),
        (
            ErrandKind::MoveDeadline { deadline },
            MoveState::Scheduled { .. } | MoveState::Offered { .. } | MoveState::Overdue { .. },
        ) => same_deadline(attempt.deadline, *deadline),
        (ErrandKind::Cancel | ErrandKind::Return { .. }, MoveState::Cancelling { .. }) => true,
        (ErrandKind::Associate { .. }, state) => !matches!(state, MoveState::Ended(_)),
        (ErrandKind::Disassociate { .. }, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn reading(
        server: Option<&str>,
        status: Option<MigrationStatus>,
        deadline: Option<i64>,
    ) -> OrgReading {
        OrgReading {
            assigned_server: server.map(str::to_owned),
            status,
            deadline: deadline.map(Timestamp::from_millis),
            ..OrgReading::default()
        }
    }

    #[test]
    fn only_our_service_with_our_deadline_is_scheduled() {
        let kind = ErrandKind::Schedule {
            server: "OURS".to_owned(),
            deadline: Timestamp::from_millis(5_000_900),
        };
        let of = |server, deadline| {
            stand_of(
                &kind,
                false,
                &reading(Some(server), Some(MigrationStatus::Requested), deadline),
            )
        };
        // Apple may round a deadline to the second.
        assert_eq!(of("OURS", Some(5_000_000)), Stand::Has);
        assert_eq!(of("OURS", Some(6_000_000)), Stand::Lacks);
        assert_eq!(of("OURS", None), Stand::Lacks);
        assert_eq!(of("THEIRS", Some(5_000_000)), Stand::Lacks);
    }

    #[test]
    fn a_migration_that_began_is_neither_cancelled_nor_returned() {
        let started = reading(Some("OURS"), Some(MigrationStatus::Started), None);
        assert!(matches!(
            stand_of(&ErrandKind::Cancel, false, &started),
            Stand::Out(_)
        ));
        let back = ErrandKind::Return {
            server: "THEIRS".to_owned(),
        };
        assert!(matches!(stand_of(&back, false, &started), Stand::Out(_)));
        let cancelled = reading(Some("OURS"), Some(MigrationStatus::Failed), None);
        assert_eq!(stand_of(&ErrandKind::Cancel, false, &cancelled), Stand::Has);
        assert_eq!(stand_of(&back, false, &cancelled), Stand::Lacks);
        let pending = reading(Some("OURS"), Some(MigrationStatus::Requested), None);
        assert_eq!(stand_of(&ErrandKind::Cancel, false, &pending), Stand::Lacks);
        assert!(matches!(stand_of(&back, false, &pending), Stand::Out(_)));
    }

    #[test]
    fn a_deadline_that_became_later_meanwhile_is_made_earlier_by_force_only() {
        let kind = ErrandKind::MoveDeadline {
            deadline: Timestamp::from_millis(5_000_000),
        };
        let at = |ms| reading(Some("OURS"), Some(MigrationStatus::Requested), Some(ms));
        assert_eq!(stand_of(&kind, false, &at(4_000_000)), Stand::Lacks);
        assert_eq!(stand_of(&kind, false, &at(5_000_000)), Stand::Has);
        assert!(matches!(
            stand_of(&kind, false, &at(6_000_000)),
            Stand::Out(_)
        ));
        assert_eq!(stand_of(&kind, true, &at(6_000_000)), Stand::Lacks);
    }
}
