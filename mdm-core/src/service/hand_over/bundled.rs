//! What we know of our devices, as the next service needs it.

use std::collections::{BTreeMap, BTreeSet};

use super::Org;
use crate::apps;
use crate::device::Device;
use crate::error::Error;
use crate::hand_off::bundle::BundleDevice;
use crate::ids::{DeviceId, Serial};
use crate::library::LibraryContent;
use crate::original::{
    DeviceOwner, OriginalApp, OriginalEnrolment, OriginalFacts, OriginalNetwork, OriginalProfile,
    Said,
};
use crate::sealed::SealedSecret;
use crate::secret::SecretKind;
use crate::wire::payloads::profile_contents;
use crate::wire::report::CommandReport;

/// Our secrets, by the names that they have for the next service.
const HANDED: [(SecretKind, &str); 5] = [
    (SecretKind::RecoveryKey, "recovery_key"),
    (SecretKind::ServerBypassCode, "bypass_code"),
    (SecretKind::DeviceBypassCode, "device_bypass_code"),
    (SecretKind::RecoveryLockPassword, "recovery_lock_password"),
    (SecretKind::FirmwarePassword, "firmware_password"),
];
/// Commands of a device that are looked through for what it said of its apps.
const COMMANDS: u32 = 500;

/// A profile of the library, and to which devices it goes.
struct Delivered {
    tags: BTreeSet<String>,
    profile: OriginalProfile,
    networks: BTreeSet<String>,
}

impl Org {
    /// What we know of these devices, with their secrets. Unknown ones are left out.
    pub(super) async fn bundled(&self, serials: &[Serial]) -> Result<Vec<BundleDevice>, Error> {
        let library = self.delivered().await?;
        let mut all = Vec::with_capacity(serials.len());
        for serials in serials.chunks(500) {
            let devices = self.store().devices_by_serial(self.id(), serials).await?;
            let ids: Vec<DeviceId> = devices.iter().map(|d| d.id).collect();
            let mut held: BTreeMap<DeviceId, Vec<SealedSecret>> = BTreeMap::new();
            for secret in self.store().secrets_of(self.id(), &ids).await? {
                if let Some(device) = secret.device {
                    held.entry(device).or_default().push(secret);
                }
            }
            let originals = self.store().originals_of(self.id(), &ids).await?;
            let originals: BTreeMap<DeviceId, OriginalFacts> =
                originals.into_iter().map(|o| (o.id, o)).collect();
            for device in &devices {
                let held = held.remove(&device.id).unwrap_or_default();
                let original = originals.get(&device.id);
                all.push(self.bundle_one(device, original, &library, &held).await?);
            }
        }
        Ok(all)
    }

    async fn bundle_one(
        &self,
        device: &Device,
        original: Option<&OriginalFacts>,
        library: &[Delivered],
        held: &[SealedSecret],
    ) -> Result<BundleDevice, Error> {
        let mut said = Said::nothing(device.serial.clone());
        said.system.clone_from(&device.facts.os_version);
        let enrolments = self
            .store()
            .enrollments_of_device(self.id(), device.id)
            .await?;
        if let Some(newest) = enrolments.last() {
            said.last_seen = device.facts.learned.or(newest.ended);
            said.enrolment = device.record.as_ref().map(|_| OriginalEnrolment::Automated);
            said.apps = self.reported_apps(newest.id).await?;
        }
        said.owner = owner(device, original);
        said.time_zone = original.and_then(|o| Some(o.time_zone.as_ref()?.value.clone()));
        said.language = original.and_then(|o| Some(o.language.as_ref()?.value.clone()));
        let mine: Vec<&Delivered> = library
            .iter()
            .filter(|d| !d.tags.is_disjoint(&device.tags))
            .collect();
        let mut networks: BTreeSet<&str> = mine
            .iter()
            .flat_map(|d| &d.networks)
            .map(String::as_str)
            .collect();
        networks.extend(self.organisation.network.as_ref().map(|n| n.ssid.as_str()));
        let networks = networks.into_iter();
        said.networks = Some(
            networks
                .map(|ssid| OriginalNetwork::new(ssid, true))
                .collect(),
        );
        said.profiles = Some(mine.iter().map(|d| d.profile.clone()).collect());
        let mut bundled = BundleDevice::new(said);
        for (kind, name) in HANDED {
            // Newest first.
            let row = held.iter().find(|s| s.kind == kind && s.replaced.is_none());
            let Some(row) = row else { continue };
            let secret = self.open_row(row).await?;
            if let Err(error) = bundled.take(name, secret) {
                tracing::warn!(organisation = %self.id(), %error, "a secret has no form that could be handed over");
            }
        }
        Ok(bundled)
    }

    /// The managed apps of a device, as it last said itself. `None` when it never did.
    async fn reported_apps(
        &self,
        enrolment: crate::ids::EnrollmentId,
    ) -> Result<Option<Vec<OriginalApp>>, Error> {
        let commands = self
            .store()
            .commands(self.id(), enrolment, COMMANDS)
            .await?;
        let mut states = BTreeMap::new();
        let mut told = false;
        // Newest first, and a question may be about some apps only.
        for command in commands {
            if command.request_type != "ManagedApplicationList" {
                continue;
            }
            let Some(report) = &command.report else {
                continue;
            };
            let Ok(report) = CommandReport::parse(&report.0) else {
                continue;
            };
            let Some(apps) = apps::managed_states(&report) else {
                continue;
            };
            told = true;
            for (identifier, state) in apps {
                states.entry(identifier).or_insert(state);
            }
        }
        let there = states.into_iter().filter(|(_, state)| state.is_taken_on());
        Ok(told.then(|| there.map(|(id, _)| OriginalApp::new(&id)).collect()))
    }

    async fn delivered(&self) -> Result<Vec<Delivered>, Error> {
        let mut all = Vec::new();
        for item in self.library().await? {
            let LibraryContent::Profile {
                identifier,
                content,
                ..
            } = item.content
            else {
                continue;
            };
            if item.removed.is_some() {
                continue;
            }
            let content = self.open_secret(content).await?;
            let Ok(contents) = profile_contents(content.expose()) else {
                continue;
            };
            all.push(Delivered {
                tags: item.tags,
                profile: OriginalProfile {
                    identifier,
                    name: Some(item.name),
                    payloads: contents.payloads,
                },
                networks: contents.networks,
            });
        }
        Ok(all)
    }
}

/// Who has it: whoever signed in at it, or what was told of it; its tags are its groups.
fn owner(device: &Device, original: Option<&OriginalFacts>) -> Option<DeviceOwner> {
    let told = original.and_then(|o| Some(o.owner.as_ref()?.value.clone()));
    let mut owner = told.unwrap_or_default();
    if let Some(person) = &device.signed_in {
        owner.name = Some(person.name.clone());
        owner.email = person.account.clone().or(owner.email);
    }
    owner.groups.extend(device.tags.iter().cloned());
    (owner != DeviceOwner::default()).then_some(owner)
}
