//! The record and the chain over it: what was committed is sealed by one leased job of the organisation, at most every ten seconds,
//! and whenever something leaves the building. Looking through it reads only.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::{Mdm, Org};
use crate::audit::AuditEntry;
use crate::audit_seal::{
    AuditSeal, ChainReport, ChainWalk, Checkpoint, MOST_ENTRIES, SEALS_BACK, entry_hash, new_key,
};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{AuditId, AuditSealId, DeviceId, IdSource, JobId, OrganisationId, SecretId};
use crate::job::{Job, JobKind};
use crate::organisation::{AuditSigner, Der};
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, Lease, StoreError};

/// How often it is looked whether there is something to seal, and how far seals are apart at least that nothing else asked for.
const EVERY: Duration = Duration::from_secs(10);
/// How often somebody who needs everything sealed takes part in the race for a place in the chain.
const TURNS: u32 = 10;
/// Rows that are read at a time.
const PAGE: u32 = 1_000;

/// What looking through the record found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RecordReport {
    /// What the chain says.
    #[serde(flatten)]
    pub chain: ChainReport,
    /// The newest seal as it may leave the building.
    pub checkpoint: Option<Checkpoint>,
    /// The newest entry of something that has left the building.
    pub left: Option<Leaving>,
}

/// Something has left the building, by the word of an entry, which is sealed as every other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Leaving {
    /// When.
    pub at: Timestamp,
    /// What, such as `checkpoint`, `inventory` or `backup`.
    pub with: String,
    /// The version of this library that let it go; earlier ones did not say.
    pub version: Option<String>,
}

impl Leaving {
    const WHAT: &str = "record.left";

    fn of(entry: &AuditEntry) -> Option<Self> {
        let text = |key: &str| entry.detail[key].as_str().map(str::to_owned);
        (entry.what == Self::WHAT).then(|| Self {
            at: entry.at,
            with: text("with").unwrap_or_default(),
            version: text("version"),
        })
    }
}

impl Mdm {
    /// Asks for a seal where there is something to seal, if ten seconds have gone by; answers for how many organisations.
    pub(super) async fn seal_records(&self) -> Result<usize, Error> {
        let now = self.now();
        {
            let mut next = self
                .inner
                .seal_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // A start is busy enough. What lies further ahead than a round was set by a clock that has gone back since.
            let due = *next.get_or_insert(now + EVERY);
            if now < due && due <= now + EVERY {
                return Ok(0);
            }
            // First: what fails below is not tried in every round.
            *next = Some(now + EVERY);
        }
        let store = &self.inner.store;
        let (mut after, mut asked) = (OrganisationId(0), 0);
        while let Some(entry) = store.next_unsealed_audit(after).await? {
            after = entry.organisation;
            let asks = async {
                let org = self.organisation_by_id(after).await?;
                org.acting_for("worker").ask_for_seal(now).await
            };
            match asks.await {
                Ok(did) => asked += usize::from(did),
                // It was taken away, and its record goes.
                Err(Error::NotFound("organisation")) => {}
                Err(error) => {
                    tracing::warn!(organisation = %after, %error, "the record could not be sealed; it is tried again");
                }
            }
        }
        Ok(asked)
    }
}

impl Org {
    /// The record, oldest first, after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn record(&self, after: AuditId, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        Ok(self.store().audit(self.id(), after, limit).await?)
    }

    /// The newest lines of the record, newest last.
    ///
    /// # Errors
    /// The store's.
    pub async fn record_tail(&self, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        // Ids ascend with time: what is looked through begins with the last hour, day, month, and then with everything.
        for hours in [1, 24, 31 * 24] {
            let from = AuditId(IdSource::floor(self.now() - Duration::from_hours(hours)));
            let found = self.last_after(from, limit).await?;
            if found.len() >= limit as usize {
                return Ok(found);
            }
        }
        self.last_after(AuditId(0), limit).await
    }

    async fn last_after(&self, mut after: AuditId, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        let mut last = std::collections::VecDeque::new();
        loop {
            let page = self.store().audit(self.id(), after, PAGE).await?;
            let Some(newest) = page.last() else {
                return Ok(last.into());
            };
            after = newest.id;
            last.extend(page);
            while last.len() > limit as usize {
                last.pop_front();
            }
        }
    }

    /// Puts the job that seals, unless somebody has sealed just now. All processes ask, and one has the lease.
    async fn ask_for_seal(&self, now: Timestamp) -> Result<bool, Error> {
        let newest = self.store().newest_audit_seals(self.id(), 1).await?;
        // A clock that was set back keeps nothing waiting.
        let just_now = |seal: &AuditSeal| seal.at <= now && now.since(seal.at) < EVERY;
        if newest.first().is_some_and(just_now) {
            return Ok(false);
        }
        let key = match &self.organisation.audit_signer {
            Some(signer) => signer.key,
            None => self.make_audit_key().await?.key,
        };
        // Ids are unique over all nouns: that of the key is the key of this job.
        let job = Job::new(self.id(), JobId(key.0), now, JobKind::Seal);
        let mut batch = Batch::new();
        batch.put(job);
        self.store().commit(batch).await?;
        Ok(true)
    }

    /// Seals what is there. What comes meanwhile asks anew.
    pub(super) async fn seal_job(&self, job: &Job, lease: Lease) -> Result<(), Error> {
        self.seal_record().await?;
        match self.job_done(job, lease).await {
            // Asked for again meanwhile.
            Err(error) if error.is_conflict() => Ok(()),
            other => other,
        }
    }

    /// Seals everything that is committed and not sealed, whenever it was written.
    ///
    /// # Errors
    /// The vault's, the store's; [`StoreError::Conflict`] when others were faster again and again.
    async fn seal_record(&self) -> Result<(), Error> {
        let most = u32::try_from(MOST_ENTRIES).unwrap_or(u32::MAX);
        let back = u32::try_from(SEALS_BACK).unwrap_or(u32::MAX);
        let mut turns = 0;
        loop {
            // Before anything is read: whatever is committed by now is in this seal or those before it.
            let now = self.now();
            let open = self.store().unsealed_audit(self.id(), most).await?;
            if open.is_empty() {
                return Ok(());
            }
            let newest = self.store().newest_audit_seals(self.id(), back).await?;
            // A process of an earlier version marks nothing.
            let sealed: BTreeSet<AuditId> = newest
                .iter()
                .flat_map(|seal| seal.entries.iter().map(|(id, _)| *id))
                .collect();
            let entries: Vec<(AuditId, String)> = open
                .iter()
                .filter(|entry| !sealed.contains(&entry.id))
                .map(|entry| (entry.id, entry_hash(entry)))
                .collect();
            // With none left over a seal is put all the same: marking what those before it name comes with it, and without that what
            // lies behind a whole page of them would never be met.
            if !self.put_seal(newest.first(), entries, now).await? {
                turns += 1;
                if turns >= TURNS {
                    return Err(StoreError::Conflict.into());
                }
            }
        }
    }

    /// Whether this seal got its place in the chain.
    async fn put_seal(
        &self,
        previous: Option<&AuditSeal>,
        entries: Vec<(AuditId, String)>,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let (_, key) = self.audit_key().await?;
        let seal = AuditSeal::make(self.id(), previous, entries, at, &key)?;
        let mut batch = Batch::new();
        batch.put(seal);
        match self.store().commit(batch).await {
            Ok(()) => Ok(true),
            // Another process has taken the place.
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The key of the chain; made when there is none yet.
    pub(super) async fn audit_key(&self) -> Result<(Der, Secret), Error> {
        let signer = match &self.organisation.audit_signer {
            Some(signer) => signer.clone(),
            None => self.make_audit_key().await?,
        };
        let key = self.open_secret_cached(signer.key).await?;
        Ok((signer.public_key, key))
    }

    async fn make_audit_key(&self) -> Result<AuditSigner, Error> {
        let (private, public_key) =
            new_key().map_err(|_| Error::Crypto("a key could not be made"))?;
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            // Another process was faster.
            if let Some(signer) = organisation.audit_signer {
                return Ok(signer);
            }
            let now = self.now();
            let key = SecretId(self.ids().next(now));
            let kind = SecretKind::AuditSigningKey;
            let signer = AuditSigner {
                public_key: public_key.clone(),
                key,
            };
            organisation.audit_signer = Some(signer.clone());
            let mut batch = Batch::new();
            batch.put(self.seal(key, kind, None, &private, now).await?);
            batch.put(organisation);
            self.audit_into(&mut batch, "audit.key", json!({ "made": true }));
            self.store().commit(batch).await?;
            Ok(signer)
        })
        .await
    }

    /// Looks through the whole chain, and reads only: what no seal names yet is told as the tail, and what is older than a seal can
    /// have left as put in. The newest checkpoint that left the building finds a chain whose end was cut off, or that was replaced
    /// as a whole; so does one that was taken along earlier, which nobody of this server can have changed.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a checkpoint of another organisation, or one that its own key did not sign; the store's.
    pub async fn verify_record(&self, earlier: Option<&Checkpoint>) -> Result<RecordReport, Error> {
        if let Some(earlier) = earlier {
            if earlier.organisation != self.organisation.code.to_string() {
                let problem = "is of another organisation";
                return Err(Error::bad_input("checkpoint", problem));
            }
            if !earlier.is_signed() {
                let problem = "is not signed by the key that it names: it was changed";
                return Err(Error::bad_input("checkpoint", problem));
            }
        }
        let organisation = self.fresh().await?;
        // What is sealed while this goes on is not looked at: its entries may lie before where the walk is.
        let end = self.store().newest_audit_seals(self.id(), 1).await?;
        let end = end.into_iter().next();
        let key = organisation.audit_signer.as_ref().map(|s| &s.public_key);
        let mut walk = ChainWalk::new(key.cloned().unwrap_or(Der(Vec::new())));
        let mut known: Vec<(&Checkpoint, &str)> = Vec::new();
        known.extend(earlier.map(|it| (it, "the checkpoint")));
        if let Some(left) = &organisation.left {
            known.push((left, "the last checkpoint that left,"));
        }
        let (mut found, mut left) = (Vec::new(), None);
        let (mut after, mut entries_after) = (AuditSealId(0), AuditId(0));
        loop {
            let mut seals = self.store().audit_seals(self.id(), after, 20).await?;
            seals.retain(|seal| end.as_ref().is_some_and(|end| seal.id <= end.id));
            let Some(last) = seals.last() else { break };
            after = last.id;
            for seal in &seals {
                walk.seal(seal);
                for (checkpoint, name) in &known {
                    if checkpoint.seal == seal.id && checkpoint.hash != seal.hash {
                        found.push(format!(
                            "seal {} is another than that of {name} of {}",
                            seal.id, checkpoint.at
                        ));
                    }
                }
                let upto = seal.entries.iter().map(|(id, _)| *id).max();
                while upto.is_some_and(|upto| entries_after < upto) {
                    let page = self.store().audit(self.id(), entries_after, PAGE).await?;
                    let Some(last) = page.last() else { break };
                    entries_after = last.id;
                    for entry in &page {
                        walk.entry(entry.id, entry_hash(entry));
                        left = Leaving::of(entry).or(left);
                    }
                }
            }
        }
        loop {
            let page = self.store().audit(self.id(), entries_after, PAGE).await?;
            let Some(last) = page.last() else { break };
            entries_after = last.id;
            for entry in &page {
                walk.entry(entry.id, entry_hash(entry));
                left = Leaving::of(entry).or(left);
            }
        }
        for (checkpoint, name) in &known {
            if end.as_ref().is_none_or(|end| end.id < checkpoint.seal) {
                found.push(format!(
                    "the end was cut off: {name} of {} is of seal {}, and the newest is {}",
                    checkpoint.at,
                    checkpoint.seal,
                    end.as_ref().map_or(0, |end| end.id.0)
                ));
            }
            if key != Some(&checkpoint.public_key) {
                found.push(format!(
                    "{name} of {} is of another audit key: the chain was replaced",
                    checkpoint.at
                ));
            }
            if !checkpoint.is_signed() {
                found.push(format!("{name} of {} was changed", checkpoint.at));
            }
        }
        let mut chain = walk.finish();
        chain.broken.extend(found);
        let code = self.organisation.code.to_string();
        let checkpoint = end
            .zip(key)
            .map(|(newest, key)| newest.checkpoint(&code, key));
        Ok(RecordReport {
            chain,
            checkpoint,
            left,
        })
    }

    /// The newest seal as it may leave the building, after everything was sealed. It is remembered that it left, and the record says
    /// so.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a record without an entry; the store's.
    pub async fn checkpoint(&self) -> Result<Checkpoint, Error> {
        self.leaves(Some("checkpoint"))
            .await?
            .ok_or(Error::NotFound("seal of the record"))
    }

    /// Whether the chain has the seal of this checkpoint as it was.
    async fn is_in_chain(&self, checkpoint: Option<&Checkpoint>) -> Result<bool, Error> {
        let Some(checkpoint) = checkpoint else {
            return Ok(true);
        };
        let before = AuditSealId(checkpoint.seal.0 - 1);
        let found = self.store().audit_seals(self.id(), before, 1).await?;
        let same = |seal: &AuditSeal| seal.id == checkpoint.seal && seal.hash == checkpoint.hash;
        Ok(found.first().is_some_and(same))
    }

    /// Something leaves the building: seals what is committed, remembers the newest seal as one that somebody outside knows, and
    /// answers it; nothing for a record without an entry. With `what` there is an entry of it, which the next seal names.
    ///
    /// # Errors
    /// The vault's, the store's.
    pub async fn leaves(&self, what: Option<&str>) -> Result<Option<Checkpoint>, Error> {
        self.seal_record().await?;
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            let newest = self.store().newest_audit_seals(self.id(), 1).await?;
            let signer = organisation.audit_signer.as_ref();
            let (Some(newest), Some(signer)) = (newest.first(), signer) else {
                return Ok(None);
            };
            let code = organisation.code.to_string();
            let checkpoint = newest.checkpoint(&code, &signer.public_key);
            let mut batch = Batch::new();
            // The one that is remembered stays where it does not fit: another in its place would hide what was cut off.
            let known = organisation.left.as_ref();
            if known.is_none_or(|known| known.seal < checkpoint.seal)
                && self.is_in_chain(known).await?
            {
                organisation.left = Some(checkpoint.clone());
                batch.put(organisation);
            }
            if let Some(what) = what {
                // Here and not in the checkpoint: an earlier version that met another form of that would take it for tampering.
                let detail = json!({
                    "with": what, "seal": checkpoint.seal, "hash": checkpoint.hash,
                    "version": env!("CARGO_PKG_VERSION"),
                });
                self.audit_into(&mut batch, Leaving::WHAT, detail);
            }
            if !batch.is_empty() {
                self.store().commit(batch).await?;
            }
            Ok(Some(checkpoint))
        })
        .await
    }

    /// A line of the record, with an id of its own.
    pub(super) fn entry(
        &self,
        at: Timestamp,
        actor: &str,
        what: &str,
        device: Option<DeviceId>,
        detail: serde_json::Value,
    ) -> AuditEntry {
        let id = AuditId(self.ids().next(at));
        AuditEntry::new(self.id(), id, at, actor, what, device, detail)
    }
}
