//! Each of them from the least that shows it.

use super::*;
use crate::device::{OrgReading, Platform};
use crate::device_lock::LockSight;
use crate::enrollment::{ChannelKind, Enrollment};
use crate::ids::{
    DeviceId, EnrollmentId, MoveId, OrganisationId, RefusalId, RunbookId, Serial, SetUpId, WaveId,
};
use crate::migration::Attention;
use crate::migration::Exception;
use crate::migration::MoveState;
use crate::migration::Outcome;
use crate::migration::what_if::AppFate;
use crate::migration::{Verdict, VerdictKind};
use crate::original::{ManagedUser, OriginalApp, Said, Told};
use crate::views::{Context, NoProfile, views};
use serde_json::json;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_millis(1_796_893_200_000);

fn device() -> Device {
    let serial = Serial::parse("C02FAILS").unwrap();
    Device::new(OrganisationId(1), DeviceId(2), serial)
}

fn attempt(state: MoveState) -> Move {
    let mut attempt = Move::plan(
        OrganisationId(1),
        MoveId(3),
        WaveId(4),
        DeviceId(2),
        Serial::parse("C02FAILS").unwrap(),
        RunbookId(5),
        NOW + Duration::from_hours(48),
        NOW,
        Some("OLD".to_owned()),
        NOW,
    );
    attempt.state = state;
    attempt
}

fn found(device: &Device, attempt: &Move) -> Vec<Failure> {
    let context = Context {
        attempt: Some(attempt),
        ..Context::default()
    };
    failures(&Known {
        device,
        attempt: Some(attempt),
        set_up: None,
        views: &views(device, context, NOW),
        original: None,
        held: &[],
        refusals: &[],
        unproved: &[],
        forecast: &[],
        left: None,
        notice: Duration::from_hours(24),
        now: NOW,
    })
}

fn one(device: &Device, attempt: &Move, mode: FailureMode) -> Failure {
    let all = found(device, attempt);
    let one = all.iter().find(|failure| failure.mode == mode);
    let one = one.unwrap_or_else(|| panic!("{mode:?}: {all:#?}"));
    assert!(!one.evidence.is_empty() && !one.next.is_empty(), "{one:#?}");
    one.clone()
}

#[test]
fn there_are_twenty_each_with_a_sentence_of_its_own() {
    let sentences: std::collections::BTreeSet<&str> = FailureMode::ALL
        .iter()
        .map(|mode| mode.sentence())
        .collect();
    assert_eq!(sentences.len(), 20);
}

#[test]
fn a_member_on_which_nothing_goes_wrong_has_no_failure() {
    assert_eq!(found(&device(), &attempt(MoveState::Ready)), []);
}

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
    let failed = attempt(MoveState::SubmitFailed { since: NOW, why });
    let failure = one(&device(), &failed, FailureMode::NoEffect);
    assert_eq!(failure.evidence[0].what, "INVALID_SERIAL");
    let overdue = attempt(MoveState::Overdue { since: NOW });
    let failure = one(&device(), &overdue, FailureMode::PastDeadline);
    assert_eq!(failure.owner, Owner::User);
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
            device: &device,
            attempt: Some(&begun),
            set_up: None,
            views: &views(&device, Context::default(), NOW),
            original: None,
            held: &[],
            refusals,
            unproved,
            forecast: &[],
            left: None,
            notice: hour * 24,
            now: NOW,
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
    // One that a person gave up is no failure of Apple's.
    failed.exceptions[0].what = "operator".to_owned();
    assert_eq!(found(&device(), &failed), []);
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

fn set_up_json(device: &Device, more: serde_json::Value) -> SetUp {
    let mut enrollment = Enrollment::pending(
        OrganisationId(1),
        EnrollmentId(7),
        "UDID-1".to_owned(),
        ChannelKind::Device,
        "aa".to_owned(),
        NOW,
    );
    enrollment.serial = Some(device.serial.clone());
    let verdict = Verdict {
        kind: VerdictKind::Migration,
        reasons: Vec::new(),
    };
    let platform = device.platform().unwrap_or(Platform::Ios);
    let set_up = SetUp::begin(
        OrganisationId(1),
        SetUpId(5),
        &enrollment,
        platform,
        None,
        RunbookId(3),
        verdict,
        NOW,
    );
    let mut all = serde_json::to_value(set_up).unwrap();
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

/// What is said of one way, with these words; nothing where it is not shown.
fn said_of(
    device: &Device,
    set_up: &SetUp,
    held: &[(SecretKind, Timestamp)],
    mode: FailureMode,
) -> Option<(Owner, String)> {
    let one = said_with(device, set_up, (held, &[], None), mode)?;
    let words: Vec<String> = one.evidence.into_iter().map(|e| e.what).collect();
    Some((one.owner, words.join("\n")))
}

/// The same, with the secrets that are held, the forecast, and what the original told.
fn said_with(
    device: &Device,
    set_up: &SetUp,
    (held, forecast, original): (
        &[(SecretKind, Timestamp)],
        &[ForeseenLoss],
        Option<&OriginalFacts>,
    ),
    mode: FailureMode,
) -> Option<Failure> {
    let all = failures(&Known {
        device,
        attempt: None,
        set_up: Some(set_up),
        views: &views(device, Context::default(), NOW),
        original,
        held,
        refusals: &[],
        unproved: &[],
        forecast,
        left: None,
        notice: Duration::from_hours(24),
        now: NOW,
    });
    all.into_iter().find(|failure| failure.mode == mode)
}

fn exception(what: &str, owner: Owner) -> serde_json::Value {
    serde_json::to_value(Exception::new(what, "it did not come", owner, NOW)).unwrap()
}

#[test]
fn whose_key_opens_a_mac_is_said_with_the_failure() {
    let mut mac = device();
    mac.facts.product = Some("Mac15,7".to_owned());
    let more = json!({ "exceptions": [exception("fv-escrow", Owner::Device)] });
    let set_up = set_up_json(&mac, more);
    let hour = Duration::from_hours(1);
    let says = |held: &[(SecretKind, Timestamp)]| {
        said_of(&mac, &set_up, held, FailureMode::NoNewKey).map(|(_, said)| said)
    };
    let (ours, brought) = (SecretKind::RecoveryKey, SecretKind::OriginalRecoveryKey);
    let said = says(&[]).unwrap();
    assert!(
        said.contains("key custody: none: no recovery key is held"),
        "{said}"
    );
    let said = says(&[(brought, NOW - hour)]).unwrap();
    assert!(
        said.contains("key custody: old: the recovery key of the service that it left"),
        "{said}"
    );
    let said = says(&[(ours, NOW - hour), (brought, NOW - hour * 2)]).unwrap();
    assert!(
        said.contains("key custody: old: an older recovery key"),
        "{said}"
    );
    let said = says(&[(ours, NOW - hour * 2), (brought, NOW - hour)]).unwrap();
    assert!(said.contains("of the service that it left"), "{said}");
    // It came after all.
    assert_eq!(says(&[(ours, NOW + hour)]), None);
}

#[test]
fn a_lock_that_nobody_saw_is_unknown_after_the_end_too() {
    let mut phone = device();
    let ended = json!({ "ended": "proved_with_exceptions" });
    let never = json!({ "state": ended, "exceptions": [exception("verify: lock", Owner::Apple)] });
    let step = json!({ "status": { "skipped": { "why": "asked, not yet read: it is locked already" } }, "since": NOW });
    let asked = json!({ "state": ended, "proofs": { "lock": step } });
    for more in [never, asked] {
        let set_up = set_up_json(&phone, more);
        let says = |phone: &Device| said_of(phone, &set_up, &[], FailureMode::LockUnknown);
        phone.lock.apple = None;
        assert!(says(&phone).unwrap().1.contains("has not been read"));
        let sight = |on: bool, at| LockSight {
            on,
            word: "MDM".to_owned(),
            at,
        };
        phone.lock.apple = Some(sight(true, NOW - Duration::from_hours(1)));
        assert!(
            says(&phone).is_some(),
            "it was read before it was asked for"
        );
        phone.lock.apple = Some(sight(true, NOW + Duration::from_hours(1)));
        assert_eq!(says(&phone), None, "Apple shows it by now");
    }
}

#[test]
fn what_was_lost_is_held_against_the_forecast() {
    let phone = device();
    let more = json!({
        "released": NOW,
        "exceptions": [
            exception("apps-keep: app.Mail", Owner::Licence),
            exception("apps-keep: app.notes", Owner::Device),
        ],
    });
    let set_up = set_up_json(&phone, more);
    let forecast = [
        foreseen("app.mail", AppFate::LostLicence),
        foreseen("app.nobody", AppFate::LostUndecided),
    ];
    let of = |forecast: &[ForeseenLoss], original: Option<&OriginalFacts>| {
        let all = (&[][..], forecast, original);
        said_with(&phone, &set_up, all, FailureMode::AppsGone).unwrap()
    };
    let failure = of(&forecast, None);
    assert_eq!(failure.owner, Owner::Licence);
    assert!(failure.counts);
    let nobody = "forecast as lost, and the device has not listed its apps since: app.nobody: nobody decided on it";
    let notes = "lost, and not forecast: app.notes: it did not come";
    assert_eq!(
        words(&failure),
        [nobody, "lost, as forecast: app.Mail", notes]
    );
    // Whether it is gone says the device.
    let mut original = OriginalFacts::new(OrganisationId(1), DeviceId(2));
    let hour = Duration::from_hours(1);
    original.reported_apps = Some(listed(&["app.other"], NOW + hour));
    let gone = "lost, as forecast: app.nobody: nobody decided on it";
    assert_eq!(words(&of(&forecast, Some(&original)))[0], gone);
    original.reported_apps = Some(listed(&["app.nobody", "app.notes"], NOW + hour));
    let again = format!("{notes}; it is managed again since, without its data");
    assert_eq!(
        words(&of(&forecast, Some(&original))),
        ["lost, as forecast: app.Mail", again.as_str()]
    );
    // A list of before it was let go says nothing.
    original.reported_apps = Some(listed(&["app.nobody"], NOW - hour));
    assert_eq!(words(&of(&forecast, Some(&original)))[0], nobody);
}

fn words(failure: &Failure) -> Vec<&str> {
    failure.evidence.iter().map(|e| e.what.as_str()).collect()
}

fn foreseen(app: &str, fate: AppFate) -> ForeseenLoss {
    ForeseenLoss {
        app: app.to_owned(),
        fate,
        accepted: None,
    }
}

fn listed(apps: &[&str], at: Timestamp) -> Told<Vec<OriginalApp>> {
    Told {
        value: apps.iter().map(|app| OriginalApp::new(app)).collect(),
        at,
        by: "somebody".to_owned(),
    }
}

#[test]
fn a_loss_that_somebody_accepted_is_said_so_and_is_nobodys_task() {
    let phone = device();
    let more = json!({ "released": NOW, "exceptions": [exception("apps-keep: app.mail", Owner::Licence)] });
    let set_up = set_up_json(&phone, more);
    let accepted = |mut loss: ForeseenLoss| {
        loss.accepted = Some(LossAccepted {
            by: "Eva".to_owned(),
            at: NOW - Duration::from_hours(50),
            reason: "they are few".to_owned(),
        });
        loss
    };
    let mail = accepted(foreseen("app.mail", AppFate::LostLicence));
    let viewer = accepted(foreseen("app.viewer", AppFate::LostUndecided));
    let of = |forecast: &[ForeseenLoss]| {
        said_with(
            &phone,
            &set_up,
            (&[], forecast, None),
            FailureMode::AppsGone,
        )
        .unwrap()
    };
    let failure = of(&[mail.clone(), viewer.clone()]);
    assert!(!failure.counts, "{failure:#?}");
    assert!(failure.next.starts_with("nothing: "), "{failure:#?}");
    for (said, app) in words(&failure).iter().zip(["app.viewer", "app.mail"]) {
        assert!(
            said.contains("accepted by Eva") && said.contains(app),
            "{said}"
        );
        assert!(said.ends_with("they are few"), "{said}");
    }
    // What nobody accepted is somebody's task, beside the others.
    let failure = of(&[viewer]);
    assert!(failure.counts);
    assert_eq!(failure.owner, Owner::Licence);
    assert_eq!(words(&failure).len(), 2);
    let failure = of(&[mail, foreseen("app.nobody", AppFate::LostUndecided)]);
    assert_eq!(failure.owner, Owner::Destination);
    assert!(failure.next.starts_with("decide on them"), "{failure:#?}");
}

#[test]
fn an_app_that_was_there_and_that_another_step_or_the_proof_misses_is_gone_too() {
    let phone = device();
    let more = json!({ "released": NOW, "exceptions": [
        exception("apps-required: app.there", Owner::Licence),
        exception("apps-required: app.new", Owner::Licence),
        exception("verify: app.TAKEN", Owner::Device),
        exception("verify: com.example.profile", Owner::Device),
        exception("verify: app.late", Owner::Device),
        exception("declare-apps: app.there", Owner::Device),
    ] });
    let mut set_up = set_up_json(&phone, more);
    let mut original = OriginalFacts::new(OrganisationId(1), DeviceId(2));
    let hour = Duration::from_hours(1);
    original.apps = Some(listed(&["app.there", "app.taken", "app.late"], NOW - hour));
    original.reported_apps = Some(listed(&["app.late"], NOW + hour));
    let of = |set_up: &SetUp, original: &OriginalFacts| {
        said_with(
            &phone,
            set_up,
            (&[], &[], Some(original)),
            FailureMode::AppsGone,
        )
    };
    let failure = of(&set_up, &original).unwrap();
    assert_eq!(
        words(&failure),
        [
            "lost, and not forecast: app.there: it did not come",
            "lost, and not forecast: app.TAKEN: it did not come",
        ]
    );
    // What was told of it after it came is no list of what it had.
    original.apps = Some(listed(&["app.there"], NOW + hour));
    assert_eq!(of(&set_up, &original), None);
    // A Mac keeps what nobody manages.
    set_up.platform = Platform::Macos;
    original.apps = Some(listed(&["app.there"], NOW - hour));
    assert_eq!(of(&set_up, &original), None);
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
        device: &device,
        attempt: Some(&attempt),
        set_up: None,
        views: &views,
        original: None,
        held: &[],
        refusals: &[],
        unproved: &[],
        forecast: &[],
        left: None,
        notice: Duration::from_hours(24),
        now: NOW,
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
fn what_a_step_was_told_last_is_shown_while_it_is_tried_again() {
    let phone = device();
    let said = |step: serde_json::Value, id: &str| {
        let more = json!({ "state": { "holding": { "since": NOW, "steps": { id: step } } } });
        let set_up = set_up_json(&phone, more);
        said_of(&phone, &set_up, &[], FailureMode::StepStuck).unwrap()
    };
    let error = json!({ "why": "12064: no licence was found", "owner": "licence" });
    let app = json!({ "status": "running", "since": NOW, "own": { "apps": { "apps": {
        "app.mail": { "tried": true, "again": true, "forgiven": error },
        "app.notes": { "done": true, "forgiven": { "why": "once", "owner": "device" } },
    } } } });
    let (owner, words) = said(app, "apps-keep");
    assert_eq!(owner, Owner::Licence);
    assert!(
        words.contains("the last error: app.mail: 12064: no licence was found"),
        "{words}"
    );
    assert!(!words.contains("once"), "{words}");
    let told = json!({ "attempt": 1, "at": NOW, "open": true, "errors": 1, "error": { "why": "4001: it is invalid", "owner": "destination" } });
    let profile = json!({ "status": "running", "since": NOW, "asked": { "0": told } });
    let (owner, words) = said(profile, "network");
    assert_eq!(owner, Owner::Destination);
    assert!(
        words.contains("1 errors so far") && words.contains("4001: it is invalid"),
        "{words}"
    );
    let lock = json!({ "status": "running", "since": NOW, "tries": 1, "error": { "why": "the lock could not be asked for", "owner": "destination" } });
    assert_eq!(said(lock, "lock").0, Owner::Destination);
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
        device: &device,
        attempt: Some(&attempt),
        set_up: None,
        views: &views(&device, context, NOW),
        original: Some(&original),
        held: &[],
        refusals: &[],
        unproved: &[],
        forecast: &[],
        left: None,
        notice: Duration::from_hours(24),
        now: NOW,
    });
    let text = format!("{all:?}");
    assert!(
        text.contains("a Mac waits for the sign-in of its managed user kim"),
        "{text}"
    );
}
