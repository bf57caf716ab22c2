//! The other side of a hand-off: when devices leave us. What we know of them is sealed to a job of their destination and signed
//! with a key of our own; by two persons' word for an export, or by itself for each device that moves to a destination on which
//! both sides have agreed.

mod bundled;
mod leaving;

pub(super) use self::leaving::{left_for_good, mark_moved};

use std::collections::BTreeSet;

use openssl::x509::X509;
use serde::Serialize;
use serde_json::json;

use super::hand_off::AGREED;
use super::wave::sentence;
use super::{HandOffOutcome, HandOffView, Org};
use crate::approval::{ApprovalState, Wanted};
use crate::audit_seal::Checkpoint;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::hand_off::agreement::{AgreedDestination, AgreedSource};
use crate::hand_off::bundle::{self, MOST_DEVICES};
use crate::hand_off::envelope::{self, KeyPair, Purpose, pem_of, sha256};
use crate::hand_off::{HandOff, HandOffState, fingerprint};
use crate::ids::{ApprovalId, DeviceId, HandOffId, JobId, SecretId, Serial};
use crate::job::{Job, JobKind};
use crate::organisation::{Der, KeyedCertificate};
use crate::secret::{Secret, SecretKind};
use crate::store::{Batch, StoreError};

/// For how long our signing certificate is made.
const SIGNER_DAYS: u64 = 5 * 365;
/// Agreements that are kept.
const MOST: usize = 20;
/// The longest agreement.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(366 * 86_400);
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
/// A job of an agreement that ends sooner is told to nobody once more.
const LEFT: std::time::Duration = std::time::Duration::from_secs(3_600);
/// Whoever was told of a job has so long to bring its bundle before somebody else is told of it.
const BRINGING: std::time::Duration = std::time::Duration::from_secs(120);

/// With what we sign hand-offs.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SignerView {
    /// SHA-256 of the certificate: what the other side confirms.
    pub sha256: String,
    /// The certificate, PEM.
    pub certificate: String,
}

/// What has been agreed on. No secrets.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Agreements {
    /// Services from which hand-offs come by themselves.
    pub sources: Vec<AgreedSource>,
    /// Where our devices are handed over to.
    pub destination: Option<AgreedDestination>,
}

/// A sealed export.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SealedExport {
    /// The bundle, DER.
    pub bundle: Vec<u8>,
    /// How many devices are in it.
    pub devices: usize,
    /// SHA-256 of the certificate that signed it.
    pub signer: String,
    /// The newest seal of the record when a person took it along; none for a record without an entry.
    pub record: Option<Checkpoint>,
}

impl Org {
    /// With what we sign hand-offs; made when it is first asked for.
    ///
    /// # Errors
    /// [`Error::Crypto`], the vault's, the store's.
    pub async fn hand_off_signer(&self) -> Result<SignerView, Error> {
        if self.fresh().await?.hand_off_signer.is_none() {
            let now = self.now();
            let name = self.organisation.name.clone();
            let until = now + DAY * u32::try_from(SIGNER_DAYS).unwrap_or(365);
            let made = tokio::task::spawn_blocking(move || {
                KeyPair::create(&name, Purpose::Signer, now, until)
            });
            let pair = made
                .await
                .map_err(|_| Error::Crypto("the key of the hand-off cannot be made"))??;
            self.again_on_conflict(|| async {
                let mut organisation = self.fresh().await?;
                if organisation.hand_off_signer.is_some() {
                    return Ok(());
                }
                let id = SecretId(self.ids().next(now));
                let kind = SecretKind::HandOffSigningKey;
                let mut batch = Batch::new();
                batch.put(self.seal(id, kind, None, &pair.key, now).await?);
                organisation.hand_off_signer = Some(KeyedCertificate {
                    certificate: Der(pair.certificate.clone()),
                    key: id,
                });
                batch.put(organisation);
                let detail = json!({ "sha256": sha256(&pair.certificate) });
                self.audit_into(&mut batch, "hand-off.signer-made", detail);
                Ok(self.store().commit(batch).await?)
            })
            .await?;
        }
        let certificate = self.fresh().await?.hand_off_signer;
        let certificate = certificate.ok_or(Error::NotFound("signer of hand-offs"))?;
        Ok(SignerView {
            sha256: sha256(&certificate.certificate.0),
            certificate: pem_of(&certificate.certificate.0),
        })
    }

    async fn signer_pair(&self) -> Result<KeyPair, Error> {
        self.hand_off_signer().await?;
        let signer = self.fresh().await?.hand_off_signer;
        let signer = signer.ok_or(Error::NotFound("signer of hand-offs"))?;
        let key = self.open_secret(signer.key).await?;
        Ok(KeyPair::new(signer.certificate.0, key))
    }

    /// What has been agreed on.
    ///
    /// # Errors
    /// The store's.
    pub async fn agreements(&self) -> Result<Agreements, Error> {
        let organisation = self.fresh().await?;
        Ok(Agreements {
            sources: organisation.agreed_sources,
            destination: organisation.agreed_destination,
        })
    }

    /// At the destination: takes hand-offs that this signer has signed without asking a person each time. The person who says so
    /// has compared its SHA-256.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the field; the store's.
    pub async fn agree_source(
        &self,
        name: &str,
        signer: &str,
        until: Timestamp,
    ) -> Result<AgreedSource, Error> {
        let name = crate::organisation::check_name(name)?;
        let signer = fingerprint(signer)?;
        let now = self.now();
        if until <= now || until > now + LONGEST {
            return Err(Error::bad_input(
                "until",
                "must lie within the next 366 days",
            ));
        }
        let source = AgreedSource {
            id: HandOffId(self.ids().next(now)),
            name: name.to_owned(),
            signer,
            by: self.actor().to_owned(),
            at: now,
            until,
        };
        let detail =
            json!({ "source": source.id, "name": name, "signer": source.signer, "until": until });
        self.change_organisation("hand-off.source-agreed", detail, |organisation| {
            let all = &mut organisation.agreed_sources;
            all.retain(|s| s.until > now);
            if all.len() >= MOST {
                return Err(Error::Precondition(
                    "there are twenty agreements: end some first".to_owned(),
                ));
            }
            all.push(source.clone());
            Ok(())
        })
        .await?;
        Ok(source)
    }

    /// Ends an agreement: no job is made for it any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn end_source(&self, id: HandOffId) -> Result<(), Error> {
        self.change_organisation(
            "hand-off.source-ended",
            json!({ "source": id }),
            |organisation| {
                let before = organisation.agreed_sources.len();
                organisation.agreed_sources.retain(|s| s.id != id);
                match organisation.agreed_sources.len() == before {
                    true => Err(Error::NotFound("agreement")),
                    false => Ok(()),
                }
            },
        )
        .await
        .map(|_| ())
    }

    /// A job for a service with which there is an agreement: asked for by that service itself.
    ///
    /// # Errors
    /// [`Error::NotFound`] without an agreement that holds now; as [`Org::new_hand_off`].
    pub async fn agreed_hand_off(&self, source: HandOffId) -> Result<HandOffView, Error> {
        let now = self.now();
        let all = self.fresh().await?.agreed_sources;
        let source = all.into_iter().find(|s| s.id == source && s.until > now);
        let source = source.ok_or(Error::NotFound("agreement that holds now"))?;
        if let Some(job) = self.told_again(&source).await? {
            return Ok(job);
        }
        self.make_hand_off(
            &source.name,
            now + AGREED,
            Some(&source.signer),
            Some(source.id),
        )
        .await
    }

    /// A job of an agreement that waits for its bundle in vain: whoever asked for it was kept from bringing one, and asks again. Without
    /// this each try would leave a job behind, until there may be no more.
    async fn told_again(&self, source: &AgreedSource) -> Result<Option<HandOffView>, Error> {
        self.again_on_conflict(|| async {
            let now = self.now();
            let is_free = |job: &HandOff| {
                job.source == Some(source.id)
                    && job.state == HandOffState::Open
                    && job.expires >= now + LEFT
                    && job.told.unwrap_or(job.created) + BRINGING <= now
                    && job
                        .signer
                        .as_ref()
                        .is_some_and(|s| s.sha256 == source.signer)
            };
            let lately = self.hand_offs_since(now - AGREED).await?;
            let Some(mut job) = lately.into_iter().find(is_free) else {
                return Ok(None);
            };
            job.told = Some(now);
            let mut batch = Batch::new();
            batch.put(job.clone());
            // Two that ask at once get two jobs: one of them meets a conflict here, and looks again.
            self.store().commit(batch).await?;
            Ok(Some(HandOffView::of(job, now)))
        })
        .await
    }

    /// Takes the bundle of a job that was made for an agreement, from the other side itself.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a job that was made for another one, or by a person; as [`Org::import_hand_off`].
    pub async fn take_agreed(
        &self,
        source: HandOffId,
        job: HandOffId,
        bundle: Vec<u8>,
    ) -> Result<HandOffOutcome, Error> {
        let row = self.store().hand_off(self.id(), job).await?;
        let own = row.is_some_and(|row| row.source == Some(source));
        if !own {
            return Err(Error::NotFound("job of this agreement"));
        }
        // The other side seals it again for another job: what is not known here is answered, and nothing is lost.
        self.import_hand_off_despite_unknown(job, bundle).await
    }

    /// At the original: asks that devices which move away are handed over to another installation. Another person must confirm
    /// it ([`Org::confirm`]); nothing leaves before. Answers what waits for that.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the field; the vault's, the store's.
    pub async fn agree_destination(
        &self,
        url: &str,
        ca: Option<&str>,
        source: HandOffId,
        token: &Secret,
    ) -> Result<ApprovalId, Error> {
        let url = url.trim().trim_end_matches('/');
        let plain = |c: char| c.is_ascii_graphic() && !['?', '#', '@'].contains(&c);
        let host = url.strip_prefix("https://").unwrap_or_default();
        if host.is_empty() || url.len() > 500 || !host.chars().all(plain) {
            return Err(Error::bad_input(
                "url",
                "must be an address that begins with https://, without query and user",
            ));
        }
        let shown = |c: &u8| c.is_ascii_graphic();
        let text = token.expose().trim_ascii();
        if text.is_empty() || text.len() > 1000 || !text.iter().all(shown) {
            let problem = "must be 1 to 1000 visible characters";
            return Err(Error::bad_input("token", problem));
        }
        if let Some(ca) = ca {
            X509::stack_from_pem(ca.as_bytes())
                .ok()
                .filter(|all| !all.is_empty())
                .ok_or_else(|| Error::bad_input("ca", "must be certificates (PEM)"))?;
        }
        let now = self.now();
        let id = SecretId(self.ids().next(now));
        let mut batch = Batch::new();
        let kind = SecretKind::HandOverToken;
        batch.put(self.seal(id, kind, None, token, now).await?);
        self.store().commit(batch).await?;
        let wanted = Wanted::HandOver {
            url: url.to_owned(),
            ca: ca.map(str::to_owned),
            source,
            token: id,
        };
        self.ask_second(wanted, None).await
    }

    /// Adds to a batch where devices are handed over to from now on; the token of the place before is destroyed.
    pub(super) async fn put_destination(
        &self,
        batch: &mut Batch,
        agreed: Option<AgreedDestination>,
    ) -> Result<(), Error> {
        let mut organisation = self.fresh().await?;
        let before = std::mem::replace(&mut organisation.agreed_destination, agreed);
        if let Some(before) = before {
            self.destroy_secret(batch, before.token).await?;
        }
        let agreed = organisation.agreed_destination.as_ref();
        let detail = json!({ "to": agreed.map(|a| (&a.url, a.source)) });
        self.audit_into(batch, "hand-off.destination", detail);
        if agreed.is_some() {
            // Devices may have left before this was agreed on.
            let (now, after) = (self.now(), DeviceId(0));
            let kind = JobKind::HandOverAll { after };
            batch.put(Job::new(self.id(), JobId(self.ids().next(now)), now, kind));
        }
        batch.put(organisation);
        Ok(())
    }

    /// Hands nothing over any more; the token is destroyed.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn end_destination(&self) -> Result<(), Error> {
        self.again_on_conflict(|| async {
            if self.fresh().await?.agreed_destination.is_none() {
                return Err(Error::NotFound("destination"));
            }
            let mut batch = Batch::new();
            self.put_destination(&mut batch, None).await?;
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Asks for an export of what we know of devices, their keys and codes included, sealed to the certificate of a job. Another
    /// person must confirm it ([`Org::confirm`]); answers what waits for that.
    ///
    /// # Errors
    /// [`Error::BadInput`] names the field; the store's.
    pub async fn ask_export(
        &self,
        recipient: &[u8],
        told: &str,
        job: Option<HandOffId>,
        serials: BTreeSet<Serial>,
        reason: &str,
    ) -> Result<ApprovalId, Error> {
        let reason = reason.trim();
        sentence("reason", reason, false)?;
        if reason.is_empty() || reason.len() > 500 {
            return Err(Error::bad_input(
                "reason",
                "must say why, in at most 500 bytes",
            ));
        }
        if serials.len() > 1000 {
            return Err(Error::bad_input(
                "serials",
                "must be at most 1000, or none for all",
            ));
        }
        let recipient = envelope::certificate(recipient, "certificate")?;
        let told = fingerprint(told).map_err(|_| {
            Error::bad_input(
                "sha256",
                "must be the SHA-256 of the job's certificate, as the other side told it",
            )
        })?;
        if sha256(&recipient) != told {
            return Err(Error::bad_input(
                "sha256",
                "is not that of this certificate: ask the other side",
            ));
        }
        let wanted = Wanted::Export {
            recipient: Der(recipient),
            job,
            serials,
        };
        self.ask_second(wanted, Some(reason)).await
    }

    /// Makes an export that another person has confirmed, once, for whoever asked. It is in the record before anything of it is
    /// shown.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] before it is confirmed, an hour after that, for anybody else, or with too many
    /// devices; the vault's, the store's.
    pub async fn make_export(&self, id: ApprovalId) -> Result<SealedExport, Error> {
        let found = self.store().approval(self.id(), id).await?;
        let mut approval = found.ok_or(Error::NotFound("export"))?;
        let Wanted::Export {
            recipient,
            job,
            serials,
        } = approval.wanted.clone()
        else {
            return Err(Error::NotFound("export"));
        };
        let now = self.now();
        let second = match &approval.state {
            ApprovalState::Confirmed { by, .. }
                if approval.is_own_of(self.person()) && now < approval.over() =>
            {
                by.clone()
            }
            _ => {
                let why = "this export is not yours, not confirmed by another person (`mdmd approval confirm`), made already, or confirmed more than an hour ago";
                return Err(Error::Precondition(why.to_owned()));
            }
        };
        let serials: Vec<Serial> = match serials.is_empty() {
            true => self.every_serial().await?,
            false => serials.into_iter().collect(),
        };
        let record = self.leaves(Some("hand-off")).await?;
        let mut sealed = self.seal_bundle(&serials, recipient.0, job, now).await?;
        sealed.record = record;
        let mut batch = Batch::new();
        let detail = json!({ "approval": id, "devices": sealed.devices, "confirmed_by": second, "sha256": sha256(&sealed.bundle) });
        self.audit_into(&mut batch, "hand-off.exported", detail);
        approval.state = ApprovalState::Done {
            by: second,
            at: now,
        };
        batch.put(approval);
        match self.store().commit(batch).await {
            Ok(()) => Ok(sealed),
            Err(StoreError::Conflict) => {
                let why = "somebody has made this export at the same moment";
                Err(Error::Precondition(why.to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn every_serial(&self) -> Result<Vec<Serial>, Error> {
        let (mut after, mut all) = (DeviceId(0), Vec::new());
        loop {
            let page = self.store().devices(self.id(), after, 1000).await?;
            let Some(last) = page.last() else {
                return Ok(all);
            };
            after = last.id;
            all.extend(page.into_iter().map(|d| d.serial));
            if all.len() > MOST_DEVICES {
                return Err(Error::Precondition(format!(
                    "there are more than {MOST_DEVICES} devices: name those of each export"
                )));
            }
        }
    }

    /// What we know of these devices, sealed to a job and signed; true as of `taken`.
    async fn seal_bundle(
        &self,
        serials: &[Serial],
        recipient: Vec<u8>,
        job: Option<HandOffId>,
        taken: Timestamp,
    ) -> Result<SealedExport, Error> {
        let now = self.now();
        let devices = self.bundled(serials).await?;
        let signer = self.signer_pair().await?;
        let by = sha256(&signer.certificate);
        let (name, count) = (self.organisation.name.clone(), devices.len());
        let sealed = tokio::task::spawn_blocking(move || {
            let plain = bundle::write(&name, taken, job, &devices)?;
            envelope::seal(&plain, &recipient, &signer, now)
        });
        let bundle = sealed
            .await
            .map_err(|_| Error::Crypto("the bundle cannot be sealed and signed"))??;
        Ok(SealedExport {
            bundle,
            devices: count,
            signer: by,
            record: None,
        })
    }
}
