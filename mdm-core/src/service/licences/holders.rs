//! Who holds which licence, as last read for open errands: errands of one location that are due at the same time are read once
//! together, and what was read before a failure is not read again. In memory, bounded by the devices of the open errands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::errand::Errand;
use crate::error::Error;
use crate::ids::{LocationId, OrganisationId, Serial};
use crate::service::Org;
use crate::service::ports::ContentCredential;

/// What was read longer ago is read again.
const KEPT: Duration = Duration::from_secs(600);
/// Readings that are kept; beyond that each errand reads for itself.
const MOST: usize = 1_000;

type Key = (OrganisationId, LocationId, u64);

/// Holders of one app among the devices that were asked about.
#[derive(Clone)]
struct Reading {
    /// Nothing of it is older.
    since: Timestamp,
    /// When it was read.
    read: Timestamp,
    about: Arc<BTreeSet<Serial>>,
    holders: Arc<BTreeSet<Serial>>,
}

/// Readings of this process.
#[derive(Default)]
pub(in crate::service) struct HolderMemory(Mutex<HashMap<Key, Reading>>);

impl HolderMemory {
    fn recall(&self, key: &Key, not_before: Timestamp, of: &Errand) -> Option<Reading> {
        let all = self.lock();
        let reading = all.get(key).filter(|r| r.since >= not_before)?;
        let asked = |member: &crate::errand::ErrandMember| reading.about.contains(&member.serial);
        of.members.iter().all(asked).then(|| reading.clone())
    }

    fn remember(&self, key: Key, reading: Reading, now: Timestamp) {
        let mut all = self.lock();
        all.retain(|_, r| r.read <= now && now < r.read + KEPT);
        if all.len() < MOST {
            all.insert(key, reading);
        }
    }

    /// Nothing is under way in an organisation any more.
    pub(in crate::service) fn forget(&self, organisation: OrganisationId) {
        self.lock().retain(|(of, ..), _| *of != organisation);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Org {
    /// Who of an errand's devices holds each of its apps, read not before `not_before`.
    pub(in crate::service) async fn holders_for(
        &self,
        errand: &Errand,
        credential: &ContentCredential,
        not_before: Timestamp,
    ) -> Result<BTreeMap<u64, Arc<BTreeSet<Serial>>>, Error> {
        let memory = &self.mdm.inner.holders;
        let mut about: Option<Arc<BTreeSet<Serial>>> = None;
        let mut holders = BTreeMap::new();
        for app in errand.kind.apps() {
            let key = (self.id(), credential.location, *app);
            if let Some(known) = memory.recall(&key, not_before, errand) {
                holders.insert(*app, known.holders);
                continue;
            }
            let about = match &about {
                Some(about) => about.clone(),
                None => {
                    let open = self.open_errands().await?;
                    let here = open.iter().filter(|e| e.location() == errand.location());
                    let members = here.flat_map(|e| &e.members).chain(&errand.members);
                    let serials = members.map(|m| m.serial.clone()).collect();
                    about.insert(Arc::new(serials)).clone()
                }
            };
            let now = self.now();
            // As far back as counts for this errand; a list that failed half-way goes on.
            let since = not_before.max(now - KEPT);
            let all = self
                .ports()
                .licences
                .holders(credential, *app, since)
                .await?;
            let asked = |serial: &Serial| about.contains(serial);
            let found: Arc<BTreeSet<Serial>> = Arc::new(all.into_iter().filter(asked).collect());
            let reading = Reading {
                since,
                read: now,
                about,
                holders: found.clone(),
            };
            memory.remember(key, reading, now);
            holders.insert(*app, found);
        }
        Ok(holders)
    }
}
