//! Keys and locks: whether what must be saved in the hold can be saved.

use super::{Check, CheckFinding, FactSource, MemberFacts};
use crate::device::Platform;
use crate::migration::{Owner, StepId};

/// Payloads that take recovery keys into escrow: the one of now, and the one before macOS 10.13.
pub(super) const ESCROWS: [&str; 2] = [
    "com.apple.security.FDERecoveryKeyEscrow",
    "com.apple.security.FDERecoveryRedirect",
];

pub(super) fn look(facts: &MemberFacts<'_>, found: &mut Vec<CheckFinding>) {
    if facts.platform.is_some_and(Platform::is_mac) {
        found.push(escrow(facts));
        found.push(old_key(facts));
        found.push(bootstrap(facts));
    }
    found.extend(lock_policy(facts));
    found.extend(lock_user(facts));
}

fn escrow(facts: &MemberFacts<'_>) -> CheckFinding {
    let step = facts.gets(StepId::FvEscrow);
    let against =
        |fact: &str, fix: &str| CheckFinding::block(Check::FvEscrow, fact, fix, Owner::Destination);
    let second = ESCROWS
        .iter()
        .find(|kind| facts.brings.payloads.contains(**kind));
    if let Some(kind) = second {
        let fact = format!(
            "a profile of the runbook or of the library brings a second escrow ({kind}): with two of them none is made, or the key goes elsewhere"
        );
        let fix =
            "take that payload out of the profile, or the profile from the runbook or the tag";
        return against(&fact, fix).from(FactSource::Operator, None);
    }
    match (step, facts.escrow) {
        (false, _) => against(
            "the runbook takes no recovery key of it into escrow",
            "put the step fv-escrow into the runbook, for this device too",
        ),
        (true, None) => against(
            "there is no certificate to which recovery keys are sealed",
            "see `mdmd organisation list`: the installation makes one",
        ),
        (true, Some(false)) => against(
            "the key that opens recovery keys was not seen to work",
            "restore the organisation's keys",
        ),
        (true, Some(true)) => CheckFinding::pass(Check::FvEscrow, "sealed to a key that works"),
    }
    .from(FactSource::Operator, None)
}

fn old_key(facts: &MemberFacts<'_>) -> CheckFinding {
    match facts.old_key {
        Some(at) => CheckFinding::pass(
            Check::FvOldkey,
            "the recovery key that it has now is in the vault until a new one is proved",
        )
        .from(FactSource::Import, at),
        None => CheckFinding::warn(
            Check::FvOldkey,
            "nobody here has the recovery key that it has now: if no new one is made, it opens for its users alone",
            "bring it in with a sealed hand-off: `mdmd hand-off key` begins one",
            Owner::Original,
        )
        .from(FactSource::Operator, None),
    }
}

fn bootstrap(facts: &MemberFacts<'_>) -> CheckFinding {
    // Every enrolment profile of ours offers it to Macs; whether the runbook waits for it is its own.
    let waits = facts.gets(StepId::Bootstrap);
    if waits {
        CheckFinding::pass(Check::Bootstrap, "asked for, and waited for")
    } else {
        CheckFinding::warn(
            Check::Bootstrap,
            "the runbook does not wait for the bootstrap token, without which no new recovery key is made",
            "put the step bootstrap into the runbook, for this device too",
            Owner::Destination,
        )
    }
    .from(FactSource::Operator, None)
}

fn lock_policy(facts: &MemberFacts<'_>) -> Option<CheckFinding> {
    let runbook = facts.runbook?;
    let step = runbook.step(StepId::Lock).is_some();
    let finding = match (runbook.lock, step) {
        // Whoever keeps the step from a device wants no lock of it.
        _ if facts.without.contains(&StepId::Lock) => {
            CheckFinding::pass(Check::LockPolicy, "no lock is wanted of this device")
        }
        (false, _) => CheckFinding::pass(Check::LockPolicy, "no lock is wanted"),
        (true, true) if facts.awaits == Some(false) => CheckFinding::block(
            Check::LockPolicy,
            "a lock is wanted, and the ADE profile makes no device wait for it",
            "have it defined anew: `mdmd assignment ade-profile`",
            Owner::Destination,
        ),
        (true, true) if facts.codes == Some(false) => CheckFinding::block(
            Check::LockPolicy,
            "a bypass code that was made, sealed and opened again is not the same: no lock could be lifted",
            "restore the organisation's keys",
            Owner::Destination,
        ),
        (true, true) if facts.awaits.is_none() || facts.codes.is_none() => CheckFinding::unknown(
            Check::LockPolicy,
            match facts.awaits {
                None => "a lock is wanted, and no ADE profile was read back yet",
                Some(_) => "a lock is wanted, and nobody has tried a bypass code",
            },
            "see `mdmd assignment ade-profile`",
            Owner::Destination,
        ),
        (true, true) => CheckFinding::pass(
            Check::LockPolicy,
            "locked in the hold, and the way of its code into the vault and back was tried",
        ),
        (true, false) => CheckFinding::block(
            Check::LockPolicy,
            "a lock is wanted, and the runbook has no step for it",
            "put the step lock into the runbook",
            Owner::Destination,
        ),
    };
    Some(finding.from(FactSource::Operator, None))
}

fn lock_user(facts: &MemberFacts<'_>) -> Option<CheckFinding> {
    if !facts.runbook?.lock || facts.without.contains(&StepId::Lock) {
        return None;
    }
    let fix = "ask the person to sign out of Find My before the deadline";
    Some(match facts.original.and_then(|o| o.user_lock.as_ref()) {
        None => CheckFinding::unknown(
            Check::LockUser,
            "nobody has told whether a person has locked it",
            fix,
            Owner::User,
        ),
        Some(told) if told.value => CheckFinding::warn(
            Check::LockUser,
            "a person has locked it: Apple refuses ours until that is gone",
            fix,
            Owner::User,
        )
        .import(told),
        Some(told) => CheckFinding::pass(Check::LockUser, "no person has locked it").import(told),
    })
}
