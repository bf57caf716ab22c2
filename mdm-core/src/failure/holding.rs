//! What goes wrong in a hold, after it, and from outside.

use std::time::Duration;

use super::apps::apps_gone;
use super::{Confidence, Failure, FailureMode, Known};
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::migration::Attention;
use crate::migration::Exception;
use crate::migration::Inquiry;
use crate::migration::Move;
use crate::migration::MoveState;
use crate::migration::NOT_BEGUN;
use crate::migration::Outcome;
use crate::migration::Owner;
use crate::migration::SetUp;
use crate::migration::SetUpState;
use crate::migration::StepId;
use crate::migration::StepStatus;
use crate::migration::VerdictKind;
use crate::secret::SecretKind;
use crate::views::Contradiction;

/// How long it is said of a device that the original service may still list it.
const ORIGINAL_LISTS: Duration = Duration::from_hours(30 * 24);

/// Whether a device did not wait for us although it should have.
pub(crate) fn did_not_wait(set_up: &SetUp) -> bool {
    let no_hold = || set_up.exceptions.iter().any(|e| e.what == "hold");
    let migrates = set_up.verdict.kind == VerdictKind::Migration;
    set_up.attention == Some(Attention::NotAwaiting) || migrates && no_hold()
}

pub(super) fn in_the_hold(set_up: &SetUp, now: Timestamp, found: &mut Vec<Failure>) {
    let no_hold = set_up.exceptions.iter().find(|e| e.what == "hold");
    if did_not_wait(set_up) {
        let next = "what can be done without a hold is done; look at the ADE profile that was assigned: all members with the same one will not wait either";
        let mut failure = Failure::new(
            FailureMode::NotAwaiting,
            Owner::Destination,
            Confidence::Likely,
            next,
        );
        failure = match no_hold {
            Some(e) => failure.seen(e.why.clone(), e.at),
            None => failure.seen("it says that it does not await configuration", set_up.heard),
        };
        found.push(failure);
    }
    if let SetUpState::Holding { since, steps } = &set_up.state {
        let long = set_up.attention == Some(Attention::HoldLong);
        for (id, step) in steps {
            let (trouble, owner) = step.trouble();
            if step.status != StepStatus::Running || !long && trouble.is_empty() {
                continue;
            }
            let next = match set_up.ceiling_at {
                Some(at) => format!(
                    "it goes on by its policy, and the device is let go at {at} at the latest; `mdmd device retry-step {} {id}` begins it anew",
                    serial(set_up)
                ),
                None => "it goes on by its policy".to_owned(),
            };
            let owner = owner.unwrap_or(match id {
                StepId::Lock => Owner::Apple,
                _ => Owner::Device,
            });
            let mut failure =
                Failure::new(FailureMode::StepStuck, owner, Confidence::Likely, &next)
                    .seen(format!("step {id} is under way"), step.since);
            for said in trouble {
                failure = failure.seen(said, None);
            }
            let left = step.deadline.or(set_up.ceiling_at);
            if let Some(left) = left {
                let minutes = left.since(now).as_secs() / 60;
                let are = agree(minutes, "is", "are");
                let said = format!("{} {are} left", counted(minutes, "minute"));
                failure = failure.seen(said, None);
            }
            failure = failure.seen("the hold began", *since);
            found.push(failure);
        }
    }
    let releasing = match &set_up.state {
        SetUpState::Releasing { since, tries, .. } => Some((*since, *tries)),
        SetUpState::Stalled { from, .. } => match from.as_ref() {
            SetUpState::Releasing { since, tries, .. } => Some((*since, *tries)),
            _ => None,
        },
        _ => None,
    };
    if let Some((since, tries)) =
        releasing.filter(|(since, _)| now.since(*since) >= Duration::from_mins(5))
    {
        let held = set_up
            .hold_began
            .map_or(0, |at| now.since(at).as_secs() / 60);
        let next = format!(
            "it is pushed again and gets new commands by itself; `mdmd hold release {}` asks once more",
            serial(set_up)
        );
        found.push(
            Failure::new(
                FailureMode::TrappedAfterRelease,
                Owner::Network,
                Confidence::Likely,
                &next,
            )
            .seen(
                format!("let go with {}, none confirmed", counted(tries, "command")),
                since,
            )
            .seen(
                format!("held for {}", counted(held, "minute")),
                set_up.hold_began,
            )
            .seen("it spoke last", set_up.heard),
        );
    }
}

pub(super) fn serial(set_up: &SetUp) -> &str {
    set_up.serial.as_ref().map_or("SERIAL", |s| s.as_str())
}

/// The app that an exception is about.
pub(super) fn app_of(exception: &Exception) -> Option<&str> {
    let (step, app) = exception.what.split_once(": ")?;
    let steps = [
        "apps-keep",
        "apps-required",
        "apps",
        "declare-apps",
        "verify",
    ];
    let of_apps = steps.contains(&step);
    (of_apps && app != "recovery key").then_some(app)
}

pub(super) fn after_it(known: &Known<'_>, set_up: &SetUp, found: &mut Vec<Failure>) {
    apps_gone(known, set_up, found);
    let has = |kind: SecretKind| {
        let rows = known.held.iter().filter(|(k, _)| *k == kind);
        rows.map(|(_, at)| *at).max()
    };
    let ours = has(SecretKind::RecoveryKey);
    let key = set_up
        .exceptions
        .iter()
        .find(|e| e.what == "fv-escrow" || e.what == "verify: recovery key")
        // It came late, after the proof had ended.
        .filter(|e| ours.is_none_or(|at| at < e.at));
    if let Some(exception) = key {
        let next = "it is tried again once the Mac brings its bootstrap token, with the next sign-in; an old key stays valid until then";
        let mut failure = Failure::new(
            FailureMode::NoNewKey,
            exception.owner,
            Confidence::Likely,
            next,
        )
        .seen(exception.why.clone(), exception.at);
        // One that was brought in and that is older than ours is the key of a time before that.
        let brought = has(SecretKind::OriginalRecoveryKey).filter(|at| ours < Some(*at));
        failure = match (brought, ours) {
            (Some(at), _) => failure.seen(
                "key custody: old: the recovery key of the service that it left is held, and is still valid",
                at,
            ),
            (None, Some(at)) => failure.seen(
                "key custody: old: an older recovery key is held, and is still valid",
                at,
            ),
            (None, None) => failure.seen("key custody: none: no recovery key is held", None),
        };
        failure = match has(SecretKind::BootstrapToken) {
            Some(at) => failure.seen("the bootstrap token is held", at),
            None => failure.seen("the Mac has brought no bootstrap token", None),
        };
        found.push(failure);
    }
    if let Some((why, at)) = lock_in_doubt(known, set_up) {
        let next = "what Apple answered is on record and nothing is guessed; once it is released its lock is read at Apple and shown; \
                    where a person's own lock is on it, that person takes it off";
        let read = known.device.lock.apple.as_ref();
        let read = read.map(|r| (r.word.as_str(), r.at));
        let failure = Failure::new(
            FailureMode::LockUnknown,
            Owner::Apple,
            Confidence::Likely,
            next,
        )
        .seen(why, at);
        found.push(match read {
            Some((lock, at)) => failure.seen(format!("Apple shows the lock {lock}"), at),
            None => failure.seen("the lock is unknown: it has not been read", None),
        });
    }
}

/// Why nobody knows whether the lock is there, during the hold, the proof and after the end. An answer that comes late settles it.
fn lock_in_doubt(known: &Known<'_>, set_up: &SetUp) -> Option<(String, Timestamp)> {
    let lock = set_up.steps_or_proofs().get(&StepId::Lock);
    let asked = match lock.map(|step| (&step.status, step.since)) {
        Some((StepStatus::Excepted { why }, at)) => return Some((why.clone(), at)),
        Some((StepStatus::Skipped { why }, at)) if why.starts_with("asked") => {
            Some((why.clone(), at))
        }
        _ => None,
    };
    let named = |what: &str| {
        let found = set_up.exceptions.iter().find(|e| e.what == what);
        found.map(|e| (e.why.clone(), e.at))
    };
    if let Some(refused) = named("lock") {
        return Some(refused);
    }
    // It was asked for, and Apple never showed it: until it does.
    let (why, at) = named("verify: lock").or(asked)?;
    let read = known.device.lock.apple.as_ref();
    let shown = read.is_some_and(|read| read.on && read.at >= at);
    (!shown).then_some((why, at))
}

pub(super) fn at_the_end(known: &Known<'_>, attempt: &Move, found: &mut Vec<Failure>) {
    let named = |e: &&Exception| e.what == "apple" || e.what == NOT_BEGUN;
    let said = attempt.exceptions.iter().find(named);
    if let (MoveState::Ended(Outcome::Failed), Some(said)) = (&attempt.state, said) {
        let locked = "Apple has removed earlier locks and put one on it that only an administrator of the organisation lifts: at the device with the \
                      name and password of a Managed Apple Account that may manage devices, or in the portal (Devices, this serial number, Turn Off Activation Lock)";
        let other = attempt.inquiry.as_ref().and_then(Inquiry::by_others);
        let other = other.map(|act| {
            let at = act.at.map_or_else(String::new, |at| format!(" at {at}"));
            format!("{}, whom Apple's audit events name{at}", act.apple_actor)
        });
        let (whom, named) = match &other {
            Some(other) => (
                format!("ask {other},"),
                format!("; ask {other}, what was done there"),
            ),
            None => (
                "look in the portal (its audit events)".to_owned(),
                String::new(),
            ),
        };
        let (confidence, next) = match said.what == NOT_BEGUN {
            false => (Confidence::Certain, format!("{locked}{named}")),
            true => (
                Confidence::Possible,
                format!(
                    "{whom} whether somebody cancelled it: then nothing is locked, and it is assigned back or planned anew. \
                     If it failed, {locked}"
                ),
            ),
        };
        let failure = Failure::new(
            FailureMode::AppleFailed,
            Owner::OrganisationAdmin,
            confidence,
            &next,
        );
        let asked = attempt.inquiry.as_ref();
        let unasked = || {
            let said =
                "Apple's audit events are not asked yet, or it ended before this version asked";
            vec![(said.to_owned(), None)]
        };
        let told = asked.map_or_else(unasked, Inquiry::evidence);
        found.push(told.into_iter().fold(
            failure.seen(said.why.clone(), said.at),
            |failure, (what, at)| failure.seen(what, at),
        ));
    }
    // What nobody has told after so long stays in the clean-up list (`mdmd report clean-up`), and goes from the device.
    let young = |ended: Timestamp| known.now.since(ended) <= ORIGINAL_LISTS;
    if attempt.is_left_behind(known.device)
        && attempt.removed.is_none()
        && attempt.ended.is_none_or(young)
    {
        let next = "look for it in the list of the original service and remove it there: it may never have heard that the device left; then say so: \
                    `mdmd wave cleaned`";
        found.push(
            Failure::new(
                FailureMode::OriginalStillLists,
                Owner::Original,
                Confidence::Possible,
                next,
            )
            .seen("it is enrolled with us", known.set_up.map(|s| s.began))
            .seen(
                format!(
                    "it left the service {}",
                    known.left.unwrap_or("that it had")
                ),
                attempt.ended,
            )
            // It is through: what is left is a list to be cleaned up.
            .known(),
        );
    }
}

pub(super) fn from_outside(known: &Known<'_>, found: &mut Vec<Failure>) {
    let views = known.views;
    let has = |contradiction| views.contradictions.contains(&contradiction);
    if has(Contradiction::UnexpectedMigration) {
        let next = "nothing is done by itself: put it into a wave if it is meant, or cancel it in the portal; one that was given up here \
                    stays pending there until then";
        let mut failure = Failure::new(
            FailureMode::UnexpectedMigration,
            Owner::OrganisationAdmin,
            Confidence::Likely,
            next,
        );
        if let Some(api) = &views.api {
            let said = format!("Apple shows a migration to us by {}", moment(api.deadline));
            failure = failure.seen(said, api.seen);
        }
        if let Some(done) = known.device.completed_deadlines.last() {
            let said = format!("its migration for {done} is complete");
            failure = failure.seen(said, None);
        }
        let given_up = known
            .attempt
            .filter(|a| a.state == MoveState::Ended(Outcome::Abandoned))
            .and_then(|a| a.exceptions.iter().find(|e| e.what == "operator"));
        if let Some(given_up) = given_up {
            failure = failure.seen(given_up.why.clone(), None);
        }
        found.push(failure);
    }
    let mut outside = Failure::new(
        FailureMode::ChangedOutside,
        Owner::OrganisationAdmin,
        Confidence::Likely,
        "nothing is fought over: what Apple shows is followed; ask who did it, and set it right here or there",
    );
    if let Some(attempt) = known.attempt.filter(|a| !a.is_ended())
        && let Some(shown) = attempt.shown_deadline
        && shown.as_secs() != attempt.deadline.as_secs()
    {
        outside = outside.seen(
            format!("deadline: {} here, {shown} at Apple", attempt.deadline),
            views.api.as_ref().map(|api| api.seen),
        );
    } else if has(Contradiction::DeadlineNotOurs)
        && let (Some(api), Some(attempt)) = (&views.api, known.attempt)
    {
        outside = outside.seen(
            format!(
                "deadline: {} here, {} at Apple",
                attempt.deadline,
                moment(api.deadline)
            ),
            api.seen,
        );
    }
    for contradiction in [
        Contradiction::ListedButElsewhere,
        Contradiction::EnrolledButElsewhere,
        Contradiction::MigrationMissing,
        Contradiction::ForeignProfile,
    ] {
        if has(contradiction) {
            let api = views.api.as_ref();
            let service = api.and_then(|api| api.service_name.as_ref().or(api.service.as_ref()));
            let ours = views.assignment.as_ref().map(|a| a.server.as_str());
            let said = format!(
                "{contradiction}; here {}, at Apple {}",
                ours.unwrap_or("enrolled"),
                service.map_or("no service", String::as_str)
            );
            outside = outside.seen(said, api.map(|api| api.seen));
        }
    }
    if !outside.evidence.is_empty() {
        found.push(outside);
    }
}

pub(super) fn word(status: Option<&crate::device::MigrationStatus>) -> String {
    status.map_or_else(|| "none".to_owned(), |status| format!("{status:?}"))
}

pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "no deadline".to_owned(), |at| at.to_string())
}
