//! Which injected fault can bring about which exception. An exception of a device is believed only if a fault that can have
//! caused it fired on that device before the exception was decided; any other fault explains nothing.

use fixtures::faults::{FaultKind, FaultRecord};
use mdm_core::migration::Exception;

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
/// A person gives up a device only when it is lost for good.
const GIVEN_UP: &[FaultKind] = &[FaultKind::NeverBack];
/// Such an exception is never a fault's doing.
const NEVER: &[FaultKind] = &[];

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

/// The disagreement that an exception is, unless a fault that fired on its device before can have caused it.
pub(super) fn unexplained(exception: &Exception, fired: &[FaultRecord]) -> Option<String> {
    let Exception { what, why, at, .. } = exception;
    let Some(causes) = of(what) else {
        return Some(format!(
            "no fault is known that causes such an exception: {what}: {why}"
        ));
    };
    let caused = fired
        .iter()
        .any(|fault| causes.contains(&fault.kind) && fault.at_ms <= at.as_millis());
    if caused {
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
    use mdm_core::migration::{Owner, StepId};

    use super::*;

    fn exception(what: &str) -> Exception {
        Exception::new(what, "why", Owner::Device, Timestamp::from_millis(1_000))
    }

    fn fault(kind: FaultKind, at_ms: i64) -> FaultRecord {
        FaultRecord {
            serial: Some("S1".to_owned()),
            kind,
            at_ms,
            detail: String::new(),
        }
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
