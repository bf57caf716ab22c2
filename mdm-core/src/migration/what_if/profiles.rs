//! The table of profiles: what devices have from the service that they leave (networks, VPN, identities, sign-in, approvals), and
//! whether what they get from us has it too. Where it does not, the gap is named with the devices that have it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Brings;
use crate::ids::Serial;
use crate::original::OriginalFacts;

/// The most names of profiles that a row keeps: examples, not a list.
const MOST_NAMES: usize = 20;

/// What a payload is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProfileKind {
    /// A Wi-Fi network, by its name.
    WiFi,
    /// A VPN, a proxy, DNS or a filter: the way to the network.
    Vpn,
    /// An identity: a certificate with its key.
    Identity,
    /// Certificates that it believes.
    Trust,
    /// Sign-in at the organisation.
    SignIn,
    /// What people need not approve any more: privacy, extensions, login items.
    Approvals,
    /// Restrictions, passcode and encryption.
    Security,
    /// Anything else.
    Other,
}

impl ProfileKind {
    /// Of a `PayloadType`.
    ///
    /// <https://developer.apple.com/documentation/devicemanagement/profile-specific-payload-keys>
    #[must_use]
    pub fn of(payload: &str) -> Self {
        match payload {
            "com.apple.wifi.managed" => Self::WiFi,
            "com.apple.vpn.managed"
            | "com.apple.vpn.managed.applayer"
            | "com.apple.vpn.managed.appmapping"
            | "com.apple.proxy.http.global"
            | "com.apple.dnsSettings.managed"
            | "com.apple.dnsProxy.managed"
            | "com.apple.relay.managed"
            | "com.apple.cellular"
            | "com.apple.ethernet.managed"
            | "com.apple.firstethernet.managed"
            | "com.apple.globalethernet.managed"
            | "com.apple.webcontent-filter" => Self::Vpn,
            "com.apple.security.scep"
            | "com.apple.security.acme"
            | "com.apple.security.pkcs12"
            | "com.apple.ADCertificate.managed"
            | "com.apple.security.identitypreference" => Self::Identity,
            "com.apple.security.root"
            | "com.apple.security.pkcs1"
            | "com.apple.security.pem"
            | "com.apple.security.certificatetransparency"
            | "com.apple.security.certificatepreference" => Self::Trust,
            "com.apple.extensiblesso" | "com.apple.sso" | "com.apple.DirectoryService.managed" => {
                Self::SignIn
            }
            "com.apple.TCC.configuration-profile-policy"
            | "com.apple.system-extension-policy"
            | "com.apple.syspolicy.kernel-extension-policy"
            | "com.apple.servicemanagement"
            | "com.apple.notificationsettings" => Self::Approvals,
            declared if declared.starts_with("com.apple.configuration.account.") => Self::SignIn,
            "com.apple.configuration.passcode.settings"
            | "com.apple.configuration.security.certificate"
            | "com.apple.configuration.diskmanagement.settings" => Self::Security,
            "com.apple.configuration.services.background-tasks" => Self::Approvals,
            "com.apple.applicationaccess"
            | "com.apple.mobiledevice.passwordpolicy"
            | "com.apple.MCX.FileVault2"
            | "com.apple.security.FDERecoveryKeyEscrow"
            | "com.apple.security.firewall"
            | "com.apple.systempolicy.control" => Self::Security,
            _ => Self::Other,
        }
    }
}

/// How the types of declarations begin that say how a device is to be.
pub(super) const CONFIGURATION: &str = "com.apple.configuration.";

/// By what a device gets it from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the two places for profiles")]
pub enum DeliveredBy {
    /// The runbook's profiles, or the network of the enrolment profile: in the hold.
    Runbook,
    /// The library, by a tag of the device: once it is enrolled.
    Library,
}

/// One thing that devices have from the service that they leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ProfileRow {
    /// What it is for.
    pub kind: ProfileKind,
    /// The name of the network, the `PayloadType`, or the `Type` of a declaration.
    pub what: String,
    /// Profiles in which it came, or the identifiers of declarations: some of them.
    pub profiles: BTreeSet<String>,
    /// How many devices have it.
    pub devices: u64,
    /// By what they get it from us.
    pub delivered_by: BTreeSet<DeliveredBy>,
    /// Those that do not get it: the gap.
    pub gap: BTreeSet<Serial>,
}

/// What the original service delivered against what we deliver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ProfileTable {
    /// Rows with a gap first, then by kind.
    pub rows: Vec<ProfileRow>,
    /// Devices whose profiles are known.
    pub known: u64,
    /// Devices of which nobody has told which profiles they have: nothing here speaks of these.
    pub unknown: BTreeSet<Serial>,
}

/// Adds up the table, device by device.
#[derive(Debug, Default)]
pub struct ProfileCounter {
    rows: BTreeMap<(ProfileKind, String), ProfileRow>,
    known: u64,
    unknown: BTreeSet<Serial>,
}

impl ProfileCounter {
    /// Adds a device: what it has, and what the runbook and the library bring it.
    pub fn add(
        &mut self,
        serial: &Serial,
        original: Option<&OriginalFacts>,
        (runbook, library): (&Brings, &Brings),
    ) {
        let profiles = original.and_then(|o| o.profiles.as_ref());
        let networks = original.and_then(|o| o.networks.as_ref());
        let managed: BTreeSet<&str> = networks
            .into_iter()
            .flat_map(|told| &told.value)
            .filter(|network| network.managed)
            .map(|network| network.ssid.as_str())
            .collect();
        match profiles {
            Some(_) => self.known += 1,
            None => {
                self.unknown.insert(serial.clone());
            }
        }
        for ssid in managed {
            let by = delivered(
                runbook.networks.contains(ssid),
                library.networks.contains(ssid),
            );
            self.count(ProfileKind::WiFi, ssid, serial, &by);
        }
        // A device has a thing once, in however many profiles it came.
        let mut had: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for profile in profiles.into_iter().flat_map(|told| &told.value) {
            let name = profile.name.as_deref().unwrap_or(&profile.identifier);
            for payload in &profile.payloads {
                had.entry(payload).or_default().insert(name);
            }
        }
        let declared = original.and_then(|o| o.declarations.as_ref());
        for declaration in declared.into_iter().flat_map(|told| &told.value) {
            // Assets, activations and management serve the configurations.
            if declaration.declaration_type.starts_with(CONFIGURATION) {
                let names = had.entry(&declaration.declaration_type).or_default();
                names.insert(&declaration.identifier);
            }
        }
        for (payload, names) in had {
            let kind = ProfileKind::of(payload);
            // Networks are compared by their names, where these are known.
            if kind == ProfileKind::WiFi && networks.is_some() {
                continue;
            }
            let by = delivered(
                runbook.payloads.contains(payload),
                library.payloads.contains(payload),
            );
            let row = self.count(kind, payload, serial, &by);
            let room = MOST_NAMES.saturating_sub(row.profiles.len());
            row.profiles
                .extend(names.into_iter().take(room).map(str::to_owned));
        }
    }

    fn count(
        &mut self,
        kind: ProfileKind,
        what: &str,
        serial: &Serial,
        by: &BTreeSet<DeliveredBy>,
    ) -> &mut ProfileRow {
        let row = self.rows.entry((kind, what.to_owned()));
        let row = row.or_insert_with(|| ProfileRow {
            kind,
            what: what.to_owned(),
            profiles: BTreeSet::new(),
            devices: 0,
            delivered_by: BTreeSet::new(),
            gap: BTreeSet::new(),
        });
        row.devices += 1;
        row.delivered_by.extend(by);
        if by.is_empty() {
            row.gap.insert(serial.clone());
        }
        row
    }

    /// The table.
    #[must_use]
    pub fn finish(self) -> ProfileTable {
        let mut rows: Vec<ProfileRow> = self.rows.into_values().collect();
        rows.sort_by_key(|row| row.gap.is_empty());
        ProfileTable {
            rows,
            known: self.known,
            unknown: self.unknown,
        }
    }
}

fn delivered(runbook: bool, library: bool) -> BTreeSet<DeliveredBy> {
    let by = [
        (runbook, DeliveredBy::Runbook),
        (library, DeliveredBy::Library),
    ];
    by.into_iter()
        .filter_map(|(is, by)| is.then_some(by))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{DeviceId, OrganisationId};
    use crate::original::Said;

    fn told(json: &str) -> (Serial, OriginalFacts) {
        let said: Said = serde_json::from_str(json).unwrap();
        let serial = said.serial.clone();
        let mut facts = OriginalFacts::new(OrganisationId(1), DeviceId(1));
        facts.take(said, Timestamp::from_millis(1), "export");
        (serial, facts)
    }

    #[test]
    fn what_nobody_delivers_again_is_a_gap_with_its_devices() {
        let mut table = ProfileCounter::default();
        let runbook = Brings {
            networks: ["Office".to_owned()].into(),
            payloads: ["com.apple.wifi.managed".to_owned()].into(),
        };
        let library = Brings {
            networks: BTreeSet::new(),
            payloads: ["com.apple.vpn.managed".to_owned()].into(),
        };
        let nothing = Brings::default();
        let one = told(
            r#"{"serial":"ONE","networks":[{"ssid":"Office","managed":true},{"ssid":"Plant","managed":true},{"ssid":"Home"}],
                "profiles":[{"identifier":"a","name":"Network","payloads":["com.apple.wifi.managed","com.apple.vpn.managed"]},
                            {"identifier":"b","payloads":["com.apple.TCC.configuration-profile-policy"]}]}"#,
        );
        let two = told(
            r#"{"serial":"TWO","profiles":[{"identifier":"a","payloads":["com.apple.vpn.managed"]}],
                "declarations":[{"identifier":"rules","type":"com.apple.configuration.passcode.settings"},
                                {"identifier":"on","type":"com.apple.activation.simple"}]}"#,
        );
        let three = told(r#"{"serial":"THREE","system":"18.0"}"#);
        table.add(&one.0, Some(&one.1), (&runbook, &library));
        table.add(&two.0, Some(&two.1), (&runbook, &nothing));
        table.add(&three.0, Some(&three.1), (&runbook, &nothing));
        let table = table.finish();
        let rows: Vec<String> = table
            .rows
            .iter()
            .map(|r| {
                let gap: Vec<&str> = r.gap.iter().map(Serial::as_str).collect();
                format!(
                    "{:?} {} {} {:?} {gap:?} {:?}",
                    r.kind, r.what, r.devices, r.delivered_by, r.profiles
                )
            })
            .collect();
        assert_eq!(
            rows,
            [
                r#"WiFi Plant 1 {} ["ONE"] {}"#,
                r#"Vpn com.apple.vpn.managed 2 {Library} ["TWO"] {"Network", "a"}"#,
                r#"Approvals com.apple.TCC.configuration-profile-policy 1 {} ["ONE"] {"b"}"#,
                r#"Security com.apple.configuration.passcode.settings 1 {} ["TWO"] {"rules"}"#,
                r#"WiFi Office 1 {Runbook} [] {}"#,
            ]
        );
        assert_eq!((table.known, table.unknown.len()), (2, 1));
    }
}
