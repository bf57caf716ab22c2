//! Destroys what was imported of keys, codes and passwords once the project that it was for is closed: what opens nothing any more, or
//! nothing that a key of ours does not open too. What is still the only key of a device stays, with the reason why.

use std::collections::{BTreeMap, BTreeSet};

use openssl::sha::Sha256;
use serde::Serialize;
use serde_json::json;

use super::Org;
use super::wave::{check_digest, sentence};
use crate::device::Device;
use crate::error::Error;
use crate::filevault::KeyCustody;
use crate::ids::{DeviceId, MoveId, ProjectId, SecretId, Serial, SetUpId, WaveId};
use crate::migration::SetUp;
use crate::organisation::Der;
use crate::project::Project;
use crate::sealed::SealedSecret;
use crate::secret::SecretKind;
use crate::store::{Batch, Noun};

/// Members that are looked at, and whose secrets go, in one step.
const PAGE: u32 = 200;
/// Secrets that stay are named up to so many; counted are all.
const NAMED: usize = 500;

/// What goes of the secrets that were imported for a project, and what stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Purge {
    /// Whose members' secrets they are.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// How many go, or went, of each kind.
    pub goes: BTreeMap<String, u64>,
    /// Of how many devices.
    pub devices: u64,
    /// How many stay, and why.
    pub stays: BTreeMap<String, u64>,
    /// Those that stay, the first five hundred.
    pub kept: Vec<KeptSecret>,
    /// Of exactly those that go: whoever accepts it accepts these and no others.
    pub digest: String,
}

impl Purge {
    /// How many go.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.goes.values().sum()
    }
}

/// A secret that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "whose, what and why")]
pub struct KeptSecret {
    /// Of which device.
    pub serial: Serial,
    /// The name of its kind.
    pub kind: String,
    /// Why it stays.
    pub why: String,
}

/// A device with what was imported for it and is not destroyed.
struct Imported {
    device: Device,
    set_up: Option<SetUp>,
    held: Vec<SealedSecret>,
}

/// A device of a project, and its set-up if it came with this attempt.
type Member = (DeviceId, Option<SetUpId>);

/// How far a walk over the members is.
struct Walk {
    waves: Vec<WaveId>,
    after: MoveId,
    seen: BTreeSet<DeviceId>,
}

impl Org {
    /// What would go of the imported secrets of a closed project, and what would stay. With `other` also what the original service
    /// called a secret and of which nobody can prove what it opens.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] for a project that is not closed; the store's.
    pub async fn purge_plan(&self, id: ProjectId, other: bool) -> Result<Purge, Error> {
        let project = self.closed(id).await?;
        self.look_at_imported(&project, other).await
    }

    /// Destroys what this plan has shown: the bytes are overwritten, and that there was such a secret is still known. It ends
    /// halfway when the process does; what is left then is another plan.
    ///
    /// # Errors
    /// [`Error::BadInput`] without a reason; [`Error::Precondition`] when another digest is accepted than that of what would go now;
    /// as [`Org::purge_plan`].
    pub async fn purge(
        &self,
        id: ProjectId,
        other: bool,
        reason: &str,
        digest: &str,
    ) -> Result<Purge, Error> {
        sentence("reason", reason, false)?;
        if reason.trim().is_empty() {
            let problem = "must say why the secrets are destroyed";
            return Err(Error::bad_input("reason", problem));
        }
        check_digest(digest)?;
        let project = self.closed(id).await?;
        let plan = self.look_at_imported(&project, other).await?;
        if plan.digest != digest {
            let why =
                "other secrets would go than those that were accepted: look at the plan again";
            return Err(Error::Precondition(why.to_owned()));
        }
        let mut walk = self.walk_of(&project).await?;
        let mut done = Purge {
            goes: BTreeMap::new(),
            devices: 0,
            ..plan
        };
        while let Some(members) = self.next_devices(&mut walk).await? {
            // What somebody else changes meanwhile is judged anew.
            let went = self.again_on_conflict(|| {
                self.destroy_imported(&project, &members, (other, reason, digest))
            });
            let (devices, kinds) = went.await?;
            done.devices += devices;
            for (kind, count) in kinds {
                *done.goes.entry(kind.to_owned()).or_default() += count;
            }
        }
        Ok(done)
    }

    /// Answers of how many devices, and how many of each kind.
    async fn destroy_imported(
        &self,
        project: &Project,
        members: &[Member],
        (other, reason, digest): (bool, &str, &str),
    ) -> Result<(u64, BTreeMap<&'static str, u64>), Error> {
        let now = self.now();
        let mut batch = Batch::new();
        let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
        let (mut ids, mut devices): (Vec<SecretId>, u64) = (Vec::new(), 0);
        for imported in self.imported_for(members).await? {
            let device = &imported.device;
            let before = ids.len();
            for row in imported.imported() {
                if imported.stays(row, other).is_some() {
                    continue;
                }
                let mut row = row.clone();
                row.sealed = Der(Vec::new());
                row.replaced = row.replaced.or(Some(now));
                row.destroyed = Some(now);
                *kinds.entry(row.kind.as_str()).or_default() += 1;
                ids.push(row.id);
                batch.put(row);
            }
            if ids.len() > before {
                devices += 1;
                // What it was judged by is as it was read.
                batch.expect(Noun::Device, self.id(), device.id.0, device.version);
                for row in imported.held.iter().filter(|row| is_ours(row)) {
                    batch.expect(Noun::Secret, self.id(), row.id.0, row.version);
                }
            }
        }
        if !ids.is_empty() {
            let detail = json!({
                "project": project.id, "name": project.name, "reason": reason, "digest": digest,
                "kinds": kinds, "devices": devices, "secrets": ids,
            });
            self.audit_into(&mut batch, "imported-secrets.destroyed", detail);
            self.store().commit(batch).await?;
        }
        Ok((devices, kinds))
    }

    async fn closed(&self, id: ProjectId) -> Result<Project, Error> {
        let project = self.project(id).await?;
        if project.closed.is_none() {
            let why = "the project is not closed: what was imported for it is still needed";
            return Err(Error::Precondition(why.to_owned()));
        }
        Ok(project)
    }

    pub(super) async fn look_at_imported(
        &self,
        project: &Project,
        other: bool,
    ) -> Result<Purge, Error> {
        let mut walk = self.walk_of(project).await?;
        let mut digest = Sha256::new();
        digest.update(format!("purge {} {other}", project.id).as_bytes());
        let mut plan = Purge {
            project: project.id,
            name: project.name.clone(),
            goes: BTreeMap::new(),
            devices: 0,
            stays: BTreeMap::new(),
            kept: Vec::new(),
            digest: String::new(),
        };
        while let Some(members) = self.next_devices(&mut walk).await? {
            for imported in self.imported_for(&members).await? {
                let mut goes = false;
                for row in imported.imported() {
                    let kind = row.kind.as_str();
                    let Some(why) = imported.stays(row, other) else {
                        *plan.goes.entry(kind.to_owned()).or_default() += 1;
                        digest.update(format!(" {}", row.id).as_bytes());
                        goes = true;
                        continue;
                    };
                    *plan.stays.entry(why.to_owned()).or_default() += 1;
                    if plan.kept.len() < NAMED {
                        plan.kept.push(KeptSecret {
                            serial: imported.device.serial.clone(),
                            kind: kind.to_owned(),
                            why: why.to_owned(),
                        });
                    }
                }
                plan.devices += u64::from(goes);
            }
        }
        plan.digest = digest.finish().iter().map(|b| format!("{b:02x}")).collect();
        Ok(plan)
    }

    async fn walk_of(&self, project: &Project) -> Result<Walk, Error> {
        let waves = self.waves_of(project.id).await?;
        Ok(Walk {
            // The last one is the next.
            waves: waves.into_iter().rev().map(|wave| wave.id).collect(),
            after: MoveId(0),
            seen: BTreeSet::new(),
        })
    }

    /// The next devices; `None` behind the last one.
    async fn next_devices(&self, walk: &mut Walk) -> Result<Option<Vec<Member>>, Error> {
        while let Some(wave) = walk.waves.last().copied() {
            let page = self
                .store()
                .attempts(self.id(), wave, walk.after, PAGE)
                .await?;
            let Some(last) = page.last() else {
                walk.waves.pop();
                walk.after = MoveId(0);
                continue;
            };
            walk.after = last.id;
            // A device that was taken out of one wave and came with another is one device.
            let members = page.into_iter().filter(|a| walk.seen.insert(a.device));
            return Ok(Some(members.map(|a| (a.device, a.enrolled_as)).collect()));
        }
        Ok(None)
    }

    /// Those of them for whom something was imported that is not destroyed.
    async fn imported_for(&self, members: &[Member]) -> Result<Vec<Imported>, Error> {
        let ids: Vec<DeviceId> = members.iter().map(|(device, _)| *device).collect();
        let mut held: BTreeMap<DeviceId, Vec<SealedSecret>> = BTreeMap::new();
        for row in self.store().secrets_of(self.id(), &ids).await? {
            if let Some(device) = row.device {
                held.entry(device).or_default().push(row);
            }
        }
        held.retain(|_, rows| rows.iter().any(is_imported));
        let ids: Vec<DeviceId> = held.keys().copied().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let set_ups: Vec<SetUpId> = members.iter().filter_map(|(_, set_up)| *set_up).collect();
        let set_ups = self.store().set_ups_of(self.id(), &set_ups).await?;
        let mut all = Vec::new();
        for device in self.store().devices_of(self.id(), &ids).await? {
            let of = |set_up: &&SetUp| Some(set_up.enrollment) == device.enrollment;
            let mut set_up = set_ups.iter().find(of).cloned();
            if let (None, Some(enrollment)) = (&set_up, device.enrollment) {
                // It came with another wave, or again.
                set_up = self.store().set_up_of(self.id(), enrollment).await?;
            }
            let held = held.remove(&device.id).unwrap_or_default();
            all.push(Imported {
                device,
                set_up,
                held,
            });
        }
        Ok(all)
    }
}

fn is_imported(row: &SealedSecret) -> bool {
    row.destroyed.is_none()
        && matches!(
            row.kind,
            SecretKind::OriginalRecoveryKey
                | SecretKind::OriginalBypassCode
                | SecretKind::OriginalDeviceBypassCode
                | SecretKind::OriginalRecoveryLockPassword
                | SecretKind::OriginalFirmwarePassword
                | SecretKind::OriginalOther
        )
}

/// One of ours, in force, that may take the place of an imported one.
fn is_ours(row: &SealedSecret) -> bool {
    row.replaced.is_none()
        && row.destroyed.is_none()
        && matches!(
            row.kind,
            SecretKind::RecoveryKey
                | SecretKind::ServerBypassCode
                | SecretKind::DeviceBypassCode
                | SecretKind::FirmwarePassword
        )
}

impl Imported {
    fn imported(&self) -> impl Iterator<Item = &SealedSecret> {
        self.held.iter().filter(|row| is_imported(row))
    }

    /// Why it stays; `None` for one that may go.
    fn stays(&self, row: &SealedSecret, other: bool) -> Option<&'static str> {
        let device = &self.device;
        let Some(set_up) = self.set_up.as_ref().filter(|_| device.enrollment.is_some()) else {
            return Some("the device is not here: where it is, it may open it");
        };
        let Some(enrolled) = set_up.enrolled else {
            return Some("the device has begun to enrol, and no more");
        };
        if device.open_move.is_some() || device.leaving.is_some() {
            return Some("the device is in an open wave, or on its way to another service");
        }
        let mac = set_up.platform.is_mac();
        // What is older than the imported one is of an earlier stay with us: the service in between may have set another.
        let ours = |kind| {
            self.held
                .iter()
                .find(|held| held.kind == kind && is_ours(held) && held.created >= row.created)
        };
        let confirmed = |kind| {
            let at = ours(kind).and_then(|held| held.confirmed);
            at.is_some_and(|at| at >= enrolled)
        };
        // Confirmed by Apple since the device came: the lock that is on is opened by our code.
        let locked = || confirmed(SecretKind::ServerBypassCode);
        let off = || {
            let read = device.lock.apple.as_ref();
            read.is_some_and(|read| !read.on && read.at >= enrolled)
        };
        let (proved, why) = match row.kind {
            SecretKind::OriginalRecoveryKey => (
                !mac || ours(SecretKind::RecoveryKey).is_some()
                    && KeyCustody::of(&self.held) == KeyCustody::New,
                "it is the only recovery key of the Mac that is known: none of its own is escrowed here",
            ),
            SecretKind::OriginalBypassCode => (
                locked() || off(),
                "the lock of the device was neither read as off since it came nor confirmed with a code of ours",
            ),
            SecretKind::OriginalDeviceBypassCode => (
                locked() || ours(SecretKind::DeviceBypassCode).is_some(),
                "it is the only code for its user's lock that is known: the device has given us none",
            ),
            // The system removes that lock when a Mac leaves the service that has set it.
            SecretKind::OriginalRecoveryLockPassword => (true, ""),
            SecretKind::OriginalFirmwarePassword => (
                !mac || set_up.apple_silicon == Some(true)
                    || confirmed(SecretKind::FirmwarePassword),
                "a firmware password stays when a Mac moves: it is the only one that is known",
            ),
            _ => (
                other,
                "nobody can prove what it opens: it goes only where that is asked for",
            ),
        };
        (!proved).then_some(why)
    }
}
