//! Jobs for sealed hand-offs: made with a key for one bundle, its signer confirmed by a person, used once. What a bundle says goes
//! to the facts of the what-if and into the vault, a few hundred devices a commit, each commit with how far the job is; so that a
//! crash in the middle goes on and takes nothing twice.

mod import;

use serde::Serialize;
use serde_json::json;

pub use import::HandOffOutcome;

use super::Org;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::hand_off::envelope::{KeyPair, Purpose, pem_of, sha256};
use crate::hand_off::{ConfirmedSigner, HandOff, HandOffPart, HandOffState, LONGEST, fingerprint};
use crate::ids::{HandOffId, HandOffPartId, IdSource, SecretId};
use crate::organisation::Der;
use crate::secret::SecretKind;
use crate::store::Batch;

/// Jobs that wait at once. Each has a key; nobody needs so many.
const MOST_OPEN: usize = 100;
/// How long a job of an agreement waits for its bundle.
pub(super) const AGREED: std::time::Duration = std::time::Duration::from_secs(86_400);
/// Jobs that are read at a time.
const PAGE: u32 = 500;

/// A job as people see it: no key, and its certificate as the exporter needs it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HandOffView {
    /// Its number.
    pub id: HandOffId,
    /// The name of the source.
    pub from: String,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it takes a bundle.
    pub expires: Timestamp,
    /// Nobody has used it in time.
    pub expired: bool,
    /// Who made it.
    pub by: String,
    /// Whose signature is believed.
    pub signer: Option<ConfirmedSigner>,
    /// How far it is.
    pub state: HandOffState,
    /// SHA-256 of the certificate, for the exporter to compare.
    pub sha256: String,
    /// The certificate to which the bundle is sealed, PEM.
    pub certificate: String,
}

impl HandOffView {
    pub(super) fn of(job: HandOff, now: Timestamp) -> Self {
        Self {
            id: job.id,
            expired: job.has_expired(now),
            from: job.from,
            created: job.created,
            expires: job.expires,
            by: job.by,
            signer: job.signer,
            state: job.state,
            sha256: sha256(&job.certificate.0),
            certificate: pem_of(&job.certificate.0),
        }
    }
}

impl Org {
    /// Makes a job for one bundle of the service that people call `from`. `signer` is the SHA-256 of the certificate whose
    /// signature is believed, compared by the person who makes the job; without it somebody confirms it later, and nothing is
    /// taken before.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the field; [`Error::Precondition`] when too many jobs wait; the vault's, the store's.
    pub async fn new_hand_off(
        &self,
        from: &str,
        expires: Timestamp,
        signer: Option<&str>,
    ) -> Result<HandOffView, Error> {
        self.make_hand_off(from, expires, signer, None).await
    }

    pub(super) async fn make_hand_off(
        &self,
        from: &str,
        expires: Timestamp,
        signer: Option<&str>,
        source: Option<HandOffId>,
    ) -> Result<HandOffView, Error> {
        let from = crate::organisation::name_in("from", from)?;
        let now = self.now();
        if expires <= now || expires > now + LONGEST {
            return Err(Error::bad_input(
                "expires",
                "must lie within the next 90 days",
            ));
        }
        let signer = signer.map(fingerprint).transpose()?;
        // A job of an agreement ends within a day: no more of them than that are looked at, however many there were.
        let waiting = match source {
            Some(_) => self.hand_offs_since(now - AGREED).await?,
            None => self.all_hand_offs().await?,
        };
        if waiting.iter().filter(|job| !job.is_over()).count() >= MOST_OPEN {
            return Err(Error::Precondition(format!(
                "{MOST_OPEN} jobs wait for their bundles: close some first"
            )));
        }
        let id = HandOffId(self.ids().next(now));
        let name = format!("Hand-off {id}");
        // Large primes take their time.
        let made = tokio::task::spawn_blocking(move || {
            KeyPair::create(&name, Purpose::Recipient, now, expires)
        });
        let pair = made
            .await
            .map_err(|_| Error::Crypto("the key of the hand-off cannot be made"))??;
        let secret = SecretId(self.ids().next(now));
        let mut batch = Batch::new();
        let kind = SecretKind::HandOffPrivateKey;
        batch.put(self.seal(secret, kind, None, &pair.key, now).await?);
        let mut job = HandOff::new(
            (self.id(), id),
            from,
            (pair.certificate, secret),
            (now, expires),
            self.actor(),
        );
        job.signer = signer.map(|sha256| self.believed(sha256));
        job.source = source;
        batch.put(job.clone());
        self.audit_into(
            &mut batch,
            "hand-off.made",
            json!({ "job": id, "from": from, "expires": expires, "certificate": sha256(&job.certificate.0), "signer": job.signer.as_ref().map(|s| &s.sha256) }),
        );
        self.store().commit(batch).await?;
        Ok(HandOffView::of(job, now))
    }

    /// Says that the signature of the certificate with this SHA-256 is believed: by a person who has compared it with what the
    /// exporter said by another way than the bundle came.
    ///
    /// # Errors
    /// [`Error::BadInput`], [`Error::NotFound`]; [`Error::Precondition`] for a job that is over or has begun with a bundle; the
    /// store's.
    pub async fn confirm_hand_off(
        &self,
        id: HandOffId,
        signer: &str,
    ) -> Result<HandOffView, Error> {
        let signer = fingerprint(signer)?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut job = self.hand_off_row(id).await?;
            if job.signer.as_ref().is_some_and(|s| s.sha256 == signer) {
                return Ok(HandOffView::of(job, now));
            }
            if job.state != HandOffState::Open || job.has_expired(now) {
                return Err(Error::Precondition(
                    "the job is over, or has begun with a bundle: nothing of it changes".to_owned(),
                ));
            }
            let before = job.signer.replace(self.believed(signer.clone()));
            let mut batch = Batch::new();
            batch.put(job.clone());
            self.audit_into(
                &mut batch,
                "hand-off.signer-confirmed",
                json!({ "job": id, "signer": job.signer.as_ref().map(|s| &s.sha256), "before": before.map(|s| s.sha256) }),
            );
            self.store().commit(batch).await?;
            job.version += 1;
            Ok(HandOffView::of(job, now))
        })
        .await
    }

    fn believed(&self, sha256: String) -> ConfirmedSigner {
        ConfirmedSigner {
            sha256,
            by: self.actor().to_owned(),
            at: self.now(),
        }
    }

    /// Jobs, in the order in which they were made, after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn hand_offs(&self, after: HandOffId, limit: u32) -> Result<Vec<HandOffView>, Error> {
        let now = self.now();
        let rows = self.store().hand_offs(self.id(), after, limit).await?;
        Ok(rows
            .into_iter()
            .map(|job| HandOffView::of(job, now))
            .collect())
    }

    /// One job.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn hand_off(&self, id: HandOffId) -> Result<HandOffView, Error> {
        Ok(HandOffView::of(self.hand_off_row(id).await?, self.now()))
    }

    /// What became of the devices of a job's bundle, a part at a time.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn hand_off_parts(
        &self,
        id: HandOffId,
        after: HandOffPartId,
        limit: u32,
    ) -> Result<Vec<HandOffPart>, Error> {
        self.hand_off_row(id).await?;
        let parts = self.store().hand_off_parts(self.id(), id, after, limit);
        Ok(parts.await?)
    }

    /// Closes a job: no bundle is taken any more, and its key is destroyed. What was taken stays. Again does no harm.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] for one that was used; the store's.
    pub async fn close_hand_off(&self, id: HandOffId) -> Result<HandOffView, Error> {
        self.again_on_conflict(|| async {
            let now = self.now();
            let mut job = self.hand_off_row(id).await?;
            match &job.state {
                HandOffState::Closed { .. } => return Ok(HandOffView::of(job, now)),
                HandOffState::Imported { .. } => {
                    return Err(Error::Precondition(
                        "the job was used, and is over".to_owned(),
                    ));
                }
                _ => {}
            }
            let mut batch = Batch::new();
            let by = self.actor().to_owned();
            let bundle = job.bundle().map(str::to_owned);
            job.state = HandOffState::Closed {
                at: now,
                by,
                bundle,
            };
            self.destroy_secret(&mut batch, job.key).await?;
            self.audit_into(&mut batch, "hand-off.closed", json!({ "job": id }));
            batch.put(job.clone());
            self.store().commit(batch).await?;
            Ok(HandOffView::of(job, now))
        })
        .await
    }

    /// Closes jobs that nobody has used in time; answers how many.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn close_expired_hand_offs(&self) -> Result<u64, Error> {
        let now = self.now();
        let mut closed = 0;
        for job in self.all_hand_offs().await? {
            if job.has_expired(now) {
                self.close_hand_off(job.id).await?;
                closed += 1;
            }
        }
        Ok(closed)
    }

    async fn all_hand_offs(&self) -> Result<Vec<HandOff>, Error> {
        self.hand_offs_since(Timestamp::from_millis(0)).await
    }

    pub(super) async fn hand_offs_since(&self, since: Timestamp) -> Result<Vec<HandOff>, Error> {
        let first = HandOffId(IdSource::floor(since).max(0));
        let mut all = Vec::new();
        loop {
            let after = all.last().map_or(first, |job: &HandOff| job.id);
            let page = self.store().hand_offs(self.id(), after, PAGE).await?;
            let full = page.len() == PAGE as usize;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }

    async fn hand_off_row(&self, id: HandOffId) -> Result<HandOff, Error> {
        let job = self.store().hand_off(self.id(), id).await?;
        job.ok_or(Error::NotFound(
            "job for a hand-off; `mdmd hand-off list` shows them",
        ))
    }

    /// Overwrites a sealed secret with nothing. That it was there stays known.
    pub(super) async fn destroy_secret(
        &self,
        batch: &mut Batch,
        id: SecretId,
    ) -> Result<(), Error> {
        if let Some(mut row) = self.store().secret(self.id(), id).await? {
            row.sealed = Der(Vec::new());
            row.replaced = row.replaced.or(Some(self.now()));
            row.destroyed = row.destroyed.or(Some(self.now()));
            batch.put(row);
        }
        Ok(())
    }
}
