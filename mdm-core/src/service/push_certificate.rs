//! The push certificate of an organisation: a key and a request for it, and bringing in what the portal made of it. A private
//! key that is made here never leaves the vault. Sends no push.

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Name, X509ReqBuilder};
use serde_json::json;

use super::Org;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::identity::push_topic;
use crate::ids::SecretId;
use crate::line;
use crate::organisation::{Der, KeyedCertificate, PushCertificate, PushRequest};
use crate::secret::{Secret, SecretKind};
use crate::store::Batch;

/// Requests kept at once, the oldest forgotten: the portal may still be about to answer an earlier one.
const MOST: usize = 4;

impl Org {
    /// Makes a key and a certificate request for it (RSA 2048, as the portal wants it). The key stays sealed; requests made
    /// earlier stay good, up to four of them.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name or address that a certificate cannot have; the vault's, the store's.
    pub async fn new_push_request(
        &self,
        common_name: &str,
        email: Option<&str>,
    ) -> Result<PushRequest, Error> {
        for (field, text) in [("name", Some(common_name)), ("email", email)] {
            let Some(text) = text else { continue };
            line::check_filled(field, text, 64)?;
            // An address stands in a request as an IA5String.
            if field == "email" && !text.is_ascii() {
                return Err(Error::bad_input(field, "must be of ASCII characters"));
            }
        }
        let now = self.now();
        let (request, private) = make(common_name, email)
            .map_err(|_| Error::Crypto("a certificate request could not be made"))?;
        let made = PushRequest {
            request: Der(request),
            key: SecretId(self.ids().next(now)),
            created: now,
        };
        self.again_on_conflict(|| async {
            let mut batch = Batch::new();
            let sealed = self
                .seal(made.key, SecretKind::PushPrivateKey, None, &private, now)
                .await?;
            batch.put(sealed);
            let mut organisation = self.fresh().await?;
            organisation.push_requests.push(made.clone());
            if organisation.push_requests.len() > MOST {
                organisation.push_requests.remove(0);
            }
            batch.put(organisation);
            self.audit_into(&mut batch, "push.requested", json!({ "name": common_name }));
            Ok(self.store().commit(batch).await?)
        })
        .await?;
        Ok(made)
    }

    /// Brings in a push certificate (PEM or DER) that was made for one of our requests, or whose key is the one in use.
    /// Answers topic and end.
    ///
    /// # Errors
    /// [`Error::BadInput`] when it is no push certificate, has ended, or was made for none of our keys;
    /// [`Error::Precondition`] when it is for another topic than devices are enrolled with.
    pub async fn import_push_answer(
        &self,
        certificate: &[u8],
    ) -> Result<(String, Timestamp), Error> {
        let wrong = |problem: String| Error::bad_input("certificate", problem);
        let parsed = X509::from_pem(certificate)
            .or_else(|_| X509::from_der(certificate))
            .map_err(|_| wrong("must be a certificate, PEM or DER".to_owned()))?;
        let der = parsed
            .to_der()
            .map_err(|_| wrong("must be a certificate".to_owned()))?;
        let (topic, not_after) = push_topic(&der).map_err(|error| wrong(error.to_string()))?;
        if not_after <= self.now() {
            return Err(wrong("has ended already".to_owned()));
        }
        let public = parsed
            .public_key()
            .map_err(|_| wrong("must have a key that we know".to_owned()))?;
        let organisation = self.fresh().await?;
        let requested = organisation.push_requests.iter().map(|r| r.key);
        let in_use = organisation.push.iter().map(|p| p.identity.key);
        for id in requested.chain(in_use) {
            let key = self.open_secret(id).await?;
            let private = PKey::private_key_from_pkcs8(key.expose());
            if private.is_ok_and(|private| private.public_eq(&public)) {
                self.put_push(&topic, der, not_after, &key, Some(id))
                    .await?;
                return Ok((topic, not_after));
            }
        }
        Err(wrong(
            "was made for none of our requests; bring it in with its key".to_owned(),
        ))
    }

    /// Brings in the push certificate (DER) with its private key (PKCS#8 DER).
    ///
    /// # Errors
    /// [`Error::Precondition`] when its topic is not the one that enrolled devices have: each would have to enrol again.
    pub async fn import_push(
        &self,
        topic: &str,
        certificate: Vec<u8>,
        not_after: Timestamp,
        key: &Secret,
    ) -> Result<(), Error> {
        self.put_push(topic, certificate, not_after, key, None)
            .await
    }

    /// The same; a request that this certificate answers waits no longer. Its key is the one in use from then on, so that a
    /// renewal for the same request is known too.
    async fn put_push(
        &self,
        topic: &str,
        certificate: Vec<u8>,
        not_after: Timestamp,
        key: &Secret,
        answered: Option<SecretId>,
    ) -> Result<(), Error> {
        let now = self.now();
        let certificate = Der(certificate);
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            let old = organisation.push.as_ref();
            if old.is_some_and(|old| old.topic != topic) {
                return Err(Error::Precondition(
                    "this certificate is for another topic than the one that devices are enrolled with: renew the same entry, with the same Apple Account"
                        .to_owned(),
                ));
            }
            let id = SecretId(self.ids().next(now));
            let mut batch = Batch::new();
            let sealed = self
                .seal(id, SecretKind::PushPrivateKey, None, key, now)
                .await?;
            batch.put(sealed);
            organisation.push = Some(PushCertificate {
                topic: topic.to_owned(),
                identity: KeyedCertificate {
                    certificate: certificate.clone(),
                    key: id,
                },
                not_after,
            });
            organisation
                .push_requests
                .retain(|request| Some(request.key) != answered);
            batch.put(organisation);
            self.audit_into(
                &mut batch,
                "push.imported",
                json!({ "topic": topic, "not_after": not_after }),
            );
            Ok(self.store().commit(batch).await?)
        })
        .await
    }
}

/// A request (DER) and its key (PKCS#8 DER).
fn make(
    common_name: &str,
    email: Option<&str>,
) -> Result<(Vec<u8>, Secret), openssl::error::ErrorStack> {
    let key: PKey<Private> = PKey::from_rsa(Rsa::generate(2048)?)?;
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    if let Some(email) = email {
        name.append_entry_by_nid(Nid::PKCS9_EMAILADDRESS, email)?;
    }
    let mut request = X509ReqBuilder::new()?;
    request.set_version(0)?;
    request.set_subject_name(&name.build())?;
    request.set_pubkey(&key)?;
    request.sign(&key, MessageDigest::sha256())?;
    let request = request.build().to_der()?;
    Ok((request, Secret::new(key.private_key_to_pkcs8()?)))
}
