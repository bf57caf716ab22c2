//! Networks, and what lets a device onto them: what came from the original service goes with it.

use std::collections::BTreeSet;

use super::{Check, CheckFinding, MemberFacts};
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
const IMPORT: &str = "bring in what the original service knows of it";

pub(super) fn look(facts: &MemberFacts<'_>, found: &mut Vec<CheckFinding>) {
    found.push(wifi(facts));
    found.extend(payloads(facts));
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
    let in_profile = profiles.filter(|told| {
        let mut payloads = told.value.iter().flat_map(|p| &p.payloads);
        payloads.any(|payload| IDENTITIES.contains(&payload.as_str()))
    });
    let in_declaration = declared.filter(|told| {
        let mut all = told.value.iter();
        all.any(|d| DECLARED.contains(&d.declaration_type.as_str()))
    });
    let mut kinds = IDENTITIES.iter().chain(&DECLARED);
    let ours = kinds.any(|kind| facts.brings.payloads.contains(*kind));
    let had = match ours {
        true => CheckFinding::pass(check, "identities are issued anew"),
        false => CheckFinding::warn(
            check,
            "an identity that it has from the original service goes, and none is issued anew",
            "put a certificate payload into the runbook's profiles",
            Owner::Destination,
        ),
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
    let lost: Vec<&str> = TRUSTED_BY
        .iter()
        .copied()
        .filter(|kind| had.contains(kind) && !facts.brings.payloads.contains(*kind))
        .collect();
    let trust = if lost.is_empty() {
        CheckFinding::pass(
            Check::TrustGap,
            "no sign-in depends on the original service",
        )
    } else {
        CheckFinding::warn(
            Check::TrustGap,
            format!(
                "sign-in that depends on the original service: {}",
                lost.join(", ")
            ),
            "deliver these payloads as well, or tell people how to register again",
            Owner::Destination,
        )
    };
    trust.import(told)
}
