//! Which protocol a device gets its identity by, where the authority of this installation issues: what the organisation chose
//! for the platform, unless the device is known to be too old for it.
//!
//! ACME is for devices whose hardware can make the key and attest it. One that cannot gets SCEP instead: that is the fall-back,
//! and it is not the device's to choose. Product and system come from machine information that Apple's device key signed, or
//! from what the enrolled device said before; a profile that was made for one protocol obtains nothing by the other.

use super::minimum::{is_older, version};
use crate::device::Platform;
use crate::organisation::{IdentityProtocol, Settings};

/// What was decided for one profile, and why it is not what the organisation chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a decision and its reason")]
pub struct Choice {
    /// The protocol.
    pub protocol: IdentityProtocol,
    /// Why the device got SCEP although ACME was chosen.
    pub fall_back: Option<&'static str>,
}

/// Decides for a device of this product type (`iPhone17,2`) with this version of its system, as far as they are known.
#[must_use]
pub fn choose(settings: &Settings, product: Option<&str>, os_version: Option<&str>) -> Choice {
    let platform = product.and_then(Platform::of_product);
    choose_for(settings, platform, product, os_version)
}

/// The same, with a platform that is known from elsewhere.
#[must_use]
pub fn choose_for(
    settings: &Settings,
    platform: Option<Platform>,
    product: Option<&str>,
    os_version: Option<&str>,
) -> Choice {
    let scep = |fall_back| Choice {
        protocol: IdentityProtocol::Scep,
        fall_back,
    };
    let Some(platform) = platform else {
        let chosen = settings.identity_protocol.values();
        if least_chosen(settings) == IdentityProtocol::AcmeAttested {
            // Whatever it is, it has to.
            return Choice {
                protocol: IdentityProtocol::AcmeAttested,
                fall_back: None,
            };
        }
        let any = chosen.copied().any(|it| it != IdentityProtocol::Scep);
        return scep(any.then_some("its platform is not known"));
    };
    let chosen = settings.identity_protocol.get(&platform).copied();
    let protocol = chosen.unwrap_or_default();
    if protocol == IdentityProtocol::Scep {
        return scep(None);
    }
    // Attestation came with iOS and iPadOS 16 and macOS 14.
    let least = if platform.is_mac() { "14" } else { "16" };
    let system = os_version.filter(|it| version(it).is_some());
    match (product.and_then(attests), system) {
        (Some(false), _) => scep(Some("its hardware cannot attest")),
        (_, Some(system)) if is_older(system, least) => scep(Some("its system cannot attest")),
        (Some(true), Some(_)) => Choice {
            protocol,
            fall_back: None,
        },
        // Nobody knows whether it can. Where attestation is demanded, it has to.
        _ if protocol == IdentityProtocol::AcmeAttested => Choice {
            protocol,
            fall_back: None,
        },
        _ => scep(Some("its product type or system is not known")),
    }
}

/// The same for a device that had an identity by this protocol, which is no less than what Apple attested of it: it can, and what
/// it says of itself since does not make it older. `platform` is what Apple's device list says that it is; a platform that only the
/// device named counts for nothing.
#[must_use]
pub fn not_below(
    settings: &Settings,
    platform: Option<Platform>,
    choice: Choice,
    held: IdentityProtocol,
) -> Choice {
    let chosen = &settings.identity_protocol;
    let asked = match platform {
        Some(platform) => chosen.get(&platform).copied().unwrap_or_default(),
        None => {
            let all = chosen.values().copied();
            all.max_by_key(|it| strength(*it)).unwrap_or_default()
        }
    };
    let floor = [asked, held].into_iter().min_by_key(|it| strength(*it));
    match floor {
        Some(floor) if strength(floor) > strength(choice.protocol) => Choice {
            protocol: floor,
            fall_back: None,
        },
        _ => choice,
    }
}

/// What every platform is asked for at least.
fn least_chosen(settings: &Settings) -> IdentityProtocol {
    let all = [Platform::Ios, Platform::Ipados, Platform::Macos];
    let chosen = all.map(|it| settings.identity_protocol.get(&it).copied());
    let chosen = chosen.into_iter().map(Option::unwrap_or_default);
    chosen.min_by_key(|it| strength(*it)).unwrap_or_default()
}

fn strength(protocol: IdentityProtocol) -> u8 {
    match protocol {
        IdentityProtocol::Scep => 0,
        IdentityProtocol::Acme => 1,
        IdentityProtocol::AcmeAttested => 2,
    }
}

/// Whether the hardware of a product type attests keys: A11 and later in an iPhone, A12 and later in an iPad, Apple silicon in a
/// Mac. `None` for one that is not known.
fn attests(product: &str) -> Option<bool> {
    let digits = product.find(|c: char| c.is_ascii_digit())?;
    let (name, number) = product.split_at(digits);
    let (generation, _) = number.split_once(',')?;
    let generation: u32 = generation.parse().ok()?;
    let first = match name {
        // The A11 came in the iPhone 8, iPhone10,1.
        "iPhone" => 10,
        // iPad7 has A10 and A10X.
        "iPad" => 8,
        // The first Macs with Apple silicon kept the names of their lines.
        "MacBookAir" => 10,
        "MacBookPro" => 17,
        "Macmini" => 9,
        "iMac" => 21,
        "Mac" => 13,
        "MacBook" | "iMacPro" | "MacPro" | "iPod" | "VirtualMac" => return Some(false),
        _ => return None,
    };
    Some(generation >= first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdentityProtocol::{Acme, AcmeAttested, Scep};

    #[test]
    fn hardware_that_attests_is_told_from_what_does_not() {
        for (product, expected) in [
            ("iPhone10,1", Some(true)),
            ("iPhone17,2", Some(true)),
            ("iPhone9,4", Some(false)),
            ("iPad8,1", Some(true)),
            ("iPad16,3", Some(true)),
            ("iPad7,4", Some(false)),
            ("iPod9,1", Some(false)),
            ("MacBookAir10,1", Some(true)),
            ("MacBookAir9,1", Some(false)),
            ("MacBookPro17,1", Some(true)),
            ("MacBookPro16,4", Some(false)),
            ("Macmini9,1", Some(true)),
            ("iMac20,2", Some(false)),
            ("iMacPro1,1", Some(false)),
            ("Mac15,7", Some(true)),
            ("VirtualMac2,1", Some(false)),
            ("Watch7,1", None),
            ("iPhone", None),
        ] {
            assert_eq!(attests(product), expected, "{product}");
        }
    }

    #[test]
    fn a_device_that_cannot_attest_falls_back_and_one_that_can_does_not() {
        let check = |chosen, product, system, expected, falls_back| {
            let mut settings = Settings::default();
            for platform in [Platform::Ios, Platform::Ipados, Platform::Macos] {
                settings.identity_protocol.insert(platform, chosen);
            }
            let choice = choose(&settings, product, system);
            assert_eq!(choice.protocol, expected, "{product:?} {system:?}");
            assert_eq!(choice.fall_back.is_some(), falls_back, "{choice:?}");
        };
        let (new, old) = (Some("iPhone17,2"), Some("iPhone9,1"));
        check(Acme, new, Some("26.1"), Acme, false);
        check(AcmeAttested, new, Some("26.1"), AcmeAttested, false);
        check(Scep, new, Some("26.1"), Scep, false);
        check(Acme, old, Some("15.8"), Scep, true);
        check(AcmeAttested, old, Some("15.8"), Scep, true);
        check(Acme, new, Some("15.8"), Scep, true);
        check(Acme, Some("Mac15,7"), Some("13.6"), Scep, true);
        check(Acme, Some("Mac15,7"), Some("14.0"), Acme, false);
        // Unknown: only where it is demanded.
        check(Acme, new, None, Scep, true);
        check(AcmeAttested, new, None, AcmeAttested, false);
        check(Acme, Some("Watch7,1"), Some("26.1"), Scep, true);
        check(AcmeAttested, None, None, AcmeAttested, false);
        check(AcmeAttested, Some("Watch7,1"), None, AcmeAttested, false);
        check(Acme, None, None, Scep, true);
        // Demanded of some, and nobody knows whether it is one of them.
        let mut settings = Settings::default();
        settings
            .identity_protocol
            .insert(Platform::Ios, AcmeAttested);
        assert_eq!(choose(&settings, None, None).protocol, Scep);
    }

    #[test]
    fn what_a_device_says_of_itself_makes_it_no_older_than_it_was() {
        let mut settings = Settings::default();
        settings
            .identity_protocol
            .insert(Platform::Ios, AcmeAttested);
        settings.identity_protocol.insert(Platform::Macos, Acme);
        let lie = choose(&settings, Some("VirtualMac2,1"), Some("26.1"));
        assert_eq!(lie.protocol, Scep);
        for (platform, held, expected) in [
            (None, Scep, Scep),
            (None, Acme, Acme),
            (None, AcmeAttested, AcmeAttested),
            (Some(Platform::Ios), AcmeAttested, AcmeAttested),
            (Some(Platform::Macos), AcmeAttested, Acme),
            // The organisation asks nothing of iPads: that is its choice.
            (Some(Platform::Ipados), AcmeAttested, Scep),
        ] {
            let choice = not_below(&settings, platform, lie, held);
            assert_eq!(choice.protocol, expected, "{platform:?} {held:?}");
            assert_eq!(choice.fall_back.is_some(), expected == Scep);
        }
    }

    #[test]
    fn who_chooses_nothing_gets_scep() {
        let choice = choose(&Settings::default(), Some("iPhone17,2"), Some("26.1"));
        assert_eq!(
            choice,
            Choice {
                protocol: Scep,
                fall_back: None
            }
        );
    }
}
