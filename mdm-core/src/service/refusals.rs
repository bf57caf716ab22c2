//! The record of refused requests: bounded, pruned by the store, and never in the way of an answer.

use std::sync::PoisonError;
use std::time::Duration;

use super::door::KEPT;
use super::{Mdm, Org, Peer};
use crate::audit::{NO_IDENTITY, Refusal};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::identity::hexadecimal;
use crate::ids::{OrganisationId, RefusalId, Serial};
use crate::store::Batch;
use crate::wire::signature;

/// Whoever shows nothing is nobody.
pub(super) fn nobody() -> Error {
    Error::bad_input("identity", NO_IDENTITY)
}

/// What somebody is told whose organisation was taken away: as if it had never been.
pub(super) const GONE: Error = Error::NotFound("organisation");

/// There is no record any more in which a refusal could stand.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::NotFound("organisation"))
}

/// So often at most an organisation is read anew for strangers with large bodies, however many come.
const READ_ANEW: Duration = Duration::from_secs(1);

/// Whose a failed handshake is where several organisations could be meant: the installation's.
const NOBODY: OrganisationId = OrganisationId(0);

impl Mdm {
    /// Records that somebody did not get through the TLS handshake: nobody knows yet who it was, and for whom. Where there is one
    /// organisation it is its; where there are several it is in the installation's own list. For a host. Never fails: what cannot be
    /// recorded is logged.
    pub async fn refused_handshake(&self, address: &str, reason: &str) {
        // Not knowing whose it is does not make it the installation's.
        let whose = async {
            let first = self.organisations(OrganisationId(0), 2).await?;
            match first.as_slice() {
                [only] => self.organisation_by_id(only.id).await.map(Some),
                _ => Ok(None),
            }
        };
        match whose.await {
            Ok(Some(org)) => return org.record_refusal("tls", address, reason, None).await,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(door = "tls", address, reason, %error, "a refusal could not be recorded");
                return;
            }
        }
        let now = self.now();
        let id = RefusalId(self.inner.ids.next(now));
        tracing::info!(door = "tls", address, reason, "refused");
        let mut batch = Batch::new();
        batch.put(Refusal::new(NOBODY, id, now, address, "tls", reason));
        if let Err(error) = self.store().commit(batch).await {
            tracing::warn!(%error, "a refusal could not be recorded");
        }
    }

    /// Handshakes that failed of which nobody can say for which organisation they were, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn handshakes(&self, limit: u32) -> Result<Vec<Refusal>, Error> {
        Ok(self.store().refusals(NOBODY, limit).await?)
    }

    /// Whether an organisation is to be read anew for somebody unknown who has much to say; notes that it is.
    fn may_read_anew(&self, organisation: OrganisationId) -> bool {
        let now = self.now();
        let last = self.inner.read_anew.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        // What lies ahead was noted by a clock that has gone back since.
        let lately = |at: &Timestamp| *at <= now && now.since(*at) < READ_ANEW;
        if last.get(&organisation).is_some_and(lately) {
            return false;
        }
        if last.len() >= KEPT {
            last.clear();
        }
        last.insert(organisation, now);
        true
    }
}

impl Org {
    /// Passes a result on; a refusal of the caller's input is recorded first.
    pub(super) async fn note_refusal<T>(
        &self,
        door: &str,
        address: &str,
        serial: Option<&Serial>,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &result
            && error.is_callers_fault()
            && !is_gone(error)
        {
            self.record_refusal(door, address, &error.to_string(), serial)
                .await;
        }
        result
    }

    /// As [`Org::note_refusal`], with the serial number of the device whose certificate (SHA-256) was proved, if one was.
    pub(super) async fn note_refusal_of<T>(
        &self,
        door: &str,
        peer: &Peer,
        proved: Option<&str>,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        let serial = match (&result, proved) {
            (Err(error), Some(sha256)) if error.is_callers_fault() && !is_gone(error) => {
                self.serial_of(sha256).await
            }
            _ => None,
        };
        self.note_refusal(door, &peer.address, serial.as_ref(), result)
            .await
    }

    /// Whether a message is worth reading: whoever sends it shows, or claims to have signed with, a certificate under one of
    /// this organisation's authorities. For a host, before it reads a large body of somebody unknown; proves nothing, and
    /// the refusal is on record. `door` is `checkin` or `command`.
    ///
    /// # Errors
    /// [`Error::BadInput`].
    pub async fn may_send(&self, door: &str, peer: &Peer) -> Result<(), Error> {
        let claimed = match (&peer.signature, &peer.certificate) {
            (Some(signature), _) => signature::claimed_signer(signature)
                .map_err(|e| Error::bad_input("Mdm-Signature", e.to_string())),
            (None, Some(certificate)) => Ok(certificate.0.clone()),
            (None, None) => Err(nobody()),
        };
        let known = match claimed {
            Ok(der) => self.is_under_ours(&der).await,
            Err(refusal) => Err(refusal),
        };
        self.note_refusal(door, &peer.address, None, known).await
    }

    /// That a certificate is under one of this organisation's authorities: as this process has seen it last, or as it is now. Whoever
    /// comes by an authority that was added a moment ago may be told otherwise for a second, as long as strangers come.
    async fn is_under_ours(&self, der: &[u8]) -> Result<(), Error> {
        let Err(refusal) = self.chain_of(der) else {
            return Ok(());
        };
        if !self.mdm.may_read_anew(self.id()) {
            return Err(refusal);
        }
        match self.newer().await? {
            Some(newer) => newer.chain_of(der).map(|_| ()),
            None => Err(refusal),
        }
    }

    /// Records a message that a host refused before it was whole: too large, too slow, broken off. `door` is `checkin` or
    /// `command`, `reason` the sentence that the sender got. The certificate of the connection, where it proves a device,
    /// says whose it was. Never fails: what cannot be recorded is logged.
    pub async fn refused_unread(&self, door: &str, peer: &Peer, reason: &str) {
        let serial = match &peer.certificate {
            Some(certificate) => match self.chain_of(&certificate.0) {
                Ok((hash, ..)) => self.serial_of(&hexadecimal(&hash)).await,
                Err(_) => None,
            },
            None => None,
        };
        self.record_refusal(door, &peer.address, reason, serial.as_ref())
            .await;
    }

    /// The serial number that a proved certificate was issued for. Not being able to tell changes no refusal.
    async fn serial_of(&self, sha256: &str) -> Option<Serial> {
        self.session_behind(sha256).await.ok().flatten()?.serial
    }

    /// Records a refusal. That it cannot be recorded is logged and changes no answer.
    pub(super) async fn record_refusal(
        &self,
        door: &str,
        address: &str,
        reason: &str,
        serial: Option<&Serial>,
    ) {
        let now = self.now();
        let id = RefusalId(self.ids().next(now));
        let mut refusal = Refusal::new(self.id(), id, now, address, door, reason);
        refusal.serial = serial.cloned();
        tracing::info!(organisation = %self.id(), door, address, reason, serial = serial.map(tracing::field::display), "refused");
        let mut batch = Batch::new();
        batch.put(refusal);
        if let Err(error) = self.store().commit(batch).await {
            tracing::warn!(%error, "a refusal could not be recorded");
        }
    }
}
