//! The what-if of a way back: what stands for and against a device returning to the service that it came from, by where it is now. Before it
//! has begun it is called back; in its hold there is no way; afterwards it is a migration like any other, toward that service.

use std::time::Duration;

use super::{Check, CheckFinding, FactSource, MemberFacts, device, project};
use crate::clock::Timestamp;
use crate::device::{MigrationStatus, Platform};
use crate::filevault::KeyCustody;
use crate::migration::Owner;

/// A list that a device gave of its apps is believed so long; one comes every day.
const BELIEVED: Duration = Duration::from_secs(14 * 86_400);
const DAY: u64 = 86_400;

/// Where a device stands, and what it has from us. The rest is in [`MemberFacts`], whose destination is the service that it returns to.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct BackFacts<'a> {
    /// Which way back it has.
    pub way: WayBack<'a>,
    /// Whose recovery key is in the vault.
    pub custody: KeyCustody,
    /// It has a lock of ours that Apple confirmed.
    pub locked: bool,
}

/// The way back that the place of a device leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "before, in the hold and after")]
pub enum WayBack<'a> {
    /// It has not begun: its migration is called back.
    Before,
    /// It is here: a migration toward the other service.
    After,
    /// There is none now; the sentence says why.
    None(&'a str),
}

/// Everything that can be said of the way back of one device.
#[must_use]
pub fn look_back(
    facts: &MemberFacts<'_>,
    back: &BackFacts<'_>,
    now: Timestamp,
) -> Vec<CheckFinding> {
    let mut found = vec![way(back.way)];
    match back.way {
        WayBack::None(_) => {}
        WayBack::Before => {
            found.push(device::member(facts));
            found.push(begun(facts));
        }
        WayBack::After => {
            found.push(device::system(facts));
            found.push(device::family(facts));
            found.push(device::member(facts));
            found.push(device::capable(facts));
            found.extend(device::provisional(facts, now));
            found.push(goes_to(facts));
            found.push(device::pending(facts));
            found.extend(device::managed_user(facts, now));
            found.push(contact(facts, now));
            found.push(device::deadline(facts, now));
            project::look(facts, &mut found);
            apps(facts, now, &mut found);
            keys(facts, back, &mut found);
        }
    }
    found.sort_by_key(|f| f.check);
    found
}

fn way(way: WayBack<'_>) -> CheckFinding {
    match way {
        WayBack::Before => CheckFinding::pass(
            Check::ReturnWay,
            "it has not begun: its migration is called back",
        ),
        WayBack::After => CheckFinding::pass(
            Check::ReturnWay,
            "it is here: a migration of its own takes it back",
        ),
        WayBack::None(why) => CheckFinding::block(
            Check::ReturnWay,
            why,
            "one that is on its way finishes first, then decide; one that is held is let through by `mdmd hold release`; one that never enrolled here has nothing to go back from",
            Owner::Destination,
        ),
    }
    .from(FactSource::Operator, None)
}

/// Whether Apple still lets it be called back.
fn begun(facts: &MemberFacts<'_>) -> CheckFinding {
    let reading = facts.device.and_then(|d| d.reading.as_ref());
    let finding = match reading.and_then(|r| r.status.as_ref()) {
        Some(MigrationStatus::Started) => CheckFinding::block(
            Check::OtherPending,
            "it has begun: nothing can be called back",
            "let it finish, then decide",
            Owner::User,
        ),
        Some(MigrationStatus::Requested) => CheckFinding::pass(
            Check::OtherPending,
            "requested at Apple, and not begun: Apple takes it back",
        ),
        _ => CheckFinding::pass(
            Check::OtherPending,
            "no migration of it is pending at Apple",
        ),
    };
    match reading {
        Some(reading) => finding.from(FactSource::Api, reading.seen),
        None => finding,
    }
}

fn goes_to(facts: &MemberFacts<'_>) -> CheckFinding {
    let reading = facts.device.and_then(|d| d.reading.as_ref());
    let assigned = reading.and_then(|r| r.assigned_server.as_deref());
    let name = facts
        .services
        .iter()
        .find(|(id, _)| id.eq_ignore_ascii_case(facts.destination));
    let finding = if let Some(what) = facts.other_kinds.get(facts.destination) {
        CheckFinding::block(
            Check::OriginalKind,
            format!("it would return to {what}, to which Apple lets no device migrate"),
            "name another service: `--to`",
            Owner::OrganisationAdmin,
        )
    } else if assigned == Some(facts.destination) {
        CheckFinding::block(
            Check::OriginalKind,
            "it is assigned to that service already",
            "leave it out",
            Owner::Destination,
        )
    } else if let Some((_, name)) = name {
        CheckFinding::pass(Check::OriginalKind, format!("it returns to {name}"))
    } else {
        CheckFinding::unknown(
            Check::OriginalKind,
            "the service to which it returns is none of those that Apple was seen to list",
            "read the organisation's devices: `mdmd inventory pull`, or name a service: `--to`",
            Owner::Destination,
        )
    };
    match reading {
        Some(reading) => finding.from(FactSource::Api, reading.seen),
        None => finding,
    }
}

fn contact(facts: &MemberFacts<'_>, now: Timestamp) -> CheckFinding {
    let Some(at) = facts.device.and_then(|d| d.facts.learned) else {
        return CheckFinding::unknown(
            Check::ContactRecent,
            "it has never said anything of itself here",
            "wake it: `mdmd command send`",
            Owner::Device,
        );
    };
    let days = now.since(at).as_secs() / DAY;
    let fact = format!("we heard from it {days} days ago");
    let fix = "find the device and have it switched on and online";
    match days {
        0..=14 => CheckFinding::pass(Check::ContactRecent, fact),
        15..=60 => CheckFinding::warn(Check::ContactRecent, fact, fix, Owner::User),
        _ => CheckFinding::block(Check::ContactRecent, fact, fix, Owner::User),
    }
    .binding("")
    .from(FactSource::Mdm, at)
}

/// What it has is known from itself; what the other service takes over, nobody here can know.
fn apps(facts: &MemberFacts<'_>, now: Timestamp, found: &mut Vec<CheckFinding>) {
    const ASK: &str =
        "it is asked daily; ask it now: `mdmd command send --request ManagedApplicationList`";
    let mac = facts.platform.is_some_and(Platform::is_mac);
    let Some(told) = facts.original.and_then(|o| o.reported_apps.as_ref()) else {
        for check in [Check::AppsMapped, Check::AppsSource] {
            let fact = "it has not told which managed apps it has";
            found.push(CheckFinding::unknown(check, fact, ASK, Owner::Device));
        }
        return;
    };
    let names: Vec<&str> = told
        .value
        .iter()
        .map(|app| app.bundle_id.as_str())
        .collect();
    let mapped = if mac || names.is_empty() {
        let fact = match mac {
            true => "a Mac keeps apps that nobody manages, with their data".to_owned(),
            false => "it has no managed apps".to_owned(),
        };
        CheckFinding::pass(Check::AppsMapped, fact)
    } else {
        CheckFinding::warn(
            Check::AppsMapped,
            format!(
                "{} managed apps go with their data unless that service takes each over before it releases the device: {}",
                names.len(),
                super::apps::some_of(&names)
            ),
            "have them prepared there: `mdmd hand-off ask` hands their list over",
            Owner::Original,
        )
        .binding(names.join(", "))
    };
    found.push(mapped.from(FactSource::Mdm, told.at));
    let age = now.since(told.at);
    let source = if age > BELIEVED {
        let days = age.as_secs() / DAY;
        let fact = format!("what it told of its apps is {days} days old");
        CheckFinding::warn(Check::AppsSource, fact, ASK, Owner::Device).binding("old")
    } else {
        CheckFinding::pass(Check::AppsSource, format!("{} managed apps", names.len()))
    };
    found.push(source.from(FactSource::Mdm, told.at));
}

/// What stays here and is needed there.
fn keys(facts: &MemberFacts<'_>, back: &BackFacts<'_>, found: &mut Vec<CheckFinding>) {
    if facts.platform.is_some_and(Platform::is_mac) {
        let check = Check::FvOldkey;
        found.push(match back.custody {
            KeyCustody::New => CheckFinding::warn(
                check,
                "its recovery key is here and stays valid until that service has a new one",
                "hand it over: `mdmd hand-off ask`",
                Owner::Destination,
            ),
            KeyCustody::Old => CheckFinding::pass(check, "its key is that of the other service"),
            KeyCustody::None => CheckFinding::warn(
                check,
                "nobody here has its recovery key: if no new one is made there, it opens for its users alone",
                "have it make one: `mdmd device rotate-filevault`",
                Owner::Device,
            ),
        });
    }
    found.push(match back.locked {
        true => CheckFinding::warn(
            Check::LockPolicy,
            "it has a lock of ours, whose code is here: Apple takes the lock away when it leaves",
            "keep the code until it is there",
            Owner::Destination,
        ),
        false => CheckFinding::pass(Check::LockPolicy, "it has no lock of ours"),
    });
}
