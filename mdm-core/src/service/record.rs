//! The record and the chain over it: what was committed is sealed once a minute, and whenever somebody looks through it or takes a
//! checkpoint along. Whoever loses the race for a place in the chain seals at the next round.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::{Mdm, Org};
use crate::audit::AuditEntry;
use crate::audit_seal::{
    AuditSeal, ChainReport, ChainWalk, Checkpoint, MOST_ENTRIES, entry_hash, new_key,
};
use crate::error::Error;
use crate::ids::{AuditId, AuditSealId, IdSource, OrganisationId, SecretId};
use crate::organisation::{AuditSigner, Der};
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, StoreError};

/// How often a process seals what has come.
const EVERY: Duration = Duration::from_secs(60);
/// An entry is committed no later than this after its id was drawn; what comes later still is sealed when somebody looks.
const LATE: Duration = Duration::from_secs(120);
/// Seals that are read back to know what of that time is sealed.
const BACK: u32 = 64;
/// Rows that are read at a time.
const PAGE: u32 = 1_000;
/// Organisations that are read at a time.
const ORGANISATIONS: u32 = 200;

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
}

impl Mdm {
    /// Seals what has come to the record of every organisation, if a minute has gone by; answers how many seals there were.
    pub(super) async fn seal_records(&self) -> Result<usize, Error> {
        let now = self.now();
        {
            let mut next = self
                .inner
                .seal_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // A start is busy enough.
            if now < *next.get_or_insert(now + EVERY) {
                return Ok(0);
            }
            // First: what fails below is not tried in every round.
            *next = Some(now + EVERY);
        }
        let (mut after, mut sealed) = (OrganisationId(0), 0);
        loop {
            let page = self.inner.store.organisations(after, ORGANISATIONS).await?;
            let Some(last) = page.last() else {
                return Ok(sealed);
            };
            after = last.id;
            for organisation in page {
                let id = organisation.id;
                match self
                    .handle(organisation)
                    .acting_for("worker")
                    .seal_record()
                    .await
                {
                    Ok(made) => sealed += made,
                    Err(error) => {
                        tracing::warn!(organisation = %id, %error, "the record could not be sealed; it is tried again");
                    }
                }
            }
        }
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

    /// Seals what has come lately and is not sealed; answers how many seals were made.
    async fn seal_record(&self) -> Result<usize, Error> {
        let mut made = 0;
        loop {
            let newest = self.store().newest_audit_seals(self.id(), BACK).await?;
            let from = newest
                .first()
                .and_then(|seal| seal.entries.iter().map(|(id, _)| *id).max())
                .map_or(AuditId(0), |id| AuditId(id.0 - IdSource::span(LATE)));
            let sealed: BTreeSet<AuditId> = newest
                .iter()
                .flat_map(|seal| seal.entries.iter().map(|(id, _)| *id))
                .collect();
            let mut entries = Vec::new();
            let mut after = from;
            while entries.len() < MOST_ENTRIES {
                let page = self.store().audit(self.id(), after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                let fresh = page.iter().filter(|entry| !sealed.contains(&entry.id));
                entries.extend(fresh.map(|entry| (entry.id, entry_hash(entry))));
            }
            entries.truncate(MOST_ENTRIES);
            if entries.is_empty() || !self.put_seal(newest.first(), entries).await? {
                return Ok(made);
            }
            made += 1;
        }
    }

    /// Whether this seal got its place in the chain.
    async fn put_seal(
        &self,
        previous: Option<&AuditSeal>,
        entries: Vec<(AuditId, String)>,
    ) -> Result<bool, Error> {
        let (_, key) = self.audit_key().await?;
        let seal = AuditSeal::make(self.id(), previous, entries, self.now(), &key)?;
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

    /// Seals everything that is not sealed, late entries too, then looks through the whole chain. With a checkpoint that was taken
    /// along earlier it also finds a chain whose end was cut off, or that was replaced as a whole.
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
        self.seal_stragglers().await?;
        self.seal_record().await?;
        let org = self.mdm.organisation_by_id(self.id()).await?;
        let Some(signer) = org.organisation.audit_signer.clone() else {
            return Ok(RecordReport {
                chain: ChainReport::default(),
                checkpoint: None,
            });
        };
        let mut walk = ChainWalk::new(signer.public_key.clone());
        let mut found = Vec::new();
        let mut newest = None;
        let (mut after, mut entries_after) = (AuditSealId(0), AuditId(0));
        loop {
            let seals = self.store().audit_seals(self.id(), after, 20).await?;
            let Some(last) = seals.last() else { break };
            after = last.id;
            newest = Some(last.clone());
            for seal in &seals {
                walk.seal(seal);
                if let Some(earlier) = earlier.filter(|e| e.seal == seal.id)
                    && walk
                        .hash_of_last()
                        .is_some_and(|(_, hash)| hash != earlier.hash)
                {
                    found.push(format!(
                        "seal {} is another than that of the checkpoint of {}",
                        seal.id, earlier.at
                    ));
                }
                let upto = seal.entries.iter().map(|(id, _)| *id).max();
                while upto.is_some_and(|upto| entries_after < upto) {
                    let page = self.store().audit(self.id(), entries_after, PAGE).await?;
                    let Some(last) = page.last() else { break };
                    entries_after = last.id;
                    for entry in &page {
                        walk.entry(entry.id, entry_hash(entry));
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
            }
        }
        if let Some(earlier) = earlier {
            if newest
                .as_ref()
                .is_none_or(|newest| newest.id < earlier.seal)
            {
                found.push(format!(
                    "the end was cut off: the checkpoint of {} is of seal {}, and the newest is {}",
                    earlier.at,
                    earlier.seal,
                    newest.as_ref().map_or(0, |newest| newest.id.0)
                ));
            }
            if earlier.public_key != signer.public_key {
                found.push(
                    "the checkpoint is of another audit key: the chain was replaced".to_owned(),
                );
            }
        }
        let mut chain = walk.finish();
        chain.broken.extend(found);
        let code = self.organisation.code.to_string();
        Ok(RecordReport {
            checkpoint: newest.map(|newest| newest.checkpoint(&code, &signer.public_key)),
            chain,
        })
    }

    /// The newest seal, as it may leave the building, after everything was sealed.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a record without an entry; the store's.
    pub async fn checkpoint(&self) -> Result<Checkpoint, Error> {
        self.seal_record().await?;
        let org = self.mdm.organisation_by_id(self.id()).await?;
        let newest = self.store().newest_audit_seals(self.id(), 1).await?;
        let signer = org.organisation.audit_signer.clone();
        let (Some(newest), Some(signer)) = (newest.into_iter().next(), signer) else {
            return Err(Error::NotFound("seal of the record"));
        };
        let code = self.organisation.code.to_string();
        Ok(newest.checkpoint(&code, &signer.public_key))
    }

    /// Seals entries that came so late that no round has seen them.
    async fn seal_stragglers(&self) -> Result<(), Error> {
        let old = AuditId(IdSource::floor(self.now() - LATE - EVERY));
        let mut open: BTreeSet<AuditId> = BTreeSet::new();
        let (mut after, mut entries_after) = (AuditSealId(0), AuditId(0));
        let mut sealed: BTreeSet<AuditId> = BTreeSet::new();
        let mut late = Vec::new();
        loop {
            let seals = self.store().audit_seals(self.id(), after, 20).await?;
            let Some(last) = seals.last() else { break };
            after = last.id;
            for (id, _) in seals.iter().flat_map(|seal| &seal.entries) {
                if !open.remove(id) {
                    sealed.insert(*id);
                }
            }
            while sealed.last().is_some_and(|upto| entries_after < *upto) {
                let page = self.store().audit(self.id(), entries_after, PAGE).await?;
                let Some(last) = page.last() else { break };
                entries_after = last.id;
                open.extend(page.iter().map(|e| e.id).filter(|id| !sealed.remove(id)));
            }
        }
        open.retain(|id| *id < old);
        let Some(first) = open.first().copied() else {
            return Ok(());
        };
        // Few, if any: what took longer than a commit ever takes.
        let mut after = AuditId(first.0 - 1);
        while late.len() < MOST_ENTRIES {
            let page = self.store().audit(self.id(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            let ours = page.iter().filter(|entry| open.contains(&entry.id));
            late.extend(ours.map(|entry| (entry.id, entry_hash(entry))));
            if open.last().is_some_and(|last| after >= *last) {
                break;
            }
        }
        let newest = self.store().newest_audit_seals(self.id(), 1).await?;
        late.truncate(MOST_ENTRIES);
        self.put_seal(newest.first(), late).await.map(drop)
    }
}
