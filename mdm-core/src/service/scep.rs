//! The SCEP door: a request that can be read gets an answer of the protocol; what is granted is bound to an enrolment session.

use serde_json::json;

use super::decision::{Decision, Tracked};
use super::{Answer, Org};
use crate::ca::scep::{self, FailInfo, Received, ScepRequest};
use crate::ca::{Ca, Issue};
use crate::enrollment::IssuedCertificate;
use crate::error::Error;
use crate::ids::{CertificateId, Serial};
use crate::organisation::Der;

/// What we can do. `DES3` stands beside `AES` for clients that misread the list.
const CAPABILITIES: &str = "AES\nDES3\nSHA-256\nSHA-512\nPOSTPKIOperation\nRenewal\nSCEPStandard\n";

const PKI_MESSAGE: &str = "application/x-pki-message";

impl Org {
    /// A SCEP operation (RFC 8894): `GetCACaps`, `GetCACert` or `PKIOperation` with its message as raw bytes.
    ///
    /// A request that can be read but not granted succeeds here, with a CertRep FAILURE as its answer.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an unknown operation or a message that cannot be answered.
    pub async fn scep(
        &self,
        address: &str,
        operation: &str,
        message: &[u8],
    ) -> Result<Answer, Error> {
        match operation {
            "GetCACaps" => Ok(Answer::Scep {
                media_type: "text/plain",
                body: CAPABILITIES.as_bytes().to_vec(),
            }),
            "GetCACert" => {
                let ca = self
                    .organisation
                    .identity_cas
                    .first()
                    .ok_or(Error::NotFound("identity CA"))?;
                Ok(Answer::Scep {
                    media_type: "application/x-x509-ca-cert",
                    body: ca.certificate.0.clone(),
                })
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

    async fn pki_operation(&self, address: &str, message: &[u8]) -> Result<Answer, Error> {
        let ca = self.identity_ca().await?;
        let body = match scep::receive(message, &ca).map_err(|e| {
            let sentence = e.to_string();
            Error::bad_input("SCEP message", sentence.trim_start_matches("SCEP: "))
        })? {
            Received::Refused { answer, reason } => {
                self.record_refusal("scep", address, reason, None).await;
                answer
            }
            Received::Request(request) => {
                match self.again_on_conflict(|| self.grant(&ca, &request)).await? {
                    Ok(answer) => answer,
                    Err((reason, serial)) => {
                        self.record_refusal("scep", address, reason, serial.as_ref())
                            .await;
                        // The client is told no more than that: the record says why.
                        request
                            .refuse(&ca, FailInfo::BadRequest, "The request is not allowed.")
                            .map_err(crypto)?
                    }
                }
            }
        };
        Ok(Answer::Scep {
            media_type: PKI_MESSAGE,
            body,
        })
    }

    /// The granted answer, or the reason why there is none with the serial number that its session was given to.
    async fn grant(
        &self,
        ca: &Ca,
        request: &ScepRequest,
    ) -> Result<Result<Vec<u8>, (&'static str, Option<Serial>)>, Error> {
        let now = self.now();
        let Some(hash) = request.challenge_hash() else {
            return Ok(Err(("the request carries no challenge", None)));
        };
        let Some(session) = self.store().session_by_challenge(self.id(), &hash).await? else {
            return Ok(Err(("the challenge is unknown", None)));
        };
        let use_of_it = (request.transaction().to_owned(), request.key_hash());
        if let Some(used) = &session.used_by {
            // The client did not hear our answer and repeats itself: same transaction, same key, same certificate.
            if *used != use_of_it {
                return Ok(Err(("the challenge was used already", session.serial)));
            }
            let Some(id) = session.certificate else {
                return Ok(Err(("the challenge was used already", session.serial)));
            };
            let issued = self
                .store()
                .certificate(self.id(), id)
                .await?
                .ok_or(Error::NotFound("certificate"))?;
            return Ok(Ok(request.grant(ca, &issued.der.0).map_err(crypto)?));
        }
        if now > session.expires {
            return Ok(Err(("the enrolment session has expired", session.serial)));
        }
        let mut d = Decision::new(&self.organisation, self.ids(), now, "device");
        if let Some(device) = session.device
            && let Some(device) = self.store().device(self.id(), device).await?
        {
            d.device = Some(Tracked::read(device));
        }
        let id = CertificateId(d.next_id());
        let days = self.organisation.settings.identity_days;
        let der = ca
            .issue(&Issue::new(
                id.0,
                &session.code,
                request.public_key(),
                now,
                days,
            ))
            .map_err(crypto)?;
        let not_after = now + std::time::Duration::from_secs(u64::from(days) * 86_400);
        let sha256 = crate::identity::sha256_hex(&der);
        d.batch.put(IssuedCertificate::new(
            self.id(),
            id,
            sha256.clone(),
            Der(der.clone()),
            session.id,
            not_after,
        ));
        let mut session = Tracked::read(session);
        session.row.used_by = Some(use_of_it);
        session.row.certificate = Some(id);
        d.sessions.push(session);
        d.audit(
            "identity.issued",
            json!({ "certificate": sha256, "serial": id, "not_after": not_after }),
        );
        let answer = request.grant(ca, &der).map_err(crypto)?;
        self.commit(d).await?;
        Ok(Ok(answer))
    }

    /// The CA that issues, with its key; loaded once.
    async fn identity_ca(&self) -> Result<std::sync::Arc<Ca>, Error> {
        let entry = self
            .organisation
            .identity_cas
            .first()
            .ok_or(Error::NotFound("identity CA"))?;
        let key = (self.id(), entry.key);
        if let Some(ca) = self
            .mdm
            .inner
            .cas
            .lock()
            .ok()
            .and_then(|cas| cas.get(&key).cloned())
        {
            return Ok(ca);
        }
        let private = self.open_secret(entry.key).await?;
        let ca = std::sync::Arc::new(Ca::load(&entry.certificate.0, &private).map_err(crypto)?);
        if let Ok(mut cas) = self.mdm.inner.cas.lock() {
            if cas.len() >= 1024 {
                cas.clear();
            }
            cas.insert(key, ca.clone());
        }
        Ok(ca)
    }
}

fn crypto(_: crate::ca::CaError) -> Error {
    Error::Crypto("the certificate authority failed")
}
