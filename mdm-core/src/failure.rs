//! What can go wrong with a migration, by name: detected from what is known, with its owner, how sure that is, the evidence and what to
//! do next. Pure; does nothing about it: what is done by itself is done elsewhere, and said here.

use std::time::Duration;

use serde::Serialize;

use crate::audit::Refusal;
use crate::clock::Timestamp;
use crate::device::{Device, Platform};
use crate::migration::what_if::FURTHEST;
use crate::migration::{
    Attention, Exception, Move, MoveState, Outcome, Owner, SetUp, SetUpState, StepId, StepStatus,
    Verdict, VerdictKind,
};
use crate::original::OriginalFacts;
use crate::secret::SecretKind;
use crate::views::{Contradiction, Views};

/// A request to Apple whose effect is not seen after this is called one without effect.
const EFFECT: Duration = Duration::from_mins(30);
/// Scheduled and still not visible in the assignment list, or not offered, after this.
const VISIBLE: Duration = Duration::from_mins(60);

/// The ways in which a migration goes wrong, in the order in which devices meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
#[expect(clippy::exhaustive_structs, reason = "a sentence and its age")]
pub struct Evidence {
    /// What was seen.
    pub what: String,
    /// When; `None` where it was always so.
    pub at: Option<Timestamp>,
}

/// Something that goes wrong with a device, a wave or the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
        }
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
    /// Apps that it was forecast to lose with their data.
    pub forecast: &'a [String],
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

fn before_it_moves(known: &Known<'_>, attempt: &Move, found: &mut Vec<Failure>) {
    let Known { device, now, .. } = *known;
    let reading = device.reading.as_ref();
    let planned = matches!(
        attempt.state,
        MoveState::Planned | MoveState::Blocked { .. } | MoveState::Ready
    );
    if let Some(reading) = reading.filter(|r| r.capable == Some(false))
        && !attempt.is_ended()
        && (planned || matches!(attempt.state, MoveState::SubmitFailed { .. }))
    {
        let next = "nothing is submitted for it, and Apple is asked again daily; the what-if says what is in the way: a system before 26, \
                    no Automated Device Enrolment, thirty provisional days, Shared iPad, Return to Service, or a released device";
        let failure = Failure::new(
            FailureMode::NotCapable,
            Owner::OrganisationAdmin,
            Confidence::Certain,
            next,
        );
        let mut failure = failure.seen("isMdmMigrationCapable is false", reading.seen);
        if let MoveState::Blocked { blockers } = &attempt.state {
            for blocker in blockers {
                failure = failure.seen(blocker.clone(), None);
            }
        }
        found.push(failure);
    }
    let latest = now + FURTHEST;
    if planned && (attempt.deadline <= now || attempt.deadline > latest) {
        let next = format!(
            "give it a deadline after {now} and until {latest} (`mdmd wave plan`); nothing is sent with this one"
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
        MoveState::SubmitFailed { since, why } => Some((*since, why.clone())),
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
        let next = "it is read again by itself; look whether the serial number and the service are right in the portal, then submit its wave again";
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
    } else if let Some(why) = known.views.no_profile.as_ref().filter(|_| waits) {
        let next = "it is assigned again by itself as soon as Apple takes it; nobody is asked on the device until then";
        let seen = known.views.assignment.as_ref();
        let mut failure = Failure::new(
            FailureMode::ProfileNotInForce,
            Owner::Apple,
            Confidence::Likely,
            next,
        )
        .seen(why.to_string(), None);
        if let Some(view) = seen {
            let status = format!("the profile's status is {}", view.profile_status);
            failure = failure.seen(status, view.seen);
        }
        found.push(failure);
    }
}

/// The three views side by side.
fn not_listed(known: &Known<'_>) -> Failure {
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

fn between(known: &Known<'_>, attempt: &Move, found: &mut Vec<Failure>) {
    let Known { device, now, .. } = *known;
    if let MoveState::Overdue { since } = attempt.state {
        let mut failure = Failure::new(
            FailureMode::PastDeadline,
            Owner::User,
            Confidence::Possible,
            "nothing is done blindly: have the device switched on and online, extend its deadline (`mdmd wave extend`), or give it up",
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
    let refused: Vec<&Refusal> = refused.take(5).collect();
    if let Some(since) = begun.filter(|_| attempt.attention.is_some() || !refused.is_empty()) {
        found.push(enrolment_fails(since, &refused));
    } else if stalled && let Some(set_up) = known.set_up {
        found.push(enrolment_fails(set_up.began, &refused));
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
            "have the access control of the organisation grant a grace period until it is released (the webhooks `started` and `released`){more}"
        );
        let minutes = now.since(since).as_secs() / 60;
        found.push(
            Failure::new(
                FailureMode::AccessGap,
                Owner::OrganisationAdmin,
                Confidence::Possible,
                &next,
            )
            .seen(format!("it left the original {minutes} minutes ago"), since),
        );
    }
}

fn enrolment_fails(since: Timestamp, refused: &[&Refusal]) -> Failure {
    let (owner, confidence, next) = if refused.is_empty() {
        (
            Owner::Network,
            Confidence::Possible,
            "nothing of it reached us: look at the way there (port, proxy, certificate chain, the device's clock) with `mdmd doctor --probe`",
        )
    } else {
        (
            Owner::Destination,
            Confidence::Likely,
            "it reached us and was refused: mend what the refusals name; the enrolment address stays as it is, and the device tries again",
        )
    };
    let mut failure = Failure::new(FailureMode::EnrolmentFails, owner, confidence, next)
        .seen("it has begun, and has not enrolled", since);
    for refusal in refused {
        let said = format!(
            "refused at {} from {}: {}",
            refusal.door, refusal.address, refusal.reason
        );
        failure = failure.seen(said, refusal.at);
    }
    failure
}

fn in_the_hold(set_up: &SetUp, now: Timestamp, found: &mut Vec<Failure>) {
    let migrates = |verdict: &Verdict| verdict.kind == VerdictKind::Migration;
    let no_hold = set_up.exceptions.iter().find(|e| e.what == "hold");
    if set_up.attention == Some(Attention::NotAwaiting)
        || no_hold.is_some() && migrates(&set_up.verdict)
    {
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
            let trouble = step.trouble();
            if step.status != StepStatus::Running || !(long || trouble.is_some()) {
                continue;
            }
            let next = match set_up.ceiling_at {
                Some(at) => format!(
                    "it goes on by its policy, and the device is let go at {at} at the latest; `mdmd device retry-step {} {id}` begins it anew",
                    serial(set_up)
                ),
                None => "it goes on by its policy".to_owned(),
            };
            let owner = if *id == StepId::Lock {
                Owner::Apple
            } else {
                Owner::Device
            };
            let mut failure =
                Failure::new(FailureMode::StepStuck, owner, Confidence::Likely, &next)
                    .seen(format!("step {id} is under way"), step.since);
            if let Some(trouble) = trouble {
                failure = failure.seen(trouble, None);
            }
            let left = step.deadline.or(set_up.ceiling_at);
            if let Some(left) = left {
                let minutes = left.since(now).as_secs() / 60;
                failure = failure.seen(format!("{minutes} minutes are left"), None);
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
                format!("let go with {tries} commands, none confirmed"),
                since,
            )
            .seen(format!("held for {held} minutes"), set_up.hold_began)
            .seen("it spoke last", set_up.heard),
        );
    }
}

fn serial(set_up: &SetUp) -> &str {
    set_up.serial.as_ref().map_or("SERIAL", |s| s.as_str())
}

/// The app that an exception is about.
fn app_of(exception: &Exception) -> Option<&str> {
    let (step, app) = exception.what.split_once(": ")?;
    let of_apps = ["apps-keep", "apps-required", "apps", "verify"].contains(&step);
    (of_apps && app != "recovery key").then_some(app)
}

fn after_it(known: &Known<'_>, set_up: &SetUp, found: &mut Vec<Failure>) {
    let phone = !set_up.platform.is_mac();
    let gone: Vec<&Exception> = set_up
        .exceptions
        .iter()
        .filter(|e| e.what.starts_with("apps-keep"))
        .collect();
    let forecast = if set_up.released.is_some() && phone {
        known.forecast
    } else {
        &[]
    };
    if phone && (!gone.is_empty() || !forecast.is_empty()) {
        let owner = gone.first().map_or(Owner::Licence, |e| e.owner);
        let mut failure = Failure::new(
            FailureMode::AppsGone,
            owner,
            Confidence::Certain,
            "install them again, with a licence for the device: their data does not come back",
        );
        for app in forecast {
            failure = failure.seen(format!("forecast as lost: {app}"), None);
        }
        for exception in gone {
            let name = app_of(exception).unwrap_or("its apps");
            let said = match forecast.iter().any(|app| app == name) {
                true => format!("lost, as forecast: {name}"),
                false => format!("lost, and not forecast: {name}: {}", exception.why),
            };
            failure = failure.seen(said, exception.at);
        }
        found.push(failure);
    }
    let key = set_up
        .exceptions
        .iter()
        .find(|e| e.what == "fv-escrow" || e.what == "verify: recovery key");
    if let Some(exception) = key {
        let next = "it is tried again once the Mac brings its bootstrap token, with the next sign-in; an old key stays valid until then";
        let mut failure = Failure::new(
            FailureMode::NoNewKey,
            exception.owner,
            Confidence::Likely,
            next,
        )
        .seen(exception.why.clone(), exception.at);
        let has = |kind: SecretKind| known.held.iter().find(|(k, _)| *k == kind);
        failure = match has(SecretKind::RecoveryKey) {
            Some((_, at)) => failure.seen("an older recovery key is held, and is still valid", *at),
            None => failure.seen("no recovery key is held", None),
        };
        failure = match has(SecretKind::BootstrapToken) {
            Some((_, at)) => failure.seen("the bootstrap token is held", *at),
            None => failure.seen("the Mac has brought no bootstrap token", None),
        };
        found.push(failure);
    }
    let lock = set_up.steps().and_then(|steps| steps.get(&StepId::Lock));
    let doubt = match lock.map(|step| (&step.status, step.since)) {
        Some((StepStatus::Excepted { why }, at)) => Some((why.clone(), at)),
        Some((StepStatus::Skipped { why }, at)) if why.starts_with("asked") => {
            Some((why.clone(), at))
        }
        _ => set_up
            .exceptions
            .iter()
            .find(|e| e.what == "lock")
            .map(|e| (e.why.clone(), e.at)),
    };
    if let Some((why, at)) = doubt {
        let next = "what Apple answered is on record and nothing is guessed; once it is released its lock is read at Apple and shown; \
                    where a person's own lock is on it, that person takes it off";
        let reading = known.device.reading.as_ref();
        let read = reading.and_then(|r| Some((r.lock.as_deref()?, r.seen)));
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

fn at_the_end(known: &Known<'_>, attempt: &Move, found: &mut Vec<Failure>) {
    let said = attempt.exceptions.iter().find(|e| e.what == "apple");
    if let (MoveState::Ended(Outcome::Failed), Some(said)) = (&attempt.state, said) {
        let next = "Apple has removed earlier locks and put one on it that only an administrator of the organisation lifts: at the device with the \
                    name and password of a Managed Apple Account that may manage devices, or in the portal (Devices, this serial number, Turn Off Activation Lock)";
        found.push(
            Failure::new(
                FailureMode::AppleFailed,
                Owner::OrganisationAdmin,
                Confidence::Certain,
                next,
            )
            .seen(said.why.clone(), said.at),
        );
    }
    let moved = matches!(
        attempt.state,
        MoveState::Ended(Outcome::Migrated | Outcome::MigratedWithExceptions)
    );
    if moved {
        let next = "look for it in the list of the original service and remove it there: it may never have heard that the device left";
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
                    attempt.original_server.as_deref().unwrap_or("that it had")
                ),
                attempt.ended,
            ),
        );
    }
}

fn from_outside(known: &Known<'_>, found: &mut Vec<Failure>) {
    let views = known.views;
    let has = |contradiction| views.contradictions.contains(&contradiction);
    if has(Contradiction::UnexpectedMigration) {
        let next = "nothing is done by itself: put it into a wave if it is meant, or cancel it in the portal";
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

fn word(status: Option<&crate::device::MigrationStatus>) -> String {
    status.map_or_else(|| "none".to_owned(), |status| format!("{status:?}"))
}

fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "no deadline".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::OrgReading;
    use crate::ids::{DeviceId, MoveId, OrganisationId, RunbookId, Serial, WaveId};
    use crate::views::{Context, views};

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
            forecast: &[],
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
        let mut late = attempt(MoveState::Planned);
        late.deadline = NOW + Duration::from_hours(24 * 91);
        let failure = one(&device(), &late, FailureMode::DeadlineRejected);
        assert!(failure.next.contains("until 2027-03"), "{failure:#?}");
        let why = "INVALID_SERIAL".to_owned();
        let failed = attempt(MoveState::SubmitFailed { since: NOW, why });
        let failure = one(&device(), &failed, FailureMode::NoEffect);
        assert_eq!(failure.evidence[0].what, "INVALID_SERIAL");
        let overdue = attempt(MoveState::Overdue { since: NOW });
        let failure = one(&device(), &overdue, FailureMode::PastDeadline);
        assert_eq!(failure.owner, Owner::User);
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
    }
}
