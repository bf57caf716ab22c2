//! What we know of our devices, as the next service needs it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Org;
use crate::apps;
use crate::device::{Device, Platform};
use crate::enrollment::{ChannelKind, Enrollment};
use crate::error::Error;
use crate::hand_off::bundle::BundleDevice;
use crate::ids::{CommandId, DeviceId, RunbookId, Serial};
use crate::library::{Audience, LibraryContent};
use crate::original::{
    DeviceOwner, ManagedUser, OriginalApp, OriginalEnrolment, OriginalFacts, OriginalNetwork,
    OriginalProfile, Said,
};
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::vault::EscrowVault;
use crate::wire::payloads::profile_contents;
use crate::wire::report::CommandReport;

/// Our secrets, those that were brought in from the service before us, and the names that they have for the next service.
const HANDED: [(SecretKind, Option<SecretKind>, &str); 5] = {
    use SecretKind as K;
    [
        (K::RecoveryKey, Some(K::OriginalRecoveryKey), "recovery_key"),
        (
            K::ServerBypassCode,
            Some(K::OriginalBypassCode),
            "bypass_code",
        ),
        (
            K::DeviceBypassCode,
            Some(K::OriginalDeviceBypassCode),
            "device_bypass_code",
        ),
        // A Mac loses this lock when it leaves the service that set it: what was brought in opens nothing any more.
        (K::RecoveryLockPassword, None, "recovery_lock_password"),
        (
            K::FirmwarePassword,
            Some(K::OriginalFirmwarePassword),
            "firmware_password",
        ),
    ]
};
/// Commands of a device that are looked through for what it said of its apps.
const COMMANDS: u32 = 500;

/// What the runbooks of holds install, each read once; `None` for one that cannot be read whole: then nobody may call a list of
/// it complete.
type OfRunbooks = BTreeMap<RunbookId, Option<Vec<Delivered>>>;

/// A profile that we deliver, and to which devices of the library's it goes.
struct Delivered {
    whom: Audience,
    profile: OriginalProfile,
    networks: BTreeSet<String>,
}

impl Org {
    /// What we know of these devices, with their secrets. Unknown ones are left out.
    pub(super) async fn bundled(&self, serials: &[Serial]) -> Result<Vec<BundleDevice>, Error> {
        let library = self.delivered().await?;
        let mut runbooks = OfRunbooks::new();
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
                let ours = (library.as_slice(), &mut runbooks);
                all.push(self.bundle_one(device, original, ours, &held).await?);
            }
        }
        Ok(all)
    }

    async fn bundle_one(
        &self,
        device: &Device,
        original: Option<&OriginalFacts>,
        (library, runbooks): (&[Delivered], &mut OfRunbooks),
        held: &[SealedSecret],
    ) -> Result<BundleDevice, Error> {
        let mut said = Said::nothing(device.serial.clone());
        said.system.clone_from(&device.facts.os_version);
        let enrolments = self
            .store()
            .enrollments_of_device(self.id(), device.id)
            .await?;
        if let Some(newest) = enrolments.last() {
            let heard = self.last_heard(&[device.id]).await?.remove(&device.id);
            said.last_seen = heard.max(device.facts.learned).or(newest.ended);
            said.enrolment = device.record.as_ref().map(|_| OriginalEnrolment::Automated);
            said.apps = self.reported_apps(newest.id).await?;
        }
        said.owner = owner(device, original);
        said.time_zone = original.and_then(|o| Some(o.time_zone.as_ref()?.value.clone()));
        said.language = original.and_then(|o| Some(o.language.as_ref()?.value.clone()));
        if let Some(newest) = enrolments.last() {
            said.managed_user = self.managed_user(device, newest).await?;
            let set_up = self.store().set_up_of(self.id(), newest.id).await?;
            let of_hold = match &set_up {
                Some(set_up) => self.of_runbook(set_up.runbook, runbooks).await?,
                None => Some(&[][..]),
            };
            // Both lists are told whole, or not at all.
            if let Some(of_hold) = of_hold {
                let mine = library.iter().filter(|d| d.whom.has(device));
                let mine: Vec<&Delivered> = mine.chain(of_hold).collect();
                let networks = mine.iter().flat_map(|d| &d.networks);
                let enrolment = self.organisation.network.as_ref().map(|n| &n.ssid);
                let networks: BTreeSet<&String> = networks.chain(enrolment).collect();
                let networks = networks.into_iter();
                let networks = networks.map(|ssid| OriginalNetwork::new(ssid, true));
                said.networks = Some(networks.collect());
                let profiles = mine.iter().map(|d| (&d.profile.identifier, &d.profile));
                let profiles: BTreeMap<_, _> = profiles.collect();
                said.profiles = Some(profiles.into_values().cloned().collect());
            }
        }
        let mut bundled = BundleDevice::new(said);
        for (ours, brought, name) in HANDED {
            let Some(row) = in_force(held, ours, brought) else {
                continue;
            };
            let secret = self.open_row(row).await?;
            if let Err(error) = bundled.take(name, secret) {
                tracing::warn!(organisation = %self.id(), %error, "a secret has no form that could be handed over");
            }
        }
        // What the service before us knew, and we do not understand, is passed on as it came.
        let others = held.iter().find(|s| {
            s.kind == SecretKind::OriginalOther && s.replaced.is_none() && s.destroyed.is_none()
        });
        if let Some(row) = others {
            let secret = self.open_row(row).await?;
            bundled.secrets.insert(SecretKind::OriginalOther, secret);
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
            .commands(self.id(), enrolment, CommandId(i64::MAX), COMMANDS)
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

    /// The one local user of a Mac whose account has a channel here. Whoever logs in over the network is none.
    async fn managed_user(
        &self,
        device: &Device,
        enrolment: &Enrollment,
    ) -> Result<Option<ManagedUser>, Error> {
        if !device.platform().is_some_and(Platform::is_mac) {
            return Ok(None);
        }
        let Some(local) = &enrolment.local_user else {
            return Ok(None);
        };
        let users = self.store().user_channels(self.id(), enrolment.id).await?;
        let is_local = |key: &str| key.rsplit_once(':').is_some_and(|(_, user)| user == local);
        let user = users.into_iter().find(|user| is_local(&user.key));
        Ok(user.and_then(|user| match user.channel {
            ChannelKind::User {
                short_name: Some(name),
                ..
            } => Some(ManagedUser {
                name,
                last_sign_in: None,
            }),
            ChannelKind::User { .. } | ChannelKind::Device => None,
        }))
    }

    /// What the runbook of a hold installs; `None` when not all of it can be read.
    async fn of_runbook<'a>(
        &self,
        id: RunbookId,
        runbooks: &'a mut OfRunbooks,
    ) -> Result<Option<&'a [Delivered]>, Error> {
        if let Entry::Vacant(free) = runbooks.entry(id) {
            free.insert(self.installed_by(id).await?);
        }
        Ok(runbooks.get(&id).and_then(Option::as_deref))
    }

    async fn installed_by(&self, id: RunbookId) -> Result<Option<Vec<Delivered>>, Error> {
        // One that cannot be read is no reason to hand nothing over.
        let plan = match self.plan(id).await {
            Ok(plan) => plan,
            Err(error) if error.retry_after().is_some() => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut all = Vec::with_capacity(plan.profiles.len());
        for profile in &plan.profiles {
            let content = if EscrowVault::is_sealed(&profile.content.0) {
                let kind = SecretKind::ProfileContent;
                match self.open_bytes(kind, &profile.content.0).await {
                    Ok(opened) => opened,
                    Err(error) if error.retry_after().is_some() => return Err(error),
                    Err(_) => return Ok(None),
                }
            } else {
                Secret::new(profile.content.0.as_slice())
            };
            let Ok(contents) = profile_contents(content.expose()) else {
                return Ok(None);
            };
            all.push(Delivered {
                whom: Audience::default(),
                profile: OriginalProfile {
                    identifier: profile.identifier.clone(),
                    name: None,
                    payloads: contents.payloads,
                },
                networks: contents.networks,
            });
        }
        Ok(Some(all))
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
                whom: item.audience,
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

/// The secret that holds under a name: ours, else the one that was brought in and that nothing of ours has replaced. Of recovery
/// keys the newer one opens the disk: a device that was here before, left and came again has an older one of ours.
fn in_force(
    held: &[SealedSecret],
    ours: SecretKind,
    brought: Option<SecretKind>,
) -> Option<&SealedSecret> {
    let newest = |kind| {
        let rows = held.iter();
        let rows = rows.filter(|s| s.replaced.is_none() && s.destroyed.is_none());
        let rows = rows.filter(|s| s.kind == kind);
        rows.max_by_key(|row| (row.created, row.id))
    };
    let (ours_row, brought_row) = (newest(ours), brought.and_then(newest));
    if ours == SecretKind::RecoveryKey {
        return ours_row
            .into_iter()
            .chain(brought_row)
            .max_by_key(|row| (row.created, row.id));
    }
    ours_row.or(brought_row)
}

/// Who has it: whoever signed in at it, or what was told of it; its tags are its groups.
fn owner(device: &Device, original: Option<&OriginalFacts>) -> Option<DeviceOwner> {
    let told = original.and_then(|o| Some(o.owner.as_ref()?.value.clone()));
    let mut owner = told.unwrap_or_default();
    if let Some(person) = &device.signed_in {
        owner.name = Some(person.name.clone());
        owner.email = person.account.clone().or(owner.email);
    }
    owner.groups.extend(device.groups.iter().cloned());
    owner.groups.extend(device.tags.iter().cloned());
    (owner != DeviceOwner::default()).then_some(owner)
}
