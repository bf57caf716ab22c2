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
/// A list that did not come to rest is read again after this time.
const RESTLESS: Duration = Duration::from_secs(25);

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
    /// The list did not change while it was read.
    steady: bool,
}

/// Who holds each app of an errand.
pub(in crate::service) struct Holders {
    pub(in crate::service) of: BTreeMap<u64, Arc<BTreeSet<Serial>>>,
    /// Nobody is missing. Otherwise somebody may be, for lists changed while they were read.
    pub(in crate::service) complete: bool,
}

impl Holders {
    /// Whether a device holds an app, as far as was seen.
    pub(in crate::service) fn has(&self, app: u64, serial: &Serial) -> bool {
        self.of.get(&app).is_some_and(|h| h.contains(serial))
    }
}

/// Readings of this process.
#[derive(Default)]
pub(in crate::service) struct HolderMemory(Mutex<HashMap<Key, Reading>>);

impl HolderMemory {
    fn recall(
        &self,
        key: &Key,
        not_before: Timestamp,
        of: &Errand,
        now: Timestamp,
    ) -> Option<Reading> {
        let all = self.lock();
        let fresh = |r: &&Reading| {
            let kept = if r.steady { KEPT } else { RESTLESS };
            r.since >= not_before && r.read <= now && now < r.read + kept
        };
        let reading = all.get(key).filter(fresh)?;
        let asked = |member: &crate::errand::ErrandMember| reading.about.contains(&member.serial);
        of.members.iter().all(asked).then(|| reading.clone())
    }

    fn remember(&self, key: Key, reading: Reading, now: Timestamp) {
        let mut all = self.lock();
        all.retain(|_, r| r.read <= now && now < r.read + KEPT);
        // What is known already is replaced.
        if all.len() < MOST || all.contains_key(&key) {
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
    /// Who of an errand's devices holds each of its apps, read not before `not_before` and not longer ago than is kept.
    pub(in crate::service) async fn holders_for(
        &self,
        errand: &Errand,
        credential: &ContentCredential,
        not_before: Timestamp,
    ) -> Result<Holders, Error> {
        let memory = &self.mdm.inner.holders;
        let mut about: Option<Arc<BTreeSet<Serial>>> = None;
        let mut holders = Holders {
            of: BTreeMap::new(),
            complete: true,
        };
        for app in errand.kind.apps() {
            let key = (self.id(), credential.location, *app);
            let now = self.now();
            if let Some(known) = memory.recall(&key, not_before, errand, now) {
                holders.of.insert(*app, known.holders);
                holders.complete &= known.steady;
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
            // As far back as counts for this errand; a list that failed half-way goes on.
            let since = not_before.max(now - KEPT);
            let all = self
                .ports()
                .licences
                .holders(credential, *app, since)
                .await?;
            let asked = |serial: &Serial| about.contains(serial);
            let found: Arc<BTreeSet<Serial>> =
                Arc::new(all.serials.into_iter().filter(asked).collect());
            let reading = Reading {
                since,
                read: now,
                about,
                holders: found.clone(),
                steady: all.steady,
            };
            memory.remember(key, reading, now);
            holders.of.insert(*app, found);
            holders.complete &= all.steady;
        }
        Ok(holders)
    }
}
