//! The door for devices: proves who speaks, has what the message needs read in one go, and has it decided on that. The
//! organisation is kept from message to message; every read says which version of it counts, so that what another process
//! changed is in force with the next message. Decides nothing about devices.

mod sight;

use std::sync::Arc;

use openssl::sha::sha256;
use serde_json::json;

pub(super) use self::sight::Sight;
use super::account::Passage;
use super::message::Message;
use super::refusals::{GONE, nobody};
use super::scep::within_grace;
use super::{Answer, Mdm, Org, Peer, TRIES};
use crate::clock::Timestamp;
use crate::enrollment::{EnrolSession, IssuedCertificate};
use crate::error::Error;
use crate::identity::{Authorities, hexadecimal};
use crate::ids::{CertificateId, OrganisationCode, OrganisationId};
use crate::organisation::{Der, Organisation};
use crate::person::PersonSession;
use crate::store::{Batch, Depth, StoreError};
use crate::wire::signature;

/// How many open commands of one channel are looked at for one request: the head of its queue.
pub(super) const QUEUE_WINDOW: u32 = 200;
/// The clock of an authority may be ahead of ours by so much.
const AHEAD: std::time::Duration = std::time::Duration::from_hours(24);
/// How many organisations are kept.
pub(super) const KEPT: usize = 4_096;
/// How many verified chains are kept.
const CHAINS: usize = 200_000;

/// What was verified of a certificate, by organisation, its version, and the certificate's SHA-256.
pub(super) type ChainKey = (OrganisationId, i64, [u8; 32]);

/// A chain that was verified.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    not_after: Timestamp,
    revoked: bool,
    /// That it speaks after its end is in the record.
    told_expired: bool,
}

/// A certificate that is proved to be the speaker's and to chain to the organisation's CA.
#[derive(Clone)]
pub(super) struct Speaker {
    /// SHA-256 of its DER, lower-case hex.
    pub(super) sha256: String,
    /// The same in bytes, by which its chain is kept.
    hash: [u8; 32],
    /// The certificate itself.
    der: Arc<Vec<u8>>,
    /// Set when the chain was verified just now: then it is still open whether the certificate is revoked.
    unproved: Option<Timestamp>,
    /// What was read for its message.
    pub(super) seen: Option<Arc<Sight>>,
    /// The session of the account that brings it, while its enrolment begins.
    pub(super) account: Option<Box<PersonSession>>,
}

impl Mdm {
    /// The handle for a device's message, by the code in its path: the organisation as this process last saw it. Each
    /// message checks that in the read that it makes anyway, so that nothing is decided on an old one.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's.
    pub async fn organisation_for_device(&self, code: &OrganisationCode) -> Result<Org, Error> {
        let kept = self.inner.organisations.lock();
        let kept = kept.ok().and_then(|all| all.get(code).cloned());
        if let Some(organisation) = kept {
            return Ok(self.handle_of(organisation));
        }
        let org = self.organisation(code).await?;
        self.keep(&org.organisation);
        Ok(org)
    }

    /// Whether a certificate that somebody shows on a connection was proved to be a device's of this organisation in this
    /// process, and not revoked then. Reads nothing; for a host that has to choose whom to hear first. Proves nothing of a
    /// message.
    #[must_use]
    pub fn recognises(&self, code: &OrganisationCode, shown: &Der) -> bool {
        let kept = self.inner.organisations.lock();
        let Some(organisation) = kept.ok().and_then(|all| all.get(code).cloned()) else {
            return false;
        };
        let key = (organisation.id, organisation.version, sha256(&shown.0));
        let chains = self.inner.chains.lock();
        chains.is_ok_and(|chains| chains.get(&key).is_some_and(|chain| !chain.revoked))
    }

    /// What this process has last seen under a code.
    pub(super) fn forget_code(&self, code: &OrganisationCode) {
        if let Ok(mut all) = self.inner.organisations.lock() {
            all.remove(code);
        }
    }

    fn keep(&self, organisation: &Arc<Organisation>) {
        if let Ok(mut all) = self.inner.organisations.lock() {
            if all.len() >= KEPT {
                all.clear();
            }
            all.insert(organisation.code.clone(), Arc::clone(organisation));
        }
    }
}

impl Org {
    /// Answers a message, on the organisation as it is now. The certificate of who speaks stands in `proved` (SHA-256) as
    /// soon as its chain is verified, also when the message is refused in the end.
    pub(super) async fn answer(
        &self,
        peer: &Peer,
        body: &[u8],
        message: &Message,
        proved: &mut Option<String>,
    ) -> Result<Answer, Error> {
        let mut org = self.clone();
        org.named = Some(Arc::default());
        for _ in 0..TRIES {
            match org.identify(peer, body, proved) {
                Ok(speaker) => {
                    org.same_device(&speaker, peer).await?;
                    let _turn = self.mdm.inner.turns.take(&speaker.sha256).await?;
                    let decided = org
                        .again_on_conflict(|| org.decide(&speaker, peer, message))
                        .await?;
                    if let Some(answer) = decided {
                        return Ok(answer);
                    }
                    if let Some(newer) = org.newer().await? {
                        org = newer;
                    }
                }
                // Perhaps by an authority that was added a moment ago.
                Err(refusal) => match org.newer().await? {
                    Some(newer) => org = newer,
                    None => return Err(refusal),
                },
            }
        }
        Err(Error::Busy("too many changes at once"))
    }

    /// The organisation as it is stored, if that is another version than ours.
    pub(super) async fn newer(&self) -> Result<Option<Self>, Error> {
        let stored = self.store().organisation(self.id()).await?;
        let Some(stored) = stored else {
            // It was taken away: whoever comes next does not find it.
            self.mdm.forget_code(&self.organisation.code);
            return Err(GONE);
        };
        if stored.version == self.organisation.version {
            return Ok(None);
        }
        let mut org = self.clone();
        org.organisation = Arc::new(stored);
        self.mdm.keep(&org.organisation);
        Ok(Some(org))
    }

    /// Reads what the message needs and decides on it. `None` when the organisation is another by now.
    async fn decide(
        &self,
        speaker: &Speaker,
        peer: &Peer,
        message: &Message,
    ) -> Result<Option<Answer>, Error> {
        let ask = message.question(self.id(), &speaker.sha256);
        let (key, deep) = (ask.key.clone(), matches!(ask.depth, Depth::Identity(_)));
        let view = self.store().channel(ask).await?;
        if view.organisation_version != self.organisation.version {
            return Ok(None);
        }
        let seen = Arc::new(Sight { key, deep, view });
        if let Some(not_after) = speaker.unproved {
            self.prove(speaker, not_after, &seen).await?;
        }
        let account = match self
            .account_of(&speaker.sha256, peer, message, &seen)
            .await?
        {
            Passage::Free => None,
            Passage::Begins(session) => Some(session),
            Passage::Again => return Ok(None),
            Passage::Told(answer) => return Ok(Some(answer)),
        };
        let speaker = Speaker {
            sha256: speaker.sha256.clone(),
            hash: speaker.hash,
            der: Arc::clone(&speaker.der),
            unproved: None,
            seen: Some(seen),
            account,
        };
        match message {
            Message::CheckIn(message) => self.decide_check_in(&speaker, message).await,
            Message::Report(report) => self.decide_report(&speaker, report).await,
        }
        .map(Some)
    }

    /// Proves who speaks: the certificate of the signature if there is one, else that of the connection; its chain to this
    /// organisation's CAs, and its validity at the domain's time. That it is not revoked is for [`Org::prove`].
    pub(super) fn identify(
        &self,
        peer: &Peer,
        body: &[u8],
        proved: &mut Option<String>,
    ) -> Result<Speaker, Error> {
        let der = match (&peer.signature, &peer.certificate) {
            (Some(signature), _) => signature::verify_header(signature, body)
                .map_err(|e| Error::bad_input("Mdm-Signature", e.to_string()))?,
            (None, Some(certificate)) => certificate.0.clone(),
            (None, None) => return Err(nobody()),
        };
        let (hash, chain, not_after) = self.chain_of(&der)?;
        let sha256 = hexadecimal(&hash);
        *proved = Some(sha256.clone());
        if chain.is_some_and(|chain| chain.revoked) {
            return Err(Error::Revoked);
        }
        let now = self.now();
        if !within_grace(&self.organisation, not_after, now) {
            return Err(Error::Refused(
                "the certificate expired longer ago than this organisation allows",
            ));
        }
        // One that has expired since it was proved is looked at once more, so that its renewal is on its way.
        let known = chain.is_some_and(|chain| now <= not_after || chain.told_expired);
        Ok(Speaker {
            sha256,
            hash,
            der: Arc::new(der),
            unproved: (!known).then_some(not_after),
            seen: None,
            account: None,
        })
    }

    /// Verifies that a certificate chains to this organisation's CAs: its SHA-256, what is kept of it, and the end of its
    /// validity.
    pub(super) fn chain_of(
        &self,
        der: &[u8],
    ) -> Result<([u8; 32], Option<Chain>, Timestamp), Error> {
        let key = (self.id(), self.organisation.version, sha256(der));
        let chains = self.mdm.inner.chains.lock();
        let kept = chains.ok().and_then(|chains| chains.get(&key).copied());
        let not_after = match kept {
            Some(chain) => chain.not_after,
            None => {
                let refused =
                    |e: crate::identity::IdentityError| Error::bad_input("identity", e.to_string());
                let cas = self.organisation.identity_cas.iter();
                let cas = cas.map(|ca| &ca.certificate);
                let cas = cas.chain(&self.organisation.trusted_cas);
                let identity = Authorities::new(cas.map(|der| der.0.as_slice()))
                    .and_then(|cas| cas.identify(der))
                    .map_err(refused)?;
                if identity.not_before > self.now() + AHEAD {
                    return Err(Error::bad_input("identity", "is not valid yet"));
                }
                identity.not_after
            }
        };
        Ok((key.2, kept, not_after))
    }

    /// Whoever signed must have the connection too, when its certificate is one of ours: a message that somebody has
    /// overheard says nothing over a connection of another device. A certificate of somebody else (a proxy, another server
    /// that the device knows) proves nothing here and says nothing against the signature; an older or newer identity of the
    /// same device is the device.
    async fn same_device(&self, signer: &Speaker, peer: &Peer) -> Result<(), Error> {
        let (Some(_), Some(shown)) = (&peer.signature, &peer.certificate) else {
            return Ok(());
        };
        let Ok((hash, ..)) = self.chain_of(&shown.0) else {
            return Ok(());
        };
        if hash == signer.hash {
            return Ok(());
        }
        let sha256 = hexadecimal(&hash);
        let signer = self.session_told(&signer.sha256, &signer.der).await?;
        let shown = self.session_told(&sha256, &shown.0).await?;
        if let (Some(signer), Some(shown)) = (signer, shown)
            && (signer.id == shown.id
                || (signer.device.is_some() && signer.device == shown.device)
                || (signer.serial.is_some() && signer.serial == shown.serial))
        {
            return Ok(());
        }
        Err(Error::bad_input(
            "Mdm-Signature",
            "is of another device than the certificate of the connection",
        ))
    }

    /// The enrolment session in which a certificate was issued, by the certificate's SHA-256.
    pub(super) async fn session_behind(&self, sha256: &str) -> Result<Option<EnrolSession>, Error> {
        let (store, id) = (self.store(), self.id());
        let Some(issued) = store.certificate_by_hash(id, sha256).await? else {
            return Ok(None);
        };
        Ok(store.session(id, issued.session).await?)
    }

    /// The enrolment session in which a certificate was issued; of one by an authority elsewhere that has not spoken yet, the
    /// one whose code it has for a name.
    async fn session_told(&self, sha256: &str, der: &[u8]) -> Result<Option<EnrolSession>, Error> {
        if let Some(session) = self.session_behind(sha256).await? {
            return Ok(Some(session));
        }
        let elsewhere = self.organisation.trusted_cas.iter();
        let identity = Authorities::new(elsewhere.map(|der| der.0.as_slice()))
            .and_then(|cas| cas.identify(der));
        match identity.ok().and_then(|identity| identity.common_name) {
            Some(code) => Ok(self.store().session_by_code(self.id(), &code).await?),
            None => Ok(None),
        }
    }

    /// Keeps a chain that was verified just now, unless its certificate is revoked. Revoking changes the organisation's
    /// version, and with it the key under which a chain is kept.
    async fn prove(
        &self,
        speaker: &Speaker,
        not_after: Timestamp,
        seen: &Sight,
    ) -> Result<(), Error> {
        let sha256 = &speaker.sha256;
        let issued = if seen.deep {
            seen.view.certificate.clone()
        } else {
            self.store().certificate_by_hash(self.id(), sha256).await?
        };
        if issued.is_none() {
            // Ours have a row from the day of issue until they are over: what it said (revoked, replaced) holds without it.
            let own = self.organisation.identity_cas.iter();
            let own = Authorities::new(own.map(|ca| ca.certificate.0.as_slice()));
            if own.and_then(|own| own.identify(&speaker.der)).is_ok() {
                return Err(Error::Refused(
                    "nobody speaks with this certificate any more",
                ));
            }
        }
        let revoked = issued.is_some_and(|c| c.revoked.is_some());
        if let Ok(mut chains) = self.mdm.inner.chains.lock() {
            if chains.len() >= CHAINS {
                chains.clear();
            }
            let key = (self.id(), self.organisation.version, speaker.hash);
            let chain = Chain {
                not_after,
                revoked,
                told_expired: self.now() > not_after,
            };
            chains.insert(key, chain);
        }
        if revoked {
            return Err(Error::Revoked);
        }
        if self.now() > not_after {
            self.note_expired(sha256).await?;
        }
        Ok(())
    }

    /// An identity speaks after its end: goes into the record, once, and its renewal is looked after at once.
    async fn note_expired(&self, sha256: &str) -> Result<(), Error> {
        let now = self.now();
        let found = self.store().certificate_by_hash(self.id(), sha256).await?;
        let Some(mut row) = found.filter(|c| c.spoke_expired.is_none()) else {
            return Ok(());
        };
        let session = self.store().session(self.id(), row.session).await?;
        row.spoke_expired = Some(now);
        let on_its_way = row.renewal.is_some() && row.renew_at.is_some();
        if !on_its_way {
            row.renew_at = Some(now);
        }
        let mut batch = Batch::new();
        batch.put(self.entry(
            now,
            "device",
            "identity.expired",
            session.and_then(|s| s.device),
            json!({ "certificate": row.sha256, "not_after": row.not_after }),
        ));
        batch.put(row);
        match self.store().commit(batch).await {
            // Another message of the same device was quicker.
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        self.mdm.look_for_renewals();
        Ok(())
    }

    /// The session in which the speaker's certificate was issued. For an identity of an authority elsewhere that speaks for
    /// the first time, also the row that keeps it.
    pub(super) async fn session_of(
        &self,
        speaker: &Speaker,
    ) -> Result<(EnrolSession, Option<IssuedCertificate>), Error> {
        let (id, sha256) = (self.id(), &speaker.sha256);
        let seen = speaker.seen.as_ref().filter(|seen| seen.deep);
        let certificate = match seen {
            Some(seen) => seen.view.certificate.clone(),
            None => self.store().certificate_by_hash(id, sha256).await?,
        };
        let Some(certificate) = certificate else {
            let (session, row) = self.adopt(speaker).await?;
            return Ok((session, Some(row)));
        };
        if certificate.revoked.is_some() {
            return Err(Error::Revoked);
        }
        if certificate.replaced.is_some() {
            return Err(Error::Refused(
                "a newer identity of the same device speaks in this one's place",
            ));
        }
        let session = match seen {
            Some(seen) => seen.view.session.clone(),
            None => self.store().session(id, certificate.session).await?,
        };
        let session = session.ok_or(Error::Refused(
            "the enrolment session of this certificate is gone",
        ))?;
        Ok((session, None))
    }

    /// Ties an identity that an authority elsewhere issued to the session whose code is its common name. That code went to one
    /// device, and the first identity that shows it is the only one.
    async fn adopt(&self, speaker: &Speaker) -> Result<(EnrolSession, IssuedCertificate), Error> {
        const UNKNOWN: Error =
            Error::Refused("the certificate was not issued in an enrolment session of ours");
        let now = self.now();
        let elsewhere = self.organisation.trusted_cas.iter();
        let identity = Authorities::new(elsewhere.map(|der| der.0.as_slice()))
            .and_then(|cas| cas.identify(&speaker.der))
            .map_err(|_| UNKNOWN)?;
        let code = identity.common_name.as_deref().ok_or(UNKNOWN)?;
        let session = self.store().session_by_code(self.id(), code).await?;
        let session = session.ok_or(UNKNOWN)?;
        if session.certificate.is_some() || session.used_by.is_some() {
            return Err(Error::Refused(
                "another certificate was issued in this enrolment session",
            ));
        }
        if now > session.expires {
            return Err(Error::Refused("the enrolment session has expired"));
        }
        let certificate = CertificateId(self.ids().next(now));
        let mut row = IssuedCertificate::new(
            self.id(),
            certificate,
            speaker.sha256.clone(),
            Der(speaker.der.to_vec()),
            &session,
            identity.not_after,
        );
        let settings = &self.organisation.settings;
        row.renew_at = Some(settings.renewal_of(identity.not_before, identity.not_after));
        Ok((session, row))
    }
}
