//! Apps: whether each of those that the original service manages has a fate, and whether the list of them can be believed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::forecast::{NoLicence, is_taken_over};
use super::manifests::Reached;
use super::missing::Missing;
use super::{Check, CheckFinding, CheckResult, FactSource, MemberFacts};
use crate::app_state::{app_key, is_same_app};
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
    let weight = |mut finding: CheckFinding| {
        if finding.source.is_none() {
            finding = finding.import(told);
        }
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
    let source = match of_their_own(&ending, last, &unsaid) {
        Some(finding) if age > BELIEVED => of_an_old_list(finding, days),
        Some(finding) => finding,
        None if age > BELIEVED => {
            let fact = format!("the list of its apps is {days} days old");
            CheckFinding::warn(Check::AppsSource, fact, IMPORT, Owner::Original).binding("old")
        }
        None => CheckFinding::pass(Check::AppsSource, format!("{} managed apps", apps.len())),
    };
    found.push(weight(source));
    // Of those that it is to get, too, there or not.
    let fetched = facts
        .runbook
        .iter()
        .flat_map(|r| &r.apps)
        .filter_map(|plan| {
            let url = plan.manifest_url.as_deref();
            let url = url.filter(|_| plan.action != AppAction::Drop)?;
            let there = apps
                .iter()
                .find(|app| is_same_app(&app.bundle_id, &plan.bundle_id));
            let name = there.and_then(|app| app.name.as_deref());
            let gets = there.is_some() || plan.action == AppAction::Install;
            gets.then(|| (name.unwrap_or(&plan.bundle_id), url))
        });
    let reached = facts.manifests.of(fetched);
    if let Some(mut finding) = can_be_fetched(&reached) {
        if mac && finding.result == CheckResult::Block {
            finding.result = CheckResult::Warn;
        }
        found.push(finding);
    }
}

/// Whether apps of one's own can be fetched by their manifests, as far as this server has seen; none without such apps. That nobody has
/// looked yet keeps nobody back: a process that has just started knows of nothing.
fn can_be_fetched(reached: &Reached<'_>) -> Option<CheckFinding> {
    let check = Check::AppsManifest;
    if reached.all == 0 {
        return None;
    }
    if !reached.wrong.is_empty() {
        let first = reached.wrong.iter().take(3);
        let all: Vec<String> = first.map(|(app, why)| format!("{app}: {why}")).collect();
        let more = match reached.wrong.len().saturating_sub(3) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let finding = CheckFinding::block(
            check,
            format!(
                "the manifests of these cannot be used: {}{more}",
                all.join("; ")
            ),
            "mend what is at their addresses, or the addresses in the runbook, and ask again; where devices reach them and this server \
             does not, waive this",
            Owner::Destination,
        );
        // Not why: that may be another sentence with every look.
        let names: Vec<&str> = reached.wrong.iter().map(|(app, _)| *app).collect();
        let finding = finding.binding(names.join(", "));
        return Some(finding.from(FactSource::Probe, reached.at));
    }
    if !reached.unseen.is_empty() {
        let first = reached.unseen.iter().take(3);
        let all: Vec<String> = first
            .map(|(app, why)| why.map_or_else(|| (*app).to_owned(), |why| format!("{app}: {why}")))
            .collect();
        let more = match reached.unseen.len().saturating_sub(3) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let finding = CheckFinding::warn(
            check,
            format!(
                "not looked at yet whether the manifests of these can be had: {}{more}",
                all.join("; ")
            ),
            "ask again in a minute: this server looks at them by itself. Where it cannot, open them from a network of the devices",
            Owner::Destination,
        );
        let names: Vec<&str> = reached.unseen.iter().map(|(app, _)| *app).collect();
        return Some(finding.binding(names.join(", ")));
    }
    if !reached.bare.is_empty() {
        let fact =
            "the manifests of these name no hashes, so that nobody sees when another file comes";
        let finding = CheckFinding::warn(
            check,
            format!("{fact}: {}", some_of(&reached.bare)),
            "have the hashes of their parts in them (`sha256-size`, `sha256s`): Macs take no package without",
            Owner::Destination,
        );
        let finding = finding.binding(reached.bare.join(", "));
        return Some(finding.from(FactSource::Probe, reached.at));
    }
    let fact = match reached.read {
        0 => "their manifests are served here".to_owned(),
        read => format!("{read} manifests were read at their addresses"),
    };
    Some(CheckFinding::pass(check, fact).from(FactSource::Probe, reached.at))
}

/// What stands against apps of one's own whose signatures are `ending` before `last`, or of which nobody has said when they do (`unsaid`).
fn of_their_own(ending: &[&str], last: Timestamp, unsaid: &[&str]) -> Option<CheckFinding> {
    let check = Check::AppsSource;
    if !ending.is_empty() {
        let fact = format!("signatures end before {last}: {}", some_of(ending));
        let fix = "sign these apps anew";
        let finding = CheckFinding::block(check, fact, fix, Owner::Destination);
        return Some(finding.binding(ending.join(", ")));
    }
    if !unsaid.is_empty() {
        let finding = CheckFinding::unknown(
            check,
            format!(
                "nobody has told when the signatures of these end: {}",
                some_of(unsaid)
            ),
            "bring in their `signed_until` with the apps of the original service: `mdmd apps import`",
            Owner::Original,
        );
        return Some(finding.binding(unsaid.join(", ")));
    }
    None
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

/// That nobody can say whether a device keeps apps, and gets those that it is to get: their licences come from elsewhere.
pub(crate) fn licence_not_known(short: &NoLicence) -> Option<CheckFinding> {
    let names = |of: &'_ [String]| some_of(&of.iter().map(String::as_str).collect::<Vec<_>>());
    let mut facts = Vec::new();
    if !short.uncertain.is_empty() {
        facts.push(format!(
            "without a licence from elsewhere these go with their data: {}",
            names(&short.uncertain)
        ));
    }
    if !short.uncertain_to_get.is_empty() {
        facts.push(format!(
            "whether there is a licence of apps that it is to get, nobody can say: {}",
            names(&short.uncertain_to_get)
        ));
    }
    if facts.is_empty() {
        return None;
    }
    let binding = match short.uncertain_to_get.is_empty() {
        true => short.uncertain.join(", "),
        false => format!(
            "{}; {}",
            short.uncertain.join(", "),
            short.uncertain_to_get.join(", ")
        ),
    };
    let finding = CheckFinding::unknown(
        Check::AppsLicences,
        format!(
            "no location of Apps and Books is known here: {}",
            facts.join("; ")
        ),
        "bring in a content token: `mdmd licences token`; or say that licences come from elsewhere: \
         `mdmd organisation what-if --unknown apps.licences=warn`",
        Owner::Licence,
    );
    Some(finding.binding(binding))
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

/// That a device would not get apps that it is to get, for want of licences, as the stock was read then: it blocks an iPhone or iPad, whose
/// hold has no other way to them, and is a warning for a Mac.
pub(crate) fn missing_licence(missing: &Missing, read: Option<Timestamp>) -> CheckFinding {
    let names = |of: &'_ [String]| some_of(&of.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut facts, mut fixes) = (Vec::new(), Vec::new());
    if !missing.apps.is_empty() {
        facts.push(format!(
            "no licence is left for apps that it is to get, and that would be missing: {}",
            names(&missing.apps)
        ));
        fixes.push(LICENCES);
    }
    if !missing.for_people.is_empty() {
        facts.push(format!(
            "licences can be given to people only for apps that it is to get, and that would be missing: {}",
            names(&missing.for_people)
        ));
        fixes.push(USERS_ONLY);
    }
    // What is missing can come later: nothing that anybody has is lost with it.
    fixes.push("or let it come without them, and waive this");
    let mut finding = CheckFinding::block(
        Check::AppsLicences,
        facts.join("; "),
        &fixes.join("; "),
        Owner::Licence,
    );
    if missing.platform.is_mac() {
        finding.result = CheckResult::Warn;
    }
    // Another sentence than that of a loss: who accepts one has not accepted the other.
    let bound = format!(
        "missing: {}; {}",
        missing.apps.join(", "),
        missing.for_people.join(", ")
    );
    finding.binding(bound).from(FactSource::Api, read)
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
