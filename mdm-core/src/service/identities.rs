//! What people do about device identities: look at them, have one renewed, say who issues them and for how long. Revoking
//! one is with the other acts on a device. Every change is in the record, and in force with the next message.

use std::collections::BTreeMap;

use openssl::x509::X509;
use serde::{Deserialize, Serialize};
use serde_json::json;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Org;
use crate::attested::AttestedFacts;
use crate::audit::Refusal;
use crate::ca::Ca;
use crate::clock::Timestamp;
use crate::device::Platform;
use crate::enrollment::IssuedCertificate;
use crate::error::Error;
use crate::identity::{is_issued_by, sha256_hex};
use crate::ids::{CertificateId, EnrollmentId, SecretId, Serial};
use crate::organisation::{
    Der, IdentityProtocol, Issuer, KeyedCertificate, Organisation, Settings,
};
use crate::secret::{Secret, SecretKind};
use crate::store::Batch;

/// Authorities that an organisation may list, its own and others.
const MOST_AUTHORITIES: usize = 20;
/// For how many days a registration authority answers.
const REGISTRATION_DAYS: u32 = 3650;

/// An identity as people see it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct IdentityReport {
    /// Its key; also its X.509 serial number when it was issued here.
    pub id: CertificateId,
    /// SHA-256 of the certificate, lower-case hex.
    pub sha256: String,
    /// The device that it was issued for.
    pub serial: Option<Serial>,
    /// The enrolment that speaks with it.
    pub enrollment: Option<EnrollmentId>,
    /// What it is good for now.
    pub state: IdentityState,
    /// The end of its validity.
    pub not_after: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// When it first spoke after its end.
    pub spoke_expired: Option<Timestamp>,
    /// When its renewal is looked after next.
    pub renew_at: Option<Timestamp>,
    /// Whether the profile of its renewal was sent.
    pub renewing: bool,
    /// What was attested of the device and its key when it was issued.
    pub attested: Option<AttestedFacts>,
}

/// What an identity is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IdentityState {
    /// It speaks for an enrolment.
    Speaks,
    /// It speaks for an enrolment beside the one that it renews, until its first TokenUpdate.
    Announced,
    /// Its validity is over, and it still speaks.
    Expired,
    /// It is refused.
    Revoked,
    /// A newer identity of the same device speaks in its place, and it is refused.
    Replaced,
    /// Nobody is enrolled with it, or no more.
    Idle,
}

/// Changes of what people set about identities; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "an argument list with names")]
pub struct IdentitySettings {
    /// Lifetime in days, 1 to 3650.
    pub identity_days: Option<u32>,
    /// So many days before its end an identity is renewed.
    pub renew_before_days: Option<u32>,
    /// For how many days an expired one still speaks; a negative number is without end.
    pub expired_identity_grace_days: Option<i64>,
    /// For how many minutes an enrolment profile may be used, 5 to 10080.
    pub session_minutes: Option<u32>,
    /// By which protocol devices of a platform get their identities; platforms that are left out stay as they are.
    pub identity_protocol: BTreeMap<Platform, IdentityProtocol>,
    /// For how many days what is over is kept, at least 1; a negative number is without end.
    pub retention_days: Option<i64>,
    /// For how many days what was imported of people is kept, at least 1; a negative number is without end.
    pub owner_days: Option<i64>,
}

/// Where devices are to get their identities.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NewIssuer {
    /// From the authority of this installation.
    BuiltIn,
    /// From a SCEP server elsewhere.
    Scep {
        /// Its address, by HTTPS or HTTP.
        url: String,
        /// Which of its authorities.
        name: Option<String>,
        /// The word that it demands.
        challenge: Option<Secret>,
        /// The certificate of its authority (DER), which devices check.
        authority: Option<Vec<u8>>,
    },
    /// From an ACME server elsewhere.
    Acme {
        /// Its directory, by HTTPS.
        directory_url: String,
        /// The key is made in hardware.
        hardware_bound: bool,
        /// Apple vouches for device and key.
        attest: bool,
    },
}

impl Org {
    /// Identities in the order in which they were issued, after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn identities(
        &self,
        after: CertificateId,
        limit: u32,
    ) -> Result<Vec<IdentityReport>, Error> {
        let mut reports = Vec::new();
        for row in self.store().certificates(self.id(), after, limit).await? {
            reports.push(self.identity_report(row).await?);
        }
        Ok(reports)
    }

    async fn identity_report(&self, row: IssuedCertificate) -> Result<IdentityReport, Error> {
        let session = self.store().session(self.id(), row.session).await?;
        let speaks_for = self.enrollment_of(&row).await?.filter(|e| e.is_live());
        let state = match &speaks_for {
            _ if row.revoked.is_some() => IdentityState::Revoked,
            None if row.replaced.is_some() => IdentityState::Replaced,
            None => IdentityState::Idle,
            Some(_) if self.now() > row.not_after => IdentityState::Expired,
            Some(e) if e.pending_certificate.as_deref() == Some(row.sha256.as_str()) => {
                IdentityState::Announced
            }
            Some(_) => IdentityState::Speaks,
        };
        Ok(IdentityReport {
            id: row.id,
            serial: session.and_then(|s| s.serial),
            enrollment: speaks_for.map(|e| e.id),
            state,
            not_after: row.not_after,
            revoked: row.revoked,
            spoke_expired: row.spoke_expired,
            renew_at: row.renew_at,
            renewing: row.renewal.is_some() && row.renew_at.is_some(),
            attested: row.attested,
            sha256: row.sha256,
        })
    }

    /// Requests that were refused at the doors of devices, newest first. The serial number is that of the certificate that was
    /// shown, which with a restored backup is another device's.
    ///
    /// # Errors
    /// The store's.
    pub async fn refusals(&self, limit: u32) -> Result<Vec<Refusal>, Error> {
        Ok(self.store().refusals(self.id(), limit).await?)
    }

    /// Has the identities renewed with which a device speaks. The profile goes out with the worker's next round.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the device is unknown or speaks with none, the store's.
    pub async fn renew_identity(&self, serial: &Serial) -> Result<usize, Error> {
        let renewed = self
            .again_on_conflict(|| async {
                let device = self.device_named(serial).await?;
                let all = self
                    .store()
                    .enrollments_of_device(self.id(), device.id)
                    .await?;
                let newest = all.into_iter().rev().find(|e| e.is_live());
                let newest = newest.ok_or(Error::NotFound("enrolment of this device"))?;
                let now = self.now();
                let mut batch = Batch::new();
                for sha256 in &newest.certificates {
                    let found = self.store().certificate_by_hash(self.id(), sha256).await?;
                    if let Some(mut row) = found.filter(|c| c.revoked.is_none()) {
                        row.renew_at = Some(now);
                        batch.put(row);
                    }
                }
                let count = batch.writes.len();
                if count > 0 {
                    let detail = json!({ "enrolment": newest.id, "serial": serial });
                    self.audit_into(&mut batch, "identity.renewal-asked", detail);
                    self.store().commit(batch).await?;
                }
                Ok(count)
            })
            .await?;
        self.mdm.look_for_renewals();
        Ok(renewed)
    }

    /// Changes what people set about identities; answers the settings.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a value that is out of its range, the store's.
    pub async fn set_identities(&self, change: IdentitySettings) -> Result<Settings, Error> {
        let within = |field: &str, value: Option<u32>, from: u32, to: u32| match value {
            Some(value) if !(from..=to).contains(&value) => {
                Err(Error::bad_input(field, format!("must be {from} to {to}")))
            }
            _ => Ok(()),
        };
        within("identity_days", change.identity_days, 1, 3650)?;
        within("renew_before_days", change.renew_before_days, 0, 3650)?;
        within("session_minutes", change.session_minutes, 5, 10_080)?;
        let or_never = |field: &str, value: i64, least: i64| {
            if value < 0 {
                return Ok(None);
            }
            match u32::try_from(value) {
                Ok(days) if value >= least && days <= 36_500 => Ok(Some(days)),
                _ => Err(Error::bad_input(
                    field,
                    format!("must be {least} to 36500, or negative for without end"),
                )),
            }
        };
        self.change_organisation("identities.settings", json!(change), |organisation| {
            let settings = &mut organisation.settings;
            settings.identity_days = change.identity_days.unwrap_or(settings.identity_days);
            settings.renew_before_days = change
                .renew_before_days
                .unwrap_or(settings.renew_before_days);
            settings.session_minutes = change.session_minutes.unwrap_or(settings.session_minutes);
            settings.identity_protocol.extend(
                change
                    .identity_protocol
                    .iter()
                    .map(|(platform, it)| (*platform, *it)),
            );
            if let Some(days) = change.expired_identity_grace_days {
                settings.expired_identity_grace_days =
                    or_never("expired_identity_grace_days", days, 0)?;
            }
            if let Some(days) = change.retention_days {
                settings.retention_days = or_never("retention_days", days, 1)?;
            }
            if let Some(days) = change.owner_days {
                settings.owner_days = or_never("owner_days", days, 1)?;
            }
            Ok(())
        })
        .await
        .map(|organisation| organisation.settings)
    }

    /// Says where devices get their identities from now on. Those that there are go on speaking.
    ///
    /// # Errors
    /// [`Error::BadInput`] for an address that devices would not take, [`Error::Precondition`] for an issuer elsewhere before one
    /// of its authorities is trusted; the vault's, the store's.
    pub async fn set_issuer(&self, new: NewIssuer) -> Result<(), Error> {
        if !matches!(new, NewIssuer::BuiltIn) && self.fresh().await?.trusted_cas.is_empty() {
            return Err(Error::Precondition(
                "no authority elsewhere is trusted yet: its identities would be refused".to_owned(),
            ));
        }
        let now = self.now();
        let (issuer, sealed) = match new {
            NewIssuer::BuiltIn => (Issuer::BuiltIn, None),
            NewIssuer::Scep {
                url,
                name,
                challenge,
                authority,
            } => {
                if !url.starts_with("https://") && !url.starts_with("http://") {
                    return Err(Error::bad_input(
                        "url",
                        "must begin with https:// or http://",
                    ));
                }
                if let Some(der) = &authority {
                    authority_of(der)?;
                }
                let sealed = match &challenge {
                    Some(word) => {
                        let id = SecretId(self.ids().next(now));
                        let kind = SecretKind::ScepChallenge;
                        Some(self.seal(id, kind, None, word, now).await?)
                    }
                    None => None,
                };
                let issuer = Issuer::Scep {
                    url,
                    name,
                    challenge: sealed.as_ref().map(|row| row.id),
                    authority: authority.map(Der),
                };
                (issuer, sealed)
            }
            NewIssuer::Acme {
                directory_url,
                hardware_bound,
                attest,
            } => {
                if !directory_url.starts_with("https://") {
                    return Err(Error::bad_input(
                        "directory_url",
                        "must begin with https://",
                    ));
                }
                if attest && !hardware_bound {
                    return Err(Error::bad_input(
                        "attest",
                        "is for keys that are made in hardware",
                    ));
                }
                let issuer = Issuer::Acme {
                    directory_url,
                    hardware_bound,
                    attest,
                };
                (issuer, None)
            }
        };
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            organisation.issuer = issuer.clone();
            let mut batch = Batch::new();
            if let Some(row) = &sealed {
                batch.put(row.clone());
            }
            batch.put(organisation);
            self.audit_into(&mut batch, "identities.issuer", json!({ "issuer": issuer }));
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Trusts authorities elsewhere (DER): identities that one of them issued in a session of ours are accepted. Every authority
    /// that issues must be named, an intermediate too. Answers how many are trusted.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a certificate that is no authority's or for too many, the store's.
    pub async fn trust_authorities(&self, certificates: &[Vec<u8>]) -> Result<usize, Error> {
        for der in certificates {
            authority_of(der)?;
        }
        let names: Vec<String> = certificates.iter().map(|der| sha256_hex(der)).collect();
        let changed = self.change_organisation(
            "identities.authority-trusted",
            json!({ "certificates": names }),
            |organisation| {
                for der in certificates {
                    let der = Der(der.clone());
                    if !organisation.trusted_cas.contains(&der) {
                        organisation.trusted_cas.push(der);
                    }
                }
                if organisation.trusted_cas.len() > MOST_AUTHORITIES {
                    return Err(too_many());
                }
                Ok(())
            },
        );
        Ok(changed.await?.trusted_cas.len())
    }

    /// Trusts an authority elsewhere no longer, or lists one of the own ones no longer, by SHA-256 of its certificate: whoever
    /// speaks with an identity of it is refused from the next message on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Precondition`] for the authority that issues, the store's.
    pub async fn distrust_authority(&self, sha256: &str) -> Result<(), Error> {
        let detail = json!({ "certificate": sha256 });
        self.change_organisation("identities.authority-dropped", detail, |organisation| {
            let before = organisation.trusted_cas.len() + organisation.identity_cas.len();
            let first = organisation.identity_cas.first();
            if first.is_some_and(|ca| sha256_hex(&ca.certificate.0) == sha256) {
                return Err(Error::Precondition(
                    "this is the authority that issues: make another first".to_owned(),
                ));
            }
            organisation
                .trusted_cas
                .retain(|der| sha256_hex(&der.0) != sha256);
            organisation
                .identity_cas
                .retain(|ca| sha256_hex(&ca.certificate.0) != sha256);
            if before == organisation.trusted_cas.len() + organisation.identity_cas.len() {
                return Err(Error::NotFound("authority"));
            }
            Ok(())
        })
        .await
        .map(|_| ())
    }

    /// Makes a new authority, which issues from now on. Identities of earlier ones go on speaking, and are renewed by the new one.
    ///
    /// # Errors
    /// [`Error::Crypto`], [`Error::BadInput`] when there are too many, the vault's, the store's.
    pub async fn new_authority(&self) -> Result<(), Error> {
        let name = format!("{} device identities", self.organisation.name);
        let ca = Ca::create(&name, self.now())
            .map_err(|_| Error::Crypto("an authority could not be made"))?;
        self.take_authority(&ca, Vec::new(), false).await
    }

    /// Brings in an authority of the organisation's own with its private key (PKCS#8 DER), which issues from now on: certificates
    /// (DER), the authority first, each issued by the next. One whose key is not RSA gets a registration authority, because
    /// SCEP's key transport is RSA's.
    ///
    /// # Errors
    /// [`Error::BadInput`] for certificates that are no such chain or a key that is not the first one's; the vault's, the store's.
    pub async fn import_authority(&self, chain: Vec<Vec<u8>>, key: &Secret) -> Result<(), Error> {
        let (first, above) = chain
            .split_first()
            .ok_or(Error::bad_input("certificate", "is missing"))?;
        let mut below = authority_of(first)?;
        for der in above {
            let next = authority_of(der)?;
            let signed = next
                .public_key()
                .is_ok_and(|key| is_issued_by(&below, &key));
            if !signed {
                return Err(Error::bad_input(
                    "certificate",
                    "each must be issued by the next",
                ));
            }
            below = next;
        }
        let ca = Ca::load(first, key)
            .map_err(|_| Error::bad_input("key", "is not that of the first certificate"))?;
        let above = above.iter().map(|der| Der(der.clone())).collect();
        self.take_authority(&ca, above, false).await
    }

    /// Has a registration authority answer certificate requests, in place of the authority that issues, or again that one.
    ///
    /// # Errors
    /// [`Error::Precondition`] when the authority cannot answer itself; the vault's, the store's.
    pub async fn use_registration_authority(&self, wanted: bool) -> Result<(), Error> {
        let organisation = self.fresh().await?;
        let first = organisation
            .identity_cas
            .first()
            .ok_or(Error::NotFound("identity CA"))?;
        let private = self.open_secret(first.key).await?;
        let ca = Ca::load(&first.certificate.0, &private)
            .map_err(|_| Error::Crypto("the authority cannot be loaded"))?;
        if !wanted && !ca.responder().can_decrypt() {
            return Err(Error::Precondition(
                "the key of this authority is not RSA: it cannot open requests itself".to_owned(),
            ));
        }
        let made = match wanted {
            true => Some(self.registration(&ca).await?),
            false => None,
        };
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            let mut batch = Batch::new();
            organisation.registration = made.as_ref().map(|(entry, _)| entry.clone());
            if let Some((_, row)) = &made {
                batch.put(row.clone());
            }
            batch.put(organisation);
            let detail = json!({ "registration_authority": wanted });
            self.audit_into(&mut batch, "identities.registration", detail);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    async fn registration(
        &self,
        ca: &Ca,
    ) -> Result<(KeyedCertificate, crate::sealed::SealedSecret), Error> {
        let now = self.now();
        let name = format!("{} certificate requests", self.organisation.name);
        let (certificate, private) = ca
            .issue_registration_authority(self.ids().next(now), &name, now, REGISTRATION_DAYS)
            .map_err(|_| Error::Crypto("a registration authority could not be made"))?;
        let key = SecretId(self.ids().next(now));
        let kind = SecretKind::CaPrivateKey;
        let row = self.seal(key, kind, None, &private, now).await?;
        let certificate = Der(certificate);
        Ok((KeyedCertificate { certificate, key }, row))
    }

    /// Puts an authority in front of the others.
    async fn take_authority(
        &self,
        ca: &Ca,
        above: Vec<Der>,
        registration: bool,
    ) -> Result<(), Error> {
        let now = self.now();
        let private = ca
            .private_key()
            .map_err(|_| Error::Crypto("a key could not be written"))?;
        let key = SecretId(self.ids().next(now));
        let kind = SecretKind::CaPrivateKey;
        let row = self.seal(key, kind, None, &private, now).await?;
        let entry = KeyedCertificate {
            certificate: Der(ca.certificate().to_vec()),
            key,
        };
        let registration = registration
            || !ca.responder().can_decrypt()
            || self.fresh().await?.registration.is_some();
        let made = match registration {
            true => Some(self.registration(ca).await?),
            false => None,
        };
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            if organisation.identity_cas.len() >= MOST_AUTHORITIES {
                return Err(too_many());
            }
            organisation.identity_cas.insert(0, entry.clone());
            organisation.identity_chain.clone_from(&above);
            organisation.registration = made.as_ref().map(|(entry, _)| entry.clone());
            let mut batch = Batch::new();
            batch.put(row.clone());
            if let Some((_, row)) = &made {
                batch.put(row.clone());
            }
            batch.put(organisation);
            let detail = json!({ "certificate": sha256_hex(ca.certificate()) });
            self.audit_into(&mut batch, "identities.authority-issues", detail);
            Ok(self.store().commit(batch).await?)
        })
        .await
    }

    /// Says whose attestations of devices are believed from now on: these root certificates (DER), each signed by itself, and
    /// Apple's in the copy of this library unless `without_apple`. Identities that there are go on speaking.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a certificate that is no root's, for too many, or when nobody would be believed; the store's.
    pub async fn trust_attestations(
        &self,
        roots: &[Vec<u8>],
        without_apple: bool,
    ) -> Result<(), Error> {
        for der in roots {
            let root = authority_of(der)?;
            if !root.public_key().is_ok_and(|key| is_issued_by(&root, &key)) {
                return Err(Error::bad_input("certificate", "is not signed by itself"));
            }
        }
        if roots.len() > MOST_AUTHORITIES {
            return Err(too_many());
        }
        if without_apple && roots.is_empty() {
            return Err(Error::bad_input(
                "certificate",
                "is missing: nobody would be believed",
            ));
        }
        let names: Vec<String> = roots.iter().map(|der| sha256_hex(der)).collect();
        let detail = json!({ "certificates": names, "without_apple": without_apple });
        self.change_organisation("identities.attestation", detail, |organisation| {
            organisation.attestation.without_apple = without_apple;
            organisation.attestation.roots = roots.iter().cloned().map(Der).collect();
            Ok(())
        })
        .await
        .map(|_| ())
    }

    pub(super) async fn change_organisation(
        &self,
        what: &str,
        detail: serde_json::Value,
        change: impl Fn(&mut Organisation) -> Result<(), Error>,
    ) -> Result<Organisation, Error> {
        self.again_on_conflict(|| async {
            let mut organisation = self.fresh().await?;
            change(&mut organisation)?;
            let mut batch = Batch::new();
            batch.put(organisation.clone());
            self.audit_into(&mut batch, what, detail.clone());
            self.store().commit(batch).await?;
            Ok(organisation)
        })
        .await
    }
}

fn too_many() -> Error {
    Error::bad_input(
        "certificate",
        format!("is one more than the {MOST_AUTHORITIES} authorities that are kept"),
    )
}

/// The certificate of an authority, which may issue.
fn authority_of(der: &[u8]) -> Result<X509, Error> {
    let unreadable = || Error::bad_input("certificate", "cannot be read");
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| unreadable())?;
    if !rest.is_empty() {
        return Err(unreadable());
    }
    let signs = parsed.key_usage().ok().flatten();
    if !parsed.is_ca() || signs.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(Error::bad_input("certificate", "is not an authority's"));
    }
    X509::from_der(der).map_err(|_| unreadable())
}
