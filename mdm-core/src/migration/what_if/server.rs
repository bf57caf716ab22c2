//! What holds for all members: certificates and tokens that must outlast the last deadline, the ADE profile, Apple's budget.

use std::collections::BTreeSet;
use std::time::Duration;

use super::project::{InGap, ProjectFacts, look_at_all};
use super::{Check, CheckFinding, FactSource, ForNobody, for_whom};
use crate::checklist::Outside;
use crate::clock::Timestamp;
use crate::counted::counted;
use crate::ids::Serial;
use crate::licences::{LicenceNeed, TakenOver};
use crate::migration::Owner;

/// How long after the last deadline everything must last.
const AFTERWARDS: Duration = Duration::from_secs(30 * 86_400);
/// How long licences of a location that has changed hands work where the service before gave them.
const LICENCES_LAST: Duration = Duration::from_secs(30 * 86_400);
/// So long after it a move is taken for the one with which a location has changed hands.
const ONE_MOVE: Duration = Duration::from_secs(365 * 86_400);

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an argument with names")]
pub struct Expiry {
    /// Which check it belongs to.
    pub check: Check,
    /// What it is, as people know it.
    pub name: String,
    /// When it ends.
    pub ends: Ends,
    /// Where that comes from.
    pub source: FactSource,
    /// When it was true.
    pub at: Option<Timestamp>,
}

/// When something ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "all there is to know of an end")]
pub enum Ends {
    /// Then.
    At(Timestamp),
    /// It is not there.
    Missing,
    /// Nobody here can know, and why.
    Unsaid(String),
    /// It may last, and does not work: who refuses it, in a sentence.
    Refused(String),
}

/// What is known of the server and of Apple's services when a wave is looked at.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerFacts {
    /// Whether the ADE profile that members get was read back as one that makes them wait; none before one was defined.
    pub awaits: Option<bool>,
    /// What must outlast the last deadline.
    pub expiries: Vec<Expiry>,
    /// Locations of Apps and Books that another service has claimed, and when Apple said so.
    pub shared: Vec<(String, Option<Timestamp>)>,
    /// Locations that were another service's, and since when they are ours.
    pub taken_over: Vec<(String, TakenOver)>,
    /// How many locations are known, and when Apple was first asked of the one that was asked longest ago whose it is.
    pub locations: (usize, Option<Timestamp>),
    /// When the licences of those that give were read; none where one was never read.
    pub stock_read: Option<Timestamp>,
    /// How many members are looked at.
    pub members: usize,
    /// Steps of their runbooks that are for some devices only, and for none of them.
    pub for_nobody: Vec<ForNobody>,
    /// Serial numbers that are there more than once.
    pub twice: BTreeSet<Serial>,
    /// When the ADE profile was read back, or defined.
    pub awaits_at: Option<Timestamp>,
    /// What the host has seen of its doors from outside; none before it has looked.
    pub outside: Option<Outside>,
    /// The version of the assignment service's protocol that is sent; none where the host did not say.
    pub protocol: Option<u32>,
    /// What the members need of licences; none where no location is known.
    pub needs: Option<Vec<LicenceNeed>>,
    /// How many requests change something at Apple.
    pub requests: u32,
    /// How many others wait to be sent before them.
    pub waiting: u32,
    /// How many left within the last hour.
    pub used: u32,
    /// How many of them leave in an hour.
    pub per_hour: u32,
    /// How many devices of the members' groups would be in the gap at once; none where no open project limits that.
    pub in_gap: Option<InGap>,
    /// The project of the wave, where it is part of one.
    pub project: Option<ProjectFacts>,
}

/// Everything that can be said of the server, for members whose deadlines lie between these two.
#[must_use]
pub fn look_at_server(
    facts: &ServerFacts,
    (first, last): (Timestamp, Timestamp),
    now: Timestamp,
) -> Vec<CheckFinding> {
    let mut found = vec![awaits(facts)];
    for expiry in &facts.expiries {
        found.push(lasts(expiry, last, now));
    }
    found.extend(shared(facts, now));
    found.push(unique(facts));
    found.extend(facts.for_nobody.iter().map(for_whom::look));
    match &facts.needs {
        Some(needs) => {
            found.extend(needs.iter().map(|need| licences(need, facts.stock_read)));
            if needs.is_empty() {
                let fact = "no runbook has an app that takes a licence";
                let none = CheckFinding::pass(Check::AppsLicences, fact);
                found.push(none.from(FactSource::Operator, now));
            }
        }
        None => found.push(CheckFinding::unknown(
            Check::AppsLicences,
            "no location of Apps and Books is known: whether there are licences is known elsewhere, if at all",
            "bring in a content token: `mdmd licences token`",
            Owner::Licence,
        )),
    }
    found.extend(doors(facts, last, now));
    found.push(protocol(facts.protocol));
    found.push(licences_end(facts, last, now));
    found.push(budget(facts, first, now));
    look_at_all(facts, &mut found, now);
    found.sort_by_key(|f| f.check);
    found
}

/// What can be said of the server for devices that return: whether their requests leave in time, and how many of them would be in a
/// hold at once, `most`, of so many that may be; none where no project of theirs says how many.
#[must_use]
pub fn look_at_returns(
    facts: &ServerFacts,
    most: (u32, Option<u32>),
    first: Timestamp,
    now: Timestamp,
) -> Vec<CheckFinding> {
    let check = Check::Capacity;
    let capacity = match most {
        (most, Some(may)) if most > may => CheckFinding::block(
            check,
            format!("{most} devices would be in a hold at once, {may} may be"),
            "let fewer return at a time, or with other deadlines",
            Owner::Destination,
        ),
        (most, Some(may)) => {
            let fact = format!("at most {most} devices in a hold at once; {may} may be");
            CheckFinding::pass(check, fact)
        }
        (most, None) => CheckFinding::unknown(
            check,
            format!(
                "{most} devices in a hold at once, and no project of theirs says how many may be"
            ),
            "see that the other service can take as many at once",
            Owner::Original,
        ),
    };
    vec![
        capacity.from(FactSource::Operator, None),
        budget(facts, first, now),
    ]
}

fn awaits(facts: &ServerFacts) -> CheckFinding {
    match facts.awaits {
        Some(true) => CheckFinding::pass(Check::Await, "read back from Apple: devices wait for us"),
        Some(false) => CheckFinding::block(
            Check::Await,
            "the ADE profile at Apple does not make devices wait: everything that the hold would save is lost",
            "have it defined anew: `mdmd assignment ade-profile`",
            Owner::Destination,
        ),
        None => CheckFinding::unknown(
            Check::Await,
            "no ADE profile was defined and read back yet",
            "see `mdmd assignment ade-profile`",
            Owner::Destination,
        ),
    }
    .from(FactSource::Assignment, facts.awaits_at)
}

/// Whether another service gives out licences of the same location, or may still.
fn shared(facts: &ServerFacts, now: Timestamp) -> Vec<CheckFinding> {
    let check = Check::ContentTokenShared;
    let claimed = |(location, read): &(String, Option<Timestamp>)| {
        CheckFinding::warn(
            check,
            format!("another service has claimed the location {location}"),
            "move the licences into a location of their own, or take this one over at a date",
            Owner::Licence,
        )
        .from(FactSource::Api, *read)
    };
    let lately = |(_, taken): &&(String, TakenOver)| now < taken.at + LICENCES_LAST;
    let taken = |(location, taken): &(String, TakenOver)| {
        let TakenOver { from, at } = taken;
        CheckFinding::warn(
            check,
            format!("the location {location} was taken over at {at} from {from}, which may still hold its content token and take licences back"),
            "take the content token out of that service, and see that it takes no licence back from devices that leave it",
            Owner::Licence,
        )
        .from(FactSource::Api, *at)
    };
    let lately = facts.taken_over.iter().filter(lately).map(taken);
    let found: Vec<CheckFinding> = facts.shared.iter().map(claimed).chain(lately).collect();
    if !found.is_empty() {
        return found;
    }
    let (known, read) = facts.locations;
    let none = match known {
        0 => CheckFinding::pass(check, "no location of Apps and Books is known here")
            .from(FactSource::Operator, now),
        _ => CheckFinding::pass(
            check,
            format!("no other service has claimed one of the {known} locations"),
        )
        .from(FactSource::Api, read),
    };
    vec![none]
}

/// Whether every device is there once.
fn unique(facts: &ServerFacts) -> CheckFinding {
    let check = Check::MembersUnique;
    if facts.twice.is_empty() {
        let fact = format!("{} devices, each of them once", facts.members);
        return CheckFinding::pass(check, fact).from(FactSource::Operator, None);
    }
    let twice: Vec<&str> = facts.twice.iter().map(Serial::as_str).collect();
    CheckFinding::block(
        check,
        format!("in it more than once: {}", super::apps::some_of(&twice)),
        "take one of the two out: `mdmd wave remove`",
        Owner::Destination,
    )
    .binding(twice.join(", "))
    .from(FactSource::Operator, None)
}

fn lasts(expiry: &Expiry, last: Timestamp, now: Timestamp) -> CheckFinding {
    let name = &expiry.name;
    let fix = "renew it before the wave";
    match &expiry.ends {
        Ends::Missing => CheckFinding::block(
            expiry.check,
            format!("{name} is not there"),
            "bring it in",
            Owner::OrganisationAdmin,
        ),
        Ends::Unsaid(why) => CheckFinding::unknown(
            expiry.check,
            format!("when {name} ends is not known here: {why}"),
            "see that it lasts until 30 days after the last deadline",
            Owner::OrganisationAdmin,
        ),
        Ends::Refused(why) => CheckFinding::block(
            expiry.check,
            format!("{name} does not work: {why}"),
            "do what Apple asks for, or bring in a new one",
            Owner::OrganisationAdmin,
        ),
        &Ends::At(ends) if ends <= now => CheckFinding::block(
            expiry.check,
            format!("{name} has ended at {ends}"),
            fix,
            Owner::OrganisationAdmin,
        ),
        &Ends::At(ends) if ends < last => CheckFinding::block(
            expiry.check,
            format!("{name} ends at {ends}, before the last deadline"),
            fix,
            Owner::OrganisationAdmin,
        ),
        &Ends::At(ends) if ends < last + AFTERWARDS => CheckFinding::warn(
            expiry.check,
            format!("{name} ends at {ends}, less than 30 days after the last deadline"),
            fix,
            Owner::OrganisationAdmin,
        ),
        Ends::At(ends) => CheckFinding::pass(expiry.check, format!("{name} lasts until {ends}")),
    }
    .from(expiry.source, expiry.at)
}

/// What was seen of the doors. When that was is no part of the fact: what was accepted stands while nothing changes.
fn doors(facts: &ServerFacts, last: Timestamp, now: Timestamp) -> Vec<CheckFinding> {
    let Some(outside) = &facts.outside else {
        let fact = "nobody has looked at the doors by their public names";
        return [Check::Endpoints, Check::TlsCert]
            .map(|check| CheckFinding::unknown(check, fact, "`mdmd doctor`", Owner::Destination))
            .into();
    };
    let wrong: Vec<String> = outside
        .endpoints
        .iter()
        .filter_map(|e| Some(format!("{}: {}", e.name, e.problem.as_ref()?)))
        .collect();
    let reached = match wrong.is_empty() {
        true => CheckFinding::pass(
            Check::Endpoints,
            "check-in, enrolment and SCEP answer by their public names",
        ),
        false => CheckFinding::block(
            Check::Endpoints,
            wrong.join("; "),
            "mend name, port, proxy or chain: `mdmd doctor`, and `mdmd doctor --probe` from elsewhere",
            Owner::Destination,
        ),
    };
    // What devices trust the listeners by ends with the first of its chain.
    let own = outside.endpoints.iter().filter_map(|e| {
        let name = "the certificate of the listeners".to_owned();
        Some((e.ends?, name))
    });
    let above = outside.endpoints.iter().filter_map(|e| {
        let chain = e.chain.as_ref()?;
        let name = format!(
            "the authority {} above the certificate of the listeners",
            chain.name
        );
        Some((chain.ends, name))
    });
    let certificate = match own.chain(above).min() {
        Some((ends, name)) => lasts(
            &Expiry {
                check: Check::TlsCert,
                name,
                ends: Ends::At(ends),
                source: FactSource::Probe,
                at: Some(outside.at),
            },
            last,
            now,
        ),
        None => CheckFinding::unknown(
            Check::TlsCert,
            "no certificate was seen by the public names",
            "`mdmd doctor`",
            Owner::Destination,
        ),
    };
    let seen = |finding: CheckFinding| finding.from(FactSource::Probe, outside.at);
    vec![seen(reached), seen(certificate)]
}

fn protocol(version: Option<u32>) -> CheckFinding {
    const FIRST: u32 = 8;
    match version {
        Some(version) if version >= FIRST => CheckFinding::pass(
            Check::ProtocolVersion,
            format!("version {version} is sent: migrations are shown from {FIRST} on"),
        ),
        Some(version) => CheckFinding::block(
            Check::ProtocolVersion,
            format!("version {version} is sent, and migrations are shown from {FIRST} on"),
            "bring this server up to date",
            Owner::Destination,
        ),
        None => CheckFinding::unknown(
            Check::ProtocolVersion,
            "which version of the protocol is sent is not known",
            "see what the host of this library sends",
            Owner::Destination,
        ),
    }
    .from(FactSource::Operator, None)
}

/// Licences of a location that changes hands end 30 days after that, on devices that are still where they were.
fn licences_end(facts: &ServerFacts, last: Timestamp, now: Timestamp) -> CheckFinding {
    let check = Check::DeadlineLicences;
    let with_this = |(_, taken): &&(String, TakenOver)| now < taken.at + ONE_MOVE;
    let taken: Vec<&(String, TakenOver)> = facts.taken_over.iter().filter(with_this).collect();
    let read = facts.shared.iter().filter_map(|(_, read)| *read);
    let read = read.chain(taken.iter().map(|(_, taken)| taken.at)).min();
    if facts.shared.is_empty() && taken.is_empty() {
        let fact = "no location changes hands with this";
        return CheckFinding::pass(check, fact).from(FactSource::Api, facts.locations.1);
    }
    let mut late: Vec<String> = Vec::new();
    for (name, taken) in taken {
        if last > taken.at + LICENCES_LAST {
            late.push(format!(
                "{name} (taken over from {} at {})",
                taken.from, taken.at
            ));
        }
    }
    // One that another service has is taken over now at the earliest.
    if last > now + LICENCES_LAST {
        let shared = facts.shared.iter();
        late.extend(shared.map(|(name, _)| format!("{name} (another service has it still)")));
    }
    if late.is_empty() {
        let fact = "a location changes hands, and the last deadline is at most 30 days after that";
        return CheckFinding::pass(check, fact).from(FactSource::Api, read);
    }
    let late = late.join(", ");
    let fact = format!(
        "the last deadline, {last}, is more than 30 days after a location changes hands, and then licences end that the service before gave: {late}"
    );
    let fix = "take the location over later, or have earlier deadlines";
    CheckFinding::warn(check, fact, fix, Owner::Licence)
        .binding(late)
        .from(FactSource::Api, read)
}

fn licences(need: &LicenceNeed, read: Option<Timestamp>) -> CheckFinding {
    let check = Check::AppsLicences;
    let bundles: Vec<&str> = need.bundles.iter().map(String::as_str).collect();
    let name = format!("{} ({})", need.app, bundles.join(", "));
    let warn = |fact, fix| CheckFinding::warn(check, fact, fix, Owner::Licence);
    let open = need.needs - need.has - need.behind;
    let contested =
        !need.unlimited && open > 0 && need.others > 0 && open + need.others > need.available;
    // Of those that stay behind: as many as would get none if they went, too.
    let left = match (need.assignable, need.unlimited) {
        (true, true) => u64::MAX,
        (true, false) => need.available,
        (false, _) => 0,
    };
    let later = (open + need.behind).saturating_sub(left);
    // Which devices get none, and whether they lose the app with its data or do without it, is said of each by itself.
    let finding = if need.lacks > 0 && need.user_only {
        let fact = format!(
            "{name}: its licences can be given to people only, and {} of {} devices would get none",
            need.lacks, need.needs
        );
        warn(fact, super::apps::USERS_ONLY)
    } else if need.lacks > 0 {
        let fact = format!(
            "{name}: {} of {} devices would get no licence",
            need.lacks, need.needs
        );
        warn(fact, super::apps::LICENCES)
    } else if later > 0 {
        let mut fact = format!(
            "{name}: licences for all that go, and {later} of {} that stay behind would get no licence after them",
            need.behind
        );
        let mut bound = format!("{name}: too few for those that stay behind");
        if contested {
            // How many there are of them is theirs.
            bound.push_str(", and other open waves want the same licences");
            fact = format!("{fact}; {} of other open waves want one too", need.others);
        }
        warn(fact, super::apps::LICENCES).binding(bound)
    } else if contested {
        let fact = format!(
            "{name}: {} devices want one of {} licences that are left, and {} of other open waves want one too",
            open, need.available, need.others
        );
        // How many others there are is theirs.
        warn(fact, super::apps::LICENCES)
            .binding(format!("{name}: other open waves want the same licences"))
    } else {
        let fact = format!("{name}: licences for all {} devices", need.needs);
        CheckFinding::pass(check, fact)
    };
    finding.from(FactSource::Api, read)
}

pub(crate) fn budget(facts: &ServerFacts, first: Timestamp, now: Timestamp) -> CheckFinding {
    // What left in this hour counts against it, and what waits goes first.
    let before = facts.waiting.saturating_add(facts.used);
    let all = facts.requests.saturating_add(before);
    let hours = all.div_ceil(facts.per_hour.max(1));
    let requests = counted(facts.requests, "request");
    let mut fact = format!("{requests} at {} an hour", facts.per_hour);
    if before > 0 {
        use std::fmt::Write as _;
        let _ = write!(
            fact,
            ", after {} that wait, and {} left within the hour",
            facts.waiting, facts.used
        );
    }
    let in_hours = counted(hours, "hour");
    let fact = format!("{fact}: the last one leaves in about {in_hours}");
    let leaves = now + Duration::from_secs(u64::from(hours) * 3600);
    let fix = "have fewer deadlines, or begin earlier";
    // How much of the hour is used says nothing of the plan.
    let bound = format!("{} requests", facts.requests);
    if facts.requests > 0 && all > facts.per_hour && leaves >= first {
        CheckFinding::block(Check::PostBudget, fact, fix, Owner::Apple)
    } else if hours > 1 {
        CheckFinding::warn(Check::PostBudget, fact, fix, Owner::Apple)
    } else {
        CheckFinding::pass(Check::PostBudget, fact)
    }
    .binding(bound)
    .from(FactSource::Operator, now)
}
