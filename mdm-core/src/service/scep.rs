//! The SCEP door: a request that can be read gets an answer of the protocol; what is granted is bound to an enrolment session.
//! Beside it lies the revocation list of what was issued here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::decision::{Decision, Tracked};
use super::enrol::random_text;
use super::{Answer, Org};
use crate::ca::scep::{self, FailInfo, Proof, Received, ScepRequest};
use crate::ca::{Ca, Issue, LIST_TYPE, Responder, RevokedEntry};
use crate::clock::Timestamp;
use crate::enrollment::{EnrolSession, Enrollment, IssuedCertificate, LIST_DAYS};
use crate::error::Error;
use crate::identity::{Authorities, is_issued_by, sha256_hex};
use crate::ids::{CertificateId, OrganisationId, SecretId, Serial, SessionId};
use crate::organisation::{Der, IdentityProtocol, Issuer, Organisation};

/// Loaded authorities and revocation lists that are kept.
const KEPT: usize = 1024;
/// How old a revocation list may be that is handed out. A revocation makes a new one at once.
const LIST_AGE: Duration = Duration::from_hours(12);
/// How many identities a device may have renewed by its own request within [`RENEWALS_IN`]. Each one costs a signature of the
/// authority and rows that stay.
const RENEWALS: usize = 8;
/// See [`RENEWALS`].
const RENEWALS_IN: Duration = Duration::from_hours(24 * 7);
/// Revoked identities that are read at a time.
const PAGE: u32 = 1000;

/// A refusal in the protocol's words; for the record the reason, and the serial number that the session was given to.
type Refused = (FailInfo, &'static str, Option<Serial>);

/// The authority that issues, and who answers requests for it.
pub(super) struct Authority {
    ca: Ca,
    registration: Option<Responder>,
}

impl Authority {
    fn responder(&self) -> &Responder {
        self.registration
            .as_ref()
            .unwrap_or_else(|| self.ca.responder())
    }
}

/// Which authority, with which registration authority.
pub(super) type AuthorityKey = (OrganisationId, SecretId, Option<SecretId>);

/// A revocation list that was made, for which version of the organisation, and when.
pub(super) struct KeptList {
    version: i64,
    made: Timestamp,
    der: Arc<Vec<u8>>,
}

/// Revocation lists by the name of the authority.
pub(super) type Lists = HashMap<(OrganisationId, String), KeptList>;

/// The name of an authority in the address of its revocation list.
pub(crate) fn list_name(certificate: &[u8]) -> String {
    let mut name = sha256_hex(certificate);
    name.truncate(32);
    name
}

impl Org {
    /// A SCEP operation (RFC 8894): `GetCACaps`, `GetCACert` or `PKIOperation` with its message as raw bytes.
    ///
    /// A request that can be read but not granted succeeds here, with a CertRep FAILURE as its answer.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an unknown operation or a message that cannot be answered; [`Error::Precondition`] when the
    /// organisation gets its identities elsewhere.
    pub async fn scep(
        &self,
        address: &str,
        operation: &str,
        message: &[u8],
    ) -> Result<Answer, Error> {
        match operation {
            "GetCACaps" => Ok(Answer::Scep {
                media_type: "text/plain",
                body: scep::CAPABILITIES.as_bytes().to_vec(),
            }),
            "GetCACert" => {
                let result = self.authority_certificates();
                self.note_refusal("scep", address, None, result).await
            }
            "PKIOperation" => {
                let result = self.pki_operation(address, message).await;
                self.note_refusal("scep", address, None, result).await
            }
            _ => {
                let unknown = Err(Error::bad_input(
                    "operation",
                    "must be GetCACaps, GetCACert or PKIOperation",
                ));
                self.note_refusal("scep", address, None, unknown).await
            }
        }
    }

    /// One certificate when the authority answers itself and stands for itself; else all that a client needs.
    fn authority_certificates(&self) -> Result<Answer, Error> {
        let organisation = &self.organisation;
        let ca = organisation
            .identity_cas
            .first()
            .ok_or(Error::NotFound("identity CA"))?;
        let others = organisation.registration.iter().map(|r| &r.certificate);
        let others: Vec<&[u8]> = others
            .chain(&organisation.identity_chain)
            .map(|der| der.0.as_slice())
            .collect();
        if others.is_empty() {
            return Ok(Answer::Scep {
                media_type: scep::CERTIFICATE_TYPE,
                body: ca.certificate.0.clone(),
            });
        }
        let all = std::iter::once(ca.certificate.0.as_slice()).chain(others);
        Ok(Answer::Scep {
            media_type: scep::CERTIFICATES_TYPE,
            body: scep::certificates(all).map_err(crypto)?,
        })
    }

    async fn pki_operation(&self, address: &str, message: &[u8]) -> Result<Answer, Error> {
        if self.organisation.issuer != Issuer::BuiltIn {
            return Err(Error::Precondition(
                "this organisation gets its identities elsewhere".to_owned(),
            ));
        }
        let authority = self.identity_authority().await?;
        let responder = authority.responder();
        let body = match scep::receive(message, responder).map_err(|e| {
            let sentence = e.to_string();
            Error::bad_input("SCEP message", sentence.trim_start_matches("SCEP: "))
        })? {
            Received::Refused { answer, reason } => {
                self.record_refusal("scep", address, reason, None).await;
                answer
            }
            Received::Request(request) => {
                match self
                    .again_on_conflict(|| self.grant(&authority, &request))
                    .await?
                {
                    Ok(answer) => answer,
                    Err((info, reason, serial)) => {
                        self.record_refusal("scep", address, reason, serial.as_ref())
                            .await;
                        // The client is told no more than that: the record says why.
                        request
                            .refuse(responder, info, "The request is not allowed.")
                            .map_err(crypto)?
                    }
                }
            }
        };
        Ok(Answer::Scep {
            media_type: scep::ANSWER_TYPE,
            body,
        })
    }

    /// The granted answer, or the reason why there is none with the serial number that its session was given to.
    async fn grant(
        &self,
        authority: &Authority,
        request: &ScepRequest,
    ) -> Result<Result<Vec<u8>, Refused>, Error> {
        match request.proof() {
            Proof::Challenge => self.grant_for_challenge(authority, request).await,
            Proof::Identity(der) => self.grant_renewal(authority, request, der).await,
        }
    }

    async fn grant_for_challenge(
        &self,
        authority: &Authority,
        request: &ScepRequest,
    ) -> Result<Result<Vec<u8>, Refused>, Error> {
        let now = self.now();
        let refused = |reason, serial| Ok(Err((FailInfo::BadRequest, reason, serial)));
        let Some(hash) = request.challenge_hash() else {
            return refused("the request carries no challenge", None);
        };
        let found = self.store().session_by_challenge(self.id(), &hash).await?;
        // An invitation has a code for a profile, and no challenge yet.
        let Some(session) = found.filter(|session| !session.invitation) else {
            return refused("the challenge is unknown", None);
        };
        if session.protocol != IdentityProtocol::Scep {
            return refused(
                "the profile of this session obtains by ACME",
                session.serial,
            );
        }
        if session.used_by.is_some() {
            return match self.granted_before(authority, request, &session).await? {
                Some(answer) => Ok(Ok(answer)),
                None => refused("the challenge was used already", session.serial),
            };
        }
        if now > session.expires {
            return refused("the enrolment session has expired", session.serial);
        }
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        if let Some(device) = session.device
            && let Some(device) = self.store().device(self.id(), device).await?
        {
            d.device = Some(Tracked::read(device));
        }
        let row = self.issue(&d, authority, request.public_key(), &session)?;
        d.audit(
            "identity.issued",
            json!({ "certificate": row.sha256, "serial": row.id, "not_after": row.not_after }),
        );
        let answer = request
            .grant(authority.responder(), &row.der.0)
            .map_err(crypto)?;
        let mut session = Tracked::read(session);
        session.row.used_by = Some(use_of(request));
        session.row.challenge = None;
        session.row.certificate = Some(row.id);
        d.sessions.push(session);
        d.batch.put(row);
        self.commit(d).await?;
        Ok(Ok(answer))
    }

    /// A new identity for whoever speaks with one of ours (RenewalReq). The old one stays good until the first TokenUpdate of
    /// the new one, as with a renewal by profile.
    async fn grant_renewal(
        &self,
        authority: &Authority,
        request: &ScepRequest,
        der: &[u8],
    ) -> Result<Result<Vec<u8>, Refused>, Error> {
        let now = self.now();
        let refused = |reason| Ok(Err((FailInfo::BadMessageCheck, reason, None)));
        let own = self.organisation.identity_cas.iter();
        let identity = Authorities::new(own.map(|ca| ca.certificate.0.as_slice()))
            .and_then(|own| own.identify(der));
        let Ok(identity) = identity else {
            return refused("the signer is no identity of this organisation");
        };
        if !within_grace(&self.organisation, identity.not_after, now) {
            return refused("the certificate expired longer ago than this organisation allows");
        }
        let found = self
            .store()
            .certificate_by_hash(self.id(), &identity.sha256);
        let speaks = |c: &IssuedCertificate| c.revoked.is_none() && c.replaced.is_none();
        let Some(old) = found.await?.filter(speaks) else {
            return refused("the certificate of the signer is unknown, replaced or revoked");
        };
        let Some(enrollment) = self.enrollment_of(&old).await?.filter(Enrollment::is_live) else {
            return refused("nobody is enrolled with the certificate of the signer");
        };
        let first = self.store().session(self.id(), old.session).await?;
        let device = match enrollment.device {
            Some(device) => self.store().device(self.id(), device).await?,
            None => None,
        };
        // A signature of a key in hardware buys no identity for one in software.
        let before = first
            .as_ref()
            .map_or(IdentityProtocol::Scep, |s| s.protocol);
        let choice = self.protocol_of(device.as_ref(), before).protocol;
        if before != IdentityProtocol::Scep
            || old.attested.is_some()
            || choice == IdentityProtocol::AcmeAttested
        {
            let reason = "the identities of this device are obtained by ACME";
            return Ok(Err((FailInfo::BadRequest, reason, enrollment.serial)));
        }
        let (transaction, key) = use_of(request);
        // No challenge has this form, so that none can name this session.
        let name = sha256_hex(format!("{} {transaction} {key}", old.sha256).as_bytes());
        let name = format!("renewal:{name}");
        if let Some(before) = self.store().session_by_challenge(self.id(), &name).await? {
            return match self.granted_before(authority, request, &before).await? {
                Some(answer) => Ok(Ok(answer)),
                None => refused("the certificate of this renewal is gone"),
            };
        }
        let recent = enrollment.renewals.iter().copied();
        let mut renewals: Vec<Timestamp> =
            recent.filter(|at| now.since(*at) < RENEWALS_IN).collect();
        if renewals.len() >= RENEWALS {
            let serial = enrollment.serial;
            let reason = "this device has had as many renewals as it may have for now";
            return Ok(Err((FailInfo::BadRequest, reason, serial)));
        }
        renewals.push(now);
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        d.device = device.map(Tracked::read);
        let id = SessionId(d.next_id());
        let mut session = EnrolSession::new(self.id(), id, random_text(12)?, name, now, now);
        session.device = enrollment.device;
        session.serial.clone_from(&enrollment.serial);
        session.udid = Some(enrollment.key.clone());
        session.renews = Some(enrollment.id);
        session.told = first.and_then(|s| s.told);
        session.used_by = Some((transaction, key));
        let row = self.issue(&d, authority, request.public_key(), &session)?;
        session.certificate = Some(row.id);
        d.audit(
            "identity.renewed",
            json!({ "enrolment": enrollment.id, "old": old.sha256, "certificate": row.sha256, "not_after": row.not_after }),
        );
        let answer = request
            .grant(authority.responder(), &row.der.0)
            .map_err(crypto)?;
        let mut tracked = Tracked::read(enrollment);
        tracked.row.pending_certificate = Some(row.sha256.clone());
        tracked.row.renewals = renewals;
        d.enrollments.insert(tracked.row.id, tracked);
        d.sessions.push(Tracked::new(session));
        d.batch.put(row);
        self.commit(d).await?;
        Ok(Ok(answer))
    }

    /// A client that did not hear our answer repeats itself: same transaction, same key, same certificate.
    async fn granted_before(
        &self,
        authority: &Authority,
        request: &ScepRequest,
        session: &EnrolSession,
    ) -> Result<Option<Vec<u8>>, Error> {
        let (Some(used), Some(id)) = (&session.used_by, session.certificate) else {
            return Ok(None);
        };
        if *used != use_of(request) {
            return Ok(None);
        }
        // One that is over was cleared away.
        let Some(issued) = self.store().certificate(self.id(), id).await? else {
            return Ok(None);
        };
        let answer = request.grant(authority.responder(), &issued.der.0);
        Ok(Some(answer.map_err(crypto)?))
    }

    /// The identity of a session, for a key (DER SubjectPublicKeyInfo) that whoever asks has proved to have.
    pub(super) fn issue(
        &self,
        d: &Decision<'_>,
        authority: &Authority,
        public_key: &[u8],
        session: &EnrolSession,
    ) -> Result<IssuedCertificate, Error> {
        let id = CertificateId(d.next_id());
        let settings = &self.organisation.settings;
        let days = settings.identity_days;
        let der = authority
            .ca
            .issue(&Issue::new(id.0, &session.code, public_key, d.now, days))
            .map_err(crypto)?;
        let not_after = d.now + Duration::from_secs(u64::from(days) * 86_400);
        let sha256 = sha256_hex(&der);
        let mut row = IssuedCertificate::new(self.id(), id, sha256, Der(der), session, not_after);
        row.authority = Some(sha256_hex(authority.ca.certificate()));
        row.renew_at = Some(settings.renewal_of(d.now, not_after));
        Ok(row)
    }

    /// The authority that issues, with its key and whoever answers for it; loaded once.
    pub(super) async fn identity_authority(&self) -> Result<Arc<Authority>, Error> {
        let organisation = &self.organisation;
        let entry = organisation
            .identity_cas
            .first()
            .ok_or(Error::NotFound("identity CA"))?;
        let registration = organisation.registration.as_ref();
        let key = (self.id(), entry.key, registration.map(|r| r.key));
        let kept = self.mdm.inner.cas.lock();
        if let Some(kept) = kept.ok().and_then(|cas| cas.get(&key).cloned()) {
            return Ok(kept);
        }
        let private = self.open_secret(entry.key).await?;
        let ca = Ca::load(&entry.certificate.0, &private)
            .map_err(crypto)?
            .with_revocation_list_at(self.revocation_list_url(&entry.certificate.0));
        let registration = match registration {
            Some(entry) => {
                let private = self.open_secret(entry.key).await?;
                Some(Responder::load(&entry.certificate.0, &private).map_err(crypto)?)
            }
            None => None,
        };
        let authority = Arc::new(Authority { ca, registration });
        if let Ok(mut cas) = self.mdm.inner.cas.lock() {
            if cas.len() >= KEPT {
                cas.clear();
            }
            cas.insert(key, authority.clone());
        }
        Ok(authority)
    }

    /// Where the revocation list of one of the organisation's own authorities is, by its certificate (DER).
    #[must_use]
    pub fn revocation_list_url(&self, certificate: &[u8]) -> String {
        let base = &self.settings().enrol_url;
        let code = &self.organisation.code;
        format!("{base}/mdm/{code}/crl/{}", list_name(certificate))
    }

    /// The revocation list of one of the organisation's own authorities, by the name in its address. It is made anew after
    /// a revocation and twice a day, and else handed out as it was made.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an authority whose key is not here; the vault's, the store's.
    pub async fn revocation_list(&self, authority: &str) -> Result<Answer, Error> {
        let unknown = || Error::NotFound("authority");
        let (now, version) = (self.now(), self.organisation.version);
        let entry = self
            .organisation
            .identity_cas
            .iter()
            .find(|ca| list_name(&ca.certificate.0) == authority)
            .ok_or_else(unknown)?;
        let key = (self.id(), authority.to_owned());
        let answer = |der: &Arc<Vec<u8>>| Answer::Scep {
            media_type: LIST_TYPE,
            body: der.to_vec(),
        };
        if let Ok(lists) = self.mdm.inner.lists.lock()
            && let Some(kept) = lists.get(&key)
            && kept.version == version
            && now.since(kept.made) < LIST_AGE
        {
            return Ok(answer(&kept.der));
        }
        let private = self.open_secret(entry.key).await?;
        let ca = Ca::load(&entry.certificate.0, &private).map_err(crypto)?;
        let entries = self.revoked_of(&entry.certificate.0, now).await?;
        let number = u64::try_from(now.as_millis()).unwrap_or_default();
        let next = now + Duration::from_secs(u64::from(LIST_DAYS) * 86_400);
        let der = ca
            .revocation_list(&entries, number, now, next)
            .map_err(crypto)?;
        let made = KeptList {
            version,
            made: now,
            der: Arc::new(der),
        };
        let said = answer(&made.der);
        if let Ok(mut lists) = self.mdm.inner.lists.lock() {
            if lists.len() >= KEPT {
                lists.clear();
            }
            lists.insert(key, made);
        }
        Ok(said)
    }

    async fn revoked_of(
        &self,
        authority: &[u8],
        now: Timestamp,
    ) -> Result<Vec<RevokedEntry>, Error> {
        let name = sha256_hex(authority);
        let key = openssl::x509::X509::from_der(authority)
            .and_then(|x509| x509.public_key())
            .map_err(|_| Error::Crypto("an authority's certificate cannot be read"))?;
        let issued_here = |row: &IssuedCertificate| match &row.authority {
            Some(issuer) => *issuer == name,
            None => openssl::x509::X509::from_der(&row.der.0)
                .is_ok_and(|x509| is_issued_by(&x509, &key)),
        };
        let (mut entries, mut after) = (Vec::new(), CertificateId(0));
        loop {
            let page = self
                .store()
                .revoked_certificates(self.id(), after, PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(entries);
            };
            after = last.id;
            for row in &page {
                // What has expired is on one more list, then on none.
                let over = row.not_after + Duration::from_secs(u64::from(LIST_DAYS) * 86_400);
                if let Some(at) = row.revoked
                    && over > now
                    && issued_here(row)
                {
                    let serial = row.id.0;
                    entries.push(RevokedEntry { serial, at });
                }
            }
        }
    }
}

/// Whether an identity that ended then may still speak.
pub(super) fn within_grace(
    organisation: &Organisation,
    not_after: Timestamp,
    now: Timestamp,
) -> bool {
    organisation
        .settings
        .expired_identity_grace_days
        .is_none_or(|days| now <= not_after + Duration::from_secs(u64::from(days) * 86_400))
}

fn use_of(request: &ScepRequest) -> (String, String) {
    (request.transaction().to_owned(), request.key_hash())
}

fn crypto(_: crate::ca::CaError) -> Error {
    Error::Crypto("the certificate authority failed")
}
