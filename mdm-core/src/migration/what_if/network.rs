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
    let Some(told) = facts.original.and_then(|o| o.profiles.as_ref()) else {
        return vec![CheckFinding::unknown(
            Check::IdentityReissue,
            "nobody has told which profiles it has",
            IMPORT,
            Owner::Original,
        )];
    };
    let had: BTreeSet<&str> = told
        .value
        .iter()
        .flat_map(|p| &p.payloads)
        .map(String::as_str)
        .collect();
    let identities = IDENTITIES.iter().any(|kind| had.contains(kind));
    let ours = IDENTITIES
        .iter()
        .any(|kind| facts.brings.payloads.contains(*kind));
    let reissue = match (identities, ours) {
        (false, _) => CheckFinding::pass(Check::IdentityReissue, "it had no identity from there"),
        (true, true) => CheckFinding::pass(Check::IdentityReissue, "identities are issued anew"),
        (true, false) => CheckFinding::warn(
            Check::IdentityReissue,
            "an identity that it has from the original service goes, and none is issued anew",
            "put a certificate payload into the runbook's profiles",
            Owner::Destination,
        ),
    };
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
    vec![reissue.import(told), trust.import(told)]
}
