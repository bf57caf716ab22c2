//! Before a device moves, and while it is between two services.

use std::time::Duration;

use super::{NOW, attempt, device, found, known, one, words};
use crate::audit::Refusal;
use crate::clock::Timestamp;
use crate::device::OrgReading;
use crate::failure::{Confidence, Failure, FailureMode, Known, failures};
use crate::ids::{DeviceId, OrganisationId, RefusalId, Serial};
use crate::migration::{Attention, AuditedAct, Exception, Inquiry, MoveState, Outcome, Owner};
use crate::original::{ManagedUser, OriginalFacts, Said};
use crate::views::{Context, NoProfile, views};

#[test]
fn what_goes_wrong_before_a_device_moves_names_its_owner_and_what_to_do() {
    let mut incapable = device();
    let mut reading = OrgReading {
        seen: NOW,
        ..OrgReading::default()
    };
    reading.capable = Some(false);
    incapable.reading = Some(reading);
    let failure = one(
        &incapable,
        &attempt(MoveState::Planned),
        FailureMode::NotCapable,
    );
    assert_eq!(failure.owner, Owner::OrganisationAdmin);
    assert!(failure.next.contains("does not say why"), "{failure:#?}");
    // What the checks know is named, and nothing else.
    let blockers = vec![
        "capable: Apple says that it cannot migrate".to_owned(),
        "os.minimum: iOS 18.1: only 26 and later can migrate".to_owned(),
    ];
    let blocked = attempt(MoveState::Blocked { blockers });
    let failure = one(&incapable, &blocked, FailureMode::NotCapable);
    assert!(
        failure
            .next
            .ends_with(": os.minimum: iOS 18.1: only 26 and later can migrate"),
        "{failure:#?}"
    );
    // What Apple cannot mean is not called its reason, alone or beside one.
    let undecided = "apps.mapped: nobody has decided on com.example.till".to_owned();
    let shared = "shared-ipad: it is a Shared iPad".to_owned();
    for (blockers, reason) in [
        (vec![undecided.clone()], "does not say why"),
        (
            vec![undecided, shared],
            "here: shared-ipad: it is a Shared iPad",
        ),
    ] {
        let blocked = attempt(MoveState::Blocked { blockers });
        let failure = one(&incapable, &blocked, FailureMode::NotCapable);
        assert!(failure.next.contains(reason), "{failure:#?}");
        assert!(!failure.next.contains("apps.mapped"), "{failure:#?}");
    }
    let mut late = attempt(MoveState::Planned);
    late.deadline = NOW + Duration::from_hours(24 * 91);
    let failure = one(&device(), &late, FailureMode::DeadlineRejected);
    assert!(failure.next.contains("until 2027-03"), "{failure:#?}");
    let mut near = attempt(MoveState::Planned);
    near.deadline = NOW + Duration::from_hours(23);
    let failure = one(&device(), &near, FailureMode::DeadlineRejected);
    assert_eq!(failure.owner, Owner::Destination);
    let why = "INVALID_SERIAL".to_owned();
    let failed = attempt(MoveState::SubmitFailed {
        since: NOW,
        why,
        may_come: false,
    });
    let failure = one(&device(), &failed, FailureMode::NoEffect);
    assert_eq!(failure.evidence[0].what, "INVALID_SERIAL");
    assert!(failure.next.contains("submit its wave again"));
    let late = attempt(MoveState::SubmitFailed {
        since: NOW,
        why: "Apple does not show what was asked for".to_owned(),
        may_come: true,
    });
    let failure = one(&device(), &late, FailureMode::NoEffect);
    assert!(failure.next.contains("`mdmd wave cancel`"), "{failure:#?}");
    let overdue = attempt(MoveState::Overdue { since: NOW });
    let failure = one(&device(), &overdue, FailureMode::PastDeadline);
    assert_eq!(failure.owner, Owner::User);
}

#[test]
fn what_apple_accepted_and_nobody_sees_is_named_after_half_an_hour() {
    let submitting = |minutes| {
        attempt(MoveState::Submitting {
            since: NOW - Duration::from_mins(minutes),
            activity: Some("act-7".to_owned()),
        })
    };
    assert_eq!(found(&device(), &submitting(29)), []);
    let failure = one(&device(), &submitting(30), FailureMode::NoEffect);
    assert!(
        failure.evidence[0].what.contains("act-7 was accepted"),
        "{failure:#?}"
    );
}

/// A device that waits in its wave, as it is said of the wave's profile.
fn not_in_force(why: NoProfile) -> Failure {
    let device = device();
    let mut attempt = attempt(MoveState::Scheduled {
        since: NOW - Duration::from_hours(5),
        visible: Some(NOW - Duration::from_hours(5)),
    });
    attempt.available_from = NOW - Duration::from_hours(4);
    let mut views = views(&device, Context::default(), NOW);
    views.no_profile = Some(why);
    let all = failures(&Known {
        attempt: Some(&attempt),
        ..known(&device, &views)
    });
    let mut all = all.into_iter();
    all.find(|failure| failure.mode == FailureMode::ProfileNotInForce)
        .unwrap()
}

#[test]
fn whose_it_is_that_our_profile_is_not_in_force_goes_by_why() {
    let terms = || "sign Apple's terms".to_owned();
    let paused = not_in_force(NoProfile::Paused {
        why: "too many fail".to_owned(),
        by: "stop rule".to_owned(),
        since: NOW,
    });
    assert_eq!(paused.owner, Owner::Destination);
    assert!(paused.next.contains("mdmd wave resume"), "{paused:#?}");
    assert!(words(&paused)[0].ends_with("by stop rule: too many fail"));
    for why in [
        NoProfile::NeedsPerson { what: terms() },
        NoProfile::NotDefined {
            needs_person: Some(terms()),
        },
    ] {
        let failure = not_in_force(why);
        assert_eq!(failure.owner, Owner::OrganisationAdmin);
        assert!(
            failure.next.starts_with("sign Apple's terms"),
            "{failure:#?}"
        );
    }
    let until = Some(NOW);
    let elsewhere = not_in_force(NoProfile::NotAccessible { until });
    assert_eq!(elsewhere.owner, Owner::OrganisationAdmin);
    let undefined = not_in_force(NoProfile::NotDefined { needs_person: None });
    assert_eq!(undefined.owner, Owner::Destination);
    let throttled = not_in_force(NoProfile::Throttled { until: NOW });
    assert_eq!(throttled.owner, Owner::Apple);
    assert!(throttled.next.contains("by itself"));
}

#[test]
fn a_deadline_that_somebody_moved_is_shown_with_both_values() {
    let mut moved = attempt(MoveState::Offered { since: NOW });
    let shown = moved.deadline + Duration::from_hours(24);
    moved.shown_deadline = Some(shown);
    let failure = one(&device(), &moved, FailureMode::ChangedOutside);
    let said = &failure.evidence[0].what;
    assert!(said.contains(&moved.deadline.to_string()), "{said}");
    assert!(said.contains(&shown.to_string()), "{said}");
}

#[test]
fn whose_sign_in_a_mac_waits_for_is_said_when_its_deadline_is_over() {
    let mut original = OriginalFacts::new(OrganisationId(1), DeviceId(2));
    let mut said = Said::nothing(Serial::parse("C02FAILS").unwrap());
    let user = ManagedUser {
        name: "kim".to_owned(),
        ..ManagedUser::default()
    };
    said.managed_user = Some(user);
    original.take(said, NOW, "Old MDM");
    let (device, attempt) = (device(), attempt(MoveState::Overdue { since: NOW }));
    let context = Context {
        attempt: Some(&attempt),
        ..Context::default()
    };
    let all = failures(&Known {
        attempt: Some(&attempt),
        original: Some(&original),
        ..known(&device, &views(&device, context, NOW))
    });
    let text = format!("{all:?}");
    assert!(
        text.contains("a Mac waits for the sign-in of its managed user kim"),
        "{text}"
    );
}

#[test]
fn whose_fault_it_is_that_a_device_does_not_enrol_goes_by_what_was_refused() {
    let hour = Duration::from_hours(1);
    let mut begun = attempt(MoveState::Stalled {
        since: NOW - hour,
        set_up: None,
    });
    begun.created = NOW - hour * 48;
    begun.offered = Some(NOW - hour * 6);
    begun.attention = Some(Attention::EnrolmentStalled);
    let device = device();
    let refusal = |at: Timestamp, door: &str, serial: Option<&Serial>| {
        let (id, why) = (RefusalId(1), "signature: is by nobody who is trusted here");
        let mut refusal = Refusal::new(OrganisationId(1), id, at, "192.0.2.1", door, why);
        refusal.serial = serial.cloned();
        refusal
    };
    let of = |refusals: &[Refusal], unproved: &[Refusal]| {
        let all = failures(&Known {
            attempt: Some(&begun),
            refusals,
            unproved,
            ..known(&device, &views(&device, Context::default(), NOW))
        });
        let mut all = all.into_iter();
        all.find(|f| f.mode == FailureMode::EnrolmentFails).unwrap()
    };
    let nothing = of(&[], &[]);
    assert_eq!(nothing.owner, Owner::Network);
    // A handshake that failed, the message of another device, and one from long before say nothing of it.
    let other = Serial::parse("C02OTHER").unwrap();
    // Nor does what anybody on the internet leaves: a message that nobody signed, and one at a door of people.
    let mut unsigned = refusal(NOW - hour, "checkin", None);
    unsigned.reason = "identity: neither a client certificate nor Mdm-Signature".to_owned();
    let noise = [
        unsigned,
        refusal(NOW - hour, "api", None),
        refusal(NOW - hour, "tls", None),
        refusal(NOW - hour, "enrol", Some(&other)),
        refusal(NOW - hour * 30, "enrol", None),
    ];
    assert_eq!(of(&[], &noise), nothing);
    let unproved = [
        refusal(NOW - hour, "enrol", None),
        refusal(NOW - hour * 2, "checkin", None),
    ];
    let somebody = of(&[], &unproved);
    assert_eq!(
        (somebody.owner, somebody.confidence),
        (Owner::Destination, Confidence::Possible)
    );
    let said = format!("{somebody:?}");
    for word in [
        "2 messages of senders",
        "from 192.0.2.1: signature",
        "mdmd report unheard",
        "mdmd doctor --probe",
    ] {
        assert!(said.contains(word), "{said}");
    }
    let own = [refusal(NOW - hour, "checkin", Some(&device.serial))];
    let itself = of(&own, &unproved);
    assert_eq!(
        (itself.owner, itself.confidence),
        (Owner::Destination, Confidence::Likely)
    );
}

#[test]
fn what_apple_locks_after_a_failure_comes_with_the_way_to_lift_it() {
    let mut failed = attempt(MoveState::Ended(Outcome::Failed));
    failed.exceptions.push(Exception::new(
        "apple",
        "Apple says that the migration failed",
        Owner::OrganisationAdmin,
        NOW,
    ));
    let failure = one(&device(), &failed, FailureMode::AppleFailed);
    assert!(
        failure
            .next
            .contains("only an administrator of the organisation lifts")
    );
    assert_eq!(failure.confidence, Confidence::Certain);
    // Before its start it may have been cancelled, and then there is no lock: both are said.
    failed.exceptions[0].what = "apple: not begun".to_owned();
    let failure = one(&device(), &failed, FailureMode::AppleFailed);
    assert_eq!(failure.confidence, Confidence::Possible);
    for said in ["somebody cancelled it", "nothing is locked", "If it failed"] {
        assert!(failure.next.contains(said), "{}", failure.next);
    }
    // Who did it is asked once; that nobody was asked, or that nobody is named, is said as such.
    let evidence = |failure: &Failure| failure.evidence.last().map(|e| e.what.clone());
    let said = evidence(&failure).unwrap();
    assert!(said.contains("are not asked yet"), "{said}");
    failed.inquiry = Some(Inquiry::answered(Vec::new(), NOW, NOW));
    let failure = one(&device(), &failed, FailureMode::AppleFailed);
    let said = evidence(&failure).unwrap();
    assert!(said.contains("name nothing about it since 2026"), "{said}");
    assert!(
        failure.next.starts_with("look in the portal"),
        "{failure:#?}"
    );
    let act = |who: &str, ours| AuditedAct {
        at: Some(NOW),
        what: "DEVICE_UNASSIGNED_FROM_SERVER".to_owned(),
        apple_actor: who.to_owned(),
        ours,
    };
    let acts = vec![
        act("eva@example.com (USER)", false),
        act("mdmd (API)", true),
    ];
    failed.inquiry = Some(Inquiry::answered(acts, NOW, NOW));
    for what in ["apple: not begun", "apple"] {
        failed.exceptions[0].what = what.to_owned();
        let failure = one(&device(), &failed, FailureMode::AppleFailed);
        let said = failure.evidence.iter();
        assert!(
            said.clone()
                .any(|e| e.what.ends_with("by eva@example.com (USER)") && e.at == Some(NOW))
        );
        assert!(said.clone().any(|e| e.what.ends_with("our own account")));
        let asked = format!("ask eva@example.com (USER), whom Apple's audit events name at {NOW},");
        assert!(failure.next.contains(&asked), "{}", failure.next);
    }
    // One that a person gave up is no failure of Apple's.
    failed.exceptions[0].what = "operator".to_owned();
    assert_eq!(found(&device(), &failed), []);
}

#[test]
fn a_device_in_the_gap_and_one_that_the_original_may_still_list_are_named() {
    let started = attempt(MoveState::Started { since: NOW });
    one(&device(), &started, FailureMode::AccessGap);
    let done = attempt(MoveState::Ended(Outcome::Migrated));
    let failure = one(&device(), &done, FailureMode::OriginalStillLists);
    assert_eq!(failure.owner, Owner::Original);
    assert!(!failure.counts, "it has migrated, and nothing went wrong");
    let mut long_ago = done;
    long_ago.ended = Some(NOW - Duration::from_hours(31 * 24));
    assert_eq!(found(&device(), &long_ago), []);
}
