//! What goes wrong before a device comes to us: planned, asked of Apple, offered, on its way.

use std::time::Duration;

use super::{Confidence, Failure, FailureMode, Known};
use crate::audit::{NO_IDENTITY, Refusal};
use crate::check::Check;
use crate::clock::Timestamp;
use crate::counted::{agree, counted};
use crate::device::Platform;
use crate::migration::Attention;
use crate::migration::Move;
use crate::migration::MoveState;
use crate::migration::Owner;
use crate::migration::what_if::FURTHEST;
use crate::views::{Contradiction, NoProfile};

use super::holding::{moment, word};

/// A request to Apple whose effect is not seen after this is called one without effect.
const EFFECT: Duration = Duration::from_mins(30);
/// Scheduled and still not visible in the assignment list, or not offered, after this.
const VISIBLE: Duration = Duration::from_mins(60);

/// Apple may tell so long afterwards that a device has begun.
const LAG: Duration = Duration::from_secs(24 * 3600);
/// Doors at which devices on their way speak.
const DOORS: [&str; 6] = ["enrol", "sign-in", "scep", "acme", "checkin", "command"];
/// So many refusals are shown with a device.
const MOST_SHOWN: usize = 5;

pub(super) fn before_it_moves(known: &Known<'_>, attempt: &Move, found: &mut Vec<Failure>) {
    let Known { device, now, .. } = *known;
    let reading = device.reading.as_ref();
    let planned = matches!(
        attempt.state,
        MoveState::Planned | MoveState::Blocked { .. } | MoveState::Ready
    );
    if let Some(reading) = reading.filter(|r| r.capable == Some(false))
        && !attempt.is_ended()
        && (planned
            || matches!(
                attempt.state,
                MoveState::SubmitFailed {
                    may_come: false,
                    ..
                }
            ))
    {
        let next = match known_reason(attempt) {
            Some(reason) => format!(
                "nothing is submitted for it, and Apple is asked again daily; mend what stands against it here: {reason}"
            ),
            None => "nothing is submitted for it, and Apple is asked again daily; Apple does not say why: see whether it is a system before 26, \
                     no Automated Device Enrolment, thirty provisional days, Shared iPad, Return to Service, or a released device"
                .to_owned(),
        };
        // Until it was read often enough it may be no more than a lag of Apple's.
        let sure = match reading.cannot_migrate() {
            true => Confidence::Certain,
            false => Confidence::Possible,
        };
        let mode = FailureMode::NotCapable;
        let failure = Failure::new(mode, Owner::OrganisationAdmin, sure, &next);
        let mut failure = failure.seen("isMdmMigrationCapable is false", reading.seen);
        if let Some(it) = reading.incapable {
            let said = format!("said {} times in a row", it.readings);
            failure = failure.seen(said, it.since);
        }
        if let MoveState::Blocked { blockers } = &attempt.state {
            for blocker in blockers {
                failure = failure.seen(blocker.clone(), None);
            }
        }
        found.push(failure);
    }
    let (soonest, latest) = (now + known.notice, now + FURTHEST);
    if attempt.is_planned() && (attempt.deadline < soonest || attempt.deadline > latest) {
        let next = format!(
            "give it a deadline from {soonest} until {latest} (`mdmd wave plan`); nothing is sent with this one"
        );
        found.push(
            Failure::new(
                FailureMode::DeadlineRejected,
                Owner::Destination,
                Confidence::Certain,
                &next,
            )
            .seen(format!("its deadline is {}", attempt.deadline), None),
        );
    }
    let without_effect = match &attempt.state {
        MoveState::SubmitFailed { since, why, .. } => Some((*since, why.clone())),
        MoveState::Submitting {
            since,
            activity: Some(activity),
        } if now.since(*since) >= EFFECT => Some((
            *since,
            format!("activity {activity} was accepted, and no reading shows its effect"),
        )),
        _ => None,
    };
    if let Some((since, why)) = without_effect {
        let next = match attempt.is_planned() {
            true => {
                "it is read again by itself; look whether the serial number and the service are right in the portal, then submit its wave again"
            }
            false => {
                "it is read again by itself, and may still come: look whether the serial number and the service are right in the portal, \
                      and wait, or call it back (`mdmd wave cancel`)"
            }
        };
        let mut failure = Failure::new(
            FailureMode::NoEffect,
            Owner::Apple,
            Confidence::Likely,
            next,
        )
        .seen(why, since);
        if let Some(reading) = reading {
            let said = format!(
                "Apple shows status {}, service {}, deadline {}",
                word(reading.status.as_ref()),
                reading.assigned_server.as_deref().unwrap_or("none"),
                moment(reading.deadline)
            );
            failure = failure.seen(said, reading.seen);
        }
        found.push(failure);
    }
    let waits = match &attempt.state {
        MoveState::Scheduled { since, visible } => {
            let from = (*since)
                .max(attempt.available_from)
                .max(visible.unwrap_or(*since));
            now.since(from) >= VISIBLE
        }
        MoveState::Offered { .. } | MoveState::Overdue { .. } => true,
        _ => false,
    };
    let unlisted = known
        .views
        .contradictions
        .contains(&Contradiction::AssignedButNotListed);
    if unlisted || attempt.attention == Some(Attention::NotVisible) {
        found.push(not_listed(known));
    } else if let Some(why) = known
        .views
        .no_profile
        .as_ref()
        .filter(|why| waits || matches!(why, NoProfile::TooLate { .. }))
    {
        let (owner, sure, next) = what_to_do(why);
        let seen = known.views.assignment.as_ref();
        let mut failure = Failure::new(FailureMode::ProfileNotInForce, owner, sure, &next)
            .seen(why.to_string(), None);
        if let Some(view) = seen {
            let status = format!("the profile's status is {}", view.profile_status);
            failure = failure.seen(status, view.seen);
        }
        found.push(failure);
    }
}

/// Checks of what Apple names as reasons why a device cannot migrate.
const APPLES_REASONS: [Check; 7] = [
    Check::OsMinimum,
    Check::FamilySupported,
    Check::OrgMember,
    Check::Provisional,
    Check::SharedIpad,
    Check::ReturnToService,
    Check::AdeCurrent,
];

/// What the checks found against it that can be why Apple says so; whatever else stands against it is no reason of Apple's.
fn known_reason(attempt: &Move) -> Option<String> {
    let MoveState::Blocked { blockers } = &attempt.state else {
        return None;
    };
    let is_apples = |blocker: &&String| {
        let check = blocker.split_once(':').map(|(check, _)| check);
        APPLES_REASONS
            .iter()
            .any(|reason| check == Some(reason.as_str()))
    };
    let reasons: Vec<&str> = blockers
        .iter()
        .filter(is_apples)
        .map(String::as_str)
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Whose it is that our profile is not in force, how sure that is, and what to do about it.
fn what_to_do(why: &NoProfile) -> (Owner, Confidence, String) {
    use Confidence::{Certain, Likely};
    let (owner, sure, next) = match why {
        NoProfile::Paused { .. } => (
            Owner::Destination,
            Certain,
            "mend what it was paused for, then `mdmd wave resume`: it is offered its migration by itself then; its deadline stays as it is, a later one takes `mdmd wave extend`",
        ),
        NoProfile::GroupFull { .. } => (
            Owner::Destination,
            Certain,
            "it is offered its migration by itself as soon as one of them is through; give it a later deadline where that is too late (`mdmd wave extend`), or raise the limit (`mdmd project set --gap`)",
        ),
        NoProfile::LicencesAwaited => (
            Owner::Licence,
            Certain,
            "it is offered its migration by itself as soon as its licences are there, and in time for its deadline at the latest; `mdmd licences status` says what its wave lacks",
        ),
        NoProfile::TooLate { .. } => (
            Owner::Destination,
            Certain,
            "it stays behind: give it a later deadline (`mdmd wave later` proposes one, `mdmd migration extend`), and it is offered by itself; less notice takes `mdmd migration force`",
        ),
        // Nobody but a person goes on there: Apple's terms to sign, a token that has ended.
        NoProfile::NeedsPerson { what }
        | NoProfile::NotDefined {
            needs_person: Some(what),
        } => {
            let next = format!("{what}; then `mdmd business sync`, and it is assigned by itself");
            return (Owner::OrganisationAdmin, Certain, next);
        }
        NoProfile::NotDefined { needs_person: None } => (
            Owner::Destination,
            Certain,
            "have the ADE profile defined at Apple (`mdmd business sync`), then see `mdmd assignment ade-profile`; it is assigned by itself once it is defined",
        ),
        NoProfile::NotListed | NoProfile::NotAccessible { .. } => (
            Owner::OrganisationAdmin,
            Likely,
            "see in the portal that it is assigned to this service, and that the token is that of this service; it is asked for again by itself",
        ),
        _ => (
            Owner::Apple,
            Likely,
            "it is assigned again by itself as soon as Apple takes it; nobody is asked on the device until then",
        ),
    };
    (owner, sure, next.to_owned())
}

/// The three views side by side.
pub(super) fn not_listed(known: &Known<'_>) -> Failure {
    let next = "the list is read anew by itself; look whether the token is that of the service in the portal, and whether somebody has \
                taken the assignment back";
    let mut failure = Failure::new(
        FailureMode::NotListed,
        Owner::OrganisationAdmin,
        Confidence::Likely,
        next,
    );
    failure = match &known.views.api {
        Some(api) => {
            let service = api.service_name.as_ref().or(api.service.as_ref());
            let service = service.map_or("no service", String::as_str);
            failure.seen(format!("organisation API: assigned to {service}"), api.seen)
        }
        None => failure.seen("organisation API: not read yet", None),
    };
    failure = match &known.views.assignment {
        Some(view) if view.gone => failure.seen(
            format!(
                "assignment service: it has left the list of {}",
                view.server
            ),
            view.seen,
        ),
        Some(view) => failure.seen(
            format!("assignment service: in the list of {}", view.server),
            view.seen,
        ),
        None => failure.seen("assignment service: in no list of ours", None),
    };
    match &known.views.enrolment {
        Some(view) => failure.seen(format!("our enrolment: {:?}", view.state), view.since),
        None => failure.seen("our enrolment: none", None),
    }
}

pub(super) fn between(known: &Known<'_>, attempt: &Move, found: &mut Vec<Failure>) {
    let Known { device, now, .. } = *known;
    if let MoveState::Overdue { since } = attempt.state {
        let mut failure = Failure::new(
            FailureMode::PastDeadline,
            Owner::User,
            Confidence::Possible,
            "nothing is done blindly: have the device switched on and online, extend its deadline (`mdmd wave extend`), or call it back (`mdmd migration cancel`); after 14 days it can be given up (`mdmd device give-up`)",
        )
        .seen(format!("its deadline was {}", attempt.deadline), since);
        if let Some(original) = known.original {
            if let Some(seen) = &original.last_seen {
                let said = format!("last seen at the original service {}", seen.value);
                failure = failure.seen(said, seen.at);
            }
            if let Some(user) = &original.managed_user
                && !user.value.name.is_empty()
            {
                let name = &user.value.name;
                failure.confidence = Confidence::Likely;
                let said = format!("a Mac waits for the sign-in of its managed user {name}");
                failure = failure.seen(said, user.at);
            }
            if let Some(owner) = &original.owner
                && let Some(name) = owner.value.name.as_ref().or(owner.value.email.as_ref())
            {
                failure = failure.seen(format!("it belongs to {name}"), owner.at);
            }
        }
        if let Some(reading) = &device.reading {
            let said = format!("Apple shows status {}", word(reading.status.as_ref()));
            failure = failure.seen(said, reading.seen);
        }
        found.push(failure);
    }
    let begun = match &attempt.state {
        MoveState::Started { since } => Some(*since),
        MoveState::Stalled { since, set_up } => set_up.is_none().then_some(*since),
        _ => None,
    };
    let stalled = known
        .set_up
        .is_some_and(|s| s.attention == Some(Attention::EnrolmentStalled));
    let refused = known.refusals.iter().filter(|r| r.at >= attempt.created);
    let refused: Vec<&Refusal> = refused.take(MOST_SHOWN).collect();
    if let Some(since) = begun.filter(|_| attempt.attention.is_some() || !refused.is_empty()) {
        let unproved = unproved_since(known, attempt, since);
        found.push(enrolment_fails(since, &refused, &unproved));
    } else if stalled && let Some(set_up) = known.set_up {
        let unproved = unproved_since(known, attempt, set_up.began);
        found.push(enrolment_fails(set_up.began, &refused, &unproved));
    }
    let gap = match &attempt.state {
        MoveState::Started { since }
        | MoveState::Moving { since, .. }
        | MoveState::Stalled { since, .. } => {
            let out = known.set_up.and_then(|s| s.released);
            out.is_none().then_some(*since)
        }
        _ => None,
    };
    if let Some(since) = gap {
        let mac = device.platform().is_some_and(Platform::is_mac);
        let more = if mac {
            "; on a Mac platform single sign-on must register again afterwards"
        } else {
            ""
        };
        let next = format!(
            "have the access control of the organisation grant a grace period until it is released (the webhooks `started`, `released` and `called_off`), and tell its owner how long it takes (`mdmd text set`, `mdmd wave notices`){more}"
        );
        let minutes = now.since(since).as_secs() / 60;
        found.push(
            Failure::new(
                FailureMode::AccessGap,
                Owner::OrganisationAdmin,
                Confidence::Possible,
                &next,
            )
            .seen(
                format!("it left the original {} ago", counted(minutes, "minute")),
                since,
            ),
        );
    }
}

/// Messages of senders whom nobody could prove, from when it may have begun: Apple may tell that hours later.
fn unproved_since<'a>(known: &Known<'a>, attempt: &Move, since: Timestamp) -> Vec<&'a Refusal> {
    let offered = attempt.offered.unwrap_or(since).min(since);
    let from = offered.max(since - LAG);
    let unproved = known.unproved.iter();
    // A handshake that fails is no message, and a message that nobody signed is no device's: anybody on the network leaves those.
    let messages = unproved.filter(|r| r.serial.is_none() && DOORS.contains(&r.door.as_str()));
    let signed = messages.filter(|r| !r.reason.ends_with(NO_IDENTITY));
    signed.filter(|r| r.at >= from).collect()
}

pub(super) fn enrolment_fails(
    since: Timestamp,
    refused: &[&Refusal],
    unproved: &[&Refusal],
) -> Failure {
    let (owner, confidence, next) = match (refused.is_empty(), unproved.is_empty()) {
        (false, _) => (
            Owner::Destination,
            Confidence::Likely,
            "it reached us and was refused: mend what the refusals name; the enrolment address stays as it is, and the device tries again",
        ),
        (true, false) => (
            Owner::Destination,
            Confidence::Possible,
            "somebody reached us, could not prove who it is and was refused, which may be this device: mend what the refusals name (`mdmd report unheard` lists all of them), and the device tries again; or nothing of it has reached us: look at the way there (port, proxy, certificate chain, the device's clock) with `mdmd doctor --probe`",
        ),
        (true, true) => (
            Owner::Network,
            Confidence::Possible,
            "nothing more of it has reached us since: look at the way there (port, proxy, certificate chain, the device's clock) with `mdmd doctor --probe`",
        ),
    };
    let mut failure = Failure::new(FailureMode::EnrolmentFails, owner, confidence, next)
        .seen("it has begun, and has not enrolled", since);
    let shown = match refused.is_empty() {
        true => unproved,
        false => refused,
    };
    if refused.is_empty() && !unproved.is_empty() {
        let count = unproved.len();
        let (messages, were) = (counted(count, "message"), agree(count, "was", "were"));
        let said = format!("{messages} of senders whom nobody could prove {were} refused");
        failure = failure.seen(said, None);
    }
    for refusal in shown.iter().take(MOST_SHOWN) {
        let said = format!(
            "refused at {} from {}: {}",
            refusal.door, refusal.address, refusal.reason
        );
        failure = failure.seen(said, refusal.at);
    }
    failure
}
