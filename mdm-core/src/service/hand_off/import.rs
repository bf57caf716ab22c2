//! A bundle comes in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use super::HandOffView;
use crate::clock::Timestamp;
use crate::device::Device;
use crate::error::Error;
use crate::hand_off::bundle::{self, Bundle, BundleDevice};
use crate::hand_off::envelope::{self, KeyPair};
use crate::hand_off::{HandOff, HandOffPart, HandOffState, HandedOver};
use crate::ids::{DeviceId, HandOffId, HandOffPartId, SecretId, Serial};
use crate::sealed::SealedSecret;
use crate::secret::{Secret, SecretKind};
use crate::service::Org;
use crate::store::Batch;

/// Devices of one commit.
const CHUNK: usize = 250;
/// How far ahead of our clock the moment of a bundle may be.
const AHEAD: std::time::Duration = std::time::Duration::from_secs(86_400);

/// What became of a bundle.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HandOffOutcome {
    /// The job as it is now.
    pub job: HandOffView,
    /// How many devices the bundle has.
    pub devices: usize,
    /// How many were wholly taken.
    pub accepted: usize,
    /// How many were not, or not wholly.
    pub rejected: usize,
    /// How many had been done before, in an import that did not come to its end.
    pub done_before: usize,
    /// Each that was done now, in the order of the bundle.
    pub results: Vec<HandedOver>,
}

/// The bundle with what its commits need to know.
struct Incoming {
    job: HandOffId,
    from: String,
    sha256: String,
    bundle: Bundle,
}

impl Org {
    /// Takes a sealed and signed bundle for a job: once. The same bundle, sent again after a crash, goes on where it stopped.
    /// Facts go to what the what-if knows, secrets into the vault; what becomes of each device is kept.
    ///
    /// # Errors
    /// [`Error::Precondition`] for a job that is over, expired, begun with another bundle or without a confirmed signer, and for a
    /// bundle that comes before its devices are known here: it would be used up, and with it the only key that opens it;
    /// [`Error::BadInput`] for a bundle of another signer or job, or one that cannot be read; the vault's, the store's.
    pub async fn import_hand_off(
        &self,
        id: HandOffId,
        sealed: Vec<u8>,
    ) -> Result<HandOffOutcome, Error> {
        self.take_bundle(id, sealed, false).await
    }

    /// The same, also where devices of the bundle are not known here: whoever asks knows that they never will be.
    ///
    /// # Errors
    /// As [`Org::import_hand_off`].
    pub async fn import_hand_off_despite_unknown(
        &self,
        id: HandOffId,
        sealed: Vec<u8>,
    ) -> Result<HandOffOutcome, Error> {
        self.take_bundle(id, sealed, true).await
    }

    async fn take_bundle(
        &self,
        id: HandOffId,
        sealed: Vec<u8>,
        despite_unknown: bool,
    ) -> Result<HandOffOutcome, Error> {
        let job = self.hand_off_row(id).await?;
        let sha256 = envelope::sha256(&sealed);
        let begun_at = job.begins_at(&sha256, self.now())?;
        let bundle = match self.open_bundle(&job, sealed).await {
            Ok(bundle) => bundle,
            Err(error) => {
                // Another request may have been faster: then the job's key is gone, and what became of the job says why.
                let row = self.hand_off_row(id).await?;
                row.begins_at(&sha256, self.now())?;
                return Err(error);
            }
        };
        // One that names its job can have been taken for no other: nobody looks through all the jobs that there were.
        if bundle.job != Some(id.0) {
            self.never_used(id, &sha256).await?;
        }
        if bundle.job.is_some_and(|named| named != id.0) {
            return Err(Error::bad_input("job", "names another job than this one"));
        }
        if bundle.taken > self.now() + AHEAD {
            return Err(Error::bad_input("taken", "lies in the future"));
        }
        if begun_at == 0 && !despite_unknown {
            self.are_known(&bundle).await?;
        }
        let incoming = Incoming {
            job: id,
            from: job.from.clone(),
            sha256,
            bundle,
        };
        let mut results = Vec::new();
        let mut done = begun_at as usize;
        while done < incoming.bundle.devices.len() {
            let next = self
                .again_on_conflict(|| self.take_devices(&incoming, done))
                .await?;
            done += next.len();
            results.extend(next);
        }
        let accepted = results.iter().filter(|r| r.accepted).count();
        Ok(HandOffOutcome {
            job: self.hand_off(id).await?,
            devices: incoming.bundle.devices.len(),
            accepted,
            rejected: results.len() - accepted,
            done_before: begun_at as usize,
            results,
        })
    }

    /// A bundle that is sealed to several jobs is one bundle all the same. The row of whichever took it stays for as long as one of the
    /// others may be open.
    async fn never_used(&self, id: HandOffId, sha256: &str) -> Result<(), Error> {
        let used = |job: &HandOff| job.bundle() == Some(sha256) && job.id != id;
        match self.all_hand_offs().await?.iter().find(|job| used(job)) {
            Some(other) => {
                let rest = match other.state {
                    HandOffState::Closed { .. } => {
                        "; that was closed, and what it had not taken comes in a new bundle for a new job (`mdmd hand-off key`)"
                    }
                    _ => "",
                };
                let id = other.id;
                let why = format!("this bundle was taken for job {id} already{rest}");
                Err(Error::Precondition(why))
            }
            None => Ok(()),
        }
    }

    /// That a bundle does not come before the lists of devices are read: nothing of it would be taken, and it never opens again.
    async fn are_known(&self, bundle: &Bundle) -> Result<(), Error> {
        let named: Vec<Serial> = bundle
            .devices
            .iter()
            .flatten()
            .map(|device| device.serial().clone())
            .collect();
        let mut known = 0;
        for some in named.chunks(CHUNK) {
            known += self.store().devices_by_serial(self.id(), some).await?.len();
        }
        let (all, unknown) = (named.len(), named.len().saturating_sub(known));
        if unknown == 0 {
            return Ok(());
        }
        let lists_read = self.organisation.api.is_none()
            || self
                .inventory()
                .await?
                .is_some_and(|i| i.complete.is_some());
        if known > 0 && lists_read {
            return Ok(());
        }
        Err(Error::Precondition(format!(
            "{unknown} of the {all} devices of the bundle are not known here yet: nothing of them would be taken, and the job would be used up. \
             Read the organisation's devices first (`mdmd inventory pull`; `mdmd token import` for each server token), then take the same file; \
             `--despite-unknown` takes it without them"
        )))
    }

    async fn open_bundle(&self, job: &HandOff, sealed: Vec<u8>) -> Result<Bundle, Error> {
        let key = self.open_secret(job.key).await?;
        let recipient = KeyPair::new(job.certificate.0.clone(), key);
        let signer = job.signer.as_ref().map(|s| s.sha256.clone());
        let signer = signer.unwrap_or_default();
        // Millions of bytes: the threads that answer others do not wait for them.
        let opened = tokio::task::spawn_blocking(move || {
            let plain = envelope::open(&sealed, &signer, &recipient)?;
            bundle::read(plain.expose())
        });
        opened
            .await
            .map_err(|_| Error::Crypto("the bundle cannot be opened"))?
    }

    /// Takes the next devices in one commit, with how far the job is then.
    async fn take_devices(
        &self,
        incoming: &Incoming,
        from: usize,
    ) -> Result<Vec<HandedOver>, Error> {
        let now = self.now();
        let mut job = self.hand_off_row(incoming.job).await?;
        let done = job.begins_at(&incoming.sha256, now)? as usize;
        if done != from {
            // Another request with the same bundle was faster: that one answers.
            return Err(Error::Precondition(
                "the same bundle is being taken by another request".to_owned(),
            ));
        }
        let all = &incoming.bundle.devices;
        let until = all.len().min(from + CHUNK);
        let mut batch = Batch::new();
        let results = self
            .take_each(&mut batch, incoming, &all[from..until])
            .await?;
        let part = HandOffPart::new(
            (self.id(), HandOffPartId(self.ids().next(now))),
            job.id,
            results.clone(),
        );
        batch.put(part);
        if from == 0 {
            let detail = json!({ "job": job.id, "bundle": incoming.sha256, "devices": all.len(), "taken": incoming.bundle.taken, "from": incoming.bundle.from });
            self.audit_into(&mut batch, "hand-off.begun", detail);
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let refused = count(results.iter().filter(|r| !r.accepted).count());
        if until == all.len() {
            let before = self.rejected_before(job.id).await?;
            job.state = HandOffState::Imported {
                bundle: incoming.sha256.clone(),
                at: now,
                devices: count(all.len()),
                rejected: before + refused,
            };
            self.destroy_secret(&mut batch, job.key).await?;
            let detail =
                json!({ "job": job.id, "devices": all.len(), "rejected": before + refused });
            self.audit_into(&mut batch, "hand-off.imported", detail);
        } else {
            let since = match &job.state {
                HandOffState::Importing { since, .. } => *since,
                _ => now,
            };
            job.state = HandOffState::Importing {
                bundle: incoming.sha256.clone(),
                since,
                done: count(until),
                devices: count(all.len()),
            };
        }
        batch.put(job);
        self.store().commit(batch).await?;
        Ok(results)
    }

    async fn rejected_before(&self, id: HandOffId) -> Result<u32, Error> {
        let (mut after, mut rejected) = (HandOffPartId(0), 0);
        loop {
            let parts = self
                .store()
                .hand_off_parts(self.id(), id, after, 20)
                .await?;
            let Some(last) = parts.last() else {
                return Ok(rejected);
            };
            after = last.id;
            let all = parts.iter().flat_map(|part| &part.devices);
            rejected += u32::try_from(all.filter(|r| !r.accepted).count()).unwrap_or(u32::MAX);
        }
    }

    async fn take_each(
        &self,
        batch: &mut Batch,
        incoming: &Incoming,
        devices: &[Result<BundleDevice, HandedOver>],
    ) -> Result<Vec<HandedOver>, Error> {
        let now = self.now();
        let (taken, from) = (incoming.bundle.taken, incoming.from.as_str());
        let serials: Vec<Serial> = devices
            .iter()
            .flatten()
            .map(|d| d.serial().clone())
            .collect();
        let known = self.store().devices_by_serial(self.id(), &serials).await?;
        let ids: Vec<DeviceId> = known.iter().map(|d| d.id).collect();
        let mut held: BTreeMap<DeviceId, Vec<SealedSecret>> = BTreeMap::new();
        for secret in self.store().secrets_of(self.id(), &ids).await? {
            if let Some(device) = secret.device {
                held.entry(device).or_default().push(secret);
            }
        }
        let mut rows = Vec::new();
        let mut results = Vec::with_capacity(devices.len());
        let by_serial: BTreeMap<&Serial, &Device> = known.iter().map(|d| (&d.serial, d)).collect();
        for device in devices {
            let device = match device {
                Ok(device) => device,
                Err(refused) => {
                    results.push(refused.clone());
                    continue;
                }
            };
            let Some(row) = by_serial.get(device.serial()) else {
                let why = "serial: is not among the devices that are known here; `mdmd inventory pull` reads those of the organisation";
                results.push(HandedOver::rejected(device.serial().as_str(), why));
                continue;
            };
            let mut result = HandedOver::accepted(device.serial(), false);
            result.notes.extend(device.notes.iter().cloned());
            match &device.said {
                Err((_, why)) => result.notes.push(why.clone()),
                Ok(said) => match said.clone().checked(now) {
                    Ok(said) => rows.push(said),
                    Err(error) => result.notes.push(error.to_string()),
                },
            }
            // What is only told is no fault of the device's entry.
            result.accepted = result.notes.is_empty();
            let held = held.remove(&row.id).unwrap_or_default();
            let since = self.proved_since(row, &held, taken).await?;
            self.take_secrets(batch, (row.id, device), since, taken, held, &mut result)
                .await?;
            results.push(result);
        }
        let changed = self.facts_into(batch, &known, (from, taken), &rows).await?;
        for result in &mut results {
            result.facts = changed
                .iter()
                .any(|serial| serial.as_str() == result.serial);
        }
        Ok(results)
    }

    /// From when on a recovery key of ours is the newer one: since what is told was true, and whatever it says of that, since the
    /// device is enrolled here. It may be told days after the device left.
    async fn proved_since(
        &self,
        row: &Device,
        held: &[SealedSecret],
        taken: Timestamp,
    ) -> Result<Timestamp, Error> {
        let has_ours = held.iter().any(|row| row.kind == SecretKind::RecoveryKey);
        let Some(enrollment) = row.enrollment.filter(|_| has_ours) else {
            return Ok(taken);
        };
        let enrollment = self.store().enrollment(self.id(), enrollment).await?;
        let since = enrollment.map(|enrollment| enrollment.authenticated);
        Ok(since.map_or(taken, |since| since.min(taken)))
    }

    /// Seals the secrets of a device that are not in the vault yet; a recovery key not where a newer one of ours is held, made from
    /// `since` on.
    async fn take_secrets(
        &self,
        batch: &mut Batch,
        (id, device): (DeviceId, &BundleDevice),
        since: Timestamp,
        taken: Timestamp,
        held: Vec<SealedSecret>,
        result: &mut HandedOver,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut kept: BTreeSet<&'static str> = BTreeSet::new();
        for (kind, secret) in &device.secrets {
            // A key of ours that came later was made by the device itself: the older one opens nothing any more.
            let newer = |row: &SealedSecret| {
                row.kind == SecretKind::RecoveryKey
                    && row.replaced.is_none()
                    && row.created >= since
            };
            if *kind == SecretKind::OriginalRecoveryKey && held.iter().any(newer) {
                let note = "secrets.recovery_key: is not kept, for a newer one is held and proved";
                result.notes.push(note.to_owned());
                continue;
            }
            result.secrets.insert(kind.as_str().to_owned());
            let living = held
                .iter()
                .filter(|row| row.kind == *kind && row.replaced.is_none());
            let (mut is_there, mut is_older) = (false, false);
            for row in living {
                let mut row = row.clone();
                if self.is_same_secret(&row, secret).await? {
                    is_there = true;
                    if row.told.is_some_and(|told| told < taken) {
                        row.told = Some(taken);
                        batch.put(row);
                    }
                } else if row.told.is_some_and(|told| told > taken) {
                    // Bundles may come in any order: what was told later stays.
                    is_older = true;
                } else {
                    row.replaced = Some(now);
                    batch.put(row);
                }
            }
            if !is_there {
                let new = SecretId(self.ids().next(now));
                let mut new = self.seal(new, *kind, Some(id), secret, now).await?;
                new.told = Some(taken);
                new.replaced = is_older.then_some(now);
                batch.put(new);
                kept.insert(kind.as_str());
            }
        }
        if !kept.is_empty() {
            batch.put(self.entry(
                now,
                self.actor(),
                "secrets.handed-over",
                Some(id),
                json!({ "kinds": kept, "taken": taken }),
            ));
        }
        Ok(())
    }

    /// One that does not open is another one: what has come now is good.
    async fn is_same_secret(&self, row: &SealedSecret, secret: &Secret) -> Result<bool, Error> {
        match self.open_row(row).await {
            Ok(held) => Ok(held.matches(secret.expose())),
            Err(error) if error.retry_after().is_some() => Err(error),
            Err(_) => Ok(false),
        }
    }
}
