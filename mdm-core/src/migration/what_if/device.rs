//! What the device itself is: its system, its place in the organisation, who uses it and when it was last heard of.

use std::time::Duration;

use super::{Asked, Check, CheckFinding, FactSource, MemberFacts};
use crate::clock::Timestamp;
use crate::device::{MigrationStatus, OrgReading, Platform};
use crate::migration::Owner;
use crate::original::OriginalEnrolment;

/// The first system that migrates, on every platform.
const FIRST_MAJOR: u32 = 26;
const DAY: Duration = Duration::from_secs(86_400);
/// Apple's limit for a deadline, with room for what lies between asking and sending.
pub(crate) const FURTHEST: Duration = Duration::from_secs(90 * 86_400 - 3600);
/// How long a device that was added by hand can be taken out by whoever has it.
const PROVISIONAL: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn look(facts: &MemberFacts<'_>, now: Timestamp, found: &mut Vec<CheckFinding>) {
    found.push(system(facts));
    found.push(family(facts));
    found.push(member(facts));
    found.push(capable(facts));
    found.extend(provisional(facts, now));
    found.extend(shared(facts));
    found.extend(return_to_service(facts));
    found.push(current(facts));
    found.push(original(facts));
    found.push(pending(facts));
    found.push(in_other_wave(facts));
    found.extend(managed_user(facts, now));
    found.push(contact(facts, now));
    found.push(deadline(facts, now));
    found.push(runbook(facts));
}

pub(super) fn system(facts: &MemberFacts<'_>) -> CheckFinding {
    let own = facts.device.and_then(|d| {
        let version = d.facts.os_version.clone()?;
        Some((version, FactSource::Mdm, d.facts.learned?))
    });
    let told = facts.original.and_then(|o| o.system.as_ref());
    let told = told.map(|t| (t.value.clone(), FactSource::Import, t.at));
    let newest = own.into_iter().chain(told).max_by_key(|(_, _, at)| *at);
    let Some((version, source, at)) = newest else {
        return CheckFinding::unknown(
            Check::OsMinimum,
            "its system is not known",
            "bring in what the original service knows of it",
            Owner::Original,
        );
    };
    let major = version
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    let name = facts.platform.map_or("system", Platform::as_str);
    match major {
        Some(major) if major >= FIRST_MAJOR => {
            CheckFinding::pass(Check::OsMinimum, format!("{name} {version}"))
        }
        Some(_) => CheckFinding::block(
            Check::OsMinimum,
            format!("{name} {version}: only {FIRST_MAJOR} and later can migrate"),
            "have it updated by the original service",
            Owner::Original,
        ),
        None => CheckFinding::unknown(
            Check::OsMinimum,
            format!("{name} {version} is no version that we can read"),
            "bring in what the original service knows of it",
            Owner::Original,
        ),
    }
    .from(source, at)
}

pub(super) fn family(facts: &MemberFacts<'_>) -> CheckFinding {
    let product = facts
        .device
        .and_then(|d| d.reading.as_ref()?.product.clone());
    match (facts.platform, product) {
        (Some(platform), Some(product)) => from_api(
            CheckFinding::pass(
                Check::FamilySupported,
                format!("{}: {product}", platform.as_str()),
            ),
            facts,
        ),
        // What it said itself, or what the assignment service lists.
        (Some(platform), None) => {
            let found = CheckFinding::pass(Check::FamilySupported, platform.as_str());
            let own = facts.device.and_then(|d| d.facts.product.as_deref());
            let record = facts.device.and_then(|d| d.record.as_ref());
            // As Device::platform has it: what it said itself first.
            let listed = record.filter(|record| {
                own.and_then(Platform::of_product).is_none()
                    && Platform::of_family(&record.family).is_some()
            });
            match listed {
                Some(record) => found.from(FactSource::Assignment, record.seen),
                None => found.from(FactSource::Mdm, facts.device.and_then(|d| d.facts.learned)),
            }
        }
        (None, Some(product)) => from_api(
            CheckFinding::block(
                Check::FamilySupported,
                format!("{product} is no iPhone, iPad or Mac"),
                "leave it out: Apple does not migrate it",
                Owner::Apple,
            ),
            facts,
        ),
        (None, None) => CheckFinding::block(
            Check::FamilySupported,
            "its platform is not known",
            "have it read at the organisation API",
            Owner::Destination,
        ),
    }
}

pub(super) fn member(facts: &MemberFacts<'_>) -> CheckFinding {
    let Some(reading) = facts.device.and_then(|d| d.reading.as_ref()) else {
        return CheckFinding::block(
            Check::OrgMember,
            "it was not read at the organisation API",
            "read the organisation's devices: `mdmd inventory pull`",
            Owner::Destination,
        );
    };
    let against =
        |fact: &str, fix: &str, who| CheckFinding::block(Check::OrgMember, fact, fix, who);
    let finding = if reading.unknown {
        against(
            "the organisation does not know its serial number",
            "correct the serial number, or add the device to the organisation",
            Owner::OrganisationAdmin,
        )
    } else if reading.assigned_server.is_some() {
        CheckFinding::pass(
            Check::OrgMember,
            "the organisation has it, a service manages it",
        )
    } else if reading.unplaced.is_some() {
        against(
            "its service is not known: it moved while the lists were read",
            "wait until it was read by itself",
            Owner::Destination,
        )
    } else {
        against(
            "it is assigned to no service: there is nothing to migrate from",
            "assign it to the service that manages it, or enrol it anew",
            Owner::OrganisationAdmin,
        )
    };
    finding.from(FactSource::Api, reading.seen)
}

pub(super) fn capable(facts: &MemberFacts<'_>) -> CheckFinding {
    let reading = facts.device.and_then(|d| d.reading.as_ref());
    let said = reading.and_then(|r| r.capable);
    let finding = match said {
        Some(true) => CheckFinding::pass(Check::Capable, "Apple says that it can migrate"),
        Some(false) if reading.is_some_and(OrgReading::cannot_migrate) => CheckFinding::block(
            Check::Capable,
            "Apple says that it cannot migrate",
            "see its system, how it enrolled, and whether it is shared; it is asked again daily",
            Owner::OrganisationAdmin,
        ),
        // What Apple says lags behind an assignment.
        Some(false) => {
            let times = reading.and_then(|r| r.incapable).map_or(1, |i| i.readings);
            CheckFinding::warn(
                Check::Capable,
                format!("Apple says that it cannot migrate: provisional, after {times} readings"),
                "wait: it counts after three readings over half an hour, which are made by themselves for members of a wave",
                Owner::Apple,
            )
            .binding("provisional")
        }
        // Absent is not false: it can lag behind an assignment.
        None => CheckFinding::unknown(
            Check::Capable,
            "Apple does not say whether it can migrate",
            "read it again later",
            Owner::Apple,
        ),
    };
    match reading {
        Some(reading) => finding.from(FactSource::Api, reading.seen),
        None => finding,
    }
}

pub(super) fn provisional(facts: &MemberFacts<'_>, now: Timestamp) -> Option<CheckFinding> {
    let reading = facts.device?.reading.as_ref()?;
    let Some(by_hand) = reading.added_by_hand else {
        return Some(
            CheckFinding::unknown(
                Check::Provisional,
                "Apple does not say whether it was bought for the organisation or added by hand",
                "see in the portal how it was added: by hand, 30 days must have gone by",
                Owner::OrganisationAdmin,
            )
            .from(FactSource::Api, reading.seen),
        );
    };
    if !by_hand {
        return Some(
            CheckFinding::pass(Check::Provisional, "bought for the organisation")
                .from(FactSource::Api, reading.seen),
        );
    }
    let Some(added) = reading.added else {
        return Some(
            CheckFinding::unknown(
                Check::Provisional,
                "it was added by hand, nobody says when",
                "see in the portal when it was added: 30 days must have gone by",
                Owner::OrganisationAdmin,
            )
            .from(FactSource::Api, reading.seen),
        );
    };
    let until = added + PROVISIONAL;
    let finding = if now < until {
        CheckFinding::block(
            Check::Provisional,
            format!("it was added by hand: whoever has it may take it out until {until}"),
            "wait until then",
            Owner::OrganisationAdmin,
        )
    } else {
        CheckFinding::pass(
            Check::Provisional,
            format!("added by hand, final since {until}"),
        )
    };
    Some(finding.from(FactSource::Api, reading.seen))
}

fn in_other_wave(facts: &MemberFacts<'_>) -> CheckFinding {
    let check = Check::InOtherWave;
    if facts.in_other_wave {
        CheckFinding::block(
            check,
            "it is in an open wave already",
            "take it out of the other wave first",
            Owner::Destination,
        )
    } else {
        CheckFinding::pass(check, "it is in no other open wave")
    }
    .from(FactSource::Operator, None)
}

/// What only an iPad can be is no question of the others; where nobody knows what it is, that stands against it already.
fn of_ipads(check: Check, facts: &MemberFacts<'_>, unknown: &str) -> Option<CheckFinding> {
    let platform = facts.platform?;
    if platform == Platform::Ipados {
        let fix = "bring in what the original service knows of it";
        return Some(CheckFinding::unknown(check, unknown, fix, Owner::Original));
    }
    let fact = format!("a question of iPads: this one has {}", platform.as_str());
    Some(from_api(CheckFinding::pass(check, fact), facts))
}

/// A fact that is what Apple tells of it, as last read.
fn from_api(finding: CheckFinding, facts: &MemberFacts<'_>) -> CheckFinding {
    match facts.device.and_then(|d| d.reading.as_ref()) {
        Some(reading) => finding.from(FactSource::Api, reading.seen),
        None => finding,
    }
}

fn shared(facts: &MemberFacts<'_>) -> Option<CheckFinding> {
    let check = Check::SharedIpad;
    let Some(told) = facts.original.and_then(|o| o.shared.as_ref()) else {
        return of_ipads(check, facts, "nobody has told whether it is shared");
    };
    let finding = match told.value {
        true => CheckFinding::block(
            check,
            "it is a Shared iPad",
            "erase it and enrol it anew: Apple does not migrate it",
            Owner::OrganisationAdmin,
        ),
        false => CheckFinding::pass(check, "not shared"),
    };
    Some(finding.import(told))
}

fn return_to_service(facts: &MemberFacts<'_>) -> Option<CheckFinding> {
    let check = Check::ReturnToService;
    let Some(told) = facts.original.and_then(|o| o.return_to_service.as_ref()) else {
        let unknown = "nobody has told whether it returns to service by itself";
        return of_ipads(check, facts, unknown);
    };
    let finding = match told.value {
        true => CheckFinding::block(
            check,
            "it returns to service by itself",
            "end that at the original service, or erase it",
            Owner::Original,
        ),
        false => CheckFinding::pass(check, "not set up for it"),
    };
    Some(finding.import(told))
}

fn current(facts: &MemberFacts<'_>) -> CheckFinding {
    let Some(told) = facts.original.and_then(|o| o.enrolment.as_ref()) else {
        return CheckFinding::unknown(
            Check::AdeCurrent,
            "nobody has told how it enrolled",
            "bring in what the original service knows of it",
            Owner::Original,
        );
    };
    let mac = facts.platform.is_some_and(Platform::is_mac);
    match &told.value {
        OriginalEnrolment::Automated => {
            CheckFinding::pass(Check::AdeCurrent, "enrolled automatically")
        }
        OriginalEnrolment::Profile if mac => {
            CheckFinding::pass(Check::AdeCurrent, "a Mac, enrolled by a profile")
        }
        OriginalEnrolment::Profile | OriginalEnrolment::Account if !mac => CheckFinding::block(
            Check::AdeCurrent,
            "it was enrolled anew by hand: Apple's service no longer manages it",
            "erase it and let it enrol automatically",
            Owner::OrganisationAdmin,
        ),
        _ => CheckFinding::warn(
            Check::AdeCurrent,
            "it enrolled in a way of which Apple does not say that it migrates",
            "try one of its kind first",
            Owner::OrganisationAdmin,
        ),
    }
    .import(told)
}

fn original(facts: &MemberFacts<'_>) -> CheckFinding {
    let reading = facts.device.and_then(|d| d.reading.as_ref());
    let Some((reading, server)) = reading.and_then(|r| Some((r, r.assigned_server.as_ref()?)))
    else {
        return CheckFinding::unknown(
            Check::OriginalKind,
            "the service that it leaves is not known",
            "read the organisation's devices: `mdmd inventory pull`",
            Owner::Destination,
        );
    };
    let enrolled = facts.device.is_some_and(|d| d.enrollment.is_some());
    let name = facts.services.iter().find(|(id, _)| id == server);
    let here = server == facts.destination;
    let finding = if let Some(what) = facts.other_kinds.get(server) {
        CheckFinding::block(
            Check::OriginalKind,
            format!("it is managed by {what}, which Apple lets no device migrate from"),
            "assign it to a management service first, or erase it and let it enrol automatically",
            Owner::OrganisationAdmin,
        )
    } else if here && facts.asked == Asked::Now {
        CheckFinding::pass(
            Check::OriginalKind,
            match enrolled {
                true => "it has come, as it was submitted",
                false => "it is assigned to the destination, as it was submitted",
            },
        )
    } else if here && enrolled {
        CheckFinding::block(
            Check::OriginalKind,
            "it has come already: it is assigned to the destination and enrolled",
            "leave it out",
            Owner::Destination,
        )
    } else if here && facts.asked == Asked::Before {
        CheckFinding::warn(
            Check::OriginalKind,
            "it is assigned to the destination since it was submitted the last time",
            "see at Apple what came of that; it may be submitted again",
            Owner::OrganisationAdmin,
        )
    } else if here {
        CheckFinding::block(
            Check::OriginalKind,
            "it is ours already: it is assigned to the destination, and has not enrolled here",
            "assign it to the service that manages it, and let Apple show that; or leave it out: erased, it enrols here",
            Owner::OrganisationAdmin,
        )
    } else if facts.ours.contains(server) {
        let name = name.map_or("without a name", |(_, name)| name.as_str());
        CheckFinding::block(
            Check::OriginalKind,
            format!("it is ours already: it is assigned to another server entry of ours, {name}"),
            "leave it out, or assign it to the service that manages it",
            Owner::OrganisationAdmin,
        )
    } else if facts
        .project
        .is_some_and(|p| !p.originals.is_empty() && !p.originals.contains(server))
    {
        CheckFinding::block(
            Check::OriginalKind,
            "it is managed by a service that this project does not leave",
            "leave it out, or name the service in the project",
            Owner::Destination,
        )
    } else if let Some((_, name)) = name {
        CheckFinding::pass(Check::OriginalKind, format!("it leaves {name}"))
    } else {
        CheckFinding::unknown(
            Check::OriginalKind,
            "the service that it leaves is none of those that Apple lists",
            "read the organisation's devices: `mdmd inventory pull`",
            Owner::Destination,
        )
    };
    finding.from(FactSource::Api, reading.seen)
}

pub(super) fn pending(facts: &MemberFacts<'_>) -> CheckFinding {
    let reading = facts.device.and_then(|d| d.reading.as_ref());
    let status = reading.and_then(|r| r.status.as_ref());
    let finding = match status {
        Some(MigrationStatus::Requested | MigrationStatus::Started)
            if facts.asked == Asked::Now =>
        {
            CheckFinding::pass(Check::OtherPending, "only its own migration is pending")
        }
        Some(MigrationStatus::Requested | MigrationStatus::Started) => CheckFinding::block(
            Check::OtherPending,
            "another migration of it is pending",
            "let it end, or have it cancelled where it was begun",
            Owner::OrganisationAdmin,
        ),
        _ if facts.returning => CheckFinding::block(
            Check::OtherPending,
            "a request that returns it to another service is on its way to Apple",
            "wait until it has ended: `mdmd report requests` shows it",
            Owner::Destination,
        ),
        _ => CheckFinding::pass(Check::OtherPending, "no migration of it is pending"),
    };
    match reading {
        Some(reading) => finding.from(FactSource::Api, reading.seen),
        None => finding,
    }
}

/// Facts of the managed user that name nobody.
pub(crate) const NO_USER: &str = "no local user is managed";
/// Nor does this.
pub(crate) const NOBODY_TOLD: &str = "nobody has told which local user is managed";

pub(super) fn managed_user(facts: &MemberFacts<'_>, now: Timestamp) -> Option<CheckFinding> {
    if !facts.platform.is_some_and(Platform::is_mac) {
        return None;
    }
    let Some(told) = facts.original.and_then(|o| o.managed_user.as_ref()) else {
        return Some(CheckFinding::unknown(
            Check::ManagedUser,
            NOBODY_TOLD,
            "bring in what the original service knows of it",
            Owner::Original,
        ));
    };
    let user = &told.value;
    let finding = if user.name.is_empty() {
        CheckFinding::pass(Check::ManagedUser, NO_USER)
    } else {
        match user.last_sign_in {
            Some(last) if facts.deadline.since(last) <= 14 * DAY => CheckFinding::pass(
                Check::ManagedUser,
                format!("{} signed in last at {last}", user.name),
            ),
            // Those two weeks have not begun: that nobody was there in them says nothing yet.
            Some(last) if facts.deadline.since(now) > 14 * DAY && now.since(last) <= 14 * DAY => {
                CheckFinding::pass(
                    Check::ManagedUser,
                    format!(
                        "{} signed in last at {last}; unknown until two weeks before the deadline",
                        user.name
                    ),
                )
            }
            Some(last) => CheckFinding::warn(
                Check::ManagedUser,
                format!(
                    "its migration waits for the sign-in of {}, who was last there at {last}",
                    user.name
                ),
                "ask this person to sign in before the deadline",
                Owner::User,
            )
            .binding(&user.name),
            None => CheckFinding::warn(
                Check::ManagedUser,
                format!(
                    "its migration waits for the sign-in of {}; nobody knows when that was last",
                    user.name
                ),
                "ask this person to sign in before the deadline",
                Owner::User,
            )
            .binding(&user.name),
        }
    };
    Some(finding.import(told))
}

fn contact(facts: &MemberFacts<'_>, now: Timestamp) -> CheckFinding {
    let Some(told) = facts.original.and_then(|o| o.last_seen.as_ref()) else {
        return CheckFinding::unknown(
            Check::ContactRecent,
            "nobody has told when the original service last heard from it",
            "bring in what the original service knows of it",
            Owner::Original,
        );
    };
    let days = now.since(told.value).as_secs() / 86_400;
    let fact = format!("the original service heard from it {days} days ago");
    let fix = "find the device and have it switched on and online";
    match days {
        0..=14 => CheckFinding::pass(Check::ContactRecent, fact),
        15..=60 => CheckFinding::warn(Check::ContactRecent, fact, fix, Owner::User),
        _ => CheckFinding::block(Check::ContactRecent, fact, fix, Owner::User),
    }
    .binding("")
    .import(told)
}

pub(super) fn deadline(facts: &MemberFacts<'_>, now: Timestamp) -> CheckFinding {
    let latest = now + FURTHEST;
    if facts.asked == Asked::Now {
        let fact = format!("it was submitted with {}", facts.deadline);
        return CheckFinding::pass(Check::DeadlineRange, fact).from(FactSource::Operator, None);
    }
    let hours = facts.notice.as_secs() / 3600;
    let against = |fact: String, fix: &str| {
        CheckFinding::block(Check::DeadlineRange, fact, fix, Owner::Destination)
    };
    if facts.deadline <= now {
        against(
            "its deadline has passed".to_owned(),
            "choose a later deadline",
        )
    } else if facts.deadline > latest {
        against(
            format!("its deadline is later than {latest}, the end of Apple's 90 days"),
            "choose an earlier deadline",
        )
        .binding("later than Apple's 90 days")
    } else if facts.available_from > facts.deadline {
        against(
            "it would be offered only after its deadline".to_owned(),
            "have it offered earlier, or choose a later deadline",
        )
    } else if facts.deadline < now.max(facts.available_from) + facts.notice {
        against(
            format!(
                "its user would have less than {hours} hours to choose a moment"
            ),
            "choose a later deadline; one that is submitted is made earlier by force: `mdmd migration force`",
        )
    } else {
        CheckFinding::pass(
            Check::DeadlineRange,
            format!("by {}, with {hours} hours of notice at the least", facts.deadline),
        )
    }
    .from(FactSource::Operator, None)
}

fn runbook(facts: &MemberFacts<'_>) -> CheckFinding {
    let finding = match facts.runbook {
        None => CheckFinding::block(
            Check::RunbookValid,
            match facts.platform {
                Some(platform) => format!("there is no runbook for {}", platform.as_str()),
                None => "there is no runbook for a platform that is not known".to_owned(),
            },
            "give the wave a runbook for this platform",
            Owner::Destination,
        ),
        Some(runbook) => match facts
            .platform
            .map_or_else(|| runbook.validate(), |p| runbook.validate_for(p))
        {
            Ok(()) => CheckFinding::pass(
                Check::RunbookValid,
                format!("revision {}", runbook.revision),
            ),
            Err(error) => CheckFinding::block(
                Check::RunbookValid,
                error.to_string(),
                "correct the runbook",
                Owner::Destination,
            ),
        },
    };
    finding.from(FactSource::Operator, None)
}
