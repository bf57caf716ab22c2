//! Apps: whether each of those that the original service manages has a fate, and whether the list of them can be believed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::forecast::{NoLicence, is_taken_over};
use super::{Check, CheckFinding, CheckResult, FactSource, MemberFacts};
use crate::app_state::app_key;
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::migration::{AppAction, AppPlan, Owner};
use crate::original::OriginalFacts;

/// A list is believed so long.
const BELIEVED: Duration = Duration::from_secs(14 * 86_400);
/// How long after the deadline the signature of an app must last.
const AFTERWARDS: Duration = Duration::from_secs(30 * 86_400);
const IMPORT: &str = "bring in the apps of the original service: `mdmd apps import`";

pub(super) fn look(facts: &MemberFacts<'_>, now: Timestamp, found: &mut Vec<CheckFinding>) {
    let mac = facts.platform.is_some_and(Platform::is_mac);
    let Some(told) = facts.original.and_then(OriginalFacts::known_apps) else {
        for check in [Check::AppsMapped, Check::AppsSource] {
            found.push(CheckFinding::unknown(
                check,
                "nobody has told which managed apps it has",
                IMPORT,
                Owner::Original,
            ));
        }
        return;
    };
    // What is lost on an iPhone or iPad is lost with its data; a Mac keeps apps that nobody manages.
    let weight = |finding: CheckFinding| {
        let mut finding = finding.import(told);
        if mac && finding.result == CheckResult::Block {
            finding.result = CheckResult::Warn;
        }
        finding
    };
    let plans: BTreeMap<String, &AppPlan> = facts
        .runbook
        .iter()
        .flat_map(|r| &r.apps)
        .map(|plan| (app_key(&plan.bundle_id), plan))
        .collect();
    let plan = |bundle: &str| plans.get(&app_key(bundle)).copied();
    let apps = &told.value;
    let open: Vec<&str> = apps
        .iter()
        .filter(|app| plan(&app.bundle_id).is_none())
        .map(|app| app.name.as_deref().unwrap_or(&app.bundle_id))
        .collect();
    // On a Mac an app that is not taken over stays.
    let nowhere: Vec<&str> = apps
        .iter()
        .filter(|app| !mac && plan(&app.bundle_id).is_some_and(|p| !p.can_be_had()))
        .map(|app| app.name.as_deref().unwrap_or(&app.bundle_id))
        .collect();
    let no_tags = BTreeSet::new();
    let tags = facts.device.map_or(&no_tags, |d| &d.tags);
    let has_step = |p: &AppPlan| is_taken_over(p, facts.runbook, facts.original, tags);
    let stepless: Vec<&str> = apps
        .iter()
        .filter(|app| !mac && plan(&app.bundle_id).is_some_and(|p| p.can_be_had() && !has_step(p)))
        .map(|app| app.name.as_deref().unwrap_or(&app.bundle_id))
        .collect();
    found.push(weight(mapped(apps.len(), &open, &nowhere, &stepless)));
    let last = facts.deadline + AFTERWARDS;
    let ending: Vec<&str> = apps
        .iter()
        .filter(|app| app.signed_until.is_some_and(|until| until < last))
        .filter(|app| plan(&app.bundle_id).is_some_and(|p| p.action != AppAction::Drop))
        .map(|app| app.name.as_deref().unwrap_or(&app.bundle_id))
        .collect();
    // Those that come from a manifest are the organisation's own: theirs is a signature that ends.
    let own: Vec<_> = apps
        .iter()
        .filter(|app| {
            let plan = plan(&app.bundle_id).filter(|p| p.action != AppAction::Drop);
            plan.is_some_and(|p| p.manifest_url.is_some())
        })
        .collect();
    let unsaid: Vec<&str> = own
        .iter()
        .filter(|app| app.signed_until.is_none())
        .map(|app| app.name.as_deref().unwrap_or(&app.bundle_id))
        .collect();
    let age = now.since(told.at);
    let days = age.as_secs() / 86_400;
    let source = if !ending.is_empty() {
        CheckFinding::block(
            Check::AppsSource,
            format!("signatures end before {last}: {}", some_of(&ending)),
            "sign these apps anew",
            Owner::Destination,
        )
        .binding(ending.join(", "))
    } else if !unsaid.is_empty() {
        CheckFinding::unknown(
            Check::AppsSource,
            format!(
                "nobody has told when the signatures of these end, nor looked whether their manifests can be reached: {}",
                some_of(&unsaid)
            ),
            "bring in their `signed_until` with the apps of the original service: `mdmd apps import`",
            Owner::Original,
        )
        .binding(unsaid.join(", "))
    } else if !own.is_empty() {
        // Devices fetch it from where they are: a look from here would say little.
        let names: Vec<&str> = own
            .iter()
            .map(|app| app.name.as_deref().unwrap_or(&app.bundle_id))
            .collect();
        CheckFinding::unknown(
            Check::AppsSource,
            format!(
                "nobody has looked whether the manifests of these can be reached: {}",
                some_of(&names)
            ),
            "open them from a network of the devices, and waive this with what you saw; or say what an unknown counts as: \
             `mdmd organisation what-if --unknown apps.source=warn`",
            Owner::Destination,
        )
        .binding(names.join(", "))
    } else if age > BELIEVED {
        let fact = format!("the list of its apps is {days} days old");
        CheckFinding::warn(Check::AppsSource, fact, IMPORT, Owner::Original).binding("old")
    } else {
        CheckFinding::pass(Check::AppsSource, format!("{} managed apps", apps.len()))
    };
    let more = !(ending.is_empty() && own.is_empty());
    found.push(weight(match age > BELIEVED && more {
        true => of_an_old_list(source, days),
        false => source,
    }));
}

/// What is found in a list that is old is not all that should be known of it.
fn of_an_old_list(mut finding: CheckFinding, days: u64) -> CheckFinding {
    let bound = format!("{}; old", finding.bound());
    finding.fact = format!("{}; the list of its apps is {days} days old", finding.fact);
    finding.fix = format!("{}; {IMPORT}", finding.fix);
    finding.binding(bound)
}

/// Whether each of so many apps has a fate that can come true: `open` are those without one, `nowhere` those that are to stay and
/// that can be had nowhere, `stepless` those that no step takes over on this device.
fn mapped(count: usize, open: &[&str], nowhere: &[&str], stepless: &[&str]) -> CheckFinding {
    let check = Check::AppsMapped;
    let (mut facts, mut bound, mut fixes) = (Vec::new(), Vec::new(), Vec::new());
    if !open.is_empty() {
        facts.push(format!(
            "{} of {count} managed apps have no fate and would go with their data: {}",
            open.len(),
            some_of(open)
        ));
        bound.push(open.join(", "));
        fixes.push("give each of them install, keep-if-present or drop in the runbook");
    }
    if !nowhere.is_empty() {
        facts.push(format!(
            "{} of {count} managed apps are to stay and would go with their data, for the runbook names neither their number in the \
             store nor a manifest: {}",
            nowhere.len(),
            some_of(nowhere)
        ));
        bound.push(nowhere.join(", "));
        fixes.push("give each of them its store_id or manifest_url in the runbook, or drop it");
    }
    if !stepless.is_empty() {
        facts.push(format!(
            "{} of {count} managed apps are to stay and would go with their data, for no step of the runbook takes them over on this device: {}",
            stepless.len(),
            some_of(stepless)
        ));
        bound.push(stepless.join(", "));
        fixes.push("put the step apps-required or apps-keep into the runbook, for this device too");
    }
    if facts.is_empty() {
        return CheckFinding::pass(check, format!("each of {count} managed apps has a fate"));
    }
    CheckFinding::block(
        check,
        facts.join("; "),
        &fixes.join("; "),
        Owner::Destination,
    )
    .binding(bound.join("; "))
}

/// That nobody can say whether a device keeps apps: their licences come from elsewhere.
pub(crate) fn licence_not_known(names: &[String]) -> CheckFinding {
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    CheckFinding::unknown(
        Check::AppsLicences,
        format!(
            "no location of Apps and Books is known here: without a licence from elsewhere these go with their data: {}",
            some_of(&all)
        ),
        "bring in a content token: `mdmd licences token`; or say that licences come from elsewhere: \
         `mdmd organisation what-if --unknown apps.licences=warn`",
        Owner::Licence,
    )
    .binding(names.join(", "))
}

/// That a device would lose apps for want of licences, as the stock was read then.
pub(crate) fn without_licence(short: &NoLicence, read: Option<Timestamp>) -> CheckFinding {
    let names = |of: &'_ [String]| some_of(&of.iter().map(String::as_str).collect::<Vec<_>>());
    let left: Vec<String> = short
        .lost
        .iter()
        .filter(|name| !short.for_people.contains(name))
        .cloned()
        .collect();
    let (mut facts, mut fixes) = (Vec::new(), Vec::new());
    if !left.is_empty() {
        facts.push(format!(
            "no licence is left for apps that it has and that would go with their data: {}",
            names(&left)
        ));
        fixes.push(LICENCES);
    }
    if !short.for_people.is_empty() {
        facts.push(format!(
            "licences can be given to people only for apps that it has and that would go with their data: {}",
            names(&short.for_people)
        ));
        fixes.push(USERS_ONLY);
    }
    CheckFinding::block(
        Check::AppsLicences,
        facts.join("; "),
        &fixes.join("; "),
        Owner::Licence,
    )
    .binding(match short.for_people.is_empty() {
        true => left.join(", "),
        false => format!("{}; {}", left.join(", "), short.for_people.join(", ")),
    })
    .from(FactSource::Api, read)
}

/// What helps where licences lack.
pub(super) const LICENCES: &str = "buy licences, or move them to a location whose token is here";
/// What helps where licences are for people only.
pub(super) const USERS_ONLY: &str = "have another app in its place, or one that devices can get: in a hold there is no account of the store";

/// The first names of a list, and how many there are beside these.
pub(super) fn some_of(names: &[&str]) -> String {
    let first = names.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(3) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
