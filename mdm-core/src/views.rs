//! What three sources say of one device, each with its time: the organisation API, the assignment service, and our own
//! enrolment; what contradicts what; and why a device has no ADE profile of ours in force. Pure.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::device::{Device, DeviceRecord, LICENCES_AWAITED, MigrationStatus};
use crate::enrollment::{Enrollment, EnrollmentState};
use crate::ids::{EnrollmentId, Serial};
use crate::migration::{Move, MoveState};
use crate::wave::{Pause, Server, Wave};

/// Two sources are not asked at the same moment: what may be no more than Apple's lag is not called a contradiction.
const LAG: Duration = Duration::from_secs(3600);

/// What everybody says of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Views {
    /// Its serial number.
    pub serial: Serial,
    /// What the organisation API last said.
    pub api: Option<ApiView>,
    /// What the assignment service last said.
    pub assignment: Option<AssignmentView>,
    /// What our own enrolment says.
    pub enrolment: Option<EnrolmentView>,
    /// What contradicts what.
    pub contradictions: Vec<Contradiction>,
    /// Why no ADE profile of ours is in force; `None` when one is.
    pub no_profile: Option<NoProfile>,
}

/// The organisation API's view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ApiView {
    /// When it was read.
    pub seen: Timestamp,
    /// The organisation does not know the serial number.
    pub unknown: bool,
    /// Apple's identifier of the service that has it.
    pub service: Option<String>,
    /// Its name, if it is known.
    pub service_name: Option<String>,
    /// Whether it can migrate; absent is not false.
    pub capable: Option<bool>,
    /// Apple's word on a migration.
    pub migration: Option<MigrationStatus>,
    /// The deadline that Apple has.
    pub deadline: Option<Timestamp>,
}

/// The assignment service's view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AssignmentView {
    /// When the record was last seen.
    pub seen: Timestamp,
    /// The server entry of ours in whose list it stands or stood.
    pub server: String,
    /// It has left that list.
    pub gone: bool,
    /// `empty`, `assigned`, `pushed`, `removed` or what Apple adds.
    pub profile_status: String,
    /// The ADE profile that Apple names.
    pub profile: Option<String>,
    /// The migration deadline in the record.
    pub deadline: Option<Timestamp>,
}

/// Our own enrolment's view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct EnrolmentView {
    /// Which.
    pub id: EnrollmentId,
    /// When the device last spoke in a way that is recorded, or enrolled.
    pub since: Timestamp,
    /// Where it stands.
    pub state: EnrollmentState,
}

/// Two views that cannot both be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Contradiction {
    /// The API says that it is ours; no list of ours shows it.
    AssignedButNotListed,
    /// A list of ours shows it; the API says that another service has it.
    ListedButElsewhere,
    /// A list of ours shows it; the organisation does not know it.
    ListedButUnknown,
    /// The API and the list name different deadlines.
    DeadlinesDiffer,
    /// Our attempt has another deadline than Apple.
    DeadlineNotOurs,
    /// Apple shows a migration to us that no attempt of ours explains.
    UnexpectedMigration,
    /// Our attempt is scheduled; Apple shows no migration.
    MigrationMissing,
    /// Apple says that the migration succeeded; it is not enrolled with us.
    SucceededButNotEnrolled,
    /// It is enrolled with us; Apple says that another service has it.
    EnrolledButElsewhere,
    /// It is enrolled with us; no list of ours shows it, so that it will not come back by itself after an erasure.
    EnrolledButNotListed,
    /// A profile is in force that we did not define, or that does not await configuration.
    ForeignProfile,
}

impl Contradiction {
    /// What it means, in a sentence for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::AssignedButNotListed => {
                "the organisation API assigns it to us, and our device list does not show it: a token of another service, or a list that must be read anew"
            }
            Self::ListedButElsewhere => {
                "our device list shows it, and the organisation API assigns it to another service"
            }
            Self::ListedButUnknown => {
                "our device list shows it, and the organisation does not know it"
            }
            Self::DeadlinesDiffer => {
                "the organisation API and the device list name different deadlines"
            }
            Self::DeadlineNotOurs => {
                "Apple has another deadline than we recorded: somebody moved it elsewhere"
            }
            Self::UnexpectedMigration => {
                "Apple shows a migration to us that nobody here has asked for"
            }
            Self::MigrationMissing => "we scheduled a migration, and Apple shows none",
            Self::SucceededButNotEnrolled => {
                "Apple says that the migration succeeded, and the device is not enrolled with us"
            }
            Self::EnrolledButElsewhere => {
                "it is enrolled with us, and the organisation API assigns it to another service"
            }
            Self::EnrolledButNotListed => {
                "it is enrolled with us, and our device list does not show it: after an erasure it will not come back by itself"
            }
            Self::ForeignProfile => {
                "an enrolment profile is in force that is not ours: the device would enrol elsewhere or not wait for us"
            }
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// Why a device has no ADE profile of ours in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", tag = "reason")]
#[non_exhaustive]
pub enum NoProfile {
    /// No list of ours shows it.
    NotListed,
    /// Its wave has not offered it the migration yet.
    NotOffered,
    /// The offers of its wave are paused.
    Paused {
        /// Why, as whoever paused them said.
        why: String,
        /// Who, or which rule.
        by: String,
        /// Since when.
        since: Timestamp,
    },
    /// Others of its group are on their way, and as many as may be.
    GroupFull {
        /// Which, in a sentence.
        why: String,
    },
    /// Licences of its apps are on their way: without them it would lose what it keeps.
    LicencesAwaited,
    /// Its deadline has come so near that its user would have less notice than is owed: it is not offered any more.
    TooLate {
        /// How near, in a sentence.
        why: String,
    },
    /// It is offered from a later moment on.
    NotYet {
        /// From when.
        from: Timestamp,
    },
    /// No profile is defined at the server entry, or not the one that its wave wants.
    NotDefined {
        /// Why a person is needed, if so.
        needs_person: Option<String>,
    },
    /// Apple throttles assignments of this device.
    Throttled {
        /// Not before.
        until: Timestamp,
    },
    /// Apple says that it is not in our list.
    NotAccessible {
        /// Tried again then.
        until: Option<Timestamp>,
    },
    /// Apple refused it for the moment.
    Failed {
        /// Apple's word.
        word: String,
        /// How often it was tried.
        tries: u32,
        /// Tried again then.
        until: Option<Timestamp>,
    },
    /// Asked for; the answer or its effect is not there yet.
    Asked {
        /// Since when.
        since: Timestamp,
    },
    /// The next round assigns it.
    Due,
    /// Nobody can go on at the server entry.
    NeedsPerson {
        /// What to do.
        what: String,
    },
}

impl fmt::Display for NoProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed => f.write_str("no device list of ours shows it"),
            Self::NotOffered => {
                f.write_str("its migration is not scheduled yet, so it is not offered")
            }
            Self::Paused { why, by, since } => {
                write!(
                    f,
                    "the offers of its wave are paused since {since}, by {by}: {why}"
                )
            }
            Self::LicencesAwaited => write!(f, "it waits: {LICENCES_AWAITED}"),
            Self::GroupFull { why } => write!(f, "it waits for its group: {why}"),
            Self::TooLate { why } => f.write_str(why),
            Self::NotYet { from } => write!(f, "it is offered from {from} on"),
            Self::NotDefined {
                needs_person: Some(what),
            } => {
                write!(f, "no profile that awaits configuration is defined: {what}")
            }
            Self::NotDefined { needs_person: None } => {
                f.write_str("no profile that awaits configuration is defined yet")
            }
            Self::Throttled { until } => {
                write!(
                    f,
                    "Apple throttles assignments of this device until {until}"
                )
            }
            Self::NotAccessible { .. } => {
                f.write_str("Apple says that it is not assigned to us (NOT_ACCESSIBLE)")
            }
            Self::Failed { word, tries, until } => {
                write!(f, "Apple answered {word} ({tries} tries)")?;
                match until {
                    Some(until) => write!(f, "; tried again {until}"),
                    None => Ok(()),
                }
            }
            Self::Asked { since } => write!(f, "asked for {since}, and not in force yet"),
            Self::Due => f.write_str("the next round assigns it"),
            Self::NeedsPerson { what } => f.write_str(what),
        }
    }
}

/// What is known beside the device itself.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct Context<'a> {
    /// Our server entries.
    pub servers: &'a [Server],
    /// The organisation's services: Apple's identifier and name.
    pub services: &'a [(String, String)],
    /// Its newest enrolment with us.
    pub enrolment: Option<&'a Enrollment>,
    /// Its unfinished attempt.
    pub attempt: Option<&'a Move>,
    /// The attempt's wave.
    pub wave: Option<&'a Wave>,
}

/// Sets the three views side by side.
#[must_use]
pub fn views(device: &Device, context: Context<'_>, now: Timestamp) -> Views {
    let api = device.reading.as_ref().map(|r| ApiView {
        seen: r.seen,
        unknown: r.unknown,
        service: r.assigned_server.clone(),
        service_name: r.assigned_server.as_ref().and_then(|id| {
            let named = context.services.iter().find(|(service, _)| service == id);
            named.map(|(_, name)| name.clone())
        }),
        capable: r.capable,
        migration: r.status.clone(),
        deadline: r.deadline,
    });
    let assignment = device.record.as_ref().map(|r| AssignmentView {
        seen: r.seen,
        server: context
            .servers
            .iter()
            .find(|s| s.id == r.server)
            .map_or_else(|| r.server.to_string(), |s| s.name.clone()),
        gone: r.gone,
        profile_status: r.profile_status.clone(),
        profile: r.profile_uuid.clone(),
        deadline: r.deadline,
    });
    let enrolment = context.enrolment.map(|e| EnrolmentView {
        id: e.id,
        since: device
            .facts
            .learned
            .map_or(e.authenticated, |at| at.max(e.authenticated)),
        state: e.state,
    });
    Views {
        serial: device.serial.clone(),
        contradictions: contradictions(device, context, now),
        no_profile: why_no_profile(device, context, now),
        api,
        assignment,
        enrolment,
    }
}

/// What contradicts what, in the order of the list. A view that is missing contradicts nothing.
#[must_use]
pub fn contradictions(device: &Device, context: Context<'_>, now: Timestamp) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let reading = device.reading.as_ref();
    let record = device.record.as_ref();
    let listed = record.filter(|r| !r.gone);
    let ours = |id: &str| context.servers.iter().any(|s| s.uuid == id);
    let settled = |at: Timestamp| now.since(at) >= LAG;
    // A list says something of absence only after it was read to its end.
    let lists_read = !context.servers.is_empty()
        && context.servers.iter().all(|s| {
            let after = reading.is_some_and(|r| s.synced >= Some(r.seen));
            s.last_full.is_some() && after
        });
    let enrolled = context
        .enrolment
        .filter(|e| e.state == EnrollmentState::Enrolled);
    if let Some(reading) = reading {
        let service = reading.assigned_server.as_deref();
        let elsewhere = !reading.unknown && service.is_some_and(|id| !ours(id));
        if service.is_some_and(ours) && listed.is_none() && lists_read {
            found.push(Contradiction::AssignedButNotListed);
        }
        if let Some(record) = listed {
            // The API was asked after the list showed it (an older answer may be from before it came to us), or both have
            // had time to agree.
            let comparable = reading.seen >= record.seen || settled(record.seen);
            // Of what was called back or taken elsewhere a moment ago the list knows nothing before it is read again.
            let list_since = context
                .servers
                .iter()
                .any(|s| s.id == record.server && s.synced >= Some(reading.seen));
            if elsewhere && comparable && (list_since || settled(reading.seen)) {
                found.push(Contradiction::ListedButElsewhere);
            }
            if reading.unknown && comparable {
                found.push(Contradiction::ListedButUnknown);
            }
            let pending = reading.status == Some(MigrationStatus::Requested);
            if pending
                && let (Some(a), Some(b)) = (reading.deadline, record.deadline)
                && a.as_secs() != b.as_secs()
                && settled(reading.seen.max(record.seen))
            {
                found.push(Contradiction::DeadlinesDiffer);
            }
        }
        found.extend(against_attempt(device, context, now));
        if reading.status == Some(MigrationStatus::Success)
            && service.is_some_and(ours)
            && enrolled.is_none()
            && settled(reading.seen)
        {
            found.push(Contradiction::SucceededButNotEnrolled);
        }
        if enrolled.is_some_and(|e| reading.seen >= e.authenticated) && elsewhere {
            found.push(Contradiction::EnrolledButElsewhere);
        }
    }
    if enrolled.is_some() && record.is_some_and(|r| r.gone) {
        found.push(Contradiction::EnrolledButNotListed);
    }
    if let Some(record) = listed
        && is_foreign(record, context.servers)
    {
        found.push(Contradiction::ForeignProfile);
    }
    found.sort_unstable();
    found
}

/// What our attempt says against what the API says.
fn against_attempt(device: &Device, context: Context<'_>, now: Timestamp) -> Option<Contradiction> {
    let reading = device.reading.as_ref()?;
    let pending = reading.status == Some(MigrationStatus::Requested);
    let to_us = reading
        .assigned_server
        .as_deref()
        .is_some_and(|id| context.servers.iter().any(|s| s.uuid == id));
    match context.attempt.map(|a| (&a.state, a.deadline)) {
        None => {
            let known = reading.deadline.is_some_and(|d| device.has_completed(d));
            (pending && to_us && !known).then_some(Contradiction::UnexpectedMigration)
        }
        Some((
            MoveState::Scheduled { since, .. }
            | MoveState::Offered { since }
            | MoveState::Overdue { since },
            deadline,
        )) if reading.seen >= *since + LAG || now.since(*since) >= LAG => {
            let same = reading
                .deadline
                .is_some_and(|d| d.as_secs() == deadline.as_secs());
            match (&reading.status, same) {
                (Some(MigrationStatus::Requested), false) => Some(Contradiction::DeadlineNotOurs),
                (None, _) if reading.seen > *since => Some(Contradiction::MigrationMissing),
                _ => None,
            }
        }
        // Before or after that nothing is expected, or much is possible.
        Some(_) => None,
    }
}

fn is_foreign(record: &DeviceRecord, servers: &[Server]) -> bool {
    let server = servers.iter().find(|s| s.id == record.server);
    match (record.profile_in_force(), server) {
        (Some(uuid), Some(server)) => !server.awaits(uuid),
        _ => false,
    }
}

/// Why no ADE profile of ours is in force; `None` when the wanted one is.
#[must_use]
pub fn why_no_profile(device: &Device, context: Context<'_>, now: Timestamp) -> Option<NoProfile> {
    let Some(record) = device.record.as_ref().filter(|r| !r.gone) else {
        return Some(NoProfile::NotListed);
    };
    let assignment = &device.assignment;
    let server = context.servers.iter().find(|s| s.id == record.server);
    let wanted = assignment.wanted.as_deref();
    if wanted.is_some() && record.profile_in_force() == wanted {
        return None;
    }
    if let Some(pause) = paused(device, context) {
        return Some(NoProfile::Paused {
            why: pause.why.clone(),
            by: pause.by.clone(),
            since: pause.at,
        });
    }
    if wanted.is_none() {
        let needs_person = server.and_then(|s| s.needs().map(str::to_owned));
        let resumed = context.wave.and_then(|wave| wave.resumed.as_ref());
        return Some(match (context.attempt, assignment.from) {
            (Some(_), None) => NoProfile::NotOffered,
            (Some(_), Some(from)) if from > now => NoProfile::NotYet { from },
            // Its wave goes on, and the devices are gone through again.
            (Some(_), Some(_))
                if needs_person.is_none() && resumed.is_some_and(|r| now.since(r.at) < LAG) =>
            {
                NoProfile::Due
            }
            _ => NoProfile::NotDefined { needs_person },
        });
    }
    if let Some(from) = assignment.from.filter(|from| *from > now) {
        return Some(NoProfile::NotYet { from });
    }
    if let Some(what) = server.and_then(|s| s.needs().map(str::to_owned)) {
        return Some(NoProfile::NeedsPerson { what });
    }
    if assignment.waits.as_deref() == Some(LICENCES_AWAITED) {
        return Some(NoProfile::LicencesAwaited);
    }
    match (&assignment.waits, &assignment.too_late) {
        (Some(why), None) => return Some(NoProfile::GroupFull { why: why.clone() }),
        (Some(why), Some(late)) => {
            let why = format!("{why}; {late}");
            return Some(NoProfile::GroupFull { why });
        }
        (None, Some(why)) => return Some(NoProfile::TooLate { why: why.clone() }),
        (None, None) => {}
    }
    let until = assignment.not_before.filter(|at| *at > now);
    Some(match (assignment.last_refusal.as_deref(), until) {
        (Some("THROTTLED"), Some(until)) => NoProfile::Throttled { until },
        (Some("NOT_ACCESSIBLE"), until) => NoProfile::NotAccessible { until },
        (Some(word), until) => NoProfile::Failed {
            word: word.to_owned(),
            tries: assignment.tries,
            until,
        },
        (None, Some(_)) => NoProfile::Asked {
            since: assignment.asked.unwrap_or(record.seen),
        },
        (None, None) => NoProfile::Due,
    })
}

/// What keeps a device from being offered its migration where somebody, or a rule, has paused the offers of its wave. One that was
/// offered it goes on.
fn paused<'a>(device: &Device, context: Context<'a>) -> Option<&'a Pause> {
    let pause = context.wave?.paused.as_ref()?;
    device.assignment.from?;
    let waits = match context.attempt?.state {
        MoveState::Scheduled { .. } => true,
        // Its deadline came while it waited.
        MoveState::Overdue { .. } => device.assignment.wanted.is_none(),
        _ => false,
    };
    waits.then_some(pause)
}

#[cfg(test)]
mod tests;
