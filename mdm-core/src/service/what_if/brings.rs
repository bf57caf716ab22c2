//! What devices get, as far as a what-if counts it: what the library and the declarations bring, and to whom; what the profiles of a
//! runbook bring to one device. Its steps may be for some tags and groups only, and the hold leaves them out for everybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ddm::Target;
use crate::device::Device;
use crate::error::Error;
use crate::ids::DeviceId;
use crate::library::LibraryContent;
use crate::migration::what_if::Brings;
use crate::migration::{PinnedRunbook, StepId, known_by};
use crate::secret::{Secret, SecretKind};
use crate::service::Org;
use crate::vault::EscrowVault;
use crate::wire::payloads::profile_contents;

/// Which devices something of the library goes to.
#[derive(Debug, Default)]
pub(super) struct ForWhom {
    everyone: bool,
    tags: BTreeSet<String>,
    groups: BTreeSet<String>,
    devices: BTreeSet<DeviceId>,
}

impl ForWhom {
    pub(super) fn has(&self, device: &Device) -> bool {
        self.everyone
            || self.devices.contains(&device.id)
            || !device.tags.is_disjoint(&self.tags)
            || !device.groups.is_disjoint(&self.groups)
    }
}

/// What a device gets of a runbook.
#[derive(Debug, Default)]
pub(super) struct Gets {
    /// Steps that are for others.
    pub(super) without: BTreeSet<StepId>,
    /// What the profiles of the other steps bring.
    pub(super) brings: Brings,
}

/// A runbook of a plan.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) runbook: Arc<PinnedRunbook>,
    /// What each profile brings, by the step that installs it.
    parts: Vec<(StepId, Brings)>,
    /// The network that comes with the enrolment.
    network: Option<String>,
    /// What devices get for which these steps are not.
    known: Mutex<BTreeMap<BTreeSet<StepId>, Arc<Gets>>>,
}

impl Whole {
    fn new(
        runbook: Arc<PinnedRunbook>,
        parts: Vec<(StepId, Brings)>,
        network: Option<String>,
    ) -> Self {
        Self {
            runbook,
            parts,
            network,
            known: Mutex::default(),
        }
    }

    /// What a device gets; everything where nothing is known of it but its serial number.
    pub(super) fn of(&self, device: Option<&Device>) -> Arc<Gets> {
        let limits = self.runbook.steps.iter().any(|s| !s.only.is_empty());
        let words = device
            .filter(|_| limits)
            .map(|d| known_by(&d.tags, &d.groups));
        let steps = self.runbook.steps.iter();
        let others = words.map(|words| steps.filter(|s| !s.is_for(&words)).map(|s| s.id).collect());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let gets = known
            .entry(others.unwrap_or_default())
            .or_insert_with_key(|others| Arc::new(self.limited(others)));
        Arc::clone(gets)
    }

    fn limited(&self, others: &BTreeSet<StepId>) -> Gets {
        let mut brings = Brings::default();
        for (_, part) in self.parts.iter().filter(|(step, _)| !others.contains(step)) {
            brings.add(part);
        }
        brings.networks.extend(self.network.iter().cloned());
        Gets {
            without: others.clone(),
            brings,
        }
    }
}

impl Org {
    /// What each profile of the library brings to devices with its tags.
    pub(super) async fn library_brings(&self) -> Result<Vec<(ForWhom, Brings)>, Error> {
        let mut all = Vec::new();
        for item in self.library().await? {
            let LibraryContent::Profile { content, .. } = item.content else {
                continue;
            };
            if item.removed.is_some() || item.audience.is_empty() {
                continue;
            }
            let content = match self.open_secret(content).await {
                Ok(content) => content,
                Err(error) if error.retry_after().is_some() => return Err(error),
                // One that cannot be read brings nothing that could be counted on.
                Err(_) => continue,
            };
            if let Ok(contents) = profile_contents(content.expose()) {
                let brings = Brings {
                    networks: contents.networks,
                    payloads: contents.payloads,
                };
                let whom = ForWhom {
                    tags: item.audience.tags,
                    groups: item.audience.groups,
                    ..ForWhom::default()
                };
                all.push((whom, brings));
            }
        }
        self.declarations_bring(&mut all).await?;
        Ok(all)
    }

    /// What the sets of declarations bring, by the types in them.
    async fn declarations_bring(&self, all: &mut Vec<(ForWhom, Brings)>) -> Result<(), Error> {
        let (store, id) = (self.store(), self.id());
        for set in store.declaration_sets(id).await? {
            if set.removed.is_some() {
                continue;
            }
            let mut whom = ForWhom::default();
            for assigned in store.declaration_assignments_of(id, set.id).await? {
                match assigned.target {
                    _ if assigned.ended.is_some() => {}
                    Target::Organisation => whom.everyone = true,
                    Target::Tag(tag) => {
                        whom.tags.insert(tag);
                    }
                    Target::Group(group) => {
                        whom.groups.insert(group);
                    }
                    Target::Device(device) => {
                        whom.devices.insert(device);
                    }
                    // Whoever that is, it is not the device that has it.
                    Target::User(_) => {}
                }
            }
            let members: Vec<_> = set.members.iter().copied().collect();
            let members = store.declarations_of(id, &members).await?;
            let payloads = members.into_iter().map(|it| it.declaration_type).collect();
            let brings = Brings {
                networks: BTreeSet::new(),
                payloads,
            };
            all.push((whom, brings));
        }
        Ok(())
    }

    /// What the profiles of a runbook bring, and the network of the enrolment profile.
    pub(super) async fn profiles_bring(&self, runbook: Arc<PinnedRunbook>) -> Result<Whole, Error> {
        let mut parts = Vec::new();
        for profile in &runbook.profiles {
            let content = if EscrowVault::is_sealed(&profile.content.0) {
                let kind = SecretKind::ProfileContent;
                self.open_bytes(kind, &profile.content.0).await?
            } else {
                Secret::new(profile.content.0.as_slice())
            };
            // One that cannot be read brings nothing that could be counted on.
            if let Ok(contents) = profile_contents(content.expose()) {
                let brings = Brings {
                    networks: contents.networks,
                    payloads: contents.payloads,
                };
                parts.push((profile.role.step(), brings));
            }
        }
        let network = self.organisation.network.as_ref();
        let network = network.map(|network| network.ssid.clone());
        Ok(Whole::new(runbook, parts, network))
    }
}
