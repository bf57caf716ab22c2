//! Networks, and what lets a device onto them, and whatever else profiles brought: what came from the original service goes with it.

use std::collections::BTreeSet;

use super::apps::some_of;
use super::profiles::CONFIGURATION;
use super::security::ESCROWS;
use super::{Check, CheckFinding, MemberFacts, ProfileKind};
use crate::migration::Owner;

/// `PayloadType`s that give a device an identity.
const IDENTITIES: [&str; 4] = [
    "com.apple.security.scep",
    "com.apple.security.acme",
    "com.apple.security.pkcs12",
    "com.apple.ADCertificate.managed",
];
/// Types of declarations that give a device an identity.
const DECLARED: [&str; 4] = [
    "com.apple.configuration.security.identity",
    "com.apple.asset.credential.identity",
    "com.apple.asset.credential.scep",
    "com.apple.asset.credential.acme",
];
/// `PayloadType`s by which somebody else trusts the device.
const TRUSTED_BY: [&str; 2] = ["com.apple.extensiblesso", "com.apple.sso"];
/// The management itself: that it goes is what all of this is for.
const MANAGEMENT: &str = "com.apple.mdm";
const IMPORT: &str = "bring in what the original service knows of it";

pub(super) fn look(facts: &MemberFacts<'_>, found: &mut Vec<CheckFinding>) {
    found.push(wifi(facts));
    found.extend(payloads(facts));
    found.extend(others(facts));
}

fn wifi(facts: &MemberFacts<'_>) -> CheckFinding {
    let told = facts.original.and_then(|o| o.networks.as_ref());
    let recorded = facts.original.and_then(|o| o.other_paths.as_ref());
    let Some(told) = told else {
        return CheckFinding::unknown(
            Check::WifiPath,
            "nobody has told which networks it uses",
            IMPORT,
            Owner::Original,
        );
    };
    let (managed, own): (Vec<_>, Vec<_>) = told.value.iter().partition(|n| n.managed);
    let going: Vec<&str> = managed
        .iter()
        .map(|n| n.ssid.as_str())
        .filter(|ssid| !facts.brings.networks.contains(*ssid))
        .collect();
    // A way that somebody has recorded, or a network of its own.
    let stays = !own.is_empty() || recorded.is_some_and(|told| !told.value.is_empty());
    let fix = "put the same network into the runbook's profiles, or into the enrolment profile";
    let finding = if going.is_empty() {
        CheckFinding::pass(
            Check::WifiPath,
            match managed.len() {
                0 => "no network of it came from the original service".to_owned(),
                _ => format!("{} networks come with us as well", managed.len()),
            },
        )
    } else if stays {
        CheckFinding::warn(
            Check::WifiPath,
            format!(
                "networks that go with the original service: {}; another way stays",
                going.join(", ")
            ),
            fix,
            Owner::Destination,
        )
    } else {
        let which = match going.len() == managed.len() {
            true => "its only networks go",
            false => "networks go",
        };
        CheckFinding::block(
            Check::WifiPath,
            format!(
                "{which} with the original service, and no other way is recorded: {}",
                going.join(", ")
            ),
            fix,
            Owner::Destination,
        )
    };
    finding.import(told)
}

fn payloads(facts: &MemberFacts<'_>) -> Vec<CheckFinding> {
    vec![identities(facts), trust(facts)]
}

fn identities(facts: &MemberFacts<'_>) -> CheckFinding {
    let check = Check::IdentityReissue;
    let profiles = facts.original.and_then(|o| o.profiles.as_ref());
    let declared = facts.original.and_then(|o| o.declarations.as_ref());
    let mut gone: BTreeSet<&str> = BTreeSet::new();
    if let Some(told) = profiles {
        let payloads = told.value.iter().flat_map(|p| &p.payloads);
        let payloads = payloads.map(String::as_str);
        gone.extend(payloads.filter(|payload| IDENTITIES.contains(payload)));
    }
    let in_profile = profiles.filter(|_| !gone.is_empty());
    let in_declaration = declared.filter(|told| {
        let mut all = told.value.iter();
        all.any(|d| DECLARED.contains(&d.declaration_type.as_str()))
    });
    if let Some(told) = in_declaration {
        let kinds = told.value.iter().map(|d| d.declaration_type.as_str());
        gone.extend(kinds.filter(|kind| DECLARED.contains(kind)));
    }
    let kinds = IDENTITIES.iter().chain(&DECLARED).copied();
    let ours: Vec<&str> = kinds
        .filter(|kind| facts.brings.payloads.contains(*kind))
        .collect();
    // What takes an identity of one kind need not take one of another: a certificate for mail opens no network.
    gone.retain(|kind| !ours.contains(kind));
    let gone: Vec<&str> = gone.into_iter().collect();
    let had = if gone.is_empty() {
        CheckFinding::pass(check, "identities are issued anew")
    } else if ours.is_empty() {
        CheckFinding::warn(
            check,
            "an identity that it has from the original service goes, and none is issued anew",
            "put a certificate payload into the runbook's profiles",
            Owner::Destination,
        )
    } else {
        let (gone, ours) = (gone.join(", "), ours.join(", "));
        CheckFinding::warn(
            check,
            format!("identities go that come by {gone}, and those that are issued anew come by {ours}"),
            "see that the networks and services that know the first take the others, or put the same payload into the runbook's profiles",
            Owner::Destination,
        )
        .binding(format!("{gone}; {ours}"))
    };
    let unknown = |fact: &str| CheckFinding::unknown(check, fact, IMPORT, Owner::Original);
    match (in_profile, in_declaration, profiles, declared) {
        (Some(told), ..) => had.import(told),
        (None, Some(told), ..) => had.import(told),
        (None, None, None, _) => unknown("nobody has told which profiles it has"),
        (None, None, Some(_), None) => unknown(
            "it had no identity by its profiles, and nobody has told which declarations it has",
        ),
        (None, None, Some(told), Some(_)) => {
            CheckFinding::pass(check, "it had no identity from there").import(told)
        }
    }
}

fn trust(facts: &MemberFacts<'_>) -> CheckFinding {
    let Some(told) = facts.original.and_then(|o| o.profiles.as_ref()) else {
        return CheckFinding::unknown(
            Check::TrustGap,
            "nobody has told which profiles it has: whether a sign-in depends on them is not known",
            IMPORT,
            Owner::Original,
        );
    };
    let had: BTreeSet<&str> = told
        .value
        .iter()
        .flat_map(|p| &p.payloads)
        .map(String::as_str)
        .collect();
    // Whoever registered the device did so for its enrolment there: that goes with it, whatever comes with us.
    let going: Vec<String> = TRUSTED_BY
        .iter()
        .filter(|kind| had.contains(*kind))
        .map(|kind| match facts.brings.payloads.contains(*kind) {
            true => format!("{kind} (comes again with us)"),
            false => format!("{kind} (does not come again)"),
        })
        .collect();
    let trust = if going.is_empty() {
        CheckFinding::pass(
            Check::TrustGap,
            "no payload of single sign-on came from the original service",
        )
    } else {
        CheckFinding::warn(
            Check::TrustGap,
            format!(
                "sign-in depends on the original service, and the device must be registered anew: {}",
                going.join(", ")
            ),
            "tell people how to register again, and deliver the payloads that do not come again as well",
            Owner::Destination,
        )
    };
    trust.import(told)
}

/// What else it has, by its types, and none of ours brings. That nobody has told which profiles it has is said of sign-ins already.
fn others(facts: &MemberFacts<'_>) -> Option<CheckFinding> {
    let check = Check::ProfilesGap;
    let original = facts.original?;
    let (profiles, declared) = (original.profiles.as_ref(), original.declarations.as_ref());
    let payloads = profiles
        .into_iter()
        .flat_map(|told| &told.value)
        .flat_map(|profile| &profile.payloads)
        .map(String::as_str);
    let configurations = declared
        .into_iter()
        .flat_map(|told| &told.value)
        .map(|declaration| declaration.declaration_type.as_str())
        .filter(|kind| kind.starts_with(CONFIGURATION));
    let going: BTreeSet<&str> = payloads
        .chain(configurations)
        .filter(|kind| !has_a_check(kind) && !facts.brings.payloads.contains(*kind))
        .collect();
    let names: Vec<&str> = going.into_iter().collect();
    let gap = !names.is_empty();
    let found = if gap {
        CheckFinding::warn(
            check,
            format!(
                "it has from the original service, by their types, what nothing of ours brings: {}",
                some_of(&names)
            ),
            "see `mdmd profile equivalence`, and put what is to stay into the runbook's profiles or the library",
            Owner::Destination,
        )
        .binding(names.join(", "))
    } else {
        CheckFinding::pass(
            check,
            "what else its profiles brought comes with us as well, by its types",
        )
    };
    match (profiles, declared) {
        (Some(told), _) => Some(found.import(told)),
        (None, Some(told)) if gap => Some(found.import(told)),
        _ => None,
    }
}

/// Whether another check asks for it.
fn has_a_check(kind: &str) -> bool {
    let named = [
        &IDENTITIES[..],
        &DECLARED,
        &TRUSTED_BY,
        &ESCROWS,
        &[MANAGEMENT],
    ];
    ProfileKind::of(kind) == ProfileKind::WiFi || named.iter().any(|kinds| kinds.contains(&kind))
}
