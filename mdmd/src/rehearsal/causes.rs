//! Which injected fault can bring about which exception. An exception of a device is believed only if a fault that can have
//! caused it fired on that device before the exception was decided; any other fault explains nothing.

use fixtures::faults::{FaultKind, FaultRecord};
use mdm_core::migration::{Exception, StepId};

/// Faults by which a device is off or silent, for longer than any time-out before a release.
pub(super) const AWAY: [FaultKind; 3] = [
    FaultKind::OffAtDeadline,
    FaultKind::DeadInHold,
    FaultKind::NeverBack,
];

/// A hold ends at its ceiling while the device is silent in it: what only the hold can do was not done.
const SILENT_IN_HOLD: &[FaultKind] = &[FaultKind::DeadInHold, FaultKind::NeverBack];
/// Apple's services were asked again only after a span that may be longer than the step has.
const APPLE_LATE: &[FaultKind] = &[FaultKind::Apple429];
/// How long the lock is asked for before its hold goes on without it, in milliseconds.
const LOCK_MS: i64 = 120_000;
/// A person gives up a device only when it is lost for good.
const GIVEN_UP: &[FaultKind] = &[FaultKind::NeverBack];
/// Such an exception is never a fault's doing.
const NEVER: &[FaultKind] = &[];

/// Spans, in milliseconds, in which Apple's assignment service had said by a 429 that nothing is to be asked: nothing about anybody,
/// whomever the request was about that was refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses(Vec<(i64, i64)>);

impl Pauses {
    /// Those among all faults that fired.
    pub(super) fn among<'a>(fired: impl Iterator<Item = &'a FaultRecord>) -> Self {
        let of_service = fired.filter(|f| {
            f.kind == FaultKind::Apple429 && f.detail == fixtures::apple::ASSIGNMENT_SERVICE
        });
        Self(
            of_service
                .map(|f| (f.at_ms, f.at_ms + f.lasts_ms))
                .collect(),
        )
    }

    /// Whether one of them took time of a lock that was given up at this moment.
    fn kept_a_lock_back(&self, given_up_ms: i64) -> bool {
        let mut all = self.0.iter();
        all.any(|(from, to)| *from <= given_up_ms && *to > given_up_ms - LOCK_MS)
    }
}

/// What an exception is about: the step or the record's own word, and the part of it that is named, if one is.
pub(super) fn parts(what: &str) -> (&str, Option<&str>) {
    match what.split_once(": ") {
        Some((step, part)) => (step, Some(part)),
        None => (what, None),
    }
}

/// The kinds of faults that can cause an exception about `what`; `None` for one that this table does not know.
fn of(what: &str) -> Option<&'static [FaultKind]> {
    let (step, _) = parts(what);
    Some(match step {
        // What has to come true in the hold, and its proof afterwards.
        "identify" | "trust" | "network" | "security" | "bootstrap" | "fv-escrow"
        | "recovery-lock" | "apps-required" | "apps-keep" | "apps" | "verify" => SILENT_IN_HOLD,
        "lock" | "deadline" => APPLE_LATE,
        "operator" => GIVEN_UP,
        // A hold that is not kept, a success that Apple does not tell, a runbook that cannot be read: ours to prevent.
        // The others are conditions of nothing and have no exceptions.
        "hold" | "apple" | "runbook" | "declare" | "declare-apps" | "release" | "tag" | "tell" => {
            NEVER
        }
        _ => return None,
    })
}

/// The disagreement that an exception is, unless a fault that fired on its device before can have caused it, or a pause of Apple's that
/// another device's request brought about.
pub(super) fn unexplained(
    exception: &Exception,
    fired: &[FaultRecord],
    pauses: &Pauses,
) -> Option<String> {
    let Exception { what, why, at, .. } = exception;
    let Some(causes) = of(what) else {
        return Some(format!(
            "no fault is known that causes such an exception: {what}: {why}"
        ));
    };
    let caused = fired
        .iter()
        .any(|fault| causes.contains(&fault.kind) && fault.at_ms <= at.as_millis());
    let is_lock = parts(what).0 == StepId::Lock.as_str();
    if caused || is_lock && pauses.kept_a_lock_back(at.as_millis()) {
        return None;
    }
    let met: Vec<&str> = fired.iter().map(|fault| fault.kind.name()).collect();
    let met = if met.is_empty() {
        "none".to_owned()
    } else {
        met.join(", ")
    };
    Some(format!(
        "no fault explains the exception {what}: {why} (faults that it met: {met})"
    ))
}

#[cfg(test)]
mod tests {
    use mdm_core::clock::Timestamp;
    use mdm_core::migration::Owner;

    use super::*;

    fn exception(what: &str) -> Exception {
        Exception::new(what, "why", Owner::Device, Timestamp::from_millis(1_000))
    }

    fn fault(kind: FaultKind, at_ms: i64) -> FaultRecord {
        FaultRecord {
            serial: Some("S1".to_owned()),
            kind,
            at_ms,
            lasts_ms: 0,
            detail: String::new(),
        }
    }

    /// As the table has it, where Apple made nobody wait.
    fn unexplained(exception: &Exception, fired: &[FaultRecord]) -> Option<String> {
        super::unexplained(exception, fired, &Pauses::default())
    }

    #[test]
    fn a_pause_that_another_device_brought_about_explains_a_lock_that_it_took_time_of() {
        let of = |kind, detail: &str, at_ms| FaultRecord {
            lasts_ms: 60_000,
            detail: detail.to_owned(),
            ..fault(kind, at_ms)
        };
        let service = fixtures::apple::ASSIGNMENT_SERVICE;
        let given_up = |what, fired: FaultRecord| {
            let at = Timestamp::from_millis(1_000_000);
            let exception = Exception::new(what, "why", Owner::Apple, at);
            super::unexplained(&exception, &[], &Pauses::among([fired].iter())).is_some()
        };
        let paused = FaultKind::Apple429;
        assert!(!given_up("lock", of(paused, service, 900_000)));
        assert!(!given_up("lock", of(paused, service, 820_001)));
        for other in [
            // Over before it was asked for; begun after it was given up; of another service; no pause.
            of(paused, service, 820_000),
            of(paused, service, 1_000_001),
            of(paused, "organisation API", 900_000),
            of(FaultKind::Apple401, service, 900_000),
        ] {
            assert!(given_up("lock", other));
        }
        assert!(given_up("verify: lock", of(paused, service, 900_000)));
        assert!(given_up("apps-keep: a", of(paused, service, 900_000)));
    }

    #[test]
    fn every_step_is_in_the_table_and_an_unknown_word_is_not() {
        for id in StepId::ALL {
            assert!(of(id.as_str()).is_some(), "{id}");
        }
        let odd = exception("weather");
        assert!(unexplained(&odd, &[fault(FaultKind::DeadInHold, 1)]).is_some());
    }

    #[test]
    fn only_a_fault_that_can_cause_it_and_that_came_before_explains_an_exception() {
        let lost = exception("apps-keep: net.example.notes");
        let silent = fault(FaultKind::DeadInHold, 999);
        assert_eq!(unexplained(&lost, &[silent]), None);
        let after = fault(FaultKind::DeadInHold, 1_001);
        assert!(unexplained(&lost, &[after]).is_some());
        for other in [
            FaultKind::Duplicate,
            FaultKind::LostCheckOut,
            FaultKind::WrongClock,
        ] {
            assert!(unexplained(&lost, &[fault(other, 1)]).is_some());
        }
        assert!(unexplained(&lost, &[]).is_some());
        let operator = exception("operator");
        assert!(unexplained(&operator, &[fault(FaultKind::DeadInHold, 1)]).is_some());
        assert_eq!(
            unexplained(&operator, &[fault(FaultKind::NeverBack, 1)]),
            None
        );
    }
}
